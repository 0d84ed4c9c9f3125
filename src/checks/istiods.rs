//! CP: the pods, images and releases of istiod.

use std::collections::BTreeMap;

use super::control_plane::look;
use super::istiod_start::how;
use super::remedies::{count, names, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::lens::REVISIONS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::istiod::{crash, is_settling, is_within, recent_restart};
use crate::mesh::release::releases;
use crate::mesh::revision::IstioVersion;
use crate::model::Pod;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&ONE_READY, &RESTARTED, &MIXED_PATCHES, &RELEASE];

/// So long after its newest pod was created a rollout is over.
const ROLLOUT_SECONDS: i64 = 15 * 60;

static ONE_READY: Check = Check {
    code: "CP02",
    name: "one-ready-istiod",
    title: "Every revision has two ready istiods",
    area: Area::ControlPlane,
    severity: Severity::Warning,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
A revision has only one ready istiod. Everything works, but when that pod or its node restarts, no sidecar is injected or configured until it is back. Until a second one is ready, the disruption budget keeps its node from being drained.

## Why it happens on AKS
The add-on runs two to five istiods. Only one is left when the other finds no node, crashes, cannot read its CA or is refused, or when the autoscaler was allowed to go down to one.

## How we know
Exactly one istiod pod of the revision is ready. A pod that was created, or became unready, less than five minutes ago is taken for a rollout or a move between nodes: then the check does not fire. It does not matter how many the Deployment wants: AKS itself asks for two.

## What to do
Read the state of the pod that is not ready. If there is none, look at the autoscaler's minimum (CAP02).

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>, <https://kubernetes.io/docs/tasks/run-application/configure-pdb/>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
        for revision in revisions {
            let others: Vec<_> = revision.istiods.iter().filter(|pod| !pod.is_ready()).collect();
            if revision.ready() != 1 || others.iter().any(|pod| is_settling(pod, lens.now())) {
                continue;
            }
            let name = &revision.name;
            let wanted = revision.total();
            let mut steps = look(revision);
            if others.is_empty() {
                steps = vec![Step::command(
                    Risk::Read,
                    "shows how many istiods are wanted, and why not more",
                    ["kubectl", "describe", "hpa,deployment", "-n", SYSTEM_NAMESPACE, "-l", &format!("istio.io/rev={name}")],
                )];
            }
            let mut finding = Finding::new(
                Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
                format!("istiod of {name} has only one ready pod"),
                "If that pod goes too, new pods in its namespaces are refused. Until then its node cannot be drained.",
            )
            .key(KeyKind::Revision, name)
            .remedy(Remedy::new("bring up a second istiod", steps))
            .evidence(
                SourceId::SystemDeployments,
                format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
                "ready pods",
                format!("1 of {wanted}"),
                Some("at least 2"),
            );
            for pod in others {
                finding = finding.evidence(
                    SourceId::SystemPods,
                    object_of(pod),
                    "condition Ready",
                    pod.condition("Ready").map_or("absent", |condition| condition.status.as_str()),
                    Some("True"),
                );
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

fn object_of(pod: &Pod) -> String {
    format!("{SYSTEM_NAMESPACE}/pod/{}", pod.metadata.name)
}

static RESTARTED: Check = Check {
    code: "CP07",
    name: "istiod-restarted",
    title: "No istiod restarted within the last hour",
    area: Area::ControlPlane,
    severity: Severity::Warning,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
An istiod container ended within the last hour and was started again. It is well now; while it was away, its proxies had to connect to another istiod, and with only one istiod new pods were refused.

## Why it happens on AKS
Its liveness probe failed because the node had no CPU left, the node was rebooted, or istiod ended by itself.

## How we know
`restartCount` is above zero and the last end of the container is less than an hour old. Pods that crash again and again, or ran out of memory, are CP04 and not repeated here.

## What to do
One restart needs no action. To know why, read the end of the earlier log now: the next restart overwrites it.

## Sources
<https://kubernetes.io/docs/tasks/debug/debug-application/debug-running-pod/>, <https://learn.microsoft.com/azure/aks/istio-scale>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for revision in lens.revisions()? {
            verdict.examined += revision.istiods.len();
            let restarted: Vec<_> = revision
                .istiods
                .iter()
                .filter(|pod| crash(pod, lens.now()).is_none())
                .filter_map(|pod| Some((pod, recent_restart(pod, lens.now())?)))
                .collect();
            if restarted.is_empty() {
                continue;
            }
            let name = &revision.name;
            let mut finding = Finding::new(
                Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
                format!("{} of istiod-{name} restarted within the last hour", count(restarted.len(), "pod")),
                "Proxies that were connected to it had to find another istiod; they kept their configuration.",
            )
            .key(KeyKind::Revision, name)
            .remedy(Remedy::new("read why it ended", look(revision)));
            for (pod, end) in restarted {
                finding =
                    finding.evidence(SourceId::SystemPods, object_of(pod), "last end", how(end), Some("none within an hour"));
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static MIXED_PATCHES: Check = Check {
    code: "CP08",
    name: "istiods-of-different-patches",
    title: "All istiods of a revision run the same patch",
    area: Area::ControlPlane,
    severity: Severity::Warning,
    inputs: REVISIONS,
    uses: &[],
    docs: "## What it means
Ready istiods of one revision run different images, although no rollout is going on. It is chance which of them configures a proxy, so a proxy may or may not get a fix.

## Why it happens on AKS
AKS patches istiod by changing the image of its Deployment, which then replaces the pods one after the other. If two versions stay, this stopped halfway: the Deployment is paused, or its controller does not act.

## How we know
All pods of the revision are ready, their images differ, and the newest pod is older than 15 minutes. If a rollout waits for a pod, the check about that pod fires instead.

## What to do
See what the rollout waits for. If it waits for nothing, a restart replaces all pods with the Deployment's current image. A paused Deployment must be resumed first: `kubectl rollout resume`.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#pausing-and-resuming-a-rollout-of-a-deployment>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut verdict = Verdict { examined: revisions.len(), ..Verdict::default() };
        for revision in revisions {
            let rolling = revision.istiods.iter().any(|pod| {
                !pod.is_ready() || is_within(pod.metadata.creation_timestamp, lens.now(), ROLLOUT_SECONDS)
            });
            let refused = revision.deployment.is_some_and(|deployment| deployment.failure.is_some());
            if rolling || refused {
                continue;
            }
            let mut patches: BTreeMap<String, Vec<&Pod>> = BTreeMap::new();
            for pod in &revision.istiods {
                if let Some(image) = image(pod) {
                    patches.entry(image).or_default().push(pod);
                }
            }
            if patches.len() < 2 {
                continue;
            }
            let name = &revision.name;
            let deployment = format!("deployment/istiod-{name}");
            let mut finding = Finding::new(
                Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")),
                format!("istiods of {name} run different patches: {}", names(patches.keys().map(String::as_str))),
                "It is chance which of them configures a proxy. No rollout is going on that would end this.",
            )
            .key(KeyKind::Revision, name)
            .remedy(Remedy::new(
                "bring all pods to the Deployment's image",
                vec![
                    Step::command(
                        Risk::Read,
                        "shows what the rollout waits for",
                        ["kubectl", "rollout", "status", &deployment, "-n", SYSTEM_NAMESPACE, "--timeout=5s"],
                    ),
                    Step::command(
                        Risk::Restart,
                        "replaces all its pods; if that says paused, run kubectl rollout resume first",
                        ["kubectl", "rollout", "restart", &deployment, "-n", SYSTEM_NAMESPACE],
                    ),
                ],
            ));
            for (patch, pods) in patches {
                for pod in pods {
                    finding = finding.evidence(SourceId::SystemPods, object_of(pod), "image of discovery", &patch, None);
                }
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

/// The version in the image of an istiod, or the image itself where its tag is of another form.
fn image(pod: &Pod) -> Option<String> {
    let image = &pod.spec.containers.iter().find(|container| container.name == "discovery")?.image;
    Some(IstioVersion::of_image(image).map_or_else(|| image.clone(), |version| version.to_string()))
}

static RELEASE: Check = Check {
    code: "CP09",
    name: "helm-release-not-deployed",
    title: "Every Helm release of the add-on is deployed",
    area: Area::ControlPlane,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemSecrets],
    uses: REVISIONS,
    docs: "## What it means
AKS installs and patches the add-on with Helm. The last change of a release failed or was left halfway, so objects of the add-on can be of two versions, and later patches can fail.

## Why it happens on AKS
Helm waits for the pods of a release to become ready; when they do not (no node, no CA, a policy), it gives up. Or an object that somebody created by hand is in the way.

## How we know
The Secrets `sh.helm.release.v1.NAME.vN` in `aks-istio-system` carry the status as a label; the highest N counts. `failed` counts at once, `pending-…` after 15 minutes. Only names and labels are read, never what is in the Secrets.

## What to do
If it is shown below another finding, repair that one: AKS then tries again by itself. Otherwise make AKS reconcile the cluster. If the status stays, open a support request: only AKS can repair its releases.

## Sources
<https://helm.sh/docs/helm/helm_status/>, <https://github.com/Azure/AKS/issues/5728>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>",
    run: releases_deployed,
};

fn releases_deployed(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::SystemSecrets])?;
    let found = releases(lens.snapshot().system_secrets.items().unwrap_or_default());
    // A release does not say which revision it is about; what keeps any of them from starting explains it.
    let revisions = lens.revisions().unwrap_or_default();
    let mut verdict = Verdict { examined: found.len(), ..Verdict::default() };
    for release in found.iter().filter(|release| release.is_stuck(lens.now())) {
        let mut finding = Finding::new(
            Subject::new("HelmRelease", SYSTEM_NAMESPACE, release.name),
            format!("Helm release {} has status {}", release.name, release.status),
            "AKS did not finish its last change of the add-on: its objects can be of two versions, and later patches can fail.",
        )
        .key(KeyKind::Object, format!("HelmRelease/{SYSTEM_NAMESPACE}/{}", release.name))
        .remedy(Remedy::new(
            "let AKS apply it again",
            vec![
                Step::command(
                    Risk::Read,
                    "shows all releases with their status",
                    [
                        "kubectl",
                        "get",
                        "secrets",
                        "-n",
                        SYSTEM_NAMESPACE,
                        "-l",
                        "owner=helm",
                        "-L",
                        "name,version,status",
                    ],
                ),
                reconcile("applies its releases again"),
            ],
        ))
        .evidence(
            SourceId::SystemSecrets,
            format!("{SYSTEM_NAMESPACE}/secret/{}", release.secret),
            "label status",
            release.status,
            Some("deployed"),
        );
        if let Some(since) = release.since {
            finding = finding.evidence(
                SourceId::SystemSecrets,
                format!("{SYSTEM_NAMESPACE}/secret/{}", release.secret),
                "last change",
                since.strftime("%Y-%m-%d %H:%M UTC").to_string(),
                None,
            );
        }
        for revision in revisions {
            finding = finding.key(KeyKind::Revision, &revision.name);
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}
