//! Logs of a bundle.

use super::print::Printer;
use super::{LogsArgs, Read, What, snapshot_of};
use crate::cli::args::{ConnectionArgs, ScopeArgs};
use crate::cli::logs::pods::Target;
use crate::cli::proxy_config::Meant;
use crate::cli::{session, ui};
use crate::mesh::log::line::sent;
use crate::mesh::log::merge::Merge;
use crate::mesh::log::{Digest, Keep};
use crate::model::log::{ContainerLog, LogPart};
use crate::model::quoted::printable;
use crate::report::ErrorDocument;
use crate::snapshot::{Fault, Origin, Section};

fn wrong(message: String, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "target".to_owned(), message, hints }
}

/// The logs that are meant, what could not be read when the bundle was made, and where it is from.
pub(super) fn logs(
    from: &str,
    connection: &ConnectionArgs,
    args: &LogsArgs,
) -> Result<(Vec<ContainerLog>, Vec<Fault>, Origin), ErrorDocument> {
    let scope = ScopeArgs { namespace: args.namespace.iter().cloned().collect(), all_namespaces: false };
    let mut snapshot = session::from_bundle(from, connection, &scope)?;
    let section = match std::mem::take(&mut snapshot.logs) {
        Section::Collected(section) => section,
        Section::Failed(faults) if !faults.is_empty() => return Err(ErrorDocument::of_fault(&faults[0])),
        _ => {
            let hints = ["how a bundle with logs is made:", "   kubectl asm capture --logs"];
            return Err(wrong("this bundle holds no logs".to_owned(), &hints));
        }
    };
    let meant = Meant::new(&snapshot, args.target.as_deref(), args.namespace.as_deref())?;
    let part = |log: &ContainerLog| match args.what {
        Some(What::Istiod) => log.part == LogPart::Istiod,
        Some(What::Gateway) => log.part == LogPart::Gateway,
        // A gateway is a proxy, too, where it is named.
        _ => match log.part {
            LogPart::Istiod => false,
            LogPart::Gateway => args.target.is_some(),
            _ => true,
        },
    };
    let is_meant = |log: &ContainerLog| {
        part(log)
            && meant.is(&log.metadata.namespace, &log.metadata.name)
            && args.container.as_ref().is_none_or(|container| *container == log.container)
            && args.revision.as_ref().is_none_or(|revision| log.revision.as_ref() == Some(revision))
    };
    let of_a_log = |fault: &Fault| section.items.iter().any(|log| log.fault.as_ref() == Some(fault));
    let others: Vec<Fault> = section.faults.iter().filter(|fault| !of_a_log(fault)).cloned().collect();
    let found: Vec<ContainerLog> = section.items.into_iter().filter(is_meant).collect();
    if found.is_empty() {
        let what = args.target.as_deref().map_or_else(|| args.what.map_or("proxy", What::word).to_owned(), printable);
        let hint = "capture --logs keeps those of istiod, of gateways, of proxies that do not work, and of those that --proxy names";
        return Err(wrong(format!("this bundle holds no log of {what}"), &[hint]));
    }
    // Logs that nobody asked about are none of this answer's gaps.
    let (failed, read): (Vec<ContainerLog>, Vec<ContainerLog>) =
        found.into_iter().partition(|log| log.fault.is_some() && log.lines == 0);
    let faults: Vec<Fault> = failed.iter().chain(&read).filter_map(|log| log.fault.clone()).chain(others).collect();
    Ok((read, faults, snapshot.origin))
}

/// Reads logs of a bundle, and prints the lines that it keeps of them.
pub(super) fn read(from: &str, connection: &ConnectionArgs, args: &LogsArgs) -> Result<Read, ErrorDocument> {
    let (logs, faults, origin) = logs(from, connection, args)?;
    let mut printed = false;
    if args.prints_lines() {
        let targets: Vec<Target> = logs.iter().map(|log| Target { log: log.clone(), why: None, after: None }).collect();
        let mut printer = Printer::new(&targets, args);
        let mut merge = Merge::new(logs.len());
        let mut marks: Vec<Digest> = logs
            .iter()
            .map(|log| Digest::new(ContainerLog { part: log.part, ..Default::default() }, Keep::default()))
            .collect();
        for (index, log) in logs.iter().enumerate() {
            let lines = args.lines().map_or(usize::MAX, |lines| usize::try_from(lines).unwrap_or(usize::MAX));
            for text in log.tail.iter().skip(log.tail.len().saturating_sub(lines)) {
                merge.push(index, sent(text).time, 0, text.len(), text);
            }
            merge.close(index);
        }
        while let Some(timed) = merge.pop(0) {
            let line = sent(timed.line);
            let known = marks.get_mut(timed.stream).and_then(|digest| digest.line(&line));
            printed = true;
            if !printer.line(timed.stream, line.time, line.text, known) {
                break;
            }
        }
        printer.flush();
        let wanted = args.lines().unwrap_or(u64::MAX);
        if logs.iter().any(|log| (log.tail.len() as u64) < log.lines.min(wanted)) {
            ui::message(
                "note: the bundle holds the last lines of each log only; what is known counts all that were read\n",
            );
        }
    }
    Ok(Read { snapshot: snapshot_of(logs, faults, origin), printed })
}
