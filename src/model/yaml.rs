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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_opens_brackets_is_not_read() {
        assert!(is_shallow(&"{a: [b]}\n".repeat(10_000)));
        assert!(matches!(from_str::<serde_json::Value>(&"[".repeat(1 << 20)), Err(YamlError::Deep)));
        assert!(matches!(from_str::<serde_json::Value>(&"{a: ".repeat(1 << 18)), Err(YamlError::Deep)));
    }
}
