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
use std::time::Duration;

use futures::FutureExt;
use futures::future::Fuse;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, DATE, HOST, HeaderName, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tower::service_fn;

use super::envoy::ProxyQuestion;
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

/// Everything that is ever asked of a pod. All of it reads, but for what [`ProxyQuestion`] names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Question {
    /// istiod's version, as text.
    IstiodVersion,
    /// Which proxies are connected to this istiod, and what each accepted of what was sent.
    Syncz,
    /// When each proxy connected to this istiod.
    Connections,
    /// What this istiod would send a proxy now, endpoints included.
    ConfigOf(ConnectionId),
    /// What this istiod counts.
    Metrics,
    /// What this proxy counts, with its application where metrics are merged.
    ProxyMetrics,
    /// A question to a proxy.
    Proxy(ProxyQuestion),
}

/// The name of a proxy's connection to an istiod, as `/debug/connections` has it: `POD.NAMESPACE-NUMBER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionId(String);

impl ConnectionId {
    /// Takes a name that can stand in a request as it is.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        (!text.is_empty() && text.len() < 512 && text.chars().all(plain)).then(|| Self(text.to_owned()))
    }
}

impl Question {
    /// Path and query.
    #[must_use]
    pub fn path(&self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::IstiodVersion => "/version",
            Self::Syncz => "/debug/syncz",
            Self::Connections => "/debug/connections",
            Self::Metrics => "/metrics",
            Self::ProxyMetrics => "/stats/prometheus",
            Self::ConfigOf(id) => return Cow::Owned(format!("/debug/config_dump?proxyID={}&include_eds=true", id.0)),
            Self::Proxy(question) => return question.path(),
        })
    }

    fn method(&self) -> Method {
        match self {
            Self::Proxy(question) => question.method(),
            Self::IstiodVersion
            | Self::Syncz
            | Self::Connections
            | Self::ConfigOf(_)
            | Self::Metrics
            | Self::ProxyMetrics => Method::GET,
        }
    }

    /// The longest answer that is read: about 100,000 proxies.
    fn cap(&self) -> usize {
        match self {
            Self::IstiodVersion => 4 << 10,
            Self::Syncz => 256 << 20,
            Self::Connections | Self::Metrics => 64 << 20,
            Self::ProxyMetrics => 256 << 20,
            Self::ConfigOf(_) => 1 << 30,
            Self::Proxy(question) => question.cap(),
        }
    }
}

/// Room that an announced length gets before anything has come.
const FIRST_ROOM: usize = 4 << 20;

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

/// A connection to a port of a pod. Questions follow each other on it.
pub struct Tunnel {
    shared: Arc<Shared>,
    conversation: Conversation,
    forwarder: Portforwarder,
}

impl Drop for Tunnel {
    fn drop(&mut self) {
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
        let refusal = forwarder.take_error(target.port).ok_or_else(lost)?;
        let conversation = Conversation::begin(stream, refusal, target, shared.idle).await.ok_or_else(lost)?;
        Ok(Tunnel { shared, conversation, forwarder })
    }
}

impl Tunnel {
    /// Asks, and reads the whole answer whatever its status.
    ///
    /// # Errors
    /// Nothing listens there ([`is_refused`]), the connection broke, nothing came for too long, or far too much did.
    pub async fn ask(&mut self, question: &Question) -> Result<Answer, Fault> {
        let answer = self.conversation.ask(question).await?;
        self.shared.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        Ok(answer)
    }

    /// Asks, and hands the answer over while it arrives. Of an answer that is no success only the beginning is kept.
    ///
    /// # Errors
    /// As [`Tunnel::ask`].
    pub async fn ask_streamed(
        &mut self,
        question: &Question,
        mut on_piece: impl FnMut(&[u8]) + Send,
    ) -> Result<Answer, Fault> {
        const SAID: usize = 4 << 10;
        let mut said = Vec::new();
        let mut bytes = 0;
        let (status, date) = self
            .conversation
            .read(question, |status, _, piece| {
                bytes += piece.len() as u64;
                if status == StatusCode::OK {
                    on_piece(piece);
                } else {
                    said.extend_from_slice(&piece[..piece.len().min(SAID.saturating_sub(said.len()))]);
                }
            })
            .await?;
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(Answer { status, date, body: said })
    }
}

/// What the runtime says when the port cannot be had; none when the tunnel just ends.
type Refusal = Fuse<Pin<Box<dyn Future<Output = Option<String>> + Send>>>;

/// HTTP/1.1 over a stream that is already there.
struct Conversation {
    target: PodPort,
    idle: Option<Duration>,
    sender: SendRequest<Empty<Bytes>>,
    refusal: Refusal,
    connection: JoinHandle<()>,
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Conversation {
    async fn begin(
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        refusal: impl Future<Output = Option<String>> + Send + 'static,
        target: &PodPort,
        idle: Option<Duration>,
    ) -> Option<Self> {
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
        // How the connection ends shows in the question that is under way.
        let connection = tokio::spawn(connection.map(drop));
        let refusal: Pin<Box<dyn Future<Output = Option<String>> + Send>> = Box::pin(refusal);
        Some(Self { target: target.clone(), idle, sender, refusal: refusal.fuse(), connection })
    }

    async fn ask(&mut self, question: &Question) -> Result<Answer, Fault> {
        let mut body = Vec::new();
        let (status, date) = self
            .read(question, |_, announced, piece| {
                if body.is_empty() {
                    body.reserve(announced.unwrap_or(0).min(FIRST_ROOM));
                }
                body.extend_from_slice(piece);
            })
            .await?;
        Ok(Answer { status, date, body })
    }

    /// Hands over the pieces of an answer, each with the status and the announced length of the whole.
    async fn read(
        &mut self,
        question: &Question,
        mut on_piece: impl FnMut(StatusCode, Option<usize>, &[u8]) + Send,
    ) -> Result<(StatusCode, Option<Timestamp>), Fault> {
        let response = self.send(question).await?;
        let status = response.status();
        let header = |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let date = header(DATE).and_then(|text| DateTimeParser::new().parse_timestamp(text).ok());
        let announced = header(CONTENT_LENGTH).and_then(|text| text.parse::<usize>().ok());
        let mut length = 0;
        let mut incoming = response.into_body();
        let (target, idle) = (&self.target, self.idle);
        while let Some(frame) = limited(idle, incoming.frame()).await.map_err(|_| silence(target, idle))? {
            let frame = frame.map_err(|_| {
                Fault::new(FaultKind::Truncated, format!("the answer of {} stops in the middle", name(target)))
            })?;
            let Ok(bytes) = frame.into_data() else { continue };
            length += bytes.len();
            if length > question.cap() {
                let message = format!("the answer of {} to {} is too large", name(target), question.path());
                return Err(Fault::new(FaultKind::Truncated, message));
            }
            on_piece(status, announced, &bytes);
        }
        Ok((status, date))
    }

    /// Sends the request and waits for the head of the answer.
    async fn send(&mut self, question: &Question) -> Result<Response<Incoming>, Fault> {
        let request = Request::builder()
            .method(question.method())
            .uri(question.path().as_ref())
            .header(HOST, "localhost")
            .header(USER_AGENT, AGENT)
            .body(Empty::new())
            .map_err(|_| Fault::new(FaultKind::Malformed, "the request cannot be written"))?;
        let (sender, refusal) = (&mut self.sender, &mut self.refusal);
        let answering = async {
            sender.ready().await?;
            sender.send_request(request).await
        };
        let answered = limited(self.idle, async {
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
        .map_err(|_| silence(&self.target, self.idle))?;
        answered.map_err(|said| match said {
            Some(said) => refused(&self.target, &said),
            None => Fault::new(FaultKind::Unreachable, format!("the connection to {} broke off", name(&self.target))),
        })
    }
}

fn name(target: &PodPort) -> String {
    format!("port {} of pod {}", target.port, fault::clean(&target.pod, 253))
}

fn silence(target: &PodPort, idle: Option<Duration>) -> Fault {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

    use super::*;

    const IDLE: Duration = Duration::from_millis(50);

    /// A conversation with a pod whose every byte the test writes, and the tunnel's error channel.
    async fn pod(refusal: impl Future<Output = Option<String>> + Send + 'static) -> (Conversation, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 20);
        let target = PodPort { namespace: "n".into(), pod: "istiod-1".into(), port: 15014 };
        (Conversation::begin(near, refusal, &target, Some(IDLE)).await.unwrap(), far)
    }

    async fn request(pod: &mut DuplexStream) -> String {
        let mut seen = Vec::new();
        while !seen.ends_with(b"\r\n\r\n") {
            seen.push(pod.read_u8().await.unwrap());
        }
        String::from_utf8(seen).unwrap()
    }

    async fn answered(bytes: &'static [u8], close: bool) -> Result<Answer, Fault> {
        let (mut conversation, mut far) = pod(std::future::pending()).await;
        let server = tokio::spawn(async move {
            request(&mut far).await;
            far.write_all(bytes).await.unwrap();
            if !close {
                std::future::pending::<()>().await;
            }
        });
        let answer = conversation.ask(&Question::Syncz).await;
        server.abort();
        answer
    }

    #[tokio::test]
    async fn questions_follow_each_other_on_one_connection() {
        let (mut conversation, mut far) = pod(std::future::pending()).await;
        let server = tokio::spawn(async move {
            let first = request(&mut far).await;
            far.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n[]")
                .await
                .unwrap();
            let second = request(&mut far).await;
            far.write_all(
                b"HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
            )
            .await
            .unwrap();
            [first, second]
        });
        let answer = conversation.ask(&Question::Syncz).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &b"[]"[..]));
        assert_eq!(answer.date.unwrap().as_second(), 784_111_777);
        let answer = conversation.ask(&Question::Connections).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::NOT_FOUND, &b"abc"[..]));
        let seen = server.await.unwrap();
        assert!(seen[0].starts_with("GET /debug/syncz HTTP/1.1\r\n"), "{}", seen[0]);
        assert!(seen[1].starts_with("GET /debug/connections HTTP/1.1\r\n"), "{}", seen[1]);
    }

    #[tokio::test]
    async fn broken_answers_are_told_apart() {
        let fault = async |bytes, close| answered(bytes, close).await.unwrap_err();
        assert_eq!(fault(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", true).await.kind, FaultKind::Truncated);
        assert_eq!(fault(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", false).await.kind, FaultKind::Timeout);
        assert_eq!(fault(b"", true).await.kind, FaultKind::Unreachable);
        assert_eq!(fault(b"", false).await.kind, FaultKind::Timeout);
        let rubbish = fault(b"SSH-2.0-OpenSSH_9.2\r\n", true).await;
        assert_eq!((rubbish.kind, is_refused(&rubbish)), (FaultKind::Unreachable, false));
    }

    #[tokio::test]
    async fn the_runtime_says_when_nothing_listens() {
        let said = "error forwarding port 15014 to pod 1f, uid : failed to connect to localhost:15014 inside namespace \"1f\", IPv4: dial tcp4 127.0.0.1:15014: connect: connection refused";
        let (mut conversation, _far) = pod(std::future::ready(Some(said.to_owned()))).await;
        let fault = conversation.ask(&Question::IstiodVersion).await.unwrap_err();
        assert!(is_refused(&fault), "{fault}");
        let (mut conversation, _far) = pod(std::future::ready(Some("pod sandbox is gone\u{1b}[2J".to_owned()))).await;
        let fault = conversation.ask(&Question::IstiodVersion).await.unwrap_err();
        assert!(!is_refused(&fault) && fault.message.ends_with("pod sandbox is gone [2J"), "{fault}");
    }
}
