//! Which certificate authority a revision signs with: Istio's own, or one from a Key Vault.
//!
//! <https://learn.microsoft.com/azure/aks/istio-plugin-ca>

use serde::Deserialize;

use crate::mesh::control_plane::Revision;
use crate::model::{MetaOnly, SecretProviderClass};
use crate::sources::SYSTEM_NAMESPACE;

/// The Secret in which istiod keeps the authority that it made itself (`security/pkg/pki/ca/ca.go` in istio/istio).
pub const SELF_SIGNED_SECRET: &str = "istio-ca-secret";
/// The volume through which a plug-in authority reaches istiod, at `/etc/cacerts`.
const VOLUME: &str = "cacerts";
/// The files that istiod reads there.
pub const FILES: [&str; 4] = ["root-cert.pem", "ca-cert.pem", "ca-key.pem", "cert-chain.pem"];

/// Kind of a certificate authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// istiod made it and renews its root.
    SelfSigned,
    /// From a Key Vault: who owns the vault renews it.
    PlugIn,
    /// Neither can be seen.
    Unknown,
}

impl Kind {
    /// The words used in reports.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::SelfSigned => "self-signed",
            Self::PlugIn => "from Key Vault",
            Self::Unknown => "unknown",
        }
    }
}

/// The certificate authority of a revision.
#[derive(Clone, Copy, Debug)]
pub struct Authority<'a> {
    /// Kind.
    pub kind: Kind,
    /// The SecretProviderClass `istio-spc-REVISION`, where there is one.
    pub class: Option<&'a SecretProviderClass>,
    /// The SecretProviderClass that istiod's pods mount.
    pub mounted: Option<&'a str>,
}

/// The name of a revision's SecretProviderClass.
#[must_use]
pub fn class_name(revision: &str) -> String {
    format!("istio-spc-{revision}")
}

/// The SecretProviderClass that istiod of a revision mounts, by its Deployment, else by one of its pods.
#[must_use]
pub fn mounted<'a>(revision: &Revision<'a>) -> Option<&'a str> {
    let template = revision.deployment.map(|deployment| &deployment.template.spec);
    let pods = revision.istiods.iter().map(|pod| &pod.spec);
    let expected = class_name(&revision.name);
    let specs = template.into_iter().chain(pods);
    let mut volumes = specs.flat_map(|spec| &spec.secret_stores);
    volumes.find(|volume| volume.name == VOLUME || volume.class == expected).map(|volume| volume.class.as_str())
}

/// The certificate authority of a revision, from the add-on's SecretProviderClasses and the names of its Secrets.
#[must_use]
pub fn authority<'a>(
    revision: &Revision<'a>,
    classes: &'a [SecretProviderClass],
    secrets: &[MetaOnly],
) -> Authority<'a> {
    let mounted = mounted(revision);
    let own = |name: &str| secrets.iter().any(|s| s.metadata.namespace == SYSTEM_NAMESPACE && s.metadata.name == name);
    let kind = match mounted {
        Some(_) => Kind::PlugIn,
        None if own(SELF_SIGNED_SECRET) => Kind::SelfSigned,
        None => Kind::Unknown,
    };
    let name = class_name(&revision.name);
    Authority { kind, class: classes.iter().find(|class| class.metadata.name == name), mounted }
}

/// An object of a Key Vault that a SecretProviderClass fetches.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VaultObject {
    /// Its name in the vault.
    pub object_name: String,
    /// The file it becomes, where that is not its name.
    pub object_alias: String,
}

/// The objects that a SecretProviderClass fetches: a YAML text with a list of YAML texts
/// (<https://azure.github.io/secrets-store-csi-driver-provider-azure/docs/getting-started/usage/>). None when it does not
/// parse; an entry that does not parse is left out.
#[must_use]
pub fn vault_objects(class: &SecretProviderClass) -> Option<Vec<VaultObject>> {
    #[derive(Deserialize)]
    struct Objects {
        #[serde(default)]
        array: Option<Vec<serde_yaml::Value>>,
    }
    let text = &class.spec.parameters.objects;
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let objects: Objects = crate::model::yaml::from_str(text).ok()?;
    let parse = |entry: serde_yaml::Value| -> Option<VaultObject> {
        let object: VaultObject = match entry {
            serde_yaml::Value::String(text) => crate::model::yaml::from_str(&text).ok()?,
            other => serde_yaml::from_value(other).ok()?,
        };
        (!object.object_name.is_empty()).then_some(object)
    };
    Some(objects.array.unwrap_or_default().into_iter().filter_map(parse).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::model::Controller;
    use crate::model::controller::ControllerKind;

    fn class(objects: &str) -> SecretProviderClass {
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": "istio-spc-asm-1-30", "namespace": SYSTEM_NAMESPACE},
            "spec": {"provider": "azure", "parameters": {"keyvaultName": "vault", "objects": objects}},
        }))
        .unwrap()
    }

    fn secret(name: &str) -> MetaOnly {
        serde_json::from_value(serde_json::json!({"metadata": {"name": name, "namespace": SYSTEM_NAMESPACE}})).unwrap()
    }

    fn deployment(volumes: serde_json::Value) -> Controller {
        let value = serde_json::json!({
            "metadata": {"name": "istiod-asm-1-30"}, "spec": {"template": {"spec": {"volumes": volumes}}},
        });
        Controller::from_value(ControllerKind::Deployment, value).unwrap()
    }

    #[test]
    fn the_mounted_volume_decides_and_the_secret_comes_next() {
        let volume = serde_json::json!([{"name": "cacerts", "csi": {"driver": "secrets-store.csi.k8s.io",
            "volumeAttributes": {"secretProviderClass": "istio-spc-asm-1-30"}}}]);
        let (plug_in, plain) = (deployment(volume), deployment(serde_json::json!([])));
        let classes = [class("")];
        let secrets = [secret(SELF_SIGNED_SECRET)];
        for (deployment, classes, secrets, kind, has_class) in [
            (&plug_in, &classes[..], &[][..], Kind::PlugIn, true),
            // Left over from the time before.
            (&plug_in, &classes, &secrets, Kind::PlugIn, true),
            (&plug_in, &[], &secrets, Kind::PlugIn, false),
            (&plain, &[], &secrets, Kind::SelfSigned, false),
            // What is not mounted signs nothing.
            (&plain, &classes, &secrets, Kind::SelfSigned, true),
            (&plain, &[], &[], Kind::Unknown, false),
        ] {
            let revision = Revision { name: "asm-1-30".to_owned(), deployment: Some(deployment), istiods: Vec::new() };
            let found = authority(&revision, classes, secrets);
            assert_eq!((found.kind, found.class.is_some()), (kind, has_class));
        }
    }

    /// The shape of the provider's documentation, with aliases as istiod's file names.
    #[test]
    fn objects_of_the_vault_are_read_from_yaml_in_yaml() {
        let text = "array:\n  - |\n    objectName: my-root\n    objectType: secret\n    objectAlias: root-cert.pem\n  - |\n    objectName: ca-key\n    objectType: secret\n";
        let objects = vault_objects(&class(text)).unwrap();
        let names: Vec<_> = objects.iter().map(|o| (o.object_name.as_str(), o.object_alias.as_str())).collect();
        assert_eq!(names, [("my-root", "root-cert.pem"), ("ca-key", "")]);
        assert_eq!(vault_objects(&class("")), Some(Vec::new()));
        assert_eq!(vault_objects(&class("array: [")), None);
        assert_eq!(vault_objects(&class("array: 3")), None);
        assert_eq!(vault_objects(&class("array:\n- 3\n- '{'\n- objectName: a\n")).map(|o| o.len()), Some(1));
    }
}
