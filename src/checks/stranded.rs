//! INJ: running pods that do not have what their labels promise, or will lose it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::injection::opts_out;
use super::remedies::{count, label_namespace, restart, subject, unlabel_namespace, workload_key};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Verdict};
use crate::mesh::injection::{INJECT, INJECTION, Reason};
use crate::mesh::proxy::{PROXY_CONTAINER, ProxyKind};
use crate::mesh::workload::Workload;
use crate::snapshot::SourceId;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&WITHOUT_PROXY, &PROXY_NOT_ASKED, &REFUSED];

/// Controllers repeat a refused creation with pauses of up to about 16 minutes.
const FRESH: SignedDuration = SignedDuration::from_mins(20);

/// Workloads with a verdict.
pub const VERDICTS: &[SourceId] = &[
    SourceId::MutatingWebhooks,
    SourceId::SystemServices,
    SourceId::SystemEndpoints,
    SourceId::SystemConfigMaps,
    SourceId::Namespaces,
    SourceId::Pods,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
];
/// What makes a verdict better, but is not needed for it.
pub const VERDICTS_USE: &[SourceId] = &[
    SourceId::ReplicaSets,
    SourceId::Jobs,
    SourceId::CronJobs,
    SourceId::WebhookServices,
    SourceId::WebhookEndpoints,
    SourceId::WebhookConfigMaps,
];

/// A workload in a sentence.
pub fn label(workload: &Workload<'_>) -> String {
    format!("{}/{} in {}", workload.kind.to_lowercase(), workload.name, workload.namespace)
}

/// A workload as an object of evidence.
pub fn object(workload: &Workload<'_>) -> String {
    format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name)
}

/// Pods of one workload.
pub fn impact(pods: usize) -> Impact {
    Impact { namespaces: 1, workloads: 1, pods }
}

static WITHOUT_PROXY: Check = Check {
    code: "INJ05",
    name: "pods-without-sidecar",
    title: "Pods that should have a sidecar have one",
    area: Area::Injection,
    severity: Severity::Warning,
    inputs: VERDICTS,
    uses: VERDICTS_USE,
    docs: "## What it means
Pods run without a sidecar although a new pod of the same workload would get one: they are outside the mesh until they are restarted.

## Why it happens on AKS
Labels act when a pod is created. These pods are older than the namespace's label, or were created while injection was impossible.

## How we know
The selectors of the webhooks in the cluster and istiod's own rules are applied to the workload's pod template; the running pods have no `istio-proxy` among containers and init containers.

## What to do
Restart the workload.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon#enable-sidecar-injection>",
    run: |lens| {
        lens.rules()?;
        let mut verdict = Verdict::default();
        for workload in lens.workloads()? {
            if lens.is_managed(workload.namespace) || workload.pods.is_empty() {
                continue;
            }
            verdict.examined += 1;
            let bare = workload.pods.len() - workload.injected_pods();
            // A run-to-completion pod that runs now is not restarted; its next run is right.
            if workload.next.injected != Some(true) || bare == 0 || matches!(workload.kind.as_str(), "Job" | "CronJob") {
                continue;
            }
            let oldest = workload.pods.iter().filter(|(_, p)| p.is_none()).filter_map(|(pod, _)| pod.metadata.creation_timestamp).min();
            let by = workload.next.revision.clone().unwrap_or_else(|| "an istiod".to_owned());
            let mut finding = Finding::new(
                subject(workload),
                format!("{}: {bare} of {} without a sidecar", label(workload), count(workload.pods.len(), "pod")),
                format!("They are outside the mesh: no mutual TLS, no mesh policies. After a restart {by} adds the sidecar."),
            )
            .key(KeyKind::Workload, workload_key(workload))
            .key(KeyKind::Namespace, workload.namespace)
            .impact(impact(bare))
            .remedy(Remedy::new("restart it", restart([workload])));
            finding = finding.evidence(
                SourceId::Pods,
                object(workload),
                format!("pods with container {PROXY_CONTAINER}"),
                format!("{} of {}", workload.injected_pods(), workload.pods.len()),
                Some(&format!("{0} of {0}", workload.pods.len())),
            );
            if let Some(oldest) = oldest {
                finding = finding.evidence(SourceId::Pods, object(workload), "oldest pod without it, created", oldest.strftime("%Y-%m-%d %H:%M UTC").to_string(), None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static PROXY_NOT_ASKED: Check = Check {
    code: "INJ07",
    name: "sidecar-lost-at-next-restart",
    title: "Pods with a sidecar keep it at their next restart",
    area: Area::Injection,
    severity: Severity::Warning,
    inputs: VERDICTS,
    uses: VERDICTS_USE,
    docs: "## What it means
Pods have a sidecar, but a new pod of the same workload would get none: the next restart takes them out of the mesh.

## Why it happens on AKS
The label of the namespace was removed or the pod template opts out, often to switch the mesh off, and the pods were not restarted.

## How we know
The selectors of the webhooks in the cluster and istiod's own rules are applied to the workload's pod template.

## What to do
If it should stay in the mesh, set the namespace's label again, or take out of the pod template what opts it out. If not, restart the workload.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>",
    run: |lens| {
        lens.rules()?;
        let mut verdict = Verdict::default();
        for workload in lens.workloads()? {
            let sidecars = workload.pods.iter().filter(|(_, proxy)| {
                proxy.as_ref().is_some_and(|p| matches!(p.kind, ProxyKind::Native | ProxyKind::Classic))
            });
            let sidecars = sidecars.count();
            if sidecars == 0 || lens.is_managed(workload.namespace) {
                continue;
            }
            verdict.examined += 1;
            // Injected by hand: the template itself has the proxy.
            let by_hand = workload.controller.is_some_and(|controller| {
                let spec = &controller.template.spec;
                spec.containers.iter().chain(&spec.init_containers).any(|c| c.name == PROXY_CONTAINER)
            });
            let lost = workload.next.injected == Some(false)
                && matches!(
                    workload.next.reason,
                    Reason::NotAsked
                        | Reason::InjectionLabelVetoes
                        | Reason::Excluded(_)
                        | Reason::LabelOptsOut
                        | Reason::OptsOut(_)
                        | Reason::NeverSelector
                        | Reason::Policy(_)
                );
            // A bare pod's labels are those of a pod that was injected already: its next restart is somebody's manifest.
            if !lost || by_hand || workload.kind == "Pod" {
                continue;
            }
            let revision = workload.revisions().into_iter().next_back().unwrap_or("<revision>");
            let mut steps = match workload.next.reason {
                Reason::NotAsked => vec![label_namespace(workload.namespace, revision)],
                Reason::InjectionLabelVetoes => vec![unlabel_namespace(workload.namespace, INJECTION)],
                _ => Vec::new(),
            };
            let why = match workload.next.reason {
                Reason::NotAsked => "neither its namespace nor its pod template asks for a sidecar",
                Reason::InjectionLabelVetoes => "the label istio-injection of its namespace keeps istiod away",
                Reason::LabelOptsOut | Reason::OptsOut(_) => "its pod template opts out",
                Reason::Excluded(_) => "the webhook's selectors leave it out",
                _ => "istiod's injection settings leave it out",
            };
            let keeps = !steps.is_empty();
            if !keeps {
                let first = match workload.next.reason {
                    Reason::LabelOptsOut | Reason::OptsOut(_) => format!("remove {INJECT} from the pod template"),
                    _ => format!("change this: {why}"),
                };
                steps.push(Step::text(Risk::Change, format!("to keep the sidecars, first {first}")));
            }
            steps.extend(restart([workload]).into_iter().map(|step| match keeps {
                true => step,
                false => Step { text: format!("or to leave the mesh: {}", step.text), ..step },
            }));
            let label_now = lens.namespace_labels(workload.namespace).and_then(|labels| labels.get("istio.io/rev"));
            let opt_out = workload.template().and_then(|(meta, _)| {
                Some((INJECT, meta.label(INJECT).or_else(|| meta.annotation(INJECT))?))
            });
            let mut finding =
                Finding::new(
                    subject(workload),
                    format!("{}: the next restart removes its sidecars", label(workload)),
                    format!("{} in the mesh now. New pods start outside it: {why}.", match sidecars { 1 => "1 pod is".to_owned(), n => format!("{n} pods are") }),
                )
                .key(KeyKind::Workload, workload_key(workload))
                .key(KeyKind::Namespace, workload.namespace)
                .impact(impact(sidecars))
                .remedy(Remedy::new("label the namespace again, or restart without a sidecar", steps))
                .evidence(
                    SourceId::Namespaces,
                    format!("namespace/{}", workload.namespace),
                    "label istio.io/rev",
                    label_now.map_or("absent", String::as_str),
                    label_now.is_none().then_some(revision),
                );
            if let Some((key, value)) = opt_out {
                finding = finding.evidence(SourceId::Pods, object(workload), format!("pod template {key}"), value, None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static REFUSED: Check = Check {
    code: "INJ11",
    name: "pods-refused-by-injector",
    title: "No workload is kept from starting pods by a dead injector",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::RefusalEvents,
    ],
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
        SourceId::WebhookConfigMaps,
    ],
    docs: "## What it means
A workload wants more pods than it has, and the API server refuses to create them. It would ask the webhook of istiod that adds the sidecar, cannot reach it, and the webhook's failure policy is Fail.

## Why it happens on AKS
istiod of that revision is not ready, its Service is gone, a tag points to a removed revision, or a network policy blocks istiod's port 15017.

## How we know
The controller's events `FailedCreate` name the webhook. Without them, the webhook that selects the pod template has a Service without a ready endpoint.

## What to do
First repair istiod or its webhook: the finding above this one in the report says what is wrong with it. Kubernetes then retries by itself, with pauses that grow to about 16 minutes. A rollout restart retries at once.

## Sources
<https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#failure-policy>",
    run: refused,
};

/// The newest refusal by an Istio injector, per workload.
fn refusals<'a>(lens: &Lens<'a>) -> Result<BTreeMap<String, (Option<Timestamp>, &'a str)>, Missing> {
    lens.need(&[SourceId::RefusalEvents])?;
    let snapshot = lens.snapshot();
    let sets = lens.optional(SourceId::ReplicaSets, &snapshot.replica_sets);
    let parents: BTreeMap<_, _> = sets
        .iter()
        .filter_map(|set| {
            let parent = set.metadata.controller()?;
            Some((
                (set.metadata.namespace.as_str(), set.metadata.name.as_str()),
                (parent.kind.as_str(), parent.name.as_str()),
            ))
        })
        .collect();
    let mut found: BTreeMap<String, (Option<Timestamp>, &str)> = BTreeMap::new();
    for event in snapshot.refusal_events.items().unwrap_or_default() {
        if !is_injector_failure(&event.message.as_str()) {
            continue;
        }
        let about = &event.involved_object;
        let (kind, name) = parents
            .get(&(about.namespace.as_str(), about.name.as_str()))
            .filter(|_| about.kind == "ReplicaSet")
            .copied()
            .unwrap_or((&about.kind, &about.name));
        let entry = found.entry(format!("{}/{kind}/{name}", about.namespace)).or_insert((None, ""));
        if entry.0 <= event.last_seen() {
            *entry = (event.last_seen(), &event.message);
        }
    }
    Ok(found)
}

/// Whether the API server says that it could not ask Istio's injector.
fn is_injector_failure(message: &&str) -> bool {
    message.contains("failed calling webhook") && message.contains("sidecar-injector.istio.io")
}

fn refused(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let refusals = refusals(lens)?;
    let known = lens.rules().is_ok();
    let mut verdict = Verdict::default();
    for workload in lens.workloads()? {
        if workload.controller.is_none() {
            continue;
        }
        verdict.examined += 1;
        let refusal = refusals.get(&workload_key(workload));
        // What was refused an hour ago may be possible now: an old event counts only where the webhooks could not be
        // read. A fresh one counts although istiod looks well: then the way from the API server to it is cut.
        let fresh = refusal.and_then(|(seen, _)| *seen).is_some_and(|seen| lens.now().duration_since(seen) < FRESH);
        let unreachable = if known { workload.next.is_blocked() || fresh } else { refusal.is_some() };
        // A blocked rollout keeps its old pods, so that none is missing.
        let blocked =
            workload.controller.and_then(|controller| controller.failure.as_deref()).filter(is_injector_failure);
        let refused = (workload.missing() > 0 || blocked.is_some()) && unreachable;
        if !refused || opts_out(workload) && !workload.next.is_blocked() {
            continue;
        }
        let wanted = workload.controller.and_then(|controller| controller.desired).unwrap_or_default();
        let mut finding = Finding::new(
            subject(workload),
            if workload.missing() > 0 {
                format!(
                    "{}: {} of {wanted} pods run, as istiod's webhook is unreachable",
                    label(workload),
                    workload.pods.len()
                )
            } else {
                format!("{}: its rollout is stuck, as istiod's webhook is unreachable", label(workload))
            },
            if workload.missing() > 0 {
                "Kubernetes asks that webhook to add the sidecar, and refuses each new pod until it answers."
            } else {
                "Kubernetes refuses each new pod until that webhook answers; the old pods keep running."
            },
        )
        .key(KeyKind::Workload, workload_key(workload))
        .impact(impact(workload.missing() as usize))
        .evidence(
            SourceId::Deployments,
            object(workload),
            "pods",
            workload.pods.len().to_string(),
            (workload.missing() > 0).then(|| wanted.to_string()).as_deref(),
        );
        if let Some(revision) = &workload.next.revision {
            finding = finding.key(KeyKind::Revision, revision);
        }
        if let Some(webhook) = &workload.next.webhook {
            finding = finding.key(KeyKind::Webhook, webhook);
        }
        if let Some(message) = blocked.filter(|_| refusal.is_none()) {
            finding = finding.evidence(
                SourceId::Deployments,
                object(workload),
                "condition ReplicaFailure",
                super::remedies::quote(message),
                None,
            );
        }
        if let Some((_, message)) = refusal {
            finding = finding.evidence(
                SourceId::RefusalEvents,
                object(workload),
                "event FailedCreate",
                super::remedies::quote(message),
                None,
            );
        }
        let mut steps = vec![Step::command(
            Risk::Read,
            "shows why Kubernetes refuses the pods of this namespace",
            ["kubectl", "get", "events", "-n", workload.namespace, "--field-selector", "reason=FailedCreate"],
        )];
        steps.push(Step::text(
            Risk::Read,
            "first repair istiod or its webhook; Kubernetes then retries by itself, a restart retries at once",
        ));
        steps.extend(restart([workload]));
        verdict
            .findings
            .push(finding.remedy(Remedy::new("repair istiod or its webhook; the controller then tries again", steps)));
    }
    Ok(verdict)
}
