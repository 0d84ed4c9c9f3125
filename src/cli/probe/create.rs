//! `--probe --create`: plain pods that are really created, watched, and deleted whatever happens in between.

use std::cell::{Cell, RefCell};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use futures::StreamExt;
use serde_json::{Value, json};

use super::{CONCURRENCY, Learnt, ProbeArgs, text};
use crate::cli::ui;
use crate::cluster::Cluster;
use crate::cluster::trial::{Answer, TestPod, need, record};
use crate::mesh::denial::{Denial, denial};
use crate::mesh::trial::{Standing, standing};
use crate::model::trial::Life;
use crate::snapshot::{Fault, FaultKind};

/// Between two looks at a created pod.
const PAUSE: Duration = Duration::from_millis(500);
/// What stands in a pod's way may go away by itself, such as a node that is about to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// For deleting a test pod, also when the run's own time is over.
const CLEANUP: Duration = Duration::from_secs(30);
/// For deleted pods to vanish.
const GONE: Duration = Duration::from_secs(10);

/// Why pods cannot be created in this way of calling; none when they can.
pub fn refuse_create(args: &ProbeArgs, is_plain: bool) -> Option<String> {
    if !args.create {
        return None;
    }
    if !is_plain {
        return Some(
            "--create makes a plain pod; a copy of a workload would get that workload's traffic: leave TYPE/NAME, -l and -f out"
                .to_owned(),
        );
    }
    let asked = std::io::stdin().is_terminal() && std::io::stderr().is_terminal();
    (!args.yes && !asked).then(|| "--create asks before it creates, and nobody can be asked here: add --yes".to_owned())
}

/// A pod on its way.
struct Made {
    pod: TestPod,
    /// What the API server answered; none while that is not known, and then it may exist.
    answer: Option<Answer>,
    last: Value,
    since: Instant,
    seconds: u64,
    deleted: bool,
}

/// Creates test pods, watches them, and deletes them, whatever happens in between. True when the user ended it.
pub(super) async fn create(cluster: &Cluster, learnt: &Learnt, args: &ProbeArgs, left: Duration) -> bool {
    // What a dry run says no to would be refused again, but for a webhook that a dry run may not call.
    let namespaces: Vec<String> = learnt
        .records
        .borrow()
        .iter()
        .filter(|record| match record.pointer("/refused/message").and_then(Value::as_str) {
            None => true,
            Some(message) => matches!(denial(message), Denial::NoDryRun(_)),
        })
        .map(|record| text(record, "/metadata/namespace").to_owned())
        .collect();
    if namespaces.is_empty() {
        ui::message("probe: no pod is created, because the dry run was not accepted\n");
        return false;
    }
    let namespaces = deletable(cluster, namespaces, learnt).await;
    if namespaces.is_empty() {
        return false;
    }
    let confirmed = if args.yes { Some(true) } else { confirmed(&namespaces, &args.image).await };
    if confirmed != Some(true) {
        ui::message("probe: no pod is created\n");
        return confirmed.is_none();
    }
    let made: RefCell<Vec<Made>> = RefCell::default();
    let stopped = Cell::new(false);
    let (sender, stop) = tokio::sync::watch::channel(false);
    let end = tokio::time::Instant::now() + left;
    let watching = futures::stream::iter(&namespaces).for_each_concurrent(CONCURRENCY, |namespace| {
        watch(cluster, TestPod::new(namespace, &args.image), &made, learnt, stop.clone(), end)
    });
    // A request that creates is not abandoned: without its answer nobody would know whether there is a pod.
    let signal = async {
        if ended().await {
            stopped.set(true);
            ui::message("probe: stopping; test pods are deleted\n");
            // Nobody listens any more only when all are done.
            let _ = sender.send(true);
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = watching => {}
        () = signal => {}
    }
    let mut made = made.into_inner();
    delete_all(cluster, &mut made, learnt).await;
    let mut records = learnt.records.borrow_mut();
    for one in made {
        let Some(answer) = &one.answer else { continue };
        let namespace = one.pod.namespace();
        let mut entry = record(namespace, "Namespace", namespace, one.pod.body(), answer);
        if matches!(answer, Answer::Made(_)) {
            entry["life"] =
                json!({"name": one.pod.name(), "last": one.last, "seconds": one.seconds, "deleted": one.deleted});
        }
        records.retain(|record| text(record, "/metadata/namespace") != namespace);
        records.push(entry);
    }
    stopped.get()
}

/// Namespaces in which what is created can also be deleted.
async fn deletable(cluster: &Cluster, namespaces: Vec<String>, learnt: &Learnt) -> Vec<String> {
    let mut kept = Vec::new();
    for namespace in namespaces {
        let need = need("delete", &namespace);
        match cluster.allowed(&need).await {
            Ok(true) => kept.push(namespace),
            Ok(false) => {
                let message = format!("no test pod is created in {namespace}: it could not be deleted again");
                let fault = Fault::new(FaultKind::Forbidden, message);
                learnt.fault(Fault { need: Some(need), ..fault });
            }
            Err(fault) => learnt.fault(fault),
        }
    }
    kept
}

/// Waits until the user, the terminal or the system ends the run; false when that cannot be known.
async fn ended() -> bool {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut hangup)) = (signal(SignalKind::terminate()), signal(SignalKind::hangup())) else {
            return tokio::signal::ctrl_c().await.is_ok();
        };
        tokio::select! {
            end = tokio::signal::ctrl_c() => end.is_ok(),
            _ = term.recv() => true,
            _ = hangup.recv() => true,
        }
    }
    #[cfg(not(unix))]
    {
        tokio::signal::ctrl_c().await.is_ok()
    }
}

/// Asks the person at the terminal; none when that ends the run.
async fn confirmed(namespaces: &[String], image: &str) -> Option<bool> {
    let what = if namespaces.len() == 1 { "a pod".to_owned() } else { format!("{} pods", namespaces.len()) };
    ui::message(&format!(
        "probe: creates {what} ({image}) in {}, waits until it is ready, and deletes it again.\nGo on? [y/N] ",
        namespaces.join(", ")
    ));
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).map(|_| line)
    });
    tokio::select! {
        line = read => {
            let line = line.ok().and_then(Result::ok).unwrap_or_default();
            Some(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
        }
        _ = tokio::signal::ctrl_c() => {
            ui::message("\n");
            None
        }
    }
}

async fn watch(
    cluster: &Cluster,
    pod: TestPod,
    made: &RefCell<Vec<Made>>,
    learnt: &Learnt,
    mut stop: tokio::sync::watch::Receiver<bool>,
    end: tokio::time::Instant,
) {
    if *stop.borrow() {
        return;
    }
    let since = Instant::now();
    let index = made.borrow().len();
    made.borrow_mut().push(Made {
        pod: pod.clone(),
        answer: None,
        last: Value::Null,
        since,
        seconds: 0,
        deleted: false,
    });
    match cluster.create_pod(&pod).await {
        Ok(answer) => {
            if let Answer::Made(body) = &answer {
                made.borrow_mut()[index].last = body.clone();
            }
            let refused = matches!(answer, Answer::Refused(_));
            made.borrow_mut()[index].answer = Some(answer);
            if refused {
                return;
            }
        }
        Err(fault) => return learnt.fault(fault),
    }
    let mut stuck_since: Option<Instant> = None;
    loop {
        tokio::select! {
            () = tokio::time::sleep(PAUSE) => {}
            () = tokio::time::sleep_until(end) => return,
            _ = stop.changed() => return,
        }
        let look = tokio::select! {
            look = cluster.test_pod(&pod) => look,
            () = tokio::time::sleep_until(end) => return,
            _ = stop.changed() => return,
        };
        let now = match look {
            Ok(Some(now)) => now,
            // Somebody else deleted it.
            Ok(None) => return,
            Err(fault) => return learnt.fault(fault),
        };
        {
            let mut made = made.borrow_mut();
            made[index].seconds = since.elapsed().as_secs();
            made[index].last = now.clone();
        }
        let life = Life { last: serde_json::from_value(now).unwrap_or_default(), ..Life::default() };
        match standing(&life) {
            Standing::Ready | Standing::Ended(_) => return,
            Standing::Waiting => stuck_since = None,
            Standing::Stuck(..) | Standing::Unschedulable(_) => {
                if stuck_since.get_or_insert_with(Instant::now).elapsed() >= PATIENCE {
                    return;
                }
            }
        }
    }
}

/// Deletes every pod that was made, or may have been, and says how to do it where that fails. All are asked for at once,
/// each with its own time: a slow one takes nothing from the others.
async fn delete_all(cluster: &Cluster, made: &mut [Made], learnt: &Learnt) {
    let there: Vec<&mut Made> = made.iter_mut().filter(|one| !matches!(one.answer, Some(Answer::Refused(_)))).collect();
    futures::stream::iter(there)
        .for_each_concurrent(CONCURRENCY, async |one| {
            let why = match tokio::time::timeout(CLEANUP, delete(cluster, one)).await {
                Ok(Ok(())) => {
                    one.deleted = true;
                    return;
                }
                Ok(Err(fault)) => fault,
                Err(_) => Fault::new(FaultKind::Timeout, "the API server did not answer"),
            };
            let (name, namespace) = (one.pod.name(), one.pod.namespace());
            ui::message(&format!(
                "error: the test pod in {namespace} could not be deleted: {why}\nhint:  delete it\n       kubectl delete pod {name} -n {namespace}\n"
            ));
            learnt.fault(Fault {
                message: format!("test pod {name} in {namespace} was not deleted: {}", why.message),
                ..why
            });
        })
        .await;
    // Until they are really gone, as far as that is soon: who looks next should find the namespaces as they were.
    let gone =
        futures::stream::iter(made.iter().filter(|one| one.deleted)).for_each_concurrent(CONCURRENCY, async |one| {
            while let Ok(Some(_)) = cluster.test_pod(&one.pod).await {
                tokio::time::sleep(PAUSE).await;
            }
        });
    // That one takes its time to end is no fault: it has been deleted.
    let _ = tokio::time::timeout(GONE, gone).await;
}

async fn delete(cluster: &Cluster, one: &Made) -> Result<(), Fault> {
    let mut outcome = cluster.delete_pod(&one.pod).await;
    // A server that is busy for a moment, or a creation without an answer, which may still come about.
    let unknown = one.answer.is_none() && one.since.elapsed() < CLEANUP;
    for _ in 0..2 {
        if outcome.is_ok() && !unknown {
            break;
        }
        if outcome.as_ref().is_err_and(|fault| fault.kind == FaultKind::Forbidden) {
            break;
        }
        tokio::time::sleep(PAUSE * 2).await;
        outcome = cluster.delete_pod(&one.pod).await;
    }
    outcome
}
