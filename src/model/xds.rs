//! What istiod says about the proxies connected to it.
//!
//! A line of the source `xds` is either about one istiod pod (did it answer, which version is it) or about one proxy as
//! that istiod lists it: an element of its `/debug/syncz` with the time of its connection from `/debug/connections`. The
//! shapes are those of `pilot/pkg/xds/debug.go` in Istio 1.17 to 1.32; all of their fields may be absent.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::meta::lenient_time;
use super::nullable;

/// One line of the source `xds`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum XdsRecord {
    /// An istiod pod that was asked.
    Istiod(IstiodAnswer),
    /// A proxy that an istiod lists.
    Proxy(XdsClient),
}

/// How asking an istiod pod ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Asked {
    /// It listed its proxies.
    Answered,
    /// Nothing listens in the pod: it serves no proxy either.
    Refused,
    /// The pod does not run (yet, or any more), so it was not asked.
    NotRunning,
    /// It could not be asked, or its answer was no answer: the proxies connected to it are unknown.
    #[default]
    #[serde(other)]
    Failed,
}

/// An istiod pod, and what came of asking it.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct IstiodAnswer {
    /// Pod name.
    #[serde(default, deserialize_with = "nullable")]
    pub pod: String,
    /// Its namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub namespace: String,
    /// Its revision, from its label.
    #[serde(default, deserialize_with = "nullable")]
    pub revision: String,
    /// Whether it answered.
    #[serde(default, deserialize_with = "nullable")]
    pub asked: Asked,
    /// What `/version` says, e.g. `1.28.9-2-3cd63a4-Clean`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// How many proxies are connected: counted in its list, or its metric `pilot_xds` where the list may not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxies: Option<u64>,
    /// Its clock when it answered; ages of what it sent are counted from here.
    #[serde(default, deserialize_with = "lenient_time", skip_serializing_if = "Option::is_none")]
    pub date: Option<Timestamp>,
    /// Why it did not answer, in a sentence without a period.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A proxy as one istiod lists it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct XdsClient {
    /// The istiod pod that lists it.
    #[serde(default, deserialize_with = "nullable")]
    pub istiod: String,
    /// When it connected, the latest connection if it has several to this istiod.
    #[serde(default, deserialize_with = "lenient_time")]
    pub connected_at: Option<Timestamp>,
    /// How many connections this istiod has from it.
    #[serde(default, deserialize_with = "nullable")]
    pub connections: u32,
    /// Its element of `/debug/syncz`.
    #[serde(default, deserialize_with = "nullable")]
    pub syncz: SyncEntry,
}

/// An element of `/debug/syncz`.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct SyncEntry {
    /// `POD.NAMESPACE`; a pod's name can have dots too.
    #[serde(default, deserialize_with = "nullable")]
    pub proxy: String,
    /// `sidecar`, `router`, `waypoint` or `ztunnel`; empty for clients that are no proxies, and before Istio 1.18.
    #[serde(default, deserialize_with = "nullable")]
    pub proxy_type: String,
    /// Version of the proxy; empty for clients that are no proxies.
    #[serde(default, deserialize_with = "nullable")]
    pub istio_version: String,
    /// The types it has subscribed to, by type URL; none before Istio 1.23.
    #[serde(default)]
    pub resources: Option<BTreeMap<String, ResourceSync>>,
}

impl SyncEntry {
    /// Pod and namespace, split at the last dot.
    #[must_use]
    pub fn pod(&self) -> Option<(&str, &str)> {
        self.proxy.rsplit_once('.').filter(|(pod, namespace)| !pod.is_empty() && !namespace.is_empty())
    }
}

/// How the last thing that istiod sent compares with the last one that the proxy accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Nonces {
    /// Nothing was sent.
    #[default]
    NothingSent,
    /// The proxy accepted what was sent last.
    Equal,
    /// The proxy accepted something earlier.
    Behind,
    /// The proxy never accepted anything.
    NeverAcknowledged,
}

/// One type of configuration of one proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceSync {
    /// What was sent against what was accepted.
    pub nonces: Nonces,
    /// When it was sent; none where istiod does not say.
    pub sent_at: Option<Timestamp>,
    /// Envoy's reason for refusing what was sent last.
    pub last_error: Option<Box<str>>,
}

impl<'de> Deserialize<'de> for ResourceSync {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Of thousands of nonces only the comparison is kept.
        #[derive(Default, Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Raw<'a> {
            #[serde(default, borrow)]
            sent: Option<Cow<'a, str>>,
            #[serde(default, borrow)]
            acked: Option<Cow<'a, str>>,
            #[serde(default, deserialize_with = "lenient_time")]
            sent_time: Option<Timestamp>,
            #[serde(default)]
            last_error: Option<Box<str>>,
        }
        let raw = Option::<Raw<'de>>::deserialize(deserializer)?.unwrap_or_default();
        let (sent, acked) = (raw.sent.unwrap_or_default(), raw.acked.unwrap_or_default());
        Ok(Self {
            nonces: match (sent.is_empty(), acked.is_empty()) {
                (true, _) => Nonces::NothingSent,
                (false, true) => Nonces::NeverAcknowledged,
                (false, false) if sent == acked => Nonces::Equal,
                (false, false) => Nonces::Behind,
            },
            // Go's zero time stands for "never".
            sent_at: raw.sent_time.filter(|time| time.as_second() > 0),
            last_error: raw.last_error.filter(|text| !text.trim().is_empty()),
        })
    }
}

/// A type of configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct XdsType<'a>(&'a str);

/// Short names of type URLs in the order in which proxies ask for them (`pkg/model/xds.go` in Istio and Envoy's xDS
/// documentation).
const TYPES: [(&str, &str); 11] = [
    ("CDS", "envoy.config.cluster.v3.Cluster"),
    ("LDS", "envoy.config.listener.v3.Listener"),
    ("EDS", "envoy.config.endpoint.v3.ClusterLoadAssignment"),
    ("RDS", "envoy.config.route.v3.RouteConfiguration"),
    ("ECDS", "envoy.config.core.v3.TypedExtensionConfig"),
    ("SDS", "envoy.extensions.transport_sockets.tls.v3.Secret"),
    ("NDS", "istio.networking.nds.v1.NameTable"),
    ("PCDS", "istio.mesh.v1alpha1.ProxyConfig"),
    ("WDS", "istio.workload.Address"),
    ("WDS", "istio.workload.Workload"),
    ("WADS", "istio.security.Authorization"),
];

impl<'a> XdsType<'a> {
    /// From a type URL such as `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
    #[must_use]
    pub fn of_url(url: &'a str) -> Self {
        Self(url.rsplit_once('/').map_or(url, |(_, name)| name))
    }

    /// `CDS`; the last word of the type's name for one that is not known here.
    #[must_use]
    pub fn short(self) -> &'a str {
        match TYPES.iter().find(|(_, name)| *name == self.0) {
            Some((short, _)) => short,
            None => self.0.rsplit_once('.').map_or(self.0, |(_, word)| word),
        }
    }

    /// The place of a type among columns by its short name; unknown types come last.
    #[must_use]
    pub fn rank_of(short: &str) -> usize {
        TYPES.iter().position(|(name, _)| *name == short).unwrap_or(TYPES.len())
    }

    /// Its place among columns; unknown types come last.
    #[must_use]
    pub fn rank(self) -> usize {
        TYPES.iter().position(|(_, name)| *name == self.0).unwrap_or(TYPES.len())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn resource(json: &str) -> ResourceSync {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn nonces_are_compared() {
        for (json, nonces) in [
            ("{}", Nonces::NothingSent),
            ("null", Nonces::NothingSent),
            (r#"{"sent":"","acked":"a"}"#, Nonces::NothingSent),
            (r#"{"sent":"a","acked":"a"}"#, Nonces::Equal),
            (r#"{"sent":"b","acked":"a"}"#, Nonces::Behind),
            (r#"{"sent":"b"}"#, Nonces::NeverAcknowledged),
            (r#"{"sent":"b","acked":null,"ofTomorrow":{}}"#, Nonces::NeverAcknowledged),
        ] {
            assert_eq!(resource(json).nonces, nonces, "{json}");
        }
    }

    #[test]
    fn the_zero_time_is_no_time_and_a_blank_error_no_error() {
        let zero = resource(r#"{"sent":"a","acked":"a","sentTime":"0001-01-01T00:00:00Z","lastError":" "}"#);
        assert_eq!((zero.sent_at, zero.last_error), (None, None));
        let refused = resource(r#"{"sent":"a","sentTime":"2026-11-23T05:59:17.9Z","lastError":"no \"x\""}"#);
        assert_eq!(refused.sent_at.unwrap().as_second(), 1_795_413_557);
        assert_eq!(refused.last_error.as_deref(), Some("no \"x\""));
    }

    #[test]
    fn the_namespace_follows_the_last_dot() {
        let entry = |proxy: &str| SyncEntry { proxy: proxy.to_owned(), ..SyncEntry::default() };
        assert_eq!(entry("web-0.a.b.shop").pod(), Some(("web-0.a.b", "shop")));
        assert_eq!(entry("web-0").pod(), None);
        assert_eq!(entry("web-0.").pod(), None);
    }

    #[test]
    fn types_have_short_names() {
        let short = |url| XdsType::of_url(url).short();
        assert_eq!(short("type.googleapis.com/envoy.config.cluster.v3.Cluster"), "CDS");
        assert_eq!(short("type.googleapis.com/istio.of.tomorrow.Thing"), "Thing");
        assert_eq!(short("Thing"), "Thing");
        assert!(XdsType::of_url("x/envoy.config.cluster.v3.Cluster").rank() < XdsType::of_url("x/Thing").rank());
    }

    #[test]
    fn lines_of_both_kinds_are_read() {
        let record: XdsRecord =
            serde_json::from_str(r#"{"istiod":{"pod":"istiod-1","asked":"ofTomorrow","date":null}}"#).unwrap();
        assert!(matches!(record, XdsRecord::Istiod(answer) if answer.asked == Asked::Failed));
        let record: XdsRecord =
            serde_json::from_str(r#"{"proxy":{"istiod":"istiod-1","syncz":{"proxy":"a.b","resources":null}}}"#)
                .unwrap();
        assert!(matches!(record, XdsRecord::Proxy(client) if client.syncz.resources.is_none()));
    }
}
