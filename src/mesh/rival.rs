//! What is in a cluster beside the add-on and does the same work: other Istios, Open Service Mesh, App Routing's gateways,
//! Azure Kubernetes Application Network. Whose each is, and which workloads depend on it.

use std::collections::BTreeMap;

use crate::mesh::control_plane::{app_routing, foreign, is_dead};
use crate::mesh::injection::Rules;
use crate::mesh::revision::AsmRevision;
use crate::mesh::webhook::Injector;
use crate::mesh::workload::Workload;
use crate::model::{Meta, Webhook, WebhookConfiguration};
use crate::snapshot::{Section, Snapshot};
use crate::sources::SYSTEM_NAMESPACE;

/// The namespace of Azure Kubernetes Application Network
/// (<https://learn.microsoft.com/azure/aks/istio-about#limitations>).
pub const APP_NETWORK: &str = "applink-system";
/// The entry of Open Service Mesh's injecting webhook.
pub const OSM_INJECTOR: &str = "osm-inject.k8s.io";
/// The entry of Open Service Mesh's validating webhook.
const OSM_VALIDATOR: &str = "osm-validator.k8s.io";
/// The control plane of Open Service Mesh.
pub const OSM_DEPLOYMENTS: [&str; 3] = ["osm-bootstrap", "osm-controller", "osm-injector"];
/// Entries of Istio's validating webhooks end like this.
const VALIDATOR_SUFFIX: &str = "validation.istio.io";

/// What a rival is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An Istio that somebody installed with istioctl or Helm.
    SelfManaged,
    /// The Open Service Mesh add-on, or one installed by hand.
    OpenServiceMesh,
    /// App Routing's Gateway API implementation.
    AppRouting,
    /// Azure Kubernetes Application Network.
    AppNetwork,
}

impl Kind {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::SelfManaged => "selfManagedIstio",
            Self::OpenServiceMesh => "openServiceMesh",
            Self::AppRouting => "appRouting",
            Self::AppNetwork => "appNetwork",
        }
    }
}

/// Who installed something, by the marks that installers leave on what they make.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A Helm release: its name and namespace.
    Helm(String, String),
    /// istioctl or Istio's operator.
    Istioctl,
    /// A tool that writes it again when it is deleted: what to change instead.
    Controller(String),
}

impl Owner {
    /// The owner that an object names.
    #[must_use]
    pub fn of(meta: &Meta) -> Option<Self> {
        let label = |key: &str| meta.label(key).filter(|value| !value.is_empty());
        if let Some(name) = label("argocd.argoproj.io/instance") {
            return Some(Self::Controller(format!("Argo CD application {name}")));
        }
        if let Some(name) = label("helm.toolkit.fluxcd.io/name") {
            return Some(Self::Controller(format!("Flux HelmRelease {name}")));
        }
        if let Some(name) = label("kustomize.toolkit.fluxcd.io/name") {
            return Some(Self::Controller(format!("Flux Kustomization {name}")));
        }
        let operator = |owner: &&crate::model::OwnerRef| owner.api_version.starts_with("sailoperator.io/");
        if let Some(owner) = meta.owner_references.iter().find(operator) {
            return Some(Self::Controller(format!("{} {} of the Sail operator", owner.kind, owner.name)));
        }
        if let Some(release) = meta.annotation("meta.helm.sh/release-name") {
            let namespace = meta.annotation("meta.helm.sh/release-namespace").unwrap_or(&meta.namespace);
            return Some(Self::Helm(release.to_owned(), namespace.to_owned()));
        }
        let marks =
            ["install.operator.istio.io/owning-resource", "operator.istio.io/managed", "operator.istio.io/version"];
        marks.iter().any(|mark| meta.labels.contains_key(mark)).then_some(Self::Istioctl)
    }

    /// In words.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Helm(release, namespace) => format!("Helm release {release} in {namespace}"),
            Self::Istioctl => "istioctl".to_owned(),
            Self::Controller(what) => what.clone(),
        }
    }
}

/// Something beside the add-on.
#[derive(Clone, Debug)]
pub struct Rival<'a> {
    /// What.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Who installed it, where its objects tell.
    pub owner: Option<Owner>,
    /// Its control plane's pods or Deployments, `kind/name`.
    pub control_plane: Vec<String>,
    /// Revisions of its istiods and injectors; `default` for one without.
    pub revisions: Vec<String>,
    /// Configurations of its injecting webhooks.
    pub injectors: Vec<&'a WebhookConfiguration>,
    /// Configurations of its validating webhooks.
    pub validators: Vec<&'a WebhookConfiguration>,
    /// Whether its control plane is there. What is left without one is left over.
    pub is_alive: bool,
    /// Whether an injecting webhook of its own calls nobody.
    pub injects_dead: bool,
}

/// The workloads that depend on a rival.
#[derive(Clone, Debug, Default)]
pub struct Dependents<'w, 'a> {
    /// Their pods have its proxy now.
    pub now: Vec<&'w Workload<'a>>,
    /// Their next pods get it.
    pub next: Vec<&'w Workload<'a>>,
    /// Their next pods are refused on its account.
    pub refused: Vec<&'w Workload<'a>>,
}

impl<'a> Rival<'a> {
    fn new(kind: Kind, namespace: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            owner: None,
            control_plane: Vec::new(),
            revisions: Vec::new(),
            injectors: Vec::new(),
            validators: Vec::new(),
            is_alive: false,
            injects_dead: false,
        }
    }

    /// The workloads that depend on it.
    #[must_use]
    pub fn dependents<'w>(&self, workloads: &'w [Workload<'a>]) -> Dependents<'w, 'a> {
        let mut found = Dependents::default();
        for workload in workloads {
            if self.kind == Kind::SelfManaged && workload.revisions().iter().any(|name| self.has(name)) {
                found.now.push(workload);
            }
            let selects = |name: &String| self.injectors.iter().any(|injector| injector.metadata.name == *name);
            if workload.next.webhook.as_ref().is_some_and(selects) {
                match (workload.next.is_blocked(), workload.next.injected) {
                    (true, _) => found.refused.push(workload),
                    (false, Some(true)) => found.next.push(workload),
                    _ => {}
                }
            }
        }
        found
    }

    fn has(&self, revision: &str) -> bool {
        AsmRevision::parse(revision).is_none() && self.revisions.iter().any(|own| own == revision)
    }
}

/// Whether an entry is one of Istio's validating webhooks.
#[must_use]
pub fn is_validator_entry(entry: &Webhook) -> bool {
    entry.name == VALIDATOR_SUFFIX || entry.name.ends_with(&format!(".{VALIDATOR_SUFFIX}"))
}

/// Istio's validating webhooks that call a namespace other than the add-on's, with that namespace.
#[must_use]
pub fn foreign_validators(snapshot: &Snapshot) -> Vec<(&WebhookConfiguration, &str)> {
    let all = snapshot.validating_webhooks.items().unwrap_or_default().iter();
    all.filter_map(|configuration| {
        let entry = configuration.webhooks.iter().find(|entry| is_validator_entry(entry))?;
        let service = entry.client_config.service.as_ref()?;
        (service.namespace != SYSTEM_NAMESPACE && !service.namespace.is_empty())
            .then_some((configuration, service.namespace.as_str()))
    })
    .collect()
}

/// Everything beside the add-on that was found, self-managed Istios first.
#[must_use]
pub fn rivals<'a>(snapshot: &'a Snapshot, rules: &Rules<'a>) -> Vec<Rival<'a>> {
    let mut found = istios(snapshot, rules.injectors.as_deref().unwrap_or_default());
    found.extend(open_service_mesh(snapshot));
    if let Some(istiod) = app_routing(snapshot) {
        found.push(Rival {
            control_plane: vec![format!("deployment/{}", istiod.metadata.name)],
            owner: Owner::of(&istiod.metadata),
            is_alive: true,
            ..Rival::new(Kind::AppRouting, SYSTEM_NAMESPACE)
        });
    }
    let namespaces = snapshot.namespaces.items().unwrap_or_default();
    if namespaces.iter().any(|namespace| namespace.metadata.name == APP_NETWORK) {
        found.push(Rival { is_alive: true, ..Rival::new(Kind::AppNetwork, APP_NETWORK) });
    }
    found
}

/// Self-managed Istios by namespace: where their istiods are, or where their webhooks call.
pub fn istios<'a>(snapshot: &'a Snapshot, injectors: &[Injector<'a>]) -> Vec<Rival<'a>> {
    let mut found: BTreeMap<String, Rival<'a>> = BTreeMap::new();
    fn entry<'m, 'a>(found: &'m mut BTreeMap<String, Rival<'a>>, namespace: &str) -> &'m mut Rival<'a> {
        found.entry(namespace.to_owned()).or_insert_with(|| Rival::new(Kind::SelfManaged, namespace))
    }
    for istiod in foreign(snapshot) {
        let rival = entry(&mut found, &istiod.namespace);
        rival.is_alive = true;
        rival.revisions.push(istiod.revision);
        rival.control_plane.extend(istiod.pods.into_iter().map(|pod| format!("pod/{pod}")));
    }
    for injector in injectors.iter().filter(|injector| !injector.is_of_addon()) {
        let Some(service) = &injector.service else { continue };
        let rival = entry(&mut found, &service.namespace);
        rival.revisions.push(if injector.revision.is_empty() { "default".into() } else { injector.revision.clone() });
        rival.injectors.push(injector.configuration);
        rival.injects_dead |= is_dead(&injector.backend) && injector.fails_closed();
    }
    for (configuration, namespace) in foreign_validators(snapshot) {
        entry(&mut found, namespace).validators.push(configuration);
    }
    let deployments = snapshot.deployments.items().unwrap_or_default();
    for rival in found.values_mut() {
        rival.revisions.sort();
        rival.revisions.dedup();
        let of_istiod = deployments
            .iter()
            .map(|deployment| &deployment.metadata)
            .filter(|meta| meta.namespace == rival.namespace && meta.label("app") == Some("istiod"));
        let of_webhooks = rival.injectors.iter().chain(&rival.validators).map(|configuration| &configuration.metadata);
        rival.owner = of_istiod.chain(of_webhooks).find_map(Owner::of);
    }
    found.into_values().collect()
}

/// Open Service Mesh: its control plane, or webhooks that are left of it.
#[must_use]
pub fn open_service_mesh(snapshot: &Snapshot) -> Option<Rival<'_>> {
    fn having<'a>(section: &'a Section<WebhookConfiguration>, entry: &str) -> Vec<&'a WebhookConfiguration> {
        let all = section.items().unwrap_or_default().iter();
        all.filter(|configuration| configuration.webhooks.iter().any(|webhook| webhook.name == entry)).collect()
    }
    let injectors = having(&snapshot.mutating_webhooks, OSM_INJECTOR);
    let validators = having(&snapshot.validating_webhooks, OSM_VALIDATOR);
    let deployments: Vec<_> = snapshot
        .deployments
        .items()
        .unwrap_or_default()
        .iter()
        .map(|deployment| &deployment.metadata)
        .filter(|meta| OSM_DEPLOYMENTS.contains(&meta.name.as_str()))
        .collect();
    let called = injectors.iter().chain(&validators).flat_map(|configuration| &configuration.webhooks);
    let called = called.filter_map(|entry| entry.client_config.service.as_ref()).map(|s| s.namespace.as_str());
    let namespace = deployments.iter().map(|meta| meta.namespace.as_str()).chain(called).next()?.to_owned();
    let owner = deployments.iter().copied().chain(injectors.iter().map(|c| &c.metadata)).find_map(Owner::of);
    let injects_dead = deployments.is_empty() && !injectors.is_empty();
    Some(Rival {
        control_plane: deployments.iter().map(|meta| format!("deployment/{}", meta.name)).collect(),
        is_alive: !deployments.is_empty(),
        owner,
        injectors,
        validators,
        injects_dead,
        ..Rival::new(Kind::OpenServiceMesh, namespace)
    })
}
