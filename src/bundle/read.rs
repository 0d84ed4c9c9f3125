//! Reading a bundle. Nothing in it is trusted: not its sizes, not its names, not its order.
//!
//! Nothing is unpacked to disk: names are only compared with the few that are known, and lines go from the archive
//! straight to the decoders.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Component, Path};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::{BundleError, FORMAT, LINE_CAP, MANIFEST, Manifest, SectionRecord};
use crate::model::envoy::ProxyAnswers;
use crate::model::quoted::printable;
use crate::snapshot::{
    Fault, FaultKind, Origin, OriginKind, Scope, Section, Snapshot, SourceId, StateKind, Undecodable,
};
use crate::sources::collect::End;
use crate::sources::{Collector, SOURCES, Source};

/// The bundle inside the binary.
pub(super) static DEMO: &[u8] = include_bytes!("demo.tar.gz");

/// What a bundle may cost. Ten times the largest cluster that was measured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Unpacked bytes of the whole archive.
    pub(super) total: u64,
    pub(super) manifest: u64,
    pub(super) line: usize,
    pub(super) entries: usize,
    /// Objects: even the smallest one costs memory once it is decoded.
    pub(super) lines: usize,
    /// What one line and all lines may weigh once decoded, by estimate: small text must not become large memory.
    pub(super) line_weight: usize,
    pub(super) weight: usize,
    /// Bytes after the end of the archive; tar pads with a few blocks.
    pub(super) tail: u64,
}

pub(super) const LIMITS: Limits = Limits {
    total: 2 << 30,
    manifest: 16 << 20,
    line: LINE_CAP,
    entries: 200,
    lines: 1_000_000,
    line_weight: 64 << 20,
    weight: 4 << 30,
    tail: 1 << 20,
};

/// Reads a bundle from a file or a directory.
///
/// # Errors
/// When there is no bundle there that can be read.
pub fn read_path(path: &Path) -> Result<Snapshot, BundleError> {
    let open = |source| BundleError::Open { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(open)?.is_dir() {
        return read_directory(path, LIMITS);
    }
    read_archive(BufReader::new(File::open(path).map_err(open)?), OriginKind::Bundle, LIMITS)
}

/// Reads the bundle inside the binary.
///
/// # Errors
/// When the binary is damaged.
pub fn read_demo() -> Result<Snapshot, BundleError> {
    read_archive(DEMO, OriginKind::Demo, LIMITS)
}

pub(super) fn read_archive(
    mut input: impl BufRead,
    origin: OriginKind,
    limits: Limits,
) -> Result<Snapshot, BundleError> {
    let start = input.fill_buf().map_err(BundleError::Read)?;
    if start.is_empty() {
        return Err(BundleError::NotBundle("it is empty".to_owned()));
    }
    if !start.starts_with(&[0x1f]) {
        return Err(BundleError::NotBundle("it is not a gzip file".to_owned()));
    }
    let ended = Rc::new(Cell::new(Ended::No));
    let metered = Metered { inner: MultiGzDecoder::new(input), left: limits.total, ended: Rc::clone(&ended) };
    let mut loader = Loader::new(limits);
    let mut archive = tar::Archive::new(metered);
    match walk(&mut archive, &mut loader) {
        // What stopped the bytes explains an error better than what the archive reader made of it.
        Err(error) => return Err(ended.get().explain(&limits).unwrap_or(error)),
        Ok(()) => drain(archive.into_inner(), limits).map_err(|e| ended.get().explain(&limits).unwrap_or(e))?,
    }
    loader.finish(origin)
}

fn walk<R: Read>(archive: &mut tar::Archive<R>, loader: &mut Loader) -> Result<(), BundleError> {
    // Raw: no long names, no sparse files, no extended headers, all of which would be read into memory unmeasured.
    for entry in archive.entries().map_err(damaged)?.raw(true) {
        let entry = entry.map_err(damaged)?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let kind = entry.header().entry_type();
        loader.count()?;
        match kind {
            tar::EntryType::Regular | tar::EntryType::Continuous => {}
            // Other archivers add these when they repack a bundle; they hold nothing of ours.
            tar::EntryType::Directory | tar::EntryType::XHeader | tar::EntryType::XGlobalHeader => {
                if kind == tar::EntryType::Directory {
                    known_place(&name)?;
                }
                continue;
            }
            tar::EntryType::Symlink | tar::EntryType::Link => return Err(refuse(&name, "a link")),
            _ => return Err(refuse(&name, "not a regular file")),
        }
        let declared = entry.header().entry_size().map_err(damaged)?;
        let mut entry = Exact { inner: entry, left: declared };
        loader.entry(&name, &mut BufReader::with_capacity(64 << 10, &mut entry))?;
    }
    Ok(())
}

/// Reads what follows the archive, so that a damaged or cut end does not go unnoticed.
fn drain(mut rest: impl Read, limits: Limits) -> Result<(), BundleError> {
    let mut buffer = [0; 8 << 10];
    let mut seen = 0_u64;
    loop {
        match rest.read(&mut buffer).map_err(damaged)? {
            0 => return Ok(()),
            count => seen += count as u64,
        }
        if seen > limits.tail {
            return Err(BundleError::Damaged("data follows the end of the archive".to_owned()));
        }
    }
}

fn read_directory(path: &Path, limits: Limits) -> Result<Snapshot, BundleError> {
    let mut loader = Loader::new(limits);
    let mut left = limits.total;
    if std::fs::symlink_metadata(path.join("sources")).is_ok_and(|sources| sources.file_type().is_symlink()) {
        return Err(refuse("sources", "a link"));
    }
    // Only known names are opened: whatever else lies there is none of ours, and a link could lead anywhere.
    let names = std::iter::once(MANIFEST.to_owned()).chain(SOURCES.iter().map(Source::file));
    for name in names {
        let file = path.join(&name);
        let metadata = match std::fs::symlink_metadata(&file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(BundleError::Open { path: file, source }),
        };
        if metadata.file_type().is_symlink() {
            return Err(refuse(&name, "a link"));
        }
        if !metadata.is_file() {
            return Err(refuse(&name, "not a regular file"));
        }
        let opened = File::open(&file).map_err(|source| BundleError::Open { path: file, source })?;
        let ended = Rc::new(Cell::new(Ended::No));
        let mut metered = Metered { inner: opened, left, ended: Rc::clone(&ended) };
        let result = loader.entry(&name, &mut BufReader::new(&mut metered));
        left = metered.left;
        result.map_err(|error| ended.get().explain_file(&limits).unwrap_or(error))?;
    }
    loader.finish(OriginKind::Bundle)
}

/// Why no more bytes came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    No,
    Over,
    Early,
    Corrupt,
    Failed(io::ErrorKind),
}

impl Ended {
    fn explain(self, limits: &Limits) -> Option<BundleError> {
        match self {
            Self::No => None,
            Self::Over => Some(BundleError::TooLarge(format!("it unpacks to more than {}", size(limits.total)))),
            Self::Early => Some(BundleError::Truncated),
            Self::Corrupt => Some(BundleError::Damaged("it does not unpack".to_owned())),
            Self::Failed(kind) => Some(BundleError::Read(kind.into())),
        }
    }

    /// A plain file that ends is only a file that ends.
    fn explain_file(self, limits: &Limits) -> Option<BundleError> {
        if self == Self::Early { None } else { self.explain(limits) }
    }
}

fn size(bytes: u64) -> String {
    match bytes {
        b if b >= 1 << 30 => format!("{} GiB", b >> 30),
        b if b >= 1 << 20 => format!("{} MiB", b >> 20),
        b => format!("{b} bytes"),
    }
}

/// Lets so many bytes through and no more, and remembers how the bytes ended.
struct Metered<R> {
    inner: R,
    left: u64,
    ended: Rc<Cell<Ended>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        let result = self.inner.read(buffer);
        match &result {
            Ok(0) => self.ended.set(Ended::Early),
            Ok(count) => match self.left.checked_sub(*count as u64) {
                Some(left) => self.left = left,
                None => {
                    self.ended.set(Ended::Over);
                    return Err(io::Error::from(io::ErrorKind::FileTooLarge));
                }
            },
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::UnexpectedEof => self.ended.set(Ended::Early),
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => self.ended.set(Ended::Corrupt),
                kind => self.ended.set(Ended::Failed(kind)),
            },
        }
        result
    }
}

/// An entry that ends before its header said is an error, where the archive reader would just stop.
struct Exact<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.saturating_sub(count as u64);
        if count == 0 && self.left > 0 && !buffer.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(count)
    }
}

fn damaged(error: io::Error) -> BundleError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => BundleError::Truncated,
        _ => BundleError::Damaged("the archive's structure is broken".to_owned()),
    }
}

fn refuse(name: &str, problem: &'static str) -> BundleError {
    let short: String = printable(name).chars().take(100).collect();
    BundleError::Entry { entry: format!("\"{short}\""), problem }
}

/// The name without `./`, if it stays inside the bundle.
fn known_place(name: &str) -> Result<String, BundleError> {
    if name.contains('\0') || name.contains('\\') {
        return Err(refuse(name, "not a plain file name"));
    }
    let mut parts = Vec::new();
    for component in Path::new(name).components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_string_lossy()),
            Component::ParentDir => return Err(refuse(name, "outside the bundle")),
            Component::RootDir | Component::Prefix(_) => return Err(refuse(name, "an absolute path")),
        }
    }
    Ok(parts.join("/"))
}

/// What was read of one source.
struct Part {
    collector: Box<dyn Collector>,
    lines: usize,
}

/// Gathers entries in whatever order they come.
struct Loader {
    limits: Limits,
    entries: usize,
    lines: usize,
    weight: usize,
    seen: BTreeSet<String>,
    manifest: Option<Manifest>,
    parts: BTreeMap<SourceId, Part>,
}

impl Loader {
    fn new(limits: Limits) -> Self {
        Self { limits, entries: 0, lines: 0, weight: 0, seen: BTreeSet::new(), manifest: None, parts: BTreeMap::new() }
    }

    fn count(&mut self) -> Result<(), BundleError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(BundleError::TooLarge(format!("it has more than {} entries", self.limits.entries)));
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, data: &mut impl BufRead) -> Result<(), BundleError> {
        let place = known_place(name)?;
        if !self.seen.insert(place.clone()) {
            return Err(refuse(name, "there twice"));
        }
        if place == MANIFEST {
            self.manifest = Some(manifest(data, &self.limits)?);
        } else if let Some(source) = SOURCES.iter().find(|source| source.file() == place) {
            let part = self.objects(source, data)?;
            self.parts.insert(source.id, part);
        }
        // Anything else was added by a newer tool or by hand; it is skipped unread.
        Ok(())
    }

    fn objects(&mut self, source: &Source, data: &mut impl BufRead) -> Result<Part, BundleError> {
        let mut part = Part { collector: (source.collector)(), lines: 0 };
        let mut line = Vec::new();
        while read_line(data, &mut line, self.limits.line, source)? {
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            let weight = weight(text);
            self.weight = self.weight.saturating_add(weight);
            self.lines += 1;
            part.lines += 1;
            let limits = &self.limits;
            if weight > limits.line_weight || self.weight > limits.weight || self.lines > limits.lines {
                return Err(BundleError::TooLarge(format!("{} has more objects than any cluster", source.file())));
            }
            part.collector.item(text);
        }
        Ok(part)
    }

    fn finish(mut self, origin: OriginKind) -> Result<Snapshot, BundleError> {
        let Some(manifest) = self.manifest.take() else {
            return Err(BundleError::NotBundle(format!("it has no {MANIFEST}")));
        };
        let clean = |text: Option<String>| text.map(|text| printable(&text));
        let mut snapshot = Snapshot {
            origin: Origin {
                kind: origin,
                context: clean(manifest.origin.context),
                server: clean(manifest.origin.server),
                server_version: clean(manifest.origin.server_version),
                captured_at: manifest.origin.captured_at,
            },
            scope: Scope {
                namespaces: manifest.scope.namespaces.map(|list| list.iter().map(|name| printable(name)).collect()),
            },
            interrupted: manifest.interrupted,
            ..Snapshot::default()
        };
        for source in SOURCES {
            if let Some(section) = manifest.sections.get(&source.id.name()) {
                let part = self.parts.remove(&source.id);
                let (part, end) = end(source, section, part);
                part.unwrap_or_else(|| (source.collector)()).finish(&mut snapshot, end);
            }
        }
        if let Section::Collected(section) = &mut snapshot.proxy_answers {
            section.items = ProxyAnswers::joined(std::mem::take(&mut section.items));
        }
        Ok(snapshot)
    }
}

/// How a source ended, from what the manifest promises and what was found.
fn end(source: &Source, section: &SectionRecord, part: Option<Part>) -> (Option<Box<dyn Collector>>, End) {
    let mut end = End {
        kind: StateKind::Collected,
        faults: section.faults.iter().map(fault).collect(),
        undecodable: section.undecodable.iter().map(undecodable).collect(),
        fallback: section.fallback.as_ref().map(fault),
    };
    let (found, collector) = match part {
        Some(part) => (Some(part.lines), Some(part.collector)),
        None => (None, None),
    };
    end.kind = match section.state.as_str() {
        "collected" => match found {
            None if section.items > 0 => {
                end.faults.push(short(source, 0, section.items));
                StateKind::Failed
            }
            found => {
                let found = found.unwrap_or(0);
                if found < section.items {
                    end.faults.push(short(source, found, section.items));
                }
                StateKind::Collected
            }
        },
        "notServed" => StateKind::NotServed,
        "notRequested" => StateKind::NotRequested,
        "failed" => StateKind::Failed,
        _ => {
            end.faults.push(Fault::new(
                FaultKind::Malformed,
                format!("the bundle's manifest says something unknown about {}", source.resource),
            ));
            StateKind::Failed
        }
    };
    if end.kind == StateKind::Failed && end.faults.is_empty() {
        end.faults.push(Fault::new(FaultKind::Malformed, format!("{} could not be read", source.resource)));
    }
    (collector, end)
}

fn short(source: &Source, found: usize, promised: usize) -> Fault {
    Fault::new(FaultKind::Truncated, format!("the bundle holds {found} of {promised} objects of {}", source.file()))
        .hint("copy the bundle again, or capture it again")
}

/// A fault as the manifest has it, safe to print. One of a kind that is not known here stays a fault.
fn fault(value: &serde_json::Value) -> Fault {
    let mut fault: Fault = serde_json::from_value(value.clone()).unwrap_or_else(|_| {
        let message = value.get("message").and_then(serde_json::Value::as_str).unwrap_or("it could not be read");
        Fault::new(FaultKind::Malformed, message)
    });
    fault.message = printable(&fault.message);
    fault.hints.iter_mut().for_each(|hint| *hint = printable(hint));
    if let Some(need) = &mut fault.need {
        need.verb = printable(&need.verb);
        need.resource = printable(&need.resource);
        need.namespace = need.namespace.as_deref().map(printable);
    }
    fault
}

fn undecodable(value: &serde_json::Value) -> Undecodable {
    let text = |key: &str| value.get(key).and_then(serde_json::Value::as_str).map(printable).unwrap_or_default();
    Undecodable { object: text("object"), message: text("message") }
}

fn manifest(data: &mut impl BufRead, limits: &Limits) -> Result<Manifest, BundleError> {
    let mut bytes = Vec::new();
    data.take(limits.manifest + 1).read_to_end(&mut bytes).map_err(damaged)?;
    if bytes.len() as u64 > limits.manifest {
        return Err(BundleError::TooLarge(format!("{MANIFEST} is larger than {}", size(limits.manifest))));
    }
    // The version first: a newer manifest may look different in every other respect.
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|_| BundleError::NotBundle(format!("{MANIFEST} is not JSON")))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(FORMAT) => {}
        Some(format) if format > FORMAT => {
            let version = value.pointer("/tool/version").and_then(serde_json::Value::as_str).map(printable);
            return Err(BundleError::Newer { format, written_by: version });
        }
        _ => return Err(BundleError::NotBundle(format!("{MANIFEST} names no format"))),
    }
    serde_json::from_value(value)
        .map_err(|_| BundleError::NotBundle(format!("{MANIFEST} does not have the shape of format {FORMAT}")))
}

/// Roughly the memory that a line can take once it is decoded: the largest struct in a list per brace, a text per comma.
fn weight(line: &[u8]) -> usize {
    let (mut objects, mut values) = (0, 0);
    // So few that a byte can count them: then the compiler looks at many of them at once.
    for part in line.chunks(192) {
        objects += usize::from(part.iter().map(|byte| u8::from(*byte == b'{')).sum::<u8>());
        values += usize::from(part.iter().map(|byte| u8::from(matches!(byte, b'[' | b','))).sum::<u8>());
    }
    line.len() + 159 * objects + 31 * values
}

/// Reads one line without its end; false after the last one.
fn read_line(data: &mut impl BufRead, line: &mut Vec<u8>, cap: usize, source: &Source) -> Result<bool, BundleError> {
    line.clear();
    let count = data.take(cap as u64 + 1).read_until(b'\n', line).map_err(damaged)?;
    if line.pop_if(|byte| *byte == b'\n').is_none() && count > cap {
        return Err(BundleError::TooLarge(format!("a line of {} is longer than {}", source.file(), size(cap as u64))));
    }
    Ok(count > 0)
}
