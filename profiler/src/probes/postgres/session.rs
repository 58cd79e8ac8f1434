//! One connection that only reads, and that costs the server little.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::{task::JoinHandle, time::timeout};
use tokio_postgres::{Client, NoTls, config::SslMode};

use super::{
    credentials::{Encryption, Login},
    encryption::Encrypt,
};
use crate::{
    probes::database::{
        stream::{Allowance, Stream},
        tls::{self, Verification},
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
}

impl SessionError {
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Server { code, .. } => Some(code),
            _ => None,
        }
    }
}

/// The settings of a session. Those that only some roles may change, or only
/// some versions know, are allowed to fail.
fn settings(limit: Duration) -> [(&'static str, String, Needed); 7] {
    let milliseconds = limit.as_millis();
    let own = |text: &str| text.to_owned();
    [
        // First, so that the probe does not count itself; for superusers only.
        (COUNTING, own("none"), Needed::No),
        ("default_transaction_read_only", own("on"), Needed::Yes),
        ("statement_timeout", milliseconds.to_string(), Needed::Yes),
        ("lock_timeout", milliseconds.min(1000).to_string(), Needed::Yes),
        // No object of a user can stand in for one of the system.
        ("search_path", own("pg_catalog"), Needed::Yes),
        ("jit", own("off"), Needed::No),
        ("idle_in_transaction_session_timeout", own("60s"), Needed::No),
    ]
}

const COUNTING: &str = "pg_stat_statements.track";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Needed {
    Yes,
    No,
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
    counts_itself: bool,
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

    /// How many statements it has run, each a transaction of its own.
    pub fn statements(&self) -> u64 {
        self.statements
    }

    /// Whether pg_stat_statements counts the probe too.
    pub fn counts_itself(&self) -> bool {
        self.connection.as_ref().is_none_or(|it| it.counts_itself)
    }

    pub fn encrypted(&self) -> bool {
        self.connection.as_ref().is_some_and(|it| it.encrypted)
    }

    /// The rows of a query of our own, each an object with the names of its
    /// columns. It is one statement, and not prepared under a name, so that
    /// poolers of connections can pass it on.
    ///
    /// # Errors
    /// The server's, or that there is no usable answer.
    pub async fn rows<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, SessionError> {
        // The comment is how the probe knows its own statements.
        let wrapped = format!("SELECT {MARK} row_to_json(t)::text AS t FROM ({query}) t");
        let texts = self.texts(&wrapped).await?;
        texts
            .iter()
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

    /// The first column of the rows of one statement, which is text or JSON.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn texts(&mut self, statement: &str) -> Result<Vec<String>, SessionError> {
        let limit = self.limit;
        let client = self.client().await?;
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
        let client = self.client().await?;
        let done = timeout(limit + GRACE, client.batch_execute(statements)).await;
        self.judge(done)
    }

    async fn client(&mut self) -> Result<&Client, SessionError> {
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
                Ok(&connection.client)
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
    let (client, driver) = match login.encryption {
        Encryption::Off => {
            config.ssl_mode(SslMode::Disable);
            let (client, connection) = config
                .connect_raw(stream, NoTls)
                .await
                .map_err(|error| explain(&error))?;
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
            let encrypt = Encrypt {
                config: tls::config(verification, login.roots.as_deref())
                    .map_err(|error| SessionError::Connect(format!("{error:#}")))?,
                host: login.host.clone(),
                done: encrypted.clone(),
            };
            let (client, connection) = config
                .connect_raw(stream, encrypt)
                .await
                .map_err(|error| explain(&error))?;
            (client, tokio::spawn(drive(connection)))
        }
    };
    let mut connection = Connection {
        client,
        driver,
        allowance,
        encrypted: encrypted.load(Ordering::Relaxed),
        counts_itself: false,
    };
    for (name, value, needed) in settings(limit) {
        // As a query it is not counted when it ends counting, unlike SET.
        let statement = format!("SELECT {MARK} pg_catalog.set_config('{name}', '{value}', false)");
        let done = connection.client.batch_execute(&statement).await;
        if let Err(error) = done.map_err(|error| explain(&error)) {
            let refused = matches!(error, SessionError::Server { .. });
            if needed == Needed::Yes || !refused {
                return Err(error);
            }
            log::debug!("{name}: {error}");
            connection.counts_itself |= name == COUNTING;
        }
    }
    Ok(connection)
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
