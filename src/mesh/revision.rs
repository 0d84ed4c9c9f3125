//! Revision names, versions and the support calendar.

use std::cmp::Ordering;

/// The add-on's revision name `asm-MAJOR-MINOR` (<https://learn.microsoft.com/azure/aks/istio-support-policy>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AsmRevision {
    /// Istio major version.
    pub major: u32,
    /// Istio minor version.
    pub minor: u32,
}

impl AsmRevision {
    /// Parses `asm-1-28`; none for any other text.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        let (major, minor) = name.strip_prefix("asm-")?.split_once('-')?;
        let number = |text: &str| if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None };
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

/// Orders revisions by version where both have one, by name otherwise.
#[must_use]
pub fn compare(a: &str, b: &str) -> Ordering {
    match (AsmRevision::parse(a), AsmRevision::parse(b)) {
        (Some(a), Some(b)) => a.cmp(&b),
        _ => a.cmp(b),
    }
}

/// An Istio version taken from an image tag or a server's answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IstioVersion {
    /// Major.
    pub major: u32,
    /// Minor.
    pub minor: u32,
    /// Patch.
    pub patch: u32,
    /// What follows the patch number, such as `-2` or `-distroless`.
    pub suffix: String,
}

impl IstioVersion {
    /// Parses `1.28.9`, `v1.28.9-2`, `1.22.5-distroless`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let mut numbers = text[..end].split('.').map(str::parse::<u32>);
        let (Some(Ok(major)), Some(Ok(minor)), Some(Ok(patch)), None) =
            (numbers.next(), numbers.next(), numbers.next(), numbers.next())
        else {
            return None;
        };
        Some(Self { major, minor, patch, suffix: text[end..].to_owned() })
    }

    /// The version in an image's tag; none for an image without a tag, with only a digest, or with another tag form.
    #[must_use]
    pub fn of_image(image: &str) -> Option<Self> {
        let image = image.split_once('@').map_or(image, |(name, _)| name);
        let (_, tag) = image.rsplit_once(':')?;
        if tag.contains('/') {
            return None;
        }
        Self::parse(tag)
    }

    /// AKS's build of a patch: 2 for `1.28.9-2`, 0 for `1.28.9`; none where the suffix is a word.
    #[must_use]
    pub fn build(&self) -> Option<u32> {
        let Some(rest) = self.suffix.strip_prefix('-') else { return self.suffix.is_empty().then_some(0) };
        rest.split('-').next()?.parse().ok()
    }

    /// Whether this version is surely older than another one: builds of the same patch are compared by number, and a
    /// suffix that is no number leaves it open.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        let patch = |version: &Self| (version.major, version.minor, version.patch);
        match patch(self).cmp(&patch(other)) {
            Ordering::Equal => matches!((self.build(), other.build()), (Some(a), Some(b)) if a < b),
            order => order.is_lt(),
        }
    }

    /// `1.28`.
    #[must_use]
    pub fn minor_text(&self) -> String {
        format!("{}.{}", self.major, self.minor)
    }
}

impl std::fmt::Display for IstioVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        // AKS rebuilds a patch as `-1`, `-2`, …; a word such as `-distroless` says nothing about the version.
        if self
            .suffix
            .strip_prefix('-')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit()))
        {
            f.write_str(&self.suffix)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_add_ons_names_are_revisions() {
        assert_eq!(AsmRevision::parse("asm-1-28"), Some(AsmRevision { major: 1, minor: 28 }));
        for other in ["default", "asm-1", "asm-1-28-2", "asm-1-+8", "1-28", "asm--28", "canary"] {
            assert_eq!(AsmRevision::parse(other), None, "{other}");
        }
        assert_eq!(compare("asm-1-9", "asm-1-28"), Ordering::Less);
    }

    #[test]
    fn builds_are_ordered_by_number_and_words_are_not_ordered() {
        let before =
            |a: &str, b: &str| IstioVersion::parse(a).zip(IstioVersion::parse(b)).map(|(a, b)| a.is_before(&b));
        for (older, newer) in [
            ("1.28.9-2", "1.28.9-10"),
            ("1.28.9", "1.28.9-1"),
            ("1.28.8-9", "1.28.9"),
            ("1.28.9-1-distroless", "1.28.9-2"),
        ] {
            assert_eq!((before(older, newer), before(newer, older)), (Some(true), Some(false)), "{older} {newer}");
        }
        assert_eq!(before("1.28.9-distroless", "1.28.9-2"), Some(false));
    }

    #[test]
    fn versions_come_from_both_image_paths_and_not_from_digests() {
        for (image, version) in [
            ("mcr.microsoft.com/oss/v2/istio/proxyv2:v1.28.9-2", Some("1.28.9-2")),
            ("mcr.microsoft.com/oss/istio/proxyv2:1.22.5-distroless", Some("1.22.5")),
            ("host:5000/proxyv2:v1.27.7-1@sha256:00", Some("1.27.7-1")),
            ("host:5000/proxyv2", None),
            ("proxyv2@sha256:00", None),
            ("auto", None),
            ("proxyv2:latest", None),
        ] {
            assert_eq!(IstioVersion::of_image(image).map(|v| v.to_string()).as_deref(), version, "{image}");
        }
    }

    #[test]
    fn a_build_of_a_patch_is_newer_than_the_patch_and_a_variant_is_not() {
        let before = |a: &str, b: &str| matches!((IstioVersion::parse(a), IstioVersion::parse(b)), (Some(a), Some(b)) if a.is_before(&b));
        assert!(before("1.28.9-9", "v1.28.9-10") && before("1.28.9", "1.28.9-1") && before("1.28.8-9", "1.28.9"));
        assert!(before("1.28.9-1", "1.28.9-2-distroless"));
        assert!(!before("1.28.9-2", "1.28.9-2-distroless") && !before("1.28.9-distroless", "1.28.9-1"));
    }
}
