//! ConfigMaps, and the injector's configuration inside one.

use jiff::Timestamp;
use serde::Deserialize;

use super::meta::{StringMap, lenient_time};
use super::{LabelSelector, Meta, nullable};

/// A ConfigMap.
#[derive(Clone, Debug, Default)]
pub struct ConfigMap {
    /// Object metadata.
    pub metadata: Meta,
    /// Text values.
    pub data: StringMap,
    /// Who wrote it, and when, as the API server keeps it in `managedFields`.
    pub managers: Vec<Manager>,
}

/// One writer of an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Manager {
    /// Its name, such as `helm-controller` or `kubectl-edit`.
    #[serde(default, deserialize_with = "nullable")]
    pub manager: String,
    /// When it last wrote.
    #[serde(default, deserialize_with = "lenient_time")]
    pub time: Option<Timestamp>,
}

impl<'de> Deserialize<'de> for ConfigMap {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Raw {
            #[serde(default, deserialize_with = "nullable")]
            metadata: RawMeta,
            #[serde(default, deserialize_with = "nullable")]
            data: StringMap,
        }
        // Only ConfigMaps are asked who wrote them: on pods the list is long, and reading it would cost.
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct RawMeta {
            #[serde(default, deserialize_with = "nullable")]
            managed_fields: Vec<Manager>,
            #[serde(flatten)]
            meta: Meta,
        }
        let Raw { metadata, data } = Raw::deserialize(deserializer)?;
        Ok(Self { metadata: metadata.meta, data, managers: metadata.managed_fields })
    }
}

/// What istiod decides with once a webhook has called it: ConfigMap `istio-sidecar-injector-REVISION`.
///
/// Shape: key `config` (YAML) and key `values` (JSON), see `pkg/kube/inject/webhook.go` in istio/istio.
#[derive(Clone, Debug, Default)]
pub struct InjectorConfig {
    /// `enabled`, `disabled`, or anything else, which injects nothing.
    pub policy: String,
    /// Pods that are never injected by default.
    pub never: Vec<LabelSelector>,
    /// Pods that are always injected by default.
    pub always: Vec<LabelSelector>,
    /// The image that new sidecars get, where the values tell.
    pub proxy_image: Option<String>,
    /// Whether new pods leave the redirection of their traffic to Istio's CNI plugin, where the values tell:
    /// `pilot.cni.enabled` (`manifests/charts/istio-control/istio-discovery/files/injection-template.yaml`).
    pub cni: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawConfig {
    #[serde(deserialize_with = "nullable")]
    policy: String,
    #[serde(deserialize_with = "nullable")]
    never_inject_selector: Vec<LabelSelector>,
    #[serde(deserialize_with = "nullable")]
    always_inject_selector: Vec<LabelSelector>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawValues {
    #[serde(deserialize_with = "nullable")]
    global: RawGlobal,
    // Only one setting below is read; any other shape costs just that.
    pilot: serde_json::Value,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawGlobal {
    #[serde(deserialize_with = "nullable")]
    hub: String,
    #[serde(deserialize_with = "tag")]
    tag: String,
    #[serde(deserialize_with = "nullable")]
    variant: String,
    #[serde(deserialize_with = "nullable")]
    proxy: RawProxy,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawProxy {
    #[serde(deserialize_with = "nullable")]
    image: String,
}

/// Helm lets a tag be a number.
fn tag<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match serde_json::Value::deserialize(deserializer)? {
        serde_json::Value::String(text) => text,
        serde_json::Value::Number(number) => number.to_string(),
        _ => String::new(),
    })
}

impl InjectorConfig {
    /// Parses the injector's ConfigMap.
    ///
    /// # Errors
    /// A sentence saying which key is absent or does not parse.
    pub fn parse(map: &ConfigMap) -> Result<Self, String> {
        let config = map.data.get("config").ok_or("key config is absent")?;
        // As istiod, by way of JSON: read as YAML, a label without a value would become the word null.
        let raw: RawConfig = match super::yaml::to_json(config) {
            Ok(serde_json::Value::Null) => RawConfig::default(),
            Ok(object @ serde_json::Value::Object(_)) => {
                serde_json::from_value(object).map_err(|_| "key config does not parse")?
            }
            _ => return Err("key config does not parse".to_owned()),
        };
        // By way of JSON as well: what is skipped while reading is looked at less closely than what is kept, and redaction
        // has to keep everything.
        let values: RawValues = match map.data.get("values").map(|text| serde_json::from_str(text)) {
            None => RawValues::default(),
            Some(Ok(object @ serde_json::Value::Object(_))) => {
                serde_json::from_value(object).map_err(|_| "key values does not parse")?
            }
            Some(_) => return Err("key values does not parse".to_owned()),
        };
        Ok(Self {
            policy: raw.policy,
            never: raw.never_inject_selector,
            always: raw.always_inject_selector,
            proxy_image: proxy_image(&values.global),
            cni: values.pilot.pointer("/cni/enabled").and_then(serde_json::Value::as_bool),
        })
    }
}

/// How the injection template builds the image: a name with a slash is complete, otherwise hub/name:tag[-variant]
/// (`ProxyImage` in `pkg/kube/inject/inject.go` of istio/istio).
fn proxy_image(global: &RawGlobal) -> Option<String> {
    let name = &global.proxy.image;
    if name.is_empty() {
        return None;
    }
    if name.contains('/') {
        return Some(name.clone());
    }
    if global.hub.is_empty() || global.tag.is_empty() {
        return None;
    }
    let variant = if global.variant.is_empty() { String::new() } else { format!("-{}", global.variant) };
    Some(format!("{}/{name}:{}{variant}", global.hub, global.tag))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn map(config: &str, values: &str) -> ConfigMap {
        ConfigMap {
            metadata: Meta::default(),
            data: [("config".to_owned(), config.to_owned()), ("values".to_owned(), values.to_owned())].into(),
            managers: Vec::new(),
        }
    }

    #[test]
    fn policy_selectors_and_image_are_read() {
        let parsed = InjectorConfig::parse(&map(
            "policy: enabled\nneverInjectSelector:\n- matchLabels: {job: batch}\nalwaysInjectSelector: null\ntemplates: {sidecar: x}\n",
            r#"{"global":{"hub":"mcr.microsoft.com/oss/v2/istio","tag":"v1.28.9-2","proxy":{"image":"proxyv2"}}}"#,
        ))
        .unwrap();
        assert_eq!(parsed.policy, "enabled");
        assert_eq!(parsed.never.len(), 1);
        assert_eq!(parsed.proxy_image.as_deref(), Some("mcr.microsoft.com/oss/v2/istio/proxyv2:v1.28.9-2"));
    }

    #[test]
    fn a_complete_image_stays_as_it_is() {
        let parsed =
            InjectorConfig::parse(&map("policy: enabled", r#"{"global":{"proxy":{"image":"h/p:1"},"tag":3}}"#))
                .unwrap();
        assert_eq!(parsed.proxy_image.as_deref(), Some("h/p:1"));
    }

    #[test]
    fn the_redirection_is_read_and_an_odd_shape_costs_only_itself() {
        for (values, cni) in [
            (r#"{"pilot":{"cni":{"enabled":true,"provider":"default"}}}"#, Some(true)),
            (r#"{"pilot":{"cni":{"enabled":false}}}"#, Some(false)),
            (r#"{"pilot":{"cni":{"enabled":"yes"}}}"#, None),
            (r#"{"pilot":null}"#, None),
            ("{}", None),
        ] {
            assert_eq!(InjectorConfig::parse(&map("policy: enabled", values)).unwrap().cni, cni, "{values}");
        }
    }

    #[test]
    fn broken_text_is_an_error_not_a_default() {
        assert!(InjectorConfig::parse(&map("policy: [", "{}")).is_err());
        for values in ["{", "[]", "null", r#"{"revision":"\ud800"}"#, r#"{"other":1e999}"#] {
            assert!(InjectorConfig::parse(&map("policy: enabled", values)).is_err(), "{values}");
        }
    }
}
