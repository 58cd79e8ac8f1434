//! What threads send and receive, and through which connections.
//!
//! Messages are counted where the kernel's generic socket layer has moved them,
//! in process context: there entries are made. What happens to a connection in
//! interrupts, as TCP's events do, only changes an entry that is there (rule 2).
//! Stacks are taken of every [`NETWORK_PERIOD_BYTES`]-th byte of a thread and
//! direction.

mod calls;
mod clock;
pub mod socket;
pub mod tcp;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use profiler_ebpf::{
    Connection, Direction, EventKind, NetworkCounter, Source, ThreadTraffic, Traffic, TrafficEvent,
    family, socket_type,
};

pub use calls::call_returns;
use socket::{Sock, key};

use crate::{
    atomic::add,
    gate::{self, Wanted},
    maps::{
        CONNECTIONS, EVENTS, NETWORK_COUNTERS, NEW_CONNECTION, NEW_TRAFFIC, TRAFFIC,
        network_setting,
    },
    scratch::claim,
    walk::{self, Context, Told},
};

/// Flags of recv(2), include/linux/socket.h: what it returns stays in the queue,
/// or is no data.
const MSG_PEEK: u64 = 2;
const MSG_ERRQUEUE: u64 = 0x2000;
const NOT_RECEIVED: u64 = MSG_PEEK | MSG_ERRQUEUE;

/// TCP's figures are read at the first messages of a connection, and then at
/// every so many.
const FIRST_MESSAGES: u64 = 8;
const MESSAGES_MASK: u64 = 15;

/// A message was sent or received: `length` bytes, or an error.
#[inline(always)]
pub fn moved(
    context: Context<'_>,
    direction: Direction,
    socket: *mut core::ffi::c_void,
    length: i64,
    flags: u64,
) {
    if length < 0 || (matches!(direction, Direction::Received) && flags & NOT_RECEIVED != 0) {
        return;
    }
    let gate::Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    message(
        context,
        wanted,
        direction,
        Sock(socket as u64),
        key(socket),
        length as u64,
        1,
    );
}

#[inline(always)]
fn message(
    context: Context<'_>,
    wanted: Wanted,
    direction: Direction,
    sock: Sock,
    key: u64,
    bytes: u64,
    messages: u64,
) {
    if bytes == 0 && sock.kind() == socket_type::STREAM {
        // The end of the stream.
        return;
    }
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    let moved = Traffic { bytes, messages };
    match CONNECTIONS.get_ptr_mut(&key) {
        Some(connection) => {
            // SAFETY: the map returned it. Other CPUs may write to it: sums are
            // added to atomically, and of the rest any value is one that was true.
            let connection = unsafe { &mut *connection };
            add_message(connection, direction, moved);
            exchange(connection, direction, now);
            connection.last = now;
            if connection.process.tgid != wanted.tgid {
                connection.other_tgid = wanted.tgid;
            }
            let messages = connection.traffic[direction as usize].messages;
            if messages <= FIRST_MESSAGES || messages & MESSAGES_MASK == 0 {
                sock.transmission(connection);
            }
        }
        None => {
            let family = sock.family();
            if family != family::INET && family != family::INET6 && family != family::UNIX {
                return;
            }
            insert(wanted, sock, key, now, |connection| {
                connection.traffic[direction as usize] = moved;
                exchange(connection, direction, now);
            });
        }
    }
    account(context, wanted, direction, moved, now);
}

/// Makes the entry of a socket, in process context. The running process is
/// believed to be whose it is.
#[inline(always)]
fn insert(wanted: Wanted, sock: Sock, key: u64, now: u64, complete: impl FnOnce(&mut Connection)) {
    let Some(mut place) = claim(&NEW_CONNECTION) else {
        count(NetworkCounter::ConnectionsRefused as u32, 1);
        return;
    };
    let connection: &mut Connection = &mut place;
    *connection = Connection::NEW;
    let Wanted { task, tgid, .. } = wanted;
    connection.process = task.process_key(tgid);
    connection.cgroup_v2 = task.cgroup_v2();
    connection.cgroup_v1 = task.cgroup_v1();
    connection.process_name = task.leader().name();
    connection.first = now;
    connection.last = now;
    sock.describe(connection);
    complete(connection);
    let refused = key == 0 || CONNECTIONS.insert(&key, connection, 0).is_err();
    let counter = if refused {
        NetworkCounter::ConnectionsRefused
    } else {
        NetworkCounter::ConnectionsMade
    };
    count(counter as u32, 1);
}

#[inline(always)]
fn add_message(connection: &mut Connection, direction: Direction, moved: Traffic) {
    let sum = &mut connection.traffic[direction as usize];
    add(&mut sum.bytes, moved.bytes);
    add(&mut sum.messages, moved.messages);
}

/// Whose turn it is: a message that goes the other way than the last one answers
/// what began with the first of those, and begins what it asks for itself.
#[inline(always)]
fn exchange(connection: &mut Connection, direction: Direction, now: u64) {
    if connection.turned == 0 {
        connection.first_direction = direction as u32;
    } else if connection.last_direction == direction as u32 {
        return;
    } else {
        let begun = match direction {
            Direction::Sent => Direction::Received,
            Direction::Received => Direction::Sent,
        };
        let exchanges = &mut connection.exchanges[begun as usize];
        // Another CPU's clock may be a little behind.
        let lasted = now.saturating_sub(connection.turned);
        add(&mut exchanges.count, 1);
        add(&mut exchanges.ns, lasted);
        if lasted > exchanges.longest_ns {
            exchanges.longest_ns = lasted;
        }
    }
    connection.last_direction = direction as u32;
    connection.turned = now;
}

/// Adds to the thread's own account, and takes its stack when that is due.
#[inline(always)]
fn account(context: Context<'_>, wanted: Wanted, direction: Direction, moved: Traffic, now: u64) {
    let Some(account) = account_of(wanted) else {
        count(NetworkCounter::BytesUnaccounted as u32, moved.bytes);
        return;
    };
    let sum = &mut account.traffic[direction as usize];
    sum.bytes += moved.bytes;
    sum.messages += moved.messages;
    let clock = &mut account.clocks[direction as usize];
    let is_first = clock.begun == 0;
    let weight = if is_first {
        clock::first(moved.bytes, now)
    } else {
        clock::due(clock, moved.bytes, now)
    };
    if weight == 0 {
        return;
    }
    let told = Told::Moved(direction);
    let is_recorded = walk::record(context, wanted, Source::Network, weight, told) != 0;
    if is_first {
        // Otherwise the next message is.
        clock.begun = is_recorded.into();
    } else if !is_recorded {
        clock.owed += weight;
    }
}

#[inline(always)]
fn account_of(wanted: Wanted) -> Option<&'static mut ThreadTraffic> {
    let Wanted { task, tgid, tid } = wanted;
    if let Some(account) = TRAFFIC.get_ptr_mut(&tid) {
        // SAFETY: the running thread's own, which nothing removes but its end.
        return Some(unsafe { &mut *account });
    }
    let mut place = claim(&NEW_TRAFFIC)?;
    let new: &mut ThreadTraffic = &mut place;
    new.process = task.process_key(tgid);
    new.cgroup_v2 = task.cgroup_v2();
    new.cgroup_v1 = task.cgroup_v1();
    new.thread_name = task.name();
    new.process_name = task.leader().name();
    new.traffic = [Traffic {
        bytes: 0,
        messages: 0,
    }; Direction::COUNT];
    new.clocks = clock::clocks();
    TRAFFIC.insert(&tid, new, 0).ok()?;
    // SAFETY: as above.
    TRAFFIC
        .get_ptr_mut(&tid)
        .map(|account| unsafe { &mut *account })
}

/// A thread ends or runs another program, in process context: sends its account.
#[inline(always)]
pub fn ended(tid: u32) {
    if network_setting!(enabled) == 0 {
        return;
    }
    let Some(account) = TRAFFIC.get_ptr_mut(&tid) else {
        return;
    };
    match EVENTS.reserve_untyped::<TrafficEvent>(0) {
        Some(mut entry) => {
            let event = entry.as_mut_ptr();
            // SAFETY: the reservation is as large as the event, and every field
            // is written; the account is the running thread's own.
            unsafe {
                (*event).kind = EventKind::TrafficEnded as u32;
                (*event).tid = tid;
                (*event).traffic = *account;
            }
            entry.submit(0);
        }
        None => count(NetworkCounter::ThreadsLost as u32, 1),
    }
    let _ = TRAFFIC.remove(&tid);
}

#[inline(always)]
fn count(index: u32, amount: u64) {
    if let Some(counter) = NETWORK_COUNTERS.get_ptr_mut(index) {
        // SAFETY: the map returned it; only this CPU writes to it, and an interrupt
        // of it may do so in between.
        add(unsafe { &mut *counter }, amount);
    }
}
