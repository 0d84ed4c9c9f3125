//! Which containers of a pod have something to say, and whether their present or their previous log has it.

use jiff::{SignedDuration, Timestamp};

use crate::mesh::proxy::PROXY_CONTAINER;
use crate::model::log::{LogEnd, LogPart};
use crate::model::{ContainerStatus, Pod};

/// istiod's container.
pub const ISTIOD_CONTAINER: &str = "discovery";
/// Init containers that set up, or check, the redirection of traffic.
pub const INIT_CONTAINERS: [&str; 2] = ["istio-init", "istio-validation"];
/// After a restart longer ago than this, what was before is history.
const RECENT: SignedDuration = SignedDuration::from_mins(10);

/// Which log the user wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// The previous one of a container that crashes.
    #[default]
    Auto,
    /// The previous one, whatever happened.
    Previous,
    /// Only the present one.
    Current,
}

/// One log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The container.
    pub container: String,
    /// Whose it is.
    pub part: LogPart,
    /// For the time before the last restart: how that ended, as far as it is known.
    pub previous: Option<LogEnd>,
    /// Why the previous log was chosen, for people.
    pub why: Option<String>,
}

/// The logs of a pod that are worth reading. `container` names one, which need not be Istio's.
#[must_use]
pub fn choose(pod: &Pod, part: LogPart, container: Option<&str>, want: Want, now: Timestamp) -> Vec<Chosen> {
    let usual = if part == LogPart::Istiod { ISTIOD_CONTAINER } else { PROXY_CONTAINER };
    let exists = |name: &str| pod.all_containers().any(|container| container.name == name);
    let mut names: Vec<(&str, LogPart)> = Vec::new();
    match container {
        Some(name) if name == usual => names.push((name, part)),
        Some(name) => names.push((name, part_of(name))),
        None => {
            let init = INIT_CONTAINERS.into_iter().filter(|name| exists(name) && holds_up(pod, name));
            names.extend(init.map(|name| (name, LogPart::Init)));
            names.push((usual, part));
        }
    }
    names
        .into_iter()
        .filter(|(name, _)| exists(name))
        .flat_map(|(name, part)| logs(pod, name, part, want, now))
        .collect()
}

/// Whose log a container writes, by its name alone.
#[must_use]
pub fn part_of(container: &str) -> LogPart {
    match container {
        ISTIOD_CONTAINER => LogPart::Istiod,
        PROXY_CONTAINER => LogPart::Proxy,
        name if INIT_CONTAINERS.contains(&name) => LogPart::Init,
        _ => LogPart::Other,
    }
}

fn status<'p>(pod: &'p Pod, name: &str) -> Option<&'p ContainerStatus> {
    pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses).find(|status| status.name == name)
}

/// Whether an init container is what the pod waits for.
fn holds_up(pod: &Pod, name: &str) -> bool {
    status(pod, name).is_some_and(|status| {
        let failed = status.state.terminated.as_ref().is_some_and(|end| end.exit_code != 0);
        let runs = status.state.running.is_some();
        let waits = status.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
        failed || runs || waits
    })
}

fn logs(pod: &Pod, name: &str, part: LogPart, want: Want, now: Timestamp) -> Vec<Chosen> {
    let current = || Chosen { container: name.to_owned(), part, previous: None, why: None };
    let Some(status) = status(pod, name) else { return vec![current()] };
    let last = status.last_state.terminated.as_ref();
    let end =
        last.map(|end| LogEnd { exit_code: end.exit_code, reason: end.reason.clone(), finished_at: end.finished_at });
    let previous = |why: Option<String>| Chosen { previous: Some(end.clone().unwrap_or_default()), why, ..current() };
    match (want, &end) {
        (Want::Current, _) | (Want::Auto, None) => vec![current()],
        (Want::Previous, _) => vec![previous(None)],
        (Want::Auto, Some(end)) => {
            let waits = status.state.waiting.as_ref();
            let recent = end.finished_at.is_some_and(|at| now.duration_since(at) < RECENT);
            match waits {
                // It has not started anew: there is no other log.
                Some(waiting) => vec![previous(Some(format!("{}, and waits ({})", ended(end, now), waiting.reason)))],
                // An orderly end, such as the update of a native sidecar's node, explains nothing.
                None if recent && (end.exit_code != 0 || end.reason == "OOMKilled") => {
                    vec![previous(Some(format!("{}, and runs again", ended(end, now)))), current()]
                }
                None => vec![current()],
            }
        }
    }
}

/// `ended with OOMKilled (exit code 137) 2m ago`.
fn ended(end: &LogEnd, now: Timestamp) -> String {
    let mut text = match end.reason.as_str() {
        "" => format!("ended with exit code {}", end.exit_code),
        reason => format!("ended with {reason} (exit code {})", end.exit_code),
    };
    if let Some(at) = end.finished_at {
        text.push_str(&format!(" {} ago", crate::model::age::words(now.duration_since(at))));
    }
    text
}
