//! `inject-check --probe`: what the API server made of pods. Within a schema version fields are only added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::view::NextView;

/// One pod that the API server was asked about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeView {
    /// Kind of what the pod stands for; `Namespace` for a plain pod.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// What was computed for exactly this pod.
    pub computed: NextView,
    /// `injected`, `plain` or `refused`.
    pub answer: String,
    /// The revision that injected it.
    pub revision: Option<String>,
    /// `native`, `classic`, `gateway`, `managedGateway` or `none`.
    pub sidecar: String,
    /// `same` as computed, `other`, or `told` where it could not be computed.
    pub agreement: String,
    /// What was added to the pod.
    pub added: AddedView,
    /// Why it was refused.
    pub refusal: Option<RefusalView>,
    /// What became of it; none for a dry run.
    pub created: Option<CreatedView>,
}

/// What was added to a pod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddedView {
    /// Init containers, native sidecars among them.
    pub init_containers: Vec<AddedContainerView>,
    /// Containers, those with a filled-in image among them.
    pub containers: Vec<AddedContainerView>,
    /// Volumes.
    pub volumes: Vec<String>,
}

/// An added container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AddedContainerView {
    /// Name.
    pub name: String,
    /// Image.
    pub image: String,
    /// Whether it is an init container that runs on beside the others.
    pub native: bool,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RefusalView {
    /// `webhookUnreachable`, `webhookDenied`, `policyEngine`, `noDryRun`, `admissionPolicy`, `podSecurity`, `quota`,
    /// `limitRange`, `serviceAccount`, `namespace` or `other`.
    pub by: String,
    /// The webhook's entry, the quota, the policy or the ServiceAccount.
    pub name: Option<String>,
    /// The API server's words.
    pub message: String,
    /// Whether the same pod passes without a sidecar; none where that was not asked.
    pub only_with_sidecar: Option<bool>,
}

/// What became of a created pod.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatedView {
    /// Its name.
    pub pod: String,
    /// `ready`, `unschedulable`, `stuck`, `ended` or `waiting`.
    pub state: String,
    /// What stands in its way.
    pub detail: Option<String>,
    /// Seconds from its creation to this state.
    pub seconds: u64,
    /// Whether it was deleted again.
    pub deleted: bool,
}
