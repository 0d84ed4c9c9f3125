//! `azure`: what Azure says about the cluster and how the cluster compares; what a log of `az` says. Data and text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::style::{Style, wrap, wrap_after};
use super::text::push_step;
use crate::engine::Step;
use crate::model::quoted::printable;

/// `azure`: the cluster as Azure knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureView {
    /// The cluster; none when Azure could not be asked.
    pub cluster: Option<AzureCluster>,
    /// The mesh as Azure wants it, against the one in the cluster.
    pub compared: Vec<AzureRow>,
    /// Revisions that the region offers; none when Azure did not tell.
    pub offered: Option<Vec<String>>,
    /// Revisions that can follow; none when Azure did not tell, as while an upgrade is open.
    pub upgrades: Option<Vec<String>>,
    /// Versions of `az`; none when it did not tell.
    pub tools: Option<AzTools>,
}

/// The cluster.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureCluster {
    /// Name.
    pub name: String,
    /// Resource group.
    pub resource_group: String,
    /// Region.
    pub location: String,
    /// `Running` or `Stopped`.
    pub power_state: String,
    /// `Succeeded`, `Failed`, `Canceled`, or a change under way.
    pub provisioning_state: String,
    /// Kubernetes version.
    pub kubernetes_version: String,
    /// `KubernetesOfficial` or `AKSLongTermSupport`.
    pub support_plan: String,
    /// Pricing tier.
    pub tier: String,
    /// How AKS upgrades Kubernetes by itself; empty for not at all.
    pub upgrade_channel: String,
    /// Network plugin, data plane and policy, as far as they are set.
    pub network: Vec<String>,
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AzureRow {
    /// What is compared.
    pub what: String,
    /// What Azure wants.
    pub azure: String,
    /// What the cluster has; none when that could not be read.
    pub cluster: Option<String>,
    /// Whether they agree; none when that cannot be said.
    pub agree: Option<bool>,
}

/// Versions of `az`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzTools {
    /// Version of `az`.
    pub version: String,
    /// Version of the extension `aks-preview`, where it is installed.
    pub aks_preview: Option<String>,
}

/// `azure --log`: what a log of `az`, or the text of an error, says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureLogView {
    /// How many lines were read.
    pub lines: usize,
    /// Messages that are understood, in the order of the log.
    pub understood: Vec<UnderstoodView>,
    /// Errors that are not.
    pub unknown: Vec<UnknownView>,
    /// Requests that failed, else the last one: what a support ticket asks for.
    pub requests: Vec<AzureRequest>,
}

/// A message that is understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnderstoodView {
    /// A name for it that does not change.
    pub name: String,
    /// The line where it stood first.
    pub line: usize,
    /// What is behind it.
    pub cause: String,
    /// What to do.
    pub fix: String,
    /// Commands, in order.
    pub steps: Vec<Step>,
}

/// An error that is not understood.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnknownView {
    /// Azure's code.
    pub code: String,
    /// Its message, shortened, without what could be a token.
    pub message: String,
    /// The line where it stood first.
    pub line: usize,
}

/// A request to Azure.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AzureRequest {
    /// Method and end of the path.
    pub request: String,
    /// HTTP status.
    pub status: Option<u16>,
    /// Time of the answer.
    pub date: Option<String>,
    /// By which all requests of one operation are found.
    pub correlation_id: Option<String>,
    /// By which this request is found.
    pub request_id: Option<String>,
    /// By which `az` names it.
    pub client_request_id: Option<String>,
    /// Of an operation that goes on after the answer.
    pub operation_id: Option<String>,
}

/// Which cluster it is, for the first line.
pub(super) fn heading(view: &AzureView) -> String {
    match &view.cluster {
        Some(cluster) => format!(
            "{}  resource group {}  {}",
            printable(&cluster.name),
            printable(&cluster.resource_group),
            printable(&cluster.location)
        ),
        None => "Azure: could not be asked".to_owned(),
    }
}

/// The first line of a log.
pub(super) fn log_heading(view: &AzureLogView) -> String {
    let lines = super::text::plural(view.lines, "line");
    match view.understood.len() + view.unknown.len() {
        0 => format!("{lines} read; no error of Azure or az in them that is known here\n"),
        1 => format!("{lines} read; 1 error in them\n"),
        number => format!("{lines} read; {number} errors in them\n"),
    }
}

fn joined(parts: &[&str]) -> String {
    let known: Vec<String> = parts.iter().filter(|part| !part.is_empty()).map(|part| printable(part)).collect();
    if known.is_empty() { "not told".to_owned() } else { known.join(", ") }
}

/// What Azure says, then the comparison.
pub(super) fn render(view: &AzureView, style: Style, wide: bool) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if let Some(cluster) = &view.cluster {
        lines.push(("State", joined(&[&cluster.power_state, &cluster.provisioning_state])));
        lines.push(("Kubernetes", joined(&[&cluster.kubernetes_version])));
        lines.push(("Support plan", joined(&[&cluster.support_plan, &format!("tier {}", cluster.tier)])));
        if wide {
            let network: Vec<&str> = cluster.network.iter().map(String::as_str).collect();
            lines.push(("Network", joined(&network)));
            let channel = if cluster.upgrade_channel.is_empty() { "none" } else { &cluster.upgrade_channel };
            lines.push(("Auto-upgrade", printable(channel)));
        }
    }
    let list = |names: &Option<Vec<String>>, none: &str| match names {
        None => none.to_owned(),
        Some(names) if names.is_empty() => "none".to_owned(),
        Some(names) => printable(&names.join(", ")),
    };
    if view.cluster.is_some() {
        lines.push(("Can follow", list(&view.upgrades, "not told")));
    }
    if view.offered.is_some() {
        lines.push(("Offered here", list(&view.offered, "")));
    }
    if let Some(tools) = &view.tools {
        let preview = tools.aks_preview.as_ref().map_or_else(String::new, |version| format!("aks-preview {version}"));
        lines.push(("az", joined(&[&tools.version, &preview])));
    }
    let mut out: String = lines.iter().map(|(name, text)| format!("{name:<16}{text}\n")).collect();
    if !view.compared.is_empty() {
        let cell = |row: &AzureRow| match (&row.cluster, row.agree) {
            (None, _) => "could not be read".to_owned(),
            (Some(found), Some(false)) => format!("{}, differs", printable(found)),
            (Some(found), _) => printable(found),
        };
        let rows: Vec<Vec<String>> =
            view.compared.iter().map(|row| vec![printable(&row.what), printable(&row.azure), cell(row)]).collect();
        out.push('\n');
        out.push_str(&super::table::table(&["MESH", "AZURE", "CLUSTER"], &rows, style));
    }
    out
}

/// What a log says: each error with its mending, then what a support ticket asks for.
pub(super) fn render_log(view: &AzureLogView, style: Style) -> String {
    let mut out = log_heading(view);
    for one in &view.understood {
        out.push('\n');
        let symbol = style.symbol(crate::engine::Severity::Error);
        out.push_str(&wrap_after(&format!("{symbol} "), &format!("{} (line {})", one.cause, one.line), 2, style.width));
        out.push_str(&wrap(&one.fix, 4, style.width));
        for step in &one.steps {
            push_step(step, style, &mut out);
        }
    }
    for one in &view.unknown {
        out.push('\n');
        let text = format!("{}: {} (line {})", printable(&one.code), printable(&one.message), one.line);
        out.push_str(&wrap_after("? ", &text, 2, style.width));
    }
    if !view.requests.is_empty() {
        out.push_str("\nFor a support ticket\n");
    }
    for request in &view.requests {
        let status = request.status.map_or_else(String::new, |status| format!(" was answered with {status}"));
        let date = request.date.as_ref().map_or_else(String::new, |date| format!(" at {}", printable(date)));
        let name = if request.request.trim().is_empty() { "a request" } else { request.request.trim() };
        out.push_str(&format!("    {}{status}{date}\n", printable(name)));
        for (label, id) in [
            ("correlation id", &request.correlation_id),
            ("request id", &request.request_id),
            ("client request id", &request.client_request_id),
            ("operation id", &request.operation_id),
        ] {
            if let Some(id) = id {
                out.push_str(&format!("      {label:<18} {}\n", printable(id)));
            }
        }
    }
    out
}

/// A line per error.
pub(super) fn short_log(view: &AzureLogView) -> String {
    let known = view.understood.iter().map(|one| format!("error {}: {}; {}\n", one.name, one.cause, one.fix));
    let unknown =
        view.unknown.iter().map(|one| format!("error {}: {}\n", printable(&one.code), printable(&one.message)));
    known.chain(unknown).chain([log_heading(view)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_said_in_its_row_and_what_was_not_read_is_not_one() {
        let row = |what: &str, cluster: Option<&str>, agree| AzureRow {
            what: what.to_owned(),
            azure: "enabled".to_owned(),
            cluster: cluster.map(str::to_owned),
            agree,
        };
        let view = AzureView {
            compared: vec![
                row("mesh", Some("installed"), Some(true)),
                row("ingress external", Some("not installed"), Some(false)),
                row("revision asm-1-28", None, None),
            ],
            ..AzureView::default()
        };
        let text = render(&view, Style::default(), false);
        let expected = "\nMESH                AZURE     CLUSTER\nmesh                enabled   installed\ningress external    enabled   not installed, differs\nrevision asm-1-28   enabled   could not be read\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_log_without_errors_says_so() {
        let view = AzureLogView { lines: 3, ..AzureLogView::default() };
        assert_eq!(
            render_log(&view, Style::default()),
            "3 lines read; no error of Azure or az in them that is known here\n"
        );
    }
}
