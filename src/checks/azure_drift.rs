//! AZ: the mesh in the cluster beside the one in Azure's profile.

use super::azure::{KEY, activity_log, cluster, evidence};
use super::remedies::{az, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::authority::class_name;
use crate::mesh::azure_profile::{Progress, Row, Topic, ingress_service, progress, rows};
use crate::mesh::redirection::CNI_DAEMON_SET;
use crate::model::azure::ManagedCluster;
use crate::snapshot::SourceId;
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

pub(super) static DRIFT: Check = Check {
    code: "AZ03",
    name: "profile-differs-from-cluster",
    title: "The mesh in the cluster is the one that Azure wants",
    area: Area::Azure,
    severity: Severity::Error,
    inputs: &[
        SourceId::Azure,
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::GatewayServices,
        SourceId::SystemConfigMaps,
    ],
    uses: &[],
    docs: "## What it means
Azure's profile of the mesh and what is in the cluster differ: a revision, a gateway, the certificate authority or what redirects traffic. The next change that AKS makes may bring the cluster to the profile, which can remove what is in use.

## Why it happens on AKS
A change stopped halfway, objects of the add-on were deleted or made by hand, or something in the cluster keeps AKS from installing its part.

## How we know
`serviceMeshProfile` in the answer of `az aks show` is compared with the cluster: `mode` and `revisions` with the Deployments `istiod-asm-X-Y`, gateways with their Services, `certificateAuthority` with what istiod mounts, `proxyRedirectionMechanism` with the injector's configuration. While AKS changes the cluster, differences are information. Egress gateways in namespaces that are not examined are left out.

## What to do
Find out whether a change failed (AZ02), then let AKS reconcile: `az aks update` without other arguments. `kubectl asm conflicts` shows what could be in the way.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://learn.microsoft.com/azure/aks/istio-deploy-ingress>, <https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://learn.microsoft.com/azure/aks/istio-cni>, <https://github.com/Azure/AKS/issues/4800>",
    run: drift,
};

fn drift(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions();
    let whole = lens.need_whole(&[SourceId::GatewayServices, SourceId::SystemConfigMaps]);
    let Some(cluster) = cluster(lens)? else {
        revisions?;
        whole?;
        return Ok(Verdict::default());
    };
    let revisions = revisions?;
    whole?;
    let all = rows(cluster, lens.snapshot(), Some(revisions));
    let under_way = progress(cluster) == Progress::Running;
    // One that has nothing at all, or has what it should not, is one fault and not one per part.
    let whole_mesh = all.iter().find(|row| row.topic == Topic::Mode && row.agree == Some(false));
    let different: Vec<&Row> = match whole_mesh {
        Some(row) => vec![row],
        None => all.iter().filter(|row| row.agree == Some(false)).collect(),
    };
    let findings = different.into_iter().map(|row| difference(cluster, row, under_way)).collect();
    Ok(Verdict { examined: all.len(), findings })
}

fn difference(cluster: &ManagedCluster, row: &Row, under_way: bool) -> Finding {
    let wanted = row.wanted == "enabled";
    let found = row.found.as_deref().unwrap_or_default();
    let (subject, summary, detail, summary_of_remedy, reconciling) = match &row.topic {
        Topic::Mode if wanted => (
            Subject::cluster("Cluster", "add-on"),
            "Azure has the mesh enabled, but no istiod of any revision is in the cluster".to_owned(),
            "There is no mesh until AKS has installed it: proxies get no configuration, and new pods get no sidecar.",
            "find out what kept AKS from installing it, then let it try again",
            "installs the mesh",
        ),
        Topic::Mode => (
            Subject::cluster("Cluster", "add-on"),
            "Azure has no mesh enabled, but the cluster has istiods of the add-on".to_owned(),
            "They are not updated and not supported any more, and the next change of the cluster may remove them.",
            "enable the mesh again if it is used; otherwise let AKS remove what is left",
            "removes what is left of the mesh",
        ),
        Topic::Revision(name) if wanted => (
            Subject::cluster("Revision", name.clone()),
            format!("Azure has revision {name} enabled, but no istiod of it is in the cluster"),
            "Workloads that ask for that revision get no sidecar.",
            "let AKS install it",
            "installs the revision",
        ),
        Topic::Revision(name) => (
            Subject::cluster("Revision", name.clone()),
            format!("revision {name} is in the cluster, but not in Azure's profile"),
            "It is not updated any more, and the next change of the cluster may remove it with its webhook.",
            "move workloads to a revision of the profile, then let AKS remove it",
            "removes the revision",
        ),
        Topic::Ingress(kind) if wanted => (
            Subject::new("Service", INGRESS_NAMESPACE, ingress_service(kind)),
            format!("Azure has the {kind} ingress gateway enabled, but its Service is not in the cluster"),
            "Nothing from outside reaches the mesh through it.",
            "let AKS install it",
            "installs the gateway",
        ),
        Topic::Ingress(kind) => (
            Subject::new("Service", INGRESS_NAMESPACE, ingress_service(kind)),
            format!("the {kind} ingress gateway is in the cluster, but not in Azure's profile"),
            "The next change of the cluster may remove it with its address.",
            "enable it if it is used; otherwise let AKS remove it",
            "removes the gateway",
        ),
        Topic::Egress(namespace, name) if wanted => (
            Subject::new("Service", namespace.clone(), name.clone()),
            format!(
                "Azure has the egress gateway {name} in {namespace} enabled, but its Service is not in the cluster"
            ),
            "What should leave the cluster through it does not, or leaves from another address.",
            "let AKS install it",
            "installs the gateway",
        ),
        Topic::Egress(namespace, name) => (
            Subject::new("Service", namespace.clone(), name.clone()),
            format!("the egress gateway {name} in {namespace} is in the cluster, but not in Azure's profile"),
            "The next change of the cluster may remove it.",
            "enable it if it is used; otherwise let AKS remove it",
            "removes the gateway",
        ),
        Topic::Authority => (
            Subject::new("SecretProviderClass", SYSTEM_NAMESPACE, authority_class(cluster)),
            format!("Azure's profile has a certificate authority {}, istiod uses {found}", row.wanted),
            "Proxies get certificates of another root than planned; when AKS brings the two together, the root changes.",
            "let AKS bring istiod to the profile, at a time when workloads can be restarted",
            "changes the certificate authority; workloads must be restarted afterwards",
        ),
        Topic::Redirection => (
            Subject::new("DaemonSet", SYSTEM_NAMESPACE, CNI_DAEMON_SET),
            format!("Azure's profile redirects traffic by {}, new pods get {found}", row.wanted),
            "New pods are made for another mechanism than the one that AKS maintains.",
            "let AKS bring the injector to the profile, then restart workloads",
            "changes what new pods get",
        ),
    };
    let mut steps = vec![activity_log()];
    if wanted {
        steps.push(Step::command(Risk::Read, "shows what could be in the way", ["kubectl", "asm", "conflicts"]));
    }
    match &row.topic {
        Topic::Mode if !wanted => {
            steps.push(az(
                Risk::Change,
                "enables the mesh again; name the revision that is in use",
                &["mesh", "enable", "--revision", "<revision>"],
            ));
        }
        Topic::Ingress(kind) if !wanted => steps.push(az(
            Risk::Change,
            "enables the gateway, where it is used",
            &["mesh", "enable-ingress-gateway", "--ingress-gateway-type", kind],
        )),
        _ => {}
    }
    steps.push(reconcile(reconciling));
    let summary = if under_way {
        format!("{summary}; AKS is changing the cluster now ({})", cluster.provisioning_state)
    } else {
        summary
    };
    let detail = if under_way { "What differs is in progress, and may be right in some minutes." } else { detail };
    let mut finding = Finding::new(subject, summary, detail)
        .key(KeyKind::Object, KEY)
        .at_most(if under_way { Severity::Info } else { Severity::Error })
        .remedy(Remedy::new(summary_of_remedy, steps));
    if let Topic::Revision(name) = &row.topic {
        finding = finding.key(KeyKind::Revision, name);
    }
    if row.topic == Topic::Mode && wanted {
        finding = finding.key(KeyKind::Object, "istio");
    }
    let field = format!("serviceMeshProfile: {}", row.topic.words());
    evidence(finding, cluster, &field, &row.wanted, Some(found))
}

/// The SecretProviderClass that a certificate authority from a Key Vault comes through.
fn authority_class(cluster: &ManagedCluster) -> String {
    class_name(cluster.service_mesh_profile.istio.revisions.first().map_or("asm", String::as_str))
}
