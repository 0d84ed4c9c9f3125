//! What `precheck` finds on this machine and asks about the user's rights.

use serde::Deserialize;

use super::{Meta, nullable};

/// A program that people use beside this one.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Program {
    /// Its name.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Where it was found; none when it is not on the PATH.
    #[serde(default, deserialize_with = "nullable")]
    pub path: Option<String>,
    /// Its version, as it says itself.
    #[serde(default, deserialize_with = "nullable")]
    pub version: Option<String>,
    /// The version of an extension that matters, such as aks-preview of az.
    #[serde(default, deserialize_with = "nullable")]
    pub extension: Option<String>,
    /// Why it did not tell its version.
    #[serde(default, deserialize_with = "nullable")]
    pub trouble: Option<String>,
}

/// One right, and whether the user has it.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Grant {
    /// Namespace and object it is limited to.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// RBAC verb.
    #[serde(default, deserialize_with = "nullable")]
    pub verb: String,
    /// Plural resource with its group.
    #[serde(default, deserialize_with = "nullable")]
    pub resource: String,
    /// What the API server says.
    #[serde(default, deserialize_with = "nullable")]
    pub allowed: bool,
}
