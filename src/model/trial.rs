//! Pods that the API server was asked about: what was sent, and what came back.

use serde::Deserialize;
use serde_json::Value;

use super::{Meta, Pod, Word, nullable};

/// One pod that was sent to the API server, as a dry run unless it says otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trial {
    /// Namespace, and the name of what the pod stands for: a workload, or the namespace itself.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Kind of that workload; `Namespace` for a plain pod that stands for nothing else.
    #[serde(default, deserialize_with = "nullable")]
    pub stands_for: Word,
    /// What was sent.
    #[serde(default, deserialize_with = "nullable")]
    pub sent: Draft,
    /// What it became, unless it was refused.
    #[serde(default, deserialize_with = "nullable")]
    pub made: Option<Draft>,
    /// Why it was refused.
    #[serde(default, deserialize_with = "nullable")]
    pub refused: Option<Refusal>,
    /// After a refusal: what became of the same pod when it opted out of injection.
    #[serde(default, deserialize_with = "nullable")]
    pub without_sidecar: Option<Outcome>,
    /// What became of a pod that was really created; none for a dry run.
    #[serde(default, deserialize_with = "nullable")]
    pub life: Option<Life>,
}

/// A pod, with the names of its volumes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "Value")]
pub struct Draft {
    /// The pod.
    pub pod: Pod,
    /// Names of its volumes, in their order.
    pub volumes: Vec<String>,
}

impl TryFrom<Value> for Draft {
    type Error = serde_json::Error;

    fn try_from(value: Value) -> Result<Self, Self::Error> {
        let volumes = value.pointer("/spec/volumes").and_then(Value::as_array);
        let name = |volume: &Value| volume.get("name").and_then(Value::as_str).map(str::to_owned);
        let volumes = volumes.into_iter().flatten().filter_map(name).collect();
        Ok(Self { pod: serde_json::from_value(value)?, volumes })
    }
}

/// A `Status` of the API server that says no.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Refusal {
    /// HTTP status.
    #[serde(default, deserialize_with = "nullable")]
    pub code: u16,
    /// Its words.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
}

/// Made or refused.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Outcome {
    /// Why it was refused; none when it was made.
    #[serde(default, deserialize_with = "nullable")]
    pub refused: Option<Refusal>,
}

/// What became of a created pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Life {
    /// Its own name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// The pod as it was last seen.
    #[serde(default, deserialize_with = "nullable")]
    pub last: Pod,
    /// Seconds from its creation to what was seen last.
    #[serde(default, deserialize_with = "nullable")]
    pub seconds: u64,
    /// Whether it was deleted again.
    #[serde(default, deserialize_with = "nullable")]
    pub deleted: bool,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_trial_without_anything_and_with_odd_volumes_decodes() {
        let text =
            r#"{"sent":{"spec":{"volumes":[{"name":"a"},{"emptyDir":{}}],"containers":[{"name":"c"}]}},"made":null}"#;
        let trial: Trial = serde_json::from_str(text).unwrap();
        assert_eq!(trial.sent.volumes, ["a"]);
        assert_eq!(trial.sent.pod.spec.containers[0].name, "c");
        assert!(trial.made.is_none() && trial.refused.is_none());
        assert!(serde_json::from_str::<Trial>("{}").is_ok());
        assert!(serde_json::from_str::<Trial>(r#"{"sent":"x"}"#).is_err());
    }
}
