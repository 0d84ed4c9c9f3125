//! `precheck` against the real API server and the real programs of the lab.

use crate::cluster::{Lab, list, text};
use crate::world::World;
use serde_json::{Value, json};

fn command<'r>(report: &'r Value, name: &str, namespaces: Value) -> &'r Value {
    let all = report["view"]["commands"].as_array().expect("commands");
    let is = |one: &&Value| one["command"] == name && one["namespaces"] == namespaces;
    all.iter().find(is).unwrap_or_else(|| panic!("no row for {name} in {namespaces}: {all:#?}"))
}

pub fn of_an_admin_and_of_one_namespace() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "probe");
    lab.settle();
    let report = lab.report(&["precheck"]);
    assert_eq!((report.code, crate::world::lines(&report.json)), (0, Vec::new()), "{:#}", report.json);
    assert!(list(&report.json["view"]["commands"]).iter().all(|one| one["can"] == "yes"));
    assert_eq!(report.json["view"]["revisions"], json!(["asm-1-30"]));
    // The programs of the lab say their real versions.
    let programs = list(&report.json["view"]["programs"]);
    let version = |name: &str| text(&programs.iter().find(|one| one["name"] == name).expect("a program")["version"]);
    let kubectl = lab.json(&["kubectl", "version", "--client", "-o", "json"]);
    assert_eq!(version("kubectl"), text(&kubectl["clientVersion"]["gitVersion"]));
    let istioctl = lab.json(&["istioctl", "version", "--remote=false", "-o", "json"]);
    assert_eq!(version("istioctl"), text(&istioctl["clientVersion"]["version"]));
    // The line for this cluster works as printed.
    for line in list(&report.json["view"]["lines"]) {
        let words: Vec<String> = list(&line).iter().map(text).collect();
        lab.must(&words.iter().map(String::as_str).collect::<Vec<_>>(), "");
    }

    // What it says about rights is what the commands then find.
    let dev = lab.user("probe", "dev");
    let report = lab.report_as(&dev, &["precheck"]);
    assert_eq!((report.code, report.outcome("ENV10")), (3, "notChecked".to_owned()));
    assert_eq!(report.json["view"]["connection"]["user"], "system:serviceaccount:probe:dev");
    assert_eq!(command(&report.json, "status", Value::Null)["can"], "no");
    let own = command(&report.json, "inject-check --probe", json!(["probe"]));
    let missing = list(&own["missing"]);
    let lacks = |verb: &str| missing.contains(&json!({"verb": verb, "resource": "pods", "namespace": "probe"}));
    assert_eq!((own["can"].as_str(), lacks("create"), lacks("delete")), (Some("part"), false, false), "{own:#}");
    let reader = lab.user("probe", "reader");
    let report = lab.report_as(&reader, &["precheck", "-n", "probe", "--for", "inject-check"]);
    let own = command(&report.json, "inject-check --probe", json!(["probe"]));
    let need = json!({"verb": "create", "resource": "pods", "namespace": "probe"});
    assert!(list(&own["missing"]).contains(&need), "{own:#}");
    let probed = lab.report_as(&reader, &["inject-check", "-n", "probe", "--probe"]);
    assert!(list(&probed.json["gaps"]).iter().any(|gap| gap["need"] == need), "{:#}", probed.json["gaps"]);
}
