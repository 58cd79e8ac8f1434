//! Where the server is and as whom to log in: the URL, then the environment,
//! then the password file, as libpq does (PostgreSQL documentation, 34.1,
//! 34.15 and 34.16).

use std::{
    env, fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::probes::{
    database::address::{Address, Url, user_of_process},
    tls::Verification,
};

/// Whether TLS is asked for, and what becomes of a server without it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encryption {
    Off,
    /// If the server has it.
    Preferred,
    Required(Verification),
}

/// Its password is in no output: there is no `Debug`.
pub struct Login {
    pub address: Address,
    /// The host as it was named, for its certificate.
    pub host: String,
    pub user: String,
    pub password: Option<String>,
    pub database: String,
    pub encryption: Encryption,
    pub roots: Option<PathBuf>,
}

/// What was said of the connection, by libpq's names.
struct Settings {
    given: Vec<(String, String)>,
    environment: fn(&str) -> Option<String>,
}

/// Options of the URL that matter to libpq but not here.
const IGNORED: [&str; 7] = [
    "application_name",
    "connect_timeout",
    "fallback_application_name",
    "gssencmode",
    "keepalives",
    "target_session_attrs",
    "client_encoding",
];
const USED: [&str; 8] = [
    "host",
    "port",
    "user",
    "password",
    "dbname",
    "sslmode",
    "sslrootcert",
    "passfile",
];

impl Login {
    /// Of a URL `postgres://…`, a list `host=… dbname=…`, or the environment alone.
    ///
    /// # Errors
    /// What is wrong with it, never with the password in it.
    pub fn find(given: Option<&str>) -> Result<Self> {
        Settings::parse(given, |name| env::var(name).ok())
            .context("this address of a PostgreSQL server cannot be used")?
            .login()
    }
}

impl Settings {
    fn parse(given: Option<&str>, environment: fn(&str) -> Option<String>) -> Result<Self> {
        let given = match given {
            None => Vec::new(),
            Some(text) if text.contains("://") => of_url(text)?,
            Some(text) if text.contains('=') => of_list(text)?,
            Some(_) => bail!("write postgres://USER@HOST:PORT/DATABASE or 'host=… dbname=…'"),
        };
        for (name, _) in &given {
            if IGNORED.contains(&name.as_str()) {
                log::info!("{name} of the address is not used");
            } else if !USED.contains(&name.as_str()) {
                bail!("{name} is not an option that is known here");
            }
        }
        Ok(Self { given, environment })
    }

    fn get(&self, name: &str, variable: &str) -> Option<String> {
        self.given
            .iter()
            .rev()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.clone())
            .or_else(|| (self.environment)(variable))
            .filter(|value| !value.is_empty())
    }

    fn login(&self) -> Result<Login> {
        let port = match self.get("port", "PGPORT") {
            None => 5432,
            Some(port) => port
                .parse()
                .ok()
                .context("the port is not a number up to 65535")?,
        };
        let host = self.get("host", "PGHOST").unwrap_or_else(default_host);
        let address = if host.starts_with('/') {
            Address::Unix(format!("{host}/.s.PGSQL.{port}"))
        } else {
            Address::Tcp {
                host: host.clone(),
                port,
            }
        };
        let user = match self.get("user", "PGUSER") {
            Some(user) => user,
            None => user_of_process().context("name a user: postgres://USER@…")?,
        };
        let database = self
            .get("dbname", "PGDATABASE")
            .unwrap_or_else(|| user.clone());
        let roots = self.get("sslrootcert", "PGSSLROOTCERT");
        let encryption = match self.get("sslmode", "PGSSLMODE").as_deref() {
            // Nobody is between the ends of a Unix socket.
            _ if matches!(address, Address::Unix(_)) => Encryption::Off,
            Some("disable" | "allow") => Encryption::Off,
            None | Some("prefer") => Encryption::Preferred,
            Some("require") if roots.is_none() => Encryption::Required(Verification::None),
            // With authorities at hand libpq checks them too.
            Some("require" | "verify-ca") => Encryption::Required(Verification::Authority),
            Some("verify-full") => Encryption::Required(Verification::Full),
            Some(_) => {
                bail!("sslmode is one of disable, allow, prefer, require, verify-ca, verify-full")
            }
        };
        let mut login = Login {
            address,
            host,
            user,
            password: self.get("password", "PGPASSWORD"),
            database,
            encryption,
            roots: roots.filter(|roots| roots != "system").map(PathBuf::from),
        };
        if login.password.is_none() {
            login.password = self.password_of_file(&login, port);
        }
        Ok(login)
    }

    fn password_of_file(&self, login: &Login, port: u16) -> Option<String> {
        let path = match self.get("passfile", "PGPASSFILE") {
            Some(path) => PathBuf::from(path),
            None => Path::new(&(self.environment)("HOME")?).join(".pgpass"),
        };
        let file = path.metadata().ok()?;
        if !file.is_file() {
            return None;
        }
        // As libpq, which does not use a file that others may read.
        if file.mode() & 0o077 != 0 {
            log::warn!(
                "{} is not used, since others can read it: chmod 0600",
                path.display()
            );
            return None;
        }
        let text = fs::read_to_string(&path).ok()?;
        let host = match &login.address {
            // libpq's name of the default socket directory's server.
            Address::Unix(_) if SOCKET_DIRECTORIES.contains(&login.host.as_str()) => "localhost",
            _ => &login.host,
        };
        password_of(
            &text,
            [host, &port.to_string(), &login.database, &login.user],
        )
    }
}

const SOCKET_DIRECTORIES: [&str; 3] = ["/var/run/postgresql", "/run/postgresql", "/tmp"];

fn default_host() -> String {
    SOCKET_DIRECTORIES
        .into_iter()
        .find(|directory| Path::new(directory).join(".s.PGSQL.5432").exists())
        .unwrap_or("localhost")
        .to_owned()
}

fn of_url(text: &str) -> Result<Vec<(String, String)>> {
    let url = Url::parse(text).map_err(|error| anyhow!(error))?;
    if !matches!(url.scheme.as_str(), "postgres" | "postgresql") {
        bail!("its scheme is neither postgres:// nor postgresql://");
    }
    let mut settings = Vec::new();
    let mut add = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            settings.push((name.to_owned(), value));
        }
    };
    add("user", url.user);
    add("password", url.password);
    add("host", Some(url.host));
    add("port", url.port.map(|port| port.to_string()));
    add("dbname", Some(url.path));
    settings.extend(url.query);
    Ok(settings)
}

/// `name = value` pairs; a value in single quotes may hold spaces, and a
/// backslash takes the next character as it is.
fn of_list(text: &str) -> Result<Vec<(String, String)>> {
    let mut settings = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest
            .split_once('=')
            .context("a setting in it has no value")?;
        let mut value = String::new();
        let mut characters = after.trim_start().chars();
        let quoted = characters.as_str().starts_with('\'');
        if quoted {
            characters.next();
        }
        let mut closed = !quoted;
        while let Some(character) = characters.next() {
            match character {
                '\\' => value.extend(characters.next()),
                '\'' if quoted => {
                    closed = true;
                    break;
                }
                _ if !quoted && character.is_whitespace() => break,
                _ => value.push(character),
            }
        }
        if !closed {
            bail!("a quote in it is not closed");
        }
        settings.push((name.trim().to_owned(), value));
        rest = characters.as_str().trim_start();
    }
    Ok(settings)
}

/// The password in the first line that fits: `host:port:database:user:password`,
/// where `*` fits everything and a backslash escapes.
fn password_of(text: &str, wanted: [&str; 4]) -> Option<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let fields = fields(line);
            let (password, place) = fields.split_last()?;
            let fits = place.len() == wanted.len()
                && place
                    .iter()
                    .zip(wanted)
                    .all(|(field, wanted)| field == "*" || field == wanted);
            fits.then(|| password.clone())
        })
}

fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(character) = characters.next() {
        let count = fields.len();
        match character {
            // The password is the last and may hold colons.
            ':' if count < 5 => fields.push(String::new()),
            '\\' => fields[count - 1].extend(characters.next()),
            _ => fields[count - 1].push(character),
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(given: &str, environment: fn(&str) -> Option<String>) -> Result<Login> {
        Settings::parse(Some(given), environment)?.login()
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn the_url_goes_before_the_environment() -> Result<()> {
        let environment = |name: &str| {
            let value = match name {
                "PGPASSWORD" => "from the environment",
                "PGUSER" => "nobody",
                "PGPORT" => "6543",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let login = login(
            "postgres://me@db.example/shop?sslmode=verify-full",
            environment,
        )?;
        assert_eq!(login.user, "me");
        assert_eq!(login.password.as_deref(), Some("from the environment"));
        assert_eq!(login.address.to_string(), "db.example:6543");
        assert_eq!(login.database, "shop");
        assert_eq!(login.encryption, Encryption::Required(Verification::Full));
        Ok(())
    }

    #[test]
    fn lists_and_sockets() -> Result<()> {
        let given = r"host=/run/postgresql user = me password='a \'b\' c' dbname=x";
        let login = login(given, nothing)?;
        assert_eq!(login.address.to_string(), "/run/postgresql/.s.PGSQL.5432");
        assert_eq!(login.password.as_deref(), Some("a 'b' c"));
        assert_eq!(login.encryption, Encryption::Off);
        Ok(())
    }

    #[test]
    fn passwords_of_files() {
        let text = "# comment\n\
                    other:*:*:*:no\n\
                    h:5432:d\\:b:me:se:cr\\\\et\n\
                    *:*:*:*:last\n";
        let wanted = |database| password_of(text, ["h", "5432", database, "me"]);
        assert_eq!(wanted("d:b").as_deref(), Some("se:cr\\et"));
        assert_eq!(wanted("x").as_deref(), Some("last"));
        assert_eq!(password_of("h:1:d:u", ["h", "1", "d", "u"]), None);
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for given in [
            "mysql://u:secret@h",
            "postgres://u:secret@h:x/",
            "secret",
            "host=h password='secret",
            "postgres://u:secret@h/?sslmode=maybe",
            "postgres://u:secret@h/?colour=red",
        ] {
            let error = login(given, nothing).err().expect("it is wrong");
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
