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
        // A JSON string is a YAML double-quoted string, but for what JSON leaves bare and YAML forbids or takes for a
        // line break: these are escaped as both know it.
        Value::String(_) => escaped(&value.to_string()),
        other => other.to_string(),
    }
}

/// JSON text without what JSON leaves bare inside strings although a terminal obeys it (the second set of control
/// characters, marks that turn the reading order) or YAML forbids it.
pub(super) fn escaped(json: &str) -> String {
    json.chars().fold(String::with_capacity(json.len()), |mut text, c| {
        match c {
            '\u{7f}'..='\u{9f}'
            | '\u{200e}'
            | '\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}'
            | '\u{feff}'
            | '\u{fffe}'
            | '\u{ffff}' => text.push_str(&format!("\\u{:04x}", c as u32)),
            c => text.push(c),
        }
        text
    })
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

    /// Strings that some reader of YAML 1.1 or 1.2 takes for a boolean, a number, nothing, a date or structure.
    const TRAPS: &[&str] = &[
        "Yes",
        "NO",
        "Off",
        "y",
        "N",
        "True",
        "FALSE",
        "Null",
        "NaN",
        "017",
        "0x1F",
        "0b11",
        "0o7",
        "1.5",
        ".5",
        "1.",
        "-1",
        "+1",
        "-.INF",
        ".nan",
        "1:30",
        "190:20:30",
        "2026-05-15T10:00:00Z",
        "12e03",
        "-0",
        "<<",
        "=",
        "-",
        "- a",
        "a: b",
        "a #b",
        "*a",
        "&a",
        "!a",
        "!!str a",
        "%a",
        "@a",
        "`a",
        "[a",
        "{a",
        "a,b",
        "? a",
        ": a",
        "|",
        ">",
        "'a'",
        "\"a\"",
        " a",
        "a ",
        "a\n",
        "\ta",
        "---",
        "...",
        "--- a",
        "a:",
        "\u{85}",
        "\u{2028}",
        "\u{feff}a",
        "\0",
        "\u{7f}",
        "\u{1b}[31m",
        "123456789012345678901234567890",
    ];

    #[test]
    fn strings_stay_strings() {
        for trap in TRAPS {
            for value in
                [serde_json::json!({ "key": trap }), serde_json::json!([trap]), serde_json::json!({ *trap: 1 })]
            {
                let text = emit(&value);
                assert_eq!(serde_yaml::from_str::<Value>(&text).unwrap(), value, "{text}");
                assert!(text.contains('"'), "{text}");
            }
        }
    }
}
