//! Every check against its fixtures, and stories over all checks.
//!
//! A fixture is a header with the expected findings, then plain Kubernetes objects: see `tests/support`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use kubectl_asm::checks::{CAUSES, by_code};
use kubectl_asm::engine::Finding;
use kubectl_asm::engine::run::Status;
use support::{Expected, Fixture, all_checks, fixtures};

/// The folder of fixtures that run all checks.
const STORIES: &str = "stories";

fn line(code: &str, kind: &str, namespace: Option<&str>, name: &str, severity: &str, top: bool) -> String {
    let place = namespace.map_or_else(String::new, |namespace| format!("{namespace}/"));
    format!("{code} {kind} {place}{name} {severity}{}", if top { "" } else { " (below a cause)" })
}

fn expected_line(expected: &Expected) -> String {
    let subject = &expected.subject;
    let severity = format!("{:?}", expected.severity).to_lowercase();
    line(&expected.code, &subject.kind, subject.namespace.as_deref(), &subject.name, &severity, expected.top)
}

fn found_line(finding: &Finding, top: bool) -> String {
    let subject = &finding.subject;
    let severity = format!("{:?}", finding.severity).to_lowercase();
    line(&finding.code, &subject.kind, subject.namespace.as_deref(), &subject.name, &severity, top)
}

/// Compares findings with a header; gives what is wrong.
fn compare(fixture: &Fixture, findings: &[Finding]) -> Vec<String> {
    let found: Vec<(String, &Finding)> = findings
        .iter()
        .flat_map(|top| {
            std::iter::once((found_line(top, true), top))
                .chain(top.consequences.iter().flat_map(Finding::walk).map(|f| (found_line(f, false), f)))
        })
        .collect();
    let mut have: Vec<_> = found.iter().map(|(line, _)| line.clone()).collect();
    let mut want: Vec<_> = fixture.header.expect.iter().map(expected_line).collect();
    have.sort();
    want.sort();
    let mut wrong = Vec::new();
    if have != want {
        wrong.push(format!("expected {want:#?}, found {have:#?}"));
    }
    for expected in &fixture.header.expect {
        let line = expected_line(expected);
        let Some((_, finding)) = found.iter().find(|(found, _)| *found == line) else { continue };
        if !finding.summary.contains(&expected.contains) {
            wrong.push(format!("{line}: {:?} is not in the summary {:?}", expected.contains, finding.summary));
        }
        let commands: Vec<_> =
            finding.remedy.steps.iter().filter_map(|step| step.command.as_ref()).map(|words| words.join(" ")).collect();
        if let Some(command) = &expected.command
            && !commands.contains(command)
        {
            wrong.push(format!("{line}: no step says {command:?}, only {commands:#?}"));
        }
        wrong.extend(incomplete(finding).map(|what| format!("{line}: {what}")));
    }
    wrong
}

/// What every finding must have.
fn incomplete(finding: &Finding) -> Option<&'static str> {
    if finding.summary.is_empty() || finding.detail.is_empty() || finding.remedy.summary.is_empty() {
        return Some("summary, detail or remedy is empty");
    }
    if !finding.fingerprint.starts_with(&finding.code) || !finding.remedy.link.ends_with(&finding.code) {
        return Some("fingerprint or link does not name the code");
    }
    // What is said about the cluster as a whole belongs to no other story.
    if finding.keys.is_empty() && !finding.code.starts_with("ENV") {
        return Some("it has no key to be joined by");
    }
    None
}

fn status_word(status: &Status) -> &'static str {
    match status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::NotApplicable(_) => "notApplicable",
        Status::NotChecked(_) => "notChecked",
        Status::Errored(_) => "errored",
    }
}

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n\n"));
}

#[test]
fn every_check_says_exactly_what_its_fixtures_expect() {
    let mut failures = Vec::new();
    let mut seen = 0;
    for fixture in fixtures().into_iter().filter(|fixture| fixture.folder != STORIES) {
        seen += 1;
        let Some(check) = by_code(&fixture.folder).filter(|check| check.code == fixture.folder) else {
            failures.push(format!("{}: the folder is no code", fixture.name));
            continue;
        };
        let firing = fixture.name.contains("/firing");
        if firing == fixture.header.expect.is_empty() {
            failures.push(format!("{}: firing fixtures expect findings, silent ones expect none", fixture.name));
        }
        let (findings, outcomes) = fixture.run(&[check], CAUSES);
        let mut wrong = compare(&fixture, &findings);
        let want = if firing { "failed" } else { fixture.header.outcome.as_deref().unwrap_or("passed") };
        let outcome = &outcomes[0];
        if status_word(&outcome.status) != want {
            wrong.push(format!("the outcome is {:?}, not {want}", outcome.status));
        }
        if want == "passed" && outcome.examined == 0 {
            wrong.push("it passed without having examined anything".to_owned());
        }
        if fixture.header.all {
            wrong.push("only stories run all checks".to_owned());
        }
        if !wrong.is_empty() {
            failures.push(format!("{}: {}", fixture.name, wrong.join("\n  ")));
        }
    }
    assert!(seen > 0, "no fixture was found");
    report(failures);
}

#[test]
fn every_story_has_one_root_with_its_consequences_below() {
    let mut failures = Vec::new();
    let mut seen = 0;
    for fixture in fixtures().into_iter().filter(|fixture| fixture.folder == STORIES) {
        seen += 1;
        let (findings, outcomes) = fixture.run(&all_checks(), CAUSES);
        let mut wrong = compare(&fixture, &findings);
        if !fixture.header.expect.is_empty() && findings.len() != 1 {
            wrong.push(format!("{} findings are on top, not one", findings.len()));
        }
        for outcome in &outcomes {
            if let Status::Errored(why) = &outcome.status {
                wrong.push(format!("{}: {why}", outcome.code));
            }
        }
        if !fixture.header.all {
            wrong.push("a story says `all: true`".to_owned());
        }
        if !wrong.is_empty() {
            failures.push(format!("{}: {}", fixture.name, wrong.join("\n  ")));
        }
    }
    assert!(seen > 0, "no story was found");
    report(failures);
}

#[test]
fn a_second_run_over_the_same_objects_says_the_same() {
    for fixture in fixtures().into_iter().filter(|fixture| fixture.folder == STORIES) {
        let mut reversed = fixture.clone();
        reversed.objects.reverse();
        let (first, _) = fixture.run(&all_checks(), CAUSES);
        let (second, _) = reversed.run(&all_checks(), CAUSES);
        assert_eq!(first, second, "{}: the order of objects changes the findings", fixture.name);
    }
}

#[test]
fn findings_carry_evidence_and_say_what_to_fill_in() {
    let mut failures = Vec::new();
    for fixture in fixtures() {
        let (findings, _) = fixture.run(&all_checks(), CAUSES);
        let mut fingerprints = std::collections::BTreeSet::new();
        for finding in findings.iter().flat_map(Finding::walk) {
            if !fingerprints.insert(&finding.fingerprint) {
                failures.push(format!("{}: {} is there twice", fixture.name, finding.fingerprint));
            }
            if finding.evidence.is_empty() {
                failures.push(format!("{}: {} has no evidence", fixture.name, finding.code));
            }
            for step in &finding.remedy.steps {
                let mut needs = step.needs.clone();
                needs.sort();
                needs.dedup();
                if needs.len() != step.needs.len() {
                    failures.push(format!("{}: {}: needs are repeated: {:?}", fixture.name, finding.code, step.needs));
                }
                for word in step.command.iter().flatten().filter(|word| word.contains('<')) {
                    if !step.needs.iter().any(|need| word.contains(need.as_str())) {
                        failures.push(format!("{}: {}: {word} is not among needs", fixture.name, finding.code));
                    }
                }
            }
        }
    }
    failures.sort();
    failures.dedup();
    report(failures);
}
