//! Where the server is and as whom to log in: the URL, then the environment,
//! then the `[client]` group of `~/.my.cnf` (MySQL 8.4 Reference Manual, 6.2.2.2
//! and 6.9).

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::probes::{
    database::address::{Address, Url, user_of_process},
    tls::Verification,
};

const PORT: u16 = 3306;
/// Where distributions put the socket.
const SOCKETS: [&str; 4] = [
    "/run/mysqld/mysqld.sock",
    "/var/run/mysqld/mysqld.sock",
    "/var/lib/mysql/mysql.sock",
    "/tmp/mysql.sock",
];
/// Longest file of options that is read, bytes.
const LONGEST_FILE: u64 = 1 << 20;

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
    pub database: Option<String>,
    pub encryption: Encryption,
    pub roots: Option<PathBuf>,
}

/// What is known of the connection without the URL.
#[derive(Default)]
struct Defaults {
    host: Option<String>,
    port: Option<String>,
    socket: Option<String>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
}

impl Login {
    /// Of a URL `mysql://…`, or of what the environment and `~/.my.cnf` say.
    ///
    /// # Errors
    /// What is wrong with it, never with the password in it.
    pub fn find(given: Option<&str>) -> Result<Self> {
        Self::parse(given, Defaults::find())
            .context("this address of a MySQL server cannot be used")
    }

    /// Of a server that was found, as whom the environment and `~/.my.cnf` say,
    /// else as the user that every server has.
    ///
    /// # Errors
    /// As [`Self::find`].
    pub fn of_server(address: SocketAddr) -> Result<Self> {
        let mut defaults = Defaults::find();
        defaults.user.get_or_insert_with(|| "root".to_owned());
        Self::parse(Some(&format!("mysql://{address}")), defaults)
    }

    fn parse(given: Option<&str>, defaults: Defaults) -> Result<Self> {
        let url = match given {
            Some(text) => Url::parse(text).map_err(|error| anyhow!(error))?,
            None => Url::default(),
        };
        if given.is_some() && !matches!(url.scheme.as_str(), "mysql" | "mariadb") {
            bail!("its scheme is neither mysql:// nor mariadb://");
        }
        let (mut socket, mut mode, mut roots) = (None, None, None);
        for (name, value) in url.query {
            match name.as_str() {
                "socket" => socket = Some(value),
                "ssl-mode" => mode = Some(value),
                "ssl-ca" => roots = Some(PathBuf::from(value)),
                name => bail!("{name} is not an option that is known here"),
            }
        }
        let named = Some(url.host).filter(|host| !host.is_empty());
        // A host of the URL is not at the socket of a file.
        let socket = match &named {
            Some(_) => socket,
            None => socket.or(defaults.socket),
        };
        let host = named.or(defaults.host);
        let socket = socket.or_else(|| match &host {
            Some(_) => None,
            None => default_socket(),
        });
        let port = match (url.port, defaults.port) {
            (Some(port), _) => port,
            (None, None) => PORT,
            (None, Some(port)) => port
                .parse()
                .ok()
                .context("the port is not a number up to 65535")?,
        };
        let host = host.unwrap_or_else(|| "127.0.0.1".to_owned());
        let address = match socket {
            Some(path) => Address::Unix(path),
            None => Address::Tcp {
                host: host.clone(),
                port,
            },
        };
        let encryption = match mode.as_deref() {
            // Nobody is between the ends of a Unix socket.
            _ if matches!(address, Address::Unix(_)) => Encryption::Off,
            Some("DISABLED") => Encryption::Off,
            None | Some("PREFERRED") => Encryption::Preferred,
            Some("REQUIRED") => Encryption::Required(Verification::None),
            Some("VERIFY_CA") => Encryption::Required(Verification::Authority),
            Some("VERIFY_IDENTITY") => Encryption::Required(Verification::Full),
            Some(_) => bail!(
                "ssl-mode is one of DISABLED, PREFERRED, REQUIRED, VERIFY_CA, VERIFY_IDENTITY"
            ),
        };
        let user = match url.user.or(defaults.user) {
            Some(user) => user,
            None => user_of_process().context("name a user: mysql://USER@…")?,
        };
        Ok(Self {
            address,
            host,
            user,
            password: url
                .password
                .or(defaults.password)
                .filter(|password| !password.is_empty()),
            database: Some(url.path)
                .filter(|name| !name.is_empty())
                .or(defaults.database),
            encryption,
            roots,
        })
    }
}

impl Defaults {
    fn find() -> Self {
        let file = env::var_os("HOME").map(|home| Path::new(&home).join(".my.cnf"));
        let file = file.and_then(|path| read(&path)).unwrap_or_default();
        Self::new(|name| env::var(name).ok(), &file)
    }

    fn new(environment: impl Fn(&str) -> Option<String>, file: &str) -> Self {
        let mut defaults = Self::of_file(file);
        let variable = |name| environment(name).filter(|value| !value.is_empty());
        for (place, name) in [
            (&mut defaults.host, "MYSQL_HOST"),
            (&mut defaults.port, "MYSQL_TCP_PORT"),
            (&mut defaults.socket, "MYSQL_UNIX_PORT"),
            (&mut defaults.password, "MYSQL_PWD"),
        ] {
            if let Some(value) = variable(name) {
                *place = Some(value);
            }
        }
        defaults
    }

    fn of_file(text: &str) -> Self {
        let mut defaults = Self::default();
        let mut in_group = false;
        for line in text.lines().map(str::trim) {
            if let Some(group) = line.strip_prefix('[') {
                in_group = group.trim_end() == "client]";
                continue;
            }
            let Some((name, value)) = line.split_once('=').filter(|_| in_group) else {
                continue;
            };
            let place = match name.trim() {
                "host" => &mut defaults.host,
                "port" => &mut defaults.port,
                "socket" => &mut defaults.socket,
                "user" => &mut defaults.user,
                "password" => &mut defaults.password,
                "database" => &mut defaults.database,
                _ => continue,
            };
            *place = Some(value_of(value.trim())).filter(|value| !value.is_empty());
        }
        defaults
    }
}

/// A value of a file of options: quotes around it are not a part of it, nor is
/// a comment behind it, and a backslash takes its next character.
fn value_of(text: &str) -> String {
    let quote = text
        .chars()
        .next()
        .filter(|first| matches!(first, '\'' | '"'));
    let mut value = String::new();
    let mut characters = text.chars().skip(usize::from(quote.is_some()));
    while let Some(character) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|escaped| match escaped {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'r' => '\r',
                's' => ' ',
                other => other,
            })),
            _ if Some(character) == quote => return value,
            '#' if quote.is_none() => break,
            _ => value.push(character),
        }
    }
    if quote.is_none() {
        value.truncate(value.trim_end().len());
    }
    value
}

fn read(path: &Path) -> Option<String> {
    let file = fs::metadata(path).ok()?;
    if !file.is_file() || file.len() > LONGEST_FILE {
        return None;
    }
    match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) => {
            log::info!("{} is not used: {error}", path.display());
            None
        }
    }
}

fn default_socket() -> Option<String> {
    let found = SOCKETS.into_iter().find(|path| Path::new(path).exists());
    found.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
        [mysqld]
        user = nobody
        [client]
        user=reader
        password = \"a#b \\\"c\\\"\" # mine
        host = db.internal  # there
        socket=/run/db.sock
        [mysql]
        user=other";

    fn login(given: Option<&str>, environment: fn(&str) -> Option<String>) -> Result<Login> {
        Login::parse(given, Defaults::new(environment, FILE))
    }

    #[test]
    fn the_url_comes_first_then_the_environment_then_the_file() -> Result<()> {
        let nothing = |_: &str| None;
        let found = login(None, nothing)?;
        assert_eq!(found.user, "reader");
        assert_eq!(found.password.as_deref(), Some("a#b \"c\""));
        assert_eq!(found.address, Address::Unix("/run/db.sock".to_owned()));
        assert_eq!(found.encryption, Encryption::Off);

        let password = |name: &str| (name == "MYSQL_PWD").then(|| "env".to_owned());
        let found = login(Some("mysql://me@db:3307/shop?ssl-mode=VERIFY_CA"), password)?;
        assert_eq!(found.address.to_string(), "db:3307");
        assert_eq!(found.user, "me");
        assert_eq!(found.password.as_deref(), Some("env"));
        assert_eq!(found.database.as_deref(), Some("shop"));
        assert_eq!(
            found.encryption,
            Encryption::Required(Verification::Authority)
        );
        let found = login(Some("mariadb://me:p%40ss@/?socket=/tmp/s"), password)?;
        assert_eq!(found.password.as_deref(), Some("p@ss"));
        assert_eq!(found.address, Address::Unix("/tmp/s".to_owned()));
        Ok(())
    }

    #[test]
    fn what_is_wrong_is_said_without_the_password() {
        for given in [
            "postgres://me:secret@db",
            "mysql://me:secret@db?ssl-mode=secret",
            "mysql://me:secret@db?what=secret",
            "mysql://me:secret@db:99999",
        ] {
            let error = login(Some(given), |_| None).err().expect("a bad URL");
            assert!(!format!("{error:#}").contains("secret"), "{error:#}");
        }
    }
}
