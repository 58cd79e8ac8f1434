//! Reading the kernel's sockets.

use aya_ebpf::helpers::{
    bpf_probe_read_kernel, bpf_probe_read_kernel_buf, generated::bpf_get_socket_cookie,
};
use profiler_ebpf::{
    ADDRESS_LENGTH, Connection, Descriptor, INET_ADDRESS_LENGTH, KernelOffsets, family,
};

use crate::{
    maps::{network_setting, setting},
    task::{Task, read},
};

/// Bytes of a `sockaddr_un` before the path.
const PATH_OFFSET: u32 = 2;

/// A `struct sock`. The address comes from the kernel; every read is checked by
/// the kernel and yields 0 when it fails.
#[derive(Clone, Copy)]
pub struct Sock(pub u64);

/// What the kernel calls the socket: the key of its entry, or 0 for none.
/// `pointer` is an argument of a tracepoint, as the verifier must see it.
#[inline(always)]
pub fn key(pointer: *mut core::ffi::c_void) -> u64 {
    if network_setting!(has_cookies) != 0 {
        if pointer.is_null() {
            return 0;
        }
        // SAFETY: the kernel's own pointer to a socket.
        unsafe { bpf_get_socket_cookie(pointer) }
    } else {
        Sock(pointer as u64).inode()
    }
}

impl Sock {
    /// The socket behind the running task's descriptor `number`.
    #[inline(always)]
    pub fn of_descriptor(task: Task, number: u32) -> Option<Self> {
        if !matches!(task.descriptor(number), Descriptor::Socket) {
            return None;
        }
        Some(Self::of_file(task.file(number)))
    }

    /// The socket behind a `struct file`, which must be one's.
    #[inline(always)]
    pub fn of_file(file: u64) -> Self {
        let socket: u64 = read(file, network_setting!(offsets.file_private));
        Self(read(socket, network_setting!(offsets.socket_sock)))
    }

    #[inline(always)]
    pub fn family(self) -> u16 {
        read(self.0, network_setting!(offsets.family))
    }

    #[inline(always)]
    pub fn kind(self) -> u16 {
        read(self.0, network_setting!(offsets.kind))
    }

    #[inline(always)]
    pub fn protocol(self) -> u16 {
        read(self.0, network_setting!(offsets.protocol))
    }

    /// Number of its inode in sockfs; 0 while no file is open that shows it.
    #[inline(always)]
    pub fn inode(self) -> u64 {
        let socket: u64 = read(self.0, network_setting!(offsets.socket));
        if socket == 0 {
            return 0;
        }
        let file: u64 = read(socket, network_setting!(offsets.socket_file));
        if file == 0 {
            return 0;
        }
        let inode: u64 = read(file, setting!(offsets.file_inode));
        read(inode, network_setting!(offsets.inode_number))
    }

    /// Who it is.
    #[inline(always)]
    pub fn describe(self, connection: &mut Connection) {
        let net: u64 = read(self.0, network_setting!(offsets.namespace));
        connection.namespace = read(net, network_setting!(offsets.namespace_inode));
        connection.family = self.family();
        connection.kind = self.kind();
        connection.protocol = self.protocol();
        connection.inode = self.inode();
        if connection.family == family::UNIX {
            self.describe_unix(connection);
        } else {
            self.addresses(connection);
        }
        self.transmission(connection);
        connection.retransmits_before = connection.retransmits;
    }

    /// Addresses and ports, which a connection has when it is made.
    #[inline(always)]
    pub fn addresses(self, connection: &mut Connection) {
        connection.local_port = read(self.0, network_setting!(offsets.local_port));
        let remote_port: u16 = read(self.0, network_setting!(offsets.remote_port));
        connection.remote_port = u16::from_be(remote_port);
        let (local, remote) = connection.address.split_at_mut(INET_ADDRESS_LENGTH);
        let (local, remote) = (local.as_mut_ptr(), remote.as_mut_ptr());
        if connection.family == family::INET {
            copy::<[u8; 4]>(local, self.0, network_setting!(offsets.local_address));
            copy::<[u8; 4]>(remote, self.0, network_setting!(offsets.remote_address));
        } else {
            let (from, to) = (
                network_setting!(offsets.local_address_6),
                network_setting!(offsets.remote_address_6),
            );
            // Absent in a kernel without IPv6.
            if from != KernelOffsets::ABSENT {
                copy::<[u8; 16]>(local, self.0, from);
                copy::<[u8; 16]>(remote, self.0, to);
            }
        }
    }

    /// A socket that was accepted or made by socketpair(2) knows its peer; one
    /// that was accepted has its listener's path, one that connected only its
    /// peer has one.
    #[inline(always)]
    fn describe_unix(self, connection: &mut Connection) {
        let peer = Self(read(self.0, network_setting!(offsets.unix_peer)));
        if peer.0 != 0 {
            connection.peer_inode = peer.inode();
        }
        let mut address: u64 = read(self.0, network_setting!(offsets.unix_address));
        if address == 0 && peer.0 != 0 {
            address = read(peer.0, network_setting!(offsets.unix_address));
            connection.path_is_peers = 1;
        }
        if address == 0 {
            return;
        }
        let length: u32 = read(address, network_setting!(offsets.unix_length));
        let length = length
            .saturating_sub(PATH_OFFSET)
            .min(ADDRESS_LENGTH as u32 - 4);
        let path = address + u64::from(network_setting!(offsets.unix_name) + PATH_OFFSET);
        // SAFETY: the kernel checks the address; the length, at most that of
        // `sun_path`, 108, is within the buffer, which is ours.
        let copied = unsafe {
            bpf_probe_read_kernel_buf(
                path as *const u8,
                &mut connection.address[..length as usize],
            )
        };
        if copied.is_ok() {
            connection.path_length = length as u16;
        }
    }

    /// What TCP measures.
    #[inline(always)]
    pub fn transmission(self, connection: &mut Connection) {
        if !connection.is_tcp() {
            return;
        }
        // srtt_us holds eight times the average, mdev_us four times the
        // deviation (net/ipv4/tcp_input.c, tcp_rtt_estimator, 5.10 to 7.2).
        let round_trip: u32 = read(self.0, network_setting!(offsets.round_trip));
        if round_trip != 0 {
            connection.round_trip_us = round_trip >> 3;
            let deviation: u32 = read(self.0, network_setting!(offsets.round_trip_deviation));
            connection.round_trip_deviation_us = deviation >> 2;
        }
        self.retransmits(connection);
    }

    #[inline(always)]
    pub fn retransmits(self, connection: &mut Connection) {
        connection.retransmits = read(self.0, network_setting!(offsets.retransmits));
    }

    #[inline(always)]
    pub fn error(self) -> u32 {
        read(self.0, network_setting!(offsets.error))
    }
}

#[inline(always)]
fn copy<T>(into: *mut u8, base: u64, offset: u32) {
    // SAFETY: the kernel checks the address; `into` has room for 16 bytes,
    // which no T is larger than.
    unsafe {
        if let Ok(value) = bpf_probe_read_kernel((base + u64::from(offset)) as *const T) {
            into.cast::<T>().write_unaligned(value);
        }
    }
}
