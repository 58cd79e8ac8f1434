//! A run as one round of metrics: what `profiler compare` and targets judge.

use super::{EndpointReport, LoadReport};
use crate::compare::metrics::{Better, Host, Metric, MetricsFile};

/// Names of metrics begin with the endpoint's: `GET /users p99`.
pub fn metrics(report: &LoadReport) -> MetricsFile {
    let mut file = MetricsFile::new(Host::current());
    file.start_unix_ms = vec![report.about.start_unix_ms];
    for endpoint in &report.endpoints {
        add(&mut file.metrics, endpoint);
    }
    file
}

fn add(metrics: &mut Vec<Metric>, endpoint: &EndpointReport) {
    let mut push = |what: &str, unit: &str, better, value: Option<f64>, events| {
        metrics.push(Metric {
            name: format!("{} {what}", endpoint.name),
            unit: unit.to_owned(),
            better,
            values: vec![value],
            events: vec![events],
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
        push(what, "ns", Better::Lower, value, complete);
    }
    let throughput = endpoint.throughput_per_second;
    push("throughput", "/s", Better::Higher, throughput, complete);
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
    push("error_rate", "%", Better::Lower, share, due);
}
