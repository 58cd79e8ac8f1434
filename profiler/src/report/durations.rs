//! A histogram of durations, for programs.

use serde::Serialize;

use crate::profile::Histogram;

/// Percentiles are off by a quarter at most; the longest is exact.
#[derive(Serialize)]
pub struct Durations {
    count: u64,
    p50_ns: Option<u64>,
    p90_ns: Option<u64>,
    p99_ns: Option<u64>,
    max_ns: u64,
    /// Upper ends of the buckets that hold any, and how many each holds.
    up_to_ns: Vec<u64>,
    counts: Vec<u64>,
}

impl Durations {
    pub fn of(histogram: &Histogram) -> Self {
        Self {
            count: histogram.count(),
            p50_ns: histogram.percentile_ns(0.5),
            p90_ns: histogram.percentile_ns(0.9),
            p99_ns: histogram.percentile_ns(0.99),
            max_ns: histogram.max_ns,
            up_to_ns: histogram.rows().map(|(_, high, _)| high).collect(),
            counts: histogram.rows().map(|(_, _, count)| count).collect(),
        }
    }
}
