//! Frames of CPython, at the place of the evaluator's C frame that runs them.
//!
//! The evaluator (`_PyEval_EvalFrameDefault`) runs one Python function up to
//! 3.10, and from 3.11 on a whole chain of them that call each other. Which
//! frames belong to which activation is told by something that the activation
//! keeps on its C stack: the `_PyCFrame` in 3.11, the shim frame from 3.12 on.
//! A shim that lies elsewhere means that the activation has not linked its
//! frames yet, or not any more, and has none to show.

use profiler_ebpf::{
    Frame, MAX_PYTHONS, Missing, PythonRuntime, Rule, SampleHeader, ThreadSpecific, cfa,
    interpreter, python_checksum, python_state, register, shape,
};

use super::{Record, native};
use crate::{
    maps::{PYTHONS, RECORDS, setting},
    task::{Task, read},
};

/// What to do next, [`Python::phase`].
pub mod phase {
    /// Native code.
    pub const NONE: u32 = 0;
    /// An activation of the evaluator was reached.
    pub const ENTER: u32 = 1;
    /// Its frames are being taken.
    pub const FRAMES: u32 = 2;
}

/// What is known of the thread, [`Python::thread`].
mod thread {
    pub const UNKNOWN: u32 = 0;
    pub const FOUND: u32 = 1;
    /// Said in the stack once; no frames are looked for any more.
    pub const MISSING: u32 = 2;
}

/// In the per-CPU record: the Python half of the walk.
#[repr(C)]
pub struct Python {
    /// Part of a frame of the interpreter.
    frame: [u64; FRAME_WORDS],
    /// The C frame of the evaluator's activation: from its stack pointer up to
    /// its CFA.
    low: u64,
    high: u64,
    /// The activation as a native frame, shown if it has no Python frames.
    evaluator: u64,
    /// Process address minus ELF virtual address of the interpreter.
    bias: u64,
    state: u64,
    /// The next frame; in 3.11 of this activation only.
    cursor: u64,
    /// 3.11: the next activation's `_PyCFrame`.
    cframe: u64,
    /// What to go back to if the frames turn out to be another activation's.
    marked_cursor: u64,
    marked_words: u32,
    pub phase: u32,
    thread: u32,
    /// Index in `PYTHONS`.
    runtime: u32,
    /// 1 for the innermost frame of the stack.
    innermost: u32,
    /// 1 in code that sets up or takes down the C frame.
    bare: u32,
    /// 1 when the state is certainly that which the thread runs.
    confirmed: u32,
    pub thread_specific: ThreadSpecific,
}

const FRAME_WORDS: usize = 16;
/// Up to 3.10, `f_lasti` is in the first 112 bytes of a frame object.
const FRAME_OBJECT_BYTES: usize = 112;

/// `last_holder` and `locked` in `struct _gil_runtime_state`, 3.8 to 3.14,
/// Include/internal/pycore_gil.h.
const GIL_LAST_HOLDER: u64 = 8;
const GIL_LOCKED: u64 = 16;

/// Most distance of `root_cframe` from the start of its `PyThreadState`, 3.11.
const ROOT_CFRAME_ROOM: u64 = 1024;

impl Python {
    #[inline(always)]
    pub fn begin(&mut self, thread_specific: ThreadSpecific) {
        self.phase = phase::NONE;
        self.thread = thread::UNKNOWN;
        self.thread_specific = thread_specific;
    }
}

/// The native walk has left an activation of the evaluator, whose stack
/// pointer was `low`.
#[inline(always)]
pub fn enter(record: &mut Record, low: u64, evaluator: u64, index: u32, bias: u64, leaf: Leaf) {
    record.header.python_state |= python_state::EVALUATES;
    record.header.python_runtime = index;
    let high = record.walk.registers[register::RSP as usize];
    let python = &mut record.walk.python;
    python.low = low;
    python.high = high;
    python.evaluator = evaluator;
    python.runtime = index;
    python.bias = bias;
    python.innermost = leaf.innermost;
    python.bare = leaf.bare;
    python.phase = phase::ENTER;
}

/// How far an activation is that may be the innermost frame.
pub struct Leaf {
    innermost: u32,
    bare: u32,
}

impl Leaf {
    /// Of a frame with this rule. Before its registers are saved and its room
    /// is made, a function's CFA is close above the stack pointer.
    #[inline(always)]
    pub fn new(exact: u32, rule: Option<&Rule>) -> Self {
        const SAVED_REGISTERS: i32 = 7 * 8;
        let bare = rule.is_some_and(|rule| {
            rule.cfa == cfa::REGISTER
                && rule.register == register::RSP
                && rule.offset <= SAVED_REGISTERS
        });
        Self {
            innermost: exact,
            bare: bare as u32,
        }
    }
}

/// Takes one frame of the activation that was reached.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn python_step(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return native::STOP;
    };
    // SAFETY: the map returned it, and the caller claimed it.
    let record = unsafe { &mut *record };
    if let Err(reason) = advance(record) {
        let python = &mut record.walk.python;
        python.phase = phase::NONE;
        let evaluator = python.evaluator;
        if python.thread != thread::MISSING {
            python.thread = thread::MISSING;
            native::push(record, Frame::pack_missing(interpreter::PYTHON, reason));
        }
        native::push(record, evaluator);
    }
    native::CONTINUE
}

/// The native walk has reached the thread's root: are frames left?
#[inline(always)]
pub fn finish(record: &mut Record) {
    let python = &record.walk.python;
    if python.thread != thread::FOUND {
        return;
    }
    let Some(described) = PYTHONS.get(python.runtime & (MAX_PYTHONS as u32 - 1)) else {
        return;
    };
    let left = match described.shape {
        // The last one is in the thread state itself.
        shape::ENTRY_FLAG => python.cframe.wrapping_sub(python.state) > ROOT_CFRAME_ROOM,
        _ => python.cursor != 0,
    };
    if left {
        native::push(
            record,
            Frame::pack_missing(interpreter::PYTHON, Missing::FramesLeft),
        );
    }
}

#[inline(always)]
fn advance(record: &mut Record) -> Result<(), Missing> {
    let python = &mut record.walk.python;
    let Some(described) = PYTHONS.get(python.runtime & (MAX_PYTHONS as u32 - 1)) else {
        return Err(Missing::Unrecognised);
    };
    if python.phase == phase::ENTER {
        match python.thread {
            thread::FOUND => {}
            thread::UNKNOWN => {
                find_thread(python, &mut record.header, described)?;
                python.thread = thread::FOUND;
            }
            _ => return Err(Missing::NoThreadState),
        }
        python.phase = phase::FRAMES;
        python.marked_words = record.header.user_words;
        python.marked_cursor = python.cursor;
        if !linked(python, described)? {
            return withdraw(record);
        }
    }
    take(record, described)
}

/// The thread's state, by the key under which the interpreter keeps it: there
/// for threads that hold the GIL and for those that gave it up.
#[inline(always)]
fn find_thread(
    python: &mut Python,
    header: &mut SampleHeader,
    described: &PythonRuntime,
) -> Result<(), Missing> {
    let specific = python.thread_specific;
    if specific.offset == 0 {
        return Err(Missing::ThreadSpecificUnknown);
    }
    let base = python.bias.wrapping_add(described.address);
    let key: u32 = read_user(base.wrapping_add(u64::from(described.key)))?;
    let thread_pointer: u64 = read(Task::current().0, setting!(offsets.task_thread_pointer));
    let mut values = thread_pointer.wrapping_add(u64::from(specific.offset));
    let mut index = u64::from(key);
    if specific.indirect != 0 {
        values = read_user(values)?;
    } else if key >= ThreadSpecific::DIRECT_KEYS {
        let direct = u64::from(ThreadSpecific::DIRECT_KEYS);
        let stride = u64::from(specific.stride);
        // Behind the direct values, less the sequence number before each, lie
        // the pointers to blocks; the first is for the direct ones.
        let blocks = values.wrapping_sub(8).wrapping_add(direct * stride);
        values = read_user::<u64>(blocks.wrapping_add(index / direct * 8))?.wrapping_add(8);
        index %= direct;
    }
    let state: u64 =
        read_user(values.wrapping_add(index.wrapping_mul(u64::from(specific.stride))))?;
    let running = running(base, thread_pointer, described);
    python.confirmed = (described.current_before_key == 0 || running.is_some()) as u32;
    let state = running.unwrap_or(state);
    if state == 0 {
        return Err(Missing::NoThreadState);
    }
    python.state = state;
    let first: u64 = read_user(state.wrapping_add(u64::from(described.thread_frame)))?;
    match described.shape {
        shape::ENTRY_FLAG => python.cframe = first,
        shape::SHIM_BY_CFRAME => {
            python.cursor = read_user(first.wrapping_add(u64::from(described.cframe_current)))?;
        }
        _ => python.cursor = first,
    }
    lock(header, state, base, described)
}

/// Up to 3.11: the state that runs, if it is this thread's.
#[inline(always)]
fn running(base: u64, thread_pointer: u64, described: &PythonRuntime) -> Option<u64> {
    if described.current_before_key == 0 {
        return None;
    }
    let place = described.key.wrapping_sub(described.current_before_key);
    let state: u64 = read_user(base.wrapping_add(u64::from(place))).ok()?;
    if state == 0 {
        return None;
    }
    // `pthread_self()`, which is the thread pointer on x86-64.
    let thread: u64 = read_user(state.wrapping_add(u64::from(described.thread_id))).ok()?;
    (thread == thread_pointer).then_some(state)
}

/// The interpreter's lock, and whether the thread holds it.
#[inline(always)]
fn lock(
    header: &mut SampleHeader,
    state: u64,
    base: u64,
    described: &PythonRuntime,
) -> Result<(), Missing> {
    if described.gil_known == 0 {
        return Ok(());
    }
    let offset = u64::from(described.gil);
    let gil = if described.gil_in_interpreter != 0 {
        let interpreter: u64 =
            read_user(state.wrapping_add(u64::from(described.thread_interpreter)))?;
        read_user(interpreter.wrapping_add(offset))?
    } else {
        base.wrapping_add(offset)
    };
    let holder: u64 = read_user(gil.wrapping_add(GIL_LAST_HOLDER))?;
    let locked: i32 = read_user(gil.wrapping_add(GIL_LOCKED))?;
    header.gil = gil;
    header.python_state |= if locked == 1 && holder == state {
        python_state::GIL_KNOWN | python_state::HOLDS_GIL
    } else {
        python_state::GIL_KNOWN
    };
    Ok(())
}

/// Whether the activation has linked its frames to the thread, as far as that
/// can be told before they are taken.
#[inline(always)]
fn linked(python: &mut Python, described: &PythonRuntime) -> Result<bool, Missing> {
    match described.shape {
        shape::FRAME_OBJECTS => Ok(python.innermost == 0 || python.bare == 0),
        shape::ENTRY_FLAG => {
            let cframe = python.cframe;
            if cframe < python.low || cframe >= python.high {
                return Ok(false);
            }
            python.cursor = read_user(cframe.wrapping_add(u64::from(described.cframe_current)))?;
            python.cframe = read_user(cframe.wrapping_add(u64::from(described.cframe_previous)))?;
            Ok(true)
        }
        _ => Ok(true),
    }
}

/// The activation has no frames of its own: shows it as native code. That is
/// so for a moment when it begins and ends, else frames are lost and it is
/// said.
#[inline(always)]
fn withdraw(record: &mut Record) -> Result<(), Missing> {
    let python = &mut record.walk.python;
    record.header.user_words = python.marked_words;
    python.cursor = python.marked_cursor;
    if python.innermost == 0 {
        return Err(Missing::FramesExhausted);
    }
    python.phase = phase::NONE;
    let (evaluator, bare) = (python.evaluator, python.bare);
    // With the right state, it has not linked its frames yet, or not any more.
    if bare == 0 && python.confirmed == 0 {
        let reason = Frame::pack_missing(interpreter::PYTHON, Missing::FramesExhausted);
        native::push(record, reason);
    }
    native::push(record, evaluator);
    Ok(())
}

#[inline(always)]
fn take(record: &mut Record, described: &PythonRuntime) -> Result<(), Missing> {
    let python = &mut record.walk.python;
    let frame = python.cursor;
    if frame == 0 {
        return withdraw(record);
    }
    read_frame(python, frame, described.shape == shape::FRAME_OBJECTS)?;
    let previous = word(python, described.frame_previous);
    let owner_word = word(python, described.frame_owner);
    let owner = (owner_word >> ((described.frame_owner & 7) * 8)) as u8;
    let shims = described.shape == shape::SHIM || described.shape == shape::SHIM_BY_CFRAME;
    if shims && owner >= PythonRuntime::FIRST_SHIM_OWNER {
        // Of an activation further in that was not recognised: what was taken
        // were its frames, in their order.
        if frame < python.low {
            python.cursor = previous;
            return Ok(());
        }
        if frame >= python.high {
            return withdraw(record);
        }
        python.cursor = previous;
        python.phase = phase::NONE;
        if python.marked_words == record.header.user_words {
            let evaluator = python.evaluator;
            native::push(record, evaluator);
        }
        return Ok(());
    }
    let code = word(python, described.frame_code) & !PythonRuntime::TAG_BITS;
    let mut instruction = word(python, described.frame_instruction);
    if described.shape == shape::FRAME_OBJECTS {
        instruction = instruction >> ((described.frame_instruction & 4) * 8) & 0xffff_ffff;
    } else {
        instruction = instruction
            .wrapping_sub(code)
            .wrapping_sub(u64::from(described.code_start));
    }
    python.cursor = previous;
    let last = match described.shape {
        shape::FRAME_OBJECTS => true,
        shape::ENTRY_FLAG => owner != 0,
        _ => false,
    };
    if last {
        python.phase = phase::NONE;
    }
    let first_line: u32 =
        read_user(code.wrapping_add(u64::from(described.code_first_line))).unwrap_or_default();
    let [file, name]: [u64; 2] =
        read_user(code.wrapping_add(u64::from(described.code_file))).unwrap_or_default();
    let words = Frame::pack_python(
        python.runtime,
        code,
        instruction as u32,
        python_checksum(file, name, first_line),
    );
    native::push(record, words[0]);
    native::push(record, words[1]);
    Ok(())
}

/// The word of the frame at an offset.
#[inline(always)]
fn word(python: &Python, offset: u32) -> u64 {
    python.frame[(offset >> 3) as usize & (FRAME_WORDS - 1)]
}

#[inline(always)]
fn read_frame(python: &mut Python, address: u64, is_object: bool) -> Result<(), Missing> {
    let buffer = python.frame.as_mut_ptr();
    // SAFETY: the buffer is the walk's own and larger than both; the kernel
    // checks the address.
    let result = unsafe {
        if is_object {
            aya_ebpf::helpers::bpf_probe_read_user_buf(
                address as *const u8,
                &mut *buffer.cast::<[u8; FRAME_OBJECT_BYTES]>(),
            )
        } else {
            aya_ebpf::helpers::bpf_probe_read_user_buf(
                address as *const u8,
                &mut *buffer.cast::<[u8; PythonRuntime::FRAME_BYTES]>(),
            )
        }
    };
    result.map_err(|_| Missing::FrameUnreadable)
}

#[inline(always)]
fn read_user<T>(address: u64) -> Result<T, Missing> {
    // SAFETY: the kernel checks the address and never faults here.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(address as *const T) }
        .map_err(|_| Missing::FrameUnreadable)
}
