//! Where this host's cgroup hierarchies are mounted, version 1, version 2 or
//! both (hybrid).

use std::path::{Path, PathBuf};

use super::files;

/// Version 1 controllers in the order of preference for telling containers
/// apart: engines always use the first ones, and systemd makes a cgroup per
/// unit in them when accounting is on. `cpuset` is last: many hosts use it for
/// partitions that have nothing to do with containers.
///
/// The second name is the kernel's, from include/linux/cgroup_subsys.h: `X` in
/// `X_cgrp_id` of `enum cgroup_subsys_id`.
const CONTROLLERS: [(&str, &str); 13] = [
    ("memory", "memory_cgrp_id"),
    ("pids", "pids_cgrp_id"),
    ("cpuacct", "cpuacct_cgrp_id"),
    ("cpu", "cpu_cgrp_id"),
    ("blkio", "io_cgrp_id"),
    ("devices", "devices_cgrp_id"),
    ("freezer", "freezer_cgrp_id"),
    ("net_cls", "net_cls_cgrp_id"),
    ("net_prio", "net_prio_cgrp_id"),
    ("perf_event", "perf_event_cgrp_id"),
    ("hugetlb", "hugetlb_cgrp_id"),
    ("rdma", "rdma_cgrp_id"),
    ("cpuset", "cpuset_cgrp_id"),
];

/// The version 1 controller whose cgroup ids the kernel side should send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct V1Controller {
    /// As in `/proc/cgroups`: `memory`.
    pub name: &'static str,
    /// As in the kernel's `enum cgroup_subsys_id`: `memory_cgrp_id`.
    pub kernel_name: &'static str,
    /// Number of its hierarchy, as in `/proc/PID/cgroup` and in events.
    pub hierarchy: u32,
    pub mount: PathBuf,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct V1Mount {
    controllers: Vec<String>,
    mount: PathBuf,
}

/// The mounted hierarchies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    pub v2: Option<PathBuf>,
    v1: Vec<V1Mount>,
    controller: Option<V1Controller>,
}

impl Mounts {
    /// Of this process's mount namespace.
    pub fn find() -> Self {
        Self::parse(
            &files::read("/proc/self/mountinfo").unwrap_or_default(),
            &files::read("/proc/cgroups").unwrap_or_default(),
        )
    }

    #[cfg(test)]
    pub fn only_v2(mount: &Path) -> Self {
        Self {
            v2: Some(mount.to_owned()),
            ..Self::default()
        }
    }

    /// `mountinfo` as in proc_pid_mountinfo(5), `cgroups` as in cgroups(7).
    fn parse(mountinfo: &str, cgroups: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            // Optional fields end at a lone hyphen.
            let Some((left, right)) = line.split_once(" - ") else {
                continue;
            };
            let left: Vec<&str> = left.split(' ').collect();
            let right: Vec<&str> = right.split(' ').collect();
            let (Some(root), Some(point), Some(kind), Some(options)) =
                (left.get(3), left.get(4), right.first(), right.get(2))
            else {
                continue;
            };
            // A bind mount of a part of the hierarchy cannot show the rest.
            if *root != "/" {
                continue;
            }
            let mount = PathBuf::from(unescape(point));
            match *kind {
                "cgroup2" if mounts.v2.is_none() => mounts.v2 = Some(mount),
                "cgroup" => {
                    let controllers = options
                        .split(',')
                        .filter(|option| CONTROLLERS.iter().any(|(name, _)| name == option))
                        .map(str::to_owned)
                        .collect::<Vec<_>>();
                    // Named hierarchies (`name=systemd`) have no controller.
                    if !controllers.is_empty()
                        && !mounts.v1.iter().any(|v1| v1.controllers == controllers)
                    {
                        mounts.v1.push(V1Mount { controllers, mount });
                    }
                }
                _ => (),
            }
        }
        mounts.controller = CONTROLLERS.iter().find_map(|(name, kernel_name)| {
            Some(V1Controller {
                name,
                kernel_name,
                hierarchy: hierarchy_number(cgroups, name)?,
                mount: mounts.v1(name)?.to_owned(),
            })
        });
        mounts
    }

    /// Mount point of a version 1 controller.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        self.v1
            .iter()
            .find(|v1| v1.controllers.iter().any(|name| name == controller))
            .map(|v1| v1.mount.as_path())
    }

    pub fn has_v1(&self) -> bool {
        !self.v1.is_empty()
    }

    /// `None` when no version 1 controller is mounted.
    pub fn v1_controller(&self) -> Option<&V1Controller> {
        self.controller.as_ref()
    }

    /// In a cgroup namespace the mount shows the namespace's own cgroup as
    /// its root. The real root is the first node of its file system: 1.
    pub fn shows_whole_host(&self) -> bool {
        [
            self.v2.as_deref(),
            self.controller.as_ref().map(|v1| v1.mount.as_path()),
        ]
        .into_iter()
        .flatten()
        .all(|mount| files::cgroup_id(mount) == Some(1))
    }

    /// Paths of `/proc/PID/cgroup` in the version 2 hierarchy and in that of
    /// the chosen controller.
    pub fn paths_of<'a>(&self, text: &'a str) -> (Option<&'a str>, Option<&'a str>) {
        let (mut v2, mut v1) = (None, None);
        for line in text.lines() {
            let mut fields = line.splitn(3, ':');
            let (Some(_), Some(controllers), Some(path)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            // The process is gone, its cgroup removed.
            let path = path.strip_suffix(" (deleted)").unwrap_or(path);
            if controllers.is_empty() {
                v2 = Some(path);
            } else if self
                .controller
                .as_ref()
                .is_some_and(|v1| controllers.split(',').any(|name| name == v1.name))
            {
                v1 = Some(path);
            }
        }
        (v2, v1)
    }
}

fn hierarchy_number(cgroups: &str, controller: &str) -> Option<u32> {
    cgroups.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        (fields.next()? == controller).then(|| fields.next()?.parse().ok().filter(|&n| n != 0))?
    })
}

/// Blanks and backslashes in mount points are octal escapes.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CGROUPS: &str = "#subsys_name\thierarchy\tnum_cgroups\tenabled\n\
        cpuset\t3\t1\t1\ncpu\t1\t1\t1\ncpuacct\t1\t1\t1\nmemory\t4\t14\t1\npids\t8\t1\t1\n";

    #[test]
    fn hybrid() {
        let mounts = Mounts::parse(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/me\\040mory rw - cgroup cgroup rw,memory\n\
             36 31 0:32 /docker/x /other rw - cgroup cgroup rw,pids\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw shared:1 master:2 - cgroup2 cgroup2 rw\n\
             nonsense\n",
            CGROUPS,
        );
        assert_eq!(
            mounts.v2.as_deref(),
            Some(Path::new("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            mounts.v1("cpuacct"),
            Some(Path::new("/sys/fs/cgroup/cpu,cpuacct"))
        );
        assert_eq!(mounts.v1("pids"), None);
        let chosen = mounts.v1_controller().expect("memory is mounted");
        assert_eq!(
            (chosen.name, chosen.kernel_name, chosen.hierarchy),
            ("memory", "memory_cgrp_id", 4)
        );
        assert_eq!(chosen.mount, Path::new("/sys/fs/cgroup/me mory"));
        assert_eq!(
            mounts
                .paths_of("9:name=systemd:/x\n4:memory:/a:b\n1:cpu,cpuacct:/c\n0::/d (deleted)\n"),
            (Some("/d"), Some("/a:b"))
        );
    }

    #[test]
    fn pure_v2() {
        let mounts = Mounts::parse(
            "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
            "cpu\t0\t1\t1\nmemory\t0\t1\t1\n",
        );
        assert_eq!(mounts.v2.as_deref(), Some(Path::new("/sys/fs/cgroup")));
        assert_eq!(mounts.v1_controller(), None);
        assert!(!mounts.has_v1());
    }

    #[test]
    fn this_host() {
        let mounts = Mounts::find();
        assert!(mounts.v2.is_some() || mounts.v1_controller().is_some());
    }
}
