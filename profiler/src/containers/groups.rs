//! The known cgroups, grouped by the container or unit that they belong to.

use std::collections::{HashMap, HashSet};

use super::{
    paths::{self, Place},
    usage::Subject,
};

pub type GroupId = usize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hierarchy {
    V2,
    /// That of the chosen controller.
    V1,
}

/// One cgroup of a group.
#[derive(Clone, Debug)]
pub struct Cgroup {
    pub hierarchy: Hierarchy,
    pub id: u64,
    pub path: String,
    /// The kernel side was told to let it through.
    pub admitted: bool,
}

/// A container, a unit, or the host.
#[derive(Clone, Debug, Default)]
pub struct Group {
    pub place: Place,
    /// Its own path in each hierarchy.
    v2: Option<String>,
    v1: Option<String>,
    /// Its own cgroup and those nested in it.
    pub cgroups: Vec<Cgroup>,
    pub published: Option<u32>,
}

impl Group {
    pub fn subject(&self) -> Subject {
        Subject::Cgroup {
            v2: self.v2.clone(),
            v1: self.v1.clone(),
        }
    }

    pub fn path(&self) -> &str {
        self.v1
            .as_deref()
            .or(self.v2.as_deref())
            .unwrap_or(&self.place.path)
    }
}

pub struct Groups {
    groups: Vec<Group>,
    by_cgroup: HashMap<(Hierarchy, u64), GroupId>,
    /// By container id, else by path.
    by_key: HashMap<String, GroupId>,
    touched: HashSet<GroupId>,
    pub too_many: bool,
}

impl Groups {
    pub const HOST: GroupId = 0;

    pub fn new() -> Self {
        Self {
            groups: vec![Group {
                place: Place::host(),
                ..Group::default()
            }],
            by_cgroup: HashMap::new(),
            by_key: HashMap::from([("/".to_owned(), Self::HOST)]),
            touched: HashSet::new(),
            too_many: false,
        }
    }

    pub fn get(&self, group: GroupId) -> &Group {
        &self.groups[group]
    }

    pub fn get_mut(&mut self, group: GroupId) -> &mut Group {
        &mut self.groups[group]
    }

    pub fn ids(&self) -> impl Iterator<Item = GroupId> + use<> {
        0..self.groups.len()
    }

    pub fn find(&self, hierarchy: Hierarchy, id: u64) -> Option<GroupId> {
        self.by_cgroup.get(&(hierarchy, id)).copied()
    }

    pub fn by_container_id(&self, id: &str) -> Option<GroupId> {
        self.by_key.get(id).copied()
    }

    /// Learns of a cgroup. `None` if it is known; else its group, and whether
    /// where the group is has changed.
    pub fn insert(&mut self, hierarchy: Hierarchy, id: u64, path: &str) -> Option<(GroupId, bool)> {
        if self.by_cgroup.contains_key(&(hierarchy, id)) {
            return None;
        }
        let place = paths::classify(path);
        let key = if place.is_container() {
            &place.id
        } else {
            &place.path
        };
        let group = match self.by_key.get(key) {
            Some(&group) => group,
            None => {
                self.by_key.insert(key.clone(), self.groups.len());
                self.groups.push(Group {
                    place: place.clone(),
                    ..Group::default()
                });
                self.groups.len() - 1
            }
        };
        self.by_cgroup.insert((hierarchy, id), group);
        self.touched.insert(group);
        let entry = &mut self.groups[group];
        let own = match hierarchy {
            Hierarchy::V2 => &mut entry.v2,
            Hierarchy::V1 => &mut entry.v1,
        };
        let moved = own.as_ref() != Some(&place.path);
        *own = Some(place.path);
        entry.cgroups.push(Cgroup {
            hierarchy,
            id,
            path: path.to_owned(),
            admitted: false,
        });
        Some((group, moved))
    }

    /// Its names changed: see again whether it is wanted.
    pub fn touch(&mut self, group: GroupId) {
        self.touched.insert(group);
    }

    pub fn touch_all(&mut self) {
        self.touched.extend(0..self.groups.len());
    }

    pub fn take_touched(&mut self) -> Vec<GroupId> {
        let mut touched: Vec<_> = self.touched.drain().collect();
        touched.sort_unstable();
        touched
    }

    /// Other groups are nested in its cgroup, so that its figures include
    /// theirs.
    pub fn holds_others(&self, group: GroupId) -> bool {
        let prefix = format!("{}/", self.groups[group].path().trim_end_matches('/'));
        self.groups
            .iter()
            .enumerate()
            .any(|(other, entry)| other != group && entry.path().starts_with(&prefix))
    }
}
