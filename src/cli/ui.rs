//! The three streams: data on stdout, everything else on stderr.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use crate::gather::Progress;
use crate::report::style::Style;

/// How to print on stdout.
#[must_use]
pub fn stdout_style(no_color: bool) -> Style {
    style(std::io::stdout().is_terminal(), no_color)
}

/// How to print on stderr.
#[must_use]
pub fn stderr_style(no_color: bool) -> Style {
    style(std::io::stderr().is_terminal(), no_color)
}

fn style(terminal: bool, no_color: bool) -> Style {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
    Style {
        color: terminal && !no_color && !set("NO_COLOR") && !dumb,
        unicode: unicode() && !dumb,
        width: terminal.then(|| terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0))),
    }
}

/// Whether the locale can show symbols; nothing set means a bare container, where UTF-8 is the norm.
fn unicode() -> bool {
    ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .is_none_or(|locale| {
            let locale = locale.to_ascii_lowercase();
            locale.contains("utf-8") || locale.contains("utf8")
        })
}

/// Writes data; a reader that went away is no error.
///
/// # Errors
/// When stdout cannot be written for another reason.
pub fn data(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Writes a message; there is nobody left to tell when that fails.
pub fn message(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}

/// A line on the terminal for runs that take longer than a second.
pub struct ProgressLine {
    start: Instant,
    terminal: bool,
    shown: bool,
}

impl ProgressLine {
    /// Starts the clock.
    #[must_use]
    pub fn new() -> Self {
        Self { start: Instant::now(), terminal: std::io::stderr().is_terminal(), shown: false }
    }

    /// Shows how far a gather is.
    pub fn update(&mut self, progress: Progress) {
        if self.terminal && self.start.elapsed() > Duration::from_secs(1) {
            self.shown = true;
            message(&format!("\r\x1b[Kreading: {} of {}, {} objects", progress.done, progress.total, progress.objects));
        }
    }

    /// Shows what is being done, where that has no parts to count.
    pub fn say(&mut self, text: &str) {
        if self.terminal && self.start.elapsed() > Duration::from_secs(1) {
            self.shown = true;
            message(&format!("\r\x1b[K{text}"));
        }
    }

    /// Removes the line.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.shown) {
            message("\r\x1b[K");
        }
    }
}

impl Default for ProgressLine {
    fn default() -> Self {
        Self::new()
    }
}
