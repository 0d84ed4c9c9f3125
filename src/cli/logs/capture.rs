//! Logs for a bundle: of istiods, of gateways, of proxies that do not work, and of those that were named.

use std::time::Duration;

use jiff::Timestamp;

use super::pods::{Target, of_pod};
use super::stream::{self, Options};
use crate::cli::ui;
use crate::cluster::Cluster;
use crate::mesh::log::Keep;
use crate::mesh::log::choose::{INIT_CONTAINERS, Want, choose};
use crate::mesh::proxy::{self, ProxyKind};
use crate::mesh::proxy_state;
use crate::model::Pod;
use crate::model::log::LogPart;
use crate::snapshot::{Fault, FaultKind, Snapshot};
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// Last lines of each log that are looked at.
const TAIL: u64 = 2000;
/// Last lines, and bytes, that go into the bundle.
const KEEP: Keep = Keep { lines: 500, bytes: 128 << 10 };
/// Logs in a bundle: with as much of each that is 6 MiB.
const MOST: usize = 48;

/// What is kept.
pub(in crate::cli) struct Recorded {
    /// Lines of the section.
    pub lines: Vec<Vec<u8>>,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// Whether the user ended it before all was read.
    pub interrupted: bool,
}

/// Reads what is worth keeping; the lines of the section, and what could not be read. `named` are namespaces and names of
/// pods whose proxies were asked for.
pub(in crate::cli) async fn record(
    cluster: &Cluster,
    snapshot: &Snapshot,
    named: &[(String, String)],
    left: Duration,
) -> Recorded {
    let now = snapshot.origin.captured_at.or_else(|| cluster.server_date()).unwrap_or_else(Timestamp::now);
    let mut targets = targets(snapshot, named, now);
    if targets.len() > MOST {
        ui::message(&format!("note: of {} logs that are worth keeping, {MOST} are kept\n", targets.len()));
        targets.truncate(MOST);
    }
    let options = Options { tail: Some(TAIL), since: None, follow: false, keep: KEEP };
    let limit = left.saturating_sub(Duration::from_millis(500));
    let outcome = stream::read(cluster, &options, &targets, None, Some(limit)).await;
    // That a log could not be read is the answer to whoever asks for it.
    let all = outcome.logs.iter().chain(&outcome.failed);
    let lines = all.filter_map(|log| serde_json::to_vec(log).ok()).collect();
    let mut faults = outcome.faults;
    if outcome.interrupted {
        faults.push(Fault::new(FaultKind::Truncated, "logs were not read to their end: the run was interrupted"));
    }
    Recorded { lines, faults, interrupted: outcome.interrupted }
}

/// What was named first, then the control plane, gateways, and what does not work.
fn targets(snapshot: &Snapshot, named: &[(String, String)], now: Timestamp) -> Vec<Target> {
    let of = |pod: &Pod, part| of_pod(pod, part, |pod, part| choose(pod, part, None, Want::Auto, now));
    let is_istiod =
        |pod: &&Pod| pod.metadata.namespace == SYSTEM_NAMESPACE && pod.metadata.label("app") == Some("istiod");
    let system = snapshot.system_pods.items().unwrap_or_default().iter().filter(is_istiod);
    let control_plane: Vec<Target> = system.flat_map(|pod| of(pod, LogPart::Istiod)).collect();
    let (mut all, mut gateways, mut broken) = (Vec::new(), Vec::new(), Vec::new());
    for pod in snapshot.pods.items().unwrap_or_default() {
        let Some(found) = proxy::of_pod(pod) else { continue };
        let is_gateway = matches!(found.kind, ProxyKind::Gateway | ProxyKind::ManagedGateway)
            || pod.metadata.namespace == INGRESS_NAMESPACE;
        let metadata = &pod.metadata;
        if named.iter().any(|(namespace, name)| *namespace == metadata.namespace && *name == metadata.name) {
            all.extend(of(pod, if is_gateway { LogPart::Gateway } else { LogPart::Proxy }));
        } else if is_gateway {
            gateways.extend(of(pod, LogPart::Gateway));
        } else if proxy_state::trouble(pod, now).is_some() || waits_for_init(pod) {
            broken.extend(of(pod, LogPart::Proxy));
        }
    }
    all.extend(control_plane);
    all.extend(gateways);
    all.extend(broken);
    all
}

/// Whether the redirection of traffic is what a pod waits for.
fn waits_for_init(pod: &Pod) -> bool {
    pod.status.init_container_statuses.iter().any(|status| {
        INIT_CONTAINERS.contains(&status.name.as_str())
            && (status.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff")
                || status.state.terminated.as_ref().is_some_and(|end| end.exit_code != 0))
    })
}
