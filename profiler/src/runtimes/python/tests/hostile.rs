//! Processes that want to hurt whoever reads them.

use std::cell::Cell;
use std::time::{Duration, Instant};

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
            let checksum = word.map_or(0, |word| python_checksum(word, word as u32));
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
