//! NetworkPolicies as Kubernetes evaluates them, and which pods a policy of Cilium is about.
//!
//! <https://kubernetes.io/docs/concepts/services-networking/network-policies/>: policies only add. A pod that none selects
//! is free; one that some select may do what one of them allows.

use std::collections::BTreeMap;

use crate::model::meta::StringMap;
use crate::model::network_policy::{Peer, PolicyPort};
use crate::model::selector::Requirement;
use crate::model::{CiliumPolicy, LabelSelector, Namespace, NetworkPolicy};

/// istiod's port for proxies.
pub const XDS: u16 = 15012;
/// istiod's port for the API server's webhooks.
pub const WEBHOOK: u16 = 15017;

/// Whether traffic passes.
#[derive(Clone, Debug)]
pub enum Way<'a> {
    /// No policy stands in the way, or it cannot be told.
    Open,
    /// These policies select the pod, and none of them allows it.
    Blocked(Vec<&'a NetworkPolicy>),
}

/// All policies and the labels of namespaces.
pub struct World<'a> {
    policies: BTreeMap<&'a str, Vec<&'a NetworkPolicy>>,
    namespaces: BTreeMap<&'a str, &'a StringMap>,
}

impl<'a> World<'a> {
    /// Indexes them.
    #[must_use]
    pub fn new(policies: &'a [NetworkPolicy], namespaces: &'a [Namespace]) -> Self {
        let mut by_namespace: BTreeMap<&str, Vec<&NetworkPolicy>> = BTreeMap::new();
        for policy in policies {
            by_namespace.entry(&policy.metadata.namespace).or_default().push(policy);
        }
        let namespaces = namespaces.iter().map(|ns| (ns.metadata.name.as_str(), &ns.metadata.labels)).collect();
        Self { policies: by_namespace, namespaces }
    }

    fn selecting(&self, namespace: &str, labels: &StringMap) -> Vec<&'a NetworkPolicy> {
        let all = self.policies.get(namespace).map(Vec::as_slice).unwrap_or_default();
        // What may select a pod counts only when it does for certain.
        all.iter().copied().filter(|policy| policy.spec.pod_selector.matches(labels) == Some(true)).collect()
    }

    /// Whether a pod may reach another one.
    #[must_use]
    pub fn blocking_out(
        &self,
        namespace: &str,
        labels: &StringMap,
        other: &str,
        other_labels: &StringMap,
        port: u16,
    ) -> Way<'a> {
        let mut policies = self.selecting(namespace, labels);
        policies.retain(|policy| policy.spec.limits_egress());
        let allows = |policy: &&NetworkPolicy| {
            policy.spec.egress.iter().any(|rule| {
                takes_port(&rule.ports, port)
                    && (rule.to.is_empty() || rule.to.iter().any(|p| self.is(p, namespace, other, other_labels)))
            })
        };
        way(policies, allows)
    }

    /// Whether a pod may be reached from another one.
    #[must_use]
    pub fn blocking_in(
        &self,
        namespace: &str,
        labels: &StringMap,
        other: &str,
        other_labels: &StringMap,
        port: u16,
    ) -> Way<'a> {
        let mut policies = self.selecting(namespace, labels);
        policies.retain(|policy| policy.spec.limits_ingress());
        let allows = |policy: &&NetworkPolicy| {
            policy.spec.ingress.iter().any(|rule| {
                takes_port(&rule.ports, port)
                    && (rule.from.is_empty() || rule.from.iter().any(|p| self.is(p, namespace, other, other_labels)))
            })
        };
        way(policies, allows)
    }

    /// Whether a pod may be reached from what is no pod, such as the API server.
    #[must_use]
    pub fn blocking_in_from_outside(&self, namespace: &str, labels: &StringMap, port: u16) -> Way<'a> {
        let mut policies = self.selecting(namespace, labels);
        policies.retain(|policy| policy.spec.limits_ingress());
        let allows = |policy: &&NetworkPolicy| {
            policy.spec.ingress.iter().any(|rule| {
                takes_port(&rule.ports, port)
                    && (rule.from.is_empty() || rule.from.iter().any(|peer| peer.ip_block.is_some()))
            })
        };
        way(policies, allows)
    }

    /// Whether a peer takes in a pod. Addresses and what is not known count as taking it in.
    fn is(&self, peer: &Peer, own: &str, namespace: &str, labels: &StringMap) -> bool {
        if peer.ip_block.is_some() {
            return true;
        }
        let in_namespace = match &peer.namespace_selector {
            None => own == namespace,
            Some(selector) => {
                self.namespaces.get(namespace).is_none_or(|labels| selector.matches(labels) != Some(false))
            }
        };
        in_namespace && peer.pod_selector.as_ref().is_none_or(|selector| selector.matches(labels) != Some(false))
    }
}

fn way<'a>(policies: Vec<&'a NetworkPolicy>, allows: impl Fn(&&NetworkPolicy) -> bool) -> Way<'a> {
    if policies.is_empty() || policies.iter().any(allows) { Way::Open } else { Way::Blocked(policies) }
}

/// The name of a port depends on the pod: it may be this one.
fn takes_port(ports: &[PolicyPort], port: u16) -> bool {
    ports.is_empty() || ports.iter().any(|entry| entry.takes(port) != Some(false))
}

/// Whether a policy of Cilium is about pods with these labels. Its selectors may name where a label comes from.
#[must_use]
pub fn covers(policy: &CiliumPolicy, labels: &StringMap) -> bool {
    policy.endpoints.iter().any(|selector| plain(selector).matches(labels) != Some(false))
}

/// A selector of Cilium without the sources of labels. The namespace of a pod is a label for Cilium and not for
/// Kubernetes; such a requirement is left out, so that it takes in more rather than less.
fn plain(selector: &LabelSelector) -> LabelSelector {
    const OF_CILIUM: &str = "io.kubernetes.pod.namespace";
    let bare = |key: &str| key.strip_prefix("k8s:").or_else(|| key.strip_prefix("any:")).unwrap_or(key).to_owned();
    LabelSelector {
        match_labels: selector
            .match_labels
            .iter()
            .map(|(key, value)| (bare(key), value.to_owned()))
            .filter(|(key, _)| key != OF_CILIUM && !key.starts_with("reserved:"))
            .collect(),
        match_expressions: selector
            .match_expressions
            .iter()
            .map(|requirement| Requirement { key: bare(&requirement.key), ..requirement.clone() })
            .filter(|requirement| requirement.key != OF_CILIUM)
            .collect(),
    }
}
