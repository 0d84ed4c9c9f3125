//! CNI: how traffic gets into the proxies.

use std::collections::{BTreeMap, BTreeSet};

use super::remedies::{count, names, restart, subject};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::lens::{OWNERS, REVISIONS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy::ProxyKind;
use crate::mesh::redirection::{
    self, CNI_DAEMON_SET, Configured, FIRST_WITH_CNI, Mechanism, Uncovered, VALIDATION_CONTAINER, settled,
};
use crate::mesh::revision::AsmRevision;
use crate::mesh::workload::Workload;
use crate::model::{Controller, Node, Pod};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area that look at nodes and running pods.
pub static CHECKS: &[&Check] = &[
    &NODES_WITHOUT_PLUGIN,
    &OTHER_MECHANISM,
    &VALIDATION_FAILS,
    &REVISION_TOO_OLD,
    &super::pod_security::POD_SECURITY,
];

const LABEL: &str = "k8s-app=azure-service-mesh-istio-cni-addon-node";

/// Switches the add-on's redirection.
pub fn switch(mechanism: &str, text: &str) -> Step {
    Step::command(
        Risk::Change,
        text,
        [
            "az",
            "aks",
            "mesh",
            "proxy-redirection-mechanism",
            "-g",
            "<resource-group>",
            "-n",
            "<cluster>",
            "--mechanism",
            mechanism,
        ],
    )
}

fn daemon_set_object() -> String {
    format!("{SYSTEM_NAMESPACE}/daemonset/{CNI_DAEMON_SET}")
}

fn plugin_log(pod: Option<&Pod>) -> Step {
    let text = "shows the plugin's log; look for errors about installation or permissions";
    match pod {
        Some(pod) => {
            let name = pod.metadata.name.as_str();
            Step::command(Risk::Read, text, ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, name, "--tail=50"])
        }
        None => Step::command(Risk::Read, text, ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, "-l", LABEL, "--tail=50"]),
    }
}

/// Revisions whose next pods rely on the plugin.
fn relying<'a>(lens: &Lens<'a>) -> Result<Vec<(&'a str, Configured<'a>)>, Missing> {
    lens.need(&[SourceId::SystemConfigMaps])?;
    let revisions = lens.revisions()?;
    Ok(redirection::configured(lens.snapshot())
        .into_iter()
        .filter(|(name, configured)| {
            configured.mechanism == Mechanism::Cni && revisions.iter().any(|revision| revision.name == *name)
        })
        .collect())
}

static NODES_WITHOUT_PLUGIN: Check = Check {
    code: "CNI01",
    name: "nodes-without-cni-plugin",
    title: "Istio's CNI plugin is ready on every node",
    area: Area::Cni,
    severity: Severity::Error,
    inputs: &[
        SourceId::SystemDaemonSets,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::Nodes,
    ],
    uses: &[],
    docs: "## What it means
With the mechanism `CNIChaining` a plugin on each node sends a pod's traffic through its sidecar. Here it is not ready on some nodes. New pods of the mesh do not start there: their init container `istio-validation` finds that the traffic is not redirected.

## Why it happens on AKS
A taint keeps the DaemonSet `azure-service-mesh-istio-cni-addon-node` off the node, or its pod fails there. Istio's CNI plugin does not work on nodes with Ubuntu 20.04.

## How we know
Each ready Linux node that takes new pods is compared with the DaemonSet's pods. Left out are Windows nodes, virtual nodes, nodes of a static egress gateway, and everything younger than ten minutes: nodes, pods and the DaemonSet itself. Without the DaemonSet, the injector's setting `pilot.cni.enabled` tells whether pods rely on it.

## What to do
Read the events and the log of the plugin's pod on that node. Running pods keep their redirection; only new ones are affected.

## What else looks like it
When pods fail in `istio-validation` on a node where the plugin is ready, the finding is CNI03 alone.

## Sources
<https://learn.microsoft.com/azure/aks/istio-cni>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-cni-troubleshooting>, <https://istio.io/latest/docs/ops/diagnostic-tools/cni/>",
    run: nodes_without_plugin,
};

fn nodes_without_plugin(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::SystemDaemonSets, SourceId::SystemPods, SourceId::Nodes])?;
    let relying = relying(lens)?;
    let snapshot = lens.snapshot();
    let nodes = snapshot.nodes.items().unwrap_or_default();
    let pods = snapshot.system_pods.items().unwrap_or_default();
    let now = lens.now();
    let set = redirection::daemon_set(snapshot);
    if set.is_none() && relying.is_empty() {
        return Ok(Verdict::default());
    }
    let in_need: Vec<_> = redirection::nodes_in_need(nodes).collect();
    let mut verdict = Verdict { examined: in_need.len(), findings: Vec::new() };
    let Some(set) = set else {
        let settled: Vec<_> = relying.iter().filter(|(_, configured)| configured.is_settled(now)).collect();
        if let Some((revision, configured)) = settled.first() {
            verdict.findings.push(without_daemon_set(revision, configured, &in_need));
        }
        return Ok(verdict);
    };
    // Where every injector says that pods redirect for themselves, new pods do not need the plugin.
    if relying.is_empty() && !redirection::configured(snapshot).is_empty() {
        return Ok(verdict);
    }
    let uncovered = redirection::uncovered(nodes, pods, now);
    if settled(&set.metadata, now) && !uncovered.is_empty() {
        verdict.findings.push(without_plugin(set, &uncovered, in_need.len()));
    }
    Ok(verdict)
}

fn daemon_set_subject() -> Subject {
    Subject::new("DaemonSet", SYSTEM_NAMESPACE, CNI_DAEMON_SET)
}

fn without_daemon_set(revision: &str, configured: &Configured<'_>, nodes: &[&Node]) -> Finding {
    let finding = Finding::new(
        daemon_set_subject(),
        format!("Istio's CNI plugin is not installed, but new pods of {revision} rely on it"),
        "New pods of the mesh do not start: nothing sends their traffic to the sidecar, and istio-validation fails.",
    )
    .evidence(
        SourceId::SystemConfigMaps,
        format!("{SYSTEM_NAMESPACE}/configmap/{}", configured.map),
        "values, pilot.cni.enabled",
        "true",
        None,
    )
    .evidence(SourceId::SystemDaemonSets, daemon_set_object(), "exists", "no", Some("yes"))
    .remedy(Remedy::new(
        "have AKS install the plugin again",
        vec![
            super::remedies::reconcile("installs the DaemonSet again"),
            switch(
                "InitContainers",
                "or instead: redirects with an init container in each pod, which needs NET_ADMIN and NET_RAW",
            ),
        ],
    ));
    nodes.iter().fold(finding, |finding, node| finding.key(KeyKind::Node, &node.metadata.name))
}

/// Why a pod is not ready, as far as its status tells.
fn state(pod: &Pod) -> String {
    let statuses = || pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    let waiting = statuses().find_map(|status| status.state.waiting.as_ref().map(|waiting| waiting.reason.clone()));
    let unscheduled = pod.condition("PodScheduled").filter(|c| c.status == "False").map(|c| c.message.clone());
    waiting
        .filter(|reason| !reason.is_empty())
        .or(unscheduled)
        .unwrap_or_else(|| format!("{}, not ready", pod.status.phase))
}

fn without_plugin(set: &Controller, uncovered: &[Uncovered<'_>], nodes: usize) -> Finding {
    let bad = names(uncovered.iter().map(|found| found.node.metadata.name.as_str()));
    let mut finding = Finding::new(
        daemon_set_subject(),
        format!("Istio's CNI plugin is not ready on {} of {}: {bad}", uncovered.len(), count(nodes, "node")),
        "New pods of the mesh do not start there; running ones go on until they are replaced.",
    )
    .evidence(
        SourceId::SystemDaemonSets,
        daemon_set_object(),
        "status, numberReady of desiredNumberScheduled",
        format!("{} of {}", set.ready, set.desired.unwrap_or_default()),
        Some("every ready Linux node"),
    );
    for Uncovered { node, pod } in uncovered {
        let name = &node.metadata.name;
        finding =
            finding.key(KeyKind::Node, name).related(&Subject::cluster("Node", name.clone()), "has no ready plugin");
        finding = match pod {
            Some(pod) => finding.evidence(
                SourceId::SystemPods,
                format!("{SYSTEM_NAMESPACE}/pod/{}", pod.metadata.name),
                format!("state on {name}"),
                state(pod),
                Some("ready"),
            ),
            None => {
                let keeps_off = |effect: &str| matches!(effect, "NoSchedule" | "NoExecute");
                let taints = node.spec.taints.iter().filter(|taint| keeps_off(&taint.effect));
                let taints: Vec<_> = taints.map(|taint| format!("{}:{}", taint.key, taint.effect)).collect();
                let taints = if taints.is_empty() { "none".to_owned() } else { taints.join(", ") };
                finding.evidence(
                    SourceId::Nodes,
                    format!("node/{name}"),
                    "pods of the plugin; taints",
                    format!("0; {taints}"),
                    Some("1 pod"),
                )
            }
        };
    }
    let failing = uncovered.iter().find_map(|found| found.pod);
    let mut steps = Vec::new();
    if let Some(pod) = failing {
        let describe = ["kubectl", "describe", "pod", "-n", SYSTEM_NAMESPACE, &pod.metadata.name];
        steps.push(Step::command(Risk::Read, "shows state and events of the plugin's pod", describe));
        steps.push(plugin_log(Some(pod)));
        steps.push(Step::command(
            Risk::Restart,
            "replaces the plugin's pod on that node",
            ["kubectl", "delete", "pod", "-n", SYSTEM_NAMESPACE, &pod.metadata.name],
        ));
    }
    if let Some(found) = uncovered.iter().find(|found| found.pod.is_none()) {
        let describe = ["kubectl", "describe", "node", &found.node.metadata.name];
        steps.push(Step::command(Risk::Read, "shows the node's taints, which keep the plugin's pod away", describe));
        steps.push(Step::text(
            Risk::Change,
            "remove the taint from the node pool, or keep mesh workloads off it; AKS reverts edits of the DaemonSet",
        ));
    }
    finding.remedy(Remedy::new("find out why the plugin is not ready there", steps))
}

static OTHER_MECHANISM: Check = Check {
    code: "CNI02",
    name: "pods-with-other-redirection",
    title: "Pods redirect their traffic the way the add-on is set to",
    area: Area::Cni,
    severity: Severity::Error,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::SystemDaemonSets,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: OWNERS,
    docs: "## What it means
The add-on redirects traffic either by a privileged init container `istio-init` or by a plugin on the node, with the init container `istio-validation`. Pods keep what they were created with. With the plugin on, pods with `istio-init` work, but keep the capabilities NET_ADMIN and NET_RAW. With the plugin gone, pods with `istio-validation` run on, but do not start again after a reboot of their node.

## Why it happens on AKS
`az aks mesh proxy-redirection-mechanism` changes what new pods get and restarts nothing. An upgrade keeps the mechanism; from asm-1-30 on the plugin is the default for new installations only.

## How we know
The setting `pilot.cni.enabled` of each revision's injector is compared with the init containers of the pods which that revision injected. A setting or a DaemonSet younger than ten minutes is not judged.

## What to do
Restart the workloads.

## Sources
<https://learn.microsoft.com/azure/aks/istio-cni>, `manifests/charts/istio-control/istio-discovery/files/injection-template.yaml` in istio/istio",
    run: other_mechanism,
};

fn other_mechanism(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::SystemConfigMaps, SourceId::SystemDaemonSets])?;
    let revisions = lens.revisions()?;
    let workloads = lens.workloads()?;
    let snapshot = lens.snapshot();
    let (now, set) = (lens.now(), redirection::daemon_set(snapshot));
    let mut verdict = Verdict::default();
    for (name, configured) in redirection::configured(snapshot) {
        if !revisions.iter().any(|revision| revision.name == name) {
            continue;
        }
        let of_revision: Vec<_> = workloads
            .iter()
            .filter(|workload| !lens.is_managed(workload.namespace))
            .filter(|workload| sidecars(workload, name).any(|pod| redirection::of_pod(pod).is_some()))
            .collect();
        verdict.examined += of_revision.len();
        let is_settled = configured.is_settled(now) && set.is_none_or(|set| settled(&set.metadata, now));
        // Without the DaemonSet a restart would break what works; CNI01 tells that.
        if !is_settled || configured.mechanism == Mechanism::Cni && set.is_none() {
            continue;
        }
        let other = |pod: &Pod| redirection::of_pod(pod).is_some_and(|found| found != configured.mechanism);
        let wrong: Vec<_> = of_revision
            .into_iter()
            .filter(|workload| !matches!(workload.kind.as_str(), "Job" | "CronJob"))
            .filter(|workload| sidecars(workload, name).any(other) && !is_rolling(workload, now, other))
            .collect();
        if wrong.is_empty() {
            continue;
        }
        let pods: Vec<_> =
            wrong.iter().flat_map(|workload| sidecars(workload, name).filter(|pod| other(pod))).collect();
        verdict.findings.push(left_behind(name, &configured, set.is_some(), &wrong, &pods));
    }
    Ok(verdict)
}

/// Pods with a sidecar of a revision; gateways redirect nothing.
fn sidecars<'w>(workload: &'w Workload<'_>, revision: &'w str) -> impl Iterator<Item = &'w Pod> {
    workload.pods.iter().filter_map(move |(pod, proxy)| {
        let proxy = proxy.as_ref()?;
        let sidecar = matches!(proxy.kind, ProxyKind::Native | ProxyKind::Classic);
        (sidecar && proxy.revision.as_deref() == Some(revision)).then_some(*pod)
    })
}

/// Whether a workload is being restarted: its newest pod is young and right.
pub fn is_rolling(workload: &Workload<'_>, now: jiff::Timestamp, wrong: impl Fn(&Pod) -> bool) -> bool {
    let newest = workload.pods.iter().map(|(pod, _)| *pod).max_by_key(|pod| pod.metadata.creation_timestamp);
    newest.is_some_and(|pod| !wrong(pod) && !settled(&pod.metadata, now))
}

/// Each namespace and workload counted once.
pub fn impact(workloads: &[&Workload<'_>], pods: usize) -> Impact {
    let namespaces: BTreeSet<_> = workloads.iter().map(|workload| workload.namespace).collect();
    Impact { namespaces: namespaces.len(), workloads: workloads.len(), pods }
}

fn left_behind(
    revision: &str,
    configured: &Configured<'_>,
    has_daemon_set: bool,
    workloads: &[&Workload<'_>],
    pods: &[&Pod],
) -> Finding {
    let how_many = count(workloads.len(), "workload");
    let (employ, rely) = if workloads.len() == 1 { ("uses", "relies") } else { ("use", "rely") };
    let stranded = configured.mechanism == Mechanism::InitContainers && !has_daemon_set;
    let (summary, detail) = match configured.mechanism {
        Mechanism::Cni => (
            format!("{how_many} of {revision} still {employ} istio-init instead of the CNI plugin"),
            "They work, but keep a privileged init container until they are restarted.",
        ),
        Mechanism::InitContainers if stranded => (
            format!("{how_many} of {revision} {rely} on Istio's CNI plugin, which is gone"),
            "They run now, but after a reboot of their node they do not start.",
        ),
        Mechanism::InitContainers => (
            format!("{how_many} of {revision} still {rely} on the CNI plugin; new pods do not"),
            "They work as long as the plugin is there; a restart gives them istio-init.",
        ),
    };
    let mut finding = Finding::new(Subject::cluster("Revision", revision), summary, detail)
        .key(KeyKind::Revision, revision)
        .at_most(if stranded { Severity::Error } else { Severity::Warning })
        .impact(impact(workloads, pods.len()))
        .remedy(Remedy::new("restart them", restart(workloads.iter().copied())))
        .evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{}", configured.map),
            "values, pilot.cni.enabled",
            (configured.mechanism == Mechanism::Cni).to_string(),
            None,
        );
    if let Some(pod) = pods.first() {
        finding = finding.evidence(
            SourceId::Pods,
            format!("{}/pod/{}", pod.metadata.namespace, pod.metadata.name),
            "init container",
            redirection::of_pod(pod).map_or("", Mechanism::container),
            Some(configured.mechanism.container()),
        );
    }
    if stranded {
        finding = finding.evidence(SourceId::SystemDaemonSets, daemon_set_object(), "exists", "no", None);
        let nodes: BTreeSet<_> = pods.iter().map(|pod| pod.spec.node_name.as_str()).filter(|n| !n.is_empty()).collect();
        finding = nodes.into_iter().fold(finding, |finding, node| finding.key(KeyKind::Node, node));
    }
    workloads.iter().fold(finding, |finding, workload| {
        finding.related(&subject(workload), "was created before the mechanism was changed")
    })
}

static VALIDATION_FAILS: Check = Check {
    code: "CNI03",
    name: "redirection-not-set-up",
    title: "No pod is kept from starting by istio-validation",
    area: Area::Cni,
    severity: Severity::Error,
    inputs: crate::engine::lens::WORKLOADS,
    uses: &[SourceId::ReplicaSets, SourceId::Jobs, SourceId::CronJobs, SourceId::SystemPods],
    docs: "## What it means
Pods fail in the init container `istio-validation`. It tests whether the pod's traffic goes through the sidecar; it does not, so the pod is not allowed to start.

## Why it happens on AKS
Istio's CNI plugin on that node did not set the redirection up: the plugin was not ready when this pod was created, it fails, or another network plugin replaced the node's CNI configuration. Or the add-on was switched back to init containers: the plugin is gone, and pods from before the switch no longer start.

## How we know
The state of the init container in the pods' status. Its log says `connection refused`.

## What to do
Repair the plugin on that node, then delete the pods: the redirection is set up when a pod is created, so waiting does not help.

## What else looks like it
If its image cannot be pulled, the same container waits too; that is not counted here.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-cni-troubleshooting#pod-startup-failure-troubleshooting>, <https://istio.io/latest/docs/setup/additional-setup/cni/#race-condition--mitigation>, <https://github.com/istio/istio/issues/36688>",
    run: validation_fails,
};

/// How `istio-validation` fails in a pod; none when it works, waits for its turn, or failed only once.
fn failure(pod: &Pod) -> Option<String> {
    let status = pod.status.init_container_statuses.iter().find(|status| status.name == VALIDATION_CONTAINER)?;
    let code = [&status.state, &status.last_state]
        .into_iter()
        .find_map(|state| state.terminated.as_ref().filter(|ended| ended.exit_code != 0).map(|ended| ended.exit_code));
    let code = code.map_or_else(String::new, |code| format!(", exit code {code}"));
    let restarts = status.restart_count;
    let waits = status.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == "CrashLoopBackOff");
    let again = restarts > 1 && !status.ready && !code.is_empty();
    let reason = if waits { "CrashLoopBackOff" } else { "Error" };
    (waits || again).then(|| format!("{reason}{code}, {}", count(restarts as usize, "restart")))
}

fn validation_fails(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    let mut by_node: BTreeMap<&str, Vec<(&Workload<'_>, &Pod, String)>> = BTreeMap::new();
    let system_pods = lens.optional(SourceId::SystemPods, &lens.snapshot().system_pods);
    for workload in lens.workloads()? {
        for (pod, _) in &workload.pods {
            if redirection::of_pod(pod) != Some(Mechanism::Cni) {
                continue;
            }
            verdict.examined += 1;
            if let Some(failure) = failure(pod) {
                by_node.entry(pod.spec.node_name.as_str()).or_default().push((workload, pod, failure));
            }
        }
    }
    for (node, failing) in by_node {
        verdict.findings.push(failing_on(node, &failing, redirection::agent(system_pods, node)));
    }
    Ok(verdict)
}

fn failing_on(node: &str, failing: &[(&Workload<'_>, &Pod, String)], agent: Option<&Pod>) -> Finding {
    let mut workloads: Vec<&Workload<'_>> = failing.iter().map(|(workload, ..)| *workload).collect();
    workloads.dedup_by_key(|workload| (workload.namespace, workload.kind.clone(), workload.name.clone()));
    let verb = if failing.len() == 1 { "fails" } else { "fail" };
    let mut finding = Finding::new(
        Subject::cluster("Node", node),
        format!("{} on {node} {verb} in init container istio-validation", count(failing.len(), "pod")),
        "Their traffic does not go through the sidecar, so Istio does not let them start.",
    )
    .key(KeyKind::Node, node)
    .impact(impact(&workloads, failing.len()));
    let mut steps = Vec::new();
    if let Some((_, pod, failure)) = failing.first() {
        let (namespace, name) = (pod.metadata.namespace.as_str(), pod.metadata.name.as_str());
        finding = finding.evidence(
            SourceId::Pods,
            format!("{namespace}/pod/{name}"),
            "state of istio-validation",
            failure.clone(),
            Some("Completed"),
        );
        let log = ["kubectl", "logs", "-n", namespace, name, "-c", VALIDATION_CONTAINER];
        steps.push(Step::command(
            Risk::Read,
            "shows its log; `connection refused` means that traffic is not redirected",
            log,
        ));
    }
    if let Some(agent) = agent {
        let state = if agent.is_ready() { "ready".to_owned() } else { state(agent) };
        let object = format!("{SYSTEM_NAMESPACE}/pod/{}", agent.metadata.name);
        finding = finding.evidence(SourceId::SystemPods, object, "state", state, Some("ready before the pods start"));
        steps.push(plugin_log(Some(agent)));
    } else {
        let wide = ["kubectl", "get", "pods", "-n", SYSTEM_NAMESPACE, "-l", LABEL, "-o", "wide"];
        steps.push(Step::command(Risk::Read, "shows on which nodes the CNI plugin runs", wide));
    }
    let mut by_namespace: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (workload, pod, _) in failing {
        if workload.kind != "Pod" {
            by_namespace.entry(workload.namespace).or_default().push(&pod.metadata.name);
        }
    }
    for (namespace, pods) in by_namespace {
        let command = ["kubectl", "delete", "pod", "-n", namespace].into_iter().chain(pods);
        steps.push(Step::command(Risk::Restart, "replaces the pods; do it once the plugin is ready there", command));
    }
    workloads.into_iter().fold(
        finding.remedy(Remedy::new("repair the CNI plugin on the node, then replace the pods", steps)),
        |finding, workload| finding.related(&subject(workload), "cannot start pods on this node"),
    )
}

static REVISION_TOO_OLD: Check = Check {
    code: "CNI04",
    name: "cni-with-old-revision",
    title: "Istio's CNI plugin is used only with asm-1-25 or newer",
    area: Area::Cni,
    severity: Severity::Error,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemDaemonSets],
    uses: &[],
    docs: "## What it means
Istio's CNI plugin is installed together with a revision that does not support it.

## Why it happens on AKS
The add-on supports the plugin from asm-1-25 on. An older revision stayed installed beside a newer one, or an upgrade was rolled back after the plugin was switched on.

## How we know
The DaemonSet `azure-service-mesh-istio-cni-addon-node` and the installed revisions.

## What to do
Finish the upgrade to a newer revision, or switch back to init containers and restart the workloads.

## Sources
<https://learn.microsoft.com/azure/aks/istio-cni>",
    run: |lens| {
        lens.need(REVISIONS)?;
        lens.need(&[SourceId::SystemDaemonSets])?;
        let revisions = lens.revisions()?;
        if redirection::daemon_set(lens.snapshot()).is_none() {
            return Ok(Verdict::default());
        }
        let is_old = |name: &str| AsmRevision::parse(name).is_some_and(|r| (r.major, r.minor) < FIRST_WITH_CNI);
        let old = revisions.iter().filter(|revision| is_old(&revision.name));
        let findings = old.map(|revision| {
            Finding::new(
                Subject::cluster("Revision", revision.name.clone()),
                format!("{} does not support Istio's CNI plugin, which is installed", revision.name),
                "Microsoft supports the plugin from asm-1-25 on. Nothing guarantees that sidecars of this revision get their traffic.",
            )
            .key(KeyKind::Revision, &revision.name)
            .evidence(SourceId::SystemDaemonSets, daemon_set_object(), "exists", "yes", Some("no, or asm-1-25 and newer only"))
            .remedy(Remedy::new("upgrade the add-on, or switch to init containers", vec![
                Step::command(
                    Risk::Read,
                    "shows the revisions that you can upgrade to",
                    ["az", "aks", "mesh", "get-upgrades", "-g", "<resource-group>", "-n", "<cluster>"],
                ),
                switch("InitContainers", "or instead: goes back to init containers; restart the workloads afterwards"),
            ]))
        });
        Ok(Verdict { examined: revisions.len(), findings: findings.collect() })
    },
};
