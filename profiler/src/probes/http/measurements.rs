//! What is measured of an endpoint.

use std::{collections::BTreeMap, time::Duration};

use hdrhistogram::Histogram;

use super::{
    connection::{Dialed, Exchange},
    outcome::{Failure, FailureKind},
};

/// Durations are kept to three significant digits …
const DIGITS: u8 = 3;
/// … from a nanosecond to an hour.
const LONGEST_NS: u64 = 3_600_000_000_000;

/// Durations in a histogram of high dynamic range; the longest is exact.
#[derive(Clone, Debug)]
pub struct Durations {
    histogram: Histogram<u64>,
    max_ns: u64,
}

impl Default for Durations {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LONGEST_NS, DIGITS)
            .unwrap_or_else(|_| unreachable!("the bounds are constants in order"));
        Self {
            histogram,
            max_ns: 0,
        }
    }
}

impl Durations {
    pub fn add(&mut self, duration: Duration) {
        let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.histogram.saturating_record(nanoseconds);
        self.max_ns = self.max_ns.max(nanoseconds);
    }

    pub fn merge(&mut self, other: &Self) {
        // Of the same bounds, so that it cannot fail.
        let _ = self.histogram.add(&other.histogram);
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    pub fn max_ns(&self) -> Option<u64> {
        (self.count() > 0).then_some(self.max_ns)
    }

    pub fn min_ns(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.histogram.min())
    }

    pub fn mean_ns(&self) -> Option<u64> {
        (self.count() > 0).then(|| self.histogram.mean() as u64)
    }

    /// What a share of all do not exceed. `None` of so few that it would be
    /// just the longest: a p99 needs 100.
    pub fn percentile_ns(&self, percent: f64) -> Option<u64> {
        let above = self.count() as f64 * (100.0 - percent) / 100.0;
        // 0.999 of 1000 requests and the like are not exact in binary.
        (above > 0.999_999).then(|| self.histogram.value_at_percentile(percent).min(self.max_ns))
    }

    /// With the requests that a client at a constant rate would have sent while
    /// it waited: Gil Tene's correction for coordinated omission, as in
    /// HdrHistogram's `copyCorrectedForCoordinatedOmission`.
    pub fn corrected(&self, interval: Duration) -> Self {
        let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
        let mut corrected = Self::default();
        if interval == 0 {
            return self.clone();
        }
        let _ = corrected.histogram.add_correct(&self.histogram, interval);
        corrected.max_ns = self.max_ns;
        corrected
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, Default)]
pub struct Failures {
    pub count: u64,
    /// What was said of the first.
    pub message: String,
}

/// Sums of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bytes {
    pub body: u64,
    pub max_body: u64,
    /// Of [`Bytes::wire_requests`].
    pub received: u64,
    pub sent: u64,
    /// Requests of which the bytes on the wire are known.
    pub wire_requests: u64,
}

/// Of one endpoint, in the measured part of the run.
#[derive(Clone, Debug, Default)]
pub struct Measurements {
    /// Of complete responses to their last byte. Closed loop: from sending.
    /// Open loop: from when it should have been sent.
    pub latency: Durations,
    /// The same of responses with a status of 400 or more.
    pub latency_of_errors: Durations,
    /// Open loop: from sending.
    pub service: Durations,
    /// From sending to the first byte of the response, and from there to the
    /// last.
    pub first_byte: Durations,
    pub download: Durations,
    /// Open loop: how much later than due a request was sent though a
    /// connection was free, which is this program's own delay.
    pub own_delay: Durations,
    /// Open loop: requests that were due while all connections were busy.
    pub waited_for_connection: u64,
    pub started: u64,
    /// Complete responses that came before the end of the measured time.
    pub complete_in_time: u64,
    pub statuses: BTreeMap<u16, u64>,
    pub failures: BTreeMap<FailureKind, Failures>,
    /// Those of them that came on a connection that had been used before, and
    /// before any of an answer.
    pub failed_on_reused: u64,
    pub bytes: Bytes,
    /// Open loop: due in the measured time, and not sent when it was over.
    pub unsent: u64,
    pub warmup_requests: u64,
    /// Of all new connections, warm-up included.
    pub connect: Durations,
    pub tls: Durations,
}

impl Measurements {
    pub fn complete(&self) -> u64 {
        self.latency.count()
    }

    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Sent and neither complete nor failed: the run was ended before.
    pub fn abandoned(&self) -> u64 {
        self.started - self.complete() - self.failed()
    }

    pub fn connected(&mut self, dialed: Dialed) {
        self.connect.add(dialed.connect);
        if let Some(tls) = dialed.tls {
            self.tls.add(tls);
        }
    }

    /// A complete response to a request that was due `due`.
    pub fn complete_one(&mut self, exchange: &Exchange, due: Option<std::time::Instant>) {
        let service = exchange.end - exchange.sent;
        let latency = match due {
            Some(due) => {
                self.service.add(service);
                exchange.end - due
            }
            None => service,
        };
        self.latency.add(latency);
        if exchange.status >= 400 {
            self.latency_of_errors.add(latency);
        }
        self.first_byte.add(exchange.first_byte - exchange.sent);
        self.download.add(exchange.end - exchange.first_byte);
        *self.statuses.entry(exchange.status).or_default() += 1;
        self.bytes.body += exchange.body_bytes;
        self.bytes.max_body = self.bytes.max_body.max(exchange.body_bytes);
        if let Some((received, sent)) = exchange.wire_bytes {
            self.bytes.received += received;
            self.bytes.sent += sent;
            self.bytes.wire_requests += 1;
        }
    }

    pub fn fail(&mut self, failure: Failure) {
        self.failed_on_reused += u64::from(failure.on_reused_connection);
        let failures = self.failures.entry(failure.kind).or_default();
        if failures.count == 0 {
            failures.message = failure.message;
        }
        failures.count += 1;
    }

    pub fn merge(&mut self, other: &Self) {
        self.latency.merge(&other.latency);
        self.latency_of_errors.merge(&other.latency_of_errors);
        self.service.merge(&other.service);
        self.first_byte.merge(&other.first_byte);
        self.download.merge(&other.download);
        self.own_delay.merge(&other.own_delay);
        self.connect.merge(&other.connect);
        self.tls.merge(&other.tls);
        self.waited_for_connection += other.waited_for_connection;
        self.started += other.started;
        self.complete_in_time += other.complete_in_time;
        self.unsent += other.unsent;
        self.failed_on_reused += other.failed_on_reused;
        self.warmup_requests += other.warmup_requests;
        for (&status, count) in &other.statuses {
            *self.statuses.entry(status).or_default() += count;
        }
        for (&kind, failures) in &other.failures {
            let sum = self.failures.entry(kind).or_default();
            if sum.count == 0 {
                sum.message.clone_from(&failures.message);
            }
            sum.count += failures.count;
        }
        self.bytes.body += other.bytes.body;
        self.bytes.max_body = self.bytes.max_body.max(other.bytes.max_body);
        self.bytes.received += other.bytes.received;
        self.bytes.sent += other.bytes.sent;
        self.bytes.wire_requests += other.bytes.wire_requests;
    }
}
