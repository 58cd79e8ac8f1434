//! Of what happens all the time, how much is recorded with its stack.
//!
//! A stack is due for every so many nanoseconds or bytes, as from a clock that
//! only they drive: large ones always, small ones in proportion. When more are
//! due on a CPU than it may take, each stands for twice as much.

use profiler_ebpf::{Counter, FAULT_PERIOD_BYTES, THINNING_WINDOW_NS, Thinning, WAIT_PERIOD_NS};

use crate::maps::{STACKS_ALLOWED, THINNING, count};

/// What paces the stacks; each has a budget of its own.
#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Pace {
    /// Waits and system calls, in nanoseconds.
    Time = 0,
    /// Page faults, in bytes.
    Faults = 1,
}

impl Pace {
    /// What a stack stands for at least.
    const fn period(self) -> u64 {
        match self {
            Self::Time => WAIT_PERIOD_NS,
            Self::Faults => FAULT_PERIOD_BYTES,
        }
    }
}

/// How often the period is doubled at most.
const MOST_DOUBLINGS: u64 = 20;

/// Adds an amount to what no stack was taken for yet. Returns the weight of the
/// stack that is due now, or 0.
#[inline(always)]
pub fn due(pace: Pace, residual: &mut u64, amount: u64, now: u64) -> u64 {
    *residual += amount;
    if *residual < pace.period() {
        return 0;
    }
    let (Some(thinning), Some(&allowed)) =
        (THINNING.get_ptr_mut(pace as u32), STACKS_ALLOWED.get(0))
    else {
        return 0;
    };
    // SAFETY: the map returned it; only this CPU uses it.
    let thinning: &mut Thinning = unsafe { &mut *thinning };
    let windows = now.wrapping_sub(thinning.window) / THINNING_WINDOW_NS;
    if windows > 0 {
        if thinning.taken < allowed / 4 {
            thinning.period >>= windows.min(MOST_DOUBLINGS);
        }
        thinning.window = now;
        thinning.taken = 0;
        if let Pace::Faults = pace {
            // What is left of a burst is not the next one's.
            *residual = amount;
        }
    }
    if thinning.period < pace.period() {
        thinning.period = pace.period();
    }
    if thinning.taken >= allowed && thinning.period < pace.period() << MOST_DOUBLINGS {
        // At once, and not when the window ends: else what comes next would
        // stand for all the rest of it.
        thinning.period *= 2;
        thinning.taken = allowed / 2;
    }
    if *residual < thinning.period {
        if *residual >= pace.period() {
            count(Counter::WaitsThinned as u32);
        }
        return 0;
    }
    thinning.taken += 1;
    let rest = *residual % thinning.period;
    let weight = *residual - rest;
    *residual = rest;
    weight
}
