//! What stays of a proxy's configuration: the fields that [`crate::model::envoy`] decodes, and nothing else.
//!
//! A configuration holds everything that users wrote into routes and filters: headers and their values, bodies of direct
//! answers, scripts, keys of services that are called. So the fields that stay are listed, at the place where they stand.

use serde_json::{Map, Value};

/// What stays of a value.
enum Keep {
    /// Text, numbers, and lists of them.
    Plain,
    /// These fields of an object, or of each object of a list.
    Fields(&'static [(&'static str, Keep)]),
}

use Keep::{Fields, Plain};

const ADDRESS: Keep = Fields(&[
    ("socket_address", Fields(&[("address", Plain), ("port_value", Plain)])),
    ("pipe", Fields(&[("path", Plain)])),
    ("envoy_internal_address", Fields(&[("server_listener_name", Plain), ("endpoint_id", Plain)])),
]);
const ADDRESSES: Keep = Fields(&[("address", ADDRESS)]);
const ERROR: Keep = Fields(&[("details", Plain), ("last_update_attempt", Plain)]);
const ISTIO: Keep = Fields(&[(
    "filter_metadata",
    Fields(&[("istio", Fields(&[("config", Plain), ("services", Fields(&[("name", Plain), ("namespace", Plain)]))]))]),
)]);
const LOCALITY: Keep = Fields(&[("region", Plain), ("zone", Plain), ("sub_zone", Plain)]);
/// The name of a secret, never its content.
const REFERENCE: Keep = Fields(&[("name", Plain)]);
const SOCKET: Keep = Fields(&[(
    "typed_config",
    Fields(&[(
        "common_tls_context",
        Fields(&[
            ("tls_certificate_sds_secret_configs", REFERENCE),
            ("validation_context_sds_secret_config", REFERENCE),
            ("combined_validation_context", Fields(&[("validation_context_sds_secret_config", REFERENCE)])),
        ]),
    )]),
)]);
const WEIGHTED: Keep = Fields(&[("clusters", Fields(&[("name", Plain), ("weight", Plain)]))]);
const PATH: Keep = Fields(&[
    ("prefix", Plain),
    ("path_separated_prefix", Plain),
    ("path", Plain),
    ("safe_regex", Fields(&[("regex", Plain)])),
]);
const ROUTES: Keep = Fields(&[
    ("name", Plain),
    (
        "virtual_hosts",
        Fields(&[
            ("name", Plain),
            ("domains", Plain),
            (
                "routes",
                Fields(&[
                    ("name", Plain),
                    ("match", PATH),
                    ("route", Fields(&[("cluster", Plain), ("weighted_clusters", WEIGHTED)])),
                    ("direct_response", Fields(&[("status", Plain)])),
                    ("metadata", ISTIO),
                ]),
            ),
        ]),
    ),
]);
const CLUSTER: Keep = Fields(&[
    (
        "cluster",
        Fields(&[
            ("name", Plain),
            ("type", Plain),
            ("eds_cluster_config", Fields(&[("service_name", Plain)])),
            ("metadata", ISTIO),
            ("transport_socket", SOCKET),
            ("transport_socket_matches", Fields(&[("transport_socket", SOCKET)])),
        ]),
    ),
    ("last_updated", Plain),
    ("error_state", ERROR),
]);
const CHAIN: Keep = Fields(&[
    (
        "filter_chain_match",
        Fields(&[
            ("server_names", Plain),
            ("transport_protocol", Plain),
            ("application_protocols", Plain),
            ("destination_port", Plain),
            ("prefix_ranges", Fields(&[("address_prefix", Plain), ("prefix_len", Plain)])),
        ]),
    ),
    (
        "filters",
        Fields(&[
            ("name", Plain),
            (
                // Of the filters for HTTP and TCP; no other has anything of this.
                "typed_config",
                Fields(&[
                    ("route_config", ROUTES),
                    ("rds", Fields(&[("route_config_name", Plain)])),
                    ("cluster", Plain),
                    ("weighted_clusters", WEIGHTED),
                    ("stat_prefix", Plain),
                ]),
            ),
        ]),
    ),
    ("transport_socket", SOCKET),
]);
const LISTENER: Keep = Fields(&[
    (
        "listener",
        Fields(&[
            ("name", Plain),
            ("address", ADDRESS),
            ("additional_addresses", ADDRESSES),
            ("filter_chains", CHAIN),
            ("default_filter_chain", CHAIN),
        ]),
    ),
    ("last_updated", Plain),
]);
const DYNAMIC_LISTENER: Keep =
    Fields(&[("name", Plain), ("active_state", LISTENER), ("warming_state", LISTENER), ("error_state", ERROR)]);
const ROUTE_CONFIG: Keep = Fields(&[("route_config", ROUTES), ("last_updated", Plain), ("error_state", ERROR)]);
const ENDPOINTS: Keep = Fields(&[
    (
        "endpoint_config",
        Fields(&[
            ("cluster_name", Plain),
            (
                "endpoints",
                Fields(&[
                    ("locality", LOCALITY),
                    (
                        "lb_endpoints",
                        Fields(&[
                            ("endpoint", Fields(&[("address", ADDRESS), ("additional_addresses", ADDRESSES)])),
                            ("health_status", Plain),
                        ]),
                    ),
                ]),
            ),
        ]),
    ),
    ("last_updated", Plain),
    ("error_state", ERROR),
]);
const PUBLIC: Keep = Fields(&[("inline_bytes", Plain)]);
/// Public certificates; a private key has no place here.
const SECRET: Keep = Fields(&[
    ("name", Plain),
    (
        "secret",
        Fields(&[
            ("tls_certificate", Fields(&[("certificate_chain", PUBLIC)])),
            (
                "validation_context",
                Fields(&[
                    ("trusted_ca", PUBLIC),
                    (
                        "custom_validator_config",
                        Fields(&[(
                            "typed_config",
                            Fields(&[("trust_domains", Fields(&[("name", Plain), ("trust_bundle", PUBLIC)]))]),
                        )]),
                    ),
                ]),
            ),
        ]),
    ),
    ("last_updated", Plain),
    ("error_state", ERROR),
]);
const REVISION: Keep = Fields(&[("istio.io/rev", Plain)]);
const BOOTSTRAP: Keep = Fields(&[(
    "node",
    Fields(&[
        ("id", Plain),
        (
            "metadata",
            Fields(&[
                ("ISTIO_VERSION", Plain),
                ("ISTIO_PROXY_SHA", Plain),
                ("CLUSTER_ID", Plain),
                ("MESH_ID", Plain),
                ("SERVICE_ACCOUNT", Plain),
                ("INTERCEPTION_MODE", Plain),
                ("LABELS", REVISION),
                ("ANNOTATIONS", REVISION),
                ("OWNER", Plain),
                ("PROXY_CONFIG", Fields(&[("discoveryAddress", Plain)])),
            ]),
        ),
        (
            "user_agent_build_version",
            Fields(&[
                ("version", Fields(&[("major_number", Plain), ("minor_number", Plain), ("patch", Plain)])),
                (
                    "metadata",
                    Fields(&[
                        ("build.label", Plain),
                        ("revision.status", Plain),
                        ("build.type", Plain),
                        ("ssl.version", Plain),
                    ]),
                ),
            ]),
        ),
    ]),
)]);
const HOSTS: Keep = Fields(&[
    ("name", Plain),
    (
        "host_statuses",
        Fields(&[
            ("address", ADDRESS),
            (
                "health_status",
                Fields(&[
                    ("eds_health_status", Plain),
                    ("failed_active_health_check", Plain),
                    ("failed_outlier_check", Plain),
                    ("failed_active_degraded_check", Plain),
                    ("pending_dynamic_removal", Plain),
                    ("pending_active_hc", Plain),
                    ("excluded_via_immediate_hc_fail", Plain),
                    ("active_hc_timeout", Plain),
                ]),
            ),
            ("locality", LOCALITY),
            ("stats", Fields(&[("name", Plain), ("value", Plain)])),
        ]),
    ),
]);
/// Of an extension its name and the type of its content.
const EXTENSION: Keep = Fields(&[
    ("ecds_filter", Fields(&[("name", Plain), ("typed_config", Fields(&[("@type", Plain)]))])),
    ("error_state", ERROR),
]);

/// Parts of a `config_dump`, and of the answers beside it.
const ANSWER: Keep = Fields(&[
    (
        "configs",
        Fields(&[
            ("bootstrap", BOOTSTRAP),
            ("static_clusters", CLUSTER),
            ("dynamic_active_clusters", CLUSTER),
            ("dynamic_warming_clusters", CLUSTER),
            ("static_listeners", LISTENER),
            ("dynamic_listeners", DYNAMIC_LISTENER),
            ("static_route_configs", ROUTE_CONFIG),
            ("dynamic_route_configs", ROUTE_CONFIG),
            ("static_endpoint_configs", ENDPOINTS),
            ("dynamic_endpoint_configs", ENDPOINTS),
            ("static_secrets", SECRET),
            ("dynamic_active_secrets", SECRET),
            ("dynamic_warming_secrets", SECRET),
            ("ecds_filters", EXTENSION),
        ]),
    ),
    ("cluster_statuses", HOSTS),
    ("unready_targets_dumps", Fields(&[("name", Plain), ("target_names", Plain)])),
]);

const LINE: Keep = Fields(&[
    ("metadata", Fields(&[("namespace", Plain), ("name", Plain)])),
    ("answers", ANSWER),
    (
        "missing",
        Fields(&[
            ("cut", Plain),
            ("partial", Plain),
            ("damaged", Fields(&[("element", Plain), ("message", Plain)])),
            ("damagedMore", Plain),
        ]),
    ),
    (
        // Without the text of what differs, which may be anything.
        "comparison",
        Fields(&[
            ("istiod", Plain),
            ("revision", Plain),
            ("unreadable", Plain),
            (
                "kinds",
                Fields(&[
                    ("kind", Plain),
                    ("same", Plain),
                    (
                        "differences",
                        Fields(&[("name", Plain), ("change", Plain), ("version", Plain), ("since", Plain)]),
                    ),
                ]),
            ),
        ]),
    ),
]);

/// Takes everything out of a line that is not listed above.
pub(super) fn line(object: &mut Map<String, Value>) {
    if let Fields(fields) = LINE {
        only(object, fields);
    }
}

fn only(object: &mut Map<String, Value>, fields: &'static [(&'static str, Keep)]) {
    object.retain(|key, value| {
        let kept = fields.iter().find(|(name, _)| name == key || is_camel_of(key, name));
        if let Some((_, keep)) = kept {
            reduce(value, keep);
        }
        kept.is_some()
    });
}

fn reduce(value: &mut Value, keep: &'static Keep) {
    match (value, keep) {
        (Value::Array(list), keep) => {
            // A list in a list is nowhere in what is decoded.
            list.retain(|element| !element.is_array() && (element.is_object() == matches!(keep, Fields(_))));
            list.iter_mut().for_each(|element| reduce(element, keep));
        }
        (Value::Object(object), Fields(fields)) => only(object, fields),
        (Value::Null, _) => {}
        (Value::Bool(_) | Value::Number(_) | Value::String(_), Plain) => {}
        // Not of the kind that is decoded, so nothing is known about it.
        (other, _) => *other = Value::Null,
    }
}

/// Whether a key is a field's other spelling: `lastUpdated` of `last_updated`.
fn is_camel_of(key: &str, name: &str) -> bool {
    let mut upper = false;
    let mut rest = key.chars();
    for c in name.chars() {
        if c == '_' {
            upper = true;
            continue;
        }
        let wanted = if std::mem::take(&mut upper) { c.to_ascii_uppercase() } else { c };
        if rest.next() != Some(wanted) {
            return false;
        }
    }
    rest.next().is_none()
}
