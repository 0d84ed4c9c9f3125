//! `inject-check --probe`: what the real API server answers, and that nothing stays behind.

use crate::cluster::{Lab, list, poll, text};
use crate::world::World;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

const NAMESPACE: &str = "probe";

/// Every object of a namespace and its resourceVersion, events included.
fn everything(lab: &Lab, namespace: &str) -> BTreeMap<String, String> {
    let kinds = lab.must(&["kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name"], "");
    // Not stored: they are computed from other objects.
    let kinds: Vec<&str> = kinds.lines().filter(|kind| !kind.ends_with("metrics.k8s.io")).collect();
    let all = lab.json(&["kubectl", "get", &kinds.join(","), "-n", namespace, "-o", "json"]);
    list(&all["items"])
        .iter()
        .map(|object| {
            let meta = &object["metadata"];
            (format!("{}/{}", text(&object["kind"]), text(&meta["name"])), text(&meta["resourceVersion"]))
        })
        .collect()
}

fn probes(report: &Value) -> BTreeMap<String, Value> {
    list(&report["view"]["probes"])
        .into_iter()
        .map(|probe| (format!("{}/{}", text(&probe["namespace"]), text(&probe["name"])), probe))
        .collect()
}

fn codes(report: &Value) -> Vec<String> {
    let mut codes: Vec<String> = crate::world::lines(report);
    codes.retain(|line| line.contains(" INJ13 "));
    codes
}

/// Runs the tool by itself: kubectl would get the signal, too.
fn interrupted(lab: &Lab, after: &str, args: &[&str]) -> crate::cluster::Out {
    let mut argv =
        vec!["timeout", "--preserve-status", "-s", "INT", after, env!("CARGO_BIN_EXE_kubectl-asm"), "inject-check"];
    argv.extend(args);
    lab.run(&argv, "")
}

pub fn asks_and_leaves_nothing_behind() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "probe");
    lab.settle();
    let before = everything(&lab, NAMESPACE);
    assert!(before.keys().any(|name| name.starts_with("Event/")), "events are looked at: {:?}", before.keys());

    let report = lab.report(&["inject-check", "-n", NAMESPACE, "--probe"]);
    assert_eq!((report.code, codes(&report.json)), (0, Vec::new()), "{:#}", report.json);
    let plain = &probes(&report.json)["probe/probe"];
    assert_eq!((text(&plain["answer"]), text(&plain["revision"])), ("injected".into(), "asm-1-30".into()));
    assert_eq!((text(&plain["sidecar"]), text(&plain["agreement"])), ("native".into(), "same".into()));
    let added: Vec<String> = list(&plain["added"]["initContainers"]).iter().map(|c| text(&c["name"])).collect();
    assert_eq!(added, ["istio-init", "istio-proxy"]);
    assert!(list(&plain["added"]["volumes"]).contains(&"istio-envoy".into()), "{plain:#}");

    for (target, answer) in
        [("deploy/web", "injected"), ("sts/db", "injected"), ("deploy/left-out", "plain"), ("cj/nightly", "injected")]
    {
        let report = lab.report(&["inject-check", target, "-n", NAMESPACE, "--probe"]);
        let found = probes(&report.json);
        let probe = found.values().next().unwrap_or_else(|| panic!("{target}: no probe: {:#}", report.json));
        assert_eq!((text(&probe["answer"]), text(&probe["agreement"])), (answer.into(), "same".into()), "{target}");
        assert_eq!(codes(&report.json), Vec::<String>::new(), "{target}");
    }
    for after in ["0.05", "0.1", "0.15", "0.2", "0.3", "0.5"] {
        let out = interrupted(&lab, after, &["-n", NAMESPACE, "-l", "app", "--probe"]);
        assert!(matches!(out.code, 0 | 130), "after {after} s: exit {}\n{}{}", out.code, out.stdout, out.stderr);
    }
    assert_eq!(everything(&lab, NAMESPACE), before, "a dry run changes nothing, not even an event");
}

pub fn tells_refusals_apart() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "probe");
    lab.settle();
    let report = lab.report(&["inject-check", "-A", "--probe"]);
    let found = probes(&report.json);
    let refusal = |namespace: &str| {
        let probe = &found[&format!("{namespace}/{namespace}")];
        assert_eq!(probe["agreement"], "other", "{probe:#}");
        (text(&probe["refusal"]["by"]), text(&probe["refusal"]["name"]), probe["refusal"]["onlyWithSidecar"].clone())
    };
    let dead = "probe-dead.example.com".to_owned();
    assert_eq!(refusal("probe-standard"), ("podSecurity".into(), String::new(), true.into()));
    assert_eq!(refusal("probe-quota"), ("quota".into(), "compute".into(), true.into()));
    assert_eq!(refusal("probe-limits"), ("limitRange".into(), String::new(), true.into()));
    assert_eq!(refusal("probe-dead-webhook"), ("webhookUnreachable".into(), dead, false.into()));
    assert_eq!(refusal("probe-policy"), ("admissionPolicy".into(), "probe-no-sidecars".into(), true.into()));
    assert_eq!(
        codes(&report.json),
        [
            "error INJ13 Namespace probe-dead-webhook",
            "error INJ13 Namespace probe-limits",
            "error INJ13 Namespace probe-policy",
            "error INJ13 Namespace probe-quota",
            "> error INJ13 Namespace probe-standard",
        ],
    );
    assert_eq!(report.code, 1);

    // The commands help: with room in the quota and in the limits, the findings are gone.
    lab.must(
        &[
            "kubectl",
            "patch",
            "resourcequota",
            "compute",
            "-n",
            "probe-quota",
            "--type=merge",
            "-p",
            r#"{"spec":{"hard":{"requests.cpu":"2"}}}"#,
        ],
        "",
    );
    lab.must(&["kubectl", "delete", "limitrange", "small", "-n", "probe-limits"], "");
    for namespace in ["probe-quota", "probe-limits"] {
        poll(&format!("{namespace} takes sidecars"), Duration::from_secs(20), || {
            let report = lab.report(&["inject-check", "-n", namespace, "--probe"]);
            let found = codes(&report.json);
            if found.is_empty() && report.code == 0 { Ok(()) } else { Err(format!("{found:?}")) }
        });
    }
}

/// Istiods that hang while their pods are ready, until it goes out of scope.
struct Frozen;

impl Frozen {
    fn both(lab: &Lab) -> Self {
        let label = "istio.io/rev=asm-1-30,app=istiod";
        let pods = lab.json(&["kubectl", "get", "pods", "-n", "aks-istio-system", "-l", label, "-o", "json"]);
        let frozen = Self;
        for pod in list(&pods["items"]) {
            lab.script("istiod", &["asm-1-30", "hang-ready", &text(&pod["metadata"]["name"])]);
        }
        frozen
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        drop(std::process::Command::new(crate::cluster::folder().join("istiod")).args(["asm-1-30", "on"]).status());
    }
}

/// istiod's pods are ready, its Service has endpoints, and nobody answers: nothing that can be read shows it.
pub fn shows_what_cannot_be_read() {
    let lab = Lab::take();
    lab.settle();
    let _frozen = Frozen::both(&lab);
    let report = lab.report(&["inject-check", "-n", "shop", "--probe", "--only", "INJ13"]);
    let probe = &probes(&report.json)["shop/shop"];
    assert_eq!(probe["computed"]["injected"], true, "{probe:#}");
    assert_eq!(
        (text(&probe["refusal"]["by"]), probe["refusal"]["onlyWithSidecar"].as_bool()),
        ("webhookUnreachable".into(), Some(true))
    );
    assert_eq!((report.code, codes(&report.json)), (1, vec!["error INJ13 Namespace shop".to_owned()]));
    let said = text(&report.json["findings"][0]["summary"]);
    assert!(said.contains("cannot reach istiod's webhook"), "{said}");
}

/// Who may see only a namespace still learns from the API server what nobody could compute; who may not create pods
/// learns which right that is.
pub fn users_of_one_namespace() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "probe");
    lab.settle();
    let dev = lab.user(NAMESPACE, "dev");
    let report = lab.report_as(&dev, &["inject-check", "--probe"]);
    let probe = &probes(&report.json)["probe/probe"];
    assert_eq!((text(&probe["answer"]), text(&probe["agreement"])), ("injected".into(), "told".into()));
    assert_eq!(report.code, 3, "other checks could not be done");
    assert_eq!(report.outcome("INJ13"), "passed");
    let reader = lab.user(NAMESPACE, "reader");
    let report = lab.report_as(&reader, &["inject-check", "--probe"]);
    assert_eq!((report.code, report.outcome("INJ13")), (3, "notChecked".to_owned()));
    let missing = serde_json::json!({"verb": "create", "resource": "pods", "namespace": NAMESPACE});
    assert!(list(&report.json["gaps"]).iter().any(|gap| gap["need"] == missing), "{:#}", report.json["gaps"]);
}

/// Nodes that take nothing, until it goes out of scope.
struct Cordoned<'a>(&'a Lab);

impl<'a> Cordoned<'a> {
    fn all(lab: &'a Lab) -> Self {
        lab.must(&["kubectl", "cordon", "-l", "kubernetes.io/os"], "");
        Self(lab)
    }
}

impl Drop for Cordoned<'_> {
    fn drop(&mut self) {
        self.0.run(&["kubectl", "uncordon", "-l", "kubernetes.io/os"], "");
    }
}

fn test_pods(lab: &Lab) -> Vec<String> {
    let label = "app.kubernetes.io/name=kubectl-asm-probe";
    let out = lab.must(&["kubectl", "get", "pods", "-A", "-l", label, "-o", "name"], "");
    out.lines().map(str::to_owned).collect()
}

pub fn creates_one_and_deletes_it() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "probe");
    lab.settle();
    let report = lab.report(&["inject-check", "-n", NAMESPACE, "--probe", "--create", "--yes"]);
    let created = &probes(&report.json)["probe/probe"]["created"];
    assert_eq!((text(&created["state"]), &created["deleted"]), ("ready".into(), &Value::Bool(true)));
    assert_eq!((report.code, codes(&report.json)), (0, Vec::new()));
    assert_eq!(test_pods(&lab), Vec::<String>::new());
    let pod = text(&created["pod"]);
    assert!(everything(&lab, NAMESPACE).keys().any(|name| name.contains(&pod)), "it was really there: its events are");

    let out = lab.asm(&["inject-check", "-n", NAMESPACE, "--probe", "--create"]);
    assert_eq!(out.code, 2, "nobody can be asked: {}{}", out.stdout, out.stderr);
    assert!(out.stderr.contains("--yes"), "{}", out.stderr);

    let _cordoned = Cordoned::all(&lab);
    let create = ["-n", NAMESPACE, "--probe", "--create", "--yes"];
    for after in ["0.3", "0.6", "1", "3"] {
        let out = interrupted(&lab, after, &create);
        assert_eq!(out.code, 130, "after {after} s\n{}{}", out.stdout, out.stderr);
        assert_eq!(test_pods(&lab), Vec::<String>::new(), "after {after} s");
    }
    let report = lab.report(&["inject-check", "-n", NAMESPACE, "--probe", "--create", "--yes", "--timeout", "4s"]);
    let created = &probes(&report.json)["probe/probe"]["created"];
    assert_eq!(
        (text(&created["state"]), &created["deleted"]),
        ("unschedulable".into(), &Value::Bool(true)),
        "{created:#}"
    );
    assert_eq!(codes(&report.json), ["warning INJ13 Namespace probe"]);
    assert_eq!(test_pods(&lab), Vec::<String>::new());
}
