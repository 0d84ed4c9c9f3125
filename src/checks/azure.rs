//! AZ: the cluster as Azure knows it. Read only where a command is told to ask Azure.

use super::azure_drift::DRIFT;
use super::remedies::{az, names, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::azure_profile::{self, Azure, LONG_TERM, Progress, has_mesh, is_older, needed_az, progress};
use crate::mesh::upgrade::{Fit, KubernetesMinor, fit};
use crate::model::azure::{KEY_VAULT, ManagedCluster};
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] =
    &[&STOPPED, &LAST_CHANGE_FAILED, &DRIFT, &NOT_OFFERED, &NO_ROTATION, &OLD_AZ, &NO_LONG_TERM_SUPPORT];

/// By what findings about the cluster in Azure are joined.
pub(super) const KEY: &str = "azure";

fn answers<'a>(lens: &Lens<'a>) -> Result<Azure<'a>, Missing> {
    lens.need(&[SourceId::Azure])?;
    Ok(azure_profile::azure(lens.snapshot()))
}

/// What a check cannot judge because that one answer did not come: said as the source that is missing.
fn incomplete() -> Missing {
    Missing { source: SourceId::Azure, kind: crate::snapshot::StateKind::Failed }
}

/// The cluster, or why there is none.
pub(super) fn cluster<'a>(lens: &Lens<'a>) -> Result<Option<&'a ManagedCluster>, Missing> {
    let azure = answers(lens)?;
    match azure.cluster {
        // Nothing was asked for, or everything was told but this.
        None if lens.snapshot().azure.state().is_complete() => Ok(None),
        None => Err(incomplete()),
        some => Ok(some),
    }
}

pub(super) fn activity_log() -> Step {
    Step::command(
        Risk::Read,
        "shows what was changed lately in the resource group, by whom, and what Azure answered",
        [
            "az",
            "monitor",
            "activity-log",
            "list",
            "-g",
            "<resource-group>",
            "--offset",
            "7d",
            "--query",
            "[].{time:eventTimestamp,what:operationName.localizedValue,status:status.value,who:caller}",
            "-o",
            "table",
        ],
    )
}

fn subject(cluster: &ManagedCluster) -> Subject {
    Subject::cluster("Cluster", cluster.name.clone())
}

pub(super) fn evidence(
    finding: Finding,
    cluster: &ManagedCluster,
    field: &str,
    observed: &str,
    expected: Option<&str>,
) -> Finding {
    let observed = if observed.is_empty() { "none" } else { observed };
    finding.evidence(SourceId::Azure, format!("managedcluster/{}", cluster.name), field, observed, expected)
}

static STOPPED: Check = Check {
    code: "AZ01",
    name: "cluster-stopped",
    title: "The cluster is started",
    area: Area::Azure,
    severity: Severity::Error,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
Azure says that the cluster is stopped. It has no API server and no nodes until it is started.

## Why it happens on AKS
Somebody stopped it with `az aks stop`, mostly to save costs. The name of its API server then does not resolve, so that kubectl speaks of DNS or of a timeout.

## How we know
`powerState.code` in the answer of `az aks show`.

## What to do
Start it. Its objects are kept; pods are made anew.

## Sources
<https://learn.microsoft.com/azure/aks/start-stop-cluster>",
    run: |lens| {
        let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
        let state = cluster.power_state.code.as_str();
        if state.is_empty() {
            return Ok(Verdict::default());
        }
        if state == "Running" {
            return Ok(Verdict { examined: 1, findings: Vec::new() });
        }
        let finding = Finding::new(
            subject(cluster),
            format!("cluster {} is not started: Azure calls it {state}", cluster.name),
            "It has no API server and no nodes: no command for the mesh can reach it.",
        )
        .key(KeyKind::Object, KEY)
        .remedy(Remedy::new("start it", vec![az(Risk::Change, "starts the cluster, which takes some minutes", &["start"])]));
        let finding = evidence(finding, cluster, "powerState.code", state, Some("Running"));
        Ok(Verdict { examined: 1, findings: vec![finding] })
    },
};

static LAST_CHANGE_FAILED: Check = Check {
    code: "AZ02",
    name: "last-change-failed",
    title: "The last change of the cluster ended well",
    area: Area::Azure,
    severity: Severity::Error,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
The last change that AKS made to the cluster failed, was canceled, or is still under way. What it should have changed may be changed in part only, and AKS may refuse further changes of the mesh.

## Why it happens on AKS
A quota, an Azure Policy, a right that the cluster's identity lost, a webhook in the cluster, or a node that did not come up stopped an update or upgrade.

## How we know
`provisioningState` in the answer of `az aks show`: `Failed` is an error, `Canceled` a warning. Anything but these and `Succeeded` is a change under way, which is said as information.

## What to do
Look into the activity log for the message. When its reason is mended, `az aks update` without other arguments makes AKS try again. `kubectl asm azure --log FILE` explains the text of an error, or what a command with `--debug` wrote.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/create-upgrade-delete/cluster-node-virtual-machine-failed-state>, <https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations#provisioningstate-values>",
    run: |lens| {
        let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
        let name = &cluster.name;
        let (severity, summary, detail, what) = match progress(cluster) {
            Progress::Done if cluster.provisioning_state.is_empty() => return Ok(Verdict::default()),
            Progress::Done => return Ok(Verdict { examined: 1, findings: Vec::new() }),
            Progress::Failed => (
                Severity::Error,
                format!("the last change of cluster {name} failed"),
                "What it should have changed may be changed only in part, and AKS may refuse further changes of the mesh.",
                "find out why, mend that, and let AKS try again",
            ),
            Progress::Canceled => (
                Severity::Warning,
                format!("the last change of cluster {name} was canceled"),
                "What it should have changed may be changed only in part.",
                "find out which change it was, and let AKS finish what it can",
            ),
            Progress::Running => (
                Severity::Info,
                format!("AKS is changing cluster {name} now ({})", cluster.provisioning_state),
                "Until that ends, the cluster may differ from what Azure says, and other changes are refused.",
                "wait for it to end",
            ),
        };
        let mut steps = vec![activity_log()];
        if severity > Severity::Info {
            steps.push(reconcile("tries the last change again"));
        } else {
            steps.push(az(Risk::Read, "waits until no change is under way", &["wait", "--updated", "--timeout", "3600"]));
        }
        let finding = Finding::new(subject(cluster), summary, detail)
            .key(KeyKind::Object, KEY)
            .key(KeyKind::Object, "istio")
            .at_most(severity)
            .remedy(Remedy::new(what, steps));
        let finding = evidence(finding, cluster, "provisioningState", &cluster.provisioning_state, Some("Succeeded"));
        Ok(Verdict { examined: 1, findings: vec![finding] })
    },
};

static NOT_OFFERED: Check = Check {
    code: "AZ04",
    name: "revision-not-offered",
    title: "Azure still offers the revisions of the mesh",
    area: Area::Azure,
    severity: Severity::Warning,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
A revision of the mesh is not among those that Azure offers in this region: it is out of support. It runs on, gets no further patches, and Azure may refuse changes of the mesh until it is upgraded.

## Why it happens on AKS
A revision is offered until six weeks after the second next one has come. Nothing upgrades the mesh by itself.

## How we know
`az aks mesh get-revisions` for the cluster's region. Where it answered, what it says about Kubernetes versions is also used by REV03 and REV04, in the place of the dated table inside the tool.

## What to do
Upgrade the mesh. `az aks mesh get-upgrades` names the revisions that can follow.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: not_offered,
};

fn not_offered(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let azure = answers(lens)?;
    let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
    let istio = &cluster.service_mesh_profile.istio;
    if !has_mesh(cluster) || istio.revisions.is_empty() {
        return Ok(Verdict::default());
    }
    let Some(offered) = azure.revisions else {
        return if lens.snapshot().azure.state().is_complete() { Ok(Verdict::default()) } else { Err(incomplete()) };
    };
    let offered: Vec<&str> = offered.mesh_revisions.iter().map(|one| one.revision.as_str()).collect();
    let mut verdict = Verdict { examined: istio.revisions.len(), findings: Vec::new() };
    for name in istio.revisions.iter().filter(|name| !offered.contains(&name.as_str())) {
        let next =
            azure.upgrades.filter(|upgrades| upgrades.revision == *name).and_then(|upgrades| upgrades.upgrades.last());
        let mut steps = vec![az(Risk::Read, "shows where the mesh can go", &["mesh", "get-upgrades", "-o", "table"])];
        // With two revisions the open upgrade has to be ended first.
        if istio.revisions.len() == 1 {
            let target = next.map_or("<revision>", String::as_str);
            steps.push(az(
                Risk::Change,
                "installs the new revision beside the old one; no pod is touched",
                &["mesh", "upgrade", "start", "--revision", target],
            ));
        }
        let finding = Finding::new(
            Subject::cluster("Revision", name.clone()),
            format!("revision {name} is no longer offered in {}", cluster.location),
            "It runs on without further patches, and Azure may refuse changes of the mesh until it is upgraded.",
        )
        .key(KeyKind::Object, KEY)
        .key(KeyKind::Revision, name)
        .remedy(Remedy::new("upgrade the mesh", steps));
        let expected = names(offered.iter().copied());
        verdict.findings.push(finding.evidence(
            SourceId::Azure,
            format!("managedcluster/{}", cluster.name),
            "serviceMeshProfile.istio.revisions",
            name,
            Some(&format!("one of {expected}")),
        ));
    }
    Ok(verdict)
}

static NO_ROTATION: Check = Check {
    code: "AZ05",
    name: "no-secret-rotation",
    title: "A certificate authority from a Key Vault is fetched again when it changes",
    area: Area::Azure,
    severity: Severity::Warning,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
The mesh's certificate authority comes from a Key Vault, but secrets are fetched only when a pod starts. A renewed certificate in the vault does not reach istiod, which signs with the old one until that ends.

## Why it happens on AKS
The Key Vault add-on fetches secrets again only with `enableSecretRotation`. Where the add-on itself is off, a new istiod does not start at all.

## How we know
`serviceMeshProfile.istio.certificateAuthority.plugin` is set, and `addonProfiles.azureKeyvaultSecretsProvider` is off or its `enableSecretRotation` is not `true`, in the answer of `az aks show`.

## What to do
Switch rotation on. The next poll brings the current objects.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://learn.microsoft.com/azure/aks/csi-secrets-store-configuration-options>",
    run: |lens| {
        let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
        if !has_mesh(cluster) || cluster.service_mesh_profile.istio.certificate_authority.plugin.is_none() {
            return Ok(Verdict::default());
        }
        let addon = cluster.addon_profiles.get(KEY_VAULT).filter(|addon| addon.enabled);
        let rotates = addon.is_some_and(|addon| addon.config.enable_secret_rotation.eq_ignore_ascii_case("true"));
        if rotates {
            return Ok(Verdict { examined: 1, findings: Vec::new() });
        }
        let on = az(
            Risk::Change,
            "lets the add-on fetch secrets again regularly",
            &["addon", "update", "-a", "azure-keyvault-secrets-provider", "--enable-secret-rotation"],
        );
        let (summary, detail, step, observed) = match addon {
            Some(addon) => (
                "the mesh's certificate authority comes from a Key Vault, but a renewed one is not fetched",
                "istiod signs with the certificate that it started with, until that ends.",
                on,
                addon.config.enable_secret_rotation.as_str(),
            ),
            None => (
                "the mesh's certificate authority comes from a Key Vault, but the add-on that reads it is off",
                "The next istiod does not start, and a renewed certificate is not fetched.",
                az(
                    Risk::Change,
                    "enables the add-on, with rotation",
                    &["enable-addons", "-a", "azure-keyvault-secrets-provider", "--enable-secret-rotation"],
                ),
                "add-on off",
            ),
        };
        let finding = Finding::new(Subject::cluster("Cluster", "key-vault-add-on"), summary, detail)
            .key(KeyKind::Object, KEY)
            .remedy(Remedy::new("switch secret rotation on", vec![step]));
        let finding = evidence(finding, cluster, "addonProfiles.azureKeyvaultSecretsProvider.config.enableSecretRotation", observed, Some("true"));
        Ok(Verdict { examined: 1, findings: vec![finding] })
    },
};

static OLD_AZ: Check = Check {
    code: "AZ06",
    name: "az-too-old",
    title: "az knows everything that this mesh has",
    area: Area::Azure,
    severity: Severity::Warning,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
The installed version of `az` is older than something that the mesh uses. Its commands fail with words that do not say so, or lose settings that they do not know.

## Why it happens on AKS
`az` is not updated by itself everywhere. The extension `aks-preview` replaces commands of `az aks`, so that an old one hides new ones.

## How we know
`az version`, compared with the versions that Microsoft's pages name: 2.57.0 for the mesh, 2.80.0 for egress gateways, 2.86.0 for Istio's CNI plugin. Where the extension is installed it is only information.

## What to do
Bring `az` up to date, and the extension where it is installed.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://learn.microsoft.com/azure/aks/istio-deploy-egress>, <https://learn.microsoft.com/azure/aks/istio-cni>",
    run: |lens| {
        let azure = answers(lens)?;
        let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
        let Some(tools) = azure.tools else { return Err(incomplete()) };
        if !has_mesh(cluster) {
            return Ok(Verdict::default());
        }
        let (needed, what) = needed_az(cluster);
        let Some(true) = is_older(&tools.az, needed) else {
            return Ok(Verdict { examined: 1, findings: Vec::new() });
        };
        let mut steps = vec![Step::command(Risk::Change, "brings az up to date", ["az", "upgrade"])];
        let extension = tools.extensions.get("aks-preview");
        if extension.is_some() {
            steps.push(Step::command(
                Risk::Change,
                "brings the extension up to date, which replaces commands of az aks",
                ["az", "extension", "update", "-n", "aks-preview"],
            ));
        }
        let mut finding = Finding::new(
            Subject::cluster("Cluster", "az"),
            format!("az {} is too old for {what}", tools.az),
            "Commands for the mesh fail with words that do not say so, or lose settings that they do not know.",
        )
        .key(KeyKind::Object, KEY)
        .remedy(Remedy::new("bring az up to date", steps))
        .evidence(SourceId::Azure, "az version", "azure-cli", &tools.az, Some(&format!("{needed} or newer")));
        if let Some(version) = extension {
            // Then the extension does what az itself is too old for, if it is not older still.
            finding = finding.at_most(Severity::Info).evidence(SourceId::Azure, "az version", "extensions.aks-preview", version, None);
        }
        Ok(Verdict { examined: 1, findings: vec![finding] })
    },
};

static NO_LONG_TERM_SUPPORT: Check = Check {
    code: "AZ07",
    name: "long-term-support-needed",
    title: "The support plan covers the Kubernetes version with the revision of the mesh",
    area: Area::Azure,
    severity: Severity::Warning,
    inputs: &[SourceId::Azure],
    uses: &[],
    docs: "## What it means
This revision supports the cluster's Kubernetes version only on clusters with long-term support, and the cluster does not have it.

## Why it happens on AKS
Older Kubernetes versions stay in support only under the plan `AKSLongTermSupport`, which needs the tier Premium. The calendar of the mesh has a column of its own for it.

## How we know
`supportPlan` and `currentKubernetesVersion` in the answer of `az aks show`, compared with what `az aks mesh get-revisions` says, or with the dated table inside the tool.

## What to do
Upgrade the cluster, or take the plan.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/long-term-support>",
    run: no_long_term_support,
};

fn no_long_term_support(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let Some(cluster) = cluster(lens)? else { return Ok(Verdict::default()) };
    let version = [&cluster.current_kubernetes_version, &cluster.kubernetes_version];
    let Some(version) = version.into_iter().find(|version| !version.is_empty()) else { return Ok(Verdict::default()) };
    let Some(kubernetes) = KubernetesMinor::parse(version) else { return Ok(Verdict::default()) };
    if !has_mesh(cluster) || cluster.support_plan.is_empty() {
        return Ok(Verdict::default());
    }
    let mut verdict = Verdict::default();
    for name in &cluster.service_mesh_profile.istio.revisions {
        let Some(known) = lens.facts().revisions.get(name) else { continue };
        verdict.examined += 1;
        if cluster.support_plan == LONG_TERM || fit(known, kubernetes) != Fit::LongTermSupportOnly {
            continue;
        }
        let finding = Finding::new(
            Subject::cluster("Revision", name.clone()),
            format!("revision {name} supports Kubernetes {kubernetes} only with long-term support, which the cluster does not have"),
            "This combination is not supported under the plan of the cluster.",
        )
        .key(KeyKind::Object, KEY)
        .key(KeyKind::Revision, name)
        .remedy(Remedy::new(
            "upgrade the cluster, or take long-term support",
            vec![
                az(Risk::Read, "shows where the cluster can go", &["get-upgrades", "-o", "table"]),
                az(
                    Risk::Change,
                    "or takes the plan, which costs the tier Premium",
                    &["update", "--tier", "premium", "--k8s-support-plan", LONG_TERM],
                ),
            ],
        ));
        verdict.findings.push(evidence(finding, cluster, "supportPlan", &cluster.support_plan, Some(LONG_TERM)));
    }
    Ok(verdict)
}
