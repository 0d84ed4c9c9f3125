//! The registry. An area file holds its checks: a static record, a pure function and its page, side by side.

mod admission;
mod azure;
mod azure_drift;
mod capacity;
mod certificates;
mod cni;
mod compatibility;
mod conflicts;
mod control_plane;
mod environment;
mod gatekeepers;
mod handover;
mod ingress;
mod injection;
mod istiod_metrics;
mod istiod_start;
mod istiods;
mod leftovers;
mod logs;
mod mesh_config;
mod namespaces;
mod native_sidecars;
mod neighbours;
mod network;
mod patches;
mod placement;
mod pod_security;
mod pod_settings;
mod policy;
mod proxies;
mod proxy_answers;
mod proxy_destinations;
mod rejections;
mod remains;
mod remedies;
mod restart_policy;
mod revision;
mod roots;
pub(crate) mod safe_order;
mod sidecars;
mod stranded;
mod sync;
mod telemetry;
pub(crate) mod tools;
mod trials;
mod upgrade;
mod webhooks;

use crate::engine::finding::KeyKind;
use crate::engine::{Cause, Check};
use crate::snapshot::SourceId;
use crate::sources::{Source, source};

/// Whether a check looks into one proxy, so that only a command about one proxy does it.
#[must_use]
pub fn is_of_one_proxy(check: &Check) -> bool {
    check.inputs.contains(&SourceId::ProxyAnswers)
}

/// Whether a check reads what only one command reads.
#[must_use]
pub fn is_by_command(check: &Check) -> bool {
    check.inputs.iter().any(|id| source(*id).is_some_and(Source::is_by_command))
}

/// Whether a check looks into logs.
#[must_use]
pub fn is_of_logs(check: &Check) -> bool {
    check.inputs.contains(&SourceId::Logs)
}

/// Whether a check asks Azure, which only commands do that are told to.
#[must_use]
pub fn is_of_azure(check: &Check) -> bool {
    check.inputs.contains(&SourceId::Azure)
}

/// Whether a check looks at what istiods count, which only the command does that shows it.
#[must_use]
pub fn is_of_istiod_metrics(check: &Check) -> bool {
    check.inputs.contains(&SourceId::IstiodMetrics)
}

/// Whether a check judges what the API server made of pods that it was asked about.
#[must_use]
pub fn is_of_trials(check: &Check) -> bool {
    check.inputs.contains(&SourceId::Trials)
}

/// Whether a check looks at this machine and at one's own rights, so that only `precheck` does it.
#[must_use]
pub fn is_of_precheck(check: &Check) -> bool {
    check.inputs.iter().any(|id| matches!(id, SourceId::Programs | SourceId::Grants))
}

/// Codes that existed once; they are never used again.
pub const RETIRED: &[&str] = &[];

/// All checks, from the control plane outwards: findings of equal severity are shown in this order.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        environment::CHECKS,
        azure::CHECKS,
        tools::CHECKS,
        control_plane::CHECKS,
        istiod_start::CHECKS,
        istiods::CHECKS,
        conflicts::CHECKS,
        neighbours::CHECKS,
        roots::CHECKS,
        certificates::CHECKS,
        webhooks::CHECKS,
        admission::CHECKS,
        gatekeepers::CHECKS,
        upgrade::CHECKS,
        handover::CHECKS,
        leftovers::CHECKS,
        remains::CHECKS,
        mesh_config::CHECKS,
        policy::CHECKS,
        injection::CHECKS,
        stranded::CHECKS,
        trials::CHECKS,
        namespaces::CHECKS,
        cni::CHECKS,
        native_sidecars::CHECKS,
        proxies::CHECKS,
        proxy_answers::CHECKS,
        proxy_destinations::CHECKS,
        sidecars::CHECKS,
        sync::CHECKS,
        rejections::CHECKS,
        pod_settings::CHECKS,
        placement::CHECKS,
        network::CHECKS,
        ingress::CHECKS,
        capacity::CHECKS,
        telemetry::CHECKS,
        logs::CHECKS,
        istiod_metrics::CHECKS,
        revision::CHECKS,
        compatibility::CHECKS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Finds a check by its code, in any case.
#[must_use]
pub fn by_code(code: &str) -> Option<&'static Check> {
    all().find(|check| check.code.eq_ignore_ascii_case(code))
}

/// Causes before consequences: the first row that fits wins.
pub const CAUSES: &[Cause] = &[
    // A change of the cluster that failed, or is under way, leaves the mesh in between.
    Cause { cause: "AZ02", effect: "AZ03", by: KeyKind::Object },
    Cause { cause: "AZ02", effect: "ENV04", by: KeyKind::Object },
    // What keeps AKS from installing the mesh is told by what there is of it.
    Cause { cause: "ENV04", effect: "AZ03", by: KeyKind::Object },
    // What keeps istiod from starting or staying: none is left, or only one.
    Cause { cause: "CP11", effect: "CP01", by: KeyKind::Revision },
    Cause { cause: "CA05", effect: "CP05", by: KeyKind::Revision },
    Cause { cause: "CP05", effect: "CP01", by: KeyKind::Revision },
    Cause { cause: "CP04", effect: "CP01", by: KeyKind::Revision },
    Cause { cause: "CP03", effect: "CP01", by: KeyKind::Revision },
    Cause { cause: "CP11", effect: "CP02", by: KeyKind::Revision },
    Cause { cause: "CP05", effect: "CP02", by: KeyKind::Revision },
    Cause { cause: "CP04", effect: "CP02", by: KeyKind::Revision },
    Cause { cause: "CP03", effect: "CP02", by: KeyKind::Revision },
    Cause { cause: "CAP02", effect: "CP02", by: KeyKind::Revision },
    Cause { cause: "CP04", effect: "CP07", by: KeyKind::Revision },
    // Helm waits for these pods, then gives up.
    Cause { cause: "CP11", effect: "CP09", by: KeyKind::Revision },
    Cause { cause: "CP05", effect: "CP09", by: KeyKind::Revision },
    Cause { cause: "CP04", effect: "CP09", by: KeyKind::Revision },
    Cause { cause: "CP03", effect: "CP09", by: KeyKind::Revision },
    Cause { cause: "CP01", effect: "CP09", by: KeyKind::Revision },
    // Too few ready pods: no eviction is allowed, and without any there are no metrics.
    Cause { cause: "CP01", effect: "CAP03", by: KeyKind::Revision },
    Cause { cause: "CP02", effect: "CAP03", by: KeyKind::Revision },
    Cause { cause: "ING02", effect: "CAP03", by: KeyKind::Object },
    Cause { cause: "CAP02", effect: "CAP03", by: KeyKind::Object },
    Cause { cause: "CP01", effect: "CAP01", by: KeyKind::Revision },
    Cause { cause: "CP04", effect: "CAP01", by: KeyKind::Revision },
    Cause { cause: "ING02", effect: "CAP01", by: KeyKind::Object },
    // A gateway is not ready before istiod has configured it, and has no proxy without the injector.
    Cause { cause: "INJ11", effect: "ING02", by: KeyKind::Workload },
    Cause { cause: "CP01", effect: "ING02", by: KeyKind::Revision },
    Cause { cause: "CP06", effect: "ING02", by: KeyKind::Revision },
    Cause { cause: "WHK01", effect: "ING02", by: KeyKind::Revision },
    // No istiod: its Service has nobody behind it, and its webhook refuses every pod it selects.
    Cause { cause: "CP01", effect: "CP06", by: KeyKind::Revision },
    Cause { cause: "CP01", effect: "INJ11", by: KeyKind::Revision },
    Cause { cause: "CP06", effect: "INJ11", by: KeyKind::Revision },
    Cause { cause: "WHK02", effect: "INJ11", by: KeyKind::Webhook },
    // Somebody else's webhook keeps gateways from starting.
    Cause { cause: "WHK05", effect: "ING02", by: KeyKind::Workload },
    // The root has ended, or the webhook has another one: the API server does not trust the injector.
    Cause { cause: "CA02", effect: "WHK03", by: KeyKind::Object },
    Cause { cause: "WHK03", effect: "INJ11", by: KeyKind::Webhook },
    // Nobody writes the root certificate into namespaces.
    Cause { cause: "CP01", effect: "CA03", by: KeyKind::Revision },
    // A removed revision: its proxies are orphaned, labels and tags still point to it.
    Cause { cause: "UPG04", effect: "WHK02", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "INJ03", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "UPG08", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "UPG11", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "UPG07", by: KeyKind::Revision },
    Cause { cause: "WHK02", effect: "UPG08", by: KeyKind::Revision },
    Cause { cause: "WHK02", effect: "UPG11", by: KeyKind::Revision },
    Cause { cause: "UPG11", effect: "UPG07", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "POL06", by: KeyKind::Revision },
    // An open upgrade: what is left on the old revision.
    Cause { cause: "UPG01", effect: "UPG02", by: KeyKind::Revision },
    Cause { cause: "UPG01", effect: "UPG03", by: KeyKind::Revision },
    Cause { cause: "UPG01", effect: "UPG08", by: KeyKind::Revision },
    // One way out of a revision: what else is wrong with it, and how sure the table is, belongs to the same upgrade.
    Cause { cause: "REV01", effect: "REV03", by: KeyKind::Revision },
    Cause { cause: "REV01", effect: "REV04", by: KeyKind::Revision },
    Cause { cause: "REV01", effect: "REV06", by: KeyKind::Revision },
    Cause { cause: "REV01", effect: "REV07", by: KeyKind::Revision },
    Cause { cause: "REV03", effect: "REV02", by: KeyKind::Revision },
    Cause { cause: "REV03", effect: "REV07", by: KeyKind::Revision },
    Cause { cause: "REV02", effect: "REV07", by: KeyKind::Revision },
    // A proxy that starts needs its istiod, its ports and some memory.
    Cause { cause: "CP01", effect: "PRX04", by: KeyKind::Revision },
    Cause { cause: "CP06", effect: "PRX04", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "PRX04", by: KeyKind::Revision },
    Cause { cause: "PRX06", effect: "PRX04", by: KeyKind::Workload },
    Cause { cause: "PRX05", effect: "PRX04", by: KeyKind::Object },
    // A proxy cannot connect: no istiod, no way to it, or no trust in it. Then it does not become ready.
    Cause { cause: "CP01", effect: "PRX12", by: KeyKind::Revision },
    Cause { cause: "CP06", effect: "PRX12", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "PRX12", by: KeyKind::Revision },
    Cause { cause: "CA02", effect: "PRX12", by: KeyKind::Revision },
    Cause { cause: "CA03", effect: "PRX12", by: KeyKind::Namespace },
    Cause { cause: "CON08", effect: "PRX12", by: KeyKind::Workload },
    Cause { cause: "CON08", effect: "PRX12", by: KeyKind::Revision },
    Cause { cause: "PRX12", effect: "ING02", by: KeyKind::Workload },
    // What the application holds, the proxy cannot listen on: it rejects the listener, or does not start.
    Cause { cause: "PRX06", effect: "PRX12", by: KeyKind::Workload },
    Cause { cause: "PRX06", effect: "PRX11", by: KeyKind::Workload },
    // What a second Istio left when it went, beside its webhooks.
    Cause { cause: "CON01", effect: "CON10", by: KeyKind::Namespace },
    Cause { cause: "CON01", effect: "CON04", by: KeyKind::Namespace },
    Cause { cause: "ENV04", effect: "CON04", by: KeyKind::Object },
    // Open Service Mesh is there: namespaces are still in it.
    Cause { cause: "CON02", effect: "INJ12", by: KeyKind::Webhook },
    // A webhook that nobody answers refuses the gateways.
    Cause { cause: "WHK08", effect: "WHK05", by: KeyKind::Webhook },
    // A proxy that cannot reach istiod is not connected, and a new one does not become ready.
    Cause { cause: "CON08", effect: "PRX12", by: KeyKind::Workload },
    Cause { cause: "CON08", effect: "PRX04", by: KeyKind::Workload },
    Cause { cause: "PRX12", effect: "PRX04", by: KeyKind::Workload },
    // A second Istio behind a dead webhook refuses pods.
    Cause { cause: "CON01", effect: "WHK02", by: KeyKind::Webhook },
    // Nobody redirects traffic on a node: pods hang in the init container that looks for it.
    Cause { cause: "CNI01", effect: "CNI03", by: KeyKind::Node },
    Cause { cause: "CNI02", effect: "CNI03", by: KeyKind::Node },
    // What a second Istio leaves or keeps: its operator's objects, resources in its root namespace.
    Cause { cause: "CON01", effect: "POL01", by: KeyKind::Namespace },
    Cause { cause: "CON01", effect: "POL01", by: KeyKind::Definition },
    Cause { cause: "CON01", effect: "POL04", by: KeyKind::Namespace },
    // An edit of what AKS manages broke it.
    Cause { cause: "CFG06", effect: "CFG01", by: KeyKind::Object },
    // A sidecar without its restartPolicy is no sidecar.
    Cause { cause: "NSC04", effect: "INJ05", by: KeyKind::Workload },
    // The API server refuses a pod that it is asked about for the reason that another finding tells.
    Cause { cause: "CON08", effect: "INJ13", by: KeyKind::Object },
    Cause { cause: "WHK03", effect: "INJ13", by: KeyKind::Webhook },
    Cause { cause: "CNI05", effect: "INJ13", by: KeyKind::Namespace },
    // A second Istio that works takes the same namespaces, and writes its own root into them.
    Cause { cause: "CON01", effect: "WHK04", by: KeyKind::Webhook },
    Cause { cause: "CON01", effect: "CA03", by: KeyKind::Namespace },
];
