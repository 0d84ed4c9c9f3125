//! The live half: reads what is asked for, with bounded concurrency and one deadline, and freezes it.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::future::Future;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde::Deserialize;

use crate::bundle::{Recorder, SourceRecorder};
use crate::cluster::{Cluster, ListSink};
use crate::mesh::sync::unlisted_pods;
use crate::model::XdsRecord;
use crate::model::xds::Asked;
use crate::snapshot::{Fault, FaultKind, Origin, OriginKind, Scope, Section, Snapshot, SourceId, StateKind};
use crate::sources::collect::End;
use crate::sources::{Collector, Reach, Request, SOURCES, Source, source, with_followed};

/// How many lists run at once: enough to hide latency, few enough not to be throttled.
const CONCURRENCY: usize = 8;

/// By far the longest lists: while the server writes them, all others are read.
const FIRST: [SourceId; 2] = [SourceId::Pods, SourceId::Deployments];

/// What to read.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The sources.
    pub sources: BTreeSet<SourceId>,
    /// Whose workloads.
    pub scope: Scope,
    /// Where to look when the whole cluster may not be read.
    pub fallback: Option<String>,
    /// Time for the whole run.
    pub timeout: Duration,
    /// Whether raw objects are kept for a bundle.
    pub record: bool,
}

/// What happens during a gather.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Sources that have ended.
    pub done: usize,
    /// Sources in all.
    pub total: usize,
    /// Objects so far.
    pub objects: usize,
}

/// A frozen world, and what a bundle is written from.
pub struct Gathered {
    /// The world.
    pub snapshot: Snapshot,
    /// Raw objects, where the plan asked for them.
    pub recorder: Option<Recorder>,
}

impl Gathered {
    /// Puts a section in that a command has read by itself.
    pub fn put(&mut self, id: SourceId, lines: &[Vec<u8>], faults: Vec<Fault>) {
        let Some(source) = source(id) else { return };
        let mut collector = (source.collector)();
        lines.iter().for_each(|line| collector.item(line));
        if let Some(recorder) = &mut self.recorder {
            let mut part = recorder.source(id);
            lines.iter().for_each(|line| part.item(line));
            recorder.keep(id, part);
        }
        let kind = if lines.is_empty() && !faults.is_empty() { StateKind::Failed } else { StateKind::Collected };
        collector.finish(&mut self.snapshot, End { kind, faults, undecodable: Vec::new(), fallback: None });
    }
}

struct Part {
    source: &'static Source,
    collector: Box<dyn Collector>,
    recorder: Option<SourceRecorder>,
    end: End,
}

/// Reads everything in the plan. Ends early when `stop` does, or when time is up: what was read stays.
pub async fn gather(
    cluster: &Cluster,
    plan: &Plan,
    stop: impl Future<Output = ()>,
    progress: &mut (dyn FnMut(Progress) + Send),
) -> Gathered {
    let mut snapshot = Snapshot { scope: plan.scope.clone(), ..Snapshot::default() };
    let mut sources = with_followed(&plan.sources);
    // Whoever is asked for these puts them in.
    sources.retain(|id| !source(*id).is_some_and(Source::is_by_command));
    let plan = &Plan { sources, ..plan.clone() };
    let mut recorder = plan.record.then(Recorder::new);
    let mut waiting: Vec<&'static Source> = SOURCES.iter().filter(|source| plan.sources.contains(&source.id)).collect();
    waiting.sort_by_key(|source| !FIRST.contains(&source.id));
    let mut state = Progress { done: 0, total: waiting.len(), objects: 0 };
    let mut started: BTreeSet<SourceId> = BTreeSet::new();
    let mut finished: BTreeSet<SourceId> = BTreeSet::new();
    let mut running = FuturesUnordered::new();
    let end = Instant::now() + plan.timeout;
    let deadline = tokio::time::sleep(plan.timeout);
    tokio::pin!(deadline, stop);
    let mut late = false;
    loop {
        while running.len() < CONCURRENCY {
            let Some(next) = waiting.iter().position(|source| is_ready(source, plan, &finished)) else { break };
            let source = waiting.remove(next);
            started.insert(source.id);
            let part = recorder.as_mut().map(|recorder| recorder.source(source.id));
            running.push(read(cluster, source, requests(source, plan, &snapshot), part, end));
        }
        if running.is_empty() {
            break;
        }
        tokio::select! {
            Some(part) = running.next() => {
                let Part { source, collector, recorder: raw, end } = part;
                state.done += 1;
                state.objects += collector.len();
                finished.insert(source.id);
                collector.finish(&mut snapshot, end);
                if let (Some(recorder), Some(raw)) = (recorder.as_mut(), raw) {
                    recorder.keep(source.id, raw);
                }
                progress(state);
            }
            () = &mut deadline => { late = true; break; }
            () = &mut stop => { snapshot.interrupted = true; break; }
        }
    }
    drop(running);
    if !late && !snapshot.interrupted {
        tokio::select! {
            () = look_again(cluster, &mut snapshot, recorder.as_mut(), end) => {}
            () = &mut deadline => {}
            () = &mut stop => snapshot.interrupted = true,
        }
    }
    for source in SOURCES.iter().filter(|s| plan.sources.contains(&s.id) && !finished.contains(&s.id)) {
        let message = if late {
            format!("{} did not come before the time limit", source.resource)
        } else {
            format!("{} was not read: the run was interrupted", source.resource)
        };
        let fault = Fault::new(FaultKind::Timeout, message).hint("raise --timeout, or narrow the run with -n");
        let end = End { kind: StateKind::Failed, faults: vec![fault], undecodable: Vec::new(), fallback: None };
        (source.collector)().finish(&mut snapshot, end);
    }
    let narrowed = snapshot.pods.state().fallback.is_some();
    if let (true, Some(namespace)) = (narrowed, &plan.fallback) {
        snapshot.scope = Scope { namespaces: Some(vec![namespace.clone()]) };
    }
    // Pods of all namespaces could be read, Deployments only of one: nothing may pass for having looked at those.
    if snapshot.scope.namespaces.is_none() {
        SOURCES.iter().for_each(|source| (source.narrow_is_fault)(&mut snapshot));
    }
    snapshot.origin = Origin {
        kind: OriginKind::Live,
        context: cluster.info().context.clone(),
        server: Some(cluster.info().server.clone()),
        server_version: snapshot.version.items().and_then(|v| v.first()).map(|v| v.git_version.clone()),
        captured_at: Some(cluster.server_date().unwrap_or_else(Timestamp::now)),
    };
    Gathered { snapshot, recorder }
}

/// How long a proxy takes that changes from one istiod to another: Envoy waits up to half a second before it connects
/// anew.
const RECONNECT: Duration = Duration::from_millis(1500);

/// Asks istiods a second time where a proxy that should be connected is listed by none. Every half hour a connection is
/// closed and made anew, by chance to another istiod: among thousands of proxies there is always one that is listed
/// neither by the istiod it has left nor by the one it goes to. Only what was missing is taken from the second answer.
async fn look_again(cluster: &Cluster, snapshot: &mut Snapshot, mut recorder: Option<&mut Recorder>, end: Instant) {
    let now = cluster.server_date().unwrap_or_else(Timestamp::now);
    let missing = unlisted_pods(snapshot, now);
    if missing.is_empty() {
        return;
    }
    // One that did not answer, or serves nobody, would do the same again.
    let answered: BTreeSet<String> = snapshot
        .xds
        .items()
        .unwrap_or_default()
        .iter()
        .filter_map(|record| match record {
            XdsRecord::Istiod(answer) if answer.asked == Asked::Answered => Some(answer.pod.clone()),
            _ => None,
        })
        .collect();
    let mut requests = crate::sources::xds::requests(snapshot);
    requests.retain(|request| answered.contains(&request.target.pod));
    if requests.is_empty() {
        return;
    }
    tokio::time::sleep(RECONNECT).await;
    let replies = requests.iter().map(|request| async move {
        let left = end.saturating_duration_since(Instant::now());
        (request, cluster.istiod(request, left).await)
    });
    let replies = futures::future::join_all(replies).await;
    let Section::Collected(section) = &mut snapshot.xds else { return };
    for line in replies.into_iter().flat_map(|(request, reply)| crate::sources::xds::lines(request, reply).lines) {
        let Ok(XdsRecord::Proxy(client)) = serde_json::from_slice(&line) else { continue };
        let key = client.syncz.pod().map(|(pod, namespace)| (namespace.to_owned(), pod.to_owned()));
        if !key.is_some_and(|key| missing.contains(&key)) {
            continue;
        }
        if let Some(part) = recorder.as_mut().and_then(|recorder| recorder.kept(SourceId::Xds)) {
            part.item(&line);
        }
        section.items.push(XdsRecord::Proxy(client));
    }
}

fn is_ready(source: &Source, plan: &Plan, finished: &BTreeSet<SourceId>) -> bool {
    match source.reach {
        Reach::Follows(after, ..) => after.iter().all(|id| finished.contains(id) || !plan.sources.contains(id)),
        _ => true,
    }
}

/// What to ask, and what to ask instead when that is refused.
struct Requests {
    first: Vec<Request>,
    instead: Vec<Request>,
    /// False: it follows from a source that could not be read, so nothing is known to ask for.
    known: bool,
}

fn requests(source: &Source, plan: &Plan, snapshot: &Snapshot) -> Requests {
    let known = match &source.reach {
        Reach::Follows(after, ..) => after
            .iter()
            // What one of several gave is better than nothing; the others are gaps of their own.
            .any(|id| crate::sources::source(*id).is_some_and(|s| (s.state)(snapshot).kind == StateKind::Collected)),
        _ => true,
    };
    let narrow = plan.fallback.clone().filter(|_| plan.scope.namespaces.is_none() && source.falls_back());
    let instead = narrow
        .map_or_else(Vec::new, |namespace| source.requests(&Scope { namespaces: Some(vec![namespace]) }, snapshot));
    Requests { first: source.requests(&plan.scope, snapshot), instead, known }
}

async fn read(
    cluster: &Cluster,
    source: &'static Source,
    requests: Requests,
    recorder: Option<SourceRecorder>,
    end: Instant,
) -> Part {
    let mut part = Part {
        source,
        collector: (source.collector)(),
        recorder,
        end: End { kind: StateKind::Collected, faults: Vec::new(), undecodable: Vec::new(), fallback: None },
    };
    if !requests.known {
        part.end.kind = StateKind::NotRequested;
        return part;
    }
    let all = requests.first.len();
    let mut served = 0;
    let mut not_served = 0;
    // One istiod that hangs must not keep the others waiting.
    let istiods = requests.first.iter().filter_map(|request| match request {
        Request::Istiod(request) => Some(async move {
            let left = end.saturating_duration_since(Instant::now());
            (request, cluster.istiod(request, left).await)
        }),
        _ => None,
    });
    for (request, reply) in futures::future::join_all(istiods).await {
        let answer = crate::sources::xds::lines(request, reply);
        answer.lines.iter().for_each(|line| take(&mut part, line));
        // That a pod did not answer is an answer too: the lines say so.
        served += 1;
        // A right that is missing for one is missing for all: that is one fact.
        let is_known = |fault: &Fault| part.end.faults.iter().any(|f| f.need.is_some() && f.need == fault.need);
        part.end.faults.extend(answer.fault.filter(|fault| !is_known(fault)));
    }
    let metrics = requests.first.iter().filter_map(|request| match request {
        Request::Metrics(request) => Some(async move {
            let left = end.saturating_duration_since(Instant::now());
            (request, cluster.istiod_metrics(request, left).await)
        }),
        _ => None,
    });
    for (request, reply) in futures::future::join_all(metrics).await {
        let answer = crate::sources::metrics::line(request, reply);
        take(&mut part, &answer.line);
        served += 1;
        let is_known = |fault: &Fault| part.end.faults.iter().any(|f| f.need.is_some() && f.need == fault.need);
        part.end.faults.extend(answer.fault.filter(|fault| !is_known(fault)));
    }
    for request in requests.first {
        one(cluster, &mut part, &request, &mut served, &mut not_served).await;
    }
    let refused = part.end.faults.iter().all(|fault| fault.kind == FaultKind::Forbidden) && served == 0;
    if refused && !part.end.faults.is_empty() && !requests.instead.is_empty() {
        let refusal = part.end.faults.remove(0);
        part.end.faults.clear();
        for request in requests.instead {
            one(cluster, &mut part, &request, &mut served, &mut not_served).await;
        }
        part.end.fallback = Some(refusal);
    }
    part.end.kind = match (served, not_served, part.end.faults.len()) {
        (0, 0, 0) if all == 0 => StateKind::Collected,
        (0, 0, _) => StateKind::Failed,
        (0, _, 0) => StateKind::NotServed,
        (0, _, _) => StateKind::Failed,
        _ => StateKind::Collected,
    };
    if part.end.kind == StateKind::Failed
        && let Some(refusal) = part.end.fallback.take()
    {
        part.end.faults.insert(0, refusal);
    }
    part
}

async fn one(cluster: &Cluster, part: &mut Part, request: &Request, served: &mut usize, not_served: &mut usize) {
    match request {
        Request::List(list) => {
            let mut sink = Sink {
                start: part.collector.mark(),
                raw_start: part.recorder.as_ref().map_or(0, SourceRecorder::mark),
                collector: part.collector.as_mut(),
                recorder: part.recorder.as_mut(),
            };
            match cluster.list(list, &mut sink).await {
                Err(fault) => part.end.faults.push(fault),
                Ok(end) if !end.served => *not_served += 1,
                Ok(end) => {
                    *served += 1;
                    if let Some(reason) = end.truncated {
                        part.end.faults.push(Fault::new(FaultKind::Truncated, reason));
                    }
                    if end.oversized > 0 {
                        let message = format!("{} objects are too large to be read", end.oversized);
                        part.end.faults.push(Fault::new(FaultKind::Truncated, message));
                    }
                }
            }
        }
        Request::Get(get) => match cluster.get(get).await {
            Err(fault) => part.end.faults.push(fault),
            Ok(Some(body)) if !is_named(&body, &get.name) => {
                let message = format!("the answer is not {} {}", get.api.dotted(), get.name);
                part.end.faults.push(Fault::new(FaultKind::Malformed, message));
            }
            Ok(body) => {
                *served += 1;
                if let Some(body) = body {
                    take(part, &body);
                }
            }
        },
        // Asked before, all at once.
        Request::Istiod(_) | Request::Metrics(_) => {}
        Request::Raw(path) => match cluster.get_raw(path).await {
            Err(fault) => part.end.faults.push(fault),
            Ok(None) => *not_served += 1,
            Ok(Some(body)) => {
                *served += 1;
                take(part, &body);
            }
        },
    }
}

/// Whether an answer is the object that was asked for. A sign-in page is not, nor is what some proxies make up.
fn is_named(body: &[u8], name: &str) -> bool {
    #[derive(Deserialize)]
    struct Object<'a> {
        #[serde(borrow)]
        metadata: Named<'a>,
    }
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    serde_json::from_slice::<Object<'_>>(body).is_ok_and(|object| object.metadata.name == name)
}

fn take(part: &mut Part, body: &[u8]) {
    part.collector.item(body);
    if let Some(recorder) = part.recorder.as_mut() {
        recorder.item(body);
    }
}

struct Sink<'p> {
    collector: &'p mut dyn Collector,
    recorder: Option<&'p mut SourceRecorder>,
    start: usize,
    raw_start: usize,
}

impl ListSink for Sink<'_> {
    fn item(&mut self, json: &[u8]) {
        self.collector.item(json);
        if let Some(recorder) = self.recorder.as_mut() {
            recorder.item(json);
        }
    }

    fn restart(&mut self) {
        self.collector.rewind(self.start);
        if let Some(recorder) = self.recorder.as_mut() {
            recorder.rewind(self.raw_start);
        }
    }
}
