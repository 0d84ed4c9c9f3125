//! Which kubeconfig, which context, and what kubectl's flags change about it.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, ExecAuthCluster, ExecConfig, Kubeconfig, KubeconfigError};

use super::proxy::{self, ProxyVariables};
use super::{AuthKind, ConnectOptions, ConnectionInfo, credentials, fault};
use crate::snapshot::{Fault, FaultKind};

/// Names listed in an error.
const LISTED: usize = 10;

/// What the environment says; a value, so that tests need not change the process's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    pub(super) kubeconfig: Option<std::ffi::OsString>,
    pub(super) home: Option<PathBuf>,
    pub(super) in_cluster: bool,
    pub(super) proxies: ProxyVariables,
}

impl Environment {
    pub(super) fn read() -> Self {
        Self {
            kubeconfig: std::env::var_os("KUBECONFIG").filter(|value| !value.is_empty()),
            home: std::env::home_dir(),
            in_cluster: std::env::var_os("KUBERNETES_SERVICE_HOST").is_some(),
            proxies: ProxyVariables::from_env(),
        }
    }
}

/// Everything needed to connect, read but not yet used.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) config: Config,
    pub(super) info: ConnectionInfo,
    pub(super) exec: Option<ExecConfig>,
}

/// Reads files; to be called off the async threads.
pub(super) fn load(options: &ConnectOptions, environment: &Environment) -> Result<Target, Fault> {
    let files = Files::choose(options, environment)?;
    let (merged, found) = files.read()?;
    let empty = merged.contexts.is_empty() && merged.clusters.is_empty() && merged.auth_infos.is_empty();
    if empty && options.server.is_none() && options.context.is_none() {
        return in_cluster(options, environment, &files, found);
    }
    let selected = select(&merged, options, &files)?;
    target(selected, options, environment)
}

struct Files {
    paths: Vec<PathBuf>,
    /// Named on the command line: it must exist.
    required: bool,
}

impl Files {
    fn choose(options: &ConnectOptions, environment: &Environment) -> Result<Self, Fault> {
        if let Some(path) = options.kubeconfig.as_ref().filter(|path| !path.as_os_str().is_empty()) {
            return Ok(Self { paths: vec![path.clone()], required: true });
        }
        let paths = match &environment.kubeconfig {
            Some(list) => std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect(),
            None => environment.home.iter().map(|home| home.join(".kube").join("config")).collect(),
        };
        Ok(Self { paths, required: false })
    }

    /// Merges as kubectl does: whoever names something first wins. Says too whether there was any file.
    fn read(&self) -> Result<(Kubeconfig, bool), Fault> {
        let mut merged = Kubeconfig::default();
        let mut found = false;
        for path in &self.paths {
            let next = match read_one(path) {
                Ok(Some(next)) => next,
                Ok(None) if self.required => {
                    return Err(Fault::new(FaultKind::Malformed, format!("kubeconfig {} does not exist", shown(path))));
                }
                Ok(None) => continue,
                Err(fault) => return Err(fault),
            };
            found = true;
            extend(&mut merged.clusters, next.clusters, |entry| &entry.name);
            extend(&mut merged.contexts, next.contexts, |entry| &entry.name);
            extend(&mut merged.auth_infos, next.auth_infos, |entry| &entry.name);
            merged.current_context = nonempty(merged.current_context).or(nonempty(next.current_context));
        }
        Ok((merged, found))
    }

    fn names(&self) -> String {
        match self.paths.as_slice() {
            [] => "no file".to_owned(),
            paths => paths.iter().take(LISTED).map(|path| shown(path)).collect::<Vec<_>>().join(", "),
        }
    }
}

fn extend<T>(into: &mut Vec<T>, from: Vec<T>, name: impl Fn(&T) -> &String) {
    for entry in from {
        if !into.iter().any(|known| name(known) == name(&entry)) {
            into.push(entry);
        }
    }
}

fn nonempty(value: Option<String>) -> Option<String> {
    value.filter(|value| !value.is_empty())
}

fn shown(path: &Path) -> String {
    fault::clean(&path.display().to_string(), 200)
}

fn read_one(path: &Path) -> Result<Option<Kubeconfig>, Fault> {
    // kube's own messages quote the file, which holds secrets: only the position is taken from them.
    Kubeconfig::read_from(path).map(Some).or_else(|error| match error {
        KubeconfigError::ReadConfig(error, _) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        KubeconfigError::ReadConfig(error, _) => Err(unreadable("kubeconfig", path, &error)),
        KubeconfigError::Parse(error) => {
            let at = error.location().map(|location| format!(" at line {}", location.line())).unwrap_or_default();
            Err(Fault::new(FaultKind::Malformed, format!("kubeconfig {} is not valid{at}", shown(path)))
                .hint("   kubectl config view"))
        }
        _ => Err(Fault::new(FaultKind::Malformed, format!("kubeconfig {} is not valid", shown(path)))),
    })
}

fn unreadable(what: &str, path: &Path, error: &std::io::Error) -> Fault {
    let why = match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist",
        std::io::ErrorKind::PermissionDenied => "may not be read",
        std::io::ErrorKind::IsADirectory => "is a folder",
        std::io::ErrorKind::InvalidData => "is not text",
        _ => "cannot be read",
    };
    Fault::new(FaultKind::Malformed, format!("{what} {} {why}", shown(path)))
}

#[derive(Debug)]
struct Selected {
    context: Option<String>,
    cluster_name: Option<String>,
    user_name: Option<String>,
    namespace: Option<String>,
    cluster: Cluster,
    user: AuthInfo,
}

fn select(merged: &Kubeconfig, options: &ConnectOptions, files: &Files) -> Result<Selected, Fault> {
    let context_name = nonempty(options.context.clone()).or(nonempty(merged.current_context.clone()));
    let context = match &context_name {
        Some(name) => Some(find_context(merged, name, options.context.is_some(), files)?),
        // `--server` (with `--token`, say) and `--cluster` are enough without any context.
        None if options.server.is_some() || options.cluster.is_some() => None,
        None => {
            let mut fault =
                Fault::new(FaultKind::Unauthenticated, format!("no current context is set in {}", files.names()));
            if let Some(known) = listed(merged.contexts.iter().map(|context| context.name.as_str())) {
                fault = fault.hint(format!("contexts: {known}"));
            }
            return Err(fault.hint("   kubectl config get-contexts").hint("   kubectl config use-context <context>"));
        }
    };
    let cluster_name = nonempty(options.cluster.clone())
        .or_else(|| context.as_ref().and_then(|context| nonempty(Some(context.cluster.clone()))));
    let cluster = match &cluster_name {
        Some(name) => match merged.clusters.iter().find(|cluster| &cluster.name == name) {
            Some(entry) => entry.cluster.clone().unwrap_or_default(),
            None => {
                return Err(missing("cluster", name, context_name.as_deref().filter(|_| options.cluster.is_none())));
            }
        },
        None => Cluster::default(),
    };
    let user_name =
        nonempty(options.user.clone()).or_else(|| context.as_ref().and_then(|context| nonempty(context.user.clone())));
    let user = match &user_name {
        Some(name) => match merged.auth_infos.iter().find(|user| &user.name == name) {
            Some(entry) => entry.auth_info.clone().unwrap_or_default(),
            None => return Err(missing("user", name, context_name.as_deref().filter(|_| options.user.is_none()))),
        },
        None => AuthInfo::default(),
    };
    let namespace = context.and_then(|context| nonempty(context.namespace));
    Ok(Selected { context: context_name, cluster_name, user_name, namespace, cluster, user })
}

fn find_context(merged: &Kubeconfig, name: &str, asked: bool, files: &Files) -> Result<Context, Fault> {
    if let Some(entry) = merged.contexts.iter().find(|context| context.name == name) {
        return Ok(entry.context.clone().unwrap_or_default());
    }
    let whence = if asked { String::new() } else { ", which is the current one,".to_owned() };
    let mut fault = Fault::new(
        FaultKind::Unauthenticated,
        format!("the context {}{whence} is not in {}", fault::clean(name, 100), files.names()),
    );
    if let Some(known) = listed(merged.contexts.iter().map(|context| context.name.as_str())) {
        fault = fault.hint(format!("contexts: {known}"));
    }
    Err(fault.hint("   kubectl config get-contexts"))
}

fn missing(what: &str, name: &str, context: Option<&str>) -> Fault {
    let name = fault::clean(name, 100);
    let message = match context {
        Some(context) => {
            format!("the kubeconfig has no {what} {name}, which context {} uses", fault::clean(context, 100))
        }
        None => format!("the kubeconfig has no {what} {name}"),
    };
    Fault::new(FaultKind::Unauthenticated, message).hint("   kubectl config view")
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> Option<String> {
    let names: Vec<&str> = names.collect();
    if names.is_empty() {
        return None;
    }
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| fault::clean(name, 80)).collect();
    let more = names.len() - shown.len();
    Some(if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) })
}

fn target(mut selected: Selected, options: &ConnectOptions, environment: &Environment) -> Result<Target, Fault> {
    override_cluster(&mut selected.cluster, options);
    override_user(&mut selected.user, options);
    let cluster = &selected.cluster;
    let server = cluster
        .server
        .as_deref()
        .map(str::trim)
        .filter(|server| !server.is_empty())
        .ok_or_else(|| Fault::new(FaultKind::Malformed, "the kubeconfig's cluster has no server address"))?;
    let tls_wanted = cluster.certificate_authority.is_some()
        || cluster.certificate_authority_data.is_some()
        || cluster.insecure_skip_tls_verify == Some(true)
        || selected.user.client_certificate.is_some()
        || selected.user.client_certificate_data.is_some();
    let url = server_url(server, tls_wanted)?;
    let mut config = Config::new(url.clone());
    config.accept_invalid_certs = cluster.insecure_skip_tls_verify.unwrap_or(false);
    config.disable_compression = cluster.disable_compression.unwrap_or(false);
    config.tls_server_name = nonempty(cluster.tls_server_name.clone());
    config.proxy_url = proxy::choose(&url, cluster.proxy_url.as_deref(), &environment.proxies)?;
    if !config.accept_invalid_certs {
        config.root_cert = authorities(cluster)?;
    }
    check_certificate_files(&selected.user)?;
    read_token_file(&mut selected.user)?;
    check_impersonation(&selected.user)?;

    let mut exec = selected.user.exec.take();
    // A token or password given explicitly wins over the plugin, and then the plugin is not run.
    if selected.user.token.is_some() || selected.user.username.is_some() {
        exec = None;
    }
    if let Some(exec) = &mut exec
        && exec.provide_cluster_info
    {
        exec.cluster = ExecAuthCluster::try_from(cluster).ok();
    }
    let resource_group = resource_group(selected.user_name.as_deref(), selected.cluster_name.as_deref());
    let info = ConnectionInfo {
        context: selected.context,
        server: display_url(&url),
        namespace: selected.namespace.unwrap_or_else(|| "default".to_owned()),
        auth: auth_kind(&selected.user, exec.as_ref()),
        cluster_name: selected.cluster_name,
        resource_group,
        user: selected.user_name,
    };
    config.default_namespace.clone_from(&info.namespace);
    config.auth_info = selected.user;
    Ok(Target { config, info, exec })
}

fn override_cluster(cluster: &mut Cluster, options: &ConnectOptions) {
    if let Some(server) = nonempty(options.server.clone()) {
        cluster.server = Some(server);
        // As kubectl: the name to expect belongs to the address it was written for.
        cluster.tls_server_name = None;
    }
    if let Some(name) = nonempty(options.tls_server_name.clone()) {
        cluster.tls_server_name = Some(name);
    }
    if let Some(path) = &options.certificate_authority {
        cluster.certificate_authority = Some(path.to_string_lossy().into_owned());
        cluster.certificate_authority_data = None;
        cluster.insecure_skip_tls_verify = None;
    }
    if options.insecure_skip_tls_verify {
        cluster.insecure_skip_tls_verify = Some(true);
    }
}

fn override_user(user: &mut AuthInfo, options: &ConnectOptions) {
    if let Some(token) = nonempty(options.token.clone()) {
        user.token = Some(token.into());
        user.token_file = None;
        user.username = None;
        user.password = None;
        user.auth_provider = None;
    }
    if let Some(path) = &options.client_certificate {
        user.client_certificate = Some(path.to_string_lossy().into_owned());
        user.client_certificate_data = None;
    }
    if let Some(path) = &options.client_key {
        user.client_key = Some(path.to_string_lossy().into_owned());
        user.client_key_data = None;
    }
    if let Some(name) = nonempty(options.as_user.clone()) {
        user.impersonate = Some(name);
        // What the kubeconfig says about impersonation belongs to the user it names.
        user.impersonate_groups = None;
        user.impersonate_uid = None;
        user.impersonate_user_extra = None;
    }
    if !options.as_groups.is_empty() {
        user.impersonate_groups = Some(options.as_groups.clone());
    }
    if let Some(uid) = nonempty(options.as_uid.clone()) {
        user.impersonate_uid = Some(uid);
    }
    // Written by older tools as empty strings, which kube would take for values.
    user.token_file = nonempty(user.token_file.take());
    user.client_certificate = nonempty(user.client_certificate.take());
    user.client_certificate_data = nonempty(user.client_certificate_data.take());
    user.client_key = nonempty(user.client_key.take());
    user.username = nonempty(user.username.take());
    user.impersonate = nonempty(user.impersonate.take());
}

fn auth_kind(user: &AuthInfo, exec: Option<&ExecConfig>) -> AuthKind {
    if let Some(exec) = exec {
        credentials::describe(exec)
    } else if let Some(provider) = &user.auth_provider {
        AuthKind::Provider(fault::clean(&provider.name, 40))
    } else if user.username.is_some() {
        AuthKind::Basic
    } else if user.token.is_some() || user.token_file.is_some() {
        AuthKind::Token
    } else if user.client_certificate.is_some() || user.client_certificate_data.is_some() {
        AuthKind::ClientCertificate
    } else {
        AuthKind::None
    }
}

/// `az aks get-credentials` names its users `clusterUser_GROUP_CLUSTER` and `clusterAdmin_GROUP_CLUSTER`.
fn resource_group(user: Option<&str>, cluster: Option<&str>) -> Option<String> {
    let (user, cluster) = (user?, cluster?);
    let rest = user.strip_prefix("clusterUser_").or_else(|| user.strip_prefix("clusterAdmin_"))?;
    let group = rest.strip_suffix(cluster)?.strip_suffix('_')?;
    (!group.is_empty()).then(|| group.to_owned())
}

/// The server's address as kubectl reads it: a missing scheme is https only where something about TLS is configured.
fn server_url(server: &str, tls_wanted: bool) -> Result<Uri, Fault> {
    let full = if server.contains("://") {
        server.to_owned()
    } else {
        format!("{}://{server}", if tls_wanted { "https" } else { "http" })
    };
    let uri: Uri = full.parse().map_err(|_| bad_server())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none_or(str::is_empty) {
        return Err(bad_server());
    }
    // A proxied connection would otherwise take 443 for plain http too.
    if uri.scheme_str() == Some("http") && uri.port().is_none() {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        return format!("http://{}:80{path}", uri.host().unwrap_or("")).parse().map_err(|_| bad_server());
    }
    Ok(uri)
}

fn bad_server() -> Fault {
    Fault::new(FaultKind::Malformed, "the server address is not a URL like https://host:443")
}

/// Without user name and password, which nobody should write there but somebody will.
fn display_url(uri: &Uri) -> String {
    let port = uri.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = uri.path().trim_end_matches('/');
    fault::clean(&format!("{}://{}{port}{path}", uri.scheme_str().unwrap_or("https"), uri.host().unwrap_or("")), 200)
}

fn authorities(cluster: &Cluster) -> Result<Option<Vec<Vec<u8>>>, Fault> {
    let pem = if let Some(data) = cluster.certificate_authority_data.as_deref().filter(|data| !data.is_empty()) {
        STANDARD.decode(data.split_whitespace().collect::<String>()).map_err(|_| {
            Fault::new(FaultKind::Malformed, "certificate-authority-data of the kubeconfig is not base64")
        })?
    } else if let Some(file) = cluster.certificate_authority.as_deref().filter(|file| !file.is_empty()) {
        std::fs::read(file).map_err(|error| unreadable("certificate authority", Path::new(file), &error))?
    } else {
        return Ok(None);
    };
    let found = certificates(&String::from_utf8_lossy(&pem));
    if found.is_empty() {
        return Err(Fault::new(FaultKind::Malformed, "the kubeconfig's certificate authority holds no certificate"));
    }
    Ok(Some(found))
}

/// The DER of every certificate in a PEM text; other blocks are passed over.
fn certificates(pem: &str) -> Vec<Vec<u8>> {
    pem.split("-----BEGIN CERTIFICATE-----")
        .skip(1)
        .filter_map(|block| block.split_once("-----END CERTIFICATE-----"))
        .filter_map(|(body, _)| STANDARD.decode(body.split_whitespace().collect::<String>()).ok())
        .collect()
}

/// Names the file that cannot be read; kube would only say that loading failed.
fn check_certificate_files(user: &AuthInfo) -> Result<(), Fault> {
    let certificate = user.client_certificate.as_deref().filter(|_| user.client_certificate_data.is_none());
    let key = user.client_key.as_deref().filter(|_| user.client_key_data.is_none());
    for (what, file) in [("client certificate", certificate), ("client key", key)] {
        if let Some(file) = file {
            std::fs::File::open(file).map_err(|error| unreadable(what, Path::new(file), &error))?;
        }
    }
    Ok(())
}

/// Reads a token file as kubectl does, without the line's end that an editor leaves; kube would send it.
fn read_token_file(user: &mut AuthInfo) -> Result<(), Fault> {
    let Some(file) = user.token_file.take().filter(|_| user.token.is_none()) else { return Ok(()) };
    let path = Path::new(&file);
    let text = std::fs::read_to_string(path).map_err(|error| unreadable("token file", path, &error))?;
    user.token = Some(text.trim().to_owned().into());
    Ok(())
}

/// The API server would answer with an error that does not name the flag.
fn check_impersonation(user: &AuthInfo) -> Result<(), Fault> {
    let more =
        user.impersonate_uid.is_some() || user.impersonate_groups.as_ref().is_some_and(|groups| !groups.is_empty());
    if more && user.impersonate.is_none() {
        return Err(Fault::new(FaultKind::Malformed, "--as-group and --as-uid need --as"));
    }
    Ok(())
}

fn in_cluster(
    options: &ConnectOptions,
    environment: &Environment,
    files: &Files,
    found: bool,
) -> Result<Target, Fault> {
    if !environment.in_cluster {
        let names = files.names();
        let message = if found {
            format!("the kubeconfig names no cluster ({names}) and this is not a pod")
        } else {
            format!("there is no kubeconfig (looked for {names}) and this is not a pod")
        };
        return Err(Fault::new(FaultKind::Unauthenticated, message)
            .hint("name one with --kubeconfig or KUBECONFIG, or fetch one")
            .hint("   az aks get-credentials -g <resource-group> -n <cluster>"));
    }
    let mut config = Config::incluster().map_err(|_| {
        Fault::new(FaultKind::Unauthenticated, "there is no kubeconfig, and this pod has no service account mounted")
    })?;
    config.proxy_url = proxy::choose(&config.cluster_url, None, &environment.proxies)?;
    override_user(&mut config.auth_info, options);
    check_impersonation(&config.auth_info)?;
    if options.insecure_skip_tls_verify {
        config.accept_invalid_certs = true;
        config.root_cert_file = None;
    }
    if let Some(name) = nonempty(options.tls_server_name.clone()) {
        config.tls_server_name = Some(name);
    }
    let info = ConnectionInfo {
        context: None,
        user: None,
        server: display_url(&config.cluster_url),
        namespace: config.default_namespace.clone(),
        auth: if options.token.is_some() { AuthKind::Token } else { AuthKind::InCluster },
        cluster_name: None,
        resource_group: None,
    };
    Ok(Target { config, info, exec: None })
}

#[cfg(test)]
#[path = "kubeconfig_tests.rs"]
mod tests;
