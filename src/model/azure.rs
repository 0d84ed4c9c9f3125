//! What `az` says about a cluster.
//!
//! A line of the source `azure` is one answer, reduced to what verdicts need: identifiers of subscriptions, tenants,
//! identities and resources, and the names of hosts, are not taken over. Shapes are those of `az aks show`
//! (<https://learn.microsoft.com/rest/api/aks/managed-clusters/get>), `az aks mesh get-revisions`
//! (<https://learn.microsoft.com/rest/api/aks/managed-clusters/get-mesh-revision-profile>), `az aks mesh get-upgrades`
//! (<https://learn.microsoft.com/rest/api/aks/managed-clusters/get-mesh-upgrade-profile>) and `az version`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::nullable;

/// One line of the source `azure`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AzureRecord {
    /// `az aks show`.
    Cluster(Box<ManagedCluster>),
    /// `az aks mesh get-revisions`: what the region offers.
    Revisions(MeshRevisions),
    /// `az aks mesh get-upgrades`: where the cluster's mesh can go.
    Upgrades(MeshRevision),
    /// `az version`.
    Tools(Tools),
}

/// The cluster as Azure knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedCluster {
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Resource group.
    #[serde(deserialize_with = "nullable")]
    pub resource_group: String,
    /// Resource group of its nodes.
    #[serde(deserialize_with = "nullable")]
    pub node_resource_group: String,
    /// Region.
    #[serde(deserialize_with = "nullable")]
    pub location: String,
    /// Whether it runs.
    #[serde(deserialize_with = "nullable")]
    pub power_state: PowerState,
    /// How the last change ended, or that one is under way.
    #[serde(deserialize_with = "nullable")]
    pub provisioning_state: String,
    /// The Kubernetes version that was asked for.
    #[serde(deserialize_with = "nullable")]
    pub kubernetes_version: String,
    /// The Kubernetes version that it has.
    #[serde(deserialize_with = "nullable")]
    pub current_kubernetes_version: String,
    /// Pricing tier.
    #[serde(deserialize_with = "nullable")]
    pub sku: Sku,
    /// `KubernetesOfficial` or `AKSLongTermSupport`.
    #[serde(deserialize_with = "nullable")]
    pub support_plan: String,
    /// The mesh.
    #[serde(deserialize_with = "nullable")]
    pub service_mesh_profile: MeshProfile,
    /// Network.
    #[serde(deserialize_with = "nullable")]
    pub network_profile: NetworkProfile,
    /// Add-ons by their key.
    #[serde(deserialize_with = "addons")]
    pub addon_profiles: BTreeMap<String, Addon>,
    /// How it is upgraded by itself.
    #[serde(deserialize_with = "nullable")]
    pub auto_upgrade_profile: AutoUpgrade,
}

/// Pricing tier.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sku {
    /// `Base` or `Automatic`.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// `Free`, `Standard` or `Premium`.
    #[serde(deserialize_with = "nullable")]
    pub tier: String,
}

/// Whether the cluster runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PowerState {
    /// `Running` or `Stopped`.
    #[serde(deserialize_with = "nullable")]
    pub code: String,
}

/// The mesh as Azure wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MeshProfile {
    /// `Istio` or `Disabled`; empty where there never was a mesh.
    #[serde(deserialize_with = "nullable")]
    pub mode: String,
    /// Its settings. They may stay when the mesh is disabled.
    #[serde(deserialize_with = "nullable")]
    pub istio: IstioProfile,
}

/// Settings of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IstioProfile {
    /// One revision, or two while an upgrade is open.
    #[serde(deserialize_with = "nullable")]
    pub revisions: Vec<String>,
    /// A certificate authority from a Key Vault.
    #[serde(deserialize_with = "nullable")]
    pub certificate_authority: CertificateAuthority,
    /// Gateways and redirection.
    #[serde(deserialize_with = "nullable")]
    pub components: Components,
}

/// The mesh's certificate authority.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateAuthority {
    /// One from a Key Vault; none for istiod's own.
    pub plugin: Option<PlugIn>,
}

/// A certificate authority from a Key Vault.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PlugIn {
    /// Name of the vault. Its resource id ends with it; the rest is not kept.
    #[serde(alias = "keyVaultId", deserialize_with = "last_segment")]
    pub vault: String,
    /// Name of the root certificate in it.
    #[serde(deserialize_with = "nullable")]
    pub root_cert_object_name: String,
    /// Name of the intermediate certificate in it.
    #[serde(deserialize_with = "nullable")]
    pub cert_object_name: String,
    /// Name of the key in it.
    #[serde(deserialize_with = "nullable")]
    pub key_object_name: String,
    /// Name of the chain in it.
    #[serde(deserialize_with = "nullable")]
    pub cert_chain_object_name: String,
}

/// Parts of the mesh.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Components {
    /// Ingress gateways.
    #[serde(deserialize_with = "nullable")]
    pub ingress_gateways: Vec<IngressGateway>,
    /// Egress gateways.
    #[serde(deserialize_with = "nullable")]
    pub egress_gateways: Vec<EgressGateway>,
    /// `CNIChaining` or `InitContainers`; empty where an older `az`, or the default, does not tell.
    #[serde(deserialize_with = "nullable")]
    pub proxy_redirection_mechanism: String,
}

/// An ingress gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct IngressGateway {
    /// Whether it is enabled.
    #[serde(deserialize_with = "nullable")]
    pub enabled: bool,
    /// `External` or `Internal`.
    #[serde(deserialize_with = "nullable")]
    pub mode: String,
}

/// An egress gateway.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EgressGateway {
    /// Whether it is enabled.
    #[serde(deserialize_with = "nullable")]
    pub enabled: bool,
    /// Name of its Service.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Its namespace; `aks-istio-egress` where none is named.
    #[serde(deserialize_with = "nullable")]
    pub namespace: String,
    /// The StaticGatewayConfiguration that gives it its address.
    #[serde(deserialize_with = "nullable")]
    pub gateway_configuration_name: String,
}

/// The cluster's network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkProfile {
    /// `azure`, `kubenet` or `none`.
    #[serde(deserialize_with = "nullable")]
    pub network_plugin: String,
    /// `azure` or `cilium`.
    #[serde(deserialize_with = "nullable")]
    pub network_dataplane: String,
    /// `azure`, `calico`, `cilium` or none.
    #[serde(deserialize_with = "nullable")]
    pub network_policy: String,
}

/// An add-on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Addon {
    /// Whether it is enabled.
    #[serde(deserialize_with = "nullable")]
    pub enabled: bool,
    /// Its settings, as far as they are known here.
    #[serde(deserialize_with = "nullable")]
    pub config: AddonConfig,
}

/// Settings of the Key Vault add-on; other add-ons have none of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AddonConfig {
    /// `"true"` where secrets are fetched again regularly.
    #[serde(deserialize_with = "nullable")]
    pub enable_secret_rotation: String,
    /// How often, such as `2m`.
    #[serde(deserialize_with = "nullable")]
    pub rotation_poll_interval: String,
}

/// Upgrades that AKS does by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AutoUpgrade {
    /// `patch`, `stable`, `rapid`, `node-image` or none.
    #[serde(rename = "upgradeChannel", deserialize_with = "nullable")]
    pub upgrade_channel: String,
    /// How node images are upgraded.
    #[serde(rename = "nodeOSUpgradeChannel", deserialize_with = "nullable")]
    pub node_os_upgrade_channel: String,
}

/// The revisions that a region offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshRevisions {
    /// Each of them.
    #[serde(deserialize_with = "nullable")]
    pub mesh_revisions: Vec<MeshRevision>,
}

/// A revision, where it can go, and what it fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MeshRevision {
    /// `asm-1-28`.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// Revisions that can follow it.
    #[serde(deserialize_with = "nullable")]
    pub upgrades: Vec<String>,
    /// What it fits.
    #[serde(deserialize_with = "nullable")]
    pub compatible_with: Vec<Compatible>,
}

/// Versions of something that a revision fits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Compatible {
    /// `KubernetesOfficial`, `AKSLongTermSupport`; `kubernetes` in older answers.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Minors such as `1.34`.
    #[serde(deserialize_with = "nullable")]
    pub versions: Vec<String>,
}

/// Versions of `az` and its extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tools {
    /// Version of `az`.
    #[serde(rename = "azure-cli", deserialize_with = "nullable")]
    pub az: String,
    /// Extensions by name.
    #[serde(deserialize_with = "nullable")]
    pub extensions: BTreeMap<String, String>,
}

/// One cluster of `az aks list`, to find the one that a kubeconfig means.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListedCluster {
    /// Name.
    #[serde(deserialize_with = "nullable")]
    pub name: String,
    /// Resource group.
    #[serde(deserialize_with = "nullable")]
    pub resource_group: String,
    /// Resource group of its nodes.
    #[serde(deserialize_with = "nullable")]
    pub node_resource_group: String,
    /// Region.
    #[serde(deserialize_with = "nullable")]
    pub location: String,
    /// Host of its API server.
    #[serde(deserialize_with = "nullable")]
    pub fqdn: String,
    /// Host of its API server inside its network.
    #[serde(deserialize_with = "nullable")]
    pub private_fqdn: String,
}

/// Answers of tools that were asked through a REST client keep their fields one level deeper.
fn unwrapped<'de, T: Deserialize<'de>>(bytes: &'de [u8]) -> Result<T, serde_json::Error> {
    #[derive(Deserialize)]
    struct Outer<'a> {
        #[serde(borrow)]
        properties: &'a serde_json::value::RawValue,
    }
    match serde_json::from_slice::<Outer<'de>>(bytes) {
        Ok(outer) => serde_json::from_str(outer.properties.get()),
        Err(_) => serde_json::from_slice(bytes),
    }
}

impl AzureRecord {
    /// Reads an answer of `az aks show`.
    ///
    /// # Errors
    /// When it is not an object of that shape, or has no name.
    pub fn cluster(bytes: &[u8]) -> Result<Self, String> {
        let cluster: ManagedCluster = object(bytes).and_then(|b| serde_json::from_slice(b).map_err(category))?;
        if cluster.name.is_empty() {
            return Err("it names no cluster".to_owned());
        }
        Ok(Self::Cluster(Box::new(cluster)))
    }

    /// Reads an answer of `az aks mesh get-revisions`.
    ///
    /// # Errors
    /// When it is not an object of that shape, or has no revisions.
    pub fn revisions(bytes: &[u8]) -> Result<Self, String> {
        let revisions: MeshRevisions = object(bytes).and_then(|b| unwrapped(b).map_err(category))?;
        if revisions.mesh_revisions.is_empty() {
            return Err("it names no revision".to_owned());
        }
        Ok(Self::Revisions(revisions))
    }

    /// Reads an answer of `az aks mesh get-upgrades`.
    ///
    /// # Errors
    /// When it is not an object of that shape, or has no revision.
    pub fn upgrades(bytes: &[u8]) -> Result<Self, String> {
        let upgrades: MeshRevision = object(bytes).and_then(|b| unwrapped(b).map_err(category))?;
        if upgrades.revision.is_empty() {
            return Err("it names no revision".to_owned());
        }
        Ok(Self::Upgrades(upgrades))
    }

    /// Reads an answer of `az version`.
    ///
    /// # Errors
    /// When it is not an object of that shape, or names no version.
    pub fn tools(bytes: &[u8]) -> Result<Self, String> {
        let tools: Tools = object(bytes).and_then(|b| serde_json::from_slice(b).map_err(category))?;
        if tools.az.is_empty() {
            return Err("it names no version".to_owned());
        }
        Ok(Self::Tools(tools))
    }

    /// The line that stands for it.
    #[must_use]
    pub fn line(&self) -> Vec<u8> {
        // Plain data: it can always be written.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// Reads an answer of `az aks list`.
///
/// # Errors
/// When it is no list.
pub fn listed(bytes: &[u8]) -> Result<Vec<ListedCluster>, String> {
    serde_json::from_slice(bytes).map_err(category)
}

/// serde takes a list for an object whose fields stand in order.
fn object(bytes: &[u8]) -> Result<&[u8], String> {
    match bytes.trim_ascii_start() {
        [] => Err("it is empty".to_owned()),
        [b'{', ..] => Ok(bytes),
        _ => Err("it is no JSON object".to_owned()),
    }
}

/// The kind of error, without any of the answer's content.
#[allow(clippy::needless_pass_by_value)] // reason: stands where map_err wants a function
fn category(error: serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => "a field is not of the documented type".to_owned(),
        serde_json::error::Category::Eof => "it ends too early".to_owned(),
        _ => "it is no JSON".to_owned(),
    }
}

fn last_segment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let id: String = nullable(deserializer)?;
    Ok(id.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned())
}

/// Only the add-ons that are looked at, under one spelling: Azure's own spelling of their keys has changed over time.
fn addons<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Addon>, D::Error> {
    let all: BTreeMap<String, Option<Addon>> = nullable(deserializer)?;
    let known = [KEY_VAULT, OPEN_SERVICE_MESH];
    let take = |(key, addon): (String, Option<Addon>)| {
        let name = known.into_iter().find(|name| name.eq_ignore_ascii_case(&key))?;
        Some((name.to_owned(), addon?))
    };
    Ok(all.into_iter().filter_map(take).collect())
}

/// The add-on that brings secrets of a Key Vault into pods.
pub const KEY_VAULT: &str = "azureKeyvaultSecretsProvider";
/// The add-on that the Istio add-on excludes.
pub const OPEN_SERVICE_MESH: &str = "openServiceMesh";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    /// The shape of the documented answer (`ManagedClusters_Get` of the ARM reference, flattened as `az` does).
    const SHOW: &[u8] = br#"{
        "id": "/subscriptions/00000000-0000-0000-0000-000000000000/resourcegroups/rg1/providers/Microsoft.ContainerService/managedClusters/c1",
        "name": "c1", "resourceGroup": "rg1", "nodeResourceGroup": "MC_rg1_c1_westeurope", "location": "westeurope",
        "fqdn": "c1-dns.hcp.westeurope.azmk8s.io", "identity": {"principalId": "11111111-0000-0000-0000-000000000000"},
        "powerState": {"code": "Running"}, "provisioningState": "Succeeded", "kubernetesVersion": "1.34.1",
        "currentKubernetesVersion": "1.34.1", "sku": {"name": "Base", "tier": "Standard"}, "supportPlan": "KubernetesOfficial",
        "autoUpgradeProfile": {"upgradeChannel": null, "nodeOSUpgradeChannel": "NodeImage"},
        "networkProfile": {"networkPlugin": "azure", "networkDataplane": "cilium", "networkPolicy": null},
        "addonProfiles": {"azureKeyvaultSecretsProvider": {"enabled": true, "identity": {"objectId": "x"},
            "config": {"enableSecretRotation": "true", "rotationPollInterval": "2m"}}, "omsagent": {"enabled": true, "config": {"logAnalyticsWorkspaceResourceID": "x"}}},
        "serviceMeshProfile": {"mode": "Istio", "istio": {"revisions": ["asm-1-28"],
            "certificateAuthority": {"plugin": {"keyVaultId": "/subscriptions/0/resourceGroups/rg1/providers/Microsoft.KeyVault/vaults/mesh-ca",
                "rootCertObjectName": "root-cert", "certObjectName": "ca-cert", "keyObjectName": "ca-key", "certChainObjectName": "cert-chain"}},
            "components": {"ingressGateways": [{"enabled": true, "mode": "External"}], "egressGateways": null,
                "proxyRedirectionMechanism": "CNIChaining"}}}}"#;

    #[test]
    fn a_documented_answer_is_read_and_identifiers_are_not_kept() {
        let record = AzureRecord::cluster(SHOW).unwrap();
        let AzureRecord::Cluster(cluster) = &record else { panic!("not a cluster") };
        let istio = &cluster.service_mesh_profile.istio;
        assert_eq!(istio.revisions, ["asm-1-28"]);
        assert_eq!(istio.components.ingress_gateways[0].mode, "External");
        assert!(istio.components.egress_gateways.is_empty());
        assert_eq!(istio.certificate_authority.plugin.as_ref().unwrap().vault, "mesh-ca");
        assert_eq!(cluster.addon_profiles[KEY_VAULT].config.enable_secret_rotation, "true");
        let line = String::from_utf8(record.line()).unwrap();
        for secret in ["subscriptions", "11111111", "azmk8s.io", "omsagent", "Microsoft.KeyVault"] {
            assert!(!line.contains(secret), "{secret} is in {line}");
        }
        assert_eq!(serde_json::from_str::<AzureRecord>(&line).unwrap(), record, "the line says the same");
    }

    #[test]
    fn what_an_older_az_or_a_bare_cluster_leaves_out_is_absent() {
        let bare =
            AzureRecord::cluster(br#"{"name": "c", "serviceMeshProfile": null, "addonProfiles": null}"#).unwrap();
        let AzureRecord::Cluster(bare) = bare else { panic!("not a cluster") };
        assert_eq!(bare.service_mesh_profile, MeshProfile::default());
        let nulls = br#"{"name": "c", "serviceMeshProfile": {"mode": "Disabled", "istio": {"revisions": ["asm-1-17"],
            "certificateAuthority": null, "components": null}}, "addonProfiles": {"AzureKeyVaultSecretsProvider": {"enabled": false, "config": null}, "x": null}}"#;
        let AzureRecord::Cluster(nulls) = AzureRecord::cluster(nulls).unwrap() else { panic!("not a cluster") };
        assert!(!nulls.addon_profiles[KEY_VAULT].enabled);
        assert_eq!(nulls.service_mesh_profile.istio.certificate_authority.plugin, None);
    }

    #[test]
    fn revisions_are_read_flat_and_wrapped() {
        let inner = r#"{"meshRevisions": [{"revision": "asm-1-28", "upgrades": ["asm-1-29"],
            "compatibleWith": [{"name": "KubernetesOfficial", "versions": ["1.30", "1.31"]}]}]}"#;
        let wrapped = format!(r#"{{"id": "x", "properties": {inner}}}"#);
        assert_eq!(AzureRecord::revisions(inner.as_bytes()), AzureRecord::revisions(wrapped.as_bytes()));
        let AzureRecord::Revisions(revisions) = AzureRecord::revisions(inner.as_bytes()).unwrap() else { panic!() };
        assert_eq!(revisions.mesh_revisions[0].compatible_with[0].versions, ["1.30", "1.31"]);
    }

    #[test]
    fn rubbish_is_refused_with_a_word_that_says_why() {
        for (body, reason) in [
            (&b""[..], "it is empty"),
            (b"[]", "it is no JSON object"),
            (b"null", "it is no JSON object"),
            (b"{\"name\": \"c\"", "it ends too early"),
            (b"{\"name\": 7}", "a field is not of the documented type"),
            (b"{}", "it names no cluster"),
            (b"{<html>", "it is no JSON"),
        ] {
            assert_eq!(AzureRecord::cluster(body), Err(reason.to_owned()));
        }
        assert!(AzureRecord::revisions(b"{}").is_err());
        assert!(AzureRecord::upgrades(b"{\"properties\": []}").is_err());
        assert!(AzureRecord::tools(b"{\"extensions\": {}}").is_err());
        assert!(listed(b"{}").is_err());
    }
}
