//! `version`.

use super::exit::Exit;
use super::{print, ui};
use crate::facts::Facts;
use crate::report::document::SCHEMA_VERSION;

/// Print the plugin's version and that of its tables; never touches a cluster
#[derive(clap::Args, Debug)]
pub struct VersionArgs {
    /// Output format
    #[arg(long, short = 'o', value_parser = ["text", "json"], default_value = "text")]
    output: String,
}

/// Runs `version`.
pub fn run(args: &VersionArgs) -> Exit {
    let facts = match Facts::built_in() {
        Ok(facts) => facts,
        Err(message) => {
            ui::message(&format!("error: {message}\n"));
            return Exit::Unable;
        }
    };
    let version = env!("CARGO_PKG_VERSION");
    if args.output == "json" {
        let value = serde_json::json!({
            "name": env!("CARGO_PKG_NAME"), "version": version, "reportSchema": SCHEMA_VERSION,
            "bundleFormat": crate::bundle::FORMAT,
            "facts": {"asOf": facts.as_of.to_string(), "hash": facts.hash},
        });
        return print(&format!("{value:#}\n"));
    }
    print(&format!(
        "kubectl-asm {version}\nsupport table of {}, {} revisions\nreport schema {SCHEMA_VERSION}, bundle format {}\n",
        facts.as_of,
        facts.revisions.len(),
        crate::bundle::FORMAT
    ))
}
