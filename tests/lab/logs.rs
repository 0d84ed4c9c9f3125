//! `logs` over what real istiods, a real pilot-agent and a real Envoy write.

use crate::cluster::{Lab, list, text};
use crate::rights::Granted;
use crate::world::World;
use serde_json::{Value, json};

fn report(lab: &Lab, args: &[&str]) -> (i32, Value) {
    let all: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
    let out = lab.asm(&all);
    (out.code, serde_json::from_str(&out.stdout).unwrap_or_else(|error| panic!("{error}: {}", out.stderr)))
}

fn known(report: &Value) -> Vec<(String, String)> {
    list(&report["view"]["messages"]).iter().map(|one| (text(&one["severity"]), text(&one["id"]))).collect()
}

/// Whatever an istiod wrote since it started, in good order, is no trouble; nor is what a whole sidecar wrote.
pub fn healthy_logs_say_nothing() {
    let lab = Lab::take();
    // What other tests had refused stands in the logs of the istiods that they met.
    let istiods = "app=istiod,istio.io/rev=asm-1-30";
    lab.must(&["kubectl", "delete", "pods", "-n", "aks-istio-system", "-l", istiods], "");
    lab.script("kubelet", &["wait", "asm-1-30"]);
    lab.settle();
    let (code, report) = self::report(&lab, &["logs", "istiod", "--revision", "asm-1-30", "--tail=-1"]);
    assert_eq!((code, &report["gaps"]), (0, &json!([])), "{report:#}");
    assert!(report["view"]["lines"].as_u64() > Some(50), "{:#}", report["view"]);
    assert!(known(&report).iter().all(|(severity, _)| severity == "info"), "{:#}", report["view"]["messages"]);
    assert_eq!(report["outcomes"][0]["status"], "passed");
    let _world = World::begin(&lab, "fine-sidecar");
    lab.settle();
    let (code, report) = self::report(&lab, &["logs", "proxy", "deploy/web", "-n", "genuine", "--tail=-1"]);
    assert_eq!((code, &report["findings"]), (0, &json!([])), "{report:#}");
    assert_eq!(report["view"]["logs"][0]["envoy"]["ready"], true, "{:#}", report["view"]);
}

/// What Envoy refuses stands in its log and in that of its istiod, and in a bundle of both.
pub fn a_refusal_stands_in_both_logs() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "sidecar-rejects");
    let proxy = ["logs", "proxy", "deploy/web", "-n", "genuine"];
    let istiod = ["logs", "istiod", "--revision", "asm-1-28"];
    let warning = |id: &str| ("warning".to_owned(), id.to_owned());
    for (args, id, code) in [(&proxy[..], "proxy-rejects", "PRX20"), (&istiod[..], "istiod-proxy-rejects", "CP10")] {
        let (exit, report) = self::report(&lab, args);
        assert!(known(&report).contains(&warning(id)), "{:#}", report["view"]["messages"]);
        assert_eq!((exit, &report["findings"][0]["code"]), (0, &json!(code)), "{report:#}");
        let shown = lab.asm(args).stdout;
        assert!(shown.lines().any(|line| line.starts_with("! ") && line.contains("script load error")), "{shown}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.tar.gz");
    let bundle = path.to_str().expect("a name");
    // The lab's other pods write no logs, which costs nothing but their own.
    let out = lab.plain(&["capture", bundle, "--logs"]);
    assert!(path.exists(), "{}", out.stderr);
    let kept = lab.plain(&["logs", "istiod", "--revision", "asm-1-28", "--from", bundle, "-o", "json"]);
    let kept: Value = serde_json::from_str(&kept.stdout).unwrap_or_else(|error| panic!("{error}: {}", kept.stderr));
    assert!(known(&kept).contains(&warning("istiod-proxy-rejects")), "{kept:#}");
}

/// Of an istiod that stops again and again the log from before is read, and of the other its own.
pub fn the_previous_log_is_chosen() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "istiod-one-down");
    let out = lab.asm(&["logs", "istiod", "--revision", "asm-1-30"]);
    assert!(out.stderr.contains("ended with Error (exit code 255)"), "{}", out.stderr);
    assert!(out.stderr.contains("and waits (CrashLoopBackOff)"), "{}", out.stderr);
    let (_, report) = self::report(&lab, &["logs", "istiod", "--revision", "asm-1-30"]);
    let logs = list(&report["view"]["logs"]);
    let previous: Vec<bool> = logs.iter().map(|log| log["previous"].is_object()).collect();
    assert_eq!(previous.iter().filter(|is| **is).count(), 1, "{logs:#?}");
    assert!(logs.iter().all(|log| log["lines"].as_u64() > Some(10)), "{logs:#?}");
}

/// Reading logs needs no more than pods and their logs.
pub fn printed_roles_are_enough() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "granted");
    let user = lab.user("audit", "auditor");
    let without = lab.asm_as(&user, &["logs", "istiod"]);
    assert_eq!(without.code, 2, "{}", without.stdout);
    assert!(without.stderr.contains("list pods"), "{}", without.stderr);
    let _granted = Granted::by(&lab, &["--for", "logs", "-n", "audit"]);
    crate::cluster::poll("the roles are enough", std::time::Duration::from_secs(20), || {
        let report = lab.report_as(&user, &["logs", "istiod"]);
        let complete = report.code == 0 && report.json["gaps"] == json!([]);
        if complete { Ok(()) } else { Err(format!("{:#}", report.json)) }
    });
}
