//! `az` as a recorded program on PATH: it answers as documented, complains in each known way, hangs, or talks rubbish.
//! Whatever it does costs one line in the report, and never the rest.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::Value;

use crate::api::{healthy, serve, serve_but};
use crate::cluster_support::status;
use crate::program::{Place, Ran};
use crate::support;

/// Answers lie beside it, one file per verb: `VERB.json` is printed, `VERB.err` is a complaint, `VERB.sh` is done first.
const AZ: &str = r#"#!/bin/sh
here=$(dirname "$0")
echo "$*" >>"$here/calls"
case "$1 $2 $3" in
"version "*) verb=version ;;
"aks list "*) verb=list ;;
"aks show "*) verb=show ;;
"aks mesh get-upgrades") verb=upgrades ;;
"aks mesh get-revisions") verb=revisions ;;
*) echo "ERROR: '$*' is misspelled or not recognized by the system." >&2; exit 2 ;;
esac
if [ -f "$here/$verb.sh" ]; then . "$here/$verb.sh"; fi
if [ -f "$here/$verb.err" ]; then cat "$here/$verb.err" >&2; exit 1; fi
cat "$here/$verb.json"
"#;

/// The answer of an object of the fixtures' base.
fn answer(kind: &str) -> Value {
    support::base("azure").into_iter().find(|object| object["kind"] == kind).unwrap()["answer"].clone()
}

/// A place with an `az` that answers for the cluster of [`healthy`].
fn with_az(place: Place) -> Place {
    let bin = place.dir.path().join("bin");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let program = place.file("bin/az", AZ.as_bytes());
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let show = answer("AzureCluster");
    let list = serde_json::json!([
        {"name": "other", "resourceGroup": "rg", "nodeResourceGroup": "MC_rg_other_westeurope", "fqdn": "o.hcp.westeurope.azmk8s.io", "privateFqdn": null},
        {"name": show["name"], "resourceGroup": show["resourceGroup"], "nodeResourceGroup": show["nodeResourceGroup"], "fqdn": show["fqdn"], "privateFqdn": null},
    ]);
    for (verb, json) in [
        ("show", show),
        ("list", list),
        ("version", answer("AzureTools")),
        ("upgrades", answer("AzureUpgrades")),
        ("revisions", answer("AzureRevisions")),
    ] {
        place.file(&format!("bin/{verb}.json"), json.to_string().as_bytes());
    }
    place.with("PATH", &path)
}

fn calls(place: &Place) -> String {
    std::fs::read_to_string(place.dir.path().join("bin/calls")).unwrap_or_default()
}

/// The words of the gap about Azure.
fn azure_gap(ran: &Ran) -> String {
    let report = ran.json();
    let gaps = report["gaps"].as_array().unwrap().clone();
    let of_azure = gaps.iter().find(|gap| gap["source"] == "azure");
    of_azure.unwrap_or_else(|| panic!("no gap: {ran:?}"))["hint"].as_str().unwrap().to_owned()
}

const JSON: [&str; 3] = ["azure", "-o", "json"];

#[tokio::test]
async fn a_healthy_cluster_is_found_by_its_nodes_and_nothing_is_said_about_it() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    let ran = place.run(&JSON).await;
    assert_eq!((ran.code, ran.codes()), (0, Vec::new()), "{ran:?}");
    assert_eq!(ran.json()["view"]["cluster"]["name"], "aks");
    let compared = ran.json()["view"]["compared"].clone();
    assert!(compared.as_array().unwrap().iter().all(|row| row["agree"] == true), "{compared}");
    let calls = calls(&place);
    assert!(calls.contains("aks list"), "{calls}");
    assert!(
        calls
            .lines()
            .filter(|call| !call.starts_with("version"))
            .all(|call| call.contains("--subscription=00000000-0000-0000-0000-000000000000")),
        "{calls}"
    );
    assert!(calls.contains("aks show --resource-group=rg --name=aks"), "{calls}");
    assert!(calls.lines().all(|call| !call.contains("update") && !call.contains("start")), "only reading: {calls}");
    let text = place.run(&["azure"]).await;
    assert!(text.stdout.contains("resource group rg") && text.stdout.contains("all well"), "{text:?}");
}

#[tokio::test]
async fn the_profile_is_compared_with_the_cluster_and_commands_have_names() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    let mut show = answer("AzureCluster");
    show["serviceMeshProfile"]["istio"]["revisions"] = serde_json::json!(["asm-1-30", "asm-1-31"]);
    place.file("bin/show.json", show.to_string().as_bytes());
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.codes(), ["AZ03", "AZ04"]);
    let steps = ran.json()["findings"][0]["remedy"]["steps"].to_string();
    assert!(steps.contains(r#""-g","rg","-n","aks""#) && !steps.contains("<cluster>"), "{steps}");
    // `status` says it only when it is told to ask.
    let without = place.run(&["status", "-o", "json"]).await;
    assert_eq!((without.code, without.codes()), (0, Vec::new()), "{without:?}");
    assert!(without.outcomes().iter().all(|(code, _)| !code.starts_with("AZ")));
    let with = place.run(&["status", "--az", "-o", "json"]).await;
    assert_eq!((with.code, with.codes()[0].as_str()), (1, "AZ03"), "{with:?}");
    assert_eq!(with.json()["view"]["azure"]["cluster"]["resourceGroup"], "rg");
}

#[tokio::test]
async fn another_cluster_is_not_compared_with_this_one() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    let mut show = answer("AzureCluster");
    show["nodeResourceGroup"] = "MC_rg_other_westeurope".into();
    show["serviceMeshProfile"]["istio"]["revisions"] = serde_json::json!(["asm-1-27"]);
    place.file("bin/show.json", show.to_string().as_bytes());
    let ran = place.run(&["azure", "-g", "rg", "-c", "other", "-o", "json"]).await;
    assert_eq!((ran.code, ran.codes()), (3, Vec::new()), "{ran:?}");
    assert!(azure_gap(&ran).contains("not the one that this kubeconfig's context leads to"), "{ran:?}");
}

#[tokio::test]
async fn each_complaint_of_az_is_one_line_and_the_rest_goes_on() {
    let server = serve(healthy()).await;
    for (complaint, words) in [
        ("ERROR: Please run 'az login' to setup account.", "az is not logged in: az login"),
        ("ERROR: AADSTS700082: The refresh token has expired due to inactivity.", "AADSTS700082"),
        ("ERROR: The subscription of '0' doesn't exist in cloud 'AzureCloud'.", "--subscription"),
        (
            "ERROR: (AuthorizationFailed) The client 'me@example.com' does not have authorization to perform action 'Microsoft.ContainerService/managedClusters/read' over scope '/subscriptions/0'",
            "Microsoft.ContainerService/managedClusters/read",
        ),
        ("ERROR: (TooManyRequests) slow down", "too many requests"),
        ("Traceback (most recent call last):\n  KeyError: 'eyJsecret'", "exit code 1"),
    ] {
        let place = with_az(Place::at(&server));
        for verb in ["list", "show", "upgrades", "revisions"] {
            place.file(&format!("bin/{verb}.err"), complaint.as_bytes());
        }
        let ran = place.run(&JSON).await;
        assert_eq!(ran.code, 3, "{complaint}: {ran:?}");
        let gap = azure_gap(&ran);
        assert!(gap.contains(words) && !gap.contains('\n'), "{complaint}: {gap}");
        assert!(!ran.stdout.contains("eyJ") && !ran.stdout.contains("me@example.com"), "{ran:?}");
        assert_eq!(ran.json()["view"]["tools"]["version"], "2.90.0", "what az did tell is there");
        let status = place.run(&["status", "--az", "-o", "json"]).await;
        assert_eq!(status.code, 3, "{status:?}");
        assert_eq!(status.json()["view"]["revisions"][0]["name"], "asm-1-30", "the rest goes on");
        let passed = status.outcomes().iter().filter(|(_, outcome)| outcome == "passed").count();
        assert!(passed > 30, "{passed}");
    }
}

#[tokio::test]
async fn without_az_it_is_said_where_it_comes_from() {
    let server = serve(healthy()).await;
    let place = Place::at(&server).with("PATH", "/nonexistent");
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(azure_gap(&ran).contains("az is not installed"), "{ran:?}");
    let gaps = ran.gaps().iter().filter(|(source, _)| source == "azure").count();
    assert_eq!(gaps, 1, "one missing program is one fact");
    // No other command needs it.
    assert_eq!(place.run(&["status"]).await.code, 0);
}

#[tokio::test]
async fn rubbish_is_no_answer() {
    let server = serve(healthy()).await;
    for (body, words) in [
        ("<html>sign in</html>", "no JSON object"),
        ("", "it is empty"),
        ("{\"name\": \"aks\", \"serviceMeshProfile\": {", "it ends too early"),
        ("[]", "no JSON object"),
        ("{\"name\": [1]}", "not of the documented type"),
        ("{}", "names no cluster"),
    ] {
        let place = with_az(Place::at(&server));
        place.file("bin/show.json", body.as_bytes());
        let ran = place.run(&JSON).await;
        assert_eq!(ran.code, 3, "{body}: {ran:?}");
        assert!(azure_gap(&ran).contains(words), "{body}: {}", azure_gap(&ran));
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_and_its_program_ended() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    place.file("bin/show.sh", b"yes '{\"name\": \"x\"}'\n");
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(azure_gap(&ran).contains("more than 8 MiB"), "{ran:?}");
    assert!(ran.took < Duration::from_secs(15), "{ran:?}");
}

#[tokio::test]
async fn an_az_that_hangs_ends_with_all_that_it_started() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server)).limit("4s");
    // A child of its own that ignores the polite signal, as the Python behind the script may.
    place.file("bin/show.sh", b"(trap '' TERM INT; exec sleep 600) & echo $! >\"$here/child\"; wait\n");
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(azure_gap(&ran).contains("az aks show did not answer within"), "{ran:?}");
    assert!(ran.took < Duration::from_secs(10), "{ran:?}");
    assert!(has_ended(&place).await, "the child of az lives on");
}

/// Whether the child of the scripted `az` ends within a few seconds; it would live for ten minutes.
async fn has_ended(place: &Place) -> bool {
    let child = std::fs::read_to_string(place.dir.path().join("bin/child")).unwrap();
    for _ in 0..100 {
        let mut look = tokio::process::Command::new("kill");
        look.args(["-0", child.trim()]).stderr(std::process::Stdio::null());
        if !look.status().await.unwrap().success() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

#[tokio::test]
async fn who_is_interrupted_ends_az_too_and_prints_what_is_known() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    place.file("bin/show.sh", b"(trap '' TERM INT; exec sleep 600) & echo $! >\"$here/child\"; wait\n");
    let child = place.dir.path().join("bin/child");
    let running = place.interrupted(&["status", "--az", "-o", "json"], || child.exists()).await;
    assert_eq!(running.0, Some(130), "{}", running.1);
    let report: Value = serde_json::from_str(&running.1).unwrap();
    assert_eq!(report["view"]["revisions"][0]["name"], "asm-1-30");
    assert!(has_ended(&place).await, "the child of az lives on");
}

#[tokio::test]
async fn an_open_upgrade_is_no_gap() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    place.file("bin/upgrades.err", b"ERROR: (BadRequest) Mesh upgrade is in progress. Cannot retrieve versioning");
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["view"]["upgrades"], Value::Null);
}

#[tokio::test]
async fn a_cluster_that_does_not_answer_is_asked_about_in_azure_by_its_address() {
    // The name of a stopped cluster's API server does not resolve.
    let host = "https://aks-dns-1a2b3c4d.hcp.westeurope.azmk8s.io:443";
    let place = with_az(Place::new(&format!("{{server: '{host}'}}"), "{token: t}"));
    // Nothing is to leave this machine: whatever resolves, the way there is closed.
    let place = place.with("HTTPS_PROXY", "http://127.0.0.1:9");
    let mut show = answer("AzureCluster");
    show["powerState"]["code"] = "Stopped".into();
    place.file("bin/show.json", show.to_string().as_bytes());
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 1, "{ran:?}");
    assert_eq!(ran.codes(), ["AZ01"]);
    let drift = ran.outcomes().into_iter().find(|(code, _)| code == "AZ03").unwrap();
    assert_eq!(drift.1, "notChecked", "what is in the cluster is not known");
    let named = place.run(&["azure", "-g", "rg", "-c", "aks", "-o", "json"]).await;
    assert_eq!(named.codes(), ["AZ01"], "{named:?}");
}

#[tokio::test]
async fn who_may_not_list_nodes_finds_the_cluster_by_name() {
    let refuse = |_, asked: Option<&crate::api::Asked>| {
        asked.is_some_and(|asked| asked.resource == "nodes").then(|| status(403, "nodes is forbidden"))
    };
    let server = serve_but(healthy(), refuse).await;
    let place = with_az(Place::at(&server));
    let ran = place.run(&JSON).await;
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(azure_gap(&ran).contains("-g RESOURCE-GROUP -c CLUSTER"), "{ran:?}");
    let named = place.run(&["azure", "-c", "AKS", "-o", "json"]).await;
    assert_eq!((named.code, named.codes()), (0, Vec::new()), "{named:?}");
}

#[tokio::test]
async fn a_bundle_says_the_same_and_holds_no_identifiers() {
    let server = serve(healthy()).await;
    let place = with_az(Place::at(&server));
    let mut show = answer("AzureCluster");
    show["id"] =
        "/subscriptions/5ecre7/resourcegroups/rg/providers/Microsoft.ContainerService/managedClusters/aks".into();
    show["identity"] = serde_json::json!({"principalId": "pr1ncipal", "tenantId": "te7ant"});
    show["identityProfile"] = serde_json::json!({"kubeletidentity": {"clientId": "c1ient"}});
    show["serviceMeshProfile"]["istio"]["components"]["ingressGateways"] =
        serde_json::json!([{"enabled": true, "mode": "External"}]);
    place.file("bin/show.json", show.to_string().as_bytes());
    let captured = place.plain(&["capture", "bundle.tar.gz", "--az"]).await;
    assert_eq!(captured.code, 0, "{captured:?}");
    let live = place.run(&["status", "--az", "-o", "json"]).await;
    let from = place.run(&["status", "--az", "-o", "json", "--from", "bundle.tar.gz"]).await;
    assert_eq!(live.codes(), ["AZ03"], "{live:?}");
    assert_eq!(live.json()["findings"], from.json()["findings"]);
    assert_eq!(live.json()["view"], from.json()["view"]);
    let azure = place.run(&["azure", "-o", "json", "--from", "bundle.tar.gz"]).await;
    assert_eq!((azure.code, azure.codes()), (1, vec!["AZ03".to_owned()]), "{azure:?}");
    // A bundle is judged without Azure unless that is asked for, as a cluster is.
    let without = place.run(&["status", "-o", "json", "--from", "bundle.tar.gz"]).await;
    assert_eq!(without.codes(), Vec::<String>::new());
    let bytes = std::fs::read(place.dir.path().join("bundle.tar.gz")).unwrap();
    let mut unpacked = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(bytes.as_slice()), &mut unpacked).unwrap();
    let text = String::from_utf8_lossy(&unpacked);
    for secret in ["5ecre7", "pr1ncipal", "te7ant", "c1ient", "azmk8s.io:", "aks-dns-1a2b3c4d"] {
        assert!(!text.contains(secret), "{secret} is in the bundle");
    }
}

#[tokio::test]
async fn flags_that_do_not_go_together_are_usage() {
    let place = Place::new("{server: 'http://127.0.0.1:9'}", "{token: t}");
    for args in [
        &["status", "-g", "rg"][..],
        &["status", "--az", "-g", "rg", "--from", "demo"],
        &["azure", "-c", "x", "--from", "demo"],
        &["azure", "--log", "x", "--context", "y"],
    ] {
        let refusal = place.refused(args).await;
        assert_eq!(refusal.kind, "usage", "{args:?}");
    }
}

#[tokio::test]
async fn a_bundle_without_azure_says_so_where_azure_is_asked_for() {
    let place = Place::new("{server: 'http://127.0.0.1:9'}", "{token: t}");
    place.demo_without("old", &["azure"]);
    for args in [&["azure", "--from", "old"][..], &["status", "--az", "--from", "old"]] {
        let refusal = place.refused(args).await;
        assert!(refusal.kind == "bundle" && refusal.hints("capture --az"), "{args:?}: {refusal:?}");
    }
}

#[tokio::test]
async fn a_log_of_az_is_explained_without_a_cluster() {
    let place = Place::new("{server: 'http://127.0.0.1:9'}", "{token: t}");
    let log = "cli.azure.cli.core.sdk.policies: Request URL: 'https://management.azure.com/subscriptions/5ecre7/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/aks?api-version=1'\n\
        cli.azure.cli.core.sdk.policies: Request method: 'PUT'\n\
        cli.azure.cli.core.sdk.policies:     'Authorization': 'Bearer eyJ0b2tlbg.x.y'\n\
        cli.azure.cli.core.sdk.policies: Response status: 400\n\
        cli.azure.cli.core.sdk.policies:     'x-ms-correlation-request-id': '12345678-0000-0000-0000-000000000002'\n\
        ERROR: (BadRequest) Requested change in revisions is not allowed. Reason: Revision asm-1-17 is not supported by the service mesh add-on.\n";
    place.file("az.log", log.as_bytes());
    let ran = place.plain(&["azure", "--log", "az.log"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    for words in
        ["get-upgrades", "12345678-0000-0000-0000-000000000002", "PUT managedClusters/aks was answered with 400"]
    {
        assert!(ran.stdout.contains(words), "{words} is not in {ran:?}");
    }
    for secret in ["eyJ", "5ecre7", "Bearer"] {
        assert!(!ran.stdout.contains(secret), "{ran:?}");
    }
    let json = place.plain(&["azure", "--log", "az.log", "-o", "json"]).await;
    assert_eq!(json.json()["view"]["understood"][0]["name"], "revision-change", "{json:?}");
    // Bytes that are no text, a line without end: nothing breaks.
    place.file("odd.log", &[&[0xff; 3][..], b"\n", &vec![b'x'; 2 << 20], b"\nERROR: AADSTS50076: x"].concat());
    let odd = place.plain(&["azure", "--log", "odd.log", "-o", "json"]).await;
    assert_eq!(odd.json()["view"]["understood"][0]["name"], "login-expired", "{odd:?}");
    assert_eq!(odd.json()["view"]["lines"], 3);
    let quiet = "cli.azure.cli.core: Command arguments: ['aks', 'list']\n";
    place.file("quiet.log", quiet.as_bytes());
    let quiet = place.plain(&["azure", "--log", "quiet.log"]).await;
    assert!(quiet.code == 0 && quiet.stdout.contains("no error of Azure or az in them"), "{quiet:?}");
    let absent = place.refused(&["azure", "--log", "absent.log"]).await;
    assert!(absent.message.contains("absent.log cannot be read"), "{}", absent.message);
}

#[tokio::test]
async fn a_log_of_something_else_is_no_log_of_az_without_errors() {
    let place = Place::new("{server: 'http://127.0.0.1:9'}", "{token: t}");
    place.file("istiod.log", b"2026-08-15T09:00:01Z\terror\tads\tx\n2026-08-15T09:00:02Z\tinfo\tads\ty\n");
    place.file("empty.log", b"");
    for (file, says) in [("istiod.log", "none of its 2 lines is of az"), ("empty.log", "there are no lines in it")] {
        let refusal = place.refused(&["azure", "--log", file]).await;
        assert!(refusal.kind == "file" && refusal.message.contains(says), "{refusal:?}");
        assert!(refusal.hints(&format!("kubectl asm logs --file {file}")), "{refusal:?}");
    }
}
