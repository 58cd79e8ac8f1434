//! Which eBPF programs, maps and helpers the kernel gives us.

use std::io;

use aya::{
    maps::MapType,
    programs::{ProgramError, ProgramType},
    sys::{
        BpfHelper, Stats, SyscallError, enable_stats, is_helper_supported, is_map_supported,
        is_program_supported,
    },
};
use aya_obj::{
    btf::{Btf, BtfKind},
    generated::{
        BPF_ALU64, BPF_EXIT, BPF_F_INNER_MAP, BPF_F_MMAPABLE, BPF_JMP, BPF_K, BPF_MOV,
        bpf_attach_type, bpf_attr, bpf_cmd, bpf_map_type, bpf_prog_type,
    },
};

use super::{Check, host::Host, perf};

/// How an attempt ended.
#[derive(Debug)]
enum Attempt {
    Works,
    /// The kernel does not know it.
    Unknown,
    /// The kernel knows it, or might, and says no.
    Refused(io::Error),
}

pub fn checks(host: &Host) -> Vec<Check> {
    let allowed = host.capabilities().may_record();
    let mut checks = Vec::new();
    for part in PARTS {
        checks.push(if allowed {
            part.check((part.attempt)(host))
        } else {
            Check::unknown(part.name, "not tried: needs root")
        });
    }
    checks.push(statistics(host, allowed));
    checks.push(unprivileged(host));
    checks
}

/// Something that is tried.
struct Part {
    name: &'static str,
    required: bool,
    cost: &'static str,
    remedy: &'static str,
    attempt: fn(&Host) -> Attempt,
}

const LOCKED: &str = "boot a kernel without lockdown, or with a weaker one";
const LATER: &str = "nothing in this version, which uses none";

const PARTS: &[Part] = &[
    Part {
        name: "program: perf event",
        required: true,
        cost: "",
        remedy: "boot a kernel with CONFIG_BPF_SYSCALL=y and CONFIG_PERF_EVENTS=y",
        attempt: |_| program(ProgramType::PerfEvent),
    },
    Part {
        name: "program: raw tracepoint",
        required: true,
        cost: "",
        remedy: "boot a kernel with CONFIG_BPF_EVENTS=y",
        attempt: |_| program(ProgramType::RawTracePoint),
    },
    Part {
        name: "program: tp_btf",
        required: false,
        cost: "no wall time of threads, no stacks of waits, no system calls, and no network",
        remedy: LOCKED,
        attempt: |_| tp_btf("btf_trace_sched_switch"),
    },
    Part {
        name: "tracepoint: messages of sockets",
        required: false,
        cost: "the network is told from system calls: without sendfile, splice and io_uring",
        remedy: "boot a kernel of 6.3 or newer",
        attempt: |_| tp_btf("btf_trace_sock_send_length"),
    },
    Part {
        name: "tracepoint: block_io_start",
        required: false,
        cost: "disk requests begin when they are queued, not when they are made",
        remedy: "boot a kernel of 6.5 or newer",
        attempt: |_| tracepoint("block_io_start"),
    },
    Part {
        name: "tracepoint: mm_filemap_get_pages",
        required: false,
        cost: "misses of the page cache are told, hits are not",
        remedy: "boot a kernel of 6.12 or newer",
        attempt: |_| tracepoint("mm_filemap_get_pages"),
    },
    Part {
        name: "program: fentry",
        required: false,
        cost: LATER,
        remedy: LOCKED,
        attempt: |_| program(ProgramType::Tracing),
    },
    Part {
        name: "program: kprobe",
        required: false,
        cost: LATER,
        remedy: "boot a kernel with CONFIG_KPROBES=y",
        attempt: |host| perf_probe(perf::open_kprobe(host)),
    },
    Part {
        name: "program: uprobe",
        required: false,
        cost: "no phases of PostgreSQL's statements (--statement-phases)",
        remedy: "boot a kernel with CONFIG_UPROBES=y",
        attempt: |host| perf_probe(perf::open_uprobe(host)),
    },
    Part {
        name: "map: ring buffer",
        required: true,
        cost: "",
        remedy: "boot a kernel of 5.10 or newer",
        attempt: |_| map(MapType::RingBuf),
    },
    Part {
        name: "map: array of maps",
        required: true,
        cost: "",
        remedy: "boot a kernel of 5.10 or newer",
        attempt: |_| map(MapType::ArrayOfMaps),
    },
    Part {
        name: "map: inner, of any size, mmapable",
        required: true,
        cost: "",
        remedy: "boot a kernel of 5.10 or newer",
        attempt: |_| attempt(inner_map()),
    },
    Part {
        name: "helper: read kernel memory",
        required: true,
        cost: "",
        remedy: "boot with lockdown=integrity: at confidentiality it is refused",
        attempt: |_| helper(BpfHelper::BPF_FUNC_probe_read_kernel),
    },
    Part {
        name: "helper: read user memory",
        required: true,
        cost: "",
        remedy: "boot with lockdown=integrity: at confidentiality it may be refused",
        attempt: |_| helper(BpfHelper::BPF_FUNC_probe_read_user),
    },
    Part {
        name: "helper: kernel stacks",
        required: true,
        cost: "",
        remedy: "boot a kernel of 5.10 or newer",
        attempt: |_| helper(BpfHelper::BPF_FUNC_get_stack),
    },
];

impl Part {
    fn check(&self, attempt: Attempt) -> Check {
        let found = match attempt {
            Attempt::Works => {
                let check = Check::ok(self.name, "works");
                return if self.required {
                    check.required()
                } else {
                    check
                };
            }
            Attempt::Unknown => "this kernel does not have it".to_string(),
            Attempt::Refused(error) => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => {
                    "the kernel refuses it (lockdown, a security module, or a capability we lack)"
                        .to_string()
                }
                _ => format!("the kernel refuses it: {error}"),
            },
        };
        let check = Check::missing(self.name, found)
            .costs(self.cost)
            .remedy(self.remedy);
        if self.required {
            check.required()
        } else {
            check
        }
    }
}

fn attempt(result: io::Result<()>) -> Attempt {
    match result {
        Ok(()) => Attempt::Works,
        Err(error) => match error.raw_os_error() {
            Some(libc::EINVAL | libc::E2BIG | libc::ENOSYS) => Attempt::Unknown,
            _ => Attempt::Refused(error),
        },
    }
}

/// Of a perf event that a program could be attached to.
fn perf_probe(result: io::Result<()>) -> Attempt {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Attempt::Unknown,
        Ok(()) => program(ProgramType::KProbe),
        result => attempt(result),
    }
}

fn supported(result: Result<bool, io::Error>) -> Attempt {
    match result {
        Ok(true) => Attempt::Works,
        Ok(false) => Attempt::Unknown,
        Err(error) => Attempt::Refused(error),
    }
}

fn os_error(error: ProgramError) -> io::Error {
    match error {
        ProgramError::SyscallError(SyscallError { io_error, .. }) => io_error,
        error => io::Error::other(error),
    }
}

fn program(kind: ProgramType) -> Attempt {
    supported(is_program_supported(kind).map_err(os_error))
}

fn helper(helper: BpfHelper) -> Attempt {
    supported(is_helper_supported(ProgramType::PerfEvent, helper).map_err(os_error))
}

fn map(kind: MapType) -> Attempt {
    supported(is_map_supported(kind).map_err(|error| error.io_error))
}

/// Whether the kernel has a tracepoint.
fn tracepoint(name: &str) -> Attempt {
    let found = Btf::from_sys_fs()
        .and_then(|btf| btf.id_by_type_name_kind(&format!("btf_trace_{name}"), BtfKind::Typedef));
    match found {
        Ok(_) => Attempt::Works,
        Err(_) => Attempt::Unknown,
    }
}

/// Loads a program for a tracepoint with typed arguments. aya only offers to
/// probe the other programs of this family, which lockdown treats differently.
/// `hook` is how the kernel calls the type of a tracepoint.
fn tp_btf(hook: &str) -> Attempt {
    let Ok(id) =
        Btf::from_sys_fs().and_then(|btf| btf.id_by_type_name_kind(hook, BtfKind::Typedef))
    else {
        return Attempt::Unknown;
    };
    // `r0 = 0; exit`
    let instructions: [u64; 2] = [
        u64::from(BPF_ALU64 | BPF_MOV | BPF_K),
        u64::from(BPF_JMP | BPF_EXIT),
    ];
    // SAFETY: all zeros is a valid `bpf_attr`.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union is all zeros, which is valid for each of its members.
    let program = unsafe { &mut attributes.__bindgen_anon_3 };
    program.prog_type = bpf_prog_type::BPF_PROG_TYPE_TRACING as u32;
    program.expected_attach_type = bpf_attach_type::BPF_TRACE_RAW_TP as u32;
    program.attach_btf_id = id;
    program.insn_cnt = instructions.len() as u32;
    program.insns = instructions.as_ptr() as u64;
    program.license = c"GPL".as_ptr() as u64;
    attempt(bpf(bpf_cmd::BPF_PROG_LOAD, &mut attributes))
}

/// Makes a map like those that hold the unwind tables: in an array of maps,
/// each of its own size (5.10), written through a mapping.
fn inner_map() -> io::Result<()> {
    // SAFETY: all zeros is a valid `bpf_attr`.
    let mut attributes: bpf_attr = unsafe { std::mem::zeroed() };
    // SAFETY: the union is all zeros, which is valid for each of its members.
    let map = unsafe { &mut attributes.__bindgen_anon_1 };
    map.map_type = bpf_map_type::BPF_MAP_TYPE_ARRAY as u32;
    map.key_size = 4;
    map.value_size = 64;
    map.max_entries = 1;
    map.map_flags = BPF_F_INNER_MAP | BPF_F_MMAPABLE;
    bpf(bpf_cmd::BPF_MAP_CREATE, &mut attributes)
}

/// Calls bpf(2) and closes what it made.
fn bpf(command: bpf_cmd, attributes: &mut bpf_attr) -> io::Result<()> {
    // SAFETY: the attributes are valid for the command and as large as said;
    // what they point to outlives the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command as libc::c_int,
            std::ptr::from_mut(attributes),
            size_of::<bpf_attr>(),
        )
    };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a file descriptor that the kernel just gave us.
    unsafe { libc::close(made as libc::c_int) };
    Ok(())
}

/// The kernel's own measurement of our programs.
fn statistics(host: &Host, allowed: bool) -> Check {
    const NAME: &str = "run time of eBPF programs";
    if host.number("/proc/sys/kernel/bpf_stats_enabled") == Some(1) {
        return Check::ok(NAME, "measured (kernel.bpf_stats_enabled=1)");
    }
    if !allowed {
        return Check::unknown(NAME, "not tried: needs root");
    }
    match enable_stats(Stats::RunTime) {
        Ok(_) => Check::ok(NAME, "can be measured while recording"),
        Err(error) => Check::limited(NAME, format!("not measured: {}", error.io_error))
            .costs("the report does not say what its programs cost in the kernel")
            .remedy("run it as root, or `sysctl kernel.bpf_stats_enabled=1`"),
    }
}

fn unprivileged(host: &Host) -> Check {
    const NAME: &str = "unprivileged eBPF";
    match host.number("/proc/sys/kernel/unprivileged_bpf_disabled") {
        Some(0) => Check::ok(NAME, "allowed; not needed"),
        Some(_) => Check::ok(NAME, "forbidden; not needed"),
        None => Check::unknown(NAME, "kernel.unprivileged_bpf_disabled is not there"),
    }
}
