//! Which pods are meant, and which of their logs.

use jiff::Timestamp;

use super::{LogsArgs, What};
use crate::cli::proxy_config::{Pods, missing, pods};
use crate::cluster::{Api, Cluster, ListRequest};
use crate::mesh::log::choose::{Chosen, choose};
use crate::mesh::log::kql::Place;
use crate::mesh::proxy::{self, ProxyKind};
use crate::model::Pod;
use crate::model::log::{ContainerLog, LogPart, LogPod, LogWorkload};
use crate::model::quoted::printable;
use crate::report::ErrorDocument;
use crate::snapshot::{Fault, FaultKind};
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// Gateways that istiod makes have this label
/// (<https://istio.io/latest/docs/tasks/traffic-management/ingress/gateway-api/#automated-deployment>).
const MANAGED: &str = "gateway.networking.k8s.io/gateway-name";
/// Logs that are read at once; each is a connection of its own between the API server and a node.
const MOST: usize = 64;

/// Pods whose logs are meant.
pub(super) struct Found {
    /// The pods.
    pub pods: Vec<Pod>,
    /// What could not be listed.
    pub faults: Vec<Fault>,
    /// Where was looked.
    pub place: String,
}

/// One log to read.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Pod, container and what is known of them.
    pub log: ContainerLog,
    /// Why the log of before the last restart is read, where it is.
    pub why: Option<String>,
    /// Only what comes after this: the time before is another target's.
    pub after: Option<Timestamp>,
}

impl Target {
    /// Pod and container in a query.
    pub(super) fn place(&self) -> Place {
        Place {
            namespace: self.log.metadata.namespace.clone(),
            pod: self.log.metadata.name.clone(),
            container: self.log.container.clone(),
        }
    }

    /// `istio-proxy of web-1 -n shop`.
    pub(super) fn words(&self) -> String {
        let pod = &self.log.metadata;
        format!("{} of {} -n {}", self.log.container, pod.name, pod.namespace)
    }
}

/// Finds the pods.
pub(super) async fn find(cluster: &Cluster, args: &LogsArgs) -> Result<Found, ErrorDocument> {
    let what = args.what.unwrap_or(What::Proxy);
    let own = match what {
        What::Istiod => SYSTEM_NAMESPACE.to_owned(),
        What::Gateway => INGRESS_NAMESPACE.to_owned(),
        What::Proxy => cluster.info().namespace.clone(),
    };
    let place = args.namespace.clone().unwrap_or(own);
    if let Some(target) = &args.target {
        let pods = pods(cluster, target, &place, args.namespace.is_some()).await?;
        if pods.is_empty() {
            let hints = ["which pods are there?".to_owned(), format!("   kubectl get pods -n {place}")];
            return Err(missing(format!("there is no pod {} in namespace {place}", printable(target)), &hints));
        }
        return Ok(Found { pods, faults: Vec::new(), place });
    }
    match what {
        What::Gateway => gateways(cluster, args, place).await,
        _ => {
            let selector = match &args.revision {
                Some(revision) => format!("app=istiod,istio.io/rev={revision}"),
                None => "app=istiod".to_owned(),
            };
            let pods = list(cluster, Some(&place), Some(selector)).await;
            let pods = pods.map_err(|fault| ErrorDocument::of_fault(&fault))?;
            Ok(Found { pods, faults: Vec::new(), place })
        }
    }
}

/// The add-on's gateways, and those of Gateway resources anywhere. Whoever may not list the whole cluster gets those of the
/// context's namespace.
async fn gateways(cluster: &Cluster, args: &LogsArgs, place: String) -> Result<Found, ErrorDocument> {
    let managed = || Some(MANAGED.to_owned());
    let mut faults = Vec::new();
    let mut found = match list(cluster, Some(&place), None).await {
        Ok(pods) => pods,
        // All that was asked for.
        Err(fault) if args.namespace.is_some() || fault.kind != FaultKind::Forbidden => {
            return Err(ErrorDocument::of_fault(&fault));
        }
        Err(fault) => {
            faults.push(fault);
            Vec::new()
        }
    };
    if args.namespace.is_none() {
        let elsewhere = match list(cluster, None, managed()).await {
            Err(fault) if fault.kind == FaultKind::Forbidden => {
                let own = list(cluster, Some(&cluster.info().namespace), managed()).await;
                faults.push(fault);
                own
            }
            other => other,
        };
        match elsewhere {
            Ok(pods) => found.extend(pods),
            Err(fault) => faults.push(fault),
        }
    }
    let is_gateway = |pod: &Pod| {
        let kind = proxy::of_pod(pod).map(|proxy| proxy.kind);
        matches!(kind, Some(ProxyKind::Gateway | ProxyKind::ManagedGateway))
            || kind.is_some() && pod.metadata.namespace == INGRESS_NAMESPACE
    };
    found.retain(is_gateway);
    found.sort_by(|a, b| (&a.metadata.namespace, &a.metadata.name).cmp(&(&b.metadata.namespace, &b.metadata.name)));
    found.dedup_by(|a, b| (&a.metadata.namespace, &a.metadata.name) == (&b.metadata.namespace, &b.metadata.name));
    if found.is_empty()
        && let Some(fault) = faults.first()
    {
        return Err(ErrorDocument::of_fault(fault));
    }
    Ok(Found { pods: found, faults, place })
}

async fn list(cluster: &Cluster, namespace: Option<&str>, labels: Option<String>) -> Result<Vec<Pod>, Fault> {
    let request = ListRequest {
        api: Api::PODS,
        namespace: namespace.map(str::to_owned),
        labels,
        fields: None,
        metadata_only: false,
    };
    let mut pods = Pods(Vec::new());
    cluster.list(&request, &mut pods).await?;
    Ok(pods.0)
}

/// The logs of the pods that are worth reading.
pub(super) fn targets(found: &Found, args: &LogsArgs, now: Timestamp) -> Vec<Target> {
    let part = args.what.map_or(LogPart::Proxy, What::part);
    let of = |pod| of_pod(pod, part, |pod, part| choose(pod, part, args.container.as_deref(), args.want(), now));
    let mut all: Vec<Target> = found.pods.iter().flat_map(of).collect();
    if args.follow && args.previous.is_none() {
        let next: Vec<Target> = all.iter().filter(|target| is_alone(target, &all)).filter_map(next_life).collect();
        all.extend(next);
    }
    if all.len() > MOST {
        let left = all.len() - MOST;
        crate::cli::ui::message(&format!(
            "note: {} logs are meant; {MOST} are read, {left} are not: name fewer pods\n",
            all.len()
        ));
        all.truncate(MOST);
    }
    all
}

/// Whether of a container only the log from before its last restart is read.
fn is_alone(target: &Target, all: &[Target]) -> bool {
    let same =
        |other: &&Target| other.log.metadata == target.log.metadata && other.log.container == target.log.container;
    target.log.previous.is_some() && all.iter().filter(same).count() == 1
}

/// What a container that waits after a crash writes once it runs again.
fn next_life(target: &Target) -> Option<Target> {
    let after = target.log.previous.as_ref()?.finished_at?;
    let log = ContainerLog { previous: None, ..target.log.clone() };
    Some(Target { log, why: None, after: Some(after) })
}

/// The logs of a pod.
pub(super) fn of_pod(pod: &Pod, part: LogPart, choose: impl Fn(&Pod, LogPart) -> Vec<Chosen>) -> Vec<Target> {
    let proxy = proxy::of_pod(pod);
    let part = match (part, proxy.as_ref().map(|proxy| proxy.kind)) {
        (LogPart::Proxy, Some(ProxyKind::Gateway | ProxyKind::ManagedGateway)) => LogPart::Gateway,
        (part, _) => part,
    };
    let revision = match part {
        LogPart::Istiod => pod.metadata.label("istio.io/rev").map(str::to_owned),
        _ => proxy.and_then(|proxy| proxy.revision),
    };
    let target = |chosen: Chosen| Target {
        log: ContainerLog {
            metadata: LogPod { namespace: pod.metadata.namespace.clone(), name: pod.metadata.name.clone() },
            container: chosen.container,
            part: chosen.part,
            revision: revision.clone(),
            workload: workload(pod),
            previous: chosen.previous,
            ..ContainerLog::default()
        },
        why: chosen.why,
        after: None,
    };
    choose(pod, part).into_iter().map(target).collect()
}

/// The owner of a pod; that of a ReplicaSet is told by its name, which ends in the hash that its pods have as a label.
fn workload(pod: &Pod) -> Option<LogWorkload> {
    let owner = pod.metadata.controller()?;
    let deployment = pod
        .metadata
        .label("pod-template-hash")
        .and_then(|hash| owner.name.strip_suffix(hash)?.strip_suffix('-'))
        .filter(|_| owner.kind == "ReplicaSet");
    Some(match deployment {
        Some(name) => LogWorkload { kind: "Deployment".to_owned(), name: name.to_owned() },
        None => LogWorkload { kind: owner.kind.to_string(), name: owner.name.clone() },
    })
}

/// Why there is no log to read.
pub(super) fn nothing(args: &LogsArgs, found: &Found) -> ErrorDocument {
    let place = &found.place;
    let Some(pod) = found.pods.first() else {
        let what = args.what.map_or("proxy", What::word);
        let hints = ["what of the add-on is there?".to_owned(), "   kubectl asm status".to_owned()];
        return missing(format!("there is no {what} in namespace {place}"), &hints);
    };
    let (name, place) = (&pod.metadata.name, &pod.metadata.namespace);
    match &args.container {
        Some(container) => {
            let all: Vec<&str> = pod.all_containers().map(|container| container.name.as_str()).collect();
            let hints = [format!("its containers are {}", all.join(", "))];
            missing(format!("pod {name} in {place} has no container {}", printable(container)), &hints)
        }
        None => {
            let hints = ["why not?".to_owned(), format!("   kubectl asm inject-check pod/{name} -n {place}")];
            missing(format!("pod {name} in {place} has no proxy"), &hints)
        }
    }
}
