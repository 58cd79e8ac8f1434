//! How threads spend their wall time: the scheduler's account of each thread.

use crate::{COMM_LENGTH, CallAbout, CallSet, NO_CALL, ProcessKey, Reclaim};

/// What a thread does with its time. Every nanosecond of a thread's life is one
/// of these, so that they add up to its wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Activity {
    /// It runs.
    OnCpu = 0,
    /// It could run, but others do.
    RunQueue = 1,
    /// It could run, but its cgroup has used up its CPU quota.
    Throttled = 2,
    /// futex(2) and its kin, System V semaphores, file locks.
    Lock = 3,
    /// The global interpreter lock of CPython.
    Gil = 4,
    Sleep = 5,
    /// For a signal.
    Signal = 6,
    /// For any of several descriptors: parked in an event loop.
    Poll = 7,
    /// For a client.
    Accept = 8,
    DiskRead = 9,
    DiskWrite = 10,
    /// Until data is on the disk: fsync(2) and its kin.
    Sync = 11,
    /// In a system call on names and directories.
    FileSystem = 12,
    /// Memory that is not there yet, outside of system calls.
    PageFault = 13,
    NetworkRead = 14,
    NetworkWrite = 15,
    Connect = 16,
    Pipe = 17,
    /// For a child process.
    Child = 18,
    /// For asynchronous I/O: io_uring and its older kin.
    AsyncIo = 19,
    /// In a system call on the address space.
    Memory = 20,
    /// By a signal or a debugger.
    Stopped = 21,
    /// On a descriptor that is none of the above: a terminal, an eventfd.
    Descriptor = 22,
    Other = 23,
    /// It could run, but the hypervisor ran somebody else on its CPU.
    Stolen = 24,
}

impl Activity {
    pub const COUNT: usize = 25;

    pub const ALL: [Self; Self::COUNT] = [
        Self::OnCpu,
        Self::RunQueue,
        Self::Throttled,
        Self::Lock,
        Self::Gil,
        Self::Sleep,
        Self::Signal,
        Self::Poll,
        Self::Accept,
        Self::DiskRead,
        Self::DiskWrite,
        Self::Sync,
        Self::FileSystem,
        Self::PageFault,
        Self::NetworkRead,
        Self::NetworkWrite,
        Self::Connect,
        Self::Pipe,
        Self::Child,
        Self::AsyncIo,
        Self::Memory,
        Self::Stopped,
        Self::Descriptor,
        Self::Other,
        Self::Stolen,
    ];

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }

    /// Whether a thread that waits so, by number, is in a system call: when that
    /// returns, its stack is that of the wait.
    #[inline(always)]
    pub const fn is_in_call(number: u32) -> bool {
        number != Self::PageFault as u32 && number != Self::Stopped as u32
    }

    /// By number, one of those that another thread ends.
    #[inline(always)]
    pub const fn of_waker(number: u32) -> Option<Self> {
        const LOCK: u32 = Activity::Lock as u32;
        const GIL: u32 = Activity::Gil as u32;
        const PIPE: u32 = Activity::Pipe as u32;
        const CHILD: u32 = Activity::Child as u32;
        const DESCRIPTOR: u32 = Activity::Descriptor as u32;
        match number {
            LOCK => Some(Self::Lock),
            GIL => Some(Self::Gil),
            PIPE => Some(Self::Pipe),
            CHILD => Some(Self::Child),
            DESCRIPTOR => Some(Self::Descriptor),
            _ => None,
        }
    }
}

/// What a descriptor that a thread waits on refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Descriptor {
    File,
    Pipe,
    Socket,
    Other,
}

impl Descriptor {
    /// By the mode of its inode, include/uapi/linux/stat.h.
    #[inline(always)]
    pub const fn of_mode(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o100_000 | 0o060_000 | 0o040_000 => Self::File,
            0o010_000 => Self::Pipe,
            0o140_000 => Self::Socket,
            _ => Self::Other,
        }
    }
}

/// What a system call makes a thread wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    For(Activity),
    /// To read from or write to the descriptor in the first argument.
    Read,
    Write,
    /// poll(2): the descriptors' structures and their number in the first two
    /// arguments.
    PollSome,
    /// select(2): one more than the highest descriptor in the first argument. Of
    /// none it is a sleep, as that of CPython up to 3.10.
    Select,
}

/// By the number of the call, arch/x86/entry/syscalls/syscall_64.tbl (6.18).
/// Numbers are only ever added, so it holds for older kernels too. `u64::MAX`:
/// the thread is in no call, but in an exception.
#[inline(always)]
pub const fn wait_of_call(number: u64) -> Wait {
    use Activity as A;
    Wait::For(match number {
        u64::MAX => A::PageFault,
        // read, pread64, readv, preadv, preadv2, recvfrom, recvmsg, recvmmsg
        0 | 17 | 19 | 295 | 327 | 45 | 47 | 299 => return Wait::Read,
        // write, pwrite64, writev, pwritev, pwritev2, sendfile, sendto,
        // sendmsg, sendmmsg
        1 | 18 | 20 | 296 | 328 | 40 | 44 | 46 | 307 => return Wait::Write,
        // poll, ppoll
        7 | 271 => return Wait::PollSome,
        // select, pselect6
        23 | 270 => return Wait::Select,
        // epoll_wait, epoll_pwait, epoll_pwait2
        232 | 281 | 441 => A::Poll,
        // futex, futex_waitv, futex_wait, semop, semtimedop, flock, fcntl
        202 | 449 | 455 | 65 | 220 | 73 | 72 => A::Lock,
        // nanosleep, clock_nanosleep
        35 | 230 => A::Sleep,
        // pause, rt_sigtimedwait, rt_sigsuspend
        34 | 128 | 130 => A::Signal,
        // accept, accept4
        43 | 288 => A::Accept,
        42 => A::Connect,
        // fsync, fdatasync, sync, syncfs, msync, sync_file_range
        74 | 75 | 162 | 306 | 26 | 277 => A::Sync,
        // open, stat, fstat, lstat, getdents, truncate to readlink, getdents64,
        // openat to readlinkat, renameat2, execve, execveat, statx, openat2
        2 | 4..=6 | 76..=89 | 217 | 257..=267 | 316 | 59 | 322 | 332 | 437 => A::FileSystem,
        // wait4, waitid; clone, vfork and clone3 wait for a child of vfork
        61 | 247 | 56 | 58 | 435 => A::Child,
        // io_getevents, io_pgetevents, io_uring_enter
        208 | 333 | 426 => A::AsyncIo,
        // mmap to brk, mremap, madvise, process_madvise
        9..=12 | 25 | 28 | 440 => A::Memory,
        // msgsnd, msgrcv, mq_timedsend, mq_timedreceive, splice, tee, vmsplice
        69 | 70 | 242 | 243 | 275 | 276 | 278 => A::Pipe,
        _ => A::Other,
    })
}

/// Whether a thread in the system call `number` can be the one that ends such a
/// wait. Interrupts end waits too, in whatever thread they find: so only those
/// are taken of which the call says that they do it themselves.
#[inline(always)]
pub const fn ends(number: u64, activity: Activity) -> bool {
    // exit, exit_group: they give up locks, close pipes and are waited for.
    let exits = matches!(number, 60 | 231);
    match activity {
        // And futex_wake, futex_requeue, semop, semtimedop, flock, fcntl.
        Activity::Lock | Activity::Gil => {
            exits || matches!(number, 202 | 454 | 456 | 65 | 220 | 73 | 72)
        }
        // And reading, which makes room; close.
        Activity::Pipe | Activity::Descriptor => {
            exits || number == 3 || matches!(wait_of_call(number), Wait::Read | Wait::Write)
        }
        Activity::Child => exits,
        _ => false,
    }
}

/// What a transfer waits for, by what its descriptor is.
#[inline(always)]
pub const fn transfer(write: bool, descriptor: Descriptor) -> Activity {
    match (descriptor, write) {
        (Descriptor::File, false) => Activity::DiskRead,
        (Descriptor::File, true) => Activity::DiskWrite,
        (Descriptor::Socket, false) => Activity::NetworkRead,
        (Descriptor::Socket, true) => Activity::NetworkWrite,
        (Descriptor::Pipe, _) => Activity::Pipe,
        (Descriptor::Other, _) => Activity::Descriptor,
    }
}

/// Time spent in one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Spent {
    pub nanoseconds: u64,
    /// Intervals that have ended.
    pub count: u64,
    /// Of the nanoseconds, those of intervals that could be recorded with
    /// their stack.
    pub offered: u64,
}

/// What a thread does now, [`ThreadClock::state`].
pub mod thread_state {
    /// It has not been seen to start or to stop anything.
    pub const UNKNOWN: u32 = 0;
    pub const ON_CPU: u32 = 1;
    /// It stopped though it could have run on.
    pub const PREEMPTED: u32 = 2;
    /// It waits for something, or was woken from that and waits for a CPU.
    pub const BLOCKED: u32 = 3;
    /// The gate does not let it through.
    pub const NOT_WANTED: u32 = 4;
    /// The kernel runs no program of ours in it: it went on twice and stopped never.
    pub const UNSEEN: u32 = 5;
}

/// Kernel frames that are kept of a blocked thread until its stack is taken.
pub const BLOCKED_KERNEL_FRAMES: usize = 64;

/// The account of a thread. Key of the map: its tid.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ThreadClock {
    /// Counted up before a change …
    pub changing: u32,
    /// … and behind it: a copy in which they differ is torn.
    pub changed: u32,
    /// Of [`thread_state`].
    pub state: u32,
    /// `task_struct.__state` when it was switched out.
    pub task_state: u32,
    /// `CLOCK_MONOTONIC` of the last change of state, nanoseconds.
    pub since: u64,
    /// When it was woken; 0 while it is not.
    pub woken: u64,
    pub process: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    /// Nanoseconds of waiting for which no stack was taken yet: blocked, in the
    /// run queue, and of who ended the wait; and of system calls.
    pub residual: [u64; 4],
    /// Weight of the stack that is due when it returns to user space, and what
    /// it waited for: blocked, and in the run queue after that.
    pub due: [u64; 2],
    pub due_activity: u32,
    pub kernel_frames: u32,
    /// What it waits for, an [`Activity`], while it is blocked.
    pub activity: u32,
    /// The system call that it is in, or [`NO_CALL`].
    pub call: u32,
    /// When that began; 0 if that was before us.
    pub call_start: u64,
    /// What the call is about, where that is told.
    pub about: CallAbout,
    /// The call whose stack is due.
    pub last_call: u32,
    /// Tells the thread from the one that had its id before.
    pub generation: u16,
    pub reserved: u16,
    /// Calls that it made.
    pub calls: CallSet,
    /// When it began to free memory; 0 while it does not.
    pub reclaim_start: u64,
    pub reclaim: Reclaim,
    /// Where the run queue keeps its throttled time, and that time, when the
    /// thread came to wait there.
    pub queue: u64,
    pub queue_throttled: u64,
    pub spent: [Spent; Activity::COUNT],
    pub kernel_stack: [u64; BLOCKED_KERNEL_FRAMES],
}

impl ThreadClock {
    pub const NEW: Self = Self {
        changing: 0,
        changed: 0,
        state: thread_state::UNKNOWN,
        task_state: 0,
        since: 0,
        woken: 0,
        process: ProcessKey {
            tgid: 0,
            exec_id: 0,
            start_boottime: 0,
        },
        cgroup_v2: 0,
        cgroup_v1: 0,
        residual: [0; 4],
        due: [0; 2],
        due_activity: 0,
        kernel_frames: 0,
        activity: 0,
        call: NO_CALL,
        call_start: 0,
        about: CallAbout::NONE,
        last_call: 0,
        generation: 0,
        reserved: 0,
        calls: [0; _],
        reclaim_start: 0,
        reclaim: Reclaim {
            count: 0,
            nanoseconds: 0,
        },
        queue: 0,
        queue_throttled: 0,
        spent: [Spent {
            nanoseconds: 0,
            count: 0,
            offered: 0,
        }; Activity::COUNT],
        kernel_stack: [0; BLOCKED_KERNEL_FRAMES],
    };
}

/// A thread ended: its account.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct ThreadEvent {
    pub kind: u32,
    pub tid: u32,
    pub time: u64,
    pub process: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub thread_name: [u8; COMM_LENGTH],
    pub process_name: [u8; COMM_LENGTH],
    pub spent: [Spent; Activity::COUNT],
    /// Calls that it made, to be collected under this generation.
    pub calls: CallSet,
    pub generation: u32,
    /// 1: its process ends with it.
    pub is_last: u32,
    pub reclaim: Reclaim,
    /// Page faults of its life.
    pub minor_faults: u64,
    pub major_faults: u64,
}

/// How much of what happens is recorded with stacks, for each CPU.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Thinning {
    /// Nanoseconds or bytes that one stack stands for, or more: doubled when more
    /// stacks were due than [`STACKS_PER_WINDOW`].
    pub period: u64,
    /// Start of the current window, nanoseconds.
    pub window: u64,
    /// Stacks that became due in it.
    pub taken: u64,
}

/// The time that is accounted for, `CLOCK_MONOTONIC` nanoseconds.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Window {
    /// 0: nothing is accounted for yet.
    pub start: u64,
    /// 0: it goes on.
    pub end: u64,
}

impl Window {
    /// How much of an interval lies in the window.
    #[inline(always)]
    pub const fn part(&self, start: u64, end: u64) -> u64 {
        if self.start == 0 {
            return 0;
        }
        let start = if start < self.start {
            self.start
        } else {
            start
        };
        let end = if self.end != 0 && self.end < end {
            self.end
        } else {
            end
        };
        end.saturating_sub(start)
    }
}

/// Nanoseconds of waiting that a stack stands for at least.
pub const WAIT_PERIOD_NS: u64 = 1_000_000;
/// Length of a window, nanoseconds.
pub const THINNING_WINDOW_NS: u64 = 50_000_000;
/// Most stacks in a window and CPU, unless userspace allows fewer: 1000 a second.
pub const STACKS_PER_WINDOW: u64 = 50;
/// Entries of `THREADS` unless userspace asks for more.
pub const MAX_THREADS: usize = 1 << 13;
