//! What `rbac` prints is enough, and not more than enough, for a user who has nothing else.

use crate::cluster::{Lab, Report, kube_list, list, poll, text};
use crate::world::World;
use serde_json::Value;
use std::path::PathBuf;
use std::time::Duration;

/// Takes the roles away again, also when the test fails.
pub struct Granted<'a> {
    pub lab: &'a Lab,
    pub objects: Vec<Value>,
}

impl<'a> Granted<'a> {
    /// What `rbac` prints with these arguments, given to the auditor.
    pub fn by(lab: &'a Lab, args: &[&str]) -> Self {
        let mut command = vec!["rbac", "--to", "serviceaccount:audit:auditor", "-o", "json"];
        command.extend(args);
        let out = lab.plain(&command);
        let printed: Value = serde_json::from_str(&out.stdout).expect("JSON from rbac");
        let objects = list(&printed["items"]);
        lab.apply(&objects);
        Granted { lab, objects }
    }

    /// Every rule of every role: the role without it, and what it is.
    fn without_each_rule(&self) -> Vec<(Value, String)> {
        let mut all = Vec::new();
        for role in self.objects.iter().filter(|object| object["rules"].is_array()) {
            for (index, rule) in list(&role["rules"]).iter().enumerate() {
                let mut less = role.clone();
                less["rules"].as_array_mut().expect("rules").remove(index);
                all.push((less, format!("{} {} {rule}", text(&role["kind"]), text(&role["metadata"]["namespace"]))));
            }
        }
        all
    }
}

impl Drop for Granted<'_> {
    fn drop(&mut self) {
        self.lab.run(&["kubectl", "delete", "--ignore-not-found", "-f", "-"], &kube_list(&self.objects));
    }
}

fn gaps(report: &Report) -> Vec<String> {
    list(&report.json["gaps"]).iter().map(|gap| gap["hint"].to_string()).collect()
}

/// The API server learns of a changed role a moment later.
fn until(what: &str, user: &PathBuf, lab: &Lab, args: &[&str], complete: bool) {
    poll(what, Duration::from_secs(20), || {
        let gaps = gaps(&lab.report_as(user, args));
        if gaps.is_empty() == complete { Ok(()) } else { Err(format!("gaps: {gaps:?}")) }
    });
}

/// What is printed for a probe is enough for it, and for a created pod.
pub fn enough_for_a_probe() {
    let lab = Lab::take();
    let _world = World::begin(&lab, "granted");
    lab.settle();
    let user = lab.user("audit", "auditor");
    let _granted = Granted::by(&lab, &["--for", "inject-check", "--probe", "-n", "audit"]);
    let probe = ["inject-check", "-n", "audit", "--probe"];
    until("rbac --probe is enough for a probe", &user, &lab, &probe, true);
    let create = [&probe[..], &["--create", "--yes"]].concat();
    let report = lab.report_as(&user, &create);
    assert_eq!((report.code, gaps(&report)), (0, Vec::new()), "{:#}", report.json);
    let created = &report.json["view"]["probes"][0]["created"];
    assert_eq!((text(&created["state"]), created["deleted"].as_bool()), ("ready".into(), Some(true)), "{created:#}");
}

pub fn enough_and_minimal(command: &[&str], rbac: &[&str]) {
    let lab = Lab::take();
    let _world = World::begin(&lab, "granted");
    lab.settle();
    let user = lab.user("audit", "auditor");
    let granted = Granted::by(&lab, rbac);
    until(&format!("{rbac:?} is enough for {command:?}"), &user, &lab, command, true);
    let report = lab.report_as(&user, command);
    assert_eq!(report.code, 0, "{:#}", report.json);
    for (less, what) in granted.without_each_rule() {
        lab.apply(std::slice::from_ref(&less));
        until(&format!("without {what} something is missing"), &user, &lab, command, false);
        lab.apply(&granted.objects);
        until(&format!("{what} is back"), &user, &lab, command, true);
    }
}
