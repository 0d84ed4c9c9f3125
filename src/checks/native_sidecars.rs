//! NSC: sidecars as init containers.

use std::collections::{BTreeMap, BTreeSet};

use super::cni::{impact, is_rolling};
use super::remedies::{count, names, restart, subject, upgrade_pool, workload_key};
use super::stranded::VERDICTS_USE;
use crate::engine::finding::KeyKind;
use crate::engine::lens::OWNERS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::Revision;
use crate::mesh::native::{
    self, ANNOTATION, Because, Expectation, FIRST_KUBERNETES, Setting, VARIABLE, expectation, is_default_for_all,
    is_old, setting,
};
use crate::mesh::proxy::{ProxyKind, is_gateway_template};
use crate::mesh::redirection::{is_virtual, settled};
use crate::mesh::workload::Workload;
use crate::model::{Node, Pod};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] =
    &[&OTHER_KIND, &MIXED_FLEET, &OLD_NODES, &super::restart_policy::RESTART_POLICY, &OVERRIDE];

/// Sources of an expectation, and of the pods that it is compared with.
const WITH_WORKLOADS: &[SourceId] = &[
    SourceId::Version,
    SourceId::Nodes,
    SourceId::SystemPods,
    SourceId::SystemDeployments,
    SourceId::Pods,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
    SourceId::Namespaces,
];

/// What decides beside istiod's own settings.
struct Surroundings<'a> {
    server: Option<(u32, u32)>,
    /// None when only some were read.
    nodes: Option<&'a [Node]>,
}

impl<'a> Surroundings<'a> {
    fn new(lens: &Lens<'a>) -> Result<Self, Missing> {
        lens.need(&[SourceId::Version, SourceId::Nodes])?;
        let snapshot = lens.snapshot();
        let version = snapshot.version.items().and_then(<[_]>::first);
        Ok(Self {
            server: version.and_then(|version| native::kubernetes_minor(&version.git_version)),
            nodes: snapshot.nodes.items().filter(|_| snapshot.nodes.state().is_complete()),
        })
    }

    fn expectation(&self, revision: &Revision<'_>) -> Expectation {
        expectation(revision, self.server, self.nodes)
    }

    fn old_nodes(&self) -> Vec<&'a Node> {
        self.nodes.unwrap_or_default().iter().filter(|node| is_old(node) && !is_virtual(node)).collect()
    }
}

fn word(kind: ProxyKind) -> &'static str {
    if kind == ProxyKind::Native { "native" } else { "classic" }
}

/// What a kind of sidecar means to the application.
fn meaning(kind: ProxyKind) -> &'static str {
    match kind {
        ProxyKind::Native => "init containers, which start before the application and end after it",
        _ => "ordinary containers, which may start after the application and end before it",
    }
}

/// Pods with a sidecar of a revision that did not choose its kind themselves.
fn sidecars<'w>(workload: &'w Workload<'_>, revision: &'w str) -> impl Iterator<Item = (&'w Pod, ProxyKind)> {
    workload.pods.iter().filter_map(move |(pod, proxy)| {
        let proxy = proxy.as_ref()?;
        let sidecar = matches!(proxy.kind, ProxyKind::Native | ProxyKind::Classic);
        let follows = sidecar && proxy.revision.as_deref() == Some(revision);
        (follows && pod.metadata.annotation(ANNOTATION).is_none()).then_some((*pod, proxy.kind))
    })
}

fn with_sidecars<'a>(lens: &Lens<'a>, revision: &str) -> Result<Vec<&'a Workload<'a>>, Missing> {
    // A run-to-completion pod is not restarted; its next run is right.
    let restarts = |workload: &&Workload<'_>| !matches!(workload.kind.as_str(), "Job" | "CronJob");
    let all = lens.workloads()?.iter().filter(restarts).filter(|workload| !lens.is_managed(workload.namespace));
    Ok(all.filter(|workload| sidecars(workload, revision).next().is_some()).collect())
}

/// Workloads with a pod of this kind, unless they are being restarted into the other one.
fn with_kind<'a>(
    lens: &Lens<'_>,
    workloads: &[&'a Workload<'a>],
    revision: &str,
    kind: ProxyKind,
) -> Vec<&'a Workload<'a>> {
    let is_kind = |workload: &Workload<'_>, pod: &Pod| {
        sidecars(workload, revision).any(|(found, has)| std::ptr::eq(found, pod) && has == kind)
    };
    workloads
        .iter()
        .filter(|workload| sidecars(workload, revision).any(|(_, has)| has == kind))
        .filter(|workload| !is_rolling(workload, lens.now(), |pod| is_kind(workload, pod)))
        .copied()
        .collect()
}

fn istiod_object(revision: &str) -> String {
    format!("{SYSTEM_NAMESPACE}/deployment/istiod-{revision}")
}

fn setting_text(revision: &Revision<'_>) -> String {
    match setting(revision) {
        Setting::Value(value) => value.to_owned(),
        Setting::Absent => "absent".to_owned(),
        Setting::Unclear => "differs between its pods".to_owned(),
    }
}

fn because_text(because: Because) -> &'static str {
    match because {
        Because::SwitchedOn => "istiod is set to inject native ones",
        Because::SwitchedOff => "istiod is set to inject classic ones",
        Because::OldServer => "the cluster is older than Kubernetes 1.33",
        Because::OldRevision => "the revision is older than asm-1-27",
        Because::OldNodes => "a node is older than Kubernetes 1.33",
        Because::Default => "native ones are the default on this cluster",
        Because::Undecided => "it is not known why",
    }
}

static OTHER_KIND: Check = Check {
    code: "NSC01",
    name: "sidecars-of-other-kind",
    title: "Sidecars are of the kind that their revision injects now",
    area: Area::NativeSidecars,
    severity: Severity::Warning,
    inputs: WITH_WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
A sidecar is either native (an init container that keeps running: it starts before the application and ends after it) or classic (a container beside the application). Here a revision injects one kind, and running workloads have the other one: their next restart changes how they start and stop.

## Why it happens on AKS
Pods keep what they were created with. The kind changes with the upgrade of the cluster to Kubernetes 1.33, of the last node pool to it, or of the add-on to asm-1-29, and nothing is restarted for it. asm-1-27 and asm-1-28 use native sidecars only where they were freshly installed. Clusters that used the preview flag `IstioNativeSidecarModePreview` keep what they had; that is only an info.

## How we know
The variable `ENABLE_NATIVE_SIDECARS` of istiod, the versions of the API server and of all nodes, and the add-on's table tell which kind the next pods get. The running pods have `istio-proxy` among their init containers or among their containers. Pods that choose for themselves by annotation are left out, and so is a revision whose istiod was replaced in the last ten minutes.

## What to do
Restart the workloads at a time that suits you. A Job with a classic sidecar does not end by itself; with a native one it does.

## What else looks like it
When nodes older than 1.33 are the reason for classic sidecars, the finding is NSC03. When it is not known what the next pods get, a mixed fleet is NSC02.

## Sources
<https://learn.microsoft.com/azure/aks/istio-native-sidecar>, <https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/>, `pkg/kube/inject/webhook.go` in istio/istio",
    run: other_kind,
};

fn other_kind(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let surroundings = Surroundings::new(lens)?;
    let mut verdict = Verdict::default();
    for revision in lens.revisions()? {
        let workloads = with_sidecars(lens, &revision.name)?;
        let expected = surroundings.expectation(revision);
        let Some(kind) = expected.kind else { continue };
        verdict.examined += workloads.len();
        let settled = revision.istiods.iter().all(|pod| settled(&pod.metadata, lens.now()));
        if workloads.is_empty() || expected.because == Because::OldNodes || !settled {
            continue;
        }
        let other = if kind == ProxyKind::Native { ProxyKind::Classic } else { ProxyKind::Native };
        let wrong = with_kind(lens, &workloads, &revision.name, other);
        if !wrong.is_empty() {
            verdict.findings.push(left_behind(revision, expected.because, kind, other, &wrong));
        } else if expected.because == Because::SwitchedOff
            && is_default_for_all(&revision.name, surroundings.server)
            && surroundings.nodes.is_some()
            && surroundings.old_nodes().is_empty()
        {
            verdict.findings.push(switched_off(revision, workloads.len()));
        }
    }
    Ok(verdict)
}

fn left_behind(
    revision: &Revision<'_>,
    because: Because,
    kind: ProxyKind,
    other: ProxyKind,
    wrong: &[&Workload<'_>],
) -> Finding {
    let name = &revision.name;
    let pods: Vec<&Pod> = wrong
        .iter()
        .flat_map(|workload| sidecars(workload, name).filter(|(_, kind)| *kind == other).map(|(pod, _)| pod))
        .collect();
    let verb = if wrong.len() == 1 { "has" } else { "have" };
    let istiod_since = revision.istiods.iter().filter_map(|pod| pod.metadata.creation_timestamp).min();
    let newest = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp);
    let older = newest.and_then(|pod| pod.metadata.creation_timestamp) < istiod_since;
    let since = if older {
        "These pods were created before istiod last started"
    } else {
        "Some pods are newer than istiod: a node older than 1.33 explains that, too"
    };
    let mut finding = Finding::new(
        Subject::cluster("Revision", name.clone()),
        format!(
            "{} {verb} {} sidecars, but {name} injects {} ones",
            count(wrong.len(), "workload"),
            word(other),
            word(kind)
        ),
        format!("A restart makes them {}: {}. {since}.", meaning(kind), because_text(because)),
    )
    .key(KeyKind::Revision, name)
    .impact(impact(wrong, pods.len()))
    .remedy(Remedy::new("restart them", restart(wrong.iter().copied())))
    .evidence(
        SourceId::SystemPods,
        istiod_object(name),
        format!("variable {VARIABLE}"),
        setting_text(revision),
        None,
    );
    if let Some(pod) = newest {
        let created = pod
            .metadata
            .creation_timestamp
            .map_or_else(|| "unknown".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string());
        let object = format!("{}/pod/{}", pod.metadata.namespace, pod.metadata.name);
        finding = finding.evidence(
            SourceId::Pods,
            object,
            "kind of sidecar, created",
            format!("{}, {created}", word(other)),
            Some(word(kind)),
        );
    }
    wrong
        .iter()
        .fold(finding, |finding, workload| finding.related(&subject(workload), "has sidecars of the other kind"))
}

fn switched_off(revision: &Revision<'_>, workloads: usize) -> Finding {
    let name = &revision.name;
    Finding::new(
        Subject::cluster("Revision", name.clone()),
        format!("{name} injects classic sidecars although native is its default here"),
        format!(
            "It concerns {}. A cluster that once used the preview of native sidecars keeps its setting.",
            count(workloads, "workload")
        ),
    )
    .key(KeyKind::Revision, name)
    .at_most(Severity::Info)
    .evidence(
        SourceId::SystemPods,
        istiod_object(name),
        format!("variable {VARIABLE}"),
        setting_text(revision),
        Some("true"),
    )
    .remedy(Remedy::new(
        "see whether the preview flag is registered; AKS owns this setting",
        vec![Step::command(
            Risk::Read,
            "shows whether the subscription has the preview flag",
            [
                "az",
                "feature",
                "show",
                "--namespace",
                "Microsoft.ContainerService",
                "--name",
                "IstioNativeSidecarModePreview",
            ],
        )],
    ))
}

static MIXED_FLEET: Check = Check {
    code: "NSC02",
    name: "mixed-sidecars",
    title: "The sidecars of a revision are of one kind",
    area: Area::NativeSidecars,
    severity: Severity::Warning,
    inputs: WITH_WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
Some workloads of a revision have native sidecars and others classic ones. They start, stop and end Jobs differently, and what was tested with one kind is not tested with the other.

## Why it happens on AKS
The add-on or the nodes changed between the creation of these pods, and not all were restarted since. With asm-1-27 and asm-1-28 the kind depends on whether the revision was freshly installed, and that is written nowhere in the cluster.

## How we know
The running pods have `istio-proxy` among their init containers or among their containers. This check reports only where istiod's settings do not tell the kind of the next pods; otherwise it is NSC01.

## What to do
Restart the workloads that have the older kind. The newest pod shows what a restart gives.

## Sources
<https://learn.microsoft.com/azure/aks/istio-native-sidecar>",
    run: mixed_fleet,
};

fn mixed_fleet(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let surroundings = Surroundings::new(lens)?;
    let mut verdict = Verdict::default();
    for revision in lens.revisions()? {
        let name = &revision.name;
        let workloads = with_sidecars(lens, name)?;
        verdict.examined += workloads.len();
        // While istiod itself is being replaced, it is too early to say.
        if surroundings.expectation(revision).kind.is_some() || setting(revision) == Setting::Unclear {
            continue;
        }
        let all = workloads.iter().flat_map(|workload| sidecars(workload, name));
        let Some((newest, kind)) = all.max_by_key(|(pod, _)| pod.metadata.creation_timestamp) else { continue };
        let other = if kind == ProxyKind::Native { ProxyKind::Classic } else { ProxyKind::Native };
        let (with_other, with_newest) =
            (with_kind(lens, &workloads, name, other), with_kind(lens, &workloads, name, kind));
        if with_other.is_empty() {
            continue;
        }
        let pods =
            with_other.iter().flat_map(|workload| sidecars(workload, name)).filter(|(_, has)| *has == other).count();
        let finding = Finding::new(
            Subject::cluster("Revision", name.clone()),
            format!(
                "{name} has {} sidecars in {} and {} ones in {}",
                word(kind),
                count(with_newest.len(), "workload"),
                word(other),
                with_other.len()
            ),
            format!("The newest pod has a {} one: the others change at their next restart, and then start and stop differently.", word(kind)),
        )
        .key(KeyKind::Revision, name)
        .impact(impact(&with_other, pods))
        .remedy(Remedy::new("restart those of the older kind", restart(with_other.iter().copied())))
        .evidence(
            SourceId::SystemPods,
            istiod_object(name),
            format!("variable {VARIABLE}"),
            setting_text(revision),
            None,
        )
        .evidence(
            SourceId::Pods,
            format!("{}/pod/{}", newest.metadata.namespace, newest.metadata.name),
            "kind of sidecar of the newest pod",
            word(kind),
            None,
        );
        verdict.findings.push(
            with_other.iter().fold(finding, |finding, workload| {
                finding.related(&subject(workload), "has sidecars of the older kind")
            }),
        );
    }
    Ok(verdict)
}

static OLD_NODES: Check = Check {
    code: "NSC03",
    name: "nodes-hold-native-sidecars-back",
    title: "No node is too old for native sidecars",
    area: Area::NativeSidecars,
    severity: Severity::Warning,
    inputs: &[SourceId::Version, SourceId::Nodes, SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
The control plane has Kubernetes 1.33 or newer and the add-on would use native sidecars, but nodes are older. As long as one of them is there, all new pods of the mesh get classic sidecars, on all nodes.

## Why it happens on AKS
An upgrade of the control plane alone leaves the node pools at their version, and a stopped pool is easily forgotten. Pods that are created while pools are being upgraded get classic sidecars, too, and keep them.

## How we know
The version of each node's kubelet, and whether the revision would use native sidecars: by the add-on's table from asm-1-29 on, or because the variable is `auto`. A pool that has nodes of both kinds is being upgraded right now; then it is an info.

## What to do
Upgrade the node pools, then restart the workloads.

## What else looks like it
A virtual node reports a version of its own. It is left out here; istiod may still count it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-native-sidecar#check-prerequisites>, `pkg/kube/inject/webhook.go` in istio/istio",
    run: old_nodes,
};

fn old_nodes(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let surroundings = Surroundings::new(lens)?;
    let revisions = lens.revisions()?;
    let nodes = surroundings.nodes.unwrap_or_default();
    if surroundings.server.is_none_or(|server| server < FIRST_KUBERNETES) {
        return Ok(Verdict::default());
    }
    let mut verdict = Verdict { examined: nodes.len(), findings: Vec::new() };
    let old = surroundings.old_nodes();
    let is_default = |revision: &Revision<'_>| is_default_for_all(&revision.name, surroundings.server);
    let held: Vec<_> = revisions
        .iter()
        .filter(|revision| match surroundings.expectation(revision).because {
            Because::OldNodes => is_default(revision) || setting(revision) == Setting::Value("auto"),
            Because::SwitchedOff => is_default(revision),
            _ => false,
        })
        .collect();
    if old.is_empty() || held.is_empty() {
        return Ok(verdict);
    }
    // Told so, istiod would not follow the nodes by itself; AKS may still tell it otherwise once they are new.
    let only_told = held.iter().all(|revision| surroundings.expectation(revision).because == Because::SwitchedOff);
    let new_pools: BTreeSet<_> = nodes.iter().filter(|node| !is_old(node)).filter_map(Node::pool).collect();
    let all_upgrading = old.iter().all(|node| node.pool().is_some_and(|pool| new_pools.contains(pool)));
    let mut by_pool: BTreeMap<Option<&str>, Vec<&Node>> = BTreeMap::new();
    for node in &old {
        by_pool.entry(node.pool()).or_default().push(node);
    }
    let pools: Vec<_> = by_pool.keys().flatten().copied().collect();
    let place = match pools[..] {
        [] => names(old.iter().map(|node| node.metadata.name.as_str())),
        [pool] => format!("node pool {pool}"),
        _ => format!("node pools {}", names(pools.iter().copied())),
    };
    let verb = if old.len() == 1 { "prevents" } else { "prevent" };
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "nodes"),
        format!("{} older than 1.33 {verb} native sidecars: {place}", count(old.len(), "node")),
        "Until they are gone, new pods on all nodes get classic sidecars, which start late and keep Jobs from ending.",
    )
    .at_most(if only_told || all_upgrading { Severity::Info } else { Severity::Warning });
    for revision in &held {
        finding = finding.key(KeyKind::Revision, &revision.name).evidence(
            SourceId::SystemPods,
            istiod_object(&revision.name),
            format!("variable {VARIABLE}"),
            setting_text(revision),
            None,
        );
    }
    let version = lens.snapshot().version.items().and_then(<[_]>::first).map(|version| version.git_version.as_str());
    let version = version.map_or("<version>", |version| version.strip_prefix('v').unwrap_or(version));
    let mut steps = Vec::new();
    for (pool, nodes) in &by_pool {
        let kubelets: BTreeSet<_> = nodes.iter().map(|node| node.status.node_info.kubelet_version.as_str()).collect();
        let observed = format!("{} ({})", names(kubelets), count(nodes.len(), "node"));
        let object = pool.map_or_else(|| "nodes without a pool".to_owned(), |pool| format!("nodepool/{pool}"));
        finding = finding.evidence(SourceId::Nodes, object, "kubelet version", observed, Some("1.33 or newer"));
        steps.push(match pool {
            Some(pool) => upgrade_pool(pool, version),
            None => Step::text(
                Risk::Restart,
                format!(
                    "replace {} by nodes of Kubernetes {version}",
                    names(nodes.iter().map(|node| node.metadata.name.as_str()))
                ),
            ),
        });
    }
    steps.push(Step::text(
        Risk::Restart,
        "then restart the workloads of the mesh: pods created before have classic sidecars",
    ));
    verdict.findings.push(finding.remedy(Remedy::new("upgrade the node pools", steps)));
    Ok(verdict)
}

static OVERRIDE: Check = Check {
    code: "NSC05",
    name: "workload-chooses-other-sidecar",
    title: "No workload chooses another kind of sidecar than its revision",
    area: Area::NativeSidecars,
    severity: Severity::Info,
    inputs: &[
        SourceId::Version,
        SourceId::Nodes,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::Namespaces,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
    ],
    uses: VERDICTS_USE,
    docs: "## What it means
A workload's annotation `sidecar.istio.io/nativeSidecar` asks for another kind of sidecar than its revision injects: it starts and stops differently from the rest of the mesh.

## Why it happens on AKS
Somebody tried native sidecars on one workload, or kept one out because another webhook or the application did not get along with them. The annotation outlives its reason.

## How we know
The annotation of the pod template, compared with what the revision injects. Any value but `false` means native.

## What to do
Nothing, if it is meant. Otherwise remove the annotation from the workload's manifest.

## Sources
<https://istio.io/latest/docs/reference/config/annotations/>, `manifests/charts/istio-control/istio-discovery/files/injection-template.yaml` in istio/istio, <https://learn.microsoft.com/azure/aks/istio-native-sidecar>",
    run: overrides,
};

fn overrides(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let surroundings = Surroundings::new(lens)?;
    lens.rules()?;
    let expected: BTreeMap<_, _> = lens
        .revisions()?
        .iter()
        .filter_map(|revision| Some((revision.name.as_str(), surroundings.expectation(revision).kind?)))
        .collect();
    let mut verdict = Verdict::default();
    for workload in lens.workloads()? {
        let Some((meta, _)) = workload.template() else { continue };
        let revision = workload.next.revision.as_deref().filter(|_| workload.next.injected == Some(true));
        let Some(revision) = revision.filter(|_| !is_gateway_template(&meta.annotations)) else { continue };
        let Some(kind) = expected.get(revision).filter(|_| !lens.is_managed(workload.namespace)) else { continue };
        verdict.examined += 1;
        let Some(value) = meta.annotation(ANNOTATION) else { continue };
        let chosen = if value == "false" { ProxyKind::Classic } else { ProxyKind::Native };
        if chosen == *kind {
            continue;
        }
        let (lower, name, namespace) = (workload.kind.to_lowercase(), &workload.name, workload.namespace);
        verdict.findings.push(
            Finding::new(
                subject(workload),
                format!(
                    "{lower}/{name} in {namespace} chooses a {} sidecar; {revision} injects {} ones",
                    word(chosen),
                    word(*kind)
                ),
                "Its sidecar starts and stops differently from the others; leave it if that is intended.",
            )
            .key(KeyKind::Workload, workload_key(workload))
            .impact(impact(&[workload], workload.pods.len()))
            .remedy(Remedy::new(
                "remove the annotation if its reason is gone",
                vec![Step::text(
                    Risk::Change,
                    format!("remove the annotation {ANNOTATION} from the pod template in its manifest"),
                )],
            ))
            .evidence(
                SourceId::Deployments,
                format!("{namespace}/{lower}/{name}"),
                format!("template, annotation {ANNOTATION}"),
                value,
                None,
            ),
        );
    }
    Ok(verdict)
}
