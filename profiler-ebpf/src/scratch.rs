//! Room for what is too large for the stack: a few places on each CPU.
//!
//! A hook in process context may find the place in use on its own CPU, by a
//! hook that it interrupted or, where the kernel runs tracepoints' programs with
//! preemption (as 7.2 does), by that of another thread. So who uses a place
//! claims it before, and takes the next one when somebody else did.

use core::ops::{Deref, DerefMut};

use aya_ebpf::btf_maps::PerCpuArray;

use crate::atomic::{add_one, take_one};

/// For threads that preempt each other in the middle of a hook.
pub const PLACES: usize = 3;

#[repr(C)]
pub struct Place<T> {
    claims: u32,
    reserved: u32,
    value: T,
}

/// Until it is dropped, nobody else uses the place.
pub struct Claim<T: 'static>(&'static mut Place<T>);

/// Claims a place; what is in it is what the one before left there. `None` when
/// all are in use.
#[inline(always)]
pub fn claim<T>(places: &'static PerCpuArray<Place<T>, PLACES>) -> Option<Claim<T>> {
    for index in 0..PLACES as u32 {
        // SAFETY: the map returned it; that it is ours alone is seen below.
        let place = unsafe { &mut *places.get_ptr_mut(index)? };
        if try_claim(&mut place.claims) {
            return Some(Claim(place));
        }
    }
    None
}

/// Two may both fail, but never both succeed: who sees one claim has made it.
#[inline(always)]
pub fn try_claim(claims: &mut u32) -> bool {
    add_one(claims);
    // SAFETY: a plain field, which others change at the same time.
    if unsafe { core::ptr::from_mut(claims).read_volatile() } == 1 {
        return true;
    }
    take_one(claims);
    false
}

impl<T> Deref for Claim<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T> DerefMut for Claim<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0.value
    }
}

impl<T> Drop for Claim<T> {
    #[inline(always)]
    fn drop(&mut self) {
        take_one(&mut self.0.claims);
    }
}
