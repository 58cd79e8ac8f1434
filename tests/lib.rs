//! What the tests of the built profiler stand on: known programs, real
//! containers, and readers of what the profiler wrote.
mod support;

pub use support::{
    cgroups, databases, demo, folded, holder, hostile, http, image, interpreted, kernel, mariadb,
    measurement, nodes, perf, process, profiler, programs, prompted, pythons, recording, stack,
    steal, threads, vectors, vite, wrk,
};
