//! `azure`, and `--az` of other commands.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::live;
use super::session::{self, DefaultScope, Job};
use crate::az::{self, Told, Traces, Wanted, aks_host, traces_of_node};
use crate::cluster::{Api, Cluster, ListRequest, ListSink};
use crate::engine::lens::{REVISIONS, World};
use crate::engine::{Check, Risk, Step};
use crate::gather::Gathered;
use crate::mesh::azure_errors::Known;
use crate::mesh::azure_log::{Decoded, Exchange, Reader};
use crate::mesh::azure_profile::{self, rows};
use crate::model::Node;
use crate::model::quoted::printable;
use crate::report::azure::{
    AzTools, AzureCluster, AzureLogView, AzureRequest, AzureRow, AzureView, UnderstoodView, UnknownView,
};
use crate::report::style::shell;
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Fault, FaultKind, Origin, OriginKind, Snapshot, SourceId, StateKind};
use crate::sources::collect::End;
use crate::sources::{source, with_followed};

/// What Azure says about the cluster, and how the cluster compares; reads with az, changes nothing
///
/// The cluster is found by its nodes or by the address of its API server, unless -g and -c name it. az must be installed
/// and logged in. With --log, what az wrote with --debug, or the text of an error, is explained; that needs no cluster.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm azure\n  kubectl asm azure -g rg-prod -c prod-weu\n  az aks mesh enable -g rg-prod -n prod-weu --debug 2>enable.log\n  kubectl asm azure --log enable.log\n  kubectl asm azure -o json | jq '.view.compared[] | select(.agree == false)'"
)]
pub struct AzureArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Explain a log of az, or the text of an error (`-` is stdin)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["resource_group", "cluster_name", "subscription", "from"])]
    log: Option<PathBuf>,
    #[command(flatten)]
    report: ReportArgs,
}

/// Which cluster of Azure is meant.
#[derive(clap::Args, Debug, Clone, Default)]
#[command(next_help_heading = "Azure (found by the cluster's nodes when not given)")]
pub struct TargetArgs {
    /// Resource group of the cluster
    #[arg(long, short = 'g', value_name = "NAME")]
    resource_group: Option<String>,
    /// Name of the cluster in Azure (the kubeconfig's cluster entry is --cluster)
    #[arg(long, short = 'c', value_name = "NAME")]
    cluster_name: Option<String>,
    /// Subscription of the cluster, its name or id
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,
}

impl TargetArgs {
    fn wanted(&self) -> Wanted {
        Wanted {
            resource_group: self.resource_group.clone(),
            name: self.cluster_name.clone(),
            subscription: self.subscription.clone(),
        }
    }

    /// The first flag that was given.
    fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--resource-group", &self.resource_group),
            ("--cluster-name", &self.cluster_name),
            ("--subscription", &self.subscription),
        ];
        flags.into_iter().find(|(_, value)| value.is_some()).map(|(name, _)| name)
    }
}

/// `--az` of commands that do not ask Azure by themselves.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct AzArgs {
    /// Ask Azure, too, through az
    #[arg(long)]
    pub az: bool,
    #[command(flatten)]
    target: TargetArgs,
}

impl AzArgs {
    /// What is wrong with the flags, such as a cluster that is named and not asked for.
    pub(super) fn refuse(&self, from: Option<&String>) -> Option<String> {
        match (self.target.given(), self.az, from) {
            (Some(flag), false, _) => Some(format!("{flag} goes with --az")),
            (Some(flag), true, Some(_)) => {
                Some(format!("{flag} does not go with --from: a bundle is read without Azure"))
            }
            _ => None,
        }
    }

    /// Adds what Azure says, where that is wanted.
    pub(super) async fn add(
        &self,
        cluster: &Cluster,
        gathered: &mut Gathered,
        left: Duration,
    ) -> Result<(), ErrorDocument> {
        if self.az {
            add(cluster, gathered, &self.target.wanted(), left).await;
        }
        Ok(())
    }
}

/// What its view needs besides the checks.
pub(super) const VIEW: &[&[SourceId]] =
    &[REVISIONS, &[SourceId::GatewayServices, SourceId::SystemConfigMaps, SourceId::Azure]];

/// Runs `azure`.
pub fn run(connection: &ConnectionArgs, args: &AzureArgs) -> Exit {
    if let Some(path) = &args.log {
        return explain(connection, args, path);
    }
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: VIEW,
        view: &|world, _| View::Azure(Box::new(view(world))),
        refuse: &|world| nothing_of_azure(world.snapshot),
        concerns: &|_, _| true,
        checks: &is_about_azure,
        grace: crate::mesh::sync::GRACE,
    };
    if args.report.from.is_some() {
        if let Some(flag) = args.target.given() {
            let message = format!("{flag} does not go with --from: a bundle is read without Azure");
            return session::refuse(&args.report, message, "kubectl asm azure --from bundle.tar.gz");
        }
        return session::judge(connection, &ScopeArgs::default(), &args.report, &job).0;
    }
    session::judge_snapshot(live(connection, args), &args.report, &job).0
}

/// Why there is nothing to say: a bundle that was made without `--az`.
pub(super) fn nothing_of_azure(snapshot: &Snapshot) -> Option<ErrorDocument> {
    (snapshot.azure.state().kind == StateKind::NotRequested && !snapshot.interrupted).then(|| ErrorDocument {
        kind: "bundle".to_owned(),
        message: "this bundle holds nothing of what Azure says".to_owned(),
        hints: vec!["a bundle that does is made with --az".to_owned(), "   kubectl asm capture --az".to_owned()],
    })
}

/// Checks of the cluster in Azure, and of what could not be read.
#[must_use]
pub(super) fn is_about_azure(check: &Check) -> bool {
    crate::checks::is_of_azure(check) || check.code == "ENV03"
}

/// Asks the cluster, then Azure; a cluster that does not answer keeps nobody from asking Azure.
fn live(connection: &ConnectionArgs, args: &AzureArgs) -> Result<Snapshot, ErrorDocument> {
    let begin = Instant::now();
    let selected = session::select(&args.report.only, &args.report.skip, &is_about_azure)?;
    let needs = session::needs(VIEW, &selected);
    let wanted = args.target.wanted();
    // Some time must be left for Azure when the API server only hangs, as one that is stopped does.
    let half = ReportArgs { timeout: args.report.timeout / 2, ..args.report.clone() };
    let scope = ScopeArgs::default();
    let rest = args.report.timeout;
    let read = live::read_and(
        connection,
        &scope,
        &half,
        DefaultScope::All,
        needs.clone(),
        false,
        async |cluster, gathered, _| {
            add(cluster, gathered, &wanted, rest.saturating_sub(begin.elapsed())).await;
            Ok(())
        },
    );
    let unreached = match read {
        Ok(gathered) => return Ok(gathered.snapshot),
        Err(error) => error,
    };
    let left = rest.saturating_sub(begin.elapsed());
    let asked = live::alone(without_cluster(connection, &wanted, left))?;
    let interrupted = asked.is_none();
    let (told, origin) = asked.unwrap_or_default();
    let mut snapshot = Snapshot { origin, interrupted, ..Snapshot::default() };
    let fault = Fault::new(FaultKind::of_word(&unreached.kind), unreached.message);
    for id in with_followed(&needs) {
        let Some(source) = source(id).filter(|source| !source.is_by_command()) else { continue };
        let end = End { kind: StateKind::Failed, faults: vec![fault.clone()], undecodable: Vec::new(), fallback: None };
        (source.collector)().finish(&mut snapshot, end);
    }
    let mut gathered = Gathered { snapshot, recorder: None };
    put(&mut gathered, &told);
    Ok(gathered.snapshot)
}

/// Azure by the names that were given, or by the address in the kubeconfig.
async fn without_cluster(connection: &ConnectionArgs, wanted: &Wanted, left: Duration) -> (Told, Origin) {
    let options = connection.options();
    // Opening a kubeconfig may run a credential plugin; what it cannot give, the address among it, is not needed here.
    let connected = tokio::time::timeout(left / 4, Cluster::connect(&options)).await.ok().and_then(Result::ok);
    let info = connected.as_ref().map(Cluster::info);
    let traces = Traces { host: info.and_then(|info| aks_host(&info.server)), ..Traces::default() };
    let origin = Origin {
        kind: OriginKind::Live,
        context: info.and_then(|info| info.context.clone()),
        server: info.map(|info| info.server.clone()),
        ..Origin::default()
    };
    (az::ask(wanted, &traces, left.mul_f32(0.75)).await, origin)
}

/// Asks Azure about a cluster that answers.
async fn add(cluster: &Cluster, gathered: &mut Gathered, wanted: &Wanted, left: Duration) {
    let begin = Instant::now();
    // Also where the cluster is named: the name may be another's.
    let traces = traces(cluster, gathered).await;
    let told = az::ask(wanted, &traces, left.saturating_sub(begin.elapsed())).await;
    put(gathered, &told);
}

fn put(gathered: &mut Gathered, told: &Told) {
    let lines: Vec<Vec<u8>> = told.records.iter().map(crate::model::AzureRecord::line).collect();
    gathered.put(SourceId::Azure, &lines, told.faults.clone());
}

/// Nodes by the API server, where they were not read for something else.
#[derive(Default)]
struct Nodes(Vec<Node>);

impl ListSink for Nodes {
    fn item(&mut self, json: &[u8]) {
        self.0.extend(serde_json::from_slice::<Node>(json));
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

/// What tells where Azure keeps the cluster. Whoever may not list nodes still has the address of the API server.
async fn traces(cluster: &Cluster, gathered: &Gathered) -> Traces {
    let mut listed = Nodes::default();
    let nodes = match gathered.snapshot.nodes.items() {
        Some(nodes) => nodes,
        None => {
            let request =
                ListRequest { api: Api::NODES, namespace: None, labels: None, fields: None, metadata_only: false };
            // A refusal is no gap here: there is another way.
            let _ = cluster.list(&request, &mut listed).await;
            &listed.0
        }
    };
    let found = nodes.iter().find_map(|node| traces_of_node(&node.spec.provider_id));
    let (subscription, node_resource_group) = found.unzip();
    Traces { subscription, node_resource_group, host: aks_host(&cluster.info().server) }
}

/// The view, also of `status --az`.
pub(super) fn view(world: &World<'_>) -> AzureView {
    let azure = azure_profile::azure(world.snapshot);
    let revisions = world.is_installed().map(|_| world.revisions.as_slice());
    let compared = azure.cluster.map(|cluster| rows(cluster, world.snapshot, revisions)).unwrap_or_default();
    AzureView {
        cluster: azure.cluster.map(|cluster| {
            let network = &cluster.network_profile;
            let network = [&network.network_plugin, &network.network_dataplane, &network.network_policy];
            let version = [&cluster.current_kubernetes_version, &cluster.kubernetes_version];
            AzureCluster {
                name: cluster.name.clone(),
                resource_group: cluster.resource_group.clone(),
                location: cluster.location.clone(),
                power_state: cluster.power_state.code.clone(),
                provisioning_state: cluster.provisioning_state.clone(),
                kubernetes_version: version.into_iter().find(|v| !v.is_empty()).cloned().unwrap_or_default(),
                support_plan: cluster.support_plan.clone(),
                tier: cluster.sku.tier.clone(),
                upgrade_channel: cluster.auto_upgrade_profile.upgrade_channel.clone(),
                network: network.into_iter().filter(|part| !part.is_empty()).cloned().collect(),
            }
        }),
        compared: compared
            .into_iter()
            .map(|row| AzureRow { what: row.topic.words(), azure: row.wanted, cluster: row.found, agree: row.agree })
            .collect(),
        offered: azure
            .revisions
            .map(|offered| offered.mesh_revisions.iter().map(|revision| revision.revision.clone()).collect()),
        upgrades: azure.upgrades.map(|upgrades| upgrades.upgrades.clone()),
        tools: azure.tools.map(|tools| AzTools {
            version: tools.az.clone(),
            aks_preview: tools.extensions.get("aks-preview").cloned(),
        }),
    }
}

/// `azure --log`.
fn explain(connection: &ConnectionArgs, args: &AzureArgs, path: &Path) -> Exit {
    if let Some(flag) = connection.given() {
        let message = format!("{flag} does not go with --log: a file is read without a cluster");
        return session::refuse(&args.report, message, "kubectl asm azure --log enable.log");
    }
    let read =
        read_log(path).and_then(|decoded| if decoded.is_of_az { Ok(decoded) } else { Err(foreign(path, &decoded)) });
    let seen = match &read {
        Ok(decoded) => log_view(decoded),
        Err(_) => AzureLogView::default(),
    };
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: &[],
        view: &|_, _| View::AzureLog(Box::new(seen.clone())),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &|_| false,
        grace: crate::mesh::sync::GRACE,
    };
    let origin = Origin { kind: OriginKind::File, ..Origin::default() };
    let snapshot = read.map(|_| Snapshot { origin, ..Snapshot::default() });
    session::judge_snapshot(snapshot, &args.report, &job).0
}

/// That no error is in a log of something else would be said of what nobody looked at.
fn foreign(path: &Path, decoded: &Decoded) -> ErrorDocument {
    let lines = match decoded.lines {
        0 => "there are no lines in it".to_owned(),
        1 => "its line is none of az, and no error of Azure that is known here".to_owned(),
        lines => format!("none of its {lines} lines is of az, or an error of Azure that is known here"),
    };
    let logs = ["kubectl", "asm", "logs", "--file", &path.display().to_string()].map(str::to_owned);
    ErrorDocument {
        kind: "file".to_owned(),
        message: format!("{}: {lines}", name(path)),
        hints: vec![
            "the log is what az writes to stderr:".to_owned(),
            "   az aks mesh enable … --debug 2>az.log".to_owned(),
            "a log of istiod or of a proxy is explained by:".to_owned(),
            format!("   {}", shell(&logs)),
        ],
    }
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { printable(&path.display().to_string()) }
}

fn read_log(path: &Path) -> Result<Decoded, ErrorDocument> {
    let wrong = |error: std::io::Error| ErrorDocument {
        kind: "file".to_owned(),
        message: format!("{} cannot be read: {error}", name(path)),
        hints: vec![
            "the log is what az writes to stderr".to_owned(),
            "   az aks mesh enable … --debug 2>az.log".to_owned(),
        ],
    };
    if path.as_os_str() == "-" {
        return read_lines(std::io::stdin().lock()).map_err(wrong);
    }
    std::fs::File::open(path).and_then(|file| read_lines(BufReader::new(file))).map_err(wrong)
}

/// Reads line by line; of a line that is longer than any error, only the beginning is held.
fn read_lines(mut source: impl BufRead) -> std::io::Result<Decoded> {
    const LONGEST: u64 = 256 << 10;
    let mut reader = Reader::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        if source.by_ref().take(LONGEST).read_until(b'\n', &mut line)? == 0 {
            return Ok(reader.finish());
        }
        reader.push(String::from_utf8_lossy(&line).trim_end());
        while line.len() as u64 == LONGEST && line.last() != Some(&b'\n') {
            line.clear();
            source.by_ref().take(LONGEST).read_until(b'\n', &mut line)?;
        }
    }
}

fn steps(known: &Known) -> Vec<Step> {
    let risk = |changes| if changes { Risk::Change } else { Risk::Read };
    known
        .commands
        .iter()
        .map(|command| Step::command(risk(command.changes), command.text, command.words.iter().copied()))
        .collect()
}

fn log_view(decoded: &Decoded) -> AzureLogView {
    let request = |exchange: &Exchange| AzureRequest {
        request: exchange.request.clone(),
        status: exchange.status,
        date: exchange.date.clone(),
        correlation_id: exchange.correlation_id.clone(),
        request_id: exchange.request_id.clone(),
        client_request_id: exchange.client_request_id.clone(),
        operation_id: exchange.operation_id.clone(),
    };
    AzureLogView {
        lines: decoded.lines,
        understood: decoded
            .known
            .iter()
            .map(|one| UnderstoodView {
                name: one.known.name.to_owned(),
                line: one.line,
                cause: one.known.cause.to_owned(),
                fix: one.known.fix.to_owned(),
                steps: steps(one.known),
            })
            .collect(),
        unknown: decoded
            .unknown
            .iter()
            .map(|one| UnknownView { code: one.code.clone(), message: one.message.clone(), line: one.line })
            .collect(),
        requests: decoded.exchanges.iter().map(request).collect(),
    }
}
