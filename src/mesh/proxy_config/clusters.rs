//! Clusters: what the proxy can send to.

use super::Filter;
use super::names::{ClusterName, Origin};
use crate::model::envoy::{Cluster, ProxyAnswers, Stage};

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterRow {
    /// Full name.
    pub name: String,
    /// Host, or the full name of a cluster that is not istiod's.
    pub fqdn: String,
    /// Port.
    pub port: Option<u32>,
    /// Subset.
    pub subset: Option<String>,
    /// `inbound` or `outbound`.
    pub direction: Option<String>,
    /// How its endpoints come: `EDS`, `STRICT_DNS`, …
    pub kind: String,
    /// `name.namespace` of the DestinationRule.
    pub destination_rule: String,
    /// How far it has come.
    pub stage: Stage,
    /// How many endpoints it has, where that is among the answers.
    pub endpoints: Option<usize>,
}

/// Clusters in the order of host, subset, port and direction.
#[must_use]
pub fn rows(answers: &ProxyAnswers, filter: &Filter) -> Vec<ClusterRow> {
    let mut chosen: Vec<(ClusterName<'_>, &Cluster)> = answers
        .clusters
        .iter()
        .filter(|cluster| is_wanted(&cluster.name, filter))
        .map(|cluster| (ClusterName::parse(&cluster.name), cluster))
        .collect();
    chosen.sort_by(|(a, one), (b, two)| a.cmp(b).then(one.stage.cmp(&two.stage).reverse()));
    let counts = super::endpoints::counts(answers);
    chosen
        .into_iter()
        .map(|(name, cluster)| ClusterRow {
            fqdn: name.host.to_owned(),
            port: name.port,
            subset: (!name.subset.is_empty()).then(|| name.subset.to_owned()),
            direction: name.is_istio().then(|| name.direction.to_owned()),
            kind: cluster.kind.clone(),
            destination_rule: Origin::cell(cluster.istio.config.as_deref()),
            stage: cluster.stage,
            endpoints: counts.as_ref().and_then(|counts| counts.of(cluster)),
            name: cluster.name.clone(),
        })
        .collect()
}

/// Every wish is looked for in the full name.
fn is_wanted(name: &str, filter: &Filter) -> bool {
    let has = |wish: &Option<String>| wish.as_ref().is_none_or(|wish| name.contains(wish.as_str()));
    has(&filter.fqdn)
        && has(&filter.direction)
        && has(&filter.subset)
        && filter.port.is_none_or(|port| name.contains(&format!("|{port}|")))
}
