//! INJ: what labels of namespaces and pods ask for.

use super::remedies::{count, label_namespace, names, restart, subject, unlabel_namespace, workload_key};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::lens::{BLAST, OWNERS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::recommended;
use crate::mesh::injection::{INJECT, INJECTION, REV};
use crate::mesh::proxy::is_gateway_template;
use crate::mesh::workload::Workload;
use crate::model::Namespace;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area that look at labels.
pub static CHECKS: &[&Check] =
    &[&INJECTION_LABEL_ONLY, &BOTH_LABELS, &UNKNOWN_REVISION, &DEFAULT_REVISION, &POD_OPT_IN, &POD_REVISION, &AMBIENT];

/// Sources of a check on namespace labels and webhooks that also counts workloads.
pub const LABELS: &[SourceId] = &[
    SourceId::SystemPods,
    SourceId::SystemDeployments,
    SourceId::MutatingWebhooks,
    SourceId::SystemServices,
    SourceId::SystemEndpoints,
    SourceId::Namespaces,
];
/// Workloads of a namespace whose pods lack a proxy, for the remedy; empty where workloads could not be read.
fn without_proxy<'a>(lens: &Lens<'a>, namespace: &str) -> Vec<&'a Workload<'a>> {
    let wanted = |w: &&Workload<'_>| w.injected_pods() < w.pods.len() && !opts_out(w);
    lens.workloads_of(namespace).iter().filter(wanted).collect()
}

/// Whether a workload does not want a proxy, or cannot have one, whatever its namespace says.
pub fn opts_out(workload: &Workload<'_>) -> bool {
    workload.template().is_some_and(|(meta, spec)| {
        spec.host_network
            || meta.label(INJECT).or_else(|| meta.annotation(INJECT)).is_some_and(|value| value == "false")
    })
}

/// Judges the labels of each namespace that is not AKS's own; all of them count as examined.
pub fn judge_namespaces<'a>(
    lens: &Lens<'a>,
    mut judge: impl FnMut(&'a Namespace) -> Result<Option<Finding>, Missing>,
) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for namespace in lens.namespaces()? {
        verdict.examined += 1;
        if !lens.is_managed(&namespace.metadata.name) {
            verdict.findings.extend(judge(namespace)?);
        }
    }
    Ok(verdict)
}

/// A finding about labels that keep sidecars away, with the workloads that pay for it. They are restarted after the
/// fix; without a fix a restart is no help.
fn without_sidecars(
    lens: &Lens<'_>,
    namespace: &Namespace,
    summary: String,
    remedy: &str,
    mut fix: Vec<Step>,
) -> Finding {
    let name = &namespace.metadata.name;
    let without = without_proxy(lens, name);
    let mut finding = Finding::new(
        Subject::cluster("Namespace", name.clone()),
        summary,
        "New pods there start without a sidecar, outside the mesh. Kubernetes reports no error.",
    )
    .key(KeyKind::Namespace, name)
    .maybe_impact(lens.snapshot().pods.items().map(|_| Impact {
        namespaces: 1,
        workloads: without.len(),
        pods: without.iter().map(|workload| workload.pods.len() - workload.injected_pods()).sum(),
    }));
    for key in [REV, INJECTION] {
        if let Some(value) = namespace.metadata.label(key) {
            finding = finding.evidence(
                SourceId::Namespaces,
                format!("namespace/{name}"),
                format!("label {key}"),
                value,
                None,
            );
        }
    }
    if !fix.is_empty() {
        fix.extend(restart(without));
    }
    finding.remedy(Remedy::new(remedy, fix))
}

/// A revision label that resolves: an installed revision's or a tag's webhook carries it.
fn resolves(lens: &Lens<'_>, value: &str) -> Result<bool, Missing> {
    let by_webhook =
        lens.injectors()?.iter().any(|i| i.tag.as_deref() == Some(value) || (i.tag.is_none() && i.revision == value));
    // An installed revision whose webhook is missing is WHK01's story.
    Ok(by_webhook || lens.revisions()?.iter().any(|revision| revision.name == value))
}

static INJECTION_LABEL_ONLY: Check = Check {
    code: "INJ01",
    name: "injection-label-without-revision",
    title: "No namespace relies on istio-injection=enabled",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: LABELS,
    uses: BLAST,
    docs: "## What it means
A namespace has `istio-injection=enabled`, which the add-on ignores: new pods get no sidecar, and Kubernetes reports no error.

## Why it happens on AKS
Most Istio tutorials use that label. The add-on installs istiod under a revision name only, and its webhook selects `istio.io/rev=asm-X-Y`.

## How we know
The namespace's labels are compared with the selectors of all injecting webhooks in the cluster; none selects it.

## What to do
Remove the label, set `istio.io/rev` instead, then restart the workloads: a label acts only when a pod is created.

## What else looks like it
With both labels the finding is INJ02. With a self-managed Istio that does act on the label, the finding is CON01.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon#enable-sidecar-injection>",
    run: injection_label_only,
};

fn injection_label_only(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    judge_namespaces(lens, |namespace| {
        let meta = &namespace.metadata;
        if meta.label(INJECTION) != Some("enabled")
            || meta.label(REV).is_some()
            || injectors.iter().any(|injector| injector.takes(&meta.labels))
        {
            return Ok(None);
        }
        let mut fix = vec![unlabel_namespace(&meta.name, INJECTION)];
        fix.extend(recommended(revisions).map(|revision| label_namespace(&meta.name, revision)));
        Ok(Some(without_sidecars(
            lens,
            namespace,
            format!("namespace {} has istio-injection=enabled, which the add-on ignores", meta.name),
            "use the revision's label instead",
            fix,
        )))
    })
}

static BOTH_LABELS: Check = Check {
    code: "INJ02",
    name: "both-injection-labels",
    title: "No namespace has istio-injection beside istio.io/rev",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: &[SourceId::Namespaces],
    uses: BLAST,
    docs: "## What it means
A namespace has both `istio.io/rev` and `istio-injection`. The webhook of a revision skips every namespace that has `istio-injection`, whatever its value; and only the add-on's revisions inject here. So new pods get no sidecar, and Kubernetes reports no error.

## Why it happens on AKS
The revision's label was added during a move from self-managed Istio, and the old one stayed.

## How we know
The labels of the namespace.

## What to do
Remove `istio-injection`, then restart the workloads.

## Sources
<https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>, <https://istio.io/latest/docs/reference/config/analysis/ist0123/>",
    run: |lens| {
        // With a tag `default` there are entries that take such a namespace; without webhooks to read, the labels decide.
        let injectors = lens.injectors().unwrap_or_default();
        judge_namespaces(lens, |namespace| {
            let meta = &namespace.metadata;
            if meta.label(INJECTION).is_none()
                || meta.label(REV).is_none()
                || injectors.iter().any(|injector| injector.takes(&meta.labels))
            {
                return Ok(None);
            }
            Ok(Some(without_sidecars(
                lens,
                namespace,
                format!("namespace {} has istio-injection, which disables its istio.io/rev", meta.name),
                "keep only the revision's label",
                vec![unlabel_namespace(&meta.name, INJECTION)],
            )))
        })
    },
};

static UNKNOWN_REVISION: Check = Check {
    code: "INJ03",
    name: "revision-label-resolves-to-nothing",
    title: "Every istio.io/rev label of a namespace names an installed revision or tag",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: LABELS,
    uses: BLAST,
    docs: "## What it means
A namespace's `istio.io/rev` names a revision or tag that does not exist here. New pods get no sidecar, and Kubernetes reports no error; running pods keep the sidecar they have.

A tag is another name for a revision: a webhook of its own that sends the pods of `istio.io/rev=TAG` to the istiod of that revision.

## Why it happens on AKS
The label was copied from a page about another revision. Or an upgrade was completed or rolled back, which removed the revision, and the namespace was not moved before.

## How we know
The value is compared with the revisions of the istiods in `aks-istio-system` and with the revisions and tags of all injecting webhooks.

## What to do
Point the label at an installed revision, then restart the workloads.

## What else looks like it
When pods still run sidecars of the removed revision, the root finding is UPG04.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-minor-revision-upgrade>",
    run: unknown_revision,
};

fn unknown_revision(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let installed = names(revisions.iter().map(|revision| revision.name.as_str()));
    judge_namespaces(lens, |namespace| {
        let meta = &namespace.metadata;
        let Some(value) = meta.label(REV) else { return Ok(None) };
        if value == "default" || meta.label(INJECTION).is_some() || resolves(lens, value)? {
            return Ok(None);
        }
        let fix = recommended(revisions).map(|revision| label_namespace(&meta.name, revision));
        let finding = without_sidecars(
            lens,
            namespace,
            format!("namespace {} asks for revision {value}, which does not exist here", meta.name),
            "point the label at an installed revision",
            fix.into_iter().collect(),
        );
        Ok(Some(finding.key(KeyKind::Revision, value).evidence(
            SourceId::SystemDeployments,
            format!("namespace/{SYSTEM_NAMESPACE}"),
            "installed revisions",
            installed.clone(),
            None,
        )))
    })
}

static DEFAULT_REVISION: Check = Check {
    code: "INJ04",
    name: "default-revision-without-tag",
    title: "istio.io/rev=default is backed by a tag",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: LABELS,
    uses: BLAST,
    docs: "## What it means
A namespace has `istio.io/rev=default`. The add-on installs no default revision, and nobody set a tag of that name: new pods get no sidecar, and Kubernetes reports no error.

## Why it happens on AKS
`default` is the revision of a self-managed Istio without revisions.

## How we know
No injecting webhook carries the revision or tag `default`.

## What to do
Set the label to an installed revision, then restart the workloads.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels>",
    run: |lens| {
        let revisions = lens.revisions()?;
        judge_namespaces(lens, |namespace| {
            let meta = &namespace.metadata;
            if meta.label(REV) != Some("default") || meta.label(INJECTION).is_some() || resolves(lens, "default")? {
                return Ok(None);
            }
            let fix = recommended(revisions).map(|revision| label_namespace(&meta.name, revision));
            Ok(Some(without_sidecars(
                lens,
                namespace,
                format!("namespace {} asks for revision default, which AKS does not install", meta.name),
                "name the revision in the label",
                fix.into_iter().collect(),
            )))
        })
    },
};

/// Sources of checks on the labels of workloads.
const TEMPLATES: &[SourceId] = crate::engine::lens::WORKLOADS;

/// Workloads whose own labels count: not managed, no gateway.
fn candidates<'a>(lens: &Lens<'a>) -> Result<impl Iterator<Item = &'a Workload<'a>>, Missing> {
    let managed = |namespace: &str| lens.is_managed(namespace);
    Ok(lens
        .workloads()?
        .iter()
        .filter(|w| {
            !managed(w.namespace) && w.template().is_some_and(|(meta, _)| !is_gateway_template(&meta.annotations))
        })
        .collect::<Vec<_>>()
        .into_iter())
}

static POD_OPT_IN: Check = Check {
    code: "INJ08",
    name: "pod-opt-in-without-revision",
    title: "No workload relies on sidecar.istio.io/inject=true alone",
    area: Area::Injection,
    severity: Severity::Warning,
    inputs: TEMPLATES,
    uses: BLAST,
    docs: "## What it means
A pod template has `sidecar.istio.io/inject: true` in a namespace without a revision. With the add-on that does nothing: its webhooks select by `istio.io/rev` only.

## Why it happens on AKS
With an Istio that was installed without a revision name, the pod label alone is enough.

## How we know
The template's label or annotation, and the absence of `istio.io/rev` on both the pod template and the namespace.

## What to do
Label the namespace with the revision, then restart the workload.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon#enable-sidecar-injection>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for workload in candidates(lens)? {
            verdict.examined += 1;
            let Some((meta, _)) = workload.template() else { continue };
            let asked = meta.label(INJECT).or_else(|| meta.annotation(INJECT)) == Some("true");
            let labels = lens.namespace_labels(workload.namespace);
            let revisioned = meta.label(REV).is_some()
                || labels.is_none_or(|labels| labels.contains_key(REV) || labels.contains_key(INJECTION));
            // With a tag `default` there are entries that such a label is enough for.
            let selected = lens.rules().is_ok() && workload.next.injected == Some(true);
            if !asked || revisioned || selected || workload.injected_pods() > 0 {
                continue;
            }
            verdict.findings.push(
                Finding::new(
                    subject(workload),
                    format!("{}/{} in {} asks for a sidecar; {} has no istio.io/rev", workload.kind.to_lowercase(), workload.name, workload.namespace, workload.namespace),
                    "Its pods start without a sidecar, outside the mesh. Kubernetes reports no error.",
                )
                .key(KeyKind::Workload, workload_key(workload))
                .remedy(Remedy::new(
                    "label the namespace with a revision",
                    vec![Step {
                        text: "gives all new pods of the namespace a sidecar".to_owned(),
                        ..label_namespace(workload.namespace, "<revision>")
                    }]
                    .into_iter()
                    .chain(restart([workload]))
                    .collect(),
                ))
                .evidence(SourceId::Pods, format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name), format!("pod template {INJECT}"), "true", None),
            );
        }
        Ok(verdict)
    },
};

static POD_REVISION: Check = Check {
    code: "INJ09",
    name: "revision-on-pod",
    title: "Revisions are chosen by namespaces, not by pods",
    area: Area::Injection,
    severity: Severity::Info,
    inputs: TEMPLATES,
    uses: OWNERS,
    docs: "## What it means
A pod template carries `istio.io/rev` itself. In a namespace without the label it works; in one with the label the namespace wins and the pod's label is ignored. Microsoft documents the namespace's label only.

## Why it happens on AKS
Single workloads were moved to another revision during an upgrade.

## How we know
The labels of the pod template and of the namespace.

## What to do
Label the namespace, and remove the label from the template.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-minor-revision-upgrade>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for workload in candidates(lens)? {
            verdict.examined += 1;
            // Only a controller's template: the labels of running pods may have been completed by others.
            let Some(value) = workload.controller.and_then(|c| c.template.metadata.label(REV)) else { continue };
            let Some(labels) = lens.namespace_labels(workload.namespace) else { continue };
            let ignored = labels.get(REV).is_some_and(|own| own != value);
            let detail = match labels.get(REV) {
                Some(own) if ignored => format!("Its namespace says {own}, and that wins: the label of the pods does nothing."),
                _ => "It works, but Microsoft documents only the label of the namespace.".to_owned(),
            };
            verdict.findings.push(
                Finding::new(
                    subject(workload),
                    format!("{}/{} in {} names revision {value} in its pod template", workload.kind.to_lowercase(), workload.name, workload.namespace),
                    detail,
                )
                .key(KeyKind::Workload, workload_key(workload))
                .remedy(Remedy::new("choose the revision by the namespace's label", Vec::new()))
                .evidence(SourceId::Namespaces, format!("namespace/{}", workload.namespace), format!("label {REV}"), labels.get(REV).map_or("absent", String::as_str), None),
            );
        }
        Ok(verdict)
    },
};

static AMBIENT: Check = Check {
    code: "INJ10",
    name: "ambient-label",
    title: "No namespace or workload asks for ambient mode",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: TEMPLATES,
    uses: OWNERS,
    docs: "## What it means
A namespace or pod template has `istio.io/dataplane-mode=ambient`. The add-on has no ambient mode, so the label does nothing: traffic there is not in the mesh.

## Why it happens on AKS
The label comes from Istio's ambient pages.

## How we know
The labels of namespaces and pod templates.

## What to do
Remove the label and use a revision's label for sidecars.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: |lens| {
        const MODE: &str = "istio.io/dataplane-mode";
        let mut verdict = Verdict::default();
        for namespace in lens.namespaces()? {
            verdict.examined += 1;
            let name = &namespace.metadata.name;
            if namespace.metadata.label(MODE) != Some("ambient") || lens.is_managed(name) {
                continue;
            }
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("Namespace", name.clone()),
                    format!("namespace {name} asks for ambient mode, which the add-on lacks"),
                    "The label does nothing. Pods without a sidecar are outside the mesh: no mutual TLS, no mesh policies.",
                )
                .key(KeyKind::Namespace, name)
                .remedy(Remedy::new("remove the label", vec![unlabel_namespace(name, MODE)]))
                .evidence(SourceId::Namespaces, format!("namespace/{name}"), format!("label {MODE}"), "ambient", None),
            );
        }
        let asking: Vec<_> = candidates(lens)?
            .inspect(|_| verdict.examined += 1)
            .filter(|w| w.template().is_some_and(|(meta, _)| meta.label(MODE) == Some("ambient")))
            .collect();
        for workload in &asking {
            verdict.findings.push(
                Finding::new(
                    subject(workload),
                    format!("{}/{} in {} asks for ambient mode, which the add-on lacks", workload.kind.to_lowercase(), workload.name, workload.namespace),
                    format!("The label does nothing: its {} not in ambient mode.", if workload.pods.len() == 1 { "1 pod is".to_owned() } else { format!("{} are", count(workload.pods.len(), "pod")) }),
                )
                .key(KeyKind::Workload, workload_key(workload))
                .remedy(Remedy::new("remove the label from its pod template", vec![Step::text(Risk::Change, format!("remove the label {MODE} from the pod template in its manifest"))]))
                .evidence(SourceId::Pods, format!("{}/{}/{}", workload.namespace, workload.kind.to_lowercase(), workload.name), format!("pod template label {MODE}"), "ambient", None),
            );
        }
        Ok(verdict)
    },
};
