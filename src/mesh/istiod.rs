//! What an istiod pod is in: starting, waiting for its CA, crashing, restarted.

use jiff::Timestamp;

use crate::mesh::control_plane::Revision;
use crate::model::Pod;
use crate::model::pod::{ContainerStatus, Terminated};

/// So long a pod may take to become ready before that is worth a word.
pub const SETTLING_SECONDS: i64 = 5 * 60;

/// istiod is ready seconds after its start, unless something keeps it from it.
const STARTING_SECONDS: i64 = 60;

/// A restart is recent for so long.
pub const RECENT_SECONDS: i64 = 60 * 60;

/// Running out of memory tends to come back with the load of the next day.
const MEMORY_SECONDS: i64 = 24 * 60 * 60;

/// Between two starts a crashing container looks as if it ran; kubelet's longest pause is five minutes
/// (<https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/#restart-policy>).
const LOOP_SECONDS: i64 = 10 * 60;

/// So many restarts make a loop.
const LOOP_RESTARTS: u32 = 3;

/// The volume that istiod of a revision with a plug-in CA mounts (upstream's name for it, `pilot/pkg/bootstrap` in
/// Istio).
const CA_VOLUME: &str = "cacerts";

/// Whether a time lies within the last so many seconds; an absent one does not.
#[must_use]
pub fn is_within(time: Option<Timestamp>, now: Timestamp, seconds: i64) -> bool {
    time.is_some_and(|time| now.as_second() - time.as_second() < seconds)
}

/// Whether a pod that is not ready has been so only for moments.
#[must_use]
pub fn is_settling(pod: &Pod, now: Timestamp) -> bool {
    let since = pod.condition("Ready").and_then(|condition| condition.last_transition_time);
    !pod.is_ready() && is_within(since.or(pod.metadata.creation_timestamp), now, SETTLING_SECONDS)
}

/// Whether a revision was installed minutes ago and its first pods are only starting: nobody relies on it yet.
#[must_use]
pub fn is_being_installed(revision: &Revision<'_>, now: Timestamp) -> bool {
    let starts = |status: &ContainerStatus| {
        let state = &status.state;
        let waiting = state.waiting.as_ref().map(|waiting| waiting.reason.as_str());
        let started = state.running.as_ref().and_then(|running| running.started_at);
        status.restart_count == 0
            && (matches!(waiting, Some("ContainerCreating" | "PodInitializing"))
                || is_within(started, now, STARTING_SECONDS))
    };
    is_within(revision.since(), now, SETTLING_SECONDS)
        && !revision.istiods.is_empty()
        && revision.istiods.iter().all(|pod| {
            let statuses = &pod.status.container_statuses;
            !statuses.is_empty() && statuses.iter().all(starts)
        })
}

/// Why an istiod pod stops again and again.
#[derive(Clone, Copy, Debug)]
pub enum Crash<'p> {
    /// The kernel killed it for want of memory.
    OutOfMemory(&'p Terminated),
    /// The kubelet removed it from a node that was short of memory.
    Evicted,
    /// It ends by itself; how it ended last, where Kubernetes says.
    Loop(Option<&'p Terminated>),
}

/// Whether a pod crashes, ran out of memory within a day, or was evicted for memory within a day.
#[must_use]
pub fn crash(pod: &Pod, now: Timestamp) -> Option<Crash<'_>> {
    if pod.status.phase == "Failed" {
        let when = pod.status.conditions.iter().filter_map(|condition| condition.last_transition_time).max();
        let message = pod.status.message.to_lowercase();
        let for_memory = message.is_empty() || message.contains("memory");
        let recent = is_within(when.or(pod.metadata.creation_timestamp), now, MEMORY_SECONDS);
        return (pod.status.reason == "Evicted" && for_memory && recent).then_some(Crash::Evicted);
    }
    if pod.is_over() {
        return None;
    }
    let killed = |end: &&Terminated| {
        end.reason == "OOMKilled" && (!pod.is_ready() || is_within(end.finished_at, now, MEMORY_SECONDS))
    };
    if let Some(end) = statuses(pod).flat_map(ends).find(killed) {
        return Some(Crash::OutOfMemory(end));
    }
    statuses(pod).find(|status| is_looping(pod, status, now)).map(|status| Crash::Loop(ends(status).next()))
}

fn is_looping(pod: &Pod, status: &ContainerStatus, now: Timestamp) -> bool {
    let backs_off = status.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
    let just_failed = status.state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
    let last = status.last_state.terminated.as_ref().and_then(|end| end.finished_at);
    let between = !pod.is_ready() && status.restart_count >= LOOP_RESTARTS && is_within(last, now, LOOP_SECONDS);
    backs_off || just_failed || between
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses)
}

fn ends(status: &ContainerStatus) -> impl Iterator<Item = &Terminated> {
    status.state.terminated.as_deref().into_iter().chain(status.last_state.terminated.as_deref())
}

/// The newest end of a container of a pod that runs again, when that was within the last hour.
#[must_use]
pub fn recent_restart(pod: &Pod, now: Timestamp) -> Option<&Terminated> {
    let restarted = pod.status.container_statuses.iter().filter(|status| status.restart_count > 0);
    restarted
        .filter_map(|status| status.last_state.terminated.as_deref())
        .filter(|end| is_within(end.finished_at, now, RECENT_SECONDS))
        .max_by_key(|end| end.finished_at)
}

/// The SecretProviderClass that a pod takes its CA from, when it has one.
#[must_use]
pub fn ca_class(pod: &Pod) -> Option<&str> {
    pod.spec
        .secret_stores
        .iter()
        .find(|volume| volume.name == CA_VOLUME || volume.class.starts_with("istio-spc-"))
        .map(|volume| volume.class.as_str())
}

/// Whether a pod has a node, mounts its CA from a secret store, and has stood there for minutes without a single
/// container having started: its volumes are not there.
#[must_use]
pub fn waits_for_ca(pod: &Pod, now: Timestamp) -> bool {
    let unstarted = |status: &ContainerStatus| {
        status.restart_count == 0
            && ends(status).next().is_none()
            && status
                .state
                .waiting
                .as_ref()
                .is_some_and(|waiting| matches!(waiting.reason.as_str(), "ContainerCreating" | "PodInitializing"))
    };
    // Once the pod's network is there, its volumes are too, and what it waits for is an image.
    let has_sandbox = pod.condition("PodReadyToStartContainers").is_some_and(|condition| condition.status == "True");
    // Without a status the kubelet has not looked at the pod yet: that is the node's fault.
    let seen = statuses(pod).next().is_some();
    ca_class(pod).is_some()
        && !pod.is_over()
        && !pod.is_ready()
        && seen
        && !has_sandbox
        && statuses(pod).all(unstarted)
        && !is_within(pod.metadata.creation_timestamp, now, SETTLING_SECONDS)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const NOW: &str = "2026-07-15T12:00:00Z";

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).unwrap()
    }

    fn with_status(status: serde_json::Value) -> Pod {
        pod(serde_json::json!({"metadata": {"creationTimestamp": "2026-07-10T08:00:00Z"}, "status": status}))
    }

    fn verdict(status: serde_json::Value) -> &'static str {
        match crash(&with_status(status), NOW.parse().unwrap()) {
            Some(Crash::OutOfMemory(_)) => "memory",
            Some(Crash::Evicted) => "evicted",
            Some(Crash::Loop(_)) => "loop",
            None => "none",
        }
    }

    #[test]
    fn a_loop_is_seen_between_two_starts_and_old_restarts_are_not() {
        let running = |ready: &str, restarts: u32, finished: &str| {
            serde_json::json!({"phase": "Running", "conditions": [{"type": "Ready", "status": ready}],
                "containerStatuses": [{"name": "discovery", "restartCount": restarts, "state": {"running": {}},
                    "lastState": {"terminated": {"reason": "Error", "exitCode": 255, "finishedAt": finished}}}]})
        };
        assert_eq!(verdict(running("False", 4, "2026-07-15T11:58:00Z")), "loop");
        assert_eq!(verdict(running("True", 4, "2026-07-15T11:58:00Z")), "none");
        assert_eq!(verdict(running("False", 1, "2026-07-15T11:58:00Z")), "none");
        assert_eq!(verdict(running("False", 4, "2026-07-14T11:58:00Z")), "none");
    }

    #[test]
    fn memory_kills_count_for_a_day_and_evictions_only_for_memory() {
        let killed = |finished: &str| {
            serde_json::json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}],
                "containerStatuses": [{"restartCount": 1, "state": {"running": {}},
                    "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": finished}}}]})
        };
        assert_eq!(verdict(killed("2026-07-15T01:00:00Z")), "memory");
        assert_eq!(verdict(killed("2026-07-13T01:00:00Z")), "none");
        let evicted = |message: &str, when: &str| {
            serde_json::json!({"phase": "Failed", "reason": "Evicted", "message": message,
                "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": when}]})
        };
        let (memory, disk) =
            ("The node was low on resource: memory.", "The node was low on resource: ephemeral-storage.");
        assert_eq!(verdict(evicted(memory, "2026-07-15T01:00:00Z")), "evicted");
        assert_eq!(verdict(evicted(disk, "2026-07-15T01:00:00Z")), "none");
        assert_eq!(verdict(evicted(memory, "2026-07-13T01:00:00Z")), "none");
    }

    #[test]
    fn only_a_pod_without_sandbox_that_mounts_a_ca_waits_for_it() {
        let waiting = |volumes: serde_json::Value, sandbox: &str, reason: &str| {
            let pod = pod(serde_json::json!({
                "metadata": {"creationTimestamp": "2026-07-15T11:00:00Z"}, "spec": {"volumes": volumes},
                "status": {"phase": "Pending",
                    "conditions": [{"type": "PodReadyToStartContainers", "status": sandbox}],
                    "containerStatuses": [{"name": "discovery", "state": {"waiting": {"reason": reason}}}]}}));
            waits_for_ca(&pod, NOW.parse().unwrap())
        };
        let store = serde_json::json!([{"name": "cacerts", "csi": {"driver": "secrets-store.csi.k8s.io",
            "volumeAttributes": {"secretProviderClass": "istio-spc-asm-1-30"}}}]);
        assert!(waiting(store.clone(), "False", "PodInitializing"));
        assert!(!waiting(store.clone(), "True", "PodInitializing"));
        assert!(!waiting(store, "False", "ImagePullBackOff"));
        assert!(!waiting(serde_json::json!([]), "False", "PodInitializing"));
    }
}
