//! What happened to memory.

use serde::{Deserialize, Serialize};

use super::{ContainerId, ThreadId};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryUse {
    /// Threads to which anything happened.
    pub threads: Vec<ThreadMemory>,
    pub oom_kills: Vec<OomKill>,
    /// Of the host over the recording, as `/proc/vmstat` counts them.
    pub host: HostMemory,
}

/// Counted by the kernel for each thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadMemory {
    pub thread: ThreadId,
    /// Faults on pages that were in memory, or are new.
    pub minor_faults: u64,
    /// Faults on pages that had to be read.
    pub major_faults: u64,
    /// How often and how long it freed memory itself, since there was none left
    /// on the host or in its cgroup.
    pub reclaims: u64,
    pub reclaim_ns: u64,
}

/// The out-of-memory killer chose a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// After the recording's start.
    pub time_ns: u64,
    pub pid: u32,
    pub name: String,
    pub container: ContainerId,
    /// Who asked for memory.
    pub caller: String,
    pub caller_pid: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostMemory {
    pub swapped_in_pages: u64,
    pub swapped_out_pages: u64,
    /// Pages of files that were thrown out and had to be read again soon.
    pub refaulted_pages: u64,
    /// Faults that brought in a huge page, counted as one page in the stacks.
    pub huge_page_faults: u64,
}
