//! Recall@k: which share of the k nearest vectors a search found.

use std::collections::HashSet;

use serde::Serialize;

use super::provider::Id;

/// Scores that differ by less, as a share of the best, are the same: a server
/// adds up in single precision.
const TIE: f64 = 1e-6;

/// How many more than k neighbours must be known to see ties at the end of
/// the k.
pub fn with_ties(k: usize) -> usize {
    k + k.max(10)
}

/// What recall is measured against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// The server's own search without an index.
    ServerExact,
    /// Our comparison with every vector of the collection.
    BruteForce,
}

impl Against {
    pub fn title(self) -> &'static str {
        match self {
            Self::ServerExact => "the server's exact search",
            Self::BruteForce => "brute force here",
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct Recall {
    pub queries: u64,
    /// Queries that nothing can be found for; they are not in the others.
    pub empty_queries: u64,
    /// From 0 to 1.
    pub mean: f64,
    pub worst: f64,
    /// Queries that found all of the k.
    pub complete_queries: u64,
}

/// The exact answer to a query: ids and scores, the nearest first.
pub struct Truth {
    accepted: HashSet<Id>,
    count: usize,
}

impl Truth {
    /// Of neighbours that are [`with_ties`], without the query itself.
    pub fn new(neighbours: Vec<(Id, f64)>, k: usize, own: Option<&Id>) -> Self {
        let neighbours: Vec<_> = neighbours
            .into_iter()
            .filter(|(id, _)| Some(id) != own)
            .collect();
        let count = neighbours.len().min(k);
        let Some(&(_, last)) = count.checked_sub(1).and_then(|at| neighbours.get(at)) else {
            let accepted = HashSet::new();
            return Self { accepted, count };
        };
        let scale = neighbours[0].1.abs().max(last.abs());
        let is_tied = |score: f64| (score - last).abs() <= scale * TIE;
        let accepted = neighbours
            .into_iter()
            .enumerate()
            .filter(|(at, (_, score))| *at < count || is_tied(*score))
            .map(|(_, (id, _))| id)
            .collect();
        Self { accepted, count }
    }

    /// `None` when there is nothing to find. An id that comes twice counts once.
    fn recall(&self, found: &[Id], k: usize, own: Option<&Id>) -> Option<f64> {
        let mut seen = HashSet::new();
        let hits = found
            .iter()
            .filter(|id| Some(*id) != own)
            .take(k)
            .filter(|id| self.accepted.contains(*id) && seen.insert(*id))
            .count();
        (self.count > 0).then(|| hits.min(self.count) as f64 / self.count as f64)
    }
}

/// What a query found, and what there was.
pub struct Judged<'a> {
    pub found: &'a [Id],
    pub truth: &'a Truth,
    /// The query itself, if it is in the collection.
    pub own: Option<&'a Id>,
}

/// `None` without a query.
pub fn recall<'a>(judged: impl IntoIterator<Item = Judged<'a>>, k: usize) -> Option<Recall> {
    let mut recall = Recall {
        queries: 0,
        empty_queries: 0,
        mean: 0.0,
        worst: 1.0,
        complete_queries: 0,
    };
    let mut sum = 0.0;
    for Judged { found, truth, own } in judged {
        match truth.recall(found, k, own) {
            None => recall.empty_queries += 1,
            Some(share) => {
                recall.queries += 1;
                sum += share;
                recall.worst = recall.worst.min(share);
                recall.complete_queries += u64::from(share == 1.0);
            }
        }
    }
    recall.mean = sum / recall.queries.max(1) as f64;
    (recall.queries > 0).then_some(recall)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: &[u64]) -> Vec<Id> {
        numbers.iter().copied().map(Id::Number).collect()
    }

    fn of(found: &[u64], neighbours: &[(u64, f64)], k: usize, own: Option<u64>) -> Option<f64> {
        let neighbours = neighbours
            .iter()
            .map(|&(id, score)| (Id::Number(id), score));
        let own = own.map(Id::Number);
        let truth = Truth::new(neighbours.collect(), k, own.as_ref());
        truth.recall(&ids(found), k, own.as_ref())
    }

    #[test]
    fn hits_are_counted_of_k() {
        let neighbours = [(1, 0.9), (2, 0.8), (3, 0.7), (4, 0.6)];
        assert_eq!(of(&[1, 2], &neighbours, 2, None), Some(1.0));
        assert_eq!(of(&[2, 1], &neighbours, 2, None), Some(1.0));
        assert_eq!(of(&[1, 3], &neighbours, 2, None), Some(0.5));
        assert_eq!(of(&[1], &neighbours, 2, None), Some(0.5));
        assert_eq!(of(&[], &neighbours, 2, None), Some(0.0));
        assert_eq!(of(&[1, 1], &neighbours, 2, None), Some(0.5));
        // Fewer than k there are.
        assert_eq!(of(&[1, 2, 3, 4], &neighbours, 10, None), Some(1.0));
        assert_eq!(of(&[1], &[], 10, None), None);
    }

    #[test]
    fn ties_are_hits_and_a_query_does_not_find_itself() {
        let neighbours = [(1, 0.9), (2, 0.8), (3, 0.8 - 1e-9), (4, 0.799)];
        assert_eq!(of(&[1, 3], &neighbours, 2, None), Some(1.0));
        assert_eq!(of(&[1, 4], &neighbours, 2, None), Some(0.5));
        assert_eq!(of(&[3, 2], &neighbours, 1, None), Some(0.0));
        assert_eq!(of(&[1, 2, 9], &neighbours, 2, Some(1)), Some(0.5));
        assert_eq!(of(&[1, 2, 3], &neighbours, 2, Some(1)), Some(1.0));
        // Distances: 0 is best, and all are tied with it.
        assert_eq!(of(&[7], &[(5, 0.0), (7, 0.0)], 1, None), Some(1.0));
    }
}
