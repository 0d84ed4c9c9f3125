//! Findings.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Wrong, but nothing is broken by it now.
    Warning,
    /// Broken, or will break.
    Error,
}

/// The object a finding is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Kind as Kubernetes spells it; `Revision` and `Cluster` for what is no object.
    pub kind: String,
    /// Namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl Subject {
    /// A namespaced subject.
    pub fn new(kind: impl Into<String>, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), namespace: Some(namespace.into()), name: name.into() }
    }

    /// A subject without a namespace.
    pub fn cluster(kind: impl Into<String>, name: impl Into<String>) -> Self {
        Self { kind: kind.into(), namespace: None, name: name.into() }
    }
}

/// Another object that belongs to the story.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Related {
    /// Kind.
    pub kind: String,
    /// Namespace, for namespaced kinds.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// What it has to do with it.
    pub role: String,
}

/// How much is affected, each object counted once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Impact {
    /// Namespaces.
    pub namespaces: usize,
    /// Workloads.
    pub workloads: usize,
    /// Pods.
    pub pods: usize,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// The source it was read from.
    pub source: String,
    /// The object, as `kind/name` with its namespace in front where it has one.
    pub object: String,
    /// Field path or what was counted.
    pub field: String,
    /// What is there.
    pub observed: String,
    /// What should be there.
    pub expected: Option<String>,
}

/// What a step does to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Risk {
    /// Reads only.
    Read,
    /// Restarts pods.
    Restart,
    /// Changes an object.
    Change,
}

/// One step of a remedy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// What it does, one sentence without a period.
    pub text: String,
    /// The command as an argument list.
    pub command: Option<Vec<String>>,
    /// What it does to the cluster.
    pub risk: Risk,
    /// Placeholders in the command that only the user can fill in.
    pub needs: Vec<String>,
}

impl Step {
    /// A step with a command; placeholders such as `<resource-group>` are found in it.
    pub fn command<S: Into<String>>(risk: Risk, text: impl Into<String>, command: impl IntoIterator<Item = S>) -> Self {
        let command: Vec<String> = command.into_iter().map(Into::into).collect();
        let mut needs: Vec<String> = command.iter().filter_map(|word| placeholder(word)).collect();
        needs.dedup();
        Self { text: text.into(), command: Some(command), risk, needs }
    }

    /// A step that is not a command.
    pub fn text(risk: Risk, text: impl Into<String>) -> Self {
        Self { text: text.into(), command: None, risk, needs: Vec::new() }
    }
}

/// The placeholder in a word such as `<cluster>` or `istio.io/rev=<revision>`.
fn placeholder(word: &str) -> Option<String> {
    let start = word.find('<')?;
    let end = start + word[start..].find('>')?;
    Some(word[start..=end].to_owned())
}

/// What to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Remedy {
    /// One sentence.
    pub summary: String,
    /// Steps in order.
    pub steps: Vec<Step>,
    /// Where to read more: a page, or `kubectl asm explain CODE`.
    pub link: String,
}

impl Remedy {
    /// A remedy from its steps; the link is filled in when the finding is finished.
    pub fn new(summary: impl Into<String>, steps: Vec<Step>) -> Self {
        Self { summary: summary.into(), steps, link: String::new() }
    }
}

/// Kind of a join key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// A revision.
    Revision,
    /// A namespace.
    Namespace,
    /// A workload, `namespace/kind/name`.
    Workload,
    /// A webhook configuration.
    Webhook,
    /// A custom resource definition.
    Definition,
    /// A node.
    Node,
    /// Any other object, `Kind/namespace/name` or `Kind/name`.
    Object,
}

/// What findings are joined by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Kind.
    pub kind: KeyKind,
    /// Name.
    pub name: String,
}

/// One fault.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// Code of the check.
    pub code: String,
    /// Name of the fault.
    pub name: String,
    /// How bad.
    pub severity: Severity,
    /// What is wrong, object first.
    pub summary: String,
    /// What it costs, one or two sentences.
    pub detail: String,
    /// The object.
    pub subject: Subject,
    /// Other objects of the story.
    pub related: Vec<Related>,
    /// How much is affected, where that can be counted.
    pub impact: Option<Impact>,
    /// Observations.
    pub evidence: Vec<Evidence>,
    /// What to do.
    pub remedy: Remedy,
    /// Findings that this one causes.
    pub consequences: Vec<Finding>,
    /// Stable identity: code and subject.
    pub fingerprint: String,
    /// What it can be joined by.
    #[serde(skip)]
    pub keys: Vec<Key>,
}

impl Finding {
    /// A finding about a subject; code, name, severity, fingerprint and link are filled in by the engine.
    pub fn new(subject: Subject, summary: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            code: String::new(),
            name: String::new(),
            severity: Severity::Error,
            summary: summary.into(),
            detail: detail.into(),
            subject,
            related: Vec::new(),
            impact: None,
            evidence: Vec::new(),
            remedy: Remedy::default(),
            consequences: Vec::new(),
            fingerprint: String::new(),
            keys: Vec::new(),
        }
    }

    /// Sets what to do.
    #[must_use]
    pub fn remedy(mut self, remedy: Remedy) -> Self {
        self.remedy = remedy;
        self
    }

    /// Adds an observation.
    #[must_use]
    pub fn evidence(
        mut self,
        source: crate::snapshot::SourceId,
        object: impl Into<String>,
        field: impl Into<String>,
        observed: impl Into<String>,
        expected: Option<&str>,
    ) -> Self {
        self.evidence.push(Evidence {
            source: source.name(),
            object: object.into(),
            field: field.into(),
            observed: observed.into(),
            expected: expected.map(str::to_owned),
        });
        self
    }

    /// Adds a related object.
    #[must_use]
    pub fn related(mut self, subject: &Subject, role: &str) -> Self {
        self.related.push(Related {
            kind: subject.kind.clone(),
            namespace: subject.namespace.clone(),
            name: subject.name.clone(),
            role: role.to_owned(),
        });
        self
    }

    /// Adds a join key.
    #[must_use]
    pub fn key(mut self, kind: KeyKind, name: impl Into<String>) -> Self {
        self.keys.push(Key { kind, name: name.into() });
        self
    }

    /// Sets how much is affected.
    #[must_use]
    pub fn impact(self, impact: Impact) -> Self {
        self.maybe_impact(Some(impact))
    }

    /// Sets how much is affected, where that could be counted.
    #[must_use]
    pub fn maybe_impact(mut self, impact: Option<Impact>) -> Self {
        self.impact = impact;
        self
    }

    /// Lowers the severity below the check's own.
    #[must_use]
    pub fn at_most(mut self, severity: Severity) -> Self {
        self.severity = self.severity.min(severity);
        self
    }

    /// Puts known words in the place of placeholders, here and in what it causes.
    pub fn fill(&mut self, known: &[(&str, &str)]) {
        for (placeholder, word) in known.iter().filter(|(_, word)| !word.is_empty()) {
            for step in &mut self.remedy.steps {
                for part in step.command.iter_mut().flatten() {
                    *part = part.replace(placeholder, word);
                }
                step.needs.retain(|need| need != placeholder);
            }
        }
        self.consequences.iter_mut().for_each(|finding| finding.fill(known));
    }

    /// This finding and all that it causes.
    pub fn walk(&self) -> Box<dyn Iterator<Item = &Self> + '_> {
        Box::new(std::iter::once(self).chain(self.consequences.iter().flat_map(Self::walk)))
    }
}
