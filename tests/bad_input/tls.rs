//! Certificates: of another authority, expired, for another name, and credentials by certificate that have run out.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig, crypto};

use crate::api::{answer, healthy, manner};
use crate::cluster_support::{Door, Manner, Server, status};
use crate::program::Place;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate of this authority and its key, valid from and until a year's first day.
fn issue(by: &Authority, names: &[&str], years: (i32, i32), client: bool) -> (rcgen::Certificate, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_before = date_time_ymd(years.0, 1, 1);
    params.not_after = date_time_ymd(years.1, 1, 1);
    let usage = if client { ExtendedKeyUsagePurpose::ClientAuth } else { ExtendedKeyUsagePurpose::ServerAuth };
    params.extended_key_usages = vec![usage];
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, by).unwrap();
    (certificate, key)
}

const NOW: (i32, i32) = (2020, 4000);
const PAST: (i32, i32) = (2000, 2001);

/// A TLS server with such a certificate; `verify` makes it demand client certificates of an authority, as a gateway in
/// front of an API server may. An API server itself takes any and answers 401.
async fn serve(certificate: (rcgen::Certificate, KeyPair), verify: Option<&Authority>, accept: bool) -> Server {
    let provider = Arc::new(crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let builder = match verify {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(certificate.1.serialize_der()));
    let config = builder.with_single_cert(vec![certificate.0.der().clone()], key).unwrap();
    serve_as(Manner { tls: Some(TlsAcceptor::from(Arc::new(config))), ..manner() }, accept).await
}

async fn serve_as(manner: Manner, accept: bool) -> Server {
    let objects = healthy();
    Server::with(manner, move |_, seen| {
        if accept { answer(&objects, seen) } else { status(401, "x509: certificate has expired or is not yet valid") }
    })
    .await
}

/// A server that demands nothing of clients.
fn acceptor((certificate, key): (rcgen::Certificate, KeyPair)) -> TlsAcceptor {
    let provider = Arc::new(crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// What kubectl users behind a company's proxy have: TLS to the API server inside the proxy's tunnel.
#[tokio::test]
async fn tls_goes_through_tunnels_of_every_kind() {
    let ca = authority();
    for (door, scheme, line) in
        [(Door::Tunnel, "http", "CONNECT api.invalid:6443 HTTP/1.1"), (Door::Socks, "socks5", "SOCKS api.invalid")]
    {
        let tls = Some(acceptor(issue(&ca, &["api.invalid"], NOW, false)));
        let server = serve_as(Manner { door, tls, ..manner() }, true).await;
        let data = STANDARD.encode(ca.pem());
        let cluster = format!("{{server: 'https://api.invalid:6443', certificate-authority-data: {data}}}");
        let place = Place::new(&cluster, "{token: t}")
            .with("HTTPS_PROXY", &format!("{scheme}://{}", server.address))
            .with("HTTP_PROXY", "http://127.0.0.1:1");
        let ran = place.run(&["status"]).await;
        assert_eq!(ran.code, 0, "{scheme}: {ran:?}");
        assert_eq!(server.all()[0].line, line);
    }
}

/// A proxy that is itself reached by https is checked against the system's authorities, not the cluster's.
#[tokio::test]
async fn a_proxy_reached_by_https_is_used() {
    let (ca, of_cluster) = (authority(), authority());
    let tls = Some(acceptor(issue(&ca, &["127.0.0.1"], NOW, false)));
    let server = serve_as(Manner { door: Door::Tunnel, tls, tls_first: true, ..manner() }, true).await;
    let data = STANDARD.encode(of_cluster.pem());
    let cluster = format!("{{server: 'http://api.invalid:8080', certificate-authority-data: {data}}}");
    let place = Place::new(&cluster, "{token: t}").with("HTTP_PROXY", &format!("https://{}", server.address));
    let roots = place.file("roots.pem", ca.pem().as_bytes()).display().to_string();
    let untrusted = place.refused(&["status"]).await;
    assert_eq!(untrusted.kind, "unreachable", "{untrusted:?}");
    let place = place.with("SSL_CERT_FILE", &roots);
    let ran = place.run(&["status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    assert_eq!(server.all()[0].line, "CONNECT api.invalid:8080 HTTP/1.1");
}

fn place(server: &Server, trusted: &Authority, user: &str) -> Place {
    let ca = STANDARD.encode(trusted.pem());
    Place::new(&format!("{{server: 'https://{}', certificate-authority-data: {ca}}}", server.address), user)
}

fn by_certificate((certificate, key): &(rcgen::Certificate, KeyPair)) -> String {
    let (certificate, key) = (STANDARD.encode(certificate.pem()), STANDARD.encode(key.serialize_pem()));
    format!("{{client-certificate-data: {certificate}, client-key-data: {key}}}")
}

#[tokio::test]
async fn a_server_in_good_order_is_read_through_tls() {
    let ca = authority();
    let client = issue(&ca, &[], NOW, true);
    let server = serve(issue(&ca, &["127.0.0.1"], NOW, false), Some(&ca), true).await;
    let ran = place(&server, &ca, &by_certificate(&client)).run(&["status"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused_with_what_to_do() {
    let (ca, other) = (authority(), authority());
    let server = serve(issue(&ca, &["127.0.0.1"], NOW, false), None, true).await;
    let refusal = place(&server, &other, "{token: t}").refused(&["status"]).await;
    assert_eq!(refusal.kind, "unreachable");
    assert!(refusal.message.ends_with("is not signed by the authority that the kubeconfig trusts"), "{refusal:?}");
    assert!(refusal.hints("az aks get-credentials"), "{refusal:?}");
    // Without any authority, the system's are taken, and none of them has signed it.
    let bare = Place::new(&format!("{{server: 'https://{}'}}", server.address), "{token: t}");
    assert_eq!(bare.refused(&["status"]).await.message, refusal.message);
    let careless = bare.run(&["status", "--insecure-skip-tls-verify"]).await;
    assert_eq!(careless.code, 0, "{careless:?}");
}

#[tokio::test]
async fn an_expired_certificate_or_one_for_another_name_is_told_apart() {
    let ca = authority();
    let server = serve(issue(&ca, &["127.0.0.1"], PAST, false), None, true).await;
    let refusal = place(&server, &ca, "{token: t}").refused(&["status"]).await;
    assert!(refusal.message.ends_with("has expired") && refusal.hints("clock"), "{refusal:?}");
    let server = serve(issue(&ca, &["127.0.0.1"], (3990, 4000), false), None, true).await;
    let refusal = place(&server, &ca, "{token: t}").refused(&["status"]).await;
    assert!(refusal.message.ends_with("is not valid yet") && refusal.hints("clock"), "{refusal:?}");
    let server = serve(issue(&ca, &["api.example.com"], NOW, false), None, true).await;
    let place = place(&server, &ca, "{token: t}");
    let refusal = place.refused(&["status"]).await;
    assert!(refusal.message.ends_with("is for another name") && refusal.hints("--tls-server-name"), "{refusal:?}");
    let named = place.run(&["status", "--tls-server-name", "api.example.com"]).await;
    assert_eq!(named.code, 0, "{named:?}");
}

#[tokio::test]
async fn an_expired_client_certificate_is_named_as_the_likely_cause() {
    let ca = authority();
    let expired = by_certificate(&issue(&ca, &[], PAST, true));
    // As an API server: the connection is fine, the answer is 401.
    let server = serve(issue(&ca, &["127.0.0.1"], NOW, false), None, false).await;
    let refusal = place(&server, &ca, &expired).refused(&["status"]).await;
    assert_eq!(refusal.kind, "unauthenticated");
    assert!(
        refusal.hints("the client certificate may have expired") && refusal.hints("az aks get-credentials"),
        "{refusal:?}"
    );
    // As a gateway that checks it itself: TLS ends with an alert.
    for (user, ca_of_clients) in [(expired.as_str(), &ca), ("{token: t}", &ca)] {
        let server = serve(issue(&ca, &["127.0.0.1"], NOW, false), Some(ca_of_clients), true).await;
        let refusal = place(&server, &ca, user).refused(&["status"]).await;
        assert_eq!(refusal.kind, "unauthenticated", "{refusal:?}");
        assert!(
            refusal.message.contains("does not accept the client certificate")
                || refusal.message.contains("wants a client certificate"),
            "{refusal:?}"
        );
    }
}

#[tokio::test]
async fn plain_http_on_a_tls_port_and_tls_on_a_plain_one() {
    let ca = authority();
    let server = serve(issue(&ca, &["127.0.0.1"], NOW, false), None, true).await;
    let plain = Place::new(&format!("{{server: 'http://{}'}}", server.address), "{token: t}");
    let refusal = plain.refused(&["status"]).await;
    assert!(matches!(refusal.kind.as_str(), "malformed" | "unreachable"), "{refusal:?}");
    let server = crate::api::serve(healthy()).await;
    let secured = Place::new(&format!("{{server: 'https://{}'}}", server.address), "{token: t}");
    let refusal = secured.limit("3s").refused(&["status"]).await;
    assert!(matches!(refusal.kind.as_str(), "unreachable" | "timeout"), "{refusal:?}");
}

#[tokio::test]
async fn certificates_that_are_none_are_named() {
    let text = STANDARD.encode("hello");
    for (cluster, user) in [
        (format!("{{server: 'https://127.0.0.1:1', certificate-authority-data: {text}}}"), "{token: t}".to_owned()),
        ("{server: 'https://127.0.0.1:1', certificate-authority-data: '%%%'}".to_owned(), "{token: t}".to_owned()),
        ("{server: 'https://127.0.0.1:1', certificate-authority: missing.crt}".to_owned(), "{token: t}".to_owned()),
        (
            "{server: 'https://127.0.0.1:1'}".to_owned(),
            format!("{{client-certificate-data: {text}, client-key-data: {text}}}"),
        ),
        ("{server: 'https://127.0.0.1:1'}".to_owned(), format!("{{client-certificate-data: {text}}}")),
        (
            "{server: 'https://127.0.0.1:1'}".to_owned(),
            "{client-certificate: missing.crt, client-key: missing.key}".to_owned(),
        ),
        ("{server: 'https://127.0.0.1:1', tls-server-name: 'a b'}".to_owned(), "{token: t}".to_owned()),
    ] {
        let refusal = Place::new(&cluster, &user).refused(&["status"]).await;
        assert_eq!(refusal.kind, "malformed", "{cluster} {user}: {refusal:?}");
        assert!(!format!("{refusal:?}").contains(&text), "{refusal:?}");
    }
}
