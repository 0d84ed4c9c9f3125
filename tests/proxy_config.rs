//! `proxy-config` on recorded answers of real proxies: the tables are those of istioctl, cell by cell, and what is no
//! answer is said so.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use kubectl_asm::bundle::{self, Recorder};
use kubectl_asm::gather::Gathered;
use kubectl_asm::model::envoy::split::Piece;
use kubectl_asm::model::envoy::{ProxyAnswers, Reader};
use kubectl_asm::snapshot::{Snapshot, SourceId};
use kubectl_asm::sources::proxy_answers::Lines;
use serde_json::Value;

#[path = "support/table.rs"]
mod table;

use table::{CLUSTERS, EDS, ENDPOINTS, LISTENERS, ROUTES, SECRETS, cells};

fn fixture(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/envoy").join(path)
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kubectl-asm"));
    command.args(args).env_remove("KUBECONFIG").env("HOME", "/nonexistent").env("LANG", "C.UTF-8");
    command
}

/// `proxy-config WHAT -f FILE…`, judged at the time that the recordings were made.
fn proxy_config(what: &str, files: &[PathBuf], more: &[&str]) -> Output {
    let mut args = vec!["proxy-config", what, "--now", NOW];
    for file in files {
        args.extend(["-f", file.to_str().unwrap()]);
    }
    args.extend(more);
    command(&args).output().unwrap()
}

/// Shortly after the recordings of `sidecar` and `agent` were made.
const NOW: &str = "2026-11-26T12:00:00Z";

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Compares one table with what istioctl printed for the same file, row by row in the same order.
fn compare(proxy: &str, what: &str, source: &str, headers: &[&str]) -> usize {
    let recorded = std::fs::read_to_string(fixture(&format!("{proxy}/istioctl/{what}.txt"))).unwrap();
    let ours = proxy_config(what, &[fixture(&format!("{proxy}/{source}"))], &["-o", "short"]);
    assert!(ours.stderr.is_empty(), "{what}: {}", text(&ours.stderr));
    let (theirs, ours) = (cells(&recorded, headers), cells(&text(&ours.stdout), headers));
    assert_eq!(ours, theirs, "{proxy}: {what}");
    theirs.len()
}

#[test]
fn tables_of_a_sidecar_without_an_agent_are_those_of_istioctl() {
    const PROXY: &str = "sidecar";
    assert_eq!(compare(PROXY, "clusters", "config_dump.json", CLUSTERS), 19);
    assert_eq!(compare(PROXY, "listeners", "config_dump.json", LISTENERS), 21);
    assert_eq!(compare(PROXY, "routes", "config_dump.json", ROUTES), 9);
    assert_eq!(compare(PROXY, "eds", "config_dump.json", EDS), 28);
    assert_eq!(compare(PROXY, "endpoints", "clusters.json", ENDPOINTS), 28);
}

#[test]
fn tables_of_a_whole_sidecar_are_those_of_istioctl() {
    const PROXY: &str = "agent";
    assert_eq!(compare(PROXY, "clusters", "config_dump.json", CLUSTERS), 23);
    assert_eq!(compare(PROXY, "listeners", "config_dump.json", LISTENERS), 29);
    assert_eq!(compare(PROXY, "routes", "config_dump.json", ROUTES), 16);
    assert_eq!(compare(PROXY, "eds", "config_dump.json", EDS), 28);
    assert_eq!(compare(PROXY, "endpoints", "clusters.json", ENDPOINTS), 28);
    assert_eq!(compare(PROXY, "secrets", "config_dump.json", SECRETS), 2);
}

#[test]
fn tables_of_a_sidecar_that_waits_and_refuses_are_those_of_istioctl() {
    const PROXY: &str = "faults";
    assert_eq!(compare(PROXY, "clusters", "config_dump.json", CLUSTERS), 23);
    assert_eq!(compare(PROXY, "listeners", "config_dump.json", LISTENERS), 30);
    assert_eq!(compare(PROXY, "routes", "config_dump.json", ROUTES), 15);
    assert_eq!(compare(PROXY, "eds", "config_dump.json", EDS), 28);
    assert_eq!(compare(PROXY, "endpoints", "clusters.json", ENDPOINTS), 28);
    assert_eq!(compare(PROXY, "secrets", "config_dump.json", SECRETS), 4);
}

#[test]
fn what_istiod_would_send_is_read_in_its_own_spelling() {
    const PROXY: &str = "istiod";
    assert_eq!(compare(PROXY, "clusters", "config_dump.json", CLUSTERS), 16);
    assert_eq!(compare(PROXY, "listeners", "config_dump.json", LISTENERS), 21);
    assert_eq!(compare(PROXY, "routes", "config_dump.json", ROUTES), 8);
}

#[test]
fn versions_in_the_bootstrap_are_those_of_istioctl() {
    for proxy in ["agent", "faults"] {
        let recorded = std::fs::read_to_string(fixture(&format!("{proxy}/istioctl/bootstrap.txt"))).unwrap();
        let ours = proxy_config("bootstrap", &[fixture(&format!("{proxy}/config_dump.json"))], &["-o", "short"]);
        let ours = text(&ours.stdout);
        for line in recorded.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            assert!(
                ours.lines().any(|ours| ours.starts_with(name) && ours.ends_with(value)),
                "{line} is not in {ours}"
            );
        }
    }
}

#[test]
fn what_waits_and_what_is_refused_is_found_and_the_exit_code_says_so() {
    let files = ["config_dump.json", "clusters.json", "init_dump.json"].map(|name| fixture(&format!("faults/{name}")));
    let output = proxy_config("all", &files, &["-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<(&str, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["code"].as_str().unwrap(), finding["severity"].as_str().unwrap()))
        .collect();
    for expected in [("PRX15", "error"), ("PRX14", "error"), ("PRX07", "error")] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
    assert_eq!(output.status.code(), Some(1));
    // The same in every format; tables for scripts stay tables.
    let output = proxy_config("clusters", &files, &["-o", "short"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!text(&output.stdout).contains("PRX"));
}

#[test]
fn no_output_carries_a_private_key() {
    let dump = r#"{"configs": [{"dynamic_active_secrets": [{"name": "default", "secret": {"tls_certificate":
        {"certificate_chain": {"inline_bytes": "eA=="}, "private_key": {"inline_bytes": "c2VjcmV0IGtleQ=="}}}}]}]}"#;
    let saved = file(dump.as_bytes());
    for format in ["text", "wide", "short", "json", "yaml"] {
        let output = command(&["pc", "all", "-f", saved.path().to_str().unwrap(), "-o", format]).output().unwrap();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(said.contains("default"), "{said}");
        assert!(!said.contains("c2VjcmV0IGtleQ") && !said.contains("secret key"), "{said}");
    }
}

#[test]
fn filters_leave_the_rows_that_istioctl_leaves() {
    let dump = fixture("sidecar/config_dump.json");
    let clusters = fixture("sidecar/clusters.json");
    for (what, file, filter, recorded, headers) in [
        ("clusters", &dump, vec!["--fqdn", "istiod-asm-1-28", "--port", "15012"], "clusters-filtered", CLUSTERS),
        ("clusters", &dump, vec!["--direction", "inbound"], "clusters-inbound", CLUSTERS),
        ("listeners", &dump, vec!["--port", "15006"], "listeners-port", LISTENERS),
        ("listeners", &dump, vec!["--address", "0.0.0.0", "--type", "HTTP+TCP"], "listeners-type", LISTENERS),
        ("routes", &dump, vec!["--name", "15014"], "routes-name", ROUTES),
        (
            "endpoints",
            &clusters,
            vec!["--address", "10.244.1.2", "--status", "healthy"],
            "endpoints-address",
            ENDPOINTS,
        ),
        (
            "endpoints",
            &clusters,
            vec!["--cluster", "outbound|80||web.shop.svc.cluster.local"],
            "endpoints-cluster",
            ENDPOINTS,
        ),
    ] {
        let mut args = filter.clone();
        args.extend(["-o", "short"]);
        let ours = proxy_config(what, std::slice::from_ref(file), &args);
        let ours = text(&ours.stdout);
        let theirs = std::fs::read_to_string(fixture(&format!("sidecar/istioctl/{recorded}.txt"))).unwrap();
        let theirs = cells(&theirs, headers);
        if theirs.is_empty() {
            assert_eq!(ours, format!("No {what} found.\n"), "{filter:?}");
        } else {
            assert_eq!(cells(&ours, headers), theirs, "{filter:?}");
        }
    }
}

#[test]
fn a_filter_that_could_leave_no_row_out_or_none_in_is_refused() {
    let dump = fixture("sidecar/config_dump.json");
    for (what, filter, says) in [
        ("routes", ["--fqdn", "cart"], "proxy-config routes <pod> --name 80"),
        ("clusters", ["--name", "80"], "clusters are chosen by --fqdn, --port, --subset, --direction"),
        ("listeners", ["--cluster", "x"], "listeners are chosen by --address, --port, --type"),
        ("secrets", ["--name", "default"], "--name does not go with secrets"),
        ("clusters", ["--direction", "sideways"], "invalid value 'sideways' for '--direction"),
        ("endpoints", ["--status", "helthy"], "a similar value exists: 'healthy'"),
        ("listeners", ["--type", "UDP"], "invalid value 'UDP' for '--type"),
    ] {
        let output = proxy_config(what, std::slice::from_ref(&dump), &filter);
        assert_eq!(output.status.code(), Some(2), "{what} {filter:?}");
        let said = text(&output.stderr).split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(said.contains(says), "{what} {filter:?}: {said}");
    }
    // What istioctl takes is taken.
    for filter in [["--direction", "inbound"], ["--status", "HEALTHY"], ["--type", "http"], ["--name", "80"]] {
        let output = proxy_config("all", std::slice::from_ref(&dump), &filter);
        assert_ne!(output.status.code(), Some(2), "{filter:?}: {}", text(&output.stderr));
    }
}

#[test]
fn endpoints_are_found_by_the_host_of_their_cluster() {
    let hosts = fixture("sidecar/clusters.json");
    let of = |args: &[&str]| {
        let output = proxy_config("endpoints", std::slice::from_ref(&hosts), &[args, &["-o", "short"]].concat());
        cells(&text(&output.stdout), ENDPOINTS)
    };
    let by_name = of(&["--cluster", "outbound|80||web.shop.svc.cluster.local"]);
    assert!(!by_name.is_empty());
    assert_eq!(of(&["--fqdn", "|80||web.shop.svc"]), by_name);
}

#[test]
fn a_proxy_in_sync_gives_neither_error_nor_warning() {
    let files = [fixture("sidecar/config_dump.json"), fixture("sidecar/clusters.json")];
    let output = proxy_config("all", &files, &["-o", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["summary"]["errors"], 0, "{:#}", report["findings"]);
    assert_eq!(report["summary"]["warnings"], 0, "{:#}", report["findings"]);
    assert_eq!(report["gaps"], serde_json::json!([]));
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(report["view"]["proxy"]["name"], "real-5cc77c6c5b-qkvmr");
    assert_eq!(report["origin"]["kind"], "file");
}

#[test]
fn stdin_is_read_as_a_file_is() {
    let file = std::fs::read(fixture("sidecar/config_dump.json")).unwrap();
    let mut child = command(&["pc", "route", "-f", "-", "-o", "short"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&file).unwrap();
    let output = child.wait_with_output().unwrap();
    let recorded = std::fs::read_to_string(fixture("sidecar/istioctl/routes.txt")).unwrap();
    assert_eq!(cells(&text(&output.stdout), ROUTES), cells(&recorded, ROUTES));
}

/// Writes a file that lives as long as the test.
fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

#[test]
fn what_is_no_answer_is_an_error_that_says_what_it_is() {
    let refused = b"Failed to convert protobuf message to JSON string: INVALID_ARGUMENT: could not find @type 'type.googleapis.com/stats.PluginConfig'";
    for (content, what, says) in [
        (&refused[..], "clusters", "could not find @type 'type.googleapis.com/stats.PluginConfig'"),
        (b"<html>", "clusters", "it is no JSON: <html>"),
        (b"", "clusters", "is no answer of Envoy's admin interface"),
        (b"[1, 2]", "clusters", "it is no JSON: [1, 2]"),
        (b"{\"apiVersion\": \"v1\", \"items\": [{}]}", "clusters", "neither a config_dump nor"),
        (b"{\"cluster_statuses\": []}", "clusters", "is no config_dump"),
        (b"{\"configs\": []}", "endpoints", "/clusters?format=json"),
        (b"{\"configs\": [{\"static_clusters\": []}]}", "eds", "include_eds"),
    ] {
        let saved = file(content);
        let output = command(&["proxy-config", what, "-f", saved.path().to_str().unwrap()]).output().unwrap();
        let said = text(&output.stderr) + &text(&output.stdout);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.replace("\n       ", " ").contains(says), "{says:?} is not in {said}");
        assert!(output.stdout.is_empty(), "{said}");
    }
    let output = command(&["proxy-config", "all", "-f", "/nonexistent/dump.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn a_file_that_stops_in_the_middle_gives_what_came_before_and_a_gap() {
    let whole = std::fs::read(fixture("sidecar/config_dump.json")).unwrap();
    let saved = file(&whole[..whole.len() / 2]);
    let output = command(&["pc", "clusters", "-f", saved.path().to_str().unwrap(), "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["gaps"][0]["kind"], "truncated");
    assert_eq!(report["view"]["clusters"].as_array().unwrap().len(), 19);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_malformed_element_costs_itself() {
    let mut dump: Value = serde_json::from_slice(&std::fs::read(fixture("sidecar/config_dump.json")).unwrap()).unwrap();
    for config in dump["configs"].as_array_mut().unwrap() {
        if let Some(clusters) = config.get_mut("dynamic_active_clusters") {
            clusters[3]["cluster"]["name"] = serde_json::json!({"odd": 1});
            clusters[4] = serde_json::json!([1]);
        }
    }
    let saved = file(dump.to_string().as_bytes());
    let output = command(&["pc", "clusters", "-f", saved.path().to_str().unwrap(), "-o", "json"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["view"]["clusters"].as_array().unwrap().len(), 17);
    assert_eq!(report["gaps"][0]["kind"], "malformed");
    assert!(report["gaps"][0]["hint"].as_str().unwrap().contains("dynamic_active_clusters 4"), "{}", report["gaps"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn the_kubeconfigs_cluster_is_not_confused_with_envoys() {
    let clusters = fixture("sidecar/clusters.json");
    for args in [["--cluster", "xds-grpc"], ["--kubeconfig", "/nonexistent"]] {
        let output = proxy_config("endpoints", std::slice::from_ref(&clusters), &args);
        assert_eq!(output.status.code(), Some(if args[0] == "--cluster" { 0 } else { 2 }), "{args:?}");
    }
}

/// A bundle with one proxy, written as `capture --proxy` writes it.
fn bundle_of(files: &[PathBuf], target: &Path) {
    let read = |answers: &mut ProxyAnswers, lines: &mut Lines| {
        for file in files {
            let mut beside = |piece: Piece<'_>| lines.take(piece);
            let mut reader = Reader::beside(answers, Some(&mut beside));
            std::fs::read(file).unwrap().chunks(1000).for_each(|chunk| reader.push(chunk).unwrap());
            reader.finish().unwrap();
        }
    };
    let mut first = ProxyAnswers::default();
    read(&mut first, &mut Lines::of("", ""));
    // Of a file the proxy's own words say who it is.
    let (namespace, name) = first.pod().unwrap_or_default();
    let (mut answers, mut lines) = (ProxyAnswers::default(), Lines::of(namespace, name));
    read(&mut answers, &mut lines);
    let snapshot = Snapshot::default();
    let mut gathered = Gathered { snapshot, recorder: Some(Recorder::new()) };
    gathered.put(SourceId::ProxyAnswers, &lines.finish(&answers), Vec::new());
    bundle::write(std::fs::File::create(target).unwrap(), &gathered.snapshot, gathered.recorder.unwrap()).unwrap();
}

#[test]
fn a_bundle_gives_the_tables_and_findings_that_the_answers_themselves_give() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.tar.gz");
    let proxies: [&[&str]; 4] = [
        &["sidecar/config_dump.json", "sidecar/clusters.json"],
        &["agent/config_dump.json", "agent/clusters.json"],
        &["faults/config_dump.json", "faults/clusters.json"],
        &["faults/config_dump.json", "faults/clusters.json", "faults/init_dump.json"],
    ];
    for files in proxies {
        let files: Vec<PathBuf> = files.iter().map(|file| fixture(file)).filter(|file| file.exists()).collect();
        assert!(!files.is_empty());
        bundle_of(&files, &bundle);
        let from = |what: &str, more: &[&str]| {
            let mut args = vec!["proxy-config", what, "--now", NOW, "--from", bundle.to_str().unwrap()];
            args.extend(more);
            command(&args).output().unwrap()
        };
        for what in ["clusters", "listeners", "routes", "endpoints", "eds", "secrets", "bootstrap", "ecds", "all"] {
            let direct = proxy_config(what, &files, &["-o", "json"]);
            let Ok(mut direct) = serde_json::from_slice::<Value>(&direct.stdout) else { panic!("{what}: no JSON") };
            // What the files do not have is refused there.
            if direct["error"].is_object() {
                continue;
            }
            let mut bundled: Value = serde_json::from_slice(&from(what, &["-o", "json"]).stdout).unwrap();
            for key in ["origin", "scope"] {
                direct.as_object_mut().unwrap().remove(key);
                bundled.as_object_mut().unwrap().remove(key);
            }
            assert!(bundled == direct, "{what} of {files:?}:\n{bundled}\n{direct}");
        }
    }
}

#[test]
fn a_bundle_s_proxy_is_named_as_in_a_cluster() {
    const POD: &str = "real-5cc77c6c5b-qkvmr";
    let folder = tempfile::tempdir().unwrap();
    let bundle = folder.path().join("bundle.tar.gz");
    bundle_of(&[fixture("sidecar/config_dump.json")], &bundle);
    let bundle = bundle.to_str().unwrap();
    let run = |more: &[&str]| {
        let mut args = vec!["proxy-config", "clusters", "-o", "short", "--from", bundle];
        args.extend(more);
        command(&args).output().unwrap()
    };
    let alone = run(&[]);
    assert!(text(&alone.stdout).contains("SERVICE FQDN"), "{}", text(&alone.stderr));
    for name in [&[POD][..], &[&format!("{POD}.next")], &[&format!("pod/{POD}")], &[POD, "-n", "next"]] {
        assert_eq!(run(name).stdout, alone.stdout, "{name:?}");
    }
    let other = run(&["cart-2"]);
    assert_eq!(other.status.code(), Some(2));
    let said = text(&other.stderr);
    assert!(said.contains("no configuration of cart-2") && said.contains(&format!("{POD}.next")), "{said}");
    let log = command(&["proxy-config", "log", "--from", bundle]).output().unwrap();
    assert!(text(&log.stderr).contains("not from a bundle"));
    let demo = command(&["proxy-config", "all", "cart", "--from", "demo"]).output().unwrap();
    assert!(text(&demo.stderr).contains("kubectl asm capture --proxy"), "{}", text(&demo.stderr));
}
