//! The tables of `proxy-config`. Columns and cells are those of `istioctl proxy-config`; `-o wide` adds to them.

use super::proxy_config_view::{BootstrapView, ProxyConfigView, ProxyView};
use super::style::Style;
use super::table::table;
use crate::model::quoted::printable;

/// Which proxy, with its versions: the first line.
#[must_use]
pub fn heading(proxy: &ProxyView) -> String {
    let mut text = match (&proxy.name, &proxy.namespace) {
        (Some(name), Some(namespace)) => format!("pod/{} -n {}", printable(name), printable(namespace)),
        _ => "unnamed proxy".to_owned(),
    };
    for (what, version) in [("Istio", &proxy.istio_version), ("Envoy", &proxy.envoy_version)] {
        if let Some(version) = version {
            text.push_str(&format!("  {what} {}", printable(version)));
        }
    }
    text
}

/// Renders the tables, each with its title where there are several.
#[must_use]
pub fn render(view: &ProxyConfigView, style: Style, wide: bool) -> String {
    let tables: Vec<(&str, Table)> = [
        ("Bootstrap", view.bootstrap.as_ref().map(|bootstrap| Table::bootstrap(&view.proxy, bootstrap))),
        ("Clusters", Table::clusters(view, wide)),
        ("Listeners", Table::listeners(view, wide)),
        ("Routes", Table::routes(view, wide)),
        ("Endpoints", Table::endpoints(view, wide)),
        ("Configured endpoints", Table::eds(view)),
        ("Secrets", Table::secrets(view)),
        ("Extensions", Table::extensions(view)),
        ("Loggers", Table::loggers(view)),
    ]
    .into_iter()
    .filter_map(|(title, table)| table.map(|table| (title, table)))
    .collect();
    let several = tables.len() > 1;
    let mut out = String::new();
    for (title, Table { headers, rows }) in tables {
        if several {
            out.push_str(&format!("{}{title}\n", if out.is_empty() { "" } else { "\n" }));
        }
        if rows.is_empty() {
            out.push_str(&format!("No {} found.\n", title.to_lowercase()));
        } else {
            out.push_str(&table(&headers, &rows, style));
        }
    }
    out
}

struct Table {
    headers: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

fn dash(text: Option<&str>) -> String {
    text.map_or_else(|| "-".to_owned(), printable)
}

fn count(number: Option<usize>) -> String {
    number.map_or_else(|| "-".to_owned(), |number| number.to_string())
}

impl Table {
    fn new(headers: &[&'static str], rows: impl Iterator<Item = Vec<String>>) -> Self {
        Self { headers: headers.to_vec(), rows: rows.collect() }
    }

    fn bootstrap(proxy: &ProxyView, bootstrap: &BootstrapView) -> Self {
        let lines = [
            ("Istio Version", &proxy.istio_version),
            ("Istio Proxy Version", &bootstrap.istio_proxy_sha),
            ("Envoy Version", &bootstrap.envoy_build),
            ("Node", &Some(bootstrap.node.clone())),
            ("Revision", &bootstrap.revision),
            ("Discovery Address", &bootstrap.discovery_address),
            ("Mesh", &bootstrap.mesh_id),
            ("Cluster", &bootstrap.cluster_id),
            ("Service Account", &bootstrap.service_account),
            ("Interception", &bootstrap.interception_mode),
        ];
        let rows = lines
            .into_iter()
            .filter_map(|(name, value)| value.as_ref().map(|value| vec![name.to_owned(), printable(value)]));
        Self::new(&["BOOTSTRAP", "VALUE"], rows)
    }

    fn clusters(view: &ProxyConfigView, wide: bool) -> Option<Self> {
        let clusters = view.clusters.as_ref()?;
        let mut headers = vec!["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE"];
        if wide {
            headers.extend(["STATE", "ENDPOINTS"]);
        }
        headers.push("DESTINATION RULE");
        let rows = clusters.iter().filter(|row| wide || row.state != "warming").map(|row| {
            let mut cells = vec![
                printable(&row.service_fqdn),
                row.port.map_or_else(|| "-".to_owned(), |port| port.to_string()),
                dash(row.subset.as_deref()),
                dash(row.direction.as_deref()),
                printable(&row.kind),
            ];
            if wide {
                cells.extend([row.state.clone(), count(row.endpoints)]);
            }
            cells.push(printable(&row.destination_rule));
            cells
        });
        Some(Self::new(&headers, rows))
    }

    fn listeners(view: &ProxyConfigView, wide: bool) -> Option<Self> {
        let listeners = view.listeners.as_ref()?;
        let mut headers = vec!["ADDRESSES", "PORT", "MATCH", "DESTINATION"];
        if wide {
            headers = vec!["NAME", "ADDRESSES", "PORT", "TYPE", "STATE", "MATCH", "DESTINATION"];
        }
        let shown = listeners.iter().filter(|row| wide || row.state != "warming");
        let rows = shown.flat_map(|row| {
            row.chains.iter().map(move |chain| {
                let (addresses, port) = (printable(&row.addresses.join(",")), row.port.to_string());
                let mut cells = vec![addresses, port, printable(&chain.matches), printable(&chain.destination)];
                if wide {
                    cells.splice(2..2, [row.kind.clone(), row.state.clone()]);
                    cells.insert(0, printable(&row.name));
                }
                cells
            })
        });
        Some(Self::new(&headers, rows))
    }

    fn routes(view: &ProxyConfigView, wide: bool) -> Option<Self> {
        let routes = view.routes.as_ref()?;
        let mut headers = vec!["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"];
        if wide {
            headers.push("CLUSTERS");
        }
        let rows = routes.iter().map(|row| {
            let cells = [&row.name, &row.virtual_host, &row.domains, &row.matches, &row.virtual_service];
            let mut cells: Vec<String> = cells.into_iter().map(|cell| printable(cell)).collect();
            if wide {
                cells.push(printable(&row.clusters.join(",")));
            }
            cells
        });
        Some(Self::new(&headers, rows))
    }

    fn endpoints(view: &ProxyConfigView, wide: bool) -> Option<Self> {
        let endpoints = view.endpoints.as_ref()?;
        let mut headers = vec!["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"];
        if wide {
            headers.extend(["LOCALITY", "CONNECTIONS", "FAILED", "NOT USED BECAUSE"]);
        }
        let rows = endpoints.iter().map(|row| {
            let cells = [&row.endpoint, &row.status, &row.outlier_check, &row.cluster];
            let mut cells: Vec<String> = cells.into_iter().map(|cell| printable(cell)).collect();
            if wide {
                let place = Some(row.locality.as_str()).filter(|place| !place.is_empty());
                let (all, failed) = (row.connections.to_string(), row.failed_connections.to_string());
                cells.extend([dash(place), all, failed, row.reasons.join(", ")]);
            }
            cells
        });
        Some(Self::new(&headers, rows))
    }

    fn eds(view: &ProxyConfigView) -> Option<Self> {
        let rows = view.eds.as_ref()?.iter().map(|row| {
            [&row.name, &row.status, &row.locality, &row.cluster].into_iter().map(|cell| printable(cell)).collect()
        });
        Some(Self::new(&["NAME", "STATUS", "LOCALITY", "CLUSTER"], rows))
    }

    fn secrets(view: &ProxyConfigView) -> Option<Self> {
        let secrets = view.secrets.as_ref()?;
        let mut headers =
            vec!["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"];
        // A column that holds for some rows only would be misread.
        let domains = !secrets.is_empty() && secrets.iter().all(|row| row.trust_domain.is_some());
        if domains {
            headers.push("TRUST DOMAIN");
        }
        let rows = secrets.iter().map(|row| {
            let valid = row.valid_cert.to_string();
            let cells = [
                &row.resource_name,
                &row.kind,
                &row.status,
                &valid,
                &row.serial_number,
                &row.not_after,
                &row.not_before,
            ];
            let mut cells: Vec<String> = cells.into_iter().map(|cell| printable(cell)).collect();
            if domains {
                cells.push(dash(row.trust_domain.as_deref()));
            }
            cells
        });
        Some(Self::new(&headers, rows))
    }

    fn extensions(view: &ProxyConfigView) -> Option<Self> {
        let rows = view.ecds.as_ref()?.iter().map(|row| vec![printable(&row.name), printable(&row.kind)]);
        Some(Self::new(&["ECDS NAME", "TYPE"], rows))
    }

    fn loggers(view: &ProxyConfigView) -> Option<Self> {
        let rows = view.loggers.as_ref()?.iter().map(|row| vec![printable(&row.name), printable(&row.level)]);
        Some(Self::new(&["LOGGER", "LEVEL"], rows))
    }
}
