//! How a request can fail, by kind.

use std::{error::Error as _, io};

use serde::Serialize;

/// Why there is no complete response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    ConnectionRefused,
    /// No connection within the time limit.
    ConnectTimeout,
    /// No connection for another reason: no route, no port left.
    Connect,
    Tls,
    /// No complete response within the time limit.
    Timeout,
    /// The server ended the connection with a reset.
    Reset,
    /// The server closed the connection before the response was complete.
    ClosedEarly,
    BodyTooLarge,
    /// What came is not HTTP, or breaks its rules.
    Protocol,
}

impl FailureKind {
    pub fn title(self) -> &'static str {
        match self {
            Self::ConnectionRefused => "connection refused",
            Self::ConnectTimeout => "connect timeout",
            Self::Connect => "no connection",
            Self::Tls => "TLS",
            Self::Timeout => "timeout",
            Self::Reset => "connection reset",
            Self::ClosedEarly => "closed early",
            Self::BodyTooLarge => "body too large",
            Self::Protocol => "protocol",
        }
    }
}

/// A failed request or connection: the kind, and what was said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
    /// Nothing of an answer came on a connection that had brought answers
    /// before. The server may have closed it just then, as it may at any time;
    /// RFC 9112, 9.3.1, lets clients try again.
    pub on_reused_connection: bool,
}

impl Failure {
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            on_reused_connection: false,
        }
    }

    /// Of making a connection.
    pub fn of_connect(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionRefused => FailureKind::ConnectionRefused,
            io::ErrorKind::TimedOut => FailureKind::ConnectTimeout,
            _ => FailureKind::Connect,
        };
        Self::new(kind, error.to_string())
    }

    /// Of the TLS handshake.
    pub fn of_tls(error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => FailureKind::Reset,
            io::ErrorKind::UnexpectedEof => FailureKind::ClosedEarly,
            _ => FailureKind::Tls,
        };
        Self::new(kind, error.to_string())
    }

    /// Of a request on a connection.
    pub fn of_http(error: &hyper::Error) -> Self {
        let mut message = error.to_string();
        let mut kind = if error.is_incomplete_message() || error.is_closed() || error.is_canceled()
        {
            FailureKind::ClosedEarly
        } else {
            FailureKind::Protocol
        };
        let mut source = error.source();
        while let Some(error) = source {
            message += &format!(": {error}");
            if let Some(error) = error.downcast_ref::<io::Error>() {
                kind = match error.kind() {
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe => FailureKind::Reset,
                    io::ErrorKind::UnexpectedEof => FailureKind::ClosedEarly,
                    io::ErrorKind::InvalidData if is_tls(error) => FailureKind::Tls,
                    _ => kind,
                };
            }
            source = error.source();
        }
        Self::new(kind, message)
    }
}

fn is_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}
