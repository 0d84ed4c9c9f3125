//! What the tool makes of recorded answers of real istiods, joined with pods.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use jiff::{SignedDuration, Timestamp};
use kubectl_asm::bundle::Recorder;
use kubectl_asm::cluster::forward::PodPort;
use kubectl_asm::cluster::{IstiodReply, IstiodRequest, Life};
use kubectl_asm::engine::lens::World;
use kubectl_asm::facts::Facts;
use kubectl_asm::mesh::sync::{Row, State};
use kubectl_asm::snapshot::{Fault, FaultKind, Section, Snapshot, SourceId, StateKind};
use kubectl_asm::sources::collect::End;
use kubectl_asm::sources::{source, xds};
use serde_json::{Value, json};

/// Seconds after the last push of the recording.
fn after(seconds: i64) -> Timestamp {
    "2026-11-23T05:59:18Z".parse::<Timestamp>().unwrap() + SignedDuration::from_secs(seconds)
}

fn recorded(istiod: &str, file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(istiod).join(file);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The istiods of the recording; their pods are named as their folders.
const ISTIODS: [(&str, &str); 4] = [
    ("istiod-asm-1-28-0", "asm-1-28"),
    ("istiod-asm-1-28-1", "asm-1-28"),
    ("istiod-asm-1-30-0", "asm-1-30"),
    ("istiod-asm-1-30-1", "asm-1-30"),
];

/// Pods of the recording: name, namespace, revision.
const PODS: [(&str, &str, &str); 11] = [
    ("aks-istio-ingressgateway-external-asm-1-28-7dccfcfdd4-jnb2x", "aks-istio-ingress", "asm-1-28"),
    ("aks-istio-ingressgateway-external-asm-1-28-7dccfcfdd4-kw944", "aks-istio-ingress", "asm-1-28"),
    ("badlds-7d75f4dd68-4q7zq", "shop", "asm-1-28"),
    ("half-5f9d67bc7-nj9jr", "shop", "asm-1-28"),
    ("off-6d4b8c7f9-x2x2x", "shop", "asm-1-28"),
    ("refuses-f7d6d48cc-wj67r", "shop", "asm-1-28"),
    ("stuck-6b9cccb8f4-kxlw2", "shop", "asm-1-28"),
    ("web-cf75cb9b4-885zr", "shop", "asm-1-28"),
    ("web-cf75cb9b4-mv7fn", "shop", "asm-1-28"),
    ("app-5d577b7fdf-pf4cz", "next", "asm-1-30"),
    ("real-5cc77c6c5b-qkvmr", "next", "asm-1-30"),
];

fn objects() -> Vec<Value> {
    let pod = |(name, namespace, revision): &(&str, &str, &str)| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "annotations": {"istio.io/rev": revision}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "proxyv2:v1.28.3"}]},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "istio-proxy", "ready": true, "state": {"running": {"startedAt": "2026-11-23T05:50:00Z"}}}]}})
    };
    let istiod = |(name, revision): (&str, &str)| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": "aks-istio-system", "labels": {"app": "istiod", "istio.io/rev": revision}},
            "spec": {"containers": [{"name": "discovery", "image": "pilot:v1.28.3"}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}})
    };
    let namespace = |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
    let namespaces = ["aks-istio-system", "aks-istio-ingress", "shop", "next"].map(namespace);
    PODS.iter().map(pod).chain(ISTIODS.map(istiod)).chain(namespaces).collect()
}

/// What an istiod answered, or that it is frozen.
fn answer(pod: &str, revision: &str, now: Timestamp, frozen: &[&str]) -> xds::Lines {
    let target = PodPort { namespace: "aks-istio-system".into(), pod: pod.into(), port: 15014 };
    let request = IstiodRequest { target, revision: revision.into(), life: Life::Running };
    let reply = if frozen.contains(&pod) {
        let fault = Fault::new(FaultKind::Timeout, format!("pod {pod} did not answer within 10 s"));
        IstiodReply { fault: Some(fault), ..IstiodReply::default() }
    } else {
        IstiodReply {
            version: Some(String::from_utf8(recorded(pod, "version.txt")).unwrap().trim().to_owned()),
            date: Some(now),
            syncz: Some(recorded(pod, "syncz.json")),
            connections: Some(recorded(pod, "connections.json")),
            ..IstiodReply::default()
        }
    };
    xds::lines(&request, reply)
}

/// The recording as a world at a time; istiods that are frozen do not answer.
fn world(now: Timestamp, frozen: &[&str], scope: Option<Vec<String>>) -> Snapshot {
    let mut snapshot = support::snapshot(&objects(), scope, &[]);
    let source = source(SourceId::Xds).unwrap();
    let mut collector = (source.collector)();
    let mut faults = Vec::new();
    for (pod, revision) in ISTIODS {
        let answer = answer(pod, revision, now, frozen);
        answer.lines.iter().for_each(|line| collector.item(line));
        faults.extend(answer.fault);
    }
    collector
        .finish(&mut snapshot, End { kind: StateKind::Collected, faults, undecodable: Vec::new(), fallback: None });
    snapshot
}

/// States by the first part of the pod's name, with the types that cause them.
fn states(snapshot: &Snapshot, now: Timestamp) -> BTreeMap<String, (State, String)> {
    let facts = Facts::built_in().unwrap();
    let world = World::new(snapshot, &facts, now);
    let name = |row: &Row<'_>| match row.name.rsplitn(3, '-').nth(2).unwrap() {
        "web" => row.name.to_owned(),
        gateway if gateway.starts_with("aks-") => format!("gateway-{}", row.name.rsplit_once('-').unwrap().1),
        other => other.to_owned(),
    };
    let types = |row: &Row<'_>| row.causing().map(|one| one.kind.short()).collect::<Vec<_>>().join(",");
    world.sync.rows.iter().map(|row| (name(row), (row.state, types(row)))).collect()
}

fn expected(pairs: &[(&str, State, &str)]) -> BTreeMap<String, (State, String)> {
    pairs.iter().map(|(name, state, types)| ((*name).to_owned(), (*state, (*types).to_owned()))).collect()
}

const SYNCED: [(&str, State, &str); 6] = [
    ("app", State::Synced, ""),
    ("gateway-jnb2x", State::Synced, ""),
    ("gateway-kw944", State::Synced, ""),
    ("real", State::Synced, ""),
    ("web-cf75cb9b4-885zr", State::Synced, ""),
    ("web-cf75cb9b4-mv7fn", State::Synced, ""),
];

#[test]
fn every_proxy_of_the_recording_is_in_the_state_it_was_made_for() {
    let now = after(300);
    let mut all = expected(&SYNCED);
    all.extend(expected(&[
        ("badlds", State::Error, "LDS"),
        ("refuses", State::Error, "CDS,LDS"),
        ("stuck", State::Stale, "CDS,LDS"),
        ("half", State::Stale, "CDS,LDS,EDS,RDS"),
        ("off", State::NotConnected, ""),
    ]));
    assert_eq!(states(&world(now, &[], None), now), all);
}

#[test]
fn what_was_sent_a_moment_ago_is_pending() {
    let now = after(2);
    let states = states(&world(now, &[], None), now);
    assert_eq!(states["stuck"], (State::Pending, "CDS,LDS".to_owned()));
    assert_eq!(states["half"], (State::Pending, "CDS,LDS,EDS,RDS".to_owned()));
    assert_eq!(states["badlds"].0, State::Error, "a rejection needs no grace");
}

#[test]
fn proxies_of_an_istiod_that_does_not_answer_are_unknown() {
    let now = after(300);
    let states = states(&world(now, &["istiod-asm-1-28-1"], None), now);
    for unknown in ["half", "off", "gateway-kw944", "web-cf75cb9b4-885zr"] {
        assert_eq!(states[unknown].0, State::Unknown, "{unknown}");
    }
    for known in ["stuck", "badlds", "web-cf75cb9b4-mv7fn", "app", "real"] {
        assert_ne!(states[known].0, State::Unknown, "{known}");
    }
}

#[test]
fn only_the_named_namespaces_have_rows() {
    let now = after(300);
    let states = states(&world(now, &[], Some(vec!["next".to_owned()])), now);
    assert_eq!(states, expected(&[("app", State::Synced, ""), ("real", State::Synced, "")]));
}

#[test]
fn without_pods_what_istiods_list_is_told() {
    let now = after(300);
    let mut snapshot = world(now, &[], None);
    snapshot.pods = Section::Failed(vec![Fault::new(FaultKind::Forbidden, "pods may not be listed")]);
    let states = states(&snapshot, now);
    assert_eq!(states.get("off"), None);
    assert_eq!(states["badlds"].0, State::Error);
    assert_eq!(states.len(), 10);
}

#[test]
fn without_istiods_every_proxy_is_unknown() {
    let now = after(300);
    for kind in [StateKind::Failed, StateKind::NotRequested] {
        let mut snapshot = world(now, &[], None);
        snapshot.xds = match kind {
            StateKind::Failed => Section::Failed(Vec::new()),
            _ => Section::NotRequested,
        };
        let states = states(&snapshot, now);
        assert_eq!(states.len(), PODS.len());
        assert!(states.values().all(|(state, _)| *state == State::Unknown), "{states:?}");
    }
}

/// Writes the recording as a bundle, and reads it with the command.
fn command(now: Timestamp, frozen: &[&str], args: &[&str]) -> (Value, i32) {
    let mut snapshot = world(now, frozen, None);
    snapshot.origin.captured_at = Some(now);
    let mut recorder = Recorder::new();
    for (id, kind) in [(SourceId::Pods, "Pod"), (SourceId::SystemPods, "Pod"), (SourceId::Namespaces, "Namespace")] {
        let mut part = recorder.source(id);
        let of = |object: &&Value| {
            let system = object["metadata"]["namespace"] == "aks-istio-system";
            object["kind"] == kind && (id != SourceId::SystemPods || system)
        };
        objects().iter().filter(of).for_each(|object| part.item(object.to_string().as_bytes()));
        recorder.keep(id, part);
    }
    let mut part = recorder.source(SourceId::Xds);
    for (pod, revision) in ISTIODS {
        answer(pod, revision, now, frozen).lines.iter().for_each(|line| part.item(line));
    }
    recorder.keep(SourceId::Xds, part);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bundle.tar.gz");
    kubectl_asm::bundle::write(&mut std::fs::File::create(&path).unwrap(), &snapshot, recorder).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(["proxy-status", "-o", "json", "--from"])
        .arg(&path)
        .args(args)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    (report, output.status.code().unwrap())
}

fn names(report: &Value) -> Vec<String> {
    let rows = report["view"]["proxies"].as_array().unwrap();
    rows.iter().map(|row| format!("{} {}", row["state"].as_str().unwrap(), row["name"].as_str().unwrap())).collect()
}

const BROKEN: [&str; 5] = [
    "ERROR badlds-7d75f4dd68-4q7zq",
    "ERROR refuses-f7d6d48cc-wj67r",
    "STALE half-5f9d67bc7-nj9jr",
    "STALE stuck-6b9cccb8f4-kxlw2",
    "NOT CONNECTED off-6d4b8c7f9-x2x2x",
];

#[test]
fn a_bundle_says_what_the_cluster_said() {
    let (report, exit) = command(after(300), &[], &["--only-problems", "--only", "PRX03,PRX11,PRX12,PRX13"]);
    assert_eq!((exit, names(&report)), (1, BROKEN.map(str::to_owned).into()));
    let counts = json!({"ERROR": 2, "STALE": 2, "NOT CONNECTED": 1, "SYNCED": 6});
    assert_eq!(report["view"]["counts"], counts, "those that are not shown are counted");
    let found: Vec<_> =
        report["findings"].as_array().unwrap().iter().map(|f| (&f["code"], &f["subject"]["name"])).collect();
    let expected = [
        ("PRX12", "off-6d4b8c7f9-x2x2x"),
        ("PRX03", "half-5f9d67bc7-nj9jr"),
        ("PRX03", "stuck-6b9cccb8f4-kxlw2"),
        ("PRX11", "badlds-7d75f4dd68-4q7zq"),
        ("PRX11", "refuses-f7d6d48cc-wj67r"),
    ];
    let expected = expected.map(|(code, name)| (json!(code), json!(name)));
    assert_eq!(found, expected.iter().map(|(code, name)| (code, name)).collect::<Vec<_>>());
    let badlds = &report["view"]["proxies"][0];
    assert_eq!(badlds["types"]["LDS"]["state"], "ERROR");
    let text = "Error adding/updating listener(s) virtualInbound: Proto constraint validation failed (lab: refused on purpose)";
    assert_eq!(badlds["types"]["LDS"]["error"], text);
    assert_eq!((&badlds["istiod"], &badlds["version"]), (&json!("istiod-asm-1-28-0"), &json!("1.28.3")));
    let schema = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let errors: Vec<_> = validator.iter_errors(&report).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}

#[test]
fn one_proxy_can_be_asked_for_in_several_ways() {
    for args in [
        &["stuck-6b9cccb8f4-kxlw2"][..],
        &["stuck-6b9cccb8f4-kxlw2.shop"],
        &["-n", "shop", "stuck-6b9cccb8f4-kxlw2"],
        &["pod/stuck-6b9cccb8f4-kxlw2"],
    ] {
        let (report, exit) = command(after(300), &[], &[args, &["--only", "PRX03,PRX11,PRX12"]].concat());
        assert_eq!((exit, names(&report)), (1, vec![BROKEN[3].to_owned()]), "{args:?}");
        let codes: Vec<_> =
            report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
        assert_eq!(codes, ["PRX03"], "{args:?}: what is wrong with others is none of its business");
    }
    let (report, exit) = command(after(300), &[], &["stuck-6b9cccb8f4"]);
    assert_eq!((exit, &report["error"]["kind"]), (2, &json!("pod")));
    let (report, exit) = command(after(300), &[], &["deploy/stuck"]);
    assert_eq!((exit, &report["error"]["kind"]), (2, &json!("workload")), "only pods are in this bundle");
    let (report, exit) = command(after(300), &[], &["svc/stuck"]);
    assert_eq!((exit, &report["error"]["kind"]), (2, &json!("usage")));
    let (report, exit) = command(after(300), &[], &["--revision", "asm-1-30", "--only", "PRX"]);
    assert_eq!((exit, names(&report).len()), (0, 2), "{:#}", report["findings"]);
}

#[test]
fn a_frozen_istiod_is_named_and_costs_only_its_own_proxies() {
    let only = ["--only", "PRX03,PRX11,PRX12,PRX13"];
    let (report, exit) = command(after(300), &["istiod-asm-1-28-1"], &only);
    assert_eq!(exit, 1, "the rejection is seen all the same");
    let frozen = &report["view"]["istiods"][1];
    assert_eq!((&frozen["pod"], &frozen["answered"]), (&json!("istiod-asm-1-28-1"), &json!(false)));
    assert!(frozen["error"].as_str().unwrap().contains("did not answer"), "{frozen}");
    assert_eq!(report["view"]["counts"], json!({"ERROR": 2, "STALE": 1, "UNKNOWN": 4, "SYNCED": 4}));
    let (report, exit) = command(after(300), &["istiod-asm-1-30-0"], &[&only[..], &["-n", "next"]].concat());
    assert_eq!(exit, 3, "nothing wrong is seen, and not everything was: {:#}", report["findings"]);
    assert_eq!(report["view"]["counts"], json!({"UNKNOWN": 2}));
}

#[test]
fn the_grace_of_the_command_is_that_of_its_findings() {
    for (grace, exit) in [("10m", 0), ("30s", 1)] {
        let (report, found) =
            command(after(300), &[], &["stuck-6b9cccb8f4-kxlw2", "--grace", grace, "--only", "PRX03"]);
        assert_eq!(found, exit, "{grace}: {:#}", report["findings"]);
    }
}
