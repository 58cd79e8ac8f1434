//! Statements of PostgreSQL, by the probes in its server.

use crate::{COMM_LENGTH, ProcessKey};

/// Where a statement's time goes, by the probes `query-…-start` and `query-…-done`
/// (PostgreSQL's documentation, chapter "Dynamic Tracing"). Rewriting includes the
/// analysis of what was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Phase {
    Parse = 0,
    Rewrite = 1,
    Plan = 2,
    Execute = 3,
}

impl Phase {
    pub const COUNT: usize = 4;
}

/// Bytes of a statement that are read, with the zero at their end.
pub const STATEMENT_BYTES: usize = 1024;
const STATEMENT_WORDS: usize = STATEMENT_BYTES / 8;

/// Backends that are followed at a time.
pub const MAX_BACKENDS: usize = 2048;

/// Statements whose text userspace has: one for each place, by their hash.
pub const KNOWN_STATEMENTS: usize = 4096;

/// The hash of a statement whose text could not be read.
pub const UNREADABLE: u64 = 1;

/// What a phase of a statement took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PhaseUse {
    /// Of the statement itself, where they ended: they lie side by side.
    pub count: u64,
    pub nanoseconds: u64,
    pub longest: u64,
    /// Of statements within, those of functions for one: their time is in the
    /// statement's own phases too.
    pub nested: u64,
    pub nested_ns: u64,
}

/// What a backend did from when it said that it is at a statement until it said
/// that it is at another, or at none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Turn {
    /// Of the text. 0: it is at none.
    pub hash: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub since: u64,
    /// How long it was, when it is over.
    pub nanoseconds: u64,
    /// By [`Phase`].
    pub phases: [PhaseUse; Phase::COUNT],
    /// Waits for heavyweight locks.
    pub lock_waits: u64,
    pub lock_ns: u64,
    pub lock_longest: u64,
    /// Phases that an error, or the end of the backend, left.
    pub failed: u64,
    pub failed_ns: u64,
}

impl Turn {
    /// Whether nothing happened in it.
    pub fn is_empty(&self) -> bool {
        self.failed == 0
            && self
                .phases
                .iter()
                .all(|phase| phase.count == 0 && phase.nested == 0)
    }
}

/// A phase that has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct OpenPhase {
    /// A [`Phase`] and one. 0: none has.
    pub phase: u64,
    /// The stack pointer then: it tells the function that began it from those
    /// that this calls, and from those that are called after an error left it.
    pub stack: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub since: u64,
}

/// A server's process for a connection. Value of `BACKENDS`, by thread.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Backend {
    pub process: ProcessKey,
    /// Its parent: the server.
    pub server: u32,
    pub text_length: u32,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub turn: Turn,
    /// The phase of the statement itself, …
    pub outer: OpenPhase,
    /// … and of one within.
    pub nested: OpenPhase,
    /// When a wait for a lock began, or 0.
    pub lock_since: u64,
    /// The statement; what lies behind it is of earlier ones.
    pub text: [u64; STATEMENT_WORDS],
    /// Where registers are laid down to be picked from by number.
    pub registers: [u64; 32],
}

/// Where the probe has the text of a statement. Value of `TEXT_ARGUMENTS`, by the
/// place of its instruction in its page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TextArgument {
    /// A place in `struct pt_regs` and one. 0: there is no probe.
    pub register: u32,
    /// Not zero: the register and `offset` are where it lies in memory.
    pub indirect: u32,
    pub offset: i64,
}

pub const PAGE_BYTES: usize = 4096;

/// A statement's text, before the first event that names it by its hash.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StatementTextEvent {
    pub kind: u32,
    pub length: u32,
    pub hash: u64,
    pub text: [u8; STATEMENT_BYTES],
}

/// A turn is over.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct StatementEvent {
    pub kind: u32,
    pub server: u32,
    pub process: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub turn: Turn,
    pub process_name: [u8; COMM_LENGTH],
}
