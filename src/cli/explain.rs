//! `explain`.

use super::exit::Exit;
use super::{print, ui};
use crate::checks;
use crate::report::style::wrap;

/// Print the page of a check, or a list of checks
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  kubectl asm explain\n  kubectl asm explain INJ\n  kubectl asm explain INJ03")]
pub struct ExplainArgs {
    /// Code such as INJ03, or area such as INJ
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Runs `explain`.
pub fn run(args: &ExplainArgs) -> Exit {
    let Some(code) = &args.code else { return print(&list(checks::all())) };
    let of_area: Vec<_> = checks::all().filter(|check| check.area.prefix().eq_ignore_ascii_case(code)).collect();
    if !of_area.is_empty() {
        return print(&list(of_area.into_iter()));
    }
    match checks::by_code(code) {
        Some(check) => print(&folded(&page(check), ui::stdout_style(true).width)),
        None => {
            let code = crate::model::quoted::printable(code);
            ui::message(&format!("error: there is no check {code}\nhint:  all codes:\n       kubectl asm explain\n"));
            Exit::Unable
        }
    }
}

fn list(checks: impl Iterator<Item = &'static crate::engine::Check>) -> String {
    let mut text = String::from("CODE    UP TO      WHAT SHOULD BE TRUE\n");
    for check in checks {
        let severity = format!("{:?}", check.severity).to_lowercase();
        text.push_str(&format!("{:<7} {severity:<10} {}\n", check.code, check.title));
    }
    text
}

/// On a terminal, lines are not longer than people read.
fn folded(page: &str, width: Option<usize>) -> String {
    let Some(width) = width else { return page.to_owned() };
    let mut text = String::new();
    for line in page.lines() {
        // What is indented is laid out already.
        match line.starts_with(' ') {
            true => text.push_str(line),
            false => text.push_str(wrap(line, 0, Some(width)).trim_end()),
        }
        text.push('\n');
    }
    text
}

/// A check's page in Markdown.
pub fn page(check: &crate::engine::Check) -> String {
    let severity = format!("{:?}", check.severity).to_lowercase();
    format!(
        "# {}: {}\n\n{} · {severity} · {}\n\n{}\n",
        check.code,
        check.title,
        check.area.title(),
        check.name,
        check.docs
    )
}
