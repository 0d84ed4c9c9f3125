//! `proxy-status`: its own data. Scripts rely on these shapes, as on those of [`super::view`].

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `proxy-status`: a row per proxy that is connected or should be.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyStatusView {
    /// The istiod pods that were asked, by revision and name; none when it is not known which ones there are.
    pub istiods: Option<Vec<IstiodView>>,
    /// How many of the proxies that were asked about are in which state, those that are not shown included.
    pub counts: BTreeMap<String, usize>,
    /// Clients of istiod that are no proxies, such as debugging tools.
    pub other_clients: usize,
    /// Rows, the worst first.
    pub proxies: Vec<ProxyView>,
}

/// One istiod pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IstiodView {
    /// Pod name.
    pub pod: String,
    /// Its revision.
    pub revision: String,
    /// Its version, e.g. `1.28.9-2`.
    pub version: Option<String>,
    /// Whether it listed its proxies.
    pub answered: bool,
    /// How many clients are connected to it; none when it did not say.
    pub proxies: Option<u64>,
    /// Why it did not answer, or not enough.
    pub error: Option<String>,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyView {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// `sidecar`, `router`, …; empty where neither istiod nor a pod tells.
    #[serde(rename = "type")]
    pub kind: String,
    /// Its revision.
    pub revision: Option<String>,
    /// The istiod pod that it is connected to.
    pub istiod: Option<String>,
    /// Version of the proxy.
    pub version: Option<String>,
    /// `ERROR`, `STALE`, `NOT CONNECTED`, `UNKNOWN`, `PENDING`, `NOT SENT`, `SYNCED` or `IGNORED`.
    pub state: String,
    /// How long ago the oldest cause of the state was sent; where nothing is wrong, the last thing that was sent.
    pub age_seconds: Option<i64>,
    /// How many connections istiods have from it: one, or more while an old one is not closed yet.
    pub connections: u32,
    /// What it has asked for, by short name such as `CDS`.
    pub types: BTreeMap<String, TypeView>,
}

/// One type of configuration of a proxy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TypeView {
    /// `ERROR`, `STALE`, `UNKNOWN`, `PENDING`, `NOT SENT` or `SYNCED`.
    pub state: String,
    /// How long ago it was sent.
    pub age_seconds: Option<i64>,
    /// Envoy's reason for rejecting it.
    pub error: Option<String>,
}
