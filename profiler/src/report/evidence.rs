//! What stands next to the results: when and how they were measured, how far
//! they can be trusted, what they cost.

use crate::{
    profile::{Activity, Note, OutcomeCount, Quality, Recording, Source},
    views::{Views, share::percent as part_of},
};

use super::{
    ProfileType, Selection,
    text::{Utc, bytes, capitalized, clean, clean_or_empty, count, duration, percent},
};

/// A fact: what it is about, and what it says. Clean text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    pub label: String,
    pub text: String,
}

fn line(label: &str, text: String) -> Line {
    Line {
        label: label.to_string(),
        text,
    }
}

/// What, where, when.
pub fn title(recording: &Recording, selection: Selection) -> String {
    let about = &recording.about;
    format!(
        "{} on {}, {}",
        capitalized(selection.source.measures()),
        clean(&about.host),
        Utc::new(about.start_unix_ms).text()
    )
}

/// How long, at what rate, how many samples and losses, by which command.
pub fn subtitle(recording: &Recording) -> String {
    let about = &recording.about;
    let quality = &recording.quality;
    let mut text = format!(
        "{} at {} Hz ({}): {} samples, {} lost",
        duration(about.duration_ns),
        about.frequency_hz,
        clean(&about.clock),
        count(quality.samples),
        count(quality.samples_lost),
    );
    if quality.ticks_missed > 0 {
        text += &format!(", {} ticks missed", count(quality.ticks_missed));
    }
    let command = clean_or_empty(&about.command_line);
    if !command.is_empty() {
        text += &format!("; {command}");
    }
    text
}

/// Saturating, since the numbers may come from a hostile file.
pub fn sum(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

fn counts(outcomes: &[OutcomeCount], wanted: impl Fn(&str) -> bool) -> u64 {
    sum(outcomes
        .iter()
        .filter(|entry| wanted(&entry.outcome))
        .map(|entry| entry.count))
}

/// User stacks, and how many of them reached the root.
pub fn complete(quality: &Quality) -> (u64, u64) {
    (
        counts(&quality.outcomes, |outcome| outcome != "no_user_stack"),
        counts(&quality.outcomes, |outcome| outcome == "root_reached"),
    )
}

/// ` (3.4 %)`, and nothing for a part of nothing: 0 % would look like a result.
fn share_of(part: u64, whole: u64) -> String {
    if whole == 0 {
        return String::new();
    }
    format!(" ({})", percent(part_of(part, whole)))
}

/// `meaning: 12 (3.4 %); …`, the most frequent first.
fn reasons(outcomes: &[OutcomeCount], whole: u64) -> String {
    let mut failed: Vec<_> = outcomes
        .iter()
        .filter(|entry| entry.outcome != "root_reached" && entry.outcome != "no_user_stack")
        .filter(|entry| entry.count > 0)
        .collect();
    failed.sort_by(|a, b| b.count.cmp(&a.count).then(a.outcome.cmp(&b.outcome)));
    failed
        .iter()
        .map(|entry| {
            format!(
                "; {}: {} ({})",
                clean(if entry.meaning.is_empty() {
                    &entry.outcome
                } else {
                    &entry.meaning
                }),
                count(entry.count),
                percent(part_of(entry.count, whole))
            )
        })
        .collect()
}

/// How far the results can be trusted.
pub fn quality_lines(recording: &Recording) -> Vec<Line> {
    let about = &recording.about;
    let quality = &recording.quality;
    let mut lines = vec![
        line(
            "Host",
            format!(
                "{}, kernel {} {}, {} CPUs",
                clean(&about.host),
                clean(&about.kernel),
                clean_or_empty(&about.architecture),
                about.cpus_online
            ),
        ),
        line(
            "Command",
            format!(
                "{} (version {}, scope {})",
                clean(&about.command_line),
                clean(&about.profiler_version),
                clean(&about.scope)
            ),
        ),
        line(
            "Recorded",
            format!(
                "{} for {} at {} Hz ({})",
                Utc::new(about.start_unix_ms).text(),
                duration(about.duration_ns),
                about.frequency_hz,
                clean(&about.clock)
            ),
        ),
    ];
    if !about.interrupted.is_empty() {
        lines.push(line("Ended early", clean(&about.interrupted).into_owned()));
    }
    let taken = sum([quality.samples, quality.samples_lost]);
    lines.push(line(
        "Samples",
        format!(
            "{} received, {} lost{}",
            count(quality.samples),
            count(quality.samples_lost),
            share_of(quality.samples_lost, taken)
        ),
    ));
    let ticks = sum([
        taken,
        quality.idle_ticks,
        quality.not_wanted,
        quality.ticks_missed,
    ]);
    lines.push(line(
        "Clock ticks",
        format!(
            "{} on idle CPUs, {} in tasks outside the scope, {} missed: throttled by the kernel, stolen by the hypervisor, or in tasks that the host lets no eBPF program see ({})",
            count(quality.idle_ticks),
            count(quality.not_wanted),
            count(quality.ticks_missed),
            percent(part_of(quality.ticks_missed, ticks))
        ),
    ));
    if quality.stolen_ns > 0 {
        lines.push(line(
            "Taken by the hypervisor",
            format!("{} of CPU time", duration(quality.stolen_ns)),
        ));
    }
    let (whole, complete) = complete(quality);
    lines.push(line(
        "Stacks",
        format!(
            "{} of {} user stacks reached the thread's root{}{}",
            count(complete),
            count(whole),
            share_of(complete, whole),
            reasons(&quality.outcomes, whole)
        ),
    ));
    for runtime in &quality.runtimes {
        lines.push(line(
            &format!("Stacks, {}", clean(&runtime.runtime)),
            format!(
                "{} of {} complete{}{}",
                count(runtime.complete),
                count(runtime.stacks),
                share_of(runtime.complete, runtime.stacks),
                reasons(&runtime.outcomes, runtime.stacks)
            ),
        ));
    }
    lines.push(line(
        "Names",
        format!(
            "{} samples without a container{}, {} without a symbol{}",
            count(quality.without_container),
            share_of(quality.without_container, quality.samples),
            count(quality.without_symbol),
            share_of(quality.without_symbol, quality.samples)
        ),
    ));
    let (compared, handed_over) = (
        quality.kernel_stacks_compared,
        quality.kernel_stacks_handed_over,
    );
    if compared | handed_over != 0 {
        lines.push(line(
            "Kernel stacks",
            format!(
                "{} compared with the kernel's own unwinder, {} of them differed; {} left to it",
                count(compared),
                count(quality.kernel_stacks_different),
                count(handed_over)
            ),
        ));
    }
    if !recording.accounts.is_empty() {
        let (off_cpu, without_stack) = recording
            .accounts
            .iter()
            .flat_map(|account| &account.spent)
            .filter(|spent| spent.activity != Activity::OnCpu)
            .fold((0, 0), |(all, without), spent| {
                (sum([all, spent.ns]), sum([without, spent.without_stack_ns]))
            });
        lines.push(line(
            "Waiting",
            format!(
                "{} threads, {} off a CPU, exact; {} stacks taken, {} without one{}: waits \
                 that were not over, page faults, interruptions",
                count(recording.accounts.len() as u64),
                duration(off_cpu),
                count(quality.wait_stacks),
                duration(without_stack),
                share_of(without_stack, off_cpu)
            ),
        ));
    }
    if let Some(network) = &recording.network {
        let moved = network
            .threads
            .iter()
            .map(|traffic| traffic.sent.bytes.saturating_add(traffic.received.bytes));
        let without_stack = network
            .threads
            .iter()
            .map(|traffic| traffic.without_stack_bytes);
        let (moved, without_stack) = (sum(moved), sum(without_stack));
        lines.push(line(
            "Network",
            format!(
                "{} sent and received by {} threads, exact; {} without a stack{}; {} stacks \
                 stand for more than 16 KiB",
                bytes(moved),
                count(network.threads.len() as u64),
                bytes(without_stack),
                share_of(without_stack, moved),
                count(network.stacks_thinned)
            ),
        ));
    }
    for (label, number) in [
        (
            "Waits, calls and faults whose stacks were thinned out",
            quality.waits_thinned,
        ),
        (
            "Accounts of ended threads lost",
            quality.thread_accounts_lost,
        ),
        (
            "Disk requests whose stacks were thinned out",
            quality.disk_thinned,
        ),
        ("Disk requests lost", quality.disk_requests_lost),
        (
            "Disk requests whose files are not told",
            quality.disk_files_lost,
        ),
        (
            "Folios of the page cache without their process",
            quality.disk_cache_lost,
        ),
        (
            "Disk requests whose completion was not seen: counted, without their times",
            quality.disk_ends_unseen,
        ),
        (
            "System calls whose file or peer is not told",
            quality.call_targets_lost,
        ),
        ("Process and cgroup events lost", quality.events_lost),
        ("Kernel stacks that failed", quality.kernel_stacks_failed),
        ("Samples without a free record", quality.records_busy),
        ("Entries that found a map full", quality.map_full),
    ] {
        if number > 0 {
            lines.push(line(label, count(number)));
        }
    }
    lines
}

/// What the recording cost the host.
pub fn cost_lines(recording: &Recording) -> Vec<Line> {
    let about = &recording.about;
    let cost = &recording.cost;
    let during = sum([cost.user_ns, cost.system_ns]);
    let of_one = part_of(during, about.duration_ns);
    let mut lines = vec![line(
        "CPU of the profiler",
        format!(
            "{} while recording ({} of one CPU, {} of this host), {} after it for symbols and the report",
            duration(during),
            percent(of_one),
            percent(of_one / f64::from(about.cpus_online.max(1))),
            duration(cost.finish_ns)
        ),
    )];
    let run_time = sum(cost.programs.iter().map(|program| program.run_time_ns));
    let runs = sum(cost.programs.iter().map(|program| program.run_count));
    let mut programs: Vec<_> = cost.programs.iter().collect();
    programs.sort_by(|a, b| {
        b.run_time_ns
            .cmp(&a.run_time_ns)
            .then_with(|| a.name.cmp(&b.name))
    });
    let each: Vec<_> = programs
        .iter()
        .filter(|program| program.run_count > 0)
        .map(|program| {
            format!(
                "{} {} in {} runs",
                clean(&program.name),
                duration(program.run_time_ns),
                count(program.run_count)
            )
        })
        .collect();
    let mut text = if cost.programs.is_empty() {
        "run time not measured".to_string()
    } else {
        format!(
            "{} in {} runs ({} of one CPU)",
            duration(run_time),
            count(runs),
            percent(part_of(run_time, about.duration_ns))
        )
    };
    if each.len() > 1 {
        text += &format!(": {}", each.join(", "));
    }
    lines.push(line("BPF programs", text));
    lines.push(line(
        "Memory",
        format!(
            "{} at the peak, BPF maps {}",
            bytes(cost.peak_memory_bytes),
            bytes(cost.map_memory_bytes)
        ),
    ));
    lines
}

/// The recording's notes, and before them what a reader must know about the
/// results as a whole.
pub fn notes(recording: &Recording, selection: Selection) -> Vec<Note> {
    let mut notes = Vec::new();
    if Views::new(recording, selection.source).is_empty() {
        notes.push(Note::missing(no_samples(recording, selection)));
    }
    notes.extend(recording.notes.iter().cloned());
    notes
}

/// Why there is nothing to show, as far as the counters tell.
pub fn no_samples(recording: &Recording, selection: Selection) -> String {
    let quality = &recording.quality;
    if selection.source == Source::GilWait {
        return no_waits(recording);
    }
    if selection.source == Source::Wakeup {
        return "No wakeups: no thread was seen to end the wait of another.".to_owned();
    }
    if !selection.source.shows(Source::OnCpu) {
        return format!(
            "No {}: nothing of it happened, or it was not recorded; the notes say why.",
            selection.source.measures()
        );
    }
    let why = if selection.profile_type == ProfileType::PySpy && quality.samples > 0 {
        "none of those that were taken was in a Python function"
    } else if quality.samples_lost > 0 {
        "all samples were lost; the notes on quality say more"
    } else if quality.not_wanted > 0 {
        "only tasks outside the scope ran"
    } else if quality.idle_ticks > 0 {
        "all CPUs were idle"
    } else {
        "the sampling clock did not tick"
    };
    format!("No samples: {why}.")
}

/// Why there is no wait for a GIL to show.
fn no_waits(recording: &Recording) -> String {
    let why = if recording.locks.is_empty() {
        "no process with a GIL was seen"
    } else if recording
        .locks
        .iter()
        .all(|lock| lock.measured_from_ns.is_none())
    {
        "they were not measured; the notes say why"
    } else {
        "no thread waited"
    };
    format!("No waits for the GIL: {why}.")
}
