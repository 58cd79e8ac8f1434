//! Nearest neighbours by comparing with every vector: the truth that recall is
//! measured against.

use std::{cmp::Ordering, collections::BinaryHeap};

use serde::Serialize;

/// By which vectors are near. Scores are as Qdrant gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    Cosine,
    Dot,
    Euclid,
    #[value(skip)]
    Manhattan,
}

impl Metric {
    pub fn name(self) -> &'static str {
        match self {
            Self::Cosine => "cosine",
            Self::Dot => "dot product",
            Self::Euclid => "Euclidean distance",
            Self::Manhattan => "Manhattan distance",
        }
    }

    /// Whether a larger score is nearer.
    fn is_similarity(self) -> bool {
        matches!(self, Self::Cosine | Self::Dot)
    }

    /// The score of two vectors of the same length; larger is nearer.
    fn nearness(self, query: &[f32], query_norm: f64, vector: &[f32]) -> f64 {
        match self {
            Self::Dot => dot(query, vector),
            Self::Cosine => {
                let norms = query_norm * dot(vector, vector).sqrt();
                if norms > 0.0 {
                    dot(query, vector) / norms
                } else {
                    0.0
                }
            }
            Self::Euclid => -sum(query, vector, |a, b| (a - b) * (a - b)).sqrt(),
            Self::Manhattan => -sum(query, vector, |a, b| (a - b).abs()),
        }
    }
}

fn dot(left: &[f32], right: &[f32]) -> f64 {
    sum(left, right, |a, b| a * b)
}

/// In double precision, so that the order is that of the vectors and not of
/// rounding; in eight sums, which a CPU adds at once.
fn sum(left: &[f32], right: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    const LANES: usize = 8;
    let mut sums = [0.0; LANES];
    let (left, left_rest) = left.as_chunks::<LANES>();
    let (right, right_rest) = right.as_chunks::<LANES>();
    for (left, right) in left.iter().zip(right) {
        for lane in 0..LANES {
            sums[lane] += term(f64::from(left[lane]), f64::from(right[lane]));
        }
    }
    let rest = left_rest.iter().zip(right_rest);
    rest.fold(sums.iter().sum(), |sum, (&a, &b)| {
        sum + term(f64::from(a), f64::from(b))
    })
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    nearness: f64,
    row: u64,
}

/// The farthest is the greatest, so that a heap gives it up first.
impl Ord for Candidate {
    fn cmp(&self, other: &Self) -> Ordering {
        let farther = other.nearness.total_cmp(&self.nearness);
        farther.then(self.row.cmp(&other.row))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}

/// A neighbour, by the number of its row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Neighbour {
    pub row: u64,
    pub score: f64,
}

/// The nearest vectors of some queries among rows that pass by once, in parts:
/// what is held in memory does not grow with their number.
pub struct BruteForce {
    metric: Metric,
    dimensions: usize,
    limit: usize,
    queries: Vec<Query>,
}

struct Query {
    vector: Vec<f32>,
    norm: f64,
    nearest: BinaryHeap<Candidate>,
}

impl BruteForce {
    /// `queries` are vectors one after the other.
    pub fn new(metric: Metric, dimensions: usize, limit: usize, queries: &[f32]) -> Self {
        let queries = queries
            .chunks_exact(dimensions.max(1))
            .map(|vector| Query {
                norm: dot(vector, vector).sqrt(),
                vector: vector.to_vec(),
                nearest: BinaryHeap::with_capacity(limit + 1),
            })
            .collect();
        Self {
            metric,
            dimensions,
            limit,
            queries,
        }
    }

    /// Compares all queries with these rows, of those that are `wanted`.
    pub fn see(&mut self, first_row: u64, values: &[f32], wanted: impl Fn(u64) -> bool) {
        let rows = values.chunks_exact(self.dimensions.max(1));
        for (row, vector) in (first_row..).zip(rows) {
            if !wanted(row) {
                continue;
            }
            for query in &mut self.queries {
                let nearness = self.metric.nearness(&query.vector, query.norm, vector);
                query.nearest.push(Candidate { nearness, row });
                if query.nearest.len() > self.limit {
                    query.nearest.pop();
                }
            }
        }
    }

    /// Of each query, the nearest first.
    pub fn finish(self) -> Vec<Vec<Neighbour>> {
        let sign = if self.metric.is_similarity() {
            1.0
        } else {
            -1.0
        };
        let nearest = |query: Query| {
            let sorted = query.nearest.into_sorted_vec();
            let neighbour = |found: Candidate| Neighbour {
                row: found.row,
                score: sign * found.nearness,
            };
            sorted.into_iter().map(neighbour).collect()
        };
        self.queries.into_iter().map(nearest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearest(metric: Metric, rows: &[f32], query: &[f32], limit: usize) -> Vec<Neighbour> {
        let mut all = BruteForce::new(metric, 2, limit, query);
        // In two parts.
        all.see(0, &rows[..2], |_| true);
        all.see(1, &rows[2..], |_| true);
        all.finish().remove(0)
    }

    #[test]
    fn metrics_have_their_own_order_and_scores() {
        let rows = [1.0, 0.0, 0.0, 1.0, 10.0, 10.0, -1.0, 0.0];
        let order = |metric| {
            let found = nearest(metric, &rows, &[2.0, 0.0], 4);
            found.iter().map(|it| it.row).collect::<Vec<_>>()
        };
        assert_eq!(order(Metric::Cosine), [0, 2, 1, 3]);
        assert_eq!(order(Metric::Dot), [2, 0, 1, 3]);
        assert_eq!(order(Metric::Euclid), [0, 1, 3, 2]);
        assert_eq!(order(Metric::Manhattan), [0, 1, 3, 2]);
        let score = |metric| nearest(metric, &rows, &[2.0, 0.0], 1)[0].score;
        assert_eq!(score(Metric::Cosine), 1.0);
        assert_eq!(score(Metric::Dot), 20.0);
        assert_eq!(score(Metric::Euclid), 1.0);
    }

    #[test]
    fn long_vectors_are_added_up_wholly() {
        for length in [0, 1, 7, 8, 9, 1000] {
            let vector: Vec<f32> = (0..length).map(|number| number as f32).collect();
            let plain: f64 = vector.iter().map(|&value| f64::from(value * value)).sum();
            assert!((dot(&vector, &vector) - plain).abs() <= plain * 1e-12);
        }
    }

    #[test]
    fn a_zero_vector_and_a_filter() {
        let found = nearest(Metric::Cosine, &[0.0, 0.0, 1.0, 1.0], &[1.0, 1.0], 5);
        assert_eq!(found[0].row, 1);
        assert_eq!(found[1].score, 0.0);
        let mut all = BruteForce::new(Metric::Dot, 2, 5, &[1.0, 1.0]);
        all.see(7, &[1.0, 1.0, 2.0, 2.0], |row| row == 7);
        let expected = Neighbour { row: 7, score: 2.0 };
        assert_eq!(all.finish(), [[expected]]);
    }
}
