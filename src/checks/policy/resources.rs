//! Istio's custom resources of all kinds as one list.

use std::collections::BTreeMap;

use crate::checks::remedies::names;
use crate::engine::{Lens, Missing, Risk, Step};
use crate::model::Meta;
use crate::snapshot::SourceId;

/// One custom resource.
pub(super) struct Resource<'a> {
    pub source: SourceId,
    pub kind: &'a str,
    /// Plural with its group, as kubectl takes it.
    pub resource: &'a str,
    pub meta: &'a Meta,
}

/// Kinds that take effect for the whole mesh in the root namespace.
pub(super) const EFFECTIVE: &[SourceId] =
    &[SourceId::Telemetries, SourceId::Sidecars, SourceId::PeerAuthentications, SourceId::EnvoyFilters];

/// Kinds that the add-on allows.
pub(super) const ALLOWED: &[SourceId] = &[
    SourceId::EnvoyFilters,
    SourceId::Telemetries,
    SourceId::ServiceEntries,
    SourceId::PeerAuthentications,
    SourceId::Sidecars,
    SourceId::VirtualServices,
    SourceId::DestinationRules,
    SourceId::IstioGateways,
    SourceId::AuthorizationPolicies,
    SourceId::RequestAuthentications,
];

/// All objects of some kinds.
///
/// # Errors
/// When one of the kinds could not be read.
pub(super) fn read<'a>(lens: &Lens<'a>, kinds: &[SourceId]) -> Result<Vec<Resource<'a>>, Missing> {
    lens.need_served(kinds)?;
    let snapshot = lens.snapshot();
    let mut found = Vec::new();
    macro_rules! add {
        ($source:ident, $section:ident, $kind:literal, $resource:literal) => {
            if kinds.contains(&SourceId::$source) {
                found.extend(snapshot.$section.items().unwrap_or_default().iter().map(|object| Resource {
                    source: SourceId::$source,
                    kind: $kind,
                    resource: $resource,
                    meta: &object.metadata,
                }));
            }
        };
    }
    add!(EnvoyFilters, envoy_filters, "EnvoyFilter", "envoyfilters.networking.istio.io");
    add!(Telemetries, telemetries, "Telemetry", "telemetries.telemetry.istio.io");
    add!(ServiceEntries, service_entries, "ServiceEntry", "serviceentries.networking.istio.io");
    add!(PeerAuthentications, peer_authentications, "PeerAuthentication", "peerauthentications.security.istio.io");
    add!(Sidecars, sidecars, "Sidecar", "sidecars.networking.istio.io");
    add!(VirtualServices, virtual_services, "VirtualService", "virtualservices.networking.istio.io");
    add!(DestinationRules, destination_rules, "DestinationRule", "destinationrules.networking.istio.io");
    add!(IstioGateways, istio_gateways, "Gateway", "gateways.networking.istio.io");
    add!(
        AuthorizationPolicies,
        authorization_policies,
        "AuthorizationPolicy",
        "authorizationpolicies.security.istio.io"
    );
    add!(
        RequestAuthentications,
        request_authentications,
        "RequestAuthentication",
        "requestauthentications.security.istio.io"
    );
    found.sort_by_key(|resource| (resource.kind, &resource.meta.namespace, &resource.meta.name));
    Ok(found)
}

/// `Telemetry a, Sidecar b and 3 more`.
pub(super) fn listed(resources: &[Resource<'_>]) -> String {
    let all: Vec<String> = resources.iter().map(|r| format!("{} {}", r.kind, r.meta.name)).collect();
    if all.len() <= 3 {
        return names(all.iter().map(String::as_str));
    }
    format!("{} and {} more", all[..2].join(", "), all.len() - 2)
}

/// Names by plural resource.
pub(super) fn by_resource<'r>(resources: &'r [Resource<'_>]) -> BTreeMap<&'r str, Vec<&'r str>> {
    let mut names: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for resource in resources {
        names.entry(resource.resource).or_default().push(&resource.meta.name);
    }
    names
}

/// Steps that delete resources of one namespace, one for each kind.
pub(super) fn delete(resources: &[Resource<'_>], namespace: &str) -> Vec<Step> {
    by_resource(resources)
        .into_iter()
        .map(|(resource, names)| {
            let mut command = vec!["kubectl", "delete", resource];
            command.extend(&names);
            command.extend(["-n", namespace]);
            Step::command(
                Risk::Change,
                match names.len() {
                    1 => "deletes it, once what it does is not needed or done elsewhere",
                    _ => "deletes them, once what they do is not needed or done elsewhere",
                },
                command,
            )
        })
        .collect()
}
