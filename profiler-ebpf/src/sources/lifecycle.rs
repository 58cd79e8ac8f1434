//! Processes that start, change their program, and end.
//!
//! These hooks run in process context, so they may change shared maps. They
//! keep `PROCESSES` right without waiting for userspace: a forked child has
//! its parent's mappings from its first sample, and an entry disappears the
//! moment its mappings do.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use aya_log_ebpf::debug;
use profiler_ebpf::{Counter, EventKind, ProcessEvent, ProcessKey, TICK_NS};

use super::{network, sched, statements};
use crate::{
    gate::{self, Verdict, Wanted},
    maps::{EVENTS, PROCESSES, count, setting},
    task::{Task, read},
};

/// `old` is the id that the thread had before it took its process's.
pub fn exec(old: u32) {
    let Verdict::Wanted(Wanted { task, tgid, .. }) = gate::current() else {
        return;
    };
    sched::executed(task, tgid, old);
    network::ended(old);
    let _ = PROCESSES.remove(&tgid);
    debug!((), "process {} executes another program", tgid);
    send(EventKind::Exec, task, task.process_key(tgid), 0);
}

pub fn exit() {
    network::ended(bpf_get_current_pid_tgid() as u32);
    statements::ended(bpf_get_current_pid_tgid() as u32);
    let Verdict::Wanted(Wanted { task, tgid, tid }) = gate::current() else {
        sched::forget(bpf_get_current_pid_tgid() as u32);
        return;
    };
    sched::ended(task, tid);
    if task.live_threads() > 0 {
        return;
    }
    // Nobody asked about it: no event, so that a storm of short processes
    // costs nothing.
    // SAFETY: only its presence is looked at.
    if unsafe { PROCESSES.get(&tgid) }.is_none() {
        return;
    }
    let _ = PROCESSES.remove(&tgid);
    debug!((), "process {} ends", tgid);
    send(EventKind::Exit, task, task.process_key(tgid), 0);
}

pub fn fork(parent: *const u8, child: *const u8) {
    let (parent, child) = (Task::at(parent as u64), Task::at(child as u64));
    let (parent_tgid, tgid) = (parent.tgid(), child.tgid());
    sched::created(child, tgid);
    if parent_tgid == tgid {
        return;
    }
    // SAFETY: copied at once; userspace replaces entries whole.
    let Some(entry) = (unsafe { PROCESSES.get(&parent_tgid) }) else {
        return;
    };
    let mut entry = *entry;
    if entry.start_ticks != parent.process_key(parent_tgid).start_boottime / TICK_NS {
        return;
    }
    let key = child.process_key(tgid);
    entry.start_ticks = key.start_boottime / TICK_NS;
    // The event first: userspace must know that the child uses the parent's
    // range of mappings before it may be inserted.
    if !send(EventKind::Fork, child, key, parent_tgid) {
        return;
    }
    if PROCESSES.insert(&tgid, &entry, 0).is_err() {
        count(Counter::MapFull as u32);
        debug!(
            (),
            "no room for process {}, forked by {}", tgid, parent_tgid
        );
        return;
    }
    debug!((), "process {} is forked by {}", tgid, parent_tgid);
}

#[inline(always)]
fn send(kind: EventKind, task: Task, process: ProcessKey, parent_tgid: u32) -> bool {
    let Some(mut entry) = EVENTS.reserve_untyped::<ProcessEvent>(0) else {
        count(Counter::EventsLost as u32);
        debug!((), "no room for an event of process {}", process.tgid);
        return false;
    };
    let name: [u64; 2] = read(task.0, setting!(offsets.task_comm));
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = kind as u32;
        (*event).reserved = 0;
        (*event).time = bpf_ktime_get_ns();
        (*event).process = process;
        (*event).parent_tgid = parent_tgid;
        (*event).reserved2 = 0;
        (*event).cgroup_v2 = task.cgroup_v2();
        (*event).cgroup_v1 = task.cgroup_v1();
        core::ptr::addr_of_mut!((*event).process_name)
            .cast::<[u64; 2]>()
            .write_unaligned(name);
    }
    entry.submit(0);
    true
}
