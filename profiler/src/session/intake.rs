//! Samples as they arrive: interned and added up, not yet named.

use profiler_ebpf::{COMM_LENGTH, Frame, Missing, Outcome, ProcessKey, interpreter};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    interpreted::{CodeId, CodeKey, Functions, JavaScriptId, V8Key},
    runtimes::RuntimeStacks,
};
use crate::{
    bpf::Sample,
    process::{ExecutableId, ProcessTable, Translated},
    profile::{ContainerId, Source},
};

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
    ) {
        self.events += 1;
        let source = match sample.source {
            profiler_ebpf::Source::OnCpu => Source::OnCpu,
            profiler_ebpf::Source::GilWait => Source::GilWait,
        };
        self.samples += u64::from(source == Source::OnCpu);
        let process = self.process(sample, container, describe);
        let thread = self.thread(sample, process);
        self.collect(sample, process, table);
        if source == Source::OnCpu {
            self.runtimes.count(sample, &self.scratch);
        }
        let stack = self.stack();
        let total = self.totals.entry((source, thread, stack)).or_default();
        total.weight += sample.header.weight;
        total.count += 1;
    }

    fn process(
        &mut self,
        sample: &Sample<'_>,
        container: ContainerId,
        describe: impl FnOnce(u32) -> String,
    ) -> u32 {
        let key = sample.header.process;
        if let Some(&id) = self.by_process.get(&(key, container)) {
            return id;
        }
        let id = self.processes.len() as u32;
        self.processes.push(RawProcess {
            key,
            container,
            name: text(&sample.header.process_name),
            command_line: describe(key.tgid),
        });
        self.by_process.insert((key, container), id);
        id
    }

    fn thread(&mut self, sample: &Sample<'_>, process: u32) -> u32 {
        let tid = sample.header.tid;
        if let Some(&id) = self.by_thread.get(&(process, tid)) {
            return id;
        }
        let id = self.threads.len() as u32;
        self.threads.push(RawThread {
            tid,
            name: text(&sample.header.thread_name),
            process,
        });
        self.by_thread.insert((process, tid), id);
        id
    }

    /// Translates the stack into `scratch`, innermost frame first.
    fn collect(&mut self, sample: &Sample<'_>, process: u32, table: &mut ProcessTable) {
        self.scratch.clear();
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
fn text(name: &[u8; COMM_LENGTH]) -> String {
    let end = name
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(name.len());
    String::from_utf8_lossy(&name[..end]).into_owned()
}
