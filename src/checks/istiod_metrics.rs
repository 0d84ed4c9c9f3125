//! TEL: what istiods count. Read only by the command that shows it.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Impact, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::istiod_metrics::{all_answered, answered, date, is_frequent, since, sum};
use crate::mesh::workload::Workload;
use crate::model::IstiodMetrics;
use crate::model::age::words;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&NEVER_ASKED, &REJECTIONS, &ERRORS, &SIGNING_CERTIFICATE_ENDS];

/// Istiods by revision, as far as they answered.
fn revisions<'a>(lens: &Lens<'a>) -> Result<Vec<(&'a str, Vec<&'a IstiodMetrics>)>, Missing> {
    lens.need(&[SourceId::IstiodMetrics])?;
    let records = lens.snapshot().istiod_metrics.items().unwrap_or_default();
    let names: BTreeSet<&str> = records.iter().map(|record| record.revision.as_str()).collect();
    let found: Vec<_> = names.into_iter().map(|name| (name, answered(records, name))).collect();
    // That nobody answered is not that nothing was counted.
    if !records.is_empty() && found.iter().all(|(_, istiods)| istiods.is_empty()) {
        return Err(Missing { source: SourceId::IstiodMetrics, kind: crate::snapshot::StateKind::Failed });
    }
    Ok(found.into_iter().filter(|(_, istiods)| !istiods.is_empty()).collect())
}

/// Since when the oldest of them counts.
fn oldest(istiods: &[&IstiodMetrics]) -> Option<Timestamp> {
    istiods.iter().filter_map(|istiod| since(&istiod.families)).min()
}

fn logs(revision: &str) -> Step {
    let deployment = format!("deployment/istiod-{revision}");
    Step::command(
        Risk::Read,
        "shows what istiod says about it",
        ["kubectl", "logs", &deployment, "-n", SYSTEM_NAMESPACE, "--since=1h"],
    )
}

fn object(istiod: &IstiodMetrics) -> String {
    format!("{SYSTEM_NAMESPACE}/pod/{}", istiod.pod)
}

static NEVER_ASKED: Check = Check {
    code: "TEL04",
    name: "injector-never-asked",
    title: "istiod is asked to inject the pods that should get a sidecar",
    area: Area::Telemetry,
    severity: Severity::Warning,
    inputs: &[
        SourceId::IstiodMetrics,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
    ],
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
        SourceId::WebhookConfigMaps,
    ],
    docs: "## What it means
Pods were created in namespaces that ask for a sidecar of this revision, and have none; and no istiod of it was ever asked to inject a pod. The API server does not call the webhook.

## Why it happens on AKS
The namespace was labelled, or the webhook made anew, after these pods were created. If it is still so for new pods, something on the way from the API server to istiod, or an admission policy, skips the webhook.

## How we know
The counter `sidecar_injection_requests_total` of all istiods of the revision together is 0, and there are pods that are younger than the youngest of these istiods, that its webhook should have changed, and that have no sidecar. A revision of which an istiod did not answer is left out.

## What to do
`kubectl asm inject-check` says for each workload what its next restart brings. Restart one of them; when its new pod has no sidecar either, look at the webhook.

## Sources
`pkg/kube/inject/monitoring.go` in <https://github.com/istio/istio>, <https://istio.io/latest/docs/ops/common-problems/injection/>",
    run: never_asked,
};

fn never_asked(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = revisions(lens)?;
    lens.rules()?;
    let workloads = lens.workloads()?;
    let records = lens.snapshot().istiod_metrics.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for (revision, istiods) in revisions {
        let youngest = istiods.iter().map(|istiod| since(&istiod.families)).collect::<Option<Vec<_>>>();
        let Some(youngest) = youngest.and_then(|starts| starts.into_iter().max()) else { continue };
        if !all_answered(records, revision) {
            continue;
        }
        verdict.examined += 1;
        if sum("injection requests", &istiods) > 0.0 {
            continue;
        }
        let is_bare = |workload: &Workload<'_>| {
            workload
                .pods
                .iter()
                .filter(|(pod, proxy)| {
                    let is_young = pod.metadata.creation_timestamp.is_some_and(|created| created > youngest);
                    proxy.is_none() && is_young && !pod.is_over()
                })
                .count()
        };
        let wants = |workload: &&Workload<'_>| {
            workload.next.injected == Some(true) && workload.next.revision.as_deref() == Some(revision)
        };
        let bare: Vec<(&Workload<'_>, usize)> = workloads
            .iter()
            .filter(wants)
            .map(|workload| (workload, is_bare(workload)))
            .filter(|(_, pods)| *pods > 0)
            .collect();
        let Some((first, _)) = bare.first() else { continue };
        let namespaces: BTreeSet<&str> = bare.iter().map(|(workload, _)| workload.namespace).collect();
        let pods = bare.iter().map(|(_, pods)| pods).sum();
        let mut finding = Finding::new(
            Subject::cluster("Revision", revision),
            format!(
                "istiod of {revision} was never asked to inject a pod, although {} without a sidecar came up in {}",
                count(pods, "pod"),
                names(namespaces.iter().copied())
            ),
            "These pods run outside the mesh, and so will the next ones if the API server does not call the webhook.",
        )
        .key(KeyKind::Revision, revision)
        .impact(Impact { namespaces: namespaces.len(), workloads: bare.len(), pods })
        .remedy(Remedy::new(
            "find out whether the next pod is injected",
            vec![
                Step::command(
                    Risk::Read,
                    "says for each workload what its next restart brings, and why",
                    ["kubectl", "asm", "inject-check", "-n", first.namespace],
                ),
                Step::command(
                    Risk::Read,
                    "shows the webhooks of this revision",
                    ["kubectl", "get", "mutatingwebhookconfigurations", "-l", &format!("istio.io/rev={revision}")],
                ),
            ],
        ));
        for namespace in &namespaces {
            finding = finding.key(KeyKind::Namespace, *namespace);
        }
        for istiod in &istiods {
            let started = since(&istiod.families).map_or_else(String::new, |at| format!(" since {at}"));
            finding = finding.evidence(
                SourceId::IstiodMetrics,
                object(istiod),
                "sidecar_injection_requests_total",
                format!("0{started}"),
                Some("at least one per pod"),
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

static REJECTIONS: Check = Check {
    code: "TEL05",
    name: "rejections-counted",
    title: "Proxies accept what istiod sends them",
    area: Area::Telemetry,
    severity: Severity::Info,
    inputs: &[SourceId::IstiodMetrics],
    uses: &[],
    docs: "## What it means
Proxies have rejected configuration again and again since istiod started. Who rejects something keeps its last good configuration, and does not follow further changes of that kind.

## Why it happens on AKS
A custom resource, mostly an EnvoyFilter, a Gateway or a certificate, becomes something that Envoy does not take.

## How we know
The counter `pilot_total_xds_rejects` of the istiods of a revision. It only grows, so that it is told only when it stands for at least one rejection per hour since istiod's start, and for two at least. It does not say whether a proxy rejects something now: `kubectl asm proxy-status` does.

## What to do
`kubectl asm proxy-status` names the proxies, Envoy's words, and the object behind them.

## Sources
`pkg/xds/monitoring.go` in <https://github.com/istio/istio>, <https://istio.io/latest/docs/reference/commands/pilot-discovery/#metrics>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for (revision, istiods) in revisions(lens)? {
            verdict.examined += istiods.len();
            let (number, begin) = (sum("rejects", &istiods), oldest(&istiods));
            if !is_frequent(number, begin, lens.now()) {
                continue;
            }
            let running = begin.map_or_else(String::new, |begin| format!(" in {}", words(lens.now().duration_since(begin))));
            let mut finding = Finding::new(
                Subject::cluster("Revision", revision),
                format!("proxies of {revision} rejected what istiod sent {number:.0} times{running}"),
                "Who rejects something keeps its last good configuration and does not follow further changes.",
            )
            .key(KeyKind::Revision, revision)
            .remedy(Remedy::new(
                "see who rejects something now",
                vec![Step::command(
                    Risk::Read,
                    "names the proxies, Envoy's words, and the object behind them",
                    ["kubectl", "asm", "proxy-status"],
                )],
            ));
            for istiod in istiods {
                for sample in istiod.families.samples("pilot_total_xds_rejects") {
                    let kind = sample.labels.get("type").map_or("", String::as_str);
                    let field = format!("pilot_total_xds_rejects{{type=\"{kind}\"}}");
                    let value = format!("{:.0}", sample.value);
                    finding = finding.evidence(SourceId::IstiodMetrics, object(istiod), field, value, Some("0"));
                }
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static ERRORS: Check = Check {
    code: "TEL06",
    name: "istiod-counts-errors",
    title: "istiod counts no errors of its own",
    area: Area::Telemetry,
    severity: Severity::Warning,
    inputs: &[SourceId::IstiodMetrics],
    uses: &[],
    docs: "## What it means
istiod counts errors at its own work again and again: it could not compute a configuration, send it, inject a pod, or sign a certificate.

## Why it happens on AKS
A resource that istiod cannot work with, an istiod without enough memory or CPU, connections that are cut on their way, or a certificate authority that does not sign.

## How we know
The counters `pilot_total_xds_internal_errors`, `pilot_xds_push_context_errors`, `pilot_xds_pushes` of types that end with `_senderr`, `pilot_xds_write_timeout`, `sidecar_injection_failure_total` and `citadel_server_csr_sign_err_count` of the istiods of a revision. Counters only grow, so that one is told only when it stands for at least one error per hour since istiod's start, and for two at least.

## What to do
istiod's log names the resource or the proxy. `kubectl asm status --only CP,CAP,CA` says whether istiod itself lacks something.

## Sources
`pilot/pkg/xds/monitoring.go`, `pkg/kube/inject/monitoring.go` and `security/pkg/server/ca/monitoring.go` in <https://github.com/istio/istio>, <https://istio.io/latest/docs/reference/commands/pilot-discovery/#metrics>",
    run: |lens| {
        const COUNTERS: [&str; 5] =
            ["internal errors", "send errors", "write timeouts", "injection failures", "signing errors"];
        let mut verdict = Verdict::default();
        for (revision, istiods) in revisions(lens)? {
            verdict.examined += istiods.len();
            let begin = oldest(&istiods);
            let frequent: Vec<(&str, f64)> = COUNTERS
                .into_iter()
                .map(|name| (name, sum(name, &istiods)))
                .filter(|(_, number)| is_frequent(*number, begin, lens.now()))
                .collect();
            if frequent.is_empty() {
                continue;
            }
            let running = begin.map_or_else(String::new, |begin| format!(" in {}", words(lens.now().duration_since(begin))));
            let what: Vec<String> = frequent.iter().map(|(name, number)| format!("{number:.0} {name}")).collect();
            let mut finding = Finding::new(
                Subject::cluster("Revision", revision),
                format!("istiod of {revision} counts {}{running}", what.join(", ")),
                "Proxies may lack configuration or certificates, and pods may be refused, each time that this happens.",
            )
            .key(KeyKind::Revision, revision)
            .remedy(Remedy::new(
                "find the reason in istiod's log",
                vec![
                    logs(revision),
                    Step::command(
                        Risk::Read,
                        "says whether istiod lacks something",
                        ["kubectl", "asm", "status", "--only", "CP,CAP,CA"],
                    ),
                ],
            ));
            for istiod in &istiods {
                for (name, _) in &frequent {
                    let value = format!("{:.0}", sum(name, &[istiod]));
                    finding = finding.evidence(SourceId::IstiodMetrics, object(istiod), *name, value, Some("0"));
                }
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

/// A signing certificate that ends sooner than this is worth a word: who owns the vault has to make another one.
const WARN_DAYS: i64 = 30;

static SIGNING_CERTIFICATE_ENDS: Check = Check {
    code: "TEL07",
    name: "signing-certificate-ends",
    title: "The certificate that istiod signs with lasts for another month",
    area: Area::Telemetry,
    severity: Severity::Error,
    inputs: &[SourceId::IstiodMetrics],
    uses: &[],
    docs: "## What it means
The intermediate certificate with which istiod signs the certificates of proxies ends within 30 days, or has ended. Without it, no proxy gets a certificate: running ones lose theirs within a day, and new ones do not start.

## Why it happens on AKS
With a certificate authority from a Key Vault, its owner renews the intermediate certificate. Nothing in the cluster does.

## How we know
The metric `citadel_server_cert_chain_expiry_timestamp` of istiod. An istiod with an authority of its own does not have it. The root certificate is CA02.

## What to do
Put a renewed certificate, its key and its chain into the vault; istiod takes them over after the next poll.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, `security/pkg/server/ca/server.go` in <https://github.com/istio/istio>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for (revision, istiods) in revisions(lens)? {
            let ends = istiods.iter().filter_map(|istiod| {
                let end = istiod.families.value("citadel_server_cert_chain_expiry_timestamp").and_then(date)?;
                Some((end, *istiod))
            });
            let Some((end, istiod)) = ends.min_by_key(|(end, _)| *end) else { continue };
            verdict.examined += 1;
            let left = end.duration_since(lens.now());
            if left.as_hours() >= WARN_DAYS * 24 {
                continue;
            }
            let day = end.strftime("%Y-%m-%d");
            let (severity, verb) = if left.is_negative() { (Severity::Error, "ended") } else { (Severity::Warning, "ends") };
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("Revision", revision),
                    format!("the certificate that istiod of {revision} signs with {verb} on {day}"),
                    "Without it no proxy gets a certificate: running ones lose theirs within a day, new ones do not start.",
                )
                .key(KeyKind::Revision, revision)
                .at_most(severity)
                .remedy(Remedy::new(
                    "renew the certificate in the Key Vault",
                    vec![Step::command(
                        Risk::Change,
                        "puts the renewed certificate into the vault; do the same for its key and its chain",
                        ["az", "keyvault", "secret", "set", "--vault-name", "<key-vault>", "-n", "<ca-cert-object>", "--file", "ca-cert.pem"],
                    )],
                ))
                .evidence(
                    SourceId::IstiodMetrics,
                    object(istiod),
                    "citadel_server_cert_chain_expiry_timestamp",
                    end.to_string(),
                    Some("30 days from now at least"),
                ),
            );
        }
        Ok(verdict)
    },
};
