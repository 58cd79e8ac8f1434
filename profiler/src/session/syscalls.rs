//! System calls: what the kernel side counted of each thread.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rustc_hash::FxHashMap;

use profiler_ebpf::{
    Calls, ErrorCount, NO_CALL, OTHER_CALL, ThreadEvent, Wait, Window, wait_of_call,
};

use super::{
    intake::{Intake, RawFrame},
    shares::Recorded,
    targets::CallTargets,
    threads::{Followed, activity},
};
use crate::{
    bpf::Kernel,
    containers::Containers,
    profile::{ActivityClass, CallTarget, Histogram, Note, Source, SyscallUse, Syscalls, ThreadId},
    syscalls::{error_name, name},
};

/// Entries of the table of calls for each thread that there may be: most make
/// fewer kinds of calls in a minute.
const CALLS_PER_THREAD: u32 = 6;
const MAX_ROOM: u32 = 1 << 16;

/// Room for the calls of so many threads.
pub fn room(threads: u32) -> u32 {
    threads.saturating_mul(CALLS_PER_THREAD).min(MAX_ROOM)
}

/// What is counted, and how it went. By default nothing is.
#[derive(Default)]
pub struct SystemCalls {
    counted: bool,
    /// Since when not any more.
    stopped: Option<Duration>,
    /// Numbers of the calls that are; `None`: all.
    wanted: Option<Vec<u32>>,
    /// Why the kernel would not have it.
    refused: Option<String>,
    targets: CallTargets,
    uses: BTreeMap<(Option<ThreadId>, u32), SyscallUse>,
}

impl SystemCalls {
    /// Counts the calls `wanted`, or all; with `targets`, tells what they are
    /// about.
    pub fn start(kernel: &mut Kernel, wanted: Option<&[u32]>, targets: bool) -> Self {
        let all: Vec<u32> = (0..=OTHER_CALL).collect();
        let refused = kernel
            .count_calls(wanted.unwrap_or(&all))
            .err()
            .map(|error| error.brief());
        let targets = if targets && refused.is_none() {
            CallTargets::start(kernel, wanted.unwrap_or(&all))
        } else {
            CallTargets::default()
        };
        Self {
            targets,
            counted: refused.is_none(),
            stopped: None,
            wanted: wanted.map(<[u32]>::to_vec),
            refused,
            uses: BTreeMap::new(),
        }
    }

    /// Counts no more, so long after the recording's begin: it costs too much.
    /// What was counted stays. Returns whether it was counting.
    pub fn stop(&mut self, kernel: &mut Kernel, after: Duration) -> bool {
        let counts = self.counts();
        if counts {
            kernel.stop_counting_calls();
            self.stopped = Some(after);
        }
        counts
    }

    pub fn counts(&self) -> bool {
        self.counted && self.stopped.is_none()
    }

    pub fn keep_house(&mut self, kernel: &mut Kernel) {
        self.targets.keep_house(kernel);
    }

    /// A thread ended: takes what it had called.
    pub fn ended(&mut self, event: &ThreadEvent, thread: ThreadId, kernel: &mut Kernel) {
        if !self.counted || event.calls.iter().all(|&part| part == 0) {
            return;
        }
        self.targets.ended(event.process, thread);
        for (number, calls) in kernel.take_calls(event.tid, event.generation as u16, &event.calls) {
            self.add(Some(thread), number, &calls);
        }
    }

    fn add(&mut self, thread: Option<ThreadId>, number: u32, calls: &Calls) {
        let mut told = self.none(thread, number);
        told.count = calls.count;
        told.errors = calls.errors;
        told.by_error = calls
            .by_errno
            .iter()
            .filter(|kind| kind.count > 0)
            .map(|&ErrorCount { errno, count }| (error_name(errno), count.into()))
            .collect();
        told.ns = calls.nanoseconds;
        told.durations = Histogram::new(&calls.durations, calls.longest);
        self.merge(number, told);
    }

    fn is_wanted(&self, number: u32) -> bool {
        self.wanted
            .as_ref()
            .is_none_or(|wanted| wanted.contains(&number))
    }

    fn none(&self, thread: Option<ThreadId>, number: u32) -> SyscallUse {
        SyscallUse {
            thread,
            idle: is_idle(number),
            ..SyscallUse::default()
        }
    }

    fn merge(&mut self, number: u32, told: SyscallUse) {
        self.uses
            .entry((told.thread, number))
            .or_insert_with(|| SyscallUse {
                thread: told.thread,
                ..SyscallUse::default()
            })
            .merge(&told);
    }

    /// What all threads called; `None` if that was not counted.
    pub fn finish(
        mut self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        followed: &Followed,
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Option<Syscalls> {
        if let Some(why) = &self.refused {
            notes.push(Note::missing(format!(
                "system calls are not counted: {why}"
            )));
        }
        if !self.counted {
            return None;
        }
        let ids: FxHashMap<(u32, u16), ThreadId> = followed
            .clocks
            .iter()
            .map(|&(tid, thread, ref clock)| ((tid, clock.generation), thread))
            .collect();
        for (key, calls) in kernel.calls() {
            // `None`: it ended, and the event that says so was lost.
            let thread = ids.get(&(key.tid, key.generation)).copied();
            self.add(thread, key.number.into(), &calls);
        }
        let mut without_thread = 0;
        for (number, calls) in kernel.calls_without_room() {
            without_thread += calls.count;
            self.add(None, number, &calls);
        }
        if without_thread > 0 {
            notes.push(Note::missing(format!(
                "{without_thread} system calls are counted for the host only: \
                 the table of calls was full"
            )));
        }
        for &(_, thread, ref clock) in &followed.clocks {
            if self.stopped.is_some() || clock.call == NO_CALL || !self.is_wanted(clock.call) {
                continue;
            }
            let mut told = self.none(Some(thread), clock.call);
            told.in_progress = 1;
            told.in_progress_ns = in_window(followed.window, clock.call_start);
            self.merge(clock.call, told);
        }
        self.share_out(intake);
        let targets_told = self.targets.are_told();
        let targets =
            std::mem::take(&mut self.targets).finish(kernel, containers, followed, intake, notes);
        Some(Syscalls {
            targets_told,
            ..self.named(without_thread, targets, followed.window)
        })
    }

    /// Gives the time in calls to their stacks.
    fn share_out(&self, intake: &mut Intake) {
        let mut recorded = Recorded::of(intake, &[Source::Syscall]);
        for (&(thread, number), told) in &self.uses {
            if let Some(thread) = thread
                && told.ns > 0
            {
                let key = (Source::Syscall, thread, RawFrame::Called(number));
                recorded.share_out(intake, key, told.ns, told.ns);
            }
        }
    }

    fn named(
        self,
        without_thread: u64,
        targets: Vec<(u32, CallTarget)>,
        window: Option<Window>,
    ) -> Syscalls {
        let whole = window.map_or(0, |window| window.part(window.start, window.end));
        let counted_ns = self
            .stopped
            .map_or(whole, |after| (after.as_nanos() as u64).min(whole));
        let numbers: BTreeSet<u32> = self
            .uses
            .keys()
            .map(|&(_, number)| number)
            .chain(targets.iter().map(|&(number, _)| number))
            .collect();
        let place: BTreeMap<u32, u32> = numbers.iter().copied().zip(0..).collect();
        Syscalls {
            names: numbers.into_iter().map(name).collect(),
            uses: self
                .uses
                .into_iter()
                .map(|((_, number), told)| SyscallUse {
                    call: place[&number],
                    ..told
                })
                .collect(),
            targets: targets
                .into_iter()
                .map(|(number, target)| CallTarget {
                    call: place[&number],
                    ..target
                })
                .collect(),
            targets_told: false,
            without_thread,
            counted_ns,
        }
    }
}

/// In such a call a thread waits for work.
fn is_idle(number: u32) -> bool {
    match wait_of_call(number.into()) {
        Wait::For(waits) => activity(waits as u32).class() == ActivityClass::Idle,
        _ => false,
    }
}

/// How long of the recording a call has been there that has not returned.
fn in_window(window: Option<Window>, start: u64) -> u64 {
    window.map_or(0, |window| window.part(start, window.end))
}
