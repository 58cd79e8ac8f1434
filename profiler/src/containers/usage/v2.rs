//! Accounting of version 2 cgroups
//! (Documentation/admin-guide/cgroup-v2.rst in the kernel).

use std::path::Path;

use super::super::files;
use super::disk;
use crate::profile::{ContainerUsage, Pressure};

/// Reads the cgroup `path` below the mount.
///
/// `cpu.stat` always has the CPU time; everything else is there only when its
/// controller is enabled for the cgroup.
pub fn read(mount: &Path, path: &str) -> ContainerUsage {
    let mut usage = ContainerUsage::default();
    let Some(directory) = files::below(mount, path).filter(|directory| directory.is_dir()) else {
        return usage;
    };
    let file = |name: &str| files::read(directory.join(name));
    let microseconds = |text: &str, key| Some(files::keyed(text, key)?.saturating_mul(1000));

    if let Some(text) = file("cpu.stat") {
        usage.cpu_ns = microseconds(&text, "usage_usec");
        usage.cpu_user_ns = microseconds(&text, "user_usec");
        usage.cpu_system_ns = microseconds(&text, "system_usec");
        usage.cpu_periods = files::keyed(&text, "nr_periods");
        usage.cpu_throttled_periods = files::keyed(&text, "nr_throttled");
        usage.cpu_throttled_ns = microseconds(&text, "throttled_usec");
    }
    usage.memory_usage_bytes = file("memory.current").and_then(|text| text.trim().parse().ok());
    usage.memory_working_set_bytes = usage
        .memory_usage_bytes
        .zip(file("memory.stat").and_then(|text| files::keyed(&text, "inactive_file")))
        .map(|(usage, inactive)| usage.saturating_sub(inactive));
    usage.oom_kills = file("memory.events").and_then(|text| files::keyed(&text, "oom_kill"));
    usage.pids = file("pids.current").and_then(|text| text.trim().parse().ok());
    usage.pids_limit = file("pids.max").and_then(|text| text.trim().parse().ok());
    if let Some(text) = file("io.stat") {
        let (read, write) = io_bytes(&text);
        usage.block_read_bytes = Some(read);
        usage.block_write_bytes = Some(write);
    }
    let pressure = |name: &str| file(name).and_then(|text| parse_pressure(&text));
    usage.cpu_pressure = pressure("cpu.pressure");
    usage.memory_pressure = pressure("memory.pressure");
    usage.io_pressure = pressure("io.pressure");

    // A limit holds for everything below it: the smallest up to the mount.
    let mut at = Some(directory.as_path());
    while let Some(directory) = at.filter(|at| *at != mount && at.starts_with(mount)) {
        let limit = files::read(directory.join("cpu.max")).and_then(|text| cpu_max(&text));
        usage.cpu_limit = match (usage.cpu_limit, limit) {
            (Some(a), Some(b)) => Some(f64::min(a, b)),
            (a, b) => a.or(b),
        };
        let limit = files::number(directory.join("memory.max"));
        usage.memory_limit_bytes = match (usage.memory_limit_bytes, limit) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        at = directory.parent();
    }
    usage
}

/// `QUOTA PERIOD`, microseconds; the quota is `max` when there is no limit.
fn cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    (period > 0).then(|| quota as f64 / period as f64)
}

/// Lines `MAJOR:MINOR rbytes=N wbytes=N …`.
fn io_bytes(text: &str) -> (u64, u64) {
    let (mut read, mut write) = (0u64, 0u64);
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        if fields.next().is_none_or(disk::is_stacked) {
            continue;
        }
        for field in fields {
            let Some((key, value)) = field.split_once('=') else {
                continue;
            };
            let bytes = value.parse().unwrap_or(0);
            match key {
                "rbytes" => read = read.saturating_add(bytes),
                "wbytes" => write = write.saturating_add(bytes),
                _ => (),
            }
        }
    }
    (read, write)
}

/// Documentation/accounting/psi.rst. Totals are microseconds. `full` is
/// missing in `cpu.pressure` before 5.13, where nothing was stalled fully.
pub(super) fn parse_pressure(text: &str) -> Option<Pressure> {
    let total = |kind: &str| -> Option<u64> {
        let line = text.lines().find(|line| line.starts_with(kind))?;
        let total = line.rsplit_once("total=")?.1.trim();
        Some(total.parse::<u64>().ok()?.saturating_mul(1000))
    };
    Some(Pressure {
        some_ns: total("some")?,
        full_ns: total("full").unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_cgroup() {
        let mount = tempfile::tempdir().expect("a directory");
        let directory = mount.path().join("limited.slice/a");
        std::fs::create_dir_all(&directory).expect("made");
        let parent = mount.path().join("limited.slice");
        for (name, text) in [
            (
                "cpu.stat",
                "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 4\nnr_throttled 3\nthrottled_usec 2\n",
            ),
            ("cpu.max", "200000 100000\n"),
            ("memory.current", "1000\n"),
            ("memory.stat", "anon 5\nfile 700\ninactive_file 300\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\noom 2\noom_kill 1\n"),
            ("pids.current", "7\n"),
            ("pids.max", "max\n"),
            (
                "io.stat",
                "9999:0 rbytes=10 wbytes=20 rios=1\n9998:0 rbytes=1 wbytes=2\n",
            ),
            (
                "cpu.pressure",
                "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=4\n",
            ),
        ] {
            std::fs::write(directory.join(name), text).expect("written");
        }
        std::fs::write(parent.join("cpu.max"), "50000 100000\n").expect("written");
        std::fs::write(parent.join("memory.max"), "4096\n").expect("written");

        let usage = read(mount.path(), "/limited.slice/a");
        assert_eq!(
            usage,
            ContainerUsage {
                cpu_ns: Some(30_000),
                cpu_user_ns: Some(20_000),
                cpu_system_ns: Some(10_000),
                cpu_limit: Some(0.5),
                cpu_periods: Some(4),
                cpu_throttled_periods: Some(3),
                cpu_throttled_ns: Some(2000),
                memory_working_set_bytes: Some(700),
                memory_usage_bytes: Some(1000),
                memory_limit_bytes: Some(4096),
                block_read_bytes: Some(11),
                block_write_bytes: Some(22),
                pids: Some(7),
                oom_kills: Some(1),
                cpu_pressure: Some(Pressure {
                    some_ns: 5000,
                    full_ns: 4000
                }),
                ..ContainerUsage::default()
            }
        );
        assert_eq!(read(mount.path(), "/gone"), ContainerUsage::default());
    }

    #[test]
    fn odd_limits() {
        assert_eq!(cpu_max("max 100000\n"), None);
        assert_eq!(cpu_max("1 0\n"), None);
        assert_eq!(cpu_max(""), None);
    }
}
