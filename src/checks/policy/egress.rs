//! ServiceEntries that load DNS, and HTTP proxies without a ServiceEntry.

use std::collections::{BTreeMap, BTreeSet};

use crate::checks::remedies::{count, names, workload_key};
use crate::engine::finding::KeyKind;
use crate::engine::lens::OWNERS;
use crate::engine::{Area, Check, Finding, Impact, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy::PROXY_CONTAINER;
use crate::mesh::workload::Workload;
use crate::model::{MetaOnly, ServiceEntry};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Names times proxies from which on the lookups are worth a word. At the usual life time of 30 seconds of a cloud
/// host's address they are 3,300 lookups a second, half of what one CoreDNS pod answered for names outside the cluster
/// in CoreDNS's own measurement (<https://github.com/coredns/deployment/blob/master/kubernetes/Scaling_CoreDNS.md>).
const LOOKUPS: usize = 100_000;

pub(super) static DNS_ENTRIES: Check = Check {
    code: "POL07",
    name: "dns-load-of-service-entries",
    title: "ServiceEntries do not make every proxy resolve many names",
    area: Area::Policy,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::ServiceEntries,
        SourceId::Sidecars,
    ],
    uses: OWNERS,
    docs: "## What it means
With `resolution: DNS` every proxy that sees a ServiceEntry resolves its names itself, again and again, whether its workload calls them or not. Many names times many proxies are a steady load on CoreDNS, and slow lookups for everybody.

## Why it happens on AKS
A ServiceEntry is visible in all namespaces unless it says otherwise, and `resolution: DNS` is what most examples use.

## How we know
For each proxy the names are counted that it resolves: those of ServiceEntries with `resolution: DNS` or `DNS_ROUND_ROBIN` that are visible in its namespace. Namespaces with a Sidecar resource are left out, because it limits what their proxies see; a Sidecar in `aks-istio-system` does so for all. From 100,000 names times proxies on this is a warning: with DNS answers that live 30 seconds they are about 3,300 lookups a second, half of what one CoreDNS pod was measured to answer for outside names.

## What to do
Use `resolution: NONE` where the application resolves the name itself, which is the usual case (not for egress gateways). Limit the others with `exportTo: [\".\"]` to their own namespace, and raise the time to live of names in your own DNS zones.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale#service-entry>, <https://istio.io/latest/docs/ops/configuration/traffic-management/dns/>, <https://github.com/coredns/deployment/blob/master/kubernetes/Scaling_CoreDNS.md>",
    run: dns_entries,
};

/// Which proxies resolve the names of which entries.
struct Load<'a> {
    entries: Vec<&'a ServiceEntry>,
    /// Proxies by namespace; without those whose view a Sidecar resource limits.
    proxies: BTreeMap<&'a str, usize>,
}

impl Load<'_> {
    fn everybody(&self) -> usize {
        self.proxies.values().sum()
    }

    /// Names of an entry times proxies that see it.
    fn of(&self, entry: &ServiceEntry) -> usize {
        let export = &entry.spec.export_to;
        let seen_by = if export.is_empty() || export.iter().any(|namespace| namespace == "*") {
            self.everybody()
        } else {
            let own = entry.metadata.namespace.as_str();
            let named: BTreeSet<&str> = export.iter().map(|name| if name == "." { own } else { name }).collect();
            named.iter().filter_map(|namespace| self.proxies.get(namespace)).sum()
        };
        entry.spec.hosts.len() * seen_by
    }

    fn total(&self) -> usize {
        self.entries.iter().map(|entry| self.of(entry)).sum()
    }
}

fn load<'a>(
    entries: &'a [ServiceEntry],
    proxies: impl IntoIterator<Item = (&'a str, usize)>,
    sidecars: &'a [MetaOnly],
) -> Load<'a> {
    let limited: BTreeSet<&str> = sidecars.iter().map(|sidecar| sidecar.metadata.namespace.as_str()).collect();
    let mut by_namespace: BTreeMap<&str, usize> = BTreeMap::new();
    for (namespace, count) in proxies {
        if !limited.contains(namespace) && !limited.contains(SYSTEM_NAMESPACE) {
            *by_namespace.entry(namespace).or_default() += count;
        }
    }
    let resolves = |entry: &&ServiceEntry| matches!(entry.spec.resolution.as_str(), "DNS" | "DNS_ROUND_ROBIN");
    Load { entries: entries.iter().filter(resolves).collect(), proxies: by_namespace }
}

fn dns_entries(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need_served(&[SourceId::ServiceEntries, SourceId::Sidecars])?;
    let snapshot = lens.snapshot();
    let proxies = lens.workloads()?.iter().map(|workload| (workload.namespace, workload.injected_pods()));
    let load = load(
        snapshot.service_entries.items().unwrap_or_default(),
        proxies,
        snapshot.sidecars.items().unwrap_or_default(),
    );
    let mut verdict = Verdict { examined: load.entries.len(), findings: Vec::new() };
    if load.total() < LOOKUPS {
        return Ok(verdict);
    }
    let (entries, everybody) = (&load.entries, load.everybody());
    let hosts: usize = entries.iter().map(|entry| entry.spec.hosts.len()).sum();
    let mut widest: Vec<(usize, &ServiceEntry)> = entries.iter().map(|entry| (load.of(entry), *entry)).collect();
    widest.sort_by_key(|(load, entry)| (std::cmp::Reverse(*load), &entry.metadata.namespace, &entry.metadata.name));
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "service-entries"),
        format!("ServiceEntries make {everybody} proxies resolve {}", count(hosts, "name")),
        "Each proxy looks up every name again and again, called or not. That loads CoreDNS and slows all lookups.",
    )
    .key(KeyKind::Object, "ServiceEntry")
    .remedy(Remedy::new(
        "use resolution NONE, or limit them to their own namespace",
        vec![
            Step::command(
                Risk::Read,
                "shows each with its resolution and the namespaces that see it",
                [
                    "kubectl",
                    "get",
                    "serviceentries.networking.istio.io",
                    "-A",
                    "-o",
                    "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,RESOLUTION:.spec.resolution,EXPORT:.spec.exportTo",
                ],
            ),
            Step::command(
                Risk::Change,
                "limits one to its own namespace, if no other one calls its hosts",
                [
                    "kubectl",
                    "patch",
                    "serviceentries.networking.istio.io",
                    "<name>",
                    "-n",
                    "<namespace>",
                    "--type=merge",
                    "-p",
                    r#"{"spec":{"exportTo":["."]}}"#,
                ],
            ),
        ],
    ));
    for (load, entry) in widest.into_iter().take(5) {
        finding = finding.evidence(
            SourceId::ServiceEntries,
            super::object_name("ServiceEntry", &entry.metadata),
            "its names × proxies that resolve them",
            load.to_string(),
            None,
        );
    }
    verdict.findings.push(finding);
    Ok(verdict)
}

pub(super) static PROXY_WITHOUT_ENTRY: Check = Check {
    code: "POL08",
    name: "http-proxy-without-service-entry",
    title: "Where workloads of the mesh use an HTTP proxy, a ServiceEntry names it",
    area: Area::Policy,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::ServiceEntries,
    ],
    uses: OWNERS,
    docs: "## What it means
Environment variables such as `HTTPS_PROXY` tell applications with a sidecar to call the internet through an HTTP proxy, and no ServiceEntry tells the mesh about that proxy. The sidecar then takes the request to the proxy (`CONNECT host:443`) for an ordinary HTTP request and may answer it itself, mostly with 404; with `REGISTRY_ONLY` it refuses it.

## Why it happens on AKS
On a cluster with an HTTP proxy AKS sets these variables in every pod, those of the mesh included. Only Microsoft's page about the HTTP proxy says that the mesh needs a ServiceEntry for it.

## How we know
Pods with a sidecar, one of whose other containers has such a variable, while no ServiceEntry of the mesh is `MESH_EXTERNAL` with a port of protocol `TCP`. The values of the variables are never read, so whether an existing entry names the right proxy is not judged; and a proxy inside the cluster needs none.

## What to do
Create a ServiceEntry with any name in `hosts`, the proxy's address in `addresses`, location `MESH_EXTERNAL`, resolution `NONE` and a port of protocol `TCP`. Pods that need no proxy can have the annotation `kubernetes.azure.com/no-http-proxy-vars: \"true\"`.

## Sources
<https://learn.microsoft.com/azure/aks/http-proxy>, <https://istio.io/latest/docs/tasks/traffic-management/egress/http-proxy/>",
    run: proxy_without_entry,
};

fn uses_proxy(workload: &Workload<'_>) -> bool {
    workload.pods.iter().any(|(pod, proxy)| {
        proxy.is_some()
            && pod
                .spec
                .containers
                .iter()
                .any(|container| container.name != PROXY_CONTAINER && container.env.has_http_proxy)
    })
}

fn proxy_without_entry(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need_served(&[SourceId::ServiceEntries])?;
    let workloads = lens.workloads()?;
    let mut verdict = Verdict::default();
    // The entry may be in any namespace, so a narrow look cannot miss it.
    if lens.snapshot().scope.namespaces.is_some() {
        return Ok(verdict);
    }
    let mut by_namespace: BTreeMap<&str, Vec<&Workload<'_>>> = BTreeMap::new();
    for workload in workloads.iter().filter(|w| w.injected_pods() > 0 && !lens.is_managed(w.namespace)) {
        verdict.examined += 1;
        if uses_proxy(workload) {
            by_namespace.entry(workload.namespace).or_default().push(workload);
        }
    }
    let names_a_proxy = |entry: &ServiceEntry| {
        matches!(entry.spec.location.as_str(), "" | "MESH_EXTERNAL")
            && entry.spec.ports.iter().any(|port| port.protocol.eq_ignore_ascii_case("TCP"))
    };
    if lens.snapshot().service_entries.items().unwrap_or_default().iter().any(names_a_proxy) {
        return Ok(verdict);
    }
    for (namespace, workloads) in by_namespace {
        let mut finding = Finding::new(
            Subject::cluster("Namespace", namespace),
            format!("namespace {namespace}: workloads use an HTTP proxy that the mesh does not know"),
            "Their calls through the HTTP proxy may fail: the sidecar answers some itself, mostly with 404.",
        )
        .key(KeyKind::Namespace, namespace)
        .impact(Impact {
            namespaces: 1,
            workloads: workloads.len(),
            pods: workloads.iter().map(|workload| workload.injected_pods()).sum(),
        })
        .remedy(Remedy::new(
            "create a ServiceEntry for the proxy",
            vec![
                Step::text(
                    Risk::Read,
                    "write a ServiceEntry: any name in hosts, addresses PROXY-IP/32, its port with protocol TCP, location MESH_EXTERNAL, resolution NONE",
                ),
                Step::command(
                    Risk::Change,
                    "creates it for the whole mesh",
                    ["kubectl", "apply", "-n", SYSTEM_NAMESPACE, "-f", "<file>"],
                ),
            ],
        ))
        .evidence(
            SourceId::Pods,
            format!("namespace/{namespace}"),
            "workloads with a proxy variable",
            names(workloads.iter().map(|workload| workload.name.as_str())),
            None,
        )
        .evidence(
            SourceId::ServiceEntries,
            "the cluster",
            "ServiceEntries with MESH_EXTERNAL and a TCP port",
            "0",
            Some("one, for the proxy"),
        );
        for workload in workloads {
            finding = finding.key(KeyKind::Workload, workload_key(workload));
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn names_count_for_the_proxies_that_resolve_them() {
        let entry = |spec: serde_json::Value| -> ServiceEntry {
            serde_json::from_value(json!({"metadata": {"name": "e", "namespace": "own"}, "spec": spec})).unwrap()
        };
        let sidecar = |namespace: &str| -> MetaOnly {
            serde_json::from_value(json!({"metadata": {"name": "default", "namespace": namespace}})).unwrap()
        };
        let hosts = json!(["a.example.com", "b.example.com"]);
        for (spec, sidecars, expected) in [
            (json!({"hosts": hosts, "resolution": "DNS"}), vec![], 2 * 70),
            (json!({"hosts": hosts, "resolution": "DNS_ROUND_ROBIN", "exportTo": ["*"]}), vec![], 2 * 70),
            (json!({"hosts": hosts, "resolution": "DNS", "exportTo": ["."]}), vec![], 2 * 20),
            (json!({"hosts": hosts, "resolution": "DNS", "exportTo": [".", "own", "other"]}), vec![], 2 * 70),
            (json!({"hosts": hosts, "resolution": "DNS", "exportTo": ["nobody"]}), vec![], 0),
            (json!({"hosts": hosts, "resolution": "NONE"}), vec![], 0),
            (json!({"hosts": hosts}), vec![], 0),
            (json!({"hosts": hosts, "resolution": "DNS"}), vec![sidecar("other")], 2 * 20),
            (json!({"hosts": hosts, "resolution": "DNS"}), vec![sidecar("aks-istio-system")], 0),
        ] {
            let entries = [entry(spec.clone())];
            let load = load(&entries, [("own", 20), ("other", 40), ("other", 10)], &sidecars);
            assert_eq!(load.total(), expected, "{spec}");
        }
    }
}
