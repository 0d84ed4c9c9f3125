//! Exit codes; scripts rely on them.

use crate::engine::{Finding, Severity};
use crate::report::{OutcomeStatus, Report};

/// Exit codes of every command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Nothing at or above `--fail-on`.
    Clean = 0,
    /// Findings at or above `--fail-on`, nested ones included.
    Findings = 1,
    /// Wrong usage, or the tool could not do its job.
    Unable = 2,
    /// No such finding, but a selected check could not be done.
    Gaps = 3,
    /// The add-on is not installed here.
    NotInstalled = 4,
    /// Interrupted.
    Interrupted = 130,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What decides besides the report.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `--fail-on`.
    pub fail_on: Severity,
    /// `--allow-gaps`.
    pub allow_gaps: bool,
    /// The run was interrupted.
    pub interrupted: bool,
    /// Only one namespace could be read although all were asked for: not what was asked, although every check ran there.
    pub narrowed: bool,
    /// The add-on is known not to be installed.
    pub not_installed: bool,
}

/// The exit code of a report: the same in every output format.
#[must_use]
pub fn of_report(report: &Report, policy: Policy) -> Exit {
    if report.error.is_some() {
        return Exit::Unable;
    }
    if policy.interrupted {
        return Exit::Interrupted;
    }
    if report.findings.iter().flat_map(Finding::walk).any(|finding| finding.severity >= policy.fail_on) {
        return Exit::Findings;
    }
    let undone = report
        .outcomes
        .iter()
        .any(|outcome| matches!(outcome.status, OutcomeStatus::NotChecked | OutcomeStatus::Errored));
    if (undone || policy.narrowed) && !policy.allow_gaps {
        return Exit::Gaps;
    }
    if policy.not_installed { Exit::NotInstalled } else { Exit::Clean }
}
