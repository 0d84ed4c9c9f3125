//! The mesh configuration of each revision: what AKS manages, what the user adds, and what istiod makes of both.
//!
//! istiod applies the shared ConfigMap first and the managed one over it (`toSources` in `pilot/pkg/bootstrap/mesh.go`,
//! `NewCollection` in `pkg/config/mesh/meshwatcher/collection.go`). A field of the later one replaces the earlier value
//! as a whole. Finer are only `defaultConfig` and `defaultProviders` (field by field), `defaultConfig.proxyMetadata` and
//! `proxyHeaders` (key by key), `extensionProviders` (by name) and `trustDomainAliases` (both together); see
//! `ApplyMeshConfig` in `pkg/config/mesh/mesh.go`. Names that Istio does not know are dropped without a word.

mod document;
pub mod schema;

use std::collections::BTreeMap;

use serde_json::Value;

pub use document::{Document, Fault, KEY, Unknown, first_document};

use crate::facts::{FieldPolicy, Tier};
use crate::mesh::control_plane::Revision;
use crate::model::ConfigMap;
use crate::snapshot::Snapshot;
use crate::sources::SYSTEM_NAMESPACE;

/// What all names of shared ConfigMaps begin with.
pub const SHARED_PREFIX: &str = "istio-shared-configmap";

/// The ConfigMap that AKS manages for a revision.
#[must_use]
pub fn managed_name(revision: &str) -> String {
    format!("istio-{revision}")
}

/// The ConfigMap that belongs to the user (<https://learn.microsoft.com/azure/aks/istio-meshconfig>).
#[must_use]
pub fn shared_name(revision: &str) -> String {
    format!("{SHARED_PREFIX}-{revision}")
}

/// Which of the two ConfigMaps sets something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The user's.
    Shared,
    /// AKS's.
    Managed,
}

/// One of the two ConfigMaps.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The object.
    pub map: &'a ConfigMap,
    /// What it says.
    pub document: Result<Document, Fault>,
}

impl<'a> Source<'a> {
    /// Reads a ConfigMap.
    #[must_use]
    pub fn new(map: &'a ConfigMap) -> Self {
        Self { map, document: Document::of(map) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.map.metadata.name
    }
}

/// The mesh configuration of one revision.
#[derive(Clone, Debug)]
pub struct MeshConfig<'a> {
    /// The revision.
    pub revision: String,
    /// What AKS manages, where that exists.
    pub managed: Option<Source<'a>>,
    /// What the user adds, where that exists.
    pub shared: Option<Source<'a>>,
}

/// One setting in force.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting<'m> {
    /// Its path, such as `defaultConfig.concurrency` or `extensionProviders[zipkin]`.
    pub path: String,
    /// Its value.
    pub value: &'m Value,
    /// Who set it.
    pub origin: Origin,
    /// How Microsoft treats it.
    pub tier: Tier,
    /// The user's value, where the managed one replaces it and differs.
    pub overruled: Option<&'m Value>,
}

/// The mesh configurations of the installed revisions.
#[must_use]
pub fn mesh_configs<'a>(snapshot: &'a Snapshot, revisions: &[Revision<'a>]) -> Vec<MeshConfig<'a>> {
    let maps = snapshot.system_config_maps.items().unwrap_or_default();
    let find = |name: &str| {
        maps.iter().find(|map| map.metadata.namespace == SYSTEM_NAMESPACE && map.metadata.name == name).map(Source::new)
    };
    revisions
        .iter()
        .map(|revision| MeshConfig {
            revision: revision.name.clone(),
            managed: find(&managed_name(&revision.name)),
            shared: find(&shared_name(&revision.name)),
        })
        .collect()
}

impl MeshConfig<'_> {
    /// What the user adds, where it can be used.
    #[must_use]
    pub fn user(&self) -> Option<&Document> {
        self.shared.as_ref()?.document.as_ref().ok()
    }

    /// What AKS manages, where it can be used.
    #[must_use]
    pub fn aks(&self) -> Option<&Document> {
        self.managed.as_ref()?.document.as_ref().ok()
    }

    /// Everything in force that one of the two sets, by path. `trustDomainAliases` is there once for each of them.
    #[must_use]
    pub fn settings(&self, policy: &FieldPolicy) -> Vec<Setting<'_>> {
        let mut found: BTreeMap<String, Setting<'_>> = BTreeMap::new();
        let mut beside = Vec::new();
        let of_user = self.user().into_iter().flat_map(Document::leaves).map(|leaf| (leaf, Origin::Shared));
        let of_aks = self.aks().into_iter().flat_map(Document::leaves).map(|leaf| (leaf, Origin::Managed));
        for ((path, value), origin) in of_user.chain(of_aks) {
            let tier = tier(policy, &path);
            let mut setting = Setting { path: path.clone(), value, origin, tier, overruled: None };
            if let Some(earlier) = found.get(&path).filter(|earlier| earlier.origin != origin) {
                if path == "trustDomainAliases" {
                    beside.push(setting);
                    continue;
                }
                setting.overruled = (!is_hidden(&path) && !same(earlier.value, value)).then_some(earlier.value);
            }
            found.insert(path, setting);
        }
        found.into_values().chain(beside).collect()
    }

    /// The value in force at a path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.aks().and_then(|aks| aks.get(path)).or_else(|| self.user().and_then(|user| user.get(path)))
    }

    /// A switch in force at a path.
    #[must_use]
    pub fn switch(&self, path: &str) -> Option<bool> {
        match self.get(path)? {
            Value::Bool(on) => Some(*on),
            Value::String(text) => Some(["y", "yes", "on"].iter().any(|word| text.eq_ignore_ascii_case(word))),
            _ => None,
        }
    }
}

/// How Microsoft treats the setting at a path.
#[must_use]
pub fn tier(policy: &FieldPolicy, path: &str) -> Tier {
    let head = |path: &str| path.split(['.', '[']).next().unwrap_or_default().to_owned();
    match path.strip_prefix("defaultConfig.") {
        Some(rest) => policy.default_config_tier(&head(rest)),
        None => policy.tier(&head(path)),
    }
}

/// Whether a bundle leaves out the value at a path.
fn is_hidden(path: &str) -> bool {
    path.strip_prefix("defaultConfig.proxyMetadata.").is_some_and(|variable| !variable.starts_with("ISTIO_META_DNS"))
}

/// Whether two values mean the same. What bundles leave out (variables, headers, tags, credentials) is not compared, so
/// that a bundle gives the same answer as the cluster.
fn same(a: &Value, b: &Value) -> bool {
    const LEFT_OUT: [&str; 4] = ["proxyMetadata", "env", "headers", "customTags"];
    const CREDENTIALS: [&str; 6] = ["accesstoken", "password", "apikey", "api_key", "secretkey", "access_token"];
    let left_out = |key: &str| {
        let lower = key.to_ascii_lowercase();
        LEFT_OUT.contains(&key) || CREDENTIALS.iter().any(|word| lower.contains(word))
    };
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let keys = |map: &'_ serde_json::Map<String, Value>| map.keys().cloned().collect::<Vec<_>>();
            keys(a) == keys(b)
                && a.iter().all(|(key, value)| left_out(key) || b.get(key).is_some_and(|b| same(value, b)))
        }
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        // Istio takes numbers with and without quotes.
        (Value::Number(number), Value::String(text)) | (Value::String(text), Value::Number(number)) => {
            number.to_string() == *text
        }
        (a, b) => a == b,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::facts::Facts;

    fn map(text: &str) -> ConfigMap {
        ConfigMap { data: [(KEY.to_owned(), text.to_owned())].into(), ..ConfigMap::default() }
    }

    /// `path = value, by whom` and what was overruled.
    fn merged(shared: &str, managed: &str) -> Vec<(String, String, Origin, Option<String>)> {
        let (shared, managed) = (map(shared), map(managed));
        let config = MeshConfig {
            revision: "asm-1-30".to_owned(),
            managed: Some(Source::new(&managed)),
            shared: Some(Source::new(&shared)),
        };
        let facts = Facts::built_in().unwrap();
        let settings = config.settings(&facts.mesh_config);
        settings
            .iter()
            .map(|s| (s.path.clone(), s.value.to_string(), s.origin, s.overruled.map(ToString::to_string)))
            .collect()
    }

    fn line(path: &str, value: &str, origin: Origin, over: Option<&str>) -> (String, String, Origin, Option<String>) {
        (path.to_owned(), value.to_owned(), origin, over.map(str::to_owned))
    }

    #[test]
    fn the_managed_one_wins_field_by_field_and_replaces_what_it_sets_as_a_whole() {
        let found = merged(
            "accessLogFile: /dev/stdout\ntrustDomain: mine\noutboundTrafficPolicy: {mode: REGISTRY_ONLY}\n\
             defaultServiceExportTo: [a, b]\ndefaultConfig: {concurrency: 2, discoveryAddress: mine}\n",
            "trustDomain: cluster.local\noutboundTrafficPolicy: {}\ndefaultServiceExportTo: ['*']\n\
             defaultConfig: {discoveryAddress: istiod}\n",
        );
        let (managed, shared) = (Origin::Managed, Origin::Shared);
        let expected = [
            line("accessLogFile", r#""/dev/stdout""#, shared, None),
            line("defaultConfig.concurrency", "2", shared, None),
            line("defaultConfig.discoveryAddress", r#""istiod""#, managed, Some(r#""mine""#)),
            line("defaultServiceExportTo", r#"["*"]"#, managed, Some(r#"["a","b"]"#)),
            line("outboundTrafficPolicy", "{}", managed, Some(r#"{"mode":"REGISTRY_ONLY"}"#)),
            line("trustDomain", r#""cluster.local""#, managed, Some(r#""mine""#)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn providers_join_by_name_and_aliases_by_union() {
        let found = merged(
            "extensionProviders: [{name: z, zipkin: {}}, {name: y, zipkin: {}}]\ntrustDomainAliases: [a]\n\
             defaultProviders: {tracing: [z]}\n",
            "extensionProviders: [{name: z, datadog: {}}]\ntrustDomainAliases: [b]\ndefaultProviders: {metrics: [p]}\n",
        );
        let (managed, shared) = (Origin::Managed, Origin::Shared);
        let expected = [
            line("defaultProviders.metrics", r#"["p"]"#, managed, None),
            line("defaultProviders.tracing", r#"["z"]"#, shared, None),
            line("extensionProviders[y]", r#"{"name":"y","zipkin":{}}"#, shared, None),
            line("extensionProviders[z]", r#"{"datadog":{},"name":"z"}"#, managed, Some(r#"{"name":"z","zipkin":{}}"#)),
            line("trustDomainAliases", r#"["a"]"#, shared, None),
            line("trustDomainAliases", r#"["b"]"#, managed, None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn equal_values_and_values_that_bundles_leave_out_are_no_conflict() {
        let found = merged(
            "trustDomain: cluster.local\nproxyListenPort: '15001'\n\
             defaultConfig: {proxyMetadata: {A: mine, ISTIO_META_DNS_CAPTURE: 'true'}}\n",
            "trust_domain: cluster.local\nproxyListenPort: 15001\n\
             defaultConfig: {proxyMetadata: {A: other, ISTIO_META_DNS_CAPTURE: 'false'}}\n",
        );
        let overruled: Vec<_> = found.iter().filter(|s| s.3.is_some()).map(|s| s.0.as_str()).collect();
        assert_eq!(overruled, ["defaultConfig.proxyMetadata.ISTIO_META_DNS_CAPTURE"]);
    }

    #[test]
    fn a_source_that_cannot_be_used_sets_nothing() {
        let (shared, managed) = (map("accessLogFile: [\n"), map("enableTracing: yes\n"));
        let config = MeshConfig {
            revision: String::new(),
            managed: Some(Source::new(&managed)),
            shared: Some(Source::new(&shared)),
        };
        assert_eq!(config.get("accessLogFile"), None);
        assert_eq!(config.switch("enableTracing"), Some(true));
    }

    #[test]
    fn tiers_are_those_of_the_published_table() {
        let facts = Facts::built_in().unwrap();
        for (path, expected) in [
            ("accessLogFile", Tier::Supported),
            ("extensionProviders[zipkin]", Tier::Allowed),
            ("rootNamespace", Tier::Blocked),
            ("defaultConfig.concurrency", Tier::Supported),
            ("defaultConfig.proxyMetadata.A", Tier::Allowed),
            ("defaultConfig.discoveryAddress", Tier::Blocked),
        ] {
            assert_eq!(tier(&facts.mesh_config, path), expected, "{path}");
        }
        // Every field of the table is a field of Istio: a misspelt one would make the real one blocked.
        for field in facts.mesh_config.fields.keys() {
            assert_eq!(schema::known(schema::MESH, field).map(|f| f.0), Some(field.as_str()));
        }
        for field in facts.mesh_config.default_config.keys() {
            assert_eq!(schema::known(schema::PROXY, field).map(|f| f.0), Some(field.as_str()));
        }
    }
}
