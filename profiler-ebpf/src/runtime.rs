//! Interpreters: what the walker must know to find their frames, and how it
//! says that it could not.

/// Interpreters, [`crate::Executable::runtime`].
pub mod interpreter {
    pub const NONE: u32 = 0;
    pub const PYTHON: u32 = 1;
    pub const V8: u32 = 2;
}

/// Entries in `PYTHONS`: builds of CPython known at one time.
pub const MAX_PYTHONS: usize = 256;
/// Entries in `V8S`: builds of V8 known at one time.
pub const MAX_V8S: usize = 256;

/// Where `pthread_getspecific` finds a value, relative to the thread pointer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct ThreadSpecific {
    /// Of key 0's value, or of the pointer to the values when `indirect`.
    /// 0 when it is not known.
    pub offset: u16,
    /// Bytes from the value of one key to that of the next.
    pub stride: u8,
    pub indirect: u8,
}

impl ThreadSpecific {
    /// Keys whose values are in glibc's `struct pthread` itself,
    /// `PTHREAD_KEY_2NDLEVEL_SIZE`; behind them are pointers to the blocks of
    /// the others. nptl/descr.h, 2.2 to 2.42.
    pub const DIRECT_KEYS: u32 = 32;
}

/// How a version of CPython links its frames, [`PythonRuntime::shape`].
pub mod shape {
    /// Up to 3.10: frame objects, one for each activation of the evaluator.
    pub const FRAME_OBJECTS: u32 = 1;
    /// 3.11: `tstate->cframe` is on the evaluator's C stack; its frames go
    /// down to one that `is_entry`.
    pub const ENTRY_FLAG: u32 = 2;
    /// 3.12: as 3.11, but the evaluator's last frame is a shim on its C stack.
    pub const SHIM_BY_CFRAME: u32 = 3;
    /// 3.13 and later: `tstate->current_frame`, and shims.
    pub const SHIM: u32 = 4;
}

/// A build of CPython. Offsets are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PythonRuntime {
    /// ELF virtual address of `_PyRuntime`.
    pub address: u64,
    /// Of the `pthread_key_t` of the thread state, in `_PyRuntime`.
    pub key: u32,
    /// How far before the key `_PyRuntime` keeps the state of the thread that
    /// runs (`gilstate.tstate_current`); 0 from 3.12 on. Up to 3.11 the key has
    /// the first state of each thread, also when it runs a subinterpreter.
    pub current_before_key: u32,
    /// In `PyThreadState`: `thread_id`, where `current_before_key` is not 0.
    pub thread_id: u32,
    /// Of [`shape`].
    pub shape: u32,
    /// In `PyThreadState`: `frame`, `cframe` or `current_frame`.
    pub thread_frame: u32,
    /// In `_PyCFrame`.
    pub cframe_current: u32,
    pub cframe_previous: u32,
    /// In the frame: of the code object (3.14: a tagged reference), and so on;
    /// within 112 bytes in a frame object, within
    /// [`PythonRuntime::FRAME_BYTES`] from 3.11 on.
    pub frame_code: u32,
    /// `f_lasti` (an `int`), `prev_instr` or `instr_ptr`.
    pub frame_instruction: u32,
    pub frame_previous: u32,
    /// `is_entry` or `owner`, a byte.
    pub frame_owner: u32,
    /// In the code object: `co_firstlineno`, `co_filename` with `co_name`
    /// behind it, and the first instruction (0 for
    /// [`shape::FRAME_OBJECTS`]).
    pub code_first_line: u32,
    pub code_file: u32,
    pub code_start: u32,
    /// In `PyThreadState`: `interp`.
    pub thread_interpreter: u32,
    /// Of the GIL's structure in `_PyRuntime` (`gil_in_interpreter` is 0) or of
    /// the pointer to it in `PyInterpreterState`.
    pub gil: u32,
    pub gil_in_interpreter: u32,
    /// 0 when the method does not apply: no GIL, or not known.
    pub gil_known: u32,
}

impl PythonRuntime {
    /// Bytes of a frame that are read: from 3.11 on the least that one takes
    /// with its smallest stack, so that the read stays within its chunk.
    pub const FRAME_BYTES: usize = 80;
    /// What is read of a code object lies within its first bytes.
    pub const CODE_BYTES: usize = 192;
    /// Owners of frames from 3.12 on that are no Python function's:
    /// `FRAME_OWNED_BY_CSTACK`, in 3.14 `FRAME_OWNED_BY_INTERPRETER`.
    /// Include/internal/pycore_frame.h.
    pub const FIRST_SHIM_OWNER: u8 = 3;
    /// Low bits of a `_PyStackRef` that are no part of the pointer.
    pub const TAG_BITS: u64 = 3;
}

/// Locks of one process: one for each interpreter that has its own.
pub const LOCKS_PER_PROCESS: usize = 4;
/// Entries in `GILS`.
pub const MAX_GILS: usize = 1 << 12;
/// Entries in `GIL_WAITS`: threads that wait at one time.
pub const MAX_GIL_WAITS: usize = 1 << 14;
/// Size of `struct _gil_runtime_state` with glibc, 3.8 to 3.14,
/// Include/internal/pycore_gil.h.
pub const GIL_BYTES: u64 = 208;

/// Addresses of a process's locks, 0 for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Gils {
    pub addresses: [u64; LOCKS_PER_PROCESS],
}

impl Gils {
    /// Whether an address lies in one of the locks.
    #[inline(always)]
    pub fn contain(&self, address: u64) -> bool {
        let mut found = false;
        for index in 0..LOCKS_PER_PROCESS {
            let lock = self.addresses[index];
            found |= lock != 0 && address.wrapping_sub(lock) < GIL_BYTES;
        }
        found
    }
}

/// A build of V8. Offsets are in bytes, instance types as `Map` holds them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct V8Runtime {
    /// Of the slots in a frame, as words of the area of [`Self::FRAME_WORDS`]
    /// words that ends at the frame pointer: what is below it by 8 bytes is
    /// word 7. The context, or the marker of a frame that is no function's.
    pub frame_context: u32,
    pub frame_function: u32,
    /// Of an interpreted function; others keep anything there.
    pub frame_bytecode_array: u32,
    pub frame_bytecode_offset: u32,
    /// In `Map`.
    pub map_instance_type: u32,
    /// In `JSFunction`.
    pub function_shared: u32,
    /// In `SharedFunctionInfo`: 4 bytes that differ between functions and
    /// never change, [`crate::v8`].
    pub shared_check: u32,
    pub first_function_type: u16,
    pub last_function_type: u16,
    pub shared_type: u16,
    pub bytecode_array_type: u16,
}

impl V8Runtime {
    /// Words below the frame pointer that are read.
    pub const FRAME_WORDS: usize = 8;
}

/// Why frames of an interpreter are missing from a stack, at the place where
/// they belong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Missing {
    /// The C library keeps thread-specific values in an unknown place.
    ThreadSpecificUnknown = 1,
    /// The thread has no state of the interpreter (yet).
    NoThreadState = 2,
    /// The thread state or a frame could not be read.
    FrameUnreadable = 3,
    /// The evaluator runs, but there is no frame left that is its own.
    FramesExhausted = 4,
    /// The stack ended, but frames were left.
    FramesLeft = 5,
    /// The code object that the frame names could not be read any more, or is
    /// another one by now.
    CodeUnreadable = 6,
    /// A frame that looks like no frame of this version.
    Unrecognised = 7,
}

impl Missing {
    pub const ALL: [Self; 7] = [
        Self::ThreadSpecificUnknown,
        Self::NoThreadState,
        Self::FrameUnreadable,
        Self::FramesExhausted,
        Self::FramesLeft,
        Self::CodeUnreadable,
        Self::Unrecognised,
    ];

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| *reason as u32 == value)
    }
}

/// What a sample says of CPython, [`crate::SampleHeader::python_state`].
pub mod python_state {
    /// The evaluator is on the stack.
    pub const EVALUATES: u32 = 1;
    /// The thread holds the GIL.
    pub const HOLDS_GIL: u32 = 2;
    /// The interpreter has a GIL, and whether it is held is known.
    pub const GIL_KNOWN: u32 = 4;
}

/// What the object of a JavaScript frame is, [`crate::Frame::JavaScript`].
pub mod javascript {
    /// A SharedFunctionInfo. Detail: the slot of the bytecode offset in the
    /// upper half, in the lower one the check of the function.
    pub const INTERPRETED: u32 = 1;
    /// A SharedFunctionInfo. Detail: the address looked up, below the folded
    /// check of the function. It is in the function's code, unless the thread
    /// stopped before or behind the part of it that has a frame: then in that
    /// of another, which the function called.
    pub const COMPILED: u32 = 2;
    /// No function is known: an address in generated code. Detail: the type
    /// of the frame that its frame pointer leads to, or [`CODE_TYPE_UNKNOWN`].
    pub const CODE: u32 = 3;

    /// Of [`CODE`]: what the frame pointer leads to is no frame with a type.
    pub const CODE_TYPE_UNKNOWN: u64 = u32::MAX as u64;
}
