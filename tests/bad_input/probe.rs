//! `inject-check --probe`: what is sent and what is not, and that a created pod goes away whatever the server does.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::api::{answer, healthy, manner};
use crate::cluster_support::{Reply, Seen, Server, ok, status};
use crate::program::Place;

/// A server of the healthy cluster that answers requests about pods by this.
async fn server(pods: impl Fn(&Seen) -> Option<Reply> + Send + Sync + 'static) -> Server {
    let objects = healthy();
    Server::with(manner(), move |_, seen| {
        let is_pods = seen.path().starts_with("/api/v1/namespaces/shop/pods");
        is_pods.then(|| pods(seen)).flatten().unwrap_or_else(|| answer(&objects, seen))
    })
    .await
}

/// Everything but reads, as `METHOD PATH`.
fn writes(server: &Server) -> Vec<String> {
    let line = |seen: Seen| seen.line.rsplit_once(' ').map(|(line, _)| line.to_owned()).unwrap_or_default();
    let all = server.seen().into_iter().map(line);
    all.filter(|line| !line.starts_with("GET ") && !line.contains("/selfsubject")).collect()
}

fn body(seen: &Seen) -> Value {
    serde_json::from_str(&seen.body).unwrap_or_default()
}

fn injected(seen: &Seen) -> Reply {
    let mut pod = body(seen);
    pod["metadata"]["annotations"] = json!({"istio.io/rev": "asm-1-30"});
    pod["spec"]["initContainers"] =
        json!([{"name": "istio-proxy", "image": "proxyv2:v1.30.2-2", "restartPolicy": "Always"}]);
    Reply::Full(201, "", pod.to_string().into_bytes())
}

const DRY: &str = "POST /api/v1/namespaces/shop/pods?dryRun=All&fieldManager=kubectl-asm";

#[tokio::test]
async fn a_probe_sends_dry_runs_and_nothing_else() {
    let server = server(|seen| seen.line.starts_with("POST ").then(|| injected(seen))).await;
    let place = Place::at(&server);
    let ran = place.run(&["inject-check", "-n", "shop", "--probe", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes()), (0, vec![]), "{ran:?}");
    assert!(ran.stderr.contains("dryRun=All"), "it says before what it sends: {}", ran.stderr);
    assert_eq!(writes(&server), [DRY]);
    let sent = server.seen().into_iter().find(|seen| seen.line.starts_with("POST ")).map(|seen| body(&seen)).unwrap();
    assert_eq!(sent["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"], false);
    let probe = &ran.json()["view"]["probes"][0];
    assert_eq!((&probe["answer"], &probe["agreement"]), (&json!("injected"), &json!("same")));

    let before = writes(&server).len();
    assert_eq!(place.run(&["inject-check", "-n", "shop"]).await.code, 0);
    assert_eq!(writes(&server).len(), before, "without --probe nothing is sent");
}

#[tokio::test]
async fn a_refusal_is_asked_again_without_the_sidecar() {
    let server = server(|seen| {
        let opts_out = body(seen)["metadata"]["labels"]["sidecar.istio.io/inject"] == "false";
        seen.line.starts_with("POST ").then(|| match opts_out {
            true => Reply::Full(201, "", seen.body.clone().into_bytes()),
            false => status(403, "pods x is forbidden: exceeded quota: compute, requested: requests.cpu=110m"),
        })
    })
    .await;
    let ran = Place::at(&server).run(&["inject-check", "-n", "shop", "--probe", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes()), (1, vec!["INJ13".to_owned()]), "{ran:?}");
    assert_eq!(writes(&server), [DRY, DRY]);
    assert_eq!(ran.json()["view"]["probes"][0]["refusal"]["onlyWithSidecar"], true);
}

#[tokio::test]
async fn what_is_no_answer_about_the_pod_is_a_gap_and_no_finding() {
    let rbac = "pods is forbidden: User jane cannot create resource \\\"pods\\\" in API group in the namespace shop";
    for (name, reply) in [
        ("forbidden", status(403, rbac)),
        ("unreachable", status(503, "the server is currently unable to handle the request")),
        ("malformed", Reply::Full(201, "", b"<html>".to_vec())),
        ("malformed", Reply::Full(400, "", b"Client sent an HTTP request to an HTTPS server.".to_vec())),
    ] {
        let server = server(move |seen| seen.line.starts_with("POST ").then(|| reply.clone())).await;
        let ran = Place::at(&server).run(&["inject-check", "-n", "shop", "--probe", "-o", "json"]).await;
        let gap = ("trials".to_owned(), name.to_owned());
        assert!(ran.gaps().contains(&gap), "{name}: {ran:?}");
        assert!(!ran.codes().contains(&"INJ13".to_owned()) && ran.code == 3, "{name}: {ran:?}");
    }
}

/// A server that keeps one pod, in this state.
async fn keeper(state: Value, delete: Reply) -> Server {
    let looks = AtomicUsize::new(0);
    server(move |seen| {
        let line = seen.line.as_str();
        if line.starts_with("POST ") && line.contains("dryRun=All") {
            return Some(injected(seen));
        }
        match line.split(' ').next()? {
            "POST" => Some(injected(seen)),
            "DELETE" => Some(delete.clone()),
            _ if seen.path().contains("/pods/kubectl-asm-probe-") => {
                // Gone some time after it was deleted.
                let gone = looks.fetch_add(1, Ordering::Relaxed) > 3;
                Some(if gone {
                    status(404, "not found")
                } else {
                    ok(json!({"metadata": {}, "status": state}).to_string())
                })
            }
            _ => None,
        }
    })
    .await
}

const CREATE: [&str; 7] = ["inject-check", "-n", "shop", "--probe", "--create", "--yes", "-o"];

#[tokio::test]
async fn a_created_pod_is_watched_and_deleted() {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let server = keeper(ready, ok(r#"{"kind":"Pod"}"#)).await;
    let ran = Place::at(&server).run(&[&CREATE[..], &["json"]].concat()).await;
    assert_eq!((ran.code, ran.codes()), (0, vec![]), "{ran:?}");
    let created = &ran.json()["view"]["probes"][0]["created"];
    assert_eq!((&created["state"], &created["deleted"]), (&json!("ready"), &json!(true)));
    let writes = writes(&server);
    let pod = created["pod"].as_str().unwrap();
    assert_eq!(writes[0], DRY);
    assert_eq!(writes[1], "POST /api/v1/namespaces/shop/pods?fieldManager=kubectl-asm");
    assert_eq!(writes[2..], [format!("DELETE /api/v1/namespaces/shop/pods/{pod}")], "only what was created");
}

#[tokio::test]
async fn a_pod_that_cannot_be_deleted_is_named_with_the_command() {
    let ready = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let server = keeper(ready, status(403, "pods is forbidden: User jane cannot delete resource")).await;
    let ran = Place::at(&server).run(&[&CREATE[..], &["json"]].concat()).await;
    let created = &ran.json()["view"]["probes"][0]["created"];
    assert_eq!(created["deleted"], false);
    let command = format!("kubectl delete pod {} -n shop", created["pod"].as_str().unwrap());
    assert!(ran.stderr.contains(&command), "{ran:?}");
    assert_eq!(ran.code, 3, "{ran:?}");
}

#[tokio::test]
async fn a_pod_is_deleted_when_time_is_over_or_its_creation_had_no_answer() {
    let waits = json!({"phase": "Pending", "containerStatuses": [{"name": "probe", "state": {"waiting": {"reason": "ContainerCreating"}}}]});
    let server = keeper(waits, ok("{}")).await;
    let ran = Place::at(&server).limit("2s").run(&[&CREATE[..], &["json"]].concat()).await;
    assert!(writes(&server).iter().any(|line| line.starts_with("DELETE ")), "{ran:?}");

    let server =
        crate::probe::server(|seen| match (seen.line.starts_with("POST "), seen.line.contains("dryRun=All")) {
            (true, true) => Some(injected(seen)),
            (true, false) => Some(Reply::Close),
            _ if seen.line.starts_with("DELETE ") => Some(ok("{}")),
            _ => None,
        })
        .await;
    let ran = Place::at(&server).run(&[&CREATE[..], &["json"]].concat()).await;
    let deletes = writes(&server).into_iter().filter(|line| line.starts_with("DELETE ")).count();
    assert!(deletes >= 2, "it may still come about: {ran:?}");
}

#[tokio::test]
async fn ways_of_calling_that_make_no_sense_are_refused_before_anything_is_sent() {
    let server = server(|_| None).await;
    let place = Place::at(&server);
    let from = place.run(&["inject-check", "--from", "demo", "--probe"]).await;
    assert!(from.code == 2 && from.stderr.contains("--probe asks a running API server"), "{from:?}");
    let from = place.run(&["inject-check", "--from", "demo", "--create"]).await;
    assert!(from.code == 2 && from.stderr.contains("--create asks a running API server"), "{from:?}");
    for (args, words) in [
        (&["inject-check", "--probe", "--create"][..], "--yes"),
        (&["inject-check", "deploy/web", "--probe", "--create", "--yes"], "traffic"),
        (&["inject-check", "--create"], "--yes"),
        (&["inject-check", "--yes"], "--create"),
    ] {
        let ran = place.run(args).await;
        assert!(ran.code == 2 && ran.stderr.contains(words), "{args:?}: {ran:?}");
    }
    assert!(server.seen().is_empty());
}
