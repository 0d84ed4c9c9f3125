//! The way out of two Istios in one cluster that keeps what the add-on and its users need: in place of a purge.

use super::remedies::{restart, shared_config_map};
use crate::engine::lens::World;
use crate::engine::{Finding, Risk, Step};
use crate::mesh::purge::existing;
use crate::mesh::rival::{Kind, Rival};
use crate::sources::{INGRESS_NAMESPACE, SYSTEM_NAMESPACE};

/// The file that the resources are kept in.
const RESOURCES_FILE: &str = "istio-resources.yaml";
/// The file that the mesh configuration is kept in.
const SETTINGS_FILE: &str = "istio-settings.yaml";
/// The file that the gateways' certificates are kept in.
const SECRETS_FILE: &str = "istio-gateway-secrets.yaml";
/// Findings about what another Istio has or left.
const CLEANED: [&str; 3] = ["CON01", "CON04", "CON10"];

/// One stage: its name, what it is for, the codes whose commands it repeats, its steps.
pub struct Stage {
    /// Its name in reports.
    pub name: &'static str,
    /// What it is for.
    pub summary: &'static str,
    /// Findings whose commands these are.
    pub codes: Vec<String>,
    /// Steps in order.
    pub steps: Vec<Step>,
}

/// The stages, or nothing where no other Istio is here and none left anything.
#[must_use]
pub fn stages(world: &World<'_>, rivals: &[Rival<'_>], findings: &[Finding]) -> Vec<Stage> {
    let mut codes: Vec<String> = Vec::new();
    let mut cleaning: Vec<Step> = Vec::new();
    for finding in findings.iter().flat_map(Finding::walk).filter(|f| CLEANED.contains(&f.code.as_str())) {
        if !codes.contains(&finding.code) {
            codes.push(finding.code.clone());
        }
        for step in &finding.remedy.steps {
            if !cleaning.contains(step) {
                cleaning.push(step.clone());
            }
        }
    }
    if cleaning.is_empty() || world.revisions.is_empty() && !rivals.iter().any(|rival| rival.kind == Kind::SelfManaged)
    {
        return Vec::new();
    }
    let mut stages = vec![
        stage("backUp", "keep what cannot be made again", back_up(world)),
        Stage { codes, ..stage("cleanUp", "remove the other Istio, and what is left of it", cleaning) },
    ];
    let alive = rivals.iter().filter(|rival| rival.kind == Kind::SelfManaged && rival.is_alive);
    let roles = alive.flat_map(|rival| super::remains::role_steps(world, &rival.namespace)).collect();
    stages.push(stage("cleanUpRoles", "remove its cluster-wide roles, which go with no namespace", roles));
    if !world.revisions.is_empty() {
        stages.push(stage("disable", "only if objects of the add-on were changed or lost: switch it off", disable()));
        stages.push(stage(
            "enable",
            "only after it was switched off: on again, which makes AKS write all its objects anew",
            enable(world),
        ));
        stages.push(stage("restore", "bring back what is missing of what was kept", restore(world)));
        stages.push(stage(
            "recreatePods",
            "recreate the pods of the mesh, so that each has a sidecar and a certificate of the add-on",
            pods(world),
        ));
    }
    stages.retain(|stage| !stage.steps.is_empty());
    stages
}

fn stage(name: &'static str, summary: &'static str, steps: Vec<Step>) -> Stage {
    Stage { name, summary, codes: Vec::new(), steps }
}

/// What the API server wrote into an object would keep it from being applied again.
fn keep(what: &str, file: &str, text: &str) -> Step {
    let command = format!("kubectl get {what} -o yaml | grep -vE '^    (resourceVersion|uid): ' >{file}");
    Step::command(Risk::Read, text, ["sh", "-c", command.as_str()])
}

fn apply(file: &str, text: &str) -> Step {
    Step::command(Risk::Change, text, ["kubectl", "apply", "-f", file])
}

fn resources(world: &World<'_>) -> Vec<&'static str> {
    existing(world.snapshot).into_iter().filter(|(_, metas)| !metas.is_empty()).map(|(name, _)| name).collect()
}

fn settings(world: &World<'_>) -> Vec<String> {
    let maps = world.snapshot.system_config_maps.items().unwrap_or_default();
    let names = world.revisions.iter().map(|revision| shared_config_map(&revision.name));
    names.filter(|name| maps.iter().any(|map| map.metadata.name == *name)).collect()
}

fn has_gateways(world: &World<'_>) -> bool {
    world.snapshot.gateway_deployments.items().is_some_and(|items| !items.is_empty())
}

fn back_up(world: &World<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let kinds = resources(world);
    if !kinds.is_empty() {
        let what = format!("{} -A", kinds.join(","));
        steps.push(keep(&what, RESOURCES_FILE, "writes all of Istio's resources to a file"));
    }
    let maps = settings(world);
    if !maps.is_empty() {
        let what = format!("configmap {} -n {SYSTEM_NAMESPACE}", maps.join(" "));
        steps.push(keep(&what, SETTINGS_FILE, "writes your mesh settings to a file"));
    }
    if has_gateways(world) {
        // Of a Helm release the new installation writes its own.
        let what = format!("secrets -n {INGRESS_NAMESPACE} --field-selector=type!=helm.sh/release.v1");
        let text = "writes the gateways' Secrets to a file, as they go with their namespace; it holds private keys";
        steps.push(keep(&what, SECRETS_FILE, text));
    }
    steps
}

const MESH: [&str; 3] = ["az", "aks", "mesh"];
const CLUSTER: [&str; 4] = ["-g", "<resource-group>", "-n", "<cluster>"];

fn az(text: &str, verb: &str, more: &[&str]) -> Step {
    let words = MESH.into_iter().chain([verb]).chain(CLUSTER).chain(more.iter().copied());
    Step::command(Risk::Change, text, words)
}

fn disable() -> Vec<Step> {
    vec![az(
        "deletes aks-istio-system and aks-istio-ingress; sidecars keep what they have and get nothing new",
        "disable",
        &[],
    )]
}

fn enable(world: &World<'_>) -> Vec<Step> {
    let Some(revision) = world.revisions.first() else { return Vec::new() };
    let mut words = vec!["--revision", revision.name.as_str()];
    let classes = world.snapshot.secret_provider_classes.items().unwrap_or_default();
    if classes.iter().any(|class| class.metadata.name.starts_with("istio-spc-")) {
        // All five, or AKS makes a certificate authority of its own.
        words.extend(["--key-vault-id", "<key-vault-id>", "--ca-cert-object-name", "<ca-cert>"]);
        words.extend(["--ca-key-object-name", "<ca-key>", "--root-cert-object-name", "<root-cert>"]);
        words.extend(["--cert-chain-object-name", "<cert-chain>"]);
    }
    let mut steps = vec![az("installs the same revision", "enable", &words)];
    let services = world.snapshot.gateway_services.items().unwrap_or_default();
    for kind in ["external", "internal"] {
        let name = format!("aks-istio-ingressgateway-{kind}");
        if services.iter().any(|service| service.metadata.name == name) {
            steps.push(az(
                "brings back the gateway; its address changes unless it was set",
                "enable-ingress-gateway",
                &["--ingress-gateway-type", kind],
            ));
        }
    }
    steps
}

fn restore(world: &World<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if has_gateways(world) {
        // A list without objects is an error for `kubectl apply`.
        let command = format!("if grep -q '^- ' {SECRETS_FILE}; then kubectl apply -f {SECRETS_FILE}; fi");
        let text = "brings back the gateways' Secrets, if there were any";
        steps.push(Step::command(Risk::Change, text, ["sh", "-c", command.as_str()]));
    }
    if !settings(world).is_empty() {
        steps.push(apply(SETTINGS_FILE, "brings back your mesh settings"));
    }
    if !resources(world).is_empty() {
        steps.push(apply(RESOURCES_FILE, "brings back Istio's resources; what is still there stays as it is"));
    }
    steps
}

fn pods(world: &World<'_>) -> Vec<Step> {
    let inside = |w: &&crate::mesh::workload::Workload<'_>| {
        !w.is_managed(&world.rules) && (w.injected_pods() > 0 || w.next.injected == Some(true))
    };
    restart(world.workloads.iter().filter(inside))
}
