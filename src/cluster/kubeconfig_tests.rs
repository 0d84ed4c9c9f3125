#![allow(clippy::unwrap_used, clippy::expect_used)] // reason: a failed assumption should fail the test loudly

use std::ffi::OsString;
use std::path::PathBuf;

use super::*;

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn list(&self, paths: &[PathBuf]) -> Environment {
        Environment {
            kubeconfig: Some(std::env::join_paths(paths).unwrap()),
            home: Some(self.0.path().join("home")),
            ..Environment::default()
        }
    }
}

fn file(prefix: &str, current: Option<&str>) -> String {
    let current = current.map(|name| format!("current-context: {name}\n")).unwrap_or_default();
    format!(
        "apiVersion: v1\nkind: Config\n{current}\
         clusters:\n- name: shared\n  cluster: {{server: 'https://{prefix}.example.com'}}\n\
         - name: {prefix}\n  cluster: {{server: 'https://{prefix}.example.com:6443'}}\n\
         users:\n- name: {prefix}\n  user: {{token: {prefix}-secret}}\n\
         contexts:\n- name: {prefix}\n  context: {{cluster: {prefix}, user: {prefix}, namespace: {prefix}-ns}}\n\
         - name: shared\n  context: {{cluster: shared, user: {prefix}}}\n"
    )
}

fn options(context: Option<&str>) -> ConnectOptions {
    ConnectOptions { context: context.map(String::from), ..ConnectOptions::default() }
}

#[test]
fn the_first_file_of_a_list_wins_and_missing_ones_are_skipped() {
    let dir = Dir::new();
    let a = dir.write("a", &file("a", None));
    let b = dir.write("b", &file("b", Some("b")));
    let c = dir.write("c", &file("c", Some("c")));
    let environment = dir.list(&[PathBuf::from("/does/not/exist"), a, b, c]);
    let target = load(&options(None), &environment).unwrap();
    assert_eq!(target.info.context.as_deref(), Some("b"));
    assert_eq!(target.info.namespace, "b-ns");
    let target = load(&options(Some("shared")), &environment).unwrap();
    assert_eq!(target.info.server, "https://a.example.com");
    assert_eq!((target.info.user.as_deref(), target.info.namespace.as_str()), (Some("a"), "default"));
    assert_eq!(load(&options(Some("c")), &environment).unwrap().info.server, "https://c.example.com:6443");
}

#[test]
fn the_flag_beats_the_variable_and_the_variable_beats_home() {
    let dir = Dir::new();
    dir.write("home/.kube/config", &file("home", Some("home")));
    let variable = dir.write("v", &file("variable", Some("variable")));
    let flag = dir.write("f", &file("flag", Some("flag")));
    let mut environment = dir.list(&[variable]);
    let context =
        |options: &ConnectOptions, environment: &Environment| load(options, environment).unwrap().info.context;
    let flagged = ConnectOptions { kubeconfig: Some(flag), ..ConnectOptions::default() };
    assert_eq!(context(&flagged, &environment).as_deref(), Some("flag"));
    assert_eq!(context(&options(None), &environment).as_deref(), Some("variable"));
    environment.kubeconfig = None;
    assert_eq!(context(&options(None), &environment).as_deref(), Some("home"));
}

#[test]
fn an_unknown_context_lists_the_known_ones() {
    let dir = Dir::new();
    let contexts: String = (0..30).map(|n| format!("- name: c{n}\n  context: {{cluster: x}}\n")).collect();
    let path = dir.write("many", &format!("contexts:\n{contexts}"));
    let fault = load(&options(Some("nope\u{1b}[31m")), &dir.list(&[path])).unwrap_err();
    assert!(fault.message.starts_with("the context nope [31m is not in "), "{}", fault.message);
    assert!(fault.hints[0].starts_with("contexts: c0, c1,") && fault.hints[0].ends_with("and 20 more"));
    assert!(fault.hints.contains(&"   kubectl config get-contexts".to_owned()));
}

#[test]
fn no_current_context_is_said() {
    let dir = Dir::new();
    let path = dir.write("a", &file("a", Some("''")));
    let fault = load(&options(None), &dir.list(&[path])).unwrap_err();
    assert!(fault.message.starts_with("no current context is set in "), "{}", fault.message);
    assert_eq!(fault.hints[0], "contexts: a, shared");
}

#[test]
fn dangling_names_are_named() {
    let dir = Dir::new();
    let path = dir.write(
        "a",
        "contexts:\n- name: x\n  context: {cluster: gone, user: u}\n- name: y\n  context: {cluster: k, user: gone}\n\
         clusters:\n- name: k\n  cluster: {server: 'https://k'}\n",
    );
    let environment = dir.list(&[path]);
    let message = |options: &ConnectOptions| load(options, &environment).unwrap_err().message;
    assert_eq!(message(&options(Some("x"))), "the kubeconfig has no cluster gone, which context x uses");
    assert_eq!(message(&options(Some("y"))), "the kubeconfig has no user gone, which context y uses");
    let flag = ConnectOptions { user: Some("nobody".into()), ..options(Some("y")) };
    assert_eq!(message(&flag), "the kubeconfig has no user nobody");
}

#[test]
fn a_malformed_file_is_named_with_its_line_and_without_its_content() {
    let dir = Dir::new();
    for text in [
        "apiVersion: v1\nusers:\n- name: u\n  user: {token: hunter2\n",
        "apiVersion: v1\nclusters: hunter2\n",
        "\tusers: hunter2",
        "users:\n- user: {token: [hunter2]}\n  name: x\n",
    ] {
        let path = dir.write("bad", text);
        let fault = load(&options(None), &dir.list(std::slice::from_ref(&path))).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Malformed, "{text}");
        let all = format!("{} {:?}", fault.message, fault.hints);
        assert!(all.contains(path.to_str().unwrap()) && all.contains("line ") && !all.contains("hunter2"), "{all}");
    }
}

#[test]
fn a_named_file_must_exist_and_a_folder_is_no_file() {
    let dir = Dir::new();
    let at = |path: PathBuf| {
        let options = ConnectOptions { kubeconfig: Some(path), ..ConnectOptions::default() };
        load(&options, &Environment::default()).unwrap_err().message
    };
    assert!(at(dir.0.path().join("none")).ends_with("does not exist"));
    assert!(at(dir.0.path().to_owned()).ends_with("is a folder"));
}

#[test]
fn nothing_at_all_is_said_with_what_to_do() {
    let environment = Environment { kubeconfig: Some(OsString::from("/does/not/exist")), ..Environment::default() };
    let fault = load(&options(None), &environment).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unauthenticated);
    assert!(fault.message.contains("there is no kubeconfig"), "{}", fault.message);
    assert!(fault.hints.iter().any(|hint| hint.starts_with("   az aks get-credentials")));
}

#[test]
fn a_server_alone_is_enough() {
    let options =
        ConnectOptions { server: Some("localhost:8080".into()), token: Some("t".into()), ..ConnectOptions::default() };
    let target = load(&options, &Environment::default()).unwrap();
    assert_eq!(target.info.server, "http://localhost:8080");
    assert_eq!(target.info.auth, AuthKind::Token);
    assert_eq!(target.info.namespace, "default");
}

#[test]
fn flags_replace_what_the_context_says() {
    let dir = Dir::new();
    let text = "current-context: x\ncontexts:\n- name: x\n  context: {cluster: k, user: u}\n\
        clusters:\n- name: k\n  cluster: {server: 'https://me:pw@k/base/', tls-server-name: old}\n\
        users:\n- name: u\n  user: {exec: {command: kubelogin, apiVersion: client.authentication.k8s.io/v1beta1}}\n";
    let environment = dir.list(&[dir.write("a", text)]);
    let plain = load(&options(None), &environment).unwrap();
    assert_eq!(plain.info.server, "https://k/base");
    assert_eq!(plain.info.auth, AuthKind::Exec { command: "kubelogin".into(), is_kubelogin: true });
    assert_eq!(plain.config.tls_server_name.as_deref(), Some("old"));
    let flags = ConnectOptions {
        server: Some("https://other:6443".into()),
        token: Some("t".into()),
        insecure_skip_tls_verify: true,
        as_user: Some("jane".into()),
        as_groups: vec!["g1".into(), "g2".into()],
        as_uid: Some("7".into()),
        ..ConnectOptions::default()
    };
    let changed = load(&flags, &environment).unwrap();
    assert_eq!(changed.info.server, "https://other:6443");
    assert_eq!(changed.info.auth, AuthKind::Token);
    assert!(changed.exec.is_none() && changed.config.accept_invalid_certs);
    assert_eq!(changed.config.tls_server_name, None);
    assert_eq!(changed.config.auth_info.impersonate_groups.as_deref().map(<[_]>::len), Some(2));
    let alone = ConnectOptions { as_groups: vec!["g".into()], ..ConnectOptions::default() };
    assert_eq!(load(&alone, &environment).unwrap_err().message, "--as-group and --as-uid need --as");
}

#[test]
fn relative_files_belong_to_the_kubeconfig_that_names_them() {
    let dir = Dir::new();
    let pem = "x\n-----BEGIN CERTIFICATE-----\nAAEC\n-----END CERTIFICATE-----\n";
    dir.write("conf/ca.crt", pem);
    let text = "current-context: x\ncontexts:\n- name: x\n  context: {cluster: k, user: u}\n\
        clusters:\n- name: k\n  cluster: {server: 'https://k', certificate-authority: ca.crt}\n\
        users:\n- name: u\n  user: {client-certificate: no.crt, client-key: no.key}\n";
    let environment = dir.list(&[dir.write("conf/config", text)]);
    let fault = load(&options(None), &environment).unwrap_err();
    assert!(fault.message.starts_with("client certificate ") && fault.message.contains("conf"), "{}", fault.message);
    let other = ConnectOptions { user: Some(String::new()), ..options(None) };
    assert_eq!(load(&other, &environment).unwrap_err().message, fault.message);
    dir.write("conf/no.crt", pem);
    dir.write("conf/no.key", pem);
    assert_eq!(load(&options(None), &environment).unwrap().config.root_cert, Some(vec![vec![0, 1, 2]]));
}

#[test]
fn the_resource_group_is_read_from_what_az_wrote() {
    assert_eq!(resource_group(Some("clusterUser_my_rg_prod"), Some("prod")).as_deref(), Some("my_rg"));
    assert_eq!(resource_group(Some("clusterAdmin_rg_prod"), Some("prod")).as_deref(), Some("rg"));
    assert_eq!(resource_group(Some("clusterUser_prod"), Some("prod")), None);
    assert_eq!(resource_group(Some("jane"), Some("prod")), None);
}

#[test]
fn bad_addresses_are_refused_without_repeating_them() {
    for bad in ["https://", "ftp://secret", "http://a b", "https://:443", "http:///x"] {
        let options = ConnectOptions { server: Some(bad.into()), ..ConnectOptions::default() };
        let fault = load(&options, &Environment::default()).unwrap_err();
        assert!(!fault.message.contains("secret"), "{bad}");
    }
}
