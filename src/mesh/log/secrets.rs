//! Takes what nobody should mail out of a line of a log.
//!
//! Istio and Envoy do not write secrets by themselves; what users put into paths, headers or formats of access logs can
//! hold them. Addresses and names stay: without them a log says nothing.

use std::borrow::Cow;

/// Stands for what was taken out.
const GONE: &str = "[…]";
/// What a PEM block begins with.
const BLOCK_BEGIN: &str = "-----BEGIN";
/// What it ends with, before its name.
pub(super) const BLOCK_END: &str = "-----END";
/// What comes before a secret, in lower case; the secret is the word behind it.
const BEFORE: [&str; 8] = ["bearer ", "basic ", "password=", "passwd=", "secret=", "token=", "api_key=", "apikey="];
/// Headers whose value is a secret up to the end of what stands in quotes, or of the line.
const HEADERS: [&str; 3] = ["cookie: ", "cookie\":\"", "authorization: "];

/// A line without tokens, passwords, private keys, cookies and the queries of paths.
#[must_use]
pub fn without(line: &str) -> Cow<'_, str> {
    if !may_have(line) {
        return Cow::Borrowed(line);
    }
    let mut text = keys(line);
    text = queries(&text);
    for header in HEADERS {
        text = behind(&text, header, |c| c == '"' || c == '\n');
    }
    for before in BEFORE {
        text = behind(&text, before, ends_word);
    }
    Cow::Owned(tokens(&text))
}

/// Whether a PEM block begins in a line and goes on in the next.
#[must_use]
pub(super) fn opens_block(line: &str) -> bool {
    line.rfind(BLOCK_BEGIN).is_some_and(|at| !line[at..].contains(BLOCK_END))
}

/// Cheap: most lines have nothing.
fn may_have(line: &str) -> bool {
    let found = |words: &str| line.as_bytes().windows(words.len()).any(|w| w.eq_ignore_ascii_case(words.as_bytes()));
    line.contains('?')
        || line.contains("eyJ")
        || line.contains(BLOCK_BEGIN)
        || [
            "bearer ",
            "basic ",
            "cookie",
            "authorization",
            "password",
            "passwd",
            "secret=",
            "token=",
            "api_key",
            "apikey",
        ]
        .iter()
        .any(|words| found(words))
}

fn ends_word(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | ',' | ';' | '&' | ')' | ']' | '}')
}

/// Blocks of PEM, up to their end or that of the line.
fn keys(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(BLOCK_BEGIN) {
        out.push_str(&rest[..at]);
        out.push_str(GONE);
        let block = &rest[at + BLOCK_BEGIN.len()..];
        rest = match block.find(BLOCK_END) {
            // The end has a name and five dashes of its own.
            Some(end) => {
                let tail = &block[end + BLOCK_END.len()..];
                tail.find("-----").map_or("", |close| &tail[close + 5..])
            }
            None => "",
        };
    }
    out.push_str(rest);
    out
}

/// `/path?query`: the query goes, wherever the path stands.
fn queries(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('?') {
        out.push_str(&rest[..=at]);
        let before = &rest[..at];
        rest = &rest[at + 1..];
        // A question mark of a sentence is followed by a blank or a bracket, and has no path before it.
        let word = &before[before.rfind([' ', '"', '\t']).map_or(0, |start| start + 1)..];
        if word.contains('/') {
            let end = rest.find(ends_query).unwrap_or(rest.len());
            if end > 0 {
                out.push_str(GONE);
            }
            rest = &rest[end..];
        }
    }
    out.push_str(rest);
    out
}

fn ends_query(c: char) -> bool {
    c.is_whitespace() || c == '"'
}

/// What stands behind some words goes, in any case of theirs.
fn behind(text: &str, words: &str, ends: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // The words are ASCII, so that lower case has the same positions.
    let lower = text.to_ascii_lowercase();
    while let Some(found) = lower[at..].find(words) {
        let start = at + found + words.len();
        let end = match text[start..].starts_with(GONE) {
            true => start + GONE.len(),
            false => text[start..].find(ends).map_or(text.len(), |end| start + end),
        };
        out.push_str(&text[at..start]);
        if end > start {
            out.push_str(GONE);
        }
        at = end;
    }
    out.push_str(&text[at..]);
    out
}

/// Tokens of three parts in base64, which begin with a JSON object.
fn tokens(text: &str) -> String {
    let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '=' | '.');
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("eyJ") {
        let end = rest[at..].find(|c| !part(c)).map_or(rest.len(), |end| at + end);
        out.push_str(&rest[..at]);
        let word = &rest[at..end];
        out.push_str(if word.len() > 20 && word.contains('.') { GONE } else { word });
        rest = &rest[end..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_and_the_rest_stays() {
        for (line, expected) in [
            ("GET /a/b?user=eve&key=1 HTTP/1.1\" 503 UF", "GET /a/b?[…] HTTP/1.1\" 503 UF"),
            (
                "config not received from XDS server (is Istiod running?): cds updates: 0",
                "config not received from XDS server (is Istiod running?): cds updates: 0",
            ),
            ("token eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl was refused", "token […] was refused"),
            ("Authorization: Bearer abc.def", "Authorization: […]"),
            ("sent with Bearer abc.def today", "sent with Bearer […] today"),
            ("cookie: a=b; c=d", "cookie: […]"),
            ("{\"cookie\":\"a=b\",\"x\":1}", "{\"cookie\":\"[…]\",\"x\":1}"),
            ("password=hunter2, user=x", "password=[…], user=x"),
            ("a -----BEGIN RSA PRIVATE KEY-----\\nMII\\n-----END RSA PRIVATE KEY----- b", "a […] b"),
            ("a -----BEGIN PRIVATE KEY-----MII", "a […]"),
            (
                "dial tcp 10.0.0.1:15012: connect: connection refused",
                "dial tcp 10.0.0.1:15012: connect: connection refused",
            ),
            ("/x?", "/x?"),
        ] {
            assert_eq!(without(line), expected);
            assert_eq!(without(expected), expected, "a second time nothing changes");
        }
    }
}
