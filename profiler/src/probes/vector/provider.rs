//! What every vector database can be asked, so that the same workload and the
//! same report serve all of them.

use std::{fmt, time::Duration};

use serde::Serialize;
use thiserror::Error;

use super::exact::Metric;
use crate::{
    probes::{
        http::outcome::{Failure, FailureKind},
        postgres::session::SessionError,
    },
    report::text::{clean, shorten},
};

/// Longest message of a server that is shown, characters.
const LONGEST_MESSAGE: usize = 300;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Provider {
    Qdrant,
    Pinecone,
    Pgvector,
}

impl Provider {
    pub fn title(self) -> &'static str {
        match self {
            Self::Qdrant => "Qdrant",
            Self::Pinecone => "Pinecone",
            Self::Pgvector => "pgvector",
        }
    }
}

#[derive(Clone, Debug, Error)]
pub enum VectorError {
    #[error("{}", .0.message)]
    Transport(Failure),
    /// Of the server, with the status of HTTP or PostgreSQL's SQLSTATE.
    #[error("{message} ({code})")]
    Refused { code: String, message: String },
    #[error("the answer is not what was asked for: {0}")]
    Answer(String),
    #[error("{0}")]
    Unable(String),
}

impl VectorError {
    pub fn refused(code: impl fmt::Display, message: &str) -> Self {
        Self::Refused {
            code: code.to_string(),
            message: shorten(&clean(message), LONGEST_MESSAGE).into_owned(),
        }
    }

    /// Errors are counted by it.
    pub fn kind(&self) -> String {
        match self {
            Self::Transport(failure) => failure.kind.title().to_owned(),
            Self::Refused { code, .. } => code.clone(),
            Self::Answer(_) => "unusable answer".to_owned(),
            Self::Unable(_) => "not possible".to_owned(),
        }
    }
}

impl From<Failure> for VectorError {
    fn from(failure: Failure) -> Self {
        Self::Transport(failure)
    }
}

impl From<SessionError> for VectorError {
    fn from(error: SessionError) -> Self {
        match &error {
            SessionError::Server { message, code } => {
                Self::refused(format!("SQLSTATE {code}"), message)
            }
            SessionError::Answer(what) | SessionError::Missing(what) => Self::Answer(what.clone()),
            SessionError::Silent(_) => {
                Self::Transport(Failure::new(FailureKind::Timeout, error.to_string()))
            }
            SessionError::Lost(_) => {
                Self::Transport(Failure::new(FailureKind::ClosedEarly, error.to_string()))
            }
            SessionError::Connect(_) => {
                Self::Transport(Failure::new(FailureKind::Connect, error.to_string()))
            }
        }
    }
}

impl From<serde_json::Error> for VectorError {
    fn from(error: serde_json::Error) -> Self {
        Self::Answer(error.to_string())
    }
}

/// Of a vector, by its database.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Id {
    Number(u64),
    Text(String),
}

impl Id {
    /// Numbers that a database keeps as text are numbers.
    pub fn of_text(text: String) -> Self {
        match text.parse::<u64>() {
            Ok(number) if number.to_string() == text => Self::Number(number),
            _ => Self::Text(text),
        }
    }
}

/// How long an operation took.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// From sending the question until all of the answer was there.
    pub took: Duration,
    /// As the server says it.
    pub server: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Hit {
    pub id: Id,
    pub score: f64,
}

#[derive(Clone, Debug)]
pub struct Found {
    /// The best first.
    pub hits: Vec<Hit>,
    pub timing: Timing,
}

/// Which vectors a search may find.
#[derive(Clone, Debug)]
pub enum Filter {
    /// In the database's own language.
    Given(serde_json::Value),
    /// Of a benchmark: those whose [`GROUP`] is below this.
    GroupBelow(u32),
}

/// Name of the number that a benchmark gives every vector, to filter by.
pub const GROUP: &str = "profiler_group";
/// Groups are numbered from 0, and all of the same size.
pub const GROUPS: u32 = 100;

/// The group of a vector of a benchmark.
pub fn group(row: u64) -> u32 {
    (row % u64::from(GROUPS)) as u32
}

pub struct Search<'a> {
    pub vector: &'a [f32],
    pub limit: usize,
    /// Without an index.
    pub exact: bool,
    pub filter: Option<&'a Filter>,
}

/// Vectors that are in a collection.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    pub ids: Vec<Id>,
    /// One after the other.
    pub values: Vec<f32>,
}

pub struct Sample {
    pub stored: Stored,
    pub how: &'static str,
}

pub struct Page {
    pub stored: Stored,
    /// Where the next one begins; `None` at the end.
    pub next: Option<String>,
}

/// What a server says of a collection; what it does not say is `None`.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Collection {
    /// The server's word; `green` of Qdrant is all well.
    pub state: Option<String>,
    pub problem: Option<String>,
    pub vectors: Option<u64>,
    pub indexed_vectors: Option<u64>,
    pub segments: Option<u64>,
    pub dimensions: Option<usize>,
    pub metric: Option<Metric>,
    /// Fields with an index for filters.
    pub filter_indexes: Vec<String>,
    /// What smaller parts are not indexed, by the server's configuration, bytes.
    pub indexing_threshold_bytes: Option<u64>,
    pub quantization: Option<String>,
    /// Of the vector that is searched, where points have several.
    pub vector_name: Option<String>,
    /// Other settings, by the server's names.
    pub settings: Vec<Setting>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    pub name: String,
    pub value: String,
}

/// What a server says of itself.
#[derive(Clone, Debug, Serialize)]
pub struct Server {
    pub version: Option<String>,
    /// Of the whole server.
    pub memory_bytes: Option<u64>,
    /// Why the memory is not known.
    pub memory_reason: Option<String>,
}

/// What a benchmark's own collection is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Creation {
    pub dimensions: usize,
    pub metric: Metric,
    /// Index however few vectors there are.
    pub always_index: bool,
}

/// Rows of a benchmark that are inserted at once.
pub struct Batch<'a> {
    /// Ids are numbers of rows.
    pub first_row: u64,
    pub dimensions: usize,
    pub values: &'a [f32],
}

impl Batch<'_> {
    pub fn rows(&self) -> impl Iterator<Item = (u64, &[f32])> {
        (self.first_row..).zip(self.values.chunks_exact(self.dimensions.max(1)))
    }
}

/// One connection to a database, for one collection of it.
///
/// All of them bound the time and the size of an answer.
pub trait Client: Sized + 'static {
    async fn server(&mut self) -> Result<Server, VectorError>;
    async fn collection(&mut self) -> Result<Collection, VectorError>;
    /// Names of collections, for a message.
    async fn collections(&mut self) -> Result<Vec<String>, VectorError>;
    async fn search(&mut self, search: &Search<'_>) -> Result<Found, VectorError>;
    /// Whether searches can be exact, without an index.
    fn searches_exactly(&self) -> bool;
    /// About so many vectors of the collection.
    async fn sample(&mut self, count: usize) -> Result<Sample, VectorError>;
    /// The vectors in any order, after a place that an earlier page named.
    async fn page(&mut self, after: Option<&str>, count: usize) -> Result<Page, VectorError>;

    // What only a benchmark may do, with a collection that it made.
    async fn create(&mut self, creation: &Creation) -> Result<(), VectorError>;
    /// Makes ready to filter by [`GROUP`], before there are vectors.
    async fn prepare(&mut self) -> Result<(), VectorError>;
    async fn insert(&mut self, batch: &Batch<'_>) -> Result<Timing, VectorError>;
    /// Makes the index, where the server does not by itself.
    async fn index(&mut self, creation: &Creation) -> Result<(), VectorError>;
    /// Whether all of so many vectors can be found, and by an index if there is
    /// to be one.
    async fn ready(&mut self, vectors: u64) -> Result<bool, VectorError>;
    async fn update(&mut self, row: u64, vector: &[f32]) -> Result<Timing, VectorError>;
    async fn delete(&mut self) -> Result<(), VectorError>;
}

/// How to make connections.
pub trait Connect: Clone + 'static {
    type Client: Client;

    async fn connect(&self) -> Result<Self::Client, VectorError>;
    /// As a report names it, without secrets.
    fn address(&self) -> String;
    fn encrypted(&self) -> bool;
    fn provider(&self) -> Provider;
    fn collection_name(&self) -> &str;
    fn with_collection(&self, name: String) -> Self;
    /// For a benchmark: a name that nobody else has.
    fn own_collection(&self, unique: &str) -> String {
        format!("profiler-benchmark-{unique}")
    }
    fn with_vector_name(&self, name: Option<String>) -> Self;
}
