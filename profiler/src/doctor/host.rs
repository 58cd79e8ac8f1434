//! The files that a host says about itself in, and our rights on it.

use std::{
    io,
    path::{Path, PathBuf},
};

/// The capabilities that matter here, by their number.
pub mod capability {
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const SYS_RESOURCE: u32 = 24;
    pub const SYSLOG: u32 = 34;
    pub const PERFMON: u32 = 38;
    pub const BPF: u32 = 39;
    pub const CHECKPOINT_RESTORE: u32 = 40;
}

/// Inodes of the initial namespaces: constants of the kernel
/// (`include/linux/proc_ns.h`).
const INITIAL_USER_NAMESPACE: u64 = 0xEFFF_FFFD;
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;

/// A host, below a root so that tests can make one up.
pub struct Host {
    root: PathBuf,
}

impl Host {
    pub fn running() -> Self {
        Self::at(Path::new("/"))
    }

    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_path_buf(),
        }
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// A small file, without the line break at its end.
    pub fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.path(path)).map(|text| text.trim_end().to_string())
    }

    /// A file that holds one number.
    pub fn number(&self, path: &str) -> Option<i64> {
        self.read(path).ok()?.trim().parse().ok()
    }

    pub fn release(&self) -> String {
        self.read("/proc/sys/kernel/osrelease").unwrap_or_default()
    }

    /// Major and minor version; `None` when it cannot be read.
    pub fn version(&self) -> Option<(u32, u32)> {
        parse_version(&self.release())
    }

    pub fn capabilities(&self) -> Capabilities {
        let status = self.read("/proc/self/status").unwrap_or_default();
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name))
                .map(str::trim)
                .map(str::to_string)
        };
        let effective = field("CapEff:").and_then(|mask| u64::from_str_radix(&mask, 16).ok());
        // Real, effective, saved, file system.
        let uid = field("Uid:")
            .and_then(|ids| ids.split_whitespace().nth(1).map(str::to_string))
            .and_then(|id| id.parse().ok());
        Capabilities {
            uid: uid.unwrap_or(u32::MAX),
            effective: effective.unwrap_or(0),
        }
    }

    pub fn in_initial_user_namespace(&self) -> Option<bool> {
        self.namespace("user")
            .map(|inode| inode == INITIAL_USER_NAMESPACE)
    }

    pub fn in_initial_pid_namespace(&self) -> Option<bool> {
        self.namespace("pid")
            .map(|inode| inode == INITIAL_PID_NAMESPACE)
    }

    /// The inode of one of our namespaces, from a link like `pid:[4026531836]`.
    fn namespace(&self, kind: &str) -> Option<u64> {
        let link = std::fs::read_link(self.path(&format!("/proc/self/ns/{kind}"))).ok()?;
        link.to_str()?
            .strip_prefix(kind)?
            .strip_prefix(":[")?
            .strip_suffix(']')?
            .parse()
            .ok()
    }
}

/// What we may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub uid: u32,
    effective: u64,
}

impl Capabilities {
    pub fn has(self, capability: u32) -> bool {
        self.effective >> capability & 1 == 1
    }

    /// CAP_SYS_ADMIN includes CAP_BPF and CAP_PERFMON, which it was split into.
    pub fn may_record(self) -> bool {
        self.has(capability::SYS_ADMIN)
            || (self.has(capability::BPF) && self.has(capability::PERFMON))
    }
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-', '+', '~']);
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.parse().ok()?;
    Some((major, minor))
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A made-up host with these files.
    pub fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let host = Host::at(directory.path());
        for (path, text) in files {
            let path = host.path(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a directory");
            std::fs::write(path, text).expect("it was written");
        }
        (directory, host)
    }

    #[test]
    fn versions() {
        assert_eq!(parse_version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(parse_version("5.10.0-32-cloud-amd64"), Some((5, 10)));
        assert_eq!(parse_version("7.2-rc1"), Some((7, 2)));
        assert_eq!(parse_version("4"), None);
        assert_eq!(parse_version(""), None);
    }

    #[test]
    fn capabilities() {
        let status = |mask: u64| {
            let text = format!("Name:\tx\nUid:\t1\t1000\t1\t1\nCapEff:\t{mask:016x}\n");
            let (_directory, host) = host(&[("/proc/self/status", &text)]);
            host.capabilities()
        };
        let bpf_and_perfmon = 1 << capability::BPF | 1 << capability::PERFMON;
        assert!(status(bpf_and_perfmon).may_record());
        assert!(status(1 << capability::SYS_ADMIN).may_record());
        assert!(!status(1 << capability::BPF).may_record());
        assert!(!status(0).may_record());
        assert_eq!(status(0).uid, 1000);
        assert!(!host(&[]).1.capabilities().may_record());
    }

    #[test]
    fn namespaces() {
        let (directory, host) = host(&[]);
        let ns = directory.path().join("proc/self/ns");
        std::fs::create_dir_all(&ns).expect("a directory");
        assert_eq!(host.in_initial_pid_namespace(), None);
        std::os::unix::fs::symlink("pid:[4026531836]", ns.join("pid")).expect("a link");
        std::os::unix::fs::symlink("user:[4026532000]", ns.join("user")).expect("a link");
        assert_eq!(host.in_initial_pid_namespace(), Some(true));
        assert_eq!(host.in_initial_user_namespace(), Some(false));
    }
}
