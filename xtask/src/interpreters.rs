//! What frames of interpreters cost: run time of our programs for a mixed
//! stack beside a native one, and what the target loses.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{measure, nodes, py_spy, shell};

const SECONDS: &str = "5";
/// Pairs of runs, with and without a profiler, one after the other.
const ROUNDS: usize = 7;
/// Pieces of work in one run.
const PIECES: &str = "8";

/// Prints both tables.
pub fn bench(profiler: &Path, programs: &Path, work: &Path) -> Result<()> {
    let script = shell::root().join("tests/programs/deep.py");
    let python = shell::find("python3").context("no python3")?;
    println!("\n{:<34} {:>14} {:>8}", "stack", "BPF µs/sample", "frames");
    let mut native = None;
    let mut targets = vec![("native".to_owned(), Command::new(programs.join("deep")))];
    let mut mixed = Command::new(&python);
    mixed.arg(&script);
    targets.push(("Python and C".to_owned(), mixed));
    for (name, mut command) in targets {
        let cost = stack_cost(profiler, &mut command, work).with_context(|| name.clone())?;
        let base = *native.get_or_insert(cost.microseconds);
        println!(
            "{name:<34} {:>7.2} ({:.1}x) {:>8.0}",
            cost.microseconds,
            cost.microseconds / base,
            cost.frames
        );
    }

    println!(
        "\n{:<34} {:>14}",
        "CPU time of a fixed piece of work", "slower by"
    );
    for (name, command) in watchers(profiler, &py_spy::fetch()?, work) {
        let percent = slowdown(&python, &script, &command)?;
        println!("{name:<34} {percent:>13.2} %");
    }
    Ok(())
}

/// Prints what building the unwind table of each Node takes, the largest executables
/// that are common: as our own log tells.
pub fn unwind_tables(profiler: &Path, work: &Path) -> Result<()> {
    nodes::fetch()?;
    println!("\n{:<34} {:>14}", "unwind table of", "CPU time");
    for line in nodes::LINES {
        let node = nodes::binary(line)?;
        let target = Target::start(Command::new(&node).args(["-e", "for (;;);"]))?;
        let output = shell::capture(
            Command::new(profiler)
                .env("RUST_LOG", "profiler=debug")
                .args(["--mode", "system", "--sources", "on-cpu", "--quiet"])
                .args(["--duration", "1", "--pid", &target.0.id().to_string()])
                .arg("--output")
                .arg(work.join("table.json")),
        )?;
        let log = String::from_utf8_lossy(&output.stderr);
        let begin = format!("unwind table of {} built in ", node.display());
        let milliseconds: f64 = log
            .split_once(&begin)
            .and_then(|(_, rest)| rest.split(' ').next()?.parse().ok())
            .with_context(|| format!("the log tells of no table of Node {line}: {log}"))?;
        println!("Node {line:<29} {:>12.2} s", milliseconds / 1e3);
    }
    Ok(())
}

struct Cost {
    microseconds: f64,
    /// Mean depth of the recorded stacks.
    frames: f64,
}

/// Run time of the sampling program for each sample of one busy process.
fn stack_cost(profiler: &Path, target: &mut Command, work: &Path) -> Result<Cost> {
    let target = Target::start(target)?;
    std::thread::sleep(Duration::from_secs(1));
    let saved = work.join("stack.json");
    let folded = work.join("stack.folded");
    let run = |output: &PathBuf| {
        shell::run(
            Command::new(profiler)
                .args([
                    "--mode",
                    "system",
                    "--frequency",
                    "997",
                    "--duration",
                    SECONDS,
                ])
                .args(["--quiet", "--pid", &target.0.id().to_string(), "--output"])
                .arg(output),
        )
    };
    run(&saved)?;
    run(&folded)?;
    let report: Value = serde_json::from_str(&fs::read_to_string(&saved)?)?;
    let programs = report["cost"]["programs"].as_array().context("no cost")?;
    let time = programs
        .iter()
        .find(|program| program["name"] == "on_cpu")
        .and_then(|program| program["run_time_ns"].as_f64())
        .context("no run time: the kernel keeps no statistics")?;
    let samples = report["quality"]["samples"].as_f64().unwrap_or_default();
    ensure!(samples > 1000.0, "only {samples} samples");
    let (mut weights, mut depths) = (0.0, 0.0);
    for line in fs::read_to_string(&folded)?.lines() {
        if let Some((stack, weight)) = line.rsplit_once(' ') {
            let weight: f64 = weight.parse().unwrap_or_default();
            weights += weight;
            depths += weight * (stack.split(';').count() as f64 - 2.0);
        }
    }
    Ok(Cost {
        microseconds: time / samples / 1e3,
        frames: depths / weights,
    })
}

type Watcher = Box<dyn Fn(u32) -> Command>;

/// Profilers that look at a process, by name.
fn watchers(profiler: &Path, py_spy: &Path, work: &Path) -> Vec<(String, Watcher)> {
    let mut watchers: Vec<(String, Watcher)> = Vec::new();
    for rate in ["99", "999"] {
        let (profiler, output) = (profiler.to_owned(), work.join("slow.profile"));
        watchers.push((
            format!("profiler at {rate} Hz"),
            Box::new(move |pid| {
                let mut command = Command::new(&profiler);
                command
                    .args(["--mode", "system", "--quiet", "--duration", "600"])
                    .args(["--frequency", rate, "--pid", &pid.to_string(), "--output"])
                    .arg(&output);
                command
            }),
        ));
        let (py_spy, output) = (py_spy.to_owned(), work.join("slow.raw"));
        watchers.push((
            format!("py-spy at {rate} Hz"),
            Box::new(move |pid| {
                let mut command = Command::new(&py_spy);
                command
                    .args([
                        "record",
                        "--rate",
                        rate,
                        "--duration",
                        "600",
                        "--format",
                        "raw",
                    ])
                    .args(["--pid", &pid.to_string(), "--output"])
                    .arg(&output);
                command
            }),
        ));
    }
    watchers
}

/// By how many percent the median piece of work takes more CPU time while it
/// is watched; runs with and without alternate, so that both see the same
/// machine.
fn slowdown(python: &Path, script: &Path, watcher: &Watcher) -> Result<f64> {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.extend(pieces(python, script, None)?);
        with.extend(pieces(python, script, Some(watcher))?);
    }
    let (with, without) = measure::median(with)
        .zip(measure::median(without))
        .context("no pieces of work")?;
    Ok(100.0 * (with / without - 1.0))
}

/// CPU seconds of each piece of one run, without the first, during which the
/// watcher starts.
fn pieces(python: &Path, script: &Path, watcher: Option<&Watcher>) -> Result<Vec<f64>> {
    let mut command = Command::new(python);
    command.arg(script).arg(PIECES);
    measure::die_with_parent(&mut command);
    let child = command.stdout(Stdio::piped()).spawn()?;
    let watching = watcher
        .map(|watcher| Target::start(&mut watcher(child.id())))
        .transpose()?;
    let output = child.wait_with_output()?;
    drop(watching);
    let text = String::from_utf8_lossy(&output.stdout);
    let seconds: Vec<f64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    ensure!(seconds.len() > 2, "the work did not run: {text}");
    // The first ones run while the watcher starts.
    Ok(seconds[2..].to_vec())
}

/// A process that ends with us.
struct Target(Child);

impl Target {
    fn start(command: &mut Command) -> Result<Self> {
        measure::die_with_parent(command);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", shell::show(command)))?;
        Ok(Self(child))
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
