//! What the kernel side sends through the ring buffer.

use crate::Missing;

/// Longest kernel stack that is recorded, in frames. The kernel's own limit,
/// `kernel.perf_event_max_stack`, is 127 by default.
pub const MAX_KERNEL_FRAMES: usize = 127;

/// Most steps of one walk: frames, and one for each activation of CPython's
/// evaluator. Deeper stacks end with [`Outcome::FrameLimit`].
pub const MAX_USER_FRAMES: usize = 512;

/// Room for the words of one event: kernel frames first, user frames behind
/// them, a step yields two words at most. A power of two, so that an index can
/// be bounded by a mask.
pub const MAX_WORDS: usize = 2048;

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
    ThreadEnded = 6,
    OomKill = 7,
    TrafficEnded = 8,
    Accepted = 9,
    DiskRequestDone = 10,
    StatementText = 11,
    StatementDone = 12,
}

/// What a sample weighs: the hook that took it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Source {
    /// The CPU clock ticked while the thread was running. Weight: nanoseconds
    /// of CPU time, the sampling period.
    OnCpu = 0,
    /// A thread waited for CPython's global interpreter lock. Weight: how
    /// long, nanoseconds.
    GilWait = 1,
    /// A thread waited and goes on. Weight: nanoseconds, its own or also those
    /// of intervals that were not recorded.
    OffCpu = 2,
    /// A thread woke another that waited for it. Weight: how long that waited,
    /// nanoseconds, as for [`Self::OffCpu`].
    Wakeup = 3,
    /// A system call returns. Weight: nanoseconds since it began, also those of
    /// calls that were not recorded.
    Syscall = 4,
    /// A disk request is made. Weight: bytes.
    Disk = 5,
    /// A message was sent or received. Weight: bytes.
    Network = 6,
    /// A page fault. Weight: bytes.
    PageFault = 7,
}

impl Source {
    pub fn from_u32(value: u32) -> Option<Self> {
        [
            Self::OnCpu,
            Self::GilWait,
            Self::OffCpu,
            Self::Wakeup,
            Self::Syscall,
            Self::Disk,
            Self::Network,
            Self::PageFault,
        ]
        .into_iter()
        .find(|source| *source as u32 == value)
    }
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
    /// Of [`crate::python_state`].
    pub python_state: u32,
    /// Index in `PYTHONS` of the interpreter whose evaluator is on the stack.
    pub python_runtime: u32,
    /// Address of the lock of the interpreter that the thread runs, or 0.
    pub gil: u64,
    /// An [`crate::Activity`]: of [`Source::OffCpu`] its own, of
    /// [`Source::Wakeup`] that of the thread that it woke. Of [`Source::Disk`]
    /// an [`crate::Operation`].
    pub activity: u32,
    /// Of [`Source::Wakeup`], the id of that thread.
    pub woken_tid: u32,
    /// Of [`Source::Disk`], the device: see [`crate::DiskKey::device`].
    pub device: u32,
    pub reserved: u32,
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

/// A user frame, packed in one word, those of interpreters in two.
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
    /// A frame of CPython.
    Python {
        /// Index in `PYTHONS`.
        runtime: u32,
        /// The code object's address in the process.
        code: u64,
        /// Bytes from the first instruction; up to 3.10 `f_lasti`.
        instruction: u32,
        /// Of the code object, [`python_checksum`].
        checksum: u32,
    },
    /// A frame of V8.
    JavaScript {
        /// Index in `V8S`.
        runtime: u32,
        /// What `object` is, of [`crate::javascript`].
        kind: u32,
        /// An address in the process, without its tag.
        object: u64,
        /// Position in the code, and a check; by `kind`.
        detail: u64,
    },
    /// Frames of an interpreter (of [`crate::interpreter`]) that should be here.
    Missing { runtime: u32, reason: Missing },
}

/// Tells a code object from another that got its address.
#[inline(always)]
pub const fn python_checksum(file: u64, name: u64, first_line: u32) -> u32 {
    const SPREAD: u32 = 0x9e37_79b1;
    let pointers = ((file >> 4) as u32).wrapping_mul(SPREAD).rotate_left(13) ^ (name >> 4) as u32;
    pointers ^ first_line.wrapping_mul(SPREAD)
}

impl Frame {
    const KIND_SHIFT: u32 = 60;
    const KIND_NATIVE: u64 = 1;
    const KIND_RAW: u64 = 2;
    const KIND_PYTHON: u64 = 3;
    const KIND_JAVASCRIPT: u64 = 4;
    const KIND_MISSING: u64 = 5;
    const EXECUTABLE_SHIFT: u32 = 40;
    const EXECUTABLE_MASK: u64 = (1 << 20) - 1;
    /// Widest ELF virtual address that a native frame can hold.
    pub const ADDRESS_MASK: u64 = (1 << Self::EXECUTABLE_SHIFT) - 1;
    const RAW_MASK: u64 = (1 << Self::KIND_SHIFT) - 1;
    const OBJECT_BITS: u32 = 48;
    /// User addresses on x86-64 with four levels of page tables.
    const OBJECT_MASK: u64 = (1 << Self::OBJECT_BITS) - 1;
    const RUNTIME_MASK: u64 = 0xff;
    const SUBKIND_SHIFT: u32 = 56;

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

    #[inline(always)]
    pub const fn pack_python(runtime: u32, code: u64, instruction: u32, checksum: u32) -> [u64; 2] {
        [
            (Self::KIND_PYTHON << Self::KIND_SHIFT)
                | ((runtime as u64 & Self::RUNTIME_MASK) << Self::OBJECT_BITS)
                | (code & Self::OBJECT_MASK),
            (instruction as u64) << 32 | checksum as u64,
        ]
    }

    #[inline(always)]
    pub const fn pack_javascript(runtime: u32, kind: u32, object: u64, detail: u64) -> [u64; 2] {
        [
            (Self::KIND_JAVASCRIPT << Self::KIND_SHIFT)
                | ((kind as u64 & 0xf) << Self::SUBKIND_SHIFT)
                | ((runtime as u64 & Self::RUNTIME_MASK) << Self::OBJECT_BITS)
                | (object & Self::OBJECT_MASK),
            detail,
        ]
    }

    #[inline(always)]
    pub const fn pack_missing(runtime: u32, reason: Missing) -> u64 {
        (Self::KIND_MISSING << Self::KIND_SHIFT) | (runtime as u64 & 0xff) << 8 | reason as u64
    }

    /// The first frame of a stack and how many words it takes. `None` for
    /// words that no frame packs to.
    pub fn unpack(words: &[u64]) -> Option<(Self, usize)> {
        let first = *words.first()?;
        let object = first & Self::OBJECT_MASK;
        let runtime = (first >> Self::OBJECT_BITS & Self::RUNTIME_MASK) as u32;
        Some(match first >> Self::KIND_SHIFT {
            Self::KIND_NATIVE => {
                let executable = ((first >> Self::EXECUTABLE_SHIFT) & Self::EXECUTABLE_MASK) as u32;
                let address = first & Self::ADDRESS_MASK;
                (
                    Self::Native {
                        executable,
                        address,
                    },
                    1,
                )
            }
            Self::KIND_RAW => {
                let address = first & Self::RAW_MASK;
                (Self::Raw { address }, 1)
            }
            Self::KIND_PYTHON => {
                let second = *words.get(1)?;
                let frame = Self::Python {
                    runtime,
                    code: object,
                    instruction: (second >> 32) as u32,
                    checksum: second as u32,
                };
                (frame, 2)
            }
            Self::KIND_JAVASCRIPT => {
                let frame = Self::JavaScript {
                    runtime,
                    kind: (first >> Self::SUBKIND_SHIFT & 0xf) as u32,
                    object,
                    detail: *words.get(1)?,
                };
                (frame, 2)
            }
            Self::KIND_MISSING => {
                let frame = Self::Missing {
                    runtime: (first >> 8 & 0xff) as u32,
                    reason: Missing::from_u32(first as u32 & 0xff)?,
                };
                (frame, 1)
            }
            _ => return None,
        })
    }
}

/// The frames of a stack, as long as they can be read.
pub fn frames(mut words: &[u64]) -> impl Iterator<Item = Frame> {
    core::iter::from_fn(move || {
        let (frame, length) = Frame::unpack(words)?;
        words = &words[length..];
        Some(frame)
    })
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
    /// Waits for the global interpreter lock that were recorded.
    GilWaits = 8,
    /// Stacks of threads that waited.
    Waits = 9,
    /// Waits that were due with their stack, but too many others were: their
    /// time went to later ones.
    WaitsThinned = 10,
    /// Accounts of ended threads lost because the ring buffer was full.
    ThreadsLost = 11,
    /// Stacks of threads that woke others.
    Wakeups = 12,
    /// Stacks of disk requests.
    DiskStacks = 13,
    /// Disk requests that were due with their stack, but too many others were.
    DiskThinned = 14,
    /// Disk requests that found the table of requests or of processes full:
    /// they are not accounted for.
    DiskRequestsLost = 15,
    /// Disk requests whose file found the table of files full.
    DiskFilesLost = 16,
    /// Bytes of the page cache that found the table of processes full.
    DiskCacheLost = 17,
    /// Disk requests whose completion was not seen: their structure was used
    /// for another. They count, without their times.
    DiskEndsUnseen = 18,
    /// System calls whose file or peer found the table of those full: they count
    /// for their threads.
    TargetsLost = 19,
    /// Statements of PostgreSQL whose event, or text, found the ring buffer full.
    StatementsLost = 20,
    /// Reports of backends that found the table of them full.
    BackendsLost = 21,
    /// Kernel stacks that were walked by the kernel's own unwinder, since our walk
    /// of them did not reach their end.
    KernelStacksHandedOver = 22,
    /// Kernel stacks that were walked by both.
    KernelStacksCompared = 23,
    /// Those of them that differed.
    KernelStacksDifferent = 24,
}

impl Counter {
    pub const COUNT: usize = 25;
    /// Outcomes of the sampling clock's stacks are counted behind the named
    /// counters.
    pub const OUTCOMES: u32 = Self::COUNT as u32;
    pub const TOTAL: usize = Self::COUNT + Outcome::COUNT;
}
