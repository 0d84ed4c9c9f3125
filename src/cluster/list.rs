//! Lists: one unpaged consistent read where the server answers from its cache, pages elsewhere.

use super::request::{self, Call};
use super::split::{SplitError, Splitter};
use super::{ListEnd, ListRequest, ListSink, Shared, fault};
use crate::snapshot::{Fault, FaultKind, Need};

/// From here on an unpaged list without resourceVersion is consistent and served from the API server's cache
/// (Kubernetes 1.31); before, it is one large read of etcd, which pages of 500 spare.
const UNPAGED_SINCE: (u32, u32) = (1, 31);
const PAGE: u32 = 500;

pub(super) async fn list(shared: &Shared, request: &ListRequest, sink: &mut dyn ListSink) -> Result<ListEnd, Fault> {
    let version = shared.version().await?;
    let mut paged = version.is_none_or(|v| (v.major, v.minor) < UNPAGED_SINCE);
    let need = Need { verb: "list".to_owned(), resource: request.api.dotted(), namespace: request.namespace.clone() };
    let mut end = ListEnd { served: true, ..ListEnd::default() };
    let mut token: Option<String> = None;
    let mut restarted = false;
    // A connection that broke before the first item is tried once more; `request` already does so up to the answer's
    // head, this is for its body.
    let mut second_try = false;
    loop {
        match page(shared, request, &need, paged, token.as_deref(), &mut end, sink).await {
            Ok(Page::Last) => return Ok(end),
            Ok(Page::More(next)) if token.as_ref() == Some(&next) => {
                // Never seen, but it would never end either.
                end.truncated = Some("the server gives the same page again and again".to_owned());
                return Ok(end);
            }
            Ok(Page::More(next)) => token = Some(next),
            Ok(Page::NotServed) => return Ok(ListEnd::default()),
            Err(fault) if fault.status == Some(410) && token.is_some() && !restarted => {
                // The continue token expired. As kubectl does, read everything anew and in one piece, so that it
                // cannot happen again.
                restarted = true;
                paged = false;
                token = None;
                end = ListEnd { served: true, ..ListEnd::default() };
                sink.restart();
            }
            Err(fault) if end.items == 0 && end.oversized == 0 => {
                if second_try || fault.status.is_some() || fault.kind != FaultKind::Truncated {
                    return Err(fault);
                }
                second_try = true;
            }
            Err(fault) => {
                end.truncated = Some(fault.message);
                return Ok(end);
            }
        }
    }
}

enum Page {
    Last,
    More(String),
    NotServed,
}

async fn page(
    shared: &Shared,
    request: &ListRequest,
    need: &Need,
    paged: bool,
    token: Option<&str>,
    end: &mut ListEnd,
    sink: &mut dyn ListSink,
) -> Result<Page, Fault> {
    let mut query = request::Query::default();
    query.add("labelSelector", request.labels.as_deref());
    query.add("fieldSelector", request.fields.as_deref());
    if paged {
        query.add("limit", Some(&PAGE.to_string()));
        query.add("continue", token);
    }
    let path = request::collection_path(&request.api, request.namespace.as_deref()) + &query.finish();
    let accept = if request.metadata_only { request::ACCEPT_LIST_METADATA } else { request::ACCEPT_JSON };
    let mut body = match request::open(shared, Call::get(path, accept, Some(need))).await? {
        Some(body) => body,
        // Every Kubernetes serves its core group. Taking this for "not served" would turn a wrong address into a
        // clean bill of health.
        None if request.api.group.is_empty() => {
            return Err(Fault::new(
                FaultKind::Malformed,
                format!("{} does not answer like a Kubernetes API server", shared.info.server),
            )
            .hint("is the address right, and is there a proxy between this console and the cluster?"));
        }
        None => return Ok(Page::NotServed),
    };
    let mut splitter = Splitter::new();
    let mut delivered = 0;
    loop {
        let piece = match body.piece().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(fault) => {
                end.items += delivered;
                return Err(fault);
            }
        };
        let pushed = splitter.push(piece, |item| {
            delivered += 1;
            sink.item(item);
        });
        if let Err(error) = pushed {
            end.items += delivered;
            return Err(broken(error));
        }
    }
    end.items += delivered;
    let meta = splitter.finish().map_err(broken)?;
    end.oversized += meta.oversized;
    Ok(match meta.continue_token {
        Some(next) if paged => Page::More(next),
        _ => Page::Last,
    })
}

fn broken(error: SplitError) -> Fault {
    let kind = if error == SplitError::Truncated { FaultKind::Truncated } else { FaultKind::Malformed };
    let fault = Fault::new(kind, error.to_string());
    match kind {
        FaultKind::Malformed => fault.hint(fault::NOT_AN_API_SERVER),
        _ => fault,
    }
}
