//! Worlds that are too large for a file of objects.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use kubectl_asm::checks::{CAUSES, by_code};
use kubectl_asm::engine::run::Status;
use kubectl_asm::engine::{Finding, Severity};
use serde_json::{Value, json};
use support::{base, evaluate, snapshot};

fn proxies(count: usize, revision: &str) -> Vec<Value> {
    (0..count)
        .map(|index| {
            json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": format!("web-{index}"), "namespace": "shop", "annotations": {"istio.io/rev": revision}},
                "spec": {"containers": [{"name": "istio-proxy", "image": "proxyv2:v1.30.1-1"}]},
                "status": {"phase": "Running"}})
        })
        .collect()
}

fn judge(pods: Vec<Value>, scope: Option<Vec<String>>) -> (Vec<Finding>, Status) {
    let mut objects = base("healthy");
    // One ready istiod is enough, and half of the pods.
    objects.retain(|object| object["metadata"]["name"] != "istiod-asm-1-30-5d8f7c9b6-m4qzr");
    objects.extend(pods);
    let check = by_code("CAP04").unwrap();
    let world = snapshot(&objects, scope, &[]);
    let (findings, outcomes) = evaluate(&world, "2026-07-15T12:00:00Z".parse().unwrap(), &[check], CAUSES);
    (findings, outcomes[0].status.clone())
}

/// Microsoft measured 15,000 sidecars per istiod while pods are replaced
/// (<https://learn.microsoft.com/azure/aks/istio-scale>); two thirds of that are near.
#[test]
fn ten_thousand_proxies_for_each_istiod_are_told() {
    let (findings, _) = judge(proxies(10_000, "asm-1-30"), None);
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.summary, "each ready istiod of asm-1-30 serves about 10000 proxies");
    assert_eq!(finding.subject.name, "istiod-asm-1-30");
    let commands: Vec<_> = finding.remedy.steps.iter().filter_map(|step| step.command.as_ref()).collect();
    assert!(commands.iter().any(|command| command.contains(&"{\"spec\":{\"maxReplicas\":8}}".to_owned())));
    assert!(finding.remedy.steps.iter().any(|step| step.text.contains("discoverySelectors")));
    assert!(!finding.keys.is_empty() && !finding.evidence.is_empty());
}

#[test]
fn fewer_proxies_and_those_of_another_revision_are_none_of_its_business() {
    assert_eq!(judge(proxies(9_999, "asm-1-30"), None), (Vec::new(), Status::Passed));
    assert_eq!(judge(proxies(10_000, "asm-1-29"), None), (Vec::new(), Status::Passed));
}

#[test]
fn a_part_of_the_namespaces_can_prove_too_many_and_never_few_enough() {
    let shop = Some(vec!["shop".to_owned()]);
    assert_eq!(judge(proxies(10_000, "asm-1-30"), shop.clone()).0.len(), 1);
    assert!(matches!(judge(proxies(10, "asm-1-30"), shop).1, Status::NotApplicable(_)));
}
