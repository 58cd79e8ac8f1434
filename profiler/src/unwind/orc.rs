//! The running kernel's unwind table, from the data that it unwinds itself by.
//!
//! ORC (Documentation/arch/x86/orc-unwinder.rst) has two arrays of the same
//! length, ordered by address: where an entry begins to hold, as a distance from the
//! place where that stands, and the entry, 6 bytes. Layout and meaning:
//! arch/x86/include/asm/orc_types.h and arch/x86/kernel/unwind_orc.c, 6.4 to 7.2.

use std::ops::Range;

use profiler_ebpf::{Rule, cfa, flag, register, saved};

use super::{Statistics, Table, UnwindError, table::Builder};

/// What of the kernel's memory it takes.
#[derive(Clone, Debug, Default)]
pub struct Orc {
    pub text: Range<u64>,
    /// Where `places` lies in the kernel, `__start_orc_unwind_ip`.
    pub places_at: u64,
    pub places: Vec<u8>,
    pub entries: Vec<u8>,
    /// Where functions return to whose return address was replaced: only the
    /// kernel knows where from. Ordered.
    pub trampolines: Vec<u64>,
}

pub const PLACE_BYTES: usize = 4;
pub const ENTRY_BYTES: usize = 6;

/// `ORC_REG_`, for `sp_reg` and `bp_reg`.
mod base {
    pub const UNDEFINED: u16 = 0;
    pub const PREVIOUS_STACK: u16 = 1;
    pub const FRAME: u16 = 4;
    pub const STACK: u16 = 5;
    pub const FRAME_INDIRECT: u16 = 8;
    pub const STACK_INDIRECT: u16 = 9;
}

/// `ORC_TYPE_`.
mod kind {
    pub const END_OF_STACK: u16 = 1;
    pub const CALL: u16 = 2;
    pub const REGISTERS: u16 = 3;
    pub const REGISTERS_PARTIAL: u16 = 4;
}

/// `IRET_FRAME_OFFSET`: where in `struct pt_regs` begins what the CPU saves.
const CPU_SAVED: i32 = 128;

const UNSUPPORTED: Rule = Rule::new(cfa::UNSUPPORTED);

/// Builds the table.
///
/// # Errors
///
/// If the code is larger than a table may cover.
pub fn build(orc: &Orc) -> Result<Table, UnwindError> {
    let ranges = [orc.text.clone()];
    let size = orc.text.end.saturating_sub(orc.text.start);
    let mut builder = Builder::new(&ranges, size)?;
    let mut statistics = Statistics::default();
    let mut trampolines = orc.trampolines.iter().copied().peekable();
    let mut current = UNSUPPORTED;
    let mut last = 0;
    for (index, (place, entry)) in orc
        .places
        .chunks_exact(PLACE_BYTES)
        .zip(orc.entries.chunks_exact(ENTRY_BYTES))
        .enumerate()
    {
        let (Some(place), Some(entry)) = (place.first_chunk(), entry.first_chunk()) else {
            break;
        };
        let address = orc
            .places_at
            .wrapping_add((index * PLACE_BYTES) as u64)
            .wrapping_add_signed(i64::from(i32::from_le_bytes(*place)));
        if address < last {
            statistics.malformed += 1;
            continue;
        }
        last = address;
        while let Some(trampoline) = trampolines.next_if(|&trampoline| trampoline <= address) {
            block(&mut builder, &orc.text, trampoline, current);
        }
        current = rule(entry);
        if current == UNSUPPORTED {
            statistics.unsupported += 1;
        }
        statistics.functions += 1;
        if orc.text.contains(&address) {
            builder.push(address, current);
        }
    }
    for trampoline in trampolines {
        block(&mut builder, &orc.text, trampoline, current);
    }
    builder.push(orc.text.end, Rule::new(cfa::NONE));
    Ok(builder.finish(statistics))
}

/// A return address is looked up by the byte before it.
fn block(builder: &mut Builder, text: &Range<u64>, trampoline: u64, current: Rule) {
    if text.contains(&trampoline) && text.contains(&(trampoline - 1)) {
        builder.push(trampoline - 1, UNSUPPORTED);
        builder.push(trampoline, current);
    }
}

fn rule(entry: &[u8; ENTRY_BYTES]) -> Rule {
    let [s0, s1, b0, b1, bits @ ..] = *entry;
    let stack_offset = i16::from_le_bytes([s0, s1]);
    let frame_offset = i16::from_le_bytes([b0, b1]);
    let bits = u16::from_le_bytes(bits);
    let (stack, frame) = (bits & 15, bits >> 4 & 15);
    let (kind, signal) = (bits >> 8 & 7, bits >> 11 & 1 != 0);
    if kind == kind::END_OF_STACK {
        return Rule::new(cfa::ROOT);
    }
    let (how, register, offset, add) = match stack {
        base::STACK => (cfa::REGISTER, register::RSP, stack_offset, 0),
        base::FRAME => (cfa::REGISTER, register::RBP, stack_offset, 0),
        base::STACK_INDIRECT => (cfa::DEREFERENCE, register::RSP, 0, stack_offset),
        base::FRAME_INDIRECT => (cfa::DEREFERENCE, register::RBP, stack_offset, 0),
        _ => return UNSUPPORTED,
    };
    let mut rule = Rule::new(how);
    rule.register = register;
    rule.offset = i32::from(offset);
    rule.add = add;
    if signal {
        rule.flags |= flag::INTERRUPTED;
    }
    let frame_offset = i32::from(frame_offset);
    match (kind, frame) {
        (kind::CALL, base::UNDEFINED) => rule,
        (kind::CALL, base::PREVIOUS_STACK) => with_slot(rule, -frame_offset),
        (kind::CALL, base::FRAME) => {
            rule.flags |= flag::FRAME_SLOTS & 1;
            with_slot(rule, 8 - frame_offset)
        }
        (kind::REGISTERS, base::UNDEFINED) if how == cfa::REGISTER => {
            rule.cfa = cfa::ENTRY;
            rule.saved[0] = 1;
            rule
        }
        (kind::REGISTERS_PARTIAL, base::UNDEFINED) if how == cfa::REGISTER => {
            rule.cfa = cfa::ENTRY;
            rule.offset -= CPU_SAVED;
            rule
        }
        _ => UNSUPPORTED,
    }
}

/// The frame pointer was saved so many bytes below.
fn with_slot(mut rule: Rule, below: i32) -> Rule {
    let slot = below / 8;
    if below % 8 != 0 || !(1..=i32::from(saved::MAX_SLOT)).contains(&slot) {
        return UNSUPPORTED;
    }
    rule.saved[0] = slot as u8;
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: u64 = 0xffff_ffff_8100_0000;

    /// An entry as the kernel has it.
    fn entry(stack: (u16, i16), frame: (u16, i16), kind: u16, signal: bool) -> [u8; ENTRY_BYTES] {
        let bits = stack.0 | frame.0 << 4 | kind << 8 | u16::from(signal) << 11;
        let mut bytes = [0; ENTRY_BYTES];
        bytes[..2].copy_from_slice(&stack.1.to_le_bytes());
        bytes[2..4].copy_from_slice(&frame.1.to_le_bytes());
        bytes[4..].copy_from_slice(&bits.to_le_bytes());
        bytes
    }

    fn orc(rows: &[(u64, [u8; ENTRY_BYTES])], trampolines: &[u64]) -> Orc {
        let places_at = TEXT + (32 << 20);
        let places = rows.iter().enumerate().flat_map(|(index, (address, _))| {
            let here = places_at + (index * PLACE_BYTES) as u64;
            (address.wrapping_sub(here) as i32).to_le_bytes()
        });
        Orc {
            text: TEXT..TEXT + 0x3000,
            places_at,
            places: places.collect(),
            entries: rows.iter().flat_map(|(_, entry)| *entry).collect(),
            trampolines: trampolines.to_vec(),
        }
    }

    #[test]
    fn calls() {
        // push %rbp; push %rbx; sub $16, %rsp
        let plain = rule(&entry(
            (base::STACK, 40),
            (base::PREVIOUS_STACK, -16),
            kind::CALL,
            false,
        ));
        assert_eq!(
            (plain.cfa, plain.register, plain.offset),
            (cfa::REGISTER, register::RSP, 40)
        );
        assert_eq!((plain.saved[0], plain.flags), (2, 0));
        // A realigned frame, whose frame pointer is at 0(%rbp).
        let realigned = rule(&entry(
            (base::FRAME_INDIRECT, -8),
            (base::FRAME, 0),
            kind::CALL,
            false,
        ));
        assert_eq!(
            (realigned.cfa, realigned.register, realigned.offset),
            (cfa::DEREFERENCE, register::RBP, -8)
        );
        assert_eq!((realigned.saved[0], realigned.flags), (1, 1));
        // The stack of interrupts, from which the word on its top leads back.
        let changed = rule(&entry(
            (base::STACK_INDIRECT, 8),
            (base::UNDEFINED, 0),
            kind::CALL,
            false,
        ));
        assert_eq!(
            (changed.cfa, changed.register, changed.offset, changed.add),
            (cfa::DEREFERENCE, register::RSP, 0, 8)
        );
        assert_eq!(changed.saved[0], saved::SAME);
    }

    #[test]
    fn entries_of_the_kernel() {
        let all = rule(&entry(
            (base::STACK, 8),
            (base::UNDEFINED, 0),
            kind::REGISTERS,
            true,
        ));
        assert_eq!((all.cfa, all.offset), (cfa::ENTRY, 8));
        assert_eq!((all.saved[0], all.flags), (1, flag::INTERRUPTED));
        let some = rule(&entry(
            (base::STACK, 0),
            (base::UNDEFINED, 0),
            kind::REGISTERS_PARTIAL,
            true,
        ));
        assert_eq!((some.cfa, some.offset), (cfa::ENTRY, -128));
        assert_eq!(some.saved[0], saved::SAME);
        let end = rule(&entry((0, 0), (0, 0), kind::END_OF_STACK, false));
        assert_eq!(end.cfa, cfa::ROOT);
    }

    #[test]
    fn what_the_walker_does_not_follow() {
        const R10: u16 = 6;
        for unknown in [
            entry((0, 0), (0, 0), 0, false),
            entry((R10, 0), (base::UNDEFINED, 0), kind::CALL, false),
            entry((base::STACK, 8), (R10, 0), kind::CALL, false),
            entry(
                (base::STACK, 8),
                (base::PREVIOUS_STACK, -12),
                kind::CALL,
                false,
            ),
            entry(
                (base::STACK, 8),
                (base::PREVIOUS_STACK, 8),
                kind::CALL,
                false,
            ),
            entry((base::STACK_INDIRECT, 8), (0, 0), kind::REGISTERS, true),
            entry((base::STACK, 8), (0, 0), 7, true),
        ] {
            assert_eq!(rule(&unknown), UNSUPPORTED, "{unknown:?}");
        }
    }

    #[test]
    fn a_table_of_them() {
        let call = |size| entry((base::STACK, size), (base::UNDEFINED, 0), kind::CALL, false);
        let gap = entry((0, 0), (0, 0), 0, false);
        let table = build(&orc(
            &[
                (TEXT - 16, call(64)),
                (TEXT, call(8)),
                (TEXT + 0x10, call(16)),
                (TEXT + 0x1800, gap),
                (TEXT + 0x2000, call(24)),
                (TEXT + 0x3000, call(32)),
            ],
            &[TEXT + 0x1000],
        ))
        .unwrap();
        table.check(std::slice::from_ref(&(TEXT..TEXT + 0x3000)));
        let offset = |at: u64| table.find(at).map(|rule| (rule.cfa, rule.offset));
        assert_eq!(offset(TEXT - 1), None);
        assert_eq!(offset(TEXT), Some((cfa::REGISTER, 8)));
        assert_eq!(offset(TEXT + 0xf), Some((cfa::REGISTER, 8)));
        assert_eq!(offset(TEXT + 0xffe), Some((cfa::REGISTER, 16)));
        // Who returns there was called from elsewhere.
        assert_eq!(offset(TEXT + 0xfff), Some((cfa::UNSUPPORTED, 0)));
        assert_eq!(offset(TEXT + 0x1000), Some((cfa::REGISTER, 16)));
        assert_eq!(offset(TEXT + 0x1800), Some((cfa::UNSUPPORTED, 0)));
        assert_eq!(offset(TEXT + 0x2fff), Some((cfa::REGISTER, 24)));
        assert_eq!(offset(TEXT + 0x3000), None);
    }

    #[test]
    fn damaged_data_has_a_table_too() {
        let call = entry((base::STACK, 8), (base::UNDEFINED, 0), kind::CALL, false);
        let mut orc = orc(&[(TEXT + 0x100, call), (TEXT, call)], &[]);
        orc.places.push(7);
        let table = build(&orc).unwrap();
        assert_eq!(table.statistics.malformed, 1);
        assert_eq!(table.find(TEXT + 0x50), None);
        assert!(table.find(TEXT + 0x150).is_some());
    }
}
