//! `precheck`: what the tools can do here. Within a schema version fields are only added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::snapshot::Need;

/// `precheck`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PrecheckView {
    /// The connection; none for a bundle.
    pub connection: Option<ConnectionView>,
    /// The add-on's revisions; none when they could not be read.
    pub revisions: Option<Vec<String>>,
    /// Programs on the PATH of this machine.
    pub programs: Vec<ProgramView>,
    /// Commands that fit this cluster, as argument lists.
    pub lines: Vec<Vec<String>>,
    /// The commands of this tool, each once per scope.
    pub commands: Vec<CommandView>,
    /// When and by what the bundle was made; none for a cluster.
    pub bundle: Option<BundleView>,
}

/// A connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionView {
    /// Address of the API server.
    pub server: String,
    /// Milliseconds of one small request over the open connection.
    pub milliseconds: u64,
    /// Whether the server's certificate is checked.
    pub verified: bool,
    /// How the user is known: `plugin`, `token`, `clientCertificate`, `basic`, `provider`, `serviceAccount` or `none`.
    pub credentials: String,
    /// The credential plugin's command, or the provider.
    pub plugin: Option<String>,
    /// When the plugin's credentials end, where it tells.
    pub until: Option<String>,
    /// The user as the API server sees it, where it tells.
    pub user: Option<String>,
    /// Groups of that user.
    pub groups: Vec<String>,
}

/// A program.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProgramView {
    /// Its name.
    pub name: String,
    /// Where it is; none when it is not on the PATH.
    pub path: Option<String>,
    /// Its version.
    pub version: Option<String>,
    /// The version of its extension aks-preview.
    pub extension: Option<String>,
    /// Why it did not tell its version.
    pub trouble: Option<String>,
}

/// What one command can do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommandView {
    /// The command.
    pub command: String,
    /// Namespaces it would be limited to; none for the whole cluster.
    pub namespaces: Option<Vec<String>>,
    /// `yes`, `part`, `no`, or `unknown` where the API server did not say.
    pub can: String,
    /// Rights that are missing.
    pub missing: Vec<Need>,
    /// Sources that a bundle lacks.
    pub unread: Vec<String>,
    /// The flag of `capture` without which the bundle was made, and which the command would have needed.
    #[serde(default)]
    pub flag: Option<String>,
}

/// A bundle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BundleView {
    /// When it was captured.
    pub captured_at: Option<String>,
    /// Namespaces in it; none for all.
    pub namespaces: Option<Vec<String>>,
    /// Whether capturing was interrupted.
    pub interrupted: bool,
}
