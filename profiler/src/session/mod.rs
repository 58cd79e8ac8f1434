//! One recording: start the sources, wait, stop, drain, account for losses,
//! name what was found.

mod account;
mod cpus;
mod disk;
mod files;
mod intake;
mod interpreted;
mod locks;
mod memory;
mod network;
mod originals;
mod overhead;
mod resolve;
mod runtimes;
mod shares;
mod sources;
mod statements;
mod syscalls;
mod targets;
mod threads;
mod waits;

use std::{
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use profiler_ebpf::{Outcome, ProcessKey, Source};
use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    time::MissedTickBehavior,
};

use crate::{
    bpf::{self, Event, EventRing, Gate, Kernel, KernelOptions},
    containers::{CgroupIds, Containers},
    kallsyms,
    options::{ContainerScope, RecordOptions},
    own_cost::OwnCost,
    privacy,
    process::{ProcessTable, lives, start_ticks},
    profile::{About, FORMAT_VERSION, Note, NoteKind, Recording},
    progress::Progress,
};
use account::Baseline;
use cpus::Cpus;
use intake::Intake;
use locks::Locks;
use overhead::Limits;
use sources::Sources;

/// How often the ring is drained when nothing wakes us.
const TICK: Duration = Duration::from_millis(50);
/// How soon one program that maps code may wake us after another.
const MAPPED: Duration = Duration::from_millis(5);
/// How often CPUs, containers and forgotten processes are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often gauges are looked at, as that of connections in use. A prime, so that
/// it keeps no pace with what is measured.
const GAUGES: Duration = Duration::from_millis(97);
/// Before the recording, sampling runs for a moment only to learn which
/// processes are busy and to build their tables: at least this long …
const WARM_UP: Duration = Duration::from_millis(120);
/// … until all tables are built, which is waited for this long …
const PATIENCE: Duration = Duration::from_secs(3);
/// … and longer only while stacks still end for want of one: on a saturated
/// host with many containers the builders get little of a CPU, and the kernel
/// takes its time to take the tables over.
const MAX_WARM_UP: Duration = Duration::from_secs(8);
/// When no stack has ended for want of a table for this long, those that are
/// still being built are not needed at once.
const SETTLED: Duration = Duration::from_millis(300);
/// Threads that build unwind tables. More than there are CPUs, since most of
/// the time they wait for the kernel to take a table over.
const WORKERS: usize = 16;
/// Priority (`nice` value) while recording: on a busy host, which is the one
/// that is profiled, a late answer to the kernel side means incomplete stacks.
const RAISED_PRIORITY: i32 = -10;
/// Events taken in one go, before signals and timers have their turn.
const BATCH: usize = 4096;
/// Longest command line that is kept, bytes.
const MAX_COMMAND_LINE: usize = 4096;

/// What is done while a recording is made, without the session's knowing it.
pub trait Companion {
    /// The recording begins, and will take this long unless it is ended.
    fn begin(&mut self, duration: Duration);
    /// It is over, in time or before.
    fn end(&mut self);
}

/// Records what the options say.
///
/// # Errors
///
/// If the kernel refuses the programs or nothing at all can be recorded.
/// Everything that goes wrong later is in the recording's notes.
pub fn record(
    options: &RecordOptions,
    progress: &dyn Progress,
    companion: &mut dyn Companion,
) -> anyhow::Result<Recording> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(run(options, progress, companion))
}

async fn run(
    options: &RecordOptions,
    progress: &dyn Progress,
    companion: &mut dyn Companion,
) -> anyhow::Result<Recording> {
    let signals = Signals::new().context("cannot catch signals")?;
    let mut session = Session::start(options)?;
    let mut signals = signals;
    let stopped = session.warm_up(&mut signals).await;
    let interrupted = match stopped {
        Some(reason) => reason,
        None => {
            companion.begin(options.duration);
            session.record(options, progress, &mut signals).await
        }
    };
    companion.end();
    session.finish(options, progress, interrupted)
}

/// Ctrl-C and its like. The first one ends the recording, and what was
/// recorded is written; the default action of a second one is restored.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.hang_up.recv() => "SIGHUP",
        }
    }
}

struct Session {
    kernel: Kernel,
    ring: EventRing,
    table: ProcessTable,
    containers: Containers,
    intake: Intake,
    locks: Locks,
    sources: Sources,
    cpus: Cpus,
    own_cost: OwnCost,
    limits: Limits,
    pids: Vec<(u32, Option<u64>)>,
    notes: Vec<Note>,
    baseline: Baseline,
    started: Instant,
    started_unix: Duration,
    /// Since when samples count, in the clock of events.
    counted_since: u64,
    /// When a stack last ended for want of a table.
    last_unready: Instant,
}

impl Session {
    /// Loads everything and starts the sampling clock.
    fn start(options: &RecordOptions) -> anyhow::Result<Self> {
        let own_cost = OwnCost::start();
        set_priority(RAISED_PRIORITY);
        let online = cpus::online().context("cannot tell which CPUs are online")?;
        let mut containers = Containers::new();
        let mut wanted_cgroups = CgroupIds::default();
        let gate = if !options.pids.is_empty() {
            Gate::Processes
        } else if let ContainerScope::Patterns(patterns) = &options.containers {
            wanted_cgroups = containers.select(patterns)?.ids;
            Gate::Cgroups
        } else {
            Gate::Everything
        };
        let controller = containers.v1_controller().map(|v1| v1.kernel_name);
        let asked = options.sources;
        let threads = if asked.follow_threads() {
            threads::room()
        } else {
            0
        };
        // Meanwhile: it takes as long as a large part of the loading. Who needs it and
        // does not find it reads it, and tells of errors.
        let _ = std::thread::Builder::new().spawn(kallsyms::core);
        let (mut kernel, ring) = Kernel::load(&KernelOptions {
            frequency: options.frequency,
            gate,
            cgroup_v1_controller: controller,
            cpus: online.len() as u64,
            disk: asked.disk,
            threads,
            calls: if asked.syscalls {
                syscalls::room(threads)
            } else {
                0
            },
            targets: options.tells_targets(),
            network: asked.network,
            statements: options.statements,
        })?;
        kernel.want_cgroups(&wanted_cgroups.v2, &wanted_cgroups.v1)?;
        for &pid in &options.pids {
            kernel.want_process(pid)?;
        }
        let handles = (0..WORKERS)
            .map(|_| kernel.table_slots())
            .collect::<Result<_, _>>()?;
        let mut table = ProcessTable::new(handles).context("cannot start threads")?;
        // Without them, housekeeping tries again.
        let online = cpus::online().unwrap_or_default();
        let mut notes = Vec::new();
        // Before the first process is scanned, so that what it maps later is told.
        if let Err(error) = table.follow_cpus(&online) {
            notes.push(untold(&error));
        }
        for &pid in &options.pids {
            table.prepare(pid, &mut kernel);
        }
        // Before the other sources are loaded, which takes longer: who is busy is
        // learnt meanwhile.
        let mut cpus = Cpus::default();
        cpus.follow(&online, &mut kernel)?;
        let sources = Sources::start(&mut kernel, &containers, options, |pid| match gate {
            Gate::Everything => true,
            Gate::Processes => options.pids.contains(&pid),
            Gate::Cgroups => {
                let (v2, v1) = containers.cgroups_of(pid);
                wanted_cgroups.v2.contains(&v2) || wanted_cgroups.v1.contains(&v1)
            }
        });
        let baseline = Baseline::take(&kernel)?;
        Ok(Self {
            pids: options
                .pids
                .iter()
                .map(|&pid| (pid, start_ticks(pid)))
                .collect(),
            kernel,
            ring,
            table,
            containers,
            intake: Intake::default(),
            locks: Locks::default(),
            sources,
            cpus,
            own_cost,
            limits: Limits::new(options),
            notes,
            baseline,
            started: Instant::now(),
            started_unix: unix_time(),
            counted_since: 0,
            last_unready: Instant::now(),
        })
    }

    /// Samples only to learn who is busy, until their tables are there.
    /// Returns why, if the recording shall not begin at all.
    async fn warm_up(&mut self, signals: &mut Signals) -> Option<String> {
        let begin = Instant::now();
        // Not earlier: it waits for the kernel's symbols, which sampling need not, since
        // until then the kernel walks its stacks.
        if let Err(error) = self.kernel.walk_kernel_stacks() {
            log::info!("kernel stacks are walked by the kernel alone: {error}");
        }
        let mut tick = tokio::time::interval(Duration::from_millis(5));
        let mut interrupted = None;
        while interrupted.is_none() {
            tokio::select! {
                signal = signals.next() => interrupted = Some(format!("stopped by {signal}")),
                _ = tick.tick() => {}
            }
            self.table.install_finished(&mut self.kernel);
            let draining = Instant::now();
            self.drain(false);
            if draining.elapsed() > SETTLED / 2 {
                // So many processes were new that nothing was seen of the others
                // meanwhile.
                self.last_unready = Instant::now();
            }
            let elapsed = begin.elapsed();
            let settled = self.table.pending_tables() == 0
                || (elapsed >= PATIENCE && self.last_unready.elapsed() >= SETTLED);
            if (elapsed >= WARM_UP && settled) || elapsed >= MAX_WARM_UP {
                break;
            }
        }
        let executables = &self.table.executables;
        log::info!(
            "warmed up in {:.2} s: {} unwind tables in {:.2} s of CPU time, for {} executables",
            begin.elapsed().as_secs_f64(),
            executables.built,
            Duration::from_nanos(executables.build_cpu_ns).as_secs_f64(),
            executables.mapped(),
        );
        self.containers.begin();
        self.limits.begin(&self.kernel, &mut self.own_cost);
        // What is in the ring by now is in the baseline.
        self.counted_since = bpf::now();
        if let Ok(baseline) = Baseline::take(&self.kernel) {
            self.baseline = baseline;
        }
        self.cpus.restart();
        // Before: what threads do is counted from the first line of this on.
        self.started = Instant::now();
        self.started_unix = unix_time();
        self.sources
            .open_window(&mut self.kernel, &mut self.containers);
        interrupted
    }

    /// Records until the time is over. Returns why it ended early, or an
    /// empty text.
    async fn record(
        &mut self,
        options: &RecordOptions,
        progress: &dyn Progress,
        signals: &mut Signals,
    ) -> String {
        let deadline = tokio::time::Instant::from_std(self.started + options.duration);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut housekeeping = tokio::time::interval(HOUSEKEEPING);
        housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut gauges = tokio::time::interval(GAUGES);
        gauges.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let wake = wake_of(self.ring.as_raw_fd());
        let mapped = wake_of(self.table.mapped().as_raw_fd());
        let mut last_mapped = Instant::now();
        loop {
            tokio::select! {
                biased;
                signal = signals.next() => return format!("stopped by {signal}"),
                () = tokio::time::sleep_until(deadline) => return String::new(),
                _ = housekeeping.tick() => self.keep_house(),
                _ = gauges.tick() => {
                    if let Some(pools) = self.sources.sample(&self.kernel) {
                        progress.pools(self.started.elapsed(), &pools);
                    }
                }
                Some(done) = self.table.next_table() => {
                    self.table.install(done, &mut self.kernel);
                }
                () = woken(wake.as_ref()) => {}
                () = woken(mapped.as_ref()), if last_mapped.elapsed() >= MAPPED => {
                    last_mapped = Instant::now();
                }
                _ = tick.tick() => {}
            }
            self.drain(true);
            let lost = self.baseline.lost(&self.kernel);
            progress.recording(self.started.elapsed(), self.intake.samples, lost);
            if !self.pids.is_empty() && self.targets_ended() {
                return "the processes asked for have ended".to_owned();
            }
        }
    }

    fn keep_house(&mut self) {
        if let Ok(online) = cpus::online() {
            if let Err(error) = self.cpus.follow(&online, &mut self.kernel) {
                self.note(NoteKind::Warning, error.to_string());
            }
            if let Err(error) = self.table.follow_cpus(&online) {
                let Note { kind, text } = untold(&error);
                self.note(kind, text);
            }
        }
        self.table.sweep(&mut self.kernel);
        self.sources
            .sweep(&mut self.kernel, &mut self.containers, &mut self.intake);
        let note = self.limits.keep(
            self.started.elapsed(),
            &mut self.kernel,
            &mut self.cpus,
            &mut self.own_cost,
            &mut self.sources.calls,
        );
        self.notes.extend(note);
    }

    fn want_cgroups(&mut self, ids: &CgroupIds) {
        if let Err(error) = self.kernel.want_cgroups(&ids.v2, &ids.v1) {
            self.note(NoteKind::Warning, error.to_string());
        }
    }

    /// Adds a note, once.
    fn note(&mut self, kind: NoteKind, text: String) {
        let note = Note { kind, text };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn targets_ended(&self) -> bool {
        self.pids
            .iter()
            .all(|&(pid, started)| start_ticks(pid) != started)
    }

    /// Deals with the events that are there. Without `keep`, samples only
    /// teach us what to prepare.
    fn drain(&mut self, keep: bool) {
        let Self {
            kernel,
            ring,
            table,
            containers,
            intake,
            locks,
            sources,
            last_unready,
            counted_since,
            ..
        } = self;
        let mut wanted = CgroupIds::default();
        let consume = |event: Event<'_>| match event {
            Event::Sample(sample) => {
                let header = &sample.header;
                if keep && header.time >= *counted_since {
                    let container =
                        containers.resolve(header.cgroup_v2, header.cgroup_v1, header.process.tgid);
                    let key = header.process;
                    let placed = intake.add(&sample, container, table, |_| command_line(key));
                    if sample.source == Source::Disk {
                        sources.disk.sampled(&sample, placed);
                    }
                }
                // Who only waits may be late: the host is not kept waiting for it.
                if sample.outcome == Outcome::TableNotReady && sample.source == Source::OnCpu {
                    *last_unready = Instant::now();
                }
                table.learn(&sample, kernel);
                locks.learn(&sample, kernel, keep);
            }
            Event::Exec(event) => {
                locks.forget(event.process.tgid, kernel);
                sources.statements.executed(event.process.tgid);
                table.executed(&event, kernel);
            }
            Event::Exit(event) => {
                locks.forget(event.process.tgid, kernel);
                table.exited(&event, kernel);
            }
            Event::Fork(event) => table.forked(&event, kernel),
            Event::CgroupCreated {
                hierarchy,
                id,
                path,
            } => {
                let ids = containers.cgroup_created(hierarchy, id, &path);
                wanted.v2.extend(ids.v2);
                wanted.v1.extend(ids.v1);
            }
            event => sources.take(event, keep, kernel, containers, intake),
        };
        ring.drain(BATCH, consume);
        // After the samples that were walked by what this may replace.
        table.refresh(kernel);
        kernel.log_messages();
        let answered = self.containers.newly_wanted();
        self.want_cgroups(&wanted);
        self.want_cgroups(&answered);
    }

    /// Stops, names everything, and makes the recording.
    fn finish(
        mut self,
        options: &RecordOptions,
        progress: &dyn Progress,
        interrupted: String,
    ) -> anyhow::Result<Recording> {
        self.kernel.stop_all_sampling();
        self.sources.close_window(&mut self.kernel);
        self.containers.end();
        let duration = self.started.elapsed();
        let ticks_due = self.cpus.ticks_due(&self.kernel);
        let cpus_online = self.cpus.count() as u32;
        // Whatever the programs had sent before they stopped.
        for _ in 0..1024 {
            let before = self.intake.events;
            self.drain(true);
            if self.intake.events == before {
                break;
            }
        }
        let quality = self.baseline.quality(&self.kernel, ticks_due)?;
        let mut cost = self.baseline.cost(&self.kernel, &self.table);
        self.own_cost.fill_recording(&mut cost);
        set_priority(0);
        progress.phase("resolving names");
        let counted = self.sources.finish(
            &mut self.kernel,
            &mut self.containers,
            &mut self.intake,
            &mut self.notes,
        );
        let (containers, container_notes) = self.containers.finish();
        self.notes.extend(container_notes);
        self.notes.extend(account::notes(
            &self.kernel,
            &self.table,
            &quality,
            &cost,
            duration * cpus_online,
        ));
        self.notes.extend(self.limits.note());
        // From here on nothing is left in the kernel.
        drop(self.kernel);
        drop(self.ring);
        let locks = self
            .locks
            .finish(self.started, &self.intake.processes, &mut self.notes);
        let runtimes = self
            .intake
            .runtimes
            .quality(&self.table.executables.runtimes);
        let mut recording = resolve::resolve(self.intake, &self.table, &mut self.notes);
        let uname = rustix::system::uname();
        recording.format_version = FORMAT_VERSION;
        recording.about = About {
            profiler_version: env!("CARGO_PKG_VERSION").to_owned(),
            host: uname.nodename().to_string_lossy().into_owned(),
            kernel: uname.release().to_string_lossy().into_owned(),
            architecture: uname.machine().to_string_lossy().into_owned(),
            cpus_online,
            cpu_model: cpu_model(),
            command_line: options.command_line.clone(),
            start_unix_ms: self.started_unix.as_millis() as u64,
            duration_ns: duration.as_nanos() as u64,
            frequency_hz: options.frequency,
            clock: "cpu-clock".to_owned(),
            scope: options.scope(),
            interrupted,
        };
        recording.containers = containers;
        recording.locks = locks;
        counted.put_into(&mut recording);
        if options.resolve_names
            && let Some(network) = &mut recording.network
        {
            progress.phase("asking for names of hosts");
            self.notes.extend(network::names::look_up(network));
        }
        recording.quality = account::complete(quality, &recording, runtimes);
        self.own_cost.fill_finish(&mut cost);
        recording.cost = cost;
        recording.notes = self.notes;
        Ok(recording)
    }
}

/// Comparing recordings needs it; a host that does not tell is no failure.
fn cpu_model() -> String {
    use procfs::Current as _;
    procfs::CpuInfo::current()
        .ok()
        .and_then(|cpus| cpus.model_name(0).map(str::to_owned))
        .unwrap_or_default()
}

/// Mappings of code are not told of.
fn untold(error: &std::io::Error) -> Note {
    Note {
        kind: NoteKind::Warning,
        text: format!(
            "the kernel does not tell which processes map code ({error}): a library that takes \
             the place of another is taken for that"
        ),
    }
}

/// A descriptor, lent to the runtime.
struct Lent(i32);

impl AsRawFd for Lent {
    fn as_raw_fd(&self) -> i32 {
        self.0
    }
}

/// To be woken when there is something to read. `None` if that cannot be had: the
/// timer alone looks then. The descriptor must outlive it.
fn wake_of(descriptor: i32) -> Option<AsyncFd<Lent>> {
    // SAFETY: the session, which is recording, holds the descriptor.
    unsafe { AsyncFd::register_with_interest(Lent(descriptor), Interest::READABLE) }.ok()
}

/// Returns when there is something to read.
async fn woken(descriptor: Option<&AsyncFd<Lent>>) {
    match descriptor {
        Some(descriptor) => match descriptor.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Command line of a process with secrets masked; empty when it is gone.
fn command_line(key: ProcessKey) -> String {
    let Ok(bytes) = std::fs::read(format!("/proc/{}/cmdline", key.tgid)) else {
        return String::new();
    };
    if !lives(key) {
        return String::new();
    }
    let arguments: Vec<String> = bytes[..bytes.len().min(MAX_COMMAND_LINE)]
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    privacy::command_line(&arguments)
}

/// Of this thread only: the workers have their own.
fn set_priority(nice: i32) {
    let thread = Some(rustix::thread::gettid());
    if let Err(error) = rustix::process::setpriority_process(thread, nice) {
        log::debug!("the priority stays as it is: {error}");
    }
}

fn unix_time() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}
