//! CON: pods that cannot live with a sidecar: on nodes that cannot run it, or under a policy that refuses it.

use std::collections::BTreeSet;

use super::remedies::{count, names, quote, restart, subject, workload_key};
use super::stranded::VERDICTS_USE;
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::denial::{Denial, denial};
use crate::mesh::workload::Workload;
use crate::model::Node;
use crate::snapshot::SourceId;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&UNFIT_NODES, &POLICY_REFUSES_SIDECAR];

static UNFIT_NODES: Check = Check {
    code: "CON07",
    name: "sidecar-on-unfit-nodes",
    title: "No workload that gets a sidecar runs on Windows or virtual nodes",
    area: Area::Conflicts,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Nodes,
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
Pods of a workload run on Windows nodes or on virtual nodes, and the next ones get a sidecar. There is no sidecar for Windows, and virtual nodes cannot redirect traffic to one: these pods will not start.

## Why it happens on AKS
The whole namespace was labelled for the mesh, and some of its workloads belong on such nodes.

## How we know
The operating system of the nodes that its pods run on, the label `type=virtual-kubelet`, and what the injector does with its next pod. Workloads without pods are not judged.

## What to do
Keep the workload out of the mesh with the label `sidecar.istio.io/inject=false` on its pods, or move it to a namespace outside.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: unfit_nodes,
};

/// What keeps a sidecar off a node, in words.
fn unfit(node: &Node) -> Option<&'static str> {
    if node.status.node_info.operating_system.eq_ignore_ascii_case("windows")
        || node.metadata.label("kubernetes.io/os") == Some("windows")
    {
        return Some("Windows");
    }
    (node.metadata.label("type") == Some("virtual-kubelet")).then_some("virtual")
}

fn unfit_nodes(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    if lens.revisions()?.is_empty() {
        return Ok(Verdict::default());
    }
    lens.need(&[SourceId::Nodes])?;
    lens.rules()?;
    let workloads = lens.workloads()?;
    let nodes = lens.snapshot().nodes.items().unwrap_or_default();
    let unfit: std::collections::BTreeMap<&str, &str> =
        nodes.iter().filter_map(|node| Some((node.metadata.name.as_str(), unfit(node)?))).collect();
    let mut verdict = Verdict { examined: nodes.len(), ..Verdict::default() };
    if unfit.is_empty() {
        return Ok(verdict);
    }
    for workload in workloads {
        if workload.next.injected != Some(true) || lens.is_managed(workload.namespace) {
            continue;
        }
        let on: Vec<(&str, &str)> = workload
            .pods
            .iter()
            .filter_map(|(pod, _)| {
                let (name, kind) = unfit.get_key_value(pod.spec.node_name.as_str())?;
                Some((*name, *kind))
            })
            .collect();
        let Some((_, kind)) = on.first() else { continue };
        verdict.findings.push(unfit_finding(workload, kind, &on));
    }
    Ok(verdict)
}

fn unfit_finding(workload: &Workload<'_>, kind: &str, on: &[(&str, &str)]) -> Finding {
    let lower = workload.kind.to_lowercase();
    let name = workload.name.as_str();
    let mut steps = Vec::new();
    if workload.controller.is_some() && workload.kind != "CronJob" {
        steps.push(Step::command(
            Risk::Restart,
            "keeps its pods out of the mesh; Kubernetes replaces them",
            [
                "kubectl",
                "patch",
                &lower,
                name,
                "-n",
                workload.namespace,
                "-p",
                r#"{"spec":{"template":{"metadata":{"labels":{"sidecar.istio.io/inject":"false"}}}}}"#,
            ],
        ));
    } else {
        steps.push(Step::text(Risk::Change, "give its pods the label sidecar.istio.io/inject=false"));
    }
    let nodes: BTreeSet<&str> = on.iter().map(|(node, _)| *node).collect();
    Finding::new(
        subject(workload),
        format!("{lower}/{name} in {} runs on {kind} nodes, and its next pods get a sidecar", workload.namespace),
        "A sidecar cannot run there: these pods will not start.",
    )
    .impact(Impact { namespaces: 1, workloads: 1, pods: on.len() })
    .key(KeyKind::Workload, workload_key(workload))
    .remedy(Remedy::new("keep it out of the mesh", steps))
    .evidence(
        SourceId::Pods,
        format!("{}/{lower}/{name}", workload.namespace),
        "nodes of its pods",
        names(nodes),
        Some("Linux nodes of the cluster"),
    )
}

static POLICY_REFUSES_SIDECAR: Check = Check {
    code: "CON09",
    name: "policy-refuses-sidecar",
    title: "No policy refuses pods on account of their sidecar",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[
        SourceId::RefusalEvents,
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
A policy engine looked at a new pod after the sidecar was added, and refused it because of a container of Istio: `istio-proxy`, `istio-init` or `istio-validation`. The workload cannot start new pods; running ones stay.

## Why it happens on AKS
Azure Policy, Gatekeeper or Kyverno demand settings of every container, such as a read-only file system, no capabilities or an image of one's own registry, and the containers that the mesh adds are not exempt.

## How we know
The refusal in the Deployment's condition `ReplicaFailure` or in an event `FailedCreate` names an admission webhook that is not Istio's, and one of these containers.

## What to do
Exempt the containers of Istio in that policy. If it is about the capabilities of `istio-init`, Istio's CNI plugin does without them.

## What else looks like it
A refusal by Pod Security is CNI05. A refusal of gateways is WHK05, of istiod CP11.

## Sources
<https://learn.microsoft.com/azure/governance/policy/concepts/policy-for-kubernetes>, <https://learn.microsoft.com/azure/aks/istio-cni>",
    run: policy_refuses_sidecar,
};

/// Containers that the injector adds.
const CONTAINERS: [&str; 3] = ["istio-proxy", "istio-init", "istio-validation"];

/// The webhook and the container that a refusal names.
fn refused(message: &str) -> Option<(&str, &'static str)> {
    let Denial::Webhook(webhook) = denial(message) else { return None };
    let container = CONTAINERS.iter().find(|name| message.contains(**name))?;
    (!webhook.ends_with(".istio.io")).then_some((webhook, container))
}

fn policy_refuses_sidecar(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    if lens.revisions()?.is_empty() {
        return Ok(Verdict::default());
    }
    lens.need(&[SourceId::RefusalEvents])?;
    lens.rules()?;
    let workloads = lens.workloads()?;
    let events = lens.snapshot().refusal_events.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for workload in workloads {
        if workload.next.injected != Some(true) || lens.is_managed(workload.namespace) {
            continue;
        }
        verdict.examined += 1;
        let condition = workload.controller.and_then(|controller| controller.failure.as_deref());
        // Old events stay for an hour; they count only while pods are missing.
        let event = || {
            let newest = events
                .iter()
                .filter(|event| {
                    let about = &event.involved_object;
                    let own = about.name == workload.name
                        || about.name.strip_prefix(&workload.name).is_some_and(|rest| rest.starts_with('-'));
                    about.namespace == workload.namespace && own && refused(&event.message).is_some()
                })
                .max_by_key(|event| event.last_seen())?;
            (workload.missing() > 0).then_some(newest.message.as_str())
        };
        let Some(message) = condition.filter(|message| refused(message).is_some()).or_else(event) else { continue };
        let Some((webhook, container)) = refused(message) else { continue };
        verdict.findings.push(refusal_finding(workload, webhook, container, message, condition == Some(message)));
    }
    Ok(verdict)
}

fn refusal_finding(workload: &Workload<'_>, webhook: &str, container: &str, message: &str, told: bool) -> Finding {
    let lower = workload.kind.to_lowercase();
    let (namespace, name) = (workload.namespace, workload.name.as_str());
    let mut steps = vec![
        Step::command(
            Risk::Read,
            "shows what the policy says about the pods",
            ["kubectl", "get", "events", "-n", namespace, "--field-selector", "reason=FailedCreate"],
        ),
        Step::text(Risk::Change, format!("exempt the container {container} in that policy")),
    ];
    steps.extend(restart([workload]));
    let (id, field) = match told {
        true => (SourceId::Deployments, "condition ReplicaFailure"),
        false => (SourceId::RefusalEvents, "event FailedCreate"),
    };
    Finding::new(
        subject(workload),
        format!("webhook {webhook} refuses pods of {lower}/{name} because of {container}"),
        format!(
            "{} of it {} missing, and cannot be created with a sidecar in {namespace}.",
            count(workload.missing() as usize, "pod"),
            if workload.missing() == 1 { "is" } else { "are" }
        ),
    )
    .impact(Impact { namespaces: 1, workloads: 1, pods: workload.pods.len() })
    .key(KeyKind::Workload, workload_key(workload))
    .key(KeyKind::Namespace, namespace)
    .related(&Subject::cluster("Webhook", webhook), "refuses")
    .remedy(Remedy::new("exempt Istio's containers from the policy", steps))
    .evidence(id, format!("{namespace}/{lower}/{name}"), field, quote(message), None)
}
