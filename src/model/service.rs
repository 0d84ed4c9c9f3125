//! Services and EndpointSlices.

use serde::Deserialize;

use super::meta::StringMap;
use super::{Meta, nullable};

/// A Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Service {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: ServiceSpec,
    /// Status.
    #[serde(default, deserialize_with = "nullable")]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceSpec {
    /// `ClusterIP`, `LoadBalancer`, …
    #[serde(default, rename = "type", deserialize_with = "nullable")]
    pub kind: String,
    /// Labels of the pods behind it.
    #[serde(default, deserialize_with = "nullable")]
    pub selector: StringMap,
    /// Ports.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ServicePort {
    /// Name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
    /// Number.
    #[serde(default, deserialize_with = "nullable")]
    pub port: u16,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceStatus {
    /// Addresses that the cloud assigned.
    #[serde(default, deserialize_with = "nullable")]
    pub load_balancer: LoadBalancer,
}

/// Load balancer status.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LoadBalancer {
    /// One entry per address.
    #[serde(default, deserialize_with = "nullable")]
    pub ingress: Vec<LoadBalancerAddress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LoadBalancerAddress {
    /// IP address.
    #[serde(default, deserialize_with = "nullable")]
    pub ip: String,
    /// Host name.
    #[serde(default, deserialize_with = "nullable")]
    pub hostname: String,
}

/// An EndpointSlice.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EndpointSlice {
    /// Object metadata; the label `kubernetes.io/service-name` names the Service.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Endpoints.
    #[serde(default, deserialize_with = "nullable")]
    pub endpoints: Vec<Endpoint>,
}

/// One endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Endpoint {
    /// Conditions.
    #[serde(default, deserialize_with = "nullable")]
    pub conditions: EndpointConditions,
}

/// Conditions of an endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EndpointConditions {
    /// Ready; Kubernetes says that an absent value means ready.
    #[serde(default)]
    pub ready: Option<bool>,
}

impl EndpointSlice {
    /// The Service it belongs to.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.metadata.label("kubernetes.io/service-name")
    }

    /// How many endpoints are ready.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.endpoints.iter().filter(|endpoint| endpoint.conditions.ready.unwrap_or(true)).count()
    }
}
