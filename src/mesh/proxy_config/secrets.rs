//! Secrets: which certificates the proxy has, and until when.

use jiff::{SignedDuration, Timestamp};

use crate::mesh::certificate::{Bundle, Certificate};
use crate::model::envoy::{ProxyAnswers, Secret, Stage};

/// Certificates that live shorter than this are renewed by machines.
const SHORT_LIFE: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long before their end other certificates should have been renewed.
const NOTICE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// How long before its end an authority should have been renewed.
const CA_NOTICE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRow {
    /// Name.
    pub name: String,
    /// How far it has come.
    pub stage: Stage,
    /// Its first certificate.
    pub certificate: Option<Certificate>,
    /// The trust domain that it vouches for.
    pub trust_domain: Option<String>,
}

impl SecretRow {
    /// Whether its certificate is valid at a time.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.certificate.as_ref().is_some_and(|own| own.not_before < now && now < own.not_after)
    }

    /// `CA` or `Cert Chain`; empty without a certificate.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.certificate.as_ref().map_or("", |own| if own.is_ca { "CA" } else { "Cert Chain" })
    }
}

/// Secrets that came by name: those that are waited for, then those in use.
#[must_use]
pub fn rows(answers: &ProxyAnswers) -> Vec<SecretRow> {
    let of = |stage: Stage| answers.secrets.iter().filter(move |secret| secret.stage == stage);
    of(Stage::Warming).chain(of(Stage::Active)).flat_map(of_secret).collect()
}

fn of_secret(secret: &Secret) -> Vec<SecretRow> {
    let row = |certificate: Option<Certificate>, trust_domain: Option<String>| SecretRow {
        name: secret.name.clone(),
        stage: secret.stage,
        trust_domain: trust_domain.or_else(|| certificate.as_ref()?.trust_domain.clone()),
        certificate,
    };
    if secret.certificates.is_empty() {
        return vec![row(None, None)];
    }
    secret
        .certificates
        .iter()
        .map(|public| {
            let first = Bundle::of_base64(&public.inline_bytes).certificates.into_iter().next();
            row(first, public.trust_domain.clone())
        })
        .collect()
}

/// How a certificate stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Well.
    Good,
    /// It ends soon, and should have been renewed.
    Ending,
    /// It is not valid yet.
    Early,
    /// It has ended.
    Ended,
}

/// How a certificate stands at a time. The agent renews a workload's certificate at half of its life
/// (`SECRET_GRACE_PERIOD_RATIO` in `pilot/cmd/pilot-agent/options` of istio/istio), so a quarter left is late.
#[must_use]
pub fn standing(certificate: &Certificate, now: Timestamp) -> Standing {
    let life = certificate.not_after.duration_since(certificate.not_before);
    let left = certificate.not_after.duration_since(now);
    let notice = match (certificate.is_ca, life <= SHORT_LIFE) {
        (_, true) => life / 4,
        (true, false) => CA_NOTICE,
        (false, false) => NOTICE,
    };
    if now > certificate.not_after {
        Standing::Ended
    } else if now < certificate.not_before {
        Standing::Early
    } else if left < notice {
        Standing::Ending
    } else {
        Standing::Good
    }
}
