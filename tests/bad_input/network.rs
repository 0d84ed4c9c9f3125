//! Servers that are not there, refuse, stall, break off or talk nonsense.

use std::time::Duration;

use serde_json::json;

use crate::api::{Asked, answer, date, healthy, manner, serve, serve_but};
use crate::cluster_support::{Manner, Reply, Server, ok, status};
use crate::program::{Place, in_time};

fn is(asked: Option<&Asked>, resource: &str) -> bool {
    asked.is_some_and(|asked| asked.resource == resource && asked.name.is_none())
}

/// The measure of everything below: with a server in good order nothing is found and nothing is missing.
#[tokio::test]
async fn the_healthy_cluster_is_well() {
    let server = serve(healthy()).await;
    let place = Place::at(&server);
    let ran = place.run(&["status", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes(), ran.gaps()), (0, vec![], vec![]), "{ran:?}");
    assert!(ran.outcomes().iter().any(|(_, status)| status == "passed"));
    let text = place.run(&["status"]).await;
    assert!(text.stdout.contains("all well") && text.stderr.is_empty(), "{text:?}");
    assert_eq!(place.run(&["inject-check", "-n", "shop"]).await.code, 0);
}

#[tokio::test]
async fn an_unreachable_server_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let place = Place::new(&format!("{{server: 'http://{address}'}}"), "{}");
    let refusal = place.refused(&["status"]).await;
    assert_eq!(refusal.kind, "unreachable");
    assert_eq!(refusal.message, format!("cannot reach http://{address}: connection refused"));
    assert!(refusal.hints("kubectl get namespace"));
    assert_eq!(place.refused(&["inject-check"]).await.message, refusal.message);
    let capture = place.plain(&["capture", "out.tar.gz"]).await;
    assert!(capture.code == 2 && capture.stderr.contains("connection refused"), "{capture:?}");
    assert_eq!(std::fs::read_dir(place.dir.path()).unwrap().count(), 1, "a failed capture leaves no file");
}

#[tokio::test]
async fn refused_credentials_end_the_run_with_what_to_do() {
    let server = serve_but(healthy(), |_, _| Some(status(401, "Unauthorized"))).await;
    let refusal = Place::at(&server).refused(&["status"]).await;
    assert_eq!(refusal.kind, "unauthenticated");
    assert!(
        refusal.message.ends_with("does not accept the credentials (401)") && refusal.hints("az aks get-credentials")
    );
}

/// AKS answers `/version` to everybody, so a bad token shows only afterwards.
#[tokio::test]
async fn refused_credentials_are_an_error_although_the_version_is_told() {
    let server = serve_but(healthy(), |_, asked| asked.map(|_| status(401, "Unauthorized"))).await;
    let refusal = Place::at(&server).refused(&["status"]).await;
    assert_eq!(refusal.kind, "unauthenticated");
    assert!(
        refusal.message.ends_with("does not accept the credentials (401)") && refusal.hints("az aks get-credentials")
    );
    let capture = Place::at(&server).plain(&["capture", "-"]).await;
    assert!(capture.code == 2 && capture.stdout.is_empty() && capture.stderr.contains("credentials"), "{capture:?}");
}

#[tokio::test]
async fn a_server_that_only_fails_is_an_error() {
    for code in [500, 502, 503, 504] {
        let server = serve_but(healthy(), move |_, asked| asked.map(|_| status(code, "etcd is down"))).await;
        let refusal = Place::at(&server).refused(&["status"]).await;
        assert!(refusal.message.contains(&format!("({code})")), "{}", refusal.message);
        let server = serve_but(healthy(), move |_, _| Some(status(code, "etcd is down"))).await;
        assert!(Place::at(&server).refused(&["status"]).await.message.contains(&format!("({code})")));
    }
}

#[tokio::test]
async fn one_kind_that_fails_is_a_gap_and_the_rest_is_told() {
    for code in [500, 503, 504] {
        let server = serve_but(healthy(), move |_, asked| {
            is(asked, "mutatingwebhookconfigurations").then(|| status(code, "etcd is down"))
        })
        .await;
        let place = Place::at(&server);
        let ran = place.run(&["status", "-o", "json"]).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.gaps().iter().any(|(source, _)| source == "mutatingWebhooks"), "{ran:?}");
        assert_eq!(ran.json()["view"]["revisions"][0]["name"], "asm-1-30", "what was read is shown");
        let text = place.run(&["status"]).await;
        assert!(text.stdout.contains("asm-1-30") && text.stdout.contains("What could not be read"), "{text:?}");
        assert!(!text.stdout.contains("all well"), "{text:?}");
        assert_eq!(place.run(&["status", "--allow-gaps"]).await.code, 0);
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again_and_given_up_in_time() {
    let server = serve_but(healthy(), |number, asked| {
        (number < 2 && asked.is_some()).then(|| Reply::Full(429, "Retry-After: 1\r\n", Vec::new()))
    })
    .await;
    let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
    assert_eq!((ran.code, ran.gaps()), (0, vec![]), "{ran:?}");
    assert!(ran.took >= Duration::from_secs(1));
    let server = serve_but(healthy(), |_, asked| {
        is(asked, "pods").then(|| Reply::Full(429, "Retry-After: 3600\r\n", Vec::new()))
    })
    .await;
    let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.gaps().contains(&("pods".to_owned(), "unreachable".to_owned())), "{ran:?}");
    assert!(ran.took < Duration::from_secs(15), "an hour is not waited for");
    // One that asks for five seconds again and again is left at the limit of the run.
    in_time(Duration::from_secs(2), || async {
        let server = serve_but(healthy(), |_, _| Some(Reply::Full(429, "Retry-After: 5\r\n", Vec::new()))).await;
        let refusal = Place::at(&server).limit("2s").refused(&["status"]).await;
        assert_eq!(refusal.kind, "timeout");
        refusal.took
    })
    .await;
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_costs_the_limit_and_no_more() {
    in_time(Duration::from_millis(1500), || async {
        let server = serve_but(healthy(), |_, _| Some(Reply::Silent)).await;
        let refusal = Place::at(&server).limit("1500ms").refused(&["status"]).await;
        assert_eq!(refusal.kind, "timeout");
        assert_eq!(refusal.message, "the API server did not answer within 1.5 s");
        refusal.took
    })
    .await;
    // Not even TLS is begun, or not even TCP is accepted: the backlog takes the connection.
    let deaf = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new(&format!("{{server: 'https://{}'}}", deaf.local_addr().unwrap()), "{token: t}").limit("1s");
    in_time(Duration::from_secs(1), || async { place.refused(&["status"]).await.took }).await;
}

#[tokio::test]
async fn a_list_that_never_comes_is_a_gap_after_the_limit() {
    in_time(Duration::from_secs(2), || async {
        let server = serve_but(healthy(), |_, asked| is(asked, "pods").then_some(Reply::Silent)).await;
        let ran = Place::at(&server).limit("2s").run(&["status", "-o", "json"]).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.gaps().contains(&("pods".to_owned(), "timeout".to_owned())), "{ran:?}");
        assert_eq!(ran.json()["view"]["namespaces"][0]["name"], "shop", "what was read is shown");
        ran.took
    })
    .await;
    // The silence of one request ends before the run does.
    let server = serve_but(healthy(), |_, asked| is(asked, "pods").then_some(Reply::Silent)).await;
    let ran = Place::at(&server).run(&["status", "-o", "json", "--request-timeout", "500ms"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.gaps().contains(&("pods".to_owned(), "timeout".to_owned())), "{ran:?}");
    assert!(ran.took < Duration::from_secs(15), "{ran:?}");
}

#[tokio::test]
async fn a_list_that_stops_in_the_middle_keeps_what_came() {
    let all = json!({"items": healthy()}).to_string();
    for stall in [false, true] {
        let items: Vec<_> = healthy().into_iter().filter(|object| object["kind"] == "Pod").collect();
        let whole = json!({"items": items}).to_string().into_bytes();
        let part = whole[..whole.len() - 20].to_vec();
        let server = serve_but(healthy(), move |_, asked| {
            asked.filter(|asked| asked.resource == "pods" && asked.namespace.is_none() && asked.query.is_empty())?;
            Some(if stall { Reply::Stall(part.clone()) } else { Reply::Cut(part.clone()) })
        })
        .await;
        let ran = Place::at(&server).run(&["status", "-o", "json", "--request-timeout", "1s"]).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.gaps().contains(&("pods".to_owned(), "truncated".to_owned())), "{ran:?}");
        assert!(ran.json()["view"]["workloads"]["in"].as_u64().unwrap() > 0, "{ran:?}");
        let judged = ran.outcomes().into_iter().filter(|(_, status)| status == "passed").count();
        assert!(judged > 0, "checks without pods are done");
    }
    assert!(all.len() > 100);
}

#[tokio::test]
async fn pages_that_expire_midway_are_read_anew() {
    // An old server pages; the second page is gone, and the whole list is read once more.
    let page = |items: serde_json::Value, token: &str| {
        ok(json!({"metadata": {"continue": token}, "items": items}).to_string())
    };
    for forever in [false, true] {
        let objects = healthy();
        let server = Server::with(Manner { minor: Some(30), ..manner() }, move |_, seen| {
            let asked = Asked::of(seen);
            let Some(asked) =
                asked.filter(|a| a.resource == "pods" && a.namespace.is_none() && a.query("labelSelector").is_none())
            else {
                return answer(&objects, seen);
            };
            let pods = || objects.iter().filter(|object| object["kind"] == "Pod");
            match (asked.query("limit"), asked.query("continue")) {
                (Some(_), None) => page(json!(pods().take(1).collect::<Vec<_>>()), "next"),
                (Some(_), Some(_)) => status(410, "The provided continue parameter is too old"),
                (None, _) if forever => status(410, "gone"),
                (None, _) => page(json!(pods().collect::<Vec<_>>()), ""),
            }
        })
        .await;
        // Only servers that are too old for this revision send pages.
        let ran = Place::at(&server).run(&["status", "-o", "json", "--skip", "REV"]).await;
        if forever {
            assert_eq!(ran.code, 3, "{ran:?}");
            assert!(ran.gaps().contains(&("pods".to_owned(), "truncated".to_owned())), "{ran:?}");
        } else {
            assert_eq!((ran.code, ran.gaps()), (0, vec![]), "{ran:?}");
            assert_eq!(ran.json()["view"]["workloads"]["in"], 1);
        }
    }
}

#[tokio::test]
async fn what_is_no_list_is_a_gap_and_what_is_no_api_server_an_error() {
    for body in ["<html>please sign in</html>", "", "[]", "{\"items\":7}", "{\"items\":[{]}", "\u{feff}{\"items\":[]}"]
    {
        let server = serve_but(healthy(), move |_, asked| is(asked, "namespaces").then(|| ok(body))).await;
        let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
        assert_eq!(ran.code, 3, "{body}: {ran:?}");
        assert!(ran.gaps().contains(&("namespaces".to_owned(), "malformed".to_owned())), "{body}: {ran:?}");
        let server = serve_but(healthy(), move |_, _| Some(ok(body))).await;
        let refusal = Place::at(&server).refused(&["status"]).await;
        // One that breaks inside the first item is a list that was cut short.
        assert!(matches!(refusal.kind.as_str(), "malformed" | "truncated"), "{body}: {refusal:?}");
    }
    for reply in [
        Reply::Full(302, "Location: https://login.example.com/\r\n", Vec::new()),
        Reply::Full(404, "", b"404 page not found\n".to_vec()),
        Reply::Full(400, "", b"Client sent an HTTP request to an HTTPS server.\n".to_vec()),
        Reply::Raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n".to_vec()),
    ] {
        let server = serve_but(healthy(), move |_, _| Some(reply.clone())).await;
        assert_eq!(Place::at(&server).refused(&["status"]).await.kind, "malformed");
    }
    let server = serve_but(healthy(), |_, _| Some(Reply::Close)).await;
    assert_eq!(Place::at(&server).refused(&["status"]).await.kind, "unreachable");
}

#[tokio::test]
async fn a_clock_that_is_off_is_said_once_on_stderr() {
    for (off, said) in [(0, false), (-50, false), (300, true), (-7200, true)] {
        let objects = healthy();
        let server = Server::with(Manner { date: date(off), ..manner() }, move |_, seen| answer(&objects, seen)).await;
        for format in ["text", "json"] {
            let ran = Place::at(&server).run(&["status", "-o", format]).await;
            assert_eq!(ran.code, 0, "the clock is no finding: {ran:?}");
            assert_eq!(
                ran.stderr.lines().filter(|line| line.contains("clock")).count(),
                usize::from(said),
                "{off}: {ran:?}"
            );
        }
    }
}
