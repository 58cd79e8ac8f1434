//! The first lines of every program: is this task wanted?

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use profiler_ebpf::gate;

use crate::{
    maps::{WANTED_CGROUPS, WANTED_PROCESSES, setting},
    task::Task,
};

/// The running task, when it passed the gate.
#[derive(Clone, Copy)]
pub struct Wanted {
    pub task: Task,
    pub tgid: u32,
    pub tid: u32,
}

/// What the gate said of the running task.
pub enum Verdict {
    Idle,
    NotWanted,
    Wanted(Wanted),
}

#[inline(always)]
pub fn current() -> Verdict {
    let pid_tgid = bpf_get_current_pid_tgid();
    let (tgid, tid) = ((pid_tgid >> 32) as u32, pid_tgid as u32);
    if tid == 0 {
        return Verdict::Idle;
    }
    let task = Task::current();
    if wanted(task, tgid) {
        Verdict::Wanted(Wanted { task, tgid, tid })
    } else {
        Verdict::NotWanted
    }
}

#[inline(always)]
pub fn wanted(task: Task, tgid: u32) -> bool {
    match setting!(gate) {
        gate::EVERYTHING => true,
        // SAFETY: the values are not read, only their presence.
        gate::PROCESSES => unsafe { WANTED_PROCESSES.get(&tgid) }.is_some(),
        _ => {
            // SAFETY: as above.
            unsafe { WANTED_CGROUPS.get(&task.cgroup_v2()) }.is_some()
                || unsafe { WANTED_CGROUPS.get(&(task.cgroup_v1() | gate::CGROUP_V1)) }.is_some()
        }
    }
}
