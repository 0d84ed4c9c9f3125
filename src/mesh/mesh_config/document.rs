//! One mesh configuration as it stands in a ConfigMap.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::schema::{self, Kind, MESH, PROXY};
use crate::model::ConfigMap;
use crate::model::yaml::{YamlError, is_shallow};

/// The key that istiod reads (`MeshConfigKey` in `pkg/config/mesh/kubemesh/watcher.go` of istio/istio).
pub const KEY: &str = "mesh";

/// Why a ConfigMap gives no mesh configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no key `mesh`, but there are others.
    NoKey {
        /// What is there.
        present: Vec<String>,
        /// The one that was probably meant.
        nearest: Option<String>,
    },
    /// It is no YAML.
    Syntax {
        /// Line, from 1.
        line: Option<usize>,
        /// Whether a tab stands where only spaces may.
        tab: bool,
        /// The parser's words.
        message: String,
    },
    /// It is YAML, but a single text or a list.
    NotAMapping,
    /// A field holds something of another kind; Istio's decoder then gives up.
    Type {
        /// The field.
        path: String,
        /// What it holds by Istio's definition.
        expected: Kind,
    },
}

/// A name that no field has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unknown {
    /// Where it stands, such as `defaultConfig.concurency`.
    pub path: String,
    /// What was probably meant, with its place.
    pub instead: Option<String>,
}

/// A parsed mesh configuration.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    fields: Map<String, Value>,
}

/// The first YAML document of a text, which is the only one that istiod reads.
///
/// # Errors
/// When it is no YAML.
pub fn first_document(text: &str) -> Result<Value, YamlError> {
    if !is_shallow(text) {
        return Err(YamlError::Deep);
    }
    match serde_yaml::Deserializer::from_str(text).next() {
        Some(document) => Ok(Option::<Value>::deserialize(document)?.unwrap_or_default()),
        None => Ok(Value::Null),
    }
}

impl Document {
    /// Parses the mesh configuration in a ConfigMap.
    ///
    /// # Errors
    /// What keeps istiod from using it.
    pub fn of(map: &ConfigMap) -> Result<Self, Fault> {
        match map.data.get(KEY) {
            Some(text) => Self::parse(text),
            None if map.data.is_empty() => Ok(Self::default()),
            None => {
                let near = |key: &&str| schema::distance(&key.to_ascii_lowercase(), KEY) <= 2 || key.contains(KEY);
                let nearest = map.data.keys().find(near).map(str::to_owned);
                Err(Fault::NoKey { present: map.data.keys().map(str::to_owned).collect(), nearest })
            }
        }
    }

    /// Parses a mesh configuration.
    ///
    /// # Errors
    /// What keeps istiod from using it.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let value = first_document(text).map_err(|error| {
            let line = error.line();
            let tabbed = |line: &&str| line.trim_start_matches(' ').starts_with('\t');
            let at = line.and_then(|line| text.lines().nth(line - 1));
            let tab =
                at.filter(tabbed).map(|_| line).or_else(|| text.lines().position(|l| tabbed(&l)).map(|i| Some(i + 1)));
            Fault::Syntax { line: tab.flatten().or(line), tab: tab.is_some(), message: error.to_string() }
        })?;
        let document = match value {
            Value::Object(fields) => Self { fields },
            Value::Null => Self::default(),
            _ => return Err(Fault::NotAMapping),
        };
        match document.wrong_type() {
            Some((path, expected)) => Err(Fault::Type { path, expected }),
            None => Ok(document),
        }
    }

    fn wrong_type(&self) -> Option<(String, Kind)> {
        let top = self.fields.iter().filter_map(|(name, value)| {
            let (field, kind) = schema::known(MESH, name)?;
            (!kind.takes(value)).then(|| (field.to_owned(), kind))
        });
        let proxy = self.proxy().filter_map(|(name, value)| {
            let (field, kind) = schema::known(PROXY, name)?;
            (!kind.takes(value)).then(|| (format!("defaultConfig.{field}"), kind))
        });
        top.chain(proxy).next()
    }

    /// What stands below `defaultConfig`. By its proto name istiod decodes it and then drops it, because it looks for
    /// the JSON name alone when it merges (`ApplyMeshConfig` in `pkg/config/mesh/mesh.go`).
    fn proxy(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.get("defaultConfig").and_then(Value::as_object).into_iter().flatten()
    }

    /// Known fields, top-level ones first, with whether they stand below `defaultConfig`.
    pub fn known(&self) -> impl Iterator<Item = (&'static str, bool, &Value)> {
        let top = self
            .fields
            .iter()
            .filter(|(name, _)| !is_dropped(name))
            .filter_map(|(name, value)| Some((schema::known(MESH, name)?.0, value)));
        let proxy = self.proxy().filter_map(|(name, value)| Some((schema::known(PROXY, name)?.0, value)));
        top.map(|(name, value)| (name, false, value))
            .chain(proxy.map(|(name, value)| (name, true, value)))
            .filter(|(_, _, value)| !value.is_null())
    }

    /// Names that no field has, and names that istiod reads but drops.
    #[must_use]
    pub fn unknown(&self) -> Vec<Unknown> {
        let mut found: Vec<Unknown> = self
            .fields
            .keys()
            .filter(|name| *name != "<<")
            .filter(|name| schema::known(MESH, name).is_none() || is_dropped(name))
            .map(|name| Unknown { path: name.clone(), instead: instead_at_top(name) })
            .collect();
        found.extend(self.proxy().filter(|(name, _)| *name != "<<" && schema::known(PROXY, name).is_none()).map(
            |(name, _)| Unknown { path: format!("defaultConfig.{name}"), instead: instead_below_default_config(name) },
        ));
        found
    }

    /// Every setting by its path, as fine as istiod merges: see [`super::MeshConfig::settings`].
    pub(super) fn leaves(&self) -> Vec<(String, &Value)> {
        let mut leaves = Vec::new();
        for (name, is_proxy, value) in self.known() {
            match (is_proxy, name, value) {
                (false, "defaultConfig", _) => {}
                (false, "defaultProviders", Value::Object(parts)) => {
                    leaves.extend(parts.iter().map(|(part, value)| (format!("defaultProviders.{part}"), value)));
                }
                (false, "extensionProviders", Value::Array(list)) => leaves.extend(list.iter().map(|provider| {
                    let name = provider.get("name").and_then(Value::as_str).unwrap_or_default();
                    (format!("extensionProviders[{name}]"), provider)
                })),
                (true, "proxyMetadata" | "proxyHeaders", Value::Object(parts)) => {
                    leaves.extend(parts.iter().map(|(part, value)| (format!("defaultConfig.{name}.{part}"), value)));
                }
                (true, _, _) => leaves.push((format!("defaultConfig.{name}"), value)),
                (false, _, _) => leaves.push((name.to_owned(), value)),
            }
        }
        leaves.retain(|(_, value)| !value.is_null());
        leaves
    }

    /// The value at a path. A provider that is listed twice is in force as it stands last.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Value> {
        self.leaves().into_iter().rfind(|(leaf, _)| leaf == path).map(|(_, value)| value)
    }
}

fn is_dropped(name: &str) -> bool {
    matches!(name, "default_config" | "default_providers")
}

fn instead_at_top(name: &str) -> Option<String> {
    if matches!(name, "meshConfig" | "mesh_config" | "mesh") {
        return Some("its content, one level up".to_owned());
    }
    let below = |field: &str| format!("defaultConfig.{field}");
    let exact = schema::known(PROXY, name).map(|(field, _)| below(field));
    exact.or_else(|| schema::nearest(MESH, name).map(str::to_owned)).or_else(|| schema::nearest(PROXY, name).map(below))
}

fn instead_below_default_config(name: &str) -> Option<String> {
    let above = |field: &str| format!("{field}, outside defaultConfig");
    let exact = schema::known(MESH, name).map(|(field, _)| above(field));
    exact
        .or_else(|| schema::nearest(PROXY, name).map(|field| format!("defaultConfig.{field}")))
        .or_else(|| schema::nearest(MESH, name).map(above))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn empty_texts_set_nothing_and_only_the_first_document_counts() {
        for text in ["", "# nothing yet\n", "---\n", "null", "{}", "~\n"] {
            assert_eq!(Document::parse(text), Ok(Document::default()), "{text:?}");
        }
        let two = Document::parse("accessLogFile: /dev/stdout\n---\naccessLogFile: [\n").unwrap();
        assert_eq!(two.leaves().len(), 1);
    }

    #[test]
    fn a_tab_is_named_with_its_line() {
        let fault = Document::parse("accessLogFile: /dev/stdout\ndefaultConfig:\n\tconcurrency: 2\n").unwrap_err();
        assert!(matches!(fault, Fault::Syntax { line: Some(3), tab: true, .. }), "{fault:?}");
    }

    #[test]
    fn broken_indentation_is_named_with_its_line() {
        let fault = Document::parse("defaultConfig:\n  concurrency: 2\n drainDuration: 5s\n").unwrap_err();
        assert!(matches!(fault, Fault::Syntax { line: Some(3), tab: false, .. }), "{fault:?}");
    }

    #[test]
    fn a_text_or_list_is_no_configuration() {
        for text in ["accessLogFile", "- accessLogFile: /dev/stdout", "3"] {
            assert_eq!(Document::parse(text), Err(Fault::NotAMapping), "{text}");
        }
    }

    #[test]
    fn a_value_that_the_decoder_refuses_is_named_by_its_path() {
        let fault = Document::parse("defaultConfig:\n  terminationDrainDuration: 30\n").unwrap_err();
        let path = "defaultConfig.terminationDrainDuration".to_owned();
        assert_eq!(fault, Fault::Type { path, expected: Kind::Duration });
    }

    #[test]
    fn another_key_is_found_out() {
        let mut map = ConfigMap::default();
        assert_eq!(Document::of(&map), Ok(Document::default()));
        map.data.insert("meshConfig".to_owned(), "accessLogFile: /dev/stdout".to_owned());
        let fault = Document::of(&map).unwrap_err();
        assert_eq!(
            fault,
            Fault::NoKey { present: vec!["meshConfig".to_owned()], nearest: Some("meshConfig".to_owned()) }
        );
    }

    #[test]
    fn unknown_names_say_what_was_meant_and_where_it_goes() {
        let document = Document::parse(
            "accesslogFile: a\nholdApplicationUntilProxyStarts: true\nmeshConfig: {}\nquux: 1\ndefault_config: {}\n\
             defaultConfig:\n  concurency: 2\n  accessLogFile: b\n",
        )
        .unwrap();
        let found: Vec<_> = document.unknown().into_iter().map(|u| (u.path, u.instead.unwrap_or_default())).collect();
        let expected = [
            ("accesslogFile", "accessLogFile"),
            ("default_config", "defaultConfig"),
            ("holdApplicationUntilProxyStarts", "defaultConfig.holdApplicationUntilProxyStarts"),
            ("meshConfig", "its content, one level up"),
            ("quux", ""),
            ("defaultConfig.accessLogFile", "accessLogFile, outside defaultConfig"),
            ("defaultConfig.concurency", "defaultConfig.concurrency"),
        ];
        assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
