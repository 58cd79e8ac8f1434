//! Wall time of threads that wait in known ways: against what the scheduler
//! itself says of them, and against the way they were built.
use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{
    cgroups::{self, Log},
    folded::Folded,
    measurement::measured,
    process::Process,
    profiler, programs,
    steal::Steal,
    threads,
};

/// Largest error of a thread's wall time, in percent of it.
const WALL_ERROR: f64 = 2.0;
/// Largest error of a part, in points.
const PART_ERROR: f64 = 3.0;
/// Part of the blocked time that must have the reason by construction; the
/// rest are waits for the C library's own locks and the like.
const REASON: f64 = 95.0;
/// Largest error of what is said to have ended waits, in percent of them: stacks
/// are taken for each millisecond, and the last wait is not over.
const WAKER_ERROR: f64 = 6.0;
/// Part of the waits with a stack that must show where the thread waits.
const STACKS: f64 = 98.0;

/// Threads by name: why they are blocked, and in which function.
const THREADS: &[(&str, &str, &str)] = &[
    ("locks", "lock", "want_the_lock"),
    ("sleeps", "sleep", "sleep_a_while"),
    ("pipes", "pipe", "read_the_pipe"),
    ("network", "network_read", "receive"),
    ("client", "network_read", "poll_the_peer"),
    ("idles", "poll", "park"),
    ("children", "child", "wait_for_a_child"),
    ("reads", "disk_read", "read_the_disk"),
    ("syncs", "sync", "sync_the_disk"),
];

/// Threads by name, the function in which another ends their waits, and what the
/// frame says that names them.
const WAKERS: &[(&str, &str, &str)] = &[
    ("locks", "hold_the_lock", "lock"),
    ("pipes", "writer", "pipe"),
];

struct Recording {
    report: Value,
    waits: Folded,
    wakeups: Folded,
    /// How much its counters moved in the same time. Of threads: nanoseconds on
    /// a CPU and in the run queue, in the order of the threads asked for.
    scheduler: Vec<f64>,
}

/// Records a process while the scheduler's account of its threads is read.
fn record(pid: u32, tids: &[u32]) -> Result<Recording> {
    let tids = tids.to_owned();
    record_beside(pid, move || {
        let mut numbers = Vec::new();
        for &tid in &tids {
            numbers.extend(threads::schedstat(pid, tid)?.map(|time| time as f64));
        }
        Ok(numbers)
    })
}

/// Records a process while counters of the scheduler are read.
fn record_beside(
    pid: u32,
    counters: impl Fn() -> Result<Vec<f64>> + Send + 'static,
) -> Result<Recording> {
    let scratch = tempfile::tempdir()?;
    let saved = scratch.path().join("x.profile");
    let log = Log::of(counters);
    let pid = pid.to_string();
    let options = ["--mode", "system", "--duration", "5", "--pid", &pid];
    let path = saved.to_str().context("a path in UTF-8")?;
    let output = profiler::run(&[&options[..], &["--output", path]].concat())?;
    ensure!(output.status.success(), "{}", profiler::messages(&output));
    let report: Value = serde_json::from_str(&profiler::render(&saved, "json")?)?;
    let scheduler = log.during(&report)?;
    let waits = profiler::render_with(&saved, &["--format", "folded", "--source", "off-cpu"])?;
    let wakeups = profiler::render_with(&saved, &["--format", "folded", "--source", "wakeup"])?;
    Ok(Recording {
        waits: Folded::parse(&waits)?,
        wakeups: Folded::parse(&wakeups)?,
        report,
        scheduler,
    })
}

fn row(report: &Value, tid: u32) -> Result<&Value> {
    report["waiting"]["busiest_threads"]
        .as_array()
        .and_then(|rows| rows.iter().find(|row| row["tid"] == tid))
        .with_context(|| format!("no account of thread {tid}: {}", report["notes"]))
}

fn of(row: &Value, activity: &str) -> f64 {
    row["activities"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|entry| entry["activity"] == activity)
        .filter_map(|entry| entry["ns"].as_f64())
        .sum()
}

#[test]
fn every_wait_by_reason_and_stack() -> Result<()> {
    let program = programs::build()?.join("waits");
    // On a disk, which /tmp need not be.
    let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
    let target = Process::spawn(Command::new(program).arg(directory.path()))?;
    measured(|| {
        std::thread::sleep(Duration::from_secs(1));
        let by_name = threads::by_name(target.pid())?;
        let tids: Vec<u32> = THREADS
            .iter()
            .map(|(name, ..)| by_name.get(*name).copied().context(*name))
            .collect::<Result<_>>()?;
        let recording = record(target.pid(), &tids)?;
        let wall = recording.report["about"]["duration_ns"]
            .as_f64()
            .context("no duration")?;
        let mut wrong = Vec::new();
        for ((thread, tid), scheduler) in
            THREADS.iter().zip(&tids).zip(recording.scheduler.chunks(2))
        {
            let row = row(&recording.report, *tid)?;
            if let Err(error) = check_account(thread, row, wall, scheduler) {
                wrong.push(format!("{error:#}"));
            }
        }
        let report = &recording.report;
        if let Err(error) = check_stolen(report) {
            wrong.push(format!("{error:#}"));
        }
        let faults = row(report, by_name["faults"])?;
        let blocked = faults["blocked_ns"].as_f64().unwrap_or_default();
        println!(
            "faults    {:.1} % page_fault",
            100.0 * of(faults, "page_fault") / blocked
        );
        if of(faults, "page_fault") < 0.9 * blocked || blocked < 0.1 * wall {
            wrong.push(format!("faults: {}", faults["activities"]));
        }
        for thread in THREADS {
            if let Err(error) = check_stacks(thread, &recording.waits) {
                wrong.push(format!("{error:#}"));
            }
        }
        for waker in WAKERS {
            let tid = by_name[waker.0];
            let blocked = of(row(&recording.report, tid)?, waker.2);
            if let Err(error) = check_waker(waker, tid, blocked, &recording.wakeups) {
                wrong.push(format!("{error:#}"));
            }
        }
        ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
        Ok(())
    })
}

/// What the threads lost to the hypervisor is part of what the host did, which
/// `/proc/stat` tells in ticks of 10 ms for each CPU.
fn check_stolen(report: &Value) -> Result<()> {
    let threads = report["waiting"]["busiest_threads"].as_array();
    let of_threads: f64 = threads
        .into_iter()
        .flatten()
        .map(|row| of(row, "stolen"))
        .sum();
    let of_host = report["quality"]["stolen_ns"].as_f64();
    let of_host = of_host.context("no stolen time")?;
    println!(
        "stolen    {:.3} s of its threads' time, {:.3} s of all CPUs' by /proc/stat",
        of_threads / 1e9,
        of_host / 1e9
    );
    ensure!(
        of_threads <= 1.02 * of_host + 50e6,
        "{of_threads} ns were stolen from threads, but only {of_host} from the host"
    );
    Ok(())
}

/// The time that a thread was blocked was ended where it was built to be.
fn check_waker(
    &(name, function, reason): &(&str, &str, &str),
    tid: u32,
    blocked: f64,
    wakeups: &Folded,
) -> Result<()> {
    let frame = format!("[woke {name} ({tid}): {reason}]");
    let weight = |by_function: bool| -> f64 {
        wakeups
            .stacks
            .iter()
            .filter(|stack| stack.frames.last() == Some(&frame))
            .filter(|stack| !by_function || stack.has(function))
            .map(|stack| stack.weight)
            .sum()
    };
    let (right, all) = (
        100.0 * weight(true) / blocked,
        100.0 * weight(false) / blocked,
    );
    println!(
        "{name:<9} {right:6.2} % of its {reason} time ended by {function}, {all:.2} % by anyone"
    );
    ensure!(
        (right - 100.0).abs() <= WAKER_ERROR && all - right <= PART_ERROR,
        "{name}: {right:.2} % of its waits ended in {function}:{}",
        wakeups.examples(|_| true)
    );
    Ok(())
}

fn check_account(
    &(name, reason, _): &(&str, &str, &str),
    row: &Value,
    wall: f64,
    scheduler: &[f64],
) -> Result<()> {
    let number = |field: &str| row[field].as_f64().unwrap_or_default();
    let sum =
        number("on_cpu_ns") + number("run_queue_ns") + number("blocked_ns") + number("idle_ns");
    let percent = |part: f64| 100.0 * part / wall;
    let expected = [
        percent(scheduler[0]),
        percent(scheduler[1]),
        percent(wall - scheduler[0] - scheduler[1]),
    ];
    // The scheduler leaves out what the hypervisor took: it is in none of its two
    // numbers.
    let stolen = of(row, "stolen");
    let found = [
        percent(number("on_cpu_ns")),
        percent(number("run_queue_ns") - stolen),
        percent(number("blocked_ns") + number("idle_ns") + stolen),
    ];
    let of_reason = 100.0 * of(row, reason) / (number("blocked_ns") + number("idle_ns"));
    println!(
        "{name:<9} expected {expected:5.1?} found {found:5.1?} wall {:6.2} %, {of_reason:5.1} % {reason}, \
         {:.1} % stolen",
        percent(sum),
        percent(stolen)
    );
    ensure!(
        (percent(sum) - 100.0).abs() <= WALL_ERROR,
        "{name}: {:.2} % of its wall time are accounted for",
        percent(sum)
    );
    for (expected, found) in expected.iter().zip(found) {
        ensure!(
            (expected - found).abs() <= PART_ERROR,
            "{name}: {found:.1} % instead of {expected:.1} %"
        );
    }
    ensure!(
        of_reason >= REASON,
        "{name}: only {of_reason:.1} % of the blocked time is {reason}: {}",
        row["activities"]
    );
    Ok(())
}

fn check_stacks(&(name, _, function): &(&str, &str, &str), waits: &Folded) -> Result<()> {
    let of_thread = |stack: &&tests::folded::Stack| {
        stack.has(name) && stack.has("start_thread") && !stack.has("[run queue]")
    };
    let all: f64 = waits
        .stacks
        .iter()
        .filter(of_thread)
        .map(|stack| stack.weight)
        .sum();
    let there: f64 = waits
        .stacks
        .iter()
        .filter(of_thread)
        .filter(|stack| stack.has(function))
        .map(|stack| stack.weight)
        .sum();
    let share = 100.0 * there / all;
    println!(
        "{name:<9} {share:6.2} % of {:.2} s in {function}",
        all / 1e9
    );
    ensure!(
        share >= STACKS && all > 1e9,
        "{name}: {share:.2} % of {all} ns waits in {function}:{}",
        waits.examples(|stack| stack.has(name))
    );
    Ok(())
}

/// Two threads that only run, on one CPU: each gets half of it and waits for the
/// other half.
#[test]
fn waits_for_a_cpu() -> Result<()> {
    let program = programs::build()?.join("waits");
    let target = Process::spawn(
        Command::new("taskset")
            .args(["-c", "0"])
            .arg(program)
            .args(["spin", "2"]),
    )?;
    measured(|| {
        std::thread::sleep(Duration::from_secs(1));
        let tids: Vec<u32> = fs::read_dir(format!("/proc/{}/task", target.pid()))?
            .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
            .filter(|&tid| tid != target.pid())
            .collect();
        let recording = record(target.pid(), &tids)?;
        let wall = recording.report["about"]["duration_ns"]
            .as_f64()
            .context("no duration")?;
        let mut queued = 0.0;
        for (tid, scheduler) in tids.iter().zip(recording.scheduler.chunks(2)) {
            let row = row(&recording.report, *tid)?;
            check_account(
                &("spins", "other", ""),
                &with_some_block(row),
                wall,
                scheduler,
            )?;
            queued += of(row, "run_queue");
        }
        ensure!(
            queued > 0.8 * wall,
            "two threads on one CPU waited only {:.1} % of the time for it",
            100.0 * queued / wall
        );
        Ok(())
    })
}

/// They never block, so no reason can be checked.
fn with_some_block(row: &Value) -> Value {
    let mut row = row.clone();
    row["activities"] = serde_json::json!([{ "activity": "other", "ns": row["blocked_ns"] }]);
    if row["blocked_ns"] == 0 {
        row["blocked_ns"] = 1.into();
        row["activities"][0]["ns"] = 1.into();
    }
    row
}

/// A group of its own in version 1's controller of CPU time, with a quota.
struct Quota(std::path::PathBuf);

impl Quota {
    const PERCENT: u32 = 30;

    fn make() -> Result<Option<Self>> {
        let mount = cgroups::mounts().into_iter().find(|(_, kind, options)| {
            kind == "cgroup" && options.split(',').any(|word| word == "cpu")
        });
        let Some((mount, ..)) = mount else {
            return Ok(None);
        };
        let path = mount.join(format!("profiler-test-{}", std::process::id()));
        fs::create_dir(&path)?;
        let quota = Self(path);
        fs::write(quota.0.join("cpu.cfs_period_us"), "100000")?;
        let micros = (Self::PERCENT * 1000).to_string();
        fs::write(quota.0.join("cpu.cfs_quota_us"), micros)?;
        Ok(Some(quota))
    }
}

/// Nanoseconds that run queues of a group were throttled, all CPUs together:
/// `throttled_time` of `cpu.stat` (Documentation/scheduler/sched-bwc.rst).
fn throttled_time(group: &Path) -> Result<f64> {
    let text = fs::read_to_string(group.join("cpu.stat"))?;
    let number = text
        .lines()
        .find_map(|line| line.strip_prefix("throttled_time "))
        .context("no throttled_time")?;
    Ok(number.trim().parse()?)
}

impl Drop for Quota {
    fn drop(&mut self) {
        let path = self.0.clone();
        // Busy until its last process is gone.
        tests::process::until(Duration::from_secs(5), || fs::remove_dir(&path).is_ok());
    }
}

/// A group may use 30 % of a CPU, and its one thread wants all of it.
#[test]
fn throttled_by_a_quota() -> Result<()> {
    let Some(quota) = Quota::make()? else {
        println!("this host has no cgroup version 1 with CPU quotas");
        return Ok(());
    };
    let program = programs::build()?.join("waits");
    let target = Process::spawn(Command::new(program).args(["spin", "1"]))?;
    fs::write(quota.0.join("cgroup.procs"), target.pid().to_string())?;
    let checked = measured(|| {
        std::thread::sleep(Duration::from_secs(1));
        let group = quota.0.clone();
        let steal = Steal::now();
        let recording = record_beside(target.pid(), move || Ok(vec![throttled_time(&group)?]))?;
        let stolen = steal.percent();
        let waiting = &recording.report["waiting"];
        let rows = waiting["processes"].as_array().context("no processes")?;
        let row = rows
            .iter()
            .find(|row| row["pid"] == target.pid())
            .context("no account")?;
        let (on_cpu, throttled, queue) = (
            of(row, "on_cpu"),
            of(row, "throttled"),
            of(row, "run_queue"),
        );
        let wall = recording.report["about"]["duration_ns"]
            .as_f64()
            .context("no duration")?;
        let percent = |part: f64| 100.0 * part / wall;
        let expected = recording.scheduler[0];
        println!(
            "of a CPU: {:.1} % used, {:.1} % throttled, by cpu.stat {:.1} %, {:.1} % queued",
            percent(on_cpu),
            percent(throttled),
            percent(expected),
            percent(queue)
        );
        ensure!(
            // The quota is one of time that was not stolen.
            percent(on_cpu) < f64::from(Quota::PERCENT) + PART_ERROR + stolen
                && percent(expected) > 10.0,
            "it used {:.1} % of a CPU and was throttled {:.1} % of the time; stolen: {stolen:.1} %",
            percent(on_cpu),
            percent(expected)
        );
        ensure!(
            (percent(throttled) - percent(expected)).abs() < PART_ERROR,
            "throttled {:.1} % of the time instead of {:.1} %",
            percent(throttled),
            percent(expected)
        );
        Ok(())
    });
    drop(target);
    drop(quota);
    checked
}

/// Left out, it costs nothing, and no map is too small for it.
#[test]
fn left_out_when_not_asked_for() -> Result<()> {
    let brief = programs::build()?.join("brief");
    let _load = Process::spawn(Command::new(brief).args(["300", "100"]))?;
    let options = ["--mode", "system", "--duration", "2", "--format", "json"];
    let output = profiler::run(&[&options[..], &["--sources", "on-cpu"]].concat())?;
    ensure!(output.status.success(), "{}", profiler::messages(&output));
    let report: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(report["waiting"]["threads"] == 0, "{}", report["waiting"]);
    ensure!(report["quality"]["map_full"] == 0, "{}", report["quality"]);
    let programs = report["cost"]["programs"].as_array();
    let followed = programs
        .into_iter()
        .flatten()
        .any(|program| program["name"] == "thread_switch");
    ensure!(!followed, "{}", report["cost"]);
    Ok(())
}
