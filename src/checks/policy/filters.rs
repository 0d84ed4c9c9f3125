//! EnvoyFilters.

use std::collections::BTreeMap;

use super::UPSTREAM_ROOT;
use super::labels::is_of_addon;
use super::object_name;
use crate::checks::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::control_plane::Revision;
use crate::mesh::proxy_version::takes;
use crate::mesh::revision::AsmRevision;
use crate::model::{EnvoyFilter, Meta};
use crate::snapshot::SourceId;

const RESOURCE: &str = "envoyfilters.networking.istio.io";

pub(super) static ENVOY_FILTERS: Check = Check {
    code: "POL02",
    name: "envoy-filters",
    title: "EnvoyFilters fit the installed revisions",
    area: Area::Policy,
    severity: Severity::Warning,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::EnvoyFilters],
    uses: &[],
    docs: "## What it means
An EnvoyFilter changes the configuration of the proxy (Envoy) directly, where Istio checks nothing. The add-on allows all of them but supports none. It becomes a risk in two cases: its `proxyVersion` fits no installed revision, so that it silently does nothing; or an upgrade is open, and a filter without `proxyVersion` also reaches the new proxies, which it was not written for.

## Why it happens on AKS
Since October 2025 the add-on lets every EnvoyFilter in; before, only some kinds. What a filter refers to (names of other filters, types, extensions) changes between revisions, and a filter that no longer fits is skipped or makes the proxy reject its configuration.

## How we know
The `proxyVersion` of every patch is compared with the minor versions of the installed revisions, where the expression is of a common form; otherwise nothing is claimed about it.

## What to do
Before completing an upgrade, move one workload per filter to the new revision and watch its traffic. Correct or delete a filter that fits no revision. Where a Telemetry, AuthorizationPolicy or DestinationRule does the same, use that.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>, <https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://istio.io/latest/docs/reference/config/networking/envoy-filter/>",
    run: envoy_filters,
};

fn envoy_filters(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::EnvoyFilters])?;
    let filters: Vec<_> = lens
        .snapshot()
        .envoy_filters
        .items()
        .unwrap_or_default()
        .iter()
        // Those in the root namespace of a self-managed Istio are that Istio's, or have no effect.
        .filter(|filter| !is_of_addon(&filter.metadata) && filter.metadata.namespace != UPSTREAM_ROOT)
        .collect();
    let mut verdict = Verdict { examined: filters.len(), findings: Vec::new() };
    let mut by_namespace: BTreeMap<&str, Vec<&EnvoyFilter>> = BTreeMap::new();
    for filter in filters {
        if fits_none(filter, revisions) {
            verdict.findings.push(unfitting(filter, revisions));
        } else {
            by_namespace.entry(&filter.metadata.namespace).or_default().push(filter);
        }
    }
    for (namespace, filters) in by_namespace {
        verdict.findings.push(present(namespace, &filters, revisions));
    }
    Ok(verdict)
}

/// Minor versions that a revision's proxies can have: by its name, and by its istiod's image.
fn minors(revision: &Revision<'_>) -> Vec<(u32, u32)> {
    let by_name = AsmRevision::parse(&revision.name).map(|revision| (revision.major, revision.minor));
    by_name.into_iter().chain(revision.version().map(|version| (version.major, version.minor))).collect()
}

/// Whether every patch names a version, and none of them an installed one.
fn fits_none(filter: &EnvoyFilter, revisions: &[Revision<'_>]) -> bool {
    let patches = &filter.spec.config_patches;
    let excluded = |expression: &str| {
        !expression.is_empty()
            && revisions.iter().flat_map(minors).all(|(major, minor)| takes(expression, major, minor) == Some(false))
    };
    !patches.is_empty()
        && !revisions.is_empty()
        && patches.iter().all(|patch| excluded(&patch.matches.proxy.proxy_version))
}

fn versions(filter: &EnvoyFilter) -> String {
    let mut all: Vec<&str> =
        filter.spec.config_patches.iter().map(|patch| patch.matches.proxy.proxy_version.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all.retain(|version| !version.is_empty());
    if all.is_empty() { "none".to_owned() } else { names(all) }
}

fn unfitting(filter: &EnvoyFilter, revisions: &[Revision<'_>]) -> Finding {
    let Meta { name, namespace, .. } = &filter.metadata;
    let installed = names(revisions.iter().map(|revision| revision.name.as_str()));
    Finding::new(
        Subject::new("EnvoyFilter", namespace, name),
        format!("EnvoyFilter {name} in {namespace} fits no installed revision, so it does nothing"),
        format!("It is limited to proxies of version {}; installed is {installed}. What it was meant to change is unchanged.", versions(filter)),
    )
    .key(KeyKind::Namespace, namespace)
    .key(KeyKind::Object, format!("EnvoyFilter/{namespace}/{name}"))
    .remedy(Remedy::new(
        "write it for the installed revision, or delete it",
        vec![
            Step::command(
                Risk::Change,
                "opens it in an editor: correct proxyVersion, and check each patch against the new version",
                ["kubectl", "edit", RESOURCE, name, "-n", namespace],
            ),
            Step::command(
                Risk::Change,
                "or instead: deletes it",
                ["kubectl", "delete", RESOURCE, name, "-n", namespace],
            ),
        ],
    ))
    .evidence(
        SourceId::EnvoyFilters,
        object_name("EnvoyFilter", &filter.metadata),
        "proxyVersion",
        versions(filter),
        Some(&format!("an expression that matches {installed}")),
    )
}

fn present(namespace: &str, filters: &[&EnvoyFilter], revisions: &[Revision<'_>]) -> Finding {
    let all = |filters: &[&EnvoyFilter]| names(filters.iter().map(|filter| filter.metadata.name.as_str()));
    let unversioned: Vec<&EnvoyFilter> = filters
        .iter()
        .filter(|filter| filter.spec.config_patches.iter().any(|patch| patch.matches.proxy.proxy_version.is_empty()))
        .copied()
        .collect();
    let show = Step::command(
        Risk::Read,
        "shows them, to test each with one workload after an upgrade starts",
        ["kubectl", "get", RESOURCE, "-n", namespace, "-o", "yaml"],
    );
    let finding = if let [old, .., new] = revisions
        && !unversioned.is_empty()
    {
        Finding::new(
            Subject::cluster("Namespace", namespace),
            format!(
                "{} in {namespace} also {} to proxies of {}: {}",
                count(unversioned.len(), "EnvoyFilter"),
                if unversioned.len() == 1 { "applies" } else { "apply" },
                new.name,
                all(&unversioned)
            ),
            format!(
                "No proxyVersion limits a filter to {}. On {} it may silently do nothing, or make the proxy reject its configuration.",
                old.name, new.name
            ),
        )
        .key(KeyKind::Revision, &new.name)
        .remedy(Remedy::new(
            "try each with one workload on the new revision before the upgrade is completed",
            vec![show],
        ))
    } else {
        Finding::new(
            Subject::cluster("Namespace", namespace),
            format!(
                "namespace {namespace} has {}, which Microsoft does not support",
                count(filters.len(), "EnvoyFilter")
            ),
            format!("{}: allowed, but any upgrade may break them, and support does not help then.", all(filters)),
        )
        .at_most(Severity::Info)
        .remedy(Remedy::new("try each again before an upgrade is completed", vec![show]))
    };
    let shown = if revisions.len() > 1 && !unversioned.is_empty() { &unversioned } else { filters };
    shown.iter().fold(finding.key(KeyKind::Namespace, namespace), |finding, filter| {
        finding.evidence(
            SourceId::EnvoyFilters,
            object_name("EnvoyFilter", &filter.metadata),
            "proxyVersion",
            versions(filter),
            None,
        )
    })
}
