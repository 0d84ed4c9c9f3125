//! Queries for Log Analytics, which keeps what kubectl no longer has.
//!
//! Tables and columns: <https://learn.microsoft.com/azure/azure-monitor/reference/tables/containerlogv2>,
//! <https://learn.microsoft.com/azure/azure-monitor/reference/tables/containerlog> and
//! <https://learn.microsoft.com/azure/azure-monitor/reference/tables/kubepodinventory>.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;

/// Which lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Namespaces, pods and containers.
    pub places: BTreeSet<Place>,
    /// From when on.
    pub since: Since,
    /// Only the last so many.
    pub tail: Option<u64>,
}

/// One container of one pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: String,
}

/// A time, or a span before now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// So long before now.
    Ago(Duration),
    /// This time.
    At(Timestamp),
}

impl Default for Since {
    fn default() -> Self {
        Self::Ago(Duration::from_secs(24 * 3600))
    }
}

/// The query on `ContainerLogV2`, which new clusters write.
#[must_use]
pub fn query(wanted: &Wanted) -> String {
    let mut lines = vec!["ContainerLogV2".to_owned(), format!("| where TimeGenerated >= {}", since(wanted.since))];
    lines.push(format!("| where PodNamespace in ({})", list(wanted, |place| &place.namespace)));
    lines.push(format!("| where PodName in ({})", list(wanted, |place| &place.pod)));
    lines.push(format!("| where ContainerName in ({})", list(wanted, |place| &place.container)));
    lines.extend(wanted.tail.map(|tail| format!("| top {tail} by TimeGenerated desc")));
    lines.push("| project TimeGenerated, PodNamespace, PodName, ContainerName, LogSource, LogMessage".to_owned());
    lines.push("| order by TimeGenerated asc".to_owned());
    lines.join("\n") + "\n"
}

/// The query on the older `ContainerLog`, which knows containers only by their id.
#[must_use]
pub fn old_query(wanted: &Wanted) -> String {
    let start = since(wanted.since);
    let mut lines = vec!["let containers = KubePodInventory".to_owned(), format!("| where TimeGenerated >= {start}")];
    lines.push(format!("| where Namespace in ({})", list(wanted, |place| &place.namespace)));
    lines.push(format!("| where Name in ({})", list(wanted, |place| &place.pod)));
    // There a container is named POD-UID/CONTAINER.
    lines.push("| extend Container = tostring(split(ContainerName, \"/\")[1])".to_owned());
    lines.push(format!("| where Container in ({})", list(wanted, |place| &place.container)));
    // `distinct` gives no names of its own.
    lines.push("| project ContainerID, Namespace, PodName = Name, Container".to_owned());
    lines.push("| distinct ContainerID, Namespace, PodName, Container;".to_owned());
    lines.push("ContainerLog".to_owned());
    lines.push(format!("| where TimeGenerated >= {start}"));
    lines.push("| join kind=inner containers on ContainerID".to_owned());
    lines.extend(wanted.tail.map(|tail| format!("| top {tail} by TimeGenerated desc")));
    lines.push("| project TimeGenerated, Namespace, PodName, Container, LogEntrySource, LogEntry".to_owned());
    lines.push("| order by TimeGenerated asc".to_owned());
    lines.join("\n") + "\n"
}

fn list<'w>(wanted: &'w Wanted, of: impl Fn(&'w Place) -> &'w String) -> String {
    let names: BTreeSet<&String> = wanted.places.iter().map(of).collect();
    names.into_iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ")
}

/// A text as Kusto reads it
/// (<https://learn.microsoft.com/kusto/query/scalar-data-types/string>).
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars().filter(|c| !c.is_control()) {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

fn since(since: Since) -> String {
    match since {
        Since::At(time) => format!("datetime({time})"),
        Since::Ago(span) => {
            let seconds = span.as_secs().max(1);
            let (number, unit) = match seconds {
                s if s % 86_400 == 0 => (s / 86_400, "d"),
                s if s % 3600 == 0 => (s / 3600, "h"),
                s if s % 60 == 0 => (s / 60, "m"),
                s => (s, "s"),
            };
            format!("ago({number}{unit})")
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn wanted() -> Wanted {
        let place = |pod: &str| Place {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: "istio-proxy".to_owned(),
        };
        Wanted { places: [place("web-2"), place("web-1")].into(), ..Wanted::default() }
    }

    #[test]
    fn the_query_names_the_pods_the_containers_and_the_time() {
        let lines: Vec<String> = query(&wanted()).lines().map(str::to_owned).collect();
        assert_eq!(
            lines[..3],
            ["ContainerLogV2", "| where TimeGenerated >= ago(1d)", "| where PodNamespace in (\"shop\")"]
        );
        assert_eq!(
            lines[3..5],
            ["| where PodName in (\"web-1\", \"web-2\")", "| where ContainerName in (\"istio-proxy\")"]
        );
        let times = [
            (Since::Ago(Duration::from_secs(90)), "ago(90s)"),
            (Since::Ago(Duration::from_secs(900)), "ago(15m)"),
            (Since::Ago(Duration::from_secs(7200)), "ago(2h)"),
            (Since::At("2026-07-15T12:00:00Z".parse().unwrap()), "datetime(2026-07-15T12:00:00Z)"),
        ];
        for (since, expected) in times {
            let text = query(&Wanted { since, tail: Some(50), ..wanted() });
            assert!(text.contains(expected) && text.contains("| top 50 by TimeGenerated desc"), "{text}");
        }
    }

    #[test]
    fn the_older_table_is_joined_with_the_inventory_of_pods() {
        let text = old_query(&wanted());
        for part in
            ["KubePodInventory", "ContainerLog\n", "on ContainerID", "LogEntry", "split(ContainerName, \"/\")[1]"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        // https://learn.microsoft.com/kusto/query/distinct-operator: names of columns, and nothing else.
        let distinct: Vec<&str> = text.lines().filter(|line| line.starts_with("| distinct ")).collect();
        assert!(!distinct.is_empty() && distinct.iter().all(|line| !line.contains('=')), "{text}");
        assert!(text.contains("PodName = Name"), "{text}");
    }

    #[test]
    fn names_cannot_end_a_text() {
        assert_eq!(quoted("a\" or true //\\\n"), r#""a\" or true //\\""#);
    }
}
