//! CNI: namespaces whose Pod Security Standard refuses the privileged init container.

use jiff::SignedDuration;

use super::cni::{impact, switch};
use super::remedies::{count, quote, restart};
use super::stranded::VERDICTS_USE;
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::injection::REV;
use crate::mesh::proxy::is_gateway_template;
use crate::mesh::redirection::{self, Configured, FIRST_WITH_CNI, INIT_CONTAINER, Mechanism};
use crate::mesh::revision::AsmRevision;
use crate::mesh::workload::Workload;
use crate::model::{Event, Namespace};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// The label by which a namespace enforces a standard; `privileged` and an absent label allow everything.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
/// Controllers repeat a refused creation with pauses of up to about 16 minutes.
const FRESH: SignedDuration = SignedDuration::from_mins(20);

/// The check of this file.
pub static POD_SECURITY: Check = Check {
    code: "CNI05",
    name: "pod-security-refuses-init-container",
    title: "No namespace refuses the init container that its pods get",
    area: Area::Cni,
    severity: Severity::Error,
    inputs: &[
        SourceId::Namespaces,
        SourceId::RefusalEvents,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
    ],
    uses: VERDICTS_USE,
    docs: "## What it means
A namespace enforces the Pod Security Standard `baseline` or `restricted`, and its pods get the init container `istio-init`, which needs the capabilities NET_ADMIN and NET_RAW. Both standards forbid these: Kubernetes refuses new pods with a sidecar there. Running pods stay.

## Why it happens on AKS
The add-on's mechanism is `InitContainers`: the default up to asm-1-29, and kept by upgrades. With AKS Automatic, or by a label, namespaces enforce a standard.

## How we know
The namespace's label `pod-security.kubernetes.io/enforce`, the injector's setting `pilot.cni.enabled`, and which workloads are injected at their next restart. It is an error when a recent event `FailedCreate` says that `istio-init` violates the standard, a warning when workloads there would be refused, and an info when there are none yet.

## What to do
Switch to Istio's CNI plugin (asm-1-25 or newer): pods then get an init container without capabilities. Restart the workloads afterwards. Setting the namespace to `privileged` works too, but gives up what the standard protects from.

## Sources
<https://kubernetes.io/docs/concepts/security/pod-security-standards/>, <https://learn.microsoft.com/azure/aks/istio-cni>",
    run: pod_security,
};

/// The newest fresh refusal in a namespace that names the init container.
fn refusal<'a>(lens: &Lens<'a>, namespace: &str) -> Option<&'a Event> {
    let is_recent = |event: &&Event| event.last_seen().is_some_and(|seen| lens.now().duration_since(seen) < FRESH);
    let is_about = |event: &&Event| {
        event.involved_object.namespace == namespace
            && event.message.contains("violates PodSecurity")
            && event.message.contains(INIT_CONTAINER)
    };
    let events = lens.snapshot().refusal_events.items().unwrap_or_default();
    events.iter().filter(is_about).filter(is_recent).max_by_key(|event| event.last_seen())
}

/// Whether a workload's next pod gets the privileged init container, and of which revision.
fn gets_init_container(workload: &Workload<'_>, is_init: impl Fn(&str) -> bool) -> bool {
    let redirects = workload.template().is_some_and(|(meta, _)| {
        !is_gateway_template(&meta.annotations) && meta.annotation("sidecar.istio.io/interceptionMode") != Some("NONE")
    });
    redirects && workload.next.injected == Some(true) && workload.next.revision.as_deref().is_some_and(is_init)
}

fn pod_security(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::RefusalEvents])?;
    lens.rules()?;
    lens.workloads()?;
    let injectors = lens.injectors()?;
    let configured = redirection::configured(lens.snapshot());
    let is_init = |revision: &str| {
        configured.get(revision).is_some_and(|configured| configured.mechanism == Mechanism::InitContainers)
    };
    let mut verdict = Verdict::default();
    for namespace in lens.namespaces()? {
        let meta = &namespace.metadata;
        let Some(level) = meta.label(ENFORCE).filter(|level| matches!(*level, "baseline" | "restricted")) else {
            continue;
        };
        let revision = meta.label(REV).and_then(|label| {
            let by_name = |i: &&crate::mesh::webhook::Injector<'_>| {
                i.is_of_addon() && i.tag.as_deref().unwrap_or(&i.revision) == label
            };
            injectors.iter().find(by_name).map(|injector| injector.revision.as_str())
        });
        let workloads: Vec<_> =
            lens.workloads_of(&meta.name).iter().filter(|workload| gets_init_container(workload, is_init)).collect();
        let asked = revision.or_else(|| workloads.first().and_then(|workload| workload.next.revision.as_deref()));
        let Some(revision) = asked.filter(|_| !lens.is_managed(&meta.name)) else { continue };
        verdict.examined += 1;
        let Some(config) = configured.get(revision).filter(|_| is_init(revision)) else { continue };
        // Nobody there wants a sidecar although the label would give one.
        if workloads.is_empty() && !lens.workloads_of(&meta.name).is_empty() {
            continue;
        }
        verdict.findings.push(finding(namespace, level, revision, config, &workloads, refusal(lens, &meta.name)));
    }
    Ok(verdict)
}

/// A Deployment that says itself that its newest pods are refused for this reason.
fn refused<'w>(workloads: &[&'w Workload<'_>]) -> Option<(&'w Workload<'w>, &'w str)> {
    workloads.iter().find_map(|workload| {
        let message = workload.controller.and_then(|controller| controller.failure.as_deref())?;
        (message.contains("violates PodSecurity") && message.contains(INIT_CONTAINER)).then_some((*workload, message))
    })
}

fn finding(
    namespace: &Namespace,
    level: &str,
    revision: &str,
    config: &Configured<'_>,
    workloads: &[&Workload<'_>],
    refusal: Option<&Event>,
) -> Finding {
    let name = &namespace.metadata.name;
    let refused = refused(workloads);
    let (summary, detail, severity) = match (refusal.is_some() || refused.is_some(), workloads.len()) {
        (true, _) => (
            format!("namespace {name} refuses istio-init: it enforces Pod Security {level}"),
            "New pods with a sidecar are refused: their init container istio-init needs NET_ADMIN and NET_RAW."
                .to_owned(),
            Severity::Error,
        ),
        (false, 0) => (
            format!("namespace {name} will refuse istio-init: it enforces Pod Security {level}"),
            "It has no workload yet. Pods with a sidecar will be refused there.".to_owned(),
            Severity::Info,
        ),
        (false, number) => (
            format!("namespace {name} will refuse istio-init: it enforces Pod Security {level}"),
            format!(
                "New pods of {} will be refused; running ones stay. istio-init needs NET_ADMIN and NET_RAW.",
                count(number, "workload")
            ),
            Severity::Warning,
        ),
    };
    let supported = AsmRevision::parse(revision).is_some_and(|r| (r.major, r.minor) >= FIRST_WITH_CNI);
    let mut steps = Vec::new();
    if !supported {
        steps.push(Step::command(
            Risk::Read,
            "shows the revisions that you can upgrade to; the CNI plugin needs asm-1-25 or newer",
            ["az", "aks", "mesh", "get-upgrades", "-g", "<resource-group>", "-n", "<cluster>"],
        ));
    }
    steps.push(switch(
        "CNIChaining",
        "redirects traffic with a plugin on the nodes; new pods then need no capabilities for it",
    ));
    steps.extend(restart(workloads.iter().copied()));
    let mut finding = Finding::new(Subject::cluster("Namespace", name.clone()), summary, detail)
        .key(KeyKind::Namespace, name)
        .at_most(severity)
        .impact(impact(workloads, workloads.iter().map(|workload| workload.pods.len()).sum()))
        .remedy(Remedy::new("redirect traffic with Istio's CNI plugin", steps))
        .evidence(
            SourceId::Namespaces,
            format!("namespace/{name}"),
            format!("label {ENFORCE}"),
            level,
            Some("privileged, or Istio's CNI plugin"),
        )
        .evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{}", config.map),
            "values, pilot.cni.enabled",
            "false",
            Some("true"),
        );
    if let Some((workload, message)) = refused {
        let object = format!("{name}/{}/{}", workload.kind.to_lowercase(), workload.name);
        finding = finding.evidence(SourceId::Deployments, object, "condition ReplicaFailure", quote(message), None);
    }
    if let Some(event) = refusal {
        let about = &event.involved_object;
        let object = format!("{name}/{}/{}", about.kind.to_lowercase(), about.name);
        finding = finding.evidence(SourceId::RefusalEvents, object, "event FailedCreate", quote(&event.message), None);
    }
    finding
}
