//! Network namespaces, as the files in `/proc` of one process in each tell of
//! them: who has which address, who listens, and which queues were full.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::unix::fs::MetadataExt as _,
};

use rustc_hash::{FxHashMap, FxHashSet};

use super::present;
use crate::{
    containers::Containers,
    profile::{ContainerId, Namespace},
};

/// Namespaces that are looked at.
const MAX_NAMESPACES: usize = 1024;
/// Lines that are read of a file that has one for each socket or address.
const MAX_LINES: usize = 1 << 14;
/// `TCP_LISTEN` as `/proc/net/tcp` has it.
const LISTEN: &str = "0A";

#[derive(Default)]
pub struct Namespaces {
    /// By inode number.
    known: BTreeMap<u32, Facts>,
    /// `None`: several have the address.
    addresses: FxHashMap<IpAddr, Option<ContainerId>>,
}

#[derive(Default)]
struct Facts {
    container: ContainerId,
    listening: FxHashSet<u16>,
    unix: FxHashSet<u64>,
    overflows: u64,
    drops: u64,
}

impl Namespaces {
    /// Looks at the namespaces of all processes.
    pub fn scan(containers: &mut Containers) -> Self {
        let mut namespaces = Self::default();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
                continue;
            };
            let Ok(namespace) = fs::metadata(format!("/proc/{pid}/ns/net")) else {
                continue;
            };
            let inode = namespace.ino() as u32;
            if namespaces.known.contains_key(&inode) || namespaces.known.len() >= MAX_NAMESPACES {
                continue;
            }
            let (v2, v1) = containers.cgroups_of(pid);
            let container = containers.resolve(v2, v1, pid);
            namespaces.learn(inode, pid, container);
        }
        namespaces
    }

    fn learn(&mut self, inode: u32, pid: u32, container: ContainerId) {
        let of = |name: &str| format!("/proc/{pid}/net/{name}");
        let netstat = fs::read_to_string(of("netstat")).unwrap_or_default();
        let facts = Facts {
            container,
            listening: ["tcp", "tcp6"]
                .into_iter()
                .flat_map(|name| listening(&of(name)))
                .collect(),
            unix: present::unix(pid).unwrap_or_default(),
            overflows: counter(&netstat, "ListenOverflows"),
            drops: counter(&netstat, "ListenDrops"),
        };
        self.known.insert(inode, facts);
        let routes = fs::read_to_string(of("fib_trie")).unwrap_or_default();
        let six = fs::read_to_string(of("if_inet6")).unwrap_or_default();
        for address in addresses_4(&routes).chain(addresses_6(&six)) {
            if address.is_loopback() {
                continue;
            }
            self.addresses
                .entry(address)
                .and_modify(|known| {
                    if *known != Some(container) {
                        *known = None;
                    }
                })
                .or_insert(Some(container));
        }
    }

    pub fn listens(&self, namespace: u32, port: u16) -> bool {
        self.known
            .get(&namespace)
            .is_some_and(|facts| facts.listening.contains(&port))
    }

    /// Whether the UNIX socket with this inode was there.
    pub fn has_unix(&self, namespace: u32, inode: u64) -> bool {
        self.known
            .get(&namespace)
            .is_some_and(|facts| facts.unix.contains(&inode))
    }

    /// The container that has an address; `None` when none or several do.
    pub fn container_of(&self, address: IpAddr) -> Option<ContainerId> {
        self.addresses.get(&address).copied().flatten()
    }

    /// Where listening sockets dropped connections since `before`. Of a namespace
    /// that is new since then, all counts.
    pub fn overflows_since(&self, before: &Self) -> Vec<Namespace> {
        self.known
            .iter()
            .map(|(inode, facts)| {
                let before = before.known.get(inode);
                Namespace {
                    inode: *inode,
                    container: facts.container,
                    listen_overflows: facts
                        .overflows
                        .saturating_sub(before.map_or(0, |facts| facts.overflows)),
                    listen_drops: facts
                        .drops
                        .saturating_sub(before.map_or(0, |facts| facts.drops)),
                }
            })
            .filter(|namespace| namespace.listen_overflows | namespace.listen_drops != 0)
            .collect()
    }
}

/// Ports that sockets listen at. They come first, so the others, of which there
/// can be very many, are not read (net/ipv4/tcp_ipv4.c, tcp_seq_start).
fn listening(path: &str) -> Vec<u16> {
    let Ok(file) = fs::File::open(path) else {
        return Vec::new();
    };
    BufReader::new(file)
        .lines()
        .skip(1)
        .take(MAX_LINES)
        .map_while(|line| {
            let line = line.ok()?;
            let mut words = line.split_whitespace().skip(1);
            let (local, state) = (words.next()?, words.nth(1)?);
            if state != LISTEN {
                return None;
            }
            u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()
        })
        .collect()
}

/// A counter of `/proc/net/netstat`: a line of names and one of values for each
/// group.
fn counter(text: &str, name: &str) -> u64 {
    let lines: Vec<&str> = text.lines().collect();
    lines
        .chunks_exact(2)
        .find_map(|pair| {
            let place = pair[0].split(' ').position(|word| word == name)?;
            pair[1].split(' ').nth(place)?.parse().ok()
        })
        .unwrap_or(0)
}

/// Of `/proc/net/fib_trie` what comes before `/32 host LOCAL`.
fn addresses_4(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    let mut last = None;
    text.lines().take(MAX_LINES).filter_map(move |line| {
        let line = line.trim();
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse::<Ipv4Addr>().ok();
            return None;
        }
        line.starts_with("/32 host LOCAL")
            .then_some(last.map(IpAddr::V4))?
    })
}

/// Of `/proc/net/if_inet6` the first word: 32 hexadecimal digits.
fn addresses_6(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    text.lines().take(MAX_LINES).filter_map(|line| {
        let digits = line.split_whitespace().next()?;
        let bits = u128::from_str_radix(digits, 16).ok()?;
        let address = Ipv6Addr::from(bits);
        // Those of links are the same everywhere.
        (!address.is_unicast_link_local()).then_some(IpAddr::V6(address))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops\nTcpExt: 1 22 333\n\
                    IpExt: InNoRoutes\nIpExt: 4\n";
        assert_eq!(counter(text, "ListenOverflows"), 22);
        assert_eq!(counter(text, "ListenDrops"), 333);
        assert_eq!(counter(text, "InNoRoutes"), 4);
        assert_eq!(counter(text, "Nothing"), 0);
        assert_eq!(counter("cut", "Nothing"), 0);
    }

    #[test]
    fn addresses_of_a_namespace() {
        let routes = "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.17.0.0\n        /16 link UNICAST\n     \
                      |-- 172.17.0.2\n        /32 host LOCAL\n     |-- 172.17.255.255\n        \
                      /32 link BROADCAST\n";
        let four: Vec<IpAddr> = addresses_4(routes).collect();
        assert_eq!(four, ["172.17.0.2".parse::<IpAddr>().expect("an address")]);
        let six = "fd000000000000000000000000000002 01 40 00 80 eth0\n\
                   fe800000000000000000000000000001 02 40 20 80 eth0\n";
        let six: Vec<IpAddr> = addresses_6(six).collect();
        assert_eq!(six, ["fd00::2".parse::<IpAddr>().expect("an address")]);
    }

    #[test]
    fn who_listens_here() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let port = socket.local_addr().expect("it is bound").port();
        assert!(listening("/proc/self/net/tcp").contains(&port));
        drop(socket);
        assert!(!listening("/proc/self/net/tcp").contains(&port));
    }
}
