//! `metrics`.

use std::cell::RefCell;
use std::time::Duration;

use futures::future::join_all;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::proxy_config;
use super::session::{self, DefaultScope, Job};
use crate::cluster::Cluster;
use crate::cluster::forward::{PodPort, Question};
use crate::engine::lens::{MESH_CONFIGS, REVISIONS, World};
use crate::engine::{Area, Check};
use crate::gather::Gathered;
use crate::mesh::istiod_metrics::{KNOWN, rows, since};
use crate::mesh::mesh_config::mesh_configs;
use crate::mesh::proxy;
use crate::mesh::scraping::{Scraping, scraping};
use crate::model::age::words;
use crate::model::xds::Asked;
use crate::report::metrics::{
    EndpointView, IstiodMetricsView, MergeView, MetricRow, MetricsView, ProxyEndpoints, QueryView,
};
use crate::report::{ErrorDocument, View};
use crate::snapshot::{SourceId, StateKind};

/// What istiods count and what it means, whether anybody collects the mesh's metrics, and the queries for it
///
/// Counters go from the start of each istiod. Nothing of an application is read, unless --proxy or --sample asks whether
/// sidecars answer.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm metrics\n  kubectl asm metrics -o wide                  # every number, with its query\n  kubectl asm metrics --proxy web-7d9c5b8f4-4bfzw.shop\n  kubectl asm metrics -o json | jq '.view.istiods[] | {pod, rejects: (.rows[] | select(.metric == \"rejects\").value)}'"
)]
pub struct MetricsArgs {
    /// Ask whether this proxy's metrics can be had: POD, POD.NAMESPACE or TYPE/NAME (repeatable)
    #[arg(long, value_name = "POD")]
    proxy: Vec<String>,
    /// Ask so many proxies, one per namespace first
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    sample: usize,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// What its view needs besides the checks.
pub const VIEW: &[&[SourceId]] = &[
    REVISIONS,
    MESH_CONFIGS,
    &[SourceId::IstiodMetrics, SourceId::MetricsAgents, SourceId::MetricsConfigMaps, SourceId::Pods],
];

/// Checks of metrics, and of what could not be read.
#[must_use]
pub fn is_about_metrics(check: &Check) -> bool {
    check.area == Area::Telemetry || check.code == "ENV03"
}

/// Where a sidecar serves metrics: its own and its application's together, and Envoy's alone
/// (<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>).
const PORTS: [u16; 2] = [15020, 15090];
/// Most proxies that are asked: it is a sample, and each is a port-forward.
const MOST: usize = 50;
/// Longest wait for one proxy; with metrics of its application it may take a moment.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs `metrics`.
pub fn run(connection: &ConnectionArgs, args: &MetricsArgs) -> Exit {
    let asks_proxies = !args.proxy.is_empty() || args.sample > 0;
    if asks_proxies && args.report.from.is_some() {
        let message = "--proxy and --sample do not go with --from: a bundle holds no metrics of proxies".to_owned();
        return session::refuse(&args.report, message, "kubectl asm metrics --from bundle.tar.gz");
    }
    let proxies: RefCell<Vec<ProxyEndpoints>> = RefCell::default();
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: VIEW,
        view: &|world, _| View::Metrics(Box::new(MetricsView { proxies: proxies.borrow().clone(), ..view(world) })),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &is_about_metrics,
        grace: crate::mesh::sync::GRACE,
    };
    let also = async |cluster: &Cluster, gathered: &mut Gathered, left: Duration| {
        if asks_proxies {
            proxies.replace(endpoints(cluster, gathered, args, left).await?);
        }
        Ok(())
    };
    session::judge_and(connection, &args.scope, &args.report, &job, also).0
}

/// Asks the proxies that are named or sampled, all at once.
async fn endpoints(
    cluster: &Cluster,
    gathered: &Gathered,
    args: &MetricsArgs,
    left: Duration,
) -> Result<Vec<ProxyEndpoints>, ErrorDocument> {
    let context = cluster.info().namespace.clone();
    let namespace = args.scope.namespace.first().unwrap_or(&context);
    let pods = gathered.snapshot.pods.items().unwrap_or_default();
    let place = |name: &String| {
        // Names of pods may contain dots, so one that exists as it is goes first.
        let exists = pods.iter().any(|pod| pod.metadata.name == *name && pod.metadata.namespace == *namespace);
        match name.rsplit_once('.').filter(|_| !exists) {
            Some((pod, namespace)) => (namespace.to_owned(), pod.to_owned()),
            None => (namespace.clone(), name.clone()),
        }
    };
    let mut chosen: Vec<(String, String)> = Vec::new();
    for name in &args.proxy {
        chosen.push(if name.contains('/') {
            let pod = proxy_config::find(cluster, name, namespace, !args.scope.namespace.is_empty()).await?.metadata;
            (pod.namespace, pod.name)
        } else {
            place(name)
        });
    }
    let running = pods.iter().filter(|pod| pod.is_ready() && proxy::of_pod(pod).is_some());
    let mut candidates: Vec<(usize, (String, String))> = Vec::new();
    for pod in running {
        let of_namespace = candidates.iter().filter(|(_, (namespace, _))| *namespace == pod.metadata.namespace).count();
        candidates.push((of_namespace, (pod.metadata.namespace.clone(), pod.metadata.name.clone())));
        if candidates.len() > 10_000 {
            break;
        }
    }
    candidates.sort();
    chosen.extend(candidates.into_iter().map(|(_, place)| place).take(args.sample));
    chosen.dedup();
    chosen.truncate(MOST);
    let limit = left.min(LIMIT).mul_f32(0.9);
    let asked = chosen.into_iter().map(async |(namespace, pod)| {
        let ports = join_all(PORTS.map(|port| endpoint(cluster, &namespace, &pod, port, limit))).await;
        ProxyEndpoints { namespace, pod, ports }
    });
    Ok(join_all(asked).await)
}

async fn endpoint(cluster: &Cluster, namespace: &str, pod: &str, port: u16, limit: Duration) -> EndpointView {
    let target = PodPort { namespace: namespace.to_owned(), pod: pod.to_owned(), port };
    let mut seen = Seen::default();
    let asking = async {
        let mut tunnel = cluster.forward(&target).await?;
        tunnel.ask_streamed(&Question::ProxyMetrics, |piece| seen.push(piece)).await
    };
    let error = match tokio::time::timeout(limit, asking).await {
        Ok(Ok(answer)) if answer.status == http::StatusCode::OK => None,
        Ok(Ok(answer)) => Some(format!("status {}", answer.status.as_u16())),
        Ok(Err(fault)) => Some(fault.message),
        Err(_) => Some(format!("no answer within {} s", limit.as_secs_f64().round())),
    };
    EndpointView { port, answered: error.is_none() && seen.metrics, requests: seen.requests, error }
}

/// What is in an answer, without holding it.
#[derive(Default)]
struct Seen {
    metrics: bool,
    requests: bool,
    tail: Vec<u8>,
}

impl Seen {
    fn push(&mut self, piece: &[u8]) {
        const METRICS: &[u8] = b"# TYPE ";
        const REQUESTS: &[u8] = b"istio_requests_total";
        // Words may stand across two pieces.
        self.tail.extend_from_slice(piece);
        let has = |word: &[u8]| self.tail.windows(word.len()).any(|window| window == word);
        self.metrics = self.metrics || has(METRICS);
        self.requests = self.requests || has(REQUESTS);
        let keep = self.tail.len().saturating_sub(REQUESTS.len());
        self.tail.drain(..keep);
    }
}

fn view(world: &World<'_>) -> MetricsView {
    let snapshot = world.snapshot;
    let agents = snapshot.metrics_agents.items();
    let managed_prometheus = agents.map(|agents| match agents.first() {
        None => "notInstalled",
        Some(agent) if agent.ready == 0 => "notReady",
        Some(_) => "installed",
    });
    let is_there = agents.is_some_and(|agents| !agents.is_empty());
    let sidecars_collected =
        snapshot.metrics_config_maps.items().filter(|_| is_there).map(|maps| match scraping(maps) {
            Scraping::Likely => "likely",
            Scraping::Broken => "broken",
            Scraping::Nothing | Scraping::OtherJobs(_) => "no",
        });
    let merge = (snapshot.system_config_maps.state().kind == StateKind::Collected && world.is_installed().is_some())
        .then(|| {
            mesh_configs(snapshot, &world.revisions)
                .iter()
                .map(|config| MergeView {
                    revision: config.revision.clone(),
                    // Istio's own default (`pkg/config/mesh/mesh.go`).
                    on: config.switch("enablePrometheusMerge") != Some(false),
                })
                .collect()
        });
    let istiods = snapshot.istiod_metrics.items().unwrap_or_default().iter().map(|record| {
        let begin = since(&record.families);
        let now = record.date.unwrap_or(world.now);
        let answered = record.asked == Asked::Answered;
        IstiodMetricsView {
            pod: record.pod.clone(),
            revision: record.revision.clone(),
            answered,
            error: record.error.clone(),
            since: begin,
            age: begin.map(|begin| words(now.duration_since(begin))),
            rows: if answered { rows(&record.families).iter().map(row).collect() } else { Vec::new() },
        }
    });
    let mut istiods: Vec<IstiodMetricsView> = istiods.collect();
    istiods.sort_by(|a, b| (&a.revision, &a.pod).cmp(&(&b.revision, &b.pod)));
    MetricsView {
        managed_prometheus: managed_prometheus.map(str::to_owned),
        sidecars_collected: sidecars_collected.map(str::to_owned),
        merge,
        istiods_asked: snapshot.istiod_metrics.state().kind != StateKind::NotRequested,
        istiods,
        proxies: Vec::new(),
        queries: KNOWN
            .iter()
            .map(|known| QueryView { metric: known.name.to_owned(), prom_ql: known.query.to_owned() })
            .collect(),
    }
}

fn row(row: &crate::mesh::istiod_metrics::Row) -> MetricRow {
    MetricRow {
        metric: row.known.name.to_owned(),
        value: row.value,
        text: row.text(),
        means: row.meaning().to_owned(),
        always: row.known.always,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_across_two_pieces_is_seen() {
        for size in [1, 5, 1000] {
            let mut seen = Seen::default();
            b"# TYPE istio_requests_total counter\nistio_requests_total{a=\"b\"} 1\n"
                .chunks(size)
                .for_each(|p| seen.push(p));
            assert!(seen.metrics && seen.requests, "{size}");
            assert!(seen.tail.len() <= 20);
        }
        let mut page = Seen::default();
        page.push(b"<html>");
        assert!(!page.metrics);
    }
}
