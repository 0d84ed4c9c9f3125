//! What the mesh configuration in force does to the cluster.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::Value;

use super::{about, edit, place, show};
use crate::checks::remedies::{names, workload_key};
use crate::engine::finding::KeyKind;
use crate::engine::lens::OWNERS;
use crate::engine::{Area, Check, Finding, Impact, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::mesh_config::{MeshConfig, managed_name, shared_name};
use crate::mesh::workload::Workload;
use crate::model::LabelSelector;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

pub(super) static HIDDEN_NAMESPACES: Check = Check {
    code: "CFG07",
    name: "injected-namespace-hidden",
    title: "The discovery selectors take in every namespace with sidecars",
    area: Area::MeshConfig,
    severity: Severity::Error,
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
    uses: OWNERS,
    docs: "## What it means
The mesh configuration tells istiod to watch only namespaces with certain labels (`discoverySelectors`), and a namespace with sidecars has none of them. istiod then knows no Service and no Istio resource there: calls to its Services are in plain text (with `REGISTRY_ONLY` they fail), and its policies and routes do not apply. It also writes no root certificate there, so pods in a new namespace wait for the ConfigMap `istio-ca-root-cert`.

## Why it happens on AKS
`discoverySelectors` is a supported way to save memory in istiod and the sidecars. It does not affect injection: the label `istio.io/rev` brings the sidecar, whether the namespace is selected or not.

## How we know
The selectors in force for a revision are evaluated against the labels of each namespace that has pods with a sidecar of that revision. One matching selector is enough; no selectors at all mean every namespace.

## What to do
Give the namespace the label that the selectors ask for, or widen the selectors. A selector on the label `istio.io/rev` itself keeps both in step.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig>, <https://istio.io/latest/docs/ops/configuration/mesh/configuration-scoping/>, `pkg/kube/namespace/filter.go` and `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go` in <https://github.com/istio/istio>",
    run: hidden_namespaces,
};

fn hidden_namespaces(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let configs = lens.mesh_configs()?;
    let workloads = lens.workloads()?;
    let mut verdict = Verdict::default();
    // During an upgrade a namespace may have sidecars of both revisions; it is one fault.
    let mut told = BTreeSet::new();
    for config in &configs {
        let Some(selectors) = selectors(config) else { continue };
        let mut by_namespace: BTreeMap<&str, Vec<&Workload<'_>>> = BTreeMap::new();
        for workload in workloads {
            if workload.revisions().contains(config.revision.as_str()) && !lens.is_managed(workload.namespace) {
                by_namespace.entry(workload.namespace).or_default().push(workload);
            }
        }
        for (namespace, workloads) in by_namespace {
            let Some(labels) = lens.namespace_labels(namespace) else { continue };
            verdict.examined += 1;
            // An operator that is not known makes the answer unknown.
            let leave_out = |selector: &LabelSelector| selector.matches(labels) == Some(false);
            if selectors.iter().all(leave_out) && told.insert(namespace) {
                verdict.findings.push(hidden(config, namespace, &workloads));
            }
        }
    }
    Ok(verdict)
}

/// The selectors in force; none where there are none or they cannot be read.
fn selectors(config: &MeshConfig<'_>) -> Option<Vec<LabelSelector>> {
    let selectors = Vec::<LabelSelector>::deserialize(config.get("discoverySelectors")?).ok()?;
    (!selectors.is_empty()).then_some(selectors)
}

fn hidden(config: &MeshConfig<'_>, namespace: &str, workloads: &[&Workload<'_>]) -> Finding {
    let revision = &config.revision;
    let map = if config.aks().is_some_and(|aks| aks.get("discoverySelectors").is_some()) {
        managed_name(revision)
    } else {
        shared_name(revision)
    };
    let observed = config.get("discoverySelectors").map(Value::to_string).unwrap_or_default();
    let mut finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        format!("namespace {namespace} has sidecars, but discoverySelectors leave it out"),
        "istiod does not watch it: its Istio policies do not apply, and calls to its Services are in plain text.",
    )
    .related(&Subject::new("ConfigMap", SYSTEM_NAMESPACE, map.as_str()), "sets the selectors")
    .key(KeyKind::Namespace, namespace)
    .key(KeyKind::Revision, revision)
    .key(KeyKind::Object, format!("ConfigMap/{SYSTEM_NAMESPACE}/{map}"))
    .impact(Impact {
        namespaces: 1,
        workloads: workloads.len(),
        pods: workloads.iter().map(|workload| workload.injected_pods()).sum(),
    })
    .remedy(Remedy::new(
        "give the namespace a label that the selectors ask for, or widen them",
        vec![
            show(&map),
            Step::command(
                Risk::Change,
                "gives the namespace a label that the selectors ask for",
                ["kubectl", "label", "namespace", namespace, "<label>=<value>"],
            ),
            edit(&map, "or instead: opens the selectors, to widen them"),
        ],
    ))
    .evidence(
        SourceId::SystemConfigMaps,
        place(&map),
        "discoverySelectors",
        observed,
        Some("a selector that matches the namespace"),
    )
    .evidence(
        SourceId::Pods,
        format!("namespace/{namespace}"),
        "workloads with a sidecar",
        names(workloads.iter().map(|workload| workload.name.as_str())),
        None,
    );
    for workload in workloads {
        finding = finding.key(KeyKind::Workload, workload_key(workload));
    }
    finding
}

pub(super) static NOTHING_REGISTERED: Check = Check {
    code: "CFG08",
    name: "registry-only-without-entries",
    title: "Where only known hosts may be called, some outside host is known",
    area: Area::MeshConfig,
    severity: Severity::Info,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps, SourceId::ServiceEntries],
    uses: &[],
    docs: "## What it means
The mesh configuration lets sidecars call only hosts that Istio knows (`outboundTrafficPolicy: REGISTRY_ONLY`), and no ServiceEntry makes any host outside the cluster known. For every call that leaves the cluster the sidecar answers 502 or closes the connection.

## Why it happens on AKS
The setting was copied from a hardening guide, and the ServiceEntries were forgotten or left in an earlier cluster.

## How we know
The mode in force for a revision, and the number of ServiceEntries in the examined namespaces. It is an info: a mesh that must not call anything outside is set up like this on purpose.

## What to do
Create a ServiceEntry for each outside host that workloads call, or allow all of them (`mode: ALLOW_ANY`).

## Sources
<https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/>, <https://learn.microsoft.com/azure/aks/istio-meshconfig>",
    run: |lens| {
        let configs = lens.mesh_configs()?;
        lens.need_served(&[SourceId::ServiceEntries])?;
        let entries = lens.snapshot().service_entries.items().unwrap_or_default().len();
        // A narrow look cannot tell that there is none.
        let whole = lens.snapshot().scope.namespaces.is_none();
        let mut verdict = Verdict { examined: configs.len(), findings: Vec::new() };
        for config in &configs {
            let mode = config.get("outboundTrafficPolicy").and_then(|policy| policy.get("mode")).and_then(Value::as_str);
            if mode != Some("REGISTRY_ONLY") || entries > 0 || !whole {
                continue;
            }
            let of_aks = config.aks().is_some_and(|aks| aks.get("outboundTrafficPolicy").is_some());
            let name = if of_aks { managed_name(&config.revision) } else { shared_name(&config.revision) };
            verdict.findings.push(
                about(
                    &name,
                    SYSTEM_NAMESPACE,
                    &config.revision,
                    format!("{name} blocks all outside hosts: no ServiceEntry"),
                    "Sidecars refuse every call to a host outside the cluster.",
                )
                .remedy(Remedy::new(
                    "create a ServiceEntry for each outside host, if workloads call any",
                    vec![
                        Step::command(
                            Risk::Read,
                            "shows the ServiceEntries",
                            ["kubectl", "get", "serviceentries.networking.istio.io", "-A"],
                        ),
                        edit(&name, "or instead: opens it, to set mode ALLOW_ANY"),
                    ],
                ))
                .evidence(
                    SourceId::SystemConfigMaps,
                    place(&name),
                    "outboundTrafficPolicy.mode",
                    "REGISTRY_ONLY",
                    Some("ServiceEntries for outside hosts, or ALLOW_ANY"),
                )
                .evidence(SourceId::ServiceEntries, "the cluster", "ServiceEntries", "0", None),
            );
        }
        Ok(verdict)
    },
};
