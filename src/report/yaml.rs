//! YAML as kubectl reads it back.

use serde_json::Value;

/// Emits a JSON value as YAML. Every string that is not plainly a word or sentence is written with double quotes, so
/// that no reader takes `on`, `1_000` or a date for another type.
#[must_use]
pub fn emit(value: &Value) -> String {
    let mut out = String::new();
    node(value, 0, &mut out);
    out
}

fn node(value: &Value, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                out.push_str(&format!("{pad}{}:", scalar(&Value::String(key.clone()))));
                child(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("{pad}-"));
                match item {
                    Value::Object(map) if !map.is_empty() => {
                        let mut nested = String::new();
                        node(item, indent + 1, &mut nested);
                        // The first key stands beside the dash.
                        out.push_str(&format!(" {}", nested.trim_start()));
                    }
                    other => child(other, indent, out),
                }
            }
        }
        other => out.push_str(&format!("{pad}{}\n", scalar(other))),
    }
}

fn child(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            out.push('\n');
            node(value, indent + 1, out);
        }
        Value::Array(items) if !items.is_empty() => {
            out.push('\n');
            node(value, indent + 1, out);
        }
        other => out.push_str(&format!(" {}\n", scalar(other))),
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::Object(_) => "{}".to_owned(),
        Value::Array(_) => "[]".to_owned(),
        Value::String(text) if is_plain(text) => text.clone(),
        // A JSON string is a YAML double-quoted string.
        other => other.to_string(),
    }
}

/// A word that starts with a letter, has no sign that YAML gives a meaning, and is no YAML 1.1 truth or null.
fn is_plain(text: &str) -> bool {
    const WORDS: [&str; 10] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan"];
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./".contains(c))
        && !WORDS.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_written_is_read_back_as_the_same_value() {
        let value = serde_json::json!({
            "yes": "yes", "on": ["on", "off", "~", "", "null", "1_000", "0o7", "1e3", "2026-01-01", ".inf", "a: b", "- x", "#c", "a\nb", "é"],
            "empty": {"list": [], "map": {}}, "nested": [[1, [2]], {"a": [{"b": null, "c": true}]}], "n": 1.5
        });
        let text = emit(&value);
        let back: Value = serde_yaml::from_str(&text).unwrap();
        assert_eq!(back, value, "{text}");
        for word in ["\"yes\"", "\"on\"", "\"1_000\"", "\"0o7\"", "\"2026-01-01\""] {
            assert!(text.contains(word), "{word} must be quoted in\n{text}");
        }
    }
}
