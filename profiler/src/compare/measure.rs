//! The metrics of a recording: what of it is compared with others.
//!
//! All are rates, a second of the recording, so that recordings of other lengths
//! compare; they mean the same only under the same load.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;

use super::{
    metrics::{Better, Metric},
    quantity::{Dimension, Quantity},
    statistics::Observation,
};
use crate::{
    profile::{Activity, FrameKind, Function, Probe, Recording, Source, Unit},
    report::text::{base_name, clean, function_label},
    views::{Amount, Step, Views, host_syscalls},
};

/// What a metric is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Group {
    /// From a file of metrics, by its own name.
    Probe,
    /// All there is of a source.
    Total(Source),
    Container,
    Process,
    /// CPU time while a function was the innermost.
    FunctionSelf,
    /// CPU time while a function was anywhere on the stack.
    FunctionTotal,
    /// What of a source the last frame of stacks names: why a thread waited, which
    /// disk.
    Ending(Source),
    SyscallCount,
    SyscallTime,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    pub group: Group,
    /// Empty for totals.
    pub name: String,
}

/// A metric in one round.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    pub observation: Observation,
    pub dimension: Dimension,
    pub better: Better,
}

pub type Metrics = BTreeMap<Key, Measured>;

impl Key {
    pub fn new(group: Group, name: impl Into<String>) -> Self {
        Self {
            group,
            name: name.into(),
        }
    }

    /// As `--only` and machine-readable reports call it.
    pub fn id(&self) -> String {
        let name = &self.name;
        match self.group {
            Group::Probe => name.clone(),
            Group::Total(source) => source.name().to_owned(),
            Group::Container => format!("on_cpu/container/{name}"),
            Group::Process => format!("on_cpu/process/{name}"),
            Group::FunctionSelf => format!("on_cpu/self/{name}"),
            Group::FunctionTotal => format!("on_cpu/total/{name}"),
            Group::Ending(source) => format!("{}/{name}", source.name()),
            Group::SyscallCount if name.is_empty() => "syscalls".to_owned(),
            Group::SyscallCount => format!("syscalls/{name}"),
            Group::SyscallTime if name.is_empty() => "syscall_time".to_owned(),
            Group::SyscallTime => format!("syscall_time/{name}"),
        }
    }

    /// For people.
    pub fn title(&self) -> String {
        let name = &self.name;
        match self.group {
            Group::Probe => name.clone(),
            Group::Total(source) => capitalized(source.measures()),
            Group::Container => format!("CPU of container {name}"),
            Group::Process => format!("CPU of {name}"),
            Group::FunctionSelf => format!("CPU self, {name}"),
            Group::FunctionTotal => format!("CPU total, {name}"),
            Group::Ending(source) => format!("{}, {name}", capitalized(source.measures())),
            Group::SyscallCount if name.is_empty() => "System calls".to_owned(),
            Group::SyscallCount => format!("System calls, {name}"),
            Group::SyscallTime if name.is_empty() => "Time in system calls".to_owned(),
            Group::SyscallTime => format!("Time in {name}"),
        }
    }

    /// Of which it is a part, if it is one of many.
    pub fn whole(&self) -> Option<Self> {
        let source = match self.group {
            Group::Container | Group::Process | Group::FunctionSelf | Group::FunctionTotal => {
                Group::Total(Source::OnCpu)
            }
            Group::Ending(source) => Group::Total(source),
            group @ (Group::SyscallCount | Group::SyscallTime) if !self.name.is_empty() => group,
            _ => return None,
        };
        Some(Self::new(source, ""))
    }

    /// Whether it explains others rather than being of interest by itself.
    pub fn is_detail(&self) -> bool {
        !matches!(
            self.group,
            Group::Probe | Group::Total(_) | Group::Container | Group::Process
        )
    }

    /// What must have been recorded for it; `None` of what probes measured.
    pub fn source(&self) -> Option<Source> {
        match self.group {
            Group::Probe => None,
            Group::Total(source) | Group::Ending(source) => Some(source),
            Group::Container | Group::Process | Group::FunctionSelf | Group::FunctionTotal => {
                Some(Source::OnCpu)
            }
            Group::SyscallCount | Group::SyscallTime => Some(Source::Syscall),
        }
    }
}

fn capitalized(text: &str) -> String {
    crate::report::text::capitalized(text)
}

impl Measured {
    pub fn quantity(&self, value: f64) -> Quantity {
        Quantity {
            value,
            dimension: self.dimension,
        }
    }
}

/// The sources that a recording has.
pub fn sources(recording: &Recording) -> Vec<Source> {
    let has = |source| match source {
        Source::OnCpu => true,
        Source::Blocked => !recording.accounts.is_empty(),
        Source::GilWait => !recording.locks.is_empty(),
        Source::Syscall => recording.syscalls.is_some(),
        Source::Disk | Source::DiskTime => recording.disk.recorded,
        Source::Network => recording.network.is_some(),
        Source::PageFault => recording.memory.is_some(),
        // Views, and what says nothing of how well the host does.
        Source::Wall | Source::OffCpu | Source::Idle | Source::Wakeup => false,
    };
    Source::ALL
        .into_iter()
        .filter(|&source| has(source))
        .collect()
}

/// A function as it is the same in another build: without its line.
pub fn function_name(recording: &Recording, function: &Function) -> String {
    let label = function_label(function);
    let place = match function.kind {
        FrameKind::Python | FrameKind::JavaScript if !function.file.is_empty() => {
            base_name(&function.file)
        }
        FrameKind::Kernel | FrameKind::Synthetic => "",
        _ => function
            .module
            .map_or("", |id| base_name(&recording.modules[id as usize].path)),
    };
    let text = match place {
        "" => label,
        // `module+0x12` of what has no symbol names its module already.
        place if label.starts_with(place) => label,
        place => format!("{label} ({place})"),
    };
    clean(&text).into_owned()
}

struct Rates {
    seconds: f64,
    metrics: Metrics,
}

impl Rates {
    fn add(&mut self, key: Key, amount: Amount, dimension: Dimension) {
        self.put(
            key,
            amount.weight as f64 / self.seconds,
            Some(amount.count),
            dimension,
        );
    }

    /// `events`: what it was counted from; `None` of what is exact.
    fn put(&mut self, key: Key, value: f64, events: Option<u64>, dimension: Dimension) {
        let measured = self.metrics.entry(key).or_insert(Measured {
            observation: Observation {
                value: 0.0,
                events: Some(0),
            },
            dimension,
            better: Better::Lower,
        });
        let observation = &mut measured.observation;
        observation.value += value;
        observation.events = match (observation.events, events) {
            (Some(sum), Some(events)) => Some(sum.saturating_add(events)),
            _ => None,
        };
    }
}

/// The metrics of a recording whose ids were checked.
pub fn metrics(recording: &Recording) -> Metrics {
    let mut rates = Rates {
        seconds: recording.about.duration_ns.max(1) as f64 / 1e9,
        metrics: Metrics::new(),
    };
    for source in sources(recording) {
        let views = Views::new(recording, source);
        let dimension = match source.unit() {
            Unit::Nanoseconds => Dimension::TimeRate,
            Unit::Bytes => Dimension::ByteRate,
        };
        match source {
            Source::OnCpu => on_cpu(recording, &views, &mut rates),
            // Time in calls includes that in which threads wait for work.
            Source::Syscall => syscalls(recording, &mut rates),
            _ => endings(recording, &views, dimension, &mut rates),
        }
        if !matches!(source, Source::Syscall | Source::OnCpu) {
            rates.add(Key::new(Group::Total(source), ""), views.total, dimension);
        }
    }
    for metric in recording.probes.iter().flat_map(Probe::metrics) {
        if let Some(measured) = Metric::of_probe(metric).measured(0) {
            rates
                .metrics
                .insert(Key::new(Group::Probe, &metric.name), measured);
        }
    }
    rates.metrics
}

/// Whether the scheduler counted CPU time, which is exact; otherwise it is known
/// from samples.
pub fn counts_cpu_time(recording: &Recording) -> bool {
    let mut spent = recording.accounts.iter().flat_map(|account| &account.spent);
    spent.any(|spent| spent.activity == Activity::OnCpu)
}

/// CPU time of processes and containers, as the scheduler counted it.
fn counted(recording: &Recording, rates: &mut Rates) {
    for account in &recording.accounts {
        let thread = &recording.threads[account.thread as usize];
        let process = &recording.processes[thread.process as usize];
        let on_cpu = account
            .spent
            .iter()
            .filter(|it| it.activity == Activity::OnCpu);
        let ns = on_cpu.fold(0_u64, |sum, spent| sum.saturating_add(spent.ns));
        let container = clean(&recording.containers[process.container as usize].name);
        for key in [
            Key::new(Group::Total(Source::OnCpu), ""),
            Key::new(
                Group::Process,
                format!("{container}/{}", clean(&process.name)),
            ),
            Key::new(Group::Container, container),
        ] {
            rates.put(key, ns as f64 / rates.seconds, None, Dimension::TimeRate);
        }
    }
}

fn sampled(recording: &Recording, views: &Views, rates: &mut Rates) {
    let dimension = Dimension::TimeRate;
    rates.add(
        Key::new(Group::Total(Source::OnCpu), ""),
        views.total,
        dimension,
    );
    for row in views.containers() {
        let name = &recording.containers[row.id as usize].name;
        rates.add(
            Key::new(Group::Container, clean(name)),
            row.amount,
            dimension,
        );
    }
    for row in views.processes() {
        let process = &recording.processes[row.id as usize];
        let container = &recording.containers[process.container as usize].name;
        let name = format!("{}/{}", clean(container), clean(&process.name));
        rates.add(Key::new(Group::Process, name), row.amount, dimension);
    }
}

fn on_cpu(recording: &Recording, views: &Views, rates: &mut Rates) {
    if counts_cpu_time(recording) {
        counted(recording, rates);
    } else {
        sampled(recording, views, rates);
    }
    let dimension = Dimension::TimeRate;
    for (name, (own, total)) in functions(recording, views) {
        rates.add(Key::new(Group::FunctionSelf, name.clone()), own, dimension);
        rates.add(Key::new(Group::FunctionTotal, name), total, dimension);
    }
}

/// By name: functions that only differ in what another build changes are one,
/// counted once where several of them are on a stack.
fn functions(recording: &Recording, views: &Views) -> BTreeMap<String, (Amount, Amount)> {
    let mut ids: FxHashMap<String, usize> = FxHashMap::default();
    let of_function: Vec<usize> = recording
        .functions
        .iter()
        .map(|function| {
            let next = ids.len();
            *ids.entry(function_name(recording, function))
                .or_insert(next)
        })
        .collect();
    let mut sums = vec![(Amount::default(), Amount::default()); ids.len()];
    let mut on_path = vec![0_u32; ids.len()];
    let at = |stack: u32| {
        let frame = recording.stacks[stack as usize].frame;
        of_function[recording.frames[frame as usize].function as usize]
    };
    views.tree().walk(|step| match step {
        Step::Enter(stack) => {
            let id = at(stack);
            sums[id].0 += views.tree().own(stack);
            if on_path[id] == 0 {
                sums[id].1 += views.tree().total(stack);
            }
            on_path[id] += 1;
        }
        Step::Leave(stack) => on_path[at(stack)] -= 1,
    });
    ids.into_iter()
        .map(|(name, id)| (name, sums[id]))
        .filter(|(_, (_, total))| !total.is_zero())
        .collect()
}

fn endings(recording: &Recording, views: &Views, dimension: Dimension, rates: &mut Rates) {
    for row in views.stacks() {
        let function = row
            .stack
            .map(|stack| recording.function_of(recording.stacks[stack as usize].frame));
        if let Some(function) = function
            && function.kind == FrameKind::Synthetic
        {
            let name = function.name.trim_matches(['[', ']']);
            // What the source says already.
            let name = ["blocked: ", "disk ", "network "]
                .iter()
                .find_map(|word| name.strip_prefix(word))
                .unwrap_or(name);
            let key = Key::new(Group::Ending(views.source), clean(name));
            rates.add(key, row.amount, dimension);
        }
    }
}

fn syscalls(recording: &Recording, rates: &mut Rates) {
    let Some(all) = &recording.syscalls else {
        return;
    };
    // Counting may have ended before the recording did.
    let seconds = all.counted_ns as f64 / 1e9;
    if seconds <= 0.0 {
        return;
    }
    for call in host_syscalls(recording).calls {
        let name = clean(&all.names[call.call as usize]).into_owned();
        let (count, time) = (call.count as f64 / seconds, call.ns as f64 / seconds);
        for name in ["", name.as_str()] {
            let key = Key::new(Group::SyscallCount, name);
            rates.put(key, count, Some(call.count), Dimension::Rate);
            if !call.idle {
                let key = Key::new(Group::SyscallTime, name);
                rates.put(key, time, Some(call.count), Dimension::TimeRate);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        profile::ActivityClass,
        views::{container_accounts, sample},
    };

    #[test]
    fn tables_add_up_to_their_wholes() {
        for recording in [sample::plain(), sample::large(300, 20)] {
            let metrics = metrics(&recording);
            let value = |key: &Key| metrics[key].observation.value;
            let sum = |group| -> f64 {
                let of = metrics.keys().filter(|key| key.group == group);
                of.map(value).sum()
            };
            let whole = value(&Key::new(Group::Total(Source::OnCpu), ""));
            let seconds = recording.about.duration_ns as f64 / 1e9;
            let total = match counts_cpu_time(&recording) {
                true => container_accounts(&recording)
                    .iter()
                    .map(|row| row.class_ns(ActivityClass::OnCpu))
                    .sum(),
                false => recording.total(Source::OnCpu),
            } as f64
                / seconds;
            assert!((whole - total).abs() < 1e-6 * total);
            for group in [Group::Container, Group::Process] {
                assert!((sum(group) - whole).abs() < 1e-6 * whole, "{group:?}");
            }
            let sampled = recording.total(Source::OnCpu) as f64 / seconds;
            assert!(sum(Group::FunctionSelf) <= sampled * (1.0 + 1e-9));
            for (key, measured) in &metrics {
                assert!(measured.observation.value.is_finite(), "{key:?}");
                if key.group == Group::FunctionTotal {
                    assert!(measured.observation.value <= sampled * (1.0 + 1e-9));
                }
            }
        }
    }

    #[test]
    fn hostile_names_do_no_harm() {
        for seed in 0..30 {
            let recording = sample::nasty(seed);
            for key in metrics(&recording).keys() {
                assert!(!key.id().chars().any(char::is_control), "{key:?}");
            }
        }
    }
}
