//! The log of one container, as it arrives.

use jiff::Timestamp;

use super::request::{Call, Incoming, Query, object_path, open};
use super::{Api, Cluster};
use crate::snapshot::{Fault, Need};

/// A log is text; a refusal is JSON.
const ACCEPT: &str = "application/json, */*";

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogSince {
    /// So many seconds before the server's now.
    Seconds(u64),
    /// This time; the kubelet knows only whole seconds.
    Time(Timestamp),
}

/// Which log to read. Every line comes with its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRequest {
    /// Namespace of the pod.
    pub namespace: String,
    /// The pod.
    pub pod: String,
    /// The container.
    pub container: String,
    /// That of the time before its last restart.
    pub previous: bool,
    /// Go on as it grows. Silence has no limit then.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only from some time on.
    pub since: Option<LogSince>,
}

/// A log on its way.
pub struct LogStream<'c>(Incoming<'c>);

impl LogStream<'_> {
    /// The next bytes; none at the regular end.
    ///
    /// # Errors
    /// The connection broke, or was silent for too long.
    pub async fn piece(&mut self) -> Result<Option<&[u8]>, Fault> {
        self.0.piece().await
    }
}

impl Cluster {
    /// Begins to read a log; none when there is no such pod.
    ///
    /// # Errors
    /// What the API server, or the kubelet behind it, says instead.
    pub async fn log(&self, request: &LogRequest) -> Result<Option<LogStream<'_>>, Fault> {
        let need = Need {
            verb: "get".to_owned(),
            resource: "pods/log".to_owned(),
            namespace: Some(request.namespace.clone()),
        };
        let call = Call::get(path(request), ACCEPT, Some(&need));
        let call = if request.follow { call.patient() } else { call };
        Ok(open(&self.shared, call).await?.map(LogStream))
    }
}

fn path(request: &LogRequest) -> String {
    let mut query = Query::default();
    query.add("container", Some(&request.container));
    query.add("timestamps", Some("true"));
    query.add("previous", request.previous.then_some("true"));
    query.add("follow", request.follow.then_some("true"));
    query.add("tailLines", request.tail.map(|tail| tail.to_string()).as_deref());
    match request.since {
        Some(LogSince::Seconds(seconds)) => query.add("sinceSeconds", Some(&seconds.max(1).to_string())),
        Some(LogSince::Time(time)) => query.add("sinceTime", Some(&time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())),
        None => {}
    }
    format!("{}/log{}", object_path(&Api::PODS, Some(&request.namespace), &request.pod), query.finish())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_request_says_what_is_wanted_and_no_more() {
        let plain = LogRequest {
            namespace: "shop".to_owned(),
            pod: "web-1".to_owned(),
            container: "istio-proxy".to_owned(),
            previous: false,
            follow: false,
            tail: None,
            since: None,
        };
        let start = "/api/v1/namespaces/shop/pods/web-1/log?container=istio-proxy&timestamps=true";
        assert_eq!(path(&plain), start);
        let all = LogRequest {
            previous: true,
            follow: true,
            tail: Some(5),
            since: Some(LogSince::Time("2026-07-15T12:00:00.75Z".parse().unwrap())),
            ..plain.clone()
        };
        let end = "&previous=true&follow=true&tailLines=5&sinceTime=2026-07-15T12%3A00%3A00Z";
        assert_eq!(path(&all), format!("{start}{end}"));
        let none = LogRequest { since: Some(LogSince::Seconds(0)), ..plain };
        assert_eq!(path(&none), format!("{start}&sinceSeconds=1"), "the API server refuses 0");
    }
}
