//! Redaction of the texts that Istio keeps inside ConfigMaps, annotations and variables.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::mesh::mesh_config::first_document;
use crate::model::config_map::{ConfigMap, InjectorConfig};
use crate::model::yaml;

/// Stands for a text that did not parse: it parses neither as JSON nor as YAML, as the original did.
const BROKEN: &str = "[";

/// Keys of the injector's configuration (`Config` in `pkg/kube/inject/inject.go` of istio/istio); `template` is its
/// ancient form.
const INJECTOR_KEYS: [&str; 8] = [
    "policy",
    "neverInjectSelector",
    "alwaysInjectSelector",
    "injectedAnnotations",
    "defaultTemplates",
    "aliases",
    "templates",
    "template",
];

/// Of Istio's ConfigMaps the configuration stays; of all others only the keys.
pub(super) fn config_map(object: &mut Map<String, Value>) {
    let name = object.get("metadata").and_then(|m| m.get("name")).and_then(Value::as_str).unwrap_or_default();
    let of_istio = name.starts_with("istio");
    let Some(data) = object.get_mut("data") else { return };
    let Value::Object(data) = data else {
        *data = Value::Null;
        return;
    };
    let parses = |key: &str, data: &Map<String, Value>| {
        let text = data.get(key).and_then(Value::as_str).unwrap_or_default();
        let config = if key == "config" { text } else { "policy: enabled" };
        let mut map = ConfigMap::default();
        map.data.insert("config".to_owned(), config.to_owned());
        if key == "values" {
            map.data.insert("values".to_owned(), text.to_owned());
        }
        InjectorConfig::parse(&map).is_ok()
    };
    let (config_parses, values_parse) = (parses("config", data), parses("values", data));
    for (key, value) in data.iter_mut() {
        let Value::String(text) = value else {
            *value = Value::Null;
            continue;
        };
        match key.as_str() {
            "mesh" | "meshNetworks" if of_istio => mesh_config(text),
            "root-cert.pem" if of_istio => {}
            "prometheus-config" => scrape_config(text),
            // One setting: a regular expression on namespaces.
            "pod-annotation-based-scraping" => {}
            // What the decoder refuses must be refused again when the bundle is read.
            "config" if of_istio => *text = if config_parses { injector(text) } else { BROKEN.to_owned() },
            "values" if of_istio => *text = if values_parse { values(text) } else { BROKEN.to_owned() },
            _ => text.clear(),
        }
    }
}

/// Of what istiod says about a proxy, the fields that are read: names, versions, and what was sent and accepted when.
pub(super) fn xds(object: &mut Map<String, Value>) {
    object.retain(|key, _| matches!(key.as_str(), "istiod" | "proxy"));
    let Some(Value::Object(proxy)) = object.get_mut("proxy") else { return };
    proxy.retain(|key, _| matches!(key.as_str(), "istiod" | "connectedAt" | "connections" | "syncz"));
    let Some(syncz) = proxy.get_mut("syncz") else { return };
    super::keep(syncz, &["proxy", "proxy_type", "istio_version", "cluster_id", "resources"]);
    if let Some(Value::Object(resources)) = syncz.get_mut("resources") {
        resources.values_mut().for_each(|one| super::keep(one, &["sent", "acked", "sentTime", "lastError"]));
    }
}

/// The injector's configuration with its templates replaced by their hashes. JSON is YAML, so it is written as that.
fn injector(text: &str) -> String {
    let Ok(Value::Object(mut config)) = yaml::to_json(text) else {
        // An empty text parses as a configuration without content, too.
        return "{}".to_owned();
    };
    config.retain(|key, _| INJECTOR_KEYS.contains(&key.as_str()));
    for key in ["templates", "template"] {
        match config.get_mut(key) {
            Some(Value::Object(templates)) => templates.values_mut().for_each(hash),
            Some(Value::Null) | None => {}
            Some(other) => hash(other),
        }
    }
    Value::Object(config).to_string()
}

fn hash(value: &mut Value) {
    let text = match &*value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let digest = Sha256::digest(text.as_bytes());
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    *value = Value::String(format!("sha256:{hex}"));
}

/// The values the injector was installed with. Tracers are configured with access tokens there.
fn values(text: &str) -> String {
    let Ok(Value::Object(mut values)) = serde_json::from_str::<Value>(text) else { return "{}".to_owned() };
    let cni = values.get("pilot").and_then(|pilot| pilot.pointer("/cni/enabled")).and_then(Value::as_bool);
    values.retain(|key, _| matches!(key.as_str(), "global" | "revision" | "sidecarInjectorWebhook"));
    if let Some(cni) = cni {
        values.insert("pilot".to_owned(), serde_json::json!({"cni": {"enabled": cni}}));
    }
    if let Some(Value::Object(global)) = values.get_mut("global") {
        global.remove("tracer");
    }
    let mut values = Value::Object(values);
    scrub(&mut values);
    values.to_string()
}

/// Mesh or proxy configuration: unchanged unless it holds one of the few fields whose values are the owner's own.
pub(super) fn mesh_config(text: &mut String) {
    if text.is_empty() {
        return;
    }
    match first_document(text) {
        Ok(mut config) => {
            // istiod reads the first document only; what follows it is not looked through, so it goes.
            let is_alone = yaml::from_str::<Value>(text).is_ok();
            if scrub(&mut config) || !is_alone {
                *text = if config.is_null() { String::new() } else { config.to_string() };
            }
        }
        Err(error) => *text = unreadable(text, &error.to_string()),
    }
}

/// A text that does not parse, without its words but with its layout, so that it is refused for the same reason and in
/// the same place when the bundle is read.
fn unreadable(text: &str, reason: &str) -> String {
    const LAYOUT: &[char] = &[' ', '\t', '\n', '\r', ':', '-', ',', '[', ']', '{', '}', '"', '\''];
    let masked: String = text.chars().map(|c| if LAYOUT.contains(&c) { c } else { 'x' }).collect();
    match first_document(&masked) {
        Err(other) if other.to_string() == reason => masked,
        _ => BROKEN.to_owned(),
    }
}

/// Empties variables, headers and credentials at any depth; says whether there were any.
fn scrub(value: &mut Value) -> bool {
    match value {
        Value::Array(list) => {
            // Every element must be visited, so no short-circuiting `any`.
            let mut found = false;
            for value in list {
                found |= scrub(value);
            }
            found
        }
        Value::Object(object) => {
            let mut found = false;
            for (key, value) in object.iter_mut() {
                found |= match key.as_str() {
                    "proxyMetadata" | "env" => empty(value, true),
                    "headers" | "customTags" => empty(value, false),
                    _ if is_credential(key) && value.is_string() => empty(value, false),
                    _ => scrub(value),
                };
            }
            found
        }
        _ => false,
    }
}

fn is_credential(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    ["accesstoken", "password", "apikey", "api_key", "secretkey", "access_token"].iter().any(|word| key.contains(word))
}

/// Empties every text below a value. Istio's own switches among variables stay: they are public names of features.
fn empty(value: &mut Value, variables: bool) -> bool {
    match value {
        Value::String(text) if text.is_empty() => false,
        Value::Null => false,
        Value::Object(map) => map.iter_mut().fold(false, |found, (key, value)| {
            let keep = (variables && key.starts_with("ISTIO_META_DNS")) || (!variables && key == "name");
            (!keep && empty(value, variables)) || found
        }),
        Value::Array(list) => {
            let mut found = false;
            for value in list {
                found |= empty(value, variables);
            }
            found
        }
        other => {
            *other = Value::String(String::new());
            true
        }
    }
}

/// Of an EnvoyFilter what it patches stays; the patches themselves can hold scripts, headers and credentials.
pub(super) fn envoy_filter(object: &mut Map<String, Value>) {
    let Some(patches) = object.get_mut("spec").and_then(|spec| spec.get_mut("configPatches")) else { return };
    let Value::Array(patches) = patches else {
        *patches = Value::Null;
        return;
    };
    for patch in patches.iter_mut().filter_map(|patch| patch.get_mut("patch")).filter_map(Value::as_object_mut) {
        patch.retain(|key, _| key == "operation");
    }
}

/// Of a Telemetry the fields stay; the values of tags and the texts of filters are the owner's own.
pub(super) fn telemetry(object: &mut Map<String, Value>) {
    if let Some(spec) = object.get_mut("spec") {
        scrub(spec);
    }
}

/// The parameters of a SecretProviderClass are those of any provider: only the vault's and the objects' names stay.
pub(super) fn secret_provider_class(object: &mut Map<String, Value>) {
    let Some(parameters) = object.get_mut("spec").and_then(|spec| spec.get_mut("parameters")) else { return };
    match parameters {
        Value::Object(map) => map.retain(|key, _| matches!(key.as_str(), "keyvaultName" | "objects" | "tenantId")),
        other => *other = Value::Null,
    }
}

/// A scrape configuration: which jobs there are and what they look for; credentials and addresses go.
fn scrape_config(text: &mut String) {
    const KEPT: [&str; 4] = ["job_name", "metrics_path", "kubernetes_sd_configs", "relabel_configs"];
    let Ok(Value::Object(mut config)) = yaml::from_str::<Value>(text) else {
        BROKEN.clone_into(text);
        return;
    };
    config.retain(|key, _| key == "scrape_configs");
    if let Some(Value::Array(jobs)) = config.get_mut("scrape_configs") {
        for job in jobs.iter_mut() {
            match job {
                Value::Object(job) => {
                    job.retain(|key, _| KEPT.contains(&key.as_str()));
                    if let Some(Value::Array(discovery)) = job.get_mut("kubernetes_sd_configs") {
                        discovery.iter_mut().for_each(|entry| super::keep(entry, &["role", "namespaces"]));
                    }
                }
                other => *other = Value::Null,
            }
        }
    } else {
        config.clear();
    }
    *text = Value::Object(config).to_string();
}
