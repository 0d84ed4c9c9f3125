//! Why the API server would not create a pod, from its own words.

/// Who said no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'m> {
    /// An admission webhook looked at it and denied it; the entry's name.
    Webhook(&'m str),
    /// An admission webhook could not be asked; the entry's name.
    Unreachable(&'m str),
    /// A ResourceQuota is used up; its name.
    Quota(&'m str),
    /// An admission webhook that does not say that it has no side effects, so that a dry run may not call it.
    NoDryRun(&'m str),
    /// A ValidatingAdmissionPolicy; its name.
    Policy(&'m str),
    /// A LimitRange.
    Limits,
    /// The pod's ServiceAccount does not exist; its name.
    ServiceAccount(&'m str),
    /// The namespace does not exist, or is being deleted.
    Namespace,
    /// Pod Security admission.
    PodSecurity,
    /// Something else.
    Other,
}

/// Decodes the message of a Deployment's condition `ReplicaFailure` or of an event `FailedCreate`. The texts are those of
/// `k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go`, `…/plugin/resourcequota/controller.go`,
/// `…/plugin/policy/validating/dispatcher.go`, `k8s.io/pod-security-admission`, and `plugin/pkg/admission/limitranger`,
/// `…/serviceaccount` and `…/namespace/lifecycle` in kubernetes/kubernetes.
#[must_use]
pub fn denial(message: &str) -> Denial<'_> {
    let after = |marker: &str| message.split_once(marker).map(|(_, rest)| rest);
    let quoted = |rest: &'_ str| rest.split('"').next().filter(|name| !name.is_empty()).map(str::len);
    if let Some((before, _)) = message.split_once("\" does not support dry run")
        && let Some((_, name)) = before.rsplit_once('"')
    {
        return Denial::NoDryRun(name);
    }
    for (marker, unreachable) in [("failed calling webhook \"", true), ("admission webhook \"", false)] {
        if let Some(rest) = after(marker)
            && let Some(length) = quoted(rest)
        {
            let name = &rest[..length];
            return if unreachable { Denial::Unreachable(name) } else { Denial::Webhook(name) };
        }
    }
    if let Some(rest) = after("exceeded quota: ").or_else(|| after("failed quota: ")) {
        return Denial::Quota(rest.split([',', ':']).next().unwrap_or_default().trim());
    }
    if let Some(name) = after("ValidatingAdmissionPolicy '").and_then(|rest| rest.split('\'').next()) {
        return Denial::Policy(name);
    }
    if let Some(rest) = after("error looking up service account ") {
        let path = rest.split(':').next().unwrap_or_default();
        return Denial::ServiceAccount(path.rsplit('/').next().unwrap_or_default());
    }
    if message.contains("because it is being terminated")
        || message.starts_with("namespaces \"") && message.ends_with("\" not found")
    {
        return Denial::Namespace;
    }
    if [" usage per ", "max limit to request ratio per "].iter().any(|words| message.contains(words)) {
        return Denial::Limits;
    }
    if message.contains("violates PodSecurity") { Denial::PodSecurity } else { Denial::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_servers_words_are_understood() {
        for (message, expected) in [
            (
                r#"admission webhook "validation.gatekeeper.sh" denied the request: [azurepolicy-k8sazurev2noprivilege] no"#,
                Denial::Webhook("validation.gatekeeper.sh"),
            ),
            (
                r#"Internal error occurred: failed calling webhook "mutate.kyverno.svc-fail": failed to call webhook: Post"#,
                Denial::Unreachable("mutate.kyverno.svc-fail"),
            ),
            (
                r#"pods "istiod-asm-1-30-x" is forbidden: exceeded quota: compute, requested: requests.cpu=500m, used: requests.cpu=1, limited: requests.cpu=1"#,
                Denial::Quota("compute"),
            ),
            (
                r#"pods "istiod-x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot != true"#,
                Denial::PodSecurity,
            ),
            (
                r#"pods "x" is forbidden: failed quota: compute: must specify limits.cpu for: istio-proxy"#,
                Denial::Quota("compute"),
            ),
            (
                r#"admission webhook "mutate.example.com" does not support dry run"#,
                Denial::NoDryRun("mutate.example.com"),
            ),
            (
                r#"pods "x" is forbidden: ValidatingAdmissionPolicy 'no-root' with binding 'all' denied request: no"#,
                Denial::Policy("no-root"),
            ),
            (
                r#"pods "x" is forbidden: error looking up service account shop/cart: serviceaccount "cart" not found"#,
                Denial::ServiceAccount("cart"),
            ),
            (
                r#"pods "x" is forbidden: [maximum cpu usage per Container is 500m, but limit is 2, minimum memory usage per Container is 1Gi, but request is 128Mi]"#,
                Denial::Limits,
            ),
            (
                r#"pods "x" is forbidden: unable to create new content in namespace shop because it is being terminated"#,
                Denial::Namespace,
            ),
            (r#"namespaces "shop" not found"#, Denial::Namespace),
            ("pods \"x\" is forbidden: error", Denial::Other),
            ("\" does not support dry run", Denial::Other),
            ("admission webhook \"", Denial::Other),
            ("", Denial::Other),
        ] {
            assert_eq!(denial(message), expected, "{message}");
        }
    }
}
