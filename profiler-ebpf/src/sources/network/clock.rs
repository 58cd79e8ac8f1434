//! When a stack is due: a clock over bytes, slowed down when it ticks too often.

use aya_ebpf::helpers::bpf_get_prandom_u32;
use profiler_ebpf::{
    ByteClock, Direction, NETWORK_PERIOD_BYTES, NetworkCounter, NetworkThinning, THINNING_WINDOW_NS,
};

use super::count;
use crate::maps::{NETWORK_THINNING, STACKS_ALLOWED};

/// Stacks beyond the limit until the period is doubled.
const STACKS_A_DOUBLING: u64 = 4;
const MAX_DOUBLINGS: u64 = 20;

/// Where in the period a thread begins: not the same for all.
#[inline(always)]
pub fn clocks() -> [ByteClock; Direction::COUNT] {
    // SAFETY: has no precondition.
    let random = u64::from(unsafe { bpf_get_prandom_u32() });
    let clock = |random: u64| ByteClock {
        residual: random % NETWORK_PERIOD_BYTES,
        period: NETWORK_PERIOD_BYTES,
        checked: 0,
        owed: 0,
        begun: 0,
    };
    [clock(random), clock(random >> 14)]
}

/// Tells a clock of more bytes. Returns the weight of the stack that is due now,
/// or 0.
///
/// None is refused: its weight would have to go to another stack of the thread,
/// which may do something else by then. Instead, each few stacks beyond
/// those allowed double the period of their CPU, which bounds their number
/// by the logarithm of what is sent.
#[inline(always)]
pub fn due(clock: &mut ByteClock, bytes: u64, now: u64) -> u64 {
    if now.wrapping_sub(clock.checked) > THINNING_WINDOW_NS {
        let Some(thinning) = thinning(now) else {
            return 0;
        };
        // Before it knows the message, so that none is likelier than another.
        set_period(clock, thinning.period, now);
    }
    clock.residual += bytes;
    if clock.residual < clock.period {
        return 0;
    }
    let Some(thinning) = thinning(now) else {
        return 0;
    };
    thinning.taken += 1;
    if thinning.taken > allowed()
        && thinning.taken % STACKS_A_DOUBLING == 0
        && thinning.period < NETWORK_PERIOD_BYTES << MAX_DOUBLINGS
    {
        thinning.period *= 2;
    }
    if clock.period > NETWORK_PERIOD_BYTES {
        count(NetworkCounter::StacksThinned as u32, 1);
    }
    let rest = clock.residual & clock.period.wrapping_sub(1);
    let weight = clock.owed + clock.residual - rest;
    clock.owed = 0;
    clock.residual = rest;
    set_period(clock, thinning.period, now);
    weight
}

#[inline(always)]
fn set_period(clock: &mut ByteClock, period: u64, now: u64) {
    // A shorter one must not make it tick at once.
    let rest = clock.residual & period.wrapping_sub(1);
    clock.owed += clock.residual - rest;
    clock.residual = rest;
    clock.period = period;
    clock.checked = now;
}

/// A thread's first message one way: its stack is taken too, with its own
/// weight, so that those who say little are not without one. The clock does not
/// see it. There is room for as many of these as for the others.
#[inline(always)]
pub fn first(bytes: u64, now: u64) -> u64 {
    let Some(thinning) = thinning(now) else {
        return 0;
    };
    if thinning.first >= allowed() {
        return 0;
    }
    thinning.first += 1;
    bytes.max(1)
}

/// Stacks in a window and CPU, which userspace may lower.
#[inline(always)]
fn allowed() -> u64 {
    STACKS_ALLOWED.get(0).copied().unwrap_or(0)
}

#[inline(always)]
fn thinning(now: u64) -> Option<&'static mut NetworkThinning> {
    // SAFETY: the map returned it; only this CPU uses it.
    let thinning: &mut NetworkThinning = unsafe { &mut *NETWORK_THINNING.get_ptr_mut(0)? };
    let elapsed = now.wrapping_sub(thinning.window);
    if elapsed > THINNING_WINDOW_NS {
        if thinning.taken < allowed() / 4 {
            // And for each window in which nobody asked.
            thinning.period >>= (elapsed / THINNING_WINDOW_NS).min(MAX_DOUBLINGS);
        }
        thinning.window = now;
        thinning.taken = 0;
        thinning.first = 0;
    }
    if thinning.period < NETWORK_PERIOD_BYTES {
        thinning.period = NETWORK_PERIOD_BYTES;
    }
    Some(thinning)
}
