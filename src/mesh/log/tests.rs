//! Tests of what is kept of a log. Texts are those of the sources that the tables name.

#![allow(clippy::unwrap_used)]

use super::choose::{Chosen, Want, choose};
use super::*;
use crate::model::Pod;
use crate::model::log::LogPart;

fn digest(part: LogPart, lines: &[&str]) -> ContainerLog {
    let mut digest = Digest::new(ContainerLog { part, ..ContainerLog::default() }, Keep::default());
    for line in lines {
        digest.line(&line::saved(line));
    }
    digest.finish()
}

fn ids(log: &ContainerLog) -> Vec<(&str, u64)> {
    log.groups.iter().map(|group| (group.id.as_str(), group.count)).collect()
}

const NOTHING: &str = "Envoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected";

#[test]
fn messages_of_istiod_are_known() {
    let at = "2026-07-15T12:00:00.000001Z";
    for (text, id, about) in [
        (
            "warn\tdelta\tADS:LDS: ACK ERROR web-1.shop-7 Internal:Error adding/updating listener(s) 0.0.0.0_8443: Invalid path: /etc/certs/cert.pem",
            "istiod-proxy-rejects",
            "web-1.shop-7",
        ),
        ("error\tserverca\tCSR signing error: CA_INVALID_REQUEST", "istiod-csr", ""),
        ("warn\tincomplete signing CA bundle detected at etc/cacerts", "istiod-cacerts-incomplete", ""),
        (
            "error\tpatching webhook istio-sidecar-injector-asm-1-28 failed: forbidden",
            "istiod-webhook-patch",
            "istio-sidecar-injector-asm-1-28",
        ),
        ("warn\tinvalid mesh config, using last known state: yaml: line 3", "istiod-mesh-config", ""),
        (
            "error\tklog\twatch error in cluster Kubernetes: failed to list *v1.Gateway: gateways is forbidden: User \"x\" cannot list",
            "istiod-forbidden",
            "*v1.Gateway",
        ),
        ("error\tklog\twatch error in cluster Kubernetes: an error on the server", "istiod-watch", ""),
        ("info\tvalidationServer\tconfiguration is invalid: domain name \"a_b\" invalid", "istiod-refused-object", ""),
        ("error\tPod injection failed: failed to run injection template", "istiod-injection", ""),
        (
            "warn\tads\tproxy gw-1.shop attempted to access unauthorized certificates kubernetes://a/b: x",
            "istiod-credential-refused",
            "kubernetes",
        ),
        (
            "info\thttp: TLS handshake error from 10.0.0.1:5: remote error: tls: bad certificate",
            "istiod-not-trusted",
            "",
        ),
    ] {
        let log = digest(LogPart::Istiod, &[&format!("{at}\t{text}")]);
        assert_eq!(ids(&log), [(id, 1)], "{text}");
        assert_eq!(log.groups[0].about.first().map_or("", String::as_str), about, "{text}");
    }
    for quiet in [
        "info\tads\tADS: new delta connection for node:web-1.shop-7",
        "info\thttp: TLS handshake error from 10.0.0.1:5: EOF",
        "error\tpatching webhook x failed: Operation cannot be fulfilled: the object has been modified; please apply",
    ] {
        assert_eq!(ids(&digest(LogPart::Istiod, &[&format!("{at}\t{quiet}")])), [], "{quiet}");
    }
}

#[test]
fn messages_of_a_proxy_are_known() {
    let at = "2026-07-15T12:00:00.000001Z";
    for (text, id, about) in [
        (
            "error\txdsproxy\tfailed to connect to upstream istiod-asm-1-28.aks-istio-system.svc:15012: context deadline exceeded",
            "proxy-connect",
            "istiod-asm-1-28.aks-istio-system.svc:15012",
        ),
        (
            "error\txdsproxy\tfailed to connect to upstream istiod.x.svc:15012: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "proxy-trusts-another",
            "istiod.x.svc:15012",
        ),
        (
            "error\tcitadelclient\tfailed to sign CSR: rpc error: code = Unavailable desc = connection error",
            "proxy-csr",
            "",
        ),
        (
            "warning\tenvoy config external/envoy/x.cc:138\tgRPC config for type.googleapis.com/envoy.config.listener.v3.Listener rejected: Error adding/updating listener(s)\tthread=16",
            "proxy-rejects",
            "type.googleapis.com/envoy.config.listener.v3.Listener",
        ),
        (
            "warning\tenvoy config external/envoy/x.h:193\tDeltaAggregatedResources gRPC config stream to xds-grpc closed since 40s ago: 14, connection error: desc = \"transport\"\tthread=16",
            "proxy-stream-down",
            "40s ago",
        ),
        (
            "warning\tenvoy config external/envoy/x.h:152\tDeltaAggregatedResources gRPC config stream to xds-grpc closed: 13, \tthread=16",
            "proxy-stream",
            "",
        ),
        ("warn\tEnvoy may have been out of memory killed. Check memory usage and limits.", "proxy-memory", ""),
        ("error\tEnvoy exited with error: signal: killed", "proxy-envoy-ended", "signal: killed"),
        (
            "warning\tenvoy config x.cc:1\terror adding listener '0.0.0.0_15021': cannot bind '0.0.0.0:15021': Address already in use\tthread=1",
            "proxy-port-taken",
            "0.0.0.0:15021",
        ),
    ] {
        for part in [LogPart::Proxy, LogPart::Gateway, LogPart::Any] {
            let log = digest(part, &[&format!("{at}\t{text}")]);
            assert_eq!(ids(&log), [(id, 1)], "{text}");
            assert_eq!(log.groups[0].about.first().map_or("", String::as_str), about, "{text}");
        }
    }
    let init = digest(
        LogPart::Init,
        &[
            "2026-07-15T12:00:00.1Z\terror\tError connecting to 127.0.0.6:15002: dial tcp 127.0.0.1:0->127.0.0.6:15002: connect: connection refused",
        ],
    );
    assert_eq!(ids(&init), [("init-not-redirected", 1)]);
}

#[test]
fn a_proxy_is_not_ready_only_where_that_is_its_last_word_and_takes_long() {
    let not = |second: u32| format!("2026-07-15T12:00:{second:02}.0Z\twarn\t{NOTHING}");
    let ready = "2026-07-15T12:00:03.0Z\tinfo\tEnvoy proxy is ready";
    let ending =
        "2026-07-15T12:05:00.0Z\twarn\tEnvoy proxy is NOT ready: server is terminated: received signal: terminated";
    let (early, late) = (not(1), not(41));
    for (lines, expected) in [
        (vec![early.as_str()], false),
        (vec![&early, ready], false),
        (vec![&early, &late], true),
        (vec![&early, ready, ending], false),
        (vec![ready, &late], false),
        (vec!["warn\tEnvoy proxy is NOT ready: config not received from XDS server"], true),
    ] {
        let log = digest(LogPart::Proxy, &lines);
        assert_eq!(not_ready(&log).is_some(), expected, "{lines:?}");
    }
    for (state, id, is_ready) in [
        ("server is not live, current state is: INITIALIZING", "proxy-not-ready-starting", Some(false)),
        ("server is not live, current state is: PRE_INITIALIZING", "proxy-not-ready-starting", Some(false)),
        ("server is not live, current state is: UNKNOWN", "proxy-not-ready", Some(false)),
        // These say nothing about how it was.
        ("server is not live, current state is: DRAINING", "proxy-draining", Some(true)),
        ("server is terminated: received signal: terminated", "proxy-ending", Some(true)),
    ] {
        let last = |second: u32| format!("2026-07-15T12:05:{second:02}.0Z\twarn\tEnvoy proxy is NOT ready: {state}");
        let log = digest(LogPart::Proxy, &[ready, &last(1), &last(59)]);
        assert_eq!(ids(&log), [(id, 2)]);
        assert_eq!(log.readiness.as_ref().map(|said| said.ready), is_ready, "{state}");
        assert_eq!(not_ready(&log).is_some(), is_ready == Some(false), "{state}");
        let is_fault = weight(known(id).unwrap(), &log.groups[0], &log) == Severity::Error;
        assert_eq!(is_fault, is_ready == Some(false), "{state}");
    }
    let reason = digest(LogPart::Proxy, &[&early, &late]).readiness.unwrap().reason;
    assert!(reason.starts_with("config not received from XDS server"), "{reason}");
}

#[test]
fn texts_of_other_programs_count_only_where_istio_writes() {
    let others = [
        "panic: runtime error: index out of range [1] with length 1",
        "Validation failed: name is required",
        "Command error: exit 1",
        "2026-07-15T12:00:00.123Z\tinfo\tleader election lock lost: x",
    ];
    assert_eq!(ids(&digest(LogPart::Any, &others)), []);
    let istios = "2026-07-15T12:00:00.123456Z\tinfo\tVersion 1.30";
    let rejects = "warn\tdelta\tADS:LDS: ACK ERROR web-1.shop-7 Internal:x";
    let access = r#"{"response_code":200,"response_flags":"-"}"#;
    for line in [istios, rejects, access] {
        let log = digest(LogPart::Any, &[others[0], line, others[0]]);
        let panics = log.groups.iter().find(|group| group.id == "istiod-panic").map(|group| group.count);
        assert_eq!(panics, Some(1), "{line}");
    }
    assert_eq!(ids(&digest(LogPart::Istiod, &others[..1])), [("istiod-panic", 1)]);
    assert_eq!(ids(&digest(LogPart::Init, &others[1..2])), [("init-validation", 1)]);
    let other = digest(LogPart::Other, &[istios, rejects, access, others[0], &format!("warn\t{NOTHING}")]);
    assert!(other.groups.is_empty() && other.requests == 0 && other.readiness.is_none(), "{other:?}");
}

#[test]
fn what_failed_is_over_once_it_succeeds() {
    let at = |second: u32, text: &str| format!("2026-07-15T12:10:{second:02}.0Z\t{text}");
    let ready = "2026-07-15T12:00:00.0Z\tinfo\tEnvoy proxy is ready";
    let delta = "info\txdsproxy\tconnected to delta upstream XDS server: istiod.x.svc:15012\tid=2";
    let connected = "info\txdsproxy\tconnected to upstream XDS server: istiod.x.svc:15012\tid=2";
    let certified = "info\tcache\tgenerated new workload certificate\tresourceName=default latency=78ms ttl=23h59m59s";
    let rooted = "info\tcache\treturned workload trust anchor from cache\tttl=23h59m59s";
    for (failure, success, other) in [
        ("error\txdsproxy\tfailed to connect to upstream istiod.x.svc:15012: connection refused", delta, certified),
        ("error\txdsproxy\tfailed to connect to upstream istiod.x.svc:15012: x509: unknown", connected, certified),
        (
            "warning\tenvoy config x.h:193\tDelta gRPC config stream to xds-grpc closed since 40s ago: 14, x",
            delta,
            rooted,
        ),
        ("error\tcitadelclient\tfailed to sign CSR: rpc error: code = Unavailable", certified, delta),
        ("error\tcitadelclient\tfailed to sign CSR: rpc error: code = Unauthenticated", certified, delta),
        ("error\tcache\tresource:default failed to sign: rpc error: code = Unavailable", certified, delta),
        ("error\tcitadelclient\tFailed to connect to endpoint istiod.x.svc:15012: x", certified, delta),
        ("warn\tsds\tfailed to warm certificate: x", certified, delta),
        ("warn\tsds\tfailed to warm root certificate: x", rooted, delta),
    ] {
        let said = |lines: &[&String]| {
            let lines: Vec<&str> = [ready].into_iter().chain(lines.iter().map(|line| line.as_str())).collect();
            let log = digest(LogPart::Proxy, &lines);
            weight(known(&log.groups[0].id).unwrap(), &log.groups[0], &log)
        };
        let (failed, again) = (at(1, failure), at(5, failure));
        let (success, other) = (at(3, success), at(3, other));
        assert_eq!(said(&[&failed]), Severity::Warning, "{failure}");
        assert_eq!(said(&[&failed, &success]), Severity::Info, "{failure}");
        assert_eq!(said(&[&failed, &success, &again]), Severity::Warning, "{failure}");
        assert_eq!(said(&[&failed, &other]), Severity::Warning, "{failure}");
    }
}

#[test]
fn the_same_message_many_times_is_one_group_in_bounded_room() {
    let keep = Keep { lines: 50, bytes: 4 << 10 };
    let mut digest = Digest::new(ContainerLog { part: LogPart::Proxy, ..ContainerLog::default() }, keep);
    for number in 0..100_000 {
        let second = number / 1000;
        let text = format!(
            "2026-07-15T12:{:02}:{:02}.5Z\terror\txdsproxy\tfailed to connect to upstream host-{number}:15012: x",
            second / 60,
            second % 60
        );
        assert_eq!(digest.line(&line::sent(&text)), Some(Severity::Warning));
    }
    let log = digest.finish();
    assert_eq!((log.lines, ids(&log)), (100_000, vec![("proxy-connect", 100_000)]));
    let group = &log.groups[0];
    assert_eq!((group.about.len(), group.more_about), (ABOUT, true));
    assert_eq!(group.first.unwrap().to_string(), "2026-07-15T12:00:00.5Z");
    assert_eq!(group.last.unwrap().to_string(), "2026-07-15T12:01:39.5Z");
    assert!(log.tail.len() <= 50 && log.tail.iter().map(String::len).sum::<usize>() <= 4 << 10);
    assert!(log.tail.last().unwrap().contains("host-99999"));
}

#[test]
fn secrets_are_in_nothing_that_is_kept() {
    let line = "[2026-07-15T12:00:00.1Z] \"GET /pay?card=4111 HTTP/1.1\" 503 UF x - \"delayed connect error: 111\" 0 0 0 - \"-\" \"-\" \"-\" \"a\" \"10.0.0.1:80\" inbound|80|| - - - - -";
    let mut digest = Digest::new(ContainerLog::default(), Keep { lines: 9, bytes: 9999 });
    digest.line(&line::saved(line));
    let log = digest.finish();
    assert_eq!(ids(&log), [("access-application-refused", 1)]);
    assert_eq!((log.requests, log.failed_requests), (1, 1));
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("4111") && text.contains("/pay?"), "{text}");
}

#[test]
fn secrets_of_addresses_and_fields_are_not_in_what_a_message_names() {
    let log = digest(
        LogPart::Istiod,
        &[
            "2026-07-15T12:00:00.1Z\terror\tmodel\tFailed to fetch public key from jwks URI \"https://user:hunter2@idp.example/keys\": {\"x-api-key\":\"hunter2\"}",
        ],
    );
    assert_eq!(ids(&log), [("istiod-jwks", 1)]);
    assert_eq!(log.groups[0].about, ["https://[…]@idp.example/keys"]);
    assert!(!serde_json::to_string(&log).unwrap().contains("hunter2"));
}

#[test]
fn a_key_on_many_lines_is_not_kept() {
    let mut digest = Digest::new(ContainerLog::default(), Keep { lines: 99, bytes: 9999 });
    for text in
        ["before", "key: -----BEGIN RSA PRIVATE KEY-----", "MIIEow", "AAKCAQ", "-----END RSA PRIVATE KEY-----", "after"]
    {
        digest.line(&line::saved(text));
    }
    assert_eq!(digest.finish().tail, ["before", "key: […]", "after"]);
}

#[test]
fn a_key_without_an_end_takes_no_lines_of_the_log_with_it() {
    for next in [
        "2026-07-15T12:00:00.1Z\tinfo\tgoes on",
        "[2026-07-15 12:00:00.100][18][warning][config] [source/x.cc:1] goes on",
        "[2026-07-15T12:00:00.123Z] \"GET / HTTP/1.1\" 200 - via_upstream - \"-\" 0 0 0",
        "{\"level\":\"info\",\"msg\":\"goes on\"}",
    ] {
        let mut digest = Digest::new(ContainerLog::default(), Keep { lines: 99, bytes: 9999 });
        for text in ["key: -----BEGIN RSA PRIVATE KEY-----", "MIIEow", "AAKCAQ==", next, "and on"] {
            digest.line(&line::Line { text, ..line::Line::default() });
        }
        assert_eq!(digest.finish().tail, ["key: […]", next, "and on"]);
    }
}

#[test]
fn lines_are_cut_out_of_pieces_and_an_endless_one_loses_its_end() {
    let mut lines = Vec::new();
    let mut splitter = Splitter::default();
    for piece in [&b"a\nb"[..], b"c\n\n", b"\xff\n", b"last"] {
        splitter.push(piece, |line, cut| lines.push((line.to_owned(), cut)));
    }
    splitter.finish(|line, cut| lines.push((line.to_owned(), cut)));
    let expected = [("a", false), ("bc", false), ("", false), ("\u{fffd}", false), ("last", false)];
    assert_eq!(lines, expected.map(|(line, cut)| (line.to_owned(), cut)));
    let mut found = Vec::new();
    for _ in 0..100 {
        splitter.push(&[b'x'; 4096], |_, _| ());
    }
    splitter.push(b"\nshort\n", |line, cut| found.push((line.len(), cut)));
    assert_eq!(found, [(LINE_CAP, true), (5, false)]);
}

fn pod(init: bool, status: serde_json::Value) -> Pod {
    let mut status = status;
    status["name"] = "istio-proxy".into();
    let (list, containers) =
        if init { ("initContainerStatuses", "initContainers") } else { ("containerStatuses", "containers") };
    serde_json::from_value(serde_json::json!({
        "spec": {containers: [{"name": "istio-proxy"}, {"name": "istio-validation"}]},
        "status": {list: [status, {"name": "istio-validation", "state": {"terminated": {"exitCode": 0}}}]}}))
    .unwrap()
}

fn chosen(pod: &Pod, container: Option<&str>, want: Want) -> Vec<(String, bool, String)> {
    let now = "2026-07-15T12:00:00Z".parse().unwrap();
    let all = choose(pod, LogPart::Proxy, container, want, now);
    let word = |chosen: Chosen| (chosen.container, chosen.previous.is_some(), chosen.why.unwrap_or_default());
    all.into_iter().map(word).collect()
}

#[test]
fn the_previous_log_is_chosen_for_what_crashes() {
    let end = |reason: &str, code: i32, at: &str| serde_json::json!({"terminated": {"reason": reason, "exitCode": code, "finishedAt": at}});
    let runs = serde_json::json!({"running": {"startedAt": "2026-07-15T11:58:00Z"}});
    let of = |container: &str, previous: bool| (container.to_owned(), previous);
    for native in [false, true] {
        let crashing = pod(
            native,
            serde_json::json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": end("OOMKilled", 137, "2026-07-15T11:58:00Z")}),
        );
        let found = chosen(&crashing, None, Want::Auto);
        assert_eq!(
            found,
            [(
                "istio-proxy".to_owned(),
                true,
                "ended with OOMKilled (exit code 137) 2m ago, and waits (CrashLoopBackOff)".to_owned()
            )]
        );
        let again =
            pod(native, serde_json::json!({"state": runs, "lastState": end("Error", 255, "2026-07-15T11:57:00Z")}));
        let found: Vec<_> =
            chosen(&again, None, Want::Auto).into_iter().map(|(name, previous, _)| (name, previous)).collect();
        assert_eq!(found, [of("istio-proxy", true), of("istio-proxy", false)]);
        assert_eq!(chosen(&again, None, Want::Current).len(), 1);
        assert!(chosen(&again, None, Want::Previous)[0].1);
        for quiet in [
            serde_json::json!({"state": runs}),
            serde_json::json!({"state": runs, "lastState": end("Error", 255, "2026-07-15T11:00:00Z")}),
            serde_json::json!({"state": runs, "lastState": end("Completed", 0, "2026-07-15T11:59:00Z")}),
        ] {
            let found = chosen(&pod(native, quiet), None, Want::Auto);
            assert_eq!(found, [("istio-proxy".to_owned(), false, String::new())]);
        }
    }
    let now = "2026-07-15T12:00:00Z".parse().unwrap();
    let pod: Pod = serde_json::from_value(
        serde_json::json!({"spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}, {"name": "istio-init"}]}}),
    )
    .unwrap();
    for (name, part, expected) in [
        ("app", LogPart::Proxy, Some(LogPart::Other)),
        ("app", LogPart::Istiod, Some(LogPart::Other)),
        ("istio-proxy", LogPart::Gateway, Some(LogPart::Gateway)),
        ("istio-proxy", LogPart::Istiod, Some(LogPart::Proxy)),
        ("istio-init", LogPart::Proxy, Some(LogPart::Init)),
        ("other", LogPart::Proxy, None),
    ] {
        let found: Vec<LogPart> =
            choose(&pod, part, Some(name), Want::Auto, now).into_iter().map(|chosen| chosen.part).collect();
        assert_eq!(found, Vec::from_iter(expected), "{name} {part:?}");
    }
}

#[test]
fn an_init_container_is_read_where_the_pod_waits_for_it() {
    let pod: Pod = serde_json::from_value(serde_json::json!({
        "spec": {"initContainers": [{"name": "istio-validation"}], "containers": [{"name": "istio-proxy"}]},
        "status": {"initContainerStatuses": [{"name": "istio-validation", "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {"terminated": {"reason": "Error", "exitCode": 126, "finishedAt": "2026-07-15T11:59:30Z"}}}]}}))
    .unwrap();
    let found: Vec<_> =
        chosen(&pod, None, Want::Auto).into_iter().map(|(name, previous, _)| (name, previous)).collect();
    assert_eq!(found, [("istio-validation".to_owned(), true), ("istio-proxy".to_owned(), false)]);
}
