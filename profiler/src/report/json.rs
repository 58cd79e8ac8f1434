//! The report for programs: everything a recording says, with the tables
//! computed. `reports/schema.json` describes it; units are in the names.
//!
//! Tables are one row a line, so that a person and `diff` can read them too.

mod layout;

use std::{
    collections::BTreeMap,
    io::{self, Write},
};

use serde::{Serialize, Serializer};

use crate::{
    profile::{
        About, ContainerKind, ContainerUsage, Cost, FORMAT_VERSION, Module, Note, Quality,
        Recording, Source, Unit,
    },
    views::{
        Amount, Top, Views, python_functions,
        share::{percents, rounded_percent},
        top,
    },
};

use super::{
    ProfileType, Selection,
    disk::{Disk, disk},
    evidence,
    findings::{FindingRow, findings},
    gil::{Gil, gil},
    memory::{MemoryReport, memory},
    network::{NetworkReport, network},
    probes::{self, ProbeRow},
    python::{Python, python},
    statements::{StatementsReport, statements},
    syscalls::{SyscallReport, syscalls},
    text::{Utc, kind_name},
    waiting::{Waiting, waiting},
};

/// How many functions the table has; all of them are in `flame`.
pub const FUNCTIONS_SHOWN: usize = 200;

#[derive(Serialize)]
struct Report<'r> {
    schema_version: u32,
    generator: &'static str,
    /// Which frames it has: see [`ProfileType`].
    profile_type: &'static str,
    about: AboutReport<'r>,
    findings: Vec<FindingRow<'r>>,
    on_cpu: Total,
    containers: Vec<ContainerRow<'r>>,
    processes: Vec<ProcessRow<'r>>,
    threads: Vec<ThreadRow<'r>>,
    modules: Vec<ModuleRow<'r>>,
    kinds: Vec<KindRow>,
    functions_shown: Shown,
    functions: Vec<FunctionRow<'r>>,
    /// `null` when no Python was sampled.
    python: Option<Python<'r>>,
    gil: Gil<'r>,
    waiting: Waiting<'r>,
    syscalls: Option<SyscallReport<'r>>,
    memory: Option<MemoryReport<'r>>,
    /// `null` when it was not recorded.
    network: Option<NetworkReport<'r>>,
    disk: Disk<'r>,
    /// Phases of PostgreSQL's statements; `null` when no server was followed.
    statements: Option<StatementsReport<'r>>,
    /// Servers that were asked meanwhile.
    probes: Vec<ProbeRow<'r>>,
    quality: QualityReport<'r>,
    cost: CostReport<'r>,
    notes: Vec<Note>,
    flame: Flame<'r>,
}

#[derive(Serialize)]
struct AboutReport<'r> {
    #[serde(flatten)]
    about: &'r About,
    /// `start_unix_ms` for people.
    start: String,
}

#[derive(Serialize)]
struct Total {
    total_ns: u64,
    samples: u64,
    without_stack_ns: u64,
}

/// What ran, as part of a table that adds up.
#[derive(Serialize)]
struct OnCpu {
    on_cpu_ns: u64,
    on_cpu_samples: u64,
    on_cpu_percent: f64,
}

#[derive(Serialize)]
struct ContainerRow<'r> {
    id: u32,
    name: &'r str,
    #[serde(flatten)]
    on_cpu: OnCpu,
    kind: ContainerKind,
    engine_id: &'r str,
    image: &'r str,
    labels: BTreeMap<&'r str, &'r str>,
    pod: &'r str,
    namespace: &'r str,
    cgroup: &'r str,
    usage: Option<&'r ContainerUsage>,
}

#[derive(Serialize)]
struct ProcessRow<'r> {
    id: u32,
    pid: u32,
    name: &'r str,
    container: &'r str,
    container_id: u32,
    #[serde(flatten)]
    on_cpu: OnCpu,
    command_line: &'r str,
    start_boottime_ns: u64,
}

#[derive(Serialize)]
struct ThreadRow<'r> {
    id: u32,
    tid: u32,
    name: &'r str,
    process: &'r str,
    process_id: u32,
    #[serde(flatten)]
    on_cpu: OnCpu,
}

#[derive(Serialize)]
struct ModuleRow<'r> {
    /// `null`: what has no module.
    id: Option<u32>,
    path: Option<&'r str>,
    #[serde(flatten)]
    on_cpu: OnCpu,
}

#[derive(Serialize)]
struct KindRow {
    /// `null`: no frame is known.
    kind: Option<&'static str>,
    #[serde(flatten)]
    on_cpu: OnCpu,
}

/// What part of a table is shown, and what the rest adds up to.
#[derive(Serialize)]
struct Shown {
    shown: usize,
    not_shown: usize,
    not_shown_self_ns: u64,
    not_shown_self_samples: u64,
    not_shown_self_percent: f64,
    /// Of samples without a known frame, part of the same sum.
    without_stack_self_percent: f64,
}

#[derive(Serialize)]
struct FunctionRow<'r> {
    id: u32,
    name: &'r str,
    kind: &'static str,
    module: Option<&'r str>,
    file: &'r str,
    line: u32,
    self_ns: u64,
    self_samples: u64,
    self_percent: f64,
    total_ns: u64,
    total_samples: u64,
    total_percent: f64,
}

#[derive(Serialize)]
struct QualityReport<'r> {
    #[serde(flatten)]
    quality: &'r Quality,
    lost_percent: f64,
    complete_stacks: u64,
    user_stacks: u64,
    /// `null` when there were none: 0 would look like a failure.
    complete_stacks_percent: Option<f64>,
    summary: Vec<String>,
}

#[derive(Serialize)]
struct CostReport<'r> {
    #[serde(flatten)]
    cost: &'r Cost,
    cpu_ns: u64,
    cpu_percent_of_one_cpu: f64,
    cpu_percent_of_host: f64,
    bpf_run_time_ns: u64,
    summary: Vec<String>,
}

/// The interned stacks, complete. Tables with many rows are columns: a stack's
/// `caller` and `frame` are at the same place of two arrays.
#[derive(Serialize)]
struct Flame<'r> {
    modules: &'r [Module],
    functions: Functions<'r>,
    frames: Frames<'r>,
    stacks: Stacks<'r>,
    samples: BTreeMap<&'static str, Samples<'r>>,
}

/// A column: made while it is written.
struct Column<F>(F);

impl<F, I> Serialize for Column<F>
where
    F: Fn() -> I,
    I: IntoIterator,
    I::Item: Serialize,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

/// A table as columns, each with a name.
macro_rules! columns {
    ($type:ident of $rows:ident: $($name:literal => |$row:ident| $value:expr),+ $(,)?) => {
        impl Serialize for $type<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeMap;
                let mut map = serializer.serialize_map(None)?;
                $(map.serialize_entry($name, &Column(|| self.$rows().map(|$row| $value)))?;)+
                map.end()
            }
        }
    };
}

struct Functions<'r>(&'r Recording);
struct Frames<'r>(&'r Recording);
struct Stacks<'r>(&'r Recording);
struct Samples<'r>(&'r Recording, Source);

impl<'r> Functions<'r> {
    fn rows(&self) -> impl Iterator<Item = &'r crate::profile::Function> {
        self.0.functions.iter()
    }
}

impl<'r> Frames<'r> {
    fn rows(&self) -> impl Iterator<Item = &'r crate::profile::Frame> {
        self.0.frames.iter()
    }
}

impl<'r> Stacks<'r> {
    fn rows(&self) -> impl Iterator<Item = &'r crate::profile::StackNode> {
        self.0.stacks.iter()
    }
}

impl<'r> Samples<'r> {
    fn rows(&self) -> impl Iterator<Item = &'r crate::profile::Sample> {
        let source = self.1;
        self.0
            .samples
            .iter()
            .filter(move |sample| sample.source == source)
    }
}

columns!(Functions of rows:
    "name" => |row| row.name.as_str(),
    "kind" => |row| kind_name(row.kind),
    "module" => |row| row.module,
    "file" => |row| row.file.as_str(),
    "line" => |row| row.line,
);
columns!(Frames of rows:
    "function" => |row| row.function,
    "line" => |row| row.line,
    "column" => |row| row.column,
    "inlined" => |row| row.inlined,
    // As text: kernel addresses are larger than the numbers that JavaScript
    // and other readers keep exactly.
    "address" => |row| (row.address > 0).then(|| format!("{:#x}", row.address)),
);
columns!(Stacks of rows:
    "caller" => |row| row.caller,
    "frame" => |row| row.frame,
);

impl Serialize for Samples<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let weight = match self.1.unit() {
            Unit::Nanoseconds => "weight_ns",
            Unit::Bytes => "weight_bytes",
        };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("thread", &Column(|| self.rows().map(|row| row.thread)))?;
        map.serialize_entry("stack", &Column(|| self.rows().map(|row| row.stack)))?;
        map.serialize_entry(weight, &Column(|| self.rows().map(|row| row.weight)))?;
        map.serialize_entry("count", &Column(|| self.rows().map(|row| row.count)))?;
        map.end()
    }
}

/// The rows of a table with their amounts and shares.
fn rows<T, R>(table: Vec<T>, amount: impl Fn(&T) -> Amount, row: impl Fn(T, OnCpu) -> R) -> Vec<R> {
    let percents = percents(table.iter().map(|row| amount(row).weight));
    table
        .into_iter()
        .zip(percents)
        .map(|(entry, on_cpu_percent)| {
            let Amount { weight, count } = amount(&entry);
            let on_cpu = OnCpu {
                on_cpu_ns: weight,
                on_cpu_samples: count,
                on_cpu_percent,
            };
            row(entry, on_cpu)
        })
        .collect()
}

/// Its tables are of CPU time whatever the selection's source is; the stacks of
/// all sources are in `flame`.
pub fn write(recording: &Recording, selection: Selection, out: &mut dyn Write) -> io::Result<()> {
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, layout::Layout::new());
    report(recording, selection.profile_type)
        .serialize(&mut serializer)
        .map_err(io::Error::from)?;
    writeln!(out)
}

fn report(recording: &Recording, profile_type: ProfileType) -> Report<'_> {
    let selection = Selection {
        source: Source::OnCpu,
        profile_type,
    };
    let views = Views::new(recording, selection.source);
    let process = |id: u32| &recording.processes[id as usize];
    let container = |id: u32| &recording.containers[id as usize];
    let (functions_shown, functions) = functions(recording, &views);
    Report {
        schema_version: FORMAT_VERSION,
        generator: "profiler",
        profile_type: profile_type.name(),
        about: AboutReport {
            about: &recording.about,
            start: Utc::new(recording.about.start_unix_ms).rfc3339(),
        },
        findings: findings(recording),
        on_cpu: Total {
            total_ns: views.total.weight,
            samples: views.total.count,
            without_stack_ns: views.without_stack.weight,
        },
        containers: rows(
            views.containers(),
            |row| row.amount,
            |row, on_cpu| {
                let it = container(row.id);
                ContainerRow {
                    id: row.id,
                    name: &it.name,
                    on_cpu,
                    kind: it.kind,
                    engine_id: &it.id,
                    image: &it.image,
                    labels: it
                        .labels
                        .iter()
                        .map(|(key, value)| (key.as_str(), value.as_str()))
                        .collect(),
                    pod: &it.pod,
                    namespace: &it.namespace,
                    cgroup: &it.cgroup,
                    usage: it.usage.as_ref(),
                }
            },
        ),
        processes: rows(
            views.processes(),
            |row| row.amount,
            |row, on_cpu| {
                let it = process(row.id);
                ProcessRow {
                    id: row.id,
                    pid: it.pid,
                    name: &it.name,
                    container: &container(it.container).name,
                    container_id: it.container,
                    on_cpu,
                    command_line: &it.command_line,
                    start_boottime_ns: it.start_boottime_ns,
                }
            },
        ),
        threads: rows(
            views.threads(),
            |row| row.amount,
            |row, on_cpu| {
                let it = &recording.threads[row.id as usize];
                ThreadRow {
                    id: row.id,
                    tid: it.tid,
                    name: &it.name,
                    process: &process(it.process).name,
                    process_id: it.process,
                    on_cpu,
                }
            },
        ),
        modules: rows(
            views.modules(),
            |row| row.amount,
            |row, on_cpu| ModuleRow {
                id: row.id,
                path: row
                    .id
                    .map(|id| recording.modules[id as usize].path.as_str()),
                on_cpu,
            },
        ),
        kinds: rows(
            views.kinds(),
            |row| row.amount,
            |row, on_cpu| KindRow {
                kind: row.id.map(kind_name),
                on_cpu,
            },
        ),
        functions_shown,
        functions,
        python: python_functions(recording, selection.source, FUNCTIONS_SHOWN)
            .map(|table| python(recording, &table)),
        gil: gil(recording),
        waiting: waiting(recording),
        syscalls: syscalls(recording),
        memory: memory(recording),
        network: network(recording),
        disk: disk(recording),
        statements: statements(recording),
        probes: probes::rows(recording),
        quality: quality(recording),
        cost: cost(recording),
        notes: evidence::notes(recording, selection),
        flame: Flame {
            modules: &recording.modules,
            functions: Functions(recording),
            frames: Frames(recording),
            stacks: Stacks(recording),
            samples: Source::recorded()
                .map(|source| (source.name(), Samples(recording, source)))
                .collect(),
        },
    }
}

fn functions<'r>(recording: &'r Recording, views: &Views) -> (Shown, Vec<FunctionRow<'r>>) {
    let Top {
        rows: table,
        others,
        others_count,
    } = top(views.functions(), FUNCTIONS_SHOWN, |row| row.own);
    // The shown, the others and what has no stack are one sum.
    let mut own = percents(
        table
            .iter()
            .map(|row| row.own.weight)
            .chain([others.weight, views.without_stack.weight]),
    );
    let without_stack_self_percent = own.pop().unwrap_or_default();
    let not_shown_self_percent = own.pop().unwrap_or_default();
    let shown = Shown {
        shown: table.len(),
        not_shown: others_count,
        not_shown_self_ns: others.weight,
        not_shown_self_samples: others.count,
        not_shown_self_percent,
        without_stack_self_percent,
    };
    let rows = table
        .iter()
        .zip(own)
        .map(|(row, self_percent)| {
            let function = &recording.functions[row.function as usize];
            FunctionRow {
                id: row.function,
                name: &function.name,
                kind: kind_name(function.kind),
                module: function
                    .module
                    .map(|id| recording.modules[id as usize].path.as_str()),
                file: &function.file,
                line: function.line,
                self_ns: row.own.weight,
                self_samples: row.own.count,
                self_percent,
                total_ns: row.total.weight,
                total_samples: row.total.count,
                total_percent: rounded_percent(row.total.weight, views.total.weight),
            }
        })
        .collect();
    (shown, rows)
}

fn texts(lines: Vec<evidence::Line>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| format!("{}: {}", line.label, line.text))
        .collect()
}

fn quality(recording: &Recording) -> QualityReport<'_> {
    let quality = &recording.quality;
    let (user_stacks, complete_stacks) = evidence::complete(quality);
    QualityReport {
        quality,
        lost_percent: rounded_percent(
            quality.samples_lost,
            quality.samples.saturating_add(quality.samples_lost),
        ),
        complete_stacks,
        user_stacks,
        complete_stacks_percent: (user_stacks > 0)
            .then(|| rounded_percent(complete_stacks, user_stacks)),
        summary: texts(evidence::quality_lines(recording)),
    }
}

fn cost(recording: &Recording) -> CostReport<'_> {
    let (about, cost) = (&recording.about, &recording.cost);
    let cpu_ns = cost.user_ns.saturating_add(cost.system_ns);
    let host_ns = about
        .duration_ns
        .saturating_mul(u64::from(about.cpus_online.max(1)));
    CostReport {
        cost,
        cpu_ns,
        cpu_percent_of_one_cpu: rounded_percent(cpu_ns, about.duration_ns),
        cpu_percent_of_host: rounded_percent(cpu_ns, host_ns),
        bpf_run_time_ns: evidence::sum(cost.programs.iter().map(|program| program.run_time_ns)),
        summary: texts(evidence::cost_lines(recording)),
    }
}

#[cfg(test)]
mod tests;
