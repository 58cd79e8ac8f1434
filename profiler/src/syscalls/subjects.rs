//! Which argument of a system call says what it is about.

use profiler_ebpf::Subject;
use syscalls::x86_64::Sysno;

/// What the call is about; [`Subject::Nothing`] for those that are about no file
/// or peer, or about several at a time, as poll(2).
pub fn subject(number: u32) -> Subject {
    let Some(call) = Sysno::new(number as usize) else {
        return Subject::Nothing;
    };
    match call.name() {
        "open" | "creat" => Subject::FirstOpened,
        "openat" | "openat2" => Subject::SecondOpened,
        "execve" => Subject::Program,
        "execveat" => Subject::ProgramAt,
        "stat" | "lstat" | "access" | "chdir" | "chroot" | "mkdir" | "rmdir" | "rename"
        | "link" | "unlink" | "readlink" | "chmod" | "chown" | "lchown" | "truncate" | "utime"
        | "utimes" | "mknod" | "umount2" | "statfs" | "setxattr" | "lsetxattr" | "getxattr"
        | "lgetxattr" | "listxattr" | "llistxattr" | "removexattr" | "lremovexattr" | "swapon"
        | "swapoff" | "acct" => Subject::FirstPath,
        "newfstatat" | "statx" | "faccessat" | "faccessat2" | "mkdirat" | "mknodat"
        | "renameat" | "renameat2" | "linkat" | "unlinkat" | "symlink" | "readlinkat"
        | "fchmodat" | "fchmodat2" | "fchownat" | "futimesat" | "utimensat" | "mount"
        | "inotify_add_watch" | "name_to_handle_at" | "open_tree" => Subject::SecondPath,
        "symlinkat" => Subject::ThirdPath,
        "connect" | "bind" => Subject::Address,
        "sendto" => Subject::Destination,
        "read" | "write" | "close" | "fstat" | "lseek" | "ioctl" | "pread64" | "pwrite64"
        | "readv" | "writev" | "preadv" | "pwritev" | "preadv2" | "pwritev2" | "sendfile"
        | "fcntl" | "flock" | "fsync" | "fdatasync" | "ftruncate" | "getdents" | "getdents64"
        | "fchdir" | "fchmod" | "fchown" | "fstatfs" | "fsetxattr" | "fgetxattr" | "flistxattr"
        | "fremovexattr" | "readahead" | "fadvise64" | "fallocate" | "sync_file_range"
        | "syncfs" | "dup" | "dup2" | "dup3" | "splice" | "tee" | "vmsplice"
        | "copy_file_range" | "epoll_ctl" | "epoll_wait" | "epoll_pwait" | "epoll_pwait2"
        | "accept" | "accept4" | "recvfrom" | "sendmsg" | "recvmsg" | "recvmmsg" | "sendmmsg"
        | "shutdown" | "listen" | "getsockname" | "getpeername" | "setsockopt" | "getsockopt" => {
            Subject::Descriptor
        }
        _ => Subject::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_say_what_they_are_about() {
        let of = |name: &str| {
            name.parse::<Sysno>()
                .map(|call| subject(call.id() as u32))
                .unwrap_or(Subject::Nothing)
        };
        assert_eq!(of("openat"), Subject::SecondOpened);
        assert_eq!(of("stat"), Subject::FirstPath);
        assert_eq!(of("recvfrom"), Subject::Descriptor);
        assert_eq!(of("connect"), Subject::Address);
        assert_eq!(of("execve"), Subject::Program);
        assert_eq!(of("futex"), Subject::Nothing);
        assert_eq!(subject(500), Subject::Nothing);
    }
}
