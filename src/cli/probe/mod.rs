//! `inject-check --probe`: asks the API server what it would make of pods, and with `--create` makes one.

mod create;
mod view;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt;
use serde_json::{Value, json};

pub use create::refuse_create;
pub use view::view;

use super::ui;
use crate::cluster::trial::{Answer, DraftPod, IMAGE, plain, record};
use crate::cluster::{Api, Cluster, GetRequest};
use crate::gather::Gathered;
use crate::mesh::denial::{Denial, denial};
use crate::mesh::draft;
use crate::mesh::injection::{INJECT, Rules};
use crate::mesh::workload::{Workload, is_managed_namespace, workloads};
use crate::model::trial::Refusal;
use crate::snapshot::{Fault, FaultKind, Snapshot, SourceId};

/// How many pods are asked about at once: webhooks have to answer for each.
const CONCURRENCY: usize = 4;
/// Flags of the probe.
#[derive(clap::Args, Debug)]
#[command(next_help_heading = "Probe")]
pub struct ProbeArgs {
    /// Ask the API server what it would make of a new pod (a dry run: nothing is stored)
    #[arg(long = "probe")]
    pub only_probe: bool,
    /// As --probe, and then really create a plain pod in each namespace, watch it, and delete it again
    #[arg(long)]
    pub create: bool,
    /// With --create: do not ask first
    #[arg(long, short = 'y', requires = "create")]
    pub yes: bool,
    /// Image of the plain pod
    #[arg(long, value_name = "IMAGE", default_value = IMAGE)]
    pub image: String,
}

impl ProbeArgs {
    /// Whether the API server is asked.
    pub fn asks(&self) -> bool {
        self.only_probe || self.create
    }
}

/// One pod to ask about.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    namespace: String,
    /// Kind and name of what the pod stands for.
    stands_for: (String, String),
    pod: Template,
}

#[derive(Clone, Debug, PartialEq)]
enum Template {
    /// A plain pod.
    Plain,
    /// That of an object in the cluster; its resource and name.
    Of(Api, String),
    /// This one.
    Given(Value),
}

impl Question {
    /// A pod that is known already.
    pub fn given(namespace: &str, kind: &str, name: &str, pod: Value) -> Self {
        let stands_for = (kind.to_owned(), name.to_owned());
        Self { namespace: namespace.to_owned(), stands_for, pod: Template::Given(pod) }
    }

    fn plain(namespace: &str) -> Self {
        let stands_for = ("Namespace".to_owned(), namespace.to_owned());
        Self { namespace: namespace.to_owned(), stands_for, pod: Template::Plain }
    }
}

/// One plain pod for each examined namespace. Where all are examined, those of AKS and Kubernetes are left out.
pub fn of_namespaces(snapshot: &Snapshot) -> Vec<Question> {
    if let Some(names) = &snapshot.scope.namespaces {
        return names.iter().map(|name| Question::plain(name)).collect();
    }
    let rules = Rules::new(snapshot);
    snapshot
        .namespaces
        .items()
        .unwrap_or_default()
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none())
        .map(|namespace| namespace.metadata.name.as_str())
        .filter(|name| !is_managed_namespace(name, &rules))
        .map(Question::plain)
        .collect()
}

/// The next pods of workloads.
pub fn of_workloads(snapshot: &Snapshot, asked: impl Fn(&Workload<'_>) -> bool) -> Vec<Question> {
    let rules = Rules::new(snapshot);
    workloads(snapshot, &rules).iter().filter(|workload| asked(workload)).filter_map(of_workload).collect()
}

fn of_workload(workload: &Workload<'_>) -> Option<Question> {
    let api = |group, resource| Api { group, version: "v1", resource };
    let known = match workload.kind.as_str() {
        "Deployment" => Some(api("apps", "deployments")),
        "StatefulSet" => Some(api("apps", "statefulsets")),
        "DaemonSet" => Some(api("apps", "daemonsets")),
        "ReplicaSet" => Some(api("apps", "replicasets")),
        "Job" => Some(api("batch", "jobs")),
        "CronJob" => Some(api("batch", "cronjobs")),
        _ => None,
    };
    let (api, name) = match known {
        Some(api) => (api, workload.name.clone()),
        // Of a kind that other software brings, the newest pod tells most.
        None => {
            let newest = workload.pods.iter().map(|(pod, _)| pod).max_by_key(|pod| pod.metadata.creation_timestamp)?;
            (api("", "pods"), newest.metadata.name.clone())
        }
    };
    Some(Question {
        namespace: workload.namespace.to_owned(),
        stands_for: (workload.kind.clone(), workload.name.clone()),
        pod: Template::Of(api, name),
    })
}

/// What has been learnt so far; it stays when the user ends the run.
#[derive(Default)]
struct Learnt {
    records: RefCell<Vec<Value>>,
    faults: RefCell<Vec<Fault>>,
}

impl Learnt {
    fn fault(&self, fault: Fault) {
        let mut faults = self.faults.borrow_mut();
        if !faults.iter().any(|known| known.message == fault.message) {
            faults.push(fault);
        }
    }
}

/// Asks, and puts the answers into the snapshot.
pub async fn ask(
    cluster: &Cluster,
    gathered: &mut Gathered,
    questions: Vec<Question>,
    args: &ProbeArgs,
    left: Duration,
) {
    if questions.is_empty() {
        gathered.put(SourceId::Trials, &[], Vec::new());
        return;
    }
    ui::message(&announcement(&questions));
    let learnt = Learnt::default();
    let all = futures::stream::iter(&questions)
        .for_each_concurrent(CONCURRENCY, |question| one(cluster, question, &args.image, &learnt));
    let mut interrupted = false;
    tokio::select! {
        () = all => {}
        () = tokio::time::sleep(left) => {
            learnt.fault(Fault::new(FaultKind::Timeout, "the API server did not answer about every pod in time"));
        }
        _ = tokio::signal::ctrl_c() => interrupted = true,
    }
    if args.create && !interrupted {
        interrupted = create::create(cluster, &learnt, args, left).await;
    }
    let mut records = learnt.records.into_inner();
    // They come in the order of the answers.
    let key =
        |record: &Value| ["/metadata/namespace", "/standsFor", "/metadata/name"].map(|at| text(record, at).to_owned());
    records.sort_by_key(key);
    let lines: Vec<Vec<u8>> = records.iter().map(|record| record.to_string().into_bytes()).collect();
    gathered.put(SourceId::Trials, &lines, learnt.faults.into_inner());
    gathered.snapshot.interrupted |= interrupted;
}

fn text<'v>(value: &'v Value, pointer: &str) -> &'v str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn announcement(questions: &[Question]) -> String {
    let namespaces: BTreeSet<&str> = questions.iter().map(|question| question.namespace.as_str()).collect();
    let what = match questions {
        [one] if one.pod == Template::Plain => format!("a plain pod in {}", one.namespace),
        [one] => format!("a new pod of {}/{} in {}", one.stands_for.0.to_lowercase(), one.stands_for.1, one.namespace),
        all if namespaces.len() == 1 => format!("{} pods in {}", all.len(), all[0].namespace),
        all => format!("{} pods in {} namespaces", all.len(), namespaces.len()),
    };
    format!("probe: sends {what} to the API server with dryRun=All: all admission looks at it, nothing is stored\n")
}

async fn one(cluster: &Cluster, question: &Question, image: &str, learnt: &Learnt) {
    let pod = match &question.pod {
        Template::Plain => plain(image),
        Template::Given(pod) => pod.clone(),
        Template::Of(api, name) => match template(cluster, *api, &question.namespace, name).await {
            Ok(Some(pod)) => pod,
            // It went away since the lists were read.
            Ok(None) => return,
            Err(fault) => return learnt.fault(fault),
        },
    };
    let draft = DraftPod::new(&question.namespace, pod);
    let answer = match cluster.try_pod(&draft).await {
        Ok(answer) => answer,
        Err(fault) => return learnt.fault(fault),
    };
    let (kind, name) = &question.stands_for;
    let mut entry = record(&question.namespace, kind, name, draft.body(), &answer);
    if let Answer::Refused(refusal) = &answer
        && is_worth_another(refusal, draft.body())
    {
        let other = DraftPod::new(&question.namespace, draft::without_sidecar(draft.body()));
        // The first answer stands by itself when this one does not come.
        match cluster.try_pod(&other).await {
            Ok(Answer::Made(_)) => entry["withoutSidecar"] = json!({}),
            Ok(Answer::Refused(Refusal { code, message })) => {
                entry["withoutSidecar"] = json!({"refused": {"code": code, "message": message}});
            }
            Err(_) => {}
        }
    }
    learnt.records.borrow_mut().push(entry);
}

/// Whether it tells more to send a pod once more without its sidecar.
fn is_worth_another(refusal: &Refusal, pod: &Value) -> bool {
    let opts_out = pod.pointer("/metadata/labels").and_then(|labels| labels.get(INJECT)).is_some_and(|v| v == "false");
    !opts_out
        && !matches!(denial(&refusal.message), Denial::NoDryRun(_) | Denial::Namespace | Denial::ServiceAccount(_))
}

async fn template(cluster: &Cluster, api: Api, namespace: &str, name: &str) -> Result<Option<Value>, Fault> {
    let request =
        GetRequest { api, namespace: Some(namespace.to_owned()), name: name.to_owned(), metadata_only: false };
    let Some(body) = cluster.get(&request).await? else { return Ok(None) };
    let malformed = || Fault::new(FaultKind::Malformed, format!("{} {name} could not be understood", api.resource));
    let object: Value = serde_json::from_slice(&body).map_err(|_| malformed())?;
    draft::next_pod(&object).map(Some).ok_or_else(malformed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn snapshot(scope: Option<&[&str]>, namespaces: &[(&str, &str)]) -> Snapshot {
        let items = namespaces
            .iter()
            .map(|(name, label)| {
                serde_json::from_value(
                    json!({"metadata": {"name": name, "labels": {"kubernetes.azure.com/managedby": label}}}),
                )
                .unwrap()
            })
            .collect();
        Snapshot {
            scope: crate::snapshot::Scope { namespaces: scope.map(|s| s.iter().map(|n| (*n).to_owned()).collect()) },
            namespaces: crate::snapshot::Section::Collected(crate::snapshot::Collected {
                items,
                undecodable: Vec::new(),
                faults: Vec::new(),
                fallback: None,
            }),
            ..Snapshot::default()
        }
    }

    #[test]
    fn all_namespaces_means_those_of_users_and_a_named_one_is_always_asked_about() {
        let world = [("shop", ""), ("kube-system", ""), ("aks-istio-system", ""), ("other", "aks")];
        let names = |questions: Vec<Question>| questions.into_iter().map(|q| q.namespace).collect::<Vec<_>>();
        assert_eq!(names(of_namespaces(&snapshot(None, &world))), ["shop"]);
        assert_eq!(names(of_namespaces(&snapshot(Some(&["kube-system"]), &world))), ["kube-system"]);
    }

    #[test]
    fn what_will_be_sent_is_said_before() {
        let one = Question::given("shop", "Deployment", "cart", json!({}));
        assert!(
            announcement(&[one]).contains("a new pod of deployment/cart in shop to the API server with dryRun=All")
        );
        let two = [Question::plain("a"), Question::plain("b")];
        assert!(announcement(&two).contains("2 pods in 2 namespaces"));
    }

    #[test]
    fn a_refusal_is_tried_without_sidecar_unless_that_can_tell_nothing() {
        let refusal = |message: &str| Refusal { code: 403, message: message.to_owned() };
        let pod = json!({"metadata": {"labels": {"app": "x"}}});
        assert!(is_worth_another(&refusal("violates PodSecurity"), &pod));
        assert!(!is_worth_another(&refusal("violates PodSecurity"), &draft::without_sidecar(&pod)));
        assert!(!is_worth_another(&refusal("admission webhook \"a\" does not support dry run"), &pod));
    }

    #[test]
    fn creating_needs_somebody_who_says_yes_and_no_workload() {
        let args = |create, yes| ProbeArgs { only_probe: true, create, yes, image: IMAGE.to_owned() };
        assert_eq!(refuse_create(&args(false, false), false), None);
        assert_eq!(refuse_create(&args(true, true), true), None);
        assert!(refuse_create(&args(true, true), false).is_some_and(|why| why.contains("plain pod")));
    }
}
