//! Accounting of version 1 cgroups
//! (Documentation/admin-guide/cgroup-v1/ in the kernel).

use std::path::PathBuf;

use super::super::{files, mounts::Mounts};
use super::disk;
use crate::profile::ContainerUsage;

/// "No limit" is the largest page-aligned number, whatever the page size.
const NO_LIMIT: u64 = 1 << 62;

/// Reads the cgroup `path` under each controller that has it. Processes can be
/// in different cgroups under different controllers, so a controller without
/// that path says nothing.
pub fn read(mounts: &Mounts, path: &str) -> ContainerUsage {
    let directory = |controller: &str| -> Option<PathBuf> {
        files::below(mounts.v1(controller)?, path).filter(|directory| directory.is_dir())
    };
    let mut usage = ContainerUsage::default();
    if let Some(cpuacct) = directory("cpuacct") {
        usage.cpu_ns = files::number(cpuacct.join("cpuacct.usage"));
        // In ticks of the user interface, and scaled by the kernel so that
        // they add up to the usage; `cpuacct.usage_user` does not.
        if let Some(text) = files::read(cpuacct.join("cpuacct.stat")) {
            usage.cpu_user_ns = files::keyed(&text, "user").and_then(ticks);
            usage.cpu_system_ns = files::keyed(&text, "system").and_then(ticks);
        }
    }
    if let Some(cpu) = directory("cpu") {
        let quota = files::read(cpu.join("cpu.cfs_quota_us"));
        let period = files::number(cpu.join("cpu.cfs_period_us"));
        if let (Some(quota), Some(period)) =
            (quota.and_then(|q| q.trim().parse::<i64>().ok()), period)
            && quota > 0
            && period > 0
        {
            usage.cpu_limit = Some(quota as f64 / period as f64);
        }
        if let Some(text) = files::read(cpu.join("cpu.stat")) {
            usage.cpu_periods = files::keyed(&text, "nr_periods");
            usage.cpu_throttled_periods = files::keyed(&text, "nr_throttled");
            usage.cpu_throttled_ns = files::keyed(&text, "throttled_time");
        }
    }
    if let Some(memory) = directory("memory") {
        usage.memory_usage_bytes = files::number(memory.join("memory.usage_in_bytes"));
        if let Some(text) = files::read(memory.join("memory.stat")) {
            usage.memory_working_set_bytes = usage
                .memory_usage_bytes
                .zip(files::keyed(&text, "total_inactive_file"))
                .map(|(usage, inactive)| usage.saturating_sub(inactive));
            // The smallest limit up to the root.
            usage.memory_limit_bytes = files::keyed(&text, "hierarchical_memory_limit");
        }
        usage.memory_limit_bytes = usage
            .memory_limit_bytes
            .or_else(|| files::number(memory.join("memory.limit_in_bytes")))
            .filter(|&limit| limit < NO_LIMIT);
        usage.oom_kills = files::read(memory.join("memory.oom_control"))
            .and_then(|text| files::keyed(&text, "oom_kill"));
    }
    if let Some(pids) = directory("pids") {
        usage.pids = files::number(pids.join("pids.current"));
        usage.pids_limit = files::number(pids.join("pids.max"));
    }
    if let Some(blkio) = directory("blkio") {
        // With descendants, since 4.18.
        let text = files::read(blkio.join("blkio.throttle.io_service_bytes_recursive"))
            .or_else(|| files::read(blkio.join("blkio.throttle.io_service_bytes")));
        if let Some(text) = text {
            let (read, write) = service_bytes(&text);
            usage.block_read_bytes = Some(read);
            usage.block_write_bytes = Some(write);
        }
    }
    usage
}

fn ticks(count: u64) -> Option<u64> {
    let per_second = procfs::ticks_per_second();
    count.checked_mul(1_000_000_000)?.checked_div(per_second)
}

/// Lines `MAJOR:MINOR Read BYTES`, and so on for other operations.
fn service_bytes(text: &str) -> (u64, u64) {
    let (mut read, mut write) = (0u64, 0u64);
    for line in text.lines() {
        let mut fields = line.split_whitespace();
        let (Some(device), Some(operation), Some(bytes)) = (
            fields.next(),
            fields.next(),
            fields.next().and_then(|bytes| bytes.parse::<u64>().ok()),
        ) else {
            continue;
        };
        if disk::is_stacked(device) {
            continue;
        }
        match operation {
            "Read" => read = read.saturating_add(bytes),
            "Write" => write = write.saturating_add(bytes),
            _ => (),
        }
    }
    (read, write)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_bytes_of_devices() {
        assert_eq!(
            service_bytes(
                "9999:0 Read 4096\n9999:0 Write 10\n9999:0 Sync 5\n9999:0 Total 4106\n\
                 9998:16 Read 4\n9998:16 Write 2\nTotal 4112\n"
            ),
            (4100, 12)
        );
        assert_eq!(service_bytes("Total 0\n"), (0, 0));
    }
}
