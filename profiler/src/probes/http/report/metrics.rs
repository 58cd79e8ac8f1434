//! A run as one round of metrics: what `profiler compare` and targets judge.

use super::{EndpointReport, LoadReport};
use crate::{
    compare::metrics::{Host, Metric, MetricsFile},
    profile::ProbeMetric,
};

/// A file of one round.
pub fn file(report: &LoadReport) -> MetricsFile {
    let mut file = MetricsFile::new(Host::current());
    file.start_unix_ms = vec![report.about.start_unix_ms];
    file.metrics = metrics(report).iter().map(Metric::of_probe).collect();
    file
}

/// Their names begin with the endpoint's: `GET /users p99`.
pub fn metrics(report: &LoadReport) -> Vec<ProbeMetric> {
    let mut metrics = Vec::new();
    for endpoint in &report.endpoints {
        add(&mut metrics, endpoint);
    }
    metrics
}

fn add(metrics: &mut Vec<ProbeMetric>, endpoint: &EndpointReport) {
    let mut push = |what: &str, unit: &str, lower_is_better, value: Option<f64>, events| {
        metrics.push(ProbeMetric {
            name: format!("{} {what}", endpoint.name),
            unit: unit.to_owned(),
            lower_is_better,
            value,
            events,
        });
    };
    // Those of a closed loop would hide the server's stalls otherwise.
    let latency = &endpoint.latency;
    let latency = latency.corrected.as_ref().unwrap_or(&latency.all);
    let complete = endpoint.requests.complete;
    for (what, value) in [
        ("p50", latency.p50_ns),
        ("p90", latency.p90_ns),
        ("p95", latency.p95_ns),
        ("p99", latency.p99_ns),
        ("p999", latency.p99_9_ns),
        ("max", latency.max_ns),
    ] {
        let value = value.map(|nanoseconds| nanoseconds as f64);
        push(what, "ns", true, value, complete);
    }
    if let Some(cpu) = endpoint
        .server
        .as_ref()
        .and_then(|it| it.cpu_ns_per_request)
    {
        push("server_cpu", "ns", true, Some(cpu as f64), complete);
    }
    let throughput = endpoint.throughput_per_second;
    push("throughput", "/s", false, throughput, complete);
    let refused: u64 = endpoint
        .statuses
        .iter()
        .filter(|&(&status, _)| status >= 400)
        .map(|(_, &count)| count)
        .sum();
    let requests = &endpoint.requests;
    let due = requests.complete + requests.failed + requests.unsent;
    let failed = refused + requests.failed + requests.unsent;
    let share = (due > 0).then(|| 100.0 * failed as f64 / due as f64);
    push("error_rate", "%", true, share, due);
}
