//! What a server on this host used while it was loaded, from the kernel's own
//! counters of its processes.

use std::{fs, mem::MaybeUninit, net::SocketAddr};

use procfs::process::{Process, all_processes};
use rustc_hash::FxHashMap;
use serde::Serialize;

use crate::{containers::paths, probes::servers, process::start_ticks};

/// Whose use it is: a process that listens, with all processes of its container,
/// or outside of containers with its descendants.
#[derive(Clone, Debug)]
pub struct Processes {
    pid: u32,
    cgroups: Option<String>,
}

/// Counters of one process. Without the rights to read them they are not known.
#[derive(Clone, Debug, Default)]
struct Counters {
    cpu_ns: u64,
    /// By thread.
    run_queue_ns: FxHashMap<i32, u64>,
    bytes: Option<(u64, u64)>,
}

/// Counters of all of them, by pid and start.
pub struct Reading(FxHashMap<(u32, u64), Counters>);

/// What was used between two readings, for whomever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    pub processes: usize,
    /// Of processes that ended meanwhile nothing is known.
    pub processes_ended: usize,
    /// With that of threads that have ended.
    pub cpu_ns: u64,
    /// Ready to run, waiting for a CPU: of the threads that were there at the end.
    pub run_queue_ns: u64,
    /// From and to disks; `None` where it may not be read.
    pub disk_read_bytes: Option<u64>,
    pub disk_write_bytes: Option<u64>,
}

impl Processes {
    /// Of a server of our own network; `None` where it is not on this host, or may
    /// not be looked for.
    pub fn of_server(address: SocketAddr) -> Option<Self> {
        servers::listens_at(address).map(Self::of)
    }

    pub fn of(pid: u32) -> Self {
        let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup"))
            .ok()
            .filter(|text| {
                let mut paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
                paths.any(|path| paths::classify(path).is_container())
            });
        Self { pid, cgroups }
    }

    pub fn read(&self) -> Reading {
        let all: Vec<Process> = all_processes()
            .into_iter()
            .flatten()
            .filter_map(Result::ok)
            .collect();
        let wanted: Vec<u32> = match &self.cgroups {
            Some(cgroups) => all
                .iter()
                .map(|process| process.pid as u32)
                .filter(|pid| {
                    fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|it| it == *cgroups)
                })
                .collect(),
            None => self.family(&all),
        };
        let of = |pid: u32| Some(((pid, start_ticks(pid)?), Counters::read(pid)?));
        Reading(wanted.into_iter().filter_map(of).collect())
    }

    /// It and its descendants.
    fn family(&self, all: &[Process]) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = all
            .iter()
            .filter_map(|process| Some((process.pid as u32, process.stat().ok()?.ppid as u32)))
            .collect();
        let mut family = vec![self.pid];
        let mut next = 0;
        while let Some(&parent) = family.get(next) {
            next += 1;
            let children = parents.iter().filter(|(_, of)| *of == parent);
            family.extend(children.map(|(pid, _)| *pid));
        }
        family
    }
}

impl Counters {
    fn read(pid: u32) -> Option<Self> {
        let process = Process::new(pid as i32).ok()?;
        let tasks = process.tasks().ok()?.filter_map(Result::ok);
        Some(Self {
            cpu_ns: cpu_time(pid)?,
            run_queue_ns: tasks
                .filter_map(|task| Some((task.tid, task.schedstat().ok()?.run_delay)))
                .collect(),
            bytes: process.io().ok().map(|io| (io.read_bytes, io.write_bytes)),
        })
    }
}

/// CPU time of a process, of its ended threads too, to the nanosecond; ticks of
/// `/proc/PID/stat` are too coarse for a second of load.
fn cpu_time(pid: u32) -> Option<u64> {
    let (mut clock, mut time) = (0, MaybeUninit::<libc::timespec>::uninit());
    // SAFETY: both write where they are told to, and `time` is read only when the
    // second has written it.
    let time = unsafe {
        if libc::clock_getcpuclockid(pid as i32, &mut clock) != 0
            || libc::clock_gettime(clock, time.as_mut_ptr()) != 0
        {
            return None;
        }
        time.assume_init()
    };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.tv_nsec).ok()?)
}

impl Reading {
    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Usage {
        let mut usage = Usage {
            processes: self.0.len(),
            processes_ended: before
                .0
                .keys()
                .filter(|it| !self.0.contains_key(it))
                .count(),
            disk_read_bytes: Some(0),
            disk_write_bytes: Some(0),
            ..Usage::default()
        };
        for (process, now) in &self.0 {
            let new = Counters {
                bytes: Some((0, 0)),
                ..Counters::default()
            };
            let then = before.0.get(process).unwrap_or(&new);
            usage.cpu_ns += now.cpu_ns.saturating_sub(then.cpu_ns);
            for (thread, waited) in &now.run_queue_ns {
                let before = then.run_queue_ns.get(thread).copied().unwrap_or(0);
                usage.run_queue_ns += waited.saturating_sub(before);
            }
            let bytes = now.bytes.zip(then.bytes);
            let add = |sum: Option<u64>, of: fn((u64, u64)) -> u64| {
                let (now, then) = bytes?;
                Some(sum? + of(now).saturating_sub(of(then)))
            };
            usage.disk_read_bytes = add(usage.disk_read_bytes, |it| it.0);
            usage.disk_write_bytes = add(usage.disk_write_bytes, |it| it.1);
        }
        usage
    }
}

#[cfg(test)]
mod tests {
    use std::{
        process::{Command, Stdio},
        time::{Duration, Instant},
    };

    use super::*;

    /// A family of its own, since other tests have children of this process.
    #[test]
    fn a_process_with_its_descendants() {
        let script = "while :; do :; done & child=$!; read line; kill $child";
        let mut shell = Command::new("sh")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .spawn()
            .expect("it starts");
        let family = Processes {
            pid: shell.id(),
            cgroups: None,
        };
        let began = Instant::now();
        while family.read().0.len() < 2 {
            assert!(began.elapsed() < Duration::from_secs(20), "no child");
        }
        let before = family.read();
        let child = before
            .0
            .keys()
            .map(|(pid, _)| *pid)
            .find(|pid| *pid != shell.id());
        let child = child.expect("it is there");
        let used = || cpu_time(child).expect("it runs");
        let first = used();
        while used() < first + 20_000_000 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let least = used() - first;
        let usage = family.read().since(&before);
        assert_eq!((usage.processes, usage.processes_ended), (2, 0));
        assert!(usage.cpu_ns >= least, "{usage:?} {least}");
        drop(shell.stdin.take());
        shell.wait().expect("it is ours");
        assert_eq!(family.read().since(&before).processes_ended, 2);
    }
}
