//! REV: revisions and their support.

use std::collections::BTreeMap;

use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::facts::Support;
use crate::mesh::revision::AsmRevision;
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&PAST_END_OF_LIFE, &NEWER_THAN_TABLE];

/// Revisions that are installed, and those that running proxies name; whoever may see only a namespace still learns
/// about the revisions used there. The value tells where a revision was seen.
pub(super) fn seen(lens: &Lens<'_>) -> Result<BTreeMap<String, (SourceId, String)>, Missing> {
    let snapshot = lens.snapshot();
    let mut found = BTreeMap::new();
    let installed = lens.revisions();
    if let Ok(revisions) = installed {
        for revision in revisions {
            let place = format!("{}/deployment/istiod-{}", crate::sources::SYSTEM_NAMESPACE, revision.name);
            found.insert(revision.name.clone(), (SourceId::SystemDeployments, place));
        }
        return Ok(found);
    }
    lens.need(&[SourceId::Pods])?;
    let examined = |pod: &&crate::model::Pod| snapshot.scope.contains(&pod.metadata.namespace);
    for pod in snapshot.pods.items().unwrap_or_default().iter().filter(examined) {
        if let Some(revision) = crate::mesh::proxy::of_pod(pod).and_then(|proxy| proxy.revision)
            && AsmRevision::parse(&revision).is_some()
        {
            found
                .entry(revision)
                .or_insert_with(|| (SourceId::Pods, format!("{}/pod/{}", pod.metadata.namespace, pod.metadata.name)));
        }
    }
    Ok(found)
}

static PAST_END_OF_LIFE: Check = Check {
    code: "REV01",
    name: "revision-past-end-of-life",
    title: "Every revision in use is supported",
    area: Area::Revision,
    severity: Severity::Error,
    inputs: &[SourceId::Pods],
    uses: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::Version, SourceId::SystemConfigMaps],
    docs: "## What it means
Microsoft no longer supports a revision that is in use: it gets no security fixes, and AKS may refuse operations on it.

## Why it happens on AKS
A revision is supported until six weeks after the second revision after it has become available everywhere: about eight months. Nothing upgrades a minor revision by itself.

## How we know
The revision is compared with the dated table inside the tool. Dates published as a month are approximate, and a table older than 90 days may be out of date: then it is a warning. The summary says which table was used; `--facts FILE` gives a newer one.

## What to do
Start an upgrade, move the namespaces, restart the workloads, complete it. AKS allows the next revision or the one after it; when the next one has ended too, only the nearest supported one. When Kubernetes is too old for all of them, upgrade the cluster first. When an upgrade is open already, only complete it.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: past_end_of_life,
};

fn past_end_of_life(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let seen = seen(lens)?;
    let facts = lens.facts();
    let mut findings = Vec::new();
    for (name, (source, object)) in &seen {
        let support = facts.support(name, lens.now());
        let (Support::Ended | Support::ProbablyEnded, Some(known)) = (support, facts.revisions.get(name)) else {
            continue;
        };
        let until = known.end_of_life.date;
        let sure = support == Support::Ended;
        let summary = if sure {
            format!("revision {name} has been out of support since {until}")
        } else {
            format!(
                "revision {name} has probably been out of support since {}{until}",
                if known.end_of_life.exact { "" } else { "about " }
            )
        };
        let detail = if sure {
            "It gets no more security fixes, and AKS may refuse operations on it.".to_owned()
        } else {
            let doubt = if known.end_of_life.exact { "" } else { "Microsoft published only the month. " };
            format!("{doubt}If it has ended, it gets no more security fixes.")
        };
        findings.push(
            Finding::new(Subject::cluster("Revision", name.clone()), summary, detail)
                .key(KeyKind::Revision, name)
                .at_most(if sure { Severity::Error } else { Severity::Warning })
                .remedy(super::compatibility::leave(lens, name))
                .evidence(
                    *source,
                    object.clone(),
                    "revision",
                    name.clone(),
                    Some(&format!("supported on {}", lens.now().strftime("%Y-%m-%d"))),
                ),
        );
    }
    Ok(Verdict { examined: seen.len(), findings })
}

static NEWER_THAN_TABLE: Check = Check {
    code: "REV08",
    name: "revision-newer-than-table",
    title: "The support table knows every revision in use",
    area: Area::Revision,
    severity: Severity::Info,
    inputs: &[SourceId::Pods],
    uses: &[SourceId::SystemPods, SourceId::SystemDeployments],
    docs: "## What it means
A revision is newer than the support table inside the tool, so its end of support is not known here. Nothing is wrong with the revision.

## Why it happens on AKS
A new revision appears about every three months.

## How we know
Every revision in the table is lower than this one.

## What to do
Update the plugin, or give a newer table with `--facts FILE`.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: |lens| {
        let seen = seen(lens)?;
        let facts = lens.facts();
        let findings = seen
            .iter()
            .filter(|(name, _)| facts.is_newer_than_table(name))
            .map(|(name, (source, object))| {
                Finding::new(
                    Subject::cluster("Revision", name.clone()),
                    format!("revision {name} is newer than the support table of {}", facts.as_of),
                    "When its support ends is not known here, so no check warns of it.",
                )
                .key(KeyKind::Revision, name)
                .remedy(Remedy::new(
                    "update the plugin",
                    vec![Step::command(Risk::Change, "updates the plugin", ["kubectl", "krew", "upgrade", "asm"])],
                ))
                .evidence(*source, object.clone(), "revision", name.clone(), None)
            })
            .collect();
        Ok(Verdict { examined: seen.len(), findings })
    },
};
