//! YAML from outside.

use serde::de::DeserializeOwned;

/// More brackets open at once than any document has. The reader looks at each of them for every word that follows, so
/// that a text of a megabyte that only opens brackets would keep it busy for minutes.
const OPEN: usize = 2000;

/// Why a text is not the YAML that is wanted.
#[derive(Debug, thiserror::Error)]
pub enum YamlError {
    /// See [`is_shallow`].
    #[error("too many brackets are open at once")]
    Deep,
    /// The parser's reason, with line and column where it tells.
    #[error(transparent)]
    Parse(#[from] serde_yaml::Error),
}

impl YamlError {
    /// The line it happened in, from 1, where the parser tells.
    #[must_use]
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Deep => None,
            Self::Parse(error) => error.location().map(|location| location.line()).filter(|line| *line > 0),
        }
    }
}

/// Whether a text can be read in a time that grows with its length only. Brackets in quotes and comments count, too: it is
/// the order of magnitude that matters.
#[must_use]
pub fn is_shallow(text: &str) -> bool {
    let mut open = 0_usize;
    text.bytes().all(|byte| {
        match byte {
            b'[' | b'{' => open += 1,
            b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open < OPEN
    })
}

/// Reads one document.
///
/// # Errors
/// When it does not parse.
pub fn from_str<T: DeserializeOwned>(text: &str) -> Result<T, YamlError> {
    if is_shallow(text) { Ok(serde_yaml::from_str(text)?) } else { Err(YamlError::Deep) }
}

/// Reads one document as JSON has it, as Istio does: without tags (`!x`), with keys as text, and no key twice.
///
/// # Errors
/// When it does not parse.
pub fn to_json(text: &str) -> Result<serde_json::Value, YamlError> {
    // JSON is read as JSON, not as the YAML that it nearly is: bundles hold it, and YAML folds some of its characters
    // (U+0085) and has no keys longer than 1024.
    serde_json::from_str(text).or_else(|_| from_str(text).map(plain))
}

fn plain(value: serde_yaml::Value) -> serde_json::Value {
    use serde_json::Value as Json;
    use serde_yaml::Value as Yaml;
    match value {
        Yaml::Null => Json::Null,
        Yaml::Bool(on) => on.into(),
        Yaml::Number(number) => serde_json::to_value(number).unwrap_or_default(),
        Yaml::String(text) => text.into(),
        Yaml::Sequence(list) => list.into_iter().map(plain).collect(),
        Yaml::Mapping(map) => {
            let key = |key: Yaml| match plain(key) {
                Json::String(text) => text,
                other => other.to_string(),
            };
            Json::Object(map.into_iter().map(|(name, value)| (key(name), plain(value))).collect())
        }
        Yaml::Tagged(tagged) => plain(tagged.value),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tags_and_keys_of_other_types_cost_nothing() {
        let value = to_json("a: !x [1, !y b]\n2: true\n.nan: ~\n").unwrap();
        assert_eq!(value["a"], serde_json::json!([1, "b"]));
        assert_eq!(value["2"], true);
        assert!(to_json("a: [").is_err() && to_json("a: 1\na: 2").is_err());
    }

    #[test]
    fn what_only_opens_brackets_is_not_read() {
        assert!(is_shallow(&"{a: [b]}\n".repeat(10_000)));
        assert!(matches!(from_str::<serde_json::Value>(&"[".repeat(1 << 20)), Err(YamlError::Deep)));
        assert!(matches!(from_str::<serde_json::Value>(&"{a: ".repeat(1 << 18)), Err(YamlError::Deep)));
    }
}
