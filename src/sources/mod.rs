//! What can be read: per source the requests that fetch it, how an object is decoded and where it goes in the snapshot.
//!
//! The same decoder fills the snapshot from a live answer and from a bundle.

// Its macros are seen by what comes after it.
#[macro_use]
mod define;

mod apis;
mod catalog;
pub mod collect;
mod component;
pub mod metrics;
pub mod proxy_answers;
pub mod rights;
pub mod xds;

pub use catalog::{SOURCES, source};
pub use collect::{Collector, new_collector};

use std::collections::BTreeSet;

use crate::cluster::{Api, GetRequest, IstiodRequest, ListRequest};
use crate::snapshot::{Scope, Snapshot, SourceId, State};

/// The add-on's control-plane namespace, which is also Istio's root namespace there
/// (<https://learn.microsoft.com/azure/aks/istio-deploy-addon>).
pub const SYSTEM_NAMESPACE: &str = "aks-istio-system";
/// The namespace of the add-on's ingress gateways (<https://learn.microsoft.com/azure/aks/istio-deploy-ingress>).
pub const INGRESS_NAMESPACE: &str = "aks-istio-ingress";

/// One read.
#[derive(Clone, Debug)]
pub enum Request {
    /// A list.
    List(ListRequest),
    /// One object by name; absent is not a fault.
    Get(GetRequest),
    /// A path that is not a resource, such as `/version`.
    Raw(&'static str),
    /// Questions to an istiod pod.
    Istiod(IstiodRequest),
    /// The question what an istiod pod counts.
    Metrics(IstiodRequest),
}

/// A list over the examined namespaces: the whole cluster, or one list per namespace.
pub struct ScopedList {
    /// What to list.
    pub api: Api,
    /// Label selector.
    pub labels: Option<&'static str>,
    /// Field selector.
    pub fields: Option<&'static str>,
    /// Whether metadata is enough.
    pub metadata_only: bool,
    /// What is read besides, whatever the scope.
    pub also: Option<fn() -> Request>,
    /// Whether one namespace is an answer when the whole cluster is refused.
    pub falls_back: bool,
}

/// A right that a source needs whose requests follow from what other sources gave.
pub struct FollowRight {
    /// `get` or `list`.
    pub verb: &'static str,
    /// What to read.
    pub api: Api,
    /// Where.
    pub place: Place,
}

/// Where requests go that follow from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The add-on's own namespaces.
    Addon,
    /// The examined namespaces.
    Scope,
    /// Namespaces that webhooks of another Istio point to.
    Webhooks,
    /// The namespace of the add-on's istiods.
    System,
}

/// How a source is reached.
pub enum Reach {
    /// Always the same requests.
    Fixed(fn() -> Vec<Request>),
    /// See [`ScopedList`].
    Scoped(ScopedList),
    /// A cluster-wide list, or something narrower where namespaces are named or the list is refused.
    OrElse(fn() -> Request, fn(&Scope) -> Vec<Request>),
    /// Not read with the others: a command that is asked for it puts it into the snapshot. The words say which, and
    /// stand where a check cannot be done without it.
    ByCommand(&'static str),
    /// Requests that follow from what other sources gave.
    Follows(&'static [SourceId], fn(&Snapshot) -> Vec<Request>, &'static [FollowRight]),
}

/// Sources, and those that they follow from.
#[must_use]
pub fn with_followed(sources: &BTreeSet<SourceId>) -> BTreeSet<SourceId> {
    let mut all = sources.clone();
    loop {
        let of = |source: &Source| match source.reach {
            Reach::Follows(after, ..) if all.contains(&source.id) => after,
            _ => &[],
        };
        let followed: Vec<SourceId> = SOURCES.iter().flat_map(of).copied().collect();
        let before = all.len();
        all.extend(followed);
        if all.len() == before {
            return all;
        }
    }
}

impl ScopedList {
    fn requests<'n>(&self, namespaces: impl IntoIterator<Item = Option<&'n str>>) -> Vec<Request> {
        let list = |namespace: Option<&str>| {
            Request::List(ListRequest {
                api: self.api,
                namespace: namespace.map(str::to_owned),
                labels: self.labels.map(str::to_owned),
                fields: self.fields.map(str::to_owned),
                metadata_only: self.metadata_only,
            })
        };
        self.also.iter().map(|also| also()).chain(namespaces.into_iter().map(list)).collect()
    }
}

/// One source.
pub struct Source {
    /// Its name.
    pub id: SourceId,
    /// The right it needs, for people: plural resource with its group.
    pub resource: &'static str,
    /// How it is reached.
    pub reach: Reach,
    /// Makes a collector for it.
    pub collector: fn() -> Box<dyn Collector>,
    /// Reads its state back from a snapshot.
    pub state: fn(&Snapshot) -> State<'_>,
    /// See [`crate::snapshot::Section::narrow_is_fault`].
    pub narrow_is_fault: fn(&mut Snapshot),
}

impl Source {
    /// What to ask for a scope. Sources that follow from others look at what those gave.
    #[must_use]
    pub fn requests(&self, scope: &Scope, snapshot: &Snapshot) -> Vec<Request> {
        match (&self.reach, &scope.namespaces) {
            (Reach::Fixed(requests), _) => requests(),
            (Reach::ByCommand(_), _) => Vec::new(),
            (Reach::Follows(_, requests, _), _) => requests(snapshot),
            (Reach::OrElse(first, _), None) => vec![first()],
            (Reach::OrElse(_, instead), Some(_)) => instead(scope),
            (Reach::Scoped(scoped), None) => scoped.requests([None]),
            (Reach::Scoped(scoped), Some(names)) => scoped.requests(names.iter().map(|name| Some(name.as_str()))),
        }
    }

    /// Whether a narrower scope is an answer when this one is refused.
    #[must_use]
    pub fn falls_back(&self) -> bool {
        match &self.reach {
            Reach::Scoped(scoped) => scoped.falls_back,
            Reach::OrElse(..) => true,
            Reach::Fixed(_) | Reach::ByCommand(_) | Reach::Follows(..) => false,
        }
    }

    /// Whether it is read only by a command that is asked for it.
    #[must_use]
    pub fn is_by_command(&self) -> bool {
        matches!(self.reach, Reach::ByCommand(_))
    }

    /// Where its objects lie in a bundle.
    #[must_use]
    pub fn file(&self) -> String {
        format!("sources/{}.jsonl", self.id.name())
    }
}
