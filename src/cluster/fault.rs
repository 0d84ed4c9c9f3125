//! From what went wrong underneath to a sentence and something to do.
//!
//! `kube`'s own messages hide the cause or carry debug forms, bodies and plugin output, so none of them is ever
//! shown. Causes are recognised by type where the type can be had, by the fixed words of `rustls`, `hyper-util` and
//! `tokio` otherwise.

use std::error::Error;
use std::io;

use http::StatusCode;

use super::{AuthKind, ConnectionInfo};
use crate::snapshot::{Fault, FaultKind, Need};

/// What to ask when something else than an API server answers.
pub(super) const NOT_AN_API_SERVER: &str = "is there a proxy or a sign-in page between this console and the cluster?";
/// Where a proxy that is in the way comes from.
const PROXY: &str = "the proxy comes from proxy-url of the kubeconfig or from HTTPS_PROXY; NO_PROXY takes a server out";
/// Longest piece of foreign text shown.
const FOREIGN: usize = 300;

/// Foreign text without control characters, on one line, not longer than `cap` characters.
pub(super) fn clean(text: &str, cap: usize) -> String {
    let flat: String = text
        .chars()
        .map(|c| {
            if c.is_control()
                || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
            {
                ' '
            } else {
                c
            }
        })
        .collect();
    let mut words = flat.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((cut, _)) = words.char_indices().nth(cap) {
        words.truncate(cut);
        words.push('…');
    }
    words
}

/// A word that can stand in a command without quotes, else the placeholder.
fn word<'a>(value: Option<&'a str>, placeholder: &'a str) -> &'a str {
    value
        .filter(|v| {
            !v.is_empty() && !v.starts_with('-') && v.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
        .unwrap_or(placeholder)
}

/// `-g <resource-group> -n <cluster>`, filled in as far as the kubeconfig tells.
fn az_target(info: &ConnectionInfo) -> String {
    let group = word(info.resource_group.as_deref(), "<resource-group>");
    let cluster = word(info.cluster_name.as_deref(), "<cluster>");
    format!("-g {group} -n {cluster}")
}

fn looks_like_aks(info: &ConnectionInfo) -> bool {
    info.server.contains(".azmk8s.io") || info.server.contains(".cx.") || info.resource_group.is_some()
}

/// A credential plugin failed: what to try.
pub(super) fn plugin_hints(mut fault: Fault, is_kubelogin: bool, install_hint: Option<&str>) -> Fault {
    if let Some(hint) = install_hint.map(|hint| clean(hint, FOREIGN)).filter(|hint| !hint.is_empty()) {
        fault = fault.hint(hint);
    }
    fault = fault.hint("does kubectl work from this console?").hint("   kubectl get namespace");
    if is_kubelogin {
        fault = fault
            .hint("to use the Azure CLI's login instead")
            .hint("   az login")
            .hint("   kubelogin convert-kubeconfig -l azurecli");
    }
    fault
}

fn login_hints(fault: Fault, info: &ConnectionInfo) -> Fault {
    let fault = match &info.auth {
        AuthKind::Exec { is_kubelogin: true, .. } => return plugin_hints(fault, true, None),
        AuthKind::ClientCertificate => fault.hint("the client certificate may have expired or been replaced"),
        _ => fault,
    };
    fault
        .hint("does kubectl work from this console?")
        .hint("   kubectl get namespace")
        .hint("fetch fresh credentials")
        .hint(format!("   az aks get-credentials {}", az_target(info)))
}

fn network_hints(fault: Fault, info: &ConnectionInfo) -> Fault {
    let fault = fault.hint("does kubectl work from this console?").hint("   kubectl get namespace");
    if !looks_like_aks(info) {
        return fault;
    }
    let target = az_target(info);
    fault
        .hint("is the cluster running?")
        .hint(format!("   az aks show {target} --query powerState.code"))
        .hint("if it is stopped")
        .hint(format!("   az aks start {target}"))
}

/// The answer's status says no.
pub(super) fn from_status(status: StatusCode, body: &[u8], need: Option<&Need>, info: &ConnectionInfo) -> Fault {
    // The message of a Kubernetes Status; anything else in a body is not shown.
    let said = serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .filter(|value| value.get("kind").and_then(|kind| kind.as_str()) == Some("Status"))
        .and_then(|value| value.get("message").and_then(|text| text.as_str()).map(|text| clean(text, FOREIGN)));
    let server = &info.server;
    let mut fault = match status {
        StatusCode::UNAUTHORIZED => login_hints(
            Fault::new(FaultKind::Unauthenticated, format!("{server} does not accept the credentials (401)")),
            info,
        ),
        StatusCode::FORBIDDEN => forbidden(said.as_deref(), need),
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
            Fault::new(FaultKind::Unreachable, "the proxy wants credentials (407)").hint(PROXY)
        }
        StatusCode::TOO_MANY_REQUESTS => {
            Fault::new(FaultKind::Unreachable, format!("{server} has too much to do and asks to come back later (429)"))
                .hint("try again in a minute")
        }
        StatusCode::GONE => Fault::new(FaultKind::Truncated, "the list changed while it was read (410)"),
        StatusCode::GATEWAY_TIMEOUT => {
            Fault::new(FaultKind::Timeout, format!("{server} did not finish the request in time (504)"))
                .hint("try again in a minute")
        }
        status if status.is_server_error() => network_hints(
            Fault::new(
                FaultKind::Unreachable,
                with(format!("{server} answers with an error ({})", status.as_u16()), said),
            ),
            info,
        ),
        status if status.is_redirection() => Fault::new(
            FaultKind::Malformed,
            format!("{server} redirects elsewhere ({}), which no Kubernetes API server does", status.as_u16()),
        )
        .hint(NOT_AN_API_SERVER),
        // A TLS port answers plain HTTP with a bare 400.
        StatusCode::BAD_REQUEST if said.is_none() => {
            Fault::new(FaultKind::Malformed, format!("{server} refuses the request (400)"))
                .hint("is the address right, and is it https?")
        }
        status => {
            Fault::new(FaultKind::Malformed, with(format!("{server} refuses the request ({})", status.as_u16()), said))
        }
    };
    fault.status = Some(status.as_u16());
    fault
}

fn with(mut message: String, said: Option<String>) -> String {
    if let Some(said) = said {
        message.push_str(": ");
        message.push_str(said.trim_end_matches('.'));
    }
    message
}

fn forbidden(said: Option<&str>, need: Option<&Need>) -> Fault {
    let message = match need {
        Some(Need { verb, resource, namespace: Some(namespace) }) => {
            format!("not allowed to {verb} {resource} in namespace {}", clean(namespace, 63))
        }
        Some(Need { verb, resource, namespace: None }) => format!("not allowed to {verb} {resource} (cluster)"),
        None => "not allowed to read this".to_owned(),
    };
    let mut fault = Fault::new(FaultKind::Forbidden, message);
    fault.need = need.cloned();
    let said = said.unwrap_or_default();
    if said.contains("impersonate") {
        fault = fault.hint("the user may not impersonate others: leave --as and --as-group out");
    } else if said.contains("in Azure") {
        // Azure RBAC decides on this cluster; a Kubernetes role would change nothing.
        fault = fault.hint("Azure decides here: ask for the role Azure Kubernetes Service RBAC Reader on the cluster");
    }
    fault
}

/// Whether the connection broke under a request that can safely be repeated.
pub(super) fn is_reset(error: &kube::Error) -> bool {
    let text = chain(error);
    causes(error).any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted
            )
        })
    }) || text.contains("connection closed before message completed")
        // The connection broke before the request could be written, and took its reason with it.
        || text.contains("operation was canceled")
}

/// No answer came.
pub(super) fn from_kube(error: &kube::Error, info: &ConnectionInfo) -> Fault {
    match error {
        kube::Error::Auth(_) => login_hints(
            Fault::new(FaultKind::Unauthenticated, "the credentials of the kubeconfig could not be refreshed"),
            info,
        ),
        _ => from_transport(error, info),
    }
}

/// The body broke off.
pub(super) fn from_body(error: &(dyn Error + 'static), info: &ConnectionInfo) -> Fault {
    let text = chain(error);
    if text.contains("certificate") {
        return from_transport(error, info);
    }
    let kind = causes(error).find_map(|cause| cause.downcast_ref::<io::Error>().map(io::Error::kind));
    let message = match kind {
        Some(io::ErrorKind::ConnectionReset) => "the connection was reset in the middle of the answer",
        _ => "the connection ended in the middle of the answer",
    };
    Fault::new(FaultKind::Truncated, message)
}

fn from_transport(error: &(dyn Error + 'static), info: &ConnectionInfo) -> Fault {
    use io::ErrorKind as Io;
    let text = chain(error);
    let server = &info.server;
    let has = |words: &str| text.contains(words);
    let io = causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).map(io::Error::kind).last();
    let unreachable = |why: String| Fault::new(FaultKind::Unreachable, format!("cannot reach {server}: {why}"));
    if has("tunnel error: proxy authorization required") || has("SOCKS error: credentials not accepted") {
        return unreachable("the proxy wants credentials".into()).hint(PROXY);
    }
    if has("tunnel error") || has("SOCKS error") {
        let why = if has("unsuccessful") || has("command") {
            "the proxy refuses to connect to it"
        } else {
            "the proxy cannot be used"
        };
        return unreachable(why.into()).hint(PROXY);
    }
    if has("bearer token") || has("basic auth") {
        let message = "the token or password holds characters that cannot be sent";
        return login_hints(Fault::new(FaultKind::Unauthenticated, message), info);
    }
    if REFUSED_CERTIFICATE.iter().any(|alert| text.contains(&format!("received fatal alert: {alert}"))) {
        let what = if has("CertificateRequired") {
            "wants a client certificate"
        } else {
            "does not accept the client certificate"
        };
        return login_hints(Fault::new(FaultKind::Unauthenticated, format!("{server} {what}")), info);
    }
    if has("invalid peer certificate") || has("certificate") && has("tls") {
        return certificate(&text, info);
    }
    if has("received fatal alert")
        || has("received corrupt message")
        || has("peer is incompatible")
        || has("InvalidContentType")
    {
        return unreachable("it does not speak TLS as expected".into()).hint("is the address right, and is it https?");
    }
    if has("dns error") || has("failed to lookup address") {
        let fault = unreachable("its name does not resolve".into());
        return if looks_like_aks(info) {
            network_hints(fault, info)
                .hint("the name of a private cluster resolves only inside its network, for example over VPN")
        } else {
            network_hints(fault, info)
        };
    }
    if has(CONNECT_LIMIT) {
        return network_hints(
            Fault::new(FaultKind::Timeout, format!("cannot reach {server}: no connection within 10 s")),
            info,
        );
    }
    match io {
        Some(Io::ConnectionRefused) => network_hints(unreachable("connection refused".into()), info),
        Some(Io::ConnectionReset | Io::BrokenPipe | Io::ConnectionAborted) => {
            network_hints(unreachable("the connection was reset".into()), info)
        }
        Some(Io::HostUnreachable | Io::NetworkUnreachable | Io::NetworkDown | Io::AddrNotAvailable) => {
            network_hints(unreachable("there is no route to it".into()), info)
        }
        Some(Io::TimedOut) => network_hints(
            Fault::new(FaultKind::Timeout, format!("cannot reach {server}: the connection timed out")),
            info,
        ),
        _ if has("connection closed before message completed") || io == Some(Io::UnexpectedEof) => {
            network_hints(unreachable("it closed the connection without an answer".into()), info)
        }
        _ if has("invalid HTTP") || has("parse") => {
            Fault::new(FaultKind::Malformed, format!("{server} does not answer in HTTP"))
                .hint("is the address right, and is it https?")
        }
        _ => network_hints(unreachable("the connection failed".into()), info),
    }
}

/// TLS alerts about our own certificate, as rustls names them.
const REFUSED_CERTIFICATE: [&str; 7] = [
    "CertificateExpired",
    "CertificateRequired",
    "CertificateRevoked",
    "CertificateUnknown",
    "BadCertificate",
    "UnknownCA",
    "UnsupportedCertificate",
];

/// The words by which our own connector's limit is recognised.
pub(super) const CONNECT_LIMIT: &str = "kubectl-asm connect limit";

fn certificate(text: &str, info: &ConnectionInfo) -> Fault {
    let server = &info.server;
    let refuse = |why: &str| Fault::new(FaultKind::Unreachable, format!("the certificate of {server} {why}"));
    let fresh = format!("   az aks get-credentials {}", az_target(info));
    if text.contains("Expired") || text.contains("certificate expired") {
        refuse("has expired").hint("is this machine's clock right?")
    } else if text.contains("NotValidYet") || text.contains("not valid yet") {
        refuse("is not valid yet").hint("is this machine's clock right?")
    } else if text.contains("NotValidForName") || text.contains("not valid for name") {
        refuse("is for another name").hint("--tls-server-name names the one to expect")
    } else if text.contains("UnknownIssuer") || text.contains("BadSignature") {
        refuse("is not signed by the authority that the kubeconfig trusts")
            .hint("the cluster may have been recreated, or a proxy opens the connection; fetch fresh credentials")
            .hint(fresh)
    } else {
        refuse("is not accepted")
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), next_cause).take(16)
}

fn next_cause<'a>(error: &&'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    let error: &'a (dyn Error + 'static) = *error;
    error.source()
}

/// All messages of a chain, for recognising fixed words only; never shown.
fn chain(error: &(dyn Error + 'static)) -> String {
    causes(error).map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
#[path = "fault_tests.rs"]
mod tests;
