//! Runs checks over a world.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::lens::{Lens, World};
use super::{Area, Cause, Check, Finding, Missing, Verdict, correlate};
use crate::snapshot::{OriginKind, SourceId, StateKind};
use crate::sources::{Reach, source};

/// How a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// It looked at something and found nothing.
    Passed,
    /// It found something.
    Failed,
    /// There is nothing here for it to look at.
    NotApplicable(String),
    /// It could not look, or not at everything.
    NotChecked(String),
    /// It broke.
    Errored(String),
}

/// The end of one check.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The check's code.
    pub code: &'static str,
    /// How it ended.
    pub status: Status,
    /// How many objects it looked at.
    pub examined: usize,
}

/// Runs the checks and nests their findings.
#[must_use]
pub fn run(world: &World<'_>, checks: &[&'static Check], causes: &[Cause]) -> (Vec<Finding>, Vec<Outcome>) {
    let mut findings = Vec::new();
    let mut outcomes = Vec::new();
    let installed = world.is_installed() != Some(false);
    for check in checks {
        // Without the add-on nothing of the mesh is there to be judged; what is left of it is the story of the environment,
        // of those who exclude it, or of Azure, which may believe otherwise.
        let absent = || Status::NotApplicable("the add-on is not installed here".to_owned());
        if !installed && !matches!(check.area, Area::Environment | Area::Conflicts | Area::Azure) {
            outcomes.push(Outcome { code: check.code, status: absent(), examined: 0 });
            continue;
        }
        let lens = Lens::new(world);
        // A check that breaks must not end the report.
        let result = catch_unwind(AssertUnwindSafe(|| (check.run)(&lens)));
        let (status, examined, found) = match result {
            Err(_) => {
                (Status::Errored("the check broke; its code is at fault, not the cluster".to_owned()), 0, Vec::new())
            }
            Ok(Err(missing)) => (unavailable(world, &missing), 0, Vec::new()),
            Ok(Ok(verdict)) if !installed && verdict.examined == 0 && check.area == Area::Conflicts => {
                (absent(), 0, Vec::new())
            }
            Ok(Ok(verdict)) => judge(world, check, verdict),
        };
        findings.extend(found);
        outcomes.push(Outcome { code: check.code, status, examined });
    }
    let mut nested = correlate::correlate(findings, causes);
    correlate::sort(&mut nested);
    (nested, outcomes)
}

fn unavailable(world: &World<'_>, missing: &Missing) -> Status {
    match missing.kind {
        StateKind::NotServed => Status::NotApplicable(format!("this cluster does not serve {}", resource(missing))),
        StateKind::Collected => Status::NotChecked(read_in_part(missing.source)),
        StateKind::NotRequested if let Some(Reach::ByCommand(words)) = source(missing.source).map(|s| &s.reach) => {
            Status::NotApplicable((*words).to_owned())
        }
        // An older version wrote the bundle, which did not know of it.
        StateKind::NotRequested if matches!(world.snapshot.origin.kind, OriginKind::Bundle | OriginKind::Demo) => {
            let what = match missing.source {
                SourceId::IstiodMetrics => "metrics of istiod",
                SourceId::Xds => "answers of istiods about their proxies",
                _ => resource(missing),
            };
            Status::NotChecked(format!("this bundle has no {what}; a new kubectl asm capture has them"))
        }
        _ => Status::NotChecked(format!("{} could not be read", words(missing.source))),
    }
}

fn read_in_part(source: SourceId) -> String {
    format!("{} was read only in part", words(source))
}

/// What a source is called in a sentence: what no list holds has no name that people know.
fn words(source: SourceId) -> String {
    match source {
        SourceId::Xds => "what istiods say about their proxies".to_owned(),
        SourceId::IstiodMetrics => "what istiods count".to_owned(),
        SourceId::Azure => "what Azure says".to_owned(),
        _ => source.name(),
    }
}

fn resource(missing: &Missing) -> &'static str {
    source(missing.source).map_or("it", |source| source.resource)
}

fn judge(world: &World<'_>, check: &Check, verdict: Verdict) -> (Status, usize, Vec<Finding>) {
    let Verdict { examined, mut findings } = verdict;
    for finding in &mut findings {
        finding.code = check.code.to_owned();
        finding.name = check.name.to_owned();
        finding.severity = finding.severity.min(check.severity);
        finding.fingerprint = fingerprint(finding);
        finding.remedy.link = format!("kubectl asm explain {}", check.code);
    }
    let partial =
        check.inputs.iter().find(|id| source(**id).is_some_and(|source| (source.state)(world.snapshot).is_partial()));
    let status = match (findings.is_empty(), partial, examined) {
        (false, ..) => Status::Failed,
        (true, Some(id), _) => Status::NotChecked(read_in_part(*id)),
        (true, None, 0) => Status::NotApplicable("there is nothing here for it to look at".to_owned()),
        (true, None, _) => Status::Passed,
    };
    (status, examined, findings)
}

/// Code and subject, nothing that changes from run to run.
fn fingerprint(finding: &Finding) -> String {
    let subject = &finding.subject;
    format!("{}/{}/{}/{}", finding.code, subject.kind, subject.namespace.as_deref().unwrap_or("-"), subject.name)
}
