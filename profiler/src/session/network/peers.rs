//! Which sockets are the two ends of one connection.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use super::{Socket, addresses::Addresses, namespaces::Namespaces};
use crate::profile::{Peer, Protocol};

/// Names the other end of each socket where that is on this host: a socket that
/// was used too, or the container that has the address.
pub fn find(sockets: &mut [Socket], namespaces: &Namespaces) {
    let mut by_ends: FxHashMap<(Protocol, SocketAddr, SocketAddr), Vec<usize>> =
        FxHashMap::default();
    let mut by_inode: FxHashMap<u64, usize> = FxHashMap::default();
    for (index, socket) in sockets.iter().enumerate() {
        match &socket.ends.addresses {
            Addresses::Inet { local, remote } if remote.port() != 0 => by_ends
                .entry((socket.ends.protocol, *local, *remote))
                .or_default()
                .push(index),
            Addresses::Inet { .. } => {}
            Addresses::Unix { .. } => {
                by_inode.insert(socket.counted.inode, index);
            }
        }
    }
    let named: Vec<Option<Peer>> = sockets
        .iter()
        .enumerate()
        .map(|(index, socket)| {
            let other = match &socket.ends.addresses {
                Addresses::Inet { local, remote } => by_ends
                    .get(&(socket.ends.protocol, *remote, *local))
                    .and_then(|others| facing(sockets, index, others)),
                Addresses::Unix { .. } if socket.counted.peer_inode == 0 => None,
                Addresses::Unix { .. } => by_inode.get(&socket.counted.peer_inode).copied(),
            };
            match other {
                Some(other) => Some(Peer {
                    container: sockets[other].container,
                    process: Some(sockets[other].process),
                }),
                None => elsewhere(socket, namespaces),
            }
        })
        .collect();
    for (socket, peer) in sockets.iter_mut().zip(named) {
        socket.peer = peer;
    }
}

/// Of the sockets with the same addresses the other way round, the one in the
/// same network namespace; in another one, if the addresses are valid beyond it
/// and only one has them.
fn facing(sockets: &[Socket], index: usize, others: &[usize]) -> Option<usize> {
    let socket = &sockets[index];
    let namespace = socket.ends.namespace;
    let same = others
        .iter()
        .copied()
        .filter(|&other| other != index && sockets[other].ends.namespace == namespace)
        // A port is used again: the one that was there at the same time.
        .max_by_key(|&other| overlap(socket, &sockets[other]));
    if same.is_some() {
        return same;
    }
    let Addresses::Inet { local, remote } = &socket.ends.addresses else {
        return None;
    };
    if local.ip().is_loopback() || remote.ip().is_loopback() {
        return None;
    }
    let mut namespaces: Vec<u32> = others
        .iter()
        .map(|&other| sockets[other].ends.namespace)
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    if namespaces.len() != 1 {
        return None;
    }
    others
        .iter()
        .copied()
        .max_by_key(|&other| overlap(socket, &sockets[other]))
}

/// For how long both were used; less than 0 for as long as they were apart.
fn overlap(left: &Socket, right: &Socket) -> i64 {
    let begin = left.counted.first.max(right.counted.first);
    let end = left.counted.last.min(right.counted.last);
    end as i64 - begin as i64
}

/// The container that has the remote address.
fn elsewhere(socket: &Socket, namespaces: &Namespaces) -> Option<Peer> {
    let Addresses::Inet { remote, .. } = &socket.ends.addresses else {
        return None;
    };
    let container = namespaces.container_of(remote.ip())?;
    Some(Peer {
        container,
        process: None,
    })
}
