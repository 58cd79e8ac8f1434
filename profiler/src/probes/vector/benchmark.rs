//! A load of its own, on a collection of its own that is deleted afterwards.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher as _, Hasher as _},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    Options,
    dataset::{Data, Source},
    exact::{BruteForce, Metric},
    provider::{Batch, Client as _, Connect, Creation, Filter, GROUPS, Id, VectorError, group},
    recall::{Against, with_ties},
    report::{Benchmark, OperationSection, Queries, RecallSection, Report, names},
    searches::{Answers, QuerySet, Searches, judge},
    workload::{self, Load, Operation},
};
use crate::probes::database::Section;

/// Between two looks at whether the index is there.
const INDEX_POLL: Duration = Duration::from_millis(250);
/// Values of vectors that are compared at once here: what is held in memory, and
/// for how long nothing else is done.
const CHUNK_VALUES: usize = 1 << 18;

/// A request is not larger, values of vectors.
const LARGEST_BATCH: usize = 4 << 20;

#[derive(Clone, Debug)]
pub struct BenchmarkOptions {
    pub source: Source,
    pub metric: Metric,
    pub batch_size: usize,
    pub always_index: bool,
    /// Of the filtered search.
    pub filter_percent: u32,
    /// Longest wait for the index.
    pub index_wait: Duration,
}

/// A collection that was asked for, and may be there.
struct Made(bool);

/// # Errors
/// When the data cannot be used; nothing was written then.
pub async fn run<C: Connect>(
    connect: &C,
    options: &Options,
    benchmark: &BenchmarkOptions,
    report: &mut Report,
) -> Result<()> {
    let data = benchmark.source.open()?;
    if benchmark.batch_size.saturating_mul(data.about.dimensions) > LARGEST_BATCH {
        bail!("a batch of more than {LARGEST_BATCH} numbers is too large: lower --batch-size");
    }
    let unique = RandomState::new().build_hasher().finish();
    let connect = connect.with_collection(connect.own_collection(&format!("{unique:016x}")));
    report.collection_name = connect.collection_name().to_owned();
    report.benchmark = Some(Benchmark {
        data: data.about.clone(),
        metric: benchmark.metric,
        batch_size: benchmark.batch_size,
        always_index: benchmark.always_index,
        filter_percent: benchmark.filter_percent,
        index_seconds: Section::missing("it did not come to that"),
        updated_vectors: 0,
        deleted: false,
        cleanup_failure: None,
    });
    let mut made = Made(false);
    let phases = phases(&connect, options, benchmark, data, report, &mut made);
    let interrupted = super::until_signal(phases).await?.is_none();
    report.interrupted = interrupted;
    let cleanup = match made.0 {
        true => super::until_signal(delete(&connect))
            .await?
            .unwrap_or_else(|| Err(VectorError::Unable("it was interrupted twice".to_owned()))),
        false => Ok(()),
    };
    if let Some(benchmark) = &mut report.benchmark {
        benchmark.deleted = cleanup.is_ok();
        benchmark.cleanup_failure = cleanup.err().map(|error| error.to_string());
    }
    Ok(())
}

/// A server that did not answer just now may do so a little later.
async fn delete<C: Connect>(connect: &C) -> Result<(), VectorError> {
    let mut tries = 3;
    loop {
        let deleted = async { connect.connect().await?.delete().await };
        match deleted.await {
            Err(_) if tries > 1 => tries -= 1,
            ended => return ended,
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn phases<C: Connect>(
    connect: &C,
    options: &Options,
    benchmark: &BenchmarkOptions,
    mut data: Data,
    report: &mut Report,
    made: &mut Made,
) {
    let creation = Creation {
        dimensions: data.about.dimensions,
        metric: benchmark.metric,
        always_index: benchmark.always_index,
    };
    if let Err(error) = create(connect, &creation, made).await {
        return none(
            report,
            &format!("the collection could not be made: {error}"),
        );
    }
    let queries = Rc::new(QuerySet {
        dimensions: data.about.dimensions,
        values: std::mem::take(&mut data.queries),
        ids: Vec::new(),
    });
    report.queries = Section::Measured {
        data: Queries {
            count: queries.count() as u64,
            source: data.about.queries.clone(),
            in_collection: false,
        },
    };
    let data = Rc::new(data);
    let inserted = insert(connect, options, benchmark, &data).await;
    let is_whole = inserted.is_complete();
    let inserted_any = inserted.completed > 0;
    add(report, inserted);
    if !inserted_any {
        return none(report, "nothing could be inserted");
    }
    let indexed = wait_for_index(connect, &creation, data.about.vectors, is_whole, benchmark).await;
    if let Some(benchmark) = &mut report.benchmark {
        benchmark.index_seconds = indexed.into();
    }
    let described = async { connect.connect().await?.collection().await };
    report.collection = described.await.into();

    let whole = if is_whole {
        Ok(())
    } else {
        Err("not all vectors were inserted")
    };
    compare(connect, options, &queries, &data, None, whole, report).await;

    let (updated, data) = update(connect, options, data).await;
    let whole = match updated.is_complete() {
        true => whole,
        false => Err("not all updates were done"),
    };
    if let Some(benchmark) = &mut report.benchmark {
        benchmark.updated_vectors = updated.completed;
    }
    add(report, updated);
    // Updates are indexed anew.
    let _ = wait_for_index(connect, &creation, data.about.vectors, is_whole, benchmark).await;
    let below = benchmark.filter_percent * GROUPS / 100;
    compare(
        connect,
        options,
        &queries,
        &data,
        Some(below),
        whole,
        report,
    )
    .await;
}

/// That the server was told, even if it never answered, is in `made`.
async fn create<C: Connect>(
    connect: &C,
    creation: &Creation,
    made: &mut Made,
) -> Result<(), VectorError> {
    let mut client = connect.connect().await?;
    made.0 = true;
    let created = client.create(creation).await;
    if matches!(
        created,
        Err(VectorError::Refused { .. } | VectorError::Unable(_))
    ) {
        made.0 = false;
    }
    created?;
    client.prepare().await
}

fn add(report: &mut Report, operation: Operation) {
    report.operations.push(OperationSection {
        name: operation.name,
        section: Section::Measured { data: operation },
    });
}

/// What is not measured, and why.
fn none(report: &mut Report, why: &str) {
    for name in [
        names::INSERT,
        names::SEARCH,
        names::UPDATE,
        names::FILTERED_SEARCH,
    ] {
        if !report.operations.iter().any(|it| it.name == name) {
            report.operations.push(OperationSection {
                name,
                section: Section::missing(why),
            });
        }
    }
}

async fn insert<C: Connect>(
    connect: &C,
    options: &Options,
    benchmark: &BenchmarkOptions,
    data: &Rc<Data>,
) -> Operation {
    let (vectors, each) = (data.about.vectors, benchmark.batch_size as u64);
    let load = Load {
        name: names::INSERT,
        count: vectors.div_ceil(each),
        concurrent: options.concurrent,
        vectors_each: Some(each),
        vectors,
    };
    let data = data.clone();
    let done = workload::run(
        connect,
        load,
        async move |client: &mut C::Client, number| {
            let first_row = number * each;
            let count = each.min(vectors - first_row) as usize;
            let values = read(&data, first_row, count)?;
            let batch = Batch {
                first_row,
                dimensions: data.about.dimensions,
                values: &values,
            };
            Ok((client.insert(&batch).await?, ()))
        },
    );
    done.await.operation
}

fn read(data: &Data, first: u64, count: usize) -> Result<Vec<f32>, VectorError> {
    data.read(first, count)
        .map_err(|error| VectorError::Unable(format!("{error:#}")))
}

/// Seconds until all of it is indexed.
async fn wait_for_index<C: Connect>(
    connect: &C,
    creation: &Creation,
    vectors: u64,
    is_whole: bool,
    benchmark: &BenchmarkOptions,
) -> Result<f64, VectorError> {
    let started = Instant::now();
    let mut client = connect.connect().await?;
    client.index(creation).await?;
    // Of vectors that were not inserted none is waited for.
    let vectors = if is_whole { vectors } else { 0 };
    let mut last = None;
    let mut in_a_row = 0;
    while started.elapsed() < benchmark.index_wait {
        match client.ready(vectors).await {
            // A server may say so before it has begun.
            Ok(true) if in_a_row == 1 => return Ok(started.elapsed().as_secs_f64()),
            Ok(ready) => in_a_row = u32::from(ready),
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(INDEX_POLL).await;
    }
    let limit = benchmark.index_wait.as_secs_f64();
    Err(VectorError::Unable(match last {
        Some(error) => format!("not indexed within {limit} s: {error}"),
        None => format!("not indexed within {limit} s (--index-wait)"),
    }))
}

/// Each by a request of its own: what an application does that changes one.
async fn update<C: Connect>(
    connect: &C,
    options: &Options,
    data: Rc<Data>,
) -> (Operation, Rc<Data>) {
    let count = data.about.vectors.min(options.queries as u64);
    let load = Load {
        name: names::UPDATE,
        count,
        concurrent: options.concurrent,
        vectors_each: Some(1),
        vectors: count,
    };
    let rows = data.clone();
    let done = workload::run(connect, load, async move |client: &mut C::Client, row| {
        let vector = rows.updated(row);
        let vector = vector.map_err(|error| VectorError::Unable(format!("{error:#}")))?;
        Ok((client.update(row, &vector).await?, ()))
    });
    let operation = done.await.operation;
    // No lane is left that has it.
    let data = Rc::try_unwrap(data).map(|mut data| {
        data.updated_rows = count;
        Rc::new(data)
    });
    (operation, data.unwrap_or_else(|shared| shared))
}

/// Searches, and compares with brute force over all rows.
async fn compare<C: Connect>(
    connect: &C,
    options: &Options,
    queries: &Rc<QuerySet>,
    data: &Data,
    below: Option<u32>,
    whole: Result<(), &'static str>,
    report: &mut Report,
) {
    let (name, k) = match below {
        None => (names::SEARCH, options.top),
        Some(_) => (names::FILTERED_SEARCH, options.top),
    };
    let judged = options.recall_queries.min(queries.count());
    let search = Searches {
        name,
        queries: queries.count(),
        concurrent: options.concurrent,
        limit: k,
        exact: false,
        filter: below.map(Filter::GroupBelow),
        kept: judged,
    };
    let (operation, found) = search.run(connect, queries).await;
    add(report, operation);
    let metric = report
        .benchmark
        .as_ref()
        .map_or(Metric::Cosine, |it| it.metric);
    let wanted = |row: u64| below.is_none_or(|below| group(row) < below);
    let section = match whole {
        Err(why) => Section::missing(why),
        Ok(()) => match truth(data, metric, queries, judged, k, wanted).await {
            Err(error) => Section::missing(error.to_string()),
            Ok(exact) => judge(queries, &found, &exact, k).into(),
        },
    };
    report.recalls.push(RecallSection {
        of: name,
        against: Against::BruteForce,
        section,
    });
}

async fn truth(
    data: &Data,
    metric: Metric,
    queries: &QuerySet,
    count: usize,
    k: usize,
    wanted: impl Fn(u64) -> bool,
) -> Result<Answers> {
    let dimensions = queries.dimensions;
    let first = &queries.values[..count * dimensions];
    let mut all = BruteForce::new(metric, dimensions, with_ties(k), first);
    let chunk = (CHUNK_VALUES / dimensions).max(1) as u64;
    let mut row = 0;
    while row < data.about.vectors {
        let rows = chunk.min(data.about.vectors - row);
        all.see(row, &data.read(row, rows as usize)?, &wanted);
        row += rows;
        tokio::task::yield_now().await;
    }
    let neighbours = (0..).zip(all.finish());
    Ok(neighbours
        .map(|(number, found)| {
            let found = found.into_iter().map(|it| (Id::Number(it.row), it.score));
            (number, found.collect())
        })
        .collect())
}
