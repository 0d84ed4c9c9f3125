//! UPG: whether everything goes along with an upgrade: mesh configuration, gateways, autoscalers.

use std::collections::BTreeMap;

use super::remedies::{copy_shared_config_map, count, end_upgrade, names, set_tag, shared_config_map};
use super::upgrade::canary;
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::{Revision, recommended, tags};
use crate::mesh::injection::REV;
use crate::mesh::revision::AsmRevision;
use crate::mesh::upgrade::{differences, settings};
use crate::model::{Autoscaler, ConfigMap, Controller, KubeGateway};
use crate::snapshot::SourceId;
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// Checks of this area.
pub static CHECKS: &[&Check] =
    &[&SHARED_CONFIG_MISSING, &SHARED_CONFIGS_DIFFER, &GATEWAY_PINNED, &AUTOSCALERS_DIFFER, &GATEWAY_UNREADY];

const WITH_CONFIG_MAPS: &[SourceId] = &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps];

fn shared<'a>(lens: &Lens<'a>, revision: &str) -> Option<&'a ConfigMap> {
    let name = shared_config_map(revision);
    let maps = lens.snapshot().system_config_maps.items().unwrap_or_default();
    maps.iter().find(|map| map.metadata.name == name)
}

fn mesh(map: &ConfigMap) -> &str {
    map.data.get("mesh").map_or("", String::as_str)
}

fn config_map(revision: &str) -> (Subject, String) {
    let name = shared_config_map(revision);
    let key = format!("ConfigMap/{SYSTEM_NAMESPACE}/{name}");
    (Subject::new("ConfigMap", SYSTEM_NAMESPACE, name), key)
}

static SHARED_CONFIG_MISSING: Check = Check {
    code: "UPG05",
    name: "shared-config-not-copied",
    title: "During an upgrade the new revision has the shared mesh configuration",
    area: Area::Upgrade,
    severity: Severity::Error,
    inputs: WITH_CONFIG_MAPS,
    uses: &[],
    docs: "## What it means
The old revision has mesh settings of yours, and the new one has none. Every workload that moves to the new revision loses them, without a message: access logs stop, proxies start in another order, calls to unknown hosts are treated differently.

## Why it happens on AKS
Mesh settings are kept per revision, in the ConfigMap `istio-shared-configmap-REVISION`. `az aks mesh upgrade start` does not copy it.

## How we know
In `aks-istio-system` the ConfigMap of the old revision has settings under `data.mesh`, and there is no ConfigMap with the name of the new one.

## What to do
Copy it now; istiod takes it up by itself. Settings that a proxy reads only when it starts reach the workloads that have moved already at their next restart.

## What else looks like it
When both exist and differ it is UPG06.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#mesh-configuration-and-upgrades>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-meshconfig>",
    run: shared_config_missing,
};

fn shared_config_missing(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(WITH_CONFIG_MAPS)?;
    let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
    let has = shared(lens, &old.name).and_then(|map| settings(mesh(map))).unwrap_or_default();
    if has.is_empty() {
        return Ok(Verdict::default());
    }
    let mut verdict = Verdict { examined: 1, ..Verdict::default() };
    if shared(lens, &new.name).is_some() {
        return Ok(verdict);
    }
    let (subject, key) = config_map(&new.name);
    verdict.findings.push(
        Finding::new(
            subject,
            format!("revision {} has no mesh settings, but {} has", new.name, old.name),
            format!(
                "Workloads that move to the new revision silently lose these settings: {}.",
                names(has.keys().map(String::as_str))
            ),
        )
        .key(KeyKind::Revision, &new.name)
        .key(KeyKind::Object, key)
        .related(&config_map(&old.name).0, "has the settings")
        .remedy(Remedy::new("copy it to the new revision", vec![copy_shared_config_map(&old.name, &new.name)]))
        .evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{}", shared_config_map(&new.name)),
            "exists",
            "no",
            Some("yes"),
        ),
    );
    Ok(verdict)
}

static SHARED_CONFIGS_DIFFER: Check = Check {
    code: "UPG06",
    name: "shared-configs-differ",
    title: "During an upgrade both revisions have the same shared mesh configuration",
    area: Area::Upgrade,
    severity: Severity::Warning,
    inputs: WITH_CONFIG_MAPS,
    uses: &[],
    docs: "## What it means
Both revisions have mesh settings of yours, and they are not the same. A workload changes its settings when it moves to the new revision.

## Why it happens on AKS
Each revision has its own ConfigMap `istio-shared-configmap-REVISION`. A change made to one of them during the upgrade does not reach the other.

## How we know
The values of `data.mesh` are compared as settings: their order, comments and quotes do not count, and neither does the revision's own name in them.

## What to do
Make them the same, unless the difference is meant.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#mesh-configuration-and-upgrades>",
    run: shared_configs_differ,
};

fn shared_configs_differ(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(WITH_CONFIG_MAPS)?;
    let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
    let (Some(before), Some(after)) = (shared(lens, &old.name), shared(lens, &new.name)) else {
        return Ok(Verdict::default());
    };
    let mut verdict = Verdict { examined: 2, ..Verdict::default() };
    let read = |map: &ConfigMap| settings(&mesh(map).replace(&old.name, &new.name));
    let (Some(before), Some(after)) = (read(before), read(after)) else { return Ok(verdict) };
    let differ = differences(&before, &after);
    if differ.is_empty() {
        return Ok(verdict);
    }
    let (subject, key) = config_map(&new.name);
    let (old_name, new_name) = (shared_config_map(&old.name), shared_config_map(&new.name));
    verdict.findings.push(
        Finding::new(
            subject,
            format!(
                "mesh settings of {} and {} differ: {}",
                old.name,
                new.name,
                names(differ.iter().map(String::as_str))
            ),
            "A workload that moves to the new revision changes these settings. If that is intended, leave them.",
        )
        .key(KeyKind::Revision, &new.name)
        .key(KeyKind::Object, key)
        .related(&config_map(&old.name).0, "has the other settings")
        .remedy(Remedy::new(
            "make them the same, unless the difference is meant",
            vec![
                Step::command(
                    Risk::Read,
                    "shows both, to compare them",
                    ["kubectl", "get", "configmap", &old_name, &new_name, "-n", SYSTEM_NAMESPACE, "-o", "yaml"],
                ),
                Step::command(
                    Risk::Change,
                    format!("opens that of {} in an editor, to make it like the other", new.name),
                    ["kubectl", "edit", "configmap", &new_name, "-n", SYSTEM_NAMESPACE],
                ),
            ],
        ))
        .evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{new_name}"),
            "data.mesh, settings that differ",
            differ.join(", "),
            Some(&format!("as in {old_name}")),
        ),
    );
    Ok(verdict)
}

static GATEWAY_PINNED: Check = Check {
    code: "UPG08",
    name: "gateway-pinned-to-revision",
    title: "No Gateway names a revision that is gone or will go",
    area: Area::Upgrade,
    severity: Severity::Error,
    inputs: &[
        SourceId::KubeGateways,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
    ],
    uses: &[SourceId::WebhookServices, SourceId::WebhookEndpoints],
    docs: "## What it means
A Gateway of the Kubernetes Gateway API names its revision by the label `istio.io/rev`. Only the istiod of that revision looks after it: it creates its Deployment and Service, and sends it routes and certificates. When the revision is gone, nobody does: routes stay as they were, and certificates expire within a day. While an upgrade is open this is only an info.

## Why it happens on AKS
Gateways without the label go to the highest installed revision by themselves; labelled ones stay where they are, and `az aks mesh upgrade complete` does not look at them.

## How we know
The label of each Gateway of class `istio` is resolved, through tags, and compared with the installed revisions. A revision of another Istio installation is left alone.

## What to do
Point the label to an installed revision, or remove it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-gateway-api>, <https://learn.microsoft.com/azure/aks/istio-upgrade>, `pkg/revisions/tag_watcher.go` in istio/istio: <https://github.com/istio/istio/blob/master/pkg/revisions/tag_watcher.go>",
    run: gateway_pinned,
};

/// A pinned Gateway, with the tag by which it is.
type Pinned<'a> = (&'a KubeGateway, Option<String>);

fn gateway_pinned(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need_served(&[SourceId::KubeGateways])?;
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    let tags = tags(injectors);
    let is_installed = |name: &str| revisions.iter().any(|revision| revision.name == name);
    let old = canary(lens)?.map(|(old, _)| old.name.as_str());
    let mut verdict = Verdict::default();
    let mut pinned: BTreeMap<String, Vec<Pinned<'_>>> = BTreeMap::new();
    for gateway in lens.snapshot().kube_gateways.items().unwrap_or_default() {
        if gateway.spec.gateway_class_name != "istio" {
            continue;
        }
        verdict.examined += 1;
        let Some(label) = gateway.metadata.label(REV) else { continue };
        let tag = tags.iter().find(|tag| tag.name == label);
        let revision = tag.map_or(label, |tag| tag.revision.as_str());
        let foreign = AsmRevision::parse(revision).is_none() && injectors.iter().any(|i| i.revision == revision);
        if Some(revision) == old || !(foreign || is_installed(revision)) {
            pinned.entry(revision.to_owned()).or_default().push((gateway, tag.map(|tag| tag.name.clone())));
        }
    }
    for (revision, gateways) in pinned {
        verdict.findings.push(pinned_finding(revisions, &revision, &gateways));
    }
    Ok(verdict)
}

fn pinned_finding(revisions: &[Revision<'_>], revision: &str, gateways: &[Pinned<'_>]) -> Finding {
    let going = revisions.iter().any(|installed| installed.name == revision);
    // The new revision during an upgrade; otherwise the one to which labels of absent revisions are pointed.
    let target = if going { revisions.last().map(|r| r.name.as_str()) } else { recommended(revisions) };
    let mut steps: BTreeMap<String, Step> = BTreeMap::new();
    for ((gateway, tag), target) in gateways.iter().flat_map(|pinned| target.map(|target| (pinned, target))) {
        let meta = &gateway.metadata;
        match tag {
            Some(tag) => steps.insert(format!("0{tag}"), set_tag(tag, target)),
            None => steps.insert(
                format!("1{}/{}", meta.namespace, meta.name),
                Step::command(
                    Risk::Change,
                    format!("points Gateway {} to {target}, whose istiod then replaces its pods", meta.name),
                    [
                        "kubectl",
                        "label",
                        "gateways.gateway.networking.k8s.io",
                        &meta.name,
                        "-n",
                        &meta.namespace,
                        &format!("{REV}={target}"),
                        "--overwrite",
                    ],
                ),
            ),
        };
    }
    let verb = if gateways.len() == 1 { "names" } else { "name" };
    let (summary, detail) = if going {
        (
            format!("{} {verb} {revision}, which the upgrade removes", count(gateways.len(), "Gateway")),
            "Once the upgrade is completed, no istiod configures them: no new routes, and certificates expire within a day.",
        )
    } else {
        (
            format!("{} {verb} revision {revision}, which is not installed", count(gateways.len(), "Gateway")),
            "No istiod configures such a Gateway: it gets no new routes, and its certificate expires within a day.",
        )
    };
    let mut finding = Finding::new(Subject::cluster("Revision", revision), summary, detail)
        .key(KeyKind::Revision, revision)
        .at_most(if going { Severity::Info } else { Severity::Error })
        .remedy(Remedy::new("point them to the revision that stays", steps.into_values().collect()));
    for (gateway, _) in gateways {
        let meta = &gateway.metadata;
        finding = finding
            .related(&Subject::new("Gateway", &meta.namespace, &meta.name), "names that revision")
            .key(KeyKind::Object, format!("Gateway/{}/{}", meta.namespace, meta.name));
    }
    if let Some((gateway, _)) = gateways.first() {
        let meta = &gateway.metadata;
        finding = finding.evidence(
            SourceId::KubeGateways,
            format!("{}/gateway/{}", meta.namespace, meta.name),
            format!("label {REV}"),
            meta.label(REV).unwrap_or_default(),
            target,
        );
    }
    finding
}

static AUTOSCALERS_DIFFER: Check = Check {
    code: "UPG09",
    name: "autoscalers-differ",
    title: "During an upgrade both revisions scale alike",
    area: Area::Upgrade,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Autoscalers],
    uses: &[],
    docs: "## What it means
The autoscaler of the new revision's istiod or gateway has other settings than that of the old revision. While an upgrade is open AKS copies the settings of the old revision over those of the new one: an edit of the new one is undone.

## Why it happens on AKS
During an upgrade the settings of the stable revision take precedence, so that both behave alike.

## How we know
Bounds and metrics of the two HorizontalPodAutoscalers whose names differ only in the revision are compared.

## What to do
Make the change on the autoscaler of the old revision; AKS gives it to the new one. A difference right after such a change goes away by itself.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://learn.microsoft.com/azure/aks/istio-scale>",
    run: autoscalers_differ,
};

fn autoscalers_differ(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::Autoscalers])?;
    let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
    let all = lens.snapshot().autoscalers.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for stable in all {
        let Some(canary) = counterpart(&stable.metadata.name, &old.name, &new.name).and_then(|name| {
            all.iter()
                .find(|other| other.metadata.name == name && other.metadata.namespace == stable.metadata.namespace)
        }) else {
            continue;
        };
        verdict.examined += 1;
        verdict.findings.extend(scaling_finding(stable, canary, &new.name));
    }
    Ok(verdict)
}

/// `istiod-asm-1-28` → `istiod-asm-1-30`.
fn counterpart(name: &str, from: &str, to: &str) -> Option<String> {
    let base = name.strip_suffix(from)?;
    base.ends_with('-').then(|| format!("{base}{to}"))
}

fn scaling_finding(stable: &Autoscaler, canary: &Autoscaler, revision: &str) -> Option<Finding> {
    let bounds = |scaler: &Autoscaler| (scaler.spec.min_replicas.unwrap_or(1), scaler.spec.max_replicas);
    let mut differ = Vec::new();
    let (old, new) = (bounds(stable), bounds(canary));
    if old.0 != new.0 {
        differ.push(("spec.minReplicas", old.0.to_string(), new.0.to_string()));
    }
    if old.1 != new.1 {
        differ.push(("spec.maxReplicas", old.1.to_string(), new.1.to_string()));
    }
    let bounds_differ = !differ.is_empty();
    if stable.spec.metrics != canary.spec.metrics {
        differ.push(("spec.metrics", stable.spec.metrics.to_string(), canary.spec.metrics.to_string()));
    }
    if differ.is_empty() {
        return None;
    }
    let (name, namespace) = (&canary.metadata.name, &canary.metadata.namespace);
    let mut steps = Vec::new();
    if bounds_differ {
        let patch = format!(r#"{{"spec":{{"minReplicas":{},"maxReplicas":{}}}}}"#, new.0, new.1);
        steps.push(Step::command(
            Risk::Change,
            format!("sets the replicas of {name} on the old one, too, if they are right: AKS copies the old one"),
            ["kubectl", "patch", "hpa", &stable.metadata.name, "-n", namespace, "--type", "merge", "-p", &patch],
        ));
    }
    if stable.spec.metrics != canary.spec.metrics {
        steps.push(Step::command(
            Risk::Change,
            "opens the old revision's in an editor: change it there, and AKS copies it to the new one",
            ["kubectl", "edit", "hpa", &stable.metadata.name, "-n", namespace],
        ));
    }
    let fields: Vec<&str> = differ.iter().map(|(field, ..)| field.strip_prefix("spec.").unwrap_or(field)).collect();
    let mut finding = Finding::new(
        Subject::new("HorizontalPodAutoscaler", namespace, name),
        format!("HPA {name} differs from the old revision's: {}", fields.join(", ")),
        "While the upgrade is open, AKS overwrites it with the old revision's settings: a change made here is lost.",
    )
    .key(KeyKind::Revision, revision)
    .key(KeyKind::Object, format!("HorizontalPodAutoscaler/{namespace}/{name}"))
    .related(
        &Subject::new("HorizontalPodAutoscaler", namespace, &stable.metadata.name),
        "wins while the upgrade is open",
    )
    .remedy(Remedy::new("change the autoscaler of the old revision instead", steps));
    for (field, old, new) in differ {
        finding = finding.evidence(
            SourceId::Autoscalers,
            format!("{namespace}/horizontalpodautoscaler/{name}"),
            field,
            new,
            Some(&old),
        );
    }
    Some(finding)
}

static GATEWAY_UNREADY: Check = Check {
    code: "UPG10",
    name: "gateway-of-one-revision-unready",
    title: "During an upgrade the ingress gateways of both revisions are ready",
    area: Area::Upgrade,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::GatewayDeployments],
    uses: &[],
    docs: "## What it means
An upgrade is open, and an ingress gateway has ready pods for one revision and none for the other. Traffic goes on, through the ready one. Ending the upgrade in the wrong direction would leave no gateway.

## Why it happens on AKS
During an upgrade each revision has its own gateway Deployment behind one Service. New pods may wait for a node, or fail to start.

## How we know
Of the Deployments in `aks-istio-ingress` whose names differ only in the revision, one has no ready pod five minutes after its creation. While the istiod of that revision is not ready either, that is the cause (CP01), and this check says nothing.

## What to do
Find out why its pods are not ready before the upgrade is completed or rolled back.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://learn.microsoft.com/azure/aks/istio-deploy-ingress>",
    run: gateway_unready,
};

/// How long a new gateway may take to become ready.
const START_SECONDS: i64 = 300;

fn gateway_unready(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::GatewayDeployments])?;
    let Some((old, new)) = canary(lens)? else { return Ok(Verdict::default()) };
    let all = lens.snapshot().gateway_deployments.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for before in all {
        let Some(after) = counterpart(&before.metadata.name, &old.name, &new.name)
            .and_then(|name| all.iter().find(|other| other.metadata.name == name))
        else {
            continue;
        };
        verdict.examined += 2;
        let (unready, revision, verb) = match (before.ready, after.ready) {
            (0, 1..) => (before, old, "rollback"),
            (1.., 0) => (after, new, "complete"),
            _ => continue,
        };
        let young = unready
            .metadata
            .creation_timestamp
            .is_some_and(|created| lens.now().as_second() - created.as_second() < START_SECONDS);
        if !young && unready.desired != Some(0) && revision.ready() > 0 {
            verdict.findings.push(unready_finding(unready, &revision.name, verb));
        }
    }
    Ok(verdict)
}

fn unready_finding(gateway: &Controller, revision: &str, verb: &str) -> Finding {
    let name = &gateway.metadata.name;
    let (act, back) = match verb {
        "complete" => {
            ("Completing", ("rollback", "or instead: rolls back; first move all workloads off the new revision"))
        }
        _ => (
            "Rolling back",
            ("complete", "or instead: completes the upgrade; first move all workloads off the old revision"),
        ),
    };
    Finding::new(
        Subject::new("Deployment", INGRESS_NAMESPACE, name),
        format!("gateway {name} has no ready pod"),
        format!("The other revision's gateway carries the traffic. {act} the upgrade now would cut all of it off."),
    )
    .key(KeyKind::Revision, revision)
    .key(KeyKind::Object, format!("Deployment/{INGRESS_NAMESPACE}/{name}"))
    .remedy(Remedy::new(
        "find out why its pods are not ready before the upgrade is ended",
        vec![
            Step::command(
                Risk::Read,
                "shows the state of the gateways' pods",
                ["kubectl", "get", "pods", "-n", INGRESS_NAMESPACE, "-o", "wide"],
            ),
            Step::command(
                Risk::Read,
                "shows their latest events",
                ["kubectl", "get", "events", "-n", INGRESS_NAMESPACE, "--sort-by=.lastTimestamp"],
            ),
            end_upgrade(back.0, back.1),
        ],
    ))
    .evidence(
        SourceId::GatewayDeployments,
        format!("{INGRESS_NAMESPACE}/deployment/{name}"),
        "status.readyReplicas",
        "0",
        Some(&gateway.desired.unwrap_or(1).to_string()),
    )
}
