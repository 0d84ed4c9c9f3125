//! CON: other meshes beside the add-on.

use std::collections::{BTreeMap, BTreeSet};

use super::remedies::{count, label_namespace, names, restart, unlabel_namespace};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::recommended;
use crate::mesh::injection::INJECTION;
use crate::mesh::rival::{self, Dependents, Owner, Rival};
use crate::mesh::workload::Workload;
use crate::model::Webhook;
use crate::model::meta::StringMap;
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&SELF_MANAGED, &VALIDATOR_LEFT];

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
    uses: &[
        SourceId::ValidatingWebhooks,
        SourceId::SystemConfigMaps,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
        SourceId::WebhookConfigMaps,
        SourceId::Namespaces,
        SourceId::Pods,
        SourceId::ReplicaSets,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Jobs,
        SourceId::CronJobs,
    ],
    docs: "## What it means
A self-managed Istio is in the cluster beside the add-on, or parts of it are. Microsoft does not support that. Both write the same custom resource definitions and root certificates, and either can inject a pod.

## Why it happens on AKS
Istio was installed with istioctl or Helm before the add-on was enabled, and was never removed, or not completely.

## How we know
Pods labelled `app=istiod` outside `aks-istio-system`, injecting webhooks that call another namespace, or the custom resource definition `istiooperators.install.istio.io`. Who installed it is read off the marks that Helm, istioctl, Argo CD, Flux and the Sail operator leave on its objects. A workload depends on it when its proxies carry its revision, or when its webhook selects the next pods.

## What to do
Move its namespaces to the add-on's revision and restart their workloads, then remove its webhooks and its namespace. Do not run `istioctl uninstall --purge`: it goes by the label `operator.istio.io/component` and not by who installed an object, so it deletes the add-on's control plane too. If istioctl installed the other Istio, it also deletes the custom resource definitions, and with them all Istio resources in the cluster. `kubectl asm conflicts` lists all that it would delete here, and what to do instead, in order.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>, `operator/pkg/uninstall/prune.go` in istio/istio: <https://github.com/istio/istio/tree/master/operator/pkg/uninstall>",
    run: self_managed,
};

fn self_managed(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    if revisions.is_empty() {
        // Without the add-on a self-managed Istio conflicts with nothing.
        return Ok(Verdict::default());
    }
    lens.need(&[SourceId::Istiods, SourceId::OperatorCrd])?;
    let injectors = lens.injectors()?;
    let snapshot = lens.snapshot();
    let mut verdict = Verdict { examined: 1 + injectors.len(), ..Verdict::default() };
    lens.optional(SourceId::ValidatingWebhooks, &snapshot.validating_webhooks);
    for rival in rival::istios(snapshot, injectors) {
        // A validating webhook alone is CON10.
        if !rival.is_alive && rival.injectors.is_empty() {
            continue;
        }
        verdict.findings.push(conflict(lens, &rival, recommended(revisions)));
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

fn conflict(lens: &Lens<'_>, rival: &Rival<'_>, revision: Option<&str>) -> Finding {
    let namespace = rival.namespace.as_str();
    let dependents = rival.dependents(lens.known_workloads());
    let (pods, webhooks) = (rival.control_plane.len(), rival.injectors.len());
    let what = match (pods, webhooks) {
        (0, webhooks) => count(webhooks, "injecting webhook"),
        (pods, 0) => format!("{} of istiod", count(pods, "pod")),
        (pods, webhooks) => format!("{} of istiod and {}", count(pods, "pod"), count(webhooks, "injecting webhook")),
    };
    let owner = rival.owner.as_ref().map_or_else(String::new, |owner| format!(", installed by {}", owner.words()));
    let (summary, cost) = if rival.is_alive {
        (
            format!("a self-managed Istio is in namespace {namespace}, beside the add-on"),
            "It and the add-on overwrite each other's definitions and root certificates.",
        )
    } else {
        (
            format!("webhooks of a self-managed Istio call namespace {namespace}, where no istiod is left"),
            "What they select gets no sidecar, or is refused.",
        )
    };
    let mut finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        summary,
        format!(
            "Found: {what}{owner}. {cost}{} Never run istioctl uninstall --purge: it does not spare the add-on.",
            effects(&dependents)
        ),
    )
    .key(KeyKind::Namespace, namespace)
    .maybe_impact(lens.blast_radius(|workload| {
        let is = |other: &&Workload<'_>| std::ptr::eq(*other, workload);
        [&dependents.now, &dependents.next, &dependents.refused].iter().any(|list| list.iter().any(is))
    }))
    .remedy(Remedy::new(
        "move its namespaces to the add-on, then remove it",
        steps(lens, rival, &dependents, revision),
    ));
    if rival.is_alive {
        finding = finding.evidence(
            SourceId::Istiods,
            format!("namespace/{namespace}"),
            "pods labelled app=istiod",
            names(rival.control_plane.iter().filter_map(|pod| pod.strip_prefix("pod/"))),
            Some("none outside aks-istio-system"),
        );
    }
    for (kind, id, list) in [
        ("mutatingwebhookconfiguration", SourceId::MutatingWebhooks, &rival.injectors),
        ("validatingwebhookconfiguration", SourceId::ValidatingWebhooks, &rival.validators),
    ] {
        for configuration in list {
            let name = &configuration.metadata.name;
            finding = finding.key(KeyKind::Webhook, name).evidence(
                id,
                format!("{kind}/{name}"),
                "clientConfig.service.namespace",
                namespace,
                Some("aks-istio-system"),
            );
        }
    }
    finding
}

/// What depends on it, now and at the next restart.
fn effects(dependents: &Dependents<'_, '_>) -> String {
    let mut text = String::new();
    let mut say = |number: usize, one: &str, many: &str| {
        if number > 0 {
            text.push_str(&format!(" {} {}.", count(number, "workload"), if number == 1 { one } else { many }));
        }
    };
    say(dependents.now.len(), "runs with its sidecar", "run with its sidecar");
    say(dependents.next.len(), "gets it at its next restart", "get it at their next restart");
    say(dependents.refused.len(), "cannot start new pods", "cannot start new pods");
    text
}

/// Namespaces first: until their workloads are moved, they need what is deleted afterwards.
fn steps(lens: &Lens<'_>, rival: &Rival<'_>, dependents: &Dependents<'_, '_>, revision: Option<&str>) -> Vec<Step> {
    let namespace = rival.namespace.as_str();
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows what is in that namespace",
        ["kubectl", "get", "deployments,services,pods", "-n", namespace],
    )];
    let moved: BTreeMap<(&str, &str), &Workload<'_>> = [&dependents.now, &dependents.next, &dependents.refused]
        .into_iter()
        .flatten()
        .map(|workload| ((workload.namespace, workload.name.as_str()), *workload))
        .collect();
    let spaces: BTreeSet<&str> = moved.values().map(|w| w.namespace).filter(|name| *name != namespace).collect();
    for name in spaces {
        let Some(labels) = lens.namespace_labels(name) else { continue };
        steps.extend(revision.map(|revision| label_namespace(name, revision)));
        if labels.contains_key(INJECTION) {
            steps.push(unlabel_namespace(name, INJECTION));
        }
    }
    steps.extend(restart(moved.values().copied().filter(|workload| workload.namespace != namespace)));
    match &rival.owner {
        Some(Owner::Controller(owner)) => {
            steps.push(Step::text(Risk::Change, format!("remove it from {owner} first, or it comes back")));
        }
        Some(Owner::Helm(release, place)) if rival.is_alive => steps.push(Step::command(
            Risk::Change,
            "removes what this Helm release installed, its istiod among it",
            ["helm", "uninstall", release, "-n", place],
        )),
        _ => {}
    }
    let by_helm = rival.is_alive && matches!(rival.owner, Some(Owner::Helm(..)));
    let delete = |text: &str, kind: &str, name: &str| {
        let gone = if by_helm { Some("--ignore-not-found") } else { None };
        Step::command(Risk::Change, text, ["kubectl", "delete", kind, name].into_iter().chain(gone))
    };
    for injector in &rival.injectors {
        steps.push(delete("stops its injection", "mutatingwebhookconfiguration", &injector.metadata.name));
    }
    for validator in &rival.validators {
        let text = "stops its check of Istio's resources, which nobody would answer";
        steps.push(delete(text, "validatingwebhookconfiguration", &validator.metadata.name));
    }
    if rival.is_alive {
        steps.push(Step::command(
            Risk::Read,
            "shows certificates and Istio's resources there: save what is still needed",
            ["kubectl", "get", "secrets,virtualservices,gateways.networking.istio.io,envoyfilters", "-n", namespace],
        ));
        steps.push(Step::command(
            Risk::Change,
            "deletes that namespace with everything in it, also what is not Istio's",
            ["kubectl", "delete", "namespace", namespace],
        ));
    }
    steps
}

static VALIDATOR_LEFT: Check = Check {
    code: "CON10",
    name: "validator-of-removed-istio",
    title: "Somebody answers behind every webhook that checks Istio's resources",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[SourceId::ValidatingWebhooks, SourceId::Istiods, SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
A webhook of a self-managed Istio checks every change of Istio's resources, and the istiod that it calls is gone. Kubernetes refuses the change: nobody can create or edit a VirtualService, and deployments by GitOps stop.

## Why it happens on AKS
Its namespace was deleted. Webhook configurations are in no namespace, so they stayed.

## How we know
A ValidatingWebhookConfiguration with an entry `validation.istio.io` or `rev.validation.istio.io` calls a namespace in which no ready pod is labelled `app=istiod`. It is an error when its failure policy is Fail and it looks at resources without a revision's label, else a warning.

## What to do
Delete the webhook. istiod of the add-on has its own.

## Sources
<https://istio.io/latest/docs/ops/common-problems/validation/>, `manifests/charts/default/templates/validatingwebhook.yaml` in istio/istio: <https://github.com/istio/istio/tree/master/manifests/charts>",
    run: validator_left,
};

fn validator_left(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    if lens.revisions()?.is_empty() {
        return Ok(verdict);
    }
    lens.need(&[SourceId::ValidatingWebhooks, SourceId::Istiods])?;
    let snapshot = lens.snapshot();
    verdict.examined = snapshot.validating_webhooks.items().map_or(0, <[_]>::len);
    let pods = snapshot.istiods.items().unwrap_or_default();
    for (configuration, namespace) in rival::foreign_validators(snapshot) {
        // Of a namespace that was not looked at it is not known that nobody is there.
        if !snapshot.istiods.state().is_complete() || !snapshot.scope.contains(namespace) {
            continue;
        }
        if pods.iter().any(|pod| pod.metadata.namespace == namespace && !pod.is_over() && pod.is_ready()) {
            continue;
        }
        let entries = || configuration.webhooks.iter().filter(|entry| rival::is_validator_entry(entry));
        let closed = entries().any(Webhook::fails_closed);
        let all = entries().any(|e| e.fails_closed() && e.object_selector.matches(&StringMap::new()) != Some(false));
        let detail = match (closed, all) {
            (true, true) => "Kubernetes refuses to create or change Istio's resources, as nobody can check them.",
            (true, false) => "Kubernetes refuses changes of the resources that are labelled for its revision.",
            (false, _) => "Changes of Istio's resources wait for it in vain, and go through unchecked.",
        };
        let name = &configuration.metadata.name;
        let mut steps: Vec<Step> = match Owner::of(&configuration.metadata) {
            Some(Owner::Controller(owner)) => {
                vec![Step::text(Risk::Change, format!("remove it from {owner} first, or it comes back"))]
            }
            _ => Vec::new(),
        };
        steps.push(Step::command(
            Risk::Change,
            "deletes the webhook; that of the add-on is another one",
            ["kubectl", "delete", "validatingwebhookconfiguration", name],
        ));
        verdict.findings.push(
            Finding::new(
                Subject::cluster("ValidatingWebhookConfiguration", name),
                format!("webhook {name} calls an istiod in {namespace}, where none is ready"),
                detail,
            )
            .at_most(if all { Severity::Error } else { Severity::Warning })
            .key(KeyKind::Namespace, namespace)
            .key(KeyKind::Webhook, name)
            .remedy(Remedy::new("delete it", steps))
            .evidence(
                SourceId::ValidatingWebhooks,
                format!("validatingwebhookconfiguration/{name}"),
                "failurePolicy",
                if closed { "Fail" } else { "Ignore" },
                None,
            )
            .evidence(
                SourceId::Istiods,
                format!("namespace/{namespace}"),
                "ready pods labelled app=istiod",
                "none",
                Some("at least one"),
            ),
        );
    }
    Ok(verdict)
}
