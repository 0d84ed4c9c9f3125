//! What Microsoft supports, allows and blocks in Istio's own configuration.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;

/// How Microsoft treats a field (<https://learn.microsoft.com/azure/aks/istio-support-policy>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tier {
    /// May be used, and problems with it are supported.
    Supported,
    /// May be used; problems with it are the user's own.
    Allowed,
    /// Refused by the add-on's admission webhook.
    Blocked,
}

impl Tier {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Allowed => "allowed",
            Self::Blocked => "blocked",
        }
    }
}

/// Fields by name, with the page they come from. A field that is not listed is blocked.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct FieldPolicy {
    /// The day the page said so.
    pub as_of: Option<Date>,
    /// The page.
    pub source: String,
    /// Top-level fields; of Telemetry `section.field`.
    pub fields: BTreeMap<String, Tier>,
    /// Fields below `defaultConfig`.
    pub default_config: BTreeMap<String, Tier>,
}

impl FieldPolicy {
    /// The tier of a top-level field.
    #[must_use]
    pub fn tier(&self, field: &str) -> Tier {
        self.fields.get(field).copied().unwrap_or(Tier::Blocked)
    }

    /// The tier of a field below `defaultConfig`.
    #[must_use]
    pub fn default_config_tier(&self, field: &str) -> Tier {
        self.default_config.get(field).copied().unwrap_or(Tier::Blocked)
    }

    /// Puts another file's entries over these.
    pub(super) fn extend(&mut self, over: Self) {
        self.as_of = over.as_of.or(self.as_of);
        if !over.source.is_empty() {
            self.source = over.source;
        }
        self.fields.extend(over.fields);
        self.default_config.extend(over.default_config);
    }
}
