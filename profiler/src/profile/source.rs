//! What the weights of samples measure.

use serde::{Deserialize, Serialize};

/// What a sample's weight measures, or what a view adds up of several.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// Nanoseconds of CPU time, sampled.
    #[default]
    OnCpu,
    /// View: the whole time of threads, on a CPU and off.
    Wall,
    /// View: all time off a CPU, that in which a thread had no work included.
    OffCpu,
    /// Nanoseconds that a thread waited inside of its work, for a CPU too.
    /// Totals of each thread and activity are exact; stacks are sampled in
    /// proportion to the length of the wait, and what has none is there without.
    Blocked,
    /// As above, while it waited for work: an event loop, a worker in accept.
    Idle,
    /// Nanoseconds that a thread waited for the global interpreter lock of
    /// CPython: every wait, measured.
    GilWait,
    /// Nanoseconds that other threads waited until this one woke them: locks,
    /// the GIL, pipes, child processes. Sampled as the stacks of the waits.
    Wakeup,
    /// Nanoseconds from the begin to the return of system calls. Totals of each
    /// thread and call are exact; stacks are sampled as those of waits.
    Syscall,
    /// Bytes of disk requests.
    Disk,
    /// Nanoseconds from a disk request's submission to its completion.
    DiskTime,
    /// Bytes sent and received through sockets.
    Network,
    /// Bytes of memory that page faults brought in.
    PageFault,
}

/// What weights are counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Nanoseconds,
    Bytes,
}

impl Unit {
    /// As pprof and speedscope spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanoseconds => "nanoseconds",
            Self::Bytes => "bytes",
        }
    }
}

impl Source {
    pub const ALL: [Self; 12] = [
        Self::OnCpu,
        Self::Wall,
        Self::OffCpu,
        Self::Blocked,
        Self::Idle,
        Self::GilWait,
        Self::Wakeup,
        Self::Syscall,
        Self::Disk,
        Self::DiskTime,
        Self::Network,
        Self::PageFault,
    ];

    /// Those that samples carry.
    pub fn recorded() -> impl Iterator<Item = Self> {
        Self::ALL
            .into_iter()
            .filter(|source| source.parts() == [*source])
    }

    /// The sources whose samples it shows: itself, but for a view.
    pub fn parts(self) -> &'static [Self] {
        match self {
            Self::OnCpu => &[Self::OnCpu],
            Self::Wall => &[Self::OnCpu, Self::Blocked, Self::Idle],
            Self::OffCpu => &[Self::Blocked, Self::Idle],
            Self::Blocked => &[Self::Blocked],
            Self::Idle => &[Self::Idle],
            Self::GilWait => &[Self::GilWait],
            Self::Wakeup => &[Self::Wakeup],
            Self::Syscall => &[Self::Syscall],
            Self::Disk => &[Self::Disk],
            Self::DiskTime => &[Self::DiskTime],
            Self::Network => &[Self::Network],
            Self::PageFault => &[Self::PageFault],
        }
    }

    /// Whether it shows the samples of `recorded`.
    pub fn shows(self, recorded: Self) -> bool {
        self.parts().contains(&recorded)
    }

    pub fn unit(self) -> Unit {
        match self {
            Self::OnCpu
            | Self::Wall
            | Self::OffCpu
            | Self::Blocked
            | Self::Idle
            | Self::GilWait
            | Self::Wakeup
            | Self::Syscall
            | Self::DiskTime => Unit::Nanoseconds,
            Self::Disk | Self::Network | Self::PageFault => Unit::Bytes,
        }
    }

    /// As options and machine-readable formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::OnCpu => "on_cpu",
            Self::Wall => "wall",
            Self::OffCpu => "off_cpu",
            Self::Blocked => "blocked",
            Self::Idle => "idle",
            Self::GilWait => "gil_wait",
            Self::Wakeup => "wakeup",
            Self::Syscall => "syscall",
            Self::Disk => "disk",
            Self::DiskTime => "disk_time",
            Self::Network => "network",
            Self::PageFault => "page_fault",
        }
    }

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::OnCpu => "on-CPU",
            Self::Wall => "wall",
            Self::OffCpu => "off-CPU",
            Self::Blocked => "blocked",
            Self::Idle => "idle",
            Self::GilWait => "GIL wait",
            Self::Wakeup => "wakeups",
            Self::Syscall => "system calls",
            Self::Disk => "disk bytes",
            Self::DiskTime => "disk time",
            Self::Network => "network bytes",
            Self::PageFault => "page faults",
        }
    }

    /// What the weights are, for a sentence.
    pub fn measures(self) -> &'static str {
        match self {
            Self::OnCpu => "CPU time",
            Self::Wall => "wall time",
            Self::OffCpu => "time off a CPU",
            Self::Blocked => "blocked time",
            Self::Idle => "idle time",
            Self::GilWait => "waiting for the GIL",
            Self::Wakeup => "others' waiting",
            Self::Syscall => "time in system calls",
            Self::Disk => "disk I/O",
            Self::DiskTime => "disk request time",
            Self::Network => "network traffic",
            Self::PageFault => "memory faulted in",
        }
    }

    /// What is counted beside the weight, in the singular.
    pub fn event(self) -> &'static str {
        match self {
            Self::OnCpu => "sample",
            Self::Wall | Self::OffCpu | Self::Syscall => "stack",
            Self::Blocked | Self::Idle | Self::GilWait => "wait",
            Self::Wakeup => "wakeup",
            Self::Disk | Self::DiskTime => "request",
            Self::Network => "message",
            Self::PageFault => "fault",
        }
    }
}
