//! What the profiler itself costs: its CPU time and memory.
//!
//! The task clock and the context switches come from perf counters of our own
//! process, as exact as the scheduler; the split into user and system from
//! `getrusage`, which the kernel scales to the precise sum.

use perf_event::{Builder, Counter, events::Software};

use crate::profile::Cost;

/// CPU time and more, from its start to [`OwnCost::so_far`].
pub struct OwnCost {
    start: Usage,
    /// `None` where perf counters are not allowed.
    task_clock: Option<Counter>,
    context_switches: Option<Counter>,
}

/// What it cost since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub user_ns: u64,
    pub system_ns: u64,
    /// Of the threads there were at the start and those they made; `None`
    /// where the host allows no perf counters.
    pub task_clock_ns: Option<u64>,
    pub context_switches: Option<u64>,
}

impl Usage {
    pub fn cpu_ns(&self) -> u64 {
        self.user_ns + self.system_ns
    }
}

impl OwnCost {
    /// Starts to measure. Threads made later are counted too, so it is
    /// called on the main thread before there are others.
    pub fn start() -> Self {
        Self {
            task_clock: counter(Software::TASK_CLOCK),
            context_switches: counter(Software::CONTEXT_SWITCHES),
            start: rusage(),
        }
    }

    pub fn so_far(&mut self) -> Usage {
        let now = rusage();
        Usage {
            user_ns: now.user_ns.saturating_sub(self.start.user_ns),
            system_ns: now.system_ns.saturating_sub(self.start.system_ns),
            task_clock_ns: self.task_clock.as_mut().and_then(|c| c.read().ok()),
            context_switches: self.context_switches.as_mut().and_then(|c| c.read().ok()),
        }
    }

    /// The recording has ended: its CPU time is what was used until now.
    pub fn fill_recording(&mut self, cost: &mut Cost) {
        let usage = self.so_far();
        cost.user_ns = usage.user_ns;
        cost.system_ns = usage.system_ns;
        cost.peak_memory_bytes = peak_memory_bytes();
    }

    /// Symbols and the report are done: the rest is theirs.
    pub fn fill_finish(&mut self, cost: &mut Cost) {
        let until_end = cost.user_ns + cost.system_ns;
        cost.finish_ns = self.so_far().cpu_ns().saturating_sub(until_end);
        cost.peak_memory_bytes = peak_memory_bytes();
    }
}

fn counter(kind: Software) -> Option<Counter> {
    let build = |kernel: bool| {
        let mut builder = Builder::new().kind(kind);
        builder.inherit(true);
        if kernel {
            builder.include_kernel();
        }
        builder.build()
    };
    // Where perf_event_paranoid forbids the kernel part, the user part is
    // better than nothing.
    let mut counter = build(true).or_else(|_| build(false)).ok()?;
    counter.enable().ok()?;
    Some(counter)
}

fn rusage() -> Usage {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a `rusage`, which all zeros is a valid one of.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr());
        usage.assume_init()
    };
    let ns = |time: libc::timeval| {
        u64::try_from(time.tv_sec).unwrap_or(0) * 1_000_000_000
            + u64::try_from(time.tv_usec).unwrap_or(0) * 1_000
    };
    Usage {
        user_ns: ns(usage.ru_utime),
        system_ns: ns(usage.ru_stime),
        ..Usage::default()
    }
}

/// `VmHWM`: the most memory that was resident at once. 0 when /proc does not
/// say.
pub fn peak_memory_bytes() -> u64 {
    procfs::process::Process::myself()
        .and_then(|process| process.status())
        .ok()
        .and_then(|status| status.vmhwm)
        .unwrap_or(0)
        * 1024
}

#[cfg(test)]
mod tests {
    use super::*;

    fn burn(milliseconds: u64) {
        let start = rusage().cpu_ns();
        let mut sum = 0u64;
        while rusage().cpu_ns() < start + milliseconds * 1_000_000 {
            sum = std::hint::black_box(sum.wrapping_mul(31).wrapping_add(7));
        }
    }

    #[test]
    fn cpu_time_is_counted_for_recording_and_finish() {
        let mut own = OwnCost::start();
        let mut cost = Cost::default();
        burn(60);
        own.fill_recording(&mut cost);
        assert!(cost.user_ns + cost.system_ns >= 60_000_000, "{cost:?}");
        assert!(cost.peak_memory_bytes > 1 << 20, "{cost:?}");
        assert_eq!(cost.finish_ns, 0);
        burn(40);
        own.fill_finish(&mut cost);
        assert!(cost.finish_ns >= 40_000_000, "{cost:?}");
    }

    #[test]
    fn the_task_clock_includes_threads_made_later() {
        let mut own = OwnCost::start();
        std::thread::spawn(|| burn(60)).join().expect("it ran");
        let usage = own.so_far();
        assert!(usage.cpu_ns() >= 60_000_000);
        // Other tests share the process, so the thread may have burnt less
        // than the process.
        if let Some(clock) = usage.task_clock_ns {
            assert!(clock > 0, "{usage:?}");
        }
    }
}
