//! Recording raw objects while they arrive, and writing them as a bundle.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, GzBuilder};

use super::redact::redact;
use super::{BundleError, FORMAT, LINE_CAP, MANIFEST, Manifest, OriginRecord, ScopeRecord, SectionRecord, ToolRecord};
use crate::snapshot::{Fault, FaultKind, Snapshot, SourceId, StateKind};
use crate::sources::{SOURCES, Source, source};

/// Lines are compressed in blocks of about this size: large enough to compress well, small enough to unpack one again
/// when a list restarts.
const BLOCK: usize = 256 << 10;

/// The raw objects of a gather, redacted and compressed.
#[derive(Debug, Default)]
pub struct Recorder {
    parts: BTreeMap<SourceId, SourceRecorder>,
}

impl Recorder {
    /// An empty recorder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A recorder for one source, to be given back with [`Recorder::keep`].
    pub fn source(&mut self, id: SourceId) -> SourceRecorder {
        SourceRecorder { id, blocks: Vec::new(), open: Vec::new(), open_lines: 0, missing: Vec::new(), taken: 0 }
    }

    /// What is kept of a source, for objects that come later.
    pub fn kept(&mut self, id: SourceId) -> Option<&mut SourceRecorder> {
        self.parts.get_mut(&id)
    }

    /// Keeps what a source gave.
    pub fn keep(&mut self, id: SourceId, part: SourceRecorder) {
        self.parts.insert(id, part);
    }
}

/// The raw objects of one source.
#[derive(Debug)]
pub struct SourceRecorder {
    id: SourceId,
    /// Finished blocks.
    blocks: Vec<Block>,
    /// Lines that are not compressed yet.
    open: Vec<u8>,
    open_lines: usize,
    /// Positions of objects that the snapshot has and the file has not.
    missing: Vec<usize>,
    /// Lines and missing objects together: the position that a mark names.
    taken: usize,
}

#[derive(Debug)]
struct Block {
    deflated: Vec<u8>,
    lines: usize,
    bytes: u64,
}

impl SourceRecorder {
    /// Takes one object as the API server sent it.
    ///
    /// An object that the live path cannot decode is left out: without the shape its schema promises it cannot be
    /// redacted by schema either, and the snapshot names it already.
    pub fn item(&mut self, raw: &[u8]) {
        let Some(source) = source(self.id) else { return };
        let mut probe = (source.collector)();
        probe.item(raw);
        if probe.is_empty() {
            return;
        }
        self.taken += 1;
        match line(self.id, raw) {
            Some(line) => {
                self.open.extend_from_slice(&line);
                self.open.push(b'\n');
                self.open_lines += 1;
                if self.open.len() >= BLOCK {
                    self.close();
                }
            }
            None => self.missing.push(self.taken - 1),
        }
    }

    /// A position for [`SourceRecorder::rewind`].
    #[must_use]
    pub fn mark(&self) -> usize {
        self.taken
    }

    /// Forgets everything taken since the mark: a list began anew.
    pub fn rewind(&mut self, mark: usize) {
        if mark >= self.taken {
            return;
        }
        self.missing.retain(|&position| position < mark);
        self.taken = mark;
        let keep = mark - self.missing.len();
        let mut closed: usize = self.blocks.iter().map(|block| block.lines).sum();
        if closed < keep {
            self.cut_open(keep - closed);
            return;
        }
        self.open.clear();
        self.open_lines = 0;
        while closed > keep
            && let Some(block) = self.blocks.pop()
        {
            closed -= block.lines;
            if closed < keep {
                // The mark lies inside this block: it becomes the open one again.
                let mut bytes = Vec::new();
                // Our own memory unpacks; if it did not, the lines would be found to be fewer than promised.
                let _ = DeflateDecoder::new(block.deflated.as_slice()).read_to_end(&mut bytes);
                self.open = bytes;
                self.open_lines = block.lines;
                self.cut_open(keep - closed);
                return;
            }
        }
    }

    /// Keeps only the first lines of the open block.
    fn cut_open(&mut self, lines: usize) {
        let end = self.open.iter().enumerate().filter(|(_, byte)| **byte == b'\n').nth(lines.wrapping_sub(1));
        let end = if lines == 0 { 0 } else { end.map_or(self.open.len(), |(at, _)| at + 1) };
        self.open.truncate(end);
        self.open_lines = self.open_lines.min(lines);
    }

    fn close(&mut self) {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::fast());
        // A Vec takes every byte; there is no error to lose.
        let _ = encoder.write_all(&self.open);
        let Ok(deflated) = encoder.finish() else { return };
        self.blocks.push(Block { deflated, lines: self.open_lines, bytes: self.open.len() as u64 });
        self.open.clear();
        self.open_lines = 0;
    }

    fn lines(&self) -> usize {
        self.blocks.iter().map(|block| block.lines).sum::<usize>() + self.open_lines
    }

    fn bytes(&self) -> u64 {
        self.blocks.iter().map(|block| block.bytes).sum::<u64>() + self.open.len() as u64
    }

    /// All lines, unpacked block by block.
    fn reader(&self) -> impl Read + '_ {
        Blocks { rest: self.blocks.iter(), current: None, open: &self.open }
    }
}

struct Blocks<'a> {
    rest: std::slice::Iter<'a, Block>,
    current: Option<DeflateDecoder<&'a [u8]>>,
    open: &'a [u8],
}

impl Read for Blocks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(current) = &mut self.current {
                let count = current.read(buffer)?;
                if count > 0 {
                    return Ok(count);
                }
            }
            match self.rest.next() {
                Some(block) => self.current = Some(DeflateDecoder::new(block.deflated.as_slice())),
                None => {
                    self.current = None;
                    return self.open.read(buffer);
                }
            }
        }
    }
}

/// One object as a line, or none when it cannot be written down as one.
fn line(id: SourceId, raw: &[u8]) -> Option<Vec<u8>> {
    let mut value: serde_json::Value = serde_json::from_slice(raw).ok()?;
    redact(id, &mut value);
    stamp(id, &mut value);
    let line = serde_json::to_vec(&value).ok()?;
    (line.len() <= LINE_CAP).then_some(line)
}

/// Items of a list do not say their kind; kubectl wants it to read them from a file.
fn stamp(id: SourceId, value: &mut serde_json::Value) {
    use SourceId::*;
    let (api_version, kind) = match id {
        Version | Xds | ProxyAnswers | Logs | Azure | IstiodMetrics | Trials | Programs | Grants => return,
        Namespaces => ("v1", "Namespace"),
        MutatingWebhooks => ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"),
        SystemPods | Istiods | Pods => ("v1", "Pod"),
        SystemDeployments | GatewayDeployments | Deployments | MetricsAgents => ("apps/v1", "Deployment"),
        SystemServices | WebhookServices | GatewayServices | ComponentServices | AdmissionServices => ("v1", "Service"),
        SystemEndpoints | WebhookEndpoints | AdmissionEndpoints => ("discovery.k8s.io/v1", "EndpointSlice"),
        SystemConfigMaps | WebhookConfigMaps | RootCertificates | SharedConfigMaps | MetricsConfigMaps
        | ComponentConfigMaps => ("v1", "ConfigMap"),
        OperatorCrd | Definitions => ("apiextensions.k8s.io/v1", "CustomResourceDefinition"),
        ReplicaSets => ("apps/v1", "ReplicaSet"),
        StatefulSets => ("apps/v1", "StatefulSet"),
        DaemonSets | SystemDaemonSets => ("apps/v1", "DaemonSet"),
        Jobs => ("batch/v1", "Job"),
        CronJobs => ("batch/v1", "CronJob"),
        RefusalEvents | SuspectEvents => ("v1", "Event"),
        Nodes => ("v1", "Node"),
        ValidatingWebhooks => ("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration"),
        Autoscalers | ComponentAutoscalers => ("autoscaling/v2", "HorizontalPodAutoscaler"),
        DisruptionBudgets | ComponentDisruptionBudgets => ("policy/v1", "PodDisruptionBudget"),
        SystemSecrets | ComponentSecrets => ("v1", "Secret"),
        SecretProviderClasses => ("secrets-store.csi.x-k8s.io/v1", "SecretProviderClass"),
        SystemLeases => ("coordination.k8s.io/v1", "Lease"),
        EnvoyFilters => ("networking.istio.io/v1alpha3", "EnvoyFilter"),
        Telemetries => ("telemetry.istio.io/v1alpha1", "Telemetry"),
        ServiceEntries => ("networking.istio.io/v1beta1", "ServiceEntry"),
        PeerAuthentications => ("security.istio.io/v1beta1", "PeerAuthentication"),
        Sidecars => ("networking.istio.io/v1beta1", "Sidecar"),
        WasmPlugins => ("extensions.istio.io/v1alpha1", "WasmPlugin"),
        ProxyConfigs => ("networking.istio.io/v1beta1", "ProxyConfig"),
        WorkloadEntries => ("networking.istio.io/v1beta1", "WorkloadEntry"),
        WorkloadGroups => ("networking.istio.io/v1beta1", "WorkloadGroup"),
        IstioOperators => ("install.istio.io/v1alpha1", "IstioOperator"),
        VirtualServices => ("networking.istio.io/v1beta1", "VirtualService"),
        DestinationRules => ("networking.istio.io/v1beta1", "DestinationRule"),
        IstioGateways => ("networking.istio.io/v1beta1", "Gateway"),
        AuthorizationPolicies => ("security.istio.io/v1beta1", "AuthorizationPolicy"),
        RequestAuthentications => ("security.istio.io/v1beta1", "RequestAuthentication"),
        ComponentServiceAccounts => ("v1", "ServiceAccount"),
        ComponentRoles => ("rbac.authorization.k8s.io/v1", "Role"),
        ComponentRoleBindings => ("rbac.authorization.k8s.io/v1", "RoleBinding"),
        ClusterRoles => ("rbac.authorization.k8s.io/v1", "ClusterRole"),
        ClusterRoleBindings => ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding"),
        NetworkAttachments => ("k8s.cni.cncf.io/v1", "NetworkAttachmentDefinition"),
        NetworkPolicies => ("networking.k8s.io/v1", "NetworkPolicy"),
        CiliumPolicies => ("cilium.io/v2", "CiliumNetworkPolicy"),
        CiliumClusterPolicies => ("cilium.io/v2", "CiliumClusterwideNetworkPolicy"),
        GatewayClasses => ("gateway.networking.k8s.io/v1", "GatewayClass"),
        KubeGateways => ("gateway.networking.k8s.io/v1", "Gateway"),
    };
    if let Some(object) = value.as_object_mut() {
        object.entry("apiVersion").or_insert_with(|| api_version.into());
        object.entry("kind").or_insert_with(|| kind.into());
    }
}

/// Writes a bundle.
///
/// # Errors
/// When `out` does not take it.
pub fn write<W: Write>(out: W, snapshot: &Snapshot, recorder: Recorder) -> Result<(), BundleError> {
    let seconds = snapshot.origin.captured_at.map_or(0, |at| u64::try_from(at.as_second()).unwrap_or(0));
    let gzip = GzBuilder::new().mtime(u32::try_from(seconds).unwrap_or(0)).write(out, Compression::default());
    let mut archive = tar::Builder::new(gzip);
    let manifest = serde_json::to_vec_pretty(&manifest(snapshot, &recorder))
        .map_err(|error| BundleError::Write(io::Error::from(error)))?;
    append(&mut archive, MANIFEST, manifest.len() as u64, seconds, manifest.as_slice())?;
    for source in SOURCES {
        if (source.state)(snapshot).kind != StateKind::Collected {
            continue;
        }
        if let Some(part) = recorder.parts.get(&source.id) {
            append(&mut archive, &source.file(), part.bytes(), seconds, part.reader())?;
        }
    }
    let gzip = archive.into_inner().map_err(BundleError::Write)?;
    gzip.finish().and_then(|mut out| out.flush()).map_err(BundleError::Write)
}

fn append<W: Write>(
    archive: &mut tar::Builder<W>,
    name: &str,
    size: u64,
    mtime: u64,
    data: impl Read,
) -> Result<(), BundleError> {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(mtime);
    header.set_size(size);
    archive.append_data(&mut header, name, data).map_err(BundleError::Write)
}

fn manifest(snapshot: &Snapshot, recorder: &Recorder) -> Manifest {
    let origin = &snapshot.origin;
    Manifest {
        format: FORMAT,
        tool: ToolRecord { name: env!("CARGO_PKG_NAME").to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() },
        origin: OriginRecord {
            context: origin.context.clone(),
            server: origin.server.clone(),
            server_version: origin.server_version.clone(),
            captured_at: origin.captured_at,
        },
        scope: ScopeRecord { namespaces: snapshot.scope.namespaces.clone() },
        interrupted: snapshot.interrupted,
        sections: SOURCES
            .iter()
            .map(|source| (source.id.name(), section(source, snapshot, recorder.parts.get(&source.id))))
            .collect(),
    }
}

fn section(source: &Source, snapshot: &Snapshot, part: Option<&SourceRecorder>) -> SectionRecord {
    let state = (source.state)(snapshot);
    let mut faults: Vec<_> = state.faults.iter().map(json).collect();
    let missing = part.map_or(0, |part| part.missing.len());
    if missing > 0 && state.kind == StateKind::Collected {
        let message = match missing {
            1 => format!("1 object of {} could not be written to the bundle", source.resource),
            n => format!("{n} objects of {} could not be written to the bundle", source.resource),
        };
        faults.push(json(&Fault::new(FaultKind::Truncated, message)));
    }
    SectionRecord {
        state: json(&state.kind).as_str().unwrap_or_default().to_owned(),
        items: match state.kind {
            StateKind::Collected => part.map_or(state.items, SourceRecorder::lines),
            _ => 0,
        },
        undecodable: state.undecodable.iter().map(json).collect(),
        faults,
        fallback: state.fallback.map(json),
    }
}

/// Our own records are plain data: turning them into JSON cannot fail.
fn json<T: serde::Serialize>(record: &T) -> serde_json::Value {
    serde_json::to_value(record).unwrap_or_default()
}
