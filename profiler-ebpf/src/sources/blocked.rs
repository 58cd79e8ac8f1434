//! What a thread that stops is about to wait for, from the system call that it
//! is in.

use aya_ebpf::helpers::bpf_probe_read_user;
use profiler_ebpf::{Activity, Descriptor, Wait, transfer, wait_of_call};

use crate::{
    maps::GILS,
    task::{Task, Typed},
    walk::registers,
};

/// `task_struct.__state`, include/linux/sched.h, 5.10 to 7.2.
const TASK_STOPPED: u32 = 4;
const TASK_TRACED: u32 = 8;

/// `POLLOUT`, include/uapi/asm-generic/poll.h.
const POLL_OUT: u16 = 4;
/// `struct pollfd` of the same file.
#[derive(Clone, Copy)]
#[repr(C)]
struct PollDescriptor {
    number: i32,
    events: u16,
    found: u16,
}

/// `task` is the running one.
#[inline(always)]
pub fn activity(task: Task<Typed>, state: u32) -> Activity {
    if state & (TASK_STOPPED | TASK_TRACED) != 0 {
        return Activity::Stopped;
    }
    let call = registers::call(task);
    match wait_of_call(call.number) {
        Wait::For(Activity::Lock) if is_gil(task, call.arguments[0]) => Activity::Gil,
        Wait::For(activity) => activity,
        Wait::Read => transfer(false, task.descriptor(call.arguments[0] as u32)),
        Wait::Write => transfer(true, task.descriptor(call.arguments[0] as u32)),
        Wait::PollSome => poll(task, call.arguments),
        Wait::Select if call.arguments[0] as u32 == 0 => Activity::Sleep,
        Wait::Select => Activity::Poll,
    }
}

/// Of a single socket or pipe, it is the peer that is waited for: so clients
/// wait for servers (libpq, curl). Whoever looks at several is parked.
#[inline(always)]
fn poll(task: Task<Typed>, [descriptors, number]: [u64; 2]) -> Activity {
    if number == 0 {
        return Activity::Sleep;
    }
    if number != 1 {
        return Activity::Poll;
    }
    // SAFETY: the kernel checks the address.
    let Ok(one) = (unsafe { bpf_probe_read_user(descriptors as *const PollDescriptor) }) else {
        return Activity::Poll;
    };
    let write = one.events & POLL_OUT != 0;
    match task.descriptor(one.number as u32) {
        kind @ (Descriptor::Socket | Descriptor::Pipe) => transfer(write, kind),
        _ => Activity::Poll,
    }
}

#[inline(always)]
fn is_gil(task: Task<Typed>, address: u64) -> bool {
    // SAFETY: copied at once; userspace replaces entries whole.
    unsafe { GILS.get(&task.tgid()) }.is_some_and(|locks| locks.contain(address))
}
