//! Work on files we do not trust, in a process that may die of it.
//!
//! The libraries that read DWARF recurse over it, allocate what it says and
//! map the file. A hostile file can so overflow the stack, take all memory or
//! (cut short while it is read) raise SIGBUS: nothing that a caller in the
//! same process could catch. A child by `fork` catches all of it, needs no
//! second program, sees what the parent has open, and gives its memory back
//! when it ends.

use std::{
    io::{self, PipeReader, Read},
    os::fd::AsRawFd,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use thiserror::Error;

#[derive(Debug, Error)]
pub enum IsolateError {
    #[error("the reading process could not be started: {0}")]
    Start(io::Error),
    #[error("reading it took longer than {} s", .0.as_secs())]
    TimedOut(Duration),
    #[error("reading it failed ({0}); the file is damaged, or too large to read")]
    Died(String),
    #[error("it yields more than is kept")]
    TooMuch,
}

/// One child at a time. A second would hold the pipe of the first open, whose
/// end would then not be seen; and their memory adds up.
static ONE: Mutex<()> = Mutex::new(());

#[derive(Clone, Copy)]
pub struct Limits {
    pub time: Duration,
    /// Bytes that the child may map or allocate beyond what the parent has.
    pub memory: u64,
    pub output: usize,
}

/// Runs `work` in a child process and returns what it returns.
///
/// In the child only this thread exists. What other threads held stays
/// locked: glibc makes `malloc` usable after `fork`, but `work` must not log,
/// print or read the environment.
pub fn run(limits: Limits, work: impl FnOnce() -> Vec<u8>) -> Result<Vec<u8>, IsolateError> {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let (reader, writer) = io::pipe().map_err(IsolateError::Start)?;
    let mapped = mapped_bytes().map_err(IsolateError::Start)?;
    let parent = rustix::process::getpid();
    // SAFETY: the child runs only `child`, which never returns, under the
    // rules in this function's comment.
    let pid = unsafe { libc::fork() };
    match pid {
        -1 => return Err(IsolateError::Start(io::Error::last_os_error())),
        0 => child(limits, mapped, parent, writer.as_raw_fd(), work),
        _ => {}
    }
    drop(writer);
    let result = collect(reader, limits);
    if result.is_err() {
        // SAFETY: `pid` is our child and not yet waited for, so it is no
        // other process.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
    let mut status = 0;
    // SAFETY: as above; `status` outlives the call.
    while unsafe { libc::waitpid(pid, &mut status, 0) } == -1 {
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(IsolateError::Died(error.to_string()));
        }
    }
    let output = result?;
    if libc::WIFSIGNALED(status) {
        let signal = libc::WTERMSIG(status);
        return Err(IsolateError::Died(format!("signal {signal}")));
    }
    match libc::WEXITSTATUS(status) {
        0 => Ok(output),
        code => Err(IsolateError::Died(format!("exit code {code}"))),
    }
}

fn mapped_bytes() -> io::Result<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = statm
        .split_whitespace()
        .next()
        .and_then(|pages| pages.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn child(
    limits: Limits,
    mapped: u64,
    parent: rustix::process::Pid,
    writer: i32,
    work: impl FnOnce() -> Vec<u8>,
) -> ! {
    use rustix::process::{Resource, Rlimit, Signal, setrlimit};
    let limit = |resource, value| {
        // Only ever lowers a limit; where that fails the parent's timeout is
        // left.
        let _ = setrlimit(
            resource,
            Rlimit {
                current: Some(value),
                maximum: Some(value),
            },
        );
    };
    // What the parent's handlers do is not for the child to do.
    for signal in [
        libc::SIGINT,
        libc::SIGTERM,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGABRT,
    ] {
        // SAFETY: the default action is always valid, and this process has
        // one thread.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    if rustix::process::getppid() != Some(parent) {
        exit(100);
    }
    limit(Resource::Core, 0);
    limit(Resource::Cpu, limits.time.as_secs() + 1);
    limit(Resource::As, mapped.saturating_add(limits.memory));
    // The runtime says on stderr what the parent will say better.
    // SAFETY: the path is a C string; no other thread uses the descriptors.
    unsafe {
        let null = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        libc::dup2(null, libc::STDERR_FILENO);
    }
    // The default hook prints, and a lock on stderr may be held for ever.
    std::panic::set_hook(Box::new(|_| exit(101)));
    let output = work();
    let mut rest = output.as_slice();
    while !rest.is_empty() {
        // SAFETY: `writer` is open in this process, and `rest` is valid.
        let written = unsafe { libc::write(writer, rest.as_ptr().cast(), rest.len()) };
        match usize::try_from(written) {
            Ok(written) => rest = &rest[written..],
            Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
            Err(_) => exit(102),
        }
    }
    exit(0)
}

/// Without running what the parent wants run at its own end.
fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any code and has no preconditions.
    unsafe { libc::_exit(code) }
}

fn collect(mut reader: PipeReader, limits: Limits) -> Result<Vec<u8>, IsolateError> {
    let end = Instant::now() + limits.time;
    let failed = |error: io::Error| IsolateError::Died(error.to_string());
    let mut output = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(IsolateError::TimedOut(limits.time));
        }
        let mut wanted = libc::pollfd {
            fd: reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let timeout = i32::try_from(left.as_millis() + 1).unwrap_or(i32::MAX);
        // SAFETY: one valid entry, for the length of the call.
        match unsafe { libc::poll(&mut wanted, 1, timeout) } {
            0 => continue,
            -1 => {
                let error = io::Error::last_os_error();
                if error.kind() != io::ErrorKind::Interrupted {
                    return Err(failed(error));
                }
                continue;
            }
            _ => {}
        }
        match reader.read(&mut buffer) {
            Ok(0) => return Ok(output),
            Ok(length) if output.len() + length > limits.output => {
                return Err(IsolateError::TooMuch);
            }
            Ok(length) => output.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        time: Duration::from_secs(5),
        memory: 256 << 20,
        output: 1 << 20,
    };

    #[test]
    fn the_result_comes_back() {
        let data = vec![7; 300_000];
        assert_eq!(run(LIMITS, || data.clone()).unwrap(), data);
    }

    #[test]
    #[allow(unconditional_recursion)]
    fn every_way_to_die_is_an_error() {
        fn deep(level: u64) -> u64 {
            std::hint::black_box(level) + deep(level + 1)
        }
        assert!(run(LIMITS, || panic!("on purpose")).is_err());
        assert!(run(LIMITS, || vec![deep(0) as u8]).is_err());
        assert!(run(LIMITS, || vec![0; 1 << 30]).is_err());
        assert!(matches!(
            run(LIMITS, || vec![0; 2 << 20]),
            Err(IsolateError::TooMuch)
        ));
        let short = Limits {
            time: Duration::from_millis(100),
            ..LIMITS
        };
        let started = Instant::now();
        assert!(matches!(
            run(short, || loop {
                std::hint::spin_loop();
            }),
            Err(IsolateError::TimedOut(_))
        ));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn a_file_cut_short_while_it_is_mapped() {
        use rustix::mm::{MapFlags, ProtFlags, mmap};
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 16).unwrap();
        let error = run(LIMITS, || {
            // SAFETY: a new private mapping that nothing else knows of.
            let start = unsafe {
                mmap(
                    std::ptr::null_mut(),
                    1 << 16,
                    ProtFlags::READ,
                    MapFlags::PRIVATE,
                    &file,
                    0,
                )
            };
            file.set_len(0).unwrap();
            // SAFETY: mapped above; that it cannot be read is the test.
            vec![unsafe { start.unwrap().cast::<u8>().read_volatile() }]
        });
        assert!(error.unwrap_err().to_string().contains("signal 7"));
    }
}
