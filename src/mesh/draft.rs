//! A workload's next pod, to ask the API server about.

use serde_json::{Map, Value, json};

use crate::mesh::injection::INJECT;

/// The next pod of a workload, from the whole object as the API server has it; none for what has no pod template.
///
/// Labels and annotations stay, because they decide. Owner, name and node do not.
#[must_use]
pub fn next_pod(object: &Value) -> Option<Value> {
    let kind = object.get("kind").and_then(Value::as_str).unwrap_or_default();
    let template = match kind {
        "Pod" => return bare(object),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template")?,
        _ => object.pointer("/spec/template")?,
    };
    let mut spec = template.get("spec").filter(|spec| spec.is_object())?.clone();
    claims(object, &mut spec);
    Some(pod(template.get("metadata"), spec))
}

/// The volumes that a StatefulSet's controller adds to each pod, one per claim: without them, mounts would lead nowhere.
fn claims(object: &Value, spec: &mut Value) {
    let claims = object.pointer("/spec/volumeClaimTemplates").and_then(Value::as_array);
    let names = claims.into_iter().flatten().filter_map(|claim| claim.pointer("/metadata/name"));
    let names: Vec<Value> = names.filter(|name| name.is_string()).cloned().collect();
    let Some(spec) = spec.as_object_mut().filter(|_| !names.is_empty()) else { return };
    if !spec.get("volumes").is_some_and(Value::is_array) {
        spec.insert("volumes".to_owned(), json!([]));
    }
    if let Some(volumes) = spec.get_mut("volumes").and_then(Value::as_array_mut) {
        // A volume of the same name in the template gives way.
        volumes.retain(|volume| !volume.get("name").is_some_and(|name| names.contains(name)));
        volumes.extend(names.into_iter().map(|name| json!({"name": name, "emptyDir": {}})));
    }
}

fn pod(metadata: Option<&Value>, spec: Value) -> Value {
    let mut kept = Map::new();
    for part in ["labels", "annotations"] {
        if let Some(map) = metadata.and_then(|metadata| metadata.get(part)).filter(|map| map.is_object()) {
            kept.insert(part.to_owned(), map.clone());
        }
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": kept, "spec": spec})
}

/// A pod without an owner is the only record of its own template. What the injector put in is taken out again, as its
/// annotation lists it, and so is what the scheduler and admission wrote.
fn bare(object: &Value) -> Option<Value> {
    const STATUS: &str = "sidecar.istio.io/status";
    let spec = object.get("spec").filter(|spec| spec.is_object())?;
    let mut made = pod(object.get("metadata"), spec.clone());
    let status = made
        .pointer_mut("/metadata/annotations")
        .and_then(Value::as_object_mut)
        .and_then(|annotations| annotations.remove(STATUS))
        .and_then(|status| serde_json::from_str::<Value>(status.as_str().unwrap_or_default()).ok());
    let spec = made.get_mut("spec").and_then(Value::as_object_mut)?;
    spec.remove("nodeName");
    // Written from the priority class; another value than the class's own is refused.
    spec.remove("priority");
    let mut gone: Vec<(&str, Value)> = Vec::new();
    if let Some(status) = &status {
        gone = ["initContainers", "containers", "volumes"]
            .iter()
            .filter_map(|list| Some((*list, status.get(*list)?.clone())))
            .collect();
    }
    // The token that admission mounts; it is mounted again.
    let token = |name: &str| name.starts_with("kube-api-access-");
    for list in ["initContainers", "containers", "volumes"] {
        let named = gone.iter().filter(|(of, _)| *of == list).filter_map(|(_, names)| names.as_array()).flatten();
        let named: Vec<&str> = named.filter_map(Value::as_str).collect();
        if let Some(items) = spec.get_mut(list).and_then(Value::as_array_mut) {
            items.retain(|item| {
                let name = item.get("name").and_then(Value::as_str).unwrap_or_default();
                // A native sidecar is listed as no container at all.
                let proxy = status.is_some() && list != "volumes" && name == crate::mesh::proxy::PROXY_CONTAINER;
                !(named.contains(&name) || proxy || list == "volumes" && token(name))
            });
            for item in items {
                if let Some(mounts) = item.get_mut("volumeMounts").and_then(Value::as_array_mut) {
                    mounts.retain(|mount| !mount.get("name").and_then(Value::as_str).is_some_and(token));
                }
            }
        }
    }
    Some(made)
}

/// The same pod, opting out of injection.
#[must_use]
pub fn without_sidecar(pod: &Value) -> Value {
    let mut other = pod.clone();
    if let Some(metadata) = other.get_mut("metadata").and_then(Value::as_object_mut) {
        let labels = metadata.entry("labels").or_insert_with(|| json!({}));
        if let Some(labels) = labels.as_object_mut() {
            labels.insert(INJECT.to_owned(), "false".into());
        }
    }
    other
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_template_keeps_what_decides_and_nothing_of_its_owner() {
        let deployment = json!({
            "kind": "Deployment",
            "metadata": {"name": "cart", "uid": "1"},
            "spec": {"template": {
                "metadata": {"labels": {"app": "cart"}, "annotations": {"sidecar.istio.io/inject": "true"}, "creationTimestamp": null},
                "spec": {"serviceAccountName": "cart", "containers": [{"name": "app", "image": "x"}]}}},
        });
        let pod = next_pod(&deployment).unwrap();
        assert_eq!(
            pod["metadata"],
            json!({"labels": {"app": "cart"}, "annotations": {"sidecar.istio.io/inject": "true"}})
        );
        assert_eq!(pod["spec"]["serviceAccountName"], "cart");
        let cron = json!({"kind": "CronJob", "spec": {"jobTemplate": {"spec": {"template": {"spec": {"restartPolicy": "Never"}}}}}});
        assert_eq!(next_pod(&cron).unwrap()["spec"]["restartPolicy"], "Never");
        for odd in [json!({"kind": "Deployment"}), json!({"kind": "Pod", "spec": "x"}), json!(7), json!(null)] {
            assert_eq!(next_pod(&odd), None);
        }
    }

    #[test]
    fn claims_of_a_stateful_set_become_volumes() {
        let set = json!({"kind": "StatefulSet", "spec": {
            "volumeClaimTemplates": [{"metadata": {"name": "data"}}, {"metadata": {}}, 7],
            "template": {"spec": {"containers": [], "volumes": [{"name": "data", "hostPath": {}}, {"name": "own"}]}}}});
        assert_eq!(
            next_pod(&set).unwrap()["spec"]["volumes"],
            json!([{"name": "own"}, {"name": "data", "emptyDir": {}}])
        );
        let none = json!({"kind": "StatefulSet", "spec": {"volumeClaimTemplates": [{"metadata": {"name": "data"}}], "template": {"spec": {"volumes": null}}}});
        assert_eq!(next_pod(&none).unwrap()["spec"]["volumes"], json!([{"name": "data", "emptyDir": {}}]));
    }

    #[test]
    fn a_bare_pod_loses_what_the_injector_and_the_scheduler_gave_it() {
        let pod = json!({
            "kind": "Pod",
            "metadata": {"name": "p", "labels": {"app": "p"}, "annotations": {"sidecar.istio.io/status":
                "{\"initContainers\":[\"istio-init\"],\"containers\":[\"istio-proxy\"],\"volumes\":[\"istio-envoy\"],\"revision\":\"asm-1-30\"}"}},
            "spec": {"nodeName": "n", "priority": 0,
                "initContainers": [{"name": "istio-init"}, {"name": "own"}],
                "containers": [{"name": "app", "volumeMounts": [{"name": "kube-api-access-x"}, {"name": "data"}]}, {"name": "istio-proxy"}],
                "volumes": [{"name": "istio-envoy"}, {"name": "data"}, {"name": "kube-api-access-x"}]},
        });
        let made = next_pod(&pod).unwrap();
        assert_eq!(
            made["spec"],
            json!({"initContainers": [{"name": "own"}],
                "containers": [{"name": "app", "volumeMounts": [{"name": "data"}]}],
                "volumes": [{"name": "data"}]})
        );
        assert_eq!(made["metadata"], json!({"labels": {"app": "p"}, "annotations": {}}));
    }

    #[test]
    fn opting_out_is_a_label_and_leaves_the_rest() {
        let pod = json!({"metadata": {"labels": {"app": "x", INJECT: "true"}}, "spec": {"hostNetwork": true}});
        let other = without_sidecar(&pod);
        assert_eq!(other["metadata"]["labels"], json!({"app": "x", INJECT: "false"}));
        assert_eq!(other["spec"], pod["spec"]);
        assert_eq!(without_sidecar(&json!({"metadata": {}}))["metadata"]["labels"][INJECT], "false");
    }
}
