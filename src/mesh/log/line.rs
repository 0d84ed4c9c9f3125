//! One line of a log: what stands before the text, and what the text's own format says.

use std::borrow::Cow;

use jiff::Timestamp;

/// A line without what tools put before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line<'a> {
    /// The pod, where a prefix names it.
    pub pod: Option<&'a str>,
    /// The container, where a prefix names it.
    pub container: Option<&'a str>,
    /// The time that the kubelet wrote, else the one that the line itself starts with.
    pub time: Option<Timestamp>,
    /// What the container wrote.
    pub text: &'a str,
}

/// How important the writer took a message for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// `debug`, `info`, `trace`.
    Low,
    /// `warn`, `error`, `fatal`, `critical`.
    High,
    /// The line does not say.
    Unknown,
}

/// Takes a saved line apart: `kubectl logs`, with or without `--timestamps` and `--prefix`, or `stern`.
#[must_use]
pub fn saved(line: &str) -> Line<'_> {
    let line = line.trim_end_matches(['\r', '\n']);
    let (pod, container, rest) = prefix(line);
    let (kubelet, text) = stamped(rest);
    Line { pod, container, time: kubelet.or_else(|| own_time(text)), text }
}

/// Takes a line apart as the API server sends it when times are asked for.
#[must_use]
pub fn sent(line: &str) -> Line<'_> {
    let (time, text) = stamped(line.trim_end_matches(['\r', '\n']));
    Line { pod: None, container: None, time: time.or_else(|| own_time(text)), text }
}

/// A time in front that is not the line's own: own lines of Istio go on with a tab.
fn stamped(line: &str) -> (Option<Timestamp>, &str) {
    let Some((word, rest)) = line.split_once(' ') else {
        return (time(line), if time(line).is_some() { "" } else { line });
    };
    match time(word) {
        Some(time) => (Some(time), rest),
        None => (None, line),
    }
}

fn time(word: &str) -> Option<Timestamp> {
    // Cheap first: most words are no times.
    let bytes = word.as_bytes();
    if bytes.len() < 20 || bytes[4] != b'-' || bytes[10] != b'T' || !bytes[0].is_ascii_digit() {
        return None;
    }
    word.parse().ok()
}

/// The time at the start of what Istio, Envoy or an access log writes.
fn own_time(text: &str) -> Option<Timestamp> {
    let text = text.strip_prefix('[').unwrap_or(text);
    let end = text.find(['\t', ' ', ']']).unwrap_or(text.len());
    time(&text[..end])
}

/// `[pod/NAME/CONTAINER] ` of `kubectl logs --prefix`, `NAME CONTAINER ` of stern, or nothing.
fn prefix(line: &str) -> (Option<&str>, Option<&str>, &str) {
    if let Some((name, rest)) = line.strip_prefix("[pod/").and_then(|rest| rest.split_once("] "))
        && let Some((pod, container)) = name.split_once('/')
    {
        return (Some(pod), Some(container), rest);
    }
    let mut words = line.splitn(3, ' ');
    if let (Some(pod), Some(container), Some(rest)) = (words.next(), words.next(), words.next())
        && is_name(pod)
        && CONTAINERS.contains(&container)
        && pod.contains('-')
    {
        return (Some(pod), Some(container), rest);
    }
    (None, None, line)
}

/// Containers by which stern's prefix is told from a text.
const CONTAINERS: [&str; 4] = ["discovery", "istio-proxy", "istio-init", "istio-validation"];

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
}

/// The level of a line of Istio (`TIME<tab>LEVEL<tab>…`, or JSON with `level`) or of Envoy behind it.
/// Formats: `pkg/log/config.go` of istio/istio, and the bootstrap's `--log-format` in `pkg/envoy/proxy.go`, which is the
/// same as Istio's with the scope `envoy NAME`.
#[must_use]
pub fn level(text: &str) -> Level {
    let word = match text.strip_prefix('{') {
        Some(rest) => rest.split_once("\"level\":\"").map_or("", |(_, rest)| rest.split('"').next().unwrap_or("")),
        None if text.starts_with('[') => text.split(']').nth(2).unwrap_or("").trim_start_matches('['),
        None => text.split('\t').nth(1).unwrap_or("").trim(),
    };
    match word {
        "debug" | "info" | "trace" => Level::Low,
        "warn" | "warning" | "error" | "fatal" | "critical" => Level::High,
        _ => Level::Unknown,
    }
}

/// Whether a line looks like one of Istio or of an Envoy below its agent: times of six digits and the level between tabs
/// (`pkg/log/config.go` of istio/istio), or Envoy's own format with four brackets. Other programs come close to the first,
/// but with other times or other levels.
#[must_use]
pub fn is_istios(text: &str) -> bool {
    if text.starts_with('[') {
        // `[2026-07-15 12:00:00.100][18][warning][config] `
        return own_day(text) && text.splitn(5, "][").count() >= 4 && level(text) != Level::Unknown;
    }
    let mut words = text.splitn(3, '\t');
    let (Some(stamp), Some(_), Some(_)) = (words.next(), words.next(), words.next()) else { return false };
    let digits = stamp.strip_suffix('Z').and_then(|stamp| stamp.split_once('.')).map_or(0, |(_, digits)| digits.len());
    digits == 6 && time(stamp).is_some() && level(text) != Level::Unknown
}

/// Whether a line is one of its own, whatever came before it: it has a time where Istio, Envoy and access logs have theirs,
/// or is an object of JSON.
#[must_use]
pub fn begins_anew(text: &str) -> bool {
    text.starts_with("{\"") || own_time(text).is_some() || text.starts_with('[') && own_day(text)
}

/// Whether Envoy's own kind of day and time is in the first brackets.
fn own_day(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() > 25 && bytes[5] == b'-' && bytes[8] == b'-' && bytes[11] == b' ' && bytes[14] == b':'
}

/// Whether a text has the form of what istiod, a proxy's agent or Envoy writes, whatever it says. How a Go program ends
/// that breaks down counts, too: that may be all there is in a log.
#[must_use]
pub fn is_of_the_mesh(text: &str) -> bool {
    const BROKEN: [&str; 3] = ["panic: ", "fatal error: ", "goroutine "];
    level(text) != Level::Unknown
        || super::access::parse(text).is_some()
        || BROKEN.iter().any(|start| text.starts_with(start))
}

/// Text that is shown: tabs of Istio's own format stay as space, everything that could steer a terminal goes.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| (b' '..0x7f).contains(&byte)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for (index, part) in text.split('\t').enumerate() {
        if index > 0 {
            out.push_str("  ");
        }
        out.push_str(&crate::model::quoted::printable(part));
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_tools_put_before_a_line_is_taken_off() {
        let bare = "2026-07-15T11:58:02.123456Z\tinfo\tEnvoy proxy is ready";
        let stamp = "2026-07-15T11:58:02.500000000Z";
        let kubelet: Timestamp = stamp.parse().unwrap();
        let own: Timestamp = "2026-07-15T11:58:02.123456Z".parse().unwrap();
        for (line, pod, container, time) in [
            (bare.to_owned(), None, None, own),
            (format!("{stamp} {bare}"), None, None, kubelet),
            (format!("[pod/web-1/istio-proxy] {bare}"), Some("web-1"), Some("istio-proxy"), own),
            (format!("[pod/web-1/istio-proxy] {stamp} {bare}\r\n"), Some("web-1"), Some("istio-proxy"), kubelet),
            (format!("web-1 istio-proxy {bare}"), Some("web-1"), Some("istio-proxy"), own),
        ] {
            let found = saved(&line);
            assert_eq!((found.pod, found.container, found.time), (pod, container, Some(time)), "{line}");
            assert_eq!(found.text, bare);
        }
        assert_eq!(sent(&format!("{stamp} {bare}")).time, Some(kubelet));
        assert_eq!(sent("panic: oops").text, "panic: oops");
        assert_eq!(saved("a b c").text, "a b c");
        assert_eq!(sent(stamp).text, "", "an empty line");
    }

    #[test]
    fn levels_are_read_in_every_format() {
        for (text, expected) in [
            ("2026-07-15T11:58:02.1Z\tinfo\tx", Level::Low),
            ("2026-07-15T11:58:02.1Z\twarn\tads\tx", Level::High),
            ("2026-07-15T11:58:02.1Z\twarning\tenvoy config external/x.cc:138\tx", Level::High),
            ("[2026-07-15 11:58:02.100][18][warning][config] [source/x.cc:1] x", Level::High),
            (r#"{"level":"error","time":"2026-07-15T11:58:02.1Z","msg":"x"}"#, Level::High),
            ("panic: x", Level::Unknown),
        ] {
            assert_eq!(level(text), expected, "{text}");
        }
    }

    #[test]
    fn lines_of_istio_are_told_from_those_of_other_programs() {
        for (text, expected) in [
            ("2026-07-15T11:58:02.123456Z\tinfo\tEnvoy proxy is ready", true),
            ("2026-07-15T11:58:02.123456Z\twarning\tenvoy config external/x.cc:138\tx", true),
            ("[2026-07-15 12:00:00.100][18][warning][config] [source/x.cc:1] x", true),
            // zap of go.uber.org, log of Rust's env_logger, and a JSON log of anybody.
            ("2026-07-15T11:58:02.123Z\tinfo\tstarting", false),
            ("2026-07-15T11:58:02.123456Z\tINFO\tstarting", false),
            ("[2026-07-15T11:58:02Z INFO  app] starting", false),
            (r#"{"level":"info","time":"2026-07-15T11:58:02.123456Z","msg":"x"}"#, false),
            ("[2026-07-15 12:00:00", false),
            ("", false),
        ] {
            assert_eq!(is_istios(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_of_the_mesh_is_told_by_its_form() {
        for text in [
            "2026-07-15T11:58:02.1Z\tinfo\tnobody knows this",
            "[2026-07-15 11:58:02.100][18][info][main] [source/x.cc:1] x",
            r#"{"level":"info","time":"2026-07-15T11:58:02.1Z","msg":"x"}"#,
            r#"[2026-07-15T12:00:00.000Z] "GET /x HTTP/1.1" 200 - via_upstream - "-" 0 5 1 1 "-" "a/1" "i" "h" "10.0.0.1:80" inbound|80|| 127.0.0.6:1 10.0.0.1:80 10.0.0.2:1 - default"#,
            "panic: runtime error: invalid memory address",
        ] {
            assert!(is_of_the_mesh(text), "{text}");
        }
        for text in [
            "",
            "ERROR: (BadRequest) x",
            "hello world",
            "10.0.0.1 - - [15/Jul/2026:12:00:00 +0000] \"GET / HTTP/1.1\" 200 5",
        ] {
            assert!(!is_of_the_mesh(text), "{text}");
        }
    }

    #[test]
    fn nothing_that_is_shown_steers_a_terminal() {
        assert_eq!(shown("plain text"), "plain text");
        assert_eq!(shown("a\tb\u{1b}[31mc\r"), "a  b[31mc ");
    }
}
