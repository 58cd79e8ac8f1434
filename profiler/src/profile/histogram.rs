//! How long things took: counts of durations in buckets.

use profiler_ebpf::{HISTOGRAM_BUCKETS, Histogram as Counts, bucket, lower_bound};
use serde::{Deserialize, Serialize};

/// Durations in nanoseconds, as the kernel side counts them: a percentile is
/// off by a bucket's width, a quarter,
/// at most, the longest is exact.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Histogram {
    /// Number of the bucket, and how many are in it; in order, none empty.
    buckets: Vec<(u16, u64)>,
    /// The longest.
    pub max_ns: u64,
}

impl Histogram {
    pub fn new(counts: &Counts, max_ns: u64) -> Self {
        let buckets = (0..)
            .zip(counts.counts)
            .filter(|&(_, count)| count > 0)
            .map(|(bucket, count)| (bucket, u64::from(count)))
            .collect();
        Self { buckets, max_ns }
    }

    /// Of these durations, nanoseconds.
    pub fn of(durations: &[u64]) -> Self {
        let mut counts = Counts::NEW;
        for &duration in durations {
            counts.counts[bucket(duration)] += 1;
        }
        Self::new(&counts, durations.iter().copied().max().unwrap_or_default())
    }

    /// Counts one more.
    pub fn add(&mut self, nanoseconds: u64) {
        self.merge(&Self {
            buckets: vec![(bucket(nanoseconds) as u16, 1)],
            max_ns: nanoseconds,
        });
    }

    pub fn count(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, &(_, count)| sum.saturating_add(count))
    }

    pub fn merge(&mut self, other: &Self) {
        for &(bucket, count) in &other.buckets {
            match self.buckets.binary_search_by_key(&bucket, |entry| entry.0) {
                Ok(place) => {
                    let sum = &mut self.buckets[place].1;
                    *sum = sum.saturating_add(count);
                }
                Err(place) => self.buckets.insert(place, (bucket, count)),
            }
        }
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    /// The duration that a share of all do not exceed, `share` from 0 to 1;
    /// `None` of nothing. Within a bucket they are taken to be spread evenly.
    pub fn percentile_ns(&self, share: f64) -> Option<u64> {
        let count = self.count();
        if count == 0 {
            return None;
        }
        let rank = ((count as f64 * share).ceil() as u64).clamp(1, count);
        let mut before = 0_u64;
        for &(bucket, count) in &self.buckets {
            if before.saturating_add(count) >= rank {
                let (low, high) = self.bounds(bucket);
                let part = (rank - before) as f64 / count as f64;
                return Some((low as f64 + (high.saturating_sub(low)) as f64 * part) as u64);
            }
            before = before.saturating_add(count);
        }
        Some(self.max_ns)
    }

    /// Shortest and longest duration of a bucket, and how many are in it.
    pub fn rows(&self) -> impl Iterator<Item = (u64, u64, u64)> + '_ {
        self.buckets.iter().map(|&(bucket, count)| {
            let (low, high) = self.bounds(bucket);
            (low, high, count)
        })
    }

    /// A recording comes from a file that anyone may have written.
    fn bounds(&self, bucket: u16) -> (u64, u64) {
        let bucket = usize::from(bucket).min(HISTOGRAM_BUCKETS - 1);
        let low = lower_bound(bucket);
        let high = if bucket + 1 < HISTOGRAM_BUCKETS {
            lower_bound(bucket + 1)
        } else {
            u64::MAX
        };
        (low.min(self.max_ns), high.min(self.max_ns))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(values: &[u64]) -> Histogram {
        Histogram::of(values)
    }

    #[test]
    fn percentiles_are_those_of_the_values() {
        let values: Vec<u64> = (1..=10_000).map(|value| value * value).collect();
        let told = histogram(&values);
        for share in [0.01, 0.5, 0.9, 0.99, 0.999] {
            let exact = values[(share * 10_000.0) as usize - 1] as f64;
            let found = told.percentile_ns(share).expect("there are values") as f64;
            assert!(
                (found / exact - 1.0).abs() < 0.05,
                "{share}: {found} {exact}"
            );
        }
        assert_eq!(told.percentile_ns(1.0), Some(100_000_000));
        assert_eq!(told.count(), 10_000);
        assert_eq!(Histogram::default().percentile_ns(0.5), None);
        assert_eq!(histogram(&[7]).percentile_ns(0.5), Some(7));
    }

    #[test]
    fn merging_is_counting_together() {
        let (left, right) = ([100, 5_000, 70_000], [5_001, 1 << 50]);
        let mut merged = histogram(&left);
        merged.merge(&histogram(&right));
        let all: Vec<u64> = left.into_iter().chain(right).collect();
        assert_eq!(merged, histogram(&all));
        let mut added = Histogram::default();
        for &value in &all {
            added.add(value);
        }
        assert_eq!(added, merged);
        assert_eq!(merged.max_ns, 1 << 50);
    }
}
