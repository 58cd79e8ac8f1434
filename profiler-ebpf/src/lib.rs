//! Every type and constant that crosses the kernel boundary, once.
//!
//! The eBPF programs (`main.rs` of this package) write these, `profiler` reads
//! them, and the other way round. All structs are `repr(C)` with explicit
//! padding, so that both sides agree and no byte is left uninitialised.
#![no_std]

pub mod disk;
pub mod event;
pub mod histogram;
pub mod memory;
pub mod network;
pub mod orc;
pub mod process;
pub mod runtime;
pub mod statement;
pub mod syscall;
pub mod table;
pub mod target;
pub mod v8;
pub mod wait;

pub use disk::*;
pub use event::*;
pub use histogram::*;
pub use memory::*;
pub use network::*;
pub use process::*;
pub use runtime::*;
pub use statement::*;
pub use syscall::*;
pub use table::*;
pub use target::*;
pub use wait::*;
