//! What the injector would do with a pod created now: the selectors found in the cluster, then istiod's own rules.
//!
//! The rules after a webhook matched are those of `injectRequired` in `pkg/kube/inject/inject.go` of istio/istio.

use std::collections::BTreeMap;

use crate::mesh::control_plane::is_dead;
use crate::mesh::revision::AsmRevision;
use crate::mesh::webhook::{Backend, Injector, injector_map_name, injectors};
use crate::model::config_map::InjectorConfig;
use crate::model::meta::StringMap;
use crate::snapshot::Snapshot;

/// Namespaces that istiod never injects into.
pub const IGNORED_NAMESPACES: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"];
/// The label or annotation that opts a pod in or out.
pub const INJECT: &str = "sidecar.istio.io/inject";
/// The label that names a revision or tag.
pub const REV: &str = "istio.io/rev";
/// The label of unrevisioned Istio, which cancels a revision label.
pub const INJECTION: &str = "istio-injection";

/// A pod that would be created.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Labels of the pod.
    pub labels: &'a StringMap,
    /// Annotations of the pod.
    pub annotations: &'a StringMap,
    /// `spec.hostNetwork`.
    pub host_network: bool,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecidedBy {
    /// The webhooks' selectors.
    Webhook,
    /// istiod, after a webhook called it.
    Istiod,
    /// A webhook matches but nobody answers, and Kubernetes then refuses the pod.
    Blocked,
    /// It cannot be told from what was read.
    Unknown,
}

/// Why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The namespace's revision label selects it.
    NamespaceLabel,
    /// The pod's own revision label selects it.
    PodLabel,
    /// Another selector selects it.
    OtherSelector,
    /// Several injectors select it; their configurations.
    SeveralInjectors(Vec<String>),
    /// Neither the namespace nor the pod asks for injection.
    NotAsked,
    /// The namespace carries `istio-injection` beside `istio.io/rev`.
    InjectionLabelCancels,
    /// The pod names a revision, but the namespace carries `istio-injection`, which keeps every revision away.
    InjectionLabelVetoes,
    /// `istio-injection` alone, which no installed injector looks at.
    InjectionLabelInert,
    /// The revision label names neither an installed revision nor a tag.
    UnknownRevision(String),
    /// The pod opts out by label, so no webhook is called.
    LabelOptsOut,
    /// An injector for the label exists but its other selectors leave this pod or namespace out.
    Excluded(String),
    /// The pod uses its node's network.
    HostNetwork,
    /// The namespace is one that istiod ignores.
    IgnoredNamespace,
    /// The annotation or label opts out inside istiod; the text that does.
    OptsOut(String),
    /// The injector's `neverInjectSelector` matches.
    NeverSelector,
    /// The injector's policy is not `enabled`.
    Policy(String),
    /// The webhook's Service has no ready endpoint or does not exist.
    NoBackend(Backend),
    /// As before, but the webhook's failure policy lets the pod through without a sidecar.
    NoBackendIgnored,
    /// The webhook has CEL conditions, which are not evaluated.
    MatchConditions(String),
    /// A selector uses an operator that is not known.
    UnknownOperator(String),
    /// The injector's own configuration could not be read.
    NoInjectorConfig,
    /// How istiod reads the value depends on its version, which is not known.
    UnknownVersion,
    /// The namespace's labels could not be read.
    NoNamespace,
    /// The webhooks could not be read.
    NoWebhooks,
}

/// The answer for one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Injected, not injected, or cannot be told. A blocked pod is `Some(false)`.
    pub injected: Option<bool>,
    /// By which revision.
    pub revision: Option<String>,
    /// Who decides.
    pub decided_by: DecidedBy,
    /// Why.
    pub reason: Reason,
    /// The webhook configuration that selects the pod.
    pub webhook: Option<String>,
}

impl Verdict {
    fn new(injected: Option<bool>, decided_by: DecidedBy, reason: Reason) -> Self {
        Self { injected, revision: None, decided_by, reason, webhook: None }
    }

    fn unknown(reason: Reason) -> Self {
        Self::new(None, DecidedBy::Unknown, reason)
    }

    /// The answer where the webhooks, or what is behind them, could not be read.
    #[must_use]
    pub fn no_rules() -> Self {
        Self::unknown(Reason::NoWebhooks)
    }

    /// Whether Kubernetes refuses the pod.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.decided_by == DecidedBy::Blocked
    }
}

/// Everything that verdicts depend on, indexed once.
pub struct Rules<'a> {
    /// The injectors in calling order, or none when webhooks could not be read.
    pub injectors: Option<Vec<Injector<'a>>>,
    namespaces: BTreeMap<&'a str, &'a StringMap>,
    configs: BTreeMap<(String, String), Option<InjectorConfig>>,
}

impl<'a> Rules<'a> {
    /// Reads the rules from a snapshot.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut configs = BTreeMap::new();
        for section in [&snapshot.system_config_maps, &snapshot.webhook_config_maps] {
            for map in section.items().unwrap_or_default() {
                if map.metadata.name.starts_with("istio-sidecar-injector") {
                    configs.insert(
                        (map.metadata.namespace.clone(), map.metadata.name.clone()),
                        InjectorConfig::parse(map).ok(),
                    );
                }
            }
        }
        Self {
            injectors: snapshot.mutating_webhooks.items().map(|_| injectors(snapshot)),
            namespaces: snapshot
                .namespaces
                .items()
                .unwrap_or_default()
                .iter()
                .map(|namespace| (namespace.metadata.name.as_str(), &namespace.metadata.labels))
                .collect(),
            configs,
        }
    }

    /// The labels of a namespace, where they were read.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<&'a StringMap> {
        self.namespaces.get(name).copied()
    }

    /// The injector's configuration behind a webhook.
    #[must_use]
    pub fn config(&self, injector: &Injector<'_>) -> Option<&InjectorConfig> {
        let service = injector.service.as_ref()?;
        self.configs.get(&(service.namespace.clone(), injector_map_name(&injector.revision)))?.as_ref()
    }

    /// Decides what happens to a pod that is created now.
    #[must_use]
    pub fn verdict(&self, candidate: Candidate<'_>) -> Verdict {
        let Some(injectors) = &self.injectors else { return Verdict::unknown(Reason::NoWebhooks) };
        let Some(namespace) = self.namespace(candidate.namespace) else {
            return Verdict::unknown(Reason::NoNamespace);
        };
        let mut matched: Vec<&Injector<'a>> = Vec::new();
        let mut unsure = None;
        for injector in injectors {
            match selects(injector, namespace, candidate.labels) {
                Selected::Yes => matched.push(injector),
                Selected::No => {}
                Selected::Unsure(reason) => unsure = unsure.or(Some((injector, reason))),
            }
        }
        if let [injector] = matched[..]
            && unsure.is_none()
        {
            return self.after_match(injector, namespace, candidate);
        }
        if let Some((injector, reason)) = unsure {
            return Verdict { webhook: Some(injector.name().to_owned()), ..Verdict::unknown(reason) };
        }
        if matched.is_empty() {
            let reason = no_match(injectors, namespace, candidate.labels);
            return Verdict::new(Some(false), DecidedBy::Webhook, reason);
        }
        self.several(&matched, namespace, candidate)
    }

    /// Several injectors are called one after the other; the pod is refused as soon as one of them cannot answer, and
    /// the last one that injects leaves its mark.
    fn several(&self, matched: &[&Injector<'a>], namespace: &StringMap, candidate: Candidate<'_>) -> Verdict {
        let verdicts: Vec<_> = matched.iter().map(|i| self.after_match(i, namespace, candidate)).collect();
        if let Some(blocked) = verdicts.iter().find(|verdict| verdict.is_blocked()) {
            return blocked.clone();
        }
        let injecting: Vec<_> = verdicts.iter().filter(|verdict| verdict.injected == Some(true)).collect();
        if verdicts.iter().any(|verdict| verdict.injected.is_none()) {
            return Verdict::unknown(Reason::SeveralInjectors(names(matched)));
        }
        match injecting[..] {
            [] => verdicts[0].clone(),
            [only] => only.clone(),
            _ => Verdict {
                injected: Some(true),
                revision: None,
                decided_by: DecidedBy::Webhook,
                reason: Reason::SeveralInjectors(names(matched)),
                webhook: None,
            },
        }
    }

    fn after_match(&self, injector: &Injector<'_>, namespace: &StringMap, candidate: Candidate<'_>) -> Verdict {
        let mut verdict = self.decide(injector, namespace, candidate);
        verdict.webhook = Some(injector.name().to_owned());
        if verdict.injected == Some(true) || verdict.is_blocked() {
            let revision = if injector.revision.is_empty() { "default" } else { &injector.revision };
            verdict.revision = Some(revision.to_owned());
        }
        verdict
    }

    fn decide(&self, injector: &Injector<'_>, namespace: &StringMap, candidate: Candidate<'_>) -> Verdict {
        if is_dead(&injector.backend) {
            // The matched entry's own policy counts, and any matching entry that fails closed is enough.
            let fails = injector.entries().any(|entry| {
                entry.fails_closed()
                    && entry.namespace_selector.matches(namespace) == Some(true)
                    && entry.object_selector.matches(candidate.labels) == Some(true)
            });
            return if fails {
                Verdict::new(Some(false), DecidedBy::Blocked, Reason::NoBackend(injector.backend.clone()))
            } else {
                Verdict::new(Some(false), DecidedBy::Webhook, Reason::NoBackendIgnored)
            };
        }
        if candidate.host_network {
            return Verdict::new(Some(false), DecidedBy::Istiod, Reason::HostNetwork);
        }
        if IGNORED_NAMESPACES.contains(&candidate.namespace) {
            return Verdict::new(Some(false), DecidedBy::Istiod, Reason::IgnoredNamespace);
        }
        let asked = candidate.labels.get(INJECT).or_else(|| candidate.annotations.get(INJECT));
        let Some(asked) = asked_for(asked.map(String::as_str), &injector.revision) else {
            return Verdict::unknown(Reason::UnknownVersion);
        };
        let Some(config) = self.config(injector) else { return Verdict::unknown(Reason::NoInjectorConfig) };
        let selected = Verdict::new(Some(true), DecidedBy::Webhook, selected_by(injector, namespace, candidate));
        if config.policy != "enabled" && config.policy != "disabled" {
            return Verdict::new(Some(false), DecidedBy::Istiod, Reason::Policy(config.policy.clone()));
        }
        match asked {
            Asked::Yes => return selected,
            Asked::No(text) => return Verdict::new(Some(false), DecidedBy::Istiod, Reason::OptsOut(text)),
            Asked::Default => {}
        }
        // An empty selector in these lists matches nothing, unlike everywhere else in Kubernetes.
        let hits = |list: &[crate::model::LabelSelector]| {
            list.iter().any(|selector| !selector.is_empty() && selector.matches(candidate.labels) == Some(true))
        };
        if hits(&config.never) {
            return Verdict::new(Some(false), DecidedBy::Istiod, Reason::NeverSelector);
        }
        if config.policy == "enabled" || hits(&config.always) {
            return selected;
        }
        Verdict::new(Some(false), DecidedBy::Istiod, Reason::Policy(config.policy.clone()))
    }
}

enum Asked {
    Yes,
    No(String),
    Default,
}

/// How istiod reads `sidecar.istio.io/inject`. Up to 1.26 every YAML truth counts as yes and every other text as no;
/// from 1.27 on only the exact words count and anything else is as if it were absent (istio/istio pull request 56737).
/// None: the text is one of those that differ and the version is not known.
fn asked_for(value: Option<&str>, revision: &str) -> Option<Asked> {
    let text = match value {
        None | Some("") => return Some(Asked::Default),
        Some("true") => return Some(Asked::Yes),
        Some("false") => return Some(Asked::No("false".to_owned())),
        Some(other) => other,
    };
    let AsmRevision { major, minor } = AsmRevision::parse(revision)?;
    if (major, minor) >= (1, 27) {
        return Some(Asked::Default);
    }
    Some(match text.to_ascii_lowercase().as_str() {
        "y" | "yes" | "true" | "on" => Asked::Yes,
        _ => Asked::No(text.to_owned()),
    })
}

/// Whether an injector is called for a pod with these labels, for certain: conditions that are not evaluated and
/// operators that are not known do not count.
#[must_use]
pub fn is_called(injector: &Injector<'_>, namespace: &StringMap, labels: &StringMap) -> bool {
    matches!(selects(injector, namespace, labels), Selected::Yes)
}

enum Selected {
    Yes,
    No,
    Unsure(Reason),
}

fn selects(injector: &Injector<'_>, namespace: &StringMap, labels: &StringMap) -> Selected {
    let mut unsure = None;
    for entry in injector.entries() {
        match (entry.namespace_selector.matches(namespace), entry.object_selector.matches(labels)) {
            (Some(false), _) | (_, Some(false)) => {}
            (Some(true), Some(true)) if entry.match_conditions.is_empty() => return Selected::Yes,
            (Some(true), Some(true)) => unsure = Some(Reason::MatchConditions(injector.name().to_owned())),
            _ => unsure = Some(Reason::UnknownOperator(injector.name().to_owned())),
        }
    }
    unsure.map_or(Selected::No, Selected::Unsure)
}

fn names(matched: &[&Injector<'_>]) -> Vec<String> {
    matched.iter().map(|injector| injector.name().to_owned()).collect()
}

/// Whose label made a webhook match: the injector's own name for the label is its revision or its tag.
fn selected_by(injector: &Injector<'_>, namespace: &StringMap, candidate: Candidate<'_>) -> Reason {
    let name = injector.tag.as_deref().unwrap_or(&injector.revision);
    if namespace.get(REV).is_some_and(|value| value == name) {
        Reason::NamespaceLabel
    } else if candidate.labels.get(REV).is_some_and(|value| value == name) {
        Reason::PodLabel
    } else {
        Reason::OtherSelector
    }
}

/// Why no injector selects a pod, from its labels.
fn no_match(injectors: &[Injector<'_>], namespace: &StringMap, labels: &StringMap) -> Reason {
    let known = |value: &str| {
        injectors.iter().any(|i| i.tag.as_deref() == Some(value) || (i.tag.is_none() && i.revision == value))
    };
    if namespace.contains_key(INJECTION) {
        return match namespace.get(REV) {
            Some(_) => Reason::InjectionLabelCancels,
            None if labels.contains_key(REV) => Reason::InjectionLabelVetoes,
            None if namespace.get(INJECTION).is_some_and(|value| value == "enabled") => Reason::InjectionLabelInert,
            None => Reason::NotAsked,
        };
    }
    let Some(asked) = namespace.get(REV).or_else(|| labels.get(REV)) else { return Reason::NotAsked };
    if labels.get(INJECT).is_some_and(|value| value == "false") {
        return Reason::LabelOptsOut;
    }
    if known(asked) { Reason::Excluded(asked.clone()) } else { Reason::UnknownRevision(asked.clone()) }
}
