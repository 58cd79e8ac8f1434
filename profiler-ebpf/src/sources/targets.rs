//! What system calls are about: which file, which peer.
//!
//! Both hooks run in process context, so they may insert into the map; threads of
//! a process share its entries, whose sums are added to atomically. Descriptors are looked at when a call begins, when they are open
//! for certain. Paths and addresses are read when it ends: by then the kernel
//! has read them, so that their memory is there.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    helpers::{
        bpf_probe_read_kernel_str_bytes, bpf_probe_read_user_buf, bpf_probe_read_user_str_bytes,
    },
};
use profiler_ebpf::{
    ADDRESS_LENGTH, CallAbout, Connection, Counter, MAX_ERRNO, NO_CALL, Subject,
    TARGET_TEXT_LENGTH, TargetKey, TargetKind, TargetUse, ThreadClock, family,
};

use super::network::socket::Sock;
use crate::{
    atomic::add,
    maps::{
        CALL_SUBJECTS, CALL_TARGETS, NEW_CONNECTION, NEW_TARGET, count, network_setting, setting,
    },
    scratch::{Claim, claim},
    task::{Task, read},
    walk::registers::Saved,
};

const DESCRIPTOR: u32 = Subject::Descriptor as u32;
const ADDRESS: u32 = Subject::Address as u32;
const DESTINATION: u32 = Subject::Destination as u32;

/// Type bits of a mode, include/uapi/linux/stat.h.
const FORMAT: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
const PIPE: u16 = 0o010_000;
/// Longest `sockaddr`, `sockaddr_storage` in include/uapi/linux/socket.h.
const MAX_ADDRESS: usize = 128;
const WORD: usize = 8;

/// What a descriptor refers to.
struct Opened {
    file: u64,
    kind: TargetKind,
    object: u64,
    device: u32,
}

/// The running thread, whose clock it is, enters a call.
#[inline(always)]
pub fn enter(clock: &mut ThreadClock, saved: Saved, number: u32) {
    let subject = subject_of(number);
    if subject == Subject::Nothing as u32 {
        return;
    }
    clock.about = CallAbout::NONE;
    clock.about.number = number;
    if matches!(subject, DESCRIPTOR | ADDRESS | DESTINATION) {
        let opened = opened(saved.argument(0) as u32);
        clock.about.kind = opened.kind as u32;
        clock.about.object = opened.object;
        clock.about.device = opened.device;
        if subject == DESCRIPTOR || (subject == DESTINATION && saved.argument(4) == 0) {
            let key = key_of(clock, number, &clock.about);
            // SAFETY: only its presence is looked at.
            if unsafe { CALL_TARGETS.get(&key) }.is_none() {
                describe(&key, &opened);
            }
        }
    }
}

/// It leaves the call, of whose time a part lies in the window.
#[inline(always)]
pub fn exit(clock: &mut ThreadClock, saved: Saved, number: u32, result: i64, time: [u64; 2]) {
    if clock.about.number != number {
        return;
    }
    clock.about.number = NO_CALL;
    let subject = subject_of(number);
    let Some(key) = target(clock, saved, number, subject, result) else {
        count(Counter::TargetsLost as u32);
        return;
    };
    let Some(usage) = CALL_TARGETS.get_ptr_mut(&key) else {
        count(Counter::TargetsLost as u32);
        return;
    };
    // SAFETY: the map returned it; sums are added to atomically.
    let usage = unsafe { &mut *usage };
    add_call(usage, time, result);
    if Subject::opens(subject) && result >= 0 {
        let opened = opened(result as u32);
        usage.opened_inode = opened.object;
        usage.opened_device = opened.device;
    }
}

#[inline(always)]
fn subject_of(number: u32) -> u32 {
    CALL_SUBJECTS.get(number).copied().unwrap_or(0)
}

#[inline(always)]
fn add_call(usage: &mut TargetUse, [part, whole]: [u64; 2], result: i64) {
    add(&mut usage.calls, 1);
    add(&mut usage.nanoseconds, part);
    // Two threads at a time may leave the shorter one; of both, one is told.
    if whole > usage.longest {
        usage.longest = whole;
    }
    if result < 0 && result >= -MAX_ERRNO {
        add(&mut usage.errors, 1);
        usage.errno = -result as u32;
    }
}

#[inline(always)]
fn key_of(clock: &ThreadClock, number: u32, about: &CallAbout) -> TargetKey {
    TargetKey {
        start_boottime: clock.process.start_boottime,
        object: about.object,
        tgid: clock.process.tgid,
        device: about.device,
        number,
        kind: about.kind,
    }
}

/// The key of what a call that returns was about; its entry is there. `None`
/// when the map is full.
#[inline(always)]
fn target(
    clock: &ThreadClock,
    saved: Saved,
    number: u32,
    subject: u32,
    result: i64,
) -> Option<TargetKey> {
    let key = key_of(clock, number, &clock.about);
    match subject {
        DESCRIPTOR => Some(key),
        ADDRESS => address(key, saved, saved.argument(1), saved.argument(2)),
        DESTINATION => {
            let to = saved.argument(4);
            if to == 0 {
                return Some(key);
            }
            address(key, saved, to, saved.argument(5))
        }
        _ => path(key, saved, subject, result),
    }
}

#[inline(always)]
fn path(mut key: TargetKey, saved: Saved, subject: u32, result: i64) -> Option<TargetKey> {
    let mut place = new_target()?;
    let new: &mut TargetUse = &mut place;
    let from = if Subject::starts_program(subject) && result == 0 {
        Task::current().program_path()
    } else {
        match Subject::path(subject)? {
            0 => saved.argument(0),
            1 => saved.argument(1),
            _ => saved.argument(2),
        }
    };
    // SAFETY: the kernel checks the address.
    let read = unsafe { bpf_probe_read_user_str_bytes(from as *const u8, &mut new.text) };
    let length = read.map_or(usize::MAX, <[u8]>::len);
    if length == 0 || from == 0 {
        // Of the descriptor itself: AT_EMPTY_PATH.
        let opened = opened(saved.argument(0) as u32);
        key.kind = opened.kind as u32;
        key.object = opened.object;
        key.device = opened.device;
        // SAFETY: only its presence is looked at.
        if unsafe { CALL_TARGETS.get(&key) }.is_none() {
            describe(&key, &opened);
        }
        return Some(key);
    }
    if length < TARGET_TEXT_LENGTH {
        new.length = length as u16;
        key.kind = TargetKind::Path as u32;
        key.object = hash(&new.text, length);
    }
    make(&key, new)
}

#[inline(always)]
fn address(mut key: TargetKey, saved: Saved, from: u64, length: u64) -> Option<TargetKey> {
    let mut place = new_target()?;
    let new: &mut TargetUse = &mut place;
    let length = (length as usize).min(MAX_ADDRESS - 1);
    // SAFETY: the kernel checks the address; the length is within the text.
    let read = unsafe { bpf_probe_read_user_buf(from as *const u8, &mut new.text[..length]) };
    if read.is_ok() && key.kind == TargetKind::Socket as u32 {
        let descriptor = saved.argument(0) as u32;
        if let Some(sock) = Sock::of_descriptor(Task::current(), descriptor) {
            new.socket_type = sock.kind();
            new.protocol = sock.protocol();
        }
        new.length = length as u16;
        key.kind = TargetKind::Address as u32;
        key.device = u32::from(new.protocol) << 16 | u32::from(new.socket_type);
        key.object = hash(&new.text, length);
    }
    make(&key, new)
}

/// Of the first `length` bytes, by whole words: each is multiplied as in the
/// finisher of MurmurHash3.
#[inline(always)]
fn hash(text: &[u8; TARGET_TEXT_LENGTH], length: usize) -> u64 {
    let words = text.as_ptr().cast::<u64>();
    let mut hash = length as u64;
    for index in 0..TARGET_TEXT_LENGTH / WORD {
        let before = index * WORD;
        if before >= length {
            break;
        }
        // SAFETY: within the text, which is aligned as its structure is.
        let mut word = unsafe { *words.add(index) };
        let left = length - before;
        if left < WORD {
            word &= (1 << (left * 8)) - 1;
        }
        hash = (hash ^ word).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 33;
    }
    hash
}

#[inline(always)]
fn opened(descriptor: u32) -> Opened {
    let mut opened = Opened {
        file: Task::file_of_current(descriptor),
        kind: TargetKind::Nothing,
        object: 0,
        device: 0,
    };
    if opened.file == 0 {
        return opened;
    }
    let inode: u64 = read(opened.file, setting!(offsets.file_inode));
    let mode: u16 = read(inode, setting!(offsets.inode_mode));
    if mode & FORMAT == 0 {
        // All that have no inode of their own share one (fs/anon_inodes.c).
        opened.kind = TargetKind::Anonymous;
        opened.object = read(opened.file, setting!(offsets.file_dentry));
        return opened;
    }
    opened.object = read(inode, setting!(disk.inode_number));
    let file_system: u64 = read(inode, setting!(disk.inode_file_system));
    opened.device = read(file_system, setting!(disk.file_system_device));
    opened.kind = match mode & FORMAT {
        SOCKET => TargetKind::Socket,
        PIPE => TargetKind::Pipe,
        _ => TargetKind::File,
    };
    opened
}

/// Makes the entry of what is open; without room there is none.
#[inline(always)]
fn describe(key: &TargetKey, opened: &Opened) {
    let Some(mut place) = new_target() else {
        return;
    };
    let new: &mut TargetUse = &mut place;
    if matches!(opened.kind, TargetKind::Socket) {
        describe_socket(opened.file, new);
    } else if opened.file != 0 {
        let entry: u64 = read(opened.file, setting!(offsets.file_dentry));
        let name: u64 = read(entry, setting!(disk.name_text));
        // SAFETY: the kernel checks the address.
        let read = unsafe { bpf_probe_read_kernel_str_bytes(name as *const u8, &mut new.text) };
        new.length = read.map_or(0, <[u8]>::len) as u16;
    }
    make(key, new);
}

#[inline(always)]
fn describe_socket(file: u64, new: &mut TargetUse) {
    if network_setting!(knows_sockets) == 0 {
        return;
    }
    let sock = Sock::of_file(file);
    new.family = sock.family();
    new.socket_type = sock.kind();
    if !matches!(new.family, family::INET | family::INET6 | family::UNIX) {
        return;
    }
    let Some(mut place) = claim(&NEW_CONNECTION) else {
        return;
    };
    let connection: &mut Connection = &mut place;
    *connection = Connection::NEW;
    sock.describe(connection);
    new.protocol = connection.protocol;
    new.local_port = connection.local_port;
    new.remote_port = connection.remote_port;
    new.path_is_peers = connection.path_is_peers;
    new.length = connection.path_length;
    new.namespace = connection.namespace;
    let (from, to) = (
        connection.address.as_ptr().cast::<u32>(),
        new.text.as_mut_ptr().cast::<u32>(),
    );
    for index in 0..ADDRESS_LENGTH / 4 {
        // SAFETY: both are as long, and aligned to 4 bytes.
        unsafe { *to.add(index) = *from.add(index) };
    }
}

/// An entry that holds nothing yet but, beyond its length, what was there.
#[inline(always)]
fn new_target() -> Option<Claim<TargetUse>> {
    let mut place = claim(&NEW_TARGET)?;
    let new: &mut TargetUse = &mut place;
    new.family = 0;
    new.socket_type = 0;
    new.protocol = 0;
    new.local_port = 0;
    new.remote_port = 0;
    new.path_is_peers = 0;
    new.length = 0;
    new.namespace = 0;
    Some(place)
}

/// The key, when it has an entry now.
#[inline(always)]
fn make(key: &TargetKey, new: &TargetUse) -> Option<TargetKey> {
    // SAFETY: only its presence is looked at.
    if unsafe { CALL_TARGETS.get(key) }.is_none() {
        // It fails when the map is full, or when another thread was faster.
        let _ = CALL_TARGETS.insert(key, new, BPF_NOEXIST.into());
    }
    Some(*key)
}
