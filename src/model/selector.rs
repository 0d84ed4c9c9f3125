//! Label selectors as Kubernetes evaluates them.
//!
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#resources-that-support-set-based-requirements>

use serde::Deserialize;

use super::meta::StringMap;
use super::nullable;

/// A `metav1.LabelSelector`. The empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// Pairs that must be present.
    #[serde(default, deserialize_with = "nullable")]
    pub match_labels: StringMap,
    /// Set-based requirements, all of which must hold.
    #[serde(default, deserialize_with = "nullable")]
    pub match_expressions: Vec<Requirement>,
}

/// One set-based requirement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct Requirement {
    /// Label key.
    #[serde(default, deserialize_with = "nullable")]
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`; anything else is unknown.
    #[serde(default, deserialize_with = "nullable")]
    pub operator: String,
    /// Values of `In` and `NotIn`.
    #[serde(default, deserialize_with = "nullable")]
    pub values: Vec<String>,
}

impl Requirement {
    /// Whether labels satisfy this requirement; none for an operator that is not known.
    #[must_use]
    pub fn matches(&self, labels: &StringMap) -> Option<bool> {
        let value = labels.get(&self.key);
        let listed = value.is_some_and(|value| self.values.contains(value));
        match self.operator.as_str() {
            "In" => Some(listed),
            // An absent key satisfies NotIn.
            "NotIn" => Some(!listed),
            "Exists" => Some(value.is_some()),
            "DoesNotExist" => Some(value.is_none()),
            _ => None,
        }
    }
}

impl LabelSelector {
    /// Whether the selector demands nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// Whether labels satisfy the selector; none when that depends on an operator that is not known.
    #[must_use]
    pub fn matches(&self, labels: &StringMap) -> Option<bool> {
        if !self.match_labels.iter().all(|(key, value)| labels.get(key) == Some(value)) {
            return Some(false);
        }
        let mut unknown = false;
        for requirement in &self.match_expressions {
            match requirement.matches(labels) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => unknown = true,
            }
        }
        if unknown { None } else { Some(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> StringMap {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    fn requirement(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_labels: StringMap::new(),
            match_expressions: vec![Requirement {
                key: key.into(),
                operator: operator.into(),
                values: values.iter().map(|value| (*value).to_owned()).collect(),
            }],
        }
    }

    #[test]
    fn the_four_operators_follow_kubernetes() {
        let with = labels(&[("a", "1")]);
        let without = labels(&[]);
        for (operator, values, on_with, on_without) in [
            ("In", &["1", "2"][..], true, false),
            ("In", &["2"], false, false),
            ("NotIn", &["1"], false, true),
            ("NotIn", &["2"], true, true),
            ("Exists", &[], true, false),
            ("DoesNotExist", &[], false, true),
        ] {
            let selector = requirement("a", operator, values);
            assert_eq!(selector.matches(&with), Some(on_with), "{operator} {values:?} with");
            assert_eq!(selector.matches(&without), Some(on_without), "{operator} {values:?} without");
        }
    }

    #[test]
    fn the_empty_selector_matches_everything_and_an_unknown_operator_is_unknown() {
        assert_eq!(LabelSelector::default().matches(&labels(&[("x", "y")])), Some(true));
        assert_eq!(requirement("a", "Near", &["1"]).matches(&labels(&[])), None);
    }

    #[test]
    fn a_false_requirement_beats_an_unknown_one() {
        let mut selector = requirement("a", "Near", &["1"]);
        selector.match_labels = labels(&[("b", "2")]);
        assert_eq!(selector.matches(&labels(&[])), Some(false));
    }
}
