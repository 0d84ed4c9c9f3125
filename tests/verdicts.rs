//! What happens to a pod that is created now: the truth tables of Istio's webhooks and of istiod, row by row.
//!
//! Expectations come from the selectors of the chart (`istiod` → `mutatingwebhook.yaml`), from Kubernetes' rules for
//! admission webhooks, and from `injectRequired` in `pkg/kube/inject/inject.go` of istio/istio.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use kubectl_asm::mesh::injection::{Candidate, DecidedBy, INJECT, INJECTION, REV, Reason, Rules, Verdict};
use kubectl_asm::mesh::webhook::Backend;
use kubectl_asm::model::meta::StringMap;
use kubectl_asm::snapshot::SourceId;
use serde_json::{Value, json};
use support::{base, identity, snapshot};

const R: &str = "asm-1-30";
const Q: &str = "asm-1-28";
const WEBHOOK: &str = "MutatingWebhookConfiguration/istio-sidecar-injector-asm-1-30-aks-istio-system";
const OTHER_WEBHOOK: &str = "MutatingWebhookConfiguration/istio-sidecar-injector-asm-1-28-aks-istio-system";
const CONFIG: &str = "ConfigMap/aks-istio-system/istio-sidecar-injector-asm-1-30";
const SERVICE: &str = "Service/aks-istio-system/istiod-asm-1-30";
const SLICE: &str = "EndpointSlice/aks-istio-system/istiod-asm-1-30-v8hcn";

/// A cluster to create the pod in.
#[derive(Clone)]
struct Cluster {
    objects: Vec<Value>,
    refused: Vec<SourceId>,
}

/// asm-1-30 alone, with whatever else is named.
fn cluster(more: &[&str]) -> Cluster {
    let objects = std::iter::once("healthy").chain(more.iter().copied()).flat_map(base).collect();
    Cluster { objects, refused: Vec::new() }
}

/// A cluster with one revision of that name.
fn only(revision: &str) -> Cluster {
    let text = serde_json::to_string(&cluster(&[]).objects).unwrap().replace(R, revision);
    Cluster { objects: serde_json::from_str(&text).unwrap(), refused: Vec::new() }
}

impl Cluster {
    fn edit(mut self, id: &str, edit: impl Fn(&mut Value)) -> Self {
        let object = self.objects.iter_mut().find(|object| identity(object) == id);
        edit(object.unwrap_or_else(|| panic!("the cluster has no {id}")));
        self
    }

    /// Edits every entry of a webhook configuration.
    fn entries(self, id: &str, edit: impl Fn(&mut Value)) -> Self {
        self.edit(id, |object| object["webhooks"].as_array_mut().unwrap().iter_mut().for_each(&edit))
    }

    fn without(mut self, id: &str) -> Self {
        let before = self.objects.len();
        self.objects.retain(|object| identity(object) != id);
        assert!(self.objects.len() < before, "the cluster has no {id}");
        self
    }

    fn with(mut self, object: Value) -> Self {
        self.objects.push(object);
        self
    }

    /// The injector's configuration of asm-1-30.
    fn config(self, config: &str) -> Self {
        self.edit(CONFIG, |object| object["data"]["config"] = json!(config))
    }

    fn refuse(mut self, id: SourceId) -> Self {
        self.refused.push(id);
        self
    }

    /// asm-1-30's Service has no ready endpoint.
    fn dead(self) -> Self {
        self.edit(SLICE, |object| {
            object["endpoints"] = json!([{"addresses": ["10.0.0.1"], "conditions": {"ready": false}}])
        })
    }

    /// Every entry of asm-1-30's webhook demands more of the namespace.
    fn also(self, requirement: &Value) -> Self {
        self.entries(WEBHOOK, |entry| {
            entry["namespaceSelector"]["matchExpressions"].as_array_mut().unwrap().push(requirement.clone());
        })
    }
}

/// asm-1-30 and asm-1-28, whose webhook selects the namespaces of both.
fn overlapping() -> Cluster {
    cluster(&["asm-1-28"]).edit(OTHER_WEBHOOK, |object| {
        object["webhooks"][0]["namespaceSelector"]["matchExpressions"][0]["values"] = json!([Q, R]);
    })
}

/// A tag `default` as `istioctl tag set default` makes it: four entries.
fn default_tag() -> Value {
    let entry = |name: &str, namespace: Value, pod: Value| {
        json!({
            "name": format!("{name}.sidecar-injector.istio.io"), "failurePolicy": "Fail",
            "clientConfig": {"service": {"name": "istiod-asm-1-30", "namespace": "aks-istio-system"}},
            "namespaceSelector": {"matchExpressions": namespace}, "objectSelector": {"matchExpressions": pod},
            "rules": [{"apiGroups": [""], "operations": ["CREATE"], "resources": ["pods"]}],
        })
    };
    let absent = |key: &str| json!({"key": key, "operator": "DoesNotExist"});
    let is = |key: &str, value: &str| json!({"key": key, "operator": "In", "values": [value]});
    let not_out = json!({"key": INJECT, "operator": "NotIn", "values": ["false"]});
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
        "metadata": {
            "name": "istio-revision-tag-default-aks-istio-system",
            "labels": {"istio.io/rev": R, "istio.io/tag": "default"},
        },
        "webhooks": [
            entry("rev.namespace", json!([is(REV, "default"), absent(INJECTION)]), json!([not_out])),
            entry("rev.object", json!([absent(REV), absent(INJECTION)]), json!([not_out, is(REV, "default")])),
            entry("namespace", json!([is(INJECTION, "enabled")]), json!([not_out])),
            entry("object", json!([absent(INJECTION), absent(REV)]), json!([is(INJECT, "true"), absent(REV)])),
        ],
    })
}

/// One row of a table.
struct Row {
    name: String,
    cluster: Cluster,
    namespace: &'static str,
    namespace_labels: StringMap,
    labels: StringMap,
    annotations: StringMap,
    host_network: bool,
}

fn row(name: impl Into<String>, cluster: Cluster) -> Row {
    Row {
        name: name.into(),
        cluster,
        namespace: "team",
        namespace_labels: StringMap::new(),
        labels: StringMap::new(),
        annotations: StringMap::new(),
        host_network: false,
    }
}

impl Row {
    fn namespace(mut self, key: &str, value: &str) -> Self {
        self.namespace_labels.insert(key.to_owned(), value.to_owned());
        self
    }

    fn pod(mut self, key: &str, value: &str) -> Self {
        self.labels.insert(key.to_owned(), value.to_owned());
        self
    }

    fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.to_owned(), value.to_owned());
        self
    }

    fn host(mut self) -> Self {
        self.host_network = true;
        self
    }

    fn named(mut self, namespace: &'static str) -> Self {
        self.namespace = namespace;
        self
    }

    fn verdict(&self) -> Verdict {
        let mut objects = self.cluster.objects.clone();
        objects.retain(|object| identity(object) != format!("Namespace/{}", self.namespace));
        let labels: std::collections::BTreeMap<_, _> = self.namespace_labels.iter().collect();
        objects.push(json!({"kind": "Namespace", "metadata": {"name": self.namespace, "labels": labels}}));
        let snapshot = snapshot(&objects, None, &self.cluster.refused);
        Rules::new(&snapshot).verdict(Candidate {
            namespace: self.namespace,
            labels: &self.labels,
            annotations: &self.annotations,
            host_network: self.host_network,
        })
    }

    fn check(self, injected: Option<bool>, revision: Option<&str>, by: DecidedBy, reason: Option<Reason>) {
        let verdict = self.verdict();
        let got = (verdict.injected, verdict.revision.as_deref(), verdict.decided_by);
        assert_eq!(got, (injected, revision, by), "{}: {verdict:?}", self.name);
        if let Some(reason) = reason {
            assert_eq!(verdict.reason, reason, "{}", self.name);
        }
    }

    /// Gets a sidecar of that revision.
    fn injected(self, revision: &str, reason: Reason) {
        self.check(Some(true), Some(revision), DecidedBy::Webhook, Some(reason));
    }

    /// No webhook is called.
    fn not_selected(self, reason: Reason) {
        self.check(Some(false), None, DecidedBy::Webhook, Some(reason));
    }

    /// istiod is asked and says no.
    fn declined(self, reason: Reason) {
        self.check(Some(false), None, DecidedBy::Istiod, Some(reason));
    }

    /// Kubernetes refuses the pod.
    fn blocked(self, revision: &str, backend: Backend) {
        self.check(Some(false), Some(revision), DecidedBy::Blocked, Some(Reason::NoBackend(backend)));
    }

    fn unknown(self, reason: Reason) {
        self.check(None, None, DecidedBy::Unknown, Some(reason));
    }
}

fn gone(value: &str) -> Reason {
    Reason::UnknownRevision(value.to_owned())
}

fn opts_out(value: &str) -> Reason {
    Reason::OptsOut(value.to_owned())
}

fn policy(value: &str) -> Reason {
    Reason::Policy(value.to_owned())
}

fn name_of(id: &str) -> String {
    id.split_once('/').unwrap().1.to_owned()
}

#[test]
fn labels_of_namespace_and_pod() {
    let one = || cluster(&[]);
    let two = || cluster(&["asm-1-28"]);
    row("nothing asks", one()).not_selected(Reason::NotAsked);
    row("namespace names R", one()).namespace(REV, R).injected(R, Reason::NamespaceLabel);
    row("namespace names R, pod names Q", two()).namespace(REV, R).pod(REV, Q).injected(R, Reason::NamespaceLabel);
    row("namespace names Q, pod names R", two()).namespace(REV, Q).pod(REV, R).injected(Q, Reason::NamespaceLabel);
    row("namespace names R, pod opts out", one())
        .namespace(REV, R)
        .pod(INJECT, "false")
        .not_selected(Reason::LabelOptsOut);
    row("namespace names R, pod opts in", one())
        .namespace(REV, R)
        .pod(INJECT, "true")
        .injected(R, Reason::NamespaceLabel);
    row("pod names R", one()).pod(REV, R).injected(R, Reason::PodLabel);
    row("pod names R and opts in", one()).pod(REV, R).pod(INJECT, "true").injected(R, Reason::PodLabel);
    row("pod names R and opts out", one()).pod(REV, R).pod(INJECT, "false").not_selected(Reason::LabelOptsOut);
    row("pod opts in alone", one()).pod(INJECT, "true").not_selected(Reason::NotAsked);
    row("pod opts in by annotation alone", one()).annotation(INJECT, "true").not_selected(Reason::NotAsked);
    row("pod's annotation names R", one()).annotation(REV, R).not_selected(Reason::NotAsked);
}

#[test]
fn a_revision_that_is_not_there_is_a_silent_miss() {
    let one = || cluster(&[]);
    row("namespace names a gone revision", one()).namespace(REV, "asm-1-27").not_selected(gone("asm-1-27"));
    row("… and the pod an installed one", one()).namespace(REV, "asm-1-27").pod(REV, R).not_selected(gone("asm-1-27"));
    row("… and the pod opts in", one()).namespace(REV, "asm-1-27").pod(INJECT, "true").not_selected(gone("asm-1-27"));
    row("… and the pod is on its node's network", one())
        .namespace(REV, "asm-1-27")
        .host()
        .not_selected(gone("asm-1-27"));
    row("pod names a gone revision", one()).pod(REV, "asm-1-27").not_selected(gone("asm-1-27"));
    row("namespace names default, which nobody set", one()).namespace(REV, "default").not_selected(gone("default"));
    row("the revision in other letters", one()).namespace(REV, "ASM-1-30").not_selected(gone("ASM-1-30"));
    row("the label without a value", one()).namespace(REV, "").not_selected(gone(""));
}

#[test]
fn istio_injection_of_any_value_cancels_a_revision() {
    let one = || cluster(&[]);
    for value in ["enabled", "disabled", "true", ""] {
        row(format!("istio-injection={value:?} beside R"), one())
            .namespace(INJECTION, value)
            .namespace(REV, R)
            .not_selected(Reason::InjectionLabelCancels);
        // What the reason is called matters less here than that no revisioned entry matches.
        row(format!("istio-injection={value:?}, pod names R"), one()).namespace(INJECTION, value).pod(REV, R).check(
            Some(false),
            None,
            DecidedBy::Webhook,
            None,
        );
    }
    row("istio-injection=enabled alone", one())
        .namespace(INJECTION, "enabled")
        .not_selected(Reason::InjectionLabelInert);
    row("istio-injection=disabled and a pod that names R", one())
        .namespace(INJECTION, "disabled")
        .pod(REV, R)
        .not_selected(Reason::InjectionLabelVetoes);
    row("istio-injection=disabled alone", one()).namespace(INJECTION, "disabled").not_selected(Reason::NotAsked);
}

#[test]
fn tags_stand_for_their_revision() {
    let tagged = || cluster(&["tag-prod"]);
    let default = || cluster(&[]).with(default_tag());
    row("namespace names a tag", tagged()).namespace(REV, "prod").injected(R, Reason::NamespaceLabel);
    row("pod names a tag", tagged()).pod(REV, "prod").injected(R, Reason::PodLabel);
    row("namespace names the revision beside a tag", tagged()).namespace(REV, R).injected(R, Reason::NamespaceLabel);
    row("tag whose Service went with its revision", cluster(&["tag-prod-of-28"]))
        .namespace(REV, "prod")
        .blocked(Q, Backend::NoService);
    row("tag default and istio-injection=enabled", default())
        .namespace(INJECTION, "enabled")
        .injected(R, Reason::OtherSelector);
    row("tag default and istio-injection=disabled", default())
        .namespace(INJECTION, "disabled")
        .not_selected(Reason::NotAsked);
    row("tag default and a pod that opts in", default()).pod(INJECT, "true").injected(R, Reason::OtherSelector);
    row("tag default and istio.io/rev=default", default())
        .namespace(REV, "default")
        .injected(R, Reason::NamespaceLabel);
    row("tag default and both labels", default()).namespace(INJECTION, "enabled").namespace(REV, R).check(
        Some(true),
        Some(R),
        DecidedBy::Webhook,
        None,
    );
    row("tag default and nothing", default()).not_selected(Reason::NotAsked);
}

#[test]
fn istiod_has_its_own_rules_after_a_webhook_matched() {
    let one = || cluster(&[]);
    let asked = |name: &str| row(name, one()).namespace(REV, R);
    asked("host network").host().declined(Reason::HostNetwork);
    asked("host network although the pod opts in").host().pod(INJECT, "true").declined(Reason::HostNetwork);
    for namespace in ["kube-system", "kube-public", "kube-node-lease", "local-path-storage"] {
        asked(namespace).named(namespace).declined(Reason::IgnoredNamespace);
        asked(namespace).named(namespace).pod(INJECT, "true").declined(Reason::IgnoredNamespace);
    }
    asked("host network in kube-system").named("kube-system").host().declined(Reason::HostNetwork);
    asked("another namespace of AKS").named("gatekeeper-system").injected(R, Reason::NamespaceLabel);
    asked("annotation says false").annotation(INJECT, "false").declined(opts_out("false"));
    asked("annotation says true").annotation(INJECT, "true").injected(R, Reason::NamespaceLabel);
    asked("label true beats annotation false")
        .pod(INJECT, "true")
        .annotation(INJECT, "false")
        .injected(R, Reason::NamespaceLabel);
    asked("label false beats annotation true")
        .pod(INJECT, "false")
        .annotation(INJECT, "true")
        .not_selected(Reason::LabelOptsOut);
    asked("an empty label hides annotation false")
        .pod(INJECT, "")
        .annotation(INJECT, "false")
        .injected(R, Reason::NamespaceLabel);
    asked("an empty annotation says nothing").annotation(INJECT, "").injected(R, Reason::NamespaceLabel);
}

#[test]
fn the_meaning_of_other_words_changed_with_1_27() {
    // Up to 1.26 every YAML truth is yes and every other text is no; from 1.27 on only the exact words count
    // (istio/istio pull request 56737), and anything else leaves the decision to the policy.
    for (value, yes) in [
        ("False", false),
        ("FALSE", false),
        ("no", false),
        ("n", false),
        ("off", false),
        ("0", false),
        ("1", false),
        ("maybe", false),
        ("yes", true),
        ("y", true),
        ("Y", true),
        ("on", true),
        ("True", true),
        ("TRUE", true),
    ] {
        let on = |revision: &str, policy: &str, label: bool| {
            let id = format!("ConfigMap/aks-istio-system/istio-sidecar-injector-{revision}");
            let config = json!(format!("policy: {policy}\n"));
            let cluster = only(revision).edit(&id, |object| object["data"]["config"] = config.clone());
            let kind = if label { "label" } else { "annotation" };
            let row = row(format!("{revision}, policy {policy}, {kind} {value:?}"), cluster).namespace(REV, revision);
            if label { row.pod(INJECT, value) } else { row.annotation(INJECT, value) }
        };
        for label in [false, true] {
            for policy in ["enabled", "disabled"] {
                let old = on("asm-1-26", policy, label);
                if yes {
                    old.injected("asm-1-26", Reason::NamespaceLabel);
                } else {
                    old.declined(opts_out(value));
                }
            }
            for revision in ["asm-1-27", "asm-1-30"] {
                on(revision, "enabled", label).injected(revision, Reason::NamespaceLabel);
                on(revision, "disabled", label).declined(policy("disabled"));
            }
        }
    }
}

#[test]
fn the_injectors_policy_and_selectors() {
    let with = |name: &str, config: &str| row(name, cluster(&[]).config(config)).namespace(REV, R);
    const NEVER: &str = "policy: enabled\nneverInjectSelector: [{matchLabels: {app: db}}]\n";
    const ALWAYS: &str =
        "policy: disabled\nalwaysInjectSelector: [{matchExpressions: [{key: mesh, operator: Exists}]}]\n";
    const BOTH: &str = "policy: enabled\nneverInjectSelector: [{matchLabels: {app: db}}]\nalwaysInjectSelector: [{matchLabels: {app: db}}]\n";
    with("never matches", NEVER).pod("app", "db").declined(Reason::NeverSelector);
    with("never matches another pod", NEVER).pod("app", "web").injected(R, Reason::NamespaceLabel);
    with("opting in beats never", NEVER).pod("app", "db").pod(INJECT, "true").injected(R, Reason::NamespaceLabel);
    with("never beats always", BOTH).pod("app", "db").declined(Reason::NeverSelector);
    with("always beats the policy", ALWAYS).pod("mesh", "").injected(R, Reason::NamespaceLabel);
    with("opting out beats always", ALWAYS).pod("mesh", "").annotation(INJECT, "false").declined(opts_out("false"));
    with("always does not match", ALWAYS).declined(policy("disabled"));
    with("an empty never matches nothing", "policy: enabled\nneverInjectSelector: [{}]\n")
        .injected(R, Reason::NamespaceLabel);
    with("an empty always matches nothing", "policy: disabled\nalwaysInjectSelector: [{}]\n")
        .declined(policy("disabled"));
    with(
        "an invalid never is passed over",
        "policy: enabled\nneverInjectSelector: [{matchExpressions: [{key: app, operator: Like}]}]\n",
    )
    .pod("app", "db")
    .injected(R, Reason::NamespaceLabel);
    with(
        "the second of two never selectors",
        "policy: enabled\nneverInjectSelector: [{matchLabels: {a: b}}, {matchLabels: {app: db}}]\n",
    )
    .pod("app", "db")
    .declined(Reason::NeverSelector);
    with("policy disabled", "policy: disabled\n").declined(policy("disabled"));
    with("policy disabled, pod opts in", "policy: disabled\n").pod(INJECT, "true").injected(R, Reason::NamespaceLabel);
    with("policy off", "policy: off\n").declined(policy("off"));
    with("policy off, pod opts in", "policy: off\n").pod(INJECT, "true").declined(policy("off"));
    with("policy unset", "templates: {}\n").declined(policy(""));
}

#[test]
fn selectors_are_those_found_in_the_cluster() {
    let guarded = || cluster(&[]).also(&json!({"key": "control-plane", "operator": "DoesNotExist"}));
    let managed =
        || cluster(&[]).also(&json!({"key": "kubernetes.azure.com/managedby", "operator": "NotIn", "values": ["aks"]}));
    row("AKS's guard, label absent", guarded()).namespace(REV, R).injected(R, Reason::NamespaceLabel);
    row("AKS's guard, label present", guarded())
        .namespace(REV, R)
        .namespace("control-plane", "true")
        .not_selected(Reason::Excluded(R.to_owned()));
    row("managed by aks", managed())
        .namespace(REV, R)
        .namespace("kubernetes.azure.com/managedby", "aks")
        .not_selected(Reason::Excluded(R.to_owned()));
    row("NotIn holds for an absent key", managed()).namespace(REV, R).injected(R, Reason::NamespaceLabel);
    row("NotIn holds for another value", managed())
        .namespace(REV, R)
        .namespace("kubernetes.azure.com/managedby", "me")
        .injected(R, Reason::NamespaceLabel);
    let labels =
        cluster(&[]).entries(WEBHOOK, |entry| entry["namespaceSelector"]["matchLabels"] = json!({"tier": "gold"}));
    row("matchLabels beside expressions, one missing", labels.clone())
        .namespace(REV, R)
        .not_selected(Reason::Excluded(R.to_owned()));
    row("matchLabels beside expressions, all there", labels)
        .namespace(REV, R)
        .namespace("tier", "gold")
        .injected(R, Reason::NamespaceLabel);
    let anything = cluster(&[]).edit(WEBHOOK, |object| {
        object["webhooks"][0]["namespaceSelector"] = json!({});
        object["webhooks"][0]["objectSelector"] = Value::Null;
    });
    row("empty selectors match everything", anything).injected(R, Reason::OtherSelector);
    let updates = cluster(&[]).entries(WEBHOOK, |entry| entry["rules"][0]["operations"] = json!(["UPDATE"]));
    row("a webhook that is not called for new pods", updates).namespace(REV, R).check(
        Some(false),
        None,
        DecidedBy::Webhook,
        None,
    );
    let foreign = cluster(&[]).entries(WEBHOOK, |entry| entry["name"] = json!("mutate.example.com"));
    row("a webhook that is no injector", foreign).namespace(REV, R).check(Some(false), None, DecidedBy::Webhook, None);
    row("an Istio of one's own", cluster(&["self-managed"]))
        .namespace(REV, "canary")
        .injected("canary", Reason::NamespaceLabel);
}

#[test]
fn what_cannot_be_told_is_unknown() {
    let conditions = || {
        cluster(&[]).entries(WEBHOOK, |entry| entry["matchConditions"] = json!([{"name": "c", "expression": "true"}]))
    };
    let webhook = name_of(WEBHOOK);
    row("match conditions", conditions()).namespace(REV, R).unknown(Reason::MatchConditions(webhook.clone()));
    row("match conditions of a webhook that does not match", conditions()).not_selected(Reason::NotAsked);
    let operator = || cluster(&[]).also(&json!({"key": "tier", "operator": "Like", "values": ["g*"]}));
    row("an unknown operator", operator()).namespace(REV, R).unknown(Reason::UnknownOperator(webhook));
    row("an unknown operator beside one that fails", operator()).not_selected(Reason::NotAsked);
    row("webhooks refused", cluster(&[]).refuse(SourceId::MutatingWebhooks))
        .namespace(REV, R)
        .unknown(Reason::NoWebhooks);
    row("namespaces refused", cluster(&[]).refuse(SourceId::Namespaces)).namespace(REV, R).unknown(Reason::NoNamespace);
    row("the injector's ConfigMap refused", cluster(&[]).refuse(SourceId::SystemConfigMaps))
        .namespace(REV, R)
        .unknown(Reason::NoInjectorConfig);
    row("the injector's ConfigMap gone", cluster(&[]).without(CONFIG))
        .namespace(REV, R)
        .unknown(Reason::NoInjectorConfig);
    row("the injector's ConfigMap is not YAML", cluster(&[]).config("policy: ["))
        .namespace(REV, R)
        .unknown(Reason::NoInjectorConfig);
    row("a word of changed meaning, version unknown", cluster(&["self-managed"]))
        .namespace(REV, "canary")
        .annotation(INJECT, "no")
        .unknown(Reason::UnknownVersion);
    row("a plain word, version unknown", cluster(&["self-managed"]))
        .namespace(REV, "canary")
        .annotation(INJECT, "false")
        .declined(opts_out("false"));
}

#[test]
fn a_dead_injector_refuses_or_lets_through_by_its_failure_policy() {
    let ignore = |cluster: Cluster| cluster.entries(WEBHOOK, |entry| entry["failurePolicy"] = json!("Ignore"));
    let unset = |cluster: Cluster| {
        cluster.entries(WEBHOOK, |entry| {
            entry.as_object_mut().unwrap().remove("failurePolicy");
        })
    };
    let no_endpoints = || cluster(&[]).dead();
    let no_service = || cluster(&[]).without(SERVICE);
    row("no endpoints, Fail", no_endpoints()).namespace(REV, R).blocked(R, Backend::NoEndpoints);
    row("no service, Fail", no_service()).namespace(REV, R).blocked(R, Backend::NoService);
    row("no endpoints, policy unset: Fail is the default", unset(no_endpoints()))
        .namespace(REV, R)
        .blocked(R, Backend::NoEndpoints);
    row("no endpoints, Ignore", ignore(no_endpoints())).namespace(REV, R).not_selected(Reason::NoBackendIgnored);
    row("no service, Ignore", ignore(no_service())).namespace(REV, R).not_selected(Reason::NoBackendIgnored);
    row("no slice at all", cluster(&[]).without(SLICE)).namespace(REV, R).blocked(R, Backend::NoEndpoints);
    row("pod not selected", no_endpoints()).not_selected(Reason::NotAsked);
    row("label opts out: never asked", no_endpoints())
        .namespace(REV, R)
        .pod(INJECT, "false")
        .not_selected(Reason::LabelOptsOut);
    row("annotation opts out: asked all the same", no_endpoints())
        .namespace(REV, R)
        .annotation(INJECT, "false")
        .blocked(R, Backend::NoEndpoints);
    row("host network: asked all the same", no_endpoints()).namespace(REV, R).host().blocked(R, Backend::NoEndpoints);
    row("kube-system: asked all the same", no_endpoints())
        .namespace(REV, R)
        .named("kube-system")
        .blocked(R, Backend::NoEndpoints);
    row("a pod that names the dead revision itself", no_endpoints()).pod(REV, R).blocked(R, Backend::NoEndpoints);
    let mixed = cluster(&[]).dead().edit(WEBHOOK, |object| object["webhooks"][0]["failurePolicy"] = json!("Ignore"));
    row("the matching entry's own policy counts", mixed.clone())
        .namespace(REV, R)
        .not_selected(Reason::NoBackendIgnored);
    row("… and that of the other entry for other pods", mixed).pod(REV, R).blocked(R, Backend::NoEndpoints);
}

#[test]
fn several_injectors_that_match_are_told_as_such() {
    let both = vec![name_of(OTHER_WEBHOOK), name_of(WEBHOOK)];
    row("both inject", overlapping()).namespace(REV, R).check(
        Some(true),
        None,
        DecidedBy::Webhook,
        Some(Reason::SeveralInjectors(both)),
    );
    row("only one matches", overlapping()).namespace(REV, Q).injected(Q, Reason::NamespaceLabel);
    row("one of them is dead and fails", overlapping().dead()).namespace(REV, R).blocked(R, Backend::NoEndpoints);
    let ignored = overlapping().dead().entries(WEBHOOK, |entry| entry["failurePolicy"] = json!("Ignore"));
    row("one of them is dead and is ignored", ignored).namespace(REV, R).check(
        Some(true),
        Some(Q),
        DecidedBy::Webhook,
        None,
    );
    row("both are told no", overlapping()).namespace(REV, R).host().declined(Reason::HostNetwork);
    row("one says no by policy", overlapping().config("policy: disabled\n")).namespace(REV, R).check(
        Some(true),
        Some(Q),
        DecidedBy::Webhook,
        None,
    );
}
