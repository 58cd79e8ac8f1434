//! Threads of a process, as the kernel tells of them.
use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result};

/// Thread ids by name; the names are those of one thread each.
pub fn by_name(pid: u32) -> Result<BTreeMap<String, u32>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let entry = entry?;
        let name = fs::read_to_string(entry.path().join("comm"))?;
        let tid = entry.file_name().to_string_lossy().parse()?;
        threads.insert(name.trim().to_owned(), tid);
    }
    Ok(threads)
}

/// Nanoseconds on a CPU and in the run queue: `/proc/PID/task/TID/schedstat`
/// (Documentation/scheduler/sched-stats.rst).
pub fn schedstat(pid: u32, tid: u32) -> Result<[u64; 2]> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{tid}/schedstat"))?;
    let mut numbers = text.split_ascii_whitespace().map(str::parse);
    let mut next = || numbers.next().context("too short")?.context("no number");
    Ok([next()?, next()?])
}
