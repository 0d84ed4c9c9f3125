//! Logs from a server that refuses, breaks off, sends endless lines or very many: what came is shown and judged, what did
//! not come is said, and memory does not grow with the log.

use serde_json::{Value, json};

use crate::api::{Asked, serve_but};
use crate::cluster_support::{Reply, Server, ok, status};
use crate::program::{Place, Ran};

const NOT_READY: &str = "warn\tEnvoy proxy is NOT ready: config not received from XDS server (is Istiod running?): cds updates: 0 successful, 0 rejected; lds updates: 0 successful, 0 rejected";

fn pod(namespace: &str, name: &str, container: &str, status: Value) -> Value {
    let mut status = status;
    status["name"] = container.into();
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": {"app": "istiod", "istio.io/rev": "asm-1-30"},
            "annotations": {"istio.io/rev": "asm-1-30", "sidecar.istio.io/status": "{}"}},
        "spec": {"containers": [{"name": container, "image": "mcr.microsoft.com/oss/v2/istio/proxyv2:v1.30.2-2"}]},
        "status": {"phase": "Running", "containerStatuses": [status]}
    })
}

fn runs() -> Value {
    json!({"ready": true, "state": {"running": {"startedAt": "2026-08-15T09:00:00Z"}}})
}

/// The last word of a path such as `/api/v1/namespaces/shop/pods/web-1/log`, where it is one.
async fn serve(pods: Vec<Value>, log: impl Fn(&str, &Asked, usize) -> Reply + Send + Sync + 'static) -> Server {
    let counts = std::sync::Mutex::new(std::collections::BTreeMap::<String, usize>::new());
    Server::with(crate::api::manner(), {
        let pods = pods.clone();
        move |_, seen| {
            let path = seen.path().split('?').next().unwrap_or_default().to_owned();
            match path.strip_suffix("/log").and_then(|path| path.rsplit('/').next()) {
                Some(name) => {
                    let mut counts = counts.lock().unwrap();
                    let count = counts.entry(name.to_owned()).or_default();
                    *count += 1;
                    log(name, &Asked::of(seen).unwrap(), *count)
                }
                None => crate::api::answer(&pods, seen),
            }
        }
    })
    .await
}

fn lines(lines: &[(&str, &str)]) -> Vec<u8> {
    lines
        .iter()
        .map(|(at, text)| format!("2026-08-15T09:{at}.5Z 2026-08-15T09:{at}.1Z\t{text}\n"))
        .collect::<String>()
        .into()
}

fn view(ran: &Ran) -> Value {
    ran.json()["view"].clone()
}

#[tokio::test]
async fn replicas_are_merged_by_time_and_known_lines_are_marked() {
    let pods = ["istiod-1-aa", "istiod-1-bb"].map(|name| pod("aks-istio-system", name, "discovery", runs()));
    let server = serve(pods.into(), |name, asked, _| {
        assert_eq!(asked.query("container"), Some("discovery"));
        assert_eq!(asked.query("timestamps"), Some("true"));
        assert_eq!(asked.query("tailLines"), Some("500"));
        ok(String::from_utf8(match name {
            "istiod-1-aa" => lines(&[("00:01", "info\tfirst"), ("00:03", "info\tthird")]),
            _ => lines(&[
                ("00:02", "warn\tdelta\tADS:LDS: ACK ERROR web-1.shop-7 Internal:x"),
                ("00:04", "info\tfourth\u{1b}[31m"),
            ]),
        })
        .unwrap())
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "istiod"]).await;
    let order: Vec<&str> = ran.stdout.lines().take(4).collect();
    let starts: Vec<bool> =
        ["  aa  ", "! bb  ", "  aa  ", "  bb  "].iter().zip(&order).map(|(s, l)| l.starts_with(s)).collect();
    assert_eq!(starts, [true; 4], "{order:#?}");
    assert!(order[3].ends_with("fourth[31m"), "{order:?}");
    assert_eq!(ran.code, 0, "a warning: {ran:?}");
    assert!(ran.stdout.contains("! CP10  deployment/istiod-asm-1-30 in aks-istio-system"), "{ran:?}");
    let raw = place.run(&["logs", "istiod", "--raw"]).await;
    assert_eq!((raw.code, raw.stdout.lines().count()), (0, 4), "{raw:?}");
    assert!(raw.stdout.starts_with("aa  2026-08-15T09:00:01.1Z  info  first\n"), "{raw:?}");
    let all = place.run(&["logs", "istiod", "-o", "json", "--fail-on", "warning"]).await;
    assert_eq!(all.code, 1, "{all:?}");
    assert_eq!(view(&all)["messages"][0]["id"], "istiod-proxy-rejects");
    assert_eq!(view(&all)["messages"][0]["pods"], json!(["istiod-1-bb.aks-istio-system"]));
}

#[tokio::test]
async fn a_log_that_may_not_be_read_costs_only_itself_and_names_the_right() {
    let pods = ["istiod-1-aa", "istiod-1-bb"].map(|name| pod("aks-istio-system", name, "discovery", runs()));
    let server = serve(pods.into(), |name, _, _| match name {
        "istiod-1-aa" => status(403, "pods is forbidden: User jane cannot get resource pods/log"),
        _ => ok(String::from_utf8(lines(&[("00:01", "info\tfine")])).unwrap()),
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "istiod"]).await;
    assert_eq!(ran.code, 3, "half of it is no good health: {ran:?}");
    assert!(ran.stdout.contains("info  fine") && !ran.stdout.contains("all well"), "{ran:?}");
    assert!(ran.stdout.contains("no right to get pods/log in namespace aks-istio-system"), "{ran:?}");
    let report = place.run(&["logs", "istiod", "-o", "json"]).await.json();
    assert_eq!(
        report["gaps"][0]["need"],
        json!({"verb": "get", "resource": "pods/log", "namespace": "aks-istio-system"})
    );
    assert_eq!(report["view"]["logs"].as_array().unwrap().len(), 1);
    let server = serve_but(Vec::new(), |_, asked| (asked?.resource == "pods").then(|| status(403, "no"))).await;
    let refusal = Place::at(&server).refused(&["logs", "istiod"]).await;
    assert!(refusal.message.contains("list pods"), "{refusal:?}");
}

#[tokio::test]
async fn what_came_before_a_break_is_shown_and_judged() {
    let pods = vec![pod("shop", "web-1", "istio-proxy", runs())];
    for stalls in [false, true] {
        let server = serve(pods.clone(), move |_, _, _| {
            let body = lines(&[("00:01", NOT_READY), ("01:01", NOT_READY)]);
            if stalls { Reply::Stall(body) } else { Reply::Cut(body) }
        })
        .await;
        let place = Place::at(&server).limit("2s");
        let ran = place.run(&["logs", "proxy", "web-1", "-n", "shop", "-o", "json"]).await;
        assert_eq!(ran.code, 1, "{stalls}: {ran:?}");
        let report = ran.json();
        assert_eq!(report["findings"][0]["code"], "PRX20", "{report:#}");
        assert_eq!(report["gaps"].as_array().unwrap().len(), 1, "{report:#}");
        assert_eq!(report["view"]["logs"][0]["lines"], 2);
    }
}

#[tokio::test]
async fn the_previous_log_of_what_crashes_is_read_and_said() {
    let crashed = json!({"ready": false, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2026-08-15T09:59:00Z"}}});
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", crashed)], |_, asked, _| {
        let text = if asked.query("previous") == Some("true") {
            "warn\tEnvoy may have been out of memory killed. Check memory usage and limits."
        } else {
            "info\tVersion 1.30"
        };
        ok(String::from_utf8(lines(&[("00:01", text)])).unwrap())
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "proxy", "web-1.shop"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(
        ran.stderr.contains("ended with OOMKilled (exit code 137)") && ran.stderr.contains("CrashLoopBackOff"),
        "{ran:?}"
    );
    assert!(ran.stdout.starts_with("✗ 2026-08-15T09:00:01.1Z"), "{ran:?}");
    let report = place.run(&["logs", "proxy", "web-1.shop", "-o", "json"]).await.json();
    let previous = &report["view"]["logs"][0]["previous"];
    assert_eq!((&previous["exitCode"], &previous["lastLines"]), (&json!(137), &Value::Null), "a message says why");
    let now = place.run(&["logs", "proxy", "web-1.shop", "--previous=false"]).await;
    assert_eq!(now.code, 0, "{now:?}");
    assert!(now.stdout.contains("Version 1.30") && !now.stderr.contains("OOMKilled"), "{now:?}");
}

#[tokio::test]
async fn a_crash_that_no_known_message_explains_is_not_called_nothing() {
    let crashed = |reason: &str| {
        json!({"ready": false, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": reason, "exitCode": 255, "finishedAt": "2026-08-15T09:59:00Z"}}})
    };
    let texts: Vec<(String, String)> =
        (1..=7).map(|second| (format!("00:0{second}"), format!("info\tstep {second} password=hunter2"))).collect();
    let body: Vec<(&str, &str)> = texts.iter().map(|(at, text)| (at.as_str(), text.as_str())).collect();
    let body = String::from_utf8(lines(&body)).unwrap();
    let server = serve(vec![pod("aks-istio-system", "istiod-1-aa", "discovery", crashed("Error"))], move |_, _, _| {
        ok(body.clone())
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "istiod"]).await;
    assert!(ran.stdout.contains("no known cause found") && !ran.stdout.contains("nothing wrong"), "{ran:?}");
    let flat = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat.contains("discovery of istiod-1-aa -n aks-istio-system ended at 2026-08-15 09:59:00 UTC with Error (exit code 255). No known message in its log says why; its last lines:"),
        "{flat}"
    );
    let report = place.run(&["logs", "istiod", "-o", "json"]).await.json();
    let last = report["view"]["logs"][0]["previous"]["lastLines"].as_array().unwrap();
    assert_eq!(last.len(), 5, "{last:?}");
    assert!(
        last[0].as_str().unwrap().starts_with("2026-08-15T09:00:03.1Z  info  step 3")
            && last[4].as_str().unwrap().contains("step 7"),
        "{last:?}"
    );
    assert!(last.iter().all(|line| !line.as_str().unwrap().contains("hunter2")), "{last:?}");
    // Without a single line there is nothing to call good either.
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", crashed("StartError"))], |_, _, _| ok("")).await;
    let ran = Place::at(&server).run(&["logs", "proxy", "web-1.shop"]).await;
    let flat = ran.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains("with StartError (exit code 255). Its log is empty."), "{flat}");
    assert!(!flat.contains("nothing wrong"), "{flat}");
}

#[tokio::test]
async fn what_is_followed_goes_on_over_a_restart_without_a_line_twice() {
    let ended = json!({"ready": false, "restartCount": 1, "state": {"running": {"startedAt": "2026-08-15T09:59:59Z"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": 255, "finishedAt": "2026-08-15T08:59:00Z"}}});
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", ended)], |_, asked, count| {
        assert_eq!(asked.query("follow"), Some("true"));
        match count {
            1 => ok(String::from_utf8(lines(&[("00:01", "info\tone"), ("00:02", "info\ttwo")])).unwrap()),
            2 => {
                assert_eq!(asked.query("sinceTime"), Some("2026-08-15T09:00:02Z"));
                ok(String::from_utf8(lines(&[("00:02", "info\ttwo"), ("00:03", "info\tthree")])).unwrap())
            }
            // That ends it: a right that is taken away does not come back.
            _ => status(403, "no"),
        }
    })
    .await;
    let ran = Place::at(&server).run(&["logs", "proxy", "web-1", "-n", "shop", "-f", "--raw"]).await;
    let texts: Vec<&str> = ran.stdout.lines().map(|line| line.rsplit("  ").next().unwrap()).collect();
    assert_eq!(texts, ["one", "two", "three"], "{ran:?}");
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.contains("Error (exit code 255); its next log follows"), "{ran:?}");
}

#[tokio::test]
async fn a_crash_is_followed_from_its_last_life_into_the_next() {
    let waits = json!({"ready": false, "restartCount": 4, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": 255, "finishedAt": "2026-08-15T09:00:02Z"}}});
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", waits)], |_, asked, _| {
        let of = |texts: &[(&str, &str)]| ok(String::from_utf8(lines(texts)).unwrap());
        match asked.query("previous") {
            Some("true") => of(&[("00:01", "info\tlast words")]),
            _ => {
                assert_eq!(asked.query("sinceTime"), Some("2026-08-15T09:00:02Z"));
                assert_eq!(asked.query("follow"), Some("true"));
                of(&[("00:01", "info\tlast words"), ("00:30", "info\tnew life")])
            }
        }
    })
    .await;
    let place = Place::at(&server);
    let mut child = place.start(&["logs", "proxy", "web-1", "-n", "shop", "-f", "--raw"]);
    let mut out = tokio::io::AsyncBufReadExt::lines(tokio::io::BufReader::new(child.stdout.take().unwrap()));
    for words in ["last words", "new life"] {
        let line = out.next_line().await.unwrap().unwrap();
        assert!(line.ends_with(words), "{line}");
    }
    // The pod waits for its next start, and so does the command.
    child.kill().await.unwrap();
}

#[tokio::test]
async fn a_log_that_the_node_does_not_keep_is_no_good_log() {
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", runs())], |_, _, _| {
        ok("unable to retrieve container logs for containerd://0123456789abcdef")
    })
    .await;
    let ran = Place::at(&server).run(&["logs", "proxy", "web-1", "-n", "shop", "--previous"]).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(
        ran.stdout.contains("the node does not keep it any more") && !ran.stdout.contains("nothing wrong"),
        "{ran:?}"
    );
}

#[tokio::test]
async fn a_hundred_thousand_lines_and_one_endless_one_are_one_message() {
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", runs())], |_, asked, _| {
        assert_eq!(asked.query("tailLines"), None);
        let mut body = Vec::new();
        for number in 0..100_000 {
            let (minute, second) = (number / 6000, number / 100 % 60);
            body.extend_from_slice(
                format!("2026-08-15T09:{minute:02}:{second:02}.{:03}Z 2026-08-15T09:{minute:02}:{second:02}.1Z\terror\txdsproxy\tfailed to connect to upstream istiod-{number}:15012: x\n", number % 100).as_bytes(),
            );
        }
        body.extend_from_slice(b"2026-08-15T09:59:00Z ");
        body.resize(body.len() + (8 << 20), b'x');
        ok(String::from_utf8(body).unwrap())
    })
    .await;
    let place = Place::at(&server).limit("120s");
    let ran = place.run(&["logs", "proxy", "web-1.shop", "--tail=-1", "-o", "json"]).await;
    let report = ran.json();
    assert_eq!(report["view"]["lines"], 100_001, "{:#}", report["view"]);
    assert_eq!(report["view"]["logs"][0]["cut"], 1);
    assert_eq!(report["view"]["messages"].as_array().unwrap().len(), 1);
    assert_eq!(report["view"]["messages"][0]["count"], 100_000);
    assert!(ran.stdout.len() < 64 << 10, "{}", ran.stdout.len());
}

#[tokio::test]
async fn what_does_not_go_together_is_said() {
    let server = serve(vec![pod("shop", "web-1", "app", runs())], |_, _, _| status(500, "not asked")).await;
    let place = Place::at(&server);
    for (args, says) in [
        (&["logs", "proxy"][..], "name a pod or a workload"),
        (&["logs", "istiod", "--raw", "-o", "json"], "--raw"),
        (&["logs", "gateway", "--revision", "asm-1-30"], "--revision"),
        (&["logs", "istiod", "--from", "demo", "-f"], "--follow does not go with --from"),
        (&["logs", "istiod", "--from", "demo"], "holds no logs"),
        (&["logs", "--file", "/nonexistent"], "/nonexistent cannot be read"),
        (&["logs", "--file", "/dev/null"], "there are no lines"),
        (&["logs", "--file", "/dev/null", "--context", "x"], "--context does not go with --file"),
        (&["logs", "proxy", "nobody", "-n", "shop"], "there is no pod nobody"),
        (&["logs", "proxy", "web-1", "-n", "shop"], "has no proxy"),
        (&["logs", "proxy", "web-1", "-n", "shop", "-c", "other"], "has no container other"),
    ] {
        let refusal = match args.contains(&"json") {
            true => {
                let ran = place.run(args).await;
                assert_eq!(ran.code, 2, "{ran:?}");
                ran.json()["error"]["message"].as_str().unwrap().to_owned()
            }
            false => place.refused(args).await.message,
        };
        assert!(refusal.contains(says), "{args:?}: {refusal}");
    }
}

#[tokio::test]
async fn the_query_needs_no_right_to_read_logs_and_quotes_names() {
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", runs())], |_, _, _| status(500, "not asked")).await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "proxy", "web-1", "-n", "shop", "--since", "2h", "--kql"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for part in [
        "ContainerLogV2\n",
        "ago(2h)",
        "PodNamespace in (\"shop\")",
        "PodName in (\"web-1\")",
        "ContainerName in (\"istio-proxy\")",
    ] {
        assert!(ran.stdout.contains(part), "{part}: {ran:?}");
    }
    let old = place.run(&["logs", "proxy", "web-1", "-n", "shop", "--kql=v1"]).await;
    assert!(old.stdout.contains("KubePodInventory") && old.stdout.contains("ContainerLog\n"), "{old:?}");
}

#[tokio::test]
async fn saved_logs_are_told_apart_by_their_prefixes() {
    let place = Place::new("{server: 'http://127.0.0.1:1'}", "{token: t}");
    let text = format!(
        "[pod/web-1/istio-proxy] 2026-08-15T09:00:01Z\t{NOT_READY}\n[pod/web-1/istio-proxy] 2026-08-15T09:01:01Z\t{NOT_READY}\nistiod-1-a discovery 2026-08-15T09:00:01Z\twarn\tinvalid mesh config, ignoring: x\n"
    );
    let file = place.file("all.log", text.as_bytes());
    let ran = place.run(&["logs", "--file", file.to_str().unwrap(), "-o", "json"]).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    let report = ran.json();
    let codes: Vec<&str> = report["findings"].as_array().unwrap().iter().map(|f| f["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["PRX20", "CP10"], "{report:#}");
    let parts: Vec<&str> =
        report["view"]["logs"].as_array().unwrap().iter().map(|l| l["part"].as_str().unwrap()).collect();
    assert_eq!(parts, ["istiod", "proxy"]);
}

#[tokio::test]
async fn lines_of_other_containers_are_shown_and_not_taken_for_istios() {
    let text = "panic: runtime error: index out of range [1] with length 1";
    let mut both = pod("shop", "web-1", "istio-proxy", runs());
    both["spec"]["containers"].as_array_mut().unwrap().push(json!({"name": "app", "image": "app:1"}));
    let server = serve(vec![both], move |_, asked, _| {
        assert_eq!(asked.query("container"), Some("app"));
        ok(format!(
            "2026-08-15T09:00:01.5Z {text}\n2026-08-15T09:00:02.5Z warn\tEnvoy may have been out of memory killed\n"
        ))
    })
    .await;
    let place = Place::at(&server);
    let ran = place.run(&["logs", "proxy", "web-1", "-n", "shop", "-c", "app"]).await;
    assert!(ran.code == 0 && ran.stdout.starts_with(&format!("  {text}\n")), "{ran:?}");
    assert!(ran.stdout.contains("The container is none of Istio's"), "{ran:?}");
    assert!(!ran.stdout.contains("all well") && !ran.stdout.contains("None of the lines"), "{ran:?}");
    let file = place.file("app.log", format!("{text}\nValidation failed: name is required\n").as_bytes());
    let saved =
        place.file("all.log", format!("[pod/web-1/app] {text}\n[pod/web-1/app] warn\t{NOT_READY}\n").as_bytes());
    for args in [&["--file", file.to_str().unwrap()][..], &["proxy", "--file", saved.to_str().unwrap()]] {
        let ran = place.run(&[&["logs"], args, &["-o", "json"]].concat()).await;
        assert_eq!((ran.code, view(&ran)["messages"].as_array().unwrap().len()), (0, 0), "{ran:?}");
    }
}

#[tokio::test]
async fn a_file_without_any_log_of_the_mesh_is_refused_and_not_called_good() {
    let place = Place::new("{server: 'http://127.0.0.1:1'}", "{token: t}");
    place.file("az.log", b"ERROR: (BadRequest) Revision asm-1-17 is not supported.\nCode: BadRequest\n");
    let refusal = place.refused(&["logs", "--file", "az.log"]).await;
    assert!(
        refusal.kind == "file" && refusal.message.contains("none of its 2 lines looks like a log of"),
        "{refusal:?}"
    );
    assert!(refusal.hints("kubectl asm azure --log az.log"), "{refusal:?}");
    // One line of the mesh among others is enough, whatever it says.
    place.file("mixed.log", b"starting\n2026-08-15T09:00:01Z\tinfo\tEnvoy proxy is ready\nbye\n");
    let ran = place.plain(&["logs", "--file", "mixed.log"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// The most memory that a process ever had, in kilobytes.
#[cfg(target_os = "linux")]
fn peak(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// What is written goes through a pipe that holds little, so that all but the last of it is taken in when writing returns.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_log() {
    use std::io::Write;
    use std::process::{Command, Stdio};

    let mut child = Command::new(env!("CARGO_BIN_EXE_kubectl-asm"))
        .args(["logs", "--file", "-", "-o", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut write = |from: u32, to: u32| {
        for number in from..to {
            let text = format!(
                "[2026-07-15T12:00:00.{:03}Z] \"GET /{number} HTTP/1.1\" 503 UF x - \"delayed connect error: 111\" 0 0 0 - \"-\" \"-\" \"id-{number}\" \"host-{number}\" \"10.0.0.1:80\" outbound|80||host-{number} - - - - -\n",
                number % 1000
            );
            stdin.write_all(text.as_bytes()).unwrap();
        }
        stdin.flush().unwrap();
    };
    write(0, 5_000);
    let before = peak(child.id());
    write(5_000, 105_000);
    let after = peak(child.id());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["view"]["failedRequests"], 105_000);
    // The lines alone would be 18 MB. The kernel counts in steps, so a peak may even look smaller than it was.
    assert!(after.saturating_sub(before) < 4096, "{before} kB became {after} kB");
}

#[tokio::test]
async fn an_interruption_ends_with_what_is_known() {
    let server = serve(vec![pod("shop", "web-1", "istio-proxy", runs())], |_, _, _| {
        Reply::Stall(lines(&[("00:01", NOT_READY), ("01:01", NOT_READY)]))
    })
    .await;
    let place = Place::at(&server);
    let mut child = place.start(&["logs", "proxy", "web-1", "-n", "shop", "-f"]);
    // Its first line shows that it follows.
    let mut out = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut first).await.unwrap();
    assert!(first.contains("NOT ready"), "{first}");
    let signal = tokio::process::Command::new("kill").args(["-INT", &child.id().unwrap().to_string()]).status().await;
    assert!(signal.unwrap().success());
    let mut rest = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut out, &mut rest).await.unwrap();
    assert_eq!(child.wait().await.unwrap().code(), Some(130), "{rest}");
    assert!(rest.contains("✗ PRX20  pod/web-1 in shop"), "{rest}");
}

#[tokio::test]
async fn a_bundle_gives_the_summary_that_the_cluster_gave_and_no_secrets() {
    let mut objects = crate::api::healthy();
    let mut broken = pod(
        "shop",
        "broken-1",
        "istio-proxy",
        json!({"ready": false, "restartCount": 9,
        "state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": {"terminated": {"reason": "Error", "exitCode": 255, "finishedAt": "2026-08-15T09:59:00Z"}}}),
    );
    broken["metadata"]["labels"] = json!({});
    objects.push(broken);
    let mut gateway = pod("aks-istio-ingress", "gw-1", "istio-proxy", runs());
    gateway["metadata"]["labels"] = json!({});
    objects.push(gateway);
    let server = serve(objects, |name, _, _| {
        let text = match name {
            name if name.starts_with("istiod") => "warn\tinvalid mesh config, ignoring: password=hunter2",
            "broken-1" => "error\txdsproxy\tfailed to connect to upstream istiod-asm-1-30.aks-istio-system.svc:15012: Bearer s3cr3t",
            "gw-1" => return status(403, "pods is forbidden"),
            _ => "info\tEnvoy proxy is ready",
        };
        ok(String::from_utf8(lines(&[("00:01", "info\tGET /a?card=4111 x"), ("00:02", text)])).unwrap())
    })
    .await;
    let place = Place::at(&server);
    let bundle = place.dir.path().join("b.tar.gz").display().to_string();
    let wrote = place.plain(&["capture", &bundle, "--logs"]).await;
    assert_eq!(wrote.code, 3, "{wrote:?}");
    assert!(wrote.stderr.contains("not in it: the log of istio-proxy of gw-1 -n aks-istio-ingress"), "{wrote:?}");
    // It is the answer to whoever asks for it, and to nobody else.
    let gateways = place.run(&["logs", "gateway", "--from", &bundle]).await;
    assert!(gateways.code == 3 && gateways.stdout.contains("no right to get pods/log"), "{gateways:?}");
    for args in [&["logs", "istiod"][..], &["logs", "proxy", "broken-1", "-n", "shop"]] {
        let all =
            |more: &[&str]| args.iter().chain(&["-o", "json"]).chain(more).map(|a| (*a).to_owned()).collect::<Vec<_>>();
        let run = async |args: Vec<String>| place.run(&args.iter().map(String::as_str).collect::<Vec<_>>()).await;
        let (live, kept) = (run(all(&[])).await, run(all(&["--from", &bundle])).await);
        assert_eq!(live.code, kept.code, "{kept:?}");
        for part in ["findings", "outcomes", "summary", "gaps", "view"] {
            assert_eq!(live.json()[part], kept.json()[part], "{args:?} {part}");
        }
        assert!(!live.json()["findings"].as_array().unwrap().is_empty(), "{live:?}");
    }
    let shown = place.plain(&["logs", "proxy", "broken-1", "-n", "shop", "--from", &bundle]).await;
    assert!(
        shown.stdout.contains("GET /a?[…] x") && shown.stdout.contains("failed to connect to upstream"),
        "{shown:?}"
    );
    let whole = std::fs::read(&bundle).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(whole.as_slice()), &mut text).unwrap();
    assert!(text.contains("sources/logs.jsonl") && text.contains("failed to connect to upstream"));
    for secret in ["hunter2", "s3cr3t", "4111"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
    // Without the flag there are none, and that is said.
    let plain = place.dir.path().join("plain.tar.gz").display().to_string();
    assert_eq!(place.plain(&["capture", &plain]).await.code, 0);
    let refusal = place.refused(&["logs", "istiod", "--from", &plain]).await;
    assert!(refusal.message.contains("holds no logs") && refusal.hints("capture --logs"), "{refusal:?}");
    // And status does not become another one by them.
    let with = place.run(&["status", "--from", &bundle, "-o", "json"]).await.json();
    assert!(
        with["outcomes"].as_array().unwrap().iter().all(|outcome| outcome["code"] != "CP10"),
        "status reads no logs"
    );
}

#[tokio::test]
async fn the_largest_numbers_of_a_bundle_are_added_up_without_breaking() {
    let place = Place::new("{server: 'http://127.0.0.1:1'}", "{token: t}");
    let log = |name: &str| {
        let group = |id: &str| json!({"id": id, "count": u64::MAX, "example": "x"});
        json!({"metadata": {"namespace": "shop", "name": name}, "container": "istio-proxy", "part": "proxy",
            "workload": {"kind": "Deployment", "name": "web"}, "lines": u64::MAX, "cut": u64::MAX, "requests": u64::MAX,
            "failedRequests": u64::MAX, "groups": [group("proxy-rejects"), group("access-flag-UH"), group("proxy-connect")]})
    };
    let lines = [log("web-1"), log("web-2")].map(|log| format!("{log}\n")).concat();
    let manifest = br#"{"format":1,"sections":{"logs":{"state":"collected","items":2}}}"#;
    let folder = place.dir.path().join("hostile");
    std::fs::create_dir_all(folder.join("sources")).unwrap();
    std::fs::write(folder.join("manifest.json"), manifest).unwrap();
    std::fs::write(folder.join("sources/logs.jsonl"), lines).unwrap();
    let from = folder.to_str().unwrap();
    for args in [&["-o", "json"][..], &[], &["-o", "short"]] {
        let ran = place.run(&[&["logs", "proxy", "--from", from], args].concat()).await;
        assert_eq!(ran.code, 0, "warnings: {ran:?}");
        if args.contains(&"json") {
            assert_eq!(view(&ran)["lines"], u64::MAX);
            assert_eq!(view(&ran)["failedRequests"], u64::MAX);
            assert_eq!(view(&ran)["messages"][0]["count"], u64::MAX);
            let codes: Vec<_> = ran.json()["findings"].as_array().unwrap().iter().map(|f| f["code"].clone()).collect();
            assert_eq!(codes, ["PRX20", "PRX21"]);
        }
    }
}
