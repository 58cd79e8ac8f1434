//! What becomes of TCP connections. Most of it happens in interrupts, in
//! whatever task they find: entries are looked up, and made only where a
//! process calls connect(2).

use aya_ebpf::helpers::bpf_ktime_get_ns;
use core::ffi::c_void;
use profiler_ebpf::{AcceptedEvent, Connection, EventKind, NetworkCounter, tcp_state};

use super::{
    count, insert,
    socket::{Sock, key},
};
use crate::{
    gate,
    maps::{CONNECTIONS, EVENTS, network_setting},
};

#[inline(always)]
fn with(key: u64, change: impl FnOnce(&mut Connection)) -> bool {
    match CONNECTIONS.get_ptr_mut(&key) {
        Some(connection) => {
            // SAFETY: the map returned it. The kernel holds the socket's lock in
            // all hooks that come here, so that they follow one another.
            change(unsafe { &mut *connection });
            true
        }
        None => false,
    }
}

/// `inet_sock_set_state`: of TCP, and of few others, which have no such life.
#[inline(always)]
pub fn state_changes(socket: *mut c_void, old: u32, new: u32) {
    let sock = Sock(socket as u64);
    // SAFETY: has no precondition.
    let now = unsafe { bpf_ktime_get_ns() };
    match (old, new) {
        (tcp_state::CLOSE, tcp_state::SYN_SENT) => connects(sock, key(socket), now),
        (tcp_state::SYN_SENT, tcp_state::ESTABLISHED) => {
            with(key(socket), |connection| {
                connection.established = now;
                sock.addresses(connection);
                sock.transmission(connection);
            });
        }
        (tcp_state::SYN_RECV, tcp_state::ESTABLISHED) => accepted(socket, now),
        (_, tcp_state::CLOSE) => {
            with(key(socket), |connection| {
                connection.ended = now;
                connection.error = sock.error();
                sock.transmission(connection);
            });
        }
        _ => {}
    }
}

/// connect(2) was called: in process context.
#[inline(always)]
fn connects(sock: Sock, key: u64, now: u64) {
    let gate::Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    // A socket may connect again.
    if with(key, |connection| {
        connection.connecting = now;
        connection.established = 0;
        connection.ended = 0;
    }) {
        return;
    }
    insert(wanted, sock, key, now, |connection| {
        connection.connecting = now
    });
}

/// Nobody knows yet whose it will be: only userspace can keep when that was.
#[inline(always)]
fn accepted(socket: *mut c_void, now: u64) {
    count(NetworkCounter::Accepted as u32, 1);
    if network_setting!(has_cookies) == 0 {
        return;
    }
    let socket = key(socket);
    let Some(mut entry) = EVENTS.reserve_untyped::<AcceptedEvent>(0) else {
        count(NetworkCounter::AcceptedLost as u32, 1);
        return;
    };
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and every field is
    // written.
    unsafe {
        (*event).kind = EventKind::Accepted as u32;
        (*event).reserved = 0;
        (*event).socket = socket;
        (*event).time = now;
    }
    // Nothing waits for it: the ring is drained on a timer.
    entry.submit(u64::from(aya_ebpf::bindings::BPF_RB_NO_WAKEUP));
}

#[inline(always)]
pub fn retransmitted(socket: *mut c_void) {
    let sock = Sock(socket as u64);
    // __tcp_retransmit_skb counts the segments before it comes here.
    if !with(key(socket), |connection| sock.retransmits(connection)) {
        count(NetworkCounter::OtherRetransmits as u32, 1);
    }
}

/// `socket` is null where the packet that is answered is for none.
#[inline(always)]
pub fn reset_sent(socket: *mut c_void) {
    if !with(key(socket), |connection| connection.resets_sent += 1) {
        count(NetworkCounter::OtherResetsSent as u32, 1);
    }
}

#[inline(always)]
pub fn reset_received(socket: *mut c_void) {
    if !with(key(socket), |connection| connection.resets_received += 1) {
        count(NetworkCounter::OtherResetsReceived as u32, 1);
    }
}

/// A packet is dropped. `reason` is of `enum skb_drop_reason`; those of
/// subsystems have the subsystem in their upper half and are counted as one.
#[inline(always)]
pub fn dropped(reason: u32, receiver: *mut c_void) {
    let reason = if reason < NetworkCounter::DROP_REASONS as u32 {
        reason
    } else {
        NetworkCounter::DROP_REASONS as u32 - 1
    };
    count(NetworkCounter::DROPS + reason, 1);
    if !receiver.is_null() {
        with(key(receiver), |connection| connection.drops += 1);
    }
}
