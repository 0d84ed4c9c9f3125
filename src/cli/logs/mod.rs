//! `logs`.

mod bundle;
mod capture;
mod file;
mod pods;
mod print;
mod stream;
mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::args::{ConnectionArgs, ReportArgs, duration};
use super::exit::Exit;
use super::session::{self, DefaultScope, Job};
use super::ui;
use crate::checks;
use crate::cli::live;
use crate::cluster::{Cluster, LogSince};
use crate::engine::{Area, Check};
use crate::mesh::log::Keep;
use crate::mesh::log::choose::Want;
use crate::mesh::log::kql::{self, Place, Since, Wanted};
use crate::model::log::{ContainerLog, LogPart};
use crate::report::{ErrorDocument, Format, View};
use crate::snapshot::{Collected, Fault, Origin, OriginKind, Scope, Section, Snapshot, SourceId};
pub(super) use capture::record;
use pods::Target;
use print::Printer;
use stream::Options;

/// Lines of each container that are read where nothing is said.
const TAIL: u64 = 500;

/// Logs of istiod, of proxies or of gateways, merged by time, and what their messages mean
///
/// Lines are printed as they are; a mark in front of a line says that its message is known, and what is known follows at the
/// end. Of a container that crashes, the log from before its last restart is read. With -o json, yaml or short, and with
/// --file, only what is known is printed. Saved lines may come from kubectl logs, with or without --timestamps and --prefix, or from stern.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm logs istiod --since 1h\n  kubectl asm logs proxy deploy/cart -n shop\n  kubectl asm logs proxy cart-6c7d8f9b5-b7zql.shop -f\n  kubectl asm logs gateway --tail 2000 -o json\n  kubectl logs web-1 -c istio-proxy | kubectl asm logs --file -\n  kubectl asm logs istiod --since 3d --kql          # for Log Analytics, which keeps more"
)]
pub struct LogsArgs {
    /// Whose logs
    #[arg(value_enum, value_name = "WHAT", required_unless_present = "file")]
    what: Option<What>,
    /// Only these pods: POD, POD.NAMESPACE, or TYPE/NAME such as deploy/cart
    #[arg(value_name = "POD", conflicts_with = "file")]
    target: Option<String>,
    /// Namespace of the pods; default: the context's for proxy, the add-on's own for istiod and gateway
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// With istiod: only those of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Another container than Istio's
    #[arg(long, short = 'c', value_name = "CONTAINER")]
    container: Option<String>,
    /// Go on as the logs grow, over restarts too; Ctrl-C ends with what is known
    #[arg(long, short = 'f')]
    follow: bool,
    /// The log from before the last restart; =false: never that. Without it, of what crashes
    #[arg(long, short = 'p', value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    previous: Option<bool>,
    /// Only lines of this long before now, e.g. 10m, 2h, 3d
    #[arg(long, value_name = "TIME", value_parser = span, conflicts_with = "since_time")]
    since: Option<Duration>,
    /// Only lines from this time on, e.g. 2026-07-15T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since_time: Option<Timestamp>,
    /// Last lines of each container; -1 for all. Default: 500, or all where --since is given
    #[arg(long, value_name = "LINES", allow_negative_numbers = true)]
    tail: Option<i64>,
    /// Print the kubelet's time before each line
    #[arg(long)]
    timestamps: bool,
    /// Only the lines: no marks, no findings
    #[arg(long)]
    raw: bool,
    /// Read a saved log instead of a cluster (repeatable, `-` is stdin)
    #[arg(long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Print the Log Analytics query for the same pods and time, and read no logs; =v1 for the older table
    #[arg(long, value_enum, value_name = "SCHEMA", num_args = 0..=1, require_equals = true, default_missing_value = "v2")]
    kql: Option<Schema>,
    #[command(flatten)]
    report: ReportArgs,
}

/// Whose logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// All istiods of the add-on
    Istiod,
    /// The proxy of a pod, or of a workload's pods
    Proxy,
    /// The add-on's gateways, and those that istiod made for Gateway resources
    Gateway,
}

impl What {
    fn part(self) -> LogPart {
        match self {
            Self::Istiod => LogPart::Istiod,
            Self::Proxy => LogPart::Proxy,
            Self::Gateway => LogPart::Gateway,
        }
    }

    fn word(self) -> &'static str {
        self.part().word()
    }
}

/// A table of Log Analytics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Schema {
    /// ContainerLogV2
    V2,
    /// ContainerLog
    V1,
}

/// Durations, and days besides: logs are older than requests last.
fn span(text: &str) -> Result<Duration, String> {
    let days = text.strip_suffix('d').and_then(|days| days.parse::<u64>().ok());
    match days {
        Some(days) => Ok(Duration::from_secs(days.saturating_mul(86_400))),
        None => duration(text),
    }
}

fn usage(message: impl Into<String>, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "usage".to_owned(), message: message.into(), hints }
}

impl LogsArgs {
    fn want(&self) -> Want {
        match self.previous {
            None => Want::Auto,
            Some(true) => Want::Previous,
            Some(false) => Want::Current,
        }
    }

    /// How many lines of each container; none for all.
    fn lines(&self) -> Option<u64> {
        match self.tail {
            Some(lines) => u64::try_from(lines).ok(),
            None if self.since.is_some() || self.since_time.is_some() => None,
            None => Some(TAIL),
        }
    }

    /// Whether a check can say something about the logs that are asked for.
    fn is_about(&self, check: &Check) -> bool {
        match self.what {
            Some(What::Istiod) => check.area == Area::ControlPlane,
            Some(What::Proxy | What::Gateway) => check.area == Area::Proxies,
            None => true,
        }
    }

    fn prints_lines(&self) -> bool {
        self.file.is_empty() && (self.raw || !matches!(self.report.output, Format::Json | Format::Yaml | Format::Short))
    }

    /// What cannot go together.
    fn check(&self, connection: &ConnectionArgs) -> Result<(), ErrorDocument> {
        let data = matches!(self.report.output, Format::Json | Format::Yaml);
        if self.raw && data {
            return Err(usage("--raw prints lines, and -o json what they mean", &["leave one of them out"]));
        }
        if self.revision.is_some() && self.what != Some(What::Istiod) {
            return Err(usage("--revision goes with istiod only", &["   kubectl asm logs istiod --revision asm-1-28"]));
        }
        if !self.file.is_empty() {
            if let Some(flag) = connection.given().or(self.report.from.as_ref().map(|_| "--from")) {
                let message = format!("{flag} does not go with --file: a file is read without a cluster");
                return Err(usage(message, &["leave one of them out"]));
            }
            let flags = [
                ("--follow", self.follow),
                ("--kql", self.kql.is_some()),
                ("--previous", self.previous.is_some()),
                ("--raw", self.raw),
            ];
            if let Some((flag, _)) = flags.iter().find(|(_, given)| *given) {
                return Err(usage(format!("{flag} does not go with --file"), &["a file holds what was saved"]));
            }
            return Ok(());
        }
        if self.report.from.is_some() {
            let flags = [
                ("--follow", self.follow),
                ("--previous", self.previous.is_some()),
                ("--since", self.since.is_some()),
                ("--since-time", self.since_time.is_some()),
            ];
            if let Some((flag, _)) = flags.iter().find(|(_, given)| *given && self.kql.is_none()) {
                let message = format!("{flag} does not go with --from: a bundle holds the logs as they were read then");
                return Err(usage(message, &["leave it out, or ask the cluster"]));
            }
        }
        if self.what == Some(What::Proxy) && self.target.is_none() && self.report.from.is_none() {
            let hints = ["for example:", "   kubectl asm logs proxy deploy/cart -n shop", "   kubectl asm logs istiod"];
            return Err(usage("name a pod or a workload whose proxy is meant", &hints));
        }
        Ok(())
    }
}

/// What was read.
struct Read {
    snapshot: Snapshot,
    /// Whether lines are on stdout already.
    printed: bool,
}

/// Runs `logs`.
pub fn run(connection: &ConnectionArgs, args: &LogsArgs) -> Exit {
    if let (Some(schema), Ok(())) = (args.kql, args.check(connection)) {
        return match query(connection, args, schema) {
            Ok(text) => super::print(&text),
            Err(error) => finish(Err(error), args),
        };
    }
    let read = args.check(connection).and_then(|()| match (&args.report.from, args.file.is_empty()) {
        (_, false) => file::read(args),
        (Some(from), true) => bundle::read(from, connection, args),
        (None, true) => live(connection, args),
    });
    finish(read, args)
}

fn finish(read: Result<Read, ErrorDocument>, args: &LogsArgs) -> Exit {
    let (snapshot, printed) = match read {
        Ok(read) => (Ok(read.snapshot), read.printed),
        Err(error) => (Err(error), false),
    };
    if let (true, Ok(snapshot)) = (args.raw, &snapshot) {
        return raw_end(snapshot);
    }
    if printed {
        // The report is on the same stream as the lines, and a line apart from them.
        let _ = ui::data("\n");
    }
    let job = Job {
        default_scope: DefaultScope::Context,
        view_needs: &[&[SourceId::Logs]],
        view: &|world, _| View::Logs(view::view(world.snapshot.logs.items().unwrap_or_default())),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &|check| checks::is_of_logs(check) && args.is_about(check),
        grace: crate::mesh::sync::GRACE,
    };
    session::judge_snapshot(snapshot, &args.report, &job).0
}

/// Without findings the exit code tells only whether all lines are there.
fn raw_end(snapshot: &Snapshot) -> Exit {
    let faults = snapshot.logs.state().faults;
    for fault in faults {
        ui::message(&format!("? {}\n", crate::model::quoted::printable(&fault.message)));
    }
    match (snapshot.interrupted, faults.is_empty()) {
        (true, _) => Exit::Interrupted,
        (false, true) => Exit::Clean,
        (false, false) => Exit::Gaps,
    }
}

/// The world of some logs.
fn snapshot_of(mut logs: Vec<ContainerLog>, faults: Vec<Fault>, origin: Origin) -> Snapshot {
    logs.sort_by(|a, b| {
        (&a.metadata, &a.container, a.previous.is_none()).cmp(&(&b.metadata, &b.container, b.previous.is_none()))
    });
    let namespaces: BTreeSet<String> =
        logs.iter().map(|log| log.metadata.namespace.clone()).filter(|namespace| !namespace.is_empty()).collect();
    let section = if logs.is_empty() && !faults.is_empty() {
        Section::Failed(faults)
    } else {
        Section::Collected(Collected { items: logs, undecodable: Vec::new(), faults, fallback: None })
    };
    Snapshot {
        origin,
        scope: Scope { namespaces: Some(namespaces.into_iter().collect()) },
        logs: section,
        ..Snapshot::default()
    }
}

/// Where a live answer comes from.
async fn origin(cluster: &Cluster) -> Origin {
    let version = cluster.version().await.ok().flatten();
    let info = cluster.info();
    Origin {
        kind: OriginKind::Live,
        context: info.context.clone(),
        server: Some(info.server.clone()),
        server_version: version.map(|version| version.git_version),
        captured_at: cluster.server_date(),
    }
}

fn live(connection: &ConnectionArgs, args: &LogsArgs) -> Result<Read, ErrorDocument> {
    // What is followed has no end.
    const NEVER: Duration = Duration::from_secs(10 * 365 * 86_400);
    let report = ReportArgs { timeout: if args.follow { NEVER } else { args.report.timeout }, ..args.report.clone() };
    live::with_cluster(connection, &report, "the logs did not come", async |cluster, left| {
        let found = pods::find(cluster, args).await?;
        let origin = origin(cluster).await;
        let now = args.report.now.or(origin.captured_at).unwrap_or_else(Timestamp::now);
        let targets = pods::targets(&found, args, now);
        if targets.is_empty() {
            return Err(pods::nothing(args, &found));
        }
        let printer = args.prints_lines().then(|| Printer::new(&targets, args));
        let printed = printer.is_some();
        let since = match (args.since, args.since_time) {
            (Some(span), _) => Some(LogSince::Seconds(span.as_secs())),
            (None, time) => time.map(LogSince::Time),
        };
        let options = Options { tail: args.lines(), since, follow: args.follow, keep: Keep::default() };
        // Giving back what was read takes a moment, too.
        let limit = (!args.follow).then(|| left.saturating_sub(Duration::from_millis(300)));
        let outcome = stream::read(cluster, &options, &targets, printer, limit).await;
        let mut faults = found.faults;
        faults.extend(outcome.faults);
        if printed && outcome.logs.iter().any(|log| log.older_left_out) {
            let lines = args.lines().unwrap_or_default();
            ui::message(&format!("note: of each log the last {lines} lines were read; --tail=-1 reads all\n"));
        }
        let mut snapshot = snapshot_of(outcome.logs, faults, origin);
        snapshot.interrupted = outcome.interrupted;
        Ok(Read { snapshot, printed: printed && outcome.lines > 0 })
    })
}

/// The query for the pods that are meant. No right to read logs is needed for it.
fn query(connection: &ConnectionArgs, args: &LogsArgs, schema: Schema) -> Result<String, ErrorDocument> {
    let places: BTreeSet<Place> = match &args.report.from {
        Some(from) => {
            let logs = bundle::logs(from, connection, args)?.0;
            let place = |log: ContainerLog| Place {
                namespace: log.metadata.namespace,
                pod: log.metadata.name,
                container: log.container,
            };
            logs.into_iter().map(place).collect()
        }
        None => live::with_cluster(connection, &args.report, "the pods were not listed", async |cluster, _| {
            let found = pods::find(cluster, args).await?;
            let targets = pods::targets(&found, args, Timestamp::now());
            if targets.is_empty() {
                return Err(pods::nothing(args, &found));
            }
            Ok(targets.iter().map(Target::place).collect())
        })?,
    };
    let since = match (args.since, args.since_time) {
        (Some(span), _) => Since::Ago(span),
        (None, Some(time)) => Since::At(time),
        (None, None) => Since::default(),
    };
    let tail = args.tail.and_then(|lines| u64::try_from(lines).ok());
    let wanted = Wanted { places, since, tail };
    Ok(match schema {
        Schema::V2 => kql::query(&wanted),
        Schema::V1 => kql::old_query(&wanted),
    })
}
