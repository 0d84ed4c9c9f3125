//! The mesh as Azure wants it, compared with the mesh that is in the cluster.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::facts::{Facts, KubernetesRange};
use crate::mesh::authority;
use crate::mesh::control_plane::Revision;
use crate::mesh::redirection::{Mechanism, configured};
use crate::mesh::upgrade::KubernetesMinor;
use crate::model::azure::{ManagedCluster, MeshRevision, MeshRevisions, Tools};
use crate::model::{AzureRecord, Service};
use crate::snapshot::Snapshot;
use crate::sources::INGRESS_NAMESPACE;

/// The namespace of an egress gateway that names none (<https://learn.microsoft.com/azure/aks/istio-deploy-egress>).
pub const EGRESS_NAMESPACE: &str = "aks-istio-egress";
/// The plan of a cluster with long-term support.
pub const LONG_TERM: &str = "AKSLongTermSupport";

/// What Azure answered, as far as it did.
#[derive(Clone, Copy, Debug, Default)]
pub struct Azure<'a> {
    /// The cluster.
    pub cluster: Option<&'a ManagedCluster>,
    /// What the region offers.
    pub revisions: Option<&'a MeshRevisions>,
    /// Where the mesh can go.
    pub upgrades: Option<&'a MeshRevision>,
    /// Versions of `az`.
    pub tools: Option<&'a Tools>,
}

/// Sorts the answers of a snapshot.
#[must_use]
pub fn azure(snapshot: &Snapshot) -> Azure<'_> {
    let mut azure = Azure::default();
    for record in snapshot.azure.items().unwrap_or_default() {
        match record {
            AzureRecord::Cluster(cluster) => azure.cluster = Some(cluster),
            AzureRecord::Revisions(revisions) => azure.revisions = Some(revisions),
            AzureRecord::Upgrades(upgrades) => azure.upgrades = Some(upgrades),
            AzureRecord::Tools(tools) => azure.tools = Some(tools),
        }
    }
    azure
}

/// How the last change of the cluster went
/// (<https://learn.microsoft.com/azure/azure-resource-manager/management/async-operations#provisioningstate-values>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It is done, or Azure does not say.
    Done,
    /// It failed.
    Failed,
    /// Somebody stopped it.
    Canceled,
    /// One is under way.
    Running,
}

/// Reads a provisioning state: what is no end is a change under way.
#[must_use]
pub fn progress(cluster: &ManagedCluster) -> Progress {
    match cluster.provisioning_state.as_str() {
        "" | "Succeeded" => Progress::Done,
        "Failed" => Progress::Failed,
        "Canceled" => Progress::Canceled,
        _ => Progress::Running,
    }
}

/// Whether Azure has the mesh enabled.
#[must_use]
pub fn has_mesh(cluster: &ManagedCluster) -> bool {
    cluster.service_mesh_profile.mode == "Istio"
}

/// What is compared.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Whether there is a mesh at all.
    Mode,
    /// A revision.
    Revision(String),
    /// An ingress gateway, `external` or `internal`.
    Ingress(&'static str),
    /// An egress gateway: namespace and Service.
    Egress(String, String),
    /// Whose certificate authority istiods use.
    Authority,
    /// What redirects the traffic of pods.
    Redirection,
}

impl Topic {
    /// The words used in tables.
    #[must_use]
    pub fn words(&self) -> String {
        match self {
            Self::Mode => "mesh".to_owned(),
            Self::Revision(name) => format!("revision {name}"),
            Self::Ingress(kind) => format!("ingress {kind}"),
            Self::Egress(namespace, name) => format!("egress {name} in {namespace}"),
            Self::Authority => "certificate authority".to_owned(),
            Self::Redirection => "redirection".to_owned(),
        }
    }
}

/// One comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// What is compared.
    pub topic: Topic,
    /// What Azure wants.
    pub wanted: String,
    /// What is in the cluster; none where that could not be read.
    pub found: Option<String>,
    /// Whether the two agree; none where that cannot be said.
    pub agree: Option<bool>,
}

impl Row {
    fn new(topic: Topic, wanted: &str, found: Option<String>, agree: Option<bool>) -> Self {
        Self { topic, wanted: wanted.to_owned(), found, agree }
    }

    /// Something that is there or not, on either side.
    fn presence(topic: Topic, wanted: bool, found: Option<bool>) -> Self {
        let word = |there: bool, yes: &str, no: &str| if there { yes } else { no }.to_owned();
        Self {
            topic,
            wanted: word(wanted, "enabled", "not enabled"),
            found: found.map(|found| word(found, "installed", "not installed")),
            agree: found.map(|found| found == wanted),
        }
    }
}

/// Compares. `revisions` are those of the cluster, none where they could not be read.
#[must_use]
pub fn rows(cluster: &ManagedCluster, snapshot: &Snapshot, revisions: Option<&[Revision<'_>]>) -> Vec<Row> {
    let istio = &cluster.service_mesh_profile.istio;
    let is_on = has_mesh(cluster);
    let any = revisions.map(|revisions| !revisions.is_empty());
    let mut rows = vec![Row::presence(Topic::Mode, is_on, any)];
    // Settings of a mesh that is off stay in the profile and mean nothing.
    let wanted: BTreeSet<&str> =
        if is_on { istio.revisions.iter().map(String::as_str).collect() } else { BTreeSet::new() };
    let found: Option<BTreeSet<&str>> =
        revisions.map(|all| all.iter().map(|revision| revision.name.as_str()).collect());
    for name in wanted.union(found.as_ref().unwrap_or(&BTreeSet::new())) {
        let is_found = found.as_ref().map(|found| found.contains(name));
        rows.push(Row::presence(Topic::Revision((*name).to_owned()), wanted.contains(name), is_found));
    }
    gateways(cluster, snapshot, is_on, &mut rows);
    if let (true, Some(revisions @ [_, ..])) = (is_on, revisions) {
        rows.extend(authority_row(cluster, revisions));
        rows.extend(redirection_row(cluster, snapshot, revisions));
    } else if is_on {
        let plugged = istio.certificate_authority.plugin.is_some();
        rows.push(Row::new(Topic::Authority, authority_words(plugged), None, None));
    }
    rows
}

fn gateways(cluster: &ManagedCluster, snapshot: &Snapshot, is_on: bool, rows: &mut Vec<Row>) {
    let components = &cluster.service_mesh_profile.istio.components;
    let services = snapshot.gateway_services.state().is_complete().then(|| snapshot.gateway_services.items()).flatten();
    let exists = |namespace: &str, name: &str| {
        services.map(|all| all.iter().any(|s| s.metadata.namespace == namespace && s.metadata.name == name))
    };
    for kind in ["external", "internal"] {
        let is_wanted =
            |gateway: &&crate::model::azure::IngressGateway| gateway.enabled && gateway.mode.eq_ignore_ascii_case(kind);
        let wanted = is_on && components.ingress_gateways.iter().any(|gateway| is_wanted(&gateway));
        let found = exists(INGRESS_NAMESPACE, ingress_service(kind));
        if wanted || found == Some(true) {
            rows.push(Row::presence(Topic::Ingress(kind), wanted, found));
        }
    }
    let place = |namespace: &str| if namespace.is_empty() { EGRESS_NAMESPACE } else { namespace }.to_owned();
    let wanted: BTreeSet<(String, String)> = components
        .egress_gateways
        .iter()
        .filter(|gateway| is_on && gateway.enabled)
        .map(|gateway| (place(&gateway.namespace), gateway.name.clone()))
        .collect();
    let of_add_on =
        |service: &&Service| service.metadata.label("azureservicemesh/istio.component") == Some("egress-gateway");
    let found: BTreeSet<(String, String)> = services
        .unwrap_or_default()
        .iter()
        .filter(of_add_on)
        .map(|service| (service.metadata.namespace.clone(), service.metadata.name.clone()))
        .collect();
    for (namespace, name) in wanted.union(&found) {
        let is_wanted = wanted.contains(&(namespace.clone(), name.clone()));
        // Gateways of namespaces that are not examined are not listed.
        let is_found = exists(namespace, name).filter(|found| *found || snapshot.scope.contains(namespace));
        rows.push(Row::presence(Topic::Egress(namespace.clone(), name.clone()), is_wanted, is_found));
    }
}

/// The Service of an ingress gateway (<https://learn.microsoft.com/azure/aks/istio-deploy-ingress>).
#[must_use]
pub fn ingress_service(kind: &str) -> &'static str {
    if kind == "internal" { "aks-istio-ingressgateway-internal" } else { "aks-istio-ingressgateway-external" }
}

fn authority_words(plugged: bool) -> &'static str {
    if plugged { "from Key Vault" } else { "istiod's own" }
}

/// istiod mounts the objects of a Key Vault or does not: its Deployment tells.
fn authority_row(cluster: &ManagedCluster, revisions: &[Revision<'_>]) -> Option<Row> {
    let wanted = cluster.service_mesh_profile.istio.certificate_authority.plugin.is_some();
    let found: BTreeSet<bool> = revisions.iter().map(|revision| authority::mounted(revision).is_some()).collect();
    let words: Vec<&str> = found.iter().map(|plugged| authority_words(*plugged)).collect();
    let agree = found.iter().all(|plugged| *plugged == wanted);
    Some(Row::new(Topic::Authority, authority_words(wanted), Some(words.join(", ")), Some(agree)))
}

fn redirection_row(cluster: &ManagedCluster, snapshot: &Snapshot, revisions: &[Revision<'_>]) -> Option<Row> {
    let wanted = match cluster.service_mesh_profile.istio.components.proxy_redirection_mechanism.as_str() {
        "CNIChaining" => Mechanism::Cni,
        "InitContainers" => Mechanism::InitContainers,
        // Older versions of az leave it out, and a mechanism of tomorrow cannot be recognised here.
        _ => return None,
    };
    let word = |mechanism: Mechanism| match mechanism {
        Mechanism::Cni => "CNIChaining",
        Mechanism::InitContainers => "InitContainers",
    };
    let all = configured(snapshot);
    let found: BTreeSet<Mechanism> =
        revisions.iter().filter_map(|revision| Some(all.get(revision.name.as_str())?.mechanism)).collect();
    let words: Vec<&str> = found.iter().map(|mechanism| word(*mechanism)).collect();
    let known = !found.is_empty();
    let agree = known.then(|| found.iter().all(|mechanism| *mechanism == wanted));
    Some(Row::new(Topic::Redirection, word(wanted), known.then(|| words.join(", ")), agree))
}

/// The lowest version of `az` that knows what the cluster has, and what that is
/// (<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, `…/istio-deploy-egress`, `…/istio-cni`).
#[must_use]
pub fn needed_az(cluster: &ManagedCluster) -> (&'static str, &'static str) {
    let components = &cluster.service_mesh_profile.istio.components;
    if components.proxy_redirection_mechanism == "CNIChaining" {
        ("2.86.0", "Istio's CNI plugin")
    } else if components.egress_gateways.iter().any(|gateway| gateway.enabled) {
        ("2.80.0", "egress gateways")
    } else {
        ("2.57.0", "the mesh")
    }
}

/// Whether a version such as `2.65.0` is lower than another one; none where one of them is no version.
#[must_use]
pub fn is_older(version: &str, than: &str) -> Option<bool> {
    let numbers = |text: &str| -> Option<Vec<u64>> {
        text.split('.').take(3).map(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()).collect()
    };
    Some(numbers(version)? < numbers(than)?)
}

/// The Kubernetes minors that a revision supports under a plan, in the answer of the region.
fn range(revision: &MeshRevision, plan: &str) -> Option<KubernetesRange> {
    // Before there were two plans in the answer the entry was called `kubernetes`.
    let is_plan =
        |name: &str| name.eq_ignore_ascii_case(plan) || plan != LONG_TERM && name.eq_ignore_ascii_case("kubernetes");
    let versions = revision.compatible_with.iter().filter(|one| is_plan(&one.name)).flat_map(|one| &one.versions);
    let mut minors: Vec<(KubernetesMinor, &String)> =
        versions.filter_map(|text| Some((KubernetesMinor::parse(text)?, text))).collect();
    minors.sort_by_key(|(minor, _)| *minor);
    let (first, last) = (minors.first()?, minors.last()?);
    Some(KubernetesRange { min: first.1.clone(), max: last.1.clone() })
}

/// The tables with what Azure answered for this cluster in the place of what they say: which Kubernetes its revisions
/// support, under the plan that it has.
#[must_use]
pub fn facts_for<'f>(facts: &'f Facts, snapshot: &Snapshot) -> Cow<'f, Facts> {
    let azure = azure(snapshot);
    let Some(cluster) = azure.cluster else { return Cow::Borrowed(facts) };
    let mut better = facts.clone();
    let is_long_term = cluster.support_plan == LONG_TERM;
    for (name, known) in &mut better.revisions {
        let answered = azure.revisions.and_then(|all| all.mesh_revisions.iter().find(|one| one.revision == *name));
        if let Some(answered) = answered {
            if let Some(official) = range(answered, "KubernetesOfficial") {
                known.kubernetes = official;
            }
            known.long_term_support = range(answered, LONG_TERM).or_else(|| known.long_term_support.take());
        }
        if is_long_term && let Some(longer) = &known.long_term_support {
            known.kubernetes = longer.clone();
        }
    }
    Cow::Owned(better)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;
    use crate::model::azure::Compatible;
    use crate::snapshot::{Collected, Section};

    #[test]
    fn versions_of_az_are_compared_by_number() {
        for (version, than, older) in [
            ("2.9.0", "2.57.0", Some(true)),
            ("2.57.0", "2.57.0", Some(false)),
            ("2.86.0b1", "2.86.0", Some(false)),
            ("3.0", "2.86.0", Some(false)),
            ("", "2.57.0", None),
            ("new", "2.57.0", None),
        ] {
            assert_eq!(is_older(version, than), older, "{version}");
        }
    }

    #[test]
    fn what_is_no_end_is_a_change_under_way() {
        for (state, expected) in [
            ("Succeeded", Progress::Done),
            ("", Progress::Done),
            ("Failed", Progress::Failed),
            ("Canceled", Progress::Canceled),
            ("Updating", Progress::Running),
            ("UpgradingNodeImageVersion", Progress::Running),
        ] {
            let cluster = ManagedCluster { provisioning_state: state.to_owned(), ..ManagedCluster::default() };
            assert_eq!(progress(&cluster), expected, "{state}");
        }
    }

    #[test]
    fn answers_of_the_region_replace_the_table_under_the_plan_of_the_cluster() {
        let facts = Facts::built_in().unwrap();
        let compatible = |name: &str, versions: &[&str]| Compatible {
            name: name.to_owned(),
            versions: versions.iter().map(|text| (*text).to_owned()).collect(),
        };
        let answered = MeshRevision {
            revision: "asm-1-28".to_owned(),
            upgrades: Vec::new(),
            compatible_with: vec![
                compatible("KubernetesOfficial", &["1.36", "1.31", "1.32"]),
                compatible(LONG_TERM, &["1.29", "1.36"]),
            ],
        };
        let world = |plan: &str| {
            let cluster =
                ManagedCluster { name: "c".to_owned(), support_plan: plan.to_owned(), ..ManagedCluster::default() };
            let items = vec![
                AzureRecord::Cluster(Box::new(cluster)),
                AzureRecord::Revisions(MeshRevisions { mesh_revisions: vec![answered.clone()] }),
            ];
            let azure =
                Section::Collected(Collected { items, undecodable: Vec::new(), faults: Vec::new(), fallback: None });
            Snapshot { azure, ..Snapshot::default() }
        };
        let of = |snapshot: &Snapshot| {
            let known = facts_for(&facts, snapshot).revisions["asm-1-28"].kubernetes.clone();
            (known.min, known.max)
        };
        let pair = |min: &str, max: &str| (min.to_owned(), max.to_owned());
        assert_eq!(of(&Snapshot::default()), pair("1.30", "1.35"), "the table");
        assert_eq!(of(&world("KubernetesOfficial")), pair("1.31", "1.36"));
        assert_eq!(of(&world(LONG_TERM)), pair("1.29", "1.36"));
    }
}
