//! What is warming: clusters and listeners that are configured and not used yet, secrets that have not come, and what
//! each waits for. And what the proxy refused.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::model::envoy::{Cluster, ErrorState, Filter, HttpRoutes, Listener, Part, ProxyAnswers, Stage};

/// What comes within this time is on its way.
const GRACE: SignedDuration = SignedDuration::from_secs(60);

/// Something that is not used yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warming<'a> {
    /// `cluster`, `listener` or `secret`.
    pub kind: &'static str,
    /// Name.
    pub name: &'a str,
    /// Since when.
    pub since: Option<Timestamp>,
    /// Whether an older version of it is in use meanwhile.
    pub has_older: bool,
    /// What it waits for; empty when that cannot be told.
    pub waits_for: Vec<String>,
}

impl Warming<'_> {
    /// Whether it has waited longer than is usual. Without a time it counts as long.
    #[must_use]
    pub fn is_long(&self, now: Timestamp) -> bool {
        self.since.is_none_or(|since| now.duration_since(since) > GRACE)
    }
}

/// Everything that is warming: secrets first, because the others may wait for them.
#[must_use]
pub fn warming(answers: &ProxyAnswers) -> Vec<Warming<'_>> {
    let is = |stage: Stage| stage == Stage::Warming;
    let missing = Missing::new(answers);
    let mut all: Vec<Warming<'_>> = answers
        .secrets
        .iter()
        .filter(|secret| is(secret.stage))
        .map(|secret| Warming {
            kind: "secret",
            name: &secret.name,
            since: secret.last_updated,
            has_older: false,
            waits_for: Vec::new(),
        })
        .collect();
    all.extend(answers.clusters.iter().filter(|cluster| is(cluster.stage)).map(|cluster| Warming {
        kind: "cluster",
        name: &cluster.name,
        since: cluster.last_updated,
        has_older: answers.clusters.iter().any(|other| !is(other.stage) && other.name == cluster.name),
        waits_for: missing.of_cluster(cluster),
    }));
    all.extend(answers.listeners.iter().filter(|listener| is(listener.stage)).map(|listener| Warming {
        kind: "listener",
        name: &listener.name,
        since: listener.last_updated,
        has_older: answers.listeners.iter().any(|other| !is(other.stage) && other.name == listener.name),
        waits_for: missing.of_listener(listener),
    }));
    all
}

/// What has come, to tell what has not.
struct Missing<'a> {
    /// Names of secrets in use; none when the answers do not tell.
    secrets: Option<BTreeSet<&'a str>>,
    /// Names of route configurations.
    routes: Option<BTreeSet<&'a str>>,
    /// Clusters with configured endpoints.
    endpoints: Option<BTreeSet<&'a str>>,
}

impl<'a> Missing<'a> {
    fn new(answers: &'a ProxyAnswers) -> Self {
        let told = |parts: &[Part]| answers.has_all_of(parts);
        let here = |stage: Stage| stage != Stage::Warming;
        Self {
            secrets: told(&[Part::ActiveSecrets, Part::WarmingSecrets, Part::StaticSecrets]).then(|| {
                answers.secrets.iter().filter(|secret| here(secret.stage)).map(|secret| secret.name.as_str()).collect()
            }),
            routes: told(&[Part::DynamicRoutes, Part::StaticRoutes])
                .then(|| answers.routes.iter().map(|config| config.name.as_str()).collect()),
            endpoints: told(&[Part::DynamicEndpoints])
                .then(|| answers.assignments.iter().map(|assignment| assignment.cluster.as_str()).collect()),
        }
    }

    fn secrets(&self, needed: &[String]) -> impl Iterator<Item = String> {
        let missing: Vec<String> = match &self.secrets {
            Some(here) => needed.iter().filter(|name| !here.contains(name.as_str())).cloned().collect(),
            None => Vec::new(),
        };
        missing.into_iter().map(|name| format!("secret {name}"))
    }

    fn of_cluster(&self, cluster: &Cluster) -> Vec<String> {
        let mut waits: Vec<String> = self.secrets(&cluster.secrets).collect();
        let endpoints = if cluster.endpoints_name.is_empty() { &cluster.name } else { &cluster.endpoints_name };
        match cluster.kind.as_str() {
            "EDS" if self.endpoints.as_ref().is_some_and(|known| !known.contains(endpoints.as_str())) => {
                waits.push("its endpoints from istiod".to_owned());
            }
            "STRICT_DNS" | "LOGICAL_DNS" => waits.push("the answer of DNS for its host".to_owned()),
            _ => {}
        }
        waits
    }

    fn of_listener(&self, listener: &Listener) -> Vec<String> {
        let mut waits: Vec<String> = Vec::new();
        for chain in &listener.chains {
            waits.extend(self.secrets(&chain.secrets));
            for filter in &chain.filters {
                if let (Filter::Http(HttpRoutes::Named(name)), Some(known)) = (filter, &self.routes)
                    && !known.contains(name.as_str())
                {
                    waits.push(format!("route {name} from istiod"));
                }
            }
        }
        waits.sort();
        waits.dedup();
        waits
    }
}

/// Something whose newest version the proxy refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// `listener`, `cluster`, …
    pub kind: &'static str,
    /// Name.
    pub name: &'a str,
    /// Envoy's text.
    pub text: &'a str,
}

fn refusal<'a>(kind: &'static str, name: &'a str, error: &'a ErrorState) -> Refusal<'a> {
    Refusal { kind, name, text: &error.details }
}

/// Everything that the proxy refused.
#[must_use]
pub fn refusals(answers: &ProxyAnswers) -> Vec<Refusal<'_>> {
    let mut all: Vec<Refusal<'_>> =
        answers.refused_listeners.iter().map(|listener| refusal("listener", &listener.name, &listener.error)).collect();
    all.extend(answers.clusters.iter().filter_map(|one| Some(refusal("cluster", &one.name, one.error.as_ref()?))));
    all.extend(answers.routes.iter().filter_map(|one| Some(refusal("route", &one.name, one.error.as_ref()?))));
    all.extend(
        answers.assignments.iter().filter_map(|one| Some(refusal("endpoints", &one.cluster, one.error.as_ref()?))),
    );
    all.extend(answers.secrets.iter().filter_map(|one| Some(refusal("secret", &one.name, one.error.as_ref()?))));
    all.extend(answers.extensions.iter().filter_map(|one| Some(refusal("extension", &one.name, one.error.as_ref()?))));
    // Envoy repeats a refusal without a name, for the update as a whole.
    let named: Vec<&str> = all.iter().filter(|one| !one.name.is_empty()).map(|one| one.text).collect();
    all.retain(|one| !one.name.is_empty() || !named.contains(&one.text));
    all.retain(|one| !(one.name.is_empty() && one.text.is_empty()));
    all
}
