//! Listeners (`config/listener/v3/listener.proto`): where the proxy takes connections, and what it does with them.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::common::{Address, AddressBox, ErrorState, Stage, TransportSocket, number, optional_number, secret_names};
use super::route::{self, RouteConfig, WeightedClusters};
use crate::model::meta::lenient_time;
use crate::model::{compact, nullable};

/// The filter for HTTP (`pkg/wellknown/wellknown.go` in istio/istio).
const HTTP: &str = "envoy.filters.network.http_connection_manager";
/// The filter for everything else.
const TCP: &str = "envoy.filters.network.tcp_proxy";
/// The cluster that leads nowhere (`pilot/pkg/networking/util/util.go` in istio/istio).
pub const BLACK_HOLE: &str = "BlackHoleCluster";

/// A listener in one of its stages. One that changes is there twice, active and warming.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Name.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// Where it listens, the main address first.
    pub addresses: Vec<Address>,
    /// Filter chains, the default one last.
    pub chains: Vec<Chain>,
    /// When it came to this stage.
    pub last_updated: Option<Timestamp>,
}

/// A listener whose newest version was refused.
#[derive(Clone, Debug)]
pub struct RefusedListener {
    /// Name.
    pub name: String,
    /// Why.
    pub error: ErrorState,
}

/// What happens with connections that match.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// Which connections.
    pub matches: ChainMatch,
    /// What happens, as far as it is HTTP or TCP, in the order of the filters.
    pub filters: Vec<Filter>,
    /// Names of the secrets that it needs.
    pub secrets: Vec<String>,
}

/// A network filter.
#[derive(Clone, Debug)]
pub enum Filter {
    /// HTTP.
    Http(HttpRoutes),
    /// TCP.
    Tcp {
        /// The cluster, where it is one.
        cluster: String,
        /// Clusters by weight, where there are several.
        weighted: Vec<(String, u64)>,
        /// Whether the black hole is named in it.
        black_hole: bool,
    },
    /// Anything else.
    Other,
}

/// Where an HTTP filter has its routes from.
#[derive(Clone, Debug)]
pub enum HttpRoutes {
    /// They stand in it.
    Inline(Box<RouteConfig>),
    /// They come under this name.
    Named(String),
    /// They come in another way.
    Other,
}

/// Which connections a chain takes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ChainMatch {
    /// Names in the TLS handshake.
    #[serde(default, alias = "serverNames", deserialize_with = "compact")]
    pub server_names: Vec<String>,
    /// `tls` or `raw_buffer`.
    #[serde(default, alias = "transportProtocol", deserialize_with = "nullable")]
    pub transport_protocol: String,
    /// Application protocols.
    #[serde(default, alias = "applicationProtocols", deserialize_with = "compact")]
    pub application_protocols: Vec<String>,
    /// Original port.
    #[serde(default, alias = "destinationPort", deserialize_with = "optional_number")]
    pub destination_port: Option<u64>,
    /// Original addresses.
    #[serde(default, alias = "prefixRanges", deserialize_with = "compact")]
    pub prefix_ranges: Vec<Range>,
}

/// A range of addresses.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Range {
    /// Address.
    #[serde(default, alias = "addressPrefix", deserialize_with = "nullable")]
    pub address_prefix: String,
    /// Bits of it that count.
    #[serde(default, alias = "prefixLen", deserialize_with = "number")]
    pub prefix_len: u64,
}

impl<'de> Deserialize<'de> for Chain {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, alias = "filterChainMatch", deserialize_with = "nullable")]
            filter_chain_match: ChainMatch,
            #[serde(default, deserialize_with = "compact")]
            filters: Vec<Filter>,
            #[serde(default, alias = "transportSocket", deserialize_with = "nullable")]
            transport_socket: TransportSocket,
        }
        let wire = Wire::deserialize(deserializer)?;
        Ok(Self {
            matches: wire.filter_chain_match,
            filters: wire.filters,
            secrets: secret_names(std::iter::once(&wire.transport_socket)),
        })
    }
}

impl<'de> Deserialize<'de> for Filter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire<'a> {
            #[serde(default, deserialize_with = "nullable")]
            name: String,
            // The order of fields is free, so the kind of the filter may come after its content.
            #[serde(default, borrow, alias = "typedConfig")]
            typed_config: Option<&'a RawValue>,
        }
        #[derive(Default, Deserialize)]
        struct Http {
            #[serde(default, alias = "routeConfig")]
            route_config: Option<route::Wire>,
            #[serde(default, deserialize_with = "nullable")]
            rds: Rds,
        }
        #[derive(Default, Deserialize)]
        struct Rds {
            #[serde(default, alias = "routeConfigName", deserialize_with = "nullable")]
            route_config_name: String,
        }
        #[derive(Default, Deserialize)]
        struct Tcp {
            #[serde(default, deserialize_with = "nullable")]
            cluster: String,
            #[serde(default, alias = "weightedClusters", deserialize_with = "nullable")]
            weighted_clusters: WeightedClusters,
        }
        let wire = Wire::deserialize(deserializer)?;
        let content = wire.typed_config.map_or("{}", RawValue::get);
        let wrong = serde::de::Error::custom;
        Ok(match wire.name.as_str() {
            HTTP => {
                let http: Http = serde_json::from_str(content).map_err(wrong)?;
                Self::Http(match (http.route_config, http.rds.route_config_name) {
                    (Some(routes), _) => HttpRoutes::Inline(Box::new(routes.into_route_config())),
                    (None, name) if !name.is_empty() => HttpRoutes::Named(name),
                    (None, _) => HttpRoutes::Other,
                })
            }
            TCP => {
                let tcp: Tcp = serde_json::from_str(content).map_err(wrong)?;
                Self::Tcp {
                    cluster: tcp.cluster,
                    weighted: tcp.weighted_clusters.into_pairs(),
                    black_hole: content.contains(BLACK_HOLE),
                }
            }
            _ => Self::Other,
        })
    }
}

#[derive(Debug, Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    address: Address,
    #[serde(default, alias = "additionalAddresses", deserialize_with = "nullable")]
    additional_addresses: Vec<AddressBox>,
    #[serde(default, alias = "filterChains", deserialize_with = "compact")]
    filter_chains: Vec<Chain>,
    #[serde(default, alias = "defaultFilterChain")]
    default_filter_chain: Option<Chain>,
}

/// An element of the list of static listeners, and one state of a dynamic one.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(default)]
    listener: Option<Wire>,
    #[serde(default, alias = "lastUpdated", deserialize_with = "lenient_time")]
    last_updated: Option<Timestamp>,
}

/// An element of the list of dynamic listeners. A draining state is what was, and says nothing about what is.
#[derive(Debug, Deserialize)]
pub(super) struct DynamicEntry {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, alias = "activeState")]
    active_state: Option<Entry>,
    #[serde(default, alias = "warmingState")]
    warming_state: Option<Entry>,
    #[serde(default, alias = "errorState")]
    error_state: Option<ErrorState>,
}

impl Entry {
    pub(super) fn into_listener(self, stage: Stage) -> Option<Listener> {
        let wire = self.listener?;
        let more = wire.additional_addresses.into_iter().map(|further| further.address);
        Some(Listener {
            name: wire.name,
            stage,
            addresses: std::iter::once(wire.address).chain(more).collect(),
            chains: wire.filter_chains.into_iter().chain(wire.default_filter_chain).collect(),
            last_updated: self.last_updated,
        })
    }
}

impl DynamicEntry {
    pub(super) fn into_listeners(self) -> (Vec<Listener>, Option<RefusedListener>) {
        let active = self.active_state.and_then(|state| state.into_listener(Stage::Active));
        let warming = self.warming_state.and_then(|state| state.into_listener(Stage::Warming));
        let refused = self.error_state.map(|error| RefusedListener { name: self.name, error });
        (active.into_iter().chain(warming).collect(), refused)
    }
}
