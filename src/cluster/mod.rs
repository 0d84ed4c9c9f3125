//! The only door to the API server: connecting, streamed lists, single reads, access reviews, and what went wrong.
//!
//! Nothing from `kube`, `hyper` or `rustls` leaves this folder: every failure is a classified [`Fault`].
//! All calls are safe to drop at any await point; the deadline of the whole run is the caller's.

// reason: a fault carries what a person needs; it is made a few times per run and moved a few frames up
#![allow(clippy::result_large_err)]

mod access;
mod connect;
mod credentials;
pub mod envoy;
mod fault;
pub mod forward;
pub mod istiod;
mod kubeconfig;
mod list;
mod log;
mod proxy;
mod request;
pub mod split;
pub mod trial;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::OnceCell;

use crate::snapshot::{Fault, FaultKind, Need};
pub use istiod::{IstiodReply, IstiodRequest, Life, MetricsReply};
pub use log::{LogRequest, LogSince, LogStream};

/// How to connect: kubectl's flags, already parsed.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// `--kubeconfig`: the only file read; otherwise `KUBECONFIG`, then `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--cluster`.
    pub cluster: Option<String>,
    /// `--user`.
    pub user: Option<String>,
    /// `--server`.
    pub server: Option<String>,
    /// `--token`.
    pub token: Option<String>,
    /// `--tls-server-name`.
    pub tls_server_name: Option<String>,
    /// `--insecure-skip-tls-verify`.
    pub insecure_skip_tls_verify: bool,
    /// `--certificate-authority`.
    pub certificate_authority: Option<PathBuf>,
    /// `--client-certificate`.
    pub client_certificate: Option<PathBuf>,
    /// `--client-key`.
    pub client_key: Option<PathBuf>,
    /// `--as`.
    pub as_user: Option<String>,
    /// `--as-group`, repeatable.
    pub as_groups: Vec<String>,
    /// `--as-uid`.
    pub as_uid: Option<String>,
    /// `--request-timeout`: longest silence of one request; none means 30 s, zero means no limit.
    pub request_timeout: Option<Duration>,
    /// How long a credential plugin may take, if that is less than 30 s, or 120 s where it can ask the person at the
    /// terminal.
    pub plugin_timeout: Option<Duration>,
}

/// How the tool proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuthKind {
    /// A credential plugin named in the kubeconfig.
    Exec {
        /// Its command, without arguments.
        command: String,
        /// Whether it is Azure's kubelogin.
        is_kubelogin: bool,
    },
    /// A bearer token, given or read from a file.
    Token,
    /// A client certificate.
    ClientCertificate,
    /// User name and password.
    Basic,
    /// One of the legacy `auth-provider` plugins, by name.
    Provider(String),
    /// The service account of the pod this runs in.
    InCluster,
    /// Nothing.
    None,
}

/// What is known about the connection without asking the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Context used, if a kubeconfig was.
    pub context: Option<String>,
    /// Name of the kubeconfig's user entry.
    pub user: Option<String>,
    /// Address of the API server, without credentials.
    pub server: String,
    /// The context's namespace, else `default`.
    pub namespace: String,
    /// How the tool proves who it is.
    pub auth: AuthKind,
    /// Name of the kubeconfig's cluster entry; `az aks get-credentials` writes the AKS cluster's name there.
    pub cluster_name: Option<String>,
    /// Resource group, where the user entry is one that `az aks get-credentials` wrote (`clusterUser_GROUP_CLUSTER`).
    pub resource_group: Option<String>,
}

/// One kind of object as the API server's paths name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Api {
    /// API group, empty for the core group.
    pub group: &'static str,
    /// Version, e.g. `v1`.
    pub version: &'static str,
    /// Plural resource, e.g. `pods`.
    pub resource: &'static str,
}

impl Api {
    /// Pods.
    pub const PODS: Self = Self { group: "", version: "v1", resource: "pods" };
    /// Nodes.
    pub const NODES: Self = Self { group: "", version: "v1", resource: "nodes" };

    /// The resource as RBAC messages write it: `pods`, `deployments.apps`.
    #[must_use]
    pub fn dotted(&self) -> String {
        if self.group.is_empty() { self.resource.to_owned() } else { format!("{}.{}", self.resource, self.group) }
    }
}

/// One list to read completely.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListRequest {
    /// What to list.
    pub api: Api,
    /// Namespace, or none for all of them (and for kinds without namespace).
    pub namespace: Option<String>,
    /// Label selector.
    pub labels: Option<String>,
    /// Field selector.
    pub fields: Option<String>,
    /// Ask for metadata only.
    pub metadata_only: bool,
}

/// One object to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetRequest {
    /// Its kind.
    pub api: Api,
    /// Its namespace, or none.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// Ask for metadata only.
    pub metadata_only: bool,
}

/// Receives the items of a list as they arrive.
pub trait ListSink: Send {
    /// One element of the list, as the JSON bytes the server sent.
    fn item(&mut self, json: &[u8]);
    /// The list starts over (its continue token expired): forget every item received so far.
    fn restart(&mut self);
}

/// How a list ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListEnd {
    /// Items handed over, those before a restart not counted.
    pub items: usize,
    /// False: the server does not know this kind.
    pub served: bool,
    /// Items skipped because each was larger than [`split::ITEM_CAP`].
    pub oversized: usize,
    /// Why the list is not complete, if it is not.
    pub truncated: Option<String>,
}

/// What has crossed the wire so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// HTTP requests sent, retries included.
    pub requests: u64,
    /// Bytes of answers' bodies as they were received (compressed ones count compressed).
    pub bytes: u64,
}

/// The API server's version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedVersion {
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// As the server writes it, e.g. `v1.32.4`.
    pub git_version: String,
}

/// A connection to one API server. Cheap to clone; clones share connections and counters.
#[derive(Clone)]
pub struct Cluster {
    shared: Arc<Shared>,
}

struct Shared {
    client: kube::Client,
    info: ConnectionInfo,
    credentials: Option<credentials::Plugin>,
    accept_gzip: bool,
    idle: Option<Duration>,
    version: OnceCell<Result<Option<ServedVersion>, Fault>>,
    requests: AtomicU64,
    bytes: AtomicU64,
    date: AtomicI64,
    /// How far the server's clock was ahead of this machine's when `date` arrived, in seconds.
    ahead: AtomicI64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The client and the credentials stay out of every log.
        f.debug_struct("Cluster").field("info", &self.shared.info).finish_non_exhaustive()
    }
}

impl Cluster {
    /// Reads the kubeconfig, runs the credential plugin if there is one, and prepares the connection.
    /// No request is sent yet.
    ///
    /// # Errors
    /// A kubeconfig that cannot be used, a credential plugin that failed, certificates that cannot be read.
    pub async fn connect(options: &ConnectOptions) -> Result<Self, Fault> {
        connect::connect(options).await.map(|shared| Self { shared: Arc::new(shared) })
    }

    /// What is known about the connection without asking the server.
    #[must_use]
    pub fn info(&self) -> &ConnectionInfo {
        &self.shared.info
    }

    /// Reads a list completely, handing over each item while bytes arrive.
    ///
    /// A list that breaks off after the first item is not an error: what was handed over stays, and
    /// [`ListEnd::truncated`] says why it is incomplete.
    ///
    /// # Errors
    /// Any failure before the first item.
    pub async fn list(&self, request: &ListRequest, sink: &mut dyn ListSink) -> Result<ListEnd, Fault> {
        list::list(&self.shared, request, sink).await
    }

    /// Reads one object; none when it does not exist. Bodies over 16 MiB are refused.
    ///
    /// # Errors
    /// Any failure but "not found".
    pub async fn get(&self, request: &GetRequest) -> Result<Option<Vec<u8>>, Fault> {
        let need =
            Need { verb: "get".to_owned(), resource: request.api.dotted(), namespace: request.namespace.clone() };
        let accept = if request.metadata_only { request::ACCEPT_OBJECT_METADATA } else { request::ACCEPT_JSON };
        let path = request::object_path(&request.api, request.namespace.as_deref(), &request.name);
        request::fetch(&self.shared, request::Call::get(path, accept, Some(&need))).await
    }

    /// Reads a path that is no resource, such as `/version`; none when the server does not serve it.
    ///
    /// # Errors
    /// Any failure but "not found".
    pub async fn get_raw(&self, path: &str) -> Result<Option<Vec<u8>>, Fault> {
        if !path.starts_with('/') {
            return Err(Fault::new(FaultKind::Malformed, "a path on the API server starts with a slash"));
        }
        request::fetch(&self.shared, request::Call::get(path.to_owned(), request::ACCEPT_JSON, None)).await
    }

    /// The server's version, asked once and remembered; none when the answer makes no sense or is refused.
    ///
    /// # Errors
    /// The server cannot be reached, or does not accept the credentials: every other read would fail alike.
    pub async fn version(&self) -> Result<Option<ServedVersion>, Fault> {
        self.shared.version().await
    }

    /// Asks the API server whether the user has this right (a SelfSubjectAccessReview, which stores nothing).
    ///
    /// # Errors
    /// The review itself could not be done.
    pub async fn allowed(&self, need: &Need) -> Result<bool, Fault> {
        self.allowed_for(need, None).await
    }

    /// As [`Cluster::allowed`], for one object only.
    ///
    /// # Errors
    /// The review itself could not be done.
    pub async fn allowed_for(&self, need: &Need, name: Option<&str>) -> Result<bool, Fault> {
        access::allowed(&self.shared, need, name).await
    }

    /// The user as the API server sees it, with its groups (a SelfSubjectReview, which stores nothing); none where the
    /// server does not tell.
    ///
    /// # Errors
    /// The review itself could not be done.
    pub async fn who_am_i(&self) -> Result<Option<(String, Vec<String>)>, Fault> {
        access::who_am_i(&self.shared).await
    }

    /// When the credentials end that a plugin handed out, where it told.
    pub async fn credentials_end(&self) -> Option<Timestamp> {
        self.shared.credentials.as_ref()?.end().await
    }

    /// What has crossed the wire so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        Traffic {
            requests: self.shared.requests.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    /// The time the server last said it is.
    #[must_use]
    pub fn server_date(&self) -> Option<Timestamp> {
        match self.shared.date.load(Ordering::Relaxed) {
            0 => None,
            seconds => Timestamp::from_second(seconds).ok(),
        }
    }

    /// How far the server's clock is ahead of this machine's, as its last answer shows; negative when it is behind.
    #[must_use]
    pub fn clock_skew(&self) -> Option<SignedDuration> {
        self.server_date().map(|_| SignedDuration::from_secs(self.shared.ahead.load(Ordering::Relaxed)))
    }
}

impl Shared {
    async fn version(&self) -> Result<Option<ServedVersion>, Fault> {
        self.version
            .get_or_init(|| async {
                let call = request::Call::get("/version".to_owned(), request::ACCEPT_JSON, None);
                match request::fetch(self, call).await {
                    Ok(body) => Ok(body.as_deref().and_then(parse_version)),
                    // No answer at all, or no valid credentials: asking anything else would end the same way, only
                    // later. Everything else (a proxy that hides /version, say) just leaves the version unknown.
                    Err(fault)
                        if fault.kind == FaultKind::Unauthenticated
                            || (fault.status.is_none()
                                && matches!(fault.kind, FaultKind::Unreachable | FaultKind::Timeout)) =>
                    {
                        Err(fault)
                    }
                    Err(_) => Ok(None),
                }
            })
            .await
            .clone()
    }
}

fn parse_version(body: &[u8]) -> Option<ServedVersion> {
    let value: serde_json::Value = serde_json::from_slice(body).ok()?;
    let number = |key: &str| {
        // Some providers append a plus sign: "31+".
        let text = value.get(key)?.as_str()?;
        text.trim_end_matches(|c: char| !c.is_ascii_digit()).parse::<u32>().ok()
    };
    Some(ServedVersion {
        major: number("major")?,
        minor: number("minor")?,
        git_version: fault::clean(value.get("gitVersion")?.as_str()?, 64),
    })
}

/// See [`crate::fuzzing`].
pub(crate) mod fuzzing {
    use std::path::Path;

    use super::{AuthKind, ConnectOptions, ConnectionInfo, credentials, fault, kubeconfig as file, proxy};
    use crate::snapshot::Fault;

    pub(crate) fn kubeconfig(path: &Path) -> Result<(), Fault> {
        let options = ConnectOptions { kubeconfig: Some(path.to_owned()), ..ConnectOptions::default() };
        file::load(&options, &file::Environment::default()).map(drop)
    }

    pub(crate) fn credential(output: &[u8]) -> Result<(), Fault> {
        credentials::Plugin::understand(output)
    }

    pub(crate) fn status(code: u16, body: &[u8]) -> Fault {
        let info = ConnectionInfo {
            context: None,
            user: None,
            server: "https://x.azmk8s.io".to_owned(),
            namespace: "default".to_owned(),
            auth: AuthKind::None,
            cluster_name: None,
            resource_group: None,
        };
        fault::from_status(http::StatusCode::from_u16(code).unwrap_or_default(), body, None, &info)
    }

    pub(crate) fn bypasses(list: &str, host: &str) -> bool {
        proxy::bypasses(list, host, 443)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    #[test]
    fn versions_with_a_plus_are_read() {
        let version = parse_version(br#"{"major":"1","minor":"31+","gitVersion":"v1.31.2-eks"}"#).unwrap();
        assert_eq!((version.major, version.minor), (1, 31));
        assert_eq!(parse_version(b"{}"), None);
        assert_eq!(parse_version(b"<html>"), None);
    }
}
