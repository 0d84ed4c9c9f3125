//! CA: the mesh's certificate authority.

use super::remedies::{names, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::authority::{
    Authority, FILES, Kind, SELF_SIGNED_SECRET, VaultObject, authority, class_name, vault_objects,
};
use crate::mesh::control_plane::Revision;
use crate::model::SecretProviderClass;
use crate::snapshot::{SourceId, StateKind};
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area that look at the authority's source.
pub static CHECKS: &[&Check] = &[&SOURCE, &VAULT_OBJECTS, &KINDS_DIFFER, &LEFTOVER];

const WITH_SECRETS: &[SourceId] =
    &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SecretProviderClasses, SourceId::SystemSecrets];
const WITHOUT_SECRETS: &[SourceId] =
    &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SecretProviderClasses];

/// The add-on's SecretProviderClasses. A cluster without the Secrets Store CSI driver has none, and does not serve the kind.
fn classes<'a>(lens: &Lens<'a>) -> Result<&'a [SecretProviderClass], Missing> {
    match lens.need_served(&[SourceId::SecretProviderClasses]) {
        Ok(()) => Ok(lens.snapshot().secret_provider_classes.items().unwrap_or_default()),
        Err(missing) if missing.kind == StateKind::NotServed => Ok(&[]),
        Err(missing) => Err(missing),
    }
}

/// The authorities of all revisions; without Secrets the kinds that are not from a Key Vault are unknown.
fn authorities<'a>(lens: &Lens<'a>, secrets: bool) -> Result<Vec<(&'a Revision<'a>, Authority<'a>)>, Missing> {
    let revisions = lens.revisions()?;
    let classes = classes(lens)?;
    if secrets {
        lens.need(&[SourceId::SystemSecrets])?;
    }
    let secrets = lens.snapshot().system_secrets.items().filter(|_| secrets).unwrap_or_default();
    Ok(revisions.iter().map(|revision| (revision, authority(revision, classes, secrets))).collect())
}

fn class_object(name: &str) -> String {
    format!("{SYSTEM_NAMESPACE}/secretproviderclass/{name}")
}

static SOURCE: Check = Check {
    code: "CA01",
    name: "authority-source-unclear",
    title: "Every revision signs with an authority that can be seen",
    area: Area::Certificates,
    severity: Severity::Info,
    inputs: WITH_SECRETS,
    uses: &[],
    docs: "## What it means
No certificate authority (CA) of a revision can be found: it is unclear which key signs the mesh's certificates. Or a Key Vault is set up for the mesh, but istiod does not use it.

## Why it happens on AKS
By default istiod makes its own CA and keeps its key in the Secret `istio-ca-secret`. If the add-on was enabled with a Key Vault (plug-in CA), the CA comes from there instead, by a SecretProviderClass `istio-spc-REVISION` and istiod's volume `cacerts`. When neither is there, somebody deleted the Secret: istiod makes a new CA at its next start, and proxies with old certificates do not trust those with new ones.

## How we know
The SecretProviderClasses and the names of the Secrets in `aks-istio-system`, and the volumes of istiod's pods. The contents of Secrets are not read. Both kinds of CA are fine; this check fires only when neither is found, or when a Key Vault is set up and not mounted.

## What to do
Read istiod's log: it says `Use plugged-in cert` or `No plugged-in cert`. Do not delete or restart anything before that is clear.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-plug-in-ca-certificate>",
    run: |lens| {
        let authorities = authorities(lens, true)?;
        // Authorities that differ between revisions are CA06's.
        let uniform = uniform(&authorities);
        let mut verdict = Verdict { examined: authorities.len(), ..Verdict::default() };
        // The driver may copy the vault's secrets into a Secret `cacerts`, which Istio's chart mounts where there is one.
        let secrets = lens.snapshot().system_secrets.items().unwrap_or_default();
        let copied = secrets.iter().any(|secret| secret.metadata.name == "cacerts");
        for (revision, authority) in authorities.iter().filter(|_| uniform && !copied) {
            // An istiod that never was ready has made nothing yet.
            if revision.ready() == 0 {
                continue;
            }
            let name = &revision.name;
            let (summary, detail) = match (authority.kind, authority.class) {
                (Kind::PlugIn, _) => continue,
                (_, Some(class)) => (
                    format!("istiod of {name} does not use the Key Vault of {}", class.metadata.name),
                    "A Key Vault is set up for the mesh, but istiod signs certificates with another key.",
                ),
                (Kind::Unknown, None) => (
                    format!("istiod of {name} has no Key Vault and no Secret {SELF_SIGNED_SECRET}"),
                    "At its next start istiod makes a new CA key, which running proxies do not trust.",
                ),
                (Kind::SelfSigned, None) => continue,
            };
            verdict.findings.push(
                Finding::new(Subject::new("Deployment", SYSTEM_NAMESPACE, format!("istiod-{name}")), summary, detail)
                    .key(KeyKind::Revision, name)
                    .remedy(Remedy::new(
                        "find out what istiod signs with",
                        vec![Step::command(
                            Risk::Read,
                            "shows istiod's log from its start; look for `plugged-in cert`",
                            ["kubectl", "logs", "-n", SYSTEM_NAMESPACE, &format!("deployment/istiod-{name}"), "-c", "discovery"],
                        )],
                    ))
                    .evidence(SourceId::SecretProviderClasses, class_object(&class_name(name)), "exists", if authority.class.is_some() { "yes" } else { "no" }, None)
                    .evidence(SourceId::SystemDeployments, format!("{SYSTEM_NAMESPACE}/deployment/istiod-{name}"), "volume cacerts", "none", None)
                    .evidence(
                        SourceId::SystemSecrets,
                        format!("{SYSTEM_NAMESPACE}/secret/{SELF_SIGNED_SECRET}"),
                        "exists",
                        if authority.kind == Kind::SelfSigned { "yes" } else { "no" },
                        None,
                    ),
            );
        }
        Ok(verdict)
    },
};

static VAULT_OBJECTS: Check = Check {
    code: "CA05",
    name: "vault-objects-missing",
    title: "The Key Vault of a plug-in authority is described completely",
    area: Area::Certificates,
    severity: Severity::Error,
    inputs: WITHOUT_SECRETS,
    uses: &[],
    docs: "## What it means
istiod mounts its CA from a Key Vault, but the object that names the vault and its secrets is missing or incomplete. istiod's next pod cannot mount the CA and does not start, or it starts without the key and makes a CA of its own, which nobody trusts.

## Why it happens on AKS
The Azure Key Vault provider for the Secrets Store CSI driver was disabled on the cluster, or the SecretProviderClass was deleted or edited by hand.

## How we know
istiod's Deployment or pods have a volume `cacerts` of the driver; the SecretProviderClass `istio-spc-REVISION` must exist, name a vault, and list four objects: root certificate, signing certificate, its key, and the chain.

## What to do
If the provider is off, enable it again. Otherwise let AKS write the object again.

## What else looks like it
The object is complete, but a secret or the right to read it is missing in the vault: then istiod's pods have events `FailedMount` (CP05).

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://azure.github.io/secrets-store-csi-driver-provider-azure/docs/getting-started/usage/>",
    run: vault_objects_missing,
};

fn vault_objects_missing(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for (revision, authority) in authorities(lens, false)? {
        let Some(mounted) = authority.mounted else { continue };
        verdict.examined += 1;
        // It may mount one of another name.
        let class = classes(lens)?.iter().find(|class| class.metadata.name == mounted);
        let Some((summary, field, observed, expected)) = incomplete(mounted, class) else { continue };
        let served = lens.snapshot().secret_provider_classes.items().is_some();
        let steps = if served {
            vec![
                Step::command(
                    Risk::Read,
                    "shows the SecretProviderClasses that exist",
                    ["kubectl", "get", "secretproviderclasses", "-n", SYSTEM_NAMESPACE, "-o", "yaml"],
                ),
                reconcile("writes it again"),
            ]
        } else {
            vec![Step::command(
                Risk::Change,
                "enables the Azure Key Vault provider for the Secrets Store CSI driver",
                [
                    "az",
                    "aks",
                    "enable-addons",
                    "--addons",
                    "azure-keyvault-secrets-provider",
                    "-g",
                    "<resource-group>",
                    "-n",
                    "<cluster>",
                ],
            )]
        };
        // What is mounted without its key makes istiod sign by itself; without the mount it does not start.
        let cost = match field {
            OBJECTS => "does not start, or signs with a new CA that nobody trusts",
            _ => "cannot start: it mounts its CA key from there",
        };
        let rest = if revision.ready() > 0 { "Running ones go on." } else { "None is ready now." };
        verdict.findings.push(
            Finding::new(
                Subject::new("SecretProviderClass", SYSTEM_NAMESPACE, mounted),
                summary,
                format!("The next istiod pod of {} {cost}. {rest}", revision.name),
            )
            .key(KeyKind::Revision, &revision.name)
            .remedy(Remedy::new("bring the SecretProviderClass back", steps))
            .evidence(
                SourceId::SecretProviderClasses,
                class_object(mounted),
                field,
                observed,
                Some(expected),
            ),
        );
    }
    Ok(verdict)
}

/// The field that lists the vault's secrets.
const OBJECTS: &str = "parameters.objects";

/// Summary, field, what is there and what should be there.
fn incomplete(name: &str, class: Option<&SecretProviderClass>) -> Option<(String, &'static str, String, &'static str)> {
    let Some(class) = class else {
        return Some((
            format!("SecretProviderClass {name}, which istiod mounts, does not exist"),
            "exists",
            "no".to_owned(),
            "yes",
        ));
    };
    if class.spec.parameters.keyvault_name.is_empty() {
        return Some((
            format!("SecretProviderClass {name} names no Key Vault"),
            "parameters.keyvaultName",
            "empty".to_owned(),
            "a vault",
        ));
    }
    match vault_objects(class) {
        None => Some((
            format!("SecretProviderClass {name} has no list of secrets that can be read"),
            OBJECTS,
            "no list".to_owned(),
            "four objects",
        )),
        Some(objects) if objects.len() < FILES.len() => Some((
            format!("SecretProviderClass {name} lists {} of 4 secrets", objects.len()),
            OBJECTS,
            if objects.is_empty() { "none".to_owned() } else { names(objects.iter().map(file)) },
            "root-cert.pem, ca-cert.pem, ca-key.pem, cert-chain.pem",
        )),
        Some(_) => None,
    }
}

fn file(object: &VaultObject) -> &str {
    if object.object_alias.is_empty() { &object.object_name } else { &object.object_alias }
}

/// Whether all revisions have the same kind of authority; a Key Vault or none is what counts.
fn uniform(authorities: &[(&Revision<'_>, Authority<'_>)]) -> bool {
    authorities.windows(2).all(|pair| pair[0].1.mounted.is_some() == pair[1].1.mounted.is_some())
}

static KINDS_DIFFER: Check = Check {
    code: "CA06",
    name: "authorities-differ",
    title: "During an upgrade both revisions sign with the same kind of authority",
    area: Area::Certificates,
    severity: Severity::Error,
    inputs: WITHOUT_SECRETS,
    uses: &[],
    docs: "## What it means
Two revisions are installed. One takes its CA from a Key Vault, the other makes its own. Workloads on one revision do not trust the certificates of those on the other, so calls between them fail.

## Why it happens on AKS
Each revision has its own SecretProviderClass `istio-spc-REVISION` and its own volume. If one of them could not be created when the upgrade was started, the new revision is without a Key Vault.

## How we know
The volumes of istiod's Deployments and pods, and the SecretProviderClasses, of both revisions.

## What to do
Do not move workloads and do not complete the upgrade. If workloads have moved already, move them back first. Then roll back, or open a support request with what is shown here.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>, <https://learn.microsoft.com/azure/aks/istio-upgrade>",
    run: |lens| {
        let authorities = authorities(lens, false)?;
        let ([(old, one), .., (new, two)], false) = (&authorities[..], uniform(&authorities)) else {
            let examined = if authorities.len() > 1 { authorities.len() } else { 0 };
            return Ok(Verdict { examined, findings: Vec::new() });
        };
        let word = |authority: &Authority<'_>| if authority.mounted.is_some() { Kind::PlugIn.words() } else { "istiod's own" };
        let mut finding = Finding::new(
            Subject::cluster("Revision", new.name.clone()),
            format!("{} and {} sign with different certificate authorities", old.name, new.name),
            "Workloads on one revision do not trust those on the other: calls between them fail.",
        )
        .key(KeyKind::Revision, &new.name)
        .key(KeyKind::Revision, &old.name)
        .remedy(Remedy::new(
            "do not move workloads or complete the upgrade; roll back",
            vec![
                Step::command(Risk::Read, "shows which revision has a Key Vault: one istio-spc-REVISION each", ["kubectl", "get", "secretproviderclasses", "-n", SYSTEM_NAMESPACE]),
                Step::command(
                    Risk::Change,
                    format!("removes {}; first move its workloads back to {}", new.name, old.name),
                    ["az", "aks", "mesh", "upgrade", "rollback", "-g", "<resource-group>", "-n", "<cluster>"],
                ),
            ],
        ));
        // Both sides first: the short report shows only the first lines.
        for (revision, authority) in [(old, one), (new, two)] {
            finding = finding.evidence(
                SourceId::SystemDeployments,
                format!("{SYSTEM_NAMESPACE}/deployment/istiod-{}", revision.name),
                "authority",
                word(authority),
                None,
            );
        }
        for (revision, authority) in [(old, one), (new, two)] {
            finding = finding.evidence(
                SourceId::SecretProviderClasses,
                class_object(&class_name(&revision.name)),
                "exists",
                if authority.class.is_some() { "yes" } else { "no" },
                None,
            );
        }
        Ok(Verdict { examined: authorities.len(), findings: vec![finding] })
    },
};

static LEFTOVER: Check = Check {
    code: "CA07",
    name: "self-signed-authority-left",
    title: "No self-signed authority is left beside one from a Key Vault",
    area: Area::Certificates,
    severity: Severity::Info,
    inputs: WITH_SECRETS,
    uses: &[],
    docs: "## What it means
All istiods sign with a CA from a Key Vault. The key of the CA that istiod had made before is still in the Secret `istio-ca-secret`. Nothing uses it, but if istiod ever starts without its Key Vault volume, it signs with that key, and nobody trusts its certificates.

## Why it happens on AKS
istiod made the Secret itself; it belongs to no Helm release. So disabling and enabling the mesh does not always remove it.

## How we know
The names of the Secrets in `aks-istio-system`, without their contents, and the volumes of istiod's Deployments.

## What to do
Nothing has to be done. If you must not keep old keys, delete the Secret a day after the change, when no workload has a certificate from it any more.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca>",
    run: |lens| {
        let authorities = authorities(lens, true)?;
        let all_plug_in = !authorities.is_empty() && authorities.iter().all(|(_, a)| a.kind == Kind::PlugIn);
        if !all_plug_in {
            return Ok(Verdict::default());
        }
        let mut verdict = Verdict { examined: authorities.len(), ..Verdict::default() };
        let secrets = lens.snapshot().system_secrets.items().unwrap_or_default();
        let left = secrets.iter().find(|secret| secret.metadata.name == SELF_SIGNED_SECRET);
        if let Some(left) = left {
            verdict.findings.push(
                Finding::new(
                    Subject::new("Secret", SYSTEM_NAMESPACE, SELF_SIGNED_SECRET),
                    "Secret istio-ca-secret still holds the key of an earlier CA",
                    "Nothing uses it: all istiods take their CA from a Key Vault.",
                )
                .key(KeyKind::Object, format!("Secret/{SYSTEM_NAMESPACE}/{SELF_SIGNED_SECRET}"))
                .remedy(Remedy::new(
                    "nothing has to be done",
                    vec![Step::command(
                        Risk::Read,
                        "shows how old it is",
                        ["kubectl", "get", "secret", SELF_SIGNED_SECRET, "-n", SYSTEM_NAMESPACE],
                    )],
                ))
                .evidence(
                    SourceId::SystemSecrets,
                    format!("{SYSTEM_NAMESPACE}/secret/{SELF_SIGNED_SECRET}"),
                    "created",
                    left.metadata.creation_timestamp.map_or_else(|| "unknown".to_owned(), crate::mesh::certificate::day),
                    None,
                ),
            );
        }
        Ok(verdict)
    },
};
