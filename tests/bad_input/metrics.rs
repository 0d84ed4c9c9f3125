//! `metrics` against a scripted API server: what istiods count, what keeps them from telling, and what of it is kept.

use serde_json::Value;

use crate::api::{Asked, METRICS, healthy, serve, serve_but};
use crate::cluster_support::{Reply, Server, ok, status};
use crate::program::{Place, Ran};

const JSON: [&str; 3] = ["metrics", "-o", "json"];

/// Values of a row, istiod by istiod.
fn row(ran: &Ran, metric: &str) -> Vec<Value> {
    let report = ran.json();
    let istiods = report["view"]["istiods"].as_array().unwrap().clone();
    istiods
        .iter()
        .filter_map(|istiod| istiod["rows"].as_array().unwrap().iter().find(|row| row["metric"] == metric).cloned())
        .map(|row| row["value"].clone())
        .collect()
}

/// A server whose istiods answer port-forwards with something else; `asked` tells port-forwards from other reads.
async fn forwarding(body: &'static [u8]) -> Server {
    serve_but(healthy(), move |_, asked| {
        is_istiod(asked, "").then(|| Reply::Forward(15014, vec![("/metrics", body.to_vec())]))
    })
    .await
}

fn is_istiod(asked: Option<&Asked>, end: &str) -> bool {
    asked.is_some_and(|asked| {
        asked.resource == "pods"
            && asked.name.as_ref().is_some_and(|name| name.starts_with("istiod-") && name.ends_with(end))
    })
}

#[tokio::test]
async fn a_healthy_mesh_shows_its_numbers_and_the_queries_and_is_well() {
    let server = serve(healthy()).await;
    let place = Place::at(&server);
    let ran = place.run(&[&JSON[..], &["--skip", "TEL05"]].concat()).await;
    assert_eq!((ran.code, ran.codes()), (0, Vec::new()), "{ran:?}");
    // As they stand in the recording.
    assert_eq!(row(&ran, "rejects"), [30.0, 30.0]);
    assert_eq!(row(&ran, "proxies connected"), [5.0, 5.0]);
    let report = ran.json();
    assert_eq!(report["view"]["istiods"][0]["since"], "2026-11-23T05:54:57Z");
    assert_eq!(report["view"]["managedPrometheus"], "notInstalled");
    assert_eq!(report["view"]["merge"][0]["on"], true);
    let text = place.run(&["metrics", "--skip", "TEL05"]).await;
    for words in ["METRIC", "rejects", "counts since 2026-11-23 05:54 UTC", "increase(pilot_total_xds_rejects[1h])"] {
        assert!(text.stdout.contains(words), "{words}: {text:?}");
    }
}

#[tokio::test]
async fn rejections_lead_to_proxy_status() {
    let server = serve(healthy()).await;
    // Judged ten minutes after the recorded istiod started.
    let ran = Place::at(&server).plain(&["metrics", "-o", "json", "--now", "2026-11-23T06:05:00Z"]).await;
    assert_eq!((ran.code, ran.codes()), (0, vec!["TEL05".to_owned()]), "{ran:?}");
    assert_eq!(
        ran.json()["findings"][0]["remedy"]["steps"][0]["command"],
        serde_json::json!(["kubectl", "asm", "proxy-status"])
    );
}

#[tokio::test]
async fn without_the_right_to_forward_ports_the_proxy_subresource_is_asked() {
    let server = serve_but(healthy(), |_, asked| {
        if is_istiod(asked, ":15014") {
            return Some(ok(String::from_utf8(METRICS.to_vec()).unwrap()));
        }
        is_istiod(asked, "").then(|| status(403, "pods/portforward is forbidden"))
    })
    .await;
    let ran = Place::at(&server).run(&[&JSON[..], &["--skip", "TEL05"]].concat()).await;
    assert_eq!((ran.code, row(&ran, "rejects")), (0, vec![30.0.into(), 30.0.into()]), "{ran:?}");
    // Neither way: one right is missing.
    let server = serve_but(healthy(), |_, asked| is_istiod(asked, "").then(|| status(403, "forbidden"))).await;
    let ran = Place::at(&server).run(&JSON).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    let gaps = ran.json()["gaps"].as_array().unwrap().clone();
    assert_eq!(gaps.iter().filter(|gap| gap["need"]["resource"] == "pods/portforward").count(), 1, "{gaps:?}");
}

#[tokio::test]
async fn rubbish_counts_nothing_and_is_a_gap() {
    for body in [&b"<html>sign in</html>"[..], b"", b"go_goroutines 7\n", &[0xff, 0xfe, b'\n']] {
        let server = forwarding(body).await;
        let ran = Place::at(&server).run(&JSON).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.gaps().contains(&("istiodMetrics".to_owned(), "malformed".to_owned())), "{ran:?}");
        assert!(ran.outcomes().iter().all(|(code, outcome)| code != "TEL06" || outcome == "notChecked"), "{ran:?}");
    }
}

#[tokio::test]
async fn a_bundle_says_the_same_and_keeps_known_numbers_only() {
    let server = forwarding(
        b"pilot_xds{version=\"1\",node=\"s3cret\"} 4\nprocess_start_time_seconds 1.7868e+09\nunknown_s3cret 1\npilot_total_xds_rejects{type=\"lds\"} 5000\n",
    )
    .await;
    let place = Place::at(&server);
    assert_eq!(place.plain(&["capture", "bundle.tar.gz"]).await.code, 3, "the lists of proxies are missing");
    let live = place.run(&JSON).await;
    let from = place.run(&[&JSON[..], &["--from", "bundle.tar.gz"]].concat()).await;
    assert_eq!(live.codes(), ["TEL05"], "{live:?}");
    for part in ["findings", "view", "outcomes"] {
        assert_eq!(live.json()[part], from.json()[part], "{part}");
    }
    let bytes = std::fs::read(place.dir.path().join("bundle.tar.gz")).unwrap();
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut unpacked).unwrap();
    assert!(!String::from_utf8_lossy(&unpacked).contains("s3cret"));
    // Nobody else reads it.
    let before = server.seen().len();
    place.run(&["status"]).await;
    let forwards = server.seen()[before..].iter().filter(|seen| seen.path().contains("portforward")).count();
    assert_eq!(forwards, 2, "status asks each istiod once, as before");
}

#[tokio::test]
async fn proxies_are_asked_only_where_that_is_wanted() {
    let of_proxy = |asked: Option<&Asked>| {
        asked.is_some_and(|asked| {
            asked.resource == "pods" && asked.namespace.as_deref() == Some("shop") && asked.name.is_some()
        })
    };
    let server = serve_but(healthy(), move |number, asked| {
        // One port of two answers.
        let port = if number % 2 == 0 { 15020 } else { 15090 };
        of_proxy(asked).then(|| {
            Reply::Forward(
                port,
                vec![(
                    "/stats/prometheus",
                    b"# TYPE istio_requests_total counter\nistio_requests_total{} 1\n".to_vec(),
                )],
            )
        })
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&[&JSON[..], &["--skip", "TEL05"]].concat()).await;
    assert_eq!(ran.json()["view"]["proxies"], serde_json::json!([]));
    let sampled = place.run(&[&JSON[..], &["--sample", "1"]].concat()).await;
    let proxies = sampled.json()["view"]["proxies"].clone();
    assert_eq!(proxies.as_array().unwrap().len(), 1, "{sampled:?}");
    assert_eq!(proxies[0]["namespace"], "shop");
    assert_eq!(proxies[0]["ports"].as_array().unwrap().len(), 2);
    let named = place.run(&[&JSON[..], &["--proxy", "deployment.apps/web", "-n", "shop"]].concat()).await;
    let proxies = named.json()["view"]["proxies"].clone();
    assert_eq!((&proxies[0]["namespace"], proxies.as_array().unwrap().len()), (&"shop".into(), 1), "{named:?}");
    let nobody = place.refused(&["metrics", "--proxy", "deploy/nobody", "-n", "shop"]).await;
    assert!(nobody.hints("kubectl get deployments -n shop"), "{nobody:?}");
    let refusal = place.refused(&["metrics", "--sample", "1", "--from", "demo"]).await;
    assert_eq!(refusal.kind, "usage");
}

#[tokio::test]
async fn a_bundle_of_before_istiods_were_asked_says_so_in_words() {
    let place = Place::new("{server: 'http://127.0.0.1:1'}", "{}");
    place.demo_without("old", &["istiodMetrics"]);
    let ran = place.run(&["metrics", "--from", "old"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stdout.contains("this bundle has no metrics of istiod; a new kubectl asm capture has them"), "{ran:?}");
    assert!(!ran.stdout.contains("istiodMetrics") && !ran.stdout.contains("none that tells"), "{ran:?}");
}
