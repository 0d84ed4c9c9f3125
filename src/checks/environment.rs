//! ENV: the cluster, the add-on's presence, one's own rights.

use super::remedies::reconcile;
use crate::engine::finding::KeyKind;
use crate::engine::lens::REVISIONS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::app_routing;
use crate::mesh::revision::AsmRevision;
use crate::snapshot::{FaultKind, SourceId};
use crate::sources::{SOURCES, SYSTEM_NAMESPACE};

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&API_UNREACHABLE, &READS_DENIED, &ADD_ON_HALF_PRESENT, &ONLY_APP_ROUTING];

static API_UNREACHABLE: Check = Check {
    code: "ENV01",
    name: "api-unreachable",
    title: "The API server answers with these credentials",
    area: Area::Environment,
    severity: Severity::Error,
    inputs: &[SourceId::Version],
    uses: &[],
    docs: "## What it means
The API server could not be reached, or did not accept the credentials in the kubeconfig. Then nothing else can be checked.

## Why it happens on AKS
The cluster is stopped, the credentials were made before a certificate rotation, the `kubelogin` session ended, or a firewall or private endpoint is in between.

## How we know
One request to `/version` with the same kubeconfig context that kubectl uses.

## What to do
`kubectl get namespace` shows whether kubectl itself works. If not: `az aks get-credentials -g <resource-group> -n <cluster>`, or `az aks show -g <resource-group> -n <cluster> --query powerState.code` for a stopped cluster.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/connectivity/troubleshoot-cluster-connection-issues-api-server>",
    run: |lens| {
        lens.need(&[SourceId::Version])?;
        Ok(Verdict { examined: 1, findings: Vec::new() })
    },
};

static READS_DENIED: Check = Check {
    code: "ENV03",
    name: "reads-denied",
    title: "Everything the checks need may be read",
    area: Area::Environment,
    severity: Severity::Info,
    inputs: &[],
    uses: &[],
    docs: "## What it means
Some kinds of objects may not be read with these credentials. The checks that need them were not done; they are not counted as passed.

## Why it happens on AKS
Azure RBAC and Kubernetes RBAC roles for one namespace do not include webhooks, other namespaces or the add-on's own namespace.

## How we know
The API server answered a list or get with 403 Forbidden. The finding names verb, resource and namespace.

## What to do
Ask for a role with those rights: `kubectl asm rbac` prints it (all rights are `get` and `list`, but for `create` on port-forwards). Or accept that these checks were not done: `--allow-gaps` makes the exit code 0.

## Sources
<https://learn.microsoft.com/azure/aks/manage-azure-rbac>, <https://kubernetes.io/docs/reference/access-authn-authz/rbac/>",
    run: reads_denied,
};

/// The command that prints roles for what was examined.
fn roles(lens: &Lens<'_>, probes: bool) -> Vec<String> {
    let mut command: Vec<String> = ["kubectl", "asm", "rbac"].map(str::to_owned).into();
    if probes {
        command.extend(["--for", "inject-check", "--probe"].map(str::to_owned));
    }
    for namespace in lens.snapshot().scope.namespaces.iter().flatten() {
        command.extend(["-n".to_owned(), namespace.clone()]);
    }
    command
}

fn reads_denied(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut needs = std::collections::BTreeSet::new();
    let mut examined = 0;
    for source in SOURCES {
        let state = (source.state)(lens.snapshot());
        if state.kind == crate::snapshot::StateKind::NotRequested {
            continue;
        }
        examined += 1;
        for fault in state.faults.iter().chain(state.fallback) {
            if fault.kind == FaultKind::Forbidden
                && let Some(need) = &fault.need
            {
                needs.insert((source.id, need.clone()));
            }
        }
    }
    if needs.is_empty() {
        return Ok(Verdict { examined, findings: Vec::new() });
    }
    let probes = needs.iter().any(|(id, _)| *id == SourceId::Trials);
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "access"),
        format!(
            "{} forbidden with these credentials",
            match needs.len() {
                1 if probes => "a probe is".to_owned(),
                1 => "1 read is".to_owned(),
                number => format!("{number} {} are", if probes { "requests" } else { "reads" }),
            }
        ),
        "The checks that need them were not done.",
    )
    .remedy(Remedy::new(
        "ask for the rights that are missing",
        vec![Step::command(Risk::Read, "prints the roles to ask for", roles(lens, probes))],
    ));
    for (id, need) in needs {
        let place = need.namespace.as_deref().map_or_else(|| "the cluster".to_owned(), |n| format!("namespace {n}"));
        finding = finding.evidence(id, place, format!("{} {}", need.verb, need.resource), "forbidden", Some("allowed"));
    }
    Ok(Verdict { examined, findings: vec![finding] })
}

static ADD_ON_HALF_PRESENT: Check = Check {
    code: "ENV04",
    name: "add-on-half-present",
    title: "The add-on is installed completely or not at all",
    area: Area::Environment,
    severity: Severity::Error,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Namespaces, SourceId::MutatingWebhooks],
    uses: &[SourceId::Pods],
    docs: "## What it means
Parts of the add-on are in the cluster but no istiod of any revision is: proxies get no configuration, and webhooks that are left refuse new pods.

## Why it happens on AKS
`az` reports the mesh as enabled while the installation in the cluster stopped halfway, mostly because objects of an earlier self-managed Istio were in the way.

## How we know
Namespace `aks-istio-system`, a webhook of a revision `asm-X-Y` or a pod with its sidecar exists, but no Deployment or pod `istiod-asm-X-Y` does.

## What to do
Look for leftovers of another Istio (`kubectl get pods -A -l app=istiod`, `kubectl get mutatingwebhookconfigurations`, `kubectl get crd | grep istio.io`) and remove them. Then disable and enable the add-on. Disabling deletes `aks-istio-system`: export your Istio resources first. With a CA from a Key Vault, enabling needs its flags again, or istiod makes a CA of its own.

## What else looks like it
On a cluster without the add-on nothing of it exists; then no mesh check applies and the exit code is 4.

## Sources
<https://github.com/Azure/AKS/issues/4800>, <https://learn.microsoft.com/azure/aks/istio-deploy-addon>",
    run: half_present,
};

fn half_present(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::Namespaces, SourceId::MutatingWebhooks])?;
    if !revisions.is_empty() {
        return Ok(Verdict { examined: revisions.len(), findings: Vec::new() });
    }
    let snapshot = lens.snapshot();
    // App Routing's istiod lives in the same namespace, which then is no trace of the add-on.
    let namespace = app_routing(snapshot).is_none()
        && snapshot.namespaces.items().unwrap_or_default().iter().any(|ns| ns.metadata.name == SYSTEM_NAMESPACE);
    let webhooks: Vec<_> = snapshot
        .mutating_webhooks
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|c| c.metadata.label("istio.io/rev").is_some_and(|rev| AsmRevision::parse(rev).is_some()))
        .map(|c| c.metadata.name.as_str())
        .collect();
    let orphans = lens
        .optional(SourceId::Pods, &snapshot.pods)
        .iter()
        .filter(|pod| !pod.is_over() && snapshot.scope.contains(&pod.metadata.namespace))
        .filter(|pod| {
            let revision = crate::mesh::proxy::of_pod(pod).and_then(|proxy| proxy.revision);
            revision.is_some_and(|revision| AsmRevision::parse(&revision).is_some())
        })
        .count();
    if !namespace && webhooks.is_empty() && orphans == 0 {
        return Ok(Verdict { examined: 0, findings: Vec::new() });
    }
    let mut finding = Finding::new(
        Subject::cluster("Cluster", "add-on"),
        "the Istio add-on is incomplete: no istiod of any revision exists",
        "Proxies get no configuration. Where a webhook of the add-on is left, it refuses new pods.",
    )
    .key(KeyKind::Object, "istio")
    .remedy(Remedy::new(
        "install the add-on again",
        vec![
            Step::command(
                Risk::Read,
                "shows what AKS believes is installed",
                ["az", "aks", "show", "-g", "<resource-group>", "-n", "<cluster>", "--query", "serviceMeshProfile"],
            ),
            Step::command(
                Risk::Change,
                "removes the add-on and its namespaces; export your Istio resources first",
                ["az", "aks", "mesh", "disable", "-g", "<resource-group>", "-n", "<cluster>"],
            ),
            Step::command(
                Risk::Change,
                "installs it again; add --revision, and the Key Vault flags if it had a CA of yours",
                ["az", "aks", "mesh", "enable", "-g", "<resource-group>", "-n", "<cluster>"],
            ),
        ],
    ))
    .evidence(
        SourceId::SystemDeployments,
        format!("namespace/{SYSTEM_NAMESPACE}"),
        "deployments istiod-asm-*",
        "0",
        Some("1 or 2"),
    );
    if orphans > 0 {
        finding =
            finding.evidence(SourceId::Pods, "pods", "with a sidecar of the add-on", orphans.to_string(), Some("0"));
    }
    for name in webhooks {
        finding = finding.evidence(
            SourceId::MutatingWebhooks,
            format!("mutatingwebhookconfiguration/{name}"),
            "exists",
            "yes",
            None,
        );
    }
    Ok(Verdict { examined: 1, findings: vec![finding] })
}

static ONLY_APP_ROUTING: Check = Check {
    code: "ENV05",
    name: "only-app-routing-istiod",
    title: "An istiod in aks-istio-system belongs to the add-on",
    area: Area::Environment,
    severity: Severity::Info,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
The istiod in `aks-istio-system` belongs to App Routing's Gateway API implementation. It serves gateways and injects no sidecars: there is no service mesh.

## Why it happens on AKS
App Routing and the Istio add-on use the same namespace. App Routing's Deployment is called `istiod`, without a revision.

## How we know
Deployment `istiod` exists in `aks-istio-system` and no `istiod-asm-X-Y` does.

## What to do
Nothing, unless a mesh was expected: then enable the add-on with `az aks mesh enable`, which needs App Routing's Istio to be off.

## Sources
<https://learn.microsoft.com/azure/aks/app-routing-gateway-api>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let Some(istiod) = app_routing(lens.snapshot()) else {
            return Ok(Verdict { examined: revisions.len(), findings: Vec::new() });
        };
        if !revisions.is_empty() {
            return Ok(Verdict { examined: 1, findings: Vec::new() });
        }
        let finding = Finding::new(
            Subject::new("Deployment", SYSTEM_NAMESPACE, istiod.metadata.name.clone()),
            "the only istiod here belongs to App Routing; there is no service mesh",
            "It serves gateways of class approuting-istio and injects no sidecars.",
        )
        .remedy(Remedy::new("nothing, unless a mesh was expected", vec![reconcile("brings back the add-on, if AKS believes that it is enabled")]))
        .evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/istiod"),
            "revision",
            "none",
            Some("asm-X-Y"),
        );
        Ok(Verdict { examined: 1, findings: vec![finding] })
    },
};
