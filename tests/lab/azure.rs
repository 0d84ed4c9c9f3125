//! `azure` and `metrics`: a real cluster against what a recorded `az` says about it, and what real istiods count.

use crate::cluster::{Lab, Report, folder, list, poll, text};
use crate::world::{World, lines};
use serde_json::{Value, json};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A folder with an `az` that answers for the lab's cluster. What it says of the cluster is given; the rest is what Azure
/// says of any cluster.
fn az(show: &Value) -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("az");
    std::fs::create_dir_all(&dir).unwrap();
    let offered = json!({"meshRevisions": [{"revision": "asm-1-30", "upgrades": [], "compatibleWith": [
        {"name": "KubernetesOfficial", "versions": ["1.32", "1.33", "1.34", "1.35", "1.36"]}]}]});
    let list = json!([{"name": show["name"], "resourceGroup": show["resourceGroup"], "nodeResourceGroup": show["nodeResourceGroup"]}]);
    let upgrades = json!({"revision": "asm-1-30", "upgrades": [], "compatibleWith": []});
    let version = json!({"azure-cli": "2.90.0", "extensions": {}});
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2 $3\" in\n\"version \"*) echo '{version}' ;;\n\"aks list \"*) echo '{list}' ;;\n\"aks show \"*) echo '{show}' ;;\n\
         \"aks mesh get-upgrades\") echo '{upgrades}' ;;\n\"aks mesh get-revisions\") echo '{offered}' ;;\n*) echo \"not expected: $*\" >&2; exit 1 ;;\nesac\n"
    );
    let program = dir.join("az");
    std::fs::write(&program, script).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// What Azure says of a cluster that is as the lab's healthy one. The group of its nodes is that of `tests/lab/nodes`.
fn profile() -> Value {
    json!({
        "name": "lab", "resourceGroup": "rg-lab", "nodeResourceGroup": "MC_lab_lab_westeurope", "location": "westeurope",
        "powerState": {"code": "Running"}, "provisioningState": "Succeeded", "kubernetesVersion": "1.34.2",
        "currentKubernetesVersion": "1.34.2", "sku": {"name": "Base", "tier": "Standard"}, "supportPlan": "KubernetesOfficial",
        "serviceMeshProfile": {"mode": "Istio", "istio": {"revisions": ["asm-1-30"], "certificateAuthority": null, "components": {
            "ingressGateways": [{"enabled": true, "mode": "External"}], "egressGateways": null,
            "proxyRedirectionMechanism": "InitContainers"}}},
    })
}

fn ask(lab: &Lab, show: &Value, args: &[&str]) -> Report {
    let dir = az(show);
    let facts = folder().join("facts.yaml");
    let command = format!("PATH={}:$PATH exec kubectl asm \"$@\" -o json --facts {}", dir.display(), facts.display());
    let mut argv = vec!["sh", "-c", &command, "sh"];
    argv.extend(args);
    let out = lab.run(&argv, "");
    let json =
        serde_json::from_str(&out.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}\n{}{}", out.stdout, out.stderr));
    Report { code: out.code, json }
}

/// The words of the commands of the first finding.
fn commands(report: &Report) -> String {
    let steps = list(&report.json["findings"][0]["remedy"]["steps"]);
    let words = |step: &Value| list(&step["command"]).iter().map(text).collect::<Vec<_>>().join(" ");
    steps.iter().map(words).collect::<Vec<_>>().join("\n")
}

/// Azure and the cluster agree, then differ in one thing at a time.
pub fn the_profile_against_the_cluster() {
    let lab = Lab::take();
    let healthy = ask(&lab, &profile(), &["azure"]);
    assert_eq!((healthy.code, lines(&healthy.json)), (0, Vec::new()), "{:#}", healthy.json);
    let compared = list(&healthy.json["view"]["compared"]);
    assert!(compared.len() >= 5 && compared.iter().all(|row| row["agree"] == true), "{compared:?}");
    let status = ask(&lab, &profile(), &["status", "--az"]);
    assert_eq!((status.code, lines(&status.json)), (0, Vec::new()), "{:#}", status.json["findings"]);

    let istio = "/serviceMeshProfile/istio";
    let vault = "/subscriptions/0/resourceGroups/rg/providers/Microsoft.KeyVault/vaults/ca";
    for (pointer, value, line, command) in [
        (
            "/revisions",
            json!(["asm-1-30", "asm-1-31"]),
            "error AZ03 Revision asm-1-31",
            "az aks update -g rg-lab -n lab",
        ),
        (
            "/components/ingressGateways",
            json!([{"enabled": true, "mode": "External"}, {"enabled": true, "mode": "Internal"}]),
            "error AZ03 Service aks-istio-ingress/aks-istio-ingressgateway-internal",
            "az aks update -g rg-lab -n lab",
        ),
        (
            "/components/ingressGateways",
            json!([]),
            "error AZ03 Service aks-istio-ingress/aks-istio-ingressgateway-external",
            "az aks mesh enable-ingress-gateway -g rg-lab -n lab --ingress-gateway-type external",
        ),
        (
            "/components/egressGateways",
            json!([{"enabled": true, "name": "out", "namespace": null, "gatewayConfigurationName": "sgc"}]),
            "error AZ03 Service aks-istio-egress/out",
            "az aks update -g rg-lab -n lab",
        ),
        (
            "/certificateAuthority",
            json!({"plugin": {"keyVaultId": vault, "rootCertObjectName": "r", "certObjectName": "c", "keyObjectName": "k", "certChainObjectName": "h"}}),
            "error AZ03 SecretProviderClass aks-istio-system/istio-spc-asm-1-30",
            "az aks update -g rg-lab -n lab",
        ),
        (
            "/components/proxyRedirectionMechanism",
            json!("CNIChaining"),
            "error AZ03 DaemonSet aks-istio-system/azure-service-mesh-istio-cni-addon-node",
            "az aks update -g rg-lab -n lab",
        ),
    ] {
        let mut show = profile();
        *show.pointer_mut(&format!("{istio}{pointer}")).unwrap() = value;
        let report = ask(&lab, &show, &["azure", "--only", "AZ03"]);
        assert_eq!((report.code, lines(&report.json)), (1, vec![line.to_owned()]), "{pointer}");
        assert!(commands(&report).contains(command), "{pointer}: {}", commands(&report));
        // The same while AKS is at work is no fault.
        show["provisioningState"] = "Updating".into();
        let report = ask(&lab, &show, &["azure", "--only", "AZ03"]);
        assert_eq!((report.code, report.json["summary"]["errors"].as_u64()), (0, Some(0)), "{pointer}");
    }
    let mut off = profile();
    off["serviceMeshProfile"]["mode"] = "Disabled".into();
    let report = ask(&lab, &off, &["azure"]);
    assert_eq!((report.code, lines(&report.json)), (1, vec!["error AZ03 Cluster add-on".to_owned()]));
}

fn value(report: &Report, metric: &str) -> f64 {
    list(&report.json["view"]["istiods"])
        .iter()
        .flat_map(|istiod| list(&istiod["rows"]))
        .filter(|row| row["metric"] == metric)
        .filter_map(|row| row["value"].as_f64())
        .sum()
}

/// Numbers of real istiods: of a mesh that is fine, and of one with a proxy that rejects.
pub fn what_istiods_count() {
    let lab = Lab::take();
    // Another test may have started the istiods anew: then they have injected nothing yet.
    lab.must(&["kubectl", "rollout", "restart", "deployment/web", "-n", "shop"], "");
    lab.settle();
    let mut report = lab.report(&["metrics"]);
    // Proxies of pods that have just gone are counted for a moment.
    poll("what is counted is what is there", Duration::from_secs(60), || {
        report = lab.report(&["metrics"]);
        let istiods = list(&report.json["view"]["istiods"]);
        let answered = istiods.len() >= 2 && istiods.iter().all(|istiod| istiod["answered"] == true);
        let counted = value(&report, "injection requests") > 0.0 && value(&report, "pushes") > 0.0;
        let there = list(&lab.report(&["proxy-status"]).json["view"]["proxies"]).len();
        let connected = value(&report, "proxies connected") as usize == there;
        let silent = report.code == 0 && lines(&report.json).is_empty();
        match answered && counted && connected && silent {
            true => Ok(()),
            false => Err(format!("{there} proxies, exit {}, {:#}", report.code, report.json)),
        }
    });

    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join("metrics.tar.gz");
    let bundle = bundle.to_str().expect("UTF-8 path");
    assert!(matches!(lab.asm(&["capture", bundle]).code, 0 | 3));
    let offline = lab.report(&["metrics", "--from", bundle]);
    assert_eq!((offline.code, lines(&offline.json)), (0, Vec::new()));
    assert_eq!(value(&offline, "proxies connected"), value(&report, "proxies connected"));
    assert!(value(&offline, "pushes") >= value(&report, "pushes"), "counters only grow");

    let before = value(&report, "rejects");
    let _world = World::begin(&lab, "proxy-rejects");
    lab.settle();
    poll("rejections are counted", Duration::from_secs(60), || {
        let report = lab.report(&["metrics"]);
        let now = value(&report, "rejects");
        match list(&report.json["findings"]).iter().find(|finding| finding["code"] == "TEL05") {
            Some(finding) if now > before => {
                assert_eq!((report.code, text(&finding["severity"])), (0, "info".to_owned()));
                assert_eq!(finding["remedy"]["steps"][0]["command"], json!(["kubectl", "asm", "proxy-status"]));
                Ok(())
            }
            _ => Err(format!("{before} before, {now} now")),
        }
    });
    let out = lab.asm(&["metrics"]);
    assert!(out.stdout.contains("kubectl asm proxy-status"), "{}", out.stdout);
}
