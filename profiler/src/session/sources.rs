//! What is recorded beside the samples of the CPU clock. Each source attaches its
//! hooks, counts while the recording's window is open, and is collected at the
//! end.

use super::{
    disk::Disk, intake::Intake, memory::Memory, network::NetworkUse, statements::Statements,
    syscalls::SystemCalls, threads::Threads,
};
use crate::{
    bpf::{Event, Kernel},
    containers::Containers,
    options::RecordOptions,
    profile::{self, Note, Recording},
    progress::PoolNow,
};

/// Those that are not asked for do nothing.
pub struct Sources {
    threads: Threads,
    pub calls: SystemCalls,
    memory: Memory,
    network: NetworkUse,
    pub disk: Disk,
    pub statements: Statements,
}

/// What they counted.
pub struct Counted {
    accounts: Vec<profile::ThreadAccount>,
    syscalls: Option<profile::Syscalls>,
    memory: Option<profile::MemoryUse>,
    network: Option<profile::Network>,
    disk: profile::Disk,
    statements: Option<profile::Statements>,
}

impl Sources {
    /// Attaches the hooks. `wanted` says of a process that is there whether it is
    /// recorded.
    pub fn start(
        kernel: &mut Kernel,
        containers: &Containers,
        options: &RecordOptions,
        wanted: impl Fn(u32) -> bool,
    ) -> Self {
        let asked = options.sources;
        let calls = when(asked.syscalls, || {
            SystemCalls::start(kernel, options.trace.as_deref(), options.tells_targets())
        });
        let memory = when(asked.memory, || Memory::start(kernel));
        // Their hooks need the clocks of threads.
        let threads = when(asked.follow_threads(), || {
            Threads::start(kernel, containers, asked.waits, &wanted)
        });
        let network = when(asked.network, || NetworkUse::start(kernel));
        let disk = when(asked.disk, || Disk::start(kernel));
        let statements = when(options.statements, || Statements::start(kernel, &wanted));
        Self {
            threads,
            calls,
            memory,
            network,
            disk,
            statements,
        }
    }

    /// The recording begins.
    pub fn open_window(&mut self, kernel: &mut Kernel, containers: &mut Containers) {
        let start = self.threads.open_window(kernel);
        self.memory.open_window(kernel, start);
        self.network.open(kernel, containers);
        self.disk.begin(kernel);
        self.statements.open_window(kernel, start);
    }

    /// Takes what is over out of the kernel's tables, so that there is room for
    /// more.
    pub fn sweep(&mut self, kernel: &mut Kernel, containers: &mut Containers, intake: &mut Intake) {
        self.network.sweep(kernel, containers);
        self.calls.keep_house(kernel);
        self.disk.keep_house(kernel, containers, intake);
        self.statements.sweep(kernel);
    }

    /// Looks at what has no event for it: connections to services, if any are to
    /// be looked at now.
    pub fn sample(&mut self, kernel: &Kernel) -> Option<Vec<PoolNow<'_>>> {
        self.network.sample(kernel)
    }

    /// The recording ends.
    pub fn close_window(&mut self, kernel: &mut Kernel) {
        self.threads.close_window(kernel);
        self.network.close(kernel);
        self.statements.close_window(kernel);
    }

    /// Takes in what is no sample. Without `keep`, the recording has not begun.
    pub fn take(
        &mut self,
        event: Event<'_>,
        keep: bool,
        kernel: &mut Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
    ) {
        match event {
            Event::ThreadEnded(event) if keep => {
                let container =
                    containers.resolve(event.cgroup_v2, event.cgroup_v1, event.process.tgid);
                let names = (&event.process_name, &event.thread_name);
                let thread = intake.ended_thread(event.process, event.tid, names, container);
                self.threads.ended(&event, thread);
                self.calls.ended(&event, thread, kernel);
                self.memory.ended(&event, thread);
            }
            Event::OomKill(event) => self.memory.killed(&event, containers, intake),
            Event::TrafficEnded(event) => {
                let of = &event.traffic;
                let container = containers.resolve(of.cgroup_v2, of.cgroup_v1, of.process.tgid);
                self.network.ended(&event, container, intake);
            }
            Event::Accepted(event) => self.network.accepted(&event),
            Event::DiskRequestDone(event) if keep => self.disk.done(&event, intake),
            Event::StatementText { hash, text } => self.statements.learn(hash, &text),
            Event::StatementDone(event) if keep => {
                let (v2, v1) = (event.cgroup_v2, event.cgroup_v1);
                let container = containers.resolve(v2, v1, event.process.tgid);
                self.statements.done(&event, container);
            }
            _ => {}
        }
    }

    /// Collects what was counted.
    pub fn finish(
        self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Counted {
        let followed = self.threads.finish(kernel, containers, intake, notes);
        Counted {
            syscalls: self
                .calls
                .finish(kernel, containers, &followed, intake, notes),
            memory: self.memory.finish(&followed.clocks, intake, notes),
            disk: self.disk.finish(kernel, containers, intake, notes),
            network: self.network.finish(kernel, containers, intake, notes),
            statements: self.statements.finish(kernel, containers, notes),
            accounts: followed.accounts,
        }
    }
}

impl Counted {
    pub fn put_into(self, recording: &mut Recording) {
        recording.accounts = self.accounts;
        recording.syscalls = self.syscalls;
        recording.memory = self.memory;
        recording.network = self.network;
        recording.disk = self.disk;
        recording.statements = self.statements;
    }
}

/// What is not asked for is as when it counted nothing.
fn when<T: Default>(asked: bool, start: impl FnOnce() -> T) -> T {
    if asked { start() } else { T::default() }
}
