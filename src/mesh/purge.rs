//! What `istioctl uninstall --purge` would delete in this cluster.
//!
//! It goes by the label of Istio's parts, in every namespace and whoever installed them, and by the class of waypoints
//! (`operator/pkg/uninstall/prune.go` in istio/istio). Nothing in it knows the add-on. With a definition that it deletes,
//! Kubernetes deletes all resources of that kind.

use std::collections::BTreeSet;

use crate::mesh::revision::AsmRevision;
use crate::model::{Meta, MetaOnly};
use crate::snapshot::{Section, Snapshot, SourceId};
use crate::sources::{SYSTEM_NAMESPACE, source};

/// The label of a part.
pub const COMPONENT: &str = "operator.istio.io/component";
/// The class of the Gateways that ambient meshes use as waypoints.
const WAYPOINT: &str = "istio-waypoint";

/// Everything that is looked at.
pub const SOURCES: &[SourceId] = &[
    SourceId::Deployments,
    SourceId::SystemDeployments,
    SourceId::GatewayDeployments,
    SourceId::DaemonSets,
    SourceId::SystemDaemonSets,
    SourceId::ComponentServices,
    SourceId::ComponentConfigMaps,
    SourceId::Pods,
    SourceId::SystemPods,
    SourceId::ComponentSecrets,
    SourceId::ComponentServiceAccounts,
    SourceId::ComponentRoleBindings,
    SourceId::ComponentRoles,
    SourceId::ComponentDisruptionBudgets,
    SourceId::ComponentAutoscalers,
    SourceId::EnvoyFilters,
    SourceId::MutatingWebhooks,
    SourceId::ValidatingWebhooks,
    SourceId::ClusterRoles,
    SourceId::ClusterRoleBindings,
    SourceId::Definitions,
    SourceId::NetworkAttachments,
    SourceId::KubeGateways,
    // Resources that go with their definitions.
    SourceId::VirtualServices,
    SourceId::DestinationRules,
    SourceId::IstioGateways,
    SourceId::ServiceEntries,
    SourceId::Sidecars,
    SourceId::PeerAuthentications,
    SourceId::AuthorizationPolicies,
    SourceId::RequestAuthentications,
    SourceId::Telemetries,
    SourceId::WasmPlugins,
    SourceId::ProxyConfigs,
    SourceId::WorkloadEntries,
    SourceId::WorkloadGroups,
    SourceId::IstioOperators,
];

/// Whose an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Belongs {
    /// The add-on's.
    AddOn,
    /// A definition that the add-on and everybody else who uses Istio share.
    Shared,
    /// Somebody else's.
    Other,
}

impl Belongs {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::AddOn => "addOn",
            Self::Shared => "shared",
            Self::Other => "other",
        }
    }
}

/// One object that would be deleted.
#[derive(Clone, Copy, Debug)]
pub struct Doomed<'a> {
    /// Its metadata.
    pub meta: &'a Meta,
    /// Whose it is.
    pub belongs: Belongs,
}

/// The objects of one kind that would be deleted.
#[derive(Clone, Debug)]
pub struct Group<'a> {
    /// Kind as Kubernetes spells it.
    pub kind: &'static str,
    /// Plural resource, with its group.
    pub resource: &'static str,
    /// By namespace and name.
    pub objects: Vec<Doomed<'a>>,
}

/// Resources that would go with their definition.
#[derive(Clone, Debug)]
pub struct Lost<'a> {
    /// Name of the definition, which is also the plural resource with its group.
    pub definition: &'a str,
    /// The resources; none where they were not read.
    pub resources: Option<Vec<&'a Meta>>,
}

/// What a purge would delete.
#[derive(Clone, Debug, Default)]
pub struct Purge<'a> {
    /// By kind, in the order in which they are looked for; kinds without an object are left out.
    pub groups: Vec<Group<'a>>,
    /// By definition.
    pub lost: Vec<Lost<'a>>,
    /// What could not be read, or only in part: there may be more of it.
    pub unread: Vec<SourceId>,
}

impl Purge<'_> {
    /// How many objects, and how many of them are the add-on's or shared with it.
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let all = || self.groups.iter().flat_map(|group| &group.objects);
        (all().count(), all().filter(|object| object.belongs != Belongs::Other).count())
    }

    /// How many resources would go with their definitions, as far as they were read.
    #[must_use]
    pub fn resources(&self) -> usize {
        self.lost.iter().map(|lost| lost.resources.as_ref().map_or(0, Vec::len)).sum()
    }
}

type Parts<'a> = (&'static str, SourceId, Vec<&'a Meta>);

/// What a purge would delete, as far as the cluster was read.
#[must_use]
pub fn purge(snapshot: &Snapshot) -> Purge<'_> {
    let groups: Vec<Group<'_>> = parts(snapshot)
        .into_iter()
        .filter_map(|(kind, id, mut metas)| {
            metas.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
            metas.dedup_by(|a, b| (&a.namespace, &a.name) == (&b.namespace, &b.name));
            let objects: Vec<_> =
                metas.into_iter().map(|meta| Doomed { meta, belongs: belongs(snapshot, kind, meta) }).collect();
            let resource = source(id)?.resource;
            (!objects.is_empty()).then_some(Group { kind, resource, objects })
        })
        .collect();
    let definitions = groups.iter().filter(|group| group.kind == "CustomResourceDefinition");
    let lost = definitions
        .flat_map(|group| &group.objects)
        .map(|definition| {
            let name = definition.meta.name.as_str();
            Lost { definition: name, resources: resources(snapshot, name) }
        })
        .collect();
    let unread = SOURCES.iter().copied().filter(|id| {
        source(*id).is_some_and(|source| {
            let state = (source.state)(snapshot);
            state.is_partial() || state.fallback.is_some()
        })
    });
    Purge { groups, lost, unread: unread.collect() }
}

/// Every kind that is looked for, with its parts.
fn parts(snapshot: &Snapshot) -> Vec<Parts<'_>> {
    let s = snapshot;
    let mut deployments = of_items(&s.deployments, |c| &c.metadata);
    deployments.extend(of_items(&s.system_deployments, |c| &c.metadata));
    deployments.extend(of_items(&s.gateway_deployments, |c| &c.metadata));
    let mut daemon_sets = of_items(&s.daemon_sets, |c| &c.metadata);
    daemon_sets.extend(of_items(&s.system_daemon_sets, |c| &c.metadata));
    let mut pods = of_items(&s.pods, |pod| &pod.metadata);
    pods.extend(of_items(&s.system_pods, |pod| &pod.metadata));
    let gateways = s.kube_gateways.items().unwrap_or_default().iter();
    let waypoints = gateways.filter(|g| g.spec.gateway_class_name == WAYPOINT).map(|g| &g.metadata).collect();
    vec![
        ("Deployment", SourceId::Deployments, deployments),
        ("DaemonSet", SourceId::DaemonSets, daemon_sets),
        ("Service", SourceId::ComponentServices, of_list(&s.component_services)),
        ("ConfigMap", SourceId::ComponentConfigMaps, of_list(&s.component_config_maps)),
        ("Pod", SourceId::Pods, pods),
        ("Secret", SourceId::ComponentSecrets, of_list(&s.component_secrets)),
        ("ServiceAccount", SourceId::ComponentServiceAccounts, of_list(&s.component_service_accounts)),
        ("RoleBinding", SourceId::ComponentRoleBindings, of_list(&s.component_role_bindings)),
        ("Role", SourceId::ComponentRoles, of_list(&s.component_roles)),
        ("PodDisruptionBudget", SourceId::ComponentDisruptionBudgets, of_list(&s.component_disruption_budgets)),
        ("HorizontalPodAutoscaler", SourceId::ComponentAutoscalers, of_list(&s.component_autoscalers)),
        ("EnvoyFilter", SourceId::EnvoyFilters, of_items(&s.envoy_filters, |filter| &filter.metadata)),
        ("MutatingWebhookConfiguration", SourceId::MutatingWebhooks, of_items(&s.mutating_webhooks, |c| &c.metadata)),
        (
            "ValidatingWebhookConfiguration",
            SourceId::ValidatingWebhooks,
            of_items(&s.validating_webhooks, |c| &c.metadata),
        ),
        ("ClusterRole", SourceId::ClusterRoles, of_list(&s.cluster_roles)),
        ("ClusterRoleBinding", SourceId::ClusterRoleBindings, of_list(&s.cluster_role_bindings)),
        ("CustomResourceDefinition", SourceId::Definitions, of_list(&s.definitions)),
        ("NetworkAttachmentDefinition", SourceId::NetworkAttachments, of_list(&s.network_attachments)),
        ("Gateway", SourceId::KubeGateways, waypoints),
    ]
}

fn of_items<'a, T>(section: &'a Section<T>, meta: impl Fn(&'a T) -> &'a Meta) -> Vec<&'a Meta> {
    let items = section.items().unwrap_or_default().iter();
    items.map(meta).filter(|meta| meta.labels.contains_key(COMPONENT)).collect()
}

fn of_list(section: &Section<MetaOnly>) -> Vec<&Meta> {
    of_items(section, |object| &object.metadata)
}

/// The resources of a definition, where that kind is one that is read.
fn resources<'a>(snapshot: &'a Snapshot, definition: &str) -> Option<Vec<&'a Meta>> {
    let (_, metas) = kinds(snapshot).into_iter().find(|(name, _)| *name == definition)?;
    metas
}

/// Istio's resources by their definition, as far as they were read.
#[must_use]
pub fn existing(snapshot: &Snapshot) -> Vec<(&'static str, Vec<&Meta>)> {
    kinds(snapshot).into_iter().filter_map(|(name, metas)| Some((name, metas?))).collect()
}

type Resources<'a> = (&'static str, Option<Vec<&'a Meta>>);

/// Istio's kinds that are read, each with its resources.
fn kinds(snapshot: &Snapshot) -> [Resources<'_>; 15] {
    fn all<'a, T>(section: &'a Section<T>, meta: impl Fn(&'a T) -> &'a Meta) -> Option<Vec<&'a Meta>> {
        match section {
            // Its version is not served, so there are none that could be lost.
            Section::NotServed => Some(Vec::new()),
            section => Some(section.items()?.iter().map(meta).collect()),
        }
    }
    fn list(section: &Section<MetaOnly>) -> Option<Vec<&Meta>> {
        all(section, |object| &object.metadata)
    }
    let s = snapshot;
    [
        ("virtualservices.networking.istio.io", list(&s.virtual_services)),
        ("destinationrules.networking.istio.io", list(&s.destination_rules)),
        ("gateways.networking.istio.io", list(&s.istio_gateways)),
        ("serviceentries.networking.istio.io", all(&s.service_entries, |o| &o.metadata)),
        ("sidecars.networking.istio.io", list(&s.sidecars)),
        ("envoyfilters.networking.istio.io", all(&s.envoy_filters, |o| &o.metadata)),
        ("proxyconfigs.networking.istio.io", list(&s.proxy_configs)),
        ("workloadentries.networking.istio.io", list(&s.workload_entries)),
        ("workloadgroups.networking.istio.io", list(&s.workload_groups)),
        ("peerauthentications.security.istio.io", all(&s.peer_authentications, |o| &o.metadata)),
        ("authorizationpolicies.security.istio.io", list(&s.authorization_policies)),
        ("requestauthentications.security.istio.io", list(&s.request_authentications)),
        ("telemetries.telemetry.istio.io", all(&s.telemetries, |o| &o.metadata)),
        ("wasmplugins.extensions.istio.io", list(&s.wasm_plugins)),
        ("istiooperators.install.istio.io", list(&s.istio_operators)),
    ]
}

/// Groups of Istio's own kinds. IstioOperator is not among them: the add-on does not use it.
const SHARED_GROUPS: [&str; 4] =
    [".networking.istio.io", ".security.istio.io", ".telemetry.istio.io", ".extensions.istio.io"];

/// Whether a definition is one of the kinds that the add-on uses too.
#[must_use]
pub fn is_shared_definition(name: &str) -> bool {
    SHARED_GROUPS.iter().any(|group| name.ends_with(group))
}

fn belongs(snapshot: &Snapshot, kind: &str, meta: &Meta) -> Belongs {
    if kind == "CustomResourceDefinition" {
        return if is_shared_definition(&meta.name) { Belongs::Shared } else { Belongs::Other };
    }
    if is_of_addon(meta) || calls_addon(snapshot, kind, &meta.name) { Belongs::AddOn } else { Belongs::Other }
}

/// Whether an object is the add-on's: by its namespace, by the Helm release that made it, by its revision, or by its name,
/// which the charts end with the namespace of the control plane.
#[must_use]
pub fn is_of_addon(meta: &Meta) -> bool {
    meta.namespace.starts_with("aks-istio-")
        || meta.annotation("meta.helm.sh/release-namespace").is_some_and(|name| name.starts_with("aks-istio-"))
        || meta.label("istio.io/rev").is_some_and(|revision| AsmRevision::parse(revision).is_some())
        || meta.name.ends_with(SYSTEM_NAMESPACE)
        || meta.label("kubernetes.azure.com/managedby") == Some("aks")
}

fn calls_addon(snapshot: &Snapshot, kind: &str, name: &str) -> bool {
    let section = match kind {
        "MutatingWebhookConfiguration" => &snapshot.mutating_webhooks,
        "ValidatingWebhookConfiguration" => &snapshot.validating_webhooks,
        _ => return false,
    };
    let own = section.items().unwrap_or_default().iter().filter(|configuration| configuration.metadata.name == name);
    let services =
        own.flat_map(|configuration| &configuration.webhooks).filter_map(|w| w.client_config.service.as_ref());
    services.map(|service| service.namespace.as_str()).collect::<BTreeSet<_>>().contains(SYSTEM_NAMESPACE)
}
