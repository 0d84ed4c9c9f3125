//! The frozen world: what was read, what could not be read, and when.
//!
//! Filled once, by a live gather or from a bundle, then only looked at.

pub mod fault;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use fault::{Fault, FaultKind, Need};

use crate::model::envoy::ProxyAnswers;
use crate::model::log::ContainerLog;
use crate::model::{
    Autoscaler, AzureRecord, CiliumPolicy, ConfigMap, Controller, DisruptionBudget, EndpointSlice, EnvoyFilter, Event,
    Grant, IstiodMetrics, KubeGateway, MetaOnly, Namespace, NetworkPolicy, Node, PeerAuthentication, Pod, Program,
    SecretProviderClass, ServerVersion, Service, ServiceEntry, Telemetry, Trial, WebhookConfiguration, XdsRecord,
};

/// Everything that can be read, by name. The name is used in bundles and reports and never changes its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum SourceId {
    /// The API server's version.
    Version,
    /// Namespaces and their labels.
    Namespaces,
    /// MutatingWebhookConfigurations.
    MutatingWebhooks,
    /// Pods of the add-on's own namespace.
    SystemPods,
    /// Deployments of the add-on's own namespace.
    SystemDeployments,
    /// Services of the add-on's own namespace.
    SystemServices,
    /// EndpointSlices of the add-on's own namespace.
    SystemEndpoints,
    /// ConfigMaps of the add-on's own namespace.
    SystemConfigMaps,
    /// Pods labelled `app=istiod` anywhere.
    Istiods,
    /// Services that injecting webhooks outside the add-on's namespace point to.
    WebhookServices,
    /// EndpointSlices of those Services.
    WebhookEndpoints,
    /// Injector ConfigMaps of Istio installations outside the add-on's namespace.
    WebhookConfigMaps,
    /// The custom resource definition of self-managed Istio's operator.
    OperatorCrd,
    /// Services of ingress and egress gateways.
    GatewayServices,
    /// Deployments of the ingress gateways.
    GatewayDeployments,
    /// Pods of the examined namespaces.
    Pods,
    /// ReplicaSets of the examined namespaces, metadata only.
    ReplicaSets,
    /// Deployments of the examined namespaces.
    Deployments,
    /// StatefulSets of the examined namespaces.
    StatefulSets,
    /// DaemonSets of the examined namespaces.
    DaemonSets,
    /// Jobs of the examined namespaces.
    Jobs,
    /// CronJobs of the examined namespaces.
    CronJobs,
    /// Events that say that a controller's pod was refused.
    RefusalEvents,
    /// Nodes: versions, labels and conditions.
    Nodes,
    /// ValidatingWebhookConfigurations.
    ValidatingWebhooks,
    /// DaemonSets of the add-on's own namespace: Istio's CNI plugin.
    SystemDaemonSets,
    /// HorizontalPodAutoscalers of istiod and of the ingress gateways.
    Autoscalers,
    /// PodDisruptionBudgets of istiod and of the ingress gateways.
    DisruptionBudgets,
    /// Secrets of the add-on's own namespace, metadata only: which Helm releases there are, and which kind of CA.
    SystemSecrets,
    /// SecretProviderClasses of the add-on's own namespace: the Key Vault of a plug-in CA.
    SecretProviderClasses,
    /// Leases of the add-on's own namespace, metadata only.
    SystemLeases,
    /// Events of objects of the add-on that are not as they should be.
    SuspectEvents,
    /// The ConfigMaps `istio-ca-root-cert` of the examined namespaces.
    RootCertificates,
    /// ConfigMaps named like the shared mesh configuration, in any examined namespace.
    SharedConfigMaps,
    /// EnvoyFilters of the examined namespaces.
    EnvoyFilters,
    /// Telemetry resources of the examined namespaces.
    Telemetries,
    /// ServiceEntries of the examined namespaces.
    ServiceEntries,
    /// PeerAuthentications of the examined namespaces.
    PeerAuthentications,
    /// Sidecar resources of the examined namespaces, metadata only.
    Sidecars,
    /// WasmPlugins of the examined namespaces, metadata only.
    WasmPlugins,
    /// ProxyConfigs of the examined namespaces, metadata only.
    ProxyConfigs,
    /// WorkloadEntries of the examined namespaces, metadata only.
    WorkloadEntries,
    /// WorkloadGroups of the examined namespaces, metadata only.
    WorkloadGroups,
    /// IstioOperators of the examined namespaces, metadata only.
    IstioOperators,
    /// VirtualServices of the examined namespaces, metadata only.
    VirtualServices,
    /// DestinationRules of the examined namespaces, metadata only.
    DestinationRules,
    /// Istio's own Gateways of the examined namespaces, metadata only.
    IstioGateways,
    /// AuthorizationPolicies of the examined namespaces, metadata only.
    AuthorizationPolicies,
    /// RequestAuthentications of the examined namespaces, metadata only.
    RequestAuthentications,
    /// Gateway API Gateways of the examined namespaces.
    KubeGateways,
    /// Scrape configuration of managed Prometheus.
    MetricsConfigMaps,
    /// The Deployment of managed Prometheus's agent.
    MetricsAgents,
    /// What each istiod pod says about the proxies connected to it, asked through a port-forward.
    Xds,
    /// What one proxy says about its own configuration: read by the command that is about one proxy, and by no other.
    ProxyAnswers,
    /// Logs of istiod and of proxies, taken in: read by the command that is about logs, and by a capture that is asked to.
    Logs,
    /// What the API server made of pods that it was asked about: only `inject-check --probe` does.
    Trials,
    /// Programs on this machine that people use beside this one: only `precheck` looks for them.
    Programs,
    /// Rights of the user, one by one: only `precheck` asks about them.
    Grants,
    /// Services that carry Istio's component label, metadata only; so do the next seven.
    ComponentServices,
    /// ConfigMaps that carry it.
    ComponentConfigMaps,
    /// Secrets that carry it.
    ComponentSecrets,
    /// ServiceAccounts that carry it.
    ComponentServiceAccounts,
    /// Roles that carry it.
    ComponentRoles,
    /// RoleBindings that carry it.
    ComponentRoleBindings,
    /// PodDisruptionBudgets that carry it.
    ComponentDisruptionBudgets,
    /// HorizontalPodAutoscalers that carry it.
    ComponentAutoscalers,
    /// Network attachments of Istio's CNI plugin, metadata only.
    NetworkAttachments,
    /// ClusterRoles, metadata only.
    ClusterRoles,
    /// ClusterRoleBindings, metadata only.
    ClusterRoleBindings,
    /// Custom resource definitions, metadata only: whose they are.
    Definitions,
    /// GatewayClasses, metadata only.
    GatewayClasses,
    /// NetworkPolicies of the examined namespaces.
    NetworkPolicies,
    /// CiliumNetworkPolicies of the examined namespaces.
    CiliumPolicies,
    /// CiliumClusterwideNetworkPolicies.
    CiliumClusterPolicies,
    /// Services behind other products' webhooks that refuse the add-on's pods when they do not answer.
    AdmissionServices,
    /// EndpointSlices of those Services.
    AdmissionEndpoints,
    /// What Azure says about the cluster, asked through `az`: read only where a command is told to.
    Azure,
    /// What each istiod pod counts, asked through a port-forward.
    IstiodMetrics,
}

impl SourceId {
    /// The name used in bundles and reports.
    #[must_use]
    pub fn name(self) -> String {
        serde_json::to_value(self).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// An object that was received but could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Undecodable {
    /// Namespace and name, as far as they could be found.
    pub object: String,
    /// What is wrong with it, without its content.
    pub message: String,
}

/// What a source gave.
#[derive(Clone, Debug)]
pub struct Collected<T> {
    /// Decoded objects.
    pub items: Vec<T>,
    /// Objects that could not be decoded.
    pub undecodable: Vec<Undecodable>,
    /// Parts that could not be read, such as one of several namespaces.
    pub faults: Vec<Fault>,
    /// The refusal that made the read fall back from the whole cluster to one namespace.
    pub fallback: Option<Fault>,
}

impl<T> Collected<T> {
    /// Whether everything that was asked for is here and was understood.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.undecodable.is_empty() && self.faults.is_empty()
    }
}

/// The state of one source. Forbidden, not served and empty are three different things.
#[derive(Clone, Debug, Default)]
pub enum Section<T> {
    /// No selected check or view needs it, or the run was stopped before.
    #[default]
    NotRequested,
    /// The server does not know this kind.
    NotServed,
    /// Read, at least in part.
    Collected(Collected<T>),
    /// Nothing could be read.
    Failed(Vec<Fault>),
}

impl<T> Section<T> {
    /// The objects, where any could be read.
    #[must_use]
    pub fn items(&self) -> Option<&[T]> {
        match self {
            Self::Collected(collected) => Some(&collected.items),
            _ => None,
        }
    }

    /// A narrower list had to do, but more is examined than it covers: what it leaves out is missing.
    pub fn narrow_is_fault(&mut self) {
        if let Self::Collected(collected) = self
            && let Some(refusal) = collected.fallback.take()
        {
            collected.faults.insert(0, refusal);
        }
    }

    /// The section without its type.
    #[must_use]
    pub fn state(&self) -> State<'_> {
        match self {
            Self::NotRequested => State { kind: StateKind::NotRequested, ..State::default() },
            Self::NotServed => State { kind: StateKind::NotServed, ..State::default() },
            Self::Failed(faults) => State { kind: StateKind::Failed, faults, ..State::default() },
            Self::Collected(collected) => State {
                kind: StateKind::Collected,
                faults: &collected.faults,
                undecodable: &collected.undecodable,
                fallback: collected.fallback.as_ref(),
                items: collected.items.len(),
            },
        }
    }
}

/// Which of the four states a section is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum StateKind {
    /// See [`Section::NotRequested`].
    #[default]
    NotRequested,
    /// See [`Section::NotServed`].
    NotServed,
    /// See [`Section::Collected`].
    Collected,
    /// See [`Section::Failed`].
    Failed,
}

/// A section without its type.
#[derive(Clone, Copy, Debug, Default)]
pub struct State<'a> {
    /// Which state.
    pub kind: StateKind,
    /// What could not be read.
    pub faults: &'a [Fault],
    /// What could not be decoded.
    pub undecodable: &'a [Undecodable],
    /// Why only one namespace was read.
    pub fallback: Option<&'a Fault>,
    /// How many objects there are.
    pub items: usize,
}

impl State<'_> {
    /// Whether everything asked for was read and understood.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.kind == StateKind::Collected && self.faults.is_empty() && self.undecodable.is_empty()
    }

    /// Whether something that is there was not read or not understood. A kind that the server does not serve is not
    /// there.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        !self.is_complete() && self.kind != StateKind::NotServed
    }
}

/// Where the data comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OriginKind {
    /// A cluster, now.
    #[default]
    Live,
    /// A bundle on disk.
    Bundle,
    /// The bundle inside the binary.
    Demo,
    /// Saved answers of one proxy.
    File,
}

/// Origin of a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Origin {
    /// Live, bundle or demo.
    pub kind: OriginKind,
    /// kubeconfig context.
    pub context: Option<String>,
    /// API server URL.
    pub server: Option<String>,
    /// API server version, e.g. `v1.33.5`.
    pub server_version: Option<String>,
    /// When the cluster was read; the API server's clock where it told.
    #[schemars(with = "Option<String>")]
    pub captured_at: Option<Timestamp>,
}

/// Which namespaces' workloads are examined.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    /// The namespaces, or none for all.
    pub namespaces: Option<Vec<String>>,
}

impl Scope {
    /// Whether a namespace is examined.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        self.namespaces.as_ref().is_none_or(|list| list.iter().any(|name| name == namespace))
    }
}

/// The frozen world.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Where it comes from.
    pub origin: Origin,
    /// What was asked for, or what was left after a refusal.
    pub scope: Scope,
    /// Whether the run was interrupted or ran out of time before everything was read.
    pub interrupted: bool,
    /// See [`SourceId::Version`].
    pub version: Section<ServerVersion>,
    /// See [`SourceId::Namespaces`].
    pub namespaces: Section<Namespace>,
    /// See [`SourceId::MutatingWebhooks`].
    pub mutating_webhooks: Section<WebhookConfiguration>,
    /// See [`SourceId::SystemPods`].
    pub system_pods: Section<Pod>,
    /// See [`SourceId::SystemDeployments`].
    pub system_deployments: Section<Controller>,
    /// See [`SourceId::SystemServices`].
    pub system_services: Section<Service>,
    /// See [`SourceId::SystemEndpoints`].
    pub system_endpoints: Section<EndpointSlice>,
    /// See [`SourceId::SystemConfigMaps`].
    pub system_config_maps: Section<ConfigMap>,
    /// See [`SourceId::Istiods`].
    pub istiods: Section<Pod>,
    /// See [`SourceId::WebhookServices`].
    pub webhook_services: Section<Service>,
    /// See [`SourceId::WebhookEndpoints`].
    pub webhook_endpoints: Section<EndpointSlice>,
    /// See [`SourceId::WebhookConfigMaps`].
    pub webhook_config_maps: Section<ConfigMap>,
    /// See [`SourceId::OperatorCrd`].
    pub operator_crd: Section<MetaOnly>,
    /// See [`SourceId::GatewayServices`].
    pub gateway_services: Section<Service>,
    /// See [`SourceId::GatewayDeployments`].
    pub gateway_deployments: Section<Controller>,
    /// See [`SourceId::Pods`].
    pub pods: Section<Pod>,
    /// See [`SourceId::ReplicaSets`].
    pub replica_sets: Section<MetaOnly>,
    /// See [`SourceId::Deployments`].
    pub deployments: Section<Controller>,
    /// See [`SourceId::StatefulSets`].
    pub stateful_sets: Section<Controller>,
    /// See [`SourceId::DaemonSets`].
    pub daemon_sets: Section<Controller>,
    /// See [`SourceId::Jobs`].
    pub jobs: Section<Controller>,
    /// See [`SourceId::CronJobs`].
    pub cron_jobs: Section<Controller>,
    /// See [`SourceId::RefusalEvents`].
    pub refusal_events: Section<Event>,
    /// See [`SourceId::Nodes`].
    pub nodes: Section<Node>,
    /// See [`SourceId::ValidatingWebhooks`].
    pub validating_webhooks: Section<WebhookConfiguration>,
    /// See [`SourceId::SystemDaemonSets`].
    pub system_daemon_sets: Section<Controller>,
    /// See [`SourceId::Autoscalers`].
    pub autoscalers: Section<Autoscaler>,
    /// See [`SourceId::DisruptionBudgets`].
    pub disruption_budgets: Section<DisruptionBudget>,
    /// See [`SourceId::SystemSecrets`].
    pub system_secrets: Section<MetaOnly>,
    /// See [`SourceId::SecretProviderClasses`].
    pub secret_provider_classes: Section<SecretProviderClass>,
    /// See [`SourceId::SystemLeases`].
    pub system_leases: Section<MetaOnly>,
    /// See [`SourceId::SuspectEvents`].
    pub suspect_events: Section<Event>,
    /// See [`SourceId::RootCertificates`].
    pub root_certificates: Section<ConfigMap>,
    /// See [`SourceId::SharedConfigMaps`].
    pub shared_config_maps: Section<ConfigMap>,
    /// See [`SourceId::EnvoyFilters`].
    pub envoy_filters: Section<EnvoyFilter>,
    /// See [`SourceId::Telemetries`].
    pub telemetries: Section<Telemetry>,
    /// See [`SourceId::ServiceEntries`].
    pub service_entries: Section<ServiceEntry>,
    /// See [`SourceId::PeerAuthentications`].
    pub peer_authentications: Section<PeerAuthentication>,
    /// See [`SourceId::Sidecars`].
    pub sidecars: Section<MetaOnly>,
    /// See [`SourceId::WasmPlugins`].
    pub wasm_plugins: Section<MetaOnly>,
    /// See [`SourceId::ProxyConfigs`].
    pub proxy_configs: Section<MetaOnly>,
    /// See [`SourceId::WorkloadEntries`].
    pub workload_entries: Section<MetaOnly>,
    /// See [`SourceId::WorkloadGroups`].
    pub workload_groups: Section<MetaOnly>,
    /// See [`SourceId::IstioOperators`].
    pub istio_operators: Section<MetaOnly>,
    /// See [`SourceId::VirtualServices`].
    pub virtual_services: Section<MetaOnly>,
    /// See [`SourceId::DestinationRules`].
    pub destination_rules: Section<MetaOnly>,
    /// See [`SourceId::IstioGateways`].
    pub istio_gateways: Section<MetaOnly>,
    /// See [`SourceId::AuthorizationPolicies`].
    pub authorization_policies: Section<MetaOnly>,
    /// See [`SourceId::RequestAuthentications`].
    pub request_authentications: Section<MetaOnly>,
    /// See [`SourceId::KubeGateways`].
    pub kube_gateways: Section<KubeGateway>,
    /// See [`SourceId::MetricsConfigMaps`].
    pub metrics_config_maps: Section<ConfigMap>,
    /// See [`SourceId::MetricsAgents`].
    pub metrics_agents: Section<Controller>,
    /// See [`SourceId::Xds`].
    pub xds: Section<XdsRecord>,
    /// See [`SourceId::ProxyAnswers`].
    pub proxy_answers: Section<ProxyAnswers>,
    /// See [`SourceId::Logs`].
    pub logs: Section<ContainerLog>,
    /// See [`SourceId::Trials`].
    pub trials: Section<Trial>,
    /// See [`SourceId::Programs`].
    pub programs: Section<Program>,
    /// See [`SourceId::Grants`].
    pub grants: Section<Grant>,
    /// See [`SourceId::ComponentServices`].
    pub component_services: Section<MetaOnly>,
    /// See [`SourceId::ComponentConfigMaps`].
    pub component_config_maps: Section<MetaOnly>,
    /// See [`SourceId::ComponentSecrets`].
    pub component_secrets: Section<MetaOnly>,
    /// See [`SourceId::ComponentServiceAccounts`].
    pub component_service_accounts: Section<MetaOnly>,
    /// See [`SourceId::ComponentRoles`].
    pub component_roles: Section<MetaOnly>,
    /// See [`SourceId::ComponentRoleBindings`].
    pub component_role_bindings: Section<MetaOnly>,
    /// See [`SourceId::ComponentDisruptionBudgets`].
    pub component_disruption_budgets: Section<MetaOnly>,
    /// See [`SourceId::ComponentAutoscalers`].
    pub component_autoscalers: Section<MetaOnly>,
    /// See [`SourceId::NetworkAttachments`].
    pub network_attachments: Section<MetaOnly>,
    /// See [`SourceId::ClusterRoles`].
    pub cluster_roles: Section<MetaOnly>,
    /// See [`SourceId::ClusterRoleBindings`].
    pub cluster_role_bindings: Section<MetaOnly>,
    /// See [`SourceId::Definitions`].
    pub definitions: Section<MetaOnly>,
    /// See [`SourceId::GatewayClasses`].
    pub gateway_classes: Section<MetaOnly>,
    /// See [`SourceId::NetworkPolicies`].
    pub network_policies: Section<NetworkPolicy>,
    /// See [`SourceId::CiliumPolicies`].
    pub cilium_policies: Section<CiliumPolicy>,
    /// See [`SourceId::CiliumClusterPolicies`].
    pub cilium_cluster_policies: Section<CiliumPolicy>,
    /// See [`SourceId::AdmissionServices`].
    pub admission_services: Section<Service>,
    /// See [`SourceId::AdmissionEndpoints`].
    pub admission_endpoints: Section<EndpointSlice>,
    /// See [`SourceId::Azure`].
    pub azure: Section<AzureRecord>,
    /// See [`SourceId::IstiodMetrics`].
    pub istiod_metrics: Section<IstiodMetrics>,
}
