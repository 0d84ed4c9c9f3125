//! Proxies and `NO_PROXY`, through the real connector.
//!
//! Names here never resolve, so what reaches the server came through the proxy, and what the proxy is not asked for ends
//! with a name that does not resolve.

use crate::api::{answer, healthy, manner};
use crate::cluster_support::{Door, Manner, Reply, Server};
use crate::program::Place;

async fn proxy(door: Door) -> Server {
    let objects = healthy();
    Server::with(Manner { door, ..manner() }, move |_, seen| answer(&objects, seen)).await
}

fn place(server: &str) -> Place {
    Place::new(&format!("{{server: '{server}'}}"), "{token: t}")
}

#[tokio::test]
async fn proxies_of_every_kind_are_used() {
    for (door, scheme, line) in [
        (Door::Tunnel, "http", "CONNECT api.invalid:8080 HTTP/1.1"),
        (Door::Socks, "socks5", "SOCKS api.invalid"),
        (Door::Socks, "socks5h", "SOCKS api.invalid"),
    ] {
        for (variable, upper) in [("HTTP_PROXY", true), ("http_proxy", false)] {
            let server = proxy(door).await;
            let place = place("http://api.invalid:8080").with(variable, &format!("{scheme}://{}", server.address));
            let ran = place.run(&["status"]).await;
            assert_eq!(ran.code, 0, "{scheme} {upper}: {ran:?}");
            assert_eq!(server.all()[0].line, line);
        }
        let server = proxy(door).await;
        let cluster = format!("{{server: 'http://api.invalid:8080', proxy-url: '{scheme}://{}'}}", server.address);
        // proxy-url is meant for this cluster, so NO_PROXY does not touch it; kubectl does the same.
        let ran = Place::new(&cluster, "{token: t}").with("NO_PROXY", "*").run(&["status"]).await;
        assert_eq!(ran.code, 0, "{scheme}: {ran:?}");
        assert_eq!(server.all()[0].line, line);
    }
}

/// Whether a run with this `NO_PROXY` asks the proxy.
async fn is_asked(target: &str, variable: &str, value: &str) -> bool {
    let server = proxy(Door::Tunnel).await;
    let place = place(target).with("HTTP_PROXY", &server.url()).with(variable, value).limit("10s");
    let ran = place.run(&["status"]).await;
    let asked = server.all().iter().any(|seen| seen.line.starts_with("CONNECT "));
    assert_eq!(ran.code, if asked { 0 } else { 2 }, "{target} {variable}={value}: {ran:?}");
    asked
}

#[tokio::test]
async fn no_proxy_in_its_usual_spellings() {
    // A label of 64 letters is too long for DNS: looking the name up fails without anybody being asked.
    let long = "x".repeat(64);
    for (target, value, asked) in [
        ("http://LONG.invalid:8080", "", true),
        ("http://LONG.invalid:8080", "other.invalid", true),
        ("http://LONG.invalid:8080", "LONG.invalid", false),
        ("http://LONG.invalid:8080", "LONG.Invalid", false),
        ("http://LONG.invalid:8080", "x, LONG.invalid ,y", false),
        ("http://LONG.invalid:8080", "LONG.invalid:8080", false),
        ("http://LONG.invalid:8080", "LONG.invalid:443", true),
        ("http://LONG.invalid:8080", ".invalid", false),
        ("http://LONG.invalid:8080", "*.invalid", false),
        ("http://LONG.invalid:8080", "invalid", false),
        ("http://LONGinvalid:8080", "invalid", true),
        ("http://LONG.invalid:8080", ".LONG.invalid", true),
        ("http://LONG.invalid:8080", "*", false),
        // Addresses for documentation, where nothing is, and 0.0.0.0, which is this machine without being loopback.
        ("http://192.0.2.7:8080", "192.0.2.8", true),
        ("http://192.0.2.7:8080", "10.0.0.0/8", true),
        ("http://0.0.0.0:1", "0.0.0.0", false),
        ("http://0.0.0.0:1", "0.0.0.0/8", false),
        ("http://0.0.0.0:1", "0.0.0.0:1", false),
        ("http://0.0.0.0:1", "0.0.0.0:2", true),
    ] {
        let (target, value) = (target.replace("LONG", &long), value.replace("LONG", &long));
        for variable in ["NO_PROXY", "no_proxy"] {
            assert_eq!(is_asked(&target, variable, &value).await, asked, "{target} {variable}={value}");
        }
    }
    // Loopback never goes through a proxy of the environment.
    assert!(!is_asked("http://127.0.0.1:1", "NO_PROXY", "").await);
    assert!(!is_asked("http://localhost:1", "NO_PROXY", "").await);
}

#[tokio::test]
async fn proxies_that_refuse_lie_or_are_not_there_are_named_as_the_cause() {
    for (reply, says) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy wants credentials"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy refuses to connect to it"),
        ("HTTP/1.1 502 Bad Gateway\r\n\r\n", "the proxy refuses to connect to it"),
        ("SSH-2.0-OpenSSH_9.6\r\n\r\n", "the proxy"),
        ("", "the proxy"),
    ] {
        for scheme in ["http", "socks5"] {
            let place_limit = if scheme == "http" { "10s" } else { "300ms" };
            let server = Server::start(33, move |_, _| Reply::Raw(reply.as_bytes().to_vec())).await;
            let place = place("http://api.invalid:80")
                .with("HTTP_PROXY", &format!("{scheme}://{}", server.address))
                .limit(place_limit);
            let refusal = place.refused(&["status"]).await;
            // As for SOCKS, the server waits for the end of a request that never comes, and so does the tool.
            if scheme == "http" {
                assert!(refusal.message.contains(says), "{reply:?}: {refusal:?}");
                assert!(refusal.hints("NO_PROXY"), "{reply:?}: {refusal:?}");
            }
        }
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    for scheme in ["http", "socks5"] {
        let refusal =
            place("http://api.invalid").with("HTTP_PROXY", &format!("{scheme}://{address}")).refused(&["status"]).await;
        assert!(refusal.hints("NO_PROXY"), "{refusal:?}");
    }
    for bad in ["http://", "ftp://p:21", "http://us er:s3cret@p", "socks4://p"] {
        let refusal = place("http://api.invalid").with("HTTP_PROXY", bad).refused(&["status"]).await;
        assert!(refusal.message.contains("HTTP_PROXY") && !refusal.message.contains("s3cret"), "{refusal:?}");
    }
}
