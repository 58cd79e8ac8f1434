//! `cargo xtask run`: build the profiler and run it.
use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result};

use crate::{setup, shell};

const DEFAULT: &[&str] = &[
    "--mode",
    "system",
    "--duration",
    "10",
    "--output",
    "reports/system.html",
];

pub fn run(arguments: &[String]) -> Result<ExitCode> {
    let arguments: Vec<&str> = match arguments.iter().position(|word| word == "--") {
        Some(at) => arguments[at + 1..].iter().map(String::as_str).collect(),
        None => arguments.iter().map(String::as_str).collect(),
    };
    let arguments = if arguments.is_empty() {
        DEFAULT.to_vec()
    } else {
        arguments
    };
    setup::build()?;
    shell::run(shell::cargo().args(["build", "--release", "--package", "profiler"]))?;
    let report = report(&arguments).map(|report| shell::root().join(report));
    if let Some(directory) = report.as_deref().and_then(Path::parent) {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    let mut command = shell::as_root(shell::target().join("release/profiler"))?;
    command.args(&arguments).current_dir(shell::root());
    eprintln!("+ {}", shell::show(&command));
    // Standard input and output stay the user's, and so does the exit code:
    // it is a verdict.
    let status = command.status().context("cannot start the profiler")?;
    if let Some(report) = report.filter(|report| report.is_file()) {
        eprintln!("the report is in {}", report.display());
    }
    Ok(status
        .code()
        .map_or(ExitCode::FAILURE, |code| ExitCode::from(code as u8)))
}

/// The file that the arguments name as the output.
fn report<'a>(arguments: &[&'a str]) -> Option<&'a str> {
    arguments
        .iter()
        .enumerate()
        .find_map(|(at, word)| match *word {
            "--output" | "-o" => arguments.get(at + 1).copied(),
            word => word.strip_prefix("--output="),
        })
}

#[cfg(test)]
mod tests {
    use super::report;

    #[test]
    fn finds_the_output() {
        assert_eq!(report(&["--output", "a.html"]), Some("a.html"));
        assert_eq!(report(&["--pid", "1", "--output=b"]), Some("b"));
        assert_eq!(report(&["--output"]), None);
    }
}
