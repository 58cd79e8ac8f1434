//! TLS to a database.

use std::{path::Path, sync::Arc};

use anyhow::{Context as _, Result, ensure};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
};

/// How the server's certificate is judged, as libpq's `sslmode`
/// (PostgreSQL documentation, 34.19.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// Any certificate: encrypted, but by whoever answers.
    None,
    /// Signed by a known authority, for whatever name.
    Authority,
    /// Signed by a known authority for the host's name.
    Full,
}

/// Makes the configuration; `roots` is a PEM file of authorities, without one
/// they are the system's.
///
/// # Errors
/// When the authorities cannot be read.
pub fn config(verification: Verification, roots: Option<&Path>) -> Result<Arc<ClientConfig>> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS has no usable version")?;
    let config = match verification {
        Verification::None => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Lenient {
                provider,
                authority: None,
            }))
            .with_no_client_auth(),
        Verification::Authority => {
            let store = Arc::new(authorities(roots)?);
            let authority = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
                .build()
                .context("cannot check certificates with these authorities")?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(Lenient {
                    provider,
                    authority: Some(authority),
                }))
                .with_no_client_auth()
        }
        Verification::Full => builder
            .with_root_certificates(authorities(roots)?)
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn authorities(file: Option<&Path>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(file) = file else {
        // Some of a system's certificates are often beyond what is supported.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        ensure!(
            !store.is_empty(),
            "this host has no certificates of authorities; name a file of them"
        );
        return Ok(store);
    };
    let read = || format!("cannot read certificates from {}", file.display());
    for certificate in CertificateDer::pem_file_iter(file).with_context(read)? {
        store
            .add(certificate.with_context(read)?)
            .with_context(read)?;
    }
    ensure!(!store.is_empty(), "{} holds no certificate", file.display());
    Ok(store)
}

/// Accepts what `sslmode=require` and `verify-ca` accept.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        // The name is looked at last.
        match authority.verify_server_cert(certificate, intermediates, name, ocsp, now) {
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            judged => judged,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
