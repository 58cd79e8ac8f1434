//! What the walker must know of the running kernel's code, to walk its stacks.

use std::{io, ops::Range};

use aya::{
    maps::Array,
    programs::{RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use profiler_ebpf::{
    CodeRange,
    orc::{
        BLOCK_INDEX_BYTES, CODE_BLOCK_BITS, ENTRY_BYTES, HEADER_BYTES, KernelCode, Numbering,
        PLACE_BYTES,
    },
};
use thiserror::Error;

use super::{
    Shared,
    kernel::{Kernel, KernelError, refused, take},
};
use crate::kallsyms;

const PROGRAM: &str = "kernel_word";
const MAP: &str = "KERNEL_CODE";

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
/// tracer or by kretprobes (6.5 to 7.2).
const TRAMPOLINES: [&str; 3] = [
    "return_to_handler",
    "arch_rethook_trampoline",
    "__kretprobe_trampoline",
];

#[derive(Debug, Error)]
pub enum KernelCodeError {
    #[error("the kernel's ORC data is of another layout than that of the kernels from 6.5 to 7.2")]
    Layout,
    #[error("/proc/kallsyms cannot be read: {0}")]
    Symbols(#[from] io::Error),
    #[error("/proc/kallsyms has no address of {0}")]
    Symbol(&'static str),
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl Kernel {
    /// Has kernel stacks walked by our own walker from now on, with the data that the
    /// kernel itself unwinds them by.
    ///
    /// # Errors
    ///
    /// If there is none of a layout that we know, `/proc/kallsyms` does not tell where it
    /// is, or the kernel refuses the program that reads it. The kernel is asked for each
    /// stack then, as before.
    pub fn walk_kernel_stacks(&mut self) -> Result<(), KernelCodeError> {
        let mut data = UnwindData::find(kallsyms::core()?)?;
        data.read(&Memory::of(self)?)?;
        let map = take(&mut self.ebpf, MAP)?;
        let mut map: Array<_, Shared<KernelCode>> =
            Array::try_from(map).map_err(KernelError::Map)?;
        map.set(0, Shared(data.code), 0).map_err(KernelError::Map)?;
        Ok(())
    }
}

/// Where the data is, and of which layout.
#[derive(Debug)]
struct UnwindData {
    code: KernelCode,
    header: Range<u64>,
    /// Entries.
    count: u64,
}

impl UnwindData {
    fn find(symbols: &[u8]) -> Result<Self, KernelCodeError> {
        let address = |name| kallsyms::address(symbols, name).ok_or(KernelCodeError::Symbol(name));
        let text = CodeRange {
            start: address(TEXT)?,
            end: address(TEXT_END)?,
        };
        let header = address(HEADER)?..address(HEADER_END)?;
        let places = address(PLACES)?..address(PLACES_END)?;
        let entries = address(ENTRIES)?..address(ENTRIES_END)?;
        let size = |range: &Range<u64>| range.end.saturating_sub(range.start);
        let count = size(&places) / PLACE_BYTES;
        if size(&header) != HEADER_BYTES as u64
            || size(&entries) != count * ENTRY_BYTES as u64
            || text.start >= text.end
        {
            return Err(KernelCodeError::Layout);
        }
        let trampoline = |name| kallsyms::address(symbols, name).unwrap_or(0);
        let code = KernelCode {
            text,
            places: places.start,
            entries: entries.start,
            // The script puts them behind the entries, and not every kernel lists
            // their symbol.
            blocks: entries.end.next_multiple_of(BLOCK_INDEX_BYTES),
            trampolines: TRAMPOLINES.map(trampoline),
            walked: 1,
            ..KernelCode::default()
        };
        Ok(Self {
            code,
            header,
            count,
        })
    }

    fn read(&mut self, memory: &Memory<'_>) -> Result<(), KernelCodeError> {
        let mut digest = [0; HEADER_BYTES];
        for (bytes, at) in digest
            .chunks_exact_mut(4)
            .zip(self.header.clone().step_by(4))
        {
            bytes.copy_from_slice(&memory.word(at)?.to_ne_bytes());
        }
        self.code.numbering = Numbering::of(&digest).ok_or(KernelCodeError::Layout)?;
        let CodeRange { start, end } = self.code.text;
        let last = (end - 1 - start) >> CODE_BLOCK_BITS;
        let mut before = 0;
        // What is found by them is checked each time, by the walker.
        for block in [0, last / 2, last, last + 1] {
            let index = memory.word(self.code.blocks + block * BLOCK_INDEX_BYTES)?;
            if index < before || u64::from(index) >= self.count {
                return Err(KernelCodeError::Layout);
            }
            before = index;
        }
        // Nothing could be read.
        if before == 0 {
            return Err(KernelCodeError::Layout);
        }
        Ok(())
    }
}

/// The kernel's memory, by a program that is attached nowhere.
struct Memory<'a>(&'a mut RawTracePoint);

impl<'a> Memory<'a> {
    fn of(kernel: &'a mut Kernel) -> Result<Self, KernelCodeError> {
        let program: &mut RawTracePoint = kernel.program(PROGRAM)?;
        program.load().map_err(refused(PROGRAM))?;
        Ok(Self(program))
    }

    /// What is at `address`, 0 if that cannot be read.
    fn word(&self, address: u64) -> Result<u32, KernelCodeError> {
        let mut options = RawTracePointRunOptions::new();
        options.args[0] = address;
        let run = self.0.test_run(options).map_err(refused(PROGRAM))?;
        Ok(run.return_value)
    }
}

impl Drop for Memory<'_> {
    fn drop(&mut self) {
        // Nothing runs it any more; otherwise it goes with the rest.
        let _ = self.0.unload();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SYMBOLS: &str = "ffffffff81000000 T _stext\nffffffff81000800 T return_to_handler\n\
        ffffffff81002000 T _etext\nffffffff82000000 R __start_orc_header\n\
        ffffffff82000014 R __stop_orc_header\nffffffff82000014 R __start_orc_unwind_ip\n\
        ffffffff82000020 R __stop_orc_unwind_ip\nffffffff82000020 R __start_orc_unwind\n\
        ffffffff82000032 R __stop_orc_unwind\n";

    #[test]
    fn where_it_is() {
        let data = UnwindData::find(SYMBOLS.as_bytes()).unwrap();
        assert_eq!(data.count, 3);
        assert_eq!(data.code.blocks, 0xffff_ffff_8200_0034);
        assert_eq!(data.code.trampolines, [0xffff_ffff_8100_0800, 0, 0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for (part, other) in [
            ("81002000 T _etext", "81000000 T _etext"),
            ("82000032 R __stop", "82000030 R __stop"),
            ("82000014 R __stop", "82000010 R __stop"),
        ] {
            let symbols = SYMBOLS.replace(part, other);
            let error = UnwindData::find(symbols.as_bytes()).unwrap_err();
            assert!(matches!(error, KernelCodeError::Layout), "{other}");
        }
        let hidden = SYMBOLS
            .lines()
            .map(|line| format!("{:016x}{}\n", 0, &line[16..]));
        let error = UnwindData::find(hidden.collect::<String>().as_bytes()).unwrap_err();
        assert!(matches!(error, KernelCodeError::Symbol(TEXT)), "{error}");
    }
}
