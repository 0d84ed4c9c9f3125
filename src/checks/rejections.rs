//! PRX: what Envoys rejected, and the objects that it is made from.

use std::collections::{BTreeMap, BTreeSet};

use super::remedies::{count, names, quote};
use super::sync::{Group, finish, groups, impact, log, pod_object, types, workloads};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::nack::{Behind, Object, behind};
use crate::mesh::sync::{Row, State};
use crate::model::age;
use crate::snapshot::SourceId;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&REJECTED];

/// More workloads of a revision than this have one reason in common.
const EACH: usize = 3;

static REJECTED: Check = Check {
    code: "PRX11",
    name: "proxy-rejects-configuration",
    title: "Proxies accept what istiod sends",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: &[SourceId::Xds],
    uses: &[
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::EnvoyFilters,
        SourceId::IstioGateways,
        SourceId::DestinationRules,
        SourceId::WasmPlugins,
    ],
    docs: "## What it means
Envoy rejected configuration that istiod sent. It keeps what it had before; a new pod, which has nothing yet, does not become ready or lacks a listener.

## Why it happens on AKS
An EnvoyFilter that does not fit this version of Envoy, often after an upgrade; a certificate or file in a Gateway or DestinationRule that is not there or not valid; two routes for one host.

## How we know
istiod keeps the text of Envoy's last rejection of each type until the next acknowledgement. Secrets, Gateways, routes, clusters and extensions that the text names lead to the object they are made of; an EnvoyFilter is named where the text is about something that istiod does not make by itself.

## What to do
Correct the object that the finding names. If it names none, look at the EnvoyFilters in the namespace of the pod and in `aks-istio-system`. istiod then sends the configuration again, without a restart.

## What else looks like it
Configuration that was neither accepted nor rejected is PRX03.

## Sources
<https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#ack-nack-and-resource-type-instance-version>, <https://learn.microsoft.com/azure/aks/istio-support-policy>, `pilot/pkg/xds/debug.go` in <https://github.com/istio/istio>",
    run: rejected,
};

fn rejected(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let sync = lens.sync()?;
    let workloads = workloads(lens);
    let snapshot = lens.snapshot();
    lens.optional(SourceId::EnvoyFilters, &snapshot.envoy_filters);
    lens.optional(SourceId::IstioGateways, &snapshot.istio_gateways);
    lens.optional(SourceId::DestinationRules, &snapshot.destination_rules);
    lens.optional(SourceId::WasmPlugins, &snapshot.wasm_plugins);
    // Most proxies that reject something reject the same: each text is read once per namespace.
    let mut read: BTreeMap<(&str, &str, &str), Behind> = BTreeMap::new();
    let mut by_object: BTreeMap<Object, Vec<&Row<'_>>> = BTreeMap::new();
    let mut others: Vec<&Row<'_>> = Vec::new();
    for row in sync.rows.iter().filter(|row| row.state == State::Error) {
        let named = row.causing().find_map(|one| {
            let key = (row.namespace, one.kind.short(), one.error?);
            let behind = read.entry(key).or_insert_with(|| behind(snapshot, key.1, key.2, key.0));
            behind.named.clone()
        });
        match named {
            Some(object) => by_object.entry(object).or_default().push(row),
            None => others.push(row),
        }
    }
    let candidates = |group: &Group<'_, '_>| -> Vec<Object> {
        let of = |row: &&Row<'_>| {
            let keys = row.causing().filter_map(|one| Some((row.namespace, one.kind.short(), one.error?)));
            keys.filter_map(|key| read.get(&key)).flat_map(|behind| behind.candidates.clone()).collect::<Vec<_>>()
        };
        group.rows.iter().flat_map(of).collect::<BTreeSet<_>>().into_iter().collect()
    };
    let mut findings = Vec::new();
    for (object, rows) in by_object {
        let groups = groups(lens, workloads, rows);
        if !groups.is_empty() {
            let also: BTreeSet<Object> = groups.iter().flat_map(&candidates).collect();
            findings.push(rejected_object(&object, &groups, &also.into_iter().collect::<Vec<_>>()));
        }
    }
    let mut by_revision: BTreeMap<Option<&str>, Vec<&Row<'_>>> = BTreeMap::new();
    for row in others {
        by_revision.entry(row.revision.as_deref()).or_default().push(row);
    }
    for (revision, rows) in by_revision {
        let groups = groups(lens, workloads, rows);
        match revision {
            Some(revision) if groups.len() > EACH => {
                let also: BTreeSet<Object> = groups.iter().flat_map(&candidates).collect();
                findings.push(rejected_everywhere(revision, &groups, &also.into_iter().collect::<Vec<_>>()));
            }
            _ => findings.extend(groups.iter().map(|group| rejected_workload(group, &candidates(group)))),
        }
    }
    finish(lens, findings)
}

/// Envoy's first words, and what goes on.
fn envoy_says(rows: &[&Row<'_>]) -> String {
    let text = rows.iter().flat_map(|row| row.causing()).find_map(|one| one.error).unwrap_or_default();
    format!("Envoy says: \"{}\". It keeps what it had before.", quote(text).trim_end_matches('.'))
}

fn with_texts(finding: Finding, rows: &[&Row<'_>]) -> Finding {
    let texts = rows.iter().flat_map(|row| row.causing().map(move |one| (row, one)));
    texts.take(3).fold(finding, |finding, (row, one)| {
        let ago = one.age.map_or_else(String::new, |age| format!(" of {} ago", age::words(age)));
        let field = format!("{}{ago}", one.kind.short());
        finding.evidence(
            SourceId::Xds,
            pod_object(row),
            field,
            format!("rejected: {}", quote(one.error.unwrap_or_default())),
            Some("accepted"),
        )
    })
}

fn show(object: &Object) -> Step {
    let (verb, text) = match object.kind {
        // Its values are nobody's business.
        "Secret" => ("describe", "shows which keys it has".to_owned()),
        _ => ("get", "shows it".to_owned()),
    };
    let mut command = vec!["kubectl", verb, object.resource(), object.name.as_str(), "-n", object.namespace.as_str()];
    if verb == "get" {
        command.extend(["-o", "yaml"]);
    }
    Step::command(Risk::Read, text, command)
}

/// Objects that may be behind it: each of a few, a list of many.
fn show_candidates(candidates: &[Object]) -> Vec<Step> {
    match candidates {
        [first, _, _, _, ..] => {
            let text = format!("lists the {} that can be behind it", count(candidates.len(), first.kind));
            vec![Step::command(Risk::Read, text, ["kubectl", "get", first.resource(), "-A"])]
        }
        few => few.iter().map(show).collect(),
    }
}

fn with_candidates(mut finding: Finding, candidates: &[Object]) -> Finding {
    for object in candidates {
        let subject = Subject::new(object.kind, object.namespace.clone(), object.name.clone());
        finding = finding.related(&subject, "changes what was rejected");
    }
    finding
}

/// A sentence about objects that the text does not name.
fn may_be(candidates: &[Object]) -> String {
    match candidates {
        [] => String::new(),
        [one] => format!(" {} {} in {} changes what was rejected.", one.kind, one.name, one.namespace),
        several => {
            let all: Vec<String> = several.iter().map(|one| format!("{}/{}", one.namespace, one.name)).collect();
            format!(" Objects of kind {} that change it: {}.", several[0].kind, names(all.iter().map(String::as_str)))
        }
    }
}

fn rejected_object(object: &Object, groups: &[Group<'_, '_>], candidates: &[Object]) -> Finding {
    let rows: Vec<&Row<'_>> = groups.iter().flat_map(|group| group.rows.iter().copied()).collect();
    let impact = impact(groups);
    let who = match groups {
        [group] => group.label(),
        _ => format!("{} ({})", count(impact.workloads, "workload"), count(impact.pods, "pod")),
    };
    let subject = Subject::new(object.kind, object.namespace.clone(), object.name.clone());
    let mut steps = vec![show(object)];
    steps.extend(show_candidates(candidates));
    steps.push(Step::text(Risk::Change, "correct it; istiod then sends the configuration again, without a restart"));
    let mut finding = Finding::new(
        subject,
        format!(
            "{}/{} in {}: Envoy of {who} rejected the {} made from it",
            object.kind.to_lowercase(),
            object.name,
            object.namespace,
            types(&rows),
        ),
        format!("{}{}", envoy_says(&rows), may_be(candidates)),
    )
    .key(KeyKind::Object, format!("{}/{}/{}", object.kind, object.namespace, object.name))
    .impact(impact)
    .remedy(Remedy::new("correct the object", steps));
    for group in groups {
        finding = finding.related(&group.subject(), "rejects it");
    }
    with_texts(with_candidates(finding, candidates), &rows)
}

fn rejected_workload(group: &Group<'_, '_>, candidates: &[Object]) -> Finding {
    let mut steps = show_candidates(candidates);
    steps.extend(group.rows.first().map(|row| log(row, "shows the proxy's log, with every rejection")));
    steps.push(Step::text(
        Risk::Change,
        "correct the object that it is made from; istiod then sends the configuration again, without a restart",
    ));
    let finding = Finding::new(
        group.subject(),
        format!("{}: Envoy of {} rejected its {}", group.label(), group.of_pods(), types(&group.rows)),
        format!("{}{}", envoy_says(&group.rows), may_be(candidates)),
    )
    .impact(group.impact())
    .remedy(Remedy::new("correct the object behind it", steps));
    with_texts(with_candidates(group.keys(finding), candidates), &group.rows)
}

fn rejected_everywhere(revision: &str, groups: &[Group<'_, '_>], candidates: &[Object]) -> Finding {
    let rows: Vec<&Row<'_>> = groups.iter().flat_map(|group| group.rows.iter().copied()).collect();
    let impact = impact(groups);
    let mut steps = show_candidates(candidates);
    steps.extend(rows.first().map(|row| log(row, "shows the log of one of the proxies, with every rejection")));
    steps.push(Step::text(
        Risk::Change,
        "correct the object that it is made from; istiod then sends the configuration again, without a restart",
    ));
    let mut finding = Finding::new(
        Subject::cluster("Revision", revision),
        format!(
            "{} ({}) of {revision}: Envoy rejected the {}",
            count(groups.len(), "workload"),
            count(rows.len(), "pod"),
            types(&rows)
        ),
        format!("{}{}", envoy_says(&rows), may_be(candidates)),
    )
    .key(KeyKind::Revision, revision)
    .impact(impact)
    .remedy(Remedy::new("correct what they have in common", steps));
    for group in groups {
        finding = finding.related(&group.subject(), "rejects configuration");
    }
    with_texts(with_candidates(finding, candidates), &rows)
}
