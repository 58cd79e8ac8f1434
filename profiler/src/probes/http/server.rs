//! The server that a run loads: found, reached once, and from then on the same.

use std::time::Duration;

use anyhow::{Context as _, anyhow};
use tokio_rustls::rustls::pki_types::ServerName;

use super::{
    connection::{Dialer, Protocol},
    outcome::{Failure, FailureKind},
    target::{Resolved, Scheme, Target},
    tls::{self, Trust},
    usage::Processes,
    wire::Stream,
};

/// Which version of HTTP is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// What TLS negotiates; without TLS, HTTP/1.1.
    Auto,
    Http1,
    /// Without TLS by prior knowledge (RFC 9113, 3.3).
    Http2,
}

pub struct Server {
    pub target: Target,
    pub resolved: Resolved,
    pub protocol: Protocol,
    pub dialer: Dialer,
}

/// How to get to a server.
#[derive(Clone, Debug)]
pub struct Reach {
    pub version: Version,
    pub trust: Trust,
    pub allow_remote: bool,
    pub timeout: Duration,
}

impl Server {
    /// Resolves its name and makes one connection.
    ///
    /// # Errors
    ///
    /// If it may not be loaded or cannot be reached; a line that says why.
    pub async fn reach(target: Target, how: &Reach) -> anyhow::Result<Self> {
        let mut resolved = tokio::time::timeout(how.timeout, target.resolve(how.allow_remote))
            .await
            .with_context(|| format!("cannot resolve {} in time", target.host))??;
        let offered: &[Protocol] = match how.version {
            Version::Auto => &[Protocol::Http2, Protocol::Http1],
            Version::Http1 => &[Protocol::Http1],
            Version::Http2 => &[Protocol::Http2],
        };
        let mut dialer = dialer(&target, &resolved, how, offered)?;
        let unreachable = |failure: Failure| {
            let kind = match failure.kind {
                FailureKind::Tls => "TLS: ",
                _ => "",
            };
            anyhow!("cannot reach {target}: {kind}{}", failure.message)
        };
        let (wire, _) = dialer.dial().await.map_err(unreachable)?;
        let (socket, negotiated) = match &wire.stream {
            Stream::Plain(socket) => (socket, None),
            Stream::Tls(stream) => {
                let (socket, session) = stream.get_ref();
                (socket, session.alpn_protocol())
            }
        };
        // One address for all connections, so that all measure the same.
        let address = socket
            .peer_addr()
            .with_context(|| format!("{target} closed the connection at once"))?;
        let protocol = match (how.version, negotiated) {
            (Version::Http2, None) if target.scheme == Scheme::Https => {
                return Err(anyhow!("{target} does not offer HTTP/2"));
            }
            (Version::Http2, _) => Protocol::Http2,
            (_, Some(name)) if name == Protocol::Http2.alpn().as_bytes() => Protocol::Http2,
            _ => Protocol::Http1,
        };
        resolved.addresses = vec![address];
        dialer = self::dialer(&target, &resolved, how, &[protocol])?;
        Ok(Self {
            target,
            resolved,
            protocol,
            dialer,
        })
    }
}

impl Server {
    /// Its processes, where they can be found.
    pub fn processes(&self) -> Option<Processes> {
        Processes::of_server(*self.resolved.addresses.first()?)
    }
}

fn dialer(
    target: &Target,
    resolved: &Resolved,
    how: &Reach,
    offered: &[Protocol],
) -> anyhow::Result<Dialer> {
    let tls = match target.scheme {
        Scheme::Http => None,
        Scheme::Https => {
            let names: Vec<&str> = offered.iter().map(|protocol| protocol.alpn()).collect();
            let name = ServerName::try_from(target.host.clone())
                .with_context(|| format!("{} is no name for TLS", target.host))?;
            Some((tls::connector(&how.trust, &names)?, name))
        }
    };
    Ok(Dialer {
        addresses: resolved.addresses.clone(),
        tls,
        timeout: how.timeout,
    })
}
