//! From a proxy's answers to the rows of the report.

use jiff::Timestamp;

use super::What;
use crate::mesh::proxy_config::{self, Filter, clusters, endpoints, listeners, routes, secrets};
use crate::model::envoy::{Logger, Node, Part, ProxyAnswers, Stage};
use crate::report::proxy_config_view::{
    BootstrapView, ChainView, ClusterView, ConfiguredEndpointView, EndpointView, ExtensionView, ListenerView,
    LoggerView, ProxyConfigView, ProxyView, RouteView, SecretView,
};

/// The rows that were asked for.
pub(super) fn view(
    answers: &ProxyAnswers,
    what: What,
    filter: &Filter,
    now: Timestamp,
    loggers: Option<&[Logger]>,
) -> ProxyConfigView {
    let of = |kind: What| what == kind || what == What::All && answers.has_dump;
    let has = |parts: &[Part]| answers.has(parts);
    // Of all, the endpoints as they are now; where only the configured ones are known, those.
    let hosts = what == What::Endpoints || what == What::All && has(&[Part::Hosts]);
    let eds = what == What::Eds || what == What::All && !hosts && has(&[Part::DynamicEndpoints, Part::StaticEndpoints]);
    let ecds = what == What::Ecds || what == What::All && has(&[Part::Extensions]);
    ProxyConfigView {
        proxy: proxy(answers),
        bootstrap: answers.bootstrap.as_ref().filter(|_| of(What::Bootstrap)).map(|found| bootstrap(&found.node)),
        clusters: of(What::Clusters).then(|| clusters::rows(answers, filter).into_iter().map(cluster).collect()),
        listeners: of(What::Listeners).then(|| listeners::rows(answers, filter).into_iter().map(listener).collect()),
        routes: of(What::Routes).then(|| routes::rows(answers, filter).into_iter().map(route).collect()),
        endpoints: hosts.then(|| endpoints::rows(answers, filter).into_iter().map(endpoint).collect()),
        eds: eds.then(|| endpoints::configured(answers, filter).into_iter().map(configured).collect()),
        secrets: of(What::Secrets).then(|| secrets::rows(answers).iter().map(|row| secret(row, now)).collect()),
        ecds: ecds.then(|| proxy_config::extensions(answers).into_iter().map(extension).collect()),
        loggers: loggers.map(|all| all.iter().map(logger).collect()),
    }
}

fn text(value: Option<&str>) -> Option<String> {
    value.map(str::to_owned)
}

fn proxy(answers: &ProxyAnswers) -> ProxyView {
    let node = answers.bootstrap.as_ref().map(|bootstrap| &bootstrap.node);
    let pod = answers.pod();
    ProxyView {
        name: pod.map(|(_, name)| name.to_owned()),
        namespace: pod.map(|(namespace, _)| namespace.to_owned()),
        kind: text(node.and_then(Node::identity).map(|(kind, ..)| kind)),
        istio_version: text(node.and_then(Node::istio_version)),
        envoy_version: node
            .map(|node| proxy_config::envoy_version(node).split('/').next().unwrap_or_default().to_owned())
            .filter(|version| version != "0.0.0"),
    }
}

fn bootstrap(node: &Node) -> BootstrapView {
    BootstrapView {
        node: node.id.clone(),
        istio_proxy_sha: text(node.istio_proxy_sha()),
        envoy_build: Some(proxy_config::envoy_version(node)),
        revision: text(node.revision()),
        discovery_address: text(node.discovery_address()),
        mesh_id: text(node.mesh_id()),
        cluster_id: text(node.cluster_id()),
        service_account: text(node.service_account()),
        interception_mode: text(node.interception_mode()),
    }
}

fn stage(stage: Stage) -> String {
    match stage {
        Stage::Static => "static",
        Stage::Active => "active",
        Stage::Warming => "warming",
    }
    .to_owned()
}

fn cluster(row: clusters::ClusterRow) -> ClusterView {
    ClusterView {
        name: row.name,
        service_fqdn: row.fqdn,
        port: row.port,
        subset: row.subset,
        direction: row.direction,
        kind: row.kind,
        destination_rule: row.destination_rule,
        state: stage(row.stage),
        endpoints: row.endpoints,
    }
}

fn listener(row: listeners::ListenerRow) -> ListenerView {
    let chains = row.chains.into_iter().map(|(matches, destination)| ChainView { matches, destination });
    ListenerView {
        name: row.name,
        addresses: row.addresses,
        port: row.port,
        kind: row.kind.to_owned(),
        state: stage(row.stage),
        chains: chains.collect(),
    }
}

fn route(row: routes::RouteRow) -> RouteView {
    RouteView {
        name: row.name,
        virtual_host: row.virtual_host,
        domains: row.domains,
        matches: row.path,
        virtual_service: row.virtual_service,
        clusters: row.clusters,
    }
}

fn endpoint(row: endpoints::EndpointRow) -> EndpointView {
    EndpointView {
        endpoint: row.address,
        status: row.status,
        outlier_check: if row.is_ejected { "FAILED" } else { "OK" }.to_owned(),
        cluster: row.cluster,
        reasons: row.reasons.into_iter().map(str::to_owned).collect(),
        locality: row.locality,
        connections: row.connections,
        failed_connections: row.failed_connections,
        failed_requests: row.failed_requests,
    }
}

fn configured(row: endpoints::ConfiguredRow) -> ConfiguredEndpointView {
    ConfiguredEndpointView { name: row.name, status: row.status, locality: row.locality, cluster: row.cluster }
}

fn secret(row: &secrets::SecretRow, now: Timestamp) -> SecretView {
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let own = row.certificate.as_ref();
    SecretView {
        resource_name: row.name.clone(),
        kind: row.kind().to_owned(),
        status: stage(row.stage).to_uppercase(),
        valid_cert: row.is_valid(now),
        serial_number: own.map(|own| own.serial.clone()).unwrap_or_default(),
        not_after: own.map(|own| time(own.not_after)).unwrap_or_default(),
        not_before: own.map(|own| time(own.not_before)).unwrap_or_default(),
        trust_domain: row.trust_domain.clone().filter(|_| own.is_some()),
    }
}

fn logger(logger: &Logger) -> LoggerView {
    LoggerView { name: logger.name.clone(), level: logger.level.clone() }
}

fn extension(row: proxy_config::ExtensionRow) -> ExtensionView {
    ExtensionView { name: row.name, kind: row.kind }
}
