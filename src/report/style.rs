//! How text is printed: colour only repeats what symbols say.

use owo_colors::{OwoColorize, Style as Paint};

use crate::engine::Severity;

/// How to print on a stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// Whether escape codes may be used.
    pub color: bool,
    /// Whether symbols beyond ASCII may be used.
    pub unicode: bool,
    /// Width of the terminal; none for a pipe or file, where nothing is cut or wrapped.
    pub width: Option<usize>,
}

impl Style {
    fn paint(self, text: &str, paint: Paint) -> String {
        if self.color && !text.is_empty() { text.style(paint).to_string() } else { text.to_owned() }
    }

    /// What stands where a cell was cut.
    #[must_use]
    pub fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "~" }
    }

    /// The symbol of a severity.
    #[must_use]
    pub fn symbol(self, severity: Severity) -> String {
        let (symbol, paint) = match severity {
            Severity::Error => (if self.unicode { "✗" } else { "x" }, Paint::new().red().bold()),
            Severity::Warning => ("!", Paint::new().yellow().bold()),
            Severity::Info => ("i", Paint::new().cyan()),
        };
        self.paint(symbol, paint)
    }

    /// The branch in front of a consequence.
    #[must_use]
    pub fn branch(self) -> &'static str {
        if self.unicode { "└" } else { "`-" }
    }

    /// Text that may be overlooked; each line on its own, so that a pager or a copied line stays whole.
    #[must_use]
    pub fn dim(self, text: &str) -> String {
        let lines: Vec<String> = text.split('\n').map(|line| self.paint(line, Paint::new().dimmed())).collect();
        lines.join("\n")
    }

    /// A command.
    #[must_use]
    pub fn command(self, text: &str) -> String {
        self.paint(text, Paint::new().bold())
    }

    /// A name among others, so that the eye finds the same one again.
    #[must_use]
    pub fn hue(self, text: &str, index: usize) -> String {
        let paint = Paint::new();
        let paint = match index % 6 {
            0 => paint.cyan(),
            1 => paint.magenta(),
            2 => paint.blue(),
            3 => paint.yellow(),
            4 => paint.green(),
            _ => paint.bright_black(),
        };
        self.paint(text, paint)
    }

    /// Text that says that something is well.
    #[must_use]
    pub fn good(self, text: &str) -> String {
        self.paint(text, Paint::new().green())
    }

    /// Text that says that something is wrong.
    #[must_use]
    pub fn bad(self, text: &str) -> String {
        self.paint(text, Paint::new().red())
    }
}

/// Wraps a sentence, each line indented; without a width it stays one line.
#[must_use]
pub fn wrap(text: &str, indent: usize, width: Option<usize>) -> String {
    wrap_after(&" ".repeat(indent), text, indent, width)
}

/// Wraps a sentence behind something that stands before its first line; further lines are indented.
#[must_use]
pub fn wrap_after(first: &str, text: &str, indent: usize, width: Option<usize>) -> String {
    let Some(width) = width.map(|width| width.clamp(40, 100)) else { return format!("{first}{text}\n") };
    let mut out = first.to_owned();
    let mut used = unicode_width::UnicodeWidthStr::width(first);
    let mut empty = true;
    for word in text.split_whitespace() {
        let length = unicode_width::UnicodeWidthStr::width(word);
        if !empty && used + 1 + length > width {
            out.push('\n');
            out.push_str(&" ".repeat(indent));
            used = indent;
            empty = true;
        }
        if !empty {
            out.push(' ');
            used += 1;
        }
        out.push_str(word);
        used += length;
        empty = false;
    }
    out.push('\n');
    out
}

/// An argument list as a shell reads it. Placeholders such as `<resource-group>` stay bare, to be replaced.
#[must_use]
pub fn shell(command: &[String]) -> String {
    let quote = |word: &String| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+~".contains(c);
        // `<cluster>`, `istio.io/rev=<revision>`: quoted they would look like something to keep.
        let placeholder = word.split_once('<').is_some_and(|(before, rest)| {
            before.chars().all(plain)
                && rest
                    .strip_suffix('>')
                    .is_some_and(|name| !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '-'))
        });
        // Shells expand `~user`, and zsh `=command`, at the start of a word.
        let expands = word.starts_with(['~', '=']);
        if !word.is_empty() && !expands && (placeholder || word.chars().all(plain)) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    };
    command.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_where_a_shell_needs_it() {
        let command: Vec<String> =
            ["kubectl", "label", "ns", "a", "istio.io/rev-", "-g", "<resource-group>", "{\"a\": 1}", "it's", "*"]
                .map(str::to_owned)
                .into();
        assert_eq!(shell(&command), r#"kubectl label ns a istio.io/rev- -g <resource-group> '{"a": 1}' 'it'\''s' '*'"#);
        let words = ["~root", "=ls", "a~b", "", "<>", "<a>;reboot;<b>", "$(reboot)", "a\nb"].map(str::to_owned);
        assert_eq!(shell(&words), "'~root' '=ls' a~b '' '<>' '<a>;reboot;<b>' '$(reboot)' 'a\nb'");
    }

    #[test]
    fn prose_wraps_on_a_terminal_and_not_in_a_pipe() {
        let text = "one two three four five six seven eight nine ten eleven twelve";
        assert_eq!(wrap(text, 4, None).lines().count(), 1);
        assert!(wrap(text, 4, Some(40)).lines().all(|line| line.starts_with("    ") && line.len() <= 40));
    }
}
