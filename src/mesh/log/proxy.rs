//! Messages of a proxy: of its agent, of Envoy, and of the init containers before them. Files are those of istio/istio
//! where nothing else is said.

use super::known::{AUTHORITY, Advice, BASE, CONFIG, DESCRIBE, Known, STATUS, SYNC, Until};
use crate::engine::Severity;
use crate::model::log::LogPart;

const PROXY: Known = Known { part: LogPart::Proxy, code: "PRX20", ..BASE };
const INIT: Known = Known { part: LogPart::Init, code: "PRX20", severity: Severity::Error, ..BASE };

/// What an agent says when its probe finds Envoy ready (`pilot/cmd/pilot-agent/status/server.go`).
pub(super) const READY: &str = "Envoy proxy is ready";
/// What it says when not, before the reason.
pub(super) const NOT_READY: &str = "Envoy proxy is NOT ready: ";
/// How the names of the messages begin that say so.
pub(super) const NOT_READY_ID: &str = "proxy-not-ready";
/// The reasons while the pod is being ended: the agent's, and the state of an Envoy that gives back its connections
/// (`pilot/cmd/pilot-agent/status/ready/probe.go`).
pub(super) const ENDING: [&str; 2] = ["server is terminated", "current state is: DRAINING"];

/// What it says at the level `info` once it is connected to istiod (`pkg/istio-agent/xds_proxy.go`, `xds_proxy_delta.go`).
const CONNECTED: [&str; 2] = ["connected to delta upstream XDS server", "connected to upstream XDS server"];
/// Once it has a certificate, and once Envoy gets a root from it (`security/pkg/nodeagent/cache/secretcache.go`).
const CERTIFIED: &str = "generated new workload certificate";
const ROOTED: &str = "returned workload trust anchor from cache";

/// What a line says that the proxy succeeded in.
pub(super) fn success(text: &str) -> Option<Until> {
    if CONNECTED.iter().any(|words| text.contains(words)) {
        Some(Until::Connected)
    } else if text.contains(CERTIFIED) {
        Some(Until::Certified)
    } else if text.contains(ROOTED) {
        Some(Until::Rooted)
    } else {
        None
    }
}

const MEMORY: Advice = Advice {
    text: "tells by how much, and sets a higher limit",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "PRX04,PRX05"],
};
const PORTS: Advice = Advice {
    text: "shows which container holds one of the proxy's ports",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "PRX06"],
};
const CNI: Advice = Advice {
    text: "shows whether traffic is redirected on the pod's node",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "CNI"],
};
const NETWORK: Advice = Advice {
    text: "names a NetworkPolicy that stands between the pod and port 15012 of istiod",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "CON08,PRX12,CP"],
};
const ROOT: Advice = Advice {
    text: "shows whether the namespace has the root certificate of the istiod that signs",
    command: &["kubectl", "asm", "status", "-n", "{namespace}", "--only", "CA"],
};

/// The first that fits is taken.
pub(super) static MESSAGES: &[Known] = &[
    // pilot/cmd/pilot-agent/status/ready/probe.go; its words are behind those of status/server.go. Every proxy says so
    // while it starts: see `super::weight`.
    Known {
        id: "proxy-ending",
        words: &[NOT_READY, ENDING[0]],
        meaning: "the pod is being ended",
        severity: Severity::Info,
        quiet: true,
        ..PROXY
    },
    Known {
        id: "proxy-draining",
        words: &[NOT_READY, ENDING[1]],
        meaning: "the pod is being ended, and Envoy lets go of its connections",
        severity: Severity::Info,
        quiet: true,
        ..PROXY
    },
    Known {
        id: "proxy-not-ready-nothing",
        words: &[NOT_READY, "config not received from "],
        meaning: "Envoy waits for its first configuration: nothing has come from istiod",
        quiet: true,
        severity: Severity::Info,
        code: "PRX04",
        steps: &[NETWORK, ROOT],
        ..PROXY
    },
    Known {
        id: "proxy-not-ready-rejected",
        words: &[NOT_READY, "config received from ", "but was rejected"],
        meaning: "Envoy waits for its first configuration: it refused what istiod sent",
        quiet: true,
        severity: Severity::Info,
        code: "PRX11",
        steps: &[SYNC, CONFIG],
        ..PROXY
    },
    Known {
        id: "proxy-not-ready-partly",
        words: &[NOT_READY, "config not fully received from "],
        meaning: "Envoy waits for its first configuration: only a part has come from istiod",
        quiet: true,
        severity: Severity::Info,
        code: "PRX04",
        steps: &[SYNC, CONFIG],
        ..PROXY
    },
    Known {
        id: "proxy-not-ready-starting",
        // PRE_INITIALIZING has this word, too.
        words: &[NOT_READY, "server is not live", "INITIALIZING"],
        meaning: "Envoy has its configuration and waits for something that it names, such as a certificate or a route",
        quiet: true,
        severity: Severity::Info,
        code: "PRX04",
        steps: &[CONFIG],
        ..PROXY
    },
    Known {
        id: "proxy-not-ready",
        words: &[NOT_READY],
        meaning: "Envoy is not ready",
        quiet: true,
        severity: Severity::Info,
        code: "PRX04",
        steps: &[CONFIG, DESCRIBE],
        ..PROXY
    },
    // pkg/istio-agent/xds_proxy.go, pkg/istio-agent/xds_proxy_delta.go
    Known {
        id: "proxy-trusts-another",
        until_ready: true,
        until: Some(Until::Connected),
        words: &["failed to connect to upstream ", "x509: "],
        meaning: "the proxy does not trust the certificate of its istiod",
        about: Some(("connect to upstream ", ": ")),
        code: "CA03",
        steps: &[ROOT],
        ..PROXY
    },
    Known {
        id: "proxy-connect",
        until_ready: true,
        until: Some(Until::Connected),
        words: &["failed to connect to upstream "],
        meaning: "the proxy cannot reach its istiod",
        about: Some(("connect to upstream ", ": ")),
        code: "PRX12",
        steps: &[NETWORK],
        ..PROXY
    },
    Known {
        id: "proxy-stream-ended",
        words: &["upstream terminated with unexpected error "],
        meaning: "istiod ended the connection; the proxy connects anew by itself",
        severity: Severity::Info,
        ..PROXY
    },
    // security/pkg/nodeagent/caclient/providers/citadel/client.go
    Known {
        id: "proxy-csr-trust",
        generic: true,
        until_ready: true,
        until: Some(Until::Certified),
        words: &["failed to sign CSR: ", "x509: "],
        meaning: "the proxy does not trust the istiod that should sign its certificate",
        code: "CA03",
        steps: &[ROOT],
        ..PROXY
    },
    Known {
        id: "proxy-csr-token",
        generic: true,
        until_ready: true,
        until: Some(Until::Certified),
        words: &["failed to sign CSR: ", "Unauthenticated"],
        meaning: "istiod does not accept the token by which the proxy asks for its certificate",
        steps: &[DESCRIBE, AUTHORITY],
        ..PROXY
    },
    Known {
        id: "proxy-csr",
        generic: true,
        until_ready: true,
        until: Some(Until::Certified),
        words: &["failed to sign CSR: "],
        meaning: "the proxy asked istiod for its certificate and got none",
        steps: &[NETWORK, AUTHORITY],
        ..PROXY
    },
    Known {
        id: "proxy-ca-endpoint",
        generic: true,
        until_ready: true,
        until: Some(Until::Certified),
        words: &["Failed to connect to endpoint "],
        meaning: "the proxy cannot reach the certificate authority",
        about: Some(("to endpoint ", ": ")),
        steps: &[NETWORK],
        ..PROXY
    },
    // security/pkg/nodeagent/cache/secretcache.go
    Known {
        id: "proxy-certificate",
        generic: true,
        until_ready: true,
        until: Some(Until::Certified),
        words: &[" failed to sign: "],
        meaning: "the proxy got no certificate: without one it does not start, and when the old one ends it cannot speak mTLS",
        steps: &[NETWORK, AUTHORITY],
        ..PROXY
    },
    // security/pkg/nodeagent/sds/sdsservice.go
    Known {
        id: "proxy-warm-root",
        until_ready: true,
        until: Some(Until::Rooted),
        words: &["failed to warm root certificate: "],
        meaning: "the proxy had no root certificate when it started; it tries again when Envoy asks",
        steps: &[ROOT],
        ..PROXY
    },
    Known {
        id: "proxy-warm",
        until_ready: true,
        until: Some(Until::Certified),
        words: &["failed to warm certificate: "],
        meaning: "the proxy had no certificate when it started; it tries again when Envoy asks",
        steps: &[NETWORK, AUTHORITY],
        ..PROXY
    },
    // pkg/istio-agent/plugins.go
    Known {
        id: "proxy-no-root",
        words: &["invalid config - ", " missing a root certificate "],
        meaning: "the ConfigMap istio-ca-root-cert is not in the pod, so the agent ends",
        severity: Severity::Error,
        code: "CA03",
        steps: &[ROOT],
        ..PROXY
    },
    // source/extensions/config_subscription/grpc/grpc_subscription_impl.cc of envoyproxy/envoy
    Known {
        id: "proxy-rejects",
        words: &["gRPC config for ", " rejected: "],
        meaning: "Envoy refused what istiod sent, and goes on with what it had",
        about: Some(("gRPC config for ", " rejected")),
        code: "PRX11",
        steps: &[SYNC, CONFIG],
        ..PROXY
    },
    // source/extensions/config_subscription/grpc/grpc_stream.h of envoyproxy/envoy. A stream that ends is opened again
    // at once; only after 30 seconds without one it says since when.
    Known {
        id: "proxy-stream-down",
        until_ready: true,
        until: Some(Until::Connected),
        words: &["gRPC config stream to xds-grpc closed since "],
        meaning: "Envoy has had no connection to istiod for longer than half a minute, and gets no changes",
        about: Some((" closed since ", ":")),
        code: "PRX12",
        steps: &[NETWORK],
        ..PROXY
    },
    Known {
        id: "proxy-stream",
        words: &["gRPC config stream to xds-grpc closed: "],
        meaning: "the connection to istiod ended and is made anew, as happens every half hour",
        severity: Severity::Info,
        ..PROXY
    },
    Known {
        id: "proxy-secrets-down",
        until_ready: true,
        words: &["gRPC config stream to sds-grpc closed"],
        meaning: "Envoy gets no certificates from its agent",
        steps: &[AUTHORITY],
        ..PROXY
    },
    // source/common/network/listen_socket_impl.cc of envoyproxy/envoy
    Known {
        id: "proxy-port-taken",
        words: &["cannot bind '", "Address already in use"],
        meaning: "another container of the pod holds a port that Envoy should listen on",
        about: Some(("cannot bind '", "'")),
        severity: Severity::Error,
        code: "PRX06",
        steps: &[PORTS],
        ..PROXY
    },
    // pilot/cmd/pilot-agent/status/server.go
    Known {
        id: "proxy-status-port",
        words: &["Error listening on status port: "],
        meaning: "another container of the pod holds port 15020 or 15021, so the agent cannot be probed",
        severity: Severity::Error,
        code: "PRX06",
        steps: &[PORTS],
        ..PROXY
    },
    Known {
        id: "proxy-application-metrics",
        words: &["failed scraping application metrics: "],
        meaning: "the application does not answer where its annotations say that its metrics are",
        severity: Severity::Info,
        ..PROXY
    },
    // pkg/envoy/agent.go
    Known {
        id: "proxy-memory",
        words: &["Envoy may have been out of memory killed"],
        meaning: "Envoy was killed, by all appearances for lack of memory",
        severity: Severity::Error,
        code: "PRX04",
        steps: &[MEMORY],
        ..PROXY
    },
    Known {
        id: "proxy-envoy-ended",
        words: &["Envoy exited with error: "],
        meaning: "Envoy ended with an error, and the container with it; the lines before say why",
        about: Some(("exited with error: ", "\t")),
        severity: Severity::Error,
        code: "PRX04",
        steps: &[DESCRIBE],
        ..PROXY
    },
    // source/server/backtrace.h of envoyproxy/envoy
    Known {
        id: "proxy-crash",
        words: &["Caught ", ", suspect faulting address "],
        meaning: "Envoy broke and ended: a fault in Envoy or in one of its extensions",
        severity: Severity::Error,
        code: "PRX04",
        steps: &[CONFIG, DESCRIBE],
        ..PROXY
    },
    // tools/istio-iptables/pkg/validation/validator.go
    Known {
        id: "init-not-redirected",
        words: &["Error connecting to ", ":15002"],
        meaning: "traffic of the pod is not redirected to its proxy: the CNI plugin has not set that up on this node",
        about: Some(("Error connecting to ", ": ")),
        code: "CNI03",
        steps: &[CNI],
        ..INIT
    },
    Known {
        id: "init-validation",
        generic: true,
        words: &["Validation failed: "],
        meaning: "traffic of the pod is not redirected to its proxy, so the pod does not start",
        code: "CNI03",
        steps: &[CNI],
        ..INIT
    },
    // tools/istio-iptables/pkg/dependencies/implementation_linux.go
    Known {
        id: "init-iptables",
        generic: true,
        words: &["Command error: "],
        meaning: "the rules that redirect traffic could not be written: the init container lacks NET_ADMIN, or the node does not have iptables",
        steps: &[DESCRIBE, STATUS],
        ..INIT
    },
    Known {
        id: "init-no-iptables",
        words: &["did not find iptables binary"],
        meaning: "there is no iptables that the init container could use",
        steps: &[DESCRIBE],
        ..INIT
    },
];
