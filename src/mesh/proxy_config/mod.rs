//! One proxy's configuration as tables and verdicts, from what its admin interface answered.
//!
//! Rows and their cells are those of `istioctl proxy-config` (`istioctl/pkg/writer` in istio/istio), so that what people
//! know by heart, and scripts that cut columns, stay right.

pub mod clusters;
pub mod endpoints;
pub mod health;
pub mod listeners;
pub mod names;
pub mod routes;
pub mod secrets;
#[cfg(test)]
mod tests;
pub mod waiting;

use crate::model::envoy::{Node, ProxyAnswers};

/// Which rows are wanted; what is absent leaves nothing out.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Part of a cluster's host name.
    pub fqdn: Option<String>,
    /// Port of a cluster, listener or endpoint.
    pub port: Option<u16>,
    /// Part of a cluster's subset.
    pub subset: Option<String>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// `HTTP`, `TCP`, `HTTP+TCP` of a listener.
    pub kind: Option<String>,
    /// Address of a listener or endpoint.
    pub address: Option<String>,
    /// Name of a route configuration.
    pub name: Option<String>,
    /// Health of an endpoint.
    pub status: Option<String>,
    /// Name of an endpoint's cluster.
    pub cluster: Option<String>,
}

/// Whether a wish is absent or met by this text, in any case.
fn meets(wish: Option<&String>, text: &str) -> bool {
    wish.is_none_or(|wish| wish.eq_ignore_ascii_case(text))
}

/// A row of `ecds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtensionRow {
    /// Name.
    pub name: String,
    /// Type of its message.
    pub kind: String,
}

/// Extensions that came by name, by type and name.
#[must_use]
pub fn extensions(answers: &ProxyAnswers) -> Vec<ExtensionRow> {
    let mut rows: Vec<_> = answers
        .extensions
        .iter()
        .map(|extension| ExtensionRow { name: extension.name.clone(), kind: extension.kind.clone() })
        .collect();
    rows.sort_by(|a, b| (&a.kind, &a.name).cmp(&(&b.kind, &b.name)));
    rows
}

/// Envoy's version as istioctl prints it: `1.36.2/Clean/RELEASE/BoringSSL`.
#[must_use]
pub fn envoy_version(node: &Node) -> String {
    let build = &node.user_agent_build_version;
    let numbers = &build.version;
    let mut text = format!("{}.{}.{}", numbers.major_number, numbers.minor_number, numbers.patch);
    if let Some(label) = &build.metadata.label {
        text.push_str(&format!("-{label}"));
    }
    for word in [&build.metadata.status, &build.metadata.kind, &build.metadata.ssl].into_iter().flatten() {
        text.push_str(&format!("/{word}"));
    }
    text
}
