//! What is fuzzed of what istiods and proxies answer.

use kubectl_asm::bundle::redact::redact;
use kubectl_asm::cluster::forward::PodPort;
use kubectl_asm::cluster::{IstiodReply, IstiodRequest, Life};
use kubectl_asm::facts::Facts;
use kubectl_asm::fuzzing;
use kubectl_asm::mesh::proxy_config;
use kubectl_asm::model::envoy::split::Piece;
use kubectl_asm::model::envoy::{ProxyAnswers, ReadError, Reader};
use kubectl_asm::model::xds::Asked;
use kubectl_asm::model::{Meta, XdsRecord};
use kubectl_asm::report;
use kubectl_asm::snapshot::{Collected, Section, Snapshot, SourceId};
use kubectl_asm::sources::proxy_answers::Lines;
use kubectl_asm::sources::xds as xds_source;
use serde_json::Value;

use crate::engine::{Target, outcome};
use crate::mutate::Random;
use crate::targets::target;

/// Whatever istiod lists: one line about it, and one for each element, which say the same after redaction.
pub fn xds() -> Target {
    let seeds = ["asm-1-28-0", "asm-1-28-1", "asm-1-30-0"].map(|name| {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/istiod");
        std::fs::read(folder.join(format!("{name}-syncz.json"))).unwrap()
    });
    target(seeds.into(), |input| {
        let request = IstiodRequest {
            target: PodPort { namespace: "n".to_owned(), pod: "istiod-1".to_owned(), port: 15014 },
            revision: "asm-1-28".to_owned(),
            life: Life::Running,
        };
        let reply = IstiodReply {
            syncz: Some(input.to_vec()),
            connections: Some(input.to_vec()),
            metrics: Some(input.to_vec()),
            ..IstiodReply::default()
        };
        let lines = xds_source::lines(&request, reply);
        let first: XdsRecord = serde_json::from_slice(&lines.lines[0]).unwrap();
        let XdsRecord::Istiod(answer) = first else { panic!("the first line is about the istiod") };
        assert_eq!(answer.asked == Asked::Answered, lines.fault.is_none());
        let elements = serde_json::from_slice::<Vec<Value>>(input).map_or(0, |list| list.len());
        if answer.asked == Asked::Answered && elements > 0 {
            assert_eq!(lines.lines.len(), elements + 1);
        }
        let mut decoded = 0;
        for line in &lines.lines {
            let Ok(record) = serde_json::from_slice::<XdsRecord>(line) else { continue };
            decoded += 1;
            // Half a surrogate pair in what is passed over: understood, but nothing that a bundle could hold.
            let Ok(mut value) = serde_json::from_slice::<Value>(line) else { continue };
            // Where a list stands for an object, redaction drops what the decoder would take.
            if of_proxy(&value).any(Value::is_array) {
                continue;
            }
            redact(SourceId::Xds, &mut value);
            let again: XdsRecord = serde_json::from_slice(value.to_string().as_bytes()).unwrap();
            assert_eq!(format!("{again:?}"), format!("{record:?}"));
        }
        outcome((lines.lines.len(), decoded))
    })
}

/// The objects that a line about a proxy is made of.
fn of_proxy(line: &Value) -> impl Iterator<Item = &Value> {
    let syncz = line.pointer("/proxy/syncz");
    let resources = syncz.and_then(|syncz| syncz.get("resources"));
    let each = resources.and_then(Value::as_object).into_iter().flat_map(serde_json::Map::values);
    line.get("proxy").into_iter().chain(syncz).chain(resources).chain(each)
}

/// What Envoy's admin interface answers: any chunks give the same, and what is understood can be shown and judged.
pub fn envoy() -> Target {
    let read = |input: &[u8], chunks: &mut dyn FnMut(usize) -> usize| {
        let mut answers = ProxyAnswers::default();
        let mut reader = Reader::new(&mut answers);
        let mut rest = input;
        let mut end = Ok(());
        while !rest.is_empty() && end.is_ok() {
            let (chunk, more) = rest.split_at(chunks(rest.len()).clamp(1, rest.len()));
            end = reader.push(chunk);
            rest = more;
        }
        let end = end.and_then(|()| reader.finish());
        (answers, end)
    };
    target(Vec::new(), move |input| {
        let (answers, end) = read(input, &mut |length| length);
        let mut random = Random(input.len() as u64);
        let (again, cut) = read(input, &mut |length| if random.chance(3) { length } else { random.below(90) });
        assert_eq!(format!("{answers:?}"), format!("{again:?}"), "chunks change the answer");
        // The sentence of an answer that is none ends where the first chunk does.
        if !matches!(end, Err(ReadError::Sentence(_))) {
            assert_eq!(end, cut, "chunks change the end");
        }
        let filter = proxy_config::Filter::default();
        let rows = (
            proxy_config::clusters::rows(&answers, &filter).len(),
            proxy_config::listeners::rows(&answers, &filter).len(),
            proxy_config::routes::rows(&answers, &filter).len(),
            proxy_config::endpoints::rows(&answers, &filter).len(),
            proxy_config::endpoints::configured(&answers, &filter).len(),
            proxy_config::secrets::rows(&answers).len(),
        );
        kept_in_a_bundle(input, &answers);
        let parts: Vec<_> = answers.parts.iter().map(|part| part.name()).collect();
        let damaged: Vec<_> = answers.damaged.iter().map(|damaged| damaged.message.clone()).collect();
        let collected = Collected { items: vec![answers], undecodable: Vec::new(), faults: Vec::new(), fallback: None };
        let snapshot = Snapshot { proxy_answers: Section::Collected(collected), ..Snapshot::default() };
        let now = "2026-11-26T12:00:00Z".parse().unwrap();
        let report = fuzzing::report(&snapshot, &Facts::built_in().unwrap(), now);
        let broke = report.outcomes.iter().find(|outcome| outcome.status == report::OutcomeStatus::Errored);
        assert!(broke.is_none(), "{broke:?}");
        let codes: std::collections::BTreeSet<_> = report.findings.iter().map(|finding| finding.code.clone()).collect();
        outcome((rows, parts, damaged, codes, end))
    })
}

/// A bundle gives back what was understood, and redacting its lines again changes nothing.
fn kept_in_a_bundle(input: &[u8], answers: &ProxyAnswers) {
    let mut lines = Lines::of("shop", "cart-1");
    let mut beside = |piece: Piece<'_>| lines.take(piece);
    let mut read = ProxyAnswers::default();
    let mut reader = Reader::beside(&mut read, Some(&mut beside));
    // Why it ended is what the target itself looks at.
    let _ = reader.push(input).and_then(|()| reader.finish());
    let lines = lines.finish(&read);
    let mut kept = Vec::new();
    for line in &lines {
        // What is passed over need not be UTF-8 to be understood; such a line is counted as missing.
        let Ok(mut value) = serde_json::from_slice::<Value>(line) else { return };
        // A list in the place of an object is decoded as one whose fields come in order, which nobody sends.
        if has_odd_list(&value) {
            return;
        }
        redact(SourceId::ProxyAnswers, &mut value);
        let mut again = value.clone();
        redact(SourceId::ProxyAnswers, &mut again);
        assert_eq!(again, value);
        kept.push(ProxyAnswers::decode(value.to_string().as_bytes()).unwrap());
    }
    let mut kept = ProxyAnswers::joined(kept);
    let kept = if kept.is_empty() { ProxyAnswers::default() } else { kept.remove(0) };
    // The name of the black hole is looked for in the whole of a filter, of which only a part is kept.
    let words = |answers: &ProxyAnswers| {
        let answers = ProxyAnswers { metadata: Meta::default(), ..answers.clone() };
        format!("{answers:?}").replace("black_hole: true", "black_hole: false")
    };
    assert_eq!(words(&kept), words(answers));
}

fn has_odd_list(value: &Value) -> bool {
    const LISTS: [&str; 18] = [
        "answers",
        "configs",
        "services",
        "clusters",
        "virtualHosts",
        "domains",
        "routes",
        "filters",
        "filterChains",
        "additionalAddresses",
        "tlsCertificateSdsSecretConfigs",
        "transportSocketMatches",
        "endpoints",
        "lbEndpoints",
        "hostStatuses",
        "stats",
        "trustDomains",
        "prefixRanges",
    ];
    const PLAIN: [&str; 4] = ["serverNames", "applicationProtocols", "targetNames", "partial"];
    let is_list = |key: &str| {
        let plain: String = key.chars().filter(|c| *c != '_').collect();
        let is = |name: &&str| name.eq_ignore_ascii_case(&plain);
        LISTS.iter().chain(&PLAIN).any(is) || kubectl_asm::model::envoy::Part::named(key).is_some()
    };
    match value {
        Value::Array(list) => list.iter().any(|value| value.is_array() || has_odd_list(value)),
        Value::Object(map) => map.iter().any(|(key, value)| value.is_array() && !is_list(key) || has_odd_list(value)),
        _ => false,
    }
}
