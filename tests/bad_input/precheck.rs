//! `precheck` with programs that answer, are missing, hang, fail and print rubbish, and with rights that are missing.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::api::{answer, healthy, manner, serve};
use crate::cluster_support::{Reply, Server};
use crate::program::{Place, Ran, in_time};

/// A folder of programs as the only PATH; each is the body of a shell script.
fn programs(place: Place, programs: &[(&str, &str)]) -> Place {
    let folder = place.dir.path().join("programs");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, script) in programs {
        let file = place.file(&format!("programs/{name}"), format!("#!/bin/sh\n{script}\n").as_bytes());
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    place.with("PATH", folder.to_str().unwrap())
}

const KUBECTL: (&str, &str) = ("kubectl", r#"echo '{"clientVersion":{"gitVersion":"v1.34.2"}}'"#);

fn program(ran: &Ran, name: &str) -> Value {
    let report = ran.json();
    let all = report["view"]["programs"].as_array().unwrap();
    all.iter().find(|one| one["name"] == name).unwrap_or_else(|| panic!("{name}: {ran:?}")).clone()
}

#[tokio::test]
async fn everything_in_order_is_silent_and_shows_the_line_for_this_cluster() {
    let server = serve(healthy()).await;
    let istioctl = r#"[ "$1 $2" = "version --remote=false" ] && echo '{"clientVersion":{"version":"1.27.3"}}'"#;
    let place = programs(Place::at(&server), &[KUBECTL, ("istioctl", istioctl)]);
    let ran = place.run(&["precheck", "-o", "json"]).await;
    assert_eq!((ran.code, ran.gaps()), (0, vec![]), "{ran:?}");
    let view = &ran.json()["view"];
    assert_eq!(view["revisions"], json!(["asm-1-30"]));
    assert_eq!(
        view["lines"],
        json!([["istioctl", "proxy-status", "-i", "aks-istio-system", "--revision", "asm-1-30"]])
    );
    let commands = view["commands"].as_array().unwrap();
    assert!(commands.len() > 10 && commands.iter().all(|one| one["can"] == "yes"), "{view:#}");
    assert_eq!(program(&ran, "istioctl")["version"], "1.27.3");
    assert_eq!(
        (program(&ran, "az")["path"].clone(), program(&ran, "az")["trouble"].clone()),
        (Value::Null, Value::Null)
    );
    let writes: Vec<_> = server.seen().into_iter().filter(|seen| !seen.line.starts_with("GET ")).collect();
    assert!(writes.iter().all(|seen| seen.path().contains("/selfsubject")), "only reviews of one's own access");
}

#[tokio::test]
async fn programs_that_fail_hang_or_print_rubbish_cost_their_line_and_no_more() {
    let server = serve(healthy()).await;
    for (script, trouble) in [
        ("exit 7", "it ended with code 7"),
        ("echo 'Client Version: v1.34.2'", "what it prints is not understood"),
        ("printf '{\"clientVersion\":{\"gitVersion\":\"v1\\033[31m\"}}'", "what it prints is not understood"),
        ("while :; do echo 0123456789012345678901234567890123456789; done", "it prints without end"),
        ("kill -9 $$", "it was ended by a signal"),
    ] {
        let place = programs(Place::at(&server), &[("kubectl", script)]);
        let ran = place.run(&["precheck", "-o", "json"]).await;
        let said = program(&ran, "kubectl");
        assert!(said["trouble"].as_str().is_some_and(|said| said.contains(trouble)), "{script}: {said}");
        assert_eq!((ran.code, &said["version"]), (0, &Value::Null), "{script}: {ran:?}");
    }
    // Not a program at all.
    let place = programs(Place::at(&server), &[]);
    place.file("programs/az", b"no program");
    let ran = place.run(&["precheck", "-o", "json"]).await;
    assert_eq!(program(&ran, "az")["trouble"], "it cannot be started", "{ran:?}");
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_and_costs_the_limit_at_most() {
    let server = serve(healthy()).await;
    let limit = Duration::from_secs(3);
    in_time(limit, async || {
        let place =
            programs(Place::at(&server), &[KUBECTL, ("istioctl", "echo $$ >\"$HOME/pid\"; exec /bin/sleep 600")])
                .limit("3s");
        let ran = place.run(&["precheck", "-o", "json"]).await;
        let pid = std::fs::read_to_string(place.dir.path().join("pid")).unwrap();
        // It has been told to end; a busy machine may take a moment over it.
        let exe = Path::new("/proc").join(pid.trim()).join("exe");
        let told = std::time::Instant::now();
        while exe.exists() {
            assert!(told.elapsed() < Duration::from_secs(10), "it is ended");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let trouble = program(&ran, "istioctl")["trouble"].to_string();
        assert!(trouble.contains("did not answer within"), "{ran:?}");
        assert_eq!((ran.code, program(&ran, "kubectl")["version"].as_str()), (0, Some("v1.34.2")), "{ran:?}");
        ran.took
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_about_rights_is_no_all_clear() {
    let objects = healthy();
    let server = Server::with(manner(), move |_, seen| match seen.path().contains("/selfsubject") {
        true => Reply::Silent,
        false => answer(&objects, seen),
    })
    .await;
    let place = programs(Place::at(&server), &[KUBECTL]).limit("2s");
    let ran = place.run(&["precheck", "-o", "json"]).await;
    assert_eq!((ran.code, ran.gaps()), (3, vec![("grants".to_owned(), "timeout".to_owned())]), "{ran:?}");
    assert_eq!(program(&ran, "kubectl")["version"], "v1.34.2");
}

#[tokio::test]
async fn rights_that_are_missing_are_counted_by_command_and_named() {
    let objects = healthy();
    let server = Server::with(manner(), move |_, seen| {
        let asked: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let attributes = &asked["spec"]["resourceAttributes"];
        if seen.path().ends_with("/selfsubjectreviews") {
            let answer = json!({"status": {"userInfo": {"username": "jane@example.com", "groups": ["dev"]}}});
            return Reply::Full(201, "", answer.to_string().into_bytes());
        }
        if !attributes.is_object() {
            return answer(&objects, seen);
        }
        let allowed = attributes["verb"] != "create" && attributes["verb"] != "delete";
        Reply::Full(201, "", json!({"status": {"allowed": allowed}}).to_string().into_bytes())
    })
    .await;
    let place = programs(Place::at(&server), &[KUBECTL]);
    let ran = place.run(&["precheck", "-n", "shop", "-o", "json"]).await;
    let view = &ran.json()["view"];
    assert_eq!(view["connection"]["user"], "jane@example.com");
    let of = |command: &str| {
        let all = view["commands"].as_array().unwrap();
        all.iter().find(|one| one["command"] == command).unwrap().clone()
    };
    assert_eq!(of("inject-check")["can"], "yes");
    let probe = of("inject-check --probe");
    assert_eq!(probe["can"], "part");
    let need = |verb: &str| json!({"verb": verb, "resource": "pods", "namespace": "shop"});
    assert_eq!(probe["missing"], json!([need("create"), need("delete")]));
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.gaps().contains(&("grants".to_owned(), "forbidden".to_owned())));
    assert!(ran.outcomes().contains(&("ENV10".to_owned(), "notChecked".to_owned())));

    let narrow = place.run(&["precheck", "-n", "shop", "--for", "inject-check", "--allow-gaps"]).await;
    assert_eq!(narrow.code, 0, "{narrow:?}");
    assert!(narrow.stdout.contains("in part: 2 rights are missing"), "{narrow:?}");
}

#[tokio::test]
async fn a_bundle_says_what_it_can_answer_and_an_unreachable_server_is_an_error() {
    let place = programs(Place::new("{server: 'http://127.0.0.1:1'}", "{}"), &[KUBECTL]);
    let ran = place.run(&["precheck", "--from", "demo", "-o", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    let report = ran.json();
    let can: Vec<(&str, &str)> = report["view"]["commands"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| (one["command"].as_str().unwrap(), one["can"].as_str().unwrap()))
        .collect();
    assert!(can.contains(&("status", "yes")) && can.contains(&("proxy-config", "no")), "{can:?}");
    assert!(report["view"]["connection"].is_null());
    assert_eq!(place.refused(&["precheck"]).await.kind, "unreachable");
}

#[tokio::test]
async fn a_command_whose_section_a_bundle_lacks_cannot_be_answered_and_the_flag_is_named() {
    let place = programs(Place::new("{server: 'http://127.0.0.1:1'}", "{}"), &[KUBECTL]);
    place.demo_without("old", &["azure", "istiodMetrics"]);
    let ran = place.run(&["precheck", "--from", "old"]).await;
    for (command, answer) in [
        ("status", "yes"),
        ("proxy-config", "no: made without --proxy"),
        ("logs", "no: made without --logs"),
        ("azure", "no: made without --az"),
        ("metrics", "in part: 1 section is not in it"),
    ] {
        let row = ran.stdout.lines().find(|line| line.split_whitespace().next() == Some(command)).unwrap();
        assert_eq!(row[command.len()..].trim(), answer, "{ran:?}");
    }
    assert!(ran.stdout.contains("4 of 8 commands can be answered, 1 in part"), "{ran:?}");
    assert!(!ran.stdout.contains("all well"), "{ran:?}");
    let view = place.run(&["precheck", "--from", "old", "-o", "json"]).await.json()["view"].clone();
    let azure = view["commands"].as_array().unwrap().iter().find(|one| one["command"] == "azure").unwrap().clone();
    assert_eq!((&azure["can"], &azure["flag"]), (&"no".into(), &"--az".into()), "{azure}");
    // What each row says is what the command does.
    assert!(place.refused(&["azure", "--from", "old"]).await.hints("capture --az"));
    assert!(place.refused(&["logs", "istiod", "--from", "old"]).await.hints("capture --logs"));
    assert!(place.refused(&["proxy-config", "all", "--from", "old"]).await.hints("capture --proxy"));
    let one = place.run(&["precheck", "--from", "old", "--for", "status"]).await;
    assert!(one.stdout.contains("all well"), "{one:?}");
}
