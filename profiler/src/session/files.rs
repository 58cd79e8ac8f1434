//! Paths of files that are known by file system and inode: those by which
//! processes have them open or mapped.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path};

use profiler_ebpf::{Access, FileId};
use rustc_hash::{FxHashMap, FxHashSet};

/// Most files whose path is kept.
const MAX_FILES: usize = 1 << 16;
/// Most descriptors and mappings of a process that are looked at.
const MAX_OPEN: usize = 4096;
/// Most processes that are looked at in a round.
const MAX_PROCESSES: usize = 128;

#[derive(Default)]
pub struct Paths {
    found: FxHashMap<(u32, u64), String>,
}

/// A file that is looked for.
struct Wanted {
    place: (u32, u64),
    name: String,
}

impl Paths {
    pub fn of(&self, file_system: u32, inode: u64) -> Option<String> {
        self.found.get(&(file_system, inode)).cloned()
    }

    /// Looks for files among what processes have open.
    pub fn look_for(
        &mut self,
        files: impl Iterator<Item = (FileId, String)>,
        processes: impl Iterator<Item = u32>,
    ) {
        let mut seen = FxHashSet::default();
        let mut wanted: FxHashMap<u64, Vec<Wanted>> = FxHashMap::default();
        for (file, name) in files {
            let place = (file.file_system, file.inode);
            let has_path = matches!(
                Access::from_u32(file.access),
                Access::Cached | Access::Direct
            );
            if has_path && !self.found.contains_key(&place) && seen.insert(place) {
                let entry = Wanted { place, name };
                wanted.entry(file.inode).or_default().push(entry);
            }
        }
        if wanted.is_empty() {
            return;
        }
        for tgid in processes.take(MAX_PROCESSES) {
            for directory in ["fd", "map_files"] {
                self.look_into(&format!("/proc/{tgid}/{directory}"), &wanted);
            }
        }
    }

    fn look_into(&mut self, directory: &str, wanted: &FxHashMap<u64, Vec<Wanted>>) {
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten().take(MAX_OPEN) {
            let path = entry.path();
            let Ok(status) = fs::metadata(&path) else {
                continue;
            };
            let Some(candidates) = wanted.get(&status.ino()) else {
                continue;
            };
            let Ok(target) = fs::read_link(&path) else {
                continue;
            };
            for candidate in candidates {
                if is(candidate, &status, &target) && self.found.len() < MAX_FILES {
                    let path = target.to_string_lossy().into_owned();
                    self.found.insert(candidate.place, path);
                }
            }
        }
    }
}

/// Whether an open file is the one that is looked for. Overlays show the inode
/// of the file below under a device number of their own, so there its name must
/// do.
fn is(wanted: &Wanted, status: &fs::Metadata, target: &Path) -> bool {
    let device = status.dev();
    let kernel = rustix::fs::major(device) << 20 | rustix::fs::minor(device);
    kernel == wanted.place.0
        || (!wanted.name.is_empty()
            && target
                .file_name()
                .is_some_and(|name| name.to_string_lossy() == wanted.name))
}
