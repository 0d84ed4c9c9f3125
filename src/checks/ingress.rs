//! ING: ingress gateways.

use std::collections::BTreeMap;

use super::remedies::{names, quote};
use crate::engine::finding::KeyKind;
use crate::engine::{Area, Check, Finding, Lens, Missing, Remedy, Risk, Severity, Step, Subject, Verdict};
use crate::mesh::azure::{LoadBalancerFault, denied_scope, load_balancer_fault};
use crate::mesh::istiod::{SETTLING_SECONDS, is_within};
use crate::mesh::scaling::Part;
use crate::model::{Controller, Event, Service};
use crate::snapshot::SourceId;

/// Checks of this area.
pub static CHECKS: &[&Check] = &[&NO_ADDRESS, &NO_READY_GATEWAY];

/// Azure takes a minute or two for a load balancer's address.
const ADDRESS_SECONDS: i64 = 3 * 60;

fn service_key(namespace: &str, name: &str) -> String {
    format!("Service/{namespace}/{name}")
}

static NO_ADDRESS: Check = Check {
    code: "ING01",
    name: "gateway-without-address",
    title: "Every gateway's load balancer has an address",
    area: Area::Ingress,
    severity: Severity::Error,
    inputs: &[SourceId::GatewayServices],
    uses: &[SourceId::SuspectEvents],
    docs: "## What it means
The Service of a gateway is of type LoadBalancer and has no address: clients outside the cluster cannot reach the gateway.

## Why it happens on AKS
Azure could not set up the load balancer: the cluster's identity may not use the subnet or the public IP address, the annotations name an address or subnet that does not exist, the address is of SKU Basic, a limit is reached, or a policy forbids it.

## How we know
`status.loadBalancer.ingress` is empty more than three minutes after the Service was created. The newest event `SyncLoadBalancerFailed` is Azure's own answer, where events can be read.

## What to do
The event names the cause. AKS keeps the annotations `azure-pip-name`, `azure-load-balancer-resource-group`, `azure-load-balancer-internal-subnet` and `azure-load-balancer-ipv4` that you set on the Service; most others it removes. The controller tries again by itself.

## What else looks like it
If the Service has an address that does not answer, look at the gateway's pods (ING02) and at the load balancer's health probes.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-ingress>, <https://learn.microsoft.com/azure/aks/static-ip>, <https://learn.microsoft.com/azure/aks/internal-lb>, <https://learn.microsoft.com/troubleshoot/azure/load-balancer/load-balancer-common-deployment-errors>, <https://github.com/istio/istio/issues/33910>",
    run: no_address,
};

fn no_address(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::GatewayServices])?;
    let events = lens.optional(SourceId::SuspectEvents, &lens.snapshot().suspect_events);
    // The add-on's Services are listed twice, by namespace and by label.
    let services: BTreeMap<_, &Service> = lens
        .snapshot()
        .gateway_services
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|service| service.spec.kind == "LoadBalancer" && service.metadata.deletion_timestamp.is_none())
        .map(|service| ((&service.metadata.namespace, &service.metadata.name), service))
        .collect();
    let mut verdict = Verdict { examined: services.len(), ..Verdict::default() };
    for ((namespace, name), service) in services {
        if !service.status.load_balancer.ingress.is_empty()
            || is_within(service.metadata.creation_timestamp, lens.now(), ADDRESS_SECONDS)
        {
            continue;
        }
        let event = last_failure(events, namespace, name);
        let message = event.map(|event| event.message.as_str()).unwrap_or_default();
        let fault = load_balancer_fault(message);
        let mut finding = Finding::new(
            Subject::new("Service", namespace, name),
            format!("service {name} has no load balancer address"),
            match fault {
                Some(fault) => format!("Clients outside the cluster cannot reach this gateway: {}.", fault.meaning()),
                None => "Clients outside the cluster cannot reach this gateway.".to_owned(),
            },
        )
        .key(KeyKind::Object, service_key(namespace, name))
        .remedy(Remedy::new("repair what Azure names", steps(namespace, name, fault, message)))
        .evidence(
            SourceId::GatewayServices,
            format!("{namespace}/service/{name}"),
            "status.loadBalancer.ingress",
            "empty",
            Some("one address"),
        );
        if let Some(event) = event {
            let field = format!("event {}", event.reason);
            finding = finding.evidence(
                SourceId::SuspectEvents,
                format!("{namespace}/service/{name}"),
                field,
                quote(message),
                None,
            );
        }
        verdict.findings.push(finding);
    }
    Ok(verdict)
}

fn last_failure<'e>(events: &'e [Event], namespace: &str, name: &str) -> Option<&'e Event> {
    events
        .iter()
        .filter(|event| {
            let about = &event.involved_object;
            event.reason == "SyncLoadBalancerFailed"
                && (about.kind.as_str(), about.name.as_str()) == ("Service", name)
                && event.metadata.namespace == namespace
        })
        .max_by_key(|event| (event.last_seen(), &event.metadata.name))
}

fn steps(namespace: &str, name: &str, fault: Option<LoadBalancerFault>, message: &str) -> Vec<Step> {
    use LoadBalancerFault as Fault;
    let annotate = |text: &str, annotation: &str| {
        let annotation = format!("service.beta.kubernetes.io/{annotation}");
        Step::command(
            Risk::Change,
            text,
            ["kubectl", "annotate", "service", name, "-n", namespace, &annotation, "--overwrite"],
        )
    };
    let addresses = || {
        Step::command(
            Risk::Read,
            "shows the public IP addresses with resource group, SKU and user",
            [
                "az",
                "network",
                "public-ip",
                "list",
                "--query",
                "[].{name:name,group:resourceGroup,address:ipAddress,sku:sku.name,usedBy:ipConfiguration.id}",
                "-o",
                "table",
            ],
        )
    };
    let subnets = || {
        Step::command(
            Risk::Read,
            "shows the subnets of the network and their address ranges",
            [
                "az",
                "network",
                "vnet",
                "subnet",
                "list",
                "-g",
                "<resource-group>",
                "--vnet-name",
                "<virtual-network>",
                "-o",
                "table",
            ],
        )
    };
    let describe = || {
        Step::command(
            Risk::Read,
            "shows the Service's annotations and last events",
            ["kubectl", "describe", "service", name, "-n", namespace],
        )
    };
    match fault {
        None | Some(Fault::Throttled) => vec![describe()],
        Some(Fault::NotAuthorized) => vec![
            Step::command(
                Risk::Read,
                "shows the cluster's identity; its principalId needs the role",
                ["az", "aks", "show", "-g", "<resource-group>", "-n", "<cluster>", "--query", "identity", "-o", "json"],
            ),
            Step::command(
                Risk::Change,
                "lets it use the subnet or address; keep the scope as narrow as this",
                [
                    "az",
                    "role",
                    "assignment",
                    "create",
                    "--role",
                    "Network Contributor",
                    "--assignee-object-id",
                    "<principal-id>",
                    "--assignee-principal-type",
                    "ServicePrincipal",
                    "--scope",
                    denied_scope(message).unwrap_or("<resource-id>"),
                ],
            ),
        ],
        Some(Fault::SkuMismatch) => {
            vec![
                addresses(),
                annotate("makes the Service use an address of SKU Standard", "azure-pip-name=<public-ip>"),
            ]
        }
        Some(Fault::PublicIpNotFound | Fault::PublicIpInUse) => vec![
            addresses(),
            annotate("makes the Service use an address that exists and is free", "azure-pip-name=<public-ip>"),
            annotate(
                "names the address's resource group, if it is not that of the nodes",
                "azure-load-balancer-resource-group=<resource-group>",
            ),
        ],
        Some(Fault::Quota) => vec![
            Step::command(
                Risk::Read,
                "shows the subscription's network limits and what is used",
                ["az", "network", "list-usages", "--location", "<location>", "-o", "table"],
            ),
            Step::text(
                Risk::Change,
                "release addresses that nobody uses, or have the limit raised in the Azure portal",
            ),
        ],
        Some(Fault::SubnetNotFound | Fault::SubnetFull) => vec![
            subnets(),
            annotate(
                "makes the Service use a subnet of the cluster's network that has room",
                "azure-load-balancer-internal-subnet=<subnet>",
            ),
        ],
        Some(Fault::PrivateAddress) => {
            vec![
                subnets(),
                annotate("makes the Service use a free address of that subnet", "azure-load-balancer-ipv4=<address>"),
            ]
        }
        Some(Fault::Policy) => vec![
            Step::command(
                Risk::Read,
                "shows the policies that apply to the subscription; the event names the one that denies",
                ["az", "policy", "assignment", "list", "--disable-scope-strict-match", "-o", "table"],
            ),
            Step::text(Risk::Change, "have the cluster's node resource group exempted from that policy"),
        ],
        Some(Fault::Locked) => vec![Step::command(
            Risk::Read,
            "shows the locks; the one on the cluster's node resource group must go",
            ["az", "lock", "list", "-o", "table"],
        )],
        Some(Fault::NodeNotFound) => vec![
            Step::command(
                Risk::Read,
                "shows the nodes that Kubernetes lists; one of them is gone in Azure",
                ["kubectl", "get", "nodes", "-o", "wide"],
            ),
            describe(),
        ],
    }
}

static NO_READY_GATEWAY: Check = Check {
    code: "ING02",
    name: "gateway-without-ready-pod",
    title: "Every ingress gateway has a ready pod",
    area: Area::Ingress,
    severity: Severity::Error,
    inputs: &[SourceId::GatewayDeployments, SourceId::GatewayServices],
    uses: &[],
    docs: "## What it means
No pod of an ingress gateway is ready. If that is so for all revisions behind the gateway's Service, all calls that come in fail. If it is so for one of them, the others serve the traffic.

## Why it happens on AKS
A gateway becomes ready when istiod has sent its first configuration. Without a ready istiod of its revision that never happens. Otherwise its pods have no node, or the revision's injector did not fill in their proxy.

## How we know
A Deployment `aks-istio-ingressgateway-…-REVISION` in `aks-istio-ingress` wants pods, has none ready, and is older than five minutes. The Services whose selector matches its pods show which other Deployments share the load.

## What to do
Repair istiod first, if CP01 or CP06 is found. Otherwise read the state of the gateway's pods.

## What else looks like it
Ready pods and yet no traffic: look at the address (ING01), at the Gateway's selector, and at the load balancer's health probes.

## Sources
<https://learn.microsoft.com/azure/aks/istio-deploy-ingress>, <https://learn.microsoft.com/troubleshoot/azure/azure-kubernetes/extensions/istio-add-on-ingress-gateway>",
    run: no_ready_gateway,
};

/// A gateway of one revision.
struct Gateway<'a> {
    deployment: &'a Controller,
    service: &'a str,
    revision: Option<&'a str>,
}

fn no_ready_gateway(lens: &Lens<'_>) -> Result<Verdict, Missing> {
    lens.need(&[SourceId::GatewayDeployments, SourceId::GatewayServices])?;
    let services = lens.snapshot().gateway_services.items().unwrap_or_default();
    let mut by_service: BTreeMap<(&str, &str), Vec<Gateway<'_>>> = BTreeMap::new();
    let mut verdict = Verdict::default();
    for deployment in lens.snapshot().gateway_deployments.items().unwrap_or_default() {
        let meta = &deployment.metadata;
        let Some(Part::Gateway { service, revision }) = Part::of(&meta.namespace, &meta.name) else { continue };
        if meta.deletion_timestamp.is_some() || deployment.desired == Some(0) {
            continue;
        }
        verdict.examined += 1;
        let selecting = services.iter().find(|service| selects(service, deployment));
        let service = selecting.map_or(service, |service| service.metadata.name.as_str());
        by_service.entry((&meta.namespace, service)).or_default().push(Gateway { deployment, service, revision });
    }
    for ((namespace, service), gateways) in by_service {
        let down = |gateway: &&Gateway<'_>| {
            let age = gateway.deployment.metadata.creation_timestamp;
            gateway.deployment.ready == 0 && !is_within(age, lens.now(), SETTLING_SECONDS)
        };
        let unready: Vec<_> = gateways.iter().filter(down).collect();
        if !unready.is_empty() && gateways.iter().all(|gateway| gateway.deployment.ready == 0) {
            let subject = Subject::new("Service", namespace, service);
            let summary = format!("service {service} has no ready gateway pod");
            verdict.findings.push(finding(subject, summary, "All calls that come in through it fail.", &unready));
            continue;
        }
        for gateway in unready {
            let name = &gateway.deployment.metadata.name;
            let subject = Subject::new("Deployment", namespace, name);
            let others = gateways.iter().filter(|other| other.deployment.ready > 0);
            let others = names(others.map(|other| other.deployment.metadata.name.as_str()));
            let detail = format!("Meanwhile {others} serves all traffic.");
            let found = finding(subject, format!("gateway {name} has no ready pod"), &detail, &[gateway]);
            verdict.findings.push(found.at_most(Severity::Warning));
        }
    }
    Ok(verdict)
}

fn selects(service: &Service, deployment: &Controller) -> bool {
    let labels = &deployment.template.metadata.labels;
    service.metadata.namespace == deployment.metadata.namespace
        && !service.spec.selector.is_empty()
        && service.spec.selector.iter().all(|(key, value)| labels.get(key) == Some(value))
}

fn finding(subject: Subject, summary: String, detail: &str, gateways: &[&Gateway<'_>]) -> Finding {
    let namespace = subject.namespace.clone().unwrap_or_default();
    let mut finding = Finding::new(subject, summary, detail);
    let mut steps: Vec<_> = gateways
        .first()
        .map(|gateway| {
            Step::command(
                Risk::Read,
                "shows the state and the events of the gateway's pods",
                ["kubectl", "describe", "pods", "-n", &namespace, "-l", &format!("istio={}", gateway.service)],
            )
        })
        .into_iter()
        .collect();
    for gateway in gateways {
        let name = &gateway.deployment.metadata.name;
        if let Some(revision) = gateway.revision {
            finding = finding.key(KeyKind::Revision, revision);
        }
        finding = finding.key(KeyKind::Object, service_key(&namespace, gateway.service));
        finding = finding.key(KeyKind::Workload, format!("{namespace}/Deployment/{name}")).evidence(
            SourceId::GatewayDeployments,
            format!("{namespace}/deployment/{name}"),
            "ready pods",
            format!("0 of {}", gateway.deployment.desired.unwrap_or_default()),
            Some("at least 1"),
        );
        if let Some(failure) = &gateway.deployment.failure {
            finding = finding.evidence(
                SourceId::GatewayDeployments,
                format!("{namespace}/deployment/{name}"),
                "condition ReplicaFailure",
                quote(failure),
                Some("no such condition"),
            );
        }
        steps.push(Step::command(
            Risk::Read,
            "shows what its proxy waits for",
            ["kubectl", "logs", &format!("deployment/{name}"), "-n", &namespace, "--tail=50"],
        ));
    }
    finding.remedy(Remedy::new("find out why its pods are not ready", steps))
}
