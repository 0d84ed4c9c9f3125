//! What was read, as a view.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;

use crate::engine::Severity;
use crate::mesh::log::known::rank;
use crate::mesh::log::line::sent;
use crate::mesh::log::{cut, is_over, known, weight};
use crate::model::log::{ContainerLog, LogEnd, LogGroup};
use crate::report::logs::OOM_KILLED;
use crate::report::logs_view::{EnvoyView, LogView, LogsView, MessageView, PreviousView};

/// Things a message names that are shown.
const ABOUT: usize = 5;
/// Last lines that are shown of a container that failed, and bytes of each.
pub(super) const LAST_LINES: usize = 5;
const LAST_LINE: usize = 400;

/// The view of some logs.
pub(super) fn view(logs: &[ContainerLog]) -> LogsView {
    LogsView {
        lines: total(logs, |log| log.lines),
        requests: total(logs, |log| log.requests),
        failed_requests: total(logs, |log| log.failed_requests),
        logs: logs.iter().map(log_view).collect(),
        messages: messages(logs),
    }
}

/// A bundle can hold any numbers.
fn total(logs: &[ContainerLog], of: impl Fn(&ContainerLog) -> u64) -> u64 {
    logs.iter().map(of).fold(0, u64::saturating_add)
}

fn text(time: Option<Timestamp>) -> Option<String> {
    time.map(|time| time.to_string())
}

fn log_view(log: &ContainerLog) -> LogView {
    LogView {
        namespace: log.metadata.namespace.clone(),
        pod: log.metadata.name.clone(),
        container: log.container.clone(),
        part: log.part.word().to_owned(),
        previous: log.previous.as_ref().map(|end| PreviousView {
            exit_code: end.exit_code,
            reason: end.reason.clone(),
            finished_at: text(end.finished_at),
            last_lines: is_unexplained(log, end).then(|| last_lines(log)),
        }),
        lines: log.lines,
        older_left_out: log.older_left_out,
        cut: log.cut,
        first: text(log.first),
        last: text(log.last),
        envoy: log.readiness.as_ref().map(|said| EnvoyView {
            ready: said.ready,
            reason: (!said.ready).then(|| said.reason.clone()),
            since: text(said.since),
        }),
    }
}

/// Whether a container failed, and no known message in its log says why.
fn is_unexplained(log: &ContainerLog, end: &LogEnd) -> bool {
    let is_bad = |group: &LogGroup| known(&group.id).is_some_and(|known| weight(known, group, log) > Severity::Info);
    (end.exit_code != 0 || end.reason == OOM_KILLED) && !log.groups.iter().any(is_bad)
}

fn last_lines(log: &ContainerLog) -> Vec<String> {
    let lines = log.tail.iter().skip(log.tail.len().saturating_sub(LAST_LINES));
    // The kubelet's time only stands for one that a line does not have.
    let bare = |line: &String| {
        let text = sent(line).text;
        cut(if sent(text).time.is_some() { text } else { line }, LAST_LINE)
    };
    lines.map(bare).collect()
}

/// A message, with its first and last time and its pods.
type Gathered = (MessageView, Option<Timestamp>, Option<Timestamp>, BTreeSet<String>);

/// The same message of several logs is one.
fn messages(logs: &[ContainerLog]) -> Vec<MessageView> {
    let mut all: BTreeMap<&str, Gathered> = BTreeMap::new();
    for log in logs {
        for group in &log.groups {
            // A newer version of this tool may have written a bundle with messages that this one does not know.
            let (severity, meaning, code) = known(&group.id).map_or((Severity::Info, group.id.clone(), ""), |known| {
                let over = if is_over(known, group, log) { "over: " } else { "" };
                (weight(known, group, log), format!("{over}{}", known.meaning), known.code)
            });
            let (view, first, last, pods) = all.entry(group.id.as_str()).or_insert_with(|| {
                let view = MessageView {
                    id: group.id.clone(),
                    severity,
                    meaning: meaning.clone(),
                    code: (!code.is_empty()).then(|| code.to_owned()),
                    count: 0,
                    first: None,
                    last: None,
                    pods: Vec::new(),
                    about: Vec::new(),
                    example: group.example.clone(),
                };
                (view, None, None, BTreeSet::new())
            });
            if severity > view.severity {
                // It is over in one log only.
                (view.severity, view.meaning) = (severity, meaning);
            }
            view.count = view.count.saturating_add(group.count);
            *first = [*first, group.first].into_iter().flatten().min();
            if group.last >= *last {
                *last = group.last;
                view.example.clone_from(&group.example);
            }
            for about in &group.about {
                if view.about.len() < ABOUT && !view.about.contains(about) {
                    view.about.push(about.clone());
                }
            }
            if !log.metadata.name.is_empty() {
                pods.insert(format!("{}.{}", log.metadata.name, log.metadata.namespace));
            }
        }
    }
    let mut list: Vec<MessageView> = all
        .into_values()
        .map(|(view, first, last, pods)| MessageView {
            first: text(first),
            last: text(last),
            pods: pods.into_iter().collect(),
            ..view
        })
        .collect();
    list.sort_by(|a, b| {
        b.severity.cmp(&a.severity).then(b.count.cmp(&a.count)).then_with(|| rank(&a.id).cmp(&rank(&b.id)))
    });
    list
}
