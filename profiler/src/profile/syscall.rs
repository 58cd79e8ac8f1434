//! System calls that were counted.

use serde::{Deserialize, Serialize};

use super::{CallTarget, Histogram, ThreadId};

/// All that was counted; the calls of threads are exact.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Syscalls {
    /// Names of the calls that occurred.
    pub names: Vec<String>,
    pub uses: Vec<SyscallUse>,
    /// Calls that no thread could be told of, since the table was full.
    pub without_thread: u64,
    /// How long of the recording they were counted.
    pub counted_ns: u64,
    /// What they were about, when that was asked for.
    #[serde(default)]
    pub targets: Vec<CallTarget>,
    #[serde(default)]
    pub targets_told: bool,
}

/// What a thread did with a call.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyscallUse {
    /// `None`: of threads that the table had no room for.
    pub thread: Option<ThreadId>,
    /// Place in [`Syscalls::names`].
    pub call: u32,
    /// Calls that returned.
    pub count: u64,
    /// Of them, those that failed, …
    pub errors: u64,
    /// … and why: names of error numbers. The rest failed in yet other ways.
    pub by_error: Vec<(String, u64)>,
    /// Time in calls that returned, as far as it is of the recording.
    pub ns: u64,
    /// How long the calls took whose begin was seen.
    pub durations: Histogram,
    /// Calls that had not returned at the end, and for how long of the
    /// recording they had been there.
    pub in_progress: u64,
    pub in_progress_ns: u64,
    /// The call is one of those in which a thread waits for work.
    pub idle: bool,
}

impl SyscallUse {
    /// Adds what another thread did with the call.
    pub fn merge(&mut self, other: &Self) {
        let add = |sum: &mut u64, value: u64| *sum = sum.saturating_add(value);
        add(&mut self.count, other.count);
        add(&mut self.errors, other.errors);
        add(&mut self.ns, other.ns);
        add(&mut self.in_progress, other.in_progress);
        add(&mut self.in_progress_ns, other.in_progress_ns);
        self.durations.merge(&other.durations);
        self.idle |= other.idle;
        for (name, count) in &other.by_error {
            match self.by_error.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => add(sum, *count),
                None => self.by_error.push((name.clone(), *count)),
            }
        }
    }
}
