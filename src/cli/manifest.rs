//! Manifests given with `-f`: what would be injected before it is applied.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use crate::mesh::draft;
use crate::model::yaml::{self, YamlError};
use crate::model::{Controller, ControllerKind, Meta, PodSpec};

/// Largest manifest read.
const CAP: u64 = 64 << 20;

/// One workload of a manifest.
#[derive(Clone, Debug)]
pub struct Planned {
    /// Kind.
    pub kind: String,
    /// Namespace, where the manifest names one.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
    /// Labels and annotations of its pods.
    pub template: Meta,
    /// Spec of its pods.
    pub spec: PodSpec,
    /// Its next pod as it would be sent, where it has one.
    pub pod: Option<Value>,
}

/// Reads workloads from a file of YAML or JSON documents, or from stdin (`-`). Other kinds are left out.
///
/// # Errors
/// A sentence naming the file and, where the parser tells, the line.
pub fn read(path: &Path) -> Result<Vec<Planned>, String> {
    let name = path.display();
    let mut text = String::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().take(CAP + 1).read_to_string(&mut text)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(CAP + 1).read_to_string(&mut text))
    };
    read.map_err(|error| format!("{name} cannot be read: {error}"))?;
    if text.len() as u64 > CAP {
        return Err(format!("{name} is larger than {} MiB", CAP >> 20));
    }
    parse(&text).map_err(|error| format!("{name}: {error}"))
}

pub(super) fn parse(text: &str) -> Result<Vec<Planned>, String> {
    let mut planned = Vec::new();
    if !yaml::is_shallow(text) {
        return Err(YamlError::Deep.to_string());
    }
    for document in serde_yaml::Deserializer::from_str(text) {
        // The parser repeats a syntax error for ever, so the first one ends it.
        let value = Value::deserialize(document).map_err(|error| error.to_string())?;
        collect(value, &mut planned)?;
    }
    Ok(planned)
}

fn collect(value: Value, planned: &mut Vec<Planned>) -> Result<(), String> {
    let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default().to_owned();
    if kind.ends_with("List")
        && let Value::Object(mut list) = value
    {
        if let Some(Value::Array(items)) = list.remove("items") {
            for item in items {
                collect(item, planned)?;
            }
        }
        return Ok(());
    }
    let wrong = |error: serde_json::Error| format!("{kind}: {error}");
    let pod = draft::next_pod(&value);
    let controller = match kind.as_str() {
        "Deployment" => ControllerKind::Deployment,
        "StatefulSet" => ControllerKind::StatefulSet,
        "DaemonSet" => ControllerKind::DaemonSet,
        "Job" => ControllerKind::Job,
        "CronJob" => ControllerKind::CronJob,
        "Pod" => {
            let read: crate::model::Pod = serde_json::from_value(value).map_err(wrong)?;
            planned.push(Planned {
                kind,
                namespace: (!read.metadata.namespace.is_empty()).then(|| read.metadata.namespace.clone()),
                name: named(&read.metadata),
                template: read.metadata,
                spec: read.spec,
                pod,
            });
            return Ok(());
        }
        _ => return Ok(()),
    };
    let controller = Controller::from_value(controller, value).map_err(wrong)?;
    planned.push(Planned {
        kind,
        namespace: (!controller.metadata.namespace.is_empty()).then(|| controller.metadata.namespace.clone()),
        name: named(&controller.metadata),
        template: controller.template.metadata,
        spec: controller.template.spec,
        pod,
    });
    Ok(())
}

fn named(meta: &Meta) -> String {
    if meta.name.is_empty() { meta.generate_name.clone() } else { meta.name.clone() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn documents_lists_and_json_are_read_and_other_kinds_left_out() {
        let text = "kind: Service\nmetadata: {name: s}\n---\nkind: Deployment\nmetadata: {name: d, namespace: n}\nspec: {template: {metadata: {labels: {a: b}}}}\n---\n{\"kind\":\"List\",\"items\":[{\"kind\":\"Pod\",\"metadata\":{\"generateName\":\"p-\"}}]}\n";
        let planned = parse(text).unwrap();
        let names: Vec<_> =
            planned.iter().map(|p| (p.kind.as_str(), p.name.as_str(), p.namespace.as_deref())).collect();
        assert_eq!(names, [("Deployment", "d", Some("n")), ("Pod", "p-", None)]);
        assert_eq!(planned[0].template.label("a"), Some("b"));
    }

    #[test]
    fn a_broken_document_is_an_error_with_a_line() {
        assert!(parse("kind: Pod\n  bad: [").unwrap_err().contains("line"));
    }
}
