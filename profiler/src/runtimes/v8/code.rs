//! Code objects: found by an address in their instructions.
//!
//! Not by the function that the frame names: its code may be another by now
//! (a higher tier, replaced in the middle of a loop, thrown away while it
//! runs), and from V8 13 on the function has only a number for it. The memory
//! in front of an address leads to the code that really runs.

use super::{
    heap::{Heap, ObjectError, pointer, small},
    layout::CodeStart,
    positions::Position,
};
use crate::runtimes::Memory;

/// Largest function that is looked for: V8 gives up on optimising long before
/// (`max_optimized_bytecode_size` is 60 KB of bytecode).
const MAX_CODE: u64 = 4 << 20;
/// Bytes that are read at once when looking for the start.
const PIECE: u64 = 4096;

/// `CodeKind` of src/objects/code-kind.h, of which the metadata has the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    Interpreted,
    Baseline,
    Maglev,
    TurboFan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Code {
    pub object: u64,
    pub start: u64,
    pub size: u64,
    pub flags: u32,
}

impl Code {
    pub fn contains(&self, address: u64) -> bool {
        address
            .checked_sub(self.start)
            .is_some_and(|offset| offset < self.size)
    }
}

/// A function that was built into another: `InliningPosition` of
/// src/codegen/source-position.h, 16 bytes.
#[derive(Clone, Copy, Debug)]
pub struct Inlining {
    /// Where it was called.
    pub position: Position,
    /// Its index in the literals; `None`: the outer function itself.
    pub function: Option<usize>,
}

/// What optimised code says of itself.
#[derive(Debug)]
pub struct Optimised {
    pub shared: u64,
    pub positions: Vec<u8>,
    pub inlined: Vec<u64>,
    pub inlinings: Vec<Inlining>,
}

impl<M: Memory> Heap<'_, M> {
    /// The code whose instructions an address is in. `map` is that of what is
    /// in front of instructions, once it is known.
    pub fn code_at(&self, address: u64, map: &mut Option<u64>) -> Result<Code, ObjectError> {
        let layout = self.layout;
        let header = match layout.code_start {
            CodeStart::Inline(header) | CodeStart::Stream { header, .. } => header,
        };
        let alignment = layout.code_alignment;
        // Instructions start at multiples of the alignment.
        let mut candidate = address & !(alignment - 1);
        let lowest = candidate.saturating_sub(MAX_CODE);
        let mut piece = vec![0; PIECE as usize];
        let mut piece_start = u64::MAX;
        while candidate > lowest && candidate > header {
            let object = candidate - header;
            let page = object & !(PIECE - 1);
            if page != piece_start {
                self.memory.read(page, &mut piece)?;
                piece_start = page;
            }
            let inside = (object - page) as usize;
            let word = piece
                .get(inside..)
                .and_then(|rest| rest.first_chunk())
                .map_or(0, |bytes| u64::from_le_bytes(*bytes));
            let plausible = match *map {
                Some(map) => word == map,
                None => {
                    pointer(word, "a map").is_ok() && self.type_of(object) == Ok(layout.stream_type)
                }
            };
            if plausible && let Ok(code) = self.code_from(object, candidate) {
                *map = Some(word);
                return if code.contains(address) {
                    Ok(code)
                } else {
                    Err(ObjectError::NoCode(address))
                };
            }
            candidate -= alignment;
        }
        Err(ObjectError::NoCode(address))
    }

    /// The code whose instructions begin at `start`, behind `stream`.
    fn code_from(&self, stream: u64, start: u64) -> Result<Code, ObjectError> {
        let layout = self.layout;
        let object = match layout.code_start {
            CodeStart::Inline(_) => {
                self.check(stream, &[layout.code_type], "code")?;
                stream
            }
            CodeStart::Stream { field, .. } => {
                self.check(stream, &[layout.stream_type], "instructions")?;
                let object = self.object(self.word(stream, 8)?, &[layout.code_type], "code")?;
                if self.word(object, field)? != start {
                    return Err(ObjectError::Damaged("code"));
                }
                object
            }
        };
        Ok(Code {
            object,
            start,
            size: u64::from(self.u32(object, layout.code_size)?),
            flags: self.u32(object, layout.code_flags)?,
        })
    }

    /// That the code has not been moved or freed since.
    pub fn check_code(&self, code: &Code) -> Result<(), ObjectError> {
        let header = match self.layout.code_start {
            CodeStart::Inline(header) | CodeStart::Stream { header, .. } => header,
        };
        if self.code_from(code.start - header, code.start)? == *code {
            Ok(())
        } else {
            Err(ObjectError::Replaced)
        }
    }

    /// `None` for code that is no JavaScript function's.
    pub fn tier(&self, code: &Code) -> Option<Tier> {
        // Behind the baseline's come Maglev's and TurboFan's in all versions.
        let kind = code.flags & self.layout.code_kind_mask;
        match kind.checked_sub(self.layout.code_kind_baseline)? {
            0 => Some(Tier::Baseline),
            1 => Some(Tier::Maglev),
            2 => Some(Tier::TurboFan),
            _ => None,
        }
    }

    /// Code of a regular expression: up to 10 its frame has no type.
    pub fn is_regexp(&self, code: &Code) -> bool {
        code.flags & self.layout.code_kind_mask == self.layout.code_kind_regexp
    }

    /// The tagged word of the table from code to source positions; of
    /// baseline code, to bytecode.
    pub fn code_positions(&self, code: &Code) -> Result<Vec<u8>, ObjectError> {
        self.bytes(self.word(code.object, self.layout.code_positions)?)
    }

    pub fn optimised(&self, code: &Code) -> Result<Optimised, ObjectError> {
        const DATA: &str = "deoptimisation data";
        let layout = self.layout;
        let data = self.words(self.word(code.object, layout.code_deoptimization)?)?;
        let element = |index: u64| {
            data.get(index as usize)
                .copied()
                .ok_or(ObjectError::Damaged(DATA))
        };
        let shared = pointer(element(layout.deoptimization_shared)?, "a function")?;
        let kind = self.type_of(shared)?;
        let shared = if Some(kind) == layout.wrapper_type {
            pointer(self.word(shared, layout.wrapper_shared)?, "a function")?
        } else {
            shared
        };
        self.check(shared, &[layout.shared_type], "a function")?;
        let count = small(element(layout.deoptimization_inlined_count)?)
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(ObjectError::Damaged(DATA))?;
        let mut optimised = Optimised {
            shared,
            positions: self.code_positions(code)?,
            inlined: Vec::new(),
            inlinings: Vec::new(),
        };
        if count > 0 {
            let mut literals = self.words(element(layout.deoptimization_literals)?)?;
            literals.truncate(count);
            optimised.inlined = literals;
            let bytes = self.bytes(element(layout.deoptimization_inlining)?)?;
            optimised.inlinings = bytes.as_chunks::<16>().0.iter().map(inlining).collect();
        }
        Ok(optimised)
    }
}

fn inlining(bytes: &[u8; 16]) -> Inlining {
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *bytes;
    // -1, `kNotInlinedIndex`: the outer function, which calls itself.
    let function = i32::from_le_bytes([i, j, k, l]);
    Inlining {
        position: Position::from_raw(u64::from_le_bytes([a, b, c, d, e, f, g, h])),
        function: usize::try_from(function).ok(),
    }
}
