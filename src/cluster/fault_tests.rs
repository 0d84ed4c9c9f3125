use super::*;

fn info() -> ConnectionInfo {
    ConnectionInfo {
        context: Some("prod".into()),
        user: Some("u".into()),
        server: "https://x.hcp.westeurope.azmk8s.io:443".into(),
        namespace: "default".into(),
        auth: AuthKind::Token,
        cluster_name: Some("prod".into()),
        resource_group: None,
    }
}

fn custom(text: &str) -> io::Error {
    io::Error::other(text.to_owned())
}

#[test]
fn foreign_text_is_tamed() {
    assert_eq!(clean("a\u{1b}[31mb\r\n c\u{202e}d", 50), "a [31mb c d");
    assert_eq!(clean("äöü", 2), "äö…");
    assert_eq!(clean("", 2), "");
}

#[test]
fn placeholders_stay_where_nothing_safe_is_known() {
    assert_eq!(az_target(&info()), "-g <resource-group> -n prod");
    let odd =
        ConnectionInfo { cluster_name: Some("a; rm -rf /".into()), resource_group: Some("rg-1".into()), ..info() };
    assert_eq!(az_target(&odd), "-g rg-1 -n <cluster>");
}

#[test]
fn statuses_are_classified() {
    let need = Need { verb: "list".into(), resource: "pods".into(), namespace: Some("shop".into()) };
    for (status, kind) in [
        (401, FaultKind::Unauthenticated),
        (403, FaultKind::Forbidden),
        (429, FaultKind::Unreachable),
        (410, FaultKind::Truncated),
        (500, FaultKind::Unreachable),
        (502, FaultKind::Unreachable),
        (503, FaultKind::Unreachable),
        (504, FaultKind::Timeout),
        (302, FaultKind::Malformed),
        (406, FaultKind::Malformed),
    ] {
        let code = StatusCode::from_u16(status).unwrap_or_default();
        let fault = from_status(code, b"<html>secret</html>", Some(&need), &info());
        assert_eq!((fault.kind, fault.status), (kind, Some(status)));
        assert!(!fault.message.contains("secret") && !fault.message.ends_with('.'), "{}", fault.message);
    }
}

#[test]
fn a_refusal_names_the_missing_right() {
    let need = Need { verb: "list".into(), resource: "pods".into(), namespace: Some("shop".into()) };
    let body =
        br#"{"kind":"Status","message":"pods is forbidden: User does not have access to the resource in Azure."}"#;
    let fault = from_status(StatusCode::FORBIDDEN, body, Some(&need), &info());
    assert_eq!(fault.message, "not allowed to list pods in namespace shop");
    assert_eq!(fault.need, Some(need));
    assert!(fault.hints[0].starts_with("Azure decides here"));
}

#[test]
fn transport_errors_are_told_apart() {
    for (error, kind, words) in [
        (io::Error::from(io::ErrorKind::ConnectionRefused), FaultKind::Unreachable, "connection refused"),
        (io::Error::from(io::ErrorKind::HostUnreachable), FaultKind::Unreachable, "no route"),
        (io::Error::from(io::ErrorKind::TimedOut), FaultKind::Timeout, "timed out"),
        (custom("dns error: failed to lookup address information"), FaultKind::Unreachable, "does not resolve"),
        (custom(CONNECT_LIMIT), FaultKind::Timeout, "within 10 s"),
        (custom("tunnel error: proxy authorization required"), FaultKind::Unreachable, "proxy wants credentials"),
        (custom("tunnel error: unsuccessful"), FaultKind::Unreachable, "proxy refuses"),
        (custom("invalid peer certificate: UnknownIssuer"), FaultKind::Unreachable, "not signed by"),
        (custom("invalid peer certificate: certificate expired: verification time"), FaultKind::Unreachable, "expired"),
        (
            custom("invalid peer certificate: certificate not valid for name \"a\"; certificate is only valid for b"),
            FaultKind::Unreachable,
            "another name",
        ),
        (custom("\u{1b}weird"), FaultKind::Unreachable, "the connection failed"),
    ] {
        let fault = from_transport(&error, &info());
        assert_eq!(fault.kind, kind, "{error}");
        assert!(fault.message.contains(words), "{}", fault.message);
    }
}

#[test]
fn commands_stand_alone_after_three_spaces() {
    let fault = from_transport(&io::Error::from(io::ErrorKind::ConnectionRefused), &info());
    assert!(fault.hints.contains(&"   az aks show -g <resource-group> -n prod --query powerState.code".to_owned()));
    let kubelogin =
        ConnectionInfo { auth: AuthKind::Exec { command: "kubelogin".into(), is_kubelogin: true }, ..info() };
    let fault = from_status(StatusCode::UNAUTHORIZED, b"", None, &kubelogin);
    assert!(fault.hints.contains(&"   kubelogin convert-kubeconfig -l azurecli".to_owned()));
    let fault = from_status(StatusCode::UNAUTHORIZED, b"", None, &info());
    assert!(fault.hints.contains(&"   az aks get-credentials -g <resource-group> -n prod".to_owned()));
}
