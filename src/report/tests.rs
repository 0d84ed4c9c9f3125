//! Whole reports, read like the sketches they are drawn from.
#![allow(clippy::unwrap_used)]

use super::document::{AllWord, CheckCounts, Namespaces};
use super::text::render_error;
use super::view::{
    GatewayDeployment, GatewayView, InjectView, NamespaceView, NextView, NoView, NowView, PodCount, ProxyImage,
    ReadyCount, RevisionView, StatusView, SupportView, WorkloadCounts, WorkloadView,
};
use super::{ErrorDocument, Format, Gap, OutcomeRecord, OutcomeStatus, Report, Style, View, render};
use crate::engine::{Finding, Impact, Remedy, Risk, Severity, Step, Subject};
use crate::snapshot::{Fault, FaultKind, Need, Origin, Scope, SourceId};

const PIPE: Style = Style { color: false, unicode: true, width: None };
const TERMINAL: Style = Style { color: false, unicode: true, width: Some(80) };

fn revision(name: &str, version: &str, until: &str) -> RevisionView {
    RevisionView {
        name: name.to_owned(),
        version: Some(version.to_owned()),
        istiods: Some(ReadyCount { ready: 2, total: 2 }),
        support: SupportView {
            until: Some(until.to_owned()),
            exact: false,
            state: "supported".to_owned(),
            table: "2026-05-15".to_owned(),
        },
        tags: Vec::new(),
    }
}

fn namespaces(inside: usize, broken: usize) -> Vec<NamespaceView> {
    let namespace = |n| NamespaceView {
        name: format!("ns{n}"),
        label: None,
        revision: None,
        state: if n < inside { "in" } else { "broken" }.to_owned(),
        workloads: WorkloadCounts::default(),
    };
    (0..inside + broken).map(namespace).collect()
}

fn image(version: &str, pods: usize) -> ProxyImage {
    ProxyImage { image: format!("proxyv2:{version}"), version: Some(version.to_owned()), pods }
}

fn report(context: &str, version: &str, checks: CheckCounts, view: View) -> Report {
    let origin =
        Origin { context: Some(context.to_owned()), server_version: Some(version.to_owned()), ..Origin::default() };
    let mut report = Report::new(origin, &Scope::default(), None);
    report.summary.checks = checks;
    report.view = view;
    report
}

fn healthy() -> Report {
    let view = StatusView {
        revisions: Some(vec![revision("asm-1-29", "1.29.5", "2026-09-30")]),
        gateways: Some(Vec::new()),
        namespaces: Some(namespaces(4, 0)),
        namespaces_outside: 12,
        workloads: Some(WorkloadCounts { inside: 23, ..WorkloadCounts::default() }),
        proxy_images: vec![image("1.29.5", 41)],
        azure: None,
    };
    let checks = CheckCounts { passed: 74, not_applicable: 9, ..CheckCounts::default() };
    report("dev", "v1.34.2", checks, View::Status(view))
}

fn finding(code: &str, severity: Severity, summary: &str, detail: &str) -> Finding {
    let mut finding = Finding::new(Subject::new("ReplicaSet", "billing", "billing-api-6c9"), summary, detail);
    finding.code = code.to_owned();
    finding.severity = severity;
    finding
}

fn broken() -> Report {
    let view = StatusView {
        revisions: Some(vec![revision("asm-1-28", "1.28.9", "2026-08-31")]),
        gateways: Some(vec![GatewayView {
            name: "aks-istio-ingressgateway-external".to_owned(),
            namespace: "aks-istio-ingress".to_owned(),
            kind: "external".to_owned(),
            addresses: vec!["20.103.7.41".to_owned()],
            deployments: vec![GatewayDeployment {
                name: "aks-istio-ingressgateway-external-asm-1-28".to_owned(),
                pods: ReadyCount { ready: 2, total: 2 },
            }],
        }]),
        namespaces: Some(namespaces(11, 1)),
        namespaces_outside: 27,
        workloads: Some(WorkloadCounts { inside: 118, outside: 0, broken: 4 }),
        proxy_images: vec![image("1.28.9", 241), image("1.28.6", 6)],
        azure: None,
    };
    let mut webhook = finding(
        "WHK02",
        Severity::Error,
        "webhook istio-revision-tag-canary points to a Service that is gone",
        "New pods in 2 namespaces that use the tag cannot start: billing, invoices. \
         4 workloads (9 pods) run on until their next restart.",
    )
    .impact(Impact { namespaces: 2, workloads: 4, pods: 9 })
    .evidence(SourceId::MutatingWebhooks, "service/istiod-asm-1-27", "endpoints", "0", None)
    .remedy(Remedy::new(
        "move the tag",
        vec![Step::command(
            Risk::Change,
            "moves the tag to the installed revision; running pods are not touched",
            ["istioctl", "tag", "set", "canary", "--revision", "asm-1-28", "-i", "aks-istio-system", "--overwrite"],
        )],
    ));
    webhook.subject = Subject::cluster("MutatingWebhookConfiguration", "istio-revision-tag-canary");
    webhook.consequences.push(finding("INJ11", Severity::Error, "rs/billing-api-6c9 has 0 of 3 pods", ""));
    let stale = finding("PRX01", Severity::Warning, "6 sidecars run 1.28.6, new ones would get 1.28.9", "")
        .impact(Impact { namespaces: 1, workloads: 2, pods: 6 })
        .remedy(Remedy::new(
            "restart them",
            vec![Step::command(Risk::Read, "lists them", ["kubectl", "asm", "inject-check", "-A", "--only", "PRX01"])],
        ));
    let checks = CheckCounts { passed: 61, failed: 3, not_applicable: 4, ..CheckCounts::default() };
    let mut report = report("prod-weu", "v1.33.5", checks, View::Status(view));
    report.summary.errors = 2;
    report.summary.warnings = 1;
    report.findings = vec![webhook, stale];
    report
}

#[test]
fn a_healthy_cluster_is_quiet() {
    assert_eq!(
        render(&healthy(), Format::Text, PIPE),
        "\
dev  Kubernetes 1.34.2  add-on asm-1-29 (1.29.5)                        all well

Control plane   asm-1-29   2/2 ready   supported to ~2026-09 (table 2026-05-15)
Ingress         none
Namespaces      4 in the mesh, 12 outside
Workloads       23 in the mesh
Proxies         41 running 1.29.5

74 checks passed, 9 do not apply.
"
    );
}

#[test]
fn a_broken_cluster_reads_like_the_sketch() {
    assert_eq!(
        render(&broken(), Format::Text, TERMINAL),
        "\
prod-weu  Kubernetes 1.33.5  add-on asm-1-28 (1.28.9)        2 errors, 1 warning

Control plane   asm-1-28   2/2 ready   supported to ~2026-08 (table 2026-05-15)
Ingress         external   20.103.7.41   2/2 ready
Namespaces      11 in the mesh, 1 broken, 27 outside
Workloads       118 in the mesh, 4 broken
Proxies         241 running 1.28.9, 6 running 1.28.6

✗ WHK02  webhook istio-revision-tag-canary points to a Service that is gone
    New pods in 2 namespaces that use the tag cannot start: billing, invoices. 4
    workloads (9 pods) run on until their next restart.
    service/istiod-asm-1-27: endpoints = 0
    # moves the tag to the installed revision; running pods are not touched
    $ istioctl tag set canary --revision asm-1-28 -i aks-istio-system --overwrite
    └ ✗ INJ11  rs/billing-api-6c9 has 0 of 3 pods

! PRX01  6 sidecars run 1.28.6, new ones would get 1.28.9
    Affected: 2 workloads (6 pods) in 1 namespace.
    # lists them
    $ kubectl asm inject-check -A --only PRX01

61 checks passed, 4 do not apply. kubectl asm explain WHK02 tells more.
"
    );
}

#[test]
fn ascii_only_where_the_terminal_has_no_more() {
    let text = render(&broken(), Format::Text, Style { unicode: false, ..TERMINAL });
    assert!(text.is_ascii(), "{text}");
    assert!(text.contains("\nx WHK02 "), "{text}");
}

#[test]
fn short_is_a_line_per_finding_and_the_counts() {
    assert_eq!(
        render(&broken(), Format::Short, PIPE),
        "\
error WHK02 mutatingwebhookconfiguration/istio-revision-tag-canary: webhook istio-revision-tag-canary points to a Service that is gone
  error INJ11 rs/billing-api-6c9 -n billing: rs/billing-api-6c9 has 0 of 3 pods
warning PRX01 rs/billing-api-6c9 -n billing: 6 sidecars run 1.28.6, new ones would get 1.28.9
2 errors, 1 warning
"
    );
    assert_eq!(render(&healthy(), Format::Short, PIPE), "all well\n");
}

#[test]
fn json_and_yaml_are_the_same_report() {
    let json = render(&broken(), Format::Json, PIPE);
    assert!(json.ends_with("}\n"));
    assert_eq!(serde_json::from_str::<Report>(&json).unwrap(), broken());
    assert_eq!(serde_yaml::from_str::<Report>(&render(&broken(), Format::Yaml, PIPE)).unwrap(), broken());
}

#[test]
fn a_right_that_is_missing_leads_to_the_roles() {
    let need = Need { verb: "get".to_owned(), resource: "pods/portforward".to_owned(), namespace: None };
    let fault = Fault { need: Some(need), ..Fault::new(FaultKind::Forbidden, "not allowed to get pods/portforward") };
    let hints = ErrorDocument::of_fault(&fault).hints;
    assert_eq!(hints, ["which roles are enough?", "   kubectl asm rbac --for <command>"]);
}

#[test]
fn only_a_full_look_is_all_well() {
    let verdict = |change: fn(&mut Report)| {
        let mut report = healthy();
        change(&mut report);
        super::text::verdict_words(&report)
    };
    assert_eq!(verdict(|_| ()), "all well");
    assert_eq!(verdict(|report| report.summary.infos = 2), "all well");
    assert_eq!(verdict(|report| report.scope.checks_chosen = true), "nothing found with these checks");
    assert_eq!(verdict(|report| report.summary.checks.errored = 1), "nothing found, 1 check not done");
    assert_eq!(
        verdict(|report| {
            report.summary.infos = 1;
            report.summary.checks.not_checked = 38;
        }),
        "nothing wrong found, 38 checks not done"
    );
    assert_eq!(verdict(|report| report.summary.checks = CheckCounts::default()), "nothing to check");
    assert_eq!(
        verdict(
            |report| report.view = View::Status(StatusView { revisions: Some(Vec::new()), ..StatusView::default() })
        ),
        "nothing found"
    );
}

fn forbidden(resource: &str, namespace: Option<&str>) -> Gap {
    Gap {
        source: resource.to_owned(),
        kind: FaultKind::Forbidden,
        need: Some(Need {
            verb: "list".to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.map(str::to_owned),
        }),
        checks: vec!["INJ01".to_owned()],
        hint: "not allowed".to_owned(),
    }
}

#[test]
fn what_was_not_seen_is_said_once_by_right() {
    let mut report = healthy();
    report.scope.namespaces = Namespaces::List(vec!["shop".to_owned()]);
    report.view = View::Status(StatusView::default());
    report.summary.checks.not_checked = 38;
    report.gaps = vec![
        forbidden("namespaces", None),
        forbidden("mutatingwebhookconfigurations.admissionregistration.k8s.io", None),
        forbidden("pods", Some("aks-istio-system")),
        forbidden("services", Some("aks-istio-system")),
        forbidden("pods", Some("billing")),
        forbidden("services", Some("billing")),
        Gap { need: None, kind: FaultKind::Timeout, hint: "no answer in 10 s".to_owned(), ..forbidden("jobs", None) },
    ];
    let text = render(&report, Format::Text, TERMINAL);
    assert!(
        text.starts_with("dev  Kubernetes 1.34.2  namespace shop only  add-on: cannot tell\nnothing found, 38"),
        "{text}"
    );
    assert!(
        text.ends_with(
            "
? 38 checks could not be done. What could not be read in context dev:
    no right to list mutatingwebhookconfigurations, namespaces (whole cluster)
    no right to list pods, services in namespaces aks-istio-system, billing
    no answer in 10 s
    kubectl asm rbac prints the roles that are enough.
"
        ),
        "{text}"
    );
}

#[test]
fn a_check_that_was_not_done_has_its_reason_without_a_gap_too() {
    let mut report = healthy();
    report.summary.checks.not_checked = 1;
    report.summary.checks.errored = 1;
    for (code, status, reason) in
        [("INJ01", OutcomeStatus::NotChecked, "interrupted"), ("PRX02", OutcomeStatus::Errored, "the check broke")]
    {
        let reason = Some(reason.to_owned());
        report.outcomes.push(OutcomeRecord { code: code.to_owned(), status, reason, examined: 0 });
    }
    let text = render(&report, Format::Text, PIPE);
    assert!(
        text.ends_with("\n? 1 check could not be done. Why:\n    INJ01: interrupted\n    PRX02: the check broke\n"),
        "{text}"
    );
}

#[test]
fn nothing_from_a_cluster_reaches_the_terminal_raw() {
    let mut report = broken();
    let evil = "\u{1b}]0;title\u{7}\n\u{202e}x";
    report.origin.context = Some(evil.to_owned());
    report.scope.namespaces = Namespaces::List(vec![evil.to_owned()]);
    report.findings[0].summary = evil.to_owned();
    report.findings[0].detail = evil.to_owned();
    report.findings[0].subject.name = evil.to_owned();
    report.findings[0].evidence[0].observed = evil.to_owned();
    report.findings[0].remedy.steps[0].command = Some(vec![evil.to_owned()]);
    report.gaps.push(Gap { hint: evil.to_owned(), need: None, ..forbidden(evil, Some(evil)) });
    report.gaps.push(forbidden(evil, Some(evil)));
    let View::Status(view) = &mut report.view else { panic!("not a status") };
    view.revisions.as_mut().unwrap()[0].name = evil.to_owned();
    view.revisions.as_mut().unwrap()[0].version = Some(evil.to_owned());
    view.gateways.as_mut().unwrap()[0].addresses = vec![evil.to_owned()];
    view.namespaces.as_mut().unwrap()[0].name = evil.to_owned();
    view.proxy_images[0].version = Some(evil.to_owned());
    for format in [Format::Text, Format::Wide, Format::Short] {
        let text = render(&report, format, PIPE);
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{text:?}");
    }
}

#[test]
fn a_long_remedy_and_many_consequences_end_with_a_number() {
    let mut report = broken();
    report.findings.truncate(1);
    let cause = &mut report.findings[0];
    let step = |n: usize| Step::command(Risk::Restart, "", ["kubectl".to_owned(), format!("n{n}")]);
    cause.remedy.steps = (0..12).map(step).collect();
    cause.consequences = (0..13).map(|n| finding("INJ11", Severity::Error, &format!("rs/{n}"), "")).collect();
    let text = render(&report, Format::Text, PIPE);
    assert!(text.contains("    $ kubectl n9\n    # and 2 more: -o json lists them\n    └ ✗ INJ11  rs/0\n"), "{text}");
    assert!(text.contains("INJ11  rs/9\n    └ and 3 more: -o json lists them\n"), "{text}");
}

fn row(
    kind: &str,
    name: &str,
    (injected, total): (usize, usize),
    (state, revision): (&str, Option<&str>),
    (decided_by, next): (&str, Option<&str>),
    reason: &str,
) -> WorkloadView {
    WorkloadView {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        pods: PodCount { total, injected },
        now: NowView {
            injected: state.to_owned(),
            revisions: revision.map(str::to_owned).into_iter().collect(),
            gone: revision.filter(|name| *name == "asm-1-27").map(str::to_owned).into_iter().collect(),
            sidecar: "native".to_owned(),
            images: Vec::new(),
        },
        next_restart: NextView {
            injected: (decided_by != "unknown").then_some(next.is_some()),
            revision: next.map(str::to_owned),
            decided_by: decided_by.to_owned(),
            reason: reason.to_owned(),
            webhook: None,
            image: None,
        },
        codes: Vec::new(),
    }
}

fn inject(workloads: Vec<WorkloadView>) -> Report {
    let checks = CheckCounts { passed: 12, ..CheckCounts::default() };
    let mut report = report("dev", "v1.34.2", checks, View::Inject(InjectView { workloads, probes: None }));
    report.scope.namespaces = Namespaces::List(vec!["shop".to_owned()]);
    report
}

#[test]
fn every_state_of_a_workload_has_its_words() {
    let new = Some("asm-1-28");
    let report = inject(vec![
        row("Deployment", "web", (3, 3), ("all", new), ("webhook", new), "namespace label"),
        row("Deployment", "cart", (2, 2), ("all", Some("asm-1-27")), ("webhook", new), "namespace label"),
        row("Job", "import", (0, 1), ("none", None), ("webhook", None), "pod label inject=false"),
        row("StatefulSet", "db", (2, 3), ("some", new), ("blocked", None), "no istiod answers"),
        row("DaemonSet", "agent", (0, 0), ("noPods", None), ("unknown", None), "labels not read"),
    ]);
    assert_eq!(
        render(&report, Format::Text, PIPE),
        "\
WORKLOAD      PODS   NOW               RESTART    WHY
deploy/web    3/3    asm-1-28          asm-1-28   namespace label
deploy/cart   2/2    asm-1-27 gone     asm-1-28   namespace label
job/import    0/1    none              none       pod label inject=false
sts/db        2/3    2 of 3 asm-1-28   blocked    no istiod answers
ds/agent      0/0    -                 unknown    labels not read

12 checks passed.
"
    );
}

#[test]
fn a_name_of_forty_characters_fits_a_terminal() {
    let new = Some("asm-1-28");
    let report = inject(vec![row("Deployment", &"a".repeat(40), (3, 3), ("all", new), ("webhook", new), "label")]);
    let text = render(&report, Format::Text, TERMINAL);
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.contains("   asm-1-28   asm-1-28   "), "{text}");
}

#[test]
fn a_footer_says_of_what_it_counts() {
    let last = |passed, not_applicable| {
        let checks = CheckCounts { passed, not_applicable, ..CheckCounts::default() };
        let report = report("dev", "v1.34.2", checks, View::None(NoView {}));
        render(&report, Format::Text, PIPE).lines().last().unwrap_or_default().to_owned()
    };
    assert_eq!(last(0, 1), "1 check does not apply.");
    assert_eq!(last(0, 2), "2 checks do not apply.");
    assert_eq!(last(3, 1), "3 checks passed, 1 does not apply.");
}

#[test]
fn a_table_of_all_namespaces_names_them_also_where_there_is_only_one() {
    let new = Some("asm-1-28");
    let mut report = inject(vec![row("Deployment", "web", (3, 3), ("all", new), ("webhook", new), "label")]);
    assert!(render(&report, Format::Text, PIPE).starts_with("WORKLOAD "));
    report.scope.namespaces = Namespaces::All(AllWord::All);
    let text = render(&report, Format::Text, PIPE);
    assert!(text.starts_with("NAMESPACE   WORKLOAD ") && text.contains("\nshop        deploy/web "), "{text}");
}

#[test]
fn nothing_there_and_nothing_seen_are_two_things() {
    let mut report = inject(Vec::new());
    report.scope.namespaces = Namespaces::List(vec!["shop".to_owned()]);
    assert!(render(&report, Format::Text, PIPE).starts_with("No workloads found in namespace shop.\n"));
    report.gaps.push(forbidden("pods", Some("shop")));
    let text = render(&report, Format::Text, PIPE);
    assert!(text.starts_with("No workloads found in namespace shop, but not everything could be read.\n"), "{text}");
}

#[test]
fn two_revisions_stand_under_each_other() {
    let mut report = healthy();
    let View::Status(view) = &mut report.view else { panic!("not a status") };
    view.revisions.as_mut().unwrap().push(revision("asm-1-100", "1.100.0", "2027-01-31"));
    let text = render(&report, Format::Text, PIPE);
    assert!(
        text.contains(
            "
Control plane   asm-1-29    2/2 ready   supported to ~2026-09 (table 2026-05-15)
                asm-1-100   2/2 ready   supported to ~2027-01 (table 2026-05-15)
"
        ),
        "{text}"
    );
}

#[test]
fn a_long_first_line_is_one_line_in_a_pipe_and_two_on_a_narrow_terminal() {
    let mut report = broken();
    report.origin.context = Some("a".repeat(60));
    let first = |style| render(&report, Format::Text, style).lines().next().unwrap_or_default().to_owned();
    assert!(first(PIPE).ends_with("add-on asm-1-28 (1.28.9)  2 errors, 1 warning"));
    assert!(first(TERMINAL).ends_with("add-on asm-1-28 (1.28.9)"));
}

#[test]
fn our_own_errors_say_what_to_try() {
    let error = ErrorDocument {
        kind: "timeout".to_owned(),
        message: "cannot reach https://prod-weu-1a2b.hcp.westeurope.azmk8s.io:443\nconnection timed out after 10 s"
            .to_owned(),
        hints: [
            "does kubectl work from this console?",
            "   kubectl get namespace",
            "is the cluster running?",
            "   az aks show -g <resource-group> -n <cluster> --query powerState.code",
        ]
        .map(str::to_owned)
        .into(),
    };
    assert_eq!(
        render_error(&error, TERMINAL),
        "\
error: cannot reach https://prod-weu-1a2b.hcp.westeurope.azmk8s.io:443
       connection timed out after 10 s
hint:  does kubectl work from this console?
       kubectl get namespace
hint:  is the cluster running?
       az aks show -g <resource-group> -n <cluster> --query powerState.code
"
    );
    let alone = ErrorDocument { hints: vec!["   kubectl config view".to_owned()], ..error };
    assert!(render_error(&alone, TERMINAL).ends_with("hint:  kubectl config view\n"));
}
