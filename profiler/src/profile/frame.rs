//! Frames, functions and the modules they come from.

use serde::{Deserialize, Serialize};

pub type FrameId = u32;
pub type FunctionId = u32;
pub type ModuleId = u32;

/// What kind of code a frame runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    #[default]
    Native,
    Kernel,
    Python,
    JavaScript,
    /// Names come from a perf map or another table that a JIT compiler wrote.
    Jit,
    /// Made by us, in brackets: `[truncated: …]`.
    Synthetic,
}

/// An executable file, the kernel, or one of its modules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Module {
    /// Path in the process's own root, or `[kernel]`, `[vdso]`, `[jit]`.
    pub path: String,
    /// Lower-case hexadecimal; empty when the file has none.
    pub build_id: String,
    /// Where the names come from: the file itself, a separate debug file, …;
    /// empty when there are none.
    pub symbols: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Function {
    /// Demangled; `module+0xoffset` when there is no symbol. Without the
    /// decoration of [`Frame::label`].
    pub name: String,
    pub kind: FrameKind,
    /// `None` for synthetic frames.
    pub module: Option<ModuleId>,
    /// Source file, as the debug information spells it; may be empty.
    pub file: String,
    /// Line of the definition, 0 when unknown.
    pub line: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    pub function: FunctionId,
    /// Line being executed, 0 when unknown.
    pub line: u32,
    pub column: u32,
    /// Inlined into the frame outside of it.
    pub inlined: bool,
    /// Address in the module, as its symbol table counts; 0 when it has none.
    pub address: u64,
}

impl Frame {
    /// The frame as text, as DESIGN.md spells it: `symbol`, `symbol_[k]`,
    /// `symbol_[i]`, `function (file.py:12)`, `[synthetic]`.
    pub fn label(&self, function: &Function) -> String {
        match function.kind {
            FrameKind::Kernel => format!("{}_[k]", function.name),
            FrameKind::Native | FrameKind::Jit if self.inlined => {
                format!("{}_[i]", function.name)
            }
            FrameKind::Native | FrameKind::Jit | FrameKind::Synthetic => function.name.clone(),
            FrameKind::Python | FrameKind::JavaScript => {
                format!("{} ({}:{})", function.name, function.file, self.line)
            }
        }
    }
}
