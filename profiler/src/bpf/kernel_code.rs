//! What the kernel's own stacks are walked by, read from its memory.

use std::{io, ops::Range};

use aya::{
    maps::Map,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use profiler_ebpf::KERNEL_PIECE_BYTES;
use thiserror::Error;

use super::{
    kernel::{Kernel, KernelError, refused},
    tables::{SharedArray, TableError},
};
use crate::{
    kallsyms::{self, Line},
    unwind::orc::{ENTRY_BYTES, Numbering, Orc, PLACE_BYTES},
};

const PROGRAM: &str = "kernel_read";
/// More than any kernel has of either.
const MOST: u64 = 64 << 20;
const PIECE_MAP: &str = "KERNEL_PIECE";
/// It is mapped in these.
type Word = [u8; 8];
const PIECE_WORDS: usize = KERNEL_PIECE_BYTES / size_of::<Word>();

/// The linker script's symbols of the data (include/asm-generic/vmlinux.lds.h),
/// and of the code.
const HEADER: &str = "__start_orc_header";
const HEADER_END: &str = "__stop_orc_header";
const PLACES: &str = "__start_orc_unwind_ip";
const PLACES_END: &str = "__stop_orc_unwind_ip";
const ENTRIES: &str = "__start_orc_unwind";
const ENTRIES_END: &str = "__stop_orc_unwind";
const TEXT: &str = "_stext";
const TEXT_END: &str = "_etext";

/// Where functions return to that are traced at their end, by the function graph
/// tracer or by kretprobes (5.10 to 7.2).
const TRAMPOLINES: [&str; 4] = [
    "return_to_handler",
    "arch_rethook_trampoline",
    "__kretprobe_trampoline",
    "kretprobe_trampoline",
];

#[derive(Debug, Error)]
pub enum KernelCodeError {
    #[error("the kernel's ORC data is of another layout than that of the kernels from 6.5 to 7.2")]
    NoOrc,
    #[error("/proc/kallsyms cannot be read: {0}")]
    Symbols(#[from] io::Error),
    #[error("/proc/kallsyms has no address of {0}")]
    Symbol(&'static str),
    #[error("the kernel's memory at {0:#x} cannot be read")]
    Memory(u64),
    #[error(transparent)]
    Kernel(#[from] KernelError),
    #[error(transparent)]
    Map(#[from] TableError),
}

/// Addresses from `/proc/kallsyms`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Symbols {
    named: [Option<u64>; NAMES.len()],
    trampolines: Vec<u64>,
}

const NAMES: [&str; 8] = [
    HEADER,
    HEADER_END,
    PLACES,
    PLACES_END,
    ENTRIES,
    ENTRIES_END,
    TEXT,
    TEXT_END,
];

impl Symbols {
    fn of(text: &[u8]) -> Self {
        let mut symbols = Self::default();
        let lines = text.split(|&byte| byte == b'\n').filter_map(Line::parse);
        for Line { start, name, .. } in lines.filter(|line| line.start != 0) {
            let is = |wanted: &&str| wanted.as_bytes() == name;
            if let Some(index) = NAMES.iter().position(is) {
                symbols.named[index] = Some(start);
            } else if TRAMPOLINES.iter().any(is) {
                symbols.trampolines.push(start);
            }
        }
        symbols.trampolines.sort_unstable();
        symbols
    }

    fn address(&self, name: &'static str) -> Result<u64, KernelCodeError> {
        NAMES
            .iter()
            .position(|&wanted| wanted == name)
            .and_then(|index| self.named[index])
            .ok_or(KernelCodeError::Symbol(name))
    }

    fn range(&self, start: &'static str, end: &'static str) -> Result<Range<u64>, KernelCodeError> {
        Ok(self.address(start)?..self.address(end)?)
    }
}

impl Kernel {
    /// The data by which the kernel unwinds its own stacks.
    ///
    /// # Errors
    ///
    /// If it has none, or it cannot be read: then the kernel must be asked for each
    /// stack.
    pub fn unwind_data(&mut self) -> Result<Orc, KernelCodeError> {
        let symbols = Symbols::of(kallsyms::core()?);
        let header = symbols.range(HEADER, HEADER_END)?;
        let places = symbols.range(PLACES, PLACES_END)?;
        let entries = symbols.range(ENTRIES, ENTRIES_END)?;
        let text = symbols.range(TEXT, TEXT_END)?;
        let memory = Memory::of(self)?;
        let numbering = Numbering::of(&memory.read(header)?).ok_or(KernelCodeError::NoOrc)?;
        let orc = Orc {
            numbering,
            text,
            places_at: places.start,
            places: memory.read(places)?,
            entries: memory.read(entries)?,
            trampolines: symbols.trampolines,
        };
        if orc.places.len() / PLACE_BYTES != orc.entries.len() / ENTRY_BYTES {
            return Err(KernelCodeError::NoOrc);
        }
        Ok(orc)
    }
}

/// The kernel's memory, by a program that copies a piece of it.
struct Memory<'a> {
    program: &'a mut RawTracePoint,
    piece: SharedArray<Word>,
}

impl<'a> Memory<'a> {
    fn of(kernel: &'a mut Kernel) -> Result<Self, KernelCodeError> {
        let Some(Map::Array(map)) = kernel.ebpf.map(PIECE_MAP) else {
            return Err(KernelError::Incomplete(PIECE_MAP).into());
        };
        let piece = SharedArray::new(map.fd(), PIECE_WORDS).map_err(TableError::Map)?;
        let program: &mut RawTracePoint = kernel.program(PROGRAM)?;
        program.load().map_err(refused(PROGRAM))?;
        Ok(Self { program, piece })
    }

    /// What follows is read too, up to a whole piece: of what is read here, the
    /// kernel's image goes on behind.
    fn read(&self, range: Range<u64>) -> Result<Vec<u8>, KernelCodeError> {
        let size = range.end.saturating_sub(range.start);
        if size > MOST {
            return Err(KernelCodeError::Memory(range.start));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        while bytes.len() < size as usize {
            let from = range.start + bytes.len() as u64;
            let mut options = RawTracePointRunOptions::new();
            options.args[0] = from;
            let run = self.program.test_run(options).map_err(refused(PROGRAM))?;
            if run.return_value != 0 {
                return Err(KernelCodeError::Memory(from));
            }
            let wanted = (size as usize - bytes.len()).min(KERNEL_PIECE_BYTES);
            let piece = self.piece.read(PIECE_WORDS);
            bytes.extend_from_slice(&piece.as_flattened()[..wanted]);
        }
        Ok(bytes)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // The program is not needed any more. It fails when it was not loaded.
        let _ = self.program.unload();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_by_their_names() {
        let text = "0000000000001000 T _stext\n1800 T return_to_handler\nrubbish\n\
                    2000 T _etext\n";
        let symbols = Symbols::of(text.as_bytes());
        assert_eq!(symbols.range(TEXT, TEXT_END).unwrap(), 0x1000..0x2000);
        assert_eq!(symbols.trampolines, [0x1800]);
        assert!(symbols.address(PLACES).is_err());
    }

    #[test]
    fn hidden_addresses_are_none() {
        let symbols = Symbols::of(b"0000000000000000 T _stext\n");
        assert!(symbols.address(TEXT).is_err());
    }
}
