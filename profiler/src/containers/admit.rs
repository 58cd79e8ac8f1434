//! Which containers and cgroups a recording admits: those that its patterns
//! match now, and those that come later.

use super::{
    CgroupIds, Containers, ENGINE_PATIENCE, SelectError, Selection,
    groups::{GroupId, Groups, Hierarchy},
    select::{Names, Pattern, there_are},
};
use crate::profile::NoteKind;

impl Containers {
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

    /// Ids that have become wanted since the last call.
    pub(super) fn admit(&mut self) -> CgroupIds {
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
}
