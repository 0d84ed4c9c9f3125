//! HorizontalPodAutoscalers and PodDisruptionBudgets.

use serde::Deserialize;

use super::pod::Condition;
use super::{LabelSelector, Meta, nullable};

/// An autoscaling/v2 HorizontalPodAutoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Autoscaler {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: AutoscalerSpec,
    /// Status.
    #[serde(default, deserialize_with = "nullable")]
    pub status: AutoscalerStatus,
}

/// `spec` of an autoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerSpec {
    /// Lower bound; Kubernetes' default is 1.
    #[serde(default)]
    pub min_replicas: Option<u32>,
    /// Upper bound.
    #[serde(default, deserialize_with = "nullable")]
    pub max_replicas: u32,
    /// What it scales.
    #[serde(default, deserialize_with = "nullable")]
    pub scale_target_ref: super::event::ObjectRef,
    /// What it scales by, kept as it is: it is compared and shown, not understood.
    #[serde(default)]
    pub metrics: serde_json::Value,
}

/// `status` of an autoscaler.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AutoscalerStatus {
    /// Replicas there are.
    #[serde(default, deserialize_with = "nullable")]
    pub current_replicas: u32,
    /// Replicas it wants.
    #[serde(default, deserialize_with = "nullable")]
    pub desired_replicas: u32,
    /// `AbleToScale`, `ScalingActive`, `ScalingLimited`.
    #[serde(default, deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}

/// A policy/v1 PodDisruptionBudget.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DisruptionBudget {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: DisruptionBudgetSpec,
    /// Status.
    #[serde(default, deserialize_with = "nullable")]
    pub status: DisruptionBudgetStatus,
}

/// `spec` of a disruption budget.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct DisruptionBudgetSpec {
    /// The pods it protects.
    #[serde(default, deserialize_with = "nullable")]
    pub selector: LabelSelector,
}

/// `status` of a disruption budget.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisruptionBudgetStatus {
    /// How many pods may be evicted now; absent until Kubernetes has counted.
    #[serde(default)]
    pub disruptions_allowed: Option<u32>,
    /// Ready pods.
    #[serde(default, deserialize_with = "nullable")]
    pub current_healthy: u32,
    /// Ready pods that must stay.
    #[serde(default, deserialize_with = "nullable")]
    pub desired_healthy: u32,
    /// All pods it protects.
    #[serde(default, deserialize_with = "nullable")]
    pub expected_pods: u32,
    /// `DisruptionAllowed`.
    #[serde(default, deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
}
