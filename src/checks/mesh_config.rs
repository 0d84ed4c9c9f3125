//! CFG: the managed and the shared mesh configuration. Here what stands in them; below which of them are read at all and
//! what they do to the cluster.

mod effects;
mod objects;

use super::remedies::{count, names, reconcile};
use crate::engine::finding::KeyKind;
use crate::engine::lens::MESH_CONFIGS;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::facts::Tier;
use crate::mesh::mesh_config::{Document, Fault, KEY, Origin, Source, Unknown, tier};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[
    &UNPARSABLE,
    &BLOCKED_FIELDS,
    &UNSUPPORTED_FIELDS,
    &objects::UNREAD,
    &OVERRULED,
    &objects::EDITED,
    &effects::HIDDEN_NAMESPACES,
    &effects::NOTHING_REGISTERED,
    &UNKNOWN_FIELDS,
];

/// Finding about a ConfigMap of a revision.
fn about(name: &str, namespace: &str, revision: &str, summary: String, detail: impl Into<String>) -> Finding {
    Finding::new(Subject::new("ConfigMap", namespace, name), summary, detail)
        .key(KeyKind::Object, format!("ConfigMap/{namespace}/{name}"))
        .key(KeyKind::Revision, revision)
}

fn show(name: &str) -> Step {
    Step::command(
        Risk::Read,
        "shows the settings in it",
        ["kubectl", "get", "configmap", name, "-n", SYSTEM_NAMESPACE, "-o", "jsonpath={.data.mesh}"],
    )
}

fn edit(name: &str, what: &str) -> Step {
    Step::command(
        Risk::Change,
        format!("{what}; with GitOps, change it in the repository"),
        ["kubectl", "edit", "configmap", name, "-n", SYSTEM_NAMESPACE],
    )
}

fn place(name: &str) -> String {
    format!("{SYSTEM_NAMESPACE}/configmap/{name}")
}

static UNPARSABLE: Check = Check {
    code: "CFG01",
    name: "mesh-config-unparsable",
    title: "The mesh configuration of every revision can be read by istiod",
    area: Area::MeshConfig,
    severity: Severity::Error,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
istiod cannot use a ConfigMap with mesh settings: it is not valid YAML, its key is not `mesh`, or a field has a value of the wrong kind. istiod writes one line to its log and runs without all of these settings. Nothing else shows that they are missing.

## Why it happens on AKS
Mesh settings are a text inside a ConfigMap, so `kubectl` accepts anything there. One tab in the indentation, a key called `meshConfig`, or a time without its unit (`30` instead of `30s`) is enough. The add-on's admission webhook refuses some of this, but lets everything through while it does not answer.

## How we know
The text under `data.mesh` is parsed as istiod parses it: the first YAML document, then each field by the kind that Istio's definition gives it. The evidence names the line or the field.

## What to do
Correct the ConfigMap. istiod reads it again by itself; what is under `defaultConfig` reaches running pods only when they are restarted. The ConfigMap `istio-asm-X-Y` belongs to AKS: do not edit it, reconcile the cluster.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig>, `pkg/config/mesh/meshwatcher/collection.go` and `pkg/config/mesh/mesh.go` in <https://github.com/istio/istio>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for config in lens.mesh_configs()? {
            for (source, origin) in [(&config.shared, Origin::Shared), (&config.managed, Origin::Managed)] {
                let Some(source) = source else { continue };
                verdict.examined += 1;
                if let Err(fault) = &source.document {
                    verdict.findings.push(unparsable(&config.revision, source, origin, fault));
                }
            }
        }
        Ok(verdict)
    },
};

fn unparsable(revision: &str, source: &Source<'_>, origin: Origin, fault: &Fault) -> Finding {
    let name = source.name();
    let (summary, field, observed, expected) = match fault {
        Fault::NoKey { present, nearest } => (
            format!("{name} has no key {KEY}"),
            "data".to_owned(),
            names(present.iter().map(String::as_str)),
            match nearest {
                Some(nearest) => format!("{KEY} in place of {nearest}"),
                None => KEY.to_owned(),
            },
        ),
        Fault::Syntax { line, tab, message } => (
            format!("{name} is not valid YAML"),
            format!("data.{KEY}"),
            match (line, tab) {
                (Some(line), true) => format!("a tab in the indentation of line {line}"),
                (Some(line), false) => format!("line {line}: {message}"),
                (None, _) => message.clone(),
            },
            "YAML, indented with spaces".to_owned(),
        ),
        Fault::NotAMapping => (
            format!("{name} holds a text or a list, not settings"),
            format!("data.{KEY}"),
            "a text or a list".to_owned(),
            "field: value".to_owned(),
        ),
        Fault::Type { path, expected } => (
            format!("{name}: {path} has a wrong value"),
            path.clone(),
            "another kind of value".to_owned(),
            expected.words().to_owned(),
        ),
    };
    let detail = match origin {
        Origin::Shared => {
            "istiod ignores the whole ConfigMap: none of its settings are in force. Only istiod's log says so."
        }
        Origin::Managed => "istiod ignores it and runs without the add-on's own settings. Only istiod's log says so.",
    };
    let (what, steps) = match origin {
        Origin::Shared => ("correct the ConfigMap", vec![show(name), edit(name, "opens it for correction")]),
        Origin::Managed => {
            ("let AKS write it again; it undoes edits", vec![show(name), reconcile("writes the ConfigMap again")])
        }
    };
    about(name, SYSTEM_NAMESPACE, revision, summary, detail).remedy(Remedy::new(what, steps)).evidence(
        SourceId::SystemConfigMaps,
        place(name),
        field,
        observed,
        Some(&expected),
    )
}

/// Runs over the shared ConfigMaps that istiod can use.
fn each_shared(lens: &Lens<'_>, judge: impl Fn(&str, &str, &Document) -> Option<Finding>) -> Result<Verdict, Missing> {
    let mut verdict = Verdict::default();
    for config in lens.mesh_configs()? {
        let (Some(shared), Some(document)) = (&config.shared, config.user()) else { continue };
        verdict.examined += 1;
        verdict.findings.extend(judge(&config.revision, shared.name(), document));
    }
    Ok(verdict)
}

/// Paths of the fields in a tier, as fine as the tiers are: fields, and fields of `defaultConfig`.
fn fields_of(lens: &Lens<'_>, document: &Document, wanted: Tier) -> Vec<String> {
    let policy = &lens.facts().mesh_config;
    document
        .known()
        .map(|(name, is_proxy, _)| if is_proxy { format!("defaultConfig.{name}") } else { name.to_owned() })
        .filter(|path| tier(policy, path) == wanted)
        .collect()
}

/// `field a`, `fields a, b`.
fn listed(paths: &[String]) -> String {
    let noun = if paths.len() == 1 { "field" } else { "fields" };
    format!("{noun} {}", names(paths.iter().map(String::as_str)))
}

fn page(lens: &Lens<'_>) -> String {
    let policy = &lens.facts().mesh_config;
    let day = policy.as_of.map_or_else(String::new, |day| format!(" as of {day}"));
    format!("absent; allowed fields: {}{day}", policy.source)
}

static BLOCKED_FIELDS: Check = Check {
    code: "CFG02",
    name: "mesh-config-blocked-field",
    title: "The shared mesh configuration sets only fields that the add-on allows",
    area: Area::MeshConfig,
    severity: Severity::Error,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
The shared ConfigMap sets a field of MeshConfig that the add-on blocks. Until it is removed, AKS refuses every change to this ConfigMap, and what the field does is not supported.

## Why it happens on AKS
AKS checks the ConfigMap with an admission webhook. It lets objects through while it does not answer, and does not look again at ConfigMaps from before the list changed. Settings are often copied from a self-managed Istio, where every field is allowed. istiod itself does not know the list: it applies the field, unless AKS's own ConfigMap sets the same field, which then wins.

## How we know
Each field is compared with the table that Microsoft publishes; a field that the table does not name is blocked. For a revision that is newer than the plugin's table this is a warning only, because the table may have changed with it; `--facts FILE` adds newer entries.

## What to do
Remove the field from the ConfigMap. If it came from a self-managed Istio, look for the supported way: `rootNamespace` is always `aks-istio-system`, for instance, and a revision's `discoveryAddress` is set by AKS.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#allowed-supported-and-blocked-meshconfig-values>, <https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: |lens| {
        each_shared(lens, |revision, name, document| {
            let paths = fields_of(lens, document, Tier::Blocked);
            if paths.is_empty() {
                return None;
            }
            let mut finding = about(
                name,
                SYSTEM_NAMESPACE,
                revision,
                format!("{name} sets the blocked {}", listed(&paths)),
                "Until it is removed, AKS refuses every change to this ConfigMap. What it does is not supported.",
            )
            .remedy(Remedy::new("take it out", vec![show(name), edit(name, "opens it, to remove the fields")]));
            if lens.facts().is_newer_than_table(revision) {
                finding = finding.at_most(Severity::Warning);
            }
            for path in paths {
                finding =
                    finding.evidence(SourceId::SystemConfigMaps, place(name), path, "set", Some(page(lens).as_str()));
            }
            Some(finding)
        })
    },
};

static UNSUPPORTED_FIELDS: Check = Check {
    code: "CFG03",
    name: "mesh-config-unsupported-field",
    title: "The shared mesh configuration sets only fields that Microsoft supports",
    area: Area::MeshConfig,
    severity: Severity::Info,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
The shared ConfigMap sets fields that AKS allows but Microsoft does not support. They work as in any Istio, but a support request about them is declined.

## Why it happens on AKS
The add-on sorts Istio's fields into supported, allowed and blocked ones. Tracing providers and most connection settings are allowed only.

## How we know
Each field is compared with the table that Microsoft publishes.

## What to do
Nothing, if you know that. Telemetry resources and DestinationRules often do the same in a supported way.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#allowed-supported-and-blocked-meshconfig-values>, <https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: |lens| {
        each_shared(lens, |revision, name, document| {
            let paths = fields_of(lens, document, Tier::Allowed);
            if paths.is_empty() {
                return None;
            }
            let mut finding = about(
                name,
                SYSTEM_NAMESPACE,
                revision,
                format!("{name} sets {} that Microsoft does not support", count(paths.len(), "field")),
                "They work as in any Istio, but Microsoft does not help when they cause trouble.",
            )
            .remedy(Remedy::new("nothing, if that is known", vec![show(name)]));
            for path in paths {
                finding = finding.evidence(SourceId::SystemConfigMaps, place(name), path, "allowed", None);
            }
            Some(finding)
        })
    },
};

static OVERRULED: Check = Check {
    code: "CFG05",
    name: "mesh-config-overruled",
    title: "AKS's own mesh settings leave the user's in force",
    area: Area::MeshConfig,
    severity: Severity::Warning,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
The shared ConfigMap sets a field that AKS's own ConfigMap sets to another value. AKS's value is in force; the one in the shared ConfigMap has no effect.

## Why it happens on AKS
istiod applies the shared ConfigMap first and AKS's own over it. A field is replaced as a whole: AKS's `outboundTrafficPolicy` leaves nothing of yours. Only `defaultConfig` and `defaultProviders` are merged field by field, and `extensionProviders` by name.

## How we know
Both ConfigMaps are merged as istiod does it. The evidence names both values.

## What to do
Remove the setting from the shared ConfigMap, so that nobody relies on it. Where a resource can set the same for a namespace or a workload (Telemetry, Sidecar, DestinationRule, or the pod annotation `proxy.istio.io/config`), use that.

## Sources
<https://learn.microsoft.com/azure/aks/istio-meshconfig#set-up-configuration-on-cluster>, `pilot/pkg/bootstrap/mesh.go` and `pkg/config/mesh/mesh.go` in <https://github.com/istio/istio>",
    run: |lens| {
        let mut verdict = Verdict::default();
        for config in lens.mesh_configs()? {
            let (Some(shared), Some(managed)) = (&config.shared, &config.managed) else { continue };
            verdict.examined += 1;
            let settings = config.settings(&lens.facts().mesh_config);
            // That a blocked field has no effect either is said where it is told to be blocked.
            let lost: Vec<_> = settings
                .iter()
                .filter(|setting| setting.tier != Tier::Blocked)
                .filter_map(|setting| Some((setting, setting.overruled?)))
                .collect();
            if lost.is_empty() {
                continue;
            }
            let name = shared.name();
            let which = names(lost.iter().map(|(setting, _)| setting.path.as_str()));
            let mut finding = about(
                name,
                SYSTEM_NAMESPACE,
                &config.revision,
                format!("{name} has no effect on {which}: AKS sets it"),
                format!("ConfigMap {}, which AKS manages, sets the same field, and its value is in force.", managed.name()),
            )
            .related(&Subject::new("ConfigMap", SYSTEM_NAMESPACE, managed.name()), "sets the value in force")
            .remedy(Remedy::new(
                "remove the setting, or set it per namespace or workload",
                vec![show(managed.name()), edit(name, "opens it, to remove the setting")],
            ));
            for (setting, mine) in lost {
                finding = finding.evidence(
                    SourceId::SystemConfigMaps,
                    place(name),
                    setting.path.clone(),
                    mine.to_string(),
                    Some(&setting.value.to_string()),
                );
            }
            verdict.findings.push(finding);
        }
        Ok(verdict)
    },
};

static UNKNOWN_FIELDS: Check = Check {
    code: "CFG11",
    name: "mesh-config-unknown-field",
    title: "Every name in the shared mesh configuration is a field of Istio",
    area: Area::MeshConfig,
    severity: Severity::Warning,
    inputs: MESH_CONFIGS,
    uses: &[],
    docs: "## What it means
The shared ConfigMap has a field that Istio does not know, or that is in the wrong place. istiod ignores it silently.

## Why it happens on AKS
Names are case-sensitive: `accesslogFile` is not `accessLogFile`. Settings of the proxy (`holdApplicationUntilProxyStarts`, `concurrency`) belong below `defaultConfig`, all others beside it. In an IstioOperator or a Helm values file everything is below `meshConfig`; in the ConfigMap it is not. `default_config` and `default_providers`, the other spelling of two fields, are read but lost when istiod merges the two ConfigMaps.

## How we know
Each name is compared with the fields of MeshConfig and ProxyConfig in Istio's definition. If one differs only in a few letters, it is offered. For a revision that is newer than the plugin this is an info only.

## What to do
Use the name that is offered, or look it up in Istio's reference. Then check in the add-on's table that you may set it.

## Sources
<https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/>, <https://learn.microsoft.com/azure/aks/istio-meshconfig#common-errors-and-troubleshooting-tips>, `pkg/util/protomarshal/protomarshal.go` in <https://github.com/istio/istio>",
    run: |lens| {
        each_shared(lens, |revision, name, document| {
            let unknown = document.unknown();
            let first = unknown.first()?;
            let summary = match (unknown.len(), &first.instead) {
                (1, Some(instead)) => format!("{name}: unknown field {}, use {instead}", first.path),
                (1, None) => format!("{name}: unknown field {}", first.path),
                (_, _) => format!("{name}: unknown fields {}", names(unknown.iter().map(|u| u.path.as_str()))),
            };
            let mut finding = about(name, SYSTEM_NAMESPACE, revision, summary, "istiod ignores unknown fields silently: what they should set is not in force.")
                .remedy(Remedy::new("write the field's own name", vec![show(name), edit(name, "opens it, to correct the names")]));
            if lens.facts().is_newer_than_table(revision) {
                finding = finding.at_most(Severity::Info);
            }
            for Unknown { path, instead } in &unknown {
                finding = finding.evidence(SourceId::SystemConfigMaps, place(name), path.clone(), "set", instead.as_deref());
            }
            Some(finding)
        })
    },
};
