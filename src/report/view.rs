//! The commands' own data inside a report. Scripts rely on these shapes: within a schema version fields are only added.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::proxy_config_view::ProxyConfigView;
use super::proxy_status_view::ProxyStatusView;

/// What a command shows beside its findings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum View {
    /// `status`.
    Status(StatusView),
    /// `inject-check`.
    Inject(InjectView),
    /// `precheck`.
    Precheck(Box<super::precheck_view::PrecheckView>),
    /// `proxy-config`.
    ProxyConfig(Box<ProxyConfigView>),
    /// `proxy-status`.
    ProxyStatus(ProxyStatusView),
    /// `proxy-status POD --diff`.
    ProxyDiff(super::proxy_diff_view::ProxyDiffView),
    /// `conflicts`.
    Conflicts(super::conflicts::ConflictsView),
    /// `logs`.
    Logs(super::logs_view::LogsView),
    /// `azure`.
    Azure(Box<super::azure::AzureView>),
    /// `azure --log`.
    AzureLog(Box<super::azure::AzureLogView>),
    /// `metrics`.
    Metrics(Box<super::metrics::MetricsView>),
    /// Nothing, such as after an error.
    None(NoView),
}

/// An empty object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoView {}

/// `status`: the inventory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatusView {
    /// Revisions of the add-on, lowest first; none when they could not be read.
    pub revisions: Option<Vec<RevisionView>>,
    /// Ingress and egress gateways; none when they could not be read.
    pub gateways: Option<Vec<GatewayView>>,
    /// Examined namespaces that have or ask for the mesh; none when they could not be read.
    pub namespaces: Option<Vec<NamespaceView>>,
    /// How many examined namespaces have nothing to do with the mesh.
    pub namespaces_outside: usize,
    /// Workload counts; none when they could not be read.
    pub workloads: Option<WorkloadCounts>,
    /// Images of running proxies, most used first.
    pub proxy_images: Vec<ProxyImage>,
    /// What Azure says; none where it was not asked.
    pub azure: Option<Box<super::azure::AzureView>>,
}

/// One revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RevisionView {
    /// `asm-1-28`.
    pub name: String,
    /// Version of its istiod, e.g. `1.28.9-2`.
    pub version: Option<String>,
    /// Readiness; none when its pods could not be read, or not all of them.
    pub istiods: Option<ReadyCount>,
    /// Support.
    pub support: SupportView,
    /// Tags that stand for it.
    pub tags: Vec<String>,
}

/// Ready of total.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReadyCount {
    /// Ready.
    pub ready: usize,
    /// Wanted, or existing if that is more.
    pub total: usize,
}

/// Support of a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SupportView {
    /// Last day of support, `YYYY-MM-DD`; none for a revision that is not in the table.
    pub until: Option<String>,
    /// Whether Microsoft published the day and not only the month.
    pub exact: bool,
    /// `supported`, `ended`, `probablyEnded` or `unknown`.
    pub state: String,
    /// The day the table was true.
    pub table: String,
}

/// One gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayView {
    /// Service name.
    pub name: String,
    /// Namespace.
    pub namespace: String,
    /// `external`, `internal` or `egress`; `other` for the rest.
    pub kind: String,
    /// Addresses; empty while pending, and for a ClusterIP Service.
    pub addresses: Vec<String>,
    /// Readiness of its Deployments by revision; empty where they could not be read.
    pub deployments: Vec<GatewayDeployment>,
}

/// A gateway's Deployment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GatewayDeployment {
    /// Deployment name.
    pub name: String,
    /// Readiness.
    pub pods: ReadyCount,
}

/// One namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamespaceView {
    /// Name.
    pub name: String,
    /// Value of its label `istio.io/rev`.
    pub label: Option<String>,
    /// The revision that its next pods get.
    pub revision: Option<String>,
    /// `in`, `broken` or `outside`.
    pub state: String,
    /// Workloads in it.
    pub workloads: WorkloadCounts,
}

/// Workloads by state; managed ones and gateways are not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkloadCounts {
    /// Pods have the proxy they should have.
    #[serde(rename = "in")]
    pub inside: usize,
    /// Neither has nor should have one.
    pub outside: usize,
    /// Should have one and has not, cannot start, or has one of a revision that is gone.
    pub broken: usize,
}

/// An image of running proxies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProxyImage {
    /// Image.
    pub image: String,
    /// Version in its tag.
    pub version: Option<String>,
    /// Pods that run it.
    pub pods: usize,
}

/// `inject-check`: a row per workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InjectView {
    /// Rows, by namespace, kind and name.
    pub workloads: Vec<WorkloadView>,
    /// What the API server made of pods; none without `--probe`.
    pub probes: Option<Vec<super::probe_view::ProbeView>>,
}

/// One workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkloadView {
    /// Kind.
    pub kind: String,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Its pods.
    pub pods: PodCount,
    /// What is.
    pub now: NowView,
    /// What would be.
    pub next_restart: NextView,
    /// Codes of findings about it, or about its namespace.
    pub codes: Vec<String>,
}

/// Pods of a workload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodCount {
    /// That have not ended.
    pub total: usize,
    /// With a proxy.
    pub injected: usize,
}

/// What a workload has now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NowView {
    /// `all`, `some`, `none` or `noPods`.
    pub injected: String,
    /// Revisions of its proxies.
    pub revisions: Vec<String>,
    /// Revisions among them that are not installed any more.
    pub gone: Vec<String>,
    /// `native`, `classic`, `gateway`, `managedGateway`, `mixed` or `none`.
    pub sidecar: String,
    /// Proxy images in use.
    pub images: Vec<String>,
}

/// What a workload's next pods get.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NextView {
    /// Yes, no (also when the pod is refused), or unknown.
    pub injected: Option<bool>,
    /// By which revision.
    pub revision: Option<String>,
    /// `webhook`, `istiod`, `blocked` or `unknown`.
    pub decided_by: String,
    /// Why, in a few words.
    pub reason: String,
    /// The webhook configuration that selects it.
    pub webhook: Option<String>,
    /// The image that the injector would add.
    pub image: Option<String>,
}
