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
    /// Pod Security admission.
    PodSecurity,
    /// Something else.
    Other,
}

/// Decodes the message of a Deployment's condition `ReplicaFailure` or of an event `FailedCreate`. The texts are those of
/// `k8s.io/apiserver/pkg/admission/plugin/webhook/errors/statuserror.go`, `…/plugin/resourcequota/controller.go` and
/// `k8s.io/pod-security-admission`.
#[must_use]
pub fn denial(message: &str) -> Denial<'_> {
    let after = |marker: &str| message.split_once(marker).map(|(_, rest)| rest);
    let quoted = |rest: &'_ str| rest.split('"').next().filter(|name| !name.is_empty()).map(str::len);
    for (marker, unreachable) in [("failed calling webhook \"", true), ("admission webhook \"", false)] {
        if let Some(rest) = after(marker)
            && let Some(length) = quoted(rest)
        {
            let name = &rest[..length];
            return if unreachable { Denial::Unreachable(name) } else { Denial::Webhook(name) };
        }
    }
    if let Some(rest) = after("exceeded quota: ") {
        return Denial::Quota(rest.split(',').next().unwrap_or_default().trim());
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
            ("pods \"x\" is forbidden: error looking up service account", Denial::Other),
            ("admission webhook \"", Denial::Other),
            ("", Denial::Other),
        ] {
            assert_eq!(denial(message), expected, "{message}");
        }
    }
}
