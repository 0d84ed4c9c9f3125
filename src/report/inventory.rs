//! The inventory of `status`.

use unicode_width::UnicodeWidthStr;

use super::style::Style;
use super::view::{GatewayView, RevisionView, StatusView};
use crate::model::quoted::printable;

/// Renders what is installed, one line per part.
#[must_use]
pub fn render(view: &StatusView, style: Style, wide: bool) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    match &view.revisions {
        None => lines.push(("Control plane", "could not be read".to_owned())),
        Some(revisions) if revisions.is_empty() => lines.push(("Control plane", "none".to_owned())),
        Some(revisions) => {
            lines.extend(aligned(revisions.iter().map(control_plane).collect()).map(|line| ("Control plane", line)));
        }
    }
    match &view.gateways {
        None => lines.push(("Ingress", "could not be read".to_owned())),
        Some(gateways) => {
            let (egress, ingress): (Vec<_>, Vec<_>) = gateways.iter().partition(|gateway| gateway.kind == "egress");
            if ingress.is_empty() {
                lines.push(("Ingress", "none".to_owned()));
            }
            for (label, gateways) in [("Ingress", ingress), ("Egress", egress)] {
                lines.extend(aligned(gateways.into_iter().map(gateway).collect()).map(|line| (label, line)));
            }
        }
    }
    lines.push(("Namespaces", namespaces(view)));
    lines.push(("Workloads", workloads(view)));
    lines.push(("Proxies", proxies(view)));
    let mut out = String::new();
    let mut before = "";
    for (name, text) in lines {
        let shown = if name == before { "" } else { name };
        before = name;
        out.push_str(&format!("{shown:<16}{text}\n"));
    }
    if let (true, Some(namespaces)) = (wide, &view.namespaces) {
        let dash = |text: &Option<String>| text.as_deref().map_or_else(|| "-".to_owned(), printable);
        let rows: Vec<Vec<String>> = namespaces
            .iter()
            .map(|namespace| {
                let counts = namespace.workloads;
                vec![
                    printable(&namespace.name),
                    namespace.state.clone(),
                    dash(&namespace.label),
                    dash(&namespace.revision),
                    format!("{}/{}/{}", counts.inside, counts.outside, counts.broken),
                ]
            })
            .collect();
        out.push('\n');
        out.push_str(&super::table::table(&["NAMESPACE", "STATE", "LABEL", "REVISION", "IN/OUT/BROKEN"], &rows, style));
    }
    out
}

/// Rows of one part of the mesh, their columns under each other.
fn aligned(rows: Vec<[String; 3]>) -> impl Iterator<Item = String> {
    let widths = [0, 1].map(|column| rows.iter().map(|row| row[column].width()).max().unwrap_or_default());
    rows.into_iter().map(move |[first, second, third]| {
        let pad = |text: &str, width: usize| " ".repeat(width + 3 - text.width());
        let (before, after) = (pad(&first, widths[0]), pad(&second, widths[1]));
        format!("{first}{before}{second}{after}{third}").trim_end().to_owned()
    })
}

fn control_plane(revision: &RevisionView) -> [String; 3] {
    let support = &revision.support;
    let day = support.until.as_deref().unwrap_or("?");
    let day = if support.exact { day.to_owned() } else { format!("~{}", day.get(..7).unwrap_or(day)) };
    let support = match support.state.as_str() {
        "supported" => format!("supported to {day} (table {})", support.table),
        "ended" => format!("support ended {day}"),
        "probablyEnded" => format!("support ended {day}, says the table of {}", support.table),
        _ => format!("support unknown (table {})", support.table),
    };
    let tags = if revision.tags.is_empty() {
        String::new()
    } else {
        format!("   tags {}", revision.tags.iter().map(|tag| printable(tag)).collect::<Vec<_>>().join(", "))
    };
    [
        printable(&revision.name),
        revision
            .istiods
            .map_or_else(|| "pods could not be read".to_owned(), |pods| format!("{}/{} ready", pods.ready, pods.total)),
        format!("{support}{tags}"),
    ]
}

fn gateway(gateway: &GatewayView) -> [String; 3] {
    let name = match gateway.kind.as_str() {
        "external" | "internal" => gateway.kind.clone(),
        _ => format!("{}/{}", printable(&gateway.namespace), printable(&gateway.name)),
    };
    let addresses = if gateway.addresses.is_empty() {
        if gateway.kind == "egress" { "-".to_owned() } else { "address pending".to_owned() }
    } else {
        printable(&gateway.addresses.join(", "))
    };
    let pods: Vec<String> =
        gateway.deployments.iter().map(|d| format!("{}/{} ready", d.pods.ready, d.pods.total)).collect();
    [name, addresses, pods.join(", ")]
}

fn namespaces(view: &StatusView) -> String {
    let Some(namespaces) = &view.namespaces else { return "could not be read".to_owned() };
    let of = |state: &str| namespaces.iter().filter(|namespace| namespace.state == state).count();
    let (broken, outside) = (of("broken"), of("outside") + view.namespaces_outside);
    let mut text = format!("{} in the mesh", of("in"));
    if broken > 0 {
        text.push_str(&format!(", {broken} broken"));
    }
    if outside > 0 {
        text.push_str(&format!(", {outside} outside"));
    }
    text
}

fn workloads(view: &StatusView) -> String {
    let Some(counts) = view.workloads else { return "could not be told".to_owned() };
    let mut text = format!("{} in the mesh", counts.inside);
    if counts.broken > 0 {
        text.push_str(&format!(", {} broken", counts.broken));
    }
    if counts.outside > 0 {
        text.push_str(&format!(", {} outside", counts.outside));
    }
    text
}

fn proxies(view: &StatusView) -> String {
    if view.proxy_images.is_empty() {
        // Without the workloads nobody looked, which is not the same as none.
        return if view.workloads.is_some() { "none" } else { "could not be told" }.to_owned();
    }
    let mut by_version: std::collections::BTreeMap<&str, usize> = std::collections::BTreeMap::new();
    for image in &view.proxy_images {
        *by_version.entry(image.version.as_deref().unwrap_or("an unknown version")).or_default() += image.pods;
    }
    let mut all: Vec<_> = by_version.into_iter().collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all.iter().map(|(version, pods)| format!("{pods} running {}", printable(version))).collect::<Vec<_>>().join(", ")
}
