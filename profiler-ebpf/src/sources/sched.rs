//! Where the wall time of threads goes: on a CPU, waiting for one, or blocked.
//!
//! The scheduler's hooks only look up, and write into, what is there already
//! (rule 2): a thread's clock is made when it is forked, or by userspace.
//! Totals are exact. Stacks are taken of every [`WAIT_PERIOD_NS`]-th nanosecond
//! of waiting, as a clock would that only ticks while the thread waits: long
//! waits always, short ones in proportion to their length. A thread that was
//! blocked in a system call owes its user stack until it leaves the call,
//! since its memory cannot be read while another runs.
//!
//! Some hosts let no eBPF program run in a process that they protect. What it
//! switches to goes on unseen; that is found when it stops.

use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_get_task_stack, bpf_ktime_get_ns};
use profiler_ebpf::{
    Activity, BLOCKED_KERNEL_FRAMES, Counter, EventKind, NO_CALL, Source, ThreadClock, ThreadEvent,
    WAIT_PERIOD_NS, Window, ends, thread_state,
};

use super::{
    blocked,
    pace::{Pace, due},
    syscalls,
};
use crate::{
    gate,
    maps::{EVENTS, NEW_THREAD, RUNNING, Running, THREADS, WINDOW, count, setting},
    task::{Task, Typed, read},
    walk::{
        self, Context, Returned, Told, Woken,
        registers::{self, Saved},
    },
};

/// Places in [`ThreadClock::due`] and [`ThreadClock::residual`].
const BLOCKED: usize = 0;
const QUEUED: usize = 1;
/// Place in [`ThreadClock::residual`] alone.
const WOKEN: usize = 2;
/// Shares of intervals are in `1 << SHARE_BITS` parts.
const SHARE_BITS: u32 = 10;

/// A thread stops and another goes on. `state` is the stopping one's
/// `task_struct.__state`: 0 if it could run on.
#[inline(always)]
pub fn switch(preempted: bool, state: u32, previous: Task<Typed>, next: Task<Typed>) {
    let (Some(window), Some(running)) = (WINDOW.get(0), RUNNING.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: the map returned it; only this CPU uses it.
    let running = unsafe { &mut *running };
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let blocks = !preempted && state != 0;
    let last = Last {
        switch: running.since,
        stolen: stolen(running, previous),
    };
    stop(previous, blocks, state, now, last, window);
    running.owes = u64::from(go_on(next, now, window));
    running.since = now;
}

/// The last switch on this CPU.
struct Last {
    /// When it was seen.
    switch: u64,
    /// What the hypervisor took of the CPU since then, nanoseconds.
    stolen: u64,
}

/// As the kernel leaves it out of a thread's run time: it has brought its clock
/// up to date when it switches (kernel/sched/core.c, update_rq_clock_task, 5.10
/// to 7.2).
#[inline(always)]
fn stolen(running: &mut Running, task: Task<Typed>) -> u64 {
    let all = task.cpu_stolen();
    let before = core::mem::replace(&mut running.stolen, all);
    if running.since == 0 {
        0
    } else {
        all.saturating_sub(before)
    }
}

/// Whether a thread's time is accounted for: asked of the gate when it is first
/// met.
#[inline(always)]
pub fn is_wanted(clock: &mut ThreadClock, task: impl FnOnce() -> Task) -> bool {
    if clock.state >= thread_state::NOT_WANTED {
        return false;
    }
    if clock.process.tgid == 0 {
        let task = task();
        let tgid = task.tgid();
        if !gate::wanted(task, tgid) {
            clock.state = thread_state::NOT_WANTED;
            return false;
        }
        identify(clock, task, tgid);
    }
    true
}

#[inline(always)]
fn stop(task: Task<Typed>, blocks: bool, state: u32, now: u64, last: Last, window: &Window) {
    let tid = task.tid();
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return;
    };
    // SAFETY: the map returned it; a thread's hooks never run at the same time.
    let clock = unsafe { &mut *clock };
    if !is_wanted(clock, || task.checked()) {
        return;
    }
    begin(clock);
    if clock.state == thread_state::BLOCKED || clock.state == thread_state::PREEMPTED {
        // Its predecessor is one that is not seen to stop.
        let resumed = last.switch.max(clock.since).max(clock.woken);
        let queued = waited(clock, resumed, window, false);
        charge_queue(clock, task, window.part(queued, resumed), false);
        clock.since = resumed;
    }
    ran(clock, now, last.stolen, window);
    clock.since = now;
    clock.woken = 0;
    clock.task_state = state;
    if blocks {
        clock.activity = blocked::activity(task, state) as u32;
        clock.state = thread_state::BLOCKED;
    } else {
        clock.state = thread_state::PREEMPTED;
        (clock.queue, clock.queue_throttled) = task.queue();
    }
    end(clock);
}

/// Charges the interval in which a thread had a CPU.
#[inline(always)]
fn ran(clock: &mut ThreadClock, now: u64, mut stolen: u64, window: &Window) {
    let (part, whole) = (
        window.part(clock.since, now),
        now.saturating_sub(clock.since),
    );
    if part < whole {
        // In which part of an interval that began before the window, is not known.
        stolen = (stolen.min(whole) << SHARE_BITS) / whole * part >> SHARE_BITS;
    }
    stolen = stolen.min(part);
    if stolen != 0 {
        charge(clock, Activity::Stolen, stolen);
    }
    charge(clock, Activity::OnCpu, part - stolen);
}

/// Returns whether it owes a stack.
#[inline(always)]
fn go_on(task: Task<Typed>, now: u64, window: &Window) -> bool {
    let tid = task.tid();
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return false;
    };
    // SAFETY: as in `stop`.
    let clock = unsafe { &mut *clock };
    if clock.state >= thread_state::NOT_WANTED {
        return false;
    }
    begin(clock);
    if clock.state == thread_state::ON_CPU {
        clock.state = thread_state::UNSEEN;
        end(clock);
        return false;
    }
    let in_call = clock.state == thread_state::BLOCKED && Activity::is_in_call(clock.activity);
    let queued = waited(clock, now, window, in_call);
    if in_call {
        blocked_stack(clock, queued, now, window);
    }
    let in_queue = charge_queue(clock, task, window.part(queued, now), in_call);
    if in_call {
        let weight = due(Pace::Time, &mut clock.residual[QUEUED], in_queue, now);
        clock.due[QUEUED] = clock.due[QUEUED].wrapping_add(weight);
    }
    if in_call && clock.due[BLOCKED] | clock.due[QUEUED] != 0 {
        kernel_stack(clock, task);
    }
    clock.state = thread_state::ON_CPU;
    clock.since = now;
    end(clock);
    clock.due[BLOCKED] | clock.due[QUEUED] != 0
}

/// Charges the wait, if it was one, of a thread that goes on at `now`. Returns
/// since when it only waited for a CPU.
#[inline(always)]
fn waited(clock: &mut ThreadClock, now: u64, window: &Window, offered: bool) -> u64 {
    if clock.state != thread_state::BLOCKED {
        return clock.since;
    }
    let woken = if clock.woken == 0 { now } else { clock.woken };
    let waited = window.part(clock.since, woken);
    charge_index(clock, clock.activity, waited, offered);
    woken
}

/// Decides whether the stack of a wait is due.
#[inline(always)]
fn blocked_stack(clock: &mut ThreadClock, woken: u64, now: u64, window: &Window) {
    // Before the window opens, stacks only teach userspace whose tables it will
    // need.
    let waited = if window.start == 0 {
        woken.saturating_sub(clock.since)
    } else {
        window.part(clock.since, woken)
    };
    // It may have been blocked in the same call before.
    let weight = due(Pace::Time, &mut clock.residual[BLOCKED], waited, now);
    clock.due[BLOCKED] = clock.due[BLOCKED].wrapping_add(weight);
    clock.due_activity = clock.activity;
}

/// Charges time in the run queue, and tells apart what its quota caused.
/// Returns what was not.
#[inline(always)]
fn charge_queue(clock: &mut ThreadClock, task: Task<Typed>, waited: u64, offered: bool) -> u64 {
    let (queue, throttled) = task.queue();
    let throttled = if queue != 0 && queue == clock.queue {
        throttled.wrapping_sub(clock.queue_throttled).min(waited)
    } else {
        0
    };
    if throttled != 0 {
        charge(clock, Activity::Throttled, throttled);
    }
    let waited = waited - throttled;
    charge_index(clock, Activity::RunQueue as u32, waited, offered);
    waited
}

/// A blocked thread can run.
#[inline(always)]
pub fn wake(task: Task<Typed>) {
    let tid = task.tid();
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return;
    };
    // SAFETY: as in `stop`: it is woken after it stopped, and goes on after.
    let clock = unsafe { &mut *clock };
    if clock.state != thread_state::BLOCKED || clock.woken != 0 {
        return;
    }
    // SAFETY: has no precondition.
    clock.woken = unsafe { bpf_ktime_get_ns() };
    (clock.queue, clock.queue_throttled) = task.queue();
}

/// The running thread is about to wake a blocked one: records who it is.
#[inline(always)]
pub fn wakes(context: Context<'_>, woken: Task<Typed>) {
    let tid = woken.tid();
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return;
    };
    // SAFETY: as in `stop`; it is asleep, and its lock is held by who wakes it.
    let clock = unsafe { &mut *clock };
    if clock.state != thread_state::BLOCKED || clock.woken != 0 {
        return;
    }
    let Some(activity) = Activity::of_waker(clock.activity) else {
        return;
    };
    let gate::Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    if !ends(registers::call(wanted.task).number, activity) {
        return;
    }
    let Some(window) = WINDOW.get(0) else {
        return;
    };
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let waited = window.part(clock.since, now);
    let weight = due(Pace::Time, &mut clock.residual[WOKEN], waited, now);
    if weight != 0 {
        let woken = Woken {
            tid,
            activity: clock.activity,
        };
        walk::record(context, wanted, Source::Wakeup, weight, Told::Woken(woken));
    }
}

/// A thread is made, in process context.
#[inline(always)]
pub fn created(task: Task, tgid: u32) {
    if setting!(follows_threads) == 0 {
        return;
    }
    if !task.has_user_stack() || !gate::wanted(task, tgid) {
        return;
    }
    let Some(new) = NEW_THREAD.get(0) else {
        return;
    };
    let tid = task.tid();
    if THREADS.insert(&tid, new, 0).is_err() {
        count(Counter::MapFull as u32);
        return;
    }
    if let Some(clock) = THREADS.get_ptr_mut(&tid) {
        // SAFETY: the thread does not run yet.
        let clock = unsafe { &mut *clock };
        // SAFETY: has no precondition.
        clock.since = unsafe { bpf_ktime_get_ns() };
        // SAFETY: as above.
        let random = u64::from(unsafe { bpf_get_prandom_u32() });
        clock.residual = [
            random % WAIT_PERIOD_NS,
            (random >> 4) % WAIT_PERIOD_NS,
            (random >> 8) % WAIT_PERIOD_NS,
            (random >> 12) % WAIT_PERIOD_NS,
        ];
        clock.generation = random as u16;
        clock.call = NO_CALL;
        (clock.queue, clock.queue_throttled) = task.queue();
        identify(clock, task, tgid);
        clock.state = thread_state::PREEMPTED;
    }
}

/// Its process runs another program now, which was thread `old`.
#[inline(always)]
pub fn executed(task: Task, tgid: u32, old: u32) {
    if setting!(follows_threads) == 0 {
        return;
    }
    if old != tgid {
        takes_over(task, tgid, old);
    } else if let Some(clock) = THREADS.get_ptr_mut(&tgid) {
        // SAFETY: the running thread's own.
        identify(unsafe { &mut *clock }, task, tgid);
    } else {
        created(task, tgid);
    }
}

/// The thread `old` has its process's id now; the one that had it has ended. It
/// begins anew, but for the call that it is in.
#[inline(always)]
fn takes_over(task: Task, tgid: u32, old: u32) {
    let call = THREADS.get_ptr_mut(&old).map(|clock| {
        // SAFETY: the running thread's own.
        let clock = unsafe { &*clock };
        (clock.call, clock.call_start, clock.about)
    });
    ended(task, old);
    created(task, tgid);
    if let (Some((number, start, about)), Some(clock)) = (call, THREADS.get_ptr_mut(&tgid)) {
        // SAFETY: as above.
        let clock = unsafe { &mut *clock };
        clock.call = number;
        clock.call_start = start;
        clock.about = about;
    }
}

/// A thread ends that the gate does not let through any more.
#[inline(always)]
pub fn forget(tid: u32) {
    if setting!(follows_threads) == 0 {
        return;
    }
    let _ = THREADS.remove(&tid);
}

/// A thread ends, in process context: sends its account.
#[inline(always)]
pub fn ended(task: Task, tid: u32) {
    if setting!(follows_threads) == 0 {
        return;
    }
    let Some(clock) = THREADS.get_ptr_mut(&tid) else {
        return;
    };
    // SAFETY: the running thread's own.
    let clock = unsafe { &mut *clock };
    let (Some(window), true) = (WINDOW.get(0), clock.process.tgid != 0) else {
        let _ = THREADS.remove(&tid);
        return;
    };
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    charge(clock, Activity::OnCpu, window.part(clock.since, now));
    if window.start != 0 {
        send(clock, task, tid, now);
    }
    let _ = THREADS.remove(&tid);
}

#[inline(always)]
fn send(clock: &ThreadClock, task: Task, tid: u32, now: u64) {
    let Some(mut entry) = EVENTS.reserve_untyped::<ThreadEvent>(0) else {
        count(Counter::ThreadsLost as u32);
        return;
    };
    let name: [u64; 2] = read(task.0, setting!(offsets.task_comm));
    let process_name: [u64; 2] = read(task.leader().0, setting!(offsets.task_comm));
    let minor_faults: u64 = read(task.0, setting!(offsets.task_minor_faults));
    let major_faults: u64 = read(task.0, setting!(offsets.task_major_faults));
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = EventKind::ThreadEnded as u32;
        (*event).tid = tid;
        (*event).time = now;
        (*event).process = clock.process;
        (*event).cgroup_v2 = clock.cgroup_v2;
        (*event).cgroup_v1 = clock.cgroup_v1;
        core::ptr::addr_of_mut!((*event).thread_name)
            .cast::<[u64; 2]>()
            .write_unaligned(name);
        core::ptr::addr_of_mut!((*event).process_name)
            .cast::<[u64; 2]>()
            .write_unaligned(process_name);
        for index in 0..Activity::COUNT {
            (*event).spent[index] = clock.spent[index];
        }
        (*event).calls = clock.calls;
        (*event).generation = clock.generation.into();
        (*event).is_last = u32::from(task.live_threads() == 0);
        (*event).reclaim = clock.reclaim;
        (*event).minor_faults = minor_faults;
        (*event).major_faults = major_faults;
    }
    entry.submit(0);
}

/// A system call returns: its account, and the stack of it and of the waits in
/// it, if that is due.
#[inline(always)]
pub fn call_returns(context: Context<'_>, saved: Saved, result: i64) {
    let (Some(running), Some(window)) = (RUNNING.get_ptr_mut(0), WINDOW.get(0)) else {
        return;
    };
    let called = if setting!(counts_calls) != 0 {
        syscalls::exit(saved, result, window)
    } else {
        0
    };
    // SAFETY: the map returned it; only this CPU uses it.
    let owed = unsafe { core::mem::take(&mut (*running).owes) };
    if owed == 0 && called == 0 {
        return;
    }
    let gate::Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    let Some(clock) = THREADS.get_ptr_mut(&wanted.tid) else {
        return;
    };
    // SAFETY: the running thread's own. Should it be preempted here, the hooks of
    // the scheduler leave alone what is used of it: it is in no wait.
    let clock = unsafe { &mut *clock };
    let [blocked, queued] = core::mem::take(&mut clock.due);
    if blocked | queued | called == 0 {
        return;
    }
    walk::record(
        context,
        wanted,
        Source::OffCpu,
        0,
        Told::Returned(Returned {
            clock,
            blocked,
            queued,
            called,
        }),
    );
}

#[inline(always)]
pub fn identify(clock: &mut ThreadClock, task: Task, tgid: u32) {
    clock.process = task.process_key(tgid);
    clock.cgroup_v2 = task.cgroup_v2();
    clock.cgroup_v1 = task.cgroup_v1();
}

#[inline(always)]
fn charge(clock: &mut ThreadClock, activity: Activity, nanoseconds: u64) {
    charge_index(clock, activity as u32, nanoseconds, false);
}

#[inline(always)]
fn charge_index(clock: &mut ThreadClock, activity: u32, nanoseconds: u64, offered: bool) {
    if nanoseconds == 0 || activity as usize >= Activity::COUNT {
        return;
    }
    let spent = &mut clock.spent[activity as usize];
    spent.nanoseconds += nanoseconds;
    spent.count += 1;
    if offered {
        spent.offered += nanoseconds;
    }
}

/// Where in the kernel a thread that goes on was blocked.
#[inline(always)]
fn kernel_stack(clock: &mut ThreadClock, next: Task<Typed>) {
    // SAFETY: the kernel writes at most the size given.
    let bytes = unsafe {
        bpf_get_task_stack(
            next.pointer(),
            clock.kernel_stack.as_mut_ptr().cast(),
            (BLOCKED_KERNEL_FRAMES * 8) as u32,
            0,
        )
    };
    clock.kernel_frames = if bytes > 0 { bytes as u32 / 8 } else { 0 };
}

/// Userspace copies clocks while they run: see [`ThreadClock::changing`].
#[inline(always)]
fn begin(clock: &mut ThreadClock) {
    let next = clock.changing.wrapping_add(1);
    // SAFETY: a plain field; volatile, so that it is written first.
    unsafe { core::ptr::addr_of_mut!(clock.changing).write_volatile(next) };
}

#[inline(always)]
fn end(clock: &mut ThreadClock) {
    let next = clock.changing;
    // SAFETY: as above, written last.
    unsafe { core::ptr::addr_of_mut!(clock.changed).write_volatile(next) };
}
