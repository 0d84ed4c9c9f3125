//! PRX: what one proxy says about its own configuration. Done only by the command that is about one proxy.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::certificate::day;
use crate::mesh::proxy_config::health::{Impaired, impaired};
use crate::mesh::proxy_config::names::{ClusterName, address};
use crate::mesh::proxy_config::routes::{PASSTHROUGH, unexplained};
use crate::mesh::proxy_config::secrets::{self, Standing, standing};
use crate::mesh::proxy_config::waiting::{Warming, refusals, warming};
use crate::model::envoy::{BLACK_HOLE, Filter, Part, ProxyAnswers, Stage};
use crate::snapshot::SourceId;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&REFUSED, &WARMING, &CERTIFICATES, &ENDPOINTS, &UNEXPLAINED, &UNKNOWN];

/// What every check here reads.
pub(super) const ANSWERS: &[SourceId] = &[SourceId::ProxyAnswers];
/// Names that are listed in a sentence.
const NAMED: usize = 3;

/// The proxies that answered.
pub(super) fn answers<'a>(lens: &Lens<'a>) -> Result<&'a [ProxyAnswers], Missing> {
    lens.need(ANSWERS)?;
    Ok(lens.snapshot().proxy_answers.items().unwrap_or_default())
}

/// A proxy as an object of a finding.
pub(super) struct Proxy<'a> {
    pod: Option<(&'a str, &'a str)>,
    /// Plural kind, namespace and name.
    owner: Option<(&'a str, &'a str, &'a str)>,
}

impl<'a> Proxy<'a> {
    pub(super) fn of(answers: &'a ProxyAnswers) -> Self {
        let owner = answers.bootstrap.as_ref().and_then(|bootstrap| bootstrap.node.owner());
        let restarts = |kind: &str| matches!(kind, "deployments" | "statefulsets" | "daemonsets");
        Self { pod: answers.pod(), owner: owner.filter(|(kind, ..)| restarts(kind)) }
    }

    pub(super) fn subject(&self) -> Subject {
        match self.pod {
            Some((namespace, name)) => Subject::new("Pod", namespace, name),
            None => Subject::cluster("Proxy", "unnamed"),
        }
    }

    /// `pod/web-1 in shop`.
    pub(super) fn words(&self) -> String {
        self.pod.map_or_else(|| "the proxy".to_owned(), |(namespace, name)| format!("pod/{name} in {namespace}"))
    }

    /// The object of evidence.
    pub(super) fn object(&self) -> String {
        self.pod.map_or_else(|| "proxy".to_owned(), |(namespace, name)| format!("{namespace}/pod/{name}"))
    }

    pub(super) fn key(&self) -> String {
        self.pod.map_or_else(|| "Proxy/unnamed".to_owned(), |(namespace, name)| format!("Pod/{namespace}/{name}"))
    }

    pub(super) fn namespace(&self) -> &'a str {
        self.pod.map_or("<namespace>", |(namespace, _)| namespace)
    }

    pub(super) fn name(&self) -> &'a str {
        self.pod.map_or("<pod>", |(_, name)| name)
    }

    /// Replaces the workload's pods, or this one.
    fn restart(&self, why: &str) -> Step {
        match self.owner {
            Some((kind, namespace, name)) => {
                let workload = format!("{}/{name}", kind.trim_end_matches('s'));
                Step::command(Risk::Restart, why, ["kubectl", "rollout", "restart", "-n", namespace, &workload])
            }
            None => {
                Step::command(Risk::Restart, why, ["kubectl", "delete", "pod", self.name(), "-n", self.namespace()])
            }
        }
    }

    /// What the proxy's container says.
    pub(super) fn logs(&self, why: &str) -> Step {
        let words = ["kubectl", "logs", "-n", self.namespace(), self.name(), "-c", "istio-proxy", "--tail=100"];
        Step::command(Risk::Read, why, words)
    }
}

/// `a, b, c and 4 more`.
pub(super) fn listed<S: AsRef<str>>(names: &[S]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMED).map(AsRef::as_ref).collect();
    let more = names.len().saturating_sub(NAMED);
    let list = shown.join(", ");
    if more > 0 { format!("{list} and {more} more") } else { list }
}

pub(super) fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Objects that change a proxy's configuration past istiod's checks: in the proxy's namespace and in the root namespace.
fn envoy_filters(proxy: &Proxy<'_>) -> [Step; 2] {
    let list = |namespace: &str, why: &str| {
        Step::command(Risk::Read, why, ["kubectl", "get", "envoyfilters.networking.istio.io", "-n", namespace])
    };
    [
        list(proxy.namespace(), "EnvoyFilters that apply to this proxy are in its namespace"),
        list(crate::sources::SYSTEM_NAMESPACE, "and in the add-on's"),
    ]
}

static REFUSED: Check = Check {
    code: "PRX15",
    name: "proxy-refuses-configuration",
    title: "The proxy takes what istiod sends",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
Envoy refused the newest version of a listener, a cluster or a route and keeps the last version that it took. Where there was none, it has none: a new port is not opened, a new host is not known. Every later change of the same kind waits behind the refused one.

## Why it happens on AKS
An EnvoyFilter writes something that this version of Envoy does not know or does not accept, often after an upgrade of the revision; a Gateway or a filter names a certificate file that is not in the container.

## How we know
`config_dump` of the proxy has an `error_state` with Envoy's own text.

## What to do
Read the text, find the object that it speaks of, correct it. The proxy takes the corrected version at once, without a restart.

## Sources
<https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/config_dump_shared.proto>, <https://istio.io/latest/docs/reference/config/networking/envoy-filter/>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)?.iter().filter(|answers| answers.has_dump) {
            verdict.examined += 1;
            let refused = refusals(answers);
            let Some(first) = refused.first() else { continue };
            let proxy = Proxy::of(answers);
            let names: Vec<String> = refused.iter().map(|one| format!("{} {}", one.kind, one.name)).collect();
            let mut finding = Finding::new(
                proxy.subject(),
                format!("{} refuses what istiod sends: {}", proxy.words(), listed(&names)),
                format!("Envoy says: {}. It keeps the last version that it took, if there was one.", first.text.trim_end_matches('.')),
            )
            .key(KeyKind::Object, proxy.key())
            .remedy(Remedy::new("correct the object that the text speaks of", envoy_filters(&proxy).into()));
            for one in &refused {
                finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), format!("error_state of {} {}", one.kind, one.name), one.text, None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static WARMING: Check = Check {
    code: "PRX14",
    name: "proxy-configuration-warming",
    title: "What the proxy was given is in use",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
The proxy took a cluster, a listener or a secret, but does not use it yet, because something that it needs has not come. istiod counts such a proxy as in sync. Connections to a warming cluster fail, a warming listener is not open; an older version stays in use where there is one.

## Why it happens on AKS
Most often a secret: a Gateway or DestinationRule names a Secret that does not exist, is in another namespace, or has the wrong keys; or the workload's own certificate has not come, because the agent does not reach istiod. Less often a route or the endpoints of a cluster, or a host name that DNS does not answer.

## How we know
`config_dump` of the proxy lists it as warming for more than a minute. What it waits for is what it names and what is not among the proxy's secrets, routes and endpoints.

## What to do
Provide what is missing. Nothing has to be restarted.

## Sources
<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/cluster_manager#cluster-warming>, <https://www.envoyproxy.io/docs/envoy/latest/configuration/security/secret>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)?.iter().filter(|answers| answers.has_dump) {
            verdict.examined += 1;
            let late: Vec<Warming<'_>> = warming(answers).into_iter().filter(|one| one.is_long(lens.now())).collect();
            if !late.is_empty() {
                verdict.findings.push(warming_finding(answers, &late));
            }
        }
        Ok(verdict)
    },
};

fn warming_finding(answers: &ProxyAnswers, late: &[Warming<'_>]) -> Finding {
    let proxy = Proxy::of(answers);
    let users: Vec<&Warming<'_>> = late.iter().filter(|one| one.kind != "secret").collect();
    let (named, waits): (Vec<String>, BTreeSet<String>) = if users.is_empty() {
        (late.iter().map(|one| format!("secret {}", one.name)).collect(), BTreeSet::new())
    } else {
        (
            users.iter().map(|one| format!("{} {}", one.kind, one.name)).collect(),
            users.iter().flat_map(|one| one.waits_for.iter().cloned()).collect(),
        )
    };
    let waits: Vec<String> = waits.into_iter().collect();
    let missing = if waits.is_empty() { String::new() } else { format!(" Not come yet: {}.", listed(&waits)) };
    let broken = users.iter().any(|one| !one.has_older);
    let cost = match (users.is_empty(), broken) {
        (true, _) => "Nothing that the proxy has waits for it now.",
        (false, true) => "Connections that need it fail.",
        (false, false) => "Its older version stays in use, and the change has no effect.",
    };
    let mut steps: Vec<Step> = late.iter().filter_map(|one| secret_step(&proxy, one)).collect();
    steps.push(proxy.logs("what the proxy says about what has not come"));
    let mut finding = Finding::new(
        proxy.subject(),
        format!("{} was given and does not use yet: {}", proxy.words(), listed(&named)),
        format!("{cost}{missing}"),
    )
    .at_most(if broken { Severity::Error } else { Severity::Warning })
    .key(KeyKind::Object, proxy.key())
    .remedy(Remedy::new("provide what has not come", steps));
    for one in late {
        let since =
            one.since.map_or_else(String::new, |time| format!(" since {}", time.strftime("%Y-%m-%d %H:%M:%S UTC")));
        let waits =
            if one.waits_for.is_empty() { String::new() } else { format!(", waits for {}", one.waits_for.join(", ")) };
        let field = format!("{} {}", one.kind, one.name);
        finding = finding.evidence(
            SourceId::ProxyAnswers,
            proxy.object(),
            field,
            format!("warming{since}{waits}"),
            Some("active"),
        );
    }
    for part in &answers.unready {
        let waits = part.target_names.join(", ");
        finding =
            finding.evidence(SourceId::ProxyAnswers, proxy.object(), format!("init_dump: {}", part.name), waits, None);
    }
    finding
}

/// `kubernetes://NAME` and `kubernetes://NAMESPACE/NAME` are Secrets (`pkg/model/credentials` in istio/istio).
fn secret_step(proxy: &Proxy<'_>, one: &Warming<'_>) -> Option<Step> {
    let path = one.name.strip_prefix("kubernetes://").or_else(|| one.name.strip_prefix("kubernetes-gateway://"))?;
    let (namespace, name) = path.split_once('/').unwrap_or((proxy.namespace(), path));
    (one.kind == "secret").then(|| {
        Step::command(
            Risk::Read,
            "is the Secret there, with its type and keys?",
            ["kubectl", "describe", "secret", name, "-n", namespace],
        )
    })
}

static CERTIFICATES: Check = Check {
    code: "PRX17",
    name: "proxy-certificate-ends",
    title: "The certificates that the proxy holds are valid and renewed in time",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
A certificate that the proxy uses has ended or is not valid yet: TLS connections with it fail. Or it ends soon, and whoever renews it has not done so.

## Why it happens on AKS
The certificate `default` of a workload lives for 24 hours, and the agent in the pod renews it after about half of that. When less than a quarter is left, renewing has failed for hours: istiod is not reachable from the pod, or refuses. Certificates of gateways (`kubernetes://…`) come from Secrets, which people or a Key Vault renew. A certificate that is not valid yet points to a clock that is wrong.

## How we know
The dates of the public certificates in the proxy's `config_dump`. Private keys are not read.

## What to do
For a workload's own certificate: see why the agent cannot renew it; a new pod gets a new certificate. For a gateway's certificate: renew the Secret. For the root: see `kubectl asm explain CA02`.

## Sources
<https://istio.io/latest/docs/concepts/security/#pki>, <https://learn.microsoft.com/azure/aks/istio-secure-gateway>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)? {
            let rows = secrets::rows(answers);
            let own: Vec<_> = rows.iter().filter_map(|row| row.certificate.as_ref().map(|own| (row, own))).collect();
            verdict.examined += own.len();
            let wrong: Vec<_> = own
                .into_iter()
                .map(|(row, own)| (row.name.as_str(), own, standing(own, lens.now())))
                .filter(|(.., standing)| *standing != Standing::Good)
                .collect();
            let Some((worst, certificate, how)) = wrong.iter().max_by_key(|(.., standing)| *standing) else { continue };
            let proxy = Proxy::of(answers);
            let (words, cost) = match how {
                Standing::Ended => (format!("ended on {}", certificate.not_after), "TLS connections that need it fail."),
                Standing::Early => (format!("is not valid before {}", certificate.not_before), "TLS connections that need it fail until then."),
                Standing::Ending | Standing::Good => (format!("ends on {}", certificate.not_after), "It should have been renewed by now; connections fail when it has ended."),
            };
            let names: Vec<&str> = wrong.iter().map(|(name, ..)| *name).filter(|name| name != worst).collect();
            let others = if names.is_empty() { String::new() } else { format!(" The same goes for {}.", listed(&names)) };
            let mut steps: Vec<Step> = Vec::new();
            if let Some(path) = worst.strip_prefix("kubernetes://").or_else(|| worst.strip_prefix("kubernetes-gateway://")) {
                let (namespace, name) = path.split_once('/').unwrap_or((proxy.namespace(), path));
                steps.push(Step::command(Risk::Read, "the Secret that it comes from", ["kubectl", "describe", "secret", name, "-n", namespace]));
            } else {
                steps.push(proxy.logs("why the agent has not renewed it"));
                steps.push(Step::command(Risk::Read, "is istiod well?", ["kubectl", "asm", "status", "--only", "CP,CA"]));
                steps.push(proxy.restart("new pods get new certificates"));
            }
            let broken = *how != Standing::Ending;
            let mut finding = Finding::new(
                proxy.subject(),
                format!("certificate {worst} of {} {words}", proxy.words()),
                format!("{cost}{others}"),
            )
            .at_most(if broken { Severity::Error } else { Severity::Warning })
            .key(KeyKind::Object, proxy.key())
            .remedy(Remedy::new("renew the certificate", steps));
            for (name, own, _) in &wrong {
                let dates = format!("{} to {}", own.not_before, own.not_after);
                let now = format!("valid on {}", day(lens.now()));
                finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), format!("secret {name}"), dates, Some(&now));
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static ENDPOINTS: Check = Check {
    code: "PRX16",
    name: "proxy-endpoint-left-out",
    title: "The proxy uses all endpoints of its destinations",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
The proxy does not send to some endpoints of a destination. Ejected: requests to them failed so often that the outlier detection of a DestinationRule leaves them out for a while; the pods themselves may be ready. Failed health check: the proxy asks by itself and gets no good answer. Not ready: istiod says so, because Kubernetes does.

When the proxy itself leaves out the last endpoint, requests fail with 503 and the flag UH. That istiod calls endpoints not ready is told as information: it is the state of their pods.

## Why it happens on AKS
A pod answers with errors, or not in time; its application listens on 127.0.0.1 only; a NetworkPolicy lets probes through and requests not; `outlierDetection` is set so strictly that a few errors eject everything.

## How we know
`/clusters?format=json` of the proxy: `health_status` of each endpoint, with the counters of its connections and requests.

## What to do
Look at the pods behind the addresses, and at their proxies' access logs. If they are well, loosen `outlierDetection`.

## Sources
<https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/outlier>, <https://istio.io/latest/docs/reference/config/networking/destination-rule/#OutlierDetection>, <https://www.envoyproxy.io/docs/envoy/latest/api-v3/admin/v3/clusters.proto>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)?.iter().filter(|answers| answers.has(&[Part::Hosts])) {
            verdict.examined += answers.hosts.iter().map(|cluster| cluster.host_statuses.len()).sum::<usize>();
            let proxy = Proxy::of(answers);
            let all = impaired(answers);
            let (own, others): (Vec<_>, Vec<_>) = all.iter().partition(|one| one.is_by_proxy());
            let mut by_host: BTreeMap<&str, Vec<&Impaired<'_>>> = BTreeMap::new();
            for one in own {
                by_host.entry(ClusterName::parse(one.cluster).host).or_default().push(one);
            }
            verdict.findings.extend(by_host.into_iter().map(|(host, list)| ejected(&proxy, host, &list)));
            if !others.is_empty() {
                verdict.findings.push(not_ready(&proxy, &others));
            }
        }
        Ok(verdict)
    },
};

/// Endpoints that the proxy leaves out by itself.
fn ejected(proxy: &Proxy<'_>, host: &str, list: &[&Impaired<'_>]) -> Finding {
    let subject = service(host)
        .map_or_else(|| Subject::cluster("Host", host), |(namespace, name)| Subject::new("Service", namespace, name));
    // The same pods stand in the cluster of the Service and in those of its subsets.
    let worst = list.iter().find(|one| one.is_dead()).or_else(|| list.first());
    let (unused, total) = worst.map_or((0, 0), |one| (one.unused.len(), one.total));
    let dead = list.iter().any(|one| one.is_dead());
    let cost =
        if dead { "None is left: requests fail with 503." } else { "The others take its share of the requests." };
    let mut steps = vec![proxy.logs("which requests failed, and how")];
    if let Some((namespace, _)) = service(host) {
        steps.insert(
            0,
            Step::command(
                Risk::Read,
                "the pods behind the addresses",
                ["kubectl", "get", "pods", "-n", namespace, "-o", "wide"],
            ),
        );
        let rules = ["kubectl", "get", "destinationrules.networking.istio.io", "-n", namespace, "-o", "yaml"];
        steps.push(Step::command(Risk::Read, "how strict outlierDetection is", rules));
    }
    let mut finding = Finding::new(
        subject.clone(),
        format!("{} leaves out {unused} of {} of {host}", proxy.words(), count(total, "endpoint")),
        cost,
    )
    .at_most(if dead { Severity::Error } else { Severity::Warning })
    .key(KeyKind::Object, proxy.key())
    .related(&proxy.subject(), "the proxy that was asked")
    .remedy(Remedy::new("find out why requests to these endpoints fail", steps));
    for one in list {
        for (address, _, why) in &one.unused {
            finding = finding.evidence(
                SourceId::ProxyAnswers,
                proxy.object(),
                format!("{address} in {}", one.cluster),
                why,
                Some("in use"),
            );
        }
    }
    finding
}

/// Endpoints that istiod calls not ready.
fn not_ready(proxy: &Proxy<'_>, list: &[&Impaired<'_>]) -> Finding {
    let hosts: BTreeSet<&str> = list.iter().map(|one| ClusterName::parse(one.cluster).host).collect();
    let hosts: Vec<&str> = hosts.into_iter().collect();
    let mut finding = Finding::new(
        proxy.subject(),
        format!(
            "{} knows endpoints that are not ready, of {}: {}",
            proxy.words(),
            count(hosts.len(), "host"),
            listed(&hosts)
        ),
        "istiod says so, because their pods are not ready or are ending. The proxy does not use them.",
    )
    .at_most(Severity::Info)
    .key(KeyKind::Object, proxy.key())
    .remedy(Remedy::new(
        "see why the pods are not ready",
        vec![Step::command(Risk::Read, "pods that are not ready", ["kubectl", "get", "pods", "-A", "-o", "wide"])],
    ));
    for one in list {
        for (address, _, why) in &one.unused {
            finding = finding.evidence(
                SourceId::ProxyAnswers,
                proxy.object(),
                format!("{address} in {}", one.cluster),
                why,
                None,
            );
        }
    }
    finding
}

/// Namespace and name of the Service that a host stands for.
pub(super) fn service(host: &str) -> Option<(&str, &str)> {
    let (name, rest) = host.split_once('.')?;
    let (namespace, rest) = rest.split_once('.')?;
    (rest == "svc" || rest.starts_with("svc.")).then_some((namespace, name))
}

static UNEXPLAINED: Check = Check {
    code: "PRX18",
    name: "proxy-route-unexplained",
    title: "Every route of the proxy comes from istiod or from an object that it names",
    area: Area::Proxies,
    severity: Severity::Info,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
The proxy has routes that no VirtualService, HTTPRoute or Service explains. They are in force, but nobody who reads those objects sees them.

## Why it happens on AKS
An EnvoyFilter adds them. EnvoyFilters are not supported by the add-on's support, and their routes stand before those of VirtualServices.

## How we know
istiod writes the object that a route comes from into the route's metadata, and calls the routes that it makes by itself `default`, `allow_any` or `block_all`. These have neither.

## What to do
Nothing, if they are meant. Otherwise look for the EnvoyFilter.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy>, <https://istio.io/latest/docs/reference/config/networking/envoy-filter/>, `pilot/pkg/networking/core/route/route.go` in <https://github.com/istio/istio>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)?.iter().filter(|answers| answers.has(&[Part::DynamicRoutes])) {
            verdict.examined += answers.routes.iter().filter(|config| config.stage == Stage::Active).count();
            let found: Vec<_> = unexplained(answers).collect();
            if found.is_empty() {
                continue;
            }
            let proxy = Proxy::of(answers);
            let names: Vec<&str> = found.iter().map(|(_, _, route)| route.name.as_str()).collect::<BTreeSet<_>>().into_iter().collect();
            let mut finding = Finding::new(
                proxy.subject(),
                format!("{} has {} that no VirtualService explains: {}", proxy.words(), count(names.len(), "route"), listed(&names)),
                "An EnvoyFilter adds them; they are in force, and objects for routing do not show them.",
            )
            .key(KeyKind::Object, proxy.key())
            .remedy(Remedy::new("see which EnvoyFilter adds them", envoy_filters(&proxy).into()));
            for (config, host, route) in &found {
                finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), format!("route {config}, host {host}"), &route.name, None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static UNKNOWN: Check = Check {
    code: "PRX19",
    name: "proxy-unknown-destination",
    title: "The proxy knows the destinations of its traffic",
    area: Area::Proxies,
    severity: Severity::Info,
    inputs: ANSWERS,
    uses: &[],
    docs: "## What it means
Traffic goes through the proxy to, or comes in at, addresses and ports that no Service and no ServiceEntry names. It is passed on as it is: without mTLS, retries or routes, and in metrics it is called `PassthroughCluster` or `InboundPassthroughCluster`. Or: the mesh lets nothing pass that it does not know, so that such traffic is refused and ends in `BlackHoleCluster`.

## Why it happens on AKS
The application calls pods by their address, or hosts outside of the cluster for which there is no ServiceEntry; a container has a port that its Service does not name. With `outboundTrafficPolicy` set to `REGISTRY_ONLY`, unknown hosts are refused.

## How we know
`/clusters?format=json` of the proxy lists the addresses to which it passed something on; the last filter chain of its listener `virtualOutbound` tells what happens to unknown traffic.

## What to do
Nothing, if that is meant. Otherwise add the port to the Service, or a ServiceEntry for the host.

## Sources
<https://istio.io/latest/docs/tasks/traffic-management/egress/egress-control/>, <https://istio.io/latest/docs/ops/common-problems/network-issues/>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for answers in answers(lens)? {
            let hosts = answers.has(&[Part::Hosts]);
            let listeners = answers.listeners.iter().filter(|listener| listener.name == "virtualOutbound");
            let refuses = listeners.clone().any(|listener| {
                // The chain for the listener's own port always leads nowhere.
                let rest = listener.chains.iter().filter(|chain| chain.matches.destination_port.is_none());
                rest.flat_map(|chain| &chain.filters).any(|filter| matches!(filter, Filter::Tcp { cluster, .. } if cluster == BLACK_HOLE))
            });
            verdict.examined += usize::from(hosts) + listeners.count();
            let passed = |cluster: &str| -> Vec<String> {
                let of = answers.hosts.iter().filter(|one| one.name == cluster);
                of.flat_map(|one| &one.host_statuses).map(|host| address(&host.address)).collect()
            };
            let (out, into) = (passed(PASSTHROUGH), passed("InboundPassthroughCluster"));
            let mut parts = Vec::new();
            if !out.is_empty() {
                parts.push(format!("passes traffic on to {} that no Service names: {}", count(out.len(), "address"), listed(&out)));
            }
            if !into.is_empty() {
                parts.push(format!("lets traffic in at ports that no Service names: {}", listed(&into)));
            }
            if refuses {
                parts.push("refuses destinations that it does not know".to_owned());
            }
            if parts.is_empty() {
                continue;
            }
            let proxy = Proxy::of(answers);
            let step = Step::command(Risk::Read, "Services and ServiceEntries that the mesh knows", ["kubectl", "get", "services,serviceentries.networking.istio.io", "-A"]);
            let mut finding = Finding::new(
                proxy.subject(),
                format!("{} {}", proxy.words(), parts.join(", and ")),
                if refuses {
                    "Connections to unknown hosts end at once (REGISTRY_ONLY)."
                } else {
                    "It is passed on as it is: without mTLS, routes and retries."
                },
            )
            .key(KeyKind::Object, proxy.key())
            .remedy(Remedy::new("name what should be known", vec![step]));
            for (cluster, addresses) in [(PASSTHROUGH, out), ("InboundPassthroughCluster", into)] {
                for at in addresses {
                    finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), cluster, at, None);
                }
            }
            if refuses {
                finding = finding.evidence(SourceId::ProxyAnswers, proxy.object(), "listener virtualOutbound", BLACK_HOLE, None);
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};
