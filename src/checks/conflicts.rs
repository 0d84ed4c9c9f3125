//! CON: other meshes beside the add-on.

use std::collections::BTreeMap;

use super::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::foreign;
use crate::mesh::webhook::Injector;
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&SELF_MANAGED];

static SELF_MANAGED: Check = Check {
    code: "CON01",
    name: "self-managed-istio",
    title: "No self-managed Istio is in the cluster",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[
        SourceId::Istiods,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::OperatorCrd,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
    ],
    uses: &[SourceId::WebhookServices, SourceId::WebhookEndpoints],
    docs: "## What it means
A self-managed Istio is in the cluster beside the add-on, or parts of it are. Microsoft does not support that. Both write the same custom resource definitions and root certificates, and either can inject a pod.

## Why it happens on AKS
Istio was installed with istioctl or Helm before the add-on was enabled, and was never removed, or not completely.

## How we know
Pods labelled `app=istiod` outside `aks-istio-system`, injecting webhooks that call another namespace, or the custom resource definition `istiooperators.install.istio.io`.

## What to do
Move its namespaces to the add-on's revision, then remove its webhooks and its namespace. Do not run `istioctl uninstall --purge`: it also deletes the add-on's custom resource definitions, and with them all Istio objects in the cluster.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: self_managed,
};

fn self_managed(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::Istiods, SourceId::OperatorCrd])?;
    let injectors = lens.injectors()?;
    let installed = !lens.revisions()?.is_empty();
    let snapshot = lens.snapshot();
    let mut verdict = Verdict { examined: 1 + injectors.len(), ..Verdict::default() };
    if !installed {
        // Without the add-on a self-managed Istio conflicts with nothing.
        return Ok(Verdict::default());
    }
    let mut by_namespace: BTreeMap<String, (Vec<String>, Vec<&Injector<'_>>)> = BTreeMap::new();
    for istiod in foreign(snapshot) {
        by_namespace.entry(istiod.namespace).or_default().0.extend(istiod.pods);
    }
    for injector in injectors.iter().filter(|injector| !injector.is_of_addon()) {
        if let Some(service) = &injector.service {
            by_namespace.entry(service.namespace.clone()).or_default().1.push(injector);
        }
    }
    for (namespace, (pods, injectors)) in by_namespace {
        verdict.findings.push(conflict(&namespace, &pods, &injectors));
    }
    let operator = snapshot.operator_crd.items().is_some_and(|items| !items.is_empty());
    if operator && verdict.findings.is_empty() {
        verdict.findings.push(
            Finding::new(
                Subject::cluster("CustomResourceDefinition", "istiooperators.install.istio.io"),
                "CRD istiooperators.install.istio.io is left from a self-managed Istio",
                "Nothing uses it: the add-on has no operator, and AKS refuses IstioOperator objects.",
            )
            .at_most(Severity::Warning)
            .key(KeyKind::Definition, "istiooperators.install.istio.io")
            .remedy(Remedy::new(
                "remove it once no IstioOperator object is needed",
                vec![
                    Step::command(
                        Risk::Read,
                        "shows whether any IstioOperator object is left",
                        ["kubectl", "get", "istiooperators.install.istio.io", "-A"],
                    ),
                    Step::command(
                        Risk::Change,
                        "removes the definition and all its objects",
                        ["kubectl", "delete", "crd", "istiooperators.install.istio.io"],
                    ),
                ],
            ))
            .evidence(
                SourceId::OperatorCrd,
                "customresourcedefinition/istiooperators.install.istio.io",
                "exists",
                "yes",
                Some("no"),
            ),
        );
    }
    Ok(verdict)
}

fn conflict(namespace: &str, pods: &[String], injectors: &[&Injector<'_>]) -> Finding {
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows what is in that namespace",
        ["kubectl", "get", "deployments,services,pods", "-n", namespace],
    )];
    for injector in injectors {
        steps.push(Step::command(
            Risk::Change,
            "stops its injection; first label its namespaces with the add-on's istio.io/rev",
            ["kubectl", "delete", "mutatingwebhookconfiguration", injector.name()],
        ));
    }
    if !pods.is_empty() {
        steps.push(Step::command(
            Risk::Change,
            "removes its istiod and everything else in that namespace",
            ["kubectl", "delete", "namespace", namespace],
        ));
        steps.push(Step::command(
            Risk::Read,
            "shows which namespace each webhook calls; delete those that call the removed one",
            [
                "kubectl",
                "get",
                "validatingwebhookconfigurations",
                "-o",
                "custom-columns=NAME:.metadata.name,CALLS:.webhooks[*].clientConfig.service.namespace",
            ],
        ));
    }
    let what = match (pods.len(), injectors.len()) {
        (0, webhooks) => count(webhooks, "injecting webhook"),
        (pods, 0) => format!("{} of istiod", count(pods, "pod")),
        (pods, webhooks) => format!("{} of istiod and {}", count(pods, "pod"), count(webhooks, "injecting webhook")),
    };
    let mut finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        format!("a self-managed Istio is in namespace {namespace}, beside the add-on"),
        format!("Found: {what}. It and the add-on overwrite each other's definitions and root certificates. Never run istioctl uninstall --purge: it deletes all Istio objects."),
    )
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new("move its namespaces to the add-on, then remove it", steps));
    if !pods.is_empty() {
        finding = finding.evidence(
            SourceId::Istiods,
            format!("namespace/{namespace}"),
            "pods labelled app=istiod",
            names(pods.iter().map(String::as_str)),
            Some("none outside aks-istio-system"),
        );
    }
    for injector in injectors {
        finding = finding.key(KeyKind::Webhook, injector.name()).evidence(
            SourceId::MutatingWebhooks,
            format!("mutatingwebhookconfiguration/{}", injector.name()),
            "clientConfig.service.namespace",
            namespace,
            Some("aks-istio-system"),
        );
    }
    finding
}
