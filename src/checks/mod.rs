//! The registry. An area file holds its checks: a static record, a pure function and its page, side by side.

mod admission;
mod capacity;
mod certificates;
mod cni;
mod compatibility;
mod conflicts;
mod control_plane;
mod environment;
mod handover;
mod ingress;
mod injection;
mod istiods;
mod leftovers;
mod mesh_config;
mod namespaces;
mod native_sidecars;
mod policy;
mod proxies;
mod remedies;
mod revision;
mod sidecars;
mod stranded;
mod telemetry;
mod upgrade;
mod webhooks;

use crate::engine::finding::KeyKind;
use crate::engine::{Cause, Check};

/// Codes that existed once; they are never used again.
pub const RETIRED: &[&str] = &[];

/// All checks, from the control plane outwards: findings of equal severity are shown in this order.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [
        environment::CHECKS,
        control_plane::CHECKS,
        istiods::CHECKS,
        conflicts::CHECKS,
        certificates::CHECKS,
        webhooks::CHECKS,
        admission::CHECKS,
        upgrade::CHECKS,
        handover::CHECKS,
        leftovers::CHECKS,
        mesh_config::CHECKS,
        policy::CHECKS,
        injection::CHECKS,
        stranded::CHECKS,
        namespaces::CHECKS,
        cni::CHECKS,
        native_sidecars::CHECKS,
        proxies::CHECKS,
        sidecars::CHECKS,
        ingress::CHECKS,
        capacity::CHECKS,
        telemetry::CHECKS,
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
    // No istiod: its Service has nobody behind it, and its webhook refuses every pod it selects.
    Cause { cause: "CP03", effect: "CP01", by: KeyKind::Revision },
    Cause { cause: "CP01", effect: "CP06", by: KeyKind::Revision },
    Cause { cause: "CP01", effect: "INJ11", by: KeyKind::Revision },
    Cause { cause: "CP06", effect: "INJ11", by: KeyKind::Revision },
    Cause { cause: "WHK02", effect: "INJ11", by: KeyKind::Webhook },
    // A removed revision: its proxies are orphaned, labels and tags still point to it.
    Cause { cause: "UPG04", effect: "WHK02", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "INJ03", by: KeyKind::Revision },
    Cause { cause: "UPG04", effect: "POL06", by: KeyKind::Revision },
    // An open upgrade: what is left on the old revision.
    Cause { cause: "UPG01", effect: "UPG02", by: KeyKind::Revision },
    Cause { cause: "UPG01", effect: "UPG03", by: KeyKind::Revision },
    // A second Istio behind a dead webhook refuses pods.
    Cause { cause: "CON01", effect: "WHK02", by: KeyKind::Webhook },
    // What a second Istio leaves or keeps: its operator's objects, resources in its root namespace.
    Cause { cause: "CON01", effect: "POL01", by: KeyKind::Namespace },
    Cause { cause: "CON01", effect: "POL01", by: KeyKind::Definition },
    Cause { cause: "CON01", effect: "POL04", by: KeyKind::Namespace },
    // An edit of what AKS manages broke it.
    Cause { cause: "CFG06", effect: "CFG01", by: KeyKind::Object },
];
