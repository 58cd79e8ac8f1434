//! Threads on different CPUs of which one works for the other: a tick holds up what
//! runs on its CPU, and soon the other's has nothing to do. So the ticks of CPUs must
//! not come together.
use std::{process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{cgroups::Log, measurement::measured, process::Process, profiler, programs, threads};

/// Largest error of a thread's time, in points. The server has work for some 80 us, and
/// then none for some 20; the timer of a virtual machine is 5 to 15 us late while its
/// CPU runs, and 30 when it halts. With ticks that come together the error is 36 to 69.
const SHARE_ERROR: f64 = 20.0;

#[test]
fn a_server_is_seen_as_often_as_it_runs() -> Result<()> {
    let program = programs::build()?.join("coupled");
    let target = Process::spawn(Command::new(program).args(["0", "1"]))?;
    for frequency in ["99", "997"] {
        measured(|| compare(target.pid(), frequency))?;
    }
    Ok(())
}

fn compare(pid: u32, frequency: &str) -> Result<()> {
    std::thread::sleep(Duration::from_millis(500));
    let by_name = threads::by_name(pid)?;
    let tids: Vec<u32> = by_name.values().copied().collect();
    let log = Log::of(move || {
        let times = tids
            .iter()
            .map(|&tid| Ok(threads::schedstat(pid, tid)?[0] as f64));
        times.collect()
    });
    let options = [
        "--mode",
        "system",
        "--sources",
        "on-cpu",
        "--format",
        "json",
    ];
    let rate = ["--duration", "5", "--frequency", frequency];
    let output = profiler::run(&[&options[..], &rate].concat())?;
    ensure!(output.status.success(), "{}", profiler::messages(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let expected = log.during(&report)?;
    let wall = report["about"]["duration_ns"]
        .as_f64()
        .context("no duration")?;
    ensure!(by_name.len() == 2, "threads {by_name:?}");
    for ((name, tid), expected) in by_name.iter().zip(expected) {
        let found = report["threads"]
            .as_array()
            .and_then(|rows| rows.iter().find(|row| row["tid"] == *tid))
            .and_then(|row| row["on_cpu_ns"].as_f64())
            .with_context(|| format!("{name} was not seen"))?;
        let [expected, found] = [expected, found].map(|time| 100.0 * time / wall);
        println!("{name} at {frequency} Hz: {expected:.1} % by schedstat, found {found:.1} %");
        ensure!(
            (found - expected).abs() <= SHARE_ERROR,
            "{name} at {frequency} Hz: {found:.1} % instead of {expected:.1} %"
        );
    }
    Ok(())
}
