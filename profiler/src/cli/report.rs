//! Rendering a saved recording.

use super::{
    args::{Messages, ReportArgs},
    compare::Gate,
    format,
    record::judge,
};
use crate::{output::Target, profile::store};

pub fn run(arguments: &ReportArgs, messages: &Messages) -> anyhow::Result<u8> {
    let target = Target::new(arguments.output.as_deref());
    let format = format::choose(arguments.format, &target);
    target.check(format::binary(format))?;
    let gate = Gate::read(
        &arguments.baseline,
        &arguments.targets,
        &arguments.rules,
        arguments.selection.source,
    )?;
    let recording = store::load(&arguments.recording)?;
    let selection = arguments.selection.selection();
    target.write(&|to| Ok(crate::report::write(&recording, format, selection, to)?))?;
    judge(gate.as_ref(), &recording, messages)
}
