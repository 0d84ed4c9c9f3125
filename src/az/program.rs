//! Running `az`: without a shell, within a time limit, with a cap on what it may say.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::refusal;
use crate::process::{self, Group};
use crate::snapshot::{Fault, FaultKind};

/// Longest wait for one call. `az` takes one to five seconds, more behind a slow proxy.
const LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read: `az aks show` prints some ten kilobytes, and of a list only names are asked for.
const ANSWER_CAP: u64 = 8 << 20;
/// What is read of its complaints.
const SAID_CAP: u64 = 64 << 10;

/// `az`, as it is found on PATH.
pub(super) struct Program {
    subscription: Option<String>,
    end: Instant,
}

impl Program {
    pub(super) fn new(subscription: Option<String>, end: Instant) -> Self {
        Self { subscription, end }
    }

    /// Runs a command that belongs to a subscription.
    pub(super) async fn run(&self, arguments: &[&str]) -> Result<Vec<u8>, Fault> {
        let subscription = self.subscription.as_ref().map(|name| format!("--subscription={name}"));
        let all: Vec<&str> = arguments.iter().copied().chain(subscription.as_deref()).collect();
        self.run_bare(&all).await
    }

    /// Runs a command.
    pub(super) async fn run_bare(&self, arguments: &[&str]) -> Result<Vec<u8>, Fault> {
        let words: Vec<&str> = arguments.iter().copied().take_while(|word| !word.starts_with('-')).collect();
        let what = format!("az {}", words.join(" "));
        let left = self.end.saturating_duration_since(Instant::now()).min(LIMIT);
        match tokio::time::timeout(left, call(arguments, &what)).await {
            Ok(ended) => ended,
            Err(_) => {
                let more = if left < LIMIT { "; --timeout gives it more time" } else { "" };
                let message = format!("{what} did not answer within {} s{more}", left.as_secs_f64().round());
                Err(Fault::new(FaultKind::Timeout, message))
            }
        }
    }
}

async fn call(arguments: &[&str], what: &str) -> Result<Vec<u8>, Fault> {
    let missing = || refusal::not_started(&std::io::ErrorKind::NotFound.into());
    let mut command = Command::new(process::find("az").ok_or_else(missing)?);
    command
        .args(arguments)
        .args(["--output=json", "--only-show-errors"])
        // It must not ask, install anything or colour what it says, and a look is not worth a report to its makers.
        .env("AZURE_CORE_NO_COLOR", "true")
        .env("AZURE_CORE_COLLECT_TELEMETRY", "false")
        .env("AZURE_EXTENSION_USE_DYNAMIC_INSTALL", "no")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut group = Group::start(&mut command).map_err(|error| refusal::not_started(&error))?;
    let (stdout, stderr) = (group.0.stdout.take(), group.0.stderr.take());
    let answer = async {
        let answer = read(stdout, ANSWER_CAP).await;
        let is_whole = answer.len() as u64 <= ANSWER_CAP;
        let message = || format!("{what} answers more than {} MiB", ANSWER_CAP >> 20);
        is_whole.then_some(answer).ok_or_else(|| Fault::new(FaultKind::Truncated, message()))
    };
    let said = async { Ok(read(stderr, SAID_CAP).await) };
    let (answer, said) = tokio::try_join!(answer, said)?;
    let status = group.0.wait().await;
    match status {
        Ok(status) if status.success() => Ok(answer),
        Ok(status) => Err(refusal::classify(what, &String::from_utf8_lossy(&said), status.code())),
        Err(_) => Err(Fault::new(FaultKind::Malformed, format!("{what} ended in a way that cannot be read"))),
    }
}

/// Reads to the end, or one byte past the cap: what follows is left to be killed with its writer.
async fn read(stream: Option<impl AsyncReadExt + Unpin>, cap: u64) -> Vec<u8> {
    let mut read = Vec::new();
    if let Some(stream) = stream {
        // What came until a stream broke is what there is; how the program ended tells the rest.
        let _ = stream.take(cap + 1).read_to_end(&mut read).await;
    }
    read
}
