//! Nodes.

use serde::Deserialize;

use super::pod::Condition;
use super::{Meta, nullable};

/// A Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    /// Object metadata; AKS's labels begin with `kubernetes.azure.com/`.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: NodeSpec,
    /// Status.
    #[serde(default, deserialize_with = "nullable")]
    pub status: NodeStatus,
}

/// `spec` of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSpec {
    /// `azure:///subscriptions/…` on AKS.
    #[serde(default, rename = "providerID", deserialize_with = "nullable")]
    pub provider_id: String,
    /// Whether it is cordoned.
    #[serde(default, deserialize_with = "nullable")]
    pub unschedulable: bool,
    /// Taints: pods without a matching toleration are not put there.
    #[serde(default, deserialize_with = "nullable")]
    pub taints: Vec<Taint>,
}

/// A taint of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Taint {
    /// Key.
    #[serde(default, deserialize_with = "nullable")]
    pub key: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    #[serde(default, deserialize_with = "nullable")]
    pub effect: String,
}

/// `status` of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Conditions.
    #[serde(default, deserialize_with = "nullable")]
    pub conditions: Vec<Condition>,
    /// Versions.
    #[serde(default, deserialize_with = "nullable")]
    pub node_info: NodeInfo,
}

/// Versions of a Node.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeInfo {
    /// Such as `v1.33.5`.
    #[serde(default, deserialize_with = "nullable")]
    pub kubelet_version: String,
    /// `linux` or `windows`.
    #[serde(default, deserialize_with = "nullable")]
    pub operating_system: String,
}

impl Node {
    /// Its node pool, where AKS labelled it; older pools carry the short label.
    #[must_use]
    pub fn pool(&self) -> Option<&str> {
        self.metadata.label("kubernetes.azure.com/agentpool").or_else(|| self.metadata.label("agentpool"))
    }

    /// Whether the node is Ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.status.conditions.iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
    }
}
