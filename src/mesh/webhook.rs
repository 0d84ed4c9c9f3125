//! Injecting webhooks: who they belong to, whom they call, and whether that answers.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::webhook::ServiceRef;
use crate::model::{Webhook, WebhookConfiguration};
use crate::snapshot::{Section, Snapshot};
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// Entry names of Istio's injector end like this in every version and revision.
pub const INJECTOR_SUFFIX: &str = ".sidecar-injector.istio.io";

/// Whether somebody answers behind a webhook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// That many ready endpoints.
    Ready(usize),
    /// The Service exists but nobody is ready behind it.
    NoEndpoints,
    /// The Service does not exist.
    NoService,
    /// A URL outside the cluster, or objects that could not be read.
    Unknown,
}

/// A MutatingWebhookConfiguration of Istio's injector, with what is behind it.
#[derive(Clone, Debug)]
pub struct Injector<'a> {
    /// The configuration.
    pub configuration: &'a WebhookConfiguration,
    /// The revision it injects (`istio.io/rev`), empty for an unrevisioned installation.
    pub revision: String,
    /// The tag it stands for (`istio.io/tag`).
    pub tag: Option<String>,
    /// The Service it calls.
    pub service: Option<ServiceRef>,
    /// Whether that answers.
    pub backend: Backend,
}

impl<'a> Injector<'a> {
    /// The name of the configuration.
    #[must_use]
    pub fn name(&self) -> &'a str {
        &self.configuration.metadata.name
    }

    /// Entries that see pods being created.
    pub fn entries(&self) -> impl Iterator<Item = &'a Webhook> {
        self.configuration.webhooks.iter().filter(|entry| is_injector_entry(entry))
    }

    /// Whether an entry takes in, or may take in, the namespace with these labels.
    #[must_use]
    pub fn takes(&self, namespace: &crate::model::meta::StringMap) -> bool {
        self.entries().any(|entry| entry.namespace_selector.matches(namespace) != Some(false))
    }

    /// Whether it calls the add-on's namespace.
    #[must_use]
    pub fn is_of_addon(&self) -> bool {
        self.service.as_ref().is_some_and(|service| service.namespace == SYSTEM_NAMESPACE)
    }

    /// Whether an unanswered call refuses the pod.
    #[must_use]
    pub fn fails_closed(&self) -> bool {
        self.entries().any(Webhook::fails_closed)
    }
}

/// Whether an entry is one of Istio's injector and is called for new pods.
#[must_use]
pub fn is_injector_entry(entry: &Webhook) -> bool {
    entry.name.ends_with(INJECTOR_SUFFIX) && entry.sees_pod_creation()
}

fn configurations(snapshot: &Snapshot) -> impl Iterator<Item = &WebhookConfiguration> {
    snapshot
        .mutating_webhooks
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|configuration| configuration.webhooks.iter().any(|entry| entry.name.ends_with(INJECTOR_SUFFIX)))
}

fn service_of(configuration: &WebhookConfiguration) -> Option<ServiceRef> {
    configuration.webhooks.iter().find_map(|entry| entry.client_config.service.clone())
}

/// The Services outside the add-on's namespace that injectors call.
#[must_use]
pub fn foreign_services(snapshot: &Snapshot) -> BTreeSet<ServiceRef> {
    configurations(snapshot)
        .filter_map(service_of)
        .filter(|service| service.namespace != SYSTEM_NAMESPACE && !service.name.is_empty())
        .collect()
}

/// The add-on's namespaces whose pods other products' webhooks may refuse.
pub const GUARDED: [&str; 2] = [SYSTEM_NAMESPACE, INGRESS_NAMESPACE];

/// Entries of other products that refuse the pods of the add-on's namespaces when nobody answers: their configuration, the
/// entry, and those namespaces.
#[must_use]
pub fn gatekeepers(snapshot: &Snapshot) -> Vec<(&WebhookConfiguration, &Webhook, Vec<&str>)> {
    let namespaces = snapshot.namespaces.items().unwrap_or_default();
    let guarded: Vec<_> = namespaces.iter().filter(|ns| GUARDED.contains(&ns.metadata.name.as_str())).collect();
    let sections = [&snapshot.mutating_webhooks, &snapshot.validating_webhooks];
    let all = sections.into_iter().flat_map(|section| section.items().unwrap_or_default());
    all.flat_map(|configuration| configuration.webhooks.iter().map(move |entry| (configuration, entry)))
        .filter(|(_, entry)| {
            // Conditions and labels of pods decide too: only what cannot but take every pod in counts.
            entry.fails_closed()
                && entry.sees_pod_creation()
                && !entry.name.ends_with(".istio.io")
                && entry.match_conditions.is_empty()
                && entry.object_selector.is_empty()
        })
        .filter_map(|(configuration, entry)| {
            let takes =
                |ns: &&&crate::model::Namespace| entry.namespace_selector.matches(&ns.metadata.labels) == Some(true);
            let taken: Vec<&str> = guarded.iter().filter(takes).map(|ns| ns.metadata.name.as_str()).collect();
            (!taken.is_empty()).then_some((configuration, entry, taken))
        })
        .collect()
}

/// The Services that such entries call.
#[must_use]
pub fn gatekeepers_services(snapshot: &Snapshot) -> BTreeSet<ServiceRef> {
    let called = gatekeepers(snapshot).into_iter().filter_map(|(_, entry, _)| entry.client_config.service.clone());
    called.filter(|service| !service.name.is_empty() && !service.namespace.is_empty()).collect()
}

/// Namespace and name of the injector ConfigMaps that installations outside the add-on's namespace read.
#[must_use]
pub fn foreign_injector_maps(snapshot: &Snapshot) -> BTreeSet<(String, String)> {
    configurations(snapshot)
        .filter_map(|configuration| {
            let service = service_of(configuration)?;
            (service.namespace != SYSTEM_NAMESPACE).then(|| {
                (service.namespace, injector_map_name(configuration.metadata.label("istio.io/rev").unwrap_or_default()))
            })
        })
        .collect()
}

/// The name of a revision's injector ConfigMap; an unrevisioned installation has no suffix.
#[must_use]
pub fn injector_map_name(revision: &str) -> String {
    match revision {
        "" | "default" => "istio-sidecar-injector".to_owned(),
        revision => format!("istio-sidecar-injector-{revision}"),
    }
}

/// All injectors, in the order in which the API server calls them: by name of the configuration.
#[must_use]
pub fn injectors(snapshot: &Snapshot) -> Vec<Injector<'_>> {
    let ready = ready_by_service(snapshot);
    let mut found: Vec<_> = configurations(snapshot)
        .map(|configuration| {
            let service = service_of(configuration);
            let backend = service.as_ref().map_or(Backend::Unknown, |service| backend(snapshot, &ready, service));
            Injector {
                revision: configuration.metadata.label("istio.io/rev").unwrap_or_default().to_owned(),
                tag: configuration.metadata.label("istio.io/tag").map(str::to_owned),
                configuration,
                service,
                backend,
            }
        })
        .collect();
    found.sort_by(|a, b| a.name().cmp(b.name()));
    found
}

fn ready_by_service(snapshot: &Snapshot) -> BTreeMap<(&str, &str), usize> {
    let mut ready = BTreeMap::new();
    for section in [&snapshot.system_endpoints, &snapshot.webhook_endpoints] {
        for slice in section.items().unwrap_or_default() {
            if let Some(service) = slice.service() {
                *ready.entry((slice.metadata.namespace.as_str(), service)).or_default() += slice.ready();
            }
        }
    }
    ready
}

/// Whether a Service exists and answers, as far as that was read.
fn backend(snapshot: &Snapshot, ready: &BTreeMap<(&str, &str), usize>, service: &ServiceRef) -> Backend {
    let system = service.namespace == SYSTEM_NAMESPACE;
    let (services, endpoints) = if system {
        (&snapshot.system_services, snapshot.system_endpoints.state())
    } else {
        (&snapshot.webhook_services, snapshot.webhook_endpoints.state())
    };
    let Section::Collected(services) = services else { return Backend::Unknown };
    let exists =
        services.items.iter().any(|s| s.metadata.namespace == service.namespace && s.metadata.name == service.name);
    if !exists {
        return if services.is_complete() { Backend::NoService } else { Backend::Unknown };
    }
    match ready.get(&(service.namespace.as_str(), service.name.as_str())) {
        Some(ready) if *ready > 0 => Backend::Ready(*ready),
        _ if endpoints.is_complete() => Backend::NoEndpoints,
        _ => Backend::Unknown,
    }
}
