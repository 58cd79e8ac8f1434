//! Holds the cost of a recording below a limit.

use std::time::{Duration, Instant};

use profiler_ebpf::STACKS_PER_WINDOW;

use super::{cpus::Cpus, syscalls::SystemCalls};
use crate::{bpf::Kernel, options::RecordOptions, own_cost::OwnCost, profile::Note};

/// Rates are not raised again until the cost is this much below the limit: a
/// step doubles them.
const ROOM: f64 = 0.3;
/// Shortest time between two checks.
const SHORTEST: Duration = Duration::from_millis(500);
/// Slowest sampling clock, ticks a second.
const LEAST_FREQUENCY: u64 = 5;
/// Checks in a row above the limit, with the lowest rates, until something is
/// left out.
const PATIENCE: u32 = 2;

/// What the recording may cost, and what was done so that it does not cost more.
pub struct Limits {
    overhead: Option<Overhead>,
    guard: Option<CallGuard>,
    /// When rates were first lowered, and what was left out from when on.
    lowered: Option<Duration>,
    left_out: Vec<(&'static str, Duration)>,
}

impl Limits {
    pub fn new(options: &RecordOptions) -> Self {
        Self {
            overhead: options
                .max_overhead
                .map(|limit| Overhead::new(limit, options.frequency)),
            guard: options.guards_calls.then(CallGuard::new),
            lowered: None,
            left_out: Vec::new(),
        }
    }

    /// The recording begins.
    pub fn begin(&mut self, kernel: &Kernel, own: &mut OwnCost) {
        if let Some(overhead) = &mut self.overhead {
            overhead.restart(kernel, own);
        }
    }

    /// Lowers what the recording costs, if that is needed, `now` after its begin.
    /// Returns what a reader must know of it.
    pub fn keep(
        &mut self,
        now: Duration,
        kernel: &mut Kernel,
        cpus: &mut Cpus,
        own: &mut OwnCost,
        calls: &mut SystemCalls,
    ) -> Option<Note> {
        if let Some(overhead) = &mut self.overhead {
            match overhead.check(kernel, cpus, own) {
                Step::Keep | Step::Faster => {}
                Step::Slower => {
                    self.lowered.get_or_insert(now);
                }
                Step::LeaveOut => {
                    if calls.stop(kernel, now) {
                        self.left_out.push(("system calls", now));
                    }
                }
            }
        }
        let guard = self.guard.as_mut().filter(|_| calls.counts())?;
        let share = guard.check(kernel, cpus.count())?;
        calls.stop(kernel, now);
        Some(Note::missing(format!(
            "system calls were counted for the first {:.1} s only: there were so many that it \
             took {:.1} % of the host's CPU time; --sources all,syscalls counts them whatever \
             it takes, --trace fewer of them",
            now.as_secs_f64(),
            100.0 * share
        )))
    }

    /// What a reader must know at the end.
    pub fn note(&self) -> Option<Note> {
        let overhead = self.overhead.as_ref()?;
        let text = overhead.note(self.lowered, &self.left_out)?;
        Some(Note::info(text))
    }
}

/// What is to be done so that the limit is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Keep,
    Slower,
    Faster,
    /// Rates are as low as they get.
    LeaveOut,
}

/// The limit, and how near it is.
struct Overhead {
    /// Part of the CPU time of the host, 0 to 1.
    limit: f64,
    /// How often the rates were halved.
    halvings: u32,
    most_halvings: u32,
    above: u32,
    checked: Instant,
    spent_ns: u64,
    /// The highest share between two checks.
    highest: f64,
}

impl Overhead {
    /// `limit` is in percent of the host's CPU time.
    pub fn new(limit: f64, frequency: u64) -> Self {
        let most = (frequency / LEAST_FREQUENCY).max(1).ilog2();
        Self {
            limit: limit / 100.0,
            halvings: 0,
            most_halvings: most.max(1),
            above: 0,
            checked: Instant::now(),
            spent_ns: 0,
            highest: 0.0,
        }
    }

    /// What was spent until now is not counted.
    pub fn restart(&mut self, kernel: &Kernel, own: &mut OwnCost) {
        self.spent_ns = spent(kernel, own);
        self.checked = Instant::now();
    }

    /// Looks at the time since the last check, if that was long enough ago to tell
    /// anything; lowers and raises the rates.
    pub fn check(&mut self, kernel: &mut Kernel, cpus: &mut Cpus, own: &mut OwnCost) -> Step {
        let before = self.spent_ns;
        let elapsed = self.checked.elapsed();
        if elapsed < SHORTEST {
            return Step::Keep;
        }
        self.restart(kernel, own);
        let host = elapsed.as_nanos() as f64 * cpus.count() as f64;
        let share = self.spent_ns.saturating_sub(before) as f64 / host.max(1.0);
        let step = self.decide(share);
        match step {
            Step::Slower | Step::Faster => {
                let period = kernel.first_period() << self.halvings;
                let stacks = (STACKS_PER_WINDOW >> self.halvings).max(1);
                if let Err(error) = cpus.change_period(kernel, period) {
                    log::warn!("the sampling rate stays as it is: {error}");
                }
                if let Err(error) = kernel.allow_stacks(stacks) {
                    log::warn!("the number of stacks stays as it is: {error}");
                }
            }
            Step::Keep | Step::LeaveOut => {}
        }
        log::debug!("cost {:.2} % of the host: {step:?}", 100.0 * share);
        step
    }

    fn decide(&mut self, share: f64) -> Step {
        self.highest = self.highest.max(share);
        if share > self.limit {
            if self.halvings < self.most_halvings {
                self.halvings += 1;
                return Step::Slower;
            }
            self.above += 1;
            if self.above >= PATIENCE {
                self.above = 0;
                return Step::LeaveOut;
            }
            return Step::Keep;
        }
        self.above = 0;
        if share < self.limit * ROOM && self.halvings > 0 {
            self.halvings -= 1;
            return Step::Faster;
        }
        Step::Keep
    }

    /// What a reader must know; `None` if the rates were never lowered.
    pub fn note(&self, lowered: Option<Duration>, left_out: &[(&str, Duration)]) -> Option<String> {
        let first = lowered?;
        let mut text = format!(
            "--max-overhead {}: rates were lowered from {:.1} s on; the cost was {:.1} % of the \
             host's CPU time in the most expensive second",
            100.0 * self.limit,
            first.as_secs_f64(),
            100.0 * self.highest
        );
        for (what, when) in left_out {
            text += &format!("; {what} only until {:.1} s", when.as_secs_f64());
        }
        Some(text)
    }
}

/// Stops the counting of system calls that nobody asked for by name, when there
/// are so many that it takes much of the host.
struct CallGuard {
    checked: Instant,
    spent_ns: u64,
    above: u32,
}

/// Part of the host's CPU time that the programs on system calls may take.
const CALLS_LIMIT: f64 = 0.02;

impl CallGuard {
    pub fn new() -> Self {
        Self {
            checked: Instant::now(),
            spent_ns: 0,
            above: 0,
        }
    }

    /// Looks at the time since the last check. Returns the part of the host's
    /// CPU time that calls took, if that is too much, and not for a moment only.
    pub fn check(&mut self, kernel: &Kernel, cpus: usize) -> Option<f64> {
        let elapsed = self.checked.elapsed();
        if elapsed < SHORTEST {
            return None;
        }
        let spent = kernel
            .program_runs()
            .iter()
            .filter(|program| program.name.starts_with("call_"))
            .map(|program| program.run_time_ns)
            .sum::<u64>();
        let host = elapsed.as_nanos() as f64 * cpus as f64;
        let share = spent.saturating_sub(self.spent_ns) as f64 / host.max(1.0);
        self.checked = Instant::now();
        let is_first = std::mem::replace(&mut self.spent_ns, spent) == 0;
        if share < CALLS_LIMIT || is_first {
            self.above = 0;
            return None;
        }
        self.above += 1;
        (self.above >= PATIENCE).then_some(share)
    }
}

/// CPU time of the profiler and of its programs, nanoseconds.
fn spent(kernel: &Kernel, own: &mut OwnCost) -> u64 {
    let programs: u64 = kernel
        .program_runs()
        .iter()
        .map(|program| program.run_time_ns)
        .sum();
    own.so_far().cpu_ns() + programs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_fall_before_anything_is_left_out_and_rise_again() {
        let mut overhead = Overhead::new(1.0, 99);
        for _ in 0..overhead.most_halvings {
            assert_eq!(overhead.decide(0.02), Step::Slower);
        }
        assert_eq!(overhead.decide(0.02), Step::Keep);
        assert_eq!(overhead.decide(0.02), Step::LeaveOut);
        assert_eq!(overhead.decide(0.008), Step::Keep);
        for _ in 0..overhead.most_halvings {
            assert_eq!(overhead.decide(0.001), Step::Faster);
        }
        assert_eq!(overhead.decide(0.001), Step::Keep);
        assert!(overhead.note(None, &[]).is_none());
        let note = overhead.note(
            Some(Duration::from_secs(2)),
            &[("system calls", Duration::from_secs(5))],
        );
        assert_eq!(
            note.as_deref(),
            Some(
                "--max-overhead 1: rates were lowered from 2.0 s on; the cost was 2.0 % of the \
                 host's CPU time in the most expensive second; system calls only until 5.0 s"
            )
        );
    }
}
