//! HTTP to a port of a pod, through the API server's port-forward.
//!
//! A container runtime dials the port from inside the pod, so what listens there sees a caller from loopback; istiod's
//! debug interface and Envoy's administration trust just that. What can be asked is an enum: requests that push
//! configuration, disconnect proxies, drain or stop them cannot be written down.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::FutureExt;
use futures::future::Fuse;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use tower::service_fn;

use super::request::{AGENT, limited};
use super::{Cluster, Shared, fault, request};
use crate::snapshot::{Fault, FaultKind, Need};

/// A port of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodPort {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Port.
    pub port: u16,
}

/// Everything that is ever asked of a pod. All of it reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// istiod's version, as text.
    IstiodVersion,
    /// Which proxies are connected to this istiod, and what each accepted of what was sent.
    Syncz,
    /// When each proxy connected to this istiod.
    Connections,
}

impl Question {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::IstiodVersion => "/version",
            Self::Syncz => "/debug/syncz",
            Self::Connections => "/debug/connections",
        })
    }

    /// The longest answer that is read: about 100,000 proxies.
    fn cap(&self) -> usize {
        match self {
            Self::IstiodVersion => 4 << 10,
            Self::Syncz => 256 << 20,
            Self::Connections => 64 << 20,
        }
    }
}

/// An answer of a pod.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: StatusCode,
    /// The pod's clock.
    pub date: Option<Timestamp>,
    /// Body.
    pub body: Vec<u8>,
}

/// What the runtime says when the port cannot be had; none when the tunnel just ends.
type Refusal = Fuse<Pin<Box<dyn Future<Output = Option<String>> + Send>>>;

/// A connection to a port of a pod. Questions follow each other on it.
pub struct Tunnel {
    shared: Arc<Shared>,
    target: PodPort,
    sender: SendRequest<Empty<Bytes>>,
    refusal: Refusal,
    connection: tokio::task::JoinHandle<()>,
    forwarder: Portforwarder,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.connection.abort();
        self.forwarder.abort();
    }
}

impl Cluster {
    /// Opens a port of a pod.
    ///
    /// # Errors
    /// When the API server refuses or cannot reach the pod. A port that nobody listens on shows only at the first question.
    pub async fn forward(&self, target: &PodPort) -> Result<Tunnel, Fault> {
        let shared = Arc::clone(&self.shared);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        // The credentials of a plugin are added to each request, as for all others.
        let adding = Arc::clone(&shared);
        let service = service_fn(move |mut request: Request<kube::client::Body>| {
            let shared = Arc::clone(&adding);
            async move {
                if let Some(plugin) = &shared.credentials
                    && let Some(value) = plugin.authorization().await?
                {
                    request.headers_mut().insert(AUTHORIZATION, value);
                }
                shared.client.send(request).await.map_err(tower::BoxError::from)
            }
        });
        let client = kube::Client::new(service, "default");
        let pods: kube::Api<Pod> = kube::Api::namespaced(client, &target.namespace);
        let ports = [target.port];
        let opened =
            limited(shared.idle, pods.portforward(&target.pod, &ports)).await.map_err(|_| request::silent(&shared))?;
        let mut forwarder = match opened {
            Ok(forwarder) => forwarder,
            Err(error) => return Err(not_opened(&error, target, &shared)),
        };
        let lost = || Fault::new(FaultKind::Unreachable, format!("the port-forward to {} did not open", name(target)));
        let stream = forwarder.take_stream(target.port).ok_or_else(lost)?;
        let refused = forwarder.take_error(target.port).ok_or_else(lost)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|_| lost())?;
        // How the connection ends shows in the question that is under way.
        let connection = tokio::spawn(connection.map(drop));
        let refusal: Pin<Box<dyn Future<Output = Option<String>> + Send>> = Box::pin(refused);
        Ok(Tunnel { shared, target: target.clone(), sender, refusal: refusal.fuse(), connection, forwarder })
    }
}

impl Tunnel {
    /// Asks, and reads the whole answer whatever its status.
    ///
    /// # Errors
    /// Nothing listens there ([`is_refused`]), the connection broke, nothing came for too long, or far too much did.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, Fault> {
        let broke = |target: &PodPort| {
            Fault::new(FaultKind::Unreachable, format!("the connection to {} broke off", name(target)))
        };
        let request = Request::builder()
            .method(Method::GET)
            .uri(question.path().as_ref())
            .header(HOST, "localhost")
            .header(USER_AGENT, AGENT)
            .body(Empty::new())
            .map_err(|_| Fault::new(FaultKind::Malformed, "the request cannot be written"))?;
        let idle = self.shared.idle;
        let (sender, refusal) = (&mut self.sender, &mut self.refusal);
        let answering = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = limited(idle, async {
            tokio::pin!(answering);
            tokio::select! {
                biased;
                // The tunnel's own words explain an end better than what HTTP makes of it.
                said = &mut *refusal => match said {
                    Some(said) => Err(Some(said)),
                    None => answering.await.map_err(|_| None),
                },
                answer = &mut answering => match answer {
                    Ok(answer) => Ok(answer),
                    Err(_) => Err(refusal.now_or_never().flatten()),
                },
            }
        })
        .await
        .map_err(|_| silence(&self.target, idle))?;
        let response = match answered {
            Ok(response) => response,
            Err(said) => return Err(said.map_or_else(|| broke(&self.target), |said| refused(&self.target, &said))),
        };
        let status = response.status();
        let date = response
            .headers()
            .get(DATE)
            .and_then(|value| value.to_str().ok())
            .and_then(|text| jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok());
        let announced = response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let mut body = Vec::with_capacity(announced.unwrap_or(0).min(question.cap()));
        let mut incoming = response.into_body();
        while let Some(frame) = limited(idle, incoming.frame()).await.map_err(|_| silence(&self.target, idle))? {
            let frame = frame.map_err(|_| {
                Fault::new(FaultKind::Truncated, format!("the answer of {} stops in the middle", name(&self.target)))
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            self.shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if body.len() + bytes.len() > question.cap() {
                let message = format!("the answer of {} to {} is too large", name(&self.target), question.path());
                return Err(Fault::new(FaultKind::Truncated, message));
            }
            body.extend_from_slice(&bytes);
        }
        Ok(Answer { status, date, body })
    }
}

fn name(target: &PodPort) -> String {
    format!("port {} of pod {}", target.port, fault::clean(&target.pod, 253))
}

fn silence(target: &PodPort, idle: Option<std::time::Duration>) -> Fault {
    let seconds = idle.unwrap_or_default().as_secs_f64();
    Fault::new(FaultKind::Timeout, format!("{} sent nothing for {seconds} s", name(target)))
}

/// Words by which container runtimes say that nothing listens on a port of a pod that runs.
const REFUSED: &str = "connection refused";

/// Whether a fault says that nothing listens on the port: the pod was reached, and is not serving.
#[must_use]
pub fn is_refused(fault: &Fault) -> bool {
    fault.kind == FaultKind::Unreachable && fault.message.ends_with(REFUSED)
}

fn refused(target: &PodPort, said: &str) -> Fault {
    if said.to_ascii_lowercase().contains(REFUSED) {
        return Fault::new(FaultKind::Unreachable, format!("{}: {REFUSED}", name(target)));
    }
    Fault::new(FaultKind::Unreachable, format!("{} cannot be forwarded: {}", name(target), fault::clean(said, 200)))
}

fn not_opened(error: &kube::Error, target: &PodPort, shared: &Shared) -> Fault {
    use kube::client::UpgradeConnectionError as Upgrade;
    let resource = "pods/portforward".to_owned();
    let namespace = Some(target.namespace.clone());
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            // From Kubernetes 1.35 on the server wants `create` for a WebSocket too; its own words tell.
            let verb = if status.message.contains("cannot create") { "create" } else { "get" };
            let need = Need { verb: verb.to_owned(), resource, namespace };
            let code = StatusCode::FORBIDDEN;
            let body = serde_json::json!({"kind": "Status", "message": status.message}).to_string();
            fault::from_status(code, body.as_bytes(), Some(&need), &shared.info)
        }
        kube::Error::Api(status) if status.code == 404 => Fault::new(
            FaultKind::Unreachable,
            format!("pod {} does not exist any more", fault::clean(&target.pod, 253)),
        ),
        kube::Error::Api(status) if status.code == 401 => {
            fault::from_status(StatusCode::UNAUTHORIZED, b"", None, &shared.info)
        }
        kube::Error::Api(status) => Fault::new(
            FaultKind::Unreachable,
            format!("no port-forward to {}: {}", name(target), fault::clean(&status.message, 200)),
        ),
        kube::Error::UpgradeConnection(Upgrade::ProtocolSwitch(code)) => Fault::new(
            FaultKind::Unreachable,
            format!(
                "no port-forward to {}: the server answers {} instead of switching to WebSocket",
                name(target),
                code.as_u16()
            ),
        )
        .hint("a proxy between this console and the cluster may not let WebSockets through"),
        kube::Error::UpgradeConnection(_) => Fault::new(
            FaultKind::Unreachable,
            format!("no port-forward to {}: the WebSocket did not open", name(target)),
        ),
        // The credential plugin failed under way.
        kube::Error::Service(inner) if inner.is::<Fault>() => {
            inner.downcast_ref::<Fault>().cloned().unwrap_or_else(|| fault::from_kube(error, &shared.info))
        }
        other => fault::from_kube(other, &shared.info),
    }
}
