//! The model: one recording of weighted stacks with labels.
//!
//! Everything in it is interned: a stack is a node of a tree of frames, a
//! frame points to a function, a sample to a stack and a thread. Names are
//! resolved, so a saved recording renders anywhere, without root and without
//! the files it was made from.

pub mod about;
pub mod activity;
pub mod builder;
pub mod container;
pub mod disk;
pub mod document;
pub mod frame;
pub mod histogram;
pub mod memory;
pub mod network;
pub mod pools;
pub mod probe;
pub mod quality;
pub mod source;
pub mod statement;
pub mod store;
pub mod syscall;
pub mod target;

use serde::{Deserialize, Serialize};

pub use about::{About, Note, NoteKind};
pub use activity::{Activity, ActivityClass, Spent, ThreadAccount};
pub use builder::Builder;
pub use container::{Container, ContainerId, ContainerKind, ContainerUsage, Pressure};
pub use disk::{CacheUse, Disk, DiskAccess, DiskOperation, DiskUse, FileUse};
pub use document::Document;
pub use frame::{Frame, FrameId, FrameKind, Function, FunctionId, Module, ModuleId};
pub use histogram::Histogram;
pub use memory::{HostMemory, MemoryUse, OomKill, ThreadMemory};
pub use network::{
    Connection, Drop, Flow, Namespace, Network, Peer, Protocol, Role, ThreadTraffic, Traffic,
    Trouble, ip_of,
};
pub use pools::{Pool, PoolSamples};
pub use probe::{Answer, Probe, ProbeKind, ProbeMetric};
pub use quality::{Cost, OutcomeCount, ProgramCost, Quality, RuntimeQuality};
pub use source::{Source, Unit};
pub use statement::{PhaseUse, StatementServer, StatementUse, Statements};
pub use syscall::{SyscallUse, Syscalls};
pub use target::{CallTarget, Partial, TargetKind};

/// Version of the saved recording and of the JSON report. Raised when a
/// reader of the version before would misread it.
pub const FORMAT_VERSION: u32 = 1;

/// A whole recording.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Recording {
    pub format_version: u32,
    pub about: About,
    /// The first is always the host: what runs in no container.
    pub containers: Vec<Container>,
    pub processes: Vec<Process>,
    pub threads: Vec<Thread>,
    pub modules: Vec<Module>,
    pub functions: Vec<Function>,
    pub frames: Vec<Frame>,
    pub stacks: Vec<StackNode>,
    pub samples: Vec<Sample>,
    /// Processes with a global interpreter lock, by process.
    #[serde(default)]
    pub locks: Vec<LockUse>,
    /// How threads spent their wall time; empty when that was not recorded.
    #[serde(default)]
    pub accounts: Vec<ThreadAccount>,
    /// `None`: not recorded.
    #[serde(default)]
    pub syscalls: Option<Syscalls>,
    /// As above.
    #[serde(default)]
    pub memory: Option<MemoryUse>,
    /// `None` when it was not recorded.
    #[serde(default)]
    pub network: Option<Network>,
    /// Disk requests, by process, device and file.
    #[serde(default)]
    pub disk: Disk,
    /// Phases of PostgreSQL's statements. `None`: not asked for, or no server could be
    /// followed.
    #[serde(default)]
    pub statements: Option<Statements>,
    /// What servers said that were asked meanwhile, and which could not be asked.
    #[serde(default)]
    pub probes: Vec<Probe>,
    pub quality: Quality,
    pub cost: Cost,
    /// What a reader must know beside the numbers: what was skipped and why.
    pub notes: Vec<Note>,
}

pub type ProcessId = u32;
pub type ThreadId = u32;
pub type StackId = u32;

/// A process, as it was between one `execve` and the next.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Process {
    /// Process id on the host.
    pub pid: u32,
    /// Start, nanoseconds after boot: tells it from others with its pid.
    pub start_boottime_ns: u64,
    pub name: String,
    /// With secrets masked; empty when the process ended too soon to ask.
    pub command_line: String,
    pub container: ContainerId,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    pub tid: u32,
    pub name: String,
    pub process: ProcessId,
}

/// How the global interpreter lock (GIL) of a process was used. Who waited for
/// it, and how long, is told by the samples of [`Source::GilWait`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockUse {
    pub process: ProcessId,
    /// On-CPU samples in Python code in which it is known whether the thread
    /// held the lock, …
    pub known: u64,
    /// … and in which it did.
    pub held: u64,
    /// From when on waits were measured, nanoseconds after the recording's
    /// start: its lock is found by its first sample. `None`: not measured, a
    /// note says why.
    pub measured_from_ns: Option<u64>,
}

/// A stack: a frame, called by the stack `caller`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StackNode {
    /// `None` for the outermost frame. Always a smaller id than the node's
    /// own, so a tree is built in one pass.
    pub caller: Option<StackId>,
    pub frame: FrameId,
}

/// Everything recorded with the same stack, thread and source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    pub source: Source,
    pub thread: ThreadId,
    /// `None`: nothing of the stack is known, not even one frame.
    pub stack: Option<StackId>,
    /// In the source's unit.
    pub weight: u64,
    /// How many events it stands for.
    pub count: u64,
}

impl Recording {
    /// The frames of a stack, innermost first.
    pub fn frames_of(&self, stack: Option<StackId>) -> impl Iterator<Item = FrameId> + '_ {
        let mut next = stack;
        std::iter::from_fn(move || {
            let node = self.stacks.get(next? as usize)?;
            next = node.caller;
            Some(node.frame)
        })
    }

    pub fn frame(&self, id: FrameId) -> &Frame {
        &self.frames[id as usize]
    }

    pub fn function_of(&self, frame: FrameId) -> &Function {
        &self.functions[self.frames[frame as usize].function as usize]
    }

    pub fn process_of(&self, sample: &Sample) -> &Process {
        &self.processes[self.threads[sample.thread as usize].process as usize]
    }

    pub fn container_of(&self, sample: &Sample) -> &Container {
        &self.containers[self.process_of(sample).container as usize]
    }

    /// Sum of the weights of one source.
    pub fn total(&self, source: Source) -> u64 {
        self.samples
            .iter()
            .filter(|sample| source.shows(sample.source))
            .map(|sample| sample.weight)
            .sum()
    }
}
