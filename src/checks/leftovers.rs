//! UPG: what a removed revision leaves behind.

use std::collections::BTreeMap;

use super::remedies::{copy_shared_config_map, count, shared_config_map};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::Revision;
use crate::mesh::revision::{AsmRevision, compare};
use crate::mesh::upgrade::settings;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&SHARED_CONFIG_LEFT, &OBJECTS_LEFT];

/// Whether a revision was removed: it is not installed, and it is not one that is about to be, which is higher than
/// all that are.
fn is_removed(revisions: &[Revision<'_>], name: &str) -> bool {
    AsmRevision::parse(name).is_some()
        && !revisions.iter().any(|revision| revision.name == name)
        && revisions.last().is_some_and(|newest| compare(name, &newest.name).is_lt())
}

fn delete(text: impl Into<String>, what: &[&str]) -> Step {
    Step::command(Risk::Change, text, ["kubectl", "delete"].iter().chain(what).copied())
}

static SHARED_CONFIG_LEFT: Check = Check {
    code: "UPG07",
    name: "shared-config-of-removed-revision",
    title: "No shared mesh configuration is left of a removed revision",
    area: Area::Upgrade,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps],
    uses: &[],
    docs: "## What it means
A ConfigMap with mesh settings of yours belongs to a revision that is not installed any more. Nobody reads it. When no installed revision has such a ConfigMap, these settings were lost with the upgrade, and it is a warning; otherwise it only misleads.

## Why it happens on AKS
Mesh settings are kept per revision, in the ConfigMap `istio-shared-configmap-REVISION`. Upgrades neither copy nor delete it.

## How we know
The names of these ConfigMaps in `aks-istio-system` are compared with the installed revisions. One for a revision higher than all installed ones is taken for the preparation of an upgrade.

## What to do
Where the settings are missing now, copy the ConfigMap to the installed revision. Then delete it.

## What else looks like it
While the upgrade is open it is UPG05.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, <https://learn.microsoft.com/azure/aks/istio-meshconfig#mesh-configuration-and-upgrades>",
    run: shared_config_left,
};

fn shared_config_left(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::SystemConfigMaps])?;
    let maps = lens.snapshot().system_config_maps.items().unwrap_or_default();
    let has = |revision: &Revision<'_>| maps.iter().any(|map| map.metadata.name == shared_config_map(&revision.name));
    let is_replaced = revisions.iter().any(has);
    let mut verdict = Verdict::default();
    for map in maps {
        let name = &map.metadata.name;
        let Some(revision) = name.strip_prefix(&shared_config_map("")) else { continue };
        verdict.examined += 1;
        if !is_removed(revisions, revision) {
            continue;
        }
        let lost = !is_replaced
            && map.data.get("mesh").is_some_and(|mesh| settings(mesh).is_some_and(|settings| !settings.is_empty()));
        let mut steps = vec![delete("deletes it; no istiod reads it", &["configmap", name, "-n", SYSTEM_NAMESPACE])];
        let detail = match revisions.last().filter(|_| lost) {
            Some(installed) => {
                steps.insert(0, copy_shared_config_map(revision, &installed.name));
                format!("{} runs without them: they were not copied when it replaced that revision.", installed.name)
            }
            None => "No istiod reads them; they only mislead.".to_owned(),
        };
        verdict.findings.push(
            Finding::new(
                Subject::new("ConfigMap", SYSTEM_NAMESPACE, name),
                format!("{revision} is not installed, but its mesh settings are still there"),
                detail,
            )
            .key(KeyKind::Revision, revision)
            .key(KeyKind::Object, format!("ConfigMap/{SYSTEM_NAMESPACE}/{name}"))
            .at_most(if lost { Severity::Warning } else { Severity::Info })
            .remedy(Remedy::new(
                if lost { "copy it to the installed revision, then delete it" } else { "delete it" },
                steps,
            ))
            .evidence(
                SourceId::SystemConfigMaps,
                format!("{SYSTEM_NAMESPACE}/configmap/{name}"),
                "metadata.name",
                name,
                Some("the name of an installed revision"),
            ),
        );
    }
    Ok(verdict)
}

static OBJECTS_LEFT: Check = Check {
    code: "UPG11",
    name: "objects-of-removed-revision",
    title: "Nothing of its control plane is left of a removed revision",
    area: Area::Upgrade,
    severity: Severity::Info,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::ValidatingWebhooks,
    ],
    uses: &[SourceId::SystemLeases],
    docs: "## What it means
A revision is gone, but ConfigMaps of its control plane or its validating webhook are still there. The ConfigMaps mislead whoever reads them. The webhook refuses Istio resources that carry the label of that revision, because nobody answers it.

## Why it happens on AKS
Completing or rolling back an upgrade was interrupted, or the objects were restored from a backup.

## How we know
The revisions in the names of `istio-REVISION`, `istio-sidecar-injector-REVISION`, `values-REVISION` in `aks-istio-system`, and the label `istio.io/rev` of validating webhooks that call a Service there, are compared with the installed revisions. Leases by which the pods of a revision elected a leader outlive every upgrade and do nothing; they are named only beside something else.

## What to do
Let AKS reconcile the cluster, then delete what is still there.

## What else looks like it
The injecting webhook of a removed revision is WHK02, a tag WHK02 or WHK07, your own mesh settings UPG07.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade>, `pilot/pkg/leaderelection/leaderelection.go` in istio/istio: <https://github.com/istio/istio/blob/master/pilot/pkg/leaderelection/leaderelection.go>",
    run: objects_left,
};

/// ConfigMaps that the chart of a revision installs (`manifests/charts/istio-control/istio-discovery` in istio/istio).
const CHART_CONFIG_MAPS: [&str; 3] = ["istio-sidecar-injector-", "values-", "istio-"];

#[derive(Default)]
struct Left<'a> {
    config_maps: Vec<&'a str>,
    webhooks: Vec<&'a str>,
}

fn objects_left(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::SystemConfigMaps, SourceId::ValidatingWebhooks])?;
    let snapshot = lens.snapshot();
    let mut verdict = Verdict::default();
    let mut left: BTreeMap<&str, Left<'_>> = BTreeMap::new();
    for map in snapshot.system_config_maps.items().unwrap_or_default() {
        let name = map.metadata.name.as_str();
        let revision = CHART_CONFIG_MAPS.iter().find_map(|prefix| name.strip_prefix(prefix));
        let Some(revision) = revision.filter(|revision| AsmRevision::parse(revision).is_some()) else { continue };
        verdict.examined += 1;
        if is_removed(revisions, revision) {
            left.entry(revision).or_default().config_maps.push(name);
        }
    }
    for configuration in snapshot.validating_webhooks.items().unwrap_or_default() {
        let services = configuration.webhooks.iter().filter_map(|webhook| webhook.client_config.service.as_ref());
        let Some(revision) = configuration.metadata.label("istio.io/rev") else { continue };
        if !services.into_iter().any(|service| service.namespace == SYSTEM_NAMESPACE) {
            continue;
        }
        verdict.examined += 1;
        if is_removed(revisions, revision) {
            left.entry(revision).or_default().webhooks.push(&configuration.metadata.name);
        }
    }
    let leases = lens.optional(SourceId::SystemLeases, &snapshot.system_leases);
    for (revision, objects) in left {
        let leases: Vec<&str> = leases
            .iter()
            .map(|lease| lease.metadata.name.as_str())
            .filter(|name| name.strip_suffix(revision).is_some_and(|base| base.ends_with('-')))
            .collect();
        verdict.findings.push(left_finding(revision, &objects, &leases));
    }
    Ok(verdict)
}

fn left_finding(revision: &str, left: &Left<'_>, leases: &[&str]) -> Finding {
    let mut steps = vec![super::remedies::reconcile("removes what it still owns of that revision")];
    let mut add = |kind: &str, names: &[&str], namespaced: bool, text: &str| {
        if !names.is_empty() {
            let place: &[&str] = if namespaced { &["-n", SYSTEM_NAMESPACE] } else { &[] };
            let mut what = vec![kind];
            what.extend(names);
            what.extend(place);
            what.push("--ignore-not-found");
            steps.push(delete(text, &what));
        }
    };
    add(
        "validatingwebhookconfiguration",
        &left.webhooks,
        false,
        "deletes the validating webhook, if it is still there",
    );
    add("configmap", &left.config_maps, true, "deletes the ConfigMaps, if they are still there");
    add("lease", leases, true, "deletes the leases of its leader election");
    let total = left.webhooks.len() + left.config_maps.len();
    let detail = if left.webhooks.is_empty() {
        "No istiod reads them; they only mislead."
    } else {
        "Its validating webhook calls an istiod that is gone, so changes to resources labelled for it are refused."
    };
    let mut finding = Finding::new(
        Subject::cluster("Revision", revision),
        format!(
            "revision {revision} is gone, but {} of its control plane {}",
            count(total, "object"),
            if total == 1 { "remains" } else { "remain" }
        ),
        detail,
    )
    .key(KeyKind::Revision, revision)
    .remedy(Remedy::new("remove what is left of it", steps));
    for name in &left.webhooks {
        finding = finding.evidence(
            SourceId::ValidatingWebhooks,
            format!("validatingwebhookconfiguration/{name}"),
            "label istio.io/rev",
            revision,
            Some("an installed revision"),
        );
    }
    for name in &left.config_maps {
        finding = finding.evidence(
            SourceId::SystemConfigMaps,
            format!("{SYSTEM_NAMESPACE}/configmap/{name}"),
            "exists",
            "yes",
            Some("no"),
        );
    }
    finding
}
