//! `proxy-config`.

mod bundle;
mod file;
mod live;
mod view;

pub(super) use bundle::{Meant, choose};
pub(super) use live::{Pods, Recorded, find, missing, pod, pods, record};

use std::path::PathBuf;

use super::args::{ConnectionArgs, ReportArgs, ScopeArgs};
use super::exit::Exit;
use super::session::{self, DefaultScope, Job};
use super::ui;
use crate::checks;
use crate::cluster::envoy::{ADMIN_PORT, Levels};
use crate::engine::lens::World;
use crate::mesh::proxy_config::Filter;
use crate::model::envoy::{Logger, ProxyAnswers};
use crate::report::view::NoView;
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Collected, Fault, Origin, Scope, Section, Snapshot, SourceId, Undecodable};
use live::Asked;

/// What one proxy was told, what it made of it, and what is wrong with that
///
/// Tables, columns and filters are those of `istioctl proxy-config`; findings follow. With -f, saved answers of Envoy's
/// admin interface are read instead of a proxy, with --from a bundle that capture --proxy wrote; no cluster is needed then.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm proxy-config all deploy/cart -n shop\n  kubectl asm pc routes web-7d9c5b8f4-4bfzw.shop --name 80\n  kubectl asm pc log deploy/cart -n shop --set http:debug\n  kubectl asm proxy-config all -f config_dump.json\n  kubectl asm pc clusters -f config_dump.json --fqdn cart.shop\n  kubectl asm pc endpoints -f clusters.json            # pilot-agent request GET 'clusters?format=json'\n  kubectl asm pc all -f config_dump.json -f clusters.json -o wide\n  kubectl asm pc listeners --from bundle.tar.gz        # kubectl asm capture --proxy …\n\n-o text adds findings to the tables, wide adds columns too. With -o short only the tables are printed; the exit code still tells of findings."
)]
pub struct ProxyConfigArgs {
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    /// The proxy: POD, POD.NAMESPACE, or TYPE/NAME such as deploy/cart
    #[arg(value_name = "POD", conflicts_with = "file")]
    target: Option<String>,
    /// Read a saved config_dump or /clusters?format=json instead (repeatable, `-` is stdin)
    #[arg(long, alias = "filename", short = 'f', value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Namespace of the proxy; default: the context's
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// With log: set levels, e.g. debug, or http:debug,rbac:debug. Changes the running proxy until it restarts
    #[arg(long, value_name = "[LOGGER:]LEVEL,…", value_parser = Levels::parse)]
    set: Option<Levels>,
    /// Port of Envoy's administration
    #[arg(long = "proxy-admin-port", value_name = "PORT", default_value_t = ADMIN_PORT)]
    admin_port: u16,
    #[command(flatten)]
    filter: FilterArgs,
    #[command(flatten)]
    report: ReportArgs,
}

/// What to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Everything
    #[value(alias = "a")]
    All,
    /// What it can send to
    #[value(aliases = ["cluster", "c"])]
    Clusters,
    /// What it does with connections
    #[value(aliases = ["listener", "l"])]
    Listeners,
    /// Which host and path lead where
    #[value(aliases = ["route", "r"])]
    Routes,
    /// Endpoints as the proxy sees them now
    #[value(aliases = ["endpoint", "ep"])]
    Endpoints,
    /// Endpoints as they were configured
    Eds,
    /// Certificates and their dates; keys are never read
    #[value(aliases = ["secret", "s"])]
    Secrets,
    /// Versions and identity
    #[value(alias = "b")]
    Bootstrap,
    /// Extensions that came by name
    #[value(alias = "ec")]
    Ecds,
    /// Levels of its loggers; --set changes them
    #[value(alias = "o")]
    Log,
}

impl What {
    fn word(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// The filters of its table, as in istioctl (`istioctl/pkg/proxyconfig` in istio/istio), and one as an example.
    fn filters(self) -> (&'static [&'static str], &'static str) {
        match self {
            Self::Clusters => (&["--fqdn", "--port", "--subset", "--direction"], "--fqdn cart.shop"),
            Self::Listeners => (&["--address", "--port", "--type"], "--port 15006"),
            Self::Routes => (&["--name"], "--name 80"),
            Self::Endpoints | Self::Eds => {
                (&["--fqdn", "--address", "--port", "--cluster", "--status"], "--fqdn cart.shop")
            }
            Self::All | Self::Secrets | Self::Bootstrap | Self::Ecds | Self::Log => (&[], ""),
        }
    }
}

/// Which rows.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Rows (as in istioctl)")]
struct FilterArgs {
    /// Clusters whose name contains this host, and their endpoints
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,
    /// Clusters, listeners and endpoints of this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Clusters whose name contains this subset
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Clusters of this direction
    #[arg(long, value_name = "inbound|outbound", value_parser = ["inbound", "outbound"], ignore_case = true, hide_possible_values = true)]
    direction: Option<String>,
    /// Listeners of this type: HTTP, TCP, HTTP+TCP
    #[arg(long = "type", value_name = "TYPE", value_parser = ["HTTP", "TCP", "HTTP+TCP", "UNKNOWN"], ignore_case = true, hide_possible_values = true)]
    kind: Option<String>,
    /// Listeners and endpoints of this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Routes of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Endpoints in this state: healthy, unhealthy, draining, timeout, degraded, unknown
    #[arg(long, value_name = "STATUS", value_parser = STATES, ignore_case = true, hide_possible_values = true)]
    status: Option<String>,
    /// Endpoints of this Envoy cluster (not the kubeconfig's: use --context for that)
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// States of an endpoint (`HealthStatus` in `api/envoy/config/core/v3/health_check.proto` of envoyproxy/envoy).
const STATES: [&str; 6] = ["healthy", "unhealthy", "draining", "timeout", "degraded", "unknown"];

impl FilterArgs {
    /// A filter that the table does not know would leave all rows, as if all of them were meant.
    fn check(&self, what: What) -> Result<(), ErrorDocument> {
        let given = [
            ("--fqdn", self.fqdn.is_some()),
            ("--port", self.port.is_some()),
            ("--subset", self.subset.is_some()),
            ("--direction", self.direction.is_some()),
            ("--type", self.kind.is_some()),
            ("--address", self.address.is_some()),
            ("--name", self.name.is_some()),
            ("--status", self.status.is_some()),
            ("--cluster", self.cluster.is_some()),
        ];
        let (fits, example) = what.filters();
        match given.iter().find(|(flag, given)| *given && what != What::All && !fits.contains(flag)) {
            None => Ok(()),
            Some((flag, _)) => {
                let word = what.word();
                let message = format!("{flag} does not go with {word}");
                if fits.is_empty() {
                    return Err(usage(message, &["they are shown whole"]));
                }
                let leads = format!("{word} are chosen by {}, for example:", fits.join(", "));
                Err(usage(message, &[&leads, &format!("   kubectl asm proxy-config {word} <pod> {example}")]))
            }
        }
    }

    fn filter(&self) -> Filter {
        let Self { fqdn, port, subset, direction, kind, address, name, status, cluster } = self;
        Filter {
            fqdn: fqdn.clone(),
            port: *port,
            subset: subset.clone(),
            direction: direction.clone(),
            kind: kind.clone(),
            address: address.clone(),
            name: name.clone(),
            status: status.clone(),
            cluster: cluster.clone(),
        }
    }
}

/// Runs `proxy-config`.
pub fn run(connection: &ConnectionArgs, args: &ProxyConfigArgs) -> Exit {
    // Here --cluster names an Envoy cluster, as everybody who comes from istioctl expects.
    let connection = ConnectionArgs { cluster: None, ..connection.clone() };
    let filter = args.filter.filter();
    let asked = asked(&connection, args);
    let (loggers, before) = match &asked {
        Ok(asked) => (asked.loggers.clone(), asked.before.clone()),
        Err(_) => (None, Vec::new()),
    };
    let job = Job {
        default_scope: DefaultScope::Context,
        view_needs: &[&[SourceId::ProxyAnswers]],
        view: &|world, _| view_of(world, args.what, &filter, loggers.as_deref()),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &checks::is_of_one_proxy,
        grace: crate::mesh::sync::GRACE,
    };
    let exit = session::judge_snapshot(asked.map(|asked| asked.snapshot), &args.report, &job).0;
    if let (Some(_), Some(now)) = (&args.set, &loggers) {
        ui::message(&restoring(args, &before, now));
    }
    exit
}

/// How the levels are set back that were changed.
fn restoring(args: &ProxyConfigArgs, before: &[Logger], now: &[Logger]) -> String {
    let changed: Vec<String> = before
        .iter()
        .filter(|old| now.iter().any(|new| new.name == old.name && new.level != old.level))
        .map(|old| format!("{}:{}", old.name, old.level))
        .collect();
    if changed.is_empty() {
        return "No level changed.\n".to_owned();
    }
    let target = args.target.clone().unwrap_or_default();
    let mut command: Vec<String> = ["kubectl", "asm", "proxy-config", "log"].map(str::to_owned).into();
    command.push(target);
    if let Some(namespace) = &args.namespace {
        command.extend(["-n".to_owned(), namespace.clone()]);
    }
    command.extend(["--set".to_owned(), changed.join(",")]);
    format!("Levels hold until the proxy restarts. To set them back:\n   {}\n", crate::report::style::shell(&command))
}

fn usage(message: impl Into<String>, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "usage".to_owned(), message: message.into(), hints }
}

fn asked(connection: &ConnectionArgs, args: &ProxyConfigArgs) -> Result<Asked, ErrorDocument> {
    args.filter.check(args.what)?;
    if args.set.is_some() && args.what != What::Log {
        return Err(usage("--set goes with log only", &["   kubectl asm proxy-config log <pod> --set http:debug"]));
    }
    if let Some(from) = &args.report.from {
        return from_bundle(connection, args, from);
    }
    if args.file.is_empty() && args.target.is_none() {
        return Err(usage(
            "name a proxy, or a saved answer with -f",
            &[
                "for example:",
                "   kubectl asm proxy-config clusters deploy/cart -n shop",
                "   kubectl asm proxy-config clusters -f config_dump.json",
            ],
        ));
    }
    if args.file.is_empty() {
        return live::ask(connection, args);
    }
    if let Some(flag) = connection.given() {
        return Err(usage(
            format!("{flag} does not go with -f: a file is read without a cluster"),
            &["leave one of them out"],
        ));
    }
    let snapshot = file::read(&args.file, args.what)?;
    Ok(Asked { snapshot, loggers: None, before: Vec::new() })
}

fn from_bundle(connection: &ConnectionArgs, args: &ProxyConfigArgs, from: &str) -> Result<Asked, ErrorDocument> {
    if !args.file.is_empty() {
        return Err(usage("--from does not go with -f: each is a source of its own", &["leave one of them out"]));
    }
    if args.what == What::Log {
        return Err(usage("levels of loggers are read from a proxy that runs, not from a bundle", &[]));
    }
    let scope = ScopeArgs::default();
    let snapshot = session::from_bundle(from, connection, &scope)?;
    let snapshot = bundle::choose(snapshot, args.target.as_deref(), args.namespace.as_deref())?;
    Ok(Asked { snapshot, loggers: None, before: Vec::new() })
}

/// The world of one proxy.
fn snapshot_of(answers: ProxyAnswers, faults: Vec<Fault>, origin: Origin) -> Snapshot {
    let mut undecodable: Vec<Undecodable> = answers
        .damaged
        .iter()
        .map(|damaged| Undecodable { object: damaged.element.clone(), message: damaged.message.clone() })
        .collect();
    if answers.damaged_more > 0 {
        let object = format!("{} further elements", answers.damaged_more);
        undecodable.push(Undecodable { object, message: "not understood".to_owned() });
    }
    let namespaces = answers.pod().map(|(namespace, _)| vec![namespace.to_owned()]).unwrap_or_default();
    Snapshot {
        origin,
        scope: Scope { namespaces: Some(namespaces) },
        proxy_answers: Section::Collected(Collected { items: vec![answers], undecodable, faults, fallback: None }),
        ..Snapshot::default()
    }
}

fn view_of(world: &World<'_>, what: What, filter: &Filter, loggers: Option<&[Logger]>) -> View {
    let answers = world.snapshot.proxy_answers.items().and_then(<[_]>::first);
    answers.map_or(View::None(NoView {}), |answers| {
        View::ProxyConfig(Box::new(view::view(answers, what, filter, world.now, loggers)))
    })
}
