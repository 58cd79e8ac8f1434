//! A collection that is there: what it is like, how fast searches are, and what
//! they miss. Nothing is written.

use std::rc::Rc;

use super::{
    Options,
    dataset::read_queries,
    exact::BruteForce,
    provider::{Client as _, Collection, Connect, Filter, Id, VectorError},
    recall::{Against, with_ties},
    report::{OperationSection, Queries, RecallSection, Report, names},
    searches::{Answers, QuerySet, Searches, judge},
};
use crate::probes::database::Section;

/// Most values of vectors that are read from the server to compare with all of
/// them here; 64 MiB in single precision, more as JSON.
const MOST_VALUES: u64 = 16 << 20;
/// Values of one answer.
const PAGE_VALUES: usize = 1 << 18;
const LARGEST_PAGE: usize = 1000;
/// Pages one after the other that may be empty.
pub const EMPTY_PAGES: u32 = 16;

pub async fn run<C: Connect>(
    connect: &C,
    options: &Options,
    collection: &Collection,
    report: &mut Report,
) {
    let filter = options.filter.clone().map(Filter::Given);
    let mut expected = vec![(names::SEARCH, None)];
    if filter.is_some() {
        expected.push((names::FILTERED_SEARCH, filter));
    }
    let queries = match queries(connect, options, collection).await {
        Ok((queries, source)) => {
            report.queries = Section::Measured {
                data: Queries {
                    count: queries.count() as u64,
                    source,
                    in_collection: !queries.ids.is_empty(),
                },
            };
            Rc::new(queries)
        }
        Err(error) => {
            report.queries = Section::missing(error.to_string());
            for (name, _) in expected {
                report.operations.push(OperationSection {
                    name,
                    section: Section::missing("there are no queries"),
                });
            }
            return;
        }
    };
    let judged = options.recall_queries.min(queries.count());
    let mut searched = Vec::new();
    for (name, filter) in expected {
        let search = Searches {
            name,
            queries: queries.count(),
            concurrent: options.concurrent,
            limit: queries.limit(options.top),
            exact: false,
            filter: filter.clone(),
            kept: judged,
        };
        let (operation, found) = search.run(connect, &queries).await;
        report.operations.push(OperationSection {
            name,
            section: Section::Measured { data: operation },
        });
        searched.push((name, filter, found));
    }
    for (name, filter, found) in &searched {
        let section = exact(connect, options, &queries, judged, filter, found, report).await;
        report.recalls.push(RecallSection {
            of: name,
            against: Against::ServerExact,
            section,
        });
    }
    // Which vectors a filter means, only the server knows.
    let found = &searched[0].2;
    if !options.brute_force {
        return;
    }
    let section = match brute_force(connect, options, collection, &queries, judged).await {
        Ok(exact) => judge(&queries, found, &exact, options.top).into(),
        Err(why) => Section::missing(why),
    };
    report.recalls.push(RecallSection {
        of: names::SEARCH,
        against: Against::BruteForce,
        section,
    });
}

async fn queries<C: Connect>(
    connect: &C,
    options: &Options,
    collection: &Collection,
) -> Result<(QuerySet, String), VectorError> {
    let unable = |what: &str| VectorError::Unable(what.to_owned());
    if let Some(path) = &options.query_data {
        let dimensions = collection
            .dimensions
            .ok_or_else(|| unable("how many dimensions vectors have is not known"))?;
        let values = read_queries(path, options.queries, dimensions)
            .map_err(|error| VectorError::Unable(format!("{error:#}")))?;
        let queries = QuerySet {
            dimensions,
            values,
            ids: Vec::new(),
        };
        return Ok((queries, path.display().to_string()));
    }
    // So many as one answer can hold.
    let most = PAGE_VALUES / collection.dimensions.unwrap_or(1).max(1);
    let count = options.queries.min(most.max(1));
    let sample = connect.connect().await?.sample(count).await?;
    let stored = sample.stored;
    if stored.ids.is_empty() {
        return Err(unable("the collection has no vectors"));
    }
    let dimensions = stored.values.len() / stored.ids.len();
    if dimensions == 0 || dimensions * stored.ids.len() != stored.values.len() {
        return Err(VectorError::Answer(
            "vectors of different lengths".to_owned(),
        ));
    }
    let queries = QuerySet {
        dimensions,
        values: stored.values,
        ids: stored.ids,
    };
    Ok((queries, sample.how.to_owned()))
}

/// Recall against the server's exact search; how long that takes is of interest,
/// too.
async fn exact<C: Connect>(
    connect: &C,
    options: &Options,
    queries: &Rc<QuerySet>,
    judged: usize,
    filter: &Option<Filter>,
    found: &Answers,
    report: &mut Report,
) -> Section<super::recall::Recall> {
    let client = match connect.connect().await {
        Ok(client) => client,
        Err(error) => return Section::missing(error.to_string()),
    };
    if !client.searches_exactly() {
        return Section::missing("the server has no exact search");
    }
    let search = Searches {
        name: names::EXACT_SEARCH,
        queries: judged,
        // It is the dearest of all.
        concurrent: 1,
        limit: queries.limit(with_ties(options.top)),
        exact: true,
        filter: filter.clone(),
        kept: judged,
    };
    let (operation, exact) = search.run(connect, queries).await;
    let ended_early = operation.ended_early.clone();
    if filter.is_none() {
        report.operations.push(OperationSection {
            name: names::EXACT_SEARCH,
            section: Section::Measured { data: operation },
        });
    }
    match (judge(queries, found, &exact, options.top), ended_early) {
        (Err(_), Some(why)) => Section::missing(why),
        (judged, _) => judged.into(),
    }
}

/// The nearest of each query among all vectors of the collection.
async fn brute_force<C: Connect>(
    connect: &C,
    options: &Options,
    collection: &Collection,
    queries: &QuerySet,
    judged: usize,
) -> Result<Answers, String> {
    let dimensions = queries.dimensions;
    let metric = options.metric.or(collection.metric);
    let metric = metric.ok_or("the server does not say its metric: give --metric")?;
    let vectors = collection
        .vectors
        .ok_or("the server does not say how many vectors it has")?;
    let too_large = || {
        let most = MOST_VALUES / dimensions as u64;
        format!("the collection is too large to be read as a whole: more than {most} vectors")
    };
    if vectors.saturating_mul(dimensions as u64) > MOST_VALUES {
        return Err(too_large());
    }
    let said = |error: VectorError| error.to_string();
    let mut client = connect.connect().await.map_err(said)?;
    let first = &queries.values[..judged * dimensions];
    let mut all = BruteForce::new(metric, dimensions, with_ties(options.top) + 1, first);
    let mut ids: Vec<Id> = Vec::new();
    let count = (PAGE_VALUES / dimensions).clamp(1, LARGEST_PAGE);
    let mut after: Option<String> = None;
    let mut empty = 0;
    loop {
        let page = client.page(after.as_deref(), count).await.map_err(said)?;
        if page.stored.values.len() != page.stored.ids.len() * dimensions {
            return Err("vectors of different lengths".to_owned());
        }
        // A server that never comes to an end.
        empty = if page.stored.ids.is_empty() {
            empty + 1
        } else {
            0
        };
        if empty > EMPTY_PAGES {
            return Err("the server sends page after page with nothing on it".to_owned());
        }
        all.see(ids.len() as u64, &page.stored.values, |_| true);
        ids.extend(page.stored.ids);
        if (ids.len() as u64).saturating_mul(dimensions as u64) > MOST_VALUES {
            return Err(too_large());
        }
        tokio::task::yield_now().await;
        match page.next {
            None => break,
            next if next == after => return Err("the server repeats its pages".to_owned()),
            next => after = next,
        }
    }
    let neighbours = (0..).zip(all.finish());
    Ok(neighbours
        .map(|(number, found)| {
            let found = found
                .into_iter()
                .map(|it| (ids[it.row as usize].clone(), it.score));
            (number, found.collect())
        })
        .collect())
}
