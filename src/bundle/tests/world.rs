//! A small cluster as raw objects: a healthy asm-1-30 with the two classic mistakes of its users.
//!
//! Whatever must not get into a bundle says so: its text contains [`SECRET`].

use serde_json::{Value, json};

use crate::bundle::Recorder;
use crate::snapshot::{Origin, Snapshot, SourceId, StateKind};
use crate::sources::SOURCES;
use crate::sources::collect::End;

/// Marks what redaction has to remove.
pub const SECRET: &str = "s3cr3t";

const NS: &str = "aks-istio-system";
const REV: &str = "asm-1-30";
const IMAGES: &str = "mcr.microsoft.com/oss/v2/istio";

fn meta(namespace: &str, name: &str, labels: Value) -> Value {
    let mut meta = json!({
        "name": name, "labels": labels, "creationTimestamp": "2026-08-01T08:00:00Z",
        "annotations": {
            "kubectl.kubernetes.io/last-applied-configuration": format!("{{\"x\":\"{SECRET}\"}}"),
            "example.com/note": SECRET, "meta.helm.sh/release-name": "r"},
        "managedFields": [{"manager": "kubectl", "operation": "Apply", "time": "2026-08-01T08:00:00Z",
            "fieldsV1": {"f:data": {"f:s3cr3t": {}}}}]});
    if !namespace.is_empty() {
        meta["namespace"] = namespace.into();
    }
    meta
}

fn app_container(name: &str) -> Value {
    json!({"name": name, "image": "nginx:1.29", "args": ["--password", SECRET], "command": ["sh", "-c", SECRET],
        "env": [{"name": "DB_PASSWORD", "value": SECRET}, {"name": "REVISION", "value": SECRET},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "db", "key": SECRET}}}],
        "livenessProbe": {"exec": {"command": [SECRET]}, "periodSeconds": 5},
        "readinessProbe": {"httpGet": {"path": "/ready?key=s3cr3t", "port": 80,
            "httpHeaders": [{"name": "Authorization", "value": SECRET}]}},
        "lifecycle": {"preStop": {"exec": {"command": [SECRET]}}}})
}

fn proxy_container() -> Value {
    json!({"name": "istio-proxy", "image": format!("{IMAGES}/proxyv2:v1.30.0-1"), "restartPolicy": "Always",
        "args": ["proxy", "sidecar", "--log_output_level=default:info"],
        "env": [{"name": "CA_ADDR", "value": "istiod-asm-1-30.aks-istio-system.svc:15012"},
            {"name": "HTTP_PROXY", "value": SECRET},
            {"name": "PROXY_CONFIG", "value":
                r#"{"discoveryAddress":"istiod-asm-1-30.aks-istio-system.svc:15012","proxyMetadata":{"KEY":"s3cr3t"}}"#}]})
}

fn spec(containers: Vec<Value>, init: Vec<Value>) -> Value {
    json!({"containers": containers, "initContainers": init, "nodeName": "node-1", "volumes": [
        {"name": "db", "secret": {"secretName": "db-credentials"}},
        {"name": "vault", "csi": {"driver": "secrets-store.csi.k8s.io", "volumeAttributes": {"tenant": SECRET}}},
        {"name": "all", "projected": {"sources": [{"configMap": {"name": "istio-ca-root-cert"}}]}}]})
}

fn status(names: &[&str]) -> Value {
    let statuses: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "ready": true, "restartCount": 1, "state": {"running": {"startedAt": "2026-08-01T08:00:05Z"}},
            "lastState": {"terminated": {"exitCode": 1, "message": SECRET}}}))
        .collect();
    json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}], "containerStatuses": statuses})
}

fn pod(namespace: &str, name: &str, owner: &str, app: &str, injected: bool) -> Value {
    let mut metadata = meta(namespace, name, json!({"app": app}));
    metadata["ownerReferences"] =
        json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": owner, "uid": "u", "controller": true}]);
    let mut init = Vec::new();
    if injected {
        metadata["labels"]["service.istio.io/canonical-name"] = app.into();
        metadata["annotations"]["sidecar.istio.io/status"] = json!({"revision": REV}).to_string().into();
        metadata["annotations"]["proxy.istio.io/config"] = "proxyMetadata:\n  KEY: s3cr3t\n".into();
        metadata["annotations"]["proxy.istio.io/overrides"] =
            json!({"containers": [app_container("istio-proxy-x")]}).to_string().into();
        init.push(proxy_container());
    }
    json!({"metadata": metadata, "spec": spec(vec![app_container("app")], init), "status": status(&["app"])})
}

fn deployment(namespace: &str, name: &str, container: Value, replicas: u32) -> Value {
    json!({"metadata": meta(namespace, name, json!({"app": name, "istio.io/rev": if namespace == NS { REV } else { "" }})),
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": name}}, "template": {
            "metadata": {"labels": {"app": name}, "annotations": {"example.com/note": SECRET, "istio.io/rev": REV}},
            "spec": spec(vec![container], vec![])}},
        "status": {"readyReplicas": replicas}})
}

fn istiod_container() -> Value {
    json!({"name": "discovery", "image": format!("{IMAGES}/pilot:v1.30.0-1"), "args": ["discovery", "--domain=cluster.local"],
        "env": [{"name": "REVISION", "value": REV}, {"name": "PILOT_CERT_PROVIDER", "value": "istiod"},
            {"name": "ENABLE_NATIVE_SIDECARS", "value": "true"}, {"name": "OTHER", "value": SECRET}]})
}

fn istiod(index: u32) -> Value {
    let mut metadata = meta(NS, &format!("istiod-{REV}-7d4f9-{index}"), json!({"app": "istiod", "istio.io/rev": REV}));
    metadata["ownerReferences"] =
        json!([{"kind": "ReplicaSet", "name": format!("istiod-{REV}-7d4f9"), "controller": true}]);
    json!({"metadata": metadata, "spec": spec(vec![istiod_container()], vec![]), "status": status(&["discovery"])})
}

fn webhook() -> Value {
    let entry = |name: &str, namespaces: Value, objects: Value| {
        json!({"name": format!("{name}.sidecar-injector.istio.io"), "failurePolicy": "Fail", "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
            "clientConfig": {"caBundle": "Y2E=", "service": {"name": format!("istiod-{REV}"), "namespace": NS, "path": "/inject", "port": 443}},
            "namespaceSelector": namespaces, "objectSelector": objects,
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]})
    };
    let expression =
        |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let not_off = expression("sidecar.istio.io/inject", "NotIn", &["false"]);
    json!({"metadata": meta("", &format!("istio-sidecar-injector-{REV}-{NS}"),
        json!({"app": "sidecar-injector", "istio.io/rev": REV, "admissions.enforcer/disabled": "true"})),
    "webhooks": [
        entry("rev.namespace", json!({"matchExpressions": [expression("istio.io/rev", "In", &[REV]), expression("istio-injection", "DoesNotExist", &[])]}),
            json!({"matchExpressions": [not_off]})),
        entry("rev.object", json!({"matchExpressions": [expression("istio.io/rev", "DoesNotExist", &[]), expression("istio-injection", "DoesNotExist", &[])]}),
            json!({"matchExpressions": [not_off, expression("istio.io/rev", "In", &[REV])]})),
    ]})
}

fn config_maps() -> Vec<Value> {
    let config = "policy: enabled\nneverInjectSelector:\n- matchLabels: {job: batch}\ntemplates:\n  sidecar: |\n    spec: s3cr3t\n";
    let values = json!({"global": {"hub": IMAGES, "tag": "v1.30.0-1", "proxy": {"image": "proxyv2"},
        "tracer": {"lightstep": {"accessToken": SECRET}}}, "pilot": {"env": {"A": SECRET}}});
    let map = |name: &str, data: Value| json!({"metadata": meta(NS, name, json!({})), "data": data, "binaryData": {"b": "czNjcjN0"}});
    vec![
        map(&format!("istio-sidecar-injector-{REV}"), json!({"config": config, "values": values.to_string()})),
        map(
            &format!("istio-{REV}"),
            json!({"mesh": "defaultConfig:\n  discoveryAddress: istiod-asm-1-30.aks-istio-system.svc:15012\n", "meshNetworks": "networks: {}"}),
        ),
        map("istio-ca-root-cert", json!({"root-cert.pem": "-----BEGIN CERTIFICATE-----\n", "private": SECRET})),
        map("app-settings", json!({"settings.yaml": SECRET, "mesh": SECRET})),
    ]
}

/// The raw objects of a source.
pub fn objects(id: SourceId) -> Vec<Value> {
    let namespace =
        |name: &str, labels: Value| json!({"metadata": meta("", name, labels), "status": {"phase": "Active"}});
    let service = |namespace: &str, name: &str, kind: &str| {
        json!({
        "metadata": meta(namespace, name, json!({"istio.io/rev": REV})),
        "spec": {"type": kind, "selector": {"app": "istiod", "containers": "kept"}},
        "status": {"loadBalancer": if kind == "LoadBalancer" { json!({"ingress": [{"ip": "20.0.0.7"}]}) } else { json!({}) }}})
    };
    match id {
        SourceId::Version => vec![json!({"major": "1", "minor": "35", "gitVersion": "v1.35.2"})],
        SourceId::Namespaces => vec![
            namespace("aks-istio-ingress", json!({})),
            namespace(NS, json!({"mesh.aks.azure.com/managed": "true"})),
            namespace("legacy", json!({})),
            namespace("payments", json!({"istio-injection": "enabled"})),
            namespace("shop", json!({"istio.io/rev": REV})),
        ],
        SourceId::MutatingWebhooks => vec![webhook()],
        SourceId::SystemPods | SourceId::Istiods => vec![istiod(1), istiod(2)],
        SourceId::SystemDeployments => vec![deployment(NS, &format!("istiod-{REV}"), istiod_container(), 2)],
        SourceId::SystemServices => vec![service(NS, &format!("istiod-{REV}"), "ClusterIP")],
        SourceId::SystemEndpoints => vec![json!({
            "metadata": meta(NS, &format!("istiod-{REV}-x"), json!({"kubernetes.io/service-name": format!("istiod-{REV}")})),
            "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": true}}, {"addresses": ["10.0.0.2"], "conditions": {"ready": true}}]})],
        SourceId::SystemConfigMaps => config_maps(),
        SourceId::GatewayServices => {
            vec![service("aks-istio-ingress", "aks-istio-ingressgateway-external", "LoadBalancer")]
        }
        SourceId::GatewayDeployments => {
            vec![deployment("aks-istio-ingress", "aks-istio-ingressgateway-external-asm-1-30", proxy_container(), 2)]
        }
        SourceId::Pods => vec![
            pod("shop", "web-6c8-1", "web-6c8", "web", true),
            pod("shop", "late-5b7-1", "late-5b7", "late", false),
            pod("payments", "pay-77f-1", "pay-77f", "pay", false),
            pod("legacy", "old-1a2-1", "old-1a2", "old", false),
        ],
        SourceId::ReplicaSets => [
            ("shop", "web-6c8", "web"),
            ("shop", "late-5b7", "late"),
            ("payments", "pay-77f", "pay"),
            ("legacy", "old-1a2", "old"),
        ]
        .map(|(namespace, name, owner)| {
            let mut metadata = meta(namespace, name, json!({}));
            metadata["ownerReferences"] =
                json!([{"kind": "Deployment", "name": owner, "apiVersion": "apps/v1", "controller": true}]);
            json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
        })
        .to_vec(),
        SourceId::Deployments => [("shop", "web"), ("shop", "late"), ("payments", "pay"), ("legacy", "old")]
            .map(|(namespace, name)| deployment(namespace, name, app_container("app"), 1))
            .to_vec(),
        SourceId::CronJobs => {
            vec![json!({"metadata": meta("shop", "nightly", json!({})), "spec": {"schedule": "0 0 * * *",
            "jobTemplate": {"metadata": {"annotations": {"example.com/note": SECRET}}, "spec": {"template": {
                "metadata": {"labels": {"job": "batch"}}, "spec": spec(vec![app_container("run")], vec![])}}}}})]
        }
        SourceId::RefusalEvents => vec![json!({"metadata": meta("shop", "web.1", json!({})), "reason": "FailedCreate",
            "involvedObject": {"kind": "ReplicaSet", "namespace": "shop", "name": "web-6c8"}, "message": "no endpoints available",
            "lastTimestamp": "2026-08-01T09:00:00Z"})],
        SourceId::EnvoyFilters => vec![json!({"metadata": meta("shop", "lua", json!({})), "spec": {"configPatches": [
            {"applyTo": "HTTP_FILTER", "match": {"proxy": {"proxyVersion": "^1\\.30.*"}},
             "patch": {"operation": "INSERT_BEFORE", "value": {"inlineCode": SECRET}}}]}})],
        SourceId::Telemetries => vec![json!({"metadata": meta("shop", "tags", json!({})), "spec": {"tracing": [
            {"customTags": {"key": {"literal": {"value": SECRET}}}, "randomSamplingPercentage": 5}]}})],
        SourceId::SecretProviderClasses => vec![json!({"metadata": meta(NS, "istio-spc-asm-1-30", json!({})),
            "spec": {"provider": "azure", "parameters": {"keyvaultName": "kv", "objects": "array: []", "clientID": SECRET}}})],
        SourceId::SystemSecrets => {
            vec![json!({"metadata": meta(NS, "istio-ca-secret", json!({})), "type": "istio.io/ca-root",
            "data": {"ca-key.pem": "czNjcjN0"}})]
        }
        SourceId::MetricsConfigMaps => {
            vec![json!({"metadata": meta("kube-system", "ama-metrics-prometheus-config", json!({})),
            "data": {"prometheus-config": "scrape_configs:\n- job_name: mesh\n  basic_auth: {password: s3cr3t}\n  kubernetes_sd_configs: [{role: pod, api_server: s3cr3t}]\n"}})]
        }
        _ => Vec::new(),
    }
}

/// Sources that this cluster does not serve, or that may not be read.
pub fn kind(id: SourceId) -> StateKind {
    match id {
        SourceId::OperatorCrd => StateKind::NotServed,
        SourceId::Jobs => StateKind::Failed,
        SourceId::WebhookServices => StateKind::NotRequested,
        _ => StateKind::Collected,
    }
}

/// Gathers the world as the live path does.
pub fn gather(more: impl Fn(SourceId) -> Vec<Vec<u8>>) -> (Snapshot, Recorder) {
    use crate::snapshot::{Fault, FaultKind, Need};
    let mut snapshot = Snapshot {
        origin: Origin {
            context: Some("demo".into()),
            server: Some("https://demo-dns.hcp.westeurope.azmk8s.io:443".into()),
            server_version: Some("v1.35.2".into()),
            captured_at: Some("2026-08-15T10:00:00Z".parse().unwrap()),
            ..Origin::default()
        },
        ..Snapshot::default()
    };
    let mut recorder = Recorder::new();
    for source in SOURCES {
        let mut collector = (source.collector)();
        let mut part = recorder.source(source.id);
        let raw = objects(source.id).iter().map(|object| serde_json::to_vec(object).unwrap()).collect::<Vec<_>>();
        for raw in raw.into_iter().chain(more(source.id)) {
            collector.item(&raw);
            part.item(&raw);
        }
        let mut end = End { kind: kind(source.id), faults: Vec::new(), undecodable: Vec::new(), fallback: None };
        if end.kind == StateKind::Failed {
            let mut fault = Fault::new(FaultKind::Forbidden, "jobs.batch may not be listed");
            fault.status = Some(403);
            fault.need = Some(Need { verb: "list".into(), resource: "jobs.batch".into(), namespace: None });
            end.faults.push(fault.hint("   kubectl auth can-i list jobs.batch"));
        }
        collector.finish(&mut snapshot, end);
        recorder.keep(source.id, part);
    }
    (snapshot, recorder)
}
