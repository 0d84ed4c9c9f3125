//! Routes: which host and path lead where, and which object says so.

use std::collections::{BTreeMap, BTreeSet};

use super::Filter;
use super::listeners::path;
use super::names::{ClusterName, Origin};
use crate::model::envoy::{Action, Part, ProxyAnswers, Route, RouteConfig, Stage};

/// The cluster that passes unknown traffic on (`pilot/pkg/networking/util/util.go` in istio/istio).
pub const PASSTHROUGH: &str = "PassthroughCluster";
/// Names of routes that istiod makes without any object.
const OWN_ROUTES: [&str; 3] = ["default", "allow_any", "block_all"];

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRow {
    /// Route configuration.
    pub name: String,
    /// Virtual host.
    pub virtual_host: String,
    /// Host names, shortened.
    pub domains: String,
    /// Paths.
    pub path: String,
    /// `name.namespace` of the VirtualService; `404` where nothing answers.
    pub virtual_service: String,
    /// Clusters that it can lead to.
    pub clusters: Vec<String>,
    /// From a listener's inside, or by name.
    pub stage: Stage,
}

/// Routes: configurations whose names are ports by port, others where they are.
#[must_use]
pub fn rows(answers: &ProxyAnswers, filter: &Filter) -> Vec<RouteRow> {
    let mut configs: Vec<&RouteConfig> = answers.routes.iter().filter(|config| config.stage == Stage::Active).collect();
    configs.extend(answers.routes.iter().filter(|config| config.stage == Stage::Static));
    order(&mut configs);
    let mut rows = Vec::new();
    for config in configs.into_iter().filter(|config| filter.name.as_ref().is_none_or(|name| *name == config.name)) {
        for host in &config.virtual_hosts {
            let domains = domains(&host.domains);
            let mut push = |path: String, virtual_service: String, clusters: Vec<String>| {
                rows.push(RouteRow {
                    name: config.name.clone(),
                    virtual_host: host.name.clone(),
                    domains: domains.clone(),
                    path,
                    virtual_service,
                    clusters,
                    stage: config.stage,
                });
            };
            if host.routes.is_empty() {
                push("/*".to_owned(), "404".to_owned(), Vec::new());
            }
            for route in host.routes.iter().filter(|route| !passes_on(route)) {
                push(
                    path(&route.path),
                    Origin::cell(route.config.as_deref()),
                    route.action.clusters().map(str::to_owned).collect(),
                );
            }
        }
    }
    rows
}

fn passes_on(route: &Route) -> bool {
    matches!(&route.action, Action::Cluster(name) if name == PASSTHROUGH)
}

/// A port moves in front of larger ones, up to the first name that is none.
fn order(configs: &mut [&RouteConfig]) {
    let port = |config: &RouteConfig| config.name.parse::<i64>().ok();
    for end in 1..configs.len() {
        for at in (1..=end).rev() {
            match (port(configs[at]), port(configs[at - 1])) {
                (Some(this), Some(before)) if this < before => configs.swap(at, at - 1),
                _ => break,
            }
        }
    }
}

/// The first two host names that say something of their own: without ports, and without the longer forms of a name
/// that is there in its short form.
fn domains(all: &[String]) -> String {
    if let [only] = all {
        return only.clone();
    }
    let bare: Vec<&str> = all
        .iter()
        .map(String::as_str)
        .filter(|domain| match domain.matches(':').count() {
            0 => true,
            1 | 2 => false,
            // An IPv6 address; behind the bracket a port would follow.
            _ => domain.ends_with(']'),
        })
        .collect();
    let known: BTreeSet<&str> = bare.iter().copied().collect();
    let is_long = |domain: &str| {
        [".svc.cluster.local", ".svc"]
            .iter()
            .any(|suffix| domain.strip_suffix(suffix).is_some_and(|short| known.contains(short)))
    };
    let short: Vec<&str> = bare.iter().copied().filter(|domain| !is_long(domain)).collect();
    match short.len() {
        0..=2 => short.join(", "),
        number => format!("{}, {} + {} more...", short[0], short[1], number - 2),
    }
}

/// A destination that routes name and the proxy does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadRoute<'a> {
    /// The cluster that is not there.
    pub cluster: &'a str,
    /// Route configuration, virtual host.
    pub places: Vec<(&'a str, &'a str)>,
}

/// Routes by name that lead to clusters that are not there, by the object that says so. Unless all clusters are among the
/// answers, nothing can be said.
#[must_use]
pub fn dead(answers: &ProxyAnswers) -> BTreeMap<Option<Origin<'_>>, Vec<DeadRoute<'_>>> {
    let mut found: BTreeMap<Option<Origin<'_>>, Vec<DeadRoute<'_>>> = BTreeMap::new();
    if !answers.has_all_of(&[Part::ActiveClusters, Part::StaticClusters, Part::WarmingClusters])
        || !answers.clusters.iter().any(|cluster| cluster.stage == Stage::Active)
    {
        return found;
    }
    let known: BTreeSet<&str> = answers.clusters.iter().map(|cluster| cluster.name.as_str()).collect();
    for (config, host, route) in named(answers) {
        for cluster in route.action.clusters().filter(|cluster| !cluster.is_empty() && !known.contains(cluster)) {
            let origin = route.config.as_deref().and_then(Origin::parse);
            note(found.entry(origin).or_default(), cluster, (config, host));
        }
    }
    found
}

/// Adds a place to the list of dead routes, each cluster and each place once.
fn note<'a>(list: &mut Vec<DeadRoute<'a>>, cluster: &'a str, place: (&'a str, &'a str)) {
    match list.iter_mut().find(|dead| dead.cluster == cluster) {
        None => list.push(DeadRoute { cluster, places: vec![place] }),
        Some(dead) if !dead.places.contains(&place) => dead.places.push(place),
        Some(_) => {}
    }
}

/// Routes that came by name: configuration, virtual host, route.
pub fn named(answers: &ProxyAnswers) -> impl Iterator<Item = (&str, &str, &Route)> {
    answers.routes.iter().filter(|config| config.stage == Stage::Active).flat_map(|config| {
        config.virtual_hosts.iter().flat_map(move |host| {
            host.routes.iter().map(move |route| (config.name.as_str(), host.name.as_str(), route))
        })
    })
}

/// Routes that neither istiod makes by itself nor an object explains: configuration, virtual host, route.
pub fn unexplained(answers: &ProxyAnswers) -> impl Iterator<Item = (&str, &str, &Route)> {
    named(answers).filter(|(_, _, route)| {
        route.config.is_none() && !route.name.is_empty() && !OWN_ROUTES.contains(&route.name.as_str())
    })
}

/// Subsets without an endpoint that routes of objects lead to, although the Service itself has some, by the object.
#[must_use]
pub fn deserted(answers: &ProxyAnswers) -> BTreeMap<Origin<'_>, Vec<DeadRoute<'_>>> {
    let Some(counts) = super::endpoints::counts(answers) else { return BTreeMap::new() };
    let known: BTreeMap<ClusterName<'_>, usize> = answers
        .clusters
        .iter()
        .filter_map(|cluster| Some((ClusterName::parse(&cluster.name), counts.of(cluster)?)))
        .collect();
    let is_deserted = |cluster: &str| {
        let name = ClusterName::parse(cluster);
        let whole = ClusterName { subset: "", ..name.clone() };
        !name.subset.is_empty() && known.get(&name) == Some(&0) && known.get(&whole).is_some_and(|number| *number > 0)
    };
    let mut found: BTreeMap<Origin<'_>, Vec<DeadRoute<'_>>> = BTreeMap::new();
    for (config, host, route) in named(answers) {
        let Some(origin) = route.config.as_deref().and_then(Origin::parse) else { continue };
        for cluster in route.action.clusters().filter(|cluster| is_deserted(cluster)) {
            note(found.entry(origin.clone()).or_default(), cluster, (config, host));
        }
    }
    found
}

/// Hosts none of whose clusters has an endpoint, with their ports. Only what istiod or DNS provides endpoints for.
#[must_use]
pub fn empty(answers: &ProxyAnswers) -> BTreeMap<&str, Vec<String>> {
    let Some(counts) = super::endpoints::counts(answers) else { return BTreeMap::new() };
    let mut hosts: BTreeMap<&str, (usize, BTreeSet<String>)> = BTreeMap::new();
    for cluster in answers.clusters.iter().filter(|cluster| cluster.stage == Stage::Active) {
        let name = ClusterName::parse(&cluster.name);
        let provided = matches!(cluster.kind.as_str(), "EDS" | "STRICT_DNS" | "LOGICAL_DNS");
        let (true, "outbound", Some(number)) = (provided, name.direction, counts.of(cluster)) else { continue };
        let (sum, ports) = hosts.entry(name.host).or_default();
        *sum += number;
        ports.extend(name.port.map(|port| format!("port {port}")));
    }
    let without = hosts.into_iter().filter(|(_, (sum, _))| *sum == 0);
    without.map(|(host, (_, ports))| (host, ports.into_iter().collect())).collect()
}
