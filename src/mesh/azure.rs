//! What Azure says in Kubernetes events: errors of load balancers and of Key Vault.

/// Why a load balancer got no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadBalancerFault {
    /// The cluster's identity may not read or change what the Service names.
    NotAuthorized,
    /// The public IP address is of another SKU than the load balancer.
    SkuMismatch,
    /// There is no public IP address of that name or number in the resource group.
    PublicIpNotFound,
    /// The public IP address belongs to something else.
    PublicIpInUse,
    /// The subscription, or the load balancer, may have no more of them.
    Quota,
    /// There is no such subnet.
    SubnetNotFound,
    /// The subnet has no free address.
    SubnetFull,
    /// The private address is taken or outside of the subnet.
    PrivateAddress,
    /// A policy of the subscription forbids it.
    Policy,
    /// A lock on the resource group forbids it.
    Locked,
    /// A node that Kubernetes knows is not there any more.
    NodeNotFound,
    /// Azure asks for patience.
    Throttled,
}

use LoadBalancerFault as Lb;

/// Parts of the texts of cloud-provider-azure (`pkg/provider/azure_loadbalancer*.go`) and error codes of Azure's network
/// API, the most telling first: a message often contains several.
const LOAD_BALANCER: &[(&str, LoadBalancerFault)] = &[
    ("LinkedAuthorizationFailed", Lb::NotAuthorized),
    ("AuthorizationFailed", Lb::NotAuthorized),
    ("RequestDisallowedByPolicy", Lb::Policy),
    ("ScopeLocked", Lb::Locked),
    ("PublicIPAndLBSkuDoNotMatch", Lb::SkuMismatch),
    ("findMatchedPIPByName: failed to find PIP", Lb::PublicIpNotFound),
    ("cannot find public IP with IP address", Lb::PublicIpNotFound),
    ("PublicIPReferencedByMultipleIPConfigs", Lb::PublicIpInUse),
    ("PublicIPAddressInUse", Lb::PublicIpInUse),
    ("CountLimitReached", Lb::Quota),
    ("QuotaExceeded", Lb::Quota),
    ("SubnetIsFull", Lb::SubnetFull),
    ("PrivateIPAddressInUse", Lb::PrivateAddress),
    ("PrivateIPAddressIsAllocated", Lb::PrivateAddress),
    ("PrivateIPAddressNotInSubnet", Lb::PrivateAddress),
    ("failed to get subnet", Lb::SubnetNotFound),
    ("SubnetNotFound", Lb::SubnetNotFound),
    ("instance not found", Lb::NodeNotFound),
    ("TooManyRequests", Lb::Throttled),
    ("HTTPStatusCode: 429", Lb::Throttled),
];

/// Decodes the message of an event `SyncLoadBalancerFailed`.
#[must_use]
pub fn load_balancer_fault(message: &str) -> Option<LoadBalancerFault> {
    LOAD_BALANCER.iter().find(|(part, _)| message.contains(part)).map(|(_, fault)| *fault)
}

impl LoadBalancerFault {
    /// What it means, as the end of a sentence.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::NotAuthorized => "the cluster's identity may not use that subnet or public IP address",
            Self::SkuMismatch => "the public IP address is of another SKU than the load balancer (it must be Standard)",
            Self::PublicIpNotFound => "the named public IP address is not in that resource group",
            Self::PublicIpInUse => "the public IP address already belongs to something else",
            Self::Quota => "a limit of the subscription or of the load balancer is reached",
            Self::SubnetNotFound => "the named subnet does not exist in the cluster's virtual network",
            Self::SubnetFull => "the subnet has no free address",
            Self::PrivateAddress => "the private address is taken, or is not in the subnet",
            Self::Policy => "an Azure Policy of the subscription forbids it",
            Self::Locked => "a lock on the resource group forbids it",
            Self::NodeNotFound => "Azure misses a node that Kubernetes still lists",
            Self::Throttled => "Azure answers too many requests; the controller tries again by itself",
        }
    }
}

/// The resource over which a right is missing, in the message of an `AuthorizationFailed`.
#[must_use]
pub fn denied_scope(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("scope '").or_else(|| message.split_once("scope(s) '"))?;
    let scope = rest.split('\'').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-_.()".contains(c);
    (scope.starts_with("/subscriptions/") && scope.chars().all(plain)).then_some(scope)
}

/// Why the Secrets Store CSI driver could not take something from Key Vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VaultFault {
    /// The driver's identity may not read secrets (403).
    Denied,
    /// The vault's firewall, or its private endpoint, keeps the nodes out (403).
    Network,
    /// The secret is disabled (403).
    Disabled,
    /// There is no such secret (404).
    SecretNotFound,
    /// There is no such vault, or its name does not resolve.
    VaultNotFound,
    /// The driver's identity does not exist, or gets no token.
    Identity,
}

const VAULT: &[(&str, VaultFault)] = &[
    ("ForbiddenByFirewall", VaultFault::Network),
    ("ForbiddenByConnection", VaultFault::Network),
    ("Client address is not authorized", VaultFault::Network),
    ("Public network access is disabled", VaultFault::Network),
    ("SecretDisabled", VaultFault::Disabled),
    ("not allowed on a disabled secret", VaultFault::Disabled),
    ("SecretNotFound", VaultFault::SecretNotFound),
    ("no such host", VaultFault::VaultNotFound),
    ("Identity not found", VaultFault::Identity),
    ("failed to acquire token", VaultFault::Identity),
    ("AADSTS", VaultFault::Identity),
    ("ForbiddenByRbac", VaultFault::Denied),
    ("Forbidden", VaultFault::Denied),
    ("StatusCode=403", VaultFault::Denied),
    ("RESPONSE 403", VaultFault::Denied),
];

/// Decodes the message of an event `FailedMount`
/// (<https://learn.microsoft.com/azure/key-vault/general/rest-error-codes>).
#[must_use]
pub fn vault_fault(message: &str) -> Option<VaultFault> {
    VAULT.iter().find(|(part, _)| message.contains(part)).map(|(_, fault)| *fault)
}

impl VaultFault {
    /// What it means, as a clause.
    #[must_use]
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Denied => "403: the identity of the Key Vault add-on may not read secrets there",
            Self::Network => "403: the vault's firewall or private endpoint keeps the nodes out",
            Self::Disabled => "403: a secret there is disabled",
            Self::SecretNotFound => "404: a secret is not there",
            Self::VaultNotFound => "no vault of that name can be found",
            Self::Identity => "the identity of the Key Vault add-on gets no token",
        }
    }
}

/// The object that could not be read, in the provider's words `objectName:NAME,`.
#[must_use]
pub fn vault_object(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("objectName:")?;
    rest.split([',', ' ']).next().filter(|name| !name.is_empty())
}

/// The names of a SecretProviderClass's objects, which are YAML in a text in YAML.
#[must_use]
pub fn vault_objects(objects: &str) -> Vec<&str> {
    objects
        .lines()
        .filter_map(|line| line.trim().trim_start_matches("- ").trim().strip_prefix("objectName:"))
        .map(|name| name.trim().trim_matches(['"', '\'']))
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Forms of messages in public issues: MicrosoftDocs/azure-docs#62754, kubernetes-sigs/cloud-provider-azure#792,
    /// istio/istio#33910, and the texts in cloud-provider-azure's source.
    #[test]
    fn load_balancer_errors_are_decoded() {
        for (message, fault) in [
            (
                r#"Error syncing load balancer: failed to ensure load balancer: network.SubnetsClient#Get: Failure responding to request: StatusCode=403 -- Original Error: autorest/azure: Service returned an error. Status=403 Code="AuthorizationFailed" Message="The client 'x' with object id 'x' does not have authorization to perform action 'Microsoft.Network/virtualNetworks/subnets/read' over scope '/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s' or the scope is invalid.""#,
                Some(Lb::NotAuthorized),
            ),
            (
                r#"Original Error: Code="PublicIPAndLBSkuDoNotMatch" Message="Standard sku load balancer /subscriptions/0 cannot reference Basic sku publicIP""#,
                Some(Lb::SkuMismatch),
            ),
            (
                "Error syncing load balancer: failed to ensure load balancer: findMatchedPIPByName: failed to find PIP web in resource group net",
                Some(Lb::PublicIpNotFound),
            ),
            (
                "findMatchedPIPByLoadBalancerIP: cannot find public IP with IP address 2.3.4.5 in resource group rg",
                Some(Lb::PublicIpNotFound),
            ),
            (
                r#"{"error":{"code":"PublicIPCountLimitReached","message":"Cannot create more than 10 public IP addresses"}}"#,
                Some(Lb::Quota),
            ),
            (
                "Error syncing load balancer: failed to ensure load balancer: Retriable: false, RetryAfter: 0s, HTTPStatusCode: 429, RawError: …",
                Some(Lb::Throttled),
            ),
            ("Error syncing load balancer: failed to ensure load balancer: instance not found", Some(Lb::NodeNotFound)),
            ("Error syncing load balancer: something new", None),
        ] {
            assert_eq!(load_balancer_fault(message), fault, "{message}");
        }
    }

    #[test]
    fn only_a_plain_resource_id_is_taken_over_as_scope() {
        let id = "/subscriptions/0/resourceGroups/g/providers/Microsoft.Network/virtualNetworks/v/subnets/s";
        assert_eq!(denied_scope(&format!("action 'x' over scope '{id}' or the scope is invalid")), Some(id));
        assert_eq!(denied_scope(&format!("on the linked scope(s) '{id}' or …")), Some(id));
        assert_eq!(denied_scope("over scope '/subscriptions/0; rm -rf' or"), None);
        assert_eq!(denied_scope("no scope"), None);
    }

    /// The old form is that of secrets-store-csi-driver-provider-azure#1328, the new one azcore's `ResponseError`.
    #[test]
    fn key_vault_errors_are_decoded() {
        let old = |code: &str, text: &str| {
            format!(
                "MountVolume.SetUp failed for volume \"cacerts\" : rpc error: code = Unknown desc = failed to mount objects, error: failed to get objectType:secret, objectName:root-cert, objectVersion:: keyvault.BaseClient#GetSecret: Failure responding to request: StatusCode={code} -- Original Error: autorest/azure: Service returned an error. {text}"
            )
        };
        for (message, fault) in [
            (old("403", r#"Status=403 Code="Forbidden" Message="The user, group or application does not have secrets get permission on key vault""#), Some(VaultFault::Denied)),
            (old("404", r#"Status=404 Code="SecretNotFound" Message="A secret with (name/id) root-cert was not found in this key vault.""#), Some(VaultFault::SecretNotFound)),
            (old("403", r#"Code="Forbidden" Message="Client address is not authorized and caller is not a trusted service." InnerError={"code":"ForbiddenByFirewall"}"#), Some(VaultFault::Network)),
            ("RESPONSE 403: 403 Forbidden\nERROR CODE: Forbidden\n{\"error\":{\"innererror\":{\"code\":\"ForbiddenByRbac\"}}}".to_owned(), Some(VaultFault::Denied)),
            ("dial tcp: lookup mesh-ca.vault.azure.net: no such host".to_owned(), Some(VaultFault::VaultNotFound)),
            ("Unable to attach or mount volumes: unmounted volumes=[cacerts]".to_owned(), None),
        ] {
            assert_eq!(vault_fault(&message), fault, "{message}");
        }
        assert_eq!(vault_object(&old("404", "")), Some("root-cert"));
        assert_eq!(vault_object("nothing"), None);
    }

    #[test]
    fn names_of_objects_are_read_from_yaml_in_yaml() {
        let objects = "array:\n  - |\n    objectName: root-cert\n    objectType: secret\n  - |\n    objectName: \"ca-key\"\n    objectAlias: ca-key.pem\n";
        assert_eq!(vault_objects(objects), ["root-cert", "ca-key"]);
        assert!(vault_objects("").is_empty());
    }
}
