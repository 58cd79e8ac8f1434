//! One connection that only reads, and that costs the server little.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::time::timeout;

use super::{
    connection::{Connection, ConnectionError},
    credentials::Login,
    wire::WireError,
};
use crate::{
    probes::database::stream::Stream,
    report::text::{clean, shorten},
};

/// Longest message of a server that is shown, characters.
const LONGEST_MESSAGE: usize = 300;
/// How often a lost connection is made again.
const RECONNECTIONS: u32 = 2;
/// How much longer than the server a client waits for the end of a statement.
const GRACE: Duration = Duration::from_millis(500);
/// Our own statements have a column of this name: comments are not a part of
/// what the server keeps of a statement, names of columns are.
pub const MARK: &str = "profiler_probe";

/// ER_SPECIFIC_ACCESS_DENIED_ERROR: for want of a privilege.
const PRIVILEGE: u16 = 1227;
/// ER_PARSE_ERROR and ER_UNKNOWN_SYSTEM_VARIABLE.
const UNKNOWN: [u16; 2] = [1064, 1193];

#[derive(Debug, Error)]
pub enum SessionError {
    #[error("{message} (error {code})")]
    Server { message: String, code: u16 },
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("the server's answer is not what was asked for: {0}")]
    Answer(String),
    /// What the server could tell, and is not configured to.
    #[error("{0}")]
    Off(String),
}

impl SessionError {
    pub fn wants_privilege(&self) -> bool {
        matches!(self, Self::Server { code, .. } if *code == PRIVILEGE)
    }

    /// Whether the server's version does not know what it was asked.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Server { code, .. } if UNKNOWN.contains(code))
    }
}

/// Which of the two it is; they went different ways after MySQL 5.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Product {
    Mysql,
    Mariadb,
}

impl Product {
    pub fn of_version(version: &str) -> Self {
        if version.contains("MariaDB") {
            Self::Mariadb
        } else {
            Self::Mysql
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Mysql => "MySQL",
            Self::Mariadb => "MariaDB",
        }
    }

    /// What makes a session read only and each of its statements end. The
    /// units differ: seconds and milliseconds.
    fn settings(self, limit: Duration) -> [String; 3] {
        let statement = match self {
            Self::Mariadb => format!("max_statement_time = {}", limit.as_secs_f64()),
            Self::Mysql => format!("max_execution_time = {}", limit.as_millis().max(1)),
        };
        [
            "SET SESSION TRANSACTION READ ONLY".to_owned(),
            "SET SESSION lock_wait_timeout = 1".to_owned(),
            format!("SET SESSION {statement}"),
        ]
    }
}

pub struct Session {
    login: Login,
    limit: Duration,
    connection: Option<Connection>,
    reconnections: u32,
    product: Product,
    version: String,
    encrypted: bool,
}

impl Session {
    /// Connects; `limit` is for that and for each statement.
    ///
    /// # Errors
    /// Why there is no connection.
    pub async fn open(login: Login, limit: Duration) -> Result<Self, SessionError> {
        let connection = connect(&login, limit).await?;
        Ok(Self {
            product: Product::of_version(&connection.version),
            version: connection.version.clone(),
            encrypted: connection.encrypted,
            login,
            limit,
            connection: Some(connection),
            reconnections: RECONNECTIONS,
        })
    }

    pub fn product(&self) -> Product {
        self.product
    }

    /// As the server said it when it was connected to.
    pub fn version(&self) -> &str {
        // For clients that expect versions before 10.
        let version = &self.version;
        version.strip_prefix("5.5.5-").unwrap_or(version)
    }

    pub fn encrypted(&self) -> bool {
        self.encrypted
    }

    /// The rows of a query of our own, which begins after its SELECT, by the
    /// names of its columns.
    ///
    /// # Errors
    /// The server's, or that there is no usable answer.
    pub async fn rows<T: DeserializeOwned>(&mut self, query: &str) -> Result<Vec<T>, SessionError> {
        let rows = self.show(&format!("SELECT 1 AS {MARK}, {query}")).await?;
        rows.into_iter()
            .map(|row| {
                serde_json::from_value(Value::Object(row))
                    .map_err(|error| SessionError::Answer(error.to_string()))
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

    /// The rows of a statement as it is, such as SHOW.
    ///
    /// # Errors
    /// As [`Self::rows`].
    pub async fn show(&mut self, statement: &str) -> Result<Vec<Map<String, Value>>, SessionError> {
        let limit = self.limit + GRACE;
        let connection = self.connection().await?;
        let answer = timeout(limit, connection.query(statement)).await;
        let answer = answer.map_or(Err(SessionError::Silent(limit)), |answer| {
            answer.map_err(explain)
        });
        if !matches!(answer, Ok(_) | Err(SessionError::Server { .. })) {
            // What comes late would be taken for another answer.
            self.connection = None;
        }
        answer
    }

    async fn connection(&mut self) -> Result<&mut Connection, SessionError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None if self.reconnections == 0 => {
                let times = format!("{} times", RECONNECTIONS + 1);
                return Err(SessionError::Lost(format!("{times}; it is not made again")));
            }
            None => {
                self.reconnections -= 1;
                connect(&self.login, self.limit).await?
            }
        };
        Ok(self.connection.insert(connection))
    }

    /// Says goodbye.
    pub async fn close(mut self) {
        if let Some(connection) = self.connection.take()
            && !matches!(timeout(GRACE, connection.quit()).await, Ok(Ok(())))
        {
            log::debug!("the connection did not end in order");
        }
    }
}

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
    let stream = Stream::connect(&login.address, limit)
        .await
        .map_err(|error| SessionError::Connect(error.to_string()))?;
    let mut connection = Connection::open(login, stream).await.map_err(explain)?;
    for setting in Product::of_version(&connection.version).settings(limit) {
        match connection.query(&setting).await.map_err(explain) {
            // Older ones have no limit of time; ours ends the wait.
            Err(error) if error.is_unknown() => log::debug!("{setting}: {error}"),
            done => drop(done?),
        }
    }
    Ok(connection)
}

fn explain(error: ConnectionError) -> SessionError {
    let short = |text: &str| shorten(&clean(text), LONGEST_MESSAGE).into_owned();
    match error {
        ConnectionError::Wire(WireError::Server { code, message }) => SessionError::Server {
            message: short(&message),
            code,
        },
        ConnectionError::Wire(error) => SessionError::Answer(error.to_string()),
        other => SessionError::Lost(short(&other.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_product_is_told_in_its_own_units() {
        let of = |version| Product::of_version(version).settings(Duration::from_millis(2500));
        let mariadb = of("5.5.5-10.11.18-MariaDB-0+deb12u1");
        assert_eq!(mariadb[2], "SET SESSION max_statement_time = 2.5");
        assert_eq!(of("8.4.2")[2], "SET SESSION max_execution_time = 2500");
        assert_eq!(of("8.4.2")[0], "SET SESSION TRANSACTION READ ONLY");
    }
}
