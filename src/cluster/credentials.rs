//! Exec credential plugins (kubelogin and its kin).
//!
//! Run by us and not by kube: kube runs the plugin up to three times per connection, without a time limit, on
//! whatever thread builds the client, and puts its raw output into the error. Here it runs once, as a child that is
//! killed when the limit passes or the caller gives up.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::process::Stdio;
use std::time::{Duration, Instant};

use http::HeaderValue;
use jiff::{SignedDuration, Timestamp};
use kube::config::{ExecAuthCluster, ExecConfig, ExecInteractiveMode};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::Mutex;

use super::fault;
use crate::model::yaml;
use crate::snapshot::{Fault, FaultKind};

/// What every version of the answer begins with.
const GROUP: &str = "client.authentication.k8s.io/";
/// Time limit of a plugin that works alone.
const ALONE: Duration = Duration::from_secs(30);
/// Time limit of a plugin that can ask the person at the terminal to sign in.
const WITH_PERSON: Duration = Duration::from_secs(120);
/// Largest answer of a plugin; a token has a few KiB.
const ANSWER_CAP: u64 = 1 << 20;
/// A token is renewed this long before it expires, so that it does not expire on its way.
const AHEAD: SignedDuration = SignedDuration::from_secs(10);
/// A plugin that hands out expired tokens is not run for every request.
const NOT_AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// One plugin and what it last answered.
pub(super) struct Plugin {
    exec: ExecConfig,
    limit: Option<Duration>,
    held: Mutex<Option<Held>>,
}

struct Held {
    header: Option<HeaderValue>,
    expires: Option<Timestamp>,
    fetched: Instant,
}

/// A client certificate that a plugin handed out, with its key, both PEM.
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// The plugin's answer, as far as it is used.
#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    kind: String,
    #[serde(default, rename = "apiVersion")]
    api_version: String,
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    expiration_timestamp: Option<Timestamp>,
    token: Option<String>,
    client_certificate_data: Option<String>,
    client_key_data: Option<String>,
}

impl Plugin {
    pub(super) fn new(exec: ExecConfig, limit: Option<Duration>) -> Self {
        Self { exec, limit, held: Mutex::new(None) }
    }

    /// Runs the plugin for the first time.
    pub(super) async fn start(&self) -> Result<Option<Certificate>, Fault> {
        let (held, certificate) = self.ask().await?;
        *self.held.lock().await = Some(held);
        Ok(certificate)
    }

    /// The `Authorization` header for the next request; none for a plugin that works by certificate.
    pub(super) async fn authorization(&self) -> Result<Option<HeaderValue>, Fault> {
        let mut held = self.held.lock().await;
        let stale = held.as_ref().is_none_or(|held| {
            held.header.is_some()
                && held.expires.is_some_and(|expires| expires < Timestamp::now() + AHEAD)
                && held.fetched.elapsed() > NOT_AGAIN_WITHIN
        });
        if stale {
            *held = Some(self.ask().await?.0);
        }
        Ok(held.as_ref().and_then(|held| held.header.clone()))
    }

    /// When what was handed out ends, where the plugin told.
    pub(super) async fn end(&self) -> Option<Timestamp> {
        self.held.lock().await.as_ref()?.expires
    }

    /// See [`crate::fuzzing`].
    pub(super) fn understand(output: &[u8]) -> Result<(), Fault> {
        let exec = serde_json::json!({"command": "x", "apiVersion": "client.authentication.k8s.io/v1"});
        let exec = serde_json::from_value(exec)
            .map_err(|_| Fault::new(FaultKind::Malformed, "the plugin's own entry does not parse"))?;
        let plugin = Self::new(exec, None);
        plugin.read(output).and_then(|status| plugin.accept(status)).map(drop)
    }

    async fn ask(&self) -> Result<(Held, Option<Certificate>), Fault> {
        let status = self.answer().await?;
        self.accept(status)
    }

    fn accept(&self, status: Status) -> Result<(Held, Option<Certificate>), Fault> {
        let header = match &status.token {
            Some(token) if !token.is_empty() => {
                let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
                    .map_err(|_| self.failed("returned a token that cannot be sent"))?;
                value.set_sensitive(true);
                Some(value)
            }
            _ => None,
        };
        let certificate = match (status.client_certificate_data, status.client_key_data) {
            (Some(certificate), Some(key)) => Some(Certificate { certificate, key }),
            (None, None) => None,
            _ => return Err(self.failed("returned a certificate without its key, or a key without its certificate")),
        };
        if header.is_none() && certificate.is_none() {
            return Err(self.failed("returned neither a token nor a certificate"));
        }
        let held = Held { header, expires: status.expiration_timestamp, fetched: Instant::now() };
        Ok((held, certificate))
    }

    async fn answer(&self) -> Result<Status, Fault> {
        let terminal = std::io::stdin().is_terminal();
        let interactive = terminal && self.exec.interactive_mode != Some(ExecInteractiveMode::Never);
        if !terminal && self.exec.interactive_mode == Some(ExecInteractiveMode::Always) {
            return Err(self.failed("wants a terminal, and there is none"));
        }
        let own = if interactive { WITH_PERSON } else { ALONE };
        let limit = self.limit.map_or(own, |limit| limit.min(own));
        let mut command = self.command(interactive)?;
        let work = async {
            let mut child = command.spawn().map_err(|error| self.not_started(&error))?;
            let mut output = Vec::new();
            if let Some(stdout) = child.stdout.take() {
                stdout
                    .take(ANSWER_CAP)
                    .read_to_end(&mut output)
                    .await
                    .map_err(|_| self.failed("closed its output in a way that cannot be read"))?;
            }
            let status = child.wait().await.map_err(|_| self.failed("ended in a way that cannot be read"))?;
            if !status.success() {
                return Err(match status.code() {
                    Some(code) => self.failed(&format!("failed with exit code {code}")),
                    None => self.failed("was killed"),
                });
            }
            Ok(output)
        };
        // Dropping the future kills the child (`kill_on_drop`); what the child has started itself may live on.
        let output = tokio::time::timeout(limit, work)
            .await
            .map_err(|_| self.failed(&format!("did not answer within {} s", limit.as_secs_f64())))??;
        self.read(&output)
    }

    fn command(&self, interactive: bool) -> Result<Command, Fault> {
        let name = self.exec.command.as_deref().filter(|name| !name.is_empty()).ok_or_else(|| {
            Fault::new(FaultKind::Unauthenticated, "the kubeconfig's credential plugin has no command")
        })?;
        let mut spec = serde_json::json!({"interactive": interactive});
        if self.exec.provide_cluster_info
            && let Some(cluster) = &self.exec.cluster
        {
            spec["cluster"] = serde_json::to_value::<&ExecAuthCluster>(cluster).unwrap_or_default();
        }
        let exec_info = serde_json::json!({
            "apiVersion": self.exec.api_version, "kind": "ExecCredential", "spec": spec,
        });
        let mut command = Command::new(name);
        command
            .args(self.exec.args.iter().flatten())
            .env("KUBERNETES_EXEC_INFO", exec_info.to_string())
            .envs(self.exec.env.iter().flatten().filter_map(variable))
            .stdin(if interactive { Stdio::inherit() } else { Stdio::null() })
            .stdout(Stdio::piped())
            // A plugin that asks someone to sign in asks on stderr. Otherwise its words are not shown: they are not
            // ours to vet, and `kubectl get namespace`, which is the hint, shows them.
            .stderr(if interactive { Stdio::inherit() } else { Stdio::null() })
            .kill_on_drop(true);
        Ok(command)
    }

    fn read(&self, output: &[u8]) -> Result<Status, Fault> {
        // JSON by contract, but kubectl accepts YAML too, and some plugins rely on it.
        let answer: Answer = serde_json::from_slice(output)
            .ok()
            .or_else(|| yaml::from_str(std::str::from_utf8(output).ok()?).ok())
            .ok_or_else(|| self.failed("returned something that is not an ExecCredential"))?;
        if answer.kind != "ExecCredential" {
            return Err(self.failed("returned something that is not an ExecCredential"));
        }
        if let Some(wanted) = self.exec.api_version.as_deref()
            && wanted != answer.api_version
        {
            let wanted = fault::clean(wanted, 60);
            // Only what is a version is quoted of an answer.
            return Err(self.failed(&match answer.api_version.strip_prefix(GROUP) {
                Some(version) if is_version(version) => {
                    format!("answers in {GROUP}{version} but the kubeconfig asks for {wanted}")
                }
                _ => format!("does not answer in {wanted}, which the kubeconfig asks for"),
            }));
        }
        answer.status.ok_or_else(|| self.failed("returned no credentials"))
    }

    fn not_started(&self, error: &std::io::Error) -> Fault {
        let name = self.name();
        let message = match error.kind() {
            std::io::ErrorKind::NotFound if self.has_path() => format!("the credential plugin {name} does not exist"),
            std::io::ErrorKind::NotFound => format!("the credential plugin {name} is not on PATH"),
            std::io::ErrorKind::PermissionDenied => format!("the credential plugin {name} may not be executed"),
            _ => format!("the credential plugin {name} could not be started"),
        };
        self.hints(Fault::new(FaultKind::Unauthenticated, message))
    }

    fn failed(&self, what: &str) -> Fault {
        self.hints(Fault::new(FaultKind::Unauthenticated, format!("the credential plugin {} {what}", self.name())))
    }

    fn hints(&self, fault: Fault) -> Fault {
        fault::plugin_hints(fault, is_kubelogin(&self.exec), self.exec.install_hint.as_deref())
    }

    fn name(&self) -> String {
        plugin_name(&self.exec)
    }

    fn has_path(&self) -> bool {
        self.exec.command.as_deref().is_some_and(|command| command.contains(std::path::MAIN_SEPARATOR))
    }
}

/// `v1`, `v1beta1`.
fn is_version(text: &str) -> bool {
    let number = text.strip_prefix('v').unwrap_or_default();
    text.len() < 20
        && number.starts_with(|c: char| c.is_ascii_digit())
        && number.trim_matches(|c: char| c.is_ascii_digit()).chars().all(|c| "alphabet".contains(c))
}

fn variable(entry: &HashMap<String, String>) -> Option<(&String, &String)> {
    Some((entry.get("name").filter(|name| !name.is_empty() && !name.contains('='))?, entry.get("value")?))
}

/// The plugin's file name: what a person knows it by.
pub(super) fn plugin_name(exec: &ExecConfig) -> String {
    let command = exec.command.as_deref().unwrap_or("");
    let name = std::path::Path::new(command).file_name().and_then(|name| name.to_str()).unwrap_or(command);
    fault::clean(name, 60)
}

/// Whether it is Azure's kubelogin. There is an unrelated tool of the same name for OIDC, known by its flags.
pub(super) fn is_kubelogin(exec: &ExecConfig) -> bool {
    let name = plugin_name(exec);
    name.strip_suffix(".exe").unwrap_or(&name) == "kubelogin"
        && !exec.args.iter().flatten().any(|argument| argument.starts_with("--oidc-"))
}

/// Runs nothing; only for telling what the connection will use.
pub(super) fn describe(exec: &ExecConfig) -> super::AuthKind {
    super::AuthKind::Exec { command: plugin_name(exec), is_kubelogin: is_kubelogin(exec) }
}
