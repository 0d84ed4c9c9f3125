//! Reading a cluster that is there: connecting, one limit for the whole run, progress, and Ctrl-C.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::SignedDuration;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::session::DefaultScope;
use super::ui::{self, ProgressLine};
use crate::cluster::{Cluster, ConnectOptions};
use crate::gather::{self, Gathered, Plan};
use crate::report::ErrorDocument;
use crate::snapshot::{Fault, FaultKind, Scope, Snapshot, SourceId};
use crate::sources::SOURCES;

/// Reads a cluster.
///
/// # Errors
/// When there is no connection, or the credentials are not accepted.
pub(super) fn read(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    default_scope: DefaultScope,
    sources: BTreeSet<SourceId>,
    record: bool,
) -> Result<Gathered, ErrorDocument> {
    read_and(connection, scope, args, default_scope, sources, record, async |_, _, _| Ok(()))
}

/// Reads a cluster, and then over the same connection what sources do not cover; `also` gets the time that is left.
///
/// # Errors
/// When there is no connection, the credentials are not accepted, or what `also` says.
pub(super) fn read_and(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    default_scope: DefaultScope,
    sources: BTreeSet<SourceId>,
    record: bool,
    also: impl AsyncFnOnce(&Cluster, &mut Gathered, Duration) -> Result<(), ErrorDocument>,
) -> Result<Gathered, ErrorDocument> {
    read_and_then(connection, scope, args, default_scope, sources, record, also, async |_, _| Ok(()))
}

/// As [`read_and`], and at the end something that has to tidy up behind itself: it is not dropped when the user ends the
/// run or the time is over, and has to look at both by itself.
///
/// # Errors
/// As [`read_and`], and what `last` says.
#[allow(clippy::too_many_arguments)] // reason: those of `read_and`, and one more step
pub(super) fn read_and_then(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    default_scope: DefaultScope,
    sources: BTreeSet<SourceId>,
    record: bool,
    also: impl AsyncFnOnce(&Cluster, &mut Gathered, Duration) -> Result<(), ErrorDocument>,
    last: impl AsyncFnOnce(&Cluster, &mut Gathered) -> Result<(), ErrorDocument>,
) -> Result<Gathered, ErrorDocument> {
    let runtime = runtime()?;
    let begin = Instant::now();
    let gathered = runtime.block_on(async {
        let options = ConnectOptions { plugin_timeout: Some(args.timeout), ..connection.options() };
        // A plugin that takes all the time is named by its own limit, which is the same and must come first.
        let limit = args.timeout.saturating_add(Duration::from_millis(200));
        let cluster =
            in_time(limit, args.timeout, "the kubeconfig could not be read", Cluster::connect(&options)).await?;
        let left = args.timeout.saturating_sub(begin.elapsed());
        in_time(left, args.timeout, "the API server did not answer", cluster.version()).await?;
        let namespace = cluster.info().namespace.clone();
        let namespaces = match (scope.all_namespaces, scope.namespace.is_empty(), default_scope) {
            (true, ..) | (_, true, DefaultScope::All) => None,
            (_, false, _) => Some(scope.namespace.clone()),
            (_, true, DefaultScope::Context) => Some(vec![namespace.clone()]),
        };
        let plan = Plan {
            sources,
            scope: Scope { namespaces },
            fallback: (!scope.all_namespaces).then_some(namespace),
            // One limit for the whole run: what connecting took is gone.
            timeout: args.timeout.saturating_sub(begin.elapsed()),
            record,
        };
        let mut line = ProgressLine::new();
        let stop = async {
            // Without a handler for the signal the run simply cannot be stopped early.
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let start = Instant::now();
        let mut gathered = gather::gather(&cluster, &plan, stop, &mut |progress| line.update(progress)).await;
        line.clear();
        if let Some(fault) = learnt_nothing(&gathered.snapshot) {
            return Err(ErrorDocument::of_fault(fault));
        }
        if !gathered.snapshot.interrupted {
            let left = args.timeout.saturating_sub(begin.elapsed());
            let ended = tokio::select! {
                ended = also(&cluster, &mut gathered, left) => Some(ended),
                _ = tokio::signal::ctrl_c() => None,
            };
            gathered.snapshot.interrupted |= ended.transpose()?.is_none();
        }
        if !gathered.snapshot.interrupted {
            last(&cluster, &mut gathered).await?;
        }
        if let Some(note) = cluster.clock_skew().and_then(skew_note) {
            ui::message(&note);
        }
        if args.verbose.is_some() {
            let traffic = cluster.traffic();
            ui::message(&format!(
                "read in {} ms: {} requests, {} bytes\n",
                start.elapsed().as_millis(),
                traffic.requests,
                traffic.bytes
            ));
        }
        Ok(gathered)
    });
    // Reads that still hang must not keep the process alive.
    runtime.shutdown_background();
    gathered
}

/// What asynchronous parts run on. One thread: a list comes in thousands of pieces, and waking another thread for each of
/// them costs more than reading and decoding side by side would save. The server takes longest in any case.
///
/// # Errors
/// When the operating system does not give what is needed.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, ErrorDocument> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| ErrorDocument {
        kind: "internal".to_owned(),
        message: format!("no runtime: {error}"),
        hints: Vec::new(),
    })
}

/// Connects, and lets a command ask what it needs within what is left of its time. `late` is what to say when that is over.
///
/// # Errors
/// When there is no connection, what `ask` says, or when it took too long.
pub(super) fn with_cluster<T>(
    connection: &ConnectionArgs,
    args: &ReportArgs,
    late: &str,
    ask: impl AsyncFnOnce(&Cluster, Duration) -> Result<T, ErrorDocument>,
) -> Result<T, ErrorDocument> {
    let runtime = runtime()?;
    let begin = Instant::now();
    let asked = runtime.block_on(async {
        let options = ConnectOptions { plugin_timeout: Some(args.timeout), ..connection.options() };
        // As in `read`: the plugin's own limit comes first.
        let limit = args.timeout.saturating_add(Duration::from_millis(200));
        let connecting = Cluster::connect(&options);
        let cluster = in_time(limit, args.timeout, "the kubeconfig could not be read", connecting).await?;
        let left = args.timeout.saturating_sub(begin.elapsed());
        let asked = in_time(left, args.timeout, late, async { Ok(ask(&cluster, left).await) }).await?;
        if args.verbose.is_some() {
            let traffic = cluster.traffic();
            let took = begin.elapsed().as_millis();
            ui::message(&format!("read in {took} ms: {} requests, {} bytes\n", traffic.requests, traffic.bytes));
        }
        asked
    });
    runtime.shutdown_background();
    asked
}

/// Runs what asks no API server; none when the user ended it.
///
/// # Errors
/// When there is nothing to run it on.
pub(super) fn alone<T>(ask: impl Future<Output = T>) -> Result<Option<T>, ErrorDocument> {
    let runtime = runtime()?;
    let asked = runtime.block_on(async {
        tokio::select! {
            asked = ask => Some(asked),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    runtime.shutdown_background();
    Ok(asked)
}

/// Waits; false when the user ends it.
pub(super) fn pause(time: Duration) -> bool {
    let Ok(runtime) = runtime() else { return false };
    runtime.block_on(async {
        tokio::select! {
            () = tokio::time::sleep(time) => true,
            _ = tokio::signal::ctrl_c() => false,
        }
    })
}

/// A part of connecting, within what is left of the time that was given.
async fn in_time<T>(
    left: Duration,
    given: Duration,
    what: &str,
    part: impl Future<Output = Result<T, Fault>>,
) -> Result<T, ErrorDocument> {
    match tokio::time::timeout(left, part).await {
        Ok(result) => result.map_err(|fault| ErrorDocument::of_fault(&fault)),
        Err(_) => {
            let fault = Fault::new(FaultKind::Timeout, format!("{what} within {} s", given.as_secs_f64()));
            Err(ErrorDocument::of_fault(&fault))
        }
    }
}

/// Why a run has nothing to report. Some servers tell everybody their version and refuse a bad token, or break, only
/// afterwards: then no list came, and a report full of gaps would hide the one cause. Refused rights are the report's.
fn learnt_nothing(snapshot: &Snapshot) -> Option<&Fault> {
    let of_objects = || SOURCES.iter().filter(|s| s.id != SourceId::Version).map(|s| (s.state)(snapshot));
    if snapshot.interrupted || of_objects().any(|state| state.items > 0) {
        return None;
    }
    let mut faults = of_objects().flat_map(|state| state.faults.iter().chain(state.fallback));
    let first = faults.next()?;
    (first.kind != FaultKind::Forbidden && faults.all(|fault| fault.kind != FaultKind::Forbidden)).then_some(first)
}

/// Ages are counted by the server's clock, so a skew changes no verdict; but certificates and tokens go by this machine's.
fn skew_note(ahead: SignedDuration) -> Option<String> {
    const TOLERATED: i64 = 60;
    let seconds = ahead.as_secs();
    let size = match seconds.abs() {
        ..=TOLERATED => return None,
        seconds @ ..7200 => format!("{} min", (seconds + 30) / 60),
        seconds @ ..172_800 => format!("{} h", (seconds + 1800) / 3600),
        seconds => format!("{} days", seconds / 86_400),
    };
    let side = if seconds > 0 { "behind" } else { "ahead of" };
    Some(format!("note: this machine's clock is {size} {side} the API server's; ages are counted by the server's\n"))
}
