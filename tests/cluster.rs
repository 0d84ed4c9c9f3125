//! `src/cluster` against real sockets: a server that answers, refuses, breaks off, stalls and lies, proxies, and
//! credential plugins that work, fail, hang and talk nonsense. No network beyond loopback, no sleeping.

#![cfg(unix)]
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used)] // reason: tests fail loudly

mod cluster_support;

use std::io::Write;
use std::time::{Duration, Instant};

use cluster_support::{Door, GATEWAYS, Items, PODS, Reply, Server, ok, pods, status};
use kubectl_asm::cluster::{AuthKind, Cluster, ConnectOptions, GetRequest, ListRequest};
use kubectl_asm::snapshot::fault::{Fault, FaultKind, Need};

const TWO: &str = r#"{"kind":"PodList","metadata":{"resourceVersion":"1"},"items":[{"n":1},{"n":2}]}"#;

async fn list_error(server: &Server) -> Fault {
    server.connect().await.list(&pods(Some("shop")), &mut Items::default()).await.unwrap_err()
}

#[tokio::test]
async fn a_list_is_read_in_one_piece_from_a_recent_server() {
    let server = Server::start(33, |_, _| ok(TWO)).await;
    let cluster = server.connect().await;
    let request = ListRequest { labels: Some("app in (a,b)".into()), ..pods(Some("shop")) };
    let mut items = Items::default();
    let end = cluster.list(&request, &mut items).await.unwrap();
    assert_eq!((end.items, end.served, end.oversized, end.truncated), (2, true, 0, None));
    assert_eq!(items.items, [r#"{"n":1}"#, r#"{"n":2}"#]);
    let seen = &server.seen()[0];
    assert_eq!(seen.path(), "/api/v1/namespaces/shop/pods?labelSelector=app%20in%20%28a%2Cb%29");
    assert_eq!(seen.header("accept"), Some("application/json"));
    assert_eq!(seen.header("authorization"), Some("Bearer t0ken"));
    assert_eq!(seen.header("user-agent"), Some(concat!("kubectl-asm/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(seen.header("accept-encoding"), None, "no compression on loopback");
    assert_eq!(cluster.traffic().requests, 2);
    assert!(cluster.traffic().bytes > TWO.len() as u64);
    assert_eq!(cluster.server_date().map(|date| date.as_second()), Some(784_111_777));
}

#[tokio::test]
async fn an_older_server_is_read_in_pages_and_metadata_can_be_enough() {
    let server = Server::start(30, |number, _| match number {
        0 => ok(r#"{"metadata":{"continue":"a=b"},"items":[1]}"#),
        _ => ok(r#"{"metadata":{},"items":[2]}"#),
    })
    .await;
    let request = ListRequest { metadata_only: true, ..pods(None) };
    let mut items = Items::default();
    let end = server.connect().await.list(&request, &mut items).await.unwrap();
    assert_eq!((end.items, items.items), (2, vec!["1".to_owned(), "2".to_owned()]));
    let seen = server.seen();
    assert_eq!(seen[0].path(), "/api/v1/pods?limit=500");
    assert_eq!(seen[1].path(), "/api/v1/pods?limit=500&continue=a%3Db");
    assert!(
        seen[0]
            .header("accept")
            .unwrap()
            .starts_with("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1")
    );
}

#[tokio::test]
async fn an_expired_continue_token_starts_over_once() {
    let server = Server::start(30, |number, _| match number {
        0 => ok(r#"{"metadata":{"continue":"x"},"items":[1]}"#),
        1 => status(410, "expired"),
        _ => ok(r#"{"items":[7,8,9]}"#),
    })
    .await;
    let mut items = Items::default();
    let end = server.connect().await.list(&pods(None), &mut items).await.unwrap();
    assert_eq!((end.items, items.restarts), (3, 1));
    assert_eq!(items.items, ["7", "8", "9"]);
    assert_eq!(server.seen()[2].path(), "/api/v1/pods");
}

#[tokio::test]
async fn the_version_is_asked_once_for_all_lists() {
    let server = Server::start(33, |_, _| ok(TWO)).await;
    let cluster = server.connect().await;
    let read = || async {
        let mut items = Items::default();
        cluster.list(&pods(None), &mut items).await.unwrap().items
    };
    assert_eq!(futures::join!(read(), read(), read(), read()), (2, 2, 2, 2));
    assert_eq!(server.all().iter().filter(|seen| seen.path() == "/version").count(), 1);
    assert_eq!(cluster.version().await.unwrap().unwrap().git_version, "v1.33.0");
}

#[tokio::test]
async fn what_was_delivered_stays_when_the_body_is_cut() {
    let server = Server::start(33, |_, _| Reply::Cut(br#"{"items":[{"n":1},{"n":2"#.to_vec())).await;
    let mut items = Items::default();
    let end = server.connect().await.list(&pods(None), &mut items).await.unwrap();
    assert_eq!((end.items, items.items.len()), (1, 1));
    assert!(end.truncated.unwrap().contains("in the middle"));
    assert_eq!(server.seen().len(), 1, "what was delivered must not be delivered again");
}

#[tokio::test]
async fn a_body_cut_before_the_first_item_is_read_once_more() {
    let server = Server::start(33, |number, _| match number {
        0 => Reply::Cut(br#"{"items":[{"n""#.to_vec()),
        _ => ok(TWO),
    })
    .await;
    assert_eq!(server.connect().await.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    let server = Server::start(33, |_, _| Reply::Cut(br#"{"items":["#.to_vec())).await;
    let fault = list_error(&server).await;
    assert_eq!(fault.kind, FaultKind::Truncated);
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_stalling_body_ends_after_the_silence_limit() {
    let server = Server::start(33, |_, _| Reply::Stall(br#"{"items":[1,2,"#.to_vec())).await;
    let options = ConnectOptions { request_timeout: Some(Duration::from_millis(200)), ..server.options() };
    let cluster = Cluster::connect(&options).await.unwrap();
    let end = cluster.list(&pods(None), &mut Items::default()).await.unwrap();
    assert_eq!(end.items, 2);
    assert!(end.truncated.unwrap().contains("sent nothing for 0.2 s"));
}

#[tokio::test]
async fn a_silent_server_is_a_timeout() {
    let server = Server::start(33, |_, _| Reply::Silent).await;
    let options = ConnectOptions { request_timeout: Some(Duration::from_millis(200)), ..server.options() };
    let cluster = Cluster::connect(&options).await.unwrap();
    let start = Instant::now();
    let fault = cluster.list(&pods(None), &mut Items::default()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Timeout);
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(server.seen().len(), 1, "a timeout is not tried again");
}

#[tokio::test]
async fn dropping_a_call_leaves_the_connection_usable() {
    let server = Server::start(33, |number, _| if number == 0 { Reply::Silent } else { ok(TWO) }).await;
    let cluster = server.connect().await;
    let mut items = Items::default();
    let dropped = tokio::time::timeout(Duration::from_millis(100), cluster.list(&pods(None), &mut items)).await;
    assert!(dropped.is_err());
    assert_eq!(cluster.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
}

#[tokio::test]
async fn refused_credentials_come_with_what_to_do_and_are_not_tried_again() {
    let server = Server::start(33, |_, _| status(401, "Unauthorized")).await;
    let fault = list_error(&server).await;
    assert_eq!((fault.kind, fault.status), (FaultKind::Unauthenticated, Some(401)));
    assert!(fault.hints.contains(&"   kubectl get namespace".to_owned()));
    assert!(fault.hints.contains(&"   az aks get-credentials -g <resource-group> -n <cluster>".to_owned()));
    assert!(!format!("{fault:?}").contains("t0ken"));
    assert_eq!(server.seen().len(), 1);
}

#[tokio::test]
async fn a_refusal_names_the_right_and_is_not_tried_again() {
    let server = Server::start(33, |_, _| status(403, "pods is forbidden\\u001b[31m")).await;
    let fault = list_error(&server).await;
    assert_eq!((fault.kind, fault.status), (FaultKind::Forbidden, Some(403)));
    assert_eq!(fault.need, Some(Need { verb: "list".into(), resource: "pods".into(), namespace: Some("shop".into()) }));
    assert_eq!(fault.message, "not allowed to list pods in namespace shop");
    assert_eq!(server.seen().len(), 1);
    let request = GetRequest { api: GATEWAYS, namespace: None, name: "g".into(), metadata_only: true };
    let need = server.connect().await.get(&request).await.unwrap_err().need.unwrap();
    assert_eq!((need.verb.as_str(), need.resource.as_str()), ("get", "gateways.networking.istio.io"));
}

#[tokio::test]
async fn a_kind_that_is_not_served_is_no_fault_but_a_missing_core_is() {
    let server = Server::start(33, |_, _| Reply::Full(404, "", b"404 page not found\n".to_vec())).await;
    let cluster = server.connect().await;
    let request = ListRequest { api: GATEWAYS, ..pods(None) };
    let end = cluster.list(&request, &mut Items::default()).await.unwrap();
    assert!(!end.served && end.items == 0);
    let fault = cluster.list(&pods(None), &mut Items::default()).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Malformed);
    let request = GetRequest { api: PODS, namespace: Some("a".into()), name: "b".into(), metadata_only: false };
    assert_eq!(cluster.get(&request).await.unwrap(), None);
    assert_eq!(cluster.get_raw("/nothing").await.unwrap(), None);
}

#[tokio::test]
async fn a_busy_server_is_asked_again_after_the_time_it_names() {
    let server = Server::start(33, |number, _| match number {
        0 => Reply::Full(429, "Retry-After: 1\r\n", Vec::new()),
        _ => ok(TWO),
    })
    .await;
    let start = Instant::now();
    assert_eq!(server.connect().await.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    assert!(start.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_stays_busy_is_reported_soon() {
    let server = Server::start(33, |_, _| Reply::Full(429, "Retry-After: 0\r\n", Vec::new())).await;
    let fault = list_error(&server).await;
    assert_eq!((fault.kind, fault.status), (FaultKind::Unreachable, Some(429)));
    assert_eq!(server.seen().len(), 3, "two retries, not more");
    let server = Server::start(33, |_, _| Reply::Full(429, "Retry-After: 3600\r\n", Vec::new())).await;
    list_error(&server).await;
    assert_eq!(server.seen().len(), 1, "an hour is too long to wait");
}

#[tokio::test]
async fn an_unavailable_server_is_asked_once_more() {
    let server = Server::start(33, |number, _| if number == 0 { status(503, "starting") } else { ok(TWO) }).await;
    assert_eq!(server.connect().await.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    let server = Server::start(33, |_, _| status(503, "starting")).await;
    let fault = list_error(&server).await;
    assert_eq!((fault.kind, fault.status), (FaultKind::Unreachable, Some(503)));
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_connection_closed_without_an_answer_is_tried_once_more() {
    let server = Server::start(33, |number, _| if number == 0 { Reply::Close } else { ok(TWO) }).await;
    assert_eq!(server.connect().await.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    let server = Server::start(33, |_, _| Reply::Close).await;
    assert_eq!(list_error(&server).await.kind, FaultKind::Unreachable);
}

#[tokio::test]
async fn nobody_listening_is_said_once_and_for_all_lists() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let options = ConnectOptions {
        kubeconfig: Some("/dev/null".into()),
        server: Some(format!("http://{address}")),
        ..ConnectOptions::default()
    };
    let cluster = Cluster::connect(&options).await.unwrap();
    for _ in 0..2 {
        let fault = cluster.list(&pods(None), &mut Items::default()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert_eq!(fault.message, format!("cannot reach http://{address}: connection refused"));
    }
    assert_eq!(cluster.traffic().requests, 1);
}

#[tokio::test]
async fn what_is_no_list_is_malformed() {
    for body in ["<html>sign in</html>", "", "{}", r#"{"items":[}"#] {
        let server = Server::start(33, move |_, _| ok(body)).await;
        assert_eq!(list_error(&server).await.kind, FaultKind::Malformed, "{body}");
    }
    let server = Server::start(33, |_, _| Reply::Full(302, "Location: http://127.0.0.1:1/\r\n", Vec::new())).await;
    assert_eq!(list_error(&server).await.kind, FaultKind::Malformed);
    let server =
        Server::start(33, |_, _| Reply::Raw(b"\x15\x03\x01\x00\x02\x02\x50 no http at all\r\n\r\n".to_vec())).await;
    assert_eq!(list_error(&server).await.kind, FaultKind::Malformed);
}

#[tokio::test]
async fn compressed_answers_are_read_whatever_the_chunks() {
    let list =
        format!(r#"{{"items":[{}]}}"#, (0..5000).map(|n| format!(r#"{{"n":"{n:08}"}}"#)).collect::<Vec<_>>().join(","));
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let whole = gzip(&list);
    let half = whole[..whole.len() / 2].to_vec();
    let server = Server::start(33, move |number, _| {
        Reply::Full(200, "Content-Encoding: gzip\r\n", if number == 0 { whole.clone() } else { half.clone() })
    })
    .await;
    let cluster = server.connect().await;
    let mut items = Items::default();
    let end = cluster.list(&pods(None), &mut items).await.unwrap();
    assert_eq!((end.items, end.truncated), (5000, None));
    assert_eq!(items.items[4999], r#"{"n":"00004999"}"#);
    let end = cluster.list(&pods(None), &mut Items::default()).await.unwrap();
    assert!(end.items > 0 && end.items < 5000 && end.truncated.is_some());
}

#[tokio::test]
async fn single_reads_are_bounded() {
    let server = Server::start(33, |number, _| match number {
        0 => ok(r#"{"kind":"Pod"}"#),
        _ => Reply::Full(200, "", vec![b' '; (16 << 20) + 1]),
    })
    .await;
    let cluster = server.connect().await;
    let request = GetRequest { api: PODS, namespace: Some("a".into()), name: "b".into(), metadata_only: false };
    assert_eq!(cluster.get(&request).await.unwrap().unwrap(), br#"{"kind":"Pod"}"#);
    assert_eq!(cluster.get(&request).await.unwrap_err().kind, FaultKind::Truncated);
    assert_eq!(server.seen()[0].path(), "/api/v1/namespaces/a/pods/b");
}

#[tokio::test]
async fn rights_are_asked_with_a_review() {
    let server = Server::start(33, |_, _| Reply::Full(201, "", br#"{"status":{"allowed":true}}"#.to_vec())).await;
    let need = Need { verb: "get".into(), resource: "pods/portforward".into(), namespace: Some("a".into()) };
    assert!(server.connect().await.allowed(&need).await.unwrap());
    let seen = &server.seen()[0];
    assert_eq!(seen.line, "POST /apis/authorization.k8s.io/v1/selfsubjectaccessreviews HTTP/1.1");
    assert!(seen.body.contains(r#""subresource":"portforward""#));
}

#[tokio::test]
async fn impersonation_is_sent_with_every_request() {
    let server = Server::start(33, |_, _| ok(TWO)).await;
    let options = ConnectOptions {
        as_user: Some("jane".into()),
        as_groups: vec!["g1".into(), "g2".into()],
        as_uid: Some("7".into()),
        ..server.options()
    };
    Cluster::connect(&options).await.unwrap().list(&pods(None), &mut Items::default()).await.unwrap();
    for seen in server.all() {
        assert_eq!(seen.header("impersonate-user"), Some("jane"));
        assert_eq!(seen.header("impersonate-uid"), Some("7"));
        assert_eq!(seen.headers("impersonate-group"), ["g1", "g2"]);
    }
}

/// A kubeconfig in a folder of its own.
fn kubeconfig(cluster: &str, user: &str) -> (tempfile::TempDir, ConnectOptions) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let text = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: prod, user: u}}}}]\n\
         clusters: [{{name: prod, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
    );
    std::fs::write(&path, text).unwrap();
    (dir, ConnectOptions { kubeconfig: Some(path), ..ConnectOptions::default() })
}

#[tokio::test]
async fn an_http_proxy_is_used_with_its_credentials() {
    let server = Server::behind(Door::Tunnel, 33, |_, _| ok(TWO)).await;
    let proxy = format!("http://me:p%40ss@{}", server.address);
    let (_dir, options) = kubeconfig(&format!(r#"{{server: "http://api.invalid", proxy-url: "{proxy}"}}"#), "{}");
    let cluster = Cluster::connect(&options).await.unwrap();
    assert_eq!(cluster.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    let connect = &server.all()[0];
    assert_eq!(connect.line, "CONNECT api.invalid:80 HTTP/1.1");
    assert_eq!(connect.header("proxy-authorization"), Some("Basic bWU6cEBzcw=="));
}

#[tokio::test]
async fn a_socks_proxy_is_used_and_resolves_the_name_itself() {
    let server = Server::behind(Door::Socks, 33, |_, _| ok(TWO)).await;
    let proxy = format!("socks5://{}", server.address);
    let (_dir, options) = kubeconfig(&format!(r#"{{server: "http://api.invalid:8080", proxy-url: "{proxy}"}}"#), "{}");
    let cluster = Cluster::connect(&options).await.unwrap();
    assert_eq!(cluster.list(&pods(None), &mut Items::default()).await.unwrap().items, 2);
    assert_eq!(server.all()[0].line, "SOCKS api.invalid");
}

#[tokio::test]
async fn a_proxy_that_says_no_is_named_as_the_cause() {
    for (reply, words) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "the proxy wants credentials"),
        ("HTTP/1.1 403 Forbidden\r\n\r\n", "the proxy refuses to connect to it"),
    ] {
        let server = Server::start(33, move |_, _| Reply::Raw(reply.as_bytes().to_vec())).await;
        let cluster = format!(r#"{{server: "http://api.invalid:80", proxy-url: "http://{}"}}"#, server.address);
        let (_dir, options) = kubeconfig(&cluster, "{}");
        let fault =
            Cluster::connect(&options).await.unwrap().list(&pods(None), &mut Items::default()).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unreachable);
        assert!(fault.message.ends_with(words), "{}", fault.message);
    }
}

/// A user entry whose plugin is a shell script.
fn plugin(version: &str, script: &str) -> String {
    let script = script.replace('\'', "''");
    format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/{version}, command: sh, args: [-c, '{script}'], \
         installHint: 'get it from the shop', interactiveMode: Never, provideClusterInfo: true, \
         env: [{{name: GREETING, value: hello}}]}}}}"
    )
}

fn credential(version: &str, status: &str) -> String {
    format!(
        r#"printf '%s' '{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{status}}}'"#
    )
}

#[tokio::test]
async fn credential_plugins_of_both_versions_work_and_run_once() {
    for version in ["v1", "v1beta1"] {
        let server = Server::start(33, |_, _| ok(TWO)).await;
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let script = format!(
            "echo \"$GREETING $KUBERNETES_EXEC_INFO\" >> {}; {}",
            log.display(),
            credential(version, r#"{"token":"from-plugin","expirationTimestamp":"2999-01-01T00:00:00Z"}"#)
        );
        let (_dir, options) = kubeconfig(&format!(r#"{{server: "{}"}}"#, server.url()), &plugin(version, &script));
        let cluster = Cluster::connect(&options).await.unwrap();
        assert_eq!(cluster.info().auth, AuthKind::Exec { command: "sh".into(), is_kubelogin: false });
        for _ in 0..2 {
            cluster.list(&pods(None), &mut Items::default()).await.unwrap();
        }
        assert!(server.all().iter().all(|seen| seen.header("authorization") == Some("Bearer from-plugin")));
        let log = std::fs::read_to_string(log).unwrap();
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.starts_with("hello {") && log.contains(&server.url()) && log.contains(r#""interactive":false"#));
    }
}

#[tokio::test]
async fn a_plugin_that_writes_yaml_is_understood() {
    let server = Server::start(33, |_, _| ok(TWO)).await;
    let script =
        r#"printf "apiVersion: client.authentication.k8s.io/v1\nkind: ExecCredential\nstatus: {token: abc}\n""#;
    let (_dir, options) = kubeconfig(&format!(r#"{{server: "{}"}}"#, server.url()), &plugin("v1", script));
    Cluster::connect(&options).await.unwrap().list(&pods(None), &mut Items::default()).await.unwrap();
    assert_eq!(server.seen()[0].header("authorization"), Some("Bearer abc"));
}

#[tokio::test]
async fn plugins_that_fail_are_named_and_never_quoted() {
    let no_status = r#"printf '%s' '{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential"}'"#;
    for (script, words) in [
        ("echo s3cret; echo s3cret >&2; exit 3".to_owned(), "failed with exit code 3"),
        ("kill -9 $$".to_owned(), "was killed"),
        ("echo s3cret rubbish".to_owned(), "returned something that is not an ExecCredential"),
        ("true".to_owned(), "returned something that is not an ExecCredential"),
        (no_status.to_owned(), "returned no credentials"),
        (credential("v1", "{}"), "returned neither a token nor a certificate"),
        (credential("v1", r#"{"clientCertificateData":"s3cret"}"#), "returned a certificate without its key"),
        (credential("v1beta1", r#"{"token":"s3cret"}"#), "answers in client.authentication.k8s.io/v1beta1 but"),
        (credential("v1", r#"{"token":"s3cret\u0001"}"#), "returned a token that cannot be sent"),
    ] {
        let (_dir, options) = kubeconfig(r#"{server: "http://127.0.0.1:1"}"#, &plugin("v1", &script));
        let fault = Cluster::connect(&options).await.unwrap_err();
        assert_eq!(fault.kind, FaultKind::Unauthenticated, "{script}");
        assert!(
            fault.message.starts_with("the credential plugin sh ") && fault.message.contains(words),
            "{}",
            fault.message
        );
        assert_eq!(fault.hints[0], "get it from the shop");
        assert!(!format!("{fault:?}").contains("s3cret"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_hanging_plugin_is_given_up_and_killed() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let script = format!("echo $$ > {}; exec sleep 600", pid.display());
    let (_dir, options) = kubeconfig(r#"{server: "http://127.0.0.1:1"}"#, &plugin("v1", &script));
    // Long enough for a loaded machine to start a shell, which the test waits for anyway.
    let options = ConnectOptions { plugin_timeout: Some(Duration::from_secs(3)), ..options };
    let start = Instant::now();
    let fault = Cluster::connect(&options).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthenticated);
    assert!(fault.message.ends_with("did not answer within 3 s"), "{}", fault.message);
    assert!(start.elapsed() < Duration::from_secs(30));
    let pid = std::fs::read_to_string(pid).unwrap();
    let cmdline = format!("/proc/{}/cmdline", pid.trim());
    while std::fs::read(&cmdline).is_ok_and(|cmdline| !cmdline.is_empty()) {
        assert!(start.elapsed() < Duration::from_secs(60), "still running");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_plugin_that_is_not_there_is_said_with_its_install_hint() {
    let user = "{exec: {apiVersion: client.authentication.k8s.io/v1beta1, command: no-such-plugin-here, installHint: \"get\\tit\"}}";
    let (_dir, options) = kubeconfig(r#"{server: "http://127.0.0.1:1"}"#, user);
    let fault = Cluster::connect(&options).await.unwrap_err();
    assert_eq!(fault.message, "the credential plugin no-such-plugin-here is not on PATH");
    assert_eq!(fault.hints[0], "get it");
}

#[tokio::test]
async fn kubelogin_has_a_hint_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let link = dir.path().join("kubelogin");
    std::os::unix::fs::symlink("/bin/sh", &link).unwrap();
    let user = format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/v1beta1, command: '{}', args: [-c, 'exit 1']}}}}",
        link.display()
    );
    let (_dir, options) = kubeconfig(r#"{server: "http://127.0.0.1:1"}"#, &user);
    let fault = Cluster::connect(&options).await.unwrap_err();
    assert_eq!(fault.message, "the credential plugin kubelogin failed with exit code 1");
    assert!(fault.hints.contains(&"   kubelogin convert-kubeconfig -l azurecli".to_owned()));
    let (_dir, options) = kubeconfig(r#"{server: "http://127.0.0.1:1"}"#, "{auth-provider: {name: azure}}");
    let fault = Cluster::connect(&options).await.unwrap_err();
    assert_eq!(fault.message, "the kubeconfig uses the removed azure auth-provider");
    assert!(fault.hints.contains(&"   kubelogin convert-kubeconfig -l azurecli".to_owned()));
}
