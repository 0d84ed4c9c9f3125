//! ENV: programs on this machine beside this one, and one's own rights.

use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::native::kubernetes_minor;
use crate::mesh::revision::{AsmRevision, IstioVersion};
use crate::model::Program;
use crate::snapshot::{SourceId, StateKind};
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this file.
pub static CHECKS: &[&Check] = &[&KNOWN_FAULT, &FAR_FROM_REVISIONS, &KUBECTL_SKEW, &RIGHTS];

/// How many minor versions a client may be away: kubectl by its own policy, istioctl as the neighbour it is tested with.
const NEIGHBOUR: u32 = 1;

static KNOWN_FAULT: Check = Check {
    code: "ENV07",
    name: "istioctl-known-fault",
    title: "The istioctl on the PATH has no fault that is known to matter with the add-on",
    area: Area::Environment,
    severity: Severity::Warning,
    inputs: &[SourceId::Programs],
    uses: &[SourceId::SystemPods, SourceId::SystemDeployments],
    docs: "## What it means
The `istioctl` that is found first on the PATH has a fault that shows with the add-on, such as that it finds no istiod although all is well.

## Why it happens on AKS
The add-on's istiods have revisions called `asm-X-Y` in the namespace `aks-istio-system`. From 1.28 on, `istioctl` without `--revision` looks for a revision called `default`, which the add-on does not have; a tag of that name is found outside `istio-system` only from 1.31 on.

## How we know
`istioctl version --remote=false -o json`, compared with a dated table in the plugin. `--facts FILE` brings newer entries.

## What to do
Give `-i aks-istio-system` and `--revision` with every command of istioctl that asks istiod; the finding has the line for each revision of this cluster. `kubectl asm proxy-status` needs neither.

## What else looks like it
When istiod really does not run, that is CP01.

## Sources
<https://github.com/Azure/AKS/issues/5693>, <https://github.com/istio/istio/issues/49693>, <https://learn.microsoft.com/azure/aks/istio-deploy-addon>",
    run: known_fault,
};

fn program<'a>(lens: &Lens<'a>, name: &str) -> Result<Option<&'a Program>, Missing> {
    lens.need(&[SourceId::Programs])?;
    Ok(lens.snapshot().programs.items().unwrap_or_default().iter().find(|one| one.metadata.name == name))
}

/// A program and its version, where it is there and tells one.
fn versioned<'a, T>(
    lens: &Lens<'a>,
    name: &str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Option<(&'a Program, &'a str, T)>, Missing> {
    let Some(program) = program(lens, name)? else { return Ok(None) };
    Ok(program.version.as_deref().and_then(|text| Some((program, text, parse(text)?))))
}

/// `istioctl proxy-status` as this cluster needs it.
pub fn istioctl_line(revision: &str) -> [String; 6] {
    ["istioctl", "proxy-status", "-i", SYSTEM_NAMESPACE, "--revision", revision].map(str::to_owned)
}

fn known_fault(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    let Some((program, text, version)) = versioned(lens, "istioctl", IstioVersion::parse)? else {
        return Ok(Verdict::default());
    };
    let revisions: Vec<String> = match lens.revisions() {
        Ok([]) | Err(_) => vec!["<revision>".to_owned()],
        Ok(revisions) => revisions.iter().map(|revision| revision.name.clone()).collect(),
    };
    let mut verdict = Verdict { examined: 1, findings: Vec::new() };
    for (name, fault) in &lens.facts().istioctl {
        let bound = |text: &str| IstioVersion::parse(text).map(|v| (v.major, v.minor, v.patch));
        let own = (version.major, version.minor, version.patch);
        let begun = bound(&fault.from).is_some_and(|from| own >= from);
        let over = fault.below.as_deref().is_some_and(|below| bound(below).is_some_and(|below| own >= below));
        if !begun || over {
            continue;
        }
        let steps = revisions.iter().map(|revision| {
            Step::command(Risk::Read, format!("asks the istiods of {revision}"), istioctl_line(revision))
        });
        let mut steps: Vec<Step> = steps.collect();
        steps.push(Step::command(
            Risk::Read,
            "needs neither flag, and asks all istiods",
            ["kubectl", "asm", "proxy-status"],
        ));
        verdict.findings.push(
            Finding::new(
                Subject::cluster("Program", name.clone()),
                format!("istioctl {text} {}", fault.fault),
                "Its commands then say that no Istio is there, or fail, although the add-on is well.",
            )
            .at_most(if fault.minor { Severity::Info } else { Severity::Warning })
            .remedy(Remedy::new("name the namespace and the revision with every command", steps))
            .evidence(
                SourceId::Programs,
                program.path.clone().unwrap_or_default(),
                format!("version, as {} tells since {}", fault.source, fault.published),
                text,
                None,
            ),
        );
    }
    Ok(verdict)
}

static FAR_FROM_REVISIONS: Check = Check {
    code: "ENV08",
    name: "istioctl-far-from-revision",
    title: "The istioctl on the PATH is of the revisions' minor version or of a neighbour",
    area: Area::Environment,
    severity: Severity::Info,
    inputs: &[SourceId::Programs, SourceId::SystemPods, SourceId::SystemDeployments],
    uses: &[],
    docs: "## What it means
`istioctl` is more than one minor version older or newer than a revision of the add-on. Most of its commands work; what they print about proxies and configuration may be wrong or incomplete.

## Why it happens on AKS
AKS upgrades revisions; the `istioctl` on a workstation stays as it was.

## How we know
`istioctl version --remote=false -o json`, compared with the names of the revisions. Istio states one minor version for control plane and proxies, and tests clients beside them in the same way.

## What to do
Install an `istioctl` of the same minor version beside the old one. Patches of one minor version fit each other.

## Sources
<https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew>, <https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let Some((program, text, version)) = versioned(lens, "istioctl", IstioVersion::parse)? else {
            return Ok(Verdict::default());
        };
        let mut verdict = Verdict::default();
        for revision in revisions {
            let Some(AsmRevision { major, minor }) = AsmRevision::parse(&revision.name) else { continue };
            verdict.examined += 1;
            let away = version.minor.abs_diff(minor);
            if major == version.major && away <= NEIGHBOUR {
                continue;
            }
            let side = if (version.major, version.minor) < (major, minor) { "older" } else { "newer" };
            let steps = vec![Step::text(Risk::Read, format!("install an istioctl {major}.{minor} beside it, and use that for {}", revision.name))];
            verdict.findings.push(
                Finding::new(
                    Subject::cluster("Revision", revision.name.clone()),
                    format!("istioctl {text} is {away} minor versions {side} than {}", revision.name),
                    "What it prints about this revision may be wrong or incomplete.",
                )
                .remedy(Remedy::new("use an istioctl of the same minor version", steps))
                .evidence(
                    SourceId::Programs,
                    program.path.clone().unwrap_or_default(),
                    "version",
                    text,
                    Some(&format!("{major}.{minor}, or one minor version beside it")),
                ),
            );
        }
        Ok(verdict)
    },
};

static KUBECTL_SKEW: Check = Check {
    code: "ENV09",
    name: "kubectl-skew",
    title: "kubectl is within one minor version of the API server",
    area: Area::Environment,
    severity: Severity::Info,
    inputs: &[SourceId::Programs, SourceId::Version],
    uses: &[],
    docs: "## What it means
kubectl is more than one minor version older or newer than the API server. Kubernetes supports one. Most commands work all the same; new fields may be dropped, and removed APIs may be asked for.

## Why it happens on AKS
The cluster was upgraded, or several clusters of different age are used from one machine.

## How we know
`kubectl version --client -o json`, and the API server's `/version`.

## What to do
`az aks install-cli --client-version <version>` installs a kubectl that fits.

## Sources
<https://kubernetes.io/releases/version-skew-policy/#kubectl>, <https://learn.microsoft.com/cli/azure/aks#az-aks-install-cli>",
    run: |lens| {
        lens.need(&[SourceId::Version])?;
        let Some((program, text, kubectl)) = versioned(lens, "kubectl", kubernetes_minor)? else {
            return Ok(Verdict::default());
        };
        let server = lens.snapshot().version.items().and_then(<[_]>::first).map(|version| version.git_version.as_str());
        let Some((server, (major, minor))) = server.and_then(|text| Some((text, kubernetes_minor(text)?))) else {
            return Ok(Verdict::default());
        };
        let mut verdict = Verdict { examined: 1, findings: Vec::new() };
        if kubectl.0 == major && kubectl.1.abs_diff(minor) <= NEIGHBOUR {
            return Ok(verdict);
        }
        let fitting = server.trim_start_matches('v');
        verdict.findings.push(
            Finding::new(
                Subject::cluster("Program", "kubectl"),
                format!("kubectl {text} is more than one minor version from the API server, {server}"),
                "Kubernetes supports one minor version. New fields may be dropped, and removed APIs asked for.",
            )
            .remedy(Remedy::new(
                "use a kubectl that fits",
                vec![Step::command(
                    Risk::Read,
                    "installs kubectl on this machine; nothing changes in the cluster",
                    ["az", "aks", "install-cli", "--client-version", fitting],
                )],
            ))
            .evidence(
                SourceId::Programs,
                program.path.clone().unwrap_or_default(),
                "clientVersion.gitVersion",
                text,
                Some(&format!("{major}.{minor}, or one minor version beside it")),
            ),
        );
        Ok(verdict)
    },
};

static RIGHTS: Check = Check {
    code: "ENV10",
    name: "rights-missing",
    title: "The user has the rights that every command of this tool needs",
    area: Area::Environment,
    severity: Severity::Info,
    inputs: &[SourceId::Grants],
    uses: &[],
    docs: "## What it means
Rights that commands of this tool need are missing. Those commands still run, and name what they could not check; this check is then *not done*, and the exit code 3.

## Why it happens on AKS
Azure RBAC and Kubernetes RBAC roles for one namespace do not include webhooks, other namespaces or the add-on's own namespace; a reader may not create the pods of a probe.

## How we know
A SelfSubjectAccessReview per right: the API server, or Azure in its place, says whether it would allow the request. Nothing is stored by that.

## What to do
`kubectl asm rbac --for <command>` prints roles that are enough. `--for` with precheck limits it to commands that you need; `--allow-gaps` makes the exit code 0.

## Sources
<https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access>, <https://learn.microsoft.com/azure/aks/manage-azure-rbac>",
    run: |lens| {
        lens.need(&[SourceId::Grants])?;
        let grants = lens.snapshot().grants.items().unwrap_or_default();
        // What is missing stands among the gaps, by verb, resource and place.
        if grants.iter().any(|grant| !grant.allowed) {
            return Err(Missing { source: SourceId::Grants, kind: StateKind::Collected });
        }
        Ok(Verdict { examined: grants.len(), findings: Vec::new() })
    },
};
