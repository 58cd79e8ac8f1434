//! The server that is asked: its URL, and where that may point.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

use hyper::Uri;
use thiserror::Error;

use super::locality;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A server by its URL. The URL's credentials are refused, so that it can be
/// printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub scheme: Scheme,
    /// A name or an address, without the brackets of IPv6.
    pub host: String,
    pub port: u16,
    /// As the Host header has it.
    pub authority: String,
    /// Path and query, which start with a slash.
    pub path: String,
}

/// The addresses of a server, which stay the same for a whole run.
#[derive(Clone, Debug)]
pub struct Resolved {
    pub addresses: Vec<SocketAddr>,
    /// How long the name took; `None` where the URL has an address.
    pub dns: Option<Duration>,
}

#[derive(Debug, Error)]
pub enum TargetError {
    #[error("`{text}` is no URL: {why}")]
    NotAUrl { text: String, why: String },
    #[error("only http:// and https:// URLs can be loaded, not {0}://")]
    Scheme(String),
    #[error("a URL with a user or password would be printed; use --header or --bearer-env")]
    Credentials,
    #[error("cannot resolve {host}")]
    Resolve { host: String, source: io::Error },
    #[error("{host} has no address")]
    NoAddress { host: String },
    #[error(
        "{address} is neither this host nor a container on it; --allow-remote sends load there \
         all the same"
    )]
    Remote { address: IpAddr },
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let not_a_url = |why: String| TargetError::NotAUrl {
            text: text.split(['?', '#']).next().unwrap_or_default().to_owned(),
            why,
        };
        let without_fragment = text.split('#').next().unwrap_or_default();
        if !without_fragment.contains("://") {
            return Err(not_a_url("it must start with http:// or https://".into()));
        }
        let uri: Uri = without_fragment
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| not_a_url(error.to_string()))?;
        let scheme = match uri.scheme_str() {
            Some("http") => Scheme::Http,
            Some("https") => Scheme::Https,
            other => return Err(TargetError::Scheme(other.unwrap_or_default().to_owned())),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| not_a_url("it names no host".into()))?;
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let default_port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        if host.is_empty() {
            return Err(not_a_url("it names no host".into()));
        }
        let port = match authority.as_str().rsplit_once(':') {
            Some((_, port)) if !port.contains(']') => port
                .parse()
                .map_err(|_| not_a_url(format!("{port:?} is no port")))?,
            _ => default_port,
        };
        Ok(Self {
            scheme,
            host,
            port,
            authority: authority.as_str().to_owned(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
        })
    }

    /// Finds the addresses, once: what a name means may change, and with it
    /// where the load goes.
    ///
    /// # Errors
    ///
    /// If there are none, or if one is not of this host and `allow_remote` is
    /// not given.
    pub async fn resolve(&self, allow_remote: bool) -> Result<Resolved, TargetError> {
        let started = Instant::now();
        let literal: Option<IpAddr> = self.host.parse().ok();
        let addresses: Vec<SocketAddr> = match literal {
            Some(address) => vec![SocketAddr::new(address, self.port)],
            None => tokio::net::lookup_host((self.host.as_str(), self.port))
                .await
                .map_err(|source| TargetError::Resolve {
                    host: self.host.clone(),
                    source,
                })?
                .collect(),
        };
        let dns = literal.is_none().then(|| started.elapsed());
        if addresses.is_empty() {
            return Err(TargetError::NoAddress {
                host: self.host.clone(),
            });
        }
        if !allow_remote
            && let Some(remote) = addresses
                .iter()
                .find(|address| !locality::is_of_this_host(address.ip()))
        {
            return Err(TargetError::Remote {
                address: remote.ip(),
            });
        }
        Ok(Resolved { addresses, dns })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}://{}", self.scheme.name(), self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let target = Target::parse("http://localhost:8080/a?b=c#d").expect("a URL");
        assert_eq!((target.host.as_str(), target.port), ("localhost", 8080));
        assert_eq!(target.path, "/a?b=c");
        assert_eq!(target.to_string(), "http://localhost:8080");
        let target = Target::parse("https://[::1]").expect("a URL");
        assert_eq!((target.host.as_str(), target.port), ("::1", 443));
        assert_eq!(
            (target.authority.as_str(), target.path.as_str()),
            ("[::1]", "/")
        );
    }

    #[test]
    fn no_urls() {
        for text in [
            "",
            "localhost:80",
            "ftp://localhost/",
            "http://",
            "http://:80/",
            "http://h:99999/",
            "http://h:/",
            "http://a b/",
            "http://user:hunter2@localhost/",
        ] {
            let error = Target::parse(text).expect_err(text).to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
        let error = Target::parse("localhost?token=hunter2").expect_err("no URL");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }

    #[tokio::test]
    async fn a_remote_address_must_be_allowed() {
        let target = Target::parse("http://192.0.2.1/").expect("a URL");
        assert!(matches!(
            target.resolve(false).await,
            Err(TargetError::Remote { .. })
        ));
        assert!(target.resolve(true).await.is_ok());
        let target = Target::parse("http://127.0.0.1:1/").expect("a URL");
        assert!(
            target
                .resolve(false)
                .await
                .expect("an address")
                .dns
                .is_none()
        );
    }
}
