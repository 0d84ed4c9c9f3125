//! What `conflicts` reads besides: parts of Istio by the label that its installer and its charts give them, policies of
//! the network, and what is behind other products' admission webhooks.

use super::apis::{ENDPOINT_SLICES, SERVICES};
use super::{Request, SYSTEM_NAMESPACE};
use crate::cluster::{Api, GetRequest, ListRequest};
use crate::mesh::webhook;
use crate::model::webhook::ServiceRef;
use crate::snapshot::{Scope, Snapshot};

pub(super) const SERVICE_ACCOUNTS: Api = Api { group: "", version: "v1", resource: "serviceaccounts" };
pub(super) const ROLES: Api = Api { group: "rbac.authorization.k8s.io", version: "v1", resource: "roles" };
pub(super) const ROLE_BINDINGS: Api =
    Api { group: "rbac.authorization.k8s.io", version: "v1", resource: "rolebindings" };
pub(super) const CLUSTER_ROLES: Api =
    Api { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterroles" };
pub(super) const CLUSTER_ROLE_BINDINGS: Api =
    Api { group: "rbac.authorization.k8s.io", version: "v1", resource: "clusterrolebindings" };
pub(super) const NETWORK_ATTACHMENTS: Api =
    Api { group: "k8s.cni.cncf.io", version: "v1", resource: "network-attachment-definitions" };
pub(super) const GATEWAY_CLASSES: Api =
    Api { group: "gateway.networking.k8s.io", version: "v1", resource: "gatewayclasses" };

pub(super) const NETWORK_POLICIES: Api = Api { group: "networking.k8s.io", version: "v1", resource: "networkpolicies" };
pub(super) const CILIUM_POLICIES: Api = Api { group: "cilium.io", version: "v2", resource: "ciliumnetworkpolicies" };
pub(super) const CILIUM_CLUSTER_POLICIES: Api =
    Api { group: "cilium.io", version: "v2", resource: "ciliumclusterwidenetworkpolicies" };

/// The label of a part (`operator/pkg/manifest` in istio/istio). `istioctl uninstall --purge` deletes what has it.
const LABEL: &str = "operator.istio.io/component";

/// The parts of one kind in the whole cluster.
pub(super) fn everywhere(api: Api) -> Request {
    list(api, None)
}

/// The parts of one kind in the named namespaces. The add-on's own namespace is always among them: what would be lost
/// there is lost to every namespace.
pub(super) fn in_scope(api: Api, scope: &Scope) -> Vec<Request> {
    let named = scope.namespaces.iter().flatten().map(String::as_str).filter(|name| *name != SYSTEM_NAMESPACE);
    named.chain([SYSTEM_NAMESPACE]).map(|name| list(api, Some(name))).collect()
}

/// All objects of a cluster-wide kind, metadata only.
pub(super) fn metadata(api: Api) -> Request {
    Request::List(ListRequest { api, namespace: None, labels: None, fields: None, metadata_only: true })
}

/// Services that admission webhooks of others call which the add-on's pods depend on.
pub(super) fn admission_services(snapshot: &Snapshot) -> Vec<Request> {
    let get = |service: ServiceRef| {
        Request::Get(GetRequest {
            api: SERVICES,
            namespace: Some(service.namespace),
            name: service.name,
            metadata_only: false,
        })
    };
    webhook::gatekeepers_services(snapshot).into_iter().map(get).collect()
}

/// Who is ready behind those Services.
pub(super) fn admission_endpoints(snapshot: &Snapshot) -> Vec<Request> {
    let list = |service: ServiceRef| {
        Request::List(ListRequest {
            api: ENDPOINT_SLICES,
            namespace: Some(service.namespace),
            labels: Some(format!("kubernetes.io/service-name={}", service.name)),
            fields: None,
            metadata_only: false,
        })
    };
    webhook::gatekeepers_services(snapshot).into_iter().map(list).collect()
}

fn list(api: Api, namespace: Option<&str>) -> Request {
    Request::List(ListRequest {
        api,
        namespace: namespace.map(str::to_owned),
        labels: Some(LABEL.to_owned()),
        fields: None,
        metadata_only: true,
    })
}
