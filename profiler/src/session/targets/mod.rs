//! What system calls were about: the files and peers that the kernel side told
//! of, with their names.

mod names;

use std::collections::{BTreeMap, BTreeSet};

use profiler_ebpf::{Access, FileId, ProcessKey, TargetKey, TargetKind as Told, TargetUse};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{files::Paths, intake::Intake, threads::Followed};
use names::Hosts;

use crate::{
    bpf::Kernel,
    containers::Containers,
    process::lives,
    profile::{CallTarget, Note, Partial, ProcessId, TargetKind, ThreadId},
    syscalls::{error_name, subject},
};

/// Most entries that are kept of processes that ended.
const MAX_KEPT: usize = 1 << 16;
/// Most files whose path was looked for.
const MAX_LOOKED_FOR: usize = 1 << 16;

/// A process, whatever programs it executes: when it started, and its id.
type Process = (u64, u32);
type Place = (u32, u64);

/// What is told, and how it went. By default nothing is.
#[derive(Default)]
pub struct CallTargets {
    told: bool,
    refused: Option<String>,
    /// Of processes that ended.
    kept: Vec<(TargetKey, TargetUse)>,
    not_kept: u64,
    /// A thread of each process that ended.
    threads: FxHashMap<Process, ThreadId>,
    paths: Paths,
    looked_for: FxHashSet<Place>,
    /// Paths by which processes opened files.
    opened: FxHashMap<(Process, Place), (String, Option<Partial>)>,
}

impl CallTargets {
    pub fn start(kernel: &mut Kernel, calls: &[u32]) -> Self {
        let subjects = calls.iter().map(|&number| (number, subject(number)));
        let refused = kernel
            .tell_targets(subjects)
            .err()
            .map(|error| error.brief());
        Self {
            told: refused.is_none(),
            refused,
            ..Self::default()
        }
    }

    pub fn are_told(&self) -> bool {
        self.told
    }

    /// A thread ended that may have been its process's last.
    pub fn ended(&mut self, process: ProcessKey, thread: ThreadId) {
        if self.told {
            self.threads
                .insert((process.start_boottime, process.tgid), thread);
        }
    }

    /// Looks for the paths of files while they are open, and takes the entries of
    /// processes that have ended, so that there is room for others.
    pub fn keep_house(&mut self, kernel: &mut Kernel) {
        if !self.told {
            return;
        }
        let entries = kernel.call_targets();
        let mut living: BTreeMap<Process, bool> = BTreeMap::new();
        for (key, _) in &entries {
            living
                .entry(process_of(key))
                .or_insert_with(|| is_there(key));
        }
        self.look_for(&entries, &living);
        for (key, usage) in entries {
            if !living[&process_of(&key)] {
                kernel.forget_call_target(key);
                self.keep(key, usage);
            }
        }
    }

    fn keep(&mut self, key: TargetKey, usage: TargetUse) {
        if self.kept.len() < MAX_KEPT {
            self.learn(&key, &usage);
            self.kept.push((key, usage));
        } else {
            self.not_kept += usage.calls;
        }
    }

    /// Each file once: what was closed by then is not found later either.
    fn look_for(&mut self, entries: &[(TargetKey, TargetUse)], living: &BTreeMap<Process, bool>) {
        if self.looked_for.len() >= MAX_LOOKED_FOR {
            return;
        }
        let mut processes = BTreeSet::new();
        let mut files = Vec::new();
        for (key, usage) in entries {
            let is_file = Told::from_u32(key.kind) == Some(Told::File);
            if is_file && self.looked_for.insert((key.device, key.object)) {
                let file = FileId {
                    inode: key.object,
                    file_system: key.device,
                    access: Access::Cached as u32,
                };
                let name = String::from_utf8_lossy(names::text(usage)).into_owned();
                files.push((file, name));
                processes.insert(process_of(key));
            }
        }
        let open = processes
            .into_iter()
            .filter(|process| living.get(process) == Some(&true))
            .map(|(_, tgid)| tgid);
        self.paths.look_for(files.into_iter(), open);
    }

    /// By which path a file was opened.
    fn learn(&mut self, key: &TargetKey, usage: &TargetUse) {
        if usage.opened_inode != 0 && Told::from_u32(key.kind) == Some(Told::Path) {
            let file = (usage.opened_device, usage.opened_inode);
            self.opened
                .insert((process_of(key), file), names::path(usage));
        }
    }

    /// All that was told, by number of the call.
    pub fn finish(
        mut self,
        kernel: &mut Kernel,
        containers: &mut Containers,
        followed: &Followed,
        intake: &Intake,
        notes: &mut Vec<Note>,
    ) -> Vec<(u32, CallTarget)> {
        if let Some(why) = &self.refused {
            notes.push(Note::missing(format!(
                "which files and peers system calls were about: {why}"
            )));
        }
        if !self.told {
            return Vec::new();
        }
        self.keep_house(kernel);
        for (key, usage) in kernel.call_targets() {
            self.keep(key, usage);
        }
        if self.not_kept > 0 {
            notes.push(Note::missing(format!(
                "{} system calls of processes that ended are without their file or peer: there \
                 were too many",
                self.not_kept
            )));
        }
        let mut processes: FxHashMap<Process, ProcessId> = FxHashMap::default();
        let living = followed.clocks.iter().map(|&(_, thread, ref clock)| {
            ((clock.process.start_boottime, clock.process.tgid), thread)
        });
        for (process, thread) in self.threads.drain().chain(living) {
            processes.insert(process, intake.threads[thread as usize].process);
        }
        let has_sockets = self
            .kept
            .iter()
            .any(|(key, _)| matches!(Told::from_u32(key.kind), Some(Told::Socket | Told::Address)));
        let hosts = if has_sockets {
            Hosts::new(containers, &self.kept)
        } else {
            Hosts::default()
        };
        let mut merged: BTreeMap<_, CallTarget> = BTreeMap::new();
        for (key, usage) in std::mem::take(&mut self.kept) {
            if usage.calls == 0 {
                continue;
            }
            let process = processes.get(&process_of(&key)).copied();
            let (kind, name, partial) = self.name(&key, &usage, &hosts);
            let target = CallTarget {
                process,
                call: 0,
                kind,
                name: name.clone(),
                partial,
                calls: usage.calls,
                errors: usage.errors,
                error: (usage.errors > 0).then(|| error_name(usage.errno)),
                ns: usage.nanoseconds,
                longest_ns: usage.longest,
            };
            match merged.entry((process, key.number, kind, name, partial)) {
                std::collections::btree_map::Entry::Occupied(mut known) => {
                    known.get_mut().merge(target);
                }
                std::collections::btree_map::Entry::Vacant(place) => {
                    place.insert(target);
                }
            }
        }
        merged
            .into_iter()
            .map(|((_, number, ..), target)| (number, target))
            .collect()
    }

    fn name(
        &self,
        key: &TargetKey,
        usage: &TargetUse,
        hosts: &Hosts,
    ) -> (TargetKind, String, Option<Partial>) {
        let text = || String::from_utf8_lossy(names::text(usage)).into_owned();
        match Told::from_u32(key.kind).unwrap_or(Told::Nothing) {
            Told::Nothing => (TargetKind::None, String::new(), None),
            Told::Path => {
                let (path, partial) = names::path(usage);
                (TargetKind::Path, path, partial)
            }
            Told::File => {
                let (path, partial) = self.file(key, text);
                (TargetKind::File, path, partial)
            }
            // As /proc/PID/fd has it.
            Told::Pipe if usage.length == 0 => {
                (TargetKind::Pipe, format!("pipe:[{}]", key.object), None)
            }
            Told::Pipe => {
                let (path, partial) = self.file(key, text);
                (TargetKind::Pipe, path, partial)
            }
            Told::Anonymous => (
                TargetKind::Anonymous,
                format!("anon_inode:{}", text()),
                None,
            ),
            Told::Socket => (TargetKind::Socket, hosts.socket(usage), None),
            Told::Address => (TargetKind::Socket, hosts.address(usage), None),
        }
    }

    /// The path by which a process had it open when that was looked at; else by
    /// which it was opened; else its name.
    fn file(&self, key: &TargetKey, name: impl Fn() -> String) -> (String, Option<Partial>) {
        let place = (key.device, key.object);
        if let Some(path) = self.paths.of(key.device, key.object) {
            return (path, None);
        }
        match self.opened.get(&(process_of(key), place)) {
            Some(opened) => opened.clone(),
            None => (name(), Some(Partial::LastName)),
        }
    }
}

fn process_of(key: &TargetKey) -> Process {
    (key.start_boottime, key.tgid)
}

/// Whether the process is there still, whatever it executes now.
fn is_there(key: &TargetKey) -> bool {
    lives(ProcessKey {
        tgid: key.tgid,
        exec_id: 0,
        start_boottime: key.start_boottime,
    })
}
