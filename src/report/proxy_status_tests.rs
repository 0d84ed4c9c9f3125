//! The text of `proxy-status`, read like the sketch it is drawn from.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use super::document::{AllWord, Namespaces};
use super::proxy_status::render;
use super::proxy_status_view::{IstiodView, ProxyStatusView, ProxyView, TypeView};
use super::style::Style;
use crate::snapshot::OriginKind;

const PIPE: Style = Style { color: false, unicode: true, width: None };
const ALL: Namespaces = Namespaces::All(AllWord::All);
const TERMINAL: Style = Style { color: false, unicode: true, width: Some(80) };

fn istiod(pod: &str, revision: &str) -> IstiodView {
    IstiodView {
        pod: pod.to_owned(),
        revision: revision.to_owned(),
        version: Some("1.28.9-2".to_owned()),
        answered: true,
        proxies: Some(3),
        error: None,
    }
}

fn row(namespace: &str, name: &str, state: &str, age: Option<i64>, types: &[(&str, &str)]) -> ProxyView {
    let types = types.iter().map(|(short, state)| {
        let one = TypeView { state: (*state).to_owned(), age_seconds: age, error: None };
        ((*short).to_owned(), one)
    });
    ProxyView {
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        kind: "sidecar".to_owned(),
        revision: Some("asm-1-28".to_owned()),
        istiod: age.map(|_| "istiod-1".to_owned()),
        version: Some("1.28.9".to_owned()),
        state: state.to_owned(),
        age_seconds: age,
        connections: 1,
        types: types.collect(),
    }
}

fn view(istiods: Vec<IstiodView>, proxies: Vec<ProxyView>) -> ProxyStatusView {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in &proxies {
        *counts.entry(row.state.clone()).or_default() += 1;
    }
    ProxyStatusView { istiods: Some(istiods), counts, other_clients: 0, proxies }
}

fn sketch() -> ProxyStatusView {
    view(
        vec![istiod("istiod-1", "asm-1-28"), istiod("istiod-2", "asm-1-30")],
        vec![
            row("shop", "gw-7d9f-abcde", "ERROR", Some(270), &[("LDS", "ERROR"), ("CDS", "SYNCED")]),
            row("shop", "stuck-6b9c-kxlw2", "STALE", Some(720), &[("LDS", "STALE"), ("CDS", "STALE")]),
            row("edge", "cart-549d-hrzrf", "NOT CONNECTED", None, &[]),
            row("edge", "web-7d9c-4bfzw", "SYNCED", Some(3), &[("CDS", "SYNCED"), ("NameTable", "NOT SENT")]),
        ],
    )
}

#[test]
fn the_answer_comes_first_and_the_worst_rows_next() {
    assert_eq!(
        render(&sketch(), OriginKind::Live, &ALL, PIPE, false),
        "\
2 istiods of 2 revisions answered. 4 proxies: 1 synced, 1 rejected, 1 stale, 1 not connected.

NAMESPACE   NAME               STATE           TYPES     AGE     REVISION
shop        gw-7d9f-abcde      ERROR           LDS       4m30s   asm-1-28
shop        stuck-6b9c-kxlw2   STALE           CDS,LDS   12m     asm-1-28
edge        cart-549d-hrzrf    NOT CONNECTED   -         -       asm-1-28
edge        web-7d9c-4bfzw     SYNCED          -         3s      asm-1-28
"
    );
}

#[test]
fn wide_has_a_column_for_every_type_that_a_proxy_asks_for() {
    let text = render(&sketch(), OriginKind::Live, &ALL, PIPE, true);
    let lines: Vec<Vec<&str>> = text
        .lines()
        .skip(2)
        .map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
        .collect();
    assert_eq!(
        lines[0],
        [
            "NAMESPACE",
            "NAME",
            "STATE",
            "AGE",
            "CDS",
            "LDS",
            "EDS",
            "RDS",
            "ECDS",
            "NameTable",
            "REVISION",
            "TYPE",
            "ISTIOD",
            "VERSION"
        ]
    );
    assert_eq!(
        lines[1],
        [
            "shop",
            "gw-7d9f-abcde",
            "ERROR",
            "4m30s",
            "SYNCED 4m30s",
            "ERROR 4m30s",
            "-",
            "-",
            "-",
            "-",
            "asm-1-28",
            "sidecar",
            "istiod-1",
            "1.28.9"
        ]
    );
}

#[test]
fn who_did_not_answer_is_named() {
    let mut silent = istiod("istiod-2", "asm-1-28");
    silent.answered = false;
    silent.proxies = None;
    silent.error = Some("pod istiod-2 did not answer within 10 s".to_owned());
    let mut counted = istiod("istiod-3", "asm-1-28");
    counted.answered = false;
    counted.proxies = Some(1);
    counted.error = Some("you may not forward ports".to_owned());
    let mut starting = istiod("istiod-4", "asm-1-28");
    starting.answered = false;
    starting.proxies = None;
    let view = view(vec![istiod("istiod-1", "asm-1-28"), silent, counted, starting], Vec::new());
    assert_eq!(
        render(&view, OriginKind::Live, &ALL, PIPE, false),
        "\
1 of 4 istiods of 1 revision answered. No proxies found.
  istiod-2: pod istiod-2 did not answer within 10 s
  istiod-3: you may not forward ports; it says that 1 is connected
  istiod-4: it does not run
"
    );
}

#[test]
fn nothing_asked_and_nobody_there_are_two_things() {
    let mut view = view(Vec::new(), Vec::new());
    assert_eq!(render(&view, OriginKind::Live, &ALL, PIPE, false), "There is no istiod to ask. No proxies found.\n");
    view.istiods = None;
    view.other_clients = 2;
    let live = render(&view, OriginKind::Live, &ALL, PIPE, false);
    assert_eq!(live, "No istiod could be asked. No proxies found. 2 other clients are connected.\n");
    let demo = render(&view, OriginKind::Demo, &ALL, PIPE, false);
    assert!(demo.starts_with("No answer of an istiod is in this bundle."), "{demo}");
}

#[test]
fn names_of_forty_characters_fit_a_terminal() {
    let name = "a-deployment-of-some-length-7d9c5b8f4-4b";
    assert_eq!(name.len(), 40);
    let rows = vec![
        row("shop", name, "STALE", Some(720), &[("LDS", "STALE")]),
        row("shop", "web", "SYNCED", Some(59), &[("CDS", "SYNCED")]),
    ];
    let shop = Namespaces::List(vec!["shop".to_owned()]);
    let text = render(&view(vec![istiod("istiod-1", "asm-1-28")], rows), OriginKind::Live, &shop, TERMINAL, false);
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    assert!(text.contains("asm-1-28") && !text.contains('…'), "{text}");
}

#[test]
fn the_namespace_is_left_out_only_where_one_was_asked_for() {
    let of = |names: &[&str]| Namespaces::List(names.iter().map(|name| (*name).to_owned()).collect());
    let rows = || vec![row("shop", "web", "SYNCED", Some(59), &[])];
    for (asked, is_said) in [(ALL, true), (of(&["shop", "edge"]), true), (of(&["shop"]), false), (of(&["edge"]), true)]
    {
        let text = render(&view(Vec::new(), rows()), OriginKind::Live, &asked, PIPE, false);
        assert_eq!(text.contains("NAMESPACE"), is_said, "{asked:?}: {text}");
    }
}

#[test]
fn nothing_from_a_cluster_reaches_the_terminal_raw() {
    let mut bad = row("sh\u{1b}op", "w\u{202e}eb", "STALE", Some(60), &[("L\u{7}DS", "STALE")]);
    bad.version = Some("1\u{9b}".to_owned());
    let mut istiod = istiod("istiod\u{1b}[2J", "asm-1-28");
    istiod.answered = false;
    istiod.error = Some("\u{1b}]0;x\u{7}".to_owned());
    let view = view(vec![istiod], vec![bad]);
    for wide in [false, true] {
        let text = render(&view, OriginKind::Live, &ALL, PIPE, wide);
        assert!(text.chars().all(|c| c == '\n' || !c.is_control() && c != '\u{202e}'), "{text:?}");
    }
}
