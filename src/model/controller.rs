//! Everything that stamps pods from a template: Deployment, StatefulSet, DaemonSet, Job, CronJob.

use serde::Deserialize;

use super::pod::Condition;
use super::{Meta, PodTemplate, from_json, nullable};

/// Kind of a built-in controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControllerKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
    /// batch/v1 Job.
    Job,
    /// batch/v1 CronJob.
    CronJob,
}

impl ControllerKind {
    /// The kind as Kubernetes spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Deployment => "Deployment",
            Self::StatefulSet => "StatefulSet",
            Self::DaemonSet => "DaemonSet",
            Self::Job => "Job",
            Self::CronJob => "CronJob",
        }
    }
}

/// A controller with its pod template.
#[derive(Clone, Debug)]
pub struct Controller {
    /// Kind.
    pub kind: ControllerKind,
    /// Object metadata.
    pub metadata: Meta,
    /// What its next pods look like.
    pub template: PodTemplate,
    /// How many pods it wants; none for a CronJob or when Kubernetes has not said yet.
    pub desired: Option<u32>,
    /// How many of them are ready.
    pub ready: u32,
    /// `spec.updateStrategy.type`; `OnDelete` makes a rollout restart do nothing by itself.
    pub update_strategy: String,
    /// Why its pods cannot be created, in the API server's words: the message of its condition `ReplicaFailure`.
    pub failure: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Raw {
    #[serde(deserialize_with = "nullable")]
    metadata: Meta,
    #[serde(deserialize_with = "nullable")]
    spec: RawSpec,
    #[serde(deserialize_with = "nullable")]
    status: RawStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawSpec {
    replicas: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    template: PodTemplate,
    #[serde(deserialize_with = "nullable")]
    update_strategy: RawStrategy,
    #[serde(deserialize_with = "nullable")]
    job_template: RawJobTemplate,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawStrategy {
    #[serde(rename = "type", deserialize_with = "nullable")]
    kind: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawJobTemplate {
    #[serde(deserialize_with = "nullable")]
    spec: RawJobSpec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawJobSpec {
    #[serde(deserialize_with = "nullable")]
    template: PodTemplate,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawStatus {
    #[serde(deserialize_with = "nullable")]
    ready_replicas: u32,
    #[serde(deserialize_with = "nullable")]
    number_ready: u32,
    desired_number_scheduled: Option<u32>,
    #[serde(deserialize_with = "nullable")]
    ready: u32,
    #[serde(deserialize_with = "nullable")]
    conditions: Vec<Condition>,
}

impl Controller {
    /// Decodes one object of the given kind.
    ///
    /// # Errors
    /// When the bytes are not a JSON object of a controller's shape.
    pub fn decode(kind: ControllerKind, bytes: &[u8]) -> Result<Self, serde_json::Error> {
        Ok(Self::from_raw(kind, from_json(bytes)?))
    }

    /// Decodes a parsed manifest of the given kind.
    ///
    /// # Errors
    /// When the value is not an object of a controller's shape.
    pub fn from_value(kind: ControllerKind, value: serde_json::Value) -> Result<Self, serde_json::Error> {
        Ok(Self::from_raw(kind, serde_json::from_value(value)?))
    }

    fn from_raw(kind: ControllerKind, raw: Raw) -> Self {
        let Raw { metadata, spec, status } = raw;
        let (template, desired, ready) = match kind {
            ControllerKind::Deployment | ControllerKind::StatefulSet => {
                (spec.template, Some(spec.replicas.unwrap_or(1)), status.ready_replicas)
            }
            ControllerKind::DaemonSet => (spec.template, status.desired_number_scheduled, status.number_ready),
            ControllerKind::Job => (spec.template, None, status.ready),
            ControllerKind::CronJob => (spec.job_template.spec.template, None, 0),
        };
        let failing = |condition: &Condition| condition.kind == "ReplicaFailure" && condition.status == "True";
        let failure = status.conditions.into_iter().find(failing).map(|condition| condition.message);
        Self { kind, metadata, template, desired, ready, update_strategy: spec.update_strategy.kind, failure }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_kind_finds_its_template_and_counts() {
        let template = r#""template":{"metadata":{"labels":{"a":"b"}},"spec":{"hostNetwork":true}}"#;
        for (kind, json, desired, ready) in [
            (
                ControllerKind::Deployment,
                format!(r#"{{"spec":{{{template}}},"status":{{"readyReplicas":1}}}}"#),
                Some(1),
                1,
            ),
            (
                ControllerKind::StatefulSet,
                format!(r#"{{"spec":{{"replicas":0,{template}}},"status":null}}"#),
                Some(0),
                0,
            ),
            (
                ControllerKind::DaemonSet,
                format!(r#"{{"spec":{{{template}}},"status":{{"desiredNumberScheduled":3,"numberReady":2}}}}"#),
                Some(3),
                2,
            ),
            (ControllerKind::CronJob, format!(r#"{{"spec":{{"jobTemplate":{{"spec":{{{template}}}}}}}}}"#), None, 0),
        ] {
            let controller = Controller::decode(kind, json.as_bytes()).unwrap();
            assert_eq!((controller.desired, controller.ready), (desired, ready), "{kind:?}");
            assert!(controller.template.spec.host_network, "{kind:?}");
            assert_eq!(controller.template.metadata.label("a"), Some("b"));
        }
    }
}
