//! Searches with the same queries, and what of their answers recall needs.

use std::{collections::BTreeMap, rc::Rc};

use super::{
    provider::{Client as _, Connect, Filter, Id, Search, VectorError},
    recall::{self, Judged, Recall, Truth},
    workload::{self, Load, Operation},
};

/// Vectors to search with.
pub struct QuerySet {
    pub dimensions: usize,
    /// One after the other.
    pub values: Vec<f32>,
    /// The ids of the queries, if they are vectors of the collection.
    pub ids: Vec<Id>,
}

impl QuerySet {
    pub fn count(&self) -> usize {
        self.values.len() / self.dimensions.max(1)
    }

    pub fn vector(&self, number: usize) -> &[f32] {
        &self.values[number * self.dimensions..][..self.dimensions]
    }

    fn own(&self, number: u64) -> Option<&Id> {
        self.ids.get(number as usize)
    }

    /// So many neighbours without the query itself.
    pub fn limit(&self, k: usize) -> usize {
        k + usize::from(!self.ids.is_empty())
    }
}

/// Ids and scores that each query found, by its number.
pub type Answers = BTreeMap<u64, Vec<(Id, f64)>>;

/// How to search with all of the queries, or with the first ones.
pub struct Searches {
    pub name: &'static str,
    pub queries: usize,
    pub concurrent: usize,
    pub limit: usize,
    pub exact: bool,
    pub filter: Option<Filter>,
    /// Only the answers to so many of them are kept.
    pub kept: usize,
}

impl Searches {
    pub async fn run<C: Connect>(
        self,
        connect: &C,
        queries: &Rc<QuerySet>,
    ) -> (Operation, Answers) {
        let load = Load::reading(self.name, self.queries, self.concurrent);
        let queries = queries.clone();
        let done = workload::run(
            connect,
            load,
            async move |client: &mut C::Client, number| {
                let found = client
                    .search(&Search {
                        vector: queries.vector(number as usize),
                        limit: self.limit,
                        exact: self.exact,
                        filter: self.filter.as_ref(),
                    })
                    .await?;
                if found.hits.len() > self.limit {
                    let what = format!(
                        "{} results where {} were asked for",
                        found.hits.len(),
                        self.limit
                    );
                    return Err(VectorError::Answer(what));
                }
                let hits = (number as usize) < self.kept;
                let hits =
                    hits.then(|| found.hits.into_iter().map(|it| (it.id, it.score)).collect());
                Ok((found.timing, hits))
            },
        )
        .await;
        let answers = done.results.into_iter();
        let answers = answers.filter_map(|(number, hits)| Some((number, hits?)));
        (done.operation, answers.collect())
    }
}

/// # Errors
/// Why there is none.
pub fn judge(
    queries: &QuerySet,
    found: &Answers,
    exact: &Answers,
    k: usize,
) -> Result<Recall, &'static str> {
    let both: Vec<_> = found
        .iter()
        .filter_map(|(number, hits)| {
            let own = queries.own(*number);
            let truth = Truth::new(exact.get(number)?.clone(), k, own);
            let ids: Vec<Id> = hits.iter().map(|(id, _)| id.clone()).collect();
            Some((ids, truth, own))
        })
        .collect();
    if both.is_empty() {
        return Err("no query was answered both ways");
    }
    let judged = both.iter().map(|(found, truth, own)| Judged {
        found,
        truth,
        own: *own,
    });
    recall::recall(judged, k).ok_or("there is nothing to be found by any query")
}
