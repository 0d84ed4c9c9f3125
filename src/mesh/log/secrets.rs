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
const BEFORE: [&str; 11] = [
    "bearer ",
    "basic ",
    "password=",
    "passwd=",
    "pwd=",
    "secret=",
    "token=",
    "api_key=",
    "apikey=",
    "accountkey=",
    "sharedaccesskey=",
];
/// The same, where no letter stands before it.
const BEFORE_ALONE: [&str; 1] = ["sig="];
/// Headers whose value is a secret up to the end of what stands in quotes, or of the line.
const HEADERS: [&str; 3] = ["cookie: ", "authorization: ", "x-api-key: "];
/// What is part of the names of JSON fields that hold a secret, in lower case.
const FIELDS: [&str; 10] =
    ["authorization", "cookie", "password", "passwd", "secret", "token", "api-key", "api_key", "apikey", "credential"];

/// A line without tokens, passwords, private keys, cookies, who logs in to an address, and the queries of paths.
#[must_use]
pub fn without(line: &str) -> Cow<'_, str> {
    if !may_have(line) {
        return Cow::Borrowed(line);
    }
    let mut text = users(&keys(line));
    text = fields(&text);
    text = queries(&text);
    for header in HEADERS {
        text = behind(&text, header, false, |c| c == '"' || c == '\n');
    }
    for before in BEFORE {
        text = behind(&text, before, false, ends_word);
    }
    for before in BEFORE_ALONE {
        text = behind(&text, before, true, ends_word);
    }
    // What was taken out can have held the slash that ended an address.
    Cow::Owned(users(&tokens(&text)))
}

/// Whether a PEM block begins in a line and goes on in the next.
#[must_use]
pub(super) fn opens_block(line: &str) -> bool {
    line.rfind(BLOCK_BEGIN).is_some_and(|at| !line[at..].contains(BLOCK_END))
}

/// Cheap: most lines have nothing.
fn may_have(line: &str) -> bool {
    let lower = line.to_ascii_lowercase();
    line.contains('?')
        || line.contains("eyJ")
        || line.contains(BLOCK_BEGIN)
        || (line.contains('@') && line.contains("://"))
        || ["bearer ", "basic ", "pwd=", "accountkey=", "sharedaccesskey=", "sig"]
            .iter()
            .any(|words| lower.contains(words))
        || FIELDS.iter().any(|words| lower.contains(words))
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

/// `https://user:password@host`: what stands before the host goes.
fn users(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, behind) = rest.split_at(at + 3);
        out.push_str(before);
        let end = behind.find(|c: char| c.is_whitespace() || matches!(c, '/' | '"' | '\'')).unwrap_or(behind.len());
        // A password can have an `@` of its own.
        rest = match behind[..end].rfind('@') {
            Some(at) => {
                if at > 0 {
                    out.push_str(GONE);
                }
                &behind[at..]
            }
            None => behind,
        };
    }
    out.push_str(rest);
    out
}

/// `"password":"…"`, also where JSON stands in a text of JSON and its quotes have backslashes.
fn fields(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    // Up to where the text is in `out`, and where the last quote ended.
    let (mut done, mut quote) = (0, 0);
    while let Some(at) = text[quote..].find('"') {
        let name = &text[quote..quote + at];
        quote += at + 1;
        let Some(value) = value_start(&text[quote..]).filter(|_| is_secret(name)) else { continue };
        let start = quote + value;
        let depth = backslashes(&text[..start - 1]);
        let end = value_end(&text[start..], depth).map_or(text.len(), |end| start + end);
        out.push_str(&text[done..start]);
        if end > start {
            out.push_str(GONE);
        }
        done = end;
        quote = text[end..].find('"').map_or(text.len(), |closing| end + closing + 1);
    }
    out.push_str(&text[done..]);
    out
}

/// Whether the name of a field says that its value is a secret.
fn is_secret(name: &str) -> bool {
    let name = name.trim_end_matches('\\').to_ascii_lowercase();
    name == "sig" || name.contains("signature") || FIELDS.iter().any(|words| name.contains(words))
}

/// Where a text begins that stands in quotes behind a colon.
fn value_start(behind: &str) -> Option<usize> {
    let value = behind.trim_start().strip_prefix(':')?.trim_start().trim_start_matches('\\').strip_prefix('"')?;
    Some(behind.len() - value.len())
}

/// Where it ends, before its closing quote and the backslashes that belong to that. `depth` is how many stand before the
/// opening one.
fn value_end(text: &str, depth: usize) -> Option<usize> {
    let mut from = 0;
    while let Some(at) = text[from..].find('"') {
        let before = backslashes(&text[from..from + at]);
        // Fewer than at the beginning: the text that all of it stands in is over.
        if before < depth || before % (2 * (depth + 1)) == depth {
            return Some(from + at - before.min(depth));
        }
        from += at + 1;
    }
    None
}

/// How many backslashes a text ends with.
fn backslashes(text: &str) -> usize {
    text.len() - text.trim_end_matches('\\').len()
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
            let end = before_quote(rest, rest.find(ends_query).unwrap_or(rest.len()));
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

/// The backslashes of a quote stay with it.
fn before_quote(text: &str, end: usize) -> usize {
    if text[end..].starts_with('"') { end - backslashes(&text[..end]) } else { end }
}

/// What stands behind some words goes, in any case of theirs.
fn behind(text: &str, words: &str, alone: bool, ends: fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    // The words are ASCII, so that lower case has the same positions.
    let lower = text.to_ascii_lowercase();
    while let Some(found) = lower[at..].find(words) {
        let start = at + found + words.len();
        let end = match text[start..].starts_with(GONE) {
            _ if alone && text[..at + found].ends_with(|c: char| c.is_ascii_alphanumeric()) => start,
            true => start + GONE.len(),
            false => {
                let rest = &text[start..];
                start + before_quote(rest, rest.find(ends).unwrap_or(rest.len()))
            }
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
            (r#"{"authorization":"ApiKey S"}"#, r#"{"authorization":"[…]"}"#),
            (r#"{"x-api-key":"S","a":"b"}"#, r#"{"x-api-key":"[…]","a":"b"}"#),
            (r#"{"Password" : "S\"T", "a":"b"}"#, r#"{"Password" : "[…]", "a":"b"}"#),
            (r#"{"client_secret":"S\\","a":"b"}"#, r#"{"client_secret":"[…]","a":"b"}"#),
            (r#"{"access_token":"S"#, r#"{"access_token":"[…]"#),
            (r#"{"apiKey":"","sig":"S","design":"b"}"#, r#"{"apiKey":"","sig":"[…]","design":"b"}"#),
            (r#"{"X-Signature":"S","userCredentials":"T"}"#, r#"{"X-Signature":"[…]","userCredentials":"[…]"}"#),
            (
                r#"{"msg":"body {\"passwd\":\"S\\\"T\",\"a\":\"b\"}"}"#,
                r#"{"msg":"body {\"passwd\":\"[…]\",\"a\":\"b\"}"}"#,
            ),
            ("jwks URI \"https://user:S@idp.example/keys\": x", "jwks URI \"https://[…]@idp.example/keys\": x"),
            ("to redis://:S@T@cache:6379 and http://a/b@c", "to redis://[…]@cache:6379 and http://a/b@c"),
            ("postgres://user:S?T@db/x", "postgres://[…]@db/x"),
            ("http://a://user:S@b", "http://a://[…]@b"),
            ("AccountName=a;AccountKey=S==;b", "AccountName=a;AccountKey=[…];b"),
            (
                "Endpoint=sb://a/;SharedAccessKeyName=a;SharedAccessKey=S",
                "Endpoint=sb://a/;SharedAccessKeyName=a;SharedAccessKey=[…]",
            ),
            ("se=2026&sig=S&sp=r design=b", "se=2026&sig=[…]&sp=r design=b"),
            ("uid=sa;pwd=S;x", "uid=sa;pwd=[…];x"),
            ("X-API-Key: S", "X-API-Key: […]"),
        ] {
            assert_eq!(without(line), expected);
            assert_eq!(without(expected), expected, "a second time nothing changes");
        }
    }
    #[test]
    fn the_longest_line_of_the_worst_kind_takes_no_longer_than_one_look() {
        for piece in [
            "\"token\":\"",
            "\"a\":",
            "\\\"token\\\":",
            "://",
            "://@",
            "\\",
            "sig=",
            "password=",
            "-----BEGIN",
            "/?",
            "eyJ",
        ] {
            let line = piece.repeat((1 << 20) / piece.len());
            let start = std::time::Instant::now();
            let once = without(&line).into_owned();
            // Looking at everything behind each piece would take minutes.
            assert!(start.elapsed().as_secs() < 20, "{piece}");
            assert_eq!(without(&once), once, "{piece}");
        }
    }
}
