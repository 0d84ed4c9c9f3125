//! `inject-check --probe` for people: a row per pod, and what was added to it.

use super::document::Namespaces;
use super::probe_view::{AddedContainerView, ProbeView};
use super::style::{Style, wrap};
use super::table::table;
use super::text::{says_namespace, short_kind};
use crate::model::quoted::printable;

/// Most pods whose additions are told one by one; `-o wide` tells all.
const DETAILED: usize = 3;

/// The probe's part of the report, after the table of workloads.
#[must_use]
pub fn render(probes: &[ProbeView], asked: &Namespaces, style: Style, wide: bool) -> String {
    if probes.is_empty() {
        return "\nThe API server answered about no pod.\n".to_owned();
    }
    let several = says_namespace(asked, probes.iter().map(|probe| probe.namespace.as_str()));
    let mut headers = vec!["PROBE", "ANSWER", "COMPUTED"];
    if probes.iter().any(|probe| probe.created.is_some()) {
        headers.push("POD");
    }
    if several {
        headers.insert(0, "NAMESPACE");
    }
    let rows: Vec<Vec<String>> = probes
        .iter()
        .map(|probe| {
            let mut cells = vec![subject(probe), answer(probe), computed(probe)];
            if headers.contains(&"POD") {
                cells.push(created(probe));
            }
            if several {
                cells.insert(0, printable(&probe.namespace));
            }
            cells
        })
        .collect();
    let mut out = format!("\n{}", table(&headers, &rows, style));
    for probe in probes.iter().filter(|_| wide || probes.len() <= DETAILED) {
        details(probe, probes.len() > 1, style, &mut out);
    }
    out
}

fn subject(probe: &ProbeView) -> String {
    match probe.kind.as_str() {
        "Namespace" => "plain pod".to_owned(),
        kind => format!("{}/{}", short_kind(kind), printable(&probe.name)),
    }
}

fn answer(probe: &ProbeView) -> String {
    match (probe.answer.as_str(), &probe.refusal) {
        ("injected", _) => {
            let revision = probe.revision.as_deref().map_or_else(|| "sidecar".to_owned(), printable);
            format!("{revision}, {}", words(&probe.sidecar))
        }
        (_, Some(refusal)) => {
            let name = refusal.name.as_deref().map_or_else(String::new, |name| format!(" {}", printable(name)));
            match refusal.by.as_str() {
                "webhookUnreachable" => format!("refused: no answer from webhook{name}"),
                "webhookDenied" => format!("refused by webhook{name}"),
                "policyEngine" => "refused by Gatekeeper".to_owned(),
                "noDryRun" => format!("no dry run with webhook{name}"),
                "admissionPolicy" => format!("refused by policy{name}"),
                "podSecurity" => "refused by Pod Security".to_owned(),
                "quota" => format!("refused by quota{name}"),
                "limitRange" => "refused by a LimitRange".to_owned(),
                "serviceAccount" => format!("refused: no ServiceAccount{name}"),
                "namespace" => "refused: no such namespace".to_owned(),
                _ => "refused".to_owned(),
            }
        }
        _ => "no sidecar".to_owned(),
    }
}

fn words(sidecar: &str) -> &str {
    match sidecar {
        "native" => "native sidecar",
        "classic" => "classic sidecar",
        _ => "gateway",
    }
}

fn computed(probe: &ProbeView) -> String {
    if probe.agreement == "same" {
        return "the same".to_owned();
    }
    let next = &probe.computed;
    match (next.injected, next.decided_by.as_str()) {
        (_, "blocked") => "blocked".to_owned(),
        (None, _) => "could not tell".to_owned(),
        (Some(false), _) => "no sidecar".to_owned(),
        (Some(true), _) => next.revision.as_deref().map_or_else(|| "sidecar".to_owned(), printable),
    }
}

fn created(probe: &ProbeView) -> String {
    let Some(created) = &probe.created else { return "-".to_owned() };
    let detail = created.detail.as_deref().map_or_else(String::new, |detail| format!(" ({})", printable(detail)));
    let gone = if created.deleted { "deleted" } else { "NOT deleted" };
    match created.state.as_str() {
        "ready" => format!("ready after {} s, {gone}", created.seconds),
        state => format!("{state} after {} s{detail}, {gone}", created.seconds),
    }
}

fn details(probe: &ProbeView, named: bool, style: Style, out: &mut String) {
    let added = &probe.added;
    if added.init_containers.is_empty() && added.containers.is_empty() && added.volumes.is_empty() {
        return;
    }
    let place =
        if named { format!(" to {} in {}", subject(probe), printable(&probe.namespace)) } else { String::new() };
    out.push_str(&format!("\nAdded{place}:\n"));
    let list = |what: &str, containers: &[AddedContainerView], out: &mut String| {
        for container in containers {
            let native = if container.native { ", runs on beside the others" } else { "" };
            let line = format!("{what} {} ({}{native})", printable(&container.name), printable(&container.image));
            out.push_str(&wrap(&line, 4, style.width));
        }
    };
    list("init container", &added.init_containers, out);
    list("container", &added.containers, out);
    if !added.volumes.is_empty() {
        let volumes: Vec<String> = added.volumes.iter().map(|name| printable(name)).collect();
        out.push_str(&wrap(&format!("volumes {}", volumes.join(", ")), 4, style.width));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn probe(name: &str, more: serde_json::Value) -> ProbeView {
        let mut view = serde_json::json!({
            "kind": "Deployment", "namespace": "shop", "name": name, "answer": "plain", "revision": null, "sidecar": "none",
            "agreement": "same", "refusal": null, "created": null,
            "computed": {"injected": true, "revision": "asm-1-30", "decidedBy": "webhook", "reason": "", "webhook": null, "image": null},
            "added": {"initContainers": [], "containers": [], "volumes": []},
        });
        view.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(view).unwrap()
    }

    #[test]
    fn a_row_says_what_the_api_server_did_and_what_was_computed() {
        let refusal = |by: &str, name: Option<&str>| {
            let refusal = serde_json::json!({"by": by, "name": name, "message": "no", "onlyWithSidecar": null});
            serde_json::json!({"answer": "refused", "agreement": "other", "refusal": refusal})
        };
        let native = serde_json::json!({"answer": "injected", "revision": "asm-1-30", "sidecar": "native",
            "added": {"initContainers": [{"name": "istio-proxy", "image": "p:1", "native": true}], "containers": [], "volumes": ["istio-envoy"]}});
        let text = render(
            &[
                probe("a", native),
                probe("b", refusal("quota", Some("compute\u{1b}[31m"))),
                probe("c", refusal("webhookUnreachable", Some("x.example.com"))),
            ],
            &Namespaces::List(vec!["shop".to_owned()]),
            Style { color: false, unicode: true, width: None },
            false,
        );
        let rows: Vec<Vec<&str>> =
            text.lines().map(|line| line.split("   ").map(str::trim).filter(|c| !c.is_empty()).collect()).collect();
        assert!(rows.contains(&vec!["deploy/a", "asm-1-30, native sidecar", "the same"]), "{text}");
        assert!(
            rows.contains(&vec!["deploy/c", "refused: no answer from webhook x.example.com", "asm-1-30"]),
            "{text}"
        );
        assert!(text.contains("refused by quota compute") && !text.contains('\u{1b}'), "{text}");
        assert!(text.contains("Added to deploy/a in shop:\n    init container istio-proxy (p:1, runs on beside the others)\n    volumes istio-envoy\n"), "{text}");
    }
}
