//! What every judging command does: get a snapshot, run checks, print a report, choose the exit code.

use std::collections::BTreeSet;
use std::mem::ManuallyDrop;
use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::{self, Exit, Policy};
use super::{live, ui};
use crate::checks;
use crate::cluster::Cluster;
use crate::engine::lens::World;
use crate::engine::run::{Outcome, Status};
use crate::engine::{Check, Finding, run};
use crate::facts::Facts;
use crate::gather::Gathered;
use crate::mesh::azure_profile::{azure, facts_for};
use crate::report::{self, ErrorDocument, Format, Gap, Report, View};
use crate::snapshot::{Fault, Scope, Section, Snapshot, SourceId, StateKind};
use crate::sources::SOURCES;
use crate::sources::collect::{End, undecodable_fault};

/// Which namespaces a command looks at when none is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultScope {
    /// All of them.
    All,
    /// The context's.
    Context,
}

/// A command's part of a judging run.
pub struct Job<'j> {
    /// Scope without flags.
    pub default_scope: DefaultScope,
    /// What its view needs besides the checks.
    pub view_needs: &'j [&'j [SourceId]],
    /// Makes its view.
    pub view: &'j dyn Fn(&World<'_>, &[Finding]) -> View,
    /// Why there is nothing to say, such as a workload that does not exist.
    pub refuse: &'j dyn Fn(&World<'_>) -> Option<ErrorDocument>,
    /// Keeps only the findings that belong to what was asked about.
    pub concerns: &'j dyn Fn(&World<'_>, &Finding) -> bool,
    /// The checks it does when the user names none.
    pub checks: &'j dyn Fn(&Check) -> bool,
    /// Time for a proxy to acknowledge what istiod sent.
    pub grace: SignedDuration,
}

/// Runs a command; whatever happens is printed in the chosen format.
pub fn judge(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    job: &Job<'_>,
) -> (Exit, Option<Report>) {
    judge_and(connection, scope, args, job, async |_, _, _| Ok(()))
}

/// Runs a command that adds to what it reads from a cluster; a bundle has the addition in it.
pub(super) fn judge_and(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    job: &Job<'_>,
    also: impl AsyncFnOnce(&Cluster, &mut Gathered, Duration) -> Result<(), ErrorDocument>,
) -> (Exit, Option<Report>) {
    finish(prepare(connection, scope, args, job, also), args)
}

/// Judges a world that the command has read by itself.
pub fn judge_snapshot(
    snapshot: Result<Snapshot, ErrorDocument>,
    args: &ReportArgs,
    job: &Job<'_>,
) -> (Exit, Option<Report>) {
    let judged = load_facts(args.facts.as_deref()).and_then(|facts| {
        let selected = select(&args.only, &args.skip, job.checks)?;
        conclude(&snapshot?, &facts, &selected, args, job, Instant::now())
    });
    finish(judged, args)
}

/// Prints what came of a run; what keeps it from having a result is a report too.
fn finish(outcome: Result<(Report, Policy), ErrorDocument>, args: &ReportArgs) -> (Exit, Option<Report>) {
    let (report, policy) = match outcome {
        Ok(done) => done,
        Err(error) => (
            Report::of_error(error),
            Policy {
                fail_on: args.fail_on,
                allow_gaps: args.allow_gaps,
                interrupted: false,
                narrowed: false,
                not_installed: false,
            },
        ),
    };
    let exit = exit::of_report(&report, policy);
    if let (Some(error), false) = (&report.error, matches!(args.output, Format::Json | Format::Yaml)) {
        ui::message(&report::text::render_error(error, ui::stderr_style(args.no_color)));
        return (exit, None);
    }
    let text = report::render(&report, args.output, ui::stdout_style(args.no_color));
    match ui::data(&text) {
        Ok(()) => (exit, Some(report)),
        Err(error) => {
            ui::message(&format!("error: stdout cannot be written: {error}\n"));
            (Exit::Unable, None)
        }
    }
}

/// Says that a command was called wrongly, in the chosen format.
pub fn refuse(args: &ReportArgs, message: String, help: &str) -> Exit {
    let hints = vec!["examples:".to_owned(), format!("   {help}")];
    let error = ErrorDocument { hints, ..usage(message) };
    match args.output {
        Format::Json | Format::Yaml => {
            let report = Report::of_error(error);
            // The exit code says that it failed whether or not the document could be written.
            let _ = ui::data(&report::render(&report, args.output, ui::stdout_style(true)));
        }
        _ => ui::message(&report::text::render_error(&error, ui::stderr_style(args.no_color))),
    }
    Exit::Unable
}

fn usage(message: impl Into<String>) -> ErrorDocument {
    ErrorDocument { kind: "usage".to_owned(), message: message.into(), hints: Vec::new() }
}

fn prepare(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    args: &ReportArgs,
    job: &Job<'_>,
    also: impl AsyncFnOnce(&Cluster, &mut Gathered, Duration) -> Result<(), ErrorDocument>,
) -> Result<(Report, Policy), ErrorDocument> {
    let facts = load_facts(args.facts.as_deref())?;
    let selected = select(&args.only, &args.skip, job.checks)?;
    let needs = needs(job.view_needs, &selected);
    let start = Instant::now();
    let snapshot = match &args.from {
        Some(from) => {
            let mut snapshot = from_bundle(from, connection, scope)?;
            forget_others(&mut snapshot, &crate::sources::with_followed(&needs));
            snapshot
        }
        None => live::read_and(connection, scope, args, job.default_scope, needs, false, also)?.snapshot,
    };
    // The run is about to end: giving back thousands of objects one by one would only take time.
    let snapshot = ManuallyDrop::new(snapshot);
    all_exist(&snapshot, scope)?;
    conclude(&snapshot, &facts, &selected, args, job, start)
}

/// From a frozen world to a report.
fn conclude(
    snapshot: &Snapshot,
    facts: &Facts,
    selected: &[&'static Check],
    args: &ReportArgs,
    job: &Job<'_>,
    start: Instant,
) -> Result<(Report, Policy), ErrorDocument> {
    let now = args.now.or(snapshot.origin.captured_at).unwrap_or_else(Timestamp::now);
    // What Azure says about this cluster beats what a table says about all.
    let facts = &facts_for(facts, snapshot);
    let world = World::with_grace(snapshot, facts, now, job.grace);
    if let Some(error) = (job.refuse)(&world) {
        return Err(error);
    }
    let (findings, outcomes) = run::run(&world, selected, checks::CAUSES);
    let findings: Vec<Finding> =
        findings.into_iter().filter(|finding| finding.walk().any(|f| (job.concerns)(&world, f))).collect();
    let findings = named(findings, snapshot);
    let view = (job.view)(&world, &findings);
    let mut report = Report::new(snapshot.origin.clone(), &snapshot.scope, Some(facts));
    report.scope.checks_chosen = !args.only.is_empty() || !args.skip.is_empty();
    report.gaps = gaps(snapshot, selected, &outcomes);
    report = report.with_results(findings, &outcomes);
    report.view = view;
    if args.verbose.is_some() {
        ui::message(&format!("judged in {} ms\n", start.elapsed().as_millis()));
    }
    let policy = Policy {
        fail_on: args.fail_on,
        allow_gaps: args.allow_gaps,
        interrupted: snapshot.interrupted,
        narrowed: snapshot.pods.state().fallback.is_some(),
        not_installed: world.is_installed() == Some(false),
    };
    Ok((report, policy))
}

/// Fills in what only Azure knows, where it was asked: the names that commands of `az` want.
fn named(mut findings: Vec<Finding>, snapshot: &Snapshot) -> Vec<Finding> {
    if let Some(cluster) = azure(snapshot).cluster {
        let known = [
            ("<resource-group>", cluster.resource_group.as_str()),
            ("<cluster>", &cluster.name),
            ("<location>", &cluster.location),
        ];
        findings.iter_mut().for_each(|finding| finding.fill(&known));
    }
    findings
}

/// The sources that a view and checks need.
pub fn needs(view: &[&[SourceId]], checks: &[&'static Check]) -> BTreeSet<SourceId> {
    let of_checks = checks.iter().flat_map(|check| check.inputs.iter().chain(check.uses));
    view.iter().copied().flatten().chain(of_checks).chain(&[SourceId::Version]).copied().collect()
}

/// The tables inside the binary, with a file of newer ones over them.
///
/// # Errors
/// When the file cannot be read or understood.
pub fn load_facts(path: Option<&Path>) -> Result<Facts, ErrorDocument> {
    let wrong = |message: String| ErrorDocument {
        kind: "facts".to_owned(),
        message,
        hints: vec!["without --facts, the tables inside kubectl-asm are used".to_owned()],
    };
    match path {
        None => Facts::built_in().map_err(wrong),
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|error| wrong(format!("the facts file {} cannot be read: {error}", path.display())))?;
            Facts::with_overlay(&text, &path.display().to_string()).map_err(wrong)
        }
    }
}

/// The checks that `--only` and `--skip` leave.
///
/// # Errors
/// When a word is neither a code nor an area.
pub fn select(
    only: &[String],
    skip: &[String],
    usual: &dyn Fn(&Check) -> bool,
) -> Result<Vec<&'static Check>, ErrorDocument> {
    let known = |word: &String| {
        checks::all()
            .any(|check| check.code.eq_ignore_ascii_case(word) || check.area.prefix().eq_ignore_ascii_case(word))
    };
    if let Some(word) = only.iter().chain(skip).find(|word| !known(word)) {
        let mut error = usage(format!("{} is neither a code nor an area", crate::model::quoted::printable(word)));
        error.hints = vec!["all codes:".to_owned(), "   kubectl asm explain".to_owned()];
        return Err(error);
    }
    let named = |list: &[String], check: &Check| {
        list.iter().any(|word| check.code.eq_ignore_ascii_case(word) || check.area.prefix().eq_ignore_ascii_case(word))
    };
    let selected: Vec<&'static Check> = checks::all()
        .filter(|check| if only.is_empty() { usual(check) } else { named(only, check) })
        .filter(|check| !named(skip, check))
        .collect();
    if selected.is_empty() && !only.is_empty() {
        return Err(usage("--skip leaves none of the checks that --only names"));
    }
    Ok(selected)
}

/// Reads a bundle. It has no context whose namespace could be meant, so without -n it is looked at as a whole.
///
/// # Errors
/// When it cannot be read, does not hold a namespace that was named, or a connection was named too.
pub(super) fn from_bundle(
    from: &str,
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
) -> Result<Snapshot, ErrorDocument> {
    if let Some(flag) = connection.given() {
        let mut error = usage(format!("{flag} does not go with --from: a bundle is read without a cluster"));
        error.hints = vec![format!("leave {flag} or --from out")];
        return Err(error);
    }
    let mut snapshot = match from {
        "demo" => crate::bundle::read_demo(),
        path => crate::bundle::read_path(Path::new(path)),
    }
    .map_err(|error| error.document())?;
    if !scope.namespace.is_empty() && !scope.all_namespaces {
        let mut asked = scope.namespace.clone();
        asked.retain(|name| snapshot.scope.contains(name) || !namespace_read(&snapshot));
        if let Some(outside) = scope.namespace.iter().find(|name| !snapshot.scope.contains(name)) {
            return Err(ErrorDocument {
                kind: "namespace".to_owned(),
                message: format!("namespace {outside} is not in this bundle"),
                hints: vec!["without -n, all namespaces of the bundle are examined".to_owned()],
            });
        }
        snapshot.scope = Scope { namespaces: Some(asked) };
    }
    Ok(snapshot)
}

/// A bundle holds everything; a live run reads only what is needed. Forgetting the rest makes the two answer alike.
fn forget_others(snapshot: &mut Snapshot, needs: &BTreeSet<SourceId>) {
    for source in SOURCES.iter().filter(|source| !needs.contains(&source.id)) {
        let end = End { kind: StateKind::NotRequested, faults: Vec::new(), undecodable: Vec::new(), fallback: None };
        (source.collector)().finish(snapshot, end);
    }
}

fn namespace_read(snapshot: &Snapshot) -> bool {
    snapshot.namespaces.items().is_some()
}

/// See [`crate::fuzzing`].
pub(crate) fn report(snapshot: &Snapshot, facts: &Facts, now: Timestamp) -> Report {
    let selected: Vec<&'static Check> = checks::all().collect();
    let world = World::new(snapshot, facts, now);
    let (findings, outcomes) = run::run(&world, &selected, checks::CAUSES);
    let mut report = Report::new(snapshot.origin.clone(), &snapshot.scope, Some(facts));
    report.gaps = gaps(snapshot, &selected, &outcomes);
    report = report.with_results(findings, &outcomes);
    report.view = View::Status(super::status::view(&world));
    report
}

/// Every namespace that was named exists, as far as that can be known.
///
/// # Errors
/// For the first one that does not.
pub(super) fn all_exist(snapshot: &Snapshot, scope: &ScopeArgs) -> Result<(), ErrorDocument> {
    match missing_namespaces(snapshot, scope).first() {
        None => Ok(()),
        Some(name) => Err(ErrorDocument {
            kind: "namespace".to_owned(),
            message: format!("namespace {name} does not exist"),
            hints: vec!["which namespaces are there?".to_owned(), "   kubectl get namespaces".to_owned()],
        }),
    }
}

/// Namespaces that were named but do not exist, as far as that can be known.
fn missing_namespaces<'s>(snapshot: &Snapshot, scope: &'s ScopeArgs) -> Vec<&'s str> {
    let Section::Collected(namespaces) = &snapshot.namespaces else { return Vec::new() };
    if scope.all_namespaces || !namespaces.is_complete() {
        return Vec::new();
    }
    scope
        .namespace
        .iter()
        .filter(|name| !namespaces.items.iter().any(|ns| ns.metadata.name == **name))
        .map(String::as_str)
        .collect()
}

/// Everything that could not be read, with the checks that cost.
fn gaps(snapshot: &Snapshot, selected: &[&'static Check], outcomes: &[Outcome]) -> Vec<Gap> {
    let mut gaps = Vec::new();
    for source in SOURCES {
        let state = (source.state)(snapshot);
        if state.kind == StateKind::NotRequested {
            continue;
        }
        let checks: Vec<String> = selected
            .iter()
            .zip(outcomes)
            .filter(|(check, outcome)| {
                check.inputs.contains(&source.id) && matches!(outcome.status, Status::NotChecked(_))
            })
            .map(|(check, _)| check.code.to_owned())
            .collect();
        let broken = (!state.undecodable.is_empty()).then(|| undecodable_fault(state.undecodable));
        for fault in state.faults.iter().chain(&broken) {
            gaps.push(gap(source.id, fault, checks.clone(), &fault.message));
        }
        if let Some(fault) = state.fallback {
            // The server's version and namespaces by name lose nothing by it; workloads of other namespaces do.
            let namespaces = snapshot.scope.namespaces.as_deref().unwrap_or_default().join(", ");
            gaps.push(gap(
                source.id,
                fault,
                checks,
                &format!("{}; only namespace {namespaces} was examined", fault.message),
            ));
        }
    }
    gaps
}

fn gap(id: SourceId, fault: &Fault, checks: Vec<String>, hint: &str) -> Gap {
    Gap { source: id.name(), kind: fault.kind, need: fault.need.clone(), checks, hint: hint.to_owned() }
}
