//! Which writer makes which format.

use std::io::Write;

use super::Format;
use crate::profile::{Recording, store};

pub fn render(recording: &Recording, format: Format, to: &mut dyn Write) -> anyhow::Result<()> {
    match format {
        Format::Recording => Ok(store::save(recording, to)?),
        // A stand-in: the writers come with the report rooms.
        Format::Json
        | Format::Html
        | Format::Markdown
        | Format::Flamegraph
        | Format::Folded
        | Format::Pprof
        | Format::Speedscope => {
            anyhow::bail!("the format {} is not in this build", format.name())
        }
    }
}
