//! How the proxy of a pod does, from the states of its containers alone.

use jiff::{SignedDuration, Timestamp};

use crate::mesh::proxy::PROXY_CONTAINER;
use crate::model::{ContainerStatus, Pod};

/// A proxy that finds its istiod is ready within seconds; what takes longer than this does not come up by itself. The
/// injected startup probe only restarts it after 600 seconds (`manifests/charts/istio-control/istio-discovery/files/
/// injection-template.yaml` of istio/istio).
pub const STARTUP: SignedDuration = SignedDuration::from_mins(5);
/// A kill for lack of memory older than this is history.
const MEMORY_KILL: SignedDuration = SignedDuration::from_hours(24);
/// Restarts go on when the last end of the container is not older than this.
const RECENT: SignedDuration = SignedDuration::from_hours(1);
/// Fewer restarts than this may be those of a node.
const MANY_RESTARTS: u32 = 3;

/// What is wrong with a pod's proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trouble<'a> {
    /// Whether the proxy does not work now.
    pub down: bool,
    /// Whether it was killed for lack of memory within the last day.
    pub out_of_memory: bool,
    /// How often it was restarted.
    pub restarts: u32,
    /// The kubelet's word for its state, or what stands for it.
    pub state: &'a str,
}

/// The state of a pod's proxy container, a native sidecar's among the init containers.
#[must_use]
pub fn status(pod: &Pod) -> Option<&ContainerStatus> {
    statuses(pod).find(|status| status.name == PROXY_CONTAINER)
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses)
}

/// What is wrong with the proxy of a pod; nothing while the pod is still being made.
#[must_use]
pub fn trouble(pod: &Pod, now: Timestamp) -> Option<Trouble<'_>> {
    let status = status(pod)?;
    let within = |time: Option<Timestamp>, span: SignedDuration| time.is_some_and(|t| now.duration_since(t) < span);
    let last = status.last_state.terminated.as_ref();
    let killed = last.filter(|end| end.reason == "OOMKilled" && within(end.finished_at, MEMORY_KILL));
    let trouble = |down: bool, state| {
        Some(Trouble { down, out_of_memory: killed.is_some(), restarts: status.restart_count, state })
    };
    if let Some(waiting) = &status.state.waiting {
        return match waiting.reason.as_str() {
            "" | "PodInitializing" | "ContainerCreating" => None,
            reason => trouble(true, reason),
        };
    }
    if let Some(end) = &status.state.terminated {
        // Asked to end, as Jobs do with their sidecar, it ends well.
        if end.exit_code == 0 {
            return None;
        }
        let out_of_memory = end.reason == "OOMKilled";
        return trouble(true, &end.reason).map(|trouble| Trouble { out_of_memory, ..trouble });
    }
    let running = status.state.running.as_ref()?;
    // A restarted proxy starts its own clock again and again: then the pod's age counts.
    let since = match status.restart_count {
        0 => running.started_at.or(pod.metadata.creation_timestamp),
        _ => pod.metadata.creation_timestamp,
    };
    if !status.ready {
        return if within(since, STARTUP) { None } else { trouble(true, "running, not ready") };
    }
    if killed.is_some() {
        return trouble(false, "ready again");
    }
    let recent = last.is_some_and(|end| end.exit_code != 0 && within(end.finished_at, RECENT));
    if recent && status.restart_count >= MANY_RESTARTS { trouble(false, "ready again") } else { None }
}

/// When the last container of a pod's application ended while its proxy still runs beside it; none while any of them
/// runs, waits or was not started.
#[must_use]
pub fn application_ended(pod: &Pod) -> Option<Timestamp> {
    let proxy_runs = status(pod).is_some_and(|status| status.state.running.is_some());
    let own = || pod.status.container_statuses.iter().filter(|status| status.name != PROXY_CONTAINER);
    let apps = pod.spec.containers.iter().filter(|container| container.name != PROXY_CONTAINER).count();
    if !proxy_runs || apps == 0 || own().count() < apps {
        return None;
    }
    own()
        .map(|status| status.state.terminated.as_ref().and_then(|end| end.finished_at))
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .max()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn now() -> Timestamp {
        "2026-07-15T12:00:00Z".parse().unwrap()
    }

    fn pod(list: &str, status: serde_json::Value) -> Pod {
        serde_json::from_value(serde_json::json!({
            "metadata": {"creationTimestamp": "2026-07-15T11:00:00Z"},
            "spec": {"containers": [{"name": "app"}]},
            "status": {list: [status]}}))
        .unwrap()
    }

    fn found(status: serde_json::Value) -> Option<(bool, bool)> {
        let mut status = status;
        status["name"] = "istio-proxy".into();
        trouble(&pod("initContainerStatuses", status), now()).map(|t| (t.down, t.out_of_memory))
    }

    #[test]
    fn a_proxy_may_take_its_time_to_start_but_not_for_ever() {
        let running = |started: &str, ready: bool, restarts: u32| serde_json::json!({"ready": ready, "restartCount": restarts, "state": {"running": {"startedAt": started}}});
        assert_eq!(found(running("2026-07-15T11:58:00Z", false, 0)), None);
        assert_eq!(found(running("2026-07-15T11:54:00Z", false, 0)), Some((true, false)));
        assert_eq!(found(running("2026-07-15T11:58:00Z", false, 2)), Some((true, false)), "restarted by its probe");
        assert_eq!(found(running("2026-07-15T11:00:00Z", true, 0)), None);
        assert_eq!(found(serde_json::json!({"state": {"waiting": {"reason": "PodInitializing"}}})), None);
        assert_eq!(
            found(serde_json::json!({"restartCount": 9, "state": {"waiting": {"reason": "CrashLoopBackOff"}}})),
            Some((true, false))
        );
    }

    #[test]
    fn an_end_counts_while_it_is_recent() {
        let after = |reason: &str, code: i32, at: &str, restarts: u32| serde_json::json!({"ready": true, "restartCount": restarts, "state": {"running": {"startedAt": at}}, "lastState": {"terminated": {"reason": reason, "exitCode": code, "finishedAt": at}}});
        assert_eq!(found(after("OOMKilled", 137, "2026-07-15T02:00:00Z", 1)), Some((false, true)));
        assert_eq!(found(after("OOMKilled", 137, "2026-07-13T02:00:00Z", 1)), None);
        assert_eq!(found(after("Error", 255, "2026-07-15T11:50:00Z", 1)), None, "one restart may be the node's");
        assert_eq!(found(after("Error", 1, "2026-07-15T11:50:00Z", 4)), Some((false, false)));
        assert_eq!(found(serde_json::json!({"state": {"terminated": {"reason": "Completed", "exitCode": 0}}})), None);
    }

    #[test]
    fn an_application_has_ended_when_all_of_its_containers_have() {
        let with = |app: serde_json::Value, proxy: serde_json::Value| -> Pod {
            serde_json::from_value(serde_json::json!({
                "spec": {"containers": [{"name": "app"}, {"name": "istio-proxy"}]},
                "status": {"containerStatuses": [{"name": "app", "state": app}, {"name": "istio-proxy", "state": proxy}]}}))
            .unwrap()
        };
        let runs = serde_json::json!({"running": {"startedAt": "2026-07-15T10:00:00Z"}});
        let ended = serde_json::json!({"terminated": {"exitCode": 0, "finishedAt": "2026-07-15T11:00:00Z"}});
        let at = application_ended(&with(ended.clone(), runs.clone()));
        assert_eq!(at.map(|t| t.to_string()).as_deref(), Some("2026-07-15T11:00:00Z"));
        assert_eq!(application_ended(&with(runs.clone(), runs)), None);
        assert_eq!(application_ended(&with(ended.clone(), ended)), None);
    }
}
