//! Certificates as they stand in ConfigMaps and webhooks: PEM text, several in one, with anything around them.
//!
//! What cannot be read becomes a value: a bundle is written by people too, and one bad certificate must not hide the
//! others. Nothing is verified here; the names, the dates and the identity are what verdicts need.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, SubjectAltName, SubjectKeyIdentifier};
use x509_cert::time::Time;

#[cfg(test)]
mod tests;

const BEGIN: &str = "-----BEGIN CERTIFICATE-----";
const END: &str = "-----END CERTIFICATE-----";

/// The key of a root certificate's ConfigMap (`pkg/config/constants/constants.go` in istio/istio).
pub const ROOT_KEY: &str = "root-cert.pem";
/// The ConfigMap that istiod writes into every namespace.
pub const ROOT_MAP: &str = "istio-ca-root-cert";

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Whose it is, as in RFC 4514: `CN=Root A,O=Istio`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// From when on it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// SHA-256 of it, in hexadecimal.
    pub fingerprint: String,
    /// Whether it may sign others.
    pub is_ca: bool,
    /// Its serial number in hexadecimal, at least 32 digits.
    pub serial: String,
    /// The trust domain of its SPIFFE identity (<https://spiffe.io/docs/latest/spiffe-specs/spiffe-id/>), where it has one.
    pub trust_domain: Option<String>,
    /// The identifier of its key, in hexadecimal, where it says so. Istio's self-signed root keeps its key when it is
    /// renewed, so that two roots may share one.
    pub key_id: Option<String>,
}

impl Certificate {
    /// Whether both vouch for the same: they are the same, or one is the other renewed with the same key, as istiod
    /// does with a root that it made itself (`GenRootCertFromExistingKey` in istio/istio).
    #[must_use]
    pub fn vouches_like(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
            || (self.key_id.is_some() && self.key_id == other.key_id && self.subject == other.subject)
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        now > self.not_after
    }

    /// The start of its fingerprint, enough to tell certificates apart.
    #[must_use]
    pub fn short(&self) -> &str {
        self.fingerprint.get(..12).unwrap_or(&self.fingerprint)
    }

    /// One line that names it: subject, fingerprint, last day.
    #[must_use]
    pub fn label(&self) -> String {
        format!("{} ({}), until {}", self.subject, self.short(), day(self.not_after))
    }
}

/// The day of a time.
#[must_use]
pub fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// What a PEM text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bundle {
    /// Certificates in their order, each once.
    pub certificates: Vec<Certificate>,
    /// What looks like a certificate and is none, in words.
    pub unreadable: Vec<&'static str>,
}

impl Bundle {
    /// Reads PEM. Text outside the marks is left out, as Go's and OpenSSL's readers do.
    #[must_use]
    pub fn of_pem(text: &str) -> Self {
        let mut bundle = Self::default();
        let mut rest = text;
        while let Some(start) = rest.find(BEGIN) {
            rest = &rest[start + BEGIN.len()..];
            let Some(end) = rest.find(END) else {
                bundle.unreadable.push("a certificate without an end");
                break;
            };
            let mut body = &rest[..end];
            // A certificate cut in the middle, with the next one behind it.
            if let Some(next) = body.rfind(BEGIN) {
                bundle.unreadable.push("a certificate without an end");
                body = &body[next + BEGIN.len()..];
            }
            match certificate(body) {
                Ok(found) if bundle.certificates.iter().any(|known| known.fingerprint == found.fingerprint) => {}
                Ok(found) => bundle.certificates.push(found),
                Err(why) => bundle.unreadable.push(why),
            }
            rest = &rest[end + END.len()..];
        }
        bundle
    }

    /// Reads PEM in base64, as in a webhook's `caBundle`.
    #[must_use]
    pub fn of_base64(text: &str) -> Self {
        match decode(text).and_then(|bytes| String::from_utf8(bytes).ok()) {
            Some(pem) => Self::of_pem(&pem),
            None => Self { certificates: Vec::new(), unreadable: vec!["text that is not base64"] },
        }
    }

    /// Whether something that is signed by a certificate of one is trusted by the other.
    #[must_use]
    pub fn shares(&self, other: &Self) -> bool {
        self.certificates.iter().any(|one| other.certificates.iter().any(|two| one.vouches_like(two)))
    }

    /// What it holds, without order.
    #[must_use]
    pub fn fingerprints(&self) -> BTreeSet<&str> {
        self.certificates.iter().map(|certificate| certificate.fingerprint.as_str()).collect()
    }

    /// When its last certificate ends.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.certificates.iter().map(|certificate| certificate.not_after).max()
    }

    /// The certificate that is valid the longest.
    #[must_use]
    pub fn longest(&self) -> Option<&Certificate> {
        self.certificates.iter().max_by_key(|certificate| certificate.not_after)
    }

    /// One line that tells what is in it.
    #[must_use]
    pub fn label(&self) -> String {
        match &self.certificates[..] {
            [] => self.unreadable.first().map_or_else(|| "no certificate".to_owned(), |why| (*why).to_owned()),
            all => all.iter().map(Certificate::label).collect::<Vec<_>>().join("; "),
        }
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(dense).ok()
}

fn certificate(body: &str) -> Result<Certificate, &'static str> {
    let der = decode(body).ok_or("a certificate that is not base64")?;
    // The profile without checks: a serial number that no standard allows costs nobody's trust.
    let parsed = CertificateInner::<Raw>::from_der(&der).map_err(|_| "a certificate that cannot be decoded")?;
    let tbs = parsed.tbs_certificate();
    let constraints = tbs.get_extension::<BasicConstraints>().ok().flatten();
    let key_id = tbs.get_extension::<SubjectKeyIdentifier>().ok().flatten();
    Ok(Certificate {
        subject: tbs.subject().to_string(),
        issuer: tbs.issuer().to_string(),
        not_before: time(&tbs.validity().not_before),
        not_after: time(&tbs.validity().not_after),
        fingerprint: hex(&Sha256::digest(&der)),
        is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
        serial: format!("{:0>32}", hex(tbs.serial_number().as_bytes()).trim_start_matches('0')),
        trust_domain: tbs.get_extension::<SubjectAltName>().ok().flatten().and_then(|(_, names)| trust_domain(&names)),
        key_id: key_id.map(|(_, id)| hex(id.0.as_bytes())),
    })
}

fn trust_domain(names: &SubjectAltName) -> Option<String> {
    let mut uris = names.0.iter().filter_map(|name| match name {
        GeneralName::UniformResourceIdentifier(uri) => uri.as_str().strip_prefix("spiffe://"),
        _ => None,
    });
    uris.next_back()
        .map(|path| path.split('/').next().unwrap_or_default().to_owned())
        .filter(|domain| !domain.is_empty())
}

/// The last second of the year 9999 stands for "never" (RFC 5280, 4.1.2.5) and is later than a [`Timestamp`] can be.
fn time(time: &Time) -> Timestamp {
    let seconds = i64::try_from(time.to_unix_duration().as_secs()).unwrap_or(i64::MAX);
    Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a text cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
