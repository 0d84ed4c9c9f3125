//! `capture`.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::azure::AzArgs;
use super::exit::Exit;
use super::live;
use super::session::{self, DefaultScope};
use super::ui;
use super::{logs, proxy_config, proxy_diff};
use crate::bundle;
use crate::cluster::Cluster;
use crate::engine::Severity;
use crate::gather::Gathered;
use crate::model::quoted::printable;
use crate::report::Format;
use crate::snapshot::{Snapshot, SourceId};
use crate::sources::{SOURCES, Source};

/// Write a redacted bundle that the other commands read with --from
///
/// Gathers what all checks and views need: no Secrets, no logs unless --logs is given, environment values only where a verdict needs them. With
/// --proxy, of a proxy's configuration what proxy-config shows: names, hosts, paths, addresses and public certificates; no
/// headers, bodies or keys.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm capture\n  kubectl asm capture incident.tar.gz -n shop\n  kubectl asm capture incident.tar.gz -n shop --proxy deploy/cart\n  kubectl asm capture incident.tar.gz --logs\n  kubectl asm capture --az                    # what Azure says about the cluster, too\n  kubectl asm capture - | ssh jump 'cat >bundle.tar.gz'\n  kubectl asm status --from incident.tar.gz"
)]
pub struct CaptureArgs {
    /// File to write; default: kubectl-asm-CONTEXT-TIME.tar.gz; `-` is stdout
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    scope: ScopeArgs,
    /// Also keep the configuration of this proxy: POD, POD.NAMESPACE or TYPE/NAME (repeatable)
    #[arg(long, value_name = "POD")]
    proxy: Vec<String>,
    /// Also keep logs of istiod, of gateways, of proxies that do not work and of --proxy: known messages and the last lines
    #[arg(long)]
    logs: bool,
    #[command(flatten)]
    azure: AzArgs,
    /// Time for the whole run
    #[arg(long, value_name = "TIME", default_value = "60")]
    timeout: u64,
}

/// Runs `capture`.
pub fn run(connection: &ConnectionArgs, args: &CaptureArgs) -> Exit {
    let report = ReportArgs {
        output: Format::Text,
        from: None,
        timeout: Duration::from_secs(args.timeout),
        fail_on: Severity::Error,
        only: Vec::new(),
        skip: Vec::new(),
        allow_gaps: false,
        facts: None,
        no_color: false,
        verbose: None,
        now: None,
    };
    let sources: BTreeSet<_> = SOURCES.iter().map(|source| source.id).collect();
    if let Some(message) = args.azure.refuse(None) {
        return session::refuse(&report, message, "kubectl asm capture --az -g rg-prod -c prod-weu");
    }
    let also = async |cluster: &Cluster, gathered: &mut Gathered, left: Duration| {
        let begin = Instant::now();
        let mut named = Vec::new();
        if !args.proxy.is_empty() {
            let namespace = match args.scope.namespace.as_slice() {
                [only] => only,
                _ => &cluster.info().namespace,
            };
            let mut recorded = proxy_config::record(cluster, &args.proxy, namespace, left).await;
            let left = left.saturating_sub(begin.elapsed());
            proxy_diff::record(cluster, &gathered.snapshot, &mut recorded, left).await;
            gathered.put(SourceId::ProxyAnswers, &recorded.lines, recorded.faults);
            named = recorded.pods;
        }
        if args.logs {
            let left = left.saturating_sub(begin.elapsed());
            let recorded = logs::record(cluster, &gathered.snapshot, &named, left).await;
            gathered.put(SourceId::Logs, &recorded.lines, recorded.faults);
            gathered.snapshot.interrupted |= recorded.interrupted;
        }
        args.azure.add(cluster, gathered, left.saturating_sub(begin.elapsed())).await
    };
    let gathered = match live::read_and(connection, &args.scope, &report, DefaultScope::All, sources, true, also) {
        Ok(gathered) => gathered,
        Err(error) => {
            ui::message(&crate::report::text::render_error(&error, ui::stderr_style(false)));
            return Exit::Unable;
        }
    };
    let Some(recorder) = gathered.recorder else { return Exit::Unable };
    let path = args.file.clone().unwrap_or_else(|| default_name(&gathered.snapshot));
    if let Err(message) = write(&path, &gathered.snapshot, recorder) {
        ui::message(&format!("error: {}\n", printable(&message)));
        return Exit::Unable;
    }
    let faults = |source: &Source| (source.state)(&gathered.snapshot).faults;
    let broken = || SOURCES.iter().filter(|source| !faults(source).is_empty());
    // What was asked for by name has faults of its own; of a list it is enough to know that it is not there.
    let named: Vec<_> = broken().filter(|source| source.is_by_command()).flat_map(faults).collect();
    let failed: Vec<_> = broken().filter(|source| !source.is_by_command()).map(|source| source.resource).collect();
    if path.as_os_str() != "-" {
        ui::message(&format!("wrote {}\n", printable(&path.display().to_string())));
    }
    for fault in &named {
        ui::message(&format!("? not in it: {}\n", fault.message));
    }
    if !failed.is_empty() {
        ui::message(&format!("? not in it, because it could not be read: {}\n", failed.join(", ")));
    }
    if gathered.snapshot.interrupted {
        ui::message("interrupted: what was not read by then is not in it\n");
        return Exit::Interrupted;
    }
    if failed.is_empty() && named.is_empty() { Exit::Clean } else { Exit::Gaps }
}

fn default_name(snapshot: &Snapshot) -> PathBuf {
    let context: String = snapshot
        .origin
        .context
        .as_deref()
        .unwrap_or("cluster")
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' })
        .collect();
    let time = snapshot.origin.captured_at.map_or_else(String::new, |t| t.strftime("%Y%m%dT%H%M%SZ").to_string());
    PathBuf::from(format!("kubectl-asm-{context}-{time}.tar.gz"))
}

/// A bundle appears under its name only when it is complete.
fn write(path: &std::path::Path, snapshot: &Snapshot, recorder: bundle::Recorder) -> Result<(), String> {
    if path.as_os_str() == "-" {
        let mut out = std::io::stdout().lock();
        bundle::write(&mut out, snapshot, recorder).map_err(|error| error.to_string())?;
        return out.flush().map_err(|error| error.to_string());
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let failed = |what: &str, error: &dyn std::fmt::Display| format!("{} cannot be {what}: {error}", path.display());
    let mut file = std::fs::File::create(&part).map_err(|error| failed("created", &error))?;
    let written = bundle::write(&mut file, snapshot, recorder)
        .map_err(|error| failed("written", &error))
        .and_then(|()| file.sync_all().map_err(|error| failed("written", &error)))
        .and_then(|()| std::fs::rename(&part, path).map_err(|error| failed("written", &error)));
    if written.is_err() {
        // What is left of a failed write is of no use; that it stays is no second error.
        let _ = std::fs::remove_file(&part);
    }
    written
}
