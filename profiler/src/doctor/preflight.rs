//! The quick look before a recording: what would make it fail, in one line.

use thiserror::Error;

use super::{
    host::{Capabilities, Host},
    kernel::OLDEST,
    perf,
};

/// Why no recording is possible here, and what to do about it.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Unusable {
    #[error("it takes a Linux kernel of 5.10 or newer, and this is {0}")]
    OldKernel(String),
    #[error(
        "it needs root, or CAP_BPF and CAP_PERFMON: run it with sudo (`profiler doctor` tells more)"
    )]
    NotRoot,
    #[error(
        "root in a user namespace may not load eBPF programs: run it on the host, or in a \
         container of a rootful engine"
    )]
    UserNamespace,
    #[error(
        "this is a container with processes of its own: run it on the host, or start the container \
         with --pid=host --privileged"
    )]
    PidNamespace,
    #[error(
        "this kernel has no type information (/sys/kernel/btf/vmlinux): boot one built with \
         CONFIG_DEBUG_INFO_BTF=y; in a container, mount /sys"
    )]
    NoBtf,
    #[error(
        "the kernel refuses to sample all processes ({0}): in a container, start it with \
         --privileged (`profiler doctor` tells more)"
    )]
    NoSampling(String),
}

/// Takes about a millisecond, and finds most of what [`super::examine`] calls
/// an obstacle. The rest shows when the programs are loaded.
pub fn preflight() -> Result<(), Unusable> {
    let host = Host::running();
    look(&host, host.capabilities())?;
    perf::open_sampling_clock(&host)
        .map(drop)
        .map_err(|error| Unusable::NoSampling(error.to_string()))
}

fn look(host: &Host, ours: Capabilities) -> Result<(), Unusable> {
    if host.version().is_some_and(|version| version < OLDEST) {
        return Err(Unusable::OldKernel(host.release()));
    }
    if !ours.may_record() {
        return Err(Unusable::NotRoot);
    }
    if host.in_initial_user_namespace() == Some(false) {
        return Err(Unusable::UserNamespace);
    }
    if host.in_initial_pid_namespace() == Some(false) {
        return Err(Unusable::PidNamespace);
    }
    if std::fs::File::open(host.path("/sys/kernel/btf/vmlinux")).is_err() {
        return Err(Unusable::NoBtf);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::host::tests::host, *};

    #[test]
    fn each_obstacle_has_its_line() {
        let all = "Uid:\t0\t0\t0\t0\nCapEff:\tffffffffffffffff\n";
        let nothing = "Uid:\t1\t1\t1\t1\nCapEff:\t0\n";
        let files = |release, status| {
            [
                ("/proc/sys/kernel/osrelease", release),
                ("/proc/self/status", status),
                ("/sys/kernel/btf/vmlinux", "x"),
            ]
        };
        let look_at = |files: &[(&str, &str)], link: Option<(&str, &str)>| {
            let (directory, host) = host(files);
            if let Some((kind, target)) = link {
                let ns = directory.path().join("proc/self/ns");
                std::fs::create_dir_all(&ns).expect("a directory");
                std::os::unix::fs::symlink(target, ns.join(kind)).expect("a link");
            }
            look(&host, host.capabilities())
        };
        assert_eq!(look_at(&files("6.1.0", all), None), Ok(()));
        assert_eq!(
            look_at(&files("5.4.0", all), None),
            Err(Unusable::OldKernel("5.4.0".to_string()))
        );
        assert_eq!(
            look_at(&files("6.1.0", nothing), None),
            Err(Unusable::NotRoot)
        );
        assert_eq!(
            look_at(&files("6.1.0", all), Some(("user", "user:[4026532001]"))),
            Err(Unusable::UserNamespace)
        );
        assert_eq!(
            look_at(&files("6.1.0", all), Some(("pid", "pid:[4026532001]"))),
            Err(Unusable::PidNamespace)
        );
        assert_eq!(
            look_at(&files("6.1.0", all)[..2], None),
            Err(Unusable::NoBtf)
        );
    }
}
