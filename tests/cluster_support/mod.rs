//! A small HTTP server over a real socket whose every byte a test decides, and little helpers around it.
#![allow(dead_code)] // reason: every test target uses a part of it

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use futures::{SinkExt, StreamExt};
use kubectl_asm::cluster::{Api, Cluster, ConnectOptions, ListRequest, ListSink};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_tungstenite::{WebSocketStream, tungstenite};

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub line: String,
    pub head: String,
    pub body: String,
}

impl Seen {
    pub fn path(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or("")
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers(name).first().copied()
    }

    pub fn headers(&self, name: &str) -> Vec<&str> {
        self.head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "))
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
            .collect()
    }
}

/// What the server does with a request.
#[derive(Clone)]
pub enum Reply {
    /// Status, extra header lines, body.
    Full(u16, &'static str, Vec<u8>),
    /// Announces more than it sends, then closes.
    Cut(Vec<u8>),
    /// Sends this much and then nothing more, the connection staying open.
    Stall(Vec<u8>),
    /// Closes without a byte.
    Close,
    /// Never answers.
    Silent,
    /// These bytes and nothing else.
    Raw(Vec<u8>),
    /// Opens a port-forward; behind it each path has a body, and every other path is not found.
    Forward(u16, Vec<(&'static str, Vec<u8>)>),
}

pub fn ok(body: impl Into<String>) -> Reply {
    Reply::Full(200, "", body.into().into_bytes())
}

pub fn status(code: u16, message: &str) -> Reply {
    Reply::Full(
        code,
        "",
        format!(r#"{{"kind":"Status","status":"Failure","message":"{message}","code":{code}}}"#).into(),
    )
}

/// How a connection begins, before HTTP.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Door {
    Plain,
    /// Expects CONNECT.
    Tunnel,
    /// Expects a SOCKS5 greeting without authentication and a domain name.
    Socks,
}

/// How a server behaves whatever is asked.
#[derive(Clone)]
pub struct Manner {
    pub door: Door,
    /// `/version` is answered as 1.`minor`; without, the handler answers it.
    pub minor: Option<u32>,
    /// The `Date` header.
    pub date: String,
    /// Speaks TLS, behind the door as an API server behind a proxy does.
    pub tls: Option<TlsAcceptor>,
    /// Speaks it before the door instead, as a proxy reached by https does.
    pub tls_first: bool,
}

impl Manner {
    pub fn plain(minor: u32) -> Self {
        let date = "Sun, 06 Nov 1994 08:49:37 GMT".to_owned();
        Self { door: Door::Plain, minor: Some(minor), date, tls: None, tls_first: false }
    }
}

pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

type Handler = dyn Fn(usize, &Seen) -> Reply + Send + Sync;

impl Server {
    /// `/version` is answered as 1.`minor`; the handler gets the other requests, numbered from 0.
    pub async fn start(minor: u32, handler: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        Self::behind(Door::Plain, minor, handler).await
    }

    pub async fn behind(
        door: Door,
        minor: u32,
        handler: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::with(Manner { door, ..Manner::plain(minor) }, handler).await
    }

    pub async fn with(manner: Manner, handler: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, handler): (_, Arc<Handler>) = (Arc::clone(&seen), Arc::new(handler));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, log, handler) = (manner.clone(), Arc::clone(&log), Arc::clone(&handler));
                tokio::spawn(async move { open(stream, &manner, &log, &handler).await });
            }
        });
        Self { address, seen }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Requests but those for `/version`.
    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().iter().filter(|seen| seen.path() != "/version").cloned().collect()
    }

    pub fn all(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn options(&self) -> ConnectOptions {
        ConnectOptions {
            // A file without content, so that no kubeconfig of this machine is read.
            kubeconfig: Some("/dev/null".into()),
            server: Some(self.url()),
            token: Some("t0ken".into()),
            ..ConnectOptions::default()
        }
    }

    pub async fn connect(&self) -> Cluster {
        Cluster::connect(&self.options()).await.unwrap()
    }
}

type Log = Mutex<Vec<Seen>>;

async fn open(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    manner: &Manner,
    log: &Log,
    handler: &Arc<Handler>,
) -> Option<()> {
    match &manner.tls {
        Some(tls) if manner.tls_first => {
            let mut secured = secure(tls, stream).await?;
            enter(&mut secured, manner.door, log).await?;
            connection(secured, manner, log, handler).await
        }
        Some(tls) => {
            enter(&mut stream, manner.door, log).await?;
            connection(secure(tls, stream).await?, manner, log, handler).await
        }
        None => {
            enter(&mut stream, manner.door, log).await?;
            connection(stream, manner, log, handler).await
        }
    }
}

/// A client that is refused gets the reason: what it has sent is read, or closing would reset the connection and take the
/// alert with it.
async fn secure<S: AsyncRead + AsyncWrite + Unpin>(tls: &TlsAcceptor, stream: S) -> Option<TlsStream<S>> {
    match tls.accept(stream).into_fallible().await {
        Ok(secured) => Some(secured),
        Err((_, mut stream)) => {
            stream.shutdown().await.ok()?;
            tokio::io::copy(&mut stream, &mut tokio::io::sink()).await.ok()?;
            None
        }
    }
}

async fn enter(stream: &mut (impl AsyncRead + AsyncWrite + Unpin + Send), door: Door, log: &Log) -> Option<()> {
    match door {
        Door::Plain => {}
        Door::Tunnel => {
            let connect = request(stream).await?;
            log.lock().unwrap().push(connect);
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.ok()?;
        }
        Door::Socks => {
            let mut greeting = [0; 3];
            stream.read_exact(&mut greeting).await.ok()?;
            stream.write_all(&[5, 0]).await.ok()?;
            let mut head = [0; 5];
            stream.read_exact(&mut head).await.ok()?;
            let mut name = vec![0; usize::from(head[4]) + 2];
            stream.read_exact(&mut name).await.ok()?;
            let line = format!("SOCKS {}", String::from_utf8_lossy(&name[..name.len() - 2]));
            log.lock().unwrap().push(Seen { line, head: String::new(), body: String::new() });
            stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.ok()?;
        }
    }
    Some(())
}

async fn connection(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    manner: &Manner,
    log: &Log,
    handler: &Arc<Handler>,
) -> Option<()> {
    loop {
        let seen = request(&mut stream).await?;
        let asked = manner.minor.filter(|_| seen.path() == "/version");
        let reply = if let Some(minor) = asked {
            log.lock().unwrap().push(seen);
            ok(format!(r#"{{"major":"1","minor":"{minor}","gitVersion":"v1.{minor}.0"}}"#))
        } else {
            let number = {
                let mut log = log.lock().unwrap();
                log.push(seen.clone());
                log.iter()
                    .filter(|seen| seen.line.contains(" /") && seen.path() != "/version")
                    .count()
                    .saturating_sub(1)
            };
            handler(number, &seen)
        };
        match reply {
            Reply::Full(status, extra, body) => {
                let head = format!(
                    "HTTP/1.1 {status} X\r\nDate: {}\r\n{extra}Content-Length: {}\r\n\r\n",
                    manner.date,
                    body.len()
                );
                stream.write_all(head.as_bytes()).await.ok()?;
                stream.write_all(&body).await.ok()?;
            }
            Reply::Cut(body) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.ok()?;
                stream.write_all(&body).await.ok()?;
                return None;
            }
            Reply::Stall(body) => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await.ok()?;
                stream.write_all(&body).await.ok()?;
                std::future::pending::<()>().await;
            }
            Reply::Close => return None,
            Reply::Silent => std::future::pending::<()>().await,
            Reply::Raw(bytes) => {
                stream.write_all(&bytes).await.ok()?;
                return None;
            }
            Reply::Forward(port, paths) => {
                let key = log.lock().unwrap().last()?.header("sec-websocket-key")?.to_owned();
                return forward(stream, &key, port, &paths).await;
            }
        }
    }
}

/// A pod's port as the API server forwards it: a WebSocket whose messages begin with a channel, 0 for data and 1 for what
/// goes wrong, each of which first says its port
/// (<https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming> and `remotecommand/websocket.go` in kubelet).
async fn forward(
    mut stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    key: &str,
    port: u16,
    paths: &[(&'static str, Vec<u8>)],
) -> Option<()> {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.ok()?;
    let mut socket = WebSocketStream::from_raw_socket(stream, tungstenite::protocol::Role::Server, None).await;
    let message = |channel: u8, bytes: &[u8]| tungstenite::Message::binary([&[channel], bytes].concat());
    for channel in [0, 1] {
        socket.send(message(channel, &port.to_le_bytes())).await.ok()?;
    }
    let mut asked = Vec::new();
    while let Some(Ok(received)) = socket.next().await {
        if let tungstenite::Message::Binary(bytes) = received
            && let Some((0, data)) = bytes.split_first()
        {
            asked.extend_from_slice(data);
        }
        if !asked.ends_with(b"\r\n\r\n") {
            continue;
        }
        let line = String::from_utf8_lossy(&asked).into_owned();
        let path = line.split(' ').nth(1).unwrap_or_default();
        let found = paths.iter().find(|(known, _)| *known == path);
        let (status, body) = found.map_or((404, &[][..]), |(_, body)| (200, body.as_slice()));
        let answer = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
        socket.send(message(0, &[answer.as_bytes(), body].concat())).await.ok()?;
        asked.clear();
    }
    None
}

async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<Seen> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8_lossy(&bytes).into_owned();
    let mut seen = Seen { line: head.lines().next()?.to_owned(), head, body: String::new() };
    let length = seen.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    seen.body = String::from_utf8_lossy(&body).into_owned();
    Some(seen)
}

/// Keeps the items it was given.
#[derive(Default)]
pub struct Items {
    pub items: Vec<String>,
    pub restarts: usize,
}

impl ListSink for Items {
    fn item(&mut self, json: &[u8]) {
        self.items.push(String::from_utf8_lossy(json).into_owned());
    }

    fn restart(&mut self) {
        self.items.clear();
        self.restarts += 1;
    }
}

pub const PODS: Api = Api { group: "", version: "v1", resource: "pods" };
pub const GATEWAYS: Api = Api { group: "networking.istio.io", version: "v1", resource: "gateways" };

pub fn pods(namespace: Option<&str>) -> ListRequest {
    ListRequest { api: PODS, namespace: namespace.map(String::from), labels: None, fields: None, metadata_only: false }
}
