//! A probe of a vector database: how fast searches are, and which share of the
//! nearest vectors they find. A collection that is there is only read; a
//! benchmark writes to a collection of its own.

mod benchmark;
mod dataset;
mod exact;
mod existing;
mod findings;
mod npy;
mod pgvector;
mod pinecone;
mod provider;
mod qdrant;
mod recall;
mod report;
mod rest;
mod searches;
mod show;
mod workload;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    rc::Rc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

pub use benchmark::BenchmarkOptions;
pub use dataset::Source;
pub use exact::Metric;
pub use provider::Provider;
pub use report::Report;

use super::{
    database::{Section, address::Url},
    http::{
        server::{Reach, Server},
        target::Target,
    },
    window::Window,
};
use provider::{Client as _, Connect};

pub struct Options {
    pub url: String,
    pub provider: Provider,
    /// The key of the environment, if the URL has none.
    pub key: Option<String>,
    /// Timeouts of it are for every question.
    pub reach: Reach,
    pub collection: Option<String>,
    /// Which vector of a point, or column of a table.
    pub vector_name: Option<String>,
    pub queries: usize,
    /// For how many of them recall is measured.
    pub recall_queries: usize,
    pub query_data: Option<PathBuf>,
    /// The k.
    pub top: usize,
    pub concurrent: usize,
    pub search_ef: Option<u32>,
    pub filter: Option<serde_json::Value>,
    /// Where the server does not say it.
    pub metric: Option<Metric>,
    /// Recall is measured against a search of ours through all vectors, too.
    pub brute_force: bool,
    pub benchmark: Option<BenchmarkOptions>,
    /// Ends it early, as signals do.
    pub stop: Option<Window>,
}

/// Probes the database. Must run in a `LocalSet`.
///
/// # Errors
/// When there is no such database or collection. Whatever else fails is a
/// section of the report with its reason.
pub async fn probe(options: &Options) -> Result<Report> {
    match options.provider {
        Provider::Pgvector => {
            let connect = pgvector::Pgvector::new(options).await?;
            probe_with(connect, options).await
        }
        Provider::Qdrant => {
            let (server, key) = reach(options).await?;
            let (timeout, name) = (options.reach.timeout, options.vector_name.clone());
            let key = key.as_deref();
            let connect = qdrant::Qdrant::new(server, key, timeout, name, options.search_ef)?;
            probe_with(connect, options).await
        }
        Provider::Pinecone => {
            let (server, key) = reach(options).await?;
            let connect = pinecone::Pinecone::new(server, key.as_deref(), options.reach.timeout)?;
            probe_with(connect, options).await
        }
    }
}

/// Makes one connection. A key in the URL goes before that of the environment.
async fn reach(options: &Options) -> Result<(Rc<Server>, Option<String>)> {
    let url = Url::parse(&options.url).map_err(|why| {
        anyhow::anyhow!("this address of a vector database cannot be used: {why}")
    })?;
    let key = url.password.or(url.user).or_else(|| options.key.clone());
    let host = match url.host.contains(':') {
        true => format!("[{}]", url.host),
        false => url.host,
    };
    let default_port = match (options.provider, url.scheme.as_str()) {
        (Provider::Qdrant, "http") => Some(6333),
        _ => None,
    };
    let port = url.port.or(default_port);
    let port = port.map(|port| format!(":{port}")).unwrap_or_default();
    let target = Target::parse(&format!("{}://{host}{port}/{}", url.scheme, url.path))?;
    let server = Server::reach(target, &options.reach).await?;
    Ok((Rc::new(server), key))
}

async fn probe_with<C: Connect>(connect: C, options: &Options) -> Result<Report> {
    let started_unix_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    let address = connect.address();
    let place = || format!("{} at {address}", connect.provider().title());
    let mut client = connect.connect().await.with_context(place)?;
    let server = client.server().await.with_context(place)?;
    let mut report = Report {
        schema_version: report::SCHEMA_VERSION,
        generator: "profiler",
        provider: connect.provider(),
        encrypted: connect.encrypted(),
        started_unix_ms,
        collection_name: String::new(),
        top: options.top,
        search_ef: options.search_ef,
        filter_fields: filter_fields(options),
        server: Section::Measured { data: server },
        findings: Vec::new(),
        collection: Section::missing("it did not come to that"),
        queries: Section::missing("it did not come to that"),
        operations: Vec::new(),
        recalls: Vec::new(),
        benchmark: None,
        interrupted: false,
        address: address.clone(),
    };
    if let Some(benchmark) = &options.benchmark {
        benchmark::run(&connect, options, benchmark, &mut report).await?;
    } else {
        let name = match &options.collection {
            Some(name) => name.clone(),
            None => only_collection(client.collections().await.with_context(place)?)?,
        };
        let connect = connect.with_collection(name.clone());
        let mut client = connect.connect().await.with_context(place)?;
        let collection = client.collection().await;
        let collection = collection.with_context(|| format!("{}, collection {name}", place()))?;
        let connect = connect.with_vector_name(collection.vector_name.clone());
        report.collection_name = name;
        report.collection = Section::Measured {
            data: collection.clone(),
        };
        let work = existing::run(&connect, options, &collection, &mut report);
        let interrupted = tokio::select! {
            done = until_signal(work) => done?.is_none(),
            () = stopped(options.stop.clone()) => true,
        };
        report.interrupted = interrupted;
    }
    report.findings = findings::findings(&report);
    Ok(report)
}

/// Names of fields in a filter of Qdrant's.
fn filter_fields(options: &Options) -> Vec<String> {
    fn collect(value: &serde_json::Value, into: &mut BTreeSet<String>) {
        match value {
            serde_json::Value::Array(values) => values.iter().for_each(|it| collect(it, into)),
            serde_json::Value::Object(fields) => {
                into.extend(
                    fields
                        .get("key")
                        .and_then(|key| Some(key.as_str()?.to_owned())),
                );
                fields.values().for_each(|it| collect(it, into));
            }
            _ => {}
        }
    }
    let mut fields = BTreeSet::new();
    if options.provider == Provider::Qdrant {
        options
            .filter
            .iter()
            .for_each(|it| collect(it, &mut fields));
    }
    fields.into_iter().collect()
}

fn only_collection(mut names: Vec<String>) -> Result<String> {
    const SHOWN: usize = 20;
    match names.len() {
        0 => bail!("there is no collection to probe; --benchmark makes one of its own"),
        1 => Ok(names.remove(0)),
        many => {
            names.truncate(SHOWN);
            let more = if many > SHOWN { ", …" } else { "" };
            bail!("choose one with --collection: {}{more}", names.join(", "))
        }
    }
}

async fn stopped(window: Option<Window>) {
    match window {
        Some(mut window) => window.stopped().await,
        None => std::future::pending().await,
    }
}

/// `None` when a signal asked for the end before the work was done.
async fn until_signal<T>(work: impl Future<Output = T>) -> Result<Option<T>> {
    let caught = || "cannot catch signals";
    let mut interrupt = signal(SignalKind::interrupt()).with_context(caught)?;
    let mut terminate = signal(SignalKind::terminate()).with_context(caught)?;
    let mut hang_up = signal(SignalKind::hangup()).with_context(caught)?;
    tokio::select! {
        done = work => Ok(Some(done)),
        _ = interrupt.recv() => Ok(None),
        _ = terminate.recv() => Ok(None),
        _ = hang_up.recv() => Ok(None),
    }
}
