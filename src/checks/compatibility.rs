//! REV: how long a revision lives, and which Kubernetes it fits.

use std::collections::BTreeMap;

use super::patches::PATCH_BEHIND;
use super::remedies::{az, copy_shared_config_map, count, end_upgrade, names, shared_config_map, upgrade_pool};
use super::revision::seen;
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::facts::Support;
use crate::mesh::revision::compare;
use crate::mesh::upgrade::{Fit, Hops, KubernetesMinor, fit, next_hops};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] =
    &[&ENDS_SOON, &KUBERNETES_OUT_OF_RANGE, &NODES_OUT_OF_RANGE, &OLDEST_SUPPORTED, &PATCH_BEHIND, &TABLE_OLD];

/// A revision that ends within this many days is worth a warning: moving a mesh takes weeks.
pub(super) const SOON_DAYS: i32 = 60;

fn server<'a>(lens: &Lens<'a>) -> Option<(&'a str, KubernetesMinor)> {
    let version = lens.optional(SourceId::Version, &lens.snapshot().version).first()?;
    Some((&version.git_version, KubernetesMinor::parse(&version.git_version)?))
}

/// The newest installed revision above one: an open upgrade leads there.
fn upgrade_open_to<'a>(lens: &Lens<'a>, revision: &str) -> Option<&'a str> {
    let newest = lens.revisions().ok()?.last()?;
    compare(&newest.name, revision).is_gt().then_some(newest.name.as_str())
}

/// How to get off a revision. Looks at the installed revisions, the server's version and the shared mesh configuration,
/// which a check that prints this has to declare.
pub(super) fn leave(lens: &Lens<'_>, revision: &str) -> Remedy {
    if let Some(target) = upgrade_open_to(lens, revision) {
        let text = format!("ends the upgrade and removes {revision}; first move all workloads off it");
        return Remedy::new(
            format!("move everything to {target} and complete the open upgrade"),
            vec![
                Step::command(
                    Risk::Read,
                    format!("shows what is still on {revision}, and how to move it"),
                    ["kubectl", "asm", "status", "--only", "UPG02,UPG03", "-o", "wide"],
                ),
                end_upgrade("complete", text),
            ],
        );
    }
    let kubernetes = server(lens).map(|(_, minor)| minor);
    let offered = az(Risk::Read, "shows which revisions this cluster can be upgraded to", &["mesh", "get-upgrades"]);
    let start =
        |text: String, revision: &str| az(Risk::Change, text, &["mesh", "upgrade", "start", "--revision", revision]);
    match next_hops(lens.facts(), revision, kubernetes, lens.now()) {
        Hops::To(hops) => {
            let mut steps = vec![offered];
            if let Some((target, others)) = hops.split_last() {
                let maps = lens.optional(SourceId::SystemConfigMaps, &lens.snapshot().system_config_maps);
                let has = |revision: &str| maps.iter().any(|map| map.metadata.name == shared_config_map(revision));
                if has(revision) && !has(target) {
                    steps.push(copy_shared_config_map(revision, target));
                }
                let also = match others {
                    [] => String::new(),
                    others => format!("; {} is possible, too", names(others.iter().copied())),
                };
                steps.push(start(
                    format!("installs {target} beside {revision}; workloads stay on {revision} until moved{also}"),
                    target,
                ));
            }
            Remedy::new(format!("upgrade to {}", hops.join(" or ")), steps)
        }
        Hops::ClusterFirst { revision, kubernetes } => Remedy::new(
            format!("upgrade the cluster to Kubernetes {kubernetes} or later, then the mesh to {revision}"),
            cluster_upgrade(kubernetes),
        ),
        Hops::Newest | Hops::Unknown => Remedy::new(
            "upgrade to a supported revision",
            vec![
                offered,
                start(
                    "installs the new revision beside the old one; workloads stay there until moved".into(),
                    "<revision>",
                ),
            ],
        ),
    }
}

fn cluster_upgrade(least: &str) -> Vec<Step> {
    vec![
        az(Risk::Read, "shows which Kubernetes versions this cluster can be upgraded to", &["get-upgrades"]),
        az(
            Risk::Restart,
            format!("upgrades the cluster by one minor version; repeat it up to {least} or newer"),
            &["upgrade", "--kubernetes-version", "<kubernetes-version>"],
        ),
    ]
}

static ENDS_SOON: Check = Check {
    code: "REV02",
    name: "revision-ends-soon",
    title: "Every revision in use is supported for two months more",
    area: Area::Revision,
    severity: Severity::Warning,
    inputs: &[SourceId::Pods],
    uses: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Version, SourceId::SystemConfigMaps],
    docs: "## What it means
Support of a revision that is in use ends within 60 days. After that it gets no security fixes, and there are fewer revisions that it can be upgraded to.

## Why it happens on AKS
A revision is supported for about eight months, and nothing upgrades it by itself.

## How we know
The revision is compared with the dated table inside the tool. Where Microsoft published only a month, the last day of that month is taken and called approximate; when the table is older than 90 days too, it is only information. Nothing is said about a revision that an open upgrade already leaves for one that lasts: UPG01 then names the day.

## What to do
Plan the upgrade now: start it, move the namespaces, restart the workloads, complete it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: ends_soon,
};

/// Days left of a supported revision that ends soon.
fn soon(lens: &Lens<'_>, revision: &str) -> Option<i32> {
    let facts = lens.facts();
    let supported = facts.support(revision, lens.now()) == Support::Supported;
    facts.days_left(revision, lens.now()).filter(|days| supported && *days <= SOON_DAYS)
}

/// Whether an open upgrade already leaves a revision for one that lasts.
fn is_being_left(lens: &Lens<'_>, revision: &str) -> bool {
    let lasts = |target: &str| {
        lens.facts().days_left(target, lens.now()).is_some_and(|days| days > SOON_DAYS)
            || lens.facts().is_newer_than_table(target)
    };
    upgrade_open_to(lens, revision).is_some_and(lasts)
}

fn ends_soon(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let seen = seen(lens)?;
    let facts = lens.facts();
    let mut findings = Vec::new();
    for (name, (source, object)) in &seen {
        let (Some(days), Some(known)) = (soon(lens, name), facts.revisions.get(name)) else { continue };
        if is_being_left(lens, name) {
            continue;
        }
        let end = known.end_of_life;
        let summary = if end.exact {
            format!(
                "support of revision {name} ends on {}, in {}",
                end.date,
                count(days.unsigned_abs() as usize, "day")
            )
        } else {
            format!("support of revision {name} ends about {}", end.date)
        };
        let detail = match (end.exact, facts.is_stale(lens.now())) {
            (_, true) => {
                "It gets no security fixes after that. The support table in this tool is old: the date may have moved."
            }
            (true, false) => "It gets no security fixes after that day; moving all workloads takes time.",
            (false, false) => "It gets no security fixes after that. Microsoft published only the month.",
        };
        findings.push(
            Finding::new(Subject::cluster("Revision", name.clone()), summary, detail)
                .key(KeyKind::Revision, name)
                .at_most(if end.exact || !facts.is_stale(lens.now()) { Severity::Warning } else { Severity::Info })
                .remedy(leave(lens, name))
                .evidence(*source, object.clone(), "revision", name.clone(), Some("supported for 60 days more")),
        );
    }
    Ok(Verdict { examined: seen.len(), findings })
}

static KUBERNETES_OUT_OF_RANGE: Check = Check {
    code: "REV03",
    name: "revision-does-not-fit-kubernetes",
    title: "Every revision fits the API server's Kubernetes version",
    area: Area::Revision,
    severity: Severity::Error,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Version],
    uses: &[SourceId::SystemConfigMaps],
    docs: "## What it means
The cluster's Kubernetes version is outside the range that the installed revision supports. The combination is not tested: the mesh may work today and fail at the next patch, and Microsoft does not support it.

## Why it happens on AKS
AKS upgrades the cluster, by hand or by an auto-upgrade channel, without upgrading the mesh.

## How we know
The API server's minor version is compared with the range in the dated table inside the tool. When that table is old, or knows no revision for this Kubernetes at all, it is a warning. Where only clusters with long-term support fit, it is said as information: no object in the cluster tells whether it has that.

## What to do
Upgrade the mesh to a revision that fits; when Kubernetes is older than the revision supports, upgrade the cluster.

## What else looks like it
Nodes that lag behind the API server are REV04.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://github.com/Azure/AKS/releases>",
    run: kubernetes_out_of_range,
};

fn kubernetes_out_of_range(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::Version])?;
    let facts = lens.facts();
    let Some((version, kubernetes)) = server(lens) else { return Ok(Verdict::default()) };
    let newest = facts.revisions.values().filter_map(|known| KubernetesMinor::parse(&known.kubernetes.max)).max();
    let mut verdict = Verdict::default();
    for revision in revisions {
        let name = &revision.name;
        let Some(known) = facts.revisions.get(name) else { continue };
        verdict.examined += 1;
        let verdict_of = fit(known, kubernetes);
        if verdict_of == Fit::Fits {
            continue;
        }
        let range = format!("{} to {}", known.kubernetes.min, known.kubernetes.max);
        // A newer table may know more of newer Kubernetes versions, never less of older ones.
        let doubtful = verdict_of == Fit::KubernetesTooNew
            && (facts.is_stale(lens.now()) || newest.is_none_or(|newest| kubernetes > newest));
        let (severity, detail) = match verdict_of {
            Fit::LongTermSupportOnly => (
                Severity::Info,
                "That is supported only if the cluster has AKS long-term support; az tells whether it has.".to_owned(),
            ),
            _ if doubtful => (
                Severity::Warning,
                format!(
                    "By this tool's table of {} that is neither tested nor supported; az knows what holds today.",
                    facts.as_of
                ),
            ),
            _ => (
                Severity::Error,
                "This combination is neither tested nor supported; an upgrade of either may fail.".to_owned(),
            ),
        };
        let remedy = match verdict_of {
            Fit::LongTermSupportOnly => Remedy::new(
                "find out whether the cluster has long-term support",
                vec![az(Risk::Read, "shows the support plan", &["show", "--query", "supportPlan"])],
            ),
            Fit::KubernetesTooOld => Remedy::new(
                format!("upgrade the cluster to Kubernetes {} or later", known.kubernetes.min),
                cluster_upgrade(&known.kubernetes.min),
            ),
            _ => leave(lens, name),
        };
        verdict.findings.push(
            Finding::new(
                Subject::cluster("Revision", name.clone()),
                format!("revision {name} supports Kubernetes {range}, not the cluster's {kubernetes}"),
                detail,
            )
            .key(KeyKind::Revision, name)
            .at_most(severity)
            .remedy(remedy)
            .evidence(SourceId::Version, "/version", "gitVersion", version, Some(&range)),
        );
    }
    Ok(verdict)
}

static NODES_OUT_OF_RANGE: Check = Check {
    code: "REV04",
    name: "revision-does-not-fit-nodes",
    title: "Every revision fits the Kubernetes version of the nodes",
    area: Area::Revision,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Version, SourceId::Nodes],
    uses: &[],
    docs: "## What it means
The API server has a Kubernetes version that the revision supports, but some nodes run an older one that it does not. Sidecars on these nodes run on a kubelet that the revision is not tested with.

## Why it happens on AKS
Node pools are upgraded one by one, and may lag behind the control plane.

## How we know
The kubelet's version of each node is compared with the range in the dated table inside the tool. Virtual nodes, which have no kubelet of their own, are left out.

## What to do
Upgrade these node pools to the version of the control plane.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/manage-node-pools>",
    run: nodes_out_of_range,
};

fn nodes_out_of_range(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::Version, SourceId::Nodes])?;
    let facts = lens.facts();
    let Some((version, kubernetes)) = server(lens) else { return Ok(Verdict::default()) };
    let nodes: Vec<_> = lens
        .snapshot()
        .nodes
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|node| node.metadata.label("type") != Some("virtual-kubelet"))
        .filter_map(|node| Some((node, KubernetesMinor::parse(&node.status.node_info.kubelet_version)?)))
        .collect();
    let mut verdict = Verdict::default();
    for revision in revisions {
        let name = &revision.name;
        // Where the server does not fit, nodes that do not either are no second fault.
        let Some(known) = facts.revisions.get(name).filter(|known| fit(known, kubernetes) == Fit::Fits) else {
            continue;
        };
        verdict.examined += nodes.len();
        let mut pools: BTreeMap<&str, (usize, &str, KubernetesMinor)> = BTreeMap::new();
        for (node, minor) in nodes.iter().filter(|(_, minor)| fit(known, *minor) == Fit::KubernetesTooOld) {
            let pool = node.pool().unwrap_or(&node.metadata.name);
            let entry = pools.entry(pool).or_insert((0, &node.metadata.name, *minor));
            entry.0 += 1;
            entry.2 = entry.2.min(*minor);
        }
        let Some(oldest) = pools.values().map(|(.., minor)| *minor).min() else { continue };
        let total = pools.values().map(|(nodes, ..)| nodes).sum();
        let target = version.strip_prefix('v').unwrap_or(version);
        let is_pool = |name: &str| nodes.iter().any(|(node, _)| node.pool() == Some(name));
        let steps = pools.keys().map(|pool| upgrade_pool(if is_pool(pool) { pool } else { "<node-pool>" }, target));
        let mut finding = Finding::new(
            Subject::cluster("Revision", name.clone()),
            format!(
                "revision {name} needs Kubernetes {}; {} of {} {} {} {oldest}",
                known.kubernetes.min,
                count(total, "node"),
                if pools.len() == 1 { "pool" } else { "pools" },
                names(pools.keys().copied()),
                if total == 1 { "runs" } else { "run" },
            ),
            "Sidecars there run on a Kubernetes version that the revision is not tested with, and may fail.",
        )
        .key(KeyKind::Revision, name)
        .remedy(Remedy::new("upgrade these node pools", steps.collect()));
        for (pool, (_, node, minor)) in &pools {
            finding = finding.related(&Subject::cluster("NodePool", *pool), "runs an older Kubernetes").evidence(
                SourceId::Nodes,
                format!("node/{node}"),
                "status.nodeInfo.kubeletVersion",
                minor.to_string(),
                Some(&format!("{} to {}", known.kubernetes.min, known.kubernetes.max)),
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

static OLDEST_SUPPORTED: Check = Check {
    code: "REV05",
    name: "revision-is-oldest-supported",
    title: "No revision in use is the oldest supported one",
    area: Area::Revision,
    severity: Severity::Info,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Version],
    uses: &[SourceId::SystemConfigMaps],
    docs: "## What it means
The installed revision is the oldest one that Microsoft still supports, and newer ones can be installed. It will be the next one to end.

## Why it happens on AKS
Nothing upgrades a minor revision by itself.

## How we know
From the dated table inside the tool: every older revision has ended, a newer one is released, and the published rules allow an upgrade to it on this Kubernetes. Nothing is said when the end is within 60 days (REV02), when it has passed (REV01), when the revision does not fit Kubernetes (REV03), or while an upgrade is open.

## What to do
Nothing today. Plan an upgrade to one of the revisions that the remedy names.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: oldest_supported,
};

fn oldest_supported(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::Version])?;
    let (facts, now) = (lens.facts(), lens.now());
    let kubernetes = server(lens).map(|(_, minor)| minor);
    let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
    let [revision] = revisions else { return Ok(verdict) };
    let name = &revision.name;
    let oldest = facts
        .revisions
        .keys()
        .filter(|other| compare(other, name).is_lt())
        .all(|other| matches!(facts.support(other, now), Support::Ended | Support::ProbablyEnded));
    let fits = |known| kubernetes.is_none_or(|kubernetes| fit(known, kubernetes) == Fit::Fits);
    let Some(known) = facts.revisions.get(name).filter(|known| oldest && fits(known)) else { return Ok(verdict) };
    let lasts = facts.days_left(name, now).is_some_and(|days| days > SOON_DAYS);
    let Hops::To(hops) = next_hops(facts, name, kubernetes, now) else { return Ok(verdict) };
    if !lasts {
        return Ok(verdict);
    }
    let about = if known.end_of_life.exact { "" } else { "about " };
    verdict.findings.push(
        Finding::new(
            Subject::cluster("Revision", name.clone()),
            format!("revision {name} is the oldest supported one; upgrade to {}", hops.join(" or ")),
            format!("Nothing is wrong yet: it is supported until {about}{}.", known.end_of_life.date),
        )
        .key(KeyKind::Revision, name)
        .remedy(leave(lens, name))
        .evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
            "revision",
            name.clone(),
            None,
        ),
    );
    Ok(verdict)
}

static TABLE_OLD: Check = Check {
    code: "REV07",
    name: "support-table-old",
    title: "The support table is new enough for what it is asked",
    area: Area::Revision,
    severity: Severity::Info,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[SourceId::Version],
    docs: "## What it means
The support table inside the tool is older than 90 days, and what is said about a revision of this cluster rests on it: that it has ended or ends soon, or that it does not fit Kubernetes. Microsoft has moved such dates before.

## Why it happens on AKS
Revisions appear about every three months; a plugin that is not updated does not learn of them.

## How we know
The table carries the day on which it was true. Nothing is said when no verdict depends on its age.

## What to do
Update the plugin, or give a newer table with `--facts FILE`.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: table_old,
};

fn table_old(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let (facts, now) = (lens.facts(), lens.now());
    let kubernetes = server(lens).map(|(_, minor)| minor);
    let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
    if !facts.is_stale(now) {
        return Ok(verdict);
    }
    let rests_on_it = |name: &str| {
        let too_new = |known| kubernetes.is_some_and(|kubernetes| fit(known, kubernetes) == Fit::KubernetesTooNew);
        facts.support(name, now) == Support::ProbablyEnded
            || (soon(lens, name).is_some() && !is_being_left(lens, name))
            || facts.revisions.get(name).is_some_and(too_new)
    };
    let doubtful: Vec<&str> = revisions.iter().map(|r| r.name.as_str()).filter(|name| rests_on_it(name)).collect();
    if doubtful.is_empty() {
        return Ok(verdict);
    }
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "support table"),
        format!("the support table is {} old", count(facts.age_days(now).unsigned_abs() as usize, "day")),
        format!(
            "What the REV checks say about {} may have changed since {}.",
            names(doubtful.iter().copied()),
            facts.as_of
        ),
    )
    .remedy(Remedy::new(
        "update the plugin",
        vec![Step::command(Risk::Change, "updates the plugin", ["kubectl", "krew", "upgrade", "asm"])],
    ));
    for name in doubtful {
        finding = finding.key(KeyKind::Revision, name).evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
            "revision",
            name,
            None,
        );
    }
    verdict.findings.push(finding);
    Ok(verdict)
}
