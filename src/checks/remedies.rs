//! Steps that several checks print.

use std::collections::BTreeMap;

use crate::engine::{Risk, Step, Subject};
use crate::mesh::workload::{Restart, Workload};
use crate::sources::SYSTEM_NAMESPACE;

/// Points a namespace at a revision.
pub fn label_namespace(namespace: &str, revision: &str) -> Step {
    Step::command(
        Risk::Change,
        format!("points namespace {namespace} to {revision}; running pods are not touched"),
        ["kubectl", "label", "namespace", namespace, &format!("istio.io/rev={revision}"), "--overwrite"],
    )
}

/// Removes a label from a namespace.
pub fn unlabel_namespace(namespace: &str, label: &str) -> Step {
    Step::command(
        Risk::Change,
        format!("removes the label {label}; running pods are not touched"),
        ["kubectl", "label", "namespace", namespace, &format!("{label}-")],
    )
}

/// Points a tag at a revision.
pub fn set_tag(tag: &str, revision: &str) -> Step {
    Step::command(
        Risk::Change,
        format!("points tag {tag} to {revision} (needs istioctl); running pods are not touched"),
        ["istioctl", "tag", "set", tag, "--revision", revision, "-i", SYSTEM_NAMESPACE, "--overwrite"],
    )
}

/// Upgrades the nodes of a pool; the placeholder stands for a pool that no label names.
pub fn upgrade_pool(pool: &str, kubernetes: &str) -> Step {
    Step::command(
        Risk::Restart,
        format!("upgrades node pool {pool}: drains and replaces its nodes one after the other"),
        [
            "az",
            "aks",
            "nodepool",
            "upgrade",
            "-g",
            "<resource-group>",
            "--cluster-name",
            "<cluster>",
            "-n",
            pool,
            "--kubernetes-version",
            kubernetes,
        ],
    )
}

/// Makes AKS write the add-on's objects again.
pub fn reconcile(what: &str) -> Step {
    Step::command(
        Risk::Change,
        format!("makes AKS reconcile the cluster, which {what}; answer y when it asks"),
        ["az", "aks", "update", "-g", "<resource-group>", "-n", "<cluster>"],
    )
}

/// Restarts the istiods of revisions.
pub fn restart_istiod(revisions: &[crate::mesh::control_plane::Revision<'_>], what: &str) -> Vec<Step> {
    revisions
        .iter()
        .map(|revision| {
            let deployment = format!("deployment/istiod-{}", revision.name);
            Step::command(
                Risk::Restart,
                format!("restarts istiod of {}, which {what}", revision.name),
                ["kubectl", "rollout", "restart", &deployment, "-n", SYSTEM_NAMESPACE],
            )
        })
        .collect()
}

/// Restarts workloads, each the way its owner allows; several of one kind in a namespace share a command.
pub fn restart<'w, 'a: 'w>(workloads: impl IntoIterator<Item = &'w Workload<'a>>) -> Vec<Step> {
    let mut rollouts: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut steps = Vec::new();
    for workload in workloads {
        let (namespace, name) = (workload.namespace, workload.name.as_str());
        let lower = workload.kind.to_lowercase();
        match workload.restart() {
            Restart::Rollout => rollouts.entry(namespace).or_default().push(format!("{lower}/{name}")),
            Restart::DeletePods(pods) if pods.is_empty() => {}
            Restart::DeletePods(pods) => {
                let mut command =
                    vec!["kubectl".to_owned(), "delete".into(), "pod".into(), "-n".into(), namespace.into()];
                command.extend(pods);
                steps.push(Step::command(
                    Risk::Restart,
                    format!("{lower}/{name} replaces pods only once they are deleted; the new ones come back changed"),
                    command,
                ));
            }
            Restart::Recreate => steps.push(Step::text(
                Risk::Restart,
                format!("nothing recreates {lower}/{name} in {namespace}: delete it and apply its manifest again"),
            )),
            Restart::NextRun => steps
                .push(Step::text(Risk::Read, format!("{lower}/{name} in {namespace} is right from its next run on"))),
            Restart::ArgoRollout => steps.push(Step::command(
                Risk::Restart,
                format!("restarts the Argo Rollout {name}"),
                ["kubectl", "argo", "rollouts", "restart", name, "-n", namespace],
            )),
        }
    }
    let mut all: Vec<Step> = rollouts
        .into_iter()
        .map(|(namespace, names)| {
            let mut command =
                vec!["kubectl".to_owned(), "rollout".into(), "restart".into(), "-n".into(), namespace.into()];
            command.extend(names);
            Step::command(Risk::Restart, format!("replaces the pods in {namespace} one after the other"), command)
        })
        .collect();
    all.extend(steps);
    all
}

/// A workload as a subject.
pub fn subject(workload: &Workload<'_>) -> Subject {
    Subject::new(workload.kind.clone(), workload.namespace, workload.name.clone())
}

/// The join key of a workload.
pub fn workload_key(workload: &Workload<'_>) -> String {
    format!("{}/{}/{}", workload.namespace, workload.kind, workload.name)
}

/// `1 pod`, `2 pods`.
pub fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Somebody else's text as evidence: on one line, and of a length that a person reads.
pub fn quote(text: &str) -> String {
    const CAP: usize = 400;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(CAP) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Names in a sentence: all of them up to five, then how many more.
pub fn names<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let all: Vec<_> = names.into_iter().collect();
    if all.len() <= 5 {
        return all.join(", ");
    }
    format!("{} and {} more", all[..5].join(", "), all.len() - 5)
}

/// Name of the ConfigMap by which users set the mesh configuration of a revision.
pub fn shared_config_map(revision: &str) -> String {
    format!("istio-shared-configmap-{revision}")
}

/// Copies the shared mesh configuration of one revision to another one. `kubectl apply` leaves out what the API server
/// has written into the copied object.
pub fn copy_shared_config_map(from: &str, to: &str) -> Step {
    let (old, new) = (shared_config_map(from), shared_config_map(to));
    let copy =
        format!("kubectl get configmap {old} -n {SYSTEM_NAMESPACE} -o yaml | sed s/{old}/{new}/g | kubectl apply -f -");
    Step::command(Risk::Change, format!("gives {to} the mesh configuration of {from}"), ["sh", "-c", copy.as_str()])
}

/// `az aks mesh upgrade complete` or `rollback`.
pub fn end_upgrade(verb: &str, text: impl Into<String>) -> Step {
    Step::command(
        Risk::Change,
        text,
        ["az", "aks", "mesh", "upgrade", verb, "-g", "<resource-group>", "-n", "<cluster>"],
    )
}

/// A command of `az aks` about this cluster: what names the cluster stands behind the verbs.
pub fn az(risk: Risk, text: impl Into<String>, command: &[&str]) -> Step {
    let target = ["-g", "<resource-group>", "-n", "<cluster>"];
    let split = command.iter().position(|word| word.starts_with('-')).unwrap_or(command.len());
    let (verb, flags) = command.split_at(split);
    Step::command(risk, text, ["az", "aks"].iter().chain(verb).chain(&target).chain(flags).copied())
}
