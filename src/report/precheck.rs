//! `precheck` for people.

use super::precheck_view::{CommandView, ConnectionView, PrecheckView, ProgramView};
use super::style::{Style, shell};
use super::table::table;
use crate::model::quoted::printable;

/// The body of the report, before its findings.
#[must_use]
pub fn render(view: &PrecheckView, style: Style, wide: bool) -> String {
    let mut rows: Vec<(String, String)> = Vec::new();
    if let Some(connection) = &view.connection {
        rows.push(("API server".to_owned(), server(connection)));
        rows.push(("Credentials".to_owned(), credentials(connection)));
    }
    if let Some(bundle) = &view.bundle {
        let place = bundle.namespaces.as_ref().map_or_else(|| "all namespaces".to_owned(), |names| names.join(", "));
        let broken = if bundle.interrupted { ", interrupted" } else { "" };
        rows.push(("Bundle".to_owned(), printable(&format!("{place}{broken}"))));
    }
    rows.extend(view.programs.iter().map(|one| (printable(&one.name), program(one, wide))));
    let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
    let mut out: String = rows.iter().map(|(name, text)| format!("{name:width$}   {text}\n")).collect();
    if !view.lines.is_empty() {
        out.push_str("\nFor this cluster:\n");
        for line in &view.lines {
            out.push_str(&format!("    $ {}\n", style.command(&printable(&shell(line)))));
        }
    }
    out.push('\n');
    out.push_str(&commands(&view.commands, style));
    out
}

/// How much of what is asked for a bundle can answer, where that is not all; none for a cluster.
#[must_use]
pub fn answerable(view: &PrecheckView) -> Option<String> {
    let able = |can: &str| view.commands.iter().filter(|one| one.can == can).count();
    let (all, whole, part) = (view.commands.len(), able("yes"), able("part"));
    if view.bundle.is_none() || whole == all {
        return None;
    }
    let noun = if all == 1 { "command" } else { "commands" };
    let part = if part > 0 { format!(", {part} in part") } else { String::new() };
    Some(format!("{whole} of {all} {noun} can be answered{part}"))
}

fn server(connection: &ConnectionView) -> String {
    let verified = if connection.verified { "" } else { ", its certificate is not checked" };
    format!("{} answers in {} ms{verified}", printable(&connection.server), connection.milliseconds)
}

fn credentials(connection: &ConnectionView) -> String {
    let plugin = printable(connection.plugin.as_deref().unwrap_or_default());
    let how = match connection.credentials.as_str() {
        "plugin" => format!("from {plugin}"),
        "token" => "a token".to_owned(),
        "clientCertificate" => "a client certificate".to_owned(),
        "basic" => "name and password".to_owned(),
        "provider" => format!("auth provider {plugin}"),
        "serviceAccount" => "the service account of this pod".to_owned(),
        _ => "none".to_owned(),
    };
    let who = connection.user.as_deref().map_or_else(String::new, |user| format!(", user {}", printable(user)));
    let until = connection.until.as_deref().map_or_else(String::new, |until| format!(", valid until {until}"));
    format!("{how}{who}{until}")
}

fn program(one: &ProgramView, wide: bool) -> String {
    let Some(path) = &one.path else { return "not on the PATH".to_owned() };
    let mut text = match (&one.version, &one.trouble) {
        (Some(version), _) => printable(version),
        (None, Some(trouble)) => format!("version unknown: {}", printable(trouble)),
        (None, None) => "found".to_owned(),
    };
    if let Some(extension) = &one.extension {
        text.push_str(&format!(", aks-preview {}", printable(extension)));
    }
    if wide {
        text.push_str(&format!("  {}", printable(path)));
    }
    text
}

/// A row per command, a column per scope.
fn commands(commands: &[CommandView], style: Style) -> String {
    let mut scopes: Vec<&Option<Vec<String>>> = Vec::new();
    let mut names: Vec<&str> = Vec::new();
    for one in commands {
        if !scopes.contains(&&one.namespaces) {
            scopes.push(&one.namespaces);
        }
        if !names.contains(&one.command.as_str()) {
            names.push(&one.command);
        }
    }
    let heads: Vec<String> = scopes
        .iter()
        .map(|scope| match scope {
            None => "WHOLE CLUSTER".to_owned(),
            Some(names) => format!("IN {}", printable(&names.join(", "))),
        })
        .collect();
    let mut headers = vec!["COMMAND"];
    headers.extend(heads.iter().map(String::as_str));
    let rows: Vec<Vec<String>> = names
        .iter()
        .map(|name| {
            let mut cells = vec![(*name).to_owned()];
            cells.extend(scopes.iter().map(|scope| {
                let found = commands.iter().find(|one| one.command == *name && one.namespaces == **scope);
                found.map_or_else(|| "-".to_owned(), cell)
            }));
            cells
        })
        .collect();
    table(&headers, &rows, style)
}

fn cell(one: &CommandView) -> String {
    if let Some(flag) = &one.flag {
        return format!("no: made without {}", printable(flag));
    }
    let lacks = match (one.missing.len(), one.unread.len()) {
        (0, 1) => "1 section is not in it".to_owned(),
        (0, unread) => format!("{unread} sections are not in it"),
        (1, _) => "1 right is missing".to_owned(),
        (missing, _) => format!("{missing} rights are missing"),
    };
    match one.can.as_str() {
        "yes" => "yes".to_owned(),
        "unknown" => "not known".to_owned(),
        "part" => format!("in part: {lacks}"),
        _ => format!("no: {lacks}"),
    }
}
