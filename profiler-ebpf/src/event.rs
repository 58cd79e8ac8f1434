//! What the kernel side sends through the ring buffer.

/// Longest kernel stack that is recorded, in frames. The kernel's own limit,
/// `kernel.perf_event_max_stack`, is 127 by default.
pub const MAX_KERNEL_FRAMES: usize = 127;

/// Most native frames that one walk yields. Deeper stacks end with
/// [`Outcome::FrameLimit`].
pub const MAX_USER_FRAMES: usize = 256;

/// Room for the words of one event: kernel frames first, user frames behind
/// them. A power of two, so that an index can be bounded by a mask.
pub const MAX_WORDS: usize = 1024;

/// Length of a thread's name, `TASK_COMM_LEN` in include/linux/sched.h.
pub const COMM_LENGTH: usize = 16;

/// Longest cgroup path that is sent; longer ones are cut.
pub const CGROUP_PATH_LENGTH: usize = 512;

/// First word of every event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    Sample = 1,
    Exec = 2,
    Exit = 3,
    Fork = 4,
    CgroupCreated = 5,
}

/// What a sample weighs: the hook that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Source {
    /// The CPU clock ticked while the thread was running. Weight: nanoseconds
    /// of CPU time, the sampling period.
    OnCpu = 0,
}

/// How the walk of a user stack ended. Every stack has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Outcome {
    /// A kernel thread: there is no user stack to walk.
    NoUserStack = 0,
    /// The outermost frame of the thread was reached: the stack is complete.
    RootReached = 1,
    /// The stack is deeper than [`MAX_USER_FRAMES`].
    FrameLimit = 2,
    /// The process had just started; its mappings were not known yet.
    ProcessUnknown = 3,
    /// An address lies in no known executable mapping.
    MappingUnknown = 4,
    /// The unwind table of an executable was still being built.
    TableNotReady = 5,
    /// No unwind table could be built for an executable.
    TableUnavailable = 6,
    /// Stack memory could not be read (paged out, or not a stack).
    StackUnreadable = 7,
    /// The unwind information uses an expression that is not supported.
    UnsupportedRule = 8,
    /// The frame's address depends on a register whose value is lost.
    RegisterLost = 9,
    /// In code without unwind information, the frame pointer led nowhere.
    FramePointerBroken = 10,
    /// The caller's frame is not above the callee's: the stack is corrupt.
    StackNotGrowing = 11,
    /// A 32-bit process: its code is not walked.
    Compat32 = 12,
}

impl Outcome {
    pub const COUNT: usize = 13;

    pub const ALL: [Self; Self::COUNT] = [
        Self::NoUserStack,
        Self::RootReached,
        Self::FrameLimit,
        Self::ProcessUnknown,
        Self::MappingUnknown,
        Self::TableNotReady,
        Self::TableUnavailable,
        Self::StackUnreadable,
        Self::UnsupportedRule,
        Self::RegisterLost,
        Self::FramePointerBroken,
        Self::StackNotGrowing,
        Self::Compat32,
    ];

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }
}

/// A process, told apart from every earlier and later one with the same pid,
/// and from itself before an `execve`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct ProcessKey {
    /// Process id (thread-group id) in the initial pid namespace.
    pub tgid: u32,
    /// How often the process called `execve`: `task_struct.self_exec_id`.
    pub exec_id: u32,
    /// Start of the thread-group leader, nanoseconds since boot:
    /// `task_struct.start_boottime`. In clock ticks it is field 22 of
    /// `/proc/PID/stat`.
    pub start_boottime: u64,
}

/// Fixed part of a sample. `kernel_frames` words (addresses, innermost first)
/// and then `user_words` words (see [`Frame`], innermost first) follow.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SampleHeader {
    pub kind: u32,
    pub source: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
    /// Unit depends on `source`.
    pub weight: u64,
    pub process: ProcessKey,
    pub tid: u32,
    pub cpu: u32,
    /// Id of the cgroup in the version 2 hierarchy.
    pub cgroup_v2: u64,
    /// Id of the cgroup in the version 1 hierarchy chosen at start, or 0.
    pub cgroup_v1: u64,
    pub outcome: u32,
    pub kernel_frames: u32,
    pub user_words: u32,
    /// Executable slot in which the walk failed, or [`NO_EXECUTABLE`].
    pub failed_executable: u32,
    /// Address at which the walk failed, 0 when it did not.
    pub failed_address: u64,
    pub thread_name: [u8; COMM_LENGTH],
    /// Name of the thread-group leader.
    pub process_name: [u8; COMM_LENGTH],
}

/// A process called `execve`, or its last thread exited.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ProcessEvent {
    pub kind: u32,
    pub reserved: u32,
    pub time: u64,
    /// The process it happened to; of a fork, the child.
    pub process: ProcessKey,
    /// Of a fork, the parent's thread-group id; else 0.
    pub parent_tgid: u32,
    pub reserved2: u32,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub process_name: [u8; COMM_LENGTH],
}

/// A cgroup was made.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct CgroupEvent {
    pub kind: u32,
    /// Number of the hierarchy, as in `/proc/PID/cgroup`; 0 is version 2.
    pub hierarchy: u32,
    pub id: u64,
    /// Bytes of `path` in use, without the terminator.
    pub path_length: u32,
    pub reserved: u32,
    pub path: [u8; CGROUP_PATH_LENGTH],
}

/// Marks "no executable" where a slot is expected.
pub const NO_EXECUTABLE: u32 = u32::MAX;

/// A user frame, packed in one word.
///
/// The address is the one to look up: of a return address, the byte before
/// it, so that it lies inside the call instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Frame {
    /// `address` is a virtual address of the ELF file in executable slot
    /// `executable`: independent of where the process mapped it.
    Native { executable: u32, address: u64 },
    /// An address of the process in an anonymous mapping (JIT code) or in
    /// none.
    Raw { address: u64 },
}

impl Frame {
    const KIND_SHIFT: u32 = 60;
    const KIND_NATIVE: u64 = 1;
    const KIND_RAW: u64 = 2;
    const EXECUTABLE_SHIFT: u32 = 40;
    const EXECUTABLE_MASK: u64 = (1 << 20) - 1;
    /// Widest ELF virtual address that a native frame can hold.
    pub const ADDRESS_MASK: u64 = (1 << Self::EXECUTABLE_SHIFT) - 1;
    const RAW_MASK: u64 = (1 << Self::KIND_SHIFT) - 1;

    #[inline(always)]
    pub const fn pack_native(executable: u32, address: u64) -> u64 {
        (Self::KIND_NATIVE << Self::KIND_SHIFT)
            | ((executable as u64 & Self::EXECUTABLE_MASK) << Self::EXECUTABLE_SHIFT)
            | (address & Self::ADDRESS_MASK)
    }

    #[inline(always)]
    pub const fn pack_raw(address: u64) -> u64 {
        (Self::KIND_RAW << Self::KIND_SHIFT) | (address & Self::RAW_MASK)
    }

    /// `None` for a word that no frame packs to.
    pub const fn unpack(word: u64) -> Option<Self> {
        match word >> Self::KIND_SHIFT {
            Self::KIND_NATIVE => Some(Self::Native {
                executable: ((word >> Self::EXECUTABLE_SHIFT) & Self::EXECUTABLE_MASK) as u32,
                address: word & Self::ADDRESS_MASK,
            }),
            Self::KIND_RAW => Some(Self::Raw {
                address: word & Self::RAW_MASK,
            }),
            _ => None,
        }
    }
}

/// Per-CPU counters of the kernel side, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// The CPU clock ticked while the CPU was idle.
    Idle = 0,
    /// Samples of tasks that the gate let through.
    Samples = 1,
    /// Samples that the gate turned away.
    NotWanted = 2,
    /// Samples lost because the ring buffer was full.
    SamplesLost = 3,
    /// Process and cgroup events lost for the same reason.
    EventsLost = 4,
    /// Kernel stacks that could not be read.
    KernelStackFailed = 5,
    /// A hook ran inside another on the same CPU and found its record in use.
    RecordBusy = 6,
    /// Entries a full map turned away.
    MapFull = 7,
}

impl Counter {
    pub const COUNT: usize = 8;
    /// Outcomes are counted behind the named counters.
    pub const OUTCOMES: u32 = Self::COUNT as u32;
    pub const TOTAL: usize = Self::COUNT + Outcome::COUNT;
}
