//! System calls that were counted and timed.

use crate::Histogram;

/// Numbers of calls that are told apart; x86-64 has 470 (6.18). What is beyond,
/// and what 32-bit code calls, whose numbers mean others, counts as the last.
pub const CALL_NUMBERS: usize = 512;
pub const OTHER_CALL: u32 = CALL_NUMBERS as u32 - 1;
/// No call.
pub const NO_CALL: u32 = u32::MAX;

/// A bit for each call.
pub type CallSet = [u64; CALL_NUMBERS / 64];

/// Kinds of errors of a call that are counted apart.
pub const ERROR_KINDS: usize = 4;

/// A call of a thread. Key of `CALLS`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct CallKey {
    pub tid: u32,
    pub number: u16,
    /// Tells the thread from the one that had its id before.
    pub generation: u16,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ErrorCount {
    /// 0: not used yet.
    pub errno: u32,
    pub count: u32,
}

/// What a call did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Calls {
    /// Calls that returned.
    pub count: u64,
    /// Of them, those that failed.
    pub errors: u64,
    /// Time in them.
    pub nanoseconds: u64,
    /// Time of the longest.
    pub longest: u64,
    /// Why they failed, as far as there is room.
    pub by_errno: [ErrorCount; ERROR_KINDS],
    /// How long those took whose begin was seen.
    pub durations: Histogram,
}

impl Calls {
    pub const NEW: Self = Self {
        count: 0,
        errors: 0,
        nanoseconds: 0,
        longest: 0,
        by_errno: [ErrorCount { errno: 0, count: 0 }; ERROR_KINDS],
        durations: Histogram::NEW,
    };
}

/// The largest error number, `MAX_ERRNO` of include/linux/err.h.
pub const MAX_ERRNO: i64 = 4095;

/// Entries of `CALLS` unless userspace asks for others.
pub const MAX_CALLS: usize = 1 << 14;
