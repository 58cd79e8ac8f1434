//! Phases of PostgreSQL's statements: what the kernel side told of each backend.

mod servers;
mod texts;

use std::collections::BTreeMap;

use profiler_ebpf::{Backend, Counter, Phase, PhaseUse, StatementEvent, Turn, Window};

use crate::{
    bpf::{Kernel, now},
    containers::Containers,
    profile::{self, ContainerId, Note, StatementServer, StatementUse},
};
use servers::Servers;
use texts::{OTHERS, Texts};

/// A server's process and its container.
type ServerKey = (u32, ContainerId);

/// Most statements of all servers together, …
const MAX_USES: usize = 20_000;
/// … and whose the rest are.
const NO_SERVER: ServerKey = (0, 0);

/// What is followed, and how it went. By default nothing is.
#[derive(Default)]
pub struct Statements {
    asked: bool,
    /// Why the kernel would not have the programs.
    refused: Option<String>,
    servers: Servers,
    /// Processes that began to run another program and may be servers.
    candidates: Vec<u32>,
    texts: Texts,
    window: Option<Window>,
    /// Of what was lost, when the recording began.
    lost_before: [u64; 2],
    uses: BTreeMap<(ServerKey, u32), StatementUse>,
}

impl Statements {
    /// Hooks the servers that are there and that are wanted.
    pub fn start(kernel: &mut Kernel, wanted: impl Fn(u32) -> bool) -> Self {
        let refused = kernel.load_statements().err().map(|error| error.brief());
        let mut statements = Self {
            asked: true,
            refused,
            ..Self::default()
        };
        if statements.refused.is_none() {
            let processes = procfs::process::all_processes().into_iter().flatten();
            for process in processes.filter_map(Result::ok) {
                let pid = process.pid as u32;
                if servers::is_server(pid) && wanted(pid) {
                    statements.servers.hook(pid, kernel);
                }
            }
        }
        statements
    }

    /// The recording begins; `start` is `CLOCK_MONOTONIC`, nanoseconds.
    pub fn open_window(&mut self, kernel: &mut Kernel, start: u64) {
        if !self.asked {
            return;
        }
        let window = Window { start, end: 0 };
        // Another source may have opened the same.
        if kernel.set_window(window).is_ok() {
            self.window = Some(window);
        }
        self.uses.clear();
        self.lost_before = lost(kernel);
    }

    /// A process that is recorded began to run another program.
    pub fn executed(&mut self, pid: u32) {
        if self.asked && self.refused.is_none() {
            self.candidates.push(pid);
        }
    }

    /// Hooks the servers that have come.
    pub fn sweep(&mut self, kernel: &mut Kernel) {
        for pid in std::mem::take(&mut self.candidates) {
            self.servers.hook(pid, kernel);
        }
    }

    pub fn learn(&mut self, hash: u64, text: &[u8]) {
        self.texts.learn(hash, text);
    }

    pub fn done(&mut self, event: &StatementEvent, container: ContainerId) {
        let told = told(&event.turn);
        self.add((event.server, container), event.turn.hash, &told);
    }

    fn add(&mut self, server: ServerKey, hash: u64, told: &StatementUse) {
        let mut key = (server, self.texts.of(hash));
        if self.uses.len() >= MAX_USES && !self.uses.contains_key(&key) {
            key = (NO_SERVER, OTHERS);
        }
        self.uses.entry(key).or_default().add(told);
    }

    /// The recording ends.
    pub fn close_window(&mut self, kernel: &mut Kernel) {
        if let Some(window) = &mut self.window {
            window.end = now();
            // If it fails, what ends a moment later counts in full.
            let _ = kernel.set_window(*window);
        }
    }

    /// What all backends did; `None` if nothing was followed.
    pub fn finish(
        mut self,
        kernel: &Kernel,
        containers: &mut Containers,
        notes: &mut Vec<Note>,
    ) -> Option<profile::Statements> {
        if !self.asked {
            return None;
        }
        let mut missing = |why: String| {
            notes.push(Note::missing(format!(
                "phases of PostgreSQL's statements: {why}"
            )));
        };
        if let Some(why) = &self.refused {
            missing(format!("not recorded: {why}"));
            return None;
        }
        for why in &self.servers.missing {
            missing(why.clone());
        }
        if self.servers.is_empty() {
            if self.servers.missing.is_empty() {
                missing("no PostgreSQL server is among the processes recorded".to_owned());
            }
            return None;
        }
        for backend in kernel.backends() {
            self.still_there(&backend, containers);
        }
        let [lost, backends_lost] = {
            let (now, before) = (lost(kernel), self.lost_before);
            [0, 1].map(|kind| now[kind].saturating_sub(before[kind]))
        };
        if lost > 0 {
            missing(format!("{lost} were lost because the event ring was full"));
        }
        if backends_lost > 0 {
            missing(format!(
                "{backends_lost} reports of backends found the table of them full"
            ));
        }
        Some(self.named(lost, backends_lost))
    }

    /// A backend that is in the middle of a statement, or before its end.
    fn still_there(&mut self, backend: &Backend, containers: &mut Containers) {
        let Some(window) = self.window else {
            return;
        };
        if backend.turn.hash == 0 {
            return;
        }
        let mut told = told(&backend.turn);
        if backend.outer.phase != 0 {
            told.in_progress = 1;
            told.in_progress_ns = window.part(backend.outer.since, window.end);
        } else if backend.turn.is_empty() {
            return;
        }
        told.elapsed_ns = window.part(backend.turn.since, window.end);
        let container =
            containers.resolve(backend.cgroup_v2, backend.cgroup_v1, backend.process.tgid);
        self.add((backend.server, container), backend.turn.hash, &told);
    }

    fn named(self, lost: u64, backends_lost: u64) -> profile::Statements {
        let mut servers: Vec<ServerKey> = self.uses.keys().map(|&(server, _)| server).collect();
        servers.dedup();
        let mut uses: Vec<StatementUse> = self
            .uses
            .iter()
            .map(|(&(server, id), told)| {
                let text = self.texts.text(id);
                StatementUse {
                    server: servers.partition_point(|&other| other < server) as u32,
                    text: text.text.clone(),
                    cut: text.cut && id != OTHERS,
                    ..told.clone()
                }
            })
            .collect();
        uses.sort_by_key(|told| (told.server, std::cmp::Reverse(told.weight())));
        profile::Statements {
            servers: servers
                .into_iter()
                .map(|(pid, container)| StatementServer { pid, container })
                .collect(),
            uses,
            lost,
            backends_lost,
        }
    }
}

/// Statements and reports of backends that the kernel side could not tell of.
fn lost(kernel: &Kernel) -> [u64; 2] {
    [Counter::StatementsLost, Counter::BackendsLost]
        .map(|counter| kernel.counter(counter).unwrap_or(0))
}

fn told(turn: &Turn) -> StatementUse {
    let phase = |phase: Phase| {
        let PhaseUse {
            count,
            nanoseconds,
            longest,
            nested,
            nested_ns,
        } = turn.phases[phase as usize];
        profile::PhaseUse {
            count,
            ns: nanoseconds,
            longest_ns: longest,
            nested,
            nested_ns,
        }
    };
    StatementUse {
        parse: phase(Phase::Parse),
        rewrite: phase(Phase::Rewrite),
        plan: phase(Phase::Plan),
        execute: phase(Phase::Execute),
        lock_waits: turn.lock_waits,
        lock_ns: turn.lock_ns,
        longest_lock_ns: turn.lock_longest,
        failed: turn.failed,
        failed_ns: turn.failed_ns,
        elapsed_ns: turn.nanoseconds,
        ..StatementUse::default()
    }
}
