//! Text for people: the answer first, one block per problem, what was not seen at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::document::{Namespaces, Report};
use super::style::{Style, shell, wrap, wrap_after};
use super::view::{InjectView, View, WorkloadView};
use super::{ErrorDocument, OutcomeStatus, azure, conflicts, inventory, logs, metrics, proxy_config};
use crate::engine::{Evidence, Finding, Severity, Step, Subject};
use crate::model::quoted::printable;
use crate::snapshot::OriginKind;

/// Consequences shown under a cause, and steps of a remedy; JSON has all.
pub(super) const SHOWN: usize = 10;
/// Sources without which workloads may be missing from a table.
const WORKLOAD_SOURCES: [&str; 7] =
    ["pods", "replicaSets", "deployments", "statefulSets", "daemonSets", "jobs", "cronJobs"];

/// Renders a whole report. `wide` shows every detail.
#[must_use]
pub fn render(report: &Report, style: Style, wide: bool) -> String {
    let mut out = String::new();
    match &report.view {
        View::Status(view) => {
            out.push_str(&header(report, installed(&report.view), style));
            out.push('\n');
            out.push_str(&inventory::render(view, style, wide));
            if let Some(view) = &view.azure {
                out.push_str(&format!("\n{}\n", azure::heading(view)));
                out.push_str(&azure::render(view, style, wide));
            }
        }
        View::Precheck(view) => {
            out.push_str(&header(report, installed(&report.view), style));
            out.push('\n');
            out.push_str(&super::precheck::render(view, style, wide));
        }
        View::Inject(view) => {
            out.push_str(&inject(report, view, style, wide));
            if let Some(probes) = &view.probes {
                out.push_str(&super::probe::render(probes, &report.scope.namespaces, style, wide));
            }
        }
        View::ProxyConfig(view) => {
            let mut left = proxy_config::heading(&view.proxy);
            if let (OriginKind::File, Some(time)) = (report.origin.kind, report.origin.captured_at) {
                left.push_str(&format!("  saved {}", time.strftime("%Y-%m-%d %H:%M UTC")));
            }
            out.push_str(&first_line(report, &left, style));
            out.push('\n');
            out.push_str(&proxy_config::render(view, style, wide));
        }
        View::ProxyStatus(view) => {
            let asked = &report.scope.namespaces;
            out.push_str(&super::proxy_status::render(view, report.origin.kind, asked, style, wide));
        }
        View::ProxyDiff(view) => out.push_str(&super::proxy_diff::render(view, style, wide)),
        View::Logs(view) => {
            out.push_str(&first_line(report, &logs::heading(view), style));
            out.push('\n');
            out.push_str(&logs::render(view, style, wide));
        }
        View::Conflicts(view) => {
            out.push_str(&header(report, installed(&report.view), style));
            out.push('\n');
            out.push_str(&conflicts::head(view, style, wide));
        }
        View::Azure(view) => {
            out.push_str(&first_line(report, &azure::heading(view), style));
            out.push('\n');
            out.push_str(&azure::render(view, style, wide));
        }
        // Nothing is judged: the log is explained.
        View::AzureLog(view) => return azure::render_log(view, style),
        View::Metrics(view) => {
            out.push_str(&header(report, installed(&report.view), style));
            out.push('\n');
            out.push_str(&metrics::render(view, style, wide));
        }
        View::None(_) => out.push_str(&header(report, None, style)),
    }
    for finding in &report.findings {
        out.push('\n');
        block(finding, style, wide, &mut out);
    }
    if let View::Metrics(view) = &report.view
        && !wide
    {
        out.push_str(&metrics::queries(view, style));
    }
    if let View::Conflicts(view) = &report.view {
        out.push('\n');
        out.push_str(&conflicts::tail(view, style, wide));
    }
    out.push('\n');
    footer(report, style, wide, &mut out);
    out
}

/// `2 errors, 1 warning`, `all well`, or what stands in the way of saying so.
#[must_use]
pub fn verdict_words(report: &Report) -> String {
    let summary = &report.summary;
    let mut words = Vec::new();
    for (number, noun) in [(summary.errors, "error"), (summary.warnings, "warning")] {
        if number > 0 {
            words.push(plural(number, noun));
        }
    }
    let undone = summary.checks.not_checked + summary.checks.errored;
    if let View::Precheck(view) = &report.view {
        words.extend(super::precheck::answerable(view));
    }
    if words.is_empty() {
        // An add-on that is not there is not well, and neither is what nobody looked at.
        let absent = installed(&report.view).is_some_and(|revisions| revisions.is_empty());
        let looked = summary.checks.passed + summary.checks.failed > 0;
        words.push(
            match (undone, summary.infos) {
                (0, _) if !looked => "nothing to check",
                (0, _) if matches!(&report.view, View::Logs(view) if logs::is_unexplained(view)) => {
                    "no known cause found"
                }
                // One proxy, or some logs, and of them only what was asked for.
                (0, _) if matches!(report.view, View::ProxyConfig(_) | View::Logs(_)) => "nothing wrong found",
                (_, 0) if report.scope.checks_chosen => "nothing found with these checks",
                _ if report.scope.checks_chosen => "nothing wrong found with these checks",
                (0, _) if !absent => "all well",
                (_, 0) => "nothing found",
                _ => "nothing wrong found",
            }
            .to_owned(),
        );
    }
    if undone > 0 {
        words.push(format!("{} not done", plural(undone, "check")));
    }
    words.join(", ")
}

pub(super) fn plural(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// The add-on's revisions that a view tells of; none when they could not be read, or when it does not look at them.
fn installed(view: &View) -> Option<Vec<String>> {
    match view {
        View::Status(view) => view.revisions.as_ref().map(|revisions| {
            let version = |r: &super::view::RevisionView| r.version.as_ref().map(|v| format!("{} ({v})", r.name));
            revisions.iter().map(|revision| version(revision).unwrap_or_else(|| revision.name.clone())).collect()
        }),
        View::Conflicts(view) => view.revisions.clone(),
        View::Metrics(view) => view.merge.as_ref().map(|all| all.iter().map(|one| one.revision.clone()).collect()),
        View::Precheck(view) => view.revisions.clone(),
        View::Inject(_)
        | View::ProxyConfig(_)
        | View::ProxyStatus(_)
        | View::ProxyDiff(_)
        | View::Logs(_)
        | View::Azure(_)
        | View::AzureLog(_)
        | View::None(_) => None,
    }
}

fn header(report: &Report, revisions: Option<Vec<String>>, style: Style) -> String {
    let origin = &report.origin;
    let place = match (origin.kind, &origin.context) {
        (OriginKind::Demo, _) => "demo".to_owned(),
        (_, Some(context)) => context.clone(),
        (_, None) => origin.server.clone().unwrap_or_else(|| "cluster".to_owned()),
    };
    let mut left = printable(&place);
    if let Some(version) = &origin.server_version {
        left.push_str(&format!("  Kubernetes {}", printable(version.trim_start_matches('v'))));
    }
    if let Namespaces::List(list) = &report.scope.namespaces {
        left.push_str(&format!(
            "  {} {} only",
            if list.len() == 1 { "namespace" } else { "namespaces" },
            printable(&list.join(", "))
        ));
    }
    left.push_str("  add-on");
    match revisions {
        None => left.push_str(": cannot tell"),
        Some(revisions) if revisions.is_empty() => left.push_str(": not installed here"),
        Some(revisions) => left.push_str(&format!(" {}", printable(&revisions.join(", ")))),
    }
    if origin.kind == OriginKind::Bundle
        && let Some(time) = origin.captured_at
    {
        left.push_str(&format!("  captured {}", time.strftime("%Y-%m-%d %H:%M UTC")));
    }
    first_line(report, &left, style)
}

/// What was looked at on the left, the verdict on the right.
fn first_line(report: &Report, left: &str, style: Style) -> String {
    let words = verdict_words(report);
    let painted = match (report.summary.errors, words.as_str()) {
        (0, "all well") => style.good(&words),
        (0, _) => words.clone(),
        _ => style.bad(&words),
    };
    let used = unicode_width::UnicodeWidthStr::width(left) + unicode_width::UnicodeWidthStr::width(words.as_str());
    let page = style.width.unwrap_or(80).min(100);
    let gap = match style.width {
        Some(width) if used + 2 > width => "\n".to_owned(),
        _ => " ".repeat(page.saturating_sub(used).max(2)),
    };
    format!("{left}{gap}{painted}\n")
}

/// `namespace/shop`, `deploy/cart -n shop`: the way kubectl names an object.
#[must_use]
pub fn object(subject: &Subject) -> String {
    let kind = short_kind(&subject.kind);
    let name = printable(&subject.name);
    match &subject.namespace {
        Some(namespace) => format!("{kind}/{name} -n {}", printable(namespace)),
        None => format!("{kind}/{name}"),
    }
}

pub(super) fn short_kind(kind: &str) -> String {
    match kind {
        "Deployment" => "deploy".to_owned(),
        "StatefulSet" => "sts".to_owned(),
        "DaemonSet" => "ds".to_owned(),
        "CronJob" => "cj".to_owned(),
        "ReplicaSet" => "rs".to_owned(),
        other => printable(&other.to_lowercase()),
    }
}

fn block(finding: &Finding, style: Style, wide: bool, out: &mut String) {
    out.push_str(&title(finding, style));
    if finding.severity == Severity::Info && !wide {
        return;
    }
    if !finding.detail.is_empty() {
        out.push_str(&wrap(&printable(&finding.detail), 4, style.width));
    }
    if let Some(text) = affected(finding) {
        out.push_str(&wrap(&text, 4, style.width));
    }
    let shown = if wide { finding.evidence.len() } else { 2 };
    for evidence in finding.evidence.iter().take(shown) {
        out.push_str(&style.dim(&wrap(&proof(evidence), 4, style.width)));
    }
    for step in finding.remedy.steps.iter().take(SHOWN) {
        push_step(step, style, out);
    }
    let more = finding.remedy.steps.len().saturating_sub(SHOWN);
    if more > 0 {
        out.push_str(&style.dim(&format!("    # and {more} more: -o json lists them\n")));
    }
    nested(finding, 4, style, out);
}

/// How much is affected, unless the sentences above say so.
fn affected(finding: &Finding) -> Option<String> {
    let impact = finding.impact?;
    let workloads = plural(impact.workloads, "workload");
    let said = [&finding.summary, &finding.detail]
        .iter()
        .any(|text| text.match_indices(&workloads).any(|(at, _)| !text[..at].ends_with(|c: char| c.is_ascii_digit())));
    if said && impact.workloads > 0 {
        return None;
    }
    let pods = plural(impact.pods, "pod");
    let place =
        if impact.namespaces > 0 { format!(" in {}", plural(impact.namespaces, "namespace")) } else { String::new() };
    match (impact.workloads, impact.pods) {
        (0, 0) => None,
        (0, _) => Some(format!("Affected: {pods}{place}.")),
        (_, 0) => Some(format!("Affected: {workloads}{place}.")),
        _ => Some(format!("Affected: {workloads} ({pods}){place}.")),
    }
}

fn title(finding: &Finding, style: Style) -> String {
    let head = format!("  {}  ", finding.code);
    let wrapped = wrap_after(&head, &printable(&finding.summary), 4, style.width);
    format!("{} {}", style.symbol(finding.severity), wrapped.trim_start())
}

fn proof(evidence: &Evidence) -> String {
    let expected = evidence.expected.as_ref().map_or_else(String::new, |e| format!(" (should be: {})", printable(e)));
    format!(
        "{}: {} = {}{expected}",
        printable(&evidence.object),
        printable(&evidence.field),
        printable(&evidence.observed)
    )
}

pub(super) fn push_step(step: &Step, style: Style, out: &mut String) {
    if !step.text.is_empty() {
        out.push_str(&style.dim(&format!("    # {}\n", printable(&step.text))));
    }
    if let Some(command) = &step.command {
        out.push_str(&format!("    $ {}\n", style.command(&printable(&shell(command)))));
    }
}

fn nested(finding: &Finding, indent: usize, style: Style, out: &mut String) {
    let pad = " ".repeat(indent);
    for consequence in finding.consequences.iter().take(SHOWN) {
        let head = format!("{pad}    {}  ", consequence.code);
        let wrapped = wrap_after(&head, &printable(&consequence.summary), indent + 4, style.width);
        out.push_str(&format!(
            "{pad}{} {} {}",
            style.branch(),
            style.symbol(consequence.severity),
            wrapped.trim_start()
        ));
        nested(consequence, indent + 4, style, out);
    }
    let more = finding.consequences.len().saturating_sub(SHOWN);
    if more > 0 {
        out.push_str(&format!("{pad}{} and {more} more: -o json lists them\n", style.branch()));
    }
}

fn footer(report: &Report, style: Style, wide: bool, out: &mut String) {
    let checks = &report.summary.checks;
    let mut parts = Vec::new();
    if checks.passed > 0 {
        parts.push(format!("{} passed", plural(checks.passed, "check")));
    }
    if checks.not_applicable > 0 {
        let verb = if checks.not_applicable == 1 { "does" } else { "do" };
        // The noun stands once, with the first number.
        let number =
            if parts.is_empty() { plural(checks.not_applicable, "check") } else { checks.not_applicable.to_string() };
        parts.push(format!("{number} {verb} not apply"));
    }
    if checks.errored > 0 {
        let number = if parts.is_empty() { plural(checks.errored, "check") } else { checks.errored.to_string() };
        parts.push(format!("{number} broke"));
    }
    let mut line = if parts.is_empty() { String::new() } else { format!("{}.", parts.join(", ")) };
    if let Some(first) = report.findings.first() {
        line.push_str(&format!(" kubectl asm explain {} tells more.", first.code));
    }
    if !line.is_empty() {
        out.push_str(&format!("{}\n", style.dim(line.trim_start())));
    }
    let reasons = reasons(report);
    if report.gaps.is_empty() && reasons.is_empty() {
        return;
    }
    let who = report
        .origin
        .context
        .as_deref()
        .map_or_else(String::new, |context| format!(" in context {}", printable(context)));
    let undone = match checks.not_checked {
        0 => String::new(),
        number => format!("{} could not be done. ", plural(number, "check")),
    };
    let heading = if report.gaps.is_empty() { "Why:".to_owned() } else { format!("What could not be read{who}:") };
    out.push_str(&format!("\n? {undone}{heading}\n"));
    // Without a right that would fill it, a gap has only its own words.
    let others: BTreeSet<String> =
        report.gaps.iter().filter(|gap| gap.need.is_none()).map(|gap| gap.hint.clone()).collect();
    // Every command's rights at once are long; the table before it counts them.
    let counted = matches!(report.view, View::Precheck(_)) && !wide;
    let rights = match counted {
        true if report.gaps.iter().any(|gap| gap.need.is_some()) => {
            vec!["-o wide lists the rights that are missing.".to_owned()]
        }
        true => Vec::new(),
        false => rights(report, wide),
    };
    let rbac = match &report.view {
        View::Inject(view) if view.probes.is_some() => "kubectl asm rbac --for inject-check --probe",
        View::Precheck(_) => "kubectl asm rbac --for <command>",
        _ => "kubectl asm rbac",
    };
    let granted = (!rights.is_empty()).then(|| format!("{rbac} prints the roles that are enough."));
    for line in rights.into_iter().chain(others).chain(reasons).chain(granted) {
        out.push_str(&wrap(&printable(&line), 4, style.width));
    }
}

/// The rights that are missing, those of the whole cluster first. Resources that share a verb and a place share a line,
/// and so do namespaces where the same is missing.
fn rights(report: &Report, wide: bool) -> Vec<String> {
    let mut places: BTreeMap<(Option<&str>, &str), BTreeSet<&str>> = BTreeMap::new();
    for need in report.gaps.iter().filter_map(|gap| gap.need.as_ref()) {
        let short = need.resource.split('.').next().unwrap_or_default();
        let resource = if wide { need.resource.as_str() } else { short };
        places.entry((need.namespace.as_deref(), &need.verb)).or_default().insert(resource);
    }
    let mut lines: Vec<String> = Vec::new();
    let mut namespaces: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for ((namespace, verb), resources) in places {
        let right = format!("no right to {verb} {}", resources.into_iter().collect::<Vec<_>>().join(", "));
        match namespace {
            None => lines.push(format!("{right} (whole cluster)")),
            Some(namespace) => namespaces.entry(right).or_default().push(namespace),
        }
    }
    lines.extend(namespaces.into_iter().map(|(right, names)| match names.as_slice() {
        [name] => format!("{right} in namespace {name}"),
        names => {
            let shown = if wide { names.len() } else { SHOWN };
            let more = names.len().saturating_sub(shown);
            let list = names.iter().take(shown).copied().collect::<Vec<_>>().join(", ");
            format!(
                "{right} in namespaces {list}{}",
                if more > 0 { format!(" and {more} more") } else { String::new() }
            )
        }
    }));
    lines
}

/// Why checks ended without an answer, where no gap says so: each reason once, with its checks.
fn reasons(report: &Report) -> Vec<String> {
    let explained: BTreeSet<&str> = report.gaps.iter().flat_map(|gap| &gap.checks).map(String::as_str).collect();
    let mut reasons: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for outcome in &report.outcomes {
        let unanswered = match outcome.status {
            OutcomeStatus::Errored => true,
            OutcomeStatus::NotChecked => !explained.contains(outcome.code.as_str()),
            _ => false,
        };
        if unanswered {
            let reason = outcome.reason.as_deref().unwrap_or("no reason given");
            reasons.entry(reason).or_default().push(&outcome.code);
        }
    }
    reasons.into_iter().map(|(reason, codes)| format!("{}: {reason}", codes.join(", "))).collect()
}

/// Whether rows say their namespace: unless exactly one was asked for, and all rows are in it. A column does not come and go
/// with what happens to be in the cluster.
pub(super) fn says_namespace<'r>(asked: &Namespaces, mut rows: impl Iterator<Item = &'r str>) -> bool {
    match asked {
        Namespaces::List(list) if list.len() == 1 => rows.any(|namespace| namespace != list[0]),
        _ => true,
    }
}

fn inject(report: &Report, view: &InjectView, style: Style, wide: bool) -> String {
    if view.workloads.is_empty() {
        let place = match &report.scope.namespaces {
            Namespaces::List(list) if list.len() == 1 => format!(" in namespace {}", printable(&list.join(", "))),
            Namespaces::List(list) => format!(" in namespaces {}", printable(&list.join(", "))),
            Namespaces::All(_) => String::new(),
        };
        // After a refusal an empty table does not mean that nothing is there.
        let unread = report.gaps.iter().any(|gap| WORKLOAD_SOURCES.contains(&gap.source.as_str()));
        let unread = if unread { ", but not everything could be read" } else { "" };
        return format!("No workloads found{place}{unread}.\n");
    }
    let several = says_namespace(&report.scope.namespaces, view.workloads.iter().map(|row| row.namespace.as_str()));
    let mut headers = vec!["WORKLOAD", "PODS", "NOW", "RESTART"];
    if wide {
        headers.extend(["SIDECAR", "IMAGE", "NEXT IMAGE", "WEBHOOK", "CODES"]);
    }
    headers.push("WHY");
    if several {
        headers.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = view
        .workloads
        .iter()
        .map(|row| {
            let mut cells = vec![
                format!("{}/{}", short_kind(&row.kind), printable(&row.name)),
                format!("{}/{}", row.pods.injected, row.pods.total),
                now(row),
                restart(row),
            ];
            if wide {
                let dash = |text: String| if text.is_empty() { "-".to_owned() } else { printable(&text) };
                cells.extend([
                    row.now.sidecar.clone(),
                    dash(row.now.images.join(",")),
                    dash(row.next_restart.image.clone().unwrap_or_default()),
                    dash(row.next_restart.webhook.clone().unwrap_or_default()),
                    dash(row.codes.join(",")),
                ]);
            }
            cells.push(printable(&row.next_restart.reason));
            if several {
                cells.insert(0, printable(&row.namespace));
            }
            cells
        })
        .collect();
    super::table::table(&headers, &rows, style)
}

fn now(row: &WorkloadView) -> String {
    let revisions: Vec<String> = row
        .now
        .revisions
        .iter()
        .map(|revision| {
            let revision_name = printable(revision);
            if row.now.gone.contains(revision) { format!("{revision_name} gone") } else { revision_name }
        })
        .collect();
    let revisions = if revisions.is_empty() { "sidecar".to_owned() } else { revisions.join(",") };
    match row.now.injected.as_str() {
        "noPods" => "-".to_owned(),
        "none" => "none".to_owned(),
        "some" => format!("{} of {} {revisions}", row.pods.injected, row.pods.total),
        _ => revisions,
    }
}

fn restart(row: &WorkloadView) -> String {
    let next = &row.next_restart;
    match (next.injected, next.decided_by.as_str()) {
        (_, "blocked") => "blocked".to_owned(),
        (None, _) => "unknown".to_owned(),
        (Some(false), _) => "none".to_owned(),
        (Some(true), _) => next.revision.as_deref().map_or_else(|| "sidecar".to_owned(), printable),
    }
}

/// An error of the tool itself, for stderr.
#[must_use]
pub fn render_error(error: &ErrorDocument, style: Style) -> String {
    const UNDER: &str = "       ";
    let mut out = String::new();
    for line in error.message.lines() {
        let mark = if out.is_empty() { format!("{} ", style.bad("error:")) } else { UNDER.to_owned() };
        out.push_str(&format!("{mark}{}", wrap(&printable(line), 7, style.width).trim_start()));
    }
    let mut led = false;
    for hint in error.hints.iter().flat_map(|hint| hint.lines()) {
        let text = printable(hint);
        match text.strip_prefix("   ") {
            // A line that starts with spaces is a command: alone on its line, under the hint that leads to it.
            Some(command) => {
                let mark = if led { UNDER } else { "hint:  " };
                out.push_str(&format!("{mark}{}\n", style.command(command.trim())));
            }
            None => out.push_str(&format!("hint:  {}", wrap(&text, 7, style.width).trim_start())),
        }
        led = true;
    }
    out
}
