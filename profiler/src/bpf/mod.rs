//! The kernel side, seen from userspace: loading and attaching the programs,
//! the offsets they need, the maps they share with us, the events they send.

mod btf;
mod disk;
mod events;
mod kernel;
mod kernel_code;
mod memory;
mod network;
mod offsets;
mod statements;
mod syscalls;
mod tables;
mod targets;
mod tracefs;
mod waits;

pub use disk::DiskFacts;
pub use events::{Event, EventRing, Sample, now};
pub use kernel::{Gate, Kernel, KernelError, KernelOptions, ProgramRun, TableSlots};
pub use network::NetworkLimits;
pub use offsets::OffsetsError;
pub use statements::{HOOKS as STATEMENT_HOOKS, STATUS as STATEMENT_STATUS};
pub use tables::{SharedArray, TableError, TableMemory};

/// A value of the ABI, as aya copies it into and out of maps.
///
/// aya's `Pod` cannot be implemented here for types of another crate.
#[derive(Clone, Copy, Debug)]
#[repr(transparent)]
struct Shared<T>(T);

// SAFETY: the types of `profiler_ebpf` that go through maps are `repr(C)` and
// made of integers, with explicit padding.
unsafe impl<T: Copy + 'static> aya::Pod for Shared<T> {}
