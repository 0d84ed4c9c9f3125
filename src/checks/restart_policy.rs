//! NSC: native sidecars that lost what makes them sidecars.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::cni::impact;
use super::remedies::{names, quote, workload_key};
use super::stranded::VERDICTS_USE;
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::injection::Candidate;
use crate::mesh::native::ANNOTATION;
use crate::mesh::proxy::PROXY_CONTAINER;
use crate::mesh::webhook::is_injector_entry;
use crate::mesh::workload::Workload;
use crate::model::meta::StringMap;
use crate::model::{Event, Pod};
use crate::snapshot::SourceId;

/// What the API server says (`validateInitContainers` in `pkg/apis/core/validation/validation.go` of
/// kubernetes/kubernetes) of an init container with probes or hooks that is no sidecar.
const REFUSAL: &str = "may not be set for init containers without restartPolicy=Always";
/// Controllers repeat a refused creation with pauses of up to about 16 minutes.
const FRESH: SignedDuration = SignedDuration::from_mins(20);

/// The check of this file.
pub static RESTART_POLICY: Check = Check {
    code: "NSC04",
    name: "native-sidecar-without-restart-policy",
    title: "No other webhook breaks native sidecars",
    area: Area::NativeSidecars,
    severity: Severity::Error,
    inputs: &[
        SourceId::RefusalEvents,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::Namespaces,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
    ],
    uses: VERDICTS_USE,
    docs: "## What it means
A native sidecar is an init container with `restartPolicy: Always`. Another webhook that changes the same pods took that field away. Kubernetes then refuses the pod, or runs the sidecar as an ordinary init container that never ends, so that the application never starts.

## Why it happens on AKS
A webhook that was built before Kubernetes 1.28 does not know the field and drops it when it writes the pod back. It is called after Istio's, or once more because of its `reinvocationPolicy`. Old versions of the workload identity webhook (`azure-wi-webhook`), of the OpenTelemetry operator and of Datadog's agent did so.

## How we know
A recent event `FailedCreate` of a workload of the mesh says that a field may not be set for init containers without `restartPolicy=Always`, or a pod has `istio-proxy` as an init container without it. The webhooks named are those, other than Istio's, whose selectors take in such pods.

## What to do
Upgrade the component that the webhook belongs to. Until then the annotation `sidecar.istio.io/nativeSidecar: \"false\"` on the pod template gives the workload a classic sidecar.

## Sources
<https://github.com/istio/istio/issues/49221>, <https://github.com/Azure/azure-workload-identity/issues/1312>, <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>",
    run: restart_policy,
};

/// Who is broken, and by what one sees it.
struct Broken<'a> {
    kind: String,
    namespace: &'a str,
    name: String,
    workload: Option<&'a Workload<'a>>,
    refusal: Option<&'a Event>,
    failure: Option<&'a str>,
    pod: Option<&'a Pod>,
}

fn restart_policy(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::RefusalEvents])?;
    let rules = lens.rules()?;
    let mut refusals = refusals(lens);
    let mut verdict = Verdict::default();
    let mut broken = Vec::new();
    for workload in lens.workloads()? {
        let refusal = refusals.remove(&workload_key(workload));
        let pod = workload.pods.iter().map(|(pod, _)| *pod).find(|pod| is_stripped(pod));
        if workload.next.injected != Some(true) && pod.is_none() {
            continue;
        }
        verdict.examined += 1;
        // A Deployment says itself whether its newest pods are refused; of the others an event counts while pods are
        // missing. Otherwise it is from before the repair.
        let failure =
            workload.controller.and_then(|c| c.failure.as_deref()).filter(|message| message.contains(REFUSAL));
        let still =
            workload.missing() > 0 || workload.controller.is_none_or(|c| c.desired.is_none()) || failure.is_some();
        let refusal = refusal.filter(|_| still);
        if refusal.is_some() || failure.is_some() || pod.is_some() {
            let (kind, name) = (workload.kind.clone(), workload.name.clone());
            let namespace = workload.namespace;
            broken.push(Broken { kind, namespace, name, workload: Some(workload), refusal, failure, pod });
        }
    }
    // A Job without pods is no workload here.
    for event in refusals.into_values() {
        let about = &event.involved_object;
        let nothing = StringMap::new();
        let candidate =
            Candidate { namespace: &about.namespace, labels: &nothing, annotations: &nothing, host_network: false };
        if about.kind == "Job" && rules.verdict(candidate).injected == Some(true) {
            verdict.examined += 1;
            let (kind, name) = (about.kind.clone(), about.name.clone());
            broken.push(Broken {
                kind,
                namespace: &about.namespace,
                name,
                workload: None,
                refusal: Some(event),
                failure: None,
                pod: None,
            });
        }
    }
    verdict.findings.extend(broken.iter().map(|broken| finding(lens, broken)));
    Ok(verdict)
}

/// Whether the sidecar is an ordinary init container.
fn is_stripped(pod: &Pod) -> bool {
    let is_proxy = |name: &str, image: &str| name == PROXY_CONTAINER && image != "auto";
    pod.spec.init_containers.iter().any(|c| is_proxy(&c.name, &c.image) && c.restart_policy != "Always")
        && !pod.spec.containers.iter().any(|c| c.name == PROXY_CONTAINER)
}

/// The newest fresh refusal per owner.
fn refusals<'a>(lens: &Lens<'a>) -> BTreeMap<String, &'a Event> {
    let snapshot = lens.snapshot();
    let sets = lens.optional(SourceId::ReplicaSets, &snapshot.replica_sets);
    let mut found: BTreeMap<String, &Event> = BTreeMap::new();
    for event in snapshot.refusal_events.items().unwrap_or_default() {
        let fresh = event.last_seen().is_some_and(|seen| lens.now().duration_since(seen) < FRESH);
        if !fresh || !event.message.contains(REFUSAL) {
            continue;
        }
        let about = &event.involved_object;
        let set = sets.iter().find(|set| set.metadata.name == about.name && set.metadata.namespace == about.namespace);
        let parent = set.filter(|_| about.kind == "ReplicaSet").and_then(|set| set.metadata.controller());
        let (kind, name) =
            parent.map_or((about.kind.as_str(), &about.name), |parent| (parent.kind.as_str(), &parent.name));
        let entry = found.entry(format!("{}/{kind}/{name}", about.namespace)).or_insert(event);
        if entry.last_seen() < event.last_seen() {
            *entry = event;
        }
    }
    found
}

/// Configurations of other webhooks that take in such pods, as far as selectors tell.
fn suspects<'a>(lens: &Lens<'a>, broken: &Broken<'_>) -> BTreeSet<&'a str> {
    let namespace = lens.namespace_labels(broken.namespace);
    let labels = broken.workload.and_then(Workload::template).map(|(meta, _)| &meta.labels);
    lens.snapshot()
        .mutating_webhooks
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|configuration| {
            configuration.webhooks.iter().any(|entry| {
                !is_injector_entry(entry)
                    && entry.sees_pod_creation()
                    && namespace.is_none_or(|labels| entry.namespace_selector.matches(labels) != Some(false))
                    && labels.is_none_or(|labels| entry.object_selector.matches(labels) != Some(false))
            })
        })
        .map(|configuration| configuration.metadata.name.as_str())
        .collect()
}

fn finding(lens: &Lens<'_>, broken: &Broken<'_>) -> Finding {
    let Broken { kind, namespace, name, workload, refusal, failure, pod } = broken;
    let lower = kind.to_lowercase();
    let suspects = suspects(lens, broken);
    let (what, detail) = match (refusal, failure) {
        (Some(_), _) | (_, Some(_)) => (
            "gets no new pods",
            "Kubernetes refuses them: without restartPolicy: Always the native sidecar is invalid.",
        ),
        (None, None) => (
            "hangs",
            "Without restartPolicy: Always the sidecar blocks the containers after it: the application never starts.",
        ),
    };
    let missing = workload.map_or(0, |workload| workload.missing() as usize);
    let pods = workload.map_or(0, |w| w.pods.iter().filter(|(pod, _)| is_stripped(pod)).count());
    let impact = match workload {
        Some(workload) => impact(&[workload], missing + pods),
        None => Impact { namespaces: 1, workloads: 1, pods: 0 },
    };
    let mut finding = Finding::new(
        Subject::new(kind.clone(), *namespace, name.clone()),
        format!("{lower}/{name} in {namespace} {what}: a webhook breaks its sidecar"),
        detail,
    )
    .key(KeyKind::Workload, format!("{namespace}/{kind}/{name}"))
    .key(KeyKind::Namespace, *namespace)
    .impact(impact);
    if let Some(event) = refusal {
        let about = &event.involved_object;
        let object = format!("{namespace}/{}/{}", about.kind.to_lowercase(), about.name);
        finding = finding.evidence(SourceId::RefusalEvents, object, "event FailedCreate", quote(&event.message), None);
    }
    if let Some(failure) = failure {
        let object = format!("{namespace}/{lower}/{name}");
        finding = finding.evidence(SourceId::Deployments, object, "condition ReplicaFailure", *failure, None);
    }
    if let Some(pod) = pod {
        finding = finding.evidence(
            SourceId::Pods,
            format!("{namespace}/pod/{}", pod.metadata.name),
            "init container istio-proxy, restartPolicy",
            "absent",
            Some("Always"),
        );
    }
    let others = if suspects.is_empty() { "none".to_owned() } else { names(suspects.iter().copied()) };
    finding = finding.evidence(
        SourceId::MutatingWebhooks,
        format!("namespace/{namespace}"),
        "other webhooks for its pods",
        &others,
        None,
    );
    let mut steps = Vec::new();
    if suspects.is_empty() {
        let all = ["kubectl", "get", "mutatingwebhookconfigurations"];
        steps.push(Step::command(
            Risk::Read,
            "shows the webhooks that change pods; one of them removes restartPolicy",
            all,
        ));
    }
    for suspect in &suspects {
        finding = finding
            .key(KeyKind::Webhook, *suspect)
            .related(&Subject::cluster("MutatingWebhookConfiguration", *suspect), "changes these pods, too");
        let describe = ["kubectl", "describe", "mutatingwebhookconfiguration", suspect];
        steps.push(Step::command(Risk::Read, "shows which component the webhook calls", describe));
    }
    steps.push(Step::text(
        Risk::Change,
        "upgrade that component to a version built for Kubernetes 1.28 or newer, which keeps restartPolicy",
    ));
    if matches!(kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
        let patch =
            serde_json::json!({"spec": {"template": {"metadata": {"annotations": {ANNOTATION: "false"}}}}}).to_string();
        steps.push(Step::command(
            Risk::Restart,
            "until then: gives it a classic sidecar, an ordinary container, and replaces its pods",
            ["kubectl", "patch", &lower, name, "-n", namespace, "-p", &patch],
        ));
    }
    finding.remedy(Remedy::new("upgrade the webhook that takes restartPolicy away", steps))
}
