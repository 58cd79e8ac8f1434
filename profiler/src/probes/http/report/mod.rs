//! The result of a run, in each of its formats.

mod markdown;
mod model;
mod notes;
mod text;

use std::io::{self, Write};

pub use model::{EndpointReport, LoadReport, Percentiles};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadFormat {
    Text,
    Json,
    Markdown,
}

/// # Errors
///
/// If it cannot be written.
pub fn write(report: &LoadReport, format: LoadFormat, out: &mut dyn Write) -> io::Result<()> {
    match format {
        LoadFormat::Text => out.write_all(text::render(report).as_bytes()),
        LoadFormat::Markdown => out.write_all(markdown::render(report).as_bytes()),
        LoadFormat::Json => {
            serde_json::to_writer_pretty(&mut *out, report)?;
            out.write_all(b"\n")
        }
    }
}

#[cfg(test)]
mod tests;
