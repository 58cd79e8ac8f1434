//! Messages by the system calls that move them, for kernels that do not tell of
//! them otherwise (before 6.3).

use aya_ebpf::{helpers::bpf_probe_read_user, programs::RawTracePointContext};
use profiler_ebpf::Direction;

use super::{NOT_RECEIVED, message, socket::Sock};
use crate::{
    gate,
    walk::{
        Context,
        registers::{self, Call},
    },
};

/// `struct mmsghdr`, include/linux/socket.h: its size, and where in it the
/// kernel writes how many bytes the message had.
const MESSAGE_SIZE: u64 = 64;
const MESSAGE_LENGTH: u64 = 56;
/// Messages of one call whose lengths are added up; what is beyond them is
/// taken to be of the same lengths.
const MESSAGES_READ: u64 = 32;

/// A system call, and what it does.
struct Moves {
    direction: Direction,
    flags: u64,
    /// It returns a number of messages instead of bytes.
    many: bool,
}

/// By number, arch/x86/entry/syscalls/syscall_64.tbl (6.18).
#[inline(always)]
fn moves(number: u64, [third, fourth]: [u64; 2]) -> Option<Moves> {
    let (direction, flags, many) = match number {
        // write, writev, sendto, sendmsg
        1 | 20 | 44 | 46 => (Direction::Sent, 0, false),
        // read, readv
        0 | 19 => (Direction::Received, 0, false),
        // recvfrom, recvmsg
        45 => (Direction::Received, fourth, false),
        47 => (Direction::Received, third, false),
        // sendmmsg, recvmmsg
        307 => (Direction::Sent, 0, true),
        299 => (Direction::Received, fourth, true),
        _ => return None,
    };
    Some(Moves {
        direction,
        flags,
        many,
    })
}

/// Any system call returns.
#[inline(always)]
pub fn call_returns(context: &RawTracePointContext) {
    let returned = context.arg::<u64>(1) as i64;
    if returned < 0 {
        return;
    }
    let gate::Verdict::Wanted(wanted) = gate::current() else {
        return;
    };
    let Call { number, arguments } = registers::call(wanted.task);
    let Some(moves) = moves(number, registers::more_arguments(wanted.task)) else {
        return;
    };
    if matches!(moves.direction, Direction::Received) && moves.flags & NOT_RECEIVED != 0 {
        return;
    }
    let Some(sock) = Sock::of_descriptor(wanted.task, arguments[0] as u32) else {
        return;
    };
    let returned = returned as u64;
    let (bytes, messages) = if moves.many {
        (lengths(arguments[1], returned), returned)
    } else {
        (returned, 1)
    };
    let context = Context::Return(context);
    message(
        context,
        wanted,
        moves.direction,
        sock,
        sock.inode(),
        bytes,
        messages,
    );
}

#[inline(always)]
fn lengths(array: u64, messages: u64) -> u64 {
    let mut sum = 0;
    for index in 0..MESSAGES_READ {
        if index >= messages {
            return sum;
        }
        let address = array + index * MESSAGE_SIZE + MESSAGE_LENGTH;
        // SAFETY: the kernel checks the address.
        sum += unsafe { bpf_probe_read_user(address as *const u32) }.map_or(0, u64::from);
    }
    sum * messages / MESSAGES_READ
}
