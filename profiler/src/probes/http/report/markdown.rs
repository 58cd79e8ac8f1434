//! The result for a page of text.

use std::fmt::Write as _;

use super::{
    LoadReport,
    text::{COLUMNS, cells, load_line, rows, significant},
};
use crate::report::text::{bytes, clean, count, duration};

pub fn render(report: &LoadReport) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = summary(report, &mut out);
    for endpoint in &report.endpoints {
        let _ = details(endpoint, &mut out);
    }
    if !report.skipped.is_empty() {
        let _ = writeln!(out, "\n| Not asked | Reason |\n|:--|:--|");
        for skipped in &report.skipped {
            let _ = writeln!(
                out,
                "| {} | {} |",
                code(&skipped.endpoint),
                plain(&skipped.reason)
            );
        }
    }
    out
}

fn summary(report: &LoadReport, out: &mut String) -> std::fmt::Result {
    let target = &report.target;
    let tls = if target.tls { " over TLS" } else { "" };
    writeln!(out, "# Load on {}\n", code(&target.url))?;
    writeln!(
        out,
        "{}, {}{tls}; {}.",
        target.address,
        target.protocol,
        load_line(report)
    )?;
    if report.interrupted {
        writeln!(out, "\nEnded early, by a signal.")?;
    }
    writeln!(
        out,
        "\n| Endpoint | Requests/s | Complete | Failed | p50 | p90 | p95 | p99 | p99.9 | max | Status |"
    )?;
    writeln!(out, "|:--|--:|--:|--:|--:|--:|--:|--:|--:|--:|:--|")?;
    for endpoint in &report.endpoints {
        let statuses: Vec<String> = endpoint
            .statuses
            .iter()
            .map(|(status, number)| format!("{status}: {}", count(*number)))
            .collect();
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            code(&endpoint.name),
            endpoint
                .throughput_per_second
                .map_or_else(|| "–".to_owned(), significant),
            count(endpoint.requests.complete),
            count(endpoint.requests.failed),
            cells(&endpoint.latency.all).join(" | "),
            statuses.join(", ")
        )?;
    }
    Ok(())
}

fn details(endpoint: &super::EndpointReport, out: &mut String) -> std::fmt::Result {
    writeln!(out, "\n## {}\n", code(&endpoint.name))?;
    if endpoint.request != endpoint.name {
        writeln!(out, "Sent as {}.\n", code(&endpoint.request))?;
    }
    let rows = rows(endpoint);
    if !rows.is_empty() {
        writeln!(out, "| | {} |", COLUMNS.join(" | "))?;
        writeln!(out, "|:--|{}", "--:|".repeat(COLUMNS.len()))?;
        for (title, row) in rows {
            writeln!(out, "| {title} | {} |", cells(row).join(" | "))?;
        }
        writeln!(out)?;
    }
    for failures in &endpoint.failures {
        writeln!(
            out,
            "- {}: {}, first: {}",
            failures.kind.title(),
            count(failures.count),
            plain(&failures.message)
        )?;
    }
    if let Some(body) = endpoint.bytes.body_mean {
        writeln!(
            out,
            "- Body {} on average, {} at most; client {} of CPU time a request",
            bytes(body),
            bytes(endpoint.bytes.body_max),
            endpoint
                .client
                .cpu_ns_per_request
                .map_or_else(|| "–".to_owned(), duration)
        )?;
    }
    for note in &endpoint.notes {
        writeln!(out, "- {}", plain(note))?;
    }
    Ok(())
}

/// Text of others in a table's cell.
fn plain(text: &str) -> String {
    let mut out = String::new();
    for character in clean(text).chars() {
        if "\\`*_[]<>|#".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out
}

fn code(text: &str) -> String {
    format!("`{}`", clean(text).replace('`', "'").replace('|', "\\|"))
}
