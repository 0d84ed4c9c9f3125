//! What parts of an admin answer share: addresses, Istio's metadata, errors, secrets that are referred to by name.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::model::meta::lenient_time;
use crate::model::nullable;

/// A number as protobuf's JSON writes it: bare, or as text where it has 64 bits. Anything else counts as absent.
pub(super) fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    Ok(optional_number(deserializer)?.unwrap_or_default())
}

/// See [`number`].
pub(super) fn optional_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Bare(u64),
        Text(String),
        Other(IgnoredAny),
    }
    Ok(match Option::<Number>::deserialize(deserializer)? {
        Some(Number::Bare(number)) => Some(number),
        Some(Number::Text(text)) => text.parse().ok(),
        Some(Number::Other(_)) | None => None,
    })
}

/// An address (`config/core/v3/address.proto`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Address {
    /// IP address and port.
    Socket(String, u16),
    /// A Unix socket.
    Pipe(String),
    /// A listener inside the proxy, and the endpoint behind it.
    Internal(String, String),
    /// None, or one of a kind that Istio does not use.
    #[default]
    Unknown,
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        struct Wire {
            #[serde(default, alias = "socketAddress")]
            socket_address: Option<Socket>,
            #[serde(default)]
            pipe: Option<Pipe>,
            #[serde(default, alias = "envoyInternalAddress")]
            envoy_internal_address: Option<Internal>,
        }
        #[derive(Deserialize)]
        struct Socket {
            #[serde(default, deserialize_with = "nullable")]
            address: String,
            #[serde(default, alias = "portValue", deserialize_with = "number")]
            port_value: u64,
        }
        #[derive(Deserialize)]
        struct Pipe {
            #[serde(default, deserialize_with = "nullable")]
            path: String,
        }
        #[derive(Deserialize)]
        struct Internal {
            #[serde(default, alias = "serverListenerName", deserialize_with = "nullable")]
            server_listener_name: String,
            #[serde(default, alias = "endpointId", deserialize_with = "nullable")]
            endpoint_id: String,
        }
        let wire = Option::<Wire>::deserialize(deserializer)?.unwrap_or_default();
        Ok(match (wire.socket_address, wire.pipe, wire.envoy_internal_address) {
            (Some(socket), ..) => Self::Socket(socket.address, u16::try_from(socket.port_value).unwrap_or_default()),
            (None, Some(pipe), _) => Self::Pipe(pipe.path),
            (None, None, Some(internal)) => Self::Internal(internal.server_listener_name, internal.endpoint_id),
            (None, None, None) => Self::Unknown,
        })
    }
}

/// An address inside a message of its own, as lists of further addresses have it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct AddressBox {
    /// The address.
    #[serde(default, deserialize_with = "nullable")]
    pub address: Address,
}

/// What istiod writes into `metadata.filter_metadata.istio` (`pilot/pkg/networking/util/util.go` in istio/istio).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IstioMetadata {
    /// Path of the object that a route or cluster comes from, such as
    /// `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/cart`.
    pub config: Option<String>,
    /// The Service behind a cluster: namespace and name.
    pub service: Option<(String, String)>,
}

impl<'de> Deserialize<'de> for IstioMetadata {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        struct Wire {
            #[serde(default, alias = "filterMetadata", deserialize_with = "nullable")]
            filter_metadata: Filters,
        }
        #[derive(Default, Deserialize)]
        struct Filters {
            #[serde(default)]
            istio: Option<Istio>,
        }
        #[derive(Deserialize)]
        struct Istio {
            #[serde(default)]
            config: Option<String>,
            #[serde(default, deserialize_with = "nullable")]
            services: Vec<Service>,
        }
        #[derive(Deserialize)]
        struct Service {
            #[serde(default, deserialize_with = "nullable")]
            name: String,
            #[serde(default, deserialize_with = "nullable")]
            namespace: String,
        }
        let wire = Option::<Wire>::deserialize(deserializer)?.unwrap_or_default();
        Ok(wire.filter_metadata.istio.map_or_else(Self::default, |istio| Self {
            config: istio.config,
            service: istio.services.into_iter().next().map(|service| (service.namespace, service.name)),
        }))
    }
}

/// Why the proxy did not take the newest version of something (`UpdateFailureState` in `config_dump_shared.proto`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct ErrorState {
    /// Envoy's text.
    #[serde(default, deserialize_with = "nullable")]
    pub details: String,
    /// When it was tried.
    #[serde(default, alias = "lastUpdateAttempt", deserialize_with = "lenient_time")]
    pub last_update_attempt: Option<Timestamp>,
}

/// How far something has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// From the bootstrap.
    Static,
    /// In use.
    Active,
    /// Waits for something before it is used.
    Warming,
}

/// A transport socket, of which the names of secrets matter
/// (`extensions/transport_sockets/tls/v3/common.proto`).
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TransportSocket {
    #[serde(default, alias = "typedConfig", deserialize_with = "nullable")]
    typed_config: TlsConfig,
}

/// A transport socket in a list of them.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct TransportSocketMatch {
    #[serde(default, alias = "transportSocket", deserialize_with = "nullable")]
    transport_socket: TransportSocket,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct TlsConfig {
    #[serde(default, alias = "commonTlsContext", deserialize_with = "nullable")]
    common_tls_context: TlsContext,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct TlsContext {
    #[serde(default, alias = "tlsCertificateSdsSecretConfigs", deserialize_with = "nullable")]
    tls_certificate_sds_secret_configs: Vec<SecretRef>,
    #[serde(default, alias = "validationContextSdsSecretConfig")]
    validation_context_sds_secret_config: Option<SecretRef>,
    #[serde(default, alias = "combinedValidationContext", deserialize_with = "nullable")]
    combined_validation_context: CombinedContext,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct CombinedContext {
    #[serde(default, alias = "validationContextSdsSecretConfig")]
    validation_context_sds_secret_config: Option<SecretRef>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct SecretRef {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
}

/// The names of secrets that transport sockets ask for, each once.
pub(super) fn secret_names<'s>(sockets: impl Iterator<Item = &'s TransportSocket>) -> Vec<String> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for socket in sockets {
        let context = &socket.typed_config.common_tls_context;
        let combined = &context.combined_validation_context.validation_context_sds_secret_config;
        let all = context.tls_certificate_sds_secret_configs.iter();
        for secret in all.chain(&context.validation_context_sds_secret_config).chain(combined) {
            if !secret.name.is_empty() {
                names.insert(&secret.name);
            }
        }
    }
    names.into_iter().map(str::to_owned).collect()
}

impl TransportSocketMatch {
    /// The socket itself.
    pub(super) fn socket(&self) -> &TransportSocket {
        &self.transport_socket
    }
}
