//! Lines of logs.

use kubectl_asm::facts::Facts;
use kubectl_asm::fuzzing;
use kubectl_asm::mesh::log::{Digest, Keep, Splitter, line, secrets};
use kubectl_asm::model::log::ContainerLog;
use kubectl_asm::report;
use kubectl_asm::snapshot::{Collected, Section, Snapshot};

use crate::engine::{Target, outcome};
use crate::mutate::Random;
use crate::targets::{is_odd, target};

/// A log of any bytes: pieces of any size give the same lines, nothing odd and nothing endless is kept, and what is kept
/// has no secrets a second look would find.
pub fn log() -> Target {
    let lines = |input: &[u8], chunks: &mut dyn FnMut(usize) -> usize| {
        let mut splitter = Splitter::default();
        let mut lines = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let (chunk, more) = rest.split_at(chunks(rest.len()).clamp(1, rest.len()));
            splitter.push(chunk, |text, cut| lines.push((text.to_owned(), cut)));
            rest = more;
        }
        splitter.finish(|text, cut| lines.push((text.to_owned(), cut)));
        lines
    };
    let seeds = [
        "2026-07-15T12:00:00.1Z\twarn\tEnvoy proxy is NOT ready: config not received from XDS server\n",
        "[2026-07-15T12:00:00.123Z] \"GET /a?b HTTP/1.1\" 503 UF x - \"delayed connect error: 111\" 0 0 0 - \"-\" \"-\" \"-\" \"a\" \"b\" inbound|80|| - - - - -\n",
        "{\"response_code\":503,\"response_flags\":\"UH\",\"upstream_cluster\":\"outbound|80||a\"}\n",
        "[pod/a-1/discovery] 2026-07-15T12:00:00Z 2026-07-15T12:00:00.1Z\twarn\tads\tADS:LDS: ACK ERROR a.b-1 Internal:x\n",
        "a-1 istio-proxy Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2ln cookie: a=b\n-----BEGIN X-----\n",
        "{\"msg\":\"to https://u:p@h/x?a=b {\\\"token\\\":\\\"a\\\\\\\"b\\\"}\",\"x-api-key\" : \"S\",\"sig\":\"\"}\nsig=a;pwd=b&sig=c,AccountKey=d\n",
    ];
    target(seeds.map(|seed| seed.as_bytes().to_vec()).into(), move |input| {
        let all = lines(input, &mut |length| length);
        let mut random = Random(input.len() as u64);
        assert_eq!(all, lines(input, &mut |_| random.below(90)), "pieces change the lines");
        let mut digest = Digest::new(ContainerLog::default(), Keep { lines: 5, bytes: 999 });
        for (text, _) in &all {
            digest.line(&line::saved(text));
            let once = secrets::without(text);
            assert_eq!(secrets::without(&once), once, "a second look finds more in {text:?}");
        }
        let log = digest.finish();
        for group in &log.groups {
            assert!(group.example.len() < 1000 && group.about.len() <= 5, "{group:?}");
            assert!(!group.example.chars().chain(group.about.iter().flat_map(|about| about.chars())).any(is_odd));
        }
        assert!(log.tail.iter().map(String::len).sum::<usize>() <= 999);
        let ids: Vec<_> = log.groups.iter().map(|group| group.id.clone()).collect();
        let collected = Collected { items: vec![log], undecodable: Vec::new(), faults: Vec::new(), fallback: None };
        let snapshot = Snapshot { logs: Section::Collected(collected), ..Snapshot::default() };
        let report = fuzzing::report(&snapshot, &Facts::built_in().unwrap(), "2026-11-26T12:00:00Z".parse().unwrap());
        let broke = report.outcomes.iter().find(|outcome| outcome.status == report::OutcomeStatus::Errored);
        assert!(broke.is_none(), "{broke:?}");
        outcome((ids, report.findings.len()))
    })
}
