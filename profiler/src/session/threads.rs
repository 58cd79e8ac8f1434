//! The account of every thread's wall time: threads that were there before the
//! recording are told to the kernel side, and what it counted is collected.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    hash::{BuildHasher as _, RandomState},
};

use profiler_ebpf::{
    Activity, Descriptor, NO_CALL, OTHER_CALL, ProcessKey, TICK_NS, ThreadClock, ThreadEvent,
    WAIT_PERIOD_NS, Wait, Window, thread_state, transfer, wait_of_call,
};
use rustc_hash::FxHashMap;

use super::{
    intake::Intake,
    waits::{self, Clocks},
};
use crate::{
    bpf::{Kernel, now},
    containers::Containers,
    process::{start_ticks, stat_field, stat_of},
    profile::{self, ContainerId, Note, ThreadAccount, ThreadId},
};

/// `PF_KTHREAD`, include/linux/sched.h.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A thread that ran for as long without being seen to stop, and sleeps when it is
/// looked at, did so unseen.
const UNSEEN_NS: u64 = 100_000_000;

/// More threads than there are now, for those that come.
pub fn room() -> u32 {
    let now = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| tids(entry.ok()?.file_name().to_str()?.parse().ok()?))
        .map(|tids| tids.len() as u32)
        .sum::<u32>();
    (2 * now).clamp(1 << 12, 1 << 16)
}

/// A thread that was there before us, as `/proc` tells it.
struct Known {
    tgid: u32,
    start_ticks: u64,
    cgroups: (u64, u64),
}

/// What is followed, and how it went. By default nothing is.
#[derive(Default)]
pub struct Threads {
    follows: bool,
    /// Their time is accounted for.
    accounts_for: bool,
    /// Why the kernel would not have it.
    refused: Option<String>,
    /// Where in the sampling period a thread begins must not be the same for all.
    phases: RandomState,
    window: Option<Window>,
    known: FxHashMap<u32, Known>,
    /// Threads that did not fit the kernel side's map.
    not_taken: u64,
    accounts: BTreeMap<ThreadId, Clocks>,
}

/// What was found of the threads that are there at the end.
#[derive(Default)]
pub struct Followed {
    pub window: Option<Window>,
    pub accounts: Vec<ThreadAccount>,
    /// Each with its id.
    pub clocks: Vec<(u32, ThreadId, ThreadClock)>,
}

impl Threads {
    /// Tells the kernel side of the threads of the processes that pass `wanted`.
    /// With `waits`, attaches the hooks of the scheduler before.
    pub fn start(
        kernel: &mut Kernel,
        containers: &Containers,
        waits: bool,
        wanted: impl Fn(u32) -> bool,
    ) -> Self {
        let mut threads = Self {
            follows: true,
            ..Self::default()
        };
        if waits {
            threads.refused = kernel.follow_threads().err().map(|error| error.brief());
            threads.accounts_for = threads.refused.is_none();
        }
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let Some(tgid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if wanted(tgid) {
                threads.tell(kernel, tgid, containers.cgroups_of(tgid));
            }
        }
        threads
    }

    fn tell(&mut self, kernel: &mut Kernel, tgid: u32, cgroups: (u64, u64)) {
        let (Some(tids), Some(start_ticks)) = (tids(tgid), start_ticks(tgid)) else {
            return;
        };
        for tid in tids {
            let Some(mut clock) = clock(tgid, tid, cgroups) else {
                continue;
            };
            clock.residual =
                std::array::from_fn(|place| self.phases.hash_one((tid, place)) % WAIT_PERIOD_NS);
            if kernel.follow_thread(tid, clock).is_err() {
                self.not_taken += 1;
                continue;
            }
            let known = Known {
                tgid,
                start_ticks,
                cgroups,
            };
            self.known.insert(tid, known);
        }
    }

    /// Accounts for what threads do from now on.
    /// Returns from when on, `CLOCK_MONOTONIC` nanoseconds.
    pub fn open_window(&mut self, kernel: &mut Kernel) -> u64 {
        self.accounts.clear();
        let window = Window {
            start: now(),
            end: 0,
        };
        if self.follows && kernel.set_window(window).is_ok() {
            self.window = Some(window);
        }
        window.start
    }

    /// A thread ended. Its account is its own when its process took samples;
    /// those of all others of a name are added up, since there can be thousands
    /// a second.
    pub fn ended(&mut self, event: &ThreadEvent, thread: ThreadId) {
        if self.accounts_for && self.window.is_some() {
            waits::add(self.accounts.entry(thread).or_default(), &event.spent);
        }
    }

    /// Accounts for nothing any more.
    pub fn close_window(&mut self, kernel: &mut Kernel) {
        if let Some(window) = &mut self.window {
            window.end = now();
            // If it fails, what ends a moment later counts in full.
            let _ = kernel.set_window(*window);
        }
    }

    /// What every thread that is there did; threads that took no sample become
    /// known to `intake`.
    pub fn finish(
        mut self,
        kernel: &Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Followed {
        let mut note = |text: String| {
            notes.push(Note::missing(text));
        };
        if let Some(why) = &self.refused {
            note(format!("waiting is not recorded: {why}"));
        }
        if self.not_taken > 0 {
            note(format!(
                "{} threads did not fit the table of threads: their time is not accounted for",
                self.not_taken
            ));
        }
        let mut followed = Followed::default();
        let Some(window) = self.window else {
            return followed;
        };
        followed.window = Some(window);
        let mut accounts = std::mem::take(&mut self.accounts);
        let clocks = kernel.threads();
        let unseen: BTreeSet<u32> = clocks
            .iter()
            .filter_map(|(tid, clock)| Some((self.known.get(tid)?.tgid, tid, clock)))
            .filter(|(tgid, tid, clock)| is_unseen(*tgid, **tid, clock, window))
            .map(|(tgid, ..)| tgid)
            .collect();
        for (tid, mut clock) in clocks {
            let of_unseen = || {
                let known = self.known.get(&tid);
                known.is_some_and(|known| unseen.contains(&known.tgid))
            };
            if clock.state == thread_state::NOT_WANTED
                || clock.state == thread_state::UNSEEN
                || (clock.process.tgid == 0 && of_unseen())
            {
                continue;
            }
            settle(&mut clock, window);
            if let Some(thread) = self.thread(tid, &clock, containers, intake) {
                if self.accounts_for {
                    waits::add(accounts.entry(thread).or_default(), &clock.spent);
                }
                followed.clocks.push((tid, thread, clock));
            }
        }
        if !unseen.is_empty() {
            let processes: Vec<String> = unseen.iter().map(u32::to_string).collect();
            notes.push(Note::missing(format!(
                "this kernel runs no eBPF program in process {}: what its threads do is not \
                 recorded",
                processes.join(", ")
            )));
        }
        followed.accounts = waits::settle(intake, &accounts);
        followed
    }

    fn thread(
        &self,
        tid: u32,
        clock: &ThreadClock,
        containers: &mut Containers,
        intake: &mut Intake,
    ) -> Option<ThreadId> {
        let known = self.known.get(&tid);
        let (key, cgroups) = if clock.process.tgid == 0 {
            // It never stopped or went on: what /proc said stands.
            let known = known?;
            let key = intake
                .process_started(known.tgid, known.start_ticks)
                .unwrap_or(ProcessKey {
                    tgid: known.tgid,
                    exec_id: 0,
                    start_boottime: known.start_ticks * TICK_NS,
                });
            (key, known.cgroups)
        } else {
            (clock.process, (clock.cgroup_v2, clock.cgroup_v1))
        };
        let container: ContainerId = containers.resolve(cgroups.0, cgroups.1, key.tgid);
        let comm = |path: String| {
            fs::read_to_string(path)
                .map(|name| name.trim_end_matches('\n').to_owned())
                .unwrap_or_default()
        };
        Some(intake.quiet_thread(
            key,
            container,
            tid,
            (
                || comm(format!("/proc/{}/comm", key.tgid)),
                || comm(format!("/proc/{}/task/{tid}/comm", key.tgid)),
            ),
            super::command_line,
        ))
    }
}

/// An activity as the kernel side numbers them.
pub fn activity(number: u32) -> profile::Activity {
    use profile::Activity as Told;
    match Activity::from_u32(number).unwrap_or(Activity::Other) {
        Activity::OnCpu => Told::OnCpu,
        Activity::RunQueue => Told::RunQueue,
        Activity::Throttled => Told::Throttled,
        Activity::Lock => Told::Lock,
        Activity::Gil => Told::Gil,
        Activity::Sleep => Told::Sleep,
        Activity::Signal => Told::Signal,
        Activity::Poll => Told::Poll,
        Activity::Accept => Told::Accept,
        Activity::DiskRead => Told::DiskRead,
        Activity::DiskWrite => Told::DiskWrite,
        Activity::Sync => Told::Sync,
        Activity::FileSystem => Told::FileSystem,
        Activity::PageFault => Told::PageFault,
        Activity::NetworkRead => Told::NetworkRead,
        Activity::NetworkWrite => Told::NetworkWrite,
        Activity::Connect => Told::Connect,
        Activity::Pipe => Told::Pipe,
        Activity::Child => Told::Child,
        Activity::AsyncIo => Told::AsyncIo,
        Activity::Memory => Told::Memory,
        Activity::Stopped => Told::Stopped,
        Activity::Descriptor => Told::Descriptor,
        Activity::Other => Told::Other,
        Activity::Stolen => Told::Stolen,
    }
}

/// Whether the kernel runs no program in the thread: it went on twice and never
/// stopped, or it was woken long ago, never stopped, and sleeps.
fn is_unseen(tgid: u32, tid: u32, clock: &ThreadClock, window: Window) -> bool {
    let since = match clock.state {
        thread_state::UNSEEN => return true,
        thread_state::ON_CPU => clock.since,
        thread_state::BLOCKED => clock.woken,
        _ => 0,
    };
    if clock.process.tgid != 0 || since == 0 || since + UNSEEN_NS > window.end {
        return false;
    }
    let stat = stat_of(&format!("/proc/{tgid}/task/{tid}"));
    stat.is_some_and(|stat| stat_field(&stat, 3) == Some("S"))
}

/// Charges the interval that a thread is in when the window ends.
fn settle(clock: &mut ThreadClock, window: Window) {
    let mut charge = |activity: u32, start, end| {
        if let Some(spent) = clock.spent.get_mut(activity as usize) {
            spent.nanoseconds += window.part(start, end);
        }
    };
    let end = window.end;
    let queue = Activity::RunQueue as u32;
    match clock.state {
        thread_state::BLOCKED if clock.woken != 0 => {
            charge(clock.activity, clock.since, clock.woken);
            charge(queue, clock.woken, end);
        }
        thread_state::BLOCKED => charge(clock.activity, clock.since, end),
        thread_state::PREEMPTED => charge(queue, clock.since, end),
        _ => charge(Activity::OnCpu as u32, clock.since, end),
    }
}

fn tids(tgid: u32) -> Option<Vec<u32>> {
    let tids = fs::read_dir(format!("/proc/{tgid}/task"))
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    Some(tids)
}

/// The clock that a thread begins with; `None` for a kernel thread, or one that
/// is gone.
fn clock(tgid: u32, tid: u32, cgroups: (u64, u64)) -> Option<ThreadClock> {
    let task = format!("/proc/{tgid}/task/{tid}");
    let stat = stat_of(&task)?;
    let flags: u64 = stat_field(&stat, 9)?.parse().ok()?;
    if flags & KERNEL_THREAD != 0 {
        return None;
    }
    let mut clock = ThreadClock {
        since: now(),
        cgroup_v2: cgroups.0,
        cgroup_v1: cgroups.1,
        ..ThreadClock::NEW
    };
    let call = Call::of(&task);
    clock.call = match call.number {
        None | Some(u64::MAX) => NO_CALL,
        Some(number) => number.min(OTHER_CALL.into()) as u32,
    };
    match stat_field(&stat, 3)? {
        "R" => {}
        "T" | "t" => {
            clock.state = thread_state::BLOCKED;
            clock.activity = Activity::Stopped as u32;
        }
        _ => {
            clock.state = thread_state::BLOCKED;
            clock.activity = call.wait(tgid) as u32;
        }
    }
    Some(clock)
}

/// The system call that a thread is in, by `/proc/PID/task/TID/syscall`.
struct Call {
    /// `None` when it runs, or has ended; `u64::MAX` in an exception.
    number: Option<u64>,
    argument: Option<u64>,
}

impl Call {
    fn of(task: &str) -> Self {
        let text = fs::read_to_string(format!("{task}/syscall")).unwrap_or_default();
        let mut words = text.split_whitespace();
        // "running", or -1 in an exception.
        let number = words.next().and_then(|word| word.parse::<i64>().ok());
        let argument = words
            .next()
            .and_then(|word| u64::from_str_radix(word.trim_start_matches("0x"), 16).ok());
        Self {
            number: number.map(|number| number as u64),
            argument,
        }
    }

    /// What it waits for: the same that the kernel side finds for itself.
    fn wait(&self, tgid: u32) -> Activity {
        let Self { number, argument } = *self;
        let Some(number) = number else {
            return Activity::Other;
        };
        let descriptor = || {
            let target = fs::read_link(format!("/proc/{tgid}/fd/{}", argument.unwrap_or(u64::MAX)));
            match target
                .as_deref()
                .map(|path| path.to_string_lossy().into_owned())
            {
                Ok(path) if path.starts_with("socket:") => Descriptor::Socket,
                Ok(path) if path.starts_with("pipe:") => Descriptor::Pipe,
                Ok(path) if path.starts_with('/') && !path.starts_with("/dev/") => Descriptor::File,
                _ => Descriptor::Other,
            }
        };
        match wait_of_call(number) {
            Wait::For(activity) => activity,
            Wait::Read => transfer(false, descriptor()),
            Wait::Write => transfer(true, descriptor()),
            Wait::Select if argument == Some(0) => Activity::Sleep,
            Wait::PollSome | Wait::Select => Activity::Poll,
        }
    }
}
