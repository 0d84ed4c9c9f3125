//! The text of `logs`: what was read, and what is known of it.

use super::logs_view::{EnvoyView, LogView, LogsView, MessageView, PreviousView};
use super::style::{Style, wrap, wrap_after};
use super::table::table;
use super::text::plural;
use crate::engine::Severity;
use crate::model::log::LogPart;
use crate::model::quoted::printable;

/// How Kubernetes names an end for want of memory.
pub const OOM_KILLED: &str = "OOMKilled";
/// Containers that failed without a known cause, of which the last lines are shown.
const ENDS: usize = 3;
/// Logs that are listed; `-o wide` and `-o json` have all.
const LISTED: usize = 20;

/// `2 logs, 812 lines, 2026-07-15 11:58:02 to 12:04:10 UTC`.
#[must_use]
pub fn heading(view: &LogsView) -> String {
    let mut text = format!(
        "{}, {}",
        plural(view.logs.len(), "log"),
        plural(usize::try_from(view.lines).unwrap_or(usize::MAX), "line")
    );
    let first = view.logs.iter().filter_map(|log| log.first.as_deref()).min();
    let last = view.logs.iter().filter_map(|log| log.last.as_deref()).max();
    if let (Some(first), Some(last)) = (first, last) {
        let (from, to) = (minute(first), minute(last));
        let same_day = from.get(..10) == to.get(..10);
        text.push_str(&format!(", {from} to {} UTC", if same_day { to.get(11..).unwrap_or(&to) } else { &to }));
    }
    text
}

/// `2026-07-15 11:58:02` of a time as JSON has it.
fn minute(time: &str) -> String {
    time.get(..19).unwrap_or(time).replacen('T', " ", 1)
}

/// `11:58:02` of it.
fn clock(time: &str) -> String {
    time.get(11..19).unwrap_or(time).to_owned()
}

/// Renders the view.
#[must_use]
pub fn render(view: &LogsView, style: Style, wide: bool) -> String {
    let mut out = String::new();
    let worth = view.logs.len() > 1 || view.logs.iter().any(|log| log.previous.is_some() || log.envoy.is_some());
    if worth {
        let shown = if wide { view.logs.len() } else { LISTED };
        let rows: Vec<Vec<String>> = view.logs.iter().take(shown).map(row).collect();
        out.push_str(&table(&["LOG", "LINES", "LAST", "ENVOY"], &rows, style));
        let more = view.logs.len().saturating_sub(shown);
        if more > 0 {
            out.push_str(&style.dim(&format!("and {more} more: -o wide\n")));
        }
    }
    let table = out.len();
    if view.requests > 0 {
        let requests = plural(usize::try_from(view.requests).unwrap_or(usize::MAX), "request");
        out.push_str(&format!("Access log: {requests}, {} ended by a proxy\n", view.failed_requests));
    }
    let bad = |message: &&MessageView| message.severity > Severity::Info;
    if view.lines == 0 {
        out.push_str("There was no line to read.\n");
    } else if view.logs.iter().all(|log| log.part == LogPart::Other.word()) {
        out.push_str("The container is none of Istio's, so its lines are not compared with known messages.\n");
    } else if !view.messages.iter().any(|message| bad(&message)) && ends(view).next().is_none() {
        out.push_str("None of the lines is a known message of trouble.\n");
    }
    // What is wrong has a block of its own below.
    for message in view.messages.iter().filter(|message| wide || !bad(message)) {
        out.push_str(&line(message, style));
    }
    let told = if wide { usize::MAX } else { ENDS };
    for (log, end) in ends(view).take(told) {
        out.push_str(&ended(log, end, style));
    }
    let more = ends(view).skip(told).count();
    if more > 0 {
        out.push_str(&style.dim(&format!("and {more} more ended without a known cause: -o wide\n")));
    }
    if table > 0 && out.len() > table {
        out.insert(table, '\n');
    }
    out
}

/// Logs of containers that failed, where no known message says why.
fn ends(view: &LogsView) -> impl Iterator<Item = (&LogView, &PreviousView)> {
    let ends = view.logs.iter().filter_map(|log| Some((log, log.previous.as_ref()?)));
    ends.filter(|(_, end)| end.last_lines.is_some())
}

/// Whether a container failed, and no known message says why: then nothing wrong was found, and something is wrong.
#[must_use]
pub fn is_unexplained(view: &LogsView) -> bool {
    ends(view).next().is_some()
}

fn ended(log: &LogView, end: &PreviousView, style: Style) -> String {
    let how = match end.reason.as_str() {
        "" => format!("exit code {}", end.exit_code),
        OOM_KILLED => format!("{OOM_KILLED} (exit code {}), for want of memory", end.exit_code),
        reason => format!("{reason} (exit code {})", end.exit_code),
    };
    let at = end.finished_at.as_deref().map_or_else(String::new, |at| format!(" at {} UTC", minute(at)));
    let lines = end.last_lines.as_deref().unwrap_or_default();
    let last = match (lines.is_empty(), end.reason.as_str()) {
        (true, _) => "Its log is empty.",
        (false, OOM_KILLED) => "Its last lines:",
        (false, _) => "No known message in its log says why; its last lines:",
    };
    let text = format!("{} of {} -n {} ended{at} with {how}. {last}", log.container, log.pod, log.namespace);
    let mut out = wrap(&printable(&text), 0, style.width);
    for line in lines {
        out.push_str(&style.dim(&format!("    {}\n", printable(line))));
    }
    out
}

fn row(log: &LogView) -> Vec<String> {
    let mut name = if log.pod.is_empty() { "file".to_owned() } else { log.pod.clone() };
    if !matches!(log.container.as_str(), "" | "discovery" | "istio-proxy") {
        name.push_str(&format!("/{}", log.container));
    }
    if log.previous.is_some() {
        name.push_str(" (previous)");
    }
    let lines = if log.older_left_out { format!("last {}", log.lines) } else { log.lines.to_string() };
    let last = log.last.as_deref().map_or_else(|| "-".to_owned(), clock);
    let envoy = match &log.envoy {
        None => "-".to_owned(),
        Some(EnvoyView { ready: true, since, .. }) => {
            since.as_deref().map_or_else(|| "ready".to_owned(), |at| format!("ready at {}", clock(at)))
        }
        Some(EnvoyView { reason, .. }) => {
            let reason = reason.as_deref().unwrap_or_default();
            format!("NOT READY: {}", reason.split(" (is Istiod running?)").next().unwrap_or_default())
        }
    };
    [name, lines, last, envoy].iter().map(|cell| printable(cell)).collect()
}

fn line(message: &MessageView, style: Style) -> String {
    let last = message.last.as_deref().map_or_else(String::new, |time| format!(", last {}", clock(time)));
    let code = match (&message.code, message.severity) {
        (Some(code), Severity::Warning | Severity::Error) => format!(" [{code}]"),
        _ => String::new(),
    };
    let about = match message.about.as_slice() {
        [] => String::new(),
        [one] => format!(" ({one})"),
        [one, ..] => format!(" ({one}, …)"),
    };
    let text = printable(&format!("{}{about}, {}{last}{code}", message.meaning, times(message.count)));
    let wrapped = wrap_after("  ", &text, 2, style.width);
    format!("{} {}", style.symbol(message.severity), wrapped.trim_start())
}

fn times(count: u64) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        count => format!("{count} times"),
    }
}
