//! `cargo xtask test`: everything a change must pass, and one line at the end
//! that counts it.
use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    bpf, dist, kernels, mariadb, nodes, py_spy, pythons, setup, shell, vector_databases, vite,
};

/// One test or check, and how it ended.
pub struct Outcome {
    pub name: String,
    /// What went wrong.
    pub failure: Option<String>,
}

impl Outcome {
    pub fn passed(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            failure: None,
        }
    }

    pub fn failed(name: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            failure: Some(why.into()),
        }
    }
}

type Part = fn(Option<&str>) -> Result<Vec<Outcome>>;

/// In the order of their cost: a slip shows before the long parts start.
const PARTS: &[(&str, Part)] = &[
    ("fmt", format),
    ("bpf", object),
    ("clippy", lint),
    ("unit", unit),
    ("integration", integration),
    ("kernels", kernels::test),
];

struct Done {
    part: &'static str,
    took: Duration,
    outcomes: Vec<Outcome>,
}

pub fn test(arguments: &[String]) -> Result<ExitCode> {
    let (names, filter) = match arguments.iter().position(|word| word == "--") {
        Some(at) => (&arguments[..at], arguments.get(at + 1).map(String::as_str)),
        None => (arguments, None),
    };
    let known = || PARTS.iter().map(|(name, _)| *name).collect::<Vec<_>>();
    if let Some(name) = names.iter().find(|name| !known().contains(&name.as_str())) {
        bail!("no part {name}: there are {}", known().join(", "));
    }
    setup::test()?;
    let mut all = Vec::new();
    for &(part, test) in PARTS {
        if !names.is_empty() && !names.iter().any(|name| name == part) {
            continue;
        }
        eprintln!("\n=== {part}");
        let started = Instant::now();
        let outcomes = test(filter).unwrap_or_else(|error| {
            eprintln!("{part}: {error:#}");
            vec![Outcome::failed(part, format!("{error:#}"))]
        });
        all.push(Done {
            part,
            took: started.elapsed(),
            outcomes,
        });
    }
    Ok(summary(&all))
}

fn summary(all: &[Done]) -> ExitCode {
    println!("\n=== summary");
    let (mut passed, mut failed) = (0, 0);
    for Done {
        part,
        took,
        outcomes,
    } in all
    {
        let bad = outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_some())
            .count();
        let good = outcomes.len() - bad;
        println!(
            "{part:<12} {good:>5} passed {bad:>4} failed {:>6.0} s",
            took.as_secs_f64()
        );
        passed += good;
        failed += bad;
    }
    for Done { part, outcomes, .. } in all {
        for outcome in outcomes {
            if let Some(why) = &outcome.failure {
                let rerun = if outcome.name == *part {
                    format!("cargo xtask test {part}")
                } else {
                    format!("cargo xtask test {part} -- {}", outcome.name)
                };
                let why = why.lines().next().unwrap_or_default();
                println!(
                    "FAILED {part}: {}: {why}\n       again: {rerun}",
                    outcome.name
                );
            }
        }
    }
    println!("\n{passed} passed, {failed} failed");
    // Nothing run is no success.
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// One command that either succeeds or does not.
fn check(name: &str, command: &mut Command) -> Result<Vec<Outcome>> {
    Ok(vec![match shell::run(command) {
        Ok(()) => Outcome::passed(name),
        Err(error) => Outcome::failed(name, format!("{error:#}")),
    }])
}

fn format(_: Option<&str>) -> Result<Vec<Outcome>> {
    check("fmt", shell::cargo().args(["fmt", "--all", "--check"]))
}

/// The BPF side's lints are the compiler's: the rebuild denies its warnings. The
/// part of that crate that userspace shares is linted with the rest.
fn object(_: Option<&str>) -> Result<Vec<Outcome>> {
    let proof = bpf::check()?;
    eprintln!("{proof}");
    Ok(vec![Outcome::passed("bpf")])
}

fn lint(_: Option<&str>) -> Result<Vec<Outcome>> {
    check(
        "clippy",
        shell::cargo()
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--quiet",
            ])
            .args(["--", "-D", "warnings"]),
    )
}

/// Tests beside the code. Built in the development profile; only the binary under
/// test is built for release.
fn unit(filter: Option<&str>) -> Result<Vec<Outcome>> {
    nodes::fetch()?;
    cargo_test(
        as_root(&mut shell::cargo())
            .args([
                "test",
                "--workspace",
                "--exclude",
                "tests",
                "--locked",
                "--no-fail-fast",
            ])
            .arg("--")
            .args(filter),
    )
}

/// Tests of the static binary from outside. One at a time: they measure shares
/// of CPU time and count what is loaded in the kernel.
fn integration(filter: Option<&str>) -> Result<Vec<Outcome>> {
    let binary = dist::build()?;
    pythons::fetch()?;
    nodes::fetch()?;
    vite::fetch()?;
    py_spy::fetch()?;
    mariadb::fetch()?;
    vector_databases::fetch()?;
    cargo_test(
        as_root(&mut shell::cargo())
            .env("PROFILER", binary)
            .args(["test", "--package", "tests", "--locked", "--no-fail-fast"])
            .args(["--", "--test-threads=1", "--nocapture"])
            .args(filter),
    )
}

/// Builds as who calls, and runs the tests as root.
fn as_root(command: &mut Command) -> &mut Command {
    if !shell::is_root() {
        command.env(
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER",
            "sudo --preserve-env=PROFILER --",
        );
    }
    command
}

/// Runs `cargo test`, shows what it prints and counts its tests.
fn cargo_test(command: &mut Command) -> Result<Vec<Outcome>> {
    eprintln!("+ {}", shell::show(command));
    // One pipe for both, so that a failure's message stands with its test.
    let (reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let mut child = command
        // A failure's message must not drown in where it was made.
        .env("RUST_BACKTRACE", "0")
        .stdin(Stdio::null())
        .stdout(writer.try_clone().context("cannot copy a pipe")?)
        .stderr(writer)
        .spawn()
        .context("cannot start cargo test")?;
    // The command holds ends of the pipe, which must close with the child.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reading = Reading::default();
    for line in BufReader::new(reader).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        reading.line(&line);
    }
    let status = child.wait()?;
    let mut outcomes = reading.outcomes();
    if !status.success() && outcomes.iter().all(|outcome| outcome.failure.is_none()) {
        outcomes.push(Outcome::failed(
            "build",
            "cargo test failed before or beside its tests",
        ));
    }
    Ok(outcomes)
}

/// What the standard test harness says, line by line. With `--nocapture` a
/// test's own output stands between its name and its outcome, so the counts
/// come from the closing lines and the names from the list of failures.
#[derive(Default)]
struct Reading {
    passed: usize,
    failed: usize,
    listing: bool,
    failures: Vec<String>,
    /// The test whose output this is.
    current: String,
    /// The next line is the message of a panic.
    panicked: bool,
    /// Why each test failed, in its own words.
    reasons: BTreeMap<String, String>,
}

impl Reading {
    fn line(&mut self, line: &str) {
        self.reason(line);
        if let Some(counts) = line.strip_prefix("test result: ") {
            let number = |what: &str| {
                counts
                    .split(['.', ';'])
                    .find_map(|part| part.trim().strip_suffix(what)?.trim().parse::<usize>().ok())
                    .unwrap_or(0)
            };
            self.passed += number("passed");
            self.failed += number("failed");
            self.listing = false;
        } else if line == "failures:" {
            self.listing = true;
        } else if self.listing
            && let Some(name) = line.strip_prefix("    ")
            && !name.contains(char::is_whitespace)
            && !self.failures.iter().any(|failure| failure == name)
        {
            self.failures.push(name.to_owned());
        }
    }

    /// Notes what a test says of its failure: the message of a panic, or the
    /// error that it returned.
    fn reason(&mut self, line: &str) {
        let name = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
            .map(|(name, _)| name)
            .or_else(|| line.strip_prefix("---- ")?.strip_suffix(" stdout ----"));
        if let Some(name) = name {
            self.current = name.to_owned();
        }
        let said = line
            .strip_prefix("Error: ")
            .or(self.panicked.then_some(line));
        if let Some(said) = said {
            self.reasons
                .entry(self.current.clone())
                .or_insert_with(|| said.to_owned());
        }
        self.panicked = line.contains("' (") && line.contains(") panicked at ")
            || line.starts_with("thread '") && line.contains("' panicked at ");
    }

    fn outcomes(self) -> Vec<Outcome> {
        let mut outcomes: Vec<Outcome> = (0..self.passed).map(|_| Outcome::passed("")).collect();
        outcomes.extend((0..self.failed).map(|at| {
            match self.failures.get(at) {
                Some(name) => Outcome::failed(
                    name,
                    self.reasons
                        .get(name)
                        .map_or("see its output above", String::as_str),
                ),
                None => Outcome::failed("unnamed", "see its output above"),
            }
        }));
        outcomes
    }
}

#[cfg(test)]
mod tests {
    use super::Reading;

    #[test]
    fn counts_what_the_harness_says() {
        let mut reading = Reading::default();
        for line in [
            "test a ... ok",
            "failures:",
            "---- b stdout ----",
            "    indented output of b",
            "thread 'b' (17) panicked at src/lib.rs:1:2:",
            "no good",
            "failures:",
            "    b",
            "test result: FAILED. 1 passed; 1 failed; 0 ignored; 0 measured; 3 filtered out; finished in 0.00s",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            reading.line(line);
        }
        let outcomes = reading.outcomes();
        assert_eq!(outcomes.len(), 4);
        let failed: Vec<&str> = outcomes
            .iter()
            .filter(|outcome| outcome.failure.is_some())
            .map(|outcome| outcome.name.as_str())
            .collect();
        assert_eq!(failed, ["b"]);
        let why = outcomes
            .iter()
            .find_map(|outcome| outcome.failure.as_deref());
        assert_eq!(why, Some("no good"));
    }
}
