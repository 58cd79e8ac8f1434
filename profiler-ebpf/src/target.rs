//! What system calls are about: files, by path or by descriptor, and the peers
//! of sockets.

/// How a call says what it is about. What `CALL_SUBJECTS` holds of its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Subject {
    /// It is about no file or peer, or is not asked about.
    Nothing = 0,
    /// A path: its first argument, …
    FirstPath = 1,
    /// … or the second, after the descriptor of a directory, …
    SecondPath = 2,
    /// … or the third.
    ThirdPath = 3,
    /// A descriptor: its first argument.
    Descriptor = 4,
    /// A socket, and the address in the second and third argument, as connect(2).
    Address = 5,
    /// A socket, and the address in the fifth and sixth argument if there is one,
    /// as sendto(2).
    Destination = 6,
    /// The path of a program: the first argument while the call fails; when it is
    /// done, that memory is gone.
    Program = 7,
    /// The same with the second argument, as execveat(2).
    ProgramAt = 8,
    /// The path in the first argument, of a file that the call opens.
    FirstOpened = 9,
    /// The same with the second.
    SecondOpened = 10,
}

impl Subject {
    const ALL: [Self; 11] = [
        Self::Nothing,
        Self::FirstPath,
        Self::SecondPath,
        Self::ThirdPath,
        Self::Descriptor,
        Self::Address,
        Self::Destination,
        Self::Program,
        Self::ProgramAt,
        Self::FirstOpened,
        Self::SecondOpened,
    ];

    /// Place of the path among the arguments.
    #[inline(always)]
    pub const fn path(number: u32) -> Option<usize> {
        const FIRST: u32 = Subject::FirstPath as u32;
        const SECOND: u32 = Subject::SecondPath as u32;
        const THIRD: u32 = Subject::ThirdPath as u32;
        const PROGRAM: u32 = Subject::Program as u32;
        const PROGRAM_AT: u32 = Subject::ProgramAt as u32;
        const FIRST_OPENED: u32 = Subject::FirstOpened as u32;
        const SECOND_OPENED: u32 = Subject::SecondOpened as u32;
        match number {
            FIRST | PROGRAM | FIRST_OPENED => Some(0),
            SECOND | PROGRAM_AT | SECOND_OPENED => Some(1),
            THIRD => Some(2),
            _ => None,
        }
    }

    #[inline(always)]
    pub const fn opens(number: u32) -> bool {
        number == Self::FirstOpened as u32 || number == Self::SecondOpened as u32
    }

    #[inline(always)]
    pub const fn starts_program(number: u32) -> bool {
        number == Self::Program as u32 || number == Self::ProgramAt as u32
    }

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }
}

/// What the object of a [`TargetKey`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u32)]
pub enum TargetKind {
    /// There is none: a descriptor that is not open, a path that cannot be read.
    Nothing = 0,
    /// A hash of the path.
    Path = 1,
    /// The number of the inode of an open file.
    File = 2,
    /// The same of a pipe.
    Pipe = 3,
    /// The same of a socket.
    Socket = 4,
    /// A hash of the address.
    Address = 5,
    /// The address of the name of what has no inode of its own: an eventfd, an
    /// epoll descriptor.
    Anonymous = 6,
}

impl TargetKind {
    const ALL: [Self; 7] = [
        Self::Nothing,
        Self::Path,
        Self::File,
        Self::Pipe,
        Self::Socket,
        Self::Address,
        Self::Anonymous,
    ];

    pub fn from_u32(value: u32) -> Option<Self> {
        Self::ALL.get(value as usize).copied()
    }
}

/// A call that a thread is in, and what it is about as far as its descriptor
/// tells. Descriptors are looked at when a call begins: another thread may have
/// closed them when it ends.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct CallAbout {
    pub object: u64,
    pub device: u32,
    /// A [`TargetKind`].
    pub kind: u32,
    /// [`crate::NO_CALL`]: none.
    pub number: u32,
    pub reserved: u32,
}

impl CallAbout {
    pub const NONE: Self = Self {
        object: 0,
        device: 0,
        kind: 0,
        number: crate::NO_CALL,
        reserved: 0,
    };
}

/// A call of a process on a file or peer. Key of `CALL_TARGETS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct TargetKey {
    /// With its id, the process: whatever programs it executes.
    pub start_boottime: u64,
    /// What it is, by `kind`.
    pub object: u64,
    pub tgid: u32,
    /// `dev_t` of the file system that it lies in; of an address, protocol and
    /// kind of the socket.
    pub device: u32,
    pub number: u32,
    /// A [`TargetKind`].
    pub kind: u32,
}

/// Room for a path with its terminator; longer ones are cut.
pub const TARGET_TEXT_LENGTH: usize = 256;

/// What all threads of the process did.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct TargetUse {
    /// Calls that returned.
    pub calls: u64,
    /// Of them, those that failed.
    pub errors: u64,
    pub nanoseconds: u64,
    pub longest: u64,
    /// Of a path, the file that was opened by it last.
    pub opened_inode: u64,
    pub opened_device: u32,
    /// Number of the last error.
    pub errno: u32,
    /// Of a socket, as in [`crate::Connection`].
    pub family: u16,
    pub socket_type: u16,
    pub protocol: u16,
    pub local_port: u16,
    pub remote_port: u16,
    pub path_is_peers: u16,
    /// Bytes of `text` in use.
    pub length: u16,
    pub reserved: u16,
    pub reserved_too: u32,
    /// Inode number of the socket's network namespace.
    pub namespace: u32,
    /// The path as it was passed; the name of an open file; the addresses of a
    /// socket as in [`crate::Connection`]; or a `sockaddr`.
    pub text: [u8; TARGET_TEXT_LENGTH],
}

impl TargetUse {
    pub const NEW: Self = Self {
        calls: 0,
        errors: 0,
        nanoseconds: 0,
        longest: 0,
        opened_inode: 0,
        opened_device: 0,
        errno: 0,
        family: 0,
        socket_type: 0,
        protocol: 0,
        local_port: 0,
        remote_port: 0,
        path_is_peers: 0,
        length: 0,
        reserved: 0,
        reserved_too: 0,
        namespace: 0,
        text: [0; TARGET_TEXT_LENGTH],
    };
}

/// Entries of `CALL_TARGETS` while targets are told.
pub const MAX_CALL_TARGETS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_themselves() {
        for subject in Subject::ALL {
            assert_eq!(Subject::from_u32(subject as u32), Some(subject));
        }
        for kind in TargetKind::ALL {
            assert_eq!(TargetKind::from_u32(kind as u32), Some(kind));
        }
        assert_eq!(Subject::path(Subject::SecondOpened as u32), Some(1));
        assert_eq!(Subject::path(Subject::Descriptor as u32), None);
    }
}
