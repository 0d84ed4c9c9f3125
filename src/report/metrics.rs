//! `metrics`: what istiods count and whether anybody collects it; the data and its text.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::style::Style;
use crate::model::quoted::printable;

/// `metrics`: who collects the mesh's metrics, what istiods count, and queries that follow it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricsView {
    /// Azure's managed Prometheus: `installed`, `notReady`, `notInstalled`; none when that could not be read.
    pub managed_prometheus: Option<String>,
    /// Whether it collects sidecars: `likely`, `no`, `broken`; none without it, or when that could not be read.
    pub sidecars_collected: Option<String>,
    /// Whether sidecars answer for the metrics of their applications, by revision; none when that could not be read.
    pub merge: Option<Vec<MergeView>>,
    /// Whether istiods were asked; a bundle of an older version has nothing of it.
    #[serde(default)]
    pub istiods_asked: bool,
    /// The add-on's istiods.
    pub istiods: Vec<IstiodMetricsView>,
    /// Proxies that were asked, where that was wanted.
    pub proxies: Vec<ProxyEndpoints>,
    /// Queries for Prometheus, one per row.
    pub queries: Vec<QueryView>,
}

/// Whether metrics are merged in a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeView {
    /// Revision.
    pub revision: String,
    /// Its `enablePrometheusMerge`.
    pub on: bool,
}

/// One istiod.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IstiodMetricsView {
    /// Pod.
    pub pod: String,
    /// Revision.
    pub revision: String,
    /// Whether its metrics could be had.
    pub answered: bool,
    /// Why not.
    pub error: Option<String>,
    /// Since when it counts.
    #[schemars(with = "Option<String>")]
    pub since: Option<jiff::Timestamp>,
    /// How long that is, as kubectl prints ages.
    pub age: Option<String>,
    /// What it counts.
    pub rows: Vec<MetricRow>,
}

/// One number.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MetricRow {
    /// What it is.
    pub metric: String,
    /// The number; seconds for times, and for dates since 1970. None without a measurement.
    pub value: Option<f64>,
    /// As a person reads it.
    pub text: String,
    /// What it says.
    pub means: String,
    /// Whether it is shown although it is zero.
    pub always: bool,
}

/// A query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct QueryView {
    /// The row that it follows.
    pub metric: String,
    /// PromQL.
    pub prom_ql: String,
}

/// Where a proxy serves metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProxyEndpoints {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Its ports.
    pub ports: Vec<EndpointView>,
}

/// A port with metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EndpointView {
    /// Port.
    pub port: u16,
    /// Whether it answered with metrics.
    pub answered: bool,
    /// Whether requests are counted there (`istio_requests_total`), which begins with the first one.
    pub requests: bool,
    /// Why it did not answer.
    pub error: Option<String>,
}

/// Who collects, then a table per istiod.
pub(super) fn render(view: &MetricsView, style: Style, wide: bool) -> String {
    let mut out = String::new();
    let mut line = |name: &str, text: String| out.push_str(&format!("{name:<22}{text}\n"));
    line(
        "Managed Prometheus",
        match view.managed_prometheus.as_deref() {
            None => "could not be read",
            Some("installed") => "installed",
            Some("notReady") => "installed, its agent is not ready",
            Some(_) => "not installed",
        }
        .to_owned(),
    );
    if view.managed_prometheus.as_deref().is_some_and(|state| state != "notInstalled") {
        line(
            "Sidecars collected",
            match view.sidecars_collected.as_deref() {
                None => "could not be read",
                Some("likely") => "by a job or by pod annotations",
                Some("broken") => "no: the jobs are no valid YAML",
                Some(_) => "no: no job looks for them",
            }
            .to_owned(),
        );
    }
    line(
        "Metrics merged",
        match view.merge.as_deref() {
            None => "could not be read".to_owned(),
            Some([]) => "no revision is installed".to_owned(),
            Some(all) if all.iter().all(|one| one.on) => {
                "yes: port 15020 of a sidecar answers for both containers".to_owned()
            }
            Some(all) => {
                let off: Vec<String> = all.iter().filter(|one| !one.on).map(|one| printable(&one.revision)).collect();
                format!("not in {}: applications are asked at their own ports", off.join(", "))
            }
        },
    );
    if !view.istiods_asked {
        out.push_str(
            "Istiods               this bundle has no metrics of istiod; a new kubectl asm capture has them\n",
        );
    } else if view.istiods.is_empty() {
        out.push_str("Istiods               none that tells what it counts\n");
    }
    for istiod in &view.istiods {
        out.push('\n');
        let mut heading = format!("{}  {}", printable(&istiod.pod), printable(&istiod.revision));
        if let (Some(since), Some(age)) = (istiod.since, &istiod.age) {
            heading.push_str(&format!("  counts since {} ({age})", since.strftime("%Y-%m-%d %H:%M UTC")));
        }
        if !istiod.answered {
            let error = istiod.error.as_deref().map_or_else(|| "it does not run".to_owned(), printable);
            heading.push_str(&format!("  no answer: {error}"));
        }
        out.push_str(&format!("{heading}\n"));
        if istiod.answered {
            out.push_str(&rows(view, istiod, style, wide));
        }
    }
    for proxy in &view.proxies {
        out.push_str(&format!("\n{} -n {}\n", printable(&proxy.pod), printable(&proxy.namespace)));
        for port in &proxy.ports {
            let text = match (&port.error, port.answered, port.requests) {
                (Some(error), ..) => format!("no answer: {}", printable(error)),
                (None, true, true) => "answers; requests are counted".to_owned(),
                (None, true, false) => "answers; no request was counted yet".to_owned(),
                (None, false, _) => "answers, but not with metrics".to_owned(),
            };
            out.push_str(&format!("  port {:<8}{text}\n", port.port));
        }
    }
    out
}

fn rows(view: &MetricsView, istiod: &IstiodMetricsView, style: Style, wide: bool) -> String {
    let shown = |row: &&MetricRow| wide || row.always || row.value.is_some_and(|value| value > 0.0);
    let query = |metric: &str| {
        view.queries.iter().find(|query| query.metric == metric).map_or_else(String::new, |query| query.prom_ql.clone())
    };
    let cells: Vec<Vec<String>> = istiod
        .rows
        .iter()
        .filter(shown)
        .map(|row| {
            let mut cells = vec![row.metric.clone(), row.text.clone()];
            if wide {
                cells.extend([row.means.clone(), query(&row.metric)]);
            } else {
                cells.push(row.means.clone());
            }
            cells
        })
        .collect();
    let headers: &[&str] = if wide { &["METRIC", "VALUE", "MEANS", "PROMQL"] } else { &["METRIC", "VALUE", "MEANS"] };
    super::table::table(headers, &cells, style)
}

/// The queries of what is shown, to paste.
pub(super) fn queries(view: &MetricsView, style: Style) -> String {
    let is_shown = |query: &&QueryView| {
        view.istiods
            .iter()
            .flat_map(|istiod| &istiod.rows)
            .any(|row| row.metric == query.metric && (row.always || row.value.is_some_and(|value| value > 0.0)))
    };
    let mut out = String::new();
    for query in view.queries.iter().filter(is_shown) {
        if out.is_empty() {
            out.push_str("\nPromQL, for managed Prometheus or Grafana\n");
        }
        out.push_str(&style.dim(&format!("    # {}\n", query.metric)));
        out.push_str(&format!("    {}\n", query.prom_ql));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> MetricsView {
        let row = |metric: &str, value: f64, always| MetricRow {
            metric: metric.to_owned(),
            value: Some(value),
            text: format!("{value:.0}"),
            means: "something".to_owned(),
            always,
        };
        MetricsView {
            managed_prometheus: Some("installed".to_owned()),
            sidecars_collected: Some("no".to_owned()),
            merge: Some(vec![MergeView { revision: "asm-1-30".to_owned(), on: false }]),
            istiods_asked: true,
            istiods: vec![
                IstiodMetricsView {
                    pod: "istiod-1".to_owned(),
                    revision: "asm-1-30".to_owned(),
                    answered: true,
                    rows: vec![
                        row("rejects", 0.0, true),
                        row("send errors", 0.0, false),
                        row("write timeouts", 3.0, false),
                    ],
                    ..IstiodMetricsView::default()
                },
                IstiodMetricsView {
                    pod: "istiod-2".to_owned(),
                    revision: "asm-1-30".to_owned(),
                    error: Some("connection refused".to_owned()),
                    ..IstiodMetricsView::default()
                },
            ],
            queries: ["rejects", "send errors"]
                .map(|name| QueryView { metric: name.to_owned(), prom_ql: format!("sum({name})") })
                .into(),
            ..MetricsView::default()
        }
    }

    #[test]
    fn what_is_zero_and_of_no_interest_is_left_out_unless_all_is_wanted() {
        let text = render(&view(), Style::default(), false);
        assert!(text.contains("no: no job looks for them") && text.contains("not in asm-1-30"), "{text}");
        assert!(text.contains("rejects") && text.contains("write timeouts") && !text.contains("send errors"), "{text}");
        assert!(text.contains("istiod-2  asm-1-30  no answer: connection refused"), "{text}");
        let wide = render(&view(), Style::default(), true);
        assert!(wide.contains("send errors") && wide.contains("PROMQL") && wide.contains("sum(rejects)"), "{wide}");
        let queries = queries(&view(), Style::default());
        assert!(queries.contains("sum(rejects)") && !queries.contains("send errors"), "{queries}");
    }
}
