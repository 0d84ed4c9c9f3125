//! The list of sources.

use super::apis::{
    AUTHORIZATION_POLICIES, AUTOSCALERS, CONFIG_MAPS, CRDS, CRON_JOBS, DAEMON_SETS, DEPLOYMENTS, DESTINATION_RULES,
    DISRUPTION_BUDGETS, ENDPOINT_SLICES, ENVOY_FILTERS, EVENTS, ISTIO_GATEWAYS, ISTIO_OPERATORS, JOBS, KUBE_GATEWAYS,
    LEASES, MUTATING_WEBHOOKS, NAMESPACES, NODES, PEER_AUTHENTICATIONS, POD_PORTS, PODS, PROXY_CONFIGS, REPLICA_SETS,
    REQUEST_AUTHENTICATIONS, SECRET_PROVIDER_CLASSES, SECRETS, SERVICE_ENTRIES, SERVICES, SIDECARS, STATEFUL_SETS,
    TELEMETRIES, VALIDATING_WEBHOOKS, VIRTUAL_SERVICES, WASM_PLUGINS, WORKLOAD_ENTRIES, WORKLOAD_GROUPS,
};
use super::define::{cilium_meta, controller_meta, get, list, list_metadata, metadata, of_addon, plain, scoped};
use super::{
    FollowRight, INGRESS_NAMESPACE, Place, Reach, Request, SYSTEM_NAMESPACE, ScopedList, Source, component,
    new_collector,
};
use crate::cluster::{GetRequest, ListRequest};
use crate::mesh::{control_plane, webhook, workload};
use crate::model::envoy::ProxyAnswers;
use crate::model::log::ContainerLog;
use crate::model::{
    Autoscaler, AzureRecord, CiliumPolicy, ConfigMap, Controller, ControllerKind, DisruptionBudget, EndpointSlice,
    EnvoyFilter, Event, Grant, IstiodMetrics, KubeGateway, MetaOnly, Namespace, NetworkPolicy, Node,
    PeerAuthentication, Pod, Program, SecretProviderClass, Service, ServiceEntry, Telemetry, Trial,
    WebhookConfiguration, XdsRecord, from_json,
};
use crate::snapshot::{Scope, Snapshot, SourceId};

/// Finds a source by its name.
#[must_use]
pub fn source(id: SourceId) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.id == id)
}

/// Over a WebSocket the API server asks for `get`, from Kubernetes 1.35 on for `create` as well
/// (<https://github.com/kubernetes/kubernetes/pull/134577>); kubectl port-forward always needed `create`.
const PORT_FORWARDS: &[FollowRight] = &[
    FollowRight { verb: "create", api: POD_PORTS, place: Place::System },
    FollowRight { verb: "get", api: POD_PORTS, place: Place::System },
];

/// All sources.
pub static SOURCES: &[Source] = &[
    source!(Version, "/version", Reach::Fixed(|| vec![Request::Raw("/version")]), version, from_json, None),
    object!(
        Namespaces,
        Namespace,
        "namespaces",
        Reach::OrElse(
            || list(NAMESPACES, None, None),
            |scope: &Scope| {
                // Reading one namespace by name is allowed to whoever may view that namespace.
                scope.namespaces.iter().flatten().map(|name| get(NAMESPACES, None, name)).collect()
            }
        ),
        namespaces
    ),
    object!(
        MutatingWebhooks,
        WebhookConfiguration,
        "mutatingwebhookconfigurations.admissionregistration.k8s.io",
        Reach::Fixed(|| vec![list(MUTATING_WEBHOOKS, None, None)]),
        mutating_webhooks
    ),
    object!(SystemPods, Pod, "pods", Reach::Fixed(|| vec![list(PODS, Some(SYSTEM_NAMESPACE), None)]), system_pods),
    controller!(
        SystemDeployments,
        "deployments.apps",
        Reach::Fixed(|| vec![list(DEPLOYMENTS, Some(SYSTEM_NAMESPACE), None)]),
        system_deployments,
        Deployment
    ),
    object!(
        SystemServices,
        Service,
        "services",
        Reach::Fixed(|| vec![list(SERVICES, Some(SYSTEM_NAMESPACE), None)]),
        system_services
    ),
    object!(
        SystemEndpoints,
        EndpointSlice,
        "endpointslices.discovery.k8s.io",
        Reach::Fixed(|| vec![list(ENDPOINT_SLICES, Some(SYSTEM_NAMESPACE), None)]),
        system_endpoints
    ),
    object!(
        SystemConfigMaps,
        ConfigMap,
        "configmaps",
        Reach::Fixed(|| vec![list(CONFIG_MAPS, Some(SYSTEM_NAMESPACE), None)]),
        system_config_maps
    ),
    object!(
        Istiods,
        Pod,
        "pods",
        // One namespace without an istiod says nothing about the others, so there is no falling back to it.
        Reach::Scoped(ScopedList { labels: Some("app=istiod"), falls_back: false, ..scoped(PODS) }),
        istiods
    ),
    object!(
        WebhookServices,
        Service,
        "services",
        Reach::Follows(
            &[SourceId::MutatingWebhooks],
            |snapshot| {
                webhook::foreign_services(snapshot).iter().map(|s| get(SERVICES, Some(&s.namespace), &s.name)).collect()
            },
            &[FollowRight { verb: "get", api: SERVICES, place: Place::Webhooks }]
        ),
        webhook_services
    ),
    object!(
        WebhookEndpoints,
        EndpointSlice,
        "endpointslices.discovery.k8s.io",
        Reach::Follows(
            &[SourceId::MutatingWebhooks],
            |snapshot| {
                webhook::foreign_services(snapshot)
                    .iter()
                    .map(|s| {
                        let label = format!("kubernetes.io/service-name={}", s.name);
                        list(ENDPOINT_SLICES, Some(&s.namespace), Some(&label))
                    })
                    .collect()
            },
            &[FollowRight { verb: "list", api: ENDPOINT_SLICES, place: Place::Webhooks }]
        ),
        webhook_endpoints
    ),
    object!(
        WebhookConfigMaps,
        ConfigMap,
        "configmaps",
        Reach::Follows(
            &[SourceId::MutatingWebhooks],
            |snapshot| {
                webhook::foreign_injector_maps(snapshot)
                    .iter()
                    .map(|(namespace, name)| get(CONFIG_MAPS, Some(namespace), name))
                    .collect()
            },
            &[FollowRight { verb: "get", api: CONFIG_MAPS, place: Place::Webhooks }]
        ),
        webhook_config_maps
    ),
    object!(
        OperatorCrd,
        MetaOnly,
        "customresourcedefinitions.apiextensions.k8s.io",
        Reach::Fixed(|| {
            vec![Request::Get(GetRequest {
                api: CRDS,
                namespace: None,
                name: "istiooperators.install.istio.io".to_owned(),
                metadata_only: true,
            })]
        }),
        operator_crd
    ),
    object!(
        GatewayServices,
        Service,
        "services",
        Reach::Scoped(ScopedList {
            labels: Some("azureservicemesh/istio.component"),
            also: Some(|| list(SERVICES, Some(INGRESS_NAMESPACE), None)),
            falls_back: false,
            ..scoped(SERVICES)
        }),
        gateway_services
    ),
    controller!(
        GatewayDeployments,
        "deployments.apps",
        Reach::Fixed(|| vec![list(DEPLOYMENTS, Some(INGRESS_NAMESPACE), None)]),
        gateway_deployments,
        Deployment
    ),
    object!(Pods, Pod, "pods", plain(PODS), pods),
    controller!(Deployments, "deployments.apps", plain(DEPLOYMENTS), deployments, Deployment),
    controller!(StatefulSets, "statefulsets.apps", plain(STATEFUL_SETS), stateful_sets, StatefulSet),
    controller!(DaemonSets, "daemonsets.apps", plain(DAEMON_SETS), daemon_sets, DaemonSet),
    controller!(Jobs, "jobs.batch", plain(JOBS), jobs, Job),
    controller!(CronJobs, "cronjobs.batch", plain(CRON_JOBS), cron_jobs, CronJob),
    object!(
        RefusalEvents,
        Event,
        "events",
        Reach::Scoped(ScopedList { fields: Some("reason=FailedCreate"), ..scoped(EVENTS) }),
        refusal_events
    ),
    // Mostly a pod's name tells its Deployment; ReplicaSets are many, and old ones stay.
    object!(
        ReplicaSets,
        MetaOnly,
        "replicasets.apps",
        Reach::Follows(
            &[SourceId::Pods, SourceId::Deployments, SourceId::RefusalEvents],
            |snapshot| {
                workload::replica_set_places(snapshot)
                    .into_iter()
                    .map(|namespace| {
                        Request::List(ListRequest {
                            api: REPLICA_SETS,
                            namespace,
                            labels: None,
                            fields: None,
                            metadata_only: true,
                        })
                    })
                    .collect()
            },
            &[FollowRight { verb: "list", api: REPLICA_SETS, place: Place::Scope }]
        ),
        replica_sets
    ),
    object!(Nodes, Node, "nodes", Reach::Fixed(|| vec![list(NODES, None, None)]), nodes),
    object!(
        ValidatingWebhooks,
        WebhookConfiguration,
        "validatingwebhookconfigurations.admissionregistration.k8s.io",
        Reach::Fixed(|| vec![list(VALIDATING_WEBHOOKS, None, None)]),
        validating_webhooks
    ),
    controller!(
        SystemDaemonSets,
        "daemonsets.apps",
        Reach::Fixed(|| vec![list(DAEMON_SETS, Some(SYSTEM_NAMESPACE), None)]),
        system_daemon_sets,
        DaemonSet
    ),
    object!(
        Autoscalers,
        Autoscaler,
        "horizontalpodautoscalers.autoscaling",
        Reach::Fixed(|| of_addon(AUTOSCALERS)),
        autoscalers
    ),
    object!(
        DisruptionBudgets,
        DisruptionBudget,
        "poddisruptionbudgets.policy",
        Reach::Fixed(|| of_addon(DISRUPTION_BUDGETS)),
        disruption_budgets
    ),
    object!(
        SystemSecrets,
        MetaOnly,
        "secrets",
        Reach::Fixed(|| vec![list_metadata(SECRETS, SYSTEM_NAMESPACE)]),
        system_secrets
    ),
    object!(
        SecretProviderClasses,
        SecretProviderClass,
        "secretproviderclasses.secrets-store.csi.x-k8s.io",
        Reach::Fixed(|| vec![list(SECRET_PROVIDER_CLASSES, Some(SYSTEM_NAMESPACE), None)]),
        secret_provider_classes
    ),
    object!(
        SystemLeases,
        MetaOnly,
        "leases.coordination.k8s.io",
        Reach::Fixed(|| vec![list_metadata(LEASES, SYSTEM_NAMESPACE)]),
        system_leases
    ),
    object!(
        SuspectEvents,
        Event,
        "events",
        Reach::Follows(
            &[SourceId::SystemPods, SourceId::GatewayServices],
            |snapshot| {
                control_plane::suspects(snapshot)
                    .into_iter()
                    .map(|suspect| {
                        Request::List(ListRequest {
                            api: EVENTS,
                            namespace: Some(suspect.namespace),
                            labels: None,
                            fields: Some(format!(
                                "involvedObject.kind={},involvedObject.name={}",
                                suspect.kind, suspect.name
                            )),
                            metadata_only: false,
                        })
                    })
                    .collect()
            },
            &[FollowRight { verb: "list", api: EVENTS, place: Place::Addon }]
        ),
        suspect_events
    ),
    object!(
        RootCertificates,
        ConfigMap,
        "configmaps",
        Reach::Scoped(ScopedList { fields: Some("metadata.name=istio-ca-root-cert"), ..scoped(CONFIG_MAPS) }),
        root_certificates
    ),
    object!(
        SharedConfigMaps,
        ConfigMap,
        "configmaps",
        Reach::Follows(
            &[SourceId::SystemPods, SourceId::SystemDeployments],
            |snapshot| {
                let namespaces = match &snapshot.scope.namespaces {
                    None => vec![None],
                    Some(names) => names.iter().cloned().map(Some).collect(),
                };
                control_plane::revisions(snapshot)
                    .iter()
                    .flat_map(|revision| {
                        namespaces.iter().map(|namespace| {
                            Request::List(ListRequest {
                                api: CONFIG_MAPS,
                                namespace: namespace.clone(),
                                labels: None,
                                fields: Some(format!("metadata.name=istio-shared-configmap-{}", revision.name)),
                                metadata_only: false,
                            })
                        })
                    })
                    .collect()
            },
            &[FollowRight { verb: "list", api: CONFIG_MAPS, place: Place::Scope }]
        ),
        shared_config_maps
    ),
    object!(EnvoyFilters, EnvoyFilter, "envoyfilters.networking.istio.io", plain(ENVOY_FILTERS), envoy_filters),
    object!(Telemetries, Telemetry, "telemetries.telemetry.istio.io", plain(TELEMETRIES), telemetries),
    object!(
        ServiceEntries,
        ServiceEntry,
        "serviceentries.networking.istio.io",
        plain(SERVICE_ENTRIES),
        service_entries
    ),
    object!(
        PeerAuthentications,
        PeerAuthentication,
        "peerauthentications.security.istio.io",
        plain(PEER_AUTHENTICATIONS),
        peer_authentications
    ),
    object!(KubeGateways, KubeGateway, "gateways.gateway.networking.k8s.io", plain(KUBE_GATEWAYS), kube_gateways),
    object!(WasmPlugins, MetaOnly, "wasmplugins.extensions.istio.io", metadata(WASM_PLUGINS), wasm_plugins),
    object!(ProxyConfigs, MetaOnly, "proxyconfigs.networking.istio.io", metadata(PROXY_CONFIGS), proxy_configs),
    object!(
        WorkloadEntries,
        MetaOnly,
        "workloadentries.networking.istio.io",
        metadata(WORKLOAD_ENTRIES),
        workload_entries
    ),
    object!(WorkloadGroups, MetaOnly, "workloadgroups.networking.istio.io", metadata(WORKLOAD_GROUPS), workload_groups),
    object!(IstioOperators, MetaOnly, "istiooperators.install.istio.io", metadata(ISTIO_OPERATORS), istio_operators),
    object!(Sidecars, MetaOnly, "sidecars.networking.istio.io", metadata(SIDECARS), sidecars),
    object!(
        VirtualServices,
        MetaOnly,
        "virtualservices.networking.istio.io",
        metadata(VIRTUAL_SERVICES),
        virtual_services
    ),
    object!(
        DestinationRules,
        MetaOnly,
        "destinationrules.networking.istio.io",
        metadata(DESTINATION_RULES),
        destination_rules
    ),
    object!(IstioGateways, MetaOnly, "gateways.networking.istio.io", metadata(ISTIO_GATEWAYS), istio_gateways),
    object!(
        AuthorizationPolicies,
        MetaOnly,
        "authorizationpolicies.security.istio.io",
        metadata(AUTHORIZATION_POLICIES),
        authorization_policies
    ),
    object!(
        RequestAuthentications,
        MetaOnly,
        "requestauthentications.security.istio.io",
        metadata(REQUEST_AUTHENTICATIONS),
        request_authentications
    ),
    object!(
        MetricsConfigMaps,
        ConfigMap,
        "configmaps",
        Reach::Fixed(|| {
            ["ama-metrics-prometheus-config", "ama-metrics-settings-configmap"]
                .map(|name| get(CONFIG_MAPS, Some("kube-system"), name))
                .into()
        }),
        metrics_config_maps
    ),
    controller!(
        MetricsAgents,
        "deployments.apps",
        Reach::Fixed(|| vec![get(DEPLOYMENTS, Some("kube-system"), "ama-metrics")]),
        metrics_agents,
        Deployment
    ),
    source!(
        Xds,
        "pods/portforward",
        Reach::Follows(
            &[SourceId::SystemPods],
            |snapshot| super::xds::requests(snapshot).into_iter().map(Request::Istiod).collect(),
            PORT_FORWARDS
        ),
        xds,
        |bytes| serde_json::from_slice::<XdsRecord>(bytes),
        None
    ),
    source!(
        IstiodMetrics,
        "pods/portforward",
        Reach::Follows(
            &[SourceId::SystemPods],
            |snapshot| super::xds::requests(snapshot).into_iter().map(Request::Metrics).collect(),
            PORT_FORWARDS
        ),
        istiod_metrics,
        from_json::<IstiodMetrics>,
        None
    ),
    source!(
        ProxyAnswers,
        "pods/portforward",
        Reach::ByCommand("it looks into one proxy, which kubectl asm proxy-config does"),
        proxy_answers,
        ProxyAnswers::decode,
        // A large configuration stands on several lines, in their order.
        None
    ),
    source!(
        Logs,
        "pods/log",
        Reach::ByCommand("it reads logs, which kubectl asm logs does, and capture with --logs"),
        logs,
        from_json::<ContainerLog>,
        // A pod has several containers, and a container a log of before.
        None
    ),
    source!(
        Azure,
        "az",
        Reach::ByCommand("it asks Azure through az, which kubectl asm azure and --az do"),
        azure,
        from_json::<AzureRecord>,
        None
    ),
    source!(
        Trials,
        "pods",
        Reach::ByCommand("kubectl asm inject-check --probe asks the API server about a pod"),
        trials,
        |bytes| serde_json::from_slice::<Trial>(bytes),
        // One namespace may have a workload of one name twice, and a plain pod besides.
        None
    ),
    source!(
        Programs,
        "programs on the PATH",
        Reach::ByCommand("kubectl asm precheck looks for programs on the PATH"),
        programs,
        |bytes| serde_json::from_slice::<Program>(bytes),
        Some(|program: &Program| &program.metadata)
    ),
    source!(
        Grants,
        "selfsubjectaccessreviews.authorization.k8s.io",
        Reach::ByCommand("kubectl asm precheck asks about one's own rights"),
        grants,
        |bytes| serde_json::from_slice::<Grant>(bytes),
        None
    ),
    component!(ComponentServices, "services", SERVICES, component_services),
    component!(ComponentConfigMaps, "configmaps", CONFIG_MAPS, component_config_maps),
    component!(ComponentSecrets, "secrets", SECRETS, component_secrets),
    component!(ComponentServiceAccounts, "serviceaccounts", component::SERVICE_ACCOUNTS, component_service_accounts),
    component!(ComponentRoles, "roles.rbac.authorization.k8s.io", component::ROLES, component_roles),
    component!(
        ComponentRoleBindings,
        "rolebindings.rbac.authorization.k8s.io",
        component::ROLE_BINDINGS,
        component_role_bindings
    ),
    component!(
        ComponentDisruptionBudgets,
        "poddisruptionbudgets.policy",
        DISRUPTION_BUDGETS,
        component_disruption_budgets
    ),
    component!(ComponentAutoscalers, "horizontalpodautoscalers.autoscaling", AUTOSCALERS, component_autoscalers),
    component!(
        NetworkAttachments,
        "network-attachment-definitions.k8s.cni.cncf.io",
        component::NETWORK_ATTACHMENTS,
        network_attachments
    ),
    cluster_metadata!(ClusterRoles, "clusterroles.rbac.authorization.k8s.io", component::CLUSTER_ROLES, cluster_roles),
    cluster_metadata!(
        ClusterRoleBindings,
        "clusterrolebindings.rbac.authorization.k8s.io",
        component::CLUSTER_ROLE_BINDINGS,
        cluster_role_bindings
    ),
    cluster_metadata!(Definitions, "customresourcedefinitions.apiextensions.k8s.io", CRDS, definitions),
    cluster_metadata!(
        GatewayClasses,
        "gatewayclasses.gateway.networking.k8s.io",
        component::GATEWAY_CLASSES,
        gateway_classes
    ),
    object!(
        NetworkPolicies,
        NetworkPolicy,
        "networkpolicies.networking.k8s.io",
        plain(component::NETWORK_POLICIES),
        network_policies
    ),
    source!(
        CiliumPolicies,
        "ciliumnetworkpolicies.cilium.io",
        plain(component::CILIUM_POLICIES),
        cilium_policies,
        CiliumPolicy::decode,
        Some(cilium_meta)
    ),
    source!(
        CiliumClusterPolicies,
        "ciliumclusterwidenetworkpolicies.cilium.io",
        Reach::Fixed(|| vec![list(component::CILIUM_CLUSTER_POLICIES, None, None)]),
        cilium_cluster_policies,
        CiliumPolicy::decode,
        Some(cilium_meta)
    ),
    object!(
        AdmissionServices,
        Service,
        "services",
        Reach::Follows(
            &[SourceId::MutatingWebhooks, SourceId::ValidatingWebhooks, SourceId::Namespaces],
            component::admission_services,
            &[FollowRight { verb: "get", api: SERVICES, place: Place::Webhooks }]
        ),
        admission_services
    ),
    object!(
        AdmissionEndpoints,
        EndpointSlice,
        "endpointslices.discovery.k8s.io",
        Reach::Follows(
            &[SourceId::MutatingWebhooks, SourceId::ValidatingWebhooks, SourceId::Namespaces],
            component::admission_endpoints,
            &[FollowRight { verb: "list", api: ENDPOINT_SLICES, place: Place::Webhooks }]
        ),
        admission_endpoints
    ),
];
