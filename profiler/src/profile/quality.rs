//! How far a recording can be trusted, and what it cost.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Samples that the kernel side took and sent, all sources.
    pub samples: u64,
    /// Ticks of the sampling clock on idle CPUs.
    pub idle_ticks: u64,
    /// Samples of tasks outside the scope.
    pub not_wanted: u64,
    /// Taken, but lost since the ring buffer was full.
    pub samples_lost: u64,
    /// Process and cgroup events lost for the same reason.
    pub events_lost: u64,
    /// Ticks the sampling clock should have delivered on the online CPUs and
    /// did not (throttled by the kernel, stolen by the hypervisor, in a task in which
    /// the host lets no eBPF program run).
    pub ticks_missed: u64,
    /// CPU time that the hypervisor gave to others meanwhile, all CPUs: what ran
    /// then seems to have run for longer.
    #[serde(default)]
    pub stolen_ns: u64,
    pub kernel_stacks_failed: u64,
    /// Kernel stacks that our own walk could not follow to their end: they are as the
    /// kernel's unwinder tells them.
    #[serde(default)]
    pub kernel_stacks_handed_over: u64,
    /// Kernel stacks of our own walk that the kernel's unwinder walked too.
    #[serde(default)]
    pub kernel_stacks_compared: u64,
    /// Those of them for which it told another stack, which is taken.
    #[serde(default)]
    pub kernel_stacks_different: u64,
    pub records_busy: u64,
    pub map_full: u64,
    /// Stacks of waiting threads that were taken.
    #[serde(default)]
    pub wait_stacks: u64,
    /// Waits, system calls and page faults that were due with their stack when
    /// too many others were: others stand for them.
    #[serde(default)]
    pub waits_thinned: u64,
    /// Accounts of ended threads that were lost.
    #[serde(default)]
    pub thread_accounts_lost: u64,
    /// Stacks of disk requests that were taken.
    #[serde(default)]
    pub disk_stacks: u64,
    /// Disk requests that were due with their stack when too many others were.
    #[serde(default)]
    pub disk_thinned: u64,
    /// Disk requests that found a table full: they are not accounted for.
    #[serde(default)]
    pub disk_requests_lost: u64,
    /// Disk requests whose file found a table full.
    #[serde(default)]
    pub disk_files_lost: u64,
    /// Folios of the page cache whose process found a table full.
    #[serde(default)]
    pub disk_cache_lost: u64,
    /// Disk requests whose completion was not seen: they count, without their
    /// times.
    #[serde(default)]
    pub disk_ends_unseen: u64,
    /// System calls whose file or peer found a table full.
    #[serde(default)]
    pub call_targets_lost: u64,
    /// How the walks of user stacks ended: every outcome that occurred.
    pub outcomes: Vec<OutcomeCount>,
    /// The same, for each runtime.
    pub runtimes: Vec<RuntimeQuality>,
    /// Samples without a container.
    pub without_container: u64,
    /// Samples whose innermost frame has no symbol.
    pub without_symbol: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutcomeCount {
    /// Machine-readable: `root_reached`, `table_not_ready`, …
    pub outcome: String,
    /// For people.
    pub meaning: String,
    pub count: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RuntimeQuality {
    /// `native`, `CPython 3.11`, …
    pub runtime: String,
    pub stacks: u64,
    pub complete: u64,
    pub outcomes: Vec<OutcomeCount>,
}

/// What the recording cost this host.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// CPU time of the profiler's own process, until the recording's end.
    pub user_ns: u64,
    pub system_ns: u64,
    /// CPU time for symbols and the report after it.
    pub finish_ns: u64,
    /// Peak resident memory of the profiler.
    pub peak_memory_bytes: u64,
    /// Memory of the BPF maps.
    pub map_memory_bytes: u64,
    pub programs: Vec<ProgramCost>,
}

/// A BPF program, measured by the kernel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ProgramCost {
    pub name: String,
    pub run_time_ns: u64,
    pub run_count: u64,
    /// Times that it should have run, and did not: it was interrupted on the same
    /// CPU, and the kernel does not begin a program again before it is done.
    #[serde(default)]
    pub missed_count: u64,
}

impl Quality {
    /// Stacks that had a user part, and how many of them reached the root.
    pub fn complete(&self) -> (u64, u64) {
        let of = |wanted: &dyn Fn(&str) -> bool| -> u64 {
            self.outcomes
                .iter()
                .filter(|entry| wanted(&entry.outcome))
                .map(|entry| entry.count)
                .sum()
        };
        (
            of(&|outcome| outcome != "no_user_stack"),
            of(&|outcome| outcome == "root_reached"),
        )
    }
}
