//! `proxy-status POD --diff`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::live;
use super::proxy_config::{self, Recorded};
use super::proxy_status::is_named;
use super::session::{self, DefaultScope, Job};
use crate::cluster::Cluster;
use crate::cluster::envoy::{ADMIN_PORT, ProxyQuestion};
use crate::cluster::forward::{ConnectionId, PodPort, Question};
use crate::gather::{self, Plan};
use crate::mesh::config_diff::{self, Change, Compared, Side};
use crate::mesh::sync::{self, Row};
use crate::model::envoy::{ComparedKind, Comparison, Difference};
use crate::model::quoted::printable;
use crate::report::proxy_diff_view::{DiffEntry, DiffKind, ProxyDiffView};
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Fault, FaultKind, Scope, Snapshot, SourceId};
use crate::sources::proxy_answers::Lines;
use crate::sources::xds;

/// The kind of error that says something of the proxy, and not of what it took to ask.
const OF_THE_PROXY: &str = "pod";

/// Compares, and prints. Exits with 1 when something differs, as `kubectl diff` does.
pub(super) fn run(connection: &ConnectionArgs, scope: &ScopeArgs, args: &ReportArgs, target: &str) -> Exit {
    let asked = match &args.from {
        Some(from) => from_bundle(connection, scope, from, target),
        None => live::with_cluster(connection, args, "istiod and the proxy did not answer", async |cluster, left| {
            from_both(cluster, scope, left, target).await
        }),
    };
    let (snapshot, view) = match asked {
        Ok((snapshot, view)) => (Ok(snapshot), view),
        Err(error) => (Err(error), ProxyDiffView::default()),
    };
    let same = view.same;
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: &[],
        view: &|_, _| View::ProxyDiff(view.clone()),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &|_| false,
        grace: sync::GRACE,
    };
    match session::judge_snapshot(snapshot, args, &job) {
        (Exit::Clean, Some(_)) if !same => Exit::Findings,
        (exit, _) => exit,
    }
}

async fn from_both(
    cluster: &Cluster,
    scope: &ScopeArgs,
    left: Duration,
    target: &str,
) -> Result<(Snapshot, ProxyDiffView), ErrorDocument> {
    let namespaces = (!scope.all_namespaces && !scope.namespace.is_empty()).then(|| scope.namespace.clone());
    let plan = Plan {
        sources: BTreeSet::from([SourceId::Version, SourceId::Xds]),
        scope: Scope { namespaces },
        fallback: None,
        timeout: left,
        record: false,
    };
    let gathered = gather::gather(cluster, &plan, std::future::pending(), &mut |_| {}).await;
    let view = if target.contains('/') {
        let (own, fixed) = (&cluster.info().namespace, !scope.namespace.is_empty());
        let pod = proxy_config::find(cluster, target, scope.namespace.first().unwrap_or(own), fixed).await?;
        let target = format!("{}.{}", pod.metadata.name, pod.metadata.namespace);
        compare(cluster, &gathered.snapshot, &target).await?
    } else {
        compare(cluster, &gathered.snapshot, target).await?
    };
    Ok((gathered.snapshot, view))
}

/// Both sides, of a proxy that an istiod in the snapshot lists.
async fn compare(cluster: &Cluster, snapshot: &Snapshot, target: &str) -> Result<ProxyDiffView, ErrorDocument> {
    let now = snapshot.origin.captured_at.unwrap_or_else(Timestamp::now);
    let listed = sync::sync(snapshot, &[], now, SignedDuration::ZERO);
    let row = find(&listed.rows, snapshot, target)?;
    let (Some(istiod), proxy) = (row.istiod, (row.name.to_owned(), row.namespace.to_owned())) else {
        return Err(error(format!("it is not known which istiod lists {}", printable(target)), &[]));
    };
    let asked = xds::requests(snapshot).into_iter().find(|request| request.target.pod == istiod.pod);
    let Some(request) = asked else {
        return Err(error(format!("istiod pod {} is gone", printable(&istiod.pod)), &["try again".to_owned()]));
    };
    let (wanted, held) = tokio::join!(from_istiod(cluster, &request.target, &proxy), from_proxy(cluster, &proxy));
    let (wanted, held) = (wanted?, held?);
    let compared = config_diff::compare(&wanted, &held);
    Ok(ProxyDiffView {
        name: proxy.0,
        namespace: proxy.1,
        istiod: istiod.pod.clone(),
        revision: istiod.revision.clone(),
        same: compared.iter().all(|kind| kind.differences.is_empty()),
        kinds: compared.into_iter().map(kind).collect(),
        unreadable: wanted.damaged + held.damaged,
    })
}

/// Compares proxies that were recorded for a bundle. Of one that no istiod lists there is nothing to compare.
pub(super) async fn record(cluster: &Cluster, snapshot: &Snapshot, recorded: &mut Recorded, limit: Duration) {
    let end = Instant::now() + limit;
    for (namespace, name) in recorded.pods.clone() {
        let left = end.saturating_duration_since(Instant::now());
        let target = format!("{name}.{namespace}");
        let Ok(compared) = tokio::time::timeout(left, compare(cluster, snapshot, &target)).await else {
            let message = format!("how proxy {target} compares with istiod did not come before the time limit");
            recorded.faults.push(Fault::new(FaultKind::Timeout, message).hint("raise --timeout"));
            continue;
        };
        match compared {
            Ok(view) => recorded.lines.push(Lines::comparison(&namespace, &name, &comparison(view))),
            // No istiod lists it: proxy-status tells that as its state.
            Err(error) if error.kind == OF_THE_PROXY => {}
            Err(error) => {
                let message = format!("how proxy {target} compares with istiod: {}", error.message);
                recorded.faults.push(Fault::new(FaultKind::Malformed, message));
            }
        }
    }
}

fn comparison(view: ProxyDiffView) -> Comparison {
    let difference =
        |one: DiffEntry| Difference { name: one.name, change: one.change, version: one.version, since: one.since };
    let kind = |kind: DiffKind| ComparedKind {
        kind: kind.kind,
        same: kind.same,
        differences: kind.differences.into_iter().map(difference).collect(),
    };
    Comparison {
        istiod: view.istiod,
        revision: view.revision,
        unreadable: view.unreadable,
        kinds: view.kinds.into_iter().map(kind).collect(),
    }
}

/// What the comparison was when a bundle was made. The text of what differs is not kept.
fn from_bundle(
    connection: &ConnectionArgs,
    scope: &ScopeArgs,
    from: &str,
    target: &str,
) -> Result<(Snapshot, ProxyDiffView), ErrorDocument> {
    let snapshot = session::from_bundle(from, connection, scope)?;
    let namespace = if scope.all_namespaces { None } else { scope.namespace.first().map(String::as_str) };
    let snapshot = proxy_config::choose(snapshot, Some(target), namespace)?;
    let proxy = snapshot.proxy_answers.items().and_then(<[_]>::first);
    let Some(comparison) = proxy.and_then(|proxy| proxy.comparison.clone()) else {
        let message = format!("{} was not compared when the bundle was made: no istiod listed it", printable(target));
        return Err(error(message, &[]));
    };
    let (namespace, name) = proxy.and_then(|proxy| proxy.pod()).unwrap_or_default();
    let entry = |one: Difference| DiffEntry {
        name: one.name,
        change: one.change,
        version: one.version,
        since: one.since,
        diff: None,
    };
    let kinds: Vec<DiffKind> = comparison
        .kinds
        .into_iter()
        .map(|kind| DiffKind {
            kind: kind.kind,
            same: kind.same,
            differences: kind.differences.into_iter().map(entry).collect(),
        })
        .collect();
    let view = ProxyDiffView {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        istiod: comparison.istiod,
        revision: comparison.revision,
        same: kinds.iter().all(|kind| kind.differences.is_empty()),
        kinds,
        unreadable: comparison.unreadable,
    };
    Ok((snapshot, view))
}

/// The proxy that is meant, among those that istiods list.
fn find<'r, 'a>(rows: &'r [Row<'a>], snapshot: &Snapshot, target: &str) -> Result<&'r Row<'a>, ErrorDocument> {
    let mut found = rows.iter().filter(|row| is_named(target, row.namespace, row.name));
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row),
        (Some(one), Some(other)) => Err(error(
            format!("{} is in namespaces {} and {}", printable(target), one.namespace, other.namespace),
            &[
                "name one of them".to_owned(),
                format!("   kubectl asm proxy-status {}.{} --diff", one.name, one.namespace),
            ],
        )),
        (None, _) => {
            let fault = snapshot.xds.state().faults.first().or(snapshot.system_pods.state().faults.first());
            match fault {
                Some(fault) => Err(ErrorDocument::of_fault(fault)),
                None => Err(error(
                    format!("no istiod lists proxy {}", printable(target)),
                    &["which proxies are there?".to_owned(), "   kubectl asm proxy-status".to_owned()],
                )),
            }
        }
    }
}

fn error(message: String, hints: &[String]) -> ErrorDocument {
    ErrorDocument { kind: OF_THE_PROXY.to_owned(), message, hints: hints.to_vec() }
}

/// What the istiod that has the proxy's connection would send it now.
async fn from_istiod(cluster: &Cluster, target: &PodPort, proxy: &(String, String)) -> Result<Side, ErrorDocument> {
    #[derive(Deserialize)]
    struct Connections {
        #[serde(default)]
        clients: Vec<Connection>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Connection {
        #[serde(default)]
        connection_id: String,
    }
    let fault = |fault: Fault| ErrorDocument::of_fault(&fault);
    let odd = |what: &str| fault(Fault::new(FaultKind::Malformed, format!("istiod in pod {} {what}", target.pod)));
    let mut tunnel = cluster.forward(target).await.map_err(fault)?;
    let answer = tunnel.ask(&Question::Connections).await.map_err(fault)?;
    let connections: Connections =
        serde_json::from_slice(&answer.body).map_err(|_| odd("does not list its connections"))?;
    let ids: Vec<&str> = connections.clients.iter().map(|client| client.connection_id.as_str()).collect();
    let name = format!("{}.{}", proxy.0, proxy.1);
    let again = || {
        error(
            format!("{} has just changed to another istiod", printable(&name)),
            &["try again".to_owned(), format!("   kubectl asm proxy-status {} --diff", printable(&name))],
        )
    };
    let id = match config_diff::connection(&name, &ids) {
        Ok(Some(id)) => ConnectionId::new(id).ok_or_else(|| odd("names a connection in an odd way"))?,
        Ok(None) => return Err(again()),
        Err(other) => {
            let message = format!("istiod cannot tell {} from {}: the name of one contains the other's", name, other);
            return Err(error(printable(&message), &[]));
        }
    };
    let answer = tunnel.ask(&Question::ConfigOf(id)).await.map_err(fault)?;
    match answer.status.as_u16() {
        200 => Side::read(&answer.body).map_err(|_| odd("answers with what is no configuration")),
        404 => Err(again()),
        status => Err(odd(&format!("answers with status {status}"))),
    }
}

/// What the proxy has.
async fn from_proxy(cluster: &Cluster, (pod, namespace): &(String, String)) -> Result<Side, ErrorDocument> {
    let target = PodPort { namespace: namespace.clone(), pod: pod.clone(), port: ADMIN_PORT };
    let fault = |fault: Fault| ErrorDocument::of_fault(&fault);
    let mut tunnel = cluster.forward(&target).await.map_err(fault)?;
    let mut body = Vec::new();
    tunnel.ask_proxy(&ProxyQuestion::Everything, |piece| body.extend_from_slice(piece)).await.map_err(fault)?;
    Side::read(&body).map_err(|_| {
        // Envoy answers with a sentence when its configuration has a type that it does not know.
        let said: String = String::from_utf8_lossy(&body).chars().take(200).collect();
        let message = format!("the proxy of pod {pod} cannot print its configuration: {}", said.trim());
        fault(Fault::new(FaultKind::Malformed, printable(&message)))
    })
}

fn kind(compared: Compared) -> DiffKind {
    DiffKind {
        kind: compared.kind.word().to_owned(),
        same: compared.same,
        differences: compared
            .differences
            .into_iter()
            .map(|one| {
                let (change, diff) = match &one.change {
                    Change::Missing => ("missing", None),
                    Change::Extra => ("extra", None),
                    Change::Warming => ("warming", None),
                    Change::Differs { istiod, proxy } => ("differs", Some(config_diff::unified(istiod, proxy))),
                };
                DiffEntry { name: one.name, change: change.to_owned(), version: one.version, since: one.since, diff }
            })
            .collect(),
    }
}
