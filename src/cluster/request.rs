//! One request: paths, headers, time limits, the few retries, and the body as it arrives.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flate2::write::GzDecoder;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use kube::client::Body;

use super::{Api, Shared, fault};
use crate::snapshot::{Fault, FaultKind, Need};

/// Plain JSON.
pub(super) const ACCEPT_JSON: &str = "application/json";
/// Metadata of the items of a list. Without the plain form behind it, a server that cannot would answer 406.
pub(super) const ACCEPT_LIST_METADATA: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
/// Metadata of one object.
pub(super) const ACCEPT_OBJECT_METADATA: &str =
    "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

pub(super) const AGENT: &str = concat!("kubectl-asm/", env!("CARGO_PKG_VERSION"));

/// Largest body kept in one piece.
const BODY_CAP: usize = 16 << 20;
/// Largest error body looked at.
const ERROR_CAP: usize = 64 << 10;
/// Most repetitions of one request, whatever the reasons.
const RETRIES: u32 = 2;
/// Longest wait that a server's `Retry-After` can ask for; a server that wants more is reported instead.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// Wait before repeating where the server names none.
const SHORT_WAIT: Duration = Duration::from_millis(250);

/// What to send.
pub(super) struct Call<'a> {
    method: Method,
    path: String,
    accept: &'static str,
    body: Option<String>,
    need: Option<&'a Need>,
    patient: bool,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: String, accept: &'static str, need: Option<&'a Need>) -> Self {
        Self { method: Method::GET, path, accept, body: None, need, patient: false }
    }

    pub(super) fn post(path: String, body: String, need: &'a Need) -> Self {
        Self { method: Method::POST, path, accept: ACCEPT_JSON, body: Some(body), need: Some(need), patient: false }
    }

    /// For an answer that may be silent for hours.
    pub(super) fn patient(self) -> Self {
        Self { patient: true, ..self }
    }

    fn idle(&self, shared: &Shared) -> Option<Duration> {
        if self.patient { None } else { shared.idle }
    }

    pub(super) fn delete(path: String, need: &'a Need) -> Self {
        Self { method: Method::DELETE, path, accept: ACCEPT_JSON, body: None, need: Some(need), patient: false }
    }
}

/// Sends a call once and reads the whole answer, whatever it says: for calls whose refusal is an answer, too. A server
/// that has too much to do is asked again.
pub(super) async fn answer(shared: &Shared, call: Call<'_>) -> Result<(StatusCode, Vec<u8>), Fault> {
    let mut tries = 0;
    loop {
        tries += 1;
        let response = send(shared, &call).await.map_err(|failure| failure.fault)?;
        let status = response.status();
        let wait = retry_after(response.headers()).unwrap_or(SHORT_WAIT * 4);
        if status == StatusCode::TOO_MANY_REQUESTS && tries <= RETRIES && wait <= LONGEST_WAIT {
            tokio::time::sleep(wait).await;
            continue;
        }
        return Incoming::new(shared, response, call.idle(shared))?.whole().await.map(|body| (status, body));
    }
}

/// Sends a call and reads the whole answer; none for 404.
pub(super) async fn fetch(shared: &Shared, call: Call<'_>) -> Result<Option<Vec<u8>>, Fault> {
    match open(shared, call).await? {
        Some(incoming) => incoming.whole().await.map(Some),
        None => Ok(None),
    }
}

/// Sends a call until there is an answer worth reading; none for 404.
pub(super) async fn open<'a>(shared: &'a Shared, call: Call<'_>) -> Result<Option<Incoming<'a>>, Fault> {
    let mut unavailable_before = false;
    let mut reset_before = false;
    let mut tries = 0;
    loop {
        tries += 1;
        let again = tries <= RETRIES;
        let response = match send(shared, &call).await {
            Ok(response) => response,
            Err(Failure { fault, reset }) => {
                if reset && again && !reset_before && call.method == Method::GET {
                    reset_before = true;
                    continue;
                }
                return Err(fault);
            }
        };
        let status = response.status();
        let wait = match status {
            StatusCode::TOO_MANY_REQUESTS => retry_after(response.headers()).unwrap_or(SHORT_WAIT * 4),
            StatusCode::SERVICE_UNAVAILABLE if call.method == Method::GET && !unavailable_before => {
                unavailable_before = true;
                retry_after(response.headers()).unwrap_or(SHORT_WAIT)
            }
            _ => Duration::MAX,
        };
        if again && wait <= LONGEST_WAIT {
            tokio::time::sleep(wait).await;
            continue;
        }
        if status == StatusCode::OK || status == StatusCode::CREATED {
            return Incoming::new(shared, response, call.idle(shared)).map(Some);
        }
        if status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        // Only what a Status says about itself is used of an error's body, and only if it comes soon.
        let text = match Incoming::new(shared, response, shared.idle) {
            Ok(incoming) => incoming.error_text().await,
            Err(_) => Vec::new(),
        };
        return Err(fault::from_status(status, &text, call.need, &shared.info));
    }
}

struct Failure {
    fault: Fault,
    /// The connection broke; repeating a read is safe.
    reset: bool,
}

async fn send(shared: &Shared, call: &Call<'_>) -> Result<Response<Body>, Failure> {
    let plain = |fault| Failure { fault, reset: false };
    let mut request = Request::builder()
        .method(call.method.clone())
        .uri(call.path.as_str())
        .header(ACCEPT, call.accept)
        .header(USER_AGENT, AGENT);
    if shared.accept_gzip {
        request = request.header(ACCEPT_ENCODING, "gzip");
    }
    if let Some(plugin) = &shared.credentials
        && let Some(value) = plugin.authorization().await.map_err(plain)?
    {
        request = request.header(AUTHORIZATION, value);
    }
    let body = match &call.body {
        Some(body) => {
            request = request.header(CONTENT_TYPE, "application/json");
            Body::from(body.clone().into_bytes())
        }
        None => Body::empty(),
    };
    let request =
        request.body(body).map_err(|_| plain(Fault::new(FaultKind::Malformed, "the request cannot be written")))?;
    shared.requests.fetch_add(1, Ordering::Relaxed);
    let answer = limited(call.idle(shared), shared.client.send(request))
        .await
        .map_err(|_| plain(silent(shared)))?
        .map_err(|error| Failure { reset: fault::is_reset(&error), fault: fault::from_kube(&error, &shared.info) })?;
    if let Some(seconds) = date(answer.headers()) {
        shared.date.store(seconds, Ordering::Relaxed);
        shared.ahead.store(seconds - jiff::Timestamp::now().as_second(), Ordering::Relaxed);
    }
    Ok(answer)
}

pub(super) fn silent(shared: &Shared) -> Fault {
    let seconds = shared.idle.unwrap_or_default().as_secs_f64();
    Fault::new(FaultKind::Timeout, format!("{} sent nothing for {seconds} s", shared.info.server))
        .hint("try again, or allow more with --request-timeout")
}

pub(super) async fn limited<F: Future>(
    limit: Option<Duration>,
    future: F,
) -> Result<F::Output, tokio::time::error::Elapsed> {
    match limit {
        Some(limit) => tokio::time::timeout(limit, future).await,
        None => Ok(future.await),
    }
}

/// `Retry-After` in seconds; the date form is not used by API servers.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

fn date(headers: &HeaderMap) -> Option<i64> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok().map(jiff::Timestamp::as_second)
}

/// Bytes as they came from the connection.
type Raw = <Body as http_body::Body>::Data;

/// A body on its way, decompressed piece by piece.
pub(super) struct Incoming<'a> {
    shared: &'a Shared,
    idle: Option<Duration>,
    body: Body,
    gunzip: Option<GzDecoder<Vec<u8>>>,
    raw: Raw,
    piece: Vec<u8>,
    ended: bool,
}

impl<'a> Incoming<'a> {
    fn new(shared: &'a Shared, response: Response<Body>, idle: Option<Duration>) -> Result<Self, Fault> {
        let gunzip = match response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes()) {
            None | Some(b"identity") => None,
            Some(b"gzip") => Some(GzDecoder::new(Vec::new())),
            Some(_) => {
                return Err(Fault::new(FaultKind::Malformed, "the answer is compressed in a way nobody asked for"));
            }
        };
        Ok(Self { shared, idle, body: response.into_body(), gunzip, raw: Raw::new(), piece: Vec::new(), ended: false })
    }

    /// The next bytes; none at the regular end.
    pub(super) async fn piece(&mut self) -> Result<Option<&[u8]>, Fault> {
        while !self.ended {
            // Given back first: the connection can use the room again for what comes next.
            self.raw = Raw::new();
            self.piece.clear();
            let frame = limited(self.idle, self.body.frame()).await.map_err(|_| silent(self.shared))?;
            let bytes = match frame {
                Some(frame) => match frame.map_err(|error| fault::from_body(&error, &self.shared.info))?.into_data() {
                    Ok(bytes) => bytes,
                    Err(_) => continue, // trailers
                },
                None => {
                    self.ended = true;
                    if let Some(gunzip) = &mut self.gunzip {
                        gunzip.try_finish().map_err(|_| cut())?;
                        std::mem::swap(&mut self.piece, gunzip.get_mut());
                        return Ok(if self.piece.is_empty() { None } else { Some(&self.piece) });
                    }
                    return Ok(None);
                }
            };
            self.shared.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if let Some(gunzip) = &mut self.gunzip {
                gunzip
                    .write_all(&bytes)
                    .map_err(|_| Fault::new(FaultKind::Malformed, "the compressed answer cannot be decompressed"))?;
                std::mem::swap(&mut self.piece, gunzip.get_mut());
                if !self.piece.is_empty() {
                    return Ok(Some(&self.piece));
                }
            } else if !bytes.is_empty() {
                self.raw = bytes;
                return Ok(Some(&self.raw));
            }
        }
        Ok(None)
    }

    async fn whole(mut self) -> Result<Vec<u8>, Fault> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await? {
            if whole.len() + piece.len() > BODY_CAP {
                return Err(Fault::new(FaultKind::Truncated, "the answer is larger than 16 MiB"));
            }
            whole.extend_from_slice(piece);
        }
        Ok(whole)
    }

    async fn error_text(mut self) -> Vec<u8> {
        let mut text = Vec::new();
        while let Ok(Some(piece)) = self.piece().await {
            text.extend_from_slice(piece);
            if text.len() > ERROR_CAP {
                break;
            }
        }
        text
    }
}

fn cut() -> Fault {
    Fault::new(FaultKind::Truncated, "the answer stops in the middle")
}

/// `/api/v1/namespaces/shop/pods`, `/apis/apps/v1/deployments`.
pub(super) fn collection_path(api: &Api, namespace: Option<&str>) -> String {
    let mut path = if api.group.is_empty() {
        format!("/api/{}", api.version)
    } else {
        format!("/apis/{}/{}", api.group, api.version)
    };
    if let Some(namespace) = namespace {
        path.push_str("/namespaces/");
        escape(namespace, &mut path);
    }
    path.push('/');
    path.push_str(api.resource);
    path
}

pub(super) fn object_path(api: &Api, namespace: Option<&str>, name: &str) -> String {
    let mut path = collection_path(api, namespace);
    path.push('/');
    escape(name, &mut path);
    path
}

/// The part after the question mark.
#[derive(Default)]
pub(super) struct Query(String);

impl Query {
    pub(super) fn add(&mut self, key: &str, value: Option<&str>) {
        let Some(value) = value.filter(|value| !value.is_empty()) else { return };
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(key);
        self.0.push('=');
        escape(value, &mut self.0);
    }

    pub(super) fn finish(self) -> String {
        self.0
    }
}

fn escape(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_queries_are_escaped() {
        let api = Api { group: "apps", version: "v1", resource: "deployments" };
        assert_eq!(collection_path(&api, None), "/apis/apps/v1/deployments");
        let pods = Api { group: "", version: "v1", resource: "pods" };
        assert_eq!(object_path(&pods, Some("a/../b"), "x y"), "/api/v1/namespaces/a%2F..%2Fb/pods/x%20y");
        let mut query = Query::default();
        query.add("labelSelector", Some("app in (a,b),c!=d"));
        query.add("fieldSelector", None);
        query.add("limit", Some("500"));
        assert_eq!(query.finish(), "?labelSelector=app%20in%20%28a%2Cb%29%2Cc%21%3Dd&limit=500");
    }

    #[test]
    fn the_date_header_is_understood() {
        let mut headers = HeaderMap::new();
        headers.insert(DATE, http::HeaderValue::from_static("Sun, 06 Nov 1994 08:49:37 GMT"));
        assert_eq!(date(&headers), Some(784_111_777));
        headers.insert(DATE, http::HeaderValue::from_static("yesterday"));
        assert_eq!(date(&headers), None);
    }
}
