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

#[cfg(test)]
mod tests {
    use super::*;

    const RUNTIME: CodeRange = CodeRange {
        start: 0xb9_47c0,
        end: 0xb9_47c0 + 0x4_d4c8,
    };

    /// What compilers made of it.
    #[test]
    fn known_code_is_understood() {
        // Debian 14, 3.14.8: the address is a constant.
        let constant = [
            0xf3, 0x0f, 0x1e, 0xfa, 0x83, 0x3d, 0x59, 0x90, 0x76, 0, 0, 0x74, 0x0a, 0xbf, 0xe0,
            0x50, 0xb9, 0, 0xe9, 0xed, 0x1b, 0x11, 0,
        ];
        assert_eq!(from_code(&constant, 0x42_c07c, RUNTIME), Some(2340));
        // 3.12.1: through the global offset table, and kept over a call.
        let table = [
            0x48, 0x8b, 0x05, 0xc9, 0xc0, 0x26, 0, 0x53, 0x48, 0x8d, 0x98, 0x08, 0x06, 0, 0, 0x48,
            0x89, 0xdf, 0xe8, 0xd9, 0x21, 0xe3, 0xff,
        ];
        let runtime = CodeRange {
            start: 0x64_3340,
            end: 0x64_3340 + 0x7_04a8,
        };
        assert_eq!(from_code(&table, 0x2d_7c30, runtime), Some(1548));
        // Debian 12, 3.11.2: the key itself, for pthread_getspecific.
        let key = [
            0x48, 0x83, 0x3d, 0x50, 0x3d, 0x56, 0, 0, 0x0f, 0x84, 0x1f, 0xc8, 0xf2, 0xff, 0x8b,
            0x3d, 0x50, 0x3d, 0x56, 0, 0xe9, 0xa7, 0x8a, 0xf2, 0xff,
        ];
        let runtime = CodeRange {
            start: 0xa5_b740,
            end: 0xa5_b740 + 0x2_8b20,
        };
        assert_eq!(from_code(&key, 0x4f_7c30, runtime), Some(596));
        for length in 0..20 {
            assert_eq!(from_code(&key[..length], 0x4f_7c30, runtime), None);
        }
    }

    #[test]
    fn arbitrary_code_is_harmless() {
        let mut seed = 1_u64;
        for _ in 0..20_000 {
            let mut code = [0; 64];
            for byte in &mut code {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            // Mostly what is followed: moves and additions of 64 bits.
            if seed & 8 == 0 {
                for start in code.chunks_mut(7) {
                    start[0] = 0x48;
                    if let Some(second) = start.get_mut(1) {
                        *second =
                            [0x8b, 0x8d, 0x03, 0x89, 0xc1, 0x2b, 0x81][usize::from(*second) % 7];
                    }
                }
            }
            if let Some(key) = from_code(&code, seed, RUNTIME) {
                assert!(u64::from(key) + 4 <= RUNTIME.end - RUNTIME.start);
            }
            let _ = super::super::thread_specific::from_code(&code, seed);
        }
    }
}
