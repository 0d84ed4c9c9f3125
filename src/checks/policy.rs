//! POL: what the add-on allows in Istio's custom resources. Here what they are and where they are; below EnvoyFilters,
//! revision labels, and traffic that leaves the cluster.

mod egress;
mod filters;
mod labels;
mod resources;

use std::collections::BTreeMap;

use serde_json::Value;

use self::resources::{EFFECTIVE, Resource, delete, listed};
use super::remedies::{count, names};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::facts::{FieldPolicy, Tier};
use crate::mesh::control_plane::foreign;
use crate::model::{Meta, MetaOnly, Telemetry};
use crate::snapshot::SourceId;
use crate::sources::SYSTEM_NAMESPACE;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[
    &BLOCKED_KINDS,
    &BLOCKED_TELEMETRY,
    &WRONG_ROOT,
    &labels::ABSENT_REVISION,
    &filters::ENVOY_FILTERS,
    &egress::DNS_ENTRIES,
    &egress::PROXY_WITHOUT_ENTRY,
];

/// The root namespace of a self-managed Istio.
const UPSTREAM_ROOT: &str = "istio-system";
/// Set by istiod on a WorkloadEntry that it made for a machine (`pilot/pkg/autoregistration/controller.go`).
const AUTO_REGISTERED: &str = "istio.io/autoRegistrationGroup";
const OPERATORS: &str = "istiooperators.install.istio.io";

static BLOCKED_KINDS: Check = Check {
    code: "POL01",
    name: "blocked-kind",
    title: "No object of a kind that the add-on blocks is there",
    area: Area::Policy,
    severity: Severity::Error,
    inputs: &[
        SourceId::ProxyConfigs,
        SourceId::WorkloadEntries,
        SourceId::WorkloadGroups,
        SourceId::WasmPlugins,
        SourceId::IstioOperators,
    ],
    uses: &[],
    docs: "## What it means
There are objects of kinds that the add-on blocks: ProxyConfig, WorkloadEntry, WorkloadGroup, WasmPlugin or IstioOperator. AKS refuses to create or change them. Those that exist work as in any Istio, but can no longer be corrected, and Microsoft does not support them. An IstioOperator does nothing at all: the add-on has no operator.

## Why it happens on AKS
They were created before the add-on was enabled, by a self-managed Istio. Or AKS's admission webhook did not answer, and then it lets everything through.

## How we know
The kinds are listed in the examined namespaces. WorkloadEntries that istiod made for machines of a WorkloadGroup are left out: they are removed with the group.

## What to do
Move what they do to allowed resources: settings of a ProxyConfig to the pod annotation `proxy.istio.io/config` or to the shared mesh configuration, the addresses of WorkloadEntries to a ServiceEntry's `endpoints`. Then delete them.

## Sources
<https://learn.microsoft.com/azure/aks/istio-about#limitations>, <https://learn.microsoft.com/azure/aks/istio-support-policy>",
    run: blocked_kinds,
};

fn blocked_kinds(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need_served(BLOCKED_KINDS.inputs)?;
    let snapshot = lens.snapshot();
    let kinds = [
        (SourceId::ProxyConfigs, "ProxyConfig", "proxyconfigs.networking.istio.io", &snapshot.proxy_configs),
        (SourceId::WorkloadEntries, "WorkloadEntry", "workloadentries.networking.istio.io", &snapshot.workload_entries),
        (SourceId::WorkloadGroups, "WorkloadGroup", "workloadgroups.networking.istio.io", &snapshot.workload_groups),
        (SourceId::WasmPlugins, "WasmPlugin", "wasmplugins.extensions.istio.io", &snapshot.wasm_plugins),
    ];
    // Kinds that are served but have no objects were looked at, too.
    let mut verdict = Verdict { examined: 1, findings: Vec::new() };
    let mut by_namespace: BTreeMap<&str, Vec<Resource<'_>>> = BTreeMap::new();
    for (source, kind, resource, section) in kinds {
        let objects = section.items().unwrap_or_default().iter();
        for MetaOnly { metadata: meta } in objects.filter(|o| o.metadata.annotation(AUTO_REGISTERED).is_none()) {
            verdict.examined += 1;
            by_namespace.entry(&meta.namespace).or_default().push(Resource { source, kind, resource, meta });
        }
    }
    for (&namespace, found) in &by_namespace {
        let mut finding = Finding::new(
            Subject::cluster("Namespace", namespace),
            format!("namespace {namespace} has objects that the add-on blocks: {}", listed(found)),
            "AKS refuses to change them, so a fault in them cannot be corrected, and does not support them.",
        )
        .key(KeyKind::Namespace, namespace)
        .remedy(Remedy::new("move what they do to allowed resources, then delete them", delete(found, namespace)));
        for Resource { source, kind, meta, .. } in found {
            finding = finding.evidence(
                *source,
                object_name(kind, meta),
                "kind",
                *kind,
                Some("a kind that the add-on allows"),
            );
        }
        verdict.findings.push(finding);
    }
    for object in snapshot.istio_operators.items().unwrap_or_default() {
        verdict.examined += 1;
        verdict.findings.push(operator(&object.metadata));
    }
    Ok(verdict)
}

fn operator(meta: &Meta) -> Finding {
    let (namespace, name) = (meta.namespace.as_str(), meta.name.as_str());
    Finding::new(
        Subject::new("IstioOperator", namespace, name),
        format!("IstioOperator {name} in {namespace} does nothing: the add-on has no operator"),
        "No settings or gateways that it describes are applied.",
    )
    .at_most(Severity::Warning)
    .key(KeyKind::Namespace, namespace)
    .key(KeyKind::Definition, OPERATORS)
    .remedy(Remedy::new(
        "delete it, unless it belongs to a self-managed Istio that is still needed",
        vec![
            Step::command(
                Risk::Read,
                "shows what it describes",
                ["kubectl", "get", OPERATORS, name, "-n", namespace, "-o", "yaml"],
            ),
            Step::command(Risk::Change, "removes it", ["kubectl", "delete", OPERATORS, name, "-n", namespace]),
        ],
    ))
    .evidence(
        SourceId::IstioOperators,
        object_name("IstioOperator", meta),
        "kind",
        "IstioOperator",
        Some("a kind that the add-on allows"),
    )
}

fn object_name(kind: &str, meta: &Meta) -> String {
    format!("{}/{}/{}", meta.namespace, kind.to_lowercase(), meta.name)
}

static BLOCKED_TELEMETRY: Check = Check {
    code: "POL03",
    name: "telemetry-blocked-field",
    title: "Telemetry resources set only fields that the add-on allows",
    area: Area::Policy,
    severity: Severity::Error,
    inputs: &[SourceId::Telemetries],
    uses: &[],
    docs: "## What it means
A Telemetry resource sets a field that the add-on blocks, such as `accessLogging.filter` or `metrics.reportingInterval`. AKS refuses every change to the resource while the field is there. istiod does not know these limits and applies the field.

## Why it happens on AKS
The resource was taken over from a self-managed Istio, was created before the add-on was enabled, or while AKS's admission webhook did not answer.

## How we know
Each field below `accessLogging`, `metrics` and `tracing` is compared with the table that Microsoft publishes; what the table does not name is blocked. `selector` and `targetRefs`, which choose workloads, are not judged.

## What to do
Remove the field. To log less, use `accessLogging.match` or a Telemetry per workload; there is no allowed way to filter by expression.

## Sources
<https://learn.microsoft.com/azure/aks/istio-telemetry#telemetry-api-support-scope>, <https://istio.io/latest/docs/reference/config/telemetry/>",
    run: |lens| {
        lens.need(&[SourceId::Telemetries])?;
        let telemetries = lens.snapshot().telemetries.items().unwrap_or_default();
        let policy = &lens.facts().telemetry;
        let findings = telemetries.iter().filter_map(|telemetry| blocked_telemetry(telemetry, policy)).collect();
        Ok(Verdict { examined: telemetries.len(), findings })
    },
};

fn blocked_telemetry(telemetry: &Telemetry, policy: &FieldPolicy) -> Option<Finding> {
    let blocked = blocked_fields(&telemetry.spec, policy);
    if blocked.is_empty() {
        return None;
    }
    let Meta { name, namespace, .. } = &telemetry.metadata;
    let mut finding = Finding::new(
        Subject::new("Telemetry", namespace, name),
        format!("Telemetry {name} in {namespace} sets what AKS blocks: {}", names(blocked.iter().map(String::as_str))),
        "It works, but AKS refuses every change to it until that is removed, and does not support it.",
    )
    .key(KeyKind::Object, format!("Telemetry/{namespace}/{name}"))
    .key(KeyKind::Namespace, namespace)
    .remedy(Remedy::new(
        "take the field out",
        vec![Step::command(
            Risk::Change,
            "opens it in an editor: remove what is listed above, all at once",
            ["kubectl", "edit", "telemetries.telemetry.istio.io", name, "-n", namespace],
        )],
    ));
    for field in blocked {
        let page = format!("absent; allowed fields: {}", policy.source);
        finding = finding.evidence(
            SourceId::Telemetries,
            object_name("Telemetry", &telemetry.metadata),
            format!("spec.{field}"),
            "set",
            Some(&page),
        );
    }
    Some(finding)
}

/// Fields of a Telemetry's specification that the add-on blocks, as `section.field`.
fn blocked_fields(spec: &Value, policy: &FieldPolicy) -> Vec<String> {
    const CHOOSING: [&str; 3] = ["selector", "targetRef", "targetRefs"];
    let mut blocked = Vec::new();
    for (section, value) in spec.as_object().into_iter().flatten() {
        if CHOOSING.contains(&section.as_str()) || policy.tier(section) != Tier::Blocked {
            continue;
        }
        let entries = value.as_array().map(Vec::as_slice).unwrap_or_default();
        let fields = entries.iter().filter_map(Value::as_object).flatten();
        for (field, _) in fields.filter(|(_, value)| !value.is_null()) {
            let path = format!("{section}.{field}");
            if policy.tier(&path) == Tier::Blocked && !blocked.contains(&path) {
                blocked.push(path);
            }
        }
    }
    blocked.sort();
    blocked
}

static WRONG_ROOT: Check = Check {
    code: "POL04",
    name: "mesh-wide-resource-in-istio-system",
    title: "Mesh-wide resources are in the add-on's root namespace",
    area: Area::Policy,
    severity: Severity::Warning,
    inputs: &[
        SourceId::Istiods,
        SourceId::Pods,
        SourceId::Telemetries,
        SourceId::Sidecars,
        SourceId::PeerAuthentications,
        SourceId::EnvoyFilters,
    ],
    uses: &[],
    docs: "## What it means
A resource that is meant for the whole mesh is in `istio-system`. The add-on's root namespace is `aks-istio-system`; in `istio-system` the resource concerns that namespace alone, where no sidecar is. A mesh-wide `STRICT` there leaves the mesh as permissive as before.

## Why it happens on AKS
Istio's own pages put mesh-wide resources into `istio-system`, and a migration carries them over. Kubernetes accepts them in any namespace.

## How we know
Telemetry, Sidecar, PeerAuthentication and EnvoyFilter objects in `istio-system`, while neither an istiod nor a pod with a sidecar is there. With either of them the resources may well be right, and nothing is said.

## What to do
First look at each: what had no effect until now takes effect for the whole mesh. Then create them in `aks-istio-system`, and delete those in `istio-system`.

## Sources
<https://learn.microsoft.com/azure/aks/istio-telemetry>, <https://learn.microsoft.com/azure/aks/istio-deploy-addon>, <https://istio.io/latest/docs/reference/config/istio.mesh.v1alpha1/#MeshConfig-root_namespace>",
    run: wrong_root,
};

fn wrong_root(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::Istiods, SourceId::Pods])?;
    let snapshot = lens.snapshot();
    let found: Vec<Resource<'_>> = resources::read(lens, EFFECTIVE)?
        .into_iter()
        .filter(|resource| resource.meta.namespace == UPSTREAM_ROOT)
        .collect();
    let mut verdict = Verdict { examined: found.len(), findings: Vec::new() };
    let pods = snapshot.pods.items().unwrap_or_default();
    let has_proxy = pods.iter().any(|pod| {
        pod.metadata.namespace == UPSTREAM_ROOT && !pod.is_over() && crate::mesh::proxy::of_pod(pod).is_some()
    });
    let has_istiod = foreign(snapshot).iter().any(|istiod| istiod.namespace == UPSTREAM_ROOT);
    if found.is_empty() || has_proxy || has_istiod {
        return Ok(verdict);
    }
    let mut steps = Vec::new();
    for Resource { resource, meta, .. } in found.iter().take(5) {
        steps.push(Step::command(
            Risk::Read,
            format!("shows one; create it in {SYSTEM_NAMESPACE} if it is still wanted"),
            ["kubectl", "get", resource, &meta.name, "-n", UPSTREAM_ROOT, "-o", "yaml"],
        ));
    }
    steps.extend(delete(&found, UPSTREAM_ROOT));
    let mut finding = Finding::new(
        Subject::cluster("Namespace", UPSTREAM_ROOT),
        format!(
            "{} in {UPSTREAM_ROOT} {} no effect: {}",
            count(found.len(), "resource"),
            if found.len() == 1 { "has" } else { "have" },
            listed(&found)
        ),
        format!("Only {SYSTEM_NAMESPACE} counts for the whole mesh, and {UPSTREAM_ROOT} has no sidecars: a policy there protects nothing."),
    )
    .key(KeyKind::Namespace, UPSTREAM_ROOT)
    .remedy(Remedy::new(format!("create them in {SYSTEM_NAMESPACE}, then delete these"), steps));
    for Resource { source, kind, meta, .. } in &found {
        finding =
            finding.evidence(*source, object_name(kind, meta), "namespace", UPSTREAM_ROOT, Some(SYSTEM_NAMESPACE));
    }
    verdict.findings.push(finding);
    Ok(verdict)
}
