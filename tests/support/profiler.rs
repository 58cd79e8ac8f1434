//! The profiler under test.
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{
    folded::Folded,
    process::{self, Process},
    programs,
};

/// The binary under test: `PROFILER`, else the one that was built last for
/// shipping, else for use here.
pub fn binary() -> PathBuf {
    if let Some(binary) = env::var_os("PROFILER") {
        return binary.into();
    }
    let candidates = ["dist/profiler", "release/profiler", "debug/profiler"];
    candidates
        .map(|name| programs::target().join(name))
        .into_iter()
        .find(|path| path.is_file())
        .expect("no profiler is built: run cargo xtask dist")
}

pub fn command() -> Command {
    let mut command = Command::new(binary());
    command.env("NO_COLOR", "1").stdin(Stdio::null());
    command
}

/// Starts the profiler with its messages kept.
pub fn start(arguments: &[&str]) -> Result<Process> {
    Process::spawn(
        command()
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

/// Runs the profiler to its end.
pub fn run(arguments: &[&str]) -> Result<Output> {
    process::any_output(process::die_with_parent(command().args(arguments)))
}

/// Records into folded stacks.
pub fn record(arguments: &[&str], into: &Path) -> Result<Folded> {
    let path = into.to_str().context("a path in UTF-8")?;
    let output = run(&[arguments, &["--format", "folded", "--output", path]].concat())?;
    if !output.status.success() {
        bail!(
            "profiler {arguments:?}: {}\n{}",
            output.status,
            messages(&output)
        );
    }
    Folded::read(into)
}

/// The same of one process.
pub fn record_process(target: &Process, options: &[&str], into: &Path) -> Result<Folded> {
    let pid = target.pid().to_string();
    record(
        &[&["--mode", "system", "--pid", &pid], options].concat(),
        into,
    )
}

/// What a saved recording looks like in a format.
pub fn render(saved: &Path, format: &str) -> Result<String> {
    render_with(saved, &["--format", format])
}

/// The same with other options.
pub fn render_with(saved: &Path, options: &[&str]) -> Result<String> {
    let saved = saved.to_str().context("a path in UTF-8")?;
    let output = run(&[&["report", saved], options].concat())?;
    if !output.status.success() {
        bail!(
            "profiler report {options:?}: {}\n{}",
            output.status,
            messages(&output)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn messages(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Resident memory of a process, in MiB.
pub fn resident(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kilobytes: f64 = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next())
        .context("no VmRSS")?
        .parse()?;
    Ok(kilobytes / 1024.0)
}

/// Waits until a recording has begun: its programs are in the kernel.
pub fn wait_for_programs(before: &super::kernel::Loaded) -> Result<()> {
    if process::until(Duration::from_secs(30), || {
        super::kernel::Loaded::now().is_ok_and(|now| now.added(before).0 > 0)
    }) {
        // Loaded is not yet attached.
        std::thread::sleep(Duration::from_millis(1500));
        return Ok(());
    }
    bail!("the profiler loaded nothing within 30 s")
}
