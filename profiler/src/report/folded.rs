//! Folded stacks: `container;process;frame;…;frame weight`, outermost first,
//! sorted.
//!
//! The weight is in the source's unit: nanoseconds for on-CPU time, not a
//! number of samples. It is what adds up: across recordings with another
//! rate, and with sources that measure time instead of sampling it. Tools that
//! read folded stacks show the same picture for both.
//!
//! The format has no place for anything else, so quality and cost are not in
//! it, and one comment says when there is nothing.

use std::io::{self, Write};

use crate::profile::Recording;

use super::{
    Selection, evidence,
    merged::{Merged, Step},
};

pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let merged = Merged::new(recording, selection.source);
    if merged.total() == 0 {
        return writeln!(out, "# {}", evidence::no_samples(recording, selection));
    }
    let mut line = String::new();
    let mut ends = Vec::new();
    merged.walk(
        |_| true,
        |step| {
            match step {
                Step::Enter(id) => {
                    ends.push(line.len());
                    if !line.is_empty() {
                        line.push(';');
                    }
                    line.push_str(merged.text(id));
                    let own = merged.nodes[id as usize].own;
                    if own > 0 {
                        writeln!(out, "{line} {own}")?;
                    }
                }
                Step::Leave => line.truncate(ends.pop().unwrap_or_default()),
            }
            Ok(())
        },
    )
}
