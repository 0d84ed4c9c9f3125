//! Room and redundancy: autoscalers, how istiods are spread over nodes, what sidecars reserve.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::mesh::istiod::is_within;
use crate::mesh::proxy::{self, PROXY_CONTAINER};
use crate::mesh::revision::AsmRevision;
use crate::model::pod::Condition;
use crate::model::{Autoscaler, Node, Pod};
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// The least that Microsoft measured one istiod to serve, on 15 cores with 50 % of the pods being replaced
/// (<https://learn.microsoft.com/azure/aks/istio-scale>).
pub const MEASURED_PROXIES: usize = 15_000;

/// Short peaks and the moments after a rollout are not worth a word.
pub const LASTING_SECONDS: i64 = 10 * 60;

/// What one of the add-on's Deployments is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part<'n> {
    /// istiod of a revision.
    Istiod(&'n str),
    /// An ingress gateway.
    Gateway {
        /// Its Service, which all revisions share.
        service: &'n str,
        /// Its revision.
        revision: Option<&'n str>,
    },
}

impl<'n> Part<'n> {
    /// Tells the add-on's Deployments, and what is named like them, from everything else in their namespaces
    /// (<https://learn.microsoft.com/azure/aks/istio-scale>).
    #[must_use]
    pub fn of(namespace: &str, name: &'n str) -> Option<Self> {
        match namespace {
            SYSTEM_NAMESPACE => {
                name.strip_prefix("istiod-").filter(|rev| AsmRevision::parse(rev).is_some()).map(Self::Istiod)
            }
            INGRESS_NAMESPACE if name.starts_with("aks-istio-ingressgateway-") => {
                let revision =
                    name.rfind("-asm-").map(|at| &name[at + 1..]).filter(|rev| AsmRevision::parse(rev).is_some());
                let service = revision.map_or(name, |revision| &name[..name.len() - revision.len() - 1]);
                Some(Self::Gateway { service, revision })
            }
            _ => None,
        }
    }
}

/// A condition that holds, and not only for minutes.
fn lasting<'c>(conditions: &'c [Condition], kind: &str, status: &str, now: Timestamp) -> Option<&'c Condition> {
    conditions.iter().find(|condition| {
        condition.kind == kind
            && condition.status == status
            && !is_within(condition.last_transition_time, now, LASTING_SECONDS)
    })
}

/// The condition that says that the autoscaler wants more replicas than it may have.
#[must_use]
pub fn at_maximum(autoscaler: &Autoscaler, now: Timestamp) -> Option<&Condition> {
    // The same condition also says that fewer are wanted than the minimum, which is every quiet cluster.
    lasting(&autoscaler.status.conditions, "ScalingLimited", "True", now)
        .filter(|condition| condition.reason == "TooManyReplicas")
}

/// The condition that says that the autoscaler cannot compute anything.
#[must_use]
pub fn without_metrics(autoscaler: &Autoscaler, now: Timestamp) -> Option<&Condition> {
    // Disabled is what it says of a Deployment that was scaled to zero.
    lasting(&autoscaler.status.conditions, "ScalingActive", "False", now)
        .filter(|condition| condition.reason != "ScalingDisabled")
}

/// What one loss would take away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spread<'a> {
    /// All pods are on this node.
    OneNode(&'a str),
    /// All pods are in this zone.
    OneZone(&'a str),
}

/// Whether several pods share one node or one zone although there are more of them.
#[must_use]
pub fn spread<'a>(pods: &[&'a Pod], nodes: &'a [Node]) -> Option<Spread<'a>> {
    let usable: Vec<_> = nodes.iter().filter(|node| is_usable(node)).collect();
    let places: BTreeSet<&str> = pods.iter().map(|pod| pod.spec.node_name.as_str()).collect();
    if pods.len() < 2 || places.contains("") {
        return None;
    }
    if let (Some(node), 1) = (places.first(), places.len()) {
        return usable.iter().any(|other| other.metadata.name != *node).then_some(Spread::OneNode(node));
    }
    let zones: BTreeSet<_> =
        places.iter().map(|name| nodes.iter().find(|node| node.metadata.name == *name).and_then(zone)).collect();
    let all: BTreeSet<_> = usable.iter().filter_map(|node| zone(node)).collect();
    match (zones.first(), zones.len()) {
        (Some(Some(zone)), 1) if all.len() > 1 => Some(Spread::OneZone(zone)),
        _ => None,
    }
}

/// How many nodes the add-on prefers for istiod: those of system pools, and labelled ones
/// (<https://learn.microsoft.com/azure/aks/istio-deploy-addon>).
#[must_use]
pub fn preferred(nodes: &[Node]) -> usize {
    let label = |node: &Node, key: &str, value: &str| node.metadata.label(key) == Some(value);
    nodes
        .iter()
        .filter(|node| is_usable(node))
        .filter(|node| {
            label(node, "kubernetes.azure.com/mode", "system")
                || label(node, "azureservicemesh/istio.replica.preferred", "true")
        })
        .count()
}

/// Whether an istiod could run there: gateway nodes are tainted, virtual ones take no such pods.
fn is_usable(node: &Node) -> bool {
    node.is_ready()
        && !node.spec.unschedulable
        && matches!(node.status.node_info.operating_system.as_str(), "" | "linux")
        && node.metadata.label("kubernetes.azure.com/mode") != Some("gateway")
        && node.metadata.label("type") != Some("virtual-kubelet")
}

/// `westeurope-1`; where a region has no zones, Azure writes the number of a fault domain instead
/// (<https://learn.microsoft.com/azure/aks/availability-zones>).
fn zone(node: &Node) -> Option<&str> {
    node.metadata.label("topology.kubernetes.io/zone").filter(|zone| zone.contains('-'))
}

/// How many running proxies each revision has.
#[must_use]
pub fn proxies(pods: &[Pod]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for pod in pods.iter().filter(|pod| !pod.is_over()) {
        if let Some(revision) = proxy::of_pod(pod).and_then(|proxy| proxy.revision) {
            *counts.entry(revision).or_default() += 1;
        }
    }
    counts
}

/// Requested CPU in thousandths of a core, and memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
}

impl std::ops::AddAssign for Requests {
    fn add_assign(&mut self, other: Self) {
        self.cpu = self.cpu.saturating_add(other.cpu);
        self.memory = self.memory.saturating_add(other.memory);
    }
}

/// What a pod's sidecar reserves, and what its other containers reserve. Init containers that end reserve nothing for
/// long.
#[must_use]
pub fn requests(pod: &Pod) -> (Requests, Requests) {
    let (mut sidecar, mut rest) = (Requests::default(), Requests::default());
    let native = pod.spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
    for container in pod.spec.containers.iter().chain(native) {
        let amount = Requests {
            cpu: container.resources.cpu_request.unwrap_or_default(),
            memory: container.resources.memory_request.unwrap_or_default(),
        };
        if container.name == PROXY_CONTAINER { sidecar += amount } else { rest += amount }
    }
    (sidecar, rest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_add_ons_deployments_are_told_from_others() {
        assert_eq!(Part::of("aks-istio-system", "istiod-asm-1-30"), Some(Part::Istiod("asm-1-30")));
        assert_eq!(
            Part::of("aks-istio-ingress", "aks-istio-ingressgateway-external-asm-1-30"),
            Some(Part::Gateway { service: "aks-istio-ingressgateway-external", revision: Some("asm-1-30") })
        );
        assert_eq!(
            Part::of("aks-istio-ingress", "aks-istio-ingressgateway-internal"),
            Some(Part::Gateway { service: "aks-istio-ingressgateway-internal", revision: None })
        );
        // App Routing's istiod, a user's pod beside the gateways, and names of other namespaces.
        for (namespace, name) in [
            ("aks-istio-system", "istiod"),
            ("aks-istio-ingress", "secret-holder"),
            ("istio-system", "istiod-asm-1-30"),
        ] {
            assert_eq!(Part::of(namespace, name), None, "{namespace}/{name}");
        }
    }

    fn node(name: &str, zone: &str, mode: &str) -> Node {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "labels": {"topology.kubernetes.io/zone": zone, "kubernetes.azure.com/mode": mode}},
            "status": {"conditions": [{"type": "Ready", "status": "True"}], "nodeInfo": {"operatingSystem": "linux"}}}))
        .unwrap()
    }

    fn on(name: &str) -> Pod {
        serde_json::from_value(serde_json::json!({"spec": {"nodeName": name}})).unwrap()
    }

    #[test]
    fn sharing_a_node_or_a_zone_counts_only_where_there_are_others() {
        let zonal = [node("a", "we-1", "system"), node("b", "we-1", "system"), node("c", "we-2", "user")];
        let (a, b, c) = (on("a"), on("b"), on("c"));
        assert_eq!(spread(&[&a, &a], &zonal), Some(Spread::OneNode("a")));
        assert_eq!(spread(&[&a, &b], &zonal), Some(Spread::OneZone("we-1")));
        assert_eq!(spread(&[&a, &c], &zonal), None);
        assert_eq!(spread(&[&a], &zonal), None);
        assert_eq!(spread(&[&a, &a], &zonal[..1]), None);
        let regional = [node("a", "0", "system"), node("b", "0", "system"), node("c", "1", "user")];
        assert_eq!(spread(&[&a, &b], &regional), None);
        let gateway = [node("a", "we-1", "system"), node("g", "we-2", "gateway")];
        assert_eq!(spread(&[&a, &a], &gateway), None);
    }

    #[test]
    fn a_native_sidecar_reserves_and_an_init_container_does_not() {
        let pod: Pod = serde_json::from_value(serde_json::json!({"spec": {
            "initContainers": [
                {"name": "istio-init", "resources": {"requests": {"cpu": "4"}}},
                {"name": "istio-proxy", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}}}],
            "containers": [{"name": "app", "resources": {"requests": {"cpu": "250m"}}}, {"name": "other"}]}}))
        .unwrap();
        assert_eq!(requests(&pod), (Requests { cpu: 100, memory: 128 << 20 }, Requests { cpu: 250, memory: 0 }));
    }
}
