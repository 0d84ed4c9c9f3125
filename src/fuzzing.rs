//! Decoders of foreign bytes that are private otherwise, for `tests/fuzz.rs`. No part of the tool's interface.

use std::path::Path;

use jiff::Timestamp;

use crate::facts::Facts;
use crate::report::Report;
use crate::snapshot::{Fault, Snapshot};

/// Reads a kubeconfig and all that it names, runs nothing and connects to nothing.
///
/// # Errors
/// Why it cannot be used.
// reason: as everywhere in `cluster`
#[allow(clippy::result_large_err)]
pub fn kubeconfig(path: &Path) -> Result<(), Fault> {
    crate::cluster::fuzzing::kubeconfig(path)
}

/// Understands what a credential plugin wrote.
///
/// # Errors
/// Why it is no credential.
// reason: as everywhere in `cluster`
#[allow(clippy::result_large_err)]
pub fn credential(output: &[u8]) -> Result<(), Fault> {
    crate::cluster::fuzzing::credential(output)
}

/// Classifies an answer that is no success.
#[must_use]
pub fn status(code: u16, body: &[u8]) -> Fault {
    crate::cluster::fuzzing::status(code, body)
}

/// Whether `NO_PROXY` takes a host out.
#[must_use]
pub fn bypasses(list: &str, host: &str) -> bool {
    crate::cluster::fuzzing::bypasses(list, host)
}

/// Reads the workloads of a manifest; says how many.
///
/// # Errors
/// Why it cannot be read.
pub fn manifest(text: &str) -> Result<usize, String> {
    crate::cli::fuzzing::manifest(text)
}

/// Understands what a person typed: a selector, a workload, a time.
pub fn words(text: &str) -> [Result<(), String>; 3] {
    crate::cli::fuzzing::words(text)
}

/// The report of `status` over a snapshot.
#[must_use]
pub fn report(snapshot: &Snapshot, facts: &Facts, now: Timestamp) -> Report {
    crate::cli::fuzzing::report(snapshot, facts, now)
}
