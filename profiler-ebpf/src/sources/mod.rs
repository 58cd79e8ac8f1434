//! What happened and what it weighs: one file for each kind of hook.
//!
//! Those in process context say what they do with `debug!`. Its level is a
//! constant by the time the verifier sees it, so that it removes the whole
//! call, unless userspace logs at that level.

pub mod block;
pub mod blocked;
pub mod cache;
pub mod cgroup;
pub mod cpu;
pub mod gil;
pub mod kernel;
pub mod lifecycle;
pub mod memory;
pub mod network;
mod pace;
pub mod sched;
pub mod statements;
pub mod syscalls;
pub mod targets;
