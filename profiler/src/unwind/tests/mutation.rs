//! Thousands of damaged executables, the same ones in every run: no panic, no
//! table that breaks a promise, no work without end.

use std::time::{Duration, Instant};

use super::programs;
use crate::elf::{Elf, fixture};
use crate::unwind::build;

/// xorshift64*: Vigna, "An experimental exploration of Marsaglia's xorshift
/// generators, scrambled", 2016.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

fn damage(random: &mut Random, data: &mut Vec<u8>, targets: &[std::ops::Range<usize>]) {
    const INTERESTING: [u64; 10] = [
        0,
        1,
        0x7f,
        0x80,
        0xff,
        0xffff,
        0x7fff_ffff,
        0xffff_ffff,
        i64::MAX as u64,
        u64::MAX,
    ];
    for _ in 0..1 + random.below(8) {
        let target = &targets[random.below(targets.len())];
        let position = target.start + random.below(target.len());
        match random.below(5) {
            0 => {
                if let Some(byte) = data.get_mut(position) {
                    *byte ^= 1 << random.below(8);
                }
            }
            1 => {
                if let Some(byte) = data.get_mut(position) {
                    *byte = random.next() as u8;
                }
            }
            2 | 3 => {
                let value = INTERESTING[random.below(INTERESTING.len())].to_le_bytes();
                let size = 1 << random.below(4);
                if let Some(bytes) = data.get_mut(position..position + size) {
                    bytes.copy_from_slice(&value[..size]);
                }
            }
            _ => {
                let from = random.below(data.len());
                let size = random.below(64).min(data.len() - from);
                if position + size <= data.len() {
                    data.copy_within(from..from + size, position);
                }
            }
        }
    }
    if random.below(20) == 0 {
        data.truncate(random.below(data.len()));
    }
}

fn survive(original: &[u8], rounds: usize, seed: u64, sections: &[&str]) {
    let elf = Elf::parse(original).expect("an ELF file");
    let headers = 0..fixture::ELF_HEADER + 12 * fixture::PROGRAM_HEADER;
    let mut targets = Vec::from_iter([headers]);
    for section in sections.iter().filter_map(|name| elf.section(name)) {
        let start = section.offset as usize;
        targets.push(start..start + section.data.len());
    }
    // The section headers of what a linker wrote are at the end.
    targets.push(original.len().saturating_sub(2048)..original.len());
    let mut random = Random(seed);
    let mut slowest = Duration::ZERO;
    for round in 0..rounds {
        let mut data = original.to_vec();
        damage(&mut random, &mut data, &targets);
        let start = Instant::now();
        visit(&data);
        let took = start.elapsed();
        assert!(took < Duration::from_secs(20), "round {round}: {took:?}");
        slowest = slowest.max(took);
    }
    eprintln!("{rounds} rounds, slowest {slowest:?}");
}

fn visit(data: &[u8]) {
    let Ok(elf) = Elf::parse(data) else { return };
    let _ = (elf.build_id(), elf.debug_link(), elf.debug_alt_link());
    let _ = (elf.interpreter(), elf.is_pie(), elf.is_go());
    for segment in elf.segments() {
        let _ = elf.bias(segment.address, segment.offset);
    }
    if let Ok(table) = build(&elf) {
        table.check(&elf.executable_ranges());
    }
    if let Some(symbols) = elf.go_pclntab() {
        for function in symbols.functions().take(100) {
            let _ = function.name();
            let _ = symbols.line(&function, function.start);
        }
    }
}

#[test]
fn damaged_programs() {
    let data = programs::c(&["-O2", "-s"]);
    survive(&data, 4000, 1, &[".eh_frame", ".eh_frame_hdr", ".plt"]);
}

#[test]
fn damaged_debug_information() {
    let options = [
        "-O2",
        "-g1",
        "-gz=zlib",
        "-fno-asynchronous-unwind-tables",
        "-fno-unwind-tables",
    ];
    let data = programs::c(&options);
    survive(&data, 1000, 2, &[".debug_frame", ".eh_frame"]);
}

#[test]
fn damaged_go_tables() {
    survive(&programs::go(&["-ldflags=-s -w"]), 30, 3, &[".gopclntab"]);
}
