//! What a running pod has: which kind of Istio proxy, of which revision and version.

use serde::Deserialize;

use crate::mesh::revision::IstioVersion;
use crate::mesh::webhook::injector_map_name;
use crate::model::config_map::InjectorConfig;
use crate::model::{Container, Pod, PodSpec};
use crate::snapshot::Snapshot;
use crate::sources::SYSTEM_NAMESPACE;

/// Name of the proxy container that the injector adds.
pub const PROXY_CONTAINER: &str = "istio-proxy";
/// The user that proxies run as: what it sends is not redirected to the proxy
/// (<https://istio.io/latest/docs/ops/deployment/application-requirements/#pod-requirements>).
pub const PROXY_USER: i64 = 1337;
/// Ports that a proxy occupies in its pod while it runs, and what for
/// (<https://istio.io/latest/docs/ops/deployment/application-requirements/#ports-used-by-istio>). 15002 of that list is
/// held by an init container for a moment only.
pub const PROXY_PORTS: [(u16, &str); 9] = [
    (15000, "the proxy's administration"),
    (15001, "outbound traffic"),
    (15004, "debugging"),
    (15006, "inbound traffic"),
    (15008, "tunnelled inbound traffic"),
    (15020, "merged metrics and probes"),
    (15021, "the proxy's health"),
    (15053, "DNS"),
    (15090, "the proxy's metrics"),
];

/// Kind of proxy in a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProxyKind {
    /// An init container with `restartPolicy: Always`.
    Native,
    /// An ordinary container beside the application.
    Classic,
    /// A gateway Deployment whose proxy the injector fills in.
    Gateway,
    /// A gateway that istiod made for a Gateway API `Gateway`.
    ManagedGateway,
}

impl ProxyKind {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Classic => "classic",
            Self::Gateway => "gateway",
            Self::ManagedGateway => "managedGateway",
        }
    }
}

/// A proxy found in a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy<'a> {
    /// Kind.
    pub kind: ProxyKind,
    /// Revision that injected it; none when nothing in the pod tells.
    pub revision: Option<String>,
    /// Image.
    pub image: &'a str,
    /// Version in the image's tag.
    pub version: Option<IstioVersion>,
}

/// Whether a pod's template is a gateway that expects the injector to fill in its proxy.
#[must_use]
pub fn is_gateway_template(annotations: &crate::model::meta::StringMap) -> bool {
    annotations.get("inject.istio.io/templates").is_some_and(|value| value.split(',').any(|t| t.trim() == "gateway"))
}

/// Looks for the proxy among containers and init containers. An image still reading `auto` was never filled in, so it
/// is no proxy.
#[must_use]
pub fn of_pod(pod: &Pod) -> Option<Proxy<'_>> {
    let (classic, native) = containers(&pod.spec);
    let container = classic.or(native)?;
    let kind = if pod.metadata.label("gateway.networking.k8s.io/gateway-name").is_some()
        || pod.metadata.label("gateway.istio.io/managed").is_some()
    {
        ProxyKind::ManagedGateway
    } else if is_gateway_template(&pod.metadata.annotations) {
        ProxyKind::Gateway
    } else if classic.is_some() {
        ProxyKind::Classic
    } else {
        ProxyKind::Native
    };
    Some(Proxy {
        kind,
        revision: revision(pod, container),
        image: &container.image,
        version: IstioVersion::of_image(&container.image),
    })
}

/// The proxy as an ordinary container, and as a native sidecar.
fn containers(spec: &PodSpec) -> (Option<&Container>, Option<&Container>) {
    let is_proxy = |c: &&Container| c.name == PROXY_CONTAINER && c.image != "auto";
    let native = spec.init_containers.iter().filter(|c| c.restart_policy == "Always").find(is_proxy);
    (spec.containers.iter().find(is_proxy), native)
}

/// The proxy's container.
#[must_use]
pub fn container(spec: &PodSpec) -> Option<&Container> {
    let (classic, native) = containers(spec);
    classic.or(native)
}

/// Containers of the application itself: they run beside the proxy, as sidecars of other tools do.
pub fn application_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    let sidecars = spec.init_containers.iter().filter(|container| container.restart_policy == "Always");
    spec.containers.iter().chain(sidecars).filter(|container| container.name != PROXY_CONTAINER)
}

/// The image that a revision's injector gives to new sidecars, where its configuration was read and tells.
#[must_use]
pub fn image_of_new_sidecars(snapshot: &Snapshot, revision: &str) -> Option<String> {
    let name = injector_map_name(revision);
    let maps = snapshot.system_config_maps.items().unwrap_or_default();
    let map = maps.iter().find(|map| map.metadata.namespace == SYSTEM_NAMESPACE && map.metadata.name == name)?;
    InjectorConfig::parse(map).ok()?.proxy_image
}

/// The revision that injected a pod: its status annotation, else the annotation `istio.io/rev`, else the istiod it
/// connects to. The *label* `istio.io/rev` is what somebody wrote and may be a tag.
fn revision(pod: &Pod, container: &Container) -> Option<String> {
    #[derive(Deserialize)]
    struct Status {
        revision: Option<String>,
    }
    let from_status = pod
        .metadata
        .annotation("sidecar.istio.io/status")
        .and_then(|text| serde_json::from_str::<Status>(text).ok())
        .and_then(|status| status.revision)
        .filter(|revision| !revision.is_empty());
    from_status
        .or_else(|| pod.metadata.annotation("istio.io/rev").filter(|r| !r.is_empty()).map(str::to_owned))
        .or_else(|| container.env("PROXY_CONFIG").and_then(discovery_address).and_then(|a| revision_of_address(&a)))
        .or_else(|| container.env("CA_ADDR").and_then(revision_of_address))
}

fn discovery_address(proxy_config: &str) -> Option<String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct ProxyConfig {
        discovery_address: Option<String>,
    }
    serde_json::from_str::<ProxyConfig>(proxy_config).ok()?.discovery_address
}

/// `istiod-asm-1-28.aks-istio-system.svc:15012` → `asm-1-28`; an unrevisioned `istiod.…` → `default`.
fn revision_of_address(address: &str) -> Option<String> {
    let service = address.split('.').next()?;
    if service == "istiod" {
        return Some("default".to_owned());
    }
    service.strip_prefix("istiod-").filter(|revision| !revision.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pod(json: serde_json::Value) -> Pod {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_native_sidecar_is_found_among_the_init_containers() {
        let pod = pod(serde_json::json!({
            "metadata": {"annotations": {"sidecar.istio.io/status": "{\"containers\":null,\"revision\":\"asm-1-28\"}"}},
            "spec": {"containers": [{"name": "app"}], "initContainers": [
                {"name": "istio-init", "image": "p:v1.28.9-2"},
                {"name": "istio-proxy", "image": "p:v1.28.9-2", "restartPolicy": "Always"}]}}));
        let proxy = of_pod(&pod).unwrap();
        assert_eq!((proxy.kind, proxy.revision.as_deref()), (ProxyKind::Native, Some("asm-1-28")));
    }

    #[test]
    fn the_annotation_beats_the_label_and_the_address_is_the_last_resort() {
        let with_env = |env: serde_json::Value, annotations: serde_json::Value| {
            pod(serde_json::json!({
                "metadata": {"labels": {"istio.io/rev": "prod"}, "annotations": annotations},
                "spec": {"containers": [{"name": "istio-proxy", "image": "p:1.2.3", "env": env}]}}))
        };
        let annotated = with_env(serde_json::json!([]), serde_json::json!({"istio.io/rev": "asm-1-28"}));
        assert_eq!(of_pod(&annotated).unwrap().revision.as_deref(), Some("asm-1-28"));
        for (name, value, revision) in [
            ("PROXY_CONFIG", r#"{"discoveryAddress":"istiod-asm-1-27.aks-istio-system.svc:15012"}"#, "asm-1-27"),
            ("CA_ADDR", "istiod.istio-system.svc:15012", "default"),
        ] {
            let pod = with_env(serde_json::json!([{"name": name, "value": value}]), serde_json::json!({}));
            assert_eq!(of_pod(&pod).unwrap().revision.as_deref(), Some(revision));
        }
    }

    #[test]
    fn an_unfilled_gateway_and_a_managed_one_are_told_apart() {
        let unfilled = pod(serde_json::json!({
            "metadata": {"annotations": {"inject.istio.io/templates": "gateway"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "auto"}]}}));
        assert_eq!(of_pod(&unfilled), None);
        let managed = pod(serde_json::json!({
            "metadata": {"labels": {"gateway.networking.k8s.io/gateway-name": "g", "sidecar.istio.io/inject": "false"}},
            "spec": {"containers": [{"name": "istio-proxy", "image": "p:1.2.3"}]}}));
        assert_eq!(of_pod(&managed).unwrap().kind, ProxyKind::ManagedGateway);
    }
}
