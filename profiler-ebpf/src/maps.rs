//! The maps and the settings, once.

use aya_ebpf::{
    bindings::{BPF_F_INNER_MAP, BPF_F_MMAPABLE},
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use profiler_ebpf::{
    Backend, Block, CALL_NUMBERS, CacheUse, CallKey, Calls, Connection, Counter, DiskKey,
    DiskOffsets, DiskUse, Executable, FOUND_RULES, FileKey, FileUse, FoundRule, Gils, InFlight,
    KNOWN_STATEMENTS, KernelOffsets, MAX_BACKENDS, MAX_CALL_TARGETS, MAX_CALLS, MAX_CONNECTIONS,
    MAX_DISK_CACHE, MAX_DISK_FILES, MAX_DISK_REQUESTS, MAX_DISK_USES, MAX_EXECUTABLES,
    MAX_GIL_WAITS, MAX_GILS, MAX_MAPPINGS, MAX_PROCESSES, MAX_PYTHONS, MAX_TABLES, MAX_THREADS,
    MAX_V8S, MAX_WANTED, Mapping, NetworkCounter, NetworkOffsets, NetworkSettings, NetworkThinning,
    PAGE_BYTES, ProcessEntry, ProcessKey, PythonRuntime, RECORDS_PER_CPU, RING_BYTES, Settings,
    TargetKey, TargetUse, TextArgument, Thinning, ThreadClock, ThreadTraffic, V8Runtime, Window,
    orc::KernelCode,
};

use crate::{
    atomic::add,
    scratch::{PLACES, Place},
    walk::Record,
};

/// Overwritten by userspace before the programs are loaded.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    offsets: KernelOffsets {
        task_flags: 0,
        task_mm: 0,
        task_tgid: 0,
        task_group_leader: 0,
        task_start_boottime: 0,
        task_self_exec_id: 0,
        task_comm: 0,
        task_stack: 0,
        task_cgroups: 0,
        task_thread_pointer: 0,
        task_signal: 0,
        signal_live: 0,
        css_set_default_cgroup: 0,
        css_set_subsystems: 0,
        css_cgroup: 0,
        cgroup_kernfs_node: 0,
        cgroup_root: 0,
        cgroup_root_hierarchy_id: 0,
        kernfs_node_id: 0,
        task_pid: 0,
        file_dentry: 0,
        memory_environment_end: 0,
        task_minor_faults: 0,
        task_major_faults: 0,
        task_state: 0,
        task_files: 0,
        files_table: 0,
        table_files: 0,
        table_size: 0,
        file_inode: 0,
        inode_mode: 0,
        task_queue: 0,
        queue_throttled: 0,
        queue_cpu: 0,
        cpu_stolen: 0,
        task_parent: 0,
    },
    disk: DiskOffsets {
        request_queue: 0,
        request_disk: 0,
        queue_disk: 0,
        request_flags: 0,
        request_length: 0,
        request_bio: 0,
        request_start: 0,
        disk_major: 0,
        disk_first_minor: 0,
        bio_vectors: 0,
        bio_vector_index: 0,
        bio_group: 0,
        group_cgroup: 0,
        cgroup_state: 0,
        page_mapping: 0,
        page_head: 0,
        folio_order: 0,
        mapping_host: 0,
        inode_number: 0,
        inode_device: 0,
        inode_file_system: 0,
        inode_names: 0,
        file_system_device: 0,
        name_link: 0,
        name_text: 0,
        large_folio: 0,
        passes_queue: 0,
    },
    gate: 0,
    cgroup_v1_subsystem: 0,
    has_task_pt_regs: 0,
    kernel_stack_size: 0,
    has_switch_state: 0,
    follows_threads: 0,
    counts_calls: 0,
    tells_targets: 0,
    has_victim_task: 0,
    times_statements: 0,
};

/// Reads one setting. Volatile, so that the compiler does not fold in the
/// zeros above.
macro_rules! setting {
    ($($field:ident).+) => {{
        // SAFETY: the static is initialised, aligned and never written.
        unsafe { core::ptr::addr_of!($crate::maps::SETTINGS.$($field).+).read_volatile() }
    }};
}
pub(crate) use setting;

/// The same of the network's.
macro_rules! network_setting {
    ($($field:ident).+) => {{
        // SAFETY: as above.
        unsafe { core::ptr::addr_of!($crate::maps::NETWORK_SETTINGS.$($field).+).read_volatile() }
    }};
}
pub(crate) use network_setting;

/// As above.
#[unsafe(no_mangle)]
pub static NETWORK_SETTINGS: NetworkSettings = NetworkSettings {
    enabled: 0,
    knows_sockets: 0,
    has_cookies: 0,
    has_drop_reason: 0,
    has_drop_socket: 0,
    offsets: NetworkOffsets {
        family: 0,
        local_address: 0,
        remote_address: 0,
        local_address_6: 0,
        remote_address_6: 0,
        local_port: 0,
        remote_port: 0,
        namespace: 0,
        namespace_inode: 0,
        kind: 0,
        protocol: 0,
        error: 0,
        socket: 0,
        round_trip: 0,
        round_trip_deviation: 0,
        retransmits: 0,
        unix_address: 0,
        unix_peer: 0,
        unix_length: 0,
        unix_name: 0,
        socket_file: 0,
        socket_sock: 0,
        inode_number: 0,
        file_private: 0,
    },
};

#[btf_map]
pub static EVENTS: RingBuf<u64, RING_BYTES> = RingBuf::new();

#[btf_map]
pub static COUNTERS: PerCpuArray<u64, { Counter::TOTAL }> = PerCpuArray::new();

/// Some for hooks in process context, one for the timer interrupt that can hit
/// during another program's walk.
#[btf_map]
pub static RECORDS: PerCpuArray<Record, RECORDS_PER_CPU> = PerCpuArray::new();

#[btf_map]
pub static PROCESSES: HashMap<u32, ProcessEntry, MAX_PROCESSES> = HashMap::new();

#[btf_map]
pub static MAPPINGS: Array<Mapping, MAX_MAPPINGS, { BPF_F_MMAPABLE as usize }> = Array::new();

/// Mapped into memory by nobody, but for each entry to lie in one cache line.
#[btf_map]
pub static EXECUTABLES: Array<Executable, MAX_EXECUTABLES, { BPF_F_MMAPABLE as usize }> =
    Array::new();

/// For each record of each CPU the rules that walks with it found lately.
/// Userspace makes room for as many CPUs as there may be.
#[btf_map]
pub static FOUND: Array<
    FoundRule,
    { RECORDS_PER_CPU * FOUND_RULES as usize },
    { BPF_F_MMAPABLE as usize },
> = Array::new();

#[btf_map]
pub static PYTHONS: Array<PythonRuntime, MAX_PYTHONS> = Array::new();

#[btf_map]
pub static GILS: HashMap<u32, Gils, MAX_GILS> = HashMap::new();

/// When a thread began to wait, by its id.
#[btf_map]
pub static GIL_WAITS: HashMap<u32, u64, MAX_GIL_WAITS> = HashMap::new();

/// Entries are made in process context only; the scheduler's hooks write into
/// those that are there.
#[btf_map]
pub static THREADS: HashMap<u32, ThreadClock, MAX_THREADS> = HashMap::new();

/// All zeros: what an entry of `THREADS` begins as, too large for the stack.
#[btf_map]
pub static NEW_THREAD: Array<ThreadClock, 1> = Array::new();

#[btf_map]
pub static WINDOW: Array<Window, 1> = Array::new();

#[btf_map]
pub static THINNING: PerCpuArray<Thinning, 2> = PerCpuArray::new();

/// Most stacks in a window and CPU that are not the sampling clock's.
#[btf_map]
pub static STACKS_ALLOWED: Array<u64, 1> = Array::new();

/// Bytes of page faults on this CPU for which no stack was taken yet.
#[btf_map]
pub static FAULT_RESIDUAL: PerCpuArray<u64, 1> = PerCpuArray::new();

/// The thread that runs on this CPU.
#[repr(C)]
pub struct Running {
    /// Not zero while it owes a stack.
    pub owes: u64,
    /// When the last switch on this CPU was seen, nanoseconds.
    pub since: u64,
    /// What the hypervisor had taken of the CPU at that switch, nanoseconds.
    pub stolen: u64,
}

#[btf_map]
pub static RUNNING: PerCpuArray<Running, 1> = PerCpuArray::new();

/// What each thread sent and received, by its id.
#[btf_map]
pub static TRAFFIC: HashMap<u32, ThreadTraffic, MAX_THREADS> = HashMap::new();

/// Entries are made in process context only, and taken out by userspace.
#[btf_map]
pub static CONNECTIONS: HashMap<u64, Connection, MAX_CONNECTIONS> = HashMap::new();

/// Where entries of the two are made, too large for the stack.
#[btf_map]
pub static NEW_TRAFFIC: PerCpuArray<Place<ThreadTraffic>, PLACES> = PerCpuArray::new();
#[btf_map]
pub static NEW_CONNECTION: PerCpuArray<Place<Connection>, PLACES> = PerCpuArray::new();

#[btf_map]
pub static NETWORK_COUNTERS: PerCpuArray<u64, { NetworkCounter::TOTAL }> = PerCpuArray::new();

#[btf_map]
pub static NETWORK_THINNING: PerCpuArray<NetworkThinning, 1> = PerCpuArray::new();

/// Disk requests that are under way, by the address of their structure.
#[btf_map]
pub static DISK_REQUESTS: HashMap<u64, InFlight, MAX_DISK_REQUESTS> = HashMap::new();

/// Entries are made where requests are submitted; their completion, in an
/// interrupt, writes into those that are there.
#[btf_map]
pub static DISK_USES: HashMap<DiskKey, DiskUse, MAX_DISK_USES> = HashMap::new();

#[btf_map]
pub static DISK_FILES: HashMap<FileKey, FileUse, MAX_DISK_FILES> = HashMap::new();

#[btf_map]
pub static DISK_CACHE: HashMap<ProcessKey, CacheUse, MAX_DISK_CACHE> = HashMap::new();

/// The request that is made now. Not on the stack, where the verifier would
/// follow it through the walk once for each way in which it can be filled in.
#[btf_map]
pub static NEW_REQUEST: PerCpuArray<Place<InFlight>, PLACES> = PerCpuArray::new();

/// All zeros: what entries of `DISK_USES`, `DISK_FILES` and `DISK_CACHE` begin as.
/// One is too large for the stack, and the verifier of 5.10 takes minutes for
/// the loops that clear the others there.
#[btf_map]
pub static NEW_DISK_USE: Array<DiskUse, 1> = Array::new();

#[btf_map]
pub static NEW_FILE_USE: Array<FileUse, 1> = Array::new();

#[btf_map]
pub static NEW_CACHE_USE: Array<CacheUse, 1> = Array::new();

/// In bytes.
#[btf_map]
pub static DISK_THINNING: PerCpuArray<Thinning, 1> = PerCpuArray::new();

/// Backends of PostgreSQL. Entries are made and taken out in process context.
#[btf_map]
pub static BACKENDS: HashMap<u32, Backend, MAX_BACKENDS> = HashMap::new();

/// All zeros: what an entry of `BACKENDS` begins as, too large for the stack.
#[btf_map]
pub static NEW_BACKEND: Array<Backend, 1> = Array::new();

#[btf_map]
pub static TEXT_ARGUMENTS: Array<TextArgument, PAGE_BYTES> = Array::new();

/// Hashes of the statements whose text was sent, each in the place that its hash
/// says; another takes the place over.
#[btf_map]
pub static KNOWN_TEXTS: Array<u64, KNOWN_STATEMENTS> = Array::new();

#[btf_map]
pub static V8S: Array<V8Runtime, MAX_V8S> = Array::new();

/// What each thread called.
#[btf_map]
pub static CALLS: HashMap<CallKey, Calls, MAX_CALLS> = HashMap::new();

/// Calls of threads that `CALLS` has no room for.
#[btf_map]
pub static CALLS_WITHOUT_ROOM: PerCpuArray<Calls, CALL_NUMBERS> = PerCpuArray::new();

/// Not zero: the call is counted.
#[btf_map]
pub static CALLS_WANTED: Array<u32, CALL_NUMBERS> = Array::new();

/// All zeros: what an entry of `CALLS` begins as, too large for the stack.
#[btf_map]
pub static NEW_CALLS: Array<Calls, 1> = Array::new();

/// A [`profiler_ebpf::Subject`] of each call.
#[btf_map]
pub static CALL_SUBJECTS: Array<u32, CALL_NUMBERS> = Array::new();

/// What calls were about. Entries are made in process context only, and taken
/// out by userspace when their process has ended.
#[btf_map]
pub static CALL_TARGETS: HashMap<TargetKey, TargetUse, MAX_CALL_TARGETS> = HashMap::new();

/// Where entries are made, too large for the stack.
#[btf_map]
pub static NEW_TARGET: PerCpuArray<Place<TargetUse>, PLACES> = PerCpuArray::new();

pub type Table = Array<Block, 1, { (BPF_F_INNER_MAP | BPF_F_MMAPABLE) as usize }>;

#[btf_map]
pub static TABLES: ArrayOfMaps<Table, MAX_TABLES> = ArrayOfMaps::new();

#[btf_map]
pub static WANTED_PROCESSES: HashMap<u32, u32, MAX_WANTED> = HashMap::new();

#[btf_map]
pub static WANTED_CGROUPS: HashMap<u64, u32, MAX_WANTED> = HashMap::new();

/// One entry.
#[btf_map]
pub static KERNEL_CODE: Array<KernelCode, 1> = Array::new();

/// Adds one to a per-CPU counter.
#[inline(always)]
pub fn count(index: u32) {
    if let Some(counter) = COUNTERS.get_ptr_mut(index) {
        // SAFETY: the map returned it; only this CPU writes to it, and an interrupt
        // of it may do so in between.
        add(unsafe { &mut *counter }, 1);
    }
}
