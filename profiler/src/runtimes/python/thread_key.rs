//! The key of the thread state: where it is in `_PyRuntime`.
//!
//! `PyGILState_GetThisThreadState` (Python/pystate.c) asks for the value of
//! `autoTSSkey`. Which patch releases and builds moved it matters not if the
//! code says where it is.

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use profiler_ebpf::CodeRange;

use super::layout::KEY_IN_TSS;
use super::registers::{Base, Registers, Value};
use crate::elf::symbols::Symbols;

const MAX_BYTES: u64 = 128;
const MAX_INSTRUCTIONS: usize = 24;

/// Offset of the `pthread_key_t` in `_PyRuntime`, which takes up `runtime`.
/// `None` when the code is not understood.
pub(super) fn find(symbols: &Symbols, runtime: CodeRange) -> Option<u32> {
    let function = symbols.find("PyGILState_GetThisThreadState")?;
    let code = symbols.contents().at(function.address, MAX_BYTES)?;
    from_code(&code, function.address, runtime)
}

fn from_code(code: &[u8], address: u64, runtime: CodeRange) -> Option<u32> {
    let mut registers = Registers::new();
    let mut decoder = Decoder::with_ip(64, code, address, DecoderOptions::NONE);
    for instruction in decoder.iter().take(MAX_INSTRUCTIONS) {
        match instruction.mnemonic() {
            // `PyThread_tss_is_created` or `PyThread_tss_get`, or, in line,
            // `pthread_getspecific`.
            Mnemonic::Call | Mnemonic::Jmp => {
                return key(registers.argument()?, &registers, runtime);
            }
            Mnemonic::INVALID | Mnemonic::Ret | Mnemonic::Int3 => return None,
            _ => registers.step(&instruction),
        }
    }
    None
}

/// By what a function gets: the address of a `Py_tss_t`, or the key.
fn key(argument: Value, registers: &Registers, runtime: CodeRange) -> Option<u32> {
    let size = runtime.end.checked_sub(runtime.start)?;
    let offset = match argument.base {
        Base::Loaded(index) => {
            let load = registers.loads.get(index)?;
            if load.size == 4 {
                (argument.add == 0).then_some(())?;
                in_runtime(load.address, registers, runtime)?
            } else {
                in_runtime(argument, registers, runtime)?.checked_add(KEY_IN_TSS.into())?
            }
        }
        _ => in_runtime(argument, registers, runtime)?.checked_add(KEY_IN_TSS.into())?,
    };
    (offset % 4 == 0 && offset.checked_add(4)? <= size).then(|| u32::try_from(offset).ok())?
}

/// Offset in `_PyRuntime` of an address that is either known or counts from a
/// pointer of the global offset table: functions of this kind use no other.
fn in_runtime(address: Value, registers: &Registers, runtime: CodeRange) -> Option<u64> {
    if address.scale != 0 {
        return None;
    }
    match address.base {
        Base::Zero => (address.add as u64).checked_sub(runtime.start),
        Base::Loaded(index) => {
            let table = registers.loads.get(index)?;
            let constant = table.address.base == Base::Zero && table.address.scale == 0;
            let own = runtime.contains(table.address.add as u64);
            (constant && !own && table.size == 8).then(|| u64::try_from(address.add).ok())?
        }
        Base::ThreadPointer => None,
    }
    // The first member is no key.
    .filter(|&offset| offset > 0)
}
