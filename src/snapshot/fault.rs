//! What went wrong while reading one thing, classified so that a person can act on it.

use serde::{Deserialize, Serialize};

/// Why a read failed. Never carries a token, a body or another tool's raw error text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum FaultKind {
    /// The server knows who asks and says no (HTTP 403).
    Forbidden,
    /// The server does not accept the credentials, or there are none (HTTP 401, failed credential plugin).
    Unauthenticated,
    /// No connection: DNS, refused, reset, TLS, proxy, or a server that only answers 5xx.
    Unreachable,
    /// A time limit passed.
    Timeout,
    /// The answer stopped early or a list could not be completed.
    Truncated,
    /// The answer is not what the protocol says.
    Malformed,
}

impl FaultKind {
    /// The kind that a word of a report stands for; a word that is none of them means that nothing was reached.
    #[must_use]
    pub fn of_word(word: &str) -> Self {
        let all = [
            Self::Forbidden,
            Self::Unauthenticated,
            Self::Unreachable,
            Self::Timeout,
            Self::Truncated,
            Self::Malformed,
        ];
        all.into_iter().find(|kind| kind.word() == word).unwrap_or(Self::Unreachable)
    }

    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Forbidden => "forbidden",
            Self::Unauthenticated => "unauthenticated",
            Self::Unreachable => "unreachable",
            Self::Timeout => "timeout",
            Self::Truncated => "truncated",
            Self::Malformed => "malformed",
        }
    }
}

/// The right that a refused request lacked, in RBAC's terms.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Need {
    /// RBAC verb, e.g. `list`.
    pub verb: String,
    /// Plural resource, with its API group after a dot unless it is the core group, e.g. `deployments.apps`.
    pub resource: String,
    /// Namespace, or none for cluster scope.
    pub namespace: Option<String>,
}

/// One classified failure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Its class.
    pub kind: FaultKind,
    /// HTTP status, where there was an answer.
    pub status: Option<u16>,
    /// One plain sentence without a trailing period.
    pub message: String,
    /// The missing right, for [`FaultKind::Forbidden`].
    pub need: Option<Need>,
    /// Things to try, in order. Commands stand alone after three spaces.
    pub hints: Vec<String>,
}

impl Fault {
    /// A fault without status, need or hints.
    pub fn new(kind: FaultKind, message: impl Into<String>) -> Self {
        Self { kind, status: None, message: message.into(), need: None, hints: Vec::new() }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}
