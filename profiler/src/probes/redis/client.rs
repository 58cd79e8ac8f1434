//! One connection: commands and their answers, in bounded time and memory.

use std::time::Duration;

use rustls::pki_types::ServerName;
use thiserror::Error;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::timeout,
};

use super::{
    credentials::Login,
    resp::{self, NotTheProtocol, Value},
};
use crate::{
    probes::database::stream::{Allowance, Stream},
    report::text::{clean, shorten},
};

const LONGEST_MESSAGE: usize = 200;
/// How often a lost connection is made again.
const RECONNECTIONS: u32 = 2;

#[derive(Debug, Error)]
pub enum ClientError {
    #[error("{0}")]
    Refused(String),
    #[error("no answer within {} s", .0.as_secs_f64())]
    Silent(Duration),
    #[error("the connection was lost: {0}")]
    Lost(String),
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error(transparent)]
    Protocol(#[from] NotTheProtocol),
    #[error("the server's answer is not what was asked for: {0}")]
    Answer(&'static str),
}

pub struct Client {
    login: Login,
    limit: Duration,
    connection: Option<Connection>,
    reconnections: u32,
    commands: u64,
}

struct Connection {
    stream: Stream,
    allowance: Allowance,
    received: Vec<u8>,
}

impl Client {
    /// Connects and logs in; `limit` is for that and for each command.
    ///
    /// # Errors
    /// Why it does not work.
    pub async fn open(login: Login, limit: Duration) -> Result<Self, ClientError> {
        let connection = connect(&login, limit).await?;
        Ok(Self {
            login,
            limit,
            connection: Some(connection),
            reconnections: RECONNECTIONS,
            commands: 0,
        })
    }

    /// Commands that were sent, without those that log in.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// # Errors
    /// The server's, or that there is no usable answer.
    pub async fn call(&mut self, words: &[&str]) -> Result<Value, ClientError> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        let mut values = self.calls(&[words]).await?;
        match values.pop() {
            Some(Value::Error(message)) => Err(refused(&message)),
            Some(value) => Ok(value),
            None => Err(ClientError::Answer("nothing")),
        }
    }

    /// Sends commands at once. An answer may be an error of its own.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub async fn calls(&mut self, commands: &[Vec<&[u8]>]) -> Result<Vec<Value>, ClientError> {
        self.commands += commands.len() as u64;
        let bytes: Vec<u8> = commands
            .iter()
            .flat_map(|words| resp::command(words))
            .collect();
        if self.connection.is_none() {
            if self.reconnections == 0 {
                let times = RECONNECTIONS + 1;
                return Err(ClientError::Lost(format!(
                    "{times} times; it is not made again"
                )));
            }
            self.reconnections -= 1;
            self.connection = Some(connect(&self.login, self.limit).await?);
        }
        let Some(connection) = &mut self.connection else {
            return Err(ClientError::Lost("it is closed".to_owned()));
        };
        let answers = timeout(self.limit, connection.exchange(&bytes, commands.len())).await;
        let answers = answers.unwrap_or(Err(ClientError::Silent(self.limit)));
        if answers.is_err() {
            // What comes late would be taken for another answer.
            self.connection = None;
        }
        answers
    }
}

impl Connection {
    async fn exchange(&mut self, bytes: &[u8], count: usize) -> Result<Vec<Value>, ClientError> {
        self.allowance.renew();
        let lost = |error: std::io::Error| ClientError::Lost(error.to_string());
        self.stream.write_all(bytes).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut values = Vec::new();
        while values.len() < count {
            if resp::skip(&self.received)?.is_some()
                && let Some((value, length)) = resp::parse(&self.received)?
            {
                self.received.drain(..length);
                values.push(value);
                continue;
            }
            // Large reads: what is not complete is looked at again with each.
            self.received.reserve(1 << 20);
            match self.stream.read_buf(&mut self.received).await {
                Ok(0) => return Err(ClientError::Lost("closed by the server".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(lost(error)),
            }
        }
        Ok(values)
    }
}

async fn connect(login: &Login, limit: Duration) -> Result<Connection, ClientError> {
    let connected = timeout(limit, try_connect(login, limit)).await;
    let silent = || format!("no answer within {} s", limit.as_secs_f64());
    connected.unwrap_or_else(|_| Err(ClientError::Connect(silent())))
}

async fn try_connect(login: &Login, limit: Duration) -> Result<Connection, ClientError> {
    let mut connection = plain(login, limit).await?;
    for greeting in greetings(login) {
        let answers = connection.exchange(&greeting.command, 1).await?;
        if let Some(Value::Error(message)) = answers.first()
            && greeting.needed
        {
            return Err(ClientError::Connect(refused(message).to_string()));
        }
    }
    Ok(connection)
}

/// What is sent first: credentials, who this is, and the database.
pub fn greetings(login: &Login) -> Vec<Greeting> {
    let mut greetings = Vec::new();
    let mut add = |words: &[&[u8]], needed| {
        greetings.push(Greeting {
            command: resp::command(words),
            needed,
        });
    };
    let user = login.user.as_deref().map(str::as_bytes);
    match (user, login.password.as_deref().map(str::as_bytes)) {
        (Some(user), Some(password)) => add(&[b"AUTH", user, password], true),
        (None, Some(password)) => add(&[b"AUTH", password], true),
        (_, None) => {}
    }
    // The name is only a courtesy.
    add(&[b"CLIENT", b"SETNAME", b"profiler"], false);
    if login.database != 0 {
        add(&[b"SELECT", login.database.to_string().as_bytes()], true);
    }
    greetings
}

pub struct Greeting {
    pub command: Vec<u8>,
    /// Whether nothing works without it.
    pub needed: bool,
}

/// A connection that is logged in, for whoever speaks the protocol himself.
///
/// # Errors
/// Why it does not work.
pub async fn raw(login: &Login, limit: Duration) -> Result<(Stream, Allowance), ClientError> {
    let connection = connect(login, limit).await?;
    Ok((connection.stream, connection.allowance))
}

async fn plain(login: &Login, limit: Duration) -> Result<Connection, ClientError> {
    let failed =
        |error: std::io::Error| ClientError::Connect(clean(&error.to_string()).into_owned());
    let stream = Stream::connect(&login.address, limit)
        .await
        .map_err(failed)?;
    let allowance = stream.allowance();
    let stream = match &login.tls {
        None => stream,
        Some(config) => {
            let name = ServerName::try_from(login.host.clone()).map_err(|_| {
                ClientError::Connect(format!("{} is not a host's name", login.host))
            })?;
            let stream = tokio_rustls::TlsConnector::from(config.clone())
                .connect(name, stream)
                .await
                .map_err(failed)?;
            Stream::wrapped(stream, allowance.clone())
        }
    };
    Ok(Connection {
        stream,
        allowance,
        received: Vec::new(),
    })
}

fn refused(message: &str) -> ClientError {
    ClientError::Refused(shorten(&clean(message), LONGEST_MESSAGE).into_owned())
}
