//! `status`.

use std::collections::BTreeMap;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::azure::AzArgs;
use super::exit::Exit;
use super::session::{self, DefaultScope, Job};
use crate::cluster::Cluster;
use crate::engine::Check;
use crate::engine::lens::{BLAST, REVISIONS, World};
use crate::gather::Gathered;
use crate::mesh::control_plane::tags;
use crate::mesh::injection::REV;
use crate::mesh::proxy::ProxyKind;
use crate::mesh::workload::{Workload, is_managed_namespace};
use crate::model::Service;
use crate::model::meta::StringMap;
use crate::report::View;
use crate::report::view::{
    GatewayDeployment, GatewayView, NamespaceView, ProxyImage, ReadyCount, RevisionView, StatusView, SupportView,
    WorkloadCounts,
};
use crate::snapshot::SourceId;

/// What is installed, what is wrong, and what to type
///
/// Looks at all namespaces unless -n is given; control plane, webhooks and namespace labels are always read.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm status\n  kubectl asm status -n shop -n billing\n  kubectl asm status -o json | jq '.findings[].code'\n  kubectl asm status --only UPG,INJ03\n  kubectl asm status --az                  # asks Azure, too\n  kubectl asm status --from demo"
)]
pub struct StatusArgs {
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    azure: AzArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// What the inventory shows.
/// What its view needs besides the checks.
pub const VIEW: &[&[SourceId]] = &[REVISIONS, BLAST, &[SourceId::GatewayServices, SourceId::GatewayDeployments]];

/// All checks but those that look into one proxy or into logs, ask Azure, or read what only `conflicts` or `metrics` is
/// worth reading for.
#[must_use]
pub fn is_of_status(check: &Check) -> bool {
    !crate::checks::is_by_command(check)
        && !crate::checks::is_of_istiod_metrics(check)
        && !super::conflicts::is_only_here(check)
}

/// Runs `status`.
pub fn run(connection: &ConnectionArgs, args: &StatusArgs) -> Exit {
    if let Some(message) = args.azure.refuse(args.report.from.as_ref()) {
        return session::refuse(&args.report, message, "kubectl asm status --az -g rg-prod -c prod-weu");
    }
    let asks_azure = args.azure.az;
    let with_azure: Vec<&[SourceId]> = VIEW.iter().copied().chain([&[SourceId::Azure][..]]).collect();
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: if asks_azure { &with_azure } else { VIEW },
        view: &|world, _| {
            let azure = asks_azure.then(|| Box::new(super::azure::view(world)));
            View::Status(StatusView { azure, ..view(world) })
        },
        refuse: &|world| if asks_azure { super::azure::nothing_of_azure(world.snapshot) } else { None },
        concerns: &|_, _| true,
        checks: &|check| is_of_status(check) || asks_azure && crate::checks::is_of_azure(check),
        grace: crate::mesh::sync::GRACE,
    };
    let also = async |cluster: &Cluster, gathered: &mut Gathered, left| args.azure.add(cluster, gathered, left).await;
    session::judge_and(connection, &args.scope, &args.report, &job, also).0
}

/// State of a workload in the inventory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Inside,
    Outside,
    Broken,
}

pub(super) fn view(world: &World<'_>) -> StatusView {
    let snapshot = world.snapshot;
    let read = |state: crate::snapshot::State<'_>| state.kind == crate::snapshot::StateKind::Collected;
    let standings: Vec<(&Workload<'_>, Standing)> = world
        .workloads
        .iter()
        .filter(|w| !w.is_managed(&world.rules) && !w.kinds().contains(&ProxyKind::ManagedGateway))
        .map(|w| (w, standing(world, w)))
        .collect();
    let (namespaces, outside) = namespaces(world, &standings);
    let injected = world.rules.injectors.is_some();
    StatusView {
        // None found while something could not be read is not the same as none installed.
        revisions: world.is_installed().map(|_| revisions(world)),
        gateways: read(snapshot.gateway_services.state()).then(|| gateways(world)),
        namespaces: read(snapshot.namespaces.state()).then_some(namespaces),
        namespaces_outside: outside,
        workloads: (read(snapshot.pods.state()) && injected).then(|| count(standings.iter().map(|(_, s)| *s))),
        proxy_images: proxy_images(world),
        azure: None,
    }
}

/// Broken: cannot start, should have a sidecar and has not, or has one of a revision that is not installed.
fn standing(world: &World<'_>, workload: &Workload<'_>) -> Standing {
    let gone = !world.revisions.is_empty() && workload.revisions().iter().any(|revision| world.is_gone(revision));
    let blocked = workload.next.is_blocked();
    let bare = workload.pods.len() > workload.injected_pods();
    let unanswered = matches!(
        workload.next.reason,
        crate::mesh::injection::Reason::InjectionLabelCancels
            | crate::mesh::injection::Reason::InjectionLabelInert
            | crate::mesh::injection::Reason::UnknownRevision(_)
    );
    if gone || blocked || unanswered || workload.next.injected == Some(true) && bare {
        Standing::Broken
    } else if workload.injected_pods() > 0 || workload.next.injected == Some(true) {
        Standing::Inside
    } else {
        Standing::Outside
    }
}

fn count(standings: impl Iterator<Item = Standing>) -> WorkloadCounts {
    standings.fold(WorkloadCounts::default(), |mut counts, standing| {
        match standing {
            Standing::Inside => counts.inside += 1,
            Standing::Outside => counts.outside += 1,
            Standing::Broken => counts.broken += 1,
        }
        counts
    })
}

fn revisions(world: &World<'_>) -> Vec<RevisionView> {
    let tags = world.rules.injectors.as_deref().map(tags).unwrap_or_default();
    world
        .revisions
        .iter()
        .map(|revision| {
            let known = world.facts.revisions.get(&revision.name);
            RevisionView {
                name: revision.name.clone(),
                version: revision.version().map(|version| version.to_string()),
                // Pods that did not come are not pods that are not ready.
                istiods: world
                    .snapshot
                    .system_pods
                    .state()
                    .is_complete()
                    .then(|| ReadyCount { ready: revision.ready(), total: revision.total() }),
                support: SupportView {
                    until: known.map(|known| known.end_of_life.date.to_string()),
                    exact: known.is_some_and(|known| known.end_of_life.exact),
                    state: world.facts.support(&revision.name, world.now).word().to_owned(),
                    table: world.facts.as_of.to_string(),
                },
                tags: tags.iter().filter(|tag| tag.revision == revision.name).map(|tag| tag.name.clone()).collect(),
            }
        })
        .collect()
}

fn gateways(world: &World<'_>) -> Vec<GatewayView> {
    let services = world.snapshot.gateway_services.items().unwrap_or_default();
    let deployments = world.snapshot.gateway_deployments.items().unwrap_or_default();
    services
        .iter()
        .map(|service| GatewayView {
            name: service.metadata.name.clone(),
            namespace: service.metadata.namespace.clone(),
            kind: gateway_kind(service).to_owned(),
            addresses: service
                .status
                .load_balancer
                .ingress
                .iter()
                .map(|address| if address.ip.is_empty() { address.hostname.clone() } else { address.ip.clone() })
                .collect(),
            deployments: deployments
                .iter()
                .filter(|d| {
                    let labels = &d.template.metadata.labels;
                    d.metadata.namespace == service.metadata.namespace
                        && !service.spec.selector.is_empty()
                        && service.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
                })
                .map(|d| GatewayDeployment {
                    name: d.metadata.name.clone(),
                    pods: ReadyCount { ready: d.ready as usize, total: d.desired.unwrap_or_default() as usize },
                })
                .collect(),
        })
        .collect()
}

/// Names and labels as <https://learn.microsoft.com/azure/aks/istio-deploy-ingress> and `…/istio-deploy-egress` give them.
fn gateway_kind(service: &Service) -> &'static str {
    match (service.metadata.name.as_str(), service.metadata.label("azureservicemesh/istio.component")) {
        ("aks-istio-ingressgateway-external", _) => "external",
        ("aks-istio-ingressgateway-internal", _) => "internal",
        (_, Some("egress-gateway")) => "egress",
        _ => "other",
    }
}

/// Namespaces with something of the mesh, and how many have nothing.
fn namespaces(world: &World<'_>, standings: &[(&Workload<'_>, Standing)]) -> (Vec<NamespaceView>, usize) {
    let mut by_namespace: BTreeMap<&str, Vec<(&Workload<'_>, Standing)>> = BTreeMap::new();
    for (workload, standing) in standings {
        by_namespace.entry(workload.namespace).or_default().push((workload, *standing));
    }
    let mut rows = Vec::new();
    let mut outside = 0;
    for namespace in world.snapshot.namespaces.items().unwrap_or_default() {
        let name = namespace.metadata.name.as_str();
        if !world.snapshot.scope.contains(name) {
            continue;
        }
        let own = by_namespace.get(name).map(Vec::as_slice).unwrap_or_default();
        let workloads = count(own.iter().map(|(_, standing)| *standing));
        let label = namespace.metadata.label(REV).filter(|_| !is_managed_namespace(name, &world.rules));
        let probe = world.rules.verdict(crate::mesh::injection::Candidate {
            namespace: name,
            labels: &StringMap::new(),
            annotations: &StringMap::new(),
            host_network: false,
        });
        let unanswered = label.is_some() && probe.injected == Some(false);
        if label.is_none() && workloads.inside + workloads.broken == 0 {
            outside += 1;
            continue;
        }
        rows.push(NamespaceView {
            name: name.to_owned(),
            label: label.map(str::to_owned),
            revision: probe.revision.filter(|_| probe.injected == Some(true)),
            state: if workloads.broken > 0 || unanswered { "broken" } else { "in" }.to_owned(),
            workloads,
        });
    }
    (rows, outside)
}

fn proxy_images(world: &World<'_>) -> Vec<ProxyImage> {
    // Every pod is under exactly one workload, so counting them is enough.
    let mut images: BTreeMap<&str, (Option<String>, usize)> = BTreeMap::new();
    let proxies = world.workloads.iter().flat_map(|workload| &workload.pods).filter_map(|(_, proxy)| proxy.as_ref());
    for proxy in proxies {
        let version = || proxy.version.as_ref().map(ToString::to_string);
        images.entry(proxy.image).or_insert_with(|| (version(), 0)).1 += 1;
    }
    let mut all: Vec<_> = images
        .into_iter()
        .map(|(image, (version, pods))| ProxyImage { image: image.to_owned(), version, pods })
        .collect();
    all.sort_by(|a, b| b.pods.cmp(&a.pods).then_with(|| a.image.cmp(&b.image)));
    all
}
