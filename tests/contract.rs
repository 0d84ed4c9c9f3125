//! The contract that scripts rely on: every output validates against the published schema, damaged ones do not, exit
//! codes do not depend on the format, and data is all that stdout carries.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::{Command, Output};

use serde_json::{Value, json};

/// A recorded log with something in it.
const LOG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/logs/sidecar.log");

fn asm(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(args)
        .env_remove("KUBECONFIG")
        .env("HOME", "/nonexistent")
        .env("LANG", "C.UTF-8")
        .output()
        .unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(args: &[&str]) -> Value {
    let mut all = args.to_vec();
    all.extend(["-o", "json"]);
    let output = asm(&all);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", stdout(&output)))
}

fn validator() -> jsonschema::Validator {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json")).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&text).unwrap()).unwrap()
}

fn reports() -> Vec<Value> {
    vec![
        json_of(&["status", "--from", "demo"]),
        json_of(&["status", "--from", "demo", "--only", "INJ"]),
        json_of(&["inject-check", "--from", "demo", "-A"]),
        json_of(&["conflicts", "--from", "demo"]),
        json_of(&["precheck", "--from", "demo"]),
        json_of(&["conflicts", "--from", "demo", "-n", "nowhere"]),
        json_of(&["proxy-status", "--from", "demo"]),
        json_of(&["logs", "--file", LOG]),
        json_of(&["logs", "istiod", "--from", "demo"]),
        json_of(&["status", "--from", "/nonexistent/bundle.tar.gz"]),
        json_of(&["status", "--only", "NOPE99", "--from", "demo"]),
        json_of(&["status", "--from", "demo", "--context", "x"]),
        json_of(&["status", "--kubeconfig", "/nonexistent/kubeconfig"]),
    ]
}

#[test]
fn every_report_validates() {
    let validator = validator();
    for report in reports() {
        let errors: Vec<_> = validator.iter_errors(&report).map(|e| format!("{}: {e}", e.instance_path)).collect();
        assert!(errors.is_empty(), "{errors:#?}\n{report:#}");
    }
}

#[test]
fn damaged_reports_do_not_validate() {
    let validator = validator();
    let good = json_of(&["status", "--from", "demo"]);
    let finding = &good["findings"][0];
    assert!(finding["remedy"]["steps"][0].is_object() && finding["evidence"][0].is_object(), "the demo has findings");
    type Damage = fn(&mut Value);
    let damages: [(&str, Damage); 12] = [
        ("no schema version", |r| drop(r.as_object_mut().unwrap().remove("schemaVersion"))),
        ("an unknown field", |r| r["extra"] = json!(1)),
        ("findings as an object", |r| r["findings"] = json!({})),
        ("an unknown severity", |r| r["findings"][0]["severity"] = json!("critical")),
        ("a finding without a subject", |r| drop(r["findings"][0].as_object_mut().unwrap().remove("subject"))),
        ("a command as a string", |r| r["findings"][0]["remedy"]["steps"][0]["command"] = json!("kubectl get pods")),
        ("an unknown risk", |r| r["findings"][0]["remedy"]["steps"][0]["risk"] = json!("none")),
        ("evidence without what was observed", |r| {
            drop(r["findings"][0]["evidence"][0].as_object_mut().unwrap().remove("observed"));
        }),
        ("an unknown outcome", |r| r["outcomes"][0]["status"] = json!("skipped")),
        ("a count as text", |r| r["summary"]["errors"] = json!("1")),
        ("an unknown origin", |r| r["origin"]["kind"] = json!("cloud")),
        ("a view of no command", |r| r["view"] = json!({"rows": []})),
    ];
    for (name, damage) in damages {
        let mut report = good.clone();
        damage(&mut report);
        assert_ne!(report, good, "{name} changes nothing");
        assert!(!validator.is_valid(&report), "{name} should not validate");
    }
}

#[test]
fn the_exit_code_is_the_same_in_every_format() {
    for (args, expected) in [
        (&["status", "--from", "demo"][..], 1),
        (&["status", "--from", "demo", "--only", "ENV01"], 0),
        (&["status", "--from", "/nonexistent"], 2),
        (&["logs", "--file", LOG, "--fail-on", "warning"], 1),
        (&["logs", "proxy", "--from", "demo"], 2),
        (&["inject-check", "--from", "demo", "-n", "nowhere"], 2),
        (&["proxy-status", "--from", "demo", "nowhere"], 2),
        (&["proxy-status", "--from", "demo", "--only", "UPG04"], 1),
    ] {
        for format in ["text", "wide", "short", "json", "yaml"] {
            let mut all = args.to_vec();
            all.extend(["-o", format]);
            let output = asm(&all);
            assert_eq!(code(&output), expected, "{all:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
    }
}

#[test]
fn yaml_holds_the_same_document_as_json() {
    let json = json_of(&["status", "--from", "demo"]);
    let yaml: Value = serde_yaml::from_str(&stdout(&asm(&["status", "--from", "demo", "-o", "yaml"]))).unwrap();
    assert_eq!(yaml, json);
}

#[test]
fn nothing_is_coloured_or_cut_in_a_pipe() {
    for format in ["text", "wide", "short"] {
        let text = stdout(&asm(&["status", "--from", "demo", "-o", format]));
        assert!(!text.contains('\u{1b}'), "{format} has escape codes");
        assert!(!text.contains('…'), "{format} is cut");
    }
}

#[test]
fn help_version_explain_and_completion_need_no_cluster() {
    for args in
        [&["--help"][..], &["--version"], &["explain"], &["explain", "inj03"], &["version"], &["completion", "bash"]]
    {
        let output = asm(args);
        assert_eq!(code(&output), 0, "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(!output.stdout.is_empty(), "{args:?}");
    }
    assert!(stdout(&asm(&["--help"])).contains("kubectl asm"), "help speaks of kubectl asm");
}

#[test]
fn mistakes_are_named_and_exit_with_2() {
    for (args, says) in [
        (&["status", "--from", "demo", "--only", "XYZ1"][..], "XYZ1"),
        // What looks at nothing has no good news.
        (&["status", "--from", "demo", "--only", "WHK02", "--skip", "WHK"], "--skip leaves none"),
        (&["inject-check", "--from", "demo", "-l", "app=nope", "--expect", "injected"], "--expect cannot be judged"),
        (&["proxy-status", "--from", "demo", "--revision", "asm-9-99"], "asm-9-99 is not installed"),
        (&["status", "--from", "demo", "--context", "prod"], "--context"),
        (&["inject-check", "svc/web", "--from", "demo"], "svc"),
        (&["explain", "NOPE01"], "NOPE01"),
        (&["proxy-status", "--from", "demo", "--watch"], "--watch"),
        (&["proxy-status", "--from", "demo", "-l", "a b"], "a b"),
        (&["status", "--facts", "/nonexistent/facts.yaml", "--from", "demo"], "facts"),
    ] {
        let output = asm(args);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(code(&output), 2, "{args:?}");
        assert!(message.contains(says), "{args:?} says: {message}");
        assert!(output.stdout.is_empty(), "{args:?} prints data");
    }
}

/// The demo is shown to strangers: nothing of the machine it was made on may be in it.
#[test]
fn the_demo_has_no_trace_of_the_lab() {
    let archive = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/bundle/demo.tar.gz")).unwrap();
    assert!(archive.len() < 150_000, "{} bytes", archive.len());
    let mut text = String::new();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&archive[..]));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        std::io::Read::read_to_string(&mut entry, &mut text).unwrap();
    }
    let text = text.to_lowercase();
    assert!(text.len() > 10_000, "the demo is empty");
    for trace in ["kwok", "asm-lab", "kubectl-asm-lab", "127.0.0.1", "/root/", "localhost"] {
        assert!(!text.contains(trace), "the demo contains {trace}");
    }
}

/// In the demo, workload `api` of namespace billing runs a sidecar of a removed revision; the faults of other namespaces
/// are none of its business.
#[test]
fn one_workload_is_told_only_what_concerns_it() {
    let report = json_of(&["inject-check", "deploy/api", "--from", "demo", "-A"]);
    let codes: Vec<_> = report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["UPG04"]);
    let rows = report["view"]["workloads"].as_array().unwrap();
    assert_eq!((rows.len(), &rows[0]["namespace"]), (1, &json!("billing")));
    let absent = asm(&["inject-check", "deploy/absent", "--from", "demo", "-A", "-o", "json"]);
    assert_eq!(code(&absent), 2);
    let report: Value = serde_json::from_slice(&absent.stdout).unwrap();
    assert_eq!(report["error"]["kind"], "workload");
    assert!(validator().is_valid(&report));
}

#[test]
fn a_manifest_is_judged_before_it_is_applied() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.yaml");
    std::fs::write(
        &file,
        "kind: Deployment\nmetadata: {name: new, namespace: reports}\nspec: {template: {metadata: {labels: {app: new}}}}\n",
    )
    .unwrap();
    let file = file.to_str().unwrap();
    // Namespace reports has both labels, which cancel each other.
    for (expect, exit) in [("injected", 1), ("none", 0)] {
        let output = asm(&["inject-check", "-f", file, "--from", "demo", "--expect", expect]);
        assert_eq!(code(&output), exit, "--expect {expect}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
fn a_workload_is_named_as_kubectl_prints_it() {
    for target in ["deploy/cart", "deployment.apps/cart", "deployment.apps/cart.shop"] {
        let report = json_of(&["proxy-status", "--from", "demo", target]);
        let proxies = report["view"]["proxies"].as_array().unwrap_or_else(|| panic!("{target}: {report:#}"));
        assert_eq!(proxies.len(), 2, "{target}");
        assert!(proxies.iter().all(|one| one["name"].as_str().unwrap().starts_with("cart-")), "{target}");
    }
    let report = json_of(&["inject-check", "--from", "demo", "-n", "shop", "deployment.apps/cart"]);
    assert_eq!(report["view"]["workloads"].as_array().unwrap().len(), 1);
}
