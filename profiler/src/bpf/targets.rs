//! The table of what system calls were about.

use profiler_ebpf::{Subject, TargetKey, TargetUse};

use super::{
    Shared,
    kernel::{Kernel, KernelError},
};

impl Kernel {
    /// Tells what the calls are about from now on, while they are counted.
    pub fn tell_targets(
        &mut self,
        calls: impl Iterator<Item = (u32, Subject)>,
    ) -> Result<(), KernelError> {
        for (number, subject) in calls {
            self.call_subjects.set(number, subject as u32, 0)?;
        }
        Ok(())
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
