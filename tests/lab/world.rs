//! A world: a broken (or fine) state of the cluster, what must be said about it, and whether the printed commands help.

use crate::cluster::{Lab, Report, documents, folder, list, poll, text};
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Objects in place; leaving scope takes them away again, also when the test fails.
pub struct World<'a> {
    lab: &'a Lab,
    name: String,
    head: Value,
    namespaces: Vec<String>,
}

impl<'a> World<'a> {
    pub fn begin(lab: &'a Lab, name: &str) -> Self {
        let mut docs = documents(&folder().join("worlds").join(format!("{name}.yaml")));
        let head = docs.remove(0);
        let namespaces =
            docs.iter().filter(|o| o["kind"] == "Namespace").map(|o| text(&o["metadata"]["name"])).collect();
        let world = World { lab, name: name.to_owned(), head, namespaces };
        world.step("before");
        lab.apply(&docs);
        world.step("after");
        world
    }

    fn script(&self) -> Option<String> {
        let script = format!("worlds/{}.sh", self.name);
        folder().join(&script).exists().then_some(script)
    }

    fn step(&self, step: &str) {
        if let Some(script) = self.script() {
            self.lab.script(&script, &[step]);
        }
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        // Not the usual helpers: a panic while a panic is under way would end the whole run.
        if let Some(script) = self.script() {
            drop(std::process::Command::new(folder().join(script)).arg("cleanup").status());
        }
        for ns in &self.namespaces {
            // The pods first and at once: a namespace with pods in it takes ten seconds to go, an empty one two.
            self.lab.run(&["kubectl", "delete", "-n", ns, "deployments,statefulsets,daemonsets,jobs", "--all"], "");
            self.lab.run(&["kubectl", "delete", "-n", ns, "pods", "--all", "--force", "--grace-period=0"], "");
            self.lab.run(&["kubectl", "delete", "namespace", ns, "--ignore-not-found"], "");
        }
    }
}

/// Errors and warnings as `SEVERITY CODE KIND NAMESPACE/NAME`, consequences with `> ` under their cause.
pub fn lines(report: &Value) -> Vec<String> {
    let mut out = Vec::new();
    walk(&report["findings"], "", &mut out);
    out
}

fn walk(findings: &Value, indent: &str, out: &mut Vec<String>) {
    for finding in list(findings) {
        if matches!(finding["severity"].as_str(), Some("error" | "warning")) {
            let subject = &finding["subject"];
            let place = subject["namespace"].as_str().map_or_else(String::new, |ns| format!("{ns}/"));
            out.push(format!(
                "{indent}{} {} {} {place}{}",
                text(&finding["severity"]),
                text(&finding["code"]),
                text(&subject["kind"]),
                text(&subject["name"])
            ));
        }
        walk(&finding["consequences"], &format!("{indent}> "), out);
    }
}

pub fn every_gap_names_a_right(report: &Value) {
    let gaps = list(&report["gaps"]);
    assert!(!gaps.is_empty(), "there must be gaps");
    for gap in gaps {
        for key in ["verb", "resource"] {
            assert!(gap["need"][key].as_str().is_some_and(|s| !s.is_empty()), "a gap without {key}: {gap}");
        }
    }
}

/// The time for `--now`; `later` (as `10 minutes`) makes everything look that much older than it is.
fn time(lab: &Lab, later: &str) -> String {
    let when = if later.is_empty() { "now".to_owned() } else { format!("now + {later}") };
    lab.must(&["date", "-u", "-d", &when, "+%Y-%m-%dT%H:%M:%SZ"], "").trim().to_owned()
}

/// The report, once from the cluster and once from a bundle: equal but for `origin`.
pub fn same_live_and_bundled(lab: &Lab, args: &[&str]) -> Report {
    same_at(lab, args, &time(lab, ""))
}

fn same_at(lab: &Lab, args: &[&str], now: &str) -> Report {
    let bundle = Path::new(env!("CARGO_TARGET_TMPDIR")).join("parity.tar.gz");
    let bundle = bundle.to_str().expect("UTF-8 path");
    let mut live = args.to_vec();
    live.extend(["--now", now]);
    let mut offline = live.clone();
    offline.extend(["--from", bundle]);
    for _ in 0..5 {
        let before = lab.report(&live);
        let out = lab.asm(&["capture", bundle]);
        assert!(matches!(out.code, 0 | 3), "capture: {}{}", out.stdout, out.stderr);
        // A cluster that changed between two readings says nothing about bundles: look again.
        if without_origin(&lab.report(&live)) != without_origin(&before) {
            continue;
        }
        let bundled = lab.report(&offline);
        assert_eq!(bundled.json["origin"]["kind"], "bundle");
        let (one, two) = (without_origin(&before), without_origin(&bundled));
        if one != two {
            panic!("live and bundle differ for {args:?} at {}", difference("", &one.json, &two.json));
        }
        return before;
    }
    panic!("the cluster does not hold still");
}

fn without_origin(report: &Report) -> Report {
    let mut report = report.clone();
    if let Some(map) = report.json.as_object_mut() {
        map.remove("origin");
    }
    forget_ages(&mut report.json);
    report
}

/// What istiod sent is measured by istiod's own clock, which `--now` does not stop.
fn forget_ages(value: &mut Value) {
    match value {
        Value::String(text) => {
            *text = text.split(' ').map(|word| if is_age(word) { "AGE" } else { word }).collect::<Vec<_>>().join(" ")
        }
        Value::Array(list) => list.iter_mut().for_each(forget_ages),
        Value::Object(map) => {
            map.remove("ageSeconds");
            map.values_mut().for_each(forget_ages);
        }
        _ => {}
    }
}

/// `45s`, `4m30s`, `5d3h`, also before a comma.
fn is_age(word: &str) -> bool {
    let word = word.trim_end_matches([',', '.', ')']);
    word.starts_with(|c: char| c.is_ascii_digit())
        && word.ends_with(['s', 'm', 'h', 'd'])
        && word.chars().all(|c| c.is_ascii_digit() || "smhd".contains(c))
}

/// Where two documents part, so that a failure can be read.
fn difference(at: &str, one: &Value, two: &Value) -> String {
    match (one, two) {
        (Value::Object(a), Value::Object(b)) => {
            let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
            keys.sort();
            keys.dedup();
            let null = Value::Null;
            keys.into_iter()
                .map(|k| (k, a.get(k).unwrap_or(&null), b.get(k).unwrap_or(&null)))
                .find(|(_, x, y)| x != y)
                .map_or_else(|| format!("{at} (exit code)"), |(k, x, y)| difference(&format!("{at}.{k}"), x, y))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => a
            .iter()
            .zip(b)
            .enumerate()
            .find(|(_, (x, y))| x != y)
            .map_or_else(|| at.to_owned(), |(i, (x, y))| difference(&format!("{at}[{i}]"), x, y)),
        _ if one == two => format!("{at} (exit code)"),
        _ => format!("{at}:\n  live   {one}\n  bundle {two}"),
    }
}

/// The whole life of a world: in place, judged, repaired with the printed commands, gone.
pub fn play(name: &str) {
    let lab = Lab::take();
    let world = World::begin(&lab, name);
    let settles = world.head["settle"] != false;
    if settles {
        lab.settle();
    } else {
        lab.connect();
    }
    let expect = &world.head["expect"];
    let later = text(&world.head["later"]);
    let report = same_at(&lab, &["status"], &time(&lab, &later));
    let (found, wanted) = (lines(&report.json), list(&expect["findings"]).iter().map(text).collect::<Vec<_>>());
    let same = found.len() == wanted.len() && found.iter().zip(&wanted).all(|(f, w)| matches(f, w));
    assert!(
        same,
        "{name}: expected\n  {}\nfound\n  {}\n{:#}",
        wanted.join("\n  "),
        found.join("\n  "),
        report.json["findings"]
    );
    assert_eq!(Value::from(report.code), expect["exit"], "{name}: exit code");
    for code in list(&expect["infos"]) {
        let there = list(&report.json["findings"]).iter().any(|f| f["code"] == code && f["severity"] == "info");
        assert!(there, "{name}: no info {code} in {:#}", report.json["findings"]);
    }
    match &world.head["fix"] {
        Value::Null => {}
        Value::Array(steps) => {
            let first = commands(&report.json["findings"][0]);
            let wanted: Vec<Vec<String>> = steps.iter().map(|s| list(s).iter().map(text).collect()).collect();
            assert_eq!(first, wanted, "{name}: the commands, word by word");
        }
        _ => repair(&lab, name, &report, settles, &later),
    }
}

/// `*` at the end of an expected line stands for what a controller makes up (hashes in names).
fn matches(found: &str, wanted: &str) -> bool {
    wanted.strip_suffix('*').map_or(found == wanted, |stem| found.starts_with(stem))
}

fn commands(finding: &Value) -> Vec<Vec<String>> {
    list(&finding["remedy"]["steps"])
        .iter()
        .filter(|s| s["command"].is_array())
        .map(|s| list(&s["command"]).iter().map(text).collect())
        .collect()
}

fn repair(lab: &Lab, name: &str, report: &Report, settles: bool, later: &str) {
    let mut done: Vec<Vec<String>> = Vec::new();
    for finding in list(&report.json["findings"]) {
        if finding["severity"] == "info" {
            continue;
        }
        let steps = commands(&finding);
        assert!(!steps.is_empty(), "{name}: {} prints no command", finding["code"]);
        for step in steps {
            assert!(step.iter().all(|word| !word.contains('<')), "{name}: {step:?} cannot be run as printed");
            assert!(step[0] != "az", "{name}: {step:?} belongs into the world's `fix`");
            if !done.contains(&step) {
                let out = lab.run(&step.iter().map(String::as_str).collect::<Vec<_>>(), "");
                assert_eq!(out.code, 0, "{name}: the printed command {step:?} fails: {}{}", out.stdout, out.stderr);
                done.push(step);
            }
        }
    }
    lab.script("kubelet", &["wait"]);
    if settles {
        lab.settle();
    }
    // A ReplicaSet whose pods were refused tries again after a pause that doubles: that is the longest to wait for.
    poll(&format!("{name}: after {done:?} the findings are gone"), Duration::from_secs(120), || {
        let after = lab.report(&["status", "--now", &time(lab, later)]);
        let left = lines(&after.json);
        if left.is_empty() && after.code == 0 {
            Ok(())
        } else {
            Err(format!("exit {}, {}", after.code, left.join("; ")))
        }
    });
}
