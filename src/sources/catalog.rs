//! The list of sources.

use super::{INGRESS_NAMESPACE, Reach, Request, SYSTEM_NAMESPACE, Source, new_collector};
use crate::cluster::{Api, GetRequest, ListRequest};
use crate::mesh::webhook;
use crate::model::{
    ConfigMap, Controller, ControllerKind, EndpointSlice, Event, Meta, MetaOnly, Namespace, Pod, Service,
    WebhookConfiguration,
};
use crate::snapshot::{Scope, Snapshot, SourceId};

const PODS: Api = Api { group: "", version: "v1", resource: "pods" };
const SERVICES: Api = Api { group: "", version: "v1", resource: "services" };
const CONFIG_MAPS: Api = Api { group: "", version: "v1", resource: "configmaps" };
const EVENTS: Api = Api { group: "", version: "v1", resource: "events" };
const NAMESPACES: Api = Api { group: "", version: "v1", resource: "namespaces" };
const DEPLOYMENTS: Api = Api { group: "apps", version: "v1", resource: "deployments" };
const REPLICA_SETS: Api = Api { group: "apps", version: "v1", resource: "replicasets" };
const STATEFUL_SETS: Api = Api { group: "apps", version: "v1", resource: "statefulsets" };
const DAEMON_SETS: Api = Api { group: "apps", version: "v1", resource: "daemonsets" };
const JOBS: Api = Api { group: "batch", version: "v1", resource: "jobs" };
const CRON_JOBS: Api = Api { group: "batch", version: "v1", resource: "cronjobs" };
const ENDPOINT_SLICES: Api = Api { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" };
const MUTATING_WEBHOOKS: Api =
    Api { group: "admissionregistration.k8s.io", version: "v1", resource: "mutatingwebhookconfigurations" };
const CRDS: Api = Api { group: "apiextensions.k8s.io", version: "v1", resource: "customresourcedefinitions" };

/// Finds a source by its name.
#[must_use]
pub fn source(id: SourceId) -> Option<&'static Source> {
    SOURCES.iter().find(|source| source.id == id)
}

fn list(api: Api, namespace: Option<&str>, labels: Option<&str>) -> Request {
    Request::List(ListRequest {
        api,
        namespace: namespace.map(str::to_owned),
        labels: labels.map(str::to_owned),
        fields: None,
        metadata_only: false,
    })
}

fn get(api: Api, namespace: Option<&str>, name: &str) -> Request {
    Request::Get(GetRequest {
        api,
        namespace: namespace.map(str::to_owned),
        name: name.to_owned(),
        metadata_only: false,
    })
}

macro_rules! source {
    ($id:ident, $resource:literal, $reach:expr, $field:ident, $decode:expr, $key:expr) => {
        Source {
            id: SourceId::$id,
            resource: $resource,
            reach: $reach,
            collector: || new_collector($decode, |snapshot: &mut Snapshot| &mut snapshot.$field, $key),
            state: |snapshot| snapshot.$field.state(),
            narrow_is_fault: |snapshot| snapshot.$field.narrow_is_fault(),
        }
    };
}

macro_rules! object {
    ($id:ident, $type:ty, $resource:literal, $reach:expr, $field:ident) => {
        source!(
            $id,
            $resource,
            $reach,
            $field,
            |bytes| serde_json::from_slice::<$type>(bytes),
            Some(|object: &$type| &object.metadata)
        )
    };
}

macro_rules! controller {
    ($id:ident, $resource:literal, $reach:expr, $field:ident, $kind:ident) => {
        source!(
            $id,
            $resource,
            $reach,
            $field,
            |bytes| Controller::decode(ControllerKind::$kind, bytes),
            Some(controller_meta)
        )
    };
}

fn controller_meta(controller: &Controller) -> &Meta {
    &controller.metadata
}

const fn plain(api: Api) -> Reach {
    Reach::Scoped { api, fields: None, metadata_only: false }
}

/// All sources.
pub static SOURCES: &[Source] = &[
    source!(
        Version,
        "/version",
        Reach::Fixed(|| vec![Request::Raw("/version")]),
        version,
        |bytes| serde_json::from_slice(bytes),
        None
    ),
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
    object!(Istiods, Pod, "pods", Reach::Fixed(|| vec![list(PODS, None, Some("app=istiod"))]), istiods),
    object!(
        WebhookServices,
        Service,
        "services",
        Reach::Follows(&[SourceId::MutatingWebhooks], |snapshot| {
            webhook::foreign_services(snapshot).iter().map(|s| get(SERVICES, Some(&s.namespace), &s.name)).collect()
        }),
        webhook_services
    ),
    object!(
        WebhookEndpoints,
        EndpointSlice,
        "endpointslices.discovery.k8s.io",
        Reach::Follows(&[SourceId::MutatingWebhooks], |snapshot| {
            webhook::foreign_services(snapshot)
                .iter()
                .map(|s| {
                    let label = format!("kubernetes.io/service-name={}", s.name);
                    list(ENDPOINT_SLICES, Some(&s.namespace), Some(&label))
                })
                .collect()
        }),
        webhook_endpoints
    ),
    object!(
        WebhookConfigMaps,
        ConfigMap,
        "configmaps",
        Reach::Follows(&[SourceId::MutatingWebhooks], |snapshot| {
            webhook::foreign_injector_maps(snapshot)
                .iter()
                .map(|(namespace, name)| get(CONFIG_MAPS, Some(namespace), name))
                .collect()
        }),
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
        Reach::Fixed(|| {
            vec![
                list(SERVICES, Some(INGRESS_NAMESPACE), None),
                list(SERVICES, None, Some("azureservicemesh/istio.component")),
            ]
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
    object!(
        ReplicaSets,
        MetaOnly,
        "replicasets.apps",
        Reach::Scoped { api: REPLICA_SETS, fields: None, metadata_only: true },
        replica_sets
    ),
    controller!(Deployments, "deployments.apps", plain(DEPLOYMENTS), deployments, Deployment),
    controller!(StatefulSets, "statefulsets.apps", plain(STATEFUL_SETS), stateful_sets, StatefulSet),
    controller!(DaemonSets, "daemonsets.apps", plain(DAEMON_SETS), daemon_sets, DaemonSet),
    controller!(Jobs, "jobs.batch", plain(JOBS), jobs, Job),
    controller!(CronJobs, "cronjobs.batch", plain(CRON_JOBS), cron_jobs, CronJob),
    object!(
        RefusalEvents,
        Event,
        "events",
        Reach::Scoped { api: EVENTS, fields: Some("reason=FailedCreate"), metadata_only: false },
        refusal_events
    ),
];
