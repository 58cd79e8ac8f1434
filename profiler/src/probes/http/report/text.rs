//! The result for a terminal.

use std::fmt::Write as _;

use super::{EndpointReport, LoadReport, Percentiles, model::ServerUsage};
use crate::report::text::{bytes, clean, count, duration};

pub fn render(report: &LoadReport) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = heading(report, &mut out);
    for endpoint in &report.endpoints {
        let _ = self::endpoint(endpoint, &mut out);
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(out, "\nNot asked");
        for skipped in &report.skipped {
            let _ = writeln!(
                out,
                "  {}: {}",
                clean(&skipped.endpoint),
                clean(&skipped.reason)
            );
        }
    }
    out
}

/// How the load was, in one line.
pub fn load_line(report: &LoadReport) -> String {
    let load = &report.load;
    let mut line = match load.rate_per_second {
        None => "closed loop".to_owned(),
        Some(rate) => format!("open loop of {rate} requests/s"),
    };
    line += &format!(", {} at the same time", load.concurrent);
    if report.target.protocol == "HTTP/2" {
        line += &format!(", {} on a connection", load.streams_per_connection);
    }
    let requests = load
        .requests
        .map(|number| format!("{} requests", count(number)));
    let time = load.duration_ns.map(duration);
    let until: Vec<String> = [requests, time].into_iter().flatten().collect();
    line += &format!(", {}", until.join(" or "));
    line += &match load.warmup_ns {
        0 => ", no warm-up".to_owned(),
        warmup => format!(" after {} of warm-up, which is left out", duration(warmup)),
    };
    line
}

fn heading(report: &LoadReport, out: &mut String) -> std::fmt::Result {
    let target = &report.target;
    write!(
        out,
        "{} ({}), {}",
        clean(&target.url),
        target.address,
        target.protocol
    )?;
    if target.tls {
        write!(out, " over TLS")?;
    }
    if let Some(dns) = target.dns_ns {
        write!(out, ", resolved once in {}", duration(dns))?;
    }
    writeln!(out, "\n{}", load_line(report))?;
    if report.interrupted {
        writeln!(out, "ended early, by a signal")?;
    }
    Ok(())
}

fn endpoint(endpoint: &EndpointReport, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n{}", clean(&endpoint.name))?;
    if endpoint.request != endpoint.name {
        writeln!(out, "  sent as     {}", clean(&endpoint.request))?;
    }
    let requests = &endpoint.requests;
    let throughput = endpoint
        .throughput_per_second
        .map_or_else(|| "–".to_owned(), |rate| format!("{}/s", significant(rate)));
    writeln!(
        out,
        "  requests    {} complete in {}, {throughput}; {} failed",
        count(requests.complete),
        duration(endpoint.measured_ns),
        count(requests.failed)
    )?;
    let statuses: Vec<String> = endpoint
        .statuses
        .iter()
        .map(|(status, number)| format!("{status}: {}", count(*number)))
        .collect();
    if !statuses.is_empty() {
        writeln!(out, "  status      {}", statuses.join(", "))?;
    }
    for failures in &endpoint.failures {
        let (kind, message) = (failures.kind.title(), clean(&failures.message));
        writeln!(
            out,
            "  {kind:<20} {}, first: {message}",
            count(failures.count)
        )?;
    }
    table(endpoint, out)?;
    sizes(endpoint, out)?;
    if let Some(cpu) = endpoint.client.cpu_ns_per_request {
        writeln!(
            out,
            "  client      {} of CPU time a request, {:.0} % busy",
            duration(cpu),
            100.0 * endpoint.client.busy
        )?;
    }
    if let Some(server) = &endpoint.server {
        server_line(server, out)?;
    }
    for note in &endpoint.notes {
        writeln!(out, "  * {note}")?;
    }
    Ok(())
}

fn server_line(server: &ServerUsage, out: &mut String) -> std::fmt::Result {
    let ServerUsage {
        usage,
        cpu_ns_per_request,
    } = server;
    write!(out, "  server      ")?;
    if let Some(cpu) = cpu_ns_per_request {
        write!(out, "{} of CPU time a request, ", duration(*cpu))?;
    }
    write!(
        out,
        "{} in all, and {} waiting for a CPU",
        duration(usage.cpu_ns),
        duration(usage.run_queue_ns)
    )?;
    if let (Some(read), Some(written)) = (usage.disk_read_bytes, usage.disk_write_bytes) {
        write!(
            out,
            "; disk {} read, {} written",
            bytes(read),
            bytes(written)
        )?;
    }
    match usage.processes {
        1 => writeln!(out, " (1 process)"),
        many => writeln!(out, " ({many} processes)"),
    }
}

/// Latencies and phases by name; those that were not measured are left out.
pub fn rows(endpoint: &EndpointReport) -> Vec<(&'static str, &Percentiles)> {
    let latency = &endpoint.latency;
    let from_due = latency.from_sending.is_some();
    let title = if from_due { "from due time" } else { "latency" };
    let mut rows = vec![(title, Some(&latency.all))];
    rows.push(("corrected", latency.corrected.as_ref()));
    rows.push(("from sending", latency.from_sending.as_ref()));
    rows.push(("of errors", latency.error_statuses.as_ref()));
    rows.push(("first byte", Some(&endpoint.phases.first_byte)));
    rows.push(("download", Some(&endpoint.phases.download)));
    rows.push(("connect", Some(&endpoint.phases.connect)));
    rows.push(("TLS", endpoint.phases.tls.as_ref()));
    rows.push(("sent late", endpoint.client.own_delay.as_ref()));
    rows.into_iter()
        .filter_map(|(title, row)| Some((title, row?)))
        .filter(|(_, row)| row.count > 0)
        .collect()
}

/// A percentile, or that there are too few for it.
pub fn cell(value: Option<u64>) -> String {
    value.map_or_else(|| "–".to_owned(), duration)
}

pub fn cells(row: &Percentiles) -> [String; 6] {
    [
        row.p50_ns,
        row.p90_ns,
        row.p95_ns,
        row.p99_ns,
        row.p99_9_ns,
        row.max_ns,
    ]
    .map(cell)
}

pub const COLUMNS: [&str; 6] = ["p50", "p90", "p95", "p99", "p99.9", "max"];

fn table(endpoint: &EndpointReport, out: &mut String) -> std::fmt::Result {
    let rows = rows(endpoint);
    if rows.is_empty() {
        return Ok(());
    }
    write!(out, "  {:<13}", "")?;
    for column in COLUMNS {
        write!(out, " {column:>9}")?;
    }
    writeln!(out)?;
    for (title, row) in rows {
        write!(out, "  {title:<13}")?;
        for cell in cells(row) {
            write!(out, " {cell:>9}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn sizes(endpoint: &EndpointReport, out: &mut String) -> std::fmt::Result {
    let Some(body) = endpoint.bytes.body_mean else {
        return Ok(());
    };
    write!(out, "  size        body {}", bytes(body))?;
    if endpoint.bytes.body_max != body {
        write!(
            out,
            " on average, {} at most",
            bytes(endpoint.bytes.body_max)
        )?;
    }
    if let (Some(head), Some(sent)) = (endpoint.bytes.head_mean, endpoint.bytes.sent_mean) {
        write!(
            out,
            "; head and framing {}; request {}",
            bytes(head),
            bytes(sent)
        )?;
    }
    writeln!(out)
}

/// A rate with as many digits as mean something.
pub fn significant(rate: f64) -> String {
    if rate >= 100.0 {
        count(rate.round() as u64)
    } else {
        format!("{rate:.1}")
    }
}
