//! PRX: images, health and resources of running proxies.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::remedies::{count, names, restart, subject, workload_key};
use super::stranded::{impact, label, object};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::lens::{OWNERS, WORKLOADS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy::{self, PROXY_CONTAINER, Proxy, ProxyKind};
use crate::mesh::proxy_state::{self, Trouble};
use crate::mesh::revision::IstioVersion;
use crate::mesh::webhook::injector_map_name;
use crate::mesh::workload::Workload;
use crate::model::Pod;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&PATCH_STALE, &UNHEALTHY, &RESOURCES];

/// While AKS rolls out a patch, istiod, its configuration and new pods need not agree for some minutes.
const SETTLED: SignedDuration = SignedDuration::from_mins(5);
/// Chooses the proxy's image by hand.
const IMAGE: &str = "sidecar.istio.io/proxyImage";

static PATCH_STALE: Check = Check {
    code: "PRX01",
    name: "proxy-patch-stale",
    title: "Proxies have the patch that their injector gives now",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
        SourceId::WebhookConfigMaps,
    ],
    docs: "## What it means
Sidecars run an older patch of their minor version than a new pod would get. They work, but lack the security fixes of the newer patch.

## Why it happens on AKS
AKS patches istiod and the ingress gateways by itself, in the maintenance window if there is one. A sidecar is part of a pod and changes only when its pod is recreated.

## How we know
The tag of each proxy's image is compared with the image in the ConfigMap `istio-sidecar-injector-REVISION` of the revision that injected the pod. Images chosen by hand (annotation `sidecar.istio.io/proxyImage`, a digest, a proxy written into the template), Jobs, gateways that AKS or istiod keeps up to date, and pods of the last minutes are not counted.

## What to do
Restart the workloads, namespace by namespace. The labels stay as they are.

## What else looks like it
Another minor version is PRX02. During an upgrade the pods of the old revision are UPG03; pods of a revision that is gone are UPG04.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade#patch-version-upgrade>, <https://github.com/Azure/AKS/releases>",
    run: patch_stale,
};

/// Whether a restart would change the image of a pod's proxy, and whether it is old enough for that to be said.
fn follows_the_injector(lens: &Lens<'_>, workload: &Workload<'_>, pod: &Pod, proxy: &Proxy<'_>) -> bool {
    let by_hand = workload.controller.is_some_and(|c| proxy::container(&c.template.spec).is_some());
    let young = pod.metadata.creation_timestamp.is_some_and(|made| lens.now().duration_since(made) < SETTLED);
    let chosen = pod.metadata.annotation(IMAGE).is_some() || proxy.image.contains('@');
    proxy.kind != ProxyKind::ManagedGateway && !by_hand && !young && !chosen
}

fn patch_stale(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::SystemConfigMaps])?;
    let workloads = lens.workloads()?;
    // Who would come back without a sidecar, or not at all, is not told to restart; the verdict is the same without it.
    let rules_known = lens.rules().is_ok();
    let mut verdict = Verdict::default();
    // With two revisions the older one is to be left, not restarted on.
    let left = revisions.first().filter(|_| revisions.len() > 1).map(|revision| revision.name.as_str());
    for revision in revisions.iter().filter(|revision| Some(revision.name.as_str()) != left) {
        let image = proxy::image_of_new_sidecars(lens.snapshot(), &revision.name);
        let Some((wanted, image)) = image.and_then(|image| Some((IstioVersion::of_image(&image)?, image))) else {
            continue;
        };
        let mut stale: Vec<(&Workload<'_>, usize)> = Vec::new();
        let mut by_version: BTreeMap<IstioVersion, (usize, &Workload<'_>)> = BTreeMap::new();
        for workload in workloads {
            if lens.is_managed(workload.namespace) || matches!(workload.kind.as_str(), "Job" | "CronJob") {
                continue;
            }
            let mut pods = 0;
            for (pod, proxy) in &workload.pods {
                let Some(proxy) = proxy.as_ref().filter(|p| p.revision.as_deref() == Some(&revision.name)) else {
                    continue;
                };
                let Some(own) = proxy.version.as_ref().filter(|_| follows_the_injector(lens, workload, pod, proxy))
                else {
                    continue;
                };
                verdict.examined += 1;
                if (own.major, own.minor) == (wanted.major, wanted.minor) && own.is_before(&wanted) {
                    pods += 1;
                    by_version.entry(own.clone()).or_insert((0, workload)).0 += 1;
                }
            }
            if pods > 0 {
                stale.push((workload, pods));
            }
        }
        if stale.is_empty() {
            continue;
        }
        let pods = stale.iter().map(|(_, pods)| pods).sum();
        let namespaces = stale.iter().map(|(workload, _)| workload.namespace).collect::<BTreeSet<_>>().len();
        let (stranded, restarted): (Vec<_>, Vec<_>) = stale
            .iter()
            .map(|(workload, _)| *workload)
            .partition(|workload| rules_known && workload.next.injected == Some(false));
        let mut steps = restart(restarted);
        if !stranded.is_empty() {
            let left_out: Vec<_> = stranded.iter().map(|workload| label(workload)).collect();
            steps.push(Step::text(
                Risk::Read,
                format!(
                    "left out, as a new pod would get no sidecar at the moment: {}",
                    names(left_out.iter().map(String::as_str))
                ),
            ));
        }
        let mut finding = Finding::new(
            Subject::cluster("Revision", revision.name.clone()),
            format!(
                "{} ({}) of {} {} a proxy older than {wanted}",
                count(stale.len(), "workload"),
                count(pods, "pod"),
                revision.name,
                if stale.len() == 1 { "runs" } else { "run" },
            ),
            "AKS patched istiod. Sidecars get the patch, and its security fixes, only when their pods are recreated.",
        )
        .key(KeyKind::Revision, &revision.name)
        .impact(Impact { namespaces, workloads: stale.len(), pods })
        .remedy(Remedy::new("restart them", steps))
        .evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{}", injector_map_name(&revision.name)),
            "image of new sidecars",
            image,
            None,
        );
        for (version, (pods, example)) in by_version {
            finding = finding.evidence(
                SourceId::Pods,
                object(example),
                format!("proxy version of {}", count(pods, "pod")),
                version.to_string(),
                Some(&wanted.to_string()),
            );
        }
        for (workload, _) in stale {
            finding = finding.related(&subject(workload), "runs an older patch");
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

static UNHEALTHY: Check = Check {
    code: "PRX04",
    name: "proxy-unhealthy",
    title: "Proxies are ready and stay up",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
The container `istio-proxy` of running pods is not ready, cannot start, was killed for lack of memory within the last day, or keeps being restarted. A pod whose proxy is not ready gets no traffic from Services, and with a native sidecar the application is not even started.

## Why it happens on AKS
A new proxy becomes ready once istiod has given it a certificate and configuration: no istiod, or a NetworkPolicy in front of its port 15012, keeps it waiting. A proxy that gets the configuration of every Service of a large cluster needs more memory than its limit (1 GiB unless annotations say otherwise). An application that holds one of the proxy's ports keeps it from starting.

## How we know
The state of the container `istio-proxy`, among containers or init containers: ready or not, why it waits, how it ended, how often it was restarted. The first five minutes of a pod do not count; it is an error when no pod of the workload has a working proxy.

## What to do
Read the proxy's log; the line `Envoy proxy is NOT ready` says what is missing. After a kill for lack of memory, raise the limit by the annotation `sidecar.istio.io/proxyMemoryLimit` on the pod template, together with the three others: as soon as one of them is set, the defaults of the others are gone. Less configuration needs less memory: a `Sidecar` resource limits what a namespace's proxies know.

## What else looks like it
When the pod waits for `istio-init` or `istio-validation`, the proxy was not started yet and this check is silent.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>, <https://istio.io/latest/docs/ops/common-problems/injection/>, <https://istio.io/latest/docs/reference/config/annotations/>",
    run: unhealthy,
};

/// What joins a kill for lack of memory with a limit that is too low.
fn memory_key(workload: &Workload<'_>) -> String {
    format!("Container/{}/{PROXY_CONTAINER}", workload_key(workload))
}

fn unhealthy(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for workload in lens.workloads()? {
        if lens.is_managed(workload.namespace) {
            continue;
        }
        let proxies: Vec<_> = workload.pods.iter().filter_map(|(pod, proxy)| Some((*pod, proxy.as_ref()?))).collect();
        verdict.examined += proxies.len();
        let troubled: Vec<(&Pod, &Proxy<'_>, Trouble<'_>)> = proxies
            .iter()
            .filter_map(|(pod, proxy)| Some((*pod, *proxy, proxy_state::trouble(pod, lens.now())?)))
            .collect();
        let down = troubled.iter().filter(|(.., trouble)| trouble.down).count();
        let Some((pod, _, worst)) =
            troubled.iter().min_by_key(|(.., t)| Reverse((t.down, t.out_of_memory, t.restarts)))
        else {
            continue;
        };
        let out_of_memory = troubled.iter().any(|(.., trouble)| trouble.out_of_memory);
        let what = match (out_of_memory, down) {
            (true, _) => "ran out of memory",
            (false, 0) => "keeps restarting",
            (false, _) => "is not ready",
        };
        let of = format!("{} of {}", troubled.len(), count(workload.pods.len(), "pod"));
        let detail = match down {
            0 => "It works at the moment, but each restart of the proxy cuts the connections of its pod.",
            _ if down == workload.pods.len() => {
                "None of its pods gets traffic from Services: it is down for its callers."
            }
            _ => "These pods get no traffic from Services.",
        };
        let mut finding =
            Finding::new(subject(workload), format!("{}: the proxy of {of} {what}", label(workload)), detail)
                .key(KeyKind::Workload, workload_key(workload))
                .key(KeyKind::Namespace, workload.namespace)
                .at_most(if down == workload.pods.len() { Severity::Error } else { Severity::Warning })
                .impact(impact(troubled.len()))
                .remedy(Remedy::new(
                    "find the reason in the proxy's log",
                    inspect(workload, pod, worst, out_of_memory),
                ));
        if out_of_memory {
            finding = finding.key(KeyKind::Object, memory_key(workload));
        }
        // A new proxy waits for its istiod; one that is short of memory has its own reason.
        let waiting = troubled.iter().filter(|(.., trouble)| trouble.down && !trouble.out_of_memory);
        let revisions: BTreeSet<_> = waiting.filter_map(|(_, proxy, _)| proxy.revision.as_deref()).collect();
        finding = revisions.into_iter().fold(finding, |finding, name| finding.key(KeyKind::Revision, name));
        for (pod, _, trouble) in troubled.iter().take(3) {
            finding = finding.evidence(
                SourceId::Pods,
                format!("{}/pod/{}", workload.namespace, pod.metadata.name),
                format!("container {PROXY_CONTAINER}"),
                describe(pod, trouble),
                Some("ready"),
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

fn describe(pod: &Pod, trouble: &Trouble<'_>) -> String {
    let mut text = trouble.state.to_owned();
    if trouble.restarts > 0 {
        text.push_str(&format!(", {}", count(trouble.restarts as usize, "restart")));
    }
    if let Some(end) = proxy_state::status(pod).and_then(|status| status.last_state.terminated.as_ref()) {
        text.push_str(&format!(", last ended with {} ({})", end.reason, end.exit_code));
    }
    text
}

fn inspect(workload: &Workload<'_>, pod: &Pod, trouble: &Trouble<'_>, out_of_memory: bool) -> Vec<Step> {
    let (namespace, name) = (workload.namespace, pod.metadata.name.as_str());
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows probes, restarts and events of one of the pods",
        ["kubectl", "describe", "pod", name, "-n", namespace],
    )];
    if proxy_state::status(pod).is_some_and(|status| status.state.running.is_some()) {
        steps.push(Step::command(
            Risk::Read,
            "shows its log; a line \"Envoy proxy is NOT ready\" says what is missing",
            ["kubectl", "logs", name, "-n", namespace, "-c", PROXY_CONTAINER, "--tail=50"],
        ));
    }
    if trouble.restarts > 0 {
        steps.push(Step::command(
            Risk::Read,
            "shows the log of its proxy before the last restart",
            ["kubectl", "logs", name, "-n", namespace, "-c", PROXY_CONTAINER, "--tail=50", "--previous"],
        ));
    }
    if out_of_memory {
        steps.push(set_resources(workload, pod, "raises its proxies' memory limit", Some("<memory-limit>")));
    }
    steps
}

/// Annotations of a pod template that set the proxy's resources, with the add-on's defaults. One of them alone takes the
/// defaults of all others away (`define "resources"` in `manifests/charts/istio-control/istio-discovery/files/
/// injection-template.yaml` of istio/istio).
const RESOURCE_ANNOTATIONS: [(&str, &str); 4] = [
    ("sidecar.istio.io/proxyCPU", "100m"),
    ("sidecar.istio.io/proxyMemory", "128Mi"),
    ("sidecar.istio.io/proxyCPULimit", "2"),
    (MEMORY_LIMIT, "1Gi"),
];
const MEMORY_LIMIT: &str = "sidecar.istio.io/proxyMemoryLimit";

/// Sets all four annotations: those that are there as they are, the others as the add-on's defaults.
fn set_resources(workload: &Workload<'_>, pod: &Pod, what: &str, memory_limit: Option<&str>) -> Step {
    let values: BTreeMap<_, _> = RESOURCE_ANNOTATIONS
        .into_iter()
        .map(|(key, default)| match memory_limit.filter(|_| key == MEMORY_LIMIT) {
            Some(limit) => (key, limit),
            None => (key, pod.metadata.annotation(key).unwrap_or(default)),
        })
        .collect();
    if !matches!(workload.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet") {
        let list: Vec<_> = values.iter().map(|(key, value)| format!("{key}: {value}")).collect();
        return Step::text(Risk::Change, format!("set all four annotations on its pod template: {}", list.join(", ")));
    }
    let patch = serde_json::json!({"spec": {"template": {"metadata": {"annotations": values}}}}).to_string();
    let kind = workload.kind.to_lowercase();
    let command =
        ["kubectl", "patch", &kind, &workload.name, "-n", workload.namespace, "--type", "merge", "-p", &patch];
    Step::command(
        Risk::Change,
        format!("{what}, and replaces its pods; set all four, as one alone drops the others' defaults"),
        command,
    )
}

/// A proxy without any traffic already uses some 40 MiB; Microsoft measured 72 MB at 1000 requests per second
/// (<https://learn.microsoft.com/azure/aks/istio-scale>).
const LEAST_MEMORY: u64 = 64 << 20;

static RESOURCES: Check = Check {
    code: "PRX05",
    name: "proxy-resources",
    title: "Proxies have requests, limits and enough memory",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
The sidecars of a workload lack requests or a memory limit, or may use less than 64 MiB. Without requests the scheduler plans no room for them, an autoscaler on utilization does not work, and their pods are evicted early. With too little memory the proxy is killed.

## Why it happens on AKS
The add-on gives every sidecar requests of 100m and 128Mi and limits of 2 CPUs and 1Gi. As soon as a pod template has one of the annotations `sidecar.istio.io/proxyCPU`, `proxyMemory`, `proxyCPULimit` or `proxyMemoryLimit`, all four defaults are gone and only what the annotations say is left.

## How we know
The resources of the container `istio-proxy` in running pods. Absent ones count only where such an annotation is set. A memory limit alone that is absent is worth an info, not a warning.

## What to do
Set all four annotations on the pod template.

## Sources
<https://istio.io/latest/docs/reference/config/annotations/>, <https://learn.microsoft.com/azure/aks/istio-scale>, <https://kubernetes.io/docs/concepts/configuration/manage-resources-containers/>",
    run: resources,
};

fn resources(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for workload in lens.workloads()? {
        if lens.is_managed(workload.namespace) {
            continue;
        }
        // Pods of one template have the same: the newest with a sidecar speaks for it.
        let sidecars = workload.pods.iter().filter(|(_, proxy)| {
            proxy.as_ref().is_some_and(|p| matches!(p.kind, ProxyKind::Native | ProxyKind::Classic))
        });
        let newest = sidecars.clone().map(|(pod, _)| *pod).max_by_key(|pod| pod.metadata.creation_timestamp);
        let Some((pod, container)) = newest.and_then(|pod| Some((pod, proxy::container(&pod.spec)?))) else {
            continue;
        };
        verdict.examined += 1;
        let own = container.resources;
        let annotated = RESOURCE_ANNOTATIONS.iter().any(|(key, _)| pod.metadata.annotation(key).is_some());
        // Kubernetes takes a missing request from the limit.
        let requests =
            [("CPU", own.cpu_request.or(own.cpu_limit)), ("memory", own.memory_request.or(own.memory_limit))];
        let missing: Vec<_> = requests.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| *name).collect();
        let little = own.memory_limit.filter(|limit| *limit < LEAST_MEMORY);
        let (field, observed, expected, what, detail) = if let Some(limit) = little {
            let limit = format!("{} MiB", limit >> 20);
            let what = format!("its proxies may use only {limit} of memory");
            (
                "limits.memory",
                limit,
                "at least 64 MiB",
                what,
                "A proxy that needs more is killed, and its pod loses its connections.",
            )
        } else if annotated && !missing.is_empty() {
            let what = format!("its proxies have no {} request", missing.join(" and no "));
            let detail = "Their nodes may be overbooked, their pods are evicted early, and an autoscaler on utilization does not work.";
            ("requests", format!("no {}", missing.join(", no ")), "CPU and memory", what, detail)
        } else if annotated && own.memory_limit.is_none() {
            let what = "its proxies have no memory limit".to_owned();
            (
                "limits.memory",
                "absent".to_owned(),
                "a limit",
                what,
                "A proxy that grows can take all the memory of its node.",
            )
        } else {
            continue;
        };
        let mut finding = Finding::new(subject(workload), format!("{}: {what}", label(workload)), detail)
            .key(KeyKind::Workload, workload_key(workload))
            .at_most(if little.is_some() || !missing.is_empty() { Severity::Warning } else { Severity::Info })
            .impact(impact(sidecars.count()))
            .evidence(
                SourceId::Pods,
                object(workload),
                format!("resources of {PROXY_CONTAINER}, {field}"),
                observed,
                Some(expected),
            );
        for (key, _) in RESOURCE_ANNOTATIONS {
            if let Some(value) = pod.metadata.annotation(key) {
                finding = finding.evidence(SourceId::Pods, object(workload), format!("annotation {key}"), value, None);
            }
        }
        if little.is_some() {
            finding = finding.key(KeyKind::Object, memory_key(workload));
        }
        let limit = little.map(|_| "1Gi");
        let step = set_resources(workload, pod, "sets requests and limits of its proxies", limit);
        verdict.findings.push(finding.remedy(Remedy::new("set all four annotations", vec![step])));
    }
    Ok(verdict)
}
