//! Histograms of durations: four buckets for each power of two, so that a
//! bucket is at most a quarter wider than its lower bound.

/// Buckets of a power of two, as a shift.
const PARTS: u32 = 2;
/// Durations below two to this power of nanoseconds share the first bucket.
const FIRST: u32 = 6;

pub const HISTOGRAM_BUCKETS: usize = 128;

/// The bucket of a duration in nanoseconds. The last one holds all that is
/// longer than the others', from 206 s on.
#[inline(always)]
pub const fn bucket(nanoseconds: u64) -> usize {
    if nanoseconds >> FIRST == 0 {
        return 0;
    }
    let power = 63 - nanoseconds.leading_zeros();
    let part = (nanoseconds >> (power - PARTS)) as u32 & ((1 << PARTS) - 1);
    let index = ((power - FIRST) << PARTS) + part + 1;
    if index as usize >= HISTOGRAM_BUCKETS {
        HISTOGRAM_BUCKETS - 1
    } else {
        index as usize
    }
}

/// Shortest duration of a bucket, nanoseconds.
pub const fn lower_bound(bucket: usize) -> u64 {
    if bucket == 0 {
        return 0;
    }
    let index = bucket as u32 - 1;
    let (power, part) = (FIRST + (index >> PARTS), index & ((1 << PARTS) - 1));
    (1 << power) + ((part as u64) << (power - PARTS))
}

/// How often durations of each bucket occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Histogram {
    pub counts: [u32; HISTOGRAM_BUCKETS],
}

impl Histogram {
    pub const NEW: Self = Self {
        counts: [0; HISTOGRAM_BUCKETS],
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_its_bucket() {
        for power in 0..64 {
            for offset in [0, 1, 3, 1 << 20, 1 << 40] {
                for value in [
                    (1_u64 << power).saturating_sub(offset),
                    (1_u64 << power).saturating_add(offset),
                ] {
                    let bucket = bucket(value);
                    assert!(lower_bound(bucket) <= value, "{value}");
                    if bucket + 1 < HISTOGRAM_BUCKETS {
                        assert!(value < lower_bound(bucket + 1), "{value}");
                    }
                }
            }
        }
        for index in 1..HISTOGRAM_BUCKETS - 1 {
            let (low, high) = (lower_bound(index), lower_bound(index + 1));
            assert_eq!(bucket(low), index);
            assert!(high - low <= low / 4, "{low} to {high}");
        }
    }
}
