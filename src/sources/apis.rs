//! Kinds of objects as the API server's paths name them.

use crate::cluster::Api;

pub(super) const PODS: Api = Api::PODS;
pub(super) const POD_PORTS: Api = Api { group: "", version: "v1", resource: "pods/portforward" };
pub(super) const SERVICES: Api = Api { group: "", version: "v1", resource: "services" };
pub(super) const CONFIG_MAPS: Api = Api { group: "", version: "v1", resource: "configmaps" };
pub(super) const EVENTS: Api = Api { group: "", version: "v1", resource: "events" };
pub(super) const NAMESPACES: Api = Api { group: "", version: "v1", resource: "namespaces" };
pub(super) const DEPLOYMENTS: Api = Api { group: "apps", version: "v1", resource: "deployments" };
pub(super) const REPLICA_SETS: Api = Api { group: "apps", version: "v1", resource: "replicasets" };
pub(super) const STATEFUL_SETS: Api = Api { group: "apps", version: "v1", resource: "statefulsets" };
pub(super) const DAEMON_SETS: Api = Api { group: "apps", version: "v1", resource: "daemonsets" };
pub(super) const JOBS: Api = Api { group: "batch", version: "v1", resource: "jobs" };
pub(super) const CRON_JOBS: Api = Api { group: "batch", version: "v1", resource: "cronjobs" };
pub(super) const ENDPOINT_SLICES: Api = Api { group: "discovery.k8s.io", version: "v1", resource: "endpointslices" };
pub(super) const MUTATING_WEBHOOKS: Api =
    Api { group: "admissionregistration.k8s.io", version: "v1", resource: "mutatingwebhookconfigurations" };
pub(super) const NODES: Api = Api::NODES;
pub(super) const SECRETS: Api = Api { group: "", version: "v1", resource: "secrets" };
pub(super) const AUTOSCALERS: Api = Api { group: "autoscaling", version: "v2", resource: "horizontalpodautoscalers" };
pub(super) const DISRUPTION_BUDGETS: Api = Api { group: "policy", version: "v1", resource: "poddisruptionbudgets" };
pub(super) const LEASES: Api = Api { group: "coordination.k8s.io", version: "v1", resource: "leases" };
pub(super) const SECRET_PROVIDER_CLASSES: Api =
    Api { group: "secrets-store.csi.x-k8s.io", version: "v1", resource: "secretproviderclasses" };
pub(super) const VALIDATING_WEBHOOKS: Api =
    Api { group: "admissionregistration.k8s.io", version: "v1", resource: "validatingwebhookconfigurations" };
pub(super) const CRDS: Api =
    Api { group: "apiextensions.k8s.io", version: "v1", resource: "customresourcedefinitions" };

// Of Istio's kinds the version that every Istio from 1.18 to the newest serves: a list of a version that is not served
// looks like a kind that is not there.
pub(super) const ENVOY_FILTERS: Api =
    Api { group: "networking.istio.io", version: "v1alpha3", resource: "envoyfilters" };
pub(super) const TELEMETRIES: Api = Api { group: "telemetry.istio.io", version: "v1alpha1", resource: "telemetries" };
pub(super) const SERVICE_ENTRIES: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "serviceentries" };
pub(super) const PEER_AUTHENTICATIONS: Api =
    Api { group: "security.istio.io", version: "v1beta1", resource: "peerauthentications" };
pub(super) const KUBE_GATEWAYS: Api = Api { group: "gateway.networking.k8s.io", version: "v1", resource: "gateways" };
pub(super) const WASM_PLUGINS: Api = Api { group: "extensions.istio.io", version: "v1alpha1", resource: "wasmplugins" };
pub(super) const PROXY_CONFIGS: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "proxyconfigs" };
pub(super) const WORKLOAD_ENTRIES: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "workloadentries" };
pub(super) const WORKLOAD_GROUPS: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "workloadgroups" };
pub(super) const ISTIO_OPERATORS: Api =
    Api { group: "install.istio.io", version: "v1alpha1", resource: "istiooperators" };
pub(super) const SIDECARS: Api = Api { group: "networking.istio.io", version: "v1beta1", resource: "sidecars" };
pub(super) const VIRTUAL_SERVICES: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "virtualservices" };
pub(super) const DESTINATION_RULES: Api =
    Api { group: "networking.istio.io", version: "v1beta1", resource: "destinationrules" };
pub(super) const ISTIO_GATEWAYS: Api = Api { group: "networking.istio.io", version: "v1beta1", resource: "gateways" };
pub(super) const AUTHORIZATION_POLICIES: Api =
    Api { group: "security.istio.io", version: "v1beta1", resource: "authorizationpolicies" };
pub(super) const REQUEST_AUTHENTICATIONS: Api =
    Api { group: "security.istio.io", version: "v1beta1", resource: "requestauthentications" };
