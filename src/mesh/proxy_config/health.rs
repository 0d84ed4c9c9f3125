//! Which endpoints the proxy does not use, and why.

use std::collections::BTreeMap;

use super::names::address;
use crate::model::envoy::{Health, ProxyAnswers};

/// Who decided that an endpoint is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Judge {
    /// istiod: the pod is not ready, or it is ending.
    Istiod,
    /// The proxy itself, by its own checks or by the answers that it got.
    Proxy,
}

/// Why the proxy does not use an endpoint, in words; empty when it does.
#[must_use]
pub fn reasons(health: &Health) -> Vec<&'static str> {
    let words = [
        (health.failed_outlier_check, "ejected after failed requests (outlier detection)"),
        (health.failed_active_health_check, "fails the proxy's health check"),
        (health.active_hc_timeout, "does not answer the proxy's health check in time"),
        (health.excluded_via_immediate_hc_fail, "asked to be left out"),
        (health.pending_active_hc, "waits for its first health check"),
        (health.eds_health_status == "UNHEALTHY", "not ready, says istiod"),
        (health.eds_health_status == "DRAINING", "draining, says istiod"),
        (health.eds_health_status == "TIMEOUT", "timed out, says istiod"),
    ];
    words.into_iter().filter(|(is, _)| *is).map(|(_, words)| words).collect()
}

fn judge(health: &Health) -> Option<Judge> {
    let own = health.failed_outlier_check
        || health.failed_active_health_check
        || health.active_hc_timeout
        || health.excluded_via_immediate_hc_fail;
    match (own, reasons(health).is_empty()) {
        (true, _) => Some(Judge::Proxy),
        (false, false) => Some(Judge::Istiod),
        (false, true) => None,
    }
}

/// A cluster with endpoints that are not used.
#[derive(Clone, Debug)]
pub struct Impaired<'a> {
    /// The cluster.
    pub cluster: &'a str,
    /// How many endpoints it has.
    pub total: usize,
    /// Endpoints that are not used: address, who decided, why.
    pub unused: Vec<(String, Judge, String)>,
}

impl Impaired<'_> {
    /// Whether none is left.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.unused.len() == self.total
    }

    /// Whether the proxy itself leaves out at least one.
    #[must_use]
    pub fn is_by_proxy(&self) -> bool {
        self.unused.iter().any(|(_, judge, _)| *judge == Judge::Proxy)
    }
}

/// Clusters with endpoints that are not used, by name.
#[must_use]
pub fn impaired(answers: &ProxyAnswers) -> Vec<Impaired<'_>> {
    let mut found: BTreeMap<&str, Impaired<'_>> = BTreeMap::new();
    for cluster in &answers.hosts {
        let unused: Vec<_> = cluster
            .host_statuses
            .iter()
            .filter_map(|host| {
                judge(&host.health).map(|judge| (address(&host.address), judge, reasons(&host.health).join(", ")))
            })
            .collect();
        if !unused.is_empty() {
            found
                .insert(&cluster.name, Impaired { cluster: &cluster.name, total: cluster.host_statuses.len(), unused });
        }
    }
    found.into_values().collect()
}
