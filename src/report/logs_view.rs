//! `logs`: its own data. Scripts rely on these shapes, as on those of [`super::view`].

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::Severity;

/// What logs say.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogsView {
    /// Lines that were read.
    pub lines: u64,
    /// Lines of access logs among them.
    pub requests: u64,
    /// Requests among these that a proxy had to end.
    pub failed_requests: u64,
    /// The logs, by namespace, pod and container.
    pub logs: Vec<LogView>,
    /// Known messages, worst first.
    pub messages: Vec<MessageView>,
}

/// One log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LogView {
    /// Namespace; empty for a file that does not tell.
    pub namespace: String,
    /// Pod; empty for a file that does not tell.
    pub pod: String,
    /// Container.
    pub container: String,
    /// `istiod`, `proxy`, `gateway`, `init`, `other` for a container that is none of Istio's, or `any` for a file.
    pub part: String,
    /// How the container ended, where this is the log from before its last restart.
    pub previous: Option<PreviousView>,
    /// Lines that were read.
    pub lines: u64,
    /// Whether there may be older lines.
    pub older_left_out: bool,
    /// Lines of which only the beginning was looked at.
    pub cut: u64,
    /// Time of the first line.
    pub first: Option<String>,
    /// Time of the last line.
    pub last: Option<String>,
    /// What a proxy said last about being ready.
    pub envoy: Option<EnvoyView>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreviousView {
    /// Exit code.
    pub exit_code: i32,
    /// `OOMKilled`, `Error`, …
    pub reason: String,
    /// When.
    pub finished_at: Option<String>,
    /// Where it failed and no known message in its log says why: the last lines, without secrets.
    #[serde(default)]
    pub last_lines: Option<Vec<String>>,
}

/// What a proxy said last about being ready.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvoyView {
    /// Whether it is.
    pub ready: bool,
    /// Why not, in its own words.
    pub reason: Option<String>,
    /// Since when it has said so.
    pub since: Option<String>,
}

/// One known message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MessageView {
    /// Its name.
    pub id: String,
    /// How bad it is; what is over is `info`.
    pub severity: Severity,
    /// What it means.
    pub meaning: String,
    /// The check that it belongs to.
    pub code: Option<String>,
    /// How often it came.
    pub count: u64,
    /// When it came first.
    pub first: Option<String>,
    /// When it came last.
    pub last: Option<String>,
    /// The logs that have it, as `POD.NAMESPACE`.
    pub pods: Vec<String>,
    /// What it names: the first few.
    pub about: Vec<String>,
    /// The last line with it, without secrets.
    pub example: String,
}
