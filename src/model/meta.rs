//! Object metadata.

use std::fmt;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::text::Text;
use super::{Word, compact, nullable};

/// Annotations whose keys contain one of these are kept; the rest is dropped while decoding, because annotations are
/// the largest part of many objects.
const KEPT_ANNOTATIONS: [&str; 5] =
    ["istio.io/", "kubernetes.azure.com/", "meta.helm.sh/", "openservicemesh.io/", "prometheus.io/"];

pub use super::string_map::StringMap;

/// The part of `metadata` that verdicts need.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// Name; empty for a template.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Namespace; empty for cluster-scoped objects and templates.
    #[serde(default, deserialize_with = "nullable")]
    pub namespace: String,
    /// Prefix that the API server completes, where the name is not set.
    #[serde(default, deserialize_with = "nullable")]
    pub generate_name: String,
    /// All labels.
    #[serde(default, deserialize_with = "nullable")]
    pub labels: StringMap,
    /// Annotations of Istio, AKS, Helm, Open Service Mesh and Prometheus.
    #[serde(default, deserialize_with = "kept_annotations")]
    pub annotations: StringMap,
    /// Creation time.
    #[serde(default, deserialize_with = "lenient_time")]
    pub creation_timestamp: Option<Timestamp>,
    /// Set once the object is being deleted.
    #[serde(default, deserialize_with = "lenient_time")]
    pub deletion_timestamp: Option<Timestamp>,
    /// Owners.
    #[serde(default, deserialize_with = "compact")]
    pub owner_references: Vec<OwnerRef>,
}

impl Meta {
    /// The value of a label.
    #[must_use]
    pub fn label(&self, key: &str) -> Option<&str> {
        self.labels.get(key).map(String::as_str)
    }

    /// The value of an annotation.
    #[must_use]
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations.get(key).map(String::as_str)
    }

    /// The owner that controls this object.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerRef> {
        self.owner_references.iter().find(|owner| owner.controller)
    }
}

/// A reference to an owner.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRef {
    /// Kind such as `ReplicaSet`.
    #[serde(default, deserialize_with = "nullable")]
    pub kind: Word,
    /// Name in the same namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// API group and version.
    #[serde(default, deserialize_with = "nullable")]
    pub api_version: Word,
    /// Whether this owner is the managing controller.
    #[serde(default, deserialize_with = "nullable")]
    pub controller: bool,
}

/// A time that cannot be read counts as absent: one odd timestamp must not cost the object.
pub(crate) fn lenient_time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    struct Time;
    impl<'de> Visitor<'de> for Time {
        type Value = Option<Timestamp>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time")
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(text.parse().ok())
        }

        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            while list.next_element::<IgnoredAny>()?.is_some() {}
            Ok(None)
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(None)
        }
    }
    deserializer.deserialize_any(Time)
}

fn kept_annotations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StringMap, D::Error> {
    struct Kept;
    impl<'de> Visitor<'de> for Kept {
        type Value = StringMap;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a map of strings or null")
        }

        fn visit_unit<E>(self) -> Result<StringMap, E> {
            Ok(StringMap::new())
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
            let mut kept = Vec::new();
            while let Some(key) = map.next_key::<Text<'de>>()? {
                if KEPT_ANNOTATIONS.iter().any(|part| key.contains(part)) {
                    kept.push((Word::from(&*key), map.next_value()?));
                } else {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            Ok(kept.into_iter().collect())
        }
    }
    deserializer.deserialize_any(Kept)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_a_text_that_is_a_time_counts_as_one() {
        for (json, known) in [
            (r#""2026-07-15T12:00:00Z""#, true),
            (r#""2026-07-15T14:00:00.5+02:00""#, true),
            (r#""""#, false),
            ("null", false),
            ("1784116800", false),
            ("-1", false),
            ("1.5", false),
            ("true", false),
            ("[1,[2]]", false),
            (r#"{"seconds":{"is":1}}"#, false),
        ] {
            let meta: Meta = serde_json::from_str(&format!(r#"{{"creationTimestamp":{json},"name":"a"}}"#)).unwrap();
            assert_eq!((meta.creation_timestamp.is_some(), meta.name.as_str()), (known, "a"), "{json}");
        }
    }

    #[test]
    fn nulls_odd_times_and_foreign_annotations_cost_nothing() {
        let meta: Meta = serde_json::from_str(
            r#"{"name":"a","labels":null,"creationTimestamp":"yesterday","deletionTimestamp":{"at":[12]},"ownerReferences":null,"newField":{"x":1},
                "annotations":{"kubectl.kubernetes.io/last-applied-configuration":"{}","sidecar.istio.io/inject":"false"}}"#,
        )
        .unwrap();
        assert_eq!(meta.name, "a");
        assert!(meta.labels.is_empty() && meta.creation_timestamp.is_none());
        assert_eq!(meta.annotations.len(), 1);
        assert_eq!(meta.annotation("sidecar.istio.io/inject"), Some("false"));
    }
}
