//! Waits for CPython's global interpreter lock.
//!
//! A thread that wants the lock waits in futex(2) on a word inside of the
//! lock's own structure, on the condition variable that tells that it is free
//! (Python/ceval_gil.c, `take_gil`, 3.8 to 3.14). So waits are told from all
//! other futexes by their address alone, and measured exactly.

use aya_ebpf::{helpers::bpf_ktime_get_ns, programs::TracePointContext};
use profiler_ebpf::{Counter, Source};

use crate::{
    gate::{self, Verdict},
    maps::{GIL_WAITS, GILS, count},
    walk::{self, Context},
};

/// `uaddr` and `op` in the tracepoint's record: 8 bytes common to all, the
/// number of the call, then its arguments, 8 bytes each
/// (kernel/trace/trace_syscalls.c, `struct syscall_trace_enter`).
const ADDRESS: usize = 16;
const OPERATION: usize = 24;

/// include/uapi/linux/futex.h.
const FUTEX_WAIT: u64 = 0;
const FUTEX_WAIT_BITSET: u64 = 9;
const FUTEX_FLAGS: u64 = 128 | 256;

#[inline(always)]
pub fn enter(context: &TracePointContext) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    // SAFETY: copied at once; userspace replaces entries whole.
    let Some(locks) = (unsafe { GILS.get(&wanted.tgid) }) else {
        return;
    };
    // SAFETY: both lie within the record of this tracepoint.
    let (Ok(address), Ok(operation)) = (unsafe { context.read_at::<u64>(ADDRESS) }, unsafe {
        context.read_at::<u64>(OPERATION)
    }) else {
        return;
    };
    let operation = operation & !FUTEX_FLAGS;
    if operation != FUTEX_WAIT && operation != FUTEX_WAIT_BITSET {
        return;
    }
    if !locks.contain(address) {
        return;
    }
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    // In process context: the map may be changed (rule 2 is for interrupts
    // and the scheduler).
    if GIL_WAITS.insert(&wanted.tid, &now, 0).is_err() {
        count(Counter::MapFull as u32);
    }
}

#[inline(always)]
pub fn exit(context: &TracePointContext) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    // SAFETY: copied at once; only this thread writes to its entry.
    let Some(since) = (unsafe { GIL_WAITS.get(&wanted.tid) }) else {
        return;
    };
    let since = *since;
    let _ = GIL_WAITS.remove(&wanted.tid);
    // SAFETY: has no precondition.
    let waited = unsafe { bpf_ktime_get_ns() }.wrapping_sub(since);
    walk::record(
        Context::Syscall(context),
        wanted,
        Source::GilWait,
        waited,
        walk::Told::Nothing,
    );
}
