//! Metrics in Prometheus's text format, as istiod serves them
//! (<https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format>).
//!
//! An own reader and not a crate: it takes an answer while it arrives, holds only families that are known here, and
//! passes over what it does not understand. Parsers at hand read a whole text, or refuse it for one odd line.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::meta::lenient_time;
use super::nullable;
use super::xds::Asked;

/// Families that are read; all others are passed over. Names are those of Istio's source: `pilot/pkg/xds/monitoring.go`,
/// `pkg/xds/monitoring.go`, `pilot/pkg/model/push_context.go`, `pkg/kube/inject/monitoring.go`,
/// `pkg/webhooks/validation/server/monitoring.go`, `security/pkg/server/ca/monitoring.go`. Some exist only in older
/// releases.
pub const FAMILIES: [&str; 29] = [
    "citadel_server_cert_chain_expiry_timestamp",
    "citadel_server_csr_count",
    "citadel_server_csr_sign_err_count",
    "citadel_server_root_cert_expiry_timestamp",
    "citadel_server_success_cert_issuance_count",
    "galley_validation_failed",
    "galley_validation_passed",
    "pilot_conflict_inbound_listener",
    "pilot_conflict_outbound_listener_http_over_current_tcp",
    "pilot_conflict_outbound_listener_tcp_over_current_http",
    "pilot_conflict_outbound_listener_tcp_over_current_tcp",
    "pilot_destrule_subsets",
    "pilot_duplicate_envoy_clusters",
    "pilot_eds_no_instances",
    "pilot_proxy_convergence_time_bucket",
    "pilot_services",
    "pilot_total_xds_internal_errors",
    "pilot_total_xds_rejects",
    "pilot_virt_services",
    "pilot_vservice_dup_domain",
    "pilot_xds",
    "pilot_xds_push_context_errors",
    "pilot_xds_pushes",
    "pilot_xds_write_timeout",
    "process_start_time_seconds",
    "sidecar_injection_failure_total",
    "sidecar_injection_requests_total",
    "sidecar_injection_skip_total",
    "sidecar_injection_success_total",
];

/// Labels that are read: the others name proxies, or what was wrong with somebody's resource.
const LABELS: [&str; 4] = ["le", "reason", "type", "version"];

/// Samples of one family that are held; istiod has a handful of each.
const SAMPLES: usize = 200;
/// The longest line that is looked at.
const LINE: usize = 16 << 10;

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Labels, as far as they are known.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", deserialize_with = "known_labels")]
    pub labels: BTreeMap<String, String>,
    /// Value; never infinite.
    #[serde(deserialize_with = "nullable")]
    pub value: f64,
}

/// Samples by family.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Families(BTreeMap<String, Vec<Sample>>);

impl Families {
    /// The samples of a family; none where it was not there, as counters are before they first count.
    #[must_use]
    pub fn samples(&self, name: &str) -> &[Sample] {
        self.0.get(name).map(Vec::as_slice).unwrap_or_default()
    }

    /// The sum of a family.
    #[must_use]
    pub fn sum(&self, name: &str) -> f64 {
        self.samples(name).iter().map(|sample| sample.value).sum()
    }

    /// The value of a family that has one sample.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.samples(name).first().map(|sample| sample.value)
    }

    /// Whether nothing known was in the answer.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Families {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut families: BTreeMap<String, Vec<Sample>> = nullable(deserializer)?;
        families.retain(|name, _| FAMILIES.contains(&name.as_str()));
        families.values_mut().for_each(|samples| samples.truncate(SAMPLES));
        Ok(Self(families))
    }
}

fn known_labels<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    let mut labels: BTreeMap<String, String> = nullable(deserializer)?;
    labels.retain(|name, _| LABELS.contains(&name.as_str()));
    Ok(labels)
}

/// A line of the source `istiodMetrics`: an istiod pod, and its metrics.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct IstiodMetrics {
    /// Pod name.
    #[serde(deserialize_with = "nullable")]
    pub pod: String,
    /// Its revision, from its label.
    #[serde(deserialize_with = "nullable")]
    pub revision: String,
    /// Whether it answered.
    #[serde(deserialize_with = "nullable")]
    pub asked: Asked,
    /// Its clock when it answered.
    #[serde(deserialize_with = "lenient_time", skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// Why it did not answer, in a sentence without a period.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What it counts.
    #[serde(deserialize_with = "nullable")]
    pub families: Families,
}

/// Takes an answer piece by piece.
#[derive(Debug, Default)]
pub struct Reader {
    families: Families,
    /// The beginning of a line that is not complete.
    open: Vec<u8>,
    /// The open line is too long to be looked at.
    skipping: bool,
}

impl Reader {
    /// Takes the next piece.
    pub fn push(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = (&rest[..end], &rest[end + 1..]);
            rest = after;
            // Too long is too long, in however many pieces it came.
            if std::mem::take(&mut self.skipping) || self.open.len() + line.len() > LINE {
                self.open.clear();
            } else if self.open.is_empty() {
                self.line(line);
            } else {
                let mut whole = std::mem::take(&mut self.open);
                whole.extend_from_slice(line);
                self.line(&whole);
                whole.clear();
                self.open = whole;
            }
        }
        if self.open.len() + rest.len() > LINE {
            self.skipping = true;
            self.open.clear();
        } else if !self.skipping {
            self.open.extend_from_slice(rest);
        }
    }

    /// Ends the answer.
    #[must_use]
    pub fn finish(mut self) -> Families {
        let last = std::mem::take(&mut self.open);
        if !self.skipping {
            self.line(&last);
        }
        self.families
    }

    fn line(&mut self, line: &[u8]) {
        let Some((name, sample)) = std::str::from_utf8(line).ok().and_then(sample) else { return };
        let samples = self.families.0.entry(name.to_owned()).or_default();
        if samples.len() < SAMPLES {
            samples.push(sample);
        }
    }
}

/// Name and sample of a line: `name{label="value"} 1 [time]`.
fn sample(line: &str) -> Option<(&str, Sample)> {
    let line = line.trim();
    let end = line.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).filter(|end| *end > 0)?;
    let (name, rest) = line.split_at(end);
    if !FAMILIES.contains(&name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (BTreeMap::new(), rest),
    };
    let value = plain(rest.split_whitespace().next()?.parse().ok()?)?;
    Some((name, Sample { labels, value }))
}

/// A number that is the same after it was written down as JSON and read again, once or twice: with twelve digits, and of
/// a size that something can be counted in.
fn plain(value: f64) -> Option<f64> {
    const SMALL: f64 = 1e-9;
    const LARGE: f64 = 1e18;
    match value.abs() {
        size if size < SMALL => Some(0.0),
        size if size <= LARGE => format!("{value:.11e}").parse().ok(),
        _ => None,
    }
}

/// Labels up to the closing brace, and what follows it.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text.trim_start_matches([' ', ',']);
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        if LABELS.contains(&name.trim()) {
            labels.insert(name.trim().to_owned(), value);
        }
        rest = after[end + 1..].trim_start_matches([' ', ',']);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;

    /// An answer of a real istiod 1.28.3, see `tests/recorded/README.md`.
    const RECORDED: &str = include_str!("../../tests/recorded/istiod-asm-1-28-0/metrics.txt");

    fn read(text: &[u8], piece: usize) -> Families {
        let mut reader = Reader::default();
        text.chunks(piece).for_each(|piece| reader.push(piece));
        reader.finish()
    }

    #[test]
    fn a_recorded_answer_is_read_the_same_in_pieces_of_any_size() {
        let whole = read(RECORDED.as_bytes(), usize::MAX);
        for piece in [1, 7, 64, 4096] {
            assert_eq!(read(RECORDED.as_bytes(), piece), whole, "{piece}");
        }
        // Values as they stand in the file.
        assert_eq!(whole.sum("pilot_total_xds_rejects"), 30.0);
        assert_eq!(whole.sum("pilot_xds"), 5.0);
        assert_eq!(whole.value("citadel_server_root_cert_expiry_timestamp"), Some(2.110773298e9));
        assert_eq!(whole.samples("pilot_proxy_convergence_time_bucket").len(), 9);
        assert_eq!(whole.samples("pilot_xds_pushes")[0].labels["type"], "cds");
        assert!(whole.samples("go_goroutines").is_empty(), "what is not known is not held");
        let line = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Families>(&line).unwrap(), whole);
        assert!(!line.contains("refuses-"), "names of proxies are not held");
    }

    #[test]
    fn odd_lines_cost_themselves() {
        let text = "# HELP pilot_xds x\n\npilot_xds{version=\"a\\\"b\",other=\"}\"} 2 1700000000000\npilot_xds{version=\"x\" 3\npilot_xds NaN\npilot_xds +Inf\npilot_xds\npilot_xds{} 4\npilot_xds_pushes{type=\"cds\"}1e1\n{} 1\n\u{fffd}\n";
        let families = read(text.as_bytes(), 3);
        let values: Vec<f64> = families.samples("pilot_xds").iter().map(|sample| sample.value).collect();
        assert_eq!(values, [2.0, 4.0]);
        assert_eq!(families.samples("pilot_xds")[0].labels["version"], "a\"b");
        assert_eq!(families.sum("pilot_xds_pushes"), 10.0);
        assert!(read(b"<html>not found</html>", 5).is_empty());
        assert!(read(&[0xff, b'\n', 0xfe], 1).is_empty());
    }

    #[test]
    fn a_line_without_end_is_passed_over() {
        let mut text = b"pilot_xds{version=\"".to_vec();
        text.extend(vec![b'x'; 1 << 20]);
        text.extend(b"\"} 9\npilot_xds 1\n");
        assert_eq!(read(&text, 1000).sum("pilot_xds"), 1.0);
    }

    #[test]
    fn families_of_others_are_not_taken_from_a_bundle() {
        let json = r#"{"evil": [{"value": 1}], "pilot_xds": [{"labels": {"node": "a", "type": "b"}, "value": 1}, {"value": null}]}"#;
        let families: Families = serde_json::from_str(json).unwrap();
        assert!(families.samples("evil").is_empty());
        assert_eq!(families.samples("pilot_xds")[0].labels.len(), 1);
    }

    #[test]
    fn names_are_sorted_and_unique() {
        assert!(FAMILIES.is_sorted_by(|a, b| a < b));
    }
}
