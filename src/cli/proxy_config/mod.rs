//! `proxy-config`.

mod file;
mod view;

use std::path::PathBuf;

use super::args::{ConnectionArgs, ReportArgs};
use super::exit::Exit;
use super::session::{self, DefaultScope, Job};
use crate::checks;
use crate::engine::lens::World;
use crate::mesh::proxy_config::Filter;
use crate::report::view::NoView;
use crate::report::{ErrorDocument, View};
use crate::snapshot::{Snapshot, SourceId};

/// What one proxy was told, what it made of it, and what is wrong with that
///
/// Tables, columns and filters are those of `istioctl proxy-config`; findings follow. With -f, saved answers of Envoy's
/// admin interface are read instead of a proxy, and no cluster is needed.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm proxy-config all -f config_dump.json\n  kubectl asm pc clusters -f config_dump.json --fqdn cart.shop\n  kubectl asm pc endpoints -f clusters.json            # pilot-agent request GET clusters?format=json\n  kubectl asm pc all -f config_dump.json -f clusters.json -o wide\n\n-o text adds findings to the tables, wide adds columns too, short prints the tables alone."
)]
pub struct ProxyConfigArgs {
    /// What to show
    #[arg(value_enum, value_name = "WHAT")]
    what: What,
    /// The proxy: POD, POD.NAMESPACE, or TYPE/NAME such as deploy/cart
    #[arg(value_name = "POD", required_unless_present = "file", conflicts_with = "file")]
    target: Option<String>,
    /// Read a saved config_dump or /clusters?format=json instead (repeatable, `-` is stdin)
    #[arg(long, alias = "filename", short = 'f', value_name = "FILE")]
    file: Vec<PathBuf>,
    /// Namespace of the proxy; default: the context's
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Option<String>,
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
}

/// Which rows.
#[derive(clap::Args, Debug, Default)]
#[command(next_help_heading = "Rows (as in istioctl)")]
struct FilterArgs {
    /// Clusters whose name contains this host
    #[arg(long, value_name = "HOST")]
    fqdn: Option<String>,
    /// Clusters, listeners and endpoints of this port
    #[arg(long, value_name = "PORT")]
    port: Option<u16>,
    /// Clusters whose name contains this subset
    #[arg(long, value_name = "NAME")]
    subset: Option<String>,
    /// Clusters of this direction
    #[arg(long, value_name = "inbound|outbound")]
    direction: Option<String>,
    /// Listeners of this type: HTTP, TCP, HTTP+TCP
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Listeners and endpoints of this address
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
    /// Routes of this name
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Endpoints in this state: healthy, unhealthy, draining, …
    #[arg(long, value_name = "STATUS")]
    status: Option<String>,
    /// Endpoints of this Envoy cluster (not the kubeconfig's: use --context for that)
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

impl FilterArgs {
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
    let job = Job {
        default_scope: DefaultScope::Context,
        view_needs: &[&[SourceId::ProxyAnswers]],
        view: &|world, _| view_of(world, args.what, &filter),
        refuse: &|_| None,
        concerns: &|_, _| true,
        checks: &checks::is_of_one_proxy,
        grace: crate::mesh::sync::GRACE,
    };
    session::judge_snapshot(snapshot(&connection, args), &args.report, &job).0
}

fn usage(message: impl Into<String>, hints: &[&str]) -> ErrorDocument {
    let hints = hints.iter().map(|hint| (*hint).to_owned()).collect();
    ErrorDocument { kind: "usage".to_owned(), message: message.into(), hints }
}

fn snapshot(connection: &ConnectionArgs, args: &ProxyConfigArgs) -> Result<Snapshot, ErrorDocument> {
    if args.report.from.is_some() {
        return Err(usage(
            "a bundle holds no configuration of single proxies",
            &["-f reads a saved config_dump", "   kubectl asm proxy-config all -f config_dump.json"],
        ));
    }
    if let Some(flag) = connection.given() {
        return Err(usage(
            format!("{flag} does not go with -f: a file is read without a cluster"),
            &["leave one of them out"],
        ));
    }
    file::read(&args.file, args.what)
}

fn view_of(world: &World<'_>, what: What, filter: &Filter) -> View {
    let answers = world.snapshot.proxy_answers.items().and_then(<[_]>::first);
    answers.map_or(View::None(NoView {}), |answers| {
        View::ProxyConfig(Box::new(view::view(answers, what, filter, world.now)))
    })
}
