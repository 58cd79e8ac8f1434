//! What the unwind information tells of functions: where the parts are that
//! compilers cut them into.

use super::expression::Value;
use super::frames::{Flavour, Frames};
use super::interpreter::Program;
use crate::elf::reader::{Bases, Reader};
use crate::elf::{Elf, Section};
use profiler_ebpf::{CodeRange, register};

/// A stretch of code with an entry of its own in `.eh_frame`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    pub range: CodeRange,
    /// At its start the stack is as after a call. If not, it is a part that
    /// another one jumps to.
    pub entered_by_call: bool,
}

/// The parts of one file.
pub struct Parts<'a> {
    frames: Frames<'a>,
}

impl<'a> Parts<'a> {
    /// `eh_frame` is what [`Elf::eh_frame`] gives.
    pub fn read(elf: &Elf, eh_frame: &'a Section<'a>) -> Self {
        let bases = Bases {
            section: eh_frame.address,
            text: elf.section(".text").map_or(0, |section| section.address),
            data: 0,
        };
        let mut frames = Frames::read(&eh_frame.data, bases, Flavour::EhFrame, eh_frame.open_ended);
        frames.fdes.sort_by_key(|fde| fde.start);
        Self { frames }
    }

    /// The part that `address` lies in.
    pub fn find(&self, address: u64) -> Option<Part> {
        let fdes = &self.frames.fdes;
        let index = fdes
            .partition_point(|fde| fde.start <= address)
            .checked_sub(1)?;
        let fde = fdes.get(index).filter(|fde| address < fde.end)?;
        let cie = self.frames.cies.get(fde.cie as usize)?;
        let initial = cie.initial.as_ref()?;
        let program = Program {
            cie,
            bases: &self.frames.bases,
            reader: Reader::at(self.frames.data, fde.first as usize).until(fde.last as usize)?,
        };
        let mut first = None;
        let (_, last) = program.run(
            *initial,
            Some(initial),
            fde.start,
            &mut Vec::new(),
            |start, _, state| {
                if start == fde.start {
                    first.get_or_insert(*state);
                }
            },
        );
        let state = first.or(last)?;
        Some(Part {
            range: CodeRange {
                start: fde.start,
                end: fde.end,
            },
            entered_by_call: state.cfa
                == Some(Value::Address {
                    register: register::RSP,
                    offset: 8,
                }),
        })
    }
}
