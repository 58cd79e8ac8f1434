//! Kernel stacks, by the data that the kernel itself unwinds them by (ORC).
//!
//! `bpf_get_stack` does the same, but 10 ms later nothing of what it reads and runs
//! is in the CPU's caches: it was a third of what a sample cost. The walk of the
//! user's stack is needed anyway, and so is what it has read. Where this walk meets
//! anything that it does not know, the kernel's own is taken.
//!
//! The steps are those of `unwind_next_frame` in arch/x86/kernel/unwind_orc.c, 6.5
//! to 7.2.

use aya_ebpf::{
    EbpfContext as _,
    helpers::{bpf_get_stack, bpf_probe_read_kernel, bpf_probe_read_kernel_buf},
    programs::PerfEventContext,
};
use profiler_ebpf::{Counter, MAX_KERNEL_FRAMES, MAX_WORDS, Rule, cfa, flag, register, saved};

use super::{Record, Walk, orc, registers, rules};
use crate::maps::{KERNEL_CODE, RECORDS, count};

/// One of so many stacks is walked by the kernel too, and compared.
const COMPARED: u32 = 64;

/// Where in the record's words the kernel's are put for that.
const THEIRS: usize = MAX_KERNEL_FRAMES + 1;

/// What [`kernel_step`] returns.
const CONTINUE: u32 = 0;
const WHOLE: u32 = 1;
const UNKNOWN: u32 = 2;

/// Words below the CFA that are read at once.
const AREA: usize = 8;

/// Puts the stack into the record in `slot`, which is `record`. False when the kernel
/// must do it.
///
/// A pointer, since [`kernel_step`] finds the record by itself: the compiler must not
/// believe that nobody else writes to it meanwhile.
#[inline(always)]
pub fn walk(context: &PerfEventContext, record: *mut Record, slot: u32) -> bool {
    if KERNEL_CODE.get(0).is_none_or(|code| code.walked == 0) {
        return false;
    }
    // SAFETY: the caller claimed the record; nobody else uses this reference.
    registers::begin_kernel(context, unsafe { &mut (*record).walk });
    // SAFETY: as above, here and below.
    unsafe { (*record).header.kernel_frames = 0 };
    if kernel_frames(slot) != WHOLE {
        // SAFETY: as above.
        unsafe { (*record).header.kernel_frames = 0 };
        count(Counter::KernelStacksHandedOver as u32);
        return false;
    }
    // SAFETY: as above.
    let record = unsafe { &mut *record };
    record.walk.kernel_stacks = record.walk.kernel_stacks.wrapping_add(1);
    record.walk.kernel_stacks % COMPARED != 0 || is_same(context, record, slot)
}

/// All steps. A function of its own, so that the verifier follows what comes after it
/// once, and not for each number of steps.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kernel_frames(slot: u32) -> u32 {
    for _ in 0..MAX_KERNEL_FRAMES {
        let next = kernel_step(slot);
        if next != CONTINUE {
            return next;
        }
    }
    WHOLE
}

/// Whether the kernel's unwinder says the same. If not, it is left to do it from now
/// on: a walk that is wrong once is not to be trusted.
#[inline(always)]
fn is_same(context: &PerfEventContext, record: &mut Record, slot: u32) -> bool {
    count(Counter::KernelStacksCompared as u32);
    // SAFETY: the kernel writes at most the size given, and there is room for it.
    let bytes = unsafe {
        bpf_get_stack(
            context.as_ptr(),
            record.words[THEIRS..].as_mut_ptr().cast(),
            (MAX_KERNEL_FRAMES * 8) as u32,
            0,
        )
    };
    if bytes == i64::from(record.header.kernel_frames) * 8 && same_frames(slot) != 0 {
        return true;
    }
    record.header.kernel_frames = 0;
    count(Counter::KernelStacksDifferent as u32);
    if let Some(code) = KERNEL_CODE.get_ptr_mut(0) {
        // SAFETY: the map returned it; it is one byte, and others only read it.
        unsafe { (*code).walked = 0 };
    }
    false
}

/// Whether the frames at the record's begin are those at [`THEIRS`]. A function of its
/// own as [`kernel_frames`] is.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn same_frames(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return 0;
    };
    // SAFETY: the map returned it, and the caller claimed it.
    let record = unsafe { &*record };
    for index in 0..MAX_KERNEL_FRAMES {
        if index as u32 >= record.header.kernel_frames {
            break;
        }
        if record.words[index] != record.words[THEIRS + index] {
            return 0;
        }
    }
    1
}

/// Emits the current frame and moves to its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn kernel_step(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return UNKNOWN;
    };
    // SAFETY: the map returned it, and the caller claimed it.
    let record = unsafe { &mut *record };
    let walk = &mut record.walk;
    let frame = record.header.kernel_frames as usize & (MAX_WORDS - 1);
    record.words[frame] = walk.pc;
    record.header.kernel_frames += 1;
    let Some(code) = KERNEL_CODE.get(0) else {
        return UNKNOWN;
    };
    if code.trampolines.contains(&walk.pc) {
        return UNKNOWN;
    }
    let address = walk.pc.wrapping_sub(u64::from(walk.exact == 0));
    match orc::find(code, address, rules::kept(record.header.cpu, slot)) {
        Some(rule) => advance(walk, rule).unwrap_or(UNKNOWN),
        None => UNKNOWN,
    }
}

#[inline(always)]
fn advance(walk: &mut Walk, rule: &Rule) -> Option<u32> {
    if rule.cfa == cfa::ROOT {
        return Some(WHOLE);
    }
    let stack_pointer = walk.registers[register::RSP as usize];
    let frame_pointer = walk.registers[register::RBP as usize];
    let base = match rule.register {
        register::RSP => stack_pointer,
        register::RBP => frame_pointer,
        _ => return None,
    };
    let base = base.wrapping_add(rule.offset as i64 as u64);
    walk.exact = u32::from(rule.flags & flag::INTERRUPTED != 0);
    let frame_address = match rule.cfa {
        cfa::REGISTER if base > stack_pointer => base,
        // Where the stack is changed: the other may lie anywhere.
        cfa::DEREFERENCE => read(base)?.wrapping_add(rule.add as i64 as u64),
        cfa::ENTRY => return leave_entry(walk, base, rule),
        _ => return None,
    };
    // SAFETY: the buffer is the walk's own; the kernel checks the address.
    unsafe {
        let area = walk.saved_area.as_mut_ptr().cast::<[u8; AREA * 8]>();
        bpf_probe_read_kernel_buf(
            frame_address.wrapping_sub((AREA * 8) as u64) as *const u8,
            &mut *area,
        )
    }
    .ok()?;
    let slot = rule.saved[0];
    if rule.flags & flag::FRAME_SLOTS != 0 {
        walk.registers[register::RBP as usize] =
            read(frame_pointer.wrapping_add(8).wrapping_sub(8 * slot as u64))?;
    } else if slot != saved::SAME {
        walk.registers[register::RBP as usize] = if slot as usize <= AREA {
            walk.saved_area[(AREA - slot as usize) & (AREA - 1)]
        } else {
            read(frame_address.wrapping_sub(8 * slot as u64))?
        };
    }
    walk.pc = walk.saved_area[AREA - 1];
    walk.registers[register::RSP as usize] = frame_address;
    Some(CONTINUE)
}

/// To what was interrupted; user space is where the stack ends.
#[inline(always)]
fn leave_entry(walk: &mut Walk, address: u64, rule: &Rule) -> Option<u32> {
    let buffer = walk
        .entry_registers
        .as_mut_ptr()
        .cast::<[u8; registers::COUNT * 8]>();
    // SAFETY: the buffer is the walk's own, and used by nobody yet.
    unsafe { bpf_probe_read_kernel_buf(address as *const u8, &mut *buffer) }.ok()?;
    if registers::continue_kernel(walk, rule.saved[0] != saved::SAME) {
        Some(CONTINUE)
    } else {
        Some(WHOLE)
    }
}

#[inline(always)]
fn read(address: u64) -> Option<u64> {
    // SAFETY: the kernel checks the address and never faults here.
    unsafe { bpf_probe_read_kernel(address as *const u64) }.ok()
}
