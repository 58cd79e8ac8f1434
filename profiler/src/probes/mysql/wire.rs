//! The client's side of the protocol of MySQL and MariaDB, as bytes: a query and
//! its rows, as text (MySQL's source documentation, "Client/Server Protocol";
//! MariaDB's knowledge base, "Client/Server Protocol").

use serde_json::{Map, Number, Value};
use thiserror::Error;

/// Longest that the body of one packet is; a longer message goes on in the next.
pub const LONGEST_PACKET: usize = 0xff_ff_ff;
/// More columns than any query of ours has.
const MOST_COLUMNS: u64 = 256;

#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    #[error("it does not speak MySQL's protocol")]
    NotTheProtocol,
    #[error("{message} (error {code})")]
    Server { code: u16, message: String },
    #[error("it wants the login method {0}, which is not known here")]
    Method(String),
    #[error(
        "it wants the password itself, which is sent over TLS and Unix sockets only: \
         ?ssl-mode=REQUIRED"
    )]
    Unencrypted,
}

pub type Result<T> = std::result::Result<T, WireError>;

/// Reads a message from its beginning.
pub struct Reader<'m>(pub &'m [u8]);

impl<'m> Reader<'m> {
    pub fn take(&mut self, length: usize) -> Result<&'m [u8]> {
        let (taken, rest) = self
            .0
            .split_at_checked(length)
            .ok_or(WireError::NotTheProtocol)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned integer of so many bytes, the lowest first.
    pub fn integer(&mut self, bytes: usize) -> Result<u64> {
        let taken = self.take(bytes)?;
        Ok(taken
            .iter()
            .rev()
            .fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    /// Up to a zero, or to the end where there is none.
    pub fn text(&mut self) -> &'m [u8] {
        let length = self.0.iter().position(|&byte| byte == 0);
        let text = &self.0[..length.unwrap_or(self.0.len())];
        self.0 = &self.0[(text.len() + 1).min(self.0.len())..];
        text
    }

    pub fn length(&mut self) -> Result<u64> {
        match self.integer(1)? {
            small @ 0..=0xfa => Ok(small),
            0xfc => self.integer(2),
            0xfd => self.integer(3),
            0xfe => self.integer(8),
            _ => Err(WireError::NotTheProtocol),
        }
    }

    pub fn string(&mut self) -> Result<&'m [u8]> {
        let length = usize::try_from(self.length()?).map_err(|_| WireError::NotTheProtocol)?;
        self.take(length)
    }
}

pub fn query(statement: &str) -> Vec<u8> {
    [&[0x03], statement.as_bytes()].concat()
}

pub const QUIT: [u8; 1] = [0x01];

/// How an answer to a query begins.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    /// It has no rows.
    Done,
    Columns(u64),
}

impl Answer {
    /// # Errors
    /// The server's. It may not ask for a file of ours either.
    pub fn parse(message: &[u8]) -> Result<Self> {
        match message.first() {
            Some(0x00) => Ok(Self::Done),
            Some(0xff) => Err(server_error(message)),
            _ => match Reader(message).length()? {
                columns @ 1..=MOST_COLUMNS => Ok(Self::Columns(columns)),
                _ => Err(WireError::NotTheProtocol),
            },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub struct Column {
    name: String,
    number: bool,
}

impl Column {
    /// # Errors
    /// If it is none.
    pub fn parse(message: &[u8]) -> Result<Self> {
        let mut reader = Reader(message);
        for _catalog_schema_table_original in 0..4 {
            reader.string()?;
        }
        let name = String::from_utf8_lossy(reader.string()?).into_owned();
        reader.string()?;
        reader.take(1 + 2 + 4)?;
        // MYSQL_TYPE_DECIMAL to _DOUBLE, _LONGLONG and _INT24, _YEAR, _NEWDECIMAL.
        let number = matches!(reader.integer(1)?, 0..=5 | 8 | 9 | 13 | 246);
        Ok(Self { name, number })
    }
}

/// Whether a message ends the columns or the rows.
///
/// # Errors
/// The server's.
pub fn ends(message: &[u8]) -> Result<bool> {
    match message {
        [0xff, ..] => Err(server_error(message)),
        [0xfe, ..] => Ok(message.len() < 9),
        _ => Ok(false),
    }
}

/// A row, by the names of its columns.
///
/// # Errors
/// If it is none.
pub fn row(message: &[u8], columns: &[Column]) -> Result<Map<String, Value>> {
    let mut reader = Reader(message);
    columns
        .iter()
        .map(|column| {
            let value = if reader.0.first() == Some(&0xfb) {
                reader.take(1)?;
                Value::Null
            } else {
                let text = String::from_utf8_lossy(reader.string()?);
                let number = column.number.then(|| number(&text)).flatten();
                number.map_or_else(|| Value::String(text.into_owned()), Value::Number)
            };
            Ok((column.name.clone(), value))
        })
        .collect()
}

fn number(text: &str) -> Option<Number> {
    let whole = text.parse::<u64>().ok().map(Number::from);
    whole
        .or_else(|| text.parse::<i64>().ok().map(Number::from))
        .or_else(|| text.parse().ok().and_then(Number::from_f64))
}

/// What an error message of the server says.
pub fn server_error(message: &[u8]) -> WireError {
    let mut reader = Reader(message);
    let parsed = reader
        .take(1)
        .and_then(|_| reader.integer(2))
        .map(|code| code as u16);
    let Ok(code) = parsed else {
        return WireError::NotTheProtocol;
    };
    // The state is not there before the login.
    if reader.0.first() == Some(&b'#') {
        let _ = reader.take(6);
    }
    WireError::Server {
        code,
        message: String::from_utf8_lossy(reader.0).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_have_names_and_numbers() {
        let column = |name: &str, kind: u8| {
            let mut message = b"\x03def\0\0\0".to_vec();
            message.push(name.len() as u8);
            message.extend(name.bytes());
            message.extend([0, 0x0c, 45, 0, 255, 0, 0, 0, kind, 0, 0, 0, 0, 0]);
            Column::parse(&message).expect("it is one")
        };
        let columns = [column("calls", 8), column("query", 253), column("ms", 246)];
        let row = row(b"\x0218\x04what\xfb", &columns).expect("it is one");
        assert_eq!(
            Value::Object(row),
            serde_json::json!({"calls": 18, "query": "what", "ms": null})
        );
        assert_eq!(number("-1.5").and_then(|it| it.as_f64()), Some(-1.5));
        assert!(super::row(b"\x0218\xff", &columns).is_err());
        // A file of ours is not sent.
        assert!(Answer::parse(b"\xfb/etc/passwd").is_err());
        assert!(Answer::parse(&[0xfe; 9]).is_err());
    }
}
