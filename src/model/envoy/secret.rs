//! Secrets (`extensions/transport_sockets/tls/v3/secret.proto`): names, states and public certificates. Private keys are
//! passed over unread; Envoy prints `[redacted]` for them anyhow.

use jiff::Timestamp;
use serde::{Deserialize, Deserializer};

use super::common::{ErrorState, Stage};
use crate::model::meta::lenient_time;
use crate::model::nullable;

/// A secret and how far it has come.
#[derive(Clone, Debug)]
pub struct Secret {
    /// Name, such as `default` or `ROOTCA`.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// Its certificates: base64 of PEM. Several only for trust bundles.
    pub certificates: Vec<PublicCertificates>,
    /// When it came.
    pub last_updated: Option<Timestamp>,
    /// Why its newest version was refused.
    pub error: Option<ErrorState>,
}

/// Public certificates of a secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PublicCertificates {
    /// The trust domain that they vouch for, where the secret says so.
    pub trust_domain: Option<String>,
    /// Base64 of PEM.
    pub inline_bytes: String,
}

/// An element of a list of secrets.
#[derive(Debug, Deserialize)]
pub(super) struct Entry {
    #[serde(default, deserialize_with = "nullable")]
    name: String,
    #[serde(default, deserialize_with = "nullable")]
    secret: Wire,
    #[serde(default, alias = "lastUpdated", deserialize_with = "lenient_time")]
    last_updated: Option<Timestamp>,
    #[serde(default, alias = "errorState")]
    error_state: Option<ErrorState>,
}

#[derive(Debug, Default, Deserialize)]
struct Wire {
    #[serde(default, alias = "tlsCertificate", deserialize_with = "nullable")]
    tls_certificate: TlsCertificate,
    #[serde(default, alias = "validationContext", deserialize_with = "nullable")]
    validation_context: ValidationContext,
}

/// The private key beside the chain is not among the fields.
#[derive(Debug, Default, Deserialize)]
struct TlsCertificate {
    #[serde(default, alias = "certificateChain", deserialize_with = "nullable")]
    certificate_chain: DataSource,
}

#[derive(Debug, Default, Deserialize)]
struct ValidationContext {
    #[serde(default, alias = "trustedCa", deserialize_with = "nullable")]
    trusted_ca: DataSource,
    #[serde(default, alias = "customValidatorConfig", deserialize_with = "nullable")]
    custom_validator_config: CustomValidator,
}

#[derive(Debug, Default, Deserialize)]
struct CustomValidator {
    #[serde(default, alias = "typedConfig", deserialize_with = "nullable")]
    typed_config: SpiffeValidator,
}

#[derive(Debug, Default, Deserialize)]
struct SpiffeValidator {
    #[serde(default, alias = "trustDomains", deserialize_with = "trust_domains")]
    trust_domains: Vec<PublicCertificates>,
}

#[derive(Debug, Default, Deserialize)]
struct DataSource {
    #[serde(default, alias = "inlineBytes", deserialize_with = "nullable")]
    inline_bytes: String,
}

fn trust_domains<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<PublicCertificates>, D::Error> {
    #[derive(Deserialize)]
    struct TrustDomain {
        #[serde(default, deserialize_with = "nullable")]
        name: String,
        #[serde(default, alias = "trustBundle", deserialize_with = "nullable")]
        trust_bundle: DataSource,
    }
    let list = Option::<Vec<TrustDomain>>::deserialize(deserializer)?.unwrap_or_default();
    let public = |domain: TrustDomain| PublicCertificates {
        trust_domain: Some(domain.name),
        inline_bytes: domain.trust_bundle.inline_bytes,
    };
    Ok(list.into_iter().map(public).collect())
}

impl Entry {
    pub(super) fn into_secret(self, stage: Stage) -> Secret {
        let single = |inline_bytes| vec![PublicCertificates { trust_domain: None, inline_bytes }];
        let chain = self.secret.tls_certificate.certificate_chain.inline_bytes;
        let roots = self.secret.validation_context.trusted_ca.inline_bytes;
        let certificates = match (chain.is_empty(), roots.is_empty()) {
            (false, _) => single(chain),
            (true, false) => single(roots),
            (true, true) => self.secret.validation_context.custom_validator_config.typed_config.trust_domains,
        };
        Secret { name: self.name, stage, certificates, last_updated: self.last_updated, error: self.error_state }
    }
}
