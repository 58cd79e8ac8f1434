//! Reports: one file a format, all from the same views.

mod disk;
pub mod document;
mod durations;
mod evidence;
mod findings;
mod flamegraph;
mod folded;
mod format;
mod gil;
pub mod html;
mod json;
mod markdown;
mod memory;
pub(crate) mod merged;
mod network;
mod pools;
mod pprof;
mod probes;
mod pstats;
mod python;
mod raw;
mod selection;
mod speedscope;
mod statements;
mod syscalls;
pub mod text;
mod waiting;

use std::{
    borrow::Cow,
    io::{self, BufWriter, Write},
};

use thiserror::Error;

use crate::profile::{Recording, Source, store, store::StoreError};

pub use evidence::{Line, cost_lines, notes, quality_lines, subtitle, title};
pub use format::{Format, UnknownFormat};
pub use json::FUNCTIONS_SHOWN;
pub use pools::peer_text;
pub use selection::{ProfileType, Selection};

#[derive(Debug, Error)]
pub enum ReportError {
    /// A reader that went away (`profiler | head`) is among these, as
    /// [`io::ErrorKind::BrokenPipe`].
    #[error("cannot write the report: {0}")]
    Write(#[from] io::Error),
    #[error("the recording is damaged: {0}")]
    Damaged(&'static str),
}

impl From<StoreError> for ReportError {
    fn from(error: StoreError) -> Self {
        Self::Write(match error {
            StoreError::Write(source) => source,
            other => io::Error::other(other),
        })
    }
}

/// Writes what `selection` asks for of `recording` as `format`. A saved
/// recording ([`Format::Profile`]) always holds everything.
pub fn write(
    recording: &Recording,
    format: Format,
    selection: Selection,
    out: &mut dyn Write,
) -> Result<(), ReportError> {
    check(recording)?;
    let recording = match format {
        Format::Profile => Cow::Borrowed(recording),
        _ => selection.apply(recording),
    };
    let recording = recording.as_ref();
    let mut out = BufWriter::with_capacity(1 << 16, out);
    match format {
        Format::Json => json::write(recording, selection, &mut out)?,
        Format::Html => html::write(recording, selection, &mut out)?,
        Format::Markdown => markdown::write(recording, selection, &mut out)?,
        Format::Flamegraph => flamegraph::write(recording, selection, &mut out)?,
        Format::Folded => folded::write(recording, selection, &mut out)?,
        Format::Raw => raw::write(recording, selection, &mut out)?,
        Format::Pprof => pprof::write(recording, selection, &mut out)?,
        Format::Pstats => pstats::write(recording, selection, &mut out)?,
        Format::Speedscope => speedscope::write(recording, selection, &mut out)?,
        Format::Profile => store::save(recording, &mut out)?,
    }
    out.flush()?;
    Ok(())
}

/// What the formats rely on: ids that point into the tables, and weights whose
/// sum every format can hold (pprof's numbers are signed).
fn check(recording: &Recording) -> Result<(), ReportError> {
    recording.check().map_err(ReportError::Damaged)?;
    for source in Source::ALL {
        let mut weight = 0_i64;
        let mut count = 0_i64;
        for sample in &recording.samples {
            if !source.shows(sample.source) {
                continue;
            }
            let add = |sum: i64, value: u64| sum.checked_add(i64::try_from(value).ok()?);
            weight = add(weight, sample.weight)
                .ok_or(ReportError::Damaged("its weights add up to too much"))?;
            count = add(count, sample.count)
                .ok_or(ReportError::Damaged("its counts add up to too much"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
