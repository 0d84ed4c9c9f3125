//! Which object is behind a rejection: what Envoy's words name, and what can be meant where they name nothing.
//!
//! The names are those that istiod gives to what it makes of objects (`pilot/pkg/model/credentials/resource.go`,
//! `pilot/pkg/model/gateway.go`, `pilot/pkg/model/extensions.go`, `pkg/config/host` in istio/istio).

use std::collections::BTreeSet;

use crate::model::Meta;
use crate::snapshot::{Section, Snapshot};
use crate::sources::SYSTEM_NAMESPACE;

/// An object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    /// Kind.
    pub kind: &'static str,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl Object {
    fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The resource as kubectl takes it, with its group where the name alone may mean another one.
    #[must_use]
    pub fn resource(&self) -> &'static str {
        match self.kind {
            "VirtualService" => "virtualservices.networking.istio.io",
            "DestinationRule" => "destinationrules.networking.istio.io",
            "EnvoyFilter" => "envoyfilters.networking.istio.io",
            "ServiceEntry" => "serviceentries.networking.istio.io",
            "Gateway" => "gateways.networking.istio.io",
            "WasmPlugin" => "wasmplugins.extensions.istio.io",
            "Secret" => "secret",
            _ => "service",
        }
    }
}

/// What can be said about the cause of a rejection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// The object that the text names.
    pub named: Option<Object>,
    /// Where it names none: objects that change what was rejected.
    pub candidates: Vec<Object>,
}

/// Reads the text of a rejection of a type (`CDS`, `LDS`, …) by a proxy in a namespace.
#[must_use]
pub fn behind(snapshot: &Snapshot, kind: &str, text: &str, namespace: &str) -> Behind {
    let named = words(text).find_map(|word| named(snapshot, kind, word, namespace));
    if named.is_some() {
        return Behind { named, candidates: Vec::new() };
    }
    let candidates = match kind {
        _ if is_foreign(text) => envoy_filters(snapshot, kind, namespace),
        "CDS" => return of_clusters(snapshot, text, namespace),
        // A gateway's listener has its port in its name, and of a Gateway no more is read than its name.
        "LDS" if text.contains("Invalid path") || text.contains("certificate") => {
            metas(&snapshot.istio_gateways).map(|meta| Object::new("Gateway", &meta.namespace, &meta.name)).collect()
        }
        _ => Vec::new(),
    };
    Behind { named: None, candidates }
}

/// Words without the signs around them.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let splits = |c: char| c.is_whitespace() || "\"'`,()[]{}<>".contains(c);
    text.split(splits).map(|word| word.trim_end_matches([':', '.', ';'])).filter(|word| !word.is_empty())
}

fn named(snapshot: &Snapshot, kind: &str, word: &str, namespace: &str) -> Option<Object> {
    of_path(word)
        .or_else(|| of_secret(word, namespace))
        .or_else(|| if kind == "RDS" { of_gateway_route(word) } else { None })
        .or_else(|| of_extension(snapshot, word))
}

/// The mark that istiod leaves in metadata: `/apis/GROUP/VERSION/namespaces/NAMESPACE/KIND/NAME`.
fn of_path(word: &str) -> Option<Object> {
    let mut parts = word.strip_prefix("/apis/")?.split('/').skip(2);
    let (Some("namespaces"), Some(namespace), Some(kind), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let kind = match kind {
        "virtual-service" => "VirtualService",
        "destination-rule" => "DestinationRule",
        "envoy-filter" => "EnvoyFilter",
        "service-entry" => "ServiceEntry",
        "gateway" => "Gateway",
        _ => return None,
    };
    Some(Object::new(kind, namespace, name))
}

/// `kubernetes://NAME` is a Secret beside the gateway; the certificate authority of one has an ending.
fn of_secret(word: &str, namespace: &str) -> Option<Object> {
    let path = word.strip_prefix("kubernetes://").or_else(|| word.strip_prefix("kubernetes-gateway://"))?;
    let (namespace, name) = path.split_once('/').unwrap_or((namespace, path));
    let name = name.strip_suffix("-cacert").unwrap_or(name);
    (!name.is_empty()).then(|| Object::new("Secret", namespace, name))
}

/// `https.PORT.PORT-NAME.GATEWAY.NAMESPACE`.
fn of_gateway_route(word: &str) -> Option<Object> {
    let parts: Vec<&str> = word.strip_prefix("https.")?.split('.').collect();
    match parts[..] {
        [port, _, name, namespace] if port.parse::<u16>().is_ok() => Some(Object::new("Gateway", namespace, name)),
        _ => None,
    }
}

/// `NAMESPACE.NAME` of a WasmPlugin that is there, also behind a prefix.
fn of_extension(snapshot: &Snapshot, word: &str) -> Option<Object> {
    let word = word.rsplit_once('/').map_or(word, |(_, name)| name);
    let meta = metas(&snapshot.wasm_plugins).find(|meta| {
        word.strip_prefix(meta.namespace.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(meta.name.as_str())
    })?;
    Some(Object::new("WasmPlugin", &meta.namespace, &meta.name))
}

/// Whether the text is about something that istiod does not make by itself.
fn is_foreign(text: &str) -> bool {
    const SIGNS: [&str; 6] = [
        "registered implementation",
        "onstraint validation failed",
        "script load error",
        "no such field",
        "Unable to parse",
        "unknown field",
    ];
    SIGNS.iter().any(|sign| text.contains(sign))
}

/// EnvoyFilters of the proxy's namespace and of the root namespace that change what a type consists of
/// (`ApplyTo` in `networking/v1alpha3/envoy_filter.proto` in istio/api).
fn envoy_filters(snapshot: &Snapshot, kind: &str, namespace: &str) -> Vec<Object> {
    let changes = |apply_to: &str| match kind {
        "CDS" => apply_to == "CLUSTER",
        "LDS" => matches!(apply_to, "LISTENER" | "FILTER_CHAIN" | "NETWORK_FILTER" | "HTTP_FILTER" | "LISTENER_FILTER"),
        "RDS" => matches!(apply_to, "ROUTE_CONFIGURATION" | "VIRTUAL_HOST" | "HTTP_ROUTE"),
        "ECDS" => apply_to == "EXTENSION_CONFIG",
        _ => false,
    };
    let filters = snapshot.envoy_filters.items().unwrap_or_default().iter();
    filters
        .filter(|filter| [namespace, SYSTEM_NAMESPACE].contains(&filter.metadata.namespace.as_str()))
        .filter(|filter| filter.spec.config_patches.iter().any(|patch| changes(&patch.apply_to)))
        .map(|filter| Object::new("EnvoyFilter", &filter.metadata.namespace, &filter.metadata.name))
        .collect()
}

/// A cluster is named `DIRECTION|PORT|SUBSET|HOST`. That of one Service of the cluster leads to it and to the
/// DestinationRules that may be about it; the same complaint about several hosts is not about any of them.
fn of_clusters(snapshot: &Snapshot, text: &str, namespace: &str) -> Behind {
    let hosts: BTreeSet<&str> = words(text).filter_map(cluster_host).collect();
    let Some(host) = hosts.first().filter(|_| hosts.len() == 1) else { return Behind::default() };
    let mut parts = host.split('.');
    let service = match (parts.next(), parts.next(), parts.next()) {
        (Some(name), Some(namespace), Some("svc")) => Some(Object::new("Service", namespace, name)),
        _ => None,
    };
    let own = service.as_ref().map_or(namespace, |service| service.namespace.as_str());
    let rules = metas(&snapshot.destination_rules)
        .filter(|meta| [own, namespace, SYSTEM_NAMESPACE].contains(&meta.namespace.as_str()))
        .map(|meta| Object::new("DestinationRule", &meta.namespace, &meta.name));
    Behind { candidates: rules.collect(), named: service }
}

fn cluster_host(word: &str) -> Option<&str> {
    let mut parts = word.split('|');
    let (Some("outbound" | "inbound"), Some(port), Some(_), Some(host), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    (port.parse::<u16>().is_ok() && !host.is_empty()).then_some(host)
}

fn metas(section: &Section<crate::model::MetaOnly>) -> impl Iterator<Item = &Meta> {
    section.items().unwrap_or_default().iter().map(|object| &object.metadata)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::{EnvoyFilter, MetaOnly};
    use crate::snapshot::Collected;

    fn of<T>(items: Vec<T>) -> Section<T> {
        Section::Collected(Collected { items, undecodable: Vec::new(), faults: Vec::new(), fallback: None })
    }

    fn meta(namespace: &str, name: &str) -> MetaOnly {
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": namespace, "name": name}})).unwrap()
    }

    fn filter(namespace: &str, name: &str, apply_to: &str) -> EnvoyFilter {
        serde_json::from_value(serde_json::json!({"metadata": {"namespace": namespace, "name": name},
            "spec": {"configPatches": [{"applyTo": apply_to}]}}))
        .unwrap()
    }

    fn found(snapshot: &Snapshot, kind: &str, text: &str) -> (Option<String>, Vec<String>) {
        let name = |object: &Object| format!("{} {}/{}", object.kind, object.namespace, object.name);
        let behind = behind(snapshot, kind, text, "shop");
        (behind.named.as_ref().map(name), behind.candidates.iter().map(name).collect())
    }

    #[test]
    fn what_the_text_names_is_found() {
        let snapshot = Snapshot { wasm_plugins: of(vec![meta("shop", "auth")]), ..Snapshot::default() };
        for (kind, text, object) in [
            ("SDS", "Error adding/updating secret(s) kubernetes://shop-cert: Failed to load", "Secret shop/shop-cert"),
            ("SDS", "kubernetes://shop-cert-cacert: no", "Secret shop/shop-cert"),
            ("SDS", "kubernetes-gateway://certs/a: no", "Secret certs/a"),
            ("RDS", "Duplicate entry of domain a.b in route https.443.https-a.main.edge", "Gateway edge/main"),
            ("RDS", "in '/apis/networking.istio.io/v1/namespaces/a/virtual-service/b'", "VirtualService a/b"),
            (
                "ECDS",
                "Unable to create Wasm extension extensions.istio.io/wasmplugin/shop.auth",
                "WasmPlugin shop/auth",
            ),
            (
                "CDS",
                "Error adding/updating cluster(s) outbound|80|v2|web.store.svc.cluster.local: no",
                "Service store/web",
            ),
        ] {
            assert_eq!(found(&snapshot, kind, text), (Some(object.to_owned()), Vec::new()), "{text}");
        }
    }

    /// The first text is what a stock Envoy said to istiod 1.28.3.
    #[test]
    fn words_about_many_hosts_name_none_of_them() {
        let same = "Didn't find a registered implementation for 'istio.metadata_exchange' with type URL: 'envoy.tcp.metadataexchange.config.MetadataExchange'";
        let text = format!(
            "Error adding/updating cluster(s) outbound|443||kubernetes.default.svc.cluster.local: {same}, outbound|15010||istiod-asm-1-28.aks-istio-system.svc.cluster.local: {same}"
        );
        assert_eq!(found(&Snapshot::default(), "CDS", &text), (None, Vec::new()));
        assert_eq!(
            found(&Snapshot::default(), "CDS", "outbound|80||a.b.svc.x: no, outbound|80||c.d.svc.x: no"),
            (None, Vec::new())
        );
    }

    #[test]
    fn filters_that_change_the_type_are_candidates() {
        let filters = vec![
            filter("shop", "lua", "HTTP_FILTER"),
            filter("shop", "timeouts", "CLUSTER"),
            filter("aks-istio-system", "all", "NETWORK_FILTER"),
            filter("other", "lua", "HTTP_FILTER"),
        ];
        let snapshot = Snapshot { envoy_filters: of(filters), ..Snapshot::default() };
        let text = "Error adding/updating listener(s) virtualInbound: Proto constraint validation failed";
        let both = vec!["EnvoyFilter shop/lua".to_owned(), "EnvoyFilter aks-istio-system/all".to_owned()];
        assert_eq!(found(&snapshot, "LDS", text), (None, both));
        let other = "Error adding/updating listener(s) virtualInbound: cannot bind '0.0.0.0:15006': Address in use";
        assert_eq!(found(&snapshot, "LDS", other), (None, Vec::new()));
    }

    #[test]
    fn a_file_that_is_not_there_leads_to_gateways() {
        let snapshot = Snapshot { istio_gateways: of(vec![meta("shop", "shop-gw")]), ..Snapshot::default() };
        let text = "Error adding/updating listener(s) 0.0.0.0_8443: Invalid path: /etc/certs/cert.pem";
        assert_eq!(found(&snapshot, "LDS", text), (None, vec!["Gateway shop/shop-gw".to_owned()]));
    }

    #[test]
    fn no_text_breaks_it() {
        for text in
            ["", "|||", "https.", "kubernetes://", "/apis/", "outbound|x||", "/apis/a/b/namespaces/c/d/e/f", "é|"]
        {
            for kind in ["CDS", "LDS", "RDS", "SDS", "ECDS", "?"] {
                assert_eq!(found(&Snapshot::default(), kind, text), (None, Vec::new()), "{kind} {text}");
            }
        }
    }
}
