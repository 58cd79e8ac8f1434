//! Servers on this host, found by their listening sockets.
//!
//! A server in a container is asked from within the container's network, so that
//! it does not matter whether a port is published or how containers are
//! connected.

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    sync::Arc,
};

use procfs::{
    net::{TcpNetEntry, TcpState},
    process::{FDTarget, Process, all_processes},
};
use rustc_hash::FxHashMap;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// What a server is, by the name of its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Postgres,
    Redis,
    Qdrant,
    Mysql,
    /// Anything else, which may speak HTTP.
    Other,
}

impl Kind {
    fn of_program(name: &str) -> Self {
        match name {
            "postgres" | "postmaster" => Self::Postgres,
            "redis-server" | "valkey-server" | "keydb-server" => Self::Redis,
            "qdrant" => Self::Qdrant,
            "mysqld" | "mariadbd" => Self::Mysql,
            _ => Self::Other,
        }
    }
}

/// A socket that listens.
#[derive(Clone, Debug)]
pub struct Server {
    pub kind: Kind,
    /// Of the processes that share the socket the one that started first.
    pub pid: u32,
    /// Its name, `/proc/PID/comm`.
    pub program: String,
    /// What it listens on, which may be all addresses, …
    pub bound: SocketAddr,
    /// … and where to connect to in its network namespace.
    pub address: SocketAddr,
    pub network: Network,
    /// `/proc/PID/cgroup`, as it is.
    pub cgroups: String,
}

/// A network namespace, which stays as long as this does.
#[derive(Clone, Debug)]
pub struct Network {
    inode: u64,
    namespace: Arc<File>,
}

impl Network {
    fn of(pid: u32) -> io::Result<Self> {
        let namespace = File::open(format!("/proc/{pid}/ns/net"))?;
        Ok(Self {
            inode: namespace.metadata()?.ino(),
            namespace: Arc::new(namespace),
        })
    }

    /// Puts the calling thread, and those that it starts, into it.
    ///
    /// # Errors
    /// If we may not.
    pub fn enter(&self) -> io::Result<()> {
        if fs::metadata("/proc/thread-self/ns/net")?.ino() != self.inode {
            let kind = Some(LinkNameSpaceType::Network);
            move_into_link_name_space(self.namespace.as_fd(), kind)?;
        }
        Ok(())
    }
}

/// The listening TCP sockets of the processes that are wanted, each once, by pid
/// and port. Processes that end meanwhile are left out.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn find(wanted: &dyn Fn(u32) -> bool) -> io::Result<Vec<Server>> {
    let processes = all_processes().map_err(io::Error::other)?;
    let mut processes: Vec<(u64, Process)> = processes
        .filter_map(Result::ok)
        .filter(|process| wanted(process.pid as u32))
        .filter_map(|process| Some((process.stat().ok()?.starttime, process)))
        .collect();
    processes.sort_by_key(|(start, process)| (*start, process.pid));
    let mut namespaces = FxHashMap::<u64, FxHashMap<u64, SocketAddr>>::default();
    let mut servers: Vec<Server> = Vec::new();
    for (_, process) in &processes {
        let pid = process.pid as u32;
        let Ok(network) = Network::of(pid) else {
            continue;
        };
        let listening = namespaces
            .entry(network.inode)
            .or_insert_with(|| listening(process));
        if listening.is_empty() {
            continue;
        }
        let descriptors = process.fd().into_iter().flatten().filter_map(Result::ok);
        for descriptor in descriptors {
            let FDTarget::Socket(inode) = descriptor.target else {
                continue;
            };
            // Taken out: its other processes started later.
            let Some(address) = listening.remove(&inode) else {
                continue;
            };
            let known = |server: &Server| {
                server.network.inode == network.inode
                    && server.pid == pid
                    && server.address.port() == address.port()
            };
            if servers.iter().any(known) {
                continue;
            }
            let program = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            let program = program.trim().to_owned();
            servers.push(Server {
                kind: Kind::of_program(&program),
                pid,
                program,
                bound: address,
                address: reachable(address),
                network: network.clone(),
                cgroups: fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default(),
            });
        }
    }
    servers.sort_by_key(|server| (server.pid, server.address.port()));
    Ok(servers)
}

/// Programs that pass connections on to a container: they are not the server.
const FORWARDERS: [&str; 4] = ["docker-proxy", "rootlessport", "slirp4netns", "pasta"];

/// The process that listens at an address of our own network; `None` where there
/// is none, or it may not be looked for.
pub fn listens_at(address: SocketAddr) -> Option<u32> {
    let ours = Network::of(std::process::id()).ok()?.inode;
    let found = find(&|_| true).ok()?.into_iter().find(|server| {
        let ip = server.bound.ip();
        server.network.inode == ours
            && server.bound.port() == address.port()
            && (ip.is_unspecified() || ip.to_canonical() == address.ip().to_canonical())
    })?;
    (!FORWARDERS.contains(&found.program.as_str())).then_some(found.pid)
}

/// Listening sockets of a process's network namespace, by inode.
fn listening(process: &Process) -> FxHashMap<u64, SocketAddr> {
    let entries = |table: procfs::ProcResult<Vec<TcpNetEntry>>| table.unwrap_or_default();
    let (four, six) = (entries(process.tcp()), entries(process.tcp6()));
    four.into_iter()
        .chain(six)
        .filter(|entry| entry.state == TcpState::Listen)
        .map(|entry| (entry.inode, entry.local_address))
        .collect()
}

/// A socket on all addresses, of IPv6 as well, is there for the loopback's of
/// IPv4, which every namespace has.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        ip => ip.to_canonical(),
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn our_own_socket_is_found_once() {
        let one = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let all = TcpListener::bind("[::]:0").expect("a port is free");
        let us = std::process::id();
        let found = find(&|pid| pid == us).expect("there is /proc");
        for socket in [one, all] {
            let port = socket.local_addr().expect("it is bound").port();
            let mut servers = found.iter().filter(|it| it.address.port() == port);
            let server = servers.next().expect("it is found");
            assert_eq!(server.pid, us);
            assert_eq!(server.kind, Kind::Other);
            assert_eq!(server.address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
            assert!(servers.next().is_none());
            assert_eq!(listens_at(server.address), Some(us));
            // We are there already.
            server.network.enter().expect("it is ours");
        }
    }
}
