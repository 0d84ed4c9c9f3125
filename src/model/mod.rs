//! Slim structs of what is read from Kubernetes: only the fields that verdicts need, tolerant of everything else.
//!
//! Unknown fields are ignored, `null` counts as absent, and an enum-like string stays a string: an Istio or Kubernetes
//! release that adds a field or a value must not cost an object.

pub mod age;
pub mod config_map;
pub mod controller;
pub mod envoy;
pub mod event;
pub mod istio;
pub mod meta;
pub mod network_policy;
pub mod node;
pub mod pod;
pub mod quantity;
pub mod quoted;
pub mod scaling;
pub mod selector;
pub mod service;
pub mod string_map;
pub mod webhook;
pub mod xds;
pub mod yaml;

pub use config_map::ConfigMap;
pub use controller::{Controller, ControllerKind};
pub use event::Event;
pub use istio::{EnvoyFilter, KubeGateway, PeerAuthentication, SecretProviderClass, ServiceEntry, Telemetry};
pub use meta::{Meta, OwnerRef};
pub use network_policy::{CiliumPolicy, NetworkPolicy};
pub use node::Node;
pub use pod::{Container, ContainerStatus, Pod, PodSpec, PodStatus, PodTemplate};
pub use quantity::Resources;
pub use scaling::{Autoscaler, DisruptionBudget};
pub use selector::LabelSelector;
pub use service::{EndpointSlice, Service};
pub use webhook::{Webhook, WebhookConfiguration};
pub use xds::XdsRecord;

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// Reads a list, `null` as an empty one, and gives back the room that growing it left over: there are several lists in
/// each of thousands of pods.
pub(crate) fn compact<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    let mut list = Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default();
    list.shrink_to_fit();
    Ok(list)
}

/// An object of which only the metadata matters (ReplicaSets, Namespaces, custom resource definitions).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MetaOnly {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
}

/// A Namespace: its labels decide injection, its phase whether it is going away.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Namespace {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
}

/// The answer of `/version`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerVersion {
    /// Full version such as `v1.33.5`. An answer without it is no API server's.
    pub git_version: String,
}
