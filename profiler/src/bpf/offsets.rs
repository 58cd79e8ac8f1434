//! The kernel structures that the programs read, from the running kernel.

use std::io;

use profiler_ebpf::KernelOffsets;
use thiserror::Error;

use super::{btf::Btf, disk::DiskFacts, network::Network};

const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

#[derive(Debug, Error)]
pub enum OffsetsError {
    #[error(
        "this kernel has no type information ({VMLINUX}: {0}); \
         use a kernel built with CONFIG_DEBUG_INFO_BTF, as those of all current distributions are"
    )]
    NoBtf(io::Error),
    #[error("the kernel's type information in {VMLINUX} is damaged")]
    Damaged,
    #[error("the kernel's type information has no {0}; kernels from 5.10 on are supported")]
    NoMember(&'static str),
}

/// What the type information told.
pub struct KernelFacts {
    pub offsets: KernelOffsets,
    /// Index of the asked controller in `css_set.subsys`.
    pub cgroup_v1_subsystem: u32,
    pub has_task_pt_regs: bool,
    /// `sched_switch` tells the state of the task that stops.
    pub has_switch_state: bool,
    /// `mark_victim` has the victim itself as its argument.
    pub has_victim_task: bool,
    /// Of the network, when it was asked for; or the member of a structure that
    /// this kernel does not have.
    pub network: Option<Result<Network, &'static str>>,
    pub disk: DiskFacts,
}

/// `struct cfs_rq` in kernel/sched/sched.h: its own throttled time from 6.6 on,
/// before that the time that its clock stood still.
const THROTTLED_TIME: [&str; 3] = [
    "throttled_clock_self_time",
    "throttled_clock_pelt_time",
    "throttled_clock_task_time",
];

/// The first of the members that this kernel has.
fn any(btf: &Btf<'_>, structure: &str, members: &[&str]) -> u32 {
    members
        .iter()
        .find_map(|member| btf.offset(structure, member))
        .unwrap_or(KernelOffsets::ABSENT)
}

/// Whether a hypervisor can take time of the CPUs.
fn is_virtual() -> bool {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    text.lines()
        .find(|line| line.starts_with("flags"))
        .is_none_or(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor"))
}

/// `controller` is the version 1 controller whose cgroup ids are wanted: its
/// enumerator in `enum cgroup_subsys_id` (`memory_cgrp_id`, …). Facts of the
/// network and of disks are read if they are wanted.
pub fn read(
    controller: Option<&str>,
    network: bool,
    disk: bool,
) -> Result<KernelFacts, OffsetsError> {
    let data = std::fs::read(VMLINUX).map_err(OffsetsError::NoBtf)?;
    let btf = Btf::parse(&data).ok_or(OffsetsError::Damaged)?;
    let member = |structure: &str, path: &str, shown: &'static str| {
        btf.offset(structure, path)
            .ok_or(OffsetsError::NoMember(shown))
    };
    macro_rules! offset {
        ($structure:literal, $path:literal) => {
            member($structure, $path, concat!($structure, ".", $path))?
        };
    }
    let mut offsets = KernelOffsets {
        task_flags: offset!("task_struct", "flags"),
        task_mm: offset!("task_struct", "mm"),
        task_tgid: offset!("task_struct", "tgid"),
        task_group_leader: offset!("task_struct", "group_leader"),
        task_start_boottime: offset!("task_struct", "start_boottime"),
        task_self_exec_id: offset!("task_struct", "self_exec_id"),
        task_comm: offset!("task_struct", "comm"),
        task_stack: offset!("task_struct", "stack"),
        task_cgroups: offset!("task_struct", "cgroups"),
        task_thread_pointer: btf
            .offset("task_struct", "thread.fsbase")
            .unwrap_or(KernelOffsets::ABSENT),
        task_signal: offset!("task_struct", "signal"),
        signal_live: offset!("signal_struct", "live"),
        css_set_default_cgroup: offset!("css_set", "dfl_cgrp"),
        css_set_subsystems: offset!("css_set", "subsys"),
        css_cgroup: offset!("cgroup_subsys_state", "cgroup"),
        cgroup_kernfs_node: offset!("cgroup", "kn"),
        cgroup_root: offset!("cgroup", "root"),
        cgroup_root_hierarchy_id: offset!("cgroup_root", "hierarchy_id"),
        kernfs_node_id: offset!("kernfs_node", "id"),
        task_pid: offset!("task_struct", "pid"),
        file_dentry: offset!("file", "f_path.dentry"),
        memory_environment_end: offset!("mm_struct", "env_end"),
        task_minor_faults: offset!("task_struct", "min_flt"),
        task_major_faults: offset!("task_struct", "maj_flt"),
        task_state: any(&btf, "task_struct", &["__state", "state"]),
        task_files: offset!("task_struct", "files"),
        files_table: offset!("files_struct", "fdt"),
        table_files: offset!("fdtable", "fd"),
        table_size: offset!("fdtable", "max_fds"),
        file_inode: offset!("file", "f_inode"),
        inode_mode: offset!("inode", "i_mode"),
        task_queue: any(&btf, "task_struct", &["se.cfs_rq"]),
        queue_throttled: any(&btf, "cfs_rq", &THROTTLED_TIME),
        queue_cpu: any(&btf, "cfs_rq", &["rq"]),
        cpu_stolen: if is_virtual() {
            any(&btf, "rq", &["prev_steal_time_rq"])
        } else {
            KernelOffsets::ABSENT
        },
        task_parent: offset!("task_struct", "real_parent"),
    };
    if offsets.task_queue == KernelOffsets::ABSENT || offsets.queue_cpu == KernelOffsets::ABSENT {
        offsets.cpu_stolen = KernelOffsets::ABSENT;
    }
    let cgroup_v1_subsystem = match controller {
        Some(name) => btf
            .enumerator(name)
            .ok_or(OffsetsError::NoMember("cgroup_subsys_id"))?,
        None => KernelOffsets::ABSENT,
    };
    Ok(KernelFacts {
        offsets,
        cgroup_v1_subsystem,
        has_task_pt_regs: btf.enumerator("BPF_FUNC_task_pt_regs").is_some(),
        has_victim_task: btf.tracepoint_arguments("mark_victim") == Some(2),
        network: network.then(|| Network::of(&btf)),
        disk: if disk {
            DiskFacts::read(&btf)
        } else {
            DiskFacts::default()
        },
        has_switch_state: btf.tracepoint_arguments("sched_switch") == Some(4),
    })
}
