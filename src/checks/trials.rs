//! INJ: what the API server does with a pod that it is asked about, against what was computed.

use super::cni::switch;
use super::network::WEBHOOK_PORT;
use super::remedies::{names, quote};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::denial::Denial;
use crate::mesh::injection;
use crate::mesh::proxy::PROXY_CONTAINER;
use crate::mesh::redirection::INIT_CONTAINER;
use crate::mesh::trial::{Agreement, Fate, Standing, candidate, compare, fate, is_injectors, standing};
use crate::model::{Trial, WebhookConfiguration};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// The check of this file.
pub static CHECKS: &[&Check] = &[&TRIAL];

static TRIAL: Check = Check {
    code: "INJ13",
    name: "api-server-decides-otherwise",
    title: "The API server does with a new pod what the labels and webhooks promise",
    area: Area::Injection,
    severity: Severity::Error,
    inputs: &[SourceId::Trials],
    uses: &[
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemConfigMaps,
        SourceId::Namespaces,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
        SourceId::WebhookConfigMaps,
        SourceId::ValidatingWebhooks,
    ],
    docs: "## What it means
`inject-check --probe` asked the API server what it would make of a new pod, and the answer is not what follows from labels, webhooks and istiod's settings: the pod is refused, gets no sidecar, gets one that nobody asked for, or gets it from another revision.

## Why it happens on AKS
The API server cannot reach istiod although its pods are ready: a NetworkPolicy or a firewall closes port 15017, or it does not trust istiod's certificate. Or something that has nothing to do with Istio refuses the pod with its sidecar: Pod Security, Azure Policy, a quota, a LimitRange. Or another webhook adds or removes a sidecar.

## How we know
The pod is created with `dryRun=All`: it passes all admission, webhooks included, and is not stored. After a refusal the same pod is sent once more with the label `sidecar.istio.io/inject=false`: if it passes then, the sidecar is what is refused. With `--create` a plain pod is really created, watched and deleted.

## What to do
Read the API server's words in the evidence. The steps of the finding depend on who refused; the findings above it in the report may say why istiod cannot be reached.

## What else looks like it
Pods that a controller wanted and did not get, because istiod's webhook does not answer, are INJ11. A dry run is impossible where a webhook does not say that it has no side effects: then `--create` is the way.

## Sources
<https://kubernetes.io/docs/reference/using-api/api-concepts/#dry-run>, <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#side-effects>, <https://istio.io/latest/docs/ops/common-problems/injection/>",
    run: trials,
};

fn trials(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::Trials])?;
    // What was read only in part promises nothing: then the API server's answer is all there is.
    let rules = lens.rules().ok();
    let mut verdict = Verdict::default();
    for trial in lens.snapshot().trials.items().unwrap_or_default() {
        verdict.examined += 1;
        let computed = rules.map(|rules| rules.verdict(candidate(trial)));
        let fate = fate(trial);
        let agreement = computed.as_ref().map_or(Agreement::Told, |computed| compare(computed, &fate));
        verdict.findings.extend(finding(lens, trial, computed.as_ref(), &fate, agreement));
        verdict.findings.extend(never_ready(trial));
    }
    Ok(verdict)
}

/// What a pod stands for.
fn subject(trial: &Trial) -> Subject {
    let (kind, namespace, name) = (trial.stands_for.as_str(), &trial.metadata.namespace, &trial.metadata.name);
    if kind == "Namespace" { Subject::cluster(kind, namespace) } else { Subject::new(kind, namespace, name) }
}

/// The pod in a sentence.
fn label(trial: &Trial) -> String {
    let (kind, namespace, name) = (trial.stands_for.as_str(), &trial.metadata.namespace, &trial.metadata.name);
    match kind {
        "Namespace" => format!("a plain pod in {namespace}"),
        _ => format!("a new pod of {}/{name} in {namespace}", kind.to_lowercase()),
    }
}

/// What the API server was asked, as an object of evidence.
fn object(trial: &Trial) -> String {
    let how = if trial.life.is_some() { "" } else { "?dryRun=All" };
    format!("POST {}/pods{how}", trial.metadata.namespace)
}

/// What was computed, in a few words.
fn promise(computed: Option<&injection::Verdict>) -> &'static str {
    match computed.map(|computed| (computed.injected, computed.is_blocked())) {
        None | Some((None, _)) => "made",
        Some((_, true)) => "refused by istiod's webhook",
        Some((Some(true), _)) => "given a sidecar",
        Some((Some(false), _)) => "made without a sidecar",
    }
}

fn finding(
    lens: &Lens<'_>,
    trial: &Trial,
    computed: Option<&injection::Verdict>,
    fate: &Fate<'_>,
    agreement: Agreement,
) -> Option<Finding> {
    let namespace = trial.metadata.namespace.as_str();
    let found = match (fate, agreement) {
        (_, Agreement::Same) | (Fate::Plain | Fate::Injected { .. }, Agreement::Told) => return None,
        (Fate::Refused(denial), _) => refused(lens, trial, computed, *denial),
        (Fate::Plain, _) if computed.is_some_and(injection::Verdict::is_blocked) => {
            let what = format!("{} is made, although istiod's webhook has nobody behind it", label(trial));
            Finding::new(
                subject(trial),
                what,
                "The API server did not ask the webhook: the pod starts outside the mesh.",
            )
            .remedy(Remedy::new("look at the webhook that should be asked", vec![webhooks()]))
        }
        (Fate::Plain, _) => {
            let what = format!("{} gets no sidecar, although it should", label(trial));
            Finding::new(subject(trial), what, "New pods start outside the mesh: no mutual TLS, no mesh policies.")
                .remedy(Remedy::new(
                    "find out whether istiod is asked, and what it answers",
                    vec![webhooks(), istiod_log()],
                ))
        }
        (Fate::Injected { revision, .. }, _) => {
            let by = revision.as_deref().unwrap_or("an unknown revision");
            let expected = computed.and_then(|computed| computed.revision.as_deref());
            let what = match expected {
                Some(expected) => format!("{} gets its sidecar from {by} and not from {expected}", label(trial)),
                None => format!("{} gets a sidecar from {by}, which nothing here asks for", label(trial)),
            };
            Finding::new(subject(trial), what, "Another webhook than the selectors say takes part in creating pods.")
                .at_most(Severity::Warning)
                .remedy(Remedy::new("look for the webhook that does it", vec![webhooks()]))
        }
    };
    let answer = match (fate, &trial.refused) {
        (_, Some(refusal)) => format!("{} {}", refusal.code, quote(&refusal.message)),
        (Fate::Injected { revision, .. }, _) => format!("sidecar of {}", revision.as_deref().unwrap_or("?")),
        _ => "no sidecar".to_owned(),
    };
    let mut found = found.key(KeyKind::Namespace, namespace).evidence(
        SourceId::Trials,
        object(trial),
        "answer",
        answer,
        Some(promise(computed)),
    );
    if let Some(other) = &trial.without_sidecar {
        let answer = other.refused.as_ref().map_or_else(|| "made".to_owned(), |refusal| quote(&refusal.message));
        let asked = format!("POST {namespace}/pods?dryRun=All");
        found = found.evidence(SourceId::Trials, asked, "answer with sidecar.istio.io/inject=false", answer, None);
    }
    if trial.stands_for != "Namespace" {
        let key = format!("{namespace}/{}/{}", trial.stands_for, trial.metadata.name);
        found = found.key(KeyKind::Workload, key);
    }
    Some(found)
}

/// Whether the same pod passes without a sidecar.
fn only_with_sidecar(trial: &Trial) -> Option<bool> {
    trial.without_sidecar.as_ref().map(|other| other.refused.is_none())
}

fn refused(lens: &Lens<'_>, trial: &Trial, computed: Option<&injection::Verdict>, denial: Denial<'_>) -> Finding {
    let (who, steps) = denier(lens, trial, denial);
    let only = only_with_sidecar(trial);
    let what = match only {
        Some(true) if !is_injectors(denial) => format!("{} is refused with its sidecar: {who}", label(trial)),
        _ => format!("{} is refused: {who}", label(trial)),
    };
    let plain = trial.stands_for == "Namespace";
    let detail = match (denial, only) {
        (Denial::NoDryRun(_), _) => {
            "Nothing can be said about the pod: Kubernetes does not call such a webhook in a dry run."
        }
        (Denial::Unreachable(_), _) if is_injectors(denial) => {
            "Kubernetes refuses each new pod that should have a sidecar until that webhook answers; running pods stay."
        }
        (Denial::Unreachable(_), _) => {
            "Kubernetes refuses each new pod that this webhook covers until it answers; running pods stay."
        }
        (_, Some(true)) => "Without a sidecar the same pod passes. Running pods stay; new ones cannot be created.",
        (_, Some(false)) if plain => {
            "It is refused without a sidecar, too. The rule may be about this test pod: probe a workload of yours by its name."
        }
        (_, Some(false)) => "It is refused without a sidecar, too. Running pods stay; new ones cannot be created.",
        (_, None) => "Running pods stay; new ones cannot be created.",
    };
    let severity = match (denial, plain, only) {
        (Denial::NoDryRun(_), ..) => Severity::Info,
        (Denial::Unreachable(_), ..) => Severity::Error,
        (_, true, Some(false)) => Severity::Warning,
        _ => Severity::Error,
    };
    let mut finding = Finding::new(subject(trial), what, detail)
        .at_most(severity)
        .remedy(Remedy::new("change what refuses it", steps));
    if let Denial::Unreachable(entry) | Denial::Webhook(entry) = denial {
        for (kind, configuration) in holders(lens, entry) {
            let name = &configuration.metadata.name;
            finding = finding.key(KeyKind::Webhook, name).related(&Subject::cluster(kind, name), "refuses the pod");
        }
    }
    if is_injectors(denial) {
        if let Some(webhook) = computed.and_then(|computed| computed.webhook.as_deref()) {
            finding = finding.key(KeyKind::Webhook, webhook);
        }
        finding = finding.key(KeyKind::Object, WEBHOOK_PORT);
    }
    finding
}

/// Configurations that have an entry of this name.
fn holders<'a>(lens: &Lens<'a>, entry: &str) -> Vec<(&'static str, &'a WebhookConfiguration)> {
    let snapshot = lens.snapshot();
    let kinds = [
        ("MutatingWebhookConfiguration", lens.optional(SourceId::MutatingWebhooks, &snapshot.mutating_webhooks)),
        ("ValidatingWebhookConfiguration", lens.optional(SourceId::ValidatingWebhooks, &snapshot.validating_webhooks)),
    ];
    // Several of the add-on's configurations share the names of their entries.
    let has =
        |configuration: &&WebhookConfiguration| configuration.webhooks.iter().any(|webhook| webhook.name == entry);
    let all = kinds.into_iter().flat_map(|(kind, all)| all.iter().filter(has).map(move |one| (kind, one)));
    if entry.ends_with(".istio.io") { Vec::new() } else { all.collect() }
}

fn webhooks() -> Step {
    Step::command(
        Risk::Read,
        "shows all webhooks that may change a pod, and what they select",
        ["kubectl", "get", "mutatingwebhookconfigurations", "-o", "yaml"],
    )
}

fn istiod_log() -> Step {
    Step::command(
        Risk::Read,
        "shows whether istiod was asked (lines with `Sidecar injection`), and errors",
        ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, "-l", "app=istiod", "--tail=100", "--prefix"],
    )
}

/// Who refused, in words, and what to do about it.
fn denier(lens: &Lens<'_>, trial: &Trial, denial: Denial<'_>) -> (String, Vec<Step>) {
    let namespace = trial.metadata.namespace.as_str();
    let show = |text: &str, command: &[&str]| Step::command(Risk::Read, text, command.iter().copied());
    match denial {
        Denial::Unreachable(entry) if is_injectors(denial) => {
            (format!("the API server cannot reach istiod's webhook {entry}"), injector_steps())
        }
        Denial::Unreachable(entry) => (format!("webhook {entry} does not answer"), foreign(lens, entry)),
        Denial::Webhook(entry) if entry.ends_with("gatekeeper.sh") => (
            "a policy of Gatekeeper or Azure Policy denies it".to_owned(),
            vec![
                show(
                    "shows Gatekeeper's rules; those named azurepolicy-… come from Azure Policy",
                    &["kubectl", "get", "constraints"],
                ),
                Step::text(
                    Risk::Change,
                    format!(
                        "exclude {namespace}, or the images of Istio, in the policy assignment or in `spec.match.excludedNamespaces` of your own constraint"
                    ),
                ),
            ],
        ),
        Denial::Webhook(entry) => (format!("webhook {entry} denies it"), foreign(lens, entry)),
        Denial::NoDryRun(entry) => (
            format!("webhook {entry} allows no dry run"),
            vec![Step::command(
                Risk::Change,
                "really creates a plain pod, waits for it and deletes it",
                ["kubectl", "asm", "inject-check", "-n", namespace, "--probe", "--create"],
            )],
        ),
        Denial::Policy(name) => (
            format!("ValidatingAdmissionPolicy {name} denies it"),
            vec![show("shows its rules", &["kubectl", "get", "validatingadmissionpolicy", name, "-o", "yaml"])],
        ),
        Denial::PodSecurity => (format!("{namespace} enforces a Pod Security Standard"), pod_security(trial)),
        Denial::Quota(name) => (
            format!("ResourceQuota {name} does not allow it"),
            vec![
                show(
                    "shows the quota's limits and what is used",
                    &["kubectl", "describe", "resourcequota", name, "-n", namespace],
                ),
                Step::text(Risk::Change, "raise the quota: a sidecar has requests and limits of its own"),
            ],
        ),
        Denial::Limits => (
            format!("a LimitRange of {namespace} does not allow it"),
            vec![
                show("shows its limits", &["kubectl", "describe", "limitrange", "-n", namespace]),
                Step::text(
                    Risk::Change,
                    "widen them, or fit the sidecar to them by the pod template's annotations sidecar.istio.io/proxyCPU, proxyMemory, proxyCPULimit and proxyMemoryLimit",
                ),
            ],
        ),
        Denial::ServiceAccount(name) => (
            format!("its ServiceAccount {name} does not exist"),
            vec![Step::command(
                Risk::Change,
                "creates it; better apply the manifest that should have brought it",
                ["kubectl", "create", "serviceaccount", name, "-n", namespace],
            )],
        ),
        Denial::Namespace => (
            format!("namespace {namespace} does not exist or is being deleted"),
            vec![show("shows its state", &["kubectl", "get", "namespace", namespace])],
        ),
        Denial::Other => (
            "see the API server's words".to_owned(),
            vec![show(
                "shows what else was refused in this namespace",
                &["kubectl", "get", "events", "-n", namespace, "--field-selector", "reason=FailedCreate"],
            )],
        ),
    }
}

fn injector_steps() -> Vec<Step> {
    let show = |text: &str, command: &[&str]| Step::command(Risk::Read, text, command.iter().copied());
    vec![
        show(
            "is istiod ready, and since when?",
            &["kubectl", "get", "pods", "-n", SYSTEM_NAMESPACE, "-l", "app=istiod"],
        ),
        show(
            "does a policy keep the API server from istiod's port 15017?",
            &["kubectl", "get", "networkpolicies", "-n", SYSTEM_NAMESPACE],
        ),
        istiod_log(),
    ]
}

/// Webhooks that do not belong to the add-on.
fn foreign(lens: &Lens<'_>, entry: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = holders(lens, entry)
        .into_iter()
        .map(|(kind, configuration)| {
            let resource = kind.to_lowercase();
            Step::command(
                Risk::Read,
                "shows what the webhook covers, and which Service it calls",
                ["kubectl", "get", &resource, &configuration.metadata.name, "-o", "yaml"],
            )
        })
        .collect();
    if steps.is_empty() {
        steps.push(Step::command(
            Risk::Read,
            format!("shows all webhooks; look for {entry} under `webhooks`"),
            ["kubectl", "get", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "yaml"],
        ));
    }
    steps.push(Step::text(
        Risk::Change,
        "repair what is behind it, or exclude the namespace in the tool that installed it",
    ));
    steps
}

fn pod_security(trial: &Trial) -> Vec<Step> {
    let namespace = trial.metadata.namespace.as_str();
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows the labels pod-security.kubernetes.io/…",
        ["kubectl", "get", "namespace", namespace, "--show-labels"],
    )];
    let message = trial.refused.as_ref().map_or("", |refusal| refusal.message.as_str());
    if message.contains(INIT_CONTAINER) {
        steps.push(switch(
            "CNIChaining",
            "lets Istio's CNI plugin redirect traffic (asm-1-25 or newer), so that pods need no privileged init container",
        ));
    } else {
        steps.push(Step::text(Risk::Change, "change in the pod template what the API server's words name"));
    }
    steps
}

/// A pod that was created, passed admission, and did not become ready.
fn never_ready(trial: &Trial) -> Option<Finding> {
    let life = trial.life.as_ref()?;
    let of_mesh = |container: &str| container == PROXY_CONTAINER || container.starts_with("istio-");
    let (what, field, said, severity) = match standing(life) {
        Standing::Ready => return None,
        Standing::Unschedulable(message) => {
            ("no node takes it".to_owned(), "condition PodScheduled", quote(message), Severity::Warning)
        }
        Standing::Stuck(container, reason, message) => (
            format!("container {container} does not start ({reason})"),
            "state.waiting",
            quote(&format!("{reason} {message}")),
            if of_mesh(container) { Severity::Error } else { Severity::Warning },
        ),
        Standing::Ended(reason) => (
            format!("it ended {}", if reason.is_empty() { "by itself" } else { reason }),
            "phase",
            reason.to_owned(),
            Severity::Warning,
        ),
        Standing::Waiting => {
            let unready = life.last.status.init_container_statuses.iter().chain(&life.last.status.container_statuses);
            let unready: Vec<&str> =
                unready.filter(|status| !status.ready).map(|status| status.name.as_str()).collect();
            let mesh = unready.iter().any(|name| of_mesh(name));
            (
                format!("it was not ready after {} s", life.seconds),
                "containers that are not ready",
                if unready.is_empty() { "all of them".to_owned() } else { names(unready) },
                if mesh { Severity::Error } else { Severity::Warning },
            )
        }
    };
    let namespace = trial.metadata.namespace.as_str();
    let steps = vec![
        Step::command(
            Risk::Read,
            "shows the events of the test pod",
            [
                "kubectl",
                "get",
                "events",
                "-n",
                namespace,
                "--field-selector",
                &format!("involvedObject.name={}", life.name),
            ],
        ),
        Step::command(
            Risk::Change,
            "tries again, with more time",
            ["kubectl", "asm", "inject-check", "-n", namespace, "--probe", "--create", "--timeout", "5m"],
        ),
    ];
    Some(
        Finding::new(
            subject(trial),
            format!("the test pod in {namespace} was created and did not become ready: {what}"),
            "The API server takes the pod; something on its node, or in the mesh, keeps it from running.",
        )
        .at_most(severity)
        .key(KeyKind::Namespace, namespace)
        .remedy(Remedy::new("look at what happened to the pod", steps))
        .evidence(SourceId::Trials, format!("{namespace}/pod/{}", life.name), field, said, Some("ready")),
    )
}
