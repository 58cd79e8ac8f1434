//! Of the interpreters, V8 alone.
#[path = "../../src/runtimes/memory.rs"]
pub mod memory;
#[path = "../../src/runtimes/v8/mod.rs"]
pub mod v8;

pub use memory::{Memory, ProcessMemory, Unreadable};
