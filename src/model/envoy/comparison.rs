//! How a proxy's configuration compared with what istiod would have sent it: the one thing about a proxy in a bundle that
//! cannot be found out from what else is there, because both sides are kept only in part.

use serde::{Deserialize, Serialize};

/// What differed when the bundle was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Comparison {
    /// The istiod pod that was asked.
    pub istiod: String,
    /// Its revision.
    pub revision: String,
    /// Elements of either side that could not be read.
    pub unreadable: usize,
    /// Per kind of configuration.
    pub kinds: Vec<ComparedKind>,
}

/// One kind of configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ComparedKind {
    /// `clusters`, `listeners`, …
    pub kind: String,
    /// How many were the same on both sides.
    pub same: usize,
    /// What was not.
    pub differences: Vec<Difference>,
}

/// One element that was not the same.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// `missing`, `extra`, `warming` or `differs`.
    pub change: String,
    /// The push that brought what the proxy had.
    pub version: Option<String>,
    /// Since when the proxy had it.
    pub since: Option<String>,
}
