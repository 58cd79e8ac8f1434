//! Samples as they arrive: interned and added up, not yet named.

use profiler_ebpf::{COMM_LENGTH, Direction, Frame, Missing, Outcome, ProcessKey, interpreter};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    disk::{is_worker, operation},
    interpreted::{CodeId, CodeKey, Functions, JavaScriptId, V8Key},
    runtimes::RuntimeStacks,
    threads::activity,
};
use crate::{
    bpf::Sample,
    process::{ExecutableId, ProcessTable, Translated, ticks_of},
    profile::{Activity, ContainerId, DiskOperation, ProcessId, Source},
};

/// Writeback runs on them, beside much else.
const KERNEL_WORKERS: &str = "kernel workers (writeback)";

/// A frame whose name is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RawFrame {
    Kernel {
        address: u64,
    },
    Native {
        executable: ExecutableId,
        address: u64,
    },
    /// Code made at run time by the process with this index.
    Jit {
        process: u32,
        address: u64,
    },
    /// A Python function, and where in it.
    Python {
        code: CodeId,
        instruction: u32,
    },
    /// A JavaScript function, and where in it.
    JavaScript(JavaScriptId),
    /// Frames of an interpreter are missing here, and why.
    Missing {
        runtime: u32,
        reason: Missing,
    },
    /// An address in no mapping that is known.
    Unmapped,
    /// The stack is not complete, and why.
    Truncated(Outcome),
    /// What a thread that waited did: the innermost frame.
    Waiting(Activity),
    /// The system call that a thread was in: the innermost frame.
    Called(u32),
    /// A page fault, and its kind: the innermost frame.
    Faulted(u32),
    /// A disk request: the innermost frame. The device as the kernel has it.
    Disk {
        operation: DiskOperation,
        device: u32,
    },
    /// Bytes or time for which no stack was recorded.
    NoStack,
    /// What was done with the bytes: the innermost frame.
    Moved(Direction),
    /// The thread that was woken, and what it waited for: the innermost frame.
    Woke {
        tid: u32,
        activity: Activity,
    },
}

/// A process in a container, as the samples named it.
#[derive(Clone, Debug)]
pub struct RawProcess {
    pub key: ProcessKey,
    pub container: ContainerId,
    pub name: String,
    pub command_line: String,
}

#[derive(Clone, Debug)]
pub struct RawThread {
    pub tid: u32,
    pub name: String,
    pub process: u32,
    /// What the name was last made of: threads name themselves after they began.
    comm: [u8; COMM_LENGTH],
}

/// Where a sample was added.
#[derive(Clone, Copy, Debug)]
pub struct Placed {
    pub thread: u32,
    pub stack: u32,
}

/// Totals of one thread, stack and source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Total {
    pub weight: u64,
    pub count: u64,
}

#[derive(Default)]
pub struct Intake {
    pub processes: Vec<RawProcess>,
    by_process: FxHashMap<(ProcessKey, ContainerId), u32>,
    /// What stands for several processes, by name: those that ended without a
    /// sample, the kernel's workers.
    brief: FxHashMap<(String, ContainerId), u32>,
    pub threads: Vec<RawThread>,
    by_thread: FxHashMap<(u32, u32), u32>,
    pub stacks: Vec<Box<[RawFrame]>>,
    by_stack: FxHashMap<Box<[RawFrame]>, u32>,
    pub totals: FxHashMap<(Source, u32, u32), Total>,
    /// Processes whose JIT frames need names.
    pub with_jit: FxHashSet<u32>,
    pub functions: Functions,
    pub runtimes: RuntimeStacks,
    /// Ticks of the sampling clock.
    pub samples: u64,
    /// All that was taken in.
    pub events: u64,
    scratch: Vec<RawFrame>,
}

impl Intake {
    /// Adds one sample. `describe` gives the command line of a process when
    /// it is seen for the first time.
    pub fn add(
        &mut self,
        sample: &Sample<'_>,
        container: ContainerId,
        table: &mut ProcessTable,
        describe: impl FnOnce(u32) -> String,
    ) -> Placed {
        self.events += 1;
        let source = match sample.source {
            profiler_ebpf::Source::OnCpu => Source::OnCpu,
            profiler_ebpf::Source::GilWait => Source::GilWait,
            profiler_ebpf::Source::OffCpu => activity(sample.header.activity).source(),
            profiler_ebpf::Source::Wakeup => Source::Wakeup,
            profiler_ebpf::Source::Syscall => Source::Syscall,
            profiler_ebpf::Source::Disk => Source::Disk,
            profiler_ebpf::Source::Network => Source::Network,
            profiler_ebpf::Source::PageFault => Source::PageFault,
        };
        self.samples += u64::from(source == Source::OnCpu);
        let header = &sample.header;
        let name = || text(&header.process_name);
        let process = if source == Source::Disk
            && sample.outcome == Outcome::NoUserStack
            && is_worker(&name())
        {
            self.kernel_workers(container)
        } else {
            self.process(header.process, container, name, describe)
        };
        let thread = self.thread(process, header.tid, String::new);
        self.rename(thread, &header.thread_name);
        self.collect(sample, process, table);
        if source == Source::OnCpu {
            self.runtimes.count(sample, &self.scratch);
        }
        let stack = self.stack();
        let total = self.totals.entry((source, thread, stack)).or_default();
        total.weight += sample.header.weight;
        total.count += 1;
        Placed { thread, stack }
    }

    pub fn process(
        &mut self,
        key: ProcessKey,
        container: ContainerId,
        name: impl FnOnce() -> String,
        describe: impl FnOnce(u32) -> String,
    ) -> u32 {
        if let Some(&id) = self.by_process.get(&(key, container)) {
            return id;
        }
        let id = self.processes.len() as u32;
        self.processes.push(RawProcess {
            key,
            container,
            name: name(),
            command_line: describe(key.tgid),
        });
        self.by_process.insert((key, container), id);
        id
    }

    fn thread(&mut self, process: u32, tid: u32, name: impl FnOnce() -> String) -> u32 {
        if let Some(&id) = self.by_thread.get(&(process, tid)) {
            return id;
        }
        let id = self.threads.len() as u32;
        self.threads.push(RawThread {
            tid,
            name: name(),
            process,
            comm: [0; COMM_LENGTH],
        });
        self.by_thread.insert((process, tid), id);
        id
    }

    fn rename(&mut self, thread: u32, comm: &[u8; COMM_LENGTH]) {
        let thread = &mut self.threads[thread as usize];
        if thread.comm != *comm {
            thread.comm = *comm;
            thread.name = text(comm);
        }
    }

    /// A thread that may have taken no sample.
    pub fn quiet_thread(
        &mut self,
        key: ProcessKey,
        container: ContainerId,
        tid: u32,
        names: (impl FnOnce() -> String, impl FnOnce() -> String),
        describe: impl FnOnce(ProcessKey) -> String,
    ) -> u32 {
        let process = self.process(key, container, names.0, |_| describe(key));
        self.thread(process, tid, names.1)
    }

    /// A process that may have taken no sample.
    pub fn quiet_process(
        &mut self,
        key: ProcessKey,
        container: ContainerId,
        name: impl FnOnce() -> String,
        describe: impl FnOnce(ProcessKey) -> String,
    ) -> u32 {
        self.process(key, container, name, |_| describe(key))
    }

    /// A thread that ended: itself if its process is known, else the one that
    /// stands for all of its container and name. The names are those of the
    /// process and the thread.
    pub fn ended_thread(
        &mut self,
        key: ProcessKey,
        tid: u32,
        (process_name, thread_name): (&[u8; COMM_LENGTH], &[u8; COMM_LENGTH]),
        container: ContainerId,
    ) -> u32 {
        let process = self.ended_process(key, container, text(process_name));
        if self.processes[process as usize].key == key {
            let thread = self.thread(process, tid, String::new);
            self.rename(thread, thread_name);
            thread
        } else {
            self.thread(process, 0, || text(process_name))
        }
    }

    /// A process that ended: as above.
    pub fn ended_process(
        &mut self,
        key: ProcessKey,
        container: ContainerId,
        name: String,
    ) -> ProcessId {
        match self.by_process.get(&(key, container)) {
            Some(&process) => process,
            None => self.several(format!("{name} (ended, without a sample)"), container),
        }
    }

    /// Threads of the kernel's work queues that work for a container.
    pub fn kernel_workers(&mut self, container: ContainerId) -> ProcessId {
        self.several(KERNEL_WORKERS.to_owned(), container)
    }

    pub fn is_kernel_workers(&self, process: ProcessId) -> bool {
        self.processes[process as usize].name == KERNEL_WORKERS
    }

    /// What stands for all processes of a name in a container.
    fn several(&mut self, name: String, container: ContainerId) -> ProcessId {
        let key = (name, container);
        if let Some(&process) = self.brief.get(&key) {
            return process;
        }
        let id = self.processes.len() as u32;
        self.processes.push(RawProcess {
            key: ProcessKey::default(),
            container,
            name: key.0.clone(),
            command_line: String::new(),
        });
        self.brief.insert(key, id);
        id
    }

    /// The thread that what has no other is charged to.
    pub fn main_thread(&mut self, process: ProcessId) -> u32 {
        let RawProcess { key, name, .. } = &self.processes[process as usize];
        let (tid, name) = (key.tgid, name.clone());
        self.thread(process, tid, || name)
    }

    /// A process that took samples, by what `/proc` tells of it.
    pub fn process_started(&self, tgid: u32, start_ticks: u64) -> Option<ProcessKey> {
        self.processes
            .iter()
            .rev()
            .map(|process| process.key)
            .find(|key| key.tgid == tgid && ticks_of(key.start_boottime) == start_ticks)
    }

    /// The process of a thread that took samples or waited.
    pub fn thread_by_id(&self, tid: u32) -> Option<&RawProcess> {
        let thread = self.threads.iter().rev().find(|thread| thread.tid == tid)?;
        self.processes.get(thread.process as usize)
    }

    /// Name of a thread that took samples or waited.
    pub fn thread_name(&self, tid: u32) -> Option<&str> {
        let thread = self.threads.iter().rev().find(|thread| thread.tid == tid)?;
        Some(&thread.name)
    }

    /// The stack with these frames, innermost first.
    pub fn stack_of(&mut self, frames: &[RawFrame]) -> u32 {
        self.scratch.clear();
        self.scratch.extend_from_slice(frames);
        self.stack()
    }

    /// Translates the stack into `scratch`, innermost frame first.
    fn collect(&mut self, sample: &Sample<'_>, process: u32, table: &mut ProcessTable) {
        self.scratch.clear();
        let activity = activity(sample.header.activity);
        match sample.source {
            profiler_ebpf::Source::OffCpu => self.scratch.push(RawFrame::Waiting(activity)),
            profiler_ebpf::Source::Wakeup => self.scratch.push(RawFrame::Woke {
                tid: sample.header.woken_tid,
                activity,
            }),
            profiler_ebpf::Source::PageFault => {
                self.scratch.push(RawFrame::Faulted(sample.header.activity));
            }
            profiler_ebpf::Source::Syscall => {
                self.scratch.push(RawFrame::Called(sample.header.activity));
            }
            profiler_ebpf::Source::Network => self.scratch.push(RawFrame::Moved(
                Direction::from_u32(sample.header.activity).unwrap_or(Direction::Sent),
            )),
            profiler_ebpf::Source::Disk => self.scratch.push(RawFrame::Disk {
                operation: operation(sample.header.activity),
                device: sample.header.device,
            }),
            _ => {}
        }
        self.scratch.extend(
            sample
                .kernel_stack
                .iter()
                .map(|&address| RawFrame::Kernel { address }),
        );
        for frame in profiler_ebpf::frames(sample.user_stack) {
            let frame = match table.translate(frame) {
                Translated::Native { id, address } => RawFrame::Native {
                    executable: id,
                    address,
                },
                Translated::Raw { address }
                    if sample.outcome != Outcome::MappingUnknown
                        || address != sample.header.failed_address =>
                {
                    self.with_jit.insert(process);
                    RawFrame::Jit { process, address }
                }
                Translated::Interpreted(frame) => {
                    self.interpreted(frame, sample, process, table);
                    continue;
                }
                _ => RawFrame::Unmapped,
            };
            self.scratch.push(frame);
        }
        if !matches!(sample.outcome, Outcome::RootReached | Outcome::NoUserStack) {
            self.scratch.push(RawFrame::Truncated(sample.outcome));
        }
    }

    /// Adds what a frame of an interpreter stands for: of V8, any number of
    /// functions.
    fn interpreted(
        &mut self,
        frame: Frame,
        sample: &Sample<'_>,
        process: u32,
        table: &ProcessTable,
    ) {
        let registry = &table.executables.runtimes;
        let tgid = sample.header.process.tgid;
        let missing = |runtime| move |reason| RawFrame::Missing { runtime, reason };
        match frame {
            Frame::Python {
                runtime,
                code,
                instruction,
                checksum,
            } => {
                let key = CodeKey {
                    process,
                    runtime,
                    code,
                    checksum,
                };
                let code = self.functions.code(registry, tgid, key);
                self.scratch
                    .push(code.map_or_else(missing(interpreter::PYTHON), |code| {
                        RawFrame::Python { code, instruction }
                    }));
            }
            Frame::JavaScript {
                runtime,
                kind,
                object,
                detail,
            } => {
                let key = V8Key {
                    process,
                    runtime,
                    kind,
                    object,
                    detail,
                };
                match self.functions.javascript(registry, tgid, key) {
                    Ok(ids) => self
                        .scratch
                        .extend(ids.into_iter().map(RawFrame::JavaScript)),
                    Err(reason) => self.scratch.push(missing(interpreter::V8)(reason)),
                }
            }
            Frame::Missing { runtime, reason } => self.scratch.push(missing(runtime)(reason)),
            Frame::Native { .. } | Frame::Raw { .. } => self.scratch.push(RawFrame::Unmapped),
        }
    }

    fn stack(&mut self) -> u32 {
        if let Some(&id) = self.by_stack.get(self.scratch.as_slice()) {
            return id;
        }
        let id = self.stacks.len() as u32;
        let frames: Box<[RawFrame]> = self.scratch.as_slice().into();
        self.stacks.push(frames.clone());
        self.by_stack.insert(frames, id);
        id
    }
}

/// A name as the kernel keeps it: up to the first zero.
pub fn text(name: &[u8]) -> String {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}
