//! `explain`.

use super::exit::Exit;
use super::{print, ui};
use crate::checks;

/// Print the page of a check, or the list of all checks
#[derive(clap::Args, Debug)]
#[command(after_help = "Examples:\n  kubectl asm explain\n  kubectl asm explain INJ03")]
pub struct ExplainArgs {
    /// Code such as INJ03
    #[arg(value_name = "CODE")]
    code: Option<String>,
}

/// Runs `explain`.
pub fn run(args: &ExplainArgs) -> Exit {
    let Some(code) = &args.code else {
        let mut text = String::from("CODE    SEVERITY   WHAT SHOULD BE TRUE\n");
        for check in checks::all() {
            let severity = format!("{:?}", check.severity).to_lowercase();
            text.push_str(&format!("{:<7} {severity:<10} {}\n", check.code, check.title));
        }
        return print(&text);
    };
    match checks::by_code(code) {
        Some(check) => print(&page(check)),
        None => {
            let code = crate::model::quoted::printable(code);
            ui::message(&format!("error: there is no check {code}\nhint:  all codes:\n       kubectl asm explain\n"));
            Exit::Unable
        }
    }
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
