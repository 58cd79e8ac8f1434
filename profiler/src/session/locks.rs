//! Global interpreter locks: found by the first sample of each process, and
//! told to the kernel side, which measures the waits for them from then on.

use std::time::Instant;

use profiler_ebpf::{Gils, LOCKS_PER_PROCESS, ProcessKey, python_state};
use rustc_hash::{FxHashMap, FxHashSet};

use super::intake::RawProcess;
use crate::{
    bpf::{Kernel, Sample},
    profile::{LockUse, Note},
};

/// The hooks are attached with the first process that has a lock.
#[derive(Default)]
enum Hooks {
    #[default]
    NotAsked,
    Attached,
    /// Why they could not be.
    Refused(String),
}

#[derive(Default)]
pub struct Locks {
    hooks: Hooks,
    processes: FxHashMap<ProcessKey, Process>,
    /// Processes of whose locks the kernel side was told.
    told: FxHashSet<u32>,
    /// Locks of processes that have more than the kernel side takes.
    not_taken: u64,
}

struct Process {
    gils: Gils,
    since: Option<Instant>,
    known: u64,
    held: u64,
}

impl Locks {
    /// Learns the lock that a sample names, and counts who holds it.
    pub fn learn(&mut self, sample: &Sample<'_>, kernel: &mut Kernel, keep: bool) {
        let header = &sample.header;
        if header.python_state & python_state::GIL_KNOWN == 0 {
            return;
        }
        if matches!(self.hooks, Hooks::NotAsked) {
            self.hooks = match kernel.measure_gil() {
                Ok(()) => Hooks::Attached,
                Err(error) => Hooks::Refused(error.brief()),
            };
        }
        let process = self
            .processes
            .entry(header.process)
            .or_insert_with(|| Process {
                gils: Gils::default(),
                since: None,
                known: 0,
                held: 0,
            });
        if keep && sample.source == profiler_ebpf::Source::OnCpu {
            process.known += 1;
            process.held += u64::from(header.python_state & python_state::HOLDS_GIL != 0);
        }
        if process.gils.addresses.contains(&header.gil) {
            return;
        }
        let Some(free) = (0..LOCKS_PER_PROCESS).find(|&index| process.gils.addresses[index] == 0)
        else {
            self.not_taken += 1;
            return;
        };
        process.gils.addresses[free] = header.gil;
        self.told.insert(header.process.tgid);
        if kernel.set_gils(header.process.tgid, process.gils).is_ok()
            && matches!(self.hooks, Hooks::Attached)
        {
            process.since.get_or_insert_with(Instant::now);
        }
    }

    /// The process ended or runs another program: its addresses say nothing.
    pub fn forget(&mut self, tgid: u32, kernel: &mut Kernel) {
        if self.told.remove(&tgid) {
            kernel.remove_gils(tgid);
        }
    }

    /// By process of the recording. One that was in several containers is
    /// there once for each; the first stands for all.
    pub fn finish(
        mut self,
        started: Instant,
        processes: &[RawProcess],
        notes: &mut Vec<Note>,
    ) -> Vec<LockUse> {
        if let Hooks::Refused(why) = &self.hooks {
            notes.push(Note::missing(format!(
                "waits for Python's GIL are not measured: {why}"
            )));
        }
        if self.not_taken > 0 {
            notes.push(Note::missing(format!(
                "a process has more than {LOCKS_PER_PROCESS} interpreters with a GIL of \
                 their own: waits for the others are not measured"
            )));
        }
        (0..)
            .zip(processes)
            .filter_map(|(index, process)| {
                let lock = self.processes.remove(&process.key)?;
                Some(LockUse {
                    process: index,
                    known: lock.known,
                    held: lock.held,
                    measured_from_ns: lock
                        .since
                        .map(|since| since.saturating_duration_since(started).as_nanos() as u64),
                })
            })
            .collect()
    }
}
