//! The revision label on custom resources.

use std::collections::{BTreeMap, BTreeSet};

use super::object_name;
use super::resources::{ALLOWED, Resource, by_resource, listed, read};
use crate::checks::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::{foreign, tags};
use crate::mesh::injection::REV;
use crate::mesh::revision::AsmRevision;
use crate::model::Meta;
use crate::snapshot::SourceId;

pub(super) static ABSENT_REVISION: Check = Check {
    code: "POL06",
    name: "resource-of-absent-revision",
    title: "Every custom resource with a revision label is read by an istiod",
    area: Area::Policy,
    severity: Severity::Warning,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::Istiods,
        SourceId::EnvoyFilters,
        SourceId::Telemetries,
        SourceId::ServiceEntries,
        SourceId::PeerAuthentications,
        SourceId::Sidecars,
        SourceId::VirtualServices,
        SourceId::DestinationRules,
        SourceId::IstioGateways,
        SourceId::AuthorizationPolicies,
        SourceId::RequestAuthentications,
    ],
    uses: &[
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
    ],
    docs: "## What it means
A custom resource has the label `istio.io/rev`, but no istiod of that revision runs. Every istiod skips it, as if it did not exist: a route does not route, a policy does not protect.

## Why it happens on AKS
The label limits a resource to one revision, for instance during an upgrade. When the upgrade is completed, the revision goes and the label stays. On resources istiod compares the label with its revision's name only: a tag, which is right on a namespace, is wrong here.

## How we know
The label of each resource is compared with the revisions of all istiods in the cluster, those of a self-managed Istio included.

## What to do
First look at the resource: what was skipped until now takes effect at once. Then remove the label, so that every istiod reads the resource; or set the label to an installed revision.

## Sources
`LabelsInRevision` in `pkg/config/model.go` and `inRevision` in `pilot/pkg/config/kube/crdclient/client.go` of <https://github.com/istio/istio>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: absent_revision,
};

fn absent_revision(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::Istiods])?;
    let foreign = foreign(lens.snapshot());
    let present: BTreeSet<&str> = revisions
        .iter()
        .map(|r| r.name.as_str())
        .chain(foreign.iter().map(|istiod| istiod.revision.as_str()))
        .collect();
    let newest = revisions.iter().filter_map(|revision| AsmRevision::parse(&revision.name)).max();
    let resources = read(lens, ALLOWED)?;
    let mut verdict = Verdict { examined: resources.len(), findings: Vec::new() };
    let mut by_namespace: BTreeMap<&str, Vec<Resource<'_>>> = BTreeMap::new();
    for resource in resources {
        let Some(label) = resource.meta.label(REV).filter(|label| !label.is_empty()) else { continue };
        if !present.contains(label) && !is_of_addon(resource.meta) {
            by_namespace.entry(&resource.meta.namespace).or_default().push(resource);
        }
    }
    for (namespace, found) in by_namespace {
        // What is labelled for the revision that comes next waits for its upgrade.
        let waits = |resource: &Resource<'_>| resource.meta.label(REV).and_then(AsmRevision::parse) > newest;
        let finding = skipped(lens, namespace, &found);
        verdict.findings.push(if found.iter().all(waits) { finding.at_most(Severity::Info) } else { finding });
    }
    Ok(verdict)
}

/// Whether the add-on itself installed a resource.
pub(super) fn is_of_addon(meta: &Meta) -> bool {
    meta.namespace.starts_with("aks-istio-")
        && (meta.label("app.kubernetes.io/managed-by").is_some()
            || meta.label("install.operator.istio.io/owning-resource").is_some())
}

fn skipped(lens: &Lens<'_>, namespace: &str, found: &[Resource<'_>]) -> Finding {
    let labels: BTreeSet<&str> = found.iter().filter_map(|resource| resource.meta.label(REV)).collect();
    let tags: BTreeSet<String> = match lens.injectors() {
        Ok(injectors) => tags(injectors).into_iter().map(|tag| tag.name).collect(),
        Err(_) => BTreeSet::new(),
    };
    let steps = by_resource(found)
        .into_iter()
        .map(|(resource, names)| {
            let mut command = vec!["kubectl", "label", resource];
            command.extend(&names);
            command.extend(["-n", namespace, "istio.io/rev-"]);
            Step::command(Risk::Change, "removes the label; every istiod then applies the resource at once", command)
        })
        .collect();
    let mut finding = Finding::new(
        Subject::cluster("Namespace", namespace),
        format!(
            "{} in namespace {namespace} {} ignored: label istio.io/rev={}",
            count(found.len(), "resource"),
            if found.len() == 1 { "is" } else { "are" },
            names(labels.iter().copied())
        ),
        format!("{}: every istiod skips what is labelled for another revision, so it has no effect.", listed(found)),
    )
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new("remove the label, or set it to an installed revision", steps));
    for label in labels {
        finding = finding.key(KeyKind::Revision, label);
    }
    for Resource { source, kind, meta, .. } in found {
        let label = meta.label(REV).unwrap_or_default();
        let observed = if tags.contains(label) { format!("{label}, a tag") } else { label.to_owned() };
        finding = finding.evidence(
            *source,
            object_name(kind, meta),
            "label istio.io/rev",
            observed,
            Some("an installed revision, or no label"),
        );
    }
    finding
}
