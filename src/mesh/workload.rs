//! Workloads: pods under the owner that a person would restart.

use std::collections::{BTreeMap, BTreeSet};

use crate::mesh::injection::{Candidate, Rules, Verdict};
use crate::mesh::proxy::{self, Proxy, ProxyKind};
use crate::model::{Controller, ControllerKind, Meta, Pod, PodSpec};
use crate::snapshot::Snapshot;
use crate::sources::SYSTEM_NAMESPACE;

/// A workload and everything the tool knows about its injection.
#[derive(Clone, Debug)]
pub struct Workload<'a> {
    /// Kind as Kubernetes spells it; the owner's own kind for custom controllers.
    pub kind: String,
    /// Namespace.
    pub namespace: &'a str,
    /// Name.
    pub name: String,
    /// The controller, where it is one of the built-in ones and was read.
    pub controller: Option<&'a Controller>,
    /// Its pods that have not ended, each with its proxy.
    pub pods: Vec<(&'a Pod, Option<Proxy<'a>>)>,
    /// What happens to its next pod.
    pub next: Verdict,
}

/// Whether pods have a proxy now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injected {
    /// All of them.
    All,
    /// Some of them.
    Some,
    /// None of them.
    None,
    /// There are no pods.
    NoPods,
}

impl Injected {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Some => "some",
            Self::None => "none",
            Self::NoPods => "noPods",
        }
    }
}

impl<'a> Workload<'a> {
    /// How many pods have a proxy.
    #[must_use]
    pub fn injected_pods(&self) -> usize {
        self.pods.iter().filter(|(_, proxy)| proxy.is_some()).count()
    }

    /// Whether its pods have a proxy now.
    #[must_use]
    pub fn injected(&self) -> Injected {
        match (self.injected_pods(), self.pods.len()) {
            (_, 0) => Injected::NoPods,
            (0, _) => Injected::None,
            (injected, total) if injected == total => Injected::All,
            _ => Injected::Some,
        }
    }

    /// Revisions of its running proxies, sorted.
    #[must_use]
    pub fn revisions(&self) -> BTreeSet<&str> {
        self.pods.iter().filter_map(|(_, proxy)| proxy.as_ref()?.revision.as_deref()).collect()
    }

    /// The kinds of its proxies.
    #[must_use]
    pub fn kinds(&self) -> BTreeSet<ProxyKind> {
        self.pods.iter().filter_map(|(_, proxy)| proxy.as_ref().map(|proxy| proxy.kind)).collect()
    }

    /// Labels, annotations and pod spec that its next pod is made from: the controller's template, else its newest pod.
    #[must_use]
    pub fn template(&self) -> Option<(&'a Meta, &'a PodSpec)> {
        if let Some(controller) = self.controller {
            return Some((&controller.template.metadata, &controller.template.spec));
        }
        self.newest_pod().map(|pod| (&pod.metadata, &pod.spec))
    }

    fn newest_pod(&self) -> Option<&'a Pod> {
        self.pods.iter().map(|(pod, _)| *pod).max_by_key(|pod| pod.metadata.creation_timestamp)
    }

    /// Whether the add-on or Kubernetes itself owns it: nobody should be told to change it.
    #[must_use]
    pub fn is_managed(&self, rules: &Rules<'_>) -> bool {
        is_managed_namespace(self.namespace, rules)
    }

    /// How many pods it is missing, where its controller says how many it wants.
    #[must_use]
    pub fn missing(&self) -> u32 {
        let Some(desired) = self.controller.and_then(|controller| controller.desired) else { return 0 };
        desired.saturating_sub(u32::try_from(self.pods.len()).unwrap_or(u32::MAX))
    }

    /// The command that makes its pods anew, and what it does; none where only its own tool can.
    #[must_use]
    pub fn restart(&self) -> Restart {
        let pod_names = || self.pods.iter().map(|(pod, _)| pod.metadata.name.clone()).collect::<Vec<_>>();
        let on_delete = self.controller.is_some_and(|controller| controller.update_strategy == "OnDelete");
        match self.kind.as_str() {
            "Deployment" => Restart::Rollout,
            "StatefulSet" | "DaemonSet" if !on_delete => Restart::Rollout,
            "StatefulSet" | "DaemonSet" | "ReplicaSet" | "ReplicationController" => Restart::DeletePods(pod_names()),
            "CronJob" => Restart::NextRun,
            "Job" | "Pod" => Restart::Recreate,
            "Rollout" => Restart::ArgoRollout,
            _ => Restart::DeletePods(pod_names()),
        }
    }
}

/// How a workload's pods are made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restart {
    /// `kubectl rollout restart`.
    Rollout,
    /// Deleting these pods; their controller makes new ones.
    DeletePods(Vec<String>),
    /// Deleting it and applying its manifest again.
    Recreate,
    /// Nothing to do: every run makes new pods.
    NextRun,
    /// `kubectl argo rollouts restart`.
    ArgoRollout,
}

/// Whether a namespace belongs to the add-on or to Kubernetes.
#[must_use]
pub fn is_managed_namespace(name: &str, rules: &Rules<'_>) -> bool {
    const SYSTEM: [&str; 5] = ["kube-system", "kube-public", "kube-node-lease", "gatekeeper-system", SYSTEM_NAMESPACE];
    SYSTEM.contains(&name)
        || name.starts_with("aks-istio-")
        || rules.namespace(name).is_some_and(|labels| {
            labels.get("mesh.aks.azure.com/managed").is_some_and(|value| value == "true")
                || labels.get("kubernetes.azure.com/managedby").is_some_and(|value| value == "aks")
        })
}

type Key<'a> = (&'a str, String, String);

/// Groups pods by owner and adds the controllers that have no pods. Completed Jobs are left out.
#[must_use]
pub fn workloads<'a>(snapshot: &'a Snapshot, rules: &Rules<'a>) -> Vec<Workload<'a>> {
    let owners = Owners::new(snapshot);
    let mut found: BTreeMap<Key<'a>, Workload<'a>> = BTreeMap::new();
    for controller in controllers(snapshot) {
        let keep = match controller.kind {
            ControllerKind::Job => false,
            _ => snapshot.scope.contains(&controller.metadata.namespace),
        };
        if keep {
            insert(
                &mut found,
                key(&controller.metadata.namespace, controller.kind.name(), &controller.metadata.name),
                &owners,
            );
        }
    }
    for pod in snapshot.pods.items().unwrap_or_default() {
        if pod.is_over() || !snapshot.scope.contains(&pod.metadata.namespace) {
            continue;
        }
        let (kind, name) = owners.of(pod);
        let workload = insert(&mut found, key(&pod.metadata.namespace, &kind, &name), &owners);
        workload.pods.push((pod, proxy::of_pod(pod)));
    }
    let mut all: Vec<_> = found.into_values().collect();
    for workload in &mut all {
        if let Some((meta, spec)) = workload.template() {
            workload.next = rules.verdict(Candidate {
                namespace: workload.namespace,
                labels: &meta.labels,
                annotations: &meta.annotations,
                host_network: spec.host_network,
            });
        }
    }
    all
}

fn key<'a>(namespace: &'a str, kind: &str, name: &str) -> Key<'a> {
    (namespace, kind.to_owned(), name.to_owned())
}

fn insert<'m, 'a>(
    found: &'m mut BTreeMap<Key<'a>, Workload<'a>>,
    key: Key<'a>,
    owners: &Owners<'a>,
) -> &'m mut Workload<'a> {
    found.entry(key).or_insert_with_key(|(namespace, kind, name)| Workload {
        kind: kind.clone(),
        namespace,
        name: name.clone(),
        controller: owners.controllers.get(&(*namespace, kind.as_str(), name.as_str())).copied(),
        pods: Vec::new(),
        next: Verdict {
            injected: None,
            revision: None,
            decided_by: crate::mesh::injection::DecidedBy::Unknown,
            reason: crate::mesh::injection::Reason::NoNamespace,
            webhook: None,
        },
    })
}

fn controllers(snapshot: &Snapshot) -> impl Iterator<Item = &Controller> {
    [&snapshot.deployments, &snapshot.stateful_sets, &snapshot.daemon_sets, &snapshot.jobs, &snapshot.cron_jobs]
        .into_iter()
        .flat_map(|section| section.items().unwrap_or_default())
}

/// A Deployment names its ReplicaSets after itself and the hash of the template, which their pods carry as a label.
fn deployment_name<'p>(pod: &Pod, replica_set: &'p str) -> Option<&'p str> {
    replica_set.strip_suffix(pod.metadata.label("pod-template-hash")?)?.strip_suffix('-')
}

/// The namespaces whose ReplicaSets have to be read to know who owns what: none for all of them, and nothing at all where
/// every owner follows from names. Argo Rollouts and ReplicaSets without an owner do not, nor do those without a pod,
/// which only refusals name.
#[must_use]
pub fn replica_set_places(snapshot: &Snapshot) -> Vec<Option<String>> {
    let deployments: BTreeSet<(&str, &str)> = snapshot
        .deployments
        .items()
        .unwrap_or_default()
        .iter()
        .map(|deployment| (deployment.metadata.namespace.as_str(), deployment.metadata.name.as_str()))
        .collect();
    let pods = snapshot.pods.items().unwrap_or_default();
    let is_open = |pod: &&Pod| {
        let namespace = pod.metadata.namespace.as_str();
        pod.metadata.controller().filter(|owner| owner.kind == "ReplicaSet").is_some_and(|owner| {
            !deployment_name(pod, &owner.name).is_some_and(|name| deployments.contains(&(namespace, name)))
        })
    };
    let refused = snapshot.refusal_events.items().unwrap_or_default().iter();
    let refused = refused.filter(|event| event.involved_object.kind == "ReplicaSet");
    let open: BTreeSet<&str> = pods
        .iter()
        .filter(is_open)
        .map(|pod| pod.metadata.namespace.as_str())
        .chain(refused.map(|event| event.involved_object.namespace.as_str()))
        .collect();
    // A few namespaces are asked one by one; for many, one list is cheaper.
    if open.len() <= 3 || snapshot.scope.namespaces.is_some() || snapshot.pods.state().fallback.is_some() {
        return open.into_iter().map(|namespace| Some(namespace.to_owned())).collect();
    }
    vec![None]
}

struct Owners<'a> {
    controllers: BTreeMap<(&'a str, &'static str, &'a str), &'a Controller>,
    replica_sets: BTreeMap<(&'a str, &'a str), &'a Meta>,
}

impl<'a> Owners<'a> {
    fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            controllers: controllers(snapshot)
                .map(|c| ((c.metadata.namespace.as_str(), c.kind.name(), c.metadata.name.as_str()), c))
                .collect(),
            replica_sets: snapshot
                .replica_sets
                .items()
                .unwrap_or_default()
                .iter()
                .map(|rs| ((rs.metadata.namespace.as_str(), rs.metadata.name.as_str()), &rs.metadata))
                .collect(),
        }
    }

    /// Kind and name of the object that a person would restart.
    fn of(&self, pod: &Pod) -> (String, String) {
        let bare = || ("Pod".to_owned(), pod.metadata.name.clone());
        let Some(owner) = pod.metadata.controller() else { return bare() };
        let namespace = pod.metadata.namespace.as_str();
        match owner.kind.as_str() {
            // A static pod's owner is its node; it is restarted by its file there.
            "Node" => bare(),
            "ReplicaSet" => self.of_replica_set(pod, namespace, &owner.name),
            "Job" => {
                let job = self.controllers.get(&(namespace, "Job", owner.name.as_str()));
                match job.and_then(|job| job.metadata.controller()) {
                    Some(parent) => (parent.kind.to_string(), parent.name.clone()),
                    None => ("Job".to_owned(), owner.name.clone()),
                }
            }
            kind => (kind.to_owned(), owner.name.clone()),
        }
    }

    fn named_after<'p>(&self, pod: &Pod, namespace: &str, replica_set: &'p str) -> Option<&'p str> {
        deployment_name(pod, replica_set)
            .filter(|deployment| self.controllers.contains_key(&(namespace, "Deployment", *deployment)))
    }

    fn of_replica_set(&self, pod: &Pod, namespace: &str, name: &str) -> (String, String) {
        if let Some(meta) = self.replica_sets.get(&(namespace, name)) {
            return match meta.controller() {
                Some(parent) => (parent.kind.to_string(), parent.name.clone()),
                None => ("ReplicaSet".to_owned(), name.to_owned()),
            };
        }
        match self.named_after(pod, namespace, name) {
            Some(deployment) => ("Deployment".to_owned(), deployment.to_owned()),
            None => ("ReplicaSet".to_owned(), name.to_owned()),
        }
    }
}
