//! The report as data.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::{NoView, View};
use crate::engine::run::{Outcome, Status};
use crate::engine::{Finding, Severity};
use crate::facts::Facts;
use crate::snapshot::{Fault, FaultKind, Need, Origin, Scope};

/// Version of the report's shape.
pub const SCHEMA_VERSION: &str = "1";

/// Output format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables and findings for people.
    #[default]
    #[value(alias = "table")]
    Text,
    /// As text, with more columns and more detail.
    Wide,
    /// One line per finding; for proxy-config the tables without findings.
    Short,
    /// One JSON document.
    Json,
    /// The same as YAML.
    Yaml,
}

/// A whole report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Report {
    /// Always `1` here.
    pub schema_version: String,
    /// What made it.
    pub tool: Tool,
    /// Why there is no result, if so.
    pub error: Option<ErrorDocument>,
    /// Where the data comes from.
    pub origin: Origin,
    /// What was looked at.
    pub scope: ScopeRecord,
    /// Counts.
    pub summary: Summary,
    /// Root causes, worst first.
    pub findings: Vec<Finding>,
    /// How every selected check ended.
    pub outcomes: Vec<OutcomeRecord>,
    /// What could not be read.
    pub gaps: Vec<Gap>,
    /// The command's own data.
    pub view: View,
}

/// What made a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// `kubectl-asm`.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The tables it judged with.
    pub facts: FactsRecord,
}

/// Identity of the tables.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FactsRecord {
    /// The day they were true, `YYYY-MM-DD`.
    pub as_of: String,
    /// Their hash.
    pub hash: String,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorDocument {
    /// `usage`, `bundle`, `namespace`, or the class of a failed read.
    pub kind: String,
    /// One sentence.
    pub message: String,
    /// What to try; a line that starts with three spaces is a command.
    pub hints: Vec<String>,
}

/// What was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScopeRecord {
    /// A list, or the word `all`.
    pub namespaces: Namespaces,
    /// Whether `--only` or `--skip` chose among the command's checks.
    #[serde(default)]
    pub checks_chosen: bool,
}

/// Namespaces, or all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Namespaces {
    /// The word `all`.
    All(AllWord),
    /// These.
    List(Vec<String>),
}

/// The word `all`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AllWord {
    /// All namespaces.
    All,
}

/// Counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Summary {
    /// Findings by severity, nested ones included.
    pub errors: usize,
    /// Warnings.
    pub warnings: usize,
    /// Infos.
    pub infos: usize,
    /// Checks by how they ended.
    pub checks: CheckCounts,
}

/// Checks by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CheckCounts {
    /// Looked and found nothing.
    pub passed: usize,
    /// Found something.
    pub failed: usize,
    /// Nothing here to look at.
    pub not_applicable: usize,
    /// Could not look.
    pub not_checked: usize,
    /// Broke.
    pub errored: usize,
}

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OutcomeStatus {
    /// Looked and found nothing.
    Passed,
    /// Found something.
    Failed,
    /// Nothing here to look at.
    NotApplicable,
    /// Could not look.
    NotChecked,
    /// Broke.
    Errored,
}

/// How a check ended, with the reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRecord {
    /// Code.
    pub code: String,
    /// Status.
    pub status: OutcomeStatus,
    /// Why it neither passed nor failed.
    pub reason: Option<String>,
    /// How many objects it looked at.
    pub examined: usize,
}

/// Something that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The source.
    pub source: String,
    /// Why.
    pub kind: FaultKind,
    /// The right that is missing.
    pub need: Option<Need>,
    /// Checks that could not be done for it.
    pub checks: Vec<String>,
    /// What happened, and what helps.
    pub hint: String,
}

impl Report {
    /// A report without findings, to be filled.
    #[must_use]
    pub fn new(origin: Origin, scope: &Scope, facts: Option<&Facts>) -> Self {
        Self {
            schema_version: SCHEMA_VERSION.to_owned(),
            tool: Tool {
                name: env!("CARGO_PKG_NAME").to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
                facts: facts.map_or_else(FactsRecord::default, |facts| FactsRecord {
                    as_of: facts.as_of.to_string(),
                    hash: facts.hash.clone(),
                }),
            },
            error: None,
            origin,
            scope: ScopeRecord {
                namespaces: match &scope.namespaces {
                    None => Namespaces::All(AllWord::All),
                    Some(list) => Namespaces::List(list.clone()),
                },
                checks_chosen: false,
            },
            summary: Summary::default(),
            findings: Vec::new(),
            outcomes: Vec::new(),
            gaps: Vec::new(),
            view: View::None(NoView {}),
        }
    }

    /// Adds what the checks said, and counts it.
    #[must_use]
    pub fn with_results(mut self, findings: Vec<Finding>, outcomes: &[Outcome]) -> Self {
        self.findings = findings;
        for outcome in outcomes {
            let counts = &mut self.summary.checks;
            let (status, reason) = match &outcome.status {
                Status::Passed => (OutcomeStatus::Passed, None),
                Status::Failed => (OutcomeStatus::Failed, None),
                Status::NotApplicable(why) => (OutcomeStatus::NotApplicable, Some(why)),
                Status::NotChecked(why) => (OutcomeStatus::NotChecked, Some(why)),
                Status::Errored(why) => (OutcomeStatus::Errored, Some(why)),
            };
            *match status {
                OutcomeStatus::Passed => &mut counts.passed,
                OutcomeStatus::Failed => &mut counts.failed,
                OutcomeStatus::NotApplicable => &mut counts.not_applicable,
                OutcomeStatus::NotChecked => &mut counts.not_checked,
                OutcomeStatus::Errored => &mut counts.errored,
            } += 1;
            self.outcomes.push(OutcomeRecord {
                code: outcome.code.to_owned(),
                status,
                reason: reason.cloned(),
                examined: outcome.examined,
            });
        }
        for finding in self.findings.iter().flat_map(Finding::walk) {
            *match finding.severity {
                Severity::Error => &mut self.summary.errors,
                Severity::Warning => &mut self.summary.warnings,
                Severity::Info => &mut self.summary.infos,
            } += 1;
        }
        self
    }

    /// A report that only says why there is none.
    #[must_use]
    pub fn of_error(error: ErrorDocument) -> Self {
        Self { error: Some(error), ..Self::new(Origin::default(), &Scope::default(), None) }
    }
}

impl ErrorDocument {
    /// From a failed read.
    #[must_use]
    pub fn of_fault(fault: &Fault) -> Self {
        let mut hints = fault.hints.clone();
        if hints.is_empty() && fault.need.is_some() {
            hints = vec!["which roles are enough?".to_owned(), "   kubectl asm rbac --for <command>".to_owned()];
        }
        if hints.is_empty() {
            hints = vec!["does kubectl work from this console?".to_owned(), "   kubectl get namespace".to_owned()];
        }
        Self { kind: fault.kind.word().to_owned(), message: fault.message.clone(), hints }
    }
}
