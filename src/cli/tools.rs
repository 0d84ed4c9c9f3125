//! Programs of others: started without a shell, and given neither much time nor much room.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::process::Group;

/// Most that is read of what a program prints.
const CAP: u64 = 4 << 20;

/// Why a program gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The operating system did not start it.
    NotStarted,
    /// It took longer than this.
    Late(Duration),
    /// It ended with this code; none when a signal ended it.
    Failed(Option<i32>),
    /// It prints without end.
    TooLong,
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotStarted => f.write_str("it cannot be started"),
            Self::Late(limit) => write!(f, "it did not answer within {} s", limit.as_secs_f64()),
            Self::Failed(Some(code)) => write!(f, "it ended with code {code}"),
            Self::Failed(None) => f.write_str("it was ended by a signal"),
            Self::TooLong => f.write_str("it prints without end"),
        }
    }
}

/// Runs a program to its end and returns what it printed on stdout.
///
/// # Errors
/// When it does not start, does not end in time, ends with an error or prints too much.
pub async fn output(program: &Path, args: &[&str], limit: Duration) -> Result<Vec<u8>, Trouble> {
    let mut command = Command::new(program);
    command
        .args(args)
        // az would otherwise report the look at its version to its makers.
        .env("AZURE_CORE_COLLECT_TELEMETRY", "false")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let work = async {
        let mut group = Group::start(&mut command).map_err(|_| Trouble::NotStarted)?;
        let child = &mut group.0;
        let mut said = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // What cannot be read is not there; the code tells the rest.
            let _ = stdout.take(CAP + 1).read_to_end(&mut said).await;
        }
        if said.len() as u64 > CAP {
            return Err(Trouble::TooLong);
        }
        let status = child.wait().await.map_err(|_| Trouble::Failed(None))?;
        if status.success() { Ok(said) } else { Err(Trouble::Failed(status.code())) }
    };
    tokio::time::timeout(limit, work).await.unwrap_or(Err(Trouble::Late(limit)))
}
