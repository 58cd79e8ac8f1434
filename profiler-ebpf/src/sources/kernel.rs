//! The kernel's memory, for userspace: `/proc/kcore` is not on every host.

use aya_ebpf::helpers::bpf_probe_read_kernel;

/// What is at `address`, 0 if that cannot be read.
#[inline(always)]
pub fn word(address: u64) -> u32 {
    // SAFETY: the kernel checks the address and never faults here.
    unsafe { bpf_probe_read_kernel(address as *const u32) }.unwrap_or(0)
}
