//! What shortage and use of memory do to threads.

use crate::{COMM_LENGTH, ProcessKey};

/// Time that a thread spent freeing memory itself, since there was none left on
/// the host or in its cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Reclaim {
    pub count: u64,
    pub nanoseconds: u64,
}

/// Faults of each CPU that are looked at for a stack: one in so many minor ones.
pub const MINOR_FAULTS_PER_SAMPLE: u64 = 16;
/// Bytes that the stack of a fault stands for at least.
pub const FAULT_PERIOD_BYTES: u64 = MINOR_FAULTS_PER_SAMPLE * 4096;

/// Kinds of page faults, [`crate::SampleHeader::activity`] of their samples.
pub mod fault {
    /// The page was in memory, or is new.
    pub const MINOR: u32 = 0;
    /// It had to be read.
    pub const MAJOR: u32 = 1;
}

/// The out-of-memory killer chose a process.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct OomKillEvent {
    pub kind: u32,
    /// A thread of the victim.
    pub tid: u32,
    pub time: u64,
    /// All zeros before 6.9, where only the thread's id is told.
    pub victim: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub victim_name: [u8; COMM_LENGTH],
    /// Who asked for the memory.
    pub caller_name: [u8; COMM_LENGTH],
    pub caller_tgid: u32,
    pub reserved: u32,
}
