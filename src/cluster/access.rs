//! Questions about one's own rights, asked only to explain a refusal.

use serde_json::{Value, json};

use super::{Shared, request};
use crate::snapshot::{Fault, FaultKind, Need};

/// The user as the API server sees it: name and groups. None where the server does not tell, which it does from 1.28 on.
pub(super) async fn who_am_i(shared: &Shared) -> Result<Option<(String, Vec<String>)>, Fault> {
    let body = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}).to_string();
    let path = "/apis/authentication.k8s.io/v1/selfsubjectreviews".to_owned();
    let own = Need {
        verb: "create".to_owned(),
        resource: "selfsubjectreviews.authentication.k8s.io".to_owned(),
        namespace: None,
    };
    let Some(answer) = request::fetch(shared, request::Call::post(path, body, &own)).await? else { return Ok(None) };
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    let text = |value: &Value| value.as_str().map(|text| super::fault::clean(text, 253));
    let groups = answer.pointer("/status/userInfo/groups").and_then(Value::as_array);
    let groups = groups.into_iter().flatten().filter_map(text).collect();
    Ok(answer.pointer("/status/userInfo/username").and_then(text).map(|name| (name, groups)))
}

pub(super) async fn allowed(shared: &Shared, need: &Need, name: Option<&str>) -> Result<bool, Fault> {
    let body = review(need, name).to_string();
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews".to_owned();
    let own = Need {
        verb: "create".to_owned(),
        resource: "selfsubjectaccessreviews.authorization.k8s.io".to_owned(),
        namespace: None,
    };
    let Some(answer) = request::fetch(shared, request::Call::post(path, body, &own)).await? else {
        return Err(Fault::new(FaultKind::Malformed, "the server does not answer questions about one's own rights"));
    };
    let answer: Value = serde_json::from_slice(&answer)
        .map_err(|_| Fault::new(FaultKind::Malformed, "the answer to an access review is not JSON"))?;
    answer
        .pointer("/status/allowed")
        .and_then(Value::as_bool)
        .ok_or_else(|| Fault::new(FaultKind::Malformed, "the answer to an access review has no verdict"))
}

/// `deployments.apps`, `pods/portforward` and `deployments/scale.apps` are what [`Need::resource`] can look like.
fn review(need: &Need, name: Option<&str>) -> Value {
    let (resource, group) = need.resource.split_once('.').unwrap_or((&need.resource, ""));
    let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
    json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": {
            "verb": need.verb,
            "group": group,
            "resource": resource,
            "subresource": subresource,
            "namespace": need.namespace.as_deref().unwrap_or(""),
            "name": name.unwrap_or(""),
        }}
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_resource_is_taken_apart() {
        let attributes = |resource: &str| {
            let need = Need { verb: "get".into(), resource: resource.into(), namespace: None };
            let at = |key: &str| {
                review(&need, None)["spec"]["resourceAttributes"][key].as_str().unwrap_or("missing").to_owned()
            };
            (at("resource"), at("subresource"), at("group"))
        };
        assert_eq!(attributes("pods"), ("pods".into(), String::new(), String::new()));
        assert_eq!(attributes("pods/portforward"), ("pods".into(), "portforward".into(), String::new()));
        assert_eq!(
            attributes("mutatingwebhookconfigurations.admissionregistration.k8s.io"),
            ("mutatingwebhookconfigurations".into(), String::new(), "admissionregistration.k8s.io".into())
        );
        assert_eq!(attributes("deployments/scale.apps"), ("deployments".into(), "scale".into(), "apps".into()));
    }
}
