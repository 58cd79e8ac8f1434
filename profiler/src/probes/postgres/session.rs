//! One connection that only reads, and that costs the server little.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::{Deserialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, NoTls, SimpleQueryMessage, config::SslMode};

use super::{
    credentials::{Encryption, Login},
    encryption::Encrypt,
};
use crate::{
    probes::{
        database::stream::{Allowance, Stream},
        tls::{self, Authorities, Verification},
    },
    report::text::{clean, shorten},
};

/// Longest message of a server that is shown, characters.
const LONGEST_MESSAGE: usize = 300;

/// How often a lost connection is made again.
const RECONNECTIONS: u32 = 2;
/// How much longer than the server a client waits for the end of a statement.
const GRACE: Duration = Duration::from_millis(500);

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("{message} (SQLSTATE {code})")]
    Server { message: String, code: String },
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the server's answer is not what was asked for: {0}")]
    Answer(String),
    /// The server lacks what answers: what it is, and how to get it.
    #[error("{0}")]
    Missing(String),
}

impl SessionError {
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// The settings of every statement, for its transaction alone: behind a pooler
/// such as PgBouncer a session's settings would be those of its next user.
fn settings(limit: Duration, superuser: bool) -> String {
    let milliseconds = limit.as_millis();
    let mut settings = vec![
        ("transaction_read_only", "on".to_owned()),
        ("statement_timeout", milliseconds.to_string()),
        ("lock_timeout", milliseconds.min(1000).to_string()),
        (
            "idle_in_transaction_session_timeout",
            (2 * milliseconds).to_string(),
        ),
        // No object of a user can stand in for one of the system.
        ("search_path", "pg_catalog".to_owned()),
        ("jit", "off".to_owned()),
    ];
    if superuser {
        // So that the probe does not count itself. As a query it is not counted
        // either when it ends counting, unlike SET.
        settings.push(("pg_stat_statements.track", "none".to_owned()));
    }
    let calls = settings
        .iter()
        .map(|(name, value)| format!("pg_catalog.set_config('{name}', '{value}', true)"));
    format!("SELECT {MARK} {}", calls.collect::<Vec<_>>().join(", "))
}

pub struct Session {
    login: Login,
    limit: Duration,
    connection: Option<Connection>,
    reconnections: u32,
    statements: u64,
}

struct Connection {
    client: Client,
    driver: JoinHandle<()>,
    allowance: Allowance,
    encrypted: bool,
    superuser: bool,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Session {
    /// Connects; `limit` is for that and for each statement.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(login: Login, limit: Duration) -> Result<Self, SessionError> {
        let connection = connect(&login, limit).await?;
        Ok(Self {
            login,
            limit,
            connection: Some(connection),
            reconnections: RECONNECTIONS,
            statements: 0,
        })
    }

    /// Goes on in the database with the most sessions, and of those with as many
    /// the one with the most transactions since the statistics were reset.
    ///
    /// # Errors
    /// As [`Self::rows`], and why there is no connection to that one.
    pub async fn use_busiest_database(&mut self) -> Result<(), SessionError> {
        #[derive(Deserialize)]
        struct Database {
            name: String,
        }
        let Database { name } = self
            .row(
                "SELECT d.datname AS name FROM pg_stat_database s \
                 JOIN pg_database d ON d.oid = s.datid \
                 WHERE d.datallowconn AND NOT d.datistemplate \
                   AND has_database_privilege(d.oid, 'CONNECT') \
                 ORDER BY s.numbackends - (d.datname = current_database())::int DESC, \
                          s.xact_commit + s.xact_rollback DESC \
                 LIMIT 1",
            )
            .await?;
        if name != self.login.database {
            self.login.database = name;
            self.connection = Some(connect(&self.login, self.limit).await?);
        }
        Ok(())
    }

    /// How many statements it has run, each a transaction of its own.
    pub fn statements(&self) -> u64 {
        self.statements
    }

    /// Whether pg_stat_statements counts the probe too.
    pub fn counts_itself(&self) -> bool {
        self.connection.as_ref().is_none_or(|it| !it.superuser)
    }

    pub fn encrypted(&self) -> bool {
        self.connection.as_ref().is_some_and(|it| it.encrypted)
    }

    /// The rows of a query of our own, each an object with the names of its
    /// columns. With its settings it is one message, which the server runs as
    /// one transaction.
    ///
    /// # Errors
    /// The server's, or that there is no usable answer.
    pub async fn rows<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, SessionError> {
        // The comment is how the probe knows its own statements.
        let query = format!("SELECT {MARK} row_to_json(t)::text FROM ({query}) t");
        let limit = self.limit;
        let connection = self.connection().await?;
        let message = format!("{}; {query}", settings(limit, connection.superuser));
        let answer = timeout(limit + GRACE, connection.client.simple_query(&message)).await;
        let answer = self.judge(answer)?;
        // The first row is that of the settings.
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or_default()),
            _ => None,
        });
        rows.skip(1)
            .map(|text| {
                serde_json::from_str(text).map_err(|error| SessionError::Answer(error.to_string()))
            })
            .collect()
    }

    /// As [`Self::rows`], of a query that has exactly one.
    ///
    /// # Errors
    /// As there, and when there is no row.
    pub async fn row<T: DeserializeOwned>(&mut self, query: &str) -> Result<T, SessionError> {
        let row = self.rows(query).await?.into_iter().next();
        row.ok_or_else(|| SessionError::Answer("no row".to_owned()))
    }

    /// Begins a transaction that cannot write, for statements of others.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn begin(&mut self) -> Result<(), SessionError> {
        let limit = self.limit;
        let connection = self.connection().await?;
        let settings = settings(limit, connection.superuser);
        // In this order BEGIN has the settings already.
        self.run(&format!("{settings}; BEGIN {MARK} TRANSACTION READ ONLY"))
            .await
    }

    /// The first column of the rows of exactly one statement, which is text or
    /// JSON: the protocol refuses several.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn texts(&mut self, statement: &str) -> Result<Vec<String>, SessionError> {
        let limit = self.limit;
        let client = &self.connection().await?.client;
        let rows = timeout(limit + GRACE, client.query_typed(statement, &[])).await;
        let rows = self.judge(rows)?;
        rows.iter()
            .map(|row| {
                let text = row.try_get::<_, Option<Text>>(0);
                text.map(|text| text.map(|text| text.0).unwrap_or_default())
                    .map_err(|error| SessionError::Answer(error.to_string()))
            })
            .collect()
    }

    /// Runs statements that have no rows to read.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn run(&mut self, statements: &str) -> Result<(), SessionError> {
        let limit = self.limit;
        let client = &self.connection().await?.client;
        let done = timeout(limit + GRACE, client.batch_execute(statements)).await;
        self.judge(done)
    }

    /// Ends the connection, and with it what a failed statement of others left
    /// open; the next statement makes a new one.
    pub fn end(&mut self) {
        if self.connection.take().is_some() {
            self.reconnections += 1;
        }
    }

    async fn connection(&mut self) -> Result<&Connection, SessionError> {
        if self.connection.is_none() {
            if self.reconnections == 0 {
                let times = format!("{} times", RECONNECTIONS + 1);
                return Err(SessionError::Lost(format!("{times}; it is not made again")));
            }
            self.reconnections -= 1;
            self.connection = Some(connect(&self.login, self.limit).await?);
        }
        self.statements += 1;
        match &self.connection {
            Some(connection) => {
                connection.allowance.renew();
                Ok(connection)
            }
            None => Err(SessionError::Lost("it is closed".to_owned())),
        }
    }

    /// After silence, or when it is closed, a connection cannot be used again.
    fn judge<T>(
        &mut self,
        result: Result<Result<T, tokio_postgres::Error>, tokio::time::error::Elapsed>,
    ) -> Result<T, SessionError> {
        match result {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => {
                let error = explain(&error);
                if !matches!(error, SessionError::Server { .. }) {
                    self.connection = None;
                }
                Err(error)
            }
            Err(_) => {
                self.connection = None;
                Err(SessionError::Silent(self.limit + GRACE))
            }
        }
    }
}

/// What our own statements hold.
pub const MARK: &str = "/* profiler */";

async fn connect(login: &Login, limit: Duration) -> Result<Connection, SessionError> {
    timeout(limit, try_connect(login, limit))
        .await
        .unwrap_or(Err(SessionError::Silent(limit)))
        .map_err(|error| match error {
            SessionError::Connect(_) => error,
            other => SessionError::Connect(other.to_string()),
        })
}

async fn try_connect(login: &Login, limit: Duration) -> Result<Connection, SessionError> {
    let refused = |error: std::io::Error| SessionError::Connect(error.to_string());
    let stream = Stream::connect(&login.address, limit)
        .await
        .map_err(refused)?;
    let allowance = stream.allowance();
    let mut config = tokio_postgres::Config::new();
    config
        .user(&login.user)
        .dbname(&login.database)
        .application_name("profiler");
    if let Some(password) = &login.password {
        config.password(password);
    }
    let encrypted = Arc::new(AtomicBool::new(false));
    // The server says it unasked; a pooler may not.
    let superuser;
    let (client, driver) = match login.encryption {
        Encryption::Off => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config
                .connect_raw(stream, NoTls)
                .await
                .map_err(|error| explain(&error))?;
            superuser = connection.parameter("is_superuser") == Some("on");
            (client, tokio::spawn(drive(connection)))
        }
        Encryption::Preferred | Encryption::Required(_) => {
            let verification = match login.encryption {
                Encryption::Required(verification) => {
                    config.ssl_mode(SslMode::Require);
                    verification
                }
                _ => {
                    config.ssl_mode(SslMode::Prefer);
                    Verification::None
                }
            };
            let encryption = tls::config(verification, Authorities::of(login.roots.as_deref()))
                .map_err(|error| SessionError::Connect(format!("{error:#}")))?;
            let encrypt = Encrypt {
                config: Arc::new(encryption),
                host: login.host.clone(),
                done: encrypted.clone(),
            };
            let (client, connection) = config
                .connect_raw(stream, encrypt)
                .await
                .map_err(|error| explain(&error))?;
            superuser = connection.parameter("is_superuser") == Some("on");
            (client, tokio::spawn(drive(connection)))
        }
    };
    Ok(Connection {
        client,
        driver,
        allowance,
        encrypted: encrypted.load(Ordering::Relaxed),
        superuser,
    })
}

async fn drive(connection: impl Future<Output = Result<(), tokio_postgres::Error>>) {
    if let Err(error) = connection.await {
        log::debug!("the connection ended: {error}");
    }
}

/// The server's message without its details, which may quote data.
fn explain(error: &tokio_postgres::Error) -> SessionError {
    if let Some(said) = error.as_db_error() {
        return SessionError::Server {
            message: shorten(&clean(said.message()), LONGEST_MESSAGE).into_owned(),
            code: said.code().code().to_owned(),
        };
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    SessionError::Lost(shorten(&clean(&text), LONGEST_MESSAGE).into_owned())
}

/// Text of any type that is sent as its text: `json` is, in binary too.
struct Text(String);

impl<'a> tokio_postgres::types::FromSql<'a> for Text {
    fn from_sql(
        _: &tokio_postgres::types::Type,
        raw: &'a [u8],
    ) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(std::str::from_utf8(raw)?.to_owned()))
    }

    fn accepts(kind: &tokio_postgres::types::Type) -> bool {
        use tokio_postgres::types::Type;
        [Type::TEXT, Type::VARCHAR, Type::JSON, Type::NAME].contains(kind)
    }
}
