//! The running lab as the tests see it: commands inside its network, and reports of `kubectl asm`.

use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

/// What a command left behind.
pub struct Out {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// One JSON report and its exit code.
#[derive(Clone, PartialEq)]
pub struct Report {
    pub code: i32,
    pub json: Value,
}

impl Report {
    pub fn outcome(&self, code: &str) -> String {
        self.json["outcomes"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|o| o["code"] == code)
            .map_or_else(|| format!("no outcome for {code}"), |o| text(&o["status"]))
    }
}

/// The lab, held by one test at a time: tests change one shared cluster.
pub struct Lab {
    _turn: MutexGuard<'static, ()>,
}

pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab")
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub fn list(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

/// Documents of a YAML file as JSON.
pub fn documents(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_yaml::Deserializer::from_str(&text)
        .map(|doc| serde::Deserialize::deserialize(doc).unwrap_or_else(|e| panic!("{}: {e}", file.display())))
        .filter(|doc: &Value| !doc.is_null())
        .collect()
}

/// A List that kubectl takes in one call.
pub fn kube_list(items: &[Value]) -> String {
    serde_json::json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// Until `done` says so; what it says last is the failure's text.
pub fn poll(what: &str, limit: Duration, mut done: impl FnMut() -> Result<(), String>) {
    let end = Instant::now() + limit;
    loop {
        match done() {
            Ok(()) => return,
            Err(why) if Instant::now() > end => panic!("{what}: not within {limit:?}: {why}"),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

impl Lab {
    /// Waits for its turn; the first to come puts the healthy world in place, where it stays.
    pub fn take() -> Self {
        static TURN: Mutex<()> = Mutex::new(());
        static BASE: OnceLock<()> = OnceLock::new();
        // A test that failed has cleaned up behind itself: the next may go on.
        let lab = Self { _turn: TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner) };
        BASE.get_or_init(|| {
            let ready = Command::new(folder().join("ready")).status().expect("tests/lab/ready");
            assert!(ready.success(), "no lab is running: tests/lab/run starts one, tests, and ends it");
            lab.apply(&documents(&folder().join("worlds/healthy.yaml"))[1..]);
            lab.settle();
        });
        lab
    }

    /// A folder with the tool under the name by which kubectl finds plugins.
    fn plugins() -> &'static Path {
        static DIR: OnceLock<PathBuf> = OnceLock::new();
        DIR.get_or_init(|| {
            let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
            std::fs::create_dir_all(&dir).unwrap();
            let link = dir.join("kubectl-asm");
            if link.symlink_metadata().is_ok() {
                std::fs::remove_file(&link).unwrap();
            }
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubectl-asm"), &link).unwrap();
            dir
        })
    }

    fn exec(&self, kubeconfig: Option<&Path>, argv: &[&str], stdin: &str) -> Out {
        let path = format!("{}:{}", Self::plugins().display(), std::env::var("PATH").unwrap_or_default());
        let mut command = Command::new(folder().join("env"));
        // A command that hangs is a failure of that command, not of the whole tier.
        command.args(["timeout", "120"]).args(argv).env("PATH", path).env("NO_COLOR", "1");
        if let Some(file) = kubeconfig {
            command.env("LAB_KUBECONFIG", file);
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("tests/lab/env");
        let mut pipe = child.stdin.take().expect("stdin");
        let input = stdin.to_owned();
        // In a thread of its own: a command that answers before it has read everything must not block us.
        let feeder = std::thread::spawn(move || drop(pipe.write_all(input.as_bytes())));
        let out = child.wait_with_output().expect("output");
        feeder.join().unwrap();
        Out {
            code: out.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&out.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&out.stderr).into_owned(),
        }
    }

    /// Runs a command as the cluster's admin, whatever comes of it.
    pub fn run(&self, argv: &[&str], stdin: &str) -> Out {
        self.exec(None, argv, stdin)
    }

    /// Runs a command that must succeed.
    pub fn must(&self, argv: &[&str], stdin: &str) -> String {
        let out = self.run(argv, stdin);
        assert_eq!(out.code, 0, "{argv:?}\n{}{}", out.stdout, out.stderr);
        out.stdout
    }

    /// Runs one of the lab's own scripts.
    pub fn script(&self, name: &str, args: &[&str]) {
        let out = Command::new(folder().join(name)).args(args).output().unwrap_or_else(|e| panic!("{name}: {e}"));
        assert!(out.status.success(), "{name} {args:?}: {}", String::from_utf8_lossy(&out.stderr));
    }

    pub fn json(&self, argv: &[&str]) -> Value {
        serde_json::from_str(&self.must(argv, "")).expect("JSON from kubectl")
    }

    pub fn apply(&self, objects: &[Value]) {
        if !objects.is_empty() {
            self.must(&["kubectl", "apply", "-f", "-"], &kube_list(objects));
        }
    }

    /// Until every controller is done (nothing rolls out, nothing is being deleted) and the proxies are connected.
    pub fn settle(&self) {
        poll("the cluster comes to rest", Duration::from_secs(90), || {
            let all = self.json(&[
                "kubectl",
                "get",
                "-A",
                "-o",
                "json",
                "deployments,statefulsets,daemonsets,pods,namespaces",
            ]);
            let busy: Vec<String> = list(&all["items"]).iter().filter_map(busy).collect();
            if busy.is_empty() { Ok(()) } else { Err(busy.join(", ")) }
        });
        self.connect();
    }

    /// Until every proxy that runs is connected to an istiod, if one of its revision answers.
    pub fn connect(&self) {
        self.script("fleet", &["wait"]);
    }

    /// Kubeconfig of a ServiceAccount, with its namespace in the context.
    pub fn user(&self, namespace: &str, account: &str) -> PathBuf {
        let out = Command::new(folder().join("user")).args([namespace, account]).output().expect("tests/lab/user");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{account}.kubeconfig"));
        std::fs::write(&file, out.stdout).unwrap();
        file
    }

    pub fn asm(&self, args: &[&str]) -> Out {
        self.asm_with(None, args)
    }

    /// A command that knows no facts file.
    pub fn plain(&self, args: &[&str]) -> Out {
        let mut argv = vec!["kubectl", "asm"];
        argv.extend(args);
        self.exec(None, &argv, "")
    }

    pub fn asm_as(&self, kubeconfig: &Path, args: &[&str]) -> Out {
        self.asm_with(Some(kubeconfig), args)
    }

    fn asm_with(&self, kubeconfig: Option<&Path>, args: &[&str]) -> Out {
        let facts = folder().join("facts.yaml");
        let mut argv = vec!["kubectl", "asm"];
        argv.extend(args);
        if args.first() != Some(&"capture") {
            argv.extend(["--facts", facts.to_str().expect("UTF-8 path")]);
        }
        self.exec(kubeconfig, &argv, "")
    }

    pub fn report(&self, args: &[&str]) -> Report {
        self.report_with(None, args)
    }

    pub fn report_as(&self, kubeconfig: &Path, args: &[&str]) -> Report {
        self.report_with(Some(kubeconfig), args)
    }

    fn report_with(&self, kubeconfig: Option<&Path>, args: &[&str]) -> Report {
        let mut args = args.to_vec();
        args.extend(["-o", "json"]);
        let out = self.asm_with(kubeconfig, &args);
        let json: Value = serde_json::from_str(&out.stdout).unwrap_or_else(|e| {
            panic!("{args:?} (exit {}) printed no JSON: {e}\n{}{}", out.code, out.stdout, out.stderr)
        });
        valid(&json);
        Report { code: out.code, json }
    }
}

/// Every report keeps the contract.
fn valid(report: &Value) {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/report.schema.json");
        let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        jsonschema::validator_for(&serde_json::from_str(&text).expect("the schema is JSON")).expect("the schema is one")
    });
    let faults: Vec<String> = schema.iter_errors(report).map(|e| format!("{}: {e}", e.instance_path)).collect();
    assert!(faults.is_empty(), "the report breaks its schema:\n{}\n{report:#}", faults.join("\n"));
}

/// Why this object is still moving, if it is.
fn busy(object: &Value) -> Option<String> {
    let (meta, spec, status) = (&object["metadata"], &object["spec"], &object["status"]);
    let name = format!("{} {}/{}", text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]));
    if !meta["deletionTimestamp"].is_null() {
        return Some(format!("{name} is being deleted"));
    }
    let number = |v: &Value| v.as_u64().unwrap_or(0);
    let observed = number(&status["observedGeneration"]) >= number(&meta["generation"]);
    let done = match object["kind"].as_str()? {
        "Deployment" | "StatefulSet" => {
            let want = number(&spec["replicas"]);
            let counts = ["replicas", "updatedReplicas", "readyReplicas", "availableReplicas"];
            observed && counts.iter().all(|c| number(&status[*c]) == want)
        }
        "DaemonSet" => {
            let want = number(&status["desiredNumberScheduled"]);
            observed && number(&status["updatedNumberScheduled"]) == want && number(&status["numberReady"]) == want
        }
        "Pod" => matches!(status["phase"].as_str(), Some("Running" | "Succeeded")),
        _ => true,
    };
    (!done).then_some(name)
}
