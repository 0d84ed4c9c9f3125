//! Asking an istiod pod which proxies are connected to it.

use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;

use super::forward::{self, Answer, PodPort, Question, Tunnel};
use super::{Api, Cluster, fault, request};
use crate::model::metrics::{Families, Reader};
use crate::snapshot::{Fault, FaultKind};

/// Longest wait for one istiod, whatever it does: those that answer take milliseconds.
const LIMIT: Duration = Duration::from_secs(10);

/// What the pod list says about an istiod pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    /// It runs.
    Running,
    /// It is being deleted: what it still serves moves elsewhere in moments.
    Ending,
    /// It does not run yet.
    NotRunning,
}

/// An istiod pod to ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IstiodRequest {
    /// Where it serves its debug interface.
    pub target: PodPort,
    /// Its revision.
    pub revision: String,
    /// Whether it can be asked.
    pub life: Life,
}

/// What came of asking.
#[derive(Clone, Debug, Default)]
pub struct IstiodReply {
    /// `/version`.
    pub version: Option<String>,
    /// Its clock.
    pub date: Option<Timestamp>,
    /// `/debug/syncz`.
    pub syncz: Option<Vec<u8>>,
    /// `/debug/connections`.
    pub connections: Option<Vec<u8>>,
    /// `/metrics`, asked only where the lists may not be read.
    pub metrics: Option<Vec<u8>>,
    /// Why there is no list; none for a pod that does not run.
    pub fault: Option<Fault>,
}

impl Cluster {
    /// Asks an istiod pod. Takes at most 10 seconds, or four fifths of what is left of the run's time: there must be some
    /// left for what the others said. What came until then is in the reply.
    pub async fn istiod(&self, request: &IstiodRequest, left: Duration) -> IstiodReply {
        let mut reply = IstiodReply::default();
        if request.life == Life::NotRunning {
            return reply;
        }
        let limit = self.shared.idle.unwrap_or(LIMIT).min(LIMIT).min(left.mul_f32(0.8));
        let ended = match tokio::time::timeout(limit, lists(self, &request.target, &mut reply)).await {
            Ok(ended) => ended,
            Err(_) => Err(Fault::new(
                FaultKind::Timeout,
                format!(
                    "pod {} did not answer within {} s",
                    fault::clean(&request.target.pod, 253),
                    limit.as_secs_f64()
                ),
            )
            .hint("is istiod overloaded or stopped?")
            .hint(format!("   kubectl logs -n {} {} --tail=20", request.target.namespace, request.target.pod))),
        };
        if let Err(fault) = ended {
            let forbidden = fault.kind == FaultKind::Forbidden;
            reply.fault = Some(fault);
            if forbidden {
                // What the proxy subresource gives is not trusted with lists, but says the version and counts proxies.
                let _ = tokio::time::timeout(limit, instead(self, &request.target, &mut reply)).await;
            }
        }
        reply
    }
}

/// What came of asking for metrics.
#[derive(Clone, Debug, Default)]
pub struct MetricsReply {
    /// Its clock.
    pub date: Option<Timestamp>,
    /// What it counts, as far as that is known here.
    pub families: Option<Families>,
    /// Why there is nothing; none for a pod that does not run.
    pub fault: Option<Fault>,
}

impl Cluster {
    /// Asks an istiod pod what it counts, in the same time as [`Cluster::istiod`]. Without the right to forward ports it
    /// is asked through `pods/proxy`: metrics it tells everybody.
    pub async fn istiod_metrics(&self, request: &IstiodRequest, left: Duration) -> MetricsReply {
        if request.life == Life::NotRunning {
            return MetricsReply::default();
        }
        let limit = self.shared.idle.unwrap_or(LIMIT).min(LIMIT).min(left.mul_f32(0.8));
        let failed = |fault| MetricsReply { fault: Some(fault), ..MetricsReply::default() };
        match tokio::time::timeout(limit, metrics(self, &request.target)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(refusal)) if refusal.kind == FaultKind::Forbidden => {
                match tokio::time::timeout(limit, metrics_instead(self, &request.target)).await {
                    Ok(Ok(Some(families))) => MetricsReply { families: Some(families), ..MetricsReply::default() },
                    // The better way is the one to ask for.
                    _ => failed(refusal),
                }
            }
            Ok(Err(fault)) => failed(fault),
            Err(_) => failed(Fault::new(
                FaultKind::Timeout,
                format!(
                    "pod {} did not answer within {} s",
                    fault::clean(&request.target.pod, 253),
                    limit.as_secs_f64()
                ),
            )),
        }
    }
}

async fn metrics(cluster: &Cluster, target: &PodPort) -> Result<MetricsReply, Fault> {
    let mut tunnel = cluster.forward(target).await?;
    let mut reader = Reader::default();
    let answer = tunnel.ask_streamed(&Question::Metrics, |piece| reader.push(piece)).await?;
    if answer.status != StatusCode::OK {
        let (pod, status) = (fault::clean(&target.pod, 253), answer.status.as_u16());
        let message = format!("istiod in pod {pod} answers /metrics with status {status}");
        return Err(Fault::new(FaultKind::Malformed, message));
    }
    Ok(MetricsReply { date: answer.date, families: Some(reader.finish()), fault: None })
}

async fn metrics_instead(cluster: &Cluster, target: &PodPort) -> Result<Option<Families>, Fault> {
    let body = through_proxy(cluster, target, "/metrics").await?;
    Ok(body.map(|body| {
        let mut reader = Reader::default();
        reader.push(&body);
        reader.finish()
    }))
}

async fn lists(cluster: &Cluster, target: &PodPort, reply: &mut IstiodReply) -> Result<(), Fault> {
    let mut tunnel = cluster.forward(target).await?;
    let version = tunnel.ask(&Question::IstiodVersion).await?;
    reply.date = version.date;
    if version.status == StatusCode::OK {
        reply.version = version_of(&version.body);
    }
    let syncz = asked(&mut tunnel, &Question::Syncz, target).await?;
    reply.date = syncz.date.or(reply.date);
    reply.syncz = Some(syncz.body);
    // Only the time of a connection is lost without it.
    reply.connections = asked(&mut tunnel, &Question::Connections, target).await.ok().map(|answer| answer.body);
    Ok(())
}

async fn asked(tunnel: &mut Tunnel, question: &Question, target: &PodPort) -> Result<Answer, Fault> {
    let answer = tunnel.ask(question).await?;
    let pod = fault::clean(&target.pod, 253);
    let path = question.path();
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(Fault::new(
            FaultKind::Unauthenticated,
            format!(
                "istiod in pod {pod} refuses {path} ({}): it trusts callers from inside its pod only, and the port-forward does not arrive as one",
                answer.status.as_u16()
            ),
        )),
        StatusCode::NOT_FOUND => Err(Fault::new(
            FaultKind::Unreachable,
            format!("istiod in pod {pod} does not serve {path}: its debug interface is switched off"),
        )
        .hint("istiod's variable ENABLE_DEBUG_ON_HTTP decides")
        .hint(format!("   kubectl get pod -n {} {pod} -o yaml", target.namespace))),
        status => Err(Fault::new(
            FaultKind::Malformed,
            format!("istiod in pod {pod} answers {path} with status {}", status.as_u16()),
        )),
    }
}

/// Through `pods/proxy`, which arrives from outside the pod: enough for what istiod tells everybody.
async fn instead(cluster: &Cluster, target: &PodPort, reply: &mut IstiodReply) -> Result<(), Fault> {
    reply.version = through_proxy(cluster, target, "/version").await?.as_deref().and_then(version_of);
    reply.metrics = through_proxy(cluster, target, "/metrics").await?;
    Ok(())
}

async fn through_proxy(cluster: &Cluster, target: &PodPort, path: &str) -> Result<Option<Vec<u8>>, Fault> {
    let pod = format!("{}:{}", target.pod, target.port);
    let base = request::object_path(&Api::PODS, Some(&target.namespace), &pod);
    request::fetch(&cluster.shared, request::Call::get(format!("{base}/proxy{path}"), "*/*", None)).await
}

fn version_of(body: &[u8]) -> Option<String> {
    let text = fault::clean(std::str::from_utf8(body).ok()?, 100);
    (!text.is_empty() && text.starts_with(|c: char| c.is_ascii_alphanumeric())).then_some(text)
}

pub use forward::is_refused;
