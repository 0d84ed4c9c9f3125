//! What istiod would send a proxy now, against what the proxy's Envoy has.
//!
//! Both sides are a `config_dump`. Envoy prints the names of fields (`filter_chains`), istiod their JSON names
//! (`filterChains`); with the same spelling, equal configuration is equal JSON. What the bootstrap brought is Envoy's own
//! and is not compared, nor are secrets that the agent in the pod serves.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::model::envoy::split::{Part, Piece, SplitError, Splitter};

/// What is compared, in the order in which it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Clusters (CDS).
    Cluster,
    /// Listeners (LDS).
    Listener,
    /// Route configurations (RDS).
    Route,
    /// Endpoints of clusters (EDS).
    Endpoint,
    /// Secrets that istiod serves (SDS).
    Secret,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 5] = [Self::Cluster, Self::Listener, Self::Route, Self::Endpoint, Self::Secret];

    /// Plural, as `proxy-config` names it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Cluster => "clusters",
            Self::Listener => "listeners",
            Self::Route => "routes",
            Self::Endpoint => "endpoints",
            Self::Secret => "secrets",
        }
    }
}

/// One piece of configuration.
#[derive(Clone, Debug, Default)]
struct Element {
    /// The push that brought it.
    version: Option<String>,
    /// Since when Envoy has it, as Envoy writes it.
    since: Option<String>,
    /// Envoy has it, but does not use it yet.
    is_warming: bool,
    /// The bytes as they came: parsed only while they are compared.
    body: Vec<u8>,
}

/// One side.
#[derive(Clone, Debug, Default)]
pub struct Side {
    elements: BTreeMap<(Kind, String), Element>,
    kinds: Vec<Kind>,
    /// Elements that could not be read.
    pub damaged: usize,
}

/// How one element differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// istiod would send it, the proxy has not got it.
    Missing,
    /// The proxy has it, istiod would not send it any more.
    Extra,
    /// The proxy has received it, and does not use it yet.
    Warming,
    /// Both have it, with other content: both texts, for a line by line comparison.
    Differs {
        /// What istiod would send, indented JSON with sorted keys.
        istiod: String,
        /// What the proxy has, likewise.
        proxy: String,
    },
}

/// One element that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// How it differs.
    pub change: Change,
    /// The push that brought what the proxy has.
    pub version: Option<String>,
    /// Since when the proxy has it.
    pub since: Option<String>,
}

/// The result for one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compared {
    /// What was compared.
    pub kind: Kind,
    /// How many are equal.
    pub same: usize,
    /// What differs, by name.
    pub differences: Vec<Difference>,
}

impl Side {
    /// Reads a `config_dump`.
    ///
    /// # Errors
    /// When it is none.
    pub fn read(dump: &[u8]) -> Result<Self, SplitError> {
        let mut side = Self::default();
        let mut splitter = Splitter::new();
        splitter.push(dump, |piece| match piece {
            Piece::Opened(part) => side.kinds.extend(kind(part)),
            Piece::Element(part, bytes) => side.take(part, bytes),
            Piece::TooLarge(part) => side.damaged += usize::from(kind(part).is_some()),
            Piece::Dump => {}
        })?;
        splitter.finish()?;
        Ok(side)
    }

    fn take(&mut self, part: Part, bytes: &[u8]) {
        let Some(kind) = kind(part) else { return };
        self.kinds.push(kind);
        self.kinds.dedup();
        let Ok(Value::Object(entry)) = serde_json::from_slice(bytes) else {
            self.damaged += 1;
            return;
        };
        let Value::Object(entry) = spelled(Value::Object(entry)) else { return };
        match element(kind, part, entry) {
            // A listener that only waits to end is not there any more.
            None => {}
            Some(Ok((name, element))) => {
                let key = (kind, name);
                // The one in use says more than the one that waits beside it.
                if !element.is_warming || !self.elements.contains_key(&key) {
                    self.elements.insert(key, element);
                }
            }
            Some(Err(())) => self.damaged += 1,
        }
    }

    fn has(&self, kind: Kind) -> bool {
        self.kinds.contains(&kind)
    }
}

fn kind(part: Part) -> Option<Kind> {
    match part {
        Part::ActiveClusters | Part::WarmingClusters => Some(Kind::Cluster),
        Part::DynamicListeners => Some(Kind::Listener),
        Part::DynamicRoutes => Some(Kind::Route),
        Part::DynamicEndpoints => Some(Kind::Endpoint),
        Part::ActiveSecrets | Part::WarmingSecrets => Some(Kind::Secret),
        _ => None,
    }
}

/// The element in an entry of a dump; none for one that is only draining or was only refused.
fn element(kind: Kind, part: Part, mut entry: Map<String, Value>) -> Option<Result<(String, Element), ()>> {
    let mut is_warming = matches!(part, Part::WarmingClusters | Part::WarmingSecrets);
    if kind == Kind::Listener {
        let name = entry.remove("name");
        let state = match (entry.remove("activeState"), entry.remove("warmingState")) {
            (Some(Value::Object(state)), _) => state,
            (_, Some(Value::Object(state))) => {
                is_warming = true;
                state
            }
            _ => return None,
        };
        entry = state;
        entry.extend(name.map(|name| ("name".to_owned(), name)));
    }
    let field = match kind {
        Kind::Cluster => "cluster",
        Kind::Listener => "listener",
        Kind::Route => "routeConfig",
        Kind::Endpoint => "endpointConfig",
        Kind::Secret => "secret",
    };
    let text = |value: Option<&Value>| value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    let body = entry.remove(field)?;
    let name = [body.get("name"), body.get("clusterName"), entry.get("name")].into_iter().find_map(text);
    let Some(name) = name else { return Some(Err(())) };
    let body = match kind {
        Kind::Endpoint => endpoints(&body),
        Kind::Secret => certificates(&body),
        _ => body,
    };
    let element = Element {
        version: text(entry.get("versionInfo")),
        since: text(entry.get("lastUpdated")),
        is_warming,
        body: serde_json::to_vec(&body).unwrap_or_default(),
    };
    Some(Ok((name, element)))
}

/// One spelling for all keys. Keys of free maps change on both sides alike.
fn spelled(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            Value::Object(map.into_iter().map(|(key, value)| (camel(&key), spelled(value))).collect())
        }
        Value::Array(list) => Value::Array(list.into_iter().map(spelled).collect()),
        other => other,
    }
}

/// `filter_chains` → `filterChains`.
fn camel(key: &str) -> String {
    let mut out = String::with_capacity(key.len());
    let mut upper = false;
    for c in key.chars() {
        match c {
            '_' if !out.is_empty() => upper = true,
            c if upper => {
                out.extend(c.to_uppercase());
                upper = false;
            }
            c => out.push(c),
        }
    }
    out
}

/// Of a cluster's endpoints where they are, how much each gets, and whether it is healthy: Envoy leaves the rest out of
/// its dump.
fn endpoints(body: &Value) -> Value {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Assignment {
        endpoints: Vec<Group>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Group {
        locality: Value,
        priority: Value,
        lb_endpoints: Vec<Lb>,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "camelCase")]
    struct Lb {
        endpoint: Value,
        health_status: Option<String>,
        load_balancing_weight: Value,
    }
    let assignment = Assignment::deserialize(body).unwrap_or_default();
    let mut lines: Vec<String> = Vec::new();
    for group in &assignment.endpoints {
        let place = ["region", "zone", "subZone"].iter().filter_map(|key| group.locality.get(key)?.as_str());
        let place = place.collect::<Vec<_>>().join("/");
        let priority = group.priority.as_u64().unwrap_or_default();
        for lb in &group.lb_endpoints {
            let address = lb.endpoint.get("address").unwrap_or(&Value::Null);
            let socket = address.get("socketAddress").unwrap_or(&Value::Null);
            let at = match (socket.get("address").and_then(Value::as_str), socket.get("portValue")) {
                (Some(host), Some(port)) => format!("{host}:{port}"),
                _ => address.to_string(),
            };
            let health = lb.health_status.as_deref().filter(|h| !matches!(*h, "UNKNOWN" | "HEALTHY")).unwrap_or("");
            let weight = lb.load_balancing_weight.as_u64().unwrap_or(1);
            let line = format!("{at} weight {weight} priority {priority} {place} {health}");
            lines.push(line.trim_end().to_owned());
        }
    }
    lines.sort();
    Value::from(lines)
}

/// Of a secret its public certificates; keys are not looked at.
fn certificates(body: &Value) -> Value {
    let of = |pointer: &str| body.pointer(pointer).cloned().unwrap_or_default();
    serde_json::json!({
        "certificateChain": of("/tlsCertificate/certificateChain"),
        "trustedCa": of("/validationContext/trustedCa"),
    })
}

/// What differs between two texts, as a unified diff without a heading.
#[must_use]
pub fn unified(istiod: &str, proxy: &str) -> String {
    similar::TextDiff::from_lines(istiod, proxy).unified_diff().context_radius(3).to_string()
}

/// The connection of a proxy among the ids of all connections of an istiod, the latest if it has several. istiod takes the
/// first connection whose id *contains* what it is asked for (`getProxyConnection` in `pilot/pkg/xds/debug.go`), so an id
/// that stands inside of another one is none that it can be asked about.
///
/// # Errors
/// The id that is in the way.
pub fn connection<'c>(proxy: &str, ids: &[&'c str]) -> Result<Option<&'c str>, &'c str> {
    let number = |id: &str| id.strip_prefix(proxy)?.strip_prefix('-')?.parse::<u64>().ok();
    let Some(own) = ids.iter().copied().filter(|id| number(id).is_some()).max_by_key(|id| number(id)) else {
        return Ok(None);
    };
    match ids.iter().find(|id| **id != own && id.contains(own)) {
        Some(other) => Err(other),
        None => Ok(Some(own)),
    }
}

/// Compares what both sides have; kinds that istiod's answer does not have are left out.
#[must_use]
pub fn compare(istiod: &Side, proxy: &Side) -> Vec<Compared> {
    Kind::ALL
        .into_iter()
        .filter(|kind| istiod.has(*kind) || *kind <= Kind::Route)
        .map(|kind| of_kind(kind, istiod, proxy))
        .collect()
}

fn of_kind(kind: Kind, istiod: &Side, proxy: &Side) -> Compared {
    let of = |side: &'_ Side| -> BTreeMap<String, Element> {
        let range = side.elements.iter().filter(|((of, _), _)| *of == kind);
        range.map(|((_, name), element)| (name.clone(), element.clone())).collect()
    };
    let (wanted, mut held) = (of(istiod), of(proxy));
    let mut compared = Compared { kind, same: 0, differences: Vec::new() };
    for (name, element) in wanted {
        let own = held.remove(&name);
        let change = match &own {
            None => Some(Change::Missing),
            Some(own) if own.is_warming => Some(Change::Warming),
            Some(own) => differs(kind, &element, own),
        };
        match change {
            None => compared.same += 1,
            Some(change) => {
                let (version, since) = own.map(|own| (own.version, own.since)).unwrap_or_default();
                compared.differences.push(Difference { kind, name, change, version, since });
            }
        }
    }
    for (name, own) in held {
        if is_istiods(kind, &name) {
            let Element { version, since, .. } = own;
            compared.differences.push(Difference { kind, name, change: Change::Extra, version, since });
        }
    }
    compared.differences.sort_by(|a, b| a.name.cmp(&b.name));
    compared
}

/// Whether it came from istiod: the agent in the pod serves its own certificates, and the endpoints of many clusters come
/// inside the cluster.
fn is_istiods(kind: Kind, name: &str) -> bool {
    match kind {
        Kind::Secret => name.starts_with("kubernetes://") || name.starts_with("kubernetes-gateway://"),
        Kind::Endpoint => false,
        _ => true,
    }
}

fn differs(kind: Kind, istiod: &Element, proxy: &Element) -> Option<Change> {
    if istiod.body == proxy.body {
        return None;
    }
    // Bytes may differ where values do not.
    let parse = |element: &Element| serde_json::from_slice::<Value>(&element.body).unwrap_or_default();
    let (one, two) = (parse(istiod), parse(proxy));
    if one == two {
        return None;
    }
    if kind == Kind::Secret {
        // Certificates tell nothing as text; `proxy-config secrets` decodes them.
        return Some(Change::Differs { istiod: "another certificate".into(), proxy: "an earlier certificate".into() });
    }
    let pretty = |value: &Value| serde_json::to_string_pretty(value).unwrap_or_default();
    Some(Change::Differs { istiod: pretty(&one), proxy: pretty(&two) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    // A real Envoy in sync, and what its istiod would send it at the same time.
    const PROXY: &[u8] = include_bytes!("../../tests/fixtures/envoy/sidecar/config_dump.json");
    const ISTIOD: &[u8] = include_bytes!("../../tests/fixtures/envoy/sidecar/istiod_config_dump.json");

    fn sides() -> (Side, Side) {
        (Side::read(ISTIOD).unwrap(), Side::read(PROXY).unwrap())
    }

    fn changed(dump: &[u8], change: impl Fn(&mut Value)) -> Side {
        let mut value: Value = serde_json::from_slice(dump).unwrap();
        change(&mut value);
        Side::read(value.to_string().as_bytes()).unwrap()
    }

    fn differences(istiod: &Side, proxy: &Side) -> Vec<Difference> {
        compare(istiod, proxy).into_iter().flat_map(|compared| compared.differences).collect()
    }

    #[test]
    fn a_proxy_in_sync_differs_in_nothing() {
        let (istiod, proxy) = sides();
        let compared = compare(&istiod, &proxy);
        let same: Vec<_> = compared.iter().map(|compared| (compared.kind, compared.same)).collect();
        assert_eq!(differences(&istiod, &proxy), Vec::new());
        assert_eq!(same, [(Kind::Cluster, 16), (Kind::Listener, 13), (Kind::Route, 5)]);
    }

    #[test]
    fn what_the_proxy_has_not_got_and_what_it_should_not_have() {
        let (istiod, proxy) = sides();
        let less = |dump, list: &'static str, of: usize| {
            changed(dump, move |value| {
                value["configs"][of][list].as_array_mut().unwrap().remove(0);
            })
        };
        let missing = differences(&istiod, &less(PROXY, "dynamic_active_clusters", 1));
        assert_eq!(missing.len(), 1);
        assert_eq!((missing[0].kind, &missing[0].change), (Kind::Cluster, &Change::Missing));
        let extra = differences(&less(ISTIOD, "dynamicActiveClusters", 1), &proxy);
        assert_eq!(extra.len(), 1);
        assert_eq!((extra[0].kind, &extra[0].change), (Kind::Cluster, &Change::Extra));
        assert!(extra[0].since.is_some());
    }

    #[test]
    fn other_content_is_shown_from_both_sides() {
        let (_, proxy) = sides();
        let istiod = changed(ISTIOD, |value| {
            value["configs"][1]["dynamicActiveClusters"][0]["cluster"]["connectTimeout"] = "77s".into();
        });
        let found = differences(&istiod, &proxy);
        let Change::Differs { istiod, proxy } = &found[0].change else { panic!("{found:?}") };
        assert!(istiod.contains("\"connectTimeout\": \"77s\"") && !proxy.contains("77s"));
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_listener_that_waits_is_warming_and_one_that_ends_is_gone() {
        let state = |name: &str| {
            serde_json::json!({"configs": [{"dynamic_listeners": [
            {"name": "l", name: {"version_info": "1", "listener": {"name": "l"}}}]}]})
        };
        let side = |value: Value| Side::read(value.to_string().as_bytes()).unwrap();
        let istiod = side(serde_json::json!({"configs": [{"dynamicListeners": [
            {"name": "l", "activeState": {"listener": {"name": "l"}}}]}]}));
        let change = |name: &str| differences(&istiod, &side(state(name))).first().map(|found| found.change.clone());
        assert_eq!(change("active_state"), None);
        assert_eq!(change("warming_state"), Some(Change::Warming));
        assert_eq!(change("draining_state"), Some(Change::Missing));
    }

    #[test]
    fn endpoints_are_compared_by_address_health_and_weight() {
        let side = |key: &str, config: &str, hosts: &[(&str, &str)]| {
            let hosts: Vec<Value> = hosts
                .iter()
                .map(|(host, health)| serde_json::json!({"health_status": health, "endpoint": {"address": {"socket_address": {"address": host, "port_value": 80}}}}))
                .collect();
            let dump = serde_json::json!({"configs": [{key: [{"version_info": "1", config: {"cluster_name": "c", "endpoints": [{"lb_endpoints": hosts}]}}]}]});
            Side::read(dump.to_string().as_bytes()).unwrap()
        };
        let istiod = |hosts: &[(&str, &str)]| side("dynamicEndpointConfigs", "endpointConfig", hosts);
        let proxy = |hosts: &[(&str, &str)]| side("dynamic_endpoint_configs", "endpoint_config", hosts);
        let (a, b) = (("10.0.0.1", "HEALTHY"), ("10.0.0.2", "UNKNOWN"));
        assert_eq!(differences(&istiod(&[a, b]), &proxy(&[b, a])), Vec::new());
        let found = differences(&istiod(&[a]), &proxy(&[a, b]));
        assert!(
            matches!(&found[0].change, Change::Differs { proxy, istiod } if proxy.contains("10.0.0.2:80") && !istiod.contains("10.0.0.2"))
        );
        assert_eq!(differences(&istiod(&[a]), &proxy(&[("10.0.0.1", "UNHEALTHY")])).len(), 1);
    }

    #[test]
    fn a_connection_is_named_so_that_no_other_can_be_meant() {
        let ids = ["web-0.shop-7", "web-0.shop-12", "my-web-0.shop-3", "web-0.shopping-1", "db-0.shop-4"];
        assert_eq!(connection("web-0.shop", &ids), Ok(Some("web-0.shop-12")));
        assert_eq!(connection("db-0.shop", &ids), Ok(Some("db-0.shop-4")));
        assert_eq!(connection("gone.shop", &ids), Ok(None));
        assert_eq!(connection("web-0.shop", &["web-0.shop-1", "my-web-0.shop-15"]), Err("my-web-0.shop-15"));
    }

    #[test]
    fn what_is_no_dump_is_refused_and_odd_elements_are_counted() {
        assert_eq!(Side::read(b"Proxy not connected").unwrap_err(), SplitError::NotAnObject);
        let odd =
            br#"{"configs": [{"dynamic_active_clusters": [7, {"cluster": {}}, {"cluster": {"name": "a"}}, {}]}]}"#;
        let side = Side::read(odd).unwrap();
        assert_eq!((side.damaged, side.elements.len()), (2, 1));
    }
}
