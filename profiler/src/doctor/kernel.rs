//! The kernel: version, type information, lockdown, symbols, clock.

use super::{Check, host::Host};

/// The oldest kernel that the programs load on.
pub const OLDEST: (u32, u32) = (5, 10);

pub fn checks(host: &Host) -> Vec<Check> {
    vec![
        version(host),
        btf(host),
        lockdown(host),
        symbols(host),
        clock_source(host),
        tracefs(host),
    ]
}

fn version(host: &Host) -> Check {
    const NAME: &str = "kernel";
    let release = host.release();
    match host.version() {
        None => Check::unknown(NAME, format!("unknown version `{release}`")),
        Some(version) if version < OLDEST => {
            Check::missing(NAME, format!("{release}, older than 5.10"))
                .remedy("boot a kernel of 5.10 or newer (Debian 11, Ubuntu 22.04, RHEL 9)")
                .required()
        }
        Some(_) => Check::ok(NAME, release),
    }
}

fn btf(host: &Host) -> Check {
    const NAME: &str = "BTF";
    const PATH: &str = "/sys/kernel/btf/vmlinux";
    match std::fs::File::open(host.path(PATH)).and_then(|file| file.metadata()) {
        Ok(metadata) => Check::ok(NAME, format!("{PATH}, {} KiB", metadata.len() / 1024)),
        Err(error) => Check::missing(NAME, format!("{PATH}: {error}"))
            .remedy(
                "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (those of Debian 11, Ubuntu \
                 20.10, Fedora 31, RHEL 8.2 and newer are); in a container, mount /sys",
            )
            .required(),
    }
}

fn lockdown(host: &Host) -> Check {
    const NAME: &str = "lockdown";
    const PATH: &str = "/sys/kernel/security/lockdown";
    let Ok(text) = host.read(PATH) else {
        return Check::unknown(
            NAME,
            "not shown, since securityfs is not mounted; what it refuses is tried below",
        );
    };
    let level = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map_or("unknown", |(level, _)| level);
    match level {
        "confidentiality" => Check::limited(NAME, "confidentiality")
            .costs("eBPF programs must not read kernel memory; see below what that stops")
            .remedy("boot with lockdown=integrity, or without lockdown"),
        level => Check::ok(NAME, level),
    }
}

/// Whether the kernel tells us the addresses of its functions.
fn symbols(host: &Host) -> Check {
    const NAME: &str = "kernel symbols";
    let restrict = host.number("/proc/sys/kernel/kptr_restrict");
    let setting = restrict.map_or(String::new(), |value| format!(" (kptr_restrict={value})"));
    let cost = "kernel frames have no names";
    // The whole file has 200,000 lines; the first ones say it.
    let mut head = String::new();
    let read = std::fs::File::open(host.path("/proc/kallsyms")).and_then(|file| {
        use std::io::Read as _;
        file.take(4096).read_to_string(&mut head)
    });
    if read.is_err() {
        return Check::limited(NAME, "/proc/kallsyms cannot be read")
            .costs(cost)
            .remedy("boot a kernel built with CONFIG_KALLSYMS=y");
    }
    let shown = head
        .lines()
        .filter_map(|line| line.split(' ').next())
        .any(|address| address.bytes().any(|digit| digit != b'0'));
    if shown {
        Check::ok(NAME, format!("readable{setting}"))
    } else {
        Check::limited(NAME, format!("hidden{setting}"))
            .costs(cost)
            .remedy("run it as root, and with kptr_restrict=2: `sysctl kernel.kptr_restrict=1`")
    }
}

fn clock_source(host: &Host) -> Check {
    const NAME: &str = "clock source";
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match host.read(path) {
        Err(_) => Check::unknown(NAME, "not shown"),
        Ok(source)
            if ["hpet", "acpi_pm", "pit", "jiffies", "refined-jiffies"].contains(&&*source) =>
        {
            Check::limited(NAME, source)
                .costs("reading the time is slow, for the programs on this host and for us")
                .remedy("see in `dmesg | grep -i clocksource` why tsc was given up")
        }
        Ok(source) => Check::ok(NAME, source),
    }
}

fn tracefs(host: &Host) -> Check {
    const NAME: &str = "tracefs";
    let there = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
        .into_iter()
        .find(|path| host.path(path).join("events").is_dir());
    match there {
        Some(path) => Check::ok(NAME, path),
        None => Check::limited(NAME, "not mounted, or not ours to read")
            .costs("nothing in this version, which does not need it")
            .remedy("as root: mount -t tracefs tracefs /sys/kernel/tracing"),
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, host::tests::host},
        *,
    };

    #[test]
    fn old_kernels_are_refused() {
        for (release, state) in [
            ("5.9.16", State::Missing),
            ("4.19.0-27-amd64", State::Missing),
            ("5.10.0-32-cloud-amd64", State::Ok),
            ("6.1.0", State::Ok),
            ("strange", State::Unknown),
        ] {
            let (_directory, host) = host(&[("/proc/sys/kernel/osrelease", release)]);
            assert_eq!(version(&host).state, state, "{release}");
        }
    }

    #[test]
    fn what_the_files_say() {
        let (_directory, bare) = host(&[]);
        assert_eq!(btf(&bare).state, State::Missing);
        assert_eq!(lockdown(&bare).state, State::Unknown);
        assert_eq!(symbols(&bare).state, State::Limited);
        assert_eq!(clock_source(&bare).state, State::Unknown);
        assert_eq!(tracefs(&bare).state, State::Limited);

        let clock = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
        let (_directory, full) = host(&[
            ("/sys/kernel/btf/vmlinux", "x"),
            (
                "/sys/kernel/security/lockdown",
                "none [integrity] confidentiality\n",
            ),
            ("/proc/kallsyms", "ffffffff81000000 T _text\n"),
            (clock, "tsc\n"),
            ("/sys/kernel/tracing/events/enable", "0"),
        ]);
        for check in [
            btf(&full),
            lockdown(&full),
            symbols(&full),
            clock_source(&full),
            tracefs(&full),
        ] {
            assert_eq!(check.state, State::Ok, "{check:?}");
        }
        assert_eq!(lockdown(&full).found, "integrity");

        let (_directory, poor) = host(&[
            (
                "/sys/kernel/security/lockdown",
                "none integrity [confidentiality]\n",
            ),
            ("/proc/kallsyms", "0000000000000000 T _text\n"),
            ("/proc/sys/kernel/kptr_restrict", "2\n"),
            (clock, "hpet\n"),
        ]);
        for check in [lockdown(&poor), symbols(&poor), clock_source(&poor)] {
            assert_eq!(check.state, State::Limited, "{check:?}");
        }
        assert!(symbols(&poor).found.contains("kptr_restrict=2"));
    }
}
