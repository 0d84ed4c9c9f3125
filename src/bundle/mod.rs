//! Bundles: a snapshot on disk, redacted when it is written and distrusted when it is read.
//!
//! Format 1 is a gzipped tar archive, or a directory with the same files: `manifest.json` says what was read and what
//! could not be, `sources/ID.jsonl` holds the objects of one source as the API server sent them, redacted, one per line.
//! The decoders of the live path read them again, so a report from a bundle equals the live one.

mod read;
pub mod redact;
mod write;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

pub use read::{read_demo, read_path};
pub use write::{Recorder, SourceRecorder, write};

use crate::report::ErrorDocument;

/// Version of the layout. A reader refuses newer ones: what they leave out or add is unknown to it.
pub const FORMAT: u64 = 1;

/// Name of the first file.
const MANIFEST: &str = "manifest.json";

/// Longest line that is written or read, the largest object that the live path takes.
const LINE_CAP: usize = 8 << 20;

/// Why a bundle could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file or directory cannot be opened.
    #[error("cannot open {}: {}", path.display(), reason(source))]
    Open {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Reading stopped with an error of the operating system.
    #[error("cannot read the bundle: {}", reason(.0))]
    Read(io::Error),
    /// Writing stopped with an error of the operating system.
    #[error("cannot write the bundle: {}", reason(.0))]
    Write(io::Error),
    /// Not one of ours.
    #[error("this is not a bundle: {0}")]
    NotBundle(String),
    /// A later version of the layout.
    #[error("the bundle has format {format}, this kubectl-asm reads formats up to {FORMAT}")]
    Newer {
        /// Its format.
        format: u64,
        /// The version of kubectl-asm that wrote it, where it says so.
        written_by: Option<String>,
    },
    /// The archive ends too early.
    #[error("the bundle is truncated: the archive ends too early")]
    Truncated,
    /// The archive is damaged.
    #[error("the bundle is damaged: {0}")]
    Damaged(String),
    /// More data than any real bundle has.
    #[error("the bundle is too large: {0}")]
    TooLarge(String),
    /// An entry that has no place in a bundle.
    #[error("the bundle is refused: entry {entry} is {problem}")]
    Entry {
        /// Its name, printable.
        entry: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

impl BundleError {
    /// The error as reports carry it.
    #[must_use]
    pub fn document(&self) -> ErrorDocument {
        ErrorDocument { kind: "bundle".to_owned(), message: self.to_string(), hints: self.hints() }
    }

    fn hints(&self) -> Vec<String> {
        let again =
            || vec!["copy the bundle again, or capture it again".to_owned(), "   kubectl asm capture".to_owned()];
        match self {
            Self::Open { .. } => vec!["give --from a file or directory that kubectl asm capture wrote".to_owned()],
            Self::Read(_) | Self::Truncated | Self::Damaged(_) => again(),
            Self::Write(_) => {
                vec!["write it elsewhere, or to standard output".to_owned(), "   kubectl asm capture -".to_owned()]
            }
            Self::NotBundle(_) => {
                let mut hints = vec!["a bundle is what this command writes".to_owned()];
                hints.push("   kubectl asm capture".to_owned());
                hints
            }
            Self::Newer { written_by, .. } => vec![match written_by {
                Some(version) => format!("use kubectl-asm {version} or newer, which wrote this bundle"),
                None => "use a newer kubectl-asm".to_owned(),
            }],
            Self::TooLarge(_) | Self::Entry { .. } => {
                vec!["do not trust this bundle: ask whoever made it for a fresh one".to_owned()]
            }
        }
    }
}

/// The plain words for an operating-system error, without its number.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it does not exist".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::StorageFull => "no space left".to_owned(),
        io::ErrorKind::BrokenPipe => "the reader went away".to_owned(),
        kind => kind.to_string(),
    }
}

/// `manifest.json`. Kinds and states are plain text here: a value of a newer tool must not cost the bundle.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Manifest {
    format: u64,
    tool: ToolRecord,
    origin: OriginRecord,
    scope: ScopeRecord,
    interrupted: bool,
    sections: BTreeMap<String, SectionRecord>,
}

/// What wrote the bundle.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ToolRecord {
    name: String,
    version: String,
}

/// Which cluster, and when.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct OriginRecord {
    context: Option<String>,
    server: Option<String>,
    server_version: Option<String>,
    captured_at: Option<Timestamp>,
}

/// Which namespaces.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct ScopeRecord {
    namespaces: Option<Vec<String>>,
}

/// How one source ended.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct SectionRecord {
    state: String,
    /// Lines of its file.
    items: usize,
    undecodable: Vec<serde_json::Value>,
    faults: Vec<serde_json::Value>,
    fallback: Option<serde_json::Value>,
}
