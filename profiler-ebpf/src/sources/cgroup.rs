//! Cgroups that are made while we record: their path, before their first
//! process runs.

use aya_ebpf::helpers::bpf_probe_read_kernel_str_bytes;
use aya_log_ebpf::debug;
use profiler_ebpf::{CGROUP_PATH_LENGTH, CgroupEvent, Counter, EventKind};

use crate::{
    maps::{EVENTS, count, setting},
    task::{Checked, cgroup_id, read},
};

/// Arguments of the tracepoint `cgroup_mkdir`: `struct cgroup *` and its path
/// (include/trace/events/cgroup.h).
pub fn created(cgroup: *const u8, path: *const u8) {
    let Some(mut entry) = EVENTS.reserve_untyped::<CgroupEvent>(0) else {
        count(Counter::EventsLost as u32);
        debug!((), "no room for the event of a new cgroup");
        return;
    };
    let root: u64 = read(cgroup as u64, setting!(offsets.cgroup_root));
    let hierarchy: u32 = read(root, setting!(offsets.cgroup_root_hierarchy_id));
    let id = cgroup_id::<Checked>(cgroup as u64);
    let event = entry.as_mut_ptr();
    // SAFETY: the reservation is as large as the event, and userspace reads
    // only `path_length` bytes of the path.
    unsafe {
        (*event).kind = EventKind::CgroupCreated as u32;
        (*event).hierarchy = hierarchy;
        (*event).id = id;
        (*event).reserved = 0;
        let buffer: &mut [u8; CGROUP_PATH_LENGTH] = &mut *core::ptr::addr_of_mut!((*event).path);
        (*event).path_length = match bpf_probe_read_kernel_str_bytes(path, buffer) {
            Ok(text) => text.len() as u32,
            Err(_) => 0,
        };
    }
    entry.submit(0);
    debug!((), "cgroup {} is made in hierarchy {}", id, hierarchy);
}
