//! From options to a client: credentials, TLS, proxy and a connector of our own under kube's layers.

use std::sync::atomic::{AtomicI64, AtomicU64};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, Request, Uri};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::Config;
use kube::client::{Body, ConfigExt};
use tokio::net::TcpStream;
use tokio::sync::OnceCell;
use tower::util::BoxCloneSyncService;
use tower::{BoxError, Layer, ServiceExt, service_fn};

use super::kubeconfig::{self, Environment, Target};
use super::{AuthKind, ConnectOptions, ConnectionInfo, Shared, credentials, fault, proxy};
use crate::snapshot::{Fault, FaultKind};

/// Longest wait for TCP, proxy and TLS together.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest silence of a request, unless `--request-timeout` says otherwise.
const SILENCE: Duration = Duration::from_secs(30);
/// Reading files and running a legacy auth provider takes no longer, or the run goes on without.
const PREPARE: Duration = Duration::from_secs(30);

pub(super) async fn connect(options: &ConnectOptions) -> Result<Shared, Fault> {
    let own = options.clone();
    let mut target = off_thread(move || kubeconfig::load(&own, &Environment::read())).await??;
    let plugin = match target.exec.take() {
        Some(exec) => {
            let plugin = credentials::Plugin::new(exec, options.plugin_timeout);
            if let Some(found) = plugin.start().await? {
                let user = &mut target.config.auth_info;
                user.client_certificate_data = Some(STANDARD.encode(found.certificate));
                user.client_key_data = Some(STANDARD.encode(found.key).into());
            }
            Some(plugin)
        }
        None => None,
    };
    let Target { config, info, .. } = target;
    let accept_gzip = !config.disable_compression && !proxy::is_loopback(proxy::bare_host(&config.cluster_url));
    let known = info.clone();
    let runtime = tokio::runtime::Handle::current();
    // Reads certificate files; a legacy `auth-provider` runs its command here.
    let client = off_thread(move || {
        let _guard = runtime.enter();
        client(config, &known)
    })
    .await??;
    let idle = match options.request_timeout {
        None => Some(SILENCE),
        Some(Duration::ZERO) => None,
        some => some,
    };
    Ok(Shared {
        client,
        info,
        credentials: plugin,
        accept_gzip,
        idle,
        version: OnceCell::new(),
        requests: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        date: AtomicI64::new(0),
        ahead: AtomicI64::new(0),
    })
}

async fn off_thread<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Fault> {
    let failed = |what: &str| Fault::new(FaultKind::Timeout, format!("reading the kubeconfig {what}"));
    tokio::time::timeout(PREPARE, tokio::task::spawn_blocking(work))
        .await
        .map_err(|_| failed("takes longer than 30 s"))?
        .map_err(|_| failed("was interrupted"))
}

fn client(config: Config, info: &ConnectionInfo) -> Result<kube::Client, Fault> {
    // The stream types differ by kind of proxy and belong to crates we do not depend on, hence a macro.
    macro_rules! build {
        ($connector:expr) => {{
            let secured =
                config.rustls_https_connector_with_connector($connector).map_err(|error| unusable(&error, info))?;
            let limited = service_fn(move |target: Uri| {
                let connecting = secured.clone().oneshot(target);
                Box::pin(async move {
                    match tokio::time::timeout(CONNECT, connecting).await {
                        Ok(connected) => connected,
                        Err(_) => Err(BoxError::from(std::io::Error::other(fault::CONNECT_LIMIT))),
                    }
                })
            });
            finish(&config, info, Client::builder(TokioExecutor::new()).build::<_, Body>(limited))
        }};
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    // With Nagle's algorithm on, every new TLS connection after the first waits 40 ms for a delayed acknowledgement.
    tcp.set_nodelay(true);
    match &config.proxy_url {
        None => build!(tcp),
        Some(url) if matches!(url.scheme_str(), Some("socks5" | "socks5h")) => {
            let mut socks = SocksV5::new(with_port(url, 1080), tcp);
            if let Some((user, password)) = userinfo(url) {
                socks = socks.with_auth(user, password);
            }
            // Its own error type is not ours to name, and hides its cause; the words are what is left.
            let worded: BoxCloneSyncService<Uri, TokioIo<TcpStream>, SocksFailure> =
                BoxCloneSyncService::new(socks.map_err(|error| SocksFailure(error.to_string())));
            build!(worded)
        }
        Some(url) if url.scheme_str() == Some("https") => {
            // The proxy has a certificate of its own: the cluster's authority and our client certificate are none of
            // its business, though kube would use both.
            let secured = Config::new(url.clone())
                .rustls_https_connector_with_connector(tcp)
                .map_err(|error| unusable(&error, info))?;
            build!(authorized(Tunnel::new(url.clone(), secured), url))
        }
        Some(url) => build!(authorized(Tunnel::new(with_port(url, 80), tcp), url)),
    }
}

/// What a SOCKS proxy's refusal says.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct SocksFailure(String);

fn finish<S, B>(config: &Config, info: &ConnectionInfo, transport: S) -> Result<kube::Client, Fault>
where
    S: tower::Service<Request<Body>, Response = http::Response<B>> + Clone + Send + Sync + 'static,
    S::Error: Into<BoxError> + Send + Sync + 'static,
    S::Future: Send + 'static,
    B: http_body::Body<Data = <Body as http_body::Body>::Data> + Send + 'static,
    B::Error: Into<BoxError>,
{
    let transport = transport.map_err(Into::into);
    let headers = config.extra_headers_layer().map_err(|_| {
        Fault::new(FaultKind::Malformed, "--as, --as-group or --as-uid holds characters that cannot be sent")
    })?;
    let service = headers.layer(transport);
    let base = config.base_uri_layer();
    let auth = config.auth_layer().map_err(|error| unusable(&error, info))?;
    Ok(match auth {
        Some(auth) => kube::Client::new(base.layer(auth.layer(service)), config.default_namespace.clone()),
        None => kube::Client::new(base.layer(service), config.default_namespace.clone()),
    })
}

/// The credentials or certificates of the kubeconfig cannot be used at all.
fn unusable(error: &kube::Error, info: &ConnectionInfo) -> Fault {
    match (error, &info.auth) {
        (kube::Error::Auth(_), AuthKind::Provider(name)) if name == "azure" => fault::plugin_hints(
            Fault::new(FaultKind::Unauthenticated, "the kubeconfig uses the removed azure auth-provider"),
            true,
            None,
        ),
        (kube::Error::Auth(_), AuthKind::Provider(name)) => Fault::new(
            FaultKind::Unauthenticated,
            format!("the kubeconfig's auth-provider {name} did not give credentials"),
        ),
        (kube::Error::Auth(_), _) => {
            Fault::new(FaultKind::Unauthenticated, "the kubeconfig's credentials cannot be used")
        }
        _ => Fault::new(
            FaultKind::Malformed,
            "the kubeconfig's certificates, client key or TLS server name cannot be used",
        )
        .hint("   kubectl get namespace"),
    }
}

fn authorized<C>(tunnel: Tunnel<C>, url: &Uri) -> Tunnel<C> {
    let Some((user, password)) = userinfo(url) else { return tunnel };
    let value = format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
    match HeaderValue::try_from(value) {
        Ok(value) => tunnel.with_auth(value),
        Err(_) => tunnel,
    }
}

/// User and password of a proxy's address, decoded.
fn userinfo(url: &Uri) -> Option<(String, String)> {
    let (info, _) = url.authority()?.as_str().rsplit_once('@')?;
    let (user, password) = info.split_once(':').unwrap_or((info, ""));
    Some((unescape(user), unescape(password)))
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let pair = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        let byte = pair.filter(|pair| pair.bytes().all(|b| b.is_ascii_hexdigit()));
        match byte.and_then(|pair| u8::from_str_radix(pair, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The connector takes the port from the scheme, and knows only two schemes.
fn with_port(url: &Uri, port: u16) -> Uri {
    if url.port().is_some() {
        return url.clone();
    }
    let host = url.host().unwrap_or("");
    format!("{}://{host}:{port}", url.scheme_str().unwrap_or("http")).parse().unwrap_or_else(|_| url.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    #[test]
    fn proxy_credentials_are_decoded() {
        let of = |url: &str| userinfo(&url.parse().unwrap());
        assert_eq!(of("http://p:1"), None);
        assert_eq!(of("http://u:p%40s%3as@p:1"), Some(("u".into(), "p@s:s".into())));
        assert_eq!(of("http://u@p:1"), Some(("u".into(), String::new())));
        assert_eq!(of("http://u:%+1@p:1"), Some(("u".into(), "%+1".into())));
    }

    #[test]
    fn the_port_is_added_where_it_is_missing() {
        assert_eq!(with_port(&"socks5://p".parse().unwrap(), 1080).port_u16(), Some(1080));
        assert_eq!(with_port(&"http://p:3128".parse().unwrap(), 80).port_u16(), Some(3128));
    }
}
