//! Frames of V8's generated code: what it compiled in the process, and the
//! builtins that it was built with.
//!
//! Both keep the frame pointer and have no unwind information. What a frame
//! is, its own words say, [`profiler_ebpf::v8`].

use aya_ebpf::helpers::bpf_probe_read_user_buf;
use profiler_ebpf::{Frame, MAX_V8S, Outcome, V8Runtime, javascript, register, v8};

use super::{Record, native};
use crate::maps::{RECORDS, V8S};

/// In the per-CPU record: the V8 half of the walk.
#[repr(C)]
pub struct V8 {
    /// Generated code around the address: what lies there is V8's.
    start: u64,
    end: u64,
    /// Of the process, as [`profiler_ebpf::ProcessEntry::v8`].
    process: u32,
    /// Index in `V8S`.
    runtime: u32,
    /// 1 when the code is the embedded builtins.
    builtin: u32,
    /// 1 when the next frame is one of V8's.
    pub next: u32,
}

impl V8 {
    #[inline(always)]
    pub fn begin(&mut self, process: u32) {
        self.process = process;
        self.next = 0;
    }

    /// Whether the process holds V8, whose code always keeps the frame
    /// pointer, and which makes new code wherever it likes.
    #[inline(always)]
    pub fn is_here(&self) -> bool {
        self.process != 0
    }

    /// The walk has reached an anonymous mapping. False in a process without
    /// V8.
    #[inline(always)]
    pub fn enter_generated(&mut self, start: u64, end: u64) -> bool {
        if self.process == 0 {
            return false;
        }
        self.enter(start, end, self.process - 1, 0);
        true
    }

    /// The walk has reached the builtins.
    #[inline(always)]
    pub fn enter_builtins(&mut self, start: u64, end: u64, runtime: u32) {
        self.enter(start, end, runtime, 1);
    }

    #[inline(always)]
    fn enter(&mut self, start: u64, end: u64, runtime: u32, builtin: u32) {
        self.start = start;
        self.end = end;
        self.runtime = runtime;
        self.builtin = builtin;
        self.next = 1;
    }
}

/// Emits a frame of V8 and moves to its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn v8_step(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return native::STOP;
    };
    // SAFETY: the map returned it, and the caller claimed it.
    let record = unsafe { &mut *record };
    match advance(record) {
        Ok(()) => native::CONTINUE,
        Err(outcome) => native::stop(record, outcome),
    }
}

#[inline(always)]
fn advance(record: &mut Record) -> Result<(), Outcome> {
    let walk = &mut record.walk;
    let exact = walk.exact != 0;
    let builtin = walk.v8.builtin != 0;
    let address = if exact { walk.pc } else { walk.pc - 1 };
    let index = walk.v8.runtime & (MAX_V8S as u32 - 1);
    let Some(runtime) = V8S.get(index) else {
        return Err(Outcome::TableUnavailable);
    };
    let frame_pointer = walk.registers[register::RBP as usize];
    let area_start = frame_pointer.wrapping_sub((V8Runtime::FRAME_WORDS * 8) as u64);
    // SAFETY: the buffer, 8 words, is the walk's own; the kernel checks the
    // address.
    let read = unsafe {
        let area = walk
            .saved_area
            .as_mut_ptr()
            .cast::<[u8; V8Runtime::FRAME_WORDS * 8]>();
        bpf_probe_read_user_buf(area_start as *const u8, &mut *area)
    };
    let frame = if read.is_ok() {
        v8::classify(runtime, &walk.saved_area, |address| {
            native::read_user(address).ok()
        })
    } else {
        v8::V8Frame::Unknown
    };
    let top = if exact && builtin {
        native::read_user(walk.registers[register::RSP as usize]).unwrap_or(0)
    } else {
        0
    };
    let entries = v8::entries(frame, address, exact, builtin, top);
    if entries.native {
        let mapping = &walk.mapping;
        let word = Frame::pack_native(mapping.executable, address - mapping.bias);
        native::push(record, word);
    }
    if let Some(kind) = entries.code {
        let words = Frame::pack_javascript(index, javascript::CODE, address, kind);
        native::push(record, words[0]);
        native::push(record, words[1]);
    }
    if let Some((kind, object, detail)) = entries.function {
        let words = Frame::pack_javascript(index, kind, object, detail);
        native::push(record, words[0]);
        native::push(record, words[1]);
    }
    let walk = &mut record.walk;
    native::follow_frame_pointer(walk)?;
    if !exact && let v8::V8Frame::Typed(v8::ENTRY | v8::CONSTRUCT_ENTRY) = frame {
        leave_entry(walk);
    }
    // Mostly the caller is in the same code.
    let caller = walk.pc - 1;
    if caller < walk.v8.start || caller >= walk.v8.end {
        walk.v8.next = 0;
    }
    Ok(())
}

/// C++ called: its registers are in the frame, below the type and the context
/// (V8 src/builtins/x64/builtins-x64.cc, `Generate_JSEntryVariant`, 10.0 to
/// 14.6).
#[inline(always)]
fn leave_entry(walk: &mut super::Walk) {
    const SAVED: [(usize, u8); 5] = [
        (5, register::R12),
        (4, register::R13),
        (3, register::R14),
        (2, register::R15),
        (1, register::RBX),
    ];
    for (index, number) in SAVED {
        walk.registers[number as usize & 15] = walk.saved_area[index];
        walk.valid |= 1 << number;
    }
}
