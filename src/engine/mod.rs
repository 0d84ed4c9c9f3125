//! What a check is, and how checks are run. Knows no check by name.

pub mod correlate;
pub mod finding;
pub mod lens;
pub mod run;

use crate::snapshot::SourceId;
pub use finding::{Evidence, Finding, Impact, Key, Related, Remedy, Risk, Severity, Step, Subject};
pub use lens::{Lens, Missing};

/// Area of a check: the letters of its code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Area {
    /// ENV: the cluster, the add-on's presence, one's own rights.
    Environment,
    /// CP: istiod.
    ControlPlane,
    /// REV: revisions and their support.
    Revision,
    /// INJ: namespaces and injection.
    Injection,
    /// WHK: webhooks.
    Webhooks,
    /// UPG: upgrades.
    Upgrade,
    /// PRX: proxies.
    Proxies,
    /// CON: conflicts.
    Conflicts,
    /// CAP: room for istiod and for sidecars.
    Capacity,
    /// CFG: the managed and the shared mesh configuration.
    MeshConfig,
    /// POL: what the add-on allows in Istio's custom resources.
    Policy,
    /// CA: the mesh's certificate authority.
    Certificates,
    /// CNI: init containers or Istio's CNI plugin.
    Cni,
    /// NSC: sidecars as init containers.
    NativeSidecars,
    /// ING: ingress gateways.
    Ingress,
    /// TEL: metrics, traces and access logs.
    Telemetry,
    /// AZ: the cluster as Azure knows it.
    Azure,
}

impl Area {
    /// The letters that codes of this area begin with.
    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Environment => "ENV",
            Self::ControlPlane => "CP",
            Self::Revision => "REV",
            Self::Injection => "INJ",
            Self::Webhooks => "WHK",
            Self::Upgrade => "UPG",
            Self::Proxies => "PRX",
            Self::Conflicts => "CON",
            Self::Capacity => "CAP",
            Self::MeshConfig => "CFG",
            Self::Policy => "POL",
            Self::Certificates => "CA",
            Self::Cni => "CNI",
            Self::NativeSidecars => "NSC",
            Self::Ingress => "ING",
            Self::Telemetry => "TEL",
            Self::Azure => "AZ",
        }
    }

    /// What the area is about.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Environment => "Environment",
            Self::ControlPlane => "Control plane",
            Self::Revision => "Revision life",
            Self::Injection => "Namespaces and injection",
            Self::Webhooks => "Webhooks",
            Self::Upgrade => "Upgrade",
            Self::Proxies => "Proxies",
            Self::Conflicts => "Conflicts",
            Self::Capacity => "Capacity",
            Self::MeshConfig => "Mesh configuration",
            Self::Policy => "Custom resources",
            Self::Certificates => "Certificates",
            Self::Cni => "Traffic redirection",
            Self::NativeSidecars => "Native sidecars",
            Self::Ingress => "Ingress",
            Self::Telemetry => "Telemetry",
            Self::Azure => "Azure",
        }
    }
}

/// One check: a static record and a pure function.
pub struct Check {
    /// Stable code, never reused.
    pub code: &'static str,
    /// Kebab-case name of the fault.
    pub name: &'static str,
    /// What should be true.
    pub title: &'static str,
    /// Area.
    pub area: Area,
    /// The severity of its findings, unless a finding says less.
    pub severity: Severity,
    /// What it must have read; without one of these it is not checked.
    pub inputs: &'static [SourceId],
    /// What makes its evidence better, but is not needed for the verdict.
    pub uses: &'static [SourceId],
    /// Its page, Markdown.
    pub docs: &'static str,
    /// The check itself.
    pub run: fn(&Lens<'_>) -> Result<Verdict, Missing>,
}

/// What a check says.
#[derive(Debug, Default)]
pub struct Verdict {
    /// How many objects were looked at; nothing looked at is never a pass.
    pub examined: usize,
    /// What was found.
    pub findings: Vec<Finding>,
}

/// A pair of codes whose findings are cause and consequence when they share a key.
#[derive(Clone, Copy, Debug)]
pub struct Cause {
    /// Code of the cause.
    pub cause: &'static str,
    /// Code of the consequence.
    pub effect: &'static str,
    /// What both must name.
    pub by: finding::KeyKind,
}
