//! The kernel's memory, for userspace: `/proc/kcore` is not on every host.

use aya_ebpf::helpers::bpf_probe_read_kernel_buf;
use profiler_ebpf::KERNEL_PIECE_BYTES;

use crate::maps::KERNEL_PIECE;

/// Copies what is at `address` into `KERNEL_PIECE`. Returns 0, or 1 if it cannot be
/// read.
#[inline(always)]
pub fn read_piece(address: u64) -> u32 {
    let Some(piece) = KERNEL_PIECE.get_ptr_mut(0) else {
        return 1;
    };
    // SAFETY: the map returned it, and userspace runs one of these at a time; the
    // kernel checks the address.
    let read = unsafe {
        let piece = piece.cast::<[u8; KERNEL_PIECE_BYTES]>();
        bpf_probe_read_kernel_buf(address as *const u8, &mut *piece)
    };
    u32::from(read.is_err())
}
