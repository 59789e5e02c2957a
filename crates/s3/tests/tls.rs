//! Encrypted connections, with a certificate that only the `ca` option vouches for.

mod common;

use bytes::Bytes;
use common::{BUCKET, Store, open, run};
use rcgen::{CertificateParams, KeyPair};
use std::sync::Arc;
use tidemark_env::{Bucket, BucketErrorKind, Precondition};
use tidemark_s3::{Failure, Trouble};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

/// A certificate of its own for `localhost`, as PEM, and who can show it.
fn self_signed() -> (String, TlsAcceptor) {
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()])
        .unwrap()
        .self_signed(&key)
        .unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    (certificate.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[test]
fn only_a_certificate_that_is_vouched_for_is_trusted() {
    let (pem, tls) = self_signed();
    let store = Store::start(|options| {
        options.tls = Some(tls);
    });
    let ca = store.dir.path().join("ca.pem");
    std::fs::write(&ca, pem).unwrap();
    let port = store.server.address().port();
    let at = |options: &str| {
        let ca = ca.display();
        format!("s3://{BUCKET}/p?endpoint=https://localhost:{port}&ca={ca}&retry-seconds=5{options}")
    };
    run(async {
        let bucket = open(&at(""));
        let body = vec![Bytes::from_static(b"over TLS")];
        bucket.put("k", body, Precondition::Absent).await.unwrap();
        assert_eq!(bucket.get("k").await.unwrap(), "over TLS");

        // Another certificate's word is not enough.
        let (other, _) = self_signed();
        std::fs::write(&ca, other).unwrap();
        let error = open(&at("")).get("k").await.unwrap_err();
        let failure = error.cause.downcast_ref::<Failure>().unwrap();
        assert_eq!(
            (error.kind, failure.trouble),
            (BucketErrorKind::Other, Trouble::Tls)
        );
        assert!(failure.text.contains("?ca="), "{failure}");
    });
    std::fs::write(&ca, "no certificate").unwrap();
    let location = tidemark_s3::Location::parse(&at(""), &common::bare).unwrap();
    let error = tidemark_s3::S3Bucket::open(location, &common::key("id", "s")).unwrap_err();
    assert!(error.to_string().contains("ca.pem"), "{error}");
}
