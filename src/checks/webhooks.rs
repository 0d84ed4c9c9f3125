//! WHK: injecting webhooks and tags.

use super::remedies::{names, reconcile, set_tag};
use crate::engine::finding::KeyKind;
use crate::engine::lens::BLAST;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::{recommended, tags};
use crate::mesh::injection::REV;
use crate::mesh::webhook::{Backend, Injector};
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&INJECTOR_MISSING, &SERVICE_GONE, &TAG_OF_ABSENT_REVISION];

const INPUTS: &[SourceId] = &[
    SourceId::MutatingWebhooks,
    SourceId::SystemServices,
    SourceId::SystemEndpoints,
    SourceId::SystemPods,
    SourceId::SystemDeployments,
];

/// A webhook configuration as a subject.
pub(super) fn webhook(injector: &Injector<'_>) -> Subject {
    Subject::cluster("MutatingWebhookConfiguration", injector.name())
}

static INJECTOR_MISSING: Check = Check {
    code: "WHK01",
    name: "injector-missing",
    title: "Every revision has its injecting webhook",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: INPUTS,
    uses: &[SourceId::WebhookServices, SourceId::WebhookEndpoints],
    docs: "## What it means
A revision is installed, but no webhook calls its injector: namespaces labelled for it get no sidecars, and Kubernetes reports nothing.

## Why it happens on AKS
Somebody deleted the MutatingWebhookConfiguration, mostly while cleaning up another Istio.

## How we know
No MutatingWebhookConfiguration labelled `istio.io/rev=REVISION` without a tag calls the Service of that revision.

## What to do
Let AKS write it again.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let injectors = lens.injectors()?;
        let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
        for revision in revisions {
            let name = &revision.name;
            if injectors.iter().any(|i| i.is_of_addon() && i.tag.is_none() && i.revision == *name) {
                continue;
            }
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("Revision", name.clone()),
                    format!("revision {name} has no webhook that adds sidecars"),
                    "New pods in its namespaces start without a sidecar, outside the mesh. Kubernetes reports no error.",
                )
                .key(KeyKind::Revision, name)
                .remedy(Remedy::new("let AKS write the webhook again", vec![reconcile("writes the webhook again")]))
                .evidence(
                    SourceId::MutatingWebhooks,
                    format!("mutatingwebhookconfiguration/istio-sidecar-injector-{name}-aks-istio-system"),
                    "exists",
                    "no",
                    Some("yes"),
                ),
            );
        }
        Ok(verdict)
    },
};

static SERVICE_GONE: Check = Check {
    code: "WHK02",
    name: "webhook-service-gone",
    title: "Every injecting webhook points to a Service that exists",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: INPUTS,
    uses: BLAST,
    docs: "## What it means
A webhook that adds sidecars calls a Service that does not exist. Mostly it is that of a tag: another name for a revision, which namespaces can have in `istio.io/rev`. Its failure policy is Fail, so the API server refuses every new pod it selects; running pods go on until they are restarted.

## Why it happens on AKS
`istioctl tag set` copies the Service of the revision at that moment. When the revision is removed, by completing or rolling back an upgrade, the tag still points there.

## How we know
The webhook's Service reference is compared with the Services of its namespace.

## What to do
Point the tag to an installed revision. Delete the webhook of a removed revision.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://istio.io/latest/docs/setup/upgrade/canary/>",
    run: service_gone,
};

fn service_gone(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    let mut verdict = Verdict { examined: injectors.len(), ..Verdict::default() };
    for injector in injectors {
        let (Backend::NoService, Some(service)) = (&injector.backend, &injector.service) else { continue };
        let name = injector.name();
        let radius = lens.blast_radius(|w| w.next.is_blocked() && w.next.webhook.as_deref() == Some(name));
        let used = used_by(lens, injector);
        // A run about some namespaces leaves out what none of them uses.
        let concerns = !used.is_empty() || radius.is_some_and(|radius| radius.workloads > 0);
        if lens.snapshot().scope.namespaces.is_some() && !concerns {
            continue;
        }
        let installed = revisions.iter().any(|revision| revision.name == injector.revision);
        let what = injector.tag.as_ref().map_or_else(|| name.to_owned(), |tag| format!("of tag {tag}"));
        let detail = match (injector.fails_closed(), used.is_empty()) {
            (true, false) => format!(
                "Kubernetes refuses all new pods in {}. Running pods go on until they are restarted.",
                names(used.iter().copied())
            ),
            (true, true) => {
                "No namespace uses it now. In the first one that does, Kubernetes refuses all new pods.".to_owned()
            }
            (false, _) => {
                "New pods that it selects start without a sidecar, outside the mesh. Kubernetes reports no error."
                    .to_owned()
            }
        };
        let steps = match (&injector.tag, recommended(revisions), installed) {
            (Some(tag), Some(revision), _) => vec![set_tag(tag, revision)],
            (None, _, true) => vec![reconcile("writes the Service again")],
            _ => vec![Step::command(
                Risk::Change,
                "deletes the webhook; pods that it selects then start, but without a sidecar",
                ["kubectl", "delete", "mutatingwebhookconfiguration", name],
            )],
        };
        let severity = if used.is_empty() { Severity::Warning } else { Severity::Error };
        verdict.findings.push(
            Finding::new(
                webhook(injector),
                format!("webhook {what} calls service {}, which is gone", service.name),
                detail,
            )
            .at_most(severity)
            .key(KeyKind::Webhook, name)
            .key(KeyKind::Revision, &injector.revision)
            .maybe_impact(radius)
            .remedy(Remedy::new("point the webhook to a Service that exists", steps))
            .evidence(
                SourceId::MutatingWebhooks,
                format!("mutatingwebhookconfiguration/{name}"),
                "clientConfig.service",
                format!("{}/{}", service.namespace, service.name),
                Some("an existing Service"),
            )
            .evidence(
                SourceId::MutatingWebhooks,
                format!("mutatingwebhookconfiguration/{name}"),
                "failurePolicy",
                if injector.fails_closed() { "Fail" } else { "Ignore" },
                None,
            ),
        );
    }
    Ok(verdict)
}

/// Namespaces that the webhook's selectors take in as a whole.
pub(super) fn used_by<'a>(lens: &Lens<'a>, injector: &Injector<'_>) -> Vec<&'a str> {
    let name = injector.tag.as_deref().unwrap_or(&injector.revision);
    let namespaces = lens.optional(SourceId::Namespaces, &lens.snapshot().namespaces);
    namespaces
        .iter()
        .filter(|namespace| lens.snapshot().scope.contains(&namespace.metadata.name))
        .filter(|namespace| namespace.metadata.label(REV) == Some(name))
        .filter(|namespace| {
            injector.entries().any(|entry| entry.namespace_selector.matches(&namespace.metadata.labels) == Some(true))
        })
        .map(|namespace| namespace.metadata.name.as_str())
        .collect()
}

static TAG_OF_ABSENT_REVISION: Check = Check {
    code: "WHK07",
    name: "tag-of-absent-revision",
    title: "Every tag stands for an installed revision",
    area: Area::Webhooks,
    severity: Severity::Warning,
    inputs: INPUTS,
    uses: &[SourceId::WebhookServices, SourceId::WebhookEndpoints],
    docs: "## What it means
A tag is another name for a revision, which namespaces can have in `istio.io/rev`; it is a webhook of its own. This one names a revision that is not installed, although the Service it calls still exists. That misleads people and tools, and once that Service is removed, new pods are refused.

## Why it happens on AKS
The tag's webhook was edited by hand, or half of a removed revision is left.

## How we know
The label `istio.io/rev` of the tag's webhook is compared with the installed revisions.

## What to do
Set the tag again.

## Sources
<https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let tags = tags(lens.injectors()?);
        let mut verdict = Verdict { examined: tags.len(), ..Verdict::default() };
        for tag in tags {
            if !tag.injector.is_of_addon()
                || tag.injector.backend == Backend::NoService
                || revisions.iter().any(|revision| revision.name == tag.revision)
            {
                continue;
            }
            let steps = recommended(revisions).map(|revision| set_tag(&tag.name, revision)).into_iter().collect();
            verdict.findings.push(
                Finding::new(
                    webhook(tag.injector),
                    format!("tag {} names revision {}, which is not installed", tag.name, tag.revision),
                    "It still works through the Service it calls; once that is removed, Kubernetes refuses new pods.",
                )
                .key(KeyKind::Webhook, tag.injector.name())
                .key(KeyKind::Revision, &tag.revision)
                .remedy(Remedy::new("set the tag again", steps))
                .evidence(
                    SourceId::MutatingWebhooks,
                    format!("mutatingwebhookconfiguration/{}", tag.injector.name()),
                    "label istio.io/rev",
                    tag.revision.clone(),
                    Some("an installed revision"),
                ),
            );
        }
        Ok(verdict)
    },
};
