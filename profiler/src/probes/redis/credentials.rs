//! Where the server is and as whom to log in: the URL, then the environment.

use std::{env, path::PathBuf, sync::Arc};

use anyhow::{Context as _, Result, anyhow, bail};
use rustls::ClientConfig;

use crate::probes::{
    database::address::{Address, Url},
    tls::{self, Authorities, Verification},
};

const PORT: u16 = 6379;

/// Its password is in no output: there is no `Debug`.
#[derive(Clone)]
pub struct Login {
    pub address: Address,
    /// The host as it was named, for its certificate.
    pub host: String,
    pub user: Option<String>,
    pub password: Option<String>,
    /// The number of the database.
    pub database: u32,
    pub tls: Option<Arc<ClientConfig>>,
}

impl Login {
    /// Of `redis://`, `rediss://` (TLS) or `unix://`. A password that the URL does not hold is that of `REDISCLI_AUTH`.
    ///
    /// # Errors
    /// What is wrong with it, never with the password in it.
    pub fn find(given: &str) -> Result<Self> {
        Self::parse(given, env::var("REDISCLI_AUTH").ok())
            .context("this address of a Redis server cannot be used")
    }

    fn parse(given: &str, password: Option<String>) -> Result<Self> {
        let url = Url::parse(given).map_err(|error| anyhow!(error))?;
        let mut roots: Option<PathBuf> = None;
        let mut database = None;
        for (name, value) in &url.query {
            match name.as_str() {
                "cacert" => roots = Some(value.into()),
                "db" => database = Some(value.as_str()),
                name => bail!("{name} is not an option that is known here"),
            }
        }
        let tls = match url.scheme.as_str() {
            "redis" | "unix" => None,
            "rediss" => {
                let authorities = Authorities::of(roots.as_deref());
                Some(Arc::new(tls::config(Verification::Full, authorities)?))
            }
            _ => bail!("its scheme is none of redis://, rediss:// and unix://"),
        };
        let (address, host) = if url.scheme == "unix" {
            let path = format!("{}/{}", url.host, url.path);
            (Address::Unix(path), url.host)
        } else {
            let host = match url.host.as_str() {
                "" => "127.0.0.1".to_owned(),
                host => host.to_owned(),
            };
            let port = url.port.unwrap_or(PORT);
            if !url.path.is_empty() {
                database = Some(url.path.as_str());
            }
            (
                Address::Tcp {
                    host: host.clone(),
                    port,
                },
                host,
            )
        };
        let database = match database {
            None => 0,
            Some(number) => number
                .parse()
                .ok()
                .context("what follows the host's slash is not the number of a database")?,
        };
        Ok(Self {
            address,
            host,
            user: url.user,
            password: url.password.or(password).filter(|it| !it.is_empty()),
            database,
            tls,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() -> Result<()> {
        let login = Login::parse("redis://me:p%40ss@cache:7000/3", Some("env".to_owned()))?;
        assert_eq!(login.address.to_string(), "cache:7000");
        assert_eq!((login.user.as_deref(), login.database), (Some("me"), 3));
        assert_eq!(login.password.as_deref(), Some("p@ss"));
        let login = Login::parse("unix:///run/redis.sock?db=1", Some("env".to_owned()))?;
        assert_eq!(login.address.to_string(), "/run/redis.sock");
        assert_eq!(login.password.as_deref(), Some("env"));
        assert_eq!(login.database, 1);
        assert_eq!(
            Login::parse("redis://", None)?.address.to_string(),
            "127.0.0.1:6379"
        );
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for given in [
            "http://:secret@h",
            "redis://:secret@h/x",
            "redis://:secret@h?a=b",
            "secret",
        ] {
            let error = Login::parse(given, None).err().expect("it is wrong");
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
