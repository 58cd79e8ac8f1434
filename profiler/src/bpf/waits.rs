//! The account of threads: the scheduler's hooks, and the clocks they keep.

use aya::maps::MapError;
use profiler_ebpf::{ThreadClock, Window};

use super::{
    Shared,
    kernel::{Kernel, KernelError, loader_btf},
};

/// The hooks, by program and tracepoint.
const HOOKS: [(&str, &str); 3] = [
    ("thread_switch", "sched_switch"),
    ("thread_wake", "sched_wakeup"),
    ("thread_waking", "sched_waking"),
];

/// `BPF_NOEXIST`: a clock that the kernel side made knows better.
const NO_EXIST: u64 = 1;
/// How often a clock that changes is read again.
const ATTEMPTS: usize = 8;

impl Kernel {
    /// Follows threads from now on; what they do is accounted for from
    /// [`Self::open_window`] on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses one of the hooks. None stays attached then.
    pub fn follow_threads(&mut self) -> Result<(), KernelError> {
        let followed = self.attach_all();
        if followed.is_err() {
            self.leave_threads();
        }
        followed
    }

    fn attach_all(&mut self) -> Result<(), KernelError> {
        let btf = loader_btf()?;
        for (name, tracepoint) in HOOKS {
            self.attach_typed(name, tracepoint, &btf)?;
        }
        self.watch_returns(&btf)
    }

    /// Detaches the hooks, as far as they are there.
    fn leave_threads(&mut self) {
        for (name, _) in HOOKS {
            self.detach_tracepoint(name);
        }
    }

    /// Adds a thread that was there before its process was followed. Does
    /// nothing when it is followed already.
    pub fn follow_thread(&mut self, tid: u32, clock: ThreadClock) -> Result<(), KernelError> {
        match self.threads.insert(tid, Shared(clock), NO_EXIST) {
            Err(MapError::SyscallError(error))
                if error.io_error.kind() == std::io::ErrorKind::AlreadyExists =>
            {
                // Forked before the scheduler's hooks were there, and parked since.
                if self.threads.get(&tid, 0)?.0.changing == 0 {
                    self.threads.insert(tid, Shared(clock), 0)?;
                }
                Ok(())
            }
            result => Ok(result?),
        }
    }

    /// Sets what is accounted for; see [`Window`].
    pub fn set_window(&mut self, window: Window) -> Result<(), KernelError> {
        Ok(self.window.set(0, Shared(window), 0)?)
    }

    /// Ids of all threads that are followed.
    pub fn thread_ids(&self) -> Vec<u32> {
        self.threads.keys().filter_map(|tid| tid.ok()).collect()
    }

    /// The clocks of all threads that are there. One that changes faster than
    /// it can be read is left out.
    pub fn threads(&self) -> Vec<(u32, ThreadClock)> {
        self.thread_ids()
            .into_iter()
            .filter_map(|tid| {
                for _ in 0..ATTEMPTS {
                    let clock = self.threads.get(&tid, 0).ok()?.0;
                    if clock.changing == clock.changed {
                        return Some((tid, clock));
                    }
                }
                None
            })
            .collect()
    }
}
