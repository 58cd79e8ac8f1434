//! The table of processes: what each maps, kept in step with the kernel side.

use std::{
    io,
    os::fd::OwnedFd,
    rc::Rc,
    time::{Duration, Instant},
};

use profiler_ebpf::{
    Frame, MAX_MAPPINGS, Mapping, NO_EXECUTABLE, Outcome, ProcessEntry, ProcessEvent, ProcessKey,
    Source, ThreadSpecific,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    ExecutableId, Executables, MapsEntry,
    executables::Found,
    mapped::MappedCode,
    ranges::{Range, Ranges},
    read_maps, start_ticks, ticks_of,
    workers::{Done, Workers},
};
use crate::bpf::{Kernel, Sample, TableSlots, now};

/// What a sample of a running thread counts among those that wait for a table:
/// every daemon of a host waits, and their tables must not keep those of busy
/// processes waiting.
const ON_CPU_DEMAND: u64 = 64;
/// Executable mappings of one process at most; more are cut and counted.
const MAX_PROCESS_MAPPINGS: usize = 1 << 14;
/// After a scan that changed nothing, wait this long, doubled each time.
const FIRST_BACKOFF: Duration = Duration::from_millis(20);
const MAX_BACKOFF: Duration = Duration::from_secs(5);
/// How often processes are looked at that may have ended unnoticed.
const SWEEP_INTERVAL: Duration = Duration::from_secs(5);

/// What went wrong or was cut, for the report.
#[derive(Clone, Debug, Default)]
pub struct TableCounts {
    pub scans: u64,
    /// Processes that were gone when we came to read their mappings.
    pub gone: u64,
    pub mappings_cut: u64,
    /// `PROCESSES` or `MAPPINGS` was full.
    pub full: u64,
    /// Mappings of code that the kernel could not tell of.
    pub mappings_untold: u64,
}

/// What a process maps, shared with its forks.
struct Layout {
    range: Range,
    thread_specific: ThreadSpecific,
    mappings: Vec<Mapping>,
    executables: Vec<ExecutableId>,
}

struct Process {
    /// In clock ticks after boot, as `/proc/PID/stat` tells it.
    start_ticks: u64,
    /// [`ProcessEntry::ANY_EXEC`] when no event told it.
    exec_id: u32,
    layout: Rc<Layout>,
    last_scan: Instant,
    backoff: Duration,
}

/// A process that is about to be scanned.
struct Scan {
    tgid: u32,
    exec_id: u32,
    /// What its start must be.
    start_ticks: Option<u64>,
    /// When the scan finds nothing new, how long to wait before the next.
    backoff: Duration,
}

pub struct ProcessTable {
    processes: FxHashMap<u32, Process>,
    ranges: Ranges,
    pub executables: Executables,
    workers: Workers,
    counts: TableCounts,
    last_sweep: Instant,
    mapped: MappedCode,
    /// Known processes that have mapped code since they were scanned.
    changed: FxHashSet<u32>,
}

impl ProcessTable {
    /// With one worker for each handle.
    pub fn new(handles: Vec<TableSlots>) -> io::Result<Self> {
        Ok(Self {
            processes: FxHashMap::default(),
            ranges: Ranges::new(MAX_MAPPINGS as u32),
            executables: Executables::new(),
            workers: Workers::start(handles)?,
            counts: TableCounts::default(),
            last_sweep: Instant::now(),
            mapped: MappedCode::new()?,
            changed: FxHashSet::default(),
        })
    }

    pub fn counts(&self) -> &TableCounts {
        &self.counts
    }

    /// Processes known now.
    pub fn len(&self) -> usize {
        self.processes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.processes.is_empty()
    }

    /// Unwind tables that are still being made.
    pub fn pending_tables(&self) -> usize {
        self.workers.pending()
    }

    /// Waits for the next finished table and puts it in place.
    pub async fn next_table(&mut self) -> Option<Done> {
        self.workers.next().await
    }

    pub fn install(&mut self, done: Done, kernel: &mut Kernel) {
        match done {
            Done::Built(built) => {
                for id in self.executables.install(built, kernel, &self.workers) {
                    self.publish_v8(id, kernel);
                }
            }
            Done::Cleared { slot } => self.executables.tables.cleared(slot),
        }
    }

    /// Puts in place what is finished by now.
    pub fn install_finished(&mut self, kernel: &mut Kernel) {
        while let Some(done) = self.workers.try_next() {
            self.install(done, kernel);
        }
    }

    /// Learns from how a sample's walk ended what the kernel side lacks.
    pub fn learn(&mut self, sample: &Sample<'_>, kernel: &mut Kernel) {
        let key = sample.header.process;
        let demand = match sample.source {
            Source::OnCpu => ON_CPU_DEMAND,
            _ => 1,
        };
        match sample.outcome {
            Outcome::ProcessUnknown => self.scan(key.tgid, Some(key), demand, kernel),
            Outcome::MappingUnknown => self.scan(key.tgid, Some(key), 0, kernel),
            Outcome::TableNotReady => {
                if let Some(id) = self.executables.in_slot(sample.header.failed_executable) {
                    self.ask(id, demand, kernel);
                }
                // Its other executables are needed next.
                if let Some(process) = self.processes.get(&key.tgid) {
                    let layout = Rc::clone(&process.layout);
                    for &id in &layout.executables {
                        self.ask(id, 0, kernel);
                    }
                }
            }
            _ => {}
        }
    }

    /// Listens on these CPUs for processes that map code.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell. Code that takes the place of other code is then
    /// taken for that.
    pub fn follow_cpus(&mut self, cpus: &[u32]) -> io::Result<()> {
        self.mapped.follow(cpus)
    }

    /// Readable when a process has mapped code: [`ProcessTable::refresh`] is due.
    pub fn mapped(&self) -> &OwnedFd {
        self.mapped.ready()
    }

    /// Learns which known processes have mapped code.
    fn note_mapped(&mut self) {
        let (processes, changed) = (&self.processes, &mut self.changed);
        self.mapped.drain(|tgid| {
            if processes.contains_key(&tgid) {
                changed.insert(tgid);
            }
        });
        self.counts.mappings_untold = self.mapped.lost;
    }

    /// Scans known processes again that have mapped code.
    pub fn refresh(&mut self, kernel: &mut Kernel) {
        self.note_mapped();
        let (processes, changed) = (&self.processes, &mut self.changed);
        // A program that starts maps its libraries one after the other.
        let due: Vec<u32> = changed
            .extract_if(|tgid| {
                processes
                    .get(tgid)
                    .is_none_or(|process| process.last_scan.elapsed() >= FIRST_BACKOFF)
            })
            .collect();
        for tgid in due {
            if let Some(process) = self.processes.get(&tgid) {
                let scan = Scan {
                    tgid,
                    exec_id: process.exec_id,
                    start_ticks: Some(process.start_ticks),
                    backoff: process.backoff,
                };
                self.read(scan, 0, kernel);
            }
        }
    }

    /// Wants the table of an executable.
    fn ask(&mut self, id: ExecutableId, demand: u64, kernel: &mut Kernel) {
        if self.executables.ask(id, demand, kernel, &self.workers) {
            self.publish_v8(id, kernel);
        }
    }

    /// Scans a process before its first sample. `exec_id` is not known then.
    pub fn prepare(&mut self, tgid: u32, kernel: &mut Kernel) {
        self.scan(tgid, None, 1, kernel);
    }

    fn scan(&mut self, tgid: u32, key: Option<ProcessKey>, demand: u64, kernel: &mut Kernel) {
        let now = Instant::now();
        let exec_id = key.map_or(ProcessEntry::ANY_EXEC, |key| key.exec_id);
        let mut backoff = FIRST_BACKOFF;
        if let Some(known) = self.processes.get(&tgid)
            && known.exec_id == exec_id
            && key.is_none_or(|key| known.start_ticks == ticks_of(key.start_boottime))
        {
            if now.duration_since(known.last_scan) < known.backoff {
                return;
            }
            backoff = (known.backoff * 2).min(MAX_BACKOFF);
        }
        let scan = Scan {
            tgid,
            exec_id,
            start_ticks: key.map(|key| ticks_of(key.start_boottime)),
            backoff,
        };
        self.read(scan, demand, kernel);
    }

    fn read(&mut self, scan: Scan, demand: u64, kernel: &mut Kernel) {
        let Scan {
            tgid,
            exec_id,
            mut backoff,
            ..
        } = scan;
        self.counts.scans += 1;
        // Before: what changes meanwhile is told once more.
        let now = Instant::now();
        let (started, maps) = match (start_ticks(tgid), read_maps(tgid)) {
            (Some(ticks), Ok(maps)) if scan.start_ticks.is_none_or(|known| known == ticks) => {
                (ticks, maps)
            }
            _ => {
                // It ended, or another process has its pid by now.
                self.counts.gone += 1;
                return;
            }
        };
        let (mappings, executables) = self.resolve(tgid, &maps, kernel);
        for &id in &executables {
            self.ask(id, demand, kernel);
        }
        let unchanged = self
            .processes
            .get(&tgid)
            .filter(|known| known.layout.mappings == mappings)
            .map(|known| Rc::clone(&known.layout));
        let layout = match unchanged {
            Some(layout) => {
                for id in executables {
                    self.executables.release(id, kernel, &self.workers);
                }
                layout
            }
            None => {
                backoff = FIRST_BACKOFF;
                let Some(range) = self.ranges.allocate(mappings.len() as u32, now) else {
                    self.counts.full += 1;
                    for id in executables {
                        self.executables.release(id, kernel, &self.workers);
                    }
                    return;
                };
                kernel.write_mappings(range.first, &mappings);
                let thread_specific = executables
                    .iter()
                    .find_map(|&id| self.executables.get(id).thread_specific)
                    .unwrap_or_default();
                Rc::new(Layout {
                    range,
                    thread_specific,
                    mappings,
                    executables,
                })
            }
        };
        let process = Process {
            start_ticks: started,
            exec_id,
            layout,
            last_scan: now,
            backoff,
        };
        self.publish(tgid, process, kernel);
    }

    /// Makes a process known to the kernel side, then gives back what it
    /// replaces.
    fn publish(&mut self, tgid: u32, process: Process, kernel: &mut Kernel) {
        if kernel.set_process(tgid, self.entry(&process)).is_err() {
            self.counts.full += 1;
        }
        if let Some(old) = self.processes.insert(tgid, process) {
            self.give_back(old.layout, kernel);
        }
    }

    /// What the kernel side is told of a process.
    fn entry(&self, process: &Process) -> ProcessEntry {
        let layout = &process.layout;
        let v8 = layout
            .executables
            .iter()
            .find_map(|&id| self.executables.get(id).v8);
        ProcessEntry {
            start_ticks: process.start_ticks,
            exec_id: process.exec_id,
            first_mapping: layout.range.first,
            mapping_count: layout.range.length,
            thread_specific: layout.thread_specific,
            v8: v8.map_or(0, |index| index + 1),
            reserved: 0,
        }
    }

    /// Where an executable turned out to hold V8: whatever code its processes
    /// make is V8's.
    fn publish_v8(&mut self, id: ExecutableId, kernel: &mut Kernel) {
        if self.executables.get(id).v8.is_none() {
            return;
        }
        for (&tgid, process) in &self.processes {
            if process.layout.executables.contains(&id)
                && kernel.set_process(tgid, self.entry(process)).is_err()
            {
                self.counts.full += 1;
            }
        }
    }

    fn resolve(
        &mut self,
        tgid: u32,
        maps: &[MapsEntry],
        kernel: &mut Kernel,
    ) -> (Vec<Mapping>, Vec<ExecutableId>) {
        let mut mappings: Vec<Mapping> = Vec::with_capacity(maps.len());
        let mut executables = Vec::new();
        for entry in maps {
            let (executable, bias) = if entry.inode == 0 && !entry.is_vdso() {
                (NO_EXECUTABLE, 0)
            } else {
                match self.executables.acquire(tgid, entry, kernel) {
                    Found::Executable { id, bias } => {
                        executables.push(id);
                        match self.executables.slot_of(id) {
                            Some(slot) => (slot, bias),
                            None => continue,
                        }
                    }
                    Found::NotElf => (NO_EXECUTABLE, 0),
                    Found::Unusable => continue,
                }
            };
            // A JIT compiler's mappings are often many and side by side.
            if executable == NO_EXECUTABLE
                && let Some(last) = mappings.last_mut()
                && last.executable == NO_EXECUTABLE
                && last.end == entry.start
            {
                last.end = entry.end;
                continue;
            }
            mappings.push(Mapping {
                start: entry.start,
                end: entry.end,
                bias,
                executable,
                reserved: 0,
            });
        }
        if mappings.len() > MAX_PROCESS_MAPPINGS {
            self.counts.mappings_cut += (mappings.len() - MAX_PROCESS_MAPPINGS) as u64;
            mappings.truncate(MAX_PROCESS_MAPPINGS);
        }
        (mappings, executables)
    }

    /// With the last process that has it, a layout's range and executables
    /// are free again.
    fn give_back(&mut self, layout: Rc<Layout>, kernel: &mut Kernel) {
        let Some(layout) = Rc::into_inner(layout) else {
            return;
        };
        self.ranges.release(layout.range, Instant::now());
        for id in layout.executables {
            self.executables.release(id, kernel, &self.workers);
        }
    }

    /// The kernel side has given the child its parent's entry already.
    pub fn forked(&mut self, event: &ProcessEvent, kernel: &mut Kernel) {
        let Some(parent) = self.processes.get(&event.parent_tgid) else {
            // The parent's entry is gone here, so what the child inherited
            // may be given back at any time.
            kernel.remove_process(event.process.tgid);
            return;
        };
        let child = Process {
            start_ticks: ticks_of(event.process.start_boottime),
            exec_id: parent.exec_id,
            layout: Rc::clone(&parent.layout),
            last_scan: parent.last_scan,
            backoff: FIRST_BACKOFF,
        };
        let since = Duration::from_nanos(now().saturating_sub(event.time));
        let scanned_since = parent.last_scan.elapsed() < since;
        // Published again, with the layout that the parent has here: it may
        // have been scanned anew between the fork and now.
        self.publish(event.process.tgid, child, kernel);
        self.note_mapped();
        // That layout is not the child's where the parent has mapped code before the
        // fork, and we do not know yet what, or after it, and we do.
        if scanned_since || self.changed.contains(&event.parent_tgid) {
            self.changed.insert(event.process.tgid);
        }
    }

    /// Another program runs in the process now.
    pub fn executed(&mut self, event: &ProcessEvent, kernel: &mut Kernel) {
        if self.forget(event.process.tgid, kernel) {
            kernel.remove_process(event.process.tgid);
        }
    }

    pub fn exited(&mut self, event: &ProcessEvent, kernel: &mut Kernel) {
        let tgid = event.process.tgid;
        let same = self
            .processes
            .get(&tgid)
            .is_some_and(|known| known.start_ticks == ticks_of(event.process.start_boottime));
        if same && self.forget(tgid, kernel) {
            kernel.remove_process(tgid);
        }
    }

    fn forget(&mut self, tgid: u32, kernel: &mut Kernel) -> bool {
        let Some(process) = self.processes.remove(&tgid) else {
            return false;
        };
        self.give_back(process.layout, kernel);
        true
    }

    /// Removes processes whose end was not told, as when events were lost.
    pub fn sweep(&mut self, kernel: &mut Kernel) {
        if self.last_sweep.elapsed() < SWEEP_INTERVAL {
            return;
        }
        self.last_sweep = Instant::now();
        let ended: Vec<u32> = self
            .processes
            .iter()
            .filter(|&(&tgid, process)| start_ticks(tgid) != Some(process.start_ticks))
            .map(|(&tgid, _)| tgid)
            .collect();
        for tgid in ended {
            kernel.remove_process(tgid);
            self.forget(tgid, kernel);
        }
    }

    /// The executable and address that a recorded frame means, and notes that
    /// the executable is part of the recording.
    pub fn translate(&mut self, frame: Frame) -> Translated {
        match frame {
            Frame::Native {
                executable,
                address,
            } => match self.executables.in_slot(executable) {
                Some(id) => {
                    self.executables.mark_sampled(id);
                    Translated::Native { id, address }
                }
                None => Translated::Unknown,
            },
            Frame::Raw { address } => Translated::Raw { address },
            Frame::Python { .. } | Frame::JavaScript { .. } | Frame::Missing { .. } => {
                Translated::Interpreted(frame)
            }
        }
    }
}

/// A user frame, after its slot was looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Translated {
    Native {
        id: ExecutableId,
        address: u64,
    },
    Raw {
        address: u64,
    },
    /// Of an interpreter.
    Interpreted(Frame),
    /// Its executable is gone.
    Unknown,
}
