//! Phases of PostgreSQL's statements, from the probes that its server has for them
//! (src/backend/utils/probes.d, PostgreSQL 9.0 to 18).
//!
//! All of it runs in process context, where the backend itself is: its entry is
//! its own, so that nothing here needs an atomic operation.
//!
//! Phases of a statement lie side by side, and those of statements that its
//! functions run lie within them. An error leaves functions without their
//! "done" probe, so a phase is known by the stack pointer of the function that
//! began it: what begins at or above it says that the function is gone. That
//! also makes a probe harmless that fires twice, as it does when one file is
//! reached by two mounts and looks like two.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_NO_WAKEUP, pt_regs},
    helpers::{
        bpf_ktime_get_ns, bpf_probe_read_kernel_buf, bpf_probe_read_user,
        bpf_probe_read_user_str_bytes,
    },
    programs::ProbeContext,
};
use profiler_ebpf::{
    Backend, Counter, EventKind, KNOWN_STATEMENTS, OpenPhase, PAGE_BYTES, Phase, PhaseUse,
    STATEMENT_BYTES, StatementEvent, StatementTextEvent, Turn, UNREADABLE, Window,
};

use crate::{
    gate::{self, Verdict, Wanted},
    maps::{BACKENDS, EVENTS, KNOWN_TEXTS, NEW_BACKEND, TEXT_ARGUMENTS, WINDOW, count, setting},
    task::Task,
};

/// Any odd number with many bits spreads the words of a text (splitmix64's).
const SPREAD: u64 = 0xbf58_476d_1ce4_e5b9;

/// The backend says what it is at: a text, or nothing.
#[inline(always)]
pub fn status(context: &ProbeContext) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    let Some(backend) = entry(wanted) else {
        return;
    };
    let Some(text) = text_address(context, backend) else {
        return;
    };
    let now = now();
    let window = window();
    leave(backend, &window, now);
    if text == 0 {
        end_turn(backend, &window, now);
        return;
    }
    let hash = read_text(wanted.tid, backend, text);
    // Parse, Bind and Execute of one statement, each of which says it again.
    if hash == backend.turn.hash {
        return;
    }
    end_turn(backend, &window, now);
    backend.turn.hash = hash;
    backend.turn.since = now;
    tell_text(backend);
}

#[inline(always)]
pub fn phase_begins(context: &ProbeContext, phase: Phase) {
    let Some(backend) = followed() else {
        return;
    };
    let stack = stack_pointer(context);
    let begins = OpenPhase {
        phase: phase as u64 + 1,
        stack,
        since: now(),
    };
    if backend.nested.phase != 0 && stack >= backend.nested.stack {
        backend.nested.phase = 0;
    }
    if backend.outer.phase == 0 || stack >= backend.outer.stack {
        backend.outer = begins;
        backend.nested.phase = 0;
    } else if backend.nested.phase == 0 && phase as u32 != Phase::Execute as u32 {
        // Executing within is a part of executing: of a portal that has several
        // statements, or of one that EXECUTE runs.
        backend.nested = begins;
    }
}

#[inline(always)]
pub fn phase_ends(context: &ProbeContext, phase: Phase) {
    let Some(backend) = followed() else {
        return;
    };
    let stack = stack_pointer(context);
    let is = |open: &OpenPhase| open.phase == phase as u64 + 1 && open.stack == stack;
    let (now, window) = (now(), window());
    let counts = is_open(&window, now);
    let usage: &mut PhaseUse = &mut backend.turn.phases[phase as usize];
    if is(&backend.nested) {
        if counts {
            usage.nested += 1;
            usage.nested_ns += window.part(backend.nested.since, now);
        }
        backend.nested.phase = 0;
    } else if is(&backend.outer) {
        if counts {
            let whole = now.wrapping_sub(backend.outer.since);
            usage.count += 1;
            usage.nanoseconds += window.part(backend.outer.since, now);
            usage.longest = usage.longest.max(whole);
        }
        backend.outer.phase = 0;
        backend.nested.phase = 0;
    }
}

#[inline(always)]
pub fn lock_wait_begins() {
    if let Some(backend) = followed() {
        backend.lock_since = now();
    }
}

#[inline(always)]
pub fn lock_wait_ends() {
    if let Some(backend) = followed() {
        waited(backend, &window(), now());
    }
}

/// A thread ended, which may have been a backend.
#[inline(always)]
pub fn ended(tid: u32) {
    if setting!(times_statements) == 0 {
        return;
    }
    let Some(backend) = BACKENDS.get_ptr_mut(tid) else {
        return;
    };
    // SAFETY: the map returned it; it is this thread's own.
    let backend = unsafe { &mut *backend };
    let (now, window) = (now(), window());
    leave(backend, &window, now);
    end_turn(backend, &window, now);
    let _ = BACKENDS.remove(tid);
}

/// The entry of the running thread, if it has one.
#[inline(always)]
fn followed() -> Option<&'static mut Backend> {
    let Verdict::Wanted(wanted) = gate::current() else {
        return None;
    };
    // SAFETY: the map returned it; it is this thread's own.
    BACKENDS
        .get_ptr_mut(wanted.tid)
        .map(|backend| unsafe { &mut *backend })
}

/// The same, made if it is not there.
#[inline(always)]
fn entry(wanted: Wanted) -> Option<&'static mut Backend> {
    let Wanted { task, tgid, tid } = wanted;
    let found = BACKENDS.get_ptr_mut(tid).or_else(|| {
        // It fails when the map is full, which shows below.
        let _ = BACKENDS.insert(tid, NEW_BACKEND.get(0)?, BPF_NOEXIST.into());
        BACKENDS.get_ptr_mut(tid)
    });
    let Some(backend) = found else {
        count(Counter::BackendsLost as u32);
        return None;
    };
    // SAFETY: as above.
    let backend = unsafe { &mut *backend };
    if backend.process.tgid == 0 {
        backend.process = task.process_key(tgid);
        backend.server = task.parent().tgid();
        backend.cgroup_v2 = task.cgroup_v2();
        backend.cgroup_v1 = task.cgroup_v1();
    }
    Some(backend)
}

/// Where the text is, as the file's note of the probe says. `None`: no such probe.
#[inline(always)]
fn text_address(context: &ProbeContext, backend: &mut Backend) -> Option<u64> {
    // SAFETY: the context of a uprobe.
    let registers = unsafe { &*context.regs };
    let argument = TEXT_ARGUMENTS.get(registers.rip as u32 & (PAGE_BYTES as u32 - 1))?;
    if argument.register == 0 {
        return None;
    }
    lay_down(registers, &mut backend.registers);
    let index = core::hint::black_box(argument.register as usize - 1) & 31;
    let value = backend.registers[index];
    if argument.indirect == 0 {
        return Some(value);
    }
    let address = value.wrapping_add_signed(argument.offset);
    // SAFETY: the kernel checks the address.
    unsafe { bpf_probe_read_user(address as *const u64) }.ok()
}

/// A context can be read at constant offsets only; a map's value at others too.
#[inline(always)]
fn lay_down(registers: &pt_regs, to: &mut [u64; 32]) {
    to[0] = registers.r15;
    to[1] = registers.r14;
    to[2] = registers.r13;
    to[3] = registers.r12;
    to[4] = registers.rbp;
    to[5] = registers.rbx;
    to[6] = registers.r11;
    to[7] = registers.r10;
    to[8] = registers.r9;
    to[9] = registers.r8;
    to[10] = registers.rax;
    to[11] = registers.rcx;
    to[12] = registers.rdx;
    to[13] = registers.rsi;
    to[14] = registers.rdi;
    to[19] = registers.rsp;
}

#[inline(always)]
fn stack_pointer(context: &ProbeContext) -> u64 {
    // SAFETY: the context of a uprobe.
    unsafe { (*context.regs).rsp }
}

/// Reads the text and returns its hash.
#[inline(always)]
fn read_text(tid: u32, backend: &mut Backend, address: u64) -> u64 {
    // SAFETY: as many bytes as the text has room for, which is in a map.
    let bytes = unsafe {
        core::slice::from_raw_parts_mut(backend.text.as_mut_ptr().cast::<u8>(), STATEMENT_BYTES)
    };
    // SAFETY: the kernel checks the address.
    let read = unsafe { bpf_probe_read_user_str_bytes(address as *const u8, bytes) };
    let Ok(read) = read.map(|text| text.len()) else {
        backend.text_length = 0;
        return UNREADABLE;
    };
    let length = read as u32 & (STATEMENT_BYTES as u32 - 1);
    backend.text_length = length;
    hash_text(tid, length)
}

/// The hash of the text of a backend, which has so many bytes. On its own, so that
/// the verifier follows what comes after it once, and not once for every length.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hash_text(tid: u32, length: u32) -> u64 {
    let Some(backend) = BACKENDS.get_ptr_mut(tid) else {
        return UNREADABLE;
    };
    // SAFETY: the map returned it; it is the running thread's own.
    let backend = unsafe { &*backend };
    // The compiler must not know that there are fewer than the loop looks at: it
    // would leave the loop's bound out, which the verifier cannot do without.
    let words = core::hint::black_box(length as usize >> 3);
    let mut hash = u64::from(length);
    for index in 0..STATEMENT_BYTES / 8 {
        if index >= words {
            break;
        }
        hash = spread(hash ^ backend.text[index]);
    }
    let last = backend.text[words & (STATEMENT_BYTES / 8 - 1)];
    hash = spread(hash ^ (last & ((1 << ((length & 7) * 8)) - 1)));
    if hash <= UNREADABLE { !hash } else { hash }
}

#[inline(always)]
fn spread(value: u64) -> u64 {
    let product = value.wrapping_mul(SPREAD);
    product ^ (product >> 29)
}

/// Phases that are still there when the backend is at something new: an error left
/// them. So it did with the wait for a lock.
#[inline(always)]
fn leave(backend: &mut Backend, window: &Window, now: u64) {
    if backend.outer.phase != 0 && is_open(window, now) {
        backend.turn.failed += 1;
        backend.turn.failed_ns += window.part(backend.outer.since, now);
    }
    backend.outer.phase = 0;
    backend.nested.phase = 0;
    waited(backend, window, now);
}

#[inline(always)]
fn waited(backend: &mut Backend, window: &Window, now: u64) {
    let since = core::mem::replace(&mut backend.lock_since, 0);
    if since == 0 || !is_open(window, now) {
        return;
    }
    backend.turn.lock_waits += 1;
    backend.turn.lock_ns += window.part(since, now);
    backend.turn.lock_longest = backend.turn.lock_longest.max(now.wrapping_sub(since));
}

/// Tells what the backend did with its statement.
#[inline(always)]
fn end_turn(backend: &mut Backend, window: &Window, now: u64) {
    if backend.turn.hash == 0 {
        return;
    }
    if !backend.turn.is_empty() {
        backend.turn.nanoseconds = window.part(backend.turn.since, now);
        tell_turn(backend);
    }
    backend.turn = Turn::default();
}

#[inline(always)]
fn tell_turn(backend: &Backend) {
    let Some(mut entry) = EVENTS.reserve_untyped::<StatementEvent>(0) else {
        count(Counter::StatementsLost as u32);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = EventKind::StatementDone as u32;
        (*event).server = backend.server;
        (*event).process = backend.process;
        (*event).cgroup_v2 = backend.cgroup_v2;
        (*event).cgroup_v1 = backend.cgroup_v1;
        (*event).turn = backend.turn;
        (*event).process_name = Task::current().name();
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

/// Tells the text, unless userspace has it.
#[inline(always)]
fn tell_text(backend: &Backend) {
    let hash = backend.turn.hash;
    let place = hash as u32 & (KNOWN_STATEMENTS as u32 - 1);
    let Some(known) = KNOWN_TEXTS.get_ptr_mut(place) else {
        return;
    };
    // SAFETY: the map returned it. Another CPU may write to it too: the text is
    // told once more then.
    if unsafe { *known } == hash || hash == UNREADABLE {
        return;
    }
    let Some(mut entry) = EVENTS.reserve_untyped::<StatementTextEvent>(0) else {
        count(Counter::StatementsLost as u32);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written; both texts are of the same size.
    unsafe {
        (*event).kind = EventKind::StatementText as u32;
        (*event).length = backend.text_length;
        (*event).hash = hash;
        let _ = bpf_probe_read_kernel_buf(backend.text.as_ptr().cast(), &mut (*event).text);
        *known = hash;
    }
    entry.submit(u64::from(BPF_RB_NO_WAKEUP));
}

#[inline(always)]
fn now() -> u64 {
    // SAFETY: has no precondition.
    unsafe { bpf_ktime_get_ns() }
}

#[inline(always)]
fn window() -> Window {
    WINDOW
        .get(0)
        .copied()
        .unwrap_or(Window { start: 0, end: 0 })
}

/// Whether what ends now is of the recording.
#[inline(always)]
fn is_open(window: &Window, now: u64) -> bool {
    window.start != 0 && (window.end == 0 || now <= window.end)
}
