//! Reading logs as they arrive, all at once, and giving their lines out in the order of their times.

use std::task::Poll;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::pods::Target;
use super::print::Printer;
use super::view::LAST_LINES;
use crate::cli::proxy_config::pod;
use crate::cli::ui::{self, ProgressLine};
use crate::cluster::{Cluster, LogRequest, LogSince};
use crate::mesh::log::line::sent;
use crate::mesh::log::merge::Merge;
use crate::mesh::log::{Digest, Keep, Splitter};
use crate::model::log::ContainerLog;
use crate::model::{ContainerStatus, Pod};
use crate::snapshot::{Fault, FaultKind};

/// Pieces of a log that wait to be taken.
const WAITING: usize = 4;
/// Lines of a log that wait for older ones of the others.
const AHEAD: usize = 4096;
/// Bytes of them: of the longest lines, those of all logs together would be gigabytes.
const AHEAD_BYTES: usize = 1 << 20;
/// How long a line that is followed waits for older ones, in milliseconds.
const HOLD: u64 = 250;
/// How often is looked whether lines have waited long enough.
const TICK: Duration = Duration::from_millis(100);
/// How often a broken stream is opened anew without any line having come.
const TRIES: u32 = 5;

/// What a kubelet writes in place of a log that it has no more (`pkg/kubelet/kuberuntime/kuberuntime_container.go` of
/// kubernetes/kubernetes); the answer is a success.
const NOT_KEPT: &str = "unable to retrieve container logs for ";

/// What to read of each log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Only so many last lines.
    pub tail: Option<u64>,
    /// Only from some time on.
    pub since: Option<LogSince>,
    /// Go on as they grow.
    pub follow: bool,
    /// How much of the end is kept.
    pub keep: Keep,
}

/// What came of it.
pub(super) struct Outcome {
    /// What is known of each log that could be read, at least in part.
    pub logs: Vec<ContainerLog>,
    /// Logs of which nothing could be read.
    pub failed: Vec<ContainerLog>,
    /// What could not be read.
    pub faults: Vec<Fault>,
    /// The user ended it.
    pub interrupted: bool,
    /// Lines of all logs.
    pub lines: u64,
}

/// A line.
struct One {
    time: Option<Timestamp>,
    text: String,
    cut: bool,
}

/// What a reader says.
enum Said {
    Lines(Vec<One>),
    Note(String),
    /// Nothing more comes, because of this if it is not the regular end.
    End(Option<Fault>),
}

/// What the loop waits for.
enum Event {
    Said(usize, Said),
    Tick,
    Interrupted,
    Late,
}

/// Reads logs until they end, the time is over or the user ends it.
pub(super) async fn read(
    cluster: &Cluster,
    options: &Options,
    targets: &[Target],
    mut printer: Option<Printer>,
    limit: Option<Duration>,
) -> Outcome {
    let start = Instant::now();
    let mut receivers: Vec<Option<Receiver<Said>>> = Vec::new();
    let mut tasks = Vec::new();
    for target in targets {
        if let Some(why) = &target.why {
            ui::message(&format!(
                "note: of {} the log from before its last restart is read: it {why}\n",
                target.words()
            ));
        }
        let (sender, receiver) = channel(WAITING);
        receivers.push(Some(receiver));
        tasks.push(tokio::spawn(reader(cluster.clone(), target.clone(), *options, sender)));
    }
    let mut merge = Merge::new(targets.len());
    let mut digests: Vec<Digest> = targets.iter().map(|t| Digest::new(t.log.clone(), keep(t, options.keep))).collect();
    let mut failed: Vec<Option<Fault>> = targets.iter().map(|_| None).collect();
    let mut line = ProgressLine::new();
    let mut interrupt = std::pin::pin!(async {
        // Without a handler for the signal the run simply cannot be stopped early.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    });
    let mut late = std::pin::pin!(async {
        match limit {
            Some(limit) => tokio::time::sleep(limit).await,
            None => std::future::pending().await,
        }
    });
    let mut interrupted = false;
    let mut lines = 0;
    loop {
        let patience = if options.follow { millis(start).saturating_sub(HOLD) } else { 0 };
        let open = give(&mut merge, patience, &mut digests, &mut printer, &mut lines);
        if printer.is_none() {
            line.say(&format!("reading {} logs: {lines} lines", targets.len()));
        }
        if !open || merge.is_done() {
            break;
        }
        if options.follow && printer.as_mut().is_some_and(|printer| !printer.flush()) {
            break;
        }
        let event = tokio::select! {
            (index, said) = next(&mut receivers, &merge) => Event::Said(index, said),
            () = tokio::time::sleep(TICK) => Event::Tick,
            () = &mut interrupt => Event::Interrupted,
            () = &mut late => Event::Late,
        };
        match event {
            Event::Tick => {}
            Event::Interrupted => {
                interrupted = true;
                break;
            }
            Event::Late => {
                let words = format!("it was not complete after {} s", limit.unwrap_or_default().as_secs());
                for (index, _) in receivers.iter().enumerate().filter(|(_, receiver)| receiver.is_some()) {
                    let fault = Fault::new(FaultKind::Timeout, words.clone()).hint("allow more with --timeout");
                    failed[index] = Some(fault);
                    merge.close(index);
                }
                break;
            }
            Event::Said(index, Said::Lines(batch)) => {
                for one in batch {
                    merge.push(index, one.time, millis(start), one.text.len(), one);
                }
            }
            Event::Said(_, Said::Note(text)) => ui::message(&text),
            Event::Said(index, Said::End(fault)) => {
                failed[index] = fault;
                receivers[index] = None;
                merge.close(index);
            }
        }
    }
    // What has arrived is not thrown away.
    give(&mut merge, u64::MAX, &mut digests, &mut printer, &mut lines);
    line.clear();
    if let Some(printer) = &mut printer {
        printer.flush();
    }
    tasks.iter().for_each(tokio::task::JoinHandle::abort);
    let mut outcome = Outcome { logs: Vec::new(), failed: Vec::new(), faults: Vec::new(), interrupted, lines };
    for ((mut digest, fault), target) in digests.into_iter().zip(failed).zip(targets) {
        if options.tail.is_some_and(|tail| digest.lines() >= tail && tail > 0) {
            digest.older_left_out();
        }
        let mut log = digest.finish();
        if let Some(mut fault) = fault {
            fault.message = format!("the log of {}: {}", target.words(), fault.message);
            outcome.faults.push(fault.clone());
            log.fault = Some(fault);
        }
        if log.fault.is_some() && log.lines == 0 { outcome.failed.push(log) } else { outcome.logs.push(log) }
    }
    outcome
}

/// Of what ended a few last lines are kept in any case: where no message is known, they are all there is to show.
fn keep(target: &Target, keep: Keep) -> Keep {
    if target.log.previous.is_some() && keep.lines == 0 {
        return Keep { lines: LAST_LINES, bytes: 16 << 10 };
    }
    keep
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Gives out the lines whose turn it is; false once nobody reads them any more.
fn give(
    merge: &mut Merge<One>,
    patience: u64,
    digests: &mut [Digest],
    printer: &mut Option<Printer>,
    lines: &mut u64,
) -> bool {
    while let Some(timed) = merge.pop(patience) {
        let one = timed.line;
        *lines += 1;
        let Some(digest) = digests.get_mut(timed.stream) else { continue };
        if one.cut {
            digest.was_cut();
        }
        let line = crate::mesh::log::line::Line { time: one.time, text: &one.text, ..Default::default() };
        let known = digest.line(&line);
        if let Some(printer) = printer
            && !printer.line(timed.stream, one.time, &one.text, known)
        {
            return false;
        }
    }
    true
}

/// What any reader says next, but those whose lines wait for others already.
async fn next(receivers: &mut [Option<Receiver<Said>>], merge: &Merge<One>) -> (usize, Said) {
    std::future::poll_fn(|context| {
        for (index, receiver) in receivers.iter_mut().enumerate() {
            let Some(open) = receiver.as_mut().filter(|_| !merge.is_ahead(index, AHEAD, AHEAD_BYTES)) else { continue };
            match open.poll_recv(context) {
                Poll::Ready(Some(said)) => return Poll::Ready((index, said)),
                // A reader that is gone without a word has broken.
                Poll::Ready(None) => {
                    let fault = Fault::new(FaultKind::Truncated, "reading it broke off");
                    return Poll::Ready((index, Said::End(Some(fault))));
                }
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
    .await
}

/// Reads one log, over restarts where it is followed.
async fn reader(cluster: Cluster, target: Target, options: Options, sender: Sender<Said>) {
    let previous = target.log.previous.is_some();
    let mut request = LogRequest {
        namespace: target.log.metadata.namespace.clone(),
        pod: target.log.metadata.name.clone(),
        container: target.log.container.clone(),
        previous,
        follow: options.follow && !previous,
        tail: options.tail,
        since: target.after.map(LogSince::Time).or(options.since),
    };
    let mut last = target.after;
    let mut tries = 0;
    loop {
        let before = last;
        let ended = once(&cluster, &request, &mut last, &sender).await;
        if !request.follow {
            let _ = sender.send(Said::End(ended.err())).await;
            return;
        }
        tries = if last == before { tries + 1 } else { 0 };
        if let Err(fault) = &ended
            && (matches!(fault.kind, FaultKind::Forbidden | FaultKind::Unauthenticated) || tries >= TRIES)
        {
            let _ = sender.send(Said::End(ended.err())).await;
            return;
        }
        if !again(&cluster, &target, ended.is_err(), &sender).await {
            let _ = sender.send(Said::End(None)).await;
            return;
        }
        if let Some(last) = last {
            request.since = Some(LogSince::Time(last));
            request.tail = None;
        }
    }
}

/// Reads a log to its end; lines that came before already are left out.
async fn once(
    cluster: &Cluster,
    request: &LogRequest,
    last: &mut Option<Timestamp>,
    sender: &Sender<Said>,
) -> Result<(), Fault> {
    let Some(mut stream) = cluster.log(request).await? else {
        return Err(Fault::new(FaultKind::Unreachable, "the pod is gone"));
    };
    let seen = *last;
    let mut splitter = Splitter::default();
    let mut batch = Vec::new();
    let mut gone = false;
    loop {
        let mut take = |text: &str, cut: bool| {
            let line = sent(text);
            if line.time.is_none() && line.text.starts_with(NOT_KEPT) {
                gone = true;
                return;
            }
            if seen.is_some() && line.time <= seen {
                return;
            }
            *last = line.time.or(*last);
            batch.push(One { time: line.time, text: line.text.to_owned(), cut });
        };
        let ended = match stream.piece().await {
            Ok(Some(piece)) => {
                splitter.push(piece, &mut take);
                None
            }
            Ok(None) => Some(Ok(())),
            Err(fault) => Some(Err(fault)),
        };
        if ended.is_some() {
            splitter.finish(&mut take);
        }
        if !batch.is_empty() && sender.send(Said::Lines(std::mem::take(&mut batch))).await.is_err() {
            return Ok(());
        }
        if gone {
            return Err(Fault::new(FaultKind::Truncated, "the node does not keep it any more"));
        }
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// Waits until a container that is followed runs again; false when it never will.
async fn again(cluster: &Cluster, target: &Target, broke: bool, sender: &Sender<Said>) -> bool {
    let mut wait = Duration::from_secs(1);
    let mut said = broke;
    loop {
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(Duration::from_secs(5));
        let found = match pod(cluster, &target.log.metadata.namespace, &target.log.metadata.name).await {
            Ok(Some(pod)) => pod,
            Ok(None) => {
                let _ = sender.send(Said::Note(format!("note: {}: the pod is gone\n", target.words()))).await;
                return false;
            }
            // Whoever may read logs but not pods still gets what comes: the next try tells.
            Err(_) => return true,
        };
        if matches!(found.status.phase.as_str(), "Succeeded" | "Failed") {
            return false;
        }
        let Some(status) = status(&found, &target.log.container) else { return true };
        if !said {
            said = true;
            let how = status.last_state.terminated.as_ref().or(status.state.terminated.as_ref());
            let how = how.map_or_else(String::new, |end| format!(": {} (exit code {})", end.reason, end.exit_code));
            let text = format!("note: {} ended{how}; its next log follows\n", target.words());
            let _ = sender.send(Said::Note(crate::model::quoted::printable(text.trim_end()) + "\n")).await;
        }
        if status.state.running.is_some() {
            return true;
        }
        // Init containers end when they are done.
        if status.state.terminated.as_ref().is_some_and(|end| end.exit_code == 0) {
            return false;
        }
    }
}

fn status<'p>(pod: &'p Pod, container: &str) -> Option<&'p ContainerStatus> {
    let all = pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses);
    all.into_iter().find(|status| status.name == container)
}
