//! Disk requests as they are counted and sampled: whose they are, what their
//! files are called, and how their stacks add up.

mod stacks;

use std::collections::BTreeMap;

use profiler_ebpf::{
    Access, CacheUse, DiskEvent, DiskKey, DiskUse, FileKey, FileUse, MAX_DISK_FILES, ProcessKey,
};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    files::Paths,
    intake::{Intake, Placed, text},
};
use crate::{
    bpf::{DiskFacts, Kernel, Sample},
    containers::Containers,
    process::lives,
    profile::{
        self, ContainerId, Disk as Found, DiskAccess, DiskOperation, Histogram, Note, NoteKind,
        ProcessId, Source,
    },
};

/// Most requests with a stack that are waited for; what is more stays without
/// its time.
const MAX_PENDING: usize = 1 << 16;
/// Most files that are told apart.
const MAX_FILES: usize = 1 << 16;

/// A device as the kernel side numbers it, and what was asked of it.
type What = (u32, DiskOperation);

/// A request whose stack was taken, until it is done.
struct Pending {
    placed: Placed,
    weight: u64,
}

struct Use {
    requests: u64,
    bytes: u64,
    errors: u64,
    queue_ns: u64,
    service_ns: u64,
    queue: Histogram,
    service: Histogram,
}

#[derive(Default)]
struct InFile {
    name: String,
    requests: u64,
    bytes: u64,
    ns: u64,
}

/// What is followed, and how it went. By default nothing is.
#[derive(Default)]
pub struct Disk {
    facts: Option<DiskFacts>,
    /// Why the kernel would not have it.
    refused: Option<String>,
    begun: bool,
    pending: FxHashMap<(u32, u64), Pending>,
    not_waited_for: u64,
    uses: BTreeMap<(ProcessId, What), Use>,
    files: BTreeMap<(ProcessId, What, DiskAccess, (u32, u64)), InFile>,
    cache: BTreeMap<ProcessId, profile::CacheUse>,
    paths: Paths,
    /// Requests of each entry of the files' table a round ago.
    before: FxHashMap<FileKey, u64>,
    /// Processes that were found to have ended: their entries are taken a round
    /// later, when requests that they left behind are done.
    ended: FxHashSet<ProcessKey>,
}

impl Disk {
    pub fn start(kernel: &mut Kernel) -> Self {
        let mut disk = Self::default();
        match kernel.follow_disk() {
            Ok(facts) => disk.facts = Some(facts),
            Err(error) => disk.refused = Some(error.brief()),
        }
        disk
    }

    /// Counts from now on.
    pub fn begin(&mut self, kernel: &mut Kernel) {
        if self.facts.is_none() {
            return;
        }
        match kernel.reset_disk() {
            Ok(()) => self.begun = true,
            Err(error) => self.refused = Some(error.brief()),
        }
    }

    /// A request's stack: its time is told when it is done.
    pub fn sampled(&mut self, sample: &Sample<'_>, placed: Placed) {
        if self.pending.len() >= MAX_PENDING {
            self.not_waited_for += 1;
            return;
        }
        let header = &sample.header;
        let pending = Pending {
            placed,
            weight: header.weight,
        };
        self.pending.insert((header.tid, header.time), pending);
    }

    pub fn done(&mut self, event: &DiskEvent, intake: &mut Intake) {
        let Some(Pending { placed, weight }) = self.pending.remove(&(event.tid, event.sample_time))
        else {
            return;
        };
        // The stack stands for so many requests like it.
        let like_it = u128::from(weight) * u128::from(event.nanoseconds);
        let total = intake
            .totals
            .entry((Source::DiskTime, placed.thread, placed.stack))
            .or_default();
        total.weight += (like_it / u128::from(event.amount.max(1))) as u64;
        total.count += 1;
    }

    /// Looks for the paths of files while they are open, and takes the entries
    /// of processes that have ended, so that there is room for others.
    pub fn keep_house(
        &mut self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
    ) {
        if self.begun {
            self.collect(kernel, containers, intake, false);
        }
    }

    fn collect(
        &mut self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
        all: bool,
    ) {
        let (uses, files, cache) = (kernel.disk_uses(), kernel.disk_files(), kernel.disk_cache());
        let mut processes: FxHashMap<ProcessKey, bool> = FxHashMap::default();
        let keys = uses
            .iter()
            .map(|(key, _)| key.process)
            .chain(cache.iter().map(|&(key, _)| key));
        for key in keys {
            processes.entry(key).or_insert_with(|| lives(key));
        }
        self.paths.look_for(
            files.iter().map(|(key, file)| (key.file, text(&file.name))),
            processes
                .iter()
                .filter(|&(_, &lives)| lives)
                .map(|(key, _)| key.tgid),
        );
        let now_ended: FxHashSet<ProcessKey> = processes
            .iter()
            .filter(|&(_, &lives)| !lives)
            .map(|(&key, _)| key)
            .collect();
        let due = |key: &ProcessKey| all || (now_ended.contains(key) && self.ended.contains(key));
        let due: FxHashSet<ProcessKey> = processes.keys().copied().filter(due).collect();
        // Files that nobody used for a round go too when there are many.
        let crowded = files.len() > MAX_DISK_FILES / 4;
        let mut owners = FxHashMap::default();
        for (key, usage) in uses {
            let ended = due.contains(&key.process);
            if !ended && !crowded {
                continue;
            }
            let owner = owner_of(&key, &usage, containers, intake);
            owners.insert(key, owner);
            if ended {
                self.take_use(&key, &usage, owner);
                if !all {
                    kernel.forget_disk_use(key);
                }
            }
        }
        let before = std::mem::take(&mut self.before);
        for (key, file) in files {
            let quiet = crowded && before.get(&key) == Some(&file.requests);
            self.before.insert(key, file.requests);
            if !quiet && !due.contains(&key.who.process) {
                continue;
            }
            let Some(&owner) = owners.get(&key.who) else {
                continue;
            };
            self.take_file(&key, &file, owner);
            if !all {
                kernel.forget_disk_file(key);
            }
        }
        for (key, usage) in cache {
            if due.contains(&key) {
                self.take_cache(key, &usage, containers, intake);
                if !all {
                    kernel.forget_disk_cache(key);
                }
            }
        }
        self.ended = now_ended;
    }

    fn take_use(&mut self, key: &DiskKey, usage: &DiskUse, process: ProcessId) {
        if usage.requests == 0 && usage.bytes == 0 {
            return;
        }
        let what = (key.device, operation(key.operation));
        let sum = self.uses.entry((process, what)).or_insert_with(|| Use {
            requests: 0,
            bytes: 0,
            errors: 0,
            queue_ns: 0,
            service_ns: 0,
            queue: Histogram::default(),
            service: Histogram::default(),
        });
        sum.requests += usage.requests;
        sum.bytes += usage.bytes;
        sum.errors += usage.errors;
        sum.queue_ns += usage.queue_ns;
        sum.service_ns += usage.service_ns;
        sum.queue
            .merge(&Histogram::new(&usage.queue, usage.queue_max_ns));
        sum.service
            .merge(&Histogram::new(&usage.service, usage.service_max_ns));
    }

    fn take_file(&mut self, key: &FileKey, file: &FileUse, process: ProcessId) {
        if file.requests == 0 && file.bytes == 0 {
            return;
        }
        let what = (key.who.device, operation(key.who.operation));
        let mut place = (
            process,
            what,
            access(key.file.access),
            (key.file.file_system, key.file.inode),
        );
        if self.files.len() >= MAX_FILES && !self.files.contains_key(&place) {
            place = (process, what, DiskAccess::Unknown, (0, 0));
        }
        let sum = self.files.entry(place).or_default();
        if place.2 != DiskAccess::Unknown {
            sum.name = text(&file.name);
        }
        sum.requests += file.requests;
        sum.bytes += file.bytes;
        sum.ns += file.nanoseconds;
    }

    fn take_cache(
        &mut self,
        key: ProcessKey,
        usage: &CacheUse,
        containers: &mut Containers,
        intake: &mut Intake,
    ) {
        if usage.dirtied | usage.looked_up | usage.missed | usage.faulted == 0 {
            return;
        }
        let container = containers.resolve(usage.cgroup_v2, usage.cgroup_v1, key.tgid);
        let name = text(&usage.process_name);
        // Without memory of their own they work for others.
        let process = if is_worker(&name) {
            intake.kernel_workers(container)
        } else {
            owner(key, container, name, intake)
        };
        let looks_up = self.facts.is_some_and(|facts| facts.has_look_ups);
        let sum = self
            .cache
            .entry(process)
            .or_insert_with(|| profile::CacheUse {
                process,
                looked_up_bytes: looks_up.then_some(0),
                ..profile::CacheUse::default()
            });
        sum.dirtied_bytes += usage.dirtied;
        sum.missed_bytes += usage.missed;
        sum.faulted_bytes += usage.faulted;
        if let Some(bytes) = &mut sum.looked_up_bytes {
            *bytes += usage.looked_up;
        }
    }

    /// All that was counted; the stacks in `intake` are made to add up to it.
    pub fn finish(
        mut self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Found {
        if self.begun {
            self.collect(kernel, containers, intake, true);
        }
        self.note(intake, notes);
        if !self.begun {
            return Found::default();
        }
        stacks::settle(intake, &self.uses);
        let mut devices = Vec::new();
        let mut place_of = |device: u32| {
            let place = devices.iter().position(|&known| known == device);
            place.unwrap_or_else(|| {
                devices.push(device);
                devices.len() - 1
            }) as u32
        };
        let uses = self
            .uses
            .into_iter()
            .map(|((process, (device, operation)), it)| profile::DiskUse {
                device: place_of(device),
                process,
                operation,
                requests: it.requests,
                bytes: it.bytes,
                errors: it.errors,
                queue_ns: it.queue_ns,
                service_ns: it.service_ns,
                queue: it.queue,
                service: it.service,
            })
            .collect();
        let paths = &self.paths;
        let files = self
            .files
            .into_iter()
            .map(
                |((process, (device, operation), access, (file_system, inode)), it)| {
                    let path = if access == DiskAccess::Device {
                        device_name(file_system)
                    } else {
                        paths.of(file_system, inode).unwrap_or(it.name)
                    };
                    profile::FileUse {
                        device: place_of(device),
                        process,
                        operation,
                        access,
                        path,
                        inode,
                        requests: it.requests,
                        bytes: it.bytes,
                        ns: it.ns,
                    }
                },
            )
            .collect();
        Found {
            recorded: true,
            uses,
            files,
            cache: self.cache.into_values().collect(),
            devices: devices.into_iter().map(device_name).collect(),
        }
    }

    fn note(&self, intake: &Intake, notes: &mut Vec<Note>) {
        let mut note = |kind, text: String| notes.push(Note { kind, text });
        if let Some(why) = &self.refused {
            note(
                NoteKind::Missing,
                format!("disk requests are not recorded: {why}"),
            );
        }
        let Some(facts) = self.facts.filter(|_| self.begun) else {
            return;
        };
        if !facts.has_submission {
            note(
                NoteKind::Missing,
                "disk requests are met when they are queued, not when they are made, which \
                 kernels before 6.5 do not tell: what a kernel thread queues for a process \
                 counts as the kernel thread's"
                    .to_owned(),
            );
        }
        if !facts.has_look_ups {
            note(
                NoteKind::Missing,
                "hits of the page cache: kernels before 6.12 do not tell of look-ups; misses \
                 are there"
                    .to_owned(),
            );
        }
        if self.not_waited_for > 0 {
            note(
                NoteKind::Missing,
                format!(
                    "the time of {} disk requests with a stack was not waited for",
                    self.not_waited_for
                ),
            );
        }
        let written: u64 = self
            .uses
            .iter()
            .filter(|&(&(process, (_, operation)), _)| {
                operation == DiskOperation::Write && intake.is_kernel_workers(process)
            })
            .map(|(_, usage)| usage.bytes)
            .sum();
        if written > 0 {
            note(
                NoteKind::Info,
                format!(
                    "{written} bytes were written by kernel workers from the page cache, after \
                     those who made the pages dirty went on: the column of dirtied bytes says \
                     who they were; only cgroup version 2 with its io and memory controllers \
                     tells the container of such a write"
                ),
            );
        }
    }
}

/// Threads of the kernel's work queues; writeback runs on them.
pub fn is_worker(name: &str) -> bool {
    name.starts_with("kworker/")
}

fn owner_of(
    key: &DiskKey,
    usage: &DiskUse,
    containers: &mut Containers,
    intake: &mut Intake,
) -> ProcessId {
    let container = containers.resolve(key.cgroup_v2, key.cgroup_v1, key.process.tgid);
    let name = text(&usage.process_name);
    if usage.kernel_thread != 0 && is_worker(&name) {
        intake.kernel_workers(container)
    } else {
        owner(key.process, container, name, intake)
    }
}

fn owner(key: ProcessKey, container: ContainerId, name: String, intake: &mut Intake) -> ProcessId {
    if lives(key) {
        intake.process(key, container, || name, |_| super::command_line(key))
    } else {
        intake.ended_process(key, container, name)
    }
}

pub fn operation(number: u32) -> DiskOperation {
    use profiler_ebpf::Operation;
    match Operation::from_u32(number).unwrap_or(Operation::Other) {
        Operation::Read => DiskOperation::Read,
        Operation::Write => DiskOperation::Write,
        Operation::Flush => DiskOperation::Flush,
        Operation::Discard => DiskOperation::Discard,
        Operation::Other => DiskOperation::Other,
    }
}

fn access(number: u32) -> DiskAccess {
    match Access::from_u32(number) {
        Access::Unknown => DiskAccess::Unknown,
        Access::Cached => DiskAccess::Cached,
        Access::Direct => DiskAccess::Direct,
        Access::Device => DiskAccess::Device,
    }
}

/// Name of a block device; its numbers when it is gone.
pub fn device_name(device: u32) -> String {
    let (major, minor) = (device >> 20, device & ((1 << 20) - 1));
    std::fs::read_link(format!("/sys/dev/block/{major}:{minor}"))
        .ok()
        .and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()))
        .unwrap_or_else(|| format!("{major}:{minor}"))
}
