//! What was sent and received, by thread, and through which connections.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};

use super::{ContainerId, Histogram, Pool, ProcessId, ThreadId};

/// What the network was used for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// Exact.
    pub threads: Vec<ThreadTraffic>,
    /// All sockets, by what they connect; those with the most bytes first.
    pub flows: Vec<Flow>,
    /// Single sockets: those with the most bytes, and those that had trouble.
    pub connections: Vec<Connection>,
    pub connections_not_shown: u64,
    /// How connections were used; those most in use first.
    #[serde(default)]
    pub pools: Vec<Pool>,
    #[serde(default)]
    pub pools_not_shown: u64,
    /// How often all connections were looked at for [`Pool::samples`].
    #[serde(default)]
    pub pool_samples: u64,
    /// Packets that the kernel dropped, host-wide; most frequent first.
    pub drops: Vec<Drop>,
    /// Network namespaces in which connections were refused for full queues.
    pub namespaces: Vec<Namespace>,
    /// Connections that listening sockets got, host-wide.
    pub accepted: u64,
    /// Of connections that are in no flow: events without one, and such of
    /// processes that were not recorded.
    pub other_retransmits: u64,
    pub other_resets_sent: u64,
    pub other_resets_received: u64,
    /// Sockets that found the table full, …
    pub connections_refused: u64,
    /// … and bytes of threads that did.
    pub bytes_unaccounted: u64,
    /// Accounts of ended threads that were lost.
    pub threads_lost: u64,
    /// Stacks that stand for more bytes than others, since too many were due.
    pub stacks_thinned: u64,
    /// Of remote addresses, by the DNS; empty unless that was asked for.
    #[serde(default)]
    pub host_names: BTreeMap<IpAddr, String>,
}

impl Network {
    /// The name of a remote end, an address with or without a port.
    pub fn host_name(&self, remote: &str) -> Option<&str> {
        self.host_names.get(&ip_of(remote)?).map(String::as_str)
    }
}

/// The address in one with or without a port.
pub fn ip_of(end: &str) -> Option<IpAddr> {
    end.parse::<SocketAddr>()
        .map(|address| address.ip())
        .or_else(|_| end.parse())
        .ok()
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Payload, without headers and retransmits.
    pub bytes: u64,
    /// Calls that moved something; of datagrams, the datagrams.
    pub messages: u64,
}

impl Traffic {
    pub fn add(&mut self, other: Self) {
        // A recording comes from a file that anyone may have written.
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.messages = self.messages.saturating_add(other.messages);
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadTraffic {
    pub thread: ThreadId,
    pub sent: Traffic,
    pub received: Traffic,
    /// Of all bytes, those for which no stack was recorded.
    pub without_stack_bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
    Mptcp,
    /// Of the Internet families: raw sockets, SCTP, ICMP.
    Other,
}

impl Protocol {
    /// As machine-readable formats call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::UnixStream => "unix_stream",
            Self::UnixDatagram => "unix_datagram",
            Self::Mptcp => "mptcp",
            Self::Other => "other",
        }
    }

    /// As shown to people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::UnixStream => "UNIX stream",
            Self::UnixDatagram => "UNIX datagram",
            Self::Mptcp => "MPTCP",
            Self::Other => "other",
        }
    }
}

/// Which end of a connection the process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It connected.
    Client,
    /// It was connected to.
    Server,
    /// A datagram socket, or one of a pair.
    Peer,
}

impl Role {
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Peer => "peer",
        }
    }
}

/// The other end of a connection, where it is on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    pub container: ContainerId,
    /// `None`: its container has the address, but no process of it was seen to
    /// use the connection.
    pub process: Option<ProcessId>,
}

/// How connections fared; sums of a flow's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// TCP segments that were sent again.
    pub retransmits: u64,
    pub resets_sent: u64,
    pub resets_received: u64,
    /// Packets for it that the kernel dropped.
    pub drops: u64,
}

impl Trouble {
    pub fn add(&mut self, other: Self) {
        self.retransmits = self.retransmits.saturating_add(other.retransmits);
        self.resets_sent = self.resets_sent.saturating_add(other.resets_sent);
        self.resets_received = self.resets_received.saturating_add(other.resets_received);
        self.drops = self.drops.saturating_add(other.drops);
    }

    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// The sockets between a process and one service: those that differ only in the
/// port of the client.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flow {
    pub process: ProcessId,
    pub protocol: Protocol,
    pub role: Role,
    /// Address and port, or path. Of the end whose port is not the service's, the
    /// address alone. Empty when it is not known.
    pub local: String,
    pub remote: String,
    pub peer: Option<Peer>,
    pub sockets: u64,
    pub sent: Traffic,
    pub received: Traffic,
    pub trouble: Trouble,
    /// Durations of connect(2), from the first packet to the answer.
    pub connects: Histogram,
    /// Connects that failed, by the number of the error.
    pub failed_connects: Vec<(u32, u64)>,
    /// How long connections lived that ended.
    pub lifetimes: Histogram,
    /// Smoothed round-trip time: the largest of its connections'.
    pub round_trip_ns: Option<u64>,
}

/// A socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Connection {
    pub process: ProcessId,
    /// Another process that used it too.
    pub other_pid: Option<u32>,
    pub protocol: Protocol,
    pub role: Role,
    pub local: String,
    pub remote: String,
    pub peer: Option<Peer>,
    /// Number of its inode, as in `/proc/PID/fd` and `ss -e`; 0 when not known.
    pub inode: u64,
    pub sent: Traffic,
    pub received: Traffic,
    pub trouble: Trouble,
    pub connect_ns: Option<u64>,
    /// Number of the error with which it ended.
    pub error: Option<u32>,
    /// Until its end, or else that of the recording; `None`: it was there before.
    pub lifetime_ns: Option<u64>,
    pub ended: bool,
    /// Smoothed, as TCP last had it, and its mean deviation.
    pub round_trip_ns: Option<u64>,
    pub round_trip_deviation_ns: Option<u64>,
}

/// Packets that the kernel dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drop {
    /// As `enum skb_drop_reason` of its kernel calls it, in small letters.
    pub reason: String,
    pub packets: u64,
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Number of its inode, as in `/proc/PID/ns/net`.
    pub inode: u32,
    pub container: ContainerId,
    /// Connections that found the queue of a listening socket full.
    pub listen_overflows: u64,
    /// Connections and requests for one that a listening socket dropped, those
    /// included.
    pub listen_drops: u64,
}
