//! The view of `proxy-config`: one proxy's configuration as rows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `proxy-config`: one proxy. What was not asked for, or is not in the file, is absent (`null`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyConfigView {
    /// Which proxy.
    pub proxy: ProxyView,
    /// What istiod and the bootstrap say about it.
    pub bootstrap: Option<BootstrapView>,
    /// What it can send to.
    pub clusters: Option<Vec<ClusterView>>,
    /// What it does with connections.
    pub listeners: Option<Vec<ListenerView>>,
    /// Which host and path lead where.
    pub routes: Option<Vec<RouteView>>,
    /// Endpoints as it sees them now.
    pub endpoints: Option<Vec<EndpointView>>,
    /// Endpoints as they were configured.
    pub eds: Option<Vec<ConfiguredEndpointView>>,
    /// Certificates.
    pub secrets: Option<Vec<SecretView>>,
    /// Extensions that came by name.
    pub ecds: Option<Vec<ExtensionView>>,
    /// Levels of its loggers.
    pub loggers: Option<Vec<LoggerView>>,
}

/// A proxy.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyView {
    /// Pod, where it is known.
    pub name: Option<String>,
    /// Its namespace.
    pub namespace: Option<String>,
    /// `sidecar` or `router`, as the proxy says.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Istio's version.
    pub istio_version: Option<String>,
    /// Envoy's version.
    pub envoy_version: Option<String>,
}

/// What the bootstrap says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BootstrapView {
    /// `sidecar~IP~POD.NAMESPACE~DOMAIN`.
    pub node: String,
    /// Build of Istio's Envoy.
    pub istio_proxy_sha: Option<String>,
    /// Envoy's version with the words of its build.
    pub envoy_build: Option<String>,
    /// Revision in the pod's label.
    pub revision: Option<String>,
    /// The istiod that it was told to connect to.
    pub discovery_address: Option<String>,
    /// Name of the mesh.
    pub mesh_id: Option<String>,
    /// Istio's name of the cluster.
    pub cluster_id: Option<String>,
    /// ServiceAccount.
    pub service_account: Option<String>,
    /// How traffic comes to it.
    pub interception_mode: Option<String>,
}

/// A cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterView {
    /// Full name.
    pub name: String,
    /// Host, or the full name of a cluster that is not istiod's.
    pub service_fqdn: String,
    /// Port.
    pub port: Option<u32>,
    /// Subset.
    pub subset: Option<String>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// `EDS`, `STRICT_DNS`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// `name.namespace` of the DestinationRule; empty without one.
    pub destination_rule: String,
    /// `static`, `active` or `warming`.
    pub state: String,
    /// How many endpoints it has, where that was read.
    pub endpoints: Option<usize>,
}

/// A listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ListenerView {
    /// Name.
    pub name: String,
    /// Addresses, the main one first.
    pub addresses: Vec<String>,
    /// Port; 0 for one inside the proxy.
    pub port: u16,
    /// `HTTP`, `TCP`, `HTTP+TCP` or `UNKNOWN`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `static`, `active` or `warming`.
    pub state: String,
    /// What matches, and where it goes.
    pub chains: Vec<ChainView>,
}

/// A part of a listener.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChainView {
    /// Which connections.
    #[serde(rename = "match")]
    pub matches: String,
    /// Where they go.
    pub destination: String,
}

/// A route.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RouteView {
    /// Route configuration.
    pub name: String,
    /// Virtual host.
    pub virtual_host: String,
    /// Host names, shortened as in the table.
    pub domains: String,
    /// Paths.
    #[serde(rename = "match")]
    pub matches: String,
    /// `name.namespace` of the VirtualService; empty for istiod's own routes, `404` where nothing answers.
    pub virtual_service: String,
    /// Clusters that it can lead to.
    pub clusters: Vec<String>,
}

/// An endpoint as the proxy sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointView {
    /// Address with port.
    pub endpoint: String,
    /// What istiod says of its health.
    pub status: String,
    /// `OK` or `FAILED`.
    pub outlier_check: String,
    /// Its cluster.
    pub cluster: String,
    /// Why the proxy does not use it; empty when it does.
    pub reasons: Vec<String>,
    /// `region/zone/sub-zone`.
    pub locality: String,
    /// Connections that were tried.
    pub connections: u64,
    /// Connections that failed.
    pub failed_connections: u64,
    /// Requests that failed.
    pub failed_requests: u64,
}

/// An endpoint as it was configured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfiguredEndpointView {
    /// Addresses with ports.
    pub name: String,
    /// What istiod says of its health.
    pub status: String,
    /// `region/zone/sub-zone`.
    pub locality: String,
    /// Its cluster.
    pub cluster: String,
}

/// A secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretView {
    /// Name.
    pub resource_name: String,
    /// `CA` or `Cert Chain`; empty without a certificate.
    #[serde(rename = "type")]
    pub kind: String,
    /// `ACTIVE` or `WARMING`.
    pub status: String,
    /// Whether its certificate was valid when it was read.
    pub valid_cert: bool,
    /// Serial number of its first certificate, in hexadecimal.
    pub serial_number: String,
    /// Its end.
    pub not_after: String,
    /// Its beginning.
    pub not_before: String,
    /// The trust domain that it vouches for.
    pub trust_domain: Option<String>,
}

/// An extension.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExtensionView {
    /// Name.
    pub name: String,
    /// Type of its message.
    #[serde(rename = "type")]
    pub kind: String,
}

/// A logger of the proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LoggerView {
    /// Name.
    pub name: String,
    /// `trace` to `off`.
    pub level: String,
}
