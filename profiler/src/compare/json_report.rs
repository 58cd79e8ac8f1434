//! A recording from the JSON report of it.
//!
//! The report has all stacks with their weights, which is what most metrics are
//! made of. What it has as tables only is read as far as metrics need it.

use serde::Deserialize;

use crate::{
    profile::{
        About, Activity, Answer, Container, Disk, Document, FORMAT_VERSION, Frame, FrameKind,
        Function, LockUse, MemoryUse, Module, Network, Probe, ProbeKind, ProbeMetric, Process,
        Quality, Recording, Sample, Source, Spent, StackNode, SyscallUse, Syscalls, Thread,
        ThreadAccount,
    },
    report::text::kind_name,
};

/// What such a report says made it.
pub const GENERATOR: &str = "profiler";

#[derive(Deserialize)]
pub struct JsonReport {
    schema_version: u32,
    profile_type: String,
    about: About,
    containers: Vec<ContainerRow>,
    processes: Vec<ProcessRow>,
    threads: Vec<ThreadRow>,
    gil: Gil,
    waiting: Waiting,
    syscalls: Option<SyscallTables>,
    memory: Option<serde::de::IgnoredAny>,
    network: Option<serde::de::IgnoredAny>,
    disk: DiskTables,
    #[serde(default)]
    probes: Vec<ProbeRow>,
    quality: Quality,
    flame: Flame,
}

#[derive(Deserialize)]
struct ContainerRow {
    id: u32,
    name: String,
}

/// Only what is judged of it.
#[derive(Deserialize)]
struct ProbeRow {
    kind: ProbeKind,
    target: String,
    metrics: Vec<ProbeMetric>,
}

#[derive(Deserialize)]
struct ProcessRow {
    id: u32,
    pid: u32,
    name: String,
    container_id: u32,
}

#[derive(Deserialize)]
struct ThreadRow {
    id: u32,
    tid: u32,
    name: String,
    process_id: u32,
}

#[derive(Deserialize)]
struct Gil {
    processes: Vec<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Waiting {
    threads: u64,
    processes: Vec<Account>,
    processes_not_shown: u64,
}

#[derive(Deserialize)]
struct Account {
    /// Of the process.
    id: u32,
    on_cpu_ns: u64,
}

#[derive(Deserialize)]
struct DiskTables {
    recorded: bool,
}

#[derive(Deserialize)]
struct SyscallTables {
    counted_ns: u64,
    by_call: Vec<Call>,
}

#[derive(Deserialize)]
struct Call {
    call: String,
    idle: bool,
    calls: u64,
    errors: u64,
    total_ns: u64,
}

#[derive(Deserialize)]
struct Flame {
    modules: Vec<Module>,
    functions: Functions,
    frames: Frames,
    stacks: Stacks,
    samples: std::collections::BTreeMap<String, Samples>,
}

#[derive(Deserialize)]
struct Functions {
    name: Vec<String>,
    kind: Vec<String>,
    module: Vec<Option<u32>>,
    file: Vec<String>,
    line: Vec<u32>,
}

#[derive(Deserialize)]
struct Frames {
    function: Vec<u32>,
    line: Vec<u32>,
    inlined: Vec<bool>,
}

#[derive(Deserialize)]
struct Stacks {
    caller: Vec<Option<u32>>,
    frame: Vec<u32>,
}

#[derive(Deserialize)]
struct Samples {
    thread: Vec<u32>,
    stack: Vec<Option<u32>>,
    #[serde(alias = "weight_bytes", alias = "weight_ns")]
    weight: Vec<u64>,
    count: Vec<u64>,
}

impl JsonReport {
    /// The recording, as far as comparing needs it.
    ///
    /// # Errors
    ///
    /// If the report contradicts itself, or does not show all that was recorded.
    pub fn recording(self) -> Result<Recording, String> {
        if self.schema_version > FORMAT_VERSION {
            return Err(format!(
                "its schema has version {}; this profiler reads up to {FORMAT_VERSION}",
                self.schema_version
            ));
        }
        if self.profile_type != "cprofile" {
            return Err(format!(
                "it shows a part only (--profile-type {})",
                self.profile_type
            ));
        }
        let syscalls = self.syscalls.map(syscalls);
        let damaged = || "its tables do not fit together".to_owned();
        let threads = by_id(
            self.threads,
            |row| row.id,
            |row| Thread {
                tid: row.tid,
                name: row.name,
                process: row.process_id,
            },
        )
        .ok_or_else(damaged)?;
        let accounts = accounts(&self.waiting, &threads);
        let recording = Recording {
            format_version: self.schema_version,
            about: self.about,
            containers: by_id(
                self.containers,
                |row| row.id,
                |row| Container {
                    name: row.name,
                    ..Container::default()
                },
            )
            .ok_or_else(damaged)?,
            processes: by_id(
                self.processes,
                |row| row.id,
                |row| Process {
                    pid: row.pid,
                    name: row.name,
                    container: row.container_id,
                    ..Process::default()
                },
            )
            .ok_or_else(damaged)?,
            threads,
            functions: functions(self.flame.functions)?,
            frames: frames(self.flame.frames).ok_or_else(damaged)?,
            stacks: stacks(self.flame.stacks).ok_or_else(damaged)?,
            samples: samples(self.flame.samples).ok_or_else(damaged)?,
            modules: self.flame.modules,
            // Only that there are any.
            locks: self
                .gil
                .processes
                .iter()
                .map(|_| LockUse::default())
                .collect(),
            accounts,
            syscalls,
            memory: self.memory.map(|_| MemoryUse::default()),
            network: self.network.map(|_| Network::default()),
            disk: Disk {
                recorded: self.disk.recorded,
                ..Disk::default()
            },
            probes: self.probes.into_iter().map(probe).collect(),
            quality: self.quality,
            ..Recording::default()
        };
        recording.check().map_err(str::to_owned)?;
        Ok(recording)
    }
}

fn probe(row: ProbeRow) -> Probe {
    Probe {
        kind: row.kind,
        target: row.target,
        container: 0,
        pid: 0,
        answer: Answer::Measured {
            document: Document::default(),
            report: serde_json::Value::Null,
            metrics: row.metrics,
        },
    }
}

/// Rows are sorted by what they add up to; ids are places.
fn by_id<R, T>(mut rows: Vec<R>, id: impl Fn(&R) -> u32, make: impl Fn(R) -> T) -> Option<Vec<T>> {
    rows.sort_by_key(&id);
    let whole = rows
        .iter()
        .zip(0_u32..)
        .all(|(row, place)| id(row) == place);
    whole.then(|| rows.into_iter().map(make).collect())
}

/// That waits were recorded, and the CPU time of each process on one of its
/// threads, which is all that metrics tell apart. Unless processes are left out:
/// then it is known from samples only.
fn accounts(waiting: &Waiting, threads: &[Thread]) -> Vec<ThreadAccount> {
    if waiting.threads == 0 || threads.is_empty() {
        return Vec::new();
    }
    let none = vec![ThreadAccount::default()];
    if waiting.processes_not_shown > 0 {
        return none;
    }
    let of_process: rustc_hash::FxHashMap<u32, u32> = (0_u32..)
        .zip(threads)
        .map(|(id, thread)| (thread.process, id))
        .collect();
    let account = |row: &Account| {
        let spent = Spent {
            activity: Activity::OnCpu,
            ns: row.on_cpu_ns,
            without_stack_ns: 0,
            intervals: 0,
        };
        Some(ThreadAccount {
            thread: *of_process.get(&row.id)?,
            spent: (row.on_cpu_ns > 0).then_some(spent).into_iter().collect(),
        })
    };
    waiting
        .processes
        .iter()
        .map(account)
        .collect::<Option<_>>()
        .unwrap_or(none)
}

fn functions(of: Functions) -> Result<Vec<Function>, String> {
    const KINDS: [FrameKind; 6] = [
        FrameKind::Native,
        FrameKind::Kernel,
        FrameKind::Python,
        FrameKind::JavaScript,
        FrameKind::Jit,
        FrameKind::Synthetic,
    ];
    let rows = of.kind.into_iter().zip(of.module).zip(of.file).zip(of.line);
    of.name
        .into_iter()
        .zip(rows)
        .map(|(name, (((kind, module), file), line))| {
            let known = KINDS.into_iter().find(|it| kind_name(*it) == kind);
            Ok(Function {
                name,
                kind: known.ok_or_else(|| format!("there is no kind of code `{kind}`"))?,
                module,
                file,
                line,
            })
        })
        .collect()
}

fn frames(of: Frames) -> Option<Vec<Frame>> {
    let count = of.function.len();
    (of.line.len() == count && of.inlined.len() == count).then(|| {
        let rows = of.function.into_iter().zip(of.line).zip(of.inlined);
        rows.map(|((function, line), inlined)| Frame {
            function,
            line,
            inlined,
            ..Frame::default()
        })
        .collect()
    })
}

fn stacks(of: Stacks) -> Option<Vec<StackNode>> {
    (of.caller.len() == of.frame.len()).then(|| {
        let rows = of.caller.into_iter().zip(of.frame);
        rows.map(|(caller, frame)| StackNode { caller, frame })
            .collect()
    })
}

fn samples(of: std::collections::BTreeMap<String, Samples>) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    for (name, table) in of {
        let source = Source::recorded().find(|source| source.name() == name)?;
        let count = table.thread.len();
        if [table.stack.len(), table.weight.len(), table.count.len()] != [count; 3] {
            return None;
        }
        samples.extend((0..count).map(|row| Sample {
            source,
            thread: table.thread[row],
            stack: table.stack[row],
            weight: table.weight[row],
            count: table.count[row],
        }));
    }
    Some(samples)
}

fn syscalls(of: SyscallTables) -> Syscalls {
    let uses = (0_u32..).zip(&of.by_call).map(|(call, row)| SyscallUse {
        // Of which thread does not matter here, but without one it is of none.
        thread: None,
        call,
        count: row.calls,
        errors: row.errors,
        ns: row.total_ns,
        idle: row.idle,
        ..SyscallUse::default()
    });
    Syscalls {
        uses: uses.collect(),
        names: of.by_call.into_iter().map(|row| row.call).collect(),
        counted_ns: of.counted_ns,
        ..Syscalls::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        compare::measure,
        report::{self, Format, Selection},
        views::sample,
    };

    fn rendered(recording: &Recording) -> Vec<u8> {
        let mut out = Vec::new();
        report::write(recording, Format::Json, Selection::default(), &mut out)
            .expect("it can be written");
        out
    }

    #[test]
    fn a_report_has_the_metrics_of_its_recording() {
        for recording in [sample::plain(), sample::large(300, 20), sample::empty()] {
            let report: JsonReport =
                serde_json::from_slice(&rendered(&recording)).expect("it is a report");
            let again = report.recording().expect("it is whole");
            assert_eq!(measure::sources(&again), measure::sources(&recording));
            assert_eq!(measure::metrics(&again), measure::metrics(&recording));
        }
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let whole: serde_json::Value =
            serde_json::from_slice(&rendered(&sample::plain())).expect("it is JSON");
        for (place, value) in [
            ("/schema_version", serde_json::json!(99)),
            ("/profile_type", serde_json::json!("py-spy")),
            ("/processes/0/id", serde_json::json!(77)),
            ("/processes/0/container_id", serde_json::json!(77)),
            ("/flame/stacks/caller", serde_json::json!([])),
            ("/flame/functions/kind/0", serde_json::json!("lisp")),
        ] {
            let mut broken = whole.clone();
            *broken.pointer_mut(place).expect(place) = value;
            let report: JsonReport = serde_json::from_value(broken).expect("the shape is right");
            assert!(report.recording().is_err(), "{place}");
        }
    }
}
