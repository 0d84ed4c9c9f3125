//! `proxy-config` of a whole real sidecar, beside istioctl.

use crate::cluster::{Lab, list, poll, text};
use crate::table::{CLUSTERS, EDS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, cells};
use crate::world::World;
use std::time::Duration;

/// Prints the same tables as istioctl for the same proxy, and judges it.
pub fn tables_are_those_of_istioctl() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "fine-sidecar");
    lab.settle();
    let pods = lab.json(&["kubectl", "get", "pods", "-n", "genuine", "-l", "app=web", "-o", "json"]);
    let pod = format!("{}.genuine", text(&list(&pods["items"])[0]["metadata"]["name"]));
    for (theirs, ours, headers, at_least) in [
        ("clusters", "clusters", CLUSTERS, 10),
        ("listeners", "listeners", LISTENERS, 10),
        ("routes", "routes", ROUTES, 5),
        ("endpoints", "endpoints", ENDPOINTS, 10),
        ("eds", "eds", EDS, 10),
        ("secret", "secrets", SECRETS, 2),
    ] {
        // What istiod sends between the two answers makes them differ for a moment.
        poll(theirs, Duration::from_secs(20), || {
            let recorded = cells(&lab.must(&["istioctl", "proxy-config", theirs, &pod], ""), headers);
            let printed = cells(&lab.asm(&["proxy-config", ours, &pod, "-o", "short"]).stdout, headers);
            if recorded.len() < at_least {
                return Err(format!("{} rows, not {at_least}", recorded.len()));
            }
            if recorded == printed { Ok(()) } else { Err(format!("{recorded:#?}\n{printed:#?}")) }
        });
    }
    let out = lab.asm(&["proxy-config", "all", "deploy/web", "-n", "genuine", "-o", "json"]);
    let report: serde_json::Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{e}: {}", out.stderr));
    assert_eq!(out.code, 0, "{:#}", report["findings"]);
    assert_eq!(report["summary"]["warnings"], 0, "{:#}", report["findings"]);
    assert_eq!(report["gaps"], serde_json::json!([]));
    let ports: std::collections::BTreeSet<String> =
        list(&report["view"]["listeners"]).iter().map(|row| text(&row["name"])).collect();
    assert!(ports.len() >= 10, "{ports:?}");
    assert_eq!(list(&report["view"]["secrets"]).len(), 2);
}

/// `log` without `--set` changes nothing; what `--set` prints sets the levels back.
pub fn levels_are_read_set_and_set_back() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "fine-sidecar");
    lab.settle();
    let log = ["proxy-config", "log", "deploy/web", "-n", "genuine"];
    let before = lab.asm(&log).stdout;
    assert_eq!(lab.asm(&log).stdout, before);
    let set = lab.asm(&["proxy-config", "log", "deploy/web", "-n", "genuine", "--set", "http:debug,rbac:trace"]);
    let back = set.stderr.lines().find(|line| line.contains("--set")).expect("how the levels are set back");
    assert_ne!(lab.asm(&log).stdout, before);
    let words: Vec<&str> = back.split_whitespace().skip(2).collect();
    assert_eq!(lab.asm(&words).stdout, before, "{back}");
}
