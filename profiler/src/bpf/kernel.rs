//! Loading, attaching, and the maps.

use std::{
    collections::BTreeMap,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
};

use aya::{
    Btf as LoaderBtf, Ebpf, EbpfError, EbpfLoader,
    maps::{Array, ArrayOfMaps, HashMap, Map, MapData, MapError, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, PerfEvent, Program, ProgramError, RawTracePoint, TracePoint,
        perf_event::{
            PerfEventConfig, PerfEventLinkId, PerfEventScope, SamplePolicy, SoftwareEvent,
        },
        raw_trace_point::RawTracePointLinkId,
        tp_btf::BtfTracePointLinkId,
    },
    sys::Stats,
};
use aya_log::EbpfLogger;
use profiler_ebpf::{
    Block, CallKey, Calls, Connection, Counter, Executable, FOUND_RULES, Gils, MAX_CALL_TARGETS,
    MAX_CONNECTIONS, MAX_MAPPINGS, MAX_THREADS, Mapping, Outcome, ProcessEntry, PythonRuntime,
    RECORDS_PER_CPU, RING_BYTES, STACKS_PER_WINDOW, Settings, TargetKey, TargetUse, ThreadClock,
    ThreadTraffic, V8Runtime, Window, gate,
};
use thiserror::Error;

use super::{
    Shared,
    disk::{self, DiskMaps},
    events::EventRing,
    network::Network,
    offsets::{self, OffsetsError},
    statements,
    tables::{SharedArray, TableError, TableMemory},
    tracefs,
};

/// The compiled programs; `cargo xtask build-bpf` makes them.
static OBJECT: &[u8] = aya::include_bytes_aligned!("../../bpf/profiler.bpf.o");

/// Hooks that keep the table of processes right, by program and tracepoint.
const LIFECYCLE: [(&str, &str); 4] = [
    ("process_exec", "sched_process_exec"),
    ("process_fork", "sched_process_fork"),
    ("process_exit", "sched_process_exit"),
    ("cgroup_created", "cgroup_mkdir"),
];

const SAMPLER: &str = "on_cpu";

/// Hooks that measure waits for CPython's lock, by program and tracepoint.
const GIL_HOOKS: [(&str, &str); 2] = [
    ("futex_enter", "sys_enter_futex"),
    ("futex_exit", "sys_exit_futex"),
];
/// The map of the programs' messages, and what their targets begin with.
const MESSAGES: &str = "AYA_LOGS";
const MESSAGES_TARGET: &str = "profiler_ebpf";

/// Largest ring buffer: enough for a second of 10,000 Hz on 64 CPUs.
const MAX_RING_BYTES: u64 = 256 << 20;
/// What one sample takes in the ring, generously.
const SAMPLE_BYTES: u64 = 1024;

/// `THREAD_SIZE` of x86-64 without KASAN, arch/x86/include/asm/page_64_types.h.
const KERNEL_STACK_SIZE: u32 = 16 << 10;

#[derive(Debug, Error)]
pub enum KernelError {
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    #[error("the kernel refused the programs: {0}; `profiler doctor` tells what is missing")]
    Load(#[from] EbpfError),
    #[error("the kernel refused program {name}: {source}; `profiler doctor` tells what is missing")]
    Program {
        name: &'static str,
        source: Box<ProgramError>,
    },
    #[error("this kernel's structures of disk requests have no {0}")]
    Member(&'static str),
    #[error("BPF map: {0}")]
    Map(#[from] MapError),
    #[error("BPF map: {0}")]
    Table(#[from] TableError),
    #[error("how many CPUs there may be is not known: {0}")]
    Cpus(std::io::Error),
    #[error("cannot sample CPU {cpu}: {source}")]
    Sampler { cpu: u32, source: Box<ProgramError> },
    #[error("the compiled eBPF object has no {0}; rebuild it with `cargo xtask build-bpf`")]
    Incomplete(&'static str),
}

impl KernelError {
    /// Without what the verifier said, which fills pages: that goes to the log.
    pub fn brief(&self) -> String {
        let text = self.to_string();
        log::info!("{text}");
        let brief = text.split(". Verifier output").next();
        brief.unwrap_or_default().to_owned()
    }
}

/// Which tasks the programs let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    Everything,
    Processes,
    Cgroups,
}

#[derive(Clone, Debug)]
pub struct KernelOptions<'a> {
    /// Samples a second on each CPU.
    pub frequency: u64,
    pub gate: Gate,
    /// Version 1 controller whose cgroup ids are wanted.
    pub cgroup_v1_controller: Option<&'a str>,
    pub cpus: u64,
    /// Most threads that are followed at a time; 0: none is.
    pub threads: u32,
    /// Most calls that are counted, each for each thread; 0: none is.
    pub calls: u32,
    /// Whether it is told what calls are about.
    pub targets: bool,
    /// Whether the network is recorded.
    pub network: bool,
    /// Whether disk requests are recorded.
    pub disk: bool,
    /// Whether phases of PostgreSQL's statements are.
    pub statements: bool,
}

/// What the kernel measured of a program.
#[derive(Clone, Debug)]
pub struct ProgramRun {
    pub name: String,
    pub run_time_ns: u64,
    pub run_count: u64,
}

/// The loaded programs. Dropping it detaches and unloads them all.
pub struct Kernel {
    pub(super) ebpf: Ebpf,
    counters: PerCpuArray<MapData, u64>,
    processes: HashMap<MapData, u32, Shared<ProcessEntry>>,
    mappings: SharedArray<Mapping>,
    executables: Array<MapData, Shared<Executable>>,
    pythons: Array<MapData, Shared<PythonRuntime>>,
    gils: HashMap<MapData, u32, Shared<Gils>>,
    v8s: Array<MapData, Shared<V8Runtime>>,
    pub(super) threads: HashMap<MapData, u32, Shared<ThreadClock>>,
    pub(super) traffic: HashMap<MapData, u32, Shared<ThreadTraffic>>,
    pub(super) connections: HashMap<MapData, u64, Shared<Connection>>,
    pub(super) network_counters: PerCpuArray<MapData, u64>,
    pub(super) network: Network,
    pub(super) window: Array<MapData, Shared<Window>>,
    pub(super) calls: HashMap<MapData, Shared<CallKey>, Shared<Calls>>,
    pub(super) calls_without_room: PerCpuArray<MapData, Shared<Calls>>,
    pub(super) calls_wanted: Array<MapData, u32>,
    /// While calls are counted.
    pub(super) call_enter: Option<BtfTracePointLinkId>,
    pub(super) call_subjects: Array<MapData, u32>,
    pub(super) call_targets: HashMap<MapData, Shared<TargetKey>, Shared<TargetUse>>,
    pub(super) disk: DiskMaps,
    /// Id of the map `TABLES`, of which every worker opens a handle.
    tables_id: u32,
    wanted_processes: HashMap<MapData, u32, u32>,
    wanted_cgroups: HashMap<MapData, u64, u32>,
    samplers: BTreeMap<u32, PerfEventLinkId>,
    pub(super) samples_faults: bool,
    pub(super) fault_samplers: BTreeMap<u32, Vec<(&'static str, PerfEventLinkId)>>,
    /// Nanoseconds between two ticks of the sampling clock, now and at first.
    sample_period: u64,
    first_period: u64,
    stacks_allowed: Array<MapData, u64>,
    map_bytes: u64,
    /// Programs that are loaded later name it by this descriptor.
    _mappings: MapData,
    /// What the programs say of themselves, when somebody listens.
    messages: Option<EbpfLogger<&'static dyn log::Log>>,
    /// Keeps the kernel's run time statistics on.
    _statistics: Option<OwnedFd>,
}

/// The slots of the unwind tables.
///
/// The kernel lets a change of a map of maps wait for an RCU grace period
/// (`maybe_wait_bpf_programs` in kernel/bpf/syscall.c, 5.10 to 6.18), which
/// takes up to a second on a busy host. So many threads do it at a time, and
/// never the one that drains the ring.
pub struct TableSlots {
    map: ArrayOfMaps<MapData, Array<MapData, Shared<Block>>>,
}

impl TableSlots {
    /// Puts a table in place; [`Kernel::set_executable`] makes it visible.
    pub fn set(&mut self, slot: u32, table: &TableMemory) -> Result<(), KernelError> {
        Ok(self.map.set(slot, &table.map, 0)?)
    }
}

/// Entries of `FOUND` for all CPUs that there may be.
fn found_rules() -> Result<u32, KernelError> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| KernelError::Cpus(error))?;
    Ok((cpus * RECORDS_PER_CPU) as u32 * FOUND_RULES)
}

pub(super) fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<Map, KernelError> {
    ebpf.take_map(name).ok_or(KernelError::Incomplete(name))
}

impl Kernel {
    /// Loads the programs and attaches those that follow processes. Nothing
    /// is sampled yet.
    pub fn load(options: &KernelOptions<'_>) -> Result<(Self, EventRing), KernelError> {
        let facts = offsets::read(
            options.cgroup_v1_controller,
            options.network || options.targets,
            options.disk || options.targets,
        )?;
        let sample_period = 1_000_000_000 / options.frequency;
        let settings = Settings {
            offsets: facts.offsets,
            disk: facts.disk.offsets,
            gate: match options.gate {
                Gate::Everything => gate::EVERYTHING,
                Gate::Processes => gate::PROCESSES,
                Gate::Cgroups => gate::CGROUPS,
            },
            cgroup_v1_subsystem: facts.cgroup_v1_subsystem,
            has_task_pt_regs: facts.has_task_pt_regs.into(),
            kernel_stack_size: KERNEL_STACK_SIZE,
            has_switch_state: facts.has_switch_state.into(),
            follows_threads: (options.threads > 0).into(),
            counts_calls: (options.calls > 0).into(),
            tells_targets: options.targets.into(),
            has_victim_task: facts.has_victim_task.into(),
            times_statements: options.statements.into(),
        };
        // Switched on before the first program runs; without it the cost
        // section says that it is missing.
        let statistics = aya::sys::enable_stats(Stats::RunTime).ok();
        let debug = log::log_enabled!(target: MESSAGES_TARGET, log::Level::Debug);
        let level = if debug {
            aya_log::Level::Debug as u8
        } else {
            0
        };
        let settings = Shared(settings);
        let network = match facts.network {
            Some(Ok(mut network)) => {
                network.settings.enabled = options.network.into();
                network
            }
            // `load_network` tells that there is nothing to load.
            Some(Err(_)) | None => Network::default(),
        };
        let network_settings = Shared(network.settings);
        let (talkers, connections) = if network.settings.enabled != 0 {
            (
                options.threads.max(MAX_THREADS as u32),
                MAX_CONNECTIONS as u32,
            )
        } else {
            (1, 1)
        };
        let mut loader = EbpfLoader::new();
        loader
            .override_global("SETTINGS", &settings, true)
            .override_global(aya_log::LEVEL, &level, true)
            .override_global("NETWORK_SETTINGS", &network_settings, true)
            .map_max_entries("TRAFFIC", talkers)
            .map_max_entries("CONNECTIONS", connections)
            .map_max_entries("EVENTS", ring_bytes(options))
            .map_max_entries("THREADS", options.threads.max(1))
            .map_max_entries("CALLS", options.calls.max(1))
            .map_max_entries("FOUND", found_rules()?)
            .map_max_entries(
                "CALL_TARGETS",
                if options.targets {
                    MAX_CALL_TARGETS as u32
                } else {
                    1
                },
            );
        for (map, entries) in disk::MAPS {
            loader.map_max_entries(map, if options.disk { entries as u32 } else { 1 });
        }
        for (map, entries) in statements::MAPS {
            let entries = if options.statements { entries } else { 1 };
            loader.map_max_entries(map, entries as u32);
        }
        if !debug {
            loader.map_max_entries(MESSAGES, rustix::param::page_size() as u32);
        }
        let mut ebpf = loader.load(OBJECT)?;
        let map_bytes = ebpf.maps().map(|(_, map)| memory_of(map)).sum();
        let mappings = take(&mut ebpf, "MAPPINGS")?;
        let Map::Array(mappings_map) = mappings else {
            return Err(KernelError::Incomplete("array MAPPINGS"));
        };
        let mappings =
            SharedArray::new(mappings_map.fd(), MAX_MAPPINGS).map_err(TableError::Map)?;
        let tables_id = match ebpf.map("TABLES") {
            Some(Map::ArrayOfMaps(data)) => data.info()?.id(),
            _ => return Err(KernelError::Incomplete("TABLES")),
        };
        let messages = if debug {
            EbpfLogger::init(&mut ebpf)
                .inspect_err(|error| log::debug!("no messages of the programs: {error}"))
                .ok()
        } else {
            None
        };
        let ring = EventRing::new(RingBuf::try_from(take(&mut ebpf, "EVENTS")?)?);
        let mut kernel = Self {
            counters: PerCpuArray::try_from(take(&mut ebpf, "COUNTERS")?)?,
            processes: HashMap::try_from(take(&mut ebpf, "PROCESSES")?)?,
            mappings,
            executables: Array::try_from(take(&mut ebpf, "EXECUTABLES")?)?,
            pythons: Array::try_from(take(&mut ebpf, "PYTHONS")?)?,
            gils: HashMap::try_from(take(&mut ebpf, "GILS")?)?,
            v8s: Array::try_from(take(&mut ebpf, "V8S")?)?,
            threads: HashMap::try_from(take(&mut ebpf, "THREADS")?)?,
            traffic: HashMap::try_from(take(&mut ebpf, "TRAFFIC")?)?,
            connections: HashMap::try_from(take(&mut ebpf, "CONNECTIONS")?)?,
            network_counters: PerCpuArray::try_from(take(&mut ebpf, "NETWORK_COUNTERS")?)?,
            network,
            window: Array::try_from(take(&mut ebpf, "WINDOW")?)?,
            calls: HashMap::try_from(take(&mut ebpf, "CALLS")?)?,
            calls_without_room: PerCpuArray::try_from(take(&mut ebpf, "CALLS_WITHOUT_ROOM")?)?,
            calls_wanted: Array::try_from(take(&mut ebpf, "CALLS_WANTED")?)?,
            call_enter: None,
            call_subjects: Array::try_from(take(&mut ebpf, "CALL_SUBJECTS")?)?,
            call_targets: HashMap::try_from(take(&mut ebpf, "CALL_TARGETS")?)?,
            disk: DiskMaps::take(&mut ebpf, facts.disk)?,
            tables_id,
            wanted_processes: HashMap::try_from(take(&mut ebpf, "WANTED_PROCESSES")?)?,
            wanted_cgroups: HashMap::try_from(take(&mut ebpf, "WANTED_CGROUPS")?)?,
            samplers: BTreeMap::new(),
            samples_faults: false,
            fault_samplers: BTreeMap::new(),
            sample_period,
            first_period: sample_period,
            stacks_allowed: Array::try_from(take(&mut ebpf, "STACKS_ALLOWED")?)?,
            map_bytes,
            _mappings: mappings_map,
            messages,
            ebpf,
            _statistics: statistics,
        };
        kernel.allow_stacks(STACKS_PER_WINDOW)?;
        kernel.load_sampler(SAMPLER)?;
        for (name, tracepoint) in LIFECYCLE {
            kernel.attach_tracepoint(name, tracepoint)?;
        }
        Ok((kernel, ring))
    }

    /// A program of the object, as what it is.
    pub(super) fn program<T>(&mut self, name: &'static str) -> Result<&mut T, KernelError>
    where
        for<'a> &'a mut T: TryFrom<&'a mut Program>,
    {
        program(&mut self.ebpf, name)
    }

    pub(super) fn load_sampler(&mut self, name: &'static str) -> Result<(), KernelError> {
        self.program::<PerfEvent>(name)?
            .load()
            .map_err(refused(name))
    }

    /// Loads and attaches a program of a tracepoint with typed arguments. It stays
    /// attached until the program is unloaded, or the link detached.
    pub(super) fn attach_typed(
        &mut self,
        name: &'static str,
        tracepoint: &str,
        btf: &LoaderBtf,
    ) -> Result<BtfTracePointLinkId, KernelError> {
        let program: &mut BtfTracePoint = self.program(name)?;
        program
            .load(tracepoint, btf)
            .and_then(|()| program.attach())
            .map_err(refused(name))
    }

    /// Detaches a program of a tracepoint, if it is there.
    pub(super) fn detach_tracepoint(&mut self, name: &str) {
        // It fails when it was not loaded, which is what we want.
        let _ = match self.ebpf.program_mut(name) {
            Some(Program::BtfTracePoint(program)) => program.unload(),
            Some(Program::RawTracePoint(program)) => program.unload(),
            _ => return,
        };
    }

    /// It stays attached until the program is unloaded, or the link detached.
    pub(super) fn attach_tracepoint(
        &mut self,
        name: &'static str,
        tracepoint: &str,
    ) -> Result<RawTracePointLinkId, KernelError> {
        let program: &mut RawTracePoint = self.program(name)?;
        // It may be attached to another already.
        let loaded = match program.fd() {
            Ok(_) => Ok(()),
            Err(_) => program.load(),
        };
        loaded
            .and_then(|()| program.attach(tracepoint))
            .map_err(refused(name))
    }

    /// Samples `cpu` from now on. Again for a CPU that was offline meanwhile.
    pub fn start_sampling(&mut self, cpu: u32) -> Result<(), KernelError> {
        self.stop_sampling(cpu);
        let period = self.sample_period;
        let link = self
            .program::<PerfEvent>(SAMPLER)?
            .attach(
                PerfEventConfig::Software(SoftwareEvent::CpuClock),
                PerfEventScope::AllProcessesOneCpu { cpu },
                SamplePolicy::Period(period),
                false,
            )
            .map_err(|source| KernelError::Sampler {
                cpu,
                source: source.into(),
            })?;
        self.samplers.insert(cpu, link);
        if self.samples_faults {
            self.start_faults(cpu)?;
        }
        Ok(())
    }

    pub fn stop_sampling(&mut self, cpu: u32) {
        self.stop_faults(cpu);
        if let Some(link) = self.samplers.remove(&cpu)
            && let Ok(program) = self.program::<PerfEvent>(SAMPLER)
        {
            // It fails only if the link is gone, which is what we want.
            let _ = program.detach(link);
        }
    }

    pub fn stop_all_sampling(&mut self) {
        for cpu in self.sampled_cpus() {
            self.stop_sampling(cpu);
        }
    }

    pub fn sampled_cpus(&self) -> Vec<u32> {
        self.samplers.keys().copied().collect()
    }

    /// Logs what the programs said since the last call: at the level of
    /// debugging only, at the others they say nothing.
    pub fn log_messages(&mut self) {
        if let Some(messages) = &mut self.messages {
            messages.flush();
        }
    }

    /// Publishes a process; its mappings must have been written before.
    pub fn set_process(&mut self, tgid: u32, entry: ProcessEntry) -> Result<(), KernelError> {
        Ok(self.processes.insert(tgid, Shared(entry), 0)?)
    }

    pub fn remove_process(&mut self, tgid: u32) {
        // Gone already when the kernel side saw it exit.
        let _ = self.processes.remove(&tgid);
    }

    /// # Panics
    ///
    /// If they do not fit behind `first`.
    pub fn write_mappings(&mut self, first: u32, mappings: &[Mapping]) {
        self.mappings.write(first as usize, mappings);
    }

    pub fn set_executable(&mut self, slot: u32, executable: Executable) -> Result<(), KernelError> {
        Ok(self.executables.set(slot, Shared(executable), 0)?)
    }

    /// Describes a build of CPython, before an executable refers to it.
    pub fn set_python(&mut self, index: u32, runtime: PythonRuntime) -> Result<(), KernelError> {
        Ok(self.pythons.set(index, Shared(runtime), 0)?)
    }

    /// Measures waits for CPython's lock from now on.
    ///
    /// # Errors
    ///
    /// If the tracepoints of futex(2) cannot be had: the kernel was built
    /// without `CONFIG_FTRACE_SYSCALLS`, or tracefs cannot be mounted.
    pub fn measure_gil(&mut self) -> Result<(), KernelError> {
        let ebpf = &mut self.ebpf;
        tracefs::with(|| {
            for (name, tracepoint) in GIL_HOOKS {
                let program: &mut TracePoint = program(ebpf, name)?;
                program
                    .load()
                    .and_then(|()| program.attach("syscalls", tracepoint))
                    .map_err(refused(name))?;
            }
            Ok(())
        })
    }

    /// The locks of a process.
    pub fn set_gils(&mut self, tgid: u32, gils: Gils) -> Result<(), KernelError> {
        Ok(self.gils.insert(tgid, Shared(gils), 0)?)
    }

    pub fn remove_gils(&mut self, tgid: u32) {
        // Gone already, or never there.
        let _ = self.gils.remove(&tgid);
    }

    /// Describes a build of V8, before an executable refers to it.
    pub fn set_v8(&mut self, index: u32, runtime: V8Runtime) -> Result<(), KernelError> {
        Ok(self.v8s.set(index, Shared(runtime), 0)?)
    }

    /// A handle of the tables, for another thread.
    pub fn table_slots(&self) -> Result<TableSlots, KernelError> {
        Ok(TableSlots {
            map: ArrayOfMaps::try_from(Map::ArrayOfMaps(MapData::from_id(self.tables_id)?))?,
        })
    }

    pub fn want_process(&mut self, tgid: u32) -> Result<(), KernelError> {
        Ok(self.wanted_processes.insert(tgid, 1, 0)?)
    }

    /// Admits cgroups by their ids in the version 2 and in the version 1
    /// hierarchy.
    pub fn want_cgroups(&mut self, v2: &[u64], v1: &[u64]) -> Result<(), KernelError> {
        for &id in v2 {
            self.wanted_cgroups.insert(id, 1, 0)?;
        }
        for &id in v1 {
            self.wanted_cgroups.insert(id | gate::CGROUP_V1, 1, 0)?;
        }
        Ok(())
    }

    pub fn counter(&self, counter: Counter) -> Result<u64, KernelError> {
        self.counter_at(counter as u32)
    }

    pub fn outcome(&self, outcome: Outcome) -> Result<u64, KernelError> {
        self.counter_at(Counter::OUTCOMES + outcome as u32)
    }

    fn counter_at(&self, index: u32) -> Result<u64, KernelError> {
        Ok(self.counters.get(&index, 0)?.iter().sum())
    }

    /// Run time of each program since it was loaded.
    pub fn program_runs(&self) -> Vec<ProgramRun> {
        self.ebpf
            .programs()
            .filter_map(|(name, program)| {
                let info = program.info().ok()?;
                Some(ProgramRun {
                    name: name.to_owned(),
                    run_time_ns: info.run_time().as_nanos() as u64,
                    run_count: info.run_count(),
                })
            })
            .collect()
    }

    /// Runs of a program that the kernel left out, since it was in the middle of one
    /// on that CPU; kernels before 5.12 do not count them.
    pub fn missed_runs(&self, name: &str) -> u64 {
        let fd = self
            .ebpf
            .program(name)
            .and_then(|program| program.fd().ok());
        let Some(fd) = fd else {
            return 0;
        };
        // Not in aya's `ProgramInfo`.
        let path = format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd());
        std::fs::read_to_string(path)
            .ok()
            .and_then(|text| {
                text.lines()
                    .find_map(|line| line.strip_prefix("recursion_misses:"))
                    .and_then(|number| number.trim().parse().ok())
            })
            .unwrap_or(0)
    }

    /// Nanoseconds of CPU time that one sample stands for.
    pub fn sample_period(&self) -> u64 {
        self.sample_period
    }

    /// As above, when the recording began.
    pub fn first_period(&self) -> u64 {
        self.first_period
    }

    /// For samplers that are started from now on.
    pub fn set_sample_period(&mut self, period: u64) {
        self.sample_period = period;
    }

    /// How many stacks of waits, calls and faults a CPU may take in each window.
    pub fn allow_stacks(&mut self, stacks: u64) -> Result<(), KernelError> {
        Ok(self.stacks_allowed.set(0, stacks, 0)?)
    }

    /// Memory of the maps besides the unwind tables, as the kernel reports
    /// it in `fdinfo`, bytes.
    pub fn map_bytes(&self) -> u64 {
        self.map_bytes
    }

    /// Whether the kernel measures the programs' run time.
    pub fn has_statistics(&self) -> bool {
        self._statistics.is_some()
    }
}

fn program<'a, T>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<&'a mut T, KernelError>
where
    &'a mut T: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or(KernelError::Incomplete(name))
}

/// What the kernel says of its types.
pub(super) fn loader_btf() -> Result<LoaderBtf, KernelError> {
    LoaderBtf::from_sys_fs().map_err(|error| KernelError::Load(error.into()))
}

/// The kernel does not want a program.
pub(super) fn refused(name: &'static str) -> impl FnOnce(ProgramError) -> KernelError {
    move |source| KernelError::Program {
        name,
        source: source.into(),
    }
}

/// A power of two that holds a second's samples of all CPUs.
fn ring_bytes(options: &KernelOptions<'_>) -> u32 {
    (options.frequency * options.cpus * SAMPLE_BYTES)
        .clamp(RING_BYTES as u64, MAX_RING_BYTES)
        .next_power_of_two() as u32
}

/// Memory that the kernel charges for a map, bytes; 0 where it does not say.
fn memory_of(map: &Map) -> u64 {
    let data = match map {
        Map::Array(data)
        | Map::ArrayOfMaps(data)
        | Map::HashMap(data)
        | Map::PerCpuArray(data)
        | Map::RingBuf(data) => data,
        _ => return 0,
    };
    let descriptor = data.fd().as_fd().as_raw_fd();
    std::fs::read_to_string(format!("/proc/self/fdinfo/{descriptor}"))
        .unwrap_or_default()
        .lines()
        .find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
        .unwrap_or(0)
}
