
pub mod bpf;
pub mod cli;
pub mod containers;
pub mod doctor;
pub mod elf;
pub mod options;
pub mod output;
pub mod own_cost;
pub mod privacy;
pub mod process;
pub mod profile;
pub mod progress;
pub mod report;
pub mod session;
pub mod symbolize;
pub mod unwind;
pub mod views;
