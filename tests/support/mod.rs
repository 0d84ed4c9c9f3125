//! A snapshot from YAML documents of plain Kubernetes objects.
//!
//! Objects stand in for an API server: every source's own requests are put to them, and what answers goes through the
//! source's own collector, so that a fixture is read exactly as a cluster is.

#![allow(dead_code)]

pub mod xds;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use kubectl_asm::checks;
use kubectl_asm::engine::lens::{Lens, World};
use kubectl_asm::engine::run::{Outcome, run};
use kubectl_asm::engine::{Cause, Check, Finding, Severity};
use kubectl_asm::facts::Facts;
use kubectl_asm::mesh::log::line::saved;
use kubectl_asm::mesh::log::{Digest, Keep};
use kubectl_asm::model::AzureRecord;
use kubectl_asm::model::log::ContainerLog;
use kubectl_asm::snapshot::{Fault, FaultKind, Need, Scope, Snapshot, SourceId, StateKind};
use kubectl_asm::sources::collect::End;
use kubectl_asm::sources::{Request, SOURCES, Source};
use serde::Deserialize;
use serde_json::Value;

/// What a fixture's first document says.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Header {
    /// What the fixture is about, and where its expectation comes from.
    pub about: String,
    /// The time that ages are measured against.
    pub now: Timestamp,
    /// Base worlds below the fixture's own objects, by file name in `tests/checks/base`.
    #[serde(default)]
    pub base: Vec<String>,
    /// Objects of the base that are not there: `kind/name` or `kind/namespace/name`.
    #[serde(default)]
    pub without: Vec<String>,
    /// Exactly these findings.
    pub expect: Vec<Expected>,
    /// Examined namespaces; all when absent.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
    /// Sources that the server refuses.
    #[serde(default)]
    pub refused: Vec<SourceId>,
    /// Sources that the server does not serve.
    #[serde(default)]
    pub unserved: Vec<SourceId>,
    /// The server's version; `v1.34.1` when absent.
    #[serde(default)]
    pub version: Option<String>,
    /// Whether all checks are run, with causes, and exactly one finding may be on top.
    #[serde(default)]
    pub all: bool,
    /// Pods that no istiod lists, as `POD.NAMESPACE`.
    #[serde(default)]
    pub disconnected: Vec<String>,
    /// How a check ends that finds nothing; `passed` when absent.
    #[serde(default)]
    pub outcome: Option<String>,
}

/// One expected finding.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Expected {
    /// Code.
    pub code: String,
    /// Its object.
    pub subject: ExpectedSubject,
    /// Severity.
    pub severity: Severity,
    /// Whether it stands on top, and not below a cause.
    #[serde(default = "yes")]
    pub top: bool,
    /// Text in the summary.
    pub contains: String,
    /// Words of a step's command in their order, where the remedy matters.
    #[serde(default)]
    pub command: Option<String>,
}

/// Its object.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedSubject {
    /// Kind.
    pub kind: String,
    /// Namespace.
    #[serde(default)]
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

fn yes() -> bool {
    true
}

/// A fixture: a header and objects.
#[derive(Clone, Debug)]
pub struct Fixture {
    /// Path below `tests/checks`, for messages.
    pub name: String,
    /// Its folder: a code, or `stories`.
    pub folder: String,
    /// Header.
    pub header: Header,
    /// Objects, base included.
    pub objects: Vec<Value>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/checks")
}

/// The documents of a YAML text.
pub fn documents(text: &str, name: &str) -> Vec<Value> {
    serde_yaml::Deserializer::from_str(text)
        .map(|document| Value::deserialize(document).unwrap_or_else(|error| panic!("{name}: {error}")))
        .filter(|document| !document.is_null())
        .collect()
}

/// The objects of a base world.
pub fn base(name: &str) -> Vec<Value> {
    let path = root().join("base").join(format!("{name}.yaml"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("base {name}: {error}"));
    documents(&text, name)
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// `kind/name` or `kind/namespace/name`.
pub fn identity(object: &Value) -> String {
    let (kind, namespace, name) =
        (text(object, "/kind"), text(object, "/metadata/namespace"), text(object, "/metadata/name"));
    if namespace.is_empty() { format!("{kind}/{name}") } else { format!("{kind}/{namespace}/{name}") }
}

const ROOT_MAP: &str = "/istio-ca-root-cert";

/// What istiod does in every cluster, so that no fixture has to repeat it: the root certificate of the add-on's
/// namespace goes into every namespace and into every webhook that calls there, where the fixture does not say otherwise
/// (its own ConfigMap, the ConfigMap in `without`, a `caBundle` that may be empty).
fn trust(objects: &mut BTreeMap<String, Value>, without: &[String]) {
    let Some(root) = objects.get(&format!("ConfigMap/aks-istio-system{ROOT_MAP}")).cloned() else { return };
    let pem = text(&root, "/data/root-cert.pem");
    let bundle = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, pem);
    let namespaces: Vec<_> = objects
        .values()
        .filter(|object| text(object, "/kind") == "Namespace")
        .map(|object| text(object, "/metadata/name").to_owned())
        .collect();
    for namespace in namespaces {
        let key = format!("ConfigMap/{namespace}{ROOT_MAP}");
        if !without.contains(&key) {
            let mut copy = root.clone();
            copy["metadata"]["namespace"] = namespace.into();
            objects.entry(key).or_insert(copy);
        }
    }
    for object in objects.values_mut().filter(|object| text(object, "/kind") == "MutatingWebhookConfiguration") {
        for entry in object["webhooks"].as_array_mut().into_iter().flatten() {
            if text(entry, "/clientConfig/service/namespace") == "aks-istio-system"
                && entry["clientConfig"].get("caBundle").is_none()
            {
                entry["clientConfig"]["caBundle"] = bundle.clone().into();
            }
        }
    }
}

/// Answers of a real proxy, of which a fixture names the files (`recorded: [agent/config_dump.json]`).
fn recorded(object: &mut Value) {
    let Some(names) = object.as_object_mut().and_then(|object| object.remove("recorded")) else { return };
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/envoy");
    let answers = names.as_array().unwrap().iter().map(|name| {
        let text = std::fs::read_to_string(folder.join(name.as_str().unwrap())).unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    });
    object["answers"] = answers.collect();
}

/// A log as it is read: a fixture has its text.
fn taken_in(object: &mut Value) {
    let Some(text) = object.as_object_mut().and_then(|object| object.remove("text")) else { return };
    let log: ContainerLog = serde_json::from_value(object.clone()).unwrap();
    let mut digest = Digest::new(log, Keep { lines: 20, bytes: 4096 });
    for text in text.as_str().unwrap().lines() {
        digest.line(&saved(text));
    }
    *object = serde_json::to_value(digest.finish()).unwrap();
    object["kind"] = "ContainerLog".into();
}

/// Reads one fixture.
pub fn fixture(path: &Path) -> Fixture {
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    let folder = path.parent().unwrap().file_name().unwrap().to_str().unwrap().to_owned();
    let mut all = documents(&std::fs::read_to_string(path).unwrap(), &name).into_iter();
    let header = all.next().unwrap_or_else(|| panic!("{name}: no header"));
    let header: Header = serde_json::from_value(header).unwrap_or_else(|error| panic!("{name}: header: {error}"));
    let mut objects: BTreeMap<String, Value> = BTreeMap::new();
    for object in header.base.iter().flat_map(|base_name| base(base_name)) {
        objects.insert(identity(&object), object);
    }
    for gone in &header.without {
        assert!(objects.remove(gone).is_some() || gone.ends_with(ROOT_MAP), "{name}: the base has no {gone}");
    }
    for object in all {
        objects.insert(identity(&object), object);
    }
    trust(&mut objects, &header.without);
    objects.values_mut().for_each(recorded);
    objects.values_mut().for_each(taken_in);
    Fixture { name, folder, header, objects: objects.into_values().collect() }
}

/// All fixtures, by path.
pub fn fixtures() -> Vec<Fixture> {
    let mut paths = Vec::new();
    for folder in std::fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path()) {
        if folder.is_dir() && folder.file_name().is_some_and(|name| name != "base") {
            paths.extend(std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    paths.iter().map(|path| fixture(path)).collect()
}

/// The answer of `az` in an object of one of these kinds.
fn azure(object: &Value) -> Option<AzureRecord> {
    let read = match text(object, "/kind") {
        "AzureCluster" => AzureRecord::cluster,
        "AzureRevisions" => AzureRecord::revisions,
        "AzureUpgrades" => AzureRecord::upgrades,
        "AzureTools" => AzureRecord::tools,
        _ => return None,
    };
    Some(read(object["answer"].to_string().as_bytes()).unwrap())
}

/// Plural resource of a kind.
fn resource(kind: &str) -> &'static str {
    match kind {
        "Namespace" => "namespaces",
        "Pod" => "pods",
        "Service" => "services",
        "ConfigMap" => "configmaps",
        "Event" => "events",
        "Deployment" => "deployments",
        "ReplicaSet" => "replicasets",
        "StatefulSet" => "statefulsets",
        "DaemonSet" => "daemonsets",
        "Job" => "jobs",
        "CronJob" => "cronjobs",
        "EndpointSlice" => "endpointslices",
        "MutatingWebhookConfiguration" => "mutatingwebhookconfigurations",
        "CustomResourceDefinition" => "customresourcedefinitions",
        "Node" => "nodes",
        "ValidatingWebhookConfiguration" => "validatingwebhookconfigurations",
        "HorizontalPodAutoscaler" => "horizontalpodautoscalers",
        "PodDisruptionBudget" => "poddisruptionbudgets",
        "Secret" => "secrets",
        "SecretProviderClass" => "secretproviderclasses",
        "Lease" => "leases",
        "EnvoyFilter" => "envoyfilters",
        "Telemetry" => "telemetries",
        "ServiceEntry" => "serviceentries",
        "PeerAuthentication" => "peerauthentications",
        "Sidecar" => "sidecars",
        "WasmPlugin" => "wasmplugins",
        "ProxyConfig" => "proxyconfigs",
        "WorkloadEntry" => "workloadentries",
        "WorkloadGroup" => "workloadgroups",
        "IstioOperator" => "istiooperators",
        "VirtualService" => "virtualservices",
        "DestinationRule" => "destinationrules",
        "Gateway" => "gateways",
        "AuthorizationPolicy" => "authorizationpolicies",
        "RequestAuthentication" => "requestauthentications",
        xds::KIND | xds::METRICS => "",
        "ServiceAccount" => "serviceaccounts",
        "Role" => "roles",
        "RoleBinding" => "rolebindings",
        "ClusterRole" => "clusterroles",
        "ClusterRoleBinding" => "clusterrolebindings",
        "NetworkAttachmentDefinition" => "network-attachment-definitions",
        "NetworkPolicy" => "networkpolicies",
        "CiliumNetworkPolicy" => "ciliumnetworkpolicies",
        "CiliumClusterwideNetworkPolicy" => "ciliumclusterwidenetworkpolicies",
        "GatewayClass" => "gatewayclasses",
        "ProxyAnswers" => "proxyanswers",
        "ContainerLog" => "containerlogs",
        "AzureCluster" | "AzureRevisions" | "AzureUpgrades" | "AzureTools" => "",
        "Trial" => "trials",
        "Program" => "programs",
        "Grant" => "grants",
        other => panic!("kind {other} is not known to the fixtures"),
    }
}

/// Whether an object has a label, `key` or `key=value`.
fn has_label(object: &Value, selector: &str) -> bool {
    let (key, value) = selector.split_once('=').map_or((selector, None), |(key, value)| (key, Some(value)));
    let label = object.pointer("/metadata/labels").and_then(|labels| labels.get(key)).and_then(Value::as_str);
    label.is_some_and(|label| value.is_none_or(|value| label == value))
}

/// What an API server with these objects answers.
fn answer<'o>(objects: &'o [Value], request: &Request) -> Vec<&'o Value> {
    let of = |object: &Value, (group, wanted): (&str, &str), namespace: Option<&str>| {
        resource(text(object, "/kind")) == wanted
            && text(object, "/apiVersion").rsplit_once('/').map_or("", |(group, _)| group) == group
            && namespace.is_none_or(|namespace| text(object, "/metadata/namespace") == namespace)
    };
    objects
        .iter()
        .filter(|object| match request {
            Request::Raw(_) | Request::Istiod(_) | Request::Metrics(_) => false,
            Request::Get(get) => {
                of(object, (get.api.group, get.api.resource), get.namespace.as_deref())
                    && text(object, "/metadata/name") == get.name
            }
            Request::List(list) => {
                of(object, (list.api.group, list.api.resource), list.namespace.as_deref())
                    && list.labels.as_deref().is_none_or(|selector| has_label(object, selector))
                    && list.fields.as_deref().is_none_or(|selector| {
                        selector.split(',').all(|part| {
                            let (field, value) = part.split_once('=').unwrap();
                            text(object, &format!("/{}", field.replace('.', "/"))) == value
                        })
                    })
            }
        })
        .collect()
}

/// A refusal as the cluster layer classifies it.
pub fn forbidden(source: &Source) -> Fault {
    Fault {
        status: Some(403),
        need: Some(Need { verb: "list".to_owned(), resource: source.resource.to_owned(), namespace: None }),
        ..Fault::new(FaultKind::Forbidden, format!("{} may not be listed", source.resource))
    }
}

/// Reads objects as a cluster would be read; every source answers, except the refused ones.
pub fn snapshot(objects: &[Value], scope: Option<Vec<String>>, refused: &[SourceId]) -> Snapshot {
    serve(objects, refused, &Served { scope, now: "2026-07-15T12:00:00Z".parse().unwrap(), ..Served::default() })
}

/// What a server has besides objects.
#[derive(Default)]
struct Served {
    scope: Option<Vec<String>>,
    unserved: Vec<SourceId>,
    version: Option<String>,
    now: Timestamp,
    disconnected: Vec<String>,
}

fn serve(objects: &[Value], refused: &[SourceId], served: &Served) -> Snapshot {
    let version = serde_json::json!({"gitVersion": served.version.as_deref().unwrap_or("v1.34.1")}).to_string();
    let mut snapshot = Snapshot { scope: Scope { namespaces: served.scope.clone() }, ..Snapshot::default() };
    for source in SOURCES {
        let mut collector = (source.collector)();
        let refuse = refused.contains(&source.id);
        let mut faults = Vec::new();
        if !refuse {
            if source.id == SourceId::Version {
                collector.item(version.as_bytes());
            }
            // No API server has these: the command that is asked for them puts them there.
            let by_command = match source.id {
                SourceId::ProxyAnswers => "ProxyAnswers",
                SourceId::Logs => "ContainerLog",
                SourceId::Trials => "Trial",
                SourceId::Programs => "Program",
                SourceId::Grants => "Grant",
                _ => "",
            };
            if !by_command.is_empty() {
                for object in objects.iter().filter(|object| text(object, "/kind") == by_command) {
                    collector.item(serde_json::to_string(object).unwrap().as_bytes());
                }
            }
            // Nor does one have what Azure says; objects hold the answers of az as they are.
            if source.id == SourceId::Azure {
                objects.iter().filter_map(azure).for_each(|record| collector.item(&record.line()));
            }
            for request in source.requests(&snapshot.scope, &snapshot) {
                if let Request::Istiod(request) = &request {
                    let answer = xds::answer(objects, request, served.now, &served.disconnected);
                    answer.lines.iter().for_each(|line| collector.item(line));
                    faults.extend(answer.fault);
                }
                if let Request::Metrics(request) = &request {
                    let answer = xds::metrics(objects, request, served.now);
                    collector.item(&answer.line);
                    faults.extend(answer.fault);
                }
                for object in answer(objects, &request) {
                    collector.item(serde_json::to_string(object).unwrap().as_bytes());
                }
            }
        }
        let end = End {
            kind: match refuse {
                true => StateKind::Failed,
                false if served.unserved.contains(&source.id) => StateKind::NotServed,
                false => StateKind::Collected,
            },
            faults: if refuse { vec![forbidden(source)] } else { faults },
            undecodable: Vec::new(),
            fallback: None,
        };
        collector.finish(&mut snapshot, end);
        assert!(
            (source.state)(&snapshot).undecodable.is_empty(),
            "{}: {:?}",
            source.id.name(),
            (source.state)(&snapshot).undecodable
        );
    }
    snapshot
}

impl Fixture {
    /// The frozen world of this fixture.
    pub fn snapshot(&self) -> Snapshot {
        self.refusing(&self.header.refused)
    }

    /// Its world with other sources refused.
    pub fn refusing(&self, refused: &[SourceId]) -> Snapshot {
        let header = self.header.clone();
        let served = Served {
            scope: header.scope,
            unserved: header.unserved,
            version: header.version,
            now: header.now,
            disconnected: header.disconnected,
        };
        serve(&self.objects, refused, &served)
    }

    /// Runs checks over it.
    pub fn run(&self, checks: &[&'static Check], causes: &[Cause]) -> (Vec<Finding>, Vec<Outcome>) {
        evaluate(&self.snapshot(), self.header.now, checks, causes)
    }

    /// Runs checks and tells which sources each looked at.
    pub fn touched(&self, checks: &[&'static Check]) -> Vec<(&'static Check, BTreeSet<SourceId>)> {
        let (snapshot, facts) = (self.snapshot(), Facts::built_in().unwrap());
        let world = World::new(&snapshot, &facts, self.header.now);
        let touched = |check: &&'static Check| {
            let lens = Lens::new(&world);
            drop((check.run)(&lens));
            (*check, lens.touched())
        };
        checks.iter().map(touched).collect()
    }
}

/// Runs checks over a snapshot with the tables inside the binary.
pub fn evaluate(
    snapshot: &Snapshot,
    now: Timestamp,
    checks: &[&'static Check],
    causes: &[Cause],
) -> (Vec<Finding>, Vec<Outcome>) {
    let facts = Facts::built_in().unwrap();
    run(&World::new(snapshot, &facts, now), checks, causes)
}

/// All registered checks.
pub fn all_checks() -> Vec<&'static Check> {
    checks::all().collect()
}
