pub mod bpf;
pub mod elf;
pub mod process;
pub mod profile;
pub mod unwind;
