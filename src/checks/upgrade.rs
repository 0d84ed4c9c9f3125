//! UPG: what an upgrade leaves behind.

use std::collections::{BTreeMap, BTreeSet};

use super::remedies::{count, end_upgrade, label_namespace, names, restart, set_tag, subject, unlabel_namespace};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::{Revision, recommended, tags};
use crate::mesh::injection::{INJECTION, REV};
use crate::mesh::proxy::ProxyKind;
use crate::mesh::revision::AsmRevision;
use crate::mesh::workload::Workload;
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&CANARY_OPEN, &NAMESPACES_ON_OLD, &PODS_ON_OLD, &PODS_ON_ABSENT];

/// After this many days an open upgrade is worth a warning.
const LONG_DAYS: i64 = 14;

const WITH_WORKLOADS: &[SourceId] = &[
    SourceId::SystemPods,
    SourceId::SystemDeployments,
    SourceId::Pods,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
    SourceId::Namespaces,
];

/// Old and new revision of an open upgrade.
pub(super) fn canary<'l>(lens: &Lens<'l>) -> Result<Option<(&'l Revision<'l>, &'l Revision<'l>)>, Missing> {
    Ok(match lens.revisions()? {
        [old, .., new] => Some((old, new)),
        _ => None,
    })
}

/// When support of the old revision ends, where that is near enough to be a deadline for the upgrade.
fn ends(lens: &Lens<'_>, revision: &str) -> String {
    let near = |days: &i32| (0..=super::compatibility::SOON_DAYS).contains(days);
    match (lens.facts().days_left(revision, lens.now()).filter(near), lens.facts().revisions.get(revision)) {
        (Some(_), Some(known)) => {
            let about = if known.end_of_life.exact { "on" } else { "about" };
            format!(" Support of {revision} ends {about} {}.", known.end_of_life.date)
        }
        _ => String::new(),
    }
}

static CANARY_OPEN: Check = Check {
    code: "UPG01",
    name: "upgrade-open",
    title: "No upgrade is left open",
    area: Area::Upgrade,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
Two revisions are installed: a canary upgrade is open. That is normal for some days. As long as it is open, no other upgrade can start, and both revisions use resources.

## Why it happens on AKS
`az aks mesh upgrade start` installs the new revision; it stays open until `complete` or `rollback`.

## How we know
Two Deployments `istiod-asm-X-Y` exist. The age is that of the newer one; after 14 days it is a warning.

## What to do
Move namespaces and workloads (UPG02 and UPG03 list what is left), then complete; or move them back and roll back. Completing removes the old revision: what is still on it drops out of the mesh at its next restart.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: |lens| {
        let examined = lens.revisions()?.len();
        let Some((old, new)) = canary(lens)? else { return Ok(Verdict { examined, findings: Vec::new() }) };
        let days = new.since().map(|since| (lens.now().as_second() - since.as_second()) / 86_400);
        let long = days.is_some_and(|days| days >= LONG_DAYS);
        let since = match days.map(|days| usize::try_from(days).unwrap_or_default()) {
            None => String::new(),
            Some(0) => " for less than a day".to_owned(),
            Some(days) => format!(" for {}", count(days, "day")),
        };
        let finding = Finding::new(
            Subject::cluster("Revision", new.name.clone()),
            format!("an upgrade from {} to {} has been open{since}", old.name, new.name),
            format!("Until it is completed or rolled back, both revisions run, and no other upgrade can start.{}", ends(lens, &old.name)),
        )
        .key(KeyKind::Revision, &old.name)
        .at_most(if long { Severity::Warning } else { Severity::Info })
        .remedy(Remedy::new(
            "complete it once nothing is left on the old revision, or roll back",
            vec![
                end_upgrade("complete", format!("removes {}; first move all workloads off it, or they drop out of the mesh", old.name)),
                end_upgrade("rollback", format!("or instead: removes {}; first move all workloads off that one", new.name)),
            ],
        ))
        .evidence(
            SourceId::SystemDeployments,
            format!("{}/deployment/istiod-{}", crate::sources::SYSTEM_NAMESPACE, new.name),
            "created",
            new.since().map_or_else(|| "unknown".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string()),
            None,
        );
        Ok(Verdict { examined, findings: vec![finding] })
    },
};

static NAMESPACES_ON_OLD: Check = Check {
    code: "UPG02",
    name: "namespaces-on-old-revision",
    title: "During an upgrade no namespace points to the old revision",
    area: Area::Upgrade,
    severity: Severity::Info,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::Namespaces,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
    ],
    uses: &[SourceId::WebhookServices, SourceId::WebhookEndpoints],
    docs: "## What it means
An upgrade is open and namespaces still point to the old revision, by label or by tag. Once the upgrade is completed, new pods there get no sidecar.

## Why it happens on AKS
Labels and tags are not moved by `az`.

## How we know
The value of `istio.io/rev` of each namespace, through tags, is compared with the two installed revisions.

## What to do
Move each namespace's label, or the tag, to the new revision, then restart its workloads.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: |lens| {
        let injectors = lens.injectors()?;
        let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
        let tags = tags(injectors);
        let mut on_old = Vec::new();
        let mut steps = BTreeMap::new();
        let mut examined = 0;
        for namespace in lens.namespaces()? {
            let meta = &namespace.metadata;
            let Some(label) = meta.label(REV).filter(|_| !lens.is_managed(&meta.name)) else { continue };
            examined += 1;
            let tag = tags.iter().find(|tag| tag.name == label);
            if label != old.name && tag.is_none_or(|tag| tag.revision != old.name) {
                continue;
            }
            on_old.push(meta.name.as_str());
            match tag {
                Some(tag) => steps.insert(format!("0{}", tag.name), set_tag(&tag.name, &new.name)),
                None => steps.insert(format!("1{}", meta.name), label_namespace(&meta.name, &new.name)),
            };
        }
        if on_old.is_empty() {
            return Ok(Verdict { examined, findings: Vec::new() });
        }
        let mut finding = Finding::new(
            Subject::cluster("Revision", old.name.clone()),
            format!("{} still {} to {}", count(on_old.len(), "namespace"), if on_old.len() == 1 { "points" } else { "point" }, old.name),
            format!("{}. If the upgrade is completed now, new pods there get no sidecar.", names(on_old.iter().copied())),
        )
        .key(KeyKind::Revision, &old.name)
        .impact(Impact { namespaces: on_old.len(), ..Impact::default() })
        .remedy(Remedy::new("move them to the new revision", steps.into_values().collect()));
        if let Some(first) = on_old.first() {
            let label = lens.namespace_labels(first).and_then(|labels| labels.get(REV)).cloned().unwrap_or_default();
            let object = format!("namespace/{first}");
            finding = finding.evidence(SourceId::Namespaces, object, format!("label {REV}"), label, Some(&new.name));
        }
        for name in on_old {
            finding = finding.related(&Subject::cluster("Namespace", name), "points to the old revision");
        }
        Ok(Verdict { examined, findings: vec![finding] })
    },
};

fn pods_on(workload: &Workload<'_>, revision: &str) -> usize {
    workload
        .pods
        .iter()
        .filter(|(_, proxy)| proxy.as_ref().is_some_and(|p| p.revision.as_deref() == Some(revision)))
        .count()
}

/// Gateways of the add-on are moved by AKS.
fn is_users(lens: &Lens<'_>, workload: &Workload<'_>) -> bool {
    !lens.is_managed(workload.namespace) && !workload.kinds().contains(&ProxyKind::ManagedGateway)
}

static PODS_ON_OLD: Check = Check {
    code: "UPG03",
    name: "pods-on-old-revision",
    title: "During an upgrade no pod runs a sidecar of the old revision",
    area: Area::Upgrade,
    severity: Severity::Info,
    inputs: WITH_WORKLOADS,
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
    ],
    docs: "## What it means
An upgrade is open and pods still run sidecars of the old revision. Completing the upgrade removes their istiod.

## Why it happens on AKS
A sidecar changes only when its pod is created anew.

## How we know
The revision that injected each pod (annotation `sidecar.istio.io/status`) is compared with the two installed revisions.

## What to do
Move the namespaces first (UPG02), then restart these workloads.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: |lens| {
        let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
        let workloads = lens.workloads()?;
        let mut verdict =
            Verdict { examined: workloads.iter().filter(|w| w.injected_pods() > 0).count(), ..Verdict::default() };
        let on_old: Vec<_> = workloads.iter().filter(|w| is_users(lens, w) && pods_on(w, &old.name) > 0).collect();
        if !on_old.is_empty() {
            verdict.findings.push(workloads_finding(
                &old.name,
                &on_old,
                |workloads, pods| format!("{workloads} ({pods}) still {} sidecars of {}", run(workloads), old.name),
                "They work now. Completing the upgrade removes their istiod, and within a day their calls fail.",
                moves(lens, &old.name, &new.name, &on_old),
            ));
        }
        Ok(verdict)
    },
};

/// What takes workloads from one revision to another: tags and labels first, because a restart alone gives them the
/// revision that their namespace asks for, or none.
fn moves(lens: &Lens<'_>, from: &str, to: &str, workloads: &[&Workload<'_>]) -> Vec<Step> {
    // Without the webhooks no tag is known; the labels are moved all the same.
    let tags = lens.injectors().map(tags).unwrap_or_default();
    let of_tags: Vec<_> = tags.iter().filter(|tag| tag.revision == from).collect();
    let mut steps: Vec<Step> = of_tags.iter().map(|tag| set_tag(&tag.name, to)).collect();
    let stays = |label: &str| label == to || tags.iter().any(|tag| tag.name == label);
    let namespaces: BTreeSet<&str> = workloads.iter().map(|workload| workload.namespace).collect();
    let labelled = |name: &str| lens.namespace_labels(name).and_then(|labels| labels.get(REV)).map(String::as_str);
    let others = lens.namespaces().into_iter().flatten().map(|namespace| namespace.metadata.name.as_str());
    let others = others.filter(|name| labelled(name) == Some(from) && !lens.is_managed(name));
    for name in others.chain(namespaces.iter().copied()).collect::<BTreeSet<_>>() {
        let Some(labels) = lens.namespace_labels(name) else { continue };
        if labels.contains_key(INJECTION) {
            steps.push(unlabel_namespace(name, INJECTION));
        }
        if !labelled(name).is_some_and(stays) {
            steps.push(label_namespace(name, to));
        }
    }
    steps.extend(restart(workloads.iter().copied()));
    steps
}

/// The verb for `1 workload` or `2 workloads`.
fn run(workloads: &str) -> &'static str {
    if workloads == "1 workload" { "runs" } else { "run" }
}

fn workloads_finding<'a>(
    revision: &str,
    workloads: &[&Workload<'a>],
    summary: impl Fn(&str, &str) -> String,
    detail: &str,
    steps: Vec<Step>,
) -> Finding {
    let pods = workloads.iter().map(|w| pods_on(w, revision)).sum();
    let namespaces = workloads.iter().map(|w| w.namespace).collect::<BTreeSet<_>>().len();
    let mut finding = Finding::new(
        Subject::cluster("Revision", revision),
        summary(&count(workloads.len(), "workload"), &count(pods, "pod")),
        detail,
    )
    .key(KeyKind::Revision, revision)
    .impact(Impact { namespaces, workloads: workloads.len(), pods })
    .remedy(Remedy::new("restart them on an installed revision", steps));
    for workload in workloads {
        finding = finding.related(&subject(workload), "runs sidecars of that revision");
    }
    if let Some(first) = workloads.first() {
        finding = finding.evidence(
            SourceId::Pods,
            format!("{}/{}/{}", first.namespace, first.kind.to_lowercase(), first.name),
            "annotation sidecar.istio.io/status, revision",
            revision,
            Some("an installed revision"),
        );
    }
    finding
}

static PODS_ON_ABSENT: Check = Check {
    code: "UPG04",
    name: "pods-on-absent-revision",
    title: "No pod runs a sidecar of a revision that is not installed",
    area: Area::Upgrade,
    severity: Severity::Error,
    inputs: WITH_WORKLOADS,
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
    ],
    docs: "## What it means
Pods run sidecars of a revision whose istiod is gone. They get no new configuration, so no new routes and endpoints. Their certificates expire 24 hours after the last renewal: then calls between them and the rest of the mesh fail.

## Why it happens on AKS
An upgrade was completed or rolled back while workloads were still on the other revision. `az` does not check that.

## How we know
The revision that injected each pod (annotation `sidecar.istio.io/status`) is compared with the installed revisions.

## What to do
Point the namespaces, or the tag, to an installed revision, then restart the workloads. A restart alone would take them out of the mesh.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-minor-revision-upgrade>",
    run: pods_on_absent,
};

fn pods_on_absent(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let workloads = lens.workloads()?;
    let mut gone: BTreeMap<String, Vec<&Workload<'_>>> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for workload in workloads {
        if workload.injected_pods() == 0 || !is_users(lens, workload) {
            continue;
        }
        verdict.examined += 1;
        for revision in workload.revisions() {
            if AsmRevision::parse(revision).is_some() && !revisions.iter().any(|r| r.name == revision) {
                gone.entry(revision.to_owned()).or_default().push(workload);
            }
        }
    }
    for (revision, workloads) in gone {
        let steps = recommended(revisions).map(|target| moves(lens, &revision, target, &workloads)).unwrap_or_default();
        let mut finding = workloads_finding(
            &revision,
            &workloads,
            |workloads, pods| {
                format!("{workloads} ({pods}) {} sidecars of {revision}, which is not installed", run(workloads))
            },
            "They get no new routes or endpoints. Within 24 hours their certificates expire, and their calls fail.",
            steps,
        );
        finding = finding.evidence(
            SourceId::SystemDeployments,
            format!("namespace/{}", crate::sources::SYSTEM_NAMESPACE),
            "installed revisions",
            names(revisions.iter().map(|r| r.name.as_str())),
            None,
        );
        verdict.findings.push(finding);
    }
    Ok(verdict)
}
