//! `conflicts`: its purge list against a real purge, and its way out run on a real cluster with two Istios.

use crate::cluster::{Lab, folder, list, poll, text};
use crate::world::{World, lines, same_live_and_bundled};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// What Kubernetes makes and deletes behind other objects; nobody lists or deletes these by themselves.
const DERIVED: [&str; 5] = [
    "apiservices.apiregistration.k8s.io",
    "endpoints",
    "endpointslices.discovery.k8s.io",
    "ipaddresses.networking.k8s.io",
    "replicasets.apps",
];

/// Every object that the report says a purge would delete, as `[resource, namespace/name]`.
fn printed(report: &Value) -> BTreeSet<(String, String)> {
    let path = |object: &Value| format!("{}/{}", object["namespace"].as_str().unwrap_or("-"), text(&object["name"]));
    let purge = &report["view"]["purge"];
    let direct = list(&purge["kinds"]).into_iter().map(|kind| (text(&kind["resource"]), list(&kind["objects"])));
    let lost = list(&purge["lost"]).into_iter().map(|lost| (text(&lost["definition"]), list(&lost["resources"])));
    direct.chain(lost).flat_map(|(resource, all)| all.into_iter().map(move |o| (resource.clone(), path(&o)))).collect()
}

pub fn purge_list_equals_a_real_purge() {
    // Not beside the shared lab: what is purged there would be missed by every other test.
    let _turn = Lab::take();
    let out =
        Command::new(folder().join("purge")).arg(env!("CARGO_BIN_EXE_kubectl-asm")).output().expect("tests/lab/purge");
    assert!(out.status.success(), "tests/lab/purge: {}", String::from_utf8_lossy(&out.stderr));
    let told: Value = serde_json::from_slice(&out.stdout).expect("JSON from tests/lab/purge");
    assert_eq!(told["report"]["view"]["purge"]["complete"], true, "{}", told["report"]["gaps"]);
    let removed: BTreeSet<(String, String)> = list(&told["removed"])
        .iter()
        .map(|pair| (text(&pair[0]), text(&pair[1])))
        .filter(|(resource, _)| !DERIVED.contains(&resource.as_str()))
        .collect();
    let printed = printed(&told["report"]);
    assert_eq!(printed, removed);
    // The add-on's istiod is among it, and so are resources of users: otherwise this would show little.
    for (resource, object) in [
        ("deployments.apps", "aks-istio-system/istiod-asm-1-30"),
        ("virtualservices.networking.istio.io", "shop/web"),
        ("secrets", "shop/labelled"),
    ] {
        assert!(printed.contains(&(resource.to_owned(), object.to_owned())), "{resource} {object}");
    }
}

/// Objects of the add-on that must outlive the way out: `resource/name uid`.
fn of_add_on(lab: &Lab) -> String {
    let format = "-o=jsonpath={range .items[*]}{.kind}/{.metadata.name} {.metadata.uid}{\"\\n\"}{end}";
    let own = "deployments,services,serviceaccounts,horizontalpodautoscalers,poddisruptionbudgets";
    let named = "istio-sidecar-injector-asm-1-30-aks-istio-system";
    let definitions = lab.must(&["kubectl", "get", "crd", "-l", "app=istio-pilot", format], "");
    let webhook =
        lab.must(&["kubectl", "get", "mutatingwebhookconfiguration", named, "-o=jsonpath={.metadata.uid}"], "");
    let all = lab.must(&["kubectl", "get", own, "-n", "aks-istio-system", format], "");
    let resource = ["kubectl", "get", "virtualservice", "web", "-n", "twice", "-o=jsonpath={.metadata.uid}"];
    format!("{all}{definitions}{webhook} {}", lab.must(&resource, ""))
}

pub fn the_way_out_of_two_istios() {
    let lab = Lab::take();
    let world = World::begin(&lab, "double-injection");
    lab.settle();
    // Two webhooks see the pod; the API server calls them by name, and the last one wins.
    let pods: Value =
        serde_json::from_str(&lab.must(&["kubectl", "get", "pods", "-n", "twice", "-o", "json"], "")).unwrap();
    for pod in list(&pods["items"]) {
        let all = [list(&pod["spec"]["containers"]), list(&pod["spec"]["initContainers"])].concat();
        assert_eq!(all.iter().filter(|c| c["name"] == "istio-proxy").count(), 1, "one proxy, though two injected");
        assert_eq!(pod["metadata"]["annotations"]["istio.io/rev"], "default", "istio-sidecar-injector is called last");
    }
    let report = same_live_and_bundled(&lab, &["conflicts"]);
    assert_eq!(report.code, 1);
    let view = &report.json["view"];
    let rival = &view["rivals"][0];
    assert_eq!((text(&rival["kind"]), text(&rival["namespace"])), ("selfManagedIstio".into(), "istio-system".into()));
    assert_eq!(rival["now"], serde_json::json!({"namespaces": 1, "workloads": 1, "pods": 1}), "{rival}");
    assert_eq!(rival["alive"], true);
    let stages = list(&view["instead"]);
    let names: Vec<String> = stages.iter().map(|stage| text(&stage["stage"])).collect();
    assert_eq!(names, ["backUp", "cleanUp", "cleanUpRoles", "disable", "enable", "restore", "recreatePods"]);
    let before = of_add_on(&lab);
    let files = Path::new(env!("CARGO_TARGET_TMPDIR")).join("way-out");
    std::fs::create_dir_all(&files).unwrap();
    let mut azure = Vec::new();
    for step in stages.iter().flat_map(|stage| list(&stage["steps"])) {
        let words: Vec<String> = list(&step["command"]).iter().map(text).collect();
        match words.first().map(String::as_str) {
            // A pod that nobody recreates is left to the reader.
            None => continue,
            Some("az") => {
                azure.push(words.join(" "));
                continue;
            }
            Some(_) => {}
        }
        let mut command = vec!["env", "-C", files.to_str().expect("UTF-8 path")];
        command.extend(words.iter().map(String::as_str));
        lab.must(&command, "");
    }
    const CLUSTER: &str = "-g <resource-group> -n <cluster>";
    assert_eq!(
        azure,
        [
            format!("az aks mesh disable {CLUSTER}"),
            format!("az aks mesh enable {CLUSTER} --revision asm-1-30"),
            format!("az aks mesh enable-ingress-gateway {CLUSTER} --ingress-gateway-type external"),
        ]
    );
    let kept = std::fs::read_to_string(files.join("istio-resources.yaml")).unwrap();
    assert!(kept.contains("kind: List") && !kept.contains("    resourceVersion: "), "{kept}");
    lab.settle();
    assert_eq!(of_add_on(&lab), before, "the add-on's objects are the ones that were there before");
    poll("after the way out nothing conflicts", Duration::from_secs(60), || {
        let after = lab.report(&["conflicts"]);
        let left = lines(&after.json);
        let rivals = list(&after.json["view"]["rivals"]);
        if left.is_empty() && after.code == 0 && rivals.is_empty() {
            Ok(())
        } else {
            Err(format!("exit {}, {}, {rivals:?}", after.code, left.join("; ")))
        }
    });
    drop(world);
}

pub fn silent_on_a_healthy_cluster() {
    let lab = Lab::take();
    let report = same_live_and_bundled(&lab, &["conflicts"]);
    assert_eq!(lines(&report.json), Vec::<String>::new());
    assert_eq!(report.code, 0, "{:#}", report.json["gaps"]);
    assert_eq!(report.json["view"]["rivals"], serde_json::json!([]));
    assert_eq!(report.json["view"]["instead"], serde_json::json!([]), "there is nothing to clean up");
    let out = lab.asm(&["conflicts"]);
    for line in out.stdout.lines() {
        assert!(!line.trim_start().starts_with(['✗', '!', '?']), "conflicts says: {line}");
    }
}

/// With the rights of one namespace the answer is smaller, and says by what.
pub fn one_namespace_user() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "one-namespace");
    lab.settle();
    let user = lab.user("solo", "dev");
    let report = lab.report_as(&user, &["conflicts"]);
    assert_eq!(lines(&report.json), Vec::<String>::new());
    assert_eq!(report.code, 3);
    assert_eq!(report.json["view"]["purge"]["complete"], false);
    assert_eq!(report.json["view"]["rivalsComplete"], false);
    crate::world::every_gap_names_a_right(&report.json);
}
