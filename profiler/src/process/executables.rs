//! Executables: one for each file, however many processes map it.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use profiler_ebpf::{Executable as KernelExecutable, ThreadSpecific, interpreter, state};
use rustc_hash::FxHashMap;

use super::{
    Image, ImageError, MapsEntry,
    image::Parts,
    slots::Slots,
    tables::{Contents, Progress, Tables},
    vdso,
    workers::{Built, Origin, Workers},
};
use crate::{
    bpf::Kernel,
    elf::{Elf, Segment},
    runtimes::{Registry, python::find_thread_specific},
};

/// Index of an [`Executable`]; never used again for another.
pub type ExecutableId = u32;

/// Executables, removed or not, that are remembered at most.
const MAX_REMEMBERED: usize = 1 << 18;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TableState {
    /// Nobody needed it yet.
    NotAsked,
    Building,
    Ready,
    /// There is no unwind information: its code is walked by frame pointers.
    FramePointers,
    Failed(String),
}

pub struct Executable {
    /// Where it is in the kernel side's arrays, while it is mapped.
    slot: Option<u32>,
    origin: Origin,
    /// As its first process names it.
    pub path: PathBuf,
    pub build_id: Vec<u8>,
    pub debug_link: Option<(String, u32)>,
    segments: Vec<Segment>,
    /// Process mappings that refer to it.
    users: u32,
    contents: Contents,
    pub state: TableState,
    /// Slot of the table that it uses or waits for.
    table: Option<u32>,
    /// Where a C library keeps the values of thread-specific keys.
    pub thread_specific: Option<ThreadSpecific>,
    /// Why frames of the interpreter that it holds are not shown.
    unsupported: Option<String>,
    /// Index of the build of V8 that it holds.
    pub v8: Option<u32>,
    /// A process that maps it: the way to its container's files.
    pub seen_in: u32,
    /// Frames that lie in it were recorded.
    pub sampled: bool,
}

impl Executable {
    /// `None` for the vDSO.
    pub fn file(&self) -> Option<&Arc<File>> {
        match &self.origin {
            Origin::File(file) => Some(file),
            Origin::Memory(_) => None,
        }
    }

    /// The image of the vDSO.
    pub fn memory(&self) -> Option<&[u8]> {
        match &self.origin {
            Origin::File(_) => None,
            Origin::Memory(bytes) => Some(bytes),
        }
    }
}

/// What tells one file from another in `/proc/PID/maps`.
///
/// The file is held open as long as it is known, so its inode number cannot
/// be given to another file meanwhile.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct FileKey {
    device: (u32, u32),
    inode: u64,
}

const VDSO_KEY: FileKey = FileKey {
    device: (u32::MAX, u32::MAX),
    inode: 0,
};

/// What a mapping's file turned out to be.
pub enum Found {
    Executable {
        id: ExecutableId,
        bias: u64,
    },
    /// No ELF file: code made at run time, kept in a file in memory.
    NotElf,
    /// It could not be opened or understood.
    Unusable,
}

pub struct Executables {
    all: Vec<Executable>,
    by_file: FxHashMap<FileKey, ExecutableId>,
    /// Files that are no ELF, or that could not be read.
    refused: FxHashMap<FileKey, bool>,
    slots: Slots,
    pub tables: Tables,
    vdso: Option<Arc<Vec<u8>>>,
    pub runtimes: Registry,
    /// Slots that were asked for when none was left.
    pub refused_slots: u64,
    pub unreadable: u64,
    pub built: u64,
    pub build_cpu_ns: u64,
}

impl Executables {
    #[expect(
        clippy::new_without_default,
        reason = "it reads the vDSO of this process"
    )]
    pub fn new() -> Self {
        Self {
            all: Vec::new(),
            by_file: FxHashMap::default(),
            refused: FxHashMap::default(),
            slots: Slots::new(),
            tables: Tables::new(),
            vdso: vdso::read().map(Arc::new),
            runtimes: Registry::default(),
            refused_slots: 0,
            unreadable: 0,
            built: 0,
            build_cpu_ns: 0,
        }
    }

    pub fn get(&self, id: ExecutableId) -> &Executable {
        &self.all[id as usize]
    }

    /// The executable in a slot of the kernel side.
    pub fn in_slot(&self, slot: u32) -> Option<ExecutableId> {
        self.slots.owner(slot)
    }

    pub fn slot_of(&self, id: ExecutableId) -> Option<u32> {
        self.all[id as usize].slot
    }

    pub fn mark_sampled(&mut self, id: ExecutableId) {
        self.all[id as usize].sampled = true;
    }

    /// Executables with frames in the recording.
    pub fn sampled(&self) -> impl Iterator<Item = (ExecutableId, &Executable)> {
        (0..)
            .zip(&self.all)
            .filter(|(_, executable)| executable.sampled)
    }

    /// Executables whose table could not be built, though a stack needed it.
    pub fn failures(&self) -> impl Iterator<Item = (std::path::Display<'_>, &str)> {
        self.all
            .iter()
            .filter_map(|executable| match &executable.state {
                TableState::Failed(reason) if executable.sampled => {
                    Some((executable.path.display(), reason.as_str()))
                }
                _ => None,
            })
    }

    /// Executables with interpreters whose frames are missing from the
    /// recording, and why.
    pub fn unsupported(&self) -> impl Iterator<Item = (std::path::Display<'_>, &str)> {
        self.sampled().filter_map(|(_, executable)| {
            Some((
                executable.path.display(),
                executable.unsupported.as_deref()?,
            ))
        })
    }

    /// Executables that are mapped now.
    pub fn mapped(&self) -> usize {
        self.all
            .iter()
            .filter(|executable| executable.slot.is_some())
            .count()
    }

    /// Finds or makes the executable of a mapping, and counts the mapping.
    pub fn acquire(&mut self, tgid: u32, entry: &MapsEntry, kernel: &mut Kernel) -> Found {
        let key = if entry.is_vdso() {
            VDSO_KEY
        } else {
            FileKey {
                device: entry.device,
                inode: entry.inode,
            }
        };
        if let Some(&is_elf) = self.refused.get(&key) {
            return if is_elf {
                Found::Unusable
            } else {
                Found::NotElf
            };
        }
        let id = match self.by_file.get(&key) {
            Some(&id) => id,
            None => match self.open(tgid, entry, key) {
                Ok(id) => id,
                Err(refusal) => return refusal,
            },
        };
        if self.all[id as usize].slot.is_none() && !self.give_slot(id, kernel) {
            self.refused_slots += 1;
            return Found::Unusable;
        }
        let executable = &mut self.all[id as usize];
        let Some(bias) = crate::elf::bias(&executable.segments, entry.start, entry.offset) else {
            return Found::Unusable;
        };
        executable.users += 1;
        executable.seen_in = tgid;
        Found::Executable { id, bias }
    }

    fn open(&mut self, tgid: u32, entry: &MapsEntry, key: FileKey) -> Result<ExecutableId, Found> {
        if self.all.len() >= MAX_REMEMBERED {
            return Err(Found::Unusable);
        }
        let origin = if key == VDSO_KEY {
            Origin::Memory(self.vdso.clone().ok_or(Found::Unusable)?)
        } else {
            match open_mapped_file(tgid, entry) {
                Ok(file) => Origin::File(Arc::new(file)),
                Err(error) => {
                    // The process may just have ended: not remembered.
                    log::debug!("{}: {error}", entry.path.display());
                    self.unreadable += 1;
                    return Err(Found::Unusable);
                }
            }
        };
        match describe(&origin) {
            Ok(Description {
                segments,
                build_id,
                debug_link,
                thread_specific,
                build,
            }) => {
                let id = self.all.len() as ExecutableId;
                self.all.push(Executable {
                    slot: None,
                    origin,
                    path: entry.path.clone(),
                    build_id,
                    debug_link,
                    segments,
                    users: 0,
                    contents: build.unwrap_or(Contents::Only(id)),
                    state: TableState::NotAsked,
                    table: None,
                    thread_specific,
                    unsupported: None,
                    v8: None,
                    seen_in: tgid,
                    sampled: false,
                });
                self.by_file.insert(key, id);
                Ok(id)
            }
            Err(Refusal::NotElf) => {
                self.refused.insert(key, false);
                Err(Found::NotElf)
            }
            Err(Refusal::Damaged(reason)) => {
                log::warn!("{}: {reason}", entry.path.display());
                self.unreadable += 1;
                self.refused.insert(key, true);
                Err(Found::Unusable)
            }
        }
    }

    fn give_slot(&mut self, id: ExecutableId, kernel: &mut Kernel) -> bool {
        let now = Instant::now();
        let Some(slot) = self.slots.take(id, now) else {
            return false;
        };
        if kernel
            .set_executable(slot, KernelExecutable::default())
            .is_err()
        {
            self.slots.give_back(slot, now);
            return false;
        }
        let executable = &mut self.all[id as usize];
        executable.slot = Some(slot);
        executable.state = TableState::NotAsked;
        true
    }

    /// A mapping of the executable is gone. With the last one its table is
    /// freed, unless others use it, and, unless it is part of the recording,
    /// the file closed.
    pub fn release(&mut self, id: ExecutableId, kernel: &mut Kernel, workers: &Workers) {
        let executable = &mut self.all[id as usize];
        executable.users = executable.users.saturating_sub(1);
        if executable.users > 0 {
            return;
        }
        executable.state = TableState::NotAsked;
        let Some(slot) = executable.slot.take() else {
            return;
        };
        let _ = kernel.set_executable(slot, KernelExecutable::default());
        self.slots.give_back(slot, Instant::now());
        if let Some(table) = executable.table.take()
            && self.tables.leave(table, id)
        {
            workers.clear(table);
        }
        self.forget_unused();
    }

    /// Closes files that are neither mapped nor part of the recording, when
    /// many have piled up.
    fn forget_unused(&mut self) {
        const MANY: usize = 512;
        if self.by_file.len() <= self.mapped() + MANY {
            return;
        }
        let all = &mut self.all;
        self.by_file.retain(|_, id| {
            let executable = &mut all[*id as usize];
            let keep = executable.slot.is_some() || executable.sampled;
            if !keep {
                executable.origin = Origin::Memory(Arc::default());
                executable.segments = Vec::new();
            }
            keep
        });
    }

    /// Wants the table of an executable; `demand` says how much. True when it
    /// is there already, made for a file of the same contents.
    pub fn ask(
        &mut self,
        id: ExecutableId,
        demand: u64,
        kernel: &mut Kernel,
        workers: &Workers,
    ) -> bool {
        let executable = &mut self.all[id as usize];
        match (&executable.state, executable.table) {
            (TableState::NotAsked, _) if executable.slot.is_some() => {}
            (TableState::Building, Some(table)) if demand > 0 => {
                workers.press(table, demand);
                return false;
            }
            _ => return false,
        }
        // Where there is no room, the next stack that needs it asks again.
        let Some((table, progress)) = self.tables.join(id, executable.contents) else {
            return false;
        };
        executable.table = Some(table);
        executable.state = TableState::Building;
        match progress {
            Progress::New => workers.ask(table, &executable.origin, &executable.path, demand),
            Progress::Building => workers.press(table, demand),
            Progress::Finished => self.publish(id, table, kernel),
        }
        progress == Progress::Finished
    }

    /// Makes a finished table visible to all that wait for it, and returns
    /// them.
    pub fn install(
        &mut self,
        built: Built,
        kernel: &mut Kernel,
        workers: &Workers,
    ) -> Vec<ExecutableId> {
        self.built += 1;
        self.build_cpu_ns += built.cpu_ns;
        let users = self.tables.finish(built.slot, built.result);
        if users.is_empty() {
            // All their processes ended meanwhile.
            workers.clear(built.slot);
        }
        if let Some(&id) = users.first() {
            log::debug!(
                "unwind table of {} built in {:.1} ms",
                self.all[id as usize].path.display(),
                built.cpu_ns as f64 / 1e6
            );
        }
        for &id in &users {
            self.publish(id, built.slot, kernel);
        }
        users
    }

    /// Tells the kernel side of an executable and its table. What interpreter
    /// it holds is said of each executable, though all of these contents hold
    /// the same.
    fn publish(&mut self, id: ExecutableId, table: u32, kernel: &mut Kernel) {
        let executable = &mut self.all[id as usize];
        let (Some(slot), Some(finished)) = (executable.slot, self.tables.finished(table)) else {
            return;
        };
        let (info, new_state) = match finished {
            Ok(outcome) => {
                let mut info = KernelExecutable {
                    table,
                    generation: self.tables.generation(table),
                    ..outcome.info
                };
                executable.unsupported = outcome.runtime.as_ref().and_then(|runtime| {
                    self.runtimes
                        .publish(runtime, kernel, &mut info)
                        .map_err(|error| error.to_string())
                        .err()
                });
                executable.v8 = (u32::from(info.runtime) == interpreter::V8)
                    .then_some(u32::from(info.runtime_index));
                let new_state = if info.state == state::FRAME_POINTERS {
                    TableState::FramePointers
                } else {
                    TableState::Ready
                };
                (info, new_state)
            }
            Err(reason) => {
                log::warn!("{}: {reason}", executable.path.display());
                failed(reason.clone())
            }
        };
        executable.state = match kernel.set_executable(slot, info) {
            Ok(()) => new_state,
            Err(error) => TableState::Failed(error.to_string()),
        };
    }
}

fn failed(reason: String) -> (KernelExecutable, TableState) {
    let info = KernelExecutable {
        state: state::UNAVAILABLE,
        ..KernelExecutable::default()
    };
    (info, TableState::Failed(reason))
}

enum Refusal {
    NotElf,
    Damaged(String),
}

struct Description {
    segments: Vec<Segment>,
    build_id: Vec<u8>,
    debug_link: Option<(String, u32)>,
    thread_specific: Option<ThreadSpecific>,
    /// What it shares a table by.
    build: Option<Contents>,
}

fn describe(origin: &Origin) -> Result<Description, Refusal> {
    let read;
    let (bytes, digest): (&[u8], _) = match origin {
        Origin::Memory(bytes) => (bytes, None),
        Origin::File(file) => {
            read = Image::read(file, Parts::Comparison).map_err(|error| match error {
                ImageError::NotElf => Refusal::NotElf,
                other => Refusal::Damaged(other.to_string()),
            })?;
            (read.bytes(), read.comparison())
        }
    };
    let elf = Elf::parse(bytes).map_err(|error| Refusal::Damaged(error.to_string()))?;
    let thread_specific = match origin {
        Origin::File(file) => find_thread_specific(file, &elf),
        Origin::Memory(_) => None,
    };
    Ok(Description {
        segments: elf.segments().to_vec(),
        build_id: elf.build_id().unwrap_or_default().to_vec(),
        debug_link: elf.debug_link(),
        thread_specific,
        build: elf
            .build_id()
            .zip(digest)
            .map(|(_, parts)| Contents::Build {
                size: bytes.len() as u64,
                parts,
            }),
    })
}

/// Opens the file behind a mapping: through `map_files`, which works for
/// deleted files and in any mount namespace; without the privilege for it,
/// through the process's root, if that is still the same file.
fn open_mapped_file(tgid: u32, entry: &MapsEntry) -> std::io::Result<File> {
    let link = format!("/proc/{tgid}/map_files/{:x}-{:x}", entry.start, entry.end);
    File::open(&link).or_else(|first| {
        let below_root = entry.path.strip_prefix("/").map_err(|_| first)?;
        let file = File::open(Path::new(&format!("/proc/{tgid}/root")).join(below_root))?;
        if file.metadata()?.ino() == entry.inode {
            Ok(file)
        } else {
            Err(std::io::Error::other("the file was replaced"))
        }
    })
}
