pub mod elf;
pub mod profile;
pub mod unwind;
