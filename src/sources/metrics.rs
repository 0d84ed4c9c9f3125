//! The source `istiodMetrics`: which istiod pods to ask, and the line that an answer becomes.

use crate::cluster::istiod::is_refused;
use crate::cluster::{IstiodRequest, Life, MetricsReply};
use crate::model::metrics::IstiodMetrics;
use crate::model::xds::Asked;
use crate::snapshot::{Fault, FaultKind};

/// What an answer becomes.
#[derive(Debug)]
pub struct Line {
    /// The line.
    pub line: Vec<u8>,
    /// What is missing.
    pub fault: Option<Fault>,
}

/// Turns what came of asking an istiod pod into a line of the source.
#[must_use]
pub fn line(request: &IstiodRequest, reply: MetricsReply) -> Line {
    let mut fault = reply.fault;
    if reply.families.as_ref().is_some_and(crate::model::metrics::Families::is_empty) {
        let message = format!("what istiod in pod {} answers to /metrics are not istiod's metrics", request.target.pod);
        fault = Some(Fault::new(FaultKind::Malformed, message));
    }
    let families = reply.families.filter(|families| !families.is_empty());
    let asked = match (&families, &fault, request.life) {
        (Some(_), ..) => Asked::Answered,
        (None, _, Life::NotRunning) => Asked::NotRunning,
        (None, Some(fault), _) if is_refused(fault) => Asked::Refused,
        (None, ..) => Asked::Failed,
    };
    let record = IstiodMetrics {
        pod: request.target.pod.clone(),
        revision: request.revision.clone(),
        asked,
        date: reply.date,
        error: fault.as_ref().filter(|_| asked != Asked::Answered).map(|fault| fault.message.clone()),
        families: families.unwrap_or_default(),
    };
    Line {
        // Plain data: it can always be written.
        line: serde_json::to_vec(&record).unwrap_or_default(),
        // A pod where nothing listens counts nothing that anybody could scrape: its line says so.
        fault: fault.filter(|_| asked == Asked::Failed && request.life == Life::Running),
    }
}
