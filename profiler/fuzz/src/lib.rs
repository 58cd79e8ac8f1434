//! What is fuzzed, taken by path: the rest of `profiler` and its dependencies
//! need not be built with a sanitizer for it.
//!
//! ```text
//! mkdir -p corpus/elf && cp /usr/bin/true corpus/elf/
//! cargo +nightly fuzz run elf -- -max_total_time=180
//! ```
//!
//! `v8` reads the layouts of the Nodes that `cargo xtask setup test` fetched.

#[path = "../../src/elf/mod.rs"]
pub mod elf;
pub mod heap;
pub mod runtimes;
#[path = "../../src/unwind/mod.rs"]
pub mod unwind;
