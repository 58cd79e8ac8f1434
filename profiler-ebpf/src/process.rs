//! What userspace tells the kernel side: settings, processes and mappings.

use crate::{DiskOffsets, ThreadSpecific};

/// Written before the programs are loaded; constant from then on, so that the
/// verifier removes what a setting rules out.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Settings {
    pub offsets: KernelOffsets,
    pub disk: DiskOffsets,
    /// Of [`gate`].
    pub gate: u32,
    /// Index in `css_set.subsys` of the version 1 controller whose cgroup ids
    /// are sent, or [`KernelOffsets::ABSENT`].
    pub cgroup_v1_subsystem: u32,
    /// Not zero when the kernel has `bpf_task_pt_regs` (5.15).
    pub has_task_pt_regs: u32,
    /// Size of a kernel stack, `THREAD_SIZE`; used when `has_task_pt_regs` is 0.
    pub kernel_stack_size: u32,
    /// Not zero when `sched_switch` tells the state of the task that stops
    /// (5.18).
    pub has_switch_state: u32,
    /// Not zero when threads are accounted for.
    pub follows_threads: u32,
    /// Not zero when system calls are.
    pub counts_calls: u32,
    /// Not zero when it is told what they are about.
    pub tells_targets: u32,
    /// Not zero when `mark_victim` has the victim's `task_struct` as its
    /// argument (6.9).
    pub has_victim_task: u32,
    /// Not zero when phases of statements are timed.
    pub times_statements: u32,
}

/// Which tasks are wanted, [`Settings::gate`].
pub mod gate {
    pub const EVERYTHING: u32 = 0;
    /// Tasks whose process is in `WANTED_PROCESSES`.
    pub const PROCESSES: u32 = 1;
    /// Tasks whose cgroup, of either version, is in `WANTED_CGROUPS`.
    pub const CGROUPS: u32 = 2;
    /// Set in the keys of `WANTED_CGROUPS` of the version 1 hierarchy, which
    /// numbers its cgroups apart from version 2.
    pub const CGROUP_V1: u64 = 1 << 63;
}

/// Byte offsets in structures of the running kernel, from its BTF.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct KernelOffsets {
    pub task_flags: u32,
    pub task_mm: u32,
    pub task_tgid: u32,
    pub task_group_leader: u32,
    pub task_start_boottime: u32,
    pub task_self_exec_id: u32,
    pub task_comm: u32,
    pub task_stack: u32,
    pub task_cgroups: u32,
    /// `task_struct.thread.fsbase`: base of thread-local storage.
    pub task_thread_pointer: u32,
    pub task_signal: u32,
    pub signal_live: u32,
    pub css_set_default_cgroup: u32,
    pub css_set_subsystems: u32,
    pub css_cgroup: u32,
    pub cgroup_kernfs_node: u32,
    pub cgroup_root: u32,
    pub cgroup_root_hierarchy_id: u32,
    pub kernfs_node_id: u32,
    pub task_pid: u32,
    /// Name of an open file, `file.f_path.dentry`.
    pub file_dentry: u32,
    /// Where the path of the program lies, above the environment.
    pub memory_environment_end: u32,
    /// Page faults of the thread so far.
    pub task_minor_faults: u32,
    pub task_major_faults: u32,
    /// `task_struct.__state`, before 5.14 `state`.
    pub task_state: u32,
    pub task_files: u32,
    /// `files_struct.fdt`.
    pub files_table: u32,
    /// `fdtable.fd`.
    pub table_files: u32,
    /// `fdtable.max_fds`.
    pub table_size: u32,
    pub file_inode: u32,
    pub inode_mode: u32,
    /// `task_struct.se.cfs_rq`, absent without group scheduling.
    pub task_queue: u32,
    /// `cfs_rq`'s sum of the time for which it was throttled, absent without
    /// quotas.
    pub queue_throttled: u32,
    /// Pointer from `cfs_rq` to the CPU's `rq`, and in that the nanoseconds that
    /// the hypervisor took so far; [`Self::ABSENT`] where there is none.
    pub queue_cpu: u32,
    pub cpu_stolen: u32,
    /// `task_struct.real_parent`.
    pub task_parent: u32,
}

impl KernelOffsets {
    /// In place of an offset or index that this kernel does not have.
    pub const ABSENT: u32 = u32::MAX;
}

/// A process whose mappings are known. Key of the map: its tgid.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ProcessEntry {
    /// Start of the process after boot in [`TICK_NS`], as `/proc/PID/stat`
    /// tells it: userspace cannot know it any finer.
    pub start_ticks: u64,
    /// `task_struct.self_exec_id` the mappings belong to, or
    /// [`ProcessEntry::ANY_EXEC`].
    pub exec_id: u32,
    /// The process's mappings are `first_mapping .. first_mapping +
    /// mapping_count` in `MAPPINGS`, ordered by start.
    pub first_mapping: u32,
    pub mapping_count: u32,
    /// Where its C library keeps the values of thread-specific keys.
    pub thread_specific: ThreadSpecific,
    /// Index in `V8S` plus one; 0 when the process does not hold V8.
    pub v8: u32,
    pub reserved: u32,
}

/// Nanoseconds of a clock tick in `/proc`: `USER_HZ` is 100 on every
/// architecture that we run on.
pub const TICK_NS: u64 = 10_000_000;

impl ProcessEntry {
    /// The process was scanned without an event that told its `exec_id`.
    pub const ANY_EXEC: u32 = u32::MAX;
}

/// An executable mapping of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mapping {
    pub start: u64,
    /// One past the last byte.
    pub end: u64,
    /// Process address minus ELF virtual address.
    pub bias: u64,
    /// Executable slot, or [`crate::NO_EXECUTABLE`] for an anonymous mapping.
    pub executable: u32,
    pub reserved: u32,
}

/// Entries in `MAPPINGS`, all processes together.
pub const MAX_MAPPINGS: usize = 1 << 17;
/// Entries in `PROCESSES`.
pub const MAX_PROCESSES: usize = 1 << 15;
/// Executables known at one time. A slot is `0 .. MAX_EXECUTABLES`.
pub const MAX_EXECUTABLES: usize = 1 << 13;
/// Unwind tables at one time: as many as there may be executables, should no
/// two of them share one.
pub const MAX_TABLES: usize = MAX_EXECUTABLES;
/// Entries in each of `WANTED_PROCESSES` and `WANTED_CGROUPS`.
pub const MAX_WANTED: usize = 1 << 14;
/// Records of each CPU, in which stacks are gathered.
pub const RECORDS_PER_CPU: usize = 4;
/// Bytes of the event ring, unless userspace asks for more: 4 MiB.
pub const RING_BYTES: usize = 1 << 22;
