//! WHK: webhooks of other products that the add-on's own pods depend on.

use std::collections::BTreeSet;

use super::remedies::names;
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::webhook::gatekeepers;
use crate::snapshot::SourceId;

/// The check of this file.
pub static CHECKS: &[&Check] = &[&GATEKEEPER_DEAD];

static GATEKEEPER_DEAD: Check = Check {
    code: "WHK08",
    name: "other-webhook-dead",
    title: "Somebody answers behind the webhooks that decide about the add-on's pods",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: &[
        SourceId::MutatingWebhooks,
        SourceId::ValidatingWebhooks,
        SourceId::Namespaces,
        SourceId::AdmissionServices,
        SourceId::AdmissionEndpoints,
    ],
    uses: &[],
    docs: "## What it means
An admission webhook of another product covers all new pods in `aks-istio-system` or `aks-istio-ingress`, fails closed, and nobody answers behind it. Running pods stay. After the next node change, upgrade or scale-out, istiod or the gateways cannot start, and soon after nothing can that needs a sidecar.

## Why it happens on AKS
The product was removed without its webhooks, or its pods do not run. AKS leaves its own namespaces out of many webhooks by itself, but not out of those with the label `admissions.enforcer/disabled`.

## How we know
Webhooks for new pods with failure policy Fail, without conditions and without an `objectSelector`, whose `namespaceSelector` takes in a namespace of the add-on, and the Service that they call: it does not exist, or has no ready endpoint.

## What to do
Repair what is behind it, or exclude the namespace in its `namespaceSelector`. If the product is gone, delete the webhook.

## What else looks like it
Once it has refused a pod, it is also CP11 for istiod and WHK05 for gateways.

## Sources
<https://learn.microsoft.com/azure/aks/faq#can-admission-controller-webhooks-impact-kube-system-and-internal-aks-namespaces>, <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>",
    run: gatekeeper_dead,
};

fn gatekeeper_dead(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[
        SourceId::MutatingWebhooks,
        SourceId::ValidatingWebhooks,
        SourceId::Namespaces,
        SourceId::AdmissionServices,
        SourceId::AdmissionEndpoints,
    ])?;
    let snapshot = lens.snapshot();
    let services = &snapshot.admission_services;
    let slices = &snapshot.admission_endpoints;
    let known = services.state().is_complete() && slices.state().is_complete();
    let mut verdict = Verdict::default();
    let mut told: BTreeSet<&str> = BTreeSet::new();
    for (configuration, entry, namespaces) in gatekeepers(snapshot) {
        let Some(called) = entry.client_config.service.as_ref().filter(|_| known) else { continue };
        verdict.examined += 1;
        let exists = services
            .items()
            .unwrap_or_default()
            .iter()
            .any(|s| s.metadata.namespace == called.namespace && s.metadata.name == called.name);
        let ready: usize = slices
            .items()
            .unwrap_or_default()
            .iter()
            .filter(|slice| slice.metadata.namespace == called.namespace && slice.service() == Some(&called.name))
            .map(crate::model::EndpointSlice::ready)
            .sum();
        let name = configuration.metadata.name.as_str();
        if exists && ready > 0 || !told.insert(name) {
            continue;
        }
        let mutating = snapshot.mutating_webhooks.items().unwrap_or_default();
        let is_mutating = mutating.iter().any(|other| std::ptr::eq(other, configuration));
        let (kind, id) = match is_mutating {
            true => ("MutatingWebhookConfiguration", SourceId::MutatingWebhooks),
            false => ("ValidatingWebhookConfiguration", SourceId::ValidatingWebhooks),
        };
        let path = format!("{}/{}", called.namespace, called.name);
        let what = if exists { "has no ready endpoint" } else { "does not exist" };
        let resource = kind.to_lowercase();
        let spaces = names(namespaces.iter().copied());
        let mut finding = Finding::new(
            Subject::cluster(kind, name),
            format!("webhook {name} covers the add-on, and its Service {what}"),
            format!(
                "Kubernetes refuses all new pods in {spaces}. Running ones stay until they are moved or restarted."
            ),
        )
        .key(KeyKind::Webhook, name)
        .remedy(Remedy::new(
            "repair what is behind it, or take the add-on's namespaces out of it",
            vec![
                Step::command(
                    Risk::Read,
                    "shows what is behind it",
                    ["kubectl", "get", "deployments,pods,endpointslices", "-n", &called.namespace],
                ),
                Step::command(
                    Risk::Change,
                    "only if that product is gone: deletes its webhook",
                    ["kubectl", "delete", &resource, name],
                ),
            ],
        ))
        .evidence(id, format!("{resource}/{name}"), format!("{}, failurePolicy", entry.name), "Fail", None)
        .evidence(
            SourceId::AdmissionServices,
            format!("service/{path}"),
            "ready endpoints",
            ready.to_string(),
            Some("at least one"),
        );
        for namespace in namespaces {
            finding = finding.key(KeyKind::Namespace, namespace);
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}
