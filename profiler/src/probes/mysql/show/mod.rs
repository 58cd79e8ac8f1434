//! The report for people.

mod server;
mod sessions;
mod statements;
mod tables;

use super::report::Report;
use crate::{
    probes::database::Document,
    report::text::{Utc, shorten},
};

/// Longest statement in a table, characters.
const STATEMENT: usize = 100;
const LISTED: usize = 10;

impl Report {
    pub fn document(&self) -> Document {
        let server = &self.server;
        let product = server.product.name();
        let transport = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        let mut about = vec![
            (
                "server".into(),
                format!(
                    "{product} {} at {}, {transport}",
                    server.version, self.address
                ),
            ),
            ("account".into(), server.user.clone()),
            (
                "window".into(),
                format!(
                    "{:.1} s from {}",
                    self.window_seconds,
                    Utc::new(self.started_unix_ms).text()
                ),
            ),
        ];
        if !server.sees_all_sessions {
            about.push((
                "rights".into(),
                "sessions of other accounts are not shown to this one: GRANT PROCESS ON *.* TO it"
                    .to_owned(),
            ));
        }
        if !self.literals {
            about.push((
                "statements".into(),
                "without their literals (--literals shows them)".to_owned(),
            ));
        }
        Document {
            title: format!("{product}: {}", self.address),
            about,
            findings: self.findings.clone(),
            parts: vec![
                self.window_statements(),
                self.total_statements(),
                self.sampled_statements(),
                self.states(),
                self.waits(),
                self.blocking(),
                self.transactions(),
                self.counters(),
                self.shares(),
                self.pool_use(),
                self.largest_tables(),
                self.free_space(),
                self.keyless_tables(),
                self.redundant_indexes(),
                self.unused_indexes(),
                self.channels(),
            ],
        }
    }
}

fn statement_text(query: Option<&str>) -> String {
    let words: Vec<&str> = query.unwrap_or_default().split_whitespace().collect();
    shorten(&words.join(" "), STATEMENT).into_owned()
}

fn milliseconds(ms: f64) -> String {
    crate::report::text::duration((ms.max(0.0) * 1e6) as u64)
}

fn seconds(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |seconds| format!("{seconds:.1} s"))
}
