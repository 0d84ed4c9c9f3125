//! CON: meshes and gateways of AKS that exclude the add-on.

use super::remedies::count;
use crate::engine::finding::KeyKind;
use crate::engine::lens::REVISIONS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::app_routing;
use crate::mesh::rival::{self, APP_NETWORK, OSM_INJECTOR, Owner, Rival};
use crate::model::Webhook;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&OPEN_SERVICE_MESH, &APP_ROUTING, &APPLICATION_NETWORK];

static OPEN_SERVICE_MESH: Check = Check {
    code: "CON02",
    name: "open-service-mesh",
    title: "Open Service Mesh is not in the cluster",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[
        SourceId::MutatingWebhooks,
        SourceId::ValidatingWebhooks,
        SourceId::Deployments,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
    ],
    uses: &[SourceId::Namespaces],
    docs: "## What it means
Open Service Mesh is in the cluster beside the Istio add-on, or its webhooks are still there. AKS does not support both. A pod that both select gets two proxies that redirect the same traffic.

## Why it happens on AKS
The Open Service Mesh add-on came first and was not disabled, or it was installed by hand. Where its control plane was removed by hand, its webhooks stay: they are in no namespace.

## How we know
Deployments called `osm-bootstrap`, `osm-controller` or `osm-injector`, and webhooks with the entries `osm-inject.k8s.io` and `osm-validator.k8s.io`. What is left without a control plane is a warning, unless its injecting webhook fails closed and selects a namespace: then new pods there are refused.

## What to do
Take the namespaces out of it, disable that add-on or uninstall the release, then delete what is left of its webhooks.

## What else looks like it
Labels of Open Service Mesh on a namespace are INJ12.

## Sources
<https://learn.microsoft.com/azure/aks/open-service-mesh-istio-migration-guidance>, <https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: open_service_mesh,
};

/// The namespace that the add-on of AKS uses for it.
const OSM_ADD_ON: &str = "kube-system";

fn open_service_mesh(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    if lens.revisions()?.is_empty() {
        return Ok(Verdict::default());
    }
    lens.need(&[SourceId::MutatingWebhooks, SourceId::ValidatingWebhooks, SourceId::Deployments])?;
    let snapshot = lens.snapshot();
    let webhooks = [&snapshot.mutating_webhooks, &snapshot.validating_webhooks];
    let examined = 1 + webhooks.iter().map(|section| section.items().map_or(0, <[_]>::len)).sum::<usize>();
    let findings = rival::open_service_mesh(snapshot).map(|osm| osm_finding(lens, &osm));
    Ok(Verdict { examined, findings: findings.into_iter().collect() })
}

/// Namespaces whose new pods the injecting webhook of Open Service Mesh is asked about, and refused when it is not there.
fn selected<'a>(lens: &Lens<'a>, osm: &Rival<'a>) -> Vec<&'a str> {
    let entries = || {
        let all = osm.injectors.iter().flat_map(|configuration| &configuration.webhooks);
        all.filter(|entry| entry.name == OSM_INJECTOR && entry.sees_pod_creation())
    };
    let takes = |entry: &Webhook, namespace: &crate::model::Namespace| {
        entry.fails_closed() && entry.namespace_selector.matches(&namespace.metadata.labels) == Some(true)
    };
    lens.optional(SourceId::Namespaces, &lens.snapshot().namespaces)
        .iter()
        .filter(|namespace| entries().any(|entry| takes(entry, namespace)))
        .map(|namespace| namespace.metadata.name.as_str())
        .collect()
}

fn osm_finding(lens: &Lens<'_>, osm: &Rival<'_>) -> Finding {
    let namespace = osm.namespace.as_str();
    let spaces = selected(lens, osm);
    let (summary, detail, severity) = match (osm.is_alive, spaces.len()) {
        (true, _) => (
            format!("Open Service Mesh runs in namespace {namespace}, beside the add-on"),
            "AKS does not support both. A pod that both select gets two proxies that redirect the same traffic."
                .to_owned(),
            Severity::Error,
        ),
        (false, 0) => (
            "webhooks of Open Service Mesh are left, without its control plane".to_owned(),
            "They select no namespace now. The first one labelled for that mesh could start no pods.".to_owned(),
            Severity::Warning,
        ),
        (false, number) => (
            "webhooks of Open Service Mesh are left, without its control plane".to_owned(),
            format!("Kubernetes refuses all new pods in {}, as nobody answers them.", count(number, "namespace")),
            Severity::Error,
        ),
    };
    let mut steps = Vec::new();
    if osm.is_alive {
        steps.push(match &osm.owner {
            Some(Owner::Helm(release, place)) if namespace != OSM_ADD_ON => Step::command(
                Risk::Change,
                "removes it; restart the workloads of its namespaces afterwards",
                ["helm", "uninstall", release, "-n", place],
            ),
            Some(Owner::Controller(owner)) if namespace != OSM_ADD_ON => {
                Step::text(Risk::Change, format!("remove it from {owner}"))
            }
            _ => Step::command(
                Risk::Change,
                "disables that add-on; restart the workloads of its namespaces afterwards",
                ["az", "aks", "disable-addons", "-g", "<resource-group>", "-n", "<cluster>", "-a", "open-service-mesh"],
            ),
        });
    }
    let left = if osm.is_alive { ", if it is still there" } else { "" };
    for (kind, list) in
        [("mutatingwebhookconfiguration", &osm.injectors), ("validatingwebhookconfiguration", &osm.validators)]
    {
        for configuration in list {
            let mut words = vec!["kubectl", "delete", kind, &configuration.metadata.name];
            if osm.is_alive {
                words.push("--ignore-not-found");
            }
            steps.push(Step::command(Risk::Change, format!("deletes its webhook{left}"), words));
        }
    }
    let first = osm.injectors.iter().map(|c| ("MutatingWebhookConfiguration", &c.metadata.name));
    let first = first.chain(osm.validators.iter().map(|c| ("ValidatingWebhookConfiguration", &c.metadata.name))).next();
    let subject = match first.filter(|_| !osm.is_alive) {
        Some((kind, name)) => Subject::cluster(kind, name),
        None => Subject::cluster("Namespace", namespace),
    };
    let mut finding =
        Finding::new(subject, summary, detail).at_most(severity).remedy(Remedy::new("remove Open Service Mesh", steps));
    if osm.is_alive {
        finding = finding.key(KeyKind::Object, "open-service-mesh").evidence(
            SourceId::Deployments,
            format!("namespace/{namespace}"),
            "its Deployments",
            osm.control_plane.join(", "),
            Some("none"),
        );
    }
    for (id, kind, list) in [
        (SourceId::MutatingWebhooks, "mutatingwebhookconfiguration", &osm.injectors),
        (SourceId::ValidatingWebhooks, "validatingwebhookconfiguration", &osm.validators),
    ] {
        for configuration in list {
            let name = &configuration.metadata.name;
            let calls = format!("{}, in {namespace}", configuration.webhooks.first().map_or("", |entry| &entry.name));
            finding = finding.key(KeyKind::Webhook, name).evidence(id, format!("{kind}/{name}"), "calls", calls, None);
        }
    }
    for name in spaces {
        finding = finding.key(KeyKind::Namespace, name).related(&Subject::cluster("Namespace", name), "is selected");
    }
    finding
}

static APP_ROUTING: Check = Check {
    code: "CON03",
    name: "app-routing-istio",
    title: "App Routing's Istio is not installed beside the add-on",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
App Routing's Gateway API implementation runs an istiod of its own, in the namespace of the add-on. AKS excludes the two: both would own the same namespace and the same Gateway API resources, and the one that was enabled second may not work.

## Why it happens on AKS
One of them was disabled only in part, or an operation that switches from one to the other is under way.

## How we know
The Deployment `istiod` without a revision is in `aks-istio-system`, and so is an `istiod-asm-X-Y`.

## What to do
Decide for one and disable the other. Gateways of App Routing have the class `approuting-istio`, those of the add-on the class `istio`.

## What else looks like it
Where only App Routing's istiod is there, it is ENV05 and no fault.

## Sources
<https://learn.microsoft.com/azure/aks/app-routing-gateway-api#limitations>, <https://learn.microsoft.com/azure/aks/istio-gateway-api#limitations-and-considerations>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
        let Some(istiod) = app_routing(lens.snapshot()).filter(|_| !revisions.is_empty()) else { return Ok(verdict) };
        let name = istiod.metadata.name.as_str();
        let names: Vec<_> = revisions.iter().map(|revision| revision.name.as_str()).collect();
        let mut finding = Finding::new(
            Subject::new("Deployment", SYSTEM_NAMESPACE, name),
            "App Routing's istiod runs in aks-istio-system, beside the add-on's",
            "AKS supports only one of them at a time: both own the same namespace and Gateway API resources.",
        )
        .key(KeyKind::Object, format!("Deployment/{SYSTEM_NAMESPACE}/{name}"))
        .remedy(Remedy::new(
            "keep one of them",
            vec![
                Step::command(
                    Risk::Read,
                    "shows which gateways belong to which: approuting-istio is App Routing's class, istio the add-on's",
                    ["kubectl", "get", "gateways.gateway.networking.k8s.io", "-A"],
                ),
                Step::command(
                    Risk::Change,
                    "switches off App Routing's; its gateways go with it",
                    ["az", "aks", "approuting", "gateway", "istio", "disable", "-g", "<resource-group>", "-n", "<cluster>"],
                ),
            ],
        ))
        .evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/{name}"),
            "revision",
            "none",
            Some(&names.join(", ")),
        );
        for revision in names {
            finding = finding.key(KeyKind::Revision, revision);
        }
        verdict.findings.push(finding);
        Ok(verdict)
    },
};

static APPLICATION_NETWORK: Check = Check {
    code: "CON06",
    name: "application-network",
    title: "The cluster is not a member of an Application Network",
    area: Area::Conflicts,
    severity: Severity::Error,
    inputs: &[SourceId::Namespaces, SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
The cluster belongs to an Azure Kubernetes Application Network, which brings a mesh without sidecars. It cannot be used together with the Istio add-on: both take over the traffic of the same pods.

## Why it happens on AKS
The cluster joined while the add-on was enabled, or the add-on was enabled in a member.

## How we know
The namespace `applink-system`, in which that service keeps its components, is there beside a revision of the add-on.

## What to do
Decide for one: take the cluster out of the Application Network, or move the workloads there and disable the add-on.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut verdict = Verdict::default();
        if revisions.is_empty() {
            return Ok(verdict);
        }
        for namespace in lens.namespaces()? {
            verdict.examined += 1;
            if namespace.metadata.name != APP_NETWORK {
                continue;
            }
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("Namespace", APP_NETWORK),
                    "the cluster is in an Application Network, which excludes the add-on",
                    "Both take over the traffic of pods; AKS does not support them side by side.",
                )
                .key(KeyKind::Namespace, APP_NETWORK)
                .remedy(Remedy::new(
                    "keep one of them",
                    vec![
                        Step::command(
                            Risk::Read,
                            "shows what runs there",
                            ["kubectl", "get", "deployments,daemonsets,pods", "-n", APP_NETWORK],
                        ),
                        Step::text(
                            Risk::Change,
                            "take the cluster out of the Application Network, or move its workloads there and disable the add-on",
                        ),
                    ],
                ))
                .evidence(SourceId::Namespaces, format!("namespace/{APP_NETWORK}"), "exists", "yes", Some("no")),
            );
        }
        Ok(verdict)
    },
};
