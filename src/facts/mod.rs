//! Dated tables: what Microsoft supports, until when. One YAML file inside the binary, extended by `--facts FILE`.

mod policy;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use policy::{FieldPolicy, Tier};

const BUILT_IN: &str = include_str!("facts.yaml");
/// The only schema this version reads.
const SCHEMA: u32 = 1;

/// The tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Facts {
    schema: u32,
    /// The day the tables were true.
    pub as_of: Date,
    /// Revisions by name.
    #[serde(default)]
    pub revisions: BTreeMap<String, RevisionFacts>,
    /// The newest known patch by revision.
    #[serde(default)]
    pub patches: BTreeMap<String, Patch>,
    /// Weaknesses that a patch fixes, by their published name.
    #[serde(default)]
    pub advisories: BTreeMap<String, Advisory>,
    /// Versions of istioctl that do not do with the add-on what one would expect, by a name of the fault.
    #[serde(default)]
    pub istioctl: BTreeMap<String, ClientFault>,
    /// What may be set in the shared mesh configuration.
    #[serde(default)]
    pub mesh_config: FieldPolicy,
    /// What may be set in Telemetry resources.
    #[serde(default)]
    pub telemetry: FieldPolicy,
    /// SHA-256 over the files the tables come from, first 12 hexadecimal digits.
    #[serde(skip)]
    pub hash: String,
}

/// What is known about a revision.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevisionFacts {
    /// Month of the release on AKS, `YYYY-MM`.
    pub release: String,
    /// End of support.
    pub end_of_life: EndOfLife,
    /// Kubernetes minors it supports.
    pub kubernetes: KubernetesRange,
    /// Kubernetes minors it supports on clusters with long-term support, where these are more.
    #[serde(default)]
    pub long_term_support: Option<KubernetesRange>,
}

/// A patch of a revision.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// Version such as `1.30.2-2`.
    pub version: String,
    /// The day of the AKS release that carries it.
    pub published: Date,
}

/// A published weakness.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Advisory {
    /// The day of the AKS release that fixes it.
    pub published: Date,
    /// The first version without it, by revision.
    pub fixed_in: BTreeMap<String, String>,
}

/// A fault of a client program.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientFault {
    /// The day it was published.
    pub published: Date,
    /// The first version that has it.
    pub from: String,
    /// The first version without it; none while every later one has it.
    #[serde(default)]
    pub below: Option<String>,
    /// What it does, after the program's name and version.
    pub fault: String,
    /// Whether it is only worth knowing.
    #[serde(default)]
    pub minor: bool,
    /// Where it is told.
    pub source: String,
}

/// End of support.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EndOfLife {
    /// The last day.
    pub date: Date,
    /// Whether Microsoft published the day and not only the month.
    pub exact: bool,
}

/// First and last supported Kubernetes minor, such as `1.32`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KubernetesRange {
    /// First.
    pub min: String,
    /// Last.
    pub max: String,
}

/// Whether a revision is supported on a given day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// Before its end.
    Supported,
    /// Past its end.
    Ended,
    /// Past its end, but the date is a month only or the table is old.
    ProbablyEnded,
    /// Not in the table.
    Unknown,
}

impl Support {
    /// The word used in reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Supported => "supported",
            Self::Ended => "ended",
            Self::ProbablyEnded => "probablyEnded",
            Self::Unknown => "unknown",
        }
    }
}

/// A table older than this may have been overtaken by a postponed date.
const STALE_AFTER_DAYS: i32 = 90;

impl Facts {
    /// The tables inside the binary.
    ///
    /// # Errors
    /// Never in a built binary: a test parses them.
    pub fn built_in() -> Result<Self, String> {
        Self::parse(BUILT_IN, "the built-in table")
    }

    /// The built-in tables with another file's entries over them.
    ///
    /// # Errors
    /// When the file is not YAML of this shape, or of another schema.
    pub fn with_overlay(text: &str, name: &str) -> Result<Self, String> {
        let mut facts = Self::built_in()?;
        let overlay = Self::parse(text, name)?;
        facts.as_of = overlay.as_of;
        facts.revisions.extend(overlay.revisions);
        facts.patches.extend(overlay.patches);
        facts.advisories.extend(overlay.advisories);
        facts.istioctl.extend(overlay.istioctl);
        facts.mesh_config.extend(overlay.mesh_config);
        facts.telemetry.extend(overlay.telemetry);
        facts.hash = hash(&[BUILT_IN, text]);
        Ok(facts)
    }

    fn parse(text: &str, name: &str) -> Result<Self, String> {
        let mut facts: Self = crate::model::yaml::from_str(text).map_err(|error| format!("{name}: {error}"))?;
        if facts.schema != SCHEMA {
            return Err(format!("{name}: schema {} is not known, this version reads schema {SCHEMA}", facts.schema));
        }
        facts.hash = hash(&[text]);
        Ok(facts)
    }

    /// Whether a revision is supported at a time.
    #[must_use]
    pub fn support(&self, revision: &str, now: Timestamp) -> Support {
        let Some(facts) = self.revisions.get(revision) else { return Support::Unknown };
        let today = date_of(now);
        if today <= facts.end_of_life.date {
            Support::Supported
        } else if facts.end_of_life.exact && !self.is_stale(now) {
            Support::Ended
        } else if facts.end_of_life.exact && facts.end_of_life.date <= self.as_of {
            // The table was written after that day, so its age does not matter.
            Support::Ended
        } else {
            Support::ProbablyEnded
        }
    }

    /// How many days of support a revision has left, by the date in the table; negative after its end.
    #[must_use]
    pub fn days_left(&self, revision: &str, now: Timestamp) -> Option<i32> {
        Some((self.revisions.get(revision)?.end_of_life.date - date_of(now)).get_days())
    }

    /// Whether a revision's AKS release has begun.
    #[must_use]
    pub fn is_released(&self, revision: &str, now: Timestamp) -> bool {
        // `YYYY-MM` orders as text.
        self.revisions.get(revision).is_some_and(|known| known.release <= now.strftime("%Y-%m").to_string())
    }

    /// How many days ago the tables were true.
    #[must_use]
    pub fn age_days(&self, now: Timestamp) -> i32 {
        (date_of(now) - self.as_of).get_days()
    }

    /// Whether the table is so old that a date in it may have moved.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        self.age_days(now) > STALE_AFTER_DAYS
    }

    /// Whether a revision is newer than everything in the table.
    #[must_use]
    pub fn is_newer_than_table(&self, revision: &str) -> bool {
        self.revisions.keys().all(|known| crate::mesh::revision::compare(known, revision).is_lt())
    }
}

/// The day of a time, in UTC.
#[must_use]
pub fn date_of(now: Timestamp) -> Date {
    now.to_zoned(jiff::tz::TimeZone::UTC).date()
}

fn hash(texts: &[&str]) -> String {
    let mut hasher = Sha256::new();
    texts.iter().for_each(|text| hasher.update(text));
    hasher.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(day: &str) -> Timestamp {
        format!("{day}T12:00:00Z").parse().unwrap()
    }

    #[test]
    fn an_exact_past_date_has_ended_and_an_approximate_one_only_probably() {
        let facts = Facts::built_in().unwrap();
        assert_eq!(facts.support("asm-1-26", at("2026-05-20")), Support::Ended);
        assert_eq!(facts.support("asm-1-28", at("2026-09-02")), Support::ProbablyEnded);
        assert_eq!(facts.support("asm-1-30", at("2026-09-02")), Support::Supported);
        assert_eq!(facts.support("asm-1-99", at("2026-09-02")), Support::Unknown);
    }

    #[test]
    fn days_are_counted_to_the_last_day_of_support() {
        let facts = Facts::built_in().unwrap();
        assert_eq!(facts.days_left("asm-1-27", at("2026-05-29")), Some(0));
        assert_eq!(facts.days_left("asm-1-28", at("2026-07-02")), Some(60));
        assert_eq!(facts.days_left("asm-1-99", at("2026-07-02")), None);
        assert!(!facts.is_released("asm-1-30", at("2026-06-30")) && facts.is_released("asm-1-30", at("2026-07-01")));
    }

    #[test]
    fn every_patch_and_advisory_is_a_version_of_its_revision() {
        use crate::mesh::revision::{AsmRevision, IstioVersion};
        let facts = Facts::built_in().unwrap();
        let fixes = facts.advisories.values().flat_map(|advisory| &advisory.fixed_in);
        for (revision, version) in facts.patches.iter().map(|(name, patch)| (name, &patch.version)).chain(fixes) {
            let (revision, version) = (AsmRevision::parse(revision).unwrap(), IstioVersion::parse(version).unwrap());
            assert_eq!((revision.major, revision.minor), (version.major, version.minor));
        }
    }

    #[test]
    fn an_old_table_is_sure_only_of_what_had_ended_when_it_was_written() {
        let facts = Facts::built_in().unwrap();
        assert_eq!(facts.support("asm-1-24", at("2026-11-23")), Support::Ended);
        assert_eq!(facts.support("asm-1-27", at("2026-11-23")), Support::ProbablyEnded);
    }

    #[test]
    fn an_overlay_replaces_by_key_and_refuses_what_it_does_not_know() {
        let overlay = "schema: 1\nasOf: \"2026-11-20\"\nrevisions:\n  asm-1-28: {release: 2026-01, endOfLife: \
                       {date: \"2027-01-31\", exact: false}, kubernetes: {min: \"1.30\", max: \"1.35\"}}\n";
        let facts = Facts::with_overlay(overlay, "f").unwrap();
        assert_eq!(facts.support("asm-1-28", at("2026-11-23")), Support::Supported);
        assert!(facts.revisions.contains_key("asm-1-30"));
        assert!(facts.patches.contains_key("asm-1-30"), "what the overlay leaves out stays");
        let patch =
            "schema: 1\nasOf: \"2026-11-20\"\npatches:\n  asm-1-30: {version: 1.30.9-1, published: \"2026-11-20\"}\n";
        assert_eq!(Facts::with_overlay(patch, "f").unwrap().patches["asm-1-30"].version, "1.30.9-1");
        let overlay = "schema: 1\nasOf: \"2026-11-20\"\nmeshConfig: {fields: {verifyCertificateAtClient: allowed}}\n";
        let facts = Facts::with_overlay(overlay, "f").unwrap();
        assert_eq!(facts.mesh_config.tier("verifyCertificateAtClient"), Tier::Allowed);
        assert_eq!(facts.mesh_config.tier("accessLogFile"), Tier::Supported);
        assert_eq!(facts.mesh_config.tier("rootNamespace"), Tier::Blocked);
        assert!(Facts::with_overlay("schema: 2\nasOf: \"2026-11-20\"\n", "f").is_err());
        assert!(Facts::with_overlay("schema: 1\nasOf: \"2026-11-20\"\nother: 1\n", "f").is_err());
    }
}
