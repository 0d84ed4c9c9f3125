//! PRX07: routes of one proxy that lead nowhere.

use std::collections::BTreeMap;

use super::proxy_answers::{ANSWERS, Proxy, answers, count, listed};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::proxy_config::names::{ClusterName, Origin};
use crate::mesh::proxy_config::routes::{DeadRoute, dead, deserted, empty};
use crate::model::envoy::ProxyAnswers;
use crate::snapshot::SourceId;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&NOWHERE];

static NOWHERE: Check = Check {
    code: "PRX07",
    name: "proxy-route-leads-nowhere",
    title: "The proxy's routes lead to destinations that exist",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
A route of the proxy leads to a cluster that the proxy does not have: every request that is sent there fails with 503 and the flag NC (`cluster_not_found`). Or it leads to a subset in which there is no pod: such requests fail with 503 and the flag UH.

That a whole Service has no endpoints is told as information: it may be scaled to zero.

## Why it happens on AKS
A VirtualService names a subset that no DestinationRule defines, a port that the Service does not have, or a host that is not visible for this proxy (`exportTo`, a Sidecar resource). A subset without pods: its labels fit no pod, or the new version is not deployed yet.

## How we know
Clusters and routes of the same proxy, from its `config_dump`; the number of endpoints from `/clusters?format=json`, or from the `config_dump` where endpoints are in it. istiod writes the object that a route comes from into its metadata.

## What to do
Correct the VirtualService, or add what it names. Proxies follow at once, without a restart.

## Sources
<https://istio.io/latest/docs/ops/common-problems/network-issues/#503-errors-after-setting-destination-rule>, <https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage#response-flags>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)?.iter().filter(|answers| !answers.clusters.is_empty()) {
            verdict.examined += answers.routes.len();
            let proxy = Proxy::of(answers);
            let mut by_origin: BTreeMap<Option<Origin<'_>>, (Vec<DeadRoute<'_>>, Vec<DeadRoute<'_>>)> = BTreeMap::new();
            for (origin, routes) in dead(answers) {
                by_origin.entry(origin).or_default().0 = routes;
            }
            for (origin, routes) in deserted(answers) {
                by_origin.entry(Some(origin)).or_default().1 = routes;
            }
            let found = by_origin.iter();
            verdict.findings.extend(found.map(|(origin, (dead, empty))| nowhere(&proxy, origin.as_ref(), dead, empty)));
            verdict.findings.extend(without_endpoints(&proxy, answers));
        }
        Ok(verdict)
    },
};

fn words(routes: &[DeadRoute<'_>]) -> String {
    listed(&routes.iter().map(|route| ClusterName::parse(route.cluster).words()).collect::<Vec<_>>())
}

fn nowhere(proxy: &Proxy<'_>, origin: Option<&Origin<'_>>, dead: &[DeadRoute<'_>], empty: &[DeadRoute<'_>]) -> Finding {
    let (subject, who) = match origin {
        Some(origin) => (
            Subject::new(origin.kind.as_str(), origin.namespace, origin.name),
            format!("{}/{} in {}", origin.kind.to_lowercase(), origin.name, origin.namespace),
        ),
        None => {
            let place = dead.first().and_then(|route| route.places.first());
            let name = place.map_or("unknown", |(config, _)| *config);
            (Subject::new("Route", proxy.namespace(), name), format!("route {name} of {}", proxy.words()))
        }
    };
    let (summary, cost) = match (dead.is_empty(), empty.is_empty()) {
        (false, true) => (
            format!("{who} leads to what {} does not know: {}", proxy.words(), words(dead)),
            "Requests that are sent there fail with 503; where traffic is split by weight, that share.".to_owned(),
        ),
        (true, _) => (
            format!("{who} leads to subsets without a pod: {}", words(empty)),
            "Requests that are sent there fail with 503; where traffic is split by weight, that share.".to_owned(),
        ),
        (false, false) => (
            format!("{who} leads to what {} does not know: {}", proxy.words(), words(dead)),
            format!(
                "Requests that are sent there fail with 503, and so do those to subsets without a pod: {}.",
                words(empty)
            ),
        ),
    };
    let mut steps = Vec::new();
    if let Some(origin) = origin {
        let resource = format!("{}/{}", origin.kind.to_lowercase(), origin.name);
        let show = ["kubectl", "get", resource.as_str(), "-n", origin.namespace, "-o", "yaml"];
        steps.push(Step::command(Risk::Read, "look for the subset, host or port named above", show));
    }
    let columns = "custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,HOST:.spec.host,SUBSETS:.spec.subsets[*].name";
    let rules = ["kubectl", "get", "destinationrules.networking.istio.io", "-A", "-o", columns];
    steps.push(Step::command(Risk::Read, "which subsets are defined", rules));
    let mut finding = Finding::new(subject.clone(), summary, cost)
        .at_most(if dead.is_empty() { Severity::Warning } else { Severity::Error })
        .key(KeyKind::Object, object_key(&subject))
        .related(&proxy.subject(), "the proxy that was asked")
        .remedy(Remedy::new("correct the route, or add what it names", steps));
    for (routes, what) in [(dead, "not there"), (empty, "no endpoints")] {
        for route in routes {
            for (config, host) in &route.places {
                let field = format!("route {config}, host {host}: cluster {}", route.cluster);
                finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), field, what, None);
            }
        }
    }
    finding
}

fn object_key(subject: &Subject) -> String {
    let namespace = subject.namespace.as_deref().unwrap_or_default();
    format!("{}/{namespace}/{}", subject.kind, subject.name)
}

/// Hosts without any endpoint: what the proxy can tell, although it is no fault of its own.
fn without_endpoints(proxy: &Proxy<'_>, answers: &ProxyAnswers) -> Option<Finding> {
    let hosts = empty(answers);
    if hosts.is_empty() {
        return None;
    }
    let subject = proxy.subject();
    let names: Vec<&str> = hosts.keys().copied().collect();
    let mut finding = Finding::new(
        subject,
        format!("{} knows {} without endpoints: {}", proxy.words(), count(names.len(), "host"), listed(&names)),
        "No pod is ready behind them; requests to them fail with 503.",
    )
    .at_most(Severity::Info)
    .key(KeyKind::Object, proxy.key())
    .remedy(Remedy::new(
        "see whether pods should be there",
        vec![Step::command(
            Risk::Read,
            "Services and what they select",
            ["kubectl", "get", "services", "-A", "-o", "wide"],
        )],
    ));
    for (host, clusters) in hosts {
        let field = format!("endpoints of {host} ({})", clusters.join(", "));
        finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), field, "0", None);
    }
    Some(finding)
}
