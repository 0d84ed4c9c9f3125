//! What can be read: per source the requests that fetch it, how an object is decoded and where it goes in the snapshot.
//!
//! The same decoder fills the snapshot from a live answer and from a bundle.

mod catalog;
pub mod collect;

pub use catalog::{SOURCES, source};
pub use collect::{Collector, new_collector};

use crate::cluster::{Api, GetRequest, ListRequest};
use crate::snapshot::{Snapshot, SourceId, State};

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
}

/// How a source is reached.
pub enum Reach {
    /// Always the same requests.
    Fixed(fn() -> Vec<Request>),
    /// A list over the examined namespaces: the whole cluster, or one list per namespace.
    Scoped {
        /// What to list.
        api: Api,
        /// Field selector.
        fields: Option<&'static str>,
        /// Whether metadata is enough.
        metadata_only: bool,
    },
    /// A cluster-wide list that falls back to something narrower when it is refused.
    OrElse(fn() -> Request, fn(&crate::snapshot::Scope) -> Vec<Request>),
    /// Requests that follow from what other sources gave.
    Follows(&'static [SourceId], fn(&Snapshot) -> Vec<Request>),
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
    /// Where its objects lie in a bundle.
    #[must_use]
    pub fn file(&self) -> String {
        format!("sources/{}.jsonl", self.id.name())
    }
}
