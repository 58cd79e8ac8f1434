//! Adding to sums that other programs add to at the same time: on other CPUs, or
//! in the middle of this one.
//!
//! `core` has no such addition for this target, since its oldest machines cannot
//! compare and exchange; adding alone they all can.

use core::arch::asm;

#[inline(always)]
pub fn add(sum: &mut u64, amount: u64) {
    // SAFETY: one instruction, which changes what it is given.
    unsafe {
        asm!("lock *(u64 *)({sum} + 0) += {amount}",
            sum = in(reg) core::ptr::from_mut(sum), amount = in(reg) amount);
    }
}

#[inline(always)]
pub fn add_one(sum: &mut u32) {
    // SAFETY: as above.
    unsafe {
        asm!("lock *(u32 *)({sum} + 0) += {amount}",
            sum = in(reg) core::ptr::from_mut(sum), amount = in(reg) 1_u64);
    }
}

#[inline(always)]
pub fn take_one(sum: &mut u32) {
    // SAFETY: as above; the lower half of the amount is added.
    unsafe {
        asm!("lock *(u32 *)({sum} + 0) += {amount}",
            sum = in(reg) core::ptr::from_mut(sum), amount = in(reg) u64::MAX);
    }
}
