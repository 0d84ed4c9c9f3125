//! Shared groups of arguments.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cluster::ConnectOptions;
use crate::engine::Severity;
use crate::report::Format;

/// kubectl's connection flags.
#[derive(Args, Debug, Clone, Default)]
#[command(next_help_heading = "Connection (as in kubectl)")]
pub struct ConnectionArgs {
    /// Path to the kubeconfig file; default: KUBECONFIG, then ~/.kube/config
    #[arg(long, value_name = "FILE", global = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub context: Option<String>,
    /// Cluster entry of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub cluster: Option<String>,
    /// User entry of the kubeconfig
    #[arg(long, value_name = "NAME", global = true)]
    pub user: Option<String>,
    /// Address of the API server
    #[arg(long, short = 's', value_name = "URL", global = true)]
    pub server: Option<String>,
    /// Bearer token
    #[arg(long, value_name = "TOKEN", global = true)]
    pub token: Option<String>,
    /// User to impersonate
    #[arg(long = "as", value_name = "USER", global = true)]
    pub as_user: Option<String>,
    /// Group to impersonate (repeatable)
    #[arg(long = "as-group", value_name = "GROUP", global = true)]
    pub as_groups: Vec<String>,
    /// UID to impersonate
    #[arg(long, value_name = "UID", global = true)]
    pub as_uid: Option<String>,
    /// Longest silence of one request, e.g. 10s; 0 means no limit
    #[arg(long, value_name = "TIME", global = true, value_parser = duration)]
    pub request_timeout: Option<Duration>,
    /// Server name to check the certificate against
    #[arg(long, value_name = "NAME", global = true)]
    pub tls_server_name: Option<String>,
    /// Do not check the server's certificate
    #[arg(long, global = true)]
    pub insecure_skip_tls_verify: bool,
    /// File with the certificate authority
    #[arg(long, value_name = "FILE", global = true)]
    pub certificate_authority: Option<PathBuf>,
    /// File with the client certificate
    #[arg(long, value_name = "FILE", global = true)]
    pub client_certificate: Option<PathBuf>,
    /// File with the client key
    #[arg(long, value_name = "FILE", global = true)]
    pub client_key: Option<PathBuf>,
}

impl ConnectionArgs {
    /// For [`crate::cluster::Cluster::connect`].
    #[must_use]
    pub fn options(&self) -> ConnectOptions {
        ConnectOptions {
            kubeconfig: self.kubeconfig.clone(),
            context: self.context.clone(),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
            server: self.server.clone(),
            token: self.token.clone(),
            tls_server_name: self.tls_server_name.clone(),
            insecure_skip_tls_verify: self.insecure_skip_tls_verify,
            certificate_authority: self.certificate_authority.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
            as_user: self.as_user.clone(),
            as_groups: self.as_groups.clone(),
            as_uid: self.as_uid.clone(),
            request_timeout: self.request_timeout,
            plugin_timeout: None,
        }
    }

    /// The first connection flag that was given, for the message that it does not go with `--from`.
    #[must_use]
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--kubeconfig", self.kubeconfig.is_some()),
            ("--context", self.context.is_some()),
            ("--cluster", self.cluster.is_some()),
            ("--user", self.user.is_some()),
            ("--server", self.server.is_some()),
            ("--token", self.token.is_some()),
            ("--as", self.as_user.is_some()),
            ("--as-group", !self.as_groups.is_empty()),
            ("--as-uid", self.as_uid.is_some()),
            ("--request-timeout", self.request_timeout.is_some()),
            ("--tls-server-name", self.tls_server_name.is_some()),
            ("--insecure-skip-tls-verify", self.insecure_skip_tls_verify),
            ("--certificate-authority", self.certificate_authority.is_some()),
            ("--client-certificate", self.client_certificate.is_some()),
            ("--client-key", self.client_key.is_some()),
        ];
        flags.into_iter().find(|(_, given)| *given).map(|(name, _)| name)
    }
}

/// Namespaces.
#[derive(Args, Debug, Clone, Default)]
pub struct ScopeArgs {
    /// Namespace to examine (repeatable)
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    pub namespace: Vec<String>,
    /// Examine all namespaces; beats -n
    #[arg(long, short = 'A')]
    pub all_namespaces: bool,
}

/// How a report is made and printed.
#[derive(Args, Debug, Clone)]
pub struct ReportArgs {
    /// Output format
    #[arg(long, short = 'o', value_enum, default_value = "text", value_name = "FORMAT")]
    pub output: Format,
    /// Read a bundle (file or directory) instead of a cluster; `demo` is the bundle inside the plugin
    #[arg(long, value_name = "BUNDLE")]
    pub from: Option<String>,
    /// Time for the whole run
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub timeout: Duration,
    /// Exit with 1 from this severity on
    #[arg(long, value_enum, default_value = "error", value_name = "SEVERITY")]
    pub fail_on: Severity,
    /// Do only these checks (codes or areas, comma-separated)
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Leave these checks out (codes or areas, comma-separated)
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    pub skip: Vec<String>,
    /// Exit with 0 although some checks could not be done
    #[arg(long)]
    pub allow_gaps: bool,
    /// File with newer support tables
    #[arg(long, value_name = "FILE")]
    pub facts: Option<PathBuf>,
    /// Print without colour (also: NO_COLOR)
    #[arg(long)]
    pub no_color: bool,
    /// Say on stderr what was read and how long it took
    #[arg(long, short = 'v', value_name = "LEVEL", num_args = 0..=1, require_equals = true, default_missing_value = "1")]
    pub verbose: Option<u8>,
    /// The time to judge by, for tests
    #[arg(long, hide = true, value_name = "TIME")]
    pub now: Option<jiff::Timestamp>,
}

/// `10s`, `2m`, `1h30m`, `500ms`, or a bare number of seconds, as kubectl reads durations.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0);
        let wrong = || format!("{text} is not a duration such as 10s or 2m");
        let end = digits.ok_or_else(wrong)?;
        let number: u64 = rest[..end].parse().map_err(|_| wrong())?;
        rest = &rest[end..];
        let (unit, length) = [("ms", 2), ("h", 1), ("m", 1), ("s", 1)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .ok_or_else(wrong)?;
        total = total.saturating_add(match unit {
            "ms" => Duration::from_millis(number),
            "h" => Duration::from_secs(number.saturating_mul(3600)),
            "m" => Duration::from_secs(number.saturating_mul(60)),
            _ => Duration::from_secs(number),
        });
        rest = &rest[length..];
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_kubectl_reads_them() {
        for (text, seconds) in [("10s", 10.0), ("1m30s", 90.0), ("2h", 7200.0), ("250ms", 0.25), ("0", 0.0), ("7", 7.0)]
        {
            assert_eq!(duration(text).map(|d| d.as_secs_f64()), Ok(seconds), "{text}");
        }
        for text in ["s", "10x", "1.5s", "-1s"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
