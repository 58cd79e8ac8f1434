//! The hooks on PostgreSQL's probes, and the backends that they follow.

use std::path::Path;

use aya::{
    maps::{Array, HashMap},
    programs::{UProbe, uprobe::UProbeScope},
};
use profiler_ebpf::{Backend, KNOWN_STATEMENTS, MAX_BACKENDS, PAGE_BYTES, TextArgument};

use super::{
    Shared,
    kernel::{Kernel, KernelError, refused},
};

/// Programs, and the probe that each is for (src/backend/utils/probes.d).
pub const HOOKS: [(&str, &str); 11] = [
    (STATUS, "statement__status"),
    ("statement_parse_start", "query__parse__start"),
    ("statement_parse_done", "query__parse__done"),
    ("statement_rewrite_start", "query__rewrite__start"),
    ("statement_rewrite_done", "query__rewrite__done"),
    ("statement_plan_start", "query__plan__start"),
    ("statement_plan_done", "query__plan__done"),
    ("statement_execute_start", "query__execute__start"),
    ("statement_execute_done", "query__execute__done"),
    ("statement_lock_start", "lock__wait__start"),
    ("statement_lock_done", "lock__wait__done"),
];

/// The one that says what a backend is at.
pub const STATUS: &str = "statement_status";

/// The maps, and how many entries each has while statements are followed.
pub const MAPS: [(&str, usize); 3] = [
    ("BACKENDS", MAX_BACKENDS),
    ("TEXT_ARGUMENTS", PAGE_BYTES),
    ("KNOWN_TEXTS", KNOWN_STATEMENTS),
];

impl Kernel {
    /// Loads the programs that [`Kernel::hook_probe`] attaches.
    ///
    /// # Errors
    ///
    /// If the kernel refuses one.
    pub fn load_statements(&mut self) -> Result<(), KernelError> {
        for (name, _) in HOOKS {
            self.program::<UProbe>(name)?
                .load()
                .map_err(refused(name))?;
        }
        Ok(())
    }

    /// Runs a program of [`HOOKS`] whenever anyone reaches this place of the file,
    /// until the program is unloaded.
    ///
    /// # Errors
    ///
    /// If the kernel allows no uprobe there.
    pub fn hook_probe(
        &mut self,
        name: &'static str,
        file: &Path,
        offset: u64,
    ) -> Result<(), KernelError> {
        self.program::<UProbe>(name)?
            .attach(offset, file, UProbeScope::AllProcesses)
            .map_err(refused(name))?;
        Ok(())
    }

    /// Tells where the probe `statement-status` at this place of a file has its text.
    /// Returns whether there was room: programs whose probes lie at the same place
    /// of a page must have it in the same.
    pub fn set_text_argument(
        &mut self,
        offset: u64,
        argument: TextArgument,
    ) -> Result<bool, KernelError> {
        let map = self
            .ebpf
            .map_mut("TEXT_ARGUMENTS")
            .ok_or(KernelError::Incomplete("TEXT_ARGUMENTS"))?;
        let mut places: Array<_, Shared<TextArgument>> = Array::try_from(map)?;
        let place = (offset % PAGE_BYTES as u64) as u32;
        let Shared(there) = places.get(&place, 0)?;
        if there.register != 0 {
            return Ok(there == argument);
        }
        places.set(place, Shared(argument), 0)?;
        Ok(true)
    }

    /// The backends that are there.
    pub fn backends(&self) -> Vec<Backend> {
        let map = self.ebpf.map("BACKENDS");
        let Some(Ok(map)) = map.map(HashMap::<_, u32, Shared<Backend>>::try_from) else {
            return Vec::new();
        };
        map.iter()
            .filter_map(|entry| entry.ok())
            .map(|(_, Shared(backend))| backend)
            .collect()
    }
}
