//! CON: what is left of a mesh that was removed. Nothing here injects; that would be CON01 or CON02.

use std::collections::BTreeMap;

use super::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::lens::World;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::app_routing;
use crate::mesh::purge::{is_of_addon, is_shared_definition};
use crate::mesh::rival::{OSM_DEPLOYMENTS, Owner};
use crate::model::{Meta, MetaOnly};
use crate::snapshot::{Section, SourceId, StateKind};
use crate::sources::SYSTEM_NAMESPACE;

/// The check of this file.
pub static CHECKS: &[&Check] = &[&LEFT_OVER];

static LEFT_OVER: Check = Check {
    code: "CON04",
    name: "mesh-left-over",
    title: "Nothing is left of a mesh that was removed",
    area: Area::Conflicts,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Definitions,
        SourceId::ClusterRoles,
        SourceId::ClusterRoleBindings,
        SourceId::GatewayClasses,
        SourceId::Istiods,
        SourceId::Deployments,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::MutatingWebhooks,
        SourceId::ValidatingWebhooks,
    ],
    uses: &[],
    docs: "## What it means
Cluster-wide objects of a mesh are here that nobody uses any more: definitions, roles, webhooks or a GatewayClass of an Istio that was removed, of the add-on after it was disabled, or of Open Service Mesh. They do nothing by themselves. But enabling the add-on again can stop halfway at objects that belong to someone else, and App Routing's istiod does not start while Istio's definitions are there.

## Why it happens on AKS
Deleting a namespace deletes what is in it, and not what is cluster-wide. Disabling the add-on keeps the custom resource definitions, so that the resources are not lost.

## How we know
Custom resource definitions by their group, ClusterRoles and ClusterRoleBindings by the labels and names of Istio's charts, webhooks by their names, the GatewayClass `istio`. They count as left over when no istiod is in the namespace they are for, when the add-on is not installed, or when no Deployment of Open Service Mesh is there.

## What to do
Back up the resources that you still need, then delete what is left. A definition takes all its resources with it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon#before-you-begin>, <https://learn.microsoft.com/azure/aks/app-routing-gateway-api#limitations>",
    run: left_over,
};

/// Names of cluster roles in Istio's charts, longest first: what follows is the revision and the namespace.
const ROLE_NAMES: [&str; 5] =
    ["istiod-gateway-controller", "istio-reader-clusterrole", "istiod-clusterrole", "istio-reader", "istiod"];

/// The namespace of the control plane that a cluster role is for.
fn namespace_of(meta: &Meta) -> Option<&str> {
    if !matches!(meta.label("app"), Some("istiod" | "istio-reader")) {
        return None;
    }
    let rest = ROLE_NAMES.iter().find_map(|name| meta.name.strip_prefix(name))?.strip_prefix('-')?;
    let revision = meta.label("istio.io/rev").filter(|revision| *revision != "default");
    let rest = revision.and_then(|name| rest.strip_prefix(name)?.strip_prefix('-')).unwrap_or(rest);
    (!rest.is_empty()).then_some(rest)
}

/// Deletes the cluster-wide roles of an Istio that is about to go.
pub(super) fn role_steps(world: &World<'_>, namespace: &str) -> Vec<Step> {
    let mut left = Left::default();
    for (resource, section) in
        [("clusterrole", &world.snapshot.cluster_roles), ("clusterrolebinding", &world.snapshot.cluster_role_bindings)]
    {
        let own = items(section).filter(|meta| namespace_of(meta) == Some(namespace) && !is_of_addon(meta));
        own.for_each(|meta| left.add(resource, meta));
    }
    left.owner = None;
    steps(&left)
}

/// Objects that are left, by resource.
#[derive(Default)]
struct Left<'a> {
    objects: BTreeMap<&'static str, Vec<&'a str>>,
    owner: Option<Owner>,
}

impl<'a> Left<'a> {
    fn add(&mut self, resource: &'static str, meta: &'a Meta) {
        self.objects.entry(resource).or_default().push(&meta.name);
        if self.owner.is_none() {
            self.owner = Owner::of(meta);
        }
    }

    fn total(&self) -> usize {
        self.objects.values().map(Vec::len).sum()
    }
}

const DEFINITION: &str = "customresourcedefinition";
const CLASS: &str = "gatewayclass";

fn left_over(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[
        SourceId::Definitions,
        SourceId::ClusterRoles,
        SourceId::ClusterRoleBindings,
        SourceId::Istiods,
        SourceId::Deployments,
        SourceId::MutatingWebhooks,
        SourceId::ValidatingWebhooks,
    ])?;
    // Without Gateway API there are no classes, and nothing of them can be left.
    match lens.need_served(&[SourceId::GatewayClasses]) {
        Err(missing) if missing.kind != StateKind::NotServed => return Err(missing),
        _ => {}
    }
    let revisions = lens.revisions()?;
    let snapshot = lens.snapshot();
    let definitions = items(&snapshot.definitions);
    let roles = items(&snapshot.cluster_roles).map(|meta| ("clusterrole", meta));
    let bindings = items(&snapshot.cluster_role_bindings).map(|meta| ("clusterrolebinding", meta));
    let roles: Vec<_> = roles.chain(bindings).collect();
    let mut verdict = Verdict { examined: definitions.clone().count() + roles.len(), ..Verdict::default() };
    // Pods of one namespace do not tell that no istiod is in another one.
    let whole = snapshot.istiods.state().is_complete() && snapshot.scope.namespaces.is_none();
    let mut istios: BTreeMap<&str, Left<'_>> = BTreeMap::new();
    let mut add_on = Left::default();
    for (resource, meta) in &roles {
        let Some(namespace) = namespace_of(meta) else { continue };
        if is_of_addon(meta) {
            add_on.add(resource, meta);
        } else if whole && !has_istiod(lens, namespace) {
            istios.entry(namespace).or_default().add(resource, meta);
        }
    }
    for (namespace, left) in &istios {
        verdict.findings.push(of_istio(namespace, left));
    }
    if revisions.is_empty() && !has_istio(lens) {
        let webhooks = [
            ("mutatingwebhookconfiguration", &snapshot.mutating_webhooks),
            ("validatingwebhookconfiguration", &snapshot.validating_webhooks),
        ];
        for (resource, section) in webhooks {
            let metas = section.items().unwrap_or_default().iter().map(|configuration| &configuration.metadata);
            metas.filter(|meta| is_istio_webhook(meta)).for_each(|meta| add_on.add(resource, meta));
        }
        definitions
            .clone()
            .filter(|meta| is_shared_definition(&meta.name))
            .for_each(|meta| add_on.add(DEFINITION, meta));
        items(&snapshot.gateway_classes).filter(|meta| meta.name == "istio").for_each(|meta| add_on.add(CLASS, meta));
        if add_on.total() > 0 {
            verdict.findings.push(of_add_on(lens, &add_on));
        }
    }
    let mut osm = Left::default();
    if !has_osm(lens) && snapshot.scope.namespaces.is_none() {
        definitions.filter(|meta| is_osm_definition(&meta.name)).for_each(|meta| osm.add(DEFINITION, meta));
        if osm.total() > 0 {
            verdict.findings.push(of_osm(&osm));
        }
    }
    Ok(verdict)
}

fn items(section: &Section<MetaOnly>) -> impl Iterator<Item = &Meta> + Clone {
    section.items().unwrap_or_default().iter().map(|object| &object.metadata)
}

fn has_istiod(lens: &Lens<'_>, namespace: &str) -> bool {
    let pods = lens.snapshot().istiods.items().unwrap_or_default();
    pods.iter().any(|pod| pod.metadata.namespace == namespace && !pod.is_over())
}

/// Whether an Istio is here, or may be where nobody looked: it uses the definitions. App Routing's does not.
fn has_istio(lens: &Lens<'_>) -> bool {
    let snapshot = lens.snapshot();
    let is_routing = app_routing(snapshot).is_some();
    let pods = snapshot.istiods.items().unwrap_or_default();
    snapshot.scope.namespaces.is_some()
        || !snapshot.istiods.state().is_complete()
        || pods.iter().filter(|pod| !pod.is_over()).any(|pod| !is_routing || pod.metadata.namespace != SYSTEM_NAMESPACE)
}

fn has_osm(lens: &Lens<'_>) -> bool {
    let deployments = lens.snapshot().deployments.items().unwrap_or_default();
    deployments.iter().any(|deployment| OSM_DEPLOYMENTS.contains(&deployment.metadata.name.as_str()))
}

fn is_istio_webhook(meta: &Meta) -> bool {
    is_of_addon(meta) && (meta.name.starts_with("istio-") || meta.name.starts_with("istiod-"))
}

fn is_osm_definition(name: &str) -> bool {
    name.ends_with(".openservicemesh.io") || name.ends_with(".smi-spec.io")
}

fn with_evidence(mut finding: Finding, left: &Left<'_>) -> Finding {
    for (resource, objects) in &left.objects {
        let id = match *resource {
            DEFINITION => SourceId::Definitions,
            CLASS => SourceId::GatewayClasses,
            "clusterrole" => SourceId::ClusterRoles,
            "clusterrolebinding" => SourceId::ClusterRoleBindings,
            "mutatingwebhookconfiguration" => SourceId::MutatingWebhooks,
            _ => SourceId::ValidatingWebhooks,
        };
        finding = finding.evidence(id, format!("{resource}s"), "left", names(objects.iter().copied()), Some("none"));
    }
    finding
}

fn steps(left: &Left<'_>) -> Vec<Step> {
    let mut steps: Vec<Step> = match &left.owner {
        Some(Owner::Controller(owner)) => {
            vec![Step::text(Risk::Change, format!("remove them from {owner} first, or they come back"))]
        }
        _ => Vec::new(),
    };
    steps.extend(left.objects.iter().map(|(resource, objects)| {
        let text = match *resource {
            DEFINITION => "deletes the definitions, and with them all their resources".to_owned(),
            other => format!("deletes the {other}s"),
        };
        Step::command(Risk::Change, text, ["kubectl", "delete", resource].into_iter().chain(objects.iter().copied()))
    }));
    steps
}

fn of_istio(namespace: &str, left: &Left<'_>) -> Finding {
    let owner =
        left.owner.as_ref().map_or_else(String::new, |owner| format!(" They were installed by {}.", owner.words()));
    let finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        format!(
            "{} of a self-managed Istio in {namespace} {} left",
            count(left.total(), "cluster-wide role"),
            verb(left)
        ),
        format!("No istiod is there any more; the roles only give rights that nobody should have.{owner}"),
    )
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new("delete them", steps(left)));
    with_evidence(finding, left)
}

fn of_add_on(lens: &Lens<'_>, left: &Left<'_>) -> Finding {
    let mut all = vec![Step::command(
        Risk::Read,
        "writes the resources that go with the definitions to a file, if you need them again",
        [
            "sh",
            "-c",
            "kubectl get $(kubectl get crd -o name | cut -d/ -f2 | grep 'istio\\.io$' | paste -sd, -) -A -o yaml >istio-resources.yaml",
        ],
    )];
    if !left.objects.contains_key(DEFINITION) {
        all.clear();
    }
    all.extend(steps(left));
    let detail = match app_routing(lens.snapshot()) {
        Some(_) => "App Routing's istiod does not start while Istio's definitions and its GatewayClass are there.",
        None => "Nothing uses them. Objects that belong to someone else can stop the add-on from being enabled again.",
    };
    let finding = Finding::new(
        Subject::cluster("Cluster", "istio"),
        format!("the add-on is not installed, but {} of Istio {} left", count(left.total(), "object"), verb(left)),
        detail,
    )
    .key(KeyKind::Object, "istio")
    .remedy(Remedy::new("delete them, unless the add-on is to be enabled again", all));
    with_evidence(finding, left)
}

fn of_osm(left: &Left<'_>) -> Finding {
    let finding = Finding::new(
        Subject::cluster("Cluster", "open-service-mesh"),
        format!("{} of Open Service Mesh {} left", count(left.total(), "definition"), verb(left)),
        "Nobody reads their resources any more.",
    )
    .at_most(Severity::Info)
    .key(KeyKind::Object, "open-service-mesh")
    .remedy(Remedy::new("delete them", steps(left)));
    with_evidence(finding, left)
}

fn verb(left: &Left<'_>) -> &'static str {
    if left.total() == 1 { "is" } else { "are" }
}
