//! Whom to trust over TLS, and what to speak on top.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::TlsConnector;

use crate::probes::tls::{self, Authorities, Verification};

/// Whose certificates are good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Certificates in PEM to trust, besides the system's.
    pub authorities: Option<PathBuf>,
    /// Trust whoever answers.
    pub anyone: bool,
}

/// # Errors
///
/// If the file of authorities cannot be read or has no certificate.
pub fn connector(trust: &Trust, protocols: &[&str]) -> anyhow::Result<TlsConnector> {
    let verification = if trust.anyone {
        Verification::None
    } else {
        Verification::Full
    };
    let authorities = match &trust.authorities {
        Some(file) => Authorities::SystemAnd(file),
        None => Authorities::System,
    };
    let mut config = tls::config(verification, authorities)?;
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(TlsConnector::from(Arc::new(config)))
}
