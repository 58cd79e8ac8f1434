//! Functions of interpreters, read from a process's memory when the first
//! sample names them: later the process may be gone, or the object.

use std::sync::Arc;

use profiler_ebpf::Missing;
use rustc_hash::FxHashMap;

use crate::runtimes::{
    ProcessMemory, Registry,
    python::{Code, read_code},
};

/// Index in [`Functions::python`].
pub type CodeId = u32;

/// What a sample says of a Python function.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct CodeKey {
    process: u32,
    code: u64,
    checksum: u32,
}

/// Different functions, each once however many processes have it.
#[derive(Default)]
pub struct Functions {
    pub python: Vec<Arc<Code>>,
    by_code: FxHashMap<Arc<Code>, CodeId>,
    by_key: FxHashMap<CodeKey, Result<CodeId, Missing>>,
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
            return known;
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
        let id = read.map(|code| self.intern(code));
        self.by_key.insert(key, id);
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
