//! The two ends of a socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use profiler_ebpf::{Connection, INET_ADDRESS_LENGTH, family, protocol, socket_type};

use super::namespaces::Namespaces;
use crate::profile::{Protocol, Role};

#[derive(Clone, Debug)]
pub struct Ends {
    pub protocol: Protocol,
    pub role: Role,
    pub namespace: u32,
    pub addresses: Addresses,
}

#[derive(Clone, Debug)]
pub enum Addresses {
    Inet {
        local: SocketAddr,
        /// Unspecified, with port 0, for a socket that is not connected.
        remote: SocketAddr,
    },
    Unix {
        /// Empty for a socket without a name, as those of socketpair(2).
        path: String,
        /// It is the other end that has the path.
        is_peers: bool,
    },
}

impl Ends {
    pub fn of(counted: &Connection) -> Self {
        let stream = counted.kind == socket_type::STREAM;
        let protocol = match (counted.family, counted.protocol) {
            (family::UNIX, _) if stream => Protocol::UnixStream,
            (family::UNIX, _) => Protocol::UnixDatagram,
            (_, protocol::TCP) => Protocol::Tcp,
            (_, protocol::UDP) => Protocol::Udp,
            (_, protocol::MPTCP) => Protocol::Mptcp,
            _ => Protocol::Other,
        };
        let addresses = if counted.family == family::UNIX {
            Addresses::Unix {
                path: path(counted),
                is_peers: counted.path_is_peers != 0,
            }
        } else {
            Addresses::Inet {
                local: SocketAddr::new(address(counted, 0), counted.local_port),
                remote: SocketAddr::new(address(counted, INET_ADDRESS_LENGTH), counted.remote_port),
            }
        };
        Self {
            protocol,
            role: Role::Peer,
            namespace: counted.namespace,
            addresses,
        }
    }

    /// `accepted` is not 0 when it was seen to be.
    pub fn find_role(&mut self, counted: &Connection, accepted: u64, namespaces: &Namespaces) {
        self.role = match &self.addresses {
            Addresses::Unix { path, is_peers } => {
                if self.protocol != Protocol::UnixStream || path.is_empty() {
                    Role::Peer
                } else if *is_peers {
                    Role::Client
                } else {
                    Role::Server
                }
            }
            Addresses::Inet { .. } if counted.kind != socket_type::STREAM => Role::Peer,
            Addresses::Inet { .. } if counted.connecting != 0 => Role::Client,
            Addresses::Inet { .. } if accepted != 0 => Role::Server,
            // It was there before: does anyone listen at its port?
            Addresses::Inet { local, .. } => {
                if namespaces.listens(self.namespace, local.port()) {
                    Role::Server
                } else {
                    Role::Client
                }
            }
        };
    }

    /// Both ends with their ports.
    pub fn full(&self) -> (String, String) {
        match &self.addresses {
            Addresses::Inet { local, remote } => (endpoint(local), endpoint(remote)),
            Addresses::Unix {
                path,
                is_peers: true,
            } => (String::new(), path.clone()),
            Addresses::Unix { path, .. } => (path.clone(), String::new()),
        }
    }

    /// Both ends without the port that is the client's own.
    pub fn service(&self) -> (String, String) {
        let Addresses::Inet { local, remote } = &self.addresses else {
            return self.full();
        };
        match self.role {
            Role::Server => (endpoint(local), host(remote)),
            Role::Client => (host(local), endpoint(remote)),
            Role::Peer if remote.port() != 0 => (host(local), endpoint(remote)),
            Role::Peer => (endpoint(local), String::new()),
        }
    }
}

fn endpoint(address: &SocketAddr) -> String {
    if address.port() == 0 && address.ip().is_unspecified() {
        String::new()
    } else {
        address.to_string()
    }
}

fn host(address: &SocketAddr) -> String {
    if address.ip().is_unspecified() {
        String::new()
    } else {
        address.ip().to_string()
    }
}

/// IPv4 in IPv6, as sockets of both families have it, is IPv4.
fn address(counted: &Connection, at: usize) -> IpAddr {
    let bytes = &counted.address[at..at + INET_ADDRESS_LENGTH];
    if counted.family == family::INET {
        let mut four = [0; 4];
        four.copy_from_slice(&bytes[..4]);
        IpAddr::V4(Ipv4Addr::from(four))
    } else {
        let mut sixteen = [0; INET_ADDRESS_LENGTH];
        sixteen.copy_from_slice(bytes);
        Ipv6Addr::from(sixteen).to_canonical()
    }
}

/// As `ss` shows it: a name that is in no file system with `@` in front.
fn path(counted: &Connection) -> String {
    let bytes = counted
        .address
        .get(..usize::from(counted.path_length))
        .unwrap_or_default();
    match bytes {
        [] => String::new(),
        [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")),
        path => {
            let end = path
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(path.len());
            String::from_utf8_lossy(&path[..end]).into_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(local: [u8; 4], remote: [u8; 4]) -> Connection {
        let mut counted = Connection {
            family: family::INET,
            kind: socket_type::STREAM,
            protocol: protocol::TCP,
            local_port: 40_000,
            remote_port: 5432,
            ..Connection::NEW
        };
        counted.address[..4].copy_from_slice(&local);
        counted.address[16..20].copy_from_slice(&remote);
        counted
    }

    fn told(counted: &Connection, accepted: u64) -> (Role, (String, String), (String, String)) {
        let mut ends = Ends::of(counted);
        ends.find_role(counted, accepted, &Namespaces::default());
        (ends.role, ends.full(), ends.service())
    }

    fn pair(left: &str, right: &str) -> (String, String) {
        (left.to_owned(), right.to_owned())
    }

    #[test]
    fn ends_by_role() {
        let counted = inet([10, 0, 0, 1], [10, 0, 0, 2]);
        let full = pair("10.0.0.1:40000", "10.0.0.2:5432");
        let client = (
            Role::Client,
            full.clone(),
            pair("10.0.0.1", "10.0.0.2:5432"),
        );
        assert_eq!(told(&counted, 0), client);
        let server = (Role::Server, full, pair("10.0.0.1:40000", "10.0.0.2"));
        assert_eq!(told(&counted, 1), server);
    }

    #[test]
    fn both_families_meet() {
        let four = inet([127, 0, 0, 1], [127, 0, 0, 2]);
        let mut mapped = Connection {
            family: family::INET6,
            ..four
        };
        mapped.address = [0; profiler_ebpf::ADDRESS_LENGTH];
        for (at, last) in [(0, 1), (16, 2)] {
            mapped.address[at + 10..at + 16].copy_from_slice(&[0xff, 0xff, 127, 0, 0, last]);
        }
        assert_eq!(Ends::of(&mapped).full(), Ends::of(&four).full());
    }

    #[test]
    fn paths_as_ss_shows_them() {
        let of = |bytes: &[u8], is_peers| {
            let mut counted = Connection {
                family: family::UNIX,
                kind: socket_type::STREAM,
                path_length: bytes.len() as u16,
                path_is_peers: is_peers,
                ..Connection::NEW
            };
            counted.address[..bytes.len()].copy_from_slice(bytes);
            told(&counted, 0)
        };
        let (role, full, _) = of(b"/run/x.sock\0", 1);
        assert_eq!((role, full), (Role::Client, pair("", "/run/x.sock")));
        let (role, full, _) = of(b"\0name", 0);
        assert_eq!((role, full), (Role::Server, pair("@name", "")));
        let (role, full, _) = of(b"", 0);
        assert_eq!((role, full), (Role::Peer, pair("", "")));
    }
}
