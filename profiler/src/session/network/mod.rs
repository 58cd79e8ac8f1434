//! The use of the network: what the kernel side counted is collected while it
//! records, and told by process, connection and peer at the end.

mod addresses;
mod exchanges;
mod flows;
pub mod names;
mod namespaces;
mod peers;
mod pools;
mod present;
mod samples;
mod stacks;

use profiler_ebpf::{
    AcceptedEvent, Connection as Counted, MAX_CONNECTIONS, NetworkCounter, ThreadTraffic,
    TrafficEvent,
};
use rustc_hash::FxHashMap;

use super::intake::{Intake, text as text_of};
use crate::{
    bpf::{self, Kernel, NetworkLimits},
    containers::Containers,
    process::lives,
    profile::{ContainerId, Drop, Network, Note, ProcessId, ThreadId},
    progress::PoolNow,
};
pub use addresses::Ends;
use exchanges::Interval;
pub use namespaces::Namespaces;
use pools::Unused;
use samples::Samples;
use stacks::Moved;

/// The table is looked through when it is this full.
const SWEEP_FROM: u64 = MAX_CONNECTIONS as u64 / 4;
/// What is not used for this long is taken out then, nanoseconds: whatever has
/// ended, and when it is very full, all.
const QUIET_NS: u64 = 2_000_000_000;
/// Sockets that are kept in all, 400 bytes each.
const MAX_KEPT: usize = 1 << 17;
/// Accepted connections that wait for their first message.
const MAX_ACCEPTED: usize = 1 << 16;

/// A socket, and what only userspace knows.
struct Kept {
    counted: Counted,
    container: ContainerId,
    /// `CLOCK_MONOTONIC` nanoseconds; 0 when it was not seen.
    accepted: u64,
}

/// What is recorded, and how it went. By default nothing is.
#[derive(Default)]
pub struct NetworkUse {
    loaded: bool,
    opened: bool,
    refused: Option<String>,
    limits: NetworkLimits,
    threads: FxHashMap<ThreadId, Moved>,
    kept: FxHashMap<u64, Kept>,
    not_kept: u64,
    accepted: FxHashMap<u64, u64>,
    /// Entries taken out of the kernel's table.
    removed: u64,
    namespaces: Namespaces,
    samples: Samples,
    unused: Unused,
    /// `CLOCK_MONOTONIC` nanoseconds.
    start: u64,
    end: u64,
}

impl NetworkUse {
    pub fn start(kernel: &mut Kernel) -> Self {
        let mut network = Self::default();
        match kernel.load_network() {
            Ok(limits) => {
                network.loaded = true;
                network.limits = limits;
            }
            Err(error) => {
                network.refused = Some(error.brief());
            }
        }
        network
    }

    /// Counts from now on.
    pub fn open(&mut self, kernel: &mut Kernel, containers: &mut Containers) {
        if !self.loaded {
            return;
        }
        self.namespaces = Namespaces::scan(containers);
        match kernel.open_network() {
            Ok(()) => {
                self.opened = true;
                self.start = bpf::now();
            }
            Err(error) => {
                kernel.close_network();
                self.refused = Some(error.brief());
            }
        }
    }

    /// Counts no more.
    pub fn close(&mut self, kernel: &mut Kernel) {
        if self.opened {
            // While those that are made are still seen: what is there and was not
            // seen was not used.
            let used = kernel.connections();
            let kept = self.kept.values().map(|kept| &kept.counted);
            self.unused = Unused::find(
                kept.chain(used.iter().map(|(_, counted)| counted)),
                &self.namespaces,
            );
        }
        kernel.close_network();
        self.end = bpf::now();
    }

    /// A thread that used the network ended.
    pub fn ended(&mut self, event: &TrafficEvent, container: ContainerId, intake: &mut Intake) {
        let traffic = &event.traffic;
        let thread = intake.ended_thread(
            traffic.process,
            event.tid,
            (&traffic.process_name, &traffic.thread_name),
            container,
        );
        self.threads.entry(thread).or_default().add(traffic);
    }

    pub fn accepted(&mut self, event: &AcceptedEvent) {
        if self.accepted.len() >= MAX_ACCEPTED {
            // Their processes are not wanted, or never said a word.
            self.accepted
                .retain(|_, time| event.time.saturating_sub(*time) < QUIET_NS);
        }
        if self.accepted.len() < MAX_ACCEPTED {
            self.accepted.insert(event.socket, event.time);
        }
    }

    /// Makes room in the kernel's table. Often: what does not fit is known by
    /// thread only.
    pub fn sweep(&mut self, kernel: &mut Kernel, containers: &mut Containers) {
        if !self.opened {
            return;
        }
        let made = kernel
            .network_counter(NetworkCounter::ConnectionsMade as u32)
            .unwrap_or(0);
        let occupied = made.saturating_sub(self.removed);
        if occupied < SWEEP_FROM {
            return;
        }
        let full = occupied > 3 * SWEEP_FROM;
        let now = bpf::now();
        for (key, connection) in kernel.connections() {
            let quiet = now.saturating_sub(connection.last.max(connection.ended)) > QUIET_NS;
            if quiet && (connection.ended != 0 || !connection.is_tcp() || full) {
                kernel.remove_connection(key);
                self.removed += 1;
                self.keep(key, connection, containers);
            }
        }
    }

    /// Looks at all connections, unless that was a moment ago. Returns those to
    /// services.
    pub fn sample(&mut self, kernel: &Kernel) -> Option<Vec<PoolNow<'_>>> {
        let now = bpf::now();
        if !self.opened || !self.samples.are_due(now) {
            return None;
        }
        let connections = kernel.connections();
        let (accepted, namespaces) = (&self.accepted, &self.namespaces);
        self.samples.take(now, &connections, |key, counted| {
            let mut ends = Ends::of(counted);
            let accepted = accepted.get(&key).copied().unwrap_or(0);
            ends.find_role(counted, accepted, namespaces);
            ends
        });
        let done = bpf::now();
        self.samples.rest(done, done.saturating_sub(now));
        Some(self.samples.now())
    }

    fn keep(&mut self, key: u64, counted: Counted, containers: &mut Containers) {
        if let Some(kept) = self.kept.get_mut(&key) {
            merge(&mut kept.counted, &counted);
            return;
        }
        if self.kept.len() >= MAX_KEPT {
            self.not_kept += 1;
            return;
        }
        let container =
            containers.resolve(counted.cgroup_v2, counted.cgroup_v1, counted.process.tgid);
        let accepted = self.accepted.remove(&key).unwrap_or(0);
        let kept = Kept {
            counted,
            container,
            accepted,
        };
        self.kept.insert(key, kept);
    }

    /// What was counted; `None` when nothing could be.
    pub fn finish(
        mut self,
        kernel: &Kernel,
        containers: &mut Containers,
        intake: &mut Intake,
        notes: &mut Vec<Note>,
    ) -> Option<Network> {
        if let Some(why) = &self.refused {
            notes.push(Note::missing(format!("the network is not recorded: {why}")));
        }
        if !self.opened {
            return None;
        }
        for (key, counted) in kernel.connections() {
            self.keep(key, counted, containers);
        }
        for (tid, traffic) in kernel.traffic() {
            let container =
                containers.resolve(traffic.cgroup_v2, traffic.cgroup_v1, traffic.process.tgid);
            let thread = thread_of(tid, &traffic, container, intake);
            self.threads.entry(thread).or_default().add(&traffic);
        }
        let mut network = self.counters(kernel);
        network.threads = stacks::settle(intake, std::mem::take(&mut self.threads));
        let before = std::mem::take(&mut self.namespaces);
        let namespaces = Namespaces::scan(containers);
        network.namespaces = namespaces.overflows_since(&before);

        let mut sockets = self.sockets(intake, &namespaces);
        peers::find(&mut sockets, &namespaces);
        (
            network.flows,
            network.connections,
            network.connections_not_shown,
        ) = flows::tell(&sockets, self.end);
        network.pool_samples = self.samples.count;
        (network.pools, network.pools_not_shown) = pools::tell(
            &sockets,
            std::mem::take(&mut self.samples).told(),
            &self.unused,
            &pools::Window {
                whole: Interval {
                    from: self.start,
                    until: self.end,
                },
                before: &before,
                after: &namespaces,
                sees_accepts: !self.limits.calls_only,
            },
        );
        network.connections_refused += self.not_kept;
        self.note(&network, notes);
        Some(network)
    }

    fn counters(&self, kernel: &Kernel) -> Network {
        let counters = kernel.network_counters().unwrap_or_default();
        let counter = |index: NetworkCounter| counters.get(index as usize).copied().unwrap_or(0);
        let mut drops: Vec<Drop> = counters
            .iter()
            .skip(NetworkCounter::DROPS as usize)
            .zip(0_u32..)
            .filter(|&(&packets, _)| packets > 0)
            .map(|(&packets, number)| Drop {
                reason: self.drop_reason(kernel, number),
                packets,
            })
            .collect();
        drops.sort_by_key(|drop| std::cmp::Reverse(drop.packets));
        Network {
            drops,
            accepted: counter(NetworkCounter::Accepted),
            other_retransmits: counter(NetworkCounter::OtherRetransmits),
            other_resets_sent: counter(NetworkCounter::OtherResetsSent),
            other_resets_received: counter(NetworkCounter::OtherResetsReceived),
            connections_refused: counter(NetworkCounter::ConnectionsRefused),
            bytes_unaccounted: counter(NetworkCounter::BytesUnaccounted),
            threads_lost: counter(NetworkCounter::ThreadsLost),
            stacks_thinned: counter(NetworkCounter::StacksThinned),
            ..Network::default()
        }
    }

    fn drop_reason(&self, kernel: &Kernel, number: u32) -> String {
        if self.limits.no_drop_reasons {
            return "not_told".to_owned();
        }
        if number as usize == NetworkCounter::DROP_REASONS - 1 {
            return "of_a_subsystem".to_owned();
        }
        kernel
            .drop_reasons()
            .iter()
            .find(|(value, _)| *value == number)
            .map_or_else(|| format!("reason_{number}"), |(_, name)| name.clone())
    }

    fn sockets(&mut self, intake: &mut Intake, namespaces: &Namespaces) -> Vec<Socket> {
        let mut kept: Vec<(u64, Kept)> = self.kept.drain().collect();
        // The order of hash maps must not show in the recording.
        kept.sort_unstable_by_key(|(key, kept)| (kept.counted.first, *key));
        kept.into_iter()
            .map(|(_, kept)| {
                let counted = kept.counted;
                let process = process_of(&counted, kept.container, intake);
                let mut ends = Ends::of(&counted);
                ends.find_role(&counted, kept.accepted, namespaces);
                Socket {
                    process,
                    container: kept.container,
                    accepted: kept.accepted,
                    ends,
                    peer: None,
                    counted,
                }
            })
            .collect()
    }

    fn note(&self, network: &Network, notes: &mut Vec<Note>) {
        let mut note = |text: String| {
            notes.push(Note::missing(text));
        };
        if self.limits.calls_only {
            note(
                "the network: this kernel (before 6.3) tells of messages only where their system \
                 calls return; what sendfile, splice and io_uring move is not counted, and \
                 connections that were accepted are dated from their first message"
                    .to_owned(),
            );
        }
        if self.limits.no_drop_reasons {
            note(
                "the network: this kernel (before 5.17) does not say why packets are dropped"
                    .to_owned(),
            );
        }
        if network.connections_refused > 0 {
            note(format!(
                "{} sockets did not fit the table of connections: their bytes are in the totals of \
                 their threads only",
                network.connections_refused
            ));
        }
        if self.unused.is_incomplete {
            note(
                "connections that nothing went through are not counted: a network namespace has \
                 too many to look at"
                    .to_owned(),
            );
        }
        if network.bytes_unaccounted > 0 {
            note(format!(
                "{} bytes were sent and received by threads that did not fit their table",
                network.bytes_unaccounted
            ));
        }
        if network.threads_lost > 0 {
            note(format!(
                "what {} threads that ended had sent and received was lost because the event ring \
                 was full",
                network.threads_lost
            ));
        }
    }
}

/// A socket on the way to the report.
struct Socket {
    process: ProcessId,
    container: ContainerId,
    /// `CLOCK_MONOTONIC` nanoseconds; 0 when it was not seen.
    accepted: u64,
    ends: Ends,
    peer: Option<crate::profile::Peer>,
    counted: Counted,
}

/// Adds what was counted of a socket after its entry had been taken out.
fn merge(known: &mut Counted, more: &Counted) {
    for (sum, more) in known.traffic.iter_mut().zip(more.traffic) {
        sum.bytes += more.bytes;
        sum.messages += more.messages;
    }
    exchanges::merge(known, more);
    known.last = more.last;
    known.ended = known.ended.max(more.ended);
    known.retransmits = known.retransmits.max(more.retransmits);
    known.resets_sent += more.resets_sent;
    known.resets_received += more.resets_received;
    known.drops += more.drops;
    if more.round_trip_us != 0 {
        known.round_trip_us = more.round_trip_us;
        known.round_trip_deviation_us = more.round_trip_deviation_us;
    }
}

fn thread_of(
    tid: u32,
    traffic: &ThreadTraffic,
    container: ContainerId,
    intake: &mut Intake,
) -> ThreadId {
    intake.quiet_thread(
        traffic.process,
        container,
        tid,
        (
            || text_of(&traffic.process_name),
            || text_of(&traffic.thread_name),
        ),
        super::command_line,
    )
}

/// Whose socket it is: itself if it is known or there still, else the one that
/// stands for all of its name that ended.
fn process_of(counted: &Counted, container: ContainerId, intake: &mut Intake) -> ProcessId {
    let name = || text_of(&counted.process_name);
    if lives(counted.process) {
        intake.quiet_process(counted.process, container, name, super::command_line)
    } else {
        intake.ended_process(counted.process, container, name())
    }
}
