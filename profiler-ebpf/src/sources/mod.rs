//! What happened and what it weighs: one file for each kind of hook.

pub mod cgroup;
pub mod cpu;
pub mod gil;
pub mod lifecycle;
