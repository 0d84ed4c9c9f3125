//! Admission webhook configurations.

use serde::Deserialize;

use super::{LabelSelector, Meta, nullable};

/// A MutatingWebhookConfiguration or ValidatingWebhookConfiguration.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct WebhookConfiguration {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Entries, called in this order.
    #[serde(default, deserialize_with = "nullable")]
    pub webhooks: Vec<Webhook>,
}

/// One entry.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Fully qualified name such as `rev.namespace.sidecar-injector.istio.io`.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Where it is called.
    #[serde(default, deserialize_with = "nullable")]
    pub client_config: ClientConfig,
    /// `Fail` (also when absent) or `Ignore`.
    #[serde(default, deserialize_with = "nullable")]
    pub failure_policy: String,
    /// Which namespaces; absent means all.
    #[serde(default, deserialize_with = "nullable")]
    pub namespace_selector: LabelSelector,
    /// Which objects; absent means all.
    #[serde(default, deserialize_with = "nullable")]
    pub object_selector: LabelSelector,
    /// CEL conditions; they are counted, not evaluated.
    #[serde(default, deserialize_with = "nullable")]
    pub match_conditions: Vec<serde::de::IgnoredAny>,
    /// Operations and resources it is called for.
    #[serde(default, deserialize_with = "nullable")]
    pub rules: Vec<Rule>,
}

/// Where a webhook is called.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientConfig {
    /// A Service in the cluster.
    #[serde(default)]
    pub service: Option<ServiceRef>,
    /// The certificates, PEM in base64, by which the API server knows who answers.
    #[serde(default)]
    pub ca_bundle: Option<String>,
    /// A URL, instead of a Service.
    #[serde(default)]
    pub url: Option<String>,
}

/// A Service behind a webhook.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct ServiceRef {
    /// Namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub namespace: String,
    /// Name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
}

/// Which requests a webhook sees.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// API groups, `*` for all.
    #[serde(default, deserialize_with = "nullable")]
    pub api_groups: Vec<String>,
    /// `CREATE`, `UPDATE`, …, `*`.
    #[serde(default, deserialize_with = "nullable")]
    pub operations: Vec<String>,
    /// Resources such as `pods`, `*`.
    #[serde(default, deserialize_with = "nullable")]
    pub resources: Vec<String>,
}

impl Webhook {
    /// Whether a refused or failed call refuses the request. Kubernetes' default is `Fail`.
    #[must_use]
    pub fn fails_closed(&self) -> bool {
        self.failure_policy != "Ignore"
    }

    /// Whether it is called when a pod is created.
    #[must_use]
    pub fn sees_pod_creation(&self) -> bool {
        self.rules.iter().any(|rule| {
            rule.api_groups.iter().any(|group| group.is_empty() || group == "*")
                && rule.operations.iter().any(|operation| operation == "CREATE" || operation == "*")
                && rule.resources.iter().any(|resource| resource == "pods" || resource == "*" || resource == "*/*")
        })
    }
}
