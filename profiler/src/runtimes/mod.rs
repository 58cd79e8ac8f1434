//! Interpreters. Each is a triple: what recognises its executables, data per
//! executable, and a reader of its objects in a process.
//!
//! The kernel side walks their frames with what the data say and sends
//! addresses of objects; the readers turn those into names and lines while
//! the process is alive. Nothing a process says is believed: every address,
//! length and string is checked and bounded.

pub mod memory;
pub mod python;
pub mod v8;

pub use memory::{Memory, ProcessMemory, Unreadable};
