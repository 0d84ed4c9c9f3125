//! `inject-check`.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::live;
use super::manifest::{self, Planned};
use super::probe::{self, ProbeArgs, Question};
use super::session::{self, DefaultScope, Job};
use super::ui;
use crate::checks;
use crate::engine::lens::{BLAST, Lens, REVISIONS, World};
use crate::engine::{Area, Check, Finding};
use crate::mesh::injection::{Candidate, DecidedBy, Reason, Verdict};
use crate::mesh::proxy::ProxyKind;
use crate::mesh::trial;
use crate::mesh::workload::Workload;
use crate::model::LabelSelector;
use crate::model::selector::Requirement;
use crate::report::probe_view::ProbeView;
use crate::report::view::{InjectView, NextView, NowView, PodCount, WorkloadView};
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Snapshot, SourceId};

/// Why workloads have a sidecar, or not, and what their next restart does
///
/// Works for workloads without pods, and with -f for manifests that are not applied yet.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm inject-check -n shop\n  kubectl asm inject-check deploy/cart -n shop -o wide\n  kubectl asm inject-check -f app.yaml --expect injected     # a gate before kubectl apply\n  kubectl asm inject-check -A -l app=cart\n  kubectl asm inject-check deploy/cart -n shop --probe       # asks the API server, stores nothing\n  kubectl asm inject-check -n shop --create                  # starts a plain pod, watches it, deletes it"
)]
pub struct InjectCheckArgs {
    /// One workload, e.g. deploy/cart, sts/db, pod/probe
    #[arg(value_name = "TYPE/NAME")]
    target: Option<String>,
    /// Only workloads whose pods carry these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Judge the workloads of this manifest instead (`-` is stdin)
    #[arg(long, short = 'f', value_name = "FILE")]
    filename: Option<PathBuf>,
    /// Exit with 1 unless every row's next pod is so
    #[arg(long, value_enum, value_name = "WHAT")]
    expect: Option<Expect>,
    #[command(flatten)]
    probe: ProbeArgs,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    report: ReportArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Expect {
    Injected,
    None,
}

/// What its view needs besides the checks.
pub const VIEW: &[&[SourceId]] = &[REVISIONS, BLAST];

/// Checks that have to do with injection, and not with how the control plane and upgrades are otherwise: what they would
/// read besides would only cost time and rights.
#[must_use]
pub fn is_about_injection(check: &Check) -> bool {
    const OTHERS: [&str; 28] = [
        "CP02", "CP07", "CP08", "CP09", "UPG05", "UPG06", "UPG07", "UPG08", "UPG09", "UPG10", "UPG11", "PRX01",
        "PRX03", "PRX05", "PRX06", "PRX09", "PRX10", "PRX11", "PRX12", "PRX13", "WHK05", "WHK06", "INJ06", "CON02",
        "CON03", "CON06", "CON07", "CON10",
    ];
    let area = matches!(
        check.area,
        Area::Environment
            | Area::ControlPlane
            | Area::Injection
            | Area::Webhooks
            | Area::Upgrade
            | Area::Proxies
            | Area::Conflicts
    );
    area && !OTHERS.contains(&check.code) && super::status::is_of_status(check)
}

/// What a probe judges besides: the API server's answers, and why it may refuse a sidecar or not reach istiod.
#[must_use]
pub fn is_about_a_probe(check: &Check) -> bool {
    is_about_injection(check) || checks::is_of_trials(check) || matches!(check.code, "CNI05" | "CON08")
}

/// Which workloads are asked about.
struct Filter {
    target: Option<(String, String)>,
    selector: Option<LabelSelector>,
}

/// Runs `inject-check`.
pub fn run(connection: &ConnectionArgs, args: &InjectCheckArgs) -> Exit {
    let (filter, planned) = match inputs(args) {
        Ok(inputs) => inputs,
        Err(message) => return session::refuse(&args.report, message, "kubectl asm inject-check --help"),
    };
    let fallback = args.scope.namespace.first().cloned();
    let shown = RefCell::new(Vec::new());
    let targets = OnceCell::new();
    let job = Job {
        default_scope: DefaultScope::Context,
        view_needs: VIEW,
        view: &|world, findings| {
            let rows = match &planned {
                Some(planned) => planned.iter().map(|p| planned_row(world, p, fallback.as_deref())).collect(),
                None => rows(world, &filter, findings),
            };
            shown.replace(rows.clone());
            View::Inject(InjectView { workloads: rows, probes: args.probe.asks().then(|| probes(world)) })
        },
        refuse: &|world| {
            // Nothing that is as expected is nothing that was looked at.
            if args.expect.is_some()
                && planned.is_none()
                && filter.target.is_none()
                && !world.workloads.iter().any(|workload| asked(&filter, workload))
            {
                return Some(ErrorDocument {
                    kind: "workload".to_owned(),
                    message: "there is no such workload, so that --expect cannot be judged".to_owned(),
                    hints: vec!["which workloads are there?".to_owned(), "   kubectl asm inject-check -A".to_owned()],
                });
            }
            let (_, name) = filter.target.as_ref().filter(|_| planned.is_none())?;
            let found = world.workloads.iter().any(|workload| asked(&filter, workload));
            (!found).then(|| ErrorDocument {
                kind: "workload".to_owned(),
                message: format!("workload {} was not found", crate::model::quoted::printable(name)),
                hints: vec!["which workloads are there?".to_owned(), "   kubectl asm inject-check -A".to_owned()],
            })
        },
        concerns: &|world, finding| {
            if planned.is_some() || filter.target.is_none() && filter.selector.is_none() {
                return planned.is_none() || args.probe.asks() && finding.code == "INJ13";
            }
            concerns(targets.get_or_init(|| Targets::of(world, &filter)), finding)
        },
        checks: if args.probe.asks() { &is_about_a_probe } else { &is_about_injection },
        grace: crate::mesh::sync::GRACE,
    };
    let (exit, report) = match args.probe.asks() {
        false => session::judge(connection, &args.scope, &args.report, &job),
        true => {
            let probed = probed(connection, args, &filter, planned.as_deref());
            session::judge_snapshot(probed, &args.report, &job)
        }
    };
    let rows = shown.into_inner();
    match (args.expect, report) {
        (Some(expect), Some(_)) => gate(expect, &rows, exit),
        _ => exit,
    }
}

/// Reads the cluster, and asks its API server about pods.
fn probed(
    connection: &ConnectionArgs,
    args: &InjectCheckArgs,
    filter: &Filter,
    planned: Option<&[Planned]>,
) -> Result<Snapshot, ErrorDocument> {
    let report = &args.report;
    let selected = session::select(&report.only, &report.skip, &is_about_a_probe)?;
    let begin = std::time::Instant::now();
    let gathered = live::read_and_then(
        connection,
        &args.scope,
        report,
        DefaultScope::Context,
        session::needs(VIEW, &selected),
        false,
        async |_, _, _| Ok(()),
        async |cluster, gathered| {
            session::all_exist(&gathered.snapshot, &args.scope)?;
            let questions = match planned {
                Some(planned) => planned.iter().filter_map(|one| given(one, args, &gathered.snapshot)).collect(),
                None if filter.target.is_none() && filter.selector.is_none() => {
                    probe::of_namespaces(&gathered.snapshot)
                }
                None => probe::of_workloads(&gathered.snapshot, |workload| asked(filter, workload)),
            };
            let left = report.timeout.saturating_sub(begin.elapsed());
            probe::ask(cluster, gathered, questions, &args.probe, left).await;
            Ok(())
        },
    )?;
    Ok(gathered.snapshot)
}

/// A pod of a manifest.
fn given(planned: &Planned, args: &InjectCheckArgs, snapshot: &Snapshot) -> Option<Question> {
    let fallback = args.scope.namespace.first().map(String::as_str);
    let namespace = planned_namespace(planned, fallback, snapshot);
    Some(Question::given(namespace, &planned.kind, &planned.name, planned.pod.clone()?))
}

fn planned_namespace<'p>(planned: &'p Planned, fallback: Option<&'p str>, snapshot: &'p Snapshot) -> &'p str {
    let scope = snapshot.scope.namespaces.as_deref().and_then(<[String]>::first).map(String::as_str);
    planned.namespace.as_deref().or(fallback).or(scope).unwrap_or("default")
}

/// What the API server made of each pod.
fn probes(world: &World<'_>) -> Vec<ProbeView> {
    let lens = Lens::new(world);
    let rules = lens.rules().ok();
    let trials = world.snapshot.trials.items().unwrap_or_default();
    let view = |trial| {
        let verdict = rules.map_or_else(Verdict::no_rules, |rules| rules.verdict(trial::candidate(trial)));
        probe::view(trial, &verdict, next(world, &verdict))
    };
    trials.iter().map(view).collect()
}

fn inputs(args: &InjectCheckArgs) -> Result<(Filter, Option<Vec<Planned>>), String> {
    if args.probe.asks() && args.report.from.is_some() {
        let flag = if args.probe.create { "--create" } else { "--probe" };
        return Err(format!("{flag} asks a running API server; a bundle only tells what it was like"));
    }
    let is_plain = args.target.is_none() && args.selector.is_none() && args.filename.is_none();
    if let Some(why) = probe::refuse_create(&args.probe, is_plain) {
        return Err(why);
    }
    let target = args.target.as_deref().map(parse_target).transpose()?;
    let selector = args.selector.as_deref().map(parse_selector).transpose()?;
    let planned = args.filename.as_deref().map(manifest::read).transpose()?;
    if planned.as_ref().is_some_and(Vec::is_empty) {
        return Err("the manifest holds no Pod, Deployment, StatefulSet, DaemonSet, Job or CronJob".to_owned());
    }
    Ok((Filter { target, selector }, planned))
}

/// `deploy/cart` → (`Deployment`, `cart`), with kubectl's short names and the long ones that it prints, such as
/// `deployment.apps/cart`; a bare name means a Deployment or Pod of it.
pub(super) fn parse_target(text: &str) -> Result<(String, String), String> {
    let (word, name) = text.split_once('/').unwrap_or(("", text));
    let lower = word.to_ascii_lowercase();
    let (kind, group) = lower.split_once('.').unwrap_or((&lower, ""));
    let (kind, own) = match kind {
        "" => ("", ""),
        "deploy" | "deployment" | "deployments" => ("Deployment", "apps"),
        "sts" | "statefulset" | "statefulsets" => ("StatefulSet", "apps"),
        "ds" | "daemonset" | "daemonsets" => ("DaemonSet", "apps"),
        "rs" | "replicaset" | "replicasets" => ("ReplicaSet", "apps"),
        "job" | "jobs" => ("Job", "batch"),
        "cj" | "cronjob" | "cronjobs" => ("CronJob", "batch"),
        "po" | "pod" | "pods" => ("Pod", "v1"),
        _ => ("unknown", "unknown"),
    };
    let group = group.strip_prefix("v1.").unwrap_or(group);
    if kind == "unknown" || !group.is_empty() && group != own {
        let word = crate::model::quoted::printable(word);
        return Err(format!("{word} is not a kind of workload: those are deploy, sts, ds, rs, job, cj and pod"));
    }
    if name.is_empty() {
        return Err("a workload is named TYPE/NAME, e.g. deploy/cart".to_owned());
    }
    Ok((kind.to_owned(), name.to_owned()))
}

/// kubectl's selector syntax: `a=b`, `a==b`, `a!=b`, `a in (b,c)`, `a notin (b)`, `a`, `!a`.
pub(super) fn parse_selector(text: &str) -> Result<LabelSelector, String> {
    let mut selector = LabelSelector::default();
    for part in split_selector(text) {
        let part = part.trim();
        let requirement = |key: &str, operator: &str, values: Vec<String>| Requirement {
            key: key.trim().to_owned(),
            operator: operator.to_owned(),
            values,
        };
        let list = |values: &str| {
            values
                .trim()
                .trim_start_matches('(')
                .trim_end_matches(')')
                .split(',')
                .map(|v| v.trim().to_owned())
                .collect()
        };
        let parsed = if let Some((key, values)) = part.split_once(" notin ") {
            requirement(key, "NotIn", list(values))
        } else if let Some((key, values)) = part.split_once(" in ") {
            requirement(key, "In", list(values))
        } else if let Some((key, value)) = part.split_once("!=") {
            requirement(key, "NotIn", vec![value.trim().to_owned()])
        } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
            requirement(key, "In", vec![value.trim().to_owned()])
        } else if let Some(key) = part.strip_prefix('!') {
            requirement(key, "DoesNotExist", Vec::new())
        } else {
            requirement(part, "Exists", Vec::new())
        };
        if parsed.key.is_empty() || parsed.key.contains(char::is_whitespace) {
            return Err(format!("{} is not a label selector", crate::model::quoted::printable(text)));
        }
        selector.match_expressions.push(parsed);
    }
    Ok(selector)
}

/// Splits at commas outside parentheses.
fn split_selector(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c| {
        depth += i32::from(c == '(') - i32::from(c == ')');
        c == ',' && depth == 0
    })
    .collect()
}

fn asked(filter: &Filter, workload: &Workload<'_>) -> bool {
    let named = filter.target.as_ref().is_none_or(|(kind, name)| {
        (kind.is_empty() || workload.kind == *kind || kind == "Pod") && workload.name == *name
            || (kind == "Pod" || kind.is_empty()) && workload.pods.iter().any(|(pod, _)| pod.metadata.name == *name)
    });
    let selected = filter.selector.as_ref().is_none_or(|selector| {
        workload.template().is_some_and(|(meta, _)| selector.matches(&meta.labels) == Some(true))
    });
    named && selected
}

/// What was asked about, by name.
struct Targets {
    workloads: BTreeSet<(String, String, String)>,
    namespaces: BTreeSet<String>,
    webhooks: BTreeSet<String>,
}

impl Targets {
    fn of(world: &World<'_>, filter: &Filter) -> Self {
        let found: Vec<_> = world.workloads.iter().filter(|workload| asked(filter, workload)).collect();
        Self {
            workloads: found.iter().map(|w| (w.kind.clone(), w.namespace.to_owned(), w.name.clone())).collect(),
            namespaces: found.iter().map(|w| w.namespace.to_owned()).collect(),
            webhooks: found.iter().filter_map(|w| w.next.webhook.clone()).collect(),
        }
    }

    fn has(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        let namespace = namespace.unwrap_or_default().to_owned();
        self.workloads.contains(&(kind.to_owned(), namespace, name.to_owned()))
            || kind == "Namespace" && self.namespaces.contains(name)
            || kind == "MutatingWebhookConfiguration" && self.webhooks.contains(name)
    }
}

/// Leaves out what is about other workloads and namespaces; what is wrong with the control plane concerns everybody.
fn concerns(targets: &Targets, finding: &Finding) -> bool {
    const OF_THE_MESH: [&str; 3] = ["Revision", "Cluster", "CustomResourceDefinition"];
    let subject = &finding.subject;
    let of_the_mesh = OF_THE_MESH.contains(&subject.kind.as_str())
        || subject.namespace.as_deref() == Some(crate::sources::SYSTEM_NAMESPACE);
    targets.has(&subject.kind, subject.namespace.as_deref(), &subject.name)
        || finding.related.iter().any(|r| targets.has(&r.kind, r.namespace.as_deref(), &r.name))
        || of_the_mesh && finding.related.is_empty()
}

fn rows(world: &World<'_>, filter: &Filter, findings: &[Finding]) -> Vec<WorkloadView> {
    let codes_by_object = index_codes(findings);
    world
        .workloads
        .iter()
        .filter(|workload| asked(filter, workload))
        .map(|workload| WorkloadView {
            kind: workload.kind.clone(),
            namespace: workload.namespace.to_owned(),
            name: workload.name.clone(),
            pods: PodCount { total: workload.pods.len(), injected: workload.injected_pods() },
            now: now(world, workload),
            next_restart: next(world, &workload.next),
            codes: codes(workload, &codes_by_object),
        })
        .collect()
}

/// Codes by what they are about: a workload, or a namespace under the kind `Namespace`.
type Codes<'f> = BTreeMap<(&'f str, Option<&'f str>, &'f str), BTreeSet<&'f str>>;

fn index_codes(findings: &[Finding]) -> Codes<'_> {
    let mut codes = Codes::new();
    for finding in findings.iter().flat_map(Finding::walk) {
        let subject =
            (finding.subject.kind.as_str(), finding.subject.namespace.as_deref(), finding.subject.name.as_str());
        let related = finding.related.iter().map(|r| (r.kind.as_str(), r.namespace.as_deref(), r.name.as_str()));
        for key in std::iter::once(subject).chain(related) {
            codes.entry(key).or_default().insert(&finding.code);
        }
    }
    codes
}

fn codes(workload: &Workload<'_>, codes: &Codes<'_>) -> Vec<String> {
    let own = codes.get(&(workload.kind.as_str(), Some(workload.namespace), workload.name.as_str()));
    let namespace = codes.get(&("Namespace", None, workload.namespace));
    let all: BTreeSet<&str> = own.into_iter().chain(namespace).flatten().copied().collect();
    all.into_iter().map(str::to_owned).collect()
}

fn now(world: &World<'_>, workload: &Workload<'_>) -> NowView {
    let revisions: Vec<String> = workload.revisions().into_iter().map(str::to_owned).collect();
    let gone = revisions.iter().filter(|revision| world.is_gone(revision)).cloned().collect();
    let kinds: Vec<ProxyKind> = workload.kinds().into_iter().collect();
    let mut images: Vec<String> =
        workload.pods.iter().filter_map(|(_, proxy)| proxy.as_ref().map(|proxy| proxy.image.to_owned())).collect();
    images.sort();
    images.dedup();
    NowView {
        injected: workload.injected().word().to_owned(),
        revisions,
        gone,
        sidecar: match kinds[..] {
            [] => "none",
            [kind] => kind.word(),
            _ => "mixed",
        }
        .to_owned(),
        images,
    }
}

fn planned_row(world: &World<'_>, planned: &Planned, fallback: Option<&str>) -> WorkloadView {
    let namespace = planned_namespace(planned, fallback, world.snapshot);
    let verdict = world.rules.verdict(Candidate {
        namespace,
        labels: &planned.template.labels,
        annotations: &planned.template.annotations,
        host_network: planned.spec.host_network,
    });
    WorkloadView {
        kind: planned.kind.clone(),
        namespace: namespace.to_owned(),
        name: planned.name.clone(),
        pods: PodCount::default(),
        now: NowView {
            injected: "noPods".to_owned(),
            revisions: Vec::new(),
            gone: Vec::new(),
            sidecar: "none".to_owned(),
            images: Vec::new(),
        },
        next_restart: next(world, &verdict),
        codes: Vec::new(),
    }
}

fn next(world: &World<'_>, verdict: &Verdict) -> NextView {
    let image = verdict.webhook.as_deref().filter(|_| verdict.injected == Some(true)).and_then(|name| {
        let injector = world.rules.injectors.iter().flatten().find(|injector| injector.name() == name)?;
        world.rules.config(injector)?.proxy_image.clone()
    });
    NextView {
        injected: verdict.injected,
        revision: verdict.revision.clone(),
        decided_by: match verdict.decided_by {
            DecidedBy::Webhook => "webhook",
            DecidedBy::Istiod => "istiod",
            DecidedBy::Blocked => "blocked",
            DecidedBy::Unknown => "unknown",
        }
        .to_owned(),
        reason: reason(&verdict.reason),
        webhook: verdict.webhook.clone(),
        image,
    }
}

/// Why, in a few words: they stand in a table's last column.
fn reason(reason: &Reason) -> String {
    use crate::mesh::webhook::Backend;
    match reason {
        Reason::NamespaceLabel => "namespace label".to_owned(),
        Reason::PodLabel => "pod label istio.io/rev".to_owned(),
        Reason::OtherSelector => "the webhook's selectors".to_owned(),
        Reason::SeveralInjectors(names) => format!("{} injectors match: {}", names.len(), names.join(", ")),
        Reason::NotAsked => "neither namespace nor pod asks for it".to_owned(),
        Reason::InjectionLabelCancels => "istio-injection cancels istio.io/rev".to_owned(),
        Reason::InjectionLabelVetoes => "the namespace's istio-injection cancels it".to_owned(),
        Reason::InjectionLabelInert => "istio-injection does nothing here".to_owned(),
        Reason::UnknownRevision(name) => format!("no injector for {name}"),
        Reason::LabelOptsOut => "pod label inject=false".to_owned(),
        Reason::Excluded(name) => format!("the webhook of {name} excludes it"),
        Reason::HostNetwork => "hostNetwork".to_owned(),
        Reason::IgnoredNamespace => "istiod ignores this namespace".to_owned(),
        Reason::OptsOut(text) => format!("pod says inject={text}"),
        Reason::NeverSelector => "neverInjectSelector".to_owned(),
        Reason::Policy(policy) => format!("injector policy is {}", if policy.is_empty() { "off" } else { policy }),
        Reason::NoBackend(Backend::NoService) => "the injector's service is gone".to_owned(),
        Reason::NoBackend(_) => "the injector has no ready endpoint".to_owned(),
        Reason::NoBackendIgnored => "the injector does not answer and is ignored".to_owned(),
        Reason::MatchConditions(name) => format!("{name} has matchConditions"),
        Reason::UnknownOperator(name) => format!("{name} has a selector of an unknown kind"),
        Reason::NoInjectorConfig => "the injector's configuration could not be read".to_owned(),
        Reason::UnknownVersion => "depends on istiod's version, which is not known".to_owned(),
        Reason::NoNamespace => "the namespace could not be read".to_owned(),
        Reason::NoWebhooks => "webhooks could not be read".to_owned(),
    }
}

/// `--expect`: every row's next pod must be as said.
fn gate(expect: Expect, rows: &[WorkloadView], exit: Exit) -> Exit {
    let mut worst = Exit::Clean;
    for row in rows {
        let (wanted, word) = match expect {
            Expect::Injected => (true, "injected"),
            Expect::None => (false, "none"),
        };
        // A refused pod is neither.
        let answer = row.next_restart.injected.filter(|_| row.next_restart.decided_by != "blocked");
        if answer == Some(wanted) {
            continue;
        }
        let refused = row.next_restart.decided_by == "blocked";
        if answer.is_none() && !refused {
            if worst == Exit::Clean {
                worst = Exit::Gaps;
            }
        } else {
            worst = Exit::Findings;
        }
        ui::message(&format!(
            "{}/{} in {}: expected {word}: {}\n",
            row.kind.to_lowercase(),
            row.name,
            row.namespace,
            row.next_restart.reason
        ));
    }
    if matches!(exit, Exit::Unable | Exit::Interrupted) { exit } else { worst }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn targets_use_kubectls_short_names() {
        for (text, kind) in
            [("deploy/a", "Deployment"), ("sts/a", "StatefulSet"), ("ds/a", "DaemonSet"), ("pods/a", "Pod"), ("a", "")]
        {
            assert_eq!(parse_target(text).unwrap(), (kind.to_owned(), "a".to_owned()), "{text}");
        }
        for (text, kind) in [
            ("deployment.apps/a", "Deployment"),
            ("deployments.v1.apps/a", "Deployment"),
            ("statefulset.apps/a", "StatefulSet"),
            ("daemonset.apps/a", "DaemonSet"),
            ("replicaset.apps/a", "ReplicaSet"),
            ("job.batch/a", "Job"),
            ("cronjob.batch/a", "CronJob"),
            ("pod/a", "Pod"),
        ] {
            assert_eq!(parse_target(text).unwrap().0, kind, "as kubectl prints it: {text}");
        }
        for text in ["deploy/", "deployment.batch/a", "deployment.example.com/a", "d/a", "unknown/a"] {
            assert!(parse_target(text).is_err(), "{text}");
        }
        let refusal = parse_target("Services/a").unwrap_err();
        assert_eq!(refusal, "Services is not a kind of workload: those are deploy, sts, ds, rs, job, cj and pod");
    }

    #[test]
    fn selectors_use_kubectls_syntax() {
        let labels = [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())].into();
        for (text, expected) in [
            ("a=1", true),
            ("a==1,b!=3", true),
            ("a in (1,2),b notin (3)", true),
            ("a,!c", true),
            ("a=2", false),
            ("c", false),
        ] {
            assert_eq!(parse_selector(text).unwrap().matches(&labels), Some(expected), "{text}");
        }
        assert!(parse_selector("a b").is_err());
    }
}
