//! What crosses the network: bytes by thread, and the life of each connection.

use crate::{COMM_LENGTH, ProcessKey};

/// Which way data goes, seen from the thread that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum Direction {
    Sent = 0,
    Received = 1,
}

impl Direction {
    pub const COUNT: usize = 2;

    pub fn from_u32(value: u32) -> Option<Self> {
        [Self::Sent, Self::Received].get(value as usize).copied()
    }
}

/// Address families, include/linux/socket.h.
pub mod family {
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
}

/// Kinds of sockets, include/linux/net.h.
pub mod socket_type {
    pub const STREAM: u16 = 1;
    pub const DATAGRAM: u16 = 2;
}

/// Protocols, include/uapi/linux/in.h.
pub mod protocol {
    pub const TCP: u16 = 6;
    pub const UDP: u16 = 17;
    /// Multipath TCP.
    pub const MPTCP: u16 = 262;
}

/// States of a TCP connection, include/net/tcp_states.h.
pub mod tcp_state {
    pub const ESTABLISHED: u32 = 1;
    pub const SYN_SENT: u32 = 2;
    pub const SYN_RECV: u32 = 3;
    pub const CLOSE: u32 = 7;
}

/// What went one way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Traffic {
    /// Payload, without headers.
    pub bytes: u64,
    /// Calls that moved something; of datagrams, the datagrams.
    pub messages: u64,
}

/// Exchanges that began one way: a request is the first message after one the
/// other way, and is answered by the first message that comes the other way then.
/// Requests that are sent ahead of their answers are one.
///
/// For a client they are those that began with [`Direction::Sent`]: they last from
/// when the kernel took its request over until it had read of the answer. For a
/// server, those that began with [`Direction::Received`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Exchanges {
    /// Those that were answered, …
    pub count: u64,
    /// … their sum in nanoseconds, …
    pub ns: u64,
    /// … and the longest.
    pub longest_ns: u64,
}

/// Says when a stack is due: it ticks at every so many bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ByteClock {
    /// Bytes since the last tick.
    pub residual: u64,
    /// Bytes from tick to tick, a power of two.
    pub period: u64,
    /// When it was last looked at, nanoseconds.
    pub checked: u64,
    /// Bytes before those of `residual` that no stack stands for yet.
    pub owed: u64,
    /// Not zero: the thread's first message this way has its stack.
    pub begun: u64,
}

/// A thread's use of the network. Key of the map: its tid. Exact.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ThreadTraffic {
    pub process: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    /// By [`Direction`].
    pub traffic: [Traffic; Direction::COUNT],
    /// When the next stack is due, by [`Direction`].
    pub clocks: [ByteClock; Direction::COUNT],
    pub thread_name: [u8; COMM_LENGTH],
    pub process_name: [u8; COMM_LENGTH],
}

/// A thread that used the network ended, or runs another program now.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TrafficEvent {
    pub kind: u32,
    pub tid: u32,
    pub traffic: ThreadTraffic,
}

/// A TCP connection that a listening socket got is established.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct AcceptedEvent {
    pub kind: u32,
    pub reserved: u32,
    /// Key of [`Connection`].
    pub socket: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time: u64,
}

/// Room for the addresses of a socket: two of 16 bytes, or `sun_path` with its
/// terminator.
pub const ADDRESS_LENGTH: usize = 112;
/// Of the family INET both addresses are the first 4 of their 16 bytes.
pub const INET_ADDRESS_LENGTH: usize = 16;

/// A socket with what went through it. Key of the map: its cookie, which `ss -e`
/// shows too; before 6.3 the number of its inode.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Connection {
    /// Who used it first.
    pub process: ProcessKey,
    pub cgroup_v2: u64,
    pub cgroup_v1: u64,
    pub process_name: [u8; COMM_LENGTH],
    /// Of [`family`].
    pub family: u16,
    /// Of [`socket_type`].
    pub kind: u16,
    /// Of [`protocol`].
    pub protocol: u16,
    /// In the host's order.
    pub local_port: u16,
    pub remote_port: u16,
    /// Bytes of `address` in use for a path; its first is 0 for a name that is in
    /// no file system (unix(7), abstract).
    pub path_length: u16,
    /// Not zero when the path is the peer's.
    pub path_is_peers: u16,
    pub reserved: u16,
    /// Inode number of its network namespace.
    pub namespace: u32,
    /// Local and remote address in the network's order; or the path, its own
    /// or else its peer's.
    pub address: [u8; ADDRESS_LENGTH],
    /// Inode number of the socket, and of the one that it is connected to when
    /// that is local (AF_UNIX); 0 when not known.
    pub inode: u64,
    pub peer_inode: u64,
    /// `CLOCK_MONOTONIC`, nanoseconds: when it was first and last used, …
    pub first: u64,
    pub last: u64,
    /// … when connect(2) was called, when that had succeeded, and when it was
    /// closed; 0 when not seen.
    pub connecting: u64,
    pub established: u64,
    pub ended: u64,
    /// By [`Direction`].
    pub traffic: [Traffic; Direction::COUNT],
    /// By the [`Direction`] of the request.
    pub exchanges: [Exchanges; Direction::COUNT],
    /// `CLOCK_MONOTONIC`, nanoseconds: the first message that went the way of the
    /// last one, since one went the other way; 0 before the first.
    pub turned: u64,
    /// [`Direction`] of the last message, and of the first.
    pub last_direction: u32,
    pub first_direction: u32,
    /// Smoothed round-trip time and its mean deviation as the kernel last had
    /// them, microseconds; 0 when not measured.
    pub round_trip_us: u32,
    pub round_trip_deviation_us: u32,
    /// Segments sent again: of the connection's whole life, when it was first
    /// seen and last.
    pub retransmits_before: u32,
    pub retransmits: u32,
    pub resets_sent: u32,
    pub resets_received: u32,
    /// Packets for it that were dropped.
    pub drops: u32,
    /// `sk_err` when it was closed: of a connect that failed, why.
    pub error: u32,
    /// Process id of another process that used it; 0: none did.
    pub other_tgid: u32,
}

impl Connection {
    /// Whether the kernel keeps TCP's figures for it.
    #[inline(always)]
    pub const fn is_tcp(&self) -> bool {
        self.protocol == protocol::TCP
            && (self.family == family::INET || self.family == family::INET6)
    }

    pub const NEW: Self = Self {
        process: ProcessKey {
            tgid: 0,
            exec_id: 0,
            start_boottime: 0,
        },
        cgroup_v2: 0,
        cgroup_v1: 0,
        process_name: [0; COMM_LENGTH],
        family: 0,
        kind: 0,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        path_length: 0,
        path_is_peers: 0,
        reserved: 0,
        namespace: 0,
        address: [0; ADDRESS_LENGTH],
        inode: 0,
        peer_inode: 0,
        first: 0,
        last: 0,
        connecting: 0,
        established: 0,
        ended: 0,
        traffic: [Traffic {
            bytes: 0,
            messages: 0,
        }; Direction::COUNT],
        exchanges: [Exchanges {
            count: 0,
            ns: 0,
            longest_ns: 0,
        }; Direction::COUNT],
        turned: 0,
        last_direction: 0,
        first_direction: 0,
        round_trip_us: 0,
        round_trip_deviation_us: 0,
        retransmits_before: 0,
        retransmits: 0,
        resets_sent: 0,
        resets_received: 0,
        drops: 0,
        error: 0,
        other_tgid: 0,
    };
}

/// What the sockets' programs must know of the kernel; zeros when the source is
/// off, and constant as [`crate::Settings`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NetworkSettings {
    /// Not zero when the network is recorded.
    pub enabled: u32,
    /// Not zero when `offsets` are those of this kernel.
    pub knows_sockets: u32,
    /// Not zero when the kernel tells of each message (`sock_send_length`, 6.3)
    /// and gives sockets a cookie in these hooks (5.12). Otherwise they are known
    /// by the number of their inode, which they have while a file is open.
    pub has_cookies: u32,
    /// Not zero when `kfree_skb` says why (5.17), and for whom (6.11).
    pub has_drop_reason: u32,
    pub has_drop_socket: u32,
    pub offsets: NetworkOffsets,
}

/// Byte offsets in the kernel's structures of sockets, from its BTF; or
/// [`crate::KernelOffsets::ABSENT`].
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NetworkOffsets {
    pub family: u32,
    pub local_address: u32,
    pub remote_address: u32,
    pub local_address_6: u32,
    pub remote_address_6: u32,
    pub local_port: u32,
    pub remote_port: u32,
    pub namespace: u32,
    pub namespace_inode: u32,
    pub kind: u32,
    pub protocol: u32,
    pub error: u32,
    pub socket: u32,
    pub round_trip: u32,
    pub round_trip_deviation: u32,
    pub retransmits: u32,
    pub unix_address: u32,
    pub unix_peer: u32,
    /// In `unix_address`: the length of the name, which has the family in front,
    /// and the name.
    pub unix_length: u32,
    pub unix_name: u32,
    pub socket_file: u32,
    pub socket_sock: u32,
    pub inode_number: u32,
    pub file_private: u32,
}

/// Per-CPU counters of the network, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum NetworkCounter {
    /// Sockets that did not fit the table: their bytes count for their threads.
    ConnectionsRefused = 0,
    /// Bytes of threads that did not fit theirs.
    BytesUnaccounted = 1,
    /// Accounts of ended threads that found the ring full.
    ThreadsLost = 2,
    /// Established connections that found it full: they are dated from their
    /// first message.
    AcceptedLost = 3,
    /// Retransmits, and resets sent and received, of connections that are not in
    /// the table: not wanted, never used, or of nobody.
    OtherRetransmits = 4,
    OtherResetsSent = 5,
    OtherResetsReceived = 6,
    /// Connections that listening sockets got.
    Accepted = 7,
    /// Stacks that stand for more than [`NETWORK_PERIOD_BYTES`], since too many
    /// were due.
    StacksThinned = 8,
    /// Sockets that came into the table.
    ConnectionsMade = 9,
}

impl NetworkCounter {
    pub const COUNT: usize = 10;
    /// Dropped packets are counted behind the named counters, by
    /// `enum skb_drop_reason`; what is beyond the last one, in the last.
    pub const DROPS: u32 = Self::COUNT as u32;
    pub const DROP_REASONS: usize = 256;
    pub const TOTAL: usize = Self::COUNT + Self::DROP_REASONS;
}

/// How many stacks are taken, for each CPU.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct NetworkThinning {
    /// Bytes that one stack stands for, or more.
    pub period: u64,
    /// Start of the current window, nanoseconds.
    pub window: u64,
    /// Stacks that became due in it, …
    pub taken: u64,
    /// … and those of threads' first messages.
    pub first: u64,
}

/// Bytes that a stack stands for at least.
pub const NETWORK_PERIOD_BYTES: u64 = 16 << 10;
/// Entries of `CONNECTIONS` while the network is recorded. Userspace takes out
/// what has ended.
pub const MAX_CONNECTIONS: usize = 1 << 15;
