//! What was read of the log of one container: counts, the known messages in it, and its last lines.
//!
//! A log can be endless, so it is taken in line by line by [`crate::mesh::log::Digest`], and only this is kept.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::snapshot::Fault;

/// The log of one container, taken in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ContainerLog {
    /// The pod.
    pub metadata: LogPod,
    /// The container.
    pub container: String,
    /// Whose log it is.
    pub part: LogPart,
    /// The revision of its istiod or proxy.
    pub revision: Option<String>,
    /// The workload that the pod belongs to.
    pub workload: Option<LogWorkload>,
    /// For the log of the time before the last restart: how that time ended.
    pub previous: Option<LogEnd>,
    /// Why it could not be read, or not to its end.
    pub fault: Option<Fault>,
    /// Lines read.
    pub lines: u64,
    /// Whether there may be older lines that were not read.
    pub older_left_out: bool,
    /// Lines that were too long, so that only their beginning was looked at.
    pub cut: u64,
    /// Time of the first line.
    pub first: Option<Timestamp>,
    /// Time of the last line.
    pub last: Option<Timestamp>,
    /// What a proxy said last about being ready.
    pub readiness: Option<LogReadiness>,
    /// When a proxy last got what it had failed to get before.
    pub recovered: LogRecovered,
    /// Lines of an access log.
    pub requests: u64,
    /// Those among them that Envoy itself answered, or ended, because something was wrong.
    pub failed_requests: u64,
    /// Known messages, worst first.
    pub groups: Vec<LogGroup>,
    /// The last lines, as far as they are kept, without secrets.
    pub tail: Vec<String>,
}

/// The name of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct LogPod {
    /// Namespace; empty for a file that does not tell.
    pub namespace: String,
    /// Name; empty for a file that does not tell.
    pub name: String,
}

/// The name of a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(default)]
pub struct LogWorkload {
    /// Kind, as Kubernetes spells it.
    pub kind: String,
    /// Name.
    pub name: String,
}

/// Whose log it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LogPart {
    /// istiod's.
    Istiod,
    /// A sidecar's.
    Proxy,
    /// A gateway's.
    Gateway,
    /// That of an init container that sets up or checks the redirection of traffic.
    Init,
    /// That of a container that is none of Istio's.
    Other,
    /// A file that may hold any of them.
    #[default]
    #[serde(other)]
    Any,
}

impl LogPart {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Istiod => "istiod",
            Self::Proxy => "proxy",
            Self::Gateway => "gateway",
            Self::Init => "init",
            Self::Other => "other",
            Self::Any => "any",
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogEnd {
    /// Exit code.
    pub exit_code: i32,
    /// `OOMKilled`, `Error`, …
    pub reason: String,
    /// When.
    pub finished_at: Option<Timestamp>,
}

/// What a proxy said about being ready.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogReadiness {
    /// Whether it is.
    pub ready: bool,
    /// Why not, in its own words.
    pub reason: String,
    /// When it said so last.
    pub at: Option<Timestamp>,
    /// Since when it has said the same.
    pub since: Option<Timestamp>,
}

/// When a proxy last said that something went well that can fail.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogRecovered {
    /// It connected to istiod.
    pub connected: Option<Timestamp>,
    /// It got a certificate.
    pub certified: Option<Timestamp>,
    /// It had a root certificate to give to Envoy.
    pub rooted: Option<Timestamp>,
}

/// A known message, however often it came.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LogGroup {
    /// Which one, in [`crate::mesh::log::known`].
    pub id: String,
    /// How often it came.
    pub count: u64,
    /// When it came first.
    pub first: Option<Timestamp>,
    /// When it came last.
    pub last: Option<Timestamp>,
    /// The last line with it, without secrets and not longer than a person reads.
    pub example: String,
    /// What it names, such as proxies or hosts: the first few.
    pub about: Vec<String>,
    /// Whether it names more than those.
    pub more_about: bool,
}
