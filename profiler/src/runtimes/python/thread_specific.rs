//! Where a C library keeps the values of thread-specific keys, from the code
//! of its `pthread_getspecific`.

use std::fs::File;

use iced_x86::{Decoder, DecoderOptions, Mnemonic};
use profiler_ebpf::ThreadSpecific;

use super::registers::{Base, Load, Registers};
use crate::elf::Elf;
use crate::elf::symbols::Symbols;

/// The way of small keys takes a dozen instructions.
const MAX_BYTES: u64 = 256;
const MAX_INSTRUCTIONS: usize = 32;

/// `None` for a file that is no C library, or one whose code is not
/// understood. A file that is none costs a few short reads. `elf` may be of a
/// sparse image with the headers alone.
///
/// Up to glibc 2.33 the function is in libpthread.so.0.
pub fn find_thread_specific(file: &File, elf: &Elf) -> Option<ThreadSpecific> {
    let symbols = Symbols::new(file, elf);
    let function = symbols.exported("pthread_getspecific")?;
    let code = symbols.contents().at(function.address, MAX_BYTES)?;
    from_code(&code, function.address)
}

fn from_code(code: &[u8], address: u64) -> Option<ThreadSpecific> {
    let mut registers = Registers::new();
    for instruction in &mut Decoder::with_ip(64, code, address, DecoderOptions::NONE)
        .iter()
        .take(MAX_INSTRUCTIONS)
    {
        if matches!(
            instruction.mnemonic(),
            Mnemonic::INVALID | Mnemonic::Ret | Mnemonic::Jmp | Mnemonic::Int3
        ) {
            return None;
        }
        let before = registers.loads.len();
        registers.step(&instruction);
        let new = registers.loads.get(before..)?;
        if let Some(found) = new
            .iter()
            .find_map(|load| value_of_key(load, &registers.loads))
        {
            return Some(found);
        }
    }
    None
}

/// What a read of memory says, if it is that of a key's value.
fn value_of_key(load: &Load, loads: &[Load]) -> Option<ThreadSpecific> {
    let stride = u8::try_from(load.address.scale).ok()?;
    if load.size != 8 {
        return None;
    }
    let (offset, indirect) = match load.address.base {
        // glibc: `struct pthread_key_data`, nptl/descr.h: a sequence number,
        // which may be read first, and then the value.
        Base::ThreadPointer if stride == 16 && load.address.add % 16 == 8 => (load.address.add, 0),
        // musl: `void **tsd`, src/internal/pthread_impl.h.
        Base::Loaded(index) if stride == 8 && load.address.add == 0 => {
            let pointer = loads.get(index)?.address;
            if pointer.base != Base::ThreadPointer || pointer.scale != 0 {
                return None;
            }
            (pointer.add, 1)
        }
        _ => return None,
    };
    Some(ThreadSpecific {
        // 0 stands for "not known".
        offset: u16::try_from(offset).ok().filter(|&offset| offset > 0)?,
        stride,
        indirect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const GLIBC: ThreadSpecific = ThreadSpecific {
        offset: 0x318,
        stride: 16,
        indirect: 0,
    };
    const MUSL: ThreadSpecific = ThreadSpecific {
        offset: 0x80,
        stride: 8,
        indirect: 1,
    };

    /// What compilers made of it, so that no library needs to be there.
    #[test]
    fn known_code_is_understood() {
        // Debian 12, glibc 2.36.
        let glibc = [
            0x83, 0xff, 0x1f, 0x77, 0x3b, 0x89, 0xf8, 0x48, 0x83, 0xc0, 0x31, 0x48, 0xc1, 0xe0,
            0x04, 0x64, 0x48, 0x03, 0x04, 0x25, 0x10, 0, 0, 0, 0x48, 0x8b, 0x50, 0x08,
        ];
        assert_eq!(from_code(&glibc, 0x8ab00), Some(GLIBC));
        // Debian 12, musl 1.2.3.
        let musl = [
            0x64, 0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0x48, 0x8b, 0x80, 0x80, 0, 0, 0, 0x89, 0xff,
            0x48, 0x8b, 0x04, 0xf8, 0xc3,
        ];
        assert_eq!(from_code(&musl, 0x6a690), Some(MUSL));
        for length in 0..glibc.len() {
            assert_eq!(from_code(&glibc[..length], 0), None);
        }
    }

    #[test]
    fn libraries_here_are_understood() {
        let mut seen = 0;
        for (path, expected) in [
            ("/lib/x86_64-linux-gnu/libc.so.6", GLIBC),
            ("/usr/lib64/libc.so.6", GLIBC),
            ("/lib/ld-musl-x86_64.so.1", MUSL),
        ]
        .map(|(path, expected)| (Path::new(path), expected))
        {
            let (Ok(file), Ok(bytes)) = (File::open(path), std::fs::read(path)) else {
                continue;
            };
            let elf = Elf::parse(&bytes).expect("an ELF file");
            assert_eq!(
                find_thread_specific(&file, &elf),
                Some(expected),
                "{path:?}"
            );
            seen += 1;
        }
        assert!(seen > 0, "no C library at any known place");
        let own = File::open("/proc/self/exe").expect("own executable");
        let bytes = std::fs::read("/proc/self/exe").expect("own executable");
        let elf = Elf::parse(&bytes).expect("an ELF file");
        assert_eq!(find_thread_specific(&own, &elf), None);
    }
}
