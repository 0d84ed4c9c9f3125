//! Consequences go under their causes.

use std::collections::HashMap;

use super::finding::{Finding, Key};
use super::{Cause, Severity};

/// Nests findings by the table: the first row, in table order, whose cause shares a key with the effect wins. A cause
/// becomes at least as severe as its worst consequence.
#[must_use]
pub fn correlate(findings: Vec<Finding>, table: &[Cause]) -> Vec<Finding> {
    let mut by_key: HashMap<(&str, &Key), usize> = HashMap::new();
    for (index, finding) in findings.iter().enumerate() {
        for key in &finding.keys {
            by_key.entry((finding.code.as_str(), key)).or_insert(index);
        }
    }
    let parent: Vec<Option<usize>> = findings
        .iter()
        .enumerate()
        .map(|(index, finding)| {
            table.iter().filter(|row| row.effect == finding.code).find_map(|row| {
                finding
                    .keys
                    .iter()
                    .filter(|key| key.kind == row.by)
                    .find_map(|key| by_key.get(&(row.cause, key)).copied())
                    .filter(|cause| *cause != index)
            })
        })
        .collect();
    let mut slots: Vec<Option<Finding>> = findings.into_iter().map(Some).collect();
    let mut children: HashMap<usize, Vec<usize>> = HashMap::new();
    for (index, parent) in parent.iter().enumerate() {
        if let Some(parent) = parent {
            children.entry(*parent).or_default().push(index);
        }
    }
    (0..slots.len())
        .filter(|index| parent[*index].is_none())
        .collect::<Vec<_>>()
        .into_iter()
        .filter_map(|index| take(index, &mut slots, &children))
        .collect()
}

fn take(index: usize, slots: &mut [Option<Finding>], children: &HashMap<usize, Vec<usize>>) -> Option<Finding> {
    let mut finding = slots[index].take()?;
    for child in children.get(&index).into_iter().flatten() {
        finding.consequences.extend(take(*child, slots, children));
    }
    let worst = finding.consequences.iter().map(|c| c.severity).max().unwrap_or(Severity::Info);
    finding.severity = finding.severity.max(worst);
    sort(&mut finding.consequences);
    Some(finding)
}

/// Worst first. Equals stay as the checks gave them: the registry runs from the control plane outwards, so that what is
/// closest to a root cause comes first, and a check reports its subjects in their own order.
pub fn sort(findings: &mut [Finding]) {
    findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
}

/// Whether the table has no circle, so that nesting ends.
#[must_use]
pub fn is_acyclic(table: &[Cause]) -> bool {
    fn reaches(table: &[Cause], from: &str, to: &str, depth: usize) -> bool {
        depth > 0
            && table
                .iter()
                .filter(|row| row.cause == from)
                .any(|row| row.effect == to || reaches(table, row.effect, to, depth - 1))
    }
    !table.iter().any(|row| reaches(table, row.cause, row.cause, table.len() + 1))
}

#[cfg(test)]
mod tests {
    use super::super::finding::{KeyKind, Subject};
    use super::*;

    fn finding(code: &str, severity: Severity, key: &str) -> Finding {
        let mut finding = Finding::new(Subject::cluster("X", key), "", "").key(KeyKind::Revision, key);
        finding.code = code.to_owned();
        finding.severity = severity;
        finding
    }

    const TABLE: &[Cause] = &[
        Cause { cause: "A", effect: "B", by: KeyKind::Revision },
        Cause { cause: "B", effect: "C", by: KeyKind::Revision },
        Cause { cause: "A", effect: "C", by: KeyKind::Revision },
    ];

    #[test]
    fn consequences_nest_along_the_first_matching_row_and_raise_their_cause() {
        let nested = correlate(
            vec![
                finding("C", Severity::Error, "r"),
                finding("B", Severity::Info, "r"),
                finding("A", Severity::Warning, "r"),
            ],
            TABLE,
        );
        assert_eq!(nested.len(), 1);
        assert_eq!((nested[0].code.as_str(), nested[0].severity), ("A", Severity::Error));
        assert_eq!(nested[0].consequences[0].code, "B");
        assert_eq!(nested[0].consequences[0].consequences[0].code, "C");
    }

    #[test]
    fn another_key_is_another_story() {
        assert_eq!(
            correlate(vec![finding("A", Severity::Error, "r"), finding("B", Severity::Error, "s")], TABLE).len(),
            2
        );
    }

    #[test]
    fn a_circle_is_noticed() {
        assert!(is_acyclic(TABLE));
        let circle = [TABLE, &[Cause { cause: "C", effect: "A", by: KeyKind::Revision }]].concat();
        assert!(!is_acyclic(&circle));
    }
}
