//! `proxy-config` of a whole real sidecar, beside istioctl.

use crate::cluster::{Lab, Report, list, poll, text};
use crate::rights::Granted;
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

/// A bundle with a proxy gives the tables and findings that the proxy itself gives, and no key.
pub fn a_bundle_holds_a_proxy() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "fine-sidecar");
    lab.settle();
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("bundle.tar.gz");
    let bundle = path.to_str().expect("a name").to_owned();
    // What istiod sends between the two makes them differ for a moment.
    poll("the bundle is as the proxy", Duration::from_secs(20), || {
        let out = lab.plain(&["capture", &bundle, "--proxy", "deploy/web.genuine"]);
        assert_eq!(out.code, 0, "{}", out.stderr);
        for what in ["clusters", "listeners", "routes", "eds", "secrets", "bootstrap", "ecds"] {
            let live = lab.asm(&["proxy-config", what, "deploy/web", "-n", "genuine", "-o", "short"]).stdout;
            for target in ["deploy/web", "deployment/web.genuine"] {
                let kept = lab.asm(&["proxy-config", what, target, "--from", &bundle, "-o", "short"]);
                if kept.stdout != live {
                    return Err(format!("{what}:\n{live}\n{}{}", kept.stdout, kept.stderr));
                }
            }
        }
        Ok(())
    });
    let diff = |args: &[&str]| lab.report(&[&["proxy-status", "--diff"], args].concat());
    let pods = lab.json(&["kubectl", "get", "pods", "-n", "genuine", "-l", "app=web", "-o", "json"]);
    let pod = format!("{}.genuine", text(&list(&pods["items"])[0]["metadata"]["name"]));
    let kept = diff(&[&pod, "--from", &bundle]);
    assert_eq!((kept.code, &kept.json["view"]["same"]), (0, &serde_json::json!(true)), "{:#}", kept.json);
    assert_eq!(kept.json["view"], diff(&[&pod]).json["view"]);
    let out = lab.plain(&["capture", &bundle, "--proxy", "nobody.genuine"]);
    assert_eq!(out.code, 3, "{}", out.stderr);
    assert!(out.stderr.contains("nobody"), "{}", out.stderr);
    assert!(path.exists(), "what could be read is kept");
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

/// A proxy in sync has what istiod would send it; one that rejected its listeners has not.
pub fn what_istiod_would_send_and_what_the_proxy_has() {
    let lab = Lab::take();
    let differences = |report: &Report, kind: &str| -> (u64, Vec<String>) {
        let kinds = list(&report.json["view"]["kinds"]);
        let one = kinds.iter().find(|one| one["kind"] == kind).unwrap_or_else(|| panic!("no {kind}: {kinds:?}"));
        let names =
            list(&one["differences"]).into_iter().map(|d| format!("{} {}", text(&d["change"]), text(&d["name"])));
        (one["same"].as_u64().unwrap_or_default(), names.collect())
    };
    let pod = |lab: &Lab| {
        let pods = lab.json(&["kubectl", "get", "pods", "-n", "genuine", "-l", "app=web", "-o", "json"]);
        format!("{}.genuine", text(&list(&pods["items"])[0]["metadata"]["name"]))
    };
    {
        let _world = World::begin(&lab, "fine-sidecar");
        lab.settle();
        let pod = pod(&lab);
        poll("the proxy has everything", Duration::from_secs(20), || {
            let report = lab.report(&["proxy-status", &pod, "--diff"]);
            for (kind, at_least) in [("clusters", 10), ("listeners", 10), ("routes", 3), ("endpoints", 10)] {
                let (same, other) = differences(&report, kind);
                if same < at_least || !other.is_empty() {
                    return Err(format!("{kind}: {same} the same, {other:?}"));
                }
            }
            if report.code == 0 && report.json["view"]["same"] == true { Ok(()) } else { Err("not the same".into()) }
        });
    }
    let _world = World::begin(&lab, "sidecar-rejects");
    lab.settle();
    let report = lab.report(&["proxy-status", &pod(&lab), "--diff"]);
    assert_eq!(report.code, 1);
    assert_eq!(differences(&report, "clusters").1, Vec::<String>::new());
    assert_eq!(differences(&report, "listeners").1, ["differs virtualInbound"]);
    let out = lab.asm(&["proxy-status", &pod(&lab), "--diff"]);
    assert!(out.code == 1 && out.stdout.contains("add-header"), "{}", out.stdout);
}

/// Without the right to forward ports the missing right is named; with it the proxy is reached (here nothing listens).
pub fn a_missing_right_is_named() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "granted");
    lab.settle();
    let user = lab.user("audit", "auditor");
    let printed = lab.plain(&[
        "rbac",
        "--for",
        "proxy-config",
        "-n",
        "audit",
        "--to",
        "serviceaccount:audit:auditor",
        "-o",
        "json",
    ]);
    let printed: serde_json::Value = serde_json::from_str(&printed.stdout).expect("JSON from rbac");
    let objects = list(&printed["items"]);
    let _granted = Granted { lab: &lab, objects: objects.clone() };
    let ends_as = |kind: &str| {
        poll(&format!("the error is {kind}"), Duration::from_secs(20), || {
            let report = lab.report_as(&user, &["proxy-config", "clusters", "deploy/web", "-n", "audit"]);
            let error = &report.json["error"];
            if report.code == 2 && error["kind"] == kind { Ok(()) } else { Err(format!("{}: {error}", report.code)) }
        });
        text(&lab.report_as(&user, &["proxy-config", "clusters", "deploy/web", "-n", "audit"]).json["error"]["message"])
    };
    let mut less = objects.clone();
    for rules in less.iter_mut().filter_map(|object| object["rules"].as_array_mut()) {
        rules.retain(|rule| !list(&rule["resources"]).iter().any(|name| name == "pods/portforward"));
    }
    lab.apply(&less);
    let message = ends_as("forbidden");
    assert!(message.contains("pods/portforward in namespace audit"), "{message}");
    lab.apply(&objects);
    let message = ends_as("unreachable");
    assert!(message.contains("15000"), "{message}");
}
