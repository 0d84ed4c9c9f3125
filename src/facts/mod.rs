//! Dated tables: what Microsoft supports, until when. One YAML file inside the binary, extended by `--facts FILE`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Deserialize;
use sha2::{Digest, Sha256};

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

    /// Whether the table is so old that a date in it may have moved.
    #[must_use]
    pub fn is_stale(&self, now: Timestamp) -> bool {
        (date_of(now) - self.as_of).get_days() > STALE_AFTER_DAYS
    }

    /// Whether a revision is newer than everything in the table.
    #[must_use]
    pub fn is_newer_than_table(&self, revision: &str) -> bool {
        self.revisions.keys().all(|known| crate::mesh::revision::compare(known, revision).is_lt())
    }
}

fn date_of(now: Timestamp) -> Date {
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
        assert!(Facts::with_overlay("schema: 2\nasOf: \"2026-11-20\"\n", "f").is_err());
        assert!(Facts::with_overlay("schema: 1\nasOf: \"2026-11-20\"\nother: 1\n", "f").is_err());
    }
}
