//! WHK: certificates of webhooks, webhooks that overlap, and webhooks of others.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::remedies::{count, label_namespace, names, reconcile, set_tag, unlabel_namespace};
use super::roots::{root_key, system_root};
use super::webhooks::{used_by, webhook};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::authority::mounted;
use crate::mesh::certificate::Bundle;
use crate::mesh::control_plane::{Revision, is_dead, recommended};
use crate::mesh::injection::{INJECTION, is_called};
use crate::mesh::webhook::Injector;
use crate::model::meta::StringMap;
use crate::model::{Controller, WebhookConfiguration};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&CA_BUNDLE, &OVERLAP, &REFUSED_BY_OTHERS, &POLICY_ABSENT];

/// istiod patches a new webhook within seconds.
const SETTLED: SignedDuration = SignedDuration::from_mins(2);

static CA_BUNDLE: Check = Check {
    code: "WHK03",
    name: "webhook-certificate-bundle",
    title: "The API server can verify istiod behind every injecting webhook",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: &[
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
    ],
    uses: BUNDLE_USES,
    docs: "## What it means
The API server calls the injector over TLS and trusts only what the webhook's `caBundle` holds. Where that is empty, has expired, or belongs to another authority, the call fails with `x509: certificate signed by unknown authority`, and every new pod that the webhook selects is refused.

## Why it happens on AKS
istiod writes the bundle into all webhooks of its revision, tags included, and repairs it when it changes. It cannot when it did not run, when the webhook was applied again from a file without a bundle (GitOps), or when a tag is labelled for another revision than the one it calls.

## How we know
The bundle of each injecting webhook that calls `aks-istio-system` is decoded and compared with the root certificate in the ConfigMap `istio-ca-root-cert` there. Where another Istio writes that ConfigMap too, or two revisions take their authorities from a Key Vault, only empty, unreadable and expired bundles count.

## What to do
Set the tag again; for the injector of a revision restart istiod, which writes the bundle at its start.

## Sources
`pkg/webhooks/webhookpatch.go` in <https://github.com/istio/istio>, <https://istio.io/latest/docs/ops/common-problems/injection/#x509-certificate-related-errors>",
    run: ca_bundle,
};

/// What counting workloads looks at, without what is an input here.
const BUNDLE_USES: &[SourceId] = &[
    SourceId::WebhookServices,
    SourceId::WebhookEndpoints,
    SourceId::WebhookConfigMaps,
    SourceId::Namespaces,
    SourceId::Pods,
    SourceId::ReplicaSets,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
    SourceId::Jobs,
    SourceId::CronJobs,
];

/// Why the API server cannot verify who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Untrusted {
    Empty,
    Unreadable,
    Ended,
    OtherRoot,
}

impl Untrusted {
    fn words(self) -> &'static str {
        match self {
            Self::Empty => "has no root certificate to trust istiod by",
            Self::Unreadable => "has a root certificate that cannot be read",
            Self::Ended => "trusts a root certificate that has expired",
            Self::OtherRoot => "trusts another root certificate than istiod's",
        }
    }
}

fn untrusted(bundle: &Bundle, root: Option<&Bundle>, now: jiff::Timestamp) -> Option<Untrusted> {
    if bundle.certificates.is_empty() {
        return Some(if bundle.unreadable.is_empty() { Untrusted::Empty } else { Untrusted::Unreadable });
    }
    if bundle.ends().is_some_and(|end| end < now) {
        return Some(Untrusted::Ended);
    }
    let other = root.is_some_and(|root| !root.certificates.is_empty() && !root.shares(bundle));
    other.then_some(Untrusted::OtherRoot)
}

/// Whether the root in the ConfigMap is that of every istiod of the add-on.
fn is_one_root(revisions: &[Revision<'_>], injectors: &[Injector<'_>]) -> bool {
    let vaults = revisions.iter().filter(|revision| mounted(revision).is_some()).count();
    injectors.iter().all(Injector::is_of_addon) && (revisions.len() == 1 || vaults == 0)
}

fn ca_bundle(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let injectors = lens.injectors()?;
    let root = system_root(lens)?.map(|(_, root)| root).filter(|_| is_one_root(revisions, injectors));
    let mut verdict = Verdict::default();
    for injector in injectors.iter().filter(|injector| injector.is_of_addon() && !is_dead(&injector.backend)) {
        let meta = &injector.configuration.metadata;
        if meta.creation_timestamp.is_some_and(|created| lens.now().duration_since(created) < SETTLED) {
            continue;
        }
        verdict.examined += 1;
        let worst = injector
            .entries()
            .filter_map(|entry| {
                let bundle = Bundle::of_base64(entry.client_config.ca_bundle.as_deref().unwrap_or_default());
                Some((untrusted(&bundle, root.as_ref(), lens.now())?, bundle))
            })
            .min_by_key(|(why, _)| *why);
        let Some((why, bundle)) = worst else { continue };
        verdict.findings.push(bundle_finding(lens, revisions, injector, why, &bundle, root.as_ref()));
    }
    Ok(verdict)
}

fn bundle_finding(
    lens: &Lens<'_>,
    revisions: &[Revision<'_>],
    injector: &Injector<'_>,
    why: Untrusted,
    bundle: &Bundle,
    root: Option<&Bundle>,
) -> Finding {
    let name = injector.name();
    let used = used_by(lens, injector);
    let radius = lens.blast_radius(|w| w.next.webhook.as_deref() == Some(name));
    let concerns = !used.is_empty() || radius.is_some_and(|radius| radius.workloads > 0);
    let what = match &injector.tag {
        Some(tag) => format!("webhook of tag {tag}"),
        None => format!("webhook of {}", injector.revision),
    };
    let detail = match (injector.fails_closed(), concerns) {
        (true, true) => {
            format!("The API server does not trust istiod then, and refuses all new pods {}.", place(&used))
        }
        (true, false) => {
            "No namespace uses it now. In the first one that does, Kubernetes refuses all new pods.".to_owned()
        }
        (false, _) => {
            "The API server does not trust istiod then, and new pods start without a sidecar, outside the mesh."
                .to_owned()
        }
    };
    let installed = revisions.iter().find(|revision| revision.name == injector.revision);
    let restart = Step::command(
        Risk::Restart,
        "restarts istiod, which then writes its root certificate into its webhooks",
        ["kubectl", "rollout", "restart", &format!("deployment/istiod-{}", injector.revision), "-n", SYSTEM_NAMESPACE],
    );
    let target = installed.map(|revision| revision.name.as_str()).or_else(|| recommended(revisions));
    let steps = match (&injector.tag, target) {
        (Some(tag), Some(revision)) => vec![set_tag(tag, revision)],
        _ => vec![restart],
    };
    let expected = match (why, root) {
        (Untrusted::OtherRoot, Some(root)) => root.label(),
        _ => "the root certificate of istiod".to_owned(),
    };
    let mut finding = Finding::new(webhook(injector), format!("{what} {}", why.words()), detail)
        .at_most(if concerns { Severity::Error } else { Severity::Warning })
        .key(KeyKind::Webhook, name)
        .key(KeyKind::Revision, &injector.revision)
        .maybe_impact(radius)
        .remedy(Remedy::new("let istiod's certificate into the webhook", steps))
        .evidence(
            SourceId::MutatingWebhooks,
            format!("mutatingwebhookconfiguration/{name}"),
            "clientConfig.caBundle",
            bundle.label(),
            Some(&expected),
        );
    // It holds istiod's root; that root has ended.
    if why == Untrusted::Ended {
        finding = finding.key(KeyKind::Object, root_key());
    }
    finding
}

fn place(used: &[&str]) -> String {
    if used.is_empty() { "that it selects".to_owned() } else { format!("in {}", names(used.iter().copied())) }
}

static OVERLAP: Check = Check {
    code: "WHK04",
    name: "injectors-overlap",
    title: "No pod is selected by two injectors",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: &[
        SourceId::MutatingWebhooks,
        SourceId::SystemServices,
        SourceId::SystemEndpoints,
        SourceId::Namespaces,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
    ],
    uses: &[
        SourceId::ReplicaSets,
        SourceId::Jobs,
        SourceId::CronJobs,
        SourceId::WebhookServices,
        SourceId::WebhookEndpoints,
    ],
    docs: "## What it means
Two injectors are called for the same pods. Both add a sidecar; the last one that is called wins, and which one that is depends on the names of the webhooks. If they belong to different revisions or to another Istio, the pod ends up with a mixture that may not start.

## Why it happens on AKS
A self-managed Istio without a revision and the tag `default` of the add-on both take namespaces labelled `istio-injection=enabled`. Different versions of istioctl name the webhook of the same tag differently, so that setting a tag again may leave two.

## How we know
The selectors of all injecting webhooks, for namespaces and for pods, are applied to every namespace in the scope, for a pod without labels and for the templates of its workloads. Webhooks with conditions that are not evaluated, and those whose Service has no ready pod, are left out.

## What to do
Keep one: give the namespace the label of the add-on's revision in place of `istio-injection`, or remove the webhook that is not wanted.

## Sources
<https://istio.io/latest/docs/setup/upgrade/canary/#stable-revision-labels>, <https://learn.microsoft.com/azure/aks/istio-about#limitations>",
    run: overlap,
};

fn overlap(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let injectors = lens.injectors()?;
    let alive: Vec<_> = injectors.iter().filter(|injector| !is_dead(&injector.backend)).collect();
    let mut workloads: BTreeMap<&str, Vec<_>> = BTreeMap::new();
    for workload in lens.workloads()? {
        workloads.entry(workload.namespace).or_default().push(workload);
    }
    let mut by_set: BTreeMap<Vec<&str>, (BTreeSet<&str>, Impact)> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for namespace in lens.namespaces()? {
        let meta = &namespace.metadata;
        let called = |labels: &StringMap| -> Vec<&str> {
            alive.iter().filter(|i| is_called(i, &meta.labels, labels)).map(|i| i.name()).collect()
        };
        if alive.iter().any(|injector| injector.takes(&meta.labels)) {
            verdict.examined += 1;
        }
        let plain = called(&StringMap::new());
        if plain.len() > 1 {
            by_set.entry(plain).or_default().0.insert(&meta.name);
        }
        for workload in workloads.get(meta.name.as_str()).into_iter().flatten() {
            let Some((template, _)) = workload.template() else { continue };
            let set = called(&template.labels);
            if set.len() > 1 {
                let (spaces, impact) = by_set.entry(set).or_default();
                spaces.insert(&meta.name);
                impact.workloads += 1;
                impact.pods += workload.pods.len();
            }
        }
    }
    for (set, (spaces, impact)) in by_set {
        let members: Vec<_> = alive.iter().copied().filter(|injector| set.contains(&injector.name())).collect();
        verdict.findings.push(overlap_finding(lens, &members, &spaces, impact));
    }
    Ok(verdict)
}

fn overlap_finding(lens: &Lens<'_>, members: &[&Injector<'_>], spaces: &BTreeSet<&str>, impact: Impact) -> Finding {
    let services: BTreeSet<_> = members.iter().filter_map(|injector| injector.service.as_ref()).collect();
    // The same istiod answers twice; injecting again what it injected changes nothing.
    let harmless = services.len() == 1;
    let place = match spaces.first() {
        Some(only) if spaces.len() == 1 => format!("namespace {only}"),
        _ => count(spaces.len(), "namespace"),
    };
    let cost = match harmless {
        true => "Pods work, as both call the same istiod; but a change to one of them does not change the other.",
        false => "A new pod gets the sidecar of whichever is called last, or a mix of both that does not start.",
    };
    let detail = match spaces.len() {
        1 => cost.to_owned(),
        _ => format!("{}. {cost}", names(spaces.iter().copied())),
    };
    let own: Vec<_> = members.iter().filter(|injector| injector.is_of_addon()).collect();
    let mut steps = Vec::new();
    if let Some(addon) = own.last().filter(|_| own.len() < members.len()) {
        for name in spaces {
            if lens.namespace_labels(name).is_some_and(|labels| labels.contains_key(INJECTION)) {
                steps.push(label_namespace(name, &addon.revision));
                steps.push(unlabel_namespace(name, INJECTION));
            }
        }
    }
    // Every webhook but the last one of the add-on; revisions' own webhooks would come back.
    let keep = own.iter().rev().find(|injector| injector.tag.is_none()).or(own.last()).map(|injector| injector.name());
    for injector in members.iter().filter(|injector| Some(injector.name()) != keep) {
        if injector.is_of_addon() && injector.tag.is_none() {
            continue;
        }
        let or = if steps.is_empty() { "" } else { "or instead: " };
        steps.push(Step::command(
            Risk::Change,
            format!("{or}deletes the webhook that calls {}", backend(injector)),
            ["kubectl", "delete", "mutatingwebhookconfiguration", injector.name()],
        ));
    }
    let first = members.first().map_or("", |injector| injector.name());
    let mut finding = Finding::new(
        Subject::cluster("MutatingWebhookConfiguration", first),
        format!("{} add sidecars to the same pods in {place}", count(members.len(), "webhook")),
        detail,
    )
    .at_most(if harmless { Severity::Warning } else { Severity::Error })
    .impact(Impact { namespaces: spaces.len(), ..impact })
    .remedy(Remedy::new("leave one of them for these namespaces", steps));
    for injector in members {
        finding = finding.key(KeyKind::Webhook, injector.name()).evidence(
            SourceId::MutatingWebhooks,
            format!("mutatingwebhookconfiguration/{}", injector.name()),
            "selects",
            names(spaces.iter().copied()),
            Some("one webhook for each pod"),
        );
    }
    for name in spaces {
        finding = finding.related(&Subject::cluster("Namespace", *name), "its pods are selected twice");
    }
    finding
}

fn backend(injector: &Injector<'_>) -> String {
    injector
        .service
        .as_ref()
        .map_or_else(|| "another place".to_owned(), |service| format!("{} in {}", service.name, service.namespace))
}

static REFUSED_BY_OTHERS: Check = Check {
    code: "WHK05",
    name: "refused-by-foreign-webhook",
    title: "No webhook of somebody else refuses the gateways' pods",
    area: Area::Webhooks,
    severity: Severity::Error,
    inputs: &[SourceId::GatewayDeployments],
    uses: &[SourceId::MutatingWebhooks, SourceId::ValidatingWebhooks],
    docs: "## What it means
An admission webhook that belongs neither to Istio nor to AKS refuses pods of an ingress gateway, or cannot be reached and refuses everything. New gateway pods do not start: after a node change, an upgrade or a scale-out nothing is left.

## Why it happens on AKS
A policy engine (Gatekeeper, Azure Policy, Kyverno) or a security agent covers all namespaces, and with it `aks-istio-ingress`. AKS leaves its own namespaces out of many webhooks by itself, but not out of those with the label `admissions.enforcer/disabled`.

## How we know
The Deployment's condition `ReplicaFailure` has the API server's own words, with the webhook's name. That such a webhook exists is no fault: it is looked at only when it refused something.

## What to do
Read the refusal. Leave `aks-istio-ingress` out of the policy or of the webhook's `namespaceSelector`, or repair what is behind it.

## What else looks like it
The same refusal of istiod's own pods is CP11. Gateways that Istio's injector refuses are INJ11.

## Sources
<https://learn.microsoft.com/azure/aks/faq#can-admission-controller-webhooks-impact-kube-system-and-internal-aks-namespaces>, <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>",
    run: refused_by_others,
};

fn refused_by_others(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::GatewayDeployments])?;
    let snapshot = lens.snapshot();
    let mut verdict = Verdict::default();
    for deployment in snapshot.gateway_deployments.items().unwrap_or_default() {
        verdict.examined += 1;
        let Some(message) = &deployment.failure else { continue };
        let Some(name) = refusing_webhook(message) else { continue };
        if name.ends_with(".istio.io") {
            continue;
        }
        verdict.findings.push(refusal(lens, deployment, name, message));
    }
    Ok(verdict)
}

/// The webhook in `admission webhook "NAME" denied the request` and `failed calling webhook "NAME"`.
fn refusing_webhook(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("webhook \"")?;
    let (name, _) = rest.split_once('"')?;
    (!name.is_empty()).then_some(name)
}

fn refusal(lens: &Lens<'_>, deployment: &Controller, webhook: &str, message: &str) -> Finding {
    let (namespace, name) = (deployment.metadata.namespace.as_str(), deployment.metadata.name.as_str());
    let snapshot = lens.snapshot();
    let kinds = [
        (
            "mutatingwebhookconfiguration",
            SourceId::MutatingWebhooks,
            lens.optional(SourceId::MutatingWebhooks, &snapshot.mutating_webhooks),
        ),
        (
            "validatingwebhookconfiguration",
            SourceId::ValidatingWebhooks,
            lens.optional(SourceId::ValidatingWebhooks, &snapshot.validating_webhooks),
        ),
    ];
    let holds = |configuration: &&WebhookConfiguration| configuration.webhooks.iter().any(|w| w.name == webhook);
    let holder = kinds.iter().find_map(|(kind, id, all)| Some((*kind, *id, all.iter().find(holds)?)));
    let dead = message.contains("failed calling webhook");
    let mut steps = vec![Step::command(
        Risk::Read,
        "shows why Kubernetes refuses the pods",
        ["kubectl", "get", "events", "-n", namespace, "--field-selector", "reason=FailedCreate"],
    )];
    if let Some((kind, _, configuration)) = holder {
        steps.push(Step::command(
            Risk::Read,
            "shows which component it calls, and which pods and namespaces it selects",
            ["kubectl", "get", kind, &configuration.metadata.name, "-o", "yaml"],
        ));
    }
    steps.push(Step::text(
        Risk::Change,
        if dead {
            format!("repair the component that it calls, or exclude {namespace} in its namespaceSelector")
        } else {
            format!("exclude {namespace} from that policy, or in the namespaceSelector of the webhook")
        },
    ));
    let verb = if dead { "is unreachable and blocks" } else { "refuses" };
    let mut finding = Finding::new(
        Subject::new("Deployment", namespace, name),
        format!("webhook {webhook} {verb} pods of {name}"),
        format!(
            "{} of {} gateway pods are ready; a pod that goes is not replaced.",
            deployment.ready,
            deployment.desired.unwrap_or(1)
        ),
    )
    .key(KeyKind::Workload, format!("{namespace}/Deployment/{name}"))
    .key(KeyKind::Object, format!("Deployment/{namespace}/{name}"))
    .remedy(Remedy::new("keep the gateways out of that webhook", steps))
    .evidence(
        SourceId::GatewayDeployments,
        format!("{namespace}/deployment/{name}"),
        "condition ReplicaFailure",
        message,
        None,
    );
    if let Some((kind, id, configuration)) = holder {
        let entry = configuration.webhooks.iter().find(|entry| entry.name == webhook);
        let policy = if entry.is_some_and(crate::model::Webhook::fails_closed) { "Fail" } else { "Ignore" };
        finding = finding.key(KeyKind::Webhook, &configuration.metadata.name).evidence(
            id,
            format!("{kind}/{}", configuration.metadata.name),
            "failurePolicy",
            policy,
            None,
        );
    }
    finding
}

static POLICY_ABSENT: Check = Check {
    code: "WHK06",
    name: "add-on-policy-absent",
    title: "AKS's own check of Istio's resources is in place",
    area: Area::Webhooks,
    severity: Severity::Info,
    inputs: &[SourceId::ValidatingWebhooks, SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
AKS refuses resources and fields that the add-on does not allow, such as WasmPlugin, when they are applied. Without the webhook that does it they are accepted, and AKS does not support what they do.

## Why it happens on AKS
Somebody deleted the webhook, mostly while cleaning up webhooks. It calls AKS's hidden control plane and is told to let requests pass when that does not answer, so its absence is not felt.

## How we know
No ValidatingWebhookConfiguration has a name with `azure-service-mesh` or `ccp-validating`, or calls a URL for validating Istio at AKS's control plane. Microsoft does not document its name, so this is told and no fault.

## What to do
Let AKS write its objects again.

## Sources
<https://learn.microsoft.com/azure/aks/istio-support-policy#allowed-supported-and-blocked-customizations>",
    run: |lens| {
        lens.need(&[SourceId::ValidatingWebhooks])?;
        let installed = !lens.revisions()?.is_empty();
        if !installed {
            return Ok(Verdict::default());
        }
        let configurations = lens.snapshot().validating_webhooks.items().unwrap_or_default();
        let mut verdict = Verdict { examined: configurations.len().max(1), ..Verdict::default() };
        if !configurations.iter().any(is_policy) {
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("ValidatingWebhookConfiguration", "azure-service-mesh-ccp-validating-webhook"),
                    "AKS's webhook that checks Istio's resources is missing",
                    "Resources and fields that AKS would block are accepted now, but not supported.",
                )
                .key(KeyKind::Webhook, "azure-service-mesh-ccp-validating-webhook")
                .remedy(Remedy::new("let AKS write it again", vec![reconcile("writes the webhook again")]))
                .evidence(
                    SourceId::ValidatingWebhooks,
                    "validatingwebhookconfiguration/azure-service-mesh-ccp-validating-webhook",
                    "exists",
                    "no",
                    Some("yes"),
                ),
            );
        }
        Ok(verdict)
    },
};

fn is_policy(configuration: &WebhookConfiguration) -> bool {
    let named = |name: &str| name.contains("azure-service-mesh") || name.contains("ccp-validating");
    named(&configuration.metadata.name)
        || configuration.webhooks.iter().any(|entry| {
            let url = entry.client_config.url.as_deref().unwrap_or_default();
            named(&entry.name) || (url.contains("ccp-webhook") && url.contains("istio"))
        })
}
