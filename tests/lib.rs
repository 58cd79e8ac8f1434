//! What the tests of the built profiler stand on: known programs, real
//! containers, and readers of what the profiler wrote.
mod support;

pub use support::{
    cgroups, databases, folded, holder, hostile, http, image, interpreted, kernel, measurement,
    nodes, perf, process, profiler, programs, prompted, pythons, recording, stack, vite, wrk,
};
