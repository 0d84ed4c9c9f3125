//! Native sidecars: which kind of sidecar a revision's next pods get, and why.
//!
//! The add-on's rule: <https://learn.microsoft.com/azure/aks/istio-native-sidecar>. istiod's rule: the variable
//! `ENABLE_NATIVE_SIDECARS` (`pilot/pkg/features/pilot.go` of istio/istio) and `DetectNativeSidecar`
//! (`pkg/kube/inject/webhook.go`), which asks every node's kubelet unless the variable says `true` or `false`.

use std::collections::BTreeSet;

use crate::mesh::control_plane::Revision;
use crate::mesh::proxy::ProxyKind;
use crate::mesh::redirection::is_virtual;
use crate::mesh::revision::AsmRevision;
use crate::model::{Container, Node};

/// istiod's variable.
pub const VARIABLE: &str = "ENABLE_NATIVE_SIDECARS";
/// The annotation by which a pod chooses for itself: `false` is classic, every other value native.
pub const ANNOTATION: &str = "sidecar.istio.io/nativeSidecar";
/// The first Kubernetes minor in which sidecar containers are stable; the add-on's default and istiod ask for it.
pub const FIRST_KUBERNETES: (u32, u32) = (1, 33);
/// From this Istio minor on istiod decides by itself when it is not told.
const FIRST_AUTOMATIC: (u32, u32) = (1, 27);
/// From this Istio minor on the add-on does not ask whether it was upgraded or freshly installed.
const FIRST_FOR_ALL: (u32, u32) = (1, 29);

/// Why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// istiod is told to.
    SwitchedOn,
    /// istiod is told not to.
    SwitchedOff,
    /// The API server is older than Kubernetes 1.33.
    OldServer,
    /// The revision is older than 1-27.
    OldRevision,
    /// A node is older than Kubernetes 1.33.
    OldNodes,
    /// It is the default of this revision on this Kubernetes.
    Default,
    /// It cannot be told from what was read.
    Undecided,
}

/// What a revision's next pods get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// Native or classic; none when that is undecided.
    pub kind: Option<ProxyKind>,
    /// Why.
    pub because: Because,
}

impl Expectation {
    fn new(because: Because) -> Self {
        let kind = match because {
            Because::SwitchedOn | Because::Default => Some(ProxyKind::Native),
            Because::Undecided => None,
            _ => Some(ProxyKind::Classic),
        };
        Self { kind, because }
    }
}

/// What istiod is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Setting<'a> {
    /// The variable's value.
    Value(&'a str),
    /// The variable is not there.
    Absent,
    /// Its pods disagree, or there are none and no Deployment either.
    Unclear,
}

/// What a revision's istiod is told: its running pods, else its Deployment.
#[must_use]
pub fn setting<'a>(revision: &Revision<'a>) -> Setting<'a> {
    let of = |containers: &'a [Container]| {
        let discovery = containers.iter().find(|container| container.name == "discovery")?;
        Some(discovery.env(VARIABLE).map_or(Setting::Absent, Setting::Value))
    };
    let running: BTreeSet<_> = revision.istiods.iter().filter_map(|pod| of(&pod.spec.containers)).collect();
    match (running.len(), running.first()) {
        (1, Some(setting)) => *setting,
        (0, _) => revision.deployment.and_then(|d| of(&d.template.spec.containers)).unwrap_or(Setting::Unclear),
        _ => Setting::Unclear,
    }
}

/// Major and minor of `v1.33.5` or `v1.25.0-vk-azure-aci-1.6.1`.
#[must_use]
pub fn kubernetes_minor(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v').unwrap_or(version).split('.');
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?;
    Some((major, minor.get(..digits(minor))?.parse().ok()?))
}

/// Whether a node's kubelet is older than native sidecars need.
#[must_use]
pub fn is_old(node: &Node) -> bool {
    kubernetes_minor(&node.status.node_info.kubelet_version).is_some_and(|minor| minor < FIRST_KUBERNETES)
}

/// Which kind of sidecar a revision's next pods get. `nodes` is none when not all of them are known.
#[must_use]
pub fn expectation(revision: &Revision<'_>, server: Option<(u32, u32)>, nodes: Option<&[Node]>) -> Expectation {
    let Some(AsmRevision { major, minor }) = AsmRevision::parse(&revision.name) else {
        return Expectation::new(Because::Undecided);
    };
    let istio = (major, minor);
    Expectation::new(match setting(revision) {
        Setting::Unclear => Because::Undecided,
        // Before 1.27 the variable is a Go boolean.
        Setting::Value(value) if istio < FIRST_AUTOMATIC => match value {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Because::SwitchedOn,
            _ => Because::SwitchedOff,
        },
        Setting::Value("true") => Because::SwitchedOn,
        Setting::Value("auto") => by_nodes(nodes),
        Setting::Value(_) => Because::SwitchedOff,
        Setting::Absent if istio < FIRST_AUTOMATIC => Because::OldRevision,
        Setting::Absent => match server {
            None => Because::Undecided,
            Some(server) if server < FIRST_KUBERNETES => Because::OldServer,
            // 1-27 and 1-28 depend on whether they were installed or upgraded to, which nothing here tells.
            Some(_) if istio < FIRST_FOR_ALL && by_nodes(nodes) == Because::Default => Because::Undecided,
            Some(_) => by_nodes(nodes),
        },
    })
}

/// istiod's own look at the nodes. A virtual node's version is not its cluster's, and whether it counts is not
/// documented, so that it leaves the answer open.
fn by_nodes(nodes: Option<&[Node]>) -> Because {
    let Some(nodes) = nodes.filter(|nodes| !nodes.is_empty()) else { return Because::Undecided };
    let (virtual_nodes, nodes): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| is_virtual(node));
    if nodes.iter().any(|node| is_old(node)) {
        return Because::OldNodes;
    }
    let known = |node: &&Node| kubernetes_minor(&node.status.node_info.kubelet_version).is_some() && !is_old(node);
    if nodes.iter().all(known) && virtual_nodes.iter().all(known) { Because::Default } else { Because::Undecided }
}

/// Whether the add-on's documented default for this revision is native, were it not for the nodes.
#[must_use]
pub fn is_default_for_all(revision: &str, server: Option<(u32, u32)>) -> bool {
    AsmRevision::parse(revision).is_some_and(|r| (r.major, r.minor) >= FIRST_FOR_ALL)
        && server.is_some_and(|server| server >= FIRST_KUBERNETES)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Pod;
    use serde_json::json;

    fn istiod(value: Option<&str>) -> Pod {
        let env: Vec<_> = value.map(|value| json!({"name": VARIABLE, "value": value})).into_iter().collect();
        serde_json::from_value(json!({"spec": {"containers": [{"name": "discovery", "env": env}]}})).unwrap()
    }

    fn nodes(versions: &[&str]) -> Vec<Node> {
        let node = |version: &&str| {
            let kind = if version.contains("vk") { "virtual-kubelet" } else { "" };
            json!({"metadata": {"labels": {"type": kind}}, "status": {"nodeInfo": {"kubeletVersion": version}}})
        };
        versions.iter().map(|version| serde_json::from_value(node(version)).unwrap()).collect()
    }

    #[test]
    fn the_table_of_the_add_on_and_the_code_of_istiod() {
        use Because::*;
        let new = ["v1.33.5", "v1.34.1"].as_slice();
        let old = ["v1.33.5", "v1.32.9"].as_slice();
        let with_virtual = ["v1.33.5", "v1.25.0-vk-azure-aci-1.6.1"].as_slice();
        for (name, value, server, kubelets, because) in [
            ("asm-1-30", None, (1, 32), ["v1.32.9"].as_slice(), OldServer),
            ("asm-1-26", None, (1, 33), new, OldRevision),
            ("asm-1-26", Some("true"), (1, 31), ["v1.31.2"].as_slice(), SwitchedOn),
            ("asm-1-26", Some("auto"), (1, 33), new, SwitchedOff),
            ("asm-1-27", None, (1, 33), new, Undecided),
            ("asm-1-28", Some("true"), (1, 33), old, SwitchedOn),
            ("asm-1-28", Some("false"), (1, 33), new, SwitchedOff),
            ("asm-1-28", None, (1, 33), old, OldNodes),
            ("asm-1-29", None, (1, 33), new, Default),
            ("asm-1-29", None, (1, 33), old, OldNodes),
            ("asm-1-29", Some("auto"), (1, 33), new, Default),
            ("asm-1-29", Some("auto"), (1, 33), old, OldNodes),
            ("asm-1-29", Some("auto"), (1, 33), with_virtual, Undecided),
            ("asm-1-29", Some("yes"), (1, 33), new, SwitchedOff),
        ] {
            let pod = istiod(value);
            let revision = Revision { name: name.to_owned(), deployment: None, istiods: vec![&pod] };
            let found = expectation(&revision, Some(server), Some(&nodes(kubelets)));
            assert_eq!(found.because, because, "{name} {value:?} {server:?} {kubelets:?}");
        }
    }

    #[test]
    fn pods_that_disagree_leave_it_open() {
        let (on, off) = (istiod(Some("true")), istiod(None));
        let revision = Revision { name: "asm-1-30".to_owned(), deployment: None, istiods: vec![&on, &off] };
        assert_eq!(setting(&revision), Setting::Unclear);
        assert_eq!(expectation(&revision, Some((1, 34)), Some(&nodes(&["v1.34.1"]))).kind, None);
    }

    #[test]
    fn minors_come_from_plain_and_from_virtual_kubelets() {
        for (version, minor) in [
            ("v1.33.5", Some((1, 33))),
            ("1.33", Some((1, 33))),
            ("v1.25.0-vk-azure-aci-1.6.1", Some((1, 25))),
            ("v1.30+", Some((1, 30))),
            ("", None),
            ("v1", None),
        ] {
            assert_eq!(kubernetes_minor(version), minor, "{version}");
        }
    }
}
