//! Clusters: the destinations that a proxy knows (`config/cluster/v3/cluster.proto`).

use jiff::Timestamp;
use serde::Deserialize;

use super::common::{ErrorState, IstioMetadata, Stage, TransportSocket, TransportSocketMatch, secret_names};
use crate::model::meta::lenient_time;
use crate::model::nullable;

/// A cluster and how far it has come.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Name, such as `outbound|80||web.shop.svc.cluster.local`.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// `EDS`, `STRICT_DNS`, …; `STATIC` also when absent.
    pub kind: String,
    /// The name that its endpoints come under, where it is not its own.
    pub endpoints_name: String,
    /// What istiod says about it.
    pub istio: IstioMetadata,
    /// Names of the secrets that it needs.
    pub secrets: Vec<String>,
    /// When it came to this stage.
    pub last_updated: Option<Timestamp>,
    /// Why its newest version was refused.
    pub error: Option<ErrorState>,
}

/// An element of a list of clusters.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default, deserialize_with = "nullable")]
    cluster: Wire,
    #[serde(default, alias = "lastUpdated", deserialize_with = "lenient_time")]
    last_updated: Option<Timestamp>,
    #[serde(default, alias = "errorState")]
    error_state: Option<ErrorState>,
}

#[derive(Debug, Default, Deserialize)]
struct Wire {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    kind: String,
    #[serde(default, alias = "edsClusterConfig", deserialize_with = "nullable")]
    eds_cluster_config: EdsConfig,
    #[serde(default, deserialize_with = "nullable")]
    metadata: IstioMetadata,
    #[serde(default, alias = "transportSocket", deserialize_with = "nullable")]
    transport_socket: TransportSocket,
    #[serde(default, alias = "transportSocketMatches", deserialize_with = "nullable")]
    transport_socket_matches: Vec<TransportSocketMatch>,
}

#[derive(Debug, Default, Deserialize)]
struct EdsConfig {
    #[serde(default, alias = "serviceName", deserialize_with = "nullable")]
    service_name: String,
}

impl Entry {
    pub(super) fn into_cluster(self, stage: Stage) -> Cluster {
        let wire = self.cluster;
        let sockets = wire.transport_socket_matches.iter().map(TransportSocketMatch::socket);
        Cluster {
            secrets: secret_names(sockets.chain(std::iter::once(&wire.transport_socket))),
            name: wire.name,
            stage,
            // Protobuf's JSON leaves the first value of an enum out.
            kind: if wire.kind.is_empty() { "STATIC".to_owned() } else { wire.kind },
            endpoints_name: wire.eds_cluster_config.service_name,
            istio: wire.metadata,
            last_updated: self.last_updated,
            error: self.error_state,
        }
    }
}
