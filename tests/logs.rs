//! `logs --file` over what real istiods, a real pilot-agent and a real Envoy wrote.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

fn recorded(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/logs").join(name)
}

/// Exit code and report of a log on standard input.
fn report(text: &str, args: &[&str]) -> (i32, Value) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(["logs", "--file", "-", "-o", "json"])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code().unwrap(), serde_json::from_slice(&output.stdout).unwrap())
}

fn troubles(report: &Value) -> Vec<(String, u64)> {
    let messages = report["view"]["messages"].as_array().unwrap().iter();
    messages
        .filter(|message| message["severity"] != "info")
        .map(|message| (message["id"].as_str().unwrap().to_owned(), message["count"].as_u64().unwrap()))
        .collect()
}

#[test]
fn good_logs_say_nothing_and_a_refusal_is_found_in_both() {
    for (name, what, refusal, id, code) in [
        ("sidecar.log", "proxy", "delta config for ", "proxy-rejects", "PRX20"),
        ("istiod.log", "istiod", "ACK ERROR", "istiod-proxy-rejects", "CP10"),
    ] {
        let text = std::fs::read_to_string(recorded(name)).unwrap();
        let start = text.lines().position(|line| line.contains(refusal)).unwrap();
        let good: String = text.lines().take(start).map(|line| format!("{line}\n")).collect();
        for args in [&[what][..], &[]] {
            let (exit, before) = report(&good, args);
            assert_eq!((exit, troubles(&before)), (0, Vec::new()), "{name} {args:?}: {before:#}");
            assert_eq!(before["findings"], Value::Array(Vec::new()));
            let (exit, after) = report(&text, args);
            assert_eq!((exit, troubles(&after)), (0, vec![(id.to_owned(), 1)]), "{name} {args:?}");
            assert_eq!(after["findings"][0]["code"], code);
            assert!(after["findings"][0]["evidence"][0]["observed"].as_str().unwrap().contains("script load error"));
        }
    }
    let text = std::fs::read_to_string(recorded("sidecar.log")).unwrap();
    let (_, sidecar) = report(&text, &["proxy"]);
    let envoy = &sidecar["view"]["logs"][0]["envoy"];
    assert_eq!(
        (&envoy["ready"], envoy["since"].as_str().unwrap()),
        (&Value::Bool(true), "2026-11-26T14:25:17.056474Z")
    );
}

#[test]
fn the_same_lines_are_understood_however_they_were_saved() {
    let text = std::fs::read_to_string(recorded("sidecar.log")).unwrap();
    let (_, plain) = report(&text, &["proxy"]);
    let saved = |before: &str| text.lines().map(|line| format!("{before}{line}\n")).collect::<String>();
    for before in [
        "2026-11-26T14:30:00.5Z ",
        "[pod/web-1/istio-proxy] ",
        "[pod/web-1/istio-proxy] 2026-11-26T14:30:00.5Z ",
        "web-1 istio-proxy ",
    ] {
        let (_, other) = report(&saved(before), &[]);
        assert_eq!(troubles(&other), troubles(&plain), "{before}");
        assert_eq!(other["view"]["lines"], plain["view"]["lines"]);
        assert_eq!(other["view"]["logs"][0]["envoy"]["ready"], true, "{before}");
    }
}

#[test]
fn what_is_over_is_told_as_over_and_is_no_finding() {
    let failed = "2026-07-15T12:40:01.000000Z\terror\txdsproxy\tfailed to connect to upstream istiod-asm-1-30.aks-istio-system.svc:15012: connection refused\n";
    let worked = "2026-07-15T12:40:03.000000Z\tinfo\txdsproxy\tconnected to delta upstream XDS server: istiod-asm-1-30.aks-istio-system.svc:15012\tid=7\n";
    let of = |lines: &[&str]| {
        let (_, report) = report(&lines.concat(), &["proxy"]);
        let message = &report["view"]["messages"][0];
        let is_over = message["meaning"].as_str().unwrap().starts_with("over: ");
        (message["severity"].as_str().unwrap().to_owned(), is_over, report["findings"].as_array().unwrap().len())
    };
    assert_eq!(of(&[failed]), ("warning".to_owned(), false, 1));
    assert_eq!(of(&[failed, worked]), ("info".to_owned(), true, 0));
    // Of two pods one is still without its istiod.
    let prefixed = |pod: &str, line: &str| format!("[pod/{pod}/istio-proxy] {line}");
    for (first, second) in [("web-1", "web-2"), ("web-2", "web-1")] {
        let lines = [prefixed(first, failed), prefixed(first, worked), prefixed(second, failed)];
        assert_eq!(of(&lines.each_ref().map(String::as_str)), ("warning".to_owned(), false, 1));
    }
}
