//! Kubernetes quantities such as `500m`, `2Gi`, `1.5`
//! (<https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/>).

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// CPU and memory of a container, as numbers: thousandths of a core, and bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Requested CPU in thousandths of a core.
    pub cpu_request: Option<u64>,
    /// Requested memory in bytes.
    pub memory_request: Option<u64>,
    /// CPU limit in thousandths of a core.
    pub cpu_limit: Option<u64>,
    /// Memory limit in bytes.
    pub memory_limit: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Raw {
    requests: Option<Amounts>,
    limits: Option<Amounts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Amounts {
    cpu: Amount,
    memory: Amount,
}

impl<'de> Deserialize<'de> for Resources {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Option::<Raw>::deserialize(deserializer)?.unwrap_or_default();
        let (requests, limits) = (raw.requests.unwrap_or_default(), raw.limits.unwrap_or_default());
        Ok(Self {
            cpu_request: requests.cpu.milli(),
            memory_request: requests.memory.whole(),
            cpu_limit: limits.cpu.milli(),
            memory_limit: limits.memory.whole(),
        })
    }
}

/// An amount as a plain number; one that cannot be read counts as absent, so that it does not cost the pod.
#[derive(Default)]
struct Amount(Option<f64>);

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> Visitor<'de> for Reader {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a quantity")
            }

            fn visit_str<E>(self, text: &str) -> Result<Amount, E> {
                Ok(Amount(parse(text)))
            }

            fn visit_u64<E>(self, number: u64) -> Result<Amount, E> {
                Ok(Amount(Some(number as f64)))
            }

            fn visit_i64<E>(self, number: i64) -> Result<Amount, E> {
                Ok(Amount(Some(number as f64)))
            }

            fn visit_f64<E>(self, number: f64) -> Result<Amount, E> {
                Ok(Amount(Some(number)))
            }

            fn visit_bool<E>(self, _: bool) -> Result<Amount, E> {
                Ok(Amount(None))
            }

            fn visit_unit<E>(self) -> Result<Amount, E> {
                Ok(Amount(None))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Amount, A::Error> {
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Amount(None))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Amount, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Amount(None))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl Amount {
    /// In thousandths, rounded up, as Kubernetes does with fractions of its smallest unit.
    fn milli(&self) -> Option<u64> {
        self.scaled(1000.0)
    }

    fn whole(&self) -> Option<u64> {
        self.scaled(1.0)
    }

    fn scaled(&self, factor: f64) -> Option<u64> {
        let number = self.0? * factor;
        (0.0..=u64::MAX as f64).contains(&number).then_some((number - 1e-9).ceil() as u64)
    }
}

/// A quantity as a plain number: `500m` → 0.5, `2Gi` → 2147483648.
#[must_use]
pub fn parse(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 15] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
        ("E", 1e18),
    ];
    let (digits, factor) =
        UNITS.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor))).unwrap_or((text, 1.0));
    // `parse` alone would also read `inf`, `nan` and `1_0`.
    if !digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-')) {
        return None;
    }
    digits.parse::<f64>().ok().map(|number| number * factor).filter(|number| number.is_finite())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_forms_of_the_reference_page_are_read() {
        for (text, number) in [
            ("100m", 0.1),
            ("2", 2.0),
            ("0.5", 0.5),
            ("128Mi", 134_217_728.0),
            ("1G", 1e9),
            ("1e3", 1000.0),
            ("2E", 2e18),
        ] {
            let parsed = parse(text).unwrap();
            assert!((parsed - number).abs() <= number * 1e-12, "{text}: {parsed}");
        }
        for text in ["", "Mi", "abc", "inf", "nan", "1 Gi", "1_0"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn amounts_are_numbers_and_odd_ones_are_absent() {
        let resources: Resources = serde_json::from_str(
            r#"{"requests":{"cpu":"100m","memory":"128Mi"},"limits":{"cpu":2,"memory":["odd"]},"claims":[]}"#,
        )
        .unwrap();
        assert_eq!(
            resources,
            Resources {
                cpu_request: Some(100),
                memory_request: Some(128 << 20),
                cpu_limit: Some(2000),
                memory_limit: None
            }
        );
        assert_eq!(serde_json::from_str::<Resources>("null").unwrap(), Resources::default());
    }
}
