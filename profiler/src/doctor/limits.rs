//! Limits on us: locked memory, open files.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{
    Check,
    host::{Host, capability},
};

/// Open files that a busy host needs: one for each executable with a table,
/// and those of the perf events.
const ENOUGH_FILES: u64 = 4096;

pub fn checks(host: &Host) -> Vec<Check> {
    vec![locked_memory(host), open_files(host)]
}

/// Raises the limits as far as we may: before 5.11 the maps count as locked
/// memory, and every executable needs a map, thus an open file.
pub fn raise_limits() {
    // A refusal shows when a map is made, where it can be told with a reason.
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    let _ = setrlimit(Resource::Memlock, unlimited);
    let files = getrlimit(Resource::Nofile);
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: files.maximum,
            ..files
        },
    );
}

fn locked_memory(host: &Host) -> Check {
    const NAME: &str = "locked memory";
    if host.version().is_some_and(|version| version >= (5, 11)) {
        return Check::ok(NAME, "not limited for BPF maps by this kernel");
    }
    match getrlimit(Resource::Memlock).maximum {
        None => Check::ok(NAME, "unlimited"),
        Some(_) if host.capabilities().has(capability::SYS_RESOURCE) => {
            Check::ok(NAME, "limited; a recording raises it")
        }
        Some(bytes) => Check::limited(NAME, format!("at most {} KiB", bytes / 1024))
            .costs("maps may not fit, and then a recording fails or has fewer stacks")
            .remedy("add CAP_SYS_RESOURCE, or raise `ulimit -l`"),
    }
}

fn open_files(host: &Host) -> Check {
    const NAME: &str = "open files";
    match getrlimit(Resource::Nofile).maximum {
        Some(files)
            if files < ENOUGH_FILES && !host.capabilities().has(capability::SYS_RESOURCE) =>
        {
            Check::limited(NAME, format!("at most {files}"))
                .costs("on a host with many executables some have no user stacks")
                .remedy(format!("raise `ulimit -Hn` to {ENOUGH_FILES}"))
        }
        Some(files) => Check::ok(NAME, format!("up to {files}")),
        None => Check::ok(NAME, "unlimited"),
    }
}
