//! Lines on stdout.

use std::collections::BTreeSet;
use std::io::{BufWriter, Write};

use jiff::Timestamp;

use super::LogsArgs;
use super::pods::Target;
use crate::cli::ui;
use crate::engine::Severity;
use crate::mesh::log::line::shown;
use crate::report::Style;

/// Prints the lines of several logs.
pub(super) struct Printer {
    out: BufWriter<std::io::Stdout>,
    prefixes: Vec<String>,
    style: Style,
    raw: bool,
    timestamps: bool,
    /// The reader of the output is gone.
    broken: bool,
}

impl Printer {
    pub(super) fn new(targets: &[Target], args: &LogsArgs) -> Self {
        let style = ui::stdout_style(args.report.no_color);
        let names: Vec<String> = targets.iter().map(name).collect();
        let names = short(&names);
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let several = targets.len() > 1;
        let prefix = |(index, name): (usize, &String)| match several {
            true => style.hue(&format!("{name:<width$}"), index) + "  ",
            false => String::new(),
        };
        Self {
            out: BufWriter::with_capacity(64 << 10, std::io::stdout()),
            prefixes: names.iter().enumerate().map(prefix).collect(),
            style,
            raw: args.raw,
            timestamps: args.timestamps,
            broken: false,
        }
    }

    /// Prints a line; false once nobody reads any more.
    pub(super) fn line(&mut self, index: usize, time: Option<Timestamp>, text: &str, known: Option<Severity>) -> bool {
        let mark = match (self.raw, known) {
            (true, _) => String::new(),
            (false, Some(severity)) => self.style.symbol(severity) + " ",
            (false, None) => "  ".to_owned(),
        };
        let prefix = self.prefixes.get(index).map_or("", String::as_str);
        let time = time.filter(|_| self.timestamps).map_or_else(String::new, |time| format!("{time} "));
        self.broken |= writeln!(self.out, "{mark}{prefix}{time}{}", shown(text)).is_err();
        !self.broken
    }

    /// Gives what is buffered to the reader.
    pub(super) fn flush(&mut self) -> bool {
        self.broken |= self.out.flush().is_err();
        !self.broken
    }
}

/// `POD`, `POD/CONTAINER` for what is not the main container, and whether it is the log of before.
fn name(target: &Target) -> String {
    let log = &target.log;
    let mut name = log.metadata.name.clone();
    if !matches!(log.container.as_str(), "discovery" | "istio-proxy") {
        name.push_str(&format!("/{}", log.container));
    }
    if log.previous.is_some() {
        name.push_str("/previous");
    }
    name
}

/// Names without what all of them begin with, cut where a word of a name ends.
fn short(names: &[String]) -> Vec<String> {
    let different: BTreeSet<&String> = names.iter().collect();
    let (Some(first), Some(last)) = (different.first(), different.last()) else { return Vec::new() };
    let pods: BTreeSet<&str> = names.iter().map(|name| name.split('/').next().unwrap_or(name)).collect();
    if pods.len() < 2 {
        return names.to_vec();
    }
    // Sorted, the first and the last differ earliest.
    let common = first.bytes().zip(last.bytes()).take_while(|(a, b)| a == b).count();
    let cut = first.get(..common).and_then(|start| start.rfind('-')).map_or(0, |at| at + 1);
    names.iter().map(|name| name.get(cut..).unwrap_or(name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_they_share() {
        let of = |names: &[&str]| short(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(of(&["istiod-asm-1-28-6f9-abcde", "istiod-asm-1-28-6f9-fghij"]), ["abcde", "fghij"]);
        assert_eq!(of(&["istiod-asm-1-28-6f9-ab", "istiod-asm-1-30-5c4-cd"]), ["28-6f9-ab", "30-5c4-cd"]);
        assert_eq!(of(&["web-1", "cart-2"]), ["web-1", "cart-2"]);
        assert_eq!(of(&["web-1/previous", "web-1"]), ["web-1/previous", "web-1"], "one pod keeps its name");
        assert_eq!(of(&[]), [""; 0]);
    }
}
