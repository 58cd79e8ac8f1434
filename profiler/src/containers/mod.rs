//! Containers: from the cgroup of a sample to a name, and what the cgroups
//! themselves account for.
//!
//! A cgroup's id is the inode number of its directory, in the kernel and here.
//! [`paths`] says what a path means, [`engines`] what its container is called,
//! [`usage`] what it used. Nothing here waits for an engine while a recording
//! runs.

pub mod engines;
mod files;
mod groups;
pub mod mounts;
pub mod paths;
mod scan;
pub mod select;
pub mod usage;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use crate::profile::{Container, ContainerId, ContainerKind, Note, NoteKind};
pub use engines::Endpoint;
use engines::Engines;
use groups::{GroupId, Groups, Hierarchy};
pub use mounts::{Mounts, V1Controller};
use paths::Place;
pub use select::{CgroupIds, SelectError, Selection};
use select::{Names, Pattern, there_are};
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

    /// Selects containers and cgroups by name (`web`, `pod/container`,
    /// `namespace/pod`, a compose service), glob (`web*`), the first 4 or more
    /// digits of an id, unit (`ssh.service`, `ssh`) or path of a cgroup.
    ///
    /// Waits up to five seconds for the names. Without a match now, a glob waits
    /// for containers that start later; a name is an error.
    pub fn select(&mut self, patterns: &[String]) -> Result<Selection, SelectError> {
        self.engines.wait_for_list(ENGINE_PATIENCE);
        self.engines.take();
        let all: Vec<(GroupId, Vec<Names>)> = self
            .groups
            .ids()
            .map(|group| (group, self.names_of(group)))
            .collect();
        let mut wanted = Vec::new();
        for text in patterns {
            let pattern = Pattern::parse(text)?;
            let matching = |pattern: &Pattern| {
                all.iter()
                    .filter(|(_, names)| names.iter().any(|names| pattern.matches(names)))
                    .map(|(group, _)| *group)
                    .collect::<Vec<_>>()
            };
            let (by_path, by_id) = pattern.others();
            let named = matching(&pattern);
            let in_path = by_path.as_ref().map(matching).unwrap_or_default();
            // A container called `docker` is not all that is below `/docker`;
            // but `system.slice` is its services too.
            let any_container = named
                .iter()
                .any(|&group| self.groups.get(group).place.is_container());
            if !named.is_empty() && (any_container || in_path.is_empty()) {
                wanted.push(pattern);
                continue;
            }
            if let (Some(by_path), false) = (by_path, in_path.is_empty()) {
                wanted.push(by_path);
                continue;
            }
            let found = by_id.as_ref().map(matching).unwrap_or_default();
            match (by_id, found.as_slice()) {
                (Some(by_id), [_]) => wanted.push(by_id),
                (Some(_), [_, _, ..]) => {
                    return Err(SelectError::Ambiguous {
                        pattern: text.clone(),
                        which: found
                            .iter()
                            .map(|&group| self.groups.get(group).place.name.clone())
                            .collect::<Vec<_>>()
                            .join(", "),
                    });
                }
                _ if matches!(pattern, Pattern::Glob(_)) => {
                    self.note(
                        NoteKind::Info,
                        &format!("no container matched `{text}` at the start"),
                    );
                    wanted.push(pattern);
                }
                _ => {
                    return Err(SelectError::Unknown {
                        pattern: text.clone(),
                        there_are: there_are(self.listing()),
                    });
                }
            }
        }
        self.patterns = wanted;
        self.groups.touch_all();
        let ids = self.admit();
        let mut names: Vec<String> = self
            .groups
            .ids()
            .filter(|&group| self.wants(group))
            .map(|group| self.display(group))
            .collect();
        names.sort();
        names.dedup();
        Ok(Selection { ids, names })
    }

    /// Containers first, then units, by name.
    fn listing(&self) -> Vec<String> {
        let mut names: Vec<(bool, String)> = self
            .groups
            .ids()
            .map(|group| (!self.groups.get(group).place.is_container(), group))
            .map(|(unit, group)| (unit, self.display(group)))
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
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
        make_unique(&mut containers);
        (containers, self.notes)
    }

    fn note(&mut self, kind: NoteKind, text: &str) {
        self.notes.push(Note {
            kind,
            text: text.to_owned(),
        });
    }

    fn note_nameless(&mut self, problems: &[String]) {
        let nameless: Vec<String> = self
            .published
            .iter()
            .flatten()
            .map(|&group| self.groups.get(group))
            .filter(|group| group.place.is_container() && self.facts(&group.place).is_none())
            .map(|group| group.place.name.clone())
            .collect();
        let Some(first) = nameless.first() else {
            return;
        };
        let why = if problems.is_empty() {
            "no engine of this host knows them".to_owned()
        } else {
            format!("could not ask {}", problems.join("; "))
        };
        let text = format!(
            "{} shown by id ({first}{}): {why}. Set DOCKER_HOST if the engine listens elsewhere",
            if nameless.len() == 1 {
                "1 container is".to_owned()
            } else {
                format!("{} containers are", nameless.len())
            },
            if nameless.len() > 1 { ", …" } else { "" },
        );
        self.note(NoteKind::Missing, &text);
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

    /// Ids that have become wanted since the last call.
    fn admit(&mut self) -> CgroupIds {
        let touched = self.groups.take_touched();
        let mut ids = CgroupIds::default();
        if self.patterns.is_empty() {
            return ids;
        }
        for group in touched {
            let mut any = false;
            for index in 0..self.groups.get(group).cgroups.len() {
                let cgroup = &self.groups.get(group).cgroups[index];
                if cgroup.admitted || !self.wants_cgroup(group, index) {
                    continue;
                }
                match cgroup.hierarchy {
                    Hierarchy::V2 => ids.v2.push(cgroup.id),
                    Hierarchy::V1 => ids.v1.push(cgroup.id),
                }
                self.groups.get_mut(group).cgroups[index].admitted = true;
                any = true;
            }
            if any {
                self.publish(group);
            }
        }
        ids
    }

    fn wants(&self, group: GroupId) -> bool {
        (0..self.groups.get(group).cgroups.len()).any(|index| self.wants_cgroup(group, index))
    }

    fn wants_cgroup(&self, group: GroupId, index: usize) -> bool {
        let cgroup = &self.groups.get(group).cgroups[index];
        // With version 1 every task of such a host can be in the root of
        // version 2: only the other one tells the host from containers.
        if group == Groups::HOST
            && cgroup.hierarchy == Hierarchy::V2
            && self.mounts.v1_controller().is_some()
        {
            return false;
        }
        let names = self.names(group, &cgroup.path);
        self.patterns.iter().any(|pattern| pattern.matches(&names))
    }

    fn names_of(&self, group: GroupId) -> Vec<Names> {
        self.groups
            .get(group)
            .cgroups
            .iter()
            .map(|cgroup| self.names(group, &cgroup.path))
            .collect()
    }

    fn facts(&self, place: &Place) -> Option<&engines::Facts> {
        let facts = self.engines.facts.get(&place.id)?;
        match facts.user {
            None => Some(facts),
            // A user's engine may say anything: it is believed about what
            // runs under the user's own cgroup.
            Some(user) => place
                .path
                .split('/')
                .any(|part| part == format!("user-{user}.slice"))
                .then_some(facts),
        }
    }

    fn names(&self, group: GroupId, path: &str) -> Names {
        let place = &self.groups.get(group).place;
        let mut names = vec![place.name.clone()];
        if let Some(facts) = self.facts(place) {
            names.push(facts.name.clone());
            if !facts.pod.is_empty() {
                names.push(facts.display());
                names.push(facts.pod.clone());
                names.push(format!("{}/{}", facts.namespace, facts.pod));
                names.push(format!("{}/{}", facts.namespace, facts.display()));
            }
            names.extend(facts.labels.get("com.docker.compose.service").cloned());
        }
        Names {
            names,
            id: place.id.clone(),
            path: path.to_owned(),
        }
    }

    fn display(&self, group: GroupId) -> String {
        let place = &self.groups.get(group).place;
        match self.facts(place).map(engines::Facts::display) {
            Some(name) if !name.is_empty() => name,
            _ => place.name.clone(),
        }
    }

    fn describe(&self, group: GroupId) -> Container {
        let entry = self.groups.get(group);
        let place = &entry.place;
        let mut container = Container {
            name: self.display(group),
            kind: place.kind,
            id: place.id.clone(),
            // The name is not known, the uid is.
            pod: place.pod_uid.clone(),
            cgroup: entry.path().to_owned(),
            ..Container::default()
        };
        if let Some(facts) = self.facts(place) {
            container.kind = facts.kind;
            container.image = facts.image.clone();
            container.labels = facts
                .labels
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect();
            container.namespace = facts.namespace.clone();
            if !facts.pod.is_empty() {
                container.pod = facts.pod.clone();
            }
        }
        if !place.pod_uid.is_empty() {
            for (key, value) in [
                ("kubernetes.pod.uid", &place.pod_uid),
                ("kubernetes.qos", &place.qos),
            ] {
                container.labels.push((key.to_owned(), value.clone()));
            }
        }
        container
    }
}

impl Default for Containers {
    fn default() -> Self {
        Self::new()
    }
}

/// Two engines can have a `web` each.
fn make_unique(containers: &mut [Container]) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for container in containers.iter() {
        *uses.entry(container.name.clone()).or_default() += 1;
    }
    let mut taken = std::collections::HashSet::new();
    for (index, container) in containers.iter_mut().enumerate() {
        // The host keeps its name.
        if index > 0 && uses.get(&container.name).is_some_and(|&uses| uses > 1) {
            let more = if container.id.is_empty() {
                container.cgroup.as_str()
            } else {
                paths::short_id(&container.id)
            };
            container.name = format!("{}-{more}", container.name);
        }
        let name = container.name.clone();
        let mut number = 2;
        while !taken.insert(container.name.clone()) {
            container.name = format!("{name}-{number}");
            number += 1;
        }
    }
}

#[cfg(test)]
mod tests;
