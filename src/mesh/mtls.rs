//! Which mutual TLS the mesh asks of callers.

use crate::model::{LabelSelector, PeerAuthentication};
use crate::sources::SYSTEM_NAMESPACE;

/// Whether every port of every pod in a namespace takes mutual TLS only.
///
/// A PeerAuthentication without a selector holds for its namespace, in the root namespace for the mesh, and the nearer
/// one wins; of two in one place the older one (`ComposePeerAuthentication` in
/// `pilot/pkg/security/authn/policy_applier.go` of istio/istio). One with a selector, or with modes by port, may open
/// some pods again: then the answer is no.
#[must_use]
pub fn is_strict(policies: &[PeerAuthentication], namespace: &str) -> bool {
    let of = |namespace: &str| {
        let in_place = policies.iter().filter(|policy| policy.metadata.namespace == namespace);
        let whole = in_place.filter(|policy| policy.spec.selector.as_ref().is_none_or(LabelSelector::is_empty));
        whole.min_by_key(|policy| (policy.metadata.creation_timestamp, &policy.metadata.name))
    };
    let opens = |policy: &&PeerAuthentication| {
        let is_limited = policy.spec.selector.as_ref().is_some_and(|selector| !selector.is_empty());
        policy.metadata.namespace == namespace && (is_limited || !policy.spec.port_level_mtls.is_empty())
    };
    if policies.iter().any(|policy| opens(&policy)) {
        return false;
    }
    let mode = |policy: &PeerAuthentication| match policy.spec.mtls.mode.as_str() {
        "" | "UNSET" => None,
        mode => Some(mode == "STRICT"),
    };
    let nearest = of(namespace).and_then(mode).or_else(|| of(SYSTEM_NAMESPACE).and_then(mode));
    nearest.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn policy(namespace: &str, name: &str, created: u8, spec: serde_json::Value) -> PeerAuthentication {
        let created = format!("2026-07-{created:02}T00:00:00Z");
        serde_json::from_value(json!({
            "metadata": {"namespace": namespace, "name": name, "creationTimestamp": created}, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn the_nearer_policy_wins_and_exceptions_open() {
        let strict = || json!({"mtls": {"mode": "STRICT"}});
        let permissive = || json!({"mtls": {"mode": "PERMISSIVE"}});
        let root = || policy(SYSTEM_NAMESPACE, "default", 1, strict());
        for (policies, expected) in [
            (vec![], false),
            (vec![root()], true),
            (vec![policy("istio-system", "default", 1, strict())], false),
            (vec![root(), policy("shop", "default", 2, permissive())], false),
            (vec![root(), policy("shop", "default", 2, json!({"mtls": {"mode": "UNSET"}}))], true),
            (vec![root(), policy("shop", "default", 2, json!({}))], true),
            (vec![policy("shop", "default", 2, strict())], true),
            (vec![policy("other", "default", 2, strict())], false),
            (vec![policy("shop", "new", 3, permissive()), policy("shop", "old", 2, strict())], true),
            (vec![root(), policy("shop", "web", 2, json!({"selector": {"matchLabels": {"app": "web"}}}))], false),
            (vec![root(), policy("shop", "p", 2, json!({"portLevelMtls": {"9090": {"mode": "DISABLE"}}}))], false),
            (vec![policy(SYSTEM_NAMESPACE, "d", 1, json!({"selector": {}, "mtls": {"mode": "STRICT"}}))], true),
        ] {
            assert_eq!(is_strict(&policies, "shop"), expected, "{policies:?}");
        }
    }
}
