pub mod bpf;
pub mod profile;
