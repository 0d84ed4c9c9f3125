//! Istio's custom resources, and what stands beside them: the parts that verdicts need.

use serde::Deserialize;

use super::selector::LabelSelector;
use super::{Meta, nullable};

/// An EnvoyFilter (`networking/v1alpha3/envoy_filter.proto` in istio/api).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EnvoyFilter {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: EnvoyFilterSpec,
}

/// `spec` of an EnvoyFilter.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EnvoyFilterSpec {
    /// Patches.
    #[serde(default, deserialize_with = "nullable")]
    pub config_patches: Vec<ConfigPatch>,
}

/// One patch.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigPatch {
    /// `HTTP_FILTER`, `CLUSTER`, …
    #[serde(default, deserialize_with = "nullable")]
    pub apply_to: String,
    /// Where it applies.
    #[serde(default, rename = "match", deserialize_with = "nullable")]
    pub matches: PatchMatch,
}

/// Where a patch applies.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PatchMatch {
    /// Which proxies.
    #[serde(default, deserialize_with = "nullable")]
    pub proxy: ProxyMatch,
}

/// Which proxies a patch applies to.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ProxyMatch {
    /// Regular expression on the proxy's Istio version.
    #[serde(default, deserialize_with = "nullable")]
    pub proxy_version: String,
}

/// A Telemetry resource. Its specification is kept whole: the add-on decides field by field what is allowed in it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Telemetry {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default)]
    pub spec: serde_json::Value,
}

/// A ServiceEntry (`networking/v1/service_entry.proto` in istio/api).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServiceEntry {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: ServiceEntrySpec,
}

/// `spec` of a ServiceEntry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntrySpec {
    /// Host names.
    #[serde(default, deserialize_with = "nullable")]
    pub hosts: Vec<String>,
    /// Addresses or CIDR blocks.
    #[serde(default, deserialize_with = "nullable")]
    pub addresses: Vec<String>,
    /// Ports.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<ServiceEntryPort>,
    /// `MESH_EXTERNAL` (also when absent) or `MESH_INTERNAL`.
    #[serde(default, deserialize_with = "nullable")]
    pub location: String,
    /// `NONE` (also when absent), `STATIC`, `DNS`, `DNS_ROUND_ROBIN`.
    #[serde(default, deserialize_with = "nullable")]
    pub resolution: String,
    /// Namespaces that see it; empty means all.
    #[serde(default, deserialize_with = "nullable")]
    pub export_to: Vec<String>,
}

/// A port of a ServiceEntry.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServiceEntryPort {
    /// Number.
    #[serde(default, deserialize_with = "nullable")]
    pub number: u32,
    /// `HTTP`, `TCP`, …
    #[serde(default, deserialize_with = "nullable")]
    pub protocol: String,
}

/// A PeerAuthentication (`security/v1/peer_authentication.proto` in istio/api).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PeerAuthentication {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: PeerAuthenticationSpec,
}

/// `spec` of a PeerAuthentication.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAuthenticationSpec {
    /// Which pods; absent means all of the namespace, or of the mesh.
    #[serde(default)]
    pub selector: Option<LabelSelector>,
    /// Mode.
    #[serde(default, deserialize_with = "nullable")]
    pub mtls: MutualTls,
    /// Modes by port number.
    #[serde(default, deserialize_with = "nullable")]
    pub port_level_mtls: std::collections::BTreeMap<String, MutualTls>,
}

/// Mode of mutual TLS.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct MutualTls {
    /// `UNSET`, `DISABLE`, `PERMISSIVE`, `STRICT`.
    #[serde(default, deserialize_with = "nullable")]
    pub mode: String,
}

/// A Gateway API Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct KubeGateway {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: KubeGatewaySpec,
}

/// `spec` of a Gateway API Gateway.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KubeGatewaySpec {
    /// Its GatewayClass; the add-on's is `istio`.
    #[serde(default, deserialize_with = "nullable")]
    pub gateway_class_name: String,
}

/// A SecretProviderClass of the Secrets Store CSI driver.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SecretProviderClass {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: SecretProviderSpec,
}

/// `spec` of a SecretProviderClass.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SecretProviderSpec {
    /// `azure` for Key Vault.
    #[serde(default, deserialize_with = "nullable")]
    pub provider: String,
    /// Parameters.
    #[serde(default, deserialize_with = "nullable")]
    pub parameters: SecretProviderParameters,
}

/// Parameters of Azure's provider.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretProviderParameters {
    /// Name of the Key Vault.
    #[serde(default, deserialize_with = "nullable")]
    pub keyvault_name: String,
    /// Names of its objects, as YAML in a text.
    #[serde(default, deserialize_with = "nullable")]
    pub objects: String,
}
