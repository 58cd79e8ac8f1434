//! What the tables of databases write alike.

use crate::report::text::{Utc, bytes, duration, shorten};

/// Longest statement in a table, characters.
pub const STATEMENT: usize = 100;

/// On one line.
pub fn statement_text(query: Option<&str>) -> String {
    let words: Vec<&str> = query.unwrap_or_default().split_whitespace().collect();
    shorten(&words.join(" "), STATEMENT).into_owned()
}

pub fn milliseconds(ms: f64) -> String {
    duration((ms.max(0.0) * 1e6) as u64)
}

pub fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
}

pub fn size(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}

pub fn transport(encrypted: bool) -> &'static str {
    if encrypted {
        "encrypted"
    } else {
        "not encrypted"
    }
}

/// How long it watched, and from when on.
pub fn window(seconds: f64, started_unix_ms: u64) -> String {
    format!("{seconds:.1} s from {}", Utc::new(started_unix_ms).text())
}
