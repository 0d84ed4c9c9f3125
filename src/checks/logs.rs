//! CP and PRX: known messages in logs. Done only by the command that reads logs.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::log::known::{Advice, rank};
use crate::mesh::log::{Known, known, weight};
use crate::model::log::{ContainerLog, LogGroup, LogPart};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

use super::remedies::{count, names, quote};

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&ISTIOD, &PROXY, &REQUESTS];

const LOGS: &[SourceId] = &[SourceId::Logs];
/// The beginning of the names of messages that are lines of an access log.
const ACCESS: &str = "access-";

static ISTIOD: Check = Check {
    code: "CP10",
    name: "istiod-log-errors",
    title: "istiod's log has none of the messages that are known to mean trouble",
    area: Area::ControlPlane,
    severity: Severity::Warning,
    inputs: LOGS,
    uses: &[],
    docs: "## What it means
The log of an istiod has messages whose meaning is known: a proxy that refuses its configuration, certificates that could not be signed or renewed, a mesh configuration that is not understood, a Secret that a gateway names and that is not there, rights that are missing.

## Why it happens on AKS
istiod goes on with the last thing that worked wherever it can, so what is wrong stands only in its log, and with two or more replicas in the log of one of them.

## How we know
`kubectl asm logs istiod` reads the logs of all istiods of the add-on and compares each line with the texts in Istio's source. Lines of the level `info` are compared only with the few messages of that level that matter. Messages after which istiod tries again by itself are listed and are no finding.

## What to do
The finding says per message what to look at; most of them belong to a check of `kubectl asm status`, which names the object. A message of days ago may be settled: the time of the last one is part of the evidence.

## What else looks like it
When istiod does not run, its previous log is read; why it ended is CP04. What proxies refuse now, in Envoy's words, is PRX11.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>, <https://github.com/istio/istio/tree/master/pilot/pkg/xds>, <https://github.com/istio/istio/tree/master/pilot/pkg/bootstrap>",
    run: |lens| {
        let is_ours = |log: &ContainerLog| matches!(log.part, LogPart::Istiod | LogPart::Any);
        judge(lens, &is_ours, &|known| known.part == LogPart::Istiod)
    },
};

static PROXY: Check = Check {
    code: "PRX20",
    name: "proxy-log-errors",
    title: "The logs of proxies have none of the messages that are known to mean trouble",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: LOGS,
    uses: &[],
    docs: "## What it means
The log of a proxy, of a gateway, or of the init container before it has messages whose meaning is known: Envoy is not ready and says why, istiod cannot be reached or is not trusted, a certificate was not signed, configuration was refused, a port is taken, Envoy was killed.

## Why it happens on AKS
A proxy needs its istiod, the root certificate of its namespace, its ports and memory. A NetworkPolicy, a removed revision, a second Istio or an application on a port of the proxy takes one of them away, and Kubernetes only says that the container is not ready.

## How we know
`kubectl asm logs proxy` and `logs gateway` compare each line with the texts in the sources of Istio's agent and of Envoy. That Envoy is not ready counts only when the log ends with it and has said so for 30 seconds or more: every proxy says so while it starts, and while it ends. A connection to istiod that ends and is made anew, as happens every half hour, is no finding; neither is one that failed, or a certificate that was not to be had, when the same log says later that it worked. For a container that crashes the log from before its last restart is read.

## What to do
The finding says per message what to look at. An error keeps the pod from working; a warning says that something failed and that the log does not say it worked afterwards; look at the time of the last one.

## What else looks like it
What the states of containers tell, without logs, is PRX04; whether proxies are connected is PRX12. Requests that fail are PRX21.

## Sources
<https://github.com/istio/istio/tree/master/pilot/cmd/pilot-agent/status>, <https://github.com/istio/istio/tree/master/pkg/istio-agent>, <https://istio.io/latest/docs/ops/common-problems/injection/>",
    run: |lens| {
        let is_ours = |log: &ContainerLog| !matches!(log.part, LogPart::Istiod | LogPart::Other);
        judge(lens, &is_ours, &|known| known.part != LogPart::Istiod && !known.id.starts_with(ACCESS))
    },
};

static REQUESTS: Check = Check {
    code: "PRX21",
    name: "requests-fail",
    title: "Access logs have no requests that a proxy had to end",
    area: Area::Proxies,
    severity: Severity::Warning,
    inputs: LOGS,
    uses: &[],
    docs: "## What it means
The access log of a proxy has requests that Envoy could not pass on: the other side refused the connection or could not be reached, there was no endpoint or no route, TLS failed, a limit was reached. The flags of the line, its details and the reason of a failed connection say which.

## Why it happens on AKS
`delayed connect error: 111` means that the connection was refused. In a line whose cluster begins with `inbound`, the proxy is well and nothing listens on that port of its own application: a wrong `targetPort`, an application that listens only on 127.0.0.1, or one that has not started. In a line whose cluster begins with `outbound`, the other pod refused it. Access logs are off in the add-on until a Telemetry resource or the shared mesh configuration turns them on.

## How we know
Lines in Istio's text format and in its JSON format are taken apart. Errors that came from the other end (`via_upstream`: from the application, or from the other pod's proxy), callers that went away, and refusals by a policy are counted and are no finding. Neither are hosts, paths and TLS names that no Gateway has, in the log of a gateway: whatever tries out addresses of the internet leaves such lines. In the log of a sidecar a request that fits no route or no filter chain counts from five lines on that are at least one in a hundred requests of that log. Everything else counts from the first line, unless there are fewer than five and less than one in a thousand requests. What does not count is still listed, and explained.

## What to do
Look at the end that the finding names. A few such lines while pods start or end are usual; what goes on is a fault.

## What else looks like it
Without access logs the same can be seen by sending a request from the calling pod. A proxy that is not ready, or is not connected to istiod, is PRX20.

## Sources
<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>, <https://learn.microsoft.com/azure/aks/istio-telemetry>, <https://istio.io/latest/docs/ops/common-problems/network-issues/>",
    run: |lens| judge(lens, &|log| log.requests > 0, &|known| known.id.starts_with(ACCESS)),
};

/// A known message in the logs of one workload, revision or pod.
struct Message<'a> {
    known: &'static Known,
    severity: Severity,
    count: u64,
    /// Where it came last.
    last: (&'a LogGroup, &'a ContainerLog),
    pods: BTreeSet<&'a str>,
}

fn judge<'a>(
    lens: &Lens<'a>,
    is_ours: &dyn Fn(&ContainerLog) -> bool,
    counts: &dyn Fn(&Known) -> bool,
) -> Result<Verdict, Missing> {
    lens.need(LOGS)?;
    let logs = lens.snapshot().logs.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    let mut subjects: BTreeMap<Subject, BTreeMap<&'static str, Message<'a>>> = BTreeMap::new();
    for log in logs.iter().filter(|log| is_ours(log)) {
        verdict.examined += 1;
        for group in &log.groups {
            let Some(known) = known(&group.id).filter(|known| counts(known)) else { continue };
            let severity = weight(known, group, log);
            if severity == Severity::Info {
                continue;
            }
            let fresh = || Message { known, severity, count: 0, last: (group, log), pods: BTreeSet::new() };
            let message = subjects.entry(subject(log)).or_default().entry(known.id).or_insert_with(fresh);
            message.severity = message.severity.max(severity);
            message.count = message.count.saturating_add(group.count);
            message.pods.insert(&log.metadata.name);
            if group.last >= message.last.0.last {
                message.last = (group, log);
            }
        }
    }
    let finding = |(subject, messages): (Subject, BTreeMap<_, Message<'a>>)| {
        let mut messages: Vec<_> = messages.into_values().collect();
        messages.sort_by(|a, b| {
            b.severity
                .cmp(&a.severity)
                .then(b.count.cmp(&a.count))
                .then_with(|| rank(a.known.id).cmp(&rank(b.known.id)))
        });
        finding(subject, &messages)
    };
    verdict.findings = subjects.into_iter().filter_map(finding).collect();
    Ok(verdict)
}

/// istiod by its revision, a proxy by its workload where it has one.
fn subject(log: &ContainerLog) -> Subject {
    let (namespace, name) = (log.metadata.namespace.as_str(), log.metadata.name.as_str());
    match (&log.workload, &log.revision) {
        (Some(workload), _) => Subject::new(&workload.kind, namespace, &workload.name),
        (None, Some(revision)) if log.part == LogPart::Istiod => {
            Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{revision}"))
        }
        _ if name.is_empty() => Subject::cluster("Log", "file"),
        // A saved log tells the pod's name and not its namespace.
        _ if namespace.is_empty() => Subject::cluster("Pod", name),
        _ => Subject::new("Pod", namespace, name),
    }
}

/// What one subject's messages say together, the worst first.
fn finding(subject: Subject, messages: &[Message<'_>]) -> Option<Finding> {
    let worst = messages.first()?;
    let kind = subject.kind.to_lowercase();
    let label = match &subject.namespace {
        Some(namespace) => format!("{kind}/{} in {namespace}", subject.name),
        None if kind == "log" => "the log".to_owned(),
        None => format!("{kind}/{}", subject.name),
    };
    let more = match messages.len() {
        1 => String::new(),
        n => format!(", and {}", count(n - 1, "other known message")),
    };
    let pods: BTreeSet<_> = messages.iter().flat_map(|message| &message.pods).collect();
    let total = messages.iter().map(|message| message.count).fold(0, u64::saturating_add);
    let place = if pods.len() > 1 { format!(" in the logs of {} pods", pods.len()) } else { String::new() };
    let verb = if total == 1 { "says" } else { "say" };
    let lines = count(usize::try_from(total).unwrap_or(usize::MAX), "line");
    let mut finding = Finding::new(
        subject.clone(),
        format!("{label}: {}{}{more}", worst.known.meaning, named(worst.last.0)),
        format!("{lines}{place} {verb} so."),
    )
    .at_most(worst.severity)
    .key(KeyKind::Object, key(&subject));
    if matches!(subject.kind.as_str(), "Deployment" | "StatefulSet" | "DaemonSet")
        && let Some(namespace) = &subject.namespace
    {
        finding = finding.key(KeyKind::Workload, format!("{namespace}/{}/{}", subject.kind, subject.name));
    }
    let mut steps: Vec<Step> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let (group, log) = message.last;
        // The first is in the title.
        let meaning = if index == 0 { "" } else { message.known.meaning };
        let mut words = match (meaning, message.count) {
            ("", 1) => "once".to_owned(),
            ("", number) => format!("{number} times"),
            (meaning, 1) => meaning.to_owned(),
            (meaning, number) => format!("{meaning}, {number} times"),
        };
        if let Some(last) = group.last.filter(|_| message.count > 1) {
            words.push_str(&format!(", last at {}", last.strftime("%Y-%m-%d %H:%M:%SZ")));
        }
        if !message.known.code.is_empty() && !is_own(message.known.code) {
            words.push_str(&format!(" (belongs to {})", message.known.code));
        }
        finding = finding.evidence(SourceId::Logs, object(log), words, quote(&group.example), None);
        for advice in message.known.steps {
            let step = step(advice, log);
            if !steps.iter().any(|other| other.command == step.command && other.text == step.text) {
                steps.push(step);
            }
        }
    }
    Some(finding.remedy(Remedy::new("look at what the messages name", steps)))
}

/// Whether a code is one of this file.
fn is_own(code: &str) -> bool {
    [ISTIOD.code, PROXY.code, REQUESTS.code].contains(&code)
}

/// ` (web.shop, cart.shop)`.
fn named(group: &LogGroup) -> String {
    match (group.about.is_empty(), group.more_about) {
        (true, _) => String::new(),
        (false, true) => format!(" ({}, …)", group.about.join(", ")),
        (false, false) => format!(" ({})", names(group.about.iter().map(String::as_str))),
    }
}

fn object(log: &ContainerLog) -> String {
    let pod = &log.metadata;
    match (pod.namespace.as_str(), pod.name.as_str()) {
        (_, "") => "log".to_owned(),
        ("", name) => format!("pod/{name}"),
        (namespace, name) => format!("{namespace}/pod/{name}"),
    }
}

fn key(subject: &Subject) -> String {
    match &subject.namespace {
        Some(namespace) => format!("{}/{namespace}/{}", subject.kind, subject.name),
        None => format!("{}/{}", subject.kind, subject.name),
    }
}

fn step(advice: &Advice, log: &ContainerLog) -> Step {
    let (namespace, pod) = match log.metadata.name.as_str() {
        "" => ("<namespace>", "<pod>"),
        name => (log.metadata.namespace.as_str(), name),
    };
    // A saved log tells the pod's name and not its namespace.
    let namespace = if namespace.is_empty() { "<namespace>" } else { namespace };
    let fill = |word: &&str| word.replace("{pod}", pod).replace("{namespace}", namespace);
    match advice.command {
        [] => Step::text(Risk::Read, advice.text),
        [first, ..] => {
            let risk = if *first == "az" { Risk::Change } else { Risk::Read };
            Step::command(risk, advice.text, advice.command.iter().map(fill))
        }
    }
}
