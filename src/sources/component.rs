//! Parts of Istio, found by the label that its installer and its charts give them.

use super::{Request, SYSTEM_NAMESPACE};
use crate::cluster::{Api, ListRequest};
use crate::snapshot::Scope;

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

fn list(api: Api, namespace: Option<&str>) -> Request {
    Request::List(ListRequest {
        api,
        namespace: namespace.map(str::to_owned),
        labels: Some(LABEL.to_owned()),
        fields: None,
        metadata_only: true,
    })
}
