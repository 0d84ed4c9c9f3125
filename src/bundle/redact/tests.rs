#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::redact;
use crate::model::config_map::{ConfigMap, InjectorConfig};
use crate::snapshot::SourceId;

fn redacted(id: SourceId, mut value: Value) -> Value {
    redact(id, &mut value);
    value
}

fn container(container: Value) -> Value {
    redacted(SourceId::Pods, json!({"spec": {"containers": [container]}}))["spec"]["containers"][0].take()
}

#[test]
fn variables_keep_their_names_and_only_istio_s_own_keep_values() {
    let env = json!([{"name": "CA_ADDR", "value": "istiod:15012"}, {"name": "PASSWORD", "value": "x"},
        {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}, "future": "x"}, "odd"]);
    let without = json!([{"name": "CA_ADDR"}, {"name": "PASSWORD"}, {"name": "KEY", "valueFrom": {}}, null]);
    let mut with = without.clone();
    with[0]["value"] = "istiod:15012".into();
    for (name, expected) in [("app", &without), ("istio-proxy", &with), ("discovery", &with), ("istio-init", &without)]
    {
        assert_eq!(container(json!({"name": name, "env": env}))["env"], *expected, "{name}");
    }
}

#[test]
fn arguments_stay_only_in_istio_s_own_containers() {
    let with = |name: &str| container(json!({"name": name, "image": "i", "args": ["a"], "command": ["c"]}));
    assert_eq!(with("app"), json!({"name": "app", "image": "i"}));
    assert_eq!(with("discovery"), json!({"name": "discovery", "image": "i", "args": ["a"], "command": ["c"]}));
}

#[test]
fn every_place_with_containers_is_found() {
    let pod_spec = json!({"containers": [{"name": "a", "args": ["x"]}], "initContainers": [{"name": "b", "args": ["x"]}],
        "ephemeralContainers": [{"name": "c", "args": ["x"]}]});
    let clean = json!({"containers": [{"name": "a"}], "initContainers": [{"name": "b"}], "ephemeralContainers": [{"name": "c"}]});
    for (id, wrap) in [
        (SourceId::Pods, (|spec| json!({"spec": spec})) as fn(&Value) -> Value),
        (SourceId::Istiods, |spec| json!({"spec": spec})),
        (SourceId::Deployments, |spec| json!({"spec": {"template": {"spec": spec}}})),
        (SourceId::StatefulSets, |spec| json!({"spec": {"template": {"spec": spec}}})),
        (SourceId::Jobs, |spec| json!({"spec": {"template": {"spec": spec}}})),
        (SourceId::CronJobs, |spec| json!({"spec": {"jobTemplate": {"spec": {"template": {"spec": spec}}}}})),
    ] {
        assert_eq!(redacted(id, wrap(&pod_spec)), wrap(&clean), "{id:?}");
    }
}

#[test]
fn probes_and_hooks_stay_without_what_they_run_or_send() {
    let probe = json!({"httpGet": {"path": "/a?token=x", "port": 1, "httpHeaders": [{"name": "n", "value": "x"}]}, "periodSeconds": 3});
    let hooks =
        json!({"preStop": {"exec": {"command": ["x"]}}, "postStart": {"httpGet": {"path": "/b", "httpHeaders": "x"}}});
    assert_eq!(
        container(json!({"name": "istio-proxy", "startupProbe": probe, "lifecycle": hooks})),
        json!({"name": "istio-proxy",
            "startupProbe": {"httpGet": {"path": "/a", "port": 1, "httpHeaders": [{"name": "n"}]}, "periodSeconds": 3},
            "lifecycle": {"preStop": {"exec": {}}, "postStart": {"httpGet": {"path": "/b", "httpHeaders": null}}}})
    );
}

#[test]
fn metadata_keeps_labels_owners_and_the_listed_annotations() {
    let object = redacted(
        SourceId::Namespaces,
        json!({"metadata": {
        "name": "n", "labels": {"containers": "x", "a": "b"}, "ownerReferences": [{"kind": "K"}],
        "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "x", "note": "x", "a.istio.io/b": "1",
            "kubernetes.azure.com/c": "2", "azureservicemesh/d": "3", "meta.helm.sh/e": "4", "prometheus.io/f": "5",
            "deployment.kubernetes.io/revision": "6"},
        "managedFields": [{"manager": "m", "operation": "Apply", "time": "t", "apiVersion": "v1", "fieldsV1": {"x": {}}}]}}),
    );
    assert_eq!(
        object,
        json!({"metadata": {
        "name": "n", "labels": {"containers": "x", "a": "b"}, "ownerReferences": [{"kind": "K"}],
        "annotations": {"a.istio.io/b": "1", "kubernetes.azure.com/c": "2", "azureservicemesh/d": "3",
            "meta.helm.sh/e": "4", "prometheus.io/f": "5", "deployment.kubernetes.io/revision": "6"},
        "managedFields": [{"manager": "m", "operation": "Apply", "time": "t"}]}})
    );
}

#[test]
fn annotations_that_hold_configuration_lose_its_values() {
    let annotations = json!({"proxy.istio.io/config": "proxyMetadata:\n  A: x\nconcurrency: 2\n",
        "proxy.istio.io/overrides": r#"{"containers":[{"name":"istio-proxy","env":[{"name":"A","value":"x"}]}]}"#});
    let object = redacted(SourceId::Pods, json!({"metadata": {"annotations": annotations}}));
    let text = |key: &str| -> Value {
        serde_json::from_str(object["metadata"]["annotations"][key].as_str().unwrap()).unwrap()
    };
    assert_eq!(text("proxy.istio.io/config"), json!({"proxyMetadata": {"A": ""}, "concurrency": 2}));
    assert_eq!(
        text("proxy.istio.io/overrides"),
        json!({"containers": [{"name": "istio-proxy", "env": [{"name": "A"}]}]})
    );
}

#[test]
fn a_secret_loses_its_data_wherever_it_turns_up() {
    let secret = json!({"kind": "Secret", "metadata": {"name": "s"}, "data": {"k": "x"}, "stringData": {"k": "x"}});
    for id in [SourceId::Pods, SourceId::SystemConfigMaps, SourceId::Namespaces] {
        assert_eq!(redacted(id, secret.clone()), json!({"kind": "Secret", "metadata": {"name": "s"}}));
    }
}

#[test]
fn volumes_keep_names_and_lose_options() {
    let spec = json!({"volumes": [
        {"name": "a", "configMap": {"name": "m", "items": [{"key": "x"}]}}, {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "csi": {"driver": "d", "volumeAttributes": {"k": "x", "secretProviderClass": "spc"}, "nodePublishSecretRef": {"name": "x"}}},
        {"name": "d", "flexVolume": {"options": {"k": "x"}}},
        {"name": "e", "projected": {"sources": [{"secret": {"name": "s", "items": ["x"]}}, {"downwardAPI": {"items": ["x"]}}]}}]});
    assert_eq!(
        redacted(SourceId::Pods, json!({"spec": spec}))["spec"]["volumes"],
        json!([
        {"name": "a", "configMap": {"name": "m"}}, {"name": "b", "secret": {"secretName": "s"}},
        {"name": "c", "csi": {"driver": "d", "volumeAttributes": {"secretProviderClass": "spc"}}}, {"name": "d", "flexVolume": {}},
        {"name": "e", "projected": {"sources": [{"secret": {"name": "s"}}, {"downwardAPI": {}}]}}])
    );
}

#[test]
fn the_last_words_of_a_container_go_and_the_reason_it_waits_stays() {
    let status = json!({"containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "R", "message": "m"}},
        "lastState": {"terminated": {"exitCode": 1, "message": "x"}}}]});
    assert_eq!(
        redacted(SourceId::Pods, json!({"status": status}))["status"],
        json!({"containerStatuses": [{"name": "a",
        "state": {"waiting": {"reason": "R", "message": "m"}}, "lastState": {"terminated": {"exitCode": 1}}}]})
    );
}

fn config_map(name: &str, data: Value) -> Value {
    redacted(SourceId::SystemConfigMaps, json!({"metadata": {"name": name}, "data": data, "binaryData": {"b": "eA=="}}))
}

#[test]
fn only_istio_s_config_maps_keep_content_and_only_the_known_keys() {
    let data = json!({"mesh": "a: 1", "meshNetworks": "n: {}", "root-cert.pem": "C", "other": "x", "config": "policy: enabled"});
    let of_istio = config_map("istio-asm-1-30", data.clone());
    assert_eq!(
        of_istio["data"],
        json!({"mesh": "a: 1", "meshNetworks": "n: {}", "root-cert.pem": "C", "other": "", "config": "{\"policy\":\"enabled\"}"})
    );
    assert!(of_istio.get("binaryData").is_none());
    let foreign = config_map("settings", data);
    assert!(foreign["data"].as_object().unwrap().values().all(|value| value == ""));
}

#[test]
fn the_injector_s_configuration_parses_as_before_and_its_templates_are_hashes() {
    let parse = |map: &Value| {
        let map: ConfigMap = serde_json::from_value(map.clone()).unwrap();
        InjectorConfig::parse(&map).map(|config| format!("{config:?}"))
    };
    for (config, values) in [
        (
            "policy: enabled\nneverInjectSelector:\n- matchExpressions: [{key: a, operator: In, values: [b]}]\ntemplates: {sidecar: secret}\nextra: secret\n",
            r#"{"global":{"hub":"h","tag":1,"variant":"distroless","proxy":{"image":"proxyv2"},"tracer":{"x":"secret"}},"pilot":"secret"}"#,
        ),
        ("policy: enabled", r#"{"pilot":{"cni":{"enabled":true,"provider":"secret"},"env":{"A":"secret"}}}"#),
        ("policy: disabled\ntemplates: secret", "{}"),
        ("policy: [secret", "{}"),
        ("policy: a\npolicy: secret", "{}"),
        ("", "{}"),
        ("[]", "{}"),
        ("null", "{}"),
        ("policy: enabled", "secret"),
        ("policy: enabled", r#"{"global":{"hub":"secret"},"global":{"hub":"the last one counts"}}"#),
        ("policy: enabled", r#"{"revision":"\ud800","global":{"hub":"secret"}}"#),
        ("policy: enabled", "null"),
        ("1: secret\npolicy: enabled", "{}"),
    ] {
        let data = json!({"config": config, "values": values});
        let raw = json!({"metadata": {"name": "istio-sidecar-injector-asm-1-30"}, "data": data});
        let clean = config_map("istio-sidecar-injector-asm-1-30", raw["data"].clone());
        assert_eq!(parse(&raw), parse(&clean), "{config} {values} -> {clean}");
        assert!(!clean.to_string().contains("secret"), "{clean}");
    }
    let clean = config_map("istio-x", json!({"config": "policy: enabled\ntemplates: {sidecar: abc}"}));
    assert!(clean["data"]["config"].as_str().unwrap().contains("sha256:ba7816bf8f01cfea414140de5dae2223b00361a3"));
}

#[test]
fn mesh_configuration_is_unchanged_unless_it_holds_values_of_its_owner() {
    let mesh = "accessLogFile: /dev/stdout   # kept as it is\ndefaultConfig:\n  discoveryAddress: a\n";
    assert_eq!(config_map("istio-x", json!({"mesh": mesh}))["data"]["mesh"], mesh);
    let with = "defaultConfig: {proxyMetadata: {A: secret, ISTIO_META_DNS_CAPTURE: 'true'}}\nextensionProviders:\n- name: o\n  opentelemetry: {http: {path: /p, headers: [{name: auth, value: secret}]}}\n- lightstep: {accessToken: secret}\n";
    let clean = config_map("istio-x", json!({"mesh": with}));
    let clean: Value = serde_json::from_str(clean["data"]["mesh"].as_str().unwrap()).unwrap();
    assert_eq!(
        clean,
        json!({"defaultConfig": {"proxyMetadata": {"A": "", "ISTIO_META_DNS_CAPTURE": "true"}},
        "extensionProviders": [{"name": "o", "opentelemetry": {"http": {"path": "/p", "headers": [{"name": "auth", "value": ""}]}}},
            {"lightstep": {"accessToken": ""}}]})
    );
}

/// What is wrong with it, and where, must be the same when the bundle is read.
#[test]
fn an_unreadable_mesh_configuration_keeps_its_layout_only() {
    for (text, kept) in [
        ("a: [secret", "x: [xxxxxx"),
        ("a: secret\nb:\n\tc: p@ss # secret\n", "x: xxxxxx\nx:\n\tx: xxxx x xxxxxx\n"),
        // Here the words are the fault: an unknown alias.
        ("a: *secret", "["),
    ] {
        assert_eq!(config_map("istio-x", json!({"mesh": text}))["data"]["mesh"], kept);
    }
}

#[test]
fn what_has_not_the_shape_of_its_schema_is_dropped() {
    for odd in [json!("x"), json!(["x"]), json!(1)] {
        assert_eq!(redacted(SourceId::Pods, odd), Value::Null);
    }
    let odd = json!({"metadata": {"annotations": "x", "managedFields": "x"}, "spec": {"containers": "x", "initContainers": ["x"], "volumes": "x"}});
    assert_eq!(
        redacted(SourceId::Pods, odd),
        json!({"metadata": {"annotations": null, "managedFields": null},
        "spec": {"containers": null, "initContainers": [null], "volumes": null}})
    );
    assert_eq!(
        container(json!({"name": "a", "env": "x", "livenessProbe": "x", "lifecycle": "x"})),
        json!({"name": "a", "env": null, "livenessProbe": null, "lifecycle": null})
    );
}

#[test]
fn a_node_keeps_its_versions_and_loses_addresses_and_images() {
    let node = json!({"spec": {"providerID": "azure:///subscriptions/8b7d0000-1111-2222-3333-444455556666/resourceGroups/mc_a/x", "podCIDR": "10.1.0.0/24", "taints": [{"key": "k"}]},
        "status": {"addresses": [{"address": "10.0.0.4"}], "images": [{"names": ["private/app"]}],
            "conditions": [{"type": "Ready", "status": "True"}],
            "nodeInfo": {"kubeletVersion": "v1.34.1", "machineID": "m", "operatingSystem": "linux"}}});
    assert_eq!(
        redacted(SourceId::Nodes, node),
        json!({"spec": {"providerID": "azure:///subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/mc_a/x", "taints": [{"key": "k"}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}],
                "nodeInfo": {"kubeletVersion": "v1.34.1", "operatingSystem": "linux"}}})
    );
}

#[test]
fn what_webhooks_services_and_events_say_stays() {
    let webhook = json!({"webhooks": [{"name": "n", "clientConfig": {"caBundle": "Y2E=", "service": {"name": "s"}},
        "namespaceSelector": {"matchLabels": {"metadata": "x", "volumes": "y"}}, "matchConditions": [{"expression": "e"}]}]});
    assert_eq!(redacted(SourceId::MutatingWebhooks, webhook.clone()), webhook);
    let service = json!({"spec": {"selector": {"containers": "c", "metadata": "m"}}, "status": {"loadBalancer": {"ingress": [{"ip": "1.2.3.4"}]}}});
    assert_eq!(redacted(SourceId::GatewayServices, service.clone()), service);
    let event = json!({"message": "m", "involvedObject": {"kind": "ReplicaSet"}});
    assert_eq!(redacted(SourceId::RefusalEvents, event.clone()), event);
}

/// What istiod does not read must not decide, and must not leave the machine unseen.
#[test]
fn of_a_mesh_configuration_with_several_documents_only_the_first_stays() {
    let object = |mesh: &str| {
        let mut map = json!({"kind": "ConfigMap", "metadata": {"name": "istio-asm-1-30"}, "data": {"mesh": mesh}});
        redact(SourceId::SystemConfigMaps, &mut map);
        map["data"]["mesh"].as_str().unwrap().to_owned()
    };
    assert_eq!(object("trustDomain: a\n---\npassword: hidden\n"), r#"{"trustDomain":"a"}"#);
    assert_eq!(
        object("trustDomain: [\n"),
        "xxxxxxxxxxx: [\n",
        "what does not parse keeps its layout and loses its words"
    );
}

#[test]
fn a_policy_of_the_network_keeps_who_may_talk_to_whom_and_loses_addresses_paths_and_headers() {
    let policy = redacted(
        SourceId::NetworkPolicies,
        json!({"metadata": {"name": "a"}, "spec": {
            "podSelector": {"matchLabels": {"ipBlock": "x"}},
            "egress": [{"to": [{"ipBlock": {"cidr": "203.0.113.7/32"}}, {"podSelector": {}, "ipBlock": null}], "ports": [{"port": 443}]}]}}),
    );
    assert_eq!(
        policy["spec"],
        json!({"podSelector": {"matchLabels": {"ipBlock": "x"}},
            "egress": [{"to": [{"ipBlock": {}}, {"podSelector": {}, "ipBlock": null}], "ports": [{"port": 443}]}]})
    );
    let policy = redacted(
        SourceId::CiliumPolicies,
        json!({"metadata": {"name": "a"}, "spec": {"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{
            "fromCIDR": ["203.0.113.7/32"],
            "authentication": {"mode": "required"},
            "toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [{"path": "/secret", "headers": ["X-Token: abc"]}], "dns": null}}]}]}}),
    );
    assert_eq!(
        policy["spec"],
        json!({"endpointSelector": {"matchLabels": {"app": "web"}}, "ingress": [{
            "fromCIDR": [],
            "authentication": {"mode": "required"},
            "toPorts": [{"ports": [{"port": "80"}], "rules": {"http": [], "dns": null}}]}]})
    );
}

#[test]
fn of_a_proxy_s_configuration_only_what_tables_show_stays() {
    let secret = "hunter2";
    let text = |text: &str| json!({"inline_bytes": text});
    let filter = json!({"name": "envoy.filters.network.http_connection_manager", "typed_config": {
        "http_filters": [{"name": "lua", "typed_config": {"inline_code": secret}}],
        "route_config": {"name": "r", "request_headers_to_add": [{"header": {"key": "a", "value": secret}}],
            "virtual_hosts": [{"name": "v", "domains": ["cart"], "routes": [{
                "match": {"prefix": "/", "headers": [{"name": "authorization", "exact_match": secret}]},
                "directResponse": {"status": 200, "body": {"inline_string": secret}},
            }]}]},
    }});
    let line = redacted(
        SourceId::ProxyAnswers,
        json!({
            "metadata": {"namespace": "shop", "name": "cart-1", "annotations": {"a": secret}},
            "answers": [{"configs": [
                {"bootstrap": {"node": {"id": "n", "metadata": {"ISTIO_VERSION": "1.28.3", "PASSWORD": secret,
                    "LABELS": {"istio.io/rev": "asm-1-28", "x": secret}, "ANNOTATIONS": {"k": secret}}},
                    "static_resources": {"secrets": [secret]}}},
                {"dynamic_active_secrets": [{"name": "default", "secret": {"tlsCertificate": {
                    "certificate_chain": text("public"), "private_key": text(secret)}, "generic_secret": text(secret)}}]},
                {"dynamic_listeners": [{"name": "l", "activeState": {"listener": {"filterChains": [{"filters": [filter]}],
                    "access_log": [secret]}}}]},
                {"dynamic_active_clusters": [{"cluster": {"name": "c", "load_assignment": secret, "type": {"x": secret}}}]},
                {"@type": "roots", "scoped_routes": [secret]},
            ], "secrets": secret}, [secret], secret],
            "further": secret,
        }),
    );
    let written = line.to_string();
    assert!(!written.contains(secret), "{written}");
    for kept in ["cart-1", "1.28.3", "asm-1-28", "public", "\"prefix\":\"/\"", "cart", "200"] {
        assert!(written.contains(kept), "{kept} is missing: {written}");
    }
}

#[test]
fn lines_of_logs_lose_secrets_wherever_they_stand() {
    let mut log = json!({
        "metadata": {"namespace": "shop", "name": "web-1"}, "container": "istio-proxy",
        "groups": [{"id": "proxy-connect", "count": 3, "example": "Bearer abc.def x", "about": ["/a?b=c"]}],
        "tail": ["GET /pay?card=4111 HTTP/1.1", "plain"],
    });
    redact(SourceId::Logs, &mut log);
    assert_eq!(log["groups"][0]["example"], "Bearer […] x");
    assert_eq!(log["groups"][0]["about"][0], "/a?[…]");
    assert_eq!(log["tail"], json!(["GET /pay?[…] HTTP/1.1", "plain"]));
    assert_eq!(log["metadata"]["name"], "web-1");
}
