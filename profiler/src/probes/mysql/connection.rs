//! A connection that is logged in, and what it asks. It takes a bounded number
//! of bytes for each answer; the time is the caller's to bound.
//!
//! The crates for this protocol open their sockets themselves, so that nothing
//! bounds what they read (mysql_async 0.37 makes room for as many columns as a
//! server announces): hence our own.

use std::{io, sync::Arc};

use rustls::pki_types::ServerName;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};

use super::{
    credentials::{Encryption, Login},
    login::{self, Greeting, Step},
    wire::{self, Answer, Column, LONGEST_PACKET, WireError},
};
use crate::probes::{
    database::{
        address::Address,
        stream::{Allowance, Stream},
    },
    tls::{self, Authorities, Verification},
};

/// Longest exchange of a login, messages.
const LONGEST_LOGIN: u32 = 8;

#[derive(Debug, Error)]
pub enum ConnectionError {
    #[error(transparent)]
    Wire(#[from] WireError),
    #[error("{0}")]
    Lost(#[from] io::Error),
    #[error("{0}")]
    Encryption(String),
}

type Result<T> = std::result::Result<T, ConnectionError>;

pub struct Connection {
    stream: BufReader<Stream>,
    allowance: Allowance,
    /// Of the next message.
    number: u8,
    pub version: String,
    pub encrypted: bool,
}

impl Connection {
    /// Connects and logs in.
    ///
    /// # Errors
    /// The server's and the operating system's, and those of the encryption.
    pub async fn open(login: &Login, stream: Stream) -> Result<Self> {
        let allowance = stream.allowance();
        let mut connection = Self {
            stream: BufReader::new(stream),
            allowance,
            number: 0,
            version: String::new(),
            encrypted: false,
        };
        let greeting = Greeting::parse(&connection.receive().await?)?;
        connection.version.clone_from(&greeting.version);
        if let Some(verification) = encrypt(login, &greeting)? {
            let ask = greeting.ask_for_encryption(login.database.is_some());
            connection.send(&ask).await?;
            connection = connection.encrypted(login, verification).await?;
        }
        connection.log_in(login, greeting).await?;
        Ok(connection)
    }

    async fn encrypted(self, login: &Login, verification: Verification) -> Result<Self> {
        // What came before the encryption may be anyone's.
        if !self.stream.buffer().is_empty() {
            return Err(WireError::NotTheProtocol.into());
        }
        let failed = |error: String| ConnectionError::Encryption(format!("TLS: {error}"));
        let config = tls::config(verification, Authorities::of(login.roots.as_deref()))
            .map_err(|error| failed(format!("{error:#}")))?;
        let name = ServerName::try_from(login.host.clone())
            .map_err(|_| failed(format!("{} is not a host's name", login.host)))?;
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, self.stream.into_inner())
            .await
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self {
            stream: BufReader::new(Stream::wrapped(stream, self.allowance.clone())),
            encrypted: true,
            ..self
        })
    }

    async fn log_in(&mut self, login: &Login, greeting: Greeting) -> Result<()> {
        let password = login.password.as_deref().unwrap_or_default();
        let secret = self.encrypted || matches!(login.address, Address::Unix(_));
        let database = login.database.as_deref();
        self.send(&greeting.login(&login.user, password, database, self.encrypted))
            .await?;
        let mut challenge = greeting.challenge;
        for _ in 0..LONGEST_LOGIN {
            let message = self.receive().await?;
            match login::step(&message, &mut challenge, password, secret)? {
                Step::Done => return Ok(()),
                Step::Wait => {}
                Step::Send(answer) => self.send(&answer).await?,
            }
        }
        Err(WireError::NotTheProtocol.into())
    }

    /// The rows of a statement, each with the names of its columns.
    ///
    /// # Errors
    /// The server's, and that the connection cannot be used any more.
    pub async fn query(&mut self, statement: &str) -> Result<Vec<Map<String, Value>>> {
        self.allowance.renew();
        self.number = 0;
        self.send(&wire::query(statement)).await?;
        let count = match Answer::parse(&self.receive().await?)? {
            Answer::Done => return Ok(Vec::new()),
            Answer::Columns(count) => count,
        };
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push(Column::parse(&self.receive().await?)?);
        }
        if !wire::ends(&self.receive().await?)? {
            return Err(WireError::NotTheProtocol.into());
        }
        let mut rows = Vec::new();
        loop {
            let message = self.receive().await?;
            if wire::ends(&message)? {
                return Ok(rows);
            }
            rows.push(wire::row(&message, &columns)?);
        }
    }

    /// Says goodbye: the server counts clients that go without.
    ///
    /// # Errors
    /// The operating system's.
    pub async fn quit(mut self) -> Result<()> {
        self.number = 0;
        self.send(&wire::QUIT).await?;
        Ok(self.stream.shutdown().await?)
    }

    async fn send(&mut self, message: &[u8]) -> Result<()> {
        // Ours are shorter than a packet: statements are our own.
        let mut packet = (message.len() as u32).to_le_bytes()[..3].to_vec();
        packet.push(self.number);
        packet.extend(message);
        self.number = self.number.wrapping_add(1);
        self.stream.write_all(&packet).await?;
        Ok(self.stream.flush().await?)
    }

    async fn receive(&mut self) -> Result<Vec<u8>> {
        let mut message = Vec::new();
        loop {
            let header = self.stream.read_u32_le().await?;
            let length = header as usize & LONGEST_PACKET;
            if (header >> 24) as u8 != self.number {
                return Err(WireError::NotTheProtocol.into());
            }
            self.number = self.number.wrapping_add(1);
            let before = message.len();
            // It grows with what comes, not with what is announced.
            (&mut self.stream)
                .take(length as u64)
                .read_to_end(&mut message)
                .await?;
            if message.len() - before < length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            if length < LONGEST_PACKET {
                return Ok(message);
            }
        }
    }
}

/// Whether to encrypt, and how the certificate is judged.
fn encrypt(login: &Login, greeting: &Greeting) -> Result<Option<Verification>> {
    match login.encryption {
        Encryption::Off => Ok(None),
        Encryption::Preferred => Ok(greeting.offers_encryption().then_some(Verification::None)),
        Encryption::Required(verification) if greeting.offers_encryption() => {
            Ok(Some(verification))
        }
        Encryption::Required(_) => Err(ConnectionError::Encryption(
            "the server does not offer TLS".to_owned(),
        )),
    }
}
