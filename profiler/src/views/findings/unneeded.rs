//! Threads without work that the kernel cannot tell from threads at a lock: both
//! wait for a futex.

use std::collections::{BTreeMap, BTreeSet};

use crate::profile::{Activity, ContainerId, FrameKind, Recording, Source, StackId, ThreadId};

/// A thread that waits for so long each time is taken for one that waits for work.
const EACH_NS: u64 = 1_000_000_000;
/// Parts of the names of functions that wait for an event, not for a lock:
/// condition variables, and the runtimes' own.
const EVENTS: &[&str] = &[
    "cond_wait",
    "cond_timedwait",
    "condition_variable",
    "Condvar",
    "Sleep>::sleep",
    "::park",
    "runtime.notesleep",
    "runtime.notetsleep",
];

/// Of functions that wait for a lock and nothing else.
const LOCKS: &[&str] = &[
    "mutex_lock",
    "lll_lock_wait",
    "rwlock_rdlock",
    "rwlock_wrlock",
];

/// Where CPython's `ThreadPoolExecutor` waits for work.
const EXECUTOR: (&str, &str) = ("_worker", "concurrent/futures/thread.py");

/// Time at locks that is no cost.
pub(super) struct Unneeded {
    at_locks: BTreeMap<ContainerId, u64>,
}

impl Unneeded {
    pub(super) fn new(recording: &Recording) -> Self {
        let mut at_locks: BTreeMap<ContainerId, u64> = BTreeMap::new();
        let mut add = |thread: ThreadId, ns: u64| {
            let process = recording.threads[thread as usize].process;
            let container = recording.processes[process as usize].container;
            let sum = at_locks.entry(container).or_default();
            *sum = sum.saturating_add(ns);
        };
        let samples = || {
            let all = recording.samples.iter();
            all.filter(|sample| sample.source == Source::Blocked)
        };
        // Each of these may be held for as long.
        let at_real_locks: BTreeSet<ThreadId> = samples()
            .filter(|sample| waits_for_lock(recording, sample.stack))
            .map(|sample| sample.thread)
            .collect();
        let mut unneeded: BTreeSet<ThreadId> = BTreeSet::new();
        for account in &recording.accounts {
            let locks = account.spent.iter();
            for spent in locks.filter(|spent| spent.activity == Activity::Lock) {
                // The last wait may not be over.
                if spent.ns / spent.intervals.saturating_add(1) >= EACH_NS
                    && !at_real_locks.contains(&account.thread)
                {
                    unneeded.insert(account.thread);
                    add(account.thread, spent.ns);
                }
            }
        }
        for sample in samples() {
            if !unneeded.contains(&sample.thread) && waits_for_event(recording, sample.stack) {
                add(sample.thread, sample.weight);
            }
        }
        Self { at_locks }
    }

    /// Nanoseconds.
    pub(super) fn at_locks(&self, container: ContainerId) -> u64 {
        self.at_locks.get(&container).copied().unwrap_or_default()
    }
}

/// Whether a stack is of a thread that waits for a lock, and not for work.
fn waits_for_lock(recording: &Recording, stack: Option<StackId>) -> bool {
    let mut names = recording
        .frames_of(stack)
        .map(|frame| &recording.function_of(frame).name);
    names.next().is_some_and(|it| *it == Activity::Lock.frame())
        && names.any(|name| LOCKS.iter().any(|lock| name.contains(lock)))
}

/// Whether a stack is of a thread that waits at a futex for something to happen.
pub(super) fn waits_for_event(recording: &Recording, stack: Option<StackId>) -> bool {
    let mut frames = recording
        .frames_of(stack)
        .map(|frame| recording.function_of(frame));
    if frames
        .next()
        .is_none_or(|what| what.name != Activity::Lock.frame())
    {
        return false;
    }
    for function in frames {
        match function.kind {
            FrameKind::Kernel | FrameKind::Native | FrameKind::Jit => {
                if EVENTS.iter().any(|name| function.name.contains(name)) {
                    return true;
                }
            }
            // Beyond it are those who want the event.
            _ => return function.name == EXECUTOR.0 && function.file.ends_with(EXECUTOR.1),
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::{Builder, Frame, Function, Sample, Spent, ThreadAccount},
        views::{
            findings::findings,
            sample::{self, API, API_WORKER},
        },
    };

    /// A thread that waited at locks so long, in so many waits, below a function.
    fn at_a_lock(thread: ThreadId, intervals: u64, function: &str) -> Recording {
        let mut recording = sample::empty();
        let plain = sample::plain();
        recording.containers = plain.containers;
        recording.processes = plain.processes;
        recording.threads = plain.threads;
        let mut builder = Builder::default();
        builder.recording = recording;
        let ns = 50_000_000_000;
        let stack = [
            (FrameKind::Native, function),
            (FrameKind::Synthetic, &Activity::Lock.frame()),
        ];
        let stack = stack.into_iter().fold(None, |caller, (kind, name)| {
            let function = builder.function(Function {
                name: name.into(),
                kind,
                module: None,
                file: String::new(),
                line: 0,
            });
            let frame = builder.frame(Frame {
                function,
                line: 0,
                column: 0,
                inlined: false,
                address: 0,
            });
            Some(builder.stack(caller, frame))
        });
        builder.sample(Sample {
            source: Source::Blocked,
            thread,
            stack,
            weight: ns,
            count: intervals,
        });
        builder.recording.accounts = vec![ThreadAccount {
            thread,
            spent: vec![Spent {
                activity: Activity::Lock,
                ns,
                without_stack_ns: 0,
                intervals,
            }],
        }];
        builder.finish()
    }

    #[test]
    fn a_lock_that_many_want_is_a_cost() {
        let found = findings(&at_a_lock(API, 10_000, "take_the_order_lock"));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].text.contains("most in take_the_order_lock"));
    }

    #[test]
    fn threads_that_wait_for_work_cost_nothing() {
        for (intervals, function) in [(0, "worker"), (20, "worker"), (10_000, "uv_cond_wait")] {
            let recording = at_a_lock(API_WORKER, intervals, function);
            let container = recording.processes[0].container;
            assert_eq!(
                Unneeded::new(&recording).at_locks(container),
                50_000_000_000,
                "{function}"
            );
            assert!(findings(&recording).is_empty(), "{function}");
        }
    }
}
