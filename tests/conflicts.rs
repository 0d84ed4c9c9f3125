//! What a purge would delete, whose it is, and who is beside the add-on, as far as a cluster can be read.
//!
//! Which objects a purge takes is `operator/pkg/uninstall/prune.go` of istio/istio; the real one is run in `tests/lab/purge`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use kubectl_asm::engine::lens::World;
use kubectl_asm::facts::Facts;
use kubectl_asm::mesh::purge::{Belongs, Purge, purge};
use kubectl_asm::mesh::rival::{Kind, Owner, rivals};
use kubectl_asm::model::Meta;
use kubectl_asm::snapshot::{Snapshot, SourceId};
use serde_json::{Value, json};
use support::{base, documents, snapshot};

const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod-asm-1-30, namespace: aks-istio-system, labels: {app: istiod, operator.istio.io/component: Pilot, istio.io/rev: asm-1-30}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod, namespace: istio-system, labels: {app: istiod, operator.istio.io/component: Pilot}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: istiod-without-the-label, namespace: istio-system, labels: {app: istiod}}
---
apiVersion: v1
kind: Secret
metadata: {name: mine, namespace: shop, labels: {operator.istio.io/component: ""}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istiod-clusterrole-istio-system, labels: {operator.istio.io/component: Pilot}}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: istiod-clusterrole-asm-1-30-aks-istio-system, labels: {app: istiod}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: virtualservices.networking.istio.io, labels: {operator.istio.io/component: Base}}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: destinationrules.networking.istio.io}
---
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: trafficextensions.extensions.istio.io, labels: {operator.istio.io/component: Base}}
---
apiVersion: networking.istio.io/v1beta1
kind: VirtualService
metadata: {name: web, namespace: shop}
---
apiVersion: networking.istio.io/v1beta1
kind: DestinationRule
metadata: {name: stays, namespace: shop}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: shop}
spec: {gatewayClassName: istio-waypoint}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: entry, namespace: shop}
spec: {gatewayClassName: istio}
"#;

fn world(refused: &[SourceId]) -> Snapshot {
    snapshot(&documents(OBJECTS, "objects"), None, refused)
}

fn names<'p>(purge: &'p Purge<'_>, kind: &str) -> Vec<(&'p str, Belongs)> {
    let groups = purge.groups.iter().filter(|group| group.kind == kind);
    groups.flat_map(|group| &group.objects).map(|object| (object.meta.name.as_str(), object.belongs)).collect()
}

#[test]
fn a_purge_goes_by_the_label_and_not_by_who_installed() {
    let snapshot = world(&[]);
    let purge = purge(&snapshot);
    assert_eq!(names(&purge, "Deployment"), [("istiod-asm-1-30", Belongs::AddOn), ("istiod", Belongs::Other)]);
    assert_eq!(names(&purge, "Secret"), [("mine", Belongs::Other)], "an empty value is a label too");
    assert_eq!(names(&purge, "ClusterRole"), [("istiod-clusterrole-istio-system", Belongs::Other)]);
    assert_eq!(names(&purge, "Gateway"), [("waypoint", Belongs::Other)], "waypoints go by their class");
    assert_eq!(purge.counts(), (7, 3));
    assert!(purge.unread.is_empty());
}

#[test]
fn resources_go_with_their_definition_and_only_with_it() {
    let snapshot = world(&[]);
    let purge = purge(&snapshot);
    let lost: Vec<_> = purge.lost.iter().map(|l| (l.definition, l.resources.as_ref().map(Vec::len))).collect();
    // A kind that is not read may have resources: that is not the same as having none.
    assert_eq!(
        lost,
        [("trafficextensions.extensions.istio.io", None), ("virtualservices.networking.istio.io", Some(1))]
    );
    assert_eq!(purge.resources(), 1);
    assert!(purge.groups.iter().flat_map(|g| &g.objects).all(|object| object.meta.name != "stays"));
}

#[test]
fn what_could_not_be_read_is_named() {
    let snapshot = world(&[SourceId::ComponentSecrets, SourceId::VirtualServices]);
    let purge = purge(&snapshot);
    assert_eq!(purge.unread, [SourceId::ComponentSecrets, SourceId::VirtualServices]);
    assert!(names(&purge, "Secret").is_empty());
    let lost = purge.lost.iter().find(|lost| lost.definition.starts_with("virtualservices"));
    assert!(lost.unwrap().resources.is_none(), "resources that were not read are not counted as none");
}

#[test]
fn named_namespaces_and_the_add_on_s_own_are_looked_at() {
    let mut objects = documents(OBJECTS, "objects");
    objects.push(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "istiod-asm-1-30", "namespace": "aks-istio-system", "labels": {"operator.istio.io/component": "Pilot"}}}));
    let snapshot = snapshot(&objects, Some(vec!["shop".to_owned()]), &[]);
    let purge = purge(&snapshot);
    assert_eq!(names(&purge, "Deployment"), [("istiod-asm-1-30", Belongs::AddOn)]);
    assert_eq!(names(&purge, "Service"), [("istiod-asm-1-30", Belongs::AddOn)]);
    assert_eq!(names(&purge, "Secret"), [("mine", Belongs::Other)]);
}

#[test]
fn an_owner_is_read_off_the_marks_of_its_tool() {
    let owner = |meta: Value| Owner::of(&serde_json::from_value::<Meta>(meta).unwrap()).map(|owner| owner.words());
    for (meta, words) in [
        (
            json!({"annotations": {"meta.helm.sh/release-name": "istiod", "meta.helm.sh/release-namespace": "mesh"}}),
            "Helm release istiod in mesh",
        ),
        (
            json!({"namespace": "here", "annotations": {"meta.helm.sh/release-name": "istiod"}}),
            "Helm release istiod in here",
        ),
        (json!({"labels": {"install.operator.istio.io/owning-resource": "unknown"}}), "istioctl"),
        (
            json!({"labels": {"argocd.argoproj.io/instance": "mesh"}, "annotations": {"meta.helm.sh/release-name": "x"}}),
            "Argo CD application mesh",
        ),
        (json!({"labels": {"helm.toolkit.fluxcd.io/name": "istio"}}), "Flux HelmRelease istio"),
        (json!({"labels": {"kustomize.toolkit.fluxcd.io/name": "istio"}}), "Flux Kustomization istio"),
        (
            json!({"ownerReferences": [{"apiVersion": "sailoperator.io/v1", "kind": "IstioRevision", "name": "default"}]}),
            "IstioRevision default of the Sail operator",
        ),
    ] {
        assert_eq!(owner(meta.clone()).as_deref(), Some(words), "{meta}");
    }
    assert_eq!(owner(json!({"labels": {"app": "istiod"}})), None);
}

#[test]
fn workloads_depend_on_the_istio_whose_sidecar_they_have_or_get() {
    let mut objects = base("healthy");
    objects.extend(base("self-managed"));
    objects.extend(documents(
        r#"
apiVersion: v1
kind: Namespace
metadata: {name: legacy, labels: {istio.io/rev: canary}}
---
apiVersion: v1
kind: Pod
metadata: {name: old, namespace: legacy, annotations: {sidecar.istio.io/status: '{"revision":"canary"}'}}
spec: {containers: [{name: app, image: app}, {name: istio-proxy, image: "istio/proxyv2:1.27.1"}]}
status: {phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: bare, namespace: legacy}
spec: {containers: [{name: app, image: app}]}
status: {phase: Running}
---
apiVersion: v1
kind: Pod
metadata: {name: outside, namespace: default}
spec: {containers: [{name: app, image: app}]}
status: {phase: Running}
"#,
        "pods",
    ));
    let snapshot = snapshot(&objects, None, &[]);
    let facts = Facts::built_in().unwrap();
    let world = World::new(&snapshot, &facts, "2026-07-15T12:00:00Z".parse().unwrap());
    let found = rivals(&snapshot, &world.rules);
    assert_eq!(found.len(), 1);
    let rival = &found[0];
    assert_eq!((rival.kind, rival.namespace.as_str(), rival.is_alive), (Kind::SelfManaged, "istio-system", true));
    assert_eq!(rival.revisions, ["canary"]);
    let dependents = rival.dependents(&world.workloads);
    let names = |list: &[&kubectl_asm::mesh::workload::Workload<'_>]| -> Vec<String> {
        list.iter().map(|workload| workload.name.clone()).collect()
    };
    assert_eq!(names(&dependents.now), ["old"]);
    assert_eq!(names(&dependents.next), ["bare", "old"]);
    assert!(dependents.refused.is_empty());
}
