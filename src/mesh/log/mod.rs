//! Logs of istiod and of proxies: known messages, access logs, and what is kept of an endless stream of lines.

pub mod access;
pub mod choose;
mod istiod;
pub mod known;
pub mod kql;
pub mod line;
pub mod merge;
mod proxy;
pub mod secrets;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use jiff::Timestamp;

use crate::engine::Severity;
use crate::model::log::{ContainerLog, LogGroup, LogPart, LogReadiness};
pub use known::{Known, Until, known};
use line::{Level, Line};

/// Of a longer line only the beginning is looked at and shown; the container runtime cuts at 16 KiB already.
pub const LINE_CAP: usize = 64 << 10;
/// Lines that a PEM block has at most; chains of certificates are several blocks.
const BLOCK: u32 = 200;
/// How much of an example is kept.
const EXAMPLE: usize = 600;
/// How many different things a group names.
const ABOUT: usize = 5;
/// How long one of them may be.
const ABOUT_LENGTH: usize = 200;

/// How much of the end of a log is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Lines.
    pub lines: usize,
    /// Bytes of all lines.
    pub bytes: usize,
}

/// Takes a log in, line by line, in bounded room.
#[derive(Debug, Default)]
pub struct Digest {
    log: ContainerLog,
    keep: Keep,
    tail: VecDeque<String>,
    tail_bytes: usize,
    /// Lines of a PEM block that may still come; they are not kept.
    of_a_block: u32,
    /// Whether there was a line that only Istio or Envoy writes.
    is_istios: bool,
}

impl Digest {
    /// Begins a log of which everything but the lines is known.
    #[must_use]
    pub fn new(log: ContainerLog, keep: Keep) -> Self {
        Self { log, keep, tail: VecDeque::new(), tail_bytes: 0, of_a_block: 0, is_istios: false }
    }

    /// Takes in a line, and says how bad it is if it is known.
    pub fn line(&mut self, line: &Line<'_>) -> Option<Severity> {
        self.log.lines += 1;
        if let Some(time) = line.time {
            self.log.first = Some(self.log.first.map_or(time, |first| first.min(time)));
            self.log.last = Some(self.log.last.map_or(time, |last| last.max(time)));
        }
        self.remember(line);
        self.readiness(line);
        self.success(line);
        let (known, about) = self.recognize(line.text)?;
        self.count(known, about, line);
        Some(known.severity)
    }

    /// Notes that a line was too long.
    pub fn was_cut(&mut self) {
        self.log.cut += 1;
    }

    /// Notes that older lines were left out.
    pub fn older_left_out(&mut self) {
        self.log.older_left_out = true;
    }

    /// How many lines came so far.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.log.lines
    }

    /// What is known of the log.
    #[must_use]
    pub fn finish(mut self) -> ContainerLog {
        let severity = |group: &LogGroup| known(&group.id).map_or(Severity::Info, |known| known.severity);
        self.log.groups.sort_by(|a, b| {
            severity(b)
                .cmp(&severity(a))
                .then(b.count.cmp(&a.count))
                .then_with(|| known::rank(&a.id).cmp(&known::rank(&b.id)))
        });
        for group in &mut self.log.groups {
            group.example = cut(&secrets::without(&group.example), EXAMPLE);
        }
        self.log.tail = self.tail.into();
        self.log
    }

    fn remember(&mut self, line: &Line<'_>) {
        if self.keep.lines == 0 {
            return;
        }
        // A key or certificate is written on many lines. One that has no end, because it was cut off, ends where the log
        // goes on.
        if self.of_a_block > 0 && !line::begins_anew(line.text) {
            self.of_a_block = if line.text.contains(secrets::BLOCK_END) { 0 } else { self.of_a_block - 1 };
            return;
        }
        self.of_a_block = 0;
        if secrets::opens_block(line.text) {
            self.of_a_block = BLOCK;
        }
        let text = secrets::without(line.text);
        let kept = match line.time {
            Some(time) => format!("{time} {text}"),
            None => text.into_owned(),
        };
        self.tail_bytes += kept.len();
        self.tail.push_back(kept);
        while self.tail.len() > self.keep.lines || self.tail_bytes > self.keep.bytes {
            let Some(gone) = self.tail.pop_front() else { break };
            self.tail_bytes -= gone.len();
        }
    }

    fn readiness(&mut self, line: &Line<'_>) {
        if matches!(self.log.part, LogPart::Istiod | LogPart::Other) {
            return;
        }
        let (ready, reason) = match line.text.find(proxy::NOT_READY) {
            // While a pod is being ended this says nothing about how it was.
            Some(_) if proxy::ENDING.iter().any(|words| line.text.contains(words)) => return,
            Some(at) => (false, &line.text[at + proxy::NOT_READY.len()..]),
            None if line.text.contains(proxy::READY) => (true, ""),
            None => return,
        };
        let before = self.log.readiness.take().filter(|before| before.ready == ready);
        let since = before.and_then(|before| before.since).or(line.time);
        let reason = cut(&secrets::without(reason.split('\t').next().unwrap_or(reason)), EXAMPLE);
        self.log.readiness = Some(LogReadiness { ready, reason, at: line.time, since });
    }

    fn success(&mut self, line: &Line<'_>) {
        if matches!(self.log.part, LogPart::Istiod | LogPart::Other) {
            return;
        }
        let recovered = &mut self.log.recovered;
        let last = match proxy::success(line.text) {
            Some(Until::Connected) => &mut recovered.connected,
            Some(Until::Certified) => &mut recovered.certified,
            Some(Until::Rooted) => &mut recovered.rooted,
            None => return,
        };
        *last = line.time.max(*last);
    }

    /// Which message a line is.
    fn recognize(&mut self, text: &str) -> Option<(&'static Known, String)> {
        if self.log.part == LogPart::Other {
            return None;
        }
        if !matches!(self.log.part, LogPart::Istiod | LogPart::Init)
            && let Some(access) = access::parse(text)
        {
            self.is_istios = true;
            self.log.requests += 1;
            let found = access::classify(&access, self.log.part)?;
            self.log.failed_requests += u64::from(found.0.severity >= Severity::Warning);
            return Some(found);
        }
        let level = line::level(text);
        self.is_istios = self.is_istios || self.log.part != LogPart::Any || line::is_istios(text);
        let fits = |known: &&&Known| {
            is_for(known.part, self.log.part)
                && (known.quiet || level != Level::Low)
                && (self.is_istios || !known.generic)
                && known.fits(text)
        };
        let tables = [istiod::MESSAGES, proxy::MESSAGES];
        let found = tables.iter().flat_map(|table| table.iter()).find(|known| fits(&known))?;
        self.is_istios = true;
        Some((found, found.about(text).unwrap_or_default().to_owned()))
    }

    fn count(&mut self, known: &'static Known, about: String, line: &Line<'_>) {
        let groups = &mut self.log.groups;
        let at = groups.iter().position(|group| group.id == known.id).unwrap_or_else(|| {
            groups.push(LogGroup { id: known.id.to_owned(), first: line.time, ..LogGroup::default() });
            groups.len() - 1
        });
        let group = &mut groups[at];
        group.count += 1;
        group.first = group.first.or(line.time);
        group.last = line.time.or(group.last);
        // Secrets are taken out at the end, once: the same message can come a million times.
        line.text.clone_into(&mut group.example);
        if about.is_empty() || group.more_about {
            return;
        }
        let about = cut(&secrets::without(&about), ABOUT_LENGTH);
        if !group.about.contains(&about) {
            if group.about.len() < ABOUT {
                group.about.push(about);
            } else {
                group.more_about = true;
            }
        }
    }
}

/// Whether a message can stand in a log.
fn is_for(message: LogPart, log: LogPart) -> bool {
    match log {
        LogPart::Any => true,
        LogPart::Gateway => message == LogPart::Proxy,
        log => message == log,
    }
}

/// A text on one line, not longer than `cap` bytes.
#[must_use]
pub fn cut(text: &str, cap: usize) -> String {
    let shown = line::shown(text);
    if shown.len() <= cap {
        return shown.into_owned();
    }
    let end = (0..=cap).rev().find(|end| shown.is_char_boundary(*end)).unwrap_or(0);
    format!("{}…", &shown[..end])
}

/// Cuts lines out of bytes that arrive in pieces. A line that is too long loses its end, not the stream.
#[derive(Debug, Default)]
pub struct Splitter {
    open: Vec<u8>,
    is_cut: bool,
}

impl Splitter {
    /// Takes bytes; `line` gets each complete line without its end, and whether something of it is missing.
    pub fn push(&mut self, mut bytes: &[u8], mut line: impl FnMut(&str, bool)) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            self.take(&bytes[..end]);
            self.give(&mut line);
            bytes = &bytes[end + 1..];
        }
        self.take(bytes);
    }

    /// Gives what stands after the last line end.
    pub fn finish(&mut self, mut line: impl FnMut(&str, bool)) {
        if !self.open.is_empty() {
            self.give(&mut line);
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        let room = LINE_CAP - self.open.len().min(LINE_CAP);
        self.is_cut |= bytes.len() > room;
        self.open.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    fn give(&mut self, line: &mut impl FnMut(&str, bool)) {
        line(&String::from_utf8_lossy(&self.open), self.is_cut);
        self.open.clear();
        self.is_cut = false;
    }
}

/// How bad a message is in its log: that Envoy is not ready is a fault only where it stays so, what kept it from
/// becoming ready is over once it is, what failed is over once it succeeds, and of requests the share counts.
#[must_use]
pub fn weight(known: &Known, group: &LogGroup, log: &ContainerLog) -> Severity {
    if known.id.starts_with(access::ACCESS_ID) {
        return access::weight(known, group.count, log.requests);
    }
    if !known.id.starts_with(proxy::NOT_READY_ID) {
        return if is_over(known, group, log) { Severity::Info } else { known.severity };
    }
    match not_ready(log) {
        Some(last) if group.example.contains(last.reason.as_str()) => Severity::Error,
        _ => Severity::Info,
    }
}

/// Whether what a message says is over: Envoy became ready, or what failed has succeeded since, such as the connection to
/// an istiod that was started anew.
#[must_use]
pub fn is_over(known: &Known, group: &LogGroup, log: &ContainerLog) -> bool {
    let ready = log.readiness.as_ref().filter(|said| said.ready).and_then(|said| said.since);
    let success = known.until.and_then(|until| match until {
        Until::Connected => log.recovered.connected,
        Until::Certified => log.recovered.certified,
        Until::Rooted => log.recovered.rooted,
    });
    known.until_ready && ready.is_some() && group.last < ready || group.last.is_some() && group.last <= success
}

/// Whether a proxy was not ready at the end of its log, and for how long it had not been by then. The first seconds of a
/// pod are not counted.
#[must_use]
pub fn not_ready(log: &ContainerLog) -> Option<&LogReadiness> {
    const STARTING: i64 = 30;
    let readiness = log.readiness.as_ref().filter(|readiness| !readiness.ready)?;
    let end: Option<Timestamp> = log.last.or(readiness.at);
    match (readiness.since, end) {
        (Some(since), Some(end)) => (end.duration_since(since).as_secs() >= STARTING).then_some(readiness),
        // Without times the words are all there is.
        _ => Some(readiness),
    }
}
