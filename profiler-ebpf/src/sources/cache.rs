//! The page cache: who makes pages dirty that the kernel writes later, and who
//! misses what has to be read.
//!
//! These hooks run in process context, some with interrupts off; the entry of a
//! process is made at its first page.

use aya_ebpf::helpers::bpf_get_current_cgroup_id;
use profiler_ebpf::{CacheUse, Counter, KernelOffsets, ProcessKey, Wait, wait_of_call};

use crate::{
    atomic::add,
    gate::{self, Verdict, Wanted},
    maps::{DISK_CACHE, NEW_CACHE_USE, count, setting},
    task::read,
    walk::registers,
};

const PAGE_SHIFT: u32 = 12;

/// A folio, before 5.18 a page, becomes dirty.
#[inline(always)]
pub fn dirtied(folio: u64) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    if let Some(cache) = cache_of(wanted) {
        add(&mut cache.dirtied, bytes_of(folio));
    }
}

/// A folio is added to the cache of a file.
#[inline(always)]
pub fn added(folio: u64) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    let call = registers::call(wanted.task).number;
    let by_fault = call == u64::MAX;
    // A write makes room for what it will make dirty.
    if matches!(wait_of_call(call), Wait::Write) {
        return;
    }
    if let Some(cache) = cache_of(wanted) {
        let sum = if by_fault {
            &mut cache.faulted
        } else {
            &mut cache.missed
        };
        add(sum, bytes_of(folio));
    }
}

/// A call reads pages `first` to `last` of a file. It comes back for the same
/// range, from further on, until all of it is read.
#[inline(always)]
pub fn looked_up(mapping: u64, first: u64, last: u64) {
    let Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    let Some(cache) = cache_of(wanted) else {
        return;
    };
    let goes_on =
        cache.last_mapping == mapping && cache.last_page == last && cache.last_first < first;
    cache.last_mapping = mapping;
    cache.last_page = last;
    cache.last_first = first;
    if !goes_on && last >= first {
        add(&mut cache.looked_up, (last - first + 1) << PAGE_SHIFT);
    }
}

#[inline(always)]
fn bytes_of(folio: u64) -> u64 {
    let order = setting!(disk.folio_order);
    let large = setting!(disk.large_folio);
    if order == KernelOffsets::ABSENT || large == KernelOffsets::ABSENT {
        return 1 << PAGE_SHIFT;
    }
    let flags: u64 = read(folio, 0);
    if flags >> (large & 63) & 1 == 0 {
        return 1 << PAGE_SHIFT;
    }
    let order: u8 = read(folio, order);
    1 << (PAGE_SHIFT + u32::from(order & 31))
}

#[inline(always)]
fn cache_of(wanted: Wanted) -> Option<&'static mut CacheUse> {
    let task = wanted.task;
    let key: ProcessKey = task.process_key(wanted.tgid);
    if let Some(cache) = DISK_CACHE.get_ptr_mut(&key) {
        // SAFETY: the map returned it; sums are added to atomically.
        return Some(unsafe { &mut *cache });
    }
    if DISK_CACHE.insert(key, NEW_CACHE_USE.get(0)?, 0).is_err() {
        count(Counter::DiskCacheLost as u32);
        return None;
    }
    // SAFETY: as above.
    let cache = unsafe { &mut *DISK_CACHE.get_ptr_mut(key)? };
    // SAFETY: has no precondition.
    cache.cgroup_v2 = unsafe { bpf_get_current_cgroup_id() };
    cache.cgroup_v1 = task.cgroup_v1();
    cache.process_name = task.leader().name();
    Some(cache)
}
