//! Messages of istiod. Files are those of istio/istio.

use super::known::{AUTHORITY, Advice, BASE, Known, STATUS, SYNC};
use crate::engine::Severity;
use crate::model::log::LogPart;

const ISTIOD: Known = Known { part: LogPart::Istiod, code: "CP10", ..BASE };

/// What was applied that istiod does not understand.
const MESH_CONFIG: Advice = Advice {
    text: "names the part of the mesh configuration that is wrong",
    command: &["kubectl", "asm", "status", "--only", "CFG"],
};
const CREDENTIAL: Advice = Advice {
    text: "the Secret that a Gateway names in credentialName must hold tls.crt and tls.key, in the gateway's namespace",
    command: &["kubectl", "get", "secrets", "-n", "aks-istio-ingress"],
};
const WEBHOOKS: Advice =
    Advice { text: "shows whether the webhooks trust istiod", command: &["kubectl", "asm", "status", "--only", "WHK"] };
const RIGHTS: Advice = Advice {
    text: "AKS gives istiod its rights and its custom resource definitions: this restores them",
    command: &["az", "aks", "update", "-g", "<resource-group>", "-n", "<cluster>"],
};
const INJECTION: Advice = Advice {
    text: "shows which workloads are injected, and why others are not",
    command: &["kubectl", "asm", "inject-check", "-A"],
};
const KEY_VAULT: Advice = Advice {
    text: "shows whether the plug-in certificates of the Key Vault are there and fit",
    command: &["kubectl", "asm", "status", "--only", "CA,CP05"],
};

/// The first that fits is taken.
pub(super) static MESSAGES: &[Known] = &[
    // pilot/pkg/xds/delta.go, and pilot/pkg/xds/ads.go before 1.22 with the same words.
    Known {
        id: "istiod-proxy-rejects",
        words: &["ADS:", "ACK ERROR "],
        meaning: "an Envoy refused what istiod sent, and goes on with what it had",
        about: Some(("ACK ERROR ", " ")),
        code: "PRX11",
        steps: &[SYNC],
        ..ISTIOD
    },
    // pilot/pkg/xds/auth.go
    Known {
        id: "istiod-unauthorized",
        words: &["Unauthorized XDS: "],
        meaning: "a proxy has a certificate of another namespace or ServiceAccount than it says it is of, and gets nothing",
        about: Some(("Unauthorized XDS: ", " ")),
        steps: &[SYNC],
        ..ISTIOD
    },
    // pilot/pkg/xds/ads.go, pilot/pkg/xds/delta.go
    Known {
        id: "istiod-rate-limit",
        words: &["ADS: ", " exceeded rate limit: "],
        meaning: "more proxies connected at once than istiod takes; they try again by themselves",
        severity: Severity::Info,
        ..ISTIOD
    },
    // pilot/pkg/xds/xdsgen.go
    Known {
        id: "istiod-send-failed",
        words: &["Send failure for node:"],
        meaning: "a push did not reach a proxy, which is gone or too slow to take it",
        about: Some(("Send failure for node:", " ")),
        severity: Severity::Info,
        ..ISTIOD
    },
    // pilot/pkg/xds/delta.go
    Known {
        id: "istiod-stream-broken",
        words: &["ADS: ", " terminated with error: "],
        meaning: "the connection of a proxy broke; it connects anew by itself",
        severity: Severity::Info,
        ..ISTIOD
    },
    // security/pkg/server/ca/server.go
    Known {
        id: "istiod-csr",
        generic: true,
        words: &["CSR signing error: "],
        meaning: "the certificate authority did not sign a proxy's certificate: new proxies do not start",
        steps: &[AUTHORITY],
        ..ISTIOD
    },
    Known {
        id: "istiod-impersonation",
        words: &["impersonation not allowed, as node authorizer"],
        meaning: "something asks for certificates in the name of others, as ztunnel of an ambient mesh does; the add-on has no ambient mode",
        steps: &[STATUS],
        ..ISTIOD
    },
    // pilot/pkg/bootstrap/istio_ca.go
    Known {
        id: "istiod-cacerts-incomplete",
        words: &["incomplete signing CA bundle detected at "],
        meaning: "of the four files of a plug-in certificate authority some are missing, so istiod does not use it",
        code: "CA05",
        steps: &[KEY_VAULT],
        ..ISTIOD
    },
    Known {
        id: "istiod-cacerts-update",
        words: &["Failed to update new Plug-in CA certs: "],
        meaning: "new certificates came from the Key Vault and do not fit together: istiod goes on with the old ones until they end",
        steps: &[KEY_VAULT],
        ..ISTIOD
    },
    Known {
        id: "istiod-cacerts-key",
        words: &["Failed generating plugged-in istiod key cert: "],
        meaning: "istiod could not make a certificate for itself with the new certificate authority",
        steps: &[KEY_VAULT],
        ..ISTIOD
    },
    Known {
        id: "istiod-root-update",
        words: &["pdating new ROOT-CA not supported"],
        meaning: "the new plug-in certificates have another root, which istiod does not take over while it runs",
        steps: &[KEY_VAULT],
        ..ISTIOD
    },
    Known {
        id: "istiod-ca-start",
        words: &["failed to create istio ca server: "],
        meaning: "istiod could not start its certificate authority, and ends",
        severity: Severity::Error,
        steps: &[KEY_VAULT],
        ..ISTIOD
    },
    // pilot/pkg/bootstrap/certcontroller.go
    Known {
        id: "istiod-own-certificate",
        words: &["failed regenerating key and cert for istiod"],
        meaning: "istiod could not renew its own certificate: when that ends, proxies and the API server do not trust it any more",
        steps: &[AUTHORITY],
        ..ISTIOD
    },
    // net/http/server.go of Go writes the first part, crypto/tls/alert.go the second.
    Known {
        id: "istiod-not-trusted",
        generic: true,
        words: &["http: TLS handshake error from ", "tls: bad certificate"],
        meaning: "whoever called istiod's webhook does not trust its certificate: pods that the webhook selects are refused",
        quiet: true,
        code: "WHK03",
        steps: &[WEBHOOKS],
        ..ISTIOD
    },
    Known {
        id: "istiod-authority-not-known",
        generic: true,
        words: &["http: TLS handshake error from ", "tls: unknown certificate authority"],
        meaning: "whoever called istiod's webhook has another root than istiod: pods that the webhook selects are refused",
        quiet: true,
        code: "WHK03",
        steps: &[WEBHOOKS],
        ..ISTIOD
    },
    // pkg/webhooks/webhookpatch.go. A conflict is tried again at once.
    Known {
        id: "istiod-webhook-patch",
        words: &["patching webhook ", " failed: "],
        unless: &["the object has been modified"],
        meaning: "istiod could not write its root into a webhook, which then does not trust it",
        about: Some(("patching webhook ", " failed")),
        code: "WHK03",
        steps: &[WEBHOOKS],
        ..ISTIOD
    },
    Known {
        id: "istiod-webhook-root",
        generic: true,
        words: &["Failed to load CA bundle: "],
        meaning: "istiod has no root to write into the webhooks",
        code: "WHK03",
        steps: &[WEBHOOKS, AUTHORITY],
        ..ISTIOD
    },
    // pkg/config/mesh/meshwatcher/collection.go
    Known {
        id: "istiod-mesh-config",
        words: &["invalid mesh config, "],
        meaning: "istiod does not understand the mesh configuration, and goes on with the last one, or without it",
        code: "CFG01",
        steps: &[MESH_CONFIG],
        ..ISTIOD
    },
    // pilot/pkg/util/informermetric/informerutil.go
    Known {
        id: "istiod-forbidden",
        words: &["watch error in cluster ", " is forbidden: "],
        meaning: "istiod may not read a kind of object that it needs: what is written there has no effect",
        about: Some(("failed to list ", ":")),
        steps: &[RIGHTS],
        ..ISTIOD
    },
    Known {
        id: "istiod-watch",
        words: &["watch error in cluster "],
        meaning: "istiod could not read from the API server for a moment; it tries again by itself",
        severity: Severity::Info,
        ..ISTIOD
    },
    // pilot/pkg/bootstrap/server.go
    Known {
        id: "istiod-cache-sync",
        generic: true,
        words: &["Failed waiting for cache sync"],
        meaning: "istiod could not read what it needs from the API server, and does not become ready",
        severity: Severity::Error,
        steps: &[STATUS, RIGHTS],
        ..ISTIOD
    },
    Known {
        id: "istiod-serving",
        generic: true,
        words: &["error serving ", " server: "],
        meaning: "one of istiod's ports stopped serving",
        about: Some(("error serving ", ":")),
        steps: &[STATUS],
        ..ISTIOD
    },
    // pilot/pkg/leaderelection
    Known {
        id: "istiod-leader-lost",
        generic: true,
        words: &["leader election lock lost: "],
        meaning: "another istiod took over a task; in between nobody did it for some seconds",
        severity: Severity::Info,
        quiet: true,
        about: Some(("lock lost: ", "\t")),
        ..ISTIOD
    },
    Known {
        id: "istiod-leader-lock",
        generic: true,
        words: &["error retrieving resource lock "],
        meaning: "istiod could not reach the API server to say that it is still there",
        severity: Severity::Info,
        ..ISTIOD
    },
    // pkg/webhooks/validation/server/server.go
    Known {
        id: "istiod-refused-object",
        generic: true,
        words: &["configuration is invalid: "],
        meaning: "somebody tried to apply an Istio object that is not valid, and was told so",
        severity: Severity::Info,
        quiet: true,
        ..ISTIOD
    },
    // pkg/kube/inject/webhook.go, pkg/kube/inject/inject.go
    Known {
        id: "istiod-injection",
        words: &["Pod injection failed: "],
        meaning: "istiod could not add a sidecar, and the pod was refused",
        code: "INJ11",
        steps: &[INJECTION],
        ..ISTIOD
    },
    Known {
        id: "istiod-injection-annotation",
        words: &["Injection failed due to invalid annotations: "],
        meaning: "a pod has an annotation of Istio with a value that is not valid, and was refused",
        code: "INJ11",
        steps: &[INJECTION],
        ..ISTIOD
    },
    Known {
        id: "istiod-injection-label",
        generic: true,
        words: &["Invalid value for ", "Only 'true' and 'false' are accepted"],
        meaning: "a pod asks for injection with another word than true or false, so the namespace decides",
        steps: &[INJECTION],
        ..ISTIOD
    },
    // pilot/pkg/xds/sds.go
    Known {
        id: "istiod-credential",
        generic: true,
        words: &["invalid certificates: "],
        meaning: "the certificate in a Secret of a gateway is not valid or has ended",
        about: Some(("invalid certificates: ", " ")),
        steps: &[CREDENTIAL],
        ..ISTIOD
    },
    Known {
        id: "istiod-credential-missing",
        words: &["failed to fetch key and certificate for "],
        meaning: "a gateway's credentialName names a Secret that is not there, or does not hold a certificate and its key",
        about: Some(("certificate for ", ":")),
        steps: &[CREDENTIAL],
        ..ISTIOD
    },
    Known {
        id: "istiod-credential-ca",
        words: &["failed to fetch ca certificate for "],
        meaning: "a gateway with mutual TLS has no certificate authority to check its callers with",
        about: Some(("certificate for ", ":")),
        steps: &[CREDENTIAL],
        ..ISTIOD
    },
    Known {
        id: "istiod-credential-refused",
        words: &[" attempted to access unauthorized certificates "],
        meaning: "a gateway names a Secret of another namespace, or one that it may not read",
        about: Some(("unauthorized certificates ", ":")),
        steps: &[CREDENTIAL],
        ..ISTIOD
    },
    // pilot/pkg/model/jwks_resolver.go
    Known {
        id: "istiod-jwks",
        words: &["Failed to fetch public key from jwks URI "],
        meaning: "istiod cannot fetch the keys of a RequestAuthentication: tokens of that issuer are refused",
        about: Some(("jwks URI ", ": ")),
        steps: &[JWKS],
        ..ISTIOD
    },
    Known {
        id: "istiod-jwks-refresh",
        words: &["Failed to refresh JWT public key from "],
        meaning: "istiod cannot renew the keys of a RequestAuthentication: once the issuer changes them, its tokens are refused",
        about: Some(("public key from ", ": ")),
        steps: &[JWKS],
        ..ISTIOD
    },
    // The Go runtime (src/runtime/panic.go).
    Known {
        id: "istiod-panic",
        generic: true,
        words: &["panic: "],
        meaning: "istiod broke and ended",
        severity: Severity::Error,
        quiet: true,
        steps: &[STATUS],
        ..ISTIOD
    },
];

const JWKS: Advice = Advice {
    text: "lists where the keys are fetched from; istiod must be able to reach that address",
    command: &["kubectl", "get", "requestauthentications.security.istio.io", "-A", "-o", "yaml"],
};
