//! CON: policies of the network that cut the mesh off, or filter what only a proxy can see.

use std::collections::{BTreeMap, BTreeSet};

use super::remedies::{count, names};
use super::stranded::VERDICTS_USE;
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::network::{self, Way};
use crate::mesh::workload::Workload;
use crate::model::{CiliumPolicy, NetworkPolicy};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&CILIUM, &CUT_OFF];

static CILIUM: Check = Check {
    code: "CON05",
    name: "cilium-policy-in-mesh",
    title: "Cilium does not filter or authenticate what sidecars encrypt",
    area: Area::Conflicts,
    severity: Severity::Warning,
    inputs: &[
        SourceId::CiliumPolicies,
        SourceId::CiliumClusterPolicies,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: &[SourceId::ReplicaSets, SourceId::Jobs, SourceId::CronJobs],
    docs: "## What it means
A policy of Cilium filters by HTTP or another protocol above TCP, or demands Cilium's own mutual authentication, for pods that have a sidecar. Sidecars encrypt their traffic, so Cilium sees no HTTP and refuses the connection; and two systems that both authenticate the same pods are not supported side by side.

## Why it happens on AKS
Advanced Container Networking Services offers such policies, and they were in use before the namespace joined the mesh.

## How we know
CiliumNetworkPolicies and CiliumClusterwideNetworkPolicies with `toPorts.rules` for another protocol than DNS, or with `authentication.mode: required`, whose `endpointSelector` takes in a pod with a sidecar. Rules by address, port and DNS name go well with the mesh.

## What to do
Move what it says into an AuthorizationPolicy, which the sidecars enforce, then delete the policy or reduce it to ports.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>, <https://docs.cilium.io/en/stable/network/servicemesh/istio/>",
    run: cilium,
};

fn cilium(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    if lens.revisions()?.is_empty() {
        return Ok(Verdict::default());
    }
    lens.need_served(&[SourceId::CiliumPolicies, SourceId::CiliumClusterPolicies])?;
    let workloads = lens.workloads()?;
    let snapshot = lens.snapshot();
    let mut verdict = Verdict::default();
    for (kind, id, policies) in [
        ("CiliumNetworkPolicy", SourceId::CiliumPolicies, &snapshot.cilium_policies),
        ("CiliumClusterwideNetworkPolicy", SourceId::CiliumClusterPolicies, &snapshot.cilium_cluster_policies),
    ] {
        for policy in policies.items().unwrap_or_default() {
            verdict.examined += 1;
            if policy.protocols.is_empty() && !policy.authenticates {
                continue;
            }
            let namespace = policy.metadata.namespace.as_str();
            let hit: Vec<_> = workloads
                .iter()
                .filter(|workload| workload.injected_pods() > 0)
                .filter(|workload| namespace.is_empty() || workload.namespace == namespace)
                .filter(|workload| workload.template().is_some_and(|(meta, _)| network::covers(policy, &meta.labels)))
                .collect();
            if !hit.is_empty() {
                verdict.findings.push(cilium_finding(kind, id, policy, &hit));
            }
        }
    }
    Ok(verdict)
}

fn impact(workloads: &[&Workload<'_>]) -> Impact {
    Impact {
        namespaces: workloads.iter().map(|workload| workload.namespace).collect::<BTreeSet<_>>().len(),
        workloads: workloads.len(),
        pods: workloads.iter().map(|workload| workload.pods.len()).sum(),
    }
}

fn cilium_finding(kind: &str, id: SourceId, policy: &CiliumPolicy, hit: &[&Workload<'_>]) -> Finding {
    let (namespace, name) = (policy.metadata.namespace.as_str(), policy.metadata.name.as_str());
    let subject = match namespace {
        "" => Subject::cluster(kind, name),
        namespace => Subject::new(kind, namespace, name),
    };
    let (does, detail, field, observed) = match policy.protocols.is_empty() {
        false => (
            format!("filters by {}", policy.protocols.join(", ")),
            "Cilium sees only encrypted traffic of sidecars, and refuses what it cannot read.",
            "toPorts.rules",
            policy.protocols.join(", "),
        ),
        true => (
            "demands Cilium's own authentication".to_owned(),
            "The mesh authenticates the same pods already; AKS does not support both for one pod.",
            "authentication.mode",
            "required".to_owned(),
        ),
    };
    let resource = kind.to_lowercase();
    let place: &[&str] = if namespace.is_empty() { &[] } else { &["-n", namespace] };
    let words = |verb: &str, more: &[&str]| -> Vec<String> {
        let words = ["kubectl", verb, &resource, name].into_iter().chain(place.iter().copied());
        words.chain(more.iter().copied()).map(str::to_owned).collect()
    };
    let mut finding = Finding::new(subject, format!("Cilium policy {name} {does} for pods with a sidecar"), detail)
        .impact(impact(hit))
        .key(KeyKind::Object, format!("{kind}/{namespace}/{name}"))
        .remedy(Remedy::new(
            "let the sidecars enforce it",
            vec![
                Step::command(Risk::Read, "shows what it says", words("get", &["-o", "yaml"])),
                Step::text(Risk::Change, "write its rules into an AuthorizationPolicy of Istio, for the same pods"),
                Step::command(Risk::Change, "then deletes it", words("delete", &[])),
            ],
        ))
        .evidence(id, format!("{resource}/{name}"), field, observed, Some("rules by address, port or DNS name only"));
    for namespace in hit.iter().map(|workload| workload.namespace).collect::<BTreeSet<_>>() {
        finding = finding.key(KeyKind::Namespace, namespace);
    }
    finding
}

static CUT_OFF: Check = Check {
    code: "CON08",
    name: "network-policy-cuts-mesh",
    title: "No NetworkPolicy stands between sidecars, the API server and istiod",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[
        SourceId::NetworkPolicies,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: VERDICTS_USE,
    docs: "## What it means
NetworkPolicies let pods with a sidecar not reach istiod on port 15012, or let nobody reach istiod. Sidecars then keep their last configuration, new ones never become ready, and certificates are not renewed when their day is over. Where the API server cannot reach port 15017, no pod can be created that needs a sidecar.

## Why it happens on AKS
A namespace got a policy that denies everything but what is listed, and istiod is not on the list: it is in another namespace, on a port of its own.

## How we know
All NetworkPolicies that select a pod are taken together, as Kubernetes does: traffic passes when one of them allows it. For outgoing traffic of workloads with a sidecar the other end are the pods of istiod; for incoming traffic of istiod it is a pod of the mesh, or the API server, which is no pod. Rules by address count as allowing, because which addresses pods and the API server have depends on the cluster's network.

## What to do
Allow outgoing traffic to `aks-istio-system` on port 15012, or incoming traffic to istiod on ports 15012 and 15017.

## Sources
<https://kubernetes.io/docs/concepts/services-networking/network-policies/>, <https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>",
    run: cut_off,
};

fn cut_off(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    if revisions.is_empty() {
        return Ok(Verdict::default());
    }
    lens.need(&[SourceId::NetworkPolicies])?;
    lens.rules()?;
    let workloads = lens.workloads()?;
    let snapshot = lens.snapshot();
    let policies = snapshot.network_policies.items().unwrap_or_default();
    let mut verdict = Verdict { examined: policies.len(), ..Verdict::default() };
    let world = network::World::new(policies, snapshot.namespaces.items().unwrap_or_default());
    let istiods: Vec<_> = revisions.iter().flat_map(|revision| &revision.istiods).collect();
    let mut cut: BTreeMap<&str, (BTreeSet<&str>, Vec<&Workload<'_>>)> = BTreeMap::new();
    for workload in workloads {
        let inside = workload.injected_pods() > 0 || workload.next.injected == Some(true);
        let Some((meta, spec)) = workload.template().filter(|_| inside) else { continue };
        // A pod in its node's network is not subject to policies.
        if spec.host_network || workload.namespace == SYSTEM_NAMESPACE {
            continue;
        }
        let blocking = istiods.first().map(|istiod| {
            world.blocking_out(
                workload.namespace,
                &meta.labels,
                SYSTEM_NAMESPACE,
                &istiod.metadata.labels,
                network::XDS,
            )
        });
        if let Some(Way::Blocked(by)) = blocking {
            let entry = cut.entry(workload.namespace).or_default();
            entry.0.extend(by.iter().map(|policy| policy.metadata.name.as_str()));
            entry.1.push(workload);
        }
    }
    for (namespace, (policies, workloads)) in cut {
        verdict.findings.push(out_finding(namespace, &policies, &workloads));
    }
    for (port, who) in [(network::XDS, "sidecars"), (network::WEBHOOK, "the API server")] {
        let Some(istiod) = istiods.first() else { continue };
        let way = match port {
            network::WEBHOOK => world.blocking_in_from_outside(SYSTEM_NAMESPACE, &istiod.metadata.labels, port),
            _ => match workloads.iter().find(|w| w.injected_pods() > 0 && w.namespace != SYSTEM_NAMESPACE) {
                Some(workload) => {
                    let labels = workload.template().map(|(meta, _)| meta.labels.clone()).unwrap_or_default();
                    world.blocking_in(SYSTEM_NAMESPACE, &istiod.metadata.labels, workload.namespace, &labels, port)
                }
                None => continue,
            },
        };
        if let Way::Blocked(by) = way {
            let mut finding = in_finding(port, who, &by);
            // What sidecars suffer from it is said by revision; the webhook has its own key.
            if port == network::WEBHOOK {
                finding = finding.key(KeyKind::Object, WEBHOOK_PORT);
            }
            for revision in revisions.iter().filter(|_| port == network::XDS) {
                finding = finding.key(KeyKind::Revision, &revision.name);
            }
            verdict.findings.push(finding);
        }
    }
    Ok(verdict)
}

/// The join key of the port on which the API server asks istiod.
pub const WEBHOOK_PORT: &str = "istiod:15017";

fn show(namespace: &str) -> Step {
    Step::command(
        Risk::Read,
        "shows what the policies there say",
        ["kubectl", "get", "networkpolicies", "-n", namespace, "-o", "yaml"],
    )
}

/// A policy that adds one permission: policies only ever add.
fn allow(name: &str, namespace: &str, spec: &str, text: &str) -> Step {
    let manifest = format!(
        r#"{{"apiVersion":"networking.k8s.io/v1","kind":"NetworkPolicy","metadata":{{"name":"{name}","namespace":"{namespace}"}},"spec":{spec}}}"#
    );
    let command = format!("echo '{manifest}' | kubectl apply -f -");
    Step::command(Risk::Change, text, ["sh", "-c", command.as_str()])
}

fn out_finding(namespace: &str, policies: &BTreeSet<&str>, workloads: &[&Workload<'_>]) -> Finding {
    let first = policies.first().copied().unwrap_or_default();
    let spec = r#"{"podSelector":{},"policyTypes":["Egress"],"egress":[{"to":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"aks-istio-system"}}}],"ports":[{"port":15012,"protocol":"TCP"}]}]}"#;
    let mut finding = Finding::new(
        Subject::new("NetworkPolicy", namespace, first),
        format!("NetworkPolicies in {namespace} keep sidecars from istiod"),
        format!(
            "Sidecars of {} keep their last configuration and get no certificates; new ones never become ready.",
            count(workloads.len(), "workload")
        ),
    )
    .impact(impact(workloads))
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new(
        "allow the way to istiod",
        vec![
            show(namespace),
            allow("allow-istiod", namespace, spec, "adds a policy that allows it; others stay as they are"),
        ],
    ))
    .evidence(
        SourceId::NetworkPolicies,
        format!("{namespace}/networkpolicies"),
        "egress to aks-istio-system:15012",
        format!("not allowed by {}", names(policies.iter().copied())),
        Some("allowed by one of them"),
    );
    for workload in workloads {
        finding = finding.key(KeyKind::Workload, super::remedies::workload_key(workload));
    }
    finding
}

fn in_finding(port: u16, who: &str, policies: &[&NetworkPolicy]) -> Finding {
    let all: Vec<_> = policies.iter().map(|policy| policy.metadata.name.as_str()).collect();
    let first = all.first().copied().unwrap_or_default();
    let detail = match port {
        network::WEBHOOK => "Kubernetes refuses all new pods that need a sidecar.",
        _ => "They keep their last configuration and get no certificates; new ones never become ready.",
    };
    let spec = format!(
        r#"{{"podSelector":{{"matchLabels":{{"app":"istiod"}}}},"policyTypes":["Ingress"],"ingress":[{{"ports":[{{"port":{port},"protocol":"TCP"}}]}}]}}"#
    );
    Finding::new(
        Subject::new("NetworkPolicy", SYSTEM_NAMESPACE, first),
        format!("NetworkPolicies in {SYSTEM_NAMESPACE} keep {who} from istiod, port {port}"),
        detail,
    )
    .key(KeyKind::Namespace, SYSTEM_NAMESPACE)
    .remedy(Remedy::new(
        "allow the way to istiod",
        vec![
            show(SYSTEM_NAMESPACE),
            allow(
                &format!("allow-istiod-{port}"),
                SYSTEM_NAMESPACE,
                &spec,
                "adds a policy that allows it; others stay as they are",
            ),
        ],
    ))
    .evidence(
        SourceId::NetworkPolicies,
        format!("{SYSTEM_NAMESPACE}/networkpolicies"),
        format!("ingress to app=istiod:{port}"),
        format!("not allowed by {}", names(all.iter().copied())),
        Some("allowed by one of them"),
    )
}
