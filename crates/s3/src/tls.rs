//! Secure connections: rustls over ring, with the system's certificates or those of one file.

use crate::location::Location;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::path::Path;
use std::sync::Arc;

/// The configuration of secure connections; the error is for people.
pub(crate) fn config(location: &Location) -> Result<ClientConfig, String> {
    let roots = match &location.ca_file {
        Some(file) => roots_of_file(file)?,
        // Nothing will be encrypted, so a machine without certificates is fine.
        None if location.is_plain() => RootCertStore::empty(),
        None => roots_of_system()?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| format!("TLS cannot be used: {e}"))?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

fn roots_of_file(file: &Path) -> Result<RootCertStore, String> {
    let wrong =
        |e: &dyn std::fmt::Display| format!("the certificates in {} cannot be used: {e}", file.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|e| wrong(&e))? {
        let certificate = certificate.map_err(|e| wrong(&e))?;
        roots.add(certificate).map_err(|e| wrong(&e))?;
    }
    if roots.is_empty() {
        return Err(wrong(&"there are none"));
    }
    Ok(roots)
}

fn roots_of_system() -> Result<RootCertStore, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err(
            "this system has no certificates to trust; install the package ca-certificates, or name a file \
                    with ?ca="
                .into(),
        );
    }
    Ok(roots)
}
