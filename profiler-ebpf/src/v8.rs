//! What a frame of V8 is: the part of the walk that only reads memory, shared
//! by the walker in the kernel and the one that tests compare it with.
//!
//! All code that V8 generates keeps the frame pointer. Below it lie (V8
//! src/execution/frame-constants.h, `StandardFrameConstants` and
//! `UnoptimizedFrameConstants`, 10.2 to 14.6) the context or a marker, the
//! function, the number of arguments, and of an interpreted function the
//! bytecode array and the offset in it.
//!
//! The slots say what the frame is, not the address: so a thread that stopped
//! before a function has pushed its frame does not lose its caller.

use crate::V8Runtime;

/// A tagged pointer's low bits, include/v8-internal.h `kHeapObjectTag`.
const HEAP_OBJECT: u64 = 1;
const TAG_BITS: u64 = 3;
/// User addresses with four levels of page tables.
const ADDRESS_BITS: u32 = 47;

/// Types of frames that C++ enters generated code by, `StackFrame::ENTRY` and
/// `CONSTRUCT_ENTRY` in src/execution/frames.h.
pub const ENTRY: u32 = 1;
pub const CONSTRUCT_ENTRY: u32 = 2;

/// What the frame pointer leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum V8Frame {
    /// A frame without function, of a `StackFrame::Type`.
    Typed(u32),
    /// An interpreted function.
    Interpreted {
        shared: u64,
        /// As the frame holds it: it counts from the tagged pointer to the
        /// bytecode array.
        offset: u32,
        check: u32,
    },
    /// A function with code, or a builtin function.
    Compiled { shared: u64, check: u32 },
    /// None of V8's.
    Unknown,
}

/// Reads the frame above `area`, the [`V8Runtime::FRAME_WORDS`] words below
/// the frame pointer. `read` reads 8 bytes of the process.
#[inline(always)]
pub fn classify(
    runtime: &V8Runtime,
    area: &[u64; V8Runtime::FRAME_WORDS],
    read: impl Fn(u64) -> Option<u64>,
) -> V8Frame {
    let word = |index: u32| area[index as usize & (V8Runtime::FRAME_WORDS - 1)];
    let context = word(runtime.frame_context);
    // `StackFrame::MarkerToType`: the type, shifted by one. A context is a
    // pointer.
    if context & 1 == 0 {
        let kind = context >> 1;
        return if kind > 0 && kind < 64 {
            V8Frame::Typed(kind as u32)
        } else {
            V8Frame::Unknown
        };
    }
    let Some((function, kind)) = object(runtime, word(runtime.frame_function), &read) else {
        return V8Frame::Unknown;
    };
    if kind < runtime.first_function_type || kind > runtime.last_function_type {
        return V8Frame::Unknown;
    }
    let Some(shared) = read(function + u64::from(runtime.function_shared)) else {
        return V8Frame::Unknown;
    };
    let Some((shared, kind)) = object(runtime, shared, &read) else {
        return V8Frame::Unknown;
    };
    if kind != runtime.shared_type {
        return V8Frame::Unknown;
    }
    let Some(check) = read(shared + u64::from(runtime.shared_check)) else {
        return V8Frame::Unknown;
    };
    let check = check as u32;
    let offset = word(runtime.frame_bytecode_offset);
    // A small integer: 32 bits in the upper half.
    if offset != 0
        && offset as u32 == 0
        && let Some((_, kind)) = object(runtime, word(runtime.frame_bytecode_array), &read)
        && kind == runtime.bytecode_array_type
    {
        let offset = (offset >> 32) as u32;
        return V8Frame::Interpreted {
            shared,
            offset,
            check,
        };
    }
    V8Frame::Compiled { shared, check }
}

/// The address and the instance type of what a tagged pointer points to.
#[inline(always)]
fn object(
    runtime: &V8Runtime,
    tagged: u64,
    read: &impl Fn(u64) -> Option<u64>,
) -> Option<(u64, u16)> {
    let address = untag(tagged)?;
    let map = untag(read(address)?)?;
    let offset = u64::from(runtime.map_instance_type);
    let word = read(map + (offset & !7))?;
    Some((address, (word >> ((offset & 6) * 8)) as u16))
}

#[inline(always)]
fn untag(tagged: u64) -> Option<u64> {
    (tagged & TAG_BITS == HEAP_OBJECT && tagged >> ADDRESS_BITS == 0).then_some(tagged & !TAG_BITS)
}

/// [`crate::javascript::INTERPRETED`]'s detail.
#[inline(always)]
pub const fn interpreted_detail(offset: u32, check: u32) -> u64 {
    (offset as u64) << 32 | check as u64
}

/// [`crate::javascript::COMPILED`]'s detail.
#[inline(always)]
pub const fn compiled_detail(address: u64, check: u32) -> u64 {
    ((folded(check) as u64) << 48) | (address & 0xffff_ffff_ffff)
}

/// A check in 16 bits.
#[inline(always)]
pub const fn folded(check: u32) -> u16 {
    (check ^ (check >> 16)) as u16
}

/// What a frame adds to a stack, innermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entries {
    /// The native frame of the address: it is in a builtin that matters.
    pub native: bool,
    /// Generated code without a known function: [`crate::javascript::CODE`]'s
    /// detail.
    pub code: Option<u64>,
    /// A function: kind, object and detail.
    pub function: Option<(u32, u64, u64)>,
}

/// What to record for the frame that the frame pointer leads to, of a thread
/// at `address`: `exact` where it stopped, else where a call will return to.
/// `builtin`: that is in the embedded builtins. `top`: the word at the stack
/// pointer.
#[inline(always)]
pub fn entries(frame: V8Frame, address: u64, exact: bool, builtin: bool, top: u64) -> Entries {
    use crate::javascript::{CODE_TYPE_UNKNOWN, COMPILED, INTERPRETED};
    let mut entries = Entries {
        native: builtin,
        code: None,
        function: None,
    };
    match frame {
        V8Frame::Typed(kind) => {
            if !builtin {
                entries.code = Some(kind as u64);
            }
        }
        V8Frame::Unknown => {
            if !builtin {
                entries.code = Some(CODE_TYPE_UNKNOWN);
            }
        }
        V8Frame::Interpreted {
            shared,
            offset,
            check,
        } => {
            if builtin {
                // A call returns to the interpreter itself, which is no frame
                // of interest; a thread stops in the handler of an
                // instruction, or in what has no frame yet.
                entries.native = exact;
                let detail = interpreted_detail(offset, check);
                entries.function = Some((INTERPRETED, shared, detail));
            } else {
                // Optimised code that took over in a loop (OSR) keeps the
                // interpreter's frame below its own.
                let detail = compiled_detail(address, check);
                entries.function = Some((COMPILED, shared, detail));
            }
        }
        V8Frame::Compiled { shared, check } => {
            // A builtin that calls has a frame, which is its own: the native
            // symbol says all. One without a frame leads to its caller's,
            // which most likely called it by the word on top.
            if !builtin {
                let detail = compiled_detail(address, check);
                entries.function = Some((COMPILED, shared, detail));
            } else if exact {
                let detail = compiled_detail(top.wrapping_sub(1), check);
                entries.function = Some((COMPILED, shared, detail));
            }
        }
    }
    entries
}
