//! What a run is reported as. `reports/load.schema.json` describes it; units
//! are in the names.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use crate::probes::http::{
    drive::Driven,
    load::{Load, Pattern},
    measurements::{Durations, Measurements},
    outcome::FailureKind,
    plan::{Endpoint, Skipped, ValuesFrom},
    server::Server,
    usage::Usage,
};

/// Raised when a reader of the version before would misread the report.
const SCHEMA_VERSION: u32 = 1;

#[derive(Debug, Serialize)]
pub struct LoadReport {
    pub schema_version: u32,
    pub generator: &'static str,
    pub about: About,
    pub target: TargetReport,
    pub load: LoadSettings,
    pub endpoints: Vec<EndpointReport>,
    pub skipped: Vec<Skipped>,
    /// Ended before its time, by a signal.
    pub interrupted: bool,
}

#[derive(Debug, Serialize)]
pub struct About {
    pub profiler_version: &'static str,
    /// Secrets are masked.
    pub command_line: String,
    pub start_unix_ms: u64,
}

#[derive(Debug, Serialize)]
pub struct TargetReport {
    pub url: String,
    pub address: String,
    pub protocol: &'static str,
    pub tls: bool,
    /// `None` where the URL has an address.
    pub dns_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct LoadSettings {
    /// `closed` or `open`.
    pub pattern: &'static str,
    pub rate_per_second: Option<f64>,
    pub concurrent: usize,
    pub streams_per_connection: usize,
    pub threads: usize,
    pub duration_ns: Option<u64>,
    pub requests: Option<u64>,
    pub warmup_ns: u64,
    pub timeout_ns: u64,
    pub max_body_bytes: u64,
}

#[derive(Debug, Serialize)]
pub struct EndpointReport {
    /// Method and path, as described.
    pub name: String,
    /// Method and path, as sent.
    pub request: String,
    pub values_from: ValuesFrom,
    pub measured_ns: u64,
    pub requests: Requests,
    /// Complete responses within the measured time, by wall clock.
    pub throughput_per_second: Option<f64>,
    pub latency: Latency,
    pub phases: Phases,
    pub statuses: BTreeMap<u16, u64>,
    pub failures: Vec<FailureReport>,
    pub bytes: BytesReport,
    pub client: Client,
    /// `None`: the server's processes are not on this host, or not known.
    pub server: Option<ServerUsage>,
    pub notes: Vec<String>,
}

/// What the server used meanwhile, warm-up included, for others too.
#[derive(Debug, Serialize)]
pub struct ServerUsage {
    #[serde(flatten)]
    pub usage: Usage,
    pub cpu_ns_per_request: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct Requests {
    pub started: u64,
    pub complete: u64,
    pub failed: u64,
    /// Of the failed: on a connection that had been used before and that the
    /// server closed without an answer. Clients may try those again.
    pub failed_on_reused_connection: u64,
    /// Under way when the run was ended.
    pub abandoned: u64,
    /// Open loop: due, but no connection was free in time.
    pub unsent: u64,
    /// Before the measured part, and in none of the other numbers.
    pub warmup: u64,
}

#[derive(Debug, Serialize)]
pub struct Latency {
    /// `sending` in a closed loop, `due time` in an open one.
    pub measured_from: &'static str,
    pub all: Percentiles,
    /// Closed loop: with the requests that were not sent while a connection
    /// waited for longer than its mean interval.
    pub corrected: Option<Percentiles>,
    pub corrected_interval_ns: Option<u64>,
    /// Open loop: from sending.
    pub from_sending: Option<Percentiles>,
    /// Of responses with a status of 400 or more, which are in the others too.
    pub error_statuses: Option<Percentiles>,
}

/// Of new connections, warm-up included: connect and TLS. Of all complete
/// responses: first byte, from sending, and download, from there.
#[derive(Debug, Serialize)]
pub struct Phases {
    pub connect: Percentiles,
    pub tls: Option<Percentiles>,
    pub first_byte: Percentiles,
    pub download: Percentiles,
}

/// Percentiles that would need more responses than there are have no value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Percentiles {
    pub count: u64,
    pub min_ns: Option<u64>,
    pub mean_ns: Option<u64>,
    pub p50_ns: Option<u64>,
    pub p90_ns: Option<u64>,
    pub p95_ns: Option<u64>,
    pub p99_ns: Option<u64>,
    pub p99_9_ns: Option<u64>,
    pub max_ns: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct FailureReport {
    pub kind: FailureKind,
    pub count: u64,
    /// What was said of the first.
    pub message: String,
}

#[derive(Debug, Serialize)]
pub struct BytesReport {
    /// Of complete responses, as they came, compressed or not.
    pub body: u64,
    pub body_mean: Option<u64>,
    pub body_max: u64,
    /// Of HTTP, before TLS: heads, bodies and their framing. Not known of
    /// single requests over HTTP/2.
    pub received: Option<u64>,
    pub received_mean: Option<u64>,
    pub sent: Option<u64>,
    pub sent_mean: Option<u64>,
    /// Received but not body: heads, and the framing of chunks.
    pub head_mean: Option<u64>,
}

/// What the sending cost this program.
#[derive(Debug, Serialize)]
pub struct Client {
    pub cpu_ns: u64,
    /// Of one complete response or failure, warm-up included.
    pub cpu_ns_per_request: Option<u64>,
    /// Of the threads that sent: 1 is all of their time.
    pub busy: f64,
    /// Open loop: how much later than due requests were sent while a
    /// connection was free. It is part of the latency.
    pub own_delay: Option<Percentiles>,
    /// Open loop: requests that were due while no connection was free.
    pub waited_for_connection: Option<u64>,
}

fn nanoseconds(duration: Duration) -> u64 {
    duration.as_nanos().try_into().unwrap_or(u64::MAX)
}

impl Percentiles {
    pub fn of(durations: &Durations) -> Self {
        Self {
            count: durations.count(),
            min_ns: durations.min_ns(),
            mean_ns: durations.mean_ns(),
            p50_ns: durations.percentile_ns(50.0),
            p90_ns: durations.percentile_ns(90.0),
            p95_ns: durations.percentile_ns(95.0),
            p99_ns: durations.percentile_ns(99.0),
            p99_9_ns: durations.percentile_ns(99.9),
            max_ns: durations.max_ns(),
        }
    }

    fn of_some(durations: &Durations) -> Option<Self> {
        (durations.count() > 0).then(|| Self::of(durations))
    }
}

impl LoadReport {
    pub fn new(server: &Server, load: &Load, command_line: String, start: Duration) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            generator: "profiler load",
            about: About {
                profiler_version: env!("CARGO_PKG_VERSION"),
                command_line,
                start_unix_ms: start.as_millis().try_into().unwrap_or(u64::MAX),
            },
            target: TargetReport {
                url: server.target.to_string(),
                address: server
                    .resolved
                    .addresses
                    .first()
                    .map(ToString::to_string)
                    .unwrap_or_default(),
                protocol: server.protocol.name(),
                tls: server.dialer.tls.is_some(),
                dns_ns: server.resolved.dns.map(nanoseconds),
            },
            load: LoadSettings {
                pattern: match load.pattern {
                    Pattern::Closed => "closed",
                    Pattern::Open { .. } => "open",
                },
                rate_per_second: match load.pattern {
                    Pattern::Closed => None,
                    Pattern::Open { rate } => Some(rate),
                },
                concurrent: load.concurrent,
                streams_per_connection: load.streams,
                threads: load.threads,
                duration_ns: load.duration.map(nanoseconds),
                requests: load.requests,
                warmup_ns: nanoseconds(load.warmup),
                timeout_ns: nanoseconds(load.timeout),
                max_body_bytes: load.body_bytes,
            },
            endpoints: Vec::new(),
            skipped: Vec::new(),
            interrupted: false,
        }
    }

    /// Endpoints without a single complete response.
    pub fn without_evidence(&self) -> impl Iterator<Item = &EndpointReport> {
        self.endpoints
            .iter()
            .filter(|endpoint| endpoint.requests.complete == 0)
    }
}

impl EndpointReport {
    pub fn new(endpoint: &Endpoint, load: &Load, driven: &Driven, used: Option<Usage>) -> Self {
        let of = &driven.measurements;
        let measured = driven.measured.as_secs_f64();
        let mut report = Self {
            name: endpoint.name.clone(),
            request: endpoint.sent.clone(),
            values_from: endpoint.values_from,
            measured_ns: nanoseconds(driven.measured),
            requests: Requests {
                started: of.started,
                complete: of.complete(),
                failed: of.failed(),
                failed_on_reused_connection: of.failed_on_reused,
                abandoned: of.abandoned(),
                unsent: of.unsent,
                warmup: of.warmup_requests,
            },
            throughput_per_second: (measured > 0.0).then(|| of.complete_in_time as f64 / measured),
            latency: latency(load, driven),
            phases: Phases {
                connect: Percentiles::of(&of.connect),
                tls: Percentiles::of_some(&of.tls),
                first_byte: Percentiles::of(&of.first_byte),
                download: Percentiles::of(&of.download),
            },
            statuses: of.statuses.clone(),
            failures: of
                .failures
                .iter()
                .map(|(&kind, failures)| FailureReport {
                    kind,
                    count: failures.count,
                    message: failures.message.clone(),
                })
                .collect(),
            bytes: bytes(of),
            client: client(load, driven),
            server: used.map(|usage| ServerUsage {
                usage,
                cpu_ns_per_request: usage.cpu_ns.checked_div(all_requests(driven)),
            }),
            notes: Vec::new(),
        };
        report.notes = super::notes::of_endpoint(&report, load);
        report
    }
}

fn latency(load: &Load, driven: &Driven) -> Latency {
    let of = &driven.measurements;
    let all = Percentiles::of(&of.latency);
    let error_statuses = Percentiles::of_some(&of.latency_of_errors);
    if let Pattern::Open { .. } = load.pattern {
        return Latency {
            measured_from: "due time",
            all,
            corrected: None,
            corrected_interval_ns: None,
            from_sending: Some(Percentiles::of(&of.service)),
            error_statuses,
        };
    }
    let per_lane = of.complete_in_time as f64 / load.concurrent as f64;
    let interval = (per_lane >= 1.0).then(|| driven.measured.div_f64(per_lane));
    Latency {
        measured_from: "sending",
        all,
        corrected: interval.map(|interval| Percentiles::of(&of.latency.corrected(interval))),
        corrected_interval_ns: interval.map(nanoseconds),
        from_sending: None,
        error_statuses,
    }
}

fn bytes(of: &Measurements) -> BytesReport {
    let bytes = of.bytes;
    let mean = |sum: u64, count: u64| sum.checked_div(count);
    let known = bytes.wire_requests > 0;
    let received_mean = mean(bytes.received, bytes.wire_requests);
    let body_mean = mean(bytes.body, of.complete());
    BytesReport {
        body: bytes.body,
        body_mean,
        body_max: bytes.max_body,
        received: known.then_some(bytes.received),
        received_mean,
        sent: known.then_some(bytes.sent),
        sent_mean: mean(bytes.sent, bytes.wire_requests),
        head_mean: mean(
            bytes.received.saturating_sub(bytes.body),
            bytes.wire_requests,
        ),
    }
}

/// With those of the warm-up.
fn all_requests(driven: &Driven) -> u64 {
    let of = &driven.measurements;
    of.complete() + of.failed() + of.warmup_requests
}

fn client(load: &Load, driven: &Driven) -> Client {
    let of = &driven.measurements;
    let all = all_requests(driven);
    let time = driven.ran.as_secs_f64() * driven.threads as f64;
    let open = matches!(load.pattern, Pattern::Open { .. });
    Client {
        cpu_ns: nanoseconds(driven.cpu),
        cpu_ns_per_request: nanoseconds(driven.cpu).checked_div(all),
        busy: if time > 0.0 {
            driven.cpu.as_secs_f64() / time
        } else {
            0.0
        },
        own_delay: open.then(|| Percentiles::of(&of.own_delay)),
        waited_for_connection: open.then_some(of.waited_for_connection),
    }
}
