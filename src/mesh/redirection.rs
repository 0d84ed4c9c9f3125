//! How a pod's traffic gets into its proxy: by a privileged init container, or by Istio's CNI plugin on the node.
//!
//! <https://learn.microsoft.com/azure/aks/istio-cni>; names of the init containers: `pkg/kube/inject/inject.go` of
//! istio/istio.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::model::config_map::InjectorConfig;
use crate::model::{Controller, Meta, Node, Pod};
use crate::snapshot::Snapshot;

/// The DaemonSet of Istio's CNI plugin, and the value of its pods' label `k8s-app`
/// (<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-cni-troubleshooting>).
pub const CNI_DAEMON_SET: &str = "azure-service-mesh-istio-cni-addon-node";
/// The init container that only looks whether the CNI plugin did its work.
pub const VALIDATION_CONTAINER: &str = "istio-validation";
/// The init container that redirects the traffic itself, with NET_ADMIN and NET_RAW.
pub const INIT_CONTAINER: &str = "istio-init";
/// The first revision of the add-on with the CNI plugin.
pub const FIRST_WITH_CNI: (u32, u32) = (1, 25);
/// A switch, a new node or a replaced pod is given this long before it counts as stuck.
pub const SETTLING: SignedDuration = SignedDuration::from_mins(10);

/// What redirects a pod's traffic; the variants are the values of `az aks mesh proxy-redirection-mechanism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mechanism {
    /// `CNIChaining`.
    Cni,
    /// `InitContainers`.
    InitContainers,
}

impl Mechanism {
    /// The init container that pods get.
    #[must_use]
    pub fn container(self) -> &'static str {
        match self {
            Self::Cni => VALIDATION_CONTAINER,
            Self::InitContainers => INIT_CONTAINER,
        }
    }
}

/// What a pod has; none without either init container. Istio's CNI plugin leaves a pod with `istio-init` alone, so that
/// one wins.
#[must_use]
pub fn of_pod(pod: &Pod) -> Option<Mechanism> {
    let has = |name: &str| pod.spec.init_containers.iter().any(|container| container.name == name);
    [Mechanism::InitContainers, Mechanism::Cni].into_iter().find(|mechanism| has(mechanism.container()))
}

/// What new pods of a revision get.
#[derive(Clone, Debug)]
pub struct Configured<'a> {
    /// The mechanism.
    pub mechanism: Mechanism,
    /// The injector's ConfigMap that says so.
    pub map: &'a str,
    /// When that was last written, where the API server tells.
    pub written: Option<Timestamp>,
}

impl Configured<'_> {
    /// Whether the injector's configuration is older than a switch takes.
    #[must_use]
    pub fn is_settled(&self, now: Timestamp) -> bool {
        is_older(self.written, now)
    }
}

/// What new pods get, by revision; revisions whose injector does not tell are absent.
#[must_use]
pub fn configured(snapshot: &Snapshot) -> BTreeMap<&str, Configured<'_>> {
    let maps = snapshot.system_config_maps.items().unwrap_or_default();
    maps.iter()
        .filter_map(|map| {
            let revision = map.metadata.name.strip_prefix("istio-sidecar-injector-")?;
            let cni = InjectorConfig::parse(map).ok()?.cni?;
            let mechanism = if cni { Mechanism::Cni } else { Mechanism::InitContainers };
            let written = map.managers.iter().filter_map(|manager| manager.time).max();
            Some((revision, Configured { mechanism, map: &map.metadata.name, written }))
        })
        .collect()
}

/// The DaemonSet of the CNI plugin.
#[must_use]
pub fn daemon_set(snapshot: &Snapshot) -> Option<&Controller> {
    snapshot.system_daemon_sets.items()?.iter().find(|set| set.metadata.name == CNI_DAEMON_SET)
}

/// The pod of the CNI plugin on a node, a ready one before others.
#[must_use]
pub fn agent<'a>(system_pods: &'a [Pod], node: &str) -> Option<&'a Pod> {
    let on_node = |pod: &&Pod| pod.metadata.label("k8s-app") == Some(CNI_DAEMON_SET) && pod.spec.node_name == node;
    system_pods.iter().filter(on_node).max_by_key(|pod| pod.is_ready())
}

/// A node on which nobody can redirect the traffic of new pods.
#[derive(Clone, Debug)]
pub struct Uncovered<'a> {
    /// The node.
    pub node: &'a Node,
    /// The plugin's pod there, which is not ready; none when there is no pod at all.
    pub pod: Option<&'a Pod>,
}

/// The nodes that need the plugin's pod: ready Linux nodes that take new pods. Virtual nodes have no network
/// namespaces of their own, and on the nodes of a static egress gateway run no other pods.
pub fn nodes_in_need(nodes: &[Node]) -> impl Iterator<Item = &Node> {
    nodes.iter().filter(|node| {
        is_linux(node)
            && !is_virtual(node)
            && node.is_ready()
            && !node.spec.unschedulable
            && node.metadata.deletion_timestamp.is_none()
            && node.metadata.label("kubernetes.azure.com/mode") != Some("gateway")
    })
}

/// Nodes without a ready pod of the plugin, leaving out what is new and what is just being replaced.
#[must_use]
pub fn uncovered<'a>(nodes: &'a [Node], system_pods: &'a [Pod], now: Timestamp) -> Vec<Uncovered<'a>> {
    nodes_in_need(nodes)
        .filter(|node| settled(&node.metadata, now))
        .map(|node| Uncovered { node, pod: agent(system_pods, &node.metadata.name) })
        .filter(|found| {
            found.pod.is_none_or(|pod| {
                !pod.is_ready() && pod.metadata.deletion_timestamp.is_none() && settled(&pod.metadata, now)
            })
        })
        .collect()
}

/// Whether an object is older than a change takes; an unknown age counts as old.
#[must_use]
pub fn settled(meta: &Meta, now: Timestamp) -> bool {
    is_older(meta.creation_timestamp, now)
}

fn is_older(time: Option<Timestamp>, now: Timestamp) -> bool {
    time.is_none_or(|time| now.duration_since(time) >= SETTLING)
}

/// Whether a node runs Linux.
#[must_use]
pub fn is_linux(node: &Node) -> bool {
    let label = node.metadata.label("kubernetes.io/os");
    !label.unwrap_or(&node.status.node_info.operating_system).eq_ignore_ascii_case("windows")
}

/// Whether a node is AKS's virtual node, which stands for Azure Container Instances
/// (<https://learn.microsoft.com/azure/aks/virtual-nodes>).
#[must_use]
pub fn is_virtual(node: &Node) -> bool {
    node.metadata.label("type") == Some("virtual-kubelet")
        || node.spec.taints.iter().any(|taint| taint.key == "virtual-kubelet.io/provider")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn pod(containers: &[&str]) -> Pod {
        let list: Vec<_> = containers.iter().map(|name| json!({"name": name})).collect();
        serde_json::from_value(json!({"spec": {"initContainers": list}})).unwrap()
    }

    #[test]
    fn the_init_container_tells_the_mechanism() {
        for (containers, mechanism) in [
            (vec!["istio-init", "istio-proxy"], Some(Mechanism::InitContainers)),
            (vec!["migrate", "istio-validation"], Some(Mechanism::Cni)),
            (vec!["istio-validation", "istio-init"], Some(Mechanism::InitContainers)),
            (vec!["istio-proxy"], None),
        ] {
            assert_eq!(of_pod(&pod(&containers)), mechanism, "{containers:?}");
        }
    }

    fn node(name: &str, extra: &serde_json::Value) -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"kubernetes.io/os": "linux"}, "creationTimestamp": "2026-07-01T00:00:00Z"},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
        for (key, value) in extra.as_object().unwrap() {
            node.pointer_mut(key).unwrap().as_object_mut().unwrap().extend(value.as_object().unwrap().clone());
        }
        serde_json::from_value(node).unwrap()
    }

    fn agent_on(node: &str, ready: &str, created: &str) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": format!("cni-{node}"), "labels": {"k8s-app": CNI_DAEMON_SET}, "creationTimestamp": created},
            "spec": {"nodeName": node},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    }

    #[test]
    fn only_settled_ready_linux_nodes_without_a_ready_pod_are_uncovered() {
        let now: Timestamp = "2026-07-15T12:00:00Z".parse().unwrap();
        let nodes = [
            node("served", &json!({})),
            node("broken", &json!({})),
            node("starting", &json!({})),
            node("bare", &json!({})),
            node("new", &json!({"/metadata": {"creationTimestamp": "2026-07-15T11:58:00Z"}})),
            node("windows", &json!({"/metadata/labels": {"kubernetes.io/os": "windows"}})),
            node("virtual", &json!({"/metadata/labels": {"type": "virtual-kubelet"}})),
            node("egress", &json!({"/metadata/labels": {"kubernetes.azure.com/mode": "gateway"}})),
            node("down", &json!({"/status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}})),
        ];
        let pods = [
            agent_on("served", "True", "2026-07-01T00:00:00Z"),
            agent_on("broken", "False", "2026-07-01T00:00:00Z"),
            agent_on("starting", "False", "2026-07-15T11:59:00Z"),
        ];
        let found: Vec<_> = uncovered(&nodes, &pods, now)
            .iter()
            .map(|found| (found.node.metadata.name.clone(), found.pod.is_some()))
            .collect();
        assert_eq!(found, [("broken".to_owned(), true), ("bare".to_owned(), false)]);
    }
}
