//! CP: istiod pods that cannot start or do not stay.

use super::capacity;
use super::control_plane::look;
use super::remedies::{count, names, quote};
use crate::engine::finding::KeyKind;
use crate::engine::lens::REVISIONS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::azure::{VaultFault, vault_fault, vault_object, vault_objects};
use crate::mesh::control_plane::Revision;
use crate::mesh::denial::{Denial, denial};
use crate::mesh::istiod::{Crash, ca_class, crash, waits_for_ca};
use crate::model::{Event, Pod, WebhookConfiguration};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&REFUSED, &WAITS_FOR_CA, &CRASHING];

/// What is wrong with one istiod is an error only when no other one is left.
fn severity(revision: &Revision<'_>) -> Severity {
    if revision.ready() == 0 { Severity::Error } else { Severity::Warning }
}

fn costs(revision: &Revision<'_>) -> &'static str {
    if revision.ready() == 0 {
        "No istiod of this revision is ready: new pods in its namespaces are refused."
    } else {
        "The other istiod pods carry the load meanwhile."
    }
}

fn subject(revision: &Revision<'_>) -> Subject {
    Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{}", revision.name))
}

fn object_of(pod: &Pod) -> String {
    format!("{SYSTEM_NAMESPACE}/pod/{}", pod.metadata.name)
}

static CRASHING: Check = Check {
    code: "CP04",
    name: "istiod-crashing",
    title: "No istiod pod crashes or runs out of memory",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: &[SourceId::Autoscalers],
    docs: "## What it means
An istiod pod keeps crashing, was killed because it ran out of memory, or was evicted from a node that was low on memory.

## Why it happens on AKS
The add-on fixes istiod's requests at 500m CPU and 2 GiB. In a large mesh istiod uses much more than that: every proxy gets the configuration of every service, unless that is limited. When its node then runs out of memory, pods far above their requests are evicted first. Other crashes mostly come from configuration that istiod cannot read, or from a CA certificate that it cannot use.

## How we know
A container waits in `CrashLoopBackOff`, has just failed, or failed at least three times and is not ready. `OOMKilled` and evictions for memory count for a day.

## What to do
Out of memory: let istiod watch less (`discoverySelectors` in the shared ConfigMap), let proxies know less (a `Sidecar` in `aks-istio-system`), and allow more replicas. Do not change the requests: AKS reverts that. Larger nodes in the system pool help at once; the label `azureservicemesh/istio.replica.preferred=true` makes istiod prefer those among them. Any other crash: the log of the earlier run says why.

## What else looks like it
A single restart is CP07. A pod that never started is CP03 or CP05.

## Sources
<https://learn.microsoft.com/azure/aks/istio-scale>, <https://learn.microsoft.com/azure/aks/istio-meshconfig>, <https://github.com/Azure/AKS/issues/5838>, <https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction/>",
    run: crashing,
};

fn crashing(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let autoscalers = lens.optional(SourceId::Autoscalers, &lens.snapshot().autoscalers);
    let all = lens.snapshot().system_pods.items().unwrap_or_default();
    let mut verdict = Verdict::default();
    for revision in revisions {
        let name = &revision.name;
        // An evicted pod stays as a Failed one, which is no istiod of now.
        let evicted = all.iter().filter(|pod| {
            pod.status.phase == "Failed"
                && pod.metadata.label("app") == Some("istiod")
                && pod.metadata.label("istio.io/rev") == Some(name)
        });
        verdict.examined += revision.istiods.len();
        let mut crashes: Vec<(&Pod, Crash<'_>)> = revision
            .istiods
            .iter()
            .copied()
            .chain(evicted)
            .filter_map(|pod| Some((pod, crash(pod, lens.now())?)))
            .collect();
        crashes.sort_by(|a, b| a.0.metadata.name.cmp(&b.0.metadata.name));
        if crashes.is_empty() {
            continue;
        }
        let killed = crashes.iter().filter(|(_, crash)| matches!(crash, Crash::OutOfMemory(_))).count();
        let looping = crashes.iter().filter(|(_, crash)| matches!(crash, Crash::Loop(_))).count();
        let pods = |number: usize| format!("{} of istiod-{name}", count(number, "pod"));
        let be = |number: usize| if number == 1 { "was" } else { "were" };
        let summary = match (looping, killed) {
            (0, 0) => {
                format!("{} {} evicted: the node was low on memory", pods(crashes.len()), be(crashes.len()))
            }
            (0, killed) => format!("{} {} killed: out of memory", pods(killed), be(killed)),
            (looping, _) => {
                format!("{} {} crashing", pods(looping), if looping == 1 { "keeps" } else { "keep" })
            }
        };
        let for_memory = looping < crashes.len();
        let mut steps = look(revision);
        if for_memory {
            steps.extend(relieve(name, autoscalers));
        }
        let what = if for_memory { "give istiod less to do, and more replicas" } else { "read why it stopped" };
        let mut finding = Finding::new(subject(revision), summary, costs(revision))
            .key(KeyKind::Revision, name)
            .at_most(severity(revision))
            .remedy(Remedy::new(what, steps));
        for (pod, crash) in crashes {
            let (field, observed) = match crash {
                Crash::Evicted => ("status", quote(&format!("Evicted: {}", pod.status.message))),
                Crash::OutOfMemory(end) => ("last end", how(end)),
                Crash::Loop(Some(end)) => ("last end", how(end)),
                Crash::Loop(None) => ("state", "CrashLoopBackOff".to_owned()),
            };
            finding = finding.evidence(
                SourceId::SystemPods,
                object_of(pod),
                field,
                observed,
                Some("running without restarts"),
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

/// How a container ended, in a few words.
pub(super) fn how(end: &crate::model::pod::Terminated) -> String {
    let reason = if end.reason.is_empty() { "ended" } else { &end.reason };
    let when = end.finished_at.map(|time| time.strftime(" at %Y-%m-%d %H:%M UTC").to_string()).unwrap_or_default();
    format!("{reason}, exit code {}{when}", end.exit_code)
}

/// What AKS allows against a control plane that is too small for its mesh.
pub(super) fn relieve(revision: &str, autoscalers: &[crate::model::Autoscaler]) -> Vec<Step> {
    let mut steps = vec![
        Step::text(
            Risk::Change,
            format!(
                "let istiod watch only the mesh's namespaces: set `discoverySelectors` in ConfigMap istio-shared-configmap-{revision}, namespace {SYSTEM_NAMESPACE}"
            ),
        ),
        Step::text(
            Risk::Change,
            format!(
                "let proxies know less: a Sidecar `default` in {SYSTEM_NAMESPACE} with egress hosts `./*` and `{SYSTEM_NAMESPACE}/*`, plus every other namespace that is called"
            ),
        ),
    ];
    let istiod = format!("istiod-{revision}");
    steps.extend(
        autoscalers
            .iter()
            .filter(|autoscaler| {
                autoscaler.metadata.namespace == SYSTEM_NAMESPACE && autoscaler.spec.scale_target_ref.name == istiod
            })
            .map(capacity::raise),
    );
    steps.push(Step::command(
        Risk::Change,
        "marks a larger node of a system pool; istiod prefers it from its next restart on",
        ["kubectl", "label", "node", "<node>", "azureservicemesh/istio.replica.preferred=true"],
    ));
    steps
}

static WAITS_FOR_CA: Check = Check {
    code: "CP05",
    name: "istiod-waits-for-ca",
    title: "istiod can read its CA from Key Vault",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: &[SourceId::SuspectEvents, SourceId::SecretProviderClasses],
    docs: "## What it means
The mesh uses your own CA from Azure Key Vault. An istiod pod has a node but cannot start its first container, because the certificates and the key cannot be fetched from the vault into its volume `cacerts`.

## Why it happens on AKS
The identity of the Key Vault add-on lost its right to read secrets, the vault's firewall keeps the nodes out, or an object was deleted, disabled or renamed. Pods that run keep what they mounted, so it shows only at the next start: a patch, an upgrade, a drained node.

## How we know
The pod has a volume of the driver `secrets-store.csi.k8s.io` with the class `istio-spc-REVISION`, was created more than five minutes ago, and no container of it has ever started. The event `FailedMount` tells why, where events can be read; the SecretProviderClass names the vault and its objects.

## What to do
403 means that a right is missing or a firewall is in the way, 404 that a name is wrong. The identity needs the role *Key Vault Secrets User* on the vault (or an access policy with the secret permissions get and list); *Key Vault Reader* does not let it read values. After that the kubelet tries again by itself within minutes.

## What else looks like it
A broken network plugin on the node also keeps the first container from starting; its event is `FailedCreatePodSandBox`. An image that cannot be pulled is `ImagePullBackOff`. A pod without a node is CP03.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-plug-in-ca-certificate>, <https://learn.microsoft.com/azure/key-vault/general/rbac-guide>, <https://github.com/Azure/secrets-store-csi-driver-provider-azure/issues/1328>",
    run: waiting_for_ca,
};

fn waiting_for_ca(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let events = lens.optional(SourceId::SuspectEvents, &lens.snapshot().suspect_events);
    let classes = lens.optional(SourceId::SecretProviderClasses, &lens.snapshot().secret_provider_classes);
    let mut verdict = Verdict::default();
    for revision in revisions {
        verdict.examined += revision.istiods.iter().filter(|pod| ca_class(pod).is_some()).count();
        let waiting: Vec<_> = revision.istiods.iter().copied().filter(|pod| waits_for_ca(pod, lens.now())).collect();
        let Some(first) = waiting.first() else { continue };
        let class = ca_class(first).unwrap_or_default();
        let event = why(events, &waiting);
        let fault = event.and_then(|event| vault_fault(&event.message));
        let spc = classes.iter().find(|spc| spc.metadata.name == class);
        let vault = spc.map(|spc| spc.spec.parameters.keyvault_name.as_str()).filter(|vault| !vault.is_empty());
        let place = vault.map_or_else(|| "Key Vault".to_owned(), |vault| format!("Key Vault {vault}"));
        let istiod = format!("{} of istiod-{}", count(waiting.len(), "pod"), revision.name);
        let summary = match fault {
            Some(_) => format!("{istiod} cannot mount the CA from {place}"),
            None => format!("{istiod} cannot start; the CA comes from {place}"),
        };
        let detail = match fault {
            Some(fault) => format!("{}. {}", fault.meaning(), costs(revision)),
            None => costs(revision).to_owned(),
        };
        let objects = spc.map(|spc| vault_objects(&spc.spec.parameters.objects)).unwrap_or_default();
        let missing = event.and_then(|event| vault_object(&event.message));
        let mut finding = Finding::new(subject(revision), summary, detail)
            .key(KeyKind::Revision, &revision.name)
            .at_most(severity(revision))
            .related(&Subject::new("SecretProviderClass", SYSTEM_NAMESPACE, class), "names the vault and its objects")
            .remedy(Remedy::new("let the driver read the vault", open_vault(first, fault, vault, &objects, missing)));
        for pod in &waiting {
            finding = finding.evidence(
                SourceId::SystemPods,
                object_of(pod),
                "containers that ever started",
                "0",
                Some("all, minutes after creation"),
            );
        }
        if let Some(event) = event {
            let object = format!("{SYSTEM_NAMESPACE}/pod/{}", event.involved_object.name);
            let field = format!("event {}", event.reason);
            // What stands before it is the path of the call through kubelet and driver.
            let said = event.message.rfind("failed to get ").map_or(event.message.as_str(), |at| &event.message[at..]);
            finding = finding.evidence(SourceId::SuspectEvents, object, field, quote(said), None);
        }
        if let Some(vault) = vault {
            let object = format!("{SYSTEM_NAMESPACE}/secretproviderclass/{class}");
            let observed = format!("vault {vault}, objects {}", names(objects.iter().copied()));
            finding = finding.evidence(SourceId::SecretProviderClasses, object, "parameters", observed, None);
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

/// The newest event that can be decoded, else the newest about a volume or a sandbox.
fn why<'e>(events: &'e [Event], pods: &[&Pod]) -> Option<&'e Event> {
    events
        .iter()
        .filter(|event| {
            matches!(event.reason.as_str(), "FailedMount" | "FailedCreatePodSandBox")
                && pods
                    .iter()
                    .any(|pod| event.involved_object.kind == "Pod" && event.involved_object.name == pod.metadata.name)
        })
        .max_by_key(|event| {
            let decoded = event.reason == "FailedMount" && vault_fault(&event.message).is_some();
            (decoded, event.last_seen(), &event.metadata.name)
        })
}

fn open_vault(
    pod: &Pod,
    fault: Option<VaultFault>,
    vault: Option<&str>,
    objects: &[&str],
    missing: Option<&str>,
) -> Vec<Step> {
    let vault = vault.unwrap_or("<key-vault>");
    let mut steps = Vec::new();
    if fault.is_none() {
        steps.push(Step::command(
            Risk::Read,
            "shows its events; FailedMount says what the vault answered",
            ["kubectl", "describe", "pod", &pod.metadata.name, "-n", SYSTEM_NAMESPACE],
        ));
    }
    if matches!(fault, None | Some(VaultFault::Denied | VaultFault::Identity)) {
        steps.push(Step::command(
            Risk::Read,
            "shows the identity of the Key Vault add-on; its objectId needs the role",
            [
                "az",
                "aks",
                "show",
                "-g",
                "<resource-group>",
                "-n",
                "<cluster>",
                "--query",
                "addonProfiles.azureKeyvaultSecretsProvider.identity",
                "-o",
                "json",
            ],
        ));
    }
    if matches!(fault, None | Some(VaultFault::Denied)) {
        steps.push(Step::command(
            Risk::Change,
            "gives it the role; a vault with access policies needs az keyvault set-policy instead",
            [
                "az",
                "role",
                "assignment",
                "create",
                "--role",
                "Key Vault Secrets User",
                "--assignee-object-id",
                "<object-id>",
                "--assignee-principal-type",
                "ServicePrincipal",
                "--scope",
                "<key-vault-resource-id>",
            ],
        ));
    }
    if matches!(fault, Some(VaultFault::Network)) {
        steps.push(Step::command(
            Risk::Read,
            "shows who may reach the vault; the nodes' outbound address, subnet or private endpoint must be there",
            [
                "az",
                "keyvault",
                "show",
                "-n",
                vault,
                "--query",
                "properties.{public:publicNetworkAccess,rules:networkAcls}",
            ],
        ));
    }
    if matches!(fault, Some(VaultFault::VaultNotFound)) {
        steps.push(Step::command(
            Risk::Read,
            "shows whether the vault exists, and under which address",
            ["az", "keyvault", "show", "-n", vault, "--query", "properties.vaultUri"],
        ));
    }
    if matches!(fault, None | Some(VaultFault::SecretNotFound | VaultFault::Disabled)) {
        let wanted = if objects.is_empty() {
            "those in its SecretProviderClass".to_owned()
        } else {
            names(objects.iter().copied())
        };
        steps.push(Step::command(
            Risk::Read,
            format!("shows the vault's secrets; istiod needs {wanted}, all of them enabled"),
            ["az", "keyvault", "secret", "list", "--vault-name", vault, "-o", "table"],
        ));
    }
    if matches!(fault, Some(VaultFault::SecretNotFound)) {
        let name = missing.unwrap_or("<secret>");
        steps.push(Step::command(
            Risk::Change,
            "creates the missing secret from its PEM file",
            ["az", "keyvault", "secret", "set", "--vault-name", vault, "--name", name, "--file", "<pem-file>"],
        ));
    }
    steps
}

static REFUSED: Check = Check {
    code: "CP11",
    name: "istiod-refused",
    title: "The cluster admits istiod's pods",
    area: Area::ControlPlane,
    severity: Severity::Error,
    inputs: REVISIONS,
    uses: &[SourceId::MutatingWebhooks, SourceId::ValidatingWebhooks],
    docs: "## What it means
Kubernetes cannot create pods of istiod, because something in the cluster refuses them: a policy, a quota, or an admission webhook that does not answer.

## Why it happens on AKS
Azure Policy (Gatekeeper) or another policy engine covers `aks-istio-system`, and istiod breaks one of its rules, for example on images, probes or privileges. Running pods stay, so it shows only at the next restart, upgrade or drained node.

## How we know
The condition `ReplicaFailure` of the Deployment `istiod-REVISION` is True. Its message is the API server's own and is quoted.

## What to do
Exclude the namespace `aks-istio-system` from the policy or the webhook. Do not change istiod to fit the policy: AKS reverts that.

## What else looks like it
Workloads that are refused by istiod's own webhook are INJ11. A pod that exists but has no node is CP03.

## Sources
<https://github.com/Azure/AKS/issues/5816>, <https://learn.microsoft.com/azure/governance/policy/concepts/policy-for-kubernetes>, <https://kubernetes.io/docs/concepts/workloads/controllers/deployment/#failed-deployment>",
    run: refused,
};

fn refused(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let mutating = lens.optional(SourceId::MutatingWebhooks, &lens.snapshot().mutating_webhooks);
    let validating = lens.optional(SourceId::ValidatingWebhooks, &lens.snapshot().validating_webhooks);
    let mut verdict = Verdict::default();
    for revision in revisions {
        let Some(deployment) = revision.deployment else { continue };
        verdict.examined += 1;
        let Some(message) = &deployment.failure else { continue };
        let denial = denial(message);
        let entry = match denial {
            Denial::Webhook(entry) | Denial::Unreachable(entry) => Some(entry),
            _ => None,
        };
        let holds = |configuration: &&WebhookConfiguration| {
            configuration.webhooks.iter().any(|webhook| Some(webhook.name.as_str()) == entry)
        };
        let configuration =
            mutating.iter().find(holds).map(|found| ("MutatingWebhookConfiguration", &found.metadata.name)).or_else(
                || validating.iter().find(holds).map(|found| ("ValidatingWebhookConfiguration", &found.metadata.name)),
            );
        let by = match denial {
            Denial::Webhook(entry) => format!("refused by webhook {entry}"),
            Denial::Unreachable(entry) => format!("refused: webhook {entry} does not answer"),
            Denial::Quota(quota) => format!("refused by quota {quota}"),
            Denial::PodSecurity => "refused by Pod Security".to_owned(),
            _ => "refused".to_owned(),
        };
        let mut finding = Finding::new(
            subject(revision),
            format!("pods of istiod-{} are {by}", revision.name),
            if revision.ready() == 0 {
                "No istiod of this revision is ready, and none can be created: new pods in its namespaces are refused."
            } else {
                "Running istiod pods stay, but one that goes away is not replaced."
            },
        )
        .key(KeyKind::Revision, &revision.name)
        .at_most(severity(revision))
        .remedy(Remedy::new("make an exception for AKS's namespace", admit(revision, denial, configuration)))
        .evidence(
            SourceId::SystemDeployments,
            format!("{SYSTEM_NAMESPACE}/deployment/istiod-{}", revision.name),
            "condition ReplicaFailure",
            quote(message),
            Some("no such condition"),
        );
        if let Some((kind, name)) = configuration {
            finding = finding.key(KeyKind::Webhook, name).related(&Subject::cluster(kind, name), "refuses the pods");
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

fn admit(revision: &Revision<'_>, denial: Denial<'_>, configuration: Option<(&str, &String)>) -> Vec<Step> {
    let mut steps = Vec::new();
    match denial {
        Denial::Webhook(entry) if entry.ends_with("gatekeeper.sh") => {
            steps.push(Step::command(
                Risk::Read,
                "shows Gatekeeper's rules; those named azurepolicy-… come from Azure Policy",
                ["kubectl", "get", "constraints"],
            ));
            steps.push(Step::text(
                Risk::Change,
                format!(
                    "exclude {SYSTEM_NAMESPACE}: in the policy assignment (parameter Namespace exclusions), or in `spec.match.excludedNamespaces` of your own constraint"
                ),
            ));
        }
        Denial::Webhook(_) | Denial::Unreachable(_) => {
            match configuration {
                Some((kind, name)) => steps.push(Step::command(
                    Risk::Read,
                    "shows which namespaces the webhook covers, and which Service it calls",
                    ["kubectl", "get", &kind.to_lowercase(), name, "-o", "yaml"],
                )),
                None => steps.push(Step::command(
                    Risk::Read,
                    "shows all webhooks; look for the named one under `webhooks`",
                    ["kubectl", "get", "validatingwebhookconfigurations,mutatingwebhookconfigurations", "-o", "yaml"],
                )),
            }
            steps.push(Step::text(
                Risk::Change,
                format!(
                    "exclude {SYSTEM_NAMESPACE} from it, in the tool that installed it: namespaceSelector `kubernetes.io/metadata.name NotIn [{SYSTEM_NAMESPACE}]`"
                ),
            ));
        }
        Denial::Quota(quota) => {
            steps.push(Step::command(
                Risk::Read,
                "shows the quota's limits and what is used",
                ["kubectl", "describe", "resourcequota", quota, "-n", SYSTEM_NAMESPACE],
            ));
            steps.push(Step::command(
                Risk::Change,
                "removes the quota; AKS itself sets none there",
                ["kubectl", "delete", "resourcequota", quota, "-n", SYSTEM_NAMESPACE],
            ));
        }
        Denial::PodSecurity => steps.push(Step::command(
            Risk::Read,
            format!("shows the labels of {SYSTEM_NAMESPACE}; `pod-security.kubernetes.io/enforce` must go"),
            ["kubectl", "get", "namespace", SYSTEM_NAMESPACE, "--show-labels"],
        )),
        _ => steps.push(Step::command(
            Risk::Read,
            "shows the events of its ReplicaSets",
            [
                "kubectl",
                "describe",
                "replicasets",
                "-n",
                SYSTEM_NAMESPACE,
                "-l",
                &format!("istio.io/rev={}", revision.name),
            ],
        )),
    }
    steps.push(Step::command(
        Risk::Restart,
        "tries again at once; Kubernetes itself retries with growing pauses",
        ["kubectl", "rollout", "restart", &format!("deployment/istiod-{}", revision.name), "-n", SYSTEM_NAMESPACE],
    ));
    steps
}
