//! What each command may read here.

use std::collections::{BTreeMap, BTreeSet};

use clap::ValueEnum;
use futures::StreamExt;
use serde_json::json;

use crate::cli::rbac::{self, For};
use crate::cluster::Cluster;
use crate::model::Grant;
use crate::report::ErrorDocument;
use crate::report::precheck_view::CommandView;
use crate::snapshot::{Fault, FaultKind, Need, Scope, Snapshot, SourceId, StateKind};
use crate::sources::rights::{Right, Where};
use crate::sources::source;

/// How many reviews run at once.
const CONCURRENCY: usize = 8;

/// One command in one scope.
pub struct Row {
    command: String,
    of: For,
    probe: bool,
    scope: Scope,
    rights: BTreeSet<Right>,
}

/// Every command, in every scope.
pub fn rows(commands: &[For], scopes: &[Scope]) -> Result<Vec<Row>, ErrorDocument> {
    let all = For::value_variants();
    let chosen = |of: &&For| commands.is_empty() || commands.contains(of);
    let mut rows = Vec::new();
    for of in all.iter().filter(chosen) {
        let variants: &[bool] = if *of == For::InjectCheck { &[false, true] } else { &[false] };
        for probe in variants {
            for scope in scopes {
                rows.push(Row {
                    command: format!("{}{}", of.name(), if *probe { " --probe" } else { "" }),
                    of: *of,
                    probe: *probe,
                    scope: scope.clone(),
                    rights: rbac::of_command(*of, *probe, scope, &[], &[])?,
                });
            }
        }
    }
    Ok(rows)
}

/// A right as a question; none for places that only show while reading.
fn need(right: &Right) -> Option<Need> {
    let namespace = match &right.place {
        Where::Cluster => None,
        Where::Namespace(namespace) => Some(namespace.clone()),
        Where::Webhooks => return None,
    };
    let dot = if right.group.is_empty() { "" } else { "." };
    Some(Need { verb: right.verb.to_owned(), resource: format!("{}{dot}{}", right.resource, right.group), namespace })
}

type Question = (Need, Option<String>);

/// Asks about every right once. The lines are for the snapshot, with a fault for each right that is missing.
pub async fn ask(cluster: &Cluster, rows: &[Row]) -> (Vec<Vec<u8>>, Vec<Fault>) {
    let questions: BTreeSet<Question> =
        rows.iter().flat_map(|row| &row.rights).filter_map(|right| Some((need(right)?, right.name.clone()))).collect();
    let answers: Vec<(Question, Result<bool, Fault>)> = futures::stream::iter(questions)
        .map(async |(need, name)| {
            let answer = cluster.allowed_for(&need, name.as_deref()).await;
            ((need, name), answer)
        })
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    let mut answers: BTreeMap<Question, Result<bool, Fault>> = answers.into_iter().collect();
    // Who may read all objects of a kind everywhere, or in one namespace, may read each of them.
    let wider = |(need, name): &Question, answers: &BTreeMap<Question, Result<bool, Fault>>| {
        let has = |need: Need, name: Option<String>| matches!(answers.get(&(need, name)), Some(Ok(true)));
        has(Need { namespace: None, ..need.clone() }, None) || name.is_some() && has(need.clone(), None)
    };
    let given: Vec<Question> = answers.keys().filter(|question| wider(question, &answers)).cloned().collect();
    for question in given {
        answers.insert(question, Ok(true));
    }
    let mut lines = Vec::new();
    let mut faults: Vec<Fault> = Vec::new();
    for ((need, name), answer) in answers {
        let allowed = match answer {
            Ok(allowed) => allowed,
            Err(fault) => {
                if !faults.iter().any(|known| known.message == fault.message) {
                    faults.push(fault);
                }
                continue;
            }
        };
        let line = json!({
            "metadata": {"namespace": need.namespace, "name": name},
            "verb": need.verb, "resource": need.resource, "allowed": allowed,
        });
        lines.push(line.to_string().into_bytes());
        if !allowed {
            let place =
                need.namespace.as_deref().map_or_else(|| "(cluster)".to_owned(), |n| format!("in namespace {n}"));
            let message = format!("not allowed to {} {} {place}", need.verb, need.resource);
            faults.push(Fault { status: Some(403), need: Some(need), ..Fault::new(FaultKind::Forbidden, message) });
        }
    }
    (lines, faults)
}

/// The view of each row, from what the API server said. A right that it said nothing about is none that is there.
pub fn of_cluster(rows: &[Row], grants: &[Grant]) -> Vec<CommandView> {
    let optional = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let known: BTreeMap<Question, bool> = grants
        .iter()
        .map(|grant| {
            let namespace = optional(&grant.metadata.namespace);
            let need = Need { verb: grant.verb.clone(), resource: grant.resource.clone(), namespace };
            ((need, optional(&grant.metadata.name)), grant.allowed)
        })
        .collect();
    rows.iter()
        .map(|row| {
            let asked: BTreeSet<Question> =
                row.rights.iter().filter_map(|right| Some((need(right)?, right.name.clone()))).collect();
            let denied: Vec<&Question> = asked.iter().filter(|asked| known.get(*asked) == Some(&false)).collect();
            let missing: BTreeSet<Need> = denied.iter().map(|(need, _)| need.clone()).collect();
            let can = match asked.iter().any(|asked| !known.contains_key(asked)) {
                true => "unknown",
                false => verdict(denied.len(), asked.len()),
            };
            view(row, can, missing.into_iter().collect(), Vec::new())
        })
        .collect()
}

/// The view of each row, from what a bundle holds.
pub fn of_bundle(rows: &[Row], snapshot: &Snapshot) -> Result<Vec<CommandView>, ErrorDocument> {
    let mut views = Vec::new();
    for row in rows.iter().filter(|row| !row.probe && row.of != For::Capture) {
        let sources = rbac::sources(row.of, false, &[], &[])?;
        let own = own(row.of);
        // A section of its own belongs to a flag of `capture`, and only the command that lives from it misses it.
        let counts = |id: &&SourceId| {
            own.is_some_and(|(own, _)| own == **id) || !source(**id).is_some_and(crate::sources::Source::is_by_command)
        };
        let partial = |id: &&SourceId| source(**id).is_some_and(|s| (s.state)(snapshot).is_partial());
        let counted: Vec<_> = sources.iter().filter(counts).collect();
        let unread: Vec<String> = counted.iter().copied().filter(partial).map(|id| id.name()).collect();
        let states = counted.iter().filter_map(|id| source(**id)).map(|source| (source.state)(snapshot));
        let needs = states.flat_map(|state| state.faults.iter().chain(state.fallback)).filter_map(|f| f.need.clone());
        let missing: BTreeSet<Need> = needs.collect();
        let kind = own.and_then(|(own, _)| source(own)).map(|source| (source.state)(snapshot).kind);
        // Without what it lives from a command has nothing to say, whatever else there is.
        let can = match kind {
            Some(StateKind::NotRequested | StateKind::NotServed | StateKind::Failed) => "no",
            _ => verdict(unread.len(), counted.len()),
        };
        let flag = own.filter(|_| kind == Some(StateKind::NotRequested)).map(|(_, flag)| flag.to_owned());
        views.push(CommandView { flag, ..view(row, can, missing.into_iter().collect(), unread) });
    }
    Ok(views)
}

/// The section that a command lives from, and the flag with which `capture` makes it.
fn own(of: For) -> Option<(SourceId, &'static str)> {
    match of {
        For::ProxyConfig => Some((SourceId::ProxyAnswers, "--proxy")),
        For::Logs => Some((SourceId::Logs, "--logs")),
        For::Azure => Some((SourceId::Azure, "--az")),
        _ => None,
    }
}

fn verdict(lacking: usize, all: usize) -> &'static str {
    match lacking {
        0 => "yes",
        some if some < all => "part",
        _ => "no",
    }
}

fn view(row: &Row, can: &str, missing: Vec<Need>, unread: Vec<String>) -> CommandView {
    CommandView {
        command: row.command.clone(),
        namespaces: row.scope.namespaces.clone(),
        can: can.to_owned(),
        missing,
        unread,
        flag: None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    #[test]
    fn a_right_that_nothing_is_said_about_is_not_there() {
        let scope = Scope { namespaces: Some(vec!["shop".to_owned()]) };
        let rights = rbac::of_command(For::Logs, false, &scope, &[], &[]).unwrap();
        let row = Row { command: "logs".to_owned(), of: For::Logs, probe: false, scope, rights };
        let grant = |right: &Right, allowed: bool| {
            let need = need(right).unwrap();
            let metadata = json!({"namespace": need.namespace, "name": right.name});
            let line = json!({"metadata": metadata, "verb": need.verb, "resource": need.resource, "allowed": allowed});
            serde_json::from_value::<Grant>(line).unwrap()
        };
        let can = |grants: &[Grant]| of_cluster(std::slice::from_ref(&row), grants)[0].can.clone();
        let all: Vec<Grant> = row.rights.iter().map(|right| grant(right, true)).collect();
        assert_eq!(can(&all), "yes");
        assert_eq!(can(&all[1..]), "unknown");
        assert_eq!(can(&[]), "unknown");
        let none: Vec<Grant> = row.rights.iter().map(|right| grant(right, false)).collect();
        assert_eq!(can(&none), "no");
    }
}
