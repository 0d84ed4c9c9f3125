//! Policies of the network: Kubernetes' own and Cilium's.

use serde::Deserialize;
use serde_json::Value;

use super::{LabelSelector, Meta, nullable};

/// A NetworkPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct NetworkPolicy {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Specification.
    #[serde(default, deserialize_with = "nullable")]
    pub spec: NetworkPolicySpec,
}

/// `spec` of a NetworkPolicy.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NetworkPolicySpec {
    /// The pods it is about; empty means all of its namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub pod_selector: LabelSelector,
    /// `Ingress`, `Egress`.
    #[serde(default, deserialize_with = "nullable")]
    pub policy_types: Vec<String>,
    /// What may come in.
    #[serde(default, deserialize_with = "nullable")]
    pub ingress: Vec<IngressRule>,
    /// What may go out.
    #[serde(default, deserialize_with = "nullable")]
    pub egress: Vec<EgressRule>,
}

impl NetworkPolicySpec {
    /// Whether it limits what comes in. Without types every policy does.
    #[must_use]
    pub fn limits_ingress(&self) -> bool {
        self.policy_types.is_empty() || self.policy_types.iter().any(|kind| kind == "Ingress")
    }

    /// Whether it limits what goes out. Without types a policy does that has rules for it.
    #[must_use]
    pub fn limits_egress(&self) -> bool {
        self.policy_types.iter().any(|kind| kind == "Egress") || self.policy_types.is_empty() && !self.egress.is_empty()
    }
}

/// One rule about what may come in.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct IngressRule {
    /// From whom; empty means from everywhere.
    #[serde(default, deserialize_with = "nullable")]
    pub from: Vec<Peer>,
    /// To which ports; empty means to all.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<PolicyPort>,
}

/// One rule about what may go out.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct EgressRule {
    /// To whom; empty means to everywhere.
    #[serde(default, deserialize_with = "nullable")]
    pub to: Vec<Peer>,
    /// To which ports; empty means to all.
    #[serde(default, deserialize_with = "nullable")]
    pub ports: Vec<PolicyPort>,
}

/// The other end.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Peer {
    /// Pods by label; without namespaces, of the policy's own one.
    #[serde(default)]
    pub pod_selector: Option<LabelSelector>,
    /// Namespaces by label.
    #[serde(default)]
    pub namespace_selector: Option<LabelSelector>,
    /// Addresses; which ones is not looked at.
    #[serde(default)]
    pub ip_block: Option<serde::de::IgnoredAny>,
}

/// A port, or a range of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyPort {
    /// A number or the name of a container's port; absent means all.
    #[serde(default)]
    pub port: Option<Value>,
    /// The end of a range that begins with `port`.
    #[serde(default)]
    pub end_port: Option<u16>,
    /// `TCP` (also when absent), `UDP` or `SCTP`.
    #[serde(default, deserialize_with = "nullable")]
    pub protocol: String,
}

impl PolicyPort {
    /// Whether it takes in a TCP port; none for a name, which depends on the pod.
    #[must_use]
    pub fn takes(&self, port: u16) -> Option<bool> {
        if !matches!(self.protocol.as_str(), "" | "TCP") {
            return Some(false);
        }
        match &self.port {
            None | Some(Value::Null) => Some(true),
            Some(Value::Number(number)) => {
                let first = number.as_u64().and_then(|number| u16::try_from(number).ok())?;
                Some((first..=self.end_port.unwrap_or(first)).contains(&port))
            }
            Some(_) => None,
        }
    }
}

/// A CiliumNetworkPolicy or CiliumClusterwideNetworkPolicy: what of it a service mesh cannot live with.
#[derive(Clone, Debug, Default)]
pub struct CiliumPolicy {
    /// Object metadata.
    pub metadata: Meta,
    /// The labels of the endpoints that its rules are about.
    pub endpoints: Vec<LabelSelector>,
    /// Protocols above TCP that it filters by, such as `http`.
    pub protocols: Vec<String>,
    /// Whether it demands Cilium's own mutual authentication.
    pub authenticates: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawCilium {
    #[serde(deserialize_with = "nullable")]
    metadata: Meta,
    spec: Option<RawRule>,
    #[serde(deserialize_with = "nullable")]
    specs: Vec<RawRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawRule {
    #[serde(deserialize_with = "nullable")]
    endpoint_selector: LabelSelector,
    #[serde(deserialize_with = "nullable")]
    ingress: Vec<RawDirection>,
    #[serde(deserialize_with = "nullable")]
    egress: Vec<RawDirection>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawDirection {
    #[serde(deserialize_with = "nullable")]
    to_ports: Vec<RawPorts>,
    #[serde(deserialize_with = "nullable")]
    authentication: RawAuthentication,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawPorts {
    #[serde(deserialize_with = "nullable")]
    rules: serde_json::Map<String, Value>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct RawAuthentication {
    #[serde(deserialize_with = "nullable")]
    mode: String,
}

impl CiliumPolicy {
    /// Decodes one.
    ///
    /// # Errors
    /// When the bytes are not an object of that shape.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        let RawCilium { metadata, spec, specs } = serde_json::from_slice(bytes)?;
        let mut policy = Self { metadata, ..Self::default() };
        for rule in spec.into_iter().chain(specs) {
            policy.endpoints.push(rule.endpoint_selector);
            for direction in rule.ingress.into_iter().chain(rule.egress) {
                policy.authenticates |= direction.authentication.mode == "required";
                let keys = direction.to_ports.iter().flat_map(|ports| ports.rules.iter());
                // Names are looked up in DNS answers, which does not touch the traffic itself.
                let keys = keys.filter(|(key, value)| *key != "dns" && !value.is_null()).map(|(key, _)| key.clone());
                policy.protocols.extend(keys);
            }
        }
        policy.protocols.sort();
        policy.protocols.dedup();
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_names_or_all() {
        let takes = |json: &str| serde_json::from_str::<PolicyPort>(json).unwrap().takes(15012);
        assert_eq!(takes(r#"{"port":15012}"#), Some(true));
        assert_eq!(takes(r#"{"port":15010,"endPort":15020,"protocol":"TCP"}"#), Some(true));
        assert_eq!(takes(r#"{"port":443}"#), Some(false));
        assert_eq!(takes(r#"{"port":15012,"protocol":"UDP"}"#), Some(false));
        assert_eq!(takes(r#"{"port":"https-dns"}"#), None);
        assert_eq!(takes(r#"{"port":null}"#), Some(true));
        assert_eq!(takes("{}"), Some(true));
    }

    #[test]
    fn a_policy_without_types_limits_what_it_has_rules_for() {
        let spec = |json: &str| serde_json::from_str::<NetworkPolicySpec>(json).unwrap();
        let plain = spec(r#"{"podSelector":{}}"#);
        assert!(plain.limits_ingress() && !plain.limits_egress());
        assert!(spec(r#"{"egress":[{}]}"#).limits_egress());
        let only = spec(r#"{"policyTypes":["Egress"]}"#);
        assert!(only.limits_egress() && !only.limits_ingress());
    }

    #[test]
    fn cilium_filters_by_protocol_or_authenticates_or_neither() {
        let decode = |spec: &str| CiliumPolicy::decode(format!(r#"{{"metadata":{{"name":"a"}},{spec}}}"#).as_bytes());
        let http = decode(r#""spec":{"ingress":[{"toPorts":[{"ports":[],"rules":{"http":[{"method":"GET"}]}}]}]}"#);
        assert_eq!(http.unwrap().protocols, ["http"]);
        let names = decode(r#""specs":[{"egress":[{"toPorts":[{"rules":{"dns":[{"matchPattern":"*"}]}}]}]}]"#).unwrap();
        assert!(names.protocols.is_empty() && !names.authenticates && names.endpoints.len() == 1);
        let mutual = decode(r#""spec":{"egress":[{"authentication":{"mode":"required"}}]}"#).unwrap();
        assert!(mutual.authenticates);
        assert!(decode(r#""spec":null,"specs":null"#).unwrap().endpoints.is_empty());
    }
}
