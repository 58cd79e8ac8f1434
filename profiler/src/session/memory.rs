//! Page faults, reclaim and the out-of-memory killer.

use std::{collections::BTreeMap, fs};

use profiler_ebpf::{OomKillEvent, ThreadClock, ThreadEvent, fault};
use rustc_hash::FxHashMap;

use super::{
    intake::{Intake, RawFrame, text},
    shares::Recorded,
};
use crate::{
    bpf::Kernel,
    containers::Containers,
    process::{stat_field, stat_of},
    profile::{ContainerId, HostMemory, MemoryUse, Note, OomKill, Source, ThreadId, ThreadMemory},
};

/// What a fault brings in, but for huge pages.
const PAGE: u64 = 4096;
/// Fields of proc_pid_stat(5).
const MINOR_FAULTS: usize = 10;
const MAJOR_FAULTS: usize = 12;
/// Most kills that are told one by one.
const MAX_KILLS: usize = 1000;

/// Faults so far: minor, major.
type Faults = [u64; 2];

/// What is recorded, and how it went. By default nothing is.
#[derive(Default)]
pub struct Memory {
    recorded: bool,
    missing: Vec<String>,
    /// Of the threads that were there when the recording began.
    before: FxHashMap<u32, Faults>,
    host_before: HostMemory,
    window_start: u64,
    threads: BTreeMap<ThreadId, ThreadMemory>,
    kills: Vec<OomKill>,
}

impl Memory {
    pub fn start(kernel: &mut Kernel) -> Self {
        let mut missing = Vec::new();
        for (what, result) in [
            ("stacks of page faults", kernel.sample_faults()),
            ("time in reclaim", kernel.time_reclaim()),
            ("out-of-memory kills", kernel.watch_oom_kills()),
        ] {
            if let Err(error) = result {
                missing.push(format!("{what}: not recorded: {}", error.brief()));
            }
        }
        Self {
            recorded: true,
            missing,
            ..Self::default()
        }
    }

    /// The recording begins; `start` is `CLOCK_MONOTONIC`, nanoseconds.
    pub fn open_window(&mut self, kernel: &Kernel, start: u64) {
        if !self.recorded {
            return;
        }
        self.window_start = start;
        self.host_before = host();
        self.threads.clear();
        self.kills.clear();
        self.before = kernel
            .thread_ids()
            .into_iter()
            .filter_map(|tid| Some((tid, faults(tid)?)))
            .collect();
    }

    /// A thread ended.
    pub fn ended(&mut self, event: &ThreadEvent, thread: ThreadId) {
        if !self.recorded {
            return;
        }
        // It may have its id from one that ended before.
        let before = self.before.remove(&event.tid).unwrap_or_default();
        let after = [event.minor_faults, event.major_faults];
        self.add(thread, before, after, event.reclaim);
    }

    fn add(
        &mut self,
        thread: ThreadId,
        before: Faults,
        after: Faults,
        reclaim: profiler_ebpf::Reclaim,
    ) {
        let [minor, major] = [0, 1].map(|kind| after[kind].saturating_sub(before[kind]));
        if minor | major | reclaim.count == 0 {
            return;
        }
        let sum = self.threads.entry(thread).or_insert(ThreadMemory {
            thread,
            ..ThreadMemory::default()
        });
        sum.minor_faults += minor;
        sum.major_faults += major;
        sum.reclaims += reclaim.count;
        sum.reclaim_ns += reclaim.nanoseconds;
    }

    pub fn killed(&mut self, event: &OomKillEvent, containers: &mut Containers, intake: &Intake) {
        if !self.recorded || self.kills.len() >= MAX_KILLS {
            return;
        }
        let known = intake.thread_by_id(event.tid);
        let (pid, name, container): (u32, String, ContainerId) = if event.victim.tgid != 0 {
            let container = containers.resolve(event.cgroup_v2, event.cgroup_v1, event.victim.tgid);
            (event.victim.tgid, text(&event.victim_name), container)
        } else if let Some(process) = known {
            (process.key.tgid, process.name.clone(), process.container)
        } else {
            let name = fs::read_to_string(format!("/proc/{}/comm", event.tid)).unwrap_or_default();
            let (v2, v1) = containers.cgroups_of(event.tid);
            let container = containers.resolve(v2, v1, event.tid);
            (event.tid, name.trim_end().to_owned(), container)
        };
        self.kills.push(OomKill {
            time_ns: event.time.saturating_sub(self.window_start),
            pid,
            name,
            container,
            caller: text(&event.caller_name),
            caller_pid: event.caller_tgid,
        });
    }

    /// What happened to memory; `None` if that was not recorded.
    pub fn finish(
        mut self,
        clocks: &[(u32, ThreadId, ThreadClock)],
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Option<MemoryUse> {
        notes.extend(self.missing.drain(..).map(Note::missing));
        if !self.recorded {
            return None;
        }
        for &(tid, thread, ref clock) in clocks {
            let before = self.before.remove(&tid).unwrap_or_default();
            let after = faults(tid).unwrap_or(before);
            self.add(thread, before, after, clock.reclaim);
        }
        let mut recorded = Recorded::of(intake, &[Source::PageFault]);
        for told in self.threads.values() {
            for (kind, count) in [
                (fault::MINOR, told.minor_faults),
                (fault::MAJOR, told.major_faults),
            ] {
                if count > 0 {
                    let key = (Source::PageFault, told.thread, RawFrame::Faulted(kind));
                    recorded.share_out(intake, key, count * PAGE, count * PAGE);
                }
            }
        }
        let (before, after) = (self.host_before, host());
        let host = HostMemory {
            swapped_in_pages: after
                .swapped_in_pages
                .saturating_sub(before.swapped_in_pages),
            swapped_out_pages: after
                .swapped_out_pages
                .saturating_sub(before.swapped_out_pages),
            refaulted_pages: after.refaulted_pages.saturating_sub(before.refaulted_pages),
            huge_page_faults: after
                .huge_page_faults
                .saturating_sub(before.huge_page_faults),
        };
        if host.huge_page_faults > 0 {
            notes.push(Note::info(format!(
                "{} page faults of the host brought in a huge page: in the stacks of page \
                 faults each counts as {PAGE} bytes",
                host.huge_page_faults
            )));
        }
        Some(MemoryUse {
            threads: self.threads.into_values().collect(),
            oom_kills: self.kills,
            host,
        })
    }
}

/// Of a thread; it need not be a process's first: `/proc/TID` exists for all.
fn faults(tid: u32) -> Option<Faults> {
    let stat = stat_of(&format!("/proc/{tid}/task/{tid}"))?;
    let field = |number| stat_field(&stat, number)?.parse().ok();
    Some([field(MINOR_FAULTS)?, field(MAJOR_FAULTS)?])
}

/// Since the host started.
fn host() -> HostMemory {
    let text = fs::read_to_string("/proc/vmstat").unwrap_or_default();
    let sum = |names: &[&str]| -> u64 {
        text.lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(name, _)| names.contains(name))
            .filter_map(|(_, value)| value.parse::<u64>().ok())
            .sum()
    };
    HostMemory {
        swapped_in_pages: sum(&["pswpin"]),
        swapped_out_pages: sum(&["pswpout"]),
        // Before 5.9 anonymous pages were not told apart.
        refaulted_pages: sum(&["workingset_refault_file", "workingset_refault"]),
        huge_page_faults: sum(&["thp_fault_alloc", "thp_file_alloc"]),
    }
}
