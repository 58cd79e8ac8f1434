//! The result as a section of a recording's report, with what is wrong.

use super::{
    EndpointReport, LoadReport,
    text::{cell, load_line, significant},
};
use crate::{
    profile::document::{Column, Document, Finding, Part, Severity},
    report::text::{bytes, count, duration, percent},
};

/// Failed requests, percent, from which on it is told.
const FAILING: f64 = 1.0;
/// A 95th percentile, nanoseconds, that nobody wants to wait for.
const SLOW: u64 = 1_000_000_000;
/// Part of the rate that was asked for below which a server does not keep up.
const KEEPS_UP: f64 = 0.95;
/// Part of the requests that waits for a connection, which are as many as the load
/// allows at the same time.
const WAITING: f64 = 0.1;

pub fn document(report: &LoadReport) -> Document {
    let target = &report.target;
    let mut about = vec![
        (
            "server".into(),
            format!("{}, {}", target.url, target.protocol),
        ),
        ("load".into(), load_line(report)),
    ];
    if report.interrupted {
        about.push(("ended".into(), "before its time".to_owned()));
    }
    Document {
        title: format!("Load on {}", target.url),
        about,
        findings: report
            .endpoints
            .iter()
            .flat_map(|endpoint| findings(endpoint, report.load.rate_per_second))
            .collect(),
        parts: [endpoints(report), failures(report), skipped(report)]
            .into_iter()
            .enumerate()
            .filter(|(place, part)| *place == 0 || !part.rows.is_empty())
            .map(|(_, part)| part)
            .collect(),
    }
}

fn endpoints(report: &LoadReport) -> Part {
    let mut part = Part::new(
        "Endpoints",
        vec![
            Column::text("Endpoint"),
            Column::number("Requests/s"),
            Column::number("Complete"),
            Column::number("Failed"),
            Column::number("p50"),
            Column::number("p95"),
            Column::number("p99"),
            Column::number("max"),
            Column::number("Body"),
            Column::number("Server CPU a request"),
            Column::text("Status"),
        ],
    );
    for endpoint in &report.endpoints {
        let latency = &endpoint.latency.all;
        let statuses: Vec<String> = endpoint
            .statuses
            .iter()
            .map(|(status, number)| format!("{status}: {}", count(*number)))
            .collect();
        part.row(vec![
            endpoint.name.clone(),
            endpoint
                .throughput_per_second
                .map_or_else(|| "–".to_owned(), significant),
            count(endpoint.requests.complete),
            count(endpoint.requests.failed),
            cell(latency.p50_ns),
            cell(latency.p95_ns),
            cell(latency.p99_ns),
            cell(latency.max_ns),
            endpoint
                .bytes
                .body_mean
                .map_or_else(|| "–".to_owned(), bytes),
            endpoint
                .server
                .as_ref()
                .and_then(|server| server.cpu_ns_per_request)
                .map_or_else(|| "–".to_owned(), duration),
            statuses.join(", "),
        ]);
        for note in &endpoint.notes {
            part.note(format!("{}: {note}.", endpoint.name));
        }
    }
    part
}

fn failures(report: &LoadReport) -> Part {
    let mut part = Part::new(
        "Requests that failed",
        vec![
            Column::text("Endpoint"),
            Column::text("Kind"),
            Column::number("Number"),
            Column::text("The first"),
        ],
    );
    for endpoint in &report.endpoints {
        for failure in &endpoint.failures {
            part.row(vec![
                endpoint.name.clone(),
                failure.kind.title().to_owned(),
                count(failure.count),
                failure.message.clone(),
            ]);
        }
    }
    part
}

fn skipped(report: &LoadReport) -> Part {
    let mut part = Part::new(
        "Not asked",
        vec![Column::text("Endpoint"), Column::text("Reason")],
    );
    for skipped in &report.skipped {
        part.row(vec![skipped.endpoint.clone(), skipped.reason.clone()]);
    }
    part
}

fn findings(endpoint: &EndpointReport, rate: Option<f64>) -> Vec<Finding> {
    let mut found = Vec::new();
    let requests = &endpoint.requests;
    let name = &endpoint.name;
    let all = requests.complete + requests.failed;
    let refused: u64 = endpoint
        .statuses
        .range(500..)
        .map(|(_, number)| *number)
        .sum();
    let failed = 100.0 * (requests.failed + refused) as f64 / all.max(1) as f64;
    if all > 0 && failed >= FAILING {
        let statuses = endpoint.statuses.range(500..);
        let statuses: Vec<String> = statuses.map(|(status, _)| status.to_string()).collect();
        let kinds = endpoint
            .failures
            .iter()
            .map(|it| it.kind.title().to_owned());
        let kinds: Vec<String> = statuses.into_iter().chain(kinds).collect();
        found.push(
            Finding::new(
                Severity::Problem,
                "failing_endpoint",
                format!(
                    "{} of the requests of {name} fail: {}",
                    percent(failed),
                    kinds.join(", ")
                ),
            )
            .evidence(format!(
                "{} of {} requests",
                count(requests.failed + refused),
                count(all)
            )),
        );
    }
    // Requests that are under way at the end make the throughput a little smaller
    // than the rate; only where some wait for those before them it is too slow.
    let waited = endpoint.client.waited_for_connection.unwrap_or(0) + requests.unsent;
    let waits = waited as f64 >= WAITING * (all + requests.unsent) as f64;
    if let (Some(rate), Some(throughput)) = (rate, endpoint.throughput_per_second)
        && throughput < KEEPS_UP * rate
        && waited > 0
        && waits
    {
        found.push(
            Finding::new(
                Severity::Problem,
                "cannot_keep_up",
                format!(
                    "{name} does not keep up with {} requests/s: it answers {}",
                    significant(rate),
                    significant(throughput)
                ),
            )
            .evidence(format!(
                "median {} from when a request was due, {} requests not sent in time",
                cell(endpoint.latency.all.p50_ns),
                count(requests.unsent)
            )),
        );
    } else if let Some(slow) = endpoint.latency.all.p95_ns.filter(|&it| it >= SLOW) {
        found.push(
            Finding::new(
                Severity::Warning,
                "slow_endpoint",
                format!(
                    "one in twenty requests of {name} takes {} or more",
                    duration(slow)
                ),
            )
            .evidence(format!("{} requests", count(requests.complete))),
        );
    }
    found
}
