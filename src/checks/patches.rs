//! REV: whether the installed patch of a revision is the newest one.

use super::remedies::names;
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::revision::IstioVersion;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// A patch reaches all regions within about this many days; until then being behind is nobody's fault.
const ROLLOUT_DAYS: i32 = 14;

pub(super) static PATCH_BEHIND: Check = Check {
    code: "REV06",
    name: "patch-behind",
    title: "Every istiod runs the newest known patch of its revision",
    area: Area::Revision,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
istiod runs an older patch than the newest one known for its revision. When a published weakness is fixed in between, it is a warning and the weakness is named; otherwise it is said two weeks after the patch was published, as information.

## Why it happens on AKS
AKS rolls patches of istiod and of the gateways out by itself, region by region, inside the planned maintenance window where one is set. A window that is rare or too short holds patches back.

## How we know
The version in istiod's image is compared with the dated table inside the tool. An image without a readable version is left out.

## What to do
Wait for the rollout, or look at the maintenance window. The patch of a revision cannot be chosen. Sidecars get the patch when their pods are restarted after istiod has it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-upgrade#patch-version-upgrade>, <https://github.com/Azure/AKS/releases>",
    run: patch_behind,
};

fn patch_behind(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let facts = lens.facts();
    let today = crate::facts::date_of(lens.now());
    let mut verdict = Verdict::default();
    for revision in revisions {
        let name = &revision.name;
        let Some(running) = revision.version() else { continue };
        verdict.examined += 1;
        let before = |text: &str| IstioVersion::parse(text).is_some_and(|version| running.is_before(&version));
        let missing: Vec<&str> = facts
            .advisories
            .iter()
            .filter(|(_, advisory)| advisory.published <= today)
            .filter(|(_, advisory)| advisory.fixed_in.get(name).is_some_and(|version| before(version)))
            .map(|(id, _)| id.as_str())
            .collect();
        let patch = facts.patches.get(name).filter(|patch| patch.published <= today && before(&patch.version));
        let overdue = patch.is_some_and(|patch| (today - patch.published).get_days() > ROLLOUT_DAYS);
        if missing.is_empty() && !overdue {
            continue;
        }
        let fixed = missing.iter().filter_map(|id| IstioVersion::parse(facts.advisories.get(*id)?.fixed_in.get(name)?));
        let known = patch.and_then(|patch| IstioVersion::parse(&patch.version)).into_iter().chain(fixed);
        let Some(newest) = known.reduce(|a, b| if a.is_before(&b) { b } else { a }) else { continue };
        let (summary, detail) = if missing.is_empty() {
            let summary = format!("istiod of {name} runs {running}; patch {newest} is out");
            (
                summary,
                "It lacks the fixes of that patch. AKS installs patches by itself, but this one is over two weeks old."
                    .to_owned(),
            )
        } else {
            let summary =
                format!("istiod of {name} runs {running} without the fix for {}", names(missing.iter().copied()));
            (
                summary,
                format!(
                    "The mesh is open to a published weakness until AKS installs {newest}, which it does by itself, region by region."
                ),
            )
        };
        verdict.findings.push(
            Finding::new(Subject::cluster("Revision", name.clone()), summary, detail)
                .key(KeyKind::Revision, name)
                .at_most(if missing.is_empty() { Severity::Info } else { Severity::Warning })
                .remedy(Remedy::new(
                    "let AKS install the patch, then restart the workloads",
                    vec![
                        Step::command(
                            Risk::Read,
                            "shows the maintenance windows, which AKS waits for; widen one that is rare or short",
                            [
                                "az",
                                "aks",
                                "maintenanceconfiguration",
                                "list",
                                "-g",
                                "<resource-group>",
                                "--cluster-name",
                                "<cluster>",
                            ],
                        ),
                        Step::text(
                            Risk::Restart,
                            format!(
                                "once istiod runs {newest}, restart the workloads: a sidecar changes only with its pod"
                            ),
                        ),
                    ],
                ))
                .evidence(
                    SourceId::SystemPods,
                    format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"),
                    "image version of container discovery",
                    running.to_string(),
                    Some(&newest.to_string()),
                ),
        );
    }
    Ok(verdict)
}
