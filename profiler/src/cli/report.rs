//! Rendering a saved recording.

use super::{
    args::{Messages, ReportArgs},
    exit, format,
};
use crate::{output::Target, profile::store};

pub fn run(arguments: &ReportArgs, _: &Messages) -> anyhow::Result<u8> {
    let target = Target::new(arguments.output.as_deref());
    let format = format::choose(arguments.format, &target);
    target.check(format::binary(format))?;
    let recording = store::load(&arguments.recording)?;
    let selection = arguments.selection.selection();
    target.write(&|to| Ok(crate::report::write(&recording, format, selection, to)?))?;
    Ok(exit::DONE)
}
