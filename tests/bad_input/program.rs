//! The binary, run in an empty environment with a kubeconfig of its own.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::cluster_support::Server;

/// A folder with a kubeconfig, and the variables that the binary gets.
pub struct Place {
    pub dir: TempDir,
    variables: Vec<(String, String)>,
    arguments: Vec<String>,
}

impl Place {
    /// One context `x` in cluster `prod`, with these entries.
    pub fn new(cluster: &str, user: &str) -> Self {
        Self::of(&format!(
            "current-context: x\ncontexts: [{{name: x, context: {{cluster: prod, user: u}}}}]\n\
             clusters: [{{name: prod, cluster: {cluster}}}]\nusers: [{{name: u, user: {user}}}]\n"
        ))
    }

    /// A kubeconfig of this text.
    pub fn of(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config"), text).unwrap();
        let home = dir.path().display().to_string();
        let config = dir.path().join("config").display().to_string();
        let variables = [("HOME", home), ("KUBECONFIG", config), ("LANG", "C.UTF-8".into())];
        let variables = variables.map(|(name, value)| (name.to_owned(), value)).into();
        Self { dir, variables, arguments: vec!["--timeout=20s".to_owned(), "--now=2026-08-15T10:00:00Z".to_owned()] }
            .with("PATH", &std::env::var("PATH").unwrap())
    }

    /// The usual kubeconfig for a server.
    pub fn at(server: &Server) -> Self {
        Self::new(&format!("{{server: '{}'}}", server.url()), "{token: t0ken}")
    }

    /// Sets a variable.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Replaces the limit of 20 s.
    pub fn limit(mut self, limit: &str) -> Self {
        self.arguments[0] = format!("--timeout={limit}");
        self
    }

    /// Writes the demo's bundle without these sections, as a version would have that did not know of them.
    pub fn demo_without(&self, name: &str, sections: &[&str]) {
        let demo = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/bundle/demo.tar.gz");
        let demo = flate2::read::GzDecoder::new(std::fs::File::open(demo).unwrap());
        let folder = self.dir.path().join(name);
        tar::Archive::new(demo).unpack(&folder).unwrap();
        let manifest = folder.join("manifest.json");
        let mut content: Value = serde_json::from_slice(&std::fs::read(&manifest).unwrap()).unwrap();
        for section in sections {
            content["sections"].as_object_mut().unwrap().remove(*section).expect("the demo has it");
            std::fs::remove_file(folder.join("sources").join(format!("{section}.jsonl"))).unwrap();
        }
        std::fs::write(&manifest, content.to_string()).unwrap();
    }

    pub fn file(&self, name: &str, content: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, content).unwrap();
        path
    }

    /// `status` or `inject-check`, with a time limit and the time to judge by.
    pub async fn run(&self, args: &[&str]) -> Ran {
        let args: Vec<&str> = args.iter().copied().chain(self.arguments.iter().map(String::as_str)).collect();
        self.plain(&args).await
    }

    /// Any command.
    pub async fn plain(&self, args: &[&str]) -> Ran {
        let start = Instant::now();
        let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let code = output.status.code().unwrap_or_else(|| panic!("{args:?} was killed: {}", output.status));
        let took = start.elapsed();
        let ran = Ran { code, stdout: text(&output.stdout), stderr: text(&output.stderr), took };
        // 101 is a panic; 130 would be an interruption.
        assert!((0..=4).contains(&ran.code), "{args:?} ends with {}\n{ran:?}", ran.code);
        for stream in [&ran.stdout, &ran.stderr] {
            let odd = stream.chars().find(|c| is_odd(*c));
            assert!(odd.is_none(), "{args:?} prints {odd:?}\n{ran:?}");
        }
        ran
    }

    /// Starts a command that does not end by itself.
    pub fn start(&self, args: &[&str]) -> tokio::process::Child {
        tokio::process::Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// Runs a command with the usual arguments and interrupts it once that is due; its exit code and what it printed.
    pub async fn interrupted(&self, args: &[&str], due: impl Fn() -> bool) -> (Option<i32>, String) {
        let args: Vec<&str> = args.iter().copied().chain(self.arguments.iter().map(String::as_str)).collect();
        let child = self.start(&args);
        let id = child.id().unwrap().to_string();
        let waiting = async {
            while !due() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(15), waiting).await.expect("it never came so far");
        let sent = tokio::process::Command::new("kill").args(["-INT", &id]).status().await.unwrap();
        assert!(sent.success());
        let output = tokio::time::timeout(Duration::from_secs(10), child.wait_with_output()).await.unwrap().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    }

    /// A run that cannot do its job: exit code 2 in every format, one error with hints, no data in text formats.
    pub async fn refused(&self, args: &[&str]) -> Refusal {
        let plain = self.run(args).await;
        assert_eq!(plain.code, 2, "{args:?}\n{plain:?}");
        assert!(plain.stdout.is_empty(), "{args:?}\n{plain:?}");
        let all: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let report = self.run(&all).await;
        assert_eq!(report.code, 2, "{all:?}\n{report:?}");
        let error = &report.json()["error"];
        let message = error["message"].as_str().unwrap().to_owned();
        let hints: Vec<String> =
            error["hints"].as_array().unwrap().iter().map(|hint| hint.as_str().unwrap().to_owned()).collect();
        assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
        assert!(!hints.is_empty(), "{args:?}: no hint beside: {message}");
        // Wrapped or not, the words are the same.
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words(&plain.stderr).contains(&words(&message)), "{message}\n{plain:?}");
        Refusal { kind: error["kind"].as_str().unwrap().to_owned(), message, hints, took: plain.took.max(report.took) }
    }
}

fn is_odd(c: char) -> bool {
    c.is_control() && c != '\n'
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How a run that could not do its job explained itself.
#[derive(Debug)]
pub struct Refusal {
    pub kind: String,
    pub message: String,
    pub hints: Vec<String>,
    pub took: Duration,
}

impl Refusal {
    pub fn hints(&self, words: &str) -> bool {
        self.hints.iter().any(|hint| hint.contains(words))
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}\n{self:?}"))
    }

    /// Outcomes of the report by code.
    pub fn outcomes(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        self.json()["outcomes"]
            .as_array()
            .unwrap()
            .iter()
            .map(|outcome| (text(&outcome["code"]), text(&outcome["status"])))
            .collect()
    }

    /// Codes of the findings on top.
    pub fn codes(&self) -> Vec<String> {
        let report = self.json();
        report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap().to_owned()).collect()
    }

    /// Sources that were not read, or not completely, with the kind of fault.
    pub fn gaps(&self) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let report = self.json();
        report["gaps"].as_array().unwrap().iter().map(|gap| (text(&gap["source"]), text(&gap["kind"]))).collect()
    }
}

/// Runs until one run stays within the limit: a machine that is busy with other things makes any run late once, a tool
/// that does not keep its limit is late always.
pub async fn in_time<F: Future<Output = Duration>>(limit: Duration, mut run: impl FnMut() -> F) {
    let mut taken = Vec::new();
    for _ in 0..3 {
        let took = run().await;
        if took <= limit + Duration::from_secs(1) {
            return;
        }
        taken.push(took);
    }
    panic!("limit {limit:?}, but took {taken:?}");
}
