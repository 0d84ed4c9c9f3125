//! Refusals and other trouble with some kinds of objects: whatever is missing, it is taken neither for good health nor for
//! a fault of the cluster.

use std::collections::{BTreeMap, BTreeSet};

use kubectl_asm::checks;
use kubectl_asm::sources::{SOURCES, source};
use serde_json::Value;

use crate::api::{Asked, answer, healthy, manner, serve_but};
use crate::cluster_support::{Reply, Server, ok, status};
use crate::program::Place;

/// Small and good enough to draw subsets; the same ones every time.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

async fn refuse(refused: BTreeSet<String>, namespaced_too: bool) {
    let listed = refused.clone();
    let server = serve_but(healthy(), move |_, asked| {
        let asked = asked?;
        let kind =
            if asked.group.is_empty() { asked.resource.clone() } else { format!("{}.{}", asked.resource, asked.group) };
        let everywhere = asked.namespace.is_none();
        (listed.contains(&kind) && (namespaced_too || everywhere))
            .then(|| status(403, &format!("{} is forbidden: User jane cannot list it", asked.resource)))
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["status", "-o", "json"]).await;
    let context = format!("refused: {refused:?}, in namespaces too: {namespaced_too}\n{ran:?}");
    let report = ran.json();
    // What a refused kind could have told is missing only where it was asked for cluster-wide and nothing narrower did.
    let narrower = |gap: &&Value| gap["hint"].as_str().unwrap().ends_with("was examined");
    let gaps = || report["gaps"].as_array().unwrap().iter();
    let missing: BTreeSet<&str> =
        gaps().filter(|gap| !narrower(gap)).map(|gap| gap["source"].as_str().unwrap()).collect();
    if gaps().any(|gap| narrower(&gap)) {
        assert_eq!(report["scope"]["namespaces"], serde_json::json!(["default"]), "{context}");
        assert_ne!(ran.code, 0, "{context}");
    }
    if namespaced_too {
        let done: BTreeSet<String> = ran.outcomes().into_iter().map(|(code, _)| code).collect();
        for source in SOURCES.iter().filter(|source| refused.contains(source.resource)) {
            let asked = checks::all().any(|check| done.contains(check.code) && check.inputs.contains(&source.id));
            let follows = matches!(source.reach, kubectl_asm::sources::Reach::Follows(..));
            assert!(
                !asked || follows || missing.contains(source.id.name().as_str()),
                "{} has no gap; {context}",
                source.id.name()
            );
        }
    }
    let mut lost = 0;
    for (code, status) in ran.outcomes() {
        let check = checks::all().find(|check| check.code == code).unwrap();
        let input = check.inputs.iter().find(|id| missing.contains(id.name().as_str()));
        if let Some(input) = input {
            lost += 1;
            let resource = source(*input).unwrap().resource;
            assert_ne!(status, "passed", "{code} passed without {resource}; {context}");
        }
    }
    for finding in report["findings"].as_array().unwrap() {
        assert_eq!(finding["severity"], "info", "{} is a false alarm; {context}", finding["code"]);
    }
    if lost > 0 {
        assert_ne!(ran.code, 0, "{context}");
        let text = place.run(&["status"]).await;
        assert_eq!(text.code, ran.code, "{context}");
        assert!(!text.stdout.contains("all well"), "{text:?}\n{context}");
        assert!(text.stdout.contains("no right to "), "{text:?}\n{context}");
    }
}

#[tokio::test]
async fn no_subset_of_refused_kinds_gives_a_clean_bill_of_health() {
    let kinds: Vec<String> = SOURCES
        .iter()
        .map(|source| source.resource.to_owned())
        .filter(|kind| !kind.starts_with('/'))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect();
    for kind in &kinds {
        refuse([kind.clone()].into(), true).await;
    }
    refuse(kinds.iter().cloned().collect(), true).await;
    refuse(kinds.iter().cloned().collect(), false).await;
    let mut draw = Draw(0x9e37_79b9_7f4a_7c15);
    for _ in 0..12 {
        let bits = draw.next();
        let subset =
            kinds.iter().enumerate().filter(|(at, _)| bits >> (at % 64) & 1 == 1).map(|(_, kind)| kind.clone());
        refuse(subset.collect(), bits >> 63 == 1).await;
    }
}

#[tokio::test]
async fn a_refusal_names_the_right_and_keeps_the_rest() {
    let server = serve_but(healthy(), |_, asked| {
        asked.filter(|asked| asked.resource == "mutatingwebhookconfigurations").map(|_| status(403, "no\u{1b}[31m"))
    })
    .await;
    let text = Place::at(&server).run(&["status"]).await;
    assert_eq!(text.code, 3, "{text:?}");
    assert!(text.stdout.contains("no right to list mutatingwebhookconfigurations (whole cluster)"), "{text:?}");
    assert!(text.stdout.contains("asm-1-30"), "{text:?}");
}

/// What can happen to the answers about a kind.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    Refused,
    Fails,
    Page,
    NotServed,
    /// Half of the real answer.
    Half,
    /// The real answer with one more object in it that makes no sense.
    Odd,
}

const TROUBLES: [Trouble; 6] =
    [Trouble::Refused, Trouble::Fails, Trouble::Page, Trouble::NotServed, Trouble::Half, Trouble::Odd];

fn troubled(trouble: Trouble, real: Reply) -> Reply {
    let Reply::Full(200, extra, body) = real else { return real };
    match trouble {
        Trouble::Refused => status(403, "forbidden"),
        Trouble::Fails => status(500, "etcd is down"),
        Trouble::Page => ok("<html>please sign in</html>"),
        Trouble::NotServed => Reply::Full(404, "", b"404 page not found\n".to_vec()),
        Trouble::Half => Reply::Cut(body[..body.len() / 2].to_vec()),
        Trouble::Odd => {
            let mut list: Value = serde_json::from_slice(&body).unwrap();
            if let Some(items) = list["items"].as_array_mut() {
                items.insert(0, serde_json::json!({"metadata": 7}));
            }
            Reply::Full(200, extra, list.to_string().into_bytes())
        }
    }
}

#[tokio::test]
async fn no_trouble_with_any_kinds_gives_a_clean_bill_of_health_or_a_false_alarm() {
    let kinds: Vec<&str> = SOURCES.iter().map(|source| source.resource).collect::<BTreeSet<_>>().into_iter().collect();
    let mut draw = Draw(0x2545_f491_4f6c_dd1d);
    for round in 0..24 {
        // First one kind at a time would be too many runs; a few kinds at once, each with a trouble of its own.
        let troubles: BTreeMap<String, Trouble> = kinds
            .iter()
            .filter_map(|kind| {
                let bits = draw.next();
                (bits % 100 < 6 + round * 3)
                    .then(|| ((*kind).to_owned(), TROUBLES[(bits >> 32) as usize % TROUBLES.len()]))
            })
            .collect();
        let (objects, known) = (healthy(), troubles.clone());
        let server = Server::with(manner(), move |_, seen| {
            let real = answer(&objects, seen);
            let kind = match Asked::of(seen) {
                Some(asked) if asked.group.is_empty() => asked.resource,
                Some(asked) => format!("{}.{}", asked.resource, asked.group),
                None => seen.path().to_owned(),
            };
            known.get(&kind).map_or(real.clone(), |trouble| troubled(*trouble, real))
        })
        .await;
        let place = Place::at(&server);
        let ran = place.run(&["status", "-o", "json"]).await;
        let context = format!("round {round}: {troubles:?}\n{ran:?}");
        let report = ran.json();
        let gaps = report["gaps"].as_array().unwrap();
        let missing: BTreeSet<&str> = gaps.iter().map(|gap| gap["source"].as_str().unwrap()).collect();
        for (code, status) in ran.outcomes() {
            let check = checks::all().find(|check| check.code == code).unwrap();
            if check.inputs.iter().any(|id| missing.contains(id.name().as_str())) {
                assert_ne!(status, "passed", "{code}; {context}");
                assert!(matches!(ran.code, 2 | 3), "{context}");
            }
        }
        for finding in report["findings"].as_array().unwrap() {
            assert_eq!(finding["severity"], "info", "{} is a false alarm; {context}", finding["code"]);
        }
        assert_ne!(ran.code, 1, "{context}");
        assert!(ran.code != 4 || missing.is_empty(), "{context}");
    }
}

/// Pods that may not be listed are not pods that are not ready.
#[tokio::test]
async fn what_was_refused_is_not_counted_as_zero() {
    let server = serve_but(healthy(), |_, asked| {
        asked.filter(|asked| asked.resource == "pods").map(|_| status(403, "pods is forbidden"))
    })
    .await;
    let place = Place::at(&server);
    for format in ["text", "wide"] {
        let text = place.run(&["status", "-o", format]).await;
        assert_eq!(text.code, 3, "{text:?}");
        assert!(text.stdout.contains("asm-1-30") && !text.stdout.contains("0/2"), "{}", text.stdout);
        assert!(!text.stdout.contains("0 in the mesh"), "{}", text.stdout);
    }
}
