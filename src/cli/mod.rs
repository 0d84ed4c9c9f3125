//! The command line: one file per command.

mod args;
mod azure;
mod capture;
mod conflicts;
mod exit;
mod explain;
mod generate;
mod inject_check;
mod live;
mod logs;
mod manifest;
mod metrics;
mod precheck;
mod probe;
mod proxy_config;
mod proxy_diff;
mod proxy_status;
mod rbac;
mod session;
mod status;
mod tools;
mod ui;
mod version;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::model::quoted::printable;
use crate::report::style::shell;
pub use exit::Exit;

/// What is wrong with the Istio add-on of an AKS cluster, why, and what to type.
#[derive(Parser, Debug)]
#[command(
    name = "kubectl-asm",
    version,
    about,
    disable_help_subcommand = true,
    after_help = "Exit codes:\n  0  nothing at or above --fail-on (default: error)\n  1  findings\n  2  wrong usage, or the tool could not do its job\n  3  no finding, but some checks could not be done (--allow-gaps: 0)\n  4  the add-on is not installed here\n  130  interrupted, after printing what is known\n\nSigns:\n  ✗ error   ! warning   i worth knowing   ? not checked   └ follows from what is above it\n\nExamples:\n  kubectl asm status                       the whole cluster\n  kubectl asm status --from demo           the same on a built-in example, without a cluster\n  kubectl asm inject-check -n shop         why workloads have a sidecar, or not\n  kubectl asm proxy-status                 which proxies lack what istiod sent them\n  kubectl asm proxy-config all deploy/cart what one proxy was told, and what is wrong with it\n  kubectl asm logs gateway                 logs by time, and what their messages mean\n  kubectl asm metrics                      what istiods count, and whether anybody collects it\n  kubectl asm azure                        what Azure says about the cluster\n  kubectl asm capture                      a redacted bundle to mail or keep"
)]
struct Cli {
    #[command(flatten)]
    connection: args::ConnectionArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    Status(status::StatusArgs),
    InjectCheck(inject_check::InjectCheckArgs),
    #[command(visible_alias = "pc")]
    ProxyConfig(proxy_config::ProxyConfigArgs),
    ProxyStatus(proxy_status::ProxyStatusArgs),
    Conflicts(conflicts::ConflictsArgs),
    Logs(logs::LogsArgs),
    Azure(azure::AzureArgs),
    Metrics(metrics::MetricsArgs),
    Precheck(precheck::PrecheckArgs),
    Capture(capture::CaptureArgs),
    Rbac(rbac::RbacArgs),
    Explain(explain::ExplainArgs),
    Version(version::VersionArgs),
    Completion(CompletionArgs),
    #[command(hide = true)]
    Generate(generate::GenerateArgs),
}

/// Print a completion script for a shell
///
/// It completes the name kubectl-asm. Example: `source <(kubectl asm completion bash)`
#[derive(clap::Args, Debug)]
struct CompletionArgs {
    /// Shell
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

/// Parses the command line, runs the command, and turns its end into an exit code.
#[must_use]
pub fn main() -> ExitCode {
    // A check that breaks is reported as such; the panic's own text would only disturb.
    std::panic::set_hook(Box::new(|_| {}));
    run(std::env::args_os()).into()
}

/// The command as it is called: kubectl's plugins are found as `kubectl-asm` and used as `kubectl asm`.
fn command() -> clap::Command {
    Cli::command().bin_name("kubectl asm")
}

fn run(args: impl IntoIterator<Item = std::ffi::OsString>) -> Exit {
    let args: Vec<std::ffi::OsString> = args.into_iter().collect();
    let parsed = command().try_get_matches_from(&args).and_then(|matches| Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(error) => {
            let error = with_tip(error, &args);
            let wanted = !error.use_stderr();
            let text = error.render().to_string();
            if wanted {
                return print(&text);
            }
            ui::message(&text);
            return Exit::Unable;
        }
    };
    let connection = &cli.connection;
    match cli.command {
        Command::Status(args) => status::run(connection, &args),
        Command::InjectCheck(args) => inject_check::run(connection, &args),
        Command::ProxyConfig(args) => proxy_config::run(connection, &args),
        Command::ProxyStatus(args) => proxy_status::run(connection, &args),
        Command::Conflicts(args) => conflicts::run(connection, &args),
        Command::Logs(args) => logs::run(connection, &args),
        Command::Azure(args) => azure::run(connection, &args),
        Command::Metrics(args) => metrics::run(connection, &args),
        Command::Precheck(args) => precheck::run(connection, &args),
        Command::Capture(args) => capture::run(connection, &args),
        Command::Rbac(args) => rbac::run(&args),
        Command::Explain(args) => explain::run(&args),
        Command::Version(args) => version::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Completion(args) => {
            let mut script = Vec::new();
            clap_complete::generate(args.shell, &mut Cli::command(), "kubectl-asm", &mut script);
            print(&String::from_utf8_lossy(&script))
        }
    }
}

/// Adds the line that was meant where a pod or a workload stands in the place of WHAT: so these commands are called in
/// kubectl and in older habits.
fn with_tip(mut error: clap::Error, args: &[std::ffi::OsString]) -> clap::Error {
    use clap::error::{ContextKind, ContextValue, ErrorKind};
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let is_what = text(ContextKind::InvalidArg).is_some_and(|argument| matches!(argument, "[WHAT]" | "<WHAT>"));
    let named = text(ContextKind::InvalidValue).filter(|value| value.contains(['/', '-', '.']));
    let (true, true, Some(named)) = (error.kind() == ErrorKind::InvalidValue, is_what, named) else { return error };
    let words: Vec<String> = args.iter().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    let default = match words.iter().find(|word| matches!(word.as_str(), "logs" | "proxy-config" | "pc")) {
        Some(word) if word == "logs" => "proxy",
        Some(_) => "all",
        None => return error,
    };
    let mut line: Vec<String> = ["kubectl", "asm"].map(str::to_owned).into();
    for word in &words {
        if word == named {
            line.push(default.to_owned());
        }
        line.push(word.clone());
    }
    let tip = format!("name what is meant before it: {}", printable(&shell(&line)));
    error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    error
}

/// Whether a command line, without the program's name, is one that this plugin takes: for tests of what the documentation
/// tells people to type.
///
/// # Errors
/// What the parser says.
#[doc(hidden)]
pub fn takes(words: &[String]) -> Result<(), String> {
    let words = std::iter::once("kubectl-asm".to_owned()).chain(words.iter().cloned());
    match command().try_get_matches_from(words) {
        Err(error) if error.use_stderr() => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn print(text: &str) -> Exit {
    match ui::data(text) {
        Ok(()) => Exit::Clean,
        Err(error) => {
            ui::message(&format!("error: stdout cannot be written: {error}\n"));
            Exit::Unable
        }
    }
}

/// See [`crate::fuzzing`].
pub(crate) mod fuzzing {
    pub(crate) use super::session::report;

    pub(crate) fn manifest(text: &str) -> Result<usize, String> {
        super::manifest::parse(text).map(|planned| planned.len())
    }

    pub(crate) fn words(text: &str) -> [Result<(), String>; 3] {
        [
            super::inject_check::parse_selector(text).map(drop),
            super::inject_check::parse_target(text).map(drop),
            super::args::duration(text).map(drop),
        ]
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pod_in_the_place_of_what_is_shown_gets_the_line_that_was_meant() {
        let said = |words: &[&str]| {
            let args: Vec<std::ffi::OsString> = std::iter::once(&"kubectl-asm").chain(words).map(Into::into).collect();
            super::command()
                .try_get_matches_from(&args)
                .map_or_else(|error| super::with_tip(error, &args).to_string(), |_| "taken".to_owned())
        };
        let logs = said(&["logs", "deploy/web", "-n", "shop"]);
        assert!(
            logs.contains("tip: name what is meant before it: kubectl asm logs proxy deploy/web -n shop\n"),
            "{logs}"
        );
        let config = said(&["proxy-config", "web-1.shop"]);
        assert!(config.contains(": kubectl asm proxy-config all web-1.shop\n"), "{config}");
        for other in [&["logs", "gatewayy"][..], &["inject-check", "--expect", "a-b"], &["status", "--nope"]] {
            assert!(!said(other).contains("name what is meant"), "{other:?}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        super::command().debug_assert();
    }
}
