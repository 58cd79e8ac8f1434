//! What the recording is worth and what it cost: counters of the kernel side
//! over the recording proper, without the warm-up.

use std::time::Duration;

use profiler_ebpf::{Counter, Missing, Outcome, interpreter};

use super::cpus;

use crate::{
    bpf::{Kernel, KernelError},
    process::ProcessTable,
    profile::{
        Cost, FrameKind, Note, NoteKind, OutcomeCount, ProgramCost, Quality, Recording,
        RuntimeQuality, Sample, Source,
    },
};

/// Counters as they were when the recording began.
pub struct Baseline {
    counters: [u64; Counter::COUNT],
    outcomes: [u64; Outcome::COUNT],
    programs: Vec<ProgramCost>,
    stolen_ns: u64,
}

/// Percent of the CPUs' time that a hypervisor may take before the reader is
/// told: less than what the sampling clock resolves.
const STOLEN_PERCENT: f64 = 1.0;

const COUNTERS: [Counter; Counter::COUNT] = [
    Counter::Idle,
    Counter::Samples,
    Counter::NotWanted,
    Counter::SamplesLost,
    Counter::EventsLost,
    Counter::KernelStackFailed,
    Counter::RecordBusy,
    Counter::MapFull,
    Counter::GilWaits,
    Counter::Waits,
    Counter::WaitsThinned,
    Counter::ThreadsLost,
    Counter::Wakeups,
    Counter::DiskStacks,
    Counter::DiskThinned,
    Counter::DiskRequestsLost,
    Counter::DiskFilesLost,
    Counter::DiskCacheLost,
    Counter::DiskEndsUnseen,
    Counter::TargetsLost,
    Counter::StatementsLost,
    Counter::BackendsLost,
    Counter::KernelStacksHandedOver,
    Counter::KernelStacksCompared,
    Counter::KernelStacksDifferent,
];

/// Identifier and meaning of an outcome.
pub fn describe(outcome: Outcome) -> (&'static str, &'static str) {
    match outcome {
        Outcome::NoUserStack => ("no_user_stack", "kernel threads: no user stack"),
        Outcome::RootReached => ("root_reached", "complete: the thread's root was reached"),
        Outcome::FrameLimit => ("frame_limit", "more frames than are recorded"),
        Outcome::ProcessUnknown => (
            "process_unknown",
            "the process had just started and was not known yet",
        ),
        Outcome::MappingUnknown => ("mapping_unknown", "an address in no known mapping"),
        Outcome::TableNotReady => ("table_not_ready", "unwind table still being built"),
        Outcome::TableUnavailable => ("table_unavailable", "an executable cannot be read"),
        Outcome::StackUnreadable => ("stack_unreadable", "stack memory not readable"),
        Outcome::UnsupportedRule => (
            "unsupported_rule",
            "unwind information of a form not supported",
        ),
        Outcome::RegisterLost => (
            "register_lost",
            "a frame depends on a register whose value is lost",
        ),
        Outcome::FramePointerBroken => (
            "frame_pointer_broken",
            "code without unwind information or frame pointers",
        ),
        Outcome::StackNotGrowing => ("stack_not_growing", "the stack is corrupt or was switched"),
        Outcome::Compat32 => ("compat_32", "32-bit code is not walked"),
    }
}

/// The frame that stands for what is missing of an interpreter.
pub fn missing_text(runtime: u32, reason: Missing) -> String {
    let interpreter = match runtime {
        interpreter::PYTHON => "Python",
        _ => "JavaScript",
    };
    format!(
        "[{interpreter} frames missing: {}]",
        describe_missing(reason).1
    )
}

/// Identifier and meaning of what is missing of an interpreter.
pub fn describe_missing(reason: Missing) -> (&'static str, &'static str) {
    match reason {
        Missing::ThreadSpecificUnknown => (
            "thread_specific_unknown",
            "the C library's thread-specific values were not found",
        ),
        Missing::NoThreadState => ("no_thread_state", "the thread has no interpreter state"),
        Missing::FrameUnreadable => ("frame_unreadable", "a frame could not be read"),
        Missing::FramesExhausted => (
            "frames_exhausted",
            "the evaluator runs, but has no frames of its own",
        ),
        Missing::FramesLeft => ("frames_left", "an evaluator was not recognised"),
        Missing::CodeUnreadable => (
            "code_unreadable",
            "the process ended or freed the function before its name was read",
        ),
        Missing::Unrecognised => ("unrecognised", "a frame of no form that is known"),
    }
}

impl Baseline {
    pub fn take(kernel: &Kernel) -> Result<Self, KernelError> {
        let mut baseline = Self {
            counters: [0; Counter::COUNT],
            outcomes: [0; Outcome::COUNT],
            programs: programs(kernel),
            stolen_ns: cpus::stolen_ns(),
        };
        for (value, counter) in baseline.counters.iter_mut().zip(COUNTERS) {
            *value = kernel.counter(counter)?;
        }
        for (value, outcome) in baseline.outcomes.iter_mut().zip(Outcome::ALL) {
            *value = kernel.outcome(outcome)?;
        }
        Ok(baseline)
    }

    /// Samples lost so far.
    pub fn lost(&self, kernel: &Kernel) -> u64 {
        kernel
            .counter(Counter::SamplesLost)
            .map_or(0, |now| now - self.counters[Counter::SamplesLost as usize])
    }

    /// What the kernel side counted since; `ticks_due` is how often the clock
    /// should have ticked.
    pub fn quality(&self, kernel: &Kernel, ticks_due: u64) -> Result<Quality, KernelError> {
        let now = Self::take(kernel)?;
        let since =
            |counter: Counter| now.counters[counter as usize] - self.counters[counter as usize];
        let outcomes = Outcome::ALL
            .into_iter()
            .zip(now.outcomes.iter().zip(self.outcomes))
            .map(|(outcome, (now, before))| (outcome, now - before))
            .filter(|&(_, count)| count > 0)
            .map(|(outcome, count)| {
                let (name, meaning) = describe(outcome);
                OutcomeCount {
                    outcome: name.to_owned(),
                    meaning: meaning.to_owned(),
                    count,
                }
            })
            .collect();
        let ticks = since(Counter::Idle) + since(Counter::Samples) + since(Counter::NotWanted);
        Ok(Quality {
            samples: since(Counter::Samples),
            idle_ticks: since(Counter::Idle),
            not_wanted: since(Counter::NotWanted),
            samples_lost: since(Counter::SamplesLost),
            events_lost: since(Counter::EventsLost),
            ticks_missed: ticks_due.saturating_sub(ticks),
            stolen_ns: now.stolen_ns.saturating_sub(self.stolen_ns),
            kernel_stacks_failed: since(Counter::KernelStackFailed),
            kernel_stacks_handed_over: since(Counter::KernelStacksHandedOver),
            kernel_stacks_compared: since(Counter::KernelStacksCompared),
            kernel_stacks_different: since(Counter::KernelStacksDifferent),
            records_busy: since(Counter::RecordBusy),
            map_full: since(Counter::MapFull),
            wait_stacks: since(Counter::Waits),
            waits_thinned: since(Counter::WaitsThinned),
            thread_accounts_lost: since(Counter::ThreadsLost),
            disk_stacks: since(Counter::DiskStacks),
            disk_thinned: since(Counter::DiskThinned),
            disk_requests_lost: since(Counter::DiskRequestsLost),
            disk_files_lost: since(Counter::DiskFilesLost),
            disk_cache_lost: since(Counter::DiskCacheLost),
            disk_ends_unseen: since(Counter::DiskEndsUnseen),
            call_targets_lost: since(Counter::TargetsLost),
            outcomes,
            ..Quality::default()
        })
    }

    /// Cost so far.
    pub fn cost(&self, kernel: &Kernel, table: &ProcessTable) -> Cost {
        let programs = programs(kernel)
            .into_iter()
            .map(|mut program| {
                if let Some(before) = self
                    .programs
                    .iter()
                    .find(|before| before.name == program.name)
                {
                    program.run_time_ns -= before.run_time_ns;
                    program.run_count -= before.run_count;
                    program.missed_count = program.missed_count.saturating_sub(before.missed_count);
                }
                program
            })
            .collect();
        Cost {
            map_memory_bytes: kernel.map_bytes() + table.executables.tables.bytes(),
            programs,
            ..Cost::default()
        }
    }
}

fn programs(kernel: &Kernel) -> Vec<ProgramCost> {
    kernel
        .program_runs()
        .into_iter()
        .map(|run| ProgramCost {
            missed_count: kernel.missed_runs(&run.name),
            name: run.name,
            run_time_ns: run.run_time_ns,
            run_count: run.run_count,
        })
        .collect()
}

/// Adds what only the named recording tells.
pub fn complete(
    mut quality: Quality,
    recording: &Recording,
    runtimes: Vec<RuntimeQuality>,
) -> Quality {
    let host = |id: u32| id == 0;
    let on_cpu = |sample: &&Sample| sample.source == Source::OnCpu;
    for sample in recording.samples.iter().filter(on_cpu) {
        let process = recording.process_of(sample);
        if host(process.container) {
            quality.without_container += sample.count;
        }
        let innermost = recording
            .frames_of(sample.stack)
            .map(|frame| recording.function_of(frame))
            .find(|function| function.kind != FrameKind::Synthetic);
        let named = innermost.is_some_and(|function| {
            !function.name.contains("+0x") && !function.name.starts_with('[')
        });
        if !named {
            quality.without_symbol += sample.count;
        }
    }
    let (stacks, complete) = quality.complete();
    quality.runtimes = vec![RuntimeQuality {
        runtime: "native".to_owned(),
        stacks,
        complete,
        outcomes: quality
            .outcomes
            .iter()
            .filter(|entry| entry.outcome != "no_user_stack")
            .cloned()
            .collect(),
    }];
    quality.runtimes.extend(runtimes);
    quality
}

/// What a reader must know of the recording's limits. `cpu_time` is that of all
/// CPUs, used or not.
pub fn notes(
    kernel: &Kernel,
    table: &ProcessTable,
    quality: &Quality,
    cost: &Cost,
    cpu_time: Duration,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut note = |kind, text: String| notes.push(Note { kind, text });
    let stolen = 100.0 * quality.stolen_ns as f64 / cpu_time.as_nanos().max(1) as f64;
    if stolen >= STOLEN_PERCENT {
        note(
            NoteKind::Warning,
            format!(
                "the hypervisor took {stolen:.1} % of the time of the CPUs (steal): of threads whose \
                 time is accounted for it is told apart; calls and requests lasted that much longer"
            ),
        );
    }
    let missed: Vec<String> = cost
        .programs
        .iter()
        .filter(|program| program.missed_count > 0)
        .map(|program| format!("{} of {}", program.missed_count, program.name))
        .collect();
    if !missed.is_empty() {
        note(
            NoteKind::Missing,
            format!(
                "the kernel left out runs of eBPF programs that it had interrupted on the same CPU \
                 ({}): what they count is that much too low",
                missed.join(", ")
            ),
        );
    }
    if !kernel.has_statistics() {
        note(
            NoteKind::Missing,
            "BPF run time: the kernel does not allow its statistics to be switched on".to_owned(),
        );
    }
    if quality.samples_lost > 0 {
        note(
            NoteKind::Warning,
            format!(
                "{} samples were lost because the event ring was full; lower --frequency",
                quality.samples_lost
            ),
        );
    }
    if quality.events_lost > 0 {
        note(
            NoteKind::Warning,
            format!(
                "{} process events were lost because the event ring was full; \
                 short-lived processes may miss stacks",
                quality.events_lost
            ),
        );
    }
    if quality.thread_accounts_lost > 0 {
        note(
            NoteKind::Missing,
            format!(
                "the wall time of {} threads that ended was lost because the event ring was full",
                quality.thread_accounts_lost
            ),
        );
    }
    if quality.disk_requests_lost > 0 {
        note(
            NoteKind::Missing,
            format!(
                "{} disk requests found a table full: they are not accounted for",
                quality.disk_requests_lost
            ),
        );
    }
    let counts = table.counts();
    if counts.full > 0 || quality.map_full > 0 {
        note(
            NoteKind::Missing,
            format!(
                "{} processes did not fit the table of mappings: their stacks are not walked",
                counts.full + quality.map_full
            ),
        );
    }
    if counts.mappings_untold > 0 {
        note(
            NoteKind::Warning,
            format!(
                "{} mappings of code were not told of in time: a library that took the place of \
                 another may be taken for that",
                counts.mappings_untold
            ),
        );
    }
    if counts.mappings_cut > 0 {
        note(
            NoteKind::Missing,
            format!(
                "{} executable mappings of very large processes were left out",
                counts.mappings_cut
            ),
        );
    }
    if table.executables.refused_slots > 0 {
        note(
            NoteKind::Missing,
            format!(
                "more than {} executables at a time: the rest are not walked",
                profiler_ebpf::MAX_EXECUTABLES
            ),
        );
    }
    for (path, why) in table.executables.unsupported() {
        note(NoteKind::Missing, format!("{path}: {why}"));
    }
    for (path, reason) in table.executables.failures() {
        note(
            NoteKind::Missing,
            format!("stacks end in {path}: no unwind table, {reason}"),
        );
    }
    notes
}
