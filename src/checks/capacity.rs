//! CAP: room for istiod and for sidecars.

use std::cmp::Reverse;

use super::istiod_start::relieve;
use super::remedies::{count, quote, subject, workload_key};
use crate::engine::finding::KeyKind;
use crate::engine::lens::{OWNERS, WORKLOADS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::istiod::is_within;
use crate::mesh::scaling::{
    LASTING_SECONDS, MEASURED_PROXIES, Part, Requests, Spread, at_maximum, preferred, proxies, requests, spread,
    without_metrics,
};
use crate::mesh::workload::Workload;
use crate::model::Autoscaler;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&AUTOSCALER, &MINIMUM, &BUDGET, &PROXIES, &TOGETHER, &SIDECAR_SHARE];

/// How many replicas more are proposed: enough to matter, and not more than a few system nodes hold.
const MORE_REPLICAS: u32 = 3;

/// Near what was measured: from here on there is little room for a wave of restarts.
const MANY_PROXIES: usize = MEASURED_PROXIES / 3 * 2;

/// Sidecars are worth a look when they reserve at least so much, and half of everything.
const MUCH: Requests = Requests { cpu: 8_000, memory: 32 << 30 };

/// The add-on's autoscalers with what they scale.
fn autoscalers<'l>(lens: &Lens<'l>) -> Result<Vec<(&'l Autoscaler, Part<'l>)>, Missing> {
    lens.need(&[SourceId::Autoscalers])?;
    let all = lens.snapshot().autoscalers.items().unwrap_or_default();
    Ok(all
        .iter()
        .filter(|autoscaler| autoscaler.metadata.deletion_timestamp.is_none())
        .filter_map(|autoscaler| {
            let target = &autoscaler.spec.scale_target_ref.name;
            let name = if target.is_empty() { &autoscaler.metadata.name } else { target };
            Some((autoscaler, Part::of(&autoscaler.metadata.namespace, name)?))
        })
        .collect())
}

/// istiod is joined by its revision, a gateway by the Service that its revisions share.
fn keyed(finding: Finding, namespace: &str, part: Part<'_>) -> Finding {
    match part {
        Part::Istiod(revision) => finding.key(KeyKind::Revision, revision),
        Part::Gateway { service, .. } => finding.key(KeyKind::Object, format!("Service/{namespace}/{service}")),
    }
}

fn scale(autoscaler: &Autoscaler, field: &str, value: u32, text: String) -> Step {
    let patch = format!(r#"{{"spec":{{"{field}":{value}}}}}"#);
    let (name, namespace) = (&autoscaler.metadata.name, &autoscaler.metadata.namespace);
    Step::command(
        Risk::Change,
        text,
        ["kubectl", "patch", "hpa", name, "-n", namespace, "--type", "merge", "-p", &patch],
    )
}

/// Allows an autoscaler some more replicas; AKS leaves its bounds to the user.
pub(super) fn raise(autoscaler: &Autoscaler) -> Step {
    let bound = autoscaler.spec.max_replicas.saturating_add(MORE_REPLICAS);
    scale(autoscaler, "maxReplicas", bound, format!("allows up to {bound} replicas; AKS keeps that"))
}

fn object_of(autoscaler: &Autoscaler) -> String {
    format!("{}/horizontalpodautoscaler/{}", autoscaler.metadata.namespace, autoscaler.metadata.name)
}

fn subject_of(autoscaler: &Autoscaler) -> Subject {
    Subject::new("HorizontalPodAutoscaler", &autoscaler.metadata.namespace, &autoscaler.metadata.name)
}

static AUTOSCALER: Check = Check {
    code: "CAP01",
    name: "autoscaler-cannot-scale",
    title: "The autoscalers of istiod and of the gateways can scale",
    area: Area::Capacity,
    severity: Severity::Warning,
    inputs: &[SourceId::Autoscalers],
    uses: &[],
    docs: "## What it means
The autoscaler of istiod or of an ingress gateway wants more replicas than it may have, or it cannot read how busy the pods are. Either way no pods are added when the load grows.

## Why it happens on AKS
The add-on allows two to five replicas. Large meshes, or gateways with much traffic, need more. Metrics are missing when the metrics server in `kube-system` is down, or when no pod of the Deployment is ready.

## How we know
The autoscaler's condition `ScalingLimited` is True with the reason `TooManyReplicas`, or `ScalingActive` is False, for at least ten minutes where the condition tells since when.

## What to do
Raise `maxReplicas`: AKS leaves the bounds of these autoscalers to you. More istiods share the proxies among them; each still holds the whole configuration, so also let istiod watch less (CP04 tells how). If metrics are missing, look at the metrics server.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>, <https://kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale-walkthrough/#appendix-horizontal-pod-autoscaler-status-conditions>",
    run: |lens| {
        let autoscalers = autoscalers(lens)?;
        let mut verdict = Verdict { examined: autoscalers.len(), ..Verdict::default() };
        for (autoscaler, part) in autoscalers {
            let name = &autoscaler.metadata.name;
            let (limited, blind) = (at_maximum(autoscaler, lens.now()), without_metrics(autoscaler, lens.now()));
            let Some(condition) = limited.or(blind) else { continue };
            let (summary, detail, steps) = if limited.is_some() {
                (
                    format!("autoscaler {name} is at its maximum of {}", count(autoscaler.spec.max_replicas as usize, "replica")),
                    "It wants more replicas than it may have: its pods are overloaded.",
                    vec![raise(autoscaler)],
                )
            } else {
                (
                    format!("autoscaler {name} gets no metrics"),
                    "The number of replicas stays as it is, whatever the load.",
                    vec![
                        Step::command(
                            Risk::Read,
                            "shows the pods' metrics, or why there are none",
                            ["kubectl", "top", "pods", "-n", &autoscaler.metadata.namespace],
                        ),
                        Step::command(
                            Risk::Read,
                            "shows the state of the metrics server",
                            ["kubectl", "get", "pods", "-n", "kube-system", "-l", "k8s-app=metrics-server"],
                        ),
                    ],
                )
            };
            let what = if limited.is_some() { "allow more replicas" } else { "bring the metrics back" };
            let finding = Finding::new(subject_of(autoscaler), summary, detail)
                .remedy(Remedy::new(what, steps))
                .evidence(
                    SourceId::Autoscalers,
                    object_of(autoscaler),
                    format!("condition {}", condition.kind),
                    quote(&format!("{} {}: {}", condition.status, condition.reason, condition.message)),
                    Some(if limited.is_some() { "False" } else { "True" }),
                );
            verdict.findings.push(keyed(finding, &autoscaler.metadata.namespace, part));
        }
        Ok(verdict)
    },
};

static MINIMUM: Check = Check {
    code: "CAP02",
    name: "autoscaler-minimum-below-two",
    title: "istiod and the gateways never have fewer than two replicas",
    area: Area::Capacity,
    severity: Severity::Warning,
    inputs: &[SourceId::Autoscalers],
    uses: &[],
    docs: "## What it means
The autoscaler of istiod or of an ingress gateway may go down to one replica. Then its disruption budget keeps the node of that pod from being drained, and node upgrades fail there.

## Why it happens on AKS
AKS refuses a minimum below two, because of the disruption budget that asks for one ready pod. A lower value got past that rule, for example while the webhook that enforces it did not answer.

## How we know
`spec.minReplicas` is absent, which means one, or below two.

## What to do
Set the minimum to two or more.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>",
    run: |lens| {
        let autoscalers = autoscalers(lens)?;
        let mut verdict = Verdict { examined: autoscalers.len(), ..Verdict::default() };
        for (autoscaler, part) in autoscalers {
            let minimum = autoscaler.spec.min_replicas.unwrap_or(1);
            if minimum >= 2 {
                continue;
            }
            let name = &autoscaler.metadata.name;
            let finding = Finding::new(
                subject_of(autoscaler),
                format!("autoscaler {name} may go down to {}", count(minimum as usize, "replica")),
                "With one replica its node cannot be drained, and a crash leaves none.",
            )
            .remedy(Remedy::new(
                "set the minimum to two",
                vec![scale(autoscaler, "minReplicas", 2, "keeps two replicas at all times".to_owned())],
            ))
            .evidence(
                SourceId::Autoscalers,
                object_of(autoscaler),
                "spec.minReplicas",
                autoscaler.spec.min_replicas.map_or_else(|| "absent".to_owned(), |minimum| minimum.to_string()),
                Some("at least 2"),
            );
            verdict.findings.push(keyed(finding, &autoscaler.metadata.namespace, part));
        }
        Ok(verdict)
    },
};

static BUDGET: Check = Check {
    code: "CAP03",
    name: "disruption-budget-blocks-drain",
    title: "The disruption budgets of istiod and of the gateways allow an eviction",
    area: Area::Capacity,
    severity: Severity::Warning,
    inputs: &[SourceId::DisruptionBudgets],
    uses: &[],
    docs: "## What it means
A disruption budget of the add-on allows no eviction now. Nodes with these pods cannot be drained: an upgrade of the node pool, or of the cluster, stops there and fails after a while.

## Why it happens on AKS
The budget asks for one ready pod. With a single ready pod there is none to spare: the other one is not ready, or the autoscaler was allowed to go down to one (CAP02).

## How we know
`status.disruptionsAllowed` is 0 although the budget has pods, for at least ten minutes where its condition tells since when.

## What to do
Bring up a second pod; the budget then allows an eviction again. Editing the budget does not last: AKS reverts it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>, <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/create-upgrade-delete/error-code-poddrainfailure>",
    run: |lens| {
        lens.need(&[SourceId::DisruptionBudgets])?;
        let mut verdict = Verdict::default();
        for budget in lens.snapshot().disruption_budgets.items().unwrap_or_default() {
            let (namespace, name) = (&budget.metadata.namespace, &budget.metadata.name);
            let Some(part) = Part::of(namespace, name) else { continue };
            verdict.examined += 1;
            let status = &budget.status;
            let since = status
                .conditions
                .iter()
                .find(|condition| condition.kind == "DisruptionAllowed")
                .and_then(|condition| condition.last_transition_time)
                .or(budget.metadata.creation_timestamp);
            if status.disruptions_allowed != Some(0)
                || status.expected_pods == 0
                || is_within(since, lens.now(), LASTING_SECONDS)
            {
                continue;
            }
            let selector = match part {
                Part::Istiod(revision) => format!("app=istiod,istio.io/rev={revision}"),
                Part::Gateway { service, .. } => format!("istio={service}"),
            };
            let finding = Finding::new(
                Subject::new("PodDisruptionBudget", namespace, name),
                format!("disruption budget {name} allows no eviction"),
                format!(
                    "{} of {} ready, {} must stay: their nodes cannot be drained, and node upgrades fail there.",
                    status.current_healthy,
                    count(status.expected_pods as usize, "pod"),
                    status.desired_healthy
                ),
            )
            .remedy(Remedy::new(
                "bring a second pod up",
                vec![Step::command(
                    Risk::Read,
                    "shows the pods and which of them are ready",
                    ["kubectl", "get", "pods", "-n", namespace, "-l", &selector, "-o", "wide"],
                )],
            ))
            .evidence(
                SourceId::DisruptionBudgets,
                format!("{namespace}/poddisruptionbudget/{name}"),
                "status.disruptionsAllowed",
                format!("0, with {} of {} pods ready", status.current_healthy, status.expected_pods),
                Some("at least 1"),
            );
            verdict.findings.push(keyed(finding, namespace, part));
        }
        Ok(verdict)
    },
};

static PROXIES: Check = Check {
    code: "CAP04",
    name: "many-proxies-per-istiod",
    title: "No istiod serves nearly as many proxies as were measured",
    area: Area::Capacity,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Pods],
    uses: &[SourceId::Autoscalers],
    docs: "## What it means
Each ready istiod of a revision serves nearly as many proxies as one could bear in Microsoft's tests. Configuration arrives late, and after an outage all of them connect at once.

## Why it happens on AKS
The mesh grew and the autoscaler stayed at its bounds, or most istiods are not ready. Microsoft measured 25,000 to 30,000 sidecars for one istiod while nothing changes and 15,000 to 25,000 while pods are replaced, with 15 to 16 cores and 22 to 43 GB of memory, at one to a thousand services. The add-on reserves half a core and 2 GiB.

## How we know
The running proxies of the revision are counted in all namespaces and divided by its ready istiods. The check fires from 10,000 on, two thirds of the lowest number measured. When only some namespaces are examined, the real number is higher than the one counted: then the check can fire, but never passes.

## What to do
Allow more replicas, let istiod watch only the namespaces of the mesh, and let each proxy hear only of what it calls.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>",
    run: |lens| {
        let revisions = lens.revisions()?;
        lens.need(&[SourceId::Pods])?;
        let autoscalers = lens.optional(SourceId::Autoscalers, &lens.snapshot().autoscalers);
        let counts = proxies(lens.snapshot().pods.items().unwrap_or_default());
        let mut verdict = Verdict::default();
        for revision in revisions {
            let (name, ready) = (&revision.name, revision.ready());
            let proxies = counts.get(name).copied().unwrap_or_default();
            if ready == 0 {
                continue;
            }
            let each = proxies / ready;
            let enough = each >= MANY_PROXIES;
            // Other namespaces may have more: few proxies in some of them prove nothing.
            if enough || lens.snapshot().scope.namespaces.is_none() {
                verdict.examined += 1;
            }
            if enough {
                verdict.findings.push(
                    Finding::new(
                        Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
                        format!("each ready istiod of {name} serves about {each} proxies"),
                        format!("Microsoft measured {MEASURED_PROXIES} on 15 cores while pods are replaced; beyond that configuration arrives late."),
                    )
                    .key(KeyKind::Revision, name)
                    .remedy(Remedy::new("give istiod less to do, and more replicas", relieve(name, autoscalers)))
                    .evidence(
                        SourceId::Pods,
                        format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
                        "running proxies per ready istiod",
                        format!("{proxies} proxies, {}", count(ready, "ready istiod")),
                        Some("below 10000 each"),
                    ),
                );
            }
        }
        Ok(verdict)
    },
};

static TOGETHER: Check = Check {
    code: "CAP05",
    name: "istiods-on-one-node",
    title: "The istiods of a revision are on different nodes and in different zones",
    area: Area::Capacity,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Nodes],
    uses: &[],
    docs: "## What it means
All ready istiods of a revision are on one node, or in one availability zone, although the cluster has others. One failure takes all of them away.

## Why it happens on AKS
istiod prefers nodes of system pools. When only one of them had room at the time, all replicas are there, and nothing moves them later.

## How we know
The nodes of the ready istiods are compared; for zones, their label `topology.kubernetes.io/zone`. The check fires only when another ready Linux node, or another zone, is there. One node is a warning, unless it is the only one of a system pool: then, and for one zone, it is an info.

## What to do
Make room on a second system node, then restart istiod: the scheduler spreads new pods. istiod prefers nodes of system pools; nodes with the label `azureservicemesh/istio.replica.preferred=true` come second.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://learn.microsoft.com/azure/aks/availability-zones>, <https://kubernetes.io/docs/concepts/scheduling-eviction/topology-spread-constraints/>",
    run: |lens| {
        let revisions = lens.revisions()?;
        lens.need(&[SourceId::Nodes])?;
        let nodes = lens.snapshot().nodes.items().unwrap_or_default();
        let mut verdict = Verdict::default();
        for revision in revisions {
            let ready: Vec<_> = revision.istiods.iter().copied().filter(|pod| pod.is_ready()).collect();
            verdict.examined += usize::from(ready.len() > 1);
            let Some(shared) = spread(&ready, nodes) else { continue };
            let name = &revision.name;
            let number = ready.len();
            let (summary, severity, field) = match shared {
                Spread::OneNode(node) => {
                    // With one system node the scheduler would choose it again.
                    let severity = if preferred(nodes) == 1 { Severity::Info } else { Severity::Warning };
                    (format!("all {number} istiods of {name} are on node {node}"), severity, "spec.nodeName")
                }
                Spread::OneZone(zone) => {
                    (format!("all {number} istiods of {name} are in zone {zone}"), Severity::Info, "zone of its node")
                }
            };
            let (Spread::OneNode(place) | Spread::OneZone(place)) = shared;
            let mut finding = Finding::new(
                Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
                summary,
                "If it fails, no istiod of this revision is left, and new pods in its namespaces are refused.",
            )
            .key(KeyKind::Revision, name)
            .at_most(severity)
            .remedy(Remedy::new(
                "make room elsewhere, then let the scheduler spread them",
                vec![
                    Step::command(Risk::Read, "shows how full each node is; look at Allocated resources", ["kubectl", "describe", "nodes"]),
                    Step::command(
                        Risk::Restart,
                        "replaces istiod's pods; running workloads keep their configuration meanwhile",
                        ["kubectl", "rollout", "restart", &format!("deployment/istiod-{name}"), "-n", SYSTEM_NAMESPACE],
                    ),
                ],
            ));
            if let Spread::OneNode(node) = shared {
                finding = finding.key(KeyKind::Node, node);
            }
            for pod in ready {
                let object = format!("{SYSTEM_NAMESPACE}/pod/{}", pod.metadata.name);
                finding = finding.evidence(SourceId::SystemPods, object, field, place, None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static SIDECAR_SHARE: Check = Check {
    code: "CAP06",
    name: "sidecars-reserve-most",
    title: "Sidecars reserve less than the workloads beside them",
    area: Area::Capacity,
    severity: Severity::Info,
    inputs: WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
The sidecars of the examined workloads reserve more CPU or memory than everything else in the examined pods. The cluster pays for what is reserved, whether it is used or not.

## Why it happens on AKS
A sidecar reserves 100m CPU and 128 MiB unless an annotation says otherwise, and it comes with every replica. Annotations with generous values are copied from workload to workload.

## How we know
The requests of the containers `istio-proxy` are added up and compared with those of all other containers in the examined pods. The check fires when the sidecars' share is above half and at least 8 cores, or 32 GiB of memory. It is never more than an info.

## What to do
Compare with what the sidecars use, and set `sidecar.istio.io/proxyCPU` and `sidecar.istio.io/proxyMemory` on the pod templates of the largest ones. Too low values make calls slow under load.

## Sources
<https://istio.io/latest/docs/reference/config/annotations/>, <https://learn.microsoft.com/azure/aks/istio-scale>",
    run: sidecar_share,
};

fn sidecar_share(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let workloads = lens.workloads()?;
    let mut verdict = Verdict::default();
    let (mut sidecars, mut rest) = (Requests::default(), Requests::default());
    let mut largest: Vec<(Requests, &Workload<'_>)> = Vec::new();
    for workload in workloads {
        let mut own = Requests::default();
        for (pod, _) in &workload.pods {
            let (sidecar, other) = requests(pod);
            own += sidecar;
            rest += other;
        }
        sidecars += own;
        if workload.injected_pods() > 0 {
            verdict.examined += 1;
            if !lens.is_managed(workload.namespace) {
                largest.push((own, workload));
            }
        }
    }
    let cpu = sidecars.cpu >= MUCH.cpu && sidecars.cpu > rest.cpu;
    let memory = sidecars.memory >= MUCH.memory && sidecars.memory > rest.memory;
    largest.sort_by_key(|(own, _)| Reverse(if cpu { own.cpu } else { own.memory }));
    largest.truncate(5);
    let Some((_, first)) = largest.first().filter(|_| cpu || memory) else { return Ok(verdict) };
    let cores = |milli: u64| format!("{}.{} cores", milli / 1000, milli % 1000 / 100);
    let amount = |own: Requests| if cpu { cores(own.cpu) } else { format!("{} GiB of memory", own.memory >> 30) };
    let (annotation, value) =
        if cpu { ("sidecar.istio.io/proxyCPU", "<cpu>") } else { ("sidecar.istio.io/proxyMemory", "<memory>") };
    let patch = format!(r#"{{"spec":{{"template":{{"metadata":{{"annotations":{{"{annotation}":"{value}"}}}}}}}}}}"#);
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows what the containers really use",
        ["kubectl", "top", "pods", "--containers", "-n", first.namespace],
    )];
    for (_, workload) in largest.iter().filter(|(_, workload)| workload.kind == "Deployment") {
        steps.push(Step::command(
            Risk::Restart,
            format!("sets what each sidecar of {} reserves, and replaces its pods", workload.name),
            [
                "kubectl",
                "patch",
                "deployment",
                &workload.name,
                "-n",
                workload.namespace,
                "--type",
                "merge",
                "-p",
                &patch,
            ],
        ));
    }
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "sidecars"),
        format!("sidecars reserve {}, more than all other containers", amount(sidecars)),
        format!("All other containers in the examined pods reserve {}.", amount(rest)),
    )
    .remedy(Remedy::new("let the largest ones reserve what they use", steps));
    for (own, workload) in &largest {
        finding = finding
            .key(KeyKind::Workload, workload_key(workload))
            .related(&subject(workload), "its sidecars reserve much")
            .evidence(
                SourceId::Pods,
                format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name),
                "requests of istio-proxy",
                format!("{} in {}", amount(*own), count(workload.injected_pods(), "pod")),
                None,
            );
    }
    verdict.findings.push(finding);
    Ok(verdict)
}
