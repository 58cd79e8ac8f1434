//! How threads spent their wall time.

use serde::{Deserialize, Serialize};

use super::{Source, ThreadId};

/// What a thread did with its time. Every moment of a thread is one of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activity {
    OnCpu,
    RunQueue,
    Throttled,
    Lock,
    Gil,
    Sleep,
    Signal,
    Poll,
    Accept,
    DiskRead,
    DiskWrite,
    Sync,
    FileSystem,
    PageFault,
    NetworkRead,
    NetworkWrite,
    Connect,
    Pipe,
    Child,
    AsyncIo,
    Memory,
    Stopped,
    Descriptor,
    Other,
    /// The hypervisor ran somebody else on its CPU.
    Stolen,
}

/// Activities that a person looks at as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActivityClass {
    OnCpu,
    /// It could run, but waited for a CPU, for its quota, or for the hypervisor.
    RunQueue,
    /// It waited inside of its work.
    Blocked,
    /// It waited for work.
    Idle,
}

impl ActivityClass {
    pub const ALL: [Self; 4] = [Self::OnCpu, Self::RunQueue, Self::Blocked, Self::Idle];

    pub fn title(self) -> &'static str {
        match self {
            Self::OnCpu => "on a CPU",
            Self::RunQueue => "waiting for a CPU",
            Self::Blocked => "blocked",
            Self::Idle => "idle",
        }
    }
}

impl Activity {
    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::OnCpu => "on a CPU",
            Self::RunQueue => "run queue",
            Self::Throttled => "throttled by its CPU quota",
            Self::Lock => "lock",
            Self::Gil => "GIL",
            Self::Sleep => "sleep",
            Self::Signal => "signal",
            Self::Poll => "poll",
            Self::Accept => "accept",
            Self::DiskRead => "disk read",
            Self::DiskWrite => "disk write",
            Self::Sync => "sync to disk",
            Self::FileSystem => "file system",
            Self::PageFault => "page fault",
            Self::NetworkRead => "network read",
            Self::NetworkWrite => "network write",
            Self::Connect => "connect",
            Self::Pipe => "pipe",
            Self::Child => "child process",
            Self::AsyncIo => "asynchronous I/O",
            Self::Memory => "memory mapping",
            Self::Stopped => "stopped",
            Self::Descriptor => "other descriptor",
            Self::Other => "other",
            Self::Stolen => "CPU stolen by the hypervisor",
        }
    }

    /// A thread that looks at many descriptors, waits for a client, or for a
    /// signal, has no work. So has one that waits for a lock until it is given
    /// some, but that cannot be told from one that needs the lock.
    pub fn class(self) -> ActivityClass {
        match self {
            Self::OnCpu => ActivityClass::OnCpu,
            Self::RunQueue | Self::Throttled | Self::Stolen => ActivityClass::RunQueue,
            Self::Poll | Self::Accept | Self::Signal => ActivityClass::Idle,
            _ => ActivityClass::Blocked,
        }
    }

    /// The source that its stacks are samples of.
    pub fn source(self) -> Source {
        match self.class() {
            ActivityClass::OnCpu => Source::OnCpu,
            ActivityClass::RunQueue | ActivityClass::Blocked => Source::Blocked,
            ActivityClass::Idle => Source::Idle,
        }
    }

    /// The frame that ends the stack of a thread that waits.
    pub fn frame(self) -> String {
        match (self, self.class()) {
            (Self::Throttled, _) => "[throttled]".to_owned(),
            (Self::Stolen, _) => "[stolen]".to_owned(),
            (_, ActivityClass::RunQueue) => "[run queue]".to_owned(),
            (_, ActivityClass::Idle) => format!("[idle: {}]", self.title()),
            _ => format!("[blocked: {}]", self.title()),
        }
    }
}

/// Time that a thread spent in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    pub activity: Activity,
    /// Exact: counted by the scheduler's own events.
    pub ns: u64,
    /// Of it, time whose stacks were not recorded: waits that were not over at
    /// the end, page faults, time in the run queue after being interrupted.
    pub without_stack_ns: u64,
    /// Intervals that ended.
    pub intervals: u64,
}

/// The whole time of a thread in the recording. It adds up to the recording's
/// length for a thread that was there throughout.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ThreadAccount {
    pub thread: ThreadId,
    /// By activity, in its order; those that did not occur are left out.
    pub spent: Vec<Spent>,
}

impl ThreadAccount {
    pub fn wall_ns(&self) -> u64 {
        self.spent
            .iter()
            .fold(0, |sum, spent| sum.saturating_add(spent.ns))
    }
}
