//! What a probe found: `reports/postgres.schema.json` describes its JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    activity::Activity,
    bloat::{IndexesBloat, TablesBloat},
    checkpoints::Checkpoints,
    explain::Plan,
    indexes::Indexes,
    missing_indexes::MissingIndex,
    replication::Replication,
    server::{Connections, Database, Pool, Server},
    statements::Statements,
    tables::Tables,
};
use crate::probes::database::{Finding, Section};

/// Raised when a reader of the version before would misread the report.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema_version: u32,
    pub generator: &'static str,
    pub address: String,
    pub encrypted: bool,
    pub started_unix_ms: u64,
    /// Between the two readings of the counters.
    pub window_seconds: f64,
    /// Between two samples of sessions.
    pub interval_seconds: f64,
    /// Whether literals of statements are shown; else each is a `?`.
    pub literals: bool,
    pub server: Server,
    pub findings: Vec<Finding>,
    pub statements: Section<Statements>,
    pub activity: Section<Activity>,
    pub database: Section<Database>,
    pub connections: Section<Connections>,
    pub pools: Section<Vec<Pool>>,
    pub tables: Section<Tables>,
    pub bloat: Section<TablesBloat>,
    pub index_bloat: Section<IndexesBloat>,
    pub indexes: Section<Indexes>,
    pub missing_indexes: Section<Vec<MissingIndex>>,
    pub checkpoints: Section<Checkpoints>,
    pub replication: Section<Replication>,
    pub plans: Vec<Plan>,
}

impl Report {
    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        writeln!(to)
    }
}
