//! The report for people.

mod plan;
mod server;
mod sessions;
mod statements;
mod tables;

use super::report::Report;
use crate::{
    probes::database::Document,
    report::text::{Utc, bytes, shorten},
};

/// Longest statement in a table, characters.
const STATEMENT: usize = 100;
const LISTED: usize = 10;

impl Report {
    pub fn document(&self) -> Document {
        let server = &self.server;
        let transport = if self.encrypted {
            "encrypted"
        } else {
            "not encrypted"
        };
        let mut about = vec![
            (
                "server".into(),
                format!(
                    "PostgreSQL {} at {}, {transport}",
                    server.version, self.address
                ),
            ),
            (
                "database".into(),
                format!("{} as {}", server.database, server.user),
            ),
            (
                "window".into(),
                format!(
                    "{:.1} s from {}",
                    self.window_seconds,
                    Utc::new(self.started_unix_ms).text()
                ),
            ),
        ];
        if !server.sees_all_statistics {
            about.push((
                "rights".into(),
                "statements of other roles are not shown to this role: GRANT pg_monitor TO it"
                    .to_owned(),
            ));
        }
        if !self.literals {
            about.push((
                "statements".into(),
                "without their literals (--literals shows them)".to_owned(),
            ));
        }
        let mut parts = vec![
            self.window_statements(),
            self.total_statements(),
            self.states(),
            self.waits(),
            self.blocking(),
            self.transactions(),
            self.database_counters(),
            self.connection_use(),
            self.pool_use(),
            self.sequential_reads(),
            self.dead_rows(),
            self.bloat(),
            self.index_bloat(),
            self.unused_indexes(),
            self.duplicate_indexes(),
            self.missing(),
            self.checkpoint_counters(),
            self.standbys(),
        ];
        parts.extend(self.plans.iter().map(plan::plan));
        Document {
            title: format!("PostgreSQL: {}", server.database),
            about,
            findings: self.findings.clone(),
            parts,
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

fn size(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), bytes)
}
