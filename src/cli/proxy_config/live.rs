//! Asking a proxy that runs.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{ProxyConfigArgs, What};
use crate::cli::args::ConnectionArgs;
use crate::cli::inject_check::parse_target;
use crate::cli::live::with_cluster;
use crate::cluster::envoy::{ADMIN_PORT, ProxyQuestion};
use crate::cluster::forward::{PodPort, Tunnel};
use crate::cluster::{Api, Cluster, GetRequest, ListRequest, ListSink};
use crate::mesh::proxy;
use crate::model::envoy::split::Piece;
use crate::model::envoy::{Beside, Logger, ProxyAnswers, ReadError, Reader, Stage, loggers};
use crate::model::quoted::printable;
use crate::model::selector::Requirement;
use crate::model::{LabelSelector, Pod, nullable};
use crate::report::ErrorDocument;
use crate::snapshot::{Fault, FaultKind, Origin, OriginKind, Snapshot};
use crate::sources::proxy_answers::Lines;

/// What Envoy says when a mask fits nothing (`source/server/admin/config_dump_handler.cc` in envoyproxy/envoy).
const NOTHING_OF_IT: &str = "could not be successfully applied";

/// What came of asking.
pub(super) struct Asked {
    /// The proxy's answers.
    pub snapshot: Snapshot,
    /// Levels of its loggers, where they were asked for.
    pub loggers: Option<Vec<Logger>>,
    /// Levels before they were changed.
    pub before: Vec<Logger>,
}

/// Finds the proxy and asks it.
pub(super) fn ask(connection: &ConnectionArgs, args: &ProxyConfigArgs) -> Result<Asked, ErrorDocument> {
    with_cluster(connection, &args.report, "the proxy did not answer", async |cluster, _| from_pod(cluster, args).await)
}

async fn from_pod(cluster: &Cluster, args: &ProxyConfigArgs) -> Result<Asked, ErrorDocument> {
    let namespace = args.namespace.clone().unwrap_or_else(|| cluster.info().namespace.clone());
    let pod = find(cluster, args.target.as_deref().unwrap_or_default(), &namespace, args.namespace.is_some()).await?;
    let target =
        PodPort { namespace: pod.metadata.namespace.clone(), pod: pod.metadata.name.clone(), port: args.admin_port };
    let version = cluster.version().await.ok().flatten();
    let mut tunnel = cluster.forward(&target).await.map_err(|fault| ErrorDocument::of_fault(&fault))?;
    let mut answers = ProxyAnswers::default();
    answers.metadata.name.clone_from(&target.pod);
    answers.metadata.namespace.clone_from(&target.namespace);
    let mut asked = Asked { snapshot: Snapshot::default(), loggers: None, before: Vec::new() };
    let mut faults = Vec::new();
    if args.what == What::Log {
        let now = text(&mut tunnel, &ProxyQuestion::Loggers).await?;
        asked.before = loggers(&now);
        asked.loggers = Some(match &args.set {
            None => asked.before.clone(),
            Some(levels) => loggers(&text(&mut tunnel, &ProxyQuestion::SetLevels(levels.clone())).await?),
        });
    }
    let mut date = None;
    for question in questions(args.what) {
        match read(&mut tunnel, &question, &mut answers, None).await {
            Ok(when) => date = when.or(date),
            // Without its first answer there is nothing to show.
            Err(fault) if answers.parts.is_empty() && question != ProxyQuestion::Node => {
                return Err(not_told(&fault, &target));
            }
            Err(fault) => faults.push(fault),
        }
    }
    if waits(&answers)
        && let Err(fault) = read(&mut tunnel, &ProxyQuestion::Unready, &mut answers, None).await
    {
        faults.push(fault);
    }
    if answers.parts.is_empty()
        && args.what != What::Log
        && let Some(fault) = faults.first()
    {
        return Err(not_told(fault, &target));
    }
    let info = cluster.info();
    let origin = Origin {
        kind: OriginKind::Live,
        context: info.context.clone(),
        server: Some(info.server.clone()),
        server_version: version.map(|version| version.git_version),
        // Dates in the answers are of the proxy's clock.
        captured_at: date.or_else(|| cluster.server_date()),
    };
    asked.snapshot = super::snapshot_of(answers, faults, origin);
    Ok(asked)
}

/// What proxies told, for a bundle.
#[derive(Default)]
pub(in crate::cli) struct Recorded {
    /// Lines of the source.
    pub lines: Vec<Vec<u8>>,
    /// What is missing.
    pub faults: Vec<Fault>,
    /// Namespaces and names of the pods.
    pub pods: Vec<(String, String)>,
}

/// Asks proxies for everything. One that does not answer costs itself.
pub(in crate::cli) async fn record(
    cluster: &Cluster,
    targets: &[String],
    namespace: &str,
    limit: Duration,
) -> Recorded {
    let end = Instant::now() + limit;
    let mut recorded = Recorded::default();
    for target in targets {
        let left = end.saturating_duration_since(Instant::now());
        let fault = match tokio::time::timeout(left, record_one(cluster, target, namespace, &mut recorded)).await {
            Ok(Ok(())) => continue,
            Ok(Err(error)) => {
                Fault::new(FaultKind::Malformed, format!("proxy {}: {}", printable(target), error.message))
            }
            Err(_) => {
                let message = format!("proxy {} did not answer before the time limit", printable(target));
                Fault::new(FaultKind::Timeout, message).hint("raise --timeout")
            }
        };
        recorded.faults.push(fault);
    }
    recorded
}

async fn record_one(
    cluster: &Cluster,
    target: &str,
    namespace: &str,
    recorded: &mut Recorded,
) -> Result<(), ErrorDocument> {
    let pod = find(cluster, target, namespace, false).await?.metadata;
    if recorded.pods.iter().any(|(namespace, name)| *namespace == pod.namespace && *name == pod.name) {
        return Ok(());
    }
    let place = PodPort { namespace: pod.namespace, pod: pod.name, port: ADMIN_PORT };
    let mut tunnel = cluster.forward(&place).await.map_err(|fault| ErrorDocument::of_fault(&fault))?;
    let mut answers = ProxyAnswers::default();
    let mut lines = Lines::of(&place.namespace, &place.pod);
    let mut faults = Vec::new();
    let mut beside = |piece: Piece<'_>| lines.take(piece);
    for question in questions(What::All) {
        faults.extend(read(&mut tunnel, &question, &mut answers, Some(&mut beside)).await.err());
    }
    if waits(&answers) {
        faults.extend(read(&mut tunnel, &ProxyQuestion::Unready, &mut answers, Some(&mut beside)).await.err());
    }
    if let (true, Some(fault)) = (answers.parts.is_empty(), faults.first()) {
        return Err(not_told(fault, &place));
    }
    recorded.lines.extend(lines.finish(&answers));
    recorded.faults.extend(faults);
    recorded.pods.push((place.namespace, place.pod));
    Ok(())
}

/// Whether something is not in use yet, so that it is of interest what it waits for.
fn waits(answers: &ProxyAnswers) -> bool {
    answers.listeners.iter().any(|listener| listener.stage == Stage::Warming)
        || answers.clusters.iter().any(|cluster| cluster.stage == Stage::Warming)
}

/// What is needed for a table and for the judgements that go with it, and no more.
fn questions(what: What) -> Vec<ProxyQuestion> {
    use ProxyQuestion as Ask;
    match what {
        What::All => vec![Ask::Everything, Ask::Hosts],
        What::Clusters => vec![Ask::Node, Ask::Clusters],
        What::Listeners => vec![Ask::Node, Ask::Listeners],
        // Whether routes lead to something is told by the clusters.
        What::Routes => vec![Ask::Node, Ask::Routes, Ask::Clusters],
        What::Endpoints => vec![Ask::Node, Ask::Hosts],
        What::Eds => vec![Ask::Node, Ask::ConfiguredEndpoints],
        What::Secrets => vec![Ask::Node, Ask::Secrets],
        What::Ecds => vec![Ask::Node, Ask::Extensions],
        What::Bootstrap | What::Log => vec![Ask::Node],
    }
}

/// Reads an answer while it arrives.
async fn read(
    tunnel: &mut Tunnel,
    question: &ProxyQuestion,
    answers: &mut ProxyAnswers,
    beside: Option<Beside<'_, '_>>,
) -> Result<Option<jiff::Timestamp>, Fault> {
    let mut reader = Reader::beside(answers, beside);
    let mut outcome = Ok(());
    let asked = tunnel
        .ask_proxy(question, |piece| {
            if outcome.is_ok() {
                outcome = reader.push(piece);
            }
        })
        .await;
    let answer = match asked {
        Ok(answer) => answer,
        // Envoy has no configuration of that kind at all.
        Err(fault) if fault.status == Some(400) && fault.message.contains(NOTHING_OF_IT) => {
            answers.has_dump = true;
            return Ok(None);
        }
        Err(fault) => return Err(fault),
    };
    let outcome = outcome.and_then(|()| reader.finish());
    match outcome {
        // An object without lists is an answer without anything in it.
        Ok(()) | Err(ReadError::Unknown) => Ok(answer.date),
        Err(ReadError::Sentence(said)) => Err(Fault::new(
            FaultKind::Malformed,
            format!("the proxy cannot print its configuration ({}): {said}", question.path()),
        )
        .hint("its configuration names an extension that this build of Envoy does not have")),
        Err(error) => Err(Fault::new(FaultKind::Truncated, format!("the answer to {}: {error}", question.path()))),
    }
}

async fn text(tunnel: &mut Tunnel, question: &ProxyQuestion) -> Result<String, ErrorDocument> {
    let mut body = Vec::new();
    let asked = tunnel.ask_proxy(question, |piece| body.extend_from_slice(piece)).await;
    asked.map_err(|fault| ErrorDocument::of_fault(&fault))?;
    Ok(String::from_utf8_lossy(&body).into_owned())
}

fn not_told(fault: &Fault, target: &PodPort) -> ErrorDocument {
    let mut error = ErrorDocument::of_fault(fault);
    if crate::cluster::istiod::is_refused(fault) {
        error.hints = vec![
            "its proxy is not running, or its administration is on another port (--proxy-admin-port)".to_owned(),
            format!("   kubectl get pod -n {} {} -o wide", target.namespace, target.pod),
        ];
    }
    error
}

pub(in crate::cli) fn missing(message: String, hints: &[String]) -> ErrorDocument {
    ErrorDocument { kind: "target".to_owned(), message, hints: hints.to_vec() }
}

/// The pods that are meant: the one of that name, or a workload's. None when there is no such pod.
pub(in crate::cli) async fn pods(
    cluster: &Cluster,
    target: &str,
    namespace: &str,
    fixed: bool,
) -> Result<Vec<Pod>, ErrorDocument> {
    let name = match target.contains('/') {
        false => target.to_owned(),
        true => {
            let (kind, name) = parse_target(target).map_err(|message| super::usage(message, &[]))?;
            if kind != "Pod" {
                return of_workload(cluster, target, &kind, &name, (namespace, fixed)).await;
            }
            name
        }
    };
    // Names of pods may contain dots, so the whole word is tried first.
    let mut found = pod(cluster, namespace, &name).await?;
    if let (None, false, Some((name, other))) = (&found, fixed, name.rsplit_once('.')) {
        found = pod(cluster, other, name).await?;
    }
    Ok(found.into_iter().collect())
}

/// The pod that is meant: by its name, or one of a workload's that runs.
pub(in crate::cli) async fn find(
    cluster: &Cluster,
    target: &str,
    namespace: &str,
    fixed: bool,
) -> Result<Pod, ErrorDocument> {
    let pods = pods(cluster, target, namespace, fixed).await?;
    let Some(first) = pods.first() else {
        let hints = ["which pods are there?".to_owned(), format!("   kubectl get pods -n {namespace}")];
        return Err(missing(format!("there is no pod {} in namespace {namespace}", printable(target)), &hints));
    };
    let runs = |pod: &&Pod| pod.status.phase == "Running" && pod.metadata.deletion_timestamp.is_none();
    let has_proxy = |pod: &&Pod| proxy::of_pod(pod).is_some();
    if let Some(chosen) = pods.iter().filter(has_proxy).find(runs) {
        return Ok(chosen.clone());
    }
    let (name, place) = (&first.metadata.name, &first.metadata.namespace);
    if !pods.iter().any(|pod| has_proxy(&pod)) {
        let hints = ["why not?".to_owned(), format!("   kubectl asm inject-check pod/{name} -n {place}")];
        return Err(missing(format!("pod {name} in {place} has no proxy"), &hints));
    }
    let hints = ["in which state is it?".to_owned(), format!("   kubectl get pod -n {place} {name}")];
    Err(missing(format!("pod {name} in {place} does not run"), &hints))
}

pub(in crate::cli) async fn pod(cluster: &Cluster, namespace: &str, name: &str) -> Result<Option<Pod>, ErrorDocument> {
    let body = get(cluster, Api::PODS, namespace, name).await?;
    body.map(|body| decode(&body)).transpose()
}

async fn get(cluster: &Cluster, api: Api, namespace: &str, name: &str) -> Result<Option<Vec<u8>>, ErrorDocument> {
    let request =
        GetRequest { api, namespace: Some(namespace.to_owned()), name: name.to_owned(), metadata_only: false };
    cluster.get(&request).await.map_err(|fault| ErrorDocument::of_fault(&fault))
}

fn decode<'b, T: Deserialize<'b>>(body: &'b [u8]) -> Result<T, ErrorDocument> {
    serde_json::from_slice(body).map_err(|_| {
        ErrorDocument::of_fault(&Fault::new(FaultKind::Malformed, "the API server's answer could not be understood"))
    })
}

pub(in crate::cli) struct Pods(pub Vec<Pod>);

impl ListSink for Pods {
    fn item(&mut self, bytes: &[u8]) {
        self.0.extend(serde_json::from_slice::<Pod>(bytes));
    }

    fn restart(&mut self) {
        self.0.clear();
    }
}

/// Pods that a workload selects, by name.
async fn of_workload(
    cluster: &Cluster,
    target: &str,
    kind: &str,
    name: &str,
    (namespace, fixed): (&str, bool),
) -> Result<Vec<Pod>, ErrorDocument> {
    let (group, resource) = match kind {
        "Deployment" => ("apps", "deployments"),
        "StatefulSet" => ("apps", "statefulsets"),
        "DaemonSet" => ("apps", "daemonsets"),
        "ReplicaSet" => ("apps", "replicasets"),
        "Job" => ("batch", "jobs"),
        _ => return Err(super::usage(format!("{target} has no pods of its own"), &["name one of its pods"])),
    };
    #[derive(Deserialize)]
    struct Workload {
        #[serde(default, deserialize_with = "nullable")]
        spec: Spec,
    }
    #[derive(Default, Deserialize)]
    struct Spec {
        #[serde(default, deserialize_with = "nullable")]
        selector: LabelSelector,
    }
    let api = Api { group, version: "v1", resource };
    let mut place = namespace.to_owned();
    let mut body = get(cluster, api, namespace, name).await?;
    if let (None, false, Some((bare, other))) = (&body, fixed, name.rsplit_once('.')) {
        body = get(cluster, api, other, bare).await?;
        other.clone_into(&mut place);
    }
    let Some(body) = body else {
        let hints = ["which are there?".to_owned(), format!("   kubectl get {resource} -n {namespace}")];
        return Err(missing(format!("there is no {} in namespace {namespace}", printable(target)), &hints));
    };
    let workload: Workload = decode(&body)?;
    let mut pods = Pods(Vec::new());
    let request = ListRequest {
        api: Api::PODS,
        namespace: Some(place),
        labels: Some(words(&workload.spec.selector)),
        fields: None,
        metadata_only: false,
    };
    cluster.list(&request, &mut pods).await.map_err(|fault| ErrorDocument::of_fault(&fault))?;
    pods.0.sort_by(|a, b| a.metadata.name.cmp(&b.metadata.name));
    Ok(pods.0)
}

/// A selector as the API server takes it in a query.
fn words(selector: &LabelSelector) -> String {
    let requirement = |one: &Requirement| match one.operator.as_str() {
        "In" => format!("{} in ({})", one.key, one.values.join(",")),
        "NotIn" => format!("{} notin ({})", one.key, one.values.join(",")),
        "DoesNotExist" => format!("!{}", one.key),
        _ => one.key.clone(),
    };
    let labels = selector.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    labels.chain(selector.match_expressions.iter().map(requirement)).collect::<Vec<_>>().join(",")
}
