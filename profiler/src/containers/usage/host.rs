//! Figures of the whole host, for the row `host`.
//!
//! The root cgroup has no limits and hardly any accounting of its own, and
//! "the host less its containers" would be a guess wherever the two count
//! differently. So the row shows the machine: its containers are included.

use super::super::files;
use super::{disk, network, v2};
use crate::profile::{ContainerUsage, Pressure};

pub fn read() -> ContainerUsage {
    let mut usage = ContainerUsage::default();
    if let Some(text) = files::read("/proc/stat")
        && let Some((user, system)) = cpu(&text)
    {
        let tick = 1_000_000_000 / procfs::ticks_per_second().max(1);
        usage.cpu_user_ns = Some(user.saturating_mul(tick));
        usage.cpu_system_ns = Some(system.saturating_mul(tick));
        usage.cpu_ns = Some(user.saturating_add(system).saturating_mul(tick));
    }
    usage.cpu_limit = files::read("/sys/devices/system/cpu/online")
        .and_then(|text| online(&text))
        .map(|cpus| cpus as f64);
    if let Some(text) = files::read("/proc/meminfo") {
        let bytes = |key| files::keyed(&text, key).map(|kilobytes| kilobytes.saturating_mul(1024));
        let total = bytes("MemTotal");
        let less = |part: Option<u64>| Some(total?.saturating_sub(part?));
        usage.memory_limit_bytes = total;
        usage.memory_usage_bytes = less(bytes("MemFree"));
        // What cannot be had without writing it somewhere first: near to a
        // container's usage without inactive files.
        usage.memory_working_set_bytes = less(bytes("MemAvailable"));
    }
    if let Some((read, write)) = disk::host_bytes() {
        usage.block_read_bytes = Some(read);
        usage.block_write_bytes = Some(write);
    }
    if let Some((receive, transmit)) = network::of_host() {
        usage.network_receive_bytes = Some(receive);
        usage.network_transmit_bytes = Some(transmit);
    }
    usage.pids = files::read("/proc/loadavg").and_then(|text| {
        let (_, all) = text.split_whitespace().nth(3)?.split_once('/')?;
        all.parse().ok()
    });
    usage.pids_limit = files::number("/proc/sys/kernel/pid_max");
    usage.oom_kills = files::read("/proc/vmstat").and_then(|text| files::keyed(&text, "oom_kill"));
    let pressure = |name: &str| -> Option<Pressure> {
        v2::parse_pressure(&files::read(format!("/proc/pressure/{name}"))?)
    };
    usage.cpu_pressure = pressure("cpu");
    usage.memory_pressure = pressure("memory");
    usage.io_pressure = pressure("io");
    usage
}

/// User and system time in ticks, from proc_stat(5). Guests' time is in the
/// user time already; time stolen by the hypervisor was not ours.
fn cpu(text: &str) -> Option<(u64, u64)> {
    let line = text.lines().find(|line| line.starts_with("cpu "))?;
    let fields: Vec<u64> = line
        .split_whitespace()
        .skip(1)
        .map_while(|field| field.parse().ok())
        .collect();
    let [user, nice, system, _idle, _iowait, irq, softirq, ..] = fields.as_slice() else {
        return None;
    };
    Some((user + nice, system + irq + softirq))
}

/// How many CPUs a list such as `0-3,8` names.
fn online(text: &str) -> Option<u64> {
    text.trim()
        .split(',')
        .map(|range| {
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
            Some(last.checked_sub(first)? + 1)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        assert_eq!(
            cpu("cpu  1 2 4 8 16 32 64 128 5 6\ncpu0 1 2\n"),
            Some((3, 100))
        );
        assert_eq!(cpu("intr 1\n"), None);
        assert_eq!(online("0-3,8\n"), Some(5));
        assert_eq!(online("3-1"), None);
        let usage = read();
        assert!(usage.cpu_ns.is_some_and(|cpu| cpu > 0));
        assert!(usage.memory_working_set_bytes < usage.memory_limit_bytes);
        assert!(usage.pids < usage.pids_limit);
    }
}
