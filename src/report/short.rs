//! One line per finding, to paste into a chat.

use super::Report;
use super::text::{object, verdict_words};
use crate::engine::{Finding, Severity};
use crate::model::quoted::printable;

/// Renders the findings and one closing line.
#[must_use]
pub fn render(report: &Report) -> String {
    let mut out = String::new();
    for finding in &report.findings {
        line(finding, 0, &mut out);
    }
    out.push_str(&verdict_words(report));
    out.push('\n');
    out
}

fn line(finding: &Finding, depth: usize, out: &mut String) {
    let severity = match finding.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Info => "info",
    };
    out.push_str(&format!(
        "{}{severity} {} {}: {}\n",
        "  ".repeat(depth),
        finding.code,
        object(&finding.subject),
        printable(&finding.summary)
    ));
    for consequence in &finding.consequences {
        line(consequence, depth + 1, out);
    }
}
