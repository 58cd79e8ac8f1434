//! The running kernel's unwind table, from the data that it unwinds itself by.
//!
//! ORC (Documentation/arch/x86/orc-unwinder.rst) has two arrays of the same
//! length, ordered by address: where an entry begins to hold, as a distance from the
//! place where that stands, and the entry, 6 bytes. Layout and meaning:
//! arch/x86/include/asm/orc_types.h and arch/x86/kernel/unwind_orc.c, 6.5 to 7.2.
//! How the registers are numbered has changed in between; a digest of those
//! definitions is in the kernel (scripts/orc_hash.sh), so one that we do not know is
//! not taken for one that we do.

use std::ops::Range;

use profiler_ebpf::{Rule, cfa, flag, register, saved};

use super::{Statistics, Table, UnwindError, table::Builder};

/// What of the kernel's memory it takes.
#[derive(Clone, Debug, Default)]
pub struct Orc {
    pub numbering: Numbering,
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

/// How `ORC_REG_` are numbered, in `sp_reg` and `bp_reg`; 0 is always the undefined
/// one. Others are those of entry code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Numbering {
    previous_stack: u16,
    stack: u16,
    frame: u16,
    stack_indirect: u16,
    frame_indirect: u16,
}

const UNDEFINED: u16 = 0;

impl Numbering {
    /// Seen in 6.12 and 6.18.
    const FIRST: Self = Self {
        previous_stack: 1,
        stack: 5,
        frame: 4,
        stack_indirect: 9,
        frame_indirect: 8,
    };
    /// Seen in 7.2.
    const SECOND: Self = Self {
        previous_stack: 8,
        stack: 3,
        frame: 4,
        stack_indirect: 9,
        frame_indirect: 10,
    };
    const KNOWN: [(&str, Self); 2] = [
        ("fe5d32bf581bd63b2ca9a5c65ba5a625eab3fe24", Self::FIRST),
        ("137c36ad7627c4dd55932176bb0ecdbd5041fc82", Self::SECOND),
    ];

    /// By what stands in the kernel's section `.orc_header`.
    pub fn of(header: &[u8]) -> Option<Self> {
        let digest: String = header.iter().map(|byte| format!("{byte:02x}")).collect();
        let known = Self::KNOWN.iter().find(|(known, _)| *known == digest);
        known.map(|&(_, numbering)| numbering)
    }
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
        current = rule(entry, orc.numbering);
        if current == UNSUPPORTED {
            statistics.unsupported += 1;
        }
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

fn rule(entry: &[u8; ENTRY_BYTES], numbering: Numbering) -> Rule {
    let [s0, s1, b0, b1, bits @ ..] = *entry;
    let stack_offset = i16::from_le_bytes([s0, s1]);
    let frame_offset = i16::from_le_bytes([b0, b1]);
    let bits = u16::from_le_bytes(bits);
    let (stack, frame) = (bits & 15, bits >> 4 & 15);
    let (kind, signal) = (bits >> 8 & 7, bits >> 11 & 1 != 0);
    if kind == kind::END_OF_STACK {
        return Rule::new(cfa::ROOT);
    }
    let (how, register, offset, add) = if stack == numbering.stack {
        (cfa::REGISTER, register::RSP, stack_offset, 0)
    } else if stack == numbering.frame {
        (cfa::REGISTER, register::RBP, stack_offset, 0)
    } else if stack == numbering.stack_indirect {
        (cfa::DEREFERENCE, register::RSP, 0, stack_offset)
    } else if stack == numbering.frame_indirect {
        (cfa::DEREFERENCE, register::RBP, stack_offset, 0)
    } else {
        return UNSUPPORTED;
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
        (kind::CALL, UNDEFINED) => rule,
        (kind::CALL, frame) if frame == numbering.previous_stack => with_slot(rule, -frame_offset),
        (kind::CALL, frame) if frame == numbering.frame => {
            rule.flags |= flag::FRAME_SLOTS & 1;
            with_slot(rule, 8 - frame_offset)
        }
        (kind::REGISTERS, UNDEFINED) if how == cfa::REGISTER => {
            rule.cfa = cfa::ENTRY;
            rule.saved[0] = 1;
            rule
        }
        (kind::REGISTERS_PARTIAL, UNDEFINED) if how == cfa::REGISTER => {
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

    const N: Numbering = Numbering::FIRST;
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

    fn decode(entry: &[u8; ENTRY_BYTES]) -> Rule {
        rule(entry, N)
    }

    fn orc(rows: &[(u64, [u8; ENTRY_BYTES])], trampolines: &[u64]) -> Orc {
        let places_at = TEXT + (32 << 20);
        let places = rows.iter().enumerate().flat_map(|(index, (address, _))| {
            let here = places_at + (index * PLACE_BYTES) as u64;
            (address.wrapping_sub(here) as i32).to_le_bytes()
        });
        Orc {
            numbering: N,
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
        let plain = decode(&entry(
            (N.stack, 40),
            (N.previous_stack, -16),
            kind::CALL,
            false,
        ));
        assert_eq!(
            (plain.cfa, plain.register, plain.offset),
            (cfa::REGISTER, register::RSP, 40)
        );
        assert_eq!((plain.saved[0], plain.flags), (2, 0));
        // A realigned frame, whose frame pointer is at 0(%rbp).
        let realigned = decode(&entry(
            (N.frame_indirect, -8),
            (N.frame, 0),
            kind::CALL,
            false,
        ));
        assert_eq!(
            (realigned.cfa, realigned.register, realigned.offset),
            (cfa::DEREFERENCE, register::RBP, -8)
        );
        assert_eq!((realigned.saved[0], realigned.flags), (1, 1));
        // The stack of interrupts, from which the word on its top leads back.
        let changed = decode(&entry(
            (N.stack_indirect, 8),
            (UNDEFINED, 0),
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
        let all = decode(&entry((N.stack, 8), (UNDEFINED, 0), kind::REGISTERS, true));
        assert_eq!((all.cfa, all.offset), (cfa::ENTRY, 8));
        assert_eq!((all.saved[0], all.flags), (1, flag::INTERRUPTED));
        let some = decode(&entry(
            (N.stack, 0),
            (UNDEFINED, 0),
            kind::REGISTERS_PARTIAL,
            true,
        ));
        assert_eq!((some.cfa, some.offset), (cfa::ENTRY, -128));
        assert_eq!(some.saved[0], saved::SAME);
        let end = decode(&entry((0, 0), (0, 0), kind::END_OF_STACK, false));
        assert_eq!(end.cfa, cfa::ROOT);
    }

    #[test]
    fn what_the_walker_does_not_follow() {
        const R10: u16 = 6;
        for unknown in [
            entry((0, 0), (0, 0), 0, false),
            entry((R10, 0), (UNDEFINED, 0), kind::CALL, false),
            entry((N.stack, 8), (R10, 0), kind::CALL, false),
            entry((N.stack, 8), (N.previous_stack, -12), kind::CALL, false),
            entry((N.stack, 8), (N.previous_stack, 8), kind::CALL, false),
            entry((N.stack_indirect, 8), (0, 0), kind::REGISTERS, true),
            entry((N.stack, 8), (0, 0), 7, true),
        ] {
            assert_eq!(decode(&unknown), UNSUPPORTED, "{unknown:?}");
        }
    }

    #[test]
    fn numbers_of_another_kernel() {
        let header = b"\x13|6\xadv'\xc4\xddU\x93!v\xbb\x0e\xcd\xbdPA\xfc\x82";
        assert_eq!(Numbering::of(header), Some(Numbering::SECOND));
        assert_eq!(Numbering::of(&header[1..]), None);
        assert_eq!(Numbering::of(&[0; 20]), None);
        let bytes = entry((3, 40), (8, -16), kind::CALL, false);
        let same = entry((5, 40), (1, -16), kind::CALL, false);
        assert_eq!(rule(&bytes, Numbering::SECOND), decode(&same));
        assert_eq!(decode(&bytes), UNSUPPORTED);
    }

    #[test]
    fn a_table_of_them() {
        let call = |size| entry((N.stack, size), (UNDEFINED, 0), kind::CALL, false);
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
        let call = entry((N.stack, 8), (UNDEFINED, 0), kind::CALL, false);
        let mut orc = orc(&[(TEXT + 0x100, call), (TEXT, call)], &[]);
        orc.places.push(7);
        let table = build(&orc).unwrap();
        assert_eq!(table.statistics.malformed, 1);
        assert_eq!(table.find(TEXT + 0x50), None);
        assert!(table.find(TEXT + 0x150).is_some());
    }
}
