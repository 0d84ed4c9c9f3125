//! `rbac`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::exit::Exit;
use super::{azure, conflicts, inject_check, metrics, proxy_status, session, status, ui};
use crate::engine::Check;
use crate::report::ErrorDocument;
use crate::report::yaml;
use crate::snapshot::{Scope, SourceId};
use crate::sources::SOURCES;
use crate::sources::rights::{Right, Where, of_a_probe, of_logs, of_one_proxy, rights};

/// Print the roles that are enough for a command
///
/// Every right is `get` or `list`, but for port-forwards and for --probe. What the add-on keeps in its own namespaces is read there only, so it comes as Roles
/// of those namespaces; -n also narrows the rest from a ClusterRole to Roles.
#[derive(clap::Args, Debug)]
#[command(
    after_help = "Examples:\n  kubectl asm rbac | kubectl apply -f -\n  kubectl asm rbac --for inject-check -n shop --to group:shop-team\n  kubectl asm rbac --skip CP09,CA07          # without reading metadata of Secrets"
)]
pub struct RbacArgs {
    /// The command that the roles are for
    #[arg(long = "for", value_enum, default_value = "status", value_name = "COMMAND")]
    command: For,
    /// With inject-check: what its --probe needs besides, to ask about pods and to create one
    #[arg(long)]
    probe: bool,
    /// Namespace to examine (repeatable); without it all of them
    #[arg(long, short = 'n', value_name = "NAMESPACE")]
    namespace: Vec<String>,
    /// Bind the roles: user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME (repeatable)
    #[arg(long = "to", value_name = "SUBJECT", value_parser = subject)]
    to: Vec<Subject>,
    /// As given to the command
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    only: Vec<String>,
    /// As given to the command
    #[arg(long, value_name = "CODES", value_delimiter = ',')]
    skip: Vec<String>,
    /// Output format
    #[arg(long, short = 'o', value_enum, default_value = "yaml", value_name = "FORMAT")]
    output: Output,
}

/// A command that needs rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum For {
    /// `status`.
    Status,
    /// `inject-check`.
    InjectCheck,
    /// `proxy-status`.
    ProxyStatus,
    /// `proxy-config`.
    ProxyConfig,
    /// `conflicts`.
    Conflicts,
    /// `logs`.
    Logs,
    /// `azure`.
    Azure,
    /// `metrics`.
    Metrics,
    /// `capture`.
    Capture,
}

impl For {
    /// The command's name.
    #[must_use]
    pub fn name(self) -> String {
        use clap::ValueEnum;
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Yaml,
    Json,
}

/// Whom roles are bound to, as a RoleBinding writes it.
#[derive(Clone, Debug)]
struct Subject(Value);

fn subject(text: &str) -> Result<Subject, String> {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let (kind, name) = text.split_once(':').unwrap_or((text, ""));
    match (kind, name.split_once(':')) {
        (_, _) if name.is_empty() => {
            Err("it is written as user:NAME, group:NAME or serviceaccount:NAMESPACE:NAME".into())
        }
        ("user", _) => Ok(Subject(json!({"apiGroup": GROUP, "kind": "User", "name": name}))),
        ("group", _) => Ok(Subject(json!({"apiGroup": GROUP, "kind": "Group", "name": name}))),
        ("serviceaccount" | "sa", Some((namespace, name))) if !namespace.is_empty() && !name.is_empty() => {
            Ok(Subject(json!({"kind": "ServiceAccount", "namespace": namespace, "name": name})))
        }
        ("serviceaccount" | "sa", _) => Err("a service account is written as serviceaccount:NAMESPACE:NAME".into()),
        _ => Err(format!("{} is none of user, group, serviceaccount", crate::model::quoted::printable(kind))),
    }
}

/// Runs `rbac`.
pub fn run(args: &RbacArgs) -> Exit {
    if args.probe && args.command != For::InjectCheck {
        ui::message("error: --probe goes with --for inject-check only\n");
        return Exit::Unable;
    }
    let scope = Scope { namespaces: (!args.namespace.is_empty()).then(|| args.namespace.clone()) };
    let rights = match of_command(args.command, args.probe, &scope, &args.only, &args.skip) {
        Ok(rights) => rights,
        Err(error) => {
            ui::message(&crate::report::text::render_error(&error, ui::stderr_style(false)));
            return Exit::Unable;
        }
    };
    let name = format!("kubectl-asm-{}", args.command.name());
    let objects = objects(&name, &rights, &args.to);
    let text = match args.output {
        Output::Json => format!("{:#}\n", json!({"apiVersion": "v1", "kind": "List", "items": objects})),
        Output::Yaml => {
            let documents: Vec<String> = objects.iter().map(yaml::emit).collect();
            format!("{}{}", notes(&rights, args.command), documents.join("---\n"))
        }
    };
    super::print(&text)
}

/// The rights of a command.
///
/// # Errors
/// When a word of `only` or `skip` is neither a code nor an area.
pub fn of_command(
    command: For,
    probe: bool,
    scope: &Scope,
    only: &[String],
    skip: &[String],
) -> Result<BTreeSet<Right>, ErrorDocument> {
    let mut rights = match command {
        For::ProxyConfig => of_one_proxy(scope),
        For::Logs => of_logs(scope),
        _ => rights(&sources(command, probe, only, skip)?, scope),
    };
    if probe {
        rights.extend(of_a_probe(scope));
    }
    Ok(rights)
}

/// The sources that a command reads.
///
/// # Errors
/// When a word of `only` or `skip` is neither a code nor an area.
pub fn sources(
    command: For,
    probe: bool,
    only: &[String],
    skip: &[String],
) -> Result<BTreeSet<SourceId>, ErrorDocument> {
    let usual = |check: &Check| match command {
        For::Status => status::is_of_status(check),
        For::InjectCheck if probe => inject_check::is_about_a_probe(check),
        For::InjectCheck => inject_check::is_about_injection(check),
        For::ProxyStatus => proxy_status::is_about_sync(check),
        For::ProxyConfig | For::Logs => false,
        For::Conflicts => conflicts::is_about_conflicts(check),
        For::Azure => azure::is_about_azure(check),
        For::Metrics => metrics::is_about_metrics(check),
        For::Capture => true,
    };
    let selected = session::select(only, skip, &usual)?;
    Ok(match command {
        For::Status => session::needs(status::VIEW, &selected),
        For::InjectCheck => session::needs(inject_check::VIEW, &selected),
        For::ProxyStatus => session::needs(proxy_status::VIEW, &selected),
        For::ProxyConfig => BTreeSet::from([SourceId::ProxyAnswers]),
        For::Logs => BTreeSet::from([SourceId::Logs]),
        For::Conflicts => session::needs(conflicts::VIEW, &selected),
        // Nodes tell where Azure keeps the cluster.
        For::Azure => {
            let mut needs = session::needs(azure::VIEW, &selected);
            needs.insert(SourceId::Nodes);
            needs
        }
        For::Metrics => session::needs(metrics::VIEW, &selected),
        For::Capture => SOURCES.iter().map(|source| source.id).collect(),
    })
}

/// What a role cannot say, as comments.
fn notes(rights: &BTreeSet<Right>, command: For) -> String {
    let mut notes = String::new();
    if rights.iter().any(|right| right.resource == "secrets") {
        notes.push_str(
            "# Of Secrets only the metadata is asked for; RBAC has no narrower right for that than `list`.\n",
        );
        notes.push_str(match command {
            For::Conflicts => "# Without it, the list of what a purge would delete leaves Secrets out.\n",
            _ => "# Without it: --skip CP09,CA07, here and in the command.\n",
        });
    }
    let of_istiod = Where::Namespace(crate::sources::SYSTEM_NAMESPACE.to_owned());
    if rights.iter().any(|right| right.resource == "pods/portforward" && right.place == of_istiod) {
        notes.push_str(
            "# The port-forward goes to istiod, which is asked about its proxies; RBAC has no narrower right for that.\n\
             # `status` does without it: --skip PRX03,PRX11,PRX12,PRX13, here and in the command.\n",
        );
    }
    if matches!(command, For::Capture) {
        notes.push_str("# With --logs it reads logs, too: kubectl asm rbac --for logs\n");
    }
    let elsewhere: Vec<_> = rights.iter().filter(|right| right.place == Where::Webhooks).collect();
    if !elsewhere.is_empty() {
        let list: Vec<_> = elsewhere.iter().map(|right| format!("{} {}", right.verb, right.resource)).collect();
        notes.push_str(&format!(
            "# Where webhooks of another Istio point to a namespace, that namespace is read too: {}.\n",
            list.join(", ")
        ));
    }
    notes
}

fn objects(name: &str, rights: &BTreeSet<Right>, to: &[Subject]) -> Vec<Value> {
    let mut places: BTreeMap<&Where, Vec<&Right>> = BTreeMap::new();
    for right in rights.iter().filter(|right| right.place != Where::Webhooks) {
        places.entry(&right.place).or_default().push(right);
    }
    let everywhere: BTreeSet<_> = places.get(&Where::Cluster).into_iter().flatten().map(|right| what(right)).collect();
    let mut objects = Vec::new();
    for (place, rights) in &places {
        // A right in the whole cluster is one in every namespace, and one to all objects is one to each of them.
        let is_given = |right: &&Right| {
            let (group, resource, verb, _) = what(right);
            everywhere.contains(&what(right)) || everywhere.contains(&(group, resource, verb, None))
        };
        let rights: Vec<_> =
            rights.iter().copied().filter(|right| **place == Where::Cluster || !is_given(right)).collect();
        if rights.is_empty() {
            continue;
        }
        let (kind, metadata) = match place {
            Where::Namespace(namespace) => ("Role", json!({"name": name, "namespace": namespace})),
            Where::Cluster | Where::Webhooks => ("ClusterRole", json!({"name": name})),
        };
        objects.push(json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules(&rights)}));
        if !to.is_empty() {
            objects.push(json!({
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": format!("{kind}Binding"),
                "metadata": metadata,
                "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": name},
                "subjects": to.iter().map(|subject| &subject.0).collect::<Vec<_>>(),
            }));
        }
    }
    objects
}

/// A right without its place.
fn what(right: &Right) -> (&str, &str, &str, Option<&str>) {
    (right.group, right.resource, right.verb, right.name.as_deref())
}

/// Rights as rules: resources that share group, verbs and names share a rule.
fn rules(rights: &[&Right]) -> Vec<Value> {
    type Names<'r> = BTreeSet<&'r str>;
    type Rule<'r> = (&'r str, Names<'r>, Names<'r>);
    type Verbs<'r> = (Names<'r>, BTreeMap<&'r str, Names<'r>>);
    let mut verbs: BTreeMap<(&str, &str), Verbs<'_>> = BTreeMap::new();
    for right in rights {
        let entry = verbs.entry((right.group, right.resource)).or_default();
        match &right.name {
            None => _ = entry.0.insert(right.verb),
            Some(name) => _ = entry.1.entry(right.verb).or_default().insert(name),
        }
    }
    let mut rules: BTreeMap<Rule<'_>, BTreeSet<&str>> = BTreeMap::new();
    for ((group, resource), (any, named)) in verbs {
        for (verb, names) in named {
            if !any.contains(verb) {
                rules.entry((group, BTreeSet::from([verb]), names)).or_default().insert(resource);
            }
        }
        if !any.is_empty() {
            rules.entry((group, any, BTreeSet::new())).or_default().insert(resource);
        }
    }
    rules
        .into_iter()
        .map(|((group, verbs, names), resources)| {
            let mut rule = json!({"apiGroups": [group], "resources": resources, "verbs": verbs});
            if !names.is_empty() {
                rule["resourceNames"] = json!(names);
            }
            rule
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(place: Where, resource: &'static str, verb: &'static str, name: Option<&str>) -> Right {
        Right { place, group: "", resource, verb, name: name.map(str::to_owned) }
    }

    #[test]
    fn a_role_repeats_nothing_that_the_cluster_role_gives() {
        let system = || Where::Namespace("kube-system".to_owned());
        let rights = BTreeSet::from([
            right(Where::Cluster, "configmaps", "get", None),
            right(Where::Cluster, "pods", "list", None),
            right(system(), "configmaps", "get", Some("one")),
            right(system(), "pods", "list", None),
            right(system(), "secrets", "list", None),
        ]);
        let objects = objects("x", &rights, &[]);
        let roles: Vec<_> = objects.iter().filter(|object| object["kind"] == "Role").collect();
        assert_eq!(roles.len(), 1);
        assert_eq!(roles[0]["rules"], json!([{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]));
    }

    #[test]
    fn subjects_are_written_as_a_binding_wants_them() {
        assert_eq!(subject("sa:audit:bot").map(|s| s.0["namespace"].clone()), Ok(json!("audit")));
        assert_eq!(subject("group:a:b").map(|s| s.0["name"].clone()), Ok(json!("a:b")));
        for text in ["bot", "user:", "serviceaccount:bot", "role:x"] {
            assert!(subject(text).is_err(), "{text}");
        }
    }
}
