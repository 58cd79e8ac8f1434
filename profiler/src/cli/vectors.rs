//! `profiler vectors`.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{exit, probe_output::ProbeOutput};
use crate::{
    options::parse_duration,
    probes::{
        database::address::Url,
        http::{
            server::{Reach, Version},
            tls::Trust,
        },
        vector::{self, BenchmarkOptions, Metric, Options, Provider, Source},
    },
};

/// Probe a vector database: how fast searches are, and which share of the
/// nearest vectors they find (recall@k).
///
/// Searches a collection with vectors of its own, or of a .npy file, and compares
/// what it finds with exact searches of the server (Qdrant, pgvector) and, where
/// the collection is small enough to be read as a whole, with brute force here.
/// It only reads, unless --benchmark, which writes to a collection of its own and
/// deletes that afterwards. Searches are load: only this host and containers on it
/// are probed, unless --allow-remote.
///
/// Ends with 0 when all was measured, and with 2 when the server could not be
/// reached or something did not come to its end.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  profiler vectors http://localhost:6333 --collection articles
  profiler vectors http://localhost:6333 --collection articles --search-ef 200 \\
      --filter '{\"must\": [{\"key\": \"year\", \"range\": {\"gte\": 2024}}]}'
  profiler vectors http://localhost:6333 --benchmark --vectors 50000 --dimensions 768
  profiler vectors http://localhost:6333 --benchmark --data embeddings.npy --format json
  profiler vectors postgres://me@localhost/shop --collection public.items --filter 'price < 10'
  PINECONE_API_KEY=… profiler vectors https://INDEX_HOST --provider pinecone --allow-remote

A key that the URL does not hold (http://:KEY@HOST) comes from QDRANT_API_KEY or
PINECONE_API_KEY; PostgreSQL's password as for `profiler postgres`. A key in a URL
can be seen by other users of this host in its list of processes; in the
environment it cannot. A collection is a namespace in Pinecone, and a table with a
column of type vector in PostgreSQL. In .npy files vectors are rows of <f4 or <f8.")]
pub struct VectorsArgs {
    /// http(s)://HOST:PORT of Qdrant or of a Pinecone index, or postgres://…
    #[arg(value_name = "URL", default_value = "http://localhost:6333")]
    pub url: String,

    /// [default: pgvector for postgres://, else qdrant]
    #[arg(long, value_enum)]
    pub provider: Option<Provider>,

    /// What to probe [default: the only one there is]
    #[arg(long, value_name = "NAME", conflicts_with = "benchmark")]
    pub collection: Option<String>,

    /// Name of the vector in Qdrant, or of the column in PostgreSQL, where there
    /// are several.
    #[arg(long = "vector", value_name = "NAME", conflicts_with = "benchmark")]
    pub vector_name: Option<String>,

    /// Searches, and updates of a benchmark.
    #[arg(long, value_name = "N", default_value_t = 1000,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub queries: u32,

    /// Measure recall for the first N queries. Exact searches look at every
    /// vector, for each of these.
    #[arg(long, value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub recall_queries: u32,

    /// Search with the vectors of this .npy file, as far as --queries.
    #[arg(long, value_name = "FILE.npy")]
    pub query_data: Option<PathBuf>,

    /// How many vectors a search finds: the k of recall@k.
    #[arg(long, short = 'k', value_name = "K", default_value_t = 10,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub top: u32,

    /// Connections, each with one request at a time.
    #[arg(long, short = 'c', value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub concurrent: u32,

    /// How many candidates a search looks at: hnsw_ef of Qdrant, hnsw.ef_search
    /// of pgvector [default: the server's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub search_ef: Option<u32>,

    /// Search with this filter, too: JSON of Qdrant or Pinecone, or a condition in
    /// SQL, which is run in a read-only transaction.
    #[arg(long, value_name = "FILTER", conflicts_with = "benchmark")]
    pub filter: Option<String>,

    /// By what vectors are near [default: as the server says; cosine for
    /// --benchmark]
    #[arg(long, value_enum)]
    pub metric: Option<Metric>,

    /// Longest time for connecting and for each request.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = parse_duration)]
    pub timeout: Duration,

    /// Probe a server that is neither this host nor a container on it.
    #[arg(long)]
    pub allow_remote: bool,

    /// Certificates in PEM to trust, besides the system's. For
    /// postgres:// see sslrootcert.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,

    #[command(flatten)]
    pub output: ProbeOutput,

    #[command(flatten)]
    pub benchmark: BenchmarkArgs,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Benchmark")]
pub struct BenchmarkArgs {
    /// Make a collection, insert, search, update, search with a filter, and delete
    /// it, also after Ctrl-C. Its name begins with profiler-benchmark
    /// (profiler_benchmark in PostgreSQL); no other collection is touched.
    #[arg(long)]
    pub benchmark: bool,

    /// Vectors to insert [default: 10000, or all of --data]
    #[arg(long, value_name = "N", requires = "benchmark",
          value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    pub vectors: Option<u64>,

    /// Numbers of each vector [default: 128, or as in --data]
    #[arg(long, value_name = "D", requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub dimensions: Option<u32>,

    /// Vectors of each insert.
    #[arg(long, value_name = "N", default_value_t = 100, requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch_size: u32,

    /// Insert the vectors of this .npy file. Without --query-data its last rows
    /// are kept back as queries. Without a file vectors are made up, of
    /// independent numbers: harder to index than embeddings are.
    #[arg(long, value_name = "FILE.npy", requires = "benchmark")]
    pub data: Option<PathBuf>,

    /// Which share of the vectors the filter lets through, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 10, requires = "benchmark",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    pub filter_percent: u32,

    /// Tell Qdrant to index however few vectors there are. By default it looks at
    /// each of the vectors of small collections.
    #[arg(long, requires = "benchmark")]
    pub always_index: bool,

    /// Longest time to wait for the index.
    #[arg(long, value_name = "SECONDS", default_value = "5m", requires = "benchmark",
          value_parser = parse_duration)]
    pub index_wait: Duration,

    /// Of vectors that are made up: the same seed, the same vectors.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "benchmark")]
    pub seed: u64,
}

pub fn run(arguments: &VectorsArgs) -> anyhow::Result<u8> {
    let target = arguments.output.target()?;
    let options = options(arguments)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let local = tokio::task::LocalSet::new();
    let report = runtime.block_on(local.run_until(vector::probe(&options)))?;
    drop(local);
    // A resolver that hangs in a thread is not waited for.
    runtime.shutdown_background();
    arguments
        .output
        .write(&target, &report.document(), &|to| report.write_json(to))?;
    Ok(match report.is_incomplete() {
        true => exit::UNUSABLE,
        false => exit::DONE,
    })
}

/// What a URL alone says.
fn provider_of(url: &str) -> Provider {
    match url.split(':').next() {
        Some("postgres" | "postgresql") => Provider::Pgvector,
        _ => Provider::Qdrant,
    }
}

fn key_of(provider: Provider) -> Option<String> {
    let variable = match provider {
        Provider::Qdrant => "QDRANT_API_KEY",
        Provider::Pinecone => "PINECONE_API_KEY",
        Provider::Pgvector => return None,
    };
    std::env::var(variable).ok().filter(|key| !key.is_empty())
}

/// How a database is searched while a recording is made: enough for percentiles,
/// and one request at a time.
pub(super) fn recorded(url: &str, reach: Reach) -> Options {
    let provider = provider_of(url);
    Options {
        url: url.to_owned(),
        provider,
        key: key_of(provider),
        reach,
        collection: None,
        vector_name: None,
        queries: 200,
        recall_queries: 20,
        query_data: None,
        top: 10,
        concurrent: 1,
        search_ef: None,
        filter: None,
        metric: None,
        // The server's own exact searches say it.
        brute_force: false,
        benchmark: None,
        stop: None,
    }
}

/// Where it is, which may be shown.
pub(super) fn shown(url: &str) -> anyhow::Result<String> {
    let url = Url::parse(url).map_err(|why| {
        anyhow::anyhow!("this address of a vector database cannot be used: {why}")
    })?;
    let port = url.port.map(|port| format!(":{port}")).unwrap_or_default();
    Ok(format!("{}://{}{port}", url.scheme, url.host))
}

fn options(arguments: &VectorsArgs) -> anyhow::Result<Options> {
    let is_postgres = provider_of(&arguments.url) == Provider::Pgvector;
    let provider = arguments
        .provider
        .unwrap_or_else(|| provider_of(&arguments.url));
    if is_postgres && provider != Provider::Pgvector {
        bail!("{} is not at a postgres:// URL", provider.title());
    }
    let filter = match &arguments.filter {
        None => None,
        Some(sql) if provider == Provider::Pgvector => Some(sql.clone().into()),
        Some(json) => Some(serde_json::from_str(json).context("--filter is not JSON")?),
    };
    let load = &arguments.benchmark;
    Ok(Options {
        url: arguments.url.clone(),
        provider,
        key: key_of(provider),
        reach: Reach {
            version: Version::Http1,
            trust: Trust {
                authorities: arguments.ca.clone(),
                anyone: false,
            },
            allow_remote: arguments.allow_remote,
            timeout: arguments.timeout,
        },
        collection: arguments.collection.clone(),
        vector_name: arguments.vector_name.clone(),
        queries: arguments.queries as usize,
        recall_queries: arguments.recall_queries as usize,
        query_data: arguments.query_data.clone(),
        top: arguments.top as usize,
        concurrent: arguments.concurrent as usize,
        search_ef: arguments.search_ef,
        filter,
        metric: arguments.metric,
        brute_force: true,
        stop: None,
        benchmark: load.benchmark.then(|| BenchmarkOptions {
            source: Source {
                data: load.data.clone(),
                queries: arguments.query_data.clone(),
                vectors: load.vectors,
                dimensions: load.dimensions.map(|it| it as usize),
                query_count: arguments.queries as usize,
                seed: load.seed,
            },
            metric: arguments.metric.unwrap_or(Metric::Cosine),
            batch_size: load.batch_size as usize,
            always_index: load.always_index,
            filter_percent: load.filter_percent,
            index_wait: load.index_wait,
        }),
    })
}
