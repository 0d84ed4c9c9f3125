//! What the API server made of a pod that it was asked about, and whether that is what was computed.

use crate::mesh::denial::{Denial, denial};
use crate::mesh::injection::{Candidate, Verdict};
use crate::mesh::proxy::{self, ProxyKind};
use crate::mesh::webhook::INJECTOR_SUFFIX;
use crate::model::Container;
use crate::model::trial::{Life, Trial};

/// What became of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<'t> {
    /// It was given a proxy.
    Injected {
        /// By which revision.
        revision: Option<String>,
        /// Which kind of proxy.
        kind: ProxyKind,
    },
    /// It stayed without one.
    Plain,
    /// It was refused.
    Refused(Denial<'t>),
}

/// What became of a pod. A proxy that was in it already, because somebody injects by hand, does not count.
#[must_use]
pub fn fate(trial: &Trial) -> Fate<'_> {
    if let Some(refusal) = &trial.refused {
        return Fate::Refused(denial(&refusal.message));
    }
    let Some(made) = &trial.made else { return Fate::Refused(Denial::Other) };
    if proxy::of_pod(&trial.sent.pod).is_some() {
        return Fate::Plain;
    }
    match proxy::of_pod(&made.pod) {
        Some(found) => Fate::Injected { revision: found.revision, kind: found.kind },
        None => Fate::Plain,
    }
}

/// The pod that was sent, as verdicts are asked about it.
#[must_use]
pub fn candidate(trial: &Trial) -> Candidate<'_> {
    let pod = &trial.sent.pod;
    Candidate {
        namespace: &trial.metadata.namespace,
        labels: &pod.metadata.labels,
        annotations: &pod.metadata.annotations,
        host_network: pod.spec.host_network,
    }
}

/// Whether the API server did what was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// It did.
    Same,
    /// It did something else.
    Other,
    /// It could not be computed; now it is known.
    Told,
}

impl Agreement {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Same => "same",
            Self::Other => "other",
            Self::Told => "told",
        }
    }
}

/// Compares what was computed with what was done.
#[must_use]
pub fn compare(verdict: &Verdict, fate: &Fate<'_>) -> Agreement {
    let same = match (verdict.injected, fate) {
        (None, _) => return Agreement::Told,
        // A dead injector refuses with these words; any other refusal is another fault.
        (_, Fate::Refused(denial)) => verdict.is_blocked() && is_injectors(*denial),
        (Some(true), Fate::Injected { revision, .. }) => {
            verdict.revision.is_none() || revision.is_none() || verdict.revision == *revision
        }
        (Some(false), Fate::Plain) => !verdict.is_blocked(),
        (Some(true), Fate::Plain) | (Some(false), Fate::Injected { .. }) => false,
    };
    if same { Agreement::Same } else { Agreement::Other }
}

/// Whether a refusal says that an injecting webhook of Istio did not answer.
#[must_use]
pub fn is_injectors(denial: Denial<'_>) -> bool {
    matches!(denial, Denial::Unreachable(entry) if entry.ends_with(INJECTOR_SUFFIX))
}

/// A container that was added, or whose image was filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddedContainer<'t> {
    /// Name.
    pub name: &'t str,
    /// Image.
    pub image: &'t str,
    /// Whether it is an init container that runs on beside the others.
    pub is_native: bool,
}

/// What was added to a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Added<'t> {
    /// Init containers, native sidecars among them.
    pub init_containers: Vec<AddedContainer<'t>>,
    /// Containers.
    pub containers: Vec<AddedContainer<'t>>,
    /// Volumes.
    pub volumes: Vec<&'t str>,
}

/// What a pod has that was not sent. The token volume that Kubernetes itself mounts into every pod is left out.
#[must_use]
pub fn added(trial: &Trial) -> Added<'_> {
    let Some(made) = &trial.made else { return Added::default() };
    let (before, after) = (&trial.sent.pod.spec, &made.pod.spec);
    let of_kubernetes = |name: &str| name.starts_with("kube-api-access-");
    Added {
        init_containers: new_containers(&before.init_containers, &after.init_containers),
        containers: new_containers(&before.containers, &after.containers),
        volumes: made
            .volumes
            .iter()
            .filter(|name| !trial.sent.volumes.contains(name) && !of_kubernetes(name))
            .map(String::as_str)
            .collect(),
    }
}

fn new_containers<'t>(before: &'t [Container], after: &'t [Container]) -> Vec<AddedContainer<'t>> {
    let was_there = |now: &Container| before.iter().any(|old| old.name == now.name && old.image == now.image);
    after
        .iter()
        .filter(|container| !was_there(container))
        .map(|container| AddedContainer {
            name: &container.name,
            image: &container.image,
            is_native: container.restart_policy == "Always",
        })
        .collect()
}

/// How far a created pod came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing<'t> {
    /// Ready, its proxy with it.
    Ready,
    /// No node takes it; the scheduler's words.
    Unschedulable(&'t str),
    /// A container cannot start: its name, the reason, and what is said about it.
    Stuck(&'t str, &'t str, &'t str),
    /// It ended.
    Ended(&'t str),
    /// Nothing stands in its way yet.
    Waiting,
}

/// Reasons of waiting containers that waiting longer does not mend soon (`pkg/kubelet/images/types.go`,
/// `pkg/kubelet/kuberuntime/kuberuntime_container.go` and `pkg/kubelet/container/sync_result.go` in kubernetes/kubernetes).
const STUCK: [&str; 8] = [
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "ErrImageNeverPull",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];

/// How far a created pod came.
#[must_use]
pub fn standing(life: &Life) -> Standing<'_> {
    let pod = &life.last;
    if pod.is_ready() {
        return Standing::Ready;
    }
    if matches!(pod.status.phase.as_str(), "Failed" | "Succeeded") {
        return Standing::Ended(&pod.status.reason);
    }
    let stuck = pod.status.init_container_statuses.iter().chain(&pod.status.container_statuses).find_map(|status| {
        let waiting = status.state.waiting.as_ref().filter(|waiting| STUCK.contains(&waiting.reason.as_str()))?;
        Some(Standing::Stuck(&status.name, &waiting.reason, &waiting.message))
    });
    if let Some(stuck) = stuck {
        return stuck;
    }
    match pod.condition("PodScheduled") {
        Some(condition) if condition.status == "False" && condition.reason == "Unschedulable" => {
            Standing::Unschedulable(&condition.message)
        }
        _ => Standing::Waiting,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::mesh::injection::{DecidedBy, Reason};
    use crate::mesh::webhook::Backend;

    fn trial(value: serde_json::Value) -> Trial {
        serde_json::from_value(value).unwrap()
    }

    fn verdict(injected: Option<bool>, revision: Option<&str>, decided_by: DecidedBy, reason: Reason) -> Verdict {
        Verdict { injected, revision: revision.map(str::to_owned), decided_by, reason, webhook: None }
    }

    #[test]
    fn a_fate_is_the_same_only_where_it_was_computed() {
        let injected = |revision: &str| Fate::Injected { revision: Some(revision.to_owned()), kind: ProxyKind::Native };
        let injector = Denial::Unreachable("rev.namespace.sidecar-injector.istio.io");
        let yes = verdict(Some(true), Some("asm-1-30"), DecidedBy::Webhook, Reason::NamespaceLabel);
        let no = verdict(Some(false), None, DecidedBy::Webhook, Reason::NotAsked);
        let blocked = verdict(Some(false), None, DecidedBy::Blocked, Reason::NoBackend(Backend::NoService));
        let open = verdict(None, None, DecidedBy::Unknown, Reason::NoWebhooks);
        for (verdict, fate, expected) in [
            (&yes, injected("asm-1-30"), Agreement::Same),
            (&yes, injected("asm-1-28"), Agreement::Other),
            (&yes, Fate::Plain, Agreement::Other),
            (&yes, Fate::Refused(injector), Agreement::Other),
            (&no, Fate::Plain, Agreement::Same),
            (&no, injected("asm-1-30"), Agreement::Other),
            (&no, Fate::Refused(Denial::PodSecurity), Agreement::Other),
            (&blocked, Fate::Refused(injector), Agreement::Same),
            (&blocked, Fate::Refused(Denial::Quota("q")), Agreement::Other),
            (&blocked, Fate::Refused(Denial::Unreachable("x.kyverno.svc")), Agreement::Other),
            (&blocked, Fate::Plain, Agreement::Other),
            (&open, Fate::Plain, Agreement::Told),
            (&open, Fate::Refused(injector), Agreement::Told),
        ] {
            assert_eq!(compare(verdict, &fate), expected, "{verdict:?} {fate:?}");
        }
    }

    #[test]
    fn what_was_added_is_told_apart_from_what_was_sent() {
        let trial = trial(json!({
            "sent": {"spec": {"containers": [{"name": "app", "image": "a"}], "volumes": [{"name": "own"}]}},
            "made": {"metadata": {"annotations": {"istio.io/rev": "asm-1-30"}}, "spec": {
                "containers": [{"name": "app", "image": "a"}],
                "initContainers": [{"name": "istio-init", "image": "p"}, {"name": "istio-proxy", "image": "p", "restartPolicy": "Always"}],
                "volumes": [{"name": "istio-envoy"}, {"name": "own"}, {"name": "kube-api-access-x2"}]}},
        }));
        let added = added(&trial);
        let names: Vec<_> = added.init_containers.iter().map(|c| (c.name, c.is_native)).collect();
        assert_eq!(names, [("istio-init", false), ("istio-proxy", true)]);
        assert_eq!((added.containers.len(), added.volumes), (0, vec!["istio-envoy"]));
        assert_eq!(fate(&trial), Fate::Injected { revision: Some("asm-1-30".to_owned()), kind: ProxyKind::Native });
    }

    #[test]
    fn a_sidecar_that_was_there_before_is_not_the_injectors() {
        let pod = json!({"spec": {"containers": [{"name": "istio-proxy", "image": "p:1.30.2"}]}});
        assert_eq!(fate(&trial(json!({"sent": pod, "made": pod}))), Fate::Plain);
        assert_eq!(fate(&trial(json!({"sent": {}}))), Fate::Refused(Denial::Other));
    }

    #[test]
    fn a_created_pod_is_ready_or_says_what_stands_in_its_way() {
        let life = |status: serde_json::Value| -> Life {
            serde_json::from_value(json!({"last": {"status": status}})).unwrap()
        };
        let pull = life(json!({"phase": "Pending", "initContainerStatuses": [
            {"name": "istio-proxy", "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off"}}}]}));
        assert_eq!(standing(&pull), Standing::Stuck("istio-proxy", "ImagePullBackOff", "Back-off"));
        let waits = life(json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}]}));
        assert_eq!(standing(&waits), Standing::Unschedulable("0/3 nodes"));
        assert_eq!(
            standing(&life(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}))),
            Standing::Ready
        );
        let starts = json!({"phase": "Pending", "containerStatuses": [{"name": "a", "state": {"waiting": {"reason": "PodInitializing"}}}]});
        assert_eq!(standing(&life(starts)), Standing::Waiting);
        assert_eq!(
            standing(&life(json!({"phase": "Failed", "reason": "DeadlineExceeded"}))),
            Standing::Ended("DeadlineExceeded")
        );
    }
}
