//! What a check may look at. Every look is recorded, so that a test can compare it with what the check declares.

use std::cell::RefCell;
use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::engine::finding::Impact;
use crate::facts::Facts;
use crate::mesh::control_plane::{self, Revision};
use crate::mesh::injection::Rules;
use crate::mesh::mesh_config::{self, MeshConfig};
use crate::mesh::revision::AsmRevision;
use crate::mesh::sync::{self, Sync};
use crate::mesh::webhook::Injector;
use crate::mesh::workload::{self, Workload};
use crate::snapshot::{Section, Snapshot, SourceId, StateKind};
use crate::sources::source;

/// A source that could not be read, or that the server does not serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Which one.
    pub source: SourceId,
    /// In what state it is.
    pub kind: StateKind,
}

/// Everything derived from a snapshot, computed once per run.
pub struct World<'a> {
    /// The frozen world.
    pub snapshot: &'a Snapshot,
    /// Dated tables.
    pub facts: &'a Facts,
    /// The time that ages are measured against.
    pub now: Timestamp,
    /// Injection rules.
    pub rules: Rules<'a>,
    /// The add-on's revisions.
    pub revisions: Vec<Revision<'a>>,
    /// Workloads of the examined namespaces.
    pub workloads: Vec<Workload<'a>>,
    /// What istiods say about proxies, joined with the pods.
    pub sync: Sync<'a>,
}

impl<'a> World<'a> {
    /// Derives everything.
    #[must_use]
    pub fn new(snapshot: &'a Snapshot, facts: &'a Facts, now: Timestamp) -> Self {
        Self::with_grace(snapshot, facts, now, sync::GRACE)
    }

    /// Derives everything, with another time for proxies to acknowledge what istiod sent.
    #[must_use]
    pub fn with_grace(snapshot: &'a Snapshot, facts: &'a Facts, now: Timestamp, grace: SignedDuration) -> Self {
        let rules = Rules::new(snapshot);
        let workloads = workload::workloads(snapshot, &rules);
        let sync = sync::sync(snapshot, &workloads, now, grace);
        Self { snapshot, facts, now, revisions: control_plane::revisions(snapshot), workloads, rules, sync }
    }

    /// Workloads of one namespace: they are sorted by namespace first.
    #[must_use]
    pub fn workloads_of(&self, namespace: &str) -> &[Workload<'a>] {
        let start = self.workloads.partition_point(|workload| workload.namespace < namespace);
        let length = self.workloads[start..].partition_point(|workload| workload.namespace == namespace);
        &self.workloads[start..start + length]
    }

    /// Whether the add-on is installed: any istiod of a revision. None when that could not be read.
    #[must_use]
    pub fn is_installed(&self) -> Option<bool> {
        if !self.revisions.is_empty() {
            return Some(true);
        }
        let read = [self.snapshot.system_deployments.state(), self.snapshot.system_pods.state()];
        read.iter().all(|state| state.is_complete()).then_some(false)
    }

    /// Whether a revision of the add-on is known not to be installed. Its Deployments and its pods each show every
    /// revision, but a list that came only in part does not show that one is gone.
    #[must_use]
    pub fn is_gone(&self, revision: &str) -> bool {
        let read = [self.snapshot.system_deployments.state(), self.snapshot.system_pods.state()];
        self.is_installed().is_some()
            && read.iter().any(|state| state.is_complete())
            && AsmRevision::parse(revision).is_some()
            && !self.revisions.iter().any(|installed| installed.name == revision)
    }
}

/// One check's view of the world.
pub struct Lens<'a> {
    world: &'a World<'a>,
    touched: RefCell<BTreeSet<SourceId>>,
}

/// Sources of [`Lens::revisions`].
pub const REVISIONS: &[SourceId] = &[SourceId::SystemPods, SourceId::SystemDeployments];
/// Sources of [`Lens::mesh_configs`].
pub const MESH_CONFIGS: &[SourceId] = &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps];
/// Sources of [`Lens::workloads`]; verdicts in them are unknown unless [`Lens::rules`] is asked for too.
pub const WORKLOADS: &[SourceId] =
    &[SourceId::Pods, SourceId::Deployments, SourceId::StatefulSets, SourceId::DaemonSets, SourceId::Namespaces];
/// Sources that make [`WORKLOADS`] better: without them owners are named less well.
pub const OWNERS: &[SourceId] = &[SourceId::ReplicaSets, SourceId::Jobs, SourceId::CronJobs];
/// Sources of [`Lens::injectors`].
pub const INJECTORS: &[SourceId] = &[SourceId::MutatingWebhooks, SourceId::SystemServices, SourceId::SystemEndpoints];
/// Sources of [`Lens::rules`].
pub const RULES: &[SourceId] = &[
    SourceId::MutatingWebhooks,
    SourceId::SystemServices,
    SourceId::SystemEndpoints,
    SourceId::SystemConfigMaps,
    SourceId::Namespaces,
];

/// Sources of [`Lens::blast_radius`].
pub const BLAST: &[SourceId] = &[
    SourceId::MutatingWebhooks,
    SourceId::SystemServices,
    SourceId::SystemEndpoints,
    SourceId::SystemConfigMaps,
    SourceId::WebhookServices,
    SourceId::WebhookEndpoints,
    SourceId::WebhookConfigMaps,
    SourceId::Namespaces,
    SourceId::Pods,
    SourceId::ReplicaSets,
    SourceId::Deployments,
    SourceId::StatefulSets,
    SourceId::DaemonSets,
    SourceId::Jobs,
    SourceId::CronJobs,
];

impl<'a> Lens<'a> {
    /// A fresh view.
    #[must_use]
    pub fn new(world: &'a World<'a>) -> Self {
        Self { world, touched: RefCell::default() }
    }

    /// What was looked at so far.
    #[must_use]
    pub fn touched(&self) -> BTreeSet<SourceId> {
        self.touched.borrow().clone()
    }

    /// The time that ages are measured against.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.world.now
    }

    /// Dated tables.
    #[must_use]
    pub fn facts(&self) -> &'a Facts {
        self.world.facts
    }

    /// The frozen world, for the objects of a source that was asked for with [`Lens::need`].
    #[must_use]
    pub fn snapshot(&self) -> &'a Snapshot {
        self.world.snapshot
    }

    /// Demands that sources were read, at least in part.
    ///
    /// # Errors
    /// The first one that was not.
    pub fn need(&self, sources: &[SourceId]) -> Result<(), Missing> {
        self.touched.borrow_mut().extend(sources);
        for id in sources {
            let kind = source(*id).map_or(StateKind::NotRequested, |source| (source.state)(self.world.snapshot).kind);
            if kind != StateKind::Collected {
                return Err(Missing { source: *id, kind });
            }
        }
        Ok(())
    }

    /// Demands that sources were read, where the server serves them: for kinds of which a cluster may have some.
    ///
    /// # Errors
    /// The first one that could not be read; none of them being served is [`StateKind::NotServed`].
    pub fn need_served(&self, sources: &[SourceId]) -> Result<(), Missing> {
        self.touched.borrow_mut().extend(sources);
        let kind = |id: SourceId| source(id).map_or(StateKind::NotRequested, |s| (s.state)(self.world.snapshot).kind);
        let failed = |id: &&SourceId| !matches!(kind(**id), StateKind::Collected | StateKind::NotServed);
        if let Some(id) = sources.iter().find(failed) {
            return Err(Missing { source: *id, kind: kind(*id) });
        }
        match sources.first() {
            Some(first) if sources.iter().all(|id| kind(*id) == StateKind::NotServed) => {
                Err(Missing { source: *first, kind: StateKind::NotServed })
            }
            _ => Ok(()),
        }
    }

    /// Demands that sources were read completely: what is judged by its absence must not have been left out.
    ///
    /// # Errors
    /// The first one that was not.
    pub fn need_whole(&self, sources: &[SourceId]) -> Result<(), Missing> {
        self.need(sources)?;
        let partial = sources
            .iter()
            .find(|id| source(**id).is_some_and(|source| !(source.state)(self.world.snapshot).is_complete()));
        match partial {
            Some(id) => Err(Missing { source: *id, kind: StateKind::Collected }),
            None => Ok(()),
        }
    }

    /// Objects of a source that improves the evidence, where it was read.
    pub fn optional<T>(&self, id: SourceId, section: &'a Section<T>) -> &'a [T] {
        self.touched.borrow_mut().insert(id);
        section.items().unwrap_or_default()
    }

    /// The add-on's revisions.
    ///
    /// # Errors
    /// When its pods or Deployments could not be read completely.
    pub fn revisions(&self) -> Result<&'a [Revision<'a>], Missing> {
        self.need_whole(REVISIONS)?;
        Ok(&self.world.revisions)
    }

    /// The mesh configuration of each of the add-on's revisions. Parsed at every call: few checks ask, and the texts are
    /// short.
    ///
    /// # Errors
    /// When revisions or the ConfigMaps of the add-on's namespace could not be read.
    pub fn mesh_configs(&self) -> Result<Vec<MeshConfig<'a>>, Missing> {
        self.need(MESH_CONFIGS)?;
        Ok(mesh_config::mesh_configs(self.world.snapshot, &self.world.revisions))
    }

    /// Workloads of the examined namespaces.
    ///
    /// # Errors
    /// When pods, a kind of controller or namespaces could not be read.
    pub fn workloads(&self) -> Result<&'a [Workload<'a>], Missing> {
        self.touched.borrow_mut().extend(OWNERS);
        self.need(WORKLOADS)?;
        Ok(&self.world.workloads)
    }

    /// What istiods say about the proxies of the examined namespaces, joined with their pods where those were read.
    ///
    /// # Errors
    /// When no istiod could be asked.
    pub fn sync(&self) -> Result<&'a Sync<'a>, Missing> {
        self.need(&[SourceId::Xds])?;
        Ok(&self.world.sync)
    }

    /// Workloads as far as they could be read, for remedies and counts.
    #[must_use]
    pub fn known_workloads(&self) -> &'a [Workload<'a>] {
        self.touched.borrow_mut().extend(BLAST);
        &self.world.workloads
    }

    /// Injecting webhooks.
    ///
    /// # Errors
    /// When webhooks, or what is behind them, could not be read completely.
    pub fn injectors(&self) -> Result<&'a [Injector<'a>], Missing> {
        self.touched.borrow_mut().extend([SourceId::WebhookServices, SourceId::WebhookEndpoints]);
        self.need_whole(INJECTORS)?;
        Ok(self.world.rules.injectors.as_deref().unwrap_or_default())
    }

    /// Injection rules: webhooks, what is behind them, the injector's configuration, namespaces.
    ///
    /// # Errors
    /// When one of them could not be read.
    pub fn rules(&self) -> Result<&'a Rules<'a>, Missing> {
        self.touched.borrow_mut().extend([
            SourceId::WebhookServices,
            SourceId::WebhookEndpoints,
            SourceId::WebhookConfigMaps,
        ]);
        self.need(RULES)?;
        self.need_whole(INJECTORS)?;
        self.need_whole(&[SourceId::SystemConfigMaps])?;
        Ok(&self.world.rules)
    }

    /// Counts the workloads a finding concerns, where workloads could be read.
    pub fn blast_radius(&self, concerns: impl Fn(&Workload<'a>) -> bool) -> Option<Impact> {
        self.touched.borrow_mut().extend(BLAST);
        self.world.snapshot.pods.items()?;
        let hit: Vec<_> = self.world.workloads.iter().filter(|workload| concerns(workload)).collect();
        Some(Impact {
            namespaces: hit.iter().map(|workload| workload.namespace).collect::<BTreeSet<_>>().len(),
            workloads: hit.len(),
            pods: hit.iter().map(|workload| workload.pods.len()).sum(),
        })
    }

    /// Namespaces by name, for checks of labels alone.
    ///
    /// # Errors
    /// When they could not be read.
    pub fn namespaces(&self) -> Result<impl Iterator<Item = &'a crate::model::Namespace>, Missing> {
        self.need(&[SourceId::Namespaces])?;
        let scope = &self.world.snapshot.scope;
        Ok(self
            .world
            .snapshot
            .namespaces
            .items()
            .unwrap_or_default()
            .iter()
            .filter(move |namespace| scope.contains(&namespace.metadata.name)))
    }

    /// Workloads of one namespace where they could be read, for remedies and counts.
    #[must_use]
    pub fn workloads_of(&self, namespace: &str) -> &'a [Workload<'a>] {
        self.touched.borrow_mut().extend(BLAST);
        self.world.workloads_of(namespace)
    }

    /// Labels of a namespace, where it was read.
    #[must_use]
    pub fn namespace_labels(&self, name: &str) -> Option<&'a crate::model::meta::StringMap> {
        self.touched.borrow_mut().insert(SourceId::Namespaces);
        self.world.rules.namespace(name)
    }

    /// Whether a namespace belongs to the add-on or to Kubernetes.
    #[must_use]
    pub fn is_managed(&self, namespace: &str) -> bool {
        workload::is_managed_namespace(namespace, &self.world.rules)
    }
}
