//! Pods and pod templates.

use std::fmt;

use jiff::Timestamp;
use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::meta::lenient_time;
use super::text::Text;
use super::{Meta, Resources, Word, compact, kept, nullable};

/// Environment variables whose values verdicts need; all others are dropped while decoding.
pub const KEPT_ENV: [&str; 5] =
    ["CA_ADDR", "ENABLE_NATIVE_SIDECARS", "PILOT_CERT_PROVIDER", "PROXY_CONFIG", "REVISION"];

/// Conditions of pods that verdicts need. There are thousands of pods, and each has five or more.
pub const KEPT_CONDITIONS: [&str; 3] = ["PodReadyToStartContainers", "PodScheduled", "Ready"];

/// A Pod.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Pod {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// What should run.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: PodSpec,
    /// What runs.
    #[serde(default, deserialize_with = "nullable")]
    pub status: PodStatus,
}

/// The template that a controller stamps pods from.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct PodTemplate {
    /// Labels and annotations of future pods.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// What future pods run.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: PodSpec,
}

/// `spec` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSpec {
    /// Containers.
    #[serde(default, deserialize_with = "compact")]
    pub containers: Vec<Container>,
    /// Init containers; a native sidecar is one with `restartPolicy: Always`.
    #[serde(default, deserialize_with = "compact")]
    pub init_containers: Vec<Container>,
    /// Whether the pod uses its node's network, which rules out injection.
    #[serde(default, deserialize_with = "nullable")]
    pub host_network: bool,
    /// Node, once scheduled.
    #[serde(default, deserialize_with = "nullable")]
    pub node_name: String,
    /// Settings for all containers.
    #[serde(default, deserialize_with = "nullable")]
    pub security_context: SecurityContext,
    /// Volumes that the Secrets Store CSI driver fills; all others are dropped while decoding.
    #[serde(default, rename = "volumes", deserialize_with = "secret_store_volumes")]
    pub secret_stores: Vec<SecretStoreVolume>,
}

/// A container or init container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// Name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Image; `auto` stands for an injected gateway's image.
    #[serde(default, deserialize_with = "nullable")]
    pub image: String,
    /// `Always` on an init container makes it a native sidecar.
    #[serde(default, deserialize_with = "nullable")]
    pub restart_policy: Word,
    /// The few environment variables in [`KEPT_ENV`].
    #[serde(default, deserialize_with = "kept_env")]
    pub env: Environment,
    /// TCP ports it says it listens on.
    #[serde(default, deserialize_with = "port_numbers")]
    pub ports: Vec<u16>,
    /// CPU and memory.
    #[serde(default, deserialize_with = "nullable")]
    pub resources: Resources,
    /// Settings of this container.
    #[serde(default, deserialize_with = "nullable")]
    pub security_context: SecurityContext,
}

/// The part of a security context that decides whether traffic is redirected to the proxy.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecurityContext {
    /// User the container runs as.
    #[serde(default)]
    pub run_as_user: Option<i64>,
}

/// A volume that the Secrets Store CSI driver fills.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SecretStoreVolume {
    /// Name of the volume.
    pub name: String,
    /// Its SecretProviderClass.
    pub class: String,
}

/// What is kept of a container's environment.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// Variables in [`KEPT_ENV`] that have a literal value.
    pub kept: Vec<EnvVar>,
    /// Whether a variable names an HTTP proxy, such as `HTTPS_PROXY`; its value is never kept.
    pub has_http_proxy: bool,
}

impl Container {
    /// The literal value of a kept environment variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&str> {
        self.env.kept.iter().find(|var| var.name == name).map(|var| var.value.as_str())
    }
}

/// An environment variable with a literal value.
#[derive(Clone, Debug, Default)]
pub struct EnvVar {
    /// Name.
    pub name: String,
    /// Value.
    pub value: String,
}

/// `status` of a Pod.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    /// `Pending`, `Running`, `Succeeded`, `Failed`, `Unknown`, or empty.
    #[serde(default, deserialize_with = "nullable")]
    pub phase: Word,
    /// Reason such as `Evicted`.
    #[serde(default, deserialize_with = "nullable")]
    pub reason: String,
    /// Text for people, such as what an evicted pod used too much of.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
    /// Conditions in [`KEPT_CONDITIONS`]; all others are dropped while decoding.
    #[serde(default, deserialize_with = "kept_conditions")]
    pub conditions: Vec<Condition>,
    /// State of containers.
    #[serde(default, deserialize_with = "compact")]
    pub container_statuses: Vec<ContainerStatus>,
    /// State of init containers, native sidecars among them.
    #[serde(default, deserialize_with = "compact")]
    pub init_container_statuses: Vec<ContainerStatus>,
}

/// A condition of an object's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Type such as `Ready` or `PodScheduled`.
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    pub kind: Word,
    /// `True`, `False` or `Unknown`.
    #[serde(default, deserialize_with = "nullable")]
    pub status: Word,
    /// Machine-readable reason.
    #[serde(default, deserialize_with = "nullable")]
    pub reason: String,
    /// Text for people.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
    /// Since when it has this status.
    #[serde(default, deserialize_with = "lenient_time")]
    pub last_transition_time: Option<Timestamp>,
}

/// State of one container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    /// Container name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Whether it passes its readiness probe.
    #[serde(default, deserialize_with = "nullable")]
    pub ready: bool,
    /// How often it was restarted.
    #[serde(default, deserialize_with = "nullable")]
    pub restart_count: u32,
    /// Current state.
    #[serde(default, deserialize_with = "nullable")]
    pub state: ContainerState,
    /// How it ended the time before.
    #[serde(default, deserialize_with = "nullable")]
    pub last_state: ContainerState,
}

/// State of a container; at most one is set.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ContainerState {
    /// Why it waits.
    #[serde(default, deserialize_with = "nullable")]
    pub waiting: Option<Box<Waiting>>,
    /// Since when it runs.
    #[serde(default, deserialize_with = "nullable")]
    pub running: Option<Running>,
    /// How it ended.
    #[serde(default, deserialize_with = "nullable")]
    pub terminated: Option<Box<Terminated>>,
}

/// A waiting container.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Waiting {
    /// Reason such as `CrashLoopBackOff`.
    #[serde(default, deserialize_with = "nullable")]
    pub reason: String,
    /// Text for people.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
}

/// An ended container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminated {
    /// `OOMKilled`, `Error`, `Completed`, …
    #[serde(default, deserialize_with = "nullable")]
    pub reason: String,
    /// Exit code.
    #[serde(default, deserialize_with = "nullable")]
    pub exit_code: i32,
    /// When it ended.
    #[serde(default, deserialize_with = "lenient_time")]
    pub finished_at: Option<Timestamp>,
}

/// A running container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// Start time.
    #[serde(default, deserialize_with = "lenient_time")]
    pub started_at: Option<Timestamp>,
}

impl Pod {
    /// Whether the pod has ended or is being deleted: such pods say nothing about the mesh of now.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.status.phase.as_str(), "Succeeded" | "Failed") || self.metadata.deletion_timestamp.is_some()
    }

    /// Whether the pod is Ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_over() && self.condition("Ready").is_some_and(|condition| condition.status == "True")
    }

    /// A condition by type.
    #[must_use]
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Containers and init containers.
    pub fn all_containers(&self) -> impl Iterator<Item = &Container> {
        self.spec.containers.iter().chain(&self.spec.init_containers)
    }
}

/// Names of variables that HTTP clients take a proxy from, in any case.
const PROXY_ENV: [&str; 3] = ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];

fn kept_env<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Environment, D::Error> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default, borrow)]
        value: Option<Text<'a>>,
    }
    struct Kept;
    impl<'de> Visitor<'de> for Kept {
        type Value = Environment;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of environment variables or null")
        }

        fn visit_unit<E>(self) -> Result<Environment, E> {
            Ok(Environment::default())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Environment, A::Error> {
            let mut env = Environment::default();
            while let Some(raw) = seq.next_element::<Raw<'de>>()? {
                let name = raw.name.as_deref().unwrap_or_default();
                env.has_http_proxy |= PROXY_ENV.iter().any(|proxy| proxy.eq_ignore_ascii_case(name));
                if let (Some(name), Some(value)) = (raw.name, raw.value)
                    && KEPT_ENV.contains(&&*name)
                {
                    env.kept.push(EnvVar { name: name.into_owned(), value: value.into_owned() });
                }
            }
            Ok(env)
        }
    }
    deserializer.deserialize_any(Kept)
}

fn secret_store_volumes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SecretStoreVolume>, D::Error> {
    #[derive(Deserialize)]
    struct Raw<'a> {
        #[serde(default, borrow)]
        name: Option<Text<'a>>,
        #[serde(default, borrow)]
        csi: Option<Csi<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Csi<'a> {
        #[serde(default, borrow)]
        driver: Option<Text<'a>>,
        #[serde(default)]
        volume_attributes: Option<Attributes>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Attributes {
        #[serde(default)]
        secret_provider_class: Option<String>,
    }
    struct Stores;
    impl<'de> Visitor<'de> for Stores {
        type Value = Vec<SecretStoreVolume>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list of volumes or null")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Vec::new())
        }

        // Few verdicts look at volumes: what is no list of them must not cost the pod.
        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            Ok(Vec::new())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            let mut stores = Vec::new();
            while let Some(raw) = seq.next_element::<Raw<'de>>()? {
                if let Some(csi) = raw.csi.filter(|csi| csi.driver.as_deref() == Some("secrets-store.csi.k8s.io")) {
                    stores.push(SecretStoreVolume {
                        name: raw.name.unwrap_or_default().into_owned(),
                        class: csi.volume_attributes.and_then(|a| a.secret_provider_class).unwrap_or_default(),
                    });
                }
            }
            Ok(stores)
        }
    }
    deserializer.deserialize_any(Stores)
}

fn kept_conditions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Condition>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Raw<'a> {
        #[serde(default, rename = "type", borrow)]
        kind: Option<Text<'a>>,
        #[serde(default, borrow)]
        status: Option<Text<'a>>,
        #[serde(default, borrow)]
        reason: Option<Text<'a>>,
        #[serde(default, borrow)]
        message: Option<Text<'a>>,
        #[serde(default, deserialize_with = "lenient_time")]
        last_transition_time: Option<Timestamp>,
    }
    fn owned(text: Option<Text<'_>>) -> String {
        text.map(Text::into_owned).unwrap_or_default()
    }
    kept(deserializer, |raw: Raw<'de>| {
        let kind = raw.kind.filter(|kind| KEPT_CONDITIONS.contains(&&**kind))?;
        Some(Condition {
            kind: (&*kind).into(),
            status: raw.status.as_deref().map(Word::from).unwrap_or_default(),
            reason: owned(raw.reason),
            message: owned(raw.message),
            last_transition_time: raw.last_transition_time,
        })
    })
}

fn port_numbers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Port<'a> {
        #[serde(default)]
        container_port: Option<i64>,
        #[serde(default, borrow)]
        protocol: Option<Text<'a>>,
    }
    kept(deserializer, |port: Port<'de>| {
        let is_tcp = port.protocol.is_none_or(|protocol| &*protocol == "TCP");
        port.container_port.filter(|_| is_tcp).and_then(|port| u16::try_from(port).ok())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_pod_without_status_and_with_null_lists_decodes() {
        let pod: Pod = serde_json::from_str(r#"{"metadata":{"name":"p"},"spec":{"containers":null}}"#).unwrap();
        assert!(pod.spec.containers.is_empty());
        assert!(!pod.is_ready() && !pod.is_over());
    }

    #[test]
    fn only_listed_variables_with_literal_values_are_kept() {
        let pod: Pod = serde_json::from_str(
            r#"{"spec":{"containers":[{"name":"istio-proxy","env":[{"name":"PASSWORD","value":"x"},
                {"name":"REVISION","valueFrom":{"fieldRef":{}}},{"name":"CA_ADDR","value":"istiod:15012"}]}]}}"#,
        )
        .unwrap();
        let env = &pod.spec.containers[0].env;
        assert_eq!(env.kept.len(), 1);
        assert_eq!(pod.spec.containers[0].env("CA_ADDR"), Some("istiod:15012"));
    }
}
