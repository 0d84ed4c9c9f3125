//! Lines of Envoy's access log, in Istio's text format and in its JSON format
//! (`pilot/pkg/model/telemetry_logging.go` of istio/istio), and what their flags mean
//! (<https://www.envoyproxy.io/docs/envoy/latest/configuration/observability/access_log/usage>).

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;

use super::known::{Advice, BASE, CONFIG, Known};
use crate::engine::Severity;
use crate::model::log::LogPart;

/// One request, or one connection where it is TCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access<'a> {
    /// When it began, as it is written.
    pub time: Cow<'a, str>,
    /// HTTP status; 0 where the caller was gone or it was no HTTP.
    pub code: u16,
    /// Response flags, separated by commas, or `-`.
    pub flags: Cow<'a, str>,
    /// Response code details.
    pub details: Cow<'a, str>,
    /// Why the connection to the other side failed.
    pub transport: Cow<'a, str>,
    /// Host that was asked for.
    pub authority: Cow<'a, str>,
    /// Address that it was sent to.
    pub host: Cow<'a, str>,
    /// Cluster that it was sent to, e.g. `outbound|80||cart.shop.svc.cluster.local`.
    pub cluster: Cow<'a, str>,
    /// Name in the caller's TLS greeting (SNI).
    pub server_name: Cow<'a, str>,
}

/// Reads a line; none when it is no line of an access log.
#[must_use]
pub fn parse(text: &str) -> Option<Access<'_>> {
    match text.as_bytes().first()? {
        b'{' => json(text),
        b'[' => words(text),
        _ => None,
    }
}

/// `[TIME] "METHOD PATH PROTOCOL" CODE FLAGS DETAILS TERMINATION "TRANSPORT" RECEIVED SENT DURATION UPSTREAM-TIME "FOR"
/// "AGENT" "ID" "AUTHORITY" "HOST" CLUSTER UPSTREAM-LOCAL DOWNSTREAM-LOCAL DOWNSTREAM-REMOTE SERVER-NAME ROUTE`
fn words(text: &str) -> Option<Access<'_>> {
    let (time, rest) = text.strip_prefix('[')?.split_once("] \"")?;
    // Envoy's own log begins with a bracket too, and a blank between day and time.
    if time.len() < 20 || time.as_bytes().get(10) != Some(&b'T') {
        return None;
    }
    let (_request, mut rest) = rest.split_once("\" ")?;
    let mut fields = [""; 19];
    for field in &mut fields {
        let (word, behind) = next(rest);
        *field = word;
        rest = behind;
    }
    let [code, flags, details, _, transport, _, _, _, _, _, _, _, authority, host, cluster, _, _, _, server_name] =
        fields;
    // A format of the user's own has other fields here.
    if code.is_empty() || !code.bytes().all(|b| b.is_ascii_digit()) || flags.is_empty() {
        return None;
    }
    Some(Access {
        time: time.into(),
        code: code.parse().unwrap_or(0),
        flags: flags.into(),
        details: details.into(),
        transport: transport.into(),
        authority: authority.into(),
        host: host.into(),
        cluster: cluster.into(),
        server_name: server_name.into(),
    })
}

/// The next word, or what stands in quotes, and what comes after.
fn next(text: &str) -> (&str, &str) {
    let (word, rest) = match text.strip_prefix('"') {
        // A quote within is written with a backslash, which a user's agent can be full of.
        Some(quoted) => match closing(quoted) {
            Some(end) => (&quoted[..end], &quoted[end + 1..]),
            None => (quoted, ""),
        },
        None => text.split_at(text.find(' ').unwrap_or(text.len())),
    };
    (word, rest.strip_prefix(' ').unwrap_or(rest))
}

fn closing(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn json(text: &str) -> Option<Access<'_>> {
    #[derive(Deserialize)]
    #[serde(default)]
    #[derive(Default)]
    struct Raw {
        start_time: Value,
        response_code: Value,
        response_flags: Value,
        response_code_details: Value,
        upstream_transport_failure_reason: Value,
        authority: Value,
        upstream_host: Value,
        upstream_cluster: Value,
        requested_server_name: Value,
    }
    if !text.contains("\"response_flags\"") && !text.contains("\"response_code\"") {
        return None;
    }
    let raw: Raw = serde_json::from_str(text).ok()?;
    let word = |value: Value| match value {
        Value::String(text) => Cow::Owned(text),
        Value::Number(number) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed("-"),
    };
    Some(Access {
        time: word(raw.start_time),
        code: word(raw.response_code).parse().unwrap_or(0),
        flags: word(raw.response_flags),
        details: word(raw.response_code_details),
        transport: word(raw.upstream_transport_failure_reason),
        authority: word(raw.authority),
        host: word(raw.upstream_host),
        cluster: word(raw.upstream_cluster),
        server_name: word(raw.requested_server_name),
    })
}

impl Access<'_> {
    /// Whether it came in to the pod of this proxy.
    fn is_inbound(&self) -> bool {
        self.cluster.starts_with("inbound|")
    }

    /// Port and host in the cluster's name.
    fn target(&self) -> Option<(&str, &str)> {
        let mut parts = self.cluster.split('|').skip(1);
        let (port, host) = (parts.next()?, parts.nth(1)?);
        Some((port, host))
    }

    /// Who was to answer, for people.
    fn destination(&self) -> String {
        match self.target() {
            Some((port, _)) if self.is_inbound() => format!("port {port} of the application"),
            Some((port, host)) if !host.is_empty() => format!("{}:{port}", short(host)),
            _ if is_set(&self.authority) => self.authority.to_string(),
            _ if is_set(&self.host) => self.host.to_string(),
            _ => String::new(),
        }
    }
}

/// `cart.shop` for `cart.shop.svc.cluster.local`.
fn short(host: &str) -> &str {
    host.strip_suffix(".svc.cluster.local").unwrap_or(host)
}

fn is_set(text: &str) -> bool {
    !text.is_empty() && text != "-"
}

/// What is wrong with a request, and what that is about; none when Envoy had no reason to say anything. A gateway gets
/// callers that look for anything anywhere, so what fits nothing there says more about them.
#[must_use]
pub fn classify(access: &Access<'_>, part: LogPart) -> Option<(&'static Known, String)> {
    let message = |id: &str, about: String| Some((MESSAGES.iter().find(|known| known.id == id)?, about));
    let (details, transport) = (access.details.as_ref(), access.transport.as_ref());
    // Details have underscores where other texts have blanks.
    let says = |words: &str| transport.contains(words) || details.contains(words.replace(' ', "_").as_str());
    if details.starts_with("rbac_access_denied") {
        let policy = details.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(policy, _)| policy);
        return message(
            "access-policy",
            policy.filter(|policy| *policy != "none").unwrap_or("no rule allows it").to_owned(),
        );
    }
    if access.cluster == "BlackHoleCluster" {
        return message("access-unknown-host", first_set(&[&access.authority, &access.host]));
    }
    if says("delayed connect error: 111") || says("delayed connect error: Connection refused") {
        let id = if access.is_inbound() { "access-application-refused" } else { "access-refused" };
        return message(id, access.destination());
    }
    if ["delayed connect error: 110", "delayed connect error: 113", "Connection timed out", "No route to host"]
        .iter()
        .any(|words| says(words))
        || details.contains("connection_timeout")
    {
        return message("access-unreachable", access.destination());
    }
    if says("WRONG_VERSION_NUMBER") {
        return message("access-plain-text", access.destination());
    }
    if says("CERTIFICATE_VERIFY_FAILED") {
        return message("access-untrusted", access.destination());
    }
    if transport.starts_with("TLS error") || transport.starts_with("TLS_error") {
        return message("access-tls", access.destination());
    }
    if details.contains("filter_chain_not_found") {
        let id = if part == LogPart::Gateway { "access-gateway-no-chain" } else { NO_CHAIN };
        return message(id, first_set(&[&access.server_name, &access.destination()]));
    }
    if part == LogPart::Gateway && access.flags.split(',').any(|flag| flag == "NR") {
        return message("access-gateway-no-route", access.destination());
    }
    for flag in access.flags.split(',') {
        if let Some(known) = MESSAGES.iter().find(|known| known.id.strip_prefix("access-flag-") == Some(flag)) {
            return Some((known, access.destination()));
        }
    }
    if access.code >= 500 && details == "via_upstream" {
        let id = if access.is_inbound() { "access-answered" } else { "access-passed-on" };
        return message(id, access.destination());
    }
    None
}

/// Fewer lines than this are never many.
const MANY: u64 = 5;

/// How bad a message is among the requests of its log. That a request fitted nothing can be its caller's fault: it
/// counts from five lines on that are one in a hundred requests. Of everything else fewer than five lines are no finding
/// where they are less than one in a thousand.
#[must_use]
pub(super) fn weight(known: &Known, count: u64, requests: u64) -> Severity {
    let share = |of: u64| count.saturating_mul(of) >= requests;
    let counts = match known.id {
        NO_ROUTE | NO_CHAIN => count >= MANY && share(100),
        _ => count >= MANY || share(1000),
    };
    if counts { known.severity } else { Severity::Info }
}

fn first_set(texts: &[&str]) -> String {
    texts.iter().find(|text| is_set(text)).map(|text| (*text).to_owned()).unwrap_or_default()
}

const ACCESS: Known = Known { part: LogPart::Proxy, code: "PRX21", steps: &[ENDPOINTS], ..BASE };
/// Something that says more about a caller, or about a wish, than about a fault.
const QUIET: Known = Known { severity: Severity::Info, steps: &[], ..ACCESS };

/// How the names of the messages of access logs begin.
pub(super) const ACCESS_ID: &str = "access-";
const NO_ROUTE: &str = "access-flag-NR";
const NO_CHAIN: &str = "access-no-chain";

const ENDPOINTS: Advice = Advice {
    text: "shows to which addresses this proxy sends, and how they do",
    command: &["kubectl", "asm", "proxy-config", "endpoints", "{pod}", "-n", "{namespace}"],
};
const ROUTES: Advice = Advice {
    text: "shows which hosts and paths this proxy knows, and where they lead",
    command: &["kubectl", "asm", "proxy-config", "routes", "{pod}", "-n", "{namespace}"],
};
const CLUSTERS: Advice = Advice {
    text: "shows what this proxy can send to",
    command: &["kubectl", "asm", "proxy-config", "clusters", "{pod}", "-n", "{namespace}"],
};
const LISTENS: Advice = Advice {
    text: "the application listens on another port, only on 127.0.0.1, or not yet: its ports, and those of its Service, must agree",
    command: &["kubectl", "get", "pod,service", "-n", "{namespace}", "-o", "wide"],
};
const POLICIES: Advice = Advice {
    text: "lists the rules; the named one decides, and without a name none of them allows the request",
    command: &["kubectl", "get", "authorizationpolicies.security.istio.io", "-n", "{namespace}", "-o", "yaml"],
};
const NETWORK_POLICIES: Advice =
    Advice { text: "lists what may stand between both ends", command: &["kubectl", "get", "networkpolicies", "-A"] };
const MODES: Advice = Advice {
    text: "lists who demands mTLS and who sends it: both must say the same of that host",
    command: &["kubectl", "get", "destinationrules.networking.istio.io,peerauthentications.security.istio.io", "-A"],
};
const ROOTS: Advice = Advice {
    text: "shows whether all roots are the same, and which proxies have an old certificate",
    command: &["kubectl", "asm", "status", "--only", "CA"],
};
const ENTRIES: Advice = Advice {
    text: "lists the hosts outside the cluster that the mesh knows; others need a ServiceEntry",
    command: &["kubectl", "get", "serviceentries.networking.istio.io", "-A"],
};
const LIMITS: Advice = Advice {
    text: "lists the limits of connections and requests",
    command: &["kubectl", "get", "destinationrules.networking.istio.io", "-A", "-o", "yaml"],
};
const TIMEOUTS: Advice = Advice {
    text: "lists timeouts and retries of routes",
    command: &["kubectl", "get", "virtualservices.networking.istio.io", "-A", "-o", "yaml"],
};
const MEMORY: Advice = Advice {
    text: "shows how much memory the proxy may use",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "PRX04,PRX05"],
};

macro_rules! flag {
    ($flag:literal, $meaning:literal) => {
        Known { id: concat!("access-flag-", $flag), meaning: concat!($meaning, " (", $flag, ")"), ..ACCESS }
    };
    ($flag:literal, $meaning:literal, $steps:expr) => {
        Known { steps: $steps, ..flag!($flag, $meaning) }
    };
    (quiet $flag:literal, $meaning:literal) => {
        Known { id: concat!("access-flag-", $flag), meaning: concat!($meaning, " (", $flag, ")"), ..QUIET }
    };
}

/// Flags are looked up by name, in the order in which a line has them; the rest by [`classify`].
pub(super) static MESSAGES: &[Known] = &[
    Known {
        id: "access-application-refused",
        meaning: "nothing listens on that port of the application: the proxy is well, and the connection to its own pod is refused",
        steps: &[LISTENS],
        ..ACCESS
    },
    Known {
        id: "access-refused",
        meaning: "the other side refuses connections: nothing listens on that port there",
        steps: &[ENDPOINTS, LISTENS],
        ..ACCESS
    },
    Known {
        id: "access-unreachable",
        meaning: "the other side cannot be reached: connecting took too long, or there is no way to it",
        steps: &[ENDPOINTS, NETWORK_POLICIES],
        ..ACCESS
    },
    Known {
        id: "access-plain-text",
        meaning: "the proxy speaks TLS and the other side does not",
        steps: &[MODES],
        ..ACCESS
    },
    Known {
        id: "access-untrusted",
        meaning: "the certificate of the other side is not trusted, or is that of somebody else",
        steps: &[ROOTS, MODES],
        ..ACCESS
    },
    Known { id: "access-tls", meaning: "TLS with the other side failed", steps: &[MODES, ROOTS], ..ACCESS },
    Known {
        id: NO_CHAIN,
        meaning: "a connection came that fits nothing the proxy was told, such as plain text where mTLS is demanded",
        steps: &[MODES],
        ..ACCESS
    },
    Known {
        id: "access-policy",
        meaning: "an AuthorizationPolicy refuses the request",
        severity: Severity::Info,
        steps: &[POLICIES],
        ..ACCESS
    },
    Known {
        id: "access-unknown-host",
        meaning: "a host that the mesh does not know was asked for, and REGISTRY_ONLY ends such connections",
        steps: &[ENTRIES],
        ..ACCESS
    },
    Known { id: "access-answered", meaning: "the application itself answered with an error of 500 or more", ..QUIET },
    Known {
        id: "access-gateway-no-route",
        meaning: "a host or path was asked for that no Gateway with its VirtualServices or HTTPRoutes has (NR); whoever tries out addresses of the internet leaves such lines",
        ..QUIET
    },
    Known {
        id: "access-gateway-no-chain",
        meaning: "a caller came with a TLS name (SNI) that no Gateway has, or without one; whoever tries out addresses of the internet leaves such lines",
        ..QUIET
    },
    // The error may be that of the other pod's proxy: from here they look the same.
    Known {
        id: "access-passed-on",
        meaning: "an error of 500 or more came from the other end, whose own log tells whether its application or its proxy gave it",
        ..QUIET
    },
    flag!("NR", "no route fits the host and path that were asked for", &[ROUTES]),
    flag!("NC", "the route leads to a subset or host that the proxy does not have", &[ROUTES, CLUSTERS]),
    flag!("UH", "there is no healthy endpoint to send to"),
    flag!("UF", "connecting to the other side failed"),
    flag!("UO", "a limit of a DestinationRule on connections or requests is reached", &[LIMITS]),
    flag!("URX", "all retries failed, or all attempts to connect"),
    flag!("UC", "the other side closed the connection before it had answered"),
    flag!("UR", "the other side reset the request", &[ENDPOINTS]),
    flag!("UT", "the answer took longer than the route allows", &[TIMEOUTS]),
    flag!(
        "UPE",
        "the other side answered in another protocol, such as HTTP/1.1 on a port that is named http2",
        &[CLUSTERS]
    ),
    flag!("LR", "the proxy itself reset the connection"),
    flag!("LH", "the proxy is marked as failed by its own health check"),
    flag!("SI", "nothing was sent for too long", &[TIMEOUTS]),
    flag!("DT", "the request or connection lasted longer than allowed", &[TIMEOUTS]),
    flag!("UMSDR", "the request lasted longer than a stream may", &[TIMEOUTS]),
    flag!("NFCF", "a part of the configuration that the proxy fetches by itself did not come in time", &[CONFIG]),
    flag!("OM", "the proxy is short of memory and refuses requests", &[MEMORY]),
    flag!("DF", "the name of the other side cannot be resolved", &[ENTRIES]),
    flag!("RLSE", "the service that limits rates did not answer"),
    flag!("UDO", "all requests to that cluster are dropped, as its configuration says"),
    flag!("DO", "requests to that cluster are dropped, as its configuration says"),
    flag!(quiet "DC", "the caller went away before the answer"),
    flag!(quiet "DR", "the caller reset the request"),
    flag!(quiet "DPE", "the caller did not speak the protocol of that port"),
    flag!(quiet "RL", "a rate limit refused the request"),
    flag!(quiet "UAEX", "an external authorizer refused the request"),
    flag!(quiet "DI", "a VirtualService delayed the request on purpose"),
    flag!(quiet "FI", "a VirtualService ended the request on purpose"),
    flag!(quiet "IH", "the caller sent a header that Envoy refuses"),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// The fields of Istio's text format, in its order.
    fn line(code: &str, flags: &str, details: &str, transport: &str, host: &str, cluster: &str) -> String {
        format!(
            "[2026-07-15T12:00:00.123Z] \"GET /a?b=c HTTP/1.1\" {code} {flags} {details} - \"{transport}\" 0 19 3 - \
             \"-\" \"curl \\\"7\\\" x\" \"4f3b\" \"cart.shop:8080\" \"{host}\" {cluster} - 10.0.1.2:80 10.244.0.3:1234 - default"
        )
    }

    fn of(text: &str) -> Option<(&'static str, String)> {
        classify(&parse(text).unwrap(), LogPart::Proxy).map(|(known, about)| (known.id, about))
    }

    #[test]
    fn both_formats_say_the_same() {
        let text = line(
            "503",
            "UF",
            "upstream_reset_before_response_started{connection_failure}",
            "delayed connect error: 111",
            "10.244.0.9:8080",
            "outbound|8080||cart.shop.svc.cluster.local",
        );
        let json = r#"{"start_time":"2026-07-15T12:00:00.123Z","response_code":503,"response_flags":"UF","response_code_details":"upstream_reset_before_response_started{connection_failure}","upstream_transport_failure_reason":"delayed connect error: 111","authority":"cart.shop:8080","upstream_host":"10.244.0.9:8080","upstream_cluster":"outbound|8080||cart.shop.svc.cluster.local","bytes_sent":19,"user_agent":null}"#;
        assert_eq!(parse(&text), parse(json));
        assert_eq!(of(json), Some(("access-refused", "cart.shop:8080".to_owned())));
    }

    #[test]
    fn a_refused_connection_is_the_applications_on_the_way_in_and_the_others_on_the_way_out() {
        let inbound = "inbound|8080||";
        for transport in ["delayed connect error: 111", "delayed connect error: Connection refused"] {
            let text = line(
                "503",
                "UF,URX",
                "upstream_reset_before_response_started{connection_failure}",
                transport,
                "10.244.0.9:8080",
                inbound,
            );
            assert_eq!(of(&text), Some(("access-application-refused", "port 8080 of the application".to_owned())));
        }
        // Newer versions of Envoy have the reason in the details.
        let details = "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_111}";
        assert_eq!(of(&line("503", "UF", details, "-", "-", inbound)).unwrap().0, "access-application-refused");
    }

    #[test]
    fn flags_and_details_are_told_apart() {
        let cluster = "outbound|80||cart.shop.svc.cluster.local";
        for (code, flags, details, transport, cluster, expected) in [
            ("404", "NR", "route_not_found", "-", "-", Some("access-flag-NR")),
            ("503", "UH", "no_healthy_upstream", "-", cluster, Some("access-flag-UH")),
            ("503", "NC", "cluster_not_found", "-", "-", Some("access-flag-NC")),
            (
                "503",
                "UF",
                "x",
                "TLS_error:|268435703:SSL_routines:OPENSSL_internal:WRONG_VERSION_NUMBER:TLS_error_end",
                cluster,
                Some("access-plain-text"),
            ),
            (
                "503",
                "UF",
                "x",
                "TLS error: 268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED",
                cluster,
                Some("access-untrusted"),
            ),
            ("503", "UF", "x", "delayed connect error: 113", cluster, Some("access-unreachable")),
            ("503", "URX,UC", "x", "-", cluster, Some("access-flag-URX")),
            ("403", "-", "rbac_access_denied_matched_policy[none]", "-", cluster, Some("access-policy")),
            ("502", "-", "direct_response", "-", "BlackHoleCluster", Some("access-unknown-host")),
            ("0", "NR", "filter_chain_not_found", "-", "-", Some("access-no-chain")),
            ("503", "-", "via_upstream", "-", cluster, Some("access-passed-on")),
            ("503", "-", "via_upstream", "-", "inbound|8080||", Some("access-answered")),
            ("0", "DC", "downstream_remote_disconnect", "-", cluster, Some("access-flag-DC")),
            ("200", "-", "via_upstream", "-", cluster, None),
        ] {
            let found = of(&line(code, flags, details, transport, "-", cluster)).map(|(id, _)| id);
            assert_eq!(found, expected, "{code} {flags} {details}");
        }
    }

    #[test]
    fn what_no_gateway_has_is_no_fault_of_the_gateway() {
        let at_gateway = |text: &str| {
            let (known, about) = classify(&parse(text).unwrap(), LogPart::Gateway).unwrap();
            (known.id, known.severity, about)
        };
        let scan = line("404", "NR", "route_not_found", "-", "-", "-");
        assert_eq!(at_gateway(&scan), ("access-gateway-no-route", Severity::Info, "cart.shop:8080".to_owned()));
        let greeting = r#"{"response_code":0,"response_flags":"NR","response_code_details":"filter_chain_not_found","requested_server_name":"x.example","authority":null}"#;
        assert_eq!(at_gateway(greeting), ("access-gateway-no-chain", Severity::Info, "x.example".to_owned()));
        let text =
            line("0", "NR", "filter_chain_not_found", "-", "-", "-").replace("1234 - default", "1234 x.example -");
        assert_eq!(at_gateway(&text), at_gateway(greeting));
        assert_eq!(of(&text), Some(("access-no-chain", "x.example".to_owned())));
        let cluster = "outbound|80||cart.shop.svc.cluster.local";
        let missing = line("503", "UH", "no_healthy_upstream", "-", "-", cluster);
        assert_eq!(at_gateway(&missing).1, Severity::Warning, "what a Gateway has must have an end");
    }

    #[test]
    fn how_many_of_how_many_requests_are_a_fault() {
        let of = |id: &str| MESSAGES.iter().find(|known| known.id == id).unwrap();
        for (id, count, requests, expected) in [
            ("access-flag-NR", 1, 1, Severity::Info),
            ("access-flag-NR", 4, 10, Severity::Info),
            ("access-flag-NR", 5, 10, Severity::Warning),
            ("access-flag-NR", 5, 500, Severity::Warning),
            ("access-flag-NR", 5, 501, Severity::Info),
            ("access-no-chain", 4, 4, Severity::Info),
            ("access-no-chain", 50, 5000, Severity::Warning),
            ("access-application-refused", 1, 1, Severity::Warning),
            ("access-application-refused", 1, 1000, Severity::Warning),
            ("access-application-refused", 1, 1001, Severity::Info),
            ("access-flag-UC", 4, 4001, Severity::Info),
            ("access-flag-UC", 5, 1_000_000, Severity::Warning),
            ("access-policy", 9, 9, Severity::Info),
            ("access-flag-UH", u64::MAX, u64::MAX, Severity::Warning),
        ] {
            assert_eq!(weight(of(id), count, requests), expected, "{id} {count} {requests}");
        }
    }

    #[test]
    fn other_lines_are_no_access_log() {
        for text in [
            "[2026-07-15 12:00:00.123][18][warning][config] [source/x.cc:1] \"a\" b",
            "[2026-07-15T12:00:00.123Z] \"GET / HTTP/1.1\" my own format",
            "[2026-07-15T12:00:00.123Z] \"GET / HTTP/1.1\" ",
            r#"{"level":"info","msg":"response"}"#,
            "{\"response_code\": [",
            "",
            "[",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
