//! What Azure refuses when the mesh is installed or changed: parts of its messages, what is behind them, what to do.
//!
//! The messages are those of Microsoft's page on the add-on's errors
//! (<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-general-troubleshooting>) and
//! of issues of Azure/AKS and Azure/azure-cli.

/// A message that is understood.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// A name for it that does not change.
    pub name: &'static str,
    /// Parts that a message must contain, all of them, in any case.
    pub parts: &'static [&'static str],
    /// What is behind it.
    pub cause: &'static str,
    /// What to do.
    pub fix: &'static str,
    /// Commands, each with a sentence that says what it does, and whether it changes something.
    pub commands: &'static [Command],
}

/// A command of a fix.
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// What it does.
    pub text: &'static str,
    /// Whether it changes something in Azure.
    pub changes: bool,
    /// Its words.
    pub words: &'static [&'static str],
}

const fn reads(text: &'static str, words: &'static [&'static str]) -> Command {
    Command { text, changes: false, words }
}

const fn changes(text: &'static str, words: &'static [&'static str]) -> Command {
    Command { text, changes: true, words }
}

const UPGRADES: Command = reads(
    "shows where this mesh can go",
    &["az", "aks", "mesh", "get-upgrades", "-g", "<resource-group>", "-n", "<cluster>", "-o", "table"],
);
const REVISIONS: Command = reads(
    "shows what the region offers, and for which Kubernetes",
    &["az", "aks", "mesh", "get-revisions", "-l", "<location>", "-o", "table"],
);
const PROFILE: Command = reads(
    "shows what AKS believes is installed",
    &["az", "aks", "show", "-g", "<resource-group>", "-n", "<cluster>", "--query", "serviceMeshProfile"],
);
const COMPLETE: Command = changes(
    "keeps the newer revision; every proxy must have left the older one",
    &["az", "aks", "mesh", "upgrade", "complete", "-g", "<resource-group>", "-n", "<cluster>"],
);
const ROLL_BACK: Command = changes(
    "or keeps the older one",
    &["az", "aks", "mesh", "upgrade", "rollback", "-g", "<resource-group>", "-n", "<cluster>"],
);
const NEWER_AZ: Command = changes("brings az up to date", &["az", "upgrade"]);
const NEWER_EXTENSION: Command = changes(
    "brings the extension up to date, where it is installed",
    &["az", "extension", "update", "-n", "aks-preview"],
);
const STATE: Command = reads(
    "shows whether a change is under way",
    &["az", "aks", "show", "-g", "<resource-group>", "-n", "<cluster>", "--query", "provisioningState"],
);

/// All of them, the most telling first: a message often contains several.
pub const KNOWN: &[Known] = &[
    Known {
        name: "region",
        parts: &["service mesh is not supported in this region"],
        cause: "the add-on does not exist in this region or cloud",
        fix: "use a cluster in a region that offers it",
        commands: &[REVISIONS],
    },
    Known {
        name: "no-mode",
        parts: &["missing service mesh mode"],
        cause: "the mesh profile of a template or REST call has no mode",
        fix: "add mode: Istio to serviceMeshProfile",
        commands: &[PROFILE],
    },
    Known {
        name: "ingress-mode",
        parts: &["invalid istio ingress mode"],
        cause: "the mode of an ingress gateway is neither External nor Internal",
        fix: "write one of the two words, as they are here",
        commands: &[PROFILE],
    },
    Known {
        name: "too-many-ingresses",
        parts: &["too many ingresses for type"],
        cause: "the profile lists more than one ingress gateway of a kind",
        fix: "keep one External and one Internal entry at most",
        commands: &[PROFILE],
    },
    Known {
        name: "no-istio-profile",
        parts: &["istio profile is missing"],
        cause: "the mode is Istio, but the profile has no istio block",
        fix: "add the block istio, with a revision, to serviceMeshProfile",
        commands: &[PROFILE],
    },
    Known {
        name: "plug-in-incomplete",
        parts: &["missing required parameter", "plugin certificate authority"],
        cause: "a certificate authority from a Key Vault needs the vault and the names of four objects, and some are missing",
        fix: "give all five: --key-vault-id, --root-cert-object-name, --ca-cert-object-name, --ca-key-object-name, --cert-chain-object-name",
        commands: &[reads("shows the flags", &["az", "aks", "mesh", "enable", "--help"])],
    },
    Known {
        name: "no-key-vault-add-on",
        parts: &["azurekeyvaultsecretsprovider", "required"],
        cause: "the certificate authority comes from a Key Vault, but the add-on that reads Key Vaults is off",
        fix: "enable that add-on first",
        commands: &[changes(
            "enables the Key Vault add-on",
            &[
                "az",
                "aks",
                "enable-addons",
                "-a",
                "azure-keyvault-secrets-provider",
                "-g",
                "<resource-group>",
                "-n",
                "<cluster>",
            ],
        )],
    },
    Known {
        name: "key-vault-id",
        parts: &["not a valid azure keyvault resource identifier"],
        cause: "--key-vault-id got a name or an address, and needs the whole resource id",
        fix: "use the id that az prints",
        commands: &[reads(
            "prints the id",
            &["az", "keyvault", "show", "-n", "<key-vault>", "--query", "id", "-o", "tsv"],
        )],
    },
    Known {
        name: "incompatible-feature",
        parts: &["incompatible with feature"],
        cause: "another add-on is enabled that excludes the Istio add-on, mostly Open Service Mesh",
        fix: "disable it, remove what it left, and enable the mesh again",
        commands: &[
            reads("shows what is left of others", &["kubectl", "asm", "conflicts"]),
            changes(
                "disables Open Service Mesh",
                &[
                    "az",
                    "aks",
                    "disable-addons",
                    "-a",
                    "open-service-mesh",
                    "-g",
                    "<resource-group>",
                    "-n",
                    "<cluster>",
                ],
            ),
        ],
    },
    Known {
        name: "no-kubernetes-version",
        parts: &["kubernetes version is missing in orchestrator profile"],
        cause: "the request of a template or REST call names no Kubernetes version",
        fix: "add kubernetesVersion",
        commands: &[],
    },
    Known {
        name: "revision-does-not-fit",
        parts: &["revision", "not compatible with cluster version"],
        cause: "that revision does not support the cluster's Kubernetes version",
        fix: "choose a revision that does, or upgrade the cluster first",
        commands: &[UPGRADES, REVISIONS],
    },
    Known {
        name: "upgrade-open",
        parts: &["mesh upgrade is in progress"],
        cause: "two revisions are installed: the last upgrade was neither completed nor rolled back",
        fix: "end it; until then Azure tells no further upgrade",
        commands: &[
            reads("shows who still needs the older one", &["kubectl", "asm", "status", "--only", "UPG"]),
            COMPLETE,
            ROLL_BACK,
        ],
    },
    Known {
        name: "too-many-revisions",
        parts: &["exceeds maximum allowed number of revisions"],
        cause: "two revisions are installed already, and a third one was asked for",
        fix: "complete or roll back the open upgrade first",
        commands: &[
            reads("shows who still needs the older one", &["kubectl", "asm", "status", "--only", "UPG"]),
            COMPLETE,
            ROLL_BACK,
        ],
    },
    Known {
        name: "no-revision",
        parts: &["revision field must not be empty"],
        cause: "the profile of a template or REST call names no revision",
        fix: "name one that the region offers",
        commands: &[REVISIONS],
    },
    Known {
        name: "revision-change",
        parts: &["requested change in revisions is not allowed"],
        cause: "that revision is no longer offered, is older than the installed one, or is not among its next ones",
        fix: "choose one that Azure names for this cluster",
        commands: &[UPGRADES, REVISIONS],
    },
    Known {
        name: "kubernetes-too-old",
        parts: &["kubernetes version", "not supported"],
        cause: "the cluster's Kubernetes version is out of support, and changes of the mesh are refused until it is not",
        fix: "upgrade the cluster, then change the mesh",
        commands: &[reads(
            "shows where the cluster can go",
            &["az", "aks", "get-upgrades", "-g", "<resource-group>", "-n", "<cluster>", "-o", "table"],
        )],
    },
    Known {
        name: "preempted",
        parts: &["aksoperationpreempted"],
        cause: "another change of the cluster replaced this one",
        fix: "wait for it to end, then start this one again; changes of one cluster run one after the other",
        commands: &[STATE],
    },
    Known {
        name: "in-progress",
        parts: &["operationnotallowed", "in progress"],
        cause: "another change of the cluster is under way",
        fix: "wait for it to end, then start this one again",
        commands: &[STATE],
    },
    Known {
        name: "egress-disallowed",
        parts: &["egress gateway", "disallowed"],
        cause: "egress gateways need a newer version of az or of its API than the one that asked",
        fix: "use az 2.80.0 or newer",
        commands: &[NEWER_AZ, NEWER_EXTENSION],
    },
    Known {
        name: "old-az",
        parts: &["'nonetype' object"],
        cause: "az expected a mesh and found none, which older versions do not say but break over",
        fix: "bring az up to date; is the mesh enabled at all?",
        commands: &[PROFILE, NEWER_AZ, NEWER_EXTENSION],
    },
    Known {
        name: "unknown-command",
        parts: &["misspelled or not recognized"],
        cause: "this version of az does not know the command",
        fix: "bring az up to date; the commands of the mesh exist since 2.57.0",
        commands: &[NEWER_AZ, NEWER_EXTENSION],
    },
    Known {
        name: "not-logged-in",
        parts: &["run 'az login'"],
        cause: "az is not logged in",
        fix: "log in",
        commands: &[reads("logs in", &["az", "login"])],
    },
    Known {
        name: "login-expired",
        parts: &["aadsts"],
        cause: "Entra ID does not accept the login of az any more",
        fix: "log in again; where a policy asks for more, in the tenant of the subscription",
        commands: &[reads("logs in", &["az", "login", "--tenant", "<tenant>"])],
    },
    Known {
        name: "not-authorized",
        parts: &["authorizationfailed"],
        cause: "the Azure role of who is logged in does not allow this",
        fix: "ask for Azure Kubernetes Service Contributor on the cluster, or for the action that the message names",
        commands: &[reads("shows who is logged in, and where", &["az", "account", "show", "-o", "table"])],
    },
    Known {
        name: "policy",
        parts: &["requestdisallowedbypolicy"],
        cause: "an Azure Policy of the subscription forbids it",
        fix: "show its owner the name of the policy in the message",
        commands: &[],
    },
    Known {
        name: "locked",
        parts: &["scopelocked"],
        cause: "a lock on the resource group or the cluster forbids changes",
        fix: "ask its owner to remove the lock for the time of the change",
        commands: &[reads("shows the locks", &["az", "lock", "list", "-g", "<resource-group>", "-o", "table"])],
    },
    Known {
        name: "quota",
        parts: &["quotaexceeded"],
        cause: "a limit of the subscription is reached",
        fix: "ask for a higher limit, or free some of what it counts",
        commands: &[reads("shows limits and use", &["az", "vm", "list-usage", "-l", "<location>", "-o", "table"])],
    },
    Known {
        name: "throttled",
        parts: &["toomanyrequests"],
        cause: "Azure was asked too often",
        fix: "wait some minutes, then start it again",
        commands: &[],
    },
    Known {
        name: "min-replicas",
        parts: &["minreplicas must be >= 2"],
        cause: "an autoscaler of the add-on was given fewer than two replicas",
        fix: "set minReplicas to 2 or more",
        commands: &[reads("shows the autoscalers", &["kubectl", "get", "hpa", "-A"])],
    },
];

/// The entry that explains a message.
#[must_use]
pub fn known(message: &str) -> Option<&'static Known> {
    let lower = message.to_ascii_lowercase();
    KNOWN.iter().find(|known| known.parts.iter().all(|part| lower.contains(part)))
}

/// Finds an entry by its name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The code of Entra ID in a message: `AADSTS` and digits.
#[must_use]
pub fn aadsts(message: &str) -> Option<&str> {
    let start = message.find("AADSTS")?;
    let digits = message[start + 6..].bytes().take_while(u8::is_ascii_digit).count();
    (digits > 0).then(|| &message[start..start + 6 + digits])
}

/// The action that a role does not allow, in the message of an `AuthorizationFailed`.
#[must_use]
pub fn denied_action(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("perform action '")?;
    let action = rest.split('\'').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-*".contains(c);
    (action.starts_with("Microsoft.") && action.chars().all(plain)).then_some(action)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages as Microsoft's page and public issues have them (MicrosoftDocs/azure-docs#120606, Azure/azure-cli#28577,
    /// Azure/AKS#4386).
    #[test]
    fn documented_messages_are_understood() {
        for (message, name) in [
            ("Azure service mesh is not supported in this region.", Some("region")),
            ("Missing service mesh mode: Istio mode must be specified", Some("no-mode")),
            ("Istio profile is missing even though Service Mesh mode is Istio", Some("no-istio-profile")),
            (
                "(BadRequest) Requested change in revisions is not allowed. Reason: Revision asm-1-17 is not supported by the service mesh add-on.",
                Some("revision-change"),
            ),
            (
                "Service mesh revision asm-1-17 is not compatible with cluster version 1.29.0. To find information about mesh-cluster compatibility, use 'az aks mesh get-upgrades'",
                Some("revision-does-not-fit"),
            ),
            (
                "ServiceMeshProfile is missing required parameters 'certChainObjectName' for plugin certificate authority",
                Some("plug-in-incomplete"),
            ),
            (
                "AzureKeyvaultSecretsProvider addon is required for Azure Service Mesh plugin certificate authority feature",
                Some("no-key-vault-add-on"),
            ),
            ("'KeyVaultId' 'x' is not a valid Azure keyvault resource identifier", Some("key-vault-id")),
            ("Kubernetes version 1.24 is not supported", Some("kubernetes-too-old")),
            ("ServiceMeshProfile revision field must not be empty", Some("no-revision")),
            ("Request exceeds maximum allowed number of revisions (2)", Some("too-many-revisions")),
            (
                "Mesh upgrade is in progress. Cannot retrieve versioning and compatibility information",
                Some("upgrade-open"),
            ),
            ("AttributeError: 'NoneType' object has no attribute 'upgrades'", Some("old-az")),
            ("Use of Istio egress gateway is disallowed", Some("egress-disallowed")),
            ("everything is fine", None),
        ] {
            assert_eq!(known(message).map(|known| known.name), name, "{message}");
        }
    }

    #[test]
    fn entries_have_names_of_their_own_and_parts_in_lower_case() {
        let mut names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KNOWN.len());
        for known in KNOWN {
            assert!(known.parts.iter().all(|part| *part == part.to_ascii_lowercase()), "{}", known.name);
            assert!(!known.fix.ends_with('.') && !known.cause.ends_with('.'), "{}", known.name);
        }
    }

    #[test]
    fn codes_and_actions_are_taken_only_as_such() {
        assert_eq!(aadsts("ERROR: AADSTS50076: Due to"), Some("AADSTS50076"));
        assert_eq!(aadsts("AADSTS"), None);
        let denied = |action: &str| format!("not have authorization to perform action '{action}' over scope '/x'");
        assert_eq!(denied_action(&denied("Microsoft.A/b/read")), Some("Microsoft.A/b/read"));
        assert_eq!(denied_action(&denied("rm -rf")), None);
    }
}
