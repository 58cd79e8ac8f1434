//! TLS as a client: whom to trust, and what to speak on top.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
        pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    },
};

/// Whose certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates in PEM to trust, besides Mozilla's.
    pub authorities: Option<std::path::PathBuf>,
    /// Trust whoever answers.
    pub anyone: bool,
}

/// # Errors
///
/// If the file of authorities cannot be read or has no certificate.
pub fn connector(trust: &Trust, protocols: &[&str]) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("cannot set TLS up")?;
    let mut config = if trust.anyone {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anyone(provider)))
            .with_no_client_auth()
    } else {
        builder
            .with_root_certificates(roots(trust.authorities.as_deref())?)
            .with_no_client_auth()
    };
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

fn roots(authorities: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut store = RootCertStore {
        roots: webpki_roots::TLS_SERVER_ROOTS.to_vec(),
    };
    let Some(path) = authorities else {
        return Ok(store);
    };
    let unreadable = || format!("cannot read the certificates of --ca {}", path.display());
    let mut found = 0;
    for certificate in CertificateDer::pem_file_iter(path).with_context(unreadable)? {
        store
            .add(certificate.with_context(unreadable)?)
            .with_context(unreadable)?;
        found += 1;
    }
    if found == 0 {
        bail!("--ca {} has no certificate in PEM", path.display());
    }
    Ok(store)
}

/// Believes every certificate, but not a wrong signature: what is measured is
/// a whole handshake.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
