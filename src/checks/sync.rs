//! PRX: which proxies are not connected to istiod, and which ones did not take what it sent.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::remedies::{count, names, restart, subject, workload_key};
use super::stranded::label;
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy::PROXY_CONTAINER;
use crate::mesh::sync::{Row, State};
use crate::mesh::workload::Workload;
use crate::model::age;
use crate::snapshot::{SourceId, StateKind};
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&NOT_CONNECTED, &STALE, &TWICE];

/// What is not acknowledged for longer than this will not be by itself: istiod notices within 40 seconds when a
/// connection is dead (`pkg/keepalive/options.go` in istio/istio).
const LONG: SignedDuration = SignedDuration::from_mins(5);
/// From this many stale proxies on an istiod is suspected, if they are at least half of those it has.
const MANY: usize = 5;

/// Pods and owners, to name a workload where they were read.
const PODS: &[SourceId] = &[
    SourceId::Pods,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
    SourceId::Namespaces,
    SourceId::ReplicaSets,
    SourceId::Jobs,
    SourceId::CronJobs,
];

static STALE: Check = Check {
    code: "PRX03",
    name: "proxy-stale",
    title: "Proxies acknowledge what istiod sends",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: &[SourceId::Xds],
    uses: PODS,
    docs: "## What it means
istiod sent configuration to a proxy, and the proxy has not said that it took it. It goes on with what it had: changes of routes, endpoints and certificates have not arrived.

## Why it happens on AKS
The pod has too little CPU or hangs, so that Envoy does not get to it. Or istiod has too much to do: then many proxies of the same istiod pod are stale.

## How we know
Every istiod is asked for the last configuration it sent to each proxy and the last one that was acknowledged, per type. What was sent within the last 30 seconds does not count (`--grace` of `proxy-status`); after five minutes it is an error, because a connection that is dead would have been closed long before.

## What to do
Read the proxy's log and look at the CPU of its pod; restart the workload. When one istiod pod has many stale proxies, look at that pod.

## What else looks like it
A proxy that refuses what was sent is PRX11, one without a connection PRX12.

## Sources
<https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/>, <https://learn.microsoft.com/azure/aks/istio-scale>, `pilot/pkg/xds/statusgen.go` in <https://github.com/istio/istio>",
    run: stale,
};

static NOT_CONNECTED: Check = Check {
    code: "PRX12",
    name: "proxy-not-connected",
    title: "Every running proxy is connected to istiod",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: &[
        SourceId::Xds,
        SourceId::SystemPods,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: &[SourceId::ReplicaSets, SourceId::Jobs, SourceId::CronJobs],
    docs: "## What it means
The proxy of a pod runs, and no istiod has a connection from it. It keeps the configuration it has; nothing that changes reaches it, and its certificate, which lasts 24 hours, is not renewed. After that its calls fail. A pod that starts so does not become ready.

## Why it happens on AKS
No istiod of its revision runs or is reachable: the revision was removed, its Service has no endpoints, a NetworkPolicy or firewall is in front of port 15012. Or the two do not trust each other: the root certificate in the namespace is not istiod's.

## How we know
Every istiod of every revision is asked which proxies are connected, and the pods are compared with that. A pod counts when its container `istio-proxy` has run for a minute and its proxy is of one of the add-on's revisions. Where an istiod of the revision did not answer, its proxies are unknown and not reported here.

## What to do
If the revision of the proxy is not installed any more (UPG04), point its namespace to an installed revision and restart the workload. Otherwise read the proxy's log, which says why the connection to istiod fails: `kubectl logs POD -n NAMESPACE -c istio-proxy --tail=100`.

## What else looks like it
A proxy that is connected and not up to date is PRX03 or PRX11. Pods without a proxy are INJ05.

## Sources
<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>, <https://istio.io/latest/docs/ops/diagnostic-tools/proxy-cmd/>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>",
    run: not_connected,
};

static TWICE: Check = Check {
    code: "PRX13",
    name: "proxy-connected-twice",
    title: "Every proxy has one connection to istiod",
    area: Area::Proxies,
    severity: Severity::Info,
    inputs: &[SourceId::Xds],
    uses: PODS,
    docs: "## What it means
istiod has more than one connection from the same proxy, and has had for minutes. Everything is sent to each of them. Only the newest one is judged.

## Why it happens on AKS
A proxy that connects anew, as it does every half hour, leaves its old connection behind for seconds. For longer: something between the pod and istiod keeps a connection open whose other end is gone, or a second program in the pod speaks xDS, such as a gRPC application without a proxy of its own.

## How we know
The connections that every istiod lists are counted by proxy. istiod closes a dead connection within 40 seconds; what has lasted for five minutes is reported.

## What to do
Nothing, where a second program is meant to be there. Otherwise restart the workload.

## Sources
<https://istio.io/latest/blog/2021/proxyless-grpc/>, `pkg/keepalive/options.go` and `pilot/pkg/xds/debug.go` in <https://github.com/istio/istio>",
    run: twice,
};

/// Rows by the workload, or the pod where that is not known.
pub(super) struct Group<'r, 'a> {
    pub(super) workload: Option<&'r Workload<'a>>,
    pub(super) rows: Vec<&'r Row<'a>>,
}

impl<'r, 'a> Group<'r, 'a> {
    pub(super) fn subject(&self) -> Subject {
        match (self.workload, self.rows.first()) {
            (Some(workload), _) => subject(workload),
            (None, Some(row)) => Subject::new("Pod", row.namespace, row.name),
            (None, None) => Subject::default(),
        }
    }

    pub(super) fn label(&self) -> String {
        match (self.workload, self.rows.first()) {
            (Some(workload), _) => label(workload),
            (None, Some(row)) => format!("pod/{} in {}", row.name, row.namespace),
            (None, None) => String::new(),
        }
    }

    /// `1 of 2 pods`, or nothing where the pod is the subject.
    pub(super) fn of_pods(&self) -> String {
        match self.workload {
            Some(workload) => format!("{} of {}", self.rows.len(), count(workload.pods.len(), "pod")),
            None => "the pod".to_owned(),
        }
    }

    pub(super) fn impact(&self) -> Impact {
        Impact { namespaces: 1, workloads: usize::from(self.workload.is_some()), pods: self.rows.len() }
    }

    /// What joins it with other findings about the same proxies.
    pub(super) fn keys(&self, finding: Finding) -> Finding {
        let revisions: BTreeSet<&str> = self.rows.iter().filter_map(|row| row.revision.as_deref()).collect();
        let finding = match (self.workload, self.rows.first()) {
            (Some(workload), _) => finding.key(KeyKind::Workload, workload_key(workload)),
            (None, Some(row)) => finding.key(KeyKind::Object, format!("Pod/{}/{}", row.namespace, row.name)),
            (None, None) => finding,
        };
        let finding = self
            .rows
            .first()
            .map(|row| row.namespace)
            .into_iter()
            .fold(finding, |finding, namespace| finding.key(KeyKind::Namespace, namespace));
        revisions.into_iter().fold(finding, |finding, revision| finding.key(KeyKind::Revision, revision))
    }
}

/// Groups rows that can be judged by workload, in the order of names. A pod that has ended is connected for moments yet,
/// and so is one that is gone from a list of pods that came whole.
pub(super) fn groups<'r, 'a>(
    lens: &Lens<'a>,
    workloads: &'r [Workload<'a>],
    rows: impl IntoIterator<Item = &'r Row<'a>>,
) -> Vec<Group<'r, 'a>> {
    let whole = lens.snapshot().pods.state().is_complete();
    let mut groups: BTreeMap<(&str, &str, &str), Group<'r, 'a>> = BTreeMap::new();
    for row in rows.into_iter().filter(|row| !row.ending && (row.pod.is_some() || !whole)) {
        let workload = row.workload.and_then(|index| workloads.get(index));
        let key =
            workload.map_or((row.namespace, "Pod", row.name), |w| (w.namespace, w.kind.as_str(), w.name.as_str()));
        groups.entry(key).or_insert_with(|| Group { workload, rows: Vec::new() }).rows.push(row);
    }
    groups.into_values().collect()
}

/// How much groups are together.
pub(super) fn impact(groups: &[Group<'_, '_>]) -> Impact {
    let namespaces: BTreeSet<&str> = groups.iter().flat_map(|group| &group.rows).map(|row| row.namespace).collect();
    Impact {
        namespaces: namespaces.len(),
        workloads: groups.iter().filter(|group| group.workload.is_some()).count(),
        pods: groups.iter().map(|group| group.rows.len()).sum(),
    }
}

/// What was found among how many proxies. Without a finding, those whose state is unknown keep a check from passing.
pub(super) fn finish(lens: &Lens<'_>, findings: Vec<Finding>) -> Result<Verdict, Missing> {
    let sync = lens.sync()?;
    if findings.is_empty() && sync.rows.iter().any(|row| row.state == State::Unknown && !row.ending) {
        return Err(Missing { source: SourceId::Xds, kind: StateKind::Collected });
    }
    Ok(Verdict { examined: sync.rows.iter().filter(|row| row.state != State::Unknown).count(), findings })
}

/// Workloads, as far as they were read.
pub(super) fn workloads<'a>(lens: &Lens<'a>) -> &'a [Workload<'a>] {
    // Without them the pods are named instead.
    lens.workloads().unwrap_or_default()
}

/// A pod as an object of evidence.
pub(super) fn pod_object(row: &Row<'_>) -> String {
    format!("{}/pod/{}", row.namespace, row.name)
}

/// Shows the log of a proxy.
pub(super) fn log(row: &Row<'_>, text: &str) -> Step {
    let command = ["kubectl", "logs", row.name, "-n", row.namespace, "-c", PROXY_CONTAINER, "--tail=50"];
    Step::command(Risk::Read, text, command)
}

/// `clusters` for `CDS`.
fn words(short: &str) -> &str {
    match short {
        "CDS" => "clusters",
        "LDS" => "listeners",
        "EDS" => "endpoints",
        "RDS" => "routes",
        "ECDS" => "extensions",
        "SDS" => "secrets",
        other => other,
    }
}

/// `listeners and routes`.
pub(super) fn types<'r>(rows: impl IntoIterator<Item = &'r &'r Row<'r>>) -> String {
    let kinds: BTreeSet<(usize, &str)> =
        rows.into_iter().flat_map(|row| row.causing()).map(|one| (one.kind.rank(), words(one.kind.short()))).collect();
    let words: Vec<&str> = kinds.into_iter().map(|(_, word)| word).collect();
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => "configuration".to_owned(),
    }
}

fn not_connected(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let sync = lens.sync()?;
    lens.need(&[SourceId::SystemPods])?;
    let workloads = lens.workloads()?;
    let lost = |row: &&Row<'_>| row.state == State::NotConnected;
    let connected: BTreeSet<&str> =
        sync.rows.iter().filter(|row| !lost(row)).filter_map(|row| row.revision.as_deref()).collect();
    let revisions: BTreeSet<&str> = sync.rows.iter().filter(lost).filter_map(|row| row.revision.as_deref()).collect();
    let mut findings = Vec::new();
    let mut each = Vec::new();
    for revision in revisions {
        let rows = sync.rows.iter().filter(lost).filter(|row| row.revision.as_deref() == Some(revision));
        let groups = groups(lens, workloads, rows);
        match groups.len() {
            2.. if !connected.contains(revision) => findings.push(none_connected(revision, &groups)),
            _ => each.extend(groups),
        }
    }
    findings.extend(each.iter().map(lost_workload));
    finish(lens, findings)
}

const COST: &str =
    "Nothing that changes reaches them, and when their certificates end, within 24 hours, their calls fail.";

fn none_connected(revision: &str, groups: &[Group<'_, '_>]) -> Finding {
    let impact = impact(groups);
    let mut finding = Finding::new(
        Subject::cluster("Revision", revision),
        format!("none of the {} of {revision} is connected to istiod", proxies(impact.pods)),
        COST,
    )
    .key(KeyKind::Revision, revision)
    .impact(impact);
    for group in groups {
        finding = finding.related(&group.subject(), "is not connected");
    }
    // All in one namespace: what is wrong with that namespace may be the reason.
    if impact.namespaces == 1 {
        finding = groups.iter().fold(finding, |finding, group| group.keys(finding));
    }
    let rows: Vec<&&Row<'_>> = groups.iter().flat_map(|group| &group.rows).collect();
    let service = format!("kubernetes.io/service-name=istiod-{revision}");
    let mut steps = vec![
        Step::command(
            Risk::Read,
            "shows the addresses behind istiod's Service",
            ["kubectl", "get", "endpointslices", "-n", SYSTEM_NAMESPACE, "-l", &service],
        ),
        Step::command(
            Risk::Read,
            "shows what may keep proxies from port 15012 of istiod",
            ["kubectl", "get", "networkpolicies", "-A"],
        ),
    ];
    steps.extend(
        rows.first().map(|row| log(row, "shows the log of one of the proxies: it says why the connection fails")),
    );
    finding = finding.remedy(Remedy::new("find out what is between the proxies and istiod", steps));
    rows.iter().take(3).fold(finding, |finding, row| unlisted(finding, row))
}

fn proxies(number: usize) -> String {
    if number == 1 { "1 proxy".to_owned() } else { format!("{number} proxies") }
}

fn unlisted(finding: Finding, row: &Row<'_>) -> Finding {
    let listed = "connections that istiods list";
    finding.evidence(SourceId::Xds, pod_object(row), listed, "none", Some("1"))
}

fn lost_workload(group: &Group<'_, '_>) -> Finding {
    let one = group.rows.len() == 1;
    let all = group.workload.is_some_and(|workload| workload.pods.len() == group.rows.len());
    let revision = group.rows.first().and_then(|row| row.revision.as_deref()).unwrap_or_default();
    let place = group.rows.first().map_or("", |row| row.namespace);
    let mut steps: Vec<Step> = group
        .rows
        .first()
        .map(|row| log(row, "shows the proxy's log: it says why the connection to istiod fails"))
        .into_iter()
        .collect();
    steps.push(Step::command(
        Risk::Read,
        format!("shows what may keep pods from port 15012 of istiod-{revision} in {SYSTEM_NAMESPACE}"),
        ["kubectl", "get", "networkpolicies", "-n", place],
    ));
    steps.extend(restart(group.workload));
    let detail = if one {
        "Nothing that changes reaches it, and when its certificate ends, within 24 hours, its calls fail."
    } else {
        COST
    };
    let mut finding = Finding::new(
        group.subject(),
        format!(
            "{}: the {} of {} {} not connected to istiod",
            group.label(),
            if one { "proxy" } else { "proxies" },
            group.of_pods(),
            if one { "is" } else { "are" },
        ),
        detail,
    )
    .impact(group.impact())
    .remedy(Remedy::new(
        if all {
            "find the reason in the proxy's log"
        } else {
            "find the reason in the proxy's log, or replace the pods"
        },
        steps,
    ));
    finding = group.keys(finding);
    group.rows.iter().take(3).fold(finding, |finding, row| unlisted(finding, row))
}

fn stale(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let sync = lens.sync()?;
    let workloads = workloads(lens);
    let is_stale = |row: &&Row<'_>| row.state == State::Stale;
    let mut by_istiod: BTreeMap<(&str, &str), (usize, Vec<&Row<'_>>)> = BTreeMap::new();
    for row in &sync.rows {
        let Some(istiod) = row.istiod else { continue };
        let (all, stale) = by_istiod.entry((istiod.revision.as_str(), istiod.pod.as_str())).or_default();
        *all += 1;
        if is_stale(&row) {
            stale.push(row);
        }
    }
    by_istiod.retain(|_, (all, stale)| stale.len() >= MANY && stale.len() * 2 >= *all);
    let suspects: BTreeSet<&str> = by_istiod.keys().map(|(_, pod)| *pod).collect();
    let others = sync.rows.iter().filter(is_stale);
    let others = others.filter(|row| !row.istiod.is_some_and(|istiod| suspects.contains(istiod.pod.as_str())));
    let mut findings: Vec<Finding> = Vec::new();
    let revisions: BTreeSet<&str> = by_istiod.keys().map(|(revision, _)| *revision).collect();
    for revision in revisions {
        let slow: Vec<_> =
            by_istiod.iter().filter(|((of, _), _)| *of == revision).map(|((_, pod), found)| (*pod, found)).collect();
        findings.push(slow_istiod(lens, workloads, revision, &slow));
    }
    findings.extend(groups(lens, workloads, others).iter().map(stale_workload));
    finish(lens, findings)
}

fn severity(rows: &[&Row<'_>]) -> Severity {
    let oldest = rows.iter().filter_map(|row| row.age()).max();
    if oldest.is_some_and(|age| age >= LONG) { Severity::Error } else { Severity::Warning }
}

fn unacknowledged(finding: Finding, row: &Row<'_>) -> Finding {
    let sent = row.age().map_or_else(
        || "sent, not acknowledged".to_owned(),
        |age| format!("sent {} ago, not acknowledged", age::words(age)),
    );
    let kinds: Vec<&str> = row.causing().map(|one| one.kind.short()).collect();
    finding.evidence(SourceId::Xds, pod_object(row), kinds.join(","), sent, Some("acknowledged"))
}

fn slow_istiod(
    lens: &Lens<'_>,
    workloads: &[Workload<'_>],
    revision: &str,
    slow: &[(&str, &(usize, Vec<&Row<'_>>))],
) -> Finding {
    let rows: Vec<&Row<'_>> = slow.iter().flat_map(|(_, (_, stale))| stale.iter().copied()).collect();
    let all: usize = slow.iter().map(|(_, (all, _))| all).sum();
    let pods = names(slow.iter().map(|(pod, _)| *pod));
    let selector = format!("app=istiod,istio.io/rev={revision}");
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows what istiod uses; compare with its limits and with the other pods",
        ["kubectl", "top", "pods", "-n", SYSTEM_NAMESPACE, "-l", &selector],
    )];
    for (pod, _) in slow {
        steps.push(Step::command(
            Risk::Read,
            "shows what it is busy with",
            ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, pod, "--tail=50"],
        ));
    }
    for (pod, _) in slow {
        steps.push(Step::command(
            Risk::Restart,
            "replaces it; its proxies connect to another istiod meanwhile",
            ["kubectl", "delete", "pod", "-n", SYSTEM_NAMESPACE, pod],
        ));
    }
    let mut finding = Finding::new(
        Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{revision}")),
        format!("istiod of {revision}: {} of {} of {pods} have not acknowledged what it sent", rows.len(), proxies(all)),
        "They have one istiod in common, so the reason is there and not in the proxies. Changes reach them late or not at all.",
    )
    .key(KeyKind::Revision, revision)
    .at_most(severity(&rows))
    .impact(impact(&groups(lens, workloads, rows.iter().copied())))
    .remedy(Remedy::new("relieve or replace that istiod", steps));
    for (pod, (all, stale)) in slow {
        finding = finding.evidence(
            SourceId::Xds,
            format!("{SYSTEM_NAMESPACE}/pod/{pod}"),
            "stale proxies",
            format!("{} of {all}", stale.len()),
            Some("none"),
        );
    }
    rows.iter().take(3).fold(finding, |finding, row| unacknowledged(finding, row))
}

fn stale_workload(group: &Group<'_, '_>) -> Finding {
    let one = group.rows.len() == 1;
    let mut steps: Vec<Step> =
        group.rows.first().map(|row| log(row, "shows the log of the proxy")).into_iter().collect();
    if let Some(row) = group.rows.first() {
        steps.push(Step::command(
            Risk::Read,
            "shows whether its CPU is at its limit",
            ["kubectl", "top", "pod", row.name, "-n", row.namespace, "--containers"],
        ));
    }
    steps.extend(restart(group.workload));
    let finding = Finding::new(
        group.subject(),
        format!(
            "{}: the {} of {} {} not acknowledged {}",
            group.label(),
            if one { "proxy" } else { "proxies" },
            group.of_pods(),
            if one { "has" } else { "have" },
            types(&group.rows),
        ),
        if one {
            "It works with what it had before; the change has not arrived."
        } else {
            "They work with what they had before; the change has not arrived."
        },
    )
    .at_most(severity(&group.rows))
    .impact(group.impact())
    .remedy(Remedy::new("see what keeps the proxy from it, or restart it", steps));
    let finding = group.keys(finding);
    group.rows.iter().take(3).fold(finding, |finding, row| unacknowledged(finding, row))
}

fn twice(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let sync = lens.sync()?;
    let workloads = workloads(lens);
    let lasting = |row: &&Row<'_>| row.twice.as_ref().and_then(|twice| twice.since).is_some_and(|since| since >= LONG);
    let groups = groups(lens, workloads, sync.rows.iter().filter(lasting));
    let findings = groups.iter().map(|group| {
        let mut finding = Finding::new(
            group.subject(),
            format!("{}: istiod has more than one connection from {}", group.label(), group.of_pods()),
            "Everything is sent to each of them. One is dead, or a second program in the pod speaks to istiod.",
        )
        .impact(group.impact())
        .remedy(Remedy::new("restart it, unless a second program is meant to be there", restart(group.workload)));
        for row in group.rows.iter().take(3) {
            let Some(twice) = &row.twice else { continue };
            let since = twice.since.map_or_else(String::new, |since| format!(", for {}", age::words(since)));
            finding = finding.evidence(
                SourceId::Xds,
                pod_object(row),
                "connections",
                format!("{} to {}{since}", twice.connections, names(twice.istiods.iter().copied())),
                Some("1"),
            );
        }
        group.keys(finding)
    });
    finish(lens, findings.collect())
}
