//! Looking at all connections now and then: how many a process has to each
//! service, and on how many of them a request is outstanding.

use std::collections::hash_map::Entry;

use profiler_ebpf::{Connection as Counted, ProcessKey, family, socket_type};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{super::intake::text as text_of, addresses::Ends, exchanges, present};
use crate::{
    profile::{PoolSamples, Protocol, Role},
    progress::PoolNow,
};

/// After a look, nothing is looked at for this many times as long as that took:
/// it costs at most a hundredth of a CPU.
const REST: u64 = 99;
/// How often is looked up which UNIX sockets are still there, nanoseconds.
const UNIX_EVERY_NS: u64 = 1_000_000_000;
/// Connections whose group is remembered, and groups.
const MAX_KNOWN: usize = 1 << 17;
const MAX_GROUPS: usize = 1 << 14;

/// The connections between a process and a service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    pub process: ProcessKey,
    pub protocol: Protocol,
    pub role: Role,
    pub service: String,
}

impl Group {
    /// `None` for sockets that have no clients and servers, or no requests.
    pub fn of(counted: &Counted, ends: &Ends) -> Option<Self> {
        if counted.kind != socket_type::STREAM || ends.role == Role::Peer {
            return None;
        }
        let (local, remote) = ends.service();
        Some(Self {
            process: counted.process,
            protocol: ends.protocol,
            role: ends.role,
            service: if ends.role == Role::Server {
                local
            } else {
                remote
            },
        })
    }
}

/// A group as the present sample finds it, and all samples so far.
struct Gauge {
    group: Group,
    name: String,
    connections: u64,
    in_use: u64,
    /// That its process has in progress.
    requests: u64,
    sums: PoolSamples,
}

#[derive(Default)]
pub struct Samples {
    gauges: Vec<Gauge>,
    groups: FxHashMap<Group, usize>,
    /// By the connection's key: where its gauge is; `None`: it has none.
    known: FxHashMap<u64, Option<usize>>,
    unix: UnixSockets,
    pub count: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    next: u64,
}

impl Samples {
    pub fn are_due(&self, now: u64) -> bool {
        now >= self.next
    }

    /// `ends` tells of a connection's ends and role.
    pub fn take(
        &mut self,
        now: u64,
        connections: &[(u64, Counted)],
        ends: impl Fn(u64, &Counted) -> Ends,
    ) {
        self.count += 1;
        for gauge in &mut self.gauges {
            (gauge.connections, gauge.in_use) = (0, 0);
        }
        let mut requests: FxHashMap<ProcessKey, u64> = FxHashMap::default();
        for (key, counted) in connections {
            if !self.is_open(counted, now) {
                continue;
            }
            let Some(place) = self.place(*key, counted, &ends) else {
                continue;
            };
            let gauge = &mut self.gauges[place];
            gauge.connections += 1;
            if exchanges::outstanding_since(counted, gauge.group.role).is_some() {
                gauge.in_use += 1;
                if gauge.group.role == Role::Server {
                    *requests.entry(counted.process).or_default() += 1;
                }
            }
        }
        for gauge in &mut self.gauges {
            let process = gauge.group.process;
            gauge.requests = requests.get(&process).copied().unwrap_or(0);
            gauge.settle();
        }
    }

    /// Nothing is due for a while, since `spent` nanoseconds were spent until `now`.
    pub fn rest(&mut self, now: u64, spent: u64) {
        self.next = now + spent * REST;
    }

    /// Connections to services, as the last sample found them.
    pub fn now(&self) -> Vec<PoolNow<'_>> {
        self.gauges
            .iter()
            .filter(|gauge| gauge.group.role == Role::Client && gauge.connections > 0)
            .map(|gauge| PoolNow {
                pid: gauge.group.process.tgid,
                process: &gauge.name,
                service: &gauge.group.service,
                connections: gauge.connections,
                in_use: gauge.in_use,
                requests: gauge.requests,
            })
            .collect()
    }

    /// What was seen of each group.
    pub fn told(self) -> FxHashMap<Group, PoolSamples> {
        self.gauges
            .into_iter()
            .map(|gauge| (gauge.group, gauge.sums))
            .collect()
    }

    fn is_open(&mut self, counted: &Counted, now: u64) -> bool {
        counted.ended == 0
            && !exchanges::is_connecting(counted)
            && (counted.family != family::UNIX || self.unix.has(counted, now))
    }

    fn place(
        &mut self,
        key: u64,
        counted: &Counted,
        ends: impl Fn(u64, &Counted) -> Ends,
    ) -> Option<usize> {
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let place =
            Group::of(counted, &ends(key, counted)).and_then(|group| self.gauge_of(group, counted));
        if self.known.len() < MAX_KNOWN {
            self.known.insert(key, place);
        }
        place
    }

    fn gauge_of(&mut self, group: Group, counted: &Counted) -> Option<usize> {
        if let Some(&place) = self.groups.get(&group) {
            return Some(place);
        }
        if self.gauges.len() >= MAX_GROUPS {
            return None;
        }
        self.gauges.push(Gauge {
            group: group.clone(),
            name: text_of(&counted.process_name),
            connections: 0,
            in_use: 0,
            requests: 0,
            sums: PoolSamples::default(),
        });
        let place = self.gauges.len() - 1;
        self.groups.insert(group, place);
        Some(place)
    }
}

impl Gauge {
    /// Adds the present sample.
    fn settle(&mut self) {
        let Self {
            connections,
            in_use,
            requests,
            ..
        } = *self;
        if connections == 0 {
            return;
        }
        let is_saturated = in_use == connections;
        self.sums.add(PoolSamples {
            count: 1,
            connections,
            most_connections: connections,
            in_use,
            most_in_use: in_use,
            saturated: is_saturated.into(),
            requests_when_saturated: if is_saturated { requests } else { 0 },
        });
    }
}

/// The kernel side does not see the end of these, so they are looked up.
#[derive(Default)]
struct UnixSockets {
    by_namespace: FxHashMap<u32, FxHashSet<u64>>,
    looked_up: u64,
}

impl UnixSockets {
    fn has(&mut self, counted: &Counted, now: u64) -> bool {
        if now.saturating_sub(self.looked_up) > UNIX_EVERY_NS {
            self.by_namespace.clear();
            self.looked_up = now;
        }
        if counted.first >= self.looked_up {
            return true;
        }
        let known = match self.by_namespace.entry(counted.namespace) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => match present::unix(counted.process.tgid) {
                Some(found) => place.insert(found),
                // It ended; another process may tell of this namespace.
                None => return false,
            },
        };
        known.contains(&counted.inode)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use profiler_ebpf::{Direction, protocol};

    use super::*;
    use crate::session::network::namespaces::Namespaces;

    fn connection(tgid: u32, port: u16, outstanding: bool) -> Counted {
        let mut counted = Counted {
            family: family::INET,
            kind: socket_type::STREAM,
            protocol: protocol::TCP,
            local_port: 8000,
            remote_port: port,
            turned: 7,
            last_direction: Direction::Received as u32,
            ..Counted::NEW
        };
        counted.process.tgid = tgid;
        counted.address[..4].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        counted.address[16..20].copy_from_slice(&Ipv4Addr::LOCALHOST.octets());
        if outstanding {
            counted.last_direction = Direction::Sent as u32;
        }
        counted
    }

    /// The key says whether it was accepted.
    fn ends(key: u64, counted: &Counted) -> Ends {
        let mut ends = Ends::of(counted);
        ends.find_role(counted, key % 2, &Namespaces::default());
        ends
    }

    #[test]
    fn all_in_use_while_requests_are_in_progress() {
        let mut samples = Samples::default();
        // A request of a client is in progress when the last message is its own.
        let request = |key| (key, connection(1, 50_000, false));
        let mut connections = vec![request(1), request(3), request(5)];
        connections.push((2, connection(1, 5432, true)));
        connections.push((4, connection(1, 5432, true)));
        samples.take(1, &connections, ends);
        connections[3].1.last_direction = Direction::Received as u32;
        samples.take(2, &connections, ends);
        connections.truncate(3);
        samples.take(3, &connections, ends);
        assert_eq!(samples.count, 3);
        let told = samples.told();
        let pool = told
            .iter()
            .find(|(group, _)| group.role == Role::Client)
            .expect("it is there");
        assert_eq!(pool.0.service, "127.0.0.1:5432");
        let expected = PoolSamples {
            count: 2,
            connections: 4,
            most_connections: 2,
            in_use: 3,
            most_in_use: 2,
            saturated: 1,
            requests_when_saturated: 3,
        };
        assert_eq!(*pool.1, expected);
    }

    #[test]
    fn what_is_closed_or_not_yet_there_does_not_count() {
        let mut samples = Samples::default();
        let ended = Counted {
            ended: 1,
            ..connection(1, 5432, true)
        };
        let connecting = Counted {
            connecting: 1,
            ..connection(1, 5432, true)
        };
        samples.take(1, &[(2, ended), (4, connecting)], ends);
        assert!(samples.told().is_empty());
    }
}
