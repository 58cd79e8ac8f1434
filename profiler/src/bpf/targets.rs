//! The table of what system calls were about.

use aya::programs::RawTracePoint;
use profiler_ebpf::{Subject, TargetKey, TargetUse};

use super::{
    Shared,
    kernel::{Kernel, KernelError},
};

const HOOKS: [(&str, &str); 2] = [("target_return", "sys_exit"), ("target_enter", "sys_enter")];

impl Kernel {
    /// Tells what the calls are about from now on.
    ///
    /// # Errors
    ///
    /// If the kernel refuses a hook.
    pub fn tell_targets(
        &mut self,
        calls: impl Iterator<Item = (u32, Subject)>,
    ) -> Result<(), KernelError> {
        for (number, subject) in calls {
            self.call_subjects.set(number, subject as u32, 0)?;
        }
        for (name, tracepoint) in HOOKS {
            match self.attach_tracepoint(name, tracepoint) {
                Ok(link) => self.target_hooks.push((name, link)),
                Err(error) => {
                    self.stop_telling_targets();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Tells no more of them.
    pub fn stop_telling_targets(&mut self) {
        for (name, link) in std::mem::take(&mut self.target_hooks) {
            // Loaded they stay: what they cost is still to be read.
            if let Some(program) = self.ebpf.program_mut(name)
                && let Ok(program) = <&mut RawTracePoint>::try_from(program)
            {
                // It fails only if the link is gone, which is what we want.
                let _ = program.detach(link);
            }
        }
    }

    pub fn call_targets(&self) -> Vec<(TargetKey, TargetUse)> {
        self.call_targets
            .iter()
            .filter_map(|entry| entry.ok())
            .map(|(Shared(key), Shared(usage))| (key, usage))
            .collect()
    }

    pub fn forget_call_target(&mut self, key: TargetKey) {
        // Gone already, which is what we want.
        let _ = self.call_targets.remove(&Shared(key));
    }
}
