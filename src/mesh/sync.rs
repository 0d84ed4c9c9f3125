//! Whether proxies have what istiod sent them: what every istiod says, joined with the pods that should be connected.

use std::collections::{BTreeSet, HashMap, HashSet};

use jiff::{SignedDuration, Timestamp};

use crate::mesh::proxy::{self, Proxy, ProxyKind};
use crate::mesh::proxy_state;
use crate::mesh::revision::{AsmRevision, IstioVersion};
use crate::mesh::workload::Workload;
use crate::model::Pod;
use crate::model::xds::{Asked, IstiodAnswer, Nonces, ResourceSync, XdsClient, XdsRecord, XdsType};
use crate::snapshot::Snapshot;

/// What was sent longer ago than this and is not acknowledged is stale; in the middle of a push everything is for a
/// moment.
pub const GRACE: SignedDuration = SignedDuration::from_secs(30);
/// A proxy that runs longer than this has connected to its istiod, if it can.
const STARTING: SignedDuration = SignedDuration::from_secs(60);
/// Kinds of proxies (`pilot/pkg/model/context.go` in istio/istio); what has neither a kind nor a version is no proxy.
const KINDS: [&str; 5] = ["sidecar", "router", "waypoint", "ztunnel", "agentgateway"];

/// State of a proxy, or of one type of its configuration; the worst comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Envoy rejected what was sent last.
    Error,
    /// Sent, not acknowledged, and older than the grace.
    Stale,
    /// It should be connected, and no istiod lists it.
    NotConnected,
    /// An istiod that may have it did not answer, or does not tell.
    Unknown,
    /// Sent a moment ago, not acknowledged yet.
    Pending,
    /// Nothing was sent.
    NotSent,
    /// Accepted.
    Synced,
    /// It asks for nothing.
    Ignored,
}

impl State {
    /// All states, the worst first.
    pub const ALL: [Self; 8] = [
        Self::Error,
        Self::Stale,
        Self::NotConnected,
        Self::Unknown,
        Self::Pending,
        Self::NotSent,
        Self::Synced,
        Self::Ignored,
    ];

    /// The word used in tables and reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::Stale => "STALE",
            Self::NotConnected => "NOT CONNECTED",
            Self::Unknown => "UNKNOWN",
            Self::Pending => "PENDING",
            Self::NotSent => "NOT SENT",
            Self::Synced => "SYNCED",
            Self::Ignored => "IGNORED",
        }
    }

    /// Whether somebody should look at it.
    #[must_use]
    pub fn is_problem(self) -> bool {
        self <= Self::Unknown
    }
}

/// One type of configuration of a proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TypeSync<'a> {
    /// The type.
    pub kind: XdsType<'a>,
    /// Its state.
    pub state: State,
    /// How long ago it was sent, by the clock of the istiod that sent it.
    pub age: Option<SignedDuration>,
    /// Envoy's reason for rejecting it.
    pub error: Option<&'a str>,
}

/// A proxy that istiods list more than once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Twice<'a> {
    /// The istiod pods that list it.
    pub istiods: Vec<&'a str>,
    /// How many connections they have from it.
    pub connections: u32,
    /// How long they have had more than one: since the last of them was made.
    pub since: Option<SignedDuration>,
}

/// A proxy that is listed, or should be.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    /// Namespace.
    pub namespace: &'a str,
    /// Pod name.
    pub name: &'a str,
    /// `sidecar`, `router`, …
    pub kind: &'a str,
    /// Its revision: that of its pod, else that of the istiod that lists it.
    pub revision: Option<String>,
    /// The istiod that has its newest connection.
    pub istiod: Option<&'a IstiodAnswer>,
    /// Its version, as istiod knows it, else as its image says.
    pub version: Option<String>,
    /// The worst of its types' states, or a state of the proxy as a whole.
    pub state: State,
    /// The types it has asked for, in the usual order.
    pub types: Vec<TypeSync<'a>>,
    /// Its pod, where pods were read and it is among them.
    pub pod: Option<&'a Pod>,
    /// Its workload, as an index into those that were given.
    pub workload: Option<usize>,
    /// Whether its pod has ended or is being deleted.
    pub ending: bool,
    /// Whether more than one connection is there.
    pub twice: Option<Twice<'a>>,
}

impl<'a> Row<'a> {
    /// The types that cause its state; none where all is well.
    pub fn causing(&self) -> impl Iterator<Item = &TypeSync<'a>> {
        let caused = self.state.is_problem() || self.state == State::Pending;
        self.types.iter().filter(move |one| caused && one.state == self.state)
    }

    /// How long ago the oldest cause of its state was sent; where nothing is wrong, the last thing that was sent.
    #[must_use]
    pub fn age(&self) -> Option<SignedDuration> {
        match self.causing().next() {
            Some(_) => self.causing().filter_map(|one| one.age).max(),
            None => self.types.iter().filter_map(|one| one.age).min(),
        }
    }
}

/// What is known about all proxies.
#[derive(Clone, Debug, Default)]
pub struct Sync<'a> {
    /// The istiod pods that were asked, by revision and name; none when it is not known which ones there are.
    pub istiods: Option<Vec<&'a IstiodAnswer>>,
    /// Proxies of the examined namespaces, the worst first.
    pub rows: Vec<Row<'a>>,
    /// Clients of istiod that are no proxies, such as debugging tools.
    pub others: usize,
    /// Istiod pods that are too old to tell what proxies acknowledged when.
    pub old: BTreeSet<&'a str>,
}

type Key<'a> = (&'a str, &'a str);

/// Joins what istiods say with the pods of workloads. What is sent but not acknowledged is stale after the grace.
#[must_use]
pub fn sync<'a>(snapshot: &'a Snapshot, workloads: &[Workload<'a>], now: Timestamp, grace: SignedDuration) -> Sync<'a> {
    let records = snapshot.xds.items();
    let mut istiods: Vec<&IstiodAnswer> = Vec::new();
    let mut clients: HashMap<Key<'_>, Vec<&XdsClient>> = HashMap::new();
    let pods = pods(snapshot, workloads);
    let mut others = 0;
    for record in records.unwrap_or_default() {
        match record {
            XdsRecord::Istiod(answer) => istiods.push(answer),
            XdsRecord::Proxy(client) => match client.syncz.pod().filter(|_| is_proxy(client)) {
                None => others += 1,
                Some((pod, namespace)) if is_tool(client) && !pods.contains_key(&(namespace, pod)) => others += 1,
                Some((pod, namespace)) if snapshot.scope.contains(namespace) => {
                    clients.entry((namespace, pod)).or_default().push(client);
                }
                Some(_) => {}
            },
        }
    }
    istiods.sort_by(|a, b| (&a.revision, &a.pod).cmp(&(&b.revision, &b.pod)));
    let teller = Teller { by_pod: istiods.iter().map(|answer| (answer.pod.as_str(), *answer)).collect(), now, grace };
    let mut rows: Vec<Row<'_>> =
        clients.iter().filter_map(|(key, clients)| teller.row(*key, clients, pods.get(key))).collect();
    let silent = Silent::new(snapshot, &istiods);
    rows.extend(
        pods.iter()
            .filter(|(key, _)| !clients.contains_key(*key))
            .filter_map(|(key, found)| unlisted(*key, found, &silent, now)),
    );
    rows.sort_by(|a, b| (a.state, a.namespace, a.name).cmp(&(b.state, b.namespace, b.name)));
    let old = clients.values().flatten().filter(|client| teller.is_old(client)).map(|client| client.istiod.as_str());
    let old = old.collect();
    Sync { istiods: records.map(|_| istiods), rows, others, old }
}

/// The version that istioctl calls itself (`pkg/adsc/adsc.go` in istio/istio). It is a client of istiod while it asks, stays
/// in the list for half a minute, and has the name of no pod.
const NO_VERSION: &str = "65536.65536.65536";

fn is_tool(client: &XdsClient) -> bool {
    client.syncz.istio_version == NO_VERSION
}

fn is_proxy(client: &XdsClient) -> bool {
    !client.syncz.istio_version.is_empty() || KINDS.contains(&client.syncz.proxy_type.as_str())
}

/// Pods whose proxy should be connected and is listed by no istiod, as namespace and name.
#[must_use]
pub fn unlisted_pods(snapshot: &Snapshot, now: Timestamp) -> BTreeSet<(String, String)> {
    let Some(records) = snapshot.xds.items() else { return BTreeSet::new() };
    let listed: HashSet<Key<'_>> = records
        .iter()
        .filter_map(|record| match record {
            XdsRecord::Proxy(client) => client.syncz.pod().map(|(pod, namespace)| (namespace, pod)),
            XdsRecord::Istiod(_) => None,
        })
        .collect();
    let pods = snapshot.pods.items().unwrap_or_default().iter();
    pods.filter(|pod| !pod.is_over() && snapshot.scope.contains(&pod.metadata.namespace))
        .filter(|pod| !listed.contains(&(pod.metadata.namespace.as_str(), pod.metadata.name.as_str())))
        .filter(|pod| proxy::of_pod(pod).is_some_and(|proxy| expected_revision(pod, &proxy, now).is_some()))
        .map(|pod| (pod.metadata.namespace.clone(), pod.metadata.name.clone()))
        .collect()
}

/// The revision whose istiods should have a connection from a pod's proxy; none where it need not be connected.
fn expected_revision<'p>(pod: &Pod, proxy: &'p Proxy<'_>, now: Timestamp) -> Option<&'p str> {
    let revision = proxy.revision.as_deref().filter(|name| AsmRevision::parse(name).is_some())?;
    let running = proxy_state::status(pod)?.state.running.as_ref()?;
    let starting = running.started_at.is_some_and(|start| now.duration_since(start) < STARTING);
    (!starting).then_some(revision)
}

/// A pod, with what is known about it.
struct Found<'w, 'a> {
    pod: &'a Pod,
    workload: Option<usize>,
    proxy: Option<&'w Proxy<'a>>,
}

/// Pods by namespace and name.
fn pods<'w, 'a>(snapshot: &'a Snapshot, workloads: &'w [Workload<'a>]) -> HashMap<Key<'a>, Found<'w, 'a>> {
    let key = |pod: &'a Pod| (pod.metadata.namespace.as_str(), pod.metadata.name.as_str());
    let over = snapshot.pods.items().unwrap_or_default().iter().filter(|pod| pod.is_over());
    let over = over.map(|pod| (key(pod), Found { pod, workload: None, proxy: None }));
    let present = workloads
        .iter()
        .enumerate()
        .flat_map(|(index, workload)| workload.pods.iter().map(move |(pod, proxy)| (*pod, index, proxy.as_ref())));
    over.chain(present.map(|(pod, index, proxy)| (key(pod), Found { pod, workload: Some(index), proxy }))).collect()
}

/// The revisions whose istiods may have connections that nobody told of.
enum Silent<'a> {
    /// All of them: not even which istiods there are is known.
    All,
    /// Those with an istiod that did not answer.
    Some(BTreeSet<&'a str>),
}

impl<'a> Silent<'a> {
    fn new(snapshot: &Snapshot, istiods: &[&'a IstiodAnswer]) -> Self {
        // Neither an istiod nor a proxy must have been left out.
        let whole = snapshot.xds.items().is_some()
            && snapshot.xds.state().undecodable.is_empty()
            && snapshot.system_pods.state().is_complete();
        if !whole {
            return Self::All;
        }
        let failed = istiods.iter().filter(|answer| answer.asked == Asked::Failed);
        Self::Some(failed.map(|answer| answer.revision.as_str()).collect())
    }

    fn has(&self, revision: &str) -> bool {
        match self {
            Self::All => true,
            Self::Some(revisions) => revisions.contains(revision),
        }
    }
}

/// The row of a pod that no istiod lists; none where that is as it should be.
fn unlisted<'a>(
    (namespace, name): Key<'a>,
    found: &Found<'_, 'a>,
    silent: &Silent<'_>,
    now: Timestamp,
) -> Option<Row<'a>> {
    let proxy = found.proxy?;
    let revision = expected_revision(found.pod, proxy, now)?;
    Some(Row {
        namespace,
        name,
        kind: match proxy.kind {
            ProxyKind::Native | ProxyKind::Classic => "sidecar",
            ProxyKind::Gateway | ProxyKind::ManagedGateway => "router",
        },
        revision: Some(revision.to_owned()),
        istiod: None,
        version: proxy.version.as_ref().map(ToString::to_string),
        state: if silent.has(revision) { State::Unknown } else { State::NotConnected },
        types: Vec::new(),
        pod: Some(found.pod),
        workload: found.workload,
        ending: false,
        twice: None,
    })
}

/// What is needed to read an istiod's lines.
struct Teller<'a> {
    by_pod: HashMap<&'a str, &'a IstiodAnswer>,
    now: Timestamp,
    grace: SignedDuration,
}

impl<'a> Teller<'a> {
    /// The row of a proxy that istiods list.
    fn row(
        &self,
        (namespace, name): Key<'a>,
        clients: &[&'a XdsClient],
        found: Option<&Found<'_, 'a>>,
    ) -> Option<Row<'a>> {
        // Of several connections the newest is the one that is alive.
        let newest = *clients.iter().max_by_key(|client| (client.connected_at, last_sent(client)))?;
        let istiod = self.by_pod.get(newest.istiod.as_str()).copied();
        let proxy = found.and_then(|found| found.proxy);
        let types = self.types(newest);
        let row = Row {
            namespace,
            name,
            kind: &newest.syncz.proxy_type,
            revision: proxy
                .and_then(|proxy| proxy.revision.clone())
                .or_else(|| istiod.map(|answer| answer.revision.clone())),
            istiod,
            version: Some(newest.syncz.istio_version.clone())
                .filter(|version| !version.is_empty())
                .or_else(|| proxy?.version.as_ref().map(ToString::to_string)),
            state: if self.is_old(newest) { State::Unknown } else { worst(&types) },
            types,
            pod: found.map(|found| found.pod),
            workload: found.and_then(|found| found.workload),
            ending: found.is_some_and(|found| found.pod.is_over()),
            twice: self.twice(clients),
        };
        Some(row)
    }

    /// The clock of the istiod that lists a proxy: what it sent was stamped by it.
    fn clock(&self, client: &XdsClient) -> Timestamp {
        self.by_pod.get(client.istiod.as_str()).and_then(|answer| answer.date).unwrap_or(self.now)
    }

    fn types(&self, client: &'a XdsClient) -> Vec<TypeSync<'a>> {
        let now = self.clock(client);
        let mut types: Vec<TypeSync<'a>> = client
            .syncz
            .resources
            .iter()
            .flatten()
            .map(|(url, resource)| {
                // The date is in whole seconds, what was sent in nanoseconds.
                let age = resource.sent_at.map(|sent| now.duration_since(sent).max(SignedDuration::ZERO));
                let state = self.state(resource, age);
                TypeSync { kind: XdsType::of_url(url), state, age, error: resource.last_error.as_deref() }
            })
            .collect();
        types.sort_by_key(|one| (one.kind.rank(), one.kind.short()));
        types
    }

    /// As istiod itself judges from 1.23 on (`pilot/pkg/xds/statusgen.go` in istio/istio), with a grace.
    fn state(&self, resource: &ResourceSync, age: Option<SignedDuration>) -> State {
        match (&resource.last_error, resource.nonces, age) {
            (Some(_), ..) => State::Error,
            (None, Nonces::NothingSent, _) => State::NotSent,
            (None, Nonces::Equal, _) => State::Synced,
            (None, _, None) => State::Unknown,
            (None, _, Some(age)) if age <= self.grace => State::Pending,
            (None, ..) => State::Stale,
        }
    }

    /// Before Istio 1.23 `resources` was not told.
    fn is_old(&self, client: &XdsClient) -> bool {
        const SINCE: (u32, u32) = (1, 23);
        let answer = self.by_pod.get(client.istiod.as_str()).and_then(|answer| answer.version.as_deref());
        let version = answer.and_then(IstioVersion::parse).or_else(|| IstioVersion::parse(&client.syncz.istio_version));
        client.syncz.resources.is_none() && version.is_some_and(|version| (version.major, version.minor) < SINCE)
    }

    fn twice(&self, clients: &[&'a XdsClient]) -> Option<Twice<'a>> {
        let mut by_istiod: HashMap<&str, (u32, u32)> = HashMap::new();
        for client in clients {
            let (listed, connected) = by_istiod.entry(client.istiod.as_str()).or_default();
            *listed += 1;
            *connected = client.connections.max(*connected);
        }
        let connections = by_istiod.values().map(|(listed, connected)| *listed.max(connected)).sum();
        let mut istiods: Vec<_> = by_istiod.into_keys().collect();
        istiods.sort_unstable();
        let ages = clients.iter().map(|client| client.connected_at.map(|at| self.clock(client).duration_since(at)));
        // Where one is not known it may be the last.
        let since = ages.collect::<Option<Vec<_>>>().and_then(|ages| ages.into_iter().min());
        (connections > 1).then_some(Twice { istiods, connections, since })
    }
}

fn last_sent(client: &XdsClient) -> Option<Timestamp> {
    client.syncz.resources.iter().flat_map(|types| types.values()).filter_map(|one| one.sent_at).max()
}

/// The state of a proxy that has these types: that nothing was sent of one is usual, of all it is not.
fn worst(types: &[TypeSync<'_>]) -> State {
    let some = |state| types.iter().any(|one| one.state == state);
    let all = State::ALL.into_iter().filter(|state| *state != State::NotSent || !some(State::Synced));
    all.into_iter().find(|state| some(*state)).unwrap_or(State::Ignored)
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
