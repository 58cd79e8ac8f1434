//! Code objects of a process, read while it runs on.

use profiler_ebpf::python_checksum;
use thiserror::Error;

use super::lines::LineTable;
use super::recognise::Interpreter;
use super::text;
use crate::runtimes::{Memory, Unreadable};

/// Longest line table that is read, bytes.
const MAX_LINES: u64 = 1 << 20;

/// `ob_type` in `PyObject`.
const TYPE: u64 = 8;
/// `ob_size` in `PyVarObject`, and `ob_sval` in `PyBytesObject`.
const BYTES_LENGTH: u64 = 16;
const BYTES_START: u64 = 32;

#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum CodeError {
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// It was freed, and something else may be in its place.
    #[error("the code object is not the one that was running any more")]
    Changed,
    #[error("what lies there is no code object")]
    NotCode,
}

/// What a function is called and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Code {
    /// From 3.11 on qualified: `Class.method`, `function.<locals>.inner`.
    pub name: String,
    /// As the compiler was told: not always absolute, nor always a file.
    pub file: String,
    /// Line of `def` or of its first decorator.
    pub first_line: u32,
    pub lines: LineTable,
}

impl Code {
    /// The line that is executed; see [`LineTable::line`].
    pub fn line(&self, instruction: u32) -> Option<u32> {
        self.lines.line(instruction)
    }
}

/// Reads the code object at `address`. `checksum` is what came with it
/// ([`python_checksum`]); it is compared before and after everything else is
/// read. `code_type` is the address of `PyCode_Type` in the process, if known:
/// [`Interpreter::code_type`] and the bias of the executable.
pub fn read_code(
    memory: &impl Memory,
    interpreter: &Interpreter,
    address: u64,
    checksum: u32,
    code_type: Option<u64>,
) -> Result<Code, CodeError> {
    let layout = &interpreter.code;
    let field = |offset: u32| address.wrapping_add(offset.into());
    let verify = || -> Result<u32, CodeError> {
        if let Some(code_type) = code_type
            && memory.u64(address.wrapping_add(TYPE))? != code_type
        {
            return Err(CodeError::Changed);
        }
        let first_line = memory.u32(field(layout.first_line))?;
        let name = memory.u64(field(layout.name))?;
        if python_checksum(name, first_line) != checksum {
            return Err(CodeError::Changed);
        }
        Ok(first_line)
    };
    let first_line = verify()?;
    let read = || -> Result<Code, CodeError> {
        let text = |offset: u32| -> Result<String, CodeError> {
            let string = memory.u64(field(offset))?;
            text::read(memory, &interpreter.text, string)?.ok_or(CodeError::NotCode)
        };
        let name = text(layout.qualified_name.unwrap_or(layout.name))?;
        let file = text(layout.file)?;
        let table = memory.u64(field(layout.lines))?;
        let length = memory.u64(table.wrapping_add(BYTES_LENGTH))?;
        if length > i64::MAX as u64 {
            return Err(CodeError::NotCode);
        }
        // One that is cut has no lines for what comes late.
        let bytes = memory.bytes(
            table.wrapping_add(BYTES_START),
            length.min(MAX_LINES) as usize,
        )?;
        Ok(Code {
            name,
            file,
            first_line,
            lines: LineTable {
                kind: layout.kind,
                first_line,
                bytes,
            },
        })
    };
    // What is read of an object that is freed meanwhile makes no sense: that
    // it is another one is the better answer.
    let code = read();
    verify()?;
    code
}
