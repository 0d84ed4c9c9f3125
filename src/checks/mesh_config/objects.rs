//! Which ConfigMaps are read at all, and who wrote them.

use super::{about, place, show};
use crate::checks::remedies::{names, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::lens::MESH_CONFIGS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Verdict};
use crate::mesh::control_plane::Revision;
use crate::mesh::mesh_config::{KEY, SHARED_PREFIX, shared_name};
use crate::mesh::revision::AsmRevision;
use crate::model::ConfigMap;
use crate::model::config_map::Manager;
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

pub(super) static UNREAD: Check = Check {
    code: "CFG04",
    name: "shared-mesh-config-unread",
    title: "Every shared mesh configuration has the name and the namespace that istiod reads",
    area: Area::MeshConfig,
    severity: Severity::Error,
    inputs: &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps, SourceId::SharedConfigMaps],
    uses: &[],
    docs: "## What it means
A ConfigMap is meant to hold mesh settings, but istiod ignores it: it has the wrong name, or is in the wrong namespace.

## Why it happens on AKS
Each revision's istiod reads exactly one ConfigMap of yours: `istio-shared-configmap-asm-X-Y` in `aks-istio-system`. With a version (`1.28`), a tag or nothing at the end of its name, or in a namespace such as `istio-system` or `default`, it is an ordinary ConfigMap.

## How we know
ConfigMaps in `aks-istio-system` whose names begin like the shared one, or that hold a key `mesh` under a similar name; and ConfigMaps with the exact name of an installed revision in any other examined namespace. If the right one exists too, this is an info only. Names of revisions that are not installed are UPG07.

## What to do
Create the ConfigMap under its right name, then delete the other one.

## What else looks like it
A ConfigMap for a revision that was removed (UPG07), and one that is prepared for an upgrade, which is right.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#set-up-configuration-on-cluster>",
    run: unread,
};

fn unread(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    lens.need(&[SourceId::SystemConfigMaps, SourceId::SharedConfigMaps])?;
    let snapshot = lens.snapshot();
    let own = snapshot.system_config_maps.items().unwrap_or_default();
    let has_right = |revision: &str| own.iter().any(|map| map.metadata.name == shared_name(revision));
    let mut verdict = Verdict::default();
    for map in own.iter().filter(|map| is_meant_as_shared(map)) {
        verdict.examined += 1;
        let suffix = map.metadata.name.strip_prefix(SHARED_PREFIX).and_then(|rest| rest.strip_prefix('-'));
        if suffix.is_some_and(|suffix| AsmRevision::parse(suffix).is_some()) {
            continue;
        }
        let Some(target) = target(&map.metadata.name, revisions) else { continue };
        let summary = format!("{} is ignored by istiod: wrong name", map.metadata.name);
        let others = revisions.iter().all(|revision| has_right(&revision.name));
        verdict.findings.push(misplaced(map, target, summary, others));
    }
    for map in snapshot.shared_config_maps.items().unwrap_or_default() {
        if map.metadata.namespace == SYSTEM_NAMESPACE {
            continue;
        }
        verdict.examined += 1;
        let name = &map.metadata.name;
        let Some(revision) = revisions.iter().find(|revision| shared_name(&revision.name) == *name) else { continue };
        let summary = format!("{name} is ignored: wrong namespace {}", map.metadata.namespace);
        verdict.findings.push(misplaced(map, &revision.name, summary, has_right(&revision.name)));
    }
    Ok(verdict)
}

/// Whether somebody meant a ConfigMap of the add-on's namespace to be the shared one.
fn is_meant_as_shared(map: &ConfigMap) -> bool {
    let name = &map.metadata.name;
    name.starts_with(SHARED_PREFIX)
        || (name.starts_with("istio") && name.contains("shared") && map.data.contains_key(KEY))
}

/// The revision that a misnamed ConfigMap is meant for: the one whose version its name ends with, else the newest.
fn target<'r>(name: &str, revisions: &'r [Revision<'_>]) -> Option<&'r str> {
    let name = name.replace(['.', '_'], "-");
    let numbers = |revision: &str| revision.strip_prefix("asm").map(str::to_owned);
    let named = revisions.iter().find(|revision| numbers(&revision.name).is_some_and(|end| name.ends_with(&end)));
    named.or_else(|| revisions.last()).map(|revision| revision.name.as_str())
}

/// `spare`: the right one exists too, so that this one is only in the way.
fn misplaced(map: &ConfigMap, revision: &str, summary: String, spare: bool) -> Finding {
    let (name, namespace, right) = (&map.metadata.name, &map.metadata.namespace, shared_name(revision));
    let create = (!spare).then(|| {
        Step::command(
            Risk::Change,
            "creates, from that file, the ConfigMap that istiod reads",
            ["kubectl", "create", "configmap", &right, "-n", SYSTEM_NAMESPACE, "--from-file=mesh=<file>"],
        )
    });
    let print = Step::command(
        Risk::Read,
        if spare {
            "prints its settings; check that none is missed"
        } else {
            "prints its settings; save them in a file"
        },
        ["kubectl", "get", "configmap", name, "-n", namespace, "-o", "go-template={{.data.mesh}}"],
    );
    let delete = Step::command(
        Risk::Change,
        "removes the ignored ConfigMap",
        ["kubectl", "delete", "configmap", name, "-n", namespace],
    );
    let object = format!("{namespace}/configmap/{name}");
    about(
        name,
        namespace,
        revision,
        summary,
        format!("None of its settings are in force. istiod reads only {right} in {SYSTEM_NAMESPACE}."),
    )
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new(
        if spare { "remove it".to_owned() } else { format!("move its settings to {right} in {SYSTEM_NAMESPACE}") },
        [Some(print), create, Some(delete)].into_iter().flatten().collect(),
    ))
    .at_most(if spare { Severity::Info } else { Severity::Error })
    .evidence(
        if namespace == SYSTEM_NAMESPACE { SourceId::SystemConfigMaps } else { SourceId::SharedConfigMaps },
        object,
        "name and namespace",
        format!("{name} in {namespace}"),
        Some(&format!("{right} in {SYSTEM_NAMESPACE}")),
    )
}

pub(super) static EDITED: Check = Check {
    code: "CFG06",
    name: "managed-mesh-config-edited",
    title: "Nobody but AKS writes the managed mesh configuration",
    area: Area::MeshConfig,
    severity: Severity::Warning,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
Somebody edited the ConfigMap `istio-asm-X-Y`, which AKS manages. AKS undoes such edits, usually within two minutes; until then they are in force.

## Why it happens on AKS
Istio's own pages say to edit the mesh configuration, and on AKS that ConfigMap looks like the place. It is not: your settings belong into `istio-shared-configmap-asm-X-Y`.

## How we know
The API server remembers who wrote an object last (`metadata.managedFields`). Here a tool such as `kubectl` wrote after the controller that AKS uses.

## What to do
Put the settings into the shared ConfigMap; fields that AKS's own ConfigMap sets have no effect there (CFG05). The edit itself needs no undoing; if it stays for longer than a few minutes, reconcile the cluster.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#set-up-configuration-on-cluster>, <https://github.com/Azure/AKS/issues/5728>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for config in lens.mesh_configs()? {
            let Some(managed) = &config.managed else { continue };
            verdict.examined += 1;
            let Some(editor) = last_person(&managed.map.managers) else { continue };
            let name = managed.name();
            let shared = shared_name(&config.revision);
            let when = editor.time.map_or_else(|| "unknown".to_owned(), |t| t.strftime("%Y-%m-%d %H:%M UTC").to_string());
            let others = managed.map.managers.iter().map(|manager| manager.manager.as_str()).filter(|m| *m != editor.manager);
            verdict.findings.push(
                about(
                    name,
                    SYSTEM_NAMESPACE,
                    &config.revision,
                    format!("{name} was last written by {}; AKS will undo that", editor.manager),
                    format!("AKS manages it and undoes edits within minutes. Put your settings into {shared}."),
                )
                .remedy(Remedy::new(
                    format!("put the settings into {shared}"),
                    vec![
                        show(name),
                        Step::command(
                            Risk::Change,
                            "opens your own ConfigMap; create it if it does not exist",
                            ["kubectl", "edit", "configmap", &shared, "-n", SYSTEM_NAMESPACE],
                        ),
                        reconcile("writes the managed ConfigMap again"),
                    ],
                ))
                .evidence(
                    SourceId::SystemConfigMaps,
                    place(name),
                    "managedFields, last writer",
                    format!("{} at {when}", editor.manager),
                    Some(&names(others)),
                ),
            );
        }
        Ok(verdict)
    },
};

/// The person's tool that wrote last, where another writer wrote before it: an installation by hand has one writer.
fn last_person(managers: &[Manager]) -> Option<&Manager> {
    let latest = |person: bool| {
        managers
            .iter()
            .filter(move |manager| is_person(&manager.manager) == person && manager.time.is_some())
            .max_by_key(|m| m.time)
    };
    let (editor, controller) = (latest(true)?, latest(false)?);
    (editor.time > controller.time).then_some(editor)
}

/// Tools that people write with. A writer that is not known is taken for AKS's: its names are nowhere promised.
fn is_person(manager: &str) -> bool {
    // Browsers and desktop tools are known by the library that sends their requests.
    const TOOLS: [&str; 10] =
        ["kubectl", "k9s", "lens", "node-fetch", "mozilla", "oc", "freelens", "headlamp", "terraform", "argocd"];
    let manager = manager.to_ascii_lowercase();
    TOOLS.iter().any(|tool| manager.split(['-', '/', '.']).next() == Some(tool))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn managers(list: &[(&str, &str)]) -> Vec<Manager> {
        list.iter().map(|(manager, time)| Manager { manager: (*manager).to_owned(), time: time.parse().ok() }).collect()
    }

    #[test]
    fn the_last_writer_counts_and_only_beside_another() {
        let (early, late) = ("2026-07-10T08:00:00Z", "2026-07-15T11:59:00Z");
        for (list, found) in [
            (vec![("helm-controller", early), ("kubectl-edit", late)], Some("kubectl-edit")),
            (vec![("helm-controller", late), ("kubectl-edit", early)], None),
            (vec![("kubectl-client-side-apply", late)], None),
            (vec![("helm-controller", early), ("something-new", late)], None),
            (vec![("helm-controller", ""), ("kubectl-edit", late)], None),
            (vec![], None),
        ] {
            let managers = managers(&list);
            assert_eq!(last_person(&managers).map(|m| m.manager.as_str()), found, "{list:?}");
        }
    }
}
