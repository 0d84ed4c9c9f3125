//! The rights that reading needs, in RBAC's terms.

use std::collections::BTreeSet;

use super::{INGRESS_NAMESPACE, Place, Reach, Request, SOURCES, SYSTEM_NAMESPACE, Source};
use crate::cluster::Api;
use crate::snapshot::{Scope, Snapshot, SourceId};

/// Where a right is needed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Where {
    /// In the whole cluster.
    Cluster,
    /// In one namespace.
    Namespace(String),
    /// In namespaces that webhooks of another Istio point to.
    Webhooks,
}

/// One right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Where.
    pub place: Where,
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Plural resource.
    pub resource: &'static str,
    /// `get` or `list`; `create` for port-forwards, `create` and `delete` for probes.
    pub verb: &'static str,
    /// The only object, where it is one.
    pub name: Option<String>,
}

impl Right {
    fn new(verb: &'static str, api: Api, place: Where, name: Option<&str>) -> Self {
        Self { place, group: api.group, resource: api.resource, verb, name: name.map(str::to_owned) }
    }
}

/// The rights that reading these sources in a scope needs, and those of the sources they follow from.
#[must_use]
pub fn rights(sources: &BTreeSet<SourceId>, scope: &Scope) -> BTreeSet<Right> {
    let sources = super::with_followed(sources);
    SOURCES.iter().filter(|source| sources.contains(&source.id)).flat_map(|source| of_source(source, scope)).collect()
}

/// What asking one proxy needs: its pod, the pods of its workload, and its port.
#[must_use]
pub fn of_one_proxy(scope: &Scope) -> BTreeSet<Right> {
    // See the source `xds` in the catalog.
    of_pods(scope, &[("", "pods/portforward", &["create", "get"])], true)
}

/// What logs need: the pods of a workload, and their logs. Without names, those of the add-on's own namespaces besides.
#[must_use]
pub fn of_logs(scope: &Scope) -> BTreeSet<Right> {
    const LOGS: &[Needed] = &[("", "pods/log", &["get"])];
    let own = Scope { namespaces: Some([SYSTEM_NAMESPACE, INGRESS_NAMESPACE].map(str::to_owned).into()) };
    let mut rights = of_pods(scope, LOGS, true);
    if scope.namespaces.is_some() {
        rights.extend(of_pods(&own, LOGS, false));
    }
    rights
}

/// Group, resource and verbs.
type Needed = (&'static str, &'static str, &'static [&'static str]);

/// Pods, something of theirs, and the workloads by which they may be named.
fn of_pods(scope: &Scope, theirs: &[Needed], by_workload: bool) -> BTreeSet<Right> {
    const PODS: &[Needed] = &[("", "pods", &["get", "list"])];
    const WORKLOADS: &[Needed] = &[
        ("apps", "deployments", &["get"]),
        ("apps", "statefulsets", &["get"]),
        ("apps", "daemonsets", &["get"]),
        ("apps", "replicasets", &["get"]),
        ("batch", "jobs", &["get"]),
    ];
    let right = |group, resource, verb| {
        let api = Api { group, version: "v1", resource };
        places(Place::Scope, scope).into_iter().map(move |place| Right::new(verb, api, place, None))
    };
    let workloads = if by_workload { WORKLOADS } else { &[] };
    [PODS, theirs, workloads]
        .into_iter()
        .flatten()
        .flat_map(|(group, resource, verbs)| verbs.iter().flat_map(|verb| right(*group, *resource, *verb)))
        .collect()
}

/// What asking the API server about pods needs, and with it creating them for a moment. Whose templates are asked about is
/// read one by one.
#[must_use]
pub fn of_a_probe(scope: &Scope) -> BTreeSet<Right> {
    of_pods(scope, &[("", "pods", &["create", "delete"]), ("batch", "cronjobs", &["get"])], true)
}

fn of_source(source: &Source, scope: &Scope) -> Vec<Right> {
    if let Reach::Follows(_, _, rights) = &source.reach {
        return rights
            .iter()
            .flat_map(|right| {
                places(right.place, scope).into_iter().map(|place| Right::new(right.verb, right.api, place, None))
            })
            .collect();
    }
    let place =
        |namespace: Option<&String>| namespace.map_or(Where::Cluster, |namespace| Where::Namespace(namespace.clone()));
    source
        .requests(scope, &Snapshot::default())
        .iter()
        .filter_map(|request| match request {
            Request::List(list) => Some(Right::new("list", list.api, place(list.namespace.as_ref()), None)),
            // The API server authorizes reading a namespace as if the namespace were in itself.
            Request::Get(get) if get.api.resource == "namespaces" => {
                Some(Right::new("get", get.api, Where::Namespace(get.name.clone()), None))
            }
            Request::Get(get) => Some(Right::new("get", get.api, place(get.namespace.as_ref()), Some(&get.name))),
            // Every authenticated user may ask for the version.
            Request::Raw(_) => None,
            // Which pods there are follows from another source, and the rights with it.
            Request::Istiod(_) | Request::Metrics(_) => None,
        })
        .collect()
}

fn places(place: Place, scope: &Scope) -> Vec<Where> {
    match (place, &scope.namespaces) {
        (Place::Addon, _) => [SYSTEM_NAMESPACE, INGRESS_NAMESPACE].map(|name| Where::Namespace(name.to_owned())).into(),
        (Place::System, _) => vec![Where::Namespace(SYSTEM_NAMESPACE.to_owned())],
        (Place::Scope, Some(names)) => names.iter().cloned().map(Where::Namespace).collect(),
        (Place::Scope, None) => vec![Where::Cluster],
        (Place::Webhooks, None) => vec![Where::Cluster],
        (Place::Webhooks, Some(_)) => vec![Where::Webhooks],
    }
}
