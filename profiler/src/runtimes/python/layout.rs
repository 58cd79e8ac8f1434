//! Where each version of CPython keeps what is read.
//!
//! Up to 3.12 these are tables, checked against the debug information of
//! 3.8.18, 3.9.18, 3.10.13, 3.11.7 and 3.12.1. From 3.13 on, CPython says it
//! itself, in `_Py_DebugOffsets` at the start of `_PyRuntime`. All are for
//! 64-bit builds that are not built for debugging.

use std::fmt;

use profiler_ebpf::{PythonRuntime, shape};

use super::lines::LineTableKind;
use crate::elf::reader::Reader;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    pub major: u8,
    pub minor: u8,
    pub micro: u8,
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{}.{}.{}", self.major, self.minor, self.micro)
    }
}

impl Version {
    /// `PY_VERSION_HEX`, Include/patchlevel.h.
    pub(super) fn from_hex(hex: u64) -> Option<Self> {
        let hex = u32::try_from(hex).ok()?;
        let [major, minor, micro, _release] = hex.to_be_bytes();
        (major == 3).then_some(Self {
            major,
            minor,
            micro,
        })
    }

    /// `PY_VERSION`: "3.9.2", "3.14.0rc1+", with its terminator.
    pub(super) fn from_text(text: &[u8]) -> Option<Self> {
        let end = text.iter().take(24).position(|&byte| byte == 0)?;
        let text = std::str::from_utf8(&text[..end]).ok()?;
        let mut parts = text.splitn(3, '.');
        let major = parts.next()?.parse().ok()?;
        let minor = parts.next()?.parse().ok()?;
        let last = parts.next()?;
        let digits = last
            .find(|character: char| !character.is_ascii_digit())
            .unwrap_or(last.len());
        let micro = last[..digits].parse().ok()?;
        (major == 3 && (3..64).contains(&minor)).then_some(Self {
            major,
            minor,
            micro,
        })
    }
}

/// Offsets in a code object (`PyCodeObject`, Include/cpython/code.h), bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodeLayout {
    pub file: u32,
    pub name: u32,
    /// From 3.11 on.
    pub qualified_name: Option<u32>,
    pub first_line: u32,
    /// `co_lnotab` or `co_linetable`: a `bytes` object.
    pub lines: u32,
    pub kind: LineTableKind,
}

/// Offsets in a string (`PyUnicodeObject`, Include/cpython/unicodeobject.h),
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextLayout {
    /// Characters of a compact ASCII string.
    pub ascii: u32,
    /// Of another compact one.
    pub compact: u32,
    /// The pointer to those of one that is not compact.
    pub pointer: u32,
}

/// What does not depend on the build, but on the version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    /// Without the address of `_PyRuntime`.
    pub runtime: PythonRuntime,
    pub code: CodeLayout,
    pub text: TextLayout,
    /// Where a thread state is found without the C library, for tests: the
    /// head of the interpreters in `_PyRuntime`, that of the threads in an
    /// interpreter, and in a thread state the next one and `thread_id`, which
    /// is the thread pointer.
    #[cfg(test)]
    pub lists: Lists,
}

#[cfg(test)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lists {
    pub interpreters: u32,
    pub threads: u32,
    pub next: u32,
    pub thread_id: u32,
}

/// `interp` in `PyThreadState`: 3.8 to 3.14.
const THREAD_INTERPRETER: u32 = 16;

/// Offset of the key in a `Py_tss_t` (Include/pythread.h): an `int` says
/// whether there is one.
pub(super) const KEY_IN_TSS: u32 = 4;

const TEXT_WITH_WSTR: TextLayout = TextLayout {
    ascii: 48,
    compact: 72,
    pointer: 72,
};

/// From 3.12 on: PEP 623 took `wstr` out.
const TEXT: TextLayout = TextLayout {
    ascii: 40,
    compact: 56,
    pointer: 56,
};

/// Up to 3.10: `struct _frame`, Include/cpython/frameobject.h and (3.8, 3.9)
/// Include/frameobject.h.
const FRAME_OBJECTS: PythonRuntime = PythonRuntime {
    address: 0,
    key: 588,
    shape: shape::FRAME_OBJECTS,
    thread_frame: 24,
    cframe_current: 0,
    cframe_previous: 0,
    frame_code: 32,
    frame_instruction: 104,
    frame_previous: 24,
    frame_owner: 0,
    code_first_line: 40,
    code_name: 112,
    code_start: 0,
    thread_interpreter: THREAD_INTERPRETER,
    gil: 352,
    gil_in_interpreter: 0,
    gil_known: 1,
};

/// 3.8 to 3.12. `None` for others.
pub(super) fn by_version(version: Version) -> Option<Layout> {
    if version.major != 3 {
        return None;
    }
    let runtime = match version.minor {
        // The state of pending calls, before the GIL in `_PyRuntime`, was
        // moved to the interpreter in 3.9.
        8 => PythonRuntime {
            key: 1396,
            gil: 1152,
            ..FRAME_OBJECTS
        },
        9 => FRAME_OBJECTS,
        10 => PythonRuntime {
            frame_instruction: 96,
            ..FRAME_OBJECTS
        },
        // Include/internal/pycore_frame.h.
        11 => PythonRuntime {
            key: 596,
            shape: shape::ENTRY_FLAG,
            thread_frame: 56,
            cframe_current: 8,
            cframe_previous: 16,
            frame_code: 32,
            frame_instruction: 56,
            frame_previous: 48,
            frame_owner: 68,
            code_first_line: 72,
            code_name: 120,
            code_start: 184,
            gil: 360,
            ..FRAME_OBJECTS
        },
        12 => PythonRuntime {
            key: 1548,
            shape: shape::SHIM_BY_CFRAME,
            thread_frame: 56,
            cframe_current: 0,
            cframe_previous: 8,
            frame_code: 0,
            frame_instruction: 56,
            frame_previous: 8,
            frame_owner: 70,
            code_first_line: 68,
            code_name: 120,
            code_start: 192,
            gil: 384,
            gil_in_interpreter: 1,
            ..FRAME_OBJECTS
        },
        _ => return None,
    };
    let new_code = version.minor >= 11;
    let code = CodeLayout {
        file: if new_code { 112 } else { 104 },
        name: runtime.code_name,
        qualified_name: new_code.then_some(128),
        first_line: runtime.code_first_line,
        lines: if new_code { 136 } else { 120 },
        kind: match version.minor {
            ..=9 => LineTableKind::Lnotab,
            10 => LineTableKind::Ranges,
            _ => LineTableKind::Locations,
        },
    };
    Some(Layout {
        runtime,
        code,
        text: if version.minor >= 12 {
            TEXT
        } else {
            TEXT_WITH_WSTR
        },
        #[cfg(test)]
        lists: match version.minor {
            ..=10 => Lists {
                interpreters: 32,
                threads: 8,
                next: 8,
                thread_id: 176,
            },
            11 => Lists {
                interpreters: 40,
                threads: 16,
                next: 8,
                thread_id: 152,
            },
            _ => Lists {
                interpreters: 40,
                threads: 72,
                next: 8,
                thread_id: 136,
            },
        },
    })
}

const COOKIE: &[u8; 8] = b"xdebugpy";
/// `_Py_DebugOffsets` up to the last word that is read; the whole is longer.
pub(super) const DEBUG_OFFSETS_BYTES: u64 = 88 * 8;

/// What `_Py_DebugOffsets` begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DebugHeader {
    pub version: Version,
    pub free_threaded: bool,
}

/// `None` for bytes that are no `_Py_DebugOffsets`.
pub(super) fn debug_header(bytes: &[u8]) -> Option<DebugHeader> {
    let mut reader = Reader::new(bytes);
    if reader.bytes(8)? != COOKIE {
        return None;
    }
    Some(DebugHeader {
        version: Version::from_hex(reader.u64()?)?,
        free_threaded: reader.u64()? != 0,
    })
}

/// Indices of words in `_Py_DebugOffsets`: the order of its members is fixed
/// only within a minor version.
struct DebugWords {
    interpreters_head: usize,
    threads_head: usize,
    gil: usize,
    thread_next: usize,
    thread_interpreter: usize,
    thread_frame: usize,
    thread_id: usize,
    frame_previous: usize,
    frame_code: usize,
    frame_instruction: usize,
    frame_owner: usize,
    file: usize,
    name: usize,
    qualified_name: usize,
    lines: usize,
    first_line: usize,
    code_start: usize,
    ascii_size: usize,
}

/// Include/internal/pycore_runtime.h, 3.13.
const WORDS_3_13: DebugWords = DebugWords {
    interpreters_head: 5,
    threads_head: 9,
    gil: 14,
    thread_next: 21,
    thread_interpreter: 22,
    thread_frame: 23,
    thread_id: 24,
    frame_previous: 29,
    frame_code: 30,
    frame_instruction: 31,
    frame_owner: 33,
    file: 35,
    name: 36,
    qualified_name: 37,
    lines: 38,
    first_line: 39,
    code_start: 43,
    ascii_size: 70,
};

/// Include/internal/pycore_debug_offsets.h, 3.14.
const WORDS_3_14: DebugWords = DebugWords {
    interpreters_head: 5,
    threads_head: 9,
    gil: 15,
    thread_next: 24,
    thread_interpreter: 25,
    thread_frame: 26,
    thread_id: 27,
    frame_previous: 32,
    frame_code: 33,
    frame_instruction: 34,
    frame_owner: 36,
    file: 40,
    name: 41,
    qualified_name: 42,
    lines: 43,
    first_line: 44,
    code_start: 48,
    ascii_size: 80,
};

/// From the `_Py_DebugOffsets` of 3.13 and 3.14. `None` for other versions,
/// and for offsets that no build has.
pub(super) fn by_debug_offsets(version: Version, bytes: &[u8]) -> Option<Layout> {
    let (words, key) = match (version.major, version.minor) {
        (3, 13) => (WORDS_3_13, 2164),
        (3, 14) => (WORDS_3_14, 2340),
        _ => return None,
    };
    let read = |index: usize, limit: u64| -> Option<u32> {
        let value = Reader::at(bytes, index.checked_mul(8)?).u64()?;
        (value < limit).then(|| u32::try_from(value).ok())?
    };
    let frame = |index, size: u64| read(index, PythonRuntime::FRAME_BYTES as u64 - size + 1);
    let code = |index, size: u64| read(index, PythonRuntime::CODE_BYTES as u64 - size + 1);
    /// A thread state has 416 bytes, an interpreter state 300,000.
    const THREAD: u64 = 4096;
    const INTERPRETER: u64 = 1 << 22;
    let runtime = PythonRuntime {
        address: 0,
        key,
        shape: shape::SHIM,
        thread_frame: read(words.thread_frame, THREAD)?,
        cframe_current: 0,
        cframe_previous: 0,
        frame_code: frame(words.frame_code, 8)?,
        frame_instruction: frame(words.frame_instruction, 8)?,
        frame_previous: frame(words.frame_previous, 8)?,
        frame_owner: frame(words.frame_owner, 1)?,
        code_first_line: code(words.first_line, 4)?,
        code_name: code(words.name, 8)?,
        code_start: read(words.code_start, THREAD)?,
        thread_interpreter: read(words.thread_interpreter, THREAD)?,
        gil: read(words.gil, INTERPRETER)?,
        gil_in_interpreter: 1,
        gil_known: 1,
    };
    // Where the version that was looked at has it, or the words are not where
    // they are thought to be.
    if read(words.ascii_size, THREAD)? != TEXT.ascii {
        return None;
    }
    Some(Layout {
        runtime,
        code: CodeLayout {
            file: code(words.file, 8)?,
            name: runtime.code_name,
            qualified_name: Some(code(words.qualified_name, 8)?),
            first_line: runtime.code_first_line,
            lines: code(words.lines, 8)?,
            kind: LineTableKind::Locations,
        },
        text: TEXT,
        #[cfg(test)]
        lists: Lists {
            interpreters: read(words.interpreters_head, INTERPRETER)?,
            threads: read(words.threads_head, INTERPRETER)?,
            next: read(words.thread_next, THREAD)?,
            thread_id: read(words.thread_id, THREAD)?,
        },
    })
}
