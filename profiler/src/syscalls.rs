//! System calls of x86-64: their names, and the classes that strace(1) has.

mod subjects;

use syscalls::x86_64::Sysno;

pub use subjects::subject;

/// A class of calls, as `strace -e trace=%file` and its like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Takes the name of a file.
    File,
    /// Works on a descriptor.
    Descriptor,
    Network,
    Process,
    Signal,
    Ipc,
    Memory,
}

impl Class {
    pub const ALL: [Self; 7] = [
        Self::File,
        Self::Descriptor,
        Self::Network,
        Self::Process,
        Self::Signal,
        Self::Ipc,
        Self::Memory,
    ];

    /// As strace spells it.
    pub fn name(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Descriptor => "desc",
            Self::Network => "network",
            Self::Process => "process",
            Self::Signal => "signal",
            Self::Ipc => "ipc",
            Self::Memory => "memory",
        }
    }

    /// Names of its calls.
    fn calls(self) -> &'static str {
        match self {
            Self::File => {
                "open openat openat2 creat stat lstat newfstatat statx access faccessat \
                 faccessat2 execve execveat chdir chroot mkdir mkdirat rmdir rename renameat \
                 renameat2 link linkat unlink unlinkat symlink symlinkat readlink readlinkat \
                 chmod fchmodat fchmodat2 chown lchown fchownat truncate utime utimes futimesat \
                 utimensat mknod mknodat mount umount2 pivot_root statfs getcwd setxattr \
                 lsetxattr getxattr lgetxattr listxattr llistxattr removexattr lremovexattr \
                 setxattrat getxattrat listxattrat removexattrat swapon swapoff acct uselib \
                 quotactl inotify_add_watch fanotify_mark name_to_handle_at open_tree move_mount \
                 fspick mount_setattr"
            }
            Self::Descriptor => {
                "read write close fstat poll lseek mmap ioctl pread64 pwrite64 readv writev \
                 select dup dup2 dup3 sendfile fcntl flock fsync fdatasync ftruncate getdents \
                 getdents64 fchdir fchmod fchown fstatfs fsetxattr fgetxattr flistxattr \
                 fremovexattr readahead epoll_create epoll_create1 epoll_ctl epoll_wait \
                 epoll_pwait epoll_pwait2 fadvise64 fallocate openat openat2 mkdirat mknodat \
                 fchownat futimesat newfstatat unlinkat renameat renameat2 linkat symlinkat \
                 readlinkat fchmodat fchmodat2 faccessat faccessat2 pselect6 ppoll splice tee \
                 vmsplice sync_file_range syncfs utimensat signalfd signalfd4 timerfd_create \
                 timerfd_settime timerfd_gettime eventfd eventfd2 preadv pwritev preadv2 pwritev2 \
                 copy_file_range pipe pipe2 inotify_init inotify_init1 inotify_add_watch \
                 inotify_rm_watch fanotify_init fanotify_mark statx close_range memfd_create \
                 memfd_secret io_uring_setup io_uring_enter io_uring_register pidfd_open \
                 pidfd_getfd cachestat execveat perf_event_open bpf userfaultfd"
            }
            Self::Network => {
                "socket connect accept accept4 sendto recvfrom sendmsg recvmsg shutdown bind \
                 listen getsockname getpeername socketpair setsockopt getsockopt recvmmsg \
                 sendmmsg sendfile"
            }
            Self::Process => {
                "clone clone3 fork vfork execve execveat exit exit_group wait4 waitid unshare \
                 kill tkill tgkill arch_prctl rt_sigqueueinfo rt_tgsigqueueinfo pidfd_open \
                 pidfd_send_signal"
            }
            Self::Signal => {
                "rt_sigaction rt_sigprocmask rt_sigreturn rt_sigpending rt_sigtimedwait \
                 rt_sigqueueinfo rt_tgsigqueueinfo rt_sigsuspend sigaltstack pause kill tkill \
                 tgkill signalfd signalfd4 pidfd_send_signal"
            }
            Self::Ipc => {
                "shmget shmat shmctl shmdt semget semop semctl semtimedop msgget msgsnd msgrcv \
                 msgctl"
            }
            Self::Memory => {
                "mmap munmap mprotect brk mremap msync mincore madvise mlock mlock2 munlock \
                 mlockall munlockall shmat shmdt remap_file_pages mbind set_mempolicy \
                 get_mempolicy migrate_pages move_pages pkey_mprotect process_madvise \
                 set_mempolicy_home_node process_mrelease map_shadow_stack mseal"
            }
        }
    }
}

/// The name of a call; of one that is newer than our list, its number.
pub fn name(number: u32) -> String {
    if number == profiler_ebpf::OTHER_CALL {
        return "other (32-bit or unknown)".to_owned();
    }
    match Sysno::new(number as usize) {
        Some(call) => call.name().to_owned(),
        None => format!("call {number}"),
    }
}

/// The numbers that words of the command line stand for: names of calls, or of
/// classes, with or without a percent sign.
///
/// # Errors
///
/// The word that is neither.
pub fn numbers(words: &[String]) -> Result<Vec<u32>, String> {
    let mut numbers = Vec::new();
    for word in words {
        let class = Class::ALL
            .into_iter()
            .find(|class| class.name() == word.trim_start_matches('%'));
        let names = class.map_or(word.as_str(), |class| class.calls());
        for name in names.split_whitespace() {
            match name.parse::<Sysno>() {
                Ok(call) => numbers.push(call.id() as u32),
                // Of a class, one that is newer than our list.
                Err(()) if class.is_some() => {}
                Err(()) => return Err(word.clone()),
            }
        }
    }
    numbers.sort_unstable();
    numbers.dedup();
    Ok(numbers)
}

/// What an error number is called: `ENOENT`.
pub fn error_name(errno: u32) -> String {
    match errno {
        // include/linux/errno.h: the kernel repeats the call, or lets it be
        // interrupted; the program never sees these.
        512 => "ERESTARTSYS".to_owned(),
        513 => "ERESTARTNOINTR".to_owned(),
        514 => "ERESTARTNOHAND".to_owned(),
        516 => "ERESTART_RESTARTBLOCK".to_owned(),
        _ => syscalls::Errno::new(errno as i32)
            .name()
            .map_or_else(|| format!("error {errno}"), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_their_names() {
        assert_eq!(name(0), "read");
        assert_eq!(name(257), "openat");
        assert_eq!(name(500), "call 500");
        assert_eq!(error_name(2), "ENOENT");
        assert_eq!(error_name(512), "ERESTARTSYS");
        assert_eq!(error_name(4000), "error 4000");
    }

    #[test]
    fn words_are_calls_and_classes() {
        let numbers_of = |text: &str| {
            let words: Vec<String> = text.split(',').map(str::to_owned).collect();
            numbers(&words)
        };
        assert_eq!(numbers_of("read,openat"), Ok(vec![0, 257]));
        assert_eq!(numbers_of("%network"), numbers_of("network"));
        assert!(numbers_of("network").is_ok_and(|all| all.contains(&42)));
        assert_eq!(numbers_of("reed"), Err("reed".to_owned()));
    }

    #[test]
    fn classes_hold_calls_that_there_are() {
        // What no list of calls knows is a typing error.
        for class in Class::ALL {
            for name in class.calls().split_whitespace() {
                assert!(name.parse::<Sysno>().is_ok(), "{}: {name}", class.name());
            }
        }
    }
}
