//! What cgroups account for, read at the start and at the end of a recording
//! and once a second between, since a cgroup that is gone says nothing any
//! more: of a container that ends, the last look counts.

mod disk;
mod host;
mod network;
mod v1;
mod v2;

use std::{
    collections::{HashMap, HashSet},
    path::PathBuf,
    sync::mpsc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::{files, mounts::Mounts};
use crate::profile::{ContainerUsage, Pressure};
use network::Traffic;

const POLL: Duration = Duration::from_secs(1);
/// Young containers are looked at more often: many live for a moment only.
const POLL_YOUNG: Duration = Duration::from_millis(100);
const YOUNG: Duration = Duration::from_secs(2);
/// Looking takes at most this part of a CPU, however many containers there
/// are: one look, then this many times its duration of rest.
const REST: u32 = 50;

/// Whose figures to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subject {
    Host,
    /// Its paths below the mounts of the hierarchies, where it has one.
    Cgroup {
        v2: Option<String>,
        v1: Option<String>,
    },
}

enum Command {
    Watch {
        key: usize,
        subject: Subject,
        /// It was made while we recorded: its counters began at 0.
        fresh: bool,
    },
    Begin,
    End,
}

/// The thread that looks.
pub struct Watcher {
    commands: mpsc::Sender<Command>,
    thread: Option<JoinHandle<HashMap<usize, ContainerUsage>>>,
}

impl Watcher {
    pub fn start(mounts: Mounts) -> Self {
        let (commands, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("container usage".to_owned())
            .spawn(move || watch(&mounts, &receiver))
            .ok();
        Self { commands, thread }
    }

    /// One that watches nothing.
    pub fn idle() -> Self {
        Self {
            commands: mpsc::channel().0,
            thread: None,
        }
    }

    /// Watches a subject, or the same one at another place.
    pub fn watch(&self, key: usize, subject: Subject, fresh: bool) {
        let _ = self.commands.send(Command::Watch {
            key,
            subject,
            fresh,
        });
    }

    pub fn begin(&self) {
        let _ = self.commands.send(Command::Begin);
    }

    pub fn end(&self) {
        let _ = self.commands.send(Command::End);
    }

    /// What was seen, by key. Waits for the thread's last look.
    pub fn finish(self) -> HashMap<usize, ContainerUsage> {
        self.end();
        drop(self.commands);
        self.thread
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default()
    }
}

struct Watched {
    subject: Subject,
    /// When its counters were first and last read: of one that is new, when
    /// it was heard of.
    since: Instant,
    until: Instant,
    next: Instant,
    /// Inode number of its directory: it changes when a container restarts,
    /// and the counters begin anew.
    inode: Option<u64>,
    /// What earlier incarnations used, and where this one began.
    before: ContainerUsage,
    first: ContainerUsage,
    last: ContainerUsage,
    seen: bool,
    network: Option<(Traffic, Traffic)>,
    fresh: bool,
}

fn watch(mounts: &Mounts, commands: &mpsc::Receiver<Command>) -> HashMap<usize, ContainerUsage> {
    let host_namespace = network::namespace("1").or_else(|| network::namespace("self"));
    let mut namespaces = HashSet::new();
    let mut all: HashMap<usize, Watched> = HashMap::new();
    let mut ended = false;
    let mut resume = Instant::now();

    loop {
        let now = Instant::now();
        let next = all
            .values()
            .map(|watched| watched.next)
            .min()
            .unwrap_or(now + POLL)
            .max(resume);
        let command = if ended {
            commands
                .recv()
                .map_err(|_| mpsc::RecvTimeoutError::Disconnected)
        } else {
            commands.recv_timeout(next.saturating_duration_since(now))
        };
        match command {
            Ok(_) if ended => (),
            Ok(Command::Watch {
                key,
                subject,
                fresh,
            }) => {
                let now = Instant::now();
                let watched = all
                    .entry(key)
                    .or_insert_with(|| Watched::new(subject.clone(), fresh, now));
                // Its other hierarchy may become known later.
                watched.subject = subject;
                watched.look(mounts, host_namespace, &mut namespaces);
            }
            Ok(Command::Begin) => {
                let now = Instant::now();
                for watched in all.values_mut() {
                    *watched = Watched::new(watched.subject.clone(), false, now);
                    watched.look(mounts, host_namespace, &mut namespaces);
                }
            }
            Ok(Command::End) => {
                for watched in all.values_mut() {
                    watched.look(mounts, host_namespace, &mut namespaces);
                }
                ended = true;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {
                let start = Instant::now();
                for watched in all.values_mut().filter(|watched| watched.next <= start) {
                    watched.look(mounts, host_namespace, &mut namespaces);
                }
                resume = Instant::now() + start.elapsed() * REST;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    all.into_iter()
        .filter(|(_, watched)| watched.seen)
        .map(|(key, watched)| (key, watched.usage()))
        .collect()
}

impl Watched {
    fn new(subject: Subject, fresh: bool, now: Instant) -> Self {
        Self {
            subject,
            since: now,
            until: now,
            next: now,
            inode: None,
            before: ContainerUsage::default(),
            first: ContainerUsage::default(),
            last: ContainerUsage::default(),
            seen: false,
            network: None,
            fresh,
        }
    }

    fn look(&mut self, mounts: &Mounts, host: Option<u64>, namespaces: &mut HashSet<u64>) {
        let now = Instant::now();
        self.next = now
            + if now - self.since < YOUNG && self.fresh {
                POLL_YOUNG
            } else {
                POLL
            };
        let (mut usage, inode, traffic) = match &self.subject {
            Subject::Host => (host::read(), None, None),
            Subject::Cgroup { v2, v1 } => {
                let directory: Option<PathBuf> = mounts
                    .v1_controller()
                    .zip(v1.as_deref())
                    .and_then(|(controller, path)| files::below(&controller.mount, path))
                    .or_else(|| files::below(mounts.v2.as_deref()?, v2.as_deref()?));
                let Some(directory) = directory else {
                    return;
                };
                let Some(inode) = files::cgroup_id(&directory) else {
                    // Gone: what was seen last stays. Not there yet: what
                    // comes will begin at 0.
                    self.fresh |= !self.seen;
                    return;
                };
                let mut usage = ContainerUsage::default();
                if let Some(path) = v1 {
                    usage = v1::read(mounts, path);
                }
                if let (Some(mount), Some(path)) = (&mounts.v2, v2) {
                    usage = either(usage, v2::read(mount, path));
                }
                // While it was read it went: half of it would be missing.
                if files::cgroup_id(&directory) != Some(inode) {
                    return;
                }
                let traffic = network::of_cgroup(&directory, host);
                (usage, Some(inode), traffic)
            }
        };

        let restarted = self.seen && inode != self.inode;
        if restarted {
            self.before = self.usage();
            self.first = ContainerUsage::default();
            self.network = None;
            self.fresh = true;
        } else if self.seen {
            // Version 1 controllers lose the cgroup one after the other: what
            // one does not say any more is what it said last.
            usage = either(usage, self.last.clone());
        }
        if !self.seen && !self.fresh {
            self.first = usage.clone();
            self.since = now;
        }
        if let Some(traffic) = traffic {
            let known = !namespaces.insert(traffic.namespace);
            match &mut self.network {
                Some((first, last)) if first.namespace == traffic.namespace => *last = traffic,
                network => {
                    // A namespace made for a container that was made while we
                    // recorded began at 0 too.
                    let mut first = traffic;
                    if self.fresh && !known {
                        (first.receive, first.transmit) = (0, 0);
                    }
                    *network = Some((first, traffic));
                }
            }
        }
        self.inode = inode;
        self.last = usage;
        self.seen = true;
        self.until = now;
    }

    fn usage(&self) -> ContainerUsage {
        let (first, last, before) = (&self.first, &self.last, &self.before);
        // Every counter that was there at the end, less what it was at the
        // start; 0 when the cgroup was made since.
        let counter = |of: fn(&ContainerUsage) -> Option<u64>| -> Option<u64> {
            let since = of(last)?.saturating_sub(of(first).unwrap_or(0));
            Some(since + of(before).unwrap_or(0))
        };
        let pressure = |of: fn(&ContainerUsage) -> Option<Pressure>| -> Option<Pressure> {
            let last = of(last)?;
            let first = of(first).unwrap_or_default();
            let before = of(before).unwrap_or_default();
            Some(Pressure {
                some_ns: last.some_ns.saturating_sub(first.some_ns) + before.some_ns,
                full_ns: last.full_ns.saturating_sub(first.full_ns) + before.full_ns,
            })
        };
        let network = |of: fn(&Traffic) -> u64, before: Option<u64>, host: Option<u64>| match (
            &self.network,
            &self.subject,
        ) {
            (_, Subject::Host) => host,
            (Some((first, last)), _) => {
                Some(of(last).saturating_sub(of(first)) + before.unwrap_or(0))
            }
            (None, _) => before,
        };
        ContainerUsage {
            interval_ns: (self.until - self.since).as_nanos() as u64,
            cpu_ns: counter(|usage| usage.cpu_ns),
            cpu_user_ns: counter(|usage| usage.cpu_user_ns),
            cpu_system_ns: counter(|usage| usage.cpu_system_ns),
            cpu_periods: counter(|usage| usage.cpu_periods),
            cpu_throttled_periods: counter(|usage| usage.cpu_throttled_periods),
            cpu_throttled_ns: counter(|usage| usage.cpu_throttled_ns),
            block_read_bytes: counter(|usage| usage.block_read_bytes),
            block_write_bytes: counter(|usage| usage.block_write_bytes),
            network_receive_bytes: network(
                |traffic| traffic.receive,
                before.network_receive_bytes,
                counter(|usage| usage.network_receive_bytes),
            ),
            network_transmit_bytes: network(
                |traffic| traffic.transmit,
                before.network_transmit_bytes,
                counter(|usage| usage.network_transmit_bytes),
            ),
            oom_kills: counter(|usage| usage.oom_kills),
            cpu_pressure: pressure(|usage| usage.cpu_pressure),
            memory_pressure: pressure(|usage| usage.memory_pressure),
            io_pressure: pressure(|usage| usage.io_pressure),
            ..last.clone()
        }
    }
}

/// What the first knows, else the second: on hybrid hosts a cgroup is
/// accounted for in both hierarchies, each for its own controllers.
fn either(first: ContainerUsage, second: ContainerUsage) -> ContainerUsage {
    // CPU time and its parts come from one source, so that they add up.
    let cpu = if first.cpu_ns.is_some() {
        &first
    } else {
        &second
    };
    ContainerUsage {
        interval_ns: 0,
        cpu_ns: cpu.cpu_ns,
        cpu_user_ns: cpu.cpu_user_ns,
        cpu_system_ns: cpu.cpu_system_ns,
        cpu_limit: first.cpu_limit.or(second.cpu_limit),
        cpu_periods: first.cpu_periods.or(second.cpu_periods),
        cpu_throttled_periods: first.cpu_throttled_periods.or(second.cpu_throttled_periods),
        cpu_throttled_ns: first.cpu_throttled_ns.or(second.cpu_throttled_ns),
        memory_working_set_bytes: first
            .memory_working_set_bytes
            .or(second.memory_working_set_bytes),
        memory_usage_bytes: first.memory_usage_bytes.or(second.memory_usage_bytes),
        memory_limit_bytes: first.memory_limit_bytes.or(second.memory_limit_bytes),
        block_read_bytes: first.block_read_bytes.or(second.block_read_bytes),
        block_write_bytes: first.block_write_bytes.or(second.block_write_bytes),
        network_receive_bytes: first.network_receive_bytes,
        network_transmit_bytes: first.network_transmit_bytes,
        pids: first.pids.or(second.pids),
        pids_limit: first.pids_limit.or(second.pids_limit),
        oom_kills: first.oom_kills.or(second.oom_kills),
        cpu_pressure: first.cpu_pressure.or(second.cpu_pressure),
        memory_pressure: first.memory_pressure.or(second.memory_pressure),
        io_pressure: first.io_pressure.or(second.io_pressure),
    }
}
