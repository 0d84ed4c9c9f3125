//! `conflicts`.

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::session::{self, DefaultScope, Job};
use crate::checks::safe_order;
use crate::engine::lens::{BLAST, REVISIONS, World};
use crate::engine::{Area, Check, Finding, Impact};
use crate::mesh::purge::{self, purge};
use crate::mesh::rival::{Rival, rivals};
use crate::mesh::workload::Workload;
use crate::model::Meta;
use crate::report::View;
use crate::report::conflicts::{
    ConflictsView, LostView, ObjectName, PurgeKind, PurgeObject, PurgeView, RivalView, StageView,
};
use crate::snapshot::SourceId;
use crate::sources::source;

/// What fights with the add-on, what is left over, and what istioctl uninstall --purge would delete
///
/// Looks at all namespaces unless -n is given. It deletes nothing: the purge is only told, object by object.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm conflicts\n  kubectl asm conflicts -o wide                # every part, every command\n  kubectl asm conflicts -o json | jq '.view.purge.kinds[] | {kind, names: [.objects[].name]}'"
)]
pub struct ConflictsArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// By what a rival is known.
const RIVALS: &[SourceId] = &[
    SourceId::Istiods,
    SourceId::MutatingWebhooks,
    SourceId::ValidatingWebhooks,
    SourceId::Deployments,
    SourceId::Namespaces,
    SourceId::SystemDeployments,
];

/// What its view needs besides the checks.
pub const VIEW: &[&[SourceId]] =
    &[REVISIONS, BLAST, RIVALS, purge::SOURCES, &[SourceId::GatewayServices, SourceId::SecretProviderClasses]];

/// Sources that no other command reads: they would make `status` dearer and ask for more rights.
const ONLY_HERE: &[SourceId] = &[
    SourceId::ComponentServices,
    SourceId::ComponentConfigMaps,
    SourceId::ComponentSecrets,
    SourceId::ComponentServiceAccounts,
    SourceId::ComponentRoles,
    SourceId::ComponentRoleBindings,
    SourceId::ComponentDisruptionBudgets,
    SourceId::ComponentAutoscalers,
    SourceId::NetworkAttachments,
    SourceId::ClusterRoles,
    SourceId::ClusterRoleBindings,
    SourceId::Definitions,
    SourceId::GatewayClasses,
    SourceId::NetworkPolicies,
    SourceId::CiliumPolicies,
    SourceId::CiliumClusterPolicies,
    SourceId::AdmissionServices,
    SourceId::AdmissionEndpoints,
];

/// Whether a check reads what only this command reads.
#[must_use]
pub fn is_only_here(check: &Check) -> bool {
    check.inputs.iter().chain(check.uses).any(|id| ONLY_HERE.contains(id))
}

/// Checks of what others do to the add-on, and of what they left.
#[must_use]
pub fn is_about_conflicts(check: &Check) -> bool {
    const OTHERS: [&str; 13] = [
        "ENV03", "ENV04", "ENV05", "WHK02", "WHK04", "WHK05", "WHK06", "INJ01", "INJ10", "INJ11", "INJ12", "POL04",
        "CA03",
    ];
    check.area == Area::Conflicts || is_only_here(check) || OTHERS.contains(&check.code)
}

/// Whether a finding belongs here: some do only where a conflict causes them.
fn is_conflict(finding: &Finding) -> bool {
    const CONSEQUENCES: [&str; 3] = ["WHK02", "INJ11", "CA03"];
    !CONSEQUENCES.contains(&finding.code.as_str())
}

/// Runs `conflicts`.
pub fn run(connection: &ConnectionArgs, args: &ConflictsArgs) -> Exit {
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: VIEW,
        view: &|world, findings| View::Conflicts(view(world, findings)),
        refuse: &|_| None,
        concerns: &|_, finding| is_conflict(finding),
        checks: &is_about_conflicts,
        grace: crate::mesh::sync::GRACE,
    };
    session::judge(connection, &args.scope, &args.report, &job).0
}

fn view(world: &World<'_>, findings: &[Finding]) -> ConflictsView {
    let rivals = rivals(world.snapshot, &world.rules);
    let stages = safe_order::stages(world, &rivals, findings).into_iter().map(|stage| StageView {
        stage: stage.name.to_owned(),
        summary: stage.summary.to_owned(),
        codes: stage.codes,
        steps: stage.steps,
    });
    let is_whole = |id: &SourceId| source(*id).is_some_and(|source| !(source.state)(world.snapshot).is_partial());
    ConflictsView {
        revisions: world.is_installed().map(|_| world.revisions.iter().map(|r| r.name.clone()).collect()),
        rivals: rivals.iter().map(|rival| rival_view(world, rival, findings)).collect(),
        rivals_complete: RIVALS.iter().all(is_whole),
        purge: purge_view(world),
        instead: stages.collect(),
    }
}

fn rival_view(world: &World<'_>, rival: &Rival<'_>, findings: &[Finding]) -> RivalView {
    let dependents = rival.dependents(&world.workloads);
    let read = world.snapshot.pods.items().is_some();
    let judged = read && world.rules.injectors.is_some();
    let names = |kind: &str, list: &[&crate::model::WebhookConfiguration]| -> Vec<String> {
        list.iter().map(|configuration| format!("{kind}/{}", configuration.metadata.name)).collect()
    };
    let mut parts = rival.control_plane.clone();
    parts.extend(names("mutatingwebhookconfiguration", &rival.injectors));
    parts.extend(names("validatingwebhookconfiguration", &rival.validators));
    let all = || findings.iter().flat_map(Finding::walk);
    let about = |finding: &&Finding| {
        let subject = &finding.subject;
        let place = subject.namespace.as_deref() == Some(&rival.namespace) && finding.code.starts_with("CON")
            || subject.kind == "Namespace" && subject.name == rival.namespace;
        place || parts.iter().any(|part| *part == format!("{}/{}", subject.kind.to_lowercase(), subject.name))
    };
    let mut codes: Vec<String> = all().filter(about).map(|finding| finding.code.clone()).collect();
    codes.sort();
    codes.dedup();
    RivalView {
        kind: rival.kind.word().to_owned(),
        namespace: rival.namespace.clone(),
        owner: rival.owner.as_ref().map(crate::mesh::rival::Owner::words),
        alive: rival.is_alive,
        now: read.then(|| impact(&dependents.now, |w| w.injected_pods())),
        next_restart: judged.then(|| impact(&dependents.next, |w| w.pods.len())),
        refused: judged.then(|| impact(&dependents.refused, |w| w.pods.len())),
        parts,
        codes,
    }
}

fn impact(workloads: &[&Workload<'_>], pods: impl Fn(&Workload<'_>) -> usize) -> Impact {
    let namespaces: std::collections::BTreeSet<_> = workloads.iter().map(|workload| workload.namespace).collect();
    Impact {
        namespaces: namespaces.len(),
        workloads: workloads.len(),
        pods: workloads.iter().map(|workload| pods(workload)).sum(),
    }
}

fn purge_view(world: &World<'_>) -> PurgeView {
    let purge = purge(world.snapshot);
    let (objects, of_add_on) = purge.counts();
    let place = |meta: &Meta| (!meta.namespace.is_empty()).then(|| meta.namespace.clone());
    PurgeView {
        objects,
        of_add_on,
        resources: purge.resources(),
        complete: purge.unread.is_empty() && world.snapshot.scope.namespaces.is_none(),
        unread: purge.unread.iter().map(|id| id.name()).collect(),
        kinds: purge
            .groups
            .iter()
            .map(|group| PurgeKind {
                kind: group.kind.to_owned(),
                resource: group.resource.to_owned(),
                objects: group
                    .objects
                    .iter()
                    .map(|object| PurgeObject {
                        namespace: place(object.meta),
                        name: object.meta.name.clone(),
                        belongs: object.belongs.word().to_owned(),
                    })
                    .collect(),
            })
            .collect(),
        lost: purge
            .lost
            .iter()
            .map(|lost| LostView {
                definition: lost.definition.to_owned(),
                resources: lost.resources.as_ref().map(|metas| {
                    metas.iter().map(|m| ObjectName { namespace: place(m), name: m.name.clone() }).collect()
                }),
            })
            .collect(),
    }
}
