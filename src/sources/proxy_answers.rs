//! The source `proxyAnswers`: the lines of a bundle that a proxy's answers become while they arrive.

use std::collections::BTreeMap;

use crate::model::envoy::split::Piece;
use crate::model::envoy::{Comparison, Part, ProxyAnswers};

/// About how much of the answers stands on one line: far below what a reader of bundles takes for one.
const LINE: usize = 1 << 20;

/// Collects what [`crate::model::envoy::Reader::beside`] hands on.
#[derive(Debug)]
pub struct Lines {
    namespace: String,
    pod: String,
    has_dump: bool,
    /// Elements by part, joined by commas.
    open: BTreeMap<Part, Vec<u8>>,
    size: usize,
    lines: Vec<Vec<u8>>,
}

impl Lines {
    /// Nothing yet, of this proxy.
    #[must_use]
    pub fn of(namespace: &str, pod: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            has_dump: false,
            open: BTreeMap::new(),
            size: 0,
            lines: Vec::new(),
        }
    }

    /// Takes a piece of an answer.
    pub fn take(&mut self, piece: Piece<'_>) {
        match piece {
            Piece::Dump => self.has_dump = true,
            Piece::Opened(part) => {
                self.open.entry(part).or_default();
            }
            Piece::Element(part, bytes) => {
                if self.size > 0 && self.size + bytes.len() > LINE {
                    self.close();
                }
                let elements = self.open.entry(part).or_default();
                if !elements.is_empty() {
                    elements.push(b',');
                }
                elements.extend_from_slice(bytes);
                self.size += bytes.len();
            }
            Piece::TooLarge(_) => {}
        }
    }

    /// All lines, with what is missing from the answers on the last.
    #[must_use]
    pub fn finish(mut self, answers: &ProxyAnswers) -> Vec<Vec<u8>> {
        if self.has_dump || !self.open.is_empty() {
            self.close();
        }
        if let Some(missing) = answers.missing() {
            let line = serde_json::json!({ "metadata": self.metadata(), "missing": missing });
            self.lines.push(line.to_string().into_bytes());
        }
        self.lines
    }

    /// The line that says how a proxy compared with what istiod would send it.
    #[must_use]
    pub fn comparison(namespace: &str, pod: &str, comparison: &Comparison) -> Vec<u8> {
        let metadata = Self::of(namespace, pod).metadata();
        serde_json::json!({ "metadata": metadata, "comparison": comparison }).to_string().into_bytes()
    }

    fn metadata(&self) -> serde_json::Value {
        serde_json::json!({ "namespace": self.namespace, "name": self.pod })
    }

    fn close(&mut self) {
        self.size = 0;
        let open = std::mem::take(&mut self.open);
        let mut line = format!(r#"{{"metadata":{},"answers":["#, self.metadata()).into_bytes();
        let mut separator: &[u8] = b"";
        if self.has_dump {
            line.extend_from_slice(br#"{"configs":[{"#);
            for (part, elements) in open.iter().filter(|(part, _)| !part.is_at_top()) {
                line.extend_from_slice(separator);
                member(&mut line, *part, elements);
                separator = b",";
            }
            line.extend_from_slice(b"}]}");
            separator = b",";
        }
        for (part, elements) in open.iter().filter(|(part, _)| part.is_at_top()) {
            line.extend_from_slice(separator);
            line.push(b'{');
            member(&mut line, *part, elements);
            line.push(b'}');
            separator = b",";
        }
        line.extend_from_slice(b"]}");
        self.lines.push(line);
    }
}

fn member(line: &mut Vec<u8>, part: Part, elements: &[u8]) {
    // The bootstrap is the one part that is an object and no list.
    let (open, end): (&[u8], &[u8]) = match part {
        Part::Bootstrap if elements.is_empty() => (b"{}", b""),
        Part::Bootstrap => (b"", b""),
        _ => (b"[", b"]"),
    };
    line.extend_from_slice(format!("\"{}\":", part.name()).as_bytes());
    line.extend_from_slice(open);
    line.extend_from_slice(elements);
    line.extend_from_slice(end);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // reason: a failed assumption should fail the test loudly

    use super::*;
    use crate::model::envoy::Reader;

    fn lines(answers: &mut ProxyAnswers, texts: &[&str]) -> Vec<Vec<u8>> {
        let mut lines = Lines::of("shop", "cart-1");
        for text in texts {
            let mut beside = |piece: Piece<'_>| lines.take(piece);
            let mut reader = Reader::beside(answers, Some(&mut beside));
            // A cut answer is part of what is tested.
            let _ = reader.push(text.as_bytes()).and_then(|()| reader.finish());
        }
        lines.finish(answers)
    }

    fn back(lines: &[Vec<u8>]) -> ProxyAnswers {
        let mut proxies = ProxyAnswers::joined(lines.iter().map(|line| ProxyAnswers::decode(line).unwrap()).collect());
        assert_eq!(proxies.len(), 1);
        proxies.remove(0)
    }

    /// Without the pod, which only the lines know.
    fn words(answers: &ProxyAnswers) -> String {
        format!("{:?}", ProxyAnswers { metadata: crate::model::Meta::default(), ..answers.clone() })
    }

    #[test]
    fn lines_give_the_answers_back() {
        let dump = r#"{"configs": [
            {"bootstrap": {"node": {"id": "sidecar~10.0.0.1~cart-1.shop~shop.svc.cluster.local"}}},
            {"dynamic_active_clusters": [{"cluster": {"name": "a"}}, {"cluster": {"name": "b"}}], "static_clusters": []},
            {"dynamic_listeners": [{"name": "l", "active_state": {"listener": {"name": "l"}}}]}
        ]}"#;
        let hosts = r#"{"cluster_statuses": [{"name": "a"}, {"name": "b"}]}"#;
        let mut answers = ProxyAnswers::default();
        let found = lines(&mut answers, &[dump, hosts]);
        assert_eq!(found.len(), 1);
        let back = back(&found);
        assert_eq!(back.pod(), Some(("shop", "cart-1")));
        assert!(back.has_all_of(&[Part::StaticClusters]), "an empty list was there, too");
        assert_eq!(words(&back), words(&answers));
    }

    #[test]
    fn a_large_configuration_stands_on_several_lines() {
        let cluster =
            |number: usize| format!(r#"{{"cluster": {{"name": "{number}", "padding": "{}"}}}}"#, "x".repeat(9000));
        let clusters: Vec<String> = (0..400).map(cluster).collect();
        let dump = format!(r#"{{"configs": [{{"dynamic_active_clusters": [{}]}}]}}"#, clusters.join(","));
        let mut answers = ProxyAnswers::default();
        let found = lines(&mut answers, &[&dump]);
        assert!(found.len() > 2 && found.iter().all(|line| line.len() < LINE + 20_000), "{}", found.len());
        assert_eq!(words(&back(&found)), words(&answers));
    }

    #[test]
    fn what_is_missing_stays_missing() {
        let dump =
            r#"{"configs": [{"dynamic_active_clusters": [{"cluster": {"name": "a"}}, {"cluster": 7}]}, {"dynamic_lis"#;
        let mut answers = ProxyAnswers::default();
        let found = lines(&mut answers, &[dump]);
        assert!(answers.is_cut && answers.damaged.len() == 1);
        let back = back(&found);
        assert!(!back.has_all_of(&[Part::ActiveClusters]));
        assert_eq!(words(&back), words(&answers));
    }

    #[test]
    fn a_proxy_that_has_nothing_is_not_one_that_was_not_asked() {
        let mut answers = ProxyAnswers::default();
        let found = lines(&mut answers, &[r#"{"configs": []}"#]);
        assert!(back(&found).has_dump);
    }
}
