//! `precheck`.

mod programs;
mod rights;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::rbac::For;
use super::session::{self, DefaultScope, Job};
use crate::checks::{self, tools};
use crate::cli::live;
use crate::cluster::{AuthKind, Cluster};
use crate::engine::Check;
use crate::engine::lens::{REVISIONS, World};
use crate::gather::Gathered;
use crate::report::precheck_view::{BundleView, CommandView, ConnectionView, PrecheckView, ProgramView};
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Fault, FaultKind, OriginKind, Scope, Snapshot, SourceId};
use crate::sources::collect::End;
use crate::sources::source;

/// Whether this tool, kubectl, istioctl and az can do their work here
///
/// Asks whether the API server answers, who you are, which rights each command has, and which versions stand against each
/// other. Only reviews of your own access, reads, and version calls of programs on the PATH. With --from: what a bundle can answer.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm precheck\n  kubectl asm precheck -n shop --for inject-check --for proxy-status\n  kubectl asm precheck --from incident.tar.gz          # what this bundle can answer"
)]
pub struct PrecheckArgs {
    /// Only the rights of this command (repeatable)
    #[arg(long = "for", value_enum, value_name = "COMMAND")]
    commands: Vec<For>,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// The part of the run's time that programs on the PATH may take.
const PROGRAMS_SHARE: f64 = 0.8;

/// Checks of the environment that need next to no rights, and those of this command.
fn is_about_tools(check: &Check) -> bool {
    checks::is_of_precheck(check) || matches!(check.code, "ENV01" | "ENV05")
}

/// Runs `precheck`.
pub fn run(connection: &ConnectionArgs, args: &PrecheckArgs) -> Exit {
    let connected = RefCell::new(None);
    let commands = RefCell::new(Vec::new());
    let snapshot = match &args.report.from {
        Some(from) => bundled(from, connection, args, &commands),
        None => live(connection, args, &connected, &commands),
    };
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: &[REVISIONS],
        view: &|world, _| View::Precheck(Box::new(view(world, connected.take(), commands.take()))),
        refuse: &|_| None,
        concerns: &|_, _| true,
        // Rights are a cluster's; a bundle has what it has.
        checks: if args.report.from.is_some() {
            &|check| is_about_tools(check) && check.code != "ENV10"
        } else {
            &is_about_tools
        },
        grace: crate::mesh::sync::GRACE,
    };
    session::judge_snapshot(snapshot, &args.report, &job).0
}

fn live(
    connection: &ConnectionArgs,
    args: &PrecheckArgs,
    connected: &RefCell<Option<ConnectionView>>,
    commands: &RefCell<Vec<CommandView>>,
) -> Result<Snapshot, ErrorDocument> {
    let report = &args.report;
    let selected = session::select(&report.only, &report.skip, &is_about_tools)?;
    let needs = session::needs(&[REVISIONS], &selected);
    let verified = !connection.insecure_skip_tls_verify;
    let also = async |cluster: &Cluster, gathered: &mut Gathered, left: Duration| {
        let rows = rights::rows(&args.commands, &scopes(args, &cluster.info().namespace))?;
        let asking = async { (about(cluster, verified).await, rights::ask(cluster, &rows).await) };
        // Programs have limits of their own: one that hangs costs its line, and a server that hangs costs its part.
        let (answered, programs) =
            futures::join!(tokio::time::timeout(left, asking), programs::look(left.mul_f64(PROGRAMS_SHARE)));
        gathered.put(SourceId::Programs, &programs, Vec::new());
        match answered {
            Ok((about, (lines, faults))) => {
                gathered.put(SourceId::Grants, &lines, faults);
                commands.replace(rights::of_cluster(&rows, gathered.snapshot.grants.items().unwrap_or_default()));
                connected.replace(Some(about));
            }
            Err(_) => {
                let fault =
                    Fault::new(FaultKind::Timeout, "the API server did not answer about one's own rights in time");
                gathered.put(SourceId::Grants, &[], vec![fault]);
            }
        }
        Ok(())
    };
    live::read_and(connection, &args.scope, report, DefaultScope::All, needs, false, also)
        .map(|gathered| gathered.snapshot)
}

/// The whole cluster and the context's namespace, or what was named.
fn scopes(args: &PrecheckArgs, namespace: &str) -> Vec<Scope> {
    let whole = Scope { namespaces: None };
    if args.scope.all_namespaces {
        return vec![whole];
    }
    match args.scope.namespace.is_empty() {
        true => vec![whole, Scope { namespaces: Some(vec![namespace.to_owned()]) }],
        false => vec![Scope { namespaces: Some(args.scope.namespace.clone()) }],
    }
}

async fn about(cluster: &Cluster, verified: bool) -> ConnectionView {
    let info = cluster.info();
    let begin = Instant::now();
    // Whether it came is told by other reads; here its time counts.
    let _ = cluster.get_raw("/version").await;
    let milliseconds = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
    let (credentials, plugin) = match &info.auth {
        AuthKind::Exec { command, .. } => ("plugin", Some(command.clone())),
        AuthKind::Token => ("token", None),
        AuthKind::ClientCertificate => ("clientCertificate", None),
        AuthKind::Basic => ("basic", None),
        AuthKind::Provider(name) => ("provider", Some(name.clone())),
        AuthKind::InCluster => ("serviceAccount", None),
        AuthKind::None => ("none", None),
    };
    let (user, groups) = match cluster.who_am_i().await {
        Ok(Some((user, groups))) => (Some(user), groups),
        _ => (None, Vec::new()),
    };
    ConnectionView {
        server: info.server.clone(),
        milliseconds,
        verified,
        credentials: credentials.to_owned(),
        plugin,
        until: cluster.credentials_end().await.map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string()),
        user,
        groups,
    }
}

/// What a bundle can answer, and the programs on this machine beside it.
fn bundled(
    from: &str,
    connection: &ConnectionArgs,
    args: &PrecheckArgs,
    commands: &RefCell<Vec<CommandView>>,
) -> Result<Snapshot, ErrorDocument> {
    let mut snapshot = session::from_bundle(from, connection, &args.scope)?;
    let rows = rights::rows(&args.commands, std::slice::from_ref(&snapshot.scope))?;
    commands.replace(rights::of_bundle(&rows, &snapshot)?);
    let lines = live::runtime()?.block_on(programs::look(args.report.timeout));
    if let Some(source) = source(SourceId::Programs) {
        let mut collector = (source.collector)();
        lines.iter().for_each(|line| collector.item(line));
        let kind = crate::snapshot::StateKind::Collected;
        collector.finish(&mut snapshot, End { kind, faults: Vec::new(), undecodable: Vec::new(), fallback: None });
    }
    Ok(snapshot)
}

fn view(world: &World<'_>, connection: Option<ConnectionView>, commands: Vec<CommandView>) -> PrecheckView {
    let snapshot = world.snapshot;
    let revisions: Option<Vec<String>> =
        world.is_installed().map(|_| world.revisions.iter().map(|revision| revision.name.clone()).collect());
    let names: BTreeSet<String> = revisions.iter().flatten().cloned().collect();
    let origin = &snapshot.origin;
    PrecheckView {
        connection,
        revisions,
        programs: snapshot
            .programs
            .items()
            .unwrap_or_default()
            .iter()
            .map(|one| ProgramView {
                name: one.metadata.name.clone(),
                path: one.path.clone(),
                version: one.version.clone(),
                extension: one.extension.clone(),
                trouble: one.trouble.clone(),
            })
            .collect(),
        lines: names.iter().map(|revision| tools::istioctl_line(revision).to_vec()).collect(),
        commands,
        bundle: (origin.kind != OriginKind::Live).then(|| BundleView {
            captured_at: origin.captured_at.map(|time| time.strftime("%Y-%m-%d %H:%M UTC").to_string()),
            namespaces: snapshot.scope.namespaces.clone(),
            interrupted: snapshot.interrupted,
        }),
    }
}
