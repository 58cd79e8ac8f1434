//! Network traffic. Cgroups do not account for it: it is that of the network
//! namespace that a container's processes are in, so containers that share one
//! (a Kubernetes pod) show the same, and one in the host's shows nothing.

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
};

use super::super::files;

/// Bytes received and sent in a namespace, and which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    pub namespace: u64,
    pub receive: u64,
    pub transmit: u64,
}

/// Inode number of the network namespace of a process.
pub fn namespace(process: &str) -> Option<u64> {
    use std::os::unix::fs::MetadataExt;
    let data = std::fs::metadata(format!("/proc/{process}/ns/net")).ok()?;
    Some(data.ino())
}

/// Of the first process of a cgroup, unless it is in the host's namespace.
pub fn of_cgroup(directory: &Path, host: Option<u64>) -> Option<Traffic> {
    let process = first_process(directory)?.to_string();
    let namespace_before = namespace(&process)?;
    if host? == namespace_before {
        return None;
    }
    let text = files::read(format!("/proc/{process}/net/dev"))?;
    // The process may have ended, and another may have got its id.
    if namespace(&process)? != namespace_before {
        return None;
    }
    let (receive, transmit) = bytes(&text, |interface| interface != "lo");
    Some(Traffic {
        namespace: namespace_before,
        receive,
        transmit,
    })
}

/// Of the host's own interfaces to the outside: bridges and virtual pairs
/// would count containers' traffic again.
pub fn of_host() -> Option<(u64, u64)> {
    let is_hardware = |interface: &str| {
        !interface.contains('/')
            && Path::new("/sys/class/net")
                .join(interface)
                .join("device")
                .exists()
    };
    let text = files::read("/proc/1/net/dev")?;
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .any(|(interface, _)| is_hardware(interface.trim()))
        .then(|| bytes(&text, is_hardware))
}

/// In proc_pid_net(5): the first and ninth number of an interface.
fn bytes(text: &str, wanted: impl Fn(&str) -> bool) -> (u64, u64) {
    let (mut receive, mut transmit) = (0u64, 0u64);
    for line in text.lines() {
        let Some((interface, numbers)) = line.split_once(':') else {
            continue;
        };
        if !wanted(interface.trim()) {
            continue;
        }
        let number = |index| {
            numbers
                .split_whitespace()
                .nth(index)
                .and_then(|number| number.parse().ok())
                .unwrap_or(0)
        };
        receive = receive.saturating_add(number(0));
        transmit = transmit.saturating_add(number(8));
    }
    (receive, transmit)
}

/// Looks in nested cgroups too: with systemd in a container, its own cgroup is
/// empty.
fn first_process(directory: &Path) -> Option<u32> {
    const MAX_DIRECTORIES: usize = 64;
    let mut queue = VecDeque::from([PathBuf::from(directory)]);
    for _ in 0..MAX_DIRECTORIES {
        let directory = queue.pop_front()?;
        let processes = files::read(directory.join("cgroup.procs")).unwrap_or_default();
        let first = processes
            .lines()
            .filter_map(|line| line.trim().parse().ok())
            // Processes outside of our pid namespace are shown as 0.
            .find(|&process| process != 0);
        if first.is_some() {
            return first;
        }
        queue.extend(
            std::fs::read_dir(&directory)
                .into_iter()
                .flatten()
                .flatten()
                .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                .map(|entry| entry.path())
                .take(MAX_DIRECTORIES),
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces() {
        let text = "Inter-|   Receive                                                |  Transmit\n\
             face |bytes    packets errs drop fifo frame compressed multicast|bytes\n\
             \x20   lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n\
             \x20 eth0:7 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n\
             \x20 eth1: 1 1 0 0 0 0 0 0 2 1 0 0 0 0 0 0\n";
        assert_eq!(bytes(text, |interface| interface != "lo"), (8, 11));
        assert_eq!(bytes("eth0: x\n", |_| true), (0, 0));
    }
}
