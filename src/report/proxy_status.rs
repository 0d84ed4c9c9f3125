//! The text of `proxy-status`: who answered, how many proxies are in which state, and a row per proxy.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;

use super::document::Namespaces;
use super::proxy_status_view::{ProxyStatusView, ProxyView, TypeView};
use super::style::{Style, wrap};
use super::table::table;
use super::text::says_namespace;
use crate::mesh::sync::State;
use crate::model::age;
use crate::model::quoted::printable;
use crate::model::xds::XdsType;
use crate::snapshot::OriginKind;

/// Types that have a column of their own even when no proxy has asked for them.
const USUAL: [&str; 5] = ["CDS", "LDS", "EDS", "RDS", "ECDS"];

/// Renders the view. `wide` has a column per type, and more.
#[must_use]
pub fn render(view: &ProxyStatusView, origin: OriginKind, asked: &Namespaces, style: Style, wide: bool) -> String {
    let mut out = wrap(&format!("{} {}", answered(view, origin), counted(view)), 0, style.width);
    for line in silent(view) {
        out.push_str(&wrap(&line, 2, style.width));
    }
    if view.proxies.is_empty() {
        return out;
    }
    out.push('\n');
    out.push_str(&if wide { rows_wide(view, style) } else { rows(view, asked, style) });
    out
}

/// `4 istiods of 2 revisions answered.`
fn answered(view: &ProxyStatusView, origin: OriginKind) -> String {
    let Some(istiods) = &view.istiods else {
        return match origin {
            OriginKind::Live => "No istiod could be asked.".to_owned(),
            _ => "No answer of an istiod is in this bundle.".to_owned(),
        };
    };
    let answered = istiods.iter().filter(|istiod| istiod.answered).count();
    let revisions: BTreeSet<&str> = istiods.iter().map(|istiod| istiod.revision.as_str()).collect();
    let of = match istiods.len() {
        0 => return "There is no istiod to ask.".to_owned(),
        all if all == answered => count(all, "istiod"),
        all => format!("{answered} of {}", count(all, "istiod")),
    };
    format!("{of} of {} answered.", count(revisions.len(), "revision"))
}

/// `241 proxies: 236 synced, 1 rejected, 4 not connected.`
fn counted(view: &ProxyStatusView) -> String {
    let words: Vec<(State, &str)> = vec![
        (State::Synced, "synced"),
        (State::Error, "rejected"),
        (State::Stale, "stale"),
        (State::NotConnected, "not connected"),
        (State::Unknown, "unknown"),
        (State::Pending, "pending"),
        (State::NotSent, "not sent"),
        (State::Ignored, "ignored"),
    ];
    let of = |state: State| view.counts.get(state.word()).copied().unwrap_or_default();
    let total: usize = view.counts.values().sum();
    let proxies = if total == 1 { "1 proxy".to_owned() } else { format!("{total} proxies") };
    let parts: Vec<String> = words
        .into_iter()
        .filter(|(state, _)| of(*state) > 0)
        .map(|(state, word)| format!("{} {word}", of(state)))
        .collect();
    let others = match view.other_clients {
        0 => String::new(),
        1 => " 1 other client is connected.".to_owned(),
        number => format!(" {number} other clients are connected."),
    };
    match parts.len() {
        0 => format!("No proxies found.{others}"),
        _ => format!("{proxies}: {}.{others}", parts.join(", ")),
    }
}

/// A line for every istiod that did not answer, or not enough.
fn silent(view: &ProxyStatusView) -> Vec<String> {
    let istiods = view.istiods.iter().flatten().filter(|istiod| !istiod.answered || istiod.error.is_some());
    istiods
        .map(|istiod| {
            let why = istiod.error.as_deref().unwrap_or("it does not run");
            let connected = istiod.proxies.filter(|_| !istiod.answered).map_or_else(String::new, |number| {
                format!(
                    "; it says that {} connected",
                    if number == 1 { "1 is".into() } else { format!("{number} are") }
                )
            });
            format!("{}: {}{connected}", printable(&istiod.pod), printable(why))
        })
        .collect()
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn rows(view: &ProxyStatusView, asked: &Namespaces, style: Style) -> String {
    let several = says_namespace(asked, view.proxies.iter().map(|row| row.namespace.as_str()));
    let mut headers = vec!["NAME", "STATE", "TYPES", "AGE", "REVISION"];
    if several {
        headers.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = view
        .proxies
        .iter()
        .map(|row| {
            let mut cells = vec![
                printable(&row.name),
                row.state.clone(),
                dash(causing(row).join(",")),
                words(row.age_seconds),
                dash(row.revision.clone().unwrap_or_default()),
            ];
            if several {
                cells.insert(0, printable(&row.namespace));
            }
            cells
        })
        .collect();
    table(&headers, &rows, style)
}

fn rows_wide(view: &ProxyStatusView, style: Style) -> String {
    let all = view.proxies.iter().flat_map(|row| row.types.keys()).map(String::as_str);
    let mut types: Vec<&str> = all.chain(USUAL).collect::<BTreeSet<_>>().into_iter().collect();
    types.sort_by_key(|short| (XdsType::rank_of(short), *short));
    let mut headers = vec!["NAMESPACE", "NAME", "STATE", "AGE"];
    let shown: Vec<String> = types.iter().map(|short| printable(short)).collect();
    headers.extend(shown.iter().map(String::as_str));
    headers.extend(["REVISION", "TYPE", "ISTIOD", "VERSION"]);
    let rows: Vec<Vec<String>> = view
        .proxies
        .iter()
        .map(|row| {
            let mut cells =
                vec![printable(&row.namespace), printable(&row.name), row.state.clone(), words(row.age_seconds)];
            cells.extend(types.iter().map(|short| cell(&row.types, short)));
            cells.extend([
                dash(row.revision.clone().unwrap_or_default()),
                dash(row.kind.clone()),
                dash(row.istiod.clone().unwrap_or_default()),
                dash(row.version.clone().unwrap_or_default()),
            ]);
            cells
        })
        .collect();
    table(&headers, &rows, style)
}

/// `SYNCED 3m`, `-` for a type that it has not asked for.
fn cell(types: &BTreeMap<String, TypeView>, short: &str) -> String {
    let Some(one) = types.get(short) else { return "-".to_owned() };
    match one.age_seconds {
        Some(_) => format!("{} {}", one.state, words(one.age_seconds)),
        None => one.state.clone(),
    }
}

/// The types that cause a row's state, in the usual order.
#[must_use]
pub fn causing(row: &ProxyView) -> Vec<String> {
    const QUIET: [State; 3] = [State::Synced, State::NotSent, State::Ignored];
    if QUIET.iter().any(|state| state.word() == row.state) {
        return Vec::new();
    }
    let mut types: Vec<&String> =
        row.types.iter().filter(|(_, one)| one.state == row.state).map(|(short, _)| short).collect();
    types.sort_by_key(|short| (XdsType::rank_of(short), *short));
    types.into_iter().map(|short| printable(short)).collect()
}

fn words(seconds: Option<i64>) -> String {
    seconds.map_or_else(|| "-".to_owned(), |seconds| age::words(SignedDuration::from_secs(seconds)))
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { printable(&text) }
}
