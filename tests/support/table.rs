//! Tables as text, taken apart into cells.
#![allow(clippy::panic)]

/// The cells of a table: where its header's words begin, its columns do.
pub fn cells(table: &str, headers: &[&str]) -> Vec<Vec<String>> {
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_else(|| panic!("no header in {table:?}"));
    let mut starts = Vec::new();
    let mut from = 0;
    for header in headers {
        let at = from + head[from..].find(header).unwrap_or_else(|| panic!("{header} is not in {head:?}"));
        starts.push(at);
        from = at + header.len();
    }
    assert_eq!(head[from..].trim(), "", "more columns than expected: {head:?}");
    lines
        .map(|line| {
            let line: Vec<char> = line.chars().collect();
            let cell = |number: usize| {
                let end = starts.get(number + 1).copied().unwrap_or(line.len()).min(line.len());
                let start = starts[number].min(end);
                line[start..end].iter().collect::<String>().trim().to_owned()
            };
            (0..starts.len()).map(cell).collect()
        })
        .collect()
}

/// Columns of clusters.
pub const CLUSTERS: &[&str] = &["SERVICE FQDN", "PORT", "SUBSET", "DIRECTION", "TYPE", "DESTINATION RULE"];
/// Columns of listeners.
pub const LISTENERS: &[&str] = &["ADDRESSES", "PORT", "MATCH", "DESTINATION"];
/// Columns of routes.
pub const ROUTES: &[&str] = &["NAME", "VHOST NAME", "DOMAINS", "MATCH", "VIRTUAL SERVICE"];
/// Columns of configured endpoints.
pub const EDS: &[&str] = &["NAME", "STATUS", "LOCALITY", "CLUSTER"];
/// Columns of endpoints.
pub const ENDPOINTS: &[&str] = &["ENDPOINT", "STATUS", "OUTLIER CHECK", "CLUSTER"];
/// Columns of secrets.
pub const SECRETS: &[&str] =
    &["RESOURCE NAME", "TYPE", "STATUS", "VALID CERT", "SERIAL NUMBER", "NOT AFTER", "NOT BEFORE"];
