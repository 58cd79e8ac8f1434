
pub mod bpf;
pub mod containers;
pub mod elf;
pub mod process;
pub mod profile;
pub mod unwind;
