//! Pods that the API server is asked to create: the only place that sends anything but reads and reviews.
//!
//! Two types say what can be sent. A [`DraftPod`] can only be tried, which is a dry run: it passes all admission and is not
//! stored. A [`TestPod`] is a plain pod that this file writes itself, under a name of its own; only it can be created, and
//! only it can be deleted.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Api, Cluster, request};
use crate::model::trial::Refusal;
use crate::snapshot::{Fault, FaultKind, Need};

/// How long a test pod may live, whatever becomes of the tool that made it.
const LONGEST_LIFE: u32 = 900;

/// The image of a plain pod, unless another is named: the one that AKS's own nodes run in every pod's sandbox, so that it
/// is there already, or can be pulled where anything can.
pub const IMAGE: &str = "mcr.microsoft.com/oss/v2/kubernetes/pause:3.6";

/// Name of the only container of a plain pod.
pub const CONTAINER: &str = "probe";

/// A pod that asks for nothing: it satisfies the Pod Security Standard `restricted` and has requests and limits, so that
/// what is refused is what the mesh adds to it.
#[must_use]
pub fn plain(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"app.kubernetes.io/name": "kubectl-asm-probe", "app.kubernetes.io/managed-by": "kubectl-asm"}},
        "spec": {
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": 65532,
                "runAsGroup": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": CONTAINER,
                "image": image,
                "resources": {
                    "requests": {"cpu": "10m", "memory": "16Mi"},
                    "limits": {"cpu": "100m", "memory": "64Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
            }],
        },
    })
}

/// A pod to try.
#[derive(Clone, Debug, PartialEq)]
pub struct DraftPod {
    namespace: String,
    body: Value,
}

impl DraftPod {
    /// A pod of this shape in this namespace, under a name that nothing else has.
    #[must_use]
    pub fn new(namespace: &str, mut pod: Value) -> Self {
        name(&mut pod, namespace);
        Self { namespace: namespace.to_owned(), body: pod }
    }

    /// What is sent.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// A plain pod that is really created.
#[derive(Clone, Debug, PartialEq)]
pub struct TestPod {
    namespace: String,
    name: String,
    body: Value,
}

impl TestPod {
    /// A plain pod with this image.
    #[must_use]
    pub fn new(namespace: &str, image: &str) -> Self {
        let mut body = plain(image);
        body["spec"]["activeDeadlineSeconds"] = LONGEST_LIFE.into();
        let name = name(&mut body, namespace);
        Self { namespace: namespace.to_owned(), name, body }
    }

    /// Its namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What is sent.
    #[must_use]
    pub fn body(&self) -> &Value {
        &self.body
    }
}

/// Gives a pod a name and its namespace.
fn name(pod: &mut Value, namespace: &str) -> String {
    // Keys of hash maps are random, which is all that is needed of a name.
    let name = format!("kubectl-asm-probe-{:010x}", RandomState::new().build_hasher().finish() >> 24);
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("name".to_owned(), name.clone().into());
        metadata.insert("namespace".to_owned(), namespace.into());
    }
    name
}

/// What the API server says about a pod.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It is made; what it became.
    Made(Value),
    /// It is refused.
    Refused(Refusal),
}

impl Cluster {
    /// Asks what would become of a pod. Nothing is stored: the query says `dryRun=All`.
    ///
    /// # Errors
    /// No answer came, or the user may not create pods there.
    pub async fn try_pod(&self, pod: &DraftPod) -> Result<Answer, Fault> {
        self.post_pod(&pod.namespace, &pod.body, "?dryRun=All&fieldManager=kubectl-asm").await
    }

    /// Creates a test pod. After an error it may exist all the same, so that it is to be deleted in any case.
    ///
    /// # Errors
    /// No answer came, or the user may not create pods there.
    pub async fn create_pod(&self, pod: &TestPod) -> Result<Answer, Fault> {
        self.post_pod(&pod.namespace, &pod.body, "?fieldManager=kubectl-asm").await
    }

    /// Deletes a test pod; one that is not there is deleted.
    ///
    /// # Errors
    /// The API server did not take it, or did not answer.
    pub async fn delete_pod(&self, pod: &TestPod) -> Result<(), Fault> {
        let need = need("delete", &pod.namespace);
        let path = request::object_path(&Api::PODS, Some(&pod.namespace), &pod.name);
        let call = request::Call::delete(path, &need);
        let (status, body) = request::answer(&self.shared, call).await?;
        match status {
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NOT_FOUND => Ok(()),
            _ => Err(super::fault::from_status(status, &body, Some(&need), &self.shared.info)),
        }
    }

    /// The test pod as it is now; none when it is gone.
    ///
    /// # Errors
    /// Any failure but "not found".
    pub async fn test_pod(&self, pod: &TestPod) -> Result<Option<Value>, Fault> {
        let need = need("get", &pod.namespace);
        let path = request::object_path(&Api::PODS, Some(&pod.namespace), &pod.name);
        let body = request::fetch(&self.shared, request::Call::get(path, request::ACCEPT_JSON, Some(&need))).await?;
        body.map(|body| serde_json::from_slice(&body).map_err(|_| malformed())).transpose()
    }

    async fn post_pod(&self, namespace: &str, body: &Value, query: &str) -> Result<Answer, Fault> {
        let need = need("create", namespace);
        let path = format!("{}{query}", request::collection_path(&Api::PODS, Some(namespace)));
        let mut is_again = false;
        loop {
            let call = request::Call::post(path.clone(), body.to_string(), &need);
            let (status, answer) = request::answer(&self.shared, call).await?;
            if status == StatusCode::CREATED || status == StatusCode::OK {
                return serde_json::from_slice(&answer).map(Answer::Made).map_err(|_| malformed());
            }
            match refusal(status, &answer) {
                Refused::ThePod(refusal) => return Ok(Answer::Refused(refusal)),
                Refused::JustNow if !is_again => is_again = true,
                Refused::JustNow | Refused::Nothing => {
                    return Err(super::fault::from_status(status, &answer, Some(&need), &self.shared.info));
                }
            }
        }
    }
}

/// A right that pods are asked for with.
#[must_use]
pub fn need(verb: &str, namespace: &str) -> Need {
    Need { verb: verb.to_owned(), resource: "pods".to_owned(), namespace: Some(namespace.to_owned()) }
}

fn malformed() -> Fault {
    Fault::new(FaultKind::Malformed, "the API server's answer is not the pod that was sent")
}

/// What an answer that is no pod is about.
#[derive(Debug, PartialEq)]
enum Refused {
    /// The pod itself: it was not made.
    ThePod(Refusal),
    /// Another request came first; the same one may work now. Quotas are counted that way
    /// (`staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota/controller.go` in kubernetes/kubernetes).
    JustNow,
    /// Whether the user may ask, whether the server is well and whether anything in between answers: nothing about the
    /// pod, which may even have been made.
    Nothing,
}

fn refusal(status: StatusCode, body: &[u8]) -> Refused {
    #[derive(Deserialize)]
    struct Status {
        kind: String,
        message: String,
    }
    if matches!(
        status,
        StatusCode::UNAUTHORIZED
            | StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    ) {
        return Refused::Nothing;
    }
    let said: Option<Status> = serde_json::from_slice(body).ok();
    let Some(said) = said.filter(|said| said.kind == "Status") else { return Refused::Nothing };
    // RBAC, and Azure in its place, answer before admission; their words are those of `k8s.io/apiserver`
    // (`pkg/endpoints/handlers/responsewriters/errors.go`).
    if status == StatusCode::FORBIDDEN && said.message.contains("cannot create resource \"pods\"") {
        return Refused::Nothing;
    }
    // A server that has trouble of its own, such as with its store, may have done what it was asked.
    const OF_ADMISSION: [&str; 3] = ["failed calling webhook", "failed to call webhook", "denied the request"];
    if status.is_server_error() && !OF_ADMISSION.iter().any(|words| said.message.contains(words)) {
        return Refused::Nothing;
    }
    if status == StatusCode::CONFLICT && said.message.contains("the object has been modified") {
        return Refused::JustNow;
    }
    Refused::ThePod(Refusal { code: status.as_u16(), message: super::fault::clean(&said.message, 2000) })
}

/// What is put into a snapshot about a pod that was sent.
#[must_use]
pub fn record(namespace: &str, stands_for: &str, name: &str, sent: &Value, answer: &Answer) -> Value {
    let mut record = json!({
        "metadata": {"namespace": namespace, "name": name},
        "standsFor": stands_for,
        "sent": sent,
    });
    match answer {
        Answer::Made(pod) => record["made"] = pod.clone(),
        Answer::Refused(refusal) => record["refused"] = json!({"code": refusal.code, "message": refusal.message}),
    }
    record
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_dns_labels_and_no_two_are_alike() {
        let (a, b) = (TestPod::new("shop", "x"), TestPod::new("shop", "x"));
        assert_ne!(a.name, b.name);
        assert!(
            a.name.len() <= 63 && a.name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
        );
        assert_eq!(
            (a.body["metadata"]["name"].as_str(), a.body["metadata"]["namespace"].as_str()),
            (Some(a.name()), Some("shop"))
        );
        let draft = DraftPod::new("shop", json!({"metadata": {"labels": {"a": "b"}}}));
        assert!(draft.body["metadata"]["name"].as_str().unwrap().starts_with("kubectl-asm-probe-"));
        assert_eq!(draft.body["metadata"]["labels"]["a"], "b");
    }

    #[test]
    fn a_refusal_is_about_the_pod_and_not_about_who_asks() {
        let said = |code: u16, message: &str| {
            let body = json!({"kind": "Status", "message": message, "code": code}).to_string();
            match refusal(StatusCode::from_u16(code).unwrap(), body.as_bytes()) {
                Refused::ThePod(refusal) => Some(refusal.code),
                Refused::JustNow | Refused::Nothing => None,
            }
        };
        assert_eq!(said(403, "pods \"x\" is forbidden: exceeded quota: q"), Some(403));
        assert_eq!(said(500, "Internal error occurred: failed calling webhook \"a\""), Some(500));
        assert_eq!(said(400, "admission webhook \"a\" does not support dry run"), Some(400));
        assert_eq!(said(404, "namespaces \"x\" not found"), Some(404));
        let rbac =
            "pods is forbidden: User \"u\" cannot create resource \"pods\" in API group \"\" in the namespace \"shop\"";
        assert_eq!(said(403, rbac), None);
        assert_eq!(said(503, "apiserver not ready"), None);
        assert_eq!(said(500, "etcdserver: request timed out"), None);
        let quota = r#"{"kind": "Status", "message": "Operation cannot be fulfilled on resourcequotas \"q\": the object has been modified; please apply your changes to the latest version and try again"}"#;
        assert_eq!(refusal(StatusCode::CONFLICT, quota.as_bytes()), Refused::JustNow);
        assert_eq!(said(409, "pods \"x\" already exists"), Some(409));
        assert_eq!(refusal(StatusCode::FORBIDDEN, b"<html>"), Refused::Nothing);
    }
}
