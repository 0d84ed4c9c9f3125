#![allow(clippy::unwrap_used)]
//! Made with `openssl ca -selfsign`; what is expected is what `openssl x509 -noout -subject -issuer -dates -fingerprint
//! -sha256 -ext basicConstraints,subjectKeyIdentifier -nameopt RFC2253` prints for them.

use super::*;

const ROOT_A: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBhjCCASygAwIBAgIUfW5JBxPaQSIde5moQhqoam7uyCkwCgYIKoZIzj0EAwIw\n\
ITEOMAwGA1UECgwFSXN0aW8xDzANBgNVBAMMBlJvb3QgQTAeFw0yMzA4MDEwMDAw\n\
MDBaFw0yNjA4MDEwMDAwMDBaMCExDjAMBgNVBAoMBUlzdGlvMQ8wDQYDVQQDDAZS\n\
b290IEEwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARu3n8sHysLVFwJwDfy5U1e\n\
3Dp8KfHYNjtgL8mad+HJ0KiKdMLhQB5cKorViW7FPHebvNuCSQCtfOb+B2MHeNRv\n\
o0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQU\n\
M5wqlFXExN8VERroYxSWIJ4snSkwCgYIKoZIzj0EAwIDSAAwRQIgfW1i97ojHw/f\n\
KoexcYwEy/yr8IALmhA3lWDmEWlUd9oCIQCLAFxslmpnePBvFcwqJTwH5TiHxy62\n\
46tVT9ccYZcJIQ==\n\
-----END CERTIFICATE-----\n";
const ROOT_B: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBhjCCASygAwIBAgIUbfKjPfS0kNy7cHRRS0UvBl30jLUwCgYIKoZIzj0EAwIw\n\
ITEOMAwGA1UECgwFSXN0aW8xDzANBgNVBAMMBlJvb3QgQjAeFw0yNjA2MDEwMDAw\n\
MDBaFw0zNjA1MjkwMDAwMDBaMCExDjAMBgNVBAoMBUlzdGlvMQ8wDQYDVQQDDAZS\n\
b290IEIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAARZa1Yp26mDxvxgFY77nCKh\n\
SunfRrKQzn8IXQnoyPsYsm8JH8bN+CkklHEW9Xx4VIr+CZ8zTL1udPEQ2RS6yGo5\n\
o0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQU\n\
7Vs8bNmFVv2u1S5tb4kJS7eamnMwCgYIKoZIzj0EAwIDSAAwRQIhAOrRnVpw39El\n\
yxR7s0eNLppGNIBT737F6b9lFvDfyBbKAiBvYwVv3wDxlyx2jKo3Bd2kFRW6fmw8\n\
CSjvfrp33GZqNQ==\n\
-----END CERTIFICATE-----\n";
const FOREVER: &str = "-----BEGIN CERTIFICATE-----\n\
MIIBojCCAUigAwIBAgIUGDi43BJlmr/+giS6avvhxgbk2eIwCgYIKoZIzj0EAwIw\n\
LjEOMAwGA1UECgwFSXN0aW8xHDAaBgNVBAMME0ZvcmV2ZXIsIGFuZCAiZXZlciIw\n\
IBcNMjYwMTAxMDAwMDAwWhgPOTk5OTEyMzEyMzU5NTlaMC4xDjAMBgNVBAoMBUlz\n\
dGlvMRwwGgYDVQQDDBNGb3JldmVyLCBhbmQgImV2ZXIiMFkwEwYHKoZIzj0CAQYI\n\
KoZIzj0DAQcDQgAETut1UDs82d5iSvY0lJ6zzchx0Odq0YhYRoZJX6chwCPdyCUS\n\
MS0hh7CcVTXLzSVIXQRtEgoNTflmADRKnQ/MgaNCMEAwDwYDVR0TAQH/BAUwAwEB\n\
/zAOBgNVHQ8BAf8EBAMCAQYwHQYDVR0OBBYEFLt0rFuFKUIMe3+7gJho5X/B0rMw\n\
MAoGCCqGSM49BAMCA0gAMEUCIAe+PVMmh18GiXs3cbA7f/ihWRFv9bxtq6PgZZrJ\n\
NjQ4AiEAgBArZ4R9SRs6b8DiuUhB9RMOQ/qNHB8DCjxF3fZrOR8=\n\
-----END CERTIFICATE-----\n";

#[test]
fn a_certificate_says_what_openssl_says() {
    let bundle = Bundle::of_pem(ROOT_A);
    let expected = Certificate {
        subject: "CN=Root A,O=Istio".to_owned(),
        issuer: "CN=Root A,O=Istio".to_owned(),
        not_before: "2023-08-01T00:00:00Z".parse().unwrap(),
        not_after: "2026-08-01T00:00:00Z".parse().unwrap(),
        fingerprint: "d7e058ff1e3563e0534c3861cbc7d32e646f82d303df3db089294987dc844a96".to_owned(),
        is_ca: true,
        serial: "7d6e490713da41221d7b99a8421aa86a6eeec829".to_owned(),
        trust_domain: None,
        key_id: Some("339c2a9455c4c4df15111ae8631496209e2c9d29".to_owned()),
    };
    assert_eq!(bundle.certificates, [expected]);
    assert!(bundle.unreadable.is_empty());
    assert_eq!(bundle.certificates[0].label(), "CN=Root A,O=Istio (d7e058ff1e35), until 2026-08-01");
    assert!(!bundle.certificates[0].is_expired("2026-08-01T00:00:00Z".parse().unwrap()));
    assert!(bundle.certificates[0].is_expired("2026-08-01T00:00:01Z".parse().unwrap()));
}

#[test]
fn a_certificate_that_never_ends_is_valid_as_long_as_can_be_said() {
    let bundle = Bundle::of_pem(FOREVER);
    assert_eq!(bundle.certificates[0].not_after, Timestamp::MAX);
    assert_eq!(bundle.certificates[0].subject, r#"CN=Forever\, and \"ever\",O=Istio"#);
}

#[test]
fn several_certificates_with_text_between_and_other_line_ends() {
    let text = format!("# the old one\n{ROOT_A}\nsubject=CN=Root B\n{ROOT_B}\n{ROOT_A}the end");
    let bundle = Bundle::of_pem(&text);
    assert_eq!(
        bundle.certificates.iter().map(Certificate::short).collect::<Vec<_>>(),
        ["d7e058ff1e35", "323c9b825f71"]
    );
    assert_eq!(Bundle::of_pem(&text.replace('\n', "\r\n")), bundle);
    assert_eq!(Bundle::of_base64(&STANDARD.encode(&text)), bundle);
    assert_eq!(bundle.ends(), Some("2036-05-29T00:00:00Z".parse().unwrap()));
    assert!(bundle.shares(&Bundle::of_pem(ROOT_B)) && !Bundle::of_pem(ROOT_A).shares(&Bundle::of_pem(ROOT_B)));
}

#[test]
fn what_is_no_certificate_is_said_and_hides_nothing() {
    for (text, readable, unreadable) in [
        (String::new(), 0, 0),
        ("hello".to_owned(), 0, 0),
        ("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_owned(), 0, 0),
        (format!("{BEGIN}\n{END}\n"), 0, 1),
        (format!("{BEGIN}\n%%\n{END}\n{ROOT_B}"), 1, 1),
        (format!("{BEGIN}\nMIIBhjCCASygAwIBAgIUfW5J\n{END}\n"), 0, 1),
        (ROOT_A[..200].to_owned(), 0, 1),
        (format!("{}\n{ROOT_B}", &ROOT_A[..200]), 1, 1),
    ] {
        let bundle = Bundle::of_pem(&text);
        assert_eq!((bundle.certificates.len(), bundle.unreadable.len()), (readable, unreadable), "{text:?}");
    }
    for text in ["%%", "/w==", "é"] {
        assert!(Bundle::of_base64(text).certificates.is_empty(), "{text:?}");
    }
    assert_eq!(Bundle::of_base64("").label(), "no certificate");
    assert_eq!(Bundle::of_base64("%%").label(), "text that is not base64");
}

/// Every byte of a certificate changed and every length cut: a value each time, never a panic.
#[test]
fn damaged_certificates_never_panic() {
    let der = decode(&ROOT_A.replace(BEGIN, "").replace(END, "")).unwrap();
    let read = |bytes: &[u8]| Bundle::of_pem(&format!("{BEGIN}\n{}\n{END}\n", STANDARD.encode(bytes)));
    for index in 0..der.len() {
        assert_eq!(read(&der[..index]).certificates.len(), 0, "cut at {index}");
        for value in [0x00, 0x01, 0x7f, 0x80, 0xff, der[index] ^ 0x20] {
            let mut damaged = der.clone();
            damaged[index] = value;
            let bundle = read(&damaged);
            assert_eq!(bundle.certificates.len() + bundle.unreadable.len(), 1);
            drop(bundle.label());
        }
    }
}
