//! The control planes of a cluster: istiod by revision, tags, and which of them belong to the add-on.

use std::collections::BTreeMap;

use crate::mesh::revision::{self, AsmRevision, IstioVersion};
use crate::mesh::webhook::{Backend, Injector};
use crate::model::{Controller, Pod};
use crate::snapshot::Snapshot;
use crate::sources::SYSTEM_NAMESPACE;

/// One revision of the add-on.
#[derive(Clone, Debug)]
pub struct Revision<'a> {
    /// `asm-1-28`.
    pub name: String,
    /// Its Deployment `istiod-REVISION`.
    pub deployment: Option<&'a Controller>,
    /// Its istiod pods that have not ended, in any state.
    pub istiods: Vec<&'a Pod>,
}

impl<'a> Revision<'a> {
    /// How many istiod pods are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.istiods.iter().filter(|pod| pod.is_ready()).count()
    }

    /// How many istiod pods there should be.
    #[must_use]
    pub fn total(&self) -> usize {
        let desired = self.deployment.and_then(|deployment| deployment.desired).unwrap_or_default() as usize;
        desired.max(self.istiods.len())
    }

    /// The newest version among its istiod pods, else that of the Deployment's template.
    #[must_use]
    pub fn version(&self) -> Option<IstioVersion> {
        let running = self.istiods.iter().filter_map(|pod| image_version(&pod.spec.containers)).max();
        running.or_else(|| self.deployment.and_then(|deployment| image_version(&deployment.template.spec.containers)))
    }

    /// The oldest creation time of its Deployment.
    #[must_use]
    pub fn since(&self) -> Option<jiff::Timestamp> {
        self.deployment.and_then(|deployment| deployment.metadata.creation_timestamp)
    }
}

fn image_version(containers: &[crate::model::Container]) -> Option<IstioVersion> {
    containers.iter().find(|c| c.name == "discovery").and_then(|c| IstioVersion::of_image(&c.image))
}

/// An istiod that is not the add-on's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ForeignIstiod {
    /// Namespace.
    pub namespace: String,
    /// Revision, `default` when it has none.
    pub revision: String,
    /// Its pods.
    pub pods: Vec<String>,
}

/// Groups the add-on's istiods by revision, lowest first. Needs the pods and Deployments of the add-on's namespace.
#[must_use]
pub fn revisions(snapshot: &Snapshot) -> Vec<Revision<'_>> {
    let mut found: BTreeMap<String, Revision<'_>> = BTreeMap::new();
    let entry = |name: &str| Revision { name: name.to_owned(), deployment: None, istiods: Vec::new() };
    for deployment in snapshot.system_deployments.items().unwrap_or_default() {
        if let Some(name) = deployment.metadata.name.strip_prefix("istiod-")
            && AsmRevision::parse(name).is_some()
        {
            found.entry(name.to_owned()).or_insert_with(|| entry(name)).deployment = Some(deployment);
        }
    }
    for pod in snapshot.system_pods.items().unwrap_or_default() {
        if pod.metadata.label("app") == Some("istiod")
            && let Some(name) = pod.metadata.label("istio.io/rev")
            && AsmRevision::parse(name).is_some()
            && !pod.is_over()
        {
            found.entry(name.to_owned()).or_insert_with(|| entry(name)).istiods.push(pod);
        }
    }
    let mut revisions: Vec<_> = found.into_values().collect();
    revisions.sort_by(|a, b| revision::compare(&a.name, &b.name));
    revisions
}

/// App Routing's istiod: unrevisioned, in the add-on's own namespace
/// (<https://learn.microsoft.com/azure/aks/app-routing-gateway-api>).
#[must_use]
pub fn app_routing(snapshot: &Snapshot) -> Option<&Controller> {
    snapshot.system_deployments.items()?.iter().find(|deployment| deployment.metadata.name == "istiod")
}

/// Istiods outside the add-on's namespace.
#[must_use]
pub fn foreign(snapshot: &Snapshot) -> Vec<ForeignIstiod> {
    let mut found: BTreeMap<(String, String), Vec<String>> = BTreeMap::new();
    for pod in snapshot.istiods.items().unwrap_or_default() {
        if pod.metadata.namespace != SYSTEM_NAMESPACE && !pod.is_over() {
            let revision = pod.metadata.label("istio.io/rev").unwrap_or("default").to_owned();
            found.entry((pod.metadata.namespace.clone(), revision)).or_default().push(pod.metadata.name.clone());
        }
    }
    found.into_iter().map(|((namespace, revision), pods)| ForeignIstiod { namespace, revision, pods }).collect()
}

/// A tag: another name for a revision, made with `istioctl tag set`.
#[derive(Clone, Debug)]
pub struct Tag<'i, 'a> {
    /// Its name.
    pub name: String,
    /// The revision it stands for.
    pub revision: String,
    /// The webhook that makes it work.
    pub injector: &'i Injector<'a>,
}

/// Tags that inject: only a mutating webhook does, a Service `istiod-revision-tag-*` alone does not.
#[must_use]
pub fn tags<'i, 'a>(injectors: &'i [Injector<'a>]) -> Vec<Tag<'i, 'a>> {
    injectors
        .iter()
        .filter_map(|injector| {
            let name = injector.tag.clone()?;
            Some(Tag { name, revision: injector.revision.clone(), injector })
        })
        .collect()
}

/// The revision to recommend: the lowest installed one with a ready istiod (during an upgrade that is the one that
/// stays whatever is decided until the upgrade is completed), else the lowest installed one.
#[must_use]
pub fn recommended<'r>(revisions: &'r [Revision<'_>]) -> Option<&'r str> {
    revisions.iter().find(|r| r.ready() > 0).or_else(|| revisions.first()).map(|r| r.name.as_str())
}

/// An object of the add-on that is not as it should be; its events tell why.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Suspect {
    /// Namespace.
    pub namespace: String,
    /// Kind.
    pub kind: &'static str,
    /// Name.
    pub name: String,
}

/// Most objects whose events are read: the reason is the same for all pods of a revision.
const SUSPECTS: usize = 12;

/// Pods of the add-on that are not ready, and its load balancers without an address.
#[must_use]
pub fn suspects(snapshot: &Snapshot) -> Vec<Suspect> {
    let pods = snapshot.system_pods.items().unwrap_or_default().iter().filter(|pod| !pod.is_over() && !pod.is_ready());
    let pods = pods.map(|pod| (&pod.metadata, "Pod"));
    let services = snapshot.gateway_services.items().unwrap_or_default().iter();
    let services = services
        .filter(|service| service.spec.kind == "LoadBalancer" && service.status.load_balancer.ingress.is_empty())
        .map(|service| (&service.metadata, "Service"));
    services
        .chain(pods)
        .take(SUSPECTS)
        .map(|(meta, kind)| Suspect { namespace: meta.namespace.clone(), kind, name: meta.name.clone() })
        .collect()
}

/// Whether a webhook's backend is known to be dead.
#[must_use]
pub fn is_dead(backend: &Backend) -> bool {
    matches!(backend, Backend::NoEndpoints | Backend::NoService)
}
