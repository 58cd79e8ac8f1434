//! Rules for code that nobody described, but whose shape is fixed by the ABI
//! or the linker: procedure linkage tables, the entry point, and musl's signal
//! trampoline.

use std::ops::Range;

use profiler_ebpf::{Rule, cfa, register};

use crate::elf::{Elf, kind};

const SHT_SYMTAB: u32 = 2;
const SHT_DYNSYM: u32 = 11;
const SYMBOL_SIZE: usize = 24;
const STT_FUNC: u8 = 2;
const STT_MASK: u8 = 15;

/// glibc's takes 38 bytes, musl's 22.
const MAX_ENTRY_CODE: u64 = 64;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];

/// `mov $15, %rax; syscall`: `rt_sigreturn`. musl's assembly
/// (src/signal/x86_64/restore.s) is encoded in one way or the other.
const TRAMPOLINES: [&[u8]; 2] = [
    &[0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05],
    &[0xb8, 15, 0, 0, 0, 0x0f, 0x05],
];

/// Addresses and the rules that hold from them on.
pub(super) type Rows = Vec<(u64, Rule)>;

fn above_stack_pointer(offset: i32) -> Rule {
    Rule {
        register: register::RSP,
        offset,
        ..Rule::new(cfa::REGISTER)
    }
}

pub(super) fn plt(elf: &Elf) -> Vec<(Range<u64>, Rows)> {
    let mut found = Vec::new();
    for (name, lazy) in [(".plt", true), (".plt.got", false), (".plt.sec", false)] {
        let Some(section) = elf.section(name) else {
            continue;
        };
        let start = section.address;
        let Some(end) = start.checked_add(section.data.len() as u64) else {
            continue;
        };
        let rows = if lazy {
            lazy_plt(start, &section.data)
        } else {
            Some(vec![(start, above_stack_pointer(8))])
        };
        found.extend(rows.map(|rows| (start..end, rows)));
    }
    found
}

/// psABI 1.0, section 5.2: the first stub pushes the link map for the
/// resolver, each other one first its relocation index.
fn lazy_plt(start: u64, code: &[u8]) -> Option<Rows> {
    const PUSH_LINK_MAP: [u8; 2] = [0xff, 0x35];
    const JUMP: [u8; 2] = [0xff, 0x25];
    const PUSH: u8 = 0x68;
    if !code.starts_with(&PUSH_LINK_MAP) {
        // Bound at start: the stubs only jump.
        let jump = code.strip_prefix(&ENDBR64).unwrap_or(code);
        let jump = jump.strip_prefix(&[0xf2]).unwrap_or(jump);
        return jump
            .starts_with(&JUMP)
            .then(|| vec![(start, above_stack_pointer(8))]);
    }
    let stub = code.get(16..)?;
    let threshold = if stub.starts_with(&JUMP) {
        11
    } else if stub.strip_prefix(&ENDBR64)?.first() == Some(&PUSH) {
        9
    } else {
        return None;
    };
    Some(vec![
        (start, above_stack_pointer(16)),
        (start + 6, above_stack_pointer(24)),
        (
            start + 16,
            Rule {
                register: register::RSP,
                offset: threshold,
                ..Rule::new(cfa::PLT)
            },
        ),
    ])
}

/// The process's first function, which nothing called. musl describes it with
/// nothing, and its frame pointer is the kernel's zero only once it ran.
/// `limit`: the next described address.
pub(super) fn entry(elf: &Elf, limit: u64) -> Option<(Range<u64>, Rows)> {
    let start = elf.entry();
    // Old linkers set it in shared objects too, to the start of `.text`.
    if elf.kind() == kind::SHARED
        && elf.interpreter().is_none()
        && !elf.is_pie()
        && !clears_frame_pointer(elf.bytes_at(start)?)
    {
        return None;
    }
    let end = start
        .checked_add(MAX_ENTRY_CODE)?
        .min(limit)
        .min(next_function(elf, start).unwrap_or(u64::MAX));
    Some((start..end, vec![(start, Rule::new(cfa::ROOT))]))
}

/// psABI 1.0, section 3.4.1: the entry point should mark the deepest frame,
/// and all of them do: `xor %ebp, %ebp`, in either width.
fn clears_frame_pointer(code: &[u8]) -> bool {
    let code = code.strip_prefix(&ENDBR64).unwrap_or(code);
    code.starts_with(&[0x31, 0xed]) || code.starts_with(&[0x48, 0x31, 0xed])
}

fn next_function(elf: &Elf, address: u64) -> Option<u64> {
    [SHT_SYMTAB, SHT_DYNSYM]
        .into_iter()
        .flat_map(|kind| elf.sections_of_kind(kind))
        .filter_map(|section| {
            section
                .data
                .chunks_exact(SYMBOL_SIZE)
                .filter(|symbol| {
                    symbol
                        .get(4)
                        .is_some_and(|info| info & STT_MASK == STT_FUNC)
                })
                .filter_map(|symbol| Some(u64::from_le_bytes(*symbol.get(8..)?.first_chunk()?)))
                .filter(|&value| value > address)
                .min()
        })
        .min()
}

/// Signal trampolines in `code`, which nothing describes.
pub(super) fn trampolines(start: u64, code: &[u8]) -> Vec<(Range<u64>, Rows)> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(place) = code
        .get(from..)
        .and_then(|rest| rest.windows(2).position(|pair| pair == [0x0f, 0x05]))
    {
        let end = from + place + 2;
        from = end;
        let before = code.get(..end).unwrap_or_default();
        let Some(pattern) = TRAMPOLINES.iter().find(|pattern| before.ends_with(pattern)) else {
            continue;
        };
        // A walker looks up the byte before a return address, and the handler
        // returns to the trampoline's first byte.
        let first = (end - pattern.len()).saturating_sub(1);
        let range = start + first as u64..start + end as u64;
        found.push((range.clone(), vec![(range.start, Rule::new(cfa::SIGNAL))]));
    }
    found
}
