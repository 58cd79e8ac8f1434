//! Reading small files of the kernel, bounded.
//!
//! Cgroups vanish between two reads, and a mount namespace can show anything
//! under these names: whatever cannot be read or understood is `None`.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

/// No file that is read whole is longer than this. The longest is
/// `cgroup.procs` of a busy cgroup.
const MAX_BYTES: u64 = 1 << 20;

pub fn read(path: impl AsRef<Path>) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path)
        .ok()?
        .take(MAX_BYTES)
        .read_to_end(&mut bytes)
        .ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that holds one number.
pub fn number(path: impl AsRef<Path>) -> Option<u64> {
    read(path)?.trim().parse().ok()
}

/// The value of `key` in a file of `key value` lines ("flat keyed" in
/// Documentation/admin-guide/cgroup-v2.rst).
pub fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once([' ', '\t'])?;
        (name.trim_end_matches(':') == key)
            .then(|| value.split_whitespace().next()?.parse().ok())?
    })
}

/// Joins a cgroup's path, which starts with `/`, to its mount point. `None`
/// for one that leaves it: paths outside of our cgroup namespace start with
/// `/..` (cgroup_namespaces(7)).
pub fn below(mount: &Path, path: &str) -> Option<PathBuf> {
    if path.split('/').any(|part| part == "..") {
        return None;
    }
    Some(mount.join(path.trim_start_matches('/')))
}

/// Id of a cgroup: the inode number of its directory.
pub fn cgroup_id(directory: &Path) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(directory).ok()?;
    data.is_dir().then(|| data.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keyed_values() {
        let text = "usage_usec 12\nuser_usec 7\nMemTotal:       24 kB\nbad\n";
        assert_eq!(keyed(text, "user_usec"), Some(7));
        assert_eq!(keyed(text, "MemTotal"), Some(24));
        assert_eq!(keyed(text, "user"), None);
        assert_eq!(keyed(text, "bad"), None);
    }

    #[test]
    fn paths_stay_below_the_mount() {
        let mount = Path::new("/sys/fs/cgroup");
        assert_eq!(below(mount, "/"), Some(PathBuf::from("/sys/fs/cgroup/")));
        assert_eq!(
            below(mount, "/a/b"),
            Some(PathBuf::from("/sys/fs/cgroup/a/b"))
        );
        assert_eq!(below(mount, "/../a"), None);
    }
}
