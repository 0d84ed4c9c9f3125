//! Which revision may follow which, and which Kubernetes a revision fits.
//!
//! Sources: <https://learn.microsoft.com/azure/aks/istio-upgrade> (which upgrades are offered) and
//! <https://learn.microsoft.com/azure/aks/istio-support-policy> (calendar and compatible Kubernetes versions).

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use crate::facts::{Facts, KubernetesRange, RevisionFacts, Support};
use crate::mesh::revision::AsmRevision;

/// A minor version of Kubernetes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KubernetesMinor {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
}

impl KubernetesMinor {
    /// Parses `v1.34.1`, `1.34`, `v1.29.9+build`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let (major, rest) = text.split_once('.')?;
        let digits = rest.find(|c: char| !c.is_ascii_digit()).map_or(rest, |end| &rest[..end]);
        Some(Self { major: major.parse().ok()?, minor: digits.parse().ok()? })
    }
}

impl std::fmt::Display for KubernetesMinor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// How a revision and a Kubernetes minor go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// They do, or the table cannot be read.
    Fits,
    /// Only on a cluster with long-term support, which no object in it tells.
    LongTermSupportOnly,
    /// Kubernetes is older than the revision supports.
    KubernetesTooOld,
    /// Kubernetes is newer than the revision supports.
    KubernetesTooNew,
}

/// Compares a revision's range with a Kubernetes minor.
#[must_use]
pub fn fit(known: &RevisionFacts, kubernetes: KubernetesMinor) -> Fit {
    let bounds = |range: &KubernetesRange| KubernetesMinor::parse(&range.min).zip(KubernetesMinor::parse(&range.max));
    let Some((min, max)) = bounds(&known.kubernetes) else { return Fit::Fits };
    if (min..=max).contains(&kubernetes) {
        return Fit::Fits;
    }
    if known.long_term_support.as_ref().and_then(bounds).is_some_and(|(min, max)| (min..=max).contains(&kubernetes)) {
        return Fit::LongTermSupportOnly;
    }
    if kubernetes < min { Fit::KubernetesTooOld } else { Fit::KubernetesTooNew }
}

/// Where a revision can be upgraded to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hops<'f> {
    /// One of these, lowest first.
    To(Vec<&'f str>),
    /// The cluster has to be upgraded first: every revision that could follow needs a newer Kubernetes.
    ClusterFirst {
        /// The nearest revision that could follow.
        revision: &'f str,
        /// The Kubernetes minor that it needs at least.
        kubernetes: &'f str,
    },
    /// No newer revision is released.
    Newest,
    /// The table does not tell.
    Unknown,
}

/// Which revisions may follow one, by the published rules: the next or the one after it, where supported and fitting
/// this Kubernetes; when neither the revision nor the next one is supported, only the nearest supported one; never
/// down. When Kubernetes is too old for all of them, the cluster goes first. A date that is only likely to have passed
/// counts as passed. AKS also sends a cluster first whose Kubernetes is out of support; that calendar is not in the
/// table, so `az aks mesh get-upgrades` has the last word.
#[must_use]
pub fn next_hops<'f>(
    facts: &'f Facts,
    revision: &str,
    kubernetes: Option<KubernetesMinor>,
    now: Timestamp,
) -> Hops<'f> {
    let Some(current) = AsmRevision::parse(revision).filter(|_| facts.revisions.contains_key(revision)) else {
        return Hops::Unknown;
    };
    let supported = |name: &str| facts.support(name, now) == Support::Supported;
    let mut newer: Vec<(AsmRevision, &str, &RevisionFacts)> = facts
        .revisions
        .iter()
        .filter_map(|(name, known)| Some((AsmRevision::parse(name)?, name.as_str(), known)))
        .filter(|(parsed, name, _)| *parsed > current && facts.is_released(name, now))
        .collect();
    newer.sort_by_key(|(parsed, ..)| *parsed);
    if newer.is_empty() {
        return Hops::Newest;
    }
    let near = supported(revision) || newer.first().is_some_and(|(_, name, _)| supported(name));
    let reach = if near { 2 } else { newer.len() };
    let most = if near { 2 } else { 1 };
    let candidates: Vec<_> = newer.iter().take(reach).filter(|(_, name, _)| supported(name)).take(most).collect();
    let fits = |known: &RevisionFacts| {
        kubernetes.is_none_or(|kubernetes| matches!(fit(known, kubernetes), Fit::Fits | Fit::LongTermSupportOnly))
    };
    let fitting: Vec<_> = candidates.iter().filter(|(.., known)| fits(known)).map(|(_, name, _)| *name).collect();
    match candidates.first() {
        _ if !fitting.is_empty() => Hops::To(fitting),
        Some((_, name, known))
            if kubernetes.is_some_and(|kubernetes| fit(known, kubernetes) == Fit::KubernetesTooOld) =>
        {
            Hops::ClusterFirst { revision: name, kubernetes: &known.kubernetes.min }
        }
        _ => Hops::Unknown,
    }
}

/// The settings in a shared mesh configuration, where the text can be read as settings; an empty text has none of them.
#[must_use]
pub fn settings(mesh: &str) -> Option<serde_json::Map<String, Value>> {
    match crate::model::yaml::from_str(mesh).ok()? {
        Value::Object(settings) => Some(settings),
        Value::Null => Some(serde_json::Map::new()),
        _ => None,
    }
}

/// Paths of the settings that are not the same in two mesh configurations, in order.
#[must_use]
pub fn differences(old: &serde_json::Map<String, Value>, new: &serde_json::Map<String, Value>) -> Vec<String> {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    keys.into_iter()
        .flat_map(|key| match (old.get(key), new.get(key)) {
            (Some(Value::Object(old)), Some(Value::Object(new))) => {
                differences(old, new).into_iter().map(|path| format!("{key}.{path}")).collect()
            }
            // An explicit null is a setting that is not made.
            (old, new) if old.filter(|v| !v.is_null()) == new.filter(|v| !v.is_null()) => Vec::new(),
            _ => vec![key.clone()],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn hops(revision: &str, kubernetes: &str, day: &str) -> String {
        let facts = Facts::built_in().unwrap();
        let now = format!("{day}T12:00:00Z").parse().unwrap();
        match next_hops(&facts, revision, KubernetesMinor::parse(kubernetes), now) {
            Hops::To(list) => list.join(" "),
            Hops::ClusterFirst { revision, kubernetes } => format!("cluster to {kubernetes} for {revision}"),
            Hops::Newest => "newest".to_owned(),
            Hops::Unknown => "unknown".to_owned(),
        }
    }

    // The rules of https://learn.microsoft.com/azure/aks/istio-upgrade on the calendar of 2026-05-15.
    #[test]
    fn a_supported_revision_goes_one_or_two_up() {
        assert_eq!(hops("asm-1-28", "v1.34.1", "2026-07-15"), "asm-1-29 asm-1-30");
        assert_eq!(hops("asm-1-29", "v1.34.1", "2026-07-15"), "asm-1-30");
        assert_eq!(hops("asm-1-30", "v1.34.1", "2026-07-15"), "newest");
    }

    #[test]
    fn what_is_not_released_or_does_not_fit_is_no_hop() {
        assert_eq!(hops("asm-1-28", "v1.34.1", "2026-06-15"), "asm-1-29");
        assert_eq!(hops("asm-1-28", "v1.31.4", "2026-07-15"), "asm-1-29");
    }

    #[test]
    fn an_ended_revision_whose_next_is_supported_goes_one_or_two_up() {
        assert_eq!(hops("asm-1-27", "v1.34.1", "2026-07-15"), "asm-1-28 asm-1-29");
    }

    #[test]
    fn when_the_next_one_has_ended_too_only_the_nearest_supported_is_left() {
        assert_eq!(hops("asm-1-26", "v1.33.1", "2026-07-15"), "asm-1-28");
        assert_eq!(hops("asm-1-24", "v1.33.1", "2026-07-15"), "asm-1-28");
    }

    #[test]
    fn a_cluster_too_old_for_every_hop_goes_first() {
        assert_eq!(hops("asm-1-26", "v1.29.9", "2026-07-15"), "cluster to 1.30 for asm-1-28");
    }

    #[test]
    fn what_the_table_does_not_know_is_not_guessed() {
        assert_eq!(hops("asm-1-99", "v1.34.1", "2026-07-15"), "unknown");
        assert_eq!(hops("canary", "v1.34.1", "2026-07-15"), "unknown");
        assert_eq!(hops("asm-1-28", "v1.99.0", "2026-07-15"), "unknown");
        assert_eq!(hops("asm-1-28", "", "2026-07-15"), "asm-1-29 asm-1-30");
    }

    // https://learn.microsoft.com/azure/aks/istio-support-policy: asm-1-26 on 1.29 to 1.34, with LTS from 1.28.
    #[test]
    fn ranges_are_closed_and_long_term_support_widens_them() {
        let facts = Facts::built_in().unwrap();
        let fits = |minor: &str| fit(&facts.revisions["asm-1-26"], KubernetesMinor::parse(minor).unwrap());
        assert_eq!((fits("1.29"), fits("1.34.9"), fits("v1.35.0")), (Fit::Fits, Fit::Fits, Fit::KubernetesTooNew));
        assert_eq!((fits("1.28"), fits("1.27")), (Fit::LongTermSupportOnly, Fit::KubernetesTooOld));
    }

    #[test]
    fn minors_are_numbers() {
        assert!(KubernetesMinor::parse("v1.9.1") < KubernetesMinor::parse("1.30"));
        assert_eq!(KubernetesMinor::parse("v1.32.4+abc").map(|v| v.to_string()).as_deref(), Some("1.32"));
        assert_eq!(KubernetesMinor::parse("unknown"), None);
    }

    #[test]
    fn settings_are_compared_by_meaning_and_not_by_text() {
        let differ = |old: &str, new: &str| differences(&settings(old).unwrap(), &settings(new).unwrap());
        assert!(differ("a: {b: 1, c: x}\n", "# same\na:\n  c: \"x\"\n  b: 1\nd: null\n").is_empty());
        assert_eq!(differ("a: {b: 1, c: x}\ne: [1, 2]", "a: {b: 2, c: x}\ne: [2, 1]\nf: 1"), ["a.b", "e", "f"]);
        for nothing in ["", "{}", "null", "# a: 1"] {
            assert!(settings(nothing).is_some_and(|settings| settings.is_empty()), "{nothing}");
        }
        for unreadable in ["text", "a: [", "- a"] {
            assert!(settings(unreadable).is_none(), "{unreadable}");
        }
    }
}
