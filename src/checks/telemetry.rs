//! TEL: metrics, traces and access logs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::remedies::{names, workload_key};
use crate::engine::finding::KeyKind;
use crate::engine::lens::OWNERS;
use crate::engine::{Area, Check, Finding, Impact, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::mesh_config::{MeshConfig, managed_name, shared_name};
use crate::mesh::mtls::is_strict;
use crate::mesh::proxy::ProxyKind;
use crate::mesh::scraping::{JOBS, Scraping, scraping};
use crate::mesh::workload::Workload;
use crate::model::{Pod, Telemetry};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&NOT_SCRAPED, &STRICT_WITHOUT_MERGE, &TRACES_TO_NOBODY];

const AGENT_NAMESPACE: &str = "kube-system";

static NOT_SCRAPED: Check = Check {
    code: "TEL01",
    name: "sidecars-not-scraped",
    title: "Managed Prometheus collects the metrics of the sidecars",
    area: Area::Telemetry,
    severity: Severity::Info,
    inputs: &[
        SourceId::MetricsAgents,
        SourceId::MetricsConfigMaps,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: OWNERS,
    docs: "## What it means
Azure's managed Prometheus is in the cluster, and workloads have sidecars, but no job collects the sidecars' metrics. `istio_requests_total` and all dashboards of the mesh stay empty.

## Why it happens on AKS
The agent collects the cluster's own metrics by default, and nothing of Istio. A job, or the setting that follows pod annotations, has to be added.

## How we know
The Deployment `ama-metrics` is in `kube-system`. Neither does a job in the ConfigMap `ama-metrics-prometheus-config` mention the sidecar (its name, its ports 15020 and 15090, its path, or the annotations that the injector sets), nor does `ama-metrics-settings-configmap` follow pod annotations.

## What to do
Add the job of Microsoft's page to the ConfigMap. The agent takes it over within minutes.

## What else looks like it
Sidecars that are collected in another way are right: by an own Prometheus, or by a PodMonitor or a job in `ama-metrics-prometheus-config-node`, which are not read here.

## Sources
<https://learn.microsoft.com/azure/aks/istio-metrics-managed-prometheus>, <https://learn.microsoft.com/azure/azure-monitor/containers/prometheus-metrics-scrape-configuration>",
    run: not_scraped,
};

fn not_scraped(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::MetricsAgents, SourceId::MetricsConfigMaps])?;
    let injected: Vec<&Workload<'_>> =
        lens.workloads()?.iter().filter(|workload| workload.injected_pods() > 0).collect();
    let snapshot = lens.snapshot();
    if snapshot.metrics_agents.items().unwrap_or_default().is_empty() || injected.is_empty() {
        return Ok(Verdict::default());
    }
    let maps = snapshot.metrics_config_maps.items().unwrap_or_default();
    let (observed, expected) = match scraping(maps) {
        Scraping::Likely => return Ok(Verdict { examined: 1, findings: Vec::new() }),
        Scraping::Nothing => ("no job".to_owned(), "a job for pods with a sidecar"),
        Scraping::Broken => ("jobs that are not valid YAML".to_owned(), "YAML"),
        Scraping::OtherJobs(jobs) => {
            (format!("other jobs only: {}", names(jobs.iter().map(String::as_str))), "a job for pods with a sidecar")
        }
    };
    let exists = maps.iter().any(|map| map.metadata.name == JOBS);
    let step = if exists {
        Step::command(
            Risk::Change,
            "opens the agent's jobs in an editor: add the job of Microsoft's page, or correct it",
            ["kubectl", "edit", "configmap", JOBS, "-n", AGENT_NAMESPACE],
        )
    } else {
        Step::command(
            Risk::Change,
            "creates it from a file named prometheus-config that holds the job of Microsoft's page",
            ["kubectl", "create", "configmap", JOBS, "--from-file=prometheus-config", "-n", AGENT_NAMESPACE],
        )
    };
    let finding = Finding::new(
        Subject::new("ConfigMap", AGENT_NAMESPACE, JOBS),
        "managed Prometheus collects no metrics from the sidecars",
        "istio_requests_total and the mesh's dashboards stay empty.",
    )
    .key(KeyKind::Object, format!("ConfigMap/{AGENT_NAMESPACE}/{JOBS}"))
    .impact(impact(&injected))
    .remedy(Remedy::new("add a job for pods with a sidecar", vec![step]))
    .evidence(
        SourceId::MetricsConfigMaps,
        format!("{AGENT_NAMESPACE}/configmap/{JOBS}"),
        "prometheus-config",
        observed,
        Some(expected),
    );
    Ok(Verdict { examined: 1, findings: vec![finding] })
}

fn impact(workloads: &[&Workload<'_>]) -> Impact {
    Impact {
        namespaces: workloads.iter().map(|workload| workload.namespace).collect::<BTreeSet<_>>().len(),
        workloads: workloads.len(),
        pods: workloads.iter().map(|workload| workload.injected_pods()).sum(),
    }
}

static STRICT_WITHOUT_MERGE: Check = Check {
    code: "TEL02",
    name: "strict-blocks-scraping",
    title: "Where mutual TLS is strict, metrics are collected through the sidecar",
    area: Area::Telemetry,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::PeerAuthentications,
    ],
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
    ],
    docs: "## What it means
Annotations of pods tell Prometheus to read their metrics at the application's own port, their namespace accepts only mutual TLS, and Prometheus is outside the mesh. The sidecar closes its connections: the metrics of these pods are missing.

## Why it happens on AKS
Normally the injector redirects the annotations to the sidecar's port 15020, which answers in plain text with the metrics of both. That is switched off by `enablePrometheusMerge: false` in the mesh configuration, or by the annotation `prometheus.istio.io/merge-metrics: \"false\"` on the pods.

## How we know
Pods with a sidecar whose annotation `prometheus.io/scrape` is `true` while `prometheus.io/port` is not the sidecar's, in a namespace where PeerAuthentications make every port `STRICT`. Ports that the annotation `traffic.sidecar.istio.io/excludeInboundPorts` keeps away from the sidecar are left out, and namespaces with a PeerAuthentication for some pods or ports.

## What to do
Let metrics be merged again and restart the workloads, or keep the metrics port away from the sidecar with `traffic.sidecar.istio.io/excludeInboundPorts`.

## Sources
<https://istio.io/latest/docs/ops/integrations/prometheus/#tls-settings>, <https://learn.microsoft.com/azure/aks/istio-metrics-managed-prometheus>, `pkg/kube/inject/webhook.go` in <https://github.com/istio/istio>",
    run: strict_without_merge,
};

/// The port at which Prometheus is told to read a pod's metrics past the sidecar.
fn own_metrics_port(pod: &Pod) -> Option<&str> {
    let meta = &pod.metadata;
    if meta.annotation("prometheus.io/scrape") != Some("true") {
        return None;
    }
    let port = meta.annotation("prometheus.io/port")?;
    let excluded = meta.annotation("traffic.sidecar.istio.io/excludeInboundPorts").unwrap_or_default();
    let is_open = excluded.split(',').map(str::trim).any(|excluded| excluded == port || excluded == "*");
    (!is_open && !["15020", "15090", "15021"].contains(&port)).then_some(port)
}

fn strict_without_merge(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need_served(&[SourceId::PeerAuthentications])?;
    let policies = lens.snapshot().peer_authentications.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    let mut by_namespace: BTreeMap<&str, Vec<(&Workload<'_>, &str)>> = BTreeMap::new();
    for workload in lens.workloads()? {
        let pods = workload.pods.iter().filter(|(_, proxy)| {
            proxy.as_ref().is_some_and(|proxy| matches!(proxy.kind, ProxyKind::Native | ProxyKind::Classic))
        });
        let mut ports = pods.map(|(pod, _)| own_metrics_port(pod)).peekable();
        if ports.peek().is_none() || lens.is_managed(workload.namespace) {
            continue;
        }
        verdict.examined += 1;
        if let Some(port) = ports.flatten().next()
            && is_strict(policies, workload.namespace)
        {
            by_namespace.entry(workload.namespace).or_default().push((workload, port));
        }
    }
    let is_off = |config: &MeshConfig<'_>| config.switch("enablePrometheusMerge") == Some(false);
    let mesh_wide = lens.mesh_configs().is_ok_and(|configs| configs.iter().any(is_off));
    for (namespace, found) in by_namespace {
        verdict.findings.push(unreachable_metrics(namespace, &found, mesh_wide));
    }
    Ok(verdict)
}

fn unreachable_metrics(namespace: &str, found: &[(&Workload<'_>, &str)], mesh_wide: bool) -> Finding {
    let workloads: Vec<&Workload<'_>> = found.iter().map(|(workload, _)| *workload).collect();
    let mut finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        format!(
            "namespace {namespace}: strict mutual TLS blocks Prometheus from metrics of {}",
            names(workloads.iter().map(|w| w.name.as_str()))
        ),
        "Prometheus scrapes in plain text; the sidecar closes the connection, so these metrics are missing.",
    )
    .key(KeyKind::Namespace, namespace)
    .impact(impact(&workloads))
    .remedy(Remedy::new(
        "let the sidecar answer for their metrics, or keep the port away from it",
        vec![
            Step::text(
                Risk::Change,
                if mesh_wide {
                    "remove enablePrometheusMerge: false from the ConfigMap istio-shared-configmap-REVISION in aks-istio-system"
                } else {
                    "remove the annotation prometheus.istio.io/merge-metrics: \"false\" from the pod templates"
                },
            ),
            Step::text(
                Risk::Change,
                "or annotate the pod templates: traffic.sidecar.istio.io/excludeInboundPorts: \"PORT\", their metrics port",
            ),
        ]
        .into_iter()
        .chain(super::remedies::restart(workloads.iter().copied()))
        .collect(),
    ));
    for (workload, port) in found {
        finding = finding.key(KeyKind::Workload, workload_key(workload)).evidence(
            SourceId::Pods,
            format!("{namespace}/{}/{}", workload.kind.to_lowercase(), workload.name),
            "annotation prometheus.io/port",
            *port,
            Some("15020, where the sidecar answers"),
        );
    }
    finding
}

static TRACES_TO_NOBODY: Check = Check {
    code: "TEL03",
    name: "traces-to-nobody",
    title: "Traces that are switched on have a receiver",
    area: Area::Telemetry,
    severity: Severity::Info,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::SystemServices,
        SourceId::Telemetries,
    ],
    uses: &[],
    docs: "## What it means
Somebody switched traces on, and they are sent to a Service in `aks-istio-system` that does not exist. The sidecars drop them without a word.

## Why it happens on AKS
Istio's default address for traces is a Zipkin beside istiod, in `aks-istio-system` here. The add-on brings none.

## How we know
Traces are switched on by the user: `enableTracing`, `defaultConfig.tracing` or `defaultProviders.tracing` in the shared ConfigMap, or a Telemetry resource with `tracing`. The address in force, or the Service of the provider in use, names the namespace `aks-istio-system`, and no Service of that name is there. Receivers in other namespaces are not looked for.

## What to do
Name the receiver that you have: as a provider in `extensionProviders` of the shared ConfigMap, chosen by a Telemetry resource. Or switch traces off.

## Sources
<https://learn.microsoft.com/azure/aks/istio-telemetry>, <https://learn.microsoft.com/azure/aks/istio-meshconfig>, <https://istio.io/latest/docs/tasks/observability/distributed-tracing/telemetry-api/>",
    run: traces_to_nobody,
};

fn traces_to_nobody(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let configs = lens.mesh_configs()?;
    lens.need(&[SourceId::SystemServices])?;
    lens.need_served(&[SourceId::Telemetries])?;
    let snapshot = lens.snapshot();
    let telemetries = snapshot.telemetries.items().unwrap_or_default();
    let services = snapshot.system_services.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for config in &configs {
        let receivers = receivers(config, telemetries);
        verdict.examined += receivers.len();
        let is_absent = |receiver: &Receiver| !services.iter().any(|service| service.metadata.name == receiver.service);
        let absent: Vec<Receiver> = receivers.into_iter().filter(is_absent).collect();
        let Some(first) = absent.first() else { continue };
        let shared = shared_name(&config.revision);
        let name = if config.shared.is_some() { shared.clone() } else { managed_name(&config.revision) };
        let mut finding = Finding::new(
            Subject::new("ConfigMap", SYSTEM_NAMESPACE, name.as_str()),
            format!("traces of {} are sent to {}, which does not exist", config.revision, first.service),
            format!("There is no Service {} in {SYSTEM_NAMESPACE}: the sidecars drop all traces.", first.service),
        )
        .key(KeyKind::Revision, &config.revision)
        .key(KeyKind::Object, format!("ConfigMap/{SYSTEM_NAMESPACE}/{name}"))
        .remedy(Remedy::new(
            "name the receiver that you have, or switch traces off",
            vec![
                Step::command(
                    Risk::Read,
                    "shows which Services exist there",
                    ["kubectl", "get", "services", "-n", SYSTEM_NAMESPACE],
                ),
                Step::command(
                    Risk::Change,
                    "opens the mesh settings in an editor: set extensionProviders and defaultProviders; create it if it is missing",
                    ["kubectl", "edit", "configmap", &shared, "-n", SYSTEM_NAMESPACE],
                ),
            ],
        ));
        for receiver in absent {
            finding = finding.evidence(
                SourceId::SystemConfigMaps,
                format!("{SYSTEM_NAMESPACE}/configmap/{name}"),
                receiver.path,
                receiver.address,
                Some("a Service that exists"),
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

/// Where traces go, as far as that is in the add-on's namespace.
struct Receiver {
    path: String,
    address: String,
    service: String,
}

fn receivers(config: &MeshConfig<'_>, telemetries: &[Telemetry]) -> Vec<Receiver> {
    let by_resource: Vec<&Value> = telemetries
        .iter()
        .filter_map(|telemetry| telemetry.spec.get("tracing")?.as_array())
        .flatten()
        .filter(|tracing| tracing.get("disableSpanReporting").and_then(Value::as_bool) != Some(true))
        .collect();
    let defaults: Vec<&str> = config
        .get("defaultProviders.tracing")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    let mut providers: BTreeSet<&str> = BTreeSet::new();
    for tracing in &by_resource {
        let named = tracing.get("providers").and_then(Value::as_array).into_iter().flatten();
        let named: Vec<&str> = named.filter_map(|provider| provider.get("name")?.as_str()).collect();
        providers.extend(if named.is_empty() { &defaults } else { &named });
    }
    let user_sets = |path: &str| config.user().is_some_and(|user| user.get(path).is_some());
    if user_sets("defaultProviders.tracing") {
        providers.extend(&defaults);
    }
    let mut found: Vec<Receiver> = providers
        .into_iter()
        .filter_map(|name| {
            let path = format!("extensionProviders[{name}]");
            let kinds = config.get(&path)?.as_object()?;
            let address = kinds.values().find_map(|kind| kind.get("service")?.as_str())?;
            receiver(&path, address)
        })
        .collect();
    // Without a provider the old way holds: sampling by default, to the address of the proxy's own configuration.
    let asked = user_sets("defaultConfig.tracing") || user_sets("enableTracing");
    if defaults.is_empty() && asked && config.switch("enableTracing") != Some(false) {
        let zipkin =
            config.get("defaultConfig.tracing").and_then(|tracing| tracing.get("zipkin")?.get("address")?.as_str());
        let (path, address) = match zipkin {
            Some(address) => ("defaultConfig.tracing.zipkin.address", Some(address)),
            None => ("defaultConfig.zipkinAddress", config.get("defaultConfig.zipkinAddress").and_then(Value::as_str)),
        };
        found.extend(address.and_then(|address| receiver(path, address)));
    }
    found
}

/// The Service that an address names in the add-on's namespace: `zipkin.aks-istio-system[.svc…][:9411]` or
/// `aks-istio-system/zipkin…`.
fn receiver(path: &str, address: &str) -> Option<Receiver> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let service = match host.split_once('/') {
        Some((SYSTEM_NAMESPACE, host)) => host.split('.').next()?,
        Some(_) => return None,
        None => {
            let mut parts = host.split('.');
            let service = parts.next()?;
            if parts.next() != Some(SYSTEM_NAMESPACE) || parts.next().is_some_and(|part| part != "svc") {
                return None;
            }
            service
        }
    };
    Some(Receiver { path: path.to_owned(), address: address.to_owned(), service: service.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_services_of_the_add_ons_namespace_are_receivers() {
        for (address, service) in [
            ("zipkin.aks-istio-system:9411", Some("zipkin")),
            ("zipkin.aks-istio-system.svc.cluster.local", Some("zipkin")),
            ("aks-istio-system/otel.aks-istio-system.svc.cluster.local", Some("otel")),
            ("zipkin.observability.svc.cluster.local:9411", None),
            ("observability/zipkin.example.com", None),
            ("zipkin.aks-istio-system.example.com", None),
            ("zipkin:9411", None),
            ("", None),
        ] {
            assert_eq!(receiver("p", address).map(|r| r.service).as_deref(), service, "{address}");
        }
    }
}
