//! Programs of others: how they are found, and that they end with all that they started.

use std::path::PathBuf;

use tokio::process::{Child, Command};

/// The file that a name stands for. Windows adds endings.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat"] } else { &[""] };
    std::env::split_paths(&std::env::var_os("PATH")?)
        // An empty entry means the current folder: nothing is started from there by accident.
        .filter(|folder| folder.is_absolute())
        .flat_map(|folder| endings.iter().map(move |ending| folder.join(format!("{name}{ending}"))))
        .find(|file| file.is_file())
}

/// A child with all that it started: many programs are scripts, and what is behind them would live on without them.
pub struct Group(pub Child);

impl Group {
    /// Starts it as the head of a group of its own.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn start(command: &mut Command) -> std::io::Result<Self> {
        command.kill_on_drop(true);
        #[cfg(unix)]
        command.process_group(0);
        command.spawn().map(Self)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Once it has been waited for it has no id any more, and the number may be somebody else's.
        #[cfg(unix)]
        if let Some(id) = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw) {
            // One that has just ended needs no killing.
            let _ = rustix::process::kill_process_group(id, rustix::process::Signal::KILL);
        }
    }
}
