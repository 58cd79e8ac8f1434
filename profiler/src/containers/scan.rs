//! All cgroups of a hierarchy.

use std::path::Path;

use super::files;

/// More cgroups, or deeper ones, than any host should have.
const MAX_CGROUPS: usize = 1 << 17;
const MAX_DEPTH: usize = 64;

/// A cgroup: its id and its path below the mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroup {
    pub id: u64,
    pub path: String,
}

/// Parents come before their children. False when there are more than are
/// listed.
pub fn scan(mount: &Path) -> (Vec<Cgroup>, bool) {
    let mut found = Vec::new();
    let mut complete = true;
    let mut stack = vec![(mount.to_owned(), String::new(), 0)];
    while let Some((directory, path, depth)) = stack.pop() {
        // It may have gone since its parent was read.
        let Some(id) = files::cgroup_id(&directory) else {
            continue;
        };
        if found.len() >= MAX_CGROUPS || depth > MAX_DEPTH {
            complete = false;
            continue;
        }
        for entry in std::fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let name = entry.file_name();
                let child = format!("{path}/{}", name.to_string_lossy());
                stack.push((entry.path(), child, depth + 1));
            }
        }
        let path = if path.is_empty() {
            "/".to_owned()
        } else {
            path
        };
        found.push(Cgroup { id, path });
    }
    (found, complete)
}
