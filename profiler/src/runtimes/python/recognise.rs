//! Which executables hold CPython, and what kind of it.

use std::fs::File;

use iced_x86::{Decoder, DecoderOptions, Mnemonic, OpKind};
use profiler_ebpf::{CodeRange, PythonRuntime};
use thiserror::Error;

use super::layout::{self, CodeLayout, TextLayout, Version};
use super::{evaluator, thread_key};
use crate::elf::Elf;
use crate::elf::symbols::{Symbol, Symbols};

/// A build of CPython. All addresses are of the ELF file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interpreter {
    pub version: Version,
    pub runtime: PythonRuntime,
    /// `_PyEval_EvalFrameDefault`: frames of Python functions belong where
    /// these are on the stack. The second may be empty.
    pub evaluator: [CodeRange; 2],
    pub code: CodeLayout,
    pub text: TextLayout,
    /// Of `PyCode_Type`.
    pub code_type: Option<u64>,
    #[cfg(test)]
    pub(super) lists: layout::Lists,
}

/// Why the Python frames of processes that run it stay unknown.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum Unsupported {
    #[error("CPython of unknown version")]
    UnknownVersion,
    #[error("CPython {0}: this version is not supported")]
    Version(Version),
    #[error("CPython {0}: free-threaded builds are not supported")]
    FreeThreaded(Version),
    #[error("CPython {0}: builds with the tail-calling interpreter are not supported")]
    TailCalls(Version),
    #[error("CPython {0}: its evaluator cannot be found")]
    NoEvaluator(Version),
    #[error("CPython {0}: what it says of its own layout is not plausible")]
    Implausible(Version),
}

/// The smallest evaluator that is one function has 34 KiB (3.8). Where every
/// instruction of Python is a function of its own (`Py_TAIL_CALL_INTERP`,
/// 3.14), what is left of it is small.
const SMALLEST_EVALUATOR: u64 = 8 << 10;

/// `None` for a file that does not define `_PyRuntime`: that takes a few short
/// reads. `elf` may be of a sparse image, but with what unwind tables are made
/// from.
pub fn recognise(file: &File, elf: &Elf) -> Option<Result<Interpreter, Unsupported>> {
    let symbols = Symbols::new(file, elf);
    let runtime = symbols.exported("_PyRuntime").or_else(|| section(elf))?;
    Some(describe(&symbols, elf, runtime))
}

/// From 3.13 on it has a section of its own (`GENERATE_DEBUG_SECTION`,
/// Include/internal/pycore_runtime.h), even in a file without symbols.
fn section(elf: &Elf) -> Option<Symbol> {
    let section = elf.section(".PyRuntime")?;
    Some(Symbol {
        address: section.address,
        size: section.data.len() as u64,
    })
}

fn describe(symbols: &Symbols, elf: &Elf, runtime: Symbol) -> Result<Interpreter, Unsupported> {
    // Before 3.13 it is not initialised data, or other data.
    let offsets = symbols
        .contents()
        .at(runtime.address, layout::DEBUG_OFFSETS_BYTES)
        .unwrap_or_default();
    let header = layout::debug_header(&offsets);
    let version = match header {
        Some(header) => header.version,
        None => version(symbols).ok_or(Unsupported::UnknownVersion)?,
    };
    if header.is_some_and(|header| header.free_threaded) {
        return Err(Unsupported::FreeThreaded(version));
    }
    let layout = match (version.major, version.minor) {
        (3, 8..=12) => layout::by_version(version),
        (3, 13 | 14) => layout::by_debug_offsets(version, &offsets),
        _ => return Err(Unsupported::Version(version)),
    };
    let Some(layout) = layout else {
        return Err(Unsupported::Implausible(version));
    };
    let extent = CodeRange {
        start: runtime.address,
        end: runtime.address.saturating_add(runtime.size),
    };
    let key = thread_key::find(symbols, extent).unwrap_or(layout.runtime.key);
    let gil_end = match layout.runtime.gil_in_interpreter {
        0 => u64::from(layout.runtime.gil) + 24,
        _ => 0,
    };
    // Too small a structure is that of another version.
    if u64::from(key) + 4 > runtime.size || gil_end > runtime.size {
        return Err(Unsupported::Implausible(version));
    }
    let evaluator = evaluator::find(symbols, elf).ok_or(Unsupported::NoEvaluator(version))?;
    let size: u64 = evaluator.iter().map(|range| range.end - range.start).sum();
    if size < SMALLEST_EVALUATOR {
        return Err(Unsupported::TailCalls(version));
    }
    Ok(Interpreter {
        version,
        runtime: PythonRuntime {
            address: runtime.address,
            key,
            ..layout.runtime
        },
        evaluator,
        code: layout.code,
        text: layout.text,
        code_type: symbols.find("PyCode_Type").map(|symbol| symbol.address),
        #[cfg(test)]
        lists: layout.lists,
    })
}

/// `Py_Version` (3.11, Python/getversion.c), or what `Py_GetVersion` refers to.
fn version(symbols: &Symbols) -> Option<Version> {
    if let Some(symbol) = symbols.find("Py_Version") {
        let bytes = symbols.contents().at(symbol.address, 8)?;
        return Version::from_hex(u64::from_le_bytes(bytes.try_into().ok()?));
    }
    let function = symbols.find("Py_GetVersion")?;
    let size = function.size.clamp(64, 512);
    let code = symbols.contents().at(function.address, size)?;
    let mut decoder = Decoder::with_ip(64, &code, function.address, DecoderOptions::NONE);
    decoder.iter().find_map(|instruction| {
        let address = match instruction.mnemonic() {
            Mnemonic::Lea if instruction.is_ip_rel_memory_operand() => {
                instruction.ip_rel_memory_address()
            }
            Mnemonic::Mov | Mnemonic::Push => (0..instruction.op_count())
                .filter(|&index| {
                    matches!(
                        instruction.op_kind(index),
                        OpKind::Immediate32 | OpKind::Immediate32to64 | OpKind::Immediate64
                    )
                })
                .map(|index| instruction.immediate(index))
                .next()?,
            _ => return None,
        };
        Version::from_text(&symbols.contents().at(address, 24)?)
    })
}
