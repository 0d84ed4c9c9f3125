#![allow(clippy::unwrap_used)]

use serde_json::{Value, json};

use super::*;
use crate::snapshot::{Collected, Section};

fn now() -> Timestamp {
    "2026-07-15T12:00:00Z".parse().unwrap()
}

fn section<T>(items: Vec<T>) -> Section<T> {
    Section::Collected(Collected { items, undecodable: Vec::new(), faults: Vec::new(), fallback: None })
}

/// A world of istiods and what they list.
fn world(records: &[Value]) -> Snapshot {
    let records = records.iter().map(|record| serde_json::from_value(record.clone()).unwrap()).collect();
    Snapshot { xds: section(records), system_pods: section(Vec::new()), ..Snapshot::default() }
}

fn istiod(name: &str, version: &str) -> Value {
    json!({"istiod": {"pod": name, "revision": "asm-1-28", "asked": "answered", "version": version, "date": "2026-07-15T12:00:00Z"}})
}

fn client(istiod: &str, connected: Option<&str>, syncz: Value) -> Value {
    let mut syncz = syncz;
    syncz["proxy"] = "web.shop".into();
    if syncz.get("proxy_type").is_none() {
        syncz["proxy_type"] = "sidecar".into();
    }
    json!({"proxy": {"istiod": istiod, "connectedAt": connected, "connections": 1, "syncz": syncz}})
}

fn cds(entry: Value) -> Value {
    json!({"resources": {"type.googleapis.com/envoy.config.cluster.v3.Cluster": entry}})
}

fn only_row<'a>(sync: &'a Sync<'_>) -> &'a Row<'a> {
    assert_eq!(sync.rows.len(), 1, "{sync:#?}");
    &sync.rows[0]
}

#[test]
fn of_two_connections_the_newest_counts() {
    let stale = cds(json!({"sent": "b", "acked": "a", "sentTime": "2026-07-15T11:00:00Z"}));
    let synced = cds(json!({"sent": "c", "acked": "c", "sentTime": "2026-07-15T11:30:00Z"}));
    let snapshot = world(&[
        istiod("one", "1.28.9"),
        istiod("two", "1.28.9"),
        client("one", Some("2026-07-15T09:00:00Z"), stale.clone()),
        client("two", Some("2026-07-15T11:40:00Z"), synced.clone()),
    ]);
    let sync = sync(&snapshot, &[], now(), GRACE);
    let row = only_row(&sync);
    assert_eq!((row.state, row.istiod.unwrap().pod.as_str()), (State::Synced, "two"));
    let twice = row.twice.as_ref().unwrap();
    assert_eq!((twice.connections, twice.since), (2, Some(SignedDuration::from_mins(20))));
    assert_eq!(twice.istiods, ["one", "two"]);
    // Without the times of connections, what was sent last tells.
    let snapshot = world(&[istiod("one", "1.28.9"), client("one", None, synced), client("one", None, stale)]);
    let sync = super::sync(&snapshot, &[], now(), GRACE);
    assert_eq!(only_row(&sync).state, State::Synced);
    assert_eq!(only_row(&sync).twice.as_ref().map(|twice| (twice.connections, twice.since)), Some((2, None)));
}

#[test]
fn the_worst_type_decides_and_what_was_never_sent_does_not() {
    let of = |resources: Value| {
        let snapshot = world(&[istiod("one", "1.28.9"), client("one", None, json!({ "resources": resources }))]);
        let sync = sync(&snapshot, &[], now(), GRACE);
        let row = only_row(&sync);
        (
            row.state,
            row.causing().map(|one| one.kind.short().to_owned()).collect::<Vec<_>>().join(","),
            row.age().map(|age| age.as_secs()),
        )
    };
    let synced = json!({"sent": "a", "acked": "a", "sentTime": "2026-07-15T11:59:00Z"});
    let stale = |at: &str| json!({"sent": "b", "acked": "a", "sentTime": at});
    assert_eq!(of(json!({"x/C": synced, "x/D": {}})), (State::Synced, String::new(), Some(60)));
    assert_eq!(of(json!({"x/D": {}})), (State::NotSent, String::new(), None));
    let (early, late) = (stale("2026-07-15T11:50:00Z"), stale("2026-07-15T11:58:00Z"));
    assert_eq!(of(json!({"x/C": synced, "x/D": early, "x/E": late})), (State::Stale, "D,E".to_owned(), Some(600)));
    let refused = json!({"sent": "b", "sentTime": "2026-07-15T11:57:00Z", "lastError": "no"});
    assert_eq!(of(json!({"x/D": early, "x/E": refused})), (State::Error, "E".to_owned(), Some(180)));
    // The date of the answer has no fractions of a second, so what was sent then seems to come from the future.
    assert_eq!(of(json!({"x/C": stale("2026-07-15T12:00:00.4Z")})), (State::Pending, "C".to_owned(), Some(0)));
    assert_eq!(of(json!({"x/C": {"sent": "b"}})), (State::Unknown, "C".to_owned(), None));
}

#[test]
fn the_grace_can_be_longer() {
    let entry = cds(json!({"sent": "b", "acked": "a", "sentTime": "2026-07-15T11:59:00Z"}));
    let snapshot = world(&[istiod("one", "1.28.9"), client("one", None, entry)]);
    for (grace, state) in [(59, State::Stale), (60, State::Pending), (0, State::Stale)] {
        let sync = sync(&snapshot, &[], now(), SignedDuration::from_secs(grace));
        assert_eq!(only_row(&sync).state, state, "{grace}");
    }
}

#[test]
fn ages_go_by_the_clock_of_the_istiod() {
    let entry = cds(json!({"sent": "b", "acked": "a", "sentTime": "2026-07-15T11:50:00Z"}));
    let mut slow = istiod("one", "1.28.9");
    slow["istiod"]["date"] = "2026-07-15T11:50:10Z".into();
    let snapshot = world(&[slow, client("one", None, entry)]);
    assert_eq!(only_row(&sync(&snapshot, &[], now(), GRACE)).state, State::Pending);
}

#[test]
fn what_an_old_istiod_leaves_out_is_unknown_and_what_a_new_one_leaves_out_is_not_asked_for() {
    for (version, state) in [("1.22.9-1-abc-Clean", State::Unknown), ("1.23.0-abc-Clean", State::Ignored)] {
        let snapshot = world(&[istiod("one", version), client("one", None, json!({}))]);
        let sync = sync(&snapshot, &[], now(), GRACE);
        assert_eq!((only_row(&sync).state, sync.old.len()), (state, usize::from(state == State::Unknown)), "{version}");
    }
}

#[test]
fn clients_that_are_no_proxies_are_counted_apart() {
    let mut tool = client("one", None, json!({"proxy_type": ""}));
    tool["proxy"]["syncz"]["proxy"] = "debug-1".into();
    let mut kindless = client("one", None, json!({"proxy_type": "", "istio_version": "1.17.2"}));
    kindless["proxy"]["syncz"]["proxy"] = "old.shop".into();
    // istioctl, as an istiod lists it for half a minute after `istioctl proxy-status`.
    let mut istioctl = client("one", None, json!({"proxy_type": "sidecar", "istio_version": "65536.65536.65536"}));
    istioctl["proxy"]["syncz"]["proxy"] = "test-1.default".into();
    let snapshot = world(&[istiod("one", "1.17.2"), tool, kindless, istioctl]);
    let sync = sync(&snapshot, &[], now(), GRACE);
    assert_eq!((sync.rows.len(), sync.others), (1, 2));
}
