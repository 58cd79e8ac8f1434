//! System calls of a program that makes known ones: counts and errors against
//! strace's, durations against the program's own clock.
use std::{
    collections::BTreeMap,
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    folded::Folded,
    measurement::measured,
    process::{self, Process},
    profiler, programs, prompted,
    recording::Recording,
};

/// Whether threads meet at a lock is chance, and so is whether the one that
/// waits for another finds it ended.
const CHANCE: &[&str] = &["futex"];
/// A call that its thread is killed in, or right before. The kernel tells that it
/// failed, strace that the thread is gone.
const LAST: &str = "pause";
/// Calls whose time is asked for: their naps.
const NAP: &str = "clock_nanosleep";
/// Largest error of a percentile, a bucket's width, and of a sum, in percent.
const PERCENTILE_ERROR: f64 = 25.0;
const SUM_ERROR: f64 = 2.0;

/// Counts and errors, by name.
type Counts = BTreeMap<String, (u64, u64)>;

/// The program, waiting for its line.
fn ready() -> Result<Process> {
    prompted::ready(&mut Command::new(programs::build()?.join("calls")))
}

/// Lets the program go on to its end; returns what it says.
fn release(mut target: Process) -> Result<String> {
    prompted::go_on(&mut target)?;
    let said = prompted::rest(&mut target)?;
    let status = target.wait(Duration::from_secs(60))?;
    ensure!(status.success(), "the program: {status}");
    Ok(said)
}

/// What strace counts of the program from its line on.
fn by_strace() -> Result<Counts> {
    let target = ready()?;
    let table = tempfile::NamedTempFile::new()?;
    let mut strace = Process::spawn(
        Command::new("strace")
            .args(["-f", "-c", "-U", "calls,errors,name", "-o"])
            .arg(table.path())
            .args(["-p", &target.pid().to_string()])
            .stderr(Stdio::null()),
    )?;
    let pid = target.pid();
    let traced = process::until(Duration::from_secs(10), || {
        fs::read_to_string(format!("/proc/{pid}/status"))
            .is_ok_and(|status| status.contains(&format!("TracerPid:\t{}", strace.pid())))
    });
    ensure!(traced, "strace did not attach");
    release(target)?;
    strace.wait(Duration::from_secs(60))?;
    let mut counts = Counts::new();
    for line in fs::read_to_string(table.path())?.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (calls, errors, name) = match *words {
            [calls, errors, name] => (calls, errors, name),
            [calls, name] => (calls, "0", name),
            _ => continue,
        };
        if let (Ok(calls), Ok(errors)) = (calls.parse(), errors.parse())
            && name != "total"
        {
            counts.insert(name.to_owned(), (calls, errors));
        }
    }
    ensure!(counts.len() > 10, "strace told of {counts:?}");
    Ok(counts)
}

/// The report's rows of the processes of a name.
fn rows<'r>(report: &'r Value, name: &'r str) -> impl Iterator<Item = &'r Value> {
    report["syscalls"]["processes"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(move |row| row["name"] == name)
}

fn by_call(row: &Value) -> impl Iterator<Item = &Value> {
    row["by_call"].as_array().into_iter().flatten()
}

fn number(value: &Value) -> Result<f64> {
    value
        .as_f64()
        .with_context(|| format!("no number: {value}"))
}

#[test]
fn counts_and_errors_are_those_of_strace() -> Result<()> {
    let expected = by_strace()?;
    let target = ready()?;
    let recording = Recording::start(&["--sources", "all,syscalls"])?;
    release(target)?;
    let (report, _) = recording.end()?;
    let mut counts = Counts::new();
    // The child took no sample, perhaps: then it goes by its name.
    let mine = rows(&report, "calls").chain(rows(&report, "calls (ended, without a sample)"));
    for row in mine {
        for call in by_call(row) {
            let name = call["call"].as_str().context("its name")?;
            let sum = counts.entry(name.to_owned()).or_default();
            sum.0 += call["calls"].as_u64().context("calls")?;
            sum.1 += call["errors"].as_u64().context("errors")?;
        }
    }
    counts.retain(|_, count| count.0 > 0);
    let without = |counts: &Counts| -> Counts {
        let mut counts = counts.clone();
        counts.retain(|name, _| !CHANCE.contains(&name.as_str()) && name != LAST);
        counts
    };
    ensure!(
        without(&counts) == without(&expected),
        "profiler: {counts:#?}\nstrace: {expected:#?}"
    );
    println!("{} kinds of calls, exactly those of strace", counts.len());
    // What the program does by construction; another path of the C library
    // would be the same in both.
    for (call, calls, error, errors) in [
        ("openat", 2100, "ENOENT", 2100),
        ("close", 900, "EBADF", 900),
        ("recvfrom", 900, "EAGAIN", 900),
        ("read", 40_000, "", 0),
        ("execve", 1, "", 0),
    ] {
        ensure!(counts[call].0 >= calls, "{call}: {:?}", counts[call]);
        if !error.is_empty() {
            let found: u64 = rows(&report, "calls")
                .chain(rows(&report, "calls (ended, without a sample)"))
                .flat_map(by_call)
                .filter(|row| row["call"] == call)
                .filter_map(|row| row["by_error"][error].as_u64())
                .sum();
            ensure!(found == errors, "{call}: {found} times {error}");
        }
    }
    Ok(())
}

#[test]
fn durations_threads_and_stacks() -> Result<()> {
    measured(|| {
        let target = ready()?;
        let pid = target.pid();
        let recording = Recording::start(&["--sources", "all,syscalls"])?;
        let said = release(target)?;
        let (report, saved) = recording.end()?;
        let words: Vec<&str> = said.split_whitespace().collect();
        let [_, _, middle, longest, sum] = words[..] else {
            anyhow::bail!("the program said {said:?}");
        };
        let row = rows(&report, "calls")
            .find(|row| row["pid"] == pid)
            .context("no row of the program")?;
        let nap = by_call(row)
            .find(|call| call["call"] == NAP)
            .context("no naps")?;
        for (found, expected, error) in [
            (&nap["durations"]["p50_ns"], middle, PERCENTILE_ERROR),
            (&nap["durations"]["max_ns"], longest, SUM_ERROR),
            (&nap["total_ns"], sum, SUM_ERROR),
        ] {
            let (found, expected) = (number(found)?, expected.parse::<f64>()?);
            ensure!(
                (found / expected - 1.0).abs() < error / 100.0,
                "{found} ns where the program measured {expected}: {nap}"
            );
            println!("{found} ns, measured by the program: {expected}");
        }
        // Each thread has its own.
        let threads = report["syscalls"]["threads"]
            .as_array()
            .context("threads")?;
        for name in ["first", "second"] {
            let tid = report["threads"]
                .as_array()
                .into_iter()
                .flatten()
                .find(|thread| thread["name"] == name)
                .map(|thread| thread["tid"].clone())
                .with_context(|| format!("no thread {name}"))?;
            let written = threads
                .iter()
                .find(|row| row["tid"] == tid && row["call"] == "write")
                .with_context(|| format!("no writes of {name}"))?;
            ensure!(written["calls"] == 20_000, "{written}");
        }
        let folded = profiler::render_with(&saved, &["--format", "folded", "--source", "syscall"])?;
        let mut folded = Folded::parse(&folded)?;
        folded.keep(|stack| stack.process == "calls" && stack.has(&format!("[call: {NAP}]")));
        let named = folded.share(|stack| stack.has("nap") && stack.has("main"));
        ensure!(
            named > 95.0,
            "{named} % at their function; others: {}",
            folded.examples(|stack| !stack.has("nap"))
        );
        let weight = folded.total();
        let exact = number(&nap["total_ns"])?;
        ensure!(weight == exact, "stacks weigh {weight} of {exact} ns");
        println!("{named:.1} % of the naps' time at their function");
        Ok(())
    })
}

#[test]
fn only_what_is_traced() -> Result<()> {
    let target = ready()?;
    let recording = Recording::start(&["--sources", "syscalls", "--trace", "network,openat"])?;
    release(target)?;
    let (report, _) = recording.end()?;
    let names: Vec<&str> = by_call(&report["syscalls"])
        .filter(|call| call["calls"].as_u64() > Some(0))
        .filter_map(|call| call["call"].as_str())
        .collect();
    ensure!(
        names.contains(&"recvfrom") && names.contains(&"openat"),
        "{names:?}"
    );
    ensure!(
        !names.contains(&"read") && !names.contains(&"close"),
        "{names:?}"
    );
    // Nothing of the scheduler was attached.
    ensure!(report["waiting"]["threads"] == 0, "{}", report["waiting"]);
    let programs = report["cost"]["programs"].as_array().context("programs")?;
    ensure!(
        !programs
            .iter()
            .any(|row| row["name"] == "thread_switch" && row["run_count"] != 0),
        "{programs:?}"
    );
    Ok(())
}

#[test]
fn calls_that_do_not_return() -> Result<()> {
    let target = ready()?;
    let recording = Recording::start(&["--sources", "all,syscalls"])?;
    std::thread::sleep(Duration::from_secs(2));
    let (report, _) = recording.end()?;
    let lasted = number(&report["about"]["duration_ns"])?;
    let row = rows(&report, "calls")
        .find(|row| row["pid"] == target.pid())
        .context("no row of the program")?;
    let calls: Vec<&Value> = by_call(row).collect();
    ensure!(calls.len() == 1 && calls[0]["call"] == "read", "{row}");
    ensure!(
        calls[0]["calls"] == 0 && calls[0]["in_progress"] == 1,
        "{row}"
    );
    let for_ns = number(&calls[0]["in_progress_ns"])?;
    ensure!(
        (for_ns / lasted - 1.0).abs() < 0.02,
        "{for_ns} of {lasted} ns"
    );
    Ok(())
}
