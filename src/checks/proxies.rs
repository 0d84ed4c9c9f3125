//! PRX: proxies in pods.

use super::remedies::{count, restart, subject, workload_key};
use crate::engine::finding::{Impact, KeyKind};
use crate::engine::lens::OWNERS;
use crate::engine::{Area, Check, Finding, Remedy, Risk, Severity, Step, Verdict};
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&MINOR_SKEW];

static MINOR_SKEW: Check = Check {
    code: "PRX02",
    name: "proxy-minor-differs",
    title: "Proxies have the minor version of their istiod",
    area: Area::Proxies,
    severity: Severity::Error,
    inputs: &[
        SourceId::SystemPods,
        SourceId::SystemDeployments,
        SourceId::Pods,
        SourceId::Deployments,
        SourceId::StatefulSets,
        SourceId::DaemonSets,
        SourceId::Namespaces,
    ],
    uses: OWNERS,
    docs: "## What it means
A proxy's minor version differs from that of the istiod it connects to. Istio supports a proxy one minor older for the time of an upgrade; configuration for newer features may be refused.

## Why it happens on AKS
The proxy's image was pinned by an annotation or written into the manifest by hand, so a restart does not change it.

## How we know
The tag of the proxy's image is compared with the image of its revision's istiod.

## What to do
Remove the pinned image (annotation `sidecar.istio.io/proxyImage`) and restart the workload.

## Sources
<https://istio.io/latest/docs/releases/supported-releases/#control-planedata-plane-skew>",
    run: |lens| {
        let revisions = lens.revisions()?;
        let mut verdict = Verdict::default();
        for workload in lens.workloads()? {
            let mut wrong = Vec::new();
            for (pod, proxy) in &workload.pods {
                let Some(proxy) = proxy else { continue };
                let revision = revisions.iter().find(|r| Some(r.name.as_str()) == proxy.revision.as_deref());
                let (Some(own), Some(istiod)) = (&proxy.version, revision.and_then(|r| r.version())) else { continue };
                verdict.examined += 1;
                if (own.major, own.minor) != (istiod.major, istiod.minor) {
                    wrong.push((pod, own.clone(), istiod));
                }
            }
            let Some((pod, own, istiod)) = wrong.first() else { continue };
            verdict.findings.push(
                Finding::new(
                    subject(workload),
                    format!("{}/{} in {} runs proxy {own} with istiod {istiod}", workload.kind.to_lowercase(), workload.name, workload.namespace),
                    format!("{} another minor version than istiod. Istio supports that only during an upgrade; new settings may be refused.", if wrong.len() == 1 { "1 pod has".to_owned() } else { format!("{} have", count(wrong.len(), "pod")) }),
                )
                .key(KeyKind::Workload, workload_key(workload))
                .impact(Impact { namespaces: 1, workloads: 1, pods: wrong.len() })
                .remedy(Remedy::new("unpin the proxy's image, then restart", std::iter::once(Step::text(Risk::Change, "remove a pinned image from the pod template: annotation sidecar.istio.io/proxyImage, or its own istio-proxy container")).chain(restart([workload])).collect()))
                .evidence(
                    SourceId::Pods,
                    format!("{}/pod/{}", workload.namespace, pod.metadata.name),
                    "proxy version",
                    own.to_string(),
                    Some(&istiod.minor_text()),
                ),
            );
        }
        Ok(verdict)
    },
};
