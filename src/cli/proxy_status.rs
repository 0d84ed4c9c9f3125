//! `proxy-status`.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs, duration};
use super::exit::Exit;
use super::inject_check::{parse_selector, parse_target};
use super::live;
use super::proxy_diff;
use super::session::{self, DefaultScope, Job};
use super::ui;
use crate::checks::CAUSES;
use crate::engine::finding::KeyKind;
use crate::engine::lens::{OWNERS, REVISIONS, WORKLOADS, World};
use crate::engine::{Area, Check, Finding};
use crate::mesh::proxy;
use crate::mesh::sync::{Row, State};
use crate::model::LabelSelector;
use crate::model::quoted::printable;
use crate::model::xds::Asked;
use crate::report::proxy_status::causing;
use crate::report::proxy_status_view::{IstiodView, ProxyStatusView, ProxyView, TypeView};
use crate::report::{ErrorDocument, Format, View};
use crate::snapshot::SourceId;

/// Whether every proxy has what istiod sent it, and which ones are not connected at all
///
/// Asks every istiod of every revision, and compares with the pods that should be there. Looks at all namespaces unless
/// -n is given.
#[derive(clap::Args, Debug)]
#[command(
    visible_alias = "ps",
    after_help = "States:\n  ERROR          Envoy rejected what istiod sent last, and keeps what it had\n  STALE          sent, and not acknowledged within --grace\n  NOT CONNECTED  no istiod lists it, although its proxy runs\n  UNKNOWN        an istiod that may have it did not answer\n  PENDING        sent a moment ago\n  NOT SENT       nothing was sent yet\n  SYNCED         acknowledged\n  IGNORED        it asks for nothing\n\nExamples:\n  kubectl asm proxy-status\n  kubectl asm ps -n shop --only-problems\n  kubectl asm ps web-7d9c5b8f4-4bfzw.shop -o wide\n  kubectl asm ps -o json | jq '.view.proxies[] | select(.state == \"STALE\")'\n  kubectl asm ps web-7d9c5b8f4-4bfzw.shop --diff\n  kubectl asm ps --watch"
)]
pub struct ProxyStatusArgs {
    /// One proxy: POD or POD.NAMESPACE; or those of a workload: TYPE/NAME such as deploy/cart
    #[arg(value_name = "POD")]
    target: Option<String>,
    /// Only proxies whose pods carry these labels
    #[arg(long, short = 'l', value_name = "SELECTOR")]
    selector: Option<String>,
    /// Only proxies of this revision
    #[arg(long, value_name = "REVISION")]
    revision: Option<String>,
    /// Show only proxies in state ERROR, STALE, NOT CONNECTED or UNKNOWN
    #[arg(long)]
    only_problems: bool,
    /// Time for a proxy to acknowledge what istiod sent
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    grace: Duration,
    /// Compare what istiod would send the proxy now with what its Envoy has; needs a cluster
    #[arg(long, requires = "target", conflicts_with_all = ["watch", "selector", "revision", "only_problems"])]
    diff: bool,
    /// Look again every few seconds and print what changes, until Ctrl-C
    #[arg(long, short = 'w')]
    watch: bool,
    #[command(flatten)]
    scope: ScopeArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// What its view needs besides the checks.
pub const VIEW: &[&[SourceId]] = &[REVISIONS, WORKLOADS, OWNERS, &[SourceId::Xds]];

/// What keeps an old istiod from being of use.
const OLD: &str = "it does not tell when proxies acknowledged what; istiod does from 1.23 on";

/// Pause between two looks of `--watch`.
const PAUSE: Duration = Duration::from_secs(5);

/// Checks of what proxies have, of what can cause their findings, and of the cluster as such. A second Istio comes into
/// it by the root certificates that it writes, and those are checked; to look for it everywhere (CON01) takes many
/// rights.
#[must_use]
pub fn is_about_sync(check: &Check) -> bool {
    check.area == Area::Environment || check.code != "CON01" && leads(check.code)
}

fn leads(code: &str) -> bool {
    const OWN: [&str; 5] = ["PRX02", "PRX03", "PRX11", "PRX12", "PRX13"];
    OWN.contains(&code) || CAUSES.iter().any(|row| row.cause == code && leads(row.effect))
}

/// What is named.
enum Target {
    /// A pod, perhaps with its namespace.
    Pod(String),
    /// A workload's kind and name.
    Workload(String, String),
}

impl Target {
    fn parse(text: &str) -> Result<Self, String> {
        if !text.contains('/') {
            return Ok(Self::Pod(text.to_owned()));
        }
        let (kind, name) = parse_target(text)?;
        Ok(if kind == "Pod" { Self::Pod(name) } else { Self::Workload(kind, name) })
    }

    fn is(&self, world: &World<'_>, row: &Row<'_>) -> bool {
        match self {
            Self::Pod(target) => is_named(target, row.namespace, row.name),
            Self::Workload(kind, name) => row
                .workload
                .and_then(|index| world.workloads.get(index))
                .is_some_and(|of| of.kind == *kind && is_named(name, of.namespace, &of.name)),
        }
    }
}

/// Which proxies are asked about.
struct Filter {
    target: Option<Target>,
    selector: Option<LabelSelector>,
    revision: Option<String>,
}

impl Filter {
    fn is_open(&self) -> bool {
        self.target.is_none() && self.selector.is_none() && self.revision.is_none()
    }

    fn asks(&self, world: &World<'_>, row: &Row<'_>) -> bool {
        self.target.as_ref().is_none_or(|target| target.is(world, row))
            && self.revision.as_ref().is_none_or(|revision| row.revision.as_ref() == Some(revision))
            && self
                .selector
                .as_ref()
                .is_none_or(|selector| row.pod.is_some_and(|pod| selector.matches(&pod.metadata.labels) == Some(true)))
    }
}

/// `POD`, or `POD.NAMESPACE` as istioctl and istiod write it; the names of pods can have dots too.
pub(super) fn is_named(target: &str, namespace: &str, name: &str) -> bool {
    target == name || target.strip_suffix(namespace).and_then(|rest| rest.strip_suffix('.')) == Some(name)
}

/// Runs `proxy-status`.
pub fn run(connection: &ConnectionArgs, args: &ProxyStatusArgs) -> Exit {
    if let (true, Some(target)) = (args.diff, &args.target) {
        return proxy_diff::run(connection, &args.scope, &args.report, target);
    }
    let filter = match filter(args) {
        Ok(filter) => filter,
        Err(message) => return session::refuse(&args.report, message, "kubectl asm proxy-status --help"),
    };
    let grace = SignedDuration::try_from(args.grace).unwrap_or(SignedDuration::MAX);
    let shown = RefCell::new(Shown::new());
    let targets = OnceCell::new();
    let job = Job {
        default_scope: DefaultScope::All,
        view_needs: VIEW,
        view: &|world, _| {
            shown.replace(remember(world, &filter));
            View::ProxyStatus(view(world, &filter, args.only_problems))
        },
        refuse: &|world| refuse(world, &filter),
        concerns: &|world, finding| {
            filter.is_open() || concerns(targets.get_or_init(|| Targets::of(world, &filter)), finding)
        },
        checks: &is_about_sync,
        grace,
    };
    let (exit, report) = session::judge(connection, &args.scope, &args.report, &job);
    if !args.watch || report.is_none_or(|report| report.error.is_some()) || exit == Exit::Interrupted {
        return exit;
    }
    watch(connection, args, &filter, grace, shown.into_inner())
}

fn filter(args: &ProxyStatusArgs) -> Result<Filter, String> {
    if args.watch && args.report.from.is_some() {
        return Err("--watch looks at a cluster, and a bundle does not change: leave --watch or --from out".to_owned());
    }
    if args.watch && !matches!(args.report.output, Format::Text | Format::Wide) {
        return Err("--watch prints text: leave --watch or -o out".to_owned());
    }
    Ok(Filter {
        target: args.target.as_deref().map(Target::parse).transpose()?,
        selector: args.selector.as_deref().map(parse_selector).transpose()?,
        revision: args.revision.clone(),
    })
}

/// That nothing is wrong with the proxies of a revision that is not here, and never was, would be no answer.
fn no_revision(world: &World<'_>, revision: &str) -> Option<ErrorDocument> {
    let is_here = world.revisions.iter().any(|installed| installed.name == revision)
        || world.sync.rows.iter().any(|row| row.revision.as_deref() == Some(revision));
    if is_here || world.is_installed() != Some(true) {
        return None;
    }
    let installed: Vec<&str> = world.revisions.iter().map(|revision| revision.name.as_str()).collect();
    Some(ErrorDocument {
        kind: "revision".to_owned(),
        message: format!("revision {} is not installed, and no proxy has it", printable(revision)),
        hints: vec![format!("installed: {}", installed.join(", "))],
    })
}

fn refuse(world: &World<'_>, filter: &Filter) -> Option<ErrorDocument> {
    if let (Some(revision), None) = (&filter.revision, &filter.target) {
        return no_revision(world, revision);
    }
    let target = filter.target.as_ref()?;
    if world.sync.rows.iter().any(|row| filter.asks(world, row)) {
        return None;
    }
    let which = || vec!["which proxies are there?".to_owned(), "   kubectl asm proxy-status".to_owned()];
    let target = match target {
        Target::Pod(target) => target,
        Target::Workload(kind, name) => {
            let exists = world.workloads.iter().any(|of| of.kind == *kind && is_named(name, of.namespace, &of.name));
            let why = if exists { "has no pod among the proxies that were asked for" } else { "was not found" };
            let message = format!("{kind} {} {why}", printable(name));
            return Some(ErrorDocument { kind: "workload".to_owned(), message, hints: which() });
        }
    };
    let pods = world.snapshot.pods.items().unwrap_or_default().iter();
    let pod = pods.into_iter().find(|pod| is_named(target, &pod.metadata.namespace, &pod.metadata.name));
    let why = match pod {
        None => "was not found, neither among pods nor in what istiod lists",
        Some(pod) if pod.is_over() => "has ended or is being deleted, and no istiod lists it",
        Some(pod) => match proxy::of_pod(pod) {
            None => "has no Istio proxy",
            Some(_) if filter.selector.is_some() || filter.revision.is_some() => "is not among what was asked for",
            Some(_) => "has a proxy that does not run, has just started or is not the add-on's; no istiod lists it",
        },
    };
    Some(ErrorDocument { kind: "pod".to_owned(), message: format!("pod {} {why}", printable(target)), hints: which() })
}

/// What was asked about, by name.
struct Targets {
    objects: BTreeSet<(String, String, String)>,
    revisions: BTreeSet<String>,
}

impl Targets {
    fn of(world: &World<'_>, filter: &Filter) -> Self {
        let rows = || world.sync.rows.iter().filter(|row| filter.asks(world, row));
        let pods = rows().map(|row| ("Pod".to_owned(), row.namespace.to_owned(), row.name.to_owned()));
        let workloads = rows().filter_map(|row| {
            let workload = world.workloads.get(row.workload?)?;
            Some((workload.kind.clone(), workload.namespace.to_owned(), workload.name.clone()))
        });
        Self {
            objects: pods.chain(workloads).collect(),
            revisions: rows().filter_map(|row| row.revision.clone()).collect(),
        }
    }

    fn has(&self, kind: &str, namespace: Option<&str>, name: &str) -> bool {
        self.objects.contains(&(kind.to_owned(), namespace.unwrap_or_default().to_owned(), name.to_owned()))
    }
}

/// Leaves out what is about other proxies and other revisions; what is wrong with the cluster concerns everybody.
fn concerns(targets: &Targets, finding: &Finding) -> bool {
    let subject = &finding.subject;
    let about_them = targets.has(&subject.kind, subject.namespace.as_deref(), &subject.name)
        || finding.related.iter().any(|r| targets.has(&r.kind, r.namespace.as_deref(), &r.name));
    let mut revisions = finding.keys.iter().filter(|key| key.kind == KeyKind::Revision).peekable();
    let of_the_mesh = matches!(subject.kind.as_str(), "Revision" | "Cluster")
        || subject.namespace.as_deref() == Some(crate::sources::SYSTEM_NAMESPACE);
    let other_revision = revisions.peek().is_some() && !revisions.any(|key| targets.revisions.contains(&key.name));
    about_them || of_the_mesh && finding.related.is_empty() && !other_revision
}

fn view(world: &World<'_>, filter: &Filter, only_problems: bool) -> ProxyStatusView {
    let sync = &world.sync;
    let rows: Vec<&Row<'_>> = sync.rows.iter().filter(|row| filter.asks(world, row)).collect();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in &rows {
        *counts.entry(row.state.word().to_owned()).or_default() += 1;
    }
    ProxyStatusView {
        istiods: sync.istiods.as_ref().map(|istiods| {
            let istiods = istiods
                .iter()
                .filter(|answer| filter.revision.as_ref().is_none_or(|revision| answer.revision == *revision));
            istiods
                .map(|answer| IstiodView {
                    pod: answer.pod.clone(),
                    revision: answer.revision.clone(),
                    version: answer.version.as_deref().map(version),
                    answered: answer.asked == Asked::Answered,
                    proxies: answer.proxies,
                    error: answer
                        .error
                        .clone()
                        .or_else(|| sync.old.contains(answer.pod.as_str()).then(|| OLD.to_owned())),
                })
                .collect()
        }),
        counts,
        other_clients: sync.others,
        proxies: rows.into_iter().filter(|row| !only_problems || row.state.is_problem()).map(proxy_view).collect(),
    }
}

/// `1.28.9-2` of `1.28.9-2-3cd63a4-Clean`: behind the version stand a commit and its state.
fn version(text: &str) -> String {
    let short = text.rsplit_once('-').and_then(|(rest, _)| rest.rsplit_once('-')).map(|(version, _)| version);
    short.unwrap_or(text).to_owned()
}

fn proxy_view(row: &Row<'_>) -> ProxyView {
    let mut types: BTreeMap<String, (State, TypeView)> = BTreeMap::new();
    for one in &row.types {
        let view = TypeView {
            state: one.state.word().to_owned(),
            age_seconds: one.age.map(|age| age.as_secs()),
            error: one.error.map(str::to_owned),
        };
        // Two types may share a short name: then the worse one is shown.
        let entry = types.entry(one.kind.short().to_owned()).or_insert_with(|| (one.state, view.clone()));
        if one.state < entry.0 {
            *entry = (one.state, view);
        }
    }
    ProxyView {
        name: row.name.to_owned(),
        namespace: row.namespace.to_owned(),
        kind: row.kind.to_owned(),
        revision: row.revision.clone(),
        istiod: row.istiod.map(|answer| answer.pod.clone()),
        version: row.version.clone(),
        state: row.state.word().to_owned(),
        age_seconds: row.age().map(|age| age.as_secs()),
        connections: match (&row.twice, row.istiod) {
            (Some(twice), _) => twice.connections,
            (None, Some(_)) => 1,
            (None, None) => 0,
        },
        types: types.into_iter().map(|(short, (_, view))| (short, view)).collect(),
    }
}

/// What `--watch` compares: the state of each proxy, with what causes it.
type Shown = BTreeMap<(String, String), (State, String)>;

fn remember(world: &World<'_>, filter: &Filter) -> Shown {
    let rows = world.sync.rows.iter().filter(|row| filter.asks(world, row));
    rows.map(|row| {
        let types = causing(&proxy_view(row)).join(",");
        let words =
            if types.is_empty() { row.state.word().to_owned() } else { format!("{} {types}", row.state.word()) };
        ((row.namespace.to_owned(), row.name.to_owned()), (row.state, words))
    })
    .collect()
}

/// Lines about what is different, and what to compare with the next time. Every push makes proxies PENDING for a moment;
/// that is no change.
fn changes(before: &Shown, now: Shown) -> (Vec<String>, Shown) {
    let mut lines = Vec::new();
    let mut kept = Shown::new();
    for (key, (state, words)) in now {
        let name = printable(&format!("{}/{}", key.0, key.1));
        match before.get(&key) {
            Some(old) if state == State::Pending => {
                kept.insert(key, old.clone());
                continue;
            }
            Some((_, old)) if *old == words => {}
            Some((_, old)) => lines.push(format!("{name}  {old}, now {words}")),
            None => lines.push(format!("{name}  new, {words}")),
        }
        kept.insert(key, (state, words));
    }
    let gone = before.keys().filter(|key| !kept.contains_key(*key));
    lines.extend(gone.map(|(namespace, name)| printable(&format!("{namespace}/{name}  gone"))));
    (lines, kept)
}

/// Looks again and again. A look that fails is said, and the next one is compared with the last that did not.
fn watch(
    connection: &ConnectionArgs,
    args: &ProxyStatusArgs,
    filter: &Filter,
    grace: SignedDuration,
    mut before: Shown,
) -> Exit {
    let sources: BTreeSet<SourceId> = session::needs(VIEW, &[]);
    let facts = match session::load_facts(args.report.facts.as_deref()) {
        Ok(facts) => facts,
        Err(error) => {
            ui::message(&crate::report::text::render_error(&error, ui::stderr_style(args.report.no_color)));
            return Exit::Unable;
        }
    };
    while live::pause(PAUSE) {
        let gathered = live::read(connection, &args.scope, &args.report, DefaultScope::All, sources.clone(), false);
        let snapshot = match gathered {
            Ok(gathered) if gathered.snapshot.interrupted => break,
            Ok(gathered) => gathered.snapshot,
            Err(error) => {
                ui::message(&crate::report::text::render_error(&error, ui::stderr_style(args.report.no_color)));
                continue;
            }
        };
        let now = snapshot.origin.captured_at.unwrap_or_else(Timestamp::now);
        let world = World::with_grace(&snapshot, &facts, now, grace);
        let (lines, kept) = changes(&before, remember(&world, filter));
        before = kept;
        let time = now.strftime("%H:%M:%S");
        let text: String = lines.iter().map(|line| format!("{time}  {line}\n")).collect();
        if ui::data(&text).is_err() {
            return Exit::Unable;
        }
    }
    Exit::Interrupted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_named_with_or_without_its_namespace() {
        assert!(is_named("web-0", "shop", "web-0") && is_named("web-0.shop", "shop", "web-0"));
        assert!(is_named("web.a-0.shop", "shop", "web.a-0"));
        for other in ["web-0.shopping", "web-0.", "web", "web-0shop", ".shop"] {
            assert!(!is_named(other, "shop", "web-0"), "{other}");
        }
    }

    #[test]
    fn a_version_is_told_without_its_commit() {
        assert_eq!(version("1.28.9-2-3cd63a4-Clean"), "1.28.9-2");
        assert_eq!(version("1.28.3-4c1f845-Modified"), "1.28.3");
        assert_eq!(version("unknown"), "unknown");
    }

    #[test]
    fn only_changes_that_last_are_printed() {
        let shown = |states: &[(&str, State)]| -> Shown {
            states
                .iter()
                .map(|(name, s)| (("shop".to_owned(), (*name).to_owned()), (*s, s.word().to_owned())))
                .collect()
        };
        let first = shown(&[("a", State::Synced), ("b", State::Synced), ("c", State::Stale)]);
        let (lines, kept) =
            changes(&first, shown(&[("a", State::Pending), ("b", State::Stale), ("d", State::Pending)]));
        assert_eq!(lines, ["shop/b  SYNCED, now STALE", "shop/d  new, PENDING", "shop/c  gone"]);
        let (lines, _) = changes(&kept, shown(&[("a", State::Synced), ("b", State::Stale), ("d", State::Synced)]));
        assert_eq!(lines, ["shop/d  PENDING, now SYNCED"], "a was pending for a moment");
    }

    #[test]
    fn only_what_proxies_suffer_from_is_checked() {
        let selected: Vec<_> = crate::checks::all().filter(|check| is_about_sync(check)).map(|c| c.code).collect();
        for code in ["ENV04", "CP01", "CP06", "CON08", "UPG04", "PRX02"] {
            assert!(selected.contains(&code), "{code}");
        }
        for code in ["CAP04", "CON01", "INJ05", "TEL01", "POL01", "NSC01"] {
            assert!(!selected.contains(&code), "{code}");
        }
    }
}
