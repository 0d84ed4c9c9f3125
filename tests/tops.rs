#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]
mod support;
use kubectl_asm::checks::CAUSES;
use kubectl_asm::engine::Severity;
#[test]
fn tops() {
    for fixture in support::fixtures() {
        let (findings, _) = fixture.run(&support::all_checks(), CAUSES);
        let top: Vec<String> = findings
            .iter()
            .filter(|f| f.severity >= Severity::Warning)
            .map(|f| format!("{} {}/{}", f.code, f.subject.kind, f.subject.name))
            .collect();
        let infos: Vec<String> =
            findings.iter().filter(|f| f.severity == Severity::Info).map(|f| f.code.clone()).collect();
        let silent = fixture.name.contains("/silent");
        if top.len() > 1 || (silent && !top.is_empty()) || !infos.is_empty() {
            println!("{}: {} | infos {}", fixture.name, top.join(", "), infos.join(","));
        }
    }
}
