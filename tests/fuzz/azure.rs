//! What `az` and istiods say in their own formats: answers of `az`, its logs, and metrics.

use kubectl_asm::mesh::azure_log::Reader as LogReader;
use kubectl_asm::mesh::istiod_metrics::rows;
use kubectl_asm::model::AzureRecord;
use kubectl_asm::model::azure::listed;
use kubectl_asm::model::metrics::{Families, Reader};

use crate::engine::{Target, outcome};
use crate::mutate::Random;
use crate::support;
use crate::targets::target;

/// An answer is refused, or becomes a line that says the same and holds no identifier.
pub fn azure() -> Target {
    let seeds = support::base("azure").iter().map(|object| object["answer"].to_string().into_bytes()).collect();
    target(seeds, |input| {
        let read = [AzureRecord::cluster, AzureRecord::revisions, AzureRecord::upgrades, AzureRecord::tools];
        let mut seen = 0;
        for (number, read) in read.into_iter().enumerate() {
            if let Ok(record) = read(input) {
                let line = record.line();
                assert_eq!(
                    serde_json::from_slice::<AzureRecord>(&line).ok().as_ref(),
                    Some(&record),
                    "a line says the same"
                );
                seen |= 1 << number;
            }
        }
        outcome((seen, listed(input).map(|list| list.len()).ok()))
    })
}

/// A log of any bytes is read to its end, and no word of it that could be a token comes out.
pub fn az_log() -> Target {
    let text = "cli.azure.cli.core.sdk.policies: Request URL: 'https://management.azure.com/subscriptions/aaaaaaaa-0000-0000-0000-000000000000/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/c1?api-version=1'\n\
        cli.azure.cli.core.sdk.policies: Request method: 'PUT'\n\
        cli.azure.cli.core.sdk.policies:     'Authorization': 'Bearer eyJhbGciOiJub25lIn0.x.y'\n\
        cli.azure.cli.core.sdk.policies: Response status: 400\n\
        cli.azure.cli.core.sdk.policies:     'x-ms-correlation-request-id': 'cccccccc-0000-0000-0000-000000000002'\n\
        {\"code\": \"BadRequest\", \"message\": \"access_token=eyJhbGciOiJub25lIn0 was not enough\"}\n\
        ERROR: (BadRequest) Requested change in revisions is not allowed.\n";
    target(vec![text.as_bytes().to_vec()], |input| {
        let mut reader = LogReader::default();
        String::from_utf8_lossy(input).lines().for_each(|line| reader.push(line));
        let decoded = reader.finish();
        for one in &decoded.unknown {
            let is_token = |word: &str| word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).starts_with("eyJ");
            assert!(!one.message.split_whitespace().any(is_token), "{}", one.message);
            assert!(one.message.chars().count() <= 301);
        }
        outcome((decoded.known.len(), decoded.unknown.len(), decoded.exchanges.len()))
    })
}

/// Pieces of any size give the same numbers, and these can be written down and shown.
pub fn metrics() -> Target {
    let recorded = include_bytes!("../recorded/istiod-asm-1-28-0/metrics.txt").to_vec();
    target(vec![recorded], |input| {
        let mut whole = Reader::default();
        whole.push(input);
        let whole = whole.finish();
        let mut random = Random(input.len() as u64);
        let mut cut = Reader::default();
        let mut rest = input;
        while !rest.is_empty() {
            let (piece, more) = rest.split_at((random.below(200) + 1).min(rest.len()));
            cut.push(piece);
            rest = more;
        }
        let cut = cut.finish();
        assert_eq!(cut, whole, "pieces change the numbers");
        let line = serde_json::to_vec(&whole).unwrap();
        assert_eq!(serde_json::from_slice::<Families>(&line).unwrap(), whole);
        let rows = rows(&whole);
        let texts: usize = rows.iter().map(|row| row.text().len() + row.meaning().len()).sum();
        outcome((rows.len(), texts > 0))
    })
}
