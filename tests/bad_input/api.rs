//! An API server with a small healthy cluster, parts of which a test replaces.

use kubectl_asm::cluster::forward::PodPort;
use kubectl_asm::cluster::{IstiodRequest, Life};
use serde_json::{Value, json};

use crate::cluster_support::{Manner, Reply, Seen, Server, ok, status};
use crate::support;

/// The objects of a cluster with revision asm-1-30 and one injected namespace.
pub fn healthy() -> Vec<Value> {
    ["healthy", "shop"].iter().flat_map(|name| support::base(name)).collect()
}

/// One request, taken apart as the API server does.
#[derive(Debug)]
pub struct Asked {
    pub group: String,
    pub resource: String,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub query: Vec<(String, String)>,
}

impl Asked {
    pub fn of(seen: &Seen) -> Option<Self> {
        let (path, query) = seen.path().split_once('?').unwrap_or((seen.path(), ""));
        let mut parts = path.trim_start_matches('/').split('/').map(unescape);
        let group = match parts.next()?.as_str() {
            "api" => String::new(),
            "apis" => parts.next()?,
            _ => return None,
        };
        parts.next()?;
        let rest: Vec<String> = parts.collect();
        let (namespace, rest) = match rest.as_slice() {
            [first, namespace, rest @ ..] if first == "namespaces" && !rest.is_empty() => {
                (Some(namespace.clone()), rest)
            }
            all => (None, all),
        };
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        Some(Self {
            group,
            resource: rest.first()?.clone(),
            namespace,
            name: rest.get(1).cloned(),
            query: query.map(|(key, value)| (key.to_owned(), unescape(value))).collect(),
        })
    }

    pub fn query(&self, key: &str) -> Option<&str> {
        self.query.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }
}

fn unescape(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        if *first == b'%' {
            bytes.push(u8::from_str_radix(std::str::from_utf8(&after[..2]).unwrap(), 16).unwrap());
            rest = &after[2..];
        } else {
            bytes.push(*first);
            rest = after;
        }
    }
    String::from_utf8(bytes).unwrap()
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `NetworkPolicy` → `networkpolicies`; kinds that nobody here knows yet are answered alike.
fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o']) => format!("{stem}ies"),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

fn selected(object: &Value, selector: &str) -> bool {
    selector.split(',').all(|part| {
        let (key, value) = part.split_once('=').map_or((part, None), |(key, value)| (key, Some(value)));
        let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
        label.is_some_and(|label| value.is_none_or(|value| value == label))
    })
}

/// What an API server with these objects answers; kinds it does not hold are empty lists.
pub fn answer(objects: &[Value], seen: &Seen) -> Reply {
    if seen.path() == "/version" {
        return ok(r#"{"major":"1","minor":"34","gitVersion":"v1.34.1"}"#);
    }
    if seen.line.starts_with("POST ") {
        return Reply::Full(201, "", br#"{"status":{"allowed":true}}"#.to_vec());
    }
    if let Some(forwarded) = istiod(objects, seen) {
        return forwarded;
    }
    let Some(asked) = Asked::of(seen) else { return status(404, "the server could not find the requested resource") };
    let found: Vec<&Value> = objects
        .iter()
        .filter(|object| {
            let group = text(object, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group);
            group == asked.group
                && plural(text(object, "/kind")) == asked.resource
                && asked.namespace.as_deref().is_none_or(|namespace| text(object, "/metadata/namespace") == namespace)
                && asked.name.as_deref().is_none_or(|name| text(object, "/metadata/name") == name)
                && asked.query("labelSelector").is_none_or(|selector| selected(object, selector))
                && asked.query("fieldSelector").is_none_or(|selector| {
                    let (field, value) = selector.split_once('=').unwrap();
                    text(object, &format!("/{}", field.replace('.', "/"))) == value
                })
        })
        .collect();
    match (&asked.name, found.first()) {
        (Some(_), Some(object)) => ok(object.to_string()),
        (Some(name), None) => status(404, &format!("{name} not found")),
        (None, _) => ok(json!({"kind": "List", "metadata": {"resourceVersion": "7"}, "items": found}).to_string()),
    }
}

/// What a real istiod counted, see `tests/recorded/README.md`.
pub const METRICS: &[u8] = include_bytes!("../recorded/istiod-asm-1-28-0/metrics.txt");

/// A port-forward to an istiod, which answers as it does in every cluster.
fn istiod(objects: &[Value], seen: &Seen) -> Option<Reply> {
    let (path, query) = seen.path().split_once('?')?;
    let pod = path.strip_suffix("/portforward")?.rsplit('/').next()?;
    let port = query.split('&').find_map(|pair| pair.strip_prefix("ports="))?.parse().ok()?;
    let request = IstiodRequest {
        target: PodPort { namespace: "aks-istio-system".to_owned(), pod: pod.to_owned(), port },
        revision: "asm-1-30".to_owned(),
        life: Life::Running,
    };
    let now = "2026-08-15T10:00:00Z".parse().unwrap();
    let answer = support::xds::reply(objects, &request, now, &[]);
    let paths = [
        ("/version", answer.version.map(String::into_bytes)),
        ("/debug/syncz", answer.syncz),
        ("/debug/connections", answer.connections),
        ("/metrics", Some(METRICS.to_vec())),
    ];
    Some(Reply::Forward(port, paths.into_iter().filter_map(|(path, body)| Some((path, body?))).collect()))
}

/// The time of this machine as an HTTP date, so many seconds off.
pub fn date(off: i64) -> String {
    let now = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(off);
    now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// Answers everything, `/version` included, with the right time.
pub fn manner() -> Manner {
    Manner { minor: None, date: date(0), ..Manner::plain(34) }
}

/// A server of these objects.
pub async fn serve(objects: Vec<Value>) -> Server {
    serve_but(objects, |_, _| None).await
}

/// A server of these objects that answers some requests otherwise. The handler gets the number of the request and what
/// is asked, where that is a resource.
pub async fn serve_but(
    objects: Vec<Value>,
    otherwise: impl Fn(usize, Option<&Asked>) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::with(manner(), move |number, seen| {
        otherwise(number, Asked::of(seen).as_ref()).unwrap_or_else(|| answer(&objects, seen))
    })
    .await
}
