//! TLS as a client: whose certificates are believed.

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

/// Whose signatures are believed.
#[derive(Clone, Copy, Debug)]
pub enum Authorities<'p> {
    /// Those of this system.
    System,
    /// Those in a PEM file, and no other.
    File(&'p Path),
    /// Those in a PEM file, besides the system's.
    SystemAnd(&'p Path),
}

/// Makes the configuration.
///
/// # Errors
/// When the authorities cannot be read.
pub fn config(verification: Verification, authorities: Authorities) -> Result<ClientConfig> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS has no usable version")?;
    let lenient = |authority| {
        Arc::new(Lenient {
            provider: provider.clone(),
            authority,
        })
    };
    Ok(match verification {
        Verification::None => builder
            .dangerous()
            .with_custom_certificate_verifier(lenient(None))
            .with_no_client_auth(),
        Verification::Authority => {
            let store = Arc::new(authorities.store()?);
            let authority = WebPkiServerVerifier::builder_with_provider(store, provider.clone())
                .build()
                .context("cannot check certificates with these authorities")?;
            builder
                .dangerous()
                .with_custom_certificate_verifier(lenient(Some(authority)))
                .with_no_client_auth()
        }
        Verification::Full => builder
            .with_root_certificates(authorities.store()?)
            .with_no_client_auth(),
    })
}

impl<'p> Authorities<'p> {
    /// Those in the file, else the system's.
    pub fn of(file: Option<&'p Path>) -> Self {
        file.map_or(Self::System, Self::File)
    }

    fn store(self) -> Result<RootCertStore> {
        let mut store = RootCertStore::empty();
        if let Self::System | Self::SystemAnd(_) = self {
            // Some of a system's certificates are often beyond what is supported.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        let file = match self {
            Self::System => {
                ensure!(
                    !store.is_empty(),
                    "this host has no certificates of authorities; name a file of them"
                );
                return Ok(store);
            }
            Self::File(file) | Self::SystemAnd(file) => file,
        };
        let read = || format!("cannot read certificates from {}", file.display());
        let before = store.len();
        for certificate in CertificateDer::pem_file_iter(file).with_context(read)? {
            store
                .add(certificate.with_context(read)?)
                .with_context(read)?;
        }
        ensure!(
            store.len() > before,
            "{} holds no certificate",
            file.display()
        );
        Ok(store)
    }
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
