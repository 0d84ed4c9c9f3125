//! The injection matrix: the verdict is taken from a bundle captured before the pods exist, then the pods are created
//! and the real webhook decides.

use crate::cluster::{Lab, documents, folder, kube_list, list, poll, text};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

#[derive(Clone, PartialEq, Debug)]
enum Fate {
    Injected(String),
    None,
    Refused,
    Unknown,
}

impl Fate {
    fn word(&self) -> &'static str {
        match self {
            Fate::Injected(_) => "injected",
            Fate::None => "none",
            Fate::Refused => "refused",
            Fate::Unknown => "unknown",
        }
    }
}

/// One namespace x pod of one variant.
struct Row {
    namespace: String,
    name: String,
    pod: Value,
    /// What `inject-check -f` is given: every other row as the Deployment that would make the pod.
    manifest: Value,
}

struct Matrix<'a> {
    lab: &'a Lab,
    spec: Value,
}

/// kube-system is there already; the others get a prefix, so that nothing else is touched.
fn real_name(namespace: &str) -> String {
    if namespace == "kube-system" { namespace.into() } else { format!("mx-{namespace}") }
}

impl Drop for Matrix<'_> {
    fn drop(&mut self) {
        for variant in list(&self.spec["variants"]) {
            let _ = std::process::Command::new(folder().join("matrix"))
                .args([text(&variant["name"]).as_str(), "off"])
                .status();
        }
        let force = ["--force", "--grace-period=0"];
        let all = [&["kubectl", "delete", "pods", "-A", "-l", "lab=matrix"][..], &force].concat();
        self.lab.run(&all, "");
        let mut names: Vec<String> = self.namespaces().iter().map(|o| text(&o["metadata"]["name"])).collect();
        names.splice(0..0, ["kubectl", "delete", "--ignore-not-found", "namespace"].map(String::from));
        self.lab.run(&names.iter().map(String::as_str).collect::<Vec<_>>(), "");
    }
}

impl Matrix<'_> {
    fn namespaces(&self) -> Vec<Value> {
        let all = self.spec["namespaces"].as_object().expect("namespaces");
        all.iter()
            .filter(|(_, labels)| labels.is_object())
            .map(|(name, labels)| {
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": real_name(name), "labels": labels}})
            })
            .collect()
    }

    fn pod(&self, variant: &str, namespace: &str, pod: &str) -> Value {
        let kind = &self.spec["pods"][pod];
        assert!(kind.is_object(), "no pod {pod} in the matrix");
        let mut labels = kind["labels"].as_object().cloned().unwrap_or_default();
        labels.insert("lab".into(), "matrix".into());
        let annotations = kind["annotations"].as_object().cloned().unwrap_or_default();
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": format!("{variant}-{pod}"), "namespace": real_name(namespace), "labels": labels, "annotations": annotations},
            "spec": {"hostNetwork": kind["hostNetwork"] == true, "containers": [{"name": "app", "image": "nginx"}]}})
    }

    fn rows(&self, variant: &Value) -> Vec<Row> {
        let name = text(&variant["name"]);
        let mut rows = Vec::new();
        for namespace in list(&variant["namespaces"]) {
            for pod in list(&variant["pods"]) {
                let pod = self.pod(&name, &text(&namespace), &text(&pod));
                let manifest = if rows.len() % 2 == 0 { pod.clone() } else { deployment(&pod) };
                let (namespace, name) = (text(&pod["metadata"]["namespace"]), text(&pod["metadata"]["name"]));
                rows.push(Row { namespace, name, pod, manifest });
            }
        }
        rows
    }

    /// Webhook configurations and the injector's ConfigMap take effect a moment after they are written.
    fn wait_for(&self, variant: &Value) {
        let probe = &variant["probe"];
        let pod = self.pod("probe", &text(&probe["namespace"]), &text(&probe["pod"]));
        poll(&format!("variant {} is in force", variant["name"]), Duration::from_secs(30), || {
            let out =
                self.lab.run(&["kubectl", "create", "--dry-run=server", "-o", "json", "-f", "-"], &pod.to_string());
            let fate = match serde_json::from_str::<Value>(&out.stdout) {
                Ok(made) if out.code == 0 => fate_of(&made),
                _ if out.stderr.contains("failed calling webhook") => Fate::Refused,
                _ => return Err(out.stderr),
            };
            if probe["is"] == fate.word() { Ok(()) } else { Err(format!("{fate:?}")) }
        });
    }

    fn verdicts(&self, rows: &[Row]) -> Vec<Fate> {
        let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (bundle, manifest) = (tmp.join("matrix.tar.gz"), tmp.join("matrix-rows.yaml"));
        // JSON is YAML; one document per row, as people pipe `helm template` into a file.
        let docs: Vec<String> = rows.iter().map(|r| r.manifest.to_string()).collect();
        std::fs::write(&manifest, docs.join("\n---\n")).unwrap();
        let (bundle, manifest) = (bundle.to_str().unwrap(), manifest.to_str().unwrap());
        let out = self.lab.asm(&["capture", bundle]);
        assert!(matches!(out.code, 0 | 3), "capture: {}{}", out.stdout, out.stderr);
        let report = self.lab.report(&["inject-check", "-A", "--from", bundle, "-f", manifest]);
        let said: BTreeMap<(String, String), Value> = list(&report.json["view"]["workloads"])
            .into_iter()
            .map(|w| ((text(&w["namespace"]), text(&w["name"])), w["nextRestart"].clone()))
            .collect();
        rows.iter()
            .map(|row| {
                let next = said.get(&(row.namespace.clone(), row.name.clone())).unwrap_or_else(|| {
                    panic!("inject-check has no row for {}/{}: {:#}", row.namespace, row.name, report.json)
                });
                match (next["decidedBy"].as_str(), next["injected"].as_bool()) {
                    (Some("blocked"), _) => Fate::Refused,
                    (Some("unknown"), _) | (_, None) => Fate::Unknown,
                    (_, Some(true)) => Fate::Injected(text(&next["revision"])),
                    (_, Some(false)) => Fate::None,
                }
            })
            .collect()
    }

    /// What a probe of every row says, before any of them exists; and that it leaves nothing behind.
    fn probed(&self, rows: &[Row]) -> Vec<(Fate, String)> {
        let manifest = Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix-rows.yaml");
        let report = self.lab.report(&["inject-check", "-A", "--probe", "-f", manifest.to_str().unwrap()]);
        let said: BTreeMap<(String, String), Value> = list(&report.json["view"]["probes"])
            .into_iter()
            .map(|probe| ((text(&probe["namespace"]), text(&probe["name"])), probe))
            .collect();
        rows.iter()
            .map(|row| {
                let probe = &said[&(row.namespace.clone(), row.name.clone())];
                let fate = match probe["answer"].as_str() {
                    Some("injected") => Fate::Injected(text(&probe["revision"])),
                    Some("plain") => Fate::None,
                    _ => Fate::Refused,
                };
                (fate, text(&probe["agreement"]))
            })
            .collect()
    }

    fn create(&self, rows: &[Row]) -> Vec<Fate> {
        let pods: Vec<Value> = rows.iter().map(|r| r.pod.clone()).collect();
        let out = self.lab.run(&["kubectl", "create", "-f", "-"], &kube_list(&pods));
        for line in out.stderr.lines().filter(|l| !l.trim().is_empty()) {
            assert!(line.contains("failed calling webhook"), "a pod was refused for another reason: {line}");
        }
        let made = self.lab.json(&["kubectl", "get", "pods", "-A", "-l", "lab=matrix", "-o", "json"]);
        let made: BTreeMap<(String, String), Fate> = list(&made["items"])
            .iter()
            .map(|p| ((text(&p["metadata"]["namespace"]), text(&p["metadata"]["name"])), fate_of(p)))
            .collect();
        let fates: Vec<Fate> = rows
            .iter()
            .map(|r| made.get(&(r.namespace.clone(), r.name.clone())).cloned().unwrap_or(Fate::Refused))
            .collect();
        let refused = fates.iter().filter(|f| **f == Fate::Refused).count();
        assert_eq!(refused, out.stderr.matches("failed calling webhook").count(), "{}", out.stderr);
        self.lab.must(&["kubectl", "delete", "pods", "-A", "-l", "lab=matrix", "--force", "--grace-period=0"], "");
        fates
    }
}

/// What the webhook made of a pod.
fn fate_of(pod: &Value) -> Fate {
    let has = |list_of: &str| list(&pod["spec"][list_of]).iter().any(|c| c["name"] == "istio-proxy");
    if has("containers") || has("initContainers") {
        Fate::Injected(text(&pod["metadata"]["annotations"]["istio.io/rev"]))
    } else {
        Fate::None
    }
}

fn deployment(pod: &Value) -> Value {
    let meta = &pod["metadata"];
    let mut template = Map::new();
    template.insert("metadata".into(), json!({"labels": meta["labels"], "annotations": meta["annotations"]}));
    template.insert("spec".into(), pod["spec"].clone());
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"lab": "matrix"}}, "template": template}})
}

pub fn play() {
    let lab = Lab::take();
    let matrix = Matrix { lab: &lab, spec: documents(&folder().join("matrix.yaml")).remove(0) };
    let namespaces = matrix.namespaces();
    lab.apply(&namespaces);
    poll("the namespaces have their ServiceAccount", Duration::from_secs(30), || {
        let there = list(
            &lab.json(&[
                "kubectl",
                "get",
                "serviceaccounts",
                "-A",
                "--field-selector=metadata.name=default",
                "-o",
                "json",
            ])["items"],
        );
        let missing =
            namespaces.iter().find(|n| !there.iter().any(|a| a["metadata"]["namespace"] == n["metadata"]["name"]));
        missing.map_or(Ok(()), |n| Err(n["metadata"]["name"].to_string()))
    });

    let variants = list(&matrix.spec["variants"]);
    let (mut total, mut wrong, mut count) = (0, Vec::new(), BTreeMap::<&str, usize>::new());
    for variant in &variants {
        let name = text(&variant["name"]);
        lab.script("matrix", &[&name, "on"]);
        matrix.wait_for(variant);
        let rows = matrix.rows(variant);
        let said = matrix.verdicts(&rows);
        let probed = matrix.probed(&rows);
        let happened = matrix.create(&rows);
        for (((row, said), (answer, agreement)), happened) in rows.iter().zip(&said).zip(&probed).zip(&happened) {
            let agrees = match said {
                Fate::Unknown => "told",
                _ if said == answer => "same",
                _ => "other",
            };
            if answer != happened || agreement != agrees {
                wrong.push(format!(
                    "{name}: {}/{}: the probe says {answer:?}, {agreement}; computed {said:?}, happened {happened:?}",
                    row.namespace, row.name
                ));
            }
        }
        for ((row, said), happened) in rows.iter().zip(&said).zip(&happened) {
            *count.entry(happened.word()).or_default() += 1;
            let may_pass = *said == Fate::Unknown && variant["unknown"] == true;
            if said != happened && !may_pass {
                wrong.push(format!("{name}: {}/{}: said {said:?}, happened {happened:?}", row.namespace, row.name));
            }
        }
        total += rows.len();
        lab.script("matrix", &[&name, "off"]);
        matrix.wait_for(&variants[0]);
    }
    println!("{total} rows: {count:?}");
    assert!(wrong.is_empty(), "{} of {total} rows are wrong:\n{}", wrong.len(), wrong.join("\n"));
    // So that nobody empties the matrix by accident.
    let at_least = |word: &str, n: usize| assert!(count.get(word).copied().unwrap_or(0) >= n, "{count:?}");
    assert!(total >= 80 && variants.len() >= 5);
    at_least("injected", 15);
    at_least("none", 15);
    at_least("refused", 5);
}
