//! CA: the root certificate that every proxy trusts, and its copies.

use std::collections::{BTreeMap, BTreeSet};

use jiff::SignedDuration;
use serde::Deserialize;

use super::remedies::{count, names, restart, restart_istiod};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::authority::{Kind, mounted};
use crate::mesh::certificate::{Bundle, ROOT_KEY, ROOT_MAP, day};
use crate::mesh::control_plane::{Revision, foreign};
use crate::model::meta::StringMap;
use crate::model::{ConfigMap, LabelSelector};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&ROOT_ENDS, &ROOT_COPIES, &TWO_ROOTS];

/// A root that ends within this time is worth a warning.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);
/// A rotation that takes longer than this was forgotten: its second half may begin after a day.
const LONG: SignedDuration = SignedDuration::from_hours(30 * 24);
/// istiod writes a change into all namespaces within seconds.
const SETTLED: SignedDuration = SignedDuration::from_mins(5);

const ROOTS: &[SourceId] = &[SourceId::SystemPods, SourceId::SystemDeployments, SourceId::SystemConfigMaps];

/// Name of the add-on's own copy as an object and as a key.
fn system_object() -> String {
    format!("{SYSTEM_NAMESPACE}/configmap/{ROOT_MAP}")
}

/// The key by which findings about the root are joined.
pub(super) fn root_key() -> String {
    format!("ConfigMap/{SYSTEM_NAMESPACE}/{ROOT_MAP}")
}

fn bundle(map: &ConfigMap) -> Bundle {
    Bundle::of_pem(map.data.get(ROOT_KEY).map_or("", String::as_str))
}

/// The root certificate as istiod wrote it into the add-on's own namespace.
pub(super) fn system_root<'a>(lens: &Lens<'a>) -> Result<Option<(&'a ConfigMap, Bundle)>, Missing> {
    lens.need(&[SourceId::SystemConfigMaps])?;
    let maps = lens.snapshot().system_config_maps.items().unwrap_or_default();
    let map = maps.iter().find(|m| m.metadata.namespace == SYSTEM_NAMESPACE && m.metadata.name == ROOT_MAP);
    Ok(map.map(|map| (map, bundle(map))))
}

/// The kind of authority behind the root: who has a Key Vault mounted does not renew it by itself.
fn kind(revisions: &[Revision<'_>]) -> Kind {
    if revisions.iter().any(|revision| mounted(revision).is_some()) { Kind::PlugIn } else { Kind::SelfSigned }
}

fn root_subject() -> Subject {
    Subject::new("ConfigMap", SYSTEM_NAMESPACE, ROOT_MAP)
}

/// The steps of a rotation in the Key Vault.
fn set_root(text: &str) -> Step {
    Step::command(
        Risk::Change,
        text,
        [
            "az",
            "keyvault",
            "secret",
            "set",
            "--vault-name",
            "<vault>",
            "--name",
            "<root-cert-object>",
            "--file",
            "<root-cert.pem>",
        ],
    )
}

static ROOT_ENDS: Check = Check {
    code: "CA02",
    name: "root-certificate-ends",
    title: "The mesh's root certificate is valid for at least 30 days",
    area: Area::Certificates,
    severity: Severity::Error,
    inputs: ROOTS,
    uses: &[],
    docs: "## What it means
The root certificate that all proxies trust has expired or expires soon. Once it has expired, proxies refuse each other's certificates and cannot connect to istiod. The API server cannot call istiod's webhook, so new pods are refused.

## Why it happens on AKS
A root from a Key Vault (plug-in CA) is renewed by whoever owns the vault. A root that istiod made itself is valid for 10 years, and istiod renews it, with the same key, when a fifth of that time is left. If it expires all the same, that renewal failed.

## How we know
The certificates in the ConfigMap `istio-ca-root-cert` of `aks-istio-system` are decoded; the one that is valid the longest counts. The intermediate certificate that signs those of the workloads (`ca-cert.pem`) is in no object that can be read, so its end is not checked: istiod's log prints it in the lines `x509 cert`.

## What to do
With a Key Vault: put the old and the new root into `root-cert.pem`, wait a day or restart the workloads, and only then remove the old one. Self-signed: read istiod's log about `rootCertRotator`, and restart istiod.

## What else looks like it
A clock that is wrong on a node makes valid certificates look expired there.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca#certificate-authority-rotation>, `security/pkg/pki/ca/selfsignedcarootcertrotator.go` in <https://github.com/istio/istio>",
    run: root_ends,
};

fn root_ends(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let Some((_, bundle)) = system_root(lens)?.filter(|_| !revisions.is_empty()) else {
        return Ok(Verdict::default());
    };
    let examined = bundle.certificates.len().max(1);
    let Some(root) = bundle.longest() else {
        return Ok(Verdict { examined, findings: vec![no_root(revisions, &bundle)] });
    };
    let left = root.not_after.duration_since(lens.now());
    if left > SOON {
        return Ok(Verdict { examined, findings: Vec::new() });
    }
    let ended = root.is_expired(lens.now());
    let kind = kind(revisions);
    let (who, steps) = match kind {
        Kind::PlugIn => (
            "It comes from a Key Vault, where you renew it yourself.",
            vec![
                set_root("stores a file that holds the old root and, after it, the new one"),
                Step::text(Risk::Change, "store the new ca-cert, ca-key and cert-chain in the vault in the same way"),
                Step::text(
                    Risk::Restart,
                    if ended {
                        "restart istiod and the workloads with sidecars; then store the new root alone"
                    } else {
                        "wait 24 hours, or restart the workloads; then store the new root alone"
                    },
                ),
            ],
        ),
        _ => ("istiod should have renewed it by itself.", {
            let mut steps = Vec::new();
            for revision in revisions {
                steps.push(Step::command(
                    Risk::Read,
                    "shows istiod's log; look for rootCertRotator",
                    [
                        "kubectl",
                        "logs",
                        "-n",
                        SYSTEM_NAMESPACE,
                        "-l",
                        &format!("app=istiod,istio.io/rev={}", revision.name),
                        "--tail=-1",
                    ],
                ));
            }
            steps.extend(restart_istiod(revisions, "then checks its root certificate again"));
            if ended {
                steps.push(Step::text(
                    Risk::Restart,
                    "restart the workloads with sidecars and the gateways: proxies that run still trust the old root",
                ));
            }
            steps
        }),
    };
    let (summary, cost) = if ended {
        (
            format!("the mesh's root certificate expired on {}", day(root.not_after)),
            "Calls between sidecars fail, proxies cannot connect to istiod, and new pods are refused.",
        )
    } else {
        let days = usize::try_from(left.as_hours() / 24).unwrap_or_default();
        (
            format!("the mesh's root certificate expires on {}, in {}", day(root.not_after), count(days, "day")),
            "Once it has expired, calls between sidecars fail and new pods are refused.",
        )
    };
    let mut finding = Finding::new(root_subject(), summary, format!("{who} {cost}"))
        .at_most(if ended { Severity::Error } else { Severity::Warning })
        .key(KeyKind::Object, root_key())
        .remedy(Remedy::new("renew the root certificate", steps))
        .evidence(SourceId::SystemConfigMaps, system_object(), "certificate", root.label(), None)
        .evidence(SourceId::SystemConfigMaps, system_object(), "authority", kind.words(), None);
    // All istiods have the same root; what proxies suffer from one that has ended is said by revision.
    for revision in revisions.iter().filter(|_| ended) {
        finding = finding.key(KeyKind::Revision, &revision.name);
    }
    Ok(Verdict { examined, findings: vec![finding] })
}

fn no_root(revisions: &[Revision<'_>], bundle: &Bundle) -> Finding {
    Finding::new(
        root_subject(),
        "the mesh's root certificate cannot be read",
        "Proxies that start now trust nobody, not even istiod, and do not become ready.",
    )
    .key(KeyKind::Object, root_key())
    .remedy(Remedy::new("let istiod write it again", restart_istiod(revisions, "then writes the ConfigMap again")))
    .evidence(
        SourceId::SystemConfigMaps,
        system_object(),
        format!("key {ROOT_KEY}"),
        bundle.label(),
        Some("at least one certificate"),
    )
}

static ROOT_COPIES: Check = Check {
    code: "CA03",
    name: "root-certificate-copy",
    title: "Every namespace with sidecars has istiod's root certificate",
    area: Area::Certificates,
    severity: Severity::Error,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::SystemConfigMaps,
        SourceId::RootCertificates,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: &[SourceId::ReplicaSets, SourceId::Jobs, SourceId::CronJobs, SourceId::Istiods],
    docs: "## What it means
istiod puts the root certificate into a ConfigMap `istio-ca-root-cert` in every namespace; each sidecar mounts it. Where it is missing, new pods stay in `ContainerCreating`. Where it differs, proxies in that namespace do not trust istiod or the rest of the mesh.

## Why it happens on AKS
istiod was down or hung when the namespace was created or the root was changed. A second Istio in the cluster writes the same ConfigMap with its own root. Somebody copied the ConfigMap from another cluster, mostly with a whole namespace.

## How we know
The certificates in each namespace with injected pods are compared with those in `aks-istio-system`; order, comments and line ends do not matter. Namespaces that were created in the last five minutes, that are being deleted, or that the mesh configuration's `discoverySelectors` leave out are not judged. A copy that knows one of several roots but not all of them is a warning.

## What to do
Restart istiod: at its start it writes all copies. If one stays wrong, delete it, and istiod makes it again. Then restart the workloads there.

## What else looks like it
With another Istio in the cluster (CON01) the copies change back and forth until it is removed.

## Sources
<https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-plug-in-ca-certificate>, `pilot/pkg/serviceregistry/kube/controller/namespacecontroller.go` in <https://github.com/istio/istio>",
    run: root_copies,
};

/// What is wrong with a namespace's copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Copy {
    Missing,
    /// It holds these certificates, or nothing that can be read.
    Differs(Vec<String>),
}

fn root_copies(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let root = system_root(lens)?;
    lens.need(&[SourceId::RootCertificates, SourceId::Namespaces])?;
    let workloads = lens.workloads()?;
    if revisions.is_empty() {
        return Ok(Verdict::default());
    }
    let complete = lens.snapshot().root_certificates.state().is_complete();
    let copies: BTreeMap<_, _> = lens
        .snapshot()
        .root_certificates
        .items()
        .unwrap_or_default()
        .iter()
        .map(|map| (map.metadata.namespace.as_str(), map))
        .collect();
    let injected: BTreeSet<_> =
        workloads.iter().filter(|workload| workload.injected_pods() > 0).map(|workload| workload.namespace).collect();
    let selectors = discovery_selectors(lens);
    let fresh = |time: Option<jiff::Timestamp>| time.is_some_and(|time| lens.now().duration_since(time) < SETTLED);
    let mut wrong: BTreeMap<Copy, Vec<(&str, Option<Bundle>)>> = BTreeMap::new();
    let mut examined = 0;
    for namespace in lens.namespaces()? {
        let meta = &namespace.metadata;
        if !injected.contains(meta.name.as_str())
            || meta.deletion_timestamp.is_some()
            || fresh(meta.creation_timestamp)
            || selectors.iter().any(|list| is_hidden(list, &meta.labels))
        {
            continue;
        }
        examined += 1;
        let Some(copy) = copies.get(meta.name.as_str()) else {
            // What could not be read is not missing.
            if !complete {
                continue;
            }
            wrong.entry(Copy::Missing).or_default().push((&meta.name, None));
            continue;
        };
        let Some((map, root)) = root.as_ref().filter(|(_, root)| !root.certificates.is_empty()) else { continue };
        let copy = bundle(copy);
        if copy.fingerprints() == root.fingerprints() || fresh(last_write(map)) {
            continue;
        }
        let held = copy.fingerprints().into_iter().map(str::to_owned).collect();
        wrong.entry(Copy::Differs(held)).or_default().push((&meta.name, Some(copy)));
    }
    let findings = wrong.into_iter().map(|(what, hit)| copy_finding(lens, revisions, root.as_ref(), &what, hit));
    Ok(Verdict { examined, findings: findings.collect() })
}

fn copy_finding(
    lens: &Lens<'_>,
    revisions: &[Revision<'_>],
    root: Option<&(&ConfigMap, Bundle)>,
    what: &Copy,
    hit: Vec<(&str, Option<Bundle>)>,
) -> Finding {
    let first = hit.first().map_or("", |(name, _)| *name);
    let held = hit.first().and_then(|(_, copy)| copy.as_ref());
    let spaces: Vec<&str> = hit.iter().map(|(name, _)| *name).collect();
    let concerned: Vec<_> = lens
        .workloads()
        .unwrap_or_default()
        .iter()
        .filter(|workload| workload.injected_pods() > 0 && spaces.contains(&workload.namespace))
        .collect();
    let place = if let [only] = spaces[..] { format!("namespace {only}") } else { count(spaces.len(), "namespace") };
    let (have, lack) = if spaces.len() == 1 { ("has", "lacks") } else { ("have", "lack") };
    let partly = held.zip(root).is_some_and(|(held, (_, root))| held.shares(root));
    let (summary, detail) = match (what, partly) {
        (Copy::Missing, _) => (
            format!("{place} {have} sidecars but no root certificate"),
            "New pods there stay in ContainerCreating: their sidecars mount the ConfigMap istio-ca-root-cert.",
        ),
        (Copy::Differs(_), true) => (
            format!("{place} {lack} some of istiod's root certificates"),
            "Proxies there refuse calls from workloads whose certificate is signed with a missing one.",
        ),
        (Copy::Differs(_), false) => (
            format!("{place} {have} a root certificate that is not istiod's"),
            "Proxies there do not trust istiod. They fail at their next start, or when their certificate is renewed.",
        ),
    };
    let mut steps = restart_istiod(revisions, "then writes the root certificate into all namespaces");
    if *what != Copy::Missing {
        for name in &spaces {
            steps.push(Step::command(
                Risk::Change,
                "if it is still the wrong one: removes it; istiod makes it again",
                ["kubectl", "delete", "configmap", ROOT_MAP, "-n", name],
            ));
        }
        steps.extend(restart(concerned.iter().copied().filter(|workload| !lens.is_managed(workload.namespace))));
    }
    let detail = match spaces[..] {
        [_] => detail.to_owned(),
        _ => format!("Namespaces: {}. {detail}", names(spaces.iter().copied())),
    };
    let mut finding = Finding::new(Subject::new("ConfigMap", first, ROOT_MAP), summary, detail)
        .at_most(if partly { Severity::Warning } else { Severity::Error })
        .impact(Impact {
            namespaces: spaces.len(),
            workloads: concerned.len(),
            pods: concerned.iter().map(|workload| workload.injected_pods()).sum(),
        })
        .remedy(Remedy::new("let istiod write it again", steps))
        .evidence(
            SourceId::RootCertificates,
            format!("{first}/configmap/{ROOT_MAP}"),
            if held.is_some() { "certificates" } else { "exists" },
            held.map_or_else(|| "no".to_owned(), Bundle::label),
            Some(&root.map_or_else(|| "yes".to_owned(), |(_, root)| root.label())),
        );
    for name in &spaces {
        finding =
            finding.key(KeyKind::Namespace, *name).related(&Subject::cluster("Namespace", *name), "has this copy");
    }
    // As long as one istiod works, it is the one that writes; the others wait for their turn.
    if revisions.iter().all(|revision| revision.ready() == 0) {
        for revision in revisions {
            finding = finding.key(KeyKind::Revision, &revision.name);
        }
    }
    lens.optional(SourceId::Istiods, &lens.snapshot().istiods);
    if *what != Copy::Missing {
        for other in foreign(lens.snapshot()) {
            finding = finding.key(KeyKind::Namespace, other.namespace);
        }
    }
    finding
}

/// When the ConfigMap was written last.
fn last_write(map: &ConfigMap) -> Option<jiff::Timestamp> {
    map.managers.iter().filter_map(|manager| manager.time).max()
}

/// The `discoverySelectors` of each mesh configuration that has some (`mesh/v1alpha1/config.proto` in istio/api).
fn discovery_selectors(lens: &Lens<'_>) -> Vec<Vec<LabelSelector>> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Mesh {
        #[serde(deserialize_with = "crate::model::nullable")]
        discovery_selectors: Vec<LabelSelector>,
    }
    let maps = lens.snapshot().system_config_maps.items().unwrap_or_default();
    let meshes = maps.iter().filter_map(|map| crate::model::yaml::from_str::<Mesh>(map.data.get("mesh")?).ok());
    meshes.map(|mesh| mesh.discovery_selectors).filter(|list| !list.is_empty()).collect()
}

/// A namespace is left out when no selector takes it; an operator that is not known may take it.
fn is_hidden(selectors: &[LabelSelector], labels: &StringMap) -> bool {
    selectors.iter().all(|selector| selector.matches(labels) == Some(false))
}

static TWO_ROOTS: Check = Check {
    code: "CA04",
    name: "root-rotation-open",
    title: "No change of the root certificate is left half done",
    area: Area::Certificates,
    severity: Severity::Warning,
    inputs: ROOTS,
    uses: &[],
    docs: "## What it means
The mesh trusts more than one root certificate. That is the first half of a root rotation, and right for a few days. Until the old root is removed, whoever has its key can sign certificates that the mesh accepts.

## Why it happens on AKS
A root from a Key Vault is changed in two steps: first `root-cert.pem` holds the old and the new root, and once every workload has that, the new one alone. The second step is easy to forget.

## How we know
The ConfigMap `istio-ca-root-cert` of `aks-istio-system` holds several certificates with different keys. It is a warning when it was last written more than 30 days ago, or when one of the roots has expired or expires within 30 days. If you trust two roots on purpose, leave it so.

## What to do
When every workload was restarted, or a day has passed, store `root-cert.pem` with the new root alone.

## Sources
<https://learn.microsoft.com/azure/aks/istio-plugin-ca#root-certificate-authority-rotation>",
    run: two_roots,
};

fn two_roots(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let revisions = lens.revisions()?;
    let Some((map, bundle)) = system_root(lens)?.filter(|_| !revisions.is_empty()) else {
        return Ok(Verdict::default());
    };
    let examined = bundle.certificates.len();
    let renewed = bundle
        .certificates
        .first()
        .is_some_and(|first| bundle.certificates.iter().all(|certificate| certificate.vouches_like(first)));
    if examined < 2 || renewed {
        return Ok(Verdict { examined, findings: Vec::new() });
    }
    let (Some(newest), Some(first_to_end)) = (
        bundle.certificates.iter().max_by_key(|certificate| certificate.not_before),
        bundle.certificates.iter().min_by_key(|certificate| certificate.not_after),
    ) else {
        return Ok(Verdict { examined, findings: Vec::new() });
    };
    // A root may be old when it is put to use, so the last write tells more than its first day.
    let since = last_write(map).map_or(newest.not_before, |written| written.max(newest.not_before));
    let ending = first_to_end.not_after.duration_since(lens.now()) < SOON;
    // A self-signed root is never changed by hand; a second one is somebody's wish.
    let plug_in = kind(revisions) == Kind::PlugIn;
    let late = plug_in && (ending || lens.now().duration_since(since) > LONG);
    let detail = if ending {
        format!("{} expires first; certificates signed with it are then refused.", first_to_end.label())
    } else {
        "Until the old root is removed, whoever has its key can sign certificates that the mesh accepts.".to_owned()
    };
    let mut finding = Finding::new(
        root_subject(),
        format!("the mesh trusts {}, since {}", count(examined, "root certificate"), day(since)),
        detail,
    )
    .at_most(if late { Severity::Warning } else { Severity::Info })
    .key(KeyKind::Object, root_key())
    .remedy(Remedy::new(
        "take the old root away once every workload knows the new one",
        vec![
            Step::text(
                Risk::Read,
                "wait until a day has passed since the second root was added, or every workload was restarted",
            ),
            set_root("stores a file with the new root alone, if the roots come from a Key Vault"),
        ],
    ));
    for certificate in &bundle.certificates {
        finding =
            finding.evidence(SourceId::SystemConfigMaps, system_object(), "certificate", certificate.label(), None);
    }
    Ok(Verdict { examined, findings: vec![finding] })
}
