//! CP: istiod.

use super::remedies::count;
use crate::engine::finding::KeyKind;
use crate::engine::lens::{BLAST, REVISIONS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::Revision;
use crate::mesh::istiod::is_being_installed;
use crate::mesh::webhook::Backend;
use crate::model::Pod;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&NO_READY_ISTIOD, &ISTIOD_PENDING, &NO_ENDPOINTS];

static NO_READY_ISTIOD: Check = Check {
    code: "CP01",
    name: "no-ready-istiod",
    title: "Every revision has a ready istiod",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: BLAST,
    docs: "## What it means
No istiod pod of a revision is ready. Running proxies keep the configuration they have, new ones get none, certificates are not renewed (they last 24 hours), and new pods in the revision's namespaces are refused.

## Why it happens on AKS
istiod needs 500m CPU and 2 GiB per replica and two replicas: full system node pools leave it Pending. With a CA from a Key Vault (plug-in CA), istiod does not start when the vault cannot be read. In large meshes it runs out of memory.

## How we know
The Deployment `istiod-REVISION` in `aks-istio-system` has no ready pod.

## What to do
Read the pods' state and the log of the last run: the reason is there. Do not edit the Deployment: AKS undoes that within minutes.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>",
    run: no_ready_istiod,
};

/// Commands that show why istiods of a revision are not well.
pub(super) fn look(revision: &Revision<'_>) -> Vec<Step> {
    let name = &revision.name;
    let selector = format!("app=istiod,istio.io/rev={name}");
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows the state and the events of its pods",
        ["kubectl", "describe", "pods", "-n", SYSTEM_NAMESPACE, "-l", &selector],
    )];
    // kubectl fails for a pod without an earlier log, also when it is one of several.
    let ended = |pod: &&Pod| pod.status.container_statuses.iter().any(|status| status.restart_count > 0);
    let restarted: Vec<_> = revision.istiods.iter().copied().filter(ended).collect();
    let text = "shows the end of the log before the last restart";
    if !restarted.is_empty() && restarted.len() == revision.istiods.len() {
        let command = ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, "-l", &selector, "--tail=50", "--previous"];
        steps.push(Step::command(Risk::Read, text, command));
    } else {
        steps.extend(restarted.iter().map(|pod| {
            let name = pod.metadata.name.as_str();
            Step::command(
                Risk::Read,
                text,
                ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, name, "--tail=50", "--previous"],
            )
        }));
    }
    steps
}

fn inspect(revision: &Revision<'_>) -> Vec<Step> {
    let mut steps = look(revision);
    steps.push(Step::command(
        Risk::Restart,
        "replaces its pods; running workloads keep their configuration meanwhile",
        ["kubectl", "rollout", "restart", &format!("deployment/istiod-{}", revision.name), "-n", SYSTEM_NAMESPACE],
    ));
    steps
}

fn no_ready_istiod(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let mut findings = Vec::new();
    let down = |revision: &&Revision<'_>| revision.ready() == 0 && !is_being_installed(revision, lens.now());
    for revision in revisions.iter().filter(down) {
        let name = &revision.name;
        let states: Vec<String> = revision
            .istiods
            .iter()
            .map(|pod| {
                let waiting = pod
                    .status
                    .container_statuses
                    .iter()
                    .chain(&pod.status.init_container_statuses)
                    .find_map(|status| status.state.waiting.as_ref().map(|waiting| waiting.reason.clone()));
                format!("{} {}", pod.metadata.name, waiting.unwrap_or_else(|| pod.status.phase.to_string()))
            })
            .collect();
        let mut finding = Finding::new(
            Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
            format!("istiod of {name} has no ready pod"),
            "New pods in its namespaces are refused. Running proxies keep their configuration, but their certificates expire within 24 hours.",
        )
        .key(KeyKind::Revision, name)
        .remedy(Remedy::new("find out why its pods are not ready", inspect(revision)))
        .evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
            "ready pods",
            format!("0 of {}", revision.total()),
            Some("at least 1"),
        );
        finding.impact =
            lens.blast_radius(|workload| workload.next.is_blocked() && workload.next.revision.as_deref() == Some(name));
        for state in states {
            let (pod, state) = state.split_once(' ').unwrap_or((&state, "unknown"));
            finding = finding.evidence(
                SourceId::SystemPods,
                format!("{SYSTEM_NAMESPACE}/pod/{pod}"),
                "state",
                state,
                Some("Running and ready"),
            );
        }
        findings.push(finding);
    }
    Ok(Verdict { examined: revisions.len(), findings })
}

static ISTIOD_PENDING: Check = Check {
    code: "CP03",
    name: "istiod-pending",
    title: "Every istiod pod has a node",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
An istiod pod waits for a node with room.

## Why it happens on AKS
Each istiod pod requests 500m CPU and 2 GiB and prefers system node pools; the requests are fixed by the add-on.

## How we know
The pod's condition `PodScheduled` is False; its message is the scheduler's own.

## What to do
Add nodes, or room on the ones there are. istiod prefers nodes of system pools; nodes with the label `azureservicemesh/istio.replica.preferred=true` come second.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://learn.microsoft.com/azure/aks/istio-scale>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut findings = Vec::new();
        let mut examined = 0;
        for revision in revisions {
            examined += revision.istiods.len();
            let waiting: Vec<_> = revision
                .istiods
                .iter()
                .filter_map(|pod| {
                    let condition = pod.condition("PodScheduled").filter(|condition| condition.status == "False")?;
                    Some((&pod.metadata.name, &condition.message))
                })
                .collect();
            let Some((first, message)) = waiting.first() else { continue };
            findings.push(
                Finding::new(
                    Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{}", revision.name)),
                    format!("{} of istiod-{} {} for a node", count(waiting.len(), "pod"), revision.name, if waiting.len() == 1 { "waits" } else { "wait" }),
                    if revision.ready() == 0 { "No istiod of this revision is ready: new pods in its namespaces are refused." } else { "The other istiod pods carry the load meanwhile." },
                )
                .key(KeyKind::Revision, &revision.name)
                .at_most(if revision.ready() == 0 { Severity::Error } else { Severity::Warning })
                .remedy(Remedy::new(
                    "make room for it",
                    vec![
                        Step::command(Risk::Read, "shows how full each node is; look at Allocated resources", ["kubectl", "describe", "nodes"]),
                        Step::command(
                            Risk::Change,
                            "sets the size of a node pool; with a cluster autoscaler, raise its maximum instead",
                            ["az", "aks", "nodepool", "scale", "-g", "<resource-group>", "--cluster-name", "<cluster>", "-n", "<node-pool>", "--node-count", "<count>"],
                        ),
                    ],
                ))
                .evidence(
                    SourceId::SystemPods,
                    format!("{SYSTEM_NAMESPACE}/pod/{first}"),
                    "condition PodScheduled",
                    (*message).clone(),
                    Some("True"),
                ),
            );
        }
        Ok(Verdict { examined, findings })
    },
};

static NO_ENDPOINTS: Check = Check {
    code: "CP06",
    name: "istiod-service-without-endpoints",
    title: "The Service of every revision has a ready endpoint",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::MutatingWebhooks,
    ],
    uses: BLAST,
    docs: "## What it means
The Service `istiod-REVISION` exists, but no ready pod is behind it. Proxies cannot connect to istiod. The API server cannot call istiod's webhook, so new pods in the revision's namespaces are refused.

## Why it happens on AKS
Mostly istiod itself is not ready (then CP01 is the cause). Otherwise somebody changed the Service's selector, and it matches no pod.

## How we know
Its EndpointSlices list no ready endpoint.

## What to do
Repair istiod first. If its pods are ready, compare the Service's selector with their labels; AKS writes the Service again when the cluster is reconciled.

## Sources
<https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/>",
    run: no_endpoints,
};

fn no_endpoints(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    let mut findings = Vec::new();
    let mut examined = 0;
    for revision in revisions {
        let service = format!("istiod-{}", revision.name);
        let Some(injector) = injectors
            .iter()
            .find(|i| i.service.as_ref().is_some_and(|s| s.namespace == SYSTEM_NAMESPACE && s.name == service))
        else {
            continue;
        };
        examined += 1;
        if injector.backend != Backend::NoEndpoints || is_being_installed(revision, lens.now()) {
            continue;
        }
        let steps = if revision.ready() == 0 {
            inspect(revision)
        } else {
            vec![
                Step::command(
                    Risk::Read,
                    "shows the Service's selector",
                    ["kubectl", "get", "service", &service, "-n", SYSTEM_NAMESPACE, "-o", "yaml"],
                ),
                Step::command(
                    Risk::Read,
                    "shows the labels of istiod's pods; the selector must match them",
                    [
                        "kubectl",
                        "get",
                        "pods",
                        "-n",
                        SYSTEM_NAMESPACE,
                        "-l",
                        &format!("istio.io/rev={}", revision.name),
                        "--show-labels",
                    ],
                ),
                super::remedies::reconcile("writes the Service again"),
            ]
        };
        let radius = lens.blast_radius(|workload| {
            workload.next.is_blocked() && workload.next.revision.as_deref() == Some(&revision.name)
        });
        findings.push(
            Finding::new(
                Subject::new("Service", SYSTEM_NAMESPACE, service.clone()),
                format!("service {service} has no ready endpoint"),
                "Proxies cannot connect to istiod, and new pods in its namespaces are refused.",
            )
            .key(KeyKind::Revision, &revision.name)
            .maybe_impact(radius)
            .remedy(Remedy::new("bring istiod back behind its Service", steps))
            .evidence(
                SourceId::SystemEndpoints,
                format!("{SYSTEM_NAMESPACE}/service/{service}"),
                "ready endpoints",
                "0",
                Some("at least 1"),
            ),
        );
    }
    Ok(Verdict { examined, findings })
}
