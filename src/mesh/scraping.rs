//! Whether Azure's managed Prometheus collects the metrics of sidecars.

use serde_json::Value;

use super::mesh_config::first_document;
use crate::model::ConfigMap;

/// The ConfigMap in kube-system with jobs of the user
/// (<https://learn.microsoft.com/azure/azure-monitor/containers/prometheus-metrics-scrape-configuration>).
pub const JOBS: &str = "ama-metrics-prometheus-config";
/// The ConfigMap in kube-system with the agent's settings.
pub const SETTINGS: &str = "ama-metrics-settings-configmap";

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scraping {
    /// Something collects them, or may.
    Likely,
    /// There is no job of the user's, and pod annotations are not followed.
    Nothing,
    /// The user's jobs are no YAML, so the agent takes none of them.
    Broken,
    /// The jobs there are look for something else; their names.
    OtherJobs(Vec<String>),
}

/// What jobs for sidecars mention: the container, its ports, its path, or the annotations that the injector sets.
const SIGNS: [&str; 7] =
    ["istio-proxy", "envoy", "15090", "15020", "prometheus_io", "stats/prometheus", "metrics_istio"];

/// Judges the two ConfigMaps. Only what a bundle keeps of a job is looked at: name, path, discovery and relabeling.
#[must_use]
pub fn scraping(maps: &[ConfigMap]) -> Scraping {
    let find = |name: &str| maps.iter().find(|map| map.metadata.name == name);
    if find(SETTINGS).is_some_and(follows_annotations) {
        return Scraping::Likely;
    }
    let Some(text) = find(JOBS).and_then(|map| map.data.get("prometheus-config")) else { return Scraping::Nothing };
    let Ok(config) = first_document(text) else { return Scraping::Broken };
    let jobs = config.get("scrape_configs").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if jobs.is_empty() {
        return Scraping::Nothing;
    }
    if jobs.iter().any(collects) {
        return Scraping::Likely;
    }
    let name = |job: &Value| job.get("job_name").and_then(Value::as_str).unwrap_or("without a name").to_owned();
    Scraping::OtherJobs(jobs.iter().map(name).collect())
}

fn collects(job: &Value) -> bool {
    let Some(job) = job.as_object() else { return false };
    let Some(discovery) = job.get("kubernetes_sd_configs") else {
        // Fixed targets may be anything.
        return true;
    };
    let kept = ["job_name", "metrics_path", "relabel_configs"];
    let mut text: String = kept.iter().filter_map(|key| job.get(*key)).map(Value::to_string).collect();
    text.make_ascii_lowercase();
    if SIGNS.iter().any(|sign| text.contains(sign)) {
        return true;
    }
    // A job that takes every pod or endpoint and leaves none out takes the sidecars' ports, too.
    let roles = discovery.as_array().map(Vec::as_slice).unwrap_or_default();
    let takes_pods = roles.iter().filter_map(|role| role.get("role")?.as_str()).any(|role| role != "node");
    takes_pods && !text.contains("keep") && !text.contains("drop")
}

/// Whether pod annotations are followed: the injector sets them on every pod with a sidecar. In the settings' second
/// schema they are inside another key, which is not read; that may be.
fn follows_annotations(settings: &ConfigMap) -> bool {
    if settings.data.contains_key("cluster-metrics") {
        return true;
    }
    let Some(text) = settings.data.get("pod-annotation-based-scraping") else { return false };
    text.lines().map(str::trim).filter(|line| !line.starts_with('#')).any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim() == "podannotationnamespaceregex" && !value.trim().trim_matches(['"', '\'']).is_empty()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(name: &str, key: &str, text: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.name = name.to_owned();
        map.data.insert(key.to_owned(), text.to_owned());
        map
    }

    #[test]
    fn jobs_for_sidecars_are_recognised() {
        let jobs = |text: &str| scraping(&[map(JOBS, "prometheus-config", text)]);
        for (text, expected) in [
            ("", Scraping::Nothing),
            ("global: {scrape_interval: 30s}", Scraping::Nothing),
            ("scrape_configs: [", Scraping::Broken),
            // The job of Microsoft's page about the add-on.
            (
                "scrape_configs:\n- job_name: workload\n  kubernetes_sd_configs: [{role: endpoints}]\n  \
                 relabel_configs:\n  - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], \
                 action: keep, regex: true}\n",
                Scraping::Likely,
            ),
            // The job of Istio's page.
            (
                "scrape_configs:\n- job_name: 'envoy-stats'\n  metrics_path: /stats/prometheus\n  \
                 kubernetes_sd_configs: [{role: pod}]\n",
                Scraping::Likely,
            ),
            ("scrape_configs: [{job_name: fixed, static_configs: [{targets: ['a:1']}]}]", Scraping::Likely),
            ("scrape_configs: [{job_name: all, kubernetes_sd_configs: [{role: pod}]}]", Scraping::Likely),
            (
                "scrape_configs: [{job_name: app, kubernetes_sd_configs: [{role: pod}], relabel_configs: \
                 [{source_labels: [__meta_kubernetes_pod_label_app], action: keep, regex: app}]}]",
                Scraping::OtherJobs(vec!["app".to_owned()]),
            ),
            (
                "scrape_configs: [{job_name: nodes, kubernetes_sd_configs: [{role: node}]}]",
                Scraping::OtherJobs(vec!["nodes".to_owned()]),
            ),
        ] {
            assert_eq!(jobs(text), expected, "{text}");
        }
        assert_eq!(scraping(&[]), Scraping::Nothing);
    }

    #[test]
    fn followed_annotations_are_enough() {
        let key = "pod-annotation-based-scraping";
        for (text, expected) in [
            ("podannotationnamespaceregex = \"shop|default\"", Scraping::Likely),
            ("podannotationnamespaceregex = \"\"", Scraping::Nothing),
            ("# podannotationnamespaceregex = \".*\"", Scraping::Nothing),
        ] {
            assert_eq!(scraping(&[map(SETTINGS, key, text)]), expected, "{text}");
        }
        assert_eq!(scraping(&[map(SETTINGS, "cluster-metrics", "")]), Scraping::Likely);
    }
}
