//! The bootstrap's node: who the proxy says it is (`config/core/v3/base.proto`), and small parts of other answers.

use serde::Deserialize;
use serde_json::Value;

use super::common::number;
use crate::model::nullable;

/// The part of a bootstrap that tells one proxy from another.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Bootstrap {
    /// The node.
    #[serde(default, deserialize_with = "nullable")]
    pub node: Node,
}

/// A proxy as istiod knows it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    /// `sidecar~10.244.1.7~web-7d.shop~shop.svc.cluster.local`.
    #[serde(default, deserialize_with = "nullable")]
    pub id: String,
    /// Metadata that the agent collected. Kept whole for those few fields that are shown.
    #[serde(default, deserialize_with = "nullable")]
    metadata: Metadata,
    /// Envoy's version.
    #[serde(default, alias = "userAgentBuildVersion", deserialize_with = "nullable")]
    pub user_agent_build_version: BuildVersion,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Metadata {
    #[serde(default, rename = "ISTIO_VERSION")]
    istio_version: Value,
    #[serde(default, rename = "ISTIO_PROXY_SHA")]
    istio_proxy_sha: Value,
    #[serde(default, rename = "CLUSTER_ID")]
    cluster_id: Value,
    #[serde(default, rename = "MESH_ID")]
    mesh_id: Value,
    #[serde(default, rename = "SERVICE_ACCOUNT")]
    service_account: Value,
    #[serde(default, rename = "INTERCEPTION_MODE")]
    interception_mode: Value,
    #[serde(default, rename = "LABELS")]
    labels: Value,
    #[serde(default, rename = "ANNOTATIONS")]
    annotations: Value,
    #[serde(default, rename = "OWNER")]
    owner: Value,
    #[serde(default, rename = "PROXY_CONFIG")]
    proxy_config: Value,
}

/// A build of Envoy.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BuildVersion {
    /// Version.
    #[serde(default, deserialize_with = "nullable")]
    pub version: SemanticVersion,
    /// How it was built.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: BuildMetadata,
}

/// How an Envoy was built.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct BuildMetadata {
    /// Extra word of the version.
    #[serde(default, rename = "build.label")]
    pub label: Option<String>,
    /// `Clean` or `Modified`.
    #[serde(default, rename = "revision.status")]
    pub status: Option<String>,
    /// `RELEASE` or `DEBUG`.
    #[serde(default, rename = "build.type")]
    pub kind: Option<String>,
    /// TLS library.
    #[serde(default, rename = "ssl.version")]
    pub ssl: Option<String>,
}

/// Three numbers.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SemanticVersion {
    /// First.
    #[serde(default, alias = "majorNumber", deserialize_with = "number")]
    pub major_number: u64,
    /// Second.
    #[serde(default, alias = "minorNumber", deserialize_with = "number")]
    pub minor_number: u64,
    /// Third.
    #[serde(default, deserialize_with = "number")]
    pub patch: u64,
}

impl Node {
    fn text(value: &Value) -> Option<&str> {
        value.as_str().filter(|text| !text.is_empty())
    }

    /// Istio's version.
    #[must_use]
    pub fn istio_version(&self) -> Option<&str> {
        Self::text(&self.metadata.istio_version)
    }

    /// The build of Istio's Envoy, without the name in front of it.
    #[must_use]
    pub fn istio_proxy_sha(&self) -> Option<&str> {
        let sha = Self::text(&self.metadata.istio_proxy_sha)?;
        Some(sha.split(':').nth(1).unwrap_or(sha))
    }

    /// Istio's name of the cluster.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        Self::text(&self.metadata.cluster_id)
    }

    /// Istio's name of the mesh.
    #[must_use]
    pub fn mesh_id(&self) -> Option<&str> {
        Self::text(&self.metadata.mesh_id)
    }

    /// Its ServiceAccount.
    #[must_use]
    pub fn service_account(&self) -> Option<&str> {
        Self::text(&self.metadata.service_account)
    }

    /// How traffic comes to it: `REDIRECT`, `TPROXY` or `NONE`.
    #[must_use]
    pub fn interception_mode(&self) -> Option<&str> {
        Self::text(&self.metadata.interception_mode)
    }

    /// The revision that its pod's annotation or label names.
    #[must_use]
    pub fn revision(&self) -> Option<&str> {
        let of = |map: &'_ Value| map.get("istio.io/rev").is_some();
        let map = [&self.metadata.annotations, &self.metadata.labels].into_iter().find(|map| of(map))?;
        Self::text(map.get("istio.io/rev")?)
    }

    /// Plural kind, namespace and name of its workload, such as `deployments`, `shop`, `web`.
    #[must_use]
    pub fn owner(&self) -> Option<(&str, &str, &str)> {
        let path = Self::text(&self.metadata.owner)?.strip_prefix("kubernetes://apis/")?;
        let (_, place) = path.split_once("/namespaces/")?;
        let mut parts = place.split('/');
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(namespace), Some(kind), Some(name), None) => Some((kind, namespace, name)),
            _ => None,
        }
    }

    /// The istiod that it was told to connect to.
    #[must_use]
    pub fn discovery_address(&self) -> Option<&str> {
        Self::text(self.metadata.proxy_config.get("discoveryAddress")?)
    }

    /// Kind, namespace and name in its id. Names of pods may contain dots, names of namespaces may not.
    #[must_use]
    pub fn identity(&self) -> Option<(&str, &str, &str)> {
        let mut words = self.id.split('~');
        let (kind, _ip, pod) = (words.next()?, words.next()?, words.next()?);
        let (name, namespace) = pod.rsplit_once('.')?;
        (!name.is_empty() && !namespace.is_empty()).then_some((kind, namespace, name))
    }
}

/// An element of the list of extensions that came by name.
#[derive(Debug, Deserialize)]
pub(super) struct ExtensionEntry {
    #[serde(default, alias = "ecdsFilter", deserialize_with = "nullable")]
    ecds_filter: ExtensionWire,
    #[serde(default, alias = "errorState")]
    error_state: Option<super::ErrorState>,
}

#[derive(Debug, Default, Deserialize)]
struct ExtensionWire {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, alias = "typedConfig", deserialize_with = "nullable")]
    typed_config: Typed,
}

#[derive(Debug, Default, Deserialize)]
struct Typed {
    #[serde(default, rename = "@type", deserialize_with = "nullable")]
    url: String,
}

/// An extension that came by name.
#[derive(Clone, Debug)]
pub struct Extension {
    /// Name.
    pub name: String,
    /// Its message's type, without the host in front of it.
    pub kind: String,
    /// Why its newest version was refused.
    pub error: Option<super::ErrorState>,
}

impl ExtensionEntry {
    pub(super) fn into_extension(self) -> Extension {
        let url = self.ecds_filter.typed_config.url;
        let kind = url.strip_prefix("type.googleapis.com/").unwrap_or(&url).to_owned();
        Extension { name: self.ecds_filter.name, kind, error: self.error_state }
    }
}

/// A logger and its level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logger {
    /// Name.
    pub name: String,
    /// `trace` to `off`.
    pub level: String,
}

/// Reads the answer of `/logging`: a line `NAME: LEVEL` per logger, under a heading.
#[must_use]
pub fn loggers(text: &str) -> Vec<Logger> {
    let line = |line: &str| {
        let (name, level) = line.strip_prefix(' ')?.trim().split_once(": ")?;
        Some(Logger { name: name.to_owned(), level: level.to_owned() })
    };
    text.lines().filter_map(line).collect()
}

/// What the start of a part of the proxy waits for (`admin/v3/init_dump.proto`).
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Unready {
    /// The part.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// What it waits for.
    #[serde(default, alias = "targetNames", deserialize_with = "nullable")]
    pub target_names: Vec<String>,
}
