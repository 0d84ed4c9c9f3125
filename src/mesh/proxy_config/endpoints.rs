//! Endpoints: as configured (`eds`), and as the proxy sees them now (`endpoints`).

use std::collections::BTreeMap;

use super::names::{ClusterName, address};
use super::{Filter, health, meets};
use crate::model::envoy::{Address, Cluster, Host, Locality, Part, ProxyAnswers};

/// A row of `endpoints`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointRow {
    /// Address with port.
    pub address: String,
    /// What istiod says of its health.
    pub status: String,
    /// Whether the proxy leaves it out because of its answers.
    pub is_ejected: bool,
    /// Its cluster.
    pub cluster: String,
    /// Why the proxy does not use it, in words; empty when it does.
    pub reasons: Vec<&'static str>,
    /// Its place.
    pub locality: String,
    /// Connections that were tried.
    pub connections: u64,
    /// Connections that failed.
    pub failed_connections: u64,
    /// Requests that failed.
    pub failed_requests: u64,
}

/// Whether a cluster's endpoints are wanted. That a part of its name is enough (`fqdn`) is not of istioctl: there the
/// whole name, with direction and port, has to be known.
fn is_of(cluster: &str, filter: &Filter) -> bool {
    meets(filter.cluster.as_ref(), cluster) && filter.fqdn.as_ref().is_none_or(|wish| cluster.contains(wish.as_str()))
}

/// Endpoints that the proxy uses, by address, port and cluster.
#[must_use]
pub fn rows(answers: &ProxyAnswers, filter: &Filter) -> Vec<EndpointRow> {
    let mut chosen: Vec<(String, u16, &str, &Host)> = Vec::new();
    for cluster in &answers.hosts {
        for host in &cluster.host_statuses {
            let (name, port) = bare(&host.address);
            let wanted = filter.address.as_ref().is_none_or(|wish| {
                wish.eq_ignore_ascii_case(&name) || wish.eq_ignore_ascii_case(&address(&host.address))
            }) && filter.port.is_none_or(|wish| wish == port)
                && is_of(&cluster.name, filter)
                && meets(filter.status.as_ref(), &host.health.eds_health_status);
            if wanted {
                chosen.push((name, port, &cluster.name, host));
            }
        }
    }
    chosen.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    chosen
        .into_iter()
        .map(|(name, port, cluster, host)| EndpointRow {
            address: if port == 0 { name } else { format!("{name}:{port}") },
            status: host.health.eds_health_status.clone(),
            is_ejected: host.health.failed_outlier_check,
            cluster: cluster.to_owned(),
            reasons: health::reasons(&host.health),
            locality: locality(&host.locality),
            connections: host.connections,
            failed_connections: host.failed_connections,
            failed_requests: host.failed_requests,
        })
        .collect()
}

/// An address without its port, and the port.
fn bare(at: &Address) -> (String, u16) {
    match at {
        Address::Socket(ip, port) => (ip.clone(), *port),
        Address::Pipe(path) => (format!("unix://{path}"), 0),
        other => (address(other), 0),
    }
}

/// `region/zone/sub-zone`, as far as it goes.
fn locality(place: &Locality) -> String {
    let mut text = place.region.clone();
    for part in [&place.zone, &place.sub_zone] {
        if part.is_empty() {
            break;
        }
        text.push('/');
        text.push_str(part);
    }
    text
}

/// A row of `eds`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredRow {
    /// Addresses with ports, separated by commas.
    pub name: String,
    /// What istiod says of its health.
    pub status: String,
    /// Its place.
    pub locality: String,
    /// Its cluster.
    pub cluster: String,
}

/// Configured endpoints, by the host, subset, port and direction of their cluster.
#[must_use]
pub fn configured(answers: &ProxyAnswers, filter: &Filter) -> Vec<ConfiguredRow> {
    let mut assignments: Vec<_> =
        answers.assignments.iter().filter(|assignment| is_of(&assignment.cluster, filter)).collect();
    assignments.sort_by(|a, b| ClusterName::parse(&a.cluster).cmp(&ClusterName::parse(&b.cluster)));
    let mut rows = Vec::new();
    for assignment in assignments {
        for place in &assignment.localities {
            for endpoint in &place.endpoints {
                let addresses: Vec<String> = endpoint.addresses.iter().map(address).collect();
                let port = endpoint.addresses.first().map_or(0, |main| bare(main).1);
                let named = |wish: &String| {
                    let bare = endpoint.addresses.iter().map(|at| bare(at).0);
                    addresses.iter().cloned().chain(bare).any(|text| wish.eq_ignore_ascii_case(&text))
                };
                if filter.address.as_ref().is_none_or(named)
                    && filter.port.is_none_or(|wish| wish == port)
                    && meets(filter.status.as_ref(), &endpoint.status)
                {
                    rows.push(ConfiguredRow {
                        name: addresses.join(","),
                        status: endpoint.status.clone(),
                        locality: locality(&place.locality),
                        cluster: assignment.cluster.clone(),
                    });
                }
            }
        }
    }
    rows
}

/// How many endpoints clusters have.
pub struct Counts<'a> {
    by_name: BTreeMap<&'a str, usize>,
    /// Endpoints of every cluster are known, so that a cluster that is not listed has none.
    from_hosts: bool,
}

/// Counts endpoints; none when no answer tells them.
#[must_use]
pub fn counts(answers: &ProxyAnswers) -> Option<Counts<'_>> {
    if answers.has(&[Part::Hosts]) {
        let by_name =
            answers.hosts.iter().map(|cluster| (cluster.name.as_str(), cluster.host_statuses.len())).collect();
        return Some(Counts { by_name, from_hosts: true });
    }
    if answers.has(&[Part::DynamicEndpoints]) {
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for assignment in &answers.assignments {
            *by_name.entry(&assignment.cluster).or_default() += assignment.count();
        }
        return Some(Counts { by_name, from_hosts: false });
    }
    None
}

impl Counts<'_> {
    /// Endpoints of a cluster; none when that cannot be told.
    #[must_use]
    pub fn of(&self, cluster: &Cluster) -> Option<usize> {
        let found = self.by_name.get(cluster.name.as_str());
        if self.from_hosts {
            return found.copied();
        }
        found.or_else(|| self.by_name.get(cluster.endpoints_name.as_str())).copied()
    }
}
