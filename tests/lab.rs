//! The real-cluster tier: `kubectl asm` as a plugin, against a real API server with real istiods.
//!
//! Needs root and a running lab; `tests/lab/run` does it all (build, up, this, down). With a lab up:
//! `cargo test --test lab`. Plain `cargo test` leaves this target out.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout, missing_docs)]

#[path = "lab/azure.rs"]
mod azure;
#[path = "lab/cluster.rs"]
mod cluster;
#[path = "lab/conflicts.rs"]
mod conflicts;
#[path = "lab/logs.rs"]
mod logs;
#[path = "lab/matrix.rs"]
mod matrix;
#[path = "lab/precheck.rs"]
mod precheck;
#[path = "lab/probe.rs"]
mod probe;
#[path = "lab/proxies.rs"]
mod proxies;
#[path = "lab/proxy_config.rs"]
mod proxy_config;
#[path = "lab/rights.rs"]
mod rights;
#[path = "support/table.rs"]
mod table;
#[path = "lab/world.rs"]
mod world;

use cluster::{Lab, text};
use serde_json::Value;
use world::{World, lines, play};

macro_rules! worlds {
    ($($test:ident: $file:literal,)*) => { $(#[test] fn $test() { play($file); })* };
}

worlds! {
    blocked_kind: "blocked-kind",
    both_labels: "both-labels",
    canary: "canary",
    canary_without_shared_config: "canary-without-shared-config",
    cni_missing: "cni-missing",
    cni_old_pods: "cni-old-pods",
    cni_unready_and_old_pods: "cni-unready-and-old-pods",
    double_injection: "double-injection",
    envoy_filter_never_applies: "envoy-filter-never-applies",
    fine_autoscaler: "fine-autoscaler",
    fine_canary_shared_config: "fine-canary-shared-config",
    fine_empty_namespaces: "fine-empty-namespaces",
    fine_many_proxies: "fine-many-proxies",
    fine_nodes: "fine-nodes",
    fine_pods: "fine-pods",
    fine_proxies: "fine-proxies",
    fine_resources: "fine-resources",
    fine_shared_config: "fine-shared-config",
    fine_sidecar: "fine-sidecar",
    fine_webhooks: "fine-webhooks",
    fine_young_pods: "fine-young-pods",
    gateway_down: "gateway-down",
    gateway_no_address: "gateway-no-address",
    hpa_at_max: "hpa-at-max",
    hpa_min_one: "hpa-min-one",
    http_proxy_without_entry: "http-proxy-without-entry",
    injector_down: "injector-down",
    injector_missing: "injector-missing",
    istio_injection_only: "istio-injection-only",
    istiod_down_and_shared_config: "istiod-down-and-shared-config",
    istiod_frozen: "istiod-frozen",
    istiod_one_down: "istiod-one-down",
    job_held_by_sidecar: "job-held-by-sidecar",
    label_and_autoscaler: "label-and-autoscaler",
    label_later: "label-later",
    left_over_shared_config: "left-over-shared-config",
    namespace_not_discovered: "namespace-not-discovered",
    no_policy_webhook: "no-policy-webhook",
    no_room: "no-room",
    old_nodes: "old-nodes",
    osm_left_over: "osm-left-over",
    policy_denied: "policy-denied",
    proxy_not_connected: "proxy-not-connected",
    proxy_oom: "proxy-oom",
    proxy_port: "proxy-port",
    proxy_rejects: "proxy-rejects",
    proxy_stale: "proxy-stale",
    proxy_twice: "proxy-twice",
    proxy_uid: "proxy-uid",
    release_failed: "release-failed",
    removed_revision: "removed-revision",
    resource_in_istio_system: "resource-in-istio-system",
    resource_of_absent_revision: "resource-of-absent-revision",
    rev_missing: "rev-missing",
    self_managed: "self-managed",
    self_managed_left: "self-managed-left",
    settings_lost_by_upgrade: "settings-lost-by-upgrade",
    shared_config_blocked: "shared-config-blocked",
    shared_config_tabs: "shared-config-tabs",
    shared_config_unknown_field: "shared-config-unknown-field",
    shared_config_wrong_place: "shared-config-wrong-place",
    sidecar_rejects: "sidecar-rejects",
    sidecar_restart_policy_dropped: "sidecar-restart-policy-dropped",
    stale_sidecars: "stale-sidecars",
    strict_without_merge: "strict-without-merge",
    system_namespace_labelled: "system-namespace-labelled",
    tag: "tag",
    tag_gone: "tag-gone",
    telemetry_blocked: "telemetry-blocked",
    webhook_denied: "webhook-denied",
}

#[test]
fn healthy() {
    let lab = Lab::take();
    let report = world::same_live_and_bundled(&lab, &["status"]);
    assert_eq!(lines(&report.json), Vec::<String>::new(), "status is silent on a healthy cluster");
    assert_eq!(report.code, 0);
    for ns in ["default", "shop", "payments", "tools"] {
        let report = world::same_live_and_bundled(&lab, &["inject-check", "-n", ns]);
        assert_eq!(lines(&report.json), Vec::<String>::new(), "inject-check is silent in {ns}");
        assert_eq!(report.code, 0, "inject-check -n {ns}");
    }
    // What a person sees, not only what a script reads.
    for args in [&["status"][..], &["inject-check", "-n", "default"], &["inject-check", "-n", "shop"]] {
        let out = lab.asm(args);
        assert_eq!(out.code, 0, "{args:?}\n{}", out.stderr);
        for line in out.stdout.lines() {
            assert!(!line.trim_start().starts_with(['✗', '!']), "{args:?} says: {line}");
        }
    }
}

#[test]
fn inject_check_equals_what_the_pods_are() {
    let lab = Lab::take();
    let report = lab.report(&["inject-check", "-n", "shop"]);
    let rows = report.json["view"]["workloads"].as_array().expect("rows");
    let row = |name: &str| {
        rows.iter().find(|r| r["name"] == name).unwrap_or_else(|| panic!("no row for {name}: {}", report.json["view"]))
    };
    let verdict = |name: &str| (text(&row(name)["now"]["injected"]), row(name)["nextRestart"]["injected"].clone());
    assert_eq!(verdict("web"), ("all".into(), Value::Bool(true)));
    assert_eq!(verdict("db"), ("all".into(), Value::Bool(true)));
    assert_eq!(verdict("scaled-down"), ("noPods".into(), Value::Bool(true)));
    assert_eq!(verdict("node-agent"), ("none".into(), Value::Bool(false)));
    assert_eq!(verdict("left-out-by-label"), ("none".into(), Value::Bool(false)));
    assert_eq!(verdict("left-out-by-annotation"), ("none".into(), Value::Bool(false)));
    assert_eq!(row("web")["now"]["sidecar"], "native");
    assert_eq!(row("web")["nextRestart"]["revision"], "asm-1-30");
}

/// Fewer rights never turn into a false "all good", nor into a false alarm.
#[test]
fn one_namespace_user() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "one-namespace");
    lab.settle();
    let user = lab.user("solo", "dev");
    let report = lab.report_as(&user, &["status"]);
    assert_eq!(lines(&report.json), Vec::<String>::new());
    assert_eq!(report.code, 3, "nothing found, and not everything could be looked at");
    assert_eq!(
        report.json["scope"]["namespaces"],
        serde_json::json!(["solo"]),
        "falls back to the context's namespace"
    );
    let outcomes = report.json["outcomes"].as_array().expect("outcomes");
    let examined = outcomes.iter().filter(|o| o["examined"].as_u64() > Some(0)).count();
    assert!(examined >= 8, "only {examined} checks examined something: {outcomes:#?}");
    for code in ["INJ03", "WHK02", "CP01"] {
        assert_eq!(report.outcome(code), "notChecked", "{code} cannot be known from one namespace");
    }
    world::every_gap_names_a_right(&report.json);
    let out = lab.asm_as(&user, &["status"]);
    assert_eq!(out.code, 3);
    assert!((out.stdout.clone() + &out.stderr).contains("solo"), "says which namespace it fell back to");
}

#[test]
fn user_without_webhooks() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "no-webhooks");
    lab.settle();
    let user = lab.user("audit", "auditor");
    let report = lab.report_as(&user, &["status"]);
    assert_eq!(lines(&report.json), Vec::<String>::new(), "a webhook that cannot be read is not a missing one");
    assert_eq!(report.code, 3);
    for code in ["INJ03", "WHK02"] {
        assert_eq!(report.outcome(code), "notChecked");
    }
    assert_eq!(report.outcome("CP01"), "passed", "the control plane can be read");
    world::every_gap_names_a_right(&report.json);
    let gaps = report.json["gaps"].to_string();
    assert!(gaps.contains("mutatingwebhookconfigurations"), "{gaps}");
}

#[test]
fn a_namespace_that_does_not_exist_is_a_usage_error() {
    let lab = Lab::take();
    let out = lab.asm(&["inject-check", "-n", "no-such-namespace"]);
    assert_eq!(out.code, 2, "{}{}", out.stdout, out.stderr);
}

#[test]
fn every_proxy_without_a_flag() {
    proxies::every_proxy_without_a_flag();
}

#[test]
fn a_rejection_is_explained() {
    proxies::a_rejection_is_explained();
}

#[test]
fn a_missing_proxy_is_listed() {
    proxies::a_missing_proxy_is_listed();
}

#[test]
fn a_silent_proxy_is_stale() {
    proxies::a_silent_proxy_is_stale();
}

#[test]
fn a_frozen_istiod_costs_its_own_part() {
    proxies::a_frozen_istiod_costs_its_own_part();
}

#[test]
fn tables_of_a_proxy_are_those_of_istioctl() {
    proxy_config::tables_are_those_of_istioctl();
}

#[test]
fn a_bundle_holds_a_proxy() {
    proxy_config::a_bundle_holds_a_proxy();
}

#[test]
fn what_istiod_would_send_and_what_the_proxy_has() {
    proxy_config::what_istiod_would_send_and_what_the_proxy_has();
}

#[test]
fn a_missing_right_to_ask_a_proxy_is_named() {
    proxy_config::a_missing_right_is_named();
}

#[test]
fn levels_of_a_proxy_are_read_set_and_set_back() {
    proxy_config::levels_are_read_set_and_set_back();
}

#[test]
fn logs_in_good_order() {
    logs::healthy_logs_say_nothing();
}

#[test]
fn logs_of_a_refusal() {
    logs::a_refusal_stands_in_both_logs();
}

#[test]
fn logs_of_what_crashes() {
    logs::the_previous_log_is_chosen();
}

#[test]
fn rights_to_read_logs() {
    logs::printed_roles_are_enough();
}

#[test]
fn rights_to_port_forward() {
    proxies::rights_to_port_forward();
}

#[test]
fn printed_roles_are_enough_and_minimal() {
    rights::enough_and_minimal(&["status"], &[]);
    rights::enough_and_minimal(&["status", "-n", "audit"], &["-n", "audit"]);
    rights::enough_and_minimal(&["proxy-status"], &["--for", "proxy-status"]);
    rights::enough_and_minimal(&["conflicts"], &["--for", "conflicts"]);
    rights::enough_and_minimal(&["metrics"], &["--for", "metrics"]);
    rights::enough_and_minimal(&["inject-check"], &["--for", "inject-check", "-n", "audit"]);
}

#[test]
fn azure_profile_against_the_cluster() {
    azure::the_profile_against_the_cluster();
}

#[test]
fn metrics_of_istiods() {
    azure::what_istiods_count();
}

#[test]
fn precheck_tells_what_the_commands_then_find() {
    precheck::of_an_admin_and_of_one_namespace();
}

#[test]
fn probe_leaves_nothing_behind() {
    probe::asks_and_leaves_nothing_behind();
}

#[test]
fn probe_tells_refusals_apart() {
    probe::tells_refusals_apart();
}

#[test]
fn probe_shows_what_cannot_be_read() {
    probe::shows_what_cannot_be_read();
}

#[test]
fn probe_of_one_namespace() {
    probe::users_of_one_namespace();
}

#[test]
fn probe_with_printed_roles() {
    rights::enough_for_a_probe();
}

#[test]
fn probe_creates_and_deletes() {
    probe::creates_one_and_deletes_it();
}

#[test]
fn conflicts_purge_list() {
    conflicts::purge_list_equals_a_real_purge();
}

#[test]
fn conflicts_way_out() {
    conflicts::the_way_out_of_two_istios();
}

#[test]
fn conflicts_healthy() {
    conflicts::silent_on_a_healthy_cluster();
}

#[test]
fn conflicts_one_namespace() {
    conflicts::one_namespace_user();
}

#[test]
fn injection_matrix() {
    matrix::play();
}
