//! Slim structs of what is read from Kubernetes: only the fields that verdicts need, tolerant of everything else.
//!
//! Unknown fields are ignored, `null` counts as absent, and an enum-like string stays a string: an Istio or Kubernetes
//! release that adds a field or a value must not cost an object.

pub mod age;
pub mod azure;
pub mod config_map;
pub mod controller;
pub mod envoy;
pub mod event;
pub mod istio;
pub mod log;
pub mod meta;
pub mod metrics;
pub mod network_policy;
pub mod node;
pub mod pod;
pub mod precheck;
pub mod quantity;
pub mod quoted;
pub mod scaling;
pub mod selector;
pub mod service;
pub mod string_map;
pub(crate) mod text;
pub mod trial;
pub mod webhook;
pub mod word;
pub mod xds;
pub mod yaml;

pub use azure::AzureRecord;
pub use config_map::ConfigMap;
pub use controller::{Controller, ControllerKind};
pub use event::Event;
pub use istio::{EnvoyFilter, KubeGateway, PeerAuthentication, SecretProviderClass, ServiceEntry, Telemetry};
pub use meta::{Meta, OwnerRef};
pub use metrics::IstiodMetrics;
pub use network_policy::{CiliumPolicy, NetworkPolicy};
pub use node::Node;
pub use pod::{Container, ContainerStatus, Pod, PodSpec, PodStatus, PodTemplate};
pub use precheck::{Grant, Program};
pub use quantity::Resources;
pub use scaling::{Autoscaler, DisruptionBudget};
pub use selector::LabelSelector;
pub use service::{EndpointSlice, Service};
pub use trial::Trial;
pub use webhook::{Webhook, WebhookConfiguration};
pub use word::Word;
pub use xds::XdsRecord;

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Reads one object. JSON is UTF-8, and looking at that once is faster than anew for each of its texts; what is not UTF-8
/// is refused as a whole, as writing it into a bundle would.
///
/// # Errors
/// When the bytes are not an object of that shape.
pub(crate) fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        // Read once more only to say in which column.
        Err(error) => Err(serde_json::from_slice::<serde_json::Value>(bytes)
            .err()
            .unwrap_or_else(|| serde::de::Error::custom(error))),
    }
}

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

/// Reads a list, `null` as an empty one, and keeps of each element what `keep` makes of it: where most is dropped, it need
/// not be held first.
pub(crate) fn kept<'de, D, E, T>(deserializer: D, keep: fn(E) -> Option<T>) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    E: Deserialize<'de>,
{
    struct Reader<E, T>(fn(E) -> Option<T>, PhantomData<T>);
    impl<'de, E: Deserialize<'de>, T> Visitor<'de> for Reader<E, T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list or null")
        }

        fn visit_none<X>(self) -> Result<Vec<T>, X> {
            Ok(Vec::new())
        }

        fn visit_unit<X>(self) -> Result<Vec<T>, X> {
            Ok(Vec::new())
        }

        fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<T>, D::Error> {
            deserializer.deserialize_seq(self)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(element) = elements.next_element()? {
                list.extend((self.0)(element));
            }
            list.shrink_to_fit();
            Ok(list)
        }
    }
    deserializer.deserialize_option(Reader(keep, PhantomData))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_utf8_is_refused_wherever_it_stands() {
        let whole: Result<MetaOnly, _> = from_json("{\"metadata\":{\"name\":\"é\"},\"new\":\"é\"}".as_bytes());
        assert_eq!(whole.ok().map(|object| object.metadata.name).as_deref(), Some("é"));
        for odd in [&b"{\"metadata\":{\"name\":\"\xff\"}}"[..], b"{\"metadata\":{},\"new\":\"\xc3\"}", b"{\xff}"] {
            assert!(from_json::<MetaOnly>(odd).is_err_and(|error| error.column() > 0), "{odd:?}");
        }
    }
}
