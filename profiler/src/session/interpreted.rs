//! Functions of interpreters, read from a process's memory when the first
//! sample names them: later the process may be gone, or the object.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use profiler_ebpf::Missing;
use rustc_hash::FxHashMap;

use crate::runtimes::{
    ProcessMemory, Registry,
    python::{Code, read_code},
    v8::{JavaScriptFrame, Reader},
};

/// What could not be read is not tried again for this long: of a process that
/// is gone, every sample would try.
const RETRY: Duration = Duration::from_millis(20);

/// Index in [`Functions::python`].
pub type CodeId = u32;

/// Index in [`Functions::javascript`].
pub type JavaScriptId = u32;

/// What a sample says of a frame of V8.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct V8Key {
    pub process: u32,
    pub runtime: u32,
    pub kind: u32,
    pub object: u64,
    pub detail: u64,
}

/// Frames of V8 that are remembered; with more, all are read again.
const MAX_V8_FRAMES: usize = 1 << 20;

/// What a sample says of a Python function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CodeKey {
    process: u32,
    code: u64,
    checksum: u32,
}

/// A function of JavaScript of one process: the same script may be another
/// file in another container.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct JavaScriptFunction {
    /// Index in [`Intake::processes`](super::intake::Intake::processes).
    pub process: u32,
    pub frame: JavaScriptFrame,
}

/// Different functions; those of Python once however many processes have it.
#[derive(Default)]
pub struct Functions {
    pub python: Vec<Arc<Code>>,
    by_code: FxHashMap<Arc<Code>, CodeId>,
    by_key: FxHashMap<CodeKey, CodeId>,
    /// What could not be read, and when that was tried: its memory may hold
    /// another code object of the same looks soon.
    unreadable: FxHashMap<CodeKey, Instant>,
    /// By runtime, address and checksum: a forked worker that ended too soon
    /// had the code objects of its parent, at the same addresses.
    by_looks: FxHashMap<(u32, u64, u32), CodeId>,
    pub javascript: Vec<JavaScriptFunction>,
    by_frame: FxHashMap<JavaScriptFunction, JavaScriptId>,
    by_v8: FxHashMap<V8Key, Vec<JavaScriptId>>,
    unreadable_v8: FxHashMap<V8Key, Instant>,
    readers: FxHashMap<(u32, u32), Reader>,
}

impl Functions {
    /// The code object at `code` in process number `process` of the
    /// recording.
    pub fn code(
        &mut self,
        registry: &Registry,
        tgid: u32,
        process: u32,
        runtime: u32,
        code: u64,
        checksum: u32,
    ) -> Result<CodeId, Missing> {
        let key = CodeKey {
            process,
            code,
            checksum,
        };
        if let Some(&known) = self.by_key.get(&key) {
            return Ok(known);
        }
        let now = Instant::now();
        let looks = (runtime, code, checksum);
        if let Some(&tried) = self.unreadable.get(&key)
            && now - tried < RETRY
        {
            let known = self.by_looks.get(&looks);
            return known.copied().ok_or(Missing::CodeUnreadable);
        }
        let read = registry
            .python(runtime)
            .zip(ProcessMemory::new(tgid))
            .ok_or(Missing::Unrecognised)
            .and_then(|(python, memory)| {
                read_code(&memory, python, code, checksum, None).map_err(|error| {
                    log::debug!("code object {code:#x} of process {tgid}: {error}");
                    Missing::CodeUnreadable
                })
            });
        match read {
            Ok(read) => {
                let id = self.intern(read);
                self.by_key.insert(key, id);
                self.by_looks.insert(looks, id);
                Ok(id)
            }
            Err(reason) => {
                self.unreadable.insert(key, now);
                self.by_looks.get(&looks).copied().ok_or(reason)
            }
        }
    }

    /// The functions of a frame of V8, innermost first. None of a builtin.
    pub fn javascript(
        &mut self,
        registry: &Registry,
        tgid: u32,
        key: V8Key,
    ) -> Result<Vec<JavaScriptId>, Missing> {
        if let Some(known) = self.by_v8.get(&key) {
            return Ok(known.clone());
        }
        let now = Instant::now();
        if let Some(&tried) = self.unreadable_v8.get(&key)
            && now - tried < RETRY
        {
            return Err(Missing::CodeUnreadable);
        }
        let (Some(engine), Some(memory)) = (registry.v8(key.runtime), ProcessMemory::new(tgid))
        else {
            return Err(Missing::Unrecognised);
        };
        let read = self
            .readers
            .entry((key.process, key.runtime))
            .or_insert_with(|| Reader::new(Arc::clone(engine)))
            .resolve(&memory, key.kind, key.object, key.detail);
        let frames = match read {
            Ok(frames) => frames,
            Err(error) => {
                log::debug!("JavaScript frame of process {tgid}: {error}");
                if self.unreadable_v8.len() >= MAX_V8_FRAMES {
                    self.unreadable_v8.clear();
                }
                self.unreadable_v8.insert(key, now);
                return Err(Missing::CodeUnreadable);
            }
        };
        let ids: Vec<JavaScriptId> = frames
            .into_iter()
            .map(|frame| {
                self.intern_javascript(JavaScriptFunction {
                    process: key.process,
                    frame,
                })
            })
            .collect();
        if self.by_v8.len() >= MAX_V8_FRAMES {
            self.by_v8.clear();
        }
        self.by_v8.insert(key, ids.clone());
        Ok(ids)
    }

    fn intern_javascript(&mut self, function: JavaScriptFunction) -> JavaScriptId {
        if let Some(&id) = self.by_frame.get(&function) {
            return id;
        }
        let id = self.javascript.len() as JavaScriptId;
        self.javascript.push(function.clone());
        self.by_frame.insert(function, id);
        id
    }

    fn intern(&mut self, code: Code) -> CodeId {
        if let Some(&id) = self.by_code.get(&code) {
            return id;
        }
        let code = Arc::new(code);
        let id = self.python.len() as CodeId;
        self.python.push(Arc::clone(&code));
        self.by_code.insert(code, id);
        id
    }
}
