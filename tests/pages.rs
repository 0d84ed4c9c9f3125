//! What the documentation shows is what the plugin prints, and what it tells to type exists.
//!
//! A block of output in a page stands under a comment that names its bundle:
//!
//! ````text
//! <!-- printed from demo -->
//! ```console
//! $ kubectl asm status -n billing
//! …
//! ```
//! ````
//!
//! `demo` is the bundle inside the plugin, every other name a file of `tests/bundles`, or with an extension a file of
//! `tests/bundles` that the command itself names. `printed from demo, 12 lines` shows
//! only the first ones, `last 12 lines` the others. After a change
//! of what is printed, `PAGES=write cargo test --test pages` writes the blocks anew; look at the difference before it is
//! committed.
#![allow(clippy::unwrap_used, clippy::panic)] // reason: tests fail loudly

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// What a page shows of an output.
#[derive(Clone, Copy)]
enum Part {
    All,
    First(usize),
    Last(usize),
}

impl Part {
    fn parse(words: &str) -> Self {
        let number = |word: &str| word.parse().unwrap_or_else(|_| panic!("{words} is no number of lines"));
        match words.split(' ').collect::<Vec<_>>().as_slice() {
            ["last", count, "lines"] => Self::Last(number(count)),
            [count, "lines"] => Self::First(number(count)),
            _ => panic!("{words} is no part of an output"),
        }
    }
}

/// A fenced block.
struct Block<'p> {
    /// The bundle and how many lines, where it is output.
    printed_from: Option<(&'p str, Part)>,
    /// The word after the fence.
    language: &'p str,
    /// Lines of the page, from the one after the fence to the one before its end.
    lines: std::ops::Range<usize>,
}

fn blocks<'p>(lines: &[&'p str]) -> Vec<Block<'p>> {
    let mut blocks = Vec::new();
    let mut at = 0;
    while at < lines.len() {
        if let Some(language) = lines[at].trim_start().strip_prefix("```") {
            let length = lines[at + 1..].iter().position(|line| line.trim_start() == "```").expect_end(at);
            let before = at.checked_sub(1).map_or("", |before| lines[before]);
            let comment = before.strip_prefix("<!-- printed from ").and_then(|rest| rest.strip_suffix(" -->"));
            let printed_from = comment.map(|words| match words.split_once(", ") {
                Some((bundle, part)) => (bundle, Part::parse(part)),
                None => (words, Part::All),
            });
            blocks.push(Block { printed_from, language, lines: at + 1..at + 1 + length });
            at += length + 1;
        }
        at += 1;
    }
    blocks
}

trait ExpectEnd {
    fn expect_end(self, line: usize) -> usize;
}

impl ExpectEnd for Option<usize> {
    fn expect_end(self, line: usize) -> usize {
        self.unwrap_or_else(|| panic!("the block that begins on line {} does not end", line + 1))
    }
}

/// Words of a command as a shell would see them: quotes are taken off, what follows a comment, a pipe or a redirection is
/// another matter.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut open = false;
    let mut quote = None;
    for c in command.chars() {
        match (c, quote) {
            ('\'' | '"', None) => {
                quote = Some(c);
                open = true;
            }
            (c, Some(q)) if c == q => quote = None,
            ('|' | '>' | ';' | '&', None) => break,
            ('#', None) if word.is_empty() && !open => break,
            // <pod> stands for something; a real redirection is not in any page.
            (' ', None) => {
                if open || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                open = false;
            }
            (c, _) => word.push(if c == '<' { '_' } else { c }),
        }
    }
    if open || !word.is_empty() {
        words.push(word);
    }
    words
}

fn printed(bundle: &str, part: Part, command: &str) -> String {
    let mut words = words(command);
    assert_eq!(words[..2], ["kubectl", "asm"], "{command}");
    words.drain(..2);
    // A bundle that the command names itself is a file beside the others.
    if !words.iter().any(|word| word == "--from" || word == "-f" || word == "--file" || word == "--log") {
        let from = if bundle == "demo" { bundle.to_owned() } else { format!("{bundle}.tar.gz") };
        words.extend(["--from".to_owned(), from]);
    }
    let output = Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(&words)
        .current_dir(root().join("tests/bundles"))
        .env_remove("KUBECONFIG")
        .envs([("HOME", "/nonexistent"), ("LC_ALL", "C.UTF-8"), ("TZ", "UTC")])
        .output()
        .unwrap();
    let code = output.status.code();
    assert!(!matches!(code, None | Some(2)), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<&str> = text.trim_end_matches('\n').lines().collect();
    match part {
        Part::First(count) if count < lines.len() => format!("{}\n…\n", lines[..count].join("\n").trim_end()),
        Part::Last(count) if count < lines.len() => format!("…\n{}\n", lines[lines.len() - count..].join("\n")),
        _ => format!("{}\n", lines.join("\n")),
    }
}

fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> =
        std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.push(root().join("README.md"));
    pages.sort();
    pages
}

fn name(page: &Path) -> String {
    page.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn output_in_the_pages_is_what_is_printed() {
    let write = std::env::var("PAGES").is_ok_and(|value| value == "write");
    let mut old = Vec::new();
    let mut shown = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let mut new = String::new();
        let mut from = 0;
        for block in blocks(&lines) {
            let Some((bundle, part)) = block.printed_from else { continue };
            shown += 1;
            let command = lines[block.lines.start];
            let bare = command.strip_prefix("$ ").unwrap_or_else(|| panic!("{}: {command} is no command", name(&page)));
            let output = printed(bundle, part, bare);
            let current: String =
                lines[block.lines.start + 1..block.lines.end].iter().map(|line| format!("{line}\n")).collect();
            if current != output {
                old.push(format!("{}: {command}\n{output}", name(&page)));
            }
            lines[from..=block.lines.start].iter().for_each(|line| new.push_str(&format!("{line}\n")));
            new.push_str(&output);
            from = block.lines.end;
        }
        lines[from..].iter().for_each(|line| new.push_str(&format!("{line}\n")));
        if write {
            std::fs::write(&page, new).unwrap();
        }
    }
    assert!(shown > 0, "no page shows any output: is the comment still the same?");
    assert!(write || old.is_empty(), "these are old; PAGES=write cargo test --test pages\n\n{}", old.join("\n"));
}

/// What other programs are told to do, by their first words. A new one is looked up in its documentation before it is
/// added here.
const OTHERS: &[(&str, &[&str])] = &[
    (
        "kubectl",
        &[
            "apply",
            "auth",
            "config",
            "cp",
            "create",
            "debug",
            "delete",
            "describe",
            "events",
            "exec",
            "explain",
            "get",
            "label",
            "logs",
            "port-forward",
            "rollout",
            "run",
            "scale",
            "top",
            "version",
            "wait",
            "krew",
            "annotate",
            "patch",
            "api-resources",
        ],
    ),
    (
        "istioctl",
        &["analyze", "proxy-config", "proxy-status", "tag", "uninstall", "version", "ps", "pc", "precheck", "x"],
    ),
    (
        "az",
        &["account", "aks", "extension", "login", "monitor", "upgrade", "version", "feature", "provider", "resource"],
    ),
];

#[test]
fn commands_in_the_pages_exist() {
    let mut ours = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        for block in blocks(&lines) {
            let shell = matches!(block.language, "" | "sh" | "console");
            for line in &lines[block.lines.clone()] {
                // In a block of output only what was typed is a command; a finding's own commands are tested elsewhere.
                let line = match block.language {
                    "console" => line.strip_prefix("$ ").unwrap_or_default(),
                    _ => line.trim_start(),
                };
                let words = words(line);
                let Some(program) = words.first().filter(|_| shell) else { continue };
                let place = format!("{}: {line}", name(&page));
                if *program == "kubectl" && words.get(1).is_some_and(|word| word == "asm") {
                    ours += 1;
                    let arguments = &words[2..];
                    kubectl_asm::cli::takes(arguments).unwrap_or_else(|error| panic!("{place}\n{error}"));
                } else if let Some((_, known)) = OTHERS.iter().find(|(other, _)| other == program) {
                    let verb = words.get(1).unwrap_or_else(|| panic!("{place}: without a verb"));
                    assert!(known.contains(&verb.as_str()), "{place}: is there {program} {verb}?");
                }
            }
        }
    }
    assert!(ours > 5, "commands are not found any more");
}
