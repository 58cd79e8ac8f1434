//! Connections of clients that ask a known number of requests, which are answered
//! after a known time: against their own counts and clocks.
use std::{
    io::{BufRead as _, BufReader, Write as _},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tests::{measurement::measured, process::Process, profiler, programs, recording::Recording};

/// Largest difference of a time from what the client's own clock says of it.
const TIME_ERROR: f64 = 0.03;
/// Largest difference of a part of the time, in points.
const PART_ERROR: f64 = 3.0;
/// Largest difference at the begin and the end of a recording, whose hooks come and
/// go one after another, in seconds.
const EDGES: f64 = 0.2;
/// What the program's services are made of.
const FRONT: f64 = 10.0;

struct Talker {
    process: Process,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Talker {
    fn start(what: &str) -> Result<Self> {
        let mut process = Process::spawn(
            Command::new("python3")
                .arg(programs::source("pools.py"))
                .arg(what)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped()),
        )?;
        let child = process.child();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self {
            process,
            input,
            output,
        })
    }

    fn says(&mut self) -> Result<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        serde_json::from_str(&line).with_context(|| format!("it says {line:?}"))
    }

    fn go(&mut self) -> Result<()> {
        Ok(self.input.as_mut().context("no input")?.write_all(b"\n")?)
    }

    /// Its input ends, and so does it.
    fn end(mut self) -> Result<()> {
        self.input = None;
        self.process.wait(std::time::Duration::from_secs(30))?;
        Ok(())
    }
}

fn record(pids: &[u64]) -> Result<Recording> {
    let mut options = vec!["--sources".to_owned(), "network".to_owned()];
    for pid in pids {
        options.extend(["--pid".to_owned(), pid.to_string()]);
    }
    Recording::start(&options.iter().map(String::as_str).collect::<Vec<_>>())
}

fn rows(report: &Value) -> impl Iterator<Item = &Value> {
    let rows = report["network"]["pools"]["rows"].as_array();
    rows.into_iter().flatten()
}

fn row<'r>(report: &'r Value, pid: u64, role: &str, service: &str) -> Result<&'r Value> {
    rows(report)
        .find(|row| row["pid"] == pid && row["role"] == role && row["service"] == service)
        .with_context(|| {
            format!(
                "no {role} of {pid} at {service}: {}",
                report["network"]["pools"]
            )
        })
}

fn number(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(f64::NAN)
}

fn seconds(value: &Value, name: &str) -> f64 {
    number(value, name) / 1e9
}

fn is_near(found: f64, expected: f64) -> bool {
    (found / expected - 1.0).abs() <= TIME_ERROR
}

#[test]
fn every_exchange_is_counted() -> Result<()> {
    measured(exchanges)
}

fn exchanges() -> Result<()> {
    let mut talker = Talker::start("exchanges")?;
    let pid = talker.says()?.as_u64().context("its pid")?;
    let recording = record(&[pid])?;
    talker.go()?;
    let told = talker.says()?;
    let (report, _saved) = recording.end()?;
    let duration = seconds(&report["about"], "duration_ns");
    let mut wrong = Vec::new();
    let service = |name: &str| told["services"][name].as_str().unwrap_or_default();
    for (name, pool) in told["pools"].as_object().context("no pools")? {
        let found = row(&report, pid, "client", service(name))?;
        let (waited, expected) = (seconds(found, "in_use_ns"), number(pool, "waited"));
        println!(
            "{name}: {} requests of {}, {waited:.4} s in use, {expected:.4} s by its own clock",
            found["requests"], found["connections"]
        );
        if found["requests"] != pool["requests"] || found["connections"] != pool["connections"] {
            wrong.push(format!("{name}: {found} instead of {pool}"));
        }
        if !is_near(waited, expected) {
            wrong.push(format!("{name}: {waited} s in use instead of {expected} s"));
        }
        let server = row(&report, pid, "server", service(name))?;
        if server["requests"] != pool["requests"] {
            wrong.push(format!("{name}: the server's {server} instead of {pool}"));
        }
        // It sleeps for so long, and the client waits for more than that.
        let mean = number(server, "mean_ns") / 1e9;
        if !(0.06..=1.1 * expected / number(pool, "requests")).contains(&mean) {
            wrong.push(format!("{name}: {mean} s in the server"));
        }
        let made = if name == "six" {
            pool["connections"].clone()
        } else {
            0.into()
        };
        if name != "unix" {
            if found["opened"] != made {
                wrong.push(format!(
                    "{name}: {} made instead of {made}",
                    found["opened"]
                ));
            }
            let unused = if name == "four" {
                told["unused"].clone()
            } else {
                0.into()
            };
            if found["unused"] != unused {
                wrong.push(format!("{name}: {} unused: {found}", found["unused"]));
            }
        }
        if name != "six" {
            let open = seconds(found, "open_ns");
            let expected = duration * number(pool, "connections");
            if !is_near(open, expected) {
                wrong.push(format!("{name}: open for {open} s instead of {expected} s"));
            }
        }
    }
    check_short(row(&report, pid, "client", service("each"))?, &mut wrong);
    check_log(row(&report, pid, "client", service("log"))?, &mut wrong);
    check_older(
        row(&report, pid, "client", service("old"))?,
        &told,
        duration,
        &mut wrong,
    );
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    talker.end()
}

/// A connection for each request: used for most of its life.
fn check_short(found: &Value, wrong: &mut Vec<String>) {
    for name in ["connections", "opened", "closed", "requests"] {
        if found[name] != 20 {
            wrong.push(format!("{name} of short-lived connections: {found}"));
        }
    }
    if !(60.0..=100.0).contains(&number(found, "in_use_percent")) {
        wrong.push(format!("short-lived connections: {found}"));
    }
}

/// A log is written to all the time, and waits for nothing.
fn check_log(found: &Value, wrong: &mut Vec<String>) {
    if found["requests"] != 0 || found["one_way"] != 1 || found["in_use_ns"] != 0 {
        wrong.push(format!("a log: {found}"));
    }
}

/// A request that was made before the recording, and one that had no answer when it
/// ended: the connection was in use but for the time between.
fn check_older(found: &Value, told: &Value, duration: f64, wrong: &mut Vec<String>) {
    let in_use = seconds(found, "in_use_ns");
    let expected = duration - (number(told, "last_at") - number(told, "answered_at"));
    println!("older and younger: {in_use:.2} s in use, {expected:.2} s expected");
    let is_right = (in_use - expected).abs() < EDGES;
    if !is_right || found["requests"] != 1 || number(found, "longest_ns") < 1.5e9 {
        wrong.push(format!("{in_use} s instead of {expected} s: {found}"));
    }
}

/// A pool of two that ten requests at a time want is in use all the time; one of
/// ten is, too, but nobody waits for it.
#[test]
fn a_pool_that_is_too_small() -> Result<()> {
    measured(saturated)
}

fn saturated() -> Result<()> {
    let mut talker = Talker::start("services")?;
    let pids = talker.says()?;
    let pid = |name: &str| pids[name].as_u64().unwrap_or_default();
    let all: Vec<u64> = ["small", "large", "steady", "backend"].map(pid).into();
    let recording = record(&all)?;
    std::thread::sleep(std::time::Duration::from_secs(6));
    let (report, _saved) = recording.end()?;
    check_watching(pid("small"))?;
    talker.end()?;
    let client = |name: &str| {
        rows(&report)
            .find(|row| row["pid"] == pid(name) && row["role"] == "client")
            .with_context(|| format!("no pool of {name}: {}", report["network"]))
    };
    let mut wrong = Vec::new();
    let (small, large, steady) = (client("small")?, client("large")?, client("steady")?);
    println!("small: {small}\nlarge: {large}\nsteady: {steady}");
    for (pool, connections) in [(small, 2), (large, 10), (steady, 3)] {
        let sampled = &pool["sampled"];
        if pool["connections"] != connections || sampled["most_connections"] != connections {
            wrong.push(format!("not {connections} connections: {pool}"));
        }
        let (exact, sampled) = (number(pool, "mean_in_use"), number(sampled, "mean_in_use"));
        // Of sixty samples.
        if (exact - sampled).abs() > 0.15 * f64::from(connections) {
            wrong.push(format!(
                "{sampled} in use by samples, {exact} by the clock: {pool}"
            ));
        }
    }
    let sampled = &small["sampled"];
    if number(sampled, "all_in_use_percent") < 90.0 || number(small, "in_use_percent") < 90.0 {
        wrong.push(format!("the small pool is not all in use: {small}"));
    }
    if (number(sampled, "requests_in_progress_then") - FRONT).abs() > 0.5 {
        wrong.push(format!("not {FRONT} requests in progress: {small}"));
    }
    // It sleeps longer than it shall, which is in both.
    let share = 100.0 * 0.06 / (0.06 + 0.04);
    if (number(steady, "in_use_percent") - share).abs() > PART_ERROR {
        wrong.push(format!("in use for {share} % of the time: {steady}"));
    }
    if small["peer"]["pid"] != pid("backend") {
        wrong.push(format!("its peer is the backend: {small}"));
    }
    let found: Vec<&Value> = report["findings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|finding| finding["kind"] == "pool_too_small")
        .collect();
    println!("{found:#?}");
    let named = |finding: &&Value| {
        let text = finding["text"].as_str().unwrap_or_default();
        text.starts_with("all 2 connections") && text.contains(&format!("[{}]", pid("small")))
    };
    if found.len() != 1 || !found.iter().all(named) {
        wrong.push(format!("not one finding: {found:?}"));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// The verb that shows them to a person: a line each interval, then tables.
fn check_watching(pid: u64) -> Result<()> {
    let output = profiler::run(&[
        "pools",
        "--pid",
        &pid.to_string(),
        "--duration",
        "3",
        "--interval",
        "1",
    ])?;
    let said = String::from_utf8_lossy(&output.stdout);
    let messages = profiler::messages(&output);
    ensure!(output.status.success(), "{messages}");
    println!("{said}");
    let lines = said
        .lines()
        .filter(|line| line.contains("of 2.0 connections in use"))
        .count();
    let is_found = said.contains("warning: ") && said.contains("all 2 connections");
    ensure!(
        lines >= 2 && is_found && said.contains("Connections to services"),
        "{lines} lines in {said}"
    );
    Ok(())
}
