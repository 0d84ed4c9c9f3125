//! Kubeconfigs and credential plugins.

use std::time::Duration;

use crate::api::{healthy, serve};
use crate::program::{Place, in_time};

/// Ten contexts over two files, the first of which has no current one.
#[tokio::test]
async fn ten_contexts_in_two_files_with_relative_paths() {
    let server = serve(healthy()).await;
    let entry = |n: usize| format!("- name: c{n}\n  context: {{cluster: k{n}, user: u{n}, namespace: shop}}\n");
    let place = Place::of(&(0..9).map(entry).fold("contexts:\n".to_owned(), |text, entry| text + &entry));
    place.file("more/token", b"t0ken\n");
    let second = place.file(
        "more/config",
        format!(
            "current-context: c9\ncontexts:\n{}clusters:\n- name: k9\n  cluster: {{server: '{}'}}\n\
             users:\n- name: u9\n  user: {{tokenFile: token}}\n",
            entry(9),
            server.url()
        )
        .as_bytes(),
    );
    let list = format!("{}:/does/not/exist::{}", place.dir.path().join("config").display(), second.display());
    let place = place.with("KUBECONFIG", &list);
    let ran = place.run(&["status", "-o", "json"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(ran.json()["origin"]["context"], "c9");
    assert!(server.all().iter().all(|seen| seen.header("authorization") == Some("Bearer t0ken")));
    let unknown = place.refused(&["status", "--context", "c10"]).await;
    assert!(unknown.message.starts_with("the context c10 is not in "), "{unknown:?}");
    assert!(unknown.hints("contexts: c0, c1, c2, c3, c4, c5, c6, c7, c8, c9"), "{unknown:?}");
    let dangling = place.refused(&["status", "--context", "c3"]).await;
    assert_eq!(dangling.message, "the kubeconfig has no cluster k3, which context c3 uses");
}

#[tokio::test]
async fn files_that_are_missing_or_broken_are_named() {
    let place = Place::of("");
    for (text, says) in [
        ("contexts: [", "is not valid"),
        ("just a word", "is not valid"),
        ("- a\n- b\n", "is not valid"),
        ("\u{0}\u{1}\u{2}", "is not valid"),
        ("current-context: [a]", "is not valid"),
        ("clusters: {}\n", "is not valid"),
        ("current-context: gone\n", "names no cluster"),
        ("", "names no cluster"),
        ("contexts: [{name: a, context: {cluster: ''}}]\n", "no current context is set"),
        ("current-context: a\ncontexts: [{name: a, context: {cluster: ''}}]\n", "no server address"),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: k}}]\nclusters: [{name: k, cluster: {server: 'ftp://x'}}]\n",
            "is not a URL",
        ),
        (
            "current-context: a\ncontexts: [{name: a, context: {cluster: k}}]\nclusters: [{name: k, cluster: {server: 'http://x', proxy-url: 'ftp://p'}}]\n",
            "proxy",
        ),
    ] {
        place.file("config", text.as_bytes());
        let refusal = place.refused(&["status"]).await;
        assert!(refusal.message.contains(says), "{text:?}: {refusal:?}");
    }
    place.file("config", b"\xff\xfe\x00");
    place.refused(&["status"]).await;
    let missing = place.refused(&["status", "--kubeconfig", "/does/not/exist"]).await;
    assert_eq!(missing.message, "kubeconfig /does/not/exist does not exist");
    let folder = place.dir.path().display().to_string();
    assert!(place.refused(&["status", "--kubeconfig", &folder]).await.message.ends_with("is a folder"));
    let nothing = Place::of("").with("KUBECONFIG", "/does/not/exist");
    let refusal = nothing.refused(&["status"]).await;
    assert!(refusal.message.starts_with("there is no kubeconfig") && refusal.hints("az aks get-credentials"));
}

/// A file that never ends does not hold the run.
#[tokio::test]
async fn a_kubeconfig_that_cannot_be_read_to_its_end_costs_the_limit_at_most() {
    let place = Place::of("").limit("1s");
    let pipe = place.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let place = place.with("KUBECONFIG", &pipe.display().to_string());
    in_time(Duration::from_secs(1), || async { place.refused(&["status"]).await.took }).await;
}

fn plugin(version: &str, script: &str, more: &str) -> String {
    format!(
        "{{exec: {{apiVersion: client.authentication.k8s.io/{version}, command: sh, args: [-c, '{}'], {more}}}}}",
        script.replace('\'', "''")
    )
}

fn credential(version: &str, status: &str) -> String {
    format!(
        r#"printf '%s' '{{"apiVersion":"client.authentication.k8s.io/{version}","kind":"ExecCredential","status":{status}}}'"#
    )
}

#[tokio::test]
async fn plugins_of_both_versions_work() {
    for version in ["v1", "v1beta1"] {
        let server = serve(healthy()).await;
        let user = plugin(version, &credential(version, r#"{"token":"abc"}"#), "interactiveMode: IfAvailable");
        let ran = Place::new(&format!("{{server: '{}'}}", server.url()), &user).run(&["status"]).await;
        assert_eq!(ran.code, 0, "{ran:?}");
        assert!(server.all().iter().all(|seen| seen.header("authorization") == Some("Bearer abc")));
    }
}

#[tokio::test]
async fn plugins_that_fail_ask_or_print_rubbish_are_named_and_never_quoted() {
    for version in ["v1", "v1beta1"] {
        for (script, says) in [
            ("echo s3cret >&2; exit 7".to_owned(), "failed with exit code 7"),
            ("echo s3cret; kill -9 $$".to_owned(), "was killed"),
            ("true".to_owned(), "is not an ExecCredential"),
            ("echo s3cret".to_owned(), "is not an ExecCredential"),
            ("echo '{\"s3cret\":'".to_owned(), "is not an ExecCredential"),
            ("head -c 100000 /dev/urandom".to_owned(), "is not an ExecCredential"),
            ("head -c 3000000 /dev/zero".to_owned(), ""),
            ("printf '\\033[31ms3cret\\n'".to_owned(), "is not an ExecCredential"),
            ("yes '- s3cret'".to_owned(), ""),
            ("i=0; while [ $i -lt 5000 ]; do printf '['; i=$((i+1)); done".to_owned(), "is not an ExecCredential"),
            // Nobody answers: there is no terminal, so the question meets the end of its input.
            ("read answer || exit 9".to_owned(), "failed with exit code 9"),
            (credential(version, r#"{"token":""}"#), "neither a token nor a certificate"),
            (credential(version, r#"{"token":[7]}"#), "is not an ExecCredential"),
            (credential(version, r#"{"token":"s3cret\nx"}"#), "cannot be sent"),
            (credential("v1alpha1", r#"{"token":"s3cret"}"#), "answers in"),
            (credential(version, r#"{"clientCertificateData":"s3cret","clientKeyData":"s3cret"}"#), "certificates"),
            (credential(version, r#"{"token":"s3cret","expirationTimestamp":"soon"}"#), "is not an ExecCredential"),
        ] {
            let place =
                Place::new("{server: 'https://127.0.0.1:1'}", &plugin(version, &script, "interactiveMode: Never"));
            let refusal = place.refused(&["status"]).await;
            assert!(refusal.message.contains(says), "{script}: {refusal:?}");
            assert!(!format!("{refusal:?}").contains("s3cret"), "{refusal:?}");
        }
    }
    let always = plugin("v1", "exit 0", "interactiveMode: Always");
    let refusal = Place::new("{server: 'https://127.0.0.1:1'}", &always).refused(&["status"]).await;
    assert!(refusal.message.ends_with("wants a terminal, and there is none"), "{refusal:?}");
    let missing = "{exec: {apiVersion: client.authentication.k8s.io/v1, command: ./no-such-plugin}}";
    let refusal = Place::new("{server: 'https://127.0.0.1:1'}", missing).refused(&["status"]).await;
    assert!(refusal.message.contains("no-such-plugin does not exist"), "{refusal:?}");
    for provider in ["azure", "gcp", "x\u{1b}[31m"] {
        let user = format!("{{auth-provider: {{name: {}}}}}", serde_json::json!(provider));
        Place::new("{server: 'https://127.0.0.1:1'}", &user).refused(&["status"]).await;
    }
}

#[tokio::test]
async fn a_plugin_that_hangs_costs_the_limit_of_the_run_and_is_killed() {
    in_time(Duration::from_secs(1), || async {
        let place = Place::of("");
        let pid = place.dir.path().join("pid");
        let script = format!("echo $$ > {}; exec sleep 600", pid.display());
        place.file(
            "config",
            format!(
                "current-context: x\ncontexts: [{{name: x, context: {{cluster: k, user: u}}}}]\n\
                 clusters: [{{name: k, cluster: {{server: 'https://127.0.0.1:1'}}}}]\nusers: [{{name: u, user: {}}}]\n",
                plugin("v1", &script, "interactiveMode: Never")
            )
            .as_bytes(),
        );
        let place = place.limit("1s");
        let refusal = place.refused(&["status"]).await;
        assert_eq!(refusal.message, "the credential plugin sh did not answer within 1 s");
        let pid = std::fs::read_to_string(pid).unwrap();
        let cmdline = format!("/proc/{}/cmdline", pid.trim());
        while std::fs::read(&cmdline).is_ok_and(|cmdline| cmdline.starts_with(b"sleep")) {
            tokio::task::yield_now().await;
        }
        refusal.took
    })
    .await;
}
