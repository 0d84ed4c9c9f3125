//! Names in a proxy's configuration, and what they stand for.

use crate::model::envoy::Address;

/// A cluster's name taken apart (`ParseSubsetKey` in `pilot/pkg/model/service.go` of istio/istio).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterName<'n> {
    /// Host; the whole name where it has no parts.
    pub host: &'n str,
    /// Subset of a DestinationRule.
    pub subset: &'n str,
    /// Port.
    pub port: Option<u32>,
    /// `inbound` or `outbound`.
    pub direction: &'n str,
}

impl<'n> ClusterName<'n> {
    /// Takes `outbound|80|v1|web.shop.svc.cluster.local` apart; a name without these parts is a host.
    #[must_use]
    pub fn parse(name: &'n str) -> Self {
        let parts: Vec<&str> = name.split('|').collect();
        match parts[..] {
            [direction, port, subset, host] => {
                Self { host, subset, port: Some(port.parse().unwrap_or_default()), direction }
            }
            // More parts than there should be: the host cannot be told.
            [direction, port, subset, _, ..] => {
                Self { host: "", subset, port: Some(port.parse().unwrap_or_default()), direction }
            }
            _ => Self { host: name, ..Self::default() },
        }
    }

    /// Whether the name has the parts that istiod's clusters have.
    #[must_use]
    pub fn is_istio(&self) -> bool {
        self.port.is_some()
    }

    /// `web.shop.svc.cluster.local:80 (subset v1)`.
    #[must_use]
    pub fn words(&self) -> String {
        let port = self.port.map_or_else(String::new, |port| format!(":{port}"));
        let subset = if self.subset.is_empty() { String::new() } else { format!(" (subset {})", self.subset) };
        format!("{}{port}{subset}", self.host)
    }
}

/// The object that a route or cluster comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Origin<'c> {
    /// `VirtualService`, `DestinationRule`, `HTTPRoute`, or the word in the path.
    pub kind: String,
    /// Namespace.
    pub namespace: &'c str,
    /// Name.
    pub name: &'c str,
}

impl<'c> Origin<'c> {
    /// Reads a path such as `/apis/networking.istio.io/v1/namespaces/shop/virtual-service/cart`.
    #[must_use]
    pub fn parse(path: &'c str) -> Option<Self> {
        let parts: Vec<&str> = path.split('/').collect();
        let ["", "apis", _group, _version, "namespaces", namespace, kind, name] = parts[..] else { return None };
        let kind = kind.split('-').map(capitalized).collect();
        Some(Self { kind, namespace, name })
    }

    /// The cell that istioctl prints for it: `cart.shop`.
    #[must_use]
    pub fn cell(path: Option<&str>) -> String {
        let Some(path) = path else { return String::new() };
        if !path.starts_with("/apis/networking.istio.io/") {
            return "<unknown>".to_owned();
        }
        let parts: Vec<&str> = path.split('/').collect();
        match parts[..] {
            [_, _, _, _, _, namespace, _, name] => format!("{name}.{namespace}"),
            _ => String::new(),
        }
    }
}

fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}

/// An address with its port, if it has one.
#[must_use]
pub fn address(address: &Address) -> String {
    match address {
        Address::Socket(ip, port) => format!("{ip}:{port}"),
        Address::Pipe(path) => path.clone(),
        Address::Internal(listener, endpoint) => format!("envoy://{listener}/{endpoint}"),
        Address::Unknown => "unknown".to_owned(),
    }
}
