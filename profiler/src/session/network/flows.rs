//! Sockets, added up by what they connect.

use std::{cmp::Reverse, collections::BTreeMap};

use profiler_ebpf::Direction;

use super::Socket;
use crate::profile::{Connection, Flow, Histogram, Traffic, Trouble};

/// Single sockets that are told of.
const CONNECTIONS_SHOWN: usize = 1000;

/// All flows, some connections, and how many are not among those. `end` is that
/// of the recording, `CLOCK_MONOTONIC` nanoseconds.
pub fn tell(sockets: &[Socket], end: u64) -> (Vec<Flow>, Vec<Connection>, u64) {
    let mut flows: BTreeMap<_, Flow> = BTreeMap::new();
    for socket in sockets {
        let ends = &socket.ends;
        let (local, remote) = ends.service();
        let key = (
            socket.process,
            ends.protocol,
            ends.role,
            local,
            remote,
            socket.peer,
        );
        let flow = flows.entry(key).or_insert_with_key(|key| Flow {
            process: key.0,
            protocol: key.1,
            role: key.2,
            local: key.3.clone(),
            remote: key.4.clone(),
            peer: key.5,
            sockets: 0,
            sent: Traffic::default(),
            received: Traffic::default(),
            trouble: Trouble::default(),
            connects: Histogram::default(),
            failed_connects: Vec::new(),
            lifetimes: Histogram::default(),
            round_trip_ns: None,
        });
        add(flow, socket);
    }
    let mut flows: Vec<Flow> = flows.into_values().collect();
    flows.sort_by_key(|flow| Reverse(flow.sent.bytes + flow.received.bytes));

    let mut connections: Vec<Connection> = sockets
        .iter()
        .map(|socket| connection(socket, end))
        .collect();
    connections.sort_by_key(|connection| {
        let bytes = connection.sent.bytes + connection.received.bytes;
        Reverse((
            bytes,
            connection.trouble.any() || connection.error.is_some(),
        ))
    });
    let not_shown = connections.len().saturating_sub(CONNECTIONS_SHOWN);
    connections.truncate(CONNECTIONS_SHOWN);
    (flows, connections, not_shown as u64)
}

fn add(flow: &mut Flow, socket: &Socket) {
    flow.sockets += 1;
    flow.sent.add(socket.traffic(Direction::Sent));
    flow.received.add(socket.traffic(Direction::Received));
    flow.trouble.add(socket.trouble());
    if let Some(duration) = socket.connect_ns() {
        flow.connects.add(duration);
    }
    if let Some(error) = socket.failure() {
        match flow.failed_connects.iter_mut().find(|(of, _)| *of == error) {
            Some((_, count)) => *count += 1,
            None => flow.failed_connects.push((error, 1)),
        }
    }
    if socket.counted.ended != 0
        && socket.failure().is_none()
        && let Some(lifetime) = socket.lifetime_ns(0)
    {
        flow.lifetimes.add(lifetime);
    }
    flow.round_trip_ns = flow.round_trip_ns.max(socket.round_trip_ns());
}

fn connection(socket: &Socket, end: u64) -> Connection {
    let counted = &socket.counted;
    let (local, remote) = socket.ends.full();
    Connection {
        process: socket.process,
        other_pid: (counted.other_tgid != 0).then_some(counted.other_tgid),
        protocol: socket.ends.protocol,
        role: socket.ends.role,
        local,
        remote,
        peer: socket.peer,
        inode: counted.inode,
        sent: socket.traffic(Direction::Sent),
        received: socket.traffic(Direction::Received),
        trouble: socket.trouble(),
        connect_ns: socket.connect_ns(),
        error: (counted.error != 0).then_some(counted.error),
        lifetime_ns: socket.lifetime_ns(end),
        ended: counted.ended != 0,
        round_trip_ns: socket.round_trip_ns(),
        round_trip_deviation_ns: socket
            .round_trip_ns()
            .map(|_| u64::from(counted.round_trip_deviation_us) * 1000),
    }
}

impl Socket {
    fn traffic(&self, direction: Direction) -> Traffic {
        let traffic = self.counted.traffic[direction as usize];
        Traffic {
            bytes: traffic.bytes,
            messages: traffic.messages,
        }
    }

    fn trouble(&self) -> Trouble {
        let counted = &self.counted;
        Trouble {
            retransmits: counted
                .retransmits
                .saturating_sub(counted.retransmits_before)
                .into(),
            resets_sent: counted.resets_sent.into(),
            resets_received: counted.resets_received.into(),
            drops: counted.drops.into(),
        }
    }

    fn connect_ns(&self) -> Option<u64> {
        let counted = &self.counted;
        (counted.connecting != 0 && counted.established != 0)
            .then(|| counted.established.saturating_sub(counted.connecting))
    }

    /// Why its connect failed.
    fn failure(&self) -> Option<u32> {
        let counted = &self.counted;
        (counted.connecting != 0 && counted.established == 0 && counted.ended != 0)
            .then_some(counted.error)
    }

    /// From when it was opened until it ended, or else `until`.
    fn lifetime_ns(&self, until: u64) -> Option<u64> {
        let counted = &self.counted;
        let opened = if counted.connecting != 0 {
            counted.connecting
        } else {
            self.accepted
        };
        let end = if counted.ended != 0 {
            counted.ended
        } else {
            until
        };
        (opened != 0).then(|| end.saturating_sub(opened))
    }

    fn round_trip_ns(&self) -> Option<u64> {
        let microseconds = self.counted.round_trip_us;
        (microseconds != 0).then(|| u64::from(microseconds) * 1000)
    }
}
