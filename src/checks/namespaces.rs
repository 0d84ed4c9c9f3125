//! INJ: namespaces and Jobs that injection does not suit.

use jiff::SignedDuration;

use super::injection::{LABELS, judge_namespaces, opts_out};
use super::remedies::{count, label_namespace, restart, subject, unlabel_namespace, workload_key};
use super::stranded::{impact, label, object};
use crate::engine::finding::KeyKind;
use crate::engine::lens::{BLAST, OWNERS, WORKLOADS};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::recommended;
use crate::mesh::injection::{IGNORED_NAMESPACES, INJECT, INJECTION, REV};
use crate::mesh::mtls::is_strict;
use crate::mesh::proxy::{PROXY_CONTAINER, ProxyKind};
use crate::mesh::proxy_state;
use crate::mesh::workload::Workload;
use crate::model::{Namespace, Pod};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&OPTED_OUT, &OPEN_SERVICE_MESH, &SYSTEM_NAMESPACES, &ENDLESS];

/// The label by which Open Service Mesh takes a namespace in, and the annotation that switches its injection on
/// (`pkg/constants/constants.go` of openservicemesh/osm).
const MONITORED: &str = "openservicemesh.io/monitored-by";
const OSM_INJECTION: &str = "openservicemesh.io/sidecar-injection";
/// Name of the injecting entry of Open Service Mesh; the add-on's configuration is called `aks-osm-webhook-osm`.
const OSM_ENTRY: &str = "osm-inject.k8s.io";

/// The application routing add-on labels its own namespace for Open Service Mesh
/// (`pkg/manifests/common.go` of Azure/aks-app-routing-operator).
const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const APP_ROUTING: &str = "aks-app-routing-operator";

static OPTED_OUT: Check = Check {
    code: "INJ06",
    name: "opted-out-under-strict-tls",
    title: "No workload opts out of injection where only mutual TLS is accepted",
    area: Area::Injection,
    severity: Severity::Info,
    inputs: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::PeerAuthentications,
    ],
    uses: OWNERS,
    docs: "## What it means
A workload opts out of injection with `sidecar.istio.io/inject: \"false\"`, in a namespace whose workloads accept mutual TLS only. Without a sidecar it cannot speak mutual TLS, so its calls to those workloads are refused. It can still be called itself.

## Why it happens on AKS
Jobs, agents and databases are often left out on purpose. When mutual TLS is made `STRICT` later, their calls begin to fail.

## How we know
The label or annotation on the pod template, and the PeerAuthentication resources of the namespace and of `aks-istio-system`. An opt-out where plain text is accepted is nobody's fault and is not told; `kubectl asm inject-check` lists all of them.

## What to do
Nothing, if these workloads call nobody in the mesh. Otherwise take the opt-out away and restart them, or let the workloads that they call accept plain text too (`PERMISSIVE`).

## Sources
<https://istio.io/latest/docs/concepts/security/#peer-authentication>, <https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/#controlling-the-injection-policy>",
    run: opted_out,
};

fn opted_out(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let workloads = lens.workloads()?;
    lens.need(&[SourceId::PeerAuthentications])?;
    let policies = lens.snapshot().peer_authentications.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for namespace in lens.namespaces()? {
        let name = &namespace.metadata.name;
        if namespace.metadata.label(REV).is_none() || lens.is_managed(name) {
            continue;
        }
        verdict.examined += 1;
        let on_host = |workload: &&Workload<'_>| workload.template().is_some_and(|(_, spec)| spec.host_network);
        let out: Vec<&Workload<'_>> = workloads
            .iter()
            .filter(|workload| workload.namespace == name && workload.injected_pods() == 0 && !workload.pods.is_empty())
            .filter(|workload| opts_out(workload) && !on_host(workload))
            .collect();
        let Some(first) = out.first().filter(|_| is_strict(policies, name)) else { continue };
        let mut finding = Finding::new(
            Subject::cluster("Namespace", name.clone()),
            format!("{} in {name} without injection, where mutual TLS is STRICT", count(out.len(), "workload")),
            "Their calls to workloads in the mesh there are refused.",
        )
        .key(KeyKind::Namespace, name)
        .evidence(SourceId::Pods, object(first), format!("label or annotation {INJECT}"), "false", None)
        .evidence(SourceId::PeerAuthentications, format!("namespace/{name}"), "mode of mutual TLS", "STRICT", None)
        .remedy(Remedy::new(
            "leave it so if they call nobody in the mesh",
            vec![Step::command(
                Risk::Read,
                "shows what decides for each workload",
                ["kubectl", "asm", "inject-check", "-n", name],
            )],
        ));
        for workload in out {
            finding = finding.related(&subject(workload), "opts out");
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

static OPEN_SERVICE_MESH: Check = Check {
    code: "INJ12",
    name: "open-service-mesh-label",
    title: "No namespace carries labels of Open Service Mesh",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: LABELS,
    uses: BLAST,
    docs: "## What it means
A namespace carries the label or annotation of Open Service Mesh. Without that mesh they do nothing. While its webhook is still there and the namespace has a revision's label too, both meshes add their proxy to a new pod and redirect its traffic: that is an error.

## Why it happens on AKS
The Open Service Mesh add-on came before the Istio add-on. Disabling it leaves the labels of namespaces where they are.

## How we know
The label `openservicemesh.io/monitored-by` and the annotation `openservicemesh.io/sidecar-injection` of namespaces, and whether a webhook `osm-inject.k8s.io` selects them. The namespace of the application routing add-on carries the label by itself and is left out.

## What to do
Remove the label and the annotation. If the namespace is still in Open Service Mesh, move it: remove them, add the revision's label, and restart its workloads.

## Sources
<https://learn.microsoft.com/azure/aks/open-service-mesh-istio-migration-guidance>, <https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: open_service_mesh,
};

/// The configuration of Open Service Mesh that is asked about new pods of a namespace.
fn osm_injector<'a>(lens: &Lens<'a>, namespace: &Namespace) -> Option<&'a str> {
    let configurations = lens.snapshot().mutating_webhooks.items().unwrap_or_default();
    let selects = |entry: &&crate::model::Webhook| {
        entry.name == OSM_ENTRY
            && entry.sees_pod_creation()
            && entry.namespace_selector.matches(&namespace.metadata.labels) == Some(true)
    };
    configurations
        .iter()
        .find(|configuration| configuration.webhooks.iter().find(selects).is_some())
        .map(|configuration| configuration.metadata.name.as_str())
}

fn open_service_mesh(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    judge_namespaces(lens, |namespace| {
        let meta = &namespace.metadata;
        let (monitored, injection) = (meta.label(MONITORED), meta.annotation(OSM_INJECTION));
        let asked =
            injection.is_some_and(|value| matches!(value.to_ascii_lowercase().as_str(), "enabled" | "yes" | "true"));
        if (monitored.is_none() && !asked) || meta.label(MANAGED_BY) == Some(APP_ROUTING) {
            return Ok(None);
        }
        let name = meta.name.as_str();
        let osm = osm_injector(lens, namespace).filter(|_| asked);
        let ours = meta.label(REV).is_some() && injectors.iter().any(|injector| injector.takes(&meta.labels));
        let (severity, summary, detail, remedy) = match (osm, ours) {
            (Some(_), true) => (
                Severity::Error,
                format!("namespace {name} is in Open Service Mesh and in the Istio add-on at once"),
                "Both meshes add a proxy to each new pod and redirect the same traffic.",
                "leave Open Service Mesh, then restart",
            ),
            (Some(_), false) => (
                Severity::Warning,
                format!("namespace {name} is still in Open Service Mesh"),
                "Its pods get the sidecar of that mesh, not Istio's. The two add-ons cannot stay side by side.",
                "move it to the Istio add-on",
            ),
            (None, _) => (
                Severity::Warning,
                format!("namespace {name} still carries labels of Open Service Mesh"),
                "They do nothing now, but would if Open Service Mesh were enabled again.",
                "remove what is left of it",
            ),
        };
        let mut finding = Finding::new(Subject::cluster("Namespace", name), summary, detail)
            .key(KeyKind::Namespace, name)
            .at_most(severity);
        let mut steps = Vec::new();
        if let Some(value) = monitored {
            let field = format!("label {MONITORED}");
            finding = finding.evidence(SourceId::Namespaces, format!("namespace/{name}"), field, value, Some("absent"));
            steps.push(unlabel_namespace(name, MONITORED));
        }
        if let Some(value) = injection {
            let field = format!("annotation {OSM_INJECTION}");
            finding = finding.evidence(SourceId::Namespaces, format!("namespace/{name}"), field, value, Some("absent"));
            steps.push(Step::command(
                Risk::Change,
                format!("removes the annotation {OSM_INJECTION}; running pods are not touched"),
                ["kubectl", "annotate", "namespace", name, &format!("{OSM_INJECTION}-")],
            ));
        }
        if let Some(webhook) = osm {
            finding = finding.key(KeyKind::Webhook, webhook).evidence(
                SourceId::MutatingWebhooks,
                format!("mutatingwebhookconfiguration/{webhook}"),
                "namespaceSelector",
                format!("selects {name}"),
                None,
            );
            if !ours {
                steps.extend(recommended(revisions).map(|revision| label_namespace(name, revision)));
            }
            steps.extend(restart(lens.workloads_of(name)));
        }
        Ok(Some(finding.remedy(Remedy::new(remedy, steps))))
    })
}

/// Namespaces whose pods AKS or Kubernetes makes. Others that AKS labels as its own may be meant to be in the mesh.
const SYSTEM: [&str; 6] =
    ["kube-system", "kube-public", "kube-node-lease", "gatekeeper-system", SYSTEM_NAMESPACE, INGRESS];
const INGRESS: &str = "aks-istio-ingress";

static SYSTEM_NAMESPACES: Check = Check {
    code: "INJ14",
    name: "system-namespace-labelled",
    title: "No system namespace is labelled for injection",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: &[SourceId::Namespaces],
    uses: &[
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
    ],
    docs: "## What it means
A namespace of Kubernetes or AKS has a label that asks for sidecars. In `kube-system` istiod adds none, but its webhook is asked about every new pod all the same and refuses it when istiod does not answer: then CoreDNS and other pods of the cluster itself cannot be created. In the other namespaces AKS's own pods get sidecars, which nobody has tested. In `aks-istio-ingress` it is an error where the label keeps the injector away: a gateway's new pods then have no proxy and do not start.

## Why it happens on AKS
A script labelled every namespace of the cluster.

## How we know
The labels `istio.io/rev` and `istio-injection` of `kube-system`, `kube-public`, `kube-node-lease`, `gatekeeper-system`, `aks-istio-system` and `aks-istio-ingress`. The gateways in `aks-istio-ingress` are injected by labels of their pods, which count only while the namespace has neither label: any value of `istio-injection`, or a revision that does not exist, takes that away.

## What to do
Remove the label.

## Sources
<https://learn.microsoft.com/azure/aks/faq>, <https://istio.io/latest/docs/setup/additional-setup/sidecar-injection/>, <https://github.com/istio/istio/blob/master/pkg/kube/inject/inject.go>",
    run: system_namespaces,
};

fn system_namespaces(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    // Which webhooks there are improves the judgement; without them the labels decide.
    let injectors = lens.injectors();
    let mut verdict = Verdict::default();
    for namespace in lens.namespaces()? {
        let meta = &namespace.metadata;
        let name = meta.name.as_str();
        if !SYSTEM.contains(&name) {
            continue;
        }
        verdict.examined += 1;
        // `disabled` asks for nothing, but beside a gateway's own labels it takes the injector away.
        let counts = |value: &&str| name == INGRESS || *value == "enabled";
        let asking: Vec<_> = [(REV, meta.label(REV)), (INJECTION, meta.label(INJECTION).filter(counts))]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
            .collect();
        if asking.is_empty() {
            continue;
        }
        let selected = match &injectors {
            Ok(injectors) => injectors.iter().any(|injector| injector.takes(&meta.labels)),
            Err(_) => meta.label(INJECTION).is_none(),
        };
        let detail = match (selected, IGNORED_NAMESPACES.contains(&name)) {
            (true, true) => {
                "Pods there get no sidecar, but while istiod is down, Kubernetes refuses to create new ones."
            }
            (true, false) if name == INGRESS => {
                "The gateway pods of every revision get the proxy of the revision that the label names."
            }
            (true, false) => "New pods that AKS creates there get sidecars, and are refused while istiod is down.",
            (false, _) if name == INGRESS => {
                "The label keeps istiod from adding the proxy to gateway pods: new ones do not start."
            }
            (false, _) => "No webhook acts on it now; one would if the revision that it names were installed.",
        };
        let broken = name == INGRESS && !selected;
        let mut finding = Finding::new(
            Subject::cluster("Namespace", name),
            format!("system namespace {name} is labelled for sidecar injection"),
            detail,
        )
        .key(KeyKind::Namespace, name)
        .at_most(if broken { Severity::Error } else { Severity::Warning });
        let mut steps = Vec::new();
        for (key, value) in asking {
            let field = format!("label {key}");
            finding = finding.evidence(SourceId::Namespaces, format!("namespace/{name}"), field, value, Some("absent"));
            steps.push(unlabel_namespace(name, key));
        }
        verdict.findings.push(finding.remedy(Remedy::new("remove the label", steps)));
    }
    Ok(verdict)
}

/// A sidecar that was asked to end needs some seconds for it.
const ENDING: SignedDuration = SignedDuration::from_mins(5);

static ENDLESS: Check = Check {
    code: "INJ15",
    name: "finished-pod-kept-by-sidecar",
    title: "No finished pod is kept running by its sidecar",
    area: Area::Injection,
    severity: Severity::Warning,
    inputs: WORKLOADS,
    uses: OWNERS,
    docs: "## What it means
All containers of a pod's application have ended, but its sidecar still runs, so the pod does not end: a Job is never complete, a CronJob that forbids overlaps does not run again, and the pod keeps its resources.

## Why it happens on AKS
A sidecar that is an ordinary container does not know that the others have ended. Native sidecars, which Kubernetes ends itself, are what new pods get from revision asm-1-29 on with Kubernetes 1.33 or newer on all nodes; older versions mostly still give ordinary ones.

## How we know
In the pod's status every container but `istio-proxy` is terminated for more than five minutes, and `istio-proxy`, an ordinary container, is running.

## What to do
End the sidecar of the pods that hang: the Job is then complete. So that it does not happen again, use native sidecars; or let the Job's last command ask its sidecar to end (`curl -fsS -X POST http://localhost:15020/quitquitquit`); or, if it needs no mesh, keep it out with the label `sidecar.istio.io/inject: \"false\"` on its pod template. Deleting a pod instead makes a Job run its work again.

## Sources
<https://learn.microsoft.com/azure/aks/istio-native-sidecar>, <https://istio.io/latest/docs/ops/common-problems/injection/>, <https://github.com/istio/istio/issues/11659>",
    run: endless,
};

fn endless(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for workload in lens.workloads()? {
        if lens.is_managed(workload.namespace) || workload.injected_pods() == 0 {
            continue;
        }
        verdict.examined += 1;
        let hanging: Vec<_> = workload
            .pods
            .iter()
            .filter(|(_, proxy)| proxy.as_ref().is_some_and(|proxy| proxy.kind == ProxyKind::Classic))
            .filter_map(|(pod, _)| Some((*pod, proxy_state::application_ended(pod)?)))
            .filter(|(_, ended)| lens.now().duration_since(*ended) > ENDING)
            .collect();
        let Some((first, ended)) = hanging.first() else { continue };
        let pods =
            if hanging.len() == 1 { "1 pod has".to_owned() } else { format!("{} have", count(hanging.len(), "pod")) };
        let detail = match workload.kind.as_str() {
            "Job" => "The Job never completes, and its pods keep their CPU and memory.",
            "CronJob" => "Its runs never complete. With concurrencyPolicy Forbid it never runs again.",
            _ => "They never end, and keep their CPU and memory.",
        };
        let mut steps: Vec<_> =
            hanging.iter().take(STEPS).map(|(pod, _)| end_sidecar(workload.namespace, pod)).collect();
        if hanging.len() > STEPS {
            let more = count(hanging.len() - STEPS, "pod");
            steps.push(Step::text(Risk::Change, format!("the same for {more} more of {}", label(workload))));
        }
        steps.push(Step::text(
            Risk::Change,
            "for the next runs, choose one: native sidecars (asm-1-29 and Kubernetes 1.33 or newer), which end with the application",
        ));
        steps.push(Step::text(
            Risk::Change,
            "or no sidecar: label sidecar.istio.io/inject: \"false\" on the pod template",
        ));
        steps.push(Step::text(
            Risk::Change,
            "or as the application's last command: curl -X POST http://localhost:15020/quitquitquit",
        ));
        verdict.findings.push(
            Finding::new(
                subject(workload),
                format!("{}: {pods} finished, but the sidecar keeps running", label(workload)),
                detail,
            )
            .key(KeyKind::Workload, workload_key(workload))
            .key(KeyKind::Namespace, workload.namespace)
            .impact(impact(hanging.len()))
            .remedy(Remedy::new("end the sidecar, then keep the next run from it", steps))
            .evidence(
                SourceId::Pods,
                format!("{}/pod/{}", workload.namespace, first.metadata.name),
                "application ended",
                ended.strftime("%Y-%m-%d %H:%M UTC").to_string(),
                None,
            )
            .evidence(
                SourceId::Pods,
                object(workload),
                format!("container {PROXY_CONTAINER}"),
                "running",
                Some("ended"),
            ),
        );
    }
    Ok(verdict)
}

/// Most pods that one remedy names.
const STEPS: usize = 5;

/// Asks the agent in the proxy's container to end: `/quitquitquit` on its status port
/// (`pilot/cmd/pilot-agent/status/server.go` of istio/istio).
fn end_sidecar(namespace: &str, pod: &Pod) -> Step {
    let pod = pod.metadata.name.as_str();
    let agent = ["pilot-agent", "request", "--debug-port", "15020", "POST", "quitquitquit"];
    let exec = ["kubectl", "exec", pod, "-n", namespace, "-c", PROXY_CONTAINER, "--"];
    Step::command(Risk::Change, format!("ends the sidecar of {pod}"), exec.into_iter().chain(agent))
}
