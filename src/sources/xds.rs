//! The source `xds`: which istiod pods to ask, and the lines that their answers become.

use std::collections::HashMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::SYSTEM_NAMESPACE;
use crate::cluster::forward::PodPort;
use crate::cluster::istiod::is_refused;
use crate::cluster::{IstiodReply, IstiodRequest, Life};
use crate::mesh::revision::AsmRevision;
use crate::model::Pod;
use crate::model::meta::lenient_time;
use crate::model::xds::{Asked, IstiodAnswer, SyncEntry};
use crate::snapshot::{Fault, FaultKind, Snapshot};

/// Where istiod serves metrics and its debug interface unless the pod says otherwise
/// (<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>).
const MONITORING: u16 = 15014;

/// The add-on's istiod pods, those that are starting or going included.
#[must_use]
pub fn requests(snapshot: &Snapshot) -> Vec<IstiodRequest> {
    let pods = snapshot.system_pods.items().unwrap_or_default();
    pods.iter().filter_map(request).collect()
}

fn request(pod: &Pod) -> Option<IstiodRequest> {
    let revision = pod.metadata.label("istio.io/rev").filter(|name| AsmRevision::parse(name).is_some())?;
    if pod.metadata.label("app") != Some("istiod") || matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
        return None;
    }
    let life = match (&pod.metadata.deletion_timestamp, pod.status.phase.as_str()) {
        (Some(_), _) => Life::Ending,
        // A phase of tomorrow, or of a node that is lost, says nothing about who is connected.
        (None, "" | "Pending") => Life::NotRunning,
        (None, _) => Life::Running,
    };
    Some(IstiodRequest {
        target: PodPort {
            namespace: SYSTEM_NAMESPACE.to_owned(),
            pod: pod.metadata.name.clone(),
            port: pod
                .metadata
                .annotation("prometheus.io/port")
                .and_then(|port| port.parse().ok())
                .unwrap_or(MONITORING),
        },
        revision: revision.to_owned(),
        life,
    })
}

/// What an answer becomes.
#[derive(Debug, Default)]
pub struct Lines {
    /// One about the pod, then one per proxy, sorted.
    pub lines: Vec<Vec<u8>>,
    /// What is missing.
    pub fault: Option<Fault>,
}

/// Turns what came of asking an istiod pod into lines of the source.
#[must_use]
pub fn lines(request: &IstiodRequest, reply: IstiodReply) -> Lines {
    let mut fault = reply.fault;
    let clients = match reply.syncz.as_deref().map(serde_json::from_slice::<Vec<&RawValue>>) {
        None => None,
        Some(Ok(clients)) => Some(clients),
        Some(Err(_)) => {
            let message = format!("what istiod in pod {} lists is no list of proxies", request.target.pod);
            fault = Some(Fault::new(FaultKind::Malformed, message));
            None
        }
    };
    let asked = match (&clients, &fault, request.life) {
        (Some(_), ..) => Asked::Answered,
        (None, _, Life::NotRunning) => Asked::NotRunning,
        (None, Some(fault), _) if is_refused(fault) => Asked::Refused,
        (None, ..) => Asked::Failed,
    };
    let connections = reply.connections.as_deref().map(connections).unwrap_or_default();
    let answer = IstiodAnswer {
        pod: request.target.pod.clone(),
        namespace: request.target.namespace.clone(),
        revision: request.revision.clone(),
        asked,
        version: reply.version,
        proxies: match &clients {
            Some(clients) => Some(clients.len() as u64),
            None => reply.metrics.as_deref().and_then(connected),
        },
        date: reply.date,
        error: fault.as_ref().map(|fault| fault.message.clone()),
    };
    let mut proxies: Vec<(String, Vec<u8>)> =
        clients.unwrap_or_default().into_iter().map(|client| line(request, client, &connections)).collect();
    // istiod lists them in another order each time.
    proxies.sort();
    let first = serde_json::to_vec(&serde_json::json!({ "istiod": answer })).unwrap_or_default();
    Lines {
        lines: std::iter::once(first).chain(proxies.into_iter().map(|(_, line)| line)).collect(),
        // A pod where nothing listens serves nobody, and one that is going does not for long: nothing is left out.
        fault: fault.filter(|_| asked == Asked::Failed && request.life == Life::Running),
    }
}

/// A connection as `/debug/connections` has it.
#[derive(Clone, Copy, Debug, Default)]
struct Connected {
    at: Option<Timestamp>,
    count: u32,
}

/// Connections by proxy: an id is `POD.NAMESPACE-N`.
fn connections(body: &[u8]) -> HashMap<String, Connected> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(default)]
        clients: Vec<Client>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Client {
        #[serde(default)]
        connection_id: String,
        #[serde(default, deserialize_with = "lenient_time")]
        connected_at: Option<Timestamp>,
    }
    let mut found: HashMap<String, Connected> = HashMap::new();
    let Ok(answer) = serde_json::from_slice::<Answer>(body) else { return found };
    for client in answer.clients {
        let Some((proxy, _)) = client.connection_id.rsplit_once('-') else { continue };
        let entry = found.entry(proxy.to_owned()).or_default();
        entry.at = entry.at.max(client.connected_at);
        entry.count += 1;
    }
    found
}

/// The line of a proxy, and what to sort it by.
fn line(request: &IstiodRequest, client: &RawValue, connections: &HashMap<String, Connected>) -> (String, Vec<u8>) {
    #[derive(Serialize)]
    struct Line<'a> {
        proxy: Proxy<'a>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Proxy<'a> {
        istiod: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        connected_at: Option<Timestamp>,
        connections: u32,
        syncz: &'a RawValue,
    }
    let name = serde_json::from_str::<SyncEntry>(client.get()).unwrap_or_default().proxy;
    let connected = connections.get(&name).copied().unwrap_or_default();
    let line = Line {
        proxy: Proxy {
            istiod: &request.target.pod,
            connected_at: connected.at,
            connections: connected.count,
            syncz: client,
        },
    };
    // A RawValue may stand on several lines; one that cannot be written is one that could not be read.
    let line = serde_json::to_vec(&line).unwrap_or_default();
    (name, line)
}

/// The number of connected proxies in istiod's metrics: the gauge `pilot_xds`, one sample per version of proxies.
fn connected(metrics: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(metrics).ok()?;
    let samples = text.lines().filter_map(|line| line.strip_prefix("pilot_xds")?.strip_prefix('{')?.rsplit_once("} "));
    samples.map(|(_, value)| value.trim().parse::<f64>().ok()).try_fold(None, |sum: Option<u64>, value| {
        let value = value.filter(|value| (0.0..1e9).contains(value))?;
        // reason: within the range just checked
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Some(Some(sum.unwrap_or(0) + value as u64))
    })?
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;
    use crate::model::XdsRecord;
    use crate::model::xds::Nonces;

    // Answers of a real istiod 1.28.3: among its proxies one that refuses its listeners and one that never acknowledges.
    const SYNCZ: &[u8] = include_bytes!("../../tests/fixtures/istiod/asm-1-28-0-syncz.json");
    const CONNECTIONS: &[u8] = include_bytes!("../../tests/fixtures/istiod/asm-1-28-0-connections.json");

    fn asking(life: Life) -> IstiodRequest {
        let target = PodPort { namespace: SYSTEM_NAMESPACE.to_owned(), pod: "istiod-1".to_owned(), port: MONITORING };
        IstiodRequest { target, revision: "asm-1-28".to_owned(), life }
    }

    fn records(lines: &Lines) -> (IstiodAnswer, Vec<crate::model::xds::XdsClient>) {
        let mut istiods = Vec::new();
        let mut clients = Vec::new();
        for line in &lines.lines {
            match serde_json::from_slice(line).unwrap() {
                XdsRecord::Istiod(answer) => istiods.push(answer),
                XdsRecord::Proxy(client) => clients.push(client),
            }
        }
        assert_eq!(istiods.len(), 1);
        (istiods.remove(0), clients)
    }

    #[test]
    fn a_recorded_answer_becomes_a_line_per_proxy() {
        let reply = IstiodReply {
            syncz: Some(SYNCZ.to_vec()),
            connections: Some(CONNECTIONS.to_vec()),
            version: Some("1.28.3-4c1f845-Clean".to_owned()),
            ..IstiodReply::default()
        };
        let lines = lines(&asking(Life::Running), reply);
        assert_eq!(lines.fault, None);
        let (answer, clients) = records(&lines);
        assert_eq!((answer.asked, answer.proxies), (Asked::Answered, Some(5)));
        let names: Vec<_> = clients.iter().filter_map(|client| client.syncz.pod()).collect();
        assert!(names.is_sorted());
        let of = |pod: &str| clients.iter().find(|client| client.syncz.proxy.starts_with(pod)).unwrap();
        let listeners = |pod| {
            of(pod).syncz.resources.as_ref().unwrap()["type.googleapis.com/envoy.config.listener.v3.Listener"].clone()
        };
        assert!(listeners("badlds").last_error.unwrap().contains("virtualInbound"));
        assert_eq!(listeners("stuck").nonces, Nonces::NeverAcknowledged);
        assert_eq!(listeners("web").nonces, Nonces::Equal);
        assert_eq!(of("web").connected_at, "2026-11-23T05:55:06.502544776Z".parse().ok());
        assert!(clients.iter().all(|client| client.connections == 1 && client.istiod == "istiod-1"));
    }

    #[test]
    fn who_serves_nobody_leaves_nothing_out() {
        let refused = Fault::new(FaultKind::Unreachable, "port 15014 of pod istiod-1: connection refused");
        let late = Fault::new(FaultKind::Timeout, "pod istiod-1 did not answer within 10 s");
        for (life, fault, asked, is_gap) in [
            (Life::Running, Some(refused), Asked::Refused, false),
            (Life::Running, Some(late.clone()), Asked::Failed, true),
            (Life::Ending, Some(late), Asked::Failed, false),
            (Life::NotRunning, None, Asked::NotRunning, false),
        ] {
            let lines = lines(&asking(life), IstiodReply { fault, ..IstiodReply::default() });
            let (answer, clients) = records(&lines);
            assert_eq!((answer.asked, lines.fault.is_some()), (asked, is_gap), "{life:?}");
            assert!(clients.is_empty());
        }
    }

    #[test]
    fn a_page_instead_of_a_list_is_a_gap() {
        for page in ["<html>", "{}", "[1,", "\"x\"", ""] {
            let reply = IstiodReply { syncz: Some(page.as_bytes().to_vec()), ..IstiodReply::default() };
            let lines = lines(&asking(Life::Running), reply);
            assert_eq!(records(&lines).0.asked, Asked::Failed, "{page}");
            assert_eq!(lines.fault.unwrap().kind, FaultKind::Malformed);
        }
    }

    #[test]
    fn one_odd_element_costs_itself() {
        let body = br#"[7, {"proxy": "a.b", "resources": {"T": null, "U": {"sent": "1"}}}, null]"#;
        let lines = lines(&asking(Life::Running), IstiodReply { syncz: Some(body.to_vec()), ..IstiodReply::default() });
        let read = lines.lines.iter().filter(|line| serde_json::from_slice::<XdsRecord>(line).is_ok()).count();
        // The istiod, the proxy, and null for a proxy without a name.
        assert_eq!((lines.lines.len(), read), (4, 3));
    }

    #[test]
    fn metrics_count_the_proxies() {
        let recorded = "# TYPE pilot_xds gauge\npilot_xds{version=\"1.28.3\"} 5\npilot_xds{version=\"65536.65536.65536\"} 0\npilot_xds_cds_reject{node=\"a\"} 1\n";
        assert_eq!(connected(recorded.as_bytes()), Some(5));
        assert_eq!(connected(b"pilot_xds{version=\"1\"} NaN\n"), None);
        assert_eq!(connected(b"pilot_xds_pushes{} 4\n"), None);
        assert_eq!(connected(b""), None);
    }

    #[test]
    fn istiods_are_asked_where_they_say() {
        let pod = |json: serde_json::Value| request(&serde_json::from_value(json).unwrap());
        let of = |annotations: serde_json::Value, phase: &str| {
            pod(serde_json::json!({"metadata": {"name": "i", "labels": {"app": "istiod", "istio.io/rev": "asm-1-28"},
                "annotations": annotations}, "status": {"phase": phase}}))
        };
        assert_eq!(of(serde_json::json!({"prometheus.io/port": "15099"}), "Running").unwrap().target.port, 15099);
        assert_eq!(of(serde_json::json!({"prometheus.io/port": "x"}), "Running").unwrap().target.port, 15014);
        assert_eq!(of(serde_json::json!({}), "Pending").unwrap().life, Life::NotRunning);
        assert_eq!(of(serde_json::json!({}), "OfTomorrow").unwrap().life, Life::Running);
        assert_eq!(of(serde_json::json!({}), "Failed"), None);
        assert_eq!(
            pod(serde_json::json!({"metadata": {"labels": {"app": "istiod", "istio.io/rev": "default"}}})),
            None
        );
    }
}
