//! Page faults, time in reclaim, and the out-of-memory killer.
//!
//! How many faults each thread has is counted by the kernel itself, in
//! `task_struct`; here are the stacks of some.

use aya_ebpf::{
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns},
    programs::PerfEventContext,
};
use profiler_ebpf::{Counter, EventKind, OomKillEvent, Source, fault, thread_state};

use super::pace::{Pace, due};
use crate::{
    gate::{self, Verdict},
    maps::{EVENTS, FAULT_RESIDUAL, THREADS, WINDOW, count, setting},
    task::{Task, read},
    walk::{self, Context, Told, registers},
};

/// Bytes of a page on x86-64.
const PAGE: u64 = 4096;

/// One of the faults that the kernel's counter picks.
#[inline(always)]
pub fn fault(context: &PerfEventContext, kind: u32) {
    if let Verdict::Wanted(wanted) = gate::current() {
        let bytes = registers::sample_period(context) * PAGE;
        // Those that wait for a disk all have their stack.
        let weight = if kind == fault::MAJOR {
            bytes
        } else {
            due_bytes(bytes)
        };
        if weight != 0 {
            let told = Told::Fault(kind);
            let context = Context::Fault(context);
            walk::record(context, wanted, Source::PageFault, weight, told);
        }
    }
}

#[inline(always)]
fn due_bytes(bytes: u64) -> u64 {
    let Some(residual) = FAULT_RESIDUAL.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: the map returned it; only this CPU uses it. The helper has no
    // precondition.
    unsafe { due(Pace::Faults, &mut *residual, bytes, bpf_ktime_get_ns()) }
}

/// The running thread begins to free memory.
#[inline(always)]
pub fn reclaim_begins() {
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(clock) = THREADS.get_ptr_mut(&tid) {
        // SAFETY: the map returned it; the running thread's own.
        unsafe { (*clock).reclaim_start = bpf_ktime_get_ns() };
    }
}

#[inline(always)]
pub fn reclaim_ends() {
    let tid = bpf_get_current_pid_tgid() as u32;
    let (Some(clock), Some(window)) = (THREADS.get_ptr_mut(&tid), WINDOW.get(0)) else {
        return;
    };
    // SAFETY: as above.
    let clock = unsafe { &mut *clock };
    let start = core::mem::take(&mut clock.reclaim_start);
    if start == 0 || clock.state >= thread_state::NOT_WANTED {
        return;
    }
    // SAFETY: has no precondition.
    let part = window.part(start, unsafe { bpf_ktime_get_ns() });
    if part != 0 {
        clock.reclaim.count += 1;
        clock.reclaim.nanoseconds += part;
    }
}

/// `victim` is a `task_struct`, before 6.9 a thread's id.
#[inline(always)]
pub fn oom_kill(victim: u64) {
    let Some(mut entry) = EVENTS.reserve_untyped::<OomKillEvent>(0) else {
        count(Counter::EventsLost as u32);
        return;
    };
    let caller = Task::current();
    let caller_name: [u64; 2] = read(caller.0, setting!(offsets.task_comm));
    let has_task = setting!(has_victim_task) != 0;
    let task = Task::at(victim);
    let victim_name: [u64; 2] = if has_task {
        read(task.leader().0, setting!(offsets.task_comm))
    } else {
        [0; 2]
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = EventKind::OomKill as u32;
        (*event).time = bpf_ktime_get_ns();
        core::ptr::addr_of_mut!((*event).caller_name)
            .cast::<[u64; 2]>()
            .write_unaligned(caller_name);
        (*event).caller_tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
        (*event).reserved = 0;
        core::ptr::addr_of_mut!((*event).victim_name)
            .cast::<[u64; 2]>()
            .write_unaligned(victim_name);
        if has_task {
            (*event).tid = task.tid();
            (*event).victim = task.process_key(task.tgid());
            (*event).cgroup_v2 = task.cgroup_v2();
            (*event).cgroup_v1 = task.cgroup_v1();
        } else {
            (*event).tid = victim as u32;
            (*event).victim = Default::default();
            (*event).cgroup_v2 = 0;
            (*event).cgroup_v1 = 0;
        }
    }
    entry.submit(0);
}
