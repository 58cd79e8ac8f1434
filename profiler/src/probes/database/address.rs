//! Where a server is, and the parts of a URL that name it.

use std::{fmt, fs};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    /// Path of a Unix socket.
    Unix(String),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(formatter, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(formatter, "{host}:{port}"),
            Self::Unix(path) => formatter.write_str(path),
        }
    }
}

/// A URL, taken apart; nothing of it is decoded wrongly rather than refused.
#[derive(Default, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub user: Option<String>,
    pub password: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// Without the slash that begins it.
    pub path: String,
    pub query: Vec<(String, String)>,
}

impl Url {
    /// # Errors
    /// What is wrong, without any part of the URL that could be a password.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text
            .split_once("://")
            .ok_or("it has no scheme: postgres://, mysql:// or redis://")?;
        let rest = rest.split('#').next().unwrap_or_default();
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, place) = match authority.rsplit_once('@') {
            Some((login, place)) => (Some(login), place),
            None => (None, authority),
        };
        if place.contains(',') {
            return Err("it names several hosts; give one of them");
        }
        let (host, port) = host_and_port(place)?;
        let mut url = Self {
            scheme: scheme.to_ascii_lowercase(),
            host: decode(host)?,
            port,
            path: decode(path)?,
            ..Self::default()
        };
        if let Some(login) = login {
            let (user, password) = login
                .split_once(':')
                .map_or((login, None), |(user, word)| (user, Some(word)));
            url.user = Some(decode(user)?).filter(|user| !user.is_empty());
            url.password = password.map(decode).transpose()?;
        }
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or("an option of it has no value")?;
            url.query.push((decode(name)?, decode(value)?));
        }
        Ok(url)
    }
}

/// As whom databases are logged in to by clients that are told nothing else.
pub fn user_of_process() -> Option<String> {
    let user = rustix::process::geteuid().as_raw();
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(user)).then(|| name.to_owned())
    })
}

fn host_and_port(place: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match place.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or("its IPv6 address has no ]")?;
            (host, rest.strip_prefix(':').unwrap_or_default())
        }
        None => place.rsplit_once(':').unwrap_or((place, "")),
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let port = port
        .parse()
        .map_err(|_| "its port is not a number up to 65535")?;
    Ok((host, Some(port)))
}

fn decode(text: &str) -> Result<String, &'static str> {
    const BROKEN: &str = "a % in it is not followed by two hexadecimal digits (write %25 for %)";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        if *first != b'%' {
            bytes.push(*first);
            rest = after;
            continue;
        }
        let digit = |at: usize| {
            after
                .get(at)
                .and_then(|&digit| (digit as char).to_digit(16))
        };
        let (Some(high), Some(low)) = (digit(0), digit(1)) else {
            return Err(BROKEN);
        };
        bytes.push((high * 16 + low) as u8);
        rest = &after[2..];
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let url = Url::parse("postgres://me:p%40ss:w@[::1]:6543/db%20x?sslmode=require&a=b");
        let url = url.expect("a good URL");
        assert_eq!(url.user.as_deref(), Some("me"));
        assert_eq!(url.password.as_deref(), Some("p@ss:w"));
        assert_eq!((url.host.as_str(), url.port), ("::1", Some(6543)));
        assert_eq!(url.path, "db x");
        assert_eq!(url.query[0], ("sslmode".to_owned(), "require".to_owned()));
        let url = Url::parse("redis://:secret@cache").expect("a good URL");
        assert_eq!((url.user, url.password.as_deref()), (None, Some("secret")));
        assert_eq!((url.host.as_str(), url.port), ("cache", None));
    }

    #[test]
    fn broken_urls_are_refused_without_quoting_them() {
        for text in [
            "secret",
            "postgres://secret@h:secret/",
            "postgres://u:secret%zz@h",
            "postgres://a,b/secret",
            "postgres://[::1/secret",
            "postgres://h/?secret",
        ] {
            let error = Url::parse(text).err().expect("a bad URL");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
