//! Rendering a saved recording.

use super::{
    Format,
    args::{Messages, ReportArgs},
    exit, render,
};
use crate::{output::Target, profile::store};

pub fn run(arguments: &ReportArgs, _: &Messages) -> anyhow::Result<u8> {
    let target = Target::new(arguments.output.as_deref());
    let format = Format::choose(arguments.format, &target);
    target.check(format.binary())?;
    let recording = store::load(&arguments.recording)?;
    target.write(&|to| render::render(&recording, format, to))?;
    Ok(exit::DONE)
}
