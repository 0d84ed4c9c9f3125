//! Maps of a few texts: labels, annotations, the keys of a ConfigMap.

use std::fmt;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Word;

/// A map from text to text, sorted by key. There are two of them in each of thousands of pods, with a handful of entries
/// each: a list takes a third of the room of the nodes of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StringMap {
    entries: Vec<(Word, String)>,
}

impl StringMap {
    /// An empty map.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn find(&self, key: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(known, _)| known.as_str().cmp(key))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&String> {
        self.find(key).ok().and_then(|at| self.entries.get(at)).map(|(_, value)| value)
    }

    /// Whether a key is there.
    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.find(key).is_ok()
    }

    /// Sets a value.
    pub fn insert(&mut self, key: String, value: String) {
        match self.find(&key) {
            Ok(at) => self.entries[at].1 = value,
            Err(at) => self.entries.insert(at, (key.into(), value)),
        }
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) -> Option<String> {
        self.find(key).ok().map(|at| self.entries.remove(at).1)
    }

    /// How many entries there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Takes all entries out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Keys and values, by key.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &String)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Keys, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|(key, _)| key.as_str())
    }

    /// Values, by key, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut String> {
        self.entries.iter_mut().map(|(_, value)| value)
    }
}

impl<K: Into<Word>> FromIterator<(K, String)> for StringMap {
    /// Of entries with the same key the last one counts, as in JSON.
    fn from_iter<I: IntoIterator<Item = (K, String)>>(entries: I) -> Self {
        let mut entries: Vec<(Word, String)> = entries.into_iter().map(|(key, value)| (key.into(), value)).collect();
        entries.sort_by(|(a, _), (b, _)| a.cmp(b));
        entries.reverse();
        entries.dedup_by(|(a, _), (b, _)| a == b);
        entries.reverse();
        entries.shrink_to_fit();
        Self { entries }
    }
}

impl<const N: usize> From<[(String, String); N]> for StringMap {
    fn from(entries: [(String, String); N]) -> Self {
        entries.into_iter().collect()
    }
}

impl<'m> IntoIterator for &'m StringMap {
    type Item = (&'m str, &'m String);
    type IntoIter = std::iter::Map<std::slice::Iter<'m, (Word, String)>, fn(&'m (Word, String)) -> Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                let mut entries = Vec::<(Word, String)>::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries.into_iter().collect())
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_a_map() {
        let mut map: StringMap = serde_json::from_str(r#"{"b":"1","a":"2","b":"3"}"#).unwrap();
        assert_eq!((map.get("a").unwrap().as_str(), map.get("b").unwrap().as_str(), map.len()), ("2", "3", 2));
        map.insert("c".to_owned(), "4".to_owned());
        map.insert("a".to_owned(), "5".to_owned());
        assert_eq!(map.remove("b").as_deref(), Some("3"));
        assert_eq!(map.iter().map(|(k, v)| format!("{k}{v}")).collect::<Vec<_>>(), ["a5", "c4"]);
        assert!(map.contains_key("c") && !map.contains_key("b") && map.get("").is_none());
        assert!(serde_json::from_str::<StringMap>(r#"{"a":1}"#).is_err());
        assert!(serde_json::from_str::<StringMap>("[]").is_err());
    }
}
