//! Events.

use jiff::Timestamp;
use serde::Deserialize;

use super::meta::lenient_time;
use super::{Meta, nullable};

/// A core/v1 Event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Object metadata.
    #[serde(default, deserialize_with = "nullable")]
    pub metadata: Meta,
    /// Whom it is about.
    #[serde(default, deserialize_with = "nullable")]
    pub involved_object: ObjectRef,
    /// Machine-readable reason such as `FailedMount`.
    #[serde(default, deserialize_with = "nullable")]
    pub reason: String,
    /// Text.
    #[serde(default, deserialize_with = "nullable")]
    pub message: String,
    /// When it was last seen, old style.
    #[serde(default, deserialize_with = "lenient_time")]
    pub last_timestamp: Option<Timestamp>,
    /// When it happened, new style.
    #[serde(default, deserialize_with = "lenient_time")]
    pub event_time: Option<Timestamp>,
    /// Repetitions, new style.
    #[serde(default, deserialize_with = "nullable")]
    pub series: Series,
}

/// Repetitions of an event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// When it was last seen.
    #[serde(default, deserialize_with = "lenient_time")]
    pub last_observed_time: Option<Timestamp>,
}

/// A reference to an object.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct ObjectRef {
    /// Kind.
    #[serde(default, deserialize_with = "nullable")]
    pub kind: String,
    /// Namespace.
    #[serde(default, deserialize_with = "nullable")]
    pub namespace: String,
    /// Name.
    #[serde(default, deserialize_with = "nullable")]
    pub name: String,
}

impl Event {
    /// When it was last seen.
    #[must_use]
    pub fn last_seen(&self) -> Option<Timestamp> {
        self.series.last_observed_time.or(self.last_timestamp).or(self.event_time).or(self.metadata.creation_timestamp)
    }
}
