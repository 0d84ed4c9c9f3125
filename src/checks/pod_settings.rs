//! PRX: what pods and their owners set that does not go with a proxy.

use serde::Deserialize;

use super::remedies::{names, subject, workload_key};
use super::stranded::{VERDICTS, VERDICTS_USE, impact, label, object};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy::{PROXY_PORTS, PROXY_USER, ProxyKind, application_containers, is_gateway_template};
use crate::mesh::workload::Workload;
use crate::model::PodSpec;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&PORT_CLASH, &ALL_CORES, &PROXY_UID];

/// Workloads of users that have a proxy now or get one with their next pod.
fn in_mesh<'a>(lens: &Lens<'a>) -> Result<Vec<&'a Workload<'a>>, Missing> {
    lens.rules()?;
    let in_mesh = |workload: &&Workload<'_>| {
        !lens.is_managed(workload.namespace) && (workload.injected_pods() > 0 || workload.next.injected == Some(true))
    };
    Ok(lens.workloads()?.iter().filter(in_mesh).collect())
}

/// Those of them whose proxy is a sidecar of an application, with what their pods are made from.
fn with_sidecar<'a>(lens: &Lens<'a>) -> Result<Vec<(&'a Workload<'a>, &'a PodSpec)>, Missing> {
    let is_gateway = |kind: &ProxyKind| matches!(kind, ProxyKind::Gateway | ProxyKind::ManagedGateway);
    Ok(in_mesh(lens)?
        .into_iter()
        .filter(|workload| !workload.kinds().iter().any(is_gateway))
        .filter_map(|workload| Some((workload, workload.template()?)))
        .filter(|(_, (meta, _))| !is_gateway_template(&meta.annotations))
        .map(|(workload, (_, spec))| (workload, spec))
        .collect())
}

/// Shows a workload's manifest, where kubectl knows its kind by that name.
fn manifest(workload: &Workload<'_>, what: &str) -> Step {
    let owner = format!("{}/{}", workload.kind.to_lowercase(), workload.name);
    Step::command(Risk::Read, what, ["kubectl", "get", &owner, "-n", workload.namespace, "-o", "yaml"])
}

static PORT_CLASH: Check = Check {
    code: "PRX06",
    name: "port-of-the-proxy",
    title: "No application uses a port of its proxy",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: VERDICTS,
    uses: VERDICTS_USE,
    docs: "## What it means
A container beside a sidecar declares a port that the sidecar listens on. All containers of a pod share one network: whichever of the two starts second cannot listen. Either the application does not start, or the proxy never gets ready.

## Why it happens on AKS
Few applications use these ports by default, but some compute one port from another: a Redis Cluster node listens on its port plus 10000.

## How we know
The TCP ports of the containers in the pod template are compared with Istio's list: 15000, 15001, 15004, 15006, 15008, 15020, 15021, 15053 (where DNS goes through the proxy), 15090. Only workloads with a sidecar now or after their next restart are looked at, and gateways are not.

## What to do
Let the application listen on another port; the proxy's ports are fixed. Or keep it out of the mesh with the label `sidecar.istio.io/inject: \"false\"` on its pod template.

## Sources
<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for (workload, spec) in with_sidecar(lens)? {
            verdict.examined += 1;
            let clashes: Vec<_> = application_containers(spec)
                .flat_map(|container| container.ports.iter().map(|port| (container.name.as_str(), *port)))
                .filter_map(|(name, port)| Some((name, PROXY_PORTS.iter().find(|(held, _)| *held == port)?)))
                .collect();
            let Some((container, (port, purpose))) = clashes.first() else { continue };
            let mut finding = Finding::new(
                subject(workload),
                format!("{}: container {container} uses its proxy's port {port}", label(workload)),
                format!("The proxy listens there for {purpose}. Whichever of the two starts second fails."),
            )
            .key(KeyKind::Workload, workload_key(workload))
            .impact(impact(workload.pods.len()))
            .remedy(Remedy::new(
                "move the application to another port",
                vec![
                    manifest(workload, "shows where the port is set"),
                    Step::text(
                        Risk::Change,
                        "let the application listen on a port outside 15000 to 15090, and change its containerPort and Services to it",
                    ),
                ],
            ));
            for (container, (port, purpose)) in &clashes {
                let field = format!("container {container}, containerPort");
                let expected = format!("another port; {port} is the proxy's, for {purpose}");
                finding = finding.evidence(SourceId::Pods, object(workload), field, port.to_string(), Some(&expected));
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

/// The part of a proxy's configuration that says how many threads it works with.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Threads {
    concurrency: serde_yaml::Value,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Mesh {
    default_config: Option<Threads>,
}

impl Threads {
    /// Nought means one thread for each core of the node; numbers may be quoted.
    fn all_cores(&self) -> bool {
        self.concurrency.as_i64() == Some(0) || self.concurrency.as_str().is_some_and(|text| text.trim() == "0")
    }
}

const PROXY_CONFIG: &str = "proxy.istio.io/config";

static ALL_CORES: Check = Check {
    code: "PRX09",
    name: "proxy-on-all-cores",
    title: "No proxy is told to use all cores of its node",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: &[
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
`concurrency: 0` gives a proxy one thread for each core of its node, whatever its CPU limit. On a large node that costs memory and connections for every thread, and the proxy is throttled at its limit.

## Why it happens on AKS
Zero reads like \"no limit\" or \"automatic\". Automatic is to leave the field out: then the number follows the proxy's CPU limit.

## How we know
The annotation `proxy.istio.io/config` on pod templates of workloads in the mesh, and `defaultConfig` in the ConfigMap `istio-shared-configmap-REVISION` of each installed revision.

## What to do
Remove the field, or set a number of threads, then restart the workloads.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-meshconfig>, <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#ProxyConfig>",
    run: all_cores,
};

fn all_cores(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let detail =
        "Each proxy starts a thread per core of its node: that costs memory, and it is throttled at its CPU limit.";
    let mut verdict = Verdict::default();
    let revisions = lens.revisions()?;
    for workload in in_mesh(lens)? {
        verdict.examined += 1;
        let Some((meta, _)) = workload.template() else { continue };
        let threads = meta.annotation(PROXY_CONFIG).and_then(|text| crate::model::yaml::from_str::<Threads>(text).ok());
        if !threads.is_some_and(|threads| threads.all_cores()) {
            continue;
        }
        verdict.findings.push(
            Finding::new(
                subject(workload),
                format!("{}: its proxies use all cores (concurrency 0)", label(workload)),
                detail,
            )
            .key(KeyKind::Workload, workload_key(workload))
            .impact(impact(workload.injected_pods()))
            .remedy(Remedy::new(
                "take concurrency out of the annotation",
                vec![
                    manifest(workload, "shows the annotation"),
                    Step::text(Risk::Change, format!("remove concurrency from the annotation {PROXY_CONFIG} of its pod template; that replaces its pods")),
                ],
            ))
            .evidence(
                SourceId::Pods,
                object(workload),
                format!("pod template annotation {PROXY_CONFIG}, concurrency"),
                "0",
                Some("absent, or a number of threads"),
            ),
        );
    }
    for map in lens.snapshot().system_config_maps.items().unwrap_or_default() {
        let name = map.metadata.name.as_str();
        let revision =
            name.strip_prefix("istio-shared-configmap-").and_then(|r| revisions.iter().find(|i| i.name == r));
        let Some(revision) = revision.filter(|_| map.metadata.namespace == SYSTEM_NAMESPACE) else { continue };
        verdict.examined += 1;
        let mesh = map.data.get("mesh").and_then(|text| crate::model::yaml::from_str::<Mesh>(text).ok());
        if !mesh.and_then(|mesh| mesh.default_config).is_some_and(|threads| threads.all_cores()) {
            continue;
        }
        verdict.findings.push(
            Finding::new(
                Subject::new("ConfigMap", SYSTEM_NAMESPACE, name),
                format!("{name}: proxies use all cores (concurrency 0)"),
                detail,
            )
            .key(KeyKind::Object, format!("ConfigMap/{SYSTEM_NAMESPACE}/{name}"))
            .key(KeyKind::Revision, &revision.name)
            .remedy(Remedy::new(
                "take concurrency out of the shared configuration",
                vec![Step {
                    text: "opens it in an editor: remove defaultConfig.concurrency, or set a number; pods follow at their next restart"
                        .to_owned(),
                    ..Step::command(Risk::Change, "", ["kubectl", "edit", "configmap", name, "-n", SYSTEM_NAMESPACE])
                }],
            ))
            .evidence(
                SourceId::SystemConfigMaps,
                format!("{SYSTEM_NAMESPACE}/configmap/{name}"),
                "mesh, defaultConfig.concurrency",
                "0",
                Some("absent, or a number of threads"),
            ),
        );
    }
    Ok(verdict)
}

static PROXY_UID: Check = Check {
    code: "PRX10",
    name: "application-runs-as-proxy-user",
    title: "No application runs as the proxy's user",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: VERDICTS,
    uses: VERDICTS_USE,
    docs: "## What it means
A container beside a sidecar runs as user 1337. That user is the proxy's, and traffic of the proxy itself is never redirected to the proxy. The container's calls leave the pod in plain text, past mutual TLS, routing rules and metrics; services that demand mutual TLS refuse them.

## Why it happens on AKS
The number was copied from the proxy's own security context, or an image happens to use it.

## How we know
`runAsUser` of the containers in the pod template, else that of the pod. Init containers that end do not count: 1337 is Istio's own advice for those that need the network before the proxy runs. A user set inside the image cannot be seen.

## What to do
Run the application as any other user.

## Sources
<https://istio.io/latest/docs/ops/deployment/application-requirements/#pod-requirements>, <https://istio.io/latest/docs/reference/config/analysis/ist0144/>, <https://istio.io/latest/docs/setup/additional-setup/cni/#compatibility-with-application-init-containers>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for (workload, spec) in with_sidecar(lens)? {
            verdict.examined += 1;
            let of_pod = spec.security_context.run_as_user;
            let bypassing: Vec<_> = application_containers(spec)
                .filter(|container| container.security_context.run_as_user.or(of_pod) == Some(PROXY_USER))
                .map(|container| container.name.as_str())
                .collect();
            if bypassing.is_empty() {
                continue;
            }
            let noun = if bypassing.len() == 1 { "container" } else { "containers" };
            verdict.findings.push(
                Finding::new(
                    subject(workload),
                    format!("{}: {noun} {} as user {PROXY_USER}, the proxy's own", label(workload), match bypassing.as_slice() {
                        [one] => format!("{one} runs"),
                        several => format!("{} run", names(several.iter().copied())),
                    }),
                    "What that user sends bypasses the proxy: no mutual TLS, no routing rules, no metrics.",
                )
                .key(KeyKind::Workload, workload_key(workload))
                .impact(impact(workload.pods.len()))
                .remedy(Remedy::new(
                    "run it as another user",
                    vec![
                        manifest(workload, "shows where the user is set"),
                        Step::text(Risk::Change, "set runAsUser in its pod template to any other user; that replaces its pods"),
                    ],
                ))
                .evidence(
                    SourceId::Pods,
                    object(workload),
                    format!("runAsUser of {}", names(bypassing.iter().copied())),
                    PROXY_USER.to_string(),
                    Some("any other user"),
                ),
            );
        }
        Ok(verdict)
    },
};
