//! The rule for an address of the kernel's code, from the data that the kernel has for
//! that, where it lies. The search is that of `orc_find` in
//! arch/x86/kernel/unwind_orc.c, 6.5 to 7.2.

use aya_ebpf::helpers::bpf_probe_read_kernel;
use profiler_ebpf::{
    KERNEL_GENERATION, Rule,
    orc::{BLOCK_INDEX_BYTES, CODE_BLOCK_BITS, ENTRY_BYTES, KernelCode, PLACE_BYTES, rule},
};

use super::rules::{CHUNK, remember};
use crate::maps::KERNEL_CODE;

const NOT_FOUND: u64 = u64::MAX;

/// Of a binary search: a block has at most as many entries as bytes.
const STEPS: u32 = 9;

/// Where in what [`find_entry`] returns is, behind the entry, where it begins to hold
/// in the address's chunk, and where it ends.
const START_BIT: u32 = 8 * ENTRY_BYTES as u32;
const END_BIT: u32 = START_BIT + 8;
const ENTRY_MASK: u64 = (1 << START_BIT) - 1;

/// `None` where the kernel must be asked. `kept` is of [`super::rules::kept`].
#[inline(always)]
pub fn find(code: &KernelCode, address: u64, kept: u32) -> Option<&'static Rule> {
    remember(KERNEL_GENERATION, address, kept, || {
        let found = find_entry(address);
        if found == NOT_FOUND {
            return None;
        }
        let [e0, e1, e2, e3, e4, e5, start, end] = found.to_le_bytes();
        let entry = [e0, e1, e2, e3, e4, e5];
        Some((rule(entry, code.numbering), start.into(), end.into()))
    })
}

/// The entry that holds at an address, and where it does.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find_entry(address: u64) -> u64 {
    match KERNEL_CODE.get(0) {
        Some(code) if code.text.contains(address) => search(code, address).unwrap_or(NOT_FOUND),
        _ => NOT_FOUND,
    }
}

#[inline(always)]
fn search(code: &KernelCode, address: u64) -> Option<u64> {
    let block = (address - code.text.start) >> CODE_BLOCK_BITS;
    let [mut low, mut high]: [u32; 2] = read(code.blocks + block * BLOCK_INDEX_BYTES)?;
    for _ in 0..STEPS {
        if low >= high {
            break;
        }
        let middle = low + ((high - low + 1) >> 1);
        let place = place_of(code, middle);
        if begin(place, read(place)?) <= address {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    let place = place_of(code, low);
    let [this, next] = read(place)?;
    let (this, next) = (begin(place, this), begin(place + PLACE_BYTES, next));
    // Nothing else is believed of what was read.
    if address < this || next <= address {
        return None;
    }
    let entry: u64 = read(code.entries + u64::from(low) * ENTRY_BYTES as u64)?;
    let chunk = address & !u64::from(CHUNK - 1);
    let start = if this > chunk { this - chunk } else { 0 };
    let end = if next - chunk < u64::from(CHUNK) {
        next - chunk
    } else {
        u64::from(CHUNK)
    };
    Some(entry & ENTRY_MASK | start << START_BIT | end << END_BIT)
}

#[inline(always)]
fn place_of(code: &KernelCode, index: u32) -> u64 {
    code.places + u64::from(index) * PLACE_BYTES
}

#[inline(always)]
fn begin(place: u64, distance: i32) -> u64 {
    place.wrapping_add(i64::from(distance) as u64)
}

#[inline(always)]
fn read<T>(address: u64) -> Option<T> {
    // SAFETY: the kernel checks the address and never faults here; any bits are one
    // of the numbers that are read.
    unsafe { bpf_probe_read_kernel(address as *const T) }.ok()
}
