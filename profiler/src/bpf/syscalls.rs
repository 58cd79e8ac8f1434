//! The counters of system calls.

use aya::{Btf, programs::BtfTracePoint};
use profiler_ebpf::{CALL_NUMBERS, CallKey, CallSet, Calls};

use super::{
    Shared,
    kernel::{Kernel, KernelError, loader_btf},
};

const ENTER: (&str, &str) = ("call_enter", "sys_enter");
const RETURN: (&str, &str) = ("call_return", "sys_exit");

impl Kernel {
    /// Counts the system calls `wanted` from now on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a hook. Calls are not counted then.
    pub fn count_calls(&mut self, wanted: &[u32]) -> Result<(), KernelError> {
        for &number in wanted {
            self.calls_wanted.set(number, 1, 0)?;
        }
        let btf = loader_btf()?;
        self.watch_returns(&btf)?;
        self.call_enter = Some(self.attach_typed(ENTER.0, ENTER.1, &btf)?);
        Ok(())
    }

    /// Counts no more calls.
    pub fn stop_counting_calls(&mut self) {
        // Loaded it stays: what it cost is still to be read.
        let program = self.ebpf.program_mut(ENTER.0);
        if let (Some(link), Some(program)) = (self.call_enter.take(), program)
            && let Ok(program) = <&mut BtfTracePoint>::try_from(program)
        {
            // It fails only if the link is gone, which is what we want.
            let _ = program.detach(link);
        }
    }

    /// Looks at system calls that return, if it does not yet.
    pub(super) fn watch_returns(&mut self, btf: &Btf) -> Result<(), KernelError> {
        let is_attached = self
            .ebpf
            .program(RETURN.0)
            .is_some_and(|program| program.fd().is_ok());
        if is_attached {
            return Ok(());
        }
        self.attach_typed(RETURN.0, RETURN.1, btf).map(|_| ())
    }

    /// Takes out what a thread that ended had called.
    pub fn take_calls(&mut self, tid: u32, generation: u16, made: &CallSet) -> Vec<(u32, Calls)> {
        (0..CALL_NUMBERS as u16)
            .filter(|number| made[usize::from(number / 64)] >> (number % 64) & 1 != 0)
            .filter_map(|number| {
                let key = CallKey {
                    tid,
                    number,
                    generation,
                };
                let calls = self.calls.get(&Shared(key), 0).ok()?.0;
                // It was there a moment ago, and only we take it out.
                let _ = self.calls.remove(&Shared(key));
                Some((number.into(), calls))
            })
            .collect()
    }

    /// What is there of all threads.
    pub fn calls(&self) -> Vec<(CallKey, Calls)> {
        self.calls
            .iter()
            .filter_map(|entry| entry.ok())
            .map(|(Shared(key), Shared(calls))| (key, calls))
            .collect()
    }

    /// Calls of threads that the table had no room for, by CPU.
    pub fn calls_without_room(&self) -> Vec<(u32, Calls)> {
        let mut found = Vec::new();
        for number in 0..CALL_NUMBERS as u32 {
            let Ok(values) = self.calls_without_room.get(&number, 0) else {
                continue;
            };
            let counted = values.iter().filter(|value| value.0.count > 0);
            found.extend(counted.map(|value| (number, value.0)));
        }
        found
    }
}
