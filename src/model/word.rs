//! Words that stand in almost every object.

use std::borrow::Cow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Words of Kubernetes and Istio that thousands of pods have in common, sorted.
const KNOWN: [&str; 34] = [
    "Always",
    "DaemonSet",
    "False",
    "Job",
    "PodReadyToStartContainers",
    "PodScheduled",
    "Ready",
    "ReplicaSet",
    "Running",
    "StatefulSet",
    "True",
    "app",
    "app.kubernetes.io/instance",
    "app.kubernetes.io/managed-by",
    "app.kubernetes.io/name",
    "app.kubernetes.io/version",
    "apps/v1",
    "batch/v1",
    "helm.sh/chart",
    "istio.io/rev",
    "k8s-app",
    "kubernetes.io/metadata.name",
    "pod-template-hash",
    "prometheus.io/path",
    "prometheus.io/port",
    "prometheus.io/scrape",
    "security.istio.io/tlsMode",
    "service.istio.io/canonical-name",
    "service.istio.io/canonical-revision",
    "service.istio.io/workload-name",
    "sidecar.istio.io/inject",
    "sidecar.istio.io/status",
    "topology.istio.io/network",
    "version",
];

/// A text that is mostly one of a few: those need no room of their own.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(Cow<'static, str>);

impl Word {
    fn known(text: &str) -> Option<Self> {
        KNOWN.binary_search(&text).ok().and_then(|at| KNOWN.get(at)).map(|word| Self(Cow::Borrowed(word)))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self::known(text).unwrap_or_else(|| Self(Cow::Owned(text.to_owned())))
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self::known(&text).unwrap_or(Self(Cow::Owned(text)))
    }
}

impl Deref for Word {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Word {
    fn eq(&self, other: &str) -> bool {
        self.0 == other
    }
}

impl PartialEq<&str> for Word {
    fn eq(&self, other: &&str) -> bool {
        self.0 == *other
    }
}

impl fmt::Debug for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Word;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Word, E> {
                Ok(text.into())
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Word, E> {
                Ok(text.into())
            }
        }
        deserializer.deserialize_str(Reader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn known_words_are_found_and_all_others_kept() {
        assert!(KNOWN.is_sorted());
        let words: Vec<Word> = serde_json::from_str(r#"["version", "vers\u0069on", "versions", ""]"#).unwrap();
        assert_eq!(words.iter().map(Word::as_str).collect::<Vec<_>>(), ["version", "version", "versions", ""]);
        assert!(matches!((&words[0].0, &words[2].0), (Cow::Borrowed(_), Cow::Owned(_))));
        assert_eq!(words[0], words[1]);
        assert!(serde_json::from_str::<Word>("1").is_err());
    }
}
