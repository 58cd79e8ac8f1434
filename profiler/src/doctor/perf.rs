//! Perf events: the sampling clocks, their limits, and probes.

use std::{io, os::unix::ffi::OsStrExt as _};

use perf_event::{
    Builder, Counter,
    events::{Event, Hardware, Software},
};

use super::{
    Check,
    host::{Host, capability},
};
use crate::options::{DEFAULT_FREQUENCY, MAX_FREQUENCY};

pub fn checks(host: &Host) -> Vec<Check> {
    vec![
        sampling_clock(host),
        cycles(host),
        paranoid(host),
        sample_rate(host),
        time_share(host),
    ]
}

/// Opens an event for all processes on one CPU, kernel included, as a
/// recording does.
fn open(host: &Host, kind: impl Into<Event>) -> io::Result<Counter> {
    let mut builder = Builder::new().kind(kind).any_pid().one_cpu(first_cpu(host));
    builder
        .include_kernel()
        .sample_frequency(DEFAULT_FREQUENCY)
        .enabled(false);
    builder.build()
}

pub fn open_sampling_clock(host: &Host) -> io::Result<Counter> {
    open(host, Software::CPU_CLOCK)
}

/// CPU 0 may be offline.
fn first_cpu(host: &Host) -> usize {
    host.read("/sys/devices/system/cpu/online")
        .ok()
        .and_then(|list| list.split(['-', ',']).next()?.trim().parse().ok())
        .unwrap_or(0)
}

fn sampling_clock(host: &Host) -> Check {
    const NAME: &str = "sampling clock: CPU timer";
    match open_sampling_clock(host) {
        Ok(_) => Check::ok(NAME, "opens for all processes").required(),
        Err(error) => Check::missing(NAME, format!("does not open: {error}"))
            .remedy("run it as root; in a container, with --privileged")
            .required(),
    }
}

fn cycles(host: &Host) -> Check {
    const NAME: &str = "sampling clock: CPU cycles";
    match open(host, Hardware::CPU_CYCLES) {
        Ok(_) => Check::ok(NAME, "opens; this version samples by the CPU timer"),
        Err(error) if !host.capabilities().may_record() => {
            Check::unknown(NAME, format!("not tried as root would: {error}"))
        }
        // Nothing is lost by it.
        Err(error) => Check::ok(
            NAME,
            format!("does not open ({error}); this version samples by the CPU timer"),
        ),
    }
}

fn paranoid(host: &Host) -> Check {
    const NAME: &str = "perf_event_paranoid";
    let Some(level) = host.number("/proc/sys/kernel/perf_event_paranoid") else {
        return Check::missing(NAME, "not there: this kernel has no perf events")
            .remedy("boot a kernel with CONFIG_PERF_EVENTS=y")
            .required();
    };
    let ours = host.capabilities();
    if ours.has(capability::PERFMON) || ours.has(capability::SYS_ADMIN) {
        Check::ok(NAME, format!("{level}, which does not bind us"))
    } else if level <= -1 {
        Check::ok(NAME, level.to_string())
    } else {
        Check::limited(NAME, level.to_string())
            .costs("without CAP_PERFMON only some events open")
            .remedy("run it as root")
    }
}

fn sample_rate(host: &Host) -> Check {
    const NAME: &str = "perf_event_max_sample_rate";
    const SETTING: &str = "kernel.perf_event_max_sample_rate";
    match host.number("/proc/sys/kernel/perf_event_max_sample_rate") {
        None => Check::unknown(NAME, "not there"),
        Some(rate) if rate < MAX_FREQUENCY as i64 => Check::limited(NAME, rate.to_string())
            .costs(format!(
                "the kernel throttles a --frequency above {rate}; the report counts the samples \
                 missed"
            ))
            .remedy(format!("as root: sysctl {SETTING}=100000")),
        Some(rate) => Check::ok(NAME, rate.to_string()),
    }
}

/// The kernel lowers the sample rate when sampling takes more than this share
/// of the CPU time.
fn time_share(host: &Host) -> Check {
    const NAME: &str = "perf_cpu_time_max_percent";
    match host.number("/proc/sys/kernel/perf_cpu_time_max_percent") {
        None => Check::unknown(NAME, "not there"),
        Some(0 | 100) => Check::ok(NAME, "the kernel does not lower the sample rate"),
        Some(share) if share < 5 => Check::limited(NAME, format!("{share}%"))
            .costs("the kernel lowers the sample rate soon, and keeps it low")
            .remedy("as root: sysctl kernel.perf_cpu_time_max_percent=25"),
        Some(share) => Check::ok(NAME, format!("{share}%")),
    }
}

/// The type of a kind of event that the kernel numbers at boot.
fn dynamic_type(host: &Host, kind: &str) -> io::Result<u32> {
    host.read(&format!("/sys/bus/event_source/devices/{kind}/type"))?
        .parse()
        .map_err(io::Error::other)
}

/// Opens a probe on a kernel function, off.
pub fn open_kprobe(host: &Host) -> io::Result<()> {
    let kind = dynamic_type(host, "kprobe")?;
    // Rarely called, exported, there since 2.6.
    open_probe(host, kind, c"vfs_fsync_range".as_ptr() as u64, 0)
}

/// Opens a probe on a function of our own, off.
pub fn open_uprobe(host: &Host) -> io::Result<()> {
    let kind = dynamic_type(host, "uprobe")?;
    let address = probed as *const () as u64;
    let maps = procfs::process::Process::myself()
        .and_then(|process| process.maps())
        .map_err(io::Error::other)?;
    let mapping = maps
        .iter()
        .find(|map| (map.address.0..map.address.1).contains(&address))
        .ok_or(io::ErrorKind::NotFound)?;
    let path = std::env::current_exe()?;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes()).map_err(io::Error::other)?;
    let offset = address - mapping.address.0 + mapping.offset;
    open_probe(host, kind, path.as_ptr() as u64, offset)
}

#[inline(never)]
extern "C" fn probed() {
    std::hint::black_box(());
}

fn open_probe(host: &Host, kind: u32, target: u64, offset: u64) -> io::Result<()> {
    let mut builder = Builder::new()
        .kind(Software::DUMMY)
        .any_pid()
        .one_cpu(first_cpu(host));
    builder.include_kernel().enabled(false);
    let attributes = builder.attrs_mut();
    attributes.type_ = kind;
    attributes.config = 0;
    attributes.__bindgen_anon_3.config1 = target;
    attributes.__bindgen_anon_4.config2 = offset;
    builder.build().map(drop)
}

#[cfg(test)]
mod tests {
    use super::{
        super::{State, host::tests::host},
        *,
    };

    #[test]
    fn settings() {
        let (_directory, bare) = host(&[]);
        assert_eq!(paranoid(&bare).state, State::Missing);
        assert_eq!(sample_rate(&bare).state, State::Unknown);
        assert_eq!(time_share(&bare).state, State::Unknown);
        assert_eq!(first_cpu(&bare), 0);

        let (_directory, low) = host(&[
            ("/proc/sys/kernel/perf_event_paranoid", "4\n"),
            ("/proc/sys/kernel/perf_event_max_sample_rate", "1000\n"),
            ("/proc/sys/kernel/perf_cpu_time_max_percent", "1\n"),
            ("/sys/devices/system/cpu/online", "2-3,5\n"),
        ]);
        assert_eq!(paranoid(&low).state, State::Limited);
        assert_eq!(sample_rate(&low).state, State::Limited);
        assert_eq!(time_share(&low).state, State::Limited);
        assert_eq!(first_cpu(&low), 2);

        let (_directory, usual) = host(&[
            ("/proc/sys/kernel/perf_event_paranoid", "3\n"),
            ("/proc/self/status", "CapEff:\tffffffffffffffff\n"),
            ("/proc/sys/kernel/perf_event_max_sample_rate", "100000\n"),
            ("/proc/sys/kernel/perf_cpu_time_max_percent", "25\n"),
        ]);
        assert_eq!(paranoid(&usual).state, State::Ok);
        assert_eq!(sample_rate(&usual).state, State::Ok);
        assert_eq!(time_share(&usual).state, State::Ok);
    }
}
