//! Connections, added up by process and service: who has a pool of them, and how
//! much of it is in use.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, btree_map, hash_map::Entry},
};

use profiler_ebpf::{Connection as Counted, ProcessKey, family};
use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    Socket,
    exchanges::{self, Interval},
    namespaces::Namespaces,
    present,
    samples::Group,
};
use crate::{
    process::lives,
    profile::{Pool, PoolSamples, ProcessId, Protocol, Role},
};

/// Pools that are told of.
const POOLS_SHOWN: usize = 1000;
/// Processes whose descriptors are looked at.
const MAX_PROCESSES: usize = 4096;

/// The recording, and what was there before and after.
pub struct Window<'a> {
    pub whole: Interval,
    pub before: &'a Namespaces,
    pub after: &'a Namespaces,
    /// Otherwise who was connected to may have been so before.
    pub sees_accepts: bool,
}

/// Connections of processes that used the network, to services that are no clients
/// of theirs: such that nothing went through.
#[derive(Default)]
pub struct Unused {
    by_service: FxHashMap<(ProcessKey, String), u64>,
    pub is_incomplete: bool,
}

impl Unused {
    /// `used` are all those that something went through.
    pub fn find<'c>(
        used: impl Iterator<Item = &'c Counted> + Clone,
        namespaces: &Namespaces,
    ) -> Self {
        let mut unused = Self::default();
        let mut known: FxHashSet<u64> = used.clone().map(|counted| counted.inode).collect();
        let mut by_namespace = FxHashMap::default();
        let mut processes = FxHashSet::default();
        for counted in used {
            let key = counted.process;
            if counted.family == family::UNIX || !processes.insert(key) {
                continue;
            }
            if processes.len() > MAX_PROCESSES {
                unused.is_incomplete = true;
                break;
            }
            let own = present::sockets_of(key.tgid);
            let there = match by_namespace.entry(counted.namespace) {
                Entry::Occupied(there) => there.into_mut(),
                Entry::Vacant(place) => {
                    let there = present::established(key.tgid);
                    // Of one that ended nothing can be read: another process may
                    // tell of this namespace.
                    if !lives(key) {
                        continue;
                    }
                    place.insert(there)
                }
            };
            let Some(there) = there else {
                unused.is_incomplete = true;
                continue;
            };
            if !lives(key) {
                continue;
            }
            for connection in there {
                // Of processes that share it, the first has it.
                if own.contains(&connection.inode)
                    && !namespaces.listens(counted.namespace, connection.local.port())
                    && known.insert(connection.inode)
                {
                    let service = connection.remote.to_string();
                    *unused.by_service.entry((key, service)).or_default() += 1;
                }
            }
        }
        unused
    }
}

type Key = (ProcessId, Protocol, Role, String);

/// The most used first, and how many are left out.
pub fn tell(
    sockets: &[Socket],
    samples: FxHashMap<Group, PoolSamples>,
    unused: &Unused,
    window: &Window<'_>,
) -> (Vec<Pool>, u64) {
    let mut pools: BTreeMap<Key, Pool> = BTreeMap::new();
    let mut processes: FxHashMap<ProcessKey, ProcessId> = FxHashMap::default();
    for socket in sockets {
        processes.insert(socket.counted.process, socket.process);
        let Some(group) = Group::of(&socket.counted, &socket.ends) else {
            continue;
        };
        if exchanges::is_connecting(&socket.counted) {
            continue;
        }
        let key = (socket.process, group.protocol, group.role, group.service);
        add(pool(&mut pools, key), socket, window);
    }
    for ((process, service), count) in &unused.by_service {
        if let Some(&process) = processes.get(process) {
            let key = (process, Protocol::Tcp, Role::Client, service.clone());
            let pool = pool(&mut pools, key);
            pool.unused = Some(pool.unused.unwrap_or(0) + count);
        }
    }
    for (group, samples) in samples {
        if let Some(&process) = processes.get(&group.process)
            && let btree_map::Entry::Occupied(mut pool) =
                pools.entry((process, group.protocol, group.role, group.service))
        {
            pool.get_mut().samples.add(samples);
        }
    }
    let mut pools: Vec<Pool> = pools.into_values().collect();
    pools.sort_by_key(|pool| Reverse((pool.in_use_ns, pool.requests)));
    let not_shown = pools.len().saturating_sub(POOLS_SHOWN);
    pools.truncate(POOLS_SHOWN);
    (pools, not_shown as u64)
}

fn pool(pools: &mut BTreeMap<Key, Pool>, key: Key) -> &mut Pool {
    pools.entry(key).or_insert_with_key(|key| Pool {
        process: key.0,
        protocol: key.1,
        role: key.2,
        service: key.3.clone(),
        peer: None,
        connections: 0,
        opened: None,
        closed: None,
        unused: None,
        requests: 0,
        answered_ns: 0,
        longest_ns: 0,
        in_use_ns: 0,
        open_ns: 0,
        request_messages: 0,
        one_way: 0,
        samples: PoolSamples::default(),
    })
}

fn add(pool: &mut Pool, socket: &Socket, window: &Window<'_>) {
    let counted = &socket.counted;
    let is_unix = counted.family == family::UNIX;
    let requests = exchanges::of_requests(pool.role) as usize;
    let answered = &counted.exchanges[requests];
    let (open, existed) = socket.open(window);
    pool.peer = pool.peer.or(socket.peer);
    pool.connections += 1;
    pool.requests += answered.count;
    pool.answered_ns += answered.ns;
    pool.longest_ns = pool.longest_ns.max(answered.longest_ns);
    pool.in_use_ns += socket.in_use_ns(open, existed);
    pool.open_ns += open.until.saturating_sub(open.from);
    pool.request_messages += counted.traffic[requests].messages;
    pool.one_way += u64::from(socket.is_one_way());
    if is_unix {
        return;
    }
    *pool.closed.get_or_insert(0) += u64::from(counted.ended != 0);
    if pool.role == Role::Client {
        pool.unused.get_or_insert(0);
    }
    if pool.role == Role::Client || window.sees_accepts {
        *pool.opened.get_or_insert(0) += u64::from(!existed);
    }
}

impl Socket {
    /// When it was open in the recording, and whether it was so before.
    fn open(&self, window: &Window<'_>) -> (Interval, bool) {
        let counted = &self.counted;
        let Interval { from, until } = window.whole;
        if counted.family == family::UNIX {
            let namespace = self.ends.namespace;
            let existed = window.before.has_unix(namespace, counted.inode);
            let remains = window.after.has_unix(namespace, counted.inode);
            let open = Interval {
                from: if existed { from } else { counted.first },
                until: if remains { until } else { counted.last },
            };
            return (open, existed);
        }
        let opened = if counted.connecting != 0 {
            counted.established
        } else if self.accepted != 0 {
            self.accepted
        } else if self.ends.role == Role::Server && !window.sees_accepts {
            counted.first
        } else {
            0
        };
        let open = Interval {
            from: opened.max(from),
            until: if counted.ended == 0 {
                until
            } else {
                counted.ended
            },
        };
        (open, opened == 0)
    }
}
