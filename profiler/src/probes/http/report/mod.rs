//! The result of a run, in each of its formats.

mod document;
mod markdown;
mod metrics;
mod model;
mod notes;
mod text;

use std::io::{self, Write};

pub use document::document;
pub use metrics::{file as metrics_file, metrics};
pub use model::{EndpointReport, LoadReport, Percentiles};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFormat {
    Text,
    Json,
    Markdown,
    /// One round, for `profiler compare`.
    Metrics,
}

/// # Errors
///
/// If it cannot be written.
pub fn write(report: &LoadReport, format: LoadFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        LoadFormat::Text => out.write_all(text::render(report).as_bytes()),
        LoadFormat::Markdown => out.write_all(markdown::render(report).as_bytes()),
        LoadFormat::Json => json(report, out),
        LoadFormat::Metrics => json(&metrics_file(report), out),
    }
}

fn json(document: &impl serde::Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests;
