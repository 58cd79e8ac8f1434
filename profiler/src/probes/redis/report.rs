//! What a probe found: `reports/redis.schema.json` describes its JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    benchmark::Benchmark,
    info::{Clients, Command, Counters, Database, Memory, Persistence, Server},
    keys::Keys,
    slow::{LatencyEvent, Pings, SlowCommand},
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
    /// Between two pings.
    pub interval_seconds: f64,
    /// Whether arguments of slow commands are shown; else each is a `?`.
    pub literals: bool,
    pub server: Section<Server>,
    pub findings: Vec<Finding>,
    pub counters: Section<Counters>,
    pub commands: Section<Vec<Command>>,
    pub memory: Section<Memory>,
    pub clients: Section<Clients>,
    pub persistence: Section<Persistence>,
    pub databases: Section<Vec<Database>>,
    pub pings: Section<Pings>,
    pub slow_commands: Section<Vec<SlowCommand>>,
    pub latency_events: Section<Vec<LatencyEvent>>,
    pub keys: Section<Keys>,
    /// `None` when it was not asked for. It ran before the window.
    pub benchmark: Option<Section<Benchmark>>,
}

impl Report {
    /// Whether a benchmark was asked for that did not run to its end.
    pub fn benchmark_failed(&self) -> bool {
        self.benchmark.as_ref().is_some_and(|section| {
            section
                .data()
                .is_none_or(|benchmark| benchmark.failure.is_some())
        })
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        writeln!(to)
    }
}
