//! What the kernel side told of a file or peer, as a name.

use profiler_ebpf::{
    ADDRESS_LENGTH, Connection, INET_ADDRESS_LENGTH, TARGET_TEXT_LENGTH, TargetKey, TargetUse,
    family,
};
use rustc_hash::FxHashSet;

use crate::{
    containers::Containers,
    profile::{Partial, Role},
    session::network::{Ends, Namespaces},
    syscalls::name,
};

/// Calls on a socket that listens.
const ACCEPTING: [&str; 3] = ["listen", "accept", "accept4"];

/// Families that have no addresses here, include/linux/socket.h.
const OTHER_FAMILIES: [(u16, &str); 4] = [
    (16, "netlink socket"),
    (17, "packet socket"),
    (38, "socket of the kernel's cryptography"),
    (40, "vsock socket"),
];

/// The path as it was passed.
pub fn path(usage: &TargetUse) -> (String, Option<Partial>) {
    let text = text(usage);
    let partial = if text.len() + 1 >= TARGET_TEXT_LENGTH {
        Some(Partial::Cut)
    } else if text.first() == Some(&b'/') {
        None
    } else {
        Some(Partial::Relative)
    };
    (String::from_utf8_lossy(text).into_owned(), partial)
}

pub fn text(usage: &TargetUse) -> &[u8] {
    let length = usize::from(usage.length).min(TARGET_TEXT_LENGTH);
    &usage.text[..length]
}

/// Who listens where: which end of a connection a socket is.
#[derive(Default)]
pub struct Hosts {
    namespaces: Namespaces,
    /// By network namespace, the ports at which connections were accepted.
    accepting: FxHashSet<(u32, u16)>,
}

impl Hosts {
    pub fn new(containers: &mut Containers, told: &[(TargetKey, TargetUse)]) -> Self {
        let accepting = told
            .iter()
            .filter(|(key, _)| ACCEPTING.contains(&name(key.number).as_str()))
            .map(|(_, usage)| (usage.namespace, usage.local_port))
            .collect();
        Self {
            namespaces: Namespaces::scan(containers),
            accepting,
        }
    }

    /// The peer of a socket.
    pub fn socket(&self, usage: &TargetUse) -> String {
        let mut connection = blank(usage);
        connection.family = usage.family;
        connection.local_port = usage.local_port;
        connection.remote_port = usage.remote_port;
        connection.path_is_peers = usage.path_is_peers;
        connection.path_length = usage.length;
        connection.namespace = usage.namespace;
        connection
            .address
            .copy_from_slice(&usage.text[..ADDRESS_LENGTH]);
        self.ends(&connection)
    }

    /// The peer at a `sockaddr` that a call passed.
    pub fn address(&self, usage: &TargetUse) -> String {
        let bytes = text(usage);
        let mut connection = blank(usage);
        let [low, high, rest @ ..] = bytes else {
            return "address without a family".to_owned();
        };
        connection.family = u16::from_ne_bytes([*low, *high]);
        match connection.family {
            family::UNIX => {
                let path = &rest[..rest.len().min(ADDRESS_LENGTH)];
                connection.address[..path.len()].copy_from_slice(path);
                connection.path_length = path.len() as u16;
                connection.path_is_peers = 1;
            }
            // struct sockaddr_in and sockaddr_in6, include/uapi/linux/in.h, in6.h:
            // the port, and behind it the address, of the latter after its flow.
            family::INET | family::INET6 => {
                let (skipped, length) = if connection.family == family::INET {
                    (2, 4)
                } else {
                    (6, 16)
                };
                let (Some(&[high, low]), Some(address)) =
                    (rest.first_chunk::<2>(), rest.get(skipped..skipped + length))
                else {
                    return "cut address".to_owned();
                };
                connection.remote_port = u16::from_be_bytes([high, low]);
                connection.address[INET_ADDRESS_LENGTH..INET_ADDRESS_LENGTH + length]
                    .copy_from_slice(address);
            }
            _ => {}
        }
        self.ends(&connection)
    }

    fn ends(&self, connection: &Connection) -> String {
        if !matches!(
            connection.family,
            family::INET | family::INET6 | family::UNIX
        ) {
            let known = OTHER_FAMILIES
                .iter()
                .find(|(family, _)| *family == connection.family);
            return known.map_or_else(
                || format!("socket of family {}", connection.family),
                |(_, name)| (*name).to_owned(),
            );
        }
        let mut ends = Ends::of(connection);
        let accepting = (connection.namespace, connection.local_port);
        let accepted = self.accepting.contains(&accepting).into();
        ends.find_role(connection, accepted, &self.namespaces);
        let (local, remote) = ends.service();
        let title = ends.protocol.title();
        match (ends.role, local.is_empty(), remote.is_empty()) {
            (_, true, true) => format!("{title} without an address"),
            (Role::Server, false, false) => format!("{title} {local} from {remote}"),
            (_, false, true) => format!("{title} {local}"),
            (_, _, false) => format!("{title} {remote}"),
        }
    }
}

fn blank(usage: &TargetUse) -> Connection {
    Connection {
        kind: usage.socket_type,
        protocol: usage.protocol,
        ..Connection::NEW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use profiler_ebpf::{protocol, socket_type};

    fn holding(bytes: &[u8]) -> TargetUse {
        let mut usage = TargetUse {
            length: bytes.len() as u16,
            socket_type: socket_type::STREAM,
            protocol: protocol::TCP,
            ..TargetUse::NEW
        };
        usage.text[..bytes.len()].copy_from_slice(bytes);
        usage
    }

    #[test]
    fn paths_say_what_they_lack() {
        assert_eq!(path(&holding(b"/etc/x")), ("/etc/x".to_owned(), None));
        assert_eq!(
            path(&holding(b"x")),
            ("x".to_owned(), Some(Partial::Relative))
        );
        assert_eq!(path(&holding(&[b'/'; 255])).1, Some(Partial::Cut));
    }

    #[test]
    fn a_port_that_accepts_is_a_servers() {
        let mut usage = TargetUse {
            family: family::INET,
            local_port: 80,
            remote_port: 40_000,
            ..holding(&[])
        };
        usage.text[..4].copy_from_slice(&[10, 0, 0, 1]);
        usage.text[16..20].copy_from_slice(&[10, 0, 0, 2]);
        let mut hosts = Hosts::default();
        assert_eq!(hosts.socket(&usage), "TCP 10.0.0.2:40000");
        hosts.accepting.insert((0, 80));
        assert_eq!(hosts.socket(&usage), "TCP 10.0.0.1:80 from 10.0.0.2");
    }

    #[test]
    fn addresses_of_each_family() {
        let nowhere = Hosts::default();
        let four = [2, 0, 0x15, 0x38, 10, 0, 0, 3, 0, 0];
        assert_eq!(nowhere.address(&holding(&four)), "TCP 10.0.0.3:5432");
        let mut six = [0; 28];
        six[0] = 10;
        six[3] = 80;
        six[23] = 1;
        assert_eq!(nowhere.address(&holding(&six)), "TCP [::1]:80");
        assert_eq!(
            nowhere.address(&holding(b"\x01\0/run/x.sock\0")),
            "UNIX stream /run/x.sock"
        );
        // Whatever a program passes.
        assert_eq!(nowhere.address(&holding(&[2])), "address without a family");
        assert_eq!(nowhere.address(&holding(&[2, 0, 1])), "cut address");
        assert_eq!(nowhere.address(&holding(&[16, 0])), "netlink socket");
    }
}
