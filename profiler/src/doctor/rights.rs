//! Who we are: capabilities, namespaces, what /proc shows us.

use super::{
    Check,
    host::{Host, capability},
};

/// What is poorer without a capability: what it is for, and its name.
const HELPFUL: &[(u32, &str, &str)] = &[
    (
        capability::SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "processes of other users have no user stacks and no names",
    ),
    (
        capability::DAC_READ_SEARCH,
        "CAP_DAC_READ_SEARCH",
        "executables and perf maps that only their owner can read have no names",
    ),
    (
        capability::SYSLOG,
        "CAP_SYSLOG",
        "kernel frames may have no names",
    ),
];

pub fn checks(host: &Host) -> Vec<Check> {
    vec![
        capabilities(host),
        user_namespace(host),
        pid_namespace(host),
        hidepid(host),
    ]
}

fn capabilities(host: &Host) -> Check {
    const NAME: &str = "capabilities";
    let ours = host.capabilities();
    let user = match ours.uid {
        0 => "root".to_string(),
        u32::MAX => "an unknown user".to_string(),
        uid => format!("user {uid}"),
    };
    if !ours.may_record() {
        return Check::missing(NAME, format!("{user}, without CAP_BPF and CAP_PERFMON"))
            .remedy(
                "run it with sudo, or give the file CAP_BPF, CAP_PERFMON, CAP_SYS_PTRACE, \
                 CAP_DAC_READ_SEARCH, CAP_SYSLOG, CAP_SYS_RESOURCE and CAP_CHECKPOINT_RESTORE \
                 with setcap",
            )
            .required();
    }
    let mut lacking: Vec<(&str, &str)> = HELPFUL
        .iter()
        .filter(|&&(number, ..)| !ours.has(number))
        .map(|&(_, name, cost)| (name, cost))
        .collect();
    // Either opens /proc/PID/map_files.
    if !ours.has(capability::SYS_ADMIN) && !ours.has(capability::CHECKPOINT_RESTORE) {
        lacking.push((
            "CAP_CHECKPOINT_RESTORE",
            "executables that were deleted or replaced since their start have no names",
        ));
    }
    // Those that raise limits are looked at with the limits.
    if lacking.is_empty() {
        return Check::ok(NAME, format!("{user}, with all that is needed"));
    }
    let (names, costs): (Vec<&str>, Vec<&str>) = lacking.into_iter().unzip();
    Check::limited(NAME, format!("{user}, without {}", names.join(", ")))
        .costs(costs.join("; "))
        .remedy(if ours.uid == 0 {
            "give them to the container, with --privileged or --cap-add"
        } else {
            "run it as root, or add them with setcap"
        })
        .required()
}

/// Capabilities count for BPF and perf only in the first user namespace.
fn user_namespace(host: &Host) -> Check {
    const NAME: &str = "user namespace";
    match host.in_initial_user_namespace() {
        Some(true) => Check::ok(NAME, "the initial one"),
        Some(false) => Check::missing(
            NAME,
            "not the initial one: root here is not root of the host",
        )
        .remedy("run it on the host, or in a container of a rootful engine")
        .required(),
        None => Check::unknown(NAME, "/proc/self/ns/user cannot be read"),
    }
}

/// The kernel reports ids of the first pid namespace; in another one /proc
/// tells of other processes by the same numbers.
fn pid_namespace(host: &Host) -> Check {
    const NAME: &str = "pid namespace";
    match host.in_initial_pid_namespace() {
        Some(true) => Check::ok(NAME, "the initial one"),
        Some(false) => Check::missing(NAME, "not the initial one: /proc shows other processes")
            .remedy("run it on the host, or start the container with --pid=host")
            .required(),
        None => Check::unknown(NAME, "/proc/self/ns/pid cannot be read"),
    }
}

fn hidepid(host: &Host) -> Check {
    const NAME: &str = "/proc";
    let mounts = host.read("/proc/self/mounts").unwrap_or_default();
    let options = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        (fields.next() == Some("/proc") && fields.next() == Some("proc"))
            .then(|| fields.next().unwrap_or_default())
    });
    let hidden = options.unwrap_or_default().split(',').find(|option| {
        option
            .strip_prefix("hidepid=")
            .is_some_and(|value| !matches!(value, "0" | "off"))
    });
    match hidden {
        None => Check::ok(NAME, "shows all processes"),
        Some(option) if host.capabilities().has(capability::SYS_PTRACE) => Check::ok(
            NAME,
            format!("mounted with {option}, which CAP_SYS_PTRACE overrides"),
        ),
        Some(option) => Check::limited(NAME, format!("mounted with {option}"))
            .costs("processes of other users have no names and no user stacks")
            .remedy("run it as root, or remount /proc with hidepid=off"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, host::tests::host},
        *,
    };

    #[test]
    fn capabilities_that_suffice_and_that_do_not() {
        for (mask, state) in [
            (u64::MAX, State::Ok),
            (0, State::Missing),
            (1 << capability::SYS_ADMIN, State::Limited),
            (
                1 << capability::BPF | 1 << capability::PERFMON,
                State::Limited,
            ),
        ] {
            let text = format!("Uid:\t0\t0\t0\t0\nCapEff:\t{mask:x}\n");
            let (_directory, host) = host(&[("/proc/self/status", &text)]);
            let check = capabilities(&host);
            assert_eq!(check.state, state, "{check:?}");
            assert!(check.required || state == State::Ok);
        }
    }

    #[test]
    fn hidden_processes() {
        for (options, mask, state) in [
            ("rw,nosuid", 0u64, State::Ok),
            ("rw,hidepid=invisible", 0, State::Limited),
            ("rw,hidepid=2", 0, State::Limited),
            ("rw,hidepid=off", 0, State::Ok),
            ("rw,hidepid=2", 1 << capability::SYS_PTRACE, State::Ok),
        ] {
            let (_directory, host) = host(&[
                (
                    "/proc/self/mounts",
                    &format!("proc /proc proc {options} 0 0\n"),
                ),
                ("/proc/self/status", &format!("CapEff:\t{mask:x}\n")),
            ]);
            assert_eq!(hidepid(&host).state, state, "{options}");
        }
    }
}
