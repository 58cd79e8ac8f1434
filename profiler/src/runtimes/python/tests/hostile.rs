//! Processes that want to hurt whoever reads them.

use std::cell::Cell;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use profiler_ebpf::{PythonRuntime, python_checksum};

use super::*;
use crate::runtimes::{Memory, Unreadable};

/// Every address can be read. What it gives is arbitrary, or the same word
/// again and again, such as a pointer to itself.
struct Arbitrary {
    word: Option<u64>,
    seed: Cell<u64>,
    most: Cell<usize>,
}

impl Memory for Arbitrary {
    fn read(&self, _address: u64, buffer: &mut [u8]) -> Result<(), Unreadable> {
        self.most.set(self.most.get().max(buffer.len()));
        for chunk in buffer.chunks_mut(8) {
            let word = self.word.unwrap_or_else(|| {
                let seed = self.seed.get();
                self.seed.set(
                    seed.wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695),
                );
                seed ^ seed >> 29
            });
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

fn interpreter(minor: u8) -> Interpreter {
    let version = Version {
        major: 3,
        minor,
        micro: 0,
    };
    let layout = layout::by_version(version).expect("a known version");
    Interpreter {
        version,
        runtime: PythonRuntime::default(),
        evaluator: Default::default(),
        tail_calls: false,
        code: layout.code,
        text: layout.text,
        code_type: None,
        lists: layout.lists,
    }
}

#[test]
fn arbitrary_memory_ends_soon() {
    let started = Instant::now();
    for minor in 8..=12 {
        let interpreter = interpreter(minor);
        let words = [
            0,
            1,
            0x20,
            0x64,
            0x2c,
            u64::MAX,
            1 << 63,
            i64::MAX as u64,
            0x7f00_0000_0010,
            0x8080_8080_8080_8080,
        ];
        for word in words.map(Some).into_iter().chain([None; 200]) {
            let memory = Arbitrary {
                word,
                seed: Cell::new(started.elapsed().as_nanos() as u64 | 1),
                most: Cell::new(0),
            };
            // One that the first look does not refuse.
            let checksum = word.map_or(0, |word| python_checksum(word, word, word as u32));
            if let Ok(code) = read_code(&memory, &interpreter, 0x1000, checksum, None) {
                assert!(code.name.len() <= 256 << 10);
                for instruction in [0, 1, 1000, 1 << 20, u32::MAX - 1, u32::MAX] {
                    let _ = code.line(instruction);
                }
            }
            let _ = text::read(&memory, &interpreter.text, 0x1000);
            assert!(memory.most.get() <= 1 << 20);
        }
    }
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn arbitrary_tables_end() {
    let mut seed = 1_u64;
    for round in 0..3000_usize {
        let bytes: Vec<u8> = (0..round % 97)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 40) as u8
            })
            .collect();
        for kind in [
            LineTableKind::Lnotab,
            LineTableKind::Ranges,
            LineTableKind::Locations,
        ] {
            let table = LineTable {
                kind,
                first_line: if round % 2 == 0 { 1 } else { u32::MAX },
                bytes: bytes.clone(),
            };
            for instruction in [0, 2, 64, 5000, i32::MAX as u32, u32::MAX] {
                let _ = table.line(instruction);
            }
        }
    }
}

/// Arbitrary bytes in place of one section after the other.
#[test]
fn damaged_files_are_harmless() {
    let python = pythons().pop().expect("a Python");
    let below = python.program.strip_prefix("/").expect("an absolute path");
    let whole = std::fs::read(python.root.join(below)).expect("a readable file");
    let elf = Elf::parse(&whole).expect("an ELF file");
    let mut seed = 1_u64;
    for name in [
        ".eh_frame",
        ".dynsym",
        ".gnu.hash",
        ".dynstr",
        ".dynamic",
        ".text",
        ".rodata",
        ".PyRuntime",
    ] {
        let Some(section) = elf.section(name) else {
            continue;
        };
        for every in [1, 97] {
            let mut damaged = whole.clone();
            let start = section.offset as usize;
            for byte in damaged[start..start + section.data.len()]
                .iter_mut()
                .step_by(every)
            {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (seed >> 56) as u8;
            }
            let file = tempfile::tempfile().expect("a temporary file");
            file.write_all_at(&damaged, 0).expect("written");
            let started = Instant::now();
            let elf = Elf::parse(&damaged).expect("its header is whole");
            let _ = recognise(&file, &elf);
            let _ = find_thread_specific(&file, &elf);
            assert!(started.elapsed() < Duration::from_secs(10), "{name}");
        }
    }
}

#[test]
fn arbitrary_debug_offsets_are_refused_or_bounded() {
    let mut seed = 1_u64;
    for minor in [12, 13, 14, 15] {
        let version = Version {
            major: 3,
            minor,
            micro: 0,
        };
        for round in 0..2000_usize {
            let bytes: Vec<u8> = (0..layout::DEBUG_OFFSETS_BYTES as usize - round % 700)
                .map(|index| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // Small words, now and then a large one.
                    let large = round % 50 == 0 && seed >> 58 == 0;
                    if index % 8 == 0 || large {
                        (seed >> 57) as u8
                    } else {
                        0
                    }
                })
                .collect();
            let _ = layout::debug_header(&bytes);
            if let Some(layout) = layout::by_debug_offsets(version, &bytes) {
                let runtime = layout.runtime;
                assert!((13..=14).contains(&minor));
                assert!(runtime.frame_code as usize + 8 <= PythonRuntime::FRAME_BYTES);
                assert!(runtime.frame_instruction as usize + 8 <= PythonRuntime::FRAME_BYTES);
                assert!(runtime.frame_previous as usize + 8 <= PythonRuntime::FRAME_BYTES);
                assert!((runtime.frame_owner as usize) < PythonRuntime::FRAME_BYTES);
                assert!(runtime.code_file as usize + 16 <= PythonRuntime::CODE_BYTES);
                assert!(runtime.code_first_line as usize + 4 <= PythonRuntime::CODE_BYTES);
            }
        }
    }
}
