//! The text of `proxy-status POD --diff`: a line per kind, then what differs.

use super::proxy_diff_view::{DiffEntry, DiffKind, ProxyDiffView};
use super::style::{Style, wrap};
use crate::model::quoted::printable;

/// Lines of one element's diff that are shown; `-o wide` and `-o json` have all.
const LINES: usize = 60;

/// Renders the view.
#[must_use]
pub fn render(view: &ProxyDiffView, style: Style, wide: bool) -> String {
    let words = if view.same { style.good("the same") } else { style.bad("not the same") };
    let intro = format!(
        "{} -n {}: what {} would send now, and what Envoy has, is",
        printable(&view.name),
        printable(&view.namespace),
        printable(&view.istiod)
    );
    let mut out = wrap(&format!("{intro} {words}."), 0, style.width);
    out.push('\n');
    for kind in &view.kinds {
        out.push_str(&format!("{:<10}  {}\n", kind.kind, counted(kind)));
    }
    if view.unreadable > 0 {
        out.push_str(&format!("? {} could not be read and were not compared\n", view.unreadable));
    }
    for kind in &view.kinds {
        for entry in &kind.differences {
            out.push('\n');
            element(kind, entry, style, wide, &mut out);
        }
    }
    out
}

fn counted(kind: &DiffKind) -> String {
    let of = |change: &str| kind.differences.iter().filter(|entry| entry.change == change).count();
    let words = [
        (kind.same, "the same"),
        (of("differs"), "different"),
        (of("missing"), "not in the proxy"),
        (of("extra"), "only in the proxy"),
        (of("warming"), "not in use yet"),
    ];
    let parts: Vec<String> =
        words.iter().filter(|(number, _)| *number > 0).map(|(number, word)| format!("{number} {word}")).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn element(kind: &DiffKind, entry: &DiffEntry, style: Style, wide: bool, out: &mut String) {
    let singular = kind.kind.trim_end_matches('s');
    let what = match entry.change.as_str() {
        "missing" => "istiod would send it; the proxy has not got it",
        "extra" => "the proxy has it; istiod would not send it any more",
        "warming" => "the proxy has it, and does not use it yet",
        _ if entry.diff.is_none() => "istiod would send it otherwise; a bundle does not keep the text",
        _ => "- istiod would send, + the proxy has",
    };
    let mut line = format!("{singular} {}: {what}", printable(&entry.name));
    let held: Vec<String> = [
        entry.version.as_ref().map(|version| format!("push {}", printable(version))),
        entry.since.as_ref().map(|since| format!("since {}", printable(since))),
    ]
    .into_iter()
    .flatten()
    .collect();
    if !held.is_empty() {
        line.push_str(&format!(" ({})", held.join(", ")));
    }
    out.push_str(&wrap(&line, 0, style.width));
    let lines: Vec<&str> = entry.diff.iter().flat_map(|diff| diff.lines()).collect();
    let shown = if wide { lines.len() } else { LINES };
    for line in lines.iter().take(shown) {
        let text = printable(line);
        let text = match line.chars().next() {
            Some('-') => style.bad(&text),
            Some('+') => style.good(&text),
            Some('@') => style.dim(&text),
            _ => text,
        };
        out.push_str(&format!("    {text}\n"));
    }
    if lines.len() > shown {
        out.push_str(&style.dim(&format!("    … {} more lines: -o wide\n", lines.len() - shown)));
    }
}
