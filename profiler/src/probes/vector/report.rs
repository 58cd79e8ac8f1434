//! What a probe found: `reports/vectors.schema.json` describes its JSON.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    dataset::DataSet,
    exact::Metric,
    provider::{Collection, Provider, Server},
    recall::{Against, Recall},
    workload::Operation,
};
use crate::probes::database::{Finding, Section};

/// Raised when a reader of the version before would misread the report.
pub const SCHEMA_VERSION: u32 = 1;

#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub schema_version: u32,
    pub generator: &'static str,
    pub provider: Provider,
    pub address: String,
    pub encrypted: bool,
    pub started_unix_ms: u64,
    pub collection_name: String,
    /// The k of recall@k.
    pub top: usize,
    /// How many candidates a search was asked to look at (HNSW's ef).
    pub search_ef: Option<u32>,
    /// Fields that the filter looks at.
    pub filter_fields: Vec<String>,
    pub server: Section<Server>,
    pub findings: Vec<Finding>,
    pub collection: Section<Collection>,
    /// Where the queries are from.
    pub queries: Section<Queries>,
    pub operations: Vec<OperationSection>,
    pub recalls: Vec<RecallSection>,
    /// `None` unless it was asked for; then the collection was its own.
    pub benchmark: Option<Benchmark>,
    /// By a signal.
    pub interrupted: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Queries {
    pub count: u64,
    pub source: String,
    /// Queries that are vectors of the collection do not count themselves as
    /// found: the search asks for one more.
    pub in_collection: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct OperationSection {
    pub name: &'static str,
    #[serde(flatten)]
    pub section: Section<Operation>,
}

#[derive(Clone, Debug, Serialize)]
pub struct RecallSection {
    /// Name of the operation.
    pub of: &'static str,
    pub against: Against,
    #[serde(flatten)]
    pub section: Section<Recall>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Benchmark {
    pub data: DataSet,
    pub metric: Metric,
    pub batch_size: usize,
    /// The server was told to index however few vectors there are.
    pub always_index: bool,
    /// Which share of the vectors the filter lets through.
    pub filter_percent: u32,
    /// From the last insert until the server said that all is indexed.
    pub index_seconds: Section<f64>,
    pub updated_vectors: u64,
    /// Whether the benchmark's own collection is gone.
    pub deleted: bool,
    pub cleanup_failure: Option<String>,
}

impl Report {
    pub fn operation(&self, name: &str) -> Option<&Operation> {
        let found = self.operations.iter().find(|it| it.name == name)?;
        found.section.data()
    }

    /// Whether something that was asked for was not measured to its end.
    pub fn is_incomplete(&self) -> bool {
        let unfinished = |it: &OperationSection| {
            it.section
                .data()
                .is_none_or(|operation| operation.ended_early.is_some())
        };
        let left = self.benchmark.as_ref().is_some_and(|it| !it.deleted);
        self.interrupted || left || self.operations.iter().any(unfinished)
    }

    /// # Errors
    /// When it cannot be written.
    pub fn write_json(&self, to: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer_pretty(&mut *to, self)?;
        writeln!(to)
    }
}

/// Names of operations, as reports have them.
pub mod names {
    pub const INSERT: &str = "insert";
    pub const SEARCH: &str = "search";
    pub const EXACT_SEARCH: &str = "exact_search";
    pub const UPDATE: &str = "update";
    pub const FILTERED_SEARCH: &str = "filtered_search";
}
