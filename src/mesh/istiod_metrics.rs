//! What istiods count, in words: which number matters, what it means, and the query that follows it over time.

use jiff::{SignedDuration, Timestamp};

use crate::model::IstiodMetrics;
use crate::model::metrics::Families;
use crate::model::xds::Asked;

/// The kind of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Counts since istiod's start.
    Counter,
    /// What is now.
    Gauge,
    /// A time from a distribution since istiod's start, in seconds.
    Quantile,
    /// A point in time.
    Date,
}

/// A number that is worth a look.
#[derive(Debug)]
pub struct Known {
    /// Name of the row.
    pub name: &'static str,
    /// Families that are added up.
    families: &'static [&'static str],
    /// Which of their samples count, by the label `type`.
    only: fn(&str) -> bool,
    /// Kind.
    pub kind: Kind,
    /// What it says while it is zero.
    quiet: &'static str,
    /// What it says otherwise.
    loud: &'static str,
    /// The query for Azure Monitor's managed Prometheus, or any other.
    pub query: &'static str,
    /// Whether it is of interest although it is zero.
    pub always: bool,
}

fn any(_: &str) -> bool {
    true
}

fn sent(kind: &str) -> bool {
    !kind.ends_with("_senderr") && !kind.contains('/')
}

fn not_sent(kind: &str) -> bool {
    kind.ends_with("_senderr")
}

/// All of them, in the order of the table.
pub const KNOWN: &[Known] = &[
    Known {
        name: "proxies connected",
        families: &["pilot_xds"],
        only: any,
        kind: Kind::Gauge,
        quiet: "no proxy is connected to this istiod",
        loud: "proxies that get their configuration from this istiod",
        query: "sum by (pod) (pilot_xds)",
        always: true,
    },
    Known {
        name: "pushes",
        families: &["pilot_xds_pushes"],
        only: sent,
        kind: Kind::Counter,
        quiet: "nothing was sent yet",
        loud: "configurations sent, one per proxy and type",
        query: "sum by (type) (rate(pilot_xds_pushes{type!~\".*_senderr\"}[5m]))",
        always: true,
    },
    Known {
        name: "push time p50",
        families: &["pilot_proxy_convergence_time"],
        only: any,
        kind: Kind::Quantile,
        quiet: "no change was sent yet",
        loud: "half of all changes were with the proxy after this time at most",
        query: "histogram_quantile(0.5, sum by (le) (rate(pilot_proxy_convergence_time_bucket[5m])))",
        always: true,
    },
    Known {
        name: "push time p99",
        families: &["pilot_proxy_convergence_time"],
        only: any,
        kind: Kind::Quantile,
        quiet: "no change was sent yet",
        loud: "99 of 100 changes were with the proxy after this time at most",
        query: "histogram_quantile(0.99, sum by (le) (rate(pilot_proxy_convergence_time_bucket[5m])))",
        always: true,
    },
    Known {
        name: "rejects",
        families: &["pilot_total_xds_rejects"],
        only: any,
        kind: Kind::Counter,
        quiet: "no proxy rejected what it was sent",
        loud: "times a proxy rejected what it was sent; kubectl asm proxy-status shows who does so now",
        query: "sum by (type) (increase(pilot_total_xds_rejects[1h]))",
        always: true,
    },
    Known {
        name: "send errors",
        families: &["pilot_xds_pushes"],
        only: not_sent,
        kind: Kind::Counter,
        quiet: "everything could be sent",
        loud: "configurations that could not be sent; the connection was lost, or too slow",
        query: "sum by (type) (increase(pilot_xds_pushes{type=~\".*_senderr\"}[1h]))",
        always: false,
    },
    Known {
        name: "write timeouts",
        families: &["pilot_xds_write_timeout"],
        only: any,
        kind: Kind::Counter,
        quiet: "every proxy took what it was sent in time",
        loud: "proxies took what they were sent too slowly",
        query: "sum(increase(pilot_xds_write_timeout[1h]))",
        always: false,
    },
    Known {
        name: "internal errors",
        families: &["pilot_total_xds_internal_errors", "pilot_xds_push_context_errors"],
        only: any,
        kind: Kind::Counter,
        quiet: "istiod computed every configuration",
        loud: "istiod could not compute a configuration; its log says why",
        query: "sum(increase(pilot_total_xds_internal_errors[1h]))",
        always: true,
    },
    Known {
        name: "conflicting listeners",
        families: &[
            "pilot_conflict_inbound_listener",
            "pilot_conflict_outbound_listener_http_over_current_tcp",
            "pilot_conflict_outbound_listener_tcp_over_current_http",
            "pilot_conflict_outbound_listener_tcp_over_current_tcp",
        ],
        only: any,
        kind: Kind::Gauge,
        quiet: "no two Services want the same port in different ways",
        loud: "Services want one port in different ways; one of them is left out",
        query: "max by (__name__) ({__name__=~\"pilot_conflict_.*\"})",
        always: true,
    },
    Known {
        name: "duplicate hosts",
        families: &["pilot_vservice_dup_domain", "pilot_duplicate_envoy_clusters", "pilot_destrule_subsets"],
        only: any,
        kind: Kind::Gauge,
        quiet: "no host is described twice",
        loud: "a host is in two VirtualServices, DestinationRules or ServiceEntries; one of them is left out",
        query: "max by (__name__) ({__name__=~\"pilot_vservice_dup_domain|pilot_duplicate_envoy_clusters|pilot_destrule_subsets\"})",
        always: false,
    },
    Known {
        name: "injection requests",
        families: &["sidecar_injection_requests_total"],
        only: any,
        kind: Kind::Counter,
        quiet: "the API server has not asked this istiod to inject a pod",
        loud: "pods that the API server asked this istiod to inject",
        query: "sum by (pod) (increase(sidecar_injection_requests_total[1h]))",
        always: true,
    },
    Known {
        name: "injection failures",
        families: &["sidecar_injection_failure_total"],
        only: any,
        kind: Kind::Counter,
        quiet: "every injection worked",
        loud: "pods that were refused because injecting them failed; istiod's log says why",
        query: "sum by (pod) (increase(sidecar_injection_failure_total[1h]))",
        always: true,
    },
    Known {
        name: "resources refused",
        families: &["galley_validation_failed"],
        only: any,
        kind: Kind::Counter,
        quiet: "no Istio resource was refused as invalid",
        loud: "Istio resources that were refused as invalid; who applied them was told",
        query: "sum by (reason) (increase(galley_validation_failed[1h]))",
        always: false,
    },
    Known {
        name: "certificates issued",
        families: &["citadel_server_success_cert_issuance_count"],
        only: any,
        kind: Kind::Counter,
        quiet: "no certificate was issued yet",
        loud: "certificates issued to proxies",
        query: "sum by (pod) (rate(citadel_server_success_cert_issuance_count[5m]))",
        always: false,
    },
    Known {
        name: "signing errors",
        families: &["citadel_server_csr_sign_err_count"],
        only: any,
        kind: Kind::Counter,
        quiet: "every certificate could be signed",
        loud: "certificates that could not be signed; the certificate authority is at fault",
        query: "sum by (pod) (increase(citadel_server_csr_sign_err_count[1h]))",
        always: false,
    },
    Known {
        name: "root certificate ends",
        families: &["citadel_server_root_cert_expiry_timestamp"],
        only: any,
        kind: Kind::Date,
        quiet: "",
        loud: "when proxies stop trusting each other",
        query: "min(citadel_server_root_cert_expiry_timestamp - time()) / 86400",
        always: true,
    },
    Known {
        name: "signing certificate ends",
        families: &["citadel_server_cert_chain_expiry_timestamp"],
        only: any,
        kind: Kind::Date,
        quiet: "",
        loud: "when istiod can sign no more certificates",
        query: "min(citadel_server_cert_chain_expiry_timestamp - time()) / 86400",
        always: true,
    },
];

/// A number of one istiod.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Row {
    /// What it is.
    pub known: &'static Known,
    /// Its value; seconds for times and dates. None for a time without a single measurement.
    pub value: Option<f64>,
}

impl PartialEq for Known {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Row {
    /// What it says.
    #[must_use]
    pub fn meaning(&self) -> &'static str {
        if self.value.is_some_and(|value| value > 0.0) { self.known.loud } else { self.known.quiet }
    }

    /// The value as a person reads it.
    #[must_use]
    pub fn text(&self) -> String {
        match (self.known.kind, self.value) {
            (_, None) => "-".to_owned(),
            (Kind::Quantile, Some(seconds)) => format!("{seconds} s"),
            (Kind::Date, Some(seconds)) => {
                date(seconds).map_or_else(|| "-".to_owned(), |at| at.strftime("%Y-%m-%d").to_string())
            }
            (Kind::Counter | Kind::Gauge, Some(number)) => format!("{number:.0}"),
        }
    }
}

/// A point in time from its metric.
#[must_use]
pub fn date(seconds: f64) -> Option<Timestamp> {
    // reason: a number outside of what a Timestamp holds is refused by it
    #[allow(clippy::cast_possible_truncation)]
    Timestamp::from_second(seconds as i64).ok()
}

/// Since when an istiod counts.
#[must_use]
pub fn since(families: &Families) -> Option<Timestamp> {
    families.value("process_start_time_seconds").and_then(date)
}

/// The rows of an istiod. Dates that it does not tell are left out: only some certificate authorities have them.
#[must_use]
pub fn rows(families: &Families) -> Vec<Row> {
    KNOWN
        .iter()
        .filter_map(|known| {
            let value = match known.kind {
                Kind::Date => Some(known.families.iter().find_map(|family| families.value(family))?),
                Kind::Quantile => quantile(families, if known.name.ends_with("p99") { 0.99 } else { 0.5 }),
                Kind::Counter | Kind::Gauge => Some(total(known, families)),
            };
            Some(Row { known, value })
        })
        .collect()
}

fn total(known: &Known, families: &Families) -> f64 {
    let of =
        |sample: &&crate::model::metrics::Sample| (known.only)(sample.labels.get("type").map_or("", String::as_str));
    // Without any sample the sum of floating-point numbers is -0.
    known
        .families
        .iter()
        .flat_map(|family| families.samples(family))
        .filter(of)
        .map(|sample| sample.value)
        .fold(0.0, |a, b| a + b)
}

/// The sum of a row over all istiods of a revision.
#[must_use]
pub fn sum(name: &str, istiods: &[&IstiodMetrics]) -> f64 {
    let Some(known) = KNOWN.iter().find(|known| known.name == name) else { return 0.0 };
    istiods.iter().map(|istiod| total(known, &istiod.families)).sum()
}

/// The upper bound of the bucket in which a quantile of the push times lies: what is known for sure. None without a
/// measurement; infinity where the times are beyond all buckets would be no number, so it is the highest bound.
fn quantile(families: &Families, quantile: f64) -> Option<f64> {
    let mut buckets: Vec<(f64, f64)> = families
        .samples("pilot_proxy_convergence_time_bucket")
        .iter()
        .filter_map(|sample| {
            let bound = sample.labels.get("le")?;
            let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().ok()? };
            Some((bound, sample.value))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total = buckets.last().map(|(_, count)| *count).filter(|total| *total > 0.0)?;
    let highest = buckets.iter().rev().find(|(bound, _)| bound.is_finite()).map(|(bound, _)| *bound)?;
    let (bound, _) = buckets.iter().find(|(_, count)| *count >= quantile * total)?;
    Some(bound.min(highest))
}

/// Istiods of a revision that answered.
#[must_use]
pub fn answered<'a>(records: &'a [IstiodMetrics], revision: &str) -> Vec<&'a IstiodMetrics> {
    records.iter().filter(|record| record.revision == revision && record.asked == Asked::Answered).collect()
}

/// Whether every istiod of a revision that serves anybody answered.
#[must_use]
pub fn all_answered(records: &[IstiodMetrics], revision: &str) -> bool {
    let of_revision = || records.iter().filter(|record| record.revision == revision);
    of_revision().any(|record| record.asked == Asked::Answered)
        && !of_revision().any(|record| record.asked == Asked::Failed)
}

/// Whether something that is counted happens often enough to be worth a word: twice at least, and on average once an hour
/// since istiods started. A counter never goes down, so one old event must not be told for ever.
#[must_use]
pub fn is_frequent(count: f64, since: Option<Timestamp>, now: Timestamp) -> bool {
    let running =
        since.map_or(SignedDuration::ZERO, |since| now.duration_since(since)).max(SignedDuration::from_hours(1));
    count >= 2.0 && count >= running.as_secs_f64() / 3600.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metrics::Reader;

    fn read(text: &str) -> Families {
        let mut reader = Reader::default();
        reader.push(text.as_bytes());
        reader.finish()
    }

    fn of(rows: &[Row], name: &str) -> (Option<f64>, String) {
        rows.iter().find(|row| row.known.name == name).map(|row| (row.value, row.text())).unwrap_or_default()
    }

    /// Values as they stand in an answer of a real istiod, see `tests/recorded/README.md`.
    #[test]
    fn a_recorded_answer_becomes_rows() {
        let families = read(include_str!("../../tests/recorded/istiod-asm-1-28-0/metrics.txt"));
        let rows = rows(&families);
        assert_eq!(of(&rows, "proxies connected"), (Some(5.0), "5".to_owned()));
        // 50 + 57 + 50 + 37: the two of its own debug type are no configurations.
        assert_eq!(of(&rows, "pushes").0, Some(194.0));
        assert_eq!(of(&rows, "rejects").0, Some(30.0));
        assert_eq!(of(&rows, "push time p99"), (Some(0.1), "0.1 s".to_owned()));
        assert_eq!(of(&rows, "injection requests").0, Some(1.0));
        assert_eq!(of(&rows, "injection failures").0, Some(0.0), "a counter that has not counted is not there");
        assert_eq!(of(&rows, "root certificate ends").1, "2036-11-20");
        assert!(rows.iter().all(|row| row.known.name != "signing certificate ends"));
        assert_eq!(since(&families), "2026-11-23T05:54:57Z".parse().ok());
    }

    #[test]
    fn a_quantile_is_the_bound_that_is_known() {
        let bucket = |le: &str, count: u32| format!("pilot_proxy_convergence_time_bucket{{le=\"{le}\"}} {count}\n");
        let slow = [bucket("0.1", 10), bucket("1", 98), bucket("30", 99), bucket("+Inf", 100)].concat();
        let slow = rows(&read(&slow));
        assert_eq!((of(&slow, "push time p50").0, of(&slow, "push time p99").0), (Some(1.0), Some(30.0)));
        let beyond = rows(&read(&[bucket("30", 0), bucket("+Inf", 7)].concat()));
        assert_eq!(of(&beyond, "push time p50").0, Some(30.0));
        assert_eq!(of(&rows(&read("")), "push time p50"), (None, "-".to_owned()));
    }

    #[test]
    fn a_single_old_event_is_not_told_for_ever() {
        let now: Timestamp = "2026-07-15T12:00:00Z".parse().unwrap_or_default();
        let started = |hours: i64| Some(now - SignedDuration::from_hours(hours));
        for (count, hours, frequent) in
            [(1.0, 0, false), (2.0, 0, true), (2.0, 48, false), (48.0, 48, true), (0.0, 1, false)]
        {
            assert_eq!(is_frequent(count, started(hours), now), frequent, "{count} in {hours} h");
        }
    }
}
