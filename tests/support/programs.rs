//! The programs whose behaviour is known, compiled on this machine.
use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::process::{self, Process};

/// What each function of `shares` burns itself, in percent of the whole.
pub const SHARES: &[(&str, f64)] = &[
    ("direct", 15.0),
    ("recursion", 15.0),
    ("tail_last", 10.0),
    ("library_inner", 15.0),
    ("plugin_inner", 10.0),
    ("handler_work", 10.0),
    ("interrupted", 5.0),
    ("alpha", 10.0),
    ("beta", 10.0),
];

/// The workspace's root.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests lie in the workspace")
        .to_owned()
}

/// Cargo's target directory: the test's own binary lies in it.
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}

/// Compiles the programs and returns the directory they are in.
pub fn build() -> Result<PathBuf> {
    let directory = target().join("programs");
    process::output(Command::new(root().join("tests/programs/build.sh")).arg(&directory))?;
    Ok(directory)
}

/// A program that needs no compiler.
pub fn source(name: &str) -> PathBuf {
    root().join("tests/programs").join(name)
}

/// Names of the functions that the programs define.
pub fn functions(directory: &Path) -> Result<Vec<String>> {
    let text = process::output(
        Command::new("nm")
            .args(["--defined-only", "--quiet"])
            .args(["shares", "libshares.so", "libplugin.so"].map(|name| directory.join(name))),
    )?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let (kind, name) = (words.next()?, words.next()?);
            kind.eq_ignore_ascii_case("t").then(|| name.to_owned())
        })
        .collect())
}

/// Starts `shares` and waits until it burns.
pub fn shares(directory: &Path) -> Result<Process> {
    ready(
        Command::new(directory.join("shares"))
            .arg("0")
            .arg(directory.join("libplugin.so")),
    )
}

/// Starts a program, and returns when it says that it is ready.
pub fn ready(command: &mut Command) -> Result<Process> {
    let mut process = Process::spawn(command.stdin(Stdio::null()).stdout(Stdio::piped()))?;
    let stdout = process.child().stdout.take().context("no output")?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    anyhow::ensure!(line == "ready\n", "{command:?} said {line:?}");
    Ok(process)
}
