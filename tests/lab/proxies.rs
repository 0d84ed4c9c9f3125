//! `proxy-status`: what istiods say about proxies, through a real port-forward.

use crate::cluster::{Lab, Report, list, poll, text};
use crate::rights::Granted;
use crate::world::{World, lines, same_live_and_bundled};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// States by `namespace/deployment`, from the rows of a report.
fn states(report: &Report) -> BTreeMap<String, Vec<String>> {
    let mut states: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in list(&report.json["view"]["proxies"]) {
        let pod = text(&row["name"]);
        let owner = pod.rsplitn(3, '-').last().unwrap_or(&pod).to_owned();
        states.entry(format!("{}/{owner}", text(&row["namespace"]))).or_default().push(text(&row["state"]));
    }
    states
}

fn of<'s>(states: &'s BTreeMap<String, Vec<String>>, owner: &str) -> Vec<&'s str> {
    states.get(owner).map(|all| all.iter().map(String::as_str).collect()).unwrap_or_default()
}

/// Without any flag every proxy is there, with its state; istioctl finds no istiod without a revision, and with one it
/// shows no state.
pub fn every_proxy_without_a_flag() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "fine-many-proxies");
    lab.settle();
    let report = same_live_and_bundled(&lab, &["proxy-status"]);
    assert_eq!(report.code, 0, "{:#}", report.json["findings"]);
    assert_eq!(lines(&report.json), Vec::<String>::new());
    let states = states(&report);
    assert_eq!(of(&states, "crowd/web").len(), 200);
    assert!(states.values().flatten().all(|state| state == "SYNCED"), "{states:?}");
    let injected = injected_pods(&lab);
    let mut listed: Vec<String> = list(&report.json["view"]["proxies"])
        .iter()
        .map(|row| format!("{}/{}", text(&row["namespace"]), text(&row["name"])))
        .collect();
    listed.sort();
    assert_eq!(listed, injected, "every pod with a proxy, and no other");

    let none = lab.run(&["istioctl", "proxy-status", "-i", "aks-istio-system"], "");
    assert!(none.code != 0 || !none.stdout.contains("crowd"), "{}{}", none.stdout, none.stderr);
    let revision = lab.must(&["istioctl", "proxy-status", "-i", "aks-istio-system", "--revision", "asm-1-30"], "");
    assert!(revision.contains("crowd") && !revision.contains("SYNCED"), "{revision}");
}

/// Names of all pods with a proxy, read off the cluster with kubectl alone.
fn injected_pods(lab: &Lab) -> Vec<String> {
    let pods = lab.json(&["kubectl", "get", "pods", "-A", "-o", "json"]);
    let has_proxy = |pod: &Value| {
        ["containers", "initContainers"]
            .iter()
            .any(|kind| list(&pod["spec"][*kind]).iter().any(|container| container["name"] == "istio-proxy"))
    };
    let mut names: Vec<String> = list(&pods["items"])
        .iter()
        .filter(|pod| has_proxy(pod) && pod["status"]["phase"] == "Running")
        .map(|pod| format!("{}/{}", text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"])))
        .collect();
    names.sort();
    names
}

/// The proxy that rejects shows Envoy's words and the object behind them.
pub fn a_rejection_is_explained() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "proxy-rejects");
    lab.settle();
    let report = same_live_and_bundled(&lab, &["proxy-status", "-n", "refused"]);
    assert_eq!(report.code, 1);
    assert_eq!(of(&states(&report), "refused/web"), ["ERROR", "ERROR"]);
    assert_eq!(of(&states(&report), "refused/api"), ["SYNCED"]);
    assert_eq!(lines(&report.json), ["error PRX11 Deployment refused/web"]);
    let out = lab.asm(&["proxy-status", "-n", "refused"]);
    for words in ["script load error", "add-header", "2 rejected"] {
        assert!(out.stdout.contains(words), "{words} is missing in\n{}", out.stdout);
    }
}

fn later(lab: &Lab) -> String {
    lab.must(&["date", "-u", "-d", "now + 30 minutes", "+%Y-%m-%dT%H:%M:%SZ"], "").trim().to_owned()
}

/// What no istiod lists is there all the same.
pub fn a_missing_proxy_is_listed() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "proxy-not-connected");
    lab.settle();
    let report = lab.report(&["proxy-status", "-n", "apart", "--now", &later(&lab)]);
    assert_eq!(report.code, 1);
    assert_eq!(of(&states(&report), "apart/web"), ["NOT CONNECTED", "NOT CONNECTED"]);
    assert_eq!(of(&states(&report), "apart/api"), ["SYNCED"]);
    assert_eq!(lines(&report.json), ["error PRX12 Deployment apart/web"]);
}

/// What is sent and never acknowledged is a warning once the grace is over, and no error.
pub fn a_silent_proxy_is_stale() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "proxy-stale");
    lab.settle();
    poll("the grace is over", Duration::from_secs(30), || {
        let report = lab.report(&["proxy-status", "-n", "silent", "--grace", "2s"]);
        let states = of(&states(&report), "silent/web").join(" ");
        match (states.as_str(), report.code) {
            ("STALE STALE", 0) if lines(&report.json) == ["warning PRX03 Deployment silent/web"] => Ok(()),
            _ => Err(format!("{states}, exit {}, {:?}", report.code, lines(&report.json))),
        }
    });
}

/// One istiod of two accepts connections and says nothing: the rest is complete, and nothing is called well that was not
/// seen.
pub fn a_frozen_istiod_costs_its_own_part() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "istiod-frozen");
    let begin = Instant::now();
    // A proxy that has just started need not be connected yet, so it is looked at as if it were older.
    let now = later(&lab);
    let report = lab.report(&["proxy-status", "-n", "beside", "--timeout", "15s", "--now", &now]);
    assert!(begin.elapsed().as_secs() < 17, "{:?}", begin.elapsed());
    assert_eq!(report.code, 3, "{:#}", report.json["findings"]);
    let view = &report.json["view"];
    let silent: Vec<Value> = list(&view["istiods"]).into_iter().filter(|i| i["answered"] == false).collect();
    assert_eq!(silent.len(), 1, "{view:#}");
    let frozen = text(&silent[0]["pod"]);
    let states = of(&states(&report), "beside/web").join(" ");
    assert!(states.contains("UNKNOWN") && states.contains("SYNCED"), "{states}");
    assert_eq!(states.matches("UNKNOWN").count() + states.matches("SYNCED").count(), 4, "{states}");
    let named = list(&report.json["gaps"]).iter().any(|gap| gap["hint"].to_string().contains(&frozen));
    assert!(named, "no gap names {frozen}: {:#}", report.json["gaps"]);
    let out = lab.asm(&["proxy-status", "-n", "beside"]);
    assert!(out.stdout.contains(&frozen), "{}", out.stdout);
}

/// Which right is missing is said once, and what can be learnt without it is. Kubernetes 1.34 wants `get` for a WebSocket.
pub fn rights_to_port_forward() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "granted");
    lab.settle();
    let user = lab.user("audit", "auditor");
    let printed = lab.plain(&["rbac", "--for", "proxy-status", "--to", "serviceaccount:audit:auditor", "-o", "json"]);
    let printed: Value = serde_json::from_str(&printed.stdout).expect("JSON from rbac");
    let with = |resource: &str, verbs: &[&str]| -> Vec<Value> {
        let mut objects = list(&printed["items"]);
        for object in &mut objects {
            let here = object["metadata"]["namespace"] == "aks-istio-system" && !verbs.is_empty();
            let Some(rules) = object["rules"].as_array_mut() else { continue };
            rules.retain(|rule| !list(&rule["resources"]).iter().any(|name| name == "pods/portforward"));
            if here {
                rules.push(serde_json::json!({"apiGroups": [""], "resources": [resource], "verbs": verbs}));
            }
        }
        objects
    };
    let _granted = Granted { lab: &lab, objects: list(&printed["items"]) };
    let look = |objects: Vec<Value>, complete: bool| -> Report {
        lab.apply(&objects);
        let mut last = None;
        poll("the API server learns of the changed role", Duration::from_secs(20), || {
            let report = lab.report_as(&user, &["proxy-status"]);
            let gaps = list(&report.json["gaps"]).len();
            last = Some(report);
            if (gaps == 0) == complete { Ok(()) } else { Err(format!("{gaps} gaps")) }
        });
        last.expect("a report")
    };
    let report = look(with("pods/portforward", &["get"]), true);
    assert_eq!(report.code, 0, "{:#}", report.json["gaps"]);
    for (resource, verbs, knows_version) in
        [("pods/portforward", vec!["create"], false), ("pods/proxy", vec!["get"], true)]
    {
        let report = look(with(resource, &verbs), false);
        assert_eq!(report.code, 3, "{resource} {verbs:?}");
        let gaps = list(&report.json["gaps"]);
        let needs: Vec<&Value> =
            gaps.iter().map(|gap| &gap["need"]).filter(|need| need["resource"] == "pods/portforward").collect();
        assert_eq!(needs.len(), 1, "once: {gaps:#?}");
        assert_eq!(
            *needs[0],
            serde_json::json!({"verb": "get", "resource": "pods/portforward", "namespace": "aks-istio-system"})
        );
        let view = &report.json["view"];
        assert!(
            list(&view["istiods"]).iter().all(|i| i["answered"] == false && i["version"].is_string() == knows_version),
            "{view:#}"
        );
        let synced = list(&view["proxies"]).iter().filter(|row| row["state"] != "UNKNOWN").count();
        assert_eq!(synced, 0, "nothing was seen: {view:#}");
    }
    lab.run(
        &["kubectl", "delete", "--ignore-not-found", "-f", "-"],
        &crate::cluster::kube_list(&list(&printed["items"])),
    );
}
