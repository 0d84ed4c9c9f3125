//! Which proxy, if any, stands before the API server: kubectl's rules.
//!
//! kube's own rule is not used: it compares `NO_PROXY` with the proxy's address instead of the server's, and it
//! refuses a whole kubeconfig because of a trailing comma.

use std::net::IpAddr;

use http::Uri;

use crate::snapshot::{Fault, FaultKind};

/// The environment variables that matter, read once.
#[derive(Clone, Debug, Default)]
pub(super) struct ProxyVariables {
    pub(super) https: Option<String>,
    pub(super) http: Option<String>,
    pub(super) none: Option<String>,
}

impl ProxyVariables {
    pub(super) fn from_env() -> Self {
        let read = |upper: &str, lower: &str| {
            [upper, lower]
                .into_iter()
                .find_map(|name| std::env::var(name).ok().filter(|value| !value.trim().is_empty()))
        };
        Self {
            https: read("HTTPS_PROXY", "https_proxy"),
            http: read("HTTP_PROXY", "http_proxy"),
            none: read("NO_PROXY", "no_proxy"),
        }
    }
}

/// Chooses the proxy for `server`. A `proxy-url` of the kubeconfig is always used, as kubectl does; one from the
/// environment is not used for loopback addresses nor for what `NO_PROXY` lists.
pub(super) fn choose(
    server: &Uri,
    of_kubeconfig: Option<&str>,
    variables: &ProxyVariables,
) -> Result<Option<Uri>, Fault> {
    if let Some(url) = of_kubeconfig.map(str::trim).filter(|url| !url.is_empty()) {
        return parse(url, "proxy-url of the kubeconfig").map(Some);
    }
    let tls = server.scheme_str() == Some("https");
    let (value, name) = if tls { (&variables.https, "HTTPS_PROXY") } else { (&variables.http, "HTTP_PROXY") };
    let Some(value) = value else { return Ok(None) };
    let host = bare_host(server);
    let port = server.port_u16().unwrap_or(if tls { 443 } else { 80 });
    if is_loopback(host) || variables.none.as_deref().is_some_and(|list| bypasses(list, host, port)) {
        return Ok(None);
    }
    parse(value.trim(), name).map(Some)
}

/// The host without the brackets of an IPv6 address.
pub(super) fn bare_host(uri: &Uri) -> &str {
    uri.host().unwrap_or("").trim_start_matches('[').trim_end_matches(']')
}

pub(super) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn parse(url: &str, whence: &str) -> Result<Uri, Fault> {
    // The value is never shown: it may hold a password.
    let broken = || Fault::new(FaultKind::Unreachable, format!("the proxy address in {whence} is not a URL"));
    let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let uri: Uri = full.parse().map_err(|_| broken())?;
    if uri.host().is_none_or(str::is_empty) {
        return Err(broken());
    }
    match uri.scheme_str() {
        Some("http" | "https" | "socks5" | "socks5h") => Ok(uri),
        _ => Err(Fault::new(
            FaultKind::Unreachable,
            format!("the proxy address in {whence} is neither http, https nor socks5"),
        )),
    }
}

/// Whether `NO_PROXY` takes `host` out. Entries that make no sense match nothing.
pub(super) fn bypasses(list: &str, host: &str, port: u16) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address = host.parse::<IpAddr>().ok();
    list.split(|c: char| c == ',' || c.is_whitespace()).any(|entry| {
        let entry = entry.trim().to_ascii_lowercase();
        if entry.is_empty() {
            return false;
        }
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return match (address, network.parse::<IpAddr>(), bits.parse::<u8>()) {
                (Some(address), Ok(network), Ok(bits)) => in_network(address, network, bits),
                _ => false,
            };
        }
        let (name, wanted_port) = split_port(&entry);
        if wanted_port.is_some_and(|wanted| wanted != port) {
            return false;
        }
        if let Ok(ip) = name.parse::<IpAddr>() {
            return address == Some(ip);
        }
        // `*.domain` and `.domain` mean what is below it; `domain` means itself as well.
        let name = name.strip_prefix('*').unwrap_or(name).trim_end_matches('.');
        match name.strip_prefix('.') {
            Some(domain) => below(&host, domain),
            None => host == name || below(&host, name),
        }
    })
}

fn below(host: &str, domain: &str) -> bool {
    !domain.is_empty() && host.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}

fn split_port(entry: &str) -> (&str, Option<u16>) {
    if let Some(rest) = entry.strip_prefix('[')
        && let Some((address, port)) = rest.split_once(']')
    {
        return (address, port.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match entry.rsplit_once(':') {
        // More than one colon without brackets is an IPv6 address.
        Some((name, port)) if !name.contains(':') => match port.parse() {
            Ok(port) => (name, Some(port)),
            Err(_) => (entry, None),
        },
        _ => (entry, None),
    }
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) if bits <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(a) & mask == u32::from(n) & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) if bits <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(a) & mask == u128::from(n) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    #[test]
    fn no_proxy_table() {
        for (list, host, port, wanted) in [
            ("", "a.example.com", 443, false),
            (",", "a.example.com", 443, false),
            ("*", "a.example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "a.example.com", 443, true),
            ("example.com", "badexample.com", 443, false),
            (".example.com", "example.com", 443, false),
            (".example.com", "a.example.com", 443, true),
            (".example.com", "a.b.example.com", 443, true),
            ("*.example.com", "a.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("EXAMPLE.com", "A.Example.COM", 443, true),
            ("other.com,example.com,", "a.example.com", 443, true),
            ("other.com example.com", "a.example.com", 443, true),
            (" other.com ,  example.com ", "a.example.com", 443, true),
            ("example.com:443", "a.example.com", 443, true),
            ("example.com:6443", "a.example.com", 443, false),
            ("example.com:nonsense", "example.com", 443, false),
            ("10.0.0.0/8", "10.1.2.3", 6443, true),
            ("10.0.0.0/8", "11.1.2.3", 6443, false),
            ("0.0.0.0/0", "11.1.2.3", 6443, true),
            ("10.0.0.0/33", "10.0.0.1", 6443, false),
            ("10.0.0.0/x", "10.0.0.1", 6443, false),
            ("10.0.0.1", "10.0.0.1", 6443, true),
            ("10.0.0.1:6443", "10.0.0.1", 6443, true),
            ("10.0.0.1:443", "10.0.0.1", 6443, false),
            ("10.0.0.1", "10.0.0.10", 6443, false),
            ("fd00::/8", "fd12::1", 6443, true),
            ("fd00::1", "fd00::1", 6443, true),
            ("[fd00::1]:6443", "fd00::1", 6443, true),
            ("[fd00::1]:443", "fd00::1", 6443, false),
            (".hcp.westeurope.azmk8s.io", "x-1.hcp.westeurope.azmk8s.io", 443, true),
            (".", "example.com", 443, false),
            ("example.com.", "example.com", 443, true),
        ] {
            assert_eq!(bypasses(list, host, port), wanted, "{list:?} for {host}:{port}");
        }
    }

    #[test]
    fn the_kubeconfig_wins_and_loopback_is_direct() {
        let variables = ProxyVariables {
            https: Some("proxy:3128".into()),
            http: Some("http://plain:80".into()),
            none: Some(".internal,".into()),
        };
        let chosen = |server: &str, own: Option<&str>| {
            choose(&server.parse().unwrap(), own, &variables).unwrap().map(|uri| uri.to_string())
        };
        assert_eq!(chosen("https://a.example.com", None).as_deref(), Some("http://proxy:3128/"));
        assert_eq!(chosen("http://a.example.com", None).as_deref(), Some("http://plain:80/"));
        assert_eq!(chosen("https://a.internal", None), None);
        assert_eq!(chosen("https://a.internal", Some("socks5://s:1080")).as_deref(), Some("socks5://s:1080/"));
        assert_eq!(chosen("https://127.0.0.1:6443", None), None);
        assert_eq!(chosen("https://[::1]:6443", None), None);
        assert_eq!(chosen("https://localhost:6443", None), None);
    }

    #[test]
    fn a_bad_proxy_is_named_without_its_value() {
        let server: Uri = "https://a.example.com".parse().unwrap();
        for bad in ["http://user:secret@", "ftp://user:secret@p:21", "http://user:secret@ho st"] {
            let fault = choose(&server, Some(bad), &ProxyVariables::default()).unwrap_err();
            assert!(fault.message.contains("kubeconfig") && !fault.message.contains("secret"), "{}", fault.message);
        }
    }
}
