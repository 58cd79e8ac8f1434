//! Containers as a recording shows them: named, described, told apart.

use std::collections::{HashMap, HashSet};

use super::{Containers, engines, groups::GroupId, paths, paths::Place};
use crate::profile::{Container, NoteKind};

impl Containers {
    pub(super) fn facts(&self, place: &Place) -> Option<&engines::Facts> {
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

    pub(super) fn display(&self, group: GroupId) -> String {
        let place = &self.groups.get(group).place;
        match self.facts(place).map(engines::Facts::display) {
            Some(name) if !name.is_empty() => name,
            _ => place.name.clone(),
        }
    }

    pub(super) fn describe(&self, group: GroupId) -> Container {
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

    pub(super) fn note_nameless(&mut self, problems: &[String]) {
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
}

/// Two engines can have a `web` each.
pub(super) fn make_unique(containers: &mut [Container]) {
    let mut uses: HashMap<String, usize> = HashMap::new();
    for container in containers.iter() {
        *uses.entry(container.name.clone()).or_default() += 1;
    }
    let mut taken = HashSet::new();
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
