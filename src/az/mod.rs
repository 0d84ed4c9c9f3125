//! The only door to `az`, Azure's command line: what is asked, in which order, and what came of it.
//!
//! All of it reads. No shell is involved, every call has a time limit and a cap on its answer, and what `az` prints on
//! stderr is only classified, never passed on.

mod program;
mod refusal;

use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::mesh::azure_profile::has_mesh;
use crate::model::AzureRecord;
use crate::model::azure::{ListedCluster, listed};
use crate::model::quoted::printable;
use crate::snapshot::{Fault, FaultKind};
use program::Program;

/// Which cluster is meant, as far as the user says.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Resource group.
    pub resource_group: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Subscription: name or id.
    pub subscription: Option<String>,
}

/// What the cluster itself tells about where Azure keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traces {
    /// Subscription of its nodes.
    pub subscription: Option<String>,
    /// Resource group of its nodes.
    pub node_resource_group: Option<String>,
    /// Host of its API server.
    pub host: Option<String>,
}

/// What came of asking.
#[derive(Clone, Debug, Default)]
pub struct Told {
    /// Answers.
    pub records: Vec<AzureRecord>,
    /// What is missing.
    pub faults: Vec<Fault>,
}

impl Told {
    fn take(&mut self, answer: Result<Option<AzureRecord>, Fault>) {
        match answer {
            Ok(record) => self.records.extend(record),
            // An az that is missing or logged out is missing and logged out for every question.
            Err(fault) if self.faults.iter().any(|known| known.message == fault.message) => {}
            Err(fault) => self.faults.push(fault),
        }
    }
}

/// Asks Azure about a cluster. Ends within the time that is left, whatever `az` does.
pub async fn ask(wanted: &Wanted, traces: &Traces, left: Duration) -> Told {
    // Something must be left for saying what came of it.
    let end = Instant::now() + left.mul_f32(0.95);
    let subscription = wanted.subscription.clone().or_else(|| traces.subscription.clone());
    let az = Program::new(subscription, end);
    let mut told = Told::default();
    let (tools, found) = tokio::join!(tools(&az), find(&az, wanted, traces));
    told.take(tools.map(Some));
    let cluster = match found {
        Ok(cluster) => cluster,
        Err(fault) => {
            told.take(Err(fault));
            return told;
        }
    };
    let early = async {
        match &cluster.location {
            Some(location) => Some(revisions(&az, location).await),
            None => None,
        }
    };
    let (shown, upgrades, early) = tokio::join!(show(&az, &cluster, traces), upgrades(&az, &cluster), early);
    let shown = match shown {
        // Compared with another cluster, everything would differ.
        Ok(None) => {
            let message = format!(
                "cluster {} in resource group {} is not the one that this kubeconfig's context leads to; name that one with -g, -c and --subscription, or choose another --context",
                printable(&cluster.name),
                printable(&cluster.resource_group)
            );
            told.take(Err(Fault::new(FaultKind::Unreachable, message)));
            return told;
        }
        Ok(Some(record)) => Ok(record),
        Err(fault) => Err(fault),
    };
    let (location, has_mesh) = match &shown {
        Ok(AzureRecord::Cluster(cluster)) => (cluster.location.clone(), has_mesh(cluster)),
        _ => (String::new(), false),
    };
    let is_shown = shown.is_ok();
    told.take(shown.map(Some));
    // Of a cluster without a mesh nothing else is judged; that an older az knows no such commands is nothing that is missing.
    if has_mesh {
        told.take(upgrades);
    }
    let offered = match early {
        None if !location.is_empty() => Some(revisions(&az, &location).await),
        early => early,
    };
    if let Some(offered) = offered.filter(|offered| has_mesh || is_shown && offered.is_ok()) {
        told.take(offered);
    }
    told
}

/// The cluster in Azure's words.
struct Named {
    resource_group: String,
    name: String,
    /// Its region, where a list told it.
    location: Option<String>,
}

impl Named {
    fn arguments(&self) -> [String; 2] {
        [format!("--resource-group={}", self.resource_group), format!("--name={}", self.name)]
    }
}

async fn tools(az: &Program) -> Result<AzureRecord, Fault> {
    // `az version` knows no subscription.
    let answer = az.run_bare(&["version"]).await?;
    AzureRecord::tools(&answer).map_err(|reason| odd("az version", &reason))
}

/// None when it is another cluster than the one that left the traces.
async fn show(az: &Program, cluster: &Named, traces: &Traces) -> Result<Option<AzureRecord>, Fault> {
    let [group, name] = cluster.arguments();
    let answer = az.run(&["aks", "show", &group, &name]).await?;
    let record = AzureRecord::cluster(&answer).map_err(|reason| odd("az aks show", &reason))?;
    Ok((!is_other(&answer, traces)).then_some(record))
}

/// Whether an answer is known to be about another cluster: by the group of its nodes, else by the address of its API server.
fn is_other(answer: &[u8], traces: &Traces) -> bool {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Place {
        node_resource_group: Option<String>,
        fqdn: Option<String>,
        private_fqdn: Option<String>,
    }
    let place: Place = serde_json::from_slice(answer).unwrap_or_default();
    let differs = |a: &str, b: &str| !a.eq_ignore_ascii_case(b);
    match (&place.node_resource_group, &traces.node_resource_group, &traces.host) {
        (Some(told), Some(found), _) => differs(told, found),
        (_, _, Some(host)) => {
            let mut hosts = [&place.fqdn, &place.private_fqdn].into_iter().flatten().peekable();
            hosts.peek().is_some() && hosts.all(|told| differs(told, host))
        }
        _ => false,
    }
}

/// None while an upgrade is open: then Azure does not tell where the mesh could go next.
async fn upgrades(az: &Program, cluster: &Named) -> Result<Option<AzureRecord>, Fault> {
    let [group, name] = cluster.arguments();
    match az.run(&["aks", "mesh", "get-upgrades", &group, &name]).await {
        Ok(answer) if answer.trim_ascii().is_empty() => Ok(None),
        Ok(answer) => {
            AzureRecord::upgrades(&answer).map(Some).map_err(|reason| odd("az aks mesh get-upgrades", &reason))
        }
        Err(fault) if refusal::is_open_upgrade(&fault) => Ok(None),
        Err(fault) => Err(fault),
    }
}

async fn revisions(az: &Program, location: &str) -> Result<Option<AzureRecord>, Fault> {
    let answer = az.run(&["aks", "mesh", "get-revisions", &format!("--location={location}")]).await?;
    if answer.trim_ascii().is_empty() {
        return Ok(None);
    }
    AzureRecord::revisions(&answer).map(Some).map_err(|reason| odd("az aks mesh get-revisions", &reason))
}

fn odd(command: &str, reason: &str) -> Fault {
    Fault::new(
        FaultKind::Malformed,
        format!("the answer of {command} cannot be understood ({reason}); does it answer when called by hand?"),
    )
}

async fn find(az: &Program, wanted: &Wanted, traces: &Traces) -> Result<Named, Fault> {
    if let (Some(group), Some(name)) = (&wanted.resource_group, &wanted.name) {
        return Ok(Named { resource_group: group.clone(), name: name.clone(), location: None });
    }
    if wanted.name.is_none() && traces.node_resource_group.is_none() && traces.host.is_none() {
        return Err(Fault::new(
            FaultKind::Unreachable,
            "nothing in the cluster tells where Azure keeps it; name it with -g RESOURCE-GROUP -c CLUSTER",
        ));
    }
    const QUERY: &str = "--query=[].{name:name,resourceGroup:resourceGroup,nodeResourceGroup:nodeResourceGroup,location:location,fqdn:fqdn,privateFqdn:privateFqdn}";
    let group = wanted.resource_group.as_ref().map(|group| format!("--resource-group={group}"));
    let mut arguments = vec!["aks", "list", QUERY];
    arguments.extend(group.as_deref());
    let answer = az.run(&arguments).await?;
    let list = listed(&answer).map_err(|reason| odd("az aks list", &reason))?;
    choose(&list, wanted, traces).map_err(|message| Fault::new(FaultKind::Unreachable, message))
}

/// The one cluster of a list that is meant, or why there is none. Azure's names differ in case from one answer to the
/// other.
fn choose(list: &[ListedCluster], wanted: &Wanted, traces: &Traces) -> Result<Named, String> {
    let same = |a: &str, b: &str| !a.is_empty() && a.eq_ignore_ascii_case(b);
    let is_meant = |cluster: &&ListedCluster| match (&wanted.name, &traces.node_resource_group, &traces.host) {
        (Some(name), ..) => same(&cluster.name, name),
        (None, Some(group), _) => same(&cluster.node_resource_group, group),
        (None, None, Some(host)) => same(&cluster.fqdn, host) || same(&cluster.private_fqdn, host),
        (None, None, None) => false,
    };
    let found: Vec<&ListedCluster> = list.iter().filter(is_meant).collect();
    let what =
        wanted.name.as_deref().map_or_else(|| "this cluster".to_owned(), |name| format!("cluster {}", printable(name)));
    match found.as_slice() {
        [one] => Ok(Named {
            resource_group: one.resource_group.clone(),
            name: one.name.clone(),
            location: Some(one.location.clone()).filter(|location| !location.is_empty()),
        }),
        [] => Err(format!(
            "{what} is not among those that az lists in its subscription; name the right one with --subscription, and the cluster with -g and -c"
        )),
        several => {
            let mut groups: Vec<String> = several.iter().map(|cluster| printable(&cluster.resource_group)).collect();
            groups.sort();
            Err(format!("{what} is in several resource groups ({}); name one with -g", groups.join(", ")))
        }
    }
}

/// Where a node runs, by its `spec.providerID`: `azure:///subscriptions/ID/resourceGroups/GROUP/providers/…`.
#[must_use]
pub fn traces_of_node(provider_id: &str) -> Option<(String, String)> {
    let mut parts = provider_id.strip_prefix("azure://")?.split('/').filter(|part| !part.is_empty());
    let mut value_of = |key: &str| parts.next().filter(|part| part.eq_ignore_ascii_case(key)).and(parts.next());
    let subscription = value_of("subscriptions")?;
    let group = value_of("resourceGroups")?;
    Some((subscription.to_owned(), group.to_owned()))
}

/// The host of an API server of AKS; none for any other address.
#[must_use]
pub fn aks_host(server: &str) -> Option<String> {
    let host = server.split_once("://").map_or(server, |(_, rest)| rest).split(['/', ':']).next()?;
    // Azure's clouds have other suffixes, and private clusters one label more.
    let suffixes = [".azmk8s.io", ".azmk8s.us", ".azk8s.cn"];
    suffixes.iter().any(|suffix| host.ends_with(suffix)).then(|| host.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    fn cluster(name: &str, group: &str) -> ListedCluster {
        ListedCluster {
            name: name.to_owned(),
            resource_group: group.to_owned(),
            node_resource_group: format!("MC_{group}_{name}_westeurope"),
            fqdn: format!("{name}-dns-1a2b.hcp.westeurope.azmk8s.io"),
            ..ListedCluster::default()
        }
    }

    #[test]
    fn a_cluster_is_found_by_its_nodes_or_its_host_in_any_case() {
        let list = [cluster("c1", "rg1"), cluster("c1", "rg2"), cluster("c2", "rg1")];
        let by =
            |traces: Traces| choose(&list, &Wanted::default(), &traces).map(|named| (named.resource_group, named.name));
        let nodes = Traces { node_resource_group: Some("mc_RG2_c1_westeurope".to_owned()), ..Traces::default() };
        assert_eq!(by(nodes).unwrap(), ("rg2".to_owned(), "c1".to_owned()));
        let host = Traces { host: Some("c2-dns-1a2b.hcp.westeurope.azmk8s.io".to_owned()), ..Traces::default() };
        assert_eq!(by(host).unwrap(), ("rg1".to_owned(), "c2".to_owned()));
        let gone = Traces { host: Some("other.hcp.westeurope.azmk8s.io".to_owned()), ..Traces::default() };
        assert!(by(gone).unwrap_err().contains("--subscription"));
        let wanted = Wanted { name: Some("c1".to_owned()), ..Wanted::default() };
        let several = choose(&list, &wanted, &Traces::default()).err().unwrap();
        assert!(several.contains("rg1, rg2") && several.contains("-g"), "{several}");
    }

    #[test]
    fn nodes_of_aks_tell_their_group_and_others_tell_nothing() {
        let id =
            "azure:///subscriptions/0-1/resourceGroups/mc_rg_aks/providers/Microsoft.Compute/virtualMachineScaleSets/x";
        assert_eq!(traces_of_node(id), Some(("0-1".to_owned(), "mc_rg_aks".to_owned())));
        for other in ["", "kind://docker/kind/x", "azure:///", "azure:///subscriptions/0", "aws:///eu/i-1"] {
            assert_eq!(traces_of_node(other), None, "{other}");
        }
    }

    #[test]
    fn only_hosts_of_aks_are_looked_for_in_azure() {
        let of = |server| aks_host(server);
        assert_eq!(of("https://A-1.hcp.westeurope.azmk8s.io:443").as_deref(), Some("a-1.hcp.westeurope.azmk8s.io"));
        assert_eq!(
            of("https://a.privatelink.westeurope.azmk8s.io/x").as_deref(),
            Some("a.privatelink.westeurope.azmk8s.io")
        );
        for other in ["https://127.0.0.1:6443", "https://azmk8s.io.example.com", ""] {
            assert_eq!(of(other), None);
        }
    }
}
