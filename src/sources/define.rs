//! How a source of the catalogue is written down: what it reads, and macros for sources of one kind.

use super::{INGRESS_NAMESPACE, Reach, Request, SYSTEM_NAMESPACE, ScopedList};
use crate::cluster::{Api, GetRequest, ListRequest};
use crate::model::{CiliumPolicy, Controller, Meta};

pub(super) fn list(api: Api, namespace: Option<&str>, labels: Option<&str>) -> Request {
    Request::List(ListRequest {
        api,
        namespace: namespace.map(str::to_owned),
        labels: labels.map(str::to_owned),
        fields: None,
        metadata_only: false,
    })
}

pub(super) fn get(api: Api, namespace: Option<&str>, name: &str) -> Request {
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
        source!($id, $resource, $reach, $field, from_json::<$type>, Some(|object: &$type| &object.metadata))
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

/// Parts of Istio of one kind, metadata only.
macro_rules! component {
    ($id:ident, $resource:literal, $api:expr, $field:ident) => {
        object!(
            $id,
            MetaOnly,
            $resource,
            Reach::OrElse(|| component::everywhere($api), |scope: &Scope| component::in_scope($api, scope)),
            $field
        )
    };
}

/// Cluster-wide objects of one kind, metadata only.
macro_rules! cluster_metadata {
    ($id:ident, $resource:literal, $api:expr, $field:ident) => {
        object!($id, MetaOnly, $resource, Reach::Fixed(|| vec![component::metadata($api)]), $field)
    };
}

pub(super) fn cilium_meta(policy: &CiliumPolicy) -> &Meta {
    &policy.metadata
}

pub(super) fn controller_meta(controller: &Controller) -> &Meta {
    &controller.metadata
}

/// A list in each of the add-on's two namespaces.
pub(super) fn of_addon(api: Api) -> Vec<Request> {
    [SYSTEM_NAMESPACE, INGRESS_NAMESPACE].map(|namespace| list(api, Some(namespace), None)).into()
}

pub(super) fn list_metadata(api: Api, namespace: &str) -> Request {
    Request::List(ListRequest {
        api,
        namespace: Some(namespace.to_owned()),
        labels: None,
        fields: None,
        metadata_only: true,
    })
}

pub(super) const fn metadata(api: Api) -> Reach {
    Reach::Scoped(ScopedList { metadata_only: true, ..scoped(api) })
}

pub(super) const fn plain(api: Api) -> Reach {
    Reach::Scoped(scoped(api))
}

pub(super) const fn scoped(api: Api) -> ScopedList {
    ScopedList { api, labels: None, fields: None, metadata_only: false, also: None, falls_back: true }
}
