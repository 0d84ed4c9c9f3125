//! `proxy-status POD --diff`: its own data. Scripts rely on these shapes, as on those of [`super::view`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What istiod would send one proxy now, against what its Envoy has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyDiffView {
    /// Pod name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// The istiod pod that the proxy is connected to, and that was asked.
    pub istiod: String,
    /// Its revision.
    pub revision: String,
    /// Whether nothing differs.
    pub same: bool,
    /// Per kind of configuration.
    pub kinds: Vec<DiffKind>,
    /// Elements of either side that could not be read.
    pub unreadable: usize,
}

/// One kind of configuration.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiffKind {
    /// `clusters`, `listeners`, `routes`, `endpoints` or `secrets`.
    pub kind: String,
    /// How many are the same on both sides.
    pub same: usize,
    /// What is not, by name.
    pub differences: Vec<DiffEntry>,
}

/// One element that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DiffEntry {
    /// Its name.
    pub name: String,
    /// `missing` (the proxy has not got it), `extra` (istiod would not send it any more), `warming` (the proxy has it and
    /// does not use it yet) or `differs`.
    pub change: String,
    /// The push that brought what the proxy has.
    pub version: Option<String>,
    /// Since when the proxy has it.
    pub since: Option<String>,
    /// For `differs`, a unified diff from what istiod would send to what the proxy has; none from a bundle.
    pub diff: Option<String>,
}
