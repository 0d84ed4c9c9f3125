//! `proxy-status POD --diff`.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::proxy_status::is_named;
use super::session::{self, DefaultScope, Job};
use crate::cluster::Cluster;
use crate::cluster::envoy::{ADMIN_PORT, ProxyQuestion};
use crate::cluster::forward::{ConnectionId, PodPort, Question};
use crate::gather::{self, Plan};
use crate::mesh::config_diff::{self, Change, Compared, Side};
use crate::mesh::sync::{self, Row};
use crate::model::quoted::printable;
use crate::report::proxy_diff_view::{DiffEntry, DiffKind, ProxyDiffView};
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Fault, FaultKind, Scope, Snapshot, SourceId};
use crate::sources::xds;

/// Compares, and prints. Exits with 1 when something differs, as `kubectl diff` does.
pub(super) fn run(connection: &ConnectionArgs, scope: &ScopeArgs, args: &ReportArgs, target: &str) -> Exit {
    if args.from.is_some() {
        let message = "--diff asks istiod and a proxy that runs, and a bundle has no configuration of single proxies";
        return session::refuse(args, message.to_owned(), "kubectl asm proxy-status --help");
    }
    let late = "istiod and the proxy did not answer";
    let asked = session::with_cluster(connection, args, late, async |cluster, left| {
        from_both(cluster, scope, left, target).await
    });
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
    let snapshot = gathered.snapshot;
    let now = snapshot.origin.captured_at.unwrap_or_else(Timestamp::now);
    let listed = sync::sync(&snapshot, &[], now, SignedDuration::ZERO);
    let row = find(&listed.rows, &snapshot, target)?;
    let (Some(istiod), proxy) = (row.istiod, (row.name.to_owned(), row.namespace.to_owned())) else {
        return Err(error(format!("it is not known which istiod lists {}", printable(target)), &[]));
    };
    let asked = xds::requests(&snapshot).into_iter().find(|request| request.target.pod == istiod.pod);
    let Some(request) = asked else {
        return Err(error(format!("istiod pod {} is gone", printable(&istiod.pod)), &["try again".to_owned()]));
    };
    let (wanted, held) = tokio::join!(from_istiod(cluster, &request.target, &proxy), from_proxy(cluster, &proxy));
    let (wanted, held) = (wanted?, held?);
    let compared = config_diff::compare(&wanted, &held);
    let view = ProxyDiffView {
        name: proxy.0,
        namespace: proxy.1,
        istiod: istiod.pod.clone(),
        revision: istiod.revision.clone(),
        same: compared.iter().all(|kind| kind.differences.is_empty()),
        kinds: compared.into_iter().map(kind).collect(),
        unreadable: wanted.damaged + held.damaged,
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
    ErrorDocument { kind: "pod".to_owned(), message, hints: hints.to_vec() }
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
