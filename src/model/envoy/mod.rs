//! Answers of Envoy's admin interface, decoded element by element into what tables and verdicts need.
//!
//! Both spellings are read: Envoy's own (`filter_chains`) and that of istiod's `config_dump` (`filterChains`). An element
//! that cannot be decoded costs itself.

mod bootstrap;
mod cluster;
mod common;
mod comparison;
mod endpoint;
mod listener;
mod route;
mod secret;
pub mod split;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

pub use bootstrap::{Bootstrap, Extension, Logger, Node, Unready, loggers};
pub use cluster::Cluster;
pub use common::{Address, ErrorState, IstioMetadata, Stage};
pub use comparison::{ComparedKind, Comparison, Difference};
pub use endpoint::{ClusterHosts, Endpoint, Health, Host, LoadAssignment, Locality, LocalityEndpoints};
pub use listener::{BLACK_HOLE, Chain, ChainMatch, Filter, HttpRoutes, Listener, RefusedListener};
pub use route::{Action, PathMatch, Route, RouteConfig, VirtualHost};
pub use secret::{PublicCertificates, Secret};
pub use split::{Part, SplitError};

use super::{Meta, nullable};
use split::{Piece, Splitter};

/// Elements that could not be decoded of which the place is kept; further ones are only counted.
const DAMAGED_SHOWN: usize = 20;

/// What one proxy answered.
#[derive(Clone, Debug, Default)]
pub struct ProxyAnswers {
    /// The pod that was asked, where that is known otherwise than from the answers.
    pub metadata: Meta,
    /// The answers' parts that were there, also empty ones.
    pub parts: BTreeSet<Part>,
    /// Whether a `config_dump` is among the answers.
    pub has_dump: bool,
    /// See [`Part::Bootstrap`].
    pub bootstrap: Option<Bootstrap>,
    /// Clusters of all stages.
    pub clusters: Vec<Cluster>,
    /// Listeners of all stages.
    pub listeners: Vec<Listener>,
    /// Listeners whose newest version was refused.
    pub refused_listeners: Vec<RefusedListener>,
    /// Route configurations.
    pub routes: Vec<RouteConfig>,
    /// Endpoints as they were configured.
    pub assignments: Vec<LoadAssignment>,
    /// Secrets.
    pub secrets: Vec<Secret>,
    /// Extensions.
    pub extensions: Vec<Extension>,
    /// Endpoints as the proxy sees them.
    pub hosts: Vec<ClusterHosts>,
    /// What its start waits for.
    pub unready: Vec<Unready>,
    /// Parts of which something is missing: an element could not be decoded.
    pub partial: BTreeSet<Part>,
    /// An answer stopped early.
    pub is_cut: bool,
    /// Elements that could not be decoded.
    pub damaged: Vec<Damaged>,
    /// How many further ones.
    pub damaged_more: usize,
    /// How it compared with what istiod would have sent, where a bundle says so.
    pub comparison: Option<Comparison>,
}

/// What is missing from a proxy's answers, as a bundle keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct MissingRecord {
    cut: bool,
    partial: Vec<String>,
    damaged: Vec<Damaged>,
    damaged_more: usize,
}

/// An element that could not be decoded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damaged {
    /// The list and the place in it, counted from 1.
    pub element: String,
    /// What is wrong with it, without its content.
    pub message: String,
}

/// Reads one answer into [`ProxyAnswers`] while its bytes arrive.
pub struct Reader<'a, 'f> {
    splitter: Splitter,
    answers: &'a mut ProxyAnswers,
    seen: BTreeMap<Part, usize>,
    known: bool,
    /// The first bytes, for the case that the answer is a sentence.
    head: Vec<u8>,
    /// Who else gets what was understood.
    beside: Option<Beside<'a, 'f>>,
}

/// Gets pieces of an answer that were understood.
pub type Beside<'a, 'f> = &'a mut (dyn FnMut(Piece<'_>) + Send + 'f);

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Not JSON: the beginning of what it says instead. Envoy answers with a sentence, and status 200, when it does not
    /// know a type in its own configuration.
    #[error("it is no JSON: {0}")]
    Sentence(String),
    /// JSON that is broken or stops early. What came before it stays.
    #[error(transparent)]
    Broken(#[from] SplitError),
    /// JSON without any of the lists.
    #[error("it is JSON, but neither a config_dump nor /clusters?format=json")]
    Unknown,
}

impl<'a, 'f> Reader<'a, 'f> {
    /// A reader at the beginning of an answer.
    pub fn new(answers: &'a mut ProxyAnswers) -> Self {
        Self { splitter: Splitter::new(), answers, seen: BTreeMap::new(), known: false, head: Vec::new(), beside: None }
    }

    /// A reader that also hands on, as they came, the lists and those elements that were understood.
    pub fn beside(answers: &'a mut ProxyAnswers, beside: Option<Beside<'a, 'f>>) -> Self {
        Self { beside, ..Self::new(answers) }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// The answer is none, or broken; what came before stays.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), ReadError> {
        const HEAD: usize = 300;
        let room = HEAD.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(&chunk[..room]);
        let Self { splitter, answers, seen, known, beside, .. } = self;
        let mut hand_on = |piece: Piece<'_>| beside.iter_mut().for_each(|beside| beside(piece));
        let pushed = splitter.push(chunk, |piece| match piece {
            Piece::Dump => {
                *known = true;
                answers.has_dump = true;
                hand_on(piece);
            }
            Piece::Opened(part) => {
                *known = true;
                answers.parts.insert(part);
                hand_on(piece);
            }
            Piece::Element(part, bytes) => {
                let number = seen.entry(part).or_default();
                *number += 1;
                answers.parts.insert(part);
                match answers.take(part, bytes) {
                    Ok(()) => hand_on(piece),
                    Err(error) => answers.damage(part, *number, category(&error)),
                }
            }
            Piece::TooLarge(part) => {
                let number = seen.entry(part).or_default();
                *number += 1;
                answers.damage(part, *number, "larger than anything Envoy sends".to_owned());
            }
        });
        self.answers.is_cut |= pushed.is_err();
        pushed.map_err(|error| self.explain(error))
    }

    /// The bytes have ended.
    ///
    /// # Errors
    /// They ended too early, or they were no admin answer.
    pub fn finish(self) -> Result<(), ReadError> {
        if let Err(error) = self.splitter.finish() {
            self.answers.is_cut = true;
            return Err(self.explain(error));
        }
        // `/init_dump` of a proxy that waits for nothing, and `/clusters` of one without clusters, are empty objects.
        if self.known || is_empty_object(&self.head) { Ok(()) } else { Err(ReadError::Unknown) }
    }

    fn explain(&self, error: SplitError) -> ReadError {
        if error != SplitError::NotAnObject {
            return error.into();
        }
        let text = String::from_utf8_lossy(&self.head);
        let line = text.trim_start().lines().next().unwrap_or_default();
        ReadError::Sentence(super::quoted::printable(line.trim_end()))
    }
}

fn is_empty_object(head: &[u8]) -> bool {
    head.iter().filter(|byte| !byte.is_ascii_whitespace()).eq(b"{}")
}

/// The kind of decoding error, without any of the element's content.
fn category(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => format!("unexpected type at column {}", error.column()),
        _ => format!("not JSON at column {}", error.column()),
    }
}

impl ProxyAnswers {
    /// Decodes one element.
    fn take(&mut self, part: Part, bytes: &[u8]) -> Result<(), serde_json::Error> {
        // A list would be taken for an object whose fields stand in order.
        if !bytes.starts_with(b"{") {
            return Err(serde::de::Error::custom("not an object"));
        }
        fn of<'b, T: Deserialize<'b>>(bytes: &'b [u8]) -> Result<T, serde_json::Error> {
            serde_json::from_slice(bytes)
        }
        match part {
            Part::Bootstrap => self.bootstrap = Some(of(bytes)?),
            Part::StaticClusters | Part::ActiveClusters | Part::WarmingClusters => {
                self.clusters.push(of::<cluster::Entry>(bytes)?.into_cluster(stage(part)));
            }
            Part::StaticListeners => {
                self.listeners.extend(of::<listener::Entry>(bytes)?.into_listener(Stage::Static));
            }
            Part::DynamicListeners => {
                let (listeners, refused) = of::<listener::DynamicEntry>(bytes)?.into_listeners();
                self.listeners.extend(listeners);
                self.refused_listeners.extend(refused);
            }
            Part::StaticRoutes | Part::DynamicRoutes => {
                self.routes.push(of::<route::Entry>(bytes)?.into_route_config(stage(part)));
            }
            Part::StaticEndpoints | Part::DynamicEndpoints => {
                self.assignments.push(of::<endpoint::Entry>(bytes)?.into_assignment());
            }
            Part::StaticSecrets | Part::ActiveSecrets | Part::WarmingSecrets => {
                self.secrets.push(of::<secret::Entry>(bytes)?.into_secret(stage(part)));
            }
            Part::Extensions => self.extensions.push(of::<bootstrap::ExtensionEntry>(bytes)?.into_extension()),
            Part::Hosts => self.hosts.push(of(bytes)?),
            Part::Unready => self.unready.push(of(bytes)?),
        }
        Ok(())
    }

    fn damage(&mut self, part: Part, number: usize, message: String) {
        self.partial.insert(part);
        if self.damaged.len() < DAMAGED_SHOWN {
            self.damaged.push(Damaged { element: format!("{} {number}", part.name()), message });
        } else {
            self.damaged_more += 1;
        }
    }

    /// Decodes a line of a bundle: the pod's metadata, answers as they came, and what was missing from them.
    ///
    /// # Errors
    /// When it is not such a line.
    pub fn decode(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Line<'a> {
            #[serde(default, deserialize_with = "nullable")]
            metadata: Meta,
            #[serde(default, borrow)]
            answers: Vec<&'a RawValue>,
            #[serde(default, deserialize_with = "nullable")]
            missing: MissingRecord,
            #[serde(default)]
            comparison: Option<Comparison>,
        }
        let line: Line<'_> = serde_json::from_slice(bytes)?;
        let MissingRecord { cut, partial, damaged, damaged_more } = line.missing;
        let mut answers = Self {
            metadata: line.metadata,
            is_cut: cut,
            partial: partial.iter().filter_map(|name| Part::named(name)).collect(),
            damaged,
            damaged_more,
            comparison: line.comparison,
            ..Self::default()
        };
        for answer in line.answers {
            let mut reader = Reader::new(&mut answers);
            let read = reader.push(answer.get().as_bytes()).and_then(|()| reader.finish());
            read.map_err(serde::de::Error::custom)?;
        }
        Ok(answers)
    }

    /// What is missing from the answers, for a bundle; none when nothing is.
    #[must_use]
    pub fn missing(&self) -> Option<MissingRecord> {
        let record = MissingRecord {
            cut: self.is_cut,
            partial: self.partial.iter().map(|part| part.name().to_owned()).collect(),
            damaged: self.damaged.clone(),
            damaged_more: self.damaged_more,
        };
        (record != MissingRecord::default()).then_some(record)
    }

    /// One per proxy: a large configuration stands on several lines of a bundle.
    #[must_use]
    pub fn joined(lines: Vec<Self>) -> Vec<Self> {
        let mut proxies: Vec<Self> = Vec::new();
        for line in lines {
            let pod = (&line.metadata.namespace, &line.metadata.name);
            let known =
                proxies.iter_mut().find(|p| !pod.1.is_empty() && (&p.metadata.namespace, &p.metadata.name) == pod);
            match known {
                Some(proxy) => proxy.absorb(line),
                None => proxies.push(line),
            }
        }
        proxies
    }

    fn absorb(&mut self, other: Self) {
        self.parts.extend(other.parts);
        self.has_dump |= other.has_dump;
        if other.bootstrap.is_some() {
            self.bootstrap = other.bootstrap;
        }
        self.clusters.extend(other.clusters);
        self.listeners.extend(other.listeners);
        self.refused_listeners.extend(other.refused_listeners);
        self.routes.extend(other.routes);
        self.assignments.extend(other.assignments);
        self.secrets.extend(other.secrets);
        self.extensions.extend(other.extensions);
        self.hosts.extend(other.hosts);
        self.unready.extend(other.unready);
        self.partial.extend(other.partial);
        self.is_cut |= other.is_cut;
        self.damaged.extend(other.damaged);
        self.damaged_more += other.damaged_more;
        self.comparison = self.comparison.take().or(other.comparison);
    }

    /// Namespace and name of the pod, from what was asked or from the proxy's own words.
    #[must_use]
    pub fn pod(&self) -> Option<(&str, &str)> {
        if !self.metadata.name.is_empty() {
            return Some((&self.metadata.namespace, &self.metadata.name));
        }
        let (_, namespace, name) = self.bootstrap.as_ref()?.node.identity()?;
        Some((namespace, name))
    }

    /// Whether a part came, and whole, so that what is not in it is not there.
    #[must_use]
    pub fn has_all_of(&self, parts: &[Part]) -> bool {
        !self.is_cut && self.has(parts) && !parts.iter().any(|part| self.partial.contains(part))
    }

    /// Whether one of these parts was in the answers.
    #[must_use]
    pub fn has(&self, parts: &[Part]) -> bool {
        parts.iter().any(|part| self.parts.contains(part))
    }
}

fn stage(part: Part) -> Stage {
    match part {
        Part::WarmingClusters | Part::WarmingSecrets => Stage::Warming,
        Part::StaticClusters | Part::StaticRoutes | Part::StaticSecrets => Stage::Static,
        _ => Stage::Active,
    }
}
