//! One step of a native walk: from a frame to its caller, by the unwind table
//! of the executable or, where there is none, by the frame pointer.
//!
//! The functions that are not inlined take and return plain numbers, as
//! the verifier of 5.10 asks of global functions.

use aya_ebpf::helpers::bpf_probe_read_user_buf;
use profiler_ebpf::{
    Frame, MAX_WORDS, NO_EXECUTABLE, Outcome, Rule, SAVED_REGISTERS, cfa, flag, interpreter,
    register, saved, state,
};

use super::{Record, Walk, python, rules};
use crate::maps::{EXECUTABLES, MAPPINGS, RECORDS};

pub const CONTINUE: u32 = 0;
pub const STOP: u32 = 1;
const NOT_FOUND: u32 = u32::MAX;

const MAPPING_STEPS: u32 = 17;

const CALLEE_SAVED: u32 = 1 << register::RBP
    | 1 << register::RBX
    | 1 << register::R12
    | 1 << register::R13
    | 1 << register::R14
    | 1 << register::R15;

/// Words of the area read below the CFA.
const AREA: usize = 8;

/// Offsets in `ucontext_t` of the registers by DWARF number, and of `rip`:
/// arch/x86/include/uapi/asm/sigcontext.h behind 40 bytes of ucontext.
const CONTEXT_FIRST: u64 = 40;
const CONTEXT_WORDS: usize = 17;
const CONTEXT_ORDER: [u8; 16] = [
    register::R8,
    register::R9,
    register::R10,
    register::R11,
    register::R12,
    register::R13,
    register::R14,
    register::R15,
    register::RDI,
    register::RSI,
    register::RBP,
    register::RBX,
    register::RDX,
    register::RAX,
    register::RCX,
    register::RSP,
];

/// Index in `MAPPINGS` of the mapping that holds `address`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_mapping(first: u32, count: u32, address: u64) -> u32 {
    let (mut low, mut high) = (first, first.wrapping_add(count));
    for _ in 0..MAPPING_STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low) >> 1);
        let Some(mapping) = MAPPINGS.get(middle) else {
            return NOT_FOUND;
        };
        if mapping.end <= address {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    match MAPPINGS.get(low) {
        Some(mapping)
            if low < first.wrapping_add(count)
                && mapping.start <= address
                && address < mapping.end =>
        {
            low
        }
        _ => NOT_FOUND,
    }
}

/// Emits the current frame and moves to its caller.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn step(slot: u32) -> u32 {
    let Some(record) = RECORDS.get_ptr_mut(slot) else {
        return STOP;
    };
    // SAFETY: the map returned it, and the caller claimed it.
    let record = unsafe { &mut *record };
    match advance(record, slot) {
        Ok(()) => CONTINUE,
        Err(outcome) => stop(record, outcome),
    }
}

/// Notes how the walk ended.
#[inline(always)]
pub fn stop(record: &mut Record, outcome: Outcome) -> u32 {
    record.header.outcome = outcome as u32;
    if outcome != Outcome::RootReached {
        record.header.failed_address = record.walk.pc;
        record.header.failed_executable = record.walk.mapping.executable;
    }
    STOP
}

#[inline(always)]
fn advance(record: &mut Record, slot: u32) -> Result<(), Outcome> {
    let kept = rules::kept(record.header.cpu, slot);
    let walk = &mut record.walk;
    // A return address may be the first byte of the next function: the call
    // is what the frame is about.
    let address = if walk.exact != 0 {
        walk.pc
    } else {
        walk.pc - 1
    };
    if address < walk.mapping.start || address >= walk.mapping.end {
        let index = find_mapping(walk.first_mapping, walk.mapping_count, address);
        let Some(mapping) = MAPPINGS.get(index) else {
            walk.mapping.executable = NO_EXECUTABLE;
            // The frame pointer led out of all code: it was not one. Below
            // code of V8 it was, and led to code that is newer than what we
            // know of the process.
            if walk.by_frame_pointer != 0 && !walk.v8.is_here() {
                return Err(Outcome::FramePointerBroken);
            }
            push(record, Frame::pack_raw(address));
            return Err(Outcome::MappingUnknown);
        };
        walk.mapping = *mapping;
    }
    let executable = walk.mapping.executable;
    if executable == NO_EXECUTABLE {
        if walk
            .v8
            .enter_generated(walk.mapping.start, walk.mapping.end)
        {
            return Ok(());
        }
        push(record, Frame::pack_raw(address));
        return follow_frame_pointer(&mut record.walk);
    }
    let virtual_address = address - walk.mapping.bias;
    let Some(info) = EXECUTABLES.get(executable) else {
        return Err(Outcome::TableUnavailable);
    };
    if u32::from(info.runtime) == interpreter::V8 && info.interpreter[0].contains(virtual_address) {
        let start = info.interpreter[0].start.wrapping_add(walk.mapping.bias);
        let end = info.interpreter[0].end.wrapping_add(walk.mapping.bias);
        walk.v8
            .enter_builtins(start, end, u32::from(info.runtime_index));
        return Ok(());
    }
    let rule = match info.state {
        state::READY => rules::find(info, virtual_address, kept),
        state::FRAME_POINTERS => None,
        state::UNAVAILABLE => {
            push(record, Frame::pack_native(executable, virtual_address));
            return Err(Outcome::TableUnavailable);
        }
        _ => {
            push(record, Frame::pack_native(executable, virtual_address));
            return Err(Outcome::TableNotReady);
        }
    };
    if u32::from(info.runtime) == interpreter::PYTHON
        && (info.interpreter[0].contains(virtual_address)
            || info.interpreter[1].contains(virtual_address))
    {
        return leave_evaluator(record, info, virtual_address, rule);
    }
    let Some(rule) = rule else {
        push(record, Frame::pack_native(executable, virtual_address));
        return follow_frame_pointer(&mut record.walk);
    };
    // The return address of a signal handler is the trampoline's first byte
    // by construction, not the end of a call.
    let shown = if rule.cfa == cfa::SIGNAL {
        walk.pc - walk.mapping.bias
    } else {
        virtual_address
    };
    push(record, Frame::pack_native(executable, shown));
    apply(&mut record.walk, rule)
}

/// Moves to the evaluator's caller; the next steps show its Python frames.
#[inline(always)]
fn leave_evaluator(
    record: &mut Record,
    info: &profiler_ebpf::Executable,
    virtual_address: u64,
    rule: Option<&Rule>,
) -> Result<(), Outcome> {
    let walk = &mut record.walk;
    let evaluator = Frame::pack_native(walk.mapping.executable, virtual_address);
    let bias = walk.mapping.bias;
    let index = u32::from(info.runtime_index);
    let low = walk.registers[register::RSP as usize];
    let leaf = python::Leaf::new(walk.exact, rule);
    let left = match rule {
        Some(rule) => apply(walk, rule),
        None => follow_frame_pointer(walk),
    };
    match left {
        Ok(()) => python::enter(record, low, evaluator, index, bias, leaf),
        Err(_) => push(record, evaluator),
    }
    left
}

#[inline(always)]
pub fn push(record: &mut Record, word: u64) {
    let index = record.header.kernel_frames + record.header.user_words;
    record.words[index as usize & (MAX_WORDS - 1)] = word;
    record.header.user_words += 1;
}

#[inline(always)]
fn apply(walk: &mut Walk, rule: &Rule) -> Result<(), Outcome> {
    let stack_pointer = walk.registers[register::RSP as usize];
    let frame_address = match rule.cfa {
        cfa::REGISTER => based(walk, rule)?,
        cfa::DEREFERENCE => {
            let value: u64 = read_user(based(walk, rule)?)?;
            value.wrapping_add(rule.add as i64 as u64)
        }
        cfa::INDEXED => {
            let index = rule.register as u32 & 15;
            if walk.valid & (1 << index) == 0 || walk.valid & (1 << register::RSP) == 0 {
                return Err(Outcome::RegisterLost);
            }
            let address = stack_pointer
                .wrapping_add(walk.registers[index as usize].wrapping_mul(8))
                .wrapping_add(rule.offset as i64 as u64);
            read_user(address)?.wrapping_add(rule.add as i64 as u64)
        }
        cfa::PLT => {
            let pushed = if walk.pc & 15 >= rule.offset as u64 {
                8
            } else {
                0
            };
            stack_pointer + 8 + pushed
        }
        cfa::SIGNAL => return leave_signal(walk, rule),
        cfa::ROOT => return Err(Outcome::RootReached),
        _ => return Err(Outcome::UnsupportedRule),
    };
    if frame_address <= stack_pointer {
        return Err(Outcome::StackNotGrowing);
    }
    let mut lost = 0;
    // SAFETY: the buffer is the walk's own; the kernel checks the address.
    let read = unsafe {
        let area = walk.saved_area.as_mut_ptr().cast::<[u8; AREA * 8]>();
        bpf_probe_read_user_buf((frame_address - (AREA * 8) as u64) as *const u8, &mut *area)
    };
    if read.is_err() {
        // The frame is the first of its stack page: take what must be there.
        walk.saved_area[AREA - 1] = read_user(frame_address - 8)?;
        walk.saved_area[AREA - 2] = read_user(frame_address - 16).unwrap_or(0);
        lost = 2;
    }
    let frame_pointer = if walk.valid & (1 << register::RBP) != 0 {
        Some(walk.registers[register::RBP as usize])
    } else {
        None
    };
    let return_register = walk.registers[rule.return_slot as usize & 15];
    if rule.flags & flag::RETURN_REGISTER != 0
        && walk.valid & (1 << (rule.return_slot as u32 & 15)) == 0
    {
        return Err(Outcome::RegisterLost);
    }
    let mut valid = walk.valid & CALLEE_SAVED;
    for index in 0..SAVED_REGISTERS.len() {
        let (number, slot) = (SAVED_REGISTERS[index], rule.saved[index]);
        if slot == saved::SAME {
            continue;
        }
        let bit = 1 << number;
        let value = if rule.flags & flag::FRAME_SLOTS & (1 << index) != 0 {
            // The frame pointer of the frame we leave: `registers` may hold
            // the caller's already.
            frame_slot(frame_pointer, slot)
        } else if slot as usize <= AREA {
            if lost != 0 && slot > lost {
                None
            } else {
                Some(walk.saved_area[(AREA - slot as usize) & (AREA - 1)])
            }
        } else if slot == saved::LOST {
            None
        } else {
            read_user(frame_address - 8 * slot as u64).ok()
        };
        match value {
            Some(value) => {
                walk.registers[number as usize & 15] = value;
                valid |= bit;
            }
            None => valid &= !bit,
        }
    }
    let return_slot = rule.return_slot as usize;
    walk.pc = if rule.flags & flag::RETURN_REGISTER != 0 {
        return_register
    } else {
        walk.saved_area[AREA.wrapping_sub(return_slot) & (AREA - 1)]
    };
    walk.registers[register::RSP as usize] = frame_address;
    walk.valid = valid | 1 << register::RSP;
    walk.exact = 0;
    walk.by_frame_pointer = 0;
    if walk.pc == 0 {
        return Err(Outcome::RootReached);
    }
    Ok(())
}

/// A register saved at a fixed distance from the frame pointer.
#[inline(always)]
fn frame_slot(frame_pointer: Option<u64>, slot: u8) -> Option<u64> {
    read_user(frame_pointer?.wrapping_add(8).wrapping_sub(8 * slot as u64)).ok()
}

/// Value of the rule's register plus its offset.
#[inline(always)]
fn based(walk: &Walk, rule: &Rule) -> Result<u64, Outcome> {
    let number = rule.register as u32 & 15;
    if walk.valid & (1 << number) == 0 {
        return Err(Outcome::RegisterLost);
    }
    Ok(walk.registers[number as usize].wrapping_add(rule.offset as i64 as u64))
}

/// The interrupted frame's registers are all in the signal frame.
#[inline(always)]
fn leave_signal(walk: &mut Walk, rule: &Rule) -> Result<(), Outcome> {
    let context = walk.registers[register::RSP as usize].wrapping_add(rule.offset as i64 as u64);
    let buffer = walk
        .entry_registers
        .as_mut_ptr()
        .cast::<[u8; CONTEXT_WORDS * 8]>();
    // SAFETY: the buffer, 21 words, is the walk's own and not needed any more.
    unsafe { bpf_probe_read_user_buf((context + CONTEXT_FIRST) as *const u8, &mut *buffer) }
        .map_err(|_| Outcome::StackUnreadable)?;
    for index in 0..CONTEXT_ORDER.len() {
        let number = CONTEXT_ORDER[index];
        walk.registers[number as usize & 15] = walk.entry_registers[index & 31];
    }
    walk.pc = walk.entry_registers[CONTEXT_WORDS - 1];
    walk.valid = 0xffff;
    walk.exact = 1;
    walk.by_frame_pointer = 0;
    Ok(())
}

#[inline(always)]
pub fn follow_frame_pointer(walk: &mut Walk) -> Result<(), Outcome> {
    if walk.valid & (1 << register::RBP) == 0 {
        return Err(Outcome::RegisterLost);
    }
    let frame_pointer = walk.registers[register::RBP as usize];
    // The psABI marks the outermost frame by a frame pointer of 0.
    if frame_pointer == 0 {
        return Err(Outcome::RootReached);
    }
    if frame_pointer < walk.registers[register::RSP as usize] || frame_pointer & 7 != 0 {
        return Err(Outcome::FramePointerBroken);
    }
    let caller: u64 = read_user(frame_pointer).map_err(|_| Outcome::FramePointerBroken)?;
    walk.pc = read_user(frame_pointer + 8).map_err(|_| Outcome::FramePointerBroken)?;
    walk.registers[register::RBP as usize] = caller;
    walk.registers[register::RSP as usize] = frame_pointer + 16;
    walk.valid = 1 << register::RBP | 1 << register::RSP;
    walk.exact = 0;
    walk.by_frame_pointer = 1;
    if walk.pc == 0 {
        return Err(Outcome::RootReached);
    }
    Ok(())
}

#[inline(always)]
pub fn read_user(address: u64) -> Result<u64, Outcome> {
    // SAFETY: the kernel checks the address and never faults here.
    unsafe { aya_ebpf::helpers::bpf_probe_read_user(address as *const u64) }
        .map_err(|_| Outcome::StackUnreadable)
}
