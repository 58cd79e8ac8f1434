//! From addresses to names: what was taken in becomes a recording.

use std::{os::fd::AsFd, path::Path};

use profiler_ebpf::Direction;
use rustc_hash::FxHashMap;

use super::{
    account::{describe, missing_text},
    disk::device_name,
    intake::{Intake, RawFrame},
    interpreted::{CodeId, Functions, JavaScriptId},
    originals::originals,
};
use crate::{
    process::{Executable, ExecutableId, ProcessTable},
    profile::{
        Builder, Frame, FrameId, FrameKind, Function, Module, ModuleId, Note, Process, Recording,
        Sample, StackId, Thread,
    },
    symbolize::{
        self, ExecutableFile, OriginalFrame, PerfMap, Resolved, Symbol, Symbolizer, open_root,
    },
    syscalls,
};

/// Frames that one address stands for, outermost first: a function and what
/// was inlined into it.
type Chain = Vec<FrameId>;

struct Resolver<'a> {
    builder: Builder,
    symbolizer: Symbolizer,
    table: &'a ProcessTable,
    native: FxHashMap<(ExecutableId, u64), Chain>,
    kernel: FxHashMap<u64, Chain>,
    jit: FxHashMap<(u32, u64), Chain>,
    /// Of Python and JavaScript.
    interpreted: FxHashMap<RawFrame, Chain>,
    /// What source maps say of JavaScript.
    originals: FxHashMap<JavaScriptId, OriginalFrame>,
    synthetic: FxHashMap<String, Chain>,
}

/// Names everything that was taken in.
pub fn resolve(intake: Intake, table: &ProcessTable, notes: &mut Vec<Note>) -> Recording {
    let mut resolver = Resolver {
        builder: Builder::default(),
        symbolizer: Symbolizer::new(symbolize::Options::from_environment()),
        table,
        native: FxHashMap::default(),
        kernel: FxHashMap::default(),
        jit: FxHashMap::default(),
        interpreted: FxHashMap::default(),
        originals: FxHashMap::default(),
        synthetic: FxHashMap::default(),
    };
    resolver.name_native(&intake, notes);
    resolver.name_kernel(&intake, notes);
    resolver.name_jit(&intake);
    resolver.originals = originals(&intake, notes);
    resolver.build(intake)
}

impl Resolver<'_> {
    fn name_native(&mut self, intake: &Intake, notes: &mut Vec<Note>) {
        let mut addresses: FxHashMap<ExecutableId, Vec<u64>> = FxHashMap::default();
        for frame in intake.stacks.iter().flat_map(|stack| stack.iter()) {
            if let RawFrame::Native {
                executable,
                address,
            } = *frame
            {
                addresses.entry(executable).or_default().push(address);
            }
        }
        let mut executables: Vec<_> = addresses.into_iter().collect();
        // The order of hash maps must not show in the recording.
        executables.sort_unstable_by_key(|(id, _)| *id);
        for (id, mut addresses) in executables {
            addresses.sort_unstable();
            addresses.dedup();
            self.name_executable(id, &addresses, notes);
        }
    }

    fn name_executable(&mut self, id: ExecutableId, addresses: &[u64], notes: &mut Vec<Note>) {
        let executable = self.table.executables.get(id);
        let resolved = match symbols_of(&mut self.symbolizer, executable, addresses) {
            Ok(resolved) => resolved,
            Err(error) => Resolved {
                notices: vec![error.to_string()],
                ..Resolved::default()
            },
        };
        notes.extend(resolved.notices.into_iter().map(Note::missing));
        let path = executable.path.display().to_string();
        let file_name = Path::new(&path)
            .file_name()
            .map_or_else(|| path.clone(), |name| name.to_string_lossy().into_owned());
        let module = self.builder.module(Module {
            path,
            build_id: hexadecimal(&executable.build_id),
            symbols: resolved.symbols,
        });
        let mut found = resolved.frames.into_iter();
        for &address in addresses {
            let symbols = found.next().unwrap_or_default();
            let chain = if symbols.is_empty() {
                let name = format!("{file_name}+{address:#x}");
                self.frame(FrameKind::Native, name, Some(module), address)
            } else {
                self.chain(FrameKind::Native, module, address, symbols)
            };
            self.native.insert((id, address), chain);
        }
    }

    fn name_kernel(&mut self, intake: &Intake, notes: &mut Vec<Note>) {
        let mut addresses: Vec<u64> = intake
            .stacks
            .iter()
            .flat_map(|stack| stack.iter())
            .filter_map(|frame| match *frame {
                RawFrame::Kernel { address } => Some(address),
                _ => None,
            })
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return;
        }
        let symbols = self.symbolizer.kernel(&addresses).unwrap_or_else(|error| {
            notes.push(Note::missing(format!(
                "no names for kernel frames: {error}"
            )));
            vec![None; addresses.len()]
        });
        for (address, symbol) in addresses.into_iter().zip(symbols) {
            let (name, module) = match symbol {
                Some(symbol) => (symbol.name, symbol.module),
                None => (format!("kernel+{address:#x}"), String::new()),
            };
            let module = self.builder.module(Module {
                path: if module.is_empty() {
                    "[kernel]".to_owned()
                } else {
                    format!("[{module}]")
                },
                ..Module::default()
            });
            let chain = self.frame(FrameKind::Kernel, name, Some(module), address);
            self.kernel.insert(address, chain);
        }
    }

    /// Code made at run time: named by the table that its compiler wrote, if
    /// it did.
    fn name_jit(&mut self, intake: &Intake) {
        let mut perf_maps: FxHashMap<u32, Option<PerfMap>> = FxHashMap::default();
        let module = self.builder.module(Module {
            path: "[jit]".to_owned(),
            ..Module::default()
        });
        for frame in intake.stacks.iter().flat_map(|stack| stack.iter()) {
            let RawFrame::Jit { process, address } = *frame else {
                continue;
            };
            if self.jit.contains_key(&(process, address)) {
                continue;
            }
            let tgid = intake.processes[process as usize].key.tgid;
            let names = perf_maps
                .entry(process)
                .or_insert_with(|| symbolize::perf_map(tgid));
            let name = names.as_ref().and_then(|names| names.find(address));
            let name = name.unwrap_or("[jit]").to_owned();
            let chain = self.frame(FrameKind::Jit, name, Some(module), 0);
            self.jit.insert((process, address), chain);
        }
    }

    /// A chain of a single frame.
    fn frame(
        &mut self,
        kind: FrameKind,
        name: String,
        module: Option<ModuleId>,
        address: u64,
    ) -> Chain {
        let function = self.builder.function(Function {
            name,
            kind,
            module,
            file: String::new(),
            line: 0,
        });
        vec![self.builder.frame(Frame {
            function,
            address,
            ..Frame::default()
        })]
    }

    fn chain(
        &mut self,
        kind: FrameKind,
        module: ModuleId,
        address: u64,
        symbols: Vec<Symbol>,
    ) -> Chain {
        symbols
            .into_iter()
            .rev()
            .map(|symbol| {
                let function = self.builder.function(Function {
                    name: symbol.name,
                    kind,
                    module: Some(module),
                    file: symbol.file,
                    line: symbol.definition_line,
                });
                self.builder.frame(Frame {
                    function,
                    line: symbol.line,
                    column: symbol.column,
                    inlined: symbol.inlined,
                    address,
                })
            })
            .collect()
    }

    fn synthetic(&mut self, text: String) -> Chain {
        if let Some(chain) = self.synthetic.get(&text) {
            return chain.clone();
        }
        let chain = self.frame(FrameKind::Synthetic, text.clone(), None, 0);
        self.synthetic.insert(text, chain.clone());
        chain
    }

    fn build(mut self, intake: Intake) -> Recording {
        let stacks: Vec<Option<StackId>> = intake
            .stacks
            .iter()
            .map(|stack| self.stack(&intake, stack))
            .collect();
        // The order of hash maps must not show in the recording.
        let mut totals: Vec<_> = intake.totals.into_iter().collect();
        totals.sort_unstable_by_key(|&(key, _)| key);
        for ((source, thread, stack), total) in totals {
            self.builder.sample(Sample {
                source,
                thread,
                stack: stacks[stack as usize],
                weight: total.weight,
                count: total.count,
            });
        }
        let mut recording = self.builder.finish();
        recording.processes = intake
            .processes
            .into_iter()
            .map(|process| Process {
                pid: process.key.tgid,
                start_boottime_ns: process.key.start_boottime,
                name: process.name,
                command_line: process.command_line,
                container: process.container,
            })
            .collect();
        recording.threads = intake
            .threads
            .into_iter()
            .map(|thread| Thread {
                tid: thread.tid,
                name: thread.name,
                process: thread.process,
            })
            .collect();
        recording
    }

    /// The chain of a frame that `name` names, once.
    fn once(&mut self, frame: RawFrame, name: impl FnOnce(&mut Self) -> FrameId) -> Chain {
        if let Some(chain) = self.interpreted.get(&frame) {
            return chain.clone();
        }
        let chain = vec![name(self)];
        self.interpreted.insert(frame, chain.clone());
        chain
    }

    fn python_frame(&mut self, functions: &Functions, code: CodeId, instruction: u32) -> FrameId {
        let code = &functions.python[code as usize];
        let module = self.builder.module(Module {
            path: "[python]".to_owned(),
            ..Module::default()
        });
        let function = self.builder.function(Function {
            name: code.name.clone(),
            kind: FrameKind::Python,
            module: Some(module),
            file: code.file.clone(),
            line: code.first_line,
        });
        self.builder.frame(Frame {
            function,
            line: code.line(instruction).unwrap_or_default(),
            ..Frame::default()
        })
    }

    fn javascript_frame(&mut self, functions: &Functions, id: JavaScriptId) -> FrameId {
        let frame = &functions.javascript[id as usize].frame;
        let module = self.builder.module(Module {
            path: "[javascript]".to_owned(),
            ..Module::default()
        });
        let original = self.originals.get(&id);
        let name = original.and_then(|original| original.name.as_ref());
        let function = self.builder.function(Function {
            name: name.unwrap_or(&frame.function).clone(),
            kind: FrameKind::JavaScript,
            module: Some(module),
            file: original.map_or_else(
                || frame.script.to_string(),
                |original| original.file.clone(),
            ),
            line: original.map_or(frame.first_line, |original| original.first_line),
        });
        self.builder.frame(Frame {
            function,
            line: original.map_or(frame.line, |original| original.line),
            column: original.map_or(frame.column, |original| original.column),
            inlined: frame.inlined,
            ..Frame::default()
        })
    }

    fn stack(&mut self, intake: &Intake, frames: &[RawFrame]) -> Option<StackId> {
        let functions = &intake.functions;
        let mut stack = None;
        for frame in frames.iter().rev() {
            let chain = match *frame {
                RawFrame::Kernel { address } => self.kernel.get(&address).cloned(),
                RawFrame::Native {
                    executable,
                    address,
                } => self.native.get(&(executable, address)).cloned(),
                RawFrame::Jit { process, address } => self.jit.get(&(process, address)).cloned(),
                RawFrame::Python { code, instruction } => Some(self.once(*frame, |resolver| {
                    resolver.python_frame(functions, code, instruction)
                })),
                RawFrame::JavaScript(id) => {
                    Some(self.once(*frame, |resolver| resolver.javascript_frame(functions, id)))
                }
                RawFrame::Missing { runtime, reason } => {
                    Some(self.synthetic(missing_text(runtime, reason)))
                }
                RawFrame::Unmapped => None,
                RawFrame::Waiting(activity) => Some(self.synthetic(activity.frame())),
                RawFrame::Woke { tid, activity } => {
                    let name = intake.thread_name(tid).unwrap_or_default();
                    Some(self.synthetic(format!("[woke {name} ({tid}): {}]", activity.title())))
                }
                RawFrame::Called(number) => {
                    Some(self.synthetic(format!("[call: {}]", syscalls::name(number))))
                }
                RawFrame::Faulted(kind) => {
                    let text = match kind {
                        profiler_ebpf::fault::MAJOR => "[page fault: read]",
                        _ => "[page fault]",
                    };
                    Some(self.synthetic(text.to_owned()))
                }
                RawFrame::Moved(direction) => Some(
                    self.synthetic(
                        match direction {
                            Direction::Sent => "[network send]",
                            Direction::Received => "[network receive]",
                        }
                        .to_owned(),
                    ),
                ),
                RawFrame::Disk { operation, device } => {
                    Some(self.synthetic(operation.frame(&device_name(device))))
                }
                RawFrame::NoStack => Some(self.synthetic("[no stack recorded]".to_owned())),
                RawFrame::Truncated(outcome) => {
                    let (_, meaning) = describe(outcome);
                    Some(self.synthetic(format!("[truncated: {meaning}]")))
                }
            };
            let chain = chain.unwrap_or_else(|| self.synthetic("[unknown]".to_owned()));
            for frame in chain {
                stack = Some(self.builder.stack(stack, frame));
            }
        }
        stack
    }
}

/// Asks for the symbols of an executable, in its own container's files too.
fn symbols_of(
    symbolizer: &mut Symbolizer,
    executable: &Executable,
    addresses: &[u64],
) -> Result<Resolved, symbolize::SymbolizeError> {
    let Some(file) = executable.file() else {
        return symbolizer.vdso(addresses);
    };
    let root = open_root(Path::new(&format!("/proc/{}/root", executable.seen_in))).ok();
    symbolizer.executable(
        &ExecutableFile {
            file,
            path: &executable.path.to_string_lossy(),
            root: root.as_ref().map(AsFd::as_fd),
        },
        addresses,
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
