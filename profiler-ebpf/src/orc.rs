//! The data that the running kernel unwinds its own stacks by (ORC,
//! Documentation/arch/x86/orc-unwinder.rst), read where it lies.
//!
//! Three arrays: where an entry begins to hold, as a distance from the place where
//! that stands, ordered by address; the entries, 6 bytes each, as many; and for each
//! 256 bytes of code the last entry that begins before them, or with them. Layout and
//! meaning: arch/x86/include/asm/orc_types.h, orc_lookup.h and
//! arch/x86/kernel/unwind_orc.c, 6.5 to 7.2.

use crate::{CodeRange, Rule, cfa, flag, register, saved};

/// What the walker must know of the kernel's code, in `KERNEL_CODE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KernelCode {
    pub text: CodeRange,
    /// Addresses of the arrays.
    pub places: u64,
    pub entries: u64,
    pub blocks: u64,
    /// Where functions return to whose return address was replaced: only the kernel
    /// knows where from. 0: none.
    pub trampolines: [u64; MAX_TRAMPOLINES],
    pub numbering: Numbering,
    /// 1 while our walker walks. In the last word, since the entry is written under the
    /// walker's eyes, from its start.
    pub walked: u8,
    pub reserved: [u8; 2],
}

pub const MAX_TRAMPOLINES: usize = 3;

pub const PLACE_BYTES: u64 = 4;
pub const ENTRY_BYTES: usize = 6;
/// `LOOKUP_BLOCK_ORDER`: bytes of code that one of `blocks` is about.
pub const CODE_BLOCK_BITS: u32 = 8;
/// Bytes of one of `blocks`.
pub const BLOCK_INDEX_BYTES: u64 = 4;

/// How `ORC_REG_` are numbered, in `sp_reg` and `bp_reg`; 0 is always the undefined
/// one. Others are those of entry code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Numbering {
    pub previous_stack: u8,
    pub stack: u8,
    pub frame: u8,
    pub stack_indirect: u8,
    pub frame_indirect: u8,
}

const UNDEFINED: u8 = 0;

const UNSUPPORTED: Rule = Rule::new(cfa::UNSUPPORTED);

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

    /// By what stands in the kernel's section `.orc_header`: a digest of the
    /// definitions (scripts/orc_hash.sh). One that we do not know is not taken for
    /// one that we do.
    pub fn of(header: &[u8; HEADER_BYTES]) -> Option<Self> {
        match header {
            b"\xfe\x5d\x32\xbf\x58\x1b\xd6\x3b\x2c\xa9\xa5\xc6\x5b\xa5\xa6\x25\xea\xb3\xfe\x24" => {
                Some(Self::FIRST)
            }
            b"\x13\x7c\x36\xad\x76\x27\xc4\xdd\x55\x93\x21\x76\xbb\x0e\xcd\xbd\x50\x41\xfc\x82" => {
                Some(Self::SECOND)
            }
            _ => None,
        }
    }
}

pub const HEADER_BYTES: usize = 20;

/// `ORC_TYPE_`.
mod kind {
    pub const END_OF_STACK: u8 = 1;
    pub const CALL: u8 = 2;
    pub const REGISTERS: u8 = 3;
    pub const REGISTERS_PARTIAL: u8 = 4;
}

/// `IRET_FRAME_OFFSET`: where in `struct pt_regs` begins what the CPU saves.
const CPU_SAVED: i32 = 128;

/// What an entry says; [`cfa::UNSUPPORTED`] what the walker does not follow.
#[inline(always)]
pub fn rule(entry: [u8; ENTRY_BYTES], numbering: Numbering) -> Rule {
    let [s0, s1, f0, f1, registers, rest] = entry;
    let stack_offset = i16::from_le_bytes([s0, s1]);
    let frame_offset = i16::from_le_bytes([f0, f1]);
    let (stack, frame) = (registers & 15, registers >> 4);
    let (kind, signal) = (rest & 7, rest >> 3 & 1 != 0);
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
    match kind {
        kind::CALL if frame == UNDEFINED => rule,
        kind::CALL if frame == numbering.previous_stack => with_slot(rule, -frame_offset),
        kind::CALL if frame == numbering.frame => {
            rule.flags |= flag::FRAME_SLOTS & 1;
            with_slot(rule, 8 - frame_offset)
        }
        kind::REGISTERS if frame == UNDEFINED && how == cfa::REGISTER => {
            rule.cfa = cfa::ENTRY;
            rule.saved[0] = 1;
            rule
        }
        kind::REGISTERS_PARTIAL if frame == UNDEFINED && how == cfa::REGISTER => {
            rule.cfa = cfa::ENTRY;
            rule.offset -= CPU_SAVED;
            rule
        }
        _ => UNSUPPORTED,
    }
}

/// The frame pointer was saved so many bytes below.
#[inline(always)]
fn with_slot(mut rule: Rule, below: i32) -> Rule {
    if below & 7 != 0 || below < 8 || below > 8 * i32::from(saved::MAX_SLOT) {
        return UNSUPPORTED;
    }
    rule.saved[0] = (below as u32 >> 3) as u8;
    rule
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: Numbering = Numbering::FIRST;

    /// An entry as the kernel has it.
    fn entry(stack: (u8, i16), frame: (u8, i16), kind: u8, signal: bool) -> [u8; ENTRY_BYTES] {
        let [s0, s1] = stack.1.to_le_bytes();
        let [f0, f1] = frame.1.to_le_bytes();
        let registers = stack.0 | frame.0 << 4;
        [s0, s1, f0, f1, registers, kind | u8::from(signal) << 3]
    }

    fn decode(entry: [u8; ENTRY_BYTES]) -> Rule {
        rule(entry, N)
    }

    #[test]
    fn calls() {
        // push %rbp; push %rbx; sub $16, %rsp
        let plain = decode(entry(
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
        let realigned = decode(entry(
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
        let changed = decode(entry(
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
        let all = decode(entry((N.stack, 8), (UNDEFINED, 0), kind::REGISTERS, true));
        assert_eq!((all.cfa, all.offset), (cfa::ENTRY, 8));
        assert_eq!((all.saved[0], all.flags), (1, flag::INTERRUPTED));
        let some = decode(entry(
            (N.stack, 0),
            (UNDEFINED, 0),
            kind::REGISTERS_PARTIAL,
            true,
        ));
        assert_eq!((some.cfa, some.offset), (cfa::ENTRY, -128));
        assert_eq!(some.saved[0], saved::SAME);
        let end = decode(entry((0, 0), (0, 0), kind::END_OF_STACK, false));
        assert_eq!(end.cfa, cfa::ROOT);
    }

    #[test]
    fn what_the_walker_does_not_follow() {
        const R10: u8 = 6;
        for unknown in [
            entry((0, 0), (0, 0), 0, false),
            entry((R10, 0), (UNDEFINED, 0), kind::CALL, false),
            entry((N.stack, 8), (R10, 0), kind::CALL, false),
            entry((N.stack, 8), (N.previous_stack, -12), kind::CALL, false),
            entry((N.stack, 8), (N.previous_stack, 8), kind::CALL, false),
            entry((N.stack_indirect, 8), (0, 0), kind::REGISTERS, true),
            entry(
                (N.stack, 8),
                (N.previous_stack, -8 * 256),
                kind::CALL,
                false,
            ),
            entry((N.stack, 8), (0, 0), 7, true),
        ] {
            assert_eq!(decode(unknown), UNSUPPORTED, "{unknown:?}");
        }
    }

    #[test]
    fn numbers_of_another_kernel() {
        let header = b"\x13|6\xadv'\xc4\xddU\x93!v\xbb\x0e\xcd\xbdPA\xfc\x82";
        assert_eq!(Numbering::of(header), Some(Numbering::SECOND));
        assert_eq!(Numbering::of(&[0; 20]), None);
        let bytes = entry((3, 40), (8, -16), kind::CALL, false);
        let same = entry((5, 40), (1, -16), kind::CALL, false);
        assert_eq!(rule(bytes, Numbering::SECOND), decode(same));
        assert_eq!(decode(bytes), UNSUPPORTED);
    }
}
