//! Containers: from the cgroup of a sample to a name, and what the cgroups
//! themselves account for.
//!
//! A cgroup's id is the inode number of its directory, in the kernel and here.
//! [`paths`] says what a path means, [`engines`] what its container is called,
//! [`usage`] what it used. Nothing here waits for an engine while a recording
//! runs.

mod admit;
mod describe;
pub mod engines;
mod files;
mod groups;
pub mod mounts;
pub mod paths;
mod scan;
pub mod select;
pub mod usage;

use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;

use crate::profile::{Container, ContainerId, ContainerKind, Note, NoteKind};
pub use engines::Endpoint;
use engines::Engines;
use groups::{GroupId, Groups, Hierarchy};
pub use mounts::{Mounts, V1Controller};
use paths::Place;
use select::Pattern;
pub use select::{CgroupIds, SelectError, Selection};
use usage::{Subject, Watcher};

/// At most this long a question before or after a recording waits for engines.
const ENGINE_PATIENCE: Duration = Duration::from_secs(5);
/// Unknown ids make us look at all cgroups again, at most this often.
const RESCAN: Duration = Duration::from_millis(250);
/// A whole scan takes at most this part of a CPU.
const RESCAN_REST: u32 = 50;
/// An id that nobody knows is looked up again after this.
const RETRY: Duration = Duration::from_millis(500);
const MAX_MISSES: usize = 4096;
/// Paths in events are cut at this length (`CGROUP_PATH_LENGTH` less the
/// terminator): a path this long may be incomplete.
const CUT_PATH: usize = profiler_ebpf::CGROUP_PATH_LENGTH - 1;

/// Shown for processes whose cgroup was gone before it could be looked up.
pub const UNKNOWN: &str = "[unknown cgroup]";

pub struct Containers {
    mounts: Mounts,
    groups: Groups,
    engines: Engines,
    watcher: Watcher,
    /// Group of each published container; the first is the host.
    published: Vec<Option<GroupId>>,
    /// (v2, v1) → container.
    resolved: FxHashMap<(u64, u64), ContainerId>,
    unknown: Option<ContainerId>,
    misses: FxHashMap<(u64, u64), Instant>,
    next_scan: Instant,
    patterns: Vec<Pattern>,
    begun: bool,
    notes: Vec<Note>,
}

impl Containers {
    /// Looks at all cgroups and starts asking this host's engines.
    pub fn new() -> Self {
        Self::with(Mounts::find(), Endpoint::discover())
    }

    /// With these engines instead of those of the host.
    pub fn with(mounts: Mounts, endpoints: Vec<Endpoint>) -> Self {
        let engines = Engines::start(endpoints);
        let watcher = Watcher::start(mounts.clone());
        let mut containers = Self {
            groups: Groups::new(),
            engines,
            watcher,
            published: vec![Some(Groups::HOST)],
            resolved: FxHashMap::default(),
            unknown: None,
            misses: FxHashMap::default(),
            next_scan: Instant::now(),
            patterns: Vec::new(),
            begun: false,
            notes: Vec::new(),
            mounts,
        };
        containers.groups.get_mut(Groups::HOST).published = Some(0);
        containers.watcher.watch(Groups::HOST, Subject::Host, false);
        containers.rescan();
        if containers.mounts.v2.is_none() && !containers.mounts.has_v1() {
            containers.note(
                NoteKind::Missing,
                "no cgroup hierarchy is mounted: everything is shown as host; \
                 mount one with `mount -t cgroup2 none /sys/fs/cgroup`",
            );
        } else if !containers.mounts.shows_whole_host() {
            containers.note(
                NoteKind::Missing,
                "the profiler runs in a cgroup namespace and sees only the cgroups in it: \
                 run it on the host, or in a container with --cgroupns=host --pid=host",
            );
        }
        containers
    }

    /// Which version 1 controller's ids the kernel side should send, `None`
    /// on a host with version 2 only.
    pub fn v1_controller(&self) -> Option<&V1Controller> {
        self.mounts.v1_controller()
    }

    /// The recording begins: counters count from here.
    pub fn begin(&mut self) {
        self.begun = true;
        self.watcher.begin();
    }

    /// The recording ends: counters count up to here.
    pub fn end(&mut self) {
        self.watcher.end();
    }

    /// The container that a task with these cgroups is in. `tgid` is asked
    /// where its cgroup is when the ids are not known; 0 for a task that is
    /// gone.
    pub fn resolve(&mut self, cgroup_v2: u64, cgroup_v1: u64, tgid: u32) -> ContainerId {
        if let Some(&container) = self.resolved.get(&(cgroup_v2, cgroup_v1)) {
            return container;
        }
        let group = self.lookup(cgroup_v2, cgroup_v1).or_else(|| {
            let now = Instant::now();
            let missed = self.misses.get(&(cgroup_v2, cgroup_v1));
            if missed.is_some_and(|&when| now - when < RETRY) {
                return None;
            }
            self.ask_process(cgroup_v2, cgroup_v1, tgid);
            self.lookup(cgroup_v2, cgroup_v1)
                .or_else(|| {
                    if now < self.next_scan {
                        return None;
                    }
                    self.rescan();
                    self.lookup(cgroup_v2, cgroup_v1)
                })
                .or_else(|| {
                    if self.misses.len() >= MAX_MISSES {
                        self.misses.clear();
                    }
                    self.misses.insert((cgroup_v2, cgroup_v1), now);
                    None
                })
        });
        match group {
            Some(group) => {
                let container = self.publish(group);
                self.resolved.insert((cgroup_v2, cgroup_v1), container);
                container
            }
            None => *self.unknown.get_or_insert_with(|| {
                self.published.push(None);
                (self.published.len() - 1) as ContainerId
            }),
        }
    }

    /// Whether a container from [`Self::resolve`] is one.
    pub fn is_known(&self, container: ContainerId) -> bool {
        self.unknown != Some(container)
    }

    /// A cgroup was made. `hierarchy` is 0 for version 2. Returns the ids to
    /// admit, if it is wanted; that of a container whose name is not known yet
    /// comes from [`Self::newly_wanted`].
    pub fn cgroup_created(&mut self, hierarchy: u32, id: u64, path: &[u8]) -> CgroupIds {
        let hierarchy = match self.mounts.v1_controller() {
            _ if hierarchy == 0 => Hierarchy::V2,
            Some(v1) if v1.hierarchy == hierarchy => Hierarchy::V1,
            _ => return CgroupIds::default(),
        };
        let path = String::from_utf8_lossy(path);
        let path = path.trim_end_matches('\0');
        // A cut path would name another cgroup.
        if path.len() < CUT_PATH && path.starts_with('/') {
            self.insert(hierarchy, id, path, true);
        }
        self.newly_wanted()
    }

    /// Takes in what engines answered meanwhile. Returns ids to admit that
    /// were not known to be wanted before. Call it often (each 100 ms): what a
    /// container does before its id is admitted is not recorded.
    pub fn newly_wanted(&mut self) -> CgroupIds {
        for id in self.engines.take() {
            if let Some(group) = self.groups.by_container_id(&id) {
                self.groups.touch(group);
            }
        }
        self.admit()
    }

    /// The recording's containers, by id, and what to know about them. Waits
    /// up to five seconds for engines that have not answered yet.
    pub fn finish(mut self) -> (Vec<Container>, Vec<Note>) {
        self.watcher.end();
        for group in self.published.iter().flatten() {
            let place = &self.groups.get(*group).place;
            if place.is_container() {
                self.engines.ask(&place.id);
            }
        }
        let problems = self.engines.finish(ENGINE_PATIENCE);
        self.engines.take();
        self.note_nameless(&problems);

        let mut usage = std::mem::replace(&mut self.watcher, Watcher::idle()).finish();
        let mut containers: Vec<Container> = Vec::with_capacity(self.published.len());
        for &group in &self.published {
            containers.push(match group {
                None => Container {
                    name: UNKNOWN.to_owned(),
                    kind: ContainerKind::Cgroup,
                    ..Container::default()
                },
                Some(group) => {
                    let mut container = self.describe(group);
                    // Its figures would include those of others.
                    if group == Groups::HOST || !self.groups.holds_others(group) {
                        container.usage = usage.remove(&group);
                    }
                    container
                }
            });
        }
        describe::make_unique(&mut containers);
        (containers, self.notes)
    }

    fn note(&mut self, kind: NoteKind, text: &str) {
        self.notes.push(Note {
            kind,
            text: text.to_owned(),
        });
    }

    /// A container beats a plain cgroup, and version 1 beats version 2: on
    /// hybrid hosts engines use version 1, and version 2 holds systemd's units
    /// or nothing.
    fn lookup(&self, cgroup_v2: u64, cgroup_v1: u64) -> Option<GroupId> {
        if self.mounts.v2.is_none() && self.mounts.v1_controller().is_none() {
            return Some(Groups::HOST);
        }
        let v2 = self.groups.find(Hierarchy::V2, cgroup_v2);
        let v1 = self.groups.find(Hierarchy::V1, cgroup_v1);
        let unknown_v1 = v1.is_none() && cgroup_v1 != 0 && self.mounts.v1_controller().is_some();
        let unknown_v2 = v2.is_none() && cgroup_v2 != 0 && self.mounts.v2.is_some();
        let is = |group: Option<GroupId>, what: fn(&Place) -> bool| {
            group.filter(|&group| what(&self.groups.get(group).place))
        };
        is(v1, Place::is_container)
            .or_else(|| is(v2, Place::is_container))
            .or_else(|| {
                // The one that is not known may be the container.
                if unknown_v1 || unknown_v2 {
                    return None;
                }
                is(v1, |place| !place.is_host())
                    .or_else(|| is(v2, |place| !place.is_host()))
                    .or(v1)
                    .or(v2)
            })
    }

    /// Where a live process says it is. Believed only when the directory has
    /// the id: the process may have moved, or be another one by now.
    fn ask_process(&mut self, cgroup_v2: u64, cgroup_v1: u64, tgid: u32) {
        if tgid == 0 {
            return;
        }
        let Some(text) = files::read(format!("/proc/{tgid}/cgroup")) else {
            return;
        };
        let (v2, v1) = self.mounts.paths_of(&text);
        for (hierarchy, id, path) in [
            (Hierarchy::V2, cgroup_v2, v2),
            (Hierarchy::V1, cgroup_v1, v1),
        ] {
            let Some(path) = path.filter(|_| id != 0 && self.groups.find(hierarchy, id).is_none())
            else {
                continue;
            };
            let Some(mount) = self.mount(hierarchy) else {
                continue;
            };
            let believed = match files::below(mount, path) {
                Some(directory) => files::cgroup_id(&directory) == Some(id),
                // Outside of our cgroup namespace there is nothing to check.
                None => true,
            };
            if believed {
                let path = path.to_owned();
                self.insert(hierarchy, id, &path, self.begun);
            }
        }
    }

    /// Ids of the cgroups that a process is in, of both versions; 0 where it is
    /// not known.
    pub fn cgroups_of(&self, tgid: u32) -> (u64, u64) {
        let text = files::read(format!("/proc/{tgid}/cgroup")).unwrap_or_default();
        let (v2, v1) = self.mounts.paths_of(&text);
        let id = |hierarchy, path: Option<&str>| {
            let directory = files::below(self.mount(hierarchy)?, path?)?;
            files::cgroup_id(&directory)
        };
        (
            id(Hierarchy::V2, v2).unwrap_or(0),
            id(Hierarchy::V1, v1).unwrap_or(0),
        )
    }

    fn mount(&self, hierarchy: Hierarchy) -> Option<&std::path::Path> {
        match hierarchy {
            Hierarchy::V2 => self.mounts.v2.as_deref(),
            Hierarchy::V1 => self.mounts.v1_controller().map(|v1| v1.mount.as_path()),
        }
    }

    fn rescan(&mut self) {
        let start = Instant::now();
        let mut complete = true;
        for hierarchy in [Hierarchy::V2, Hierarchy::V1] {
            let Some(mount) = self.mount(hierarchy) else {
                continue;
            };
            let (cgroups, all) = scan::scan(mount);
            complete &= all;
            for cgroup in cgroups {
                self.insert(hierarchy, cgroup.id, &cgroup.path, self.begun);
            }
        }
        if !complete && !self.groups.too_many {
            self.groups.too_many = true;
            self.note(
                NoteKind::Warning,
                "this host has more cgroups than are looked at",
            );
        }
        let took = start.elapsed();
        self.next_scan = Instant::now() + RESCAN.max(took * RESCAN_REST);
    }

    /// Learns of a cgroup. `fresh`: it was made while we record.
    fn insert(&mut self, hierarchy: Hierarchy, id: u64, path: &str, fresh: bool) {
        let Some((group, moved)) = self.groups.insert(hierarchy, id, path) else {
            return;
        };
        let place = &self.groups.get(group).place;
        if place.is_host() {
            return;
        }
        let is_container = place.is_container();
        if is_container {
            self.engines.ask(&place.id);
        }
        // Not again for every cgroup that is nested in it.
        if moved {
            let subject = self.groups.get(group).subject();
            self.watcher.watch(group, subject, fresh);
        }
        // Idle containers are of interest, unless others were asked for;
        // idle units are not.
        if is_container && self.patterns.is_empty() {
            self.publish(group);
        }
    }

    fn publish(&mut self, group: GroupId) -> ContainerId {
        let next = self.published.len() as ContainerId;
        let known = &mut self.groups.get_mut(group).published;
        match *known {
            Some(container) => container,
            None => {
                *known = Some(next);
                self.published.push(Some(group));
                next
            }
        }
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
