//! What leaves the machine: raw objects without the values that verdicts never need.
//!
//! Redaction follows the schema of Kubernetes objects, never the look of a value: a secret cannot be told from another
//! string. Names stay, because they explain; values go, unless they are on a list here. Everything that [`crate::model`]
//! decodes stays. Lines of logs have no schema: they are the exception, and are captured only on request.

mod envoy;
mod istio;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::mesh::log::secrets;
use crate::model::pod::KEPT_ENV;
use crate::model::{AzureRecord, IstiodMetrics};
use crate::snapshot::SourceId;

/// Annotations whose keys contain one of these are kept; the rest can hold anything, `last-applied-configuration` a
/// whole object.
const KEPT_ANNOTATIONS: [&str; 7] = [
    "istio.io/",
    "kubernetes.azure.com/",
    "azureservicemesh",
    "meta.helm.sh/",
    "openservicemesh.io/",
    "prometheus.io/",
    "deployment.kubernetes.io/",
];

/// Containers of Istio itself: their arguments and some variables are configuration that verdicts need.
const ISTIO_CONTAINERS: [&str; 2] = ["discovery", "istio-proxy"];

/// Deeper than any Kubernetes object; what lies below is dropped.
const DEPTH_CAP: usize = 64;

/// Takes everything out of an object of a source that must not leave the machine.
pub fn redact(id: SourceId, value: &mut Value) {
    let Some(object) = value.as_object_mut() else {
        *value = Value::Null;
        return;
    };
    let is_config_map = matches!(
        id,
        SourceId::SystemConfigMaps
            | SourceId::WebhookConfigMaps
            | SourceId::RootCertificates
            | SourceId::SharedConfigMaps
            | SourceId::MetricsConfigMaps
    ) && object.get("kind").is_none_or(|kind| kind == "ConfigMap");
    if is_config_map {
        istio::config_map(object);
    } else {
        // No other kind that is read has these; a Secret would.
        object.remove("data");
    }
    match id {
        SourceId::Nodes => node(object),
        SourceId::EnvoyFilters => istio::envoy_filter(object),
        SourceId::Telemetries => istio::telemetry(object),
        SourceId::NetworkPolicies | SourceId::CiliumPolicies | SourceId::CiliumClusterPolicies => network(object),
        SourceId::SecretProviderClasses => istio::secret_provider_class(object),
        SourceId::Xds => istio::xds(object),
        SourceId::ProxyAnswers => return envoy::line(object),
        SourceId::Logs => log(object),
        SourceId::Azure => return rewritten::<AzureRecord>(value),
        SourceId::IstiodMetrics => return rewritten::<IstiodMetrics>(value),
        _ => {}
    }
    object.remove("stringData");
    object.remove("binaryData");
    walk(object, 0);
}

/// The texts of a log are looked at as such: a line follows no schema.
fn log(value: &mut Map<String, Value>) {
    fn text(value: &mut Value) {
        match value {
            Value::String(line) => *line = secrets::without(line).into_owned(),
            Value::Array(list) => list.iter_mut().for_each(text),
            Value::Object(object) => object.values_mut().for_each(text),
            _ => {}
        }
    }
    value.values_mut().for_each(text);
}

/// Of what is a record of our own only the fields that are decoded stay.
fn rewritten<T: DeserializeOwned + Serialize>(value: &mut Value) {
    let known = serde_json::from_value::<T>(value.take());
    *value = known.ok().and_then(|record| serde_json::to_value(record).ok()).unwrap_or_default();
}

/// Of a node its pool, versions and health stay; its addresses, the list of all images on it and its subscription go.
fn node(object: &mut Map<String, Value>) {
    if let Some(spec) = object.get_mut("spec") {
        keep(spec, &["providerID", "taints", "unschedulable"]);
        if let Some(Value::String(id)) = spec.get_mut("providerID") {
            without_subscription(id);
        }
    }
    if let Some(status) = object.get_mut("status") {
        keep(status, &["conditions", "nodeInfo"]);
        if let Some(info) = status.get_mut("nodeInfo") {
            keep(info, &["kubeletVersion", "operatingSystem", "osImage"]);
        }
    }
}

/// `azure:///subscriptions/ID/resourceGroups/…` with zeros for the id; the rest names the group of the nodes.
fn without_subscription(id: &mut String) {
    const NONE: &str = "00000000-0000-0000-0000-000000000000";
    const BEFORE: &str = "/subscriptions/";
    let Some(start) = id.find(BEFORE).map(|at| at + BEFORE.len()) else { return };
    let length = id[start..].find('/').unwrap_or(id.len() - start);
    id.replace_range(start..start + length, NONE);
}

/// Of a policy of the network who may talk to whom stays; addresses, paths and headers go.
fn network(value: &mut Map<String, Value>) {
    for (key, value) in value.iter_mut() {
        match (key.as_str(), &mut *value) {
            // Labels have any names.
            ("metadata" | "matchLabels", _) => {}
            // Absent and empty are not the same.
            (_, Value::Null) => {}
            ("ipBlock", block) => *block = json!({}),
            (key, addresses) if key.starts_with("fromCIDR") || key.starts_with("toCIDR") => *addresses = json!([]),
            ("rules", Value::Object(protocols)) => {
                protocols.values_mut().filter(|rules| !rules.is_null()).for_each(|rules| *rules = json!([]));
            }
            (_, Value::Object(object)) => network(object),
            (_, Value::Array(list)) => list.iter_mut().filter_map(Value::as_object_mut).for_each(network),
            _ => {}
        }
    }
}

/// Finds metadata and pod specifications wherever they are: in pods, templates, templates of templates.
fn walk(object: &mut Map<String, Value>, depth: usize) {
    if depth > DEPTH_CAP {
        object.clear();
        return;
    }
    for (key, value) in object.iter_mut() {
        match key.as_str() {
            "metadata" => metadata(value),
            "containers" | "initContainers" | "ephemeralContainers" => containers(value),
            "volumes" => volumes(value),
            "containerStatuses" | "initContainerStatuses" | "ephemeralContainerStatuses" => statuses(value),
            // Maps of labels have any keys, those above among them, and no secrets.
            "labels" | "matchLabels" | "selector" | "nodeSelector" | "data" => {}
            _ => descend(value, depth + 1),
        }
    }
}

fn descend(value: &mut Value, depth: usize) {
    match value {
        Value::Object(object) => walk(object, depth),
        Value::Array(list) => {
            if depth > DEPTH_CAP {
                list.clear();
            }
            list.iter_mut().for_each(|value| descend(value, depth + 1));
        }
        _ => {}
    }
}

fn metadata(value: &mut Value) {
    let Some(metadata) = value.as_object_mut() else { return };
    if let Some(fields) = metadata.get_mut("managedFields") {
        match fields {
            Value::Array(list) => list.iter_mut().for_each(|entry| keep(entry, &["manager", "operation", "time"])),
            other => *other = Value::Null,
        }
    }
    if let Some(annotations) = metadata.get_mut("annotations") {
        match annotations {
            Value::Object(map) => {
                map.retain(|key, _| {
                    KEPT_ANNOTATIONS.iter().any(|part| key.contains(part))
                        && !key.contains("last-applied-configuration")
                });
                map.iter_mut().for_each(|(key, value)| annotation(key, value));
            }
            other => *other = Value::Null,
        }
    }
}

/// Two of Istio's annotations hold configuration with values of its own.
fn annotation(key: &str, value: &mut Value) {
    let Value::String(text) = value else { return };
    match key {
        "proxy.istio.io/config" => istio::mesh_config(text),
        // Containers as the author wrote them, with their variables, before injection changed them.
        "proxy.istio.io/overrides" => {
            *text = match serde_json::from_str::<Value>(text) {
                Ok(Value::Object(mut object)) => {
                    walk(&mut object, 0);
                    Value::Object(object).to_string()
                }
                _ => String::new(),
            };
        }
        _ => {}
    }
}

fn containers(value: &mut Value) {
    let Value::Array(list) = value else {
        // Not a list: not what the schema says, so nothing is known about what is in it.
        *value = Value::Null;
        return;
    };
    for container in list {
        match container {
            Value::Object(container) => one_container(container),
            other => *other = Value::Null,
        }
    }
}

fn one_container(container: &mut Map<String, Value>) {
    let of_istio = container.get("name").and_then(Value::as_str).is_some_and(|name| ISTIO_CONTAINERS.contains(&name));
    if !of_istio {
        container.remove("args");
        container.remove("command");
    }
    if let Some(env) = container.get_mut("env") {
        match env {
            Value::Array(list) => list.iter_mut().for_each(|variable| environment(variable, of_istio)),
            other => *other = Value::Null,
        }
    }
    for probe in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(probe) {
            handler(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle") {
        match lifecycle {
            Value::Object(hooks) => hooks.values_mut().for_each(handler),
            other => *other = Value::Null,
        }
    }
}

fn environment(variable: &mut Value, of_istio: bool) {
    let Some(object) = variable.as_object_mut() else {
        *variable = Value::Null;
        return;
    };
    let kept = of_istio && object.get("name").and_then(Value::as_str).is_some_and(|name| KEPT_ENV.contains(&name));
    object.retain(|key, _| matches!(key.as_str(), "name" | "valueFrom") || (kept && key == "value"));
    if let Some(from) = object.get_mut("valueFrom") {
        *from = json!({});
    }
    if object.get("name").is_some_and(|name| name == "PROXY_CONFIG")
        && let Some(Value::String(text)) = object.get_mut("value")
    {
        istio::mesh_config(text);
    }
}

/// A probe or a lifecycle hook: that there is one stays, what it runs or sends goes.
fn handler(value: &mut Value) {
    let Some(handler) = value.as_object_mut() else {
        *value = Value::Null;
        return;
    };
    if let Some(exec) = handler.get_mut("exec") {
        *exec = json!({});
    }
    if let Some(Value::Object(http)) = handler.get_mut("httpGet") {
        match http.get_mut("httpHeaders") {
            Some(Value::Array(headers)) => headers.iter_mut().for_each(|header| keep(header, &["name"])),
            Some(other) => *other = Value::Null,
            None => {}
        }
        if let Some(Value::String(path)) = http.get_mut("path")
            && let Some(query) = path.find('?')
        {
            path.truncate(query);
        }
    }
}

/// Volumes by kind: names of what they come from stay, options of drivers go.
fn volumes(value: &mut Value) {
    let Value::Array(list) = value else {
        *value = Value::Null;
        return;
    };
    for volume in list {
        let Some(volume) = volume.as_object_mut() else { continue };
        for (kind, source) in volume.iter_mut() {
            match kind.as_str() {
                "name" => {}
                "configMap" => keep(source, &["name", "optional", "defaultMode"]),
                "secret" => keep(source, &["secretName", "optional", "defaultMode"]),
                "emptyDir" => keep(source, &["medium", "sizeLimit"]),
                "hostPath" => keep(source, &["path", "type"]),
                "persistentVolumeClaim" => keep(source, &["claimName", "readOnly"]),
                "csi" => {
                    keep(source, &["driver", "readOnly", "volumeAttributes"]);
                    if let Some(attributes) = source.get_mut("volumeAttributes") {
                        keep(attributes, &["secretProviderClass"]);
                    }
                }
                "projected" => {
                    keep(source, &["sources", "defaultMode"]);
                    if let Some(Value::Array(parts)) = source.get_mut("sources") {
                        parts.iter_mut().for_each(projection);
                    }
                }
                _ => *source = json!({}),
            }
        }
    }
}

fn projection(part: &mut Value) {
    let Some(part) = part.as_object_mut() else { return };
    for (kind, source) in part.iter_mut() {
        match kind.as_str() {
            "configMap" | "secret" | "clusterTrustBundle" => keep(source, &["name", "optional"]),
            "serviceAccountToken" => keep(source, &["audience", "expirationSeconds", "path"]),
            _ => *source = json!({}),
        }
    }
}

/// A container that ended may have left the end of its log as its message.
fn statuses(value: &mut Value) {
    let Value::Array(list) = value else { return };
    for status in list {
        for state in ["state", "lastState"] {
            if let Some(Value::Object(ended)) = status.get_mut(state).and_then(|state| state.get_mut("terminated")) {
                ended.remove("message");
            }
        }
    }
}

/// Keeps the named fields of an object; anything else becomes an empty one.
fn keep(value: &mut Value, fields: &[&str]) {
    match value {
        Value::Object(object) => object.retain(|key, _| fields.contains(&key.as_str())),
        other => *other = json!({}),
    }
}
