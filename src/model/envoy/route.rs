//! Route configurations (`config/route/v3/route.proto` and `route_components.proto`).

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::common::{ErrorState, IstioMetadata, Stage, optional_number};
use crate::model::meta::lenient_time;
use crate::model::{compact, nullable};

/// A route configuration and where it stands.
#[derive(Clone, Debug)]
pub struct RouteConfig {
    /// Name, such as `80`, which listeners refer to.
    pub name: String,
    /// `Static` for those that stand inside a listener.
    pub stage: Stage,
    /// Virtual hosts.
    pub virtual_hosts: Vec<VirtualHost>,
    /// When it came.
    pub last_updated: Option<Timestamp>,
    /// Why its newest version was refused.
    pub error: Option<ErrorState>,
}

/// Hosts that share routes.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct VirtualHost {
    /// Name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Host names that lead here.
    #[serde(default, deserialize_with = "compact")]
    pub domains: Vec<String>,
    /// Routes, the first that matches wins.
    #[serde(default, deserialize_with = "compact")]
    pub routes: Vec<Route>,
}

/// One route.
#[derive(Clone, Debug)]
pub struct Route {
    /// Name; istiod calls its own `default`.
    pub name: String,
    /// Which paths it takes.
    pub path: PathMatch,
    /// Where to.
    pub action: Action,
    /// Path of the object that it comes from.
    pub config: Option<String>,
}

/// Which paths a route takes; each may be absent.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PathMatch {
    /// Starts with.
    #[serde(default, deserialize_with = "nullable")]
    pub prefix: String,
    /// Starts with, by whole segments.
    #[serde(default, alias = "pathSeparatedPrefix", deserialize_with = "nullable")]
    pub path_separated_prefix: String,
    /// Is.
    #[serde(default, deserialize_with = "nullable")]
    pub path: String,
    /// Fits.
    #[serde(default, alias = "safeRegex")]
    pub safe_regex: Option<Regex>,
}

/// A regular expression.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Regex {
    /// Its text.
    #[serde(default, deserialize_with = "nullable")]
    pub regex: String,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// To one cluster.
    Cluster(String),
    /// To clusters by weight.
    Weighted(Vec<(String, u64)>),
    /// An answer of the proxy's own.
    Direct(u64),
    /// A redirect, or a cluster that a header names.
    Other,
}

impl Action {
    /// The clusters that can be chosen.
    pub fn clusters(&self) -> impl Iterator<Item = &str> {
        let (one, several): (Option<&str>, &[(String, u64)]) = match self {
            Self::Cluster(name) => (Some(name), &[]),
            Self::Weighted(list) => (None, list),
            Self::Direct(_) | Self::Other => (None, &[]),
        };
        one.into_iter().chain(several.iter().filter(|(_, weight)| *weight > 0).map(|(name, _)| name.as_str()))
    }
}

impl<'de> Deserialize<'de> for Route {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Wire {
            #[serde(default, deserialize_with = "nullable")]
            name: String,
            #[serde(default, rename = "match", deserialize_with = "nullable")]
            path: PathMatch,
            #[serde(default)]
            route: Option<RouteAction>,
            #[serde(default, alias = "directResponse")]
            direct_response: Option<DirectResponse>,
            #[serde(default, deserialize_with = "nullable")]
            metadata: IstioMetadata,
        }
        #[derive(Deserialize)]
        struct RouteAction {
            #[serde(default)]
            cluster: Option<String>,
            #[serde(default, alias = "weightedClusters")]
            weighted_clusters: Option<WeightedClusters>,
        }
        #[derive(Deserialize)]
        struct DirectResponse {
            #[serde(default, deserialize_with = "optional_number")]
            status: Option<u64>,
        }
        let wire = Wire::deserialize(deserializer)?;
        let action = match (wire.route, wire.direct_response) {
            (Some(RouteAction { cluster: Some(name), .. }), _) => Action::Cluster(name),
            (Some(RouteAction { weighted_clusters: Some(list), .. }), _) => Action::Weighted(list.into_pairs()),
            (None, Some(response)) => Action::Direct(response.status.unwrap_or_default()),
            _ => Action::Other,
        };
        Ok(Self { name: wire.name, path: wire.path, action, config: wire.metadata.config })
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct WeightedClusters {
    #[serde(default, deserialize_with = "nullable")]
    clusters: Vec<WeightedCluster>,
}

#[derive(Debug, Default, Deserialize)]
struct WeightedCluster {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "optional_number")]
    weight: Option<u64>,
}

impl WeightedClusters {
    pub(super) fn into_pairs(self) -> Vec<(String, u64)> {
        self.clusters.into_iter().map(|cluster| (cluster.name, cluster.weight.unwrap_or_default())).collect()
    }
}

/// An element of a list of route configurations.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Entry {
    #[serde(default, alias = "routeConfig", deserialize_with = "nullable")]
    route_config: Wire,
    #[serde(default, alias = "lastUpdated", deserialize_with = "lenient_time")]
    last_updated: Option<Timestamp>,
    #[serde(default, alias = "errorState")]
    error_state: Option<ErrorState>,
}

/// A route configuration by itself, as one may stand inside a listener.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Wire {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, alias = "virtualHosts", deserialize_with = "compact")]
    virtual_hosts: Vec<VirtualHost>,
}

impl Wire {
    pub(super) fn into_route_config(self) -> RouteConfig {
        RouteConfig {
            name: self.name,
            stage: Stage::Static,
            virtual_hosts: self.virtual_hosts,
            last_updated: None,
            error: None,
        }
    }
}

impl Entry {
    pub(super) fn into_route_config(self, stage: Stage) -> RouteConfig {
        RouteConfig {
            stage,
            last_updated: self.last_updated,
            error: self.error_state,
            ..self.route_config.into_route_config()
        }
    }
}
