//! The protocol, version 2 (redis.io/docs/latest/develop/reference/protocol-spec).

use thiserror::Error;

use crate::probes::database::stream::LARGEST_ANSWER;

/// Longest line, bytes: of a status, an error or a length.
const LONGEST_LINE: usize = 64 << 10;
/// Deepest array within arrays.
const DEEPEST: usize = 16;
/// Most values in one answer.
const MOST_VALUES: i64 = 1 << 20;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Status(String),
    Error(String),
    Integer(i64),
    /// `None` is a missing value.
    Bulk(Option<Vec<u8>>),
    Array(Vec<Value>),
}

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("what it sends is not the Redis protocol")]
pub struct NotTheProtocol;

impl Value {
    /// Text of a status or a bulk.
    pub fn text(&self) -> Option<String> {
        match self {
            Self::Status(text) => Some(text.clone()),
            Self::Bulk(Some(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    pub fn array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(values) => Some(values),
            _ => None,
        }
    }
}

/// A command as the server reads it.
pub fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend_from_slice(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// The first value, and how many bytes it is; `None` when it is not all there.
///
/// # Errors
/// When it is something else.
pub fn parse(bytes: &[u8]) -> Result<Option<(Value, usize)>, NotTheProtocol> {
    value(bytes, 0)
}

fn value(bytes: &[u8], depth: usize) -> Result<Option<(Value, usize)>, NotTheProtocol> {
    let Some((kind, text, mut at)) = line(bytes)? else {
        return Ok(None);
    };
    let value = match kind {
        b'+' => Value::Status(String::from_utf8_lossy(text).into_owned()),
        b'-' => Value::Error(String::from_utf8_lossy(text).into_owned()),
        b':' => Value::Integer(number(text)?),
        b'$' => match number(text)? {
            -1 => Value::Bulk(None),
            length => {
                let end = at + bulk_length(length)?;
                match bytes.get(end..).and_then(|rest| rest.get(..2)) {
                    None => return Ok(None),
                    Some(b"\r\n") => {}
                    Some(_) => return Err(NotTheProtocol),
                }
                let content = bytes[at..end].to_vec();
                at = end + 2;
                Value::Bulk(Some(content))
            }
        },
        b'*' => match number(text)? {
            -1 => Value::Bulk(None),
            _ if depth == DEEPEST => return Err(NotTheProtocol),
            length => {
                if length < 0 {
                    return Err(NotTheProtocol);
                }
                // Grows with what is there: the length is only a claim.
                let mut values = Vec::new();
                for _ in 0..length {
                    let Some((inner, length)) = value(&bytes[at..], depth + 1)? else {
                        return Ok(None);
                    };
                    values.push(inner);
                    at += length;
                }
                Value::Array(values)
            }
        },
        _ => return Err(NotTheProtocol),
    };
    Ok(Some((value, at)))
}

/// Whether the first value holds an error, and how many bytes it is, without
/// keeping anything of it; `None` when it is not all there.
///
/// # Errors
/// As [`parse`].
pub fn skip(bytes: &[u8]) -> Result<Option<(bool, usize)>, NotTheProtocol> {
    let mut left: i64 = 1;
    let mut at = 0;
    let mut failed = false;
    let mut values: i64 = 1;
    while left > 0 {
        let Some((kind, text, length)) = line(&bytes[at..])? else {
            return Ok(None);
        };
        at += length;
        left -= 1;
        match kind {
            b'+' | b':' => {}
            b'-' => failed = true,
            b'$' => {
                let length = number(text)?;
                if length >= 0 {
                    at += bulk_length(length)? + 2;
                    if at > bytes.len() {
                        return Ok(None);
                    }
                }
            }
            b'*' => {
                let length = number(text)?.max(0);
                left = left.saturating_add(length);
                values = values.saturating_add(length);
                if values > MOST_VALUES {
                    return Err(NotTheProtocol);
                }
            }
            _ => return Err(NotTheProtocol),
        }
    }
    Ok(Some((failed, at)))
}

/// The kind of a value, what follows it, and the length of both with their end.
type Line<'b> = (u8, &'b [u8], usize);

/// The first line.
fn line(bytes: &[u8]) -> Result<Option<Line<'_>>, NotTheProtocol> {
    let Some(&kind) = bytes.first() else {
        return Ok(None);
    };
    if !matches!(kind, b'+' | b'-' | b':' | b'$' | b'*') {
        return Err(NotTheProtocol);
    }
    let window = &bytes[..bytes.len().min(LONGEST_LINE)];
    match window.iter().position(|&byte| byte == b'\r') {
        Some(end) => match bytes.get(end + 1) {
            None => Ok(None),
            Some(b'\n') => Ok(Some((kind, &bytes[1..end], end + 2))),
            Some(_) => Err(NotTheProtocol),
        },
        None if bytes.len() < LONGEST_LINE => Ok(None),
        None => Err(NotTheProtocol),
    }
}

fn bulk_length(claimed: i64) -> Result<usize, NotTheProtocol> {
    match u64::try_from(claimed) {
        Ok(length) if length <= LARGEST_ANSWER => Ok(length as usize),
        _ => Err(NotTheProtocol),
    }
}

fn number(text: &[u8]) -> Result<i64, NotTheProtocol> {
    let text = std::str::from_utf8(text).map_err(|_| NotTheProtocol)?;
    text.parse().map_err(|_| NotTheProtocol)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_whole_or_not_at_all() {
        let bytes = b"*5\r\n+OK\r\n-ERR no\r\n:-7\r\n$3\r\na\r\n\r\n*2\r\n$-1\r\n*0\r\n";
        let expected = Value::Array(vec![
            Value::Status("OK".to_owned()),
            Value::Error("ERR no".to_owned()),
            Value::Integer(-7),
            Value::Bulk(Some(b"a\r\n".to_vec())),
            Value::Array(vec![Value::Bulk(None), Value::Array(Vec::new())]),
        ]);
        // A bulk of three bytes: `a`, and a line's end within it.
        let bytes: Vec<u8> = bytes.to_vec();
        assert_eq!(parse(&bytes), Ok(Some((expected, bytes.len()))));
        assert_eq!(skip(&bytes), Ok(Some((true, bytes.len()))));
        for end in 0..bytes.len() {
            assert_eq!(parse(&bytes[..end]), Ok(None), "{end}");
            assert_eq!(skip(&bytes[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let mut deep = b"*1\r\n".repeat(100);
        deep.extend(b":1\r\n");
        for bytes in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"$-2\r\n",
            b"$99999999999999999999\r\n",
            b"*-5\r\n",
            b":x\r\n",
            b"+a\rb",
            b"$1\r\nabc",
            &deep,
            &b"+".repeat(LONGEST_LINE + 1),
        ] {
            assert_eq!(parse(bytes), Err(NotTheProtocol));
        }
        // A claim that costs nothing until it is true.
        assert_eq!(parse(b"*2000000000\r\n:1\r\n"), Ok(None));
        assert_eq!(parse(b"$9223372036854775807\r\nab"), Err(NotTheProtocol));
    }

    #[test]
    fn commands_are_arrays_of_bulks() {
        assert_eq!(
            command(&[b"GET", b"a b"]),
            b"*2\r\n$3\r\nGET\r\n$3\r\na b\r\n"
        );
    }
}
