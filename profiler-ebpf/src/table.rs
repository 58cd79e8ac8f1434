//! The unwind table of an executable, as the walker reads it.
//!
//! One table is one inner map of `TABLES`, found by [`Executable::table`]: an
//! array of [`Block`]s of one cache line. It holds, in this order and each starting on a block:
//!
//! 1. the **directory**: one [`Page`] for every [`PAGE_SIZE`] bytes of
//!    address, from [`Executable::base`] on;
//! 2. the **rows**: one `u32` for every address at which the rule changes,
//!    ordered; ten bits of address within the page, 22 bits of rule index.
//!    The first row of each page that has any lies at offset 0, so a page is
//!    searched alone;
//! 3. the **rules**: distinct [`Rule`]s.
//!
//! A lookup costs one directory read, a binary search over the few blocks of
//! one page, a search within one cache line, and one rule read.

/// Words of a block: 64 bytes, one cache line.
pub const BLOCK_WORDS: usize = 16;
pub type Block = [u32; BLOCK_WORDS];

pub const PAGE_BITS: u32 = 10;
/// Bytes of code that one directory entry covers.
pub const PAGE_SIZE: u64 = 1 << PAGE_BITS;

/// Pages whose entries fit in a block.
pub const PAGES_PER_BLOCK: u32 = 8;
pub const RULES_PER_BLOCK: u32 = 4;

/// Directory entry: the rows of one page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Page {
    /// Index of the page's first row.
    pub first_row: u32,
    /// 0: no unwind information for any address of the page.
    pub row_count: u32,
}

/// A row: `offset` in the page and the index of the rule from there on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    pub offset: u32,
    pub rule: u32,
}

impl Row {
    pub const RULE_BITS: u32 = 32 - PAGE_BITS;
    pub const RULE_MASK: u32 = (1 << Self::RULE_BITS) - 1;

    #[inline(always)]
    pub const fn pack(self) -> u32 {
        (self.offset << Self::RULE_BITS) | (self.rule & Self::RULE_MASK)
    }

    #[inline(always)]
    pub const fn unpack(word: u32) -> Self {
        Self {
            offset: word >> Self::RULE_BITS,
            rule: word & Self::RULE_MASK,
        }
    }
}

/// How to find the canonical frame address (CFA), [`Rule::cfa`].
pub mod cfa {
    /// No unwind information here: try the frame pointer.
    pub const NONE: u8 = 0;
    /// `register + offset`.
    pub const REGISTER: u8 = 1;
    /// `*(register + offset) + add`.
    pub const DEREFERENCE: u8 = 2;
    /// A stub of the procedure linkage table: `rsp + 8`, and 8 more once the
    /// address within its 16 bytes is at least `offset`.
    pub const PLT: u8 = 3;
    /// A signal trampoline: the registers are in the `ucontext` that lies
    /// `offset` bytes above `rsp`.
    pub const SIGNAL: u8 = 4;
    /// The outermost frame of a thread: the return address is undefined.
    pub const ROOT: u8 = 5;
    /// The compiler described it in a way we do not support.
    pub const UNSUPPORTED: u8 = 6;
    /// `*(rsp + 8 * register + offset) + add`: OpenSSL's modular
    /// multiplication. A walker that does not follow it must stop, as for
    /// `UNSUPPORTED`.
    pub const INDEXED: u8 = 7;
    /// Kernel code only: where it was entered, or interrupted. A `struct pt_regs`
    /// begins at `register + offset`; of one that was saved in part, with
    /// `saved[0]` of `SAME`, only what the CPU itself saves is there.
    pub const ENTRY: u8 = 8;
}

/// Registers by their DWARF numbers (System V AMD64 psABI 1.0, figure 3.36).
pub mod register {
    pub const RAX: u8 = 0;
    pub const RDX: u8 = 1;
    pub const RCX: u8 = 2;
    pub const RBX: u8 = 3;
    pub const RSI: u8 = 4;
    pub const RDI: u8 = 5;
    pub const RBP: u8 = 6;
    pub const RSP: u8 = 7;
    pub const R8: u8 = 8;
    pub const R9: u8 = 9;
    pub const R10: u8 = 10;
    pub const R11: u8 = 11;
    pub const R12: u8 = 12;
    pub const R13: u8 = 13;
    pub const R14: u8 = 14;
    pub const R15: u8 = 15;
    pub const RETURN_ADDRESS: u8 = 16;
}

/// Callee-saved registers besides `rsp`, in the order of [`Rule::saved`].
pub const SAVED_REGISTERS: [u8; 6] = [
    register::RBP,
    register::RBX,
    register::R12,
    register::R13,
    register::R14,
    register::R15,
];

/// Where a callee-saved register of the caller is, [`Rule::saved`]: a value
/// `n` from 1 to [`saved::MAX_SLOT`] means the 8 bytes at `CFA - 8 * n`.
pub mod saved {
    /// The function has not touched it.
    pub const SAME: u8 = 0;
    pub const MAX_SLOT: u8 = 254;
    /// It cannot be recovered.
    pub const LOST: u8 = 255;
}

/// What a rule may say beyond slots below the CFA, [`Rule::flags`].
pub mod flag {
    /// Bit `i`: the slot of `SAVED_REGISTERS[i]` counts from the frame pointer,
    /// at `rbp + 8 - 8 * n`. So it is in a function that realigns its stack:
    /// its CFA is not at a fixed distance from its frame.
    pub const FRAME_SLOTS: u8 = 0x3f;
    /// The return address is in the register numbered `return_slot`.
    pub const RETURN_REGISTER: u8 = 0x80;

    /// Kernel code only: the caller is where it was interrupted, not behind a call.
    pub const INTERRUPTED: u8 = 0x40;

    /// Those that the walker follows. Without `FRAME_SLOTS` such a register is
    /// written as lost, without `RETURN_REGISTER` the rule as unsupported.
    pub const FOLLOWED: u8 = FRAME_SLOTS | RETURN_REGISTER;
}

/// How to step from a frame to its caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub struct Rule {
    /// Of [`cfa`].
    pub cfa: u8,
    /// Of [`register`]; meaning depends on `cfa`.
    pub register: u8,
    pub saved: [u8; SAVED_REGISTERS.len()],
    pub offset: i32,
    /// Added after a dereference.
    pub add: i16,
    /// The return address is at `CFA - 8 * return_slot`; 1 by the psABI.
    pub return_slot: u8,
    /// Of [`flag`].
    pub flags: u8,
}

impl Rule {
    pub const fn new(cfa: u8) -> Self {
        Self {
            cfa,
            register: 0,
            saved: [saved::SAME; SAVED_REGISTERS.len()],
            offset: 0,
            add: 0,
            return_slot: 1,
            flags: 0,
        }
    }
}

/// State of an executable slot, [`Executable::state`].
pub mod state {
    /// Nobody asked for the table yet, or it is being built.
    pub const NOT_READY: u8 = 0;
    pub const READY: u8 = 1;
    /// It has no unwind information at all: frame pointers.
    pub const FRAME_POINTERS: u8 = 2;
    /// It could not be read.
    pub const UNAVAILABLE: u8 = 3;
}

/// What the walker must know of an executable, by slot, in `EXECUTABLES`: one
/// cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Executable {
    /// ELF virtual address of the first page; a multiple of [`PAGE_SIZE`].
    pub base: u64,
    /// ELF virtual addresses of the interpreter's own code: CPython's
    /// evaluator and its cold part, V8's embedded builtins.
    pub interpreter: [CodeRange; 2],
    pub page_count: u32,
    /// Block of the first row.
    pub rows_block: u32,
    /// Block of the first rule.
    pub rules_block: u32,
    /// Its table in `TABLES`; executables of the same contents share one.
    pub table: u32,
    /// Which contents the table has, as no other ever has: what was found in it
    /// is kept by this number, see [`FoundRule`].
    pub generation: u32,
    /// Description of the interpreter in `PYTHONS` or `V8S`.
    pub runtime_index: u16,
    /// Of [`crate::interpreter`]: the interpreter that this executable holds.
    pub runtime: u8,
    /// Of [`state`]. Last, since an entry is replaced under the walker's eyes,
    /// from its start (`array_map_update_elem` in kernel/bpf/arraymap.c): when
    /// it says that the table is ready, all else is there.
    pub state: u8,
}

const _: () = assert!(size_of::<Executable>() == 64);

/// [`FoundRule::generation`] of the running kernel's code, which no table gets.
pub const KERNEL_GENERATION: u32 = u32::MAX;

/// Bytes of code that a [`FoundRule`] is about: a page has a whole number of them.
pub const CHUNK_BITS: u32 = 6;
/// Found rules that are kept for each record of a CPU; a power of two.
pub const FOUND_RULES: u32 = 512;

/// A rule that the walker found lately, kept where the next walk finds it again by
/// reading one cache line.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FoundRule {
    /// ELF virtual address, of the kernel the address itself, without its lowest
    /// [`CHUNK_BITS`].
    pub chunk: u64,
    /// [`Executable::generation`] of the table that it is from, or
    /// [`KERNEL_GENERATION`]; 0: none.
    pub generation: u32,
    /// Within the chunk, it holds from here up to, not including, `end`.
    pub start: u16,
    pub end: u16,
    pub rule: Rule,
}

/// From `start` up to, not including, `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct CodeRange {
    pub start: u64,
    pub end: u64,
}

impl CodeRange {
    #[inline(always)]
    pub const fn contains(&self, address: u64) -> bool {
        self.start <= address && address < self.end
    }
}
