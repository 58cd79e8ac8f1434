//! Functions of interpreters, read from a process's memory when the first
//! sample names them: later the process may be gone, or the object.

use std::{
    hash::Hash,
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

/// What a sample says of a Python function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeKey {
    pub process: u32,
    pub runtime: u32,
    pub code: u64,
    pub checksum: u32,
}

/// Objects that are remembered of each interpreter; with more, all are read
/// again.
const MAX_REMEMBERED: usize = 1 << 20;

/// What was read of a process, by what a sample said of it.
struct Remembered<Key, Value> {
    known: FxHashMap<Key, Value>,
    /// What could not be read, and when that was tried: its memory may hold
    /// another object of the same looks soon.
    unreadable: FxHashMap<Key, Instant>,
}

impl<Key, Value> Default for Remembered<Key, Value> {
    fn default() -> Self {
        Self {
            known: FxHashMap::default(),
            unreadable: FxHashMap::default(),
        }
    }
}

impl<Key: Copy + Eq + Hash, Value: Clone> Remembered<Key, Value> {
    /// `None`: it must be read. An error: that was tried a moment ago.
    fn get(&self, key: Key, now: Instant) -> Option<Result<Value, Missing>> {
        if let Some(known) = self.known.get(&key) {
            return Some(Ok(known.clone()));
        }
        let tried = *self.unreadable.get(&key)?;
        (now - tried < RETRY).then_some(Err(Missing::CodeUnreadable))
    }

    fn keep(&mut self, key: Key, value: Value) {
        if self.known.len() >= MAX_REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, value);
    }

    fn refuse(&mut self, key: Key, now: Instant) {
        if self.unreadable.len() >= MAX_REMEMBERED {
            self.unreadable.clear();
        }
        self.unreadable.insert(key, now);
    }
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
    codes: Remembered<CodeKey, CodeId>,
    /// By runtime, address and checksum: a forked worker that ended too soon
    /// had the code objects of its parent, at the same addresses.
    by_looks: FxHashMap<(u32, u64, u32), CodeId>,
    pub javascript: Vec<JavaScriptFunction>,
    by_frame: FxHashMap<JavaScriptFunction, JavaScriptId>,
    frames: Remembered<V8Key, Vec<JavaScriptId>>,
    readers: FxHashMap<(u32, u32), Reader>,
}

impl Functions {
    /// The code object that a frame of CPython names.
    pub fn code(
        &mut self,
        registry: &Registry,
        tgid: u32,
        key: CodeKey,
    ) -> Result<CodeId, Missing> {
        let now = Instant::now();
        let CodeKey {
            runtime,
            code,
            checksum,
            ..
        } = key;
        let looks = (runtime, code, checksum);
        if let Some(known) = self.codes.get(key, now) {
            return known.or_else(|reason| self.by_looks.get(&looks).copied().ok_or(reason));
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
                self.codes.keep(key, id);
                self.by_looks.insert(looks, id);
                Ok(id)
            }
            Err(reason) => {
                self.codes.refuse(key, now);
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
        let now = Instant::now();
        if let Some(known) = self.frames.get(key, now) {
            return known;
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
                self.frames.refuse(key, now);
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
        self.frames.keep(key, ids.clone());
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
