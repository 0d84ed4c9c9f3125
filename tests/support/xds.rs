//! What istiods answer in a fixture.
//!
//! Unless a fixture says otherwise, istiod does what it does in every cluster: an istiod that is ready answers, one that
//! is not refuses connections, and every ready pod with a proxy of a revision is connected to its first ready istiod and
//! has accepted everything. A fixture says otherwise with its header's `disconnected`, or with a document
//!
//! ```yaml
//! kind: XdsAnswer
//! metadata: {name: ISTIOD-POD, namespace: aks-istio-system}
//! asked: failed                       # or `refused`; answered when absent
//! version: 1.30.2-2-3cd63a4-Clean
//! proxies:                            # besides those connected by default, or instead of them
//! - proxy: POD.NAMESPACE
//!   connected: ["2026-07-15T09:00:00Z"]
//!   resources: {CDS: {sent: b, acked: a, sentTime: "2026-07-15T11:00:00Z"}}
//! ```
//!
//! It becomes istiod's own JSON, which goes through the same function as that of a cluster.

use std::collections::BTreeSet;

use jiff::Timestamp;
use kubectl_asm::cluster::{IstiodReply, IstiodRequest, Life, MetricsReply};
use kubectl_asm::mesh::proxy;
use kubectl_asm::model::Pod;
use kubectl_asm::model::metrics::Reader;
use kubectl_asm::snapshot::{Fault, FaultKind};
use kubectl_asm::sources::metrics;
use kubectl_asm::sources::xds::{Lines, lines};
use serde_json::{Value, json};

use super::text;

/// Kind of a document about what an istiod answers.
pub const KIND: &str = "XdsAnswer";

/// Type URLs of what a sidecar asks for (<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol>).
const TYPES: [(&str, &str); 6] = [
    ("CDS", "envoy.config.cluster.v3.Cluster"),
    ("LDS", "envoy.config.listener.v3.Listener"),
    ("EDS", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("RDS", "envoy.config.route.v3.RouteConfiguration"),
    ("ECDS", "envoy.config.core.v3.TypedExtensionConfig"),
    ("SDS", "envoy.extensions.transport_sockets.tls.v3.Secret"),
];

/// The lines of the istiod of a request in a world of these objects.
pub fn answer(objects: &[Value], request: &IstiodRequest, now: Timestamp, disconnected: &[String]) -> Lines {
    lines(request, reply(objects, request, now, disconnected))
}

/// What the istiod of a request answers in a world of these objects.
pub fn reply(objects: &[Value], request: &IstiodRequest, now: Timestamp, disconnected: &[String]) -> IstiodReply {
    let documents: Vec<&Value> = objects.iter().filter(|object| text(object, "/kind") == KIND).collect();
    let document = documents.iter().find(|document| text(document, "/metadata/name") == request.target.pod);
    let asked = match document {
        Some(document) if document.get("asked").is_some() => text(document, "/asked"),
        _ if is_ready(objects, &request.target.pod) => "answered",
        _ => "refused",
    };
    let fault = |message: String| Some(Fault::new(FaultKind::Unreachable, message));
    let pod = &request.target.pod;
    let fault = match (asked, request.life) {
        ("answered", _) | (_, Life::NotRunning) => None,
        // The words by which the cluster layer knows it again.
        ("refused", _) => fault(format!("port {} of pod {pod}: connection refused", request.target.port)),
        _ => Some(Fault::new(FaultKind::Timeout, format!("pod {pod} did not answer within 10 s"))),
    };
    if fault.is_some() || request.life == Life::NotRunning {
        return IstiodReply { fault, ..IstiodReply::default() };
    }
    let told: BTreeSet<&str> =
        documents.iter().flat_map(|document| proxies(document)).map(|proxy| text(proxy, "/proxy")).collect();
    let mut syncz = Vec::new();
    let mut connections = Vec::new();
    let mut add = |entry: Value, connected: &[Value]| {
        for at in connected {
            let id = format!("{}-{}", text(&entry, "/proxy"), connections.len() + 1);
            connections.push(json!({"connectionId": id, "connectedAt": at, "address": "10.244.0.9:40000"}));
        }
        syncz.push(entry);
    };
    let first = objects
        .iter()
        .filter(|object| text(object, "/kind") == "Pod" && label(object, "app") == "istiod")
        .filter(|object| label(object, "istio.io/rev") == request.revision)
        .map(|object| text(object, "/metadata/name"))
        .filter(|name| is_ready(objects, name))
        .min();
    if first == Some(pod.as_str()) {
        for (name, start) in connected(objects, &request.revision) {
            if !told.contains(name.as_str()) && !disconnected.contains(&name) {
                let types = ["CDS", "LDS", "EDS", "RDS"]
                    .map(|short| (url(short), json!({"sent": "n1", "acked": "n1", "sentTime": start})));
                let resources: serde_json::Map<String, Value> = types.into_iter().collect();
                let entry =
                    json!({"proxy": name, "proxy_type": "sidecar", "istio_version": "1.30.2", "resources": resources});
                add(entry, &[json!(start)]);
            }
        }
    }
    for proxy in document.into_iter().flat_map(|document| proxies(document)) {
        let mut entry = json!({"proxy_type": "sidecar", "istio_version": "1.30.2"});
        for (key, value) in proxy.as_object().unwrap().iter().filter(|(key, _)| *key != "connected") {
            entry[key] = value.clone();
        }
        if let Some(resources) = entry.get("resources").and_then(Value::as_object).cloned() {
            entry["resources"] = resources.into_iter().map(|(short, value)| (url(&short), value)).collect();
        }
        let connected = proxy.get("connected").and_then(Value::as_array).cloned().unwrap_or_default();
        add(entry, &connected);
    }
    let version = document.map(|document| text(document, "/version")).filter(|version| !version.is_empty());
    IstiodReply {
        version: Some(version.unwrap_or("1.30.2-2-3cd63a4-Clean").to_owned()),
        date: Some(now),
        syncz: Some(serde_json::to_vec(&syncz).unwrap()),
        connections: Some(json!({"totalClients": connections.len(), "clients": connections}).to_string().into_bytes()),
        ..IstiodReply::default()
    }
}

/// Kind of a document about what an istiod counts: `counts` stands in front of what every istiod counts, `asked: failed` is as
/// above.
pub const METRICS: &str = "MetricsAnswer";

/// What the istiod of a request counts in a world of these objects. Unless a document says otherwise it has run for five
/// days and has injected pods, and nothing went wrong.
pub fn metrics(objects: &[Value], request: &IstiodRequest, now: Timestamp) -> metrics::Line {
    let pod = &request.target.pod;
    let document = objects
        .iter()
        .find(|object| text(object, "/kind") == METRICS && text(object, "/metadata/name") == pod.as_str());
    let said = document.map_or("", |document| text(document, "/counts"));
    let usual = [
        ("process_start_time_seconds", format!("{}", now.as_second() - 5 * 86_400)),
        ("sidecar_injection_requests_total", "12".to_owned()),
        ("sidecar_injection_success_total", "12".to_owned()),
        ("pilot_xds{version=\"1.30.2\"}", "2".to_owned()),
    ];
    let mut whole = said.to_owned();
    for (name, value) in usual {
        if !said.contains(name.split('{').next().unwrap()) {
            whole.push_str(&format!("\n{name} {value}\n"));
        }
    }
    let mut reader = Reader::default();
    reader.push(whole.as_bytes());
    let fault = |message: String| Some(Fault::new(FaultKind::Unreachable, message));
    let asked = document.map_or("", |document| text(document, "/asked"));
    let reply = match (asked, request.life) {
        (_, Life::NotRunning) => MetricsReply::default(),
        ("failed", _) => MetricsReply { fault: fault(format!("pod {pod} did not answer")), ..MetricsReply::default() },
        _ if !is_ready(objects, pod) => MetricsReply {
            fault: fault(format!("port {} of pod {pod}: connection refused", request.target.port)),
            ..MetricsReply::default()
        },
        _ => MetricsReply { date: Some(now), families: Some(reader.finish()), fault: None },
    };
    metrics::line(request, reply)
}

fn proxies(document: &Value) -> impl Iterator<Item = &Value> {
    document.get("proxies").and_then(Value::as_array).into_iter().flatten()
}

fn url(short: &str) -> String {
    let (_, name) = TYPES.iter().find(|(known, _)| *known == short).unwrap_or_else(|| panic!("type {short}"));
    format!("type.googleapis.com/{name}")
}

fn label<'o>(object: &'o Value, key: &str) -> &'o str {
    object.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str).unwrap_or_default()
}

fn is_ready(objects: &[Value], istiod: &str) -> bool {
    let found = objects.iter().find(|object| {
        text(object, "/kind") == "Pod"
            && text(object, "/metadata/namespace") == "aks-istio-system"
            && text(object, "/metadata/name") == istiod
    });
    found.is_some_and(|object| pod(object).is_ready())
}

fn pod(object: &Value) -> Pod {
    serde_json::from_value(object.clone()).unwrap()
}

/// Ready pods with a proxy of a revision, as `POD.NAMESPACE`, and since when they are there.
fn connected(objects: &[Value], revision: &str) -> Vec<(String, String)> {
    let pods = objects.iter().filter(|object| text(object, "/kind") == "Pod");
    let of_revision = pods.filter(|object| {
        let pod = pod(object);
        pod.is_ready() && proxy::of_pod(&pod).is_some_and(|proxy| proxy.revision.as_deref() == Some(revision))
    });
    of_revision
        .map(|object| {
            let name = format!("{}.{}", text(object, "/metadata/name"), text(object, "/metadata/namespace"));
            let start = text(object, "/metadata/creationTimestamp");
            (name, if start.is_empty() { "2026-07-01T00:00:00Z" } else { start }.to_owned())
        })
        .collect()
}
