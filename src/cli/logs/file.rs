//! Saved logs.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use super::{LogsArgs, Read, snapshot_of};
use crate::cli::ui::ProgressLine;
use crate::mesh::log::choose::part_of;
use crate::mesh::log::line::{is_of_the_mesh, saved};
use crate::mesh::log::{Digest, Keep, Splitter};
use crate::model::log::{ContainerLog, LogPart, LogPod};
use crate::model::quoted::printable;
use crate::report::ErrorDocument;
use crate::report::style::shell;
use crate::snapshot::{Origin, OriginKind};

/// How much is read at once.
const CHUNK: usize = 256 << 10;
/// Pods that are told apart; the lines of further ones count together.
const PODS: usize = 256;

/// Logs by pod and container, as far as the lines tell.
#[derive(Default)]
struct Logs {
    by_name: BTreeMap<(String, String), Digest>,
    lines: u64,
    /// Whether any line looks like one of the mesh.
    fits: bool,
}

impl Logs {
    fn take(&mut self, text: &str, cut: bool, part: Option<LogPart>) {
        let line = saved(text);
        let name = (line.pod.unwrap_or_default(), line.container.unwrap_or_default());
        let known = self.by_name.len() < PODS || self.by_name.contains_key(&(name.0.to_owned(), name.1.to_owned()));
        let (pod, container) = if known { name } else { ("", "") };
        let digest = self.by_name.entry((pod.to_owned(), container.to_owned())).or_insert_with(|| {
            let log = ContainerLog {
                metadata: LogPod { namespace: String::new(), name: printable(pod) },
                container: printable(container),
                part: part_in(container, part),
                ..ContainerLog::default()
            };
            Digest::new(log, Keep::default())
        });
        if cut {
            digest.was_cut();
        }
        let known = digest.line(&line);
        self.fits = self.fits || known.is_some() || is_of_the_mesh(line.text);
        self.lines += 1;
    }
}

/// A container that is none of Istio's stays that, whatever the file is said to be.
fn part_in(container: &str, part: Option<LogPart>) -> LogPart {
    match container {
        "" => part.unwrap_or_default(),
        name => match part_of(name) {
            LogPart::Other => LogPart::Other,
            own => part.unwrap_or(own),
        },
    }
}

/// Reads files; what they hold is told by their lines.
pub(super) fn read(args: &LogsArgs) -> Result<Read, ErrorDocument> {
    let part = args.what.map(super::What::part);
    let mut logs = Logs::default();
    let mut progress = ProgressLine::new();
    for path in &args.file {
        read_one(path, &mut |text, cut| logs.take(text, cut, part), &mut progress)?;
    }
    progress.clear();
    let names = || args.file.iter().map(|path| name(path)).collect::<Vec<_>>().join(", ");
    if logs.lines == 0 {
        let hints = ["how a log is saved:", "   kubectl logs <pod> -n <namespace> -c istio-proxy > proxy.log"];
        return Err(wrong(format!("{}: there are no lines in it", names()), &hints));
    }
    if !logs.fits {
        return Err(foreign(&names(), logs.lines, args));
    }
    let logs = logs.by_name.into_values().map(Digest::finish).collect();
    let origin = Origin { kind: OriginKind::File, ..Origin::default() };
    Ok(Read { snapshot: snapshot_of(logs, Vec::new(), origin), printed: false })
}

/// That nothing is wrong in a log of something else would be said of what nobody looked at.
fn foreign(names: &str, lines: u64, args: &LogsArgs) -> ErrorDocument {
    let lines =
        if lines == 1 { "its line does not look".to_owned() } else { format!("none of its {lines} lines looks") };
    let message = format!("{names}: {lines} like a log of istiod, of a proxy, or of access");
    let path = args.file.first().map(|path| path.display().to_string()).unwrap_or_default();
    let azure = format!("   {}", shell(&["kubectl", "asm", "azure", "--log", &path].map(str::to_owned)));
    let hints = [
        "what the mesh writes is in these containers:",
        "   kubectl logs <pod> -n <namespace> -c istio-proxy > proxy.log",
        "   kubectl logs <pod> -n aks-istio-system > istiod.log",
        "a log of az, or the text of its error, is explained by:",
        &azure,
    ];
    wrong(message, &hints)
}

fn wrong(message: String, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "file".to_owned(), message, hints }
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { printable(&path.display().to_string()) }
}

fn read_one(path: &Path, take: &mut dyn FnMut(&str, bool), progress: &mut ProgressLine) -> Result<(), ErrorDocument> {
    let unreadable = |error: std::io::Error| {
        wrong(format!("{} cannot be read: {error}", name(path)), &["is it there, and may it be read?"])
    };
    let mut source: Box<dyn std::io::Read> = if path.as_os_str() == "-" {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(unreadable)?)
    };
    let mut splitter = Splitter::default();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0_u64;
    loop {
        match source.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => {
                bytes += length as u64;
                splitter.push(&buffer[..length], &mut *take);
                progress.say(&format!("reading {}: {} MB", name(path), bytes >> 20));
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    splitter.finish(take);
    Ok(())
}
