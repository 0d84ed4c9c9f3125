//! The registry as a whole: codes, pages, fixtures, causes, declared sources, and files derived from the code.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use kubectl_asm::checks::{CAUSES, RETIRED, all};
use kubectl_asm::engine::Finding;
use kubectl_asm::engine::correlate::is_acyclic;
use kubectl_asm::engine::run::Status;
use kubectl_asm::snapshot::SourceId;
use support::{Fixture, base, evaluate, fixtures, snapshot};

/// Checks that no fixture can make fire, with the reason.
const NEVER_FIRES: &[(&str, &str)] = &[
    ("ENV01", "a server that does not answer ends the command with an error document before any check is run"),
    ("ENV10", "what is missing stands among the gaps; the check is then not done"),
    ("CAP04", "ten thousand pods are more than a file of objects should hold; tests/capacity.rs makes them"),
];

/// Checks that judge from something else when a declared source is refused, with the sources they then do without.
const FALLS_BACK: &[(&str, &[SourceId], &str)] = &[
    ("REV01", &[SourceId::SystemPods, SourceId::SystemDeployments], "the revisions of running proxies"),
    ("REV02", &[SourceId::SystemPods, SourceId::SystemDeployments], "the revisions of running proxies"),
    ("REV08", &[SourceId::SystemPods, SourceId::SystemDeployments], "the revisions of running proxies"),
];

fn report(failures: Vec<String>) {
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn codes_are_unique_well_formed_and_never_used_again() {
    let mut seen = BTreeSet::new();
    for check in all() {
        let code = check.code;
        assert!(seen.insert(code), "{code} is there twice");
        assert!(!RETIRED.contains(&code), "{code} is retired");
        let digits = code.strip_prefix(check.area.prefix()).unwrap_or_else(|| panic!("{code}: area {:?}", check.area));
        assert!(
            digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit()) && digits != "00",
            "{code} is not its area and two digits"
        );
    }
    assert!(!seen.is_empty(), "no check is registered");
}

#[test]
fn names_are_unique_kebab_case_and_titles_are_sentences_without_a_period() {
    let mut names = BTreeSet::new();
    for check in all() {
        let (code, name, title) = (check.code, check.name, check.title);
        assert!(names.insert(name), "{code}: the name {name} is there twice");
        assert!(
            name.split('-')
                .all(|word| { !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) }),
            "{code}: {name} is not kebab-case"
        );
        assert!(!title.is_empty() && !title.ends_with('.'), "{code}: title {title:?}");
    }
}

#[test]
fn every_page_has_its_sections_in_order_and_a_source() {
    const SECTIONS: [&str; 5] =
        ["## What it means", "## Why it happens on AKS", "## How we know", "## What to do", "## Sources"];
    let mut failures = Vec::new();
    for check in all() {
        let headings: Vec<_> = check.docs.lines().filter(|line| line.starts_with('#')).collect();
        let known: Vec<_> = headings.iter().copied().filter(|heading| SECTIONS.contains(heading)).collect();
        if known != SECTIONS {
            failures.push(format!("{}: headings are {headings:?}", check.code));
        }
        for pair in check.docs.split("\n## ").map(|section| section.split_once('\n')) {
            if pair.is_none_or(|(_, body)| body.trim().is_empty()) {
                failures.push(format!("{}: a section is empty", check.code));
            }
        }
        if !check.docs.split("## Sources").nth(1).is_some_and(|sources| sources.contains("<https://")) {
            failures.push(format!("{}: no source is named", check.code));
        }
    }
    report(failures);
}

#[test]
fn every_check_has_firing_and_silent_fixtures_or_a_reason() {
    let fixtures = fixtures();
    let mut failures = Vec::new();
    for check in all() {
        let has = |what: &str| {
            fixtures.iter().any(|fixture| fixture.folder == check.code && fixture.name.contains(&format!("/{what}")))
        };
        let excused = NEVER_FIRES.iter().any(|(code, _)| *code == check.code);
        if has("firing") == excused {
            failures.push(match excused {
                true => format!("{}: it fires after all; take it off NEVER_FIRES", check.code),
                false => format!("{}: no firing fixture", check.code),
            });
        }
        if !has("silent") {
            failures.push(format!("{}: no silent fixture", check.code));
        }
    }
    for (code, reason) in NEVER_FIRES {
        assert!(all().any(|check| check.code == *code) && !reason.is_empty(), "NEVER_FIRES names {code}");
    }
    report(failures);
}

#[test]
fn causes_have_no_circle_and_name_checks_that_exist() {
    assert!(is_acyclic(CAUSES), "CAUSES has a circle");
    for row in CAUSES {
        for code in [row.cause, row.effect] {
            assert!(all().any(|check| check.code == code), "CAUSES names {code}, which does not exist");
        }
    }
}

#[test]
fn every_cause_is_told_by_a_story() {
    let mut told = BTreeSet::new();
    for fixture in fixtures().iter().filter(|fixture| fixture.header.all) {
        let (findings, _) = fixture.run(&all().collect::<Vec<_>>(), CAUSES);
        for cause in findings.iter().flat_map(Finding::walk) {
            told.extend(cause.consequences.iter().map(|effect| (cause.code.clone(), effect.code.clone())));
        }
    }
    for row in CAUSES {
        let is_told = told.contains(&(row.cause.to_owned(), row.effect.to_owned()));
        assert!(is_told, "{} → {} is told by no story", row.cause, row.effect);
    }
}

#[test]
fn no_source_is_declared_twice_in_one_list() {
    for check in all() {
        for list in [check.inputs, check.uses] {
            let unique: BTreeSet<_> = list.iter().collect();
            assert_eq!(unique.len(), list.len(), "{}: a source is declared twice in {list:?}", check.code);
        }
    }
}

#[test]
fn checks_look_only_at_what_they_declare() {
    let mut undeclared: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for fixture in fixtures() {
        for (check, touched) in fixture.touched(&all().collect::<Vec<_>>()) {
            let declared: BTreeSet<_> = check.inputs.iter().chain(check.uses).copied().collect();
            for id in touched.difference(&declared) {
                undeclared.entry(check.code).or_default().insert(format!("{} ({})", id.name(), fixture.name));
            }
        }
    }
    assert!(undeclared.is_empty(), "looked at without being declared: {undeclared:#?}");
}

/// A world in which nothing is wrong and every kind of object is there.
fn healthy() -> Fixture {
    let story = fixtures().into_iter().find(|fixture| fixture.name == "stories/healthy.yaml");
    story.expect("stories/healthy.yaml is the world that the tests of refused sources start from")
}

#[test]
fn a_refused_input_is_never_a_pass() {
    let world = healthy();
    let mut failures = Vec::new();
    for check in all() {
        for id in check.inputs {
            let snapshot = snapshot(&world.objects, None, &[*id]);
            let (findings, outcomes) = evaluate(&snapshot, world.header.now, &[check], &[]);
            if !matches!(outcomes[0].status, Status::NotChecked(_)) || !findings.is_empty() {
                failures.push(format!("{} without {}: {:?}", check.code, id.name(), outcomes[0].status));
            }
        }
    }
    report(failures);
}

#[test]
fn a_refused_input_of_a_broken_world_is_never_a_pass() {
    let mut failures = Vec::new();
    for fixture in fixtures().into_iter().filter(|fixture| fixture.name.contains("/firing")) {
        let check = all().find(|check| check.code == fixture.folder).unwrap();
        for id in check.inputs {
            let snapshot = fixture.refusing(&[*id]);
            let (_, outcomes) = evaluate(&snapshot, fixture.header.now, &[check], &[]);
            if matches!(outcomes[0].status, Status::Passed | Status::NotApplicable(_) | Status::Errored(_)) {
                failures.push(format!("{} without {}: {:?}", fixture.name, id.name(), outcomes[0].status));
            }
        }
    }
    report(failures);
}

#[test]
fn everything_refused_leaves_nothing_passed_but_what_needs_nothing() {
    let world = healthy();
    let refused: Vec<SourceId> = kubectl_asm::sources::SOURCES.iter().map(|source| source.id).collect();
    let snapshot = snapshot(&world.objects, None, &refused);
    let (findings, outcomes) = evaluate(&snapshot, world.header.now, &all().collect::<Vec<_>>(), CAUSES);
    let codes: Vec<_> = findings.iter().map(|finding| finding.code.as_str()).collect();
    assert_eq!(codes, ["ENV03"], "only the refusal itself may be found");
    for outcome in outcomes.iter().filter(|outcome| outcome.code != "ENV03") {
        assert!(matches!(outcome.status, Status::NotChecked(_)), "{}: {:?}", outcome.code, outcome.status);
    }
}

#[test]
fn a_refused_use_changes_no_verdict() {
    let world = healthy();
    let mut failures = Vec::new();
    for check in all() {
        for id in check.uses.iter().filter(|id| !check.inputs.contains(id)) {
            let snapshot = snapshot(&world.objects, None, &[*id]);
            let (findings, outcomes) = evaluate(&snapshot, world.header.now, &[check], &[]);
            let (_, whole) = evaluate(&world.snapshot(), world.header.now, &[check], &[]);
            if !findings.is_empty() || outcomes[0].status != whole[0].status {
                failures.push(format!("{} without {}: {:?}", check.code, id.name(), outcomes[0].status));
            }
        }
    }
    report(failures);
}

#[test]
fn checks_with_a_fallback_judge_from_it() {
    let world = healthy();
    for (code, refused, from) in FALLS_BACK {
        let check = all().find(|check| check.code == *code).unwrap();
        let snapshot = snapshot(&world.objects, None, refused);
        let (_, outcomes) = evaluate(&snapshot, world.header.now, &[check], &[]);
        assert_eq!(outcomes[0].status, Status::Passed, "{code} judges from {from}");
        assert!(outcomes[0].examined > 0, "{code} examined nothing");
    }
}

#[test]
fn an_empty_cluster_has_no_findings() {
    let empty: Vec<_> = base("healthy")
        .into_iter()
        .filter(|object| {
            object["kind"] == "Namespace" && !object["metadata"]["name"].as_str().unwrap().starts_with("aks-istio")
        })
        .collect();
    let (findings, outcomes) = evaluate(
        &snapshot(&empty, None, &[]),
        "2026-07-15T12:00:00Z".parse().unwrap(),
        &all().collect::<Vec<_>>(),
        CAUSES,
    );
    assert!(findings.is_empty(), "{findings:#?}");
    for outcome in outcomes {
        assert!(!matches!(outcome.status, Status::Errored(_)), "{}: {:?}", outcome.code, outcome.status);
    }
}

/// Compares a file with what the hidden command prints.
fn generated(what: &str, file: &str) {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(["generate", what])
        .env_clear()
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "generate {what}: {}", String::from_utf8_lossy(&output.stderr));
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == String::from_utf8_lossy(&output.stdout),
        "{file} is not what the code says; write it again:\n   cargo run -- generate {what} > {file}"
    );
}

#[test]
fn the_checks_page_is_up_to_date() {
    generated("checks", "docs/checks.md");
}

#[test]
fn the_report_schema_is_up_to_date() {
    generated("schema", "docs/report.schema.json");
}
