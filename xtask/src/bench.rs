//! `cargo xtask bench`: the profiler and others on the same load, in one run.
//!
//! The machine may be busy or virtual, so only ratios within the run mean
//! something, and only CPU time, run time of programs, memory and counts.
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::{
    accuracy, compare_bench, dist, event_costs, interpreters, load, measure, measure::Measured,
    setup, shell, toolchain,
};

const SECONDS: u32 = 10;
const FREQUENCY: u32 = 99;
const WORDS: [&str; 5] = ["--json", "accuracy", "events", "load", "compare"];
/// Pairs of builds that are compared.
const PAIRS: usize = 200;
/// Runs of each tool, in turn: the speed of a shared machine changes by the minute.
const ROUNDS: usize = 5;

struct Tool<'a> {
    name: &'static str,
    commands: Box<dyn Fn() -> Vec<Command> + 'a>,
    /// What it says itself about its cost.
    report: Option<&'a Path>,
    runs: Vec<Measured>,
}

impl<'a> Tool<'a> {
    fn new(name: &'static str, commands: impl Fn() -> Vec<Command> + 'a) -> Self {
        Self {
            name,
            commands: Box::new(commands),
            report: None,
            runs: Vec::new(),
        }
    }

    fn run(&mut self) -> Result<()> {
        eprintln!("measuring {}", self.name);
        let mut measured = measure::run((self.commands)()).context(self.name)?;
        if let Some(report) = self.report {
            measured.read_report(report);
        }
        self.runs.push(measured);
        Ok(())
    }

    fn to_json(&self) -> Value {
        let runs: Vec<Value> = self.runs.iter().map(Measured::to_json).collect();
        json!({ "tool": self.name, "runs": runs })
    }

    /// The median of its runs.
    fn median(&self, value: impl Fn(&Measured) -> Option<f64>) -> Option<f64> {
        measure::median(self.runs.iter().filter_map(value).collect())
    }
}

pub fn bench(arguments: &[String]) -> Result<()> {
    if let Some(word) = arguments.first()
        && !WORDS.contains(&word.as_str())
    {
        bail!("bench knows {}, not {word}", WORDS.join(", "));
    }
    if arguments.iter().any(|word| word == "load") {
        setup::bench_load()?;
        let work = shell::target().join("bench");
        fs::create_dir_all(&work)?;
        return load::bench(&profiler()?, &work);
    }
    // Needs neither root nor other tools.
    if let Some(at) = arguments.iter().position(|word| word == "compare") {
        let pairs = arguments
            .get(at + 1)
            .map_or(Ok(PAIRS), |count| count.parse())?;
        let work = shell::target().join("bench");
        fs::create_dir_all(&work)?;
        return compare_bench::bench(&profiler()?, &work, pairs);
    }
    setup::bench()?;
    if !shell::is_root() {
        bail!("measuring needs root: run it as root");
    }
    let profiler = profiler()?;
    let work = shell::target().join("bench");
    fs::create_dir_all(&work)?;
    if arguments.iter().any(|word| word == "accuracy") {
        return accuracy::bench(&profiler, &work);
    }
    if arguments.iter().any(|word| word == "events") {
        if let Err(error) = measure::private_tracefs() {
            eprintln!("no tracefs, which some tools need: {error:#}");
        }
        return event_costs::bench(&profiler, &work);
    }
    let bee = profile_bee();
    if let Err(error) = measure::private_tracefs() {
        eprintln!("no tracefs, which some tools need: {error:#}");
    }
    let load = Load::start(&work)?;
    let _stats = measure::ProgramStats::on()?;

    let report = work.join("ours.json");
    // What the others record, and what is recorded unless it is asked for less.
    let mut tools = Vec::new();
    for (name, sources) in [("profiler, on-CPU", "on-cpu"), ("profiler, all", "all")] {
        let mut tool = Tool::new(name, || vec![ours(&profiler, &report, sources)]);
        tool.report = Some(&report);
        tools.push(tool);
    }
    match &bee {
        Ok(bee) => tools.push(Tool::new("profile-bee", || {
            vec![profile_bee_command(bee, &work)]
        })),
        Err(error) => eprintln!("profile-bee is left out: {error:#}"),
    }
    tools.push(Tool::new("perf record + script", || perf(&work)));
    tools.push(Tool::new("bpftrace", || vec![bpftrace()]));
    for _ in 0..ROUNDS {
        for tool in &mut tools {
            if let Err(error) = tool.run() {
                eprintln!("a run is left out: {error:#}");
            }
        }
    }
    tools.retain(|tool| !tool.runs.is_empty());
    let values: Vec<Value> = tools.iter().map(Tool::to_json).collect();
    fs::write(
        work.join("bench.json"),
        serde_json::to_string_pretty(&values)?,
    )?;
    if arguments.iter().any(|word| word == "--json") {
        println!(
            "{}",
            serde_json::to_string_pretty(&json!({
                "seconds": SECONDS, "frequency": FREQUENCY, "tools": values,
            }))?
        );
    } else {
        table(&tools);
    }
    // Interpreters alone: their cost must not hide in that of the load.
    drop(load);
    interpreters::bench(&profiler, &work.join("programs"), &work)?;
    interpreters::unwind_tables(&profiler, &work)?;
    accuracy::bench(&profiler, &work)
}

fn profiler() -> Result<PathBuf> {
    match std::env::var_os("PROFILER") {
        Some(binary) => Ok(PathBuf::from(binary)),
        None => dist::build(),
    }
}

fn ours(profiler: &Path, report: &Path, sources: &str) -> Command {
    let mut command = Command::new(profiler);
    command
        .args([
            "--mode",
            "system",
            "--containers",
            "all",
            "--sources",
            sources,
            "--format",
            "json",
        ])
        .args([
            "--duration",
            &SECONDS.to_string(),
            "--frequency",
            &FREQUENCY.to_string(),
            "--output",
        ])
        .arg(report);
    command
}

/// Built into our own directory, not the user's.
fn profile_bee() -> Result<PathBuf> {
    let binary = toolchain::tools().join("bin/probee");
    if binary.is_file() {
        return Ok(binary);
    }
    shell::run(
        shell::cargo()
            .args([
                "install",
                "profile-bee",
                "--locked",
                "--no-default-features",
            ])
            .args(["--features", "tui", "--root"])
            .arg(toolchain::tools()),
    )?;
    Ok(binary)
}

fn profile_bee_command(bee: &Path, work: &Path) -> Command {
    let mut command = Command::new(bee);
    command
        .args(["--dwarf=true", "--frequency", &FREQUENCY.to_string()])
        .args(["--time", &(SECONDS * 1000).to_string(), "--output"])
        .arg(work.join("bee.folded"));
    command
}

fn perf(work: &Path) -> Vec<Command> {
    let data = work.join("perf.data");
    let mut record = Command::new("perf");
    record
        .args([
            "record",
            "--quiet",
            "--all-cpus",
            "-g",
            "--event",
            "cpu-clock",
        ])
        .args(["--freq", &FREQUENCY.to_string(), "--output"])
        .arg(&data)
        .args(["--", "sleep", &SECONDS.to_string()]);
    let mut script = Command::new("perf");
    script.args(["script", "--input"]).arg(&data);
    vec![record, script]
}

fn bpftrace() -> Command {
    let mut command = Command::new("bpftrace");
    command.arg("-e").arg(format!(
        "profile:hz:{FREQUENCY} {{ @[ustack, kstack, comm] = count(); }} interval:s:{SECONDS} {{ exit(); }}"
    ));
    command
}

/// Two busy C programs, and a database and a cache where the machine has them.
struct Load(Vec<Child>);

impl Load {
    fn start(work: &Path) -> Result<Self> {
        let programs = work.join("programs");
        shell::run(Command::new(shell::root().join("tests/programs/build.sh")).arg(&programs))?;
        let mut load = Self(Vec::new());
        for _ in 0..2 {
            load.spawn(
                Command::new(programs.join("shares"))
                    .arg("0")
                    .arg(programs.join("libplugin.so")),
            )?;
        }
        if let (Some(server), Some(client)) =
            (shell::find("redis-server"), shell::find("redis-benchmark"))
        {
            load.spawn(Command::new(server).args([
                "--bind",
                "127.0.0.1",
                "--port",
                "16380",
                "--save",
                "",
                "--appendonly",
                "no",
            ]))?;
            std::thread::sleep(Duration::from_millis(500));
            // Bounded by its count, should nobody be left to kill it.
            load.spawn(Command::new(client).args([
                "-h",
                "127.0.0.1",
                "-p",
                "16380",
                "-c",
                "2",
                "-t",
                "set,get",
                "-n",
                "20000000",
                "-q",
            ]))?;
        }
        // Past the plugin's loading.
        std::thread::sleep(Duration::from_secs(2));
        Ok(load)
    }

    fn spawn(&mut self, command: &mut Command) -> Result<()> {
        measure::die_with_parent(command);
        self.0.push(
            command
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .with_context(|| format!("cannot start {}", shell::show(command)))?,
        );
        Ok(())
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn table(tools: &[Tool<'_>]) {
    let Some(first) = tools.first() else {
        println!("nothing was measured");
        return;
    };
    println!(
        "\n{:<22} {:>14} {:>16} {:>16} {:>14} {:>12}",
        "tool", "BPF µs/sample", "CPU s", "peak MB", "first s", "samples"
    );
    for tool in tools {
        // A ratio is to ours: how many times more the other needs.
        let cell =
            |value: fn(&Measured) -> Option<f64>| match (tool.median(value), first.median(value)) {
                (Some(value), Some(base)) if base > 0.0 => {
                    format!("{value:.2} ({:.1}x)", value / base)
                }
                (Some(value), _) => format!("{value:.2}"),
                (None, _) => "-".to_owned(),
            };
        let samples = tool.median(|run| run.samples.map(|samples| samples as f64));
        println!(
            "{:<22} {:>14} {:>16} {:>16} {:>14} {:>12}",
            tool.name,
            cell(Measured::bpf_per_sample),
            cell(|run| Some(run.cpu)),
            cell(|run| Some(run.memory)),
            cell(|run| run.first_sample),
            samples.map_or("-".to_owned(), |samples| samples.to_string()),
        );
    }
    println!(
        "\n{SECONDS} s of the whole host at {FREQUENCY} Hz, symbols included: medians of {ROUNDS} runs, in turn; (x) against the first row"
    );
}
