//! Saved answers of a proxy.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use jiff::Timestamp;

use super::What;
use crate::model::envoy::{Part, ProxyAnswers, ReadError, Reader};
use crate::model::quoted::printable;
use crate::report::ErrorDocument;
use crate::snapshot::{Fault, FaultKind, Origin, OriginKind, Snapshot};

/// How much is read at once.
const CHUNK: usize = 256 << 10;

fn wrong(message: String, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "file".to_owned(), message, hints }
}

/// Reads files into a snapshot of one proxy, and sees that what is asked for can be in them.
pub(super) fn read(files: &[PathBuf], what: What) -> Result<Snapshot, ErrorDocument> {
    let mut answers = ProxyAnswers::default();
    let mut faults = Vec::new();
    let mut saved: Option<Timestamp> = None;
    for path in files {
        let (fault, time) = read_one(path, &mut answers)?;
        faults.extend(fault);
        saved = saved.max(time);
    }
    let names: Vec<String> = files.iter().map(|path| name(path)).collect();
    expect(&answers, what, &names.join(", "))?;
    let origin = Origin { kind: OriginKind::File, captured_at: saved, ..Origin::default() };
    Ok(super::snapshot_of(answers, faults, origin))
}

fn name(path: &Path) -> String {
    if path.as_os_str() == "-" { "stdin".to_owned() } else { printable(&path.display().to_string()) }
}

/// Reads one file. One that stops early, or is broken further on, gives what came before.
fn read_one(path: &Path, answers: &mut ProxyAnswers) -> Result<(Option<Fault>, Option<Timestamp>), ErrorDocument> {
    let name = name(path);
    let unreadable = |error: std::io::Error| wrong(format!("{name} cannot be read: {error}"), &[]);
    let (mut source, time): (Box<dyn Read>, Option<Timestamp>) = if path.as_os_str() == "-" {
        (Box::new(std::io::stdin().lock()), None)
    } else {
        let file = File::open(path).map_err(unreadable)?;
        let time = file.metadata().and_then(|metadata| metadata.modified()).ok().and_then(timestamp);
        (Box::new(file), time)
    };
    let before = (answers.parts.len(), answers.has_dump);
    let mut reader = Reader::new(answers);
    let mut buffer = vec![0; CHUNK];
    let outcome = loop {
        match source.read(&mut buffer) {
            Ok(0) => break reader.finish(),
            Ok(length) => {
                if let Err(error) = reader.push(&buffer[..length]) {
                    break Err(error);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    };
    let gained = (answers.parts.len(), answers.has_dump) != before;
    match outcome {
        Ok(()) => Ok((None, time)),
        Err(ReadError::Broken(error)) if gained => {
            let fault = Fault::new(FaultKind::Truncated, format!("{name}: {error}; what comes before was read"));
            Ok((Some(fault), time))
        }
        Err(ReadError::Sentence(text)) if text.starts_with("Failed to convert protobuf") => Err(wrong(
            format!("{name} holds no configuration, but why Envoy could not print it: {text}"),
            &["its configuration names an extension that this build of Envoy does not have"],
        )),
        Err(error) => Err(wrong(
            format!("{name} is no answer of Envoy's admin interface: {error}"),
            &[
                "how a config_dump is saved:",
                "   kubectl exec <pod> -n <namespace> -c istio-proxy -- pilot-agent request GET config_dump > config_dump.json",
            ],
        )),
    }
}

fn timestamp(time: SystemTime) -> Option<Timestamp> {
    Timestamp::try_from(time).ok()
}

/// What is asked for must be in an answer of its kind: an empty table would look like a proxy without it.
fn expect(answers: &ProxyAnswers, what: What, names: &str) -> Result<(), ErrorDocument> {
    match what {
        What::Endpoints if !answers.has(&[Part::Hosts]) => Err(wrong(
            format!("{names}: the proxy's view of endpoints is not in a config_dump, but in /clusters?format=json"),
            &[
                "endpoints as they were configured:",
                "   kubectl asm proxy-config eds -f <file>",
                "how the other answer is saved:",
                "   kubectl exec <pod> -n <namespace> -c istio-proxy -- pilot-agent request GET 'clusters?format=json' > clusters.json",
            ],
        )),
        What::Eds if !answers.has(&[Part::DynamicEndpoints, Part::StaticEndpoints]) => Err(wrong(
            format!("{names}: there are no configured endpoints in it"),
            &[
                "they are in a config_dump only when they were asked for:",
                "   kubectl exec <pod> -n <namespace> -c istio-proxy -- pilot-agent request GET config_dump?include_eds=true > config_dump.json",
            ],
        )),
        What::All if answers.has_dump || answers.has(&[Part::Hosts]) => Ok(()),
        What::Log => Err(wrong("levels of loggers are read from a proxy that runs, not from a file".to_owned(), &[])),
        What::Endpoints | What::Eds => Ok(()),
        _ if answers.has_dump => Ok(()),
        _ => Err(wrong(
            format!("{names} is no config_dump, and what was asked for is only in one"),
            &[
                "how it is saved:",
                "   kubectl exec <pod> -n <namespace> -c istio-proxy -- pilot-agent request GET config_dump > config_dump.json",
            ],
        )),
    }
}
