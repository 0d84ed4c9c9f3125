//! Tests of names, matches and judgements; whole tables are compared with recorded ones in `tests/proxy_config.rs`.
#![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

use jiff::Timestamp;

use super::names::{ClusterName, Origin};
use super::secrets::{Standing, standing};
use super::*;
use crate::mesh::certificate::Certificate;
use crate::model::envoy::Reader;

fn read(document: &str) -> ProxyAnswers {
    let mut answers = ProxyAnswers::default();
    let mut reader = Reader::new(&mut answers);
    reader.push(document.as_bytes()).unwrap();
    reader.finish().unwrap();
    answers
}

#[test]
fn names_of_clusters_are_taken_apart_as_istiod_puts_them_together() {
    let parse = |name| {
        let ClusterName { direction, port, subset, host } = ClusterName::parse(name);
        (direction, port, subset, host)
    };
    assert_eq!(parse("outbound|80|v1|web.shop.svc"), ("outbound", Some(80), "v1", "web.shop.svc"));
    assert_eq!(parse("inbound|8080||"), ("inbound", Some(8080), "", ""));
    assert_eq!(parse("BlackHoleCluster"), ("", None, "", "BlackHoleCluster"));
    assert_eq!(parse("outbound_.80_._.web.shop"), ("", None, "", "outbound_.80_._.web.shop"));
    assert_eq!(parse("a|b|c"), ("", None, "", "a|b|c"));
    // As istioctl: no host where a bar is left over.
    assert_eq!(parse("outbound|x|v1|web|more"), ("outbound", Some(0), "v1", ""));
}

#[test]
fn objects_behind_routes_are_named_as_kubectl_and_istioctl_name_them() {
    let path = "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/cart";
    let origin = Origin::parse(path).unwrap();
    assert_eq!((origin.kind.as_str(), origin.namespace, origin.name), ("VirtualService", "shop", "cart"));
    assert_eq!(Origin::cell(Some(path)), "cart.shop");
    assert_eq!(Origin::cell(None), "");
    assert_eq!(Origin::cell(Some("/apis/networking.istio.io/v1/odd")), "");
    assert_eq!(Origin::cell(Some("/somewhere/else")), "<unknown>");
}

#[test]
fn matches_of_filter_chains_read_as_istioctl_writes_them() {
    let chain = |matches: &str| {
        let dump = format!(
            r#"{{"configs": [{{"dynamic_listeners": [{{"name": "a", "active_state": {{"listener":
               {{"name": "a", "filter_chains": [{{"filter_chain_match": {matches}}}]}}}}}}]}}]}}"#
        );
        listeners::rows(&read(&dump), &Filter::default())[0].chains[0].clone()
    };
    for (matches, text) in [
        ("{}", "ALL"),
        (r#"{"server_names": ["a.b", "c.d"]}"#, "SNI: a.b,c.d"),
        (
            r#"{"transport_protocol": "tls", "application_protocols": ["istio-peer-exchange", "istio"]}"#,
            "Trans: tls; App: TCP TLS",
        ),
        (r#"{"application_protocols": ["http/1.0", "http/1.1", "h2c"]}"#, "App: HTTP"),
        (r#"{"application_protocols": ["h2c", "http/1.1"]}"#, "App: h2c,http/1.1"),
        (r#"{"destination_port": 15001}"#, "Addr: *:15001"),
        (
            r#"{"destination_port": 80, "prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}, {"address_prefix": "::"}]}"#,
            "Addr: 10.0.0.0/8,::/0:80",
        ),
    ] {
        assert_eq!(chain(matches), (text.to_owned(), "Non-HTTP/Non-TCP".to_owned()), "{matches}");
    }
}

#[test]
fn host_names_are_shortened_as_istioctl_does() {
    let domains = |list: &[&str]| {
        let list = serde_json::to_string(list).unwrap();
        let dump = format!(
            r#"{{"configs": [{{"dynamic_route_configs": [{{"route_config": {{"name": "80", "virtual_hosts": [{{"domains": {list}}}]}}}}]}}]}}"#
        );
        routes::rows(&read(&dump), &Filter::default())[0].domains.clone()
    };
    for (list, text) in [
        (vec![], ""),
        (vec!["*"], "*"),
        (vec!["web.shop.svc.cluster.local:80"], "web.shop.svc.cluster.local:80"),
        (
            vec![
                "web.shop.svc.cluster.local",
                "web.shop.svc.cluster.local:80",
                "web",
                "web:80",
                "10.0.0.7",
                "10.0.0.7:80",
            ],
            "web.shop.svc.cluster.local, web + 1 more...",
        ),
        (vec!["web.shop.svc.cluster.local", "web.shop", "web.shop.svc"], "web.shop"),
        (vec!["[fd00:10:96::7fc7]", "[fd00:10:96::7fc7]:80", "web"], "[fd00:10:96::7fc7], web"),
    ] {
        assert_eq!(domains(&list), text, "{list:?}");
    }
}

#[test]
fn configurations_named_by_ports_are_in_the_order_of_ports_up_to_other_names() {
    let configs: Vec<String> = ["90", "80", "web", "70"]
        .iter()
        .map(|name| format!(r#"{{"route_config": {{"name": "{name}", "virtual_hosts": [{{"name": "h"}}]}}}}"#))
        .collect();
    let dump = format!(r#"{{"configs": [{{"dynamic_route_configs": [{}]}}]}}"#, configs.join(","));
    let names: Vec<String> = routes::rows(&read(&dump), &Filter::default()).into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["80", "90", "web", "70"]);
}

#[test]
fn a_cluster_that_could_not_be_read_makes_no_dead_route() {
    let routes = r#"{"dynamic_route_configs": [{"route_config": {"name": "80", "virtual_hosts": [{"name": "h",
        "routes": [{"route": {"cluster": "outbound|80||b.c.svc"}}]}]}}]}"#;
    let with = |clusters: &str| format!(r#"{{"configs": [{{"dynamic_active_clusters": [{clusters}]}}, {routes}]}}"#);
    let good = r#"{"cluster": {"name": "outbound|80||a.c.svc"}}"#;
    assert_eq!(routes::dead(&read(&with(good))).len(), 1);
    assert_eq!(routes::dead(&read(&with(&format!("{good}, [1]")))).len(), 0);
    assert_eq!(routes::dead(&read(&format!(r#"{{"configs": [{routes}]}}"#))).len(), 0);
}

#[test]
fn certificates_end_soon_by_the_length_of_their_life() {
    let time = |text: &str| text.parse::<Timestamp>().unwrap();
    let certificate = |from: &str, to: &str, is_ca: bool| Certificate {
        subject: String::new(),
        issuer: String::new(),
        not_before: time(from),
        not_after: time(to),
        fingerprint: String::new(),
        is_ca,
        serial: String::new(),
        trust_domain: None,
        key_id: None,
    };
    let day = certificate("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", false);
    let year = certificate("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", false);
    let root = certificate("2026-01-01T00:00:00Z", "2026-12-31T00:00:00Z", true);
    for (certificate, now, expected) in [
        (&day, "2026-01-01T12:00:00Z", Standing::Good),
        (&day, "2026-01-01T17:59:00Z", Standing::Good),
        (&day, "2026-01-01T18:01:00Z", Standing::Ending),
        (&day, "2026-01-02T00:00:01Z", Standing::Ended),
        (&day, "2025-12-31T23:59:59Z", Standing::Early),
        (&year, "2026-12-01T00:00:00Z", Standing::Good),
        (&year, "2026-12-20T00:00:00Z", Standing::Ending),
        (&root, "2026-11-20T00:00:00Z", Standing::Good),
        (&root, "2026-12-05T00:00:00Z", Standing::Ending),
    ] {
        assert_eq!(standing(certificate, time(now)), expected, "{now}");
    }
}
