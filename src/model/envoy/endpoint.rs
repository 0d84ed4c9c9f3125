//! Endpoints twice: as they were configured (`config/endpoint/v3/endpoint.proto`), and as the proxy sees them now
//! (`admin/v3/clusters.proto`).

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::common::{Address, AddressBox, ErrorState, number};
use crate::model::meta::lenient_time;
use crate::model::{compact, nullable};

/// The configured endpoints of a cluster.
#[derive(Clone, Debug)]
pub struct LoadAssignment {
    /// The cluster, or the name its endpoints come under.
    pub cluster: String,
    /// Endpoints by place.
    pub localities: Vec<LocalityEndpoints>,
    /// Why the newest version was refused.
    pub error: Option<ErrorState>,
    /// When it came.
    pub last_updated: Option<Timestamp>,
}

/// Endpoints of one place.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LocalityEndpoints {
    /// The place.
    #[serde(default, deserialize_with = "nullable")]
    pub locality: Locality,
    /// Endpoints.
    #[serde(default, rename = "lb_endpoints", alias = "lbEndpoints", deserialize_with = "compact")]
    pub endpoints: Vec<Endpoint>,
}

impl LoadAssignment {
    /// How many endpoints there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.localities.iter().map(|locality| locality.endpoints.len()).sum()
    }
}

/// A place.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Locality {
    /// Region.
    #[serde(default, deserialize_with = "nullable")]
    pub region: String,
    /// Zone.
    #[serde(default, deserialize_with = "nullable")]
    pub zone: String,
    /// Part of the zone.
    #[serde(default, alias = "subZone", deserialize_with = "nullable")]
    pub sub_zone: String,
}

/// A configured endpoint.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Addresses, the main one first.
    pub addresses: Vec<Address>,
    /// Health as istiod said; `UNKNOWN` also when absent.
    pub status: String,
}

/// What protobuf's JSON leaves out of a health status.
fn status(text: String) -> String {
    if text.is_empty() { "UNKNOWN".to_owned() } else { text }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "nullable")]
            endpoint: Inner,
            #[serde(default, alias = "healthStatus", deserialize_with = "nullable")]
            health_status: String,
        }
        #[derive(Default, Deserialize)]
        struct Inner {
            #[serde(default, deserialize_with = "nullable")]
            address: Address,
            #[serde(default, alias = "additionalAddresses", deserialize_with = "nullable")]
            additional_addresses: Vec<AddressBox>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let more = wire.endpoint.additional_addresses.into_iter().map(|further| further.address);
        Ok(Self {
            addresses: std::iter::once(wire.endpoint.address).chain(more).collect(),
            status: status(wire.health_status),
        })
    }
}

/// An element of a list of endpoint configurations.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(default, alias = "endpointConfig", deserialize_with = "nullable")]
    endpoint_config: Wire,
    #[serde(default, alias = "lastUpdated", deserialize_with = "lenient_time")]
    last_updated: Option<Timestamp>,
    #[serde(default, alias = "errorState")]
    error_state: Option<ErrorState>,
}

#[derive(Debug, Default, Deserialize)]
struct Wire {
    #[serde(default, alias = "clusterName", deserialize_with = "nullable")]
    cluster_name: String,
    #[serde(default, deserialize_with = "compact")]
    endpoints: Vec<LocalityEndpoints>,
}

impl Entry {
    pub(super) fn into_assignment(self) -> LoadAssignment {
        LoadAssignment {
            cluster: self.endpoint_config.cluster_name,
            localities: self.endpoint_config.endpoints,
            error: self.error_state,
            last_updated: self.last_updated,
        }
    }
}

/// A cluster with the endpoints that the proxy uses now.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ClusterHosts {
    /// The cluster.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Its endpoints.
    #[serde(default, alias = "hostStatuses", deserialize_with = "compact")]
    pub host_statuses: Vec<Host>,
}

/// An endpoint as the proxy sees it.
#[derive(Clone, Debug)]
pub struct Host {
    /// Address.
    pub address: Address,
    /// Health.
    pub health: Health,
    /// Place.
    pub locality: Locality,
    /// Connections that were tried.
    pub connections: u64,
    /// Connections that failed.
    pub failed_connections: u64,
    /// Requests that failed.
    pub failed_requests: u64,
}

/// Health of an endpoint: what istiod says, and what the proxy found out by itself.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Health {
    /// What istiod says; `UNKNOWN` also when absent.
    #[serde(default, alias = "edsHealthStatus", deserialize_with = "nullable")]
    pub eds_health_status: String,
    /// It does not answer the proxy's own health check.
    #[serde(default, alias = "failedActiveHealthCheck", deserialize_with = "nullable")]
    pub failed_active_health_check: bool,
    /// Its answers were so bad that the proxy leaves it out for a while.
    #[serde(default, alias = "failedOutlierCheck", deserialize_with = "nullable")]
    pub failed_outlier_check: bool,
    /// It calls itself degraded.
    #[serde(default, alias = "failedActiveDegradedCheck", deserialize_with = "nullable")]
    pub failed_active_degraded_check: bool,
    /// It is gone from the configuration and only kept while it answers.
    #[serde(default, alias = "pendingDynamicRemoval", deserialize_with = "nullable")]
    pub pending_dynamic_removal: bool,
    /// The proxy's own health check has not answered yet.
    #[serde(default, alias = "pendingActiveHc", deserialize_with = "nullable")]
    pub pending_active_hc: bool,
    /// It asked to be left out at once.
    #[serde(default, alias = "excludedViaImmediateHcFail", deserialize_with = "nullable")]
    pub excluded_via_immediate_hc_fail: bool,
    /// The proxy's own health check ran into its time limit.
    #[serde(default, alias = "activeHcTimeout", deserialize_with = "nullable")]
    pub active_hc_timeout: bool,
}

impl<'de> Deserialize<'de> for Host {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "nullable")]
            address: Address,
            #[serde(default, alias = "healthStatus", deserialize_with = "nullable")]
            health_status: Health,
            #[serde(default, deserialize_with = "nullable")]
            locality: Locality,
            #[serde(default, deserialize_with = "nullable")]
            stats: Vec<Stat>,
        }
        #[derive(Deserialize)]
        struct Stat {
            #[serde(default, deserialize_with = "nullable")]
            name: String,
            #[serde(default, deserialize_with = "number")]
            value: u64,
        }
        let wire = Wire::deserialize(deserializer)?;
        let stat = |name: &str| wire.stats.iter().find(|stat| stat.name == name).map_or(0, |stat| stat.value);
        let (connections, failed_connections, failed_requests) =
            (stat("cx_total"), stat("cx_connect_fail"), stat("rq_error"));
        let mut health = wire.health_status;
        health.eds_health_status = status(health.eds_health_status);
        Ok(Self {
            address: wire.address,
            health,
            locality: wire.locality,
            connections,
            failed_connections,
            failed_requests,
        })
    }
}
