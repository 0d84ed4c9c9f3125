//! Objects that are damaged, odd, hostile or from a later release.

use serde_json::{Value, json};

use crate::api::{Asked, healthy, serve, serve_but};
use crate::cluster_support::Reply;
use crate::program::Place;

/// Terminal escapes in both encodings, a bell, a carriage return, a line break, and letters that turn the reading order.
const HOSTILE: &str = "\u{1b}[2J\u{1b}]0;owned\u{7}\u{9b}31m\r\u{8}\u{202e}live\nnext";

fn each<'o>(objects: &'o mut [Value], kind: &str) -> impl Iterator<Item = &'o mut Value> {
    objects.iter_mut().filter(move |object| object["kind"] == kind)
}

async fn well(objects: Vec<Value>, about: &str) {
    let server = serve(objects).await;
    let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes(), ran.gaps()), (0, vec![], vec![]), "{about}: {ran:?}");
}

#[tokio::test]
async fn a_pod_without_status_costs_nothing_else() {
    let mut objects = healthy();
    let bare = each(&mut objects, "Pod").find(|pod| pod["metadata"]["namespace"] == "shop").unwrap();
    bare.as_object_mut().unwrap().remove("status");
    let server = serve(objects.clone()).await;
    let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
    assert_eq!((ran.code, ran.gaps()), (0, vec![]), "{ran:?}");
    assert_eq!(ran.json()["view"]["workloads"]["in"], 1, "{ran:?}");
    let rows = Place::at(&server).run(&["inject-check", "-n", "shop"]).await;
    assert!(rows.code == 0 && rows.stdout.contains("web"), "{rows:?}");
}

/// Fields of tomorrow everywhere, at every level; a later release may add any of them.
#[tokio::test]
async fn unknown_fields_cost_nothing() {
    fn grow(value: &mut Value) {
        match value {
            Value::Object(map) => {
                let is_map_of_text = map.values().all(Value::is_string) && !map.contains_key("kind");
                map.values_mut().for_each(grow);
                if !is_map_of_text {
                    map.insert("fieldOfTomorrow".into(), json!({"deep": [1, null, {"x": true}], "n": 1e300}));
                    map.insert("anotherOne".into(), json!(-9_223_372_036_854_775_808_i64));
                }
            }
            Value::Array(list) => list.iter_mut().for_each(grow),
            _ => {}
        }
    }
    let mut objects = healthy();
    objects.iter_mut().for_each(grow);
    well(objects, "unknown fields").await;
}

#[tokio::test]
async fn unknown_words_and_odd_types_cost_nothing_where_no_verdict_depends_on_them() {
    let pod = |change: fn(&mut Value)| {
        let mut objects = healthy();
        each(&mut objects, "Pod").for_each(change);
        objects
    };
    well(pod(|pod| pod["spec"]["restartPolicy"] = json!("OnTuesdays")), "restart policy").await;
    well(pod(|pod| pod["status"]["phase"] = json!("Hibernating")), "phase").await;
    well(
        pod(|pod| {
            pod["status"]["conditions"].as_array_mut().unwrap().push(json!({"type": "Novel", "status": "Perhaps"}));
        }),
        "condition",
    )
    .await;
    well(pod(|pod| pod["spec"]["volumes"] = json!({"not": "a list"})), "volumes").await;
    well(pod(|pod| pod["spec"]["tolerations"] = json!(7)), "tolerations").await;
    well(pod(|pod| pod["metadata"]["managedFields"] = json!("text")), "managedFields").await;
    well(pod(|pod| pod["metadata"]["creationTimestamp"] = json!(1_790_000_000)), "a time as a number").await;
    well(pod(|pod| pod["metadata"]["creationTimestamp"] = json!("+11111-01-01T00:00:00Z")), "a time beyond").await;
    well(pod(|pod| pod["metadata"]["annotations"]["example.com/x"] = json!({"not": "text"})), "annotation").await;
    let mut kinds = healthy();
    each(&mut kinds, "Deployment").for_each(|object| object["spec"]["strategy"] = json!(["new"]));
    each(&mut kinds, "Service").for_each(|object| object["spec"]["type"] = json!("Telepathy"));
    each(&mut kinds, "Service").for_each(|object| object["spec"]["trafficDistribution"] = json!({"near": 1}));
    each(&mut kinds, "MutatingWebhookConfiguration").for_each(|object| {
        for webhook in object["webhooks"].as_array_mut().unwrap() {
            webhook["reinvocationPolicy"] = json!("Twice");
            webhook["timeoutSeconds"] = json!("ten");
            webhook["admissionReviewVersions"] = json!(["v1", "v2", 3]);
        }
    });
    well(kinds, "other kinds").await;
}

/// One object that makes no sense costs itself, is named, and no check that needs its kind passes.
#[tokio::test]
async fn one_object_that_cannot_be_understood_is_a_gap() {
    for (damage, named) in [
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "odd"}, "spec": 7}),
            "shop/odd",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "odd", "labels": [1]}}),
            "shop/odd",
        ),
        (
            json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"namespace": "shop", "name": "a\u{1b}[31mb", "labels": 1}}),
            "shop/a[31mb",
        ),
    ] {
        let mut objects = healthy();
        objects.push(damage);
        let server = serve(objects).await;
        let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
        assert_eq!(ran.code, 3, "{ran:?}");
        assert!(ran.gaps().contains(&("pods".to_owned(), "malformed".to_owned())), "{ran:?}");
        assert!(ran.stdout.contains(&format!("object {named} could not be understood")), "{ran:?}");
        assert_eq!(ran.json()["view"]["workloads"]["in"], 1, "the others are told: {ran:?}");
    }
}

/// What is missing from a list is not gone from the cluster: istiod's pods that did not come are no dead istiod.
#[tokio::test]
async fn what_did_not_come_is_not_judged_absent() {
    let of_system = |asked: &Asked| asked.namespace.as_deref() == Some("aks-istio-system");
    for resource in ["pods", "deployments", "services", "endpointslices", "configmaps"] {
        let server = serve_but(healthy(), move |_, asked| {
            asked.filter(|asked| of_system(asked) && asked.resource == resource)?;
            Some(Reply::Cut(br#"{"items":[{"metadata":{"name":"one"}},{"metadata""#.to_vec()))
        })
        .await;
        let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
        assert_eq!((ran.code, ran.codes()), (3, vec![]), "{resource}: {ran:?}");
    }
    let server = serve_but(healthy(), move |_, asked| {
        asked.filter(|asked| asked.resource == "mutatingwebhookconfigurations")?;
        Some(Reply::Cut(br#"{"items":[{"metadata":{"name":"one"}},{"metadata""#.to_vec()))
    })
    .await;
    let ran = Place::at(&server).run(&["status", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes()), (3, vec![]), "{ran:?}");
}

#[tokio::test]
async fn names_and_labels_of_full_length_are_fine() {
    let long = "a".repeat(63);
    let mut objects = healthy();
    for object in &mut objects {
        for pointer in ["/metadata/labels", "/spec/template/metadata/labels"] {
            if let Some(Value::Object(labels)) = object.pointer_mut(pointer) {
                labels.insert(format!("{long}.example.com/{long}"), json!(long));
            }
        }
    }
    objects.push(
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": long, "labels": {"istio.io/rev": long}}}),
    );
    let server = serve(objects).await;
    for format in ["text", "wide", "short", "json"] {
        let ran = Place::at(&server).run(&["status", "-o", format]).await;
        assert!(ran.stdout.contains(&long), "{format}: {ran:?}");
    }
    let filtered =
        Place::at(&server).run(&["inject-check", "-A", "-l", &format!("{long}.example.com/{long}={long}")]).await;
    assert!(filtered.code == 0 && filtered.stdout.contains("web"), "{filtered:?}");
}

/// [`crate::program::Place::plain`] looks at every character of both streams, whatever the format.
#[tokio::test]
async fn nothing_from_the_cluster_reaches_the_terminal_raw() {
    fn poison(value: &mut Value, key: &str) {
        match value {
            Value::Object(map) => {
                map.iter_mut().for_each(|(key, value)| poison(value, key));
                if matches!(key, "labels" | "annotations") {
                    map.insert(format!("istio.io/{HOSTILE}"), json!(HOSTILE));
                }
            }
            Value::Array(list) => list.iter_mut().for_each(|value| poison(value, key)),
            Value::String(text) => {
                if matches!(key, "message" | "reason" | "image" | "hostname" | "nodeName" | "istio.io/rev") {
                    text.push_str(HOSTILE);
                }
            }
            _ => {}
        }
    }
    // Names of the user's objects too: no API server allows it, but what answers need not be one.
    let mut objects = healthy();
    for object in &mut objects {
        let kind = object["kind"].as_str().unwrap().to_owned();
        let of_shop = object["metadata"]["namespace"] == "shop" || object["metadata"]["name"] == "shop";
        poison(object, "");
        if of_shop && kind != "Pod" {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned() + HOSTILE;
            object["metadata"]["name"] = json!(name);
        }
    }
    objects.push(json!({"apiVersion": "v1", "kind": "Event", "metadata": {"namespace": "shop", "name": "e"},
        "reason": "FailedCreate", "message": HOSTILE, "lastTimestamp": "2026-08-15T09:59:00Z",
        "involvedObject": {"kind": "ReplicaSet", "namespace": "shop", "name": HOSTILE}}));
    let server = serve(objects).await;
    let place = Place::at(&server);
    for format in ["text", "wide", "short", "json", "yaml"] {
        for args in [&["status", "-o", format][..], &["inject-check", "-A", "-o", format]] {
            let ran = place.run(args).await;
            assert!(!ran.stdout.contains("\nnext"), "a line break is passed on: {ran:?}");
        }
    }
    let name = format!("{HOSTILE}=x");
    place.run(&["inject-check", "-l", &name]).await;
    place.run(&["status", "-n", HOSTILE]).await;
    place.run(&["status", "--only", HOSTILE]).await;
    place.run(&["inject-check", HOSTILE]).await;
    place.plain(&["explain", HOSTILE]).await;
    place.plain(&["status", "--facts", HOSTILE, "--from", "demo"]).await;
    place.plain(&["status", "--from", HOSTILE]).await;
    place.plain(&["capture", &format!("x{HOSTILE}")]).await;
    place.plain(&["status", "--context", HOSTILE]).await;
    place.plain(&["status", "--server", HOSTILE]).await;
    place.plain(&["status", "--certificate-authority", HOSTILE, "--server", "https://127.0.0.1:1"]).await;
}
