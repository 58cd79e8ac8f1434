//! More context switches and system calls than any service makes: nothing stands
//! still, memory does not grow, and the counts are exact.
use std::{collections::BTreeMap, process::Command, thread::sleep, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{measurement::measured, profiler, programs, prompted, recording::Recording};

const SECONDS: u64 = 30;
/// Most that the profiler's memory may grow after the first seconds, in MiB.
const GROWTH: f64 = 16.0;
/// Longest time in which the threads may not have come to hand on their byte, in
/// seconds: the machine has other work too.
const STALL: f64 = 2.0;

fn by_name<'r>(report: &'r Value, table: &str, name: &str) -> Result<&'r Value> {
    report[table]
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["name"] == name)
        .with_context(|| format!("no {name} in {table}"))
}

/// What a thread called, by the report.
fn calls(report: &Value, thread: &str, call: &str) -> Result<u64> {
    let tid = &by_name(report, "threads", thread)?["tid"];
    report["syscalls"]["threads"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["tid"] == *tid && row["call"] == call)
        .and_then(|row| row["calls"].as_u64())
        .with_context(|| format!("no {call} of {thread}"))
}

/// How often a thread waited, by the report.
fn waits(report: &Value, thread: &str) -> Result<u64> {
    let row = report["waiting"]["busiest_threads"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|row| row["name"] == thread)
        .with_context(|| format!("no account of {thread}"))?;
    Ok(row["activities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["class"] == "blocked" || entry["class"] == "idle")
        .filter_map(|entry| entry["intervals"].as_u64())
        .sum())
}

#[test]
fn exact_in_a_storm() -> Result<()> {
    measured(storm)
}

fn storm() -> Result<()> {
    let program = programs::build()?.join("storm");
    let mut target = prompted::ready(Command::new(program).arg(SECONDS.to_string()))?;
    let recording = Recording::start(&["--sources", "all,syscalls"])?;
    prompted::go_on(&mut target)?;
    sleep(Duration::from_secs(5));
    let early = profiler::resident(recording.pid())?;
    sleep(Duration::from_secs(SECONDS - 7));
    let late = profiler::resident(recording.pid())?;
    let said = prompted::rest(&mut target)?;
    let (report, _) = recording.end()?;
    println!("resident after 5 s {early:.0} MiB, later {late:.0} MiB");
    ensure!(
        late - early < GROWTH,
        "memory grew from {early} to {late} MiB"
    );
    // Name: rounds or calls, waits by getrusage, longest gap.
    let mut told: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for line in said.lines() {
        let (name, numbers) = line.split_once(' ').context("a line")?;
        let numbers = numbers
            .split(' ')
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        told.insert(name, numbers);
    }
    let of = |name: &str, place: usize| told.get(name).and_then(|it| it.get(place)).copied();
    for (thread, call) in [
        ("ping", "write"),
        ("ping", "read"),
        ("pong", "write"),
        ("pong", "read"),
        ("spin", "getppid"),
    ] {
        let expected = of(thread, 0).context("its rounds")?;
        let found = calls(&report, thread, call)?;
        // Whoever ends last tells it: with another write.
        let lines = u64::from(call == "write");
        ensure!(
            (expected..=expected + lines).contains(&found),
            "{thread}: {found} times {call} instead of {expected}"
        );
    }
    for thread in ["ping", "pong"] {
        let expected = of(thread, 1).context("its waits")?;
        let found = waits(&report, thread)?;
        ensure!(
            found.abs_diff(expected) <= 3,
            "{thread} waited {found} times, by getrusage {expected}"
        );
    }
    let gap = of("ping", 2).context("its longest gap")? as f64 / 1e9;
    ensure!(gap < STALL, "the threads stood still for {gap:.2} s");
    let switches = of("ping", 1).unwrap_or_default() + of("pong", 1).unwrap_or_default();
    let all: u64 = ["ping", "pong"]
        .iter()
        .filter_map(|name| Some(2 * of(name, 0)?))
        .sum::<u64>()
        + of("spin", 0).unwrap_or_default();
    println!(
        "{} waits and {} calls a second, all of them counted; longest gap {:.0} ms; lost: {} \
         samples, thinned out: {}",
        switches / SECONDS,
        all / SECONDS,
        gap * 1e3,
        report["quality"]["samples_lost"],
        report["quality"]["waits_thinned"]
    );
    // Losses are in the report, if there were any.
    ensure!(
        report["quality"]["samples_lost"].is_u64(),
        "{}",
        report["quality"]
    );
    Ok(())
}
