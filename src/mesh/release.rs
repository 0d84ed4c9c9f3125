//! Helm releases of the add-on, as far as the labels of their Secrets tell
//! (`pkg/storage/driver/secrets.go` in helm/helm: `owner`, `name`, `status`, `version`, `modifiedAt`).

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::mesh::istiod::is_within;
use crate::model::MetaOnly;

/// An upgrade waits for pods to become ready; longer than this it has been given up.
const PENDING_SECONDS: i64 = 15 * 60;

/// The newest version of one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release<'a> {
    /// Name of the Secret.
    pub secret: &'a str,
    /// Name.
    pub name: &'a str,
    /// Version.
    pub version: u64,
    /// `deployed`, `failed`, `pending-upgrade`, …
    pub status: &'a str,
    /// Since when it is so.
    pub since: Option<Timestamp>,
}

impl Release<'_> {
    /// Whether Helm gave up on it, or stopped in the middle.
    #[must_use]
    pub fn is_stuck(&self, now: Timestamp) -> bool {
        match self.status {
            "failed" | "unknown" => true,
            "uninstalling" => !is_within(self.since, now, PENDING_SECONDS),
            status => status.starts_with("pending-") && !is_within(self.since, now, PENDING_SECONDS),
        }
    }
}

/// The add-on's releases, each in its newest version.
#[must_use]
pub fn releases(secrets: &[MetaOnly]) -> Vec<Release<'_>> {
    let mut newest: BTreeMap<&str, Release<'_>> = BTreeMap::new();
    for secret in secrets {
        let meta = &secret.metadata;
        let (Some("helm"), Some(name), Some(status)) = (meta.label("owner"), meta.label("name"), meta.label("status"))
        else {
            continue;
        };
        if !name.starts_with("azure-service-mesh-") && !name.starts_with("asm-") {
            continue;
        }
        let version = meta.label("version").and_then(|version| version.parse().ok()).unwrap_or_default();
        if newest.get(name).is_none_or(|known| known.version < version) {
            let modified = meta.label("modifiedAt").and_then(|seconds| seconds.parse().ok());
            let since = modified.and_then(|seconds| Timestamp::from_second(seconds).ok()).or(meta.creation_timestamp);
            newest.insert(name, Release { secret: &meta.name, name, version, status, since });
        }
    }
    newest.into_values().collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn secret(name: &str, version: &str, status: &str, modified: &str) -> MetaOnly {
        serde_json::from_value(serde_json::json!({"metadata": {
            "name": format!("sh.helm.release.v1.{name}.v{version}"),
            "labels": {"owner": "helm", "name": name, "version": version, "status": status, "modifiedAt": modified}}}))
        .unwrap()
    }

    #[test]
    fn the_newest_version_is_the_highest_number_and_not_the_last_text() {
        let name = "azure-service-mesh-istio-discovery";
        let secrets =
            [secret(name, "10", "deployed", ""), secret(name, "9", "failed", ""), secret("mine", "1", "failed", "")];
        let found = releases(&secrets);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].version, found[0].status), (10, "deployed"));
    }

    #[test]
    fn an_upgrade_is_stuck_after_a_while_and_a_failed_one_at_once() {
        let now: Timestamp = "2026-07-15T12:00:00Z".parse().unwrap();
        for (status, minutes, stuck) in [
            ("pending-upgrade", 5, false),
            ("pending-upgrade", 20, true),
            ("pending-rollback", 20, true),
            ("failed", 0, true),
            ("deployed", 20, false),
            ("superseded", 20, false),
        ] {
            let modified = (now.as_second() - minutes * 60).to_string();
            let secrets = [secret("azure-service-mesh-istio-base", "2", status, &modified)];
            assert_eq!(releases(&secrets)[0].is_stuck(now), stuck, "{status} for {minutes} minutes");
        }
    }
}
