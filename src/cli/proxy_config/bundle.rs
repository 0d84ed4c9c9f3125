//! Proxies of a bundle.

use crate::cli::inject_check::parse_target;
use crate::mesh::injection::Rules;
use crate::mesh::workload;
use crate::model::envoy::ProxyAnswers;
use crate::model::quoted::printable;
use crate::report::ErrorDocument;
use crate::report::style::shell;
use crate::snapshot::{Section, Snapshot};

/// The proxy that is meant: by its name, by its workload's, or the only one there is.
pub(in crate::cli) fn choose(
    mut snapshot: Snapshot,
    target: Option<&str>,
    namespace: Option<&str>,
) -> Result<Snapshot, ErrorDocument> {
    let section = match std::mem::take(&mut snapshot.proxy_answers) {
        Section::Collected(section) => section,
        Section::Failed(faults) if !faults.is_empty() => return Err(ErrorDocument::of_fault(&faults[0])),
        _ => {
            let hints = ["how a bundle with a proxy is made:", "   kubectl asm capture --proxy <pod>.<namespace>"];
            return Err(wrong("this bundle holds no configuration of single proxies", &hints.map(str::to_owned)));
        }
    };
    let proxies = section.items;
    let meant = Meant::new(&snapshot, target, namespace)?;
    let mut found = proxies.iter().filter(|proxy| proxy.pod().is_some_and(|(place, name)| meant.is(place, name)));
    let (chosen, second) = (found.next(), found.next());
    match (chosen, second, target) {
        // Of a workload any pod will do, as in a cluster.
        (Some(chosen), None, _) | (Some(chosen), Some(_), Some(_)) => {
            Ok(super::snapshot_of(chosen.clone(), section.faults, snapshot.origin))
        }
        (Some(_), Some(_), None) => Err(wrong("name one of the proxies in this bundle", &names(&proxies))),
        (None, ..) => {
            let meant = target.map_or_else(|| "a proxy in that namespace".to_owned(), printable);
            Err(wrong(&format!("this bundle holds no configuration of {meant}"), &names(&proxies)))
        }
    }
}

/// What was asked for.
pub(in crate::cli) struct Meant<'t> {
    namespace: Option<&'t str>,
    pods: Pods<'t>,
}

enum Pods<'t> {
    Any,
    /// The pod of this name, which may end in its namespace.
    Named(&'t str),
    /// A workload's: namespaces and names.
    Listed(Vec<(String, String)>),
}

impl<'t> Meant<'t> {
    /// Understands a target.
    pub(in crate::cli) fn new(
        snapshot: &Snapshot,
        target: Option<&'t str>,
        namespace: Option<&'t str>,
    ) -> Result<Self, ErrorDocument> {
        let pods = match target.map(|target| (target, target.split_once('/'))) {
            None => Pods::Any,
            Some((name, None)) => Pods::Named(name),
            Some((target, Some((_, last)))) => {
                let (kind, name) = parse_target(target).map_err(|message| super::usage(message, &[]))?;
                if kind == "Pod" { Pods::Named(last) } else { Pods::Listed(pods_of(snapshot, &kind, &name)) }
            }
        };
        Ok(Self { namespace, pods })
    }

    /// Whether a pod is meant.
    pub(in crate::cli) fn is(&self, place: &str, pod: &str) -> bool {
        self.namespace.is_none_or(|namespace| namespace == place)
            && match &self.pods {
                Pods::Any => true,
                // Names of pods may contain dots.
                Pods::Named(name) => *name == pod || *name == format!("{pod}.{place}"),
                Pods::Listed(pods) => pods.iter().any(|(namespace, name)| namespace == place && name == pod),
            }
    }
}

fn pods_of(snapshot: &Snapshot, kind: &str, name: &str) -> Vec<(String, String)> {
    let workloads = workload::workloads(snapshot, &Rules::new(snapshot));
    let named = |workload: &&workload::Workload<'_>| {
        workload.kind == kind && (workload.name == name || name == format!("{}.{}", workload.name, workload.namespace))
    };
    let pods = workloads.iter().filter(named).flat_map(|workload| workload.pods.iter().map(|(pod, _)| &pod.metadata));
    pods.map(|meta| (meta.namespace.clone(), meta.name.clone())).collect()
}

fn names(proxies: &[ProxyAnswers]) -> Vec<String> {
    let names = proxies.iter().filter_map(ProxyAnswers::pod).map(|(namespace, name)| {
        let words = ["kubectl", "asm", "proxy-config", "all", &format!("{name}.{namespace}"), "--from", "<bundle>"];
        format!("   {}", shell(&words.map(str::to_owned)).replace("'<bundle>'", "<bundle>"))
    });
    std::iter::once("it holds:".to_owned()).chain(names).collect()
}

fn wrong(message: &str, hints: &[String]) -> ErrorDocument {
    ErrorDocument { kind: "target".to_owned(), message: message.to_owned(), hints: hints.to_vec() }
}
