//! Listeners: what the proxy does with connections.

use super::Filter;
use crate::model::envoy::{
    Action, Address, Chain, ChainMatch, Filter as NetworkFilter, HttpRoutes, Listener, PathMatch, ProxyAnswers,
    RouteConfig, Stage, VirtualHost,
};

/// A listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerRow {
    /// Name.
    pub name: String,
    /// Addresses, the main one first.
    pub addresses: Vec<String>,
    /// Port.
    pub port: u16,
    /// `HTTP`, `TCP`, `HTTP+TCP` or `UNKNOWN`.
    pub kind: &'static str,
    /// How far it has come.
    pub stage: Stage,
    /// What matches, and where it goes.
    pub chains: Vec<(String, String)>,
}

/// Listeners by port, address and type.
#[must_use]
pub fn rows(answers: &ProxyAnswers, filter: &Filter) -> Vec<ListenerRow> {
    let mut rows: Vec<ListenerRow> = answers.listeners.iter().map(row).filter(|row| is_wanted(row, filter)).collect();
    rows.sort_by(|a, b| (a.port, &a.addresses.first(), a.kind).cmp(&(b.port, &b.addresses.first(), b.kind)));
    rows
}

fn is_wanted(row: &ListenerRow, filter: &Filter) -> bool {
    filter.address.as_ref().is_none_or(|wish| row.addresses.iter().any(|address| address.eq_ignore_ascii_case(wish)))
        && filter.port.is_none_or(|wish| wish == row.port)
        && super::meets(filter.kind.as_ref(), row.kind)
}

fn row(listener: &Listener) -> ListenerRow {
    let main = listener.addresses.first();
    let text = |(number, address): (usize, &Address)| match address {
        Address::Socket(ip, _) => ip.clone(),
        Address::Pipe(path) if number == 0 => path.clone(),
        _ => String::new(),
    };
    let mut chains: Vec<(String, String)> =
        listener.chains.iter().map(|chain| (matches(&chain.matches), destination(chain))).collect();
    chains.sort_by(|a, b| b.1.cmp(&a.1));
    ListenerRow {
        name: listener.name.clone(),
        addresses: listener.addresses.iter().enumerate().map(text).collect(),
        port: match main {
            Some(Address::Socket(_, port)) => *port,
            _ => 0,
        },
        kind: kind(listener),
        stage: listener.stage,
        chains,
    }
}

/// What kind of traffic it takes. A TCP filter that leads nowhere is none.
fn kind(listener: &Listener) -> &'static str {
    let filters = || listener.chains.iter().flat_map(|chain| &chain.filters);
    let http = filters().any(|filter| matches!(filter, NetworkFilter::Http(_)));
    let tcp = filters().any(|filter| matches!(filter, NetworkFilter::Tcp { black_hole: false, .. }));
    match (http, tcp) {
        (true, true) => "HTTP+TCP",
        (true, false) => "HTTP",
        (false, true) => "TCP",
        (false, false) => "UNKNOWN",
    }
}

/// Lists of application protocols that stand for something (`listener.go` in `istioctl/pkg/writer/envoy/configdump`).
const PROTOCOLS: [(&str, &[&str]); 4] = [
    ("App: HTTP TLS", &["http/1.0", "http/1.1", "h2c", "istio-http/1.0", "istio-http/1.1", "istio-h2"]),
    ("App: Istio HTTP Plain", &["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"]),
    ("App: TCP TLS", &["istio-peer-exchange", "istio"]),
    ("App: HTTP", &["http/1.0", "http/1.1", "h2c"]),
];

fn matches(wanted: &ChainMatch) -> String {
    let mut parts = Vec::new();
    if !wanted.server_names.is_empty() {
        parts.push(format!("SNI: {}", wanted.server_names.join(",")));
    }
    if !wanted.transport_protocol.is_empty() {
        parts.push(format!("Trans: {}", wanted.transport_protocol));
    }
    let protocols = &wanted.application_protocols;
    if !protocols.is_empty() {
        let known = PROTOCOLS.iter().find(|(_, list)| list.iter().eq(protocols.iter()));
        parts.push(known.map_or_else(|| format!("App: {}", protocols.join(",")), |(words, _)| (*words).to_owned()));
    }
    let port = wanted.destination_port.map(|port| format!(":{port}")).unwrap_or_default();
    if !wanted.prefix_ranges.is_empty() {
        let ranges: Vec<String> =
            wanted.prefix_ranges.iter().map(|range| format!("{}/{}", range.address_prefix, range.prefix_len)).collect();
        parts.push(format!("Addr: {}{port}", ranges.join(",")));
    } else if !port.is_empty() {
        parts.push(format!("Addr: *{port}"));
    }
    if parts.is_empty() { "ALL".to_owned() } else { parts.join("; ") }
}

fn destination(chain: &Chain) -> String {
    for filter in &chain.filters {
        match filter {
            NetworkFilter::Http(HttpRoutes::Inline(routes)) => return inline(routes),
            NetworkFilter::Http(HttpRoutes::Named(name)) => return format!("Route: {name}"),
            NetworkFilter::Http(HttpRoutes::Other) => return "HTTP".to_owned(),
            NetworkFilter::Tcp { cluster, black_hole: false, .. } => return to_cluster(cluster),
            NetworkFilter::Tcp { .. } | NetworkFilter::Other => {}
        }
    }
    "Non-HTTP/Non-TCP".to_owned()
}

/// Clusters that are called so, such as `PassthroughCluster`, speak for themselves.
fn to_cluster(name: &str) -> String {
    if name.contains("Cluster") { name.to_owned() } else { format!("Cluster: {name}") }
}

fn inline(routes: &RouteConfig) -> String {
    if let [host] = &routes.virtual_hosts[..]
        && is_any(host)
        && let [route] = &host.routes[..]
        && route.path.prefix == "/"
        && let Action::Cluster(cluster) = &route.action
    {
        return to_cluster(cluster);
    }
    let hosts: Vec<String> = routes
        .virtual_hosts
        .iter()
        .map(|host| {
            let paths: Vec<String> = host.routes.iter().map(|route| path(&route.path)).collect();
            let paths = paths.join(", ");
            if is_any(host) { paths } else { format!("{} {paths}", host.domains.join("/")) }
        })
        .collect();
    format!("Inline Route: {}", hosts.join("; "))
}

fn is_any(host: &VirtualHost) -> bool {
    matches!(&host.domains[..], [domain] if domain == "*")
}

/// Which paths a route takes, as istioctl writes it; headers are left out.
#[must_use]
pub fn path(wanted: &PathMatch) -> String {
    let mut parts = Vec::new();
    if !wanted.prefix.is_empty() {
        parts.push(format!("{}*", wanted.prefix));
    }
    if !wanted.path_separated_prefix.is_empty() {
        parts.push(format!("PathPrefix:{}", wanted.path_separated_prefix));
    }
    if !wanted.path.is_empty() {
        parts.push(wanted.path.clone());
    }
    if let Some(regex) = &wanted.safe_regex {
        parts.push(format!("regex {}", regex.regex));
    }
    parts.join(" ")
}
