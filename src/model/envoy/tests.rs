//! Tests of the decoders on recorded answers; see `tests/fixtures/envoy`.
#![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

use super::*;

const AGENT: &[u8] = include_bytes!("../../../tests/fixtures/envoy/agent/config_dump.json");
const FAULTS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/faults/config_dump.json");
const HOSTS: &[u8] = include_bytes!("../../../tests/fixtures/envoy/agent/clusters.json");
const INIT: &[u8] = include_bytes!("../../../tests/fixtures/envoy/faults/init_dump.json");
const ISTIOD: &[u8] = include_bytes!("../../../tests/fixtures/envoy/istiod/config_dump.json");

fn read(documents: &[&[u8]]) -> ProxyAnswers {
    let mut answers = ProxyAnswers::default();
    for document in documents {
        let mut reader = Reader::new(&mut answers);
        document.chunks(1000).for_each(|chunk| reader.push(chunk).unwrap());
        reader.finish().unwrap();
    }
    answers
}

#[test]
fn a_recorded_dump_is_understood_without_loss() {
    let answers = read(&[AGENT, HOSTS]);
    assert_eq!((answers.damaged.len(), answers.is_cut, answers.has_dump), (0, false, true));
    assert_eq!(answers.pod(), Some(("shop", "web-77b4b575f5-88sb4")));
    let node = &answers.bootstrap.as_ref().unwrap().node;
    assert_eq!((node.identity().unwrap().0, node.owner()), ("sidecar", Some(("deployments", "shop", "web"))));
    assert_eq!(node.discovery_address(), Some("istiod-asm-1-28.aks-istio-system.svc:15012"));
    // The numbers of the recorded file, counted with jq.
    assert_eq!((answers.clusters.len(), answers.listeners.len(), answers.routes.len()), (23, 15, 11));
    assert_eq!(answers.secrets.iter().map(|secret| secret.name.as_str()).collect::<Vec<_>>(), ["default", "ROOTCA"]);
    assert_eq!(answers.hosts.len(), 23);
}

#[test]
fn what_waits_and_what_was_refused_keeps_its_stage_and_text() {
    let answers = read(&[FAULTS, INIT]);
    let warming: Vec<&str> = answers
        .clusters
        .iter()
        .filter(|cluster| cluster.stage == Stage::Warming)
        .map(|cluster| cluster.name.as_str())
        .collect();
    assert_eq!(warming, ["legacy-tls"]);
    let listener = answers.listeners.iter().find(|listener| listener.stage == Stage::Warming).unwrap();
    assert_eq!(
        (listener.name.as_str(), &listener.chains[0].secrets),
        ("legacy-sds", &vec!["kubernetes://legacy-server".to_owned()])
    );
    assert_eq!(answers.refused_listeners[0].name, "legacy-tcp");
    assert_eq!(
        answers.refused_listeners[0].error.details,
        "Failed to load incomplete private key from path: /etc/certs/key.pem"
    );
    assert_eq!(answers.unready[0].target_names, ["shared target SdsApi kubernetes://legacy-server"]);
}

#[test]
fn istiods_spelling_gives_the_same_clusters_as_envoys() {
    let envoy = read(&[include_bytes!("../../../tests/fixtures/envoy/sidecar/config_dump.json")]);
    let istiod = read(&[ISTIOD]);
    let names = |answers: &ProxyAnswers| {
        let active = answers.clusters.iter().filter(|cluster| cluster.stage == Stage::Active);
        let mut names: Vec<_> =
            active.map(|one| (one.name.clone(), one.kind.clone(), one.endpoints_name.clone())).collect();
        names.sort();
        names
    };
    assert_eq!(names(&istiod), names(&envoy));
    assert!(istiod.routes.iter().any(|config| !config.virtual_hosts.is_empty()));
}

#[test]
fn private_keys_are_not_in_what_is_kept() {
    let dump = br#"{"configs": [{"dynamic_active_secrets": [{"name": "default", "secret": {"tls_certificate": {
        "certificate_chain": {"inline_bytes": "Y2hhaW4="}, "private_key": {"inline_bytes": "a2V5"}}}}]}]}"#;
    let kept = format!("{:?}", read(&[dump]));
    assert!(kept.contains("Y2hhaW4=") && !kept.contains("a2V5"), "{kept}");
}

#[test]
fn a_line_of_a_bundle_gives_what_the_answers_give() {
    let line = format!(
        r#"{{"metadata": {{"name": "web-1", "namespace": "shop"}}, "answers": [{}, {}]}}"#,
        String::from_utf8_lossy(AGENT),
        String::from_utf8_lossy(HOSTS)
    );
    let answers = ProxyAnswers::decode(line.as_bytes()).unwrap();
    assert_eq!(answers.pod(), Some(("shop", "web-1")));
    assert_eq!(answers.clusters.len(), read(&[AGENT]).clusters.len());
    assert!(ProxyAnswers::decode(br#"{"answers": ["x"]}"#).is_err());
}

#[test]
fn odd_elements_are_counted_and_cost_themselves() {
    let mut list = vec![r#"{"cluster": {"name": 7}}"#, "[]", "null", r#"{"cluster": {"name": "good"}}"#];
    list.extend(std::iter::repeat_n("1", 30));
    let dump = format!(r#"{{"configs": [{{"static_clusters": [{}]}}]}}"#, list.join(","));
    let answers = read(&[dump.as_bytes()]);
    assert_eq!(answers.clusters.iter().map(|cluster| cluster.name.as_str()).collect::<Vec<_>>(), ["good"]);
    assert_eq!((answers.damaged.len(), answers.damaged_more), (20, 13));
    assert_eq!(answers.damaged[0].element, "static_clusters 1");
    assert!(!answers.has_all_of(&[Part::StaticClusters]));
}

#[test]
fn an_empty_object_is_an_answer_and_another_api_is_none() {
    assert_eq!(read(&[b" { }\n"]).parts.len(), 0);
    let mut answers = ProxyAnswers::default();
    let mut reader = Reader::new(&mut answers);
    reader.push(br#"{"kind": "List", "items": []}"#).unwrap();
    assert_eq!(reader.finish(), Err(ReadError::Unknown));
}

#[test]
fn recorded_loggers_have_names_and_levels() {
    let all = loggers(include_str!("../../../tests/fixtures/envoy/agent/logging.txt"));
    let level = |name: &str| all.iter().find(|logger| logger.name == name).map(|logger| logger.level.as_str());
    assert_eq!((level("admin"), level("misc"), level("active loggers")), (Some("warning"), Some("error"), None));
    assert!(loggers("no loggers here").is_empty());
}
